//! The packages of PyPI that the suite `assertion` wants, as its lock file names them, in an environment of our own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::shell::{Failure, Outcome, cache, root, run};

/// Names and hashes; pip takes nothing else.
const LOCK: &str = "tests/assertion/requirements.txt";

/// The interpreter that has them; the suite finds it by `TOLLGATE_PYTHON`.
pub(crate) fn python() -> Outcome<PathBuf> {
    Ok(folder()?.join("bin/python"))
}

fn folder() -> Outcome<PathBuf> {
    Ok(cache()?.join("python"))
}

/// The lock file beside the environment was copied when all was there.
pub(super) fn is_ready() -> Outcome<bool> {
    let wanted = fs::read(root().join(LOCK)).ok();
    let stands = fs::read(folder()?.join("installed.txt")).ok();
    Ok(wanted.is_some() && wanted == stands && python()?.exists())
}

pub(super) fn describe() -> Outcome<String> {
    Ok(format!(
        "the packages of {LOCK} into {}",
        folder()?.display()
    ))
}

pub(super) fn install() -> Outcome {
    let folder = folder()?;
    // Made anew: what an older lock file named is gone.
    run(Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&folder))?;
    run(Command::new(python()?)
        .args(["-m", "pip", "install", "--quiet", "--no-deps"])
        .args(["--disable-pip-version-check", "--only-binary", ":all:"])
        .args(["--require-hashes", "--requirement"])
        .arg(root().join(LOCK)))?;
    fs::copy(root().join(LOCK), folder.join("installed.txt"))
        .map(|_| ())
        .map_err(|error| Failure::new(format!("{}: {error}", folder.display())))
}
