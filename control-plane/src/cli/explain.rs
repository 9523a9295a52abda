//! `explain`: why a request gets the arm and the limits that it gets.
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};
use tidegate_policy::{names, snapshot::ObjectRef};

use super::{
    connect::ConnectArgs,
    objects::NamespaceArgs,
    output::{self, Format, at},
};
use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct ExplainArgs {
    /// The model as a client names it: NAME, or NAMESPACE/NAME
    #[arg(short, long)]
    pub model: String,
    /// A request header, as 'Name: value'; repeatable
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE")]
    pub headers: Vec<String>,
    /// A request header whose value is not UTF-8, as 'Name: BASE64'; repeatable, after those of --header
    #[arg(long, value_name = "NAME: BASE64")]
    pub header_base64: Vec<String>,
    #[command(flatten)]
    pub namespace: NamespaceArgs,
    /// The tenant that the API key of the request would give. Without it, and without the header authorization, the request has no
    /// key, and the limits of tenants are left out
    #[arg(long)]
    pub tenant: Option<String>,
    /// Path of the POST. Default: the one that fits the model
    #[arg(long)]
    pub path: Option<String>,
    #[arg(short, long, value_enum, default_value_t)]
    pub output: Format,
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Splits `Name: value`; the space after the colon does not belong to the value.
pub fn header(text: &str) -> Result<(String, String), Error> {
    match text.split_once(':') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        Some(_) | None => Err(Error::Usage(format!("--header {text:?}: write 'Name: value'"))),
    }
}

/// The headers of the question, each as REST takes it.
pub fn headers(texts: &[String], base64: &[String]) -> Result<Vec<Value>, Error> {
    let mut headers = Vec::with_capacity(texts.len() + base64.len());
    for text in texts {
        let (name, value) = header(text)?;
        headers.push(json!({"name": name, "value": value}));
    }
    for text in base64 {
        let (name, value) = header(text)?;
        STANDARD.decode(&value).map_err(|e| Error::Usage(format!("--header-base64 {text:?} is not base64: {e}")))?;
        headers.push(json!({"name": name, "valueBase64": value}));
    }
    Ok(headers)
}

/// What a request carries in `model`.
pub fn model_id(model: &str, namespace: &str) -> String {
    if model.contains('/') {
        return model.to_owned();
    }
    names::model_id(&ObjectRef { namespace: namespace.to_owned(), name: model.to_owned() })
}

/// The text, and whether there is such a model.
pub async fn explain(args: &ExplainArgs) -> Result<(String, bool), Error> {
    let model = model_id(&args.model, &args.namespace.namespace);
    let mut body = json!({"model": model, "headers": headers(&args.headers, &args.header_base64)?});
    for (key, value) in [("tenant", &args.tenant), ("path", &args.path)] {
        if let Some(value) = value {
            body[key] = json!(value);
        }
    }
    let answer = args.connect.client()?.post(&["api", "v1", "explain"], &[], &body).await?;
    let known = at(&answer, "/outcome") != "UnknownModel";
    let text = match args.output {
        Format::Json => output::json(&answer),
        Format::Yaml => output::yaml(&answer),
        Format::Table | Format::Wide => text(&answer),
    };
    Ok((text, known))
}

