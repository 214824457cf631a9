//! The columns: what is asked of the store, by each layer under each of its policies and by each
//! tool, and how what comes back is read.

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::extract::Path;
use axum::routing::get;
use http::header::CACHE_CONTROL;
use http::{Response, StatusCode};
use support::RedisServer;
use tower_redis_kit::cache::CacheLayer;
use tower_redis_kit::rate_limit::{self, Header, Quota, RateLimitLayer};
use tower_redis_kit::session::{self, Session, SessionError, SessionLayer, Status};
use tower_redis_kit::token::{self, InvalidToken, RevocationLayer, Token, Unauthorized};
use tower_redis_kit::{Store, StoreBuilder, StoreError, StoreLayer};

use crate::common::{assert_unavailable, field, fields, reason, request, send, text, within};
use crate::permits::{self, UnderWay, micros};

/// One column: a layer under one policy, or one tool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Column {
    LimitLocal,
    LimitAllow,
    LimitRefuse,
    PermitLocal,
    PermitAllow,
    PermitRefuse,
    SessionRead,
    SessionWrite,
    AnonymousRead,
    AnonymousWrite,
    TokenRefuse,
    TokenAllow,
    CacheHit,
    CacheMiss,
    ValueGet,
    ValueSet,
    ValueCompute,
    Increment,
    Lock,
}

use Column::*;

/// In the order of the page, each with the name of its tests and what the page calls it.
pub(crate) const COLUMNS: [(Column, &str, &str); 19] = [
    (LimitLocal, "limit_local", "rate limit, `Local`"),
    (LimitAllow, "limit_allow", "rate limit, `Allow`"),
    (LimitRefuse, "limit_refuse", "rate limit, `Refuse`"),
    (PermitLocal, "permit_local", "concurrency limit, `Local`"),
    (PermitAllow, "permit_allow", "concurrency limit, `Allow`"),
    (PermitRefuse, "permit_refuse", "concurrency limit, `Refuse`"),
    (SessionRead, "session_read", "session read, `Refuse`"),
    (SessionWrite, "session_write", "session changed, `Refuse`"),
    (AnonymousRead, "anonymous_read", "session read, `Anonymous`"),
    (AnonymousWrite, "anonymous_write", "session changed, `Anonymous`"),
    (TokenRefuse, "token_refuse", "revoked token, `Refuse`"),
    (TokenAllow, "token_allow", "revoked token, `Allow`"),
    (CacheHit, "cache_hit", "cache, stored"),
    (CacheMiss, "cache_miss", "cache, not stored"),
    (ValueGet, "value_get", "`values.get`"),
    (ValueSet, "value_set", "`values.set`"),
    (ValueCompute, "value_compute", "`values.get_or_compute`"),
    (Increment, "increment", "`values.increment`"),
    (Lock, "lock", "`lock.try_acquire`"),
];

