//! `serve` as a part of `up`: the same program, told by flags what `up` was told, with secrets only in files.
use std::{ffi::OsString, path::Path};

use super::{plan::Class, process::Launch};
use crate::{
    config::{FIELDS, Origin, Settings},
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
    if let Some(instance) = &settings.instance_id {
        flag("instance-id", instance.into());
    }
    if let Some(socket) = &settings.supervisor_socket {
        flag("supervisor-socket", socket.clone().into());
    }
    for field in FIELDS {
        let ours = matches!(
            field.key,
            "data_dir" | "database_url" | "database_url_file" | "supervisor_socket" | "instance_id"
        );
        let Some(layered) = settings.layers.get(field.key).filter(|l| l.origin != Origin::Default) else { continue };
        if ours || !field.scope.is_for(false) {
            continue;
        }
        for value in &layered.values {
            args.push(format!("--{}={value}", field.flag).into());
        }
    }
    let operators_database = settings.database_url.is_some();
    Ok(Launch { program, args, env: Vec::new(), user: None, operators_database, class: Class::Serve })
}

/// Whether `serve` answers and has read its store.
///
/// # Errors
/// What is missing, in words: a certificate that does not fit is not only "not ready".
pub async fn ready(http: &reqwest::Client, settings: &Settings) -> Result<(), String> {
    match http.get(format!("{}/readyz", settings.admin_url())).send().await {
        // Somebody else may listen there, also another Tidegate.
        Ok(answer) if instance_of(&answer) != settings.instance_id.as_deref() => Err(format!(
            "another server answers at {}; stop it, or choose another --admin-listen",
            settings.admin_url()
        )),
        Ok(answer) if answer.status().is_success() => Ok(()),
        Ok(answer) => Err(format!("{} answers {}", settings.admin_url(), answer.status())),
        Err(error) => Err(chain(&error)),
    }
}

fn instance_of(answer: &reqwest::Response) -> Option<&str> {
    answer.headers().get("x-tidegate-instance")?.to_str().ok()
}

/// An error and what caused it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut out = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        out.push_str(": ");
        out.push_str(&error.to_string());
        cause = error.source();
    }
    out
}

/// A client that trusts exactly the certificate that `serve` is configured with.
///
/// # Errors
/// TG-1516.
pub fn probe_client(settings: &Settings) -> Result<reqwest::Client, Error> {
    let mut http = reqwest::Client::builder().no_proxy().timeout(std::time::Duration::from_secs(2));
    if let Some(tls) = &settings.admin_tls {
        http = http.tls_backend_preconfigured(crate::cli::pinned(&tls.cert)?);
    }
    http.build().map_err(|e| Error::Usage(format!("the HTTP client could not be made: {e}")))
}

#[cfg(test)]
mod tests {
    //! What `serve` is told, and why it is not ready.
    use super::*;
    use crate::config::{Inputs, TlsFiles};

    fn settings(flags: &[(&'static str, &str)]) -> Settings {
        let flags = flags.iter().map(|(key, value)| (*key, vec![(*value).to_owned()])).collect();
        Settings::resolve(&Inputs { flags, cwd: std::env::temp_dir(), ..Inputs::default() }).unwrap()
    }

    #[test]
    fn serve_is_told_what_it_reads_and_nothing_else() {
        let given = [("model_roots", "/"), ("drain_timeout_seconds", "9"), ("max_workers", "3"), ("data_dir", "/d")];
        let settings = Settings { supervisor_socket: Some("/d/s.sock".into()), ..settings(&given) };
        let launch = launch(&settings, Path::new("/d/run/database-url")).unwrap();
        let args: Vec<&str> = launch.args.iter().map(|a| a.to_str().unwrap()).collect();
        let told = ["serve", "--data-dir", "/d", "--database-url-file", "/d/run/database-url", "--supervisor-socket"];
        assert_eq!(args, [&told[..], &["/d/s.sock", "--max-workers=3"]].concat());
    }

    #[tokio::test]
    async fn a_failed_handshake_is_told_with_its_cause() {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            }
        });
        let tls = TlsFiles { cert: "c".into(), key: "k".into() };
        let settings = Settings { admin_tls: Some(tls), ..settings(&[("admin_listen", &address)]) };
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let reason = ready(&http, &settings).await.unwrap_err();
        assert!(reason.contains(&address) && reason.contains("corrupt message"), "{reason}");
    }
}
