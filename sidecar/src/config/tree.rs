//! YAML as a tree that knows its places, and a deserializer over it that goes on after a mistake. Unknown keys are found
//! here, from the field names that serde's derive hands to `deserialize_struct`.

mod mistake;
mod variant;
mod yaml;

use std::cell::RefCell;

use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};
use serde_saphyr::Spanned;

pub(super) use self::mistake::nearest;
use self::mistake::{Mistake, list_of, position_of};
use self::variant::Variant;
use self::yaml::Node;
use super::diagnostic::{Diagnostic, Position};
use super::node::{AT, At, STR_OR};

/// Reads `source` into `T`; what did not fit is appended to `found`.
pub(crate) fn read<T>(source: &str, found: &mut Vec<Diagnostic>) -> Option<T>
where
    T: for<'de> Deserialize<'de>,
{
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::PassThrough,
    };
    let tree: Spanned<Node> = match serde_saphyr::from_str_with_options(source, options) {
        Ok(tree) => tree,
        Err(error) => {
            let position = error.location().map_or_else(Position::default, position_of);
            let text = error.without_snippet().to_string();
            let text = text.lines().next().unwrap_or("not YAML").to_owned();
            found.push(Diagnostic {
                position,
                message: format!("not valid YAML: {text}"),
            });
            return None;
        }
    };
    let sink = RefCell::new(Vec::new());
    let place = Place {
        node: &tree,
        sink: &sink,
    };
    let value = At::<T>::deserialize(place).ok().and_then(|at| at.value);
    found.append(&mut sink.into_inner());
    value
}

/// A node in its tree, with the list that mistakes go to.
#[derive(Clone, Copy)]
struct Place<'t> {
    node: &'t Spanned<Node>,
    sink: &'t RefCell<Vec<Diagnostic>>,
}

impl<'t> Place<'t> {
    fn child(self, node: &'t Spanned<Node>) -> Self {
        Self { node, ..self }
    }

    fn position(self) -> Position {
        position_of(self.node.referenced)
    }

    fn report(self, position: Position, message: String) {
        self.sink
            .borrow_mut()
            .push(Diagnostic { position, message });
    }

    /// Hands out each key once; a repeated key is a mistake, and its first value stands.
    fn entries(self) -> Option<Vec<&'t (Spanned<String>, Spanned<Node>)>> {
        let Node::Map(entries) = &self.node.value else {
            return None;
        };
        let mut once: Vec<&(Spanned<String>, Spanned<Node>)> = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(first) = once.iter().find(|seen| seen.0.value == entry.0.value) {
                self.report(
                    position_of(entry.0.referenced),
                    format!(
                        "`{}` stands twice; the first is on line {}",
                        entry.0.value,
                        first.0.referenced.line()
                    ),
                );
            } else {
                once.push(entry);
            }
        }
        Some(once)
    }
}

