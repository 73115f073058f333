//! JSON objects from strangers, read in one pass: bounded in depth and size, no member named twice.
//!
//! A plain `serde_json::Value` keeps the last of two equal members. Two readers of one token could then
//! see two subjects, so the whole object is refused instead.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// How much an object may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Levels of objects and arrays, the outermost counted. Below 128, where `serde_json` stops itself.
    pub(crate) depth: usize,
    /// Members of all objects together.
    pub(crate) members: usize,
    /// Values of all kinds together: what bounds the memory.
    pub(crate) values: usize,
}

/// Reads `bytes` as exactly one JSON object.
///
/// # Errors
/// The offence and its position; nothing of the bytes themselves.
pub(crate) fn object(
    bytes: &[u8],
    limits: Limits,
) -> Result<Map<String, Value>, serde_json::Error> {
    let mut left = limits;
    let mut reader = reader(bytes)?;
    let value = Node {
        depth: limits.depth,
        left: &mut left,
    }
    .deserialize(&mut reader)?;
    reader.end()?;
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(serde_json::Error::custom("not an object")),
    }
}

/// Reads `bytes` as exactly one JSON object and gives each of its members to `take`, in order: for objects
/// of which few members matter.
///
/// # Errors
/// As [`object`].
pub(crate) fn members(
    bytes: &[u8],
    limits: Limits,
    take: impl FnMut(&str, Value),
) -> Result<(), serde_json::Error> {
    let mut left = limits;
    // The object itself.
    spend(&mut left.values, "too many values")?;
    let mut reader = reader(bytes)?;
    reader.deserialize_map(Members {
        depth: limits.depth,
        left: &mut left,
        take,
    })?;
    reader.end()
}

/// A reader of what begins as an object. UTF-8 is checked once and for all: string by string costs more than all else of the reading.
fn reader(
    bytes: &[u8],
) -> Result<serde_json::Deserializer<serde_json::de::StrRead<'_>>, serde_json::Error> {
    // Said here, since serde would quote what stands there instead.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(serde_json::Error::custom("not an object"));
    }
    let text = std::str::from_utf8(bytes).map_err(|e| {
        serde_json::Error::custom(format_args!("no UTF-8 at byte {}", e.valid_up_to()))
    })?;
    Ok(serde_json::Deserializer::from_str(text))
}

/// The outermost object, whose members are handed out.
struct Members<'l, F> {
    depth: usize,
    left: &'l mut Limits,
    take: F,
}

impl<'de, F: FnMut(&str, Value)> Visitor<'de> for Members<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        let mut seen: Vec<Cow<'de, str>> = Vec::with_capacity(4);
        while let Some(Name(name)) = members.next_key()? {
            spend(&mut self.left.members, "too many members")?;
            if seen.contains(&name) {
                return Err(A::Error::custom("a member stands twice"));
            }
            let mut outermost = Node {
                depth: self.depth,
                left: &mut *self.left,
            };
            let value = members.next_value_seed(outermost.child()?)?;
            (self.take)(&name, value);
            seen.push(name);
        }
        Ok(())
    }
}

/// A member's name, borrowed where nothing in it is escaped.
struct Name<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Name<'de> {
    fn deserialize<D: Deserializer<'de>>(reader: D) -> Result<Self, D::Error> {
        struct Text;

        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Name<'de>, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }

        reader.deserialize_str(Text)
    }
}

/// One value being read, with what may still be spent.
struct Node<'l> {
    depth: usize,
    left: &'l mut Limits,
}

impl Node<'_> {
    /// The node of a value one level further in.
    fn child<E: serde::de::Error>(&mut self) -> Result<Node<'_>, E> {
        let depth = self
            .depth
            .checked_sub(1)
            .ok_or_else(|| E::custom("nested too deep"))?;
        Ok(Node {
            depth,
            left: &mut *self.left,
        })
    }
}

