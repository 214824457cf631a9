use std::sync::Arc;
use std::time::Duration;

use super::{Holder, Verb};
use crate::store::StoreError;
use crate::store::keys::Subject;

/// A limit of how much happens at the same time, as far as the store is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Semaphore {
    pub(crate) name: Arc<str>,
    /// How many there are for each subject.
    pub(crate) permits: u32,
    /// How long one is held after its holder's last sign of life.
    pub(crate) lease: Duration,
}

/// Who holds a permit, or wants to.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    pub(crate) semaphore: Arc<Semaphore>,
    pub(crate) subject: Subject,
    pub(crate) holder: Holder,
}

/// What came of a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Acquired {
    pub(crate) is_held: bool,
    /// How many permits are held, this one included.
    pub(crate) held: u64,
}

/// Holds a permit for the lease from now on: the one that this holder has, or else one that is free.
/// Of concurrent callers as many get one as there are. An expired permit is free, whoever had it. A
/// holder keeps its permit though there are fewer of them than there were.
#[derive(Clone, Debug)]
pub(crate) struct AcquirePermit(pub(crate) Claim);

impl Verb for AcquirePermit {
    const NAME: &'static str = "acquire_permit";

    type Answer = Acquired;
}

/// As [`AcquirePermit`] for each of these, by itself.
#[derive(Clone, Debug)]
pub(crate) struct RenewPermits(pub(crate) Vec<Claim>);

impl Verb for RenewPermits {
    const NAME: &'static str = "renew_permits";

    type Answer = Vec<Result<Acquired, StoreError>>;
}

/// Frees this holder's permit, and answers whether it was there: one that has expired may be or not.
/// Doing it twice does no harm.
#[derive(Clone, Debug)]
pub(crate) struct ReleasePermit(pub(crate) Claim);

impl Verb for ReleasePermit {
    const NAME: &'static str = "release_permit";

    type Answer = bool;
}

impl Claim {
    pub(crate) fn new(semaphore: Arc<Semaphore>, subject: Subject) -> Claim {
        Claim { semaphore, subject, holder: Holder::random() }
    }
}
