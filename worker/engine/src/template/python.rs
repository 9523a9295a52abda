//! What templates written for Python expect beside Jinja: methods of strings, lists and dictionaries, and the date. Everything
//! pays for its work with the template's fuel.
use std::fmt::Write;

use chrono::format::{Item, StrftimeItems};
use chrono::{DateTime, FixedOffset, Local};
use minijinja::value::{Kwargs, Rest, from_args};
use minijinja::{Error, ErrorKind, State, Value};
use minijinja_contrib::pycompat;

/// What time it is.
pub(crate) type Clock = fn() -> DateTime<FixedOffset>;

/// Longest format of a date, bytes.
const MAX_FORMAT: usize = 256;

/// The machine's local time, as `datetime.now()`.
pub(crate) fn local_time() -> DateTime<FixedOffset> {
    Local::now().fixed_offset()
}

/// `strftime_now(format)`.
pub(super) fn strftime(clock: Clock, format: &str) -> Result<String, Error> {
    let invalid = |text: &str| Error::new(ErrorKind::InvalidOperation, format!("strftime_now: {text}"));
    if format.len() > MAX_FORMAT {
        return Err(invalid("the format is too long"));
    }
    let items: Vec<Item<'_>> = StrftimeItems::new(format).collect();
    if items.contains(&Item::Error) {
        return Err(invalid("the format has an unknown directive"));
    }
    let mut out = String::new();
    write!(out, "{}", clock().format_with_items(items.iter())).map_err(|_| invalid("the date cannot be written"))?;
    Ok(out)
}

/// A method that Jinja itself does not know.
pub(super) fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    let Some(text) = value.as_str() else {
        return pycompat::unknown_method_callback(state, value, name, args);
    };
    state.consume_fuel(text.len() as u64 / 64)?;
    match name {
        "removeprefix" => {
            let (prefix,): (&str,) = from_args(args)?;
            Ok(text.strip_prefix(prefix).unwrap_or(text).into())
        }
        "removesuffix" => {
            let (suffix,): (&str,) = from_args(args)?;
            Ok(text.strip_suffix(suffix).unwrap_or(text).into())
        }
        "partition" | "rpartition" => partition(text, name == "rpartition", args),
        "rsplit" => rsplit(text, args),
        // Python takes these by name, too.
        "split" => pycompat::unknown_method_callback(state, value, name, &by_place(args, ["sep", "maxsplit"])?),
        "replace" => pycompat::unknown_method_callback(state, value, name, &by_place(args, ["old", "new", "count"])?),
        "splitlines" => pycompat::unknown_method_callback(state, value, name, &by_place(args, ["keepends"])?),
        "index" => {
            let (what,): (&str,) = from_args(args)?;
            let missing = || Error::new(ErrorKind::InvalidOperation, "substring not found");
            let at = text.find(what).ok_or_else(missing)?;
            Ok(text.get(..at).unwrap_or_default().chars().count().into())
        }
        _ => pycompat::unknown_method_callback(state, value, name, args),
    }
}

/// Arguments in the order of `names`, wherever they were given by name; `none` where a later one was.
fn by_place<const N: usize>(args: &[Value], names: [&str; N]) -> Result<Vec<Value>, Error> {
    let (places, named): (Rest<Value>, Kwargs) = from_args(args)?;
    let mut out: Vec<Value> = places.0;
    for (at, name) in names.iter().enumerate() {
        if let Some(value) = named.get::<Option<Value>>(name)? {
            while out.len() <= at {
                out.push(Value::from(()));
            }
            if let Some(place) = out.get_mut(at) {
                *place = value;
            }
        }
    }
    named.assert_all_used()?;
    Ok(out)
}

fn partition(text: &str, from_end: bool, args: &[Value]) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(args)?;
    if separator.is_empty() {
        return Err(Error::new(ErrorKind::InvalidOperation, "empty separator"));
    }
    let found = if from_end { text.rsplit_once(separator) } else { text.split_once(separator) };
    let parts = match found {
        Some((before, behind)) => [before, separator, behind],
        None if from_end => ["", "", text],
        None => [text, "", ""],
    };
    Ok(parts.into_iter().map(Value::from).collect())
}

fn rsplit(text: &str, args: &[Value]) -> Result<Value, Error> {
    let args = by_place(args, ["sep", "maxsplit"])?;
    let (separator, most): (Option<&str>, Option<i64>) = from_args(&args)?;
    let most = most.and_then(|most| usize::try_from(most).ok()).unwrap_or(usize::MAX).saturating_add(1);
    let mut parts: Vec<&str> = match separator {
        Some("") => return Err(Error::new(ErrorKind::InvalidOperation, "empty separator")),
        Some(separator) => text.rsplitn(most, separator).collect(),
        None => words_from_end(text, most),
    };
    parts.reverse();
    Ok(parts.into_iter().map(Value::from).collect())
}

/// At most `most` parts between runs of white space, the last one first; what is left over is one part.
fn words_from_end(text: &str, most: usize) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut rest = text.trim_end();
    while !rest.is_empty() {
        let cut = rest.rfind(char::is_whitespace).filter(|_| parts.len() + 1 < most);
        let Some((before, word)) = cut.and_then(|at| rest.split_at_checked(at)) else {
            parts.push(rest);
            break;
        };
        parts.push(word.trim_start());
        rest = before.trim_end();
    }
    parts
}
