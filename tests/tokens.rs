//! Bearer tokens and their revocation as a client and a handler meet them.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::routing::get;
use common::{
    Counter, assert_unavailable, away, field, memory, on_every_store, reason, send, text,
};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Request, Response, StatusCode};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Deserialize;
use serde_json::{Value, json};
use tower_redis_kit::token::{
    Claims, Fallback, InvalidToken, Jwt, MissingClaims, RevocationLayer, Subject, Token,
    Unauthorized, Verifier,
};
use tower_redis_kit::{MissingStore, Store, StoreError, StoreLayer};

on_every_store! {
    a_valid_token_passes_with_its_claims,
    no_token_is_401_with_a_bare_challenge,
    another_scheme_is_no_token,
    an_invalid_token_is_401,
    a_malformed_token_is_401,
    a_revoked_token_is_401,
    several_authorization_fields_are_400,
    the_realm_is_named_in_every_challenge,
    where_it_is_optional_a_request_without_a_token_passes,
    where_it_is_optional_a_token_still_has_to_be_valid,
    a_handler_revokes_the_token_it_was_called_with,
    revoking_one_token_leaves_the_others,
    revoking_twice_does_no_harm,
    revoking_a_subject_covers_what_was_issued_before,
    revoking_a_subject_covers_what_was_issued_until_a_time,
    an_earlier_revocation_never_takes_a_later_one_back,
    a_token_without_an_issue_time_is_covered_by_its_subject,
    a_token_without_a_subject_is_revoked_by_itself_alone,
    an_expired_token_can_be_revoked,
    a_token_that_outlives_every_revocation_is_refused,
    is_revoked_says_what_the_layer_does,
    a_subject_and_a_token_of_one_name_are_two,
    a_pinned_store_is_used_instead_of_the_requests,
    the_verifier_is_asked_once_and_only_about_bearer_tokens,
    a_jwt_is_verified_and_revoked_by_its_jti,
    a_jwt_without_jti_is_revoked_by_what_was_signed,
    a_jwt_is_revoked_with_its_subject,
}

const MINUTE: Duration = Duration::from_secs(60);

/// Accepts `NAME.NUMBER` as the token NUMBER of NAME, and gives handlers the name.
fn verify(token: &str) -> Result<(Token, String), InvalidToken> {
    let (name, _) = token.split_once('.').ok_or(InvalidToken)?;
    Ok((token_of(token), name.to_owned()))
}

/// What `verify` makes of a token: issued a minute ago, good for another one.
fn token_of(token: &str) -> Token {
    let (name, _) = token.split_once('.').expect("a token of ours");
    let now = SystemTime::now();
    Token::new(token, now + MINUTE).subject(name).issued_at(now - MINUTE)
}

fn app<V: Verifier<Claims = String>>(layer: RevocationLayer<V>, store: Store) -> Router {
    me().layer(layer).layer(StoreLayer::new(store))
}

fn me() -> Router {
    Router::new().route("/", get(|Claims(name): Claims<String>| async { name })).route(
        "/log-out",
        get(async |token: Token, store: Store| Ok::<_, StoreError>(store.revoke(token).await?)),
    )
}

fn bearer(token: &str) -> Request<Body> {
    authorized(&format!("Bearer {token}"))
}

fn authorized(value: &str) -> Request<Body> {
    common::request("GET", "/", &[("authorization", value)])
}

async fn status(app: &Router, token: &str) -> StatusCode {
    send(app, bearer(token)).await.status()
}

/// The challenge of a refusal that says why in its extensions, and has no body.
async fn challenge(response: Response<Body>, why: Unauthorized) -> (u16, String) {
    assert_eq!(reason::<Unauthorized, _>(&response), why);
    let challenge = field(response.headers(), "www-authenticate").to_owned();
    let status = response.status().as_u16();
    assert_eq!(text(response).await, "");
    (status, challenge)
}

fn with(status: u16, challenge: &str) -> (u16, String) {
    (status, challenge.to_owned())
}

async fn a_valid_token_passes_with_its_claims(store: Store) {
    let app = app(RevocationLayer::new(verify), store);
    for authorization in ["Bearer ada.1", "bearer ada.1", "BEARER  ada.1 "] {
        let response = send(&app, authorized(authorization)).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
        assert_eq!(text(response).await, "ada");
    }
}

