//! `tollgate capture`.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::PathBuf;

use tollgate_datapath::capture::{MOST, Seen, What};

use super::ask::Failure;
use super::watch::{self, Clock, End};

mod pcapng;

use pcapng::{Direction, Packet, Writer};

/// Examples for `--help`.
pub const EXAMPLE: &str = "\
Terms: host A, net P, port N, each with src or dst before it or without; client A, vip A[:PORT[/PROTO]], backend A,
service NAME, verdict NAME, interface NAME, tcp, udp, icmp, icmp6, ip, ip6, syn, drop; and, or, not, ( ).
Each packet is written twice, as it came (`eth0 in`) and as it leaves (`eth0 out`), with its verdict, service and backend.

Examples:
  tollgate capture service postgres --count 100 -o postgres.pcapng
  tollgate capture -o - 'vip 203.0.113.20:5432/tcp and not host 198.51.100.7' | tshark -r -
  tollgate capture --seconds 10 -o drops.pcapng drop";

/// What is captured, and where to.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The file, in pcapng; `-`: standard output.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Most bytes of a packet.
    #[arg(long, value_name = "BYTES", default_value_t = MOST, value_parser = clap::value_parser!(u32).range(64..=i64::from(MOST)))]
    snaplen: u32,
    #[command(flatten)]
    watch: watch::Args,
}

/// Captures until it is enough; what to tell of it on standard error.
///
/// # Errors
///
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<String, Failure> {
    let snaplen = args.snaplen;
    let mut capture = watch::open(&args.watch, What::Packets { snaplen }).await?;
    let failed = |error: io::Error| Failure::Missing(format!("{}: {error}", args.output.display()));
    let out: Box<dyn Write> = if args.output.as_os_str() == "-" {
        Box::new(io::stdout().lock())
    } else {
        // Packets are nobody's business but their operator's.
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        Box::new(options.open(&args.output).map_err(failed)?)
    };
    let writer = Writer::new(BufWriter::new(out), snaplen).map_err(failed)?;
    let mut file = File {
        writer,
        clock: Clock::new(),
        halves: BTreeMap::new(),
        written: 0,
        most: args.watch.count.unwrap_or(u64::MAX),
        snaplen,
    };
    let ended = watch::run(&mut capture, &args.watch, |seen| file.take(seen)).await;
    let ended = match ended {
        // Whoever reads has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => End::Done,
        other => other.map_err(failed)?,
    };
    let counted = watch::counted(&capture);
    // From here on packets come and go unseen.
    drop(capture);
    match file.finish(counted.lost) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
        other => other.map_err(failed)?,
    }
    if ended == End::Gone {
        return Err(Failure::Missing(format!(
            "{} packet(s) until the datapath was gone",
            file.written
        )));
    }
    let mut text = format!("{} packet(s), each before and after", file.written);
    if counted.lost > 0 {
        text.push_str(&format!(
            "; {} record(s) found no room and are missing: narrow the filter, or take less of each by --snaplen",
            counted.lost
        ));
    }
    Ok(text)
}

/// The file as it grows.
struct File<W: Write> {
    writer: Writer<W>,
    clock: Clock,
    /// Packets that have come in and not left yet.
    halves: BTreeMap<u64, Seen>,
    written: u64,
    most: u64,
    snaplen: u32,
}

impl<W: Write> File<W> {
    /// Writes what was told; false: that is enough.
    fn take(&mut self, seen: Vec<Seen>) -> io::Result<bool> {
        for one in seen {
            if self.written == self.most {
                break;
            }
            if !one.after {
                self.halves.insert(one.packet, one);
                continue;
            }
            if let Some(mut before) = self.halves.remove(&one.packet) {
                complete(&mut before, &one, self.snaplen);
                self.write(&before, Direction::In)?;
            }
            self.write(&one, Direction::Out)?;
            self.written += 1;
        }
        self.writer.flush()?;
        Ok(self.written < self.most)
    }

    fn write(&mut self, seen: &Seen, direction: Direction) -> io::Result<()> {
        let mut comment = format!("verdict {}", seen.verdict);
        if let Some(service) = &seen.service {
            comment.push_str(&format!(", service {service}"));
        }
        if let Some(backend) = seen.backend {
            comment.push_str(&format!(", backend {backend}"));
        }
        self.writer.packet(&Packet {
            device: seen.interface,
            name: &|| watch::interface(seen.interface),
            direction,
            at: self.clock.unix(seen.at),
            len: seen.len,
            bytes: &seen.bytes,
            number: seen.packet,
            action: seen.action,
            comment: &comment,
        })
    }

    fn finish(&mut self, lost: u64) -> io::Result<()> {
        // Their second halves are lost.
        if self.written < self.most {
            for before in std::mem::take(&mut self.halves).into_values() {
                self.write(&before, Direction::In)?;
            }
        }
        self.writer.finish(lost)
    }
}

/// A frame in several buffers is copied from its first one when it comes in, and whole when it leaves. What lies behind is the
/// packet's payload, which nothing changes: it is the same before and after, where the packet is sent on or passes.
fn complete(before: &mut Seen, after: &Seen, snaplen: u32) {
    let wanted = before.len.min(snaplen) as usize;
    if before.bytes.len() >= wanted || after.verdict == "too_big_told" {
        return;
    }
    let longer = i64::from(after.len) - i64::from(before.len);
    let at = i64::try_from(before.bytes.len()).unwrap_or(i64::MAX);
    let from = usize::try_from(at.saturating_add(longer)).unwrap_or(usize::MAX);
    let rest = after.bytes.get(from..).unwrap_or_default();
    let missing = wanted - before.bytes.len();
    before.bytes.extend(rest.iter().take(missing));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(len: u32, bytes: &[u8], verdict: &'static str) -> Seen {
        Seen {
            at: 0,
            packet: 1,
            after: false,
            len,
            bytes: bytes.to_vec(),
            interface: 1,
            client: None,
            vip: None,
            proto: 6,
            opens: false,
            action: 3,
            verdict,
            service: None,
            backend: None,
        }
    }

    #[test]
    fn what_lay_in_later_buffers_is_taken_from_the_packet_that_leaves() {
        let whole = seen(8, &[9, 9, 0, 1, 2, 3, 4, 5], "sent");
        let mut before = seen(6, &[0, 1, 2], "sent");
        complete(&mut before, &whole, 100);
        assert_eq!(before.bytes, [0, 1, 2, 3, 4, 5]);
        let mut before = seen(6, &[0, 1, 2], "sent");
        complete(&mut before, &whole, 4);
        assert_eq!(before.bytes, [0, 1, 2, 3]);
        // What was turned into a message has nothing of it any more.
        let mut before = seen(6, &[0, 1, 2], "too_big_told");
        complete(&mut before, &seen(8, &[7; 8], "too_big_told"), 100);
        assert_eq!(before.bytes, [0, 1, 2]);
        // Cut short at both ends.
        let mut before = seen(6, &[0, 1, 2], "sent");
        complete(&mut before, &seen(8, &[9, 9, 0], "sent"), 3);
        assert_eq!(before.bytes, [0, 1, 2]);
    }
}
