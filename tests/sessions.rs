//! Sessions as a browser and a handler meet them.

mod common;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use common::{assert_unavailable, away, fields, memory, on_every_store, reason, send, text};
use http::header::{COOKIE, SET_COOKIE, VARY};
use http::{HeaderValue, Request, StatusCode};
use tokio::sync::{Barrier, Mutex, Notify, mpsc};
use tokio::task::JoinSet;
use tower::{Layer, ServiceExt, service_fn};
use tower_redis_kit::session::{
    Fallback, MissingSession, SameSite, Session, SessionError, SessionLayer, Status,
};
use tower_redis_kit::{MissingStore, Store, StoreLayer};

on_every_store! {
    what_is_inserted_is_there_in_the_next_request,
    a_removed_field_is_gone,
    clear_removes_every_field_and_keeps_the_session,
    a_field_holds_any_serde_value,
    without_a_write_no_cookie_is_set,
    a_change_within_a_session_sets_no_cookie_again,
    removing_from_no_session_makes_none,
    rotate_gives_a_new_id_and_ends_the_old_one,
    rotate_with_a_change_keeps_both,
    rotate_without_a_session_makes_none,
    destroy_ends_the_session_and_takes_the_cookie_back,
    destroy_without_a_cookie_sets_none,
    what_is_inserted_after_destroy_begins_a_new_session,
    an_id_that_the_store_does_not_know_is_never_taken_over,
    a_malformed_cookie_is_no_session,
    a_cookie_among_others_is_found,
    a_cookie_beside_one_that_is_not_ascii_is_found,
    concurrent_changes_of_different_fields_all_stand,
    concurrent_changes_of_one_field_leave_one_of_them,
    a_change_of_a_session_that_was_ended_meanwhile_is_409,
    a_rotation_of_a_session_that_was_ended_meanwhile_is_409,
    a_change_of_a_session_that_was_rotated_meanwhile_is_409,
    reading_a_session_that_was_ended_meanwhile_is_fine,
    a_failed_handler_changes_nothing,
    a_session_that_a_failed_handler_ended_is_ended,
    a_client_error_is_committed,
    a_change_after_the_response_is_an_error,
    a_first_change_after_the_response_is_an_error,
    a_change_after_a_failed_response_is_an_error,
    a_session_that_is_too_large_is_413,
    a_field_of_another_type_is_500,
    vary_names_the_cookie_when_the_session_was_used,
    vary_is_not_repeated,
    status_tells_a_session_from_none,
    a_session_is_its_layers_own,
    a_pinned_store_is_used_instead_of_the_requests,
    clones_are_the_same_session,
}

/// Handlers that do to the session what the path says.
fn app(layer: SessionLayer, store: Store) -> Router {
    routes().layer(layer).layer(StoreLayer::new(store))
}

fn routes() -> Router {
    Router::new()
        .route("/nothing", get(|| async { "nothing" }))
        .route("/set/{field}/{value}", get(set))
        .route("/get/{field}", get(read))
        .route("/remove/{field}", get(remove))
        .route("/clear", get(async |session: Session| session.clear().await))
        .route("/rotate", get(async |session: Session| session.rotate().await))
        .route("/rotate-and-set/{field}/{value}", get(rotate_and_set))
        .route("/destroy", get(async |session: Session| session.destroy().await))
        .route("/destroy-and-set/{field}/{value}", get(destroy_and_set))
        .route("/status", get(async |session: Session| format!("{:?}", session.status().await)))
        .route("/answer/{status}/{field}/{value}", get(set_and_answer))
}

async fn set(
    session: Session,
    Path((field, value)): Path<(String, String)>,
) -> Result<(), SessionError> {
    session.insert(&field, value).await
}

async fn read(session: Session, Path(field): Path<String>) -> Result<String, SessionError> {
    Ok(session.get(&field).await?.unwrap_or_else(|| "none".to_owned()))
}

async fn remove(session: Session, Path(field): Path<String>) -> Result<(), SessionError> {
    session.remove(&field).await
}

async fn rotate_and_set(
    session: Session,
    path: Path<(String, String)>,
) -> Result<(), SessionError> {
    session.rotate().await?;
    set(session, path).await
}

async fn destroy_and_set(
    session: Session,
    path: Path<(String, String)>,
) -> Result<(), SessionError> {
    session.destroy().await?;
    set(session, path).await
}

async fn set_and_answer(
    session: Session,
    Path((status, field, value)): Path<(u16, String, String)>,
) -> Result<StatusCode, SessionError> {
    session.insert(&field, value).await?;
    Ok(StatusCode::from_u16(status).expect("a status"))
}

