//! What must not happen: that a secret is shown, that a client's bytes are more than a name, that
//! something is kept for ever, or that memory has no end.

#![expect(clippy::disallowed_methods, reason = "a token's times are wall-clock times")]

mod common;

#[path = "security/memory.rs"]
mod memory;

use std::collections::BTreeSet;
use std::error::Error;
use std::fs;
use std::io;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use common::{behind_all_layers, redis_under, request, send, text, unique};
use http::header::{CACHE_CONTROL, SET_COOKIE};
use http::{Method, Response, Uri};
use support::RedisServer;
use tower_redis_kit::cache::{Cache, CacheTags};
use tower_redis_kit::rate_limit::Key;
use tower_redis_kit::session::{Session, SessionError};
use tower_redis_kit::token::{InvalidToken, Subject, Token};
use tower_redis_kit::{Store, StoreError};

/// Part of everything that is secret here.
const MARK: &str = "S3CRET";

const MINUTE: Duration = Duration::from_secs(60);

/// Everything that anybody logs in this process, at every level.
fn log() -> &'static Log {
    static LOG: LazyLock<Log> = LazyLock::new(|| {
        let log = Log::default();
        let to = log.clone();
        tracing_subscriber::fmt()
            .with_max_level(tracing::Level::TRACE)
            .with_ansi(false)
            .with_writer(move || to.clone())
            .init();
        log
    });
    &LOG
}

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// All four layers, each counting, keeping and caching what the client sent.
fn app(store: Store) -> Router {
    let verify = |token: &str| {
        let token = Token::new(token, SystemTime::now() + MINUTE).subject(token);
        Ok::<_, InvalidToken>((token, ()))
    };
    let handle = async |session: Session, cache: Cache, method: Method, uri: Uri| {
        let uri = uri.to_string();
        let shown = format!("{session:?} {cache:?}");
        assert!(!shown.contains(MARK), "{shown}");
        if method == Method::POST {
            session.insert(&uri, &uri).await?;
        } else if uri.contains("session") {
            session.get::<String>(&uri).await?;
        }
        Ok::<_, SessionError>((
            [(CACHE_CONTROL, "public, max-age=60")],
            CacheTags::new([&uri]),
            uri,
        ))
    };
    behind_all_layers(Router::new().fallback(handle), store, verify)
}

/// Whatever the layers do with these bytes of a client; the cookie that they gave.
async fn drive_layers(app: &Router, bytes: &str, cookie: &mut String) -> Vec<String> {
    let mut shown = Vec::new();
    let uri = format!("/session?{}", bytes.replace(|char: char| !char.is_ascii_alphanumeric(), ""));
    let bearer = format!("Bearer {}", uri.replace(['?'], ""));
    let page = uri.replace("session", "page");
    // A change makes the cache forget the page: so that comes last.
    for (method, uri) in
        [("POST", &uri), ("GET", &uri), ("POST", &page), ("GET", &page), ("HEAD", &page)]
    {
        let fields =
            [("x-api-key", bytes), ("authorization", bearer.as_str()), ("cookie", cookie.as_str())];
        let response: Response<Body> = send(app, request(method, uri, &fields)).await;
        if let Some(set) = response.headers().get(SET_COOKIE) {
            *cookie = set.to_str().unwrap().split(';').next().unwrap().to_owned();
        }
        shown.extend(response.extensions().get().map(shown_of::<StoreError>));
        shown.extend(response.extensions().get().map(shown_of::<SessionError>));
        // What is read to its end is stored.
        text(response).await;
    }
    shown
}

