//! What a look means: which promises of `Ready` the answers break, and whether a cause is named. Pure.
use std::time::Instant;

use serde_json::Value;

use super::look::{Answer, Seen, condition, text};

/// A promise that was broken at one look.
pub type Broken = String;

/// `Ready` of an object was True before and after the requests, without a change between.
fn ready_throughout(seen: &Seen, object: &str) -> bool {
    let (Some(before), Some(after)) = (seen.before.get(object), seen.after.get(object)) else { return false };
    let was = condition(before, "Ready");
    was.0 == "True"
        && was == condition(after, "Ready")
        && before["metadata"]["generation"] == after["metadata"]["generation"]
}

/// A request was answered by the model, or refused by a limit that says so.
fn good(answer: &Answer) -> bool {
    answer.status == 200 || answer.status == 429
}

/// When the first request of a look failed.
pub fn first_failure(seen: &Seen) -> Option<Instant> {
    seen.answers.iter().filter(|a| !good(a)).map(|a| a.at).min()
}

/// Every promise of `Ready` that this look saw broken.
pub fn broken(seen: &Seen) -> Vec<Broken> {
    let mut all = Vec::new();
    let untagged: Vec<&Answer> = seen.answers.iter().filter(|a| a.tag.is_empty()).collect();
    for (object, document) in &seen.after {
        if !ready_throughout(seen, object) {
            continue;
        }
        let spec = &document["spec"];
        let mut say = |what: String| all.push(format!("{object} is Ready: {what}"));
        match object.split('/').next().unwrap_or_default() {
            "models" => {
                for answer in seen.answers.iter().filter(|a| !good(a)) {
                    say(answer.to_string());
                }
            }
            "workerpools" => pool(spec, object, seen, &mut say),
            "releasepolicies" => release(spec, &seen.answers, &mut say),
            "ratelimitpolicies" => limit(spec, &untagged, &mut say),
            other => say(format!("a kind that nobody judges: {other}")),
        }
    }
    all
}

fn pool(spec: &Value, object: &str, seen: &Seen, say: &mut dyn FnMut(String)) {
    let name = object.rsplit('/').next().unwrap_or_default();
    let of_pool = |n: &&Value| n["pool"].as_str().is_some_and(|p| p.ends_with(&format!("/{name}")));
    let wanted: Vec<String> = spec["versions"].as_array().into_iter().flatten().map(text).collect();
    let serves = |node: &&Value| {
        let versions: Vec<&Value> = node["worker"]["versions"].as_array().into_iter().flatten().collect();
        wanted.iter().all(|w| versions.iter().any(|v| v["name"] == w.as_str() && v["state"] == "Serving"))
    };
    let ready = seen.nodes.iter().filter(of_pool).filter(serves).count() as u64;
    let replicas = spec["replicas"].as_u64().unwrap_or(1);
    if ready < replicas {
        say(format!("{ready} of {replicas} workers serve {wanted:?}"));
    }
}

fn release(spec: &Value, answers: &[Answer], say: &mut dyn FnMut(String)) {
    let (stable, candidate) = (text(&spec["stable"]), text(&spec["candidate"]));
    let weight = spec["steps"][0]["weight"].as_u64().unwrap_or(0);
    let tagged = spec["rules"].as_array().is_some_and(|rules| !rules.is_empty());
    for answer in answers {
        let expected: &[&String] = match (answer.tag.is_empty(), tagged, weight) {
            (false, true, _) | (true, _, 100) => &[&candidate],
            (true, _, 0) => &[&stable],
            (false, false, _) | (true, _, _) => &[&stable, &candidate],
        };
        if !good(answer) || (answer.status == 200 && !expected.contains(&&answer.version)) {
            say(format!("{answer}, expected one of {expected:?}"));
        }
    }
}

/// The namespaces' limits admit one request an hour and a burst of two.
fn limit(spec: &Value, answers: &[&Answer], say: &mut dyn FnMut(String)) {
    let admitted = answers.iter().filter(|a| a.status == 200).count();
    let refused = answers.iter().filter(|a| a.status == 429).count();
    let shadow = spec["mode"] == "Shadow";
    if shadow && refused > 0 {
        say(format!("it only watches, and {refused} requests were refused"));
    }
    if !shadow && answers.len() > 8 && refused == 0 {
        say(format!("{admitted} of {} requests were admitted", answers.len()));
    }
}

/// Everything that is said about a namespace: conditions that do not hold, warnings, and what its nodes report.
pub fn said(seen: &Seen) -> String {
    let mut all = String::new();
    for (name, object) in &seen.after {
        let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
        for c in conditions.filter(|c| c["status"] != "True") {
            all.push_str(&format!("{name} {}: {} {}\n", text(&c["type"]), text(&c["reason"]), text(&c["message"])));
        }
    }
    for node in &seen.nodes {
        all.push_str(&format!("{node}\n"));
    }
    all
}

/// The objects that are not Ready, each with its reason.
pub fn not_ready(seen: &Seen) -> Vec<String> {
    let not = seen.after.iter().filter(|(_, object)| condition(object, "Ready").0 != "True");
    not.map(|(name, _)| name.clone()).collect()
}
