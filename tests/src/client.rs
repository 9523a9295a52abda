//! A client of the gateway, as an application would write one: chat, streams, embeddings, with whatever headers.
use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures::StreamExt;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// The model of the examples.
pub const CHAT_MODEL: &str = "tide-chat";

/// Talks to one gateway with one API key.
#[derive(Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    key: Option<String>,
}

/// An answer, read to its end.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: String,
}

impl Answer {
    /// A response header as text; empty when absent.
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|v| v.to_str().ok()).unwrap_or_default()
    }

    /// The version that the worker says it ran.
    pub fn version(&self) -> &str {
        self.header("x-tidegate-model-version")
    }

    /// The arm that the gateway picked.
    pub fn arm(&self) -> &str {
        self.header("x-tidegate-arm")
    }

    /// The body as JSON; null when it is none.
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or(Value::Null)
    }

    /// The text of a chat answer.
    pub fn text(&self) -> String {
        self.json()["choices"][0]["message"]["content"].as_str().unwrap_or_default().to_owned()
    }

    /// Fails unless the status is `status`.
    ///
    /// # Errors
    /// With status and body.
    pub fn expect(self, status: u16) -> Result<Self> {
        if self.status == status { Ok(self) } else { bail!("status {} and not {status}: {}", self.status, self.body) }
    }
}

/// A streamed answer, read to its end.
#[derive(Debug, Clone, Default)]
pub struct Streamed {
    pub version: String,
    pub text: String,
    pub finish_reason: Option<String>,
    /// `data: [DONE]` came.
    pub done: bool,
    /// An `error` event came.
    pub error: Option<Value>,
}

impl Client {
    /// A client of `http://ip:port` with an API key.
    ///
    /// # Errors
    /// When the HTTP client cannot be made.
    pub fn new(base: impl Into<String>, key: Option<String>) -> Result<Self> {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).no_proxy().build()?;
        Ok(Self { http, base: base.into(), key })
    }

    /// The API key.
    pub fn key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// The same client with another key.
    pub fn with_key(&self, key: Option<String>) -> Self {
        Self { key, ..self.clone() }
    }

    fn post(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> reqwest::RequestBuilder {
        let mut request = self.http.post(format!("{}{path}", self.base)).json(body);
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }

    /// Any POST.
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn send(&self, path: &str, body: &Value, headers: &[(&str, &str)]) -> Result<Answer> {
        let response = self.post(path, body, headers).send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.text().await? })
    }

    /// Any GET.
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn get(&self, path: &str) -> Result<Answer> {
        let mut request = self.http.get(format!("{}{path}", self.base));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let response = request.send().await?;
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Ok(Answer { status, headers, body: response.text().await? })
    }

    /// One question to the chat model, greedy, at most 24 tokens.
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn chat(&self, question: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send("/v1/chat/completions", &chat_body(question, 24, false), headers).await
    }

    /// One question, answered as a stream.
    ///
    /// # Errors
    /// When the stream broke; an `error` event is no error here.
    pub async fn stream(&self, question: &str, max_tokens: u32, headers: &[(&str, &str)]) -> Result<Streamed> {
        let response =
            self.post("/v1/chat/completions", &chat_body(question, max_tokens, true), headers).send().await?;
        let status = response.status().as_u16();
        if status != 200 {
            bail!("status {status}: {}", response.text().await.unwrap_or_default());
        }
        let version = response.headers().get("x-tidegate-model-version").and_then(|v| v.to_str().ok());
        let mut streamed = Streamed { version: version.unwrap_or_default().to_owned(), ..Streamed::default() };
        let mut pending = String::new();
        let mut chunks = response.bytes_stream();
        while let Some(chunk) = chunks.next().await {
            pending.push_str(&String::from_utf8_lossy(&chunk.context("the stream broke")?));
            while let Some(end) = pending.find("\n\n") {
                let event: String = pending.drain(..end + 2).collect();
                streamed.take(event.trim());
            }
        }
        Ok(streamed)
    }
}

impl Streamed {
    fn take(&mut self, event: &str) {
        for line in event.lines() {
            let Some(data) = line.strip_prefix("data:").map(str::trim) else { continue };
            if data == "[DONE]" {
                self.done = true;
                continue;
            }
            let value: Value = serde_json::from_str(data).unwrap_or(Value::Null);
            if !value["error"].is_null() {
                self.error = Some(value["error"].clone());
            }
            let choice = &value["choices"][0];
            self.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            if let Some(reason) = choice["finish_reason"].as_str() {
                self.finish_reason = Some(reason.to_owned());
            }
        }
    }
}

/// The body of one question.
pub fn chat_body(question: &str, max_tokens: u32, stream: bool) -> Value {
    json!({
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "stream": stream,
    })
}
