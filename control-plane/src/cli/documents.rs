//! Reads the documents of `-f`: files, folders, standard input. Syntax is checked here, with file, line and column; meaning by the
//! server. Lists are opened, and what is sent is cut into batches that the server takes.
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};
use tidegate_policy::documents::{MAX_BYTES, MAX_DOCUMENTS, open_lists};
use tidegate_program::text_file;

use crate::error::Error;

/// Largest file: a backup of tens of thousands of objects fits.
const MAX_FILE: u64 = 256 << 20;

/// Documents in the order in which they were read.
#[derive(Clone, Debug, Default)]
pub struct Documents {
    pub values: Vec<Value>,
    /// For each document its file, and its place there when the file has several.
    pub origins: Vec<String>,
    /// How many lists there were, which may be empty.
    lists: usize,
}

/// Reads every `-f`. Folders give their .yaml, .yml and .json files in the order of their names, without sub-folders.
///
/// Whether an object stands there twice is asked when its namespace is known: [`Documents::put_in_namespace`].
///
/// # Errors
/// TG-1512 with the file, and line and column for a syntax error.
pub fn read(paths: &[PathBuf]) -> Result<Documents, Error> {
    let mut documents = Documents::default();
    for path in paths {
        if path == Path::new("-") {
            let text = text_file::read_from(std::io::stdin().lock(), MAX_FILE);
            add(&mut documents, "standard input", &text.map_err(|e| refuse("standard input", e))?)?;
        } else if path.is_dir() {
            for file in files_of(path)? {
                add_file(&mut documents, &file)?;
            }
        } else {
            add_file(&mut documents, path)?;
        }
    }
    if documents.values.is_empty() && documents.lists == 0 {
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
    let text = text_file::read(path, MAX_FILE).map_err(|problem| refuse(&shown, problem))?;
    add(documents, &shown, &text)
}

fn add(documents: &mut Documents, shown: &str, text: &str) -> Result<(), Error> {
    let read = tidegate_text::values(text).map_err(|mistake| refuse(shown, mistake))?;
    let opened = open_lists(read).map_err(|r| refuse(shown, format!("{}: {}", r.path, r.message)))?;
    documents.lists += opened.lists;
    let many = opened.documents.len() > 1;
    for (i, mut value) in opened.documents.into_iter().enumerate() {
        if let Some(document) = value.as_object_mut() {
            // It is the system's, not the writer's, and half of what a backup weighs.
            document.remove("status");
        }
        documents.values.push(value);
        documents.origins.push(if many { format!("{shown} (document {})", i + 1) } else { shown.to_owned() });
    }
    Ok(())
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str)
}

impl Documents {
    /// Documents that name no namespace get `namespace`; with `only` the others must name it too.
    ///
    /// # Errors
    /// TG-1512 for a document of another namespace, and for an object that stands there twice.
    pub fn put_in_namespace(&mut self, namespace: &str, only: bool) -> Result<(), Error> {
        for (value, origin) in self.values.iter_mut().zip(&self.origins) {
            if let Some(named) = text(value, "/metadata/namespace") {
                if only && named != namespace {
                    let reason = format!("the document is of namespace {named}, and --namespace says {namespace}");
                    return Err(refuse(origin, reason));
                }
            } else if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
                // A namespace of a wrong type is left to the server to refuse.
                let place = metadata.entry("namespace").or_insert(Value::Null);
                if place.is_null() {
                    *place = json!(namespace);
                }
            }
        }
        self.refuse_repeats()
    }

    /// The same object twice is a mistake also when the two are sent in different batches.
    fn refuse_repeats(&self) -> Result<(), Error> {
        let mut seen = BTreeMap::new();
        for (value, origin) in self.values.iter().zip(&self.origins) {
            let (Some(kind), Some(name)) = (text(value, "/kind"), text(value, "/metadata/name")) else { continue };
            let namespace = text(value, "/metadata/namespace").unwrap_or("default");
            if let Some(first) = seen.insert((kind, namespace, name), origin) {
                return Err(refuse(origin, format!("{kind} {namespace}/{name} stands in {first} already")));
            }
        }
        Ok(())
    }

    /// Cuts the documents into parts that the server takes, each with its origins.
    pub fn batches(&self) -> Vec<Batch<'_>> {
        // Brackets and commas stay below what is left.
        const ROOM: usize = MAX_BYTES - 4096;
        let mut batches = Vec::new();
        let (mut begin, mut bytes) = (0, 0);
        for (i, value) in self.values.iter().enumerate() {
            let size = value.to_string().len() + 1;
            if i > begin && (i - begin == MAX_DOCUMENTS || bytes + size > ROOM) {
                batches.push(self.batch(begin, i));
                (begin, bytes) = (i, 0);
            }
            bytes += size;
        }
        if begin < self.values.len() {
            batches.push(self.batch(begin, self.values.len()));
        }
        batches
    }

    fn batch(&self, begin: usize, end: usize) -> Batch<'_> {
        Batch { values: &self.values[begin..end], origins: &self.origins[begin..end] }
    }
}

/// Documents of one request.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    pub values: &'a [Value],
    pub origins: &'a [String],
}