impl Column {
    pub(crate) fn name(self) -> &'static str {
        COLUMNS[self as usize].1
    }

    pub(crate) fn title(self) -> &'static str {
        COLUMNS[self as usize].2
    }

    /// Whether it travels with what may be large.
    pub(crate) fn is_bulk(self) -> bool {
        matches!(self, CacheHit | CacheMiss | ValueGet | ValueSet | ValueCompute)
    }

    fn is_permit(self) -> bool {
        matches!(self, PermitLocal | PermitAllow | PermitRefuse)
    }

    /// What it does at its policy, for the page.
    pub(crate) fn policy(self) -> &'static str {
        match self {
            LimitLocal | PermitLocal => "goes on in process",
            LimitAllow | PermitAllow => "passes, uncounted",
            LimitRefuse | PermitRefuse | SessionRead | SessionWrite | AnonymousWrite
            | TokenRefuse => "503",
            AnonymousRead => "an empty session",
            TokenAllow => "passes, unchecked",
            CacheHit | CacheMiss => "from the handler",
            ValueGet | ValueSet | Increment | Lock => "an error",
            ValueCompute => "computed",
        }
    }

    /// Whether its answer says why.
    pub(crate) fn tells(self) -> bool {
        !matches!(
            self,
            LimitLocal
                | LimitAllow
                | PermitLocal
                | PermitAllow
                | AnonymousRead
                | TokenAllow
                | CacheHit
                | CacheMiss
                | ValueCompute
        )
    }

    /// What it does when there is nothing of the kind in its key.
    pub(crate) fn absent(self) -> &'static str {
        match self {
            SessionRead | AnonymousRead => "no session",
            SessionWrite | AnonymousWrite => "a new session",
            TokenRefuse | TokenAllow => "not revoked",
            CacheHit => "a miss, stored anew",
            ValueGet => "no value",
            _ => "as if new",
        }
    }

    fn app(self, store: Store) -> Router {
        let limit = |fallback| {
            let limit = RateLimitLayer::new("api", quota(), Header::new("x-api-key"));
            Router::new().route("/", get(async || "served")).layer(limit.fallback(fallback))
        };
        let permit = |fallback| {
            Router::new().route("/", get(async || "served")).layer(permits::layer(fallback))
        };
        let session = |fallback| {
            Router::new()
                .route("/read", get(read))
                .route("/write/{number}", get(write))
                .layer(SessionLayer::new().fallback(fallback))
        };
        let token = |fallback| {
            let check = RevocationLayer::new(verify).fallback(fallback);
            Router::new().route("/", get(async || "served")).layer(check)
        };
        let app = match self {
            LimitLocal => limit(rate_limit::Fallback::Local),
            LimitAllow => limit(rate_limit::Fallback::Allow),
            LimitRefuse => limit(rate_limit::Fallback::Refuse),
            PermitLocal => permit(rate_limit::Fallback::Local),
            PermitAllow => permit(rate_limit::Fallback::Allow),
            PermitRefuse => permit(rate_limit::Fallback::Refuse),
            SessionRead | SessionWrite => session(session::Fallback::Refuse),
            AnonymousRead | AnonymousWrite => session(session::Fallback::Anonymous),
            TokenRefuse => token(token::Fallback::Refuse),
            TokenAllow => token(token::Fallback::Allow),
            CacheHit | CacheMiss => {
                let fresh = async || ([(CACHE_CONTROL, "public, max-age=600")], "fresh");
                Router::new().route("/{number}", get(fresh)).layer(CacheLayer::new())
            }
            ValueGet | ValueSet | ValueCompute | Increment | Lock => Router::new(),
        };
        app.layer(StoreLayer::new(store))
    }
}

/// Of which one request is worth 86.4 s exactly.
fn quota() -> Quota {
    Quota::per_day(BURST)
}

const BURST: u32 = 1_000;
const EACH_MICROS: u64 = 86_400_000;

/// More than the store's count leaves, less than the fresh one of this process does.
const LOCAL_FROM: u64 = 700;

const HOUR: Duration = Duration::from_secs(3_600);

/// How long a lock or a permit stays taken that was taken without an answer and cannot be given
/// back.
pub(crate) const LEASE: Duration = Duration::from_secs(1);

async fn read(session: Session) -> Result<String, SessionError> {
    let user = session.get::<String>("user").await?;
    Ok(match session.status().await {
        Status::Active => user.unwrap_or_default(),
        Status::Anonymous => "nobody".to_owned(),
        _ => "unavailable".to_owned(),
    })
}

/// Each write has a field of its own, so that none hides that another was lost.
async fn write(session: Session, Path(number): Path<u64>) -> Result<&'static str, SessionError> {
    if number == 0 {
        session.insert("user", "ada").await?;
    }
    session.insert(&format!("f{number}"), number).await?;
    Ok("written")
}

fn verify(token: &str) -> Result<(Token, ()), InvalidToken> {
    Ok((token_of(token), ()))
}

pub(crate) fn token_of(token: &str) -> Token {
    Token::new(token, SystemTime::now() + HOUR).subject("ada")
}

/// What came of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seen {
    /// As if nothing were wrong.
    Served,
    /// What is documented for a store that cannot answer.
    Policy(Why),
    /// What the key holds counts as nothing.
    Absent,
    /// What is in the lock's place counts as its holder.
    Taken,
}

