//! `Authorization: Bearer …` (RFC 6750, 2.1).

use http::HeaderMap;
use http::header::AUTHORIZATION;

use super::Unauthorized;

/// Longer tokens are invalid unread.
const LONGEST: usize = 16 << 10;

/// The request's bearer token. Another scheme is no token.
pub(super) fn token(headers: &HeaderMap) -> Result<&str, Unauthorized> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(Unauthorized::Missing) };
    if values.next().is_some() {
        return Err(Unauthorized::Repeated);
    }
    let value = value.as_bytes();
    let (scheme, token) = match value.iter().position(|&byte| byte == b' ') {
        Some(space) => (&value[..space], value[space..].trim_ascii()),
        None => (value, &b""[..]),
    };
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Err(Unauthorized::Missing);
    }
    let b64token = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(byte);
    if token.is_empty() || token.len() > LONGEST || !token.iter().all(b64token) {
        return Err(Unauthorized::Invalid);
    }
    std::str::from_utf8(token).map_err(|_| Unauthorized::Invalid)
}

/// Whatever a client sends: a token is a part of it.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let mut headers = HeaderMap::new();
    for value in data.split(|&byte| byte == b'\n') {
        let Ok(value) = http::HeaderValue::from_bytes(value) else { return };
        headers.append(AUTHORIZATION, value);
    }
    if let Ok(token) = token(&headers) {
        assert!((1..=LONGEST).contains(&token.len()) && !token.contains(' '));
        assert!(data.windows(token.len()).any(|part| part == token.as_bytes()));
    }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    fn read(values: &[&[u8]]) -> Result<String, Unauthorized> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(AUTHORIZATION, HeaderValue::from_bytes(value).unwrap());
        }
        token(&headers).map(str::to_owned)
    }

    #[test]
    fn the_scheme_is_read_in_any_case() {
        assert_eq!(read(&[b"Bearer a.b-c"]), Ok("a.b-c".to_owned()));
        assert_eq!(read(&[b"bEARER  a "]), Ok("a".to_owned()));
    }

    #[test]
    fn what_is_no_single_bearer_token_is_told_apart() {
        assert_eq!(read(&[]), Err(Unauthorized::Missing));
        assert_eq!(read(&[b"Basic YTpi"]), Err(Unauthorized::Missing));
        assert_eq!(read(&[b"Bearer a", b"Bearer b"]), Err(Unauthorized::Repeated));
        for malformed in [&b"Bearer"[..], b"Bearer ", b"Bearer a b", b"Bearer \xff"] {
            assert_eq!(read(&[malformed]), Err(Unauthorized::Invalid));
        }
        let long = [b"Bearer ".to_vec(), vec![b'a'; LONGEST + 1]].concat();
        assert_eq!(read(&[&long]), Err(Unauthorized::Invalid));
    }

    proptest! {
        #[test]
        fn any_value_is_read(value in prop::collection::vec(0x20u8..=0xff, 0..200)) {
            if HeaderValue::from_bytes(&value).is_ok() {
                let _ = read(&[&value]);
            }
        }
    }
}
