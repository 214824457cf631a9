//! Ports for servers that have to be told theirs.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

/// Below what the systems hand out to outgoing connections. A client that keeps knocking at a
/// stopped server's port must not be given that very port as its own end.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;

/// A port on 127.0.0.1 that nothing listens on, and that this process has not been given before.
///
/// Another process may take it first: a server that cannot bind has to ask for another one.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    // Test binaries run side by side; they start far from each other.
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(131) % COUNT));
    (0..COUNT)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT)
        .map(|port| u16::try_from(port).expect("the range ends below 65536"))
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("no free port on 127.0.0.1")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_differ_and_are_free_unless_another_process_was_quicker() {
        let ports: Vec<_> = (0..10).map(|_| free_port()).collect();
        let bound =
            ports.iter().filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, **port)).is_ok());
        assert!(bound.count() >= 8, "{ports:?}");
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
    }
}
