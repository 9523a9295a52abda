//! `admin-token` and `node-token`: made once, shown once.
use chrono::Utc;
use serde_json::{Value, json};

use super::{
    connect::ConnectArgs,
    keys::{seconds, state},
    output::{self, TextFormat, at, table},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Subcommand)]
pub enum AdminTokenCommand {
    /// Make a token; it is shown this once
    #[command(
        after_help = "The name is the author of what is written with the token: give each person and each program its own.\n\nExamples:\n  tidegate admin-token create --name alice > alice.token\n  tidegate admin-token create --name ci --expires-in 90d -o json"
    )]
    Create(CreateAdminArgs),
    /// List the tokens, without the tokens themselves
    #[command(after_help = "Example:\n  tidegate admin-token list")]
    List(ListArgs),
    /// Make a token useless
    #[command(
        after_help = "Examples:\n  tidegate admin-token revoke 0190b0a46f1c7c3e9b1a2f6f3c1d5e77\n  tidegate admin-token revoke alice"
    )]
    Revoke(RevokeAdminArgs),
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateAdminArgs {
    /// Who uses the token: letters, digits, '-', '_', '.', '@'
    #[arg(long)]
    pub name: String,
    /// How long the token lives: seconds, or such as 90m, 12h, 30d. Without it, until it is revoked
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    pub expires_in: Option<u64>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct ListArgs {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RevokeAdminArgs {
    /// Id or name of the token, as `list` shows them
    pub id: String,
    /// Also the last token that opens anything: nobody gets in afterwards, until `up --new-admin-token` makes another
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Subcommand)]
pub enum NodeTokenCommand {
    /// Make the token of a gateway or worker; it is shown this once
    #[command(
        after_help = "A node that has a token is refused without --rotate. With it the old token is taken for 10 minutes more, so that the node can be\ngiven the new one meanwhile; --now ends the old one at once.\n\nExamples:\n  tidegate node-token create --node-id gateway-1 --role gateway > gateway-1.token\n  tidegate node-token create --node-id w-1 --role worker --pool default/chat > w-1.token\n  tidegate node-token create --node-id gateway-1 --role gateway --rotate > gateway-1.token"
    )]
    Create(CreateNodeArgs),
    /// List the nodes that have a token, without the tokens themselves
    #[command(after_help = "Example:\n  tidegate node-token list")]
    List(ListArgs),
    /// Make all tokens of a node useless; its streams end within 5 s
    #[command(after_help = "Example:\n  tidegate node-token revoke gateway-1")]
    Revoke(RevokeNodeArgs),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub enum Role {
    Gateway,
    Worker,
}

