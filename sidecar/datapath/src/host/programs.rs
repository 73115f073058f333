//! What programs of the host say of what Tollgate itself cannot ask the kernel for.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

/// How long one may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Bytes that one may print: some hundred thousand rules.
const MOST: u64 = 32 << 20;

/// Where root's programs are, whatever `PATH` says.
const SYSTEM: [&str; 3] = ["/usr/sbin", "/sbin", "/usr/local/sbin"];

/// What a program prints that is run in this thread's network namespace; else why there is nothing, in words that follow its name.
pub(super) fn printed(program: &str, arguments: &[&str]) -> Result<String, String> {
    let path = found(program).ok_or("is not installed")?;
    run(&path, arguments, PATIENCE, MOST)
}

fn found(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    folders
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn run(path: &Path, arguments: &[&str], patience: Duration, most: u64) -> Result<String, String> {
    let failed = |error: io::Error| format!("was not run: {error}");
    let mut child = Command::new(path)
        .args(arguments)
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    // Both are read at once, or it would wait for the one that nobody reads.
    let (said, complaints) = (
        read(child.stdout.take(), most),
        read(child.stderr.take(), most),
    );
    let text = said.recv_timeout(patience);
    if !matches!(&text, Ok(Ok(text)) if (text.len() as u64) < most) {
        // It may have ended meanwhile.
        let _ended = child.kill();
    }
    let status = child.wait().map_err(failed)?;
    let text = match text {
        Err(_) => return Err(format!("did not end within {} s", patience.as_secs())),
        Ok(text) => text.map_err(failed)?,
    };
    if text.len() as u64 >= most {
        return Err(format!("prints more than {} MiB", most >> 20));
    }
    if !status.success() {
        let complaints = complaints.recv_timeout(patience).ok().and_then(Result::ok);
        let complaints = String::from_utf8_lossy(&complaints.unwrap_or_default()).into_owned();
        let first = complaints.lines().next().unwrap_or_default().trim();
        return Err(format!("ended with {status}: {first}"));
    }
    String::from_utf8(text).map_err(|_| "prints what is no text".to_owned())
}

fn read<R: io::Read + Send + 'static>(
    pipe: Option<R>,
    most: u64,
) -> mpsc::Receiver<io::Result<Vec<u8>>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let done = pipe.map_or(Ok(0), |pipe| pipe.take(most).read_to_end(&mut bytes));
        // Nobody waits any more for what took too long.
        let _waited = sender.send(done.map(|_| bytes));
    });
    receiver
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, patience: Duration, most: u64) -> Result<String, String> {
        run(Path::new("/bin/sh"), &["-c", script], patience, most)
    }

    #[test]
    fn what_is_printed_is_had_or_why_not() {
        assert_eq!(
            shell("echo one; echo two >&2", PATIENCE, MOST),
            Ok("one\n".to_owned())
        );
        let why = shell("echo not permitted >&2; exit 3", PATIENCE, MOST).unwrap_err();
        assert!(why.contains("3") && why.ends_with("not permitted"), "{why}");
        assert_eq!(
            printed("no-such-program", &[]),
            Err("is not installed".to_owned())
        );
        let why = run(Path::new("/no/such"), &[], PATIENCE, MOST).unwrap_err();
        assert!(why.starts_with("was not run"), "{why}");
    }

    #[test]
    fn neither_its_time_nor_its_length_is_without_bound() {
        let why = shell("exec tail -f /dev/null", Duration::ZERO, MOST).unwrap_err();
        assert!(why.starts_with("did not end"), "{why}");
        let why = shell("exec cat /dev/zero", PATIENCE, 1 << 20).unwrap_err();
        assert_eq!(why, "prints more than 1 MiB");
        // More than a pipe holds, of what is not asked for.
        let loud = "head -c 1000000 /dev/zero >&2; echo here";
        assert_eq!(shell(loud, PATIENCE, MOST), Ok("here\n".to_owned()));
    }
}
