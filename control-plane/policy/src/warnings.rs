//! What is allowed but leaves requests without the version that a document names: said on the write that causes it, in `status`,
//! and by `explain`. Only words; which version answers is decided by `compile`.
use serde_json::Value;

use crate::{
    kinds::Kind,
    ports::{ObjectKey, StoredObject},
    snapshot::{NamedArm, NamedArms, ObjectRef, Standing, Target},
};

/// Why the version that a document names does not answer, or not for long; None when it does.
pub fn why(arm: &NamedArm, model: &ObjectRef) -> Option<String> {
    let named = &arm.named;
    match arm.standing {
        Standing::NotInModel => Some(format!("Model {model} has no version {named}")),
        Standing::NotWanted => Some(not_wanted(model, named)),
        Standing::Loading if arm.version != *named => Some(format!("workers are still on the way to version {named}")),
        Standing::NotServed => Some(format!("no worker serves version {named}")),
        Standing::Serving | Standing::Loading => None,
    }
}

/// Nobody is to serve a version.
pub fn not_wanted(model: &ObjectRef, version: &str) -> String {
    format!("no WorkerPool with replicas asks for version {version} of Model {model}")
}

/// What the documents about one model leave without workers, whoever is loading now: the arms that have a share and whose
/// version nobody is asked to serve.
pub fn without_workers(target: &Target) -> Vec<(ObjectKey, String)> {
    let mut all = Vec::new();
    for named in &target.named {
        let about = |message: String| (ObjectKey { kind: named.kind, object: named.owner.clone() }, message);
        if named.kind == Kind::Model {
            all.extend(nobody(&named.stable, &target.model).map(about));
            continue;
        }
        let candidate = named.candidate.as_ref().map(|arm| ("candidate", arm));
        let arms = candidate.into_iter().chain([("stable", &named.stable)]);
        all.extend(arms.filter_map(|(name, arm)| unserved(named, name, arm, &target.model)).map(about));
    }
    all
}

/// Without a ReleasePolicy: nothing of the model is asked for.
fn nobody(arm: &NamedArm, model: &ObjectRef) -> Option<String> {
    (arm.standing == Standing::NotWanted)
        .then(|| format!("no WorkerPool with replicas asks for any version of Model {model}: its requests get 503"))
}

fn unserved(named: &NamedArms, name: &str, arm: &NamedArm, model: &ObjectRef) -> Option<String> {
    let for_ever = matches!(arm.standing, Standing::NotWanted | Standing::NotInModel);
    let share = share(arm)?;
    let why = why(arm, model).filter(|_| for_ever)?;
    let then = if arm.version == arm.named {
        "nothing else is served, and these requests get 503 unless a worker still has it".to_owned()
    } else {
        format!("{} answers instead", arm.version)
    };
    Some(format!("ReleasePolicy {} gives {share} to {name} {}, but {why}: {then}", named.owner, arm.named))
}

/// `50 % of the users and 1 rule`; None when it has neither.
pub fn share(arm: &NamedArm) -> Option<String> {
    let weight = (arm.weight > 0).then(|| format!("{} % of the users", arm.weight / 100));
    let rules = match arm.rules {
        0 => None,
        1 => Some("1 rule".to_owned()),
        n => Some(format!("{n} rules")),
    };
    let parts: Vec<String> = weight.into_iter().chain(rules).collect();
    (!parts.is_empty()).then(|| parts.join(" and "))
}

/// What still refers to an object that is gone, of all that are left.
pub fn left_behind(left: &[StoredObject], gone: &StoredObject) -> Vec<String> {
    let ObjectRef { namespace, name } = &gone.key.object;
    let names = |target: &Value| {
        let kind = target.get("kind").and_then(Value::as_str);
        kind == Some(gone.key.kind.name()) && target.get("name").and_then(Value::as_str) == Some(name)
    };
    let refers = |spec: &Value| {
        let targets = spec.get("targetRefs").and_then(Value::as_array).into_iter().flatten();
        let model =
            gone.key.kind == Kind::Model && spec.pointer("/modelRef/name").and_then(Value::as_str) == Some(name);
        model || targets.chain(spec.get("targetRef")).any(names)
    };
    let referring = left.iter().filter(|o| o.key.object.namespace == *namespace && refers(&o.spec));
    let what = if gone.key.kind == Kind::Model { "; requests for it get 404" } else { "" };
    referring.map(|o| format!("{} still names {}, which is gone{what}", o.key, gone.key)).collect()
}
