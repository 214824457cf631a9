use std::fmt;
use std::sync::Arc;

use http::HeaderValue;
use http::request::Parts;

use super::answer::Documents;
use super::partition::Partition;
use super::refusal::{Found, Refusal};
use super::{Finished, KeyExtractor, fields};
use crate::policy::Quota;
use crate::policy::limiting::Counting;
use crate::store::keys::Subject;
use crate::store::verbs::Rule;

/// A limit: a name, a quota, and who is counted.
///
/// Cheap to clone. Limits of the same name and quota count together on one store, as do
/// [limiters](super::Limiter), also in this process while the store is away.
///
/// ```
/// use tower_redis_kit::rate_limit::{Header, Limit, PeerIp, Quota, RateLimitLayer};
///
/// // Both or none are charged, in one round trip.
/// let layer = RateLimitLayer::all([
///     Limit::new("burst", Quota::per_second(10), PeerIp),
///     Limit::new("hourly", Quota::per_hour(1_000), Header::new("x-api-key")),
/// ]);
/// ```
#[derive(Clone)]
#[must_use]
pub struct Limit {
    settings: Arc<LimitSettings>,
}

#[derive(Clone)]
pub(super) struct LimitSettings {
    pub(super) rule: Arc<Rule>,
    /// The rule's name, for whoever counts.
    pub(super) name: Arc<str>,
    pub(super) quota: Quota,
    pub(super) key: Arc<dyn KeyExtractor>,
    pub(super) without_key: WithoutKey,
    pub(super) policy_field: HeaderValue,
    pub(super) partition: Option<Partition>,
    cost: CostOf,
    pub(super) settle: Option<Arc<Settle>>,
    pub(super) documents: Documents,
}

type Settle = dyn Fn(&Finished) -> u32 + Send + Sync;

#[derive(Clone)]
enum CostOf {
    Each(u32),
    Head(Arc<dyn Fn(&Parts) -> u32 + Send + Sync>),
}

/// What becomes of a request that has no key.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum WithoutKey {
    /// The limit does not concern it.
    #[default]
    Pass,
    /// It is answered with 403, with [`MissingKey`](super::MissingKey) in the response's extensions.
    Refuse,
}

/// What a quota counts, for the `qu` of the `RateLimit-Policy` field.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unit {
    /// Requests, which is what clients take it for where nothing is said.
    #[default]
    Requests,
    /// Bytes of content.
    ContentBytes,
    /// Requests at the same time.
    ConcurrentRequests,
    /// Something else, for which the draft has no name: nothing is said.
    Other,
}

impl Limit {
    /// A limit of this name and quota for each key.
    ///
    /// Limits of the same name that count in the same way share their counts, also among processes
    /// on one Redis, and each reads them by the numbers of its own quota: give limits of different
    /// quotas different names, unless one is to take the other's place. The key is
    /// [`ClientIp`](super::ClientIp) or [`PeerIp`](super::PeerIp), a [`Header`](super::Header), a
    /// session's or token's, a closure from the request's head, or a tuple of these.
    ///
    /// # Panics
    /// When `name` is empty, longer than 64 bytes, or has a byte other than letters, digits, `-`,
    /// `_` and `.`: it is part of keys and response fields.
    pub fn new(name: &str, quota: Quota, key: impl KeyExtractor) -> Limit {
        Limit {
            settings: Arc::new(LimitSettings {
                rule: Arc::new(Rule::new(name, quota.counting(), false)),
                name: name.into(),
                quota,
                key: Arc::new(key),
                without_key: WithoutKey::default(),
                policy_field: policy_field(name, quota, Unit::default()),
                partition: None,
                cost: CostOf::Each(1),
                settle: None,
                documents: Documents::default(),
            }),
        }
    }

    /// What each request costs. 1 unless set. 0 looks at the limit and charges nothing.
    pub fn cost(self, cost: u32) -> Limit {
        self.with(|settings| settings.cost = CostOf::Each(cost))
    }

    /// What a request costs, by its head.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{Limit, PeerIp, Quota};
    ///
    /// let writes_cost_five = Limit::new("api", Quota::per_minute(100), PeerIp)
    ///     .cost_by(|head| if head.method == "POST" { 5 } else { 1 });
    /// ```
    pub fn cost_by(self, cost: impl Fn(&Parts) -> u32 + Send + Sync + 'static) -> Limit {
        self.with(|settings| settings.cost = CostOf::Head(Arc::new(cost)))
    }

