use std::sync::Arc;

use super::record::{count, name, set, word};

pub(super) const CALLS: &str = "tower_redis_kit_store_calls_total";
const STORE_UP: &str = "tower_redis_kit_store_up";
const CONNECTIONS: &str = "tower_redis_kit_connections_total";
const CONNECTION_FAILURES: &str = "tower_redis_kit_connection_failures_total";
const RATE_LIMIT: &str = "tower_redis_kit_rate_limit_total";
const BLOCKED: &str = "tower_redis_kit_blocked_total";
const PERMITS_LOST: &str = "tower_redis_kit_permits_lost_total";
const SESSIONS: &str = "tower_redis_kit_sessions_total";
const TOKENS: &str = "tower_redis_kit_tokens_total";
const CACHE: &str = "tower_redis_kit_cache_total";

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$about:meta])* $variant:ident => $word:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum $name { $($(#[$about])* $variant,)* }

        impl $name {
            pub(super) fn word(self) -> &'static str {
                match self { $($name::$variant => $word,)* }
            }
        }
    };
}

words! {
    /// What became of a request at a rate limit.
    Limit {
        Allowed => "allowed",
        Limited => "limited",
        /// A shadow would have refused it.
        ShadowLimited => "shadow_limited",
        /// It has no key, and the limit lets nobody pass without.
        WithoutKey => "without_key",
        /// By this process, because the store could not answer.
        AllowedHere => "allowed_here",
        LimitedHere => "limited_here",
        /// The store could not answer, and the limit lets everything pass then.
        Unchecked => "unchecked",
        /// The store could not answer, and the limit lets nothing pass then.
        Refused => "refused",
    }
}

words! {
    /// What became of a session.
    Session {
        Loaded => "loaded",
        /// A cookie names one that has ended, or never was.
        Absent => "absent",
        Created => "created",
        Saved => "saved",
        /// Another request saved first, and the changes are made again on top.
        Conflict => "conflict",
        Ended => "ended",
        /// It could not be loaded or saved.
        Failed => "failed",
    }
}

words! {
    /// What became of a request with a token, or without one where it needs one.
    Token {
        Allowed => "allowed",
        Revoked => "revoked",
        /// Missing, malformed, or not accepted by the verifier.
        Invalid => "invalid",
        /// The store could not answer, and the layer lets such a token pass.
        Unchecked => "unchecked",
        /// The store could not answer.
        Refused => "refused",
    }
}

words! {
    /// What became of a request at the cache.
    Cache {
        Hit => "hit",
        Miss => "miss",
        /// What is stored is not fresh any more.
        Stale => "stale",
        /// The request wants no part of a cache, or the store could not answer.
        Bypass => "bypass",
        /// The request changes something.
        Change => "change",
        /// The answer is stored.
        Stored => "stored",
    }
}

impl Limit {
    pub(crate) fn of(allowed: bool) -> Limit {
        if allowed { Limit::Allowed } else { Limit::Limited }
    }

    /// By this process.
    pub(crate) fn here(allowed: bool) -> Limit {
        if allowed { Limit::AllowedHere } else { Limit::LimitedHere }
    }
}

pub(crate) fn rate_limit(limit: &Arc<str>, outcome: Limit) {
    tracing::debug!(%limit, outcome = outcome.word(), "rate limit");
    count(RATE_LIMIT, [("limit", name(limit)), ("outcome", word(outcome.word()))]);
}

/// A list that holds for all limits of a layer refuses a request.
pub(crate) fn blocked() {
    tracing::debug!("a block-list refuses");
    count(BLOCKED, []);
}

/// A request goes on without its permit: the lease ran out, and others have them all.
pub(crate) fn permit_lost(limit: &Arc<str>) {
    tracing::debug!(%limit, "a permit is lost");
    count(PERMITS_LOST, [("limit", name(limit))]);
}

pub(crate) fn session(event: Session) {
    let event = event.word();
    tracing::debug!(event, "session");
    count(SESSIONS, [("event", word(event))]);
}

pub(crate) fn token(outcome: Token) {
    let outcome = outcome.word();
    tracing::debug!(outcome, "token");
    count(TOKENS, [("outcome", word(outcome))]);
}

pub(crate) fn cache(event: Cache) {
    let event = event.word();
    tracing::debug!(event, "cache");
    count(CACHE, [("event", word(event))]);
}

/// A call that the in-process store answered. On the network it is a [`Call`](super::Call).
pub(crate) fn answered(verb: &'static str, outcome: &'static str) {
    count(CALLS, [("verb", word(verb)), ("outcome", word(outcome))]);
}

/// A connection was made. The log has it already.
pub(crate) fn connected(prefix: &Arc<str>) {
    count(CONNECTIONS, [("prefix", name(prefix))]);
}

/// A connection was lost, or could not be made. The log has it already.
pub(crate) fn disconnected(prefix: &Arc<str>, error: &'static str) {
    count(CONNECTION_FAILURES, [("prefix", name(prefix)), ("error", word(error))]);
}

/// Whether a store sends calls, or fails them at once.
pub(crate) fn store_up(prefix: &Arc<str>, is_up: bool) {
    set(STORE_UP, [("prefix", name(prefix))], f64::from(is_up));
}
