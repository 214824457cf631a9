//! Which tokens a revocation covers.

use std::time::Duration;

use super::Timestamp;

/// No token is accepted that lives longer than this, and a subject's revocation is remembered for
/// this long: so it outlives every token it covers. A leap year and a month. Of a token without an
/// issue time only the rest of its life can be seen; to issue longer ones is a mistake that cannot.
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
        let known_from = self.issued_at.map_or(now, |issued_at| issued_at.min(now));
        self.expires_at <= known_from.after(LONGEST_TOKEN)
    }

    /// The same token for whom it is `now`. An issue time that is still to come shows nothing: the
    /// issuer's clock may be ahead, and the token older than a revocation of its subject.
    pub(crate) fn as_of(self, now: Timestamp) -> Validity {
        let issued_at = self.issued_at.filter(|issued_at| *issued_at <= now);
        Validity { issued_at, ..self }
    }

    /// A token without an issue time is covered by every revocation of its subject: it cannot show
    /// that it came later. One issued at the very instant of the revocation is covered as well, so
    /// that a token of the same second (RFC 7519 `iat` often has no finer resolution) cannot slip
    /// by.
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
        // Neither is it when most of its life is over.
        let old = Validity { issued_at: Some(Timestamp(4)), ..longest };
        assert!(!old.is_revocable(now));
    }

    #[test]
    fn an_issue_time_still_to_come_shows_nothing() {
        let until = Revocations { token: false, subject_until: Some(Timestamp(100)) };
        assert!(issued(Some(150)).as_of(Timestamp(120)).is_revoked(until));
        assert!(!issued(Some(110)).as_of(Timestamp(120)).is_revoked(until));
    }
}