/// Keeps the session's cookie, as a browser does.
#[derive(Clone)]
struct Browser {
    app: Router,
    cookie: Option<String>,
}

impl Browser {
    fn new(store: Store) -> Browser {
        Browser::of(app(SessionLayer::new(), store))
    }

    fn of(app: Router) -> Browser {
        Browser { app, cookie: None }
    }

    /// With a session that has the field `user`.
    async fn with_session(app: Router) -> Browser {
        let mut browser = Browser::of(app);
        browser.ok("/set/user/ada").await;
        assert!(browser.cookie.is_some());
        browser
    }

    async fn visit(&mut self, path: &str) -> Response {
        let response = send(&self.app, self.request(path)).await;
        if let Some(set) = set_cookie(&response) {
            let removed = set.contains("Max-Age=0");
            let pair = set.split(';').next().expect("a pair").to_owned();
            self.cookie = (!removed).then_some(pair);
        }
        response
    }

    /// The body of a visit that succeeds.
    async fn ok(&mut self, path: &str) -> String {
        let response = self.visit(path).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        text(response).await
    }

    fn request(&self, path: &str) -> Request<Body> {
        let mut request = common::get(path);
        if let Some(cookie) = &self.cookie {
            request.headers_mut().insert(COOKIE, cookie.parse().expect("a cookie"));
        }
        request
    }

    /// Somebody else who has the same cookie.
    fn with_cookie(&self, cookie: impl Into<String>) -> Browser {
        Browser { app: self.app.clone(), cookie: Some(cookie.into()) }
    }
}

/// The only `Set-Cookie`, if there is one.
fn set_cookie(response: &Response) -> Option<&str> {
    let all = fields(response.headers(), "set-cookie");
    assert!(all.len() <= 1, "{all:?}");
    all.first().copied()
}

fn attributes(set_cookie: &str) -> Vec<&str> {
    let mut attributes: Vec<_> = set_cookie.split("; ").skip(1).collect();
    attributes.sort_unstable();
    attributes
}

#[tokio::test]
async fn the_cookie_is_guarded_by_default() {
    let response = Browser::new(Store::memory()).visit("/set/a/1").await;
    let cookie = set_cookie(&response).expect("a cookie");
    assert!(cookie.starts_with("__Host-session="));
    assert_eq!(attributes(cookie), ["HttpOnly", "Path=/", "SameSite=Lax", "Secure"]);
    let id = cookie["__Host-session=".len()..].split(';').next().expect("an id");
    assert_eq!(id.len(), 43, "256 bits in base64");
}

#[tokio::test]
async fn the_cookie_is_as_the_layer_says() {
    let layer = SessionLayer::new()
        .cookie_name("sid")
        .path("/shop")
        .domain("example.com")
        .secure(false)
        .same_site(SameSite::Strict)
        .max_age(Duration::from_secs(3600));
    let mut browser = Browser::of(app(layer, Store::memory()));
    let response = browser.visit("/set/a/1").await;
    let cookie = set_cookie(&response).expect("a cookie");
    assert!(cookie.starts_with("sid="));
    let expected =
        ["Domain=example.com", "HttpOnly", "Max-Age=3600", "Path=/shop", "SameSite=Strict"];
    assert_eq!(attributes(cookie), expected);
    // A browser takes a cookie back only when name, path and domain are the same.
    let response = browser.visit("/destroy").await;
    let removal = set_cookie(&response).expect("a removal");
    assert!(removal.starts_with("sid=;"));
    for attribute in ["Domain=example.com", "Path=/shop", "Max-Age=0"] {
        assert!(attributes(removal).contains(&attribute), "{removal}");
    }
}

#[test]
#[should_panic(expected = "choose another name with `.cookie_name(\"session\")`")]
fn an_insecure_cookie_of_the_default_name_is_refused_with_the_fix() {
    drop(SessionLayer::new().secure(false).layer(routes()));
}

#[test]
#[should_panic(expected = "SameSite=None that is not Secure")]
fn a_cross_site_cookie_has_to_be_secure() {
    let layer = SessionLayer::new().cookie_name("sid").secure(false).same_site(SameSite::None);
    drop(layer.layer(routes()));
}

