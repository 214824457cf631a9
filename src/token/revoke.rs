use std::fmt;
use std::time::{Duration, SystemTime};

use super::Token;
use super::claims::{subject_fingerprint, timestamp};
use crate::policy::Timestamp;
use crate::store::keys::Fingerprint;
use crate::store::verbs::{RevokeSubject, RevokeToken};
use crate::{Store, StoreError};

/// What is to be revoked: a [`Token`], or every token of a [`Subject`].
#[derive(Clone, Copy, Debug)]
pub struct Revocation {
    what: What,
}

#[derive(Clone, Copy, Debug)]
enum What {
    Token(Token),
    Subject(Subject),
}

/// Whoever tokens are issued to, for "log out everywhere".
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Subject {
    subject: Fingerprint,
    until: Option<Timestamp>,
}

impl Subject {
    /// Every token of this subject that was issued up to now.
    #[must_use]
    pub fn new(subject: impl AsRef<[u8]>) -> Subject {
        Subject { subject: subject_fingerprint(subject.as_ref()), until: None }
    }

    /// Only what was issued up to `until`.
    ///
    /// `iat` is often whole seconds: a token issued within the same second as the revocation
    /// counts as issued before it. To log out everywhere and issue a new token in one go, revoke
    /// up to the last second.
    #[must_use]
    pub fn issued_until(mut self, until: SystemTime) -> Subject {
        self.until = Some(timestamp(until));
        self
    }
}

impl fmt::Debug for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subject").field("until", &self.until).finish_non_exhaustive()
    }
}

impl From<Token> for Revocation {
    fn from(token: Token) -> Revocation {
        Revocation { what: What::Token(token) }
    }
}

impl From<Subject> for Revocation {
    fn from(subject: Subject) -> Revocation {
        Revocation { what: What::Subject(subject) }
    }
}

/// Clocks of several machines differ; a revocation is remembered for this long after its token
/// has ended.
const CLOCK_SKEW: Duration = Duration::from_secs(5 * 60);

impl Store {
    /// Revokes a token, or every token of a subject, from now on and for as long as they would have
    /// been valid.
    ///
    /// ```
    /// use std::time::{Duration, SystemTime};
    /// use tower_redis_kit::Store;
    /// use tower_redis_kit::token::{Subject, Token};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// let store = Store::memory();
    /// let token = Token::new("its id", SystemTime::now() + Duration::from_secs(60)).subject("ada");
    /// store.revoke(token).await?;
    /// assert!(store.is_revoked(token).await?);
    ///
    /// let other = Token::new("another", SystemTime::now() + Duration::from_secs(60)).subject("ada");
    /// assert!(!store.is_revoked(other).await?);
    /// store.revoke(Subject::new("ada")).await?;
    /// assert!(store.is_revoked(other).await?);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// When the store cannot answer. The token may be revoked all the same after
    /// [`is_timeout`](StoreError::is_timeout); doing it again does no harm.
    ///
    /// # Cancel safety
    /// A revocation whose caller leaves may still be made.
    pub async fn revoke(&self, what: impl Into<Revocation>) -> Result<(), StoreError> {
        match what.into().what {
            What::Token(token) => {
                let left = token.validity.expires_at.since(self.now());
                let time_to_live = left.saturating_add(CLOCK_SKEW);
                self.ask(RevokeToken { token: token.id, time_to_live }).await
            }
            What::Subject(Subject { subject, until }) => {
                self.ask(RevokeSubject { subject, until }).await.map(drop)
            }
        }
    }

    /// Whether a token was revoked, by itself or with all of its subject's.
    ///
    /// # Errors
    /// When the store cannot answer.
    pub async fn is_revoked(&self, token: Token) -> Result<bool, StoreError> {
        let revocations = self.ask(token.check()).await?;
        Ok(token.validity.as_of(self.now()).is_revoked(revocations))
    }
}
