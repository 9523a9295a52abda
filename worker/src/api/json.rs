//! JSON that is read strictly: a key that stands twice is refused, and every value knows its path, so that an error can name
//! it. Never guesses a type.
use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};

use crate::error::{RequestError, shortened};

/// A JSON value; object members keep their order and are unique.
#[derive(Clone, PartialEq, Debug)]
pub enum Json {
    Null,
    Bool(bool),
    /// Of 64 bits, signed or not.
    Integer(i128),
    /// Not an integer, or one of more than 64 bits.
    Float(f64),
    Text(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(JsonVisitor)
    }
}

struct JsonVisitor;

impl<'de> Visitor<'de> for JsonVisitor {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Integer(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Json, E> {
        Ok(Json::Float(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Json, E> {
        Ok(Json::Text(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Json, E> {
        Ok(Json::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Json, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = seq.next_element()? {
            items.push(item);
        }
        Ok(Json::Array(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Json, A::Error> {
        let mut members: Vec<(String, Json)> = Vec::new();
        while let Some((key, value)) = map.next_entry::<String, Json>()? {
            if members.len() >= MAX_MEMBERS {
                return Err(serde::de::Error::custom(format!("an object has more than {MAX_MEMBERS} members")));
            }
            if members.iter().any(|(name, _)| *name == key) {
                let key = shortened(&key);
                return Err(serde::de::Error::custom(format!("the key {key:?} stands twice in one object")));
            }
            members.push((key, value));
        }
        Ok(Json::Object(members))
    }
}

/// No integer of this size or more fits 64 bits with a sign.
const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

/// Most members of one object; none of this API has as many.
const MAX_MEMBERS: usize = 256;

/// What some editors and libraries put in front of a text; JSON has none (RFC 8259 §8.1).
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// Reads a body; nesting is bounded by serde_json (128).
pub fn parse(body: &[u8]) -> Result<Vec<(String, Json)>, RequestError> {
    if body.starts_with(BYTE_ORDER_MARK) {
        return Err(RequestError::NotJson { reason: "it begins with a byte order mark at line 1 column 1".to_owned() });
    }
    match serde_json::from_slice(body) {
        Ok(Json::Object(members)) => Ok(members),
        Ok(other) => Err(RequestError::NotJson { reason: format!("it is {}", other.kind()) }),
        Err(e) => Err(RequestError::NotJson { reason: e.to_string() }),
    }
}

impl Json {
    /// What it is, in words.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Text(_) => "a string",
            Self::Array(_) => "an array",
            Self::Object(_) => "an object",
        }
    }

    fn wrong(&self, param: &str, wanted: &str) -> RequestError {
        RequestError::Invalid { param: param.to_owned(), reason: format!("must be {wanted}, is {}", self.kind()) }
    }

    /// A string of at most `max` bytes.
    pub fn text(self, param: &str, max: usize) -> Result<String, RequestError> {
        match self {
            Self::Text(text) if text.len() <= max => Ok(text),
            Self::Text(_) => Err(invalid(param, format!("is longer than {max} bytes"))),
            other => Err(other.wrong(param, "a string")),
        }
    }

    pub fn bool(self, param: &str) -> Result<bool, RequestError> {
        match self {
            Self::Bool(value) => Ok(value),
            other => Err(other.wrong(param, "a boolean")),
        }
    }

    /// An integer in `[low, high]`; `2.0` is not one.
    pub fn integer(self, param: &str, low: i64, high: i64) -> Result<i64, RequestError> {
        let outside = |value: &dyn fmt::Display| invalid(param, format!("{value} is not from {low} to {high}"));
        match self {
            Self::Integer(value) => {
                let fits = i64::try_from(value).ok().filter(|value| (low..=high).contains(value));
                fits.ok_or_else(|| outside(&value))
            }
            Self::Float(value) if value.abs() >= TWO_TO_63 => Err(outside(&format!("{value:e}"))),
            other => Err(other.wrong(param, "an integer")),
        }
    }

    /// A number in `[low, high]`.
    pub fn number(self, param: &str, low: f64, high: f64) -> Result<f64, RequestError> {
        #[allow(clippy::cast_precision_loss)]
        let value = match self {
            Self::Integer(value) => value as f64,
            Self::Float(value) => value,
            other => return Err(other.wrong(param, "a number")),
        };
        let ok = value >= low && value <= high;
        if ok { Ok(value) } else { Err(invalid(param, format!("{value} is not from {low} to {high}"))) }
    }

    /// An array of at most `max` items.
    pub fn array(self, param: &str, max: usize) -> Result<Vec<Json>, RequestError> {
        match self {
            Self::Array(items) if items.len() <= max => Ok(items),
            Self::Array(items) => Err(invalid(param, format!("has {} items, {max} are allowed", items.len()))),
            other => Err(other.wrong(param, "an array")),
        }
    }

    pub fn object(self, param: &str) -> Result<Vec<(String, Json)>, RequestError> {
        match self {
            Self::Object(members) => Ok(members),
            other => Err(other.wrong(param, "an object")),
        }
    }
}

/// Shorthand for [`RequestError::Invalid`].
pub fn invalid(param: &str, reason: impl Into<String>) -> RequestError {
    RequestError::Invalid { param: param.to_owned(), reason: reason.into() }
}
