//! Slices that alternate: the machine's speed changes within a minute, and cancels out.

use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{Cmd, IntoConnectionInfo};
use support::RedisServer;

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(40);
const IN_A_ROW: usize = 16;

/// Runs `once` over and over for a slice, in as many tasks; nanoseconds each. Each call is made
/// when the one before it is done, as a connection's task makes them.
async fn slice<F, Fut>(tasks: usize, once: &F) -> f64
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = ()> + Send + 'static,
{
    let (start, mut done) = (Instant::now(), 0);
    while start.elapsed() < SLICE {
        if tasks == 1 {
            repeat(once.clone()).await;
        } else {
            let mut under_way = tokio::task::JoinSet::new();
            for _ in 0..tasks {
                under_way.spawn(repeat(once.clone()));
            }
            under_way.join_all().await;
        }
        done += tasks * IN_A_ROW;
    }
    start.elapsed().as_nanos() as f64 / done as f64
}

async fn repeat<F, Fut>(once: F)
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()>,
{
    for _ in 0..IN_A_ROW {
        once().await;
    }
}

/// A case's median cost, and the median of its ratios to the yardstick's slices next to it.
pub(crate) async fn compare<A, FA, B, FB>(name: &str, tasks: usize, yardstick: A, case: B)
where
    A: Fn() -> FA + Clone + Send + 'static,
    FA: Future<Output = ()> + Send + 'static,
    B: Fn() -> FB + Clone + Send + 'static,
    FB: Future<Output = ()> + Send + 'static,
{
    let (mut bases, mut costs, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let before = slice(tasks, &yardstick).await;
        let cost = slice(tasks, &case).await;
        let base = (before + slice(tasks, &yardstick).await) / 2.0;
        bases.push(base);
        costs.push(cost);
        ratios.push(cost / base);
    }
    let (base, cost, ratio) = (median(bases), median(costs), median(ratios));
    println!("| {name} | {base:.0} | {cost:.0} | {:.0} | {ratio:.2} |", cost - base);
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

pub(crate) async fn bare_connection(server: &RedisServer) -> MultiplexedConnection {
    let info = server.url().into_connection_info().unwrap();
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = redis::Client::open(info).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

pub(crate) fn send(
    connection: &MultiplexedConnection,
    cmd: &Cmd,
) -> impl Future<Output = ()> + Send + use<> {
    let (mut connection, cmd) = (connection.clone(), cmd.clone());
    async move {
        connection.req_packed_command(&cmd).await.map(drop).unwrap();
    }
}
