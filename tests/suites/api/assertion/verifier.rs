//! A verifier as an API would have one: the steps of docs/assertion.md, with jsonwebtoken for the signature.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::jwk::JwkSet;
use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode, decode_header};
use serde_json::Value;

const NAME: &str = "x-tollgate-assertion";

/// Header lines, in order.
pub(super) type Lines = Vec<(String, String)>;

/// A request as it reached the API.
#[derive(Clone, Debug)]
pub(super) struct Arrived {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Option<String>,
    pub(super) host: String,
    pub(super) headers: Lines,
}

impl Arrived {
    /// As the echo API tells it.
    pub(super) fn of(echo: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        let headers = echo["headers"].as_array().unwrap();
        Self {
            method: text(&echo["method"]),
            path: text(&echo["path"]),
            query: echo["query"].as_str().map(str::to_owned),
            host: text(&echo["host"]),
            headers: headers
                .iter()
                .map(|line| (text(&line[0]), text(&line[1])))
                .collect(),
        }
    }
}

/// Who a request is from.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) claims: Value,
    /// The headers that are vouched for, and no other.
    pub(super) headers: BTreeMap<String, String>,
}

/// Knows the keys, and its own name.
pub(super) struct Verifier {
    keys: JwkSet,
    audience: String,
}

impl Verifier {
    pub(super) fn new(keys: &Value, audience: &str) -> Self {
        Self {
            keys: serde_json::from_value(keys.clone()).unwrap(),
            audience: audience.to_owned(),
        }
    }

    pub(super) fn identity(&self, request: &Arrived) -> Result<Identity, String> {
        // 1. Exactly one, under any spelling.
        let fold = |name: &str| {
            let kept = name.chars().filter(char::is_ascii_alphanumeric);
            kept.collect::<String>().to_ascii_lowercase()
        };
        let alike = |name: &str| {
            let folded = fold(name);
            let lines = request.headers.iter();
            lines
                .filter(move |(field, _)| fold(field) == folded)
                .collect::<Vec<_>>()
        };
        let [(_, token)] = alike(NAME)[..] else {
            return Err(format!("assertion: {} times", alike(NAME).len()));
        };
        // 2. and 3. Signature, type, algorithm, audience, time.
        let claims = self.claims(token)?;
        // 4. Each that was written stands once, and nothing that reads like it; what was not written stands nowhere.
        let list = |name: &str| -> Vec<&str> {
            let list = claims["headers"][name].as_array().unwrap();
            list.iter().map(|name| name.as_str().unwrap()).collect()
        };
        if let Some((field, _)) = list("absent").into_iter().flat_map(alike).next() {
            return Err(format!("{field} was not written"));
        }
        let mut headers = BTreeMap::new();
        let mut text = String::new();
        for name in list("names") {
            let (own, others): (Vec<_>, Vec<_>) = alike(name)
                .into_iter()
                .partition(|(field, _)| field.eq_ignore_ascii_case(name));
            if let Some((other, _)) = others.first() {
                return Err(format!("{other} reads like {name}"));
            }
            let [(_, value)] = own[..] else {
                return Err(format!("{name}: {} times", own.len()));
            };
            writeln!(text, "{name}:{value}").unwrap();
            headers.insert(name.to_owned(), value.clone());
        }
        // 5. The digest.
        if claims["headers"]["alg"] != "sha-256" {
            return Err("another digest".to_owned());
        }
        if claims["headers"]["digest"] != sha256(&text) {
            return Err("other values".to_owned());
        }
        // 6. The request, where it is bound to one.
        if claims["htm"] != Value::Null {
            if claims["htm"] != *request.method {
                return Err("htm".to_owned());
            }
            if claims["htu"] != *format!("https://{}{}", request.host, request.path) {
                return Err("htu".to_owned());
            }
            let query = request
                .query
                .as_deref()
                .map_or(Value::Null, |query| sha256(query).into());
            if claims["htq"] != query {
                return Err("htq".to_owned());
            }
        }
        Ok(Identity { claims, headers })
    }

    fn claims(&self, token: &str) -> Result<Value, String> {
        let header = decode_header(token).map_err(|error| error.to_string())?;
        if header.typ.as_deref() != Some("tollgate-assertion+jwt") {
            return Err("another type".to_owned());
        }
        let kid = header.kid.ok_or("no kid")?;
        let key = self.keys.find(&kid).ok_or("no such key")?;
        let mut validation = Validation::new(Algorithm::ES256);
        validation.leeway = 0;
        validation.set_audience(&[&self.audience]);
        validation.set_issuer(&["tollgate"]);
        validation.set_required_spec_claims(&["iss", "aud", "exp"]);
        let key = DecodingKey::from_jwk(key).map_err(|error| error.to_string())?;
        decode::<Value>(token, &key, &validation)
            .map(|token| token.claims)
            .map_err(|error| error.to_string())
    }
}

fn sha256(text: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    URL_SAFE_NO_PAD.encode(hash)
}