impl<'de> Deserializer<'de> for Place<'_> {
    type Error = Mistake;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.node.value {
            Node::Null => visitor.visit_unit(),
            Node::Bool(value) => visitor.visit_bool(*value),
            Node::Signed(value) => visitor.visit_i64(*value),
            Node::Unsigned(value) => visitor.visit_u64(*value),
            Node::Float(value) => visitor.visit_f64(*value),
            Node::Str(value) => visitor.visit_str(value),
            Node::Seq(items) => visitor.visit_seq(Items {
                place: self,
                items: items.iter(),
            }),
            Node::Map(_) => visitor.visit_map(Entries {
                place: self,
                entries: self.entries().unwrap_or_default().into_iter(),
                value: None,
            }),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match &self.node.value {
            Node::Seq(_) => self.deserialize_any(visitor),
            other => Err(Mistake::no_list(other)),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        match self.node.value {
            Node::Null => visitor.visit_none(),
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match (name, &self.node.value) {
            // One element: the value. Its failure is reported here, where the place is known.
            (AT, _) => visitor.visit_seq(Positioned {
                place: self,
                step: 0,
            }),
            (STR_OR, Node::Str(text)) => visitor.visit_str(text),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let Some(entries) = self.entries() else {
            return Err(Mistake(format!(
                "expected a mapping with {}, found {}",
                list_of(fields),
                self.node.value.kind()
            )));
        };
        let (known, unknown): (Vec<_>, Vec<_>) = entries
            .into_iter()
            .partition(|(key, _)| fields.contains(&key.value.as_str()));
        for (key, _) in unknown {
            let cure = match nearest(&key.value, fields) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("known here: {}", list_of(fields)),
            };
            self.report(
                position_of(key.referenced),
                format!("unknown key `{}`; {cure}", key.value),
            );
        }
        visitor.visit_map(Entries {
            place: self,
            entries: known.into_iter(),
            value: None,
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        let (name, content) = match &self.node.value {
            Node::Str(name) => (name, None),
            Node::Map(entries) => match entries.as_slice() {
                [(key, value)] => (&key.value, Some(self.child(value))),
                _ => {
                    return Err(Mistake(format!(
                        "expected exactly one of {}, found {} keys",
                        list_of(variants),
                        entries.len()
                    )));
                }
            },
            other => {
                return Err(Mistake(format!(
                    "expected one of {}, found {}",
                    list_of(variants),
                    other.kind()
                )));
            }
        };
        if !variants.contains(&name.as_str()) {
            return Err(Mistake(match nearest(name, variants) {
                Some(near) => format!("unknown value `{name}`; did you mean `{near}`?"),
                None => format!(
                    "unknown value `{name}`; expected one of {}",
                    list_of(variants)
                ),
            }));
        }
        visitor.visit_enum(Variant { name, content })
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct tuple
        tuple_struct map identifier ignored_any
    }
}

struct Items<'t> {
    place: Place<'t>,
    items: std::slice::Iter<'t, Spanned<Node>>,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Mistake;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mistake> {
        self.items
            .next()
            .map(|item| seed.deserialize(self.place.child(item)))
            .transpose()
    }
}

struct Entries<'t> {
    place: Place<'t>,
    entries: std::vec::IntoIter<&'t (Spanned<String>, Spanned<Node>)>,
    value: Option<&'t (Spanned<String>, Spanned<Node>)>,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Mistake;
    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Mistake> {
        self.value = self.entries.next();
        self.value
            .map(|(key, _)| {
                seed.deserialize(KeyPlace {
                    key,
                    place: self.place,
                })
            })
            .transpose()
    }
    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, Mistake> {
        match self.value.take() {
            Some((_, value)) => seed.deserialize(self.place.child(value)),
            None => Err(Mistake("a value was asked for before its key".to_owned())),
        }
    }
}

/// A key as a value of its own, so that [`Named`] knows where each name stands.
struct KeyPlace<'t> {
    key: &'t Spanned<String>,
    place: Place<'t>,
}

impl<'de> Deserializer<'de> for KeyPlace<'_> {
    type Error = Mistake;
    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Mistake> {
        visitor.visit_str(&self.key.value)
    }
    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        if name != AT {
            return visitor.visit_newtype_struct(self);
        }
        let node = Spanned::new(
            Node::Str(self.key.value.clone()),
            self.key.referenced,
            self.key.defined,
        );
        visitor.visit_seq(Positioned {
            place: self.place.child(&node),
            step: 0,
        })
    }
    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What an [`At`] reads: line, column, length, then the value.
struct Positioned<'t> {
    place: Place<'t>,
    step: u8,
}

impl<'de> de::SeqAccess<'de> for Positioned<'_> {
    type Error = Mistake;
    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Mistake> {
        let position = self.place.position();
        self.step += 1;
        let number = |value: u32| IntoDeserializer::<Mistake>::into_deserializer(value);
        match self.step {
            1 => seed.deserialize(number(position.line)).map(Some),
            2 => seed.deserialize(number(position.column)).map(Some),
            3 => seed.deserialize(number(position.length)).map(Some),
            _ => match seed.deserialize(self.place) {
                Ok(value) => Ok(Some(value)),
                Err(mistake) => {
                    self.place.report(position, mistake.0);
                    Ok(None)
                }
            },
        }
    }
}
