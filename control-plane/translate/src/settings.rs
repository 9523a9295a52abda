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
            otlp: None,
            idle_timeout: Duration::from_secs(300),
            stream_idle_timeout: Duration::from_secs(600),
            request_timeout: Duration::from_secs(3_600),
        }
    }
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
