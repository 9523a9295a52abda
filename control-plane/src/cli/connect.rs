//! How the command line reaches the admin API: where it is, with which token. The token is read from a file, sent only over loopback
//! or TLS, and never printed.
use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpStream},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::builder::{OsStringValueParser, TypedValueParser as _};

use reqwest::{Method, StatusCode, Url, header};
use serde_json::Value;
use tidegate_program::text_file;
use tokio::sync::OnceCell;

use super::{pinned, proof::Shown};
use crate::{
    config::{SERVER_FILE, Secret},
    error::Error,
    problem::Problem,
};

/// Longest wait for one answer.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An answer that is longer is no answer of Tidegate.
const MAX_ANSWER: usize = 64 << 20;

/// Where the admin API is.
#[derive(Clone, Debug, Default, clap::Args)]
#[command(next_help_heading = "Connection")]
pub struct ConnectArgs {
    /// URL of the admin API. Default: what the server wrote into the data directory, then http://127.0.0.1:9080
    #[arg(long, value_name = "URL", env = "TIDEGATE_SERVER")]
    pub server: Option<String>,
    /// File with the admin token. Default: admin-token in the data directory
    #[arg(long, value_name = "FILE", env = "TIDEGATE_TOKEN_FILE", value_parser = any_path())]
    pub token_file: Option<PathBuf>,
    /// PEM certificates to trust for https, instead of the system's
    #[arg(long, value_name = "FILE", env = "TIDEGATE_CA_FILE", value_parser = any_path())]
    pub ca_file: Option<PathBuf>,
    /// Data directory of the server on this machine. Default: .tidegate, then /var/lib/tidegate
    #[arg(long, value_name = "DIR", env = "TIDEGATE_DATA_DIR", value_parser = any_path())]
    pub data_dir: Option<PathBuf>,
    /// The server's certificate, where it is known: nothing else is trusted then.
    #[arg(skip)]
    pub certificate: Option<PathBuf>,
}

/// A connection to the admin API.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    token: Secret,
    token_file: PathBuf,
    origin: Origin,
    /// Filled when the server has shown that it knows the token.
    proven: OnceCell<()>,
}

/// How the server's URL is known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Origin {
    /// From `--server` or its variable.
    Given,
    /// From what a server wrote into this data directory.
    DataDir(PathBuf),
    /// Nothing says where it is.
    Default,
}

/// What the connection is made from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Place {
    pub server: String,
    pub token_file: PathBuf,
    pub origin: Origin,
    /// The certificate of a server of this machine.
    pub certificate: Option<PathBuf>,
}

/// What a server writes into the data directory: where it listens.
const URLS: &str = SERVER_FILE;
/// What a server writes into the data directory: its first token.
const TOKEN: &str = "admin-token";
/// Where a server listens that was told nothing.
const DEFAULT_SERVER: &str = "http://127.0.0.1:9080";

impl ConnectArgs {
    fn data_dirs(&self) -> Vec<PathBuf> {
        match given(self.data_dir.as_ref()) {
            Some(dir) => vec![dir.clone()],
            None => vec![PathBuf::from(".tidegate"), PathBuf::from("/var/lib/tidegate")],
        }
    }

