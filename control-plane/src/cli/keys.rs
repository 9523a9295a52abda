//! `api-key` and `node-token`: made once, shown once.
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
        after_help = "Examples:\n  tidegate api-key create --tenant acme\n  tidegate api-key create --tenant acme --expires-in 86400 -o json"
    )]
    Create(CreateKeyArgs),
    /// List the keys, without the keys themselves
    #[command(after_help = "Example:\n  tidegate api-key list")]
    List(ListKeysArgs),
    /// Make a key useless, within a second, everywhere
    #[command(after_help = "Example:\n  tidegate api-key revoke 0190b0a46f1c7c3e9b1a2f6f3c1d5e77")]
    Revoke(RevokeKeyArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateKeyArgs {
    /// Who uses the key; policies match on it
    #[arg(long)]
    pub tenant: String,
    #[arg(long)]
    pub description: Option<String>,
    /// Seconds until the key ends; without it, when it is revoked
    #[arg(long, value_name = "SECONDS")]
    pub expires_in: Option<u64>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
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
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum NodeTokenCommand {
    /// Make the token of a gateway or worker; it is shown this once, and replaces an earlier one
    #[command(
        after_help = "Examples:\n  tidegate node-token create --node-id gateway-1 --role gateway > gateway-1.token\n  tidegate node-token create --node-id w-1 --role worker --pool default/chat > w-1.token"
    )]
    Create(CreateTokenArgs),
    /// Make a node's token useless
    #[command(after_help = "Example:\n  tidegate node-token revoke gateway-1")]
    Revoke(RevokeTokenArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Role {
    Gateway,
    Worker,
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateTokenArgs {
    #[arg(long)]
    pub node_id: String,
    #[arg(long, value_enum)]
    pub role: Role,
    /// NAMESPACE/NAME of the worker's pool
    #[arg(long, required_if_eq("role", "worker"))]
    pub pool: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RevokeTokenArgs {
    pub node_id: String,
    #[command(flatten)]
    pub connect: ConnectArgs,
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
            args.connect.client()?.delete(&["api", "v1", "api-keys", &args.id], &[]).await?;
            Ok(format!("api-key/{} revoked\n", args.id))
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
    let answer = args.connect.client()?.post(&["api", "v1", "api-keys"], &[], &body).await?;
    if args.output == TextFormat::Json {
        return Ok(output::json(&answer));
    }
    eprintln!("api-key/{} created for tenant {}; the key is shown only now:", at(&answer, "/id"), args.tenant);
    Ok(format!("{}\n", at(&answer, "/key")))
}

/// One line per key.
pub fn key_table(items: &[Value], now: DateTime<Utc>) -> String {
    let row = |k: &Value| {
        let ended = DateTime::parse_from_rfc3339(&at(k, "/expiresAt")).is_ok_and(|at| at <= now);
        let state = match at(k, "/revokedAt").as_str() {
            "-" if ended => "expired".to_owned(),
            "-" => "active".to_owned(),
            revoked => format!("revoked {revoked}"),
        };
        vec![at(k, "/id"), at(k, "/tenant"), state, at(k, "/createdAt"), at(k, "/expiresAt"), at(k, "/description")]
    };
    let rows: Vec<Vec<String>> = items.iter().map(row).collect();
    table(&["ID", "TENANT", "STATE", "CREATED", "EXPIRES", "DESCRIPTION"], &rows)
}

pub async fn node_token(command: &NodeTokenCommand) -> Result<String, Error> {
    match command {
        NodeTokenCommand::Create(args) => {
            let role = match args.role {
                Role::Gateway => "Gateway",
                Role::Worker => "Worker",
            };
            let mut body = json!({"nodeId": args.node_id, "role": role});
            if let Some(pool) = &args.pool {
                body["pool"] = json!(pool);
            }
            let answer = args.connect.client()?.post(&["api", "v1", "node-tokens"], &[], &body).await?;
            Ok(match args.output {
                TextFormat::Json => output::json(&answer),
                TextFormat::Text => format!("{}\n", at(&answer, "/token")),
            })
        }
        NodeTokenCommand::Revoke(args) => {
            args.connect.client()?.delete(&["api", "v1", "node-tokens", &args.node_id], &[]).await?;
            Ok(format!("node-token/{} revoked\n", args.node_id))
        }
    }
}
