//! `fields`: what may be written in a document, from the types themselves. It asks no server and reads no file.
use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use tidegate_policy::fields;

use crate::error::Error;

#[derive(Debug, clap::Args)]
pub struct FieldsArgs {
    /// A kind, and below it a field: `rel`, `rel.spec.rules`; without one, the kinds
    #[arg(value_name = "KIND[.FIELD]...", value_parser = Place, hide_possible_values = true)]
    pub path: Option<String>,
    /// Show the names and types of everything below
    #[arg(short, long, requires = "path")]
    pub recursive: bool,
}

/// Takes any text; completion offers every place.
#[derive(Clone)]
struct Place;

impl TypedValueParser for Place {
    type Value = String;

    fn parse_ref(
        &self,
        command: &clap::Command,
        arg: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<String, clap::Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(fields::paths().iter().map(|path| PossibleValue::new(path.as_str()))))
    }
}

/// The field that was asked for, or the list of kinds.
///
/// # Errors
/// TG-1515.
pub fn text(args: &FieldsArgs) -> Result<String, Error> {
    let Some(path) = &args.path else { return Ok(fields::kinds()) };
    let (kind, walked, field) = fields::find(path).map_err(Error::Usage)?;
    Ok(fields::text(kind, &walked, &field, args.recursive))
}
