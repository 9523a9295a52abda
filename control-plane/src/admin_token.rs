//! The first administrator's token: made once, written where only this user can read it, stored as a hash. It is never
//! logged; on a terminal it is printed, once.
use std::{
    fs,
    io::{IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result};
use tidegate_api::credentials::{ADMIN_PREFIX, make_admin_token, sha256};
use tidegate_policy::ports::{AdminToken, CredentialStore, ObjectStore};
use tidegate_store::PgStore;

const NAME: &str = "admin";

/// Makes sure that the store knows an administrator. A token file that is there already is taken over by a new database.
///
/// # Errors
/// When the file or the store cannot be written.
pub async fn ensure(store: &PgStore, file: &Path) -> Result<()> {
    let known = store.read_all().await?.admin_tokens;
    let kept = fs::read_to_string(file).ok().map(|t| t.trim().to_owned()).filter(|t| t.starts_with(ADMIN_PREFIX));
    match kept {
        Some(token) => {
            let hash = sha256(&token).to_vec();
            if known.iter().all(|t| t.sha256 != hash) {
                let name = if known.iter().any(|t| t.name == NAME) {
                    format!("{NAME}-{}", known.len())
                } else {
                    NAME.to_owned()
                };
                store.add_admin_token(&AdminToken { name, sha256: hash }).await?;
            }
        }
        None if known.is_empty() => {
            let (secret, stored) = make_admin_token(NAME)?;
            write_private(file, secret.expose()).with_context(|| format!("write {}", file.display()))?;
            store.add_admin_token(&stored).await?;
            tracing::info!(file = %file.display(), "made the first admin token");
            if std::io::stdout().is_terminal() {
                println!("admin token (shown this once; kept in {}): {}", file.display(), secret.expose());
            }
        }
        None => {}
    }
    Ok(())
}

/// Writes a file that only this user can read, in one step.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_private(file: &Path, text: &str) -> std::io::Result<()> {
    let temporary = file.with_extension("new");
    let _ = fs::remove_file(&temporary);
    let mut open = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&temporary)?;
    open.write_all(text.as_bytes())?;
    open.sync_all()?;
    fs::rename(&temporary, file)
}
