//! A TCP proxy that misbehaves on request.

mod wire;

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::lock;
use wire::Shared;

/// A TCP proxy on a free port of 127.0.0.1. It ends, and cuts its connections, when dropped.
pub struct Proxy {
    addr: SocketAddr,
    shared: Arc<Shared>,
    listener: Option<JoinHandle<()>>,
}

impl Proxy {
    /// Starts a proxy for the server at `target`, which need not be there yet.
    #[must_use]
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("no free port");
        let addr = listener.local_addr().expect("a bound socket has an address");
        let shared = Arc::new(Shared::new(target));
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

    /// Swallows what servers send, as long as it is set; what clients send is delivered, and done.
    pub fn set_deaf(&self, deaf: bool) {
        self.shared.deaf.store(deaf, SeqCst);
    }

    /// Closes all current connections, on both sides.
    pub fn cut(&self) {
        self.shared.close_all();
    }

    /// Closes all current connections like [`Self::cut`], but towards clients by a reset: what was
    /// on its way to them is lost, and they are told of an error instead of an end.
    pub fn reset(&self) {
        self.shared.reset_all();
    }

    /// Passes on `bytes` more to clients, and then closes the connection that the last of them went
    /// to: in the middle of an answer, or between two of a pipeline. With 0, the connection is
    /// closed instead of the next answer. That is done once, and other connections go on.
    pub fn cut_after(&self, bytes: usize) {
        *lock(&self.shared.left) = Some(bytes);
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

#[cfg(test)]
mod tests {
    use std::io::{ErrorKind, Read, Write};
    use std::time::Instant;

    use super::*;
    use crate::RedisServer;
    use crate::testing::eventually;

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
    fn cuts_an_answer_short() {
        let proxy = Proxy::to(echo());
        let (mut other, mut stream) = (connect(&proxy), connect(&proxy));
        ask(&mut other);
        ask(&mut stream);
        proxy.cut_after(7);
        ask(&mut stream);
        stream.write_all(b"hello").expect("write");
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).expect("an end");
        assert_eq!(answer, b"he");
        ask(&mut other);
        proxy.cut_after(0);
        other.write_all(b"hello").expect("write");
        assert!(is_closed(&other));
        ask(&mut connect(&proxy));
    }

    #[test]
    fn a_reset_is_an_error_to_the_client() {
        let proxy = Proxy::to(echo());
        let (mut first, mut second) = (connect(&proxy), connect(&proxy));
        ask(&mut first);
        ask(&mut second);
        // What is held back does not hold up the reset.
        proxy.set_delay(Duration::from_secs(60));
        first.write_all(b"hello").expect("write");
        assert!(eventually(|| proxy.round_trips() == 3));
        proxy.reset();
        for mut stream in [first, second] {
            let error = stream.read(&mut [0]).expect_err("no end, but a reset");
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
        proxy.set_delay(Duration::ZERO);
        // A cut is an end.
        let mut stream = connect(&proxy);
        ask(&mut stream);
        proxy.cut();
        assert_eq!(stream.read(&mut [0]).expect("an end"), 0);
    }

    #[test]
    fn a_deaf_client_is_obeyed() {
        let server = RedisServer::start();
        let proxy = Proxy::to(server.addr());
        let mut stream = connect(&proxy);
        proxy.set_deaf(true);
        stream.write_all(b"SET a 1\r\n").expect("write");
        assert!(eventually(|| server.keys() == ["a"]));
        stream.set_read_timeout(Some(Duration::from_millis(100))).expect("timeout");
        let error = stream.read(&mut [0]).expect_err("nothing arrives");
        assert_eq!(error.kind(), ErrorKind::WouldBlock);
        proxy.set_deaf(false);
        stream.write_all(b"PING\r\n").expect("write");
        stream.set_read_timeout(Some(Duration::from_secs(5))).expect("timeout");
        let mut answer = [0; 7];
        stream.read_exact(&mut answer).expect("read");
        assert_eq!(&answer, b"+PONG\r\n");
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