async fn what_is_inserted_is_there_in_the_next_request(store: Store) {
    let mut browser = Browser::new(store);
    browser.ok("/set/user/ada").await;
    assert_eq!(browser.ok("/get/user").await, "ada");
    assert_eq!(browser.ok("/get/other").await, "none");
    browser.ok("/set/user/grace").await;
    browser.ok("/set/theme/dark").await;
    assert_eq!(browser.ok("/get/user").await, "grace");
    assert_eq!(browser.ok("/get/theme").await, "dark");
}

async fn a_removed_field_is_gone(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    browser.ok("/set/theme/dark").await;
    browser.ok("/remove/theme").await;
    assert_eq!(browser.ok("/get/theme").await, "none");
    assert_eq!(browser.ok("/get/user").await, "ada");
}

async fn clear_removes_every_field_and_keeps_the_session(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    browser.ok("/set/theme/dark").await;
    let cookie = browser.cookie.clone();
    assert_eq!(set_cookie(&browser.visit("/clear").await), None);
    assert_eq!(browser.ok("/get/user").await, "none");
    assert_eq!(browser.ok("/get/theme").await, "none");
    assert_eq!(browser.ok("/status").await, "Active");
    browser.ok("/set/user/grace").await;
    assert_eq!((browser.ok("/get/user").await.as_str(), browser.cookie), ("grace", cookie));
}

async fn a_field_holds_any_serde_value(store: Store) {
    type Value = (Vec<u64>, Option<String>, f64, std::collections::BTreeMap<String, bool>);
    let value: Value = (vec![1, u64::MAX], None, 0.5, [("ä\"\0".to_owned(), true)].into());
    let expected = value.clone();
    let app = routes()
        .route(
            "/insert",
            get(async move |session: Session| session.insert("", value.clone()).await),
        )
        .route(
            "/read",
            get(async |session: Session| {
                let value = session.get::<Value>("").await?;
                Ok::<_, SessionError>(format!("{:?}", value.expect("a value")))
            }),
        )
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let mut browser = Browser::of(app);
    browser.ok("/insert").await;
    assert_eq!(browser.ok("/read").await, format!("{expected:?}"));
}

async fn without_a_write_no_cookie_is_set(store: Store) {
    let mut browser = Browser::new(store);
    for path in ["/nothing", "/get/user", "/status"] {
        assert_eq!(set_cookie(&browser.visit(path).await), None, "{path}");
    }
}

async fn a_change_within_a_session_sets_no_cookie_again(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    for path in ["/set/user/grace", "/remove/user", "/get/user", "/nothing"] {
        assert_eq!(set_cookie(&browser.visit(path).await), None, "{path}");
    }
}

async fn removing_from_no_session_makes_none(store: Store) {
    let mut browser = Browser::new(store);
    for path in ["/remove/user", "/clear"] {
        assert_eq!(set_cookie(&browser.visit(path).await), None, "{path}");
    }
}

async fn rotate_gives_a_new_id_and_ends_the_old_one(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let before = browser.clone();
    browser.ok("/rotate").await;
    assert_ne!(browser.cookie, before.cookie);
    assert_eq!(browser.ok("/get/user").await, "ada");
    assert_eq!(before.clone().ok("/get/user").await, "none");
    assert_eq!(before.clone().ok("/status").await, "Anonymous");
}

async fn rotate_with_a_change_keeps_both(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let mut before = browser.clone();
    browser.ok("/rotate-and-set/theme/dark").await;
    assert_ne!(browser.cookie, before.cookie);
    assert_eq!(browser.ok("/get/user").await, "ada");
    assert_eq!(browser.ok("/get/theme").await, "dark");
    assert_eq!(before.ok("/get/theme").await, "none");
}

async fn rotate_without_a_session_makes_none(store: Store) {
    let mut browser = Browser::new(store);
    assert_eq!(set_cookie(&browser.visit("/rotate").await), None);
    browser.ok("/rotate-and-set/user/ada").await;
    assert_eq!(browser.ok("/get/user").await, "ada");
}

async fn destroy_ends_the_session_and_takes_the_cookie_back(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let mut thief = browser.clone();
    let response = browser.visit("/destroy").await;
    let removal = set_cookie(&response).expect("a removal");
    assert!(removal.starts_with("__Host-session=;"));
    assert!(removal.contains("Max-Age=0") && removal.contains("Secure"), "{removal}");
    assert_eq!(browser.cookie, None);
    assert_eq!(thief.ok("/get/user").await, "none");
}

async fn destroy_without_a_cookie_sets_none(store: Store) {
    let mut browser = Browser::new(store);
    assert_eq!(set_cookie(&browser.visit("/destroy").await), None);
}

