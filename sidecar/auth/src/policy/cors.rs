//! What pages of other origins may do: cross-origin resource sharing (Fetch sections 3.3 and 4.8).
//!
//! A browser asks before it sends what a page could not have sent without a script: the preflight, an OPTIONS request
//! without credentials. It has no token by design, so it is the one request that a route with a token may treat otherwise,
//! and everything that is not exactly what a browser sends is an ordinary request.

use std::time::Duration;

use tollgate_http::fields::valid_name;
use tollgate_http::{Fields, Method, Origin, RequestHead};

use crate::header::scrub::reads_alike;
use crate::reason::Reason;
use crate::refusal::{Refusal, quote};
use crate::token::source::{TokenSource, find};

/// What a route does about pages of other origins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Cors {
    /// Nothing: a preflight is a request as any other.
    #[default]
    Off,
    /// The API answers: preflights pass to it without a token, and without identity.
    Forward,
    /// Tollgate answers.
    Answer(Box<Sharing>),
}

/// Who may do what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sharing {
    /// Whose pages.
    pub origins: Origins,
    /// The methods they may use; none = those of the route.
    pub methods: Vec<Method>,
    /// The fields that they may send, beside those that every page may.
    pub headers: Headers,
    /// The fields of answers that they may read, beside those that every page may.
    pub expose: Vec<String>,
    /// Requests may carry cookies, and their answers be read. Never with [`Origins::Any`].
    pub credentials: bool,
    /// How long a browser may remember the answer to a preflight.
    pub max_age: Duration,
}

/// Whose pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origins {
    /// Everybody's.
    Any,
    /// Those of these origins.
    These(Vec<Origin>),
}

/// Fields that may be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Headers {
    /// Whichever are asked for.
    Any,
    /// These, in lower case.
    These(Vec<String>),
}

/// A preflight: what a page would like to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Preflight {
    /// The page's origin; `None` is `null`, that of a page that has none of its own (a sandbox, a file).
    pub origin: Option<Origin>,
    /// The method it would use. It decides about the route.
    pub method: Method,
    /// The fields it would send.
    pub headers: Vec<String>,
}

impl Preflight {
    /// Reads a preflight, by the strict test: exactly what a browser sends, or none. `is_whole` says that nothing follows
    /// the head.
    ///
    /// It is an OPTIONS request for a path, with one serialized origin or `null`, one method, at most one list of field names, no
    /// body, and no credentials in any spelling of their fields.
    pub fn read(head: &RequestHead, is_whole: bool) -> Option<Self> {
        if head.method != Method::OPTIONS || head.path.is_asterisk() || !is_whole {
            return None;
        }
        let foreign = |name: &[u8]| {
            NEVER_SENT
                .iter()
                .any(|one| reads_alike(name, one.as_bytes()))
        };
        if head.fields.iter().any(|field| foreign(&field.name)) {
            return None;
        }
        // What it names is gone before the request is passed on, which would make it another one.
        let mut options = head
            .fields
            .get_all("connection")
            .flat_map(|line| line.split(|&b| b == b','));
        if options.any(|option| !is_of_the_connection(option.trim_ascii())) {
            return None;
        }
        match once(&head.fields, "content-length") {
            Ok(None) => {}
            Ok(Some(length)) if length == b"0" => {}
            _ => return None,
        }
        let origin = match once(&head.fields, "origin").ok()?? {
            value if value == b"null" => None,
            value => Some(Origin::parse(value).ok()?),
        };
        let method = once(&head.fields, "access-control-request-method").ok()??;
        let method = Method::parse(method).ok()?;
        // Methods that no page may use (Fetch section 2.2.1).
        if !method.is_passed_on() {
            return None;
        }
        let headers = match once(&head.fields, "access-control-request-headers").ok()? {
            None => Vec::new(),
            Some(list) => names(list)?,
        };
        Some(Self {
            origin,
            method,
            headers,
        })
    }
}

impl Cors {
    /// Whether `preflight`, read from this head and found to be for the route of `sources`, is treated otherwise than
    /// other requests. What is passed on must not have a token where the route looks for one, in whatever spelling.
    ///
    /// The origin `null` is nobody's in particular: it is covered by [`Origins::Any`] and by nothing else.
    pub fn takes(
        &self,
        preflight: &Preflight,
        head: &RequestHead,
        sources: &[TokenSource],
    ) -> bool {
        match self {
            Self::Off => false,
            Self::Forward => preflight.origin.is_some() && matches!(find(head, sources), Ok(None)),
            Self::Answer(sharing) => preflight.origin.is_some() || sharing.origins == Origins::Any,
        }
    }
}

impl Sharing {
    /// Whether pages of `origin` may do anything; `None` is `null`.
    fn admits(&self, origin: Option<&Origin>) -> bool {
        match &self.origins {
            Origins::Any => true,
            Origins::These(list) => origin.is_some_and(|origin| list.contains(origin)),
        }
    }

