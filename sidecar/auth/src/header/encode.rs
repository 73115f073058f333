//! A claim as the value of a header. Whatever the claim holds, the value is visible ASCII and means one
//! thing: nothing of it can end the line, join another value or be read in two ways.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use serde_json::{Number, Value};

use super::filter::Filters;
use crate::reason::Reason;
use crate::refusal::Refusal;

/// The largest value of one header, in bytes.
pub const MAX_VALUE: usize = 8 * 1024;

/// How a claim is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// A string as it is, if it is visible ASCII (spaces within it count); a number or boolean as JSON
    /// writes it.
    #[default]
    String,
    /// Strings, numbers and booleans joined by commas; one alone is a list of one. Comma, quote, percent,
    /// control and non-ASCII bytes, and spaces at the edge of an element, are percent-encoded, so the
    /// list splits at its commas and each element decodes to what it was.
    List,
    /// Compact JSON, everything beyond ASCII escaped.
    Json,
    /// Compact JSON in base64url without padding.
    Base64Url,
}

/// Writes `value`.
///
/// # Errors
/// [`Reason::ClaimUnencodable`] if the encoding cannot express it; [`Reason::IdentityTooLarge`] above
/// [`MAX_VALUE`].
pub fn encode(value: &Value, encoding: Encoding) -> Result<Bytes, Refusal> {
    encode_filtered(value, encoding, &Filters::NONE)
}

/// As [`encode`], with only those elements of a list that `filters` let through.
pub(crate) fn encode_filtered(
    value: &Value,
    encoding: Encoding,
    filters: &Filters<'_>,
) -> Result<Bytes, Refusal> {
    let text = match encoding {
        Encoding::String => scalar(value)?,
        Encoding::List => list(value, filters)?,
        Encoding::Json => escaped(&json(value, filters)?),
        Encoding::Base64Url => URL_SAFE_NO_PAD.encode(json(value, filters)?),
    };
    within(text.len(), MAX_VALUE)?;
    Ok(Bytes::from(text))
}

/// Writes a scalar into a template's text, percent-encoded where the text's own characters (a bit each) or an
/// edge would make it read otherwise.
pub(super) fn insert(value: &Value, separators: u128, out: &mut String) -> Result<(), Refusal> {
    match value {
        Value::String(text) => percent(text, separators, out),
        Value::Number(number) => percent(&whole(number)?.to_string(), separators, out),
        Value::Bool(flag) => percent(&flag.to_string(), separators, out),
        Value::Null | Value::Array(_) | Value::Object(_) => {
            return Err(unencodable(
                "null, an array or an object cannot stand in a template",
            ));
        }
    }
    Ok(())
}

/// Refuses more than `limit` bytes.
pub(super) fn within(bytes: usize, limit: usize) -> Result<(), Refusal> {
    if bytes <= limit {
        return Ok(());
    }
    Err(Refusal::new(
        Reason::IdentityTooLarge,
        format!("the header would have {bytes} bytes or more, the limit is {limit}"),
    ))
}

fn scalar(value: &Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => {
            let visible = text.bytes().all(|b| (b' '..=b'~').contains(&b));
            if !visible || text.starts_with(' ') || text.ends_with(' ') {
                return Err(unencodable(
                    "the string holds bytes that are not visible ASCII, or a space at its edge",
                ));
            }
            Ok(text.clone())
        }
        Value::Number(number) => Ok(whole(number)?.to_string()),
        Value::Bool(flag) => Ok(flag.to_string()),
        Value::Null => Err(unencodable("null is no scalar")),
        Value::Array(_) | Value::Object(_) => Err(unencodable(
            "an array or object is no scalar; use list or json",
        )),
    }
}

fn list(value: &Value, filters: &Filters<'_>) -> Result<String, Refusal> {
    let elements = match value {
        Value::Array(elements) => elements.as_slice(),
        one => std::slice::from_ref(one),
    };
    let mut out = String::new();
    for element in elements.iter().filter(|e| filters.pass(e)) {
        let start = out.len();
        if start > 0 {
            out.push(',');
        }
        match element {
            Value::String(text) if text.is_empty() => {
                return Err(unencodable(
                    "an empty element cannot stand in a list; use json",
                ));
            }
            Value::String(text) => percent(text, 0, &mut out),
            Value::Number(number) => {
                let _ = write!(out, "{}", whole(number)?);
            }
            Value::Bool(flag) => {
                let _ = write!(out, "{flag}");
            }
            Value::Null | Value::Array(_) | Value::Object(_) => {
                return Err(unencodable("an element of the list is no scalar; use json"));
            }
        }
    }
    Ok(out)
}

