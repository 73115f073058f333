//! The room behind `tollgate demo`: a network, an authority, an issuer and an API, all of our own.
//!
//! The test suites stand on the same room ([`lab`], [`pki`], [`issuer`], [`echo`], [`daemon`], [`curl`]).

use std::io;
use std::process::ExitCode;

pub mod curl;
pub mod daemon;
pub mod echo;
mod error;
pub mod issuer;
pub mod lab;
pub mod pki;
mod scene;
mod serve;
mod transcript;
mod walk;

pub use error::DemoError;

use transcript::say;

/// How `tollgate demo` was called.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Walk through and end, instead of staying up for curl lines to be pasted.
    pub once: bool,
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
        say(&format!(
            "The datapath is left out: this process lacks {missing}.\n\
             What follows is the sidecar alone, on loopback: tokens, headers, no load balancing.\n\n"
        ));
    }
    let mut scene = scene::Scene::set(missing.is_none())?;
    say(&scene.describe());
    if options.once {
        return Ok(walk::walk(&mut scene));
    }
    say(&walk::lines_to_paste(&scene)?);
    wait_for_interrupt().map_err(|error| DemoError::Io("wait for ctrl-C".to_owned(), error))?;
    say("\nGoing down; nothing is left behind.\n");
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