    /// URL and token file. What is not named comes from one data directory, so that no token goes to another's server.
    ///
    /// # Errors
    /// TG-1511 when nothing names a token, TG-1518.
    pub(super) fn place(&self, dirs: &[PathBuf]) -> Result<Place, Error> {
        let server = self.server.clone().filter(|s| !s.is_empty());
        let token_file = given(self.token_file.as_ref()).cloned();
        let wanted: &[&str] = match (&server, &token_file) {
            (None, None) => &[URLS, TOKEN],
            (None, Some(_)) => &[URLS],
            (Some(_), None) => &[TOKEN],
            (Some(_), Some(_)) => &[],
        };
        let found = dirs.iter().find(|dir| wanted.iter().any(|file| dir.join(file).symlink_metadata().is_ok()));
        if let Some(dir) = found {
            check_owner(dir)?;
        }
        let written = if server.is_none() { found.and_then(|dir| Some((dir, written(dir)?))) } else { None };
        let certificate = self.certificate.clone().or_else(|| written.as_ref()?.1.certificate_file.clone());
        let (server, origin) = match (server, written) {
            (Some(server), _) => (server, Origin::Given),
            (None, Some((dir, written))) => (written.admin_url, Origin::DataDir(dir.clone())),
            (None, None) => (DEFAULT_SERVER.to_owned(), Origin::Default),
        };
        let none = || {
            let looked: Vec<String> = dirs.iter().map(|d| d.join(TOKEN).display().to_string()).collect();
            Error::NoToken { reason: format!("there is no {}", looked.join(" and no ")) }
        };
        let token_file = token_file.or_else(|| Some(found?.join(TOKEN))).ok_or_else(none)?;
        Ok(Place { server, token_file, origin, certificate })
    }

    /// Finds server and token. Connects to nothing yet.
    ///
    /// # Errors
    /// TG-1511, TG-1514, TG-1515, TG-1516, TG-1518.
    pub fn client(&self) -> Result<Client, Error> {
        let Place { server, token_file, origin, certificate } = self.place(&self.data_dirs())?;
        let mut base = Url::parse(&server).map_err(|e| Error::Usage(format!("--server {server:?} is no URL: {e}")))?;
        let loopback = is_loopback(&base);
        match base.scheme() {
            "https" => {}
            "http" if loopback => {}
            "http" => return Err(Error::TokenInClear { url: base.to_string() }),
            other => return Err(Error::Usage(format!("--server must begin with http:// or https://, not {other}://"))),
        }
        if base.scheme() == "http" {
            name_by_address(&mut base);
        }
        let mut http = reqwest::Client::builder()
            .timeout(TIMEOUT)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("tidegate/", env!("CARGO_PKG_VERSION")));
        if loopback {
            http = http.no_proxy();
        }
        if let Some(path) = given(self.ca_file.as_ref()) {
            http = http.tls_certs_only(ca_certificates(path)?);
        } else if let Some(path) = certificate.filter(|_| base.scheme() == "https") {
            http = http.tls_backend_preconfigured(pinned::client_config(&path)?);
        }
        let http = http.build().map_err(|e| Error::Usage(format!("the HTTP client could not be made: {e}")))?;
        Ok(Client { http, base, token: read_token(&token_file)?, token_file, origin, proven: OnceCell::new() })
    }
}

/// As text is taken, empty text too, which clap's own parser of paths refuses.
fn any_path() -> impl clap::builder::TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// An empty path is how compose files write a variable that is not set.
fn given(path: Option<&PathBuf>) -> Option<&PathBuf> {
    path.filter(|p| !p.as_os_str().is_empty())
}

/// Refuses a data directory that somebody else could have laid out to lead a token astray.
fn check_owner(dir: &Path) -> Result<(), Error> {
    let me = rustix::process::geteuid().as_raw();
    let files = [URLS, TOKEN].map(|file| dir.join(file));
    let owners = files.iter().map(|file| (file.as_path(), file.symlink_metadata()));
    for (path, meta) in std::iter::once((dir, dir.metadata())).chain(owners) {
        if let Ok(meta) = meta
            && !trusted(meta.uid(), me)
        {
            return Err(Error::ForeignDataDir { path: path.to_owned(), owner: meta.uid() });
        }
    }
    Ok(())
}

/// Whether what belongs to `owner` may say where the token of `me` goes.
pub(super) fn trusted(owner: u32, me: u32) -> bool {
    owner == me || owner == 0
}

/// What a server wrote about itself.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Written {
    admin_url: String,
    #[serde(default)]
    certificate_file: Option<PathBuf>,
}

fn written(dir: &Path) -> Option<Written> {
    serde_json::from_str(&std::fs::read_to_string(dir.join(URLS)).ok()?).ok()
}

