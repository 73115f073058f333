//! The configuration: the file as written (`raw`), every mistake with its place ([`diagnostic`]), and what the
//! program runs on ([`model`]).

pub mod diagnostic;
pub mod lower;
pub mod model;
mod node;
mod raw;
mod tree;

use std::path::Path;

use self::diagnostic::{Diagnostic, Diagnostics, Position};
use self::lower::Checks;
use self::model::{Config, Outline};

/// Reads and validates `path`.
///
/// # Errors
///
/// Every mistake of the file at once, each with line, column and text.
pub fn load(path: &Path, checks: Checks) -> Result<Config, Diagnostics> {
    match std::fs::read_to_string(path) {
        Ok(source) => parse(path, &source, checks),
        Err(error) => Err(Diagnostics::new(
            path,
            "",
            vec![Diagnostic {
                position: Position::default(),
                message: format!("cannot read the configuration: {error}"),
            }],
            &|_, _| false,
        )),
    }
}

/// Reads of `path` what is to be known before the rest. `None`: it cannot be read, which [`load`] tells in full.
#[must_use]
pub fn outline(path: &Path, checks: Checks) -> Option<Outline> {
    let source = std::fs::read_to_string(path).ok()?;
    let raw = tree::read::<raw::RawConfig>(&source, &mut Vec::new())?;
    Some(lower::outline(path, &raw, checks))
}

/// Validates `source` as if it stood in `path`; files that it names are relative to the folder of `path`.
///
/// # Errors
///
/// Every mistake of the text at once, each with line, column and text.
pub fn parse(path: &Path, source: &str, checks: Checks) -> Result<Config, Diagnostics> {
    let mut found = Vec::new();
    // Even after mistakes of shape the rest is lowered: the operator wants all of them in one go.
    let config = tree::read::<raw::RawConfig>(source, &mut found)
        .and_then(|raw| lower::lower(path, &raw, checks, &mut found));
    match config {
        Some(config) if found.is_empty() => Ok(config),
        _ => Err(Diagnostics::new(path, source, found, &|place, name| {
            lower::exists(path, checks, place, name)
        })),
    }
}

/// The JSON Schema (draft 2020-12) of the file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(raw::RawConfig).to_value()
}
