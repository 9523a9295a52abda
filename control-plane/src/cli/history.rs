//! `history`: what was written when and by whom.
use serde_json::{Value, json};
use tidegate_policy::kinds::Kind;

use super::{
    connect::ConnectArgs,
    objects::{NamespaceArgs, kind_and_name},
    output::{self, Format, at, table},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct HistoryArgs {
    /// Only this object (KIND NAME, KIND/NAME)
    pub kind: Option<String>,
    pub name: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// Most revisions to show, newest first
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub limit: u32,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

pub async fn history(args: &HistoryArgs) -> Result<String, Error> {
    let object = args.kind.as_deref().map(|k| named(k, args.name.as_deref())).transpose()?;
    let client = args.connect.client()?;
    let mut query = Vec::new();
    if let Some((kind, name)) = &object {
        query.extend([("kind", kind.name()), ("namespace", &args.namespace.namespace), ("name", name)]);
    }
    let items = client.list(&["api", "v1", "revisions"], &query, args.limit as usize).await?;
    Ok(match args.output {
        Format::Json => output::json(&json!({"items": items})),
        Format::Yaml => output::yaml(&json!({"items": items})),
        Format::Table | Format::Wide => revisions(&items),
    })
}

/// One object: a kind alone is nothing that the history is kept for.
pub fn named(kind: &str, name: Option<&str>) -> Result<(Kind, String), Error> {
    let (kind, name) = kind_and_name(kind, name)?;
    let name = name.ok_or_else(|| {
        Error::Usage(format!("name the object of kind {}, or leave the kind out to mean everything", kind.name()))
    })?;
    Ok((kind, name))
}

/// One line per revision.
pub fn revisions(items: &[Value]) -> String {
    let rows: Vec<Vec<String>> = items
        .iter()
        .map(|r| {
            let object = format!("{}/{}/{}", at(r, "/kind"), at(r, "/namespace"), at(r, "/name"));
            vec![at(r, "/revision"), at(r, "/at"), at(r, "/author"), at(r, "/source"), at(r, "/outcome"), object]
        })
        .collect();
    table(&["REVISION", "AT", "AUTHOR", "SOURCE", "OUTCOME", "OBJECT"], &rows)
}
