//! The chat template of a version: Jinja, rendered with a fuel limit and strict about what is undefined. A template is data
//! that was pushed: it can read nothing but the messages and the names below.
use minijinja::syntax::SyntaxConfig;
use minijinja::{Environment, Error, ErrorKind, UndefinedBehavior, Value, context};

use crate::engine::ChatMessage;
use crate::error::EngineError;

/// Longest template, bytes.
const MAX_BYTES: usize = 256 << 10;
/// Steps that one rendering may take, before what the messages' length adds.
const FUEL: u64 = 200_000;
/// Steps for each byte of the messages. Copying or writing a byte costs 1/64, serialising it 1/4; the rest is for templates that
/// walk over the text.
const FUEL_PER_BYTE: u64 = 8;
const NAME: &str = "chat_template";

pub(crate) struct ChatTemplate {
    environment: Environment<'static>,
    source: String,
    bos: Option<String>,
    eos: Option<String>,
}

impl ChatTemplate {
    /// Parses the template; `bos` and `eos` are what it may use as `bos_token` and `eos_token`.
    pub(crate) fn new(bytes: &[u8], bos: Option<String>, eos: Option<String>) -> Result<Self, EngineError> {
        let invalid = |text: String| EngineError::TemplateInvalid { source: text.into() };
        if bytes.len() > MAX_BYTES {
            return Err(invalid(format!("it has {} bytes, {MAX_BYTES} are allowed", bytes.len())));
        }
        let source = std::str::from_utf8(bytes).map_err(|e| invalid(e.to_string()))?.to_owned();
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        // The white space rules that the templates of published models are written for.
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.map_err(|e| EngineError::TemplateInvalid { source: Box::new(e) })?);
        environment.set_recursion_limit(64);
        environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        environment.add_function("raise_exception", |text: String| -> Result<Value, Error> {
            Err(Error::new(ErrorKind::InvalidOperation, text))
        });
        environment
            .add_template_owned(NAME, source.clone())
            .map_err(|e| EngineError::TemplateInvalid { source: Box::new(e) })?;
        Ok(Self { environment, source, bos, eos })
    }

    pub(crate) fn source(&self) -> &str {
        &self.source
    }

    /// The prompt text of a conversation, ready for the assistant's turn.
    pub(crate) fn render(&self, messages: &[ChatMessage]) -> Result<String, EngineError> {
        let failed = |e: Error| EngineError::TemplateRender { source: Box::new(e) };
        let bytes: usize = messages.iter().map(|m| m.role.len() + m.content.len()).sum();
        let mut environment = self.environment.clone();
        environment.set_fuel(Some(FUEL + FUEL_PER_BYTE * bytes as u64));
        for (name, value) in [("bos_token", &self.bos), ("eos_token", &self.eos)] {
            if let Some(value) = value {
                environment.add_global(name, value.clone());
            }
        }
        let template = environment.get_template(NAME).map_err(failed)?;
        let messages: Vec<Value> =
            messages.iter().map(|m| context! { role => m.role.clone(), content => m.content.clone() }).collect();
        template.render(context! { messages, add_generation_prompt => true }).map_err(failed)
    }
}
