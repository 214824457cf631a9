use std::time::Duration;

use super::Verb;
use crate::store::keys::Fingerprint;

/// Who holds a lock or a permit: 128 random bits, new for every attempt, so that nobody renews or
/// releases what is somebody else's by now.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Holder(pub(crate) [u8; 16]);

impl Holder {
    pub(crate) fn random() -> Holder {
        let mut bytes = [0; 16];
        // A holder has to be unique, and nothing depends on its being hard to guess.
        if getrandom::fill(&mut bytes).is_err() {
            fastrand::fill(&mut bytes);
        }
        Holder(bytes)
    }
}

/// Takes a lock for `time_to_live`, if nobody holds it: of concurrent callers one gets it. Answers
/// a fencing number higher than that of every holder before, those that expired included; `None`
/// while somebody holds it. Whatever is in the lock's place counts as a holder; a malformed last
/// number counts as none.
#[derive(Clone, Debug)]
pub(crate) struct AcquireLock {
    pub(crate) name: Fingerprint,
    pub(crate) holder: Holder,
    pub(crate) time_to_live: Duration,
}

impl Verb for AcquireLock {
    const NAME: &'static str = "acquire_lock";

    type Answer = Option<u64>;
}

/// Keeps a lock for another `time_to_live` from now on, and answers whether this holder has it. A
/// lock that is absent, expired or somebody else's stays as it is.
#[derive(Clone, Debug)]
pub(crate) struct RenewLock {
    pub(crate) name: Fingerprint,
    pub(crate) holder: Holder,
    pub(crate) time_to_live: Duration,
}

impl Verb for RenewLock {
    const NAME: &'static str = "renew_lock";

    type Answer = bool;
}

/// Ends the lock of this holder, and answers whether it had it. Doing it twice does no harm: what
/// is somebody else's by now stays theirs.
#[derive(Clone, Debug)]
pub(crate) struct ReleaseLock {
    pub(crate) name: Fingerprint,
    pub(crate) holder: Holder,
}

impl Verb for ReleaseLock {
    const NAME: &'static str = "release_lock";

    type Answer = bool;
}
