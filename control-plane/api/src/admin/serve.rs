//! The admin API on a socket, with or without TLS. Beyond loopback it is served only with TLS and a token.
use std::{future::Future, net::SocketAddr, sync::Arc, time::Duration};

use axum::Router;
use axum_server::{Handle, tls_rustls::RustlsConfig};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};

/// How long open requests may take after a shutdown was asked for.
const DRAIN: Duration = Duration::from_secs(5);

/// Why the admin API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum BindError {
    #[error(
        "the admin API at {addr} can be reached from other machines: give it TLS (certificate and key) and a token, or bind it to 127.0.0.1"
    )]
    Exposed { addr: SocketAddr },
    #[error("the TLS certificate or key of the admin API cannot be used")]
    Tls(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the admin API cannot be served")]
    Serve(#[source] std::io::Error),
}

impl BindError {
    /// Stable code; the page docs/errors/<code>.md says what to do.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Exposed { .. } => "TG-1320",
            Self::Tls(_) => "TG-1321",
            Self::Serve(_) => "TG-1322",
        }
    }
}

/// A certificate chain and its key, read and checked.
#[derive(Clone)]
pub struct Tls {
    config: Arc<rustls::ServerConfig>,
    /// Host names of the certificate.
    names: Vec<String>,
}

impl Tls {
    /// From the text of PEM files.
    ///
    /// # Errors
    /// [`BindError::Tls`] when one is no PEM, or when the key does not fit the certificate.
    pub fn from_pem(certificates: &str, key: &str) -> Result<Self, BindError> {
        let wrong = |e: rustls::pki_types::pem::Error| BindError::Tls(Box::new(e));
        let chain = CertificateDer::pem_slice_iter(certificates.as_bytes());
        let chain = chain.collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        let key = PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(wrong)?;
        let names = chain.first().map(names).unwrap_or_default();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .and_then(|b| b.with_no_client_auth().with_single_cert(chain, key))
            .map_err(|e| BindError::Tls(Box::new(e)))?;
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Ok(Self { config: Arc::new(config), names })
    }

    /// Host names that the certificate is for, `*.` in front for one label.
    pub(super) fn names(&self) -> Vec<String> {
        self.names.clone()
    }
}

fn names(certificate: &CertificateDer<'_>) -> Vec<String> {
    let Ok(parsed) = webpki::EndEntityCert::try_from(certificate) else { return Vec::new() };
    parsed.valid_dns_names().map(str::to_owned).collect()
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Refuses an address beyond loopback without TLS and a token.
///
/// # Errors
/// [`BindError::Exposed`].
pub fn guard_bind(addr: SocketAddr, tls: bool, token: bool) -> Result<(), BindError> {
    // An IPv4 address in IPv6 clothes is the IPv4 address.
    if addr.ip().to_canonical().is_loopback() || (tls && token) { Ok(()) } else { Err(BindError::Exposed { addr }) }
}

/// Serves until `shutdown` resolves, then lets open requests end within five seconds. The listener's address must have
/// passed [`guard_bind`]; it is checked again here (with a token taken for granted: the router always asks for one).
///
/// # Errors
/// See [`BindError`].
pub async fn serve(
    listener: std::net::TcpListener,
    router: Router,
    tls: Option<Tls>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), BindError> {
    let addr = listener.local_addr().map_err(BindError::Serve)?;
    guard_bind(addr, tls.is_some(), true)?;
    listener.set_nonblocking(true).map_err(BindError::Serve)?;
    let handle = Handle::new();
    let stopper = handle.clone();
    let stop = tokio::spawn(async move {
        shutdown.await;
        stopper.graceful_shutdown(Some(DRAIN));
    });
    let service = router.into_make_service();
    let served = match tls {
        None => {
            let mut server = axum_server::from_tcp(listener).map_err(BindError::Serve)?;
            server.http_builder().http1().header_read_timeout(Duration::from_secs(10));
            server.handle(handle).serve(service).await
        }
        Some(Tls { config, .. }) => {
            let config = RustlsConfig::from_config(config);
            let mut server = axum_server::from_tcp_rustls(listener, config).map_err(BindError::Serve)?;
            server.http_builder().http1().header_read_timeout(Duration::from_secs(10));
            server.handle(handle).serve(service).await
        }
    };
    stop.abort();
    served.map_err(BindError::Serve)
}
