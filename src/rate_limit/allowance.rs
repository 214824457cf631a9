use std::sync::Arc;
use std::time::Duration;

use smallvec::smallvec;

use super::{Limited, Violation};
use crate::policy::limiting::Decision;

/// What a [`Limiter`](super::Limiter) says.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "an allowance may be a refusal"]
pub struct Allowance {
    decision: Decision,
    /// The limit that refuses.
    refused_by: Option<Arc<str>>,
}

impl Allowance {
    pub(super) fn new(limit: &Arc<str>, decision: Decision) -> Allowance {
        let refused_by = (!decision.allowed).then(|| limit.clone());
        Allowance { decision, refused_by }
    }

    /// Whether it was, or of a [peek](super::Limiter::peek) would be, allowed.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        self.decision.allowed
    }

    /// How many more would be allowed right now.
    #[must_use]
    pub fn remaining(&self) -> u64 {
        self.decision.remaining
    }

    /// Until the same would be allowed: zero when it was, and `None` when no waiting will help, as
    /// it costs more than there ever is.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.decision.retry_after()
    }

    /// Until the limit is as if it had never been used.
    #[must_use]
    pub fn reset_after(&self) -> Duration {
        self.decision.full_after()
    }

    /// Whether somebody is [blocked](super::Limiter::block) or
    /// [locked out](super::Quota::lockout), rather than out of quota.
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.decision.is_blocked
    }

    /// The refusal as an error, for `?` in a handler: the response that a layer would have given,
    /// but for the `RateLimit` fields, which are a layer's.
    ///
    /// ```
    /// use axum::response::{IntoResponse, Response};
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::{Limiter, Quota};
    ///
    /// // The application's state has it.
    /// async fn send_mail(mails: Limiter) -> Result<&'static str, Response> {
    ///     let allowance = mails.take("ada").await.map_err(IntoResponse::into_response)?;
    ///     allowance.or_limited().map_err(IntoResponse::into_response)?;
    ///     Ok("sent")
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mails = Store::memory().limiter("mail", Quota::per_hour(1));
    /// assert_eq!(send_mail(mails.clone()).await.unwrap(), "sent");
    /// let refused = send_mail(mails).await.unwrap_err();
    /// assert_eq!(refused.status(), 429);
    /// assert_eq!(refused.headers()["retry-after"], "3600");
    /// # }
    /// ```
    ///
    /// # Errors
    /// When it was not allowed.
    pub fn or_limited(self) -> Result<(), Limited> {
        let Some(limit) = self.refused_by else { return Ok(()) };
        Err(Limited { violations: smallvec![Violation::new(limit, &self.decision)] })
    }
}
