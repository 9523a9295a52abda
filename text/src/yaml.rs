//! YAML to values, and values to YAML. The parser gives events; what they mean is decided here and in `scalar`: anchors, merge
//! keys, tags, and what is refused because readers of YAML disagree about it. Bounded in depth and in values.
use std::{borrow::Cow, collections::HashMap};

use base64::Engine as _;
use granit_parser::{Event, Options, Parser, ScalarStyle, Span, StrInput, Tag};
use serde_json::{Map, Value};

use crate::{
    Mistake,
    json::{MAX_DEPTH, max_nodes},
    scalar, words,
};

/// Every document of a text, also the empty ones, which are null.
pub(crate) fn read(text: &str) -> Result<Vec<Value>, Mistake> {
    let mut options = Options::default();
    options.set_emit_comments(false);
    options.flow_nesting_limit = MAX_DEPTH;
    options.block_nesting_limit = MAX_DEPTH;
    let parser = Parser::new_from_str_with_options(text, options);
    let mut reader = Reader { parser, nodes: max_nodes(text), anchors: HashMap::new() };
    let mut documents = Vec::new();
    while let Some((event, _)) = reader.next()? {
        if let Event::DocumentStart(..) = event {
            reader.anchors.clear();
            documents.push(reader.value(0)?);
        }
    }
    Ok(documents)
}

/// A value as YAML that this program and kubectl read back as the same value.
pub fn write(value: &Value) -> String {
    let mut out = serde_saphyr::to_string(value).unwrap_or_else(|_| format!("{value:#}"));
    if !out.ends_with('\n') {
        out.push('\n');
    }
    out
}

struct Reader<'a> {
    parser: Parser<'a, StrInput<'a>>,
    /// How many more there may be.
    nodes: usize,
    /// Values of anchors that are complete.
    anchors: HashMap<usize, Value>,
}

fn here(span: &Span, message: impl Into<String>) -> Mistake {
    Mistake::at(span.start.line().max(1), span.start.col() + 1, message)
}

type Node<'a> = (Event<'a>, Span);

impl<'a> Reader<'a> {
    fn next(&mut self) -> Result<Option<Node<'a>>, Mistake> {
        self.parser.next().transpose().map_err(|e| words::yaml(&e))
    }

    fn value(&mut self, depth: usize) -> Result<Value, Mistake> {
        let node = self.next()?.ok_or_else(|| Mistake::new("the text ends too early"))?;
        self.node(node, depth)
    }

    fn count(&mut self, values: usize, span: &Span) -> Result<(), Mistake> {
        self.nodes = self.nodes.checked_sub(values).ok_or_else(|| here(span, words::TOO_MANY))?;
        Ok(())
    }

    fn node(&mut self, (event, span): Node<'a>, depth: usize) -> Result<Value, Mistake> {
        self.count(1, &span)?;
        let (value, anchor) = match event {
            Event::Scalar(text, style, anchor, tag) => {
                (tagged(&text, style, tag.as_deref()).map_err(|m| here(&span, m))?, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                only_tag(tag, "seq").map_err(|m| here(&span, m))?;
                (self.sequence(depth, &span)?, anchor)
            }
            Event::MappingStart(_, anchor, tag) => {
                only_tag(tag, "map").map_err(|m| here(&span, m))?;
                (self.mapping(depth, &span)?, anchor)
            }
            Event::Alias(id) => {
                let value = self.anchors.get(&id).cloned();
                let value =
                    value.ok_or_else(|| here(&span, "an alias (`*name`) stands inside the value that it names"))?;
                self.count(nodes_of(&value), &span)?;
                (value, 0)
            }
            _ => return Err(here(&span, "a value is expected here")),
        };
        if anchor != 0 {
            self.count(nodes_of(&value), &span)?;
            self.anchors.insert(anchor, value.clone());
        }
        Ok(value)
    }

    fn sequence(&mut self, depth: usize, begin: &Span) -> Result<Value, Mistake> {
        let inner = deeper(depth, begin)?;
        let mut items = Vec::new();
        loop {
            match self.next()? {
                Some((Event::SequenceEnd, _)) | None => return Ok(Value::Array(items)),
                Some(node) => items.push(self.node(node, inner)?),
            }
        }
    }

    fn mapping(&mut self, depth: usize, begin: &Span) -> Result<Value, Mistake> {
        let inner = deeper(depth, begin)?;
        let mut map = Map::new();
        let mut merged: Option<Map<String, Value>> = None;
        while let Some((event, span)) = self.next()? {
            if let Event::MappingEnd = event {
                break;
            }
            if is_merge(&event) {
                let source = self.value(inner)?;
                if merged.is_some() {
                    return Err(here(&span, words::twice("<<")));
                }
                if !map.is_empty() {
                    return Err(here(
                        &span,
                        "`<<` must be the first key: readers of YAML disagree about which value wins",
                    ));
                }
                merged = Some(merge(source).ok_or_else(|| here(&span, "`<<` takes a mapping or a list of mappings"))?);
                continue;
            }
            let key = self.key((event, span), inner)?;
            let value = self.value(inner)?;
            if map.contains_key(&key) {
                return Err(here(&span, words::twice(&key)));
            }
            map.insert(key, value);
        }
        if let Some(mut under) = merged {
            under.extend(map);
            map = under;
        }
        Ok(Value::Object(map))
    }

    /// A key as text: numbers and booleans become their text, as kubectl does it.
    fn key(&mut self, (event, span): Node<'a>, depth: usize) -> Result<String, Mistake> {
        match self.node((event, span), depth)? {
            Value::String(text) => Ok(text),
            Value::Bool(value) => Ok(value.to_string()),
            Value::Number(number) => Ok(number.to_string()),
            Value::Null => Err(here(&span, "the key is missing or null")),
            Value::Array(_) | Value::Object(_) => Err(here(&span, "a key is a text, not a list or a mapping")),
        }
    }
}