    /// Which of the listed origins made a request with these fields; `None` unless exactly one field says so.
    pub fn reader(&self, fields: &Fields) -> Option<&Origin> {
        let Origins::These(list) = &self.origins else {
            return None;
        };
        let mut values = fields.get_all("origin");
        match (values.next(), values.next()) {
            (Some(value), None) => list.iter().find(|origin| origin.is(value)),
            _ => None,
        }
    }

    /// The fields of the answer to a preflight, without those of [`Self::dress`].
    ///
    /// # Errors
    /// [`Reason::CorsDenied`], naming what is not allowed.
    pub fn answer(&self, preflight: &Preflight) -> Result<Fields, Refusal> {
        let deny = |what: &str, name: &str| {
            let detail = format!(
                "the route's `cors` does not allow the {what} {}",
                quote(name)
            );
            Err(Refusal::new(Reason::CorsDenied, detail))
        };
        let origin = preflight.origin.as_ref();
        if !self.admits(origin) {
            return deny("origin", origin.map_or("null", Origin::as_str));
        }
        let method = &preflight.method;
        if !self.methods.is_empty() && !self.methods.contains(method) {
            return deny("method", method.as_str());
        }
        if let Headers::These(allowed) = &self.headers {
            let lacking = preflight
                .headers
                .iter()
                .find(|name| !allowed.contains(*name));
            if let Some(name) = lacking {
                return deny("header", name);
            }
        }
        let mut fields = Fields::with_capacity(8);
        // What was asked for and no more: the answer is for this question, and what else is allowed is nobody's business.
        fields.push("access-control-allow-methods", method.as_str().to_owned());
        if !preflight.headers.is_empty() {
            fields.push("access-control-allow-headers", preflight.headers.join(","));
        }
        fields.push("access-control-max-age", self.max_age.as_secs().to_string());
        fields.push(
            "vary",
            "access-control-request-method, access-control-request-headers",
        );
        Ok(fields)
    }

    /// Takes from an answer all that it says of sharing: one half of it beside the other would be a rule that nobody made.
    pub fn silence(fields: &mut Fields) {
        fields.retain(|field| !is_of_sharing(&field.name));
    }

    /// Says in an answer who may read it. `origin` is the [`Self::reader`], if there is one; answers to others say nothing.
    pub fn dress(&self, origin: Option<&Origin>, fields: &mut Fields) {
        let allowed = match (&self.origins, origin) {
            (Origins::Any, _) => Some("*".to_owned()),
            (Origins::These(_), origin) => {
                // Caches must not hand one page's answer to another's, or to nobody's.
                fields.push("vary", "origin");
                origin.map(|origin| origin.as_str().to_owned())
            }
        };
        let Some(allowed) = allowed else { return };
        fields.push("access-control-allow-origin", allowed);
        if self.credentials {
            fields.push("access-control-allow-credentials", "true");
        }
        if !self.expose.is_empty() {
            fields.push("access-control-expose-headers", self.expose.join(","));
        }
    }
}

/// Whether a field of an answer is about sharing: all whose names begin as those of Fetch section 3.3.3 do.
pub fn is_of_sharing(name: &[u8]) -> bool {
    const BEGINNING: &[u8] = b"access-control-";
    name.get(..BEGINNING.len())
        .is_some_and(|name| name.eq_ignore_ascii_case(BEGINNING))
}

/// Fields that no preflight has (Fetch section 4.8: no credentials, no body), by which it would be another request.
const NEVER_SENT: [&str; 6] = [
    "authorization",
    "proxy-authorization",
    "cookie",
    "transfer-encoding",
    "upgrade",
    "expect",
];

/// What browsers say of a connection; all else names fields.
fn is_of_the_connection(option: &[u8]) -> bool {
    [&b"keep-alive"[..], b"close", b"te", b""]
        .iter()
        .any(|one| option.eq_ignore_ascii_case(one))
}

/// The most names that are asked for at a time; pages have a handful.
const MOST_NAMES: usize = 64;

/// The longest list of names, in bytes. All of it may come back in the answer.
const LONGEST_LIST: usize = 2048;

/// The one value of a field; `Err` if there are several.
fn once<'f>(fields: &'f Fields, name: &str) -> Result<Option<&'f [u8]>, ()> {
    // A second spelling would be another field to us, and the same to some servers behind.
    let mut found = fields
        .iter()
        .filter(|field| reads_alike(&field.name, name.as_bytes()));
    match (found.next(), found.next()) {
        (None, _) => Ok(None),
        (Some(field), None) if field.is(name) => Ok(Some(&field.value)),
        _ => Err(()),
    }
}

/// `1#field-name`, in lower case.
fn names(list: &[u8]) -> Option<Vec<String>> {
    if list.len() > LONGEST_LIST {
        return None;
    }
    let mut names = Vec::new();
    for name in list.split(|&b| b == b',') {
        let name = name.trim_ascii();
        if !valid_name(name) || names.len() == MOST_NAMES {
            return None;
        }
        let name = name.iter().map(|b| char::from(b.to_ascii_lowercase()));
        names.push(name.collect());
    }
    Some(names)
}

#[cfg(test)]
mod tests;