/// The typed reason, by its predicates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The policy has no place for a reason.
    Untold,
    Timeout,
    Unavailable,
    Full,
    Forbidden,
    NotACounter,
    /// Another error reply.
    Reply,
}

impl Why {
    fn of(error: &StoreError) -> Why {
        match error {
            it if it.is_timeout() => Why::Timeout,
            it if it.is_unavailable() => Why::Unavailable,
            it if it.is_full() => Why::Full,
            it if it.is_forbidden() => Why::Forbidden,
            it if it.is_not_a_counter() => Why::NotACounter,
            it if it.to_string().starts_with("Redis answered with an error (") => Why::Reply,
            it => panic!("no reason for an outage: {it}"),
        }
    }
}

impl Seen {
    /// Whether this is what was expected: a policy without a reason is what any reason leads to.
    pub(crate) fn is_among(self, expected: &[Seen]) -> bool {
        expected.iter().any(|expected| match (self, expected) {
            (Seen::Policy(Why::Untold), Seen::Policy(_)) => true,
            _ => self == *expected,
        })
    }
}

/// One column on a store of its own, and what it was told.
pub(crate) struct Stand {
    pub(crate) column: Column,
    pub(crate) store: Store,
    app: Router,
    cookie: Mutex<String>,
    /// The limit's arrival, before anything was counted.
    arrival: Mutex<u64>,
    under_way: UnderWay,
    ledger: Mutex<Ledger>,
}

#[derive(Default)]
struct Ledger {
    asked: u64,
    /// The numbers of the writes that were answered with success.
    acknowledged: Vec<u64>,
    /// How many may have been made or not.
    failed: u64,
    sums: Vec<i64>,
    fencing: u64,
}

impl Stand {
    /// A store of its own, so that no other column's calls open its breaker.
    pub(crate) fn new(column: Column, builder: StoreBuilder, url: &str) -> Stand {
        let store = builder.prefix(column.name()).connect_lazy(url).expect("a URL");
        let app = column.app(store.clone());
        let (cookie, arrival, under_way, ledger) = Default::default();
        Stand { column, store, app, cookie, arrival, under_way, ledger }
    }

    /// Asks once, and notes what was promised.
    pub(crate) async fn ask(&self) -> Seen {
        let number = {
            let ledger = &mut *self.ledger();
            ledger.asked += 1;
            ledger.asked
        };
        let seen = self.ask_as(number).await;
        let ledger = &mut *self.ledger();
        match seen {
            Seen::Served => ledger.acknowledged.push(number),
            _ => ledger.failed += 1,
        }
        seen
    }

    /// Asks while nothing may be sent at all: it is not noted, so what is sent shows.
    pub(crate) async fn ask_in_vain(&self) -> Seen {
        self.ask_as(1_000_000).await
    }

    async fn ask_as(&self, number: u64) -> Seen {
        match self.column {
            LimitLocal | LimitAllow | LimitRefuse => self.limited(&self.keyed().await),
            PermitLocal | PermitAllow | PermitRefuse => {
                let response = self.keyed().await;
                let seen = self.limited(&response);
                if matches!(seen, Seen::Served | Seen::Absent) {
                    self.under_way.keep(response);
                }
                seen
            }
            SessionRead | AnonymousRead => self.session("/read").await,
            SessionWrite | AnonymousWrite => self.session(&format!("/write/{number}")).await,
            TokenRefuse | TokenAllow => self.token().await,
            CacheHit => self.cached("/0").await,
            CacheMiss => self.cached(&format!("/{number}")).await,
            ValueGet => match self.store.values("v").get::<String>("own").await {
                Ok(Some(value)) => {
                    assert_eq!(value, "kept");
                    Seen::Served
                }
                Ok(None) => Seen::Absent,
                Err(error) => Seen::Policy(Why::of(&error)),
            },
            ValueSet => policy_of(self.store.values("v").set("own", &number, HOUR).await),
            ValueCompute => {
                let called = AtomicBool::new(false);
                let compute = async || {
                    called.store(true, Ordering::Relaxed);
                    Ok::<_, StoreError>("kept".to_owned())
                };
                let value = self.store.values("v").get_or_compute("own", HOUR, compute).await;
                assert_eq!(value.as_deref(), Ok("kept"), "trouble with the store is none");
                match called.into_inner() {
                    true => Seen::Policy(Why::Untold),
                    false => Seen::Served,
                }
            }
            Increment => {
                let sum = self.store.values("v").increment("own", 1, HOUR).await;
                if let Ok(sum) = sum {
                    self.ledger().sums.push(sum);
                }
                policy_of(sum.map(drop))
            }
            Lock => self.locked().await,
        }
    }

