use http::request::Parts;

/// Tells from a request's head whether it is one of those that are meant: on a list of callers to
/// let pass, or to refuse.
///
/// [`ClientIp::is_in`](super::ClientIp::is_in) and [`Header::is_one_of`](super::Header::is_one_of)
/// make one, and a closure will do.
///
/// ```
/// use http::Request;
/// use tower_redis_kit::rate_limit::RequestMatcher;
///
/// let health_check = |head: &http::request::Parts| head.uri.path() == "/health";
/// let head = |uri| Request::get(uri).body(()).unwrap().into_parts().0;
/// assert!(health_check.matches(&head("/health")));
/// assert!(!health_check.matches(&head("/")));
/// ```
pub trait RequestMatcher: Send + Sync + 'static {
    /// Whether the request is meant.
    fn matches(&self, head: &Parts) -> bool;
}

impl<F: Fn(&Parts) -> bool + Send + Sync + 'static> RequestMatcher for F {
    fn matches(&self, head: &Parts) -> bool {
        self(head)
    }
}