async fn no_token_is_401_with_a_bare_challenge(store: Store) {
    let response = send(&app(RevocationLayer::new(verify), store), common::get("/")).await;
    assert_eq!(challenge(response, Unauthorized::Missing).await, with(401, "Bearer"));
}

async fn another_scheme_is_no_token(store: Store) {
    let app = app(RevocationLayer::new(verify), store);
    for authorization in ["Basic YTpi", "Bearerada.1", "ada.1", ""] {
        let response = send(&app, authorized(authorization)).await;
        assert_eq!(challenge(response, Unauthorized::Missing).await, with(401, "Bearer"));
    }
}

const INVALID: &str = r#"Bearer error="invalid_token", error_description="the token is not valid""#;

async fn an_invalid_token_is_401(store: Store) {
    let response = send(&app(RevocationLayer::new(verify), store), bearer("nobody")).await;
    assert_eq!(challenge(response, Unauthorized::Invalid).await, with(401, INVALID));
}

async fn a_malformed_token_is_401(store: Store) {
    let app = app(RevocationLayer::new(verify), store);
    let long = format!("Bearer ada.{}", "1".repeat(20_000));
    for authorization in ["Bearer", "Bearer ", "Bearer ada.1 ada.2", "Bearer ada.\"1\"", &long] {
        let response = send(&app, authorized(authorization)).await;
        assert_eq!(challenge(response, Unauthorized::Invalid).await, with(401, INVALID));
    }
    let mut request = common::get("/");
    let value = HeaderValue::from_bytes(b"Bearer ada.\xff").expect("a value");
    request.headers_mut().insert(AUTHORIZATION, value);
    let response = send(&app, request).await;
    assert_eq!(challenge(response, Unauthorized::Invalid).await, with(401, INVALID));
}

async fn a_revoked_token_is_401(store: Store) {
    store.revoke(token_of("ada.1")).await.expect("revoked");
    let response = send(&app(RevocationLayer::new(verify), store), bearer("ada.1")).await;
    let expected = r#"Bearer error="invalid_token", error_description="the token was revoked""#;
    assert_eq!(challenge(response, Unauthorized::Revoked).await, with(401, expected));
}

const REPEATED: &str = r#"Bearer error="invalid_request", error_description="there is more than one Authorization field""#;

async fn several_authorization_fields_are_400(store: Store) {
    for layer in [RevocationLayer::new(verify), RevocationLayer::new(verify).optional()] {
        let mut request = bearer("ada.1");
        request.headers_mut().append(AUTHORIZATION, HeaderValue::from_static("Bearer ada.1"));
        let response = send(&app(layer, store.clone()), request).await;
        assert_eq!(challenge(response, Unauthorized::Repeated).await, with(400, REPEATED));
    }
}

async fn the_realm_is_named_in_every_challenge(store: Store) {
    let app = app(RevocationLayer::new(verify).realm("the shop"), store);
    let response = send(&app, common::get("/")).await;
    let expected = r#"Bearer realm="the shop""#;
    assert_eq!(challenge(response, Unauthorized::Missing).await, with(401, expected));
    let response = send(&app, bearer("nobody")).await;
    let expected = r#"Bearer realm="the shop", error="invalid_token", error_description="the token is not valid""#;
    assert_eq!(challenge(response, Unauthorized::Invalid).await, with(401, expected));
}

#[test]
#[should_panic(expected = "a realm is printable ASCII without quotes")]
fn a_realm_that_could_break_out_of_its_quotes_is_refused() {
    let _ = RevocationLayer::new(verify).realm("a\", error=\"b");
}

/// Greets whoever it is.
fn greeting(store: Store) -> Router {
    let greet = async |claims: Option<Claims<String>>| {
        claims.map_or_else(|| "stranger".to_owned(), |Claims(name)| name)
    };
    Router::new()
        .route("/", get(greet))
        .layer(RevocationLayer::new(verify).optional())
        .layer(StoreLayer::new(store))
}

async fn where_it_is_optional_a_request_without_a_token_passes(store: Store) {
    let app = greeting(store);
    assert_eq!(text(send(&app, common::get("/")).await).await, "stranger");
    assert_eq!(text(send(&app, authorized("Basic YTpi")).await).await, "stranger");
    assert_eq!(text(send(&app, bearer("ada.1")).await).await, "ada");
}

