//! The listing of one kind as a table: what was asked for, whether it does that now, and if not, why. Text only.
use chrono::{DateTime, Utc};
use serde_json::Value;
use tidegate_policy::kinds::Kind;

use super::output::{age, at, plain, table};

/// Longest message in a table that is not wide, characters.
const MESSAGE: usize = 100;

/// Which columns a table has.
#[derive(Clone, Copy, Debug)]
pub struct Columns {
    pub wide: bool,
    pub namespace: bool,
    /// Names with their kind in front: several kinds are listed.
    pub kind: bool,
    pub now: DateTime<Utc>,
}

/// The listing of one kind.
pub fn object_table(kind: Kind, items: &[Value], columns: &Columns) -> String {
    let own: &[&str] = match kind {
        Kind::Model => &["VERSIONS", "TASK"],
        Kind::WorkerPool => &["MODEL", "VERSIONS", "WORKERS"],
        Kind::ReleasePolicy => &["MODEL", "STABLE", "CANDIDATE", "WEIGHT"],
        Kind::RateLimitPolicy => &["TARGETS", "LIMITS", "MODE"],
    };
    let mut head = Vec::new();
    if columns.namespace {
        head.push("NAMESPACE");
    }
    head.push("NAME");
    head.extend(own);
    head.push("READY");
    if columns.wide {
        head.extend(["ACCEPTED", "RESOLVEDREFS", "PROGRAMMED", "GENERATION", "REVISION", "SOURCE"]);
    }
    head.extend(["AGE", "REASON", "MESSAGE"]);
    let rows: Vec<Vec<String>> = items.iter().map(|item| row(kind, item, columns)).collect();
    table(&head, &rows)
}

fn row(kind: Kind, item: &Value, columns: &Columns) -> Vec<String> {
    let mut cells = Vec::new();
    if columns.namespace {
        cells.push(at(item, "/metadata/namespace"));
    }
    let name = at(item, "/metadata/name");
    cells.push(if columns.kind { format!("{}/{name}", kind.name().to_ascii_lowercase()) } else { name });
    match kind {
        Kind::Model => cells.extend([names(item, "/spec/versions", "name"), at(item, "/spec/versions/0/task")]),
        Kind::WorkerPool => cells.extend([at(item, "/spec/modelRef/name"), at(item, "/spec/versions"), workers(item)]),
        Kind::ReleasePolicy => {
            let weight = at(item, "/spec/steps/0/weight");
            let weight = if weight == "-" { weight } else { format!("{weight}%") };
            cells.extend([at(item, "/spec/targetRef/name"), arm(item, "stable"), arm(item, "candidate"), weight]);
        }
        Kind::RateLimitPolicy => cells.extend([
            names(item, "/spec/targetRefs", "name"),
            names(item, "/spec/limits", "name"),
            at(item, "/spec/mode"),
        ]),
    }
    cells.push(state(item, "Ready"));
    if columns.wide {
        cells.extend(["Accepted", "ResolvedRefs", "Programmed"].map(|name| state(item, name)));
        cells.extend(["/metadata/generation", "/metadata/resourceVersion", "/metadata/managedBy"].map(|p| at(item, p)));
    }
    cells.push(age(&at(item, "/metadata/creationTimestamp"), columns.now));
    let (reason, message) = worst(item);
    let bound = if columns.wide { usize::MAX } else { MESSAGE };
    cells.extend([reason, shortened(&message, bound)]);
    cells
}

/// Workers that are ready, of those that are asked for.
fn workers(item: &Value) -> String {
    match at(item, "/status/workers/ready").as_str() {
        "-" => format!("-/{}", at(item, "/spec/replicas")),
        ready => format!("{ready}/{}", at(item, "/spec/replicas")),
    }
}

/// The version that is written, and the one that is used when it is another.
fn arm(item: &Value, name: &str) -> String {
    let (wanted, used) = (at(item, &format!("/spec/{name}")), at(item, &format!("/status/arms/{name}")));
    if used == "-" || used == wanted { wanted } else { format!("{wanted} (now {used})") }
}

fn names(item: &Value, pointer: &str, field: &str) -> String {
    let list = item.pointer(pointer).and_then(Value::as_array).cloned().unwrap_or_default();
    let names: Vec<String> = list.iter().filter_map(|v| v.get(field)).map(plain).collect();
    if names.is_empty() { "-".to_owned() } else { names.join(",") }
}

fn conditions(item: &Value) -> &[Value] {
    item.pointer("/status/conditions").and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// `True`, `False`, `Unknown` or `-`.
fn state(item: &Value, name: &str) -> String {
    conditions(item).iter().find(|c| at(c, "/type") == name).map_or_else(|| "-".to_owned(), |c| at(c, "/status"))
}

/// Reason and message of what is worst: `Ready` when it does not hold, for it says why; else the first condition that does not;
/// else the first warning.
fn worst(item: &Value) -> (String, String) {
    let bad = || conditions(item).iter().filter(|c| at(c, "/status") != "True");
    if let Some(found) = bad().find(|c| at(c, "/type") == "Ready").or_else(|| bad().next()) {
        return (at(found, "/reason"), at(found, "/message"));
    }
    match at(item, "/status/warnings/0").as_str() {
        "-" => ("-".to_owned(), "-".to_owned()),
        warning => ("Warning".to_owned(), warning.to_owned()),
    }
}

/// At most `most` characters, on one line.
fn shortened(text: &str, most: usize) -> String {
    let line = text.lines().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}... (-o wide shows all)", line[..end].trim_end()),
        None => line,
    }
}