/// Whatever the toolbox does with them; what it says.
async fn drive_toolbox(store: &Store, bytes: &str) -> Vec<String> {
    let values = store.values("ns").grouped(bytes);
    let lock = store.lock(bytes).ttl(MINUTE);
    let mut shown = vec![format!("{values:?} {lock:?} {store:?}")];
    let mut add = |error: Option<StoreError>| shown.extend(error.as_ref().map(shown_of));
    add(values.set(bytes, bytes, MINUTE).await.err());
    add(values.set_if_absent(bytes, &Bytes::from(bytes.to_owned()), MINUTE).await.err());
    add(values.get::<Vec<u32>>(bytes).await.err());
    add(values.set(bytes, bytes, MINUTE).await.err());
    add(values.increment(bytes, 1, MINUTE).await.err());
    add(values.set_many([(bytes, bytes)], MINUTE).await.err());
    add(values.get_many::<String>([bytes]).await.err());
    add(values.set(bytes, bytes, Duration::ZERO).await.err());
    add(values.clone().max_size(1).set(bytes, bytes, MINUTE).await.err());
    add(store.values("ns").set(&bytes.repeat(600), bytes, MINUTE).await.err());
    add(store.values("count").increment(bytes, 1, MINUTE).await.err());
    let computed =
        values.get_or_compute::<String, StoreError>("c", MINUTE, async || Ok(bytes.to_owned()));
    add(computed.await.err());
    match lock.try_acquire().await {
        Ok(Some(lease)) => {
            shown.push(format!("{lease:?}"));
            // It stays held, and so there is a key.
            std::mem::forget(lease);
        }
        Ok(None) => {}
        Err(error) => shown.push(shown_of(&error)),
    }
    let mut add = |error: Option<StoreError>| shown.extend(error.as_ref().map(shown_of));
    add(Cache::new(store.clone()).purge_tag(bytes).await.err());
    let subject = Subject::new(bytes);
    let token = Token::new(bytes, SystemTime::now() + MINUTE).subject(bytes);
    shown.push(format!("{subject:?} {token:?} {:?}", Key::named(bytes)));
    let mut add = |error: Option<StoreError>| shown.extend(error.as_ref().map(shown_of));
    add(store.revoke(subject).await.err());
    add(store.revoke(token).await.err());
    let mut no_integer = tower_redis_kit::redis::cmd("GET");
    no_integer.arg("kit:foreign");
    add(store.raw::<u32>(no_integer).await.err());
    shown.push(format!("{:?} {:?}", store.info().await, store.health()));
    shown
}

/// All that an error says, to users and to developers, and so do its causes.
fn shown_of<E: Error>(error: &E) -> String {
    let mut shown = format!("{error} {error:?}");
    let mut cause = error.source();
    while let Some(error) = cause {
        shown += &format!(" {error} {error:?}");
        cause = error.source();
    }
    shown
}