async fn where_it_is_optional_a_token_still_has_to_be_valid(store: Store) {
    store.revoke(token_of("ada.1")).await.expect("revoked");
    let app = greeting(store);
    assert_eq!(status(&app, "nobody").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app, "ada.1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app, "ada.2").await, StatusCode::OK);
}

async fn a_handler_revokes_the_token_it_was_called_with(store: Store) {
    let app = app(RevocationLayer::new(verify), store);
    let log_out = common::request("GET", "/log-out", &[("authorization", "Bearer ada.1")]);
    assert_eq!(send(&app, log_out).await.status(), StatusCode::OK);
    assert_eq!(status(&app, "ada.1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app, "ada.2").await, StatusCode::OK);
}

async fn revoking_one_token_leaves_the_others(store: Store) {
    store.revoke(token_of("ada.1")).await.expect("revoked");
    let app = app(RevocationLayer::new(verify), store);
    assert_eq!(status(&app, "ada.1").await, StatusCode::UNAUTHORIZED);
    for other in ["ada.2", "grace.1"] {
        assert_eq!(status(&app, other).await, StatusCode::OK, "{other}");
    }
}

async fn revoking_twice_does_no_harm(store: Store) {
    for _ in 0..2 {
        store.revoke(token_of("ada.1")).await.expect("revoked");
        store.revoke(Subject::new("grace")).await.expect("revoked");
    }
    let app = app(RevocationLayer::new(verify), store);
    assert_eq!(status(&app, "ada.1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app, "grace.1").await, StatusCode::UNAUTHORIZED);
}

async fn revoking_a_subject_covers_what_was_issued_before(store: Store) {
    store.revoke(Subject::new("ada")).await.expect("revoked");
    let app = app(RevocationLayer::new(verify), store.clone());
    for covered in ["ada.1", "ada.2"] {
        assert_eq!(status(&app, covered).await, StatusCode::UNAUTHORIZED, "{covered}");
    }
    assert_eq!(status(&app, "grace.1").await, StatusCode::OK);
    // A clock that is ahead proves nothing about when a token was issued.
    let later = token_of("ada.3").issued_at(SystemTime::now() + MINUTE / 2);
    assert!(store.is_revoked(later).await.expect("an answer"));
}

async fn revoking_a_subject_covers_what_was_issued_until_a_time(store: Store) {
    let until = SystemTime::now() - 10 * MINUTE;
    store.revoke(Subject::new("ada").issued_until(until)).await.expect("revoked");
    for (issued_at, revoked) in [
        (until - Duration::from_secs(1), true),
        (until, true),
        (until + Duration::from_micros(2), false),
    ] {
        let token = token_of("ada.1").issued_at(issued_at);
        assert_eq!(store.is_revoked(token).await, Ok(revoked));
    }
}

async fn an_earlier_revocation_never_takes_a_later_one_back(store: Store) {
    let ten_minutes_ago = SystemTime::now() - 10 * MINUTE;
    store.revoke(Subject::new("ada")).await.expect("revoked");
    store.revoke(Subject::new("ada").issued_until(ten_minutes_ago)).await.expect("revoked");
    assert_eq!(store.is_revoked(token_of("ada.1")).await, Ok(true));
}

async fn a_token_without_an_issue_time_is_covered_by_its_subject(store: Store) {
    let token = Token::new("1", SystemTime::now() + MINUTE).subject("ada");
    assert_eq!(store.is_revoked(token).await, Ok(false));
    let long_ago = SystemTime::now() - 1000 * MINUTE;
    store.revoke(Subject::new("ada").issued_until(long_ago)).await.expect("revoked");
    assert_eq!(store.is_revoked(token).await, Ok(true));
}

async fn a_token_without_a_subject_is_revoked_by_itself_alone(store: Store) {
    let token = Token::new("1", SystemTime::now() + MINUTE);
    store.revoke(Subject::new("")).await.expect("revoked");
    assert_eq!(store.is_revoked(token).await, Ok(false));
    store.revoke(token).await.expect("revoked");
    assert_eq!(store.is_revoked(token).await, Ok(true));
}

/// Clocks differ: what has ended here may still be valid elsewhere.
async fn an_expired_token_can_be_revoked(store: Store) {
    for expires_at in [SystemTime::now() - MINUTE, SystemTime::UNIX_EPOCH] {
        let token = Token::new("1", expires_at);
        store.revoke(token).await.expect("revoked");
        assert_eq!(store.is_revoked(token).await, Ok(true));
    }
}

#[tokio::test(start_paused = true)]
async fn a_revocation_outlives_its_token() {
    let store = Store::memory();
    let token = Token::new("1", SystemTime::now() + MINUTE);
    store.revoke(token).await.expect("revoked");
    tokio::time::advance(5 * MINUTE).await;
    assert_eq!(store.is_revoked(token).await, Ok(true), "some machine's clock may be slow");
    tokio::time::advance(2 * MINUTE).await;
    assert_eq!(store.is_revoked(token).await, Ok(false), "it is remembered no longer than that");
}

async fn a_token_that_outlives_every_revocation_is_refused(store: Store) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let verify = |days: &str| {
        let days: u32 = days.parse().map_err(|_| InvalidToken)?;
        Ok((Token::new("1", SystemTime::now() + DAY * days), String::new()))
    };
    let app = app(RevocationLayer::new(verify), store);
    assert_eq!(status(&app, "396").await, StatusCode::OK);
    let response = send(&app, bearer("398")).await;
    let expected =
        r#"Bearer error="invalid_token", error_description="the token is valid for too long""#;
    assert_eq!(challenge(response, Unauthorized::TooLongLived).await, with(401, expected));
}

async fn is_revoked_says_what_the_layer_does(store: Store) {
    store.revoke(token_of("ada.1")).await.expect("revoked");
    store.revoke(Subject::new("grace")).await.expect("revoked");
    let app = app(RevocationLayer::new(verify), store.clone());
    for (token, revoked) in [("ada.1", true), ("ada.2", false), ("grace.1", true), ("x.1", false)] {
        assert_eq!(store.is_revoked(token_of(token)).await, Ok(revoked), "{token}");
        assert_eq!(status(&app, token).await == StatusCode::UNAUTHORIZED, revoked, "{token}");
    }
}

async fn a_subject_and_a_token_of_one_name_are_two(store: Store) {
    let token = Token::new("ada", SystemTime::now() + MINUTE).subject("grace");
    store.revoke(Subject::new("ada")).await.expect("revoked");
    assert_eq!(store.is_revoked(token).await, Ok(false));
    store.revoke(Token::new("grace", SystemTime::now() + MINUTE)).await.expect("revoked");
    assert_eq!(store.is_revoked(token).await, Ok(false));
}

async fn a_pinned_store_is_used_instead_of_the_requests(store: Store) {
    store.revoke(token_of("ada.1")).await.expect("revoked");
    let pinned = RevocationLayer::new(verify).with_store(store);
    assert_eq!(status(&me().layer(pinned.clone()), "ada.1").await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app(pinned, memory().await), "ada.1").await, StatusCode::UNAUTHORIZED);
}

async fn the_verifier_is_asked_once_and_only_about_bearer_tokens(store: Store) {
    let asked = Counter::default();
    let counted = asked.clone();
    let verify = move |token: &str| {
        counted.add();
        verify(token)
    };
    let app = app(RevocationLayer::new(verify), store);
    for none in [common::get("/"), authorized("Basic YTpi"), authorized("Bearer a b")] {
        send(&app, none).await;
        assert_eq!(asked.get(), 0);
    }
    send(&app, bearer("ada.1")).await;
    assert_eq!(asked.get(), 1);
}

#[tokio::test]
async fn claims_that_no_layer_has_put_there_are_a_500_that_names_the_fix() {
    let no_layer = me();
    let of_another_type = Router::new()
        .route("/", get(|Claims(_): Claims<u32>| async {}))
        .layer(RevocationLayer::new(verify))
        .layer(StoreLayer::new(Store::memory()));
    let optional =
        me().layer(RevocationLayer::new(verify).optional()).layer(StoreLayer::new(Store::memory()));
    for (app, request) in [
        (no_layer.clone(), bearer("ada.1")),
        (no_layer, common::get("/log-out")),
        (of_another_type, bearer("ada.1")),
        (optional, common::get("/")),
    ] {
        let response = send(&app, request).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let missing: MissingClaims = reason(&response);
        assert!(missing.to_string().contains("RevocationLayer::new(verifier)"));
        assert!(missing.to_string().contains("Option<Claims<T>>"));
        assert!(text(response).await.contains("RevocationLayer::new(verifier)"));
    }
}

#[tokio::test]
async fn a_missing_store_is_a_500_that_names_the_fix() {
    let app = me().layer(RevocationLayer::new(verify));
    let response = send(&app, bearer("ada.1")).await;
    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(reason::<MissingStore, _>(&response).to_string().contains("StoreLayer::new(store)"));
    assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
}

#[tokio::test]
async fn with_redis_away_a_valid_token_is_503_and_never_401() {
    let app = app(RevocationLayer::new(verify), away().await);
    for _ in 0..3 {
        let response = send(&app, bearer("ada.1")).await;
        assert_unavailable(&response);
        assert!(!response.headers().contains_key(WWW_AUTHENTICATE));
    }
    assert_eq!(status(&app, "nobody").await, StatusCode::UNAUTHORIZED, "what is invalid stays so");
    assert_eq!(send(&app, common::get("/")).await.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn with_redis_away_fallback_allow_lets_valid_tokens_pass() {
    let app = app(RevocationLayer::new(verify).fallback(Fallback::Allow), away().await);
    assert_eq!(text(send(&app, bearer("ada.1")).await).await, "ada");
    assert_eq!(status(&app, "nobody").await, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn with_redis_away_a_revocation_is_an_error() {
    let store = away().await;
    let error = store.revoke(token_of("ada.1")).await.expect_err("nobody to tell");
    assert!(error.is_unavailable(), "{error}");
    assert!(store.revoke(Subject::new("ada")).await.is_err());
    assert!(store.is_revoked(token_of("ada.1")).await.is_err());
}

const SECRET: &[u8] = b"a secret of thirty-two bytes at least";

#[derive(Clone, Debug, Deserialize, PartialEq)]
struct User {
    sub: String,
    admin: bool,
}

fn jwt_app(store: Store) -> Router {
    let whoami = async |Claims(user): Claims<User>| format!("{} {}", user.sub, user.admin);
    Router::new()
        .route("/", get(whoami))
        .layer(RevocationLayer::new(Jwt::<User>::hs256(SECRET)))
        .layer(StoreLayer::new(store))
}

/// A token with these claims besides `sub` and `admin`.
fn jwt(claims: Value) -> String {
    signed(&Header::new(Algorithm::HS256), SECRET, claims)
}

fn signed(header: &Header, secret: &[u8], claims: Value) -> String {
    let mut all = json!({"sub": "ada", "admin": true});
    let all_fields = all.as_object_mut().expect("an object");
    all_fields.extend(claims.as_object().expect("an object").clone());
    jsonwebtoken::encode(header, &all, &EncodingKey::from_secret(secret)).expect("a token")
}

/// Seconds since 1970, this far from now.
fn seconds(from_now: i64) -> i64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    since_epoch.as_secs() as i64 + from_now
}

async fn a_jwt_is_verified_and_revoked_by_its_jti(store: Store) {
    let app = jwt_app(store.clone());
    let token = jwt(json!({"jti": "one", "exp": seconds(60)}));
    assert_eq!(text(send(&app, bearer(&token)).await).await, "ada true");
    store.revoke(Token::new("one", SystemTime::now() + MINUTE)).await.expect("revoked");
    assert_eq!(status(&app, &token).await, StatusCode::UNAUTHORIZED);
    let with_another_exp = jwt(json!({"jti": "one", "exp": seconds(90)}));
    assert_eq!(status(&app, &with_another_exp).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app, &jwt(json!({"jti": "two", "exp": seconds(60)}))).await, StatusCode::OK);
}

async fn a_jwt_without_jti_is_revoked_by_what_was_signed(store: Store) {
    let app = jwt_app(store.clone());
    let (one, two) = (jwt(json!({"exp": seconds(60)})), jwt(json!({"exp": seconds(61)})));
    let (signed, _) = one.rsplit_once('.').expect("a signature");
    store.revoke(Token::new(signed, SystemTime::now() + MINUTE)).await.expect("revoked");
    assert_eq!(status(&app, &one).await, StatusCode::UNAUTHORIZED);
    assert_eq!(status(&app, &two).await, StatusCode::OK);
}

async fn a_jwt_is_revoked_with_its_subject(store: Store) {
    let app = jwt_app(store.clone());
    let until = SystemTime::now() - MINUTE / 2;
    store.revoke(Subject::new("ada").issued_until(until)).await.expect("revoked");
    for claims in [json!({"iat": seconds(-60), "exp": seconds(60)}), json!({"exp": seconds(60)})] {
        assert_eq!(status(&app, &jwt(claims)).await, StatusCode::UNAUTHORIZED);
    }
    for other in [
        json!({"iat": seconds(-10), "exp": seconds(60)}),
        json!({"sub": "grace", "exp": seconds(60)}),
    ] {
        assert_eq!(status(&app, &jwt(other)).await, StatusCode::OK);
    }
}

/// `{"alg":"none"}`, the claims, and no signature.
fn unsigned_jwt() -> String {
    let signed = jwt(json!({"exp": seconds(60)}));
    let claims = signed.split('.').nth(1).expect("claims");
    format!("eyJhbGciOiJub25lIn0.{claims}.")
}

#[tokio::test]
async fn a_jwt_that_is_not_ours_or_not_valid_now_is_401() {
    let app = jwt_app(Store::memory());
    let valid = jwt(json!({"exp": seconds(60)}));
    assert_eq!(status(&app, &valid).await, StatusCode::OK);
    let (head, _) = valid.rsplit_once('.').expect("three parts");
    let invalid = [
        ("expired", jwt(json!({"exp": seconds(-3600)}))),
        ("without exp", jwt(json!({}))),
        ("exp is no number", jwt(json!({"exp": "tomorrow"}))),
        ("exp is negative", jwt(json!({"exp": -1}))),
        ("exp is beyond all time", jwt(json!({"exp": 1e300}))),
        ("of another secret", signed(&Header::default(), b"another", json!({"exp": seconds(60)}))),
        (
            "of another algorithm",
            signed(&Header::new(Algorithm::HS384), SECRET, json!({"exp": seconds(60)})),
        ),
        ("unsigned", unsigned_jwt()),
        ("signature cut off", format!("{head}.")),
        ("two parts", head.to_owned()),
        ("claims of another type", jwt(json!({"exp": seconds(60), "admin": "yes"}))),
        ("sub is no text", jwt(json!({"exp": seconds(60), "sub": 7}))),
        ("jti is no text", jwt(json!({"exp": seconds(60), "jti": 7}))),
        ("iat is no number", jwt(json!({"exp": seconds(60), "iat": "now"}))),
        ("garbage", "garbage".to_owned()),
        ("dots", "...".to_owned()),
    ];
    for (what, token) in invalid {
        let response = send(&app, bearer(&token)).await;
        assert_eq!(response.status(), StatusCode::UNAUTHORIZED, "{what}");
        assert_eq!(reason::<Unauthorized, _>(&response), Unauthorized::Invalid, "{what}");
    }
}

#[tokio::test]
async fn a_jwt_that_outlives_every_revocation_is_refused() {
    let app = jwt_app(Store::memory());
    let response = send(&app, bearer(&jwt(json!({"exp": seconds(400 * 86_400)})))).await;
    assert_eq!(reason::<Unauthorized, _>(&response), Unauthorized::TooLongLived);
}

/// Whoever builds a verifier of their own keys still cannot accept tokens without an end.
#[tokio::test]
async fn exp_is_required_whatever_the_rules_say() {
    let mut rules = jsonwebtoken::Validation::new(Algorithm::HS256);
    rules.validate_exp = false;
    rules.required_spec_claims.clear();
    let verifier = Jwt::<User>::new(jsonwebtoken::DecodingKey::from_secret(SECRET), rules);
    assert!(verifier.verify(&jwt(json!({}))).is_err());
    assert!(verifier.verify(&jwt(json!({"exp": seconds(-3600)}))).is_err());
    assert!(verifier.verify(&jwt(json!({"exp": seconds(60)}))).is_ok());
    assert!(!format!("{verifier:?}").contains("secret"));
}