async fn what_is_inserted_after_destroy_begins_a_new_session(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let mut before = browser.clone();
    browser.ok("/destroy-and-set/theme/dark").await;
    assert_ne!(browser.cookie, before.cookie);
    assert_eq!(browser.ok("/get/theme").await, "dark");
    assert_eq!(browser.ok("/get/user").await, "none");
    assert_eq!(before.ok("/status").await, "Anonymous");
}

async fn an_id_that_the_store_does_not_know_is_never_taken_over(store: Store) {
    let planted = format!("__Host-session={}", "A".repeat(43));
    let mut victim = Browser::new(store).with_cookie(&planted);
    assert_eq!(victim.ok("/status").await, "Anonymous");
    assert_eq!(victim.cookie.as_ref(), Some(&planted), "nothing was written yet");
    victim.ok("/set/user/ada").await;
    assert_ne!(victim.cookie.as_ref(), Some(&planted));
    assert_eq!(victim.ok("/get/user").await, "ada");
    assert_eq!(victim.with_cookie(&planted).ok("/get/user").await, "none");
}

async fn a_malformed_cookie_is_no_session(store: Store) {
    let browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let good = browser.cookie.clone().expect("a cookie");
    let id = good.strip_prefix("__Host-session=").expect("the name");
    let hostile = [
        String::new(),
        "__Host-session".to_owned(),
        "__Host-session=".to_owned(),
        format!("__Host-session={}", &id[..42]),
        format!("__Host-session={id}A"),
        format!("__Host-session={id}="),
        format!("__host-session={id}"),
        format!("session={id}"),
        format!("__Host-session=*{}", &id[1..]),
        "__Host-session=../../etc/passwd".to_owned(),
    ];
    for cookie in hostile {
        let mut attacker = browser.with_cookie(&cookie);
        assert_eq!(attacker.ok("/get/user").await, "none", "{cookie}");
        attacker.ok("/set/user/eve").await;
        assert_ne!(attacker.cookie, browser.cookie, "{cookie}");
    }
    assert_eq!(browser.clone().ok("/get/user").await, "ada");
}

async fn a_cookie_among_others_is_found(store: Store) {
    let browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let good = browser.cookie.clone().expect("a cookie");
    for cookie in [
        format!("a=b; {good}; c=\"d\""),
        format!("a;{good}"),
        format!("__Host-session=stale; {good}"),
    ] {
        assert_eq!(browser.with_cookie(&cookie).ok("/get/user").await, "ada", "{cookie}");
    }
    // HTTP/2 clients may send each pair in a field of its own.
    let mut request = browser.request("/get/user");
    request.headers_mut().append(COOKIE, HeaderValue::from_static("a=b"));
    assert_eq!(text(send(&browser.app, request).await).await, "ada");
}

/// Scripts in a page may set cookies of any bytes, which browsers send as they are.
async fn a_cookie_beside_one_that_is_not_ascii_is_found(store: Store) {
    let browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    let good = browser.cookie.clone().expect("a cookie");
    let mut request = browser.request("/get/user");
    let both = HeaderValue::from_bytes(format!("name=Zoë; {good}").as_bytes()).expect("a value");
    request.headers_mut().insert(COOKIE, both);
    assert_eq!(text(send(&browser.app, request).await).await, "ada");
}

/// Far more than one after the other would be let through by chance.
const AT_ONCE: usize = 20;

/// An app whose handler has loaded the session in all of `AT_ONCE` requests before any goes on.
fn crowded(store: Store, field: fn(usize) -> String) -> Router {
    let barrier = Arc::new(Barrier::new(AT_ONCE));
    let handler = async move |session: Session, Path(number): Path<usize>| {
        session.get::<String>("user").await?;
        barrier.wait().await;
        session.insert(&field(number), number).await
    };
    routes()
        .route("/crowd/{number}", get(handler))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store))
}

async fn visit_at_once(browser: &Browser) {
    let mut visits = JoinSet::new();
    for number in 0..AT_ONCE {
        let mut visitor = browser.clone();
        visits.spawn(async move { visitor.visit(&format!("/crowd/{number}")).await.status() });
    }
    let statuses = visits.join_all().await;
    assert_eq!(statuses, [StatusCode::OK; AT_ONCE]);
}

