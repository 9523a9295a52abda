//! The command line: parsing, which runtime a command needs, exit codes. Commands talk to the admin API like any other client.
mod apply;
mod bootstrap;
mod columns;
mod connect;
mod documents;
mod errors;
mod exec;
mod explain;
mod fields;
mod history;
mod keys;
mod nodes;
mod objects;
mod output;
mod pinned;
mod proof;
mod rollback;
mod start;
mod tokens;

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser, Subcommand};
pub use connect::{Client, ConnectArgs};
pub use pinned::client_config as pinned;
pub use proof::Shown;

use crate::{config::check_variables, error::Error};

const EXIT_CODES: &str = "Exit status: 0 done; 1 refused or failed; 64 wrong usage or configuration; 66 a file cannot be read; \
                          69 the server is not reachable; 77 no token, or not allowed.";

/// Tidegate: one document says who may use how much, who sees which version and which weights run where; the fleet does it.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, arg_required_else_help = true, after_help = EXIT_CODES)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run everything on this machine: Postgres, the control plane, the gateway, the workers
    #[command(
        after_help = "Examples:\n  tidegate up\n  tidegate up --apply examples/ --model-roots ~/.cache/tidegate/tools/models --model-roots examples/models\n  tidegate up --new-admin-token --data-dir /tmp/tg\n  tidegate up --database-url-file pg.url --admin-listen 127.0.0.1:9081"
    )]
    Up(start::UpCommand),
    /// Run the control plane alone
    #[command(
        after_help = "Examples:\n  tidegate serve --database-url-file /etc/tidegate/pg.url\n  TIDEGATE_DATABASE_URL=postgres://… tidegate serve"
    )]
    Serve(start::ServeCommand),
    /// Show every setting of `up` and `serve`, where it comes from, and every mistake
    #[command(
        after_help = "Examples:\n  tidegate check-config --config tidegate.yaml\n  tidegate check-config --max-workers 4 -o json"
    )]
    CheckConfig(start::CheckConfigCommand),
    /// Create or change objects from files; up to 500 documents all or nothing
    #[command(
        after_help = "Examples:\n  tidegate apply -f examples/\n  tidegate apply -f chat.yaml --dry-run\n  cat chat.yaml | tidegate apply -f -\n  tidegate get all -A -o yaml > backup.yaml; tidegate apply -f backup.yaml"
    )]
    Apply(apply::ApplyArgs),
    /// Show what `apply` would change
    #[command(after_help = "Examples:\n  tidegate diff -f examples/\n  tidegate diff -f chat.yaml --exit-code")]
    Diff(apply::DiffArgs),
    /// List objects, or show one
    #[command(
        after_help = "Examples:\n  tidegate get models\n  tidegate get rel chat -o yaml\n  tidegate get all -A -o wide"
    )]
    Get(objects::GetArgs),
    /// Delete an object
    #[command(
        after_help = "Examples:\n  tidegate delete releasepolicy chat\n  tidegate delete wp/chat-canary --dry-run"
    )]
    Delete(objects::DeleteArgs),
    /// Say which arm, limits and rules a request gets, and why
    #[command(
        after_help = "Examples:\n  tidegate explain --model tide-chat --header 'X-Gray-Tag: v2.1'\n  tidegate explain --model tide-chat -H 'x-user-id: u42' --tenant acme -o json\n  tidegate explain -n team-a --model chat --path /v1/embeddings"
    )]
    Explain(explain::ExplainArgs),
    /// List what was written, newest first
    #[command(after_help = "Examples:\n  tidegate history\n  tidegate history rel chat --limit 5")]
    History(history::HistoryArgs),
    /// Make everything, a namespace, or one object, what it was at a revision
    #[command(
        after_help = "More than one object, or the end of one, is changed only after a yes on the terminal, or with --yes.\n\nExamples:\n  tidegate rollback --to 12 --dry-run\n  tidegate rollback --to 12 -n team-a --yes\n  tidegate rollback rel chat --to 12"
    )]
    Rollback(rollback::RollbackArgs),
    /// Take over an object that was written through another door
    #[command(after_help = "Example:\n  tidegate adopt releasepolicy chat")]
    Adopt(objects::AdoptArgs),
    /// Show what each gateway and worker has acknowledged
    #[command(after_help = "Examples:\n  tidegate proxy-status\n  tidegate proxy-status -o wide")]
    ProxyStatus(nodes::ProxyStatusArgs),
    /// Keys with which tenants call the gateway
    #[command(subcommand)]
    ApiKey(keys::ApiKeyCommand),
    /// Tokens with which people and programs use the admin API
    #[command(subcommand)]
    AdminToken(tokens::AdminTokenCommand),
    /// Tokens with which gateways and workers connect
    #[command(subcommand)]
    NodeToken(tokens::NodeTokenCommand),
    /// Print the file with which an Envoy of your own starts
    #[command(
        after_help = "Its listener is the control plane's --gateway-listen; the bootstrap does not name it.\n\nExamples:\n  tidegate bootstrap --node-id gateway-1 --token-file gateway-1.token > envoy.json\n  tidegate bootstrap --node-id gateway-1 --token-file /run/tg/token --grpc 127.0.0.1:18001 --admin-socket /run/tg/admin.sock"
    )]
    Bootstrap(bootstrap::BootstrapArgs),
    /// Show what may be written in a document: types, defaults, bounds
    #[command(after_help = "Examples:\n  tidegate fields\n  tidegate fields rel.spec.rules\n  tidegate fields wp -r")]
    Fields(fields::FieldsArgs),
    /// Say what an error code means and what to do
    #[command(
        after_help = "Examples:\n  tidegate errors TG-1301\n  tidegate errors 1301 1005\n  tidegate errors | grep -i token"
    )]
    Errors(errors::ErrorsArgs),
    /// Print what makes the shell complete commands and flags
    #[command(
        after_help = "Examples:\n  source <(tidegate completion bash)\n  tidegate completion fish > ~/.config/fish/completions/tidegate.fish"
    )]
    Completion(CompletionArgs),
    /// Print the version
    #[command(after_help = "Example:\n  tidegate version")]
    Version,
    /// Used by `up` for its children.
    #[command(name = "exec-child", hide = true)]
    ExecChild(exec::ExecArgs),
}

