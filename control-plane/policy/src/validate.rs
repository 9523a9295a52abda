//! What a well-formed document may say. The only maker of [`ValidObject`]: whatever is one can be stored and compiled.
//! References to objects that are not there are no mistake here; `compile` reports them as `ResolvedRefs=False`.
mod bounds;
mod matches;
mod model;
mod rate_limit;
mod release;
pub mod semver;
mod worker_pool;

use std::collections::BTreeMap;

use serde_json::Value;

pub use crate::kinds::bounds::{MAX_DECLARED, MAX_RETAINED};
pub use bounds::{tenant_problem, version_problem};
pub(crate) use matches::{salt_seed, tag_header, value_test};

use crate::{
    documents::{self, Document},
    kinds::{Kind, ModelSpec, RateLimitPolicySpec, ReleasePolicySpec, WorkerPoolSpec},
    names::DEFAULT_NAMESPACE,
    ports::{ObjectKey, Write},
    reject::{Code, Found, Rejections, Sink},
};

/// The spec of any kind.
#[derive(Clone, PartialEq, Debug)]
pub enum Spec {
    Model(ModelSpec),
    WorkerPool(WorkerPoolSpec),
    ReleasePolicy(ReleasePolicySpec),
    RateLimitPolicy(RateLimitPolicySpec),
}

impl Spec {
    pub fn kind(&self) -> Kind {
        match self {
            Self::Model(_) => Kind::Model,
            Self::WorkerPool(_) => Kind::WorkerPool,
            Self::ReleasePolicy(_) => Kind::ReleasePolicy,
            Self::RateLimitPolicy(_) => Kind::RateLimitPolicy,
        }
    }

    /// As it is stored and shown; [`parse_stored`] reads it back.
    pub fn to_value(&self) -> Value {
        let value = match self {
            Self::Model(spec) => serde_json::to_value(spec),
            Self::WorkerPool(spec) => serde_json::to_value(spec),
            Self::ReleasePolicy(spec) => serde_json::to_value(spec),
            Self::RateLimitPolicy(spec) => serde_json::to_value(spec),
        };
        value.unwrap_or_default()
    }

    fn read(kind: Kind, value: &Value) -> Result<Self, serde_json::Error> {
        use serde::Deserialize as _;
        Ok(match kind {
            Kind::Model => Self::Model(ModelSpec::deserialize(value)?),
            Kind::WorkerPool => Self::WorkerPool(WorkerPoolSpec::deserialize(value)?),
            Kind::ReleasePolicy => Self::ReleasePolicy(ReleasePolicySpec::deserialize(value)?),
            Kind::RateLimitPolicy => Self::RateLimitPolicy(RateLimitPolicySpec::deserialize(value)?),
        })
    }

    fn check(&self, sink: &mut Sink) {
        match self {
            Self::Model(spec) => model::check(spec, sink),
            Self::WorkerPool(spec) => worker_pool::check(spec, sink),
            Self::ReleasePolicy(spec) => release::check(spec, sink),
            Self::RateLimitPolicy(spec) => rate_limit::check(spec, sink),
        }
    }
}

/// A document that may be stored.
#[derive(Clone, PartialEq, Debug)]
pub struct ValidObject {
    document: usize,
    key: ObjectKey,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    resource_version: Option<i64>,
    spec: Spec,
}

impl ValidObject {
    /// Its place in the body, from 0.
    pub fn document(&self) -> usize {
        self.document
    }

    pub fn key(&self) -> &ObjectKey {
        &self.key
    }

    pub fn labels(&self) -> &BTreeMap<String, String> {
        &self.labels
    }

    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// `metadata.resourceVersion`: the revision that the edit is based on.
    pub fn resource_version(&self) -> Option<i64> {
        self.resource_version
    }

    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// The write that stores this object; `metadata.resourceVersion` becomes its expected revision.
    pub fn to_write(&self) -> Write {
        let texts = |map: &BTreeMap<String, String>| {
            Value::Object(map.iter().map(|(k, v)| (k.clone(), v.as_str().into())).collect())
        };
        Write {
            key: self.key.clone(),
            labels: texts(&self.labels),
            annotations: texts(&self.annotations),
            spec: self.spec.to_value(),
            expected_revision: self.resource_version,
        }
    }
}

/// Reads and checks a body of one or more documents, YAML or JSON.
///
/// # Errors
/// Every mistake of form and meaning in every document; beyond [`crate::reject::MAX_LISTED`] they are only counted.
pub fn parse(bytes: &[u8]) -> Result<Vec<ValidObject>, Rejections> {
    parse_in(bytes, DEFAULT_NAMESPACE)
}

/// As [`parse`]; a document that names no namespace is of `namespace`.
///
/// # Errors
/// As [`parse`].
pub fn parse_in(bytes: &[u8], namespace: &str) -> Result<Vec<ValidObject>, Rejections> {
    let mut found = Found::default();
    let mut objects = Vec::new();
    for draft in documents::drafts(bytes, namespace)? {
        let sound = draft.found.is_empty();
        found.add(draft.found);
        let Some(document) = draft.document else { continue };
        match meaning(document.key.kind, &document.spec, &draft.stand_ins, Some(document.index)) {
            Ok(spec) if sound => objects.push(ValidObject::new(document, spec)),
            Ok(_) => {}
            Err(more) => found.add(more),
        }
    }
    if found.is_empty() { Ok(objects) } else { Err(found.into_rejections()) }
}

impl ValidObject {
    fn new(document: Document, spec: Spec) -> Self {
        let Document { index, key, labels, annotations, resource_version, .. } = document;
        Self { document: index, key, labels, annotations, resource_version, spec }
    }
}

/// Reads a stored spec and checks it again: what an older version stored is not trusted blindly.
///
/// # Errors
/// Every mistake, with paths from `$.spec`.
pub fn parse_stored(kind: Kind, value: &Value) -> Result<Spec, Rejections> {
    meaning(kind, value, &[], None).map_err(Found::into_rejections)
}

fn meaning(kind: Kind, value: &Value, stand_ins: &[String], document: Option<usize>) -> Result<Spec, Found> {
    let mut sink = Sink::default();
    let spec = match Spec::read(kind, value) {
        Ok(spec) => spec,
        Err(_) if !stand_ins.is_empty() => return Err(Found::default()), // the form is already refused
        Err(error) => {
            sink.at("spec", |s| s.reject(Code::Stored, format!("the {kind} cannot be read: {error}")));
            return Err(sink.into_found(document));
        }
    };
    sink.at("spec", |s| spec.check(s));
    let mut found = sink.into_found(document);
    found.listed.retain(|r| !stand_ins.iter().any(|path| touches(&r.path, path)));
    if found.is_empty() { Ok(spec) } else { Err(found) }
}

/// Whether a complaint at `path` is about a stand-in at `stand_in`: there, or below it.
fn touches(path: &str, stand_in: &str) -> bool {
    path.strip_prefix(stand_in).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}