    async fn keyed(&self) -> Response<Body> {
        send(&self.app, request("GET", "/", &[("x-api-key", "k")])).await
    }

    fn limited(&self, response: &Response<Body>) -> Seen {
        if response.status() != StatusCode::OK {
            assert!(matches!(self.column, LimitRefuse | PermitRefuse), "{response:?}");
            return refused(response);
        }
        match fields(response.headers(), "ratelimit")[..] {
            [] => {
                assert!(matches!(self.column, LimitAllow | PermitAllow));
                Seen::Policy(Why::Untold)
            }
            [state] => {
                let policy = match self.column.is_permit() {
                    true => "\"exports\";q=1000;qu=\"concurrent-requests\"",
                    false => "\"api\";q=1000;w=86400",
                };
                assert_eq!(field(response.headers(), "ratelimit-policy"), policy);
                let remaining = state.split(";r=").nth(1).and_then(|rest| rest.split(';').next());
                let remaining: u64 = remaining.expect("a number").parse().expect("a number");
                match (remaining > LOCAL_FROM, self.column) {
                    (false, _) => Seen::Served,
                    (true, LimitLocal | PermitLocal) => Seen::Policy(Why::Untold),
                    // Begun anew in the store.
                    (true, _) => Seen::Absent,
                }
            }
            ref several => panic!("{several:?}"),
        }
    }

    async fn session(&self, path: &str) -> Seen {
        let cookie = self.cookie.lock().unwrap().clone();
        let response = send(&self.app, request("GET", path, &[("cookie", &cookie)])).await;
        let cookies = fields(response.headers(), "set-cookie").len();
        if response.status() != StatusCode::OK {
            assert_ne!(self.column, AnonymousRead);
            assert_eq!(cookies, 0, "nobody is logged out");
            return refused(&response);
        }
        assert_eq!(field(response.headers(), "vary"), "Cookie");
        match (&*text(response).await, cookies) {
            ("ada" | "written", 0) => Seen::Served,
            ("nobody", 0) | ("written", 1) => Seen::Absent,
            ("unavailable", 0) => Seen::Policy(Why::Untold),
            other => panic!("{other:?}"),
        }
    }

    async fn token(&self) -> Seen {
        let fields = [("authorization", "Bearer revoked")];
        let response = send(&self.app, request("GET", "/", &fields)).await;
        match response.status() {
            StatusCode::UNAUTHORIZED => {
                assert_eq!(reason::<Unauthorized, _>(&response), Unauthorized::Revoked);
                Seen::Served
            }
            StatusCode::OK if self.column == TokenAllow => Seen::Policy(Why::Untold),
            StatusCode::OK => Seen::Absent,
            _ => {
                assert_eq!(self.column, TokenRefuse);
                assert!(!response.headers().contains_key("www-authenticate"), "never 401");
                refused(&response)
            }
        }
    }

    /// With the body, whose last part waits for the store.
    async fn cached(&self, path: &str) -> Seen {
        let response = send(&self.app, request("GET", path, &[])).await;
        assert_eq!(response.status(), StatusCode::OK);
        let status = field(response.headers(), "cache-status").to_owned();
        assert_eq!(text(response).await, "fresh");
        match status.strip_prefix("tower-redis-kit; ").expect("the cache's name") {
            "fwd=bypass" => Seen::Policy(Why::Untold),
            "fwd=uri-miss; stored" if self.column == CacheMiss => Seen::Served,
            "fwd=uri-miss; stored" => Seen::Absent,
            hit if hit.starts_with("hit; ") => Seen::Served,
            other => panic!("{other}"),
        }
    }

