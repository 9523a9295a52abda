//! `apply` and `diff`: documents to the server, in as many requests as it takes. One request is all or nothing; of several, none is
//! sent before the server has checked them all.
use std::{io::IsTerminal as _, path::PathBuf};

use serde_json::{Value, json};
use tidegate_policy::names::DEFAULT_NAMESPACE;

use super::{
    connect::{Client, ConnectArgs},
    documents::{self, Batch, Documents},
    objects::display_name,
    output::{self, TextFormat, at},
};
use crate::error::Error;

#[derive(Clone, Debug, Default, clap::Args)]
pub struct IntoNamespace {
    /// Namespace of documents that name none; a document that names another is refused. Default: TIDEGATE_NAMESPACE, then default
    #[arg(short, long)]
    pub namespace: Option<String>,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    /// File, folder, or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
    /// Validate completely and say what would happen, but store nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub into: IntoNamespace,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct DiffArgs {
    /// File, folder, or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
    /// Exit with status 2 when there are differences
    #[arg(long)]
    pub exit_code: bool,
    #[command(flatten)]
    pub into: IntoNamespace,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Documents, each in its namespace.
///
/// # Errors
/// TG-1512.
pub fn read(files: &[PathBuf], into: &IntoNamespace) -> Result<Documents, Error> {
    let mut documents = documents::read(files)?;
    let variable = std::env::var("TIDEGATE_NAMESPACE").ok().filter(|name| !name.is_empty());
    match (&into.namespace, variable) {
        (Some(name), _) => documents.put_in_namespace(name, true)?,
        (None, name) => documents.put_in_namespace(name.as_deref().unwrap_or(DEFAULT_NAMESPACE), false)?,
    }
    Ok(documents)
}

async fn send(client: &Client, batch: Batch<'_>, segments: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
    client.post(segments, query, &json!(batch.values)).await.map_err(|error| match error {
        Error::Refused(problem) => Error::Refused(Box::new(problem.with_origins(batch.origins))),
        other => other,
    })
}

/// Says how far it is, where somebody waits for it.
fn progress(word: &str, done: usize, documents: &Documents) {
    if std::io::stderr().is_terminal() {
        eprintln!("{word} {done} of {} documents", documents.values.len());
    }
}

/// Sends every batch; the answers' lists of this name as one.
async fn send_all(
    client: &Client,
    documents: &Documents,
    (segments, query): (&[&str], &[(&str, &str)]),
    (list, word): (&str, &str),
) -> Result<Value, Error> {
    let batches = documents.batches();
    let (mut all, mut warnings, mut revision, mut done) = (Vec::new(), Vec::new(), Value::Null, 0);
    for batch in &batches {
        let sent = send(client, *batch, segments, query).await;
        let mut answer = match sent {
            Ok(answer) => answer,
            Err(source) if done > 0 && query.is_empty() && list == "results" => {
                return Err(Error::PartlyApplied { done, of: documents.values.len(), source: Box::new(source) });
            }
            Err(error) => return Err(error),
        };
        done += batch.values.len();
        if batches.len() > 1 {
            progress(word, done, documents);
        }
        let mut take = |name: &str| match answer.get_mut(name).map(Value::take) {
            Some(Value::Array(items)) => items,
            _ => Vec::new(),
        };
        all.extend(take(list));
        warnings.extend(take("warnings"));
        if let Some(newer) = answer.get("revision").filter(|r| !r.is_null()) {
            revision = newer.clone();
        }
    }
    Ok(match list {
        "results" => json!({"revision": revision, list: all}),
        _ => json!({list: all, "warnings": warnings}),
    })
}

pub async fn apply(args: &ApplyArgs) -> Result<String, Error> {
    let documents = read(&args.files, &args.into)?;
    let client = args.connect.client()?;
    let path: &[&str] = &["api", "v1", "apply"];
    let dry: &[(&str, &str)] = &[("dryRun", "true")];
    let several = documents.batches().len() > 1;
    let mut answer = json!({"revision": null, "results": []});
    if args.dry_run || several {
        answer = send_all(&client, &documents, (path, dry), ("results", "checked")).await?;
    }
    if !args.dry_run {
        answer = send_all(&client, &documents, (path, &[]), ("results", "applied")).await?;
    }
    Ok(match args.output {
        TextFormat::Json => output::json(&answer),
        TextFormat::Text if several => summary(&answer, args.dry_run),
        TextFormat::Text => results(&answer, args.dry_run),
    })
}

/// `model.tidegate.dev/chat created`, one line per document, each warning below its object.
pub fn results(answer: &Value, dry_run: bool) -> String {
    let suffix = if dry_run { " (dry run)" } else { "" };
    let list = answer.get("results").and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default();
    if list.is_empty() {
        return "Nothing to apply: the lists are empty.\n".to_owned();
    }
    list.iter().map(|result| line(result, suffix)).collect()
}

fn line(result: &Value, suffix: &str) -> String {
    let name = display_name(&at(result, "/kind"), &at(result, "/namespace"), &at(result, "/name"));
    format!("{name} {}{suffix}\n{}", at(result, "/outcome").to_ascii_lowercase(), warnings(result))
}

/// Of many documents only what changed, and the counts.
pub fn summary(answer: &Value, dry_run: bool) -> String {
    let suffix = if dry_run { " (dry run)" } else { "" };
    let mut out = String::new();
    let mut counts = std::collections::BTreeMap::<String, usize>::new();
    for result in answer.get("results").and_then(Value::as_array).into_iter().flatten() {
        let outcome = at(result, "/outcome").to_ascii_lowercase();
        if outcome != "unchanged" {
            out.push_str(&line(result, suffix));
        }
        *counts.entry(outcome).or_default() += 1;
    }
    let total: usize = counts.values().sum();
    let counts: Vec<String> = counts.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
    out.push_str(&format!("{total} documents: {}{suffix}\n", counts.join(", ")));
    out
}

fn warnings(value: &Value) -> String {
    let list = value.get("warnings").and_then(Value::as_array).into_iter().flatten();
    list.map(|w| format!("  warning: {}\n", w.get("message").map_or_else(|| output::plain(w), output::plain))).collect()
}

/// The text, and whether there are differences.
pub async fn diff(args: &DiffArgs) -> Result<(String, bool), Error> {
    let documents = read(&args.files, &args.into)?;
    let client = args.connect.client()?;
    let path: &[&str] = &["api", "v1", "diff"];
    let answer = send_all(&client, &documents, (path, &[]), ("changes", "compared")).await?;
    let (text, differs) = differences(&answer);
    Ok(match args.output {
        TextFormat::Json => (output::json(&answer), differs),
        TextFormat::Text => (text, differs),
    })
}

/// A unified diff per object that would change.
pub fn differences(answer: &Value) -> (String, bool) {
    let mut out = String::new();
    for change in answer.get("changes").and_then(Value::as_array).into_iter().flatten() {
        if at(change, "/outcome") != "Unchanged" {
            out.push_str(&difference(change));
        }
    }
    let differs = !out.is_empty();
    if !differs {
        out.push_str("No differences.\n");
    }
    out.push_str(&warnings(answer));
    (out, differs)
}

/// What would become of one object, and its diff.
pub fn difference(change: &Value) -> String {
    let name = display_name(&at(change, "/kind"), &at(change, "/namespace"), &at(change, "/name"));
    let mut out = format!("# {name} would be {}\n", at(change, "/outcome").to_ascii_lowercase());
    let text = change.get("diff").and_then(Value::as_str).unwrap_or_default();
    out.push_str(text);
    if !text.is_empty() && !text.ends_with('\n') {
        out.push('\n');
    }
    out
}
