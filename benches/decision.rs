//! What one decision costs, next to governor's in process, and to a bare call of the same script on
//! Redis. `cargo bench --bench decision`.

mod harness;

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use governor::{DefaultKeyedRateLimiter, RateLimiter};
use harness::{bare_connection, compare, send};
use support::RedisServer;
use tower_redis_kit::Store;
use tower_redis_kit::rate_limit::{Limiter, Quota};

/// What a limit by GCRA runs.
const SCRIPT: &str = concat!(
    include_str!("../src/store/scripts/limit/clock.lua"),
    include_str!("../src/store/scripts/limit/gcra.lua"),
    "local look, write, number = gcra_look, gcra_write, 0\n",
    include_str!("../src/store/scripts/limit/one.lua"),
);

/// Never used up: each is worth 10 ms, of a burst of ten million.
const EACH: Duration = Duration::from_millis(10);
const BURST: u32 = 10_000_000;

fn quota() -> Quota {
    Quota::new(1, EACH).burst(BURST)
}

fn addresses() -> impl Fn() -> IpAddr + Clone + Send + 'static {
    let next = std::cell::Cell::new(0u32);
    move || {
        next.set((next.get() + 1) % 1_000);
        IpAddr::from([10, 0, (next.get() >> 8) as u8, next.get() as u8])
    }
}

#[tokio::main]
async fn main() {
    println!("| decision | yardstick, ns | the kit, ns | added, ns | ratio |");
    println!("|---|--:|--:|--:|--:|");

    let burst = NonZeroU32::new(BURST).unwrap();
    let rate = governor::Quota::with_period(EACH).unwrap().allow_burst(burst);
    let governor: Arc<DefaultKeyedRateLimiter<IpAddr>> = Arc::new(RateLimiter::keyed(rate));
    let address = addresses();
    let check = move || {
        let (governor, address) = (governor.clone(), address());
        async move { assert!(governor.check_key(&address).is_ok()) }
    };
    let takes = |limiter: Limiter| {
        let address = addresses();
        move || {
            let (limiter, address) = (limiter.clone(), address());
            async move { assert!(limiter.take(address).await.unwrap().is_allowed()) }
        }
    };
    let limiter = Store::memory().limiter("bench", quota());
    compare("in process, over governor", 1, check, takes(limiter)).await;

    let server = RedisServer::start();
    let builder = Store::builder().deadline(Duration::from_secs(5));
    let store = builder.connect(&server.url()).await.unwrap();
    let connection = bare_connection(&server).await;
    let load = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).clone();
    let sha: String = load.query_async(&mut connection.clone()).await.unwrap();
    let each = EACH.as_micros() as u64;
    let address = addresses();
    let call = move || {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&sha).arg(1).arg(format!("kit:limit:{{{}}}:bare", address()));
        send(&connection, call.arg(1).arg(each).arg(0).arg(each * u64::from(BURST)).arg(0))
    };
    let limiter = store.limiter("bench", quota());
    for tasks in [1, 64] {
        let name = format!("on Redis, {tasks} under way, over the bare script");
        compare(&name, tasks, call.clone(), takes(limiter.clone())).await;
    }
}
