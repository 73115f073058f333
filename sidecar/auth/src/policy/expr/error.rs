//! Why an expression cannot be a rule.

use thiserror::Error;

/// An expression that can never be evaluated, or not within bounds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("at character {at}: {message}")]
pub struct ExprError {
    /// Where, counted from 1.
    pub at: usize,
    /// What is wrong, and what helps.
    pub message: String,
}

impl ExprError {
    pub(super) fn new(at: usize, message: impl Into<String>) -> Self {
        Self {
            at,
            message: message.into(),
        }
    }
}
