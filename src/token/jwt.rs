use std::fmt;
use std::marker::PhantomData;
use std::time::{Duration, SystemTime};

use jsonwebtoken::{Algorithm, DecodingKey, Validation, decode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::{InvalidToken, Token, Verifier};

/// Verifies JSON Web Tokens (RFC 7519), and gives handlers their claims as a `T`.
///
/// A token without `exp` is refused: nobody could say for how long its revocation is to be
/// remembered. `jti` is its id (what was signed, where it has none), `sub` its subject.
///
/// ```
/// use serde::Deserialize;
/// use tower_redis_kit::token::{Jwt, RevocationLayer};
///
/// #[derive(Clone, Deserialize)]
/// struct User {
///     sub: String,
/// }
///
/// let layer = RevocationLayer::new(Jwt::<User>::hs256(b"at least 32 bytes, and kept secret"));
/// # let _ = layer;
/// ```
pub struct Jwt<T> {
    key: DecodingKey,
    validation: Validation,
    claims: PhantomData<fn() -> T>,
}

impl<T> Jwt<T> {
    /// Signed with HMAC-SHA-256 by this secret.
    #[must_use]
    pub fn hs256(secret: &[u8]) -> Jwt<T> {
        Jwt::new(DecodingKey::from_secret(secret), Validation::new(Algorithm::HS256))
    }

    /// Verified with a key and rules of jsonwebtoken's own: other algorithms, issuer, audience,
    /// leeway. `exp` is required whatever the rules say.
    #[must_use]
    pub fn new(key: DecodingKey, mut validation: Validation) -> Jwt<T> {
        validation.required_spec_claims.insert("exp".to_owned());
        validation.validate_exp = true;
        Jwt { key, validation, claims: PhantomData }
    }
}

#[derive(Deserialize)]
struct Registered {
    jti: Option<String>,
    sub: Option<String>,
    iat: Option<f64>,
    exp: f64,
}

impl<T> Verifier for Jwt<T>
where
    T: DeserializeOwned + Clone + Send + Sync + 'static,
{
    type Claims = T;

    fn verify(&self, token: &str) -> Result<(Token, T), InvalidToken> {
        let claims =
            decode::<Value>(token, &self.key, &self.validation).map_err(|_| InvalidToken)?.claims;
        let registered = Registered::deserialize(&claims).map_err(|_| InvalidToken)?;
        let leeway = Duration::from_secs(self.validation.leeway);
        let expires_at = numeric_date(registered.exp)?.checked_add(leeway).ok_or(InvalidToken)?;
        let id = registered.jti.as_deref().unwrap_or(signed_part(token));
        let mut revocable = Token::new(id, expires_at);
        if let Some(subject) = &registered.sub {
            revocable = revocable.subject(subject);
        }
        if let Some(issued_at) = registered.iat {
            revocable = revocable.issued_at(numeric_date(issued_at)?);
        }
        let claims = T::deserialize(claims).map_err(|_| InvalidToken)?;
        Ok((revocable, claims))
    }
}

/// A token without its signature. Some algorithms accept more than one signature of the same text
/// (for ECDSA, r and n−s beside r and s), which anybody can compute from the first.
fn signed_part(token: &str) -> &str {
    token.rsplit_once('.').map_or(token, |(signed, _)| signed)
}

/// RFC 7519, 2: seconds since the epoch, possibly with a fraction.
fn numeric_date(seconds: f64) -> Result<SystemTime, InvalidToken> {
    let since_epoch = Duration::try_from_secs_f64(seconds).map_err(|_| InvalidToken)?;
    SystemTime::UNIX_EPOCH.checked_add(since_epoch).ok_or(InvalidToken)
}

/// Never the key.
impl<T> fmt::Debug for Jwt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Jwt")
            .field("algorithms", &self.validation.algorithms)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_signature_of_the_same_text_is_the_same_token() {
        assert_eq!(signed_part("head.claims.signature"), signed_part("head.claims.another"));
        assert_ne!(signed_part("head.claims.signature"), signed_part("head.other.signature"));
    }
}
