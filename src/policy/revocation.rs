//! Which tokens a revocation covers.

use std::time::Duration;

use super::Timestamp;

/// No token is accepted whose end lies further ahead than this, and a subject's revocation is
/// remembered for this long: so it outlives every token it covers. The sum of a leap year and a
/// month.
pub(crate) const LONGEST_TOKEN: Duration = Duration::from_secs(397 * 24 * 60 * 60);

/// What a token says of itself, as far as revocation is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Validity {
    /// When it was issued, if it says so.
    pub(crate) issued_at: Option<Timestamp>,
    /// When it ends.
    pub(crate) expires_at: Timestamp,
}

/// What the store remembers about a token and its subject.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Revocations {
    /// The token itself was revoked.
    pub(crate) token: bool,
    /// Every token of the subject that was issued up to here was revoked.
    pub(crate) subject_until: Option<Timestamp>,
}

impl Validity {
    /// Whether a revocation of this token could be remembered for as long as it is valid.
    pub(crate) fn is_revocable(&self, now: Timestamp) -> bool {
        self.expires_at <= now.after(LONGEST_TOKEN)
    }

    /// A token without an issue time is covered by every revocation of its subject: it cannot show
    /// that it came later. One issued at the very instant of the revocation is covered as well, so
    /// that a token of the same second (RFC 7519 `iat` often has no finer resolution) cannot slip by.
    pub(crate) fn is_revoked(&self, revocations: Revocations) -> bool {
        let by_subject = revocations
            .subject_until
            .is_some_and(|until| self.issued_at.is_none_or(|issued_at| issued_at <= until));
        revocations.token || by_subject
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn issued(at: Option<u64>) -> Validity {
        Validity { issued_at: at.map(Timestamp), expires_at: Timestamp(1_000) }
    }

    #[test]
    fn a_subjects_revocation_covers_what_was_issued_up_to_it() {
        let until = Revocations { token: false, subject_until: Some(Timestamp(100)) };
        assert!(issued(Some(99)).is_revoked(until));
        assert!(issued(Some(100)).is_revoked(until));
        assert!(!issued(Some(101)).is_revoked(until));
        assert!(issued(None).is_revoked(until));
    }

    #[test]
    fn nothing_remembered_means_not_revoked() {
        assert!(!issued(None).is_revoked(Revocations::default()));
        assert!(issued(Some(1)).is_revoked(Revocations { token: true, subject_until: None }));
    }

    #[test]
    fn a_token_that_outlives_every_revocation_is_not_revocable() {
        let now = Timestamp(5);
        let longest = Validity { issued_at: None, expires_at: now.after(LONGEST_TOKEN) };
        assert!(longest.is_revocable(now));
        assert!(!longest.is_revocable(Timestamp(4)));
    }
}
