//! Envoy as a part of `up`: a node token of its own, the bootstrap file, and how to ask whether it is ready.
use std::{net::SocketAddr, path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{Request, StatusCode, body::Bytes};
use hyper_util::rt::TokioIo;
use tidegate_api::credentials::proof::key_id;
use tidegate_translate::{BootstrapParams, bootstrap, token_secret};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::{plan::Class, process::Launch, tokens};
use crate::{
    addresses,
    admin_token::write_private,
    cli::Client,
    config::{Settings, reachable},
    error::Error,
};

/// Node id of the gateway that `up` runs.
pub const NODE_ID: &str = "gateway-0";

/// Gets a fresh node token, writes the bootstrap, and says how Envoy is run.
///
/// # Errors
/// When the token cannot be had or a file cannot be written.
pub async fn prepare(settings: &Settings, program: PathBuf, client: &Client) -> Result<Launch, Error> {
    // The Envoy of an earlier start is gone, and its token with it.
    let token = tokens::fresh(client, NODE_ID, None, Some(0)).await?;
    let run = settings.in_data_dir("run");
    let bootstrap_file = run.join("envoy.json");
    let unusable = |e: std::io::Error| Error::DataDir { path: run.clone(), reason: e.to_string() };
    hand_over(settings, &token).map_err(unusable)?;
    let params = BootstrapParams {
        secret_file: Some(secret_file(settings)),
        ..BootstrapParams::local(NODE_ID, settings.grpc_listen, PathBuf::new(), admin_socket(settings))
    };
    write_private(&bootstrap_file, &bootstrap(&params)).map_err(unusable)?;
    let _ = std::fs::remove_file(admin_socket(settings));
    let args = ["--disable-hot-restart", "--log-level", "warn", "--drain-time-s", "5", "-c"];
    let args = args.map(Into::into).into_iter().chain([bootstrap_file.into()]).collect();
    Ok(Launch { program, args, env: Vec::new(), user: None, operators_database: false, class: Class::Gateway })
}

/// Where Envoy finds its node token; it looks again when the file is replaced.
fn secret_file(settings: &Settings) -> PathBuf {
    settings.in_data_dir("run").join("gateway-secret.json")
}

fn token_files(settings: &Settings) -> Vec<PathBuf> {
    let files = std::fs::read_dir(settings.in_data_dir("run")).into_iter().flatten().flatten();
    let name = |path: &PathBuf| path.file_name().and_then(|n| n.to_str()).map(str::to_owned);
    let ours = |path: &PathBuf| name(path).is_some_and(|n| n.starts_with("gateway-") && n.ends_with(".token"));
    files.map(|entry| entry.path()).filter(ours).collect()
}

/// The token that Envoy has now.
pub fn token(settings: &Settings) -> Option<String> {
    let file = token_files(settings).into_iter().max_by_key(|file| file.metadata().and_then(|m| m.modified()).ok())?;
    Some(std::fs::read_to_string(file).ok()?.trim().to_owned())
}

/// Gives Envoy a token, also while it runs. Each has a file of its own: only another name makes Envoy read again.
///
/// # Errors
/// When a file cannot be written.
pub fn hand_over(settings: &Settings, token: &str) -> std::io::Result<()> {
    let file = settings.in_data_dir("run").join(format!("gateway-{}.token", key_id(token)));
    write_private(&file, token)?;
    // The newest file is taken for what Envoy has: one that Envoy was not told of must not stay.
    write_private(&secret_file(settings), &token_secret(&file)).inspect_err(|_| drop(std::fs::remove_file(&file)))?;
    // Envoy may still be about to read the one before; older ones go.
    for old in token_files(settings).into_iter().filter(|old| *old != file) {
        let recent = old.metadata().and_then(|m| m.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age < KEEP));
        if !recent {
            let _ = std::fs::remove_file(old);
        }
    }
    Ok(())
}

/// `<data>/envoy-admin.sock`.
pub fn admin_socket(settings: &Settings) -> PathBuf {
    settings.in_data_dir("envoy-admin.sock")
}

/// A token file that was written so recently may be read by Envoy yet.
const KEEP: Duration = Duration::from_secs(60);
/// Longest wait for one probe: an Envoy that hangs must not hang `up`.
const PROBE_LIMIT: Duration = Duration::from_secs(2);
/// Largest answer of Envoy's admin interface that is read, bytes.
const MAX_ANSWER: usize = 1 << 20;

