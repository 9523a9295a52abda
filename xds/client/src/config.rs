//! How the client reaches the control plane and what it asks for. Holds a token: never prints it.
use std::{collections::BTreeMap, fmt, path::PathBuf, time::Duration};

use tidegate_xds::client::Backoff;
use tonic::{metadata::MetadataValue, transport::Endpoint};

/// What stops a client from starting, each with a stable code that has a page in docs/errors. Later failures are retried, not
/// returned.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address of the control plane cannot be read.
    #[error("TG-1450 the control plane's address `{endpoint}` is not a URI such as http://127.0.0.1:18000")]
    Endpoint {
        endpoint: String,
        #[source]
        source: tonic::transport::Error,
    },
    /// The token's file cannot be read, or it has characters that no header may have.
    #[error("TG-1451 the node token cannot be sent: {reason}")]
    Token { reason: String },
    /// Nothing to ask for.
    #[error("TG-1452 no type is subscribed")]
    NoSubscription,
}

/// The token of a node: as it is, or where it is. A file is read at each connection, so a new token takes effect without a restart.
#[derive(Clone)]
pub enum NodeToken {
    Text(String),
    File(PathBuf),
}

impl NodeToken {
    /// The value of the header `authorization`.
    ///
    /// # Errors
    /// When the file cannot be read, or holds what no header may have.
    pub fn authorization(&self) -> Result<MetadataValue<tonic::metadata::Ascii>, Error> {
        let text = match self {
            Self::Text(text) => text.clone(),
            Self::File(path) => tidegate_program::text_file::read_line(path)
                .map_err(|error| Error::Token { reason: format!("{}: {error}", path.display()) })?,
        };
        let mut value: MetadataValue<_> = format!("Bearer {text}")
            .parse()
            .map_err(|_| Error::Token { reason: "it has characters that no header may have".to_owned() })?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl From<&str> for NodeToken {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for NodeToken {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl fmt::Debug for NodeToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NodeToken(..)")
    }
}

/// See the module.
#[derive(Clone)]
pub struct Config {
    pub(crate) endpoint: String,
    pub(crate) node_id: String,
    token: NodeToken,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) build: String,
    pub(crate) subscriptions: BTreeMap<String, Vec<String>>,
    pub(crate) backoff: Backoff,
    /// Longest wait for a connection to open.
    pub(crate) connect_timeout: Duration,
    /// Pings a quiet connection this often, so that a dead server is noticed.
    pub(crate) keepalive: Duration,
    /// Bytes of one response at most.
    pub(crate) max_response_bytes: usize,
}

impl Config {
    /// Defaults: back-off 0.2 s to 1 s, 16 MiB per response, a ping every 10 s.
    pub fn new(endpoint: impl Into<String>, node_id: impl Into<String>, token: impl Into<NodeToken>) -> Self {
        Self {
            endpoint: endpoint.into(),
            node_id: node_id.into(),
            token: token.into(),
            metadata: BTreeMap::new(),
            build: concat!("tidegate/", env!("CARGO_PKG_VERSION")).to_owned(),
            subscriptions: BTreeMap::new(),
            backoff: Backoff::default(),
            connect_timeout: Duration::from_secs(3),
            keepalive: Duration::from_secs(10),
            max_response_bytes: 16 << 20,
        }
    }

    /// Adds a text to the node's metadata.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.insert(key.into(), value.into());
        self
    }

    /// Asks for these names of a type; `*` for all.
    #[must_use]
    pub fn subscribe<N: Into<String>>(mut self, type_url: &str, names: impl IntoIterator<Item = N>) -> Self {
        self.subscriptions.entry(type_url.to_owned()).or_default().extend(names.into_iter().map(Into::into));
        self
    }

    /// Replaces the waits after failures.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// What the node calls its program in `user_agent_name`.
    #[must_use]
    pub fn build(mut self, build: impl Into<String>) -> Self {
        self.build = build.into();
        self
    }

    pub(crate) fn channel(&self) -> Result<Endpoint, Error> {
        let bad = |source| Error::Endpoint { endpoint: self.endpoint.clone(), source };
        Ok(Endpoint::from_shared(self.endpoint.clone())
            .map_err(bad)?
            .connect_timeout(self.connect_timeout)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(self.keepalive)
            .keep_alive_timeout(self.keepalive)
            .keep_alive_while_idle(true))
    }

    pub(crate) fn authorization(&self) -> Result<MetadataValue<tonic::metadata::Ascii>, Error> {
        self.token.authorization()
    }
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("endpoint", &self.endpoint)
            .field("node_id", &self.node_id)
            .field("token", &"(not shown)")
            .field("subscriptions", &self.subscriptions)
            .finish_non_exhaustive()
    }
}
