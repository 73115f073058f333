//! Why there are no figures.

use std::error::Error;

/// What was being done, and what came in its way.
#[derive(Debug, thiserror::Error)]
#[error("{doing}")]
pub struct Failure {
    doing: String,
    source: Box<dyn Error + Send + Sync>,
}

impl Failure {
    /// `doing` reads on after "could not".
    pub fn new(doing: impl Into<String>, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self {
            doing: format!("could not {}", doing.into()),
            source: source.into(),
        }
    }

    /// For `map_err`.
    pub(crate) fn of<E: Into<Box<dyn Error + Send + Sync>>>(
        doing: impl Into<String>,
    ) -> impl FnOnce(E) -> Self {
        let doing = doing.into();
        move |source| Self::new(doing, source)
    }
}
