//! What a command costs through the supervised handle, next to the same command on the redis crate's
//! bare multiplexed connection.
//!
//! `cargo bench --bench handle`.

mod harness;

use std::time::Duration;

use harness::{bare_connection, compare, send};
use support::RedisServer;
use tower_redis_kit::{Store, redis};

async fn commands(tasks: usize) {
    let server = RedisServer::start();
    let builder = Store::builder().deadline(Duration::from_secs(5));
    let store = builder.connect(&server.url()).await.unwrap();
    let connection = bare_connection(&server).await;
    println!("\n## {tasks} under way\n");
    println!("| command | bare, ns | through the handle, ns | added, ns | ratio |");
    println!("|---|--:|--:|--:|--:|");
    for bytes in [16, 1024] {
        let key = format!("kit:bench:{bytes}");
        server.command(&["SET", &key, &"x".repeat(bytes)]);
        let mut get = redis::cmd("GET");
        get.arg(&key);
        let bare = {
            let (connection, get) = (connection.clone(), get.clone());
            move || send(&connection, &get)
        };
        let store = store.clone();
        let raw = move || {
            let (store, get) = (store.clone(), get.clone());
            async move {
                let _: redis::Value = store.raw(get).await.unwrap();
            }
        };
        compare(&format!("GET, {bytes} bytes"), tasks, bare, raw).await;
    }
}

fn main() {
    let one = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("# One thread");
    one.block_on(async {
        commands(1).await;
        commands(64).await;
    });
    println!("\n# Two threads");
    let two = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let work = async {
        commands(64).await;
    };
    let two = two.unwrap();
    two.block_on(two.spawn(work)).unwrap();
}
