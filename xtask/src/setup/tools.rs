//! Cargo subcommands of our own, in a folder of our own, at versions we chose.

use std::fs;
use std::process::Command;

use crate::shell::{Failure, Outcome, cache, cargo, on_path, run, tools_bin};

/// A cargo subcommand that `cargo install` can build.
pub(crate) struct Tool {
    name: &'static str,
    version: &'static str,
    /// Further words for `cargo install`.
    options: &'static [&'static str],
    /// One that the machine already has, in whatever version, will do.
    any: bool,
}

/// Its reading of deny.toml changes between versions, so it is this one.
pub(crate) const CARGO_DENY: Tool = Tool {
    name: "cargo-deny",
    version: "0.20.2",
    options: &[],
    any: false,
};

/// Without self-update: a test runner has no business replacing itself.
pub(crate) const NEXTEST: Tool = Tool {
    name: "cargo-nextest",
    version: "0.9.143",
    options: &["--no-default-features", "--features", "default-no-update"],
    any: true,
};

/// The two halves of gungraun talk in a format of their own, so it is the version of the library.
pub(crate) const GUNGRAUN_RUNNER: Tool = Tool {
    name: "gungraun-runner",
    version: "0.20.0",
    options: &[],
    any: false,
};

pub(crate) const CARGO_MUTANTS: Tool = Tool {
    name: "cargo-mutants",
    version: "27.1.0",
    options: &[],
    any: true,
};

impl Tool {
    pub(super) fn is_ready(&self) -> Outcome<bool> {
        if self.any {
            return Ok(on_path(self.name).is_some());
        }
        Ok(tools_bin()?.join(self.name).is_file() && installed(self.name, self.version)?)
    }

    pub(super) fn describe(&self) -> Outcome<String> {
        let root = cache()?.join("tools");
        Ok(format!(
            "{} {} into {}, built here (some minutes)",
            self.name,
            self.version,
            root.display()
        ))
    }

    pub(super) fn install(&self) -> Outcome {
        run(cargo_install(self.name, self.version)?.args(self.options))
            .map_err(|failure| Failure::new(format!("{} {}: {failure}", self.name, self.version)))
    }
}

/// `cargo install` into our own root, in a target folder of its own, with the versions its authors locked.
pub(super) fn cargo_install(name: &str, version: &str) -> Outcome<Command> {
    let root = cache()?.join("tools");
    fs::create_dir_all(&root)
        .map_err(|error| Failure::new(format!("{}: {error}", root.display())))?;
    let mut command = cargo([
        "install",
        "--quiet",
        "--locked",
        "--version",
        version,
        "--root",
    ])?;
    // Neither this workspace's settings nor its target folder are the tool's business.
    command
        .arg(&root)
        .arg(name)
        .current_dir(&root)
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("RUSTFLAGS");
    // A tool that runs for a second need not be optimised for minutes: a third less to build, no slower to use.
    for (setting, value) in [
        ("OPT_LEVEL", "1"),
        ("LTO", "off"),
        ("CODEGEN_UNITS", "16"),
        ("DEBUG", "0"),
    ] {
        command.env(format!("CARGO_PROFILE_RELEASE_{setting}"), value);
    }
    Ok(command)
}

/// Cargo's own record of what stands in our root.
pub(super) fn installed(name: &str, version: &str) -> Outcome<bool> {
    let record = cache()?.join("tools/.crates.toml");
    Ok(fs::read_to_string(record).is_ok_and(|record| records(&record, name, version)))
}

fn records(record: &str, name: &str, version: &str) -> bool {
    record
        .lines()
        .any(|line| line.starts_with(&format!("\"{name} {version} (")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cargos_record_is_read_by_name_and_version() {
        let record = "[v1]\n\"cargo-deny 0.20.2 (registry+file:///index)\" = [\"cargo-deny\"]\n";
        assert!(records(record, "cargo-deny", "0.20.2"));
        assert!(!records(record, "cargo-deny", "0.20.1"));
        assert!(!records(record, "deny", "0.20.2"));
    }
}
