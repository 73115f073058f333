//! What `tollgate check` prints: every mistake with its place and the offending text.

mod secrets;

use std::fmt;
use std::path::{Path, PathBuf};

use self::secrets::Masked;
pub(crate) use self::secrets::Place;

/// A place in the configuration file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Position {
    /// Line, counted from 1; 0 where the file as a whole is meant.
    pub line: u32,
    /// Column in characters, counted from 1.
    pub column: u32,
    /// Length of the offending text in characters; 0 where it is not one scalar.
    pub length: u32,
}

/// One mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// Where it stands.
    pub position: Position,
    /// What is wrong and how to mend it, in one sentence.
    pub message: String,
}

/// All mistakes of one file, in the order of the file. They are logged and shown by status, so neither keys nor passwords
/// of the file are in them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics {
    path: PathBuf,
    /// Masked.
    source: String,
    found: Vec<Diagnostic>,
}

impl Diagnostics {
    /// `exists` says what of the places for secrets that `source` names is there: what is not may be the secret itself,
    /// and is not shown.
    pub(crate) fn new(
        path: &Path,
        source: &str,
        mut found: Vec<Diagnostic>,
        exists: &dyn Fn(Place, &str) -> bool,
    ) -> Self {
        found.sort_by_key(|one| (one.position.line, one.position.column));
        found.dedup();
        let masked = Masked::new(source, exists);
        for one in &mut found {
            one.message = masked.message(&one.message);
        }
        Self {
            path: path.to_owned(),
            source: masked.text,
            found,
        }
    }

    /// The mistakes, in the order of the file.
    pub fn found(&self) -> &[Diagnostic] {
        &self.found
    }
}

/// The lines as YAML counts them: a carriage return alone ends one too (YAML 1.2.2 section 5.4).
fn lines(source: &str) -> impl Iterator<Item = &str> {
    source
        .split("\r\n")
        .flat_map(|part| part.split(['\n', '\r']))
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for one in &self.found {
            let Position {
                line,
                column,
                length,
            } = one.position;
            if line == 0 {
                writeln!(f, "{}: {}", self.path.display(), one.message)?;
                continue;
            }
            writeln!(
                f,
                "{}:{line}:{column}: {}",
                self.path.display(),
                one.message
            )?;
            if let Some(text) = lines(&self.source).nth(line as usize - 1) {
                let rest = text.chars().count().saturating_sub(column as usize - 1);
                let marks = (length.max(1) as usize).min(rest.max(1));
                writeln!(f, "{line:>6} | {}", text)?;
                writeln!(
                    f,
                    "       | {}{}",
                    " ".repeat(column as usize - 1),
                    "^".repeat(marks)
                )?;
            }
        }
        let count = self.found.len();
        let noun = if count == 1 { "mistake" } else { "mistakes" };
        write!(f, "{count} {noun} in {}", self.path.display())
    }
}

impl std::error::Error for Diagnostics {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_shown_is_the_one_that_yaml_counted() {
        let position = Position {
            line: 4,
            column: 2,
            length: 1,
        };
        let message = "wrong".to_owned();
        let found = vec![Diagnostic { position, message }];
        let mistakes = Diagnostics::new(
            Path::new("f"),
            "one\r\ntwo\rthree\nfour\n",
            found,
            &|_, _| true,
        );
        let shown = mistakes.to_string();
        assert!(shown.contains("     4 | four\n       |  ^\n"), "{shown}");
    }
}
