//! What the explaining commands share: a question to the daemon, and an answer on standard output.

use std::io::{self, Write as _};
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::admin;

/// Why there is no explanation.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration, or the question, is wrong.
    #[error("{0}")]
    Usage(String),
    /// What is needed cannot be had.
    #[error("{0}")]
    Missing(String),
}

/// What the running daemon answers.
///
/// # Errors
///
/// See [`Failure`].
pub(super) async fn daemon<T: DeserializeOwned>(
    socket: &Path,
    path: &str,
    question: &impl Serialize,
) -> Result<T, Failure> {
    let question =
        serde_json::to_value(question).map_err(|error| Failure::Usage(error.to_string()))?;
    let (status, answer) = admin::client::post(socket, path, &question)
        .await
        .map_err(|error| Failure::Missing(error.to_string()))?;
    let told = |answer: &Value| match answer["error"].as_str() {
        Some(why) => why.to_owned(),
        None => format!("the daemon answered {status}"),
    };
    if !status.is_success() {
        return Err(Failure::Usage(told(&answer)));
    }
    serde_json::from_value(answer).map_err(|error| {
        Failure::Missing(format!(
            "the daemon's answer is not understood, it may be of another version: {error}"
        ))
    })
}

/// Prints an explanation: as JSON, or as `page` makes it.
///
/// # Errors
///
/// It cannot be written. Whoever closed it (`| head`) has seen enough.
pub(super) fn print<T: Serialize>(
    explanation: &T,
    json: bool,
    page: impl FnOnce(&T) -> String,
) -> Result<(), Failure> {
    match write(explanation, json, page) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::Missing(format!("cannot write: {error}")))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn write<T: Serialize>(
    explanation: &T,
    json: bool,
    page: impl FnOnce(&T) -> String,
) -> io::Result<()> {
    let text = if json {
        serde_json::to_string_pretty(explanation)? + "\n"
    } else {
        page(explanation)
    };
    // Takes the colours out where nobody would see them: no terminal, NO_COLOR.
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}
