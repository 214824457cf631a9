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
    /// Few are refusals, and the others should be small.
    refused: Option<Box<Refused>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Refused {
    /// By the only limit that was asked.
    By(Arc<str>),
    ByAny(Limited),
}

impl Allowance {
    #[inline]
    pub(super) fn new(limit: &Arc<str>, decision: Decision) -> Allowance {
        let refused = (!decision.allowed).then(|| refused_by(limit));
        Allowance { decision, refused }
    }

    /// Of limits that are asked together.
    pub(super) fn of_all<'a>(
        decisions: impl Iterator<Item = (&'a Arc<str>, Decision)> + Clone,
    ) -> Allowance {
        let decision = Decision::of_all(decisions.clone().map(|(_, decision)| decision));
        let refused = (!decision.allowed).then(|| {
            let refusals = decisions.filter(|(_, decision)| !decision.allowed);
            let violations = refusals.map(|(limit, it)| Violation::new(limit.clone(), &it));
            Box::new(Refused::ByAny(Limited { violations: violations.collect() }))
        });
        Allowance { decision, refused }
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
        match self.refused.map(|refused| *refused) {
            None => Ok(()),
            Some(Refused::By(limit)) => {
                Err(Limited { violations: smallvec![Violation::new(limit, &self.decision)] })
            }
            Some(Refused::ByAny(limited)) => Err(limited),
        }
    }
}

/// By itself, and without the decision: that is not to be put into memory for it.
#[cold]
fn refused_by(limit: &Arc<str>) -> Box<Refused> {
    Box::new(Refused::By(limit.clone()))
}

/// What limits say of a request that they let pass, for its handler.
///
/// An extractor in axum; anywhere else, in the request's extensions. It is there inside of a layer
/// with [`allowances`](super::RateLimitLayer::allowances), where there is an example, and empty for a
/// request that meets no limit. [Shadows](super::Limit::shadow) are not in it, nor limits that
/// nothing is known of, as with [`Fallback::Allow`](super::Fallback::Allow).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowances {
    told: Vec<Told>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    limit: Arc<str>,
    capacity: u32,
    allowance: Allowance,
}

impl Allowances {
    /// What the limit of this name says; of several, the innermost.
    #[must_use]
    pub fn get(&self, limit: &str) -> Option<&Allowance> {
        self.told(limit).map(|told| &told.allowance)
    }

    /// How many the limit of this name allows at once when nothing is used, for "19 of 20 left": a
    /// burst, or what there is in each window.
    #[must_use]
    pub fn capacity(&self, limit: &str) -> Option<u32> {
        self.told(limit).map(|told| told.capacity)
    }

    /// What each limit says, by its name, from the outermost layer to the innermost.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Allowance)> {
        self.told.iter().map(|told| (&*told.limit, &told.allowance))
    }

    /// How many more requests all of them would allow right now, where each costs 1. `None`: the
    /// request meets no limit, or nothing is known of those that it meets.
    #[must_use]
    pub fn remaining(&self) -> Option<u64> {
        self.iter().map(|(_, allowance)| allowance.remaining()).min()
    }

    /// These, and what one more limit says: for a handler that is called without its layer, as in a
    /// test. `capacity` is what [`capacity`](Allowances::capacity) tells of it.
    ///
    /// ```
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::{Allowances, Quota};
    ///
    /// async fn inbox(allowances: Allowances) -> String {
    ///     format!("{} mails left", allowances.remaining().unwrap_or_default())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let mails = Store::memory().limiter("mails", Quota::per_day(20));
    /// let allowances = Allowances::default().with("mails", 20, mails.take("ada").await?);
    /// assert_eq!(inbox(allowances).await, "19 mails left");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with(mut self, limit: &str, capacity: u32, allowance: Allowance) -> Allowances {
        self.told.push(Told { limit: limit.into(), capacity, allowance });
        self
    }

    pub(super) fn tell(&mut self, limit: &Arc<str>, capacity: u32, decision: Decision) {
        let allowance = Allowance::new(limit, decision);
        self.told.push(Told { limit: limit.clone(), capacity, allowance });
    }

    fn told(&self, limit: &str) -> Option<&Told> {
        self.told.iter().rfind(|told| &*told.limit == limit)
    }
}