fn deeper(depth: usize, span: &Span) -> Result<usize, Mistake> {
    if depth >= MAX_DEPTH { Err(here(span, words::too_deep())) } else { Ok(depth + 1) }
}

fn is_merge(event: &Event<'_>) -> bool {
    matches!(event, Event::Scalar(text, ScalarStyle::Plain, _, None) if text == "<<")
}

/// The entries that a merge key brings; of several mappings the first one that has a key wins.
fn merge(source: Value) -> Option<Map<String, Value>> {
    match source {
        Value::Object(map) => Some(map),
        Value::Array(items) => {
            let mut all = Map::new();
            for item in items {
                let Value::Object(map) = item else { return None };
                for (key, value) in map {
                    all.entry(key).or_insert(value);
                }
            }
            Some(all)
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

/// What a copy of a value costs: its nodes, and one more for each four bytes of its texts.
fn nodes_of(value: &Value) -> usize {
    match value {
        Value::Array(items) => 1 + items.iter().map(nodes_of).sum::<usize>(),
        Value::Object(map) => 1 + map.iter().map(|(key, value)| key.len() / 4 + nodes_of(value)).sum::<usize>(),
        Value::String(text) => 1 + text.len() / 4,
        Value::Null | Value::Bool(_) | Value::Number(_) => 1,
    }
}

/// The name of a tag of YAML itself; `Err` for every other, which would mean nothing here.
fn core(tag: &Tag) -> Result<&str, String> {
    match (tag.handle(), tag.suffix()) {
        ("tag:yaml.org,2002:", name) => Ok(name),
        ("!" | "", "") | ("", "!") => Ok("!"),
        ("" | "!", name) if name.starts_with("tag:yaml.org,2002:") => Ok(&name["tag:yaml.org,2002:".len()..]),
        (handle, name) => Err(format!("the tag `{handle}{name}` means nothing here; take it out")),
    }
}

fn only_tag(tag: Option<Cow<'_, Tag>>, wanted: &str) -> Result<(), String> {
    match tag.as_deref().map(core).transpose()? {
        None | Some("!") => Ok(()),
        Some(name) if name == wanted => Ok(()),
        Some(name) => Err(format!("the tag `!!{name}` does not fit here; take it out")),
    }
}

/// A scalar with its tag: a tag says what it is, quotes or not; without one, quotes make it text.
fn tagged(text: &str, style: ScalarStyle, tag: Option<&Tag>) -> Result<Value, String> {
    let Some(name) = tag.map(core).transpose()? else {
        return if style == ScalarStyle::Plain { scalar::plain(text) } else { Ok(Value::String(text.to_owned())) };
    };
    let misfit = || format!("{} is not what its tag `!!{name}` says", words::quoted(text));
    match name {
        "!" | "str" => Ok(Value::String(text.to_owned())),
        "binary" => {
            let packed: String = text.split_ascii_whitespace().collect();
            let bytes = base64::engine::general_purpose::STANDARD.decode(packed).map_err(|_| misfit())?;
            String::from_utf8(bytes).map(Value::String).map_err(|_| "the bytes of a `!!binary` are no text".to_owned())
        }
        "null" | "bool" | "int" | "float" | "timestamp" => {
            let value = scalar::plain(text)?;
            let fits = match (&value, name) {
                (Value::Null, "null") | (Value::Bool(_), "bool") | (Value::Number(_), "float") => true,
                (Value::Number(n), "int") => !n.is_f64() && !text.contains('.'),
                (Value::String(_), "timestamp") => text.len() > 7 && text.as_bytes()[4] == b'-',
                _ => false,
            };
            if fits { Ok(value) } else { Err(misfit()) }
        }
        other => Err(format!("the tag `!!{other}` means nothing here; take it out")),
    }
}
