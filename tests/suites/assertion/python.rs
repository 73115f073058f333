//! The sample verifier, run.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

const CURE: &str = "cargo xtask setup --with assertion; cargo xtask test --full";

/// An interpreter with PyJWT.
pub(crate) struct Python {
    program: PathBuf,
    /// The authority that the listener's certificate is of.
    ca: Option<PathBuf>,
}

impl Python {
    pub(crate) fn find() -> Self {
        let program = std::env::var_os("TOLLGATE_PYTHON");
        let program = program.unwrap_or_else(|| panic!("TOLLGATE_PYTHON is not set: {CURE}"));
        Self {
            program: program.into(),
            ca: None,
        }
    }

    pub(crate) fn trusting(self, ca: PathBuf) -> Self {
        Self {
            ca: Some(ca),
            ..self
        }
    }

    /// Whom the sample verifier takes a request to be from, or why nobody.
    pub(crate) fn identity(
        &self,
        jwks: &str,
        audience: &str,
        request: &Value,
    ) -> Result<Value, String> {
        let script = fs::read_to_string(sample()).unwrap();
        let arguments = ["--jwks", jwks, "--audience", audience];
        let input = request.to_string();
        let said = self.fed(&script, &arguments, &input)?;
        Ok(serde_json::from_str(&said).unwrap())
    }

    /// What a script prints; what it printed too when it ends with another exit code than 0.
    pub(crate) fn run(&self, script: &str, arguments: &[&str]) -> Result<String, String> {
        self.fed(script, arguments, "")
    }

    fn fed(&self, script: &str, arguments: &[&str], input: &str) -> Result<String, String> {
        let mut command = Command::new(&self.program);
        // Nothing of the caller's: neither his packages nor a proxy of his.
        command
            .args(["-I", "-c", script])
            .args(arguments)
            .env_clear()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
        if let Some(ca) = &self.ca {
            command.env("SSL_CERT_FILE", ca);
        }
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}; {CURE}", self.program.display()));
        let mut pipe = child.stdin.take().unwrap();
        pipe.write_all(input.as_bytes()).unwrap();
        drop(pipe);
        let output = child.wait_with_output().unwrap();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(errors.is_empty(), "{errors}");
        let said = String::from_utf8(output.stdout).unwrap();
        if output.status.success() {
            Ok(said)
        } else {
            Err(said)
        }
    }
}

fn sample() -> PathBuf {
    concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../docs/examples/verify_assertion.py"
    )
    .into()
}

/// Checks both files of vectors with PyJWT, `hashlib` and `hmac`.
pub(crate) const VECTORS: &str = include_str!("vectors.py");

/// Asks the sample verifier what a site that works never asks it.
pub(crate) const VERIFIER: &str = include_str!("verifier.py");
