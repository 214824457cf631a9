//! Purges against stores, as many as there is room for: what was made before a purge is not found
//! after it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use http::header::CACHE_CONTROL;
use tokio::task::JoinSet;
use tower_redis_kit::cache::{Cache, CacheLayer, CacheTags};
use tower_redis_kit::{Store, StoreLayer};

use crate::common::{request, send, text, unique};
use crate::servers;
use crate::shown::watch;

const PAGES: usize = 6;
const ROUNDS: u64 = 40;

/// Pages that show what the database holds as of when the handler read it, which then takes a while.
fn pages(store: &Store, database: &Arc<AtomicU64>) -> Router {
    let database = database.clone();
    let page = async move || {
        let row = database.load(SeqCst);
        tokio::time::sleep(Duration::from_micros(random(4_000))).await;
        let tags = CacheTags::new(["rows", "all", "pages"]);
        (tags, [(CACHE_CONTROL, "public, max-age=60")], row.to_string())
    };
    let change = async || {};
    Router::new()
        .route("/{page}", get(page).delete(change))
        .layer(CacheLayer::new())
        .layer(StoreLayer::new(store.clone()))
}

/// Some number below `bound`.
fn random(bound: u64) -> u64 {
    use std::hash::{BuildHasher, Hasher};
    std::collections::hash_map::RandomState::new().build_hasher().finish() % bound
}

#[derive(Clone, Copy)]
enum Purge {
    Tag,
    Uri,
}

/// In each round readers look up and store while the database is changed and its pages are purged.
/// Once the purge has returned nobody finds what was there before the change, and nobody does when
/// those are done who had looked up before.
async fn nothing_old_is_found(store: Store, purge: Purge) {
    let database = Arc::<AtomicU64>::default();
    let app = pages(&store, &database);
    let cache = Cache::new(store);
    let name = unique("p");
    let path = |page| format!("/{name}{page}");
    let mut hits = 0;
    for row in 1..=ROUNDS {
        let mut readers = JoinSet::new();
        for reader in 0..4 * PAGES {
            let (app, path) = (app.clone(), path(reader % PAGES));
            readers.spawn(async move {
                let mut hits = 0;
                for _ in 0..3 {
                    tokio::time::sleep(Duration::from_micros(random(3_000))).await;
                    let response = send(&app, request("GET", &path, &[])).await;
                    hits += u64::from(crate::is_hit(&response));
                    text(response).await;
                }
                hits
            });
        }
        tokio::time::sleep(Duration::from_micros(random(6_000))).await;
        database.store(row, SeqCst);
        match purge {
            Purge::Tag => {
                let tag = ["rows", "all", "pages"][row as usize % 3];
                cache.purge_tag(tag).await.expect("purged");
            }
            Purge::Uri => {
                for page in 0..PAGES {
                    send(&app, request("DELETE", &path(page), &[])).await;
                }
            }
        }
        let assert_new = async || {
            for page in 0..PAGES {
                let found = text(send(&app, request("GET", &path(page), &[])).await).await;
                assert_eq!(found, row.to_string(), "after the purge of {}", row - 1);
            }
        };
        assert_new().await;
        while let Some(reader) = readers.join_next().await {
            hits += reader.expect("a reader reads");
        }
        assert_new().await;
    }
    assert!(hits > 0, "nothing was ever stored");
}

async fn patient(url: &str) -> Store {
    let builder = Store::builder().prefix(&unique("purge")).deadline(Duration::from_secs(5));
    builder.connect(url).await.expect("a store")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_process() {
    nothing_old_is_found(Store::memory(), Purge::Tag).await;
    nothing_old_is_found(Store::memory(), Purge::Uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_redis() {
    let _watched = watch();
    let url = servers::server_url();
    nothing_old_is_found(patient(&url).await, Purge::Tag).await;
    nothing_old_is_found(patient(&url).await, Purge::Uri).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_cluster() {
    let _watched = watch();
    let url = servers::cluster_url(servers::cluster());
    nothing_old_is_found(patient(&url).await, Purge::Tag).await;
    nothing_old_is_found(patient(&url).await, Purge::Uri).await;
}
