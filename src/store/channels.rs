//! Who listens to which channel in this process. On memory that is all there is; on Redis one
//! connection brings what arrives here, and is told by this what to subscribe to.

use std::collections::HashMap;
use std::fmt;
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio::sync::Notify;

use super::StoreError;
use super::mailbox::{Delivery, Mailbox};

/// What hears of a channel at once, while the map is locked: it asks nothing of the map meanwhile.
pub(super) trait Ear: Send + Sync {
    fn put(&self, message: Bytes);
    /// Messages arrive from now on.
    fn open(&self);
    /// Messages may be missed from now on, until it is open again.
    fn interrupt(&self) {}
    /// Messages will not arrive.
    fn refuse(&self, _: &StoreError) {}
    /// Nothing will arrive any more.
    fn end(&self);
}

pub(crate) struct Channels {
    state: Mutex<State>,
    /// Somebody came or left: for the source.
    changed: Notify,
}

struct State {
    channels: HashMap<Arc<str>, Channel>,
    source: Source,
    /// Channels that were opened or closed since the source has looked.
    changes: Vec<Arc<str>>,
    next_listener: u64,
    ended: bool,
}

/// Where messages come from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Source {
    /// From this process: messages arrive as soon as somebody listens.
    Here,
    /// From a connection, of which a task takes care.
    Connection(Task),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Task {
    /// It is not there: nobody listens.
    Absent,
    /// It has no connection. When it has one, it will ask for all channels.
    Connects,
    /// It has a connection, and is told of every change.
    Serves,
}

#[derive(Default)]
struct Channel {
    listeners: HashMap<u64, Arc<dyn Ear>>,
    /// Whether messages arrive.
    is_open: bool,
}

/// What a channel's name needs of the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    Open,
    Closed,
}

impl Channels {
    /// For messages of this process.
    pub(super) fn here() -> Arc<Channels> {
        Channels::new(Source::Here)
    }

    /// For messages that a connection brings.
    pub(super) fn of_connection() -> Arc<Channels> {
        Channels::new(Source::Connection(Task::Absent))
    }

    fn new(source: Source) -> Arc<Channels> {
        Arc::new(Channels {
            state: Mutex::new(State {
                channels: HashMap::new(),
                source,
                changes: Vec::new(),
                next_listener: 0,
                ended: false,
            }),
            changed: Notify::new(),
        })
    }

    /// A new listener, and whether somebody has to start the source's task for it.
    pub(super) fn listen(self: &Arc<Channels>, name: &str, capacity: usize) -> (Listener, bool) {
        let state = &mut *self.lock();
        let mailbox = Arc::new(Mailbox::new(capacity, state.is_open(name)));
        let (seat, start) = self.seat(state, name, mailbox.clone());
        (Listener { mailbox, seat }, start)
    }

    /// The same for what waits in no queue.
    pub(super) fn hear(self: &Arc<Channels>, name: &str, ear: Arc<dyn Ear>) -> (Seat, bool) {
        let state = &mut *self.lock();
        if state.is_open(name) {
            ear.open();
        }
        self.seat(state, name, ear)
    }

