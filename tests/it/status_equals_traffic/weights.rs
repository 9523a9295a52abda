//! Faults in the files of a version, or in what the Model says of them.
use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Result;
use serde_json::{Value, json};
use system_tests::tools;

use super::{
    files::{Version, chat},
    standing::{Fault, Traffic, model, pool},
};

const MODEL_AND_POOL: [&str; 2] = ["models/m", "workerpools/p"];

/// A model of one version and a pool that asks for it.
fn served(namespace: &str, version: &Version) -> Vec<Value> {
    let name = version.spec["name"].as_str().unwrap_or("v1");
    vec![model(namespace, std::slice::from_ref(&version.spec)), pool(namespace, "p", &[name], 1)]
}

/// Every fault of this file.
///
/// # Errors
/// When a file cannot be written.
pub fn faults(root: &Path) -> Result<Vec<Fault>> {
    let mut all = digests(root)?;
    all.extend(contents(root)?);
    all.extend(places(root)?);
    all.extend(templates(root)?);
    all.extend(configs(root)?);
    all.extend(others(root)?);
    Ok(all)
}

/// A version that cannot be loaded: nothing answers, and model and pool say why.
fn fails(namespace: String, version: &Version, cause: &[&'static str]) -> Fault {
    let documents = served(&namespace, version);
    Fault::new(namespace, documents).says(&MODEL_AND_POOL, cause).traffic(Traffic::Fails)
}

/// Files, each with a short name for the namespace.
pub const FILES: [(&str, &str); 5] = [
    ("chat_template.jinja", "template"),
    ("config.json", "config"),
    ("model.onnx", "graph"),
    ("model.onnx.data", "data"),
    ("tokenizer.json", "tokenizer"),
];

/// A namespace and a version in it that could serve.
fn good(root: &Path, namespace: &str) -> Result<(String, Version)> {
    Ok((namespace.to_owned(), chat(root, namespace, "v1", "v1")?))
}

fn digests(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    for (file, short) in FILES {
        let make = |what: &str| good(root, &format!("{what}-{short}"));
        let (ns, v) = make("digest")?;
        all.push(fails(ns, &v.say(file, "sha256", json!("0".repeat(64))), &["TG-2017"]));
        // The digest of another file of the same version.
        let (ns, v) = make("digest-swapped")?;
        let other = v.spec["files"].as_array().into_iter().flatten().find(|f| f["path"] != file);
        let other = other.map_or(Value::Null, |f| f["sha256"].clone());
        all.push(fails(ns, &v.say(file, "sha256", other), &["TG-2017"]));
        for (what, size) in [("size-more", 1_i64), ("size-less", -1)] {
            let (ns, v) = make(what)?;
            let now = i64::try_from(v.read(file)?.len())?;
            all.push(fails(ns, &v.say(file, "size", json!(now + size)), &["TG-2016", "TG-2017", "bytes"]));
        }
        let (ns, v) = make("gone")?;
        all.push(fails(ns, &v.lose(file)?, &["TG-2014", "TG-2013", "No such file"]));
        let (ns, v) = make("folder")?;
        let v = v.lose(file)?;
        fs::create_dir(v.dir.join(file))?;
        all.push(fails(ns, &v, &["TG-20"]));
        let (ns, v) = make("link-out")?;
        let v = v.lose(file)?;
        std::os::unix::fs::symlink("/etc/hostname", v.dir.join(file))?;
        all.push(fails(ns, &v, &["TG-2013", "leads out"]));
        let (ns, v) = make("link-loop")?;
        let v = v.lose(file)?;
        std::os::unix::fs::symlink(file, v.dir.join(file))?;
        all.push(fails(ns, &v, &["TG-20"]));
    }
    Ok(all)
}

fn contents(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    for (file, short) in FILES {
        let make = |what: &str| good(root, &format!("{what}-{short}"));
        if file != "chat_template.jinja" {
            let (ns, v) = make("blank")?;
            all.push(fails(ns, &v.write(file, " ")?, &["TG-20"]));
        }
        let (ns, v) = make("noise")?;
        let noise: Vec<u8> = (0..4096_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8 | 0x80).collect();
        all.push(fails(ns, &v.write(file, noise)?, &["TG-20"]));
        if file != "chat_template.jinja" {
            for part in [1, 2, 3] {
                let (ns, v) = make(&format!("cut{part}"))?;
                let keep = v.read(file)?.len() * part / 4;
                all.push(fails(ns, &v.cut(file, keep)?, &["TG-20"]));
            }
        }
    }
    Ok(all)
}

fn places(root: &Path) -> Result<Vec<Fault>> {
    let mut all = Vec::new();
    for (ns, uri) in [
        ("uri-nowhere", "file:uri-nowhere/v7"),
        ("uri-outside", "file:///etc"),
        ("uri-tmp", "file:///tmp"),
        ("uri-absolute-nowhere", "file:///srv/nowhere/at/all"),
    ] {
        let version = chat(root, ns, "v1", "v1")?.with("uri", json!(uri));
        all.push(fails(ns.to_owned(), &version, &["TG-20", "TG-21"]));
    }
    for file in ["config.json", "model.onnx.data", "model.onnx"] {
        let ns = format!("unlisted-{}", file.replace(['.', '_'], "-"));
        let version = chat(root, &ns, "v1", "v1")?.unlist(file);
        all.push(fails(ns, &version, &["TG-20", "TG-21"]));
    }
    Ok(all)
}

/// Templates: the text, and whether a version with it can serve.
fn templates(root: &Path) -> Result<Vec<Fault>> {
    let loop_ = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}<|im_start|>assistant\n";
    let bad = [
        ("parse", "{% for m in messages %}".to_owned()),
        ("unknown-tag", "{% frobnicate %}".to_owned()),
        ("unknown-filter", format!("{{{{ messages | frobnicate }}}}{loop_}")),
        ("unknown-function", format!("{{{{ frobnicate(1) }}}}{loop_}")),
        ("unknown-method", format!("{{{{ messages[0].content.frobnicate() }}}}{loop_}")),
        ("late-method", "{% for m in messages %}{% if m.role == 'assistant' %}{{ m.content.nope() }}{% endif %}{{ m.content }}{% endfor %}".to_owned()),
        ("always-raises", "{{ raise_exception('not today') }}".to_owned()),
        ("endless", "{% for a in range(99999) %}{% for b in range(99999) %}{{ a }}{% endfor %}{% endfor %}".to_owned()),
        ("include", format!("{{% include 'other.jinja' %}}{loop_}")),
        ("import", format!("{{% import 'other.jinja' as o %}}{loop_}")),
        ("extends", "{% extends 'base.jinja' %}".to_owned()),
        ("add-number", format!("{{{{ 1 + messages[0].content }}}}{loop_}")),
        ("empty-prompt", "{# nothing #}".to_owned()),
        ("too-long", format!("{{% for i in range(4000) %}}word {{% endfor %}}{loop_}")),
        ("call-undefined", format!("{{{{ tools.first() }}}}{loop_}")),
        ("bad-date", format!("{{{{ strftime_now() }}}}{loop_}")),
    ];
    let good = [
        ("strip", format!("{{% set first = messages[0].content.strip() %}}{loop_}")),
        ("tools", format!("{{% if tools %}}{{{{ tools }}}}{{% endif %}}{loop_}")),
        ("bos", format!("{{{{ bos_token }}}}{loop_}")),
        ("year", format!("{{% set now = strftime_now('%Y') %}}{loop_}")),
        ("split", format!("{{% set words = messages[0].content.split(' ')[-1] | trim %}}{loop_}")),
        ("items", format!("{{% for k, v in messages[0].items() %}}{{% endfor %}}{loop_}")),
        ("namespace", format!("{{% set ns = namespace(n=0) %}}{{% set ns.n = 1 %}}{loop_}")),
        (
            "undefined-test",
            format!("{{% if custom is defined and custom is not none %}}{{{{ custom }}}}{{% endif %}}{loop_}"),
        ),
        ("tojson", format!("{{% set j = messages | tojson(indent=4) %}}{loop_}")),
        (
            "system-refused",
            format!(
                "{{% if messages[0].role == 'system' %}}{{{{ raise_exception('System role not supported') }}}}{{% endif %}}{loop_}"
            ),
        ),
    ];
    let mut all = Vec::new();
    for (name, text) in bad {
        let ns = format!("template-{name}");
        let version = chat(root, &ns, "v1", "v1")?.write("chat_template.jinja", text)?;
        all.push(fails(ns, &version, &["TG-20"]));
    }
    for (name, text) in good {
        let ns = format!("template-good-{name}");
        let version = chat(root, &ns, "v1", "v1")?.write("chat_template.jinja", text)?;
        all.push(Fault::new(ns.clone(), served(&ns, &version)));
    }
    Ok(all)
}

