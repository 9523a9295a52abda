//! `explain`: why a request gets the arm and the limits that it gets.
use serde_json::{Value, json};

use super::{
    connect::ConnectArgs,
    output::{self, Format, at},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The model as a client names it: NAME, or NAMESPACE/NAME
    #[arg(short, long)]
    pub model: String,
    /// A request header, as 'Name: value'; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// The tenant that the API key of the request would give
    #[arg(long)]
    pub tenant: Option<String>,
    /// Path of the request
    #[arg(long)]
    pub path: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Splits `Name: value`; the space after the colon does not belong to the value.
pub fn header(text: &str) -> Result<(String, String), Error> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        Some(_) | None => Err(Error::Usage(format!("--header {text:?}: write 'Name: value'"))),
    }
}

pub async fn explain(args: &ExplainArgs) -> Result<String, Error> {
    let headers: Result<Vec<_>, _> = args.headers.iter().map(|h| header(h)).collect();
    let headers: Vec<Value> = headers?.into_iter().map(|(name, value)| json!({"name": name, "value": value})).collect();
    let mut body = json!({"model": args.model, "headers": headers});
    for (key, value) in [("tenant", &args.tenant), ("path", &args.path)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    let answer = args.connect.client()?.post(&["api", "v1", "explain"], &[], &body).await?;
    Ok(match args.output {
        Format::Json => output::json(&answer),
        Format::Yaml => output::yaml(&answer),
        Format::Table | Format::Wide => text(&answer),
    })
}

/// An explanation for people: each field on a line, lists below their names.
pub fn text(answer: &Value) -> String {
    let mut out = String::new();
    lines(answer, 0, &mut out);
    if out.is_empty() { format!("{}\n", at(answer, "")) } else { out }
}

fn lines(value: &Value, depth: usize, out: &mut String) {
    let indent = "  ".repeat(depth);
    let Value::Object(map) = value else { return };
    let width = map.keys().map(|k| label(k).chars().count()).max().unwrap_or(0);
    for (key, value) in map {
        match value {
            Value::Null => {}
            Value::Array(items) if items.is_empty() => {}
            Value::Array(items) if items.iter().any(Value::is_object) => {
                out.push_str(&format!("{indent}{}:\n", label(key)));
                for item in items {
                    block(item, depth + 1, out);
                }
            }
            Value::Object(_) => {
                out.push_str(&format!("{indent}{}:\n", label(key)));
                lines(value, depth + 1, out);
            }
            Value::Array(_) | Value::String(_) | Value::Bool(_) | Value::Number(_) => {
                out.push_str(&format!("{indent}{:width$}  {}\n", label(key), output::plain(value)));
            }
        }
    }
}

/// A list item: its first line begins with a dash.
fn block(item: &Value, depth: usize, out: &mut String) {
    let mut inner = String::new();
    lines(item, depth + 1, &mut inner);
    let indent = "  ".repeat(depth);
    match inner.strip_prefix(&"  ".repeat(depth + 1)) {
        Some(rest) => out.push_str(&format!("{indent}- {rest}")),
        None => out.push_str(&format!("{indent}- {}\n", output::plain(item))),
    }
}

/// `ruleId` reads as `rule id`.
fn label(key: &str) -> String {
    let mut out = String::new();
    for c in key.chars() {
        if c.is_ascii_uppercase() {
            out.push(' ');
            out.push(c.to_ascii_lowercase());
        } else {
            out.push(c);
        }
    }
    out
}