async fn concurrent_changes_of_different_fields_all_stand(store: Store) {
    let all = async |session: Session| {
        let mut found = Vec::new();
        for number in 0..AT_ONCE {
            found.push(session.get::<usize>(&format!("field-{number}")).await?);
        }
        Ok::<_, SessionError>(format!("{found:?}"))
    };
    let app = crowded(store.clone(), |number| format!("field-{number}"));
    let browser = Browser::with_session(app).await;
    visit_at_once(&browser).await;
    let reader = Router::new()
        .route("/all", get(all))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let mut reader = Browser { app: reader, cookie: browser.cookie.clone() };
    let expected: Vec<_> = (0..AT_ONCE).map(Some).collect();
    assert_eq!(reader.ok("/all").await, format!("{expected:?}"));
    assert_eq!(browser.clone().ok("/get/user").await, "ada");
}

async fn concurrent_changes_of_one_field_leave_one_of_them(store: Store) {
    let last = async |session: Session| {
        let last = session.get::<usize>("last").await?.expect("one was saved");
        Ok::<_, SessionError>((last < AT_ONCE).to_string())
    };
    let browser = Browser::with_session(crowded(store.clone(), |_| "last".to_owned())).await;
    visit_at_once(&browser).await;
    let reader = Router::new()
        .route("/last", get(last))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    assert_eq!(Browser { app: reader, cookie: browser.cookie }.ok("/last").await, "true");
}

/// The answer to a request that loads the session, and does `what` to it after another request of
/// the same session, `overtaking`, has come and gone.
async fn overtaken(store: Store, overtaking: &str, what: &'static str) -> (Response, Browser) {
    let (loaded, go_on) = <(Arc<Notify>, Arc<Notify>)>::default();
    let handler = {
        let (loaded, go_on) = (loaded.clone(), go_on.clone());
        async move |session: Session| {
            session.get::<String>("user").await?;
            loaded.notify_one();
            go_on.notified().await;
            match what {
                "set" => session.insert("theme", "dark").await,
                "rotate" => session.rotate().await,
                _ => session.get::<String>("user").await.map(drop),
            }
        }
    };
    let app = routes()
        .route("/slow", get(handler))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let browser = Browser::with_session(app).await;
    let (mut slow, mut fast) = (browser.clone(), browser);
    let overtake = async {
        loaded.notified().await;
        fast.ok(overtaking).await;
        go_on.notify_one();
    };
    let (response, ()) = tokio::join!(slow.visit("/slow"), overtake);
    (response, fast)
}

async fn a_change_of_a_session_that_was_ended_meanwhile_is_409(store: Store) {
    let (response, _) = overtaken(store, "/destroy", "set").await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(set_cookie(&response), None);
    assert_eq!(reason::<SessionError, _>(&response), SessionError::Ended);
}

async fn a_rotation_of_a_session_that_was_ended_meanwhile_is_409(store: Store) {
    let (response, _) = overtaken(store, "/destroy", "rotate").await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(set_cookie(&response), None);
}

async fn a_change_of_a_session_that_was_rotated_meanwhile_is_409(store: Store) {
    let (response, mut rotated) = overtaken(store, "/rotate", "set").await;
    assert_eq!(response.status(), StatusCode::CONFLICT);
    assert_eq!(rotated.ok("/get/user").await, "ada");
    assert_eq!(rotated.ok("/get/theme").await, "none", "it was not acknowledged either");
}

async fn reading_a_session_that_was_ended_meanwhile_is_fine(store: Store) {
    let (response, _) = overtaken(store, "/destroy", "get").await;
    assert_eq!(response.status(), StatusCode::OK);
}

async fn a_failed_handler_changes_nothing(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    for status in [500, 503] {
        let response = browser.visit(&format!("/answer/{status}/user/eve")).await;
        assert_eq!(response.status().as_u16(), status);
    }
    assert_eq!(browser.ok("/get/user").await, "ada");
    let mut stranger = Browser::of(browser.app);
    assert_eq!(set_cookie(&stranger.visit("/answer/500/user/eve").await), None);
}

async fn a_session_that_a_failed_handler_ended_is_ended(store: Store) {
    let handler = async |session: Session| {
        session.destroy().await.expect("an end");
        StatusCode::BAD_GATEWAY
    };
    let app = app(SessionLayer::new(), store.clone());
    let mut browser = Browser::with_session(app).await;
    let log_out = Router::new()
        .route("/log-out", get(handler))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let app = std::mem::replace(&mut browser.app, log_out);
    let response = browser.visit("/log-out").await;
    assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
    assert!(set_cookie(&response).is_some_and(|cookie| cookie.contains("Max-Age=0")));
    assert_eq!(response.headers()["vary"], "Cookie");
    browser.app = app;
    assert_eq!(browser.ok("/get/user").await, "none");
}