/// Members of config.json, each changed so that the version cannot serve.
fn configs(root: &Path) -> Result<Vec<Fault>> {
    let changes = [
        ("format-other", "format", json!("tidegate.model/v9")),
        ("format-gone", "format", Value::Null),
        ("task-gone", "task", Value::Null),
        ("task-other", "task", json!("Embedding")),
        ("vocab-gone", "vocabSize", Value::Null),
        ("vocab-zero", "vocabSize", json!(0)),
        ("vocab-less", "vocabSize", json!(100)),
        ("vocab-more", "vocabSize", json!(4096)),
        ("vocab-text", "vocabSize", json!("2048")),
        ("layers-gone", "layers", Value::Null),
        ("layers-less", "layers", json!(3)),
        ("layers-more", "layers", json!(5)),
        ("heads-more", "kvHeads", json!(4)),
        ("heads-less", "kvHeads", json!(1)),
        ("dim-more", "headDim", json!(64)),
        ("dim-less", "headDim", json!(16)),
        ("eos-gone", "eosTokenIds", Value::Null),
        ("eos-empty", "eosTokenIds", json!([])),
        ("eos-beyond", "eosTokenIds", json!([99999])),
        ("sequence-zero", "maxSequence", json!(0)),
        ("sequence-huge", "maxSequence", json!(99_999_999)),
        ("pad-beyond", "padTokenId", json!(99999)),
        ("input-name", "inputs", json!({"inputIds": "frobnicate"})),
        ("output-name", "outputs", json!({"logits": "frobnicate"})),
    ];
    let mut all = Vec::new();
    for (name, member, value) in changes {
        let ns = format!("config-{name}");
        let version = chat(root, &ns, "v1", "v1")?.config(&BTreeMap::from([(member, value)]))?;
        all.push(fails(ns, &version, &["TG-20"]));
    }
    Ok(all)
}

