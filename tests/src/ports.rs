//! Free loopback ports. A port is held until it is handed out, so that two tests of one process never get the same.
use std::{
    collections::HashSet,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::{LazyLock, Mutex, PoisonError},
};

static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A free address on 127.0.0.1, below the range from which the kernel picks ports for outgoing connections.
pub fn free() -> anyhow::Result<SocketAddr> {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    for _ in 0..1_000 {
        let port: u16 = rand::random_range(15_000..31_000);
        if given.contains(&port) {
            continue;
        }
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            given.insert(port);
            return Ok(listener.local_addr()?);
        }
    }
    anyhow::bail!("no free loopback port")
}