async fn a_client_error_is_committed(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new(), store)).await;
    assert_eq!(browser.visit("/answer/403/attempts/1").await.status(), StatusCode::FORBIDDEN);
    assert_eq!(browser.ok("/get/attempts").await, "1");
}

/// What a task that outlives its request's handler gets when it then changes the session.
async fn change_after_response(
    store: Store,
    handler: impl AsyncFn(Session) -> StatusCode + Copy,
) -> [Option<SessionError>; 5] {
    let (taken, mut sessions) = mpsc::unbounded_channel();
    let kept = service_fn(move |request: Request<Body>| {
        let session = request.extensions().get::<Session>().expect("a session").clone();
        taken.send(session.clone()).expect("a receiver");
        async move {
            let mut response = Response::new(Body::empty());
            *response.status_mut() = handler(session).await;
            Ok::<_, std::convert::Infallible>(response)
        }
    });
    let service = SessionLayer::new().with_store(store).layer(kept);
    service.oneshot(common::get("/")).await.expect("a response");
    let session = sessions.recv().await.expect("a session");
    [
        session.insert("user", "eve").await.err(),
        session.remove("user").await.err(),
        session.clear().await.err(),
        session.rotate().await.err(),
        session.destroy().await.err(),
    ]
}

const RESPONSE_SENT: [Option<SessionError>; 5] = [const { Some(SessionError::ResponseSent) }; 5];

async fn a_change_after_the_response_is_an_error(store: Store) {
    let handler = async |session: Session| {
        session.insert("user", "ada").await.expect("a change");
        StatusCode::OK
    };
    assert_eq!(change_after_response(store, handler).await, RESPONSE_SENT);
}

async fn a_first_change_after_the_response_is_an_error(store: Store) {
    let handler = async |_| StatusCode::OK;
    assert_eq!(change_after_response(store, handler).await, RESPONSE_SENT);
}

async fn a_change_after_a_failed_response_is_an_error(store: Store) {
    let handler = async |session: Session| {
        session.insert("user", "ada").await.expect("a change");
        StatusCode::INTERNAL_SERVER_ERROR
    };
    assert_eq!(change_after_response(store, handler).await, RESPONSE_SENT);
}

async fn a_session_that_is_too_large_is_413(store: Store) {
    let mut browser = Browser::with_session(app(SessionLayer::new().max_size(100), store)).await;
    let response = browser.visit(&format!("/set/long/{}", "x".repeat(100))).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);
    assert_eq!(reason::<SessionError, _>(&response), SessionError::TooLarge);
    assert_eq!(browser.ok("/get/long").await, "none");
    // Several requests cannot make it too large either.
    for field in ["a", "b", "c"] {
        browser.visit(&format!("/set/{field}/{}", "x".repeat(40))).await;
    }
    assert_eq!(browser.ok("/get/user").await, "ada");
    assert_eq!(browser.ok("/get/c").await, "none");
}

async fn a_field_of_another_type_is_500(store: Store) {
    let number = async |session: Session| {
        session.get::<u32>("user").await.map(|number| format!("{number:?}"))
    };
    let app = routes()
        .route("/number", get(number))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let mut browser = Browser::with_session(app).await;
    let response = browser.visit("/number").await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    let error: SessionError = reason(&response);
    assert_eq!(error, SessionError::Type { field: "user".to_owned() });
    assert!(!format!("{error} {error:?}").contains("ada"), "an error shows no value");
    assert_eq!(browser.ok("/get/user").await, "ada");
}

async fn vary_names_the_cookie_when_the_session_was_used(store: Store) {
    let mut browser = Browser::new(store);
    for path in ["/get/user", "/set/user/ada", "/status", "/get/user"] {
        assert_eq!(fields(browser.visit(path).await.headers(), "vary"), ["Cookie"], "{path}");
    }
    assert!(!browser.visit("/nothing").await.headers().contains_key(VARY));
}

async fn vary_is_not_repeated(store: Store) {
    for (vary, expected) in [
        ("Accept, cookie", &["Accept, cookie"][..]),
        ("*", &["*"]),
        ("Accept", &["Accept", "Cookie"]),
        ("Cookies", &["Cookies", "Cookie"]),
    ] {
        let handler = async move |session: Session| {
            session.status().await;
            [(VARY, vary)].into_response()
        };
        let app = Router::new()
            .route("/", get(handler))
            .layer(SessionLayer::new())
            .layer(StoreLayer::new(store.clone()));
        assert_eq!(fields(send(&app, common::get("/")).await.headers(), "vary"), expected);
    }
}

