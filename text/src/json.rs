//! JSON to values, with bounds: depth, number of values; a key that stands twice is refused. Also JSON of a known shape.
use std::{cell::Cell, fmt};

use serde::de::{DeserializeOwned, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::{Mistake, scalar, words};

/// Deepest nesting.
pub(crate) const MAX_DEPTH: usize = 64;
/// Most values of a text, each element and each field counted: what a text of this length can honestly hold, and no more,
/// so that neither aliases nor towers of brackets cost more memory than was sent.
pub(crate) fn max_nodes(text: &str) -> usize {
    100_000 + text.len() / 4
}

/// One JSON value after the other.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, Mistake> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let nodes = Cell::new(max_nodes(text));
    let mut values = Vec::new();
    loop {
        values.push(Strict { depth: 0, nodes: &nodes }.deserialize(&mut deserializer).map_err(|e| words::json(&e))?);
        if deserializer.end().is_ok() {
            return Ok(values);
        }
    }
}

/// JSON of a known shape.
///
/// # Errors
/// What is wrong and where, in plain words.
pub fn typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Mistake> {
    let text = crate::decode(bytes)?;
    serde_json::from_str(text).map_err(|e| words::json(&e))
}

/// Builds a value, counting depth and nodes and refusing repeated keys.
#[derive(Clone, Copy)]
struct Strict<'a> {
    depth: usize,
    /// How many more there may be.
    nodes: &'a Cell<usize>,
}

impl Strict<'_> {
    fn deeper<E: serde::de::Error>(self) -> Result<Self, E> {
        if self.depth >= MAX_DEPTH {
            return Err(E::custom(words::too_deep()));
        }
        Ok(Self { depth: self.depth + 1, ..self })
    }

    fn count<E: serde::de::Error>(self) -> Result<(), E> {
        let left = self.nodes.get().checked_sub(1).ok_or_else(|| E::custom(words::TOO_MANY))?;
        self.nodes.set(left);
        Ok(())
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.count()?;
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E>(self, v: bool) -> Result<Value, E> {
        Ok(Value::Bool(v))
    }

    fn visit_i64<E>(self, v: i64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_u64<E>(self, v: u64) -> Result<Value, E> {
        Ok(v.into())
    }

    fn visit_f64<E>(self, v: f64) -> Result<Value, E> {
        Ok(scalar::number_of(v))
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<Value, E> {
        Ok(Value::String(v.to_owned()))
    }

    fn visit_string<E>(self, v: String) -> Result<Value, E> {
        Ok(Value::String(v))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut items = Vec::new();
        while let Some(item) = access.next_element_seed(inner)? {
            items.push(item);
        }
        Ok(Value::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let inner = self.deeper()?;
        let mut map = Map::new();
        while let Some(key) = access.next_key::<String>()? {
            let value = access.next_value_seed(inner)?;
            if map.contains_key(&key) {
                return Err(serde::de::Error::custom(words::twice(&key)));
            }
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}