#[derive(Debug, clap::Args)]
struct CompletionArgs {
    shell: Shell,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

/// The completion script of a shell.
fn completion(shell: Shell) -> String {
    let shell = match shell {
        Shell::Bash => clap_complete::Shell::Bash,
        Shell::Zsh => clap_complete::Shell::Zsh,
        Shell::Fish => clap_complete::Shell::Fish,
    };
    let all = Cli::command();
    let shown = all.get_subcommands().filter(|command| !command.is_hide_set()).cloned();
    let mut command = clap::Command::new("tidegate").version(env!("CARGO_PKG_VERSION")).subcommands(shown);
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut command, "tidegate", &mut script);
    let mut script = String::from_utf8_lossy(&script).into_owned();
    if shell == clap_complete::Shell::Fish {
        script.push_str(&fish_positionals(&command));
    }
    script
}

/// What the generator for fish leaves out: the values of positional arguments.
fn fish_positionals(command: &clap::Command) -> String {
    let mut lines = String::new();
    for sub in command.get_subcommands() {
        for argument in sub.get_positionals() {
            let values = argument.get_possible_values();
            if !values.is_empty() {
                let names: Vec<&str> = values.iter().map(clap::builder::PossibleValue::get_name).collect();
                let (name, names) = (sub.get_name(), names.join(" "));
                lines.push_str(&format!(
                    "complete -c tidegate -n \"__fish_seen_subcommand_from {name}\" -f -a \"{names}\"\n"
                ));
            }
        }
    }
    lines
}

/// Parses the command line, runs the command, reports its error on standard error, and gives the exit status.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let status = if error.use_stderr() { 64 } else { 0 };
            let _ = error.print();
            return ExitCode::from(status);
        }
    };
    // A second install is refused and harmless: the provider is the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli.command) {
        Ok(status) => ExitCode::from(status),
        Err(error) => {
            eprintln!("error: {}", error.report());
            ExitCode::from(error.exit_code())
        }
    }
}

fn run(command: Command) -> Result<u8, Error> {
    match command {
        Command::Up(command) => return start::up(command),
        Command::Serve(command) => return start::serve(command),
        Command::CheckConfig(command) => return start::check_config(command),
        Command::ExecChild(args) => return exec::exec(&args),
        Command::Version => return printed(&format!("tidegate {}\n", env!("CARGO_PKG_VERSION"))),
        Command::Bootstrap(args) => return printed(&bootstrap::print(&args)?),
        Command::Completion(args) => return printed(&completion(args.shell)),
        Command::Fields(args) => return printed(&fields::text(&args)?),
        Command::Errors(args) => return printed(&errors::text(&args)),
        Command::Apply(_)
        | Command::Diff(_)
        | Command::Get(_)
        | Command::Delete(_)
        | Command::Explain(_)
        | Command::History(_)
        | Command::Rollback(_)
        | Command::Adopt(_)
        | Command::ProxyStatus(_)
        | Command::ApiKey(_)
        | Command::AdminToken(_)
        | Command::NodeToken(_) => {}
    }
    start::warn(&check_variables().map_err(Error::Config)?);
    let (text, status) = start::runtime(false)?.block_on(remote(&command))?;
    output::print(&text)?;
    Ok(status)
}

fn printed(text: &str) -> Result<u8, Error> {
    output::print(text)?;
    Ok(0)
}

/// The commands that talk to the server: what to print, and the exit status.
async fn remote(command: &Command) -> Result<(String, u8), Error> {
    let text = match command {
        Command::Diff(args) => {
            let (text, differs) = apply::diff(args).await?;
            return Ok((text, if differs && args.exit_code { 2 } else { 0 }));
        }
        Command::Explain(args) => {
            let (text, known) = explain::explain(args).await?;
            return Ok((text, u8::from(!known)));
        }
        Command::Apply(args) => apply::apply(args).await,
        Command::Get(args) => objects::get(args).await,
        Command::Delete(args) => objects::delete(args).await,
        Command::Adopt(args) => objects::adopt(args).await,
        Command::History(args) => history::history(args).await,
        Command::Rollback(args) => rollback::rollback(args).await,
        Command::ProxyStatus(args) => nodes::proxy_status(args).await,
        Command::ApiKey(command) => keys::api_key(command).await,
        Command::AdminToken(command) => tokens::admin_token(command).await,
        Command::NodeToken(command) => tokens::node_token(command).await,
        Command::Up(_)
        | Command::Serve(_)
        | Command::CheckConfig(_)
        | Command::Bootstrap(_)
        | Command::Completion(_)
        | Command::Errors(_)
        | Command::Fields(_)
        | Command::Version
        | Command::ExecChild(_) => Ok(String::new()),
    };
    Ok((text?, 0))
}

/// Applies documents as `tidegate apply` does; for `up --apply`.
///
/// # Errors
/// As `tidegate apply`.
pub async fn apply_files(files: Vec<std::path::PathBuf>, connect: ConnectArgs) -> Result<String, Error> {
    let into = apply::IntoNamespace::default();
    let args = apply::ApplyArgs { files, dry_run: false, into, output: output::TextFormat::Text, connect };
    apply::apply(&args).await
}

#[cfg(test)]
mod tests;
