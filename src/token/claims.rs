use std::fmt;
use std::time::{Duration, SystemTime};

use crate::policy::revocation::Validity;
use crate::policy::{Timestamp, micros};
use crate::store::keys::Fingerprint;
use crate::store::verbs::CheckRevoked;

/// What a verified token says, in handlers: the verifier's claims.
///
/// An extractor in axum; anywhere else, in the request's extensions. `Option<Claims<T>>` where the
/// layer is [optional](super::RevocationLayer::optional).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims<T>(pub T);

/// A token, as far as revoking it is concerned: which it is, whose, since when and until when.
///
/// An extractor in axum, for `store.revoke(token)`; anywhere else, in the request's extensions.
/// Holds fingerprints, never the token.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub(super) id: Fingerprint,
    pub(super) subject: Option<Fingerprint>,
    pub(super) validity: Validity,
}

impl Token {
    /// The token of this id, valid until `expires_at`, leeway included.
    ///
    /// The id is a JWT's `jti`, or, where there is none, what was signed: the token without its
    /// signature, of which there may be several that are valid. It must be the same each time the
    /// token comes, and no other token's.
    #[must_use]
    pub fn new(id: impl AsRef<[u8]>, expires_at: SystemTime) -> Token {
        Token {
            id: Fingerprint::of(&[id.as_ref()]),
            subject: None,
            validity: Validity { issued_at: None, expires_at: timestamp(expires_at) },
        }
    }

    /// Whose it is: a JWT's `sub`. Without it, the token cannot be revoked with all of its
    /// subject's.
    #[must_use]
    pub fn subject(mut self, subject: impl AsRef<[u8]>) -> Token {
        self.subject = Some(subject_fingerprint(subject.as_ref()));
        self
    }

    /// When it was issued: a JWT's `iat`. Without it, every revocation of its subject covers it.
    #[must_use]
    pub fn issued_at(mut self, issued_at: SystemTime) -> Token {
        self.validity.issued_at = Some(timestamp(issued_at));
        self
    }

    /// The question whether it was revoked.
    pub(super) fn check(&self) -> CheckRevoked {
        CheckRevoked { token: self.id, subject: self.subject }
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").field("validity", &self.validity).finish_non_exhaustive()
    }
}

/// Says whether a token is one of ours, and what it says.
///
/// A closure will do: `|token: &str| -> Result<(Token, MyClaims), InvalidToken>`.
///
/// # Security
/// Accepting a token that is not ours lets its bearer in; refusing one of ours logs somebody out.
/// Check the signature or look the token up, and check that it has not expired. It is called before
/// the store is asked, on every request that has a token, and must not block.
pub trait Verifier: Send + Sync + 'static {
    /// What handlers get as [`Claims`].
    type Claims: Clone + Send + Sync + 'static;

    /// Verifies the token of an `Authorization: Bearer` field.
    ///
    /// # Errors
    /// When it is not ours, or not valid now.
    fn verify(&self, token: &str) -> Result<(Token, Self::Claims), InvalidToken>;
}

impl<F, T> Verifier for F
where
    F: Fn(&str) -> Result<(Token, T), InvalidToken> + Send + Sync + 'static,
    T: Clone + Send + Sync + 'static,
{
    type Claims = T;

    fn verify(&self, token: &str) -> Result<(Token, T), InvalidToken> {
        self(token)
    }
}

/// The token is not ours, or not valid now. Says no more: why is nothing that its bearer should
/// learn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct InvalidToken;

impl fmt::Display for InvalidToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the token is not valid")
    }
}

impl std::error::Error for InvalidToken {}

pub(super) fn subject_fingerprint(subject: &[u8]) -> Fingerprint {
    Fingerprint::of(&[subject])
}

pub(super) fn timestamp(time: SystemTime) -> Timestamp {
    let since_epoch: Duration = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(micros(since_epoch))
}
