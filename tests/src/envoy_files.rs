//! A real Envoy that reads its resources from files, an origin behind it that echoes, and a client that sends exact bytes.
//! It knows no policy; it stops what it started, by pid.
use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::tools;
use anyhow::{Context, Result, bail};

/// A running Envoy.
#[derive(Debug)]
pub struct EnvoyFiles {
    dir: tempfile::TempDir,
    child: Child,
}

impl EnvoyFiles {
    /// An empty directory; the admin socket will be `admin.sock` in it.
    pub fn prepare() -> Result<tempfile::TempDir> {
        Ok(tempfile::tempdir()?)
    }

    /// Starts Envoy with this bootstrap and waits until it is live. The files that it names must be in `dir` already.
    pub fn start(dir: tempfile::TempDir, bootstrap: &str) -> Result<Self> {
        let path = dir.path().join("bootstrap.json");
        std::fs::write(&path, bootstrap)?;
        let log = std::fs::File::create(dir.path().join("envoy.log"))?;
        let child = Command::new(tools::envoy()?)
            .arg("-c")
            .arg(&path)
            .args(["--use-dynamic-base-id", "--log-level", "warning", "--concurrency", "2"])
            .args(["--drain-time-s", "1", "--parent-shutdown-time-s", "2"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("starting Envoy")?;
        let mut envoy = Self { dir, child };
        envoy.wait_live()?;
        Ok(envoy)
    }

    /// Where its files are.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// GET of Envoy's admin interface.
    pub fn admin(&self, path: &str) -> Result<String> {
        let mut socket = UnixStream::connect(self.dir.path().join("admin.sock"))?;
        socket.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(socket, "GET {path} HTTP/1.1\r\nhost: admin\r\nconnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        socket.read_to_end(&mut answer)?;
        Ok(Response::parse(&answer).context("the admin interface sent no HTTP")?.text())
    }

    /// One counter or gauge; 0 when it does not exist.
    pub fn stat(&self, name: &str) -> Result<u64> {
        let text = self.admin(&format!("/stats?filter=^{}$", name.replace('.', "\\.")))?;
        let value = text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": ")?.trim().parse().ok());
        Ok(value.unwrap_or(0))
    }

    /// Fails when Envoy refused anything that it was given.
    pub fn assert_nothing_rejected(&self) -> Result<()> {
        let text = self.admin("/stats?filter=update_rejected|update_failure|config_fail")?;
        let bad: Vec<_> = text.lines().filter(|l| !l.ends_with(": 0")).collect();
        if !bad.is_empty() {
            bail!("Envoy refused a resource: {bad:?}\n{}", self.log());
        }
        Ok(())
    }

    /// What Envoy wrote.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("envoy.log")).unwrap_or_default()
    }

    fn wait_live(&mut self) -> Result<()> {
        let until = Instant::now() + Duration::from_secs(30);
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                bail!("Envoy ended with {status}: {}", self.log());
            }
            if self.admin("/ready").is_ok_and(|t| t.starts_with("LIVE")) {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        bail!("Envoy is not live after 30 s: {}", self.log())
    }
}

impl Drop for EnvoyFiles {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes the files that differ, each by rename, so that Envoy sees each whole. Whether any did.
pub fn write(dir: &Path, files: &[(String, Vec<u8>)]) -> Result<bool> {
    let mut changed = false;
    for (name, content) in files {
        let path = dir.join(name);
        if std::fs::read(&path).is_ok_and(|old| old == *content) {
            continue;
        }
        let new = dir.join(format!(".{name}.new"));
        std::fs::write(&new, content)?;
        std::fs::rename(&new, &path)?;
        changed = true;
    }
    Ok(changed)
}

/// One HTTP/1.1 answer, as bytes came.
#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    /// Lower-case names; the last of a repeated header.
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Response {
    /// Reads a whole answer. None when it is not HTTP or not whole.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (response, used) = Self::parse_one(bytes, true)?;
        (used <= bytes.len()).then_some(response)
    }

