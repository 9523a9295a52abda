//! Whether the addresses of the parts can be had, asked before anything is started, with the process that has them. Binds and
//! lets go; keeps nothing.
use std::{
    io::ErrorKind,
    net::{IpAddr, SocketAddr, TcpListener},
    path::Path,
    time::{Duration, Instant},
};

use crate::{config::Settings, error::Error};

/// Sockets of an `up` that was killed a moment ago are let go within this.
const PATIENCE: Duration = Duration::from_millis(800);
const POLL: Duration = Duration::from_millis(50);

/// Tries every address that a part of `up` will listen on.
///
/// # Errors
/// TG-1540 with all that cannot be had.
pub async fn check(settings: &Settings) -> Result<(), Error> {
    let begun = Instant::now();
    let wanted = [
        ("admin API", "--admin-listen", settings.admin_listen),
        ("ADS and the fleet service", "--grpc-listen", settings.grpc_listen),
        ("gateway", "--gateway-listen", settings.gateway_listen),
    ];
    loop {
        let refused: Vec<_> =
            wanted.iter().filter_map(|(what, flag, at)| Some((what, flag, at, TcpListener::bind(at).err()?))).collect();
        let in_use = refused.iter().any(|(.., error)| error.kind() == ErrorKind::AddrInUse);
        if refused.is_empty() {
            return Ok(());
        }
        if !in_use || begun.elapsed() > PATIENCE {
            let lines = refused
                .iter()
                .map(|(what, flag, at, error)| format!("{at} for the {what} ({flag}): {}", why(**at, error)));
            return Err(Error::Address { lines: lines.collect() });
        }
        tokio::time::sleep(POLL).await;
    }
}

/// What keeps somebody from listening at `at`, and what to do.
pub fn why(at: SocketAddr, error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::AddrInUse => {
            let who = holder(at).unwrap_or_else(|| "another process".to_owned());
            format!("{who} listens there; stop it, or choose another address")
        }
        ErrorKind::AddrNotAvailable => "no interface of this machine has this address".to_owned(),
        ErrorKind::PermissionDenied => {
            "this user may not listen there; choose a port from 1024 on, or give the permission (CAP_NET_BIND_SERVICE)"
                .to_owned()
        }
        _ if at.is_ipv6() && error.raw_os_error() == Some(97) => "IPv6 is switched off on this machine".to_owned(),
        _ => error.to_string(),
    }
}

/// The process that listens at an address which is in the way of `at`, if it may be seen: `process 123 (envoy)`.
pub fn holder(at: SocketAddr) -> Option<String> {
    let tables = ["/proc/net/tcp", "/proc/net/tcp6"].map(|file| std::fs::read_to_string(file).unwrap_or_default());
    let inodes: Vec<String> = tables.iter().flat_map(|text| listening(text, at)).collect();
    if inodes.is_empty() {
        return None;
    }
    let processes = std::fs::read_dir("/proc").ok()?.flatten();
    for process in processes.filter(|p| p.file_name().to_string_lossy().bytes().all(|b| b.is_ascii_digit())) {
        let Ok(open) = std::fs::read_dir(process.path().join("fd")) else { continue };
        let links = open.flatten().filter_map(|file| std::fs::read_link(file.path()).ok());
        let mut names = links.map(|link| link.to_string_lossy().into_owned());
        if names.any(|name| inodes.iter().any(|inode| name == format!("socket:[{inode}]"))) {
            return Some(named(&process.path()));
        }
    }
    None
}

/// Inodes of listening sockets of a table of the kernel that are in the way of `at`.
fn listening(table: &str, at: SocketAddr) -> Vec<String> {
    let inode = |line: &str| {
        let mut fields = line.split_whitespace().skip(1);
        let (address, port) = fields.next()?.split_once(':')?;
        let (state, inode) = (fields.nth(1)?, fields.nth(5)?);
        let same_port = u16::from_str_radix(port, 16).ok()? == at.port();
        let theirs = address_of(address)?;
        let in_the_way = theirs == at.ip().to_canonical() || theirs.is_unspecified() || at.ip().is_unspecified();
        (state == "0A" && same_port && in_the_way).then(|| inode.to_owned())
    };
    table.lines().skip(1).filter_map(inode).collect()
}

/// `0100007F` is 127.0.0.1; 32 digits are four such words.
fn address_of(hex: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(hex.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    if hex.len() == 8 {
        return Some(IpAddr::from(word(0)?));
    }
    let bytes = [word(0)?, word(8)?, word(16)?, word(24)?].concat();
    Some(IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical())
}

/// `process 123 (tidegate serve --data-dir /srv/tg)`: of a Tidegate also which; other command lines may hold secrets.
fn named(process: &Path) -> String {
    let pid = process.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    let name = std::fs::read_to_string(process.join("comm")).unwrap_or_default().trim().to_owned();
    let line = std::fs::read(process.join("cmdline")).unwrap_or_default();
    let args: Vec<String> = line.split(|b| *b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
    let dir = args.iter().position(|a| a == "--data-dir").and_then(|at| args.get(at + 1));
    match dir {
        Some(dir) if name == "tidegate" => {
            format!("process {pid} (tidegate {} --data-dir {dir})", args.get(1).map_or("", String::as_str))
        }
        Some(_) | None => format!("process {pid} ({name})"),
    }
}

#[cfg(test)]
mod tests {
    //! Who is in the way.
    use super::*;

    #[test]
    fn the_process_that_listens_is_named() {
        for (bind, ask) in
            [("127.0.0.1:0", "127.0.0.1"), ("0.0.0.0:0", "127.0.0.1"), ("[::1]:0", "::1"), ("[::]:0", "127.0.0.1")]
        {
            let Ok(listener) = TcpListener::bind(bind) else { continue };
            let at = SocketAddr::new(ask.parse().unwrap(), listener.local_addr().unwrap().port());
            let who = holder(at).unwrap();
            assert!(who.starts_with(&format!("process {} (", std::process::id())), "{bind}: {who}");
            let error = TcpListener::bind(at).unwrap_err();
            assert!(why(at, &error).contains("listens there; stop it"), "{}", why(at, &error));
            drop(listener);
            assert_eq!(holder(at), None);
        }
    }

    #[test]
    fn an_address_of_nobody_and_a_port_of_root_are_told_apart() {
        let foreign: SocketAddr = "192.0.2.1:9080".parse().unwrap();
        assert!(why(foreign, &TcpListener::bind(foreign).unwrap_err()).contains("no interface"));
        let denied = std::io::Error::from(ErrorKind::PermissionDenied);
        assert!(why("127.0.0.1:80".parse().unwrap(), &denied).contains("1024"));
    }
}