/// `localhost` is two addresses, and only one of them may be the server's: the one that answers is taken, once.
fn name_by_address(base: &mut Url) {
    if base.host_str() != Some("localhost") {
        return;
    }
    let port = base.port_or_known_default().unwrap_or(80);
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let answers = |ip: IpAddr| TcpStream::connect_timeout(&(ip, port).into(), Duration::from_millis(500)).is_ok();
    let ip = if !answers(Ipv4Addr::LOCALHOST.into()) && answers(v6) { v6 } else { Ipv4Addr::LOCALHOST.into() };
    let _ = base.set_ip_host(ip);
}

fn read_token(file: &Path) -> Result<Secret, Error> {
    let line = text_file::read_line(file);
    line.map(Secret::new).map_err(|problem| Error::NoToken { reason: format!("{}: {problem}", file.display()) })
}

fn is_loopback(url: &Url) -> bool {
    match url.host_str() {
        Some("localhost") => true,
        Some(host) => host.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback()),
        None => false,
    }
}

fn ca_certificates(path: &Path) -> Result<Vec<reqwest::Certificate>, Error> {
    let refuse = |reason: String| Error::CaFile { path: path.to_owned(), reason };
    let pem = text_file::read(path, text_file::MAX_SMALL).map_err(|e| refuse(e.to_string()))?;
    let certificates = reqwest::Certificate::from_pem_bundle(pem.as_bytes())
        .map_err(|_| refuse("a certificate in it cannot be read; PEM text is wanted".to_owned()))?;
    if certificates.is_empty() {
        return Err(refuse("it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)".to_owned()));
    }
    Ok(certificates)
}

/// What the server answered.
#[derive(Debug)]
pub struct Reply {
    pub body: Value,
    /// What is allowed but probably not meant: the texts of the `Warning` headers.
    pub warnings: Vec<String>,
}

/// `299 tidegate "text"`, each text as a JSON string.
fn warnings(headers: &header::HeaderMap) -> Vec<String> {
    let values = headers.get_all(header::WARNING).iter().filter_map(|v| v.to_str().ok());
    values.filter_map(|v| serde_json::from_str(v.strip_prefix("299 tidegate ")?).ok()).collect()
}

/// The refusal that an answer holds.
pub(super) fn problem(bytes: &[u8], status: reqwest::StatusCode) -> Option<Problem> {
    let mut problem: Problem = serde_json::from_slice(bytes).ok()?;
    problem.status = status.as_u16();
    (!problem.title.is_empty() || !problem.code.is_empty()).then_some(problem)
}

impl Client {
    pub(super) fn http(&self) -> &reqwest::Client {
        &self.http
    }

    pub(super) fn base(&self) -> &Url {
        &self.base
    }

    /// Nobody answered; where somebody was expected, and why.
    pub(super) fn unreachable(&self, source: reqwest::Error) -> Error {
        let hint = match &self.origin {
            Origin::Given => "is `tidegate up` or `tidegate serve` running there?".to_owned(),
            Origin::DataDir(dir) => format!(
                "the server of {0} last listened there; start it with `tidegate up --data-dir {0}` or `tidegate serve`",
                dir.display()
            ),
            Origin::Default => {
                "no server has left its address in the data directory; --data-dir or --server names another".to_owned()
            }
        };
        Error::Unreachable { url: self.base.to_string(), hint, source: source.without_url() }
    }

    /// Makes sure that the server knows the token, before it gets it. A certificate is proof enough.
    async fn prove(&self) -> Result<(), Error> {
        if self.base.scheme() == "https" {
            return Ok(());
        }
        let prove = async || match self.ask_for_proof(self.token.reveal()).await? {
            Shown::Knows => Ok(()),
            Shown::Unknown => Err(self.unknown_token(false)),
        };
        self.proven.get_or_try_init(prove).await?;
        Ok(())
    }

    fn unknown_token(&self, sent: bool) -> Error {
        Error::UnknownToken { url: self.base.to_string(), file: self.token_file.clone(), sent }
    }

