use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http::HeaderValue;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::sync::Mutex;

use super::cookie::SessionId;
use super::layer::Settings;
use super::{Fallback, SessionError};
use crate::observe;
use crate::personal::Personal;
use crate::policy::session::{Changes, Fields, Record};
use crate::store::verbs::{CreateSession, EndSession, LoadSession, SaveSession, Saved};
use crate::{Store, StoreError};

/// What belongs to one browser: named fields that hold any serde value.
///
/// An extractor in axum; anywhere else, in the request's extensions. It is loaded when it is first
/// looked at, and saved when the response is about to leave. Clones are the same session.
///
/// ```
/// use tower_redis_kit::session::{Session, SessionError};
///
/// async fn add_to_cart(session: Session) -> Result<String, SessionError> {
///     let mut cart: Vec<u32> = session.get("cart").await?.unwrap_or_default();
///     cart.push(42);
///     session.insert("cart", &cart).await?;
///     Ok(format!("{} in the cart", cart.len()))
/// }
/// ```
///
/// # Errors
/// Every method that looks at the session fails with [`SessionError::Store`] when the store cannot
/// answer, and every method that changes it with [`SessionError::ResponseSent`] when a task that
/// outlived the response calls it.
///
/// # Cancel safety
/// A method that is dropped before it is ready has changed nothing.
#[derive(Clone)]
pub struct Session {
    shared: Arc<Shared>,
}

struct Shared {
    store: Store,
    settings: Arc<Settings>,
    presented: Option<SessionId>,
    personal: Personal,
    /// Whether anybody looked: until then there is nothing to do for it.
    used: AtomicBool,
    /// Whether the response has left, or is about to: from then on nothing can be changed.
    sent: AtomicBool,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    loaded: Option<Loaded>,
    changes: Changes,
    rotate: bool,
    /// The session that was presented is to end, whatever comes after.
    end: bool,
}

enum Loaded {
    Record(Record),
    Nothing,
    Unavailable(StoreError),
}

impl Loaded {
    /// What it is counted as, where there was something to load.
    fn event(&self) -> observe::Session {
        match self {
            Loaded::Record(_) => observe::Session::Loaded,
            Loaded::Nothing => observe::Session::Absent,
            Loaded::Unavailable(_) => observe::Session::Failed,
        }
    }
}

/// What there is of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Status {
    /// The store knows it.
    Active,
    /// There is none: no cookie, or one whose session has ended.
    Anonymous,
    /// The store cannot say.
    Unavailable,
}

/// How often a save is made again on top of what another request saved first. Each conflict means
/// that somebody's save was accepted, so this many requests can change one session at once.
const ATTEMPTS: usize = 64;

impl Session {
    pub(super) fn new(
        store: Store,
        settings: Arc<Settings>,
        presented: Option<SessionId>,
        personal: Personal,
    ) -> Session {
        let (used, sent, state) = Default::default();
        let shared = Shared { store, settings, presented, personal, used, sent, state };
        Session { shared: Arc::new(shared) }
    }

    /// The value of a field, or `None` where there is none.
    ///
    /// # Errors
    /// [`SessionError::Type`] when the field holds something that is no `T`.
    pub async fn get<T: DeserializeOwned>(&self, field: &str) -> Result<Option<T>, SessionError> {
        let mut state = self.lock().await;
        self.load(&mut state).await;
        let loaded = self.fields(&state)?.and_then(|fields| fields.get(field));
        state
            .changes
            .get(field)
            .unwrap_or(loaded)
            .map(T::deserialize)
            .transpose()
            .map_err(|_| SessionError::Type { field: field.to_owned() })
    }

    /// Sets a field.
    ///
    /// # Errors
    /// [`SessionError::Type`] when the value cannot be JSON, [`SessionError::TooLarge`] when the
    /// session would outgrow the layer's [`max_size`](super::SessionLayer::max_size).
    pub async fn insert(&self, field: &str, value: impl Serialize) -> Result<(), SessionError> {
        let value = serde_json::to_value(value)
            .map_err(|_| SessionError::Type { field: field.to_owned() })?;
        self.change(|changes| changes.set(field, value)).await
    }

