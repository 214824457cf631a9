//! The proxy's connections, and how bytes go through them.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::lock;

/// How often a thread that holds bytes back looks whether their connection is still open.
const LOOK: Duration = Duration::from_millis(10);

pub(crate) struct Shared {
    target: SocketAddr,
    pub(crate) delay: Mutex<Duration>,
    pub(crate) silent: AtomicBool,
    pub(crate) deaf: AtomicBool,
    pub(crate) refusing: AtomicBool,
    pub(crate) ended: AtomicBool,
    pub(crate) accepted: AtomicU64,
    pub(crate) round_trips: AtomicU64,
    /// How many bytes clients get until a connection is cut, if one is to be.
    pub(crate) left: Mutex<Option<usize>>,
    /// Each open connection, by the number under which it was accepted.
    open: Mutex<HashMap<u64, Ends>>,
}

/// Both ends of a connection.
struct Ends {
    client: TcpStream,
    server: TcpStream,
}

#[derive(Clone, Copy, PartialEq)]
enum Direction {
    Requests,
    Answers,
}

impl Shared {
    pub(crate) fn new(target: SocketAddr) -> Self {
        Self {
            target,
            delay: Mutex::default(),
            silent: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            refusing: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
            round_trips: AtomicU64::new(0),
            left: Mutex::default(),
            open: Mutex::default(),
        }
    }

    pub(crate) fn accept(self: &Arc<Self>, listener: &TcpListener) {
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

    pub(crate) fn close_all(&self) {
        for (_, ends) in lock(&self.open).drain() {
            ends.close();
        }
    }

    pub(crate) fn reset_all(&self) {
        for (_, ends) in lock(&self.open).drain() {
            ends.reset();
        }
    }

    /// Connects the client to the server.
    fn join(self: &Arc<Self>, id: u64, client: TcpStream) -> std::io::Result<()> {
        let server = TcpStream::connect(self.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let requests = (client.try_clone()?, server.try_clone()?);
        let answers = (server.try_clone()?, client.try_clone()?);
        lock(&self.open).insert(id, Ends { client, server });
        self.pump(id, requests, Direction::Requests);
        self.pump(id, answers, Direction::Answers);
        Ok(())
    }

    /// Passes on what arrives, by a thread that reads and one that writes when it is due.
    fn pump(
        self: &Arc<Self>,
        id: u64,
        (mut from, mut to): (TcpStream, TcpStream),
        direction: Direction,
    ) {
        let (queue, due) = mpsc::channel::<(Instant, Vec<u8>)>();
        let shared = self.clone();
        thread::spawn(move || {
            let mut chunk = vec![0; 64 * 1024];
            while let Ok(length @ 1..) = from.read(&mut chunk) {
                if direction == Direction::Requests {
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
                if !shared.is_open_until(at, id) {
                    break;
                }
                if shared.swallows(direction) {
                    continue;
                }
                let (length, is_last) = shared.allowed(direction, bytes.len());
                if to.write_all(&bytes[..length]).is_err() || is_last {
                    break;
                }
            }
            // One direction has ended, and all of it is passed on: so has the connection.
            if let Some(ends) = lock(&shared.open).remove(&id) {
                ends.close();
            }
        });
    }

    /// Waits, for as long as the connection is open.
    fn is_open_until(&self, at: Instant, id: u64) -> bool {
        loop {
            let left = at.saturating_duration_since(Instant::now());
            let open = lock(&self.open).contains_key(&id);
            if !open || left.is_zero() {
                return open;
            }
            thread::sleep(left.min(LOOK));
        }
    }

    fn swallows(&self, direction: Direction) -> bool {
        let deaf = direction == Direction::Answers && self.deaf.load(SeqCst);
        deaf || self.silent.load(SeqCst)
    }

    /// How many of so many bytes may be passed on, and whether the connection is to be cut then.
    fn allowed(&self, direction: Direction, bytes: usize) -> (usize, bool) {
        let mut limit = lock(&self.left);
        match *limit {
            Some(left) if direction == Direction::Answers => {
                *limit = (bytes < left).then(|| left - bytes);
                (bytes.min(left), bytes >= left)
            }
            _ => (bytes, false),
        }
    }
}

impl Ends {
    fn close(self) {
        for end in [self.client, self.server] {
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// The client's end is reset when the last thread that has it lets go of it, which is as soon
    /// as nothing more can be read from either end. Were it shut down as well, it would end first.
    fn reset(self) {
        let _ = SockRef::from(&self.client).set_linger(Some(Duration::ZERO));
        let _ = self.client.shutdown(Shutdown::Read);
        let _ = self.server.shutdown(Shutdown::Both);
    }
}
