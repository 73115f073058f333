//! Values on the command line: members of a JSON object, and times from now.

use std::str::FromStr;

use serde_json::{Map, Value};
use thiserror::Error;

/// `NAME=VALUE`: a claim or a header parameter.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    name: String,
    value: Value,
}

/// Why a text is no [`Member`].
#[derive(Debug, Error)]
pub enum MemberError {
    /// No `=`, or nothing before it.
    #[error("expected NAME=VALUE, as in tenant=acme")]
    Form,
    /// It looks like JSON.
    #[error(
        "the value begins like JSON and is none ({0}); for a string, write it in JSON's quotes"
    )]
    Json(serde_json::Error),
}

impl FromStr for Member {
    type Err = MemberError;

    /// JSON is taken as what it says. Other text is a string, unless it begins like an object, a list or a quoted
    /// string: a lost bracket must not silently make a string of a list.
    fn from_str(text: &str) -> Result<Self, MemberError> {
        let (name, value) = text.split_once('=').ok_or(MemberError::Form)?;
        if name.is_empty() {
            return Err(MemberError::Form);
        }
        let value = match serde_json::from_str(value) {
            Ok(value) => value,
            Err(error) if value.trim_start().starts_with(['{', '[', '"']) => {
                return Err(MemberError::Json(error));
            }
            Err(_) => Value::from(value),
        };
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

impl Member {
    /// Sets the member, or takes it out if it is null.
    pub(super) fn apply(&self, object: &mut Map<String, Value>) {
        if self.value.is_null() {
            object.remove(&self.name);
        } else {
            object.insert(self.name.clone(), self.value.clone());
        }
    }
}

/// A time from now, in whole seconds; negative is past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offset(i64);

/// Why a text is no [`Offset`].
#[derive(Debug, Error)]
pub enum OffsetError {
    /// It is no duration.
    #[error("{0}; expected a time from now as 5m, 1h, +90s or -10s")]
    Duration(#[from] humantime::DurationError),
    /// It has parts of a second.
    #[error("whole seconds are expected; a fraction can be given as --claim exp=1800000000.5")]
    Fraction,
    /// Longer than 64 bits of seconds.
    #[error("it is longer than time lasts")]
    TooLong,
}

impl FromStr for Offset {
    type Err = OffsetError;

    fn from_str(text: &str) -> Result<Self, OffsetError> {
        let (sign, digits) = match text.strip_prefix('-') {
            Some(rest) => (-1, rest),
            None => (1, text.strip_prefix('+').unwrap_or(text)),
        };
        let duration = humantime::parse_duration(digits)?;
        if duration.subsec_nanos() != 0 {
            return Err(OffsetError::Fraction);
        }
        let seconds = i64::try_from(duration.as_secs()).map_err(|_| OffsetError::TooLong)?;
        Ok(Self(sign * seconds))
    }
}

impl Offset {
    /// So long after `now`, in seconds since 1970.
    pub(super) fn after(self, now: u64) -> u64 {
        now.saturating_add_signed(self.0)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_is_json_and_other_text_a_string() {
        for (text, value) in [
            ("tenant=acme", json!("acme")),
            ("level=2", json!(2)),
            ("level=\"2\"", json!("2")),
            ("ok=true", json!(true)),
            ("exp=null", json!(null)),
            ("groups=[\"a\",\"b\"]", json!(["a", "b"])),
            ("realm={\"roles\":[]}", json!({ "roles": [] })),
            (
                "scope=orders:read orders:write",
                json!("orders:read orders:write"),
            ),
            ("day=2026-01-31", json!("2026-01-31")),
            ("query=a=b", json!("a=b")),
            ("empty=", json!("")),
        ] {
            let member: Member = text.parse().unwrap();
            assert_eq!(member.value, value, "{text}");
        }
        for text in ["groups=[\"a\"", "realm={a:1}", "name=\"x", "acme", "=1"] {
            assert!(text.parse::<Member>().is_err(), "{text}");
        }
    }

    #[test]
    fn offsets_have_a_sign_and_whole_seconds() {
        for (text, seconds) in [
            ("5m", 300),
            ("+1m", 60),
            ("-10s", -10),
            ("0s", 0),
            ("1h 30m", 5400),
        ] {
            assert_eq!(text.parse::<Offset>().unwrap(), Offset(seconds), "{text}");
        }
        for text in [
            "",
            "-",
            "5",
            "500ms",
            "--1s",
            "soon",
            "18446744073709551615s",
        ] {
            assert!(text.parse::<Offset>().is_err(), "{text}");
        }
        assert_eq!(
            (Offset(-9).after(1), Offset(9).after(u64::MAX)),
            (0, u64::MAX)
        );
    }
}