    /// Removes a field.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn remove(&self, field: &str) -> Result<(), SessionError> {
        self.change(|changes| changes.remove(field)).await
    }

    /// Removes every field; the session goes on.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn clear(&self) -> Result<(), SessionError> {
        self.change(Changes::clear).await
    }

    /// Gives the session a new id and takes the old one out of use. Call it whenever somebody's
    /// rights change, as on log-in: an id that was planted before is then worth nothing.
    ///
    /// # Errors
    /// See [`Session`].
    pub async fn rotate(&self) -> Result<(), SessionError> {
        let mut state = self.lock().await;
        self.load_to_change(&mut state).await?;
        state.rotate = true;
        Ok(())
    }

    /// Ends the session and takes the cookie back. What is inserted after that begins a new one.
    ///
    /// # Errors
    /// [`SessionError::ResponseSent`]; the store is asked when the response is about to leave.
    pub async fn destroy(&self) -> Result<(), SessionError> {
        let mut state = self.lock().await;
        self.check_not_sent()?;
        *state = State { loaded: Some(Loaded::Nothing), end: true, ..State::default() };
        Ok(())
    }

    /// Whether there is a session, or none, or the store cannot say. Never an error, whatever the
    /// [`Fallback`].
    pub async fn status(&self) -> Status {
        let mut state = self.lock().await;
        match self.load(&mut state).await {
            Loaded::Record(_) => Status::Active,
            Loaded::Nothing => Status::Anonymous,
            Loaded::Unavailable(_) => Status::Unavailable,
        }
    }

    /// The value of a field for one who counts by it: what is answered is not about this browser
    /// because of that, and nothing is to be saved.
    pub(super) async fn look(&self, field: &str) -> Result<Option<Value>, SessionError> {
        let mut state = self.shared.state.lock().await;
        self.load(&mut state).await;
        let loaded = self.fields(&state)?.and_then(|fields| fields.get(field));
        Ok(state.changes.get(field).unwrap_or(loaded).cloned())
    }

    /// Lets nothing change any more, and says whether there may be something to save.
    ///
    /// Whoever changes it says "used" first and then asks whether it was sent; this does the two
    /// the other way around, so of a change at the same moment one of the two is told.
    pub(super) fn seal(&self) -> bool {
        self.shared.sent.store(true, Ordering::SeqCst);
        self.shared.used.load(Ordering::SeqCst)
    }

    /// Saves what was changed, and says which cookie to set.
    ///
    /// A handler that `failed` did not mean what it had changed so far; only an end is an end in any
    /// case, because who logs out and is told of an error must not stay logged in.
    pub(super) async fn commit(self, failed: bool) -> Result<Option<HeaderValue>, SessionError> {
        let Shared { store, settings, presented, .. } = &*self.shared;
        let mut state = self.shared.state.lock().await;
        let State { loaded, changes, rotate, end, .. } = std::mem::take(&mut *state);
        if end && let Some(id) = presented {
            store.ask(EndSession { id: id.fingerprint() }).await?;
            observe::session(observe::Session::Ended);
        }
        let removal = (end && presented.is_some()).then(|| settings.cookie.remove());
        match (loaded, presented) {
            _ if failed => Ok(removal),
            (Some(Loaded::Record(record)), Some(id)) if rotate || !changes.is_empty() => {
                self.save(id, record, &changes, rotate).await
            }
            (Some(Loaded::Nothing), _) if !changes.is_empty() => {
                Ok(self.create(&changes).await?.or(removal))
            }
            _ => Ok(removal),
        }
    }

    async fn create(&self, changes: &Changes) -> Result<Option<HeaderValue>, SessionError> {
        let Shared { store, settings, .. } = &*self.shared;
        let mut fields = Fields::new();
        changes.apply_to(&mut fields);
        if fields.is_empty() {
            return Ok(None);
        }
        // Never the id that was presented: the browser may have been given it by somebody else.
        let id = SessionId::random()?;
        let now = store.now();
        let record = Record::begin(fields, settings.lifetime, now);
        let time_to_live = record.time_to_live(settings.lifetime, now);
        store.ask(CreateSession { id: id.fingerprint(), record, time_to_live }).await?;
        observe::session(observe::Session::Created);
        Ok(Some(settings.cookie.set(&id)))
    }

    async fn save(
        &self,
        id: &SessionId,
        mut record: Record,
        changes: &Changes,
        rotate: bool,
    ) -> Result<Option<HeaderValue>, SessionError> {
        let Shared { store, settings, .. } = &*self.shared;
        let rotate_to = rotate.then(|| id.successor()).transpose()?;
        for _ in 0..ATTEMPTS {
            let next = record.next(changes);
            if next.fields == record.fields && rotate_to.is_none() {
                return Ok(None);
            }
            let save = SaveSession {
                id: id.fingerprint(),
                rotate_to: rotate_to.as_ref().map(SessionId::fingerprint),
                from: record.version_tag(),
                time_to_live: next.time_to_live(settings.lifetime, store.now()),
                record: next,
                max_size: settings.max_size,
            };
            match store.ask(save).await? {
                Saved::Done => {
                    observe::session(observe::Session::Saved);
                    return Ok(rotate_to.map(|id| settings.cookie.set(&id)));
                }
                Saved::Gone => return Err(SessionError::Ended),
                Saved::Conflict(theirs) => {
                    observe::session(observe::Session::Conflict);
                    if changes.size_with(&theirs.fields) > settings.max_size {
                        return Err(SessionError::TooLarge);
                    }
                    record = theirs;
                }
            }
        }
        Err(SessionError::Contended)
    }

    async fn change(&self, change: impl FnOnce(&mut Changes)) -> Result<(), SessionError> {
        let mut state = self.lock().await;
        self.load_to_change(&mut state).await?;
        let before = state.changes.clone();
        change(&mut state.changes);
        let none = Fields::new();
        let fields = self.fields(&state)?.unwrap_or(&none);
        if state.changes.size_with(fields) > self.shared.settings.max_size {
            state.changes = before;
            return Err(SessionError::TooLarge);
        }
        Ok(())
    }

    fn check_not_sent(&self) -> Result<(), SessionError> {
        match self.shared.sent.load(Ordering::SeqCst) {
            true => Err(SessionError::ResponseSent),
            false => Ok(()),
        }
    }

    async fn load_to_change(&self, state: &mut State) -> Result<(), SessionError> {
        self.check_not_sent()?;
        match self.load(state).await {
            Loaded::Unavailable(error) => Err(error.clone().into()),
            _ => Ok(()),
        }
    }

    /// The fields as they were loaded.
    fn fields<'a>(&self, state: &'a State) -> Result<Option<&'a Fields>, SessionError> {
        match &state.loaded {
            Some(Loaded::Record(record)) => Ok(Some(&record.fields)),
            Some(Loaded::Unavailable(error))
                if self.shared.settings.fallback == Fallback::Refuse =>
            {
                Err(error.clone().into())
            }
            _ => Ok(None),
        }
    }

    async fn load<'a>(&self, state: &'a mut State) -> &'a Loaded {
        if state.loaded.is_none() {
            let Shared { store, settings, presented, .. } = &*self.shared;
            state.loaded = Some(match presented {
                None => Loaded::Nothing,
                Some(id) => {
                    let load = LoadSession {
                        id: id.fingerprint(),
                        idle: settings.lifetime.idle,
                        max_size: settings.max_size,
                    };
                    let loaded = match store.ask(load).await {
                        Ok(Some(record)) if record.is_alive(store.now()) => Loaded::Record(record),
                        Ok(_) => Loaded::Nothing,
                        Err(error) => Loaded::Unavailable(error),
                    };
                    observe::session(loaded.event());
                    loaded
                }
            });
        }
        state.loaded.as_ref().expect("loaded above")
    }

    async fn lock(&self) -> tokio::sync::MutexGuard<'_, State> {
        self.shared.used.store(true, Ordering::SeqCst);
        self.shared.personal.mark();
        self.shared.state.lock().await
    }
}

/// Neither id nor fields.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session").field("used", &self.shared.used).finish_non_exhaustive()
    }
}
