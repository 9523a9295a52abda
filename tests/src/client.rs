//! A client of the gateway, as an application would write one: chat, streams, embeddings, with whatever headers.
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::Bytes;
use futures::{StreamExt, stream::BoxStream};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

/// The model of the examples.
pub const CHAT_MODEL: &str = "tide-chat";

/// How many tokens [`Client::chat`] asks for.
pub const CHAT_TOKENS: usize = 24;

/// What a version said, however it was asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Words {
    /// The version that the worker says it ran.
    pub version: String,
    pub text: String,
    pub finish_reason: Option<String>,
}

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

    /// Version, text and the reason of its end.
    pub fn words(&self) -> Words {
        let finish_reason = self.json()["choices"][0]["finish_reason"].as_str().map(str::to_owned);
        Words { version: self.version().to_owned(), text: self.text(), finish_reason }
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
    pub words: Words,
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

    /// One question to the chat model, greedy, at most [`CHAT_TOKENS`].
    ///
    /// # Errors
    /// When no whole answer came.
    pub async fn chat(&self, question: &str, headers: &[(&str, &str)]) -> Result<Answer> {
        self.send("/v1/chat/completions", &chat_body(question, CHAT_TOKENS, false), headers).await
    }

    /// One question, answered as a stream that is read to its end.
    ///
    /// # Errors
    /// When it was refused, broke, or ended without `[DONE]`, a reason or with an `error` event.
    pub async fn stream(&self, question: &str, max_tokens: usize, headers: &[(&str, &str)]) -> Result<Words> {
        let streamed = self.open(question, max_tokens, headers).await?.finish().await?;
        ensure!(streamed.done && streamed.error.is_none(), "the stream ended early: {streamed:?}");
        Ok(streamed.words)
    }

    /// One question, answered as a stream; returns once the answer has begun, with its first event read.
    ///
    /// # Errors
    /// When it was refused, or broke before its first event.
    pub async fn open(&self, question: &str, max_tokens: usize, headers: &[(&str, &str)]) -> Result<OpenStream> {
        let response = self.post("/v1/chat/completions", &chat_body(question, max_tokens, true), headers);
        let response = response.send().await?;
        let status = response.status().as_u16();
        if status != 200 {
            bail!("status {status}: {}", response.text().await.unwrap_or_default());
        }
        let version = response.headers().get("x-tidegate-model-version").and_then(|v| v.to_str().ok());
        let mut streamed = Streamed::default();
        streamed.words.version = version.unwrap_or_default().to_owned();
        let mut open = OpenStream { streamed, pending: String::new(), chunks: response.bytes_stream().boxed() };
        ensure!(open.read().await?, "the stream ended before its first event");
        Ok(open)
    }
}

/// A streamed answer that has begun.
pub struct OpenStream {
    streamed: Streamed,
    pending: String,
    chunks: BoxStream<'static, reqwest::Result<Bytes>>,
}

impl OpenStream {
    /// Reads on; false at the end.
    async fn read(&mut self) -> Result<bool> {
        let Some(chunk) = self.chunks.next().await else { return Ok(false) };
        self.pending.push_str(&String::from_utf8_lossy(&chunk.context("the stream broke")?));
        while let Some(end) = self.pending.find("\n\n") {
            let event: String = self.pending.drain(..end + 2).collect();
            self.streamed.take(event.trim());
        }
        Ok(true)
    }

    /// Reads to the end.
    ///
    /// # Errors
    /// When the stream broke; an `error` event is no error here.
    pub async fn finish(mut self) -> Result<Streamed> {
        while self.read().await? {}
        Ok(self.streamed)
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
            self.words.text.push_str(choice["delta"]["content"].as_str().unwrap_or_default());
            if let Some(reason) = choice["finish_reason"].as_str() {
                self.words.finish_reason = Some(reason.to_owned());
            }
        }
    }
}

/// The body of one question.
pub fn chat_body(question: &str, max_tokens: usize, stream: bool) -> Value {
    json!({
        "model": CHAT_MODEL,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": max_tokens,
        "stream": stream,
    })
}
