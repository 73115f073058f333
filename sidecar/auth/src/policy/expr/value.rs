//! What an expression computes with: borrowed from claims, request and expression wherever that is possible.

use std::ops::Deref;
use std::rc::Rc;

use serde_json::{Map as JsonMap, Value as Json};

/// A value. To copy one is cheap: nothing inside is copied along.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Text<'v>),
    List(List<'v>),
    Map(Map<'v>),
}

#[derive(Clone, Debug)]
pub(super) enum Text<'v> {
    Borrowed(&'v str),
    Built(Rc<str>),
}

#[derive(Clone, Debug)]
pub(super) enum List<'v> {
    Json(&'v [Json]),
    Built(Rc<[Value<'v>]>),
}

#[derive(Clone, Debug)]
pub(super) enum Map<'v> {
    Json(&'v JsonMap<String, Json>),
    /// In the order written; no two keys are equal.
    Built(Rc<[(Value<'v>, Value<'v>)]>),
}

impl<'v> Value<'v> {
    /// The CEL value of a JSON one: integers are `int`, beyond its range `uint`, all other numbers `double`. No integer
    /// goes through a `double`, which would round those above 2^53.
    pub(super) fn of(json: &'v Json) -> Self {
        match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(uint)) => Self::Uint(uint),
                // serde_json has no numbers that are none of the three.
                (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Json::String(text) => Self::text(text),
            Json::Array(list) => Self::List(List::Json(list)),
            Json::Object(map) => Self::Map(Map::Json(map)),
        }
    }

    pub(super) fn text(text: &'v str) -> Self {
        Self::Text(Text::Borrowed(text))
    }

    pub(super) fn built(text: &str) -> Self {
        Self::Text(Text::Built(text.into()))
    }

    pub(super) fn list(items: Vec<Self>) -> Self {
        Self::List(List::Built(items.into()))
    }
}

impl Deref for Text<'_> {
    type Target = str;

    fn deref(&self) -> &str {
        match self {
            Self::Borrowed(text) => text,
            Self::Built(text) => text,
        }
    }
}

impl<'v> List<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(list) => list.len(),
            Self::Built(list) => list.len(),
        }
    }

    pub(super) fn get(&self, at: usize) -> Option<Value<'v>> {
        match self {
            Self::Json(list) => list.get(at).map(Value::of),
            Self::Built(list) => list.get(at).cloned(),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Value<'v>> + '_ {
        (0..self.len()).filter_map(|at| self.get(at))
    }
}

impl<'v> Map<'v> {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Json(map) => map.len(),
            Self::Built(map) => map.len(),
        }
    }

    /// The keys, in an order of their own.
    pub(super) fn keys(&self) -> Vec<Value<'v>> {
        match self {
            Self::Json(map) => map.keys().map(|key| Value::text(key)).collect(),
            Self::Built(map) => map.iter().map(|(key, _)| key.clone()).collect(),
        }
    }
}
