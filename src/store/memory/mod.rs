//! The in-process store.
//!
//! Shelves, by noun, each behind its own lock and bounded in bytes. No lock is held
//! across an await, and nothing runs in the background: what expired makes room when it is met.

mod batch;
mod cache;
mod channel;
mod clock;
mod consumer;
mod ends;
mod lock;
mod log;
mod monitoring;
mod permit;
mod presence;
mod rate_limit;
mod scan;
mod session;
mod shelf;
mod token;
mod values;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use self::cache::Responses;
use self::clock::Clock;
use self::lock::Locks;
use self::log::Logs;
use self::permit::Semaphores;
use self::presence::Presences;
use self::rate_limit::Limits;
use self::shelf::{Overflow, Shelf};
use self::values::Values;
use super::StoreError;
use super::channels::Channels;
use super::keys::Fingerprint;
use super::verbs::Verb;
use crate::policy::Timestamp;
use crate::policy::session::Record;

/// How a verb is done in process.
pub(crate) trait OnMemory: Verb {
    fn on_memory(self, memory: &Memory) -> Result<Self::Answer, StoreError>;
}

#[derive(Debug)]
pub(crate) struct Memory {
    clock: Clock,
    limits: Limits,
    sessions: Mutex<Shelf<Fingerprint, Record>>,
    revoked_tokens: Mutex<Shelf<Fingerprint, ()>>,
    revoked_subjects: Mutex<Shelf<Fingerprint, Timestamp>>,
    responses: Mutex<Responses>,
    values: Mutex<Values>,
    locks: Mutex<Locks>,
    semaphores: Mutex<Semaphores>,
    logs: Mutex<Logs>,
    presences: Mutex<Presences>,
    channels: Arc<Channels>,
}

impl Memory {
    /// `capacity` in bytes, of which each noun has a sixth, but that locks, permits and presences,
    /// which are small, have some of the logs'.
    pub(crate) fn new(capacity: usize) -> Memory {
        let (share, locks, presences) = (capacity / 6, capacity / 64, capacity / 32);
        let semaphores = locks;
        Memory {
            clock: Clock::new(),
            limits: Limits::new(share),
            // Forgetting a session, a revocation or a log is harm, so these refuse new ones instead.
            sessions: Mutex::new(Shelf::new(share, Overflow::Refuse)),
            revoked_tokens: Mutex::new(Shelf::new(share / 2, Overflow::Refuse)),
            revoked_subjects: Mutex::new(Shelf::new(share / 2, Overflow::Refuse)),
            responses: Mutex::new(Responses::new(share)),
            values: Mutex::new(Shelf::new(share, Overflow::Evict)),
            locks: Mutex::new(Locks::new(locks)),
            // A permit that is forgotten is one too many.
            semaphores: Mutex::new(Shelf::new(semaphores, Overflow::Refuse)),
            logs: Mutex::new(Shelf::new(share - presences - locks - semaphores, Overflow::Refuse)),
            presences: Mutex::new(Shelf::new(presences, Overflow::Refuse)),
            channels: Channels::here(),
        }
    }

    pub(crate) fn started(&self) -> Timestamp {
        self.clock.started_at()
    }

    pub(crate) fn now(&self) -> Timestamp {
        self.clock.now()
    }
}

/// A verb that panicked (on exhausted memory, say) leaves a shelf whole: every act on it is a
/// single insertion or removal.
fn lock<T>(shelf: &Mutex<T>) -> MutexGuard<'_, T> {
    shelf.lock().unwrap_or_else(PoisonError::into_inner)
}
