use smallvec::SmallVec;

use super::{Limiter, Shared};
use crate::StoreError;
use crate::observe::{self, Limit as Event};
use crate::policy::limiting::{Act, Decision, Standing};
use crate::rate_limit::{Allowance, Fallback, Key};
use crate::store::verbs::{Charge, Take};

/// What is taken from one limit, of several.
type Part<'a> = (&'a Limiter, Key, u32);

/// What each limit that was asked says.
type Decisions<'a> = SmallVec<[(&'a Limiter, Decision); 4]>;

impl Limiter {
    /// Takes from each limit the cost beside it, or nothing from any: ten a second and a thousand an
    /// hour, by address and by user. One decision, as of a layer with
    /// [several limits](crate::rate_limit::RateLimitLayer::all).
    ///
    /// The allowance is that of all together: what is left where least is left, and the longest
    /// wait. Of a refusal, [`or_limited`](Allowance::or_limited) names every limit that refuses.
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::rate_limit::{Key, Limiter, Quota};
    ///
    /// let store = Store::memory();
    /// let mails = store.limiter("mails", Quota::per_hour(100));
    /// let to_one = store.limiter("mails-to-one", Quota::per_day(1));
    /// let send = async |from: &str, to: &str| {
    ///     let parts = [(&mails, Key::named(from), 1), (&to_one, Key::named(to), 1)];
    ///     Limiter::take_all(parts).await
    /// };
    /// assert!(send("ada", "grace").await?.is_allowed());
    ///
    /// let again = send("ada", "grace").await?.or_limited().unwrap_err();
    /// assert_eq!(again.limit(), "mails-to-one");
    /// assert_eq!(mails.peek("ada").await?.remaining(), 99);
    /// # Ok(()) }
    /// ```
    ///
    /// What is taken twice from one limit for one key is taken at once. While the store cannot
    /// answer, each limit goes by its own [fallback](Limiter::fallback): one that refuses
    /// refuses all, and in this process a limit may be charged before another one refuses.
    ///
    /// # Errors
    /// # Cancel safety
    /// As on [`Limiter`].
    ///
    /// # Panics
    /// When limits are of different stores, or have one name and different quotas.
    #[track_caller]
    pub fn take_all<'a>(
        parts: impl IntoIterator<Item = (&'a Limiter, Key, u32)>,
    ) -> impl Future<Output = Result<Allowance, StoreError>> + Send + 'a {
        let parts = merged(parts);
        async move {
            match &*parts {
                [(limiter, key, cost)] => limiter.take_n(*key, *cost).await,
                _ => Ok(Allowance::of_all(
                    decided(&parts).await?.iter().map(|(limiter, it)| (&limiter.shared.name, *it)),
                )),
            }
        }
    }
}

#[track_caller]
fn merged<'a>(parts: impl IntoIterator<Item = Part<'a>>) -> SmallVec<[Part<'a>; 4]> {
    let mut merged: SmallVec<[Part<'a>; 4]> = SmallVec::new();
    for (limiter, key, cost) in parts {
        let Shared { store, rule, name, .. } = &*limiter.shared;
        for (other, _, _) in &merged {
            let other = &other.shared;
            assert!(store.is(&other.store), "limits of different stores are not one decision");
            assert!(
                rule.id != other.rule.id || rule.counting == other.rule.counting,
                "two limits are called {name:?}, and have different quotas: give them two names"
            );
        }
        let same = merged
            .iter_mut()
            .find(|(other, its_key, _)| other.shared.rule.id == rule.id && *its_key == key);
        match same {
            Some((_, _, sum)) => *sum = sum.saturating_add(cost),
            None => merged.push((limiter, key, cost)),
        }
    }
    merged
}

async fn decided<'a>(parts: &[Part<'a>]) -> Result<Decisions<'a>, StoreError> {
    let Some((first, ..)) = parts.first() else { return Ok(Decisions::new()) };
    let charges =
        parts.iter().map(|(limiter, key, cost)| Charge::new(&limiter.shared.rule, key.0, *cost));
    match first.shared.store.ask(Take::new(Act::Take, charges)).await {
        Ok(taken) => Ok(parts
            .iter()
            .zip(&taken)
            .filter(|(_, taken)| taken.standing != Standing::Unknown)
            .map(|((limiter, _, cost), taken)| {
                let Shared { rule, name, .. } = &*limiter.shared;
                let decision = rule.counting.decide(taken, *cost);
                observe::rate_limit(name, Event::of(decision.allowed));
                (*limiter, decision)
            })
            .collect()),
        Err(error) => without(parts, &error),
    }
}

/// While the store cannot answer.
#[cold]
fn without<'a>(parts: &[Part<'a>], error: &StoreError) -> Result<Decisions<'a>, StoreError> {
    let refuses = |(limiter, ..): &&Part<'a>| limiter.shared.fallback == Fallback::Refuse;
    // Before another one is charged here.
    if let Some((limiter, key, cost)) = parts.iter().find(refuses) {
        limiter.outcome(key, *cost, Err(error.clone()))?;
    }
    let mut decisions = Decisions::new();
    for (limiter, key, cost) in parts {
        let (event, decision) = limiter.outcome(key, *cost, Err(error.clone()))?;
        observe::rate_limit(&limiter.shared.name, event);
        decisions.push((limiter, decision));
        if !decision.allowed {
            break;
        }
    }
    Ok(decisions)
}