    async fn locked(&self) -> Seen {
        match self.store.lock("own").ttl(LEASE).try_acquire().await {
            Ok(Some(lease)) => {
                let number = lease.fencing_number();
                let before = std::mem::replace(&mut self.ledger().fencing, number);
                assert!(number > before, "{number} after {before}");
                policy_of(lease.release().await.map(drop))
            }
            Ok(None) => Seen::Taken,
            Err(error) => Seen::Policy(Why::of(&error)),
        }
    }

    /// Writes what is asked for, and begins a new ledger.
    pub(crate) async fn seed(&self, server: &RedisServer) {
        let up = async || self.store.health().is_up();
        within(Duration::from_secs(10), "a connection", up).await;
        let fencing = self.ledger().fencing;
        *self.ledger() = Ledger { fencing, ..Ledger::default() };
        let write = async || self.try_to_seed(server).await;
        within(Duration::from_secs(10), "something to ask for", write).await;
        if matches!(self.column, LimitLocal | LimitAllow | LimitRefuse) {
            let arrival = micros(server) + u64::from(BURST) / 2 * EACH_MICROS;
            server.command(&["SET", &self.key(server), &arrival.to_string(), "PX", "86400000"]);
            *self.arrival.lock().unwrap() = arrival;
        }
    }

    async fn try_to_seed(&self, server: &RedisServer) -> bool {
        let values = self.store.values("v");
        match self.column {
            LimitLocal | LimitAllow | LimitRefuse => {
                !matches!(self.limited(&self.keyed().await), Seen::Policy(why) if why != Why::Untold)
            }
            PermitLocal | PermitAllow | PermitRefuse => {
                // Nobody's permits are no key.
                let _under_way = self.keyed().await;
                self.ledger().failed += 1;
                let key = self.find_key(server);
                key.map(|key| permits::add_others(server, &key)).is_some()
            }
            SessionRead | SessionWrite | AnonymousRead | AnonymousWrite => {
                let response = send(&self.app, request("GET", "/write/0", &[])).await;
                let Some(cookie) = response.headers().get("set-cookie") else { return false };
                let cookie = cookie.to_str().unwrap().split(';').next().unwrap().to_owned();
                *self.cookie.lock().unwrap() = cookie;
                true
            }
            TokenRefuse | TokenAllow => self.store.revoke(token_of("revoked")).await.is_ok(),
            CacheHit | CacheMiss => self.cached("/0").await != Seen::Policy(Why::Untold),
            ValueGet | ValueCompute => values.set("own", "kept", HOUR).await.is_ok(),
            ValueSet | Increment => values.set("own", &0, HOUR).await.is_ok(),
            Lock => self.locked().await == Seen::Served,
        }
    }

    /// What it has in the store.
    pub(crate) fn key(&self, server: &RedisServer) -> String {
        self.find_key(server).unwrap_or_else(|| panic!("{} has no key", self.column.name()))
    }

    fn find_key(&self, server: &RedisServer) -> Option<String> {
        let part = match self.column {
            LimitLocal | LimitAllow | LimitRefuse => "limit",
            PermitLocal | PermitAllow | PermitRefuse => "semaphore",
            SessionRead | SessionWrite | AnonymousRead | AnonymousWrite => "session",
            TokenRefuse | TokenAllow => "revoked",
            CacheHit | CacheMiss => "response",
            ValueGet | ValueSet | ValueCompute | Increment => "value",
            // There while it is held.
            Lock => "lock",
        };
        let begins = format!("{}:{part}:", self.column.name());
        let key = server.keys().into_iter().find(|key| key.starts_with(&begins))?;
        Some(key.strip_suffix(":number").map(str::to_owned).unwrap_or(key))
    }

