//! Reads the documents of `-f`: files, folders, standard input. Syntax is checked here, with file, line and column; meaning by the server.
use std::{
    io::Read as _,
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::error::Error;

/// More would be refused by the server anyway.
const MAX_BYTES: u64 = 1 << 20;

/// Documents in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    pub values: Vec<Value>,
    /// For each document its file, and its place there when the file has several.
    pub origins: Vec<String>,
}

/// Reads every `-f`. Folders give their .yaml, .yml and .json files in the order of their names, without sub-folders.
///
/// # Errors
/// TG-1512 with the file, and line and column for a syntax error.
pub fn read(paths: &[PathBuf]) -> Result<Documents, Error> {
    let mut documents = Documents::default();
    for path in paths {
        if path == Path::new("-") {
            let mut text = String::new();
            let read = std::io::stdin().lock().take(MAX_BYTES + 1).read_to_string(&mut text);
            read.map_err(|e| refuse("standard input", e))?;
            add(&mut documents, "standard input", &text)?;
        } else if path.is_dir() {
            for file in files_of(path)? {
                add_file(&mut documents, &file)?;
            }
        } else {
            add_file(&mut documents, path)?;
        }
    }
    if documents.values.is_empty() {
        return Err(refuse("the files", "there is no document in them"));
    }
    Ok(documents)
}

fn refuse(what: &str, reason: impl ToString) -> Error {
    Error::Input { what: what.to_owned(), reason: reason.to_string() }
}

fn files_of(dir: &Path) -> Result<Vec<PathBuf>, Error> {
    let shown = dir.display().to_string();
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| refuse(&shown, e))? {
        let path = entry.map_err(|e| refuse(&shown, e))?.path();
        let wanted = path.extension().and_then(|e| e.to_str()).is_some_and(|e| matches!(e, "yaml" | "yml" | "json"));
        if wanted && path.is_file() {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(refuse(&shown, "the folder has no .yaml, .yml or .json file"));
    }
    Ok(files)
}

fn add_file(documents: &mut Documents, path: &Path) -> Result<(), Error> {
    let shown = path.display().to_string();
    if shown.contains("://") {
        return Err(refuse(&shown, "a URL is not read; fetch it, look at it, and give the file"));
    }
    let size = std::fs::metadata(path).map_err(|e| refuse(&shown, e))?.len();
    if size > MAX_BYTES {
        return Err(refuse(&shown, format!("{size} bytes, the most is {MAX_BYTES}")));
    }
    let text = std::fs::read_to_string(path).map_err(|e| refuse(&shown, e))?;
    add(documents, &shown, &text)
}

fn add(documents: &mut Documents, shown: &str, text: &str) -> Result<(), Error> {
    if text.len() as u64 > MAX_BYTES {
        return Err(refuse(shown, format!("more than {MAX_BYTES} bytes")));
    }
    let parsed: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|e| refuse(shown, e))?;
    let values: Vec<Value> = parsed
        .into_iter()
        .flat_map(|value| match value {
            Value::Array(items) => items,
            Value::Null => Vec::new(),
            other => vec![other],
        })
        .collect();
    let many = values.len() > 1;
    for (i, value) in values.into_iter().enumerate() {
        documents.values.push(value);
        documents.origins.push(if many { format!("{shown} (document {})", i + 1) } else { shown.to_owned() });
    }
    Ok(())
}