    /// The URL of a path under the server; each segment is escaped.
    pub fn url(&self, segments: &[&str], query: &[(&str, &str)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// # Errors
    /// TG-1510 when nobody answers, the server's own code when it refuses, TG-1513 when the answer makes no sense.
    async fn send(&self, method: Method, url: Url, body: Option<&Value>) -> Result<Value, Error> {
        let mut request = self.http.request(method, url);
        if let Some(body) = body {
            request = request.json(body);
        }
        Ok(self.exchange(request).await?.body)
    }

    /// As [`Client::send`], only if the object's resourceVersion is still `version`.
    ///
    /// # Errors
    /// As the other calls; 409 when it is not.
    pub async fn send_if(&self, method: Method, url: Url, version: Option<&str>) -> Result<Reply, Error> {
        let mut request = self.http.request(method, url);
        if let Some(version) = version {
            request = request.header(header::IF_MATCH, format!("\"{version}\""));
        }
        self.exchange(request).await
    }

    async fn exchange(&self, request: reqwest::RequestBuilder) -> Result<Reply, Error> {
        self.prove().await?;
        let request = request
            .header(header::AUTHORIZATION, self.bearer()?)
            .header(header::ACCEPT, "application/json, application/problem+json");
        let shown = self.base.to_string();
        let unreachable = |source: reqwest::Error| self.unreachable(source);
        let mut response = request.send().await.map_err(unreachable)?;
        let (status, warnings) = (response.status(), warnings(response.headers()));
        let mut bytes = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(unreachable)? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > MAX_ANSWER {
                return Err(Error::Answer { url: shown, reason: "it is longer than 64 MiB".to_owned() });
            }
        }
        if status.is_success() {
            let body = if bytes.is_empty() { Ok(Value::Null) } else { serde_json::from_slice(&bytes) };
            let body = body.map_err(|e| Error::Answer { url: shown, reason: e.to_string() })?;
            return Ok(Reply { body, warnings });
        }
        match problem(&bytes, status) {
            Some(_) if status == StatusCode::UNAUTHORIZED => Err(self.unknown_token(true)),
            Some(problem) => Err(Error::Refused(Box::new(problem))),
            None => Err(Error::Answer { url: shown, reason: format!("status {status} without an explanation") }),
        }
    }

    /// Where the server is, for a message.
    pub(crate) fn shown_url(&self) -> String {
        self.base.to_string()
    }

    /// The administrator's token; for who asks about it.
    pub(crate) fn token(&self) -> &Secret {
        &self.token
    }

    fn bearer(&self) -> Result<header::HeaderValue, Error> {
        let mut value = header::HeaderValue::from_str(&format!("Bearer {}", self.token.reveal()))
            .map_err(|_| Error::NoToken { reason: "the file holds characters that no token has".to_owned() })?;
        value.set_sensitive(true);
        Ok(value)
    }

    pub async fn get(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        self.send(Method::GET, self.url(segments, query), None).await
    }

    pub async fn post(&self, segments: &[&str], query: &[(&str, &str)], body: &Value) -> Result<Value, Error> {
        self.send(Method::POST, self.url(segments, query), Some(body)).await
    }

    pub async fn delete(&self, segments: &[&str], query: &[(&str, &str)]) -> Result<Value, Error> {
        self.send(Method::DELETE, self.url(segments, query), None).await
    }

    /// Every item of a paged listing, and the listing's other fields.
    pub async fn list(&self, segments: &[&str], query: &[(&str, &str)], most: usize) -> Result<Vec<Value>, Error> {
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let limit = most.saturating_sub(items.len()).clamp(1, 500).to_string();
            let mut query = query.to_vec();
            query.push(("limit", &limit));
            if let Some(token) = &next {
                query.push(("continue", token));
            }
            let page = self.get(segments, &query).await?;
            let found = page.get("items").and_then(Value::as_array).cloned().unwrap_or_default();
            let empty = found.is_empty();
            items.extend(found);
            let token = page.pointer("/metadata/continue").or_else(|| page.get("continue")).and_then(Value::as_str);
            next = token.filter(|t| !t.is_empty()).map(str::to_owned);
            if next.is_none() || empty || items.len() >= most {
                items.truncate(most);
                return Ok(items);
            }
        }
    }
}
