//! `Model`: versions, their files and digests. Only form; whether the files are there is the worker's business.
use std::collections::BTreeSet;

use super::bounds;
use crate::{
    kinds::{
        ModelFile, ModelSpec, ModelVersion, Task,
        bounds::{FILE_BYTES, FILES, MODEL_VERSIONS, PATH_LENGTH, URI_LENGTH},
    },
    reject::{Code, Sink, quoted},
};

pub(super) fn check(spec: &ModelSpec, sink: &mut Sink) {
    sink.at("versions", |s| {
        bounds::length(spec.versions.len(), 1..=MODEL_VERSIONS, s);
        bounds::unique_field(spec.versions.iter().map(|v| v.name.as_str()), "name", s);
        for (i, version) in spec.versions.iter().enumerate() {
            s.index(i, |s| {
                self::version(version, s);
                if version.task != spec.versions[0].task {
                    s.at("task", |s| s.reject(Code::Contradiction, "all versions of a model have the same task"));
                }
            });
        }
    });
    if !spec.adapters.is_empty() {
        sink.at("adapters", |s| s.not_yet("`adapters` (LoRA)"));
    }
}

fn version(version: &ModelVersion, sink: &mut Sink) {
    sink.at("name", |s| bounds::version(&version.name, s));
    sink.at("uri", |s| uri(&version.uri, s));
    if version.signature.is_some() {
        sink.at("signature", |s| s.not_yet("`signature`"));
    }
    sink.at("files", |s| {
        bounds::length(version.files.len(), 1..=FILES, s);
        bounds::unique_field(version.files.iter().map(|f| f.path.as_str()), "path", s);
        for (i, file) in version.files.iter().enumerate() {
            s.index(i, |s| self::file(file, s));
        }
    });
    let paths: BTreeSet<&str> = version.files.iter().map(|f| f.path.as_str()).collect();
    sink.at("tokenizer", |s| among(&version.tokenizer, &paths, s));
    sink.at("chatTemplate", |s| match (version.task, &version.chat_template) {
        (Task::Chat, Some(path)) => among(path, &paths, s),
        (Task::Chat, None) => s.reject(Code::MissingField, "missing; a Chat version needs a chat template"),
        (Task::Embedding, Some(_)) => s.reject(Code::Contradiction, "an Embedding version has no chat template"),
        (Task::Embedding, None) => {}
    });
}

fn among(path: &str, paths: &BTreeSet<&str>, sink: &mut Sink) {
    if !paths.contains(path) {
        sink.reject(Code::Contradiction, format!("{} is not among `files`", quoted(path)));
    }
}

fn file(file: &ModelFile, sink: &mut Sink) {
    sink.at("path", |s| {
        if let Some(problem) = path_problem(&file.path) {
            s.reject(Code::Location, format!("{} {problem}", quoted(&file.path)));
        }
        length(&file.path, PATH_LENGTH, s);
    });
    sink.at("sha256", |s| {
        let hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if file.sha256.len() != 64 || !file.sha256.bytes().all(hex) {
            s.reject(
                Code::Digest,
                format!("{} is not a SHA-256 digest: 64 lower-case hex digits", quoted(&file.sha256)),
            );
        }
    });
    sink.at("size", |s| bounds::number(file.size, 1..=FILE_BYTES, s));
}

fn length(text: &str, most: usize, sink: &mut Sink) {
    if text.chars().count() > most {
        sink.reject(Code::Location, format!("{} is longer than {most} characters", quoted(text)));
    }
}

/// What is wrong with the form of a path relative to a directory, if anything.
fn path_problem(path: &str) -> Option<&'static str> {
    if path.is_empty() {
        Some("is empty")
    } else if path.starts_with('/') {
        Some("is absolute; paths are relative to `uri`")
    } else if path.contains(['\\', '\0']) || path.chars().any(char::is_control) {
        Some("has a backslash or a control character")
    } else if path.split('/').any(|part| part == "..") {
        Some("has `..`, which could leave the directory")
    } else if path.split('/').any(|part| part.is_empty() || part == ".") {
        Some("has an empty part or `.`")
    } else {
        None
    }
}

fn uri(uri: &str, sink: &mut Sink) {
    let Some((scheme, rest)) = uri.split_once(':') else {
        return sink.reject(Code::Location, format!("{} has no scheme; expected file:dir or file:///dir", quoted(uri)));
    };
    if scheme != "file" {
        return match scheme {
            "http" | "https" | "s3" | "gs" | "oci" | "hf" => sink.not_yet(&format!("the scheme `{scheme}:`")),
            _ => sink.reject(Code::Location, format!("the scheme {} is not known; expected file:", quoted(scheme))),
        };
    }
    let path = match rest.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => &absolute[1..],
        Some(_) => return sink.reject(Code::Location, format!("{} names a host; expected file:///dir", quoted(uri))),
        None => rest,
    };
    length(uri, URI_LENGTH, sink);
    if let Some(problem) = path_problem(path) {
        sink.reject(Code::Location, format!("the path {} {problem}", quoted(path)));
    } else if path.contains(['%', '?', '#']) {
        sink.reject(
            Code::Location,
            format!("the path {} has one of `%?#`; it is taken literally and may not be an URL", quoted(path)),
        );
    }
}
