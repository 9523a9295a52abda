//! What an operator sets about a gateway, as opposed to what policies say. Plain data.
use std::{net::SocketAddr, time::Duration};

/// Settings of all gateways of one control plane.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct GatewaySettings {
    /// Where Envoy listens for clients.
    pub listen: SocketAddr,
    /// False: a request without an API key passes and has no tenant; a wrong or revoked key is refused all the same.
    pub require_api_key: bool,
    /// Largest request body in bytes; a larger one is answered 413.
    pub max_body_bytes: u32,
    /// Web pages of these origins may call; none: no page of another origin can.
    pub cors_origins: Vec<CorsOrigin>,
    /// Where Envoy sends spans.
    pub otlp: Option<Otlp>,
    /// A client connection without requests is closed after this long.
    pub idle_timeout: Duration,
    /// A request on which nothing moves in either direction for this long is ended. Must exceed the longest time to first token.
    pub stream_idle_timeout: Duration,
    /// A whole request, streamed answer included.
    pub request_timeout: Duration,
}

impl Default for GatewaySettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 10_000)),
            require_api_key: true,
            max_body_bytes: 1 << 20,
            cors_origins: Vec::new(),
            otlp: None,
            idle_timeout: Duration::from_secs(300),
            stream_idle_timeout: Duration::from_secs(600),
            request_timeout: Duration::from_secs(3_600),
        }
    }
}

/// Whose pages may call, as an operator writes it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CorsOrigin {
    /// `*`
    Any,
    /// `https://app.example.com`, as a browser writes it in `Origin`.
    Exactly(String),
    /// `https://*.example.com`: every host under that domain, not the domain itself.
    Under { scheme: String, domain: String },
}

impl CorsOrigin {
    /// What may be written.
    pub const EXPECTED: &str =
        "*, or scheme://host[:port] such as https://app.example.com or https://*.example.com, without a path";
}

impl std::str::FromStr for CorsOrigin {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let text = text.to_ascii_lowercase();
        let (scheme, rest) = text.split_once("://").ok_or(Self::EXPECTED)?;
        // A browser leaves out the port that the scheme implies.
        let implied = match scheme {
            "https" => ":443",
            "http" => ":80",
            _ => "",
        };
        let host = rest.strip_suffix(implied).unwrap_or(rest);
        let (under, named) = host.strip_prefix("*.").map_or((false, host), |domain| (true, domain));
        if !is_scheme(scheme) || !is_host(named) {
            return Err(Self::EXPECTED);
        }
        let scheme = scheme.to_owned();
        Ok(match under {
            true => Self::Under { scheme, domain: named.to_owned() },
            false => Self::Exactly(format!("{scheme}://{named}")),
        })
    }
}

/// RFC 3986 §3.1; pages of extensions and apps have schemes of their own.
fn is_scheme(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
}

/// A name or an address, perhaps with a port.
fn is_host(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        Some(_) | None => (text, None),
    };
    let name = host
        .split('.')
        .all(|label| !label.is_empty() && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_'));
    let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let address = address.is_some_and(|host| host.parse::<std::net::Ipv6Addr>().is_ok());
    (name || address) && port.is_none_or(|port| port.parse::<u16>().is_ok_and(|port| port > 0))
}

/// An OTLP/gRPC receiver in clear text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Otlp {
    /// IP address or DNS name.
    pub host: String,
    pub port: u16,
    /// Share of requests without a `traceparent` that are traced, per cent.
    pub sample_percent: u8,
}

#[cfg(test)]
mod tests {
    use super::CorsOrigin;

    #[test]
    fn an_origin_is_what_a_browser_writes() {
        let exactly = |text: &str| Ok(CorsOrigin::Exactly(text.to_owned()));
        for (given, expected) in [
            ("*", Ok(CorsOrigin::Any)),
            ("https://app.example.com", exactly("https://app.example.com")),
            ("HTTPS://App.Example.com:443", exactly("https://app.example.com")),
            ("http://localhost:5173", exactly("http://localhost:5173")),
            ("http://localhost:80", exactly("http://localhost")),
            ("http://[::1]:3000", exactly("http://[::1]:3000")),
            ("http://127.0.0.1", exactly("http://127.0.0.1")),
            ("chrome-extension://abcdefgh", exactly("chrome-extension://abcdefgh")),
            (
                "https://*.example.com:8443",
                Ok(CorsOrigin::Under { scheme: "https".to_owned(), domain: "example.com:8443".to_owned() }),
            ),
        ] {
            assert_eq!(given.parse(), expected, "{given}");
        }
        for bad in [
            "",
            "null",
            "example.com",
            "https://",
            "https://a.b/",
            "https://a.b/path",
            "https://a..b",
            "https://a b",
            "https://*",
            "https://*.",
            "https://*.*.b",
            "https://a.*.b",
            "https://a:0",
            "https://a:99999",
            "://a",
            "https://user@a.b",
            "https://[::zz]",
            "https://a.b?x",
            "1x://a",
            "**",
        ] {
            assert_eq!(bad.parse::<CorsOrigin>(), Err(CorsOrigin::EXPECTED), "{bad}");
        }
    }
}
