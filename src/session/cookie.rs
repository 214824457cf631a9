//! The session's cookie: its id on the wire, and its attributes.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use cookie::{Cookie, SameSite};
use http::header::COOKIE;
use http::{HeaderMap, HeaderValue};

use super::SessionError;
use crate::store::keys::Fingerprint;

const ID_BYTES: usize = 32;
const SHARD: usize = 3;

/// A session's secret: who knows it, is in.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SessionId([u8; ID_BYTES]);

impl SessionId {
    pub(super) fn random() -> Result<SessionId, SessionError> {
        let mut bytes = [0; ID_BYTES];
        getrandom::fill(&mut bytes).map_err(|_| SessionError::NoRandomness)?;
        Ok(SessionId(bytes))
    }

    /// The id that the session gets in the place of this one. Three bytes stay, so that both are in
    /// the same slot of a cluster; 232 random bits are left.
    pub(super) fn successor(&self) -> Result<SessionId, SessionError> {
        let mut next = SessionId::random()?;
        next.0[..SHARD].copy_from_slice(&self.0[..SHARD]);
        Ok(next)
    }

    /// What the store knows it by.
    pub(super) fn fingerprint(&self) -> Fingerprint {
        let shard = self.0.first_chunk().expect("an id is longer than its shard");
        Fingerprint::sharded(*shard, &self.0)
    }

    fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0)
    }

    fn decode(text: &[u8]) -> Option<SessionId> {
        let mut bytes = [0; ID_BYTES];
        // The length first: the decoder would work through a long value.
        let fits = text.len() == ID_BYTES.div_ceil(3) * 4 - 1;
        let length = fits.then(|| URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok())??;
        (length == ID_BYTES).then_some(SessionId(bytes))
    }
}

#[derive(Clone, Debug)]
pub(super) struct CookieSettings {
    pub(super) name: String,
    pub(super) path: String,
    pub(super) domain: Option<String>,
    pub(super) secure: bool,
    pub(super) same_site: SameSite,
    pub(super) max_age: Option<std::time::Duration>,
}

impl CookieSettings {
    /// The id in a request, if it has one in the form of ours.
    pub(super) fn id(&self, headers: &HeaderMap) -> Option<SessionId> {
        // By bytes: what another cookie holds is no concern of this one.
        let pairs = headers
            .get_all(COOKIE)
            .iter()
            .flat_map(|value| value.as_bytes().split(|&byte| byte == b';').map(<[u8]>::trim_ascii));
        let ours = pairs.filter_map(|pair| {
            pair.strip_prefix(self.name.as_bytes())?.trim_ascii_start().strip_prefix(b"=")
        });
        ours.map(<[u8]>::trim_ascii).find_map(SessionId::decode)
    }

    /// The `Set-Cookie` that hands out `id`.
    pub(super) fn set(&self, id: &SessionId) -> HeaderValue {
        let mut cookie = self.with_attributes(id.encode());
        let max_age = self.max_age.and_then(|max_age| max_age.try_into().ok());
        cookie.set_max_age(max_age);
        field(&cookie)
    }

    /// The `Set-Cookie` that takes the id back.
    pub(super) fn remove(&self) -> HeaderValue {
        let mut cookie = self.with_attributes(String::new());
        cookie.make_removal();
        field(&cookie)
    }

    fn with_attributes(&self, value: String) -> Cookie<'_> {
        let mut cookie = Cookie::new(self.name.as_str(), value);
        cookie.set_path(self.path.as_str());
        if let Some(domain) = &self.domain {
            cookie.set_domain(domain.as_str());
        }
        cookie.set_http_only(true);
        cookie.set_secure(self.secure.then_some(true));
        cookie.set_same_site(self.same_site);
        cookie
    }

    /// Browsers drop a cookie without a word when its name promises what it does not keep
    /// (RFC 6265bis, 4.1.3), and sessions then never begin.
    pub(super) fn assert_prefix_is_kept(&self) {
        let name = self.name.to_ascii_lowercase();
        let host = name.starts_with("__host-");
        assert!(
            !host || (self.secure && self.path == "/" && self.domain.is_none()),
            "a cookie named __Host-… must be Secure with Path=/ and no Domain, or browsers drop it: \
             choose another name with `.cookie_name(\"session\")`"
        );
        assert!(
            self.secure || !(name.starts_with("__secure-") || self.same_site == SameSite::None),
            "browsers drop a cookie named __Secure-… or with SameSite=None that is not Secure"
        );
    }
}

fn field(cookie: &Cookie<'_>) -> HeaderValue {
    HeaderValue::try_from(cookie.to_string()).expect("name and attributes are checked when set")
}

/// Whatever a browser sends: an id that is found is the one that was sent.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    let layer = super::SessionLayer::new();
    let settings = layer.cookie();
    let mut headers = HeaderMap::new();
    for value in data.split(|&byte| byte == b'\n') {
        let Ok(value) = HeaderValue::from_bytes(value) else { return };
        headers.append(COOKIE, value);
    }
    if let Some(id) = settings.id(&headers) {
        let sent = id.encode();
        assert!(data.windows(sent.len()).any(|part| part == sent.as_bytes()));
        assert!(settings.set(&id).to_str().is_ok_and(|field| field.contains(&sent)));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn settings() -> CookieSettings {
        CookieSettings {
            name: "sid".to_owned(),
            path: "/".to_owned(),
            domain: None,
            secure: true,
            same_site: SameSite::Lax,
            max_age: None,
        }
    }

    fn with_cookie(value: &[u8]) -> HeaderMap {
        let value = HeaderValue::from_bytes(value).unwrap();
        [(COOKIE, value)].into_iter().collect()
    }

    #[test]
    fn an_id_survives_the_browser() {
        let id = SessionId::random().unwrap();
        let cookie = format!("a=b; sid={}; c", id.encode());
        assert!(settings().id(&with_cookie(cookie.as_bytes())) == Some(id));
    }

    #[test]
    fn the_cookie_is_guarded() {
        let id = SessionId([7; 32]);
        let set = settings().set(&id);
        assert_eq!(
            set,
            "sid=BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc; HttpOnly; SameSite=Lax; Secure; Path=/"
        );
        let removed = settings().remove();
        assert!(removed.to_str().unwrap().starts_with("sid=; "));
        assert!(removed.to_str().unwrap().contains("Max-Age=0"));
    }

    #[test]
    fn a_value_of_another_shape_is_no_id() {
        for value in
            ["", "x", &"A".repeat(42), &"A".repeat(44), &"=".repeat(43), &"A".repeat(99_999)]
        {
            let cookie = format!("sid={value}");
            assert!(settings().id(&with_cookie(cookie.as_bytes())).is_none());
        }
    }

    proptest! {
        #[test]
        fn any_cookie_is_read(value in prop::collection::vec(0x20u8..=0xff, 0..300)) {
            if let Ok(value) = HeaderValue::from_bytes(&value) {
                settings().id(&[(COOKIE, value)].into_iter().collect());
            }
        }
    }
}
