//! Rows: what is sent, and what must come of it.

use std::fmt;

use serde_json::{Value, json};
use tollgate_tests::frames::Message;

use crate::world::HOST;

/// Where the token goes.
pub(super) const TOKEN: &str = "$TOKEN";

/// What every forged value says. No token holds it by chance: its last byte is none of base64url.
pub(super) const FORGED: &str = "eve!";

pub(super) struct Row {
    /// In docs/threats.md.
    pub(super) line: u8,
    what: String,
    /// What the token says beside or instead of the usual; `null` takes a claim out.
    pub(super) claims: Value,
    pub(super) wire: Wire,
    pub(super) want: Want,
}

pub(super) enum Wire {
    H1(Vec<u8>),
    H2(Message),
}

#[derive(Clone)]
pub(super) enum Want {
    /// The API gets it, without anything that is [`FORGED`].
    Reaches(Reaches),
    /// A refusal with this status and reason.
    Refused(u16, &'static str),
    /// An answer of Tollgate's own that is no refusal.
    Answered(u16),
    /// No request: 400 by HTTP/1.1, a stream's or a connection's error by HTTP/2.
    Unreadable,
}

/// What the API gets.
#[derive(Clone, Default)]
pub(super) struct Reaches {
    pub(super) line: Option<String>,
    /// All values of these fields, by these names exactly.
    pub(super) fields: Vec<(&'static str, Vec<String>)>,
}

pub(super) fn reaches(fields: &[(&'static str, &[&str])]) -> Want {
    let owned = |values: &[&str]| values.iter().map(|&value| value.to_owned()).collect();
    let fields = fields.iter().map(|&(name, values)| (name, owned(values)));
    Want::Reaches(Reaches {
        line: None,
        fields: fields.collect(),
    })
}

/// It is forwarded with this method and target.
pub(super) fn as_line(method_and_target: &str) -> Want {
    Want::Reaches(Reaches {
        line: Some(format!("{method_and_target} HTTP/1.1")),
        fields: Vec::new(),
    })
}

/// A request that either protocol can carry.
#[derive(Clone)]
pub(super) struct Ask {
    method: String,
    path: String,
    fields: Vec<(String, String)>,
    body: String,
    trailers: Vec<(String, String)>,
}

impl Ask {
    pub(super) fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            fields: Vec::new(),
            body: String::new(),
            trailers: Vec::new(),
        }
    }

    pub(super) fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    pub(super) fn with_token(self) -> Self {
        self.field("authorization", &format!("Bearer {TOKEN}"))
    }

    pub(super) fn field(mut self, name: &str, value: &str) -> Self {
        self.fields.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn body(mut self, body: &str) -> Self {
        body.clone_into(&mut self.body);
        self
    }

    pub(super) fn trailer(mut self, name: &str, value: &str) -> Self {
        self.trailers.push((name.to_owned(), value.to_owned()));
        self
    }

    pub(super) fn h1(&self) -> Vec<u8> {
        let mut text = format!("{} {} HTTP/1.1\r\nhost: {HOST}\r\n", self.method, self.path);
        let lines = |fields: &[(String, String)]| -> String {
            let lines = fields
                .iter()
                .map(|(name, value)| format!("{name}: {value}\r\n"));
            lines.collect()
        };
        text += &lines(&self.fields);
        if !self.trailers.is_empty() {
            let names: Vec<&str> = self
                .trailers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            text += &format!(
                "trailer: {}\r\ntransfer-encoding: chunked\r\n\r\n",
                names.join(", ")
            );
            text += &format!("{:x}\r\n{}\r\n0\r\n", self.body.len(), self.body);
            text += &lines(&self.trailers);
        } else if !self.body.is_empty() {
            text += &format!("content-length: {}\r\n", self.body.len());
        }
        text += "\r\n";
        if self.trailers.is_empty() {
            text += &self.body;
        }
        text.into_bytes()
    }

    /// Names in lower case: the protocol has no others (RFC 9113, section 8.2).
    pub(super) fn h2(&self) -> Message {
        let mut message = Message::new(&self.method, HOST, &self.path);
        let pair = |(name, value): &(String, String)| {
            (
                name.to_ascii_lowercase().into_bytes(),
                value.clone().into_bytes(),
            )
        };
        message.fields.extend(self.fields.iter().map(pair));
        if !self.trailers.is_empty() {
            // As clients announce them; without it HTTP/1.1 upstreams get none.
            let names: Vec<&str> = self
                .trailers
                .iter()
                .map(|(name, _)| name.as_str())
                .collect();
            message = message.field("trailer", names.join(", ").to_ascii_lowercase());
        }
        message.body = self.body.clone().into_bytes();
        message.trailers = self.trailers.iter().map(pair).collect();
        message
    }
}

/// The rows of one line.
pub(super) struct Table {
    line: u8,
    pub(super) rows: Vec<Row>,
}

impl Table {
    pub(super) fn of(line: u8) -> Self {
        Self {
            line,
            rows: Vec::new(),
        }
    }

    /// Over HTTP/1.1 and over HTTP/2.
    pub(super) fn both(&mut self, what: impl Into<String>, ask: &Ask, want: &Want) {
        self.both_with(what, json!({}), ask, want);
    }

    /// The same with a token that says more or less.
    pub(super) fn both_with(
        &mut self,
        what: impl Into<String>,
        claims: Value,
        ask: &Ask,
        want: &Want,
    ) {
        let what = what.into();
        self.push(what.clone(), claims.clone(), Wire::H1(ask.h1()), want);
        self.push(what, claims, Wire::H2(ask.h2()), want);
    }

    /// These bytes over HTTP/1.1.
    pub(super) fn h1(&mut self, what: impl Into<String>, bytes: impl AsRef<[u8]>, want: &Want) {
        self.h1_with(what, json!({}), bytes, want);
    }

    /// The same with a token that says more or less.
    pub(super) fn h1_with(
        &mut self,
        what: impl Into<String>,
        claims: Value,
        bytes: impl AsRef<[u8]>,
        want: &Want,
    ) {
        let wire = Wire::H1(bytes.as_ref().to_vec());
        self.push(what.into(), claims, wire, want);
    }

    /// These fields over HTTP/2.
    pub(super) fn h2(&mut self, what: impl Into<String>, message: Message, want: &Want) {
        self.push(what.into(), json!({}), Wire::H2(message), want);
    }

    fn push(&mut self, what: String, claims: Value, wire: Wire, want: &Want) {
        self.rows.push(Row {
            line: self.line,
            what,
            claims,
            wire,
            want: want.clone(),
        });
    }
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let wire = match self.wire {
            Wire::H1(_) => "HTTP/1.1",
            Wire::H2(_) => "HTTP/2",
        };
        write!(
            f,
            "line {}, {}, {wire}",
            self.line,
            self.what.escape_debug()
        )
    }
}
