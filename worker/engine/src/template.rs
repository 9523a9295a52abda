//! The chat template of a version: Jinja as transformers and vLLM run it, rendered with a fuel limit. A template is data that was
//! pushed: it can read nothing but the conversation, the special tokens, the date and the functions below.
mod json;
mod python;
mod source;

use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use crate::engine::ChatMessage;
use crate::error::EngineError;
use crate::special_tokens::SpecialTokens;

pub(crate) use python::{Clock, local_time};

/// Longest template, bytes.
const MAX_BYTES: usize = 256 << 10;
/// Steps that one rendering may take, before what the messages' length adds.
const FUEL: u64 = 200_000;
/// Steps for each byte of the messages. Copying or writing a byte costs 1/64, serialising it 1/4; the rest is for templates that
/// walk over the text.
const FUEL_PER_BYTE: u64 = 8;
/// Longest reason of a template that is repeated, characters.
const MAX_REASON: usize = 256;

pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    /// The file it came from; also its name in messages.
    file: String,
    source: String,
    specials: SpecialTokens,
}

/// What `raise_exception` was called with: the template's own refusal, not a mistake in it.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Raised(String);

impl ChatTemplate {
    /// Parses the template of `file`; `specials` are what it may use by name, `clock` is what `strftime_now` reads.
    pub(crate) fn new(file: &str, bytes: &[u8], specials: SpecialTokens, clock: Clock) -> Result<Self, EngineError> {
        let source = source::read(file, bytes, MAX_BYTES)?;
        let invalid = |e: Error| EngineError::TemplateInvalid { source: Box::new(e) };
        let mut environment = Environment::new();
        // As in jinja2: what is undefined is false, empty and prints nothing; to use it otherwise is an error.
        environment.set_undefined_behavior(UndefinedBehavior::Lenient);
        // The white space rules that the templates of published models are written for.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(invalid)?);
        environment.set_recursion_limit(64);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.set_unknown_method_callback(python::method);
        environment.add_filter("tojson", json::tojson);
        environment.add_function("raise_exception", |reason: Value| -> Result<Value, Error> {
            let reason: String = reason.to_string().chars().take(MAX_REASON).collect();
            Err(Error::new(ErrorKind::InvalidOperation, "raise_exception").with_source(Raised(reason)))
        });
        environment.add_function("strftime_now", move |format: String| python::strftime(clock, &format));
        let text = source::without_generation_tags(&source);
        environment.add_template_owned(file.to_owned(), text).map_err(invalid)?;
        Ok(Self { environment, file: file.to_owned(), source, specials })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The prompt text of a conversation, ready for the assistant's turn.
    pub(crate) fn render(&self, messages: &[ChatMessage]) -> Result<String, EngineError> {
        let bytes: usize = messages.iter().flat_map(ChatMessage::texts).map(str::len).sum();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_PER_BYTE * bytes as u64));
        for (name, value) in self.specials.values() {
            environment.add_global(name, value);
        }
        let template = environment.get_template(&self.file).map_err(failed)?;
        let messages: Vec<Value> = messages.iter().map(shown).collect();
        // What is not used is none and not undefined, as transformers passes it.
        let given = context! { messages, tools => (), documents => (), add_generation_prompt => true };
        template.render(given).map_err(failed)
    }
}

/// A message as templates know it; a name that was not given is undefined, as with vLLM.
fn shown(message: &ChatMessage) -> Value {
    let (role, content) = (message.role.clone(), message.content.clone());
    match message.name.clone() {
        Some(name) => context! { role, content, name },
        None => context! { role, content },
    }
}

/// The template's own refusal is the conversation's fault, everything else the template's.
fn failed(error: Error) -> EngineError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(one) = cause {
        if let Some(Raised(reason)) = one.downcast_ref() {
            return EngineError::TemplateRefused { reason: reason.clone() };
        }
        cause = one.source();
    }
    EngineError::TemplateRender { source: Box::new(error) }
}

#[cfg(test)]
mod tests;