#[track_caller]
fn assert_nothing_shown(what: &str, shown: &[String], more: &str) {
    for text in shown {
        assert!(
            !text.contains(MARK) && (more.is_empty() || !text.contains(more)),
            "{what}: {text}"
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_password_token_cookie_or_payload_is_shown_or_logged() {
    let log = log();
    let password = format!("{MARK}-password");
    let mut server = RedisServer::with(&["--requirepass", &password]);
    let at = server.addr();
    let url = format!("redis://:{password}@{at}");
    let builder = || Store::builder().deadline(Duration::from_secs(2));
    let store = builder().connect(&url).await.expect("a store");
    let app = app(store.clone());
    server.command(&["SET", "kit:foreign", MARK, "PX", "60000"]);
    let mut cookie = String::new();
    let mut shown = vec![format!("{:?}", builder().credentials(move || (None, MARK.to_owned())))];

    let mut drive = async |shown: &mut Vec<String>| {
        shown.extend(drive_layers(&app, MARK, &mut cookie).await);
        shown.extend(drive_toolbox(&store, MARK).await);
        cookie.clone()
    };
    let id = drive(&mut shown).await;
    let id = id.split_once('=').expect("a cookie").1.to_owned();
    let without_trouble = shown.len();
    for fault in [server.out_of_memory(), server.read_only(), server.master_down()] {
        drive(&mut shown).await;
        fault.end();
    }
    // Every key is something else than it was.
    for key in server.keys() {
        server.command(&["DEL", &key]);
        server.command(&["RPUSH", &key, MARK]);
    }
    drive(&mut shown).await;
    server.stop();
    drive(&mut shown).await;
    assert!(shown.len() > without_trouble + 20, "there was trouble: {}", shown.len());

    for wrong in [
        format!("redis://{MARK}:{MARK}@{at}"),
        format!("redis://:{MARK}@no-such-host.invalid"),
        format!("redis://:{MARK}@{at}/{MARK}"),
        format!("redis://:{MARK}/{MARK}@{at}"),
        format!("{MARK}://{at}"),
        format!("rediss://:{MARK}@{at}"),
        format!("redis-sentinel://:{MARK}@{at}/mymaster?sentinel_password={MARK}"),
        format!("redis-cluster://:{MARK}@{at}"),
    ] {
        let refused = builder().connect(&wrong).await.expect_err("it is not there");
        shown.push(shown_of(&refused));
        if let Ok(lazy) = Store::connect_lazy(&wrong) {
            shown.push(format!("{lazy:?} {:?}", lazy.health()));
        }
    }
    server.start_again();
    let wrong = format!("redis://:{MARK}-wrong@{at}");
    shown.push(shown_of(&Store::connect(&wrong).await.expect_err("the password is wrong")));

    assert_nothing_shown("shown", &shown, &id);
    let logged = log.text();
    assert!(logged.contains("Redis is lost"), "the log is read");
    for line in logged.lines() {
        assert!(!line.contains(MARK) && !line.contains(&id), "logged: {line}");
    }
}

/// Texts that mean something to Redis.
const HOSTILE: [&str; 9] = [
    "{}",
    "{a}",
    "}{",
    "*",
    "?[a-z]",
    "a\\*",
    "{user}:limit:*",
    "\u{1f980}{%7B}",
    "' OR redis.call('FLUSHALL')",
];

/// CRC16 as of a cluster's specification.
fn slot(bytes: &[u8]) -> u16 {
    let crc = bytes.iter().fold(0u16, |crc, byte| {
        (0..8).fold(crc ^ (u16::from(*byte) << 8), |crc, _| {
            if crc & 0x8000 == 0 { crc << 1 } else { (crc << 1) ^ 0x1021 }
        })
    });
    crc % 16_384
}

/// The slot of a key, by the rule of a cluster's specification.
fn slot_of(key: &str) -> u16 {
    let tag = || {
        let (_, rest) = key.split_once('{')?;
        rest.split_once('}').map(|(tag, _)| tag).filter(|tag| !tag.is_empty())
    };
    slot(tag().unwrap_or(key).as_bytes())
}

#[tokio::test]
async fn bytes_of_a_client_move_no_key_to_another_slot() {
    assert_eq!((slot_of("123456789"), slot_of("a{123456789}b")), (12739, 12739));
    let prefix = unique("hostile");
    let store = redis_under(&prefix).await;
    let app = app(store.clone());
    for bytes in HOSTILE {
        drive_layers(&app, bytes, &mut String::new()).await;
        drive_toolbox(&store, bytes).await;
        store.values("alone").set(bytes, "", MINUTE).await.expect("stored");
    }
    let mut groups = BTreeSet::new();
    let keys = RedisServer::shared().keys();
    for key in keys.iter().filter_map(|key| key.strip_prefix(&format!("{prefix}:"))) {
        let (noun, rest) = key.split_once(':').unwrap_or((key, ""));
        let braces = key.matches(['{', '}']).count();
        match noun {
            // What is between the only braces is what was meant to be there.
            "value" if rest.starts_with("ns:{") => {
                let (tag, name) = rest["ns:{".len()..].split_once("}:").expect("a tag");
                assert!(braces == 2 && !tag.is_empty() && !name.is_empty(), "{key}");
                assert_eq!(slot_of(key), slot(tag.as_bytes()));
                groups.insert(slot(tag.as_bytes()));
            }
            "value" => assert_eq!(braces, 0, "{key}"),
            _ => {
                let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_:.{}".contains(&byte);
                assert!(matches!(braces, 0 | 2) && key.bytes().all(plain), "{key}");
            }
        }
    }
    assert_eq!(groups.len(), HOSTILE.len(), "each group has its own");
}

#[tokio::test]
async fn every_key_of_every_tool_has_an_end() {
    let server = RedisServer::start();
    let store = common::store_on(&server).await;
    let app = app(store.clone());
    let mut cookie = String::new();
    for bytes in ["one", "two"] {
        drive_layers(&app, bytes, &mut cookie).await;
        drive_toolbox(&store, bytes).await;
    }
    let mut nouns = BTreeSet::new();
    for key in server.keys() {
        assert!(server.ttl_ms(&key) > 0, "{key} stays for ever");
        nouns.insert(key.split(':').nth(1).expect("a noun").to_owned());
    }
    for noun in ["limit", "session", "revoked", "response", "tagged", "purged", "value", "lock"] {
        assert!(nouns.contains(noun), "{noun} is not among {nouns:?}");
    }
}

/// The code of every source file, without comments and tests.
fn sources() -> Vec<(String, String)> {
    let mut open = vec![Path::new(env!("CARGO_MANIFEST_DIR")).join("src")];
    let mut found = Vec::new();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            open.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            let code = text.split("#[cfg(test)]\nmod tests").next().unwrap().lines();
            let code = code.filter(|line| !line.trim_start().starts_with("//"));
            found.push((path.display().to_string(), code.collect::<Vec<_>>().join("\n")));
        }
    }
    assert!(found.len() > 50);
    found
}

#[test]
fn scripts_are_files_and_nothing_is_put_into_them() {
    let mut scripts = 0;
    for (name, code) in sources() {
        for (at, _) in code.match_indices("Script {") {
            let (before, after) = (&code[..at], &code[at..]);
            let is_item = ["struct ", "impl ", "&'static "].iter().any(|it| before.ends_with(it));
            assert!(is_item || after.contains("source: SOURCE,"), "{name}");
        }
        for (at, _) in code.match_indices("Script::new(") {
            let argument = &code[at + "Script::new(".len()..];
            assert!(argument.starts_with("SOURCE)"), "{name} makes a script of something");
            assert!(code.contains("const SOURCE: &str = $source;"), "{name}");
        }
        for (at, _) in code.match_indices("constant!(") {
            let argument = &code[at + "constant!(".len()..];
            let files = argument.trim_start().strip_prefix("concat!(").unwrap_or_default();
            let files = files.trim_start().trim_start_matches("$(");
            assert!(files.starts_with("include_str!("), "{name} makes a script of something");
        }
        if code.contains("EVALSHA") && !name.ends_with("raw.rs") {
            assert!(!code.contains("format!") && !code.contains("\"EVAL\""), "{name}");
            scripts += 1;
        }
    }
    assert_eq!(scripts, 1, "one file calls scripts");
}

#[test]
fn no_pattern_is_made_of_a_clients_bytes() {
    for (name, code) in sources() {
        if name.ends_with("raw.rs") {
            // A handler's own commands, whose documentation says so.
            continue;
        }
        for glob in ["\"KEYS\"", "\"SCAN\"", "\"MATCH\"", "\"PSUBSCRIBE\""] {
            assert!(
                !code.contains(glob) || code.contains("keys.values_glob("),
                "{name} sends {glob}: a pattern comes from `keys.rs`, which escapes what is in it"
            );
        }
    }
}

#[test]
fn secrets_are_compared_by_their_type_alone() {
    for (name, code) in sources() {
        for plain in ["expose() ==", "expose() !=", "== other.expose", "expose().eq("] {
            assert!(!code.contains(plain), "{name} compares a secret letter by letter");
        }
        let holds = code.contains("struct Secret(");
        assert!(
            !holds
                || code.contains("black_box")
                    && !code.contains("Ord, Hash)]\npub(crate) struct Secret")
        );
    }
}

#[tokio::test]
async fn to_believe_whoever_answers_is_said_twice() {
    let url = "rediss://127.0.0.1:1#insecure";
    let refused = Store::connect_lazy(url).expect_err("the URL alone says so");
    assert!(refused.to_string().contains("allow_insecure_tls"), "{refused}");
    assert!(
        Store::connect(url).await.expect_err("here too").to_string().contains("allow_insecure")
    );
    assert!(Store::builder().allow_insecure_tls().connect_lazy(url).is_ok());
    // Without the fragment the opt-in changes nothing, and nothing but TLS can be insecure.
    assert!(Store::connect("redis://127.0.0.1:1#insecure").await.unwrap_err().is_invalid_url());
}
