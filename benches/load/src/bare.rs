//! A handler that runs the limit's own script on a connection of the redis crate: what any limit by
//! that script costs at the least.

use axum::Router;
use axum::routing::get;
use http::{HeaderMap, StatusCode};
use redis::IntoConnectionInfo;
use redis::io::tcp::TcpSettings;

const SCRIPT: &str = concat!(
    include_str!("../../../src/store/scripts/limit/clock.lua"),
    include_str!("../../../src/store/scripts/limit/gcra.lua"),
    "local look, write, number = gcra_look, gcra_write, 0\n",
    include_str!("../../../src/store/scripts/limit/one.lua"),
);

pub(crate) async fn app() -> Router {
    let url = crate::redis_url();
    let info = url.as_str().into_connection_info().expect("a URL");
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = redis::Client::open(info).expect("a client");
    let mut connection = client.get_multiplexed_async_connection().await.expect("a connection");
    let load = redis::cmd("SCRIPT").arg("LOAD").arg(SCRIPT).clone();
    let sha: String = load.query_async(&mut connection).await.expect("the script loads");
    let quota = crate::quota();
    let each = quota.period().as_micros() as u64 / u64::from(quota.limit());
    let burst = each * u64::from(quota.burst_size());
    let handler = move |headers: HeaderMap| {
        let (mut connection, sha) = (connection.clone(), sha.clone());
        async move {
            let who = headers.get("x-forwarded-for").and_then(|who| who.to_str().ok());
            let key = format!("kit:limit:{{{}}}:load", who.unwrap_or_default());
            let mut call = redis::cmd("EVALSHA");
            call.arg(sha).arg(1).arg(key).arg(1).arg(each).arg(0).arg(burst).arg(0);
            let answer: Vec<u64> = call.query_async(&mut connection).await.expect("an answer");
            if answer.get(1) == Some(&1) {
                (StatusCode::OK, "ok")
            } else {
                (StatusCode::TOO_MANY_REQUESTS, "")
            }
        }
    };
    Router::new().route("/", get(handler))
}
