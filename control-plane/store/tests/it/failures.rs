//! What is said when the database fails: to the caller which kind of failure, to the log the cause.
use std::sync::{Arc, Mutex};

use serde_json::json;
use sqlx::Connection;
use tidegate_policy::ports::{ObjectStore, StoreError};
use tidegate_store::PgStore;
use tracing_subscriber::fmt::MakeWriter;

use super::{model, pg, put, rest};

/// Lines of log, as the default level shows them.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

fn reason(error: &StoreError) -> String {
    std::error::Error::source(error).unwrap().to_string()
}

#[tokio::test]
async fn the_cause_is_logged_once_and_the_caller_learns_which_kind_it_was() {
    let mut server = pg::Server::start(&[]);
    let url = server.database();
    let store = PgStore::connect(&url).await.unwrap();
    let mut by_hand = sqlx::PgConnection::connect(&url).await.unwrap();
    sqlx::query("DROP TABLE revisions").execute(&mut by_hand).await.unwrap();
    drop(by_hand);
    let log = Log::default();
    let subscriber = tracing_subscriber::fmt().with_max_level(tracing::Level::INFO).with_writer(log.clone());
    let guard = tracing::subscriber::set_default(subscriber.with_ansi(false).finish());
    for _ in 0..3 {
        let refused = store.write(vec![put(&model("a"), json!({}))], &rest(), false).await.unwrap_err();
        assert!(matches!(refused, StoreError::Unavailable(_)));
        assert_eq!(reason(&refused), "Postgres answered and refused: the statement failed (SQLSTATE 42P01)");
    }
    server.kill();
    let away = reason(&store.read_all().await.unwrap_err());
    assert!(away.contains("not reachable") || away.contains("shutting down"), "{away}");
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("the policy store failed")).collect();
    assert_eq!(lines.len(), 2, "one of each kind: {log}");
    for part in ["WARN", "revisions", "does not exist", r#"operation="write""#] {
        assert!(lines[0].contains(part), "{part}: {log}");
    }
}
