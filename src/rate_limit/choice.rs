//! Which limits a request meets.

use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::Method;
use http::request::Parts;

use super::Limit;
use crate::axum_parts;

/// Some limits that are decided together: when one refuses, none is charged.
///
/// Cheap to clone. Made from a [`Limit`], an array or a vector of them.
#[derive(Clone, Debug)]
#[must_use]
pub struct Limits(Arc<[Limit]>);

/// Says which limits a request meets.
///
/// [`Limits`] for all requests alike, [`RouteLimits`] by route, [`LiveLimits`] that change while the
/// service runs, or a closure, for tiers: `|head: &http::request::Parts| Some(free.clone())`.
pub trait ChooseLimits: Send + Sync + 'static {
    /// The limits of a request; `None` if it meets none.
    fn choose(&self, head: &Parts) -> Option<Limits>;
}

/// How a layer comes to the limits of a request.
#[derive(Clone)]
pub(super) enum Choice {
    /// They are the same for all.
    All(Limits),
    By(Arc<dyn ChooseLimits>),
}

impl Choice {
    pub(super) fn choose(&self, head: &Parts) -> Option<Cow<'_, Limits>> {
        match self {
            Choice::All(limits) => Some(Cow::Borrowed(limits)),
            Choice::By(choose) => choose.choose(head).map(Cow::Owned),
        }
    }

    /// Whether some request may meet a limit that settles.
    pub(super) fn may_settle(&self) -> bool {
        match self {
            Choice::All(limits) => limits.settle(),
            Choice::By(_) => true,
        }
    }
}

impl Limits {
    pub(super) fn as_slice(&self) -> &[Limit] {
        &self.0
    }

    /// Whether one of them settles.
    pub(super) fn settle(&self) -> bool {
        self.iter().any(|limit| limit.settings().settle.is_some())
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Limit> {
        self.0.iter()
    }

    /// # Panics
    /// When two have one name.
    fn new(limits: Arc<[Limit]>) -> Limits {
        for (index, limit) in limits.iter().enumerate() {
            let name = &limit.settings().name;
            let is_new = limits[..index].iter().all(|other| other.settings().name != *name);
            assert!(
                is_new,
                "two limits of one decision are called {name:?}: give each a name of its own"
            );
        }
        Limits(limits)
    }
}

impl From<Limit> for Limits {
    fn from(limit: Limit) -> Limits {
        Limits(Arc::new([limit]))
    }
}

/// # Panics
/// When two have one name.
impl From<Vec<Limit>> for Limits {
    fn from(limits: Vec<Limit>) -> Limits {
        Limits::new(limits.into())
    }
}

/// # Panics
/// When two have one name.
impl<const N: usize> From<[Limit; N]> for Limits {
    fn from(limits: [Limit; N]) -> Limits {
        Limits::new(Arc::new(limits))
    }
}

impl ChooseLimits for Limits {
    fn choose(&self, _: &Parts) -> Option<Limits> {
        Some(self.clone())
    }
}

impl<F, L> ChooseLimits for F
where
    F: Fn(&Parts) -> Option<L> + Send + Sync + 'static,
    L: Into<Limits>,
{
    fn choose(&self, head: &Parts) -> Option<Limits> {
        self(head).map(Into::into)
    }
}

/// Limits that can be changed while the service runs: on a signal, from an admin page, by a watch
/// on a file.
///
/// Clones share the limits: one goes to the layer, another stays with whoever changes them.
///
/// ```
/// use tower_redis_kit::rate_limit::{Limit, LiveLimits, PeerIp, Quota, RateLimitLayer};
///
/// let limits = LiveLimits::new(Limit::new("api", Quota::per_second(10), PeerIp));
/// let layer = RateLimitLayer::by(limits.clone());
/// limits.replace(Limit::new("api", Quota::per_second(5), PeerIp));
/// ```
///
/// # What becomes of what was counted
/// It is kept in the store by the limit's name, and read with the new numbers:
/// - GCRA keeps the time at which the key would be unused again. With a lower rate the same time is
///   worth fewer requests. A smaller burst makes it no later than that burst allows, so that nobody
///   waits longer than a caller who has just used up the new limit.
/// - A fixed window keeps its count and its end, but ends no later than a new one would.
/// - A sliding window keeps both counts, and the log its entries, as far as they are of the new
///   period: a shorter one can drop them at once.
/// - A lockout keeps its attempts, and ends no later than the new step would.
/// - Another algorithm, or another name, begins anew.
///
/// What ends sooner by the new numbers does so as of the first request that meets them. To
/// [`peek`](super::Limiter::peek) by other numbers changes nothing.
#[derive(Clone, Debug)]
pub struct LiveLimits(Arc<ArcSwap<Limits>>);

impl LiveLimits {
    /// These, to begin with.
    ///
    /// # Panics
    /// When two of several limits have one name.
    pub fn new(limits: impl Into<Limits>) -> LiveLimits {
        LiveLimits(Arc::new(ArcSwap::from_pointee(limits.into())))
    }

