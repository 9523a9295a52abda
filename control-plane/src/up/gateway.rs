//! Envoy as a part of `up`: a node token of its own, the bootstrap file, and how to ask whether it is ready.
use std::{path::PathBuf, time::Duration};

use http_body_util::{BodyExt as _, Empty};
use hyper::{Request, body::Bytes};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tidegate_translate::{BootstrapParams, bootstrap};
use tokio::net::{TcpStream, UnixStream};
use tokio_util::task::AbortOnDropHandle;

use super::{plan::Class, process::Launch};
use crate::{
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
    let wanted = json!({"nodeId": NODE_ID, "role": "Gateway", "rotate": true, "graceSeconds": 0});
    let answer = client.post(&["api", "v1", "node-tokens"], &[], &wanted).await?;
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

/// Longest wait for one probe: an Envoy that hangs must not hang `up`.
const PROBE_LIMIT: Duration = Duration::from_secs(2);

/// Whether Envoy has its configuration and takes requests.
///
/// # Errors
/// What is missing, in words.
pub async fn ready(settings: &Settings) -> Result<(), String> {
    let probe = async {
        match live(&admin_socket(settings)).await {
            Ok(true) => {}
            Ok(false) => return Err("Envoy has not got its configuration yet".to_owned()),
            Err(error) => return Err(format!("its admin socket: {error}")),
        }
        let address = reachable(settings.gateway_listen);
        TcpStream::connect(address).await.map(|_| ()).map_err(|e| format!("{address}: {e}"))
    };
    let limit = PROBE_LIMIT.as_secs();
    tokio::time::timeout(PROBE_LIMIT, probe).await.unwrap_or_else(|_| Err(format!("no answer within {limit} s")))
}

async fn live(socket: &std::path::Path) -> Result<bool, Box<dyn std::error::Error + Send + Sync>> {
    let stream = UnixStream::connect(socket).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the probe, also when the probe is given up.
    let _driver = AbortOnDropHandle::new(tokio::spawn(connection));
    let request = Request::get("/ready").header("host", "envoy").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await?;
    let ok = response.status().is_success();
    let _ = response.into_body().collect().await;
    Ok(ok)
}

#[cfg(test)]
mod tests {
    //! Probes of a gateway that is not well.
    use super::*;
    use crate::config::Inputs;

    fn settings(data_dir: &std::path::Path, listen: String) -> Settings {
        let flags = [("data_dir", vec![data_dir.display().to_string()]), ("gateway_listen", vec![listen])];
        Settings::resolve(&Inputs { flags: flags.into(), cwd: "/".into(), ..Inputs::default() }).unwrap()
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
        let live = axum::Router::new().route("/ready", axum::routing::get(|| async { "LIVE" }));
        tokio::spawn(async move { axum::serve(admin, live).await });
        assert_eq!(ready(&settings).await, Ok(()));
        drop(listener);
        assert!(ready(&settings).await.unwrap_err().contains(&format!("[::1]:{port}")));
    }
}
