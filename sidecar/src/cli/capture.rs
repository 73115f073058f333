//! `tollgate capture`.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tollgate_datapath::capture::{MOST, Seen, What};

use super::ask::Failure;
use super::watch::{self, Clock, End, Ended, Sink};

mod pcapng;

use pcapng::{Direction, Packet, Writer};

/// Examples for `--help`.
pub const EXAMPLE: &str = "\
Terms: host A, net P, port N, each with src or dst before it or without; client A, vip A[:PORT[/PROTO]], backend A,
service NAME, verdict NAME, interface NAME, tcp, udp, icmp, icmp6, ip, ip6, syn, drop; and, or, not, ( ).
A packet that is told costs the CPU that it is on about 11 us: narrow the filter, and see --rate.
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
    /// Most packets a second and CPU; each costs some 11 us there, and more than this are counted and left out.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Stop once the file has so many bytes.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_bytes: Option<u64>,
    #[command(flatten)]
    watch: watch::Args,
}

/// Captures until it is enough; what to tell of it on standard error.
///
/// # Errors
///
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<String, Failure> {
    let (snaplen, rate) = (args.snaplen, args.rate);
    let capture = watch::open(&args.watch, What::Packets { snaplen, rate }).await?;
    let failed = |error: io::Error| Failure::Missing(format!("{}: {error}", args.output.display()));
    let out: Box<dyn Write + Send> = if args.output.as_os_str() == "-" {
        Box::new(io::stdout())
    } else {
        Box::new(open(&args.output).map_err(failed)?)
    };
    let bytes = Arc::new(AtomicU64::new(0));
    let out = Measured(BufWriter::new(out), Arc::clone(&bytes));
    let written = Arc::new(AtomicU64::new(0));
    let file = File {
        writer: Writer::new(out, snaplen).map_err(failed)?,
        clock: Clock::new(),
        halves: BTreeMap::new(),
        written: Arc::clone(&written),
        most: args.watch.count.unwrap_or(u64::MAX),
        bytes,
        most_bytes: args.max_bytes.unwrap_or(u64::MAX),
        snaplen,
        is_closed: false,
    };
    let Ended { end, counted, sink } = watch::run(capture, &args.watch, file)
        .await
        .map_err(failed)?;
    let written = written.load(Ordering::Relaxed);
    if end == End::Gone {
        return Err(Failure::Missing(format!(
            "{written} packet(s) until the datapath was gone"
        )));
    }
    let mut text = format!("{written} packet(s), each before and after");
    if counted.held > 0 {
        text.push_str(&format!("; {} more than --rate lets through", counted.held));
    }
    if sink.is_none() {
        text.push_str("; whoever reads takes nothing, so the rest is not written");
    }
    if counted.lost > 0 {
        text.push_str(&format!(
            "; {} record(s) found no room and are missing: narrow the filter, or take less of each by --snaplen",
            counted.lost
        ));
    }
    Ok(text)
}

/// Opens the file. Packets are nobody's business but their operator's: nobody else may read it, or say where it is.
fn open(path: &Path) -> io::Result<fs::File> {
    const MODE: u32 = 0o600;
    let mut options = OpenOptions::new();
    options.write(true).create(true).mode(MODE);
    options.custom_flags(nix::libc::O_NOFOLLOW);
    let file = options.open(path).map_err(|error| {
        if error.raw_os_error() == Some(nix::libc::ELOOP) {
            io::Error::other("it is a symbolic link, which is not followed; name the file itself")
        } else {
            error
        }
    })?;
    let about = file.metadata()?;
    if about.is_file() {
        if about.uid() != nix::unistd::geteuid().as_raw() {
            return Err(io::Error::other(
                "it is another user's, who could read the packets; name a new file",
            ));
        }
        file.set_permissions(fs::Permissions::from_mode(MODE))?;
        file.set_len(0)?;
    }
    Ok(file)
}

/// Counts what is written.
struct Measured<W>(W, Arc<AtomicU64>);