    /// These from now on: for every request that comes after.
    ///
    /// # Panics
    /// When two of several limits have one name.
    pub fn replace(&self, limits: impl Into<Limits>) {
        self.0.store(Arc::new(limits.into()));
    }
}

impl ChooseLimits for LiveLimits {
    fn choose(&self, _: &Parts) -> Option<Limits> {
        Some(Limits::clone(&self.0.load()))
    }
}

/// A table of limits by route, as the router knows it: `/users/{id}` is one route, whatever the id.
///
/// ```
/// use tower_redis_kit::rate_limit::{Limit, PeerIp, Quota, RateLimitLayer, RouteLimits};
///
/// let limit = |name, quota| Limit::new(name, quota, PeerIp);
/// let layer = RateLimitLayer::by(
///     RouteLimits::new()
///         .route("/log-in", limit("log-in", Quota::per_minute(5)))
///         .route("POST /articles", limit("write", Quota::per_minute(10)))
///         .otherwise(limit("other", Quota::per_second(20))),
/// );
/// ```
///
/// The route is axum's `MatchedPath` (feature `axum`), which is there in layers of the router and of
/// its routes, but not outside of what was nested by `nest_service`. Without it, the request's path
/// has to be the same letter for letter; so what is not to be without any limit has one by
/// [`otherwise`](RouteLimits::otherwise).
#[derive(Clone, Debug, Default)]
#[must_use]
pub struct RouteLimits {
    routes: HashMap<Box<str>, OnRoute>,
    otherwise: Option<Limits>,
}

#[derive(Clone, Debug, Default)]
struct OnRoute {
    by_method: Vec<(Method, Limits)>,
    by_any: Option<Limits>,
}

impl RouteLimits {
    /// An empty table: no request meets a limit.
    pub fn new() -> RouteLimits {
        RouteLimits::default()
    }

    /// Limits of a route, `/log-in`, or of one method on it, `POST /log-in`, which goes first.
    /// Those of `GET` are of `HEAD` too, which the same handler answers, unless it has its own.
    ///
    /// # Panics
    /// When `route` is neither, or none that a request could have, such as `post /log-in` or
    /// `/users/:id`; or when two limits have one name.
    pub fn route(mut self, route: &str, limits: impl Into<Limits>) -> RouteLimits {
        let (method, path) = match parse(route) {
            Ok(parsed) => parsed,
            Err(fix) => panic!("{fix} (got {route:?})"),
        };
        let on_route = self.routes.entry(path.into()).or_default();
        match method {
            Some(method) => on_route.by_method.insert(0, (method, limits.into())),
            None => on_route.by_any = Some(limits.into()),
        }
        self
    }

    /// Limits of every route that is not in the table.
    ///
    /// # Panics
    /// When two limits have one name.
    pub fn otherwise(mut self, limits: impl Into<Limits>) -> RouteLimits {
        self.otherwise = Some(limits.into());
        self
    }
}

/// What no request ever meets would be no limit, and nobody would notice.
fn parse(route: &str) -> Result<(Option<Method>, &str), &'static str> {
    let (method, path) = match route.split_once(' ') {
        Some((method, path)) => (Some(method), path.trim_start()),
        None => (None, route),
    };
    if !path.starts_with('/') {
        return Err("a route is `/path` or `METHOD /path`");
    }
    if path.contains(|it: char| it.is_whitespace() || it == '?' || it == '#') {
        return Err("a route has no space, no query and no fragment");
    }
    if path.split('/').any(|segment| segment.starts_with([':', '*'])) {
        return Err("a part of a route that may be anything is `{name}`, and its rest `{*name}`");
    }
    let method = match method {
        Some("ANY") => return Err("a route of any method is its path alone"),
        Some(method) if method.contains(|it: char| it.is_ascii_lowercase()) => {
            return Err("methods are written in capital letters");
        }
        Some(method) => match Method::from_bytes(method.as_bytes()) {
            Ok(method) => Some(method),
            Err(_) => return Err("a route is `/path` or `METHOD /path`"),
        },
        None => None,
    };
    Ok((method, path))
}

impl ChooseLimits for RouteLimits {
    fn choose(&self, head: &Parts) -> Option<Limits> {
        let path = axum_parts::route(head).unwrap_or_else(|| head.uri.path());
        let Some(on_route) = self.routes.get(path) else { return self.otherwise.clone() };
        let by = |method: &Method| on_route.by_method.iter().find(|(it, _)| it == method);
        let by_method = match head.method {
            Method::HEAD => by(&Method::HEAD).or_else(|| by(&Method::GET)),
            _ => by(&head.method),
        };
        let found = by_method.map(|(_, limits)| limits).or(on_route.by_any.as_ref());
        found.or(self.otherwise.as_ref()).cloned()
    }
}
