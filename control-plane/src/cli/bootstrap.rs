//! `bootstrap`: the file with which an Envoy that somebody runs alone starts. It names the token's file and never holds the token.
use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
};

use tidegate_program::text_file;
use tidegate_translate::{BootstrapParams, bootstrap};

use crate::error::Error;

#[derive(Clone, Debug, clap::Args)]
pub struct BootstrapArgs {
    /// Node id of the gateway: the one that its token was made for
    #[arg(long, value_name = "ID")]
    pub node_id: String,
    /// File that holds the node token and nothing else; Envoy reads it when it starts
    #[arg(long, value_name = "FILE")]
    pub token_file: PathBuf,
    /// Where Envoy reaches the control plane's --grpc-listen: on loopback, as it has no TLS
    #[arg(long, value_name = "IP:PORT", default_value = "127.0.0.1:18000")]
    pub grpc: SocketAddr,
    /// Unix socket of Envoy's admin interface. Default: ID-admin.sock in this folder
    #[arg(long, value_name = "PATH")]
    pub admin_socket: Option<PathBuf>,
}

/// The bootstrap as JSON. Relative paths start here, so Envoy may run in another folder.
///
/// # Errors
/// TG-1515.
pub fn print(args: &BootstrapArgs) -> Result<String, Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if args.node_id.is_empty() || !args.node_id.chars().all(plain) {
        return Err(Error::Usage(format!("--node-id {:?}: letters, digits, '-', '.' and '_'", args.node_id)));
    }
    if !args.grpc.ip().is_loopback() {
        return Err(Error::Usage(format!(
            "--grpc {}: the node token would go there in clear text; name a loopback address, behind which a tunnel may be",
            args.grpc
        )));
    }
    check_token(&args.token_file)?;
    let default = PathBuf::from(format!("{}-admin.sock", args.node_id));
    let admin_socket = absolute(args.admin_socket.as_ref().unwrap_or(&default))?;
    let params = BootstrapParams::local(&args.node_id, args.grpc, absolute(&args.token_file)?, admin_socket);
    Ok(bootstrap(&params))
}

/// Envoy takes the file as it is, and would say nothing about a byte order mark. A file that is not there yet is no mistake.
fn check_token(file: &Path) -> Result<(), Error> {
    let refuse = |why: String| Err(Error::Usage(format!("--token-file {}: {why}", file.display())));
    match text_file::read_line(file) {
        Err(problem) if problem.is_missing() => Ok(()),
        Err(problem) => refuse(problem.to_string()),
        Ok(_)
            if std::fs::read(file).is_ok_and(|bytes| bytes.starts_with(b"\xef\xbb\xbf") || bytes.contains(&b'\r')) =>
        {
            refuse(
                "it has a byte order mark or Windows line ends, which Envoy would send as part of the token".to_owned(),
            )
        }
        Ok(_) => Ok(()),
    }
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::Usage(format!("{}: {e}", path.display())))
}