/// An explanation for people. Reads the answer field by field, so an older command line reads a newer server.
pub fn text(answer: &Value) -> String {
    let model = at(answer, "/model");
    if at(answer, "/outcome") == "UnknownModel" {
        let verdict = answer.get("verdict").map_or_else(|| "404".to_owned(), status);
        return format!("{model}: no such model; the gateway answers {verdict}\n{}", list(answer, "notes", "note: "));
    }
    let mut out = headline(answer, &model);
    out.push_str(&refusal(answer));
    if let Some(by) = answer.get("decidedBy") {
        let kind = at(by, "/kind").to_ascii_lowercase();
        out.push_str(&format!(
            "decided by {kind} {} of {}, generation {}\n",
            at(by, "/id"),
            at(by, "/owner"),
            at(by, "/generation")
        ));
    }
    let rules = items(answer, "rules");
    if !rules.is_empty() {
        out.push_str("rules, in the order in which they are tried:\n");
    }
    for rule in rules {
        let verdict = if at(rule, "/matched") == "true" { "matches" } else { "does not match" };
        let named =
            Some(at(rule, "/named")).filter(|n| n != "-").map(|n| format!(" instead of {n}")).unwrap_or_default();
        out.push_str(&format!("  {} -> {}{named}: {verdict}\n", at(rule, "/id"), at(rule, "/arm")));
        for condition in items(rule, "conditions") {
            let holds = if at(condition, "/holds") == "true" { "holds" } else { "fails" };
            out.push_str(&format!("    {holds}: {}, saw {}\n", at(condition, "/condition"), at(condition, "/saw")));
        }
    }
    out.push_str(&split(answer));
    for limit in items(answer, "limits") {
        out.push_str(&limit_line(limit));
    }
    out.push_str(&list(answer, "notes", "note: "));
    out
}

fn headline(answer: &Value, model: &str) -> String {
    if at(answer, "/random") == "true" {
        return format!("{model} -> by chance: the request has no {} header\n", at(answer, "/keyHeader"));
    }
    let workers = at(answer, "/endpoints");
    let plural = if workers == "1" { "" } else { "s" };
    format!("{model} -> {}, version {} ({workers} worker{plural})\n", at(answer, "/arm"), at(answer, "/version"))
}

/// `401 invalid_api_key`.
fn status(verdict: &Value) -> String {
    let code = Some(at(verdict, "/code")).filter(|c| c != "-").map(|c| format!(" {c}")).unwrap_or_default();
    format!("{}{code}", at(verdict, "/status"))
}

/// What the client reads instead of an answer.
fn refusal(answer: &Value) -> String {
    let Some(verdict) = answer.get("verdict").filter(|v| at(v, "/status") != "200") else { return String::new() };
    let from = at(verdict, "/from").to_ascii_lowercase();
    format!("refused: the {from} answers {}: {}\n", status(verdict), at(verdict, "/why"))
}

fn split(answer: &Value) -> String {
    let shares = items(answer, "shares");
    if shares.is_empty() {
        return String::new();
    }
    let bucket = at(answer, "/bucket");
    let bucket = if bucket == "-" { String::new() } else { format!(": bucket {bucket} of 10000") };
    let mut out = format!("split by {}{bucket}\n", at(answer, "/keyHeader"));
    let mut from = 0;
    for share in shares {
        let weight = share.get("weight").and_then(Value::as_u64).unwrap_or(0);
        let to = from + weight;
        out.push_str(&format!("  {from}..{to} {} (version {})\n", at(share, "/arm"), at(share, "/version")));
        from = to;
    }
    out
}

fn limit_line(limit: &Value) -> String {
    let requests = Some(at(limit, "/requests")).filter(|t| t != "-");
    let concurrency = Some(at(limit, "/concurrency")).filter(|t| t != "-").map(|n| format!("{n} at a time"));
    let amounts: Vec<String> = requests.into_iter().chain(concurrency).collect();
    let shadow = if at(limit, "/shadow") == "true" { " (shadow: only reported)" } else { "" };
    let whose = Some(at(limit, "/counters")).filter(|t| t != "-").map(|t| format!(", for {t}")).unwrap_or_default();
    let places: Vec<String> = items(limit, "where").iter().map(output::plain).collect();
    let places = if places.is_empty() { String::new() } else { format!(", at {}", places.join(" and ")) };
    format!("limit {}: {}{whose}{places}{shadow}\n", at(limit, "/id"), amounts.join(" and "))
}

fn items<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn list(value: &Value, key: &str, prefix: &str) -> String {
    items(value, key).iter().map(|v| format!("{prefix}{}\n", output::plain(v))).collect()
}
