//! A session with Postgres: what it is told, that it keeps it, and that it is a session of its own and no share of a pooler's.
//! Everything here goes by the simple protocol, which every pooler passes on, so that what is wrong is named and not tripped over.
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, Row, postgres::PgConnectOptions};

use crate::{ConnectError, Options};

/// What Postgres is asked about itself in every write and by `/readyz`, in the order that [`Promise::read`] takes.
macro_rules! promise_columns {
    () => {
        "current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes,
         current_setting('synchronous_commit') AS synchronous_commit,
         pg_is_in_recovery() OR current_setting('transaction_read_only')::boolean AS read_only"
    };
}
pub(crate) use promise_columns;

/// Whether what the server answers in this session is on its disk, and can be written at all.
#[derive(sqlx::FromRow)]
pub(crate) struct Promise {
    fsync: String,
    full_page_writes: String,
    synchronous_commit: String,
    read_only: bool,
}

impl Promise {
    /// # Errors
    /// [`ConnectError::NotDurable`], [`ConnectError::ReadOnly`].
    pub(crate) fn check(self) -> Result<(), ConnectError> {
        for (setting, value) in [("fsync", self.fsync), ("full_page_writes", self.full_page_writes)] {
            if value != "on" {
                return Err(ConnectError::NotDurable { setting, value });
            }
        }
        // remote_apply is stronger than on; local, remote_write and off are weaker.
        if self.synchronous_commit != "on" && self.synchronous_commit != "remote_apply" {
            return Err(ConnectError::NotDurable { setting: "synchronous_commit", value: self.synchronous_commit });
        }
        if self.read_only { Err(ConnectError::ReadOnly) } else { Ok(()) }
    }
}

/// Asks the server once.
///
/// # Errors
/// As [`Promise::check`], or what the server said instead.
pub(crate) async fn check_durable(connection: &mut PgConnection) -> Result<(), ConnectError> {
    let row = sqlx::raw_sql(concat!("SELECT ", promise_columns!())).fetch_one(connection).await?;
    let promise: Promise = sqlx::FromRow::from_row(&row)?;
    promise.check()
}

/// Settings of a session, as `pg_settings` shows them.
#[derive(Clone)]
pub(crate) struct Settings(Vec<(&'static str, String)>);

impl Settings {
    /// Of every session of the pools.
    pub(crate) fn usual(options: &Options) -> Self {
        let ms = |d: std::time::Duration| d.as_millis().to_string();
        Self(vec![
            ("synchronous_commit", "on".to_owned()),
            // "already exists, skipping" of every start is not worth a line of log.
            ("client_min_messages", "warning".to_owned()),
            ("statement_timeout", ms(options.statement_timeout)),
            ("lock_timeout", ms(options.lock_timeout)),
            ("idle_in_transaction_session_timeout", ms(options.call_timeout * 2)),
        ])
    }

    /// Of the session that migrates: it may wait for another replica that is migrating.
    pub(crate) fn migrating(options: &Options) -> Self {
        let Self(mut all) = Self::usual(options);
        for (name, value) in &mut all {
            match *name {
                "statement_timeout" => "120000".clone_into(value),
                "lock_timeout" => "60000".clone_into(value),
                _ => {}
            }
        }
        Self(all)
    }

    /// Tells the session its settings, and reads them back.
    ///
    /// They are not sent at startup: poolers refuse that, or leave them out in silence.
    ///
    /// # Errors
    /// [`ConnectError::SettingLost`], or what the server said instead.
    pub(crate) async fn apply(&self, connection: &mut PgConnection) -> Result<(), ConnectError> {
        let Self(all) = self;
        let sets: Vec<String> = all.iter().map(|(name, value)| format!("SET {name} = '{value}'")).collect();
        sqlx::raw_sql(AssertSqlSafe(sets.join(";"))).execute(&mut *connection).await?;
        let names: Vec<String> = all.iter().map(|(name, _)| format!("'{name}'")).collect();
        let ask = format!("SELECT name, setting FROM pg_settings WHERE name IN ({})", names.join(","));
        let rows = sqlx::raw_sql(AssertSqlSafe(ask)).fetch_all(connection).await?;
        for (setting, wanted) in all {
            let mut found = String::new();
            for row in &rows {
                if row.try_get::<&str, _>("name")? == *setting {
                    found = row.try_get("setting")?;
                }
            }
            if found != *wanted && !(*setting == "synchronous_commit" && found == "remote_apply") {
                return Err(ConnectError::SettingLost { setting, wanted: wanted.clone(), found });
            }
        }
        Ok(())
    }
}

async fn process(connection: &mut PgConnection) -> Result<i32, ConnectError> {
    Ok(sqlx::raw_sql("SELECT pg_backend_pid()").fetch_one(connection).await?.try_get(0)?)
}

/// Opens a second session beside `first` and looks whether both stay with a server process of their own. A pooler in transaction mode
/// lends `second` the process that `first` does not use at the moment, or moves `first` to another.
///
/// # Errors
/// [`ConnectError::Pooler`], or what the server said instead.
pub(crate) async fn check_own(first: &mut PgConnection, options: &PgConnectOptions) -> Result<(), ConnectError> {
    let mut second = options.connect().await?;
    let mine = process(first).await?;
    sqlx::raw_sql("BEGIN").execute(&mut second).await?;
    let shared = process(&mut second).await? == mine;
    let mut moved = false;
    if !shared {
        moved |= process(first).await? != mine;
        sqlx::raw_sql("COMMIT").execute(&mut second).await?;
        for _ in 0..2 {
            moved |= process(first).await? != mine;
        }
    }
    let _ = second.close().await;
    let sign = match (shared, moved) {
        (true, _) => "two sessions were given the same server process",
        (false, true) => "a session was moved to another server process",
        (false, false) => return Ok(()),
    };
    Err(ConnectError::Pooler { sign: sign.to_owned() })
}
