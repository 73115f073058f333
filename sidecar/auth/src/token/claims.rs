//! What a verified token claims.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Map, Number, Value};

use crate::reason::Reason;
use crate::refusal::{Refusal, quote};
use crate::time::UnixTime;

/// The latest time a claim may name: the last second of the year 9999. Later ones are no dates but
/// mistakes, or attempts at tokens that never end.
pub const MAX_DATE: u64 = 253_402_300_799;

/// The claims of a token whose signature was verified. Registered claims have been checked for type and
/// range; time and audience are compared at every use ([`super::jwt`]).
pub struct Claims {
    issuer: Arc<str>,
    kid: Option<String>,
    expires: UnixTime,
    not_before: Option<UnixTime>,
    issued_at: Option<UnixTime>,
    map: Map<String, Value>,
}

/// Names and dates, never what a claim says of a person.
impl fmt::Debug for Claims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Claims")
            .field("issuer", &self.issuer)
            .field("kid", &self.kid)
            .field("expires", &self.expires)
            .field("names", &self.map.keys().collect::<Vec<_>>())
            .finish_non_exhaustive()
    }
}

impl Claims {
    /// Checks the registered claims (RFC 7519 section 4.1) of a payload whose signature is good.
    pub(crate) fn new(
        issuer: Arc<str>,
        kid: Option<String>,
        map: Map<String, Value>,
    ) -> Result<Self, Refusal> {
        let expires = date(&map, "exp")?.ok_or_else(|| missing("exp"))?;
        let not_before = date(&map, "nbf")?;
        let issued_at = date(&map, "iat")?;
        match map.get("aud") {
            None => return Err(missing("aud")),
            Some(Value::String(_)) => {}
            Some(Value::Array(list)) if list.iter().all(Value::is_string) => {}
            Some(other) => return Err(malformed("aud", "a string or an array of strings", other)),
        }
        match map.get("sub") {
            None | Some(Value::String(_)) => {}
            Some(other) => return Err(malformed("sub", "a string", other)),
        }
        Ok(Self {
            issuer,
            kid,
            expires,
            not_before,
            issued_at,
            map,
        })
    }

    /// The value at `path`, if every name on the way is there. `null` counts as a value.
    pub fn get(&self, path: &ClaimPath) -> Option<&Value> {
        let (first, rest) = path.0.split_first()?;
        rest.iter().try_fold(self.map.get(first)?, |value, name| {
            value.as_object()?.get(name)
        })
    }

    /// `sub`.
    pub fn subject(&self) -> Option<&str> {
        self.map.get("sub")?.as_str()
    }

    /// The name that the configuration gives the issuer; its `iss` stands in [`Self::json`].
    pub fn issuer_name(&self) -> &Arc<str> {
        &self.issuer
    }

    /// `exp`.
    pub fn expires(&self) -> UnixTime {
        self.expires
    }

    /// `nbf`.
    pub fn not_before(&self) -> Option<UnixTime> {
        self.not_before
    }

    /// `iat`.
    pub fn issued_at(&self) -> Option<UnixTime> {
        self.issued_at
    }

    /// The `kid` of the token's header.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The audiences: `aud` as a string or each string of its array.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        strings(self.map.get("aud"))
    }

    /// The scopes: the words of `scope` (RFC 8693 section 4.2), and those of `scp`, which some issuers
    /// write as an array and some as a string. Values of other types grant nothing.
    pub fn scopes(&self) -> impl Iterator<Item = &str> {
        strings(self.map.get("scope"))
            .chain(strings(self.map.get("scp")))
            .flat_map(|text| text.split(' '))
            .filter(|word| !word.is_empty())
    }

    /// All claims.
    pub fn json(&self) -> &Map<String, Value> {
        &self.map
    }

    /// Roughly what the claims hold in memory, in bytes; for bounding caches.
    pub(crate) fn weight(&self) -> usize {
        let kid = self.kid.as_ref().map_or(0, |kid| allocated(kid.len()));
        size_of::<Self>() + kid + map_weight(&self.map)
    }
}

/// The `iss` of a payload that is not verified yet, which serves only to choose whose keys to try.
pub(crate) fn issuer_of(payload: &Map<String, Value>) -> Result<&str, Refusal> {
    match payload.get("iss") {
        Some(Value::String(issuer)) => Ok(issuer),
        Some(other) => Err(malformed("iss", "a string", other)),
        None => Err(missing("iss")),
    }
}

