//! What an assertion says.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Map, Value, json};
use tollgate_http::fields::Field;
use tollgate_http::{Authority, Method, Path, Scheme};

use super::canonical::digest;
use super::rules::Rules;
use crate::header::encode::exact;
use crate::header::inject::InjectSet;
use crate::refusal::Refusal;
use crate::time::UnixTime;
use crate::token::claims::{ClaimPath, Claims};
use crate::token::sha256::sha256;

/// The `iss` of every assertion. Who it is from is said by the key; this tells one from the tokens of an identity
/// provider.
pub const ISSUER: &str = "tollgate";

/// The request that an assertion is bound to, as it is forwarded.
#[derive(Clone, Copy, Debug)]
pub struct Request<'r> {
    /// Unique to it; the assertion's `jti`.
    pub id: &'r str,
    /// Its method.
    pub method: &'r Method,
    /// How the client reached Tollgate.
    pub scheme: Scheme,
    /// Its host; `None` only for HTTP/1.0 without one.
    pub authority: Option<&'r Authority>,
    /// Its path.
    pub path: &'r Path,
    /// What follows the first `?`, if there is one.
    pub query: Option<&'r [u8]>,
}

/// What a payload is made of.
pub(super) struct Parts<'p> {
    pub(super) rules: &'p Rules,
    pub(super) claims: &'p Claims,
    pub(super) set: &'p InjectSet,
    pub(super) lines: &'p [Field],
    pub(super) request: Option<&'p Request<'p>>,
    pub(super) issued_at: UnixTime,
    pub(super) expires: UnixTime,
}

impl Parts<'_> {
    /// # Errors
    /// [`Reason::ClaimUnencodable`](crate::reason::Reason::ClaimUnencodable): a chosen claim holds a number that is too
    /// large to be exact.
    pub(super) fn json(&self) -> Result<String, Refusal> {
        let mut payload = Map::new();
        let mut say = |name: &str, value: Value| payload.insert(name.to_owned(), value);
        say("iss", json!(ISSUER));
        say("aud", json!(self.rules.audience()));
        say("iat", json!(self.issued_at.as_secs()));
        say("exp", json!(self.expires.as_secs()));
        if let Some(subject) = self.claims.subject() {
            say("sub", json!(subject));
        }
        // A subject means something with its issuer alone (RFC 7519 section 4.1.2).
        if let Some(issuer) = self.claims.json().get("iss") {
            say("origin_iss", issuer.clone());
        }
        if !self.rules.claims().is_empty() {
            say("claims", chosen(self.claims, self.rules.claims())?.into());
        }
        say("headers", self.headers());
        if let Some(request) = self.request {
            say("jti", json!(request.id));
            say("htm", json!(request.method.as_str()));
            say("htu", json!(request.target()));
            if let Some(query) = request.query {
                say("htq", json!(URL_SAFE_NO_PAD.encode(sha256(query))));
            }
        }
        Ok(Value::Object(payload).to_string())
    }

    /// What was written, and what of the route's headers was not: a verifier refuses both another value and one more.
    fn headers(&self) -> Value {
        let text = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
        let names: Vec<String> = self.lines.iter().map(|line| text(&line.name)).collect();
        let absent: Vec<String> = self
            .set
            .injections()
            .iter()
            .map(|injection| text(&injection.name))
            .filter(|name| !names.contains(name))
            .collect();
        let lines = self.lines.iter().map(|line| (&*line.name, &*line.value));
        json!({
            "alg": "sha-256",
            "names": names,
            "absent": absent,
            "digest": URL_SAFE_NO_PAD.encode(digest(lines)),
        })
    }
}

impl Request<'_> {
    /// The target URI without query and fragment (RFC 9449 section 4.2, `htu`; RFC 9110 section 7.1).
    fn target(&self) -> String {
        let authority = self.authority.map_or_else(String::new, ToString::to_string);
        // RFC 9112 section 3.3: `OPTIONS *` is about the host, and the URI has no path.
        let path = if self.path.is_asterisk() {
            ""
        } else {
            self.path.as_str()
        };
        format!("{}://{authority}{path}", self.scheme)
    }
}

/// The claims at these paths, nested as they are in the token.
fn chosen(claims: &Claims, paths: &[ClaimPath]) -> Result<Map<String, Value>, Refusal> {
    let mut out = Map::new();
    for path in paths {
        if let (Some(value), Some((name, outer))) = (claims.get(path), path.names().split_last()) {
            exact(value)?;
            nest(&mut out, outer, name, value);
        }
    }
    Ok(out)
}

fn nest(map: &mut Map<String, Value>, outer: &[String], name: &str, value: &Value) {
    match outer.split_first() {
        None => {
            map.insert(name.to_owned(), value.clone());
        }
        Some((first, rest)) => {
            let inner = map.entry(first.as_str()).or_insert_with(|| json!({}));
            // No path is a part of another, so what stands here was made here.
            if let Value::Object(inner) = inner {
                nest(inner, rest, name, value);
            }
        }
    }
}