async fn status_tells_a_session_from_none(store: Store) {
    let mut browser = Browser::new(store);
    assert_eq!(browser.ok("/status").await, "Anonymous");
    browser.ok("/set/user/ada").await;
    assert_eq!(browser.ok("/status").await, "Active");
    browser.ok("/destroy").await;
    assert_eq!(browser.ok("/status").await, "Anonymous");
}

/// Two layers with cookies of their own keep two sessions on one store.
async fn a_session_is_its_layers_own(store: Store) {
    let shop = SessionLayer::new().cookie_name("__Host-shop");
    let mut in_shop = Browser::with_session(app(shop, store.clone())).await;
    let mut in_forum = Browser::of(app(SessionLayer::new(), store));
    in_forum.cookie = in_shop.cookie.clone();
    assert_eq!(in_forum.ok("/get/user").await, "none");
    assert_eq!(in_shop.ok("/get/user").await, "ada");
}

async fn a_pinned_store_is_used_instead_of_the_requests(store: Store) {
    let layer = SessionLayer::new().with_store(store.clone());
    let browser = Browser::with_session(app(layer.clone(), memory().await)).await;
    let without = Browser { app: routes().layer(layer), cookie: browser.cookie.clone() };
    let plain = Browser { app: app(SessionLayer::new(), store), cookie: browser.cookie.clone() };
    for mut browser in [browser, without, plain] {
        assert_eq!(browser.ok("/get/user").await, "ada");
    }
}

async fn clones_are_the_same_session(store: Store) {
    let handler = async |session: Session, same: Session| {
        session.insert("user", "ada").await?;
        same.get::<String>("user").await.map(Option::unwrap_or_default)
    };
    let app = routes()
        .route("/both", get(handler))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(store));
    let mut browser = Browser::of(app);
    assert_eq!(browser.ok("/both").await, "ada");
    assert_eq!(browser.ok("/get/user").await, "ada");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_when_it_is_not_used() {
    let layer = SessionLayer::new().idle_timeout(Duration::from_secs(60));
    let mut browser = Browser::with_session(app(layer, Store::memory())).await;
    for path in ["/get/user", "/status", "/set/theme/dark", "/get/user"] {
        tokio::time::advance(Duration::from_secs(59)).await;
        browser.ok(path).await;
    }
    assert_eq!(browser.ok("/get/user").await, "ada");
    // A request whose handler does not look at it is no use of it.
    tokio::time::advance(Duration::from_secs(59)).await;
    browser.ok("/nothing").await;
    tokio::time::advance(Duration::from_secs(1)).await;
    assert_eq!(browser.ok("/get/user").await, "none");
}

#[tokio::test(start_paused = true)]
async fn a_session_ends_however_much_it_is_used() {
    let layer = SessionLayer::new()
        .idle_timeout(Duration::from_secs(60))
        .lifetime(Duration::from_secs(300));
    let mut browser = Browser::with_session(app(layer, Store::memory())).await;
    for path in ["/get/user", "/set/user/grace", "/rotate", "/get/user", "/rotate"] {
        tokio::time::advance(Duration::from_secs(59)).await;
        browser.ok(path).await;
    }
    assert_eq!(browser.ok("/get/user").await, "grace", "295 s");
    tokio::time::advance(Duration::from_secs(5)).await;
    assert_eq!(browser.ok("/status").await, "Anonymous", "300 s");
}

#[tokio::test(start_paused = true)]
async fn a_session_lives_30_minutes_idle_and_24_hours_unless_set() {
    const HALF_HOUR: Duration = Duration::from_secs(30 * 60);
    let mut browser = Browser::with_session(app(SessionLayer::new(), Store::memory())).await;
    let mut idle = browser.clone();
    idle.cookie = None;
    idle.ok("/set/user/ada").await;
    for _ in 0..48 {
        assert_eq!(browser.ok("/get/user").await, "ada");
        tokio::time::advance(HALF_HOUR - Duration::from_millis(1)).await;
    }
    assert_eq!(browser.ok("/get/user").await, "ada", "48 ms short of a day");
    tokio::time::advance(Duration::from_millis(48)).await;
    assert_eq!(browser.ok("/get/user").await, "none");
    assert_eq!(idle.ok("/get/user").await, "none");
}

