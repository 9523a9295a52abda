//! Finds the tensors of an ONNX model that live in other files. Reads just these fields of onnx.proto3 (IR version 10) and
//! trusts nothing: lengths are checked, nesting is bounded.

/// Subgraphs inside subgraphs.
const MAX_DEPTH: usize = 64;

/// How ONNX Runtime marks a location that is an address in its own memory, not a file.
const ADDRESS_MARK: &str = "*/";

/// A tensor whose data is in another file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct ExternalTensor {
    pub(crate) name: String,
    /// As the model says it, relative to the model.
    pub(crate) location: String,
    pub(crate) offset: u64,
    pub(crate) length: Option<u64>,
}

/// The messages on the way to a tensor.
#[derive(Clone, Copy)]
enum Kind {
    Model,
    Graph,
    Function,
    Training,
    Node,
    Attribute,
    Sparse,
    Tensor,
}

impl Kind {
    /// What a field of this message holds, when a tensor can be inside.
    fn child(self, field: u32) -> Option<Self> {
        match (self, field) {
            (Self::Model, 7) | (Self::Training, 1 | 2) | (Self::Attribute, 6 | 11) => Some(Self::Graph),
            (Self::Model, 20) => Some(Self::Training),
            (Self::Model, 25) => Some(Self::Function),
            (Self::Graph, 1) | (Self::Function, 7) => Some(Self::Node),
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::Sparse, 1 | 2) => Some(Self::Tensor),
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Some(Self::Sparse),
            (Self::Node, 5) | (Self::Function, 11) => Some(Self::Attribute),
            _ => None,
        }
    }
}

/// Every tensor of the model with external data, in subgraphs, functions and attributes too.
pub(crate) fn external_tensors(model: &[u8]) -> Result<Vec<ExternalTensor>, String> {
    let mut found = Vec::new();
    walk(model, Kind::Model, 0, &mut found)?;
    Ok(found)
}

fn walk(bytes: &[u8], kind: Kind, depth: usize, found: &mut Vec<ExternalTensor>) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("it is nested too deeply".to_owned());
    }
    if matches!(kind, Kind::Tensor) {
        found.extend(tensor(bytes)?);
        return Ok(());
    }
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.next()? {
        if let (Some(child), Value::Bytes(inner)) = (kind.child(field), value) {
            walk(inner, child, depth + 1, found)?;
        }
    }
    Ok(())
}

fn tensor(bytes: &[u8]) -> Result<Option<ExternalTensor>, String> {
    let mut tensor = ExternalTensor::default();
    let mut external = false;
    let mut reader = Reader(bytes);
    while let Some((field, value)) = reader.next()? {
        match (field, value) {
            (8, Value::Bytes(name)) => tensor.name = text(name)?,
            (13, Value::Bytes(entry)) => {
                external = true;
                let (key, value) = pair(entry)?;
                let number = || value.parse::<u64>().map_err(|_| format!("{key} of an external tensor is no number"));
                match key.as_str() {
                    "location" if value.starts_with(ADDRESS_MARK) => {
                        return Err("the location of an external tensor is no file".to_owned());
                    }
                    "location" => tensor.location.clone_from(&value),
                    "offset" => tensor.offset = number()?,
                    "length" => tensor.length = Some(number()?),
                    _ => {}
                }
            }
            (14, Value::Number(place)) => external |= place != 0,
            _ => {}
        }
    }
    Ok(external.then_some(tensor))
}

fn pair(bytes: &[u8]) -> Result<(String, String), String> {
    let (mut key, mut value) = (String::new(), String::new());
    let mut reader = Reader(bytes);
    while let Some((field, found)) = reader.next()? {
        match (field, found) {
            (1, Value::Bytes(b)) => key = text(b)?,
            (2, Value::Bytes(b)) => value = text(b)?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn text(bytes: &[u8]) -> Result<String, String> {
    String::from_utf8(bytes.to_vec()).map_err(|_| "a name is not UTF-8".to_owned())
}

enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
    /// Fixed 32 or 64 bits: never of interest here.
    Fixed,
}

/// Reads protobuf fields one after the other.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<(u32, Value<'a>)>, String> {
        if self.0.is_empty() {
            return Ok(None);
        }
        let tag = self.tag()?;
        let value = match tag & 7 {
            0 => Value::Number(self.varint()?),
            1 => self.take(8).map(|_| Value::Fixed)?,
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_| "a length is too large")?;
                Value::Bytes(self.take(length)?)
            }
            5 => self.take(4).map(|_| Value::Fixed)?,
            _ => return Err("it is not protobuf".to_owned()),
        };
        Ok(Some((tag >> 3, value)))
    }

    /// A field's number and wire type, in the one way in which a serializer writes them. Other readers keep the low 32 bits
    /// of a longer tag: they would see a field here that this one does not.
    fn tag(&mut self) -> Result<u32, String> {
        let before = self.0.len();
        let tag = u32::try_from(self.varint()?).map_err(|_| "a field's tag is too large")?;
        let shortest = (u32::BITS - tag.leading_zeros()).div_ceil(7) as usize;
        if before - self.0.len() != shortest {
            return Err("a field's tag is longer than it needs to be".to_owned());
        }
        if tag >> 3 == 0 {
            return Err("a field has the number 0".to_owned());
        }
        Ok(tag)
    }

    fn varint(&mut self) -> Result<u64, String> {
        let mut value = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.take(1)?.first().ok_or("it is cut off")?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err("a number is too long".to_owned())
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], String> {
        let (head, tail) = self.0.split_at_checked(length).ok_or("it is cut off")?;
        self.0 = tail;
        Ok(head)
    }
}

#[cfg(test)]
mod tests;
