//! What every verb needs of the shell: commands that say what they run, stages that say how long they took.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

/// Why a verb ends with exit code 1, in a sentence for the person at the terminal.
pub(crate) struct Failure(String);

pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The repository that `cargo xtask` was called in. Cargo says so when it runs xtask; what it said when it built it may be
/// about another checkout with the same target directory.
pub(crate) fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let manifest = env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        manifest
            .parent()
            .map_or_else(|| manifest.clone(), Path::to_owned)
    });
    &ROOT
}

/// Where this build's binaries land: beside xtask itself, whatever target directory cargo was told to use.
pub(crate) fn built(name: &str) -> Outcome<PathBuf> {
    let xtask = env::current_exe()
        .map_err(|error| Failure::new(format!("cannot tell where xtask itself lies: {error}")))?;
    Ok(xtask.with_file_name(name))
}

/// Tollgate's own folder for tools: `TOLLGATE_CACHE`, else `~/.cache/tollgate`.
pub(crate) fn cache() -> Outcome<PathBuf> {
    if let Some(folder) = env::var_os("TOLLGATE_CACHE") {
        return std::path::absolute(&folder).map_err(|error| {
            Failure::new(format!("TOLLGATE_CACHE={}: {error}", folder.display()))
        });
    }
    env::home_dir()
        .map(|home| home.join(".cache/tollgate"))
        .ok_or_else(|| Failure::new("no home directory: set TOLLGATE_CACHE to a folder for tools"))
}

/// Where `cargo install --root` puts the binaries of our own tools.
pub(crate) fn tools_bin() -> Outcome<PathBuf> {
    Ok(cache()?.join("tools/bin"))
}

/// The cargo that started us, in the repository, with our own tools first on its PATH.
pub(crate) fn cargo<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Outcome<Command> {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    command.args(args).current_dir(root());
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = std::iter::once(tools_bin()?).chain(env::split_paths(&path));
    let path = env::join_paths(folders)
        .map_err(|error| Failure::new(format!("the tools folder cannot stand in PATH: {error}")))?;
    command.env("PATH", path);
    Ok(command)
}

/// Runs to the end with our own standard streams; anything but success is a failure that names the command.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let line = line(command);
    println!("$ {line}");
    match command.status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Failure::new(format!("`{line}` ended with {status}"))),
        Err(error) => Err(Failure::new(format!("`{line}` did not start: {error}"))),
    }
}

/// Standard output of a command that must succeed.
pub(crate) fn output(command: &mut Command) -> Outcome<String> {
    let line = line(command);
    let output = command
        .output()
        .map_err(|error| Failure::new(format!("`{line}` did not start: {error}")))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(Failure::new(format!(
            "`{line}` ended with {}\n{}",
            output.status,
            said.trim_end()
        )));
    }
    String::from_utf8(output.stdout).map_err(|_| Failure::new(format!("`{line}` printed no UTF-8")))
}

/// Standard error of a command that must succeed, where cargo says what it did.
pub(crate) fn errors(command: &mut Command) -> Outcome<String> {
    let line = line(command);
    let output = command
        .output()
        .map_err(|error| Failure::new(format!("`{line}` did not start: {error}")))?;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    if output.status.success() {
        Ok(said)
    } else {
        Err(Failure::new(format!(
            "`{line}` ended with {}\n{}",
            output.status,
            said.trim_end()
        )))
    }
}

/// The file of this name on PATH, our own tools included.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let own = tools_bin().ok();
    // Debian keeps ip, ethtool and nginx where only root's PATH looks.
    let system = ["/usr/sbin", "/sbin"].map(PathBuf::from);
    own.into_iter()
        .chain(env::split_paths(&path))
        .chain(system)
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
}

/// The command as one would type it: the program's bare name and its arguments.
fn line(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(program)
        .chain(command.get_args())
        .map(|word| word.to_string_lossy().into_owned())
        .map(|word| {
            if word.contains([' ', '|', '(']) {
                format!("'{word}'")
            } else {
                word
            }
        })
        .collect::<Vec<_>>()
        .join(" ")
}

/// Named pieces of work, each timed; the table at the end is what CI and people read.
pub(crate) struct Stages {
    done: Vec<(&'static str, Duration, Outcome)>,
}

impl Stages {
    pub(crate) const fn new() -> Self {
        Self { done: Vec::new() }
    }

    /// Runs one stage and keeps its time and end; true when it passed. Later stages may still run.
    pub(crate) fn stage(&mut self, name: &'static str, work: impl FnOnce() -> Outcome) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let outcome = work();
        if let Err(failure) = &outcome {
            eprintln!("{name}: {failure}");
        }
        let passed = outcome.is_ok();
        self.done.push((name, start.elapsed(), outcome));
        passed
    }

    /// Prints the table; fails when a stage failed.
    pub(crate) fn finish(self, verb: &str) -> Outcome {
        println!("\n{verb}:");
        let mut failed = Vec::new();
        let mut whole = Duration::ZERO;
        for (name, time, outcome) in &self.done {
            whole += *time;
            let end = if outcome.is_ok() { "passed" } else { "FAILED" };
            println!("  {name:<14} {end} {:>8.1} s", time.as_secs_f64());
            if outcome.is_err() {
                failed.push(*name);
            }
        }
        println!("  {:<14} {:>15.1} s", "all", whole.as_secs_f64());
        if failed.is_empty() {
            Ok(())
        } else {
            Err(Failure::new(format!(
                "{verb} failed: {}",
                failed.join(", ")
            )))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_reads_as_typed() {
        let mut command = Command::new("/usr/bin/cargo");
        command.args(["nextest", "run", "-E", "test(a) | test(b)"]);
        assert_eq!(line(&command), "cargo nextest run -E 'test(a) | test(b)'");
    }

    #[test]
    fn a_failed_stage_fails_the_whole_and_lets_the_next_run() {
        let mut stages = Stages::new();
        assert!(!stages.stage("first", || Err(Failure::new("broken"))));
        assert!(stages.stage("second", || Ok(())));
        let failure = stages.finish("try").expect_err("a failed stage");
        assert_eq!(failure.0, "try failed: first");
    }

    #[test]
    fn a_command_that_fails_is_named() {
        let failure = run(Command::new("false").arg("now")).expect_err("false fails");
        assert_eq!(failure.0, "`false now` ended with exit status: 1");
        let failure = output(&mut Command::new("/no/such/program")).expect_err("nothing there");
        assert!(
            failure.0.starts_with("`program` did not start"),
            "{failure}"
        );
    }
}
