//! Why the demo could not be set up.

use std::io;

use thiserror::Error;

use super::{issuer, lab};

/// Why the demo could not be set up. What it shows failing is no error but a ✗ in the transcript.
#[derive(Debug, Error)]
pub enum DemoError {
    /// The network or a program in it.
    #[error(transparent)]
    Lab(#[from] lab::LabError),
    /// A certificate.
    #[error("could not make a certificate: {0}")]
    Pki(#[from] rcgen::Error),
    /// The issuer or a token.
    #[error(transparent)]
    Issuer(#[from] issuer::IssuerError),
    /// A file or a socket.
    #[error("could not {0}: {1}")]
    Io(String, #[source] io::Error),
}
