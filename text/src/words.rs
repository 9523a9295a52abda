//! Mistakes of syntax in plain words. The libraries below speak to programmers; what a person reads is written here.
use granit_parser::{ErrorKind as K, ScanError};

use crate::{Mistake, json::MAX_DEPTH};

pub(crate) const TOO_MANY: &str = "there are too many values for a text of this length, repetitions by aliases counted";

pub(crate) fn too_deep() -> String {
    format!("values are nested deeper than {MAX_DEPTH} levels")
}

pub(crate) fn twice(key: &str) -> String {
    format!("the key {} stands twice in the same mapping", quoted(key))
}

/// A text in quotes, shortened.
pub(crate) fn quoted(text: &str) -> String {
    const LONGEST: usize = 40;
    let short: String = text.chars().take(LONGEST).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("\"{}{more}\"", short.escape_debug())
}

/// A mistake that the YAML parser found.
pub(crate) fn yaml(error: &ScanError) -> Mistake {
    let mark = error.marker();
    Mistake::at(mark.line().max(1), mark.col() + 1, yaml_text(error.kind()))
}

#[allow(clippy::too_many_lines, reason = "one line per mistake")]
fn yaml_text(kind: &K) -> String {
    let fixed = match kind {
        K::UnexpectedEofFlowSequence => "the list that began with `[` has no `]`",
        K::UnexpectedEofFlowMapping | K::UnexpectedEofImplicitFlowMapping => {
            "the mapping that began with `{` has no `}`"
        }
        K::UnexpectedEofBlockSequence | K::UnexpectedEofBlockMapping | K::UnexpectedEof => "the text ends too early",
        K::DuplicateVersionDirective | K::UnsupportedYamlMajorVersion => "the `%YAML` line is wrong; take it out",
        K::DuplicateTagDirective | K::ExpectedTagDirectiveBang | K::InvalidTagDirectiveTerminator => {
            "the `%TAG` line is wrong; take it out"
        }
        K::ExpectedDocumentStart | K::MissingDocumentEndBeforeDirective | K::InvalidDocumentEnd => {
            "a new document is expected here: a line `---`, or the indentation of this line is wrong"
        }
        K::UnknownAnchor => "there is no anchor (`&name`) of this name above",
        K::ExpectedNodeContent => "a value is missing here",
        K::ExpectedBlockMappingKey => "a key is expected here; is the indentation right?",
        K::ExpectedFlowMappingSeparator => "`,` or `}` is missing",
        K::ExpectedFlowSequenceSeparator => "`,` or `]` is missing",
        K::ExpectedBlockSequenceEntry => "`- ` is expected here; is the indentation right?",
        K::UndeclaredTagHandle
        | K::ExpectedTagBang
        | K::InvalidGlobalTagCharacter
        | K::InvalidTagTerminator
        | K::MissingTagUri
        | K::UnclosedVerbatimTag
        | K::InvalidTagEscape
        | K::InvalidTagUtf8LeadingByte
        | K::InvalidTagUtf8TrailingByte
        | K::InvalidTagUtf8 => "the tag (`!…`) is wrong; put a text that begins with `!` in quotes",
        K::SimpleKeyExpected | K::InvalidSimpleKey => "`: ` is missing after the key",
        K::InvalidIndentation => "the indentation is wrong",
        K::BomInsideDocument => "a byte order mark stands inside a document; take it out",
        K::TabNotAllowed | K::TabInBlockIndentation | K::TabInIndentation | K::TabInPlainScalar => {
            "a tab stands where only spaces may; indent with spaces"
        }
        K::CommentInterceptedScalar => "a comment stands inside a text of several lines; put the text in quotes",
        K::ExpectedWhitespace => "a space is missing here",
        K::CommentNotSeparated => "a space is missing before `#`",
        K::DirectiveDisallowed
        | K::InvalidDirectiveTerminator
        | K::MissingYamlVersionSeparator
        | K::MissingDirectiveName
        | K::InvalidDirectiveName
        | K::DirectiveByteLimitExceeded { .. }
        | K::TooManyReservedDirectiveParams { .. }
        | K::YamlVersionTooLong
        | K::MissingYamlVersion => "a line that begins with `%` is a directive, and this one is wrong; take it out",
        K::MissingAnchorOrAliasName => "`&` and `*` need a name; put a text that begins with one in quotes",
        K::MisplacedFlowCollectionEnd => "there is a closing bracket without an opening one",
        K::RecursionLimitExceeded => return too_deep(),
        K::BlockEntryInFlowCollection => "`- ` has no place between brackets; separate with `,`",
        K::BlockSequenceEntryNotAllowed => "a list cannot begin here; put `- ` on a line of its own",
        K::InvalidBlockEntryWhitespace => "a space is missing after `-`",
        K::ZeroBlockScalarIndent | K::InvalidBlockScalarHeader => "after `|` or `>` only `-`, `+` and 1 to 9 may stand",
        K::TabAtBlockScalarStart => "the lines after `|` or `>` begin with a tab; indent with spaces",
        K::InvalidBlockScalarIndent => "a line of the text after `|` or `>` is indented less than its first one",
        K::DocumentIndicatorInQuotedScalar => "a quote is still open at `---`",
        K::UnclosedQuotedScalar => "a quote is never closed",
        K::InvalidQuotedScalarIndent | K::InvalidFlowScalarIndent => {
            "a line of a value of several lines is indented too little"
        }
        K::InvalidTrailingSingleQuotedScalar | K::InvalidTrailingDoubleQuotedScalar => {
            "something follows the closing quote on the same line"
        }
        K::UnknownQuotedScalarEscape => {
            "this `\\` escape is unknown; write `\\\\` for a backslash, or use single quotes"
        }
        K::InvalidQuotedScalarHexEscape
        | K::InvalidLowSurrogateHexEscape
        | K::InvalidLowSurrogate
        | K::MissingLowSurrogate
        | K::UnpairedLowSurrogate
        | K::InvalidUnicodeEscape => "this `\\u` or `\\x` escape is no character",
        K::PlainScalarStartsWithDashFlowIndicator | K::UnexpectedEndOfPlainScalar => "put this text in quotes",
        K::MappingKeyNotAllowed => "a key cannot stand here; is the indentation right?",
        K::FlowMappingValueAdjacentCollection | K::InvalidMappingValueWhitespace => "a space is missing after `:`",
        K::InvalidColonPlacement | K::MappingValueNotAllowed => {
            "`: ` cannot stand here; put a text that contains it in quotes, or look at the indentation"
        }
        K::UnexpectedCharacter { character } => return unexpected(*character),
        K::MismatchedFlowCollectionEnd { open, close } => return format!("`{open}` is closed by `{close}`"),
        K::UnclosedFlowCollection { open } => return format!("`{open}` is never closed"),
        _ => "this is not YAML",
    };
    fixed.to_owned()
}

