//! `proxy-status`: what each gateway and worker has acknowledged.
use serde_json::Value;

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
    Ok(match args.output {
        Format::Json => output::json(&answer),
        Format::Yaml => output::yaml(&answer),
        Format::Table | Format::Wide => {
            format!(
                "{}{}",
                nodes(list(&answer, "items"), args.output == Format::Wide),
                callers(list(&answer, "refusedCallers"))
            )
        }
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

fn list<'a>(value: &'a Value, field: &str) -> &'a [Value] {
    value.get(field).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// One line per node, a column per resource type; what was refused, what failed and what else is wrong stands below.
pub fn nodes(items: &[Value], wide: bool) -> String {
    if items.is_empty() {
        return "No node has a token yet.\n".to_owned();
    }
    let shown: Vec<_> = TYPES.iter().filter(|(name, _)| items.iter().any(|n| state_of(n, name).is_some())).collect();
    let mut head = vec!["NODE", "GROUP", "STATE"];
    head.extend(shown.iter().map(|(_, column)| *column));
    head.push("VERSIONS");
    if wide {
        head.extend(["ADDRESS", "WORKER", "SINCE", "BUILD"]);
    }
    let mut rows = Vec::new();
    let mut refused = String::new();
    for node in items {
        let mut row = vec![at(node, "/nodeId"), at(node, "/group"), state(node)];
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
        refused.push_str(&complaints(node));
    }
    format!("{}{refused}", table(&head, &rows))
}

fn types_of(node: &Value) -> &[Value] {
    list(node, "types")
}

/// `CONNECTED`, `DISCONNECTED`, `NEVER_CONNECTED`, or `REFUSED` while the control plane turns it away.
fn state(node: &Value) -> String {
    let refused = !list(node, "refused").is_empty();
    match at(node, "/state").as_str() {
        _ if refused => "REFUSED".to_owned(),
        "Connected" => "CONNECTED".to_owned(),
        "Disconnected" => "DISCONNECTED".to_owned(),
        "NeverConnected" => "NEVER_CONNECTED".to_owned(),
        other => other.to_owned(),
    }
}

/// Why it is turned away, what its versions say, and what else is wrong.
fn complaints(node: &Value) -> String {
    let name = at(node, "/nodeId");
    let mut out = String::new();
    for refusal in list(node, "refused") {
        let text = [at(refusal, "/code"), at(refusal, "/message"), at(refusal, "/count")];
        out.push_str(&format!(
            "{name} is refused ({}): {} {} ({} times)\n",
            at(refusal, "/door"),
            text[0],
            text[1],
            text[2]
        ));
    }
    for version in node.pointer("/worker/versions").and_then(Value::as_array).into_iter().flatten() {
        let error = at(version, "/error");
        if error != "-" {
            out.push_str(&format!("{name} {}: {error}\n", at(version, "/name")));
        }
    }
    for note in list(node, "notes") {
        out.push_str(&format!("{name}: {}\n", plain(note)));
    }
    out
}

/// Callers that cannot be named.
fn callers(callers: &[Value]) -> String {
    let line = |caller: &Value| {
        format!(
            "a caller from {} is refused ({}): {} {} ({} times, last {})\n",
            at(caller, "/address"),
            at(caller, "/door"),
            at(caller, "/code"),
            at(caller, "/message"),
            at(caller, "/count"),
            at(caller, "/last")
        )
    };
    callers.iter().map(line).collect()
}

fn state_of<'a>(node: &'a Value, name: &str) -> Option<&'a Value> {
    types_of(node).iter().find(|t| short(t) == name)
}

/// `Cluster` of `type.googleapis.com/envoy.config.cluster.v3.Cluster`.
fn short(of: &Value) -> String {
    at(of, "/typeUrl").rsplit(['.', '/']).next().unwrap_or_default().to_owned()
}

/// `v1,v2 (Loading)` of a worker that reports; of one that does not, what it reported last means nothing.
fn versions(node: &Value) -> String {
    let versions = node.pointer("/worker/versions").and_then(Value::as_array).into_iter().flatten();
    let shown: Vec<String> = versions
        .filter(|_| node.pointer("/worker/connected").is_none_or(|connected| connected != false))
        .map(|v| match at(v, "/state").as_str() {
            "Serving" if v.get("outdated").is_some_and(|outdated| outdated == true) => {
                format!("{} (old files)", at(v, "/name"))
            }
            "Serving" => at(v, "/name"),
            "Failed" => format!("{} FAILED", at(v, "/name")),
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
