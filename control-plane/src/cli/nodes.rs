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

/// Columns of the resource types, in this order, whenever a node has them.
const TYPES: &[(&str, &str)] = &[
    ("Listener", "LDS"),
    ("RouteConfiguration", "RDS"),
    ("Cluster", "CDS"),
    ("ClusterLoadAssignment", "EDS"),
    ("TypedExtensionConfig", "ECDS"),
    ("ModelSet", "MODELS"),
    ("LimitSet", "LIMITS"),
];

/// One line per node, a column per resource type; what was refused stands below.
pub fn nodes(items: &[Value], wide: bool) -> String {
    if items.is_empty() {
        return "No node has connected yet.\n".to_owned();
    }
    let shown: Vec<_> = TYPES.iter().filter(|(name, _)| items.iter().any(|n| state_of(n, name).is_some())).collect();
    let mut head = vec!["NODE", "GROUP", "CONNECTED"];
    head.extend(shown.iter().map(|(_, column)| *column));
    head.push("VERSIONS");
    if wide {
        head.extend(["ADDRESS", "STATE", "SINCE", "BUILD"]);
    }
    let mut rows = Vec::new();
    let mut refused = String::new();
    for node in items {
        let mut row = vec![at(node, "/nodeId"), at(node, "/group"), at(node, "/connected")];
        row.extend(
            shown.iter().map(|(name, _)| state_of(node, name).map_or_else(|| "-".to_owned(), |t| at(t, "/state"))),
        );
        row.push(versions(node));
        if wide {
            let served = node.pointer("/worker/address").map_or_else(|| at(node, "/address"), plain);
            row.extend([served, at(node, "/worker/state"), at(node, "/since"), at(node, "/build")]);
        }
        rows.push(row);
        refused.push_str(&refusals(node));
    }
    format!("{}{refused}", table(&head, &rows))
}

fn types_of(node: &Value) -> &[Value] {
    node.get("types").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn state_of<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    types_of(node).iter().find(|t| short(t) == name)
}

/// `Cluster` of `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
fn short(of: &Value) -> String {
    at(of, "/typeUrl").rsplit(['.', '/']).next().unwrap_or_default().to_owned()
}

/// `v1,v2 (Loading)` of a worker.
fn versions(node: &Value) -> String {
    let versions = node.pointer("/worker/versions").and_then(Value::as_array).into_iter().flatten();
    let shown: Vec<String> = versions
        .map(|v| match at(v, "/state").as_str() {
            "Serving" => at(v, "/name"),
            other => format!("{} ({other})", at(v, "/name")),
        })
        .collect();
    if shown.is_empty() { "-".to_owned() } else { shown.join(",") }
}

fn refusals(node: &Value) -> String {
    let mut out = String::new();
    for of in types_of(node) {
        let refused = of.get("refused").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        for resource in refused {
            out.push_str(&format!(
                "{} refused {} {}: {}\n",
                at(node, "/nodeId"),
                short(of),
                at(resource, "/name"),
                at(resource, "/error")
            ));
        }
        let error = at(of, "/error");
        if refused.is_empty() && error != "-" {
            out.push_str(&format!("{} refused {}: {error}\n", at(node, "/nodeId"), short(of)));
        }
    }
    out
}
