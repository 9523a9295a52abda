//! Which names this server answers to. A page that a browser shows may make a name of its own point at this machine (DNS rebinding) and
//! then read what the browser is answered; it cannot choose the `Host` and `Origin` that the browser sends. It never looks at tokens.
use std::{net::IpAddr, sync::Arc};

use axum::{
    extract::{Request, State},
    middleware::Next,
    response::Response,
};
use http::{HeaderMap, HeaderName, header, uri::Authority};

use super::{ApiError, Tls};

const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
/// What is shown of a name that was sent.
const SHOWN: usize = 100;

/// See the module.
#[derive(Clone, Debug, Default)]
pub struct Hosts(Arc<Names>);

#[derive(Debug, Default)]
struct Names {
    /// From the settings, in lower case.
    configured: Vec<String>,
    /// From the certificate, in lower case; `*.` stands for one label.
    certified: Vec<String>,
    /// It listens beyond loopback, where an address by itself is no sign of a trick: probes call a pod by it.
    any_address: bool,
}

impl Hosts {
    /// For a server that listens on `address`: it is called by loopback names, by the names that are `configured`, and with TLS by
    /// those of its certificate; beyond loopback by any address too.
    #[must_use]
    pub fn new(address: IpAddr, configured: &[String], tls: Option<&Tls>) -> Self {
        let lower = |name: &String| name.trim_end_matches('.').to_ascii_lowercase();
        Self(Arc::new(Names {
            configured: configured.iter().map(lower).collect(),
            certified: tls.map(Tls::names).unwrap_or_default().iter().map(lower).collect(),
            any_address: !address.to_canonical().is_loopback(),
        }))
    }

    fn is_ours(&self, host: &str) -> bool {
        let Names { certified, any_address, .. } = &*self.0;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        if let Ok(address) = host.trim_matches(['[', ']']).parse::<IpAddr>() {
            return *any_address || address.to_canonical().is_loopback() || self.is_configured(&host);
        }
        host == "localhost" || self.is_configured(&host) || certified.iter().any(|name| covers(name, &host))
    }

    fn is_configured(&self, host: &str) -> bool {
        let bare = host.trim_matches(['[', ']']);
        self.0.configured.iter().any(|name| name == bare)
    }

    fn check(&self, request: &Request) -> Result<(), ApiError> {
        let host = named(request)?;
        if !self.is_ours(host.host()) {
            return Err(ApiError::OtherHost { host: shown(host.host()) });
        }
        self.check_page(request.headers(), &host)
    }

    /// Whether a page in a browser asks, and which: only our own, and those of hosts that are configured.
    fn check_page(&self, headers: &HeaderMap, host: &Authority) -> Result<(), ApiError> {
        for origin in headers.get_all(header::ORIGIN) {
            let text = origin.to_str().unwrap_or_default();
            let page = text.split_once("://").and_then(|(_, rest)| rest.parse::<Authority>().ok());
            let ours = page.is_some_and(|page| {
                page.as_str().eq_ignore_ascii_case(host.as_str())
                    || self.is_configured(&page.host().to_ascii_lowercase())
            });
            if !ours {
                return Err(ApiError::OtherOrigin { origin: shown(text) });
            }
        }
        // A browser that sends no Origin says this all the same.
        match headers.get(FETCH_SITE).map(|site| site.as_bytes()) {
            Some(b"cross-site" | b"same-site") if !headers.contains_key(header::ORIGIN) => {
                Err(ApiError::OtherOrigin { origin: "another site".to_owned() })
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Whether a name of a certificate is that of the host.
fn covers(name: &str, host: &str) -> bool {
    match name.strip_prefix("*.") {
        Some(parent) => host.split_once('.').is_some_and(|(_, rest)| rest == parent),
        None => name == host,
    }
}

/// Whom a request is for: `:authority` in HTTP/2, `Host` in HTTP/1.1.
fn named(request: &Request) -> Result<Authority, ApiError> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => {
            let host = host.to_str().ok().and_then(|host| host.parse::<Authority>().ok());
            // `user@host` is for addresses that people type, not for a Host.
            let host = host.filter(|host| !host.as_str().contains('@'));
            Some(host.ok_or(ApiError::NoHost { what: "the Host header is no host name or address" })?)
        }
        (Some(_), Some(_)) => return Err(ApiError::NoHost { what: "there is more than one Host header" }),
        (None, _) => None,
    };
    match (request.uri().authority(), host) {
        (Some(authority), Some(host)) if *authority != host => {
            Err(ApiError::NoHost { what: "the address and the Host header name different hosts" })
        }
        (Some(authority), _) => Ok(authority.clone()),
        (None, Some(host)) => Ok(host),
        (None, None) => Err(ApiError::NoHost { what: "there is no Host header" }),
    }
}

fn shown(text: &str) -> String {
    text.chars().take(SHOWN).collect()
}

/// Before anything else of a request.
pub async fn check(State(hosts): State<Hosts>, request: Request, next: Next) -> Result<Response, ApiError> {
    hosts.check(&request)?;
    Ok(next.run(request).await)
}