    fn seat(
        self: &Arc<Channels>,
        state: &mut State,
        name: &str,
        ear: Arc<dyn Ear>,
    ) -> (Seat, bool) {
        let name = match state.channels.get_key_value(name) {
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        let id = state.next_listener;
        state.next_listener += 1;
        let seat = Seat { channels: self.clone(), name: name.clone(), id };
        if state.ended {
            ear.end();
            return (seat, false);
        }
        let channel = state.channels.entry(name.clone()).or_default();
        channel.is_open |= state.source == Source::Here;
        let is_open = channel.is_open;
        channel.listeners.insert(id, ear);
        let start = state.source == Source::Connection(Task::Absent);
        if start {
            state.source = Source::Connection(Task::Connects);
        }
        // Also where others listen in vain: what was refused is asked again.
        if !is_open {
            self.note(state, &name);
        }
        (seat, start)
    }

    /// A message, to all that listen to its channel.
    pub(super) fn deliver(&self, name: &str, message: &Bytes) {
        if let Some(channel) = self.lock().channels.get(name) {
            channel.listeners.values().for_each(|ear| ear.put(message.clone()));
        }
    }

    /// Ends all listening, now and from now on.
    pub(crate) fn end(&self) {
        let state = &mut *self.lock();
        state.ended = true;
        for channel in state.channels.drain() {
            channel.1.listeners.values().for_each(|ear| ear.end());
        }
        self.changed.notify_one();
    }

    fn leave(&self, name: &Arc<str>, listener: u64) {
        let state = &mut *self.lock();
        let Some(channel) = state.channels.get_mut(name) else { return };
        channel.listeners.remove(&listener);
        if channel.listeners.is_empty() {
            state.channels.remove(name);
            self.note(state, name);
        }
    }

    /// Without a connection there is nothing to note: a new one is told of all that is open then.
    fn note(&self, state: &mut State, name: &Arc<str>) {
        if state.source == Source::Connection(Task::Serves) {
            state.changes.push(name.clone());
            self.changed.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_open(&self, name: &str) -> bool {
        let is_open = self.channels.get(name).is_some_and(|channel| channel.is_open);
        self.ended || self.source == Source::Here || is_open
    }
}

/// For the task that takes care of the connection.
impl Channels {
    /// Whether the task may end, as nobody listens: who comes from now on starts another one.
    pub(super) fn rest(&self) -> bool {
        let state = &mut *self.lock();
        let rests = state.channels.is_empty();
        if rests {
            state.source = Source::Connection(Task::Absent);
            state.changes = Vec::new();
        }
        rests
    }

    /// There is a connection that has to be told of every channel.
    pub(super) fn connected(&self) {
        let state = &mut *self.lock();
        state.source = Source::Connection(Task::Serves);
        state.changes = state.channels.keys().cloned().collect();
    }

    /// The connection is lost.
    pub(super) fn interrupted(&self) {
        let state = &mut *self.lock();
        state.source = Source::Connection(Task::Connects);
        state.changes = Vec::new();
        for channel in state.channels.values_mut().filter(|channel| channel.is_open) {
            channel.is_open = false;
            channel.listeners.values().for_each(|ear| ear.interrupt());
        }
    }

    /// Waits for a change.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Some channels that have changed, and what they need now. A name may come twice.
    pub(super) fn changes(&self, limit: usize) -> Vec<(Arc<str>, Need)> {
        let state = &mut *self.lock();
        let rest = state.changes.len().saturating_sub(limit);
        let names = state.changes.split_off(rest);
        let need = |name: &Arc<str>| match state.channels.contains_key(name) {
            true => Need::Open,
            false => Need::Closed,
        };
        names.into_iter().map(|name| (name.clone(), need(&name))).collect()
    }

    /// Messages of a channel arrive from now on.
    pub(super) fn open(&self, name: &str) {
        if let Some(channel) = self.lock().channels.get_mut(name)
            && !channel.is_open
        {
            channel.is_open = true;
            channel.listeners.values().for_each(|ear| ear.open());
        }
    }

    /// Messages of a channel will not arrive.
    pub(super) fn refuse(&self, name: &str, error: &StoreError) {
        if let Some(channel) = self.lock().channels.get(name) {
            channel.listeners.values().for_each(|ear| ear.refuse(error));
        }
    }
}

/// Never the names: they may be somebody's.
impl fmt::Debug for Channels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        let listeners: usize = state.channels.values().map(|it| it.listeners.len()).sum();
        f.debug_struct("Channels")
            .field("channels", &state.channels.len())
            .field("listeners", &listeners)
            .finish_non_exhaustive()
    }
}

/// One who listens to a channel, until it is dropped.
#[derive(Debug)]
pub(crate) struct Listener {
    mailbox: Arc<Mailbox>,
    #[expect(dead_code, reason = "its end is the listener's")]
    seat: Seat,
}

/// A place among those who listen to a channel, until it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    channels: Arc<Channels>,
    name: Arc<str>,
    id: u64,
}

impl Listener {
    /// What waits, then what arrives; `None` when the store has ended.
    pub(crate) fn poll_next(&self, cx: &Context<'_>) -> Poll<Option<Delivery>> {
        self.mailbox.poll_take(cx)
    }

    pub(crate) fn set_capacity(&self, messages: usize) {
        self.mailbox.set_capacity(messages);
    }

    /// Waits until it is known whether messages arrive.
    pub(super) async fn standing(&self) {
        poll_fn(|cx| self.mailbox.poll_standing(cx)).await;
    }

    /// Gives up waiting for that. Fails if messages are known not to arrive.
    pub(super) fn wait_no_more(&self) -> Result<(), StoreError> {
        self.mailbox.wait_no_more()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.channels.leave(&self.name, self.id);
    }
}
