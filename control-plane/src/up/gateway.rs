//! Envoy as a part of `up`: a node token of its own, the bootstrap file, and how to ask whether it is ready.
use std::{net::SocketAddr, path::PathBuf};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tidegate_translate::{BootstrapParams, bootstrap};
use tokio::net::{TcpStream, UnixStream};

use super::{plan::Class, postgres::write_private, process::Launch};
use crate::{cli::Client, config::Settings, error::Error};

/// Node id of the gateway that `up` runs.
pub const NODE_ID: &str = "gateway-0";

/// Gets a fresh node token, writes the bootstrap, and says how Envoy is run.
///
/// # Errors
/// When the token cannot be had or a file cannot be written.
pub async fn prepare(settings: &Settings, program: PathBuf, client: &Client) -> Result<Launch, Error> {
    let answer =
        client.post(&["api", "v1", "node-tokens"], &[], &json!({"nodeId": NODE_ID, "role": "Gateway"})).await?;
    let token = answer.get("token").and_then(|t| t.as_str()).unwrap_or_default();
    if token.is_empty() {
        return Err(Error::Answer { url: settings.admin_url(), reason: "no node token in the answer".to_owned() });
    }
    let run = settings.in_data_dir("run");
    let (token_file, bootstrap_file) = (run.join("gateway.token"), run.join("envoy.json"));
    let unusable = |e: std::io::Error| Error::DataDir { path: run.clone(), reason: e.to_string() };
    write_private(&token_file, token).map_err(unusable)?;
    let params = BootstrapParams::local(NODE_ID, settings.grpc_listen, token_file, admin_socket(settings));
    write_private(&bootstrap_file, &bootstrap(&params)).map_err(unusable)?;
    let _ = std::fs::remove_file(admin_socket(settings));
    let args = ["--disable-hot-restart", "--log-level", "warn", "--drain-time-s", "5", "-c"];
    let args = args.map(Into::into).into_iter().chain([bootstrap_file.into()]).collect();
    Ok(Launch { program, args, env: Vec::new(), user: None, class: Class::Gateway })
}

/// `<data>/envoy-admin.sock`.
pub fn admin_socket(settings: &Settings) -> PathBuf {
    settings.in_data_dir("envoy-admin.sock")
}

/// Whether Envoy has its configuration and takes requests.
pub async fn ready(settings: &Settings) -> bool {
    live(&admin_socket(settings)).await.unwrap_or(false)
        && TcpStream::connect(loopback(settings.gateway_listen)).await.is_ok()
}

fn loopback(address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() { SocketAddr::from(([127, 0, 0, 1], address.port())) } else { address }
}

async fn live(socket: &std::path::Path) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let driver = tokio::spawn(connection);
    let request = Request::get("/ready").header("host", "envoy").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let ok = response.status().is_success();
    let _ = response.into_body().collect().await;
    driver.abort();
    Ok(ok)
}
