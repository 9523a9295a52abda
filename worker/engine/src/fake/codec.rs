//! The fake's text: no vocabulary file, nothing that can fail.
use super::{END, EOS, ROLE};
use crate::engine::{ChatMessage, TextCodec, TokenDecoder};
use crate::error::EngineError;
use crate::utf8::Utf8Buffer;

/// One token per byte, and three marks that no text can produce.
pub(super) struct FakeCodec;

impl TextCodec for FakeCodec {
    fn encode(&self, text: &str) -> Result<Vec<u32>, EngineError> {
        Ok(text.bytes().map(u32::from).chain([EOS]).collect())
    }

    fn encode_within(&self, text: &str, most: usize) -> Result<Vec<u32>, EngineError> {
        fits(text.len(), most)?;
        self.encode(text)
    }

    fn encode_chat_within(&self, messages: &[ChatMessage], most: usize) -> Result<Vec<u32>, EngineError> {
        fits(messages.iter().map(|m| m.content.len()).sum(), most)?;
        self.encode_chat(messages)
    }

    fn encode_chat(&self, messages: &[ChatMessage]) -> Result<Vec<u32>, EngineError> {
        let mut tokens = Vec::new();
        for message in messages {
            tokens.push(ROLE);
            tokens.extend(message.role.bytes().map(u32::from));
            tokens.push(u32::from(b'\n'));
            tokens.extend(message.content.bytes().map(u32::from));
            tokens.push(END);
        }
        tokens.push(ROLE);
        tokens.extend(b"assistant\n".iter().copied().map(u32::from));
        Ok(tokens)
    }

    fn decoder(&self) -> Box<dyn TokenDecoder> {
        Box::new(FakeDecoder::default())
    }
}

/// Every byte is a token.
fn fits(least: usize, most: usize) -> Result<(), EngineError> {
    if least > most { Err(EngineError::TooLong { least, most }) } else { Ok(()) }
}

#[derive(Default)]
struct FakeDecoder(Utf8Buffer);

impl TokenDecoder for FakeDecoder {
    fn push(&mut self, token: u32) -> Result<String, EngineError> {
        Ok(match u8::try_from(token) {
            Ok(byte) => self.0.push(&[byte]),
            Err(_) => String::new(),
        })
    }

    fn finish(&mut self) -> Result<String, EngineError> {
        Ok(self.0.finish())
    }
}
