//! How the workspace is built for its tests, and run by nextest.

use std::env;
use std::process::Command;

use crate::shell::{Outcome, built, cargo};

/// One selection for every command, so that cargo settles on one set of features and builds each crate once.
pub(crate) const BUILD_SELECTION: &[&str] = &["--workspace", "--exclude", "tollgate-benches"];

/// A nextest run of the tests that a filter selects; it fails when the filter selects none.
pub(crate) fn nextest(filter: &str) -> Outcome<Command> {
    let mut command = cargo(["nextest", "run", "--no-tests", "fail"])?;
    command
        .args(BUILD_SELECTION)
        .args(["--bins", "--tests", "-E", filter]);
    if env::var_os("CI").is_some() && env::var_os("NEXTEST_PROFILE").is_none() {
        command.args(["--profile", "ci"]);
    }
    command.env("TOLLGATE_BIN", built("tollgate")?);
    Ok(command)
}
