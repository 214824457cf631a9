//! What a process decides by what it knows of limits, and how it comes to know it.

use smallvec::SmallVec;
use tokio::time::{Instant, timeout_at};

use super::super::shortcuts::{Found, Leasing, Step};
use super::super::{Lane, OnRedis, Redis};
use super::Answer;
use crate::policy::Timestamp;
use crate::policy::limiting::{Act, Standing, Taken, Verdict};
use crate::store::StoreError;
use crate::store::error::Kind;
use crate::store::keys::Subject;
use crate::store::limit_at::LimitAt;
use crate::store::verbs::{Charge, Lent, Take};

/// How often somebody waits for a lease of which others take what was theirs.
const MOST_WAITS: usize = 3;

impl Redis {
    /// What this process knows of one limit alone: that it refuses, or that enough of it is leased.
    /// Who is told nothing asks, and is told the same again at the price of one more look.
    pub(in crate::store) fn judge(
        &self,
        act: Act,
        rule: Lent<'_>,
        subject: &Subject,
        cost: u32,
    ) -> Option<Verdict> {
        if act != Act::Take || !rule.has_shortcuts() {
            return None;
        }
        let taken = self.shortcuts.known(&Charge::new(rule, *subject, cost), now())?;
        Some(rule.counting.verdict(&taken, cost))
    }
}

impl Take {
    /// What this process knows: that one of the limits refuses, or that it has leased enough of the
    /// only one.
    pub(super) fn by_shortcut(&self, redis: &Redis) -> Option<Answer> {
        let now = now();
        if let [charge] = &*self.charges {
            return redis.shortcuts.known(charge, now).map(|taken| SmallVec::from_buf([taken]));
        }
        let nothing = Taken { fits: true, now: Timestamp(0), standing: Standing::Unknown };
        let refused = |charge: &Charge| {
            let may_refuse = charge.rule.denies && !charge.rule.is_shadow;
            may_refuse.then(|| redis.shortcuts.denied(charge, now)).flatten()
        };
        let found: SmallVec<[Option<Taken>; 4]> = self.charges.iter().map(refused).collect();
        let is_known = found.iter().any(Option::is_some);
        is_known.then(|| found.into_iter().map(|taken| taken.unwrap_or(nothing)).collect())
    }

    pub(super) async fn with_shortcuts(self, redis: &Redis) -> Result<Answer, StoreError> {
        let shortcuts = &redis.shortcuts;
        shortcuts.listen(|ear| redis.subscriber.hear(&redis.keys.limits_changed(), ear));
        let (by, mut has_waited) = (redis.by(Lane::Verdict), false);
        if let [charge] = &*self.charges
            && charge.is_leased()
            && let Some(taken) = leased(charge, redis, &mut has_waited).await?
        {
            return Ok(SmallVec::from_buf([taken]));
        }
        let take = self.clone();
        let (asking, sent) = (shortcuts.ask(&take.charges), now());
        let answer = match has_waited {
            false => redis.directly(self).await?,
            // The deadline is one for both.
            true => timeout_at(by, redis.directly(self))
                .await
                .unwrap_or_else(|_| Err(StoreError::new(Kind::Timeout)))?,
        };
        if let ([charge], [refused]) = (&*take.charges, &*answer)
            && !refused.fits
            && let Some(taken) = shortcuts.left(charge, refused, now())
        {
            return Ok(SmallVec::from_buf([taken]));
        }
        let is_charged = take.passes(&answer);
        for (charge, taken) in take.charges.iter().zip(&answer) {
            let Charge { rule, cost, .. } = charge;
            if !rule.denies {
                continue;
            }
            if taken.fits && is_charged && *cost > 0 {
                asking.charged(charge);
            }
            let wait = rule.counting.decide(taken, *cost).retry_after();
            if let Some(wait) = wait.filter(|_| !taken.fits) {
                let (rule, taken, received) = (rule.clone(), *taken, now());
                asking.deny(charge, Found { rule, taken, sent, received }, wait);
            }
        }
        Ok(answer)
    }
}

/// Out of a lease, of one's own or of somebody who asks for it already.
async fn leased(
    charge: &Charge,
    redis: &Redis,
    has_waited: &mut bool,
) -> Result<Option<Taken>, StoreError> {
    // Whoever asks may stand still, so that there has to be time to ask alone.
    let patience = now() + redis.deadline / 2;
    for _ in 0..=MOST_WAITS {
        let mut waiting = match redis.shortcuts.lease(charge, now()) {
            Step::Known(taken) => return Ok(Some(taken)),
            Step::Ask(leasing) => return ask(charge, leasing, redis).await,
            Step::Wait(waiting) => waiting,
            Step::Alone => return Ok(None),
        };
        *has_waited = true;
        if timeout_at(patience, waiting.landed()).await.is_err() {
            return Ok(None);
        }
    }
    Ok(None)
}

async fn ask(
    charge: &Charge,
    leasing: Leasing<'_>,
    redis: &Redis,
) -> Result<Option<Taken>, StoreError> {
    let batch = Charge { cost: charge.rule.batch, ..charge.clone() };
    let (rule, left) = (charge.rule.clone(), batch.cost - charge.cost);
    let sent = now();
    let answer = redis.directly(Take::one(Act::Take, batch)).await?;
    if let [taken] = *answer
        && taken.fits
    {
        let found = Found { rule, taken, sent, received: now() };
        return Ok(Some(leasing.keep(left, found)));
    }
    leasing.fail(now());
    Ok(None)
}

impl Redis {
    /// Does what makes untrue what this process knows of some places.
    pub(super) async fn then_forget<V: OnRedis>(
        &self,
        verb: V,
        places: &[LimitAt],
    ) -> Result<V::Answer, StoreError> {
        let answer = self.directly(verb).await;
        places.iter().for_each(|place| self.shortcuts.forget(place));
        answer
    }
}

#[expect(clippy::disallowed_methods, reason = "how long something is known for is counted here")]
fn now() -> Instant {
    Instant::now()
}
