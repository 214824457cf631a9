use std::time::Duration;

use super::Verb;
use crate::policy::Timestamp;
use crate::policy::revocation::Revocations;
use crate::store::keys::Fingerprint;

/// What is remembered about a token and its subject. A malformed memory counts as revoked; on Redis,
/// a key that holds no string counts as absent, because `MGET` does not tell it apart.
#[derive(Clone, Debug)]
pub(crate) struct CheckRevoked {
    pub(crate) token: Fingerprint,
    pub(crate) subject: Option<Fingerprint>,
}

impl Verb for CheckRevoked {
    const NAME: &'static str = "check_revoked";

    type Answer = Revocations;
}

/// Remembers for `time_to_live` that a token is revoked. Doing it twice does no harm.
#[derive(Clone, Debug)]
pub(crate) struct RevokeToken {
    pub(crate) token: Fingerprint,
    pub(crate) time_to_live: Duration,
}

impl Verb for RevokeToken {
    const NAME: &'static str = "revoke_token";

    type Answer = ();
}

/// Revokes every token of a subject issued up to `until`, or up to now. Never takes an earlier
/// revocation back: the later time stays. Answers the time in force.
#[derive(Clone, Debug)]
pub(crate) struct RevokeSubject {
    pub(crate) subject: Fingerprint,
    pub(crate) until: Option<Timestamp>,
}

impl Verb for RevokeSubject {
    const NAME: &'static str = "revoke_subject";

    type Answer = Timestamp;
}