fn strings(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let (one, many) = match value {
        Some(Value::String(text)) => (Some(text.as_str()), &[][..]),
        Some(Value::Array(list)) => (None, list.as_slice()),
        _ => (None, &[][..]),
    };
    one.into_iter().chain(many.iter().filter_map(Value::as_str))
}

fn date(map: &Map<String, Value>, name: &str) -> Result<Option<UnixTime>, Refusal> {
    match map.get(name) {
        None => Ok(None),
        Some(Value::Number(number)) => match instant(number) {
            Some(time) => Ok(Some(time)),
            None => Err(Refusal::new(
                Reason::ClaimMalformed,
                format!("{name} is {number}, which is no date from 0 to {MAX_DATE}"),
            )),
        },
        Some(other) => Err(malformed(name, "a number", other)),
    }
}

fn instant(number: &Number) -> Option<UnixTime> {
    if let Some(seconds) = number.as_u64() {
        return (seconds <= MAX_DATE).then(|| UnixTime::from_secs(seconds));
    }
    let seconds = number
        .as_f64()
        .filter(|s| (0.0..=MAX_DATE as f64).contains(s))?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .map(UnixTime::from)
}

fn missing(name: &str) -> Refusal {
    Refusal::new(Reason::ClaimMissing, format!("the token has no {name}"))
}

fn malformed(name: &str, want: &str, found: &Value) -> Refusal {
    let kind = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array that does not fit",
        Value::Object(_) => "an object",
    };
    Refusal::new(
        Reason::ClaimMalformed,
        format!("{name} is {kind} and must be {want}"),
    )
}

/// A B-tree holds names and values in nodes of eleven places, whole even for one member, and about half
/// full where there are several.
fn map_weight(map: &Map<String, Value>) -> usize {
    const NODE: usize = 11 * (size_of::<String>() + size_of::<Value>()) + 24;
    let nodes = match map.len() {
        0 => 0,
        1..=11 => 1,
        many => many / 6 + 1,
    };
    let held = map
        .iter()
        .map(|(name, value)| allocated(name.len()) + value_weight(value));
    nodes * NODE + held.sum::<usize>()
}

fn value_weight(value: &Value) -> usize {
    match value {
        Value::String(text) => allocated(text.len()),
        Value::Array(list) => {
            allocated(size_of_val(list.as_slice())) + list.iter().map(value_weight).sum::<usize>()
        }
        Value::Object(map) => map_weight(map),
        _ => 0,
    }
}

/// What an allocator takes for so many bytes: sixteen more at most, for its own word and for rounding.
fn allocated(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { bytes + 16 }
}

/// The way to a claim: a list of member names from the outside in. A name is taken whole, so
/// `https://example.com/tenant` and names with dots are addressable, and a dotted sibling never stands
/// in for a nested member.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ClaimPath(Vec<String>);

impl ClaimPath {
    /// The path through `names`. An empty one leads nowhere.
    pub fn new<N: Into<String>>(names: impl IntoIterator<Item = N>) -> Self {
        Self(names.into_iter().map(Into::into).collect())
    }

    /// The names from the outside in.
    pub fn names(&self) -> &[String] {
        &self.0
    }
}

impl From<&str> for ClaimPath {
    /// A member of the token itself.
    fn from(name: &str) -> Self {
        Self::new([name])
    }
}