/// Refuses a value that holds a number which is not [`whole`], however deep. Tokens are read with a bound on their depth.
pub(super) fn exact(value: &Value) -> Result<(), Refusal> {
    match value {
        Value::Number(number) => whole(number).map(drop),
        Value::Array(elements) => elements.iter().try_for_each(exact),
        Value::Object(members) => members.values().try_for_each(exact),
        Value::Null | Value::Bool(_) | Value::String(_) => Ok(()),
    }
}

/// A number whose integer part is what the token says. Integers beyond 64 bits are read as floating point, where
/// neighbours fall together from 2^53 on: two users with such numbers would be one. Digits behind the point are no
/// identity; they are as exact as floating point is (`1.00000000000000000001` is `1.0`).
fn whole(number: &Number) -> Result<&Number, Refusal> {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if number.is_f64() && number.as_f64().is_none_or(|value| value.abs() >= EXACT) {
        return Err(unencodable(
            "the number is too large to be exact; the issuer must write it as a string",
        ));
    }
    Ok(number)
}

/// `also` has a bit for each ASCII character to encode beyond those that are always encoded.
fn percent(text: &str, also: u128, out: &mut String) {
    let last = text.len().saturating_sub(1);
    for (at, byte) in text.bytes().enumerate() {
        let edge_space = byte == b' ' && (at == 0 || at == last);
        let plain = (b' '..=b'~').contains(&byte)
            && !matches!(byte, b',' | b'"' | b'%')
            && also & (1 << byte) == 0;
        if edge_space || !plain {
            let _ = write!(out, "%{byte:02X}");
        } else {
            out.push(char::from(byte));
        }
    }
}

fn json(value: &Value, filters: &Filters<'_>) -> Result<String, Refusal> {
    let text = match value {
        Value::Array(elements) if !filters.is_none() => {
            let kept: Vec<_> = elements.iter().filter(|e| filters.pass(e)).collect();
            kept.iter().try_for_each(|element| exact(element))?;
            serde_json::to_string(&kept)
        }
        other => {
            exact(other)?;
            serde_json::to_string(other)
        }
    };
    // A `Value` has only string keys and finite numbers, so this does not fail; if it did, it denies.
    text.map_err(|_| unencodable("the value is no JSON"))
}

/// `serde_json` escapes controls below space; the rest beyond visible ASCII is escaped here, as UTF-16
/// units (RFC 8259 section 7). Outside of strings JSON is ASCII, so this touches strings alone.
fn escaped(json: &str) -> String {
    let mut out = String::with_capacity(json.len());
    let mut units = [0_u16; 2];
    for c in json.chars() {
        if c <= '~' {
            out.push(c);
        } else {
            for unit in c.encode_utf16(&mut units) {
                let _ = write!(out, "\\u{unit:04x}");
            }
        }
    }
    out
}

