//! Server-sent events over real sockets, read byte by byte as a browser gets them.

mod common;

use std::convert::Infallible;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::{Served, eventually, on_every_store};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tower_redis_kit::toolbox::{Message, Sse};
use tower_redis_kit::{Store, StoreError, StoreLayer};

on_every_store! {
    events_arrive_one_by_one,
    a_plain_hyper_service_answers_with_the_same,
    no_text_of_a_user_forges_an_event,
    a_client_that_leaves_is_unsubscribed,
    a_client_that_reads_slowly_gets_a_gap,
    a_graceful_shutdown_ends_the_streams,
}

#[derive(Serialize, Deserialize)]
struct Order {
    id: u32,
    text: String,
}

async fn publish(store: &Store, id: u32, text: &str) {
    let order = Order { id, text: text.to_owned() };
    store.publish("orders", &order).await.expect("published");
}

async fn listen(store: Store) -> Result<Sse, StoreError> {
    let orders = store.subscribe::<Order>("orders").await?;
    Ok(orders.into_sse().heartbeat(Duration::from_millis(300)))
}

fn app(store: &Store) -> Router {
    Router::new().route("/orders", get(listen)).layer(StoreLayer::new(store.clone()))
}

async fn serve(app: Router) -> Served {
    Served::by(|listener| async move { axum::serve(listener, app).await.expect("served") }).await
}

async fn serve_by_hyper(store: Store) -> Served {
    Served::by(|listener| async move {
        loop {
            let (socket, _) = listener.accept().await.expect("a connection");
            let store = store.clone();
            let answer = service_fn(move |_| {
                let store = store.clone();
                async move {
                    let orders = listen(store).await.expect("a subscription");
                    Ok::<_, Infallible>(orders.response())
                }
            });
            let serve = hyper::server::conn::http1::Builder::new();
            let _ = serve.serve_connection(TokioIo::new(socket), answer).await;
        }
    })
    .await
}

/// An HTTP client that knows of nothing but chunks.
struct Client {
    socket: TcpStream,
    head: String,
    /// Of the body, what was not read yet.
    body: String,
}

impl Client {
    async fn get(served: &Served) -> Client {
        let mut socket = TcpStream::connect(served.addr).await.expect("a connection");
        let request = "GET /orders HTTP/1.1\r\nHost: localhost\r\n\r\n";
        socket.write_all(request.as_bytes()).await.expect("sent");
        let mut client = Client { socket, head: String::new(), body: String::new() };
        while !client.head.ends_with("\r\n\r\n") {
            let byte = client.byte().await;
            client.head.push(char::from(byte));
        }
        client.head.make_ascii_lowercase();
        client
    }

    async fn byte(&mut self) -> u8 {
        let byte = tokio::time::timeout(Duration::from_secs(10), self.socket.read_u8());
        byte.await.expect("something arrives").expect("the connection is open")
    }

    /// Whether there was one more.
    async fn chunk(&mut self) -> bool {
        let mut length = String::new();
        while !length.ends_with("\r\n") {
            length.push(char::from(self.byte().await));
        }
        let length = usize::from_str_radix(length.trim_end(), 16).expect("a length");
        let mut chunk = vec![0; length + 2];
        let read =
            tokio::time::timeout(Duration::from_secs(10), self.socket.read_exact(&mut chunk));
        read.await.expect("it arrives").expect("a whole chunk");
        chunk.truncate(length);
        self.body.push_str(std::str::from_utf8(&chunk).expect("UTF-8"));
        length > 0
    }

    /// The next event or comment, up to its empty line; `None` is the end.
    async fn block(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.body.find("\n\n") {
                let rest = self.body.split_off(end + 2);
                return Some(std::mem::replace(&mut self.body, rest));
            }
            if !self.chunk().await {
                return None;
            }
        }
    }

    async fn event(&mut self) -> Option<String> {
        loop {
            match self.block().await {
                Some(comment) if comment.starts_with(':') => {}
                other => return other,
            }
        }
    }
}

