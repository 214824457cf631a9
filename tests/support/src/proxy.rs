//! A TCP proxy that misbehaves on request.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::lock;

/// A TCP proxy on a free port of 127.0.0.1. It ends, and cuts its connections, when dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

struct Shared {
    target: SocketAddr,
    delay: Mutex<Duration>,
    silent: AtomicBool,
    refusing: AtomicBool,
    ended: AtomicBool,
    accepted: AtomicU64,
    round_trips: AtomicU64,
    /// Both ends of each open connection, by the number under which it was accepted.
    open: Mutex<HashMap<u64, [TcpStream; 2]>>,
}

impl Proxy {
    /// Starts a proxy for the server at `target`, which need not be there yet.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared {
            target,
            delay: Mutex::default(),
            silent: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            open: Mutex::default(),
        });
        let listener = thread::spawn({
            let shared = shared.clone();
            move || shared.accept(&listener)
        });
        Self { addr, shared, listener: Some(listener) }
    }

    /// The address it listens on.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// `redis://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.addr)
    }

    /// Holds back whatever arrives from now on for so long, in each direction, as a long wire
    /// does: what follows is not held up by what went before.
    pub fn set_delay(&self, delay: Duration) {
        *lock(&self.shared.delay) = delay;
    }

    /// Swallows all bytes in both directions; connections stay open and new ones are accepted.
    pub fn set_silent(&self, silent: bool) {
        self.shared.silent.store(silent, SeqCst);
    }

    /// Closes all current connections, on both sides.
    pub fn cut(&self) {
        for (_, ends) in lock(&self.shared.open).drain() {
            close(&ends);
        }
    }

    /// Closes new connections as soon as they are accepted; current ones go on.
    pub fn refuse(&self, refuse: bool) {
        self.shared.refusing.store(refuse, SeqCst);
    }

    /// How many pieces of data clients have sent, swallowed ones included: one for each request
    /// that waits for its answer before the next.
    pub fn round_trips(&self) -> u64 {
        self.shared.round_trips.load(SeqCst)
    }

    /// How many connections clients have opened, refused ones included.
    pub fn accepted(&self) -> u64 {
        self.shared.accepted.load(SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, SeqCst);
        // Wakes the listener, which then sees that it has ended.
        let _ = TcpStream::connect(self.addr);
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
        self.cut();
    }
}

impl Shared {
    fn accept(self: &Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            if self.ended.load(SeqCst) {
                return;
            }
            let id = self.accepted.fetch_add(1, SeqCst);
            if self.refusing.load(SeqCst) {
                continue;
            }
            // A server that is away shows as a connection closed at once.
            let _ = client.and_then(|client| self.join(id, client));
        }
    }

    /// Connects the client to the server.
    fn join(self: &Arc<Self>, id: u64, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let requests = (client.try_clone()?, server.try_clone()?);
        let answers = (server.try_clone()?, client.try_clone()?);
        lock(&self.open).insert(id, [client, server]);
        self.pump(id, requests, true);
        self.pump(id, answers, false);
        Ok(())
    }

    /// Passes on what arrives, by a thread that reads and one that writes when it is due.
    fn pump(self: &Arc<Self>, id: u64, (mut from, mut to): (TcpStream, TcpStream), requests: bool) {
        let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
        let shared = self.clone();
        thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from.read(&mut chunk) {
                if requests {
                    shared.round_trips.fetch_add(1, SeqCst);
                }
                let at = Instant::now() + *lock(&shared.delay);
                if queue.send((at, chunk[..length].to_vec())).is_err() {
                    break;
                }
            }
        });
        let shared = self.clone();
        thread::spawn(move || {
            for (at, bytes) in due {
                thread::sleep(at.saturating_duration_since(Instant::now()));
                if !shared.silent.load(SeqCst) && to.write_all(&bytes).is_err() {
                    break;
                }
            }
            // One direction has ended, and all of it is passed on: so has the connection.
            if let Some(ends) = lock(&shared.open).remove(&id) {
                close(&ends);
            }
        });
    }
}

fn close(ends: &[TcpStream]) {
    for end in ends {
        let _ = end.shutdown(Shutdown::Both);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;

    /// A server that sends everything back, for as long as the test process lives.
    fn echo() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("bind");
        let addr = listener.local_addr().expect("address");
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
            }
        });
        addr
    }

    fn connect(proxy: &Proxy) -> TcpStream {
        let stream = TcpStream::connect(proxy.addr()).expect("connect");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        stream
    }

    fn ask(stream: &mut TcpStream) -> Duration {
        let start = Instant::now();
        stream.write_all(b"hello").expect("write");
        let mut answer = [0; 5];
        stream.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"hello");
        start.elapsed()
    }

    /// Whether the proxy has closed the connection, with or without complaint.
    fn is_closed(mut stream: &TcpStream) -> bool {
        match stream.read(&mut [0]) {
            Ok(length) => length == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    #[test]
    fn passes_on_and_counts() {
        let proxy = Proxy::to(echo());
        let mut stream = connect(&proxy);
        for _ in 0..3 {
            ask(&mut stream);
        }
        assert_eq!((proxy.round_trips(), proxy.accepted()), (3, 1));
    }

    #[test]
    fn delays_each_way() {
        let proxy = Proxy::to(echo());
        let mut stream = connect(&proxy);
        proxy.set_delay(Duration::from_millis(50));
        assert!(ask(&mut stream) >= Duration::from_millis(100));
        // The second request is under way together with the first one: one after the other they
        // would take 900 ms.
        proxy.set_delay(Duration::from_millis(300));
        let start = Instant::now();
        stream.write_all(b"one").expect("write");
        thread::sleep(Duration::from_millis(20));
        stream.write_all(b"two").expect("write");
        stream.read_exact(&mut [0; 6]).expect("read");
        let took = start.elapsed();
        assert!((620..850).contains(&took.as_millis()), "{took:?}");
    }

    #[test]
    fn is_silent_until_told_otherwise() {
        let proxy = Proxy::to(echo());
        let mut stream = connect(&proxy);
        proxy.set_silent(true);
        stream.write_all(b"lost").expect("write");
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let error = stream.read(&mut [0]).expect_err("nothing arrives");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        proxy.set_silent(false);
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        ask(&mut stream);
    }

    #[test]
    fn cuts_and_refuses() {
        let proxy = Proxy::to(echo());
        let (mut old, mut kept) = (connect(&proxy), connect(&proxy));
        ask(&mut old);
        ask(&mut kept);
        proxy.refuse(true);
        assert!(is_closed(&connect(&proxy)));
        ask(&mut kept);
        proxy.cut();
        assert!(is_closed(&old) && is_closed(&kept));
        proxy.refuse(false);
        ask(&mut connect(&proxy));
        assert_eq!(proxy.accepted(), 4);
    }

    #[test]
    fn dropping_ends_everything() {
        let proxy = Proxy::to(echo());
        let (addr, shared) = (proxy.addr(), Arc::downgrade(&proxy.shared));
        let mut stream = connect(&proxy);
        ask(&mut stream);
        drop(proxy);
        assert!(is_closed(&stream));
        assert!(TcpStream::connect(addr).is_err());
        let deadline = Instant::now() + Duration::from_secs(5);
        while shared.strong_count() > 0 {
            assert!(Instant::now() < deadline, "threads are left");
            thread::sleep(Duration::from_millis(5));
        }
    }

    #[test]
    fn an_absent_server_closes() {
        let proxy = Proxy::to((Ipv4Addr::LOCALHOST, crate::free_port()).into());
        assert!(is_closed(&connect(&proxy)));
    }
}