fn unencodable(detail: &'static str) -> Refusal {
    Refusal::new(Reason::ClaimUnencodable, detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[track_caller]
    fn check(value: Value, encoding: Encoding, want: &str) {
        assert_eq!(encode(&value, encoding).unwrap(), want, "{value}");
    }

    #[track_caller]
    fn refused(value: Value, encoding: Encoding) {
        assert_eq!(
            encode(&value, encoding).unwrap_err().reason,
            Reason::ClaimUnencodable,
            "{value}"
        );
    }

    #[test]
    fn t27_strings_are_visible_ascii_or_refused() {
        use Encoding::String;
        check(json!("a b@c.d"), String, "a b@c.d");
        check(json!(""), String, "");
        check(json!(12), String, "12");
        check(json!(1.5), String, "1.5");
        check(json!(true), String, "true");
        for bad in [
            "a\r\nx: y",
            "a\nb",
            "a\0b",
            "a\tb",
            "a\u{7f}",
            "ä",
            " a",
            "a ",
            "\u{2028}",
        ] {
            refused(json!(bad), String);
        }
        refused(json!(["a"]), String);
        refused(json!({}), String);
        refused(json!(null), String);
    }

    #[test]
    fn t28_lists_split_at_their_commas() {
        use Encoding::List;
        check(json!(["a", "b c", 1, true]), List, "a,b c,1,true");
        check(
            json!(["a,b", "\"q\"", "100%", " x "]),
            List,
            "a%2Cb,%22q%22,100%25,%20x%20",
        );
        check(json!(["ä\r\n", "\0"]), List, "%C3%A4%0D%0A,%00");
        check(json!("alone"), List, "alone");
        check(json!([]), List, "");
        refused(json!(["a", ""]), List);
        refused(json!([""]), List);
        refused(json!(["a", null]), List);
        refused(json!([["a"]]), List);
        refused(json!({"a": 1}), List);
    }

    /// Two users whose numbers are one to floating point must not be one to the API.
    #[test]
    fn numbers_are_exact_or_refused() {
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        for exact in [
            "0",
            "-7",
            "18446744073709551615",
            "-9223372036854775808",
            "0.1",
            "9007199254740991.0",
            "-1e15",
        ] {
            for encoding in [Encoding::String, Encoding::List, Encoding::Json] {
                let written = encode(&read(exact), encoding).unwrap();
                assert_eq!(read(std::str::from_utf8(&written).unwrap()), read(exact));
            }
        }
        for vague in [
            "18446744073709551616",
            "18446744073709551617",
            "-9223372036854775809",
            "9007199254740992.0",
            "-9007199254740992.0",
            "1e300",
        ] {
            refused(read(vague), Encoding::String);
            refused(read(vague), Encoding::List);
            refused(json!(["a", read(vague)]), Encoding::List);
            for encoding in [Encoding::Json, Encoding::Base64Url] {
                refused(read(vague), encoding);
                refused(json!({"a": [null, {"b": [read(vague)]}]}), encoding);
            }
            assert!(insert(&read(vague), 0, &mut String::new()).is_err());
        }
    }

    #[test]
    fn json_is_ascii_and_base64url_is_json() {
        check(
            json!({"a": "ä😀\u{7f}\n"}),
            Encoding::Json,
            r#"{"a":"\u00e4\ud83d\ude00\u007f\n"}"#,
        );
        check(json!(null), Encoding::Json, "null");
        check(json!({"a": [1]}), Encoding::Base64Url, "eyJhIjpbMV19");
    }

    #[test]
    fn values_are_capped() {
        let fits = json!("x".repeat(MAX_VALUE));
        assert!(encode(&fits, Encoding::String).is_ok());
        for encoding in [Encoding::Json, Encoding::Base64Url] {
            assert_eq!(
                encode(&fits, encoding).unwrap_err().reason,
                Reason::IdentityTooLarge
            );
        }
    }

    fn decode_list(text: &str) -> Vec<String> {
        let decode = |element: &str| {
            let mut bytes = Vec::new();
            let mut rest = element.as_bytes();
            while let Some((&first, tail)) = rest.split_first() {
                if first == b'%' {
                    bytes.push(
                        u8::from_str_radix(std::str::from_utf8(&tail[..2]).unwrap(), 16).unwrap(),
                    );
                    rest = &tail[2..];
                } else {
                    bytes.push(first);
                    rest = tail;
                }
            }
            String::from_utf8(bytes).unwrap()
        };
        text.split(',')
            .map(|e| decode(e.trim_matches(' ')))
            .collect()
    }

    proptest! {
        #[test]
        fn every_encoding_is_a_valid_field_value(text in any::<String>()) {
            for encoding in [Encoding::String, Encoding::List, Encoding::Json, Encoding::Base64Url] {
                if let Ok(value) = encode(&json!(text), encoding) {
                    prop_assert!(tollgate_http::fields::valid_value(&value));
                    prop_assert!(value.iter().all(|b| (b' '..=b'~').contains(b)));
                }
            }
        }

        #[test]
        fn lists_decode_to_what_they_were(elements in prop::collection::vec(".{1,12}", 1..6)) {
            let value = encode(&json!(elements), Encoding::List).unwrap();
            prop_assert_eq!(decode_list(std::str::from_utf8(&value).unwrap()), elements);
        }

        #[test]
        fn json_reads_back(text in any::<String>(), number in any::<i64>()) {
            let value = json!({"t": [text, number]});
            let header = encode(&value, Encoding::Json).unwrap();
            prop_assert_eq!(serde_json::from_slice::<Value>(&header).unwrap(), value);
        }
    }
}
