//! Slices that alternate: the machine's speed changes within a minute, and cancels out.

use std::time::{Duration, Instant};

use redis::aio::{ConnectionLike, MultiplexedConnection};
use redis::io::tcp::TcpSettings;
use redis::{Cmd, IntoConnectionInfo};
use support::RedisServer;

const ROUNDS: usize = 15;
const SLICE: Duration = Duration::from_millis(40);

/// Runs `once` over and over for a slice, `tasks` at a time; nanoseconds each.
async fn slice<F, Fut>(tasks: usize, once: &F) -> f64
where
    F: Fn() -> Fut,
    Fut: Future<Output = ()> + Send + 'static,
{
    let batch = if tasks == 1 { 1 } else { tasks };
    let (start, mut done) = (Instant::now(), 0u32);
    while start.elapsed() < SLICE {
        if batch == 1 {
            for _ in 0..16 {
                once().await;
            }
            done += 16;
        } else {
            let mut under_way = tokio::task::JoinSet::new();
            for _ in 0..batch {
                let work: Vec<_> = (0..8).map(|_| once()).collect();
                under_way.spawn(async move {
                    for work in work {
                        work.await;
                    }
                });
            }
            while under_way.join_next().await.is_some() {}
            done += batch as u32 * 8;
        }
    }
    start.elapsed().as_nanos() as f64 / f64::from(done)
}

/// A case's median cost, and the median of its ratios to the yardstick's slices next to it.
pub(crate) async fn compare<A, FA, B, FB>(name: &str, tasks: usize, yardstick: A, case: B)
where
    A: Fn() -> FA,
    FA: Future<Output = ()> + Send + 'static,
    B: Fn() -> FB,
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
