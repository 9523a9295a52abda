//! What `tidegate check-config` prints: each setting's effective value and origin, and every mistake. Secrets are redacted.
use std::fmt::Write as _;

use serde::Serialize;

use super::{ConfigError, FIELDS, Field, Inputs, Settings, variables};

/// The configuration as text or JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Report {
    pub ok: bool,
    pub settings: Vec<Row>,
    pub errors: Vec<ErrorRow>,
    /// What is no mistake and yet worth a word.
    pub warnings: Vec<String>,
}

/// One setting.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Row {
    /// As in the file: `adminListen`.
    pub key: String,
    /// None: unset.
    pub value: Option<String>,
    pub origin: String,
    /// `serve`, `up`, or `serve, up`.
    pub scope: &'static str,
}

/// One mistake.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorRow {
    pub code: &'static str,
    pub place: String,
    pub message: String,
}

/// What is in force, and what is wrong with it.
///
/// `more`: mistakes that were found elsewhere.
pub fn report(inputs: &Inputs, more: Vec<ConfigError>) -> Report {
    let (settings, mut errors) = Settings::resolve_with_layers(inputs);
    errors.0.extend(more);
    let (layers, warnings) = match settings {
        Ok(settings) => (settings.layers, settings.warnings),
        Err(layers) => (layers, variables::judge(&inputs.env).1),
    };
    let ok = errors.0.is_empty();
    let row = |field: &Field| {
        let layered = layers.get(field.key);
        let values = layered.map(|l| l.values.as_slice()).unwrap_or_default();
        let value = match values {
            [] => None,
            _ if field.secret => Some("(redacted)".to_owned()),
            values => Some(values.join(",")),
        };
        let origin = layered.map(|l| l.origin.to_string()).unwrap_or_default();
        Row { key: field.file_key(), value, origin, scope: field.scope.name() }
    };
    let errors = errors.0.into_iter().map(|e| ErrorRow { code: e.code, place: e.place, message: e.message });
    Report { ok, settings: FIELDS.iter().map(row).collect(), errors: errors.collect(), warnings }
}

impl Report {
    /// Aligned lines for people.
    pub fn text(&self) -> String {
        let shown = |row: &Row| row.value.clone().unwrap_or_else(|| "(unset)".to_owned());
        let key_width = self.settings.iter().map(|r| r.key.len()).max().unwrap_or(0);
        let value_width = self.settings.iter().map(|r| shown(r).len()).max().unwrap_or(0).min(48);
        let mut out = String::new();
        for row in &self.settings {
            let _ = writeln!(out, "{:key_width$}  {:value_width$}  {}", row.key, shown(row), row.origin);
        }
        for warning in &self.warnings {
            let _ = writeln!(out, "\nWarning: {warning}");
        }
        if self.ok {
            out.push_str("\nThe configuration is good.\n");
            return out;
        }
        let _ = writeln!(out, "\nThe configuration has {} mistake(s):", self.errors.len());
        for error in &self.errors {
            let _ = writeln!(out, "  {} {}: {}", error.code, error.place, error.message);
        }
        out
    }
}
