//! `up`, `serve` and `check-config`: the commands that read the configuration.
use std::path::PathBuf;

use super::{
    apply,
    output::{self, TextFormat},
};
use crate::{
    admin_token,
    config::{ConfigError, ConfigErrors, GivenFlags, Inputs, Reader, ServeArgs, Settings, UpArgs, left_out, report},
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
    /// Documents that `up --apply` would apply; files or folders, repeatable
    #[arg(long, value_name = "PATH")]
    pub apply: Vec<PathBuf>,
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
    let settings = load(command.settings.0, Reader::Up);
    // Standard input and pipes can be read once only: when everything runs.
    let once = |path: &PathBuf| {
        path.as_os_str() == "-" || path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir())
    };
    let files: Vec<_> = command.apply.iter().filter(|path| !once(path)).cloned().collect();
    let mistakes = mistakes_in(&files);
    let settings = match settings {
        Ok(settings) if mistakes.is_empty() => settings,
        Ok(_) => return Err(Error::Config(ConfigErrors(mistakes))),
        Err(ConfigErrors(errors)) => return Err(Error::Config(ConfigErrors([errors, mistakes].concat()))),
    };
    runtime(false)?.block_on(up::run(settings, command.apply))?;
    Ok(0)
}

pub fn serve(command: ServeCommand) -> Result<u8, Error> {
    let settings = load(command.settings.0, Reader::Serve).map_err(Error::Config)?;
    if settings.new_admin_token {
        admin_token::replace_lost(&settings.admin_token_file()).map_err(Error::Serve)?;
    }
    runtime(true)?.block_on(serve::run(settings)).map_err(Error::Serve)?;
    Ok(0)
}

pub fn check_config(command: CheckConfigCommand) -> Result<u8, Error> {
    let report = report(&Inputs::read(command.settings.0, Reader::Any), mistakes_in(&command.apply));
    let text = match command.output {
        TextFormat::Text => report.text(),
        TextFormat::Json => output::json(&serde_json::to_value(&report).unwrap_or_default()),
    };
    output::print(&text)?;
    Ok(if report.ok { 0 } else { 64 })
}

fn load(flags: GivenFlags, reader: Reader) -> Result<Settings, ConfigErrors> {
    let settings = Settings::load(flags, reader);
    match &settings {
        Ok(settings) => warn(&settings.warnings),
        Err(_) => warn(&left_out()),
    }
    settings
}

/// For whoever started the program; its log is elsewhere.
pub fn warn(sentences: &[String]) {
    for sentence in sentences {
        eprintln!("warning: {sentence}");
    }
}

/// Every mistake of the documents that `up` will apply, found without a server: it would refuse them, but only when everything runs.
fn mistakes_in(paths: &[PathBuf]) -> Vec<ConfigError> {
    if paths.is_empty() {
        return Vec::new();
    }
    let documents = match apply::read(paths, &apply::IntoNamespace::default()) {
        Ok(documents) => documents,
        Err(Error::Input { what, reason }) => return vec![ConfigError::document(format!("--apply {what}"), reason)],
        Err(other) => return vec![ConfigError::document("--apply".to_owned(), other.to_string())],
    };
    let mut mistakes = Vec::new();
    for (document, origin) in documents.values.iter().zip(&documents.origins) {
        let body = serde_json::to_vec(document).unwrap_or_default();
        let Err(rejections) = tidegate_policy::validate::parse(&body) else { continue };
        mistakes.extend(rejections.0.into_iter().map(|mistake| {
            let place = format!("--apply {origin}: {}", mistake.path);
            ConfigError::document(place, format!("{} [{}]", mistake.message, mistake.code.text()))
        }));
    }
    mistakes
}