impl<W: Write> Write for Measured<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.0.write(bytes)?;
        self.1.fetch_add(written as u64, Ordering::Relaxed);
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// The file as it grows.
struct File<W: Write> {
    writer: Writer<W>,
    clock: Clock,
    /// Packets that have come in and not left yet, by their CPU: it has one at a time.
    halves: BTreeMap<u64, Seen>,
    written: Arc<AtomicU64>,
    most: u64,
    /// How long the file is.
    bytes: Arc<AtomicU64>,
    most_bytes: u64,
    snaplen: u32,
    /// Nobody reads any more.
    is_closed: bool,
}

impl<W: Write + Send + 'static> Sink for File<W> {
    fn take(&mut self, seen: Vec<Seen>) -> io::Result<bool> {
        let done = self.take_all(seen);
        self.or_closed(done, false)
    }

    fn finish(&mut self, lost: u64) -> io::Result<()> {
        let done = self.end(lost);
        self.or_closed(done, ())
    }
}

impl<W: Write> File<W> {
    /// Whoever closed the pipe has seen enough.
    fn or_closed<T>(&mut self, done: io::Result<T>, closed: T) -> io::Result<T> {
        match done {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(closed)
            }
            done => done,
        }
    }

    fn is_full(&self) -> bool {
        self.written.load(Ordering::Relaxed) >= self.most
            || self.bytes.load(Ordering::Relaxed) >= self.most_bytes
    }

    /// Writes what was told; false: that is enough.
    fn take_all(&mut self, seen: Vec<Seen>) -> io::Result<bool> {
        /// Where a packet's number has that of its CPU.
        const CPU: u32 = 48;
        for one in seen {
            if self.is_full() {
                break;
            }
            let cpu = one.packet >> CPU;
            let before = self.halves.remove(&cpu);
            let (own, other) = match before {
                Some(before) if before.packet == one.packet => (Some(before), None),
                other => (None, other),
            };
            if let Some(other) = other {
                // Its second half is lost.
                self.write(&other, Direction::In)?;
            }
            if !one.after {
                self.halves.insert(cpu, one);
                continue;
            }
            if let Some(mut before) = own {
                complete(&mut before, &one, self.snaplen);
                self.write(&before, Direction::In)?;
            }
            self.write(&one, Direction::Out)?;
            self.written.fetch_add(1, Ordering::Relaxed);
        }
        self.writer.flush()?;
        Ok(!self.is_full())
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

    fn end(&mut self, lost: u64) -> io::Result<()> {
        if self.is_closed {
            return Ok(());
        }
        // Their second halves are lost.
        if !self.is_full() {
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

    fn file(most_bytes: u64) -> File<Vec<u8>> {
        File {
            writer: Writer::new(Vec::new(), 100).unwrap(),
            clock: Clock::new(),
            halves: BTreeMap::new(),
            written: Arc::default(),
            most: u64::MAX,
            bytes: Arc::default(),
            most_bytes,
            snaplen: 100,
            is_closed: false,
        }
    }

    #[test]
    fn a_packet_whose_second_half_is_lost_does_not_stay() {
        let mut file = file(u64::MAX);
        let first = |packet| Seen {
            packet,
            ..seen(4, &[0, 1, 2, 3], "sent")
        };
        for number in 0..1000 {
            assert!(
                file.take(vec![first(number), first(1 << 48 | number)])
                    .unwrap()
            );
            assert_eq!(file.halves.len(), 2, "one a CPU");
        }
        let second = Seen {
            after: true,
            ..first(999)
        };
        assert!(file.take(vec![second]).unwrap());
        assert_eq!(
            (file.halves.len(), file.written.load(Ordering::Relaxed)),
            (1, 1)
        );
    }

    #[test]
    fn a_file_of_so_many_bytes_is_enough() {
        let mut file = file(1);
        file.bytes.store(1, Ordering::Relaxed);
        assert!(!file.take(vec![seen(4, &[0, 1, 2, 3], "sent")]).unwrap());
        assert!(file.halves.is_empty());
    }

    #[test]
    fn the_file_is_the_operators_alone_and_no_link_is_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("packets.pcapng");
        fs::write(&path, "what was there before").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        let file = open(&path).unwrap();
        let about = file.metadata().unwrap();
        assert_eq!((about.mode() & 0o777, about.len()), (0o600, 0));
        let link = folder.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let error = open(&link).unwrap_err().to_string();
        assert!(error.contains("symbolic link"), "{error}");
    }
}
