use std::convert::Infallible;
use std::future::{Ready, ready};
use std::task::{Context, Poll};

use http::{Request, Response, StatusCode};
use serde::Serialize;
use tower_service::Service;

use super::{PageBody, answer};

/// A page that is there as long as the process is: 200, whatever its stores do.
///
/// For whoever restarts a process that hangs. What is wrong with Redis is no reason to: a restart
/// would not help, and lose what goes on in this process meanwhile.
///
/// ```
/// use http::{Request, StatusCode};
/// use tower::ServiceExt;
/// use tower_redis_kit::health::Liveness;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let response = Liveness::new().oneshot(Request::new(())).await.unwrap();
/// assert_eq!(response.status(), StatusCode::OK);
///
/// let post = Request::post("/").body(()).unwrap();
/// let response = Liveness::new().oneshot(post).await.unwrap();
/// assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
/// assert_eq!(response.headers()["allow"], "GET, HEAD");
/// # }
/// ```
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct Liveness {}

#[derive(Serialize)]
struct Page {
    status: &'static str,
}

impl Liveness {
    /// The page.
    pub fn new() -> Liveness {
        Liveness {}
    }
}

impl<B> Service<Request<B>> for Liveness {
    type Response = Response<PageBody>;
    type Error = Infallible;
    type Future = Ready<Result<Response<PageBody>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let method = request.method();
        let alive = || answer::page(method, StatusCode::OK, &Page { status: "alive" });
        ready(Ok(answer::refuse(method).unwrap_or_else(alive)))
    }
}
