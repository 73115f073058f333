//! `tollgate flow watch`.

use std::io::{self, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::json;
use tollgate_datapath::capture::{Seen, What};

use super::ask::Failure;
use super::watch::{self, Clock, End, Ended, Sink};

/// Examples for `--help`.
pub const EXAMPLE: &str = "\
An event is a connection that begins (its SYN), one in --sample of them, or a packet that is dropped. Datagrams have no
beginning: one in --sample of them is told. The filter is that of `tollgate capture`.

Examples:
  tollgate flow watch service postgres
  tollgate flow watch --sample 1000 --json | jq -r .backend
  tollgate flow watch --sample 0 verdict no_backend";

/// What is watched.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// One in so many connections that begin; 0: none.
    #[arg(long, value_name = "N", default_value_t = 1)]
    sample: u32,
    /// Leave out drops.
    #[arg(long)]
    no_drops: bool,
    /// Most events a second and CPU.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rate: u32,
    /// Print each as JSON, one a line.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    watch: watch::Args,
}

/// Prints events until it is enough; what to tell at the end on standard error.
///
/// # Errors
///
/// See [`Failure`].
pub async fn run(args: &Args) -> Result<String, Failure> {
    let what = What::Events {
        sample: args.sample,
        drops: !args.no_drops,
        rate: args.rate,
    };
    let capture = watch::open(&args.watch, what).await?;
    let told = Arc::new(AtomicU64::new(0));
    let lines = Lines {
        clock: Clock::new(),
        json: args.json,
        most: args.watch.count.unwrap_or(u64::MAX),
        told: Arc::clone(&told),
    };
    let failed = |error: io::Error| Failure::Missing(error.to_string());
    let Ended { end, counted, .. } = watch::run(capture, &args.watch, lines)
        .await
        .map_err(failed)?;
    let told = told.load(Ordering::Relaxed);
    if end == End::Gone {
        return Err(Failure::Missing(format!(
            "{told} event(s) until the datapath was gone"
        )));
    }
    let mut text = format!("{told} event(s)");
    if counted.held > 0 {
        text.push_str(&format!("; {} more than --rate lets through", counted.held));
    }
    if counted.lost > 0 {
        text.push_str(&format!("; {} found no room", counted.lost));
    }
    Ok(text)
}

/// Standard output.
struct Lines {
    clock: Clock,
    json: bool,
    most: u64,
    told: Arc<AtomicU64>,
}

impl Sink for Lines {
    fn take(&mut self, seen: Vec<Seen>) -> io::Result<bool> {
        let mut out = io::stdout().lock();
        let written = |told: u64| -> io::Result<u64> {
            let mut told = told;
            for one in seen {
                if told == self.most {
                    break;
                }
                writeln!(out, "{}", line(&one, self.clock, self.json))?;
                told += 1;
                self.told.store(told, Ordering::Relaxed);
            }
            out.flush()?;
            Ok(told)
        };
        match written(self.told.load(Ordering::Relaxed)) {
            // Whoever reads has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            told => Ok(told? < self.most),
        }
    }

    fn finish(&mut self, _lost: u64) -> io::Result<()> {
        Ok(())
    }
}

/// An event as a line.
fn line(seen: &Seen, clock: Clock, json: bool) -> String {
    const DROP: u32 = 1;
    let event = if seen.action == DROP { "drop" } else { "flow" };
    let time = clock.text(seen.at);
    let proto = watch::protocol(seen.proto);
    let interface = watch::interface(seen.interface);
    let Seen {
        client,
        vip,
        verdict,
        service,
        backend,
        ..
    } = seen;
    if json {
        return json!({
            "time": time,
            "event": event,
            "client": client,
            "vip": vip,
            "proto": proto,
            "verdict": verdict,
            "service": service,
            "backend": backend,
            "interface": interface,
        })
        .to_string();
    }
    let mut text = format!("{time} {event} {verdict}");
    if let (Some(client), Some(vip)) = (client, vip) {
        text.push_str(&format!(" {client} -> {vip}/{proto}"));
    }
    for (word, value) in [
        ("service", service.clone()),
        ("backend", backend.map(|one| one.to_string())),
    ] {
        if let Some(value) = value {
            text.push_str(&format!(" {word} {value}"));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_says_who_to_whom_and_what_became_of_it() {
        let seen = Seen {
            at: 0,
            packet: 1,
            after: true,
            len: 60,
            bytes: Vec::new(),
            interface: 1,
            client: Some("198.51.100.7:40000".parse().unwrap()),
            vip: Some("203.0.113.20:5432".parse().unwrap()),
            proto: 6,
            opens: true,
            action: 3,
            verdict: "sent",
            service: Some("postgres".to_owned()),
            backend: Some("10.0.0.21".parse().unwrap()),
        };
        let text = line(&seen, Clock::new(), false);
        let (_, rest) = text.split_once(' ').unwrap();
        assert_eq!(
            rest,
            "flow sent 198.51.100.7:40000 -> 203.0.113.20:5432/tcp service postgres backend 10.0.0.21"
        );
        let dropped = Seen {
            action: 1,
            verdict: "no_backend",
            backend: None,
            ..seen
        };
        let value: serde_json::Value =
            serde_json::from_str(&line(&dropped, Clock::new(), true)).unwrap();
        assert_eq!(
            (value["event"].as_str(), value["vip"].as_str()),
            (Some("drop"), Some("203.0.113.20:5432"))
        );
    }
}
