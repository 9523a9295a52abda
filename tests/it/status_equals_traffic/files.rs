//! Directories of model versions for one namespace each: the example's files, some of them changed. Unchanged files are hard links.
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};
use system_tests::tools;

/// The files of a chat version, as the policy lists them.
const CHAT: [&str; 5] = ["chat_template.jinja", "config.json", "model.onnx", "model.onnx.data", "tokenizer.json"];

/// A version's directory and what the Model says of it.
#[derive(Clone)]
pub struct Version {
    pub dir: PathBuf,
    /// `spec.versions[n]` of the Model.
    pub spec: Value,
}

/// A copy of `tide-chat/<from>` under `root/<namespace>/<name>`.
///
/// # Errors
/// When a file cannot be written.
pub fn chat(root: &Path, namespace: &str, name: &str, from: &str) -> Result<Version> {
    let source = tools::example_models().join("tide-chat").join(from);
    let dir = root.join(namespace).join(name);
    fs::create_dir_all(&dir)?;
    let mut files = Vec::new();
    for file in CHAT {
        place(&source.join(file), &dir.join(file))?;
        files.push(listed(&dir, file)?);
    }
    let spec = json!({
        "name": name, "uri": format!("file:{namespace}/{name}"), "task": "Chat", "tokenizer": "tokenizer.json",
        "chatTemplate": "chat_template.jinja", "files": files,
    });
    Ok(Version { dir, spec })
}

/// A hard link, or a copy where the folders are on two file systems.
fn place(from: &Path, to: &Path) -> Result<()> {
    let _ = fs::remove_file(to);
    if fs::hard_link(from, to).is_err() {
        fs::copy(from, to).with_context(|| format!("copy {}", from.display()))?;
    }
    Ok(())
}

fn listed(dir: &Path, file: &str) -> Result<Value> {
    let bytes = fs::read(dir.join(file)).with_context(|| format!("read {file}"))?;
    let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
    let hex: String = digest.as_ref().iter().map(|b| format!("{b:02x}")).collect();
    Ok(json!({"path": file, "sha256": hex, "size": bytes.len()}))
}

impl Version {
    /// Replaces a file's content; the policy lists the new digest.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(mut self, file: &str, content: impl AsRef<[u8]>) -> Result<Self> {
        // Never through the link: the example's own file is behind it.
        let _ = fs::remove_file(self.dir.join(file));
        fs::write(self.dir.join(file), content)?;
        let fresh = listed(&self.dir, file)?;
        if let Some(entry) = self.entry(file) {
            *entry = fresh;
        } else if let Some(files) = self.spec["files"].as_array_mut() {
            files.push(fresh);
        }
        Ok(self)
    }

    /// What a file holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(&self, file: &str) -> Result<Vec<u8>> {
        fs::read(self.dir.join(file)).with_context(|| format!("read {file}"))
    }

    /// Keeps the first `keep` bytes of a file.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn cut(self, file: &str, keep: usize) -> Result<Self> {
        let bytes = self.read(file)?;
        self.write(file, &bytes[..keep.min(bytes.len())])
    }

    /// Sets members of `config.json`; null takes one away.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn config(self, changes: &BTreeMap<&str, Value>) -> Result<Self> {
        let mut config: Value = serde_json::from_slice(&self.read("config.json")?)?;
        for (key, value) in changes {
            match value {
                Value::Null => drop(config.as_object_mut().and_then(|c| c.remove(*key))),
                other => config[*key] = other.clone(),
            }
        }
        self.write("config.json", config.to_string())
    }

    /// Changes what the Model says of a file, and not the file.
    pub fn say(mut self, file: &str, member: &str, value: Value) -> Self {
        if let Some(entry) = self.entry(file) {
            entry[member] = value;
        }
        self
    }

    /// Takes a file from the Model's list; it stays where it is.
    pub fn unlist(mut self, file: &str) -> Self {
        if let Some(files) = self.spec["files"].as_array_mut() {
            files.retain(|f| f["path"] != file);
        }
        self
    }

    /// Takes a file away; the Model goes on listing it.
    ///
    /// # Errors
    /// When it is not there.
    pub fn lose(self, file: &str) -> Result<Self> {
        fs::remove_file(self.dir.join(file))?;
        Ok(self)
    }

    /// Sets a member of `spec.versions[n]`; null takes it away.
    pub fn with(mut self, member: &str, value: Value) -> Self {
        match value {
            Value::Null => drop(self.spec.as_object_mut().and_then(|spec| spec.remove(member))),
            other => self.spec[member] = other,
        }
        self
    }

    fn entry(&mut self, file: &str) -> Option<&mut Value> {
        self.spec["files"].as_array_mut()?.iter_mut().find(|f| f["path"] == file)
    }
}
