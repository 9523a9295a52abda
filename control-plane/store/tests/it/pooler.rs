//! Poolers: named as such where they take sessions apart, used where they leave them whole. A server of a few lines says what a pooler
//! may say, and the real PgBouncer does it (`tests/tools/install.sh pgbouncer`).
use std::{
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicI32, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use tidegate_policy::ports::ObjectStore;
use tidegate_store::{ConnectError, PgStore};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{model, pg, put, rest};

/// What the scripted server does.
#[derive(Clone)]
struct Script {
    /// Server process of a statement: number of the session, number of the statement in it.
    process: fn(i32, i32) -> i32,
    statement_timeout: &'static str,
    /// Answer to the startup packet, instead of a session.
    refusal: Option<(&'static str, &'static str)>,
}

const DIRECT: Script = Script { process: |session, _| session, statement_timeout: "120000", refusal: None };

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(i32::try_from(body.len() + 4).unwrap().to_be_bytes());
    out.extend(body);
    out
}

fn row(columns: &[&str]) -> Vec<u8> {
    let mut body = i16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for column in columns {
        body.extend(i32::try_from(column.len()).unwrap().to_be_bytes());
        body.extend(column.as_bytes());
    }
    message(b'D', &body)
}

/// Columns of text, or of another type by its oid.
fn description(columns: &[(&str, i32)]) -> Vec<u8> {
    let mut body = i16::try_from(columns.len()).unwrap().to_be_bytes().to_vec();
    for (name, oid) in columns {
        body.extend(name.as_bytes());
        body.extend([0; 7]);
        body.extend(oid.to_be_bytes());
        body.extend([255, 255, 255, 255, 255, 255, 0, 0]);
    }
    message(b'T', &body)
}

const READY: &[u8] = b"Z\0\0\0\x05I";
const TEXT: i32 = 25;

fn answer(script: &Script, query: &str, process: i32) -> Vec<u8> {
    let rows = if query.contains("pg_backend_pid") {
        [description(&[("pg_backend_pid", 23)]), row(&[&process.to_string()])].concat()
    } else if query.contains("pg_settings") {
        let mut rows = description(&[("name", TEXT), ("setting", TEXT)]);
        for (name, value) in [
            ("synchronous_commit", "on"),
            ("client_min_messages", "warning"),
            ("statement_timeout", script.statement_timeout),
            ("lock_timeout", "60000"),
            ("idle_in_transaction_session_timeout", "20000"),
        ] {
            rows.extend(row(&[name, value]));
        }
        rows
    } else if query.contains("fsync") {
        let columns = [("fsync", TEXT), ("full_page_writes", TEXT), ("synchronous_commit", TEXT), ("read_only", 16)];
        // It says that it may lose writes: so every scripted start ends here at the latest.
        [description(&columns), row(&["off", "on", "on", "f"])].concat()
    } else {
        Vec::new()
    };
    [rows, message(b'C', b"DONE\0"), READY.to_vec()].concat()
}

async fn session(mut socket: TcpStream, number: i32, script: Script) -> std::io::Result<()> {
    // The client asks for TLS first; it goes on without.
    loop {
        let length = socket.read_i32().await?;
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        socket.read_exact(&mut body).await?;
        if body.starts_with(&80_877_103_i32.to_be_bytes()) {
            socket.write_all(b"N").await?;
            continue;
        }
        assert!(!body.windows(8).any(|w| w == b"options\0"), "a pooler refuses `options` at startup");
        break;
    }
    if let Some((state, text)) = script.refusal {
        let body = format!("SFATAL\0VFATAL\0C{state}\0M{text}\0\0");
        return socket.write_all(&message(b'E', body.as_bytes())).await;
    }
    socket.write_all(&[message(b'R', &[0; 4]), READY.to_vec()].concat()).await?;
    for statement in 0.. {
        let kind = socket.read_u8().await?;
        let length = socket.read_i32().await?;
        let mut body = vec![0; usize::try_from(length).unwrap() - 4];
        socket.read_exact(&mut body).await?;
        if kind != b'Q' {
            return Ok(());
        }
        let query = String::from_utf8_lossy(&body).into_owned();
        socket.write_all(&answer(&script, &query, (script.process)(number, statement))).await?;
    }
    Ok(())
}

async fn opened(script: Script) -> ConnectError {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgres://u@{}/d?sslmode=disable", listener.local_addr().unwrap());
    let sessions = Arc::new(AtomicI32::new(0));
    let server = tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            let number = sessions.fetch_add(1, Ordering::Relaxed) + 1;
            tokio::spawn(session(socket, number, script.clone()));
        }
    });
    let error = PgStore::connect(&url).await.unwrap_err();
    server.abort();
    error
}