fn spend<E: serde::de::Error>(left: &mut usize, what: &str) -> Result<(), E> {
    *left = left.checked_sub(1).ok_or_else(|| E::custom(what))?;
    Ok(())
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Value, D::Error> {
        spend(&mut self.left.values, "too many values")?;
        reader.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        serde_json::Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(value) = items.next_element_seed(self.child()?)? {
            out.push(value);
        }
        // It may be held for long, in a cache that is bounded in bytes.
        out.shrink_to_fit();
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            spend(&mut self.left.members, "too many members")?;
            let value = members.next_value_seed(self.child()?)?;
            // Names are compared after unescaping: `"\u0061lg"` is `"alg"`.
            if out.insert(name, value).is_some() {
                return Err(A::Error::custom("a member stands twice"));
            }
        }
        Ok(Value::Object(out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    const SMALL: Limits = Limits {
        depth: 3,
        members: 4,
        values: 8,
    };

    /// Both readers refuse what one does, for the same reason.
    fn error(text: &str) -> String {
        let error = object(text.as_bytes(), SMALL).unwrap_err().to_string();
        let handed = members(text.as_bytes(), SMALL, |_, _| {}).unwrap_err();
        let reason = |text: &str| text.split(" at ").next().map(str::to_owned);
        assert_eq!(reason(&handed.to_string()), reason(&error), "{text}");
        error
    }

    #[test]
    fn t12_equal_members_are_refused_at_every_depth() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":{"b":1,"b":2}}"#,
            r#"{"a":[{"b":1,"b":2}]}"#,
            r#"{"a":1,"\u0061":2}"#,
        ] {
            assert!(error(text).contains("stands twice"), "{text}");
        }
        assert!(object(br#"{"a":{"b":1},"b":2}"#, SMALL).is_ok());
    }

    #[test]
    fn t16_depth_and_size_are_bounded() {
        assert!(object(br#"{"a":[[1]]}"#, SMALL).is_ok());
        assert!(error(r#"{"a":[[[1]]]}"#).contains("too deep"));
        assert!(error(r#"{"a":1,"b":2,"c":3,"d":4,"e":5}"#).contains("too many members"));
        assert!(error(r#"{"a":[1,2,3,4,5,6,7]}"#).contains("too many values"));
        let deep = format!("{{\"a\":{}1{}}}", "[".repeat(10_000), "]".repeat(10_000));
        assert!(error(&deep).contains("too deep"));
    }

    #[test]
    fn only_one_object_and_nothing_else() {
        for text in [
            "",
            "[]",
            "1",
            "null",
            "{}{}",
            "{} x",
            "{\"a\":1e400}",
            "{'a':1}",
            "\u{feff}{}",
            "{\"a\":NaN}",
        ] {
            assert!(object(text.as_bytes(), SMALL).is_err(), "{text}");
            assert!(
                members(text.as_bytes(), SMALL, |_, _| {}).is_err(),
                "{text}"
            );
        }
        // What stands there instead is not repeated.
        for text in [
            "\"PPPPPPPP\"",
            "12345678",
            "[\"PPPPPPPP\"]",
            "true",
            " \"PPPPPPPP\"",
        ] {
            let said = error(text);
            assert!(said.starts_with("not an object"), "{said}");
        }
        assert!(object(b"{\"a\":\"\xff\"}", SMALL).is_err());
        assert!(object(br#"{"a":"\ud800"}"#, SMALL).is_err());
        assert!(object(b" {} ", SMALL).is_ok());
    }

    fn any_json() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,4}", inner, 0..4).prop_map(|m| json!(m)),
            ]
        })
    }

    proptest! {
        /// What is printed is read back as it was: the strict reader loses nothing that is lawful.
        #[test]
        fn printing_and_reading_agree(value in prop::collection::btree_map(".{0,4}", any_json(), 0..6)) {
            let wide = Limits { depth: 16, members: 10_000, values: 10_000 };
            let text = serde_json::to_vec(&value).unwrap();
            prop_assert_eq!(Value::Object(object(&text, wide).unwrap()), json!(value));
            let mut out = Map::new();
            members(&text, wide, |name, value| {
                out.insert(name.to_owned(), value);
            })
            .unwrap();
            prop_assert_eq!(Value::Object(out), json!(value));
        }
    }
}