/// A session whose lifetime is shorter than the idle timeout of the request that loads it.
#[tokio::test]
async fn a_session_on_redis_ends_at_its_lifetime() {
    let layer = SessionLayer::new().lifetime(Duration::from_secs(1));
    let browser = Browser::with_session(app(layer, common::redis().await)).await;
    common::eventually("the session has ended", async || {
        browser.clone().ok("/status").await == "Anonymous"
    })
    .await;
}

#[tokio::test]
async fn with_redis_away_a_session_that_is_used_is_503_and_keeps_its_cookie() {
    let cookie = format!("__Host-session={}", "A".repeat(43));
    let browser = Browser::new(away().await).with_cookie(cookie);
    for path in [
        "/get/user",
        "/set/user/ada",
        "/remove/user",
        "/clear",
        "/rotate",
        "/destroy",
        "/destroy-and-set/user/ada",
    ] {
        let response = browser.clone().visit(path).await;
        assert_unavailable(&response);
        assert_eq!(set_cookie(&response), None, "{path}");
    }
}

#[tokio::test]
async fn with_redis_away_a_handler_that_does_not_look_answers() {
    let cookie = format!("__Host-session={}", "A".repeat(43));
    let mut browser = Browser::new(away().await).with_cookie(cookie);
    let response = browser.visit("/nothing").await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(set_cookie(&response), None);
}

#[tokio::test]
async fn with_redis_away_a_first_session_is_503() {
    let mut browser = Browser::new(away().await);
    assert_eq!(browser.ok("/get/user").await, "none", "without a cookie there is nothing to ask");
    let response = browser.visit("/set/user/ada").await;
    assert_unavailable(&response);
    assert_eq!(set_cookie(&response), None);
}

#[tokio::test]
async fn status_tells_redis_away_from_no_session() {
    let handler = async |State(seen): State<Arc<Mutex<Vec<Status>>>>, session: Session| {
        seen.lock().await.push(session.status().await);
    };
    let seen = Arc::default();
    for layer in [SessionLayer::new(), SessionLayer::new().fallback(Fallback::Anonymous)] {
        let app = Router::new().route("/", get(handler)).with_state(Arc::clone(&seen));
        let app = app.layer(layer).layer(StoreLayer::new(away().await));
        let mut anonymous = Browser::of(app);
        anonymous.ok("/").await;
        let cookie = format!("__Host-session={}", "A".repeat(43));
        anonymous.with_cookie(cookie).ok("/").await;
    }
    let expected = [Status::Anonymous, Status::Unavailable].repeat(2);
    assert_eq!(*seen.lock().await, expected);
}

#[tokio::test]
async fn with_redis_away_fallback_anonymous_reads_nothing_and_writes_are_errors() {
    let layer = SessionLayer::new().fallback(Fallback::Anonymous);
    let cookie = format!("__Host-session={}", "A".repeat(43));
    let mut browser = Browser::of(app(layer, away().await)).with_cookie(cookie);
    let response = browser.visit("/get/user").await;
    assert_eq!(set_cookie(&response), None);
    assert_eq!(text(response).await, "none");
    for path in ["/set/user/eve", "/remove/user", "/clear", "/rotate", "/destroy"] {
        let response = browser.visit(path).await;
        assert_unavailable(&response);
        assert_eq!(set_cookie(&response), None, "{path}");
    }
}

#[tokio::test]
async fn a_missing_layer_is_a_500_that_names_the_fix() {
    let app = routes().layer(StoreLayer::new(Store::memory()));
    let response = send(&app, common::get("/status")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reason::<MissingSession, _>(&response).to_string().contains("SessionLayer::new()"));
    assert!(text(response).await.contains("SessionLayer::new()"));
}

#[tokio::test]
async fn a_missing_store_is_a_500_that_names_the_fix() {
    let response = send(&routes().layer(SessionLayer::new()), common::get("/nothing")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reason::<MissingStore, _>(&response).to_string().contains("StoreLayer::new(store)"));
}

#[tokio::test]
async fn a_handlers_own_cookies_are_kept() {
    let handler = async |session: Session| {
        session.insert("user", "ada").await.expect("a change");
        [(SET_COOKIE, "theme=dark")].into_response()
    };
    let app = Router::new()
        .route("/", get(handler))
        .layer(SessionLayer::new())
        .layer(StoreLayer::new(Store::memory()));
    let response = send(&app, common::get("/")).await;
    let cookies = fields(response.headers(), "set-cookie");
    assert_eq!((cookies.len(), cookies[0]), (2, "theme=dark"));
    assert!(cookies[1].starts_with("__Host-session="));
}
