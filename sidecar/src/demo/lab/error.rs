//! Why the network could not be laid.

use std::io;

use thiserror::Error;

/// Why the network could not be laid.
#[derive(Debug, Error)]
#[error("could not {doing}: {why}")]
pub struct LabError {
    doing: String,
    /// The cause and its causes.
    why: String,
}

impl LabError {
    /// “could not `doing`: `source` and what caused it”.
    pub fn new(
        doing: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        let cause = source.into();
        let mut why = cause.to_string();
        let mut deeper = cause.source();
        while let Some(cause) = deeper {
            why.push_str(": ");
            why.push_str(&cause.to_string());
            deeper = cause.source();
        }
        Self {
            doing: doing.into(),
            why,
        }
    }
}

/// For `map_err` on what the system says.
pub(super) fn io_error(doing: impl Into<String>) -> impl FnOnce(io::Error) -> LabError {
    let doing = doing.into();
    move |error| LabError::new(doing, error)
}