fn unexpected(character: char) -> String {
    if character.is_control() {
        return format!("the control character U+{:04X} cannot stand here", u32::from(character));
    }
    format!("`{character}` cannot stand here; put a text that begins with it in quotes")
}

/// A mistake that the JSON reader found: of syntax, or of a shape that was wanted.
pub(crate) fn json(error: &serde_json::Error) -> Mistake {
    let full = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let text = full.strip_suffix(&place).unwrap_or(&full);
    let message = json_text(text);
    if error.line() == 0 { Mistake::new(message) } else { Mistake::at(error.line(), error.column().max(1), message) }
}

fn json_text(text: &str) -> String {
    let fixed = match text {
        "EOF while parsing a list" => "the list that began with `[` has no `]`",
        "EOF while parsing an object" => "the object that began with `{` has no `}`",
        "EOF while parsing a string" => "a quote is never closed",
        "EOF while parsing a value" => "the text ends where a value is expected",
        "expected `:`" => "`:` is missing after the key",
        "expected `,` or `]`" => "`,` or `]` is missing",
        "expected `,` or `}`" => "`,` or `}` is missing",
        "expected ident" => "this word is not JSON; texts stand in quotes",
        "expected value" => "a value is expected here",
        "expected `\"`" => "a text in double quotes is expected here",
        "invalid escape" => "this `\\` escape is unknown",
        "invalid number" => "this is no number",
        "number out of range" => "the number is too large",
        "invalid unicode code point" => "this `\\u` escape is no character",
        "control character (\\u0000-\\u001F) found while parsing a string" => {
            "a line break or control character stands in a text; write it as an escape such as \\n"
        }
        "key must be a string" => "a key stands in double quotes",
        "lone leading surrogate in hex escape" | "unexpected end of hex escape" => {
            "this `\\u` escape is half of a character; its other half is missing"
        }
        "trailing comma" => "a comma stands after the last entry",
        "trailing characters" => "something follows the end of the value",
        "recursion limit exceeded" => return too_deep(),
        other => return shape(other),
    };
    fixed.to_owned()
}

