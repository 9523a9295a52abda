//! `up`, `serve` and `check-config`: the commands that read the configuration.
use std::path::PathBuf;

use super::output::{self, TextFormat};
use crate::{
    admin_token,
    config::{Inputs, ServeArgs, Settings, UpArgs, report},
    error::Error,
    serve, up,
};

#[derive(Debug, clap::Args)]
pub struct UpCommand {
    /// Documents to apply once everything runs; files or folders, repeatable
    #[arg(long, value_name = "PATH")]
    pub apply: Vec<PathBuf>,
    #[command(flatten)]
    pub settings: UpArgs,
}

#[derive(Debug, clap::Args)]
pub struct ServeCommand {
    #[command(flatten)]
    pub settings: ServeArgs,
}

#[derive(Debug, clap::Args)]
pub struct CheckConfigCommand {
    #[arg(short, long, value_enum, default_value_t)]
    pub output: TextFormat,
    #[command(flatten)]
    pub settings: UpArgs,
}

/// `threads`: `serve` uses every core. `up` must stay on the main thread: the kernel ties its children's lives to the thread that
/// started them.
pub fn runtime(threads: bool) -> Result<tokio::runtime::Runtime, Error> {
    let mut builder = if threads {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    builder.enable_all().build().map_err(|source| Error::Spawn { name: "the runtime".to_owned(), source })
}

pub fn up(command: UpCommand) -> Result<u8, Error> {
    let settings = Settings::load(command.settings.0).map_err(Error::Config)?;
    runtime(false)?.block_on(up::run(settings, command.apply))?;
    Ok(0)
}

pub fn serve(command: ServeCommand) -> Result<u8, Error> {
    let settings = Settings::load(command.settings.0).map_err(Error::Config)?;
    if settings.new_admin_token {
        admin_token::replace_lost(&settings.admin_token_file()).map_err(Error::Serve)?;
    }
    runtime(true)?.block_on(serve::run(settings)).map_err(Error::Serve)?;
    Ok(0)
}

pub fn check_config(command: CheckConfigCommand) -> Result<u8, Error> {
    let report = report(&Inputs::read(command.settings.0));
    let text = match command.output {
        TextFormat::Text => report.text(),
        TextFormat::Json => output::json(&serde_json::to_value(&report).unwrap_or_default()),
    };
    output::print(&text)?;
    Ok(if report.ok { 0 } else { 64 })
}
