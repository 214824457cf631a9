//! Ports for servers that have to be told theirs.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use socket2::{Domain, Socket, Type};

/// Below what the systems hand out to outgoing connections. A client that keeps knocking at a
/// stopped server's port must not be given that very port as its own end.
const FIRST: u32 = 15_000;
const COUNT: u32 = 15_000;

/// A port on 127.0.0.1 that nothing listens on, that is not kept for a stopped server, and that this
/// process has not been given before.
///
/// Another process may take it first: a server that cannot bind has to ask for another one.
pub fn free_port() -> u16 {
    static NEXT: OnceLock<AtomicU32> = OnceLock::new();
    // Test binaries run side by side; they start far from each other.
    let next = NEXT.get_or_init(|| AtomicU32::new(std::process::id().wrapping_mul(131) % COUNT));
    (0..COUNT)
        .map(|_| FIRST + next.fetch_add(1, Ordering::Relaxed) % COUNT)
        .map(|port| u16::try_from(port).expect("the range ends below 65536"))
        // Without the option to share the port, it must be nobody's, even if nobody listens.
        .find(|&port| bind(port, false).is_ok())
        .expect("no free port on 127.0.0.1")
}

/// Keeps the port of a stopped server from being taken by others, who would be told that it is
/// free. Nothing listens on it: who connects is refused.
pub(crate) fn keep(port: u16) -> io::Result<Socket> {
    // Connections of the server may be there for a while, which only this option ignores.
    bind(port, true)
}

/// A port that nothing listens on as long as the socket is there.
pub(crate) fn silent_port() -> io::Result<(u16, Socket)> {
    let socket = bind(0, false)?;
    let addr = socket.local_addr()?.as_socket().ok_or(io::ErrorKind::AddrNotAvailable)?;
    Ok((addr.port(), socket))
}

fn bind(port: u16, shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(shared)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn a_port_that_is_kept_is_not_free_and_refuses() {
        let port = free_port();
        let kept = keep(port).expect("it is free");
        assert!(bind(port, false).is_err());
        assert!(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err());
        drop(kept);
        assert!(bind(port, false).is_ok());
    }

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