    /// What a request turns out to have cost, when its response has ended: until then its
    /// [`cost`](Limit::cost) is reserved.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{Finished, Header, Limit, Quota};
    ///
    /// let budget = Limit::new("tokens", Quota::per_day(100_000), Header::new("x-api-key"))
    ///     .cost(4_000)
    ///     .settle(|done: &Finished| done.charged().unwrap_or(done.reserved()));
    ///
    /// let failed_log_ins = Limit::new("log-in", Quota::per_hour(5), Header::new("x-user"))
    ///     .settle(|done: &Finished| u32::from(done.status().is_client_error()));
    /// ```
    ///
    /// Reserving first leaves no hole: a hundred guesses at once are a hundred reservations, of
    /// which the quota admits its number, and not a hundred looks at a count that is still low.
    ///
    /// What is more than was reserved is charged though it may not fit. What is less goes back,
    /// unless the client hung up, the handler failed with an error, or this process died: then what
    /// was reserved stays charged. (Who hangs up before anything of the content was asked for is
    /// settled, unless [its length](Finished::bytes) matters.) A GCRA limit forgets what is charged
    /// beyond its whole burst: reserve as much as a request may cost, or count in
    /// [windows](Quota::fixed_window).
    ///
    /// `settle` runs where the response ends, which may be anywhere: it must not wait. What
    /// [`charged`](Finished::charged) says is `None` if the handler had not got so far. If it
    /// panics, what was reserved stays charged.
    ///
    /// # Panics
    /// When the limit is [leased](Limit::lease).
    pub fn settle(self, settle: impl Fn(&Finished) -> u32 + Send + Sync + 'static) -> Limit {
        let settles = self.with(|settings| {
            settings.settle = Some(Arc::new(settle));
            // Some other layer of the same name may remember whom it refused, or have leased
            // something.
            Arc::make_mut(&mut settings.rule).tells = true;
        });
        settles.checked()
    }

    /// Decides and counts, but refuses nobody: to try a limit out before it is one.
    ///
    /// What it would have refused shows in events and [metrics](crate#features), and in no
    /// response. That includes who has no key, and everybody while the store cannot answer.
    pub fn shadow(self) -> Limit {
        self.with(|settings| Arc::make_mut(&mut settings.rule).is_shadow = true)
    }

    /// Remembers in this process who is refused, and until when: until then such requests cost no
    /// command on Redis. Off unless set; on the in-process store it changes nothing.
    ///
    /// It is not wrong after something was given back, a limit was reset, opened or shut, or its
    /// numbers have changed: processes tell each other by messages, for which each has one
    /// connection more. While these do not arrive, nothing is remembered. It takes a message's time
    /// until another process knows. Redis' user needs `PUBLISH` and `SUBSCRIBE` for the channel
    /// `limits-changed`, after the store's prefix and a colon.
    ///
    /// That a key is deleted by somebody else, or all by `FLUSHALL`, is not noticed: a refusal is
    /// then remembered for up to 60 seconds.
    ///
    /// Who is known to be refused by one of several limits is not asked about at the others. The
    /// answer names only what is remembered: `Retry-After` is that limit's, though another may
    /// refuse for longer.
    pub fn deny_cache(self, is_on: bool) -> Limit {
        self.with(|settings| Arc::make_mut(&mut settings.rule).denies = is_on)
    }