#[tokio::test]
async fn what_a_pooler_does_to_sessions_is_found_before_anything_is_done() {
    let table: [(Script, &str, &str); 6] = [
        (DIRECT, "TG-1212", "fsync = off"),
        (Script { process: |_, _| 7, ..DIRECT }, "TG-1216", "two sessions were given the same server process"),
        (
            Script { process: |session, statement| session * 100 + statement / 2, ..DIRECT },
            "TG-1216",
            "moved to another server process",
        ),
        (Script { statement_timeout: "0", ..DIRECT }, "TG-1217", "statement_timeout = 120000"),
        (
            Script { refusal: Some(("08P01", "unsupported startup parameter: DateStyle")), ..DIRECT },
            "TG-1216",
            "unsupported startup parameter: DateStyle",
        ),
        (
            Script { refusal: Some(("28P01", "password authentication failed")), ..DIRECT },
            "TG-1215",
            "password is wrong",
        ),
    ];
    for (script, code, says) in table {
        let error = opened(script).await;
        assert_eq!(error.code(), code, "{error}");
        assert!(error.to_string().contains(says), "{error}");
    }
}

/// PgBouncer before a server, in one mode. Stopped when dropped.
struct PgBouncer {
    child: Child,
    dir: tempfile::TempDir,
}

fn program() -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), pg::tools().join("pgbouncer")]);
    let mut programs = folders.map(|dir| dir.join("pgbouncer"));
    programs.find(|program| program.is_file()).expect("PgBouncer: run tests/tools/install.sh pgbouncer")
}

impl PgBouncer {
    fn start(program: &std::path::Path, server: &pg::Server, mode: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::Builder::new().prefix("tg-pool-").tempdir_in("/tmp").unwrap();
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
        let (ini, place) = (dir.path().join("pgbouncer.ini"), dir.path().display());
        let text = format!(
            "[databases]\n* = host={}\n[pgbouncer]\nunix_socket_dir = {place}\nlisten_port = 6432\nlisten_addr =\n\
             auth_type = any\npool_mode = {mode}\nmax_client_conn = 100\ndefault_pool_size = 20\nlogfile = {place}/log\n",
            server.socket().display()
        )
        // `any` logs in as whoever the database line names.
        .replace("* = host", "* = user=postgres host");
        std::fs::write(&ini, text).unwrap();
        let mut command = Command::new(program);
        if let Some(user) = pg::user() {
            command.args(["-u", user]);
        }
        let child = command.arg(&ini).stdout(Stdio::null()).stderr(Stdio::null()).process_group(0).spawn().unwrap();
        for _ in 0..500 {
            if dir.path().join(".s.PGSQL.6432").exists() {
                break;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Self { child, dir }
    }

    fn url(&self, database: &str) -> String {
        let name = database.split('/').nth(3).unwrap().split('?').next().unwrap();
        format!("postgres://postgres@localhost:6432/{name}?host={}", self.dir.path().display())
    }
}

impl Drop for PgBouncer {
    fn drop(&mut self) {
        let pid = rustix::process::Pid::from_raw(i32::try_from(self.child.id()).unwrap()).unwrap();
        // Anything milder waits for its clients, which this thread has yet to close.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        let _ = self.child.wait();
    }
}

#[tokio::test]
async fn the_real_pgbouncer_is_refused_by_name_per_transaction_and_used_per_session() {
    let program = program();
    let server = pg::Server::start(&[]);
    let database = server.database();
    for mode in ["transaction", "statement"] {
        let pooler = PgBouncer::start(&program, &server, mode);
        let refused = PgStore::connect(&pooler.url(&database)).await.unwrap_err();
        assert_eq!(refused.code(), "TG-1216", "{mode}: {refused}");
        assert!(refused.to_string().contains("session mode"), "{mode}: {refused}");
    }
    let pooler = PgBouncer::start(&program, &server, "session");
    let store = PgStore::connect(&pooler.url(&database)).await.unwrap();
    store.ready().await.unwrap();
    let mut changes = store.changes();
    changes.mark_unchanged();
    store.write(vec![put(&model("a"), json!({"n": 1}))], &rest(), false).await.unwrap();
    tokio::time::timeout(Duration::from_secs(20), changes.changed()).await.unwrap().unwrap();
}
