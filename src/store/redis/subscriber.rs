use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_core::Stream;
use redis::aio::{PubSub, PubSubSink, PubSubStream};
use redis::{Msg, RedisResult, Value};
use tokio::runtime::Handle;
use tokio::time::{Interval, MissedTickBehavior, interval, sleep, timeout};

use super::Servers;
use super::status::Status;
use crate::policy::breaker::{Failure, backoff, gives_up};
use crate::store::StoreError;
use crate::store::channels::{Channels, Ear, Listener, Need, Seat};
use crate::store::error::Kind;

/// How long a new connection may take. Later on, a connection on which nothing has arrived for so
/// long is asked whether it is still there, and given up after as long again.
const PATIENCE: Duration = Duration::from_secs(2);

/// How many channels one request names.
const BATCH: usize = 512;

/// Listens on one connection for all that this store's handles listen to.
///
/// A task has the connection: it is started by the first who listens, and ends with the last. It
/// makes the connection's subscriptions what [`Channels`] says they should be, delivers what
/// arrives, and connects anew after a loss; each channel that is subscribed to again is a gap.
pub(super) struct Subscriber {
    shared: Arc<Shared>,
    deadline: Duration,
    /// Where the store lives. A caller's own runtime may end before.
    runtime: Handle,
}

struct Shared {
    servers: Arc<Servers>,
    status: Arc<Status>,
    channels: Arc<Channels>,
}

impl Subscriber {
    /// # Panics
    /// Outside of a tokio runtime.
    pub(super) fn new(
        servers: Arc<Servers>,
        status: Arc<Status>,
        deadline: Duration,
    ) -> Subscriber {
        let shared = Shared { servers, status, channels: Channels::of_connection() };
        Subscriber { shared: Arc::new(shared), deadline, runtime: Handle::current() }
    }

    pub(super) fn runtime(&self) -> Handle {
        self.runtime.clone()
    }

    pub(super) fn channels(&self) -> &Channels {
        &self.shared.channels
    }

    /// Has it told of all that arrives, without waiting until something does.
    pub(super) fn hear(&self, channel: &str, ear: Arc<dyn Ear>) -> Seat {
        let (seat, start) = self.shared.channels.hear(channel, ear);
        self.run(start);
        seat
    }

    /// # Cancel safety
    /// Who leaves listens no more.
    pub(super) async fn listen(
        &self,
        channel: &str,
        capacity: usize,
        is_up: bool,
    ) -> Result<Listener, StoreError> {
        let (listener, start) = self.shared.channels.listen(channel, capacity);
        self.run(start);
        let wait = if is_up { self.deadline } else { Duration::ZERO };
        let _ = timeout(wait, listener.standing()).await;
        listener.wait_no_more()?;
        Ok(listener)
    }

    #[expect(
        clippy::disallowed_methods,
        reason = "one task per store, which ends with the last who listens"
    )]
    fn run(&self, start: bool) {
        if start {
            self.runtime.spawn(self.shared.clone().run());
        }
    }
}

/// Who listens learns that nothing will come any more, and the task has nobody to work for.
impl Drop for Subscriber {
    fn drop(&mut self) {
        self.shared.channels.end();
    }
}

impl Shared {
    async fn run(self: Arc<Shared>) {
        let mut attempt = 0;
        let mut last_error = None;
        while !self.channels.rest() {
            let error = match self.connect().await {
                Ok(pubsub) => {
                    self.channels.connected();
                    let mut session = Session::new(&self.channels, pubsub);
                    let end = tokio::select! {
                        end = session.serve() => end,
                        () = self.moved() => End::Lost(StoreError::new(Kind::Unavailable)),
                    };
                    let End::Lost(error) = end else { return };
                    self.channels.interrupted();
                    if session.has_worked {
                        (attempt, last_error) = (0, None);
                    }
                    error
                }
                Err(error) => error,
            };
            // Once for each reason: the attempts go on.
            if last_error.as_ref() != Some(&error) {
                tracing::warn!(%error, "subscriptions are interrupted; reconnecting");
                last_error = Some(error);
            }
            sleep(backoff(attempt, fastrand::f64())).await;
            attempt = attempt.saturating_add(1);
        }
    }

    /// The store has connected anew since, perhaps to another server: whoever listens to the old one
    /// would hear nothing.
    async fn moved(&self) {
        if !self.servers.may_move() {
            return std::future::pending().await;
        }
        let mut health = self.status.watch();
        let generation = health.borrow().generation();
        // The sender is here: it is not closed.
        let _ = health.wait_for(|health| health.generation() != generation).await;
    }

    async fn connect(&self) -> Result<PubSub, StoreError> {
        match timeout(PATIENCE, self.servers.pubsub()).await {
            Ok(connected) => connected,
            Err(_) => Err(StoreError::new(Kind::Timeout)),
        }
    }
}

/// One connection, from its first subscription to its loss.
struct Session<'a> {
    channels: &'a Channels,
    sink: PubSubSink,
    messages: PubSubStream,
    /// What the connection is subscribed to, or will be when the requests are answered.
    held: HashSet<Arc<str>>,
    requests: VecDeque<Request>,
    /// One at a time, so that they take effect in order.
    pending: Option<(Request, Reply)>,
    ticks: Interval,
    /// Whether anything was sent or has arrived since the last tick.
    is_lively: bool,
    has_worked: bool,
}

enum Request {
    Subscribe(Vec<Arc<str>>),
    Unsubscribe(Vec<Arc<str>>),
    Ping,
}

/// A reply on its way.
type Reply = Pin<Box<dyn Future<Output = RedisResult<()>> + Send>>;

