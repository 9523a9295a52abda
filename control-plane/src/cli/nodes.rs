//! `proxy-status`: what each gateway and worker has acknowledged.
use serde_json::{Value, json};

use super::{
    connect::ConnectArgs,
    output::{self, Format, at, plain, table},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct ProxyStatusArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

pub async fn proxy_status(args: &ProxyStatusArgs) -> Result<String, Error> {
    let client = args.connect.client()?;
    let answer = client.get(&["api", "v1", "nodes"], &[]).await?;
    let items = answer.get("items").or_else(|| answer.get("nodes")).unwrap_or(&answer);
    let items = items.as_array().cloned().unwrap_or_default();
    Ok(match args.output {
        Format::Json => output::json(&answer),
        Format::Yaml => output::yaml(&json!({"items": items})),
        Format::Table | Format::Wide => nodes(&items, args.output == Format::Wide),
    })
}

/// One line per node, a column per resource type; errors below.
pub fn nodes(items: &[Value], wide: bool) -> String {
    if items.is_empty() {
        return "No node is connected.\n".to_owned();
    }
    let mut types: Vec<String> = items.iter().flat_map(types_of).map(|(name, _)| name).collect();
    types.sort();
    types.dedup();
    let mut head = vec!["NODE", "GROUP", "CONNECTED"];
    head.extend(types.iter().map(String::as_str));
    if wide {
        head.extend(["ADDRESS", "VERSION"]);
    }
    let mut rows = Vec::new();
    let mut errors = String::new();
    for node in items {
        let id = first(node, &["/nodeId", "/id", "/name"]);
        let states = types_of(node);
        let mut row = vec![id.clone(), first(node, &["/group", "/role"]), at(node, "/connected")];
        for name in &types {
            row.push(states.iter().find(|(n, _)| n == name).map_or_else(|| "-".to_owned(), |(_, t)| first(t, &["/state", "/status", ""])));
        }
        if wide {
            row.extend([at(node, "/address"), first(node, &["/version", "/revision"])]);
        }
        rows.push(row);
        for (name, state) in &states {
            let error = first(state, &["/error", "/nack", "/message"]);
            if error != "-" {
                errors.push_str(&format!("{id} refused {name}: {error}\n"));
            }
        }
    }
    format!("{}{errors}", table(&head, &rows))
}

/// The first pointer that leads to a plain value.
fn first(value: &Value, pointers: &[&str]) -> String {
    let found = pointers.iter().filter_map(|p| value.pointer(p)).find(|v| !v.is_object() && !v.is_null());
    found.map_or_else(|| "-".to_owned(), plain)
}

/// (short name of the type, its state), from a map or a list.
fn types_of(node: &Value) -> Vec<(String, Value)> {
    let short = |name: &str| name.rsplit(['.', '/']).next().unwrap_or(name).to_owned();
    match node.get("types").or_else(|| node.get("resources")) {
        Some(Value::Object(map)) => map.iter().map(|(name, state)| (short(name), state.clone())).collect(),
        Some(Value::Array(list)) => list.iter().map(|t| (short(&first(t, &["/type", "/typeUrl", "/name"])), t.clone())).collect(),
        Some(_) | None => Vec::new(),
    }
}
