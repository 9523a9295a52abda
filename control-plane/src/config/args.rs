//! Flags of `serve`, `up` and `check-config`, made from the table of settings. Values stay text here: `typed` parses them all
//! and reports every mistake at once, which a parser at the edge would not.
use std::{collections::BTreeMap, path::PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command, builder::PossibleValuesParser};

use super::fields::{FIELDS, Field, Shape};

/// What the command line said: key of the table to its values.
#[derive(Clone, Debug, Default)]
pub struct ServeArgs(pub GivenFlags);

/// As [`ServeArgs`], with the settings of `up`.
#[derive(Clone, Debug, Default)]
pub struct UpArgs(pub GivenFlags);

/// Settings that were given as flags, and the file to read.
#[derive(Clone, Debug, Default)]
pub struct GivenFlags {
    pub config: Option<PathBuf>,
    pub values: BTreeMap<&'static str, Vec<String>>,
}

fn flags_of(up: bool) -> impl Iterator<Item = &'static Field> {
    FIELDS.iter().filter(move |f| !f.secret && f.scope.is_for(up))
}

fn arg(field: &'static Field) -> Arg {
    let default = if field.default.is_empty() { String::new() } else { format!(" [default: {}]", field.default) };
    let arg = Arg::new(field.key)
        .long(field.flag)
        .value_name(field.value_name)
        .help(format!("{}{default} [env: {}]", field.help, field.env()))
        .help_heading("Settings");
    match field.shape {
        Shape::One => arg.action(ArgAction::Set),
        Shape::Many => arg.action(ArgAction::Append),
        Shape::Switch => arg
            .action(ArgAction::Set)
            .num_args(0..=1)
            .require_equals(true)
            .default_missing_value("true")
            .value_parser(PossibleValuesParser::new(["true", "false"])),
    }
}

fn augment(command: Command, up: bool) -> Command {
    let config = Arg::new("config")
        .long("config")
        .value_name("FILE")
        .value_parser(clap::value_parser!(PathBuf))
        .help("YAML file with settings; keys as in docs/reference/configuration.md [env: TIDEGATE_CONFIG]")
        .help_heading("Settings");
    command.arg(config).args(flags_of(up).map(arg))
}

fn given(matches: &ArgMatches, up: bool) -> GivenFlags {
    let values =
        flags_of(up).filter_map(|f| matches.get_many::<String>(f.key).map(|v| (f.key, v.cloned().collect()))).collect();
    GivenFlags { config: matches.get_one::<PathBuf>("config").cloned(), values }
}

macro_rules! impl_args {
    ($name:ident, $up:expr) => {
        impl clap::FromArgMatches for $name {
            fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
                Ok(Self(given(matches, $up)))
            }

            fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
                self.0 = given(matches, $up);
                Ok(())
            }
        }

        impl clap::Args for $name {
            fn augment_args(command: Command) -> Command {
                augment(command, $up)
            }

            fn augment_args_for_update(command: Command) -> Command {
                augment(command, $up)
            }
        }
    };
}

impl_args!(ServeArgs, false);
impl_args!(UpArgs, true);
