//! The daemon's own log: what happens to it, on standard error. Requests have lines of their own (`access_log`).

use std::io::IsTerminal as _;

use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt, registry};

/// Sends the log to standard error, filtered by `TOLLGATE_LOG` (a directive of `tracing_subscriber`, such as `debug`),
/// else from `least` on; with colours on a terminal alone. Once a process.
pub fn start(least: Level) {
    let filter =
        EnvFilter::try_from_env("TOLLGATE_LOG").unwrap_or_else(|_| EnvFilter::new(least.as_str()));
    let is_coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    subscriber(filter, is_coloured, std::io::stderr).init();
}

fn subscriber(
    filter: EnvFilter,
    is_coloured: bool,
    writer: impl for<'w> MakeWriter<'w> + Send + Sync + 'static,
) -> impl Subscriber + Send + Sync {
    registry()
        .with(fmt::layer().with_ansi(is_coloured).with_writer(writer))
        .with(filter)
        .with(filter_fn(is_discreet))
}

/// Whatever the filter asks for: below `info`, h2 quotes targets of requests with their queries, and with the tokens in
/// them; other libraries of the wire may begin to.
fn is_discreet(metadata: &Metadata<'_>) -> bool {
    const OF_THE_WIRE: [&str; 3] = ["h2", "hyper", "hyper_util"];
    let library = metadata.target().split("::").next().unwrap_or_default();
    *metadata.level() <= Level::INFO || !OF_THE_WIRE.contains(&library)
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn threat_72_libraries_of_the_wire_tell_no_targets() {
        let kept = Kept::default();
        let writer = kept.clone();
        let all = subscriber(EnvFilter::new("trace,h2::server=trace"), false, move || {
            writer.clone()
        });
        tracing::subscriber::with_default(all, || {
            tracing::debug!(target: "h2::server", "malformed path (\"/?access_token=secret\")");
            tracing::trace!(target: "hyper::proto", "secret");
            tracing::info!(target: "h2::server", "of interest");
            tracing::trace!(target: "tollgate", "of ours");
            tracing::trace!(target: "h2x", "of others");
        });
        let text = String::from_utf8(kept.0.lock().unwrap().clone()).unwrap();
        assert!(!text.contains("secret"), "{text}");
        for told in ["of interest", "of ours", "of others"] {
            assert!(text.contains(told), "{told} is not in:\n{text}");
        }
    }
}
