use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use axum_core::body::Body;
use axum_core::response::{IntoResponse, Response};
use smallvec::SmallVec;

use super::{answer, fields};
use crate::policy::limiting::Decision;
use crate::refusal;

/// Why a request was answered with 429; in the response's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limited {
    pub(super) violations: SmallVec<[Violation; 1]>,
}

/// One limit that refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub(super) limit: Arc<str>,
    pub(super) retry_after: Option<Duration>,
    pub(super) is_blocked: bool,
}

impl Limited {
    /// The name of the limit that refused; of several, the first.
    #[must_use]
    pub fn limit(&self) -> &str {
        self.violations.first().map_or("", Violation::limit)
    }

    /// Every limit that refused.
    pub fn violations(&self) -> impl Iterator<Item = &Violation> {
        self.violations.iter()
    }

    /// Until the request may be repeated; `None` when no waiting will help.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let longest = |longest: Duration, wait: Option<Duration>| Some(longest.max(wait?));
        self.violations().map(Violation::retry_after).try_fold(Duration::ZERO, longest)
    }

    /// Whether somebody is [locked out](crate::rate_limit::Quota::lockout) or blocked.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.violations().any(Violation::is_blocked)
    }
}

impl Violation {
    pub(super) fn new(limit: Arc<str>, decision: &Decision) -> Violation {
        let (retry_after, is_blocked) = (decision.retry_after(), decision.is_blocked);
        Violation { limit, retry_after, is_blocked }
    }

    /// The limit's name.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }

    /// Until this limit would admit the request; `None` when no waiting will help, as it costs more
    /// than there ever is. A [concurrency limit](super::concurrency), which cannot know, says a
    /// second.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    /// Whether it is not used up but shut for this key.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, violation) in self.violations().enumerate() {
            f.write_str(if index == 0 { "" } else { "; " })?;
            violation.fmt(f)?;
        }
        Ok(())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.limit;
        match (self.is_blocked, self.retry_after) {
            (true, _) => write!(f, "the limit {name:?} is shut for this caller"),
            (false, None) => write!(f, "the request costs more than the limit {name:?} ever has"),
            (false, Some(_)) => write!(f, "the limit {name:?} is used up"),
        }
    }
}

impl std::error::Error for Limited {}

/// The response that a layer gives: 429, a problem document, and `Retry-After`.
impl IntoResponse for Limited {
    fn into_response(self) -> Response {
        let mut response = answer::problem(answer::document(&self)).map(Body::from);
        fields::retry_after(response.headers_mut(), self.retry_after());
        response.extensions_mut().insert(self);
        response
    }
}

/// A request has no key, and [the limit refuses such](super::WithoutKey::Refuse).
///
/// Answered with 403, with this in the response's extensions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingKey {
    pub(super) limit: Arc<str>,
}

impl MissingKey {
    /// The name of the limit that refused.
    #[must_use]
    pub fn limit(&self) -> &str {
        &self.limit
    }
}

impl fmt::Display for MissingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request has no key for the limit {:?}, which refuses such", self.limit)
    }
}

impl std::error::Error for MissingKey {}

/// A request is on the layer's [block-list](super::RateLimitLayer::block).
///
/// Answered with 403, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Blocked;

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request is on a block-list")
    }
}

impl std::error::Error for Blocked {}

/// A handler wants to say what its request costs, but no limit asks: a mistake in wiring.
///
/// Answered with 500, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingCharge;

impl fmt::Display for MissingCharge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no limit of this route settles what its requests cost: give it one by \
             `Limit::settle(…)`, or take `Option<Charge>`",
        )
    }
}

impl std::error::Error for MissingCharge {}

impl IntoResponse for MissingCharge {
    fn into_response(self) -> Response {
        refusal::mistake(self)
    }
}

/// A handler wants to know what limits say, but no layer tells it: a mistake in wiring.
///
/// Answered with 500, with this in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct MissingAllowances;

impl fmt::Display for MissingAllowances {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(
            "no rate limit around this route tells its handler what is left: give its layer \
             `RateLimitLayer::allowances()`, or take `Option<Allowances>`",
        )
    }
}

impl std::error::Error for MissingAllowances {}

impl IntoResponse for MissingAllowances {
    fn into_response(self) -> Response {
        refusal::mistake(self)
    }
}