    /// Takes `batch` at once from Redis and spends it in this process, so that most requests cost
    /// no command. 1, which is not to, unless set; on the in-process store it changes nothing.
    ///
    /// The limit is never exceeded. What a process has taken and does not spend is missing
    /// elsewhere: at most one batch for each process and key, which with GCRA comes back at the
    /// quota's rate, and with windows when the window ends. So a batch should be small beside the
    /// limit, divided by the number of processes. Near the limit requests are asked for one by one.
    ///
    /// Requests of a key that come at the same time share what one of them asks for, and of several
    /// batches no more are asked for than they need. Nobody waits for another one's longer than
    /// half the store's deadline, nor for one who has left; what these do not spend is for who
    /// comes next.
    ///
    /// It takes part where a request meets no other limit in the same decision. A key that somebody
    /// [blocks](super::Limiter::block) or charges a [penalty](super::Limiter::penalty), or gives
    /// something back, has no lease from then on: what was left of it stays charged. Other
    /// processes are told by messages as for [`deny_cache`](Limit::deny_cache), and Redis' user
    /// needs the same for it. While these do not arrive, which includes the first moment of a
    /// process, requests are asked for one by one, and what was leased before is spent. That a key
    /// is deleted by somebody else, or all by `FLUSHALL`, is not noticed: a lease is spent still.
    ///
    /// When the numbers of a limit [change](super::LiveLimits), what was leased by the old ones
    /// stays charged. Limits of one name and different numbers in one process have a batch each, of
    /// up to four such limits.
    ///
    /// What a response says is left, as its `r`, is what this process knows: others may have spent
    /// of it meanwhile. What code [peeks](super::Limiter::peek) at is what the store says, where
    /// the whole of a batch is used.
    ///
    /// # Panics
    /// When `batch` is 0 or above the burst, or the quota is counted by a log or is a lockout: what
    /// was charged cannot be spent later there without exceeding them. And when the limit
    /// [settles](Limit::settle): what is given back ends a lease.
    pub fn lease(self, batch: u32) -> Limit {
        let quota = self.settings.quota;
        let can_wait =
            !matches!(self.settings.rule.counting, Counting::SlidingLog(_) | Counting::Lockout(_));
        assert!(can_wait, "a log and a lockout cannot be leased: count by GCRA or in windows");
        assert!(
            (1..=quota.burst_size()).contains(&batch),
            "a batch is at least 1 and at most the burst, which is {} (got {batch})",
            quota.burst_size()
        );
        self.with(|settings| Arc::make_mut(&mut settings.rule).batch = batch).checked()
    }

    /// What becomes of a request without a key. [`WithoutKey::Pass`] unless set.
    pub fn without_key(self, without_key: WithoutKey) -> Limit {
        self.with(|settings| settings.without_key = without_key)
    }

    /// What the quota counts, for clients to know. [`Unit::Requests`] unless set.
    pub fn unit(self, unit: Unit) -> Limit {
        self.with(|settings| {
            settings.policy_field = policy_field(&settings.name, settings.quota, unit);
        })
    }

    /// Tells clients which quota a response is about, as the `pk` of the `RateLimit` field: whoever
    /// makes requests for several users can keep their quotas apart. None unless set, nor by drafts
    /// before [`Fields::Draft11`](super::Fields::Draft11).
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{Header, Limit, Quota};
    ///
    /// # let secret = [7; 32];
    /// let limit = Limit::new("api", Quota::per_minute(100), Header::new("x-api-key"))
    ///     .partition_key(secret);
    /// ```
    ///
    /// # Security
    /// It is made of who is counted, the limit's name and `secret`, and the same wherever these are:
    /// give it to every process. Whoever sees responses can tell which of them are about the same
    /// caller of this limit. Who it is, they cannot tell and not try out, even of an address, unless
    /// they know the secret.
    ///
    /// # Panics
    /// When `secret` is shorter than 16 bytes: it could be guessed.
    pub fn partition_key(self, secret: impl AsRef<[u8]>) -> Limit {
        self.with(|settings| {
            settings.partition = Some(Partition::new(&settings.name, secret.as_ref()));
        })
    }

    pub(super) fn settings(&self) -> &Arc<LimitSettings> {
        &self.settings
    }

    fn checked(self) -> Limit {
        let LimitSettings { rule, settle, .. } = &*self.settings;
        assert!(
            rule.batch == 1 || settle.is_none(),
            "what a settled limit gives back would end its lease each time: settle or lease"
        );
        self
    }

    fn with(mut self, change: impl FnOnce(&mut LimitSettings)) -> Limit {
        change(Arc::make_mut(&mut self.settings));
        self
    }
}

fn policy_field(name: &str, quota: Quota, unit: Unit) -> HeaderValue {
    let (limit, window) = quota.told();
    fields::policy(name, limit, window, unit)
}

impl LimitSettings {
    /// Whom it counts, if it concerns the request.
    pub(super) fn subject(&self, key: Found) -> Result<Option<Subject>, Refusal> {
        self.without_key.subject(key, &self.name, self.rule.is_shadow)
    }

    pub(super) fn cost(&self, head: &Parts) -> u32 {
        match &self.cost {
            CostOf::Each(cost) => *cost,
            CostOf::Head(cost) => cost(head),
        }
    }
}

impl fmt::Debug for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.settings.fmt(f)
    }
}

impl fmt::Debug for LimitSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limit")
            .field("name", &self.name)
            .field("quota", &self.quota)
            .field("is_shadow", &self.rule.is_shadow)
            .finish_non_exhaustive()
    }
}