    fn parse_one(bytes: &[u8], closed: bool) -> Option<(Self, usize)> {
        let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
        let head = String::from_utf8_lossy(&bytes[..end]);
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let headers: BTreeMap<_, _> = lines
            .filter_map(|l| l.split_once(':'))
            .map(|(n, v)| (n.to_ascii_lowercase(), v.trim().to_owned()))
            .collect();
        let rest = &bytes[end..];
        if headers.get("transfer-encoding").is_some_and(|v| v.contains("chunked")) {
            let (body, used) = unchunk(rest)?;
            return Some((Self { status, headers, body }, end + used));
        }
        let length = match headers.get("content-length") {
            Some(n) => n.parse().ok()?,
            None if closed => rest.len(),
            None => 0,
        };
        let body = rest.get(..length)?.to_vec();
        Some((Self { status, headers, body }, end + length))
    }

    /// A header, or "".
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

fn unchunk(mut bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let all = bytes.len();
    let mut body = Vec::new();
    loop {
        let line = bytes.windows(2).position(|w| w == b"\r\n")?;
        let size = usize::from_str_radix(std::str::from_utf8(&bytes[..line]).ok()?.trim(), 16).ok()?;
        bytes = &bytes[line + 2..];
        body.extend_from_slice(bytes.get(..size)?);
        bytes = bytes.get(size + 2..)?;
        if size == 0 {
            return Some((body, all - bytes.len()));
        }
    }
}

/// A kept client connection that sends exact bytes.
#[derive(Debug)]
pub struct RawClient {
    to: SocketAddr,
    socket: Option<TcpStream>,
}

impl RawClient {
    pub fn new(to: SocketAddr) -> Self {
        Self { to, socket: None }
    }

    /// Sends these bytes (one whole request) and reads one answer; connects again when the peer closed.
    pub fn send(&mut self, request: &[u8]) -> Result<Response> {
        let reused = self.socket.is_some();
        match self.try_send(request) {
            Err(_) if reused => {
                self.socket = None;
                self.try_send(request)
            }
            other => other,
        }
    }

    fn try_send(&mut self, request: &[u8]) -> Result<Response> {
        let mut socket = match self.socket.take() {
            Some(socket) => socket,
            None => TcpStream::connect(self.to)?,
        };
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        // A server may answer and close before it has read a large body; the answer counts, as it does for HTTP libraries.
        let written = socket.write_all(request);
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let n = socket.read(&mut chunk)?;
            bytes.extend_from_slice(&chunk[..n]);
            if let Some((response, _)) = Response::parse_one(&bytes, n == 0) {
                if n > 0 && response.header("connection") != "close" {
                    self.socket = Some(socket);
                }
                return Ok(response);
            }
            if n == 0 {
                written?;
                bail!("closed after {} bytes", bytes.len());
            }
        }
    }
}

/// A POST with a JSON body; `headers` are written byte for byte, in order.
pub fn post(path: &str, body: &str, headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: gateway\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    let tail = format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    request.extend_from_slice(tail.as_bytes());
    request
}

/// A GET.
pub fn get(path: &str, headers: &[(String, Vec<u8>)]) -> Vec<u8> {
    let mut request = format!("GET {path} HTTP/1.1\r\nhost: gateway\r\n").into_bytes();
    for (name, value) in headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request
}

/// Answers every request with 200 and a body that holds the request's head. One thread per connection.
#[derive(Debug)]
pub struct EchoOrigin {
    pub address: SocketAddr,
}

impl EchoOrigin {
    /// Serves until the process ends.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        std::thread::spawn(move || {
            for socket in listener.incoming().flatten() {
                std::thread::spawn(move || echo(socket));
            }
        });
        Ok(Self { address })
    }
}

fn echo(mut socket: TcpStream) -> Result<()> {
    socket.set_nodelay(true)?;
    let port = socket.local_addr()?.port();
    let mut bytes: Vec<u8> = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        let n = socket.read(&mut chunk)?;
        if n == 0 {
            return Ok(());
        }
        bytes.extend_from_slice(&chunk[..n]);
        while let Some((head, used)) = whole_request(&bytes) {
            bytes.drain(..used);
            let answer = format!("HTTP/1.1 200 OK\r\nx-echo-port: {port}\r\ncontent-length: {}\r\n\r\n", head.len());
            socket.write_all(&[answer.as_bytes(), &head].concat())?;
        }
    }
}

fn whole_request(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let end = bytes.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let length = head.split("\r\n").find_map(|l| l.strip_prefix("content-length:")?.trim().parse::<usize>().ok());
    let used = match length {
        Some(n) => end + n,
        None if head.contains("transfer-encoding: chunked") => end + unchunk(&bytes[end..])?.1,
        None => end,
    };
    (bytes.len() >= used).then(|| (bytes[..end].to_vec(), used))
}
