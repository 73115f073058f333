//! The room behind `tollgate demo`: a network, an authority, an issuer and an API, all of our own.
//!
//! The test suites stand on the same room ([`lab`], [`pki`], [`issuer`], [`echo`], [`daemon`], [`curl`]).

use std::io;
use std::process::ExitCode;

use thiserror::Error;

pub mod curl;
pub mod daemon;
pub mod echo;
pub mod issuer;
pub mod lab;
pub mod pki;
mod scene;
mod serve;
mod walk;

/// How `tollgate demo` was called.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Walk through and end, instead of staying up for curl lines to be pasted.
    pub once: bool,
}

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

/// Runs the demo; success only if everything went as stated.
#[must_use]
pub fn run(options: Options) -> ExitCode {
    match stage(options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("tollgate demo: {error}");
            ExitCode::FAILURE
        }
    }
}

fn stage(options: Options) -> Result<bool, DemoError> {
    let missing = lab::missing_rights();
    if let Some(missing) = &missing {
        println!("The datapath is left out: this process lacks {missing}.");
        println!(
            "What follows is the sidecar alone, on loopback: tokens, headers, no load balancing.\n"
        );
    }
    let mut scene = scene::Scene::set(missing.is_none())?;
    print!("{}", scene.describe());
    if options.once {
        return Ok(walk::walk(&mut scene));
    }
    print!("{}", walk::lines_to_paste(&scene)?);
    wait_for_interrupt().map_err(|error| DemoError::Io("wait for ctrl-C".to_owned(), error))?;
    println!("\nDown again; nothing is left.");
    Ok(true)
}

fn wait_for_interrupt() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminate =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
        tokio::select! {
            interrupted = tokio::signal::ctrl_c() => interrupted,
            _ = terminate.recv() => Ok(()),
        }
    })
}
