//! `rollback`: back to what was, after saying what that means. More than one object, or the end of one, is never changed before
//! somebody said yes.
use std::{
    collections::BTreeMap,
    io::{IsTerminal as _, Write as _},
};

use serde_json::{Value, json};

use super::{
    apply::{difference, results},
    connect::ConnectArgs,
    history::named,
    objects::display_name,
    output::{self, TextFormat, at},
};
use crate::error::Error;

/// Objects that are listed before the question; all are in a dry run.
const MOST_LISTED: usize = 50;

#[derive(Clone, Debug, clap::Args)]
pub struct RollbackArgs {
    /// Only this object (KIND NAME, KIND/NAME); without it everything of the namespace, or everything
    pub kind: Option<String>,
    pub name: Option<String>,
    /// The revision to go back to, as `history` shows it
    #[arg(long, value_name = "REVISION")]
    pub to: u64,
    /// Namespace of the object; without an object: only what is in this namespace
    #[arg(short, long, env = "TIDEGATE_NAMESPACE")]
    pub namespace: Option<String>,
    /// Everything of every namespace, also where TIDEGATE_NAMESPACE names one
    #[arg(short = 'A', long, conflicts_with_all = ["kind", "name"])]
    pub all_namespaces: bool,
    /// Show what would change, as a diff, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// The request without `dryRun`.
fn request(args: &RollbackArgs) -> Result<Value, Error> {
    let namespace = args.namespace.as_deref().filter(|name| !name.is_empty() && !args.all_namespaces);
    let mut body = json!({"revision": args.to});
    match &args.kind {
        Some(kind) => {
            let (kind, name) = named(kind, args.name.as_deref())?;
            body["kind"] = json!(kind.name());
            body["namespace"] = json!(namespace.unwrap_or("default"));
            body["name"] = json!(name);
        }
        None => {
            if let Some(namespace) = namespace {
                body["namespace"] = json!(namespace);
            }
        }
    }
    Ok(body)
}

pub async fn rollback(args: &RollbackArgs) -> Result<String, Error> {
    let client = args.connect.client()?;
    let path: &[&str] = &["api", "v1", "rollback"];
    let mut body = request(args)?;
    body["dryRun"] = json!(true);
    let plan = client.post(path, &[], &body).await?;
    let changes = changes(&plan);
    if args.dry_run {
        return Ok(match args.output {
            TextFormat::Json => output::json(&plan),
            TextFormat::Text if changes.is_empty() => nothing(args.to),
            TextFormat::Text => {
                summary(&changes, args.to, usize::MAX) + &changes.iter().map(|c| difference(c)).collect::<String>()
            }
        });
    }
    if !changes.is_empty() && !args.yes && needs_a_yes(args, &changes) {
        ask(&summary(&changes, args.to, MOST_LISTED))?;
    }
    body["dryRun"] = json!(false);
    let answer = client.post(path, &[], &body).await?;
    Ok(match args.output {
        TextFormat::Json => output::json(&answer),
        TextFormat::Text if self::changes(&answer).is_empty() => nothing(args.to),
        TextFormat::Text => results(&answer, false),
    })
}

fn nothing(to: u64) -> String {
    format!("Nothing differs from revision {to}.\n")
}

fn changes(answer: &Value) -> Vec<&Value> {
    let all = answer.get("results").and_then(Value::as_array).into_iter().flatten();
    all.filter(|result| at(result, "/outcome") != "Unchanged").collect()
}

/// Whoever names one object sees what happens to it, unless it goes.
fn needs_a_yes(args: &RollbackArgs, changes: &[&Value]) -> bool {
    args.kind.is_none() || changes.iter().any(|change| at(change, "/outcome") == "Deleted")
}

/// What a rollback would do: counts by namespace and kind, then the objects.
pub fn summary(changes: &[&Value], to: u64, most: usize) -> String {
    let mut counts: BTreeMap<(String, String, String), usize> = BTreeMap::new();
    for change in changes {
        let key = (at(change, "/namespace"), at(change, "/kind"), at(change, "/outcome").to_ascii_lowercase());
        *counts.entry(key).or_default() += 1;
    }
    let mut out = format!("Going back to revision {to} changes {} objects:\n", changes.len());
    for ((namespace, kind, outcome), n) in &counts {
        out.push_str(&format!("  namespace {namespace}: {n} {kind} {outcome}\n"));
    }
    for change in changes.iter().take(most) {
        let name = display_name(&at(change, "/kind"), &at(change, "/namespace"), &at(change, "/name"));
        out.push_str(&format!("{name} would be {}\n", at(change, "/outcome").to_ascii_lowercase()));
    }
    if changes.len() > most {
        out.push_str(&format!("and {} more; --dry-run shows all, with their differences\n", changes.len() - most));
    }
    out
}

/// Asks on the terminal; where there is none, nothing is done without --yes.
fn ask(summary: &str) -> Result<(), Error> {
    let refuse = |why: &str| Err(Error::Usage(format!("{why}; nothing was changed. {}", summary.trim_end())));
    if !std::io::stdin().is_terminal() {
        return refuse("this needs a yes: give --yes, or look with --dry-run first");
    }
    eprint!("{summary}Do it? [y/N] ");
    let _ = std::io::stderr().flush();
    let mut answer = String::new();
    let read = std::io::stdin().read_line(&mut answer);
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" if read.is_ok() => Ok(()),
        _ => refuse("the answer was no"),
    }
}
