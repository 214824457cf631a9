use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::{COOKIE, SET_COOKIE, VARY};
use http::{HeaderMap, HeaderValue, Response};
use pin_project_lite::pin_project;

use super::{Session, SessionError};
use crate::observe;

pin_project! {
    /// The response of a [`WithSession`](super::WithSession) service.
    pub struct ResponseFuture<F, ResBody> {
        #[pin]
        state: State<F, ResBody>,
    }
}

type Commit = Pin<Box<dyn Future<Output = Result<Option<HeaderValue>, SessionError>> + Send>>;

pin_project! {
    #[project = StateProj]
    enum State<F, ResBody> {
        Calling { #[pin] future: F, session: Option<Session> },
        Committing { commit: Commit, response: Option<Response<ResBody>> },
        Done { response: Option<Response<ResBody>> },
    }
}

impl<F, ResBody> ResponseFuture<F, ResBody> {
    pub(super) fn calling(future: F, session: Session) -> Self {
        ResponseFuture { state: State::Calling { future, session: Some(session) } }
    }

    pub(super) fn done(response: Response<ResBody>) -> Self {
        ResponseFuture { state: State::Done { response: Some(response) } }
    }
}

impl<F, ResBody, E> Future for ResponseFuture<F, ResBody>
where
    F: Future<Output = Result<Response<ResBody>, E>>,
    ResBody: Default,
{
    type Output = Result<Response<ResBody>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            let next = match this.state.as_mut().project() {
                StateProj::Calling { future, session } => {
                    let response = ready!(future.poll(cx))?;
                    match session.take().filter(Session::seal) {
                        Some(session) => {
                            let failed = response.status().is_server_error();
                            let commit = Box::pin(session.commit(failed));
                            State::Committing { commit, response: Some(response) }
                        }
                        None => State::Done { response: Some(response) },
                    }
                }
                StateProj::Committing { commit, response } => {
                    let committed = ready!(commit.as_mut().poll(cx));
                    let mut response = response.take().expect("committed once");
                    match committed {
                        Ok(cookie) => {
                            vary_by_cookie(response.headers_mut());
                            if let Some(cookie) = cookie {
                                response.headers_mut().append(SET_COOKIE, cookie);
                            }
                        }
                        // The handler's answer speaks of changes that were not saved.
                        Err(error) => {
                            observe::session(observe::Session::Failed);
                            response = error.refusal();
                        }
                    }
                    State::Done { response: Some(response) }
                }
                StateProj::Done { response } => {
                    return Poll::Ready(Ok(response.take().expect("polled after it was ready")));
                }
            };
            this.state.set(next);
        }
    }
}

/// What a handler answered after it looked at the session is for this browser alone.
fn vary_by_cookie(headers: &mut HeaderMap) {
    let named = headers.get_all(VARY).iter().any(|value| {
        value.as_bytes().split(|&byte| byte == b',').any(|name| {
            let name = name.trim_ascii();
            name == b"*" || name.eq_ignore_ascii_case(COOKIE.as_str().as_bytes())
        })
    });
    if !named {
        headers.append(VARY, HeaderValue::from_static("Cookie"));
    }
}

impl<F, ResBody> fmt::Debug for ResponseFuture<F, ResBody> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
