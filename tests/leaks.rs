//! What a day brings in minutes: connections that are closed, killed and lost, servers that go and
//! come, stores that are made and dropped. Afterwards there are as many tasks, threads, open files
//! and clients as before, and no more memory.

#![expect(clippy::disallowed_methods, reason = "what is tested is how much time passes")]
#![cfg(target_os = "linux")]

mod common;

use std::fs;
use std::time::{Duration, Instant};

use common::{store_on, within};
use support::{Proxy, RedisServer};
use tokio::runtime::Handle;
use tokio::sync::Mutex;
use tower_redis_kit::Store;

/// What this process has that can leak.
#[derive(Clone, Copy, Debug)]
struct Holdings {
    tasks: usize,
    files: usize,
    threads: usize,
    memory: u64,
}

impl Holdings {
    fn now() -> Holdings {
        let status = fs::read_to_string("/proc/self/status").expect("Linux has it");
        let number = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect(name);
            line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number")
        };
        Holdings {
            tasks: Handle::current().metrics().num_alive_tasks(),
            files: fs::read_dir("/proc/self/fd").expect("Linux has it").count(),
            threads: number("Threads:") as usize,
            memory: number("VmRSS:") * 1024,
        }
    }
}

/// How often each thing happens.
struct Day {
    kills: u32,
    restarts: u32,
    stores: u32,
    idle: Duration,
}

/// The tests measure the whole process.
static ALONE: Mutex<()> = Mutex::const_new(());

fn clients(server: &RedisServer) -> usize {
    server.command(&["CLIENT", "LIST"]).lines().count()
}

async fn works(store: &Store) -> bool {
    store.values("v").set("a", "b", Duration::from_secs(60)).await.is_ok()
}

async fn until_it_works(store: &Store) {
    within(Duration::from_secs(20), "service is back", async || works(store).await).await;
}

/// Several callers at once, so that they find out about a loss together.
async fn many_calls(store: &Store) {
    let call = || works(store);
    tokio::join!(call(), call(), call(), call());
}

async fn lose_connections(server: &mut RedisServer, store: &Store, day: &Day) {
    for round in 0..day.kills {
        if round % 50 == 0 {
            println!("connections killed: {round} of {}", day.kills);
        }
        server.kill_clients();
        many_calls(store).await;
        until_it_works(store).await;
    }
    for round in 0..day.restarts {
        println!("restarts: {round} of {}", day.restarts);
        server.start_again();
        many_calls(store).await;
        until_it_works(store).await;
    }
}

/// A server that closes what is idle: service goes on.
async fn be_idle(server: &RedisServer, store: &Store, day: &Day) {
    server.command(&["CONFIG", "SET", "timeout", "1"]);
    let until = Instant::now() + day.idle;
    while Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(2_500)).await;
        until_it_works(store).await;
    }
    server.command(&["CONFIG", "SET", "timeout", "0"]);
    until_it_works(store).await;
}

async fn make_and_drop_stores(server: &RedisServer, day: &Day) {
    let proxy = Proxy::to(server.addr());
    let away = "redis://127.0.0.1:1";
    for round in 0..day.stores {
        if round % 100 == 0 {
            println!("stores: {round} of {}", day.stores);
        }
        let store = match round % 4 {
            0 => Store::connect(&proxy.url()).await.expect("a store"),
            1 => Store::connect_lazy(&server.url()).expect("a URL"),
            2 => Store::connect_lazy(away).expect("a URL"),
            _ => store_on(server).await,
        };
        if round % 4 == 0 {
            // Lost as it is dropped.
            proxy.reset();
        }
        works(&store).await;
        // Without an answer, it is given back for as long as it may be taken.
        let lease = store.lock("a").ttl(Duration::from_secs(3)).try_acquire().await;
        // One after the other, as a handler would: a lease keeps its store.
        drop(lease);
        drop(store);
    }
}

async fn assert_a_day_leaves_nothing(day: Day) {
    let _alone = ALONE.lock().await;
    let mut server = RedisServer::start();
    let store = store_on(&server).await;
    // Once before, so that everything that is made once is there.
    let warm_up = Day { kills: 3, restarts: 1, stores: 8, idle: Duration::ZERO };
    lose_connections(&mut server, &store, &warm_up).await;
    make_and_drop_stores(&server, &warm_up).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (before, clients_before) = (Holdings::now(), clients(&server));

    lose_connections(&mut server, &store, &day).await;
    be_idle(&server, &store, &day).await;
    make_and_drop_stores(&server, &day).await;

    let is_as_before = async || {
        let now = Holdings::now();
        until_it_works(&store).await;
        now.tasks <= before.tasks
            && now.files <= before.files
            && now.threads <= before.threads
            && clients(&server) == clients_before
    };
    let end = Instant::now() + Duration::from_secs(15);
    while !is_as_before().await && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = Holdings::now();
    println!("before: {before:?}, after: {after:?}");
    assert_eq!(clients(&server), clients_before, "clients of the server");
    assert!(after.tasks <= before.tasks, "{before:?} {after:?}");
    assert!(after.files <= before.files, "{before:?} {after:?}");
    assert!(after.threads <= before.threads, "{before:?} {after:?}");
    // An allocator keeps some of what it was given back.
    assert!(after.memory <= before.memory + (16 << 20), "{before:?} {after:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_and_stores_that_come_and_go_leave_nothing() {
    let day = Day { kills: 30, restarts: 3, stores: 60, idle: Duration::from_secs(5) };
    assert_a_day_leaves_nothing(day).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/test --long"]
async fn a_whole_day_leaves_nothing() {
    let day = Day { kills: 200, restarts: 40, stores: 500, idle: Duration::from_secs(60) };
    assert_a_day_leaves_nothing(day).await;
}