enum Event {
    /// `None` is the end of the connection.
    Message(Option<Msg>),
    Reply(RedisResult<()>),
    Change,
    Tick,
}

/// How a session ends.
enum End {
    /// Nobody listens any more.
    Idle,
    Lost(StoreError),
}

impl<'a> Session<'a> {
    fn new(channels: &'a Channels, pubsub: PubSub) -> Session<'a> {
        let (sink, messages) = pubsub.split();
        let mut ticks = interval(PATIENCE);
        // After a pause of this process nothing is late because of it.
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Session {
            channels,
            sink,
            messages,
            held: HashSet::new(),
            requests: VecDeque::new(),
            pending: None,
            ticks,
            is_lively: true,
            has_worked: false,
        }
    }

    async fn serve(&mut self) -> End {
        loop {
            if self.pending.is_none() {
                if self.requests.is_empty() {
                    if self.channels.rest() {
                        return End::Idle;
                    }
                    self.plan();
                }
                self.pending = self.requests.pop_front().map(|request| self.send(request));
            }
            match self.next_event().await {
                Event::Message(Some(message)) => {
                    self.is_lively = true;
                    let payload = Bytes::copy_from_slice(message.get_payload_bytes());
                    self.channels.deliver(message.get_channel_name(), &payload);
                }
                Event::Message(None) => return End::Lost(StoreError::new(Kind::Unavailable)),
                Event::Reply(reply) => {
                    if let Err(error) = self.settle(reply) {
                        return End::Lost(error);
                    }
                }
                Event::Change => {}
                Event::Tick if self.is_lively => self.is_lively = false,
                Event::Tick if self.pending.is_none() => self.requests.push_back(Request::Ping),
                Event::Tick => return End::Lost(StoreError::new(Kind::Timeout)),
            }
        }
    }

    /// Says by requests what has changed among the channels. Nothing is under way, so `held` is
    /// what the server knows.
    fn plan(&mut self) {
        while self.requests.is_empty() {
            let changes = self.channels.changes(BATCH);
            if changes.is_empty() {
                return;
            }
            let (mut subscribe, mut unsubscribe) = (Vec::new(), Vec::new());
            for (name, need) in changes {
                match need {
                    Need::Open if self.held.insert(name.clone()) => subscribe.push(name),
                    // Closed, and opened again before anybody looked.
                    Need::Open if !subscribe.contains(&name) => self.channels.open(&name),
                    Need::Open => {}
                    Need::Closed if self.held.remove(&name) => unsubscribe.push(name),
                    Need::Closed => {}
                }
            }
            if !subscribe.is_empty() {
                self.requests.push_back(Request::Subscribe(subscribe));
            }
            if !unsubscribe.is_empty() {
                self.requests.push_back(Request::Unsubscribe(unsubscribe));
            }
        }
    }

    fn send(&mut self, request: Request) -> (Request, Reply) {
        self.is_lively = true;
        let mut sink = self.sink.clone();
        let names = |names: &[Arc<str>]| -> Vec<String> {
            names.iter().map(|name| name.as_ref().to_owned()).collect()
        };
        let reply: Reply = match &request {
            Request::Subscribe(channels) => {
                let channels = names(channels);
                Box::pin(async move { sink.subscribe(channels).await })
            }
            Request::Unsubscribe(channels) => {
                let channels = names(channels);
                Box::pin(async move { sink.unsubscribe(channels).await })
            }
            Request::Ping => Box::pin(async move { sink.ping::<Value>().await.map(drop) }),
        };
        (request, reply)
    }

    /// Replies come first: a channel that is open again is a gap before its next message.
    async fn next_event(&mut self) -> Event {
        let mut changed = std::pin::pin!(self.channels.changed());
        poll_fn(|cx| {
            if let Some((_, reply)) = &mut self.pending {
                if let Poll::Ready(reply) = reply.as_mut().poll(cx) {
                    return Poll::Ready(Event::Reply(reply));
                }
            } else if changed.as_mut().poll(cx).is_ready() {
                return Poll::Ready(Event::Change);
            }
            if let Poll::Ready(message) = Pin::new(&mut self.messages).poll_next(cx) {
                return Poll::Ready(Event::Message(message));
            }
            self.ticks.poll_tick(cx).map(|_| Event::Tick)
        })
        .await
    }

    /// Does what the reply to the pending request means. An error is the loss of the connection.
    fn settle(&mut self, reply: RedisResult<()>) -> Result<(), StoreError> {
        let Some((request, _)) = self.pending.take() else { return Ok(()) };
        self.is_lively = true;
        let error = match reply {
            Ok(()) => {
                self.has_worked = true;
                if let Request::Subscribe(names) = request {
                    names.iter().for_each(|name| self.channels.open(name));
                }
                return Ok(());
            }
            Err(error) => error,
        };
        let Some(code) = error.code() else { return Err(StoreError::new(Kind::Unavailable)) };
        let error = StoreError::reply(code);
        if gives_up(Failure::ErrorReply { code }) {
            return Err(error);
        }
        match request {
            Request::Subscribe(names) if names.len() > 1 => {
                // One of them is not allowed, and the server does not say which.
                let alone = names.into_iter().map(|name| Request::Subscribe(vec![name]));
                self.requests.extend(alone);
            }
            Request::Subscribe(names) => {
                for name in names {
                    tracing::warn!(%error, "a subscription is refused");
                    self.held.remove(&name);
                    self.channels.refuse(&name, &error);
                }
            }
            Request::Unsubscribe(_) | Request::Ping => {}
        }
        Ok(())
    }
}

impl fmt::Debug for Subscriber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscriber")
            .field("channels", &self.shared.channels)
            .finish_non_exhaustive()
    }
}