#[derive(Clone, Debug, clap::Args)]
pub struct CreateNodeArgs {
    #[arg(long)]
    pub node_id: String,
    #[arg(long, value_enum)]
    pub role: Role,
    /// NAMESPACE/NAME of the worker's pool
    #[arg(long, required_if_eq("role", "worker"))]
    pub pool: Option<String>,
    /// The node has a token and gets another; the old one is taken for 10 minutes more
    #[arg(long)]
    pub rotate: bool,
    /// With --rotate: how long the old token is still taken, such as 30m; at most 1d
    #[arg(long, value_name = "TIME", value_parser = seconds, requires = "rotate", conflicts_with = "now")]
    pub grace: Option<u64>,
    /// With --rotate: the old token ends at once
    #[arg(long, requires = "rotate")]
    pub now: bool,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

#[derive(Clone, Debug, clap::Args)]
pub struct RevokeNodeArgs {
    pub node_id: String,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

const ADMIN: [&str; 3] = ["api", "v1", "admin-tokens"];
const NODE: [&str; 3] = ["api", "v1", "node-tokens"];
/// Tokens that a listing shows at most.
const MOST: usize = 100_000;

pub async fn admin_token(command: &AdminTokenCommand) -> Result<String, Error> {
    match command {
        AdminTokenCommand::Create(args) => {
            let mut body = json!({"name": args.name});
            if let Some(seconds) = args.expires_in {
                body["expiresInSeconds"] = json!(seconds);
            }
            let answer = args.connect.client()?.post(&ADMIN, &[], &body).await?;
            if args.output == TextFormat::Json {
                return Ok(output::json(&answer));
            }
            eprintln!("admin-token/{} created for {}; the token is shown only now:", at(&answer, "/id"), args.name);
            Ok(format!("{}\n", at(&answer, "/token")))
        }
        AdminTokenCommand::List(args) => {
            let items = args.connect.client()?.list(&ADMIN, &[], MOST).await?;
            let row = |t: &Value| {
                let times = [at(t, "/createdAt"), at(t, "/lastUsedAt"), at(t, "/expiresAt")];
                [vec![at(t, "/id"), at(t, "/name"), state(t, Utc::now())], times.to_vec()].concat()
            };
            listed(args, &items, (&["ID", "NAME", "STATE", "CREATED", "LAST USED", "EXPIRES"], &row))
        }
        AdminTokenCommand::Revoke(args) => {
            let client = args.connect.client()?;
            // By id, or by the name of a token that is good.
            let items = client.list(&ADMIN, &[], MOST).await?;
            let named = |t: &&Value| at(t, "/name") == args.id && state(t, Utc::now()) == "active";
            let found = items.iter().find(|t| at(t, "/id") == args.id).or_else(|| items.iter().find(named));
            let id = found.map_or_else(|| args.id.clone(), |t| at(t, "/id"));
            let force: &[(&str, &str)] = if args.force { &[("force", "true")] } else { &[] };
            let answer = client.delete(&[&ADMIN[..], &[&id]].concat(), force).await?;
            Ok(format!("admin-token/{id} ({}) revoked\n", at(&answer, "/name")))
        }
    }
}

type Columns<'a> = (&'a [&'a str], &'a dyn Fn(&Value) -> Vec<String>);

fn listed(args: &ListArgs, items: &[Value], (head, row): Columns<'_>) -> Result<String, Error> {
    Ok(match args.output {
        TextFormat::Json => output::json(&json!({"items": items})),
        TextFormat::Text => table(head, &items.iter().map(row).collect::<Vec<_>>()),
    })
}

pub async fn node_token(command: &NodeTokenCommand) -> Result<String, Error> {
    match command {
        NodeTokenCommand::Create(args) => create_node(args).await,
        NodeTokenCommand::List(args) => {
            let items = args.connect.client()?.list(&NODE, &[], MOST).await?;
            let row = |t: &Value| {
                ["/nodeId", "/role", "/pool", "/createdAt", "/lastUsedAt", "/endsAt"].map(|field| at(t, field)).to_vec()
            };
            listed(args, &items, (&["NODE", "ROLE", "POOL", "CREATED", "LAST USED", "ENDS"], &row))
        }
        NodeTokenCommand::Revoke(args) => {
            let answer = args.connect.client()?.delete(&[&NODE[..], &[&args.node_id]].concat(), &[]).await?;
            let connected = answer.get("connected") == Some(&Value::Bool(true));
            let more = if connected { "; its open streams end within 5 s" } else { "" };
            Ok(format!("node-token/{} revoked{more}\n", args.node_id))
        }
    }
}

async fn create_node(args: &CreateNodeArgs) -> Result<String, Error> {
    let role = match args.role {
        Role::Gateway => "Gateway",
        Role::Worker => "Worker",
    };
    let mut body = json!({"nodeId": args.node_id, "role": role});
    if let Some(pool) = &args.pool {
        body["pool"] = json!(pool);
    }
    if args.rotate {
        body["rotate"] = json!(true);
    }
    if let Some(seconds) = args.grace.or_else(|| args.now.then_some(0)) {
        body["graceSeconds"] = json!(seconds);
    }
    let answer = args.connect.client()?.post(&NODE, &[], &body).await?;
    for warning in answer.get("warnings").and_then(Value::as_array).into_iter().flatten() {
        eprintln!("warning: {}", warning.as_str().unwrap_or_default());
    }
    if args.output == TextFormat::Json {
        return Ok(output::json(&answer));
    }
    if args.rotate && !args.now {
        eprintln!("the tokens before are taken until {}", at(&answer, "/earlierTokensUntil"));
    }
    Ok(format!("{}\n", at(&answer, "/token")))
}
