//! What holds for every text that somebody takes for a configuration; the fuzz target `config` and a test of the suite
//! `api` hold texts to it.

use std::io;
use std::path::Path;

use tollgate::app;
use tollgate::config::diagnostic::{Diagnostics, Position};
use tollgate::config::lower::Checks;
use tollgate::config::model::Config;

/// No file is touched: those that a configuration may name are these.
const CHECKS: Checks = Checks {
    read: |path| match path.extension().and_then(|extension| extension.to_str()) {
        Some("json") => Ok(include_bytes!("../../benches/fixtures/jwks.json").to_vec()),
        Some("crt" | "key" | "pem") => Ok(b"-----BEGIN CERTIFICATE-----\n".to_vec()),
        _ => Err(io::ErrorKind::NotFound.into()),
    },
    variable: |name| (name == "SECRET").then(|| b"tq0ODXz6mF0m5s1h6nJx0y6mUu3q0iXj".to_vec()),
    ..app::CHECKS
};

/// Reads a text as a configuration: it is read the same way twice, and every mistake has words and a place inside the text.
///
/// # Panics
/// If that does not hold.
pub fn hold(text: &str) {
    let (first, second) = (parse(text), parse(text));
    match (&first, &second) {
        (Ok(first), Ok(second)) => assert_eq!(format!("{first:?}"), format!("{second:?}")),
        (Err(first), Err(second)) => assert_eq!(first, second),
        _ => panic!("read in two ways"),
    }
    if let Err(mistakes) = &first {
        assert!(!mistakes.found().is_empty());
        assert!(!mistakes.to_string().is_empty());
        for mistake in mistakes.found() {
            assert!(!mistake.message.is_empty());
            assert!(
                inside(text, mistake.position),
                "{:?} of {} lines: {}",
                mistake.position,
                text.lines().count(),
                mistake.message
            );
        }
    }
}

fn parse(text: &str) -> Result<Config, Diagnostics> {
    tollgate::config::parse(Path::new("/nowhere/tollgate.yaml"), text, CHECKS)
}

/// The place is one in the text, or just behind its end, where something is missing.
fn inside(text: &str, position: Position) -> bool {
    let Position {
        line,
        column,
        length,
    } = position;
    if line == 0 {
        return column == 0;
    }
    // As YAML counts them: a carriage return alone ends a line too.
    let mut lines = text.split("\r\n").flat_map(|part| part.split(['\n', '\r']));
    let Some(found) = lines.nth(line as usize - 1) else {
        return false;
    };
    let width = found.chars().count();
    column >= 1 && column as usize <= width + 1 && length as usize <= text.chars().count()
}
