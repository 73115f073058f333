//! The npm packages of the suite `idp`, as its lock file names them, in a folder of our own.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use crate::shell::{Failure, Outcome, cache, root, run};

/// Where the suite keeps what it wants.
const WANTED: &str = "tests/idp";

const LOCK: &str = "package-lock.json";

/// The folder with `node_modules`; the suite finds it by `TOLLGATE_IDP`.
pub(crate) fn folder() -> Outcome<PathBuf> {
    Ok(cache()?.join("idp"))
}

/// npm keeps in `node_modules` what it installed; ours is the lock file beside it, copied when all was there.
pub(super) fn is_ready() -> Outcome<bool> {
    let wanted = fs::read(root().join(WANTED).join(LOCK)).ok();
    let stands = fs::read(folder()?.join("installed.json")).ok();
    Ok(wanted.is_some() && wanted == stands)
}

pub(super) fn describe() -> Outcome<String> {
    Ok(format!(
        "the npm packages of {WANTED}/{LOCK} into {}",
        folder()?.display()
    ))
}

pub(super) fn install() -> Outcome {
    let folder = folder()?;
    let trouble = |error| Failure::new(format!("{}: {error}", folder.display()));
    fs::create_dir_all(&folder).map_err(trouble)?;
    for file in ["package.json", LOCK] {
        fs::copy(root().join(WANTED).join(file), folder.join(file)).map_err(trouble)?;
    }
    // Nothing that a package brings is run, and nobody is told of it.
    run(Command::new("npm")
        .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund"])
        .current_dir(&folder))?;
    fs::copy(folder.join(LOCK), folder.join("installed.json"))
        .map(|_| ())
        .map_err(trouble)
}