/// What a reader of shapes says, such as `invalid type: string "x", expected i64`, in plain words.
pub fn shape(text: &str) -> String {
    let field = |rest: &str| rest.split('`').nth(1).unwrap_or_default().to_owned();
    if text.starts_with("missing field") {
        return format!("the field `{}` is missing", field(text));
    }
    if text.starts_with("duplicate field") {
        return format!("the field `{}` stands twice", field(text));
    }
    if let Some(rest) = text.strip_prefix("unknown field ") {
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).skip(1).collect();
        let known = if known.is_empty() { String::new() } else { format!("; known: {}", known.join(", ")) };
        return format!("there is no field `{}`{known}", field(rest));
    }
    if let Some(rest) = text.strip_prefix("unknown variant ") {
        let known: Vec<&str> = rest.split('`').skip(1).step_by(2).skip(1).collect();
        return format!("\"{}\" is not one of {}", field(rest), known.join(", "));
    }
    if let Some(expected) =
        text.strip_prefix("invalid length ").and_then(|rest| Some(rest.split_once(", expected ")?.1))
    {
        return format!("expected {}, found a list of another length", wanted(expected));
    }
    let wrong = text.strip_prefix("invalid type: ").or_else(|| text.strip_prefix("invalid value: "));
    if let Some((found, expected)) = wrong.and_then(|rest| rest.rsplit_once(", expected ")) {
        return format!("expected {}, found {}", wanted(expected), found_text(found));
    }
    match text {
        "invalid digit found in string" | "cannot parse integer from empty string" => "expected a whole number",
        "number too large to fit in target type" => "the number is too large",
        "number too small to fit in target type" => "the number is too small",
        "provided string was not `true` or `false`" => "expected true or false",
        other => other,
    }
    .to_owned()
}

fn wanted(expected: &str) -> &str {
    match expected {
        "i8" | "i16" | "i32" | "i64" | "isize" => "a whole number",
        "u8" | "u16" | "u32" | "u64" | "usize" => "a whole number that is not negative",
        "f32" | "f64" => "a number",
        "a boolean" => "true or false",
        "a string" | "a borrowed string" | "string" => "a text in quotes",
        "a sequence" => "a list",
        "a map" => "an object",
        other if other.starts_with("struct ") || other.starts_with("internally tagged") => "an object",
        other => other,
    }
}

fn found_text(found: &str) -> String {
    match found {
        "null" | "unit value" | "Option value" => "nothing".to_owned(),
        "map" => "an object".to_owned(),
        "sequence" => "a list".to_owned(),
        other => {
            let words =
                [("integer ", "the number "), ("floating point ", "the number "), ("boolean ", ""), ("string ", "")];
            let known = words.iter().find_map(|(from, to)| Some(format!("{to}{}", other.strip_prefix(from)?)));
            known.unwrap_or_else(|| other.to_owned()).replace('`', "")
        }
    }
}