/// Files of another model, and a task that is not the model's.
fn others(root: &Path) -> Result<Vec<Fault>> {
    let foreign = fs::read(tools::exported_models()?.join("all-minilm-l6-v2/v1/tokenizer.json"))?;
    let mut all = Vec::new();
    let version = chat(root, "foreign-tokenizer", "v1", "v1")?.write("tokenizer.json", foreign)?;
    all.push(fails("foreign-tokenizer".to_owned(), &version, &["TG-20", "TG-22"]));
    let mut tokenizer: Value = serde_json::from_slice(&version.read("tokenizer.json")?)?;
    tokenizer["model"]["type"] = json!("Frobnicate");
    let version = chat(root, "tokenizer-type", "v1", "v1")?.write("tokenizer.json", tokenizer.to_string())?;
    all.push(fails("tokenizer-type".to_owned(), &version, &["TG-20"]));
    let version =
        chat(root, "task-embedding", "v1", "v1")?.with("task", json!("Embedding")).with("chatTemplate", Value::Null);
    all.push(fails("task-embedding".to_owned(), &version, &["TG-20", "task"]));
    let graph = fs::read(tools::exported_models()?.join("all-minilm-l6-v2/v1/model.onnx"))?;
    let version = chat(root, "foreign-graph", "v1", "v1")?.write("model.onnx", graph)?;
    all.push(fails("foreign-graph".to_owned(), &version, &["TG-20"]));
    Ok(all)
}
