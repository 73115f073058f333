//! The client: `curl`, as anyone would paste it.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;

use serde_json::Value;

use super::lab::{LabError, Netns, Process, in_path, path_of, tethered};

/// A `curl` that trusts the demo's authority and knows where the API's name leads.
#[derive(Clone, Debug)]
pub struct Curl {
    /// The namespace that it runs in; `None` is where the caller is.
    pub place: Option<Arc<Netns>>,
    /// The authority's certificate.
    pub ca: PathBuf,
    /// The API's host name.
    pub host: String,
    program: PathBuf,
    http2: bool,
}

/// What came back.
#[derive(Clone, Debug)]
pub struct Reply {
    /// The version as curl prints it: `HTTP/2`, `HTTP/1.1`.
    pub version: String,
    /// The status.
    pub status: u16,
    /// The fields, names as received.
    pub fields: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Reply {
    /// The first value of a field.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.fields.iter();
        fields
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

impl Curl {
    /// Finds `curl` and asks it what it can do.
    ///
    /// # Errors
    /// When it is not installed.
    pub fn find(place: Option<Arc<Netns>>, ca: PathBuf, host: &str) -> Result<Self, LabError> {
        let program = in_path("curl").ok_or_else(|| {
            LabError::new(
                "find `curl` in PATH",
                "not installed; on Debian: apt-get install curl",
            )
        })?;
        let version = Command::new(&program)
            .arg("--version")
            .output()
            .map_err(|error| LabError::new("run `curl --version`", error))?;
        let http2 = String::from_utf8_lossy(&version.stdout).contains("HTTP2");
        Ok(Self {
            place,
            ca,
            host: host.to_owned(),
            program,
            http2,
        })
    }

    /// Whether this curl speaks HTTP/2.
    #[must_use]
    pub fn speaks_http2(&self) -> bool {
        self.http2
    }

    /// Requests `path` of the API at `address`, with more arguments for curl.
    ///
    /// # Errors
    /// When curl fails (it says why) or what it prints is no HTTP answer.
    pub fn get(&self, address: SocketAddr, path: &str, more: &[String]) -> io::Result<Reply> {
        let mut command = tethered(&self.program);
        command
            .args(["--silent", "--show-error", "--include", "--max-time", "10"])
            .args(self.arguments(address, path))
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let process = match &self.place {
            Some(ns) => ns.spawn(command).map_err(io::Error::other)?,
            None => Process::spawn(&mut command)?,
        };
        let output = process.output()?;
        if !output.status.success() {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(io::Error::other(why));
        }
        parse(&String::from_utf8_lossy(&output.stdout))
    }

    /// The same as a line for a shell.
    #[must_use]
    pub fn line(&self, address: SocketAddr, path: &str, more: &[String]) -> String {
        let mut line = match &self.place {
            Some(ns) => format!("nsenter --net={} curl", path_of(ns)),
            None => "curl".to_owned(),
        };
        for argument in self.arguments(address, path).iter().chain(more) {
            line.push(' ');
            line.push_str(&quoted(argument));
        }
        line
    }

    fn arguments(&self, address: SocketAddr, path: &str) -> Vec<String> {
        let ip = match address {
            SocketAddr::V4(v4) => v4.ip().to_string(),
            SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
        };
        let port = address.port();
        let authority = match port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        };
        vec![
            if self.http2 { "--http2" } else { "--http1.1" }.to_owned(),
            "--cacert".to_owned(),
            self.ca.display().to_string(),
            "--resolve".to_owned(),
            format!("{}:{port}:{ip}", self.host),
            format!("https://{authority}{path}"),
        ]
    }
}

/// For a POSIX shell.
fn quoted(argument: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_./:,=@%+".contains(&byte);
    if argument.bytes().all(plain) {
        argument.to_owned()
    } else {
        format!("'{}'", argument.replace('\'', "'\\''"))
    }
}

fn parse(text: &str) -> io::Result<Reply> {
    let malformed = || io::Error::other(format!("not an HTTP answer: {text:?}"));
    let (head, body) = text.split_once("\r\n\r\n").ok_or_else(malformed)?;
    let mut lines = head.split("\r\n");
    let mut first = lines.next().unwrap_or_default().split(' ');
    let version = first.next().unwrap_or_default().to_owned();
    let status = first
        .next()
        .and_then(|code| code.parse().ok())
        .ok_or_else(malformed)?;
    let fields = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    Ok(Reply {
        version,
        status,
        fields,
        body: body.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curl() -> Curl {
        Curl {
            place: None,
            ca: PathBuf::from("/tmp/the ca.crt"),
            host: "api.example.com".to_owned(),
            program: PathBuf::from("/usr/bin/curl"),
            http2: true,
        }
    }

    #[test]
    fn a_line_can_be_pasted_into_a_shell() {
        let more = ["-H".to_owned(), "X-Name: it's".to_owned()];
        assert_eq!(
            curl().line("203.0.113.10:443".parse().unwrap(), "/orders", &more),
            "curl --http2 --cacert '/tmp/the ca.crt' --resolve api.example.com:443:203.0.113.10 \
             https://api.example.com/orders -H 'X-Name: it'\\''s'",
        );
        let v6 = curl().line("[2001:db8::1]:8443".parse().unwrap(), "/", &[]);
        assert!(
            v6.contains("--resolve 'api.example.com:8443:[2001:db8::1]'"),
            "{v6}"
        );
        assert!(v6.ends_with(" https://api.example.com:8443/"), "{v6}");
    }

    #[test]
    fn an_answer_is_taken_apart() {
        let reply = parse("HTTP/2 401 \r\nwww-authenticate: Bearer\r\n\r\n{\"a\":1}").unwrap();
        assert_eq!((reply.version.as_str(), reply.status), ("HTTP/2", 401));
        assert_eq!(reply.field("WWW-Authenticate"), Some("Bearer"));
        assert_eq!(reply.json()["a"], 1);
        parse("").unwrap_err();
        parse("HTTP/2 none\r\n\r\n").unwrap_err();
    }
}
