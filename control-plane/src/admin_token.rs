//! The administrator's token: made once, written where only this user can read it, stored as a hash. It is never
//! logged; on a terminal it is printed, once.
use std::{
    fs,
    io::{IsTerminal, Write},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use anyhow::{Context, Result};
use tidegate_api::credentials::{ADMIN_PREFIX, make_admin_token, sha256, stored_admin_token};
use tidegate_policy::ports::{AdminToken, AdminTokenAdded, CredentialStore, ObjectStore};
use tidegate_program::text_file;
use tidegate_store::PgStore;

use crate::error::Error;

/// Characters after the prefix: 32 bytes in base64.
const SECRET_CHARS: usize = 43;

/// Makes sure that the store knows an administrator, and the token of the file if there is one: a file that was there
/// already is taken over by a new database.
///
/// # Errors
/// TG-1519 when the file holds something else or the store did not take the token; else when one of them cannot be written.
pub async fn ensure(store: &PgStore, file: &Path) -> Result<()> {
    let known = store.read_all().await?.admin_tokens;
    let kept = read(file)?;
    let made = kept.is_none() && known.is_empty();
    let token = match kept {
        Some(token) => token,
        None if made => make(file)?,
        None => return Ok(()),
    };
    let stored = named(&token);
    let holds = |tokens: &[AdminToken]| tokens.iter().any(|t| t.sha256 == stored.sha256);
    if holds(&known) {
        return Ok(());
    }
    match store.add_admin_token(&stored).await? {
        AdminTokenAdded::Added => {}
        // Fine if another process took over the same file in this moment.
        AdminTokenAdded::NameTaken if holds(&store.read_all().await?.admin_tokens) => {}
        AdminTokenAdded::NameTaken => {
            return Err(refuse(file, "the store holds another token of the same name").into());
        }
        // Taken over again, it would be as if nobody had revoked it.
        AdminTokenAdded::Ended => {
            tracing::warn!(
                file = %file.display(),
                "the admin token of the file was revoked or has expired, and opens nothing; remove the file, and start with --new-admin-token for another"
            );
            return Ok(());
        }
    }
    tracing::info!(file = %file.display(), name = stored.name, "the store knows the admin token of the file");
    if made && std::io::stdout().is_terminal() {
        println!("admin token (shown this once; kept in {}): {token}", file.display());
    }
    Ok(())
}

/// Makes another token when the file is gone; [`ensure`] stores it. For an administrator who lost the first one.
///
/// # Errors
/// When the file cannot be written.
pub fn replace_lost(file: &Path) -> Result<()> {
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    }
    if read(file)?.is_none() {
        make(file)?;
    }
    Ok(())
}

fn make(file: &Path) -> Result<String> {
    let (secret, _) = make_admin_token("")?;
    write_private(file, secret.expose()).with_context(|| format!("write {}", file.display()))?;
    Ok(secret.expose().to_owned())
}

/// The token that the file holds; None when there is no file.
fn read(file: &Path) -> Result<Option<String>, Error> {
    match text_file::read_line(file) {
        Ok(token) if is_token(&token) => Ok(Some(token)),
        Ok(_) => Err(refuse(file, "it does not hold exactly one admin token")),
        Err(problem) if problem.is_missing() => Ok(None),
        Err(problem) => Err(refuse(file, &problem.to_string())),
    }
}

fn refuse(file: &Path, reason: &str) -> Error {
    Error::AdminToken { path: file.to_owned(), reason: reason.to_owned() }
}

fn is_token(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    text.strip_prefix(ADMIN_PREFIX).is_some_and(|t| t.len() == SECRET_CHARS && t.chars().all(plain))
}

/// What to store. The name is the author of what the administrator writes; it comes from the hash, so each token
/// has its own.
fn named(token: &str) -> AdminToken {
    let hash = sha256(token);
    let short: String = hash.iter().take(4).map(|b| format!("{b:02x}")).collect();
    stored_admin_token(&format!("admin-{short}"), token)
}

/// Writes a file that only its owner can read, in one step, whatever was there before.
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

#[cfg(test)]
mod tests {
    //! What is a token, what it is called, and that a file is never overwritten.
    use super::*;

    #[test]
    fn only_a_whole_token_is_one() {
        let (secret, _) = make_admin_token("").unwrap();
        let good = secret.expose().to_owned();
        assert!(is_token(&good));
        let short = &good[..good.len() - 1];
        for bad in ["", "tga_", short, &format!("{good}x"), &format!("{short} "), &format!("{short}/"), &good[4..]] {
            assert!(!is_token(bad), "{bad}");
        }
    }

    #[test]
    fn two_tokens_have_two_names_and_no_name_tells_its_token() {
        let (a, b) = (make_admin_token("").unwrap().0, make_admin_token("").unwrap().0);
        let (first, second) = (named(a.expose()), named(b.expose()));
        assert_ne!(first.name, second.name);
        assert_eq!(first.name, named(a.expose()).name);
        assert!(first.name.starts_with("admin-") && first.sha256 == sha256(a.expose()));
    }

    #[test]
    fn a_lost_token_is_replaced_and_a_file_that_is_there_is_left_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("data/admin-token");
        replace_lost(&file).unwrap();
        let first = fs::read_to_string(&file).unwrap();
        assert!(is_token(&first));
        assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
        replace_lost(&file).unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), first);
        fs::write(&file, "tga_short\n").unwrap();
        let error = replace_lost(&file).unwrap_err().to_string();
        assert!(error.contains("TG-1519") && !error.contains("tga_short"), "{error}");
        assert_eq!(fs::read_to_string(&file).unwrap(), "tga_short\n");
    }
}
