//! Enums: `word`, or a mapping of one key `{ word: value }`.

use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::mistake::{Mistake, list_of};

/// A variant's name, and its value where it has one.
pub(super) struct Variant<'t, D> {
    pub(super) name: &'t str,
    pub(super) content: Option<D>,
}

impl<'de, 't, D: Deserializer<'de, Error = Mistake>> de::EnumAccess<'de> for Variant<'t, D> {
    type Error = Mistake;
    type Variant = Self;
    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), Mistake> {
        let name: de::value::StrDeserializer<'_, Mistake> = self.name.into_deserializer();
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'de, D: Deserializer<'de, Error = Mistake>> de::VariantAccess<'de> for Variant<'_, D> {
    type Error = Mistake;
    fn unit_variant(self) -> Result<(), Mistake> {
        match self.content {
            None => Ok(()),
            Some(_) => Err(Mistake(format!("`{}` takes no value", self.name))),
        }
    }
    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, Mistake> {
        match self.content {
            Some(place) => seed.deserialize(place),
            None => Err(Mistake(format!(
                "`{0}` needs a value: `{{ {0}: … }}`",
                self.name
            ))),
        }
    }
    fn tuple_variant<V: Visitor<'de>>(self, _: usize, _: V) -> Result<V::Value, Mistake> {
        Err(Mistake("tuples are not part of the format".to_owned()))
    }
    fn struct_variant<V: Visitor<'de>>(
        self,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Mistake> {
        match self.content {
            Some(place) => place.deserialize_struct("", fields, visitor),
            None => Err(Mistake(format!(
                "`{}` needs {}",
                self.name,
                list_of(fields)
            ))),
        }
    }
}
