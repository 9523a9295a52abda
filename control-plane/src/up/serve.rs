//! `serve` as a part of `up`: the same program, told by flags what `up` was told, with secrets only in files.
use std::{ffi::OsString, path::Path};

use super::{plan::Class, process::Launch};
use crate::{
    config::{FIELDS, Origin, Scope, Settings},
    error::Error,
};

/// How `serve` is run. `database_url_file` holds the policy store's URL.
///
/// # Errors
/// When this program cannot be found any more.
pub fn launch(settings: &Settings, database_url_file: &Path) -> Result<Launch, Error> {
    let program = std::env::current_exe().map_err(|source| Error::Spawn { name: "serve".to_owned(), source })?;
    let mut args: Vec<OsString> = vec!["serve".into()];
    let mut flag = |name: &str, value: OsString| args.extend([format!("--{name}").into(), value]);
    flag("data-dir", settings.data_dir.clone().into());
    flag("database-url-file", database_url_file.into());
    if let Some(socket) = &settings.supervisor_socket {
        flag("supervisor-socket", socket.clone().into());
    }
    for field in FIELDS {
        let ours = matches!(field.key, "data_dir" | "database_url" | "database_url_file" | "supervisor_socket");
        let Some(layered) = settings.layers.get(field.key).filter(|l| l.origin != Origin::Default) else { continue };
        if ours || field.scope != Scope::Serve {
            continue;
        }
        for value in &layered.values {
            args.push(format!("--{}={value}", field.flag).into());
        }
    }
    Ok(Launch { program, args, env: Vec::new(), user: None, class: Class::Serve })
}

/// Whether `serve` answers and has read its store.
pub async fn ready(http: &reqwest::Client, settings: &Settings) -> bool {
    let answer = http.get(format!("{}/readyz", settings.admin_url())).send().await;
    answer.is_ok_and(|a| a.status().is_success())
}

/// A client that trusts exactly the certificate that `serve` is configured with.
///
/// # Errors
/// TG-1516.
pub fn probe_client(settings: &Settings) -> Result<reqwest::Client, Error> {
    let mut http = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(2));
    if let Some(tls) = &settings.admin_tls {
        let refuse = |reason: String| Error::CaFile { path: tls.cert.clone(), reason };
        let pem = std::fs::read(&tls.cert).map_err(|e| refuse(e.to_string()))?;
        http = http.tls_certs_only(reqwest::Certificate::from_pem_bundle(&pem).map_err(|e| refuse(e.to_string()))?);
    }
    http.build().map_err(|e| Error::Usage(format!("the HTTP client could not be made: {e}")))
}
