//! Which token plays which role (`bos_token`, `eos_token`, …), as chat templates use them by name. Read from the files in which
//! tokenizers are published; never guessed.
use std::collections::BTreeMap;

use minijinja::Value;
use serde_json::Value as Json;

use crate::error::EngineError;

/// The files beside the tokenizer that may say it; the first that names a token wins.
pub(crate) const FILES: [&str; 2] = ["tokenizer_config.json", "special_tokens_map.json"];
/// The roles that transformers knows.
const ROLES: [&str; 7] = ["bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token"];
const ADDITIONAL: &str = "additional_special_tokens";
/// Longest file, bytes.
const MAX_BYTES: usize = 16 << 20;

/// The tokens by role; a role that nothing fills is not there.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) struct SpecialTokens {
    roles: BTreeMap<&'static str, String>,
    additional: Vec<String>,
}

impl SpecialTokens {
    /// Reads one of [`FILES`].
    pub(crate) fn read(file: &str, bytes: &[u8]) -> Result<Self, EngineError> {
        let invalid = |reason: String| EngineError::SpecialTokensInvalid { file: file.to_owned(), reason };
        if bytes.len() > MAX_BYTES {
            return Err(invalid(format!("it has {} bytes, {MAX_BYTES} are allowed", bytes.len())));
        }
        let json: BTreeMap<String, Json> = serde_json::from_slice(bytes).map_err(|e| invalid(e.to_string()))?;
        let mut out = Self::default();
        for role in ROLES {
            match json.get(role) {
                None | Some(Json::Null) => {}
                Some(value) => {
                    let token = token(value).ok_or_else(|| invalid(format!("{role} is no token")))?;
                    out.roles.insert(role, token);
                }
            }
        }
        if let Some(Json::Array(list)) = json.get(ADDITIONAL) {
            out.additional = list.iter().filter_map(token).collect();
        }
        Ok(out)
    }

    /// What `find` says for each role.
    pub(crate) fn by(find: impl Fn(&str) -> Option<String>) -> Self {
        let roles = ROLES.into_iter().filter_map(|role| Some((role, find(role)?))).collect();
        Self { roles, additional: Vec::new() }
    }

    /// Fills from `other` what is not known yet.
    pub(crate) fn or(mut self, other: Self) -> Self {
        for (role, token) in other.roles {
            self.roles.entry(role).or_insert(token);
        }
        if self.additional.is_empty() {
            self.additional = other.additional;
        }
        self
    }

    /// Names and values for a template.
    pub(crate) fn values(&self) -> impl Iterator<Item = (&'static str, Value)> {
        let roles = self.roles.iter().map(|(role, token)| (*role, Value::from(token.clone())));
        let additional = (!self.additional.is_empty()).then(|| (ADDITIONAL, Value::from(self.additional.clone())));
        roles.chain(additional)
    }
}

/// A token is its text, or an object with the text as `content`.
fn token(value: &Json) -> Option<String> {
    value.as_str().or_else(|| value.get("content")?.as_str()).map(str::to_owned)
}