/// As configured: a single name quoted, several as a list.
impl fmt::Display for ClaimPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [name] => f.write_str(&quote(name)),
            names => {
                let names: Vec<_> = names.iter().map(|n| quote(n)).collect();
                write!(f, "[{}]", names.join(", "))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn claims(value: Value) -> Result<Claims, Refusal> {
        let Value::Object(map) = value else {
            panic!("not an object")
        };
        Claims::new("corp".into(), None, map)
    }

    fn reason(value: Value) -> Reason {
        claims(value).unwrap_err().reason
    }

    #[test]
    fn t20_exp_is_mandatory_and_never_absent_when_malformed() {
        assert_eq!(reason(json!({"aud": "a"})), Reason::ClaimMissing);
        for exp in [
            json!("1700000000"),
            json!(-1),
            json!(-0.5),
            json!(1e308),
            json!(253_402_300_800_u64),
            json!(u64::MAX),
            json!([1_700_000_000]),
            json!({}),
            json!(null),
            json!(true),
        ] {
            assert_eq!(
                reason(json!({"aud": "a", "exp": exp})),
                Reason::ClaimMalformed,
                "{exp}"
            );
        }
        for (exp, millis) in [
            (json!(0), 0),
            (json!(1.5), 1_500),
            (json!(1.7e9), 1_700_000_000_000),
            (json!(MAX_DATE), MAX_DATE * 1000),
        ] {
            let claims = claims(json!({"aud": "a", "exp": exp})).unwrap();
            assert_eq!(claims.expires(), UnixTime::from_millis(millis));
        }
    }

    #[test]
    fn other_registered_claims_have_their_types() {
        for bad in [
            json!({"nbf": "1"}),
            json!({"iat": null}),
            json!({"iat": -1}),
            json!({"sub": 7}),
            json!({"sub": null}),
        ] {
            let mut value = json!({"aud": "a", "exp": 1});
            value
                .as_object_mut()
                .unwrap()
                .extend(bad.as_object().unwrap().clone());
            assert_eq!(reason(value), Reason::ClaimMalformed, "{bad}");
        }
        for aud in [json!(1), json!(["a", 1]), json!({"a": 1}), json!(null)] {
            assert_eq!(
                reason(json!({"exp": 1, "aud": aud})),
                Reason::ClaimMalformed,
                "{aud}"
            );
        }
        assert_eq!(reason(json!({"exp": 1})), Reason::ClaimMissing);
    }

    #[test]
    fn t26_names_are_taken_whole() {
        let claims = claims(json!({
            "exp": 1, "aud": [],
            "https://x/y": {"id": "nested"}, "a.b": "dotted", "a": {"b": "inner"}, "l": [1],
        }))
        .unwrap();
        let at = |names: &[&str]| claims.get(&ClaimPath::new(names.iter().copied())).cloned();
        assert_eq!(at(&["https://x/y", "id"]), Some(json!("nested")));
        assert_eq!(at(&["a.b"]), Some(json!("dotted")));
        assert_eq!(at(&["a", "b"]), Some(json!("inner")));
        assert_eq!(at(&["a", "b", "c"]), None);
        assert_eq!(at(&["l", "0"]), None);
        assert_eq!(at(&[]), None);
        assert_eq!(ClaimPath::new(["a", "b"]).names(), ["a", "b"]);
        assert_eq!(ClaimPath::new(["a", "b\n"]).to_string(), r#"["a", "b\n"]"#);
    }

    #[test]
    fn weight_counts_nodes_names_and_values() {
        const NODE: usize = 640;
        let weight = |value: Value| match value {
            Value::Object(map) => map_weight(&map),
            _ => unreachable!(),
        };
        let many = |n: usize| -> Value { (0..n).map(|n| (format!("{n:02}"), json!(n))).collect() };
        for (value, bytes) in [
            (json!({}), 0),
            (json!({"abc": 1}), NODE + 19),
            (json!({"abc": ""}), NODE + 19),
            (json!({"abc": "defgh"}), NODE + 19 + 21),
            (json!({"a": ["bb", true]}), NODE + 17 + 80 + 18),
            (json!({"a": []}), NODE + 17),
            (json!({"a": {"bb": "c"}}), NODE + 17 + NODE + 18 + 17),
            (many(11), NODE + 11 * 18),
            (many(12), 3 * NODE + 12 * 18),
            (many(20), 4 * NODE + 20 * 18),
        ] {
            assert_eq!(weight(value.clone()), bytes, "{value}");
        }
        let claims = claims(json!({"exp": 1, "aud": "a"})).unwrap();
        assert_eq!(claims.weight(), size_of::<Claims>() + NODE + 2 * 19 + 17);
        let with_kid = Claims::new("corp".into(), Some("k1".into()), claims.json().clone());
        assert_eq!(with_kid.unwrap().weight(), claims.weight() + 18);
        assert_eq!(claims.json().len(), 2);
        let shown = format!("{claims:?}");
        assert!(
            shown.contains(r#"["aud", "exp"]"#) && !shown.contains("\"a\""),
            "{shown}"
        );
    }

    #[test]
    fn scopes_come_from_both_spellings() {
        let scopes = |value: Value| {
            let mut all = json!({"exp": 1, "aud": "a"});
            all.as_object_mut()
                .unwrap()
                .extend(value.as_object().unwrap().clone());
            claims(all)
                .unwrap()
                .scopes()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(scopes(json!({"scope": "a  b"})), ["a", "b"]);
        assert_eq!(scopes(json!({"scp": ["a", "b"]})), ["a", "b"]);
        assert_eq!(scopes(json!({"scp": "a b"})), ["a", "b"]);
        assert!(scopes(json!({"scope": 1, "scp": [1, {}]})).is_empty());
        assert!(scopes(json!({})).is_empty());
    }
}