/// Whether Envoy has its configuration and takes requests.
///
/// # Errors
/// What is missing, in words.
pub async fn ready(settings: &Settings) -> Result<(), String> {
    let probe = async {
        let socket = admin_socket(settings);
        let ask = async |path| asked(&socket, path).await.map_err(|error| format!("its admin socket: {error}"));
        if !ask("/ready").await?.0.is_success() {
            return Err("Envoy has not got its configuration yet".to_owned());
        }
        // Somebody else may listen there, and Envoy calls itself ready also when it could not.
        let address = settings.gateway_listen;
        if !has_listener(&ask("/listeners?format=json").await?.1, address) {
            let there = addresses::holder(address).map_or_else(String::new, |who| format!("; {who} does"));
            return Err(format!("Envoy does not listen on {address}{there}"));
        }
        let address = reachable(address);
        TcpStream::connect(address).await.map(|_| ()).map_err(|e| format!("{address}: {e}"))
    };
    let limit = PROBE_LIMIT.as_secs();
    tokio::time::timeout(PROBE_LIMIT, probe).await.unwrap_or_else(|_| Err(format!("no answer within {limit} s")))
}

/// Status and body of Envoy's admin interface.
async fn asked(
    socket: &std::path::Path,
    path: &str,
) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the probe, also when the probe is given up.
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get(path).header("host", "envoy").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let status = response.status();
    let body = Limited::new(response.into_body(), MAX_ANSWER).collect().await?.to_bytes();
    Ok((status, body))
}

/// Whether one of Envoy's listeners has the address.
fn has_listener(listeners: &[u8], address: SocketAddr) -> bool {
    let answer: serde_json::Value = serde_json::from_slice(listeners).unwrap_or_default();
    let statuses = answer.get("listener_statuses").and_then(|s| s.as_array()).cloned().unwrap_or_default();
    statuses.iter().any(|status| {
        let at = status.pointer("/local_address/socket_address");
        let ip = at.and_then(|at| at.get("address")?.as_str()?.parse().ok());
        let port = at.and_then(|at| at.get("port_value")?.as_u64());
        ip == Some(address.ip()) && port == Some(u64::from(address.port()))
    })
}

#[cfg(test)]
mod tests {
    //! Probes of a gateway that is not well.
    use super::*;
    use crate::config::Inputs;

    fn settings(data_dir: &std::path::Path, listen: String) -> Settings {
        let flags = [("data_dir", vec![data_dir.display().to_string()]), ("gateway_listen", vec![listen])];
        Settings::resolve(&Inputs { flags: flags.into(), cwd: std::env::temp_dir(), ..Inputs::default() }).unwrap()
    }

    #[tokio::test]
    async fn a_probe_of_an_envoy_that_hangs_comes_to_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let settings = settings(dir.path(), "127.0.0.1:10000".to_owned());
        let _accepts_and_says_nothing = tokio::net::UnixListener::bind(admin_socket(&settings)).unwrap();
        let probed = tokio::time::timeout(Duration::from_secs(30), ready(&settings)).await;
        assert_eq!(probed.unwrap(), Err("no answer within 2 s".to_owned()));
    }

    #[tokio::test]
    async fn a_gateway_on_every_address_of_ipv6_is_probed_over_ipv6() {
        let dir = tempfile::tempdir().unwrap();
        let Ok(listener) = std::net::TcpListener::bind("[::1]:0") else { return };
        let port = listener.local_addr().unwrap().port();
        let settings = settings(dir.path(), format!("[::]:{port}"));
        let admin = tokio::net::UnixListener::bind(admin_socket(&settings)).unwrap();
        let at = serde_json::json!({"socket_address": {"address": "::", "port_value": port}});
        let listeners =
            serde_json::json!({"listener_statuses": [{"name": "gateway", "local_address": at}]}).to_string();
        let live = axum::Router::new()
            .route("/ready", axum::routing::get(|| async { "LIVE" }))
            .route("/listeners", axum::routing::get(|| async { listeners }));
        tokio::spawn(async move { axum::serve(admin, live).await });
        assert_eq!(ready(&settings).await, Ok(()));
        drop(listener);
        assert!(ready(&settings).await.unwrap_err().contains(&format!("[::1]:{port}")));
    }

    #[tokio::test]
    async fn a_port_that_somebody_else_has_is_not_a_gateway_that_is_ready() {
        let dir = tempfile::tempdir().unwrap();
        let stranger = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = stranger.local_addr().unwrap();
        let settings = settings(dir.path(), at.to_string());
        let admin = tokio::net::UnixListener::bind(admin_socket(&settings)).unwrap();
        let none = axum::Router::new()
            .route("/ready", axum::routing::get(|| async { "LIVE" }))
            .route("/listeners", axum::routing::get(|| async { "{}" }));
        tokio::spawn(async move { axum::serve(admin, none).await });
        let reason = ready(&settings).await.unwrap_err();
        assert!(reason.contains(&format!("does not listen on {at}; process {}", std::process::id())), "{reason}");
    }
}
