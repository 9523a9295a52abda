//! The filter `tojson` as transformers has it: Python's `json.dumps` with `ensure_ascii`, `indent`, `separators` and `sort_keys`.
//! Not HTML-safe, because prompts are no HTML.
use std::fmt::Write;

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Error, ErrorKind, State, Value};

/// Values inside values.
const MAX_DEPTH: usize = 64;
/// Bytes of output for one step of fuel; walking a value is slower than copying it.
const BYTES_PER_STEP: usize = 4;

struct Writer {
    out: String,
    indent: Option<usize>,
    between: String,
    colon: String,
    ascii: bool,
    sorted: bool,
}

/// `value | tojson`.
pub(super) fn tojson(
    state: &State<'_, '_>,
    value: &Value,
    ensure_ascii: Option<Value>,
    options: Kwargs,
) -> Result<Value, Error> {
    let ascii = match ensure_ascii {
        Some(value) => value.is_true(),
        None => options.get::<Option<bool>>("ensure_ascii")?.unwrap_or(false),
    };
    let indent: Option<usize> = options.get("indent")?;
    let separators: Option<(String, String)> = match options.get::<Option<Value>>("separators")? {
        Some(pair) if !pair.is_none() => Some((text(&pair, 0)?, text(&pair, 1)?)),
        Some(_) | None => None,
    };
    let sorted = options.get::<Option<bool>>("sort_keys")?.unwrap_or(false);
    options.assert_all_used()?;
    let default = || (if indent.is_some() { "," } else { ", " }.to_owned(), ": ".to_owned());
    let (between, colon) = separators.unwrap_or_else(default);
    let mut writer = Writer { out: String::new(), indent: indent.map(|n| n.min(64)), between, colon, ascii, sorted };
    writer.write(state, value, 0)?;
    Ok(Value::from(writer.out))
}

fn text(pair: &Value, at: usize) -> Result<String, Error> {
    let item = pair.get_item_by_index(at)?;
    item.as_str()
        .map(str::to_owned)
        .ok_or_else(|| Error::new(ErrorKind::InvalidOperation, "separators must be two strings"))
}

impl Writer {
    fn write(&mut self, state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
        let refuse = |what: &str| Err(Error::new(ErrorKind::InvalidOperation, format!("tojson: {what}")));
        if depth > MAX_DEPTH {
            return refuse("the value is nested too deeply");
        }
        let before = self.out.len();
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(if value.is_true() { "true" } else { "false" }),
            ValueKind::Number => self.number(value),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(state, value, depth)?,
            ValueKind::Map => self.map(state, value, depth)?,
            kind => return refuse(&format!("{kind} is not JSON serializable")),
        }
        state.consume_fuel(1 + ((self.out.len() - before) / BYTES_PER_STEP) as u64)
    }

    /// As Python writes numbers: 1e16 is 1e+16.
    fn number(&mut self, value: &Value) {
        let float = f64::try_from(value.clone()).ok().filter(|_| !value.is_integer());
        let text = match float {
            None => value.to_string(),
            Some(float) if float.is_infinite() => if float > 0.0 { "Infinity" } else { "-Infinity" }.to_owned(),
            Some(float) => format!("{float:?}"),
        };
        let _ = match text.split_once('e') {
            Some((digits, exponent)) => match exponent.strip_prefix('-') {
                Some(power) => write!(self.out, "{digits}e-{power:0>2}"),
                None => write!(self.out, "{digits}e+{exponent:0>2}"),
            },
            None => write!(self.out, "{text}"),
        };
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }

    fn list(&mut self, state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('[');
        let mut some = false;
        for item in value.try_iter()? {
            self.next(some, depth);
            some = true;
            self.write(state, &item, depth + 1)?;
        }
        self.close(']', some, depth);
        Ok(())
    }

    fn map(&mut self, state: &State<'_, '_>, value: &Value, depth: usize) -> Result<(), Error> {
        self.out.push('{');
        let mut keys: Vec<Value> = value.try_iter()?.collect();
        if self.sorted {
            keys.sort();
        }
        let mut some = false;
        for key in keys {
            self.next(some, depth);
            some = true;
            match key.as_str() {
                Some(text) => self.string(text),
                None => self.string(&key.to_string()),
            }
            self.out.push_str(&self.colon.clone());
            self.write(state, &value.get_item(&key)?, depth + 1)?;
        }
        self.close('}', some, depth);
        Ok(())
    }

    fn next(&mut self, some: bool, depth: usize) {
        if some {
            self.out.push_str(&self.between.clone());
        }
        self.line(depth + 1);
    }

    fn close(&mut self, bracket: char, some: bool, depth: usize) {
        if some {
            self.line(depth);
        }
        self.out.push(bracket);
    }

    fn line(&mut self, depth: usize) {
        if let Some(indent) = self.indent {
            self.out.push('\n');
            self.out.extend(std::iter::repeat_n(' ', indent * depth));
        }
    }
}