async fn assert_events(store: &Store, served: &Served) {
    let mut client = Client::get(served).await;
    assert!(client.head.starts_with("http/1.1 200 ok\r\n"), "{}", client.head);
    for field in ["content-type: text/event-stream\r\n", "cache-control: no-store\r\n"] {
        assert!(client.head.contains(field), "{}", client.head);
    }
    for id in 1..=3 {
        publish(store, id, "a").await;
        let event = format!("data: {{\"id\":{id},\"text\":\"a\"}}\n\n");
        assert_eq!(client.event().await, Some(event));
    }
    store.publish("orders", "no order").await.expect("published");
    publish(store, 4, "b").await;
    assert_eq!(client.event().await.as_deref(), Some("event: gap\ndata:\n\n"));
    assert!(client.event().await.is_some_and(|event| event.starts_with("data: {\"id\":4")));
    assert_eq!(client.block().await.as_deref(), Some(":\n\n"), "a heartbeat");
}

async fn events_arrive_one_by_one(store: Store) {
    let served = serve(app(&store)).await;
    assert_events(&store, &served).await;
}

async fn a_plain_hyper_service_answers_with_the_same(store: Store) {
    let served = serve_by_hyper(store.clone()).await;
    assert_events(&store, &served).await;
}

async fn no_text_of_a_user_forges_an_event(store: Store) {
    let served = serve(app(&store)).await;
    let mut client = Client::get(&served).await;
    let texts =
        ["\n\nevent: gap\ndata: x\n\n", "\r\rdata: 1\r\r", "\r\n\r\n:\r\n", "\u{2028}\0\u{feff}"];
    for text in texts {
        publish(&store, 7, text).await;
        let event = client.event().await.expect("an event");
        let data = event.strip_prefix("data: ").and_then(|data| data.strip_suffix("\n\n"));
        let data = data.expect("one field");
        assert!(!data.contains(['\r', '\n']), "{data:?}");
        let order: Order = serde_json::from_str(data).expect("JSON");
        assert_eq!((order.id, order.text.as_str()), (7, text));
    }
}

async fn a_client_that_leaves_is_unsubscribed(store: Store) {
    let served = serve(app(&store)).await;
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(Client::get(&served).await);
    }
    assert!(format!("{store:?}").contains("listeners: 10"), "{store:?}");
    clients.truncate(1);
    eventually("the others are gone", async || format!("{store:?}").contains("listeners: 1,"))
        .await;
    publish(&store, 7, "a").await;
    assert!(clients[0].event().await.is_some());
}

async fn a_client_that_reads_slowly_gets_a_gap(store: Store) {
    let served = serve(app(&store)).await;
    let (mut slow, mut quick) = (Client::get(&served).await, Client::get(&served).await);
    let text = "x".repeat(32 << 10);
    // More than what the sockets hold: 20 MiB.
    for id in 1..=640 {
        publish(&store, id, &text).await;
        assert!(quick.event().await.is_some_and(|event| event.starts_with("data: ")));
    }
    let (mut gaps, mut values, mut last) = (0, 0, 0);
    while last < 640 {
        let event = slow.event().await.expect("the store is there");
        match event.strip_prefix("data: ") {
            Some(data) => {
                let order: Order = serde_json::from_str(data).expect("JSON");
                assert!(order.id == last + 1 || (order.id > last && gaps > 0));
                last = order.id;
                values += 1;
            }
            None => gaps += 1,
        }
    }
    assert!((1..=8).contains(&gaps) && values < 640, "{gaps} gaps, {values} values");
}

async fn a_graceful_shutdown_ends_the_streams(store: Store) {
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let (app, ending) = (app(&store), store.clone());
    let served = Served::by(|listener| async move {
        let shutdown = async move {
            let _ = stopped.await;
            ending.end_subscriptions();
        };
        axum::serve(listener, app).with_graceful_shutdown(shutdown).await.expect("served");
    })
    .await;
    let mut client = Client::get(&served).await;
    let mut witness = store.subscribe::<Order>("orders").await.expect("a subscription");
    publish(&store, 7, "the last").await;
    // It has arrived in this process.
    let arrived = async { while !matches!(witness.next().await, Some(Message::Value(_))) {} };
    tokio::time::timeout(Duration::from_secs(10), arrived).await.expect("a message");
    stop.send(()).expect("it runs");
    assert!(client.event().await.is_some_and(|event| event.contains("the last")));
    assert_eq!(client.event().await, None, "a whole response");
    eventually("nobody listens there", async || TcpStream::connect(served.addr).await.is_err())
        .await;
}
