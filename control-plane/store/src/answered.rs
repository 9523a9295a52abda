//! What an answer of Postgres, or of what stands before it, means. Whoever answers was reached: no answer is ever called an outage of the
//! network. Words only; nothing here carries what a caller sent.
use sqlx::Error;

/// The SQLSTATE of an answer.
pub(crate) fn state(error: &Error) -> Option<String> {
    Some(error.as_database_error()?.code()?.into_owned())
}

/// What a person should know about an answer; None when nobody answered.
pub(crate) fn words(error: &Error) -> Option<String> {
    if let Some(database) = error.as_database_error() {
        let Some(state) = state(error) else { return Some(database.message().to_owned()) };
        return Some(match meaning(&state) {
            Some(meaning) => format!("{meaning} (SQLSTATE {state})"),
            None => format!("the statement failed (SQLSTATE {state})"),
        });
    }
    match error {
        Error::Tls(_) => Some("no TLS session could be agreed on; see sslmode and sslrootcert of the URL".to_owned()),
        Error::Protocol(_) => Some("what answers does not speak Postgres as this program does".to_owned()),
        _ => None,
    }
}

fn meaning(state: &str) -> Option<&'static str> {
    Some(match state {
        "28P01" => "the password is wrong",
        "28000" => "the server lets this user in from nowhere here (pg_hba.conf), or does not know the user",
        "3D000" => "there is no such database",
        "42501" => "the user may not do this in the database",
        "53100" => "its disk is full",
        "53200" => "it is out of memory",
        "53300" => "it has no connection left for this user (max_connections)",
        "55000" => "it is not in a state for this; a standby that cannot be read, for one",
        "57P01" | "57P02" => "it is shutting down",
        "57P03" => "it is starting up or shutting down",
        "57P04" => "the database was dropped",
        "57P05" => "it ended the session because it was idle",
        "58030" | "58P01" | "58P02" => "it cannot read or write its own files",
        "XX001" | "XX002" => "its files are damaged",
        _ if state.starts_with("08") => "it, or a pooler before it, ended the connection",
        _ => return None,
    })
}

/// What in an answer gives a pooler away that does not keep sessions whole.
pub(crate) fn pooler(error: &Error) -> Option<String> {
    let database = error.as_database_error()?;
    let (state, message) = (state(error).unwrap_or_default(), database.message());
    match state.as_str() {
        // Ours are made once per session and never by name of another's.
        "42P05" => Some("SQLSTATE 42P05: a prepared statement of another session is there".to_owned()),
        "26000" => Some("SQLSTATE 26000: a prepared statement of this session is gone".to_owned()),
        _ if message.contains("unsupported startup parameter") => {
            Some(format!("it refuses {}", message.trim_start_matches("FATAL:").trim()))
        }
        _ if message.contains("pooling mode") => Some(message.to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
