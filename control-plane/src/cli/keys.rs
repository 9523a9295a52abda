//! `api-key`: made once, shown once. A key works, and no longer works, where the gateways say so.
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::{
    connect::ConnectArgs,
    output::{self, TextFormat, at, table},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Subcommand)]
pub enum ApiKeyCommand {
    /// Make a key; it is shown this once
    #[command(
        after_help = "Examples:\n  tidegate api-key create --tenant acme\n  tidegate api-key create --tenant acme --expires-in 1d -o json"
    )]
    Create(CreateKeyArgs),
    /// List the keys, without the keys themselves
    #[command(after_help = "Example:\n  tidegate api-key list")]
    List(ListKeysArgs),
    /// Make a key useless, and say where it is already
    #[command(
        after_help = "It waits up to 5 s until every connected gateway refuses the key. A gateway that is not connected takes it until it is back;\nwhich ones that are is said.\n\nExamples:\n  tidegate api-key revoke 0190b0a46f1c7c3e9b1a2f6f3c1d5e77\n  tidegate api-key revoke 0190b0a46f1c7c3e9b1a2f6f3c1d5e77 --no-wait -o json"
    )]
    Revoke(RevokeKeyArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateKeyArgs {
    /// Who uses the key; policies match on it
    #[arg(long)]
    pub tenant: String,
    #[arg(long)]
    pub description: Option<String>,
    /// How long the key lives: seconds, or such as 90m, 12h, 30d. Without it, until it is revoked
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub expires_in: Option<u64>,
    /// Do not wait until the gateways know the key
    #[arg(long)]
    pub no_wait: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Seconds, also as a duration; less than a second is none.
pub fn seconds(text: &str) -> Result<u64, String> {
    let spelled = || tidegate_text::duration_ms(text).filter(|ms| ms.is_multiple_of(1_000)).map(|ms| ms / 1_000);
    text.parse().ok().or_else(spelled).filter(|seconds| *seconds > 0).ok_or_else(|| {
        format!("expected a number of seconds, or {} of at least a second", tidegate_text::DURATION_FORM)
    })
}

#[derive(Clone, Debug, clap::Args)]
pub struct ListKeysArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RevokeKeyArgs {
    /// Id of the key, as `list` shows it
    pub id: String,
    /// Do not wait until the gateways refuse the key
    #[arg(long)]
    pub no_wait: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// What tells the server not to wait.
fn wait(no_wait: bool) -> &'static [(&'static str, &'static str)] {
    if no_wait { &[("waitSeconds", "0")] } else { &[] }
}

pub async fn api_key(command: &ApiKeyCommand) -> Result<String, Error> {
    match command {
        ApiKeyCommand::Create(args) => create_key(args).await,
        ApiKeyCommand::List(args) => {
            let items = args.connect.client()?.list(&["api", "v1", "api-keys"], &[], 100_000).await?;
            Ok(match args.output {
                TextFormat::Json => output::json(&json!({"items": items})),
                TextFormat::Text => key_table(&items, Utc::now()),
            })
        }
        ApiKeyCommand::Revoke(args) => {
            let client = args.connect.client()?;
            let answer = client.delete(&["api", "v1", "api-keys", &args.id], wait(args.no_wait)).await?;
            Ok(match args.output {
                TextFormat::Json => output::json(&answer),
                TextFormat::Text => format!("api-key/{} revoked; {}\n", args.id, where_revoked(&answer)),
            })
        }
    }
}

async fn create_key(args: &CreateKeyArgs) -> Result<String, Error> {
    let mut body = json!({"tenant": args.tenant});
    if let Some(description) = &args.description {
        body["description"] = json!(description);
    }
    if let Some(seconds) = args.expires_in {
        body["expiresInSeconds"] = json!(seconds);
    }
    let answer = args.connect.client()?.post(&["api", "v1", "api-keys"], wait(args.no_wait), &body).await?;
    if args.output == TextFormat::Json {
        return Ok(output::json(&answer));
    }
    eprintln!("api-key/{} created for tenant {}; the key is shown only now:", at(&answer, "/id"), args.tenant);
    if answer.get("inForce") == Some(&Value::Bool(false)) {
        eprintln!("{}", where_created(&answer));
    }
    Ok(format!("{}\n", at(&answer, "/key")))
}

fn names(answer: &Value, field: &str) -> Vec<String> {
    let names = answer.get(field).and_then(Value::as_array).into_iter().flatten();
    names.filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Where a revocation is in force, and where it is not.
pub fn where_revoked(answer: &Value) -> String {
    let (confirmed, pending) = (names(answer, "confirmed"), names(answer, "pending"));
    let disconnected = names(answer, "disconnected");
    let mut parts = vec![match confirmed.as_slice() {
        [] => "no gateway has confirmed it".to_owned(),
        nodes => format!("refused at {}", nodes.join(", ")),
    }];
    if !pending.is_empty() {
        parts.push(format!("NOT YET at {}, which may still take it", pending.join(", ")));
    }
    if !disconnected.is_empty() {
        parts.push(format!(
            "{} not connected: a gateway that runs goes on taking the key until it is back (if it is gone for good, revoke its node token)",
            disconnected.join(", ")
        ));
    }
    parts.join("\n  ")
}

fn where_created(answer: &Value) -> String {
    let waiting = [names(answer, "pending"), names(answer, "disconnected")].concat();
    match waiting.as_slice() {
        [] => "no gateway knows the key yet".to_owned(),
        nodes => format!("not known yet at {}", nodes.join(", ")),
    }
}

/// One line per key.
pub fn key_table(items: &[Value], now: DateTime<Utc>) -> String {
    let row = |k: &Value| {
        let state = state(k, now);
        vec![at(k, "/id"), at(k, "/tenant"), state, at(k, "/createdAt"), at(k, "/expiresAt"), at(k, "/description")]
    };
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    table(&["ID", "TENANT", "STATE", "CREATED", "EXPIRES", "DESCRIPTION"], &rows)
}

/// `active`, `expired` or `revoked <time>`, of a key or a token.
pub(super) fn state(item: &Value, now: DateTime<Utc>) -> String {
    let ended = DateTime::parse_from_rfc3339(&at(item, "/expiresAt")).is_ok_and(|at| at <= now);
    match at(item, "/revokedAt").as_str() {
        "-" if ended => "expired".to_owned(),
        "-" => "active".to_owned(),
        revoked => format!("revoked {revoked}"),
    }
}
