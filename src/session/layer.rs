use std::sync::Arc;
use std::time::Duration;

use cookie::SameSite;
use tower_layer::Layer;

use super::WithSession;
use super::cookie::CookieSettings;
use crate::Store;
use crate::policy::session::Lifetime;

/// Gives every request a [`Session`](super::Session). See the [module](super) for an example.
#[derive(Clone, Debug)]
#[must_use]
pub struct SessionLayer {
    settings: Arc<Settings>,
}

#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) cookie: CookieSettings,
    pub(super) lifetime: Lifetime,
    pub(super) max_size: usize,
    pub(super) fallback: Fallback,
    pub(super) store: Option<Store>,
}

/// What a session is while the store cannot answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fallback {
    /// An error wherever it is looked at, which answers 503.
    #[default]
    Refuse,
    /// Empty when read. Changing it is still an error: nothing is lost unsaid.
    Anonymous,
}

const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(10 * 366 * 24 * 60 * 60);

impl SessionLayer {
    /// Sessions that end after 30 minutes without use, and after 24 hours in any case, in a cookie
    /// that the browser forgets when it closes.
    pub fn new() -> SessionLayer {
        SessionLayer {
            settings: Arc::new(Settings {
                cookie: CookieSettings {
                    name: "__Host-session".to_owned(),
                    path: "/".to_owned(),
                    domain: None,
                    secure: true,
                    same_site: SameSite::Lax,
                    max_age: None,
                },
                lifetime: Lifetime {
                    idle: Duration::from_secs(30 * 60),
                    absolute: Duration::from_secs(24 * 60 * 60),
                },
                max_size: 64 << 10,
                fallback: Fallback::default(),
                store: None,
            }),
        }
    }

    /// Ends a session when no request looked at it for this long.
    ///
    /// # Panics
    /// When it is shorter than a second or longer than ten years.
    pub fn idle_timeout(mut self, idle: Duration) -> SessionLayer {
        assert!(
            (SHORTEST..=LONGEST).contains(&idle),
            "an idle timeout is at least a second and at most ten years"
        );
        self.settings_mut().lifetime.idle = idle;
        self
    }

    /// Ends a session this long after it began, however much it is used.
    ///
    /// # Panics
    /// When it is shorter than a second or longer than ten years.
    pub fn lifetime(mut self, absolute: Duration) -> SessionLayer {
        assert!(
            (SHORTEST..=LONGEST).contains(&absolute),
            "a session's lifetime is at least a second and at most ten years"
        );
        self.settings_mut().lifetime.absolute = absolute;
        self
    }

    /// Lets the browser keep the cookie when it closes, for this long.
    pub fn max_age(mut self, max_age: Duration) -> SessionLayer {
        self.settings_mut().cookie.max_age = Some(max_age);
        self
    }

    /// The cookie's name. `__Host-session` unless set.
    ///
    /// # Panics
    /// When it is not a token (RFC 6265, 4.1.1).
    pub fn cookie_name(mut self, name: &str) -> SessionLayer {
        let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        assert!(
            !name.is_empty() && name.bytes().all(token),
            "a cookie's name is a token: letters, digits, - and _ (got {name:?})"
        );
        name.clone_into(&mut self.settings_mut().cookie.name);
        self
    }

    /// The path below which the browser sends the cookie. `/` unless set.
    ///
    /// # Panics
    /// When it does not begin with `/`, or has a byte that a cookie attribute cannot hold.
    pub fn path(mut self, path: &str) -> SessionLayer {
        assert!(path.starts_with('/') && is_attribute(path), "no path for a cookie: {path:?}");
        path.clone_into(&mut self.settings_mut().cookie.path);
        self
    }

    /// The domain whose hosts all get the cookie. Only this host unless set.
    ///
    /// # Panics
    /// When it is empty or has a byte that a cookie attribute cannot hold.
    pub fn domain(mut self, domain: &str) -> SessionLayer {
        assert!(!domain.is_empty() && is_attribute(domain), "no domain for a cookie: {domain:?}");
        self.settings_mut().cookie.domain = Some(domain.to_owned());
        self
    }

    /// Whether the browser sends the cookie over HTTPS alone. `true` unless set; `false` only for
    /// development, and then with another [name](SessionLayer::cookie_name).
    pub fn secure(mut self, secure: bool) -> SessionLayer {
        self.settings_mut().cookie.secure = secure;
        self
    }

    /// When the browser sends the cookie with requests from other sites. `Lax` unless set.
    pub fn same_site(mut self, same_site: SameSite) -> SessionLayer {
        self.settings_mut().cookie.same_site = same_site;
        self
    }

    /// How large a session's fields may be as JSON, in bytes. 64 KiB unless set.
    pub fn max_size(mut self, bytes: usize) -> SessionLayer {
        self.settings_mut().max_size = bytes;
        self
    }

    /// What a session is while the store cannot answer. [`Fallback::Refuse`] unless set.
    pub fn fallback(mut self, fallback: Fallback) -> SessionLayer {
        self.settings_mut().fallback = fallback;
        self
    }

    /// Keeps sessions in this store instead of the request's.
    pub fn with_store(mut self, store: Store) -> SessionLayer {
        self.settings_mut().store = Some(store);
        self
    }

    #[cfg(fuzzing)]
    pub(super) fn cookie(&self) -> &CookieSettings {
        &self.settings.cookie
    }

    fn settings_mut(&mut self) -> &mut Settings {
        Arc::make_mut(&mut self.settings)
    }
}

/// RFC 6265, 4.1.1: any character but controls and `;`.
fn is_attribute(value: &str) -> bool {
    value.bytes().all(|byte| (0x20..0x7f).contains(&byte) && byte != b';')
}

impl Default for SessionLayer {
    fn default() -> SessionLayer {
        SessionLayer::new()
    }
}

/// # Panics
/// When the cookie's name begins with `__Host-` or `__Secure-` and its attributes are not what that
/// promises: browsers would drop it without a word.
impl<S> Layer<S> for SessionLayer {
    type Service = WithSession<S>;

    fn layer(&self, inner: S) -> WithSession<S> {
        self.settings.cookie.assert_prefix_is_kept();
        WithSession::new(inner, self.settings.clone())
    }
}
