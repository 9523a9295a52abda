//! `get`, `delete`, `adopt`: one object or a listing of a kind.
use chrono::Utc;
use reqwest::Method;
use serde_json::{Value, json};
use tidegate_policy::kinds::Kind;

use super::{
    columns::{Columns, object_table},
    connect::{Client, ConnectArgs},
    output::{self, Format},
};
use crate::error::Error;

/// A listing longer than this is not for a terminal.
const MOST: usize = 100_000;

#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArgs {
    /// Namespace of the object
    #[arg(short, long, default_value = "default", env = "TIDEGATE_NAMESPACE", value_parser = namespace())]
    pub namespace: String,
}

/// An empty variable is not set.
fn namespace() -> impl clap::builder::TypedValueParser<Value = String> {
    let or_default = |text: String| if text.is_empty() { "default".to_owned() } else { text };
    clap::builder::TypedValueParser::map(clap::builder::StringValueParser::new(), or_default)
}

#[derive(Clone, Debug, clap::Args)]
pub struct GetArgs {
    /// models, workerpools, releasepolicies, ratelimitpolicies, their short names mdl, wp, rel, rlp, or all; KIND/NAME works too
    pub kind: String,
    pub name: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// List the objects of every namespace
    #[arg(short = 'A', long, conflicts_with = "name")]
    pub all_namespaces: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct DeleteArgs {
    /// Kind of the object, or KIND/NAME
    pub kind: String,
    pub name: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// Delete only if metadata.resourceVersion is still this number
    #[arg(long, value_name = "VERSION", value_parser = clap::value_parser!(u64).range(1..))]
    pub resource_version: Option<u64>,
    /// Say what would happen, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct AdoptArgs {
    /// Kind of the object, or KIND/NAME
    pub kind: String,
    pub name: Option<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `model` and `chat`, or `model/chat`.
pub fn kind_and_name(kind: &str, name: Option<&str>) -> Result<(Kind, Option<String>), Error> {
    let (kind, name) = match (kind.split_once('/'), name) {
        (Some((kind, name)), None) if !name.is_empty() => (kind, Some(name)),
        (Some(_), _) => return Err(Error::Usage(format!("{kind}: write KIND NAME or KIND/NAME"))),
        (None, name) => (kind, name),
    };
    let parsed = Kind::parse(kind).ok_or_else(|| {
        let known: Vec<String> = Kind::ALL.iter().map(|k| format!("{} ({})", k.plural(), k.short())).collect();
        Error::Usage(format!("there is no kind {kind:?}; the kinds are {}", known.join(", ")))
    })?;
    Ok((parsed, name.map(str::to_owned)))
}

fn named(kind: &str, name: Option<&str>) -> Result<(Kind, String), Error> {
    let (kind, name) = kind_and_name(kind, name)?;
    name.map(|n| (kind, n)).ok_or_else(|| Error::Usage("the name of the object is missing".to_owned()))
}

/// `model.tidegate.dev/chat`, with the namespace in front unless it is the default one.
pub fn display_name(kind: &str, namespace: &str, name: &str) -> String {
    let kind = kind.to_ascii_lowercase();
    let namespace =
        if namespace.is_empty() || namespace == "default" { String::new() } else { format!("{namespace}/") };
    format!("{kind}.tidegate.dev/{namespace}{name}")
}

pub async fn get(args: &GetArgs) -> Result<String, Error> {
    let client = args.connect.client()?;
    if args.kind == "all" {
        return get_all(args, &client).await;
    }
    let (kind, name) = kind_and_name(&args.kind, args.name.as_deref())?;
    if let Some(name) = name {
        if args.all_namespaces {
            return Err(Error::Usage(format!(
                "-A lists every namespace: leave {name} out, or name its namespace with -n"
            )));
        }
        let object =
            client.get(&["api", "v1", "namespaces", &args.namespace.namespace, kind.plural(), &name], &[]).await?;
        return Ok(render(kind, std::slice::from_ref(&object), args, &object));
    }
    let items = list(args, &client, kind).await?;
    let whole = json!({"apiVersion": tidegate_policy::kinds::API_VERSION, "kind": format!("{}List", kind.name()), "items": items});
    Ok(render(kind, &items, args, &whole))
}

async fn list(args: &GetArgs, client: &Client, kind: Kind) -> Result<Vec<Value>, Error> {
    if args.all_namespaces {
        return client.list(&["api", "v1", kind.plural()], &[], MOST).await;
    }
    client.list(&["api", "v1", "namespaces", &args.namespace.namespace, kind.plural()], &[], MOST).await
}

async fn get_all(args: &GetArgs, client: &Client) -> Result<String, Error> {
    if let Some(name) = &args.name {
        return Err(Error::Usage(format!("`all` takes no name; write the kind of {name}, as in `get models {name}`")));
    }
    let (mut all, mut tables) = (Vec::new(), Vec::new());
    for kind in Kind::ALL {
        let items = list(args, client, kind).await?;
        if !items.is_empty() {
            tables.push(render(kind, &items, args, &Value::Null));
        }
        all.extend(items);
    }
    Ok(match args.output {
        Format::Json => output::json(&json!({"apiVersion": "v1", "kind": "List", "items": all})),
        Format::Yaml => output::yaml(&json!({"apiVersion": "v1", "kind": "List", "items": all})),
        Format::Table | Format::Wide if tables.is_empty() => "No objects found.\n".to_owned(),
        Format::Table | Format::Wide => tables.join("\n"),
    })
}

fn render(kind: Kind, items: &[Value], args: &GetArgs, whole: &Value) -> String {
    match args.output {
        Format::Json => output::json(whole),
        Format::Yaml => output::yaml(whole),
        Format::Table | Format::Wide if items.is_empty() => format!("No {} found.\n", kind.plural()),
        Format::Table | Format::Wide => {
            let columns = Columns {
                wide: args.output == Format::Wide,
                namespace: args.all_namespaces,
                kind: args.kind == "all",
                now: Utc::now(),
            };
            object_table(kind, items, &columns)
        }
    }
}

pub async fn delete(args: &DeleteArgs) -> Result<String, Error> {
    let (kind, name) = named(&args.kind, args.name.as_deref())?;
    let client = args.connect.client()?;
    let namespace = args.namespace.namespace.as_str();
    let mut query = Vec::new();
    if args.dry_run {
        query.push(("dryRun", "true"));
    }
    let path = ["api", "v1", "namespaces", namespace, kind.plural(), &name];
    let url = client.url(&path, &query);
    let version = args.resource_version.map(|version| version.to_string());
    let reply = client.send_if(Method::DELETE, url, version.as_deref()).await?;
    let suffix = if args.dry_run { " (dry run)" } else { "" };
    let warnings: String = reply.warnings.iter().map(|w| format!("  warning: {w}\n")).collect();
    Ok(format!("{} deleted{suffix}\n{warnings}", display_name(kind.name(), namespace, &name)))
}

pub async fn adopt(args: &AdoptArgs) -> Result<String, Error> {
    let (kind, name) = named(&args.kind, args.name.as_deref())?;
    let client = args.connect.client()?;
    let namespace = args.namespace.namespace.as_str();
    client.post(&["api", "v1", "namespaces", namespace, kind.plural(), &name, "adopt"], &[], &json!({})).await?;
    Ok(format!("{} adopted\n", display_name(kind.name(), namespace, &name)))
}
