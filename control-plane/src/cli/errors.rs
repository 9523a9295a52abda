//! `errors`: what an error code means and what to do, from the program itself. It asks no server and reads no file.
use clap::builder::{PossibleValue, TypedValueParser};
use tidegate_error_pages::{self as pages, Page};

#[derive(Debug, clap::Args)]
pub struct ErrorsArgs {
    /// Codes such as TG-1301 (`1301` will do); without one, every code and its title
    #[arg(value_name = "CODE", value_parser = Code, hide_possible_values = true)]
    pub codes: Vec<&'static Page>,
}

/// Reads a code; completion offers all of them.
#[derive(Clone)]
struct Code;

impl TypedValueParser for Code {
    type Value = &'static Page;

    fn parse_ref(
        &self,
        _: &clap::Command,
        _: Option<&clap::Arg>,
        value: &std::ffi::OsStr,
    ) -> Result<Self::Value, clap::Error> {
        let text = value.to_string_lossy();
        pages::find(&text).ok_or_else(|| {
            let what = format!("there is no error code {text:?}; `tidegate errors` lists all of them\n");
            clap::Error::raw(clap::error::ErrorKind::ValueValidation, what)
        })
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        Some(Box::new(pages::all().iter().map(|page| PossibleValue::new(page.code).help(page.title))))
    }
}

/// The pages that were asked for, or the list of all.
pub fn text(args: &ErrorsArgs) -> String {
    if args.codes.is_empty() {
        return pages::list();
    }
    args.codes.iter().map(|page| page.plain()).collect::<Vec<_>>().join("\n")
}