    /// Whether what is under way is what holds permits: it has its own again, and one that was taken
    /// without an answer has ended with its lease.
    pub(crate) fn is_settled(&self, server: &RedisServer) -> bool {
        if !self.column.is_permit() {
            return true;
        }
        self.audit(server).unwrap_or_else(|problem| panic!("{problem}"));
        let is_settled = permits::held(server, &self.key(server)) == self.under_way.number();
        if is_settled {
            let ledger = &mut *self.ledger();
            ledger.acknowledged.clear();
            ledger.failed = 0;
        }
        is_settled
    }

    /// Whether what was acknowledged is there, and nothing was done twice.
    pub(crate) fn audit(&self, server: &RedisServer) -> Result<(), String> {
        let Ledger { asked, acknowledged, failed, sums, .. } = &*self.ledger();
        let (made, most) = (acknowledged.len() as u64, acknowledged.len() as u64 + failed);
        let count = |what: &str, found: u64| match (made..=most).contains(&found) {
            true => Ok(()),
            false => Err(format!("{what}: {found}, of {made} acknowledged and {failed} failed")),
        };
        let stored = || server.query::<Vec<u8>>(&["GET", &self.key(server)]);
        let number = || String::from_utf8(stored()).unwrap();
        match self.column {
            LimitLocal | LimitAllow | LimitRefuse => {
                let arrival: u64 = number().parse().map_err(|_| "no whole arrival".to_owned())?;
                let since = arrival - *self.arrival.lock().unwrap();
                assert_eq!(since % EACH_MICROS, 0);
                count("requests counted", since / EACH_MICROS)
            }
            // What has ended is given back, and what an outage outlived is taken again: there may be
            // fewer at any time, and never more.
            PermitLocal | PermitAllow | PermitRefuse => {
                let (held, under_way) =
                    (permits::held(server, &self.key(server)), self.under_way.number());
                match held <= under_way + most {
                    true => Ok(()),
                    false => Err(format!(
                        "{held} permits are held; {under_way} under way, {made} acknowledged since \
                         and {failed} failed"
                    )),
                }
            }
            SessionRead | AnonymousRead | SessionWrite | AnonymousWrite => {
                // Format, version, end of life, fields.
                let record = stored();
                let version = u32::from_be_bytes(record[1..5].try_into().unwrap());
                let fields: serde_json::Value = serde_json::from_slice(&record[13..]).unwrap();
                if fields["user"] != "ada" {
                    return Err(format!("the session is lost: {fields}"));
                }
                if matches!(self.column, SessionRead | AnonymousRead) {
                    return Ok(());
                }
                let lost = |number: &&u64| fields[format!("f{number}")] != **number;
                if let Some(number) = acknowledged.iter().find(lost) {
                    return Err(format!("write {number} is lost: {fields}"));
                }
                count("versions of the session", version.into())
            }
            TokenRefuse | TokenAllow | CacheHit | CacheMiss => {
                self.key(server);
                Ok(())
            }
            ValueGet | ValueCompute => match &*number() {
                "kept" => Ok(()),
                other => Err(format!("the value is {other:?}")),
            },
            ValueSet => {
                let (value, last) = (number().parse().unwrap(), acknowledged.last());
                match (*last.unwrap_or(&0)..=*asked).contains(&value) {
                    true => Ok(()),
                    false => Err(format!("{value} is stored, {last:?} was acknowledged last")),
                }
            }
            Increment => {
                // Not in their order: of several at once, a later one may be seen first.
                if sums.iter().collect::<HashSet<_>>().len() < sums.len() {
                    return Err(format!("a sum was given twice: {sums:?}"));
                }
                count("the counter", number().parse().unwrap())
            }
            // Its numbers rise: that is looked at with each.
            Lock => Ok(()),
        }
    }

    fn ledger(&self) -> std::sync::MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

fn policy_of(result: Result<(), StoreError>) -> Seen {
    match result {
        Ok(()) => Seen::Served,
        Err(error) => Seen::Policy(Why::of(&error)),
    }
}

/// 503, `Retry-After`, and the store's error in the extensions.
fn refused(response: &Response<Body>) -> Seen {
    assert_unavailable(response);
    Seen::Policy(Why::of(&reason::<StoreError, _>(response)))
}
