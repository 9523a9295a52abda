//! `apply` and `diff`: documents to the server, all or nothing.
use std::path::PathBuf;

use serde_json::Value;

use super::{
    connect::{Client, ConnectArgs},
    documents::{self, Documents},
    objects::display_name,
    output::{self, TextFormat, at},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct ApplyArgs {
    /// File, folder, or - for standard input; repeatable
    #[arg(short, long = "filename", value_name = "PATH", required = true)]
    pub files: Vec<PathBuf>,
    /// Validate completely and say what would happen, but store nothing
    #[arg(long)]
    pub dry_run: bool,
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
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

async fn send(
    client: &Client,
    documents: &Documents,
    segments: &[&str],
    query: &[(&str, &str)],
) -> Result<Value, Error> {
    let body = Value::Array(documents.values.clone());
    client.post(segments, query, &body).await.map_err(|error| match error {
        Error::Refused(problem) => Error::Refused(Box::new(problem.with_origins(&documents.origins))),
        other => other,
    })
}

pub async fn apply(args: &ApplyArgs) -> Result<String, Error> {
    let documents = documents::read(&args.files)?;
    let client = args.connect.client()?;
    let query: &[(&str, &str)] = if args.dry_run { &[("dryRun", "true")] } else { &[] };
    let answer = send(&client, &documents, &["api", "v1", "apply"], query).await?;
    Ok(match args.output {
        TextFormat::Json => output::json(&answer),
        TextFormat::Text => results(&answer, args.dry_run),
    })
}

/// `model.tidegate.dev/chat created`, one line per document, each warning below its object.
pub fn results(answer: &Value, dry_run: bool) -> String {
    let suffix = if dry_run { " (dry run)" } else { "" };
    let mut out = String::new();
    for result in answer.get("results").and_then(Value::as_array).into_iter().flatten() {
        let name = display_name(&at(result, "/kind"), &at(result, "/namespace"), &at(result, "/name"));
        out.push_str(&format!("{name} {}{suffix}\n", at(result, "/outcome").to_ascii_lowercase()));
        out.push_str(&warnings(result));
    }
    out.push_str(&warnings(answer));
    out
}

fn warnings(value: &Value) -> String {
    let list = value.get("warnings").and_then(Value::as_array).into_iter().flatten();
    list.map(|w| format!("  warning: {}\n", w.get("message").map_or_else(|| output::plain(w), output::plain))).collect()
}

/// The text, and whether there are differences.
pub async fn diff(args: &DiffArgs) -> Result<(String, bool), Error> {
    let documents = documents::read(&args.files)?;
    let client = args.connect.client()?;
    let answer = send(&client, &documents, &["api", "v1", "diff"], &[]).await?;
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
        if at(change, "/outcome") == "Unchanged" {
            continue;
        }
        let name = display_name(&at(change, "/kind"), &at(change, "/namespace"), &at(change, "/name"));
        out.push_str(&format!("# {name} would be {}\n", at(change, "/outcome").to_ascii_lowercase()));
        let text = change.get("diff").and_then(Value::as_str).unwrap_or_default();
        out.push_str(text);
        if !text.is_empty() && !text.ends_with('\n') {
            out.push('\n');
        }
    }
    let differs = !out.is_empty();
    if !differs {
        out.push_str("No differences.\n");
    }
    out.push_str(&warnings(answer));
    (out, differs)
}
