use std::convert::Infallible;
use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Response};
use http_body::{Body, Frame};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::{Sleep, sleep};

use super::Message;
use super::subscription::read;
use crate::store::Delivery;
use crate::store::channels::Listener;

/// A [`Subscription`](super::Subscription) as server-sent events, for a browser's `EventSource`:
/// made by [`Subscription::into_sse`](super::Subscription::into_sse).
///
/// A response in axum; anywhere else, [`response`](Sse::response), or the body that it is.
///
/// ```
/// use axum::{Router, routing::get};
/// use http_body_util::BodyExt;
/// use serde::{Deserialize, Serialize};
/// use tower::ServiceExt;
/// use tower_redis_kit::toolbox::Sse;
/// use tower_redis_kit::{Store, StoreError, StoreLayer};
///
/// /// What a browser may see: other fields of a message are not passed on.
/// #[derive(Serialize, Deserialize)]
/// struct Order { id: u32 }
///
/// async fn events(store: Store) -> Result<Sse, StoreError> {
///     Ok(store.subscribe::<Order>("orders").await?.into_sse())
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let store = Store::memory();
/// let app = Router::new().route("/events", get(events)).layer(StoreLayer::new(store.clone()));
///
/// let request = http::Request::get("/events").body(axum::body::Body::empty())?;
/// let mut response = app.oneshot(request).await?;
/// assert_eq!(response.headers()["content-type"], "text/event-stream");
/// store.publish("orders", &serde_json::json!({ "id": 7, "margin": 0.3 })).await?;
/// let event = response.frame().await.unwrap()?.into_data().unwrap();
/// assert_eq!(event, "data: {\"id\":7}\n\n");
/// # Ok(()) }
/// ```
///
/// ```js
/// const orders = new EventSource("/events");
/// orders.onopen = read_all_orders;
/// orders.onmessage = event => show(JSON.parse(event.data));
/// orders.addEventListener("gap", read_all_orders);
/// ```
///
/// Each message is an event whose data is JSON, read as the subscription's type and written anew.
/// Where something may have been missed there is an event named `gap`. A browser reconnects by
/// itself and misses what was published in between, of which this side knows nothing: so read
/// again on `open`, too.
///
/// A client that reads slowly has a [buffer](super::Subscription::buffer) like any subscription,
/// and gets a `gap`. The body ends with the store: a server that shuts down gracefully calls
/// [`Store::end_subscriptions`](crate::Store::end_subscriptions), or it waits for every browser to
/// leave.
///
/// # Security
/// No byte of a message can end its event or begin another field. But whoever may ask for the
/// response gets every message of the channel: authorize the request, and give what only one
/// person may see a channel of its own.
#[must_use = "a body is sent in a response"]
pub struct Sse {
    listener: Listener,
    /// Makes an event of a delivery: which type a message has is known here alone.
    write: fn(Delivery, &mut bool) -> Bytes,
    has_warned: bool,
    heartbeat: Duration,
    /// Until the next heartbeat, from the first moment at which there is nothing to send.
    idle: Option<Pin<Box<Sleep>>>,
}

/// A comment, which clients ignore.
const HEARTBEAT: &[u8] = b":\n\n";

const GAP: &[u8] = b"event: gap\ndata:\n\n";

impl Sse {
    pub(super) fn new<T: DeserializeOwned + Serialize>(listener: Listener) -> Sse {
        Sse {
            listener,
            write: write::<T>,
            has_warned: false,
            heartbeat: Duration::from_secs(15),
            idle: None,
        }
    }

    /// How long nothing is sent until a comment is, which tells proxies that the connection is
    /// alive, and this side when it is not. 15 s unless set.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use http_body_util::BodyExt;
    /// # use tower_redis_kit::Store;
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let store = Store::memory();
    /// let orders = store.subscribe::<u32>("orders").await?;
    /// let mut events = orders.into_sse().heartbeat(Duration::from_secs(5));
    /// assert_eq!(events.frame().await.unwrap()?.into_data().unwrap(), ":\n\n");
    /// # Ok(()) }
    /// ```
    ///
    /// # Panics
    /// When it is zero.
    pub fn heartbeat(mut self, heartbeat: Duration) -> Sse {
        assert!(!heartbeat.is_zero(), "a heartbeat without a pause is all there would be");
        self.heartbeat = heartbeat;
        self
    }

    /// A response with this body: `text/event-stream`, which nobody may store.
    ///
    /// ```
    /// # use tower_redis_kit::Store;
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), tower_redis_kit::StoreError> {
    /// # let store = Store::memory();
    /// let response = store.subscribe::<u32>("orders").await?.into_sse().response();
    /// assert_eq!(response.headers()["cache-control"], "no-store");
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn response(self) -> Response<Sse> {
        let mut response = Response::new(self);
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }
}

/// Ends with the store.
impl Body for Sse {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let sse = self.get_mut();
        let data = match sse.listener.poll_next(cx) {
            Poll::Ready(None) => return Poll::Ready(None),
            Poll::Ready(Some(delivery)) => (sse.write)(delivery, &mut sse.has_warned),
            Poll::Pending => {
                let idle = sse.idle.get_or_insert_with(|| Box::pin(sleep(sse.heartbeat)));
                ready!(idle.as_mut().poll(cx));
                Bytes::from_static(HEARTBEAT)
            }
        };
        sse.idle = None;
        Poll::Ready(Some(Ok(Frame::data(data))))
    }
}

fn write<T: DeserializeOwned + Serialize>(delivery: Delivery, has_warned: &mut bool) -> Bytes {
    let json = match read::<T>(delivery, has_warned) {
        Message::Value(value) => serde_json::to_vec(&value).ok(),
        Message::Gap => None,
    };
    // What cannot be written is missed as well.
    json.map_or(Bytes::from_static(GAP), |json| event(&json))
}

/// An event with this data. A field ends with CR LF, LF or CR (HTML, 9.2.5), so each line of the
/// data is a field of its own, and the client puts them together with LF.
///
/// `serde_json` escapes both; what a type writes as it is (a `RawValue`) may hold them.
fn event(data: &[u8]) -> Bytes {
    let mut event = Vec::with_capacity(data.len() + "data: \n\n".len());
    let mut rest = data;
    loop {
        let end = rest.iter().position(|byte| b"\r\n".contains(byte));
        let line = &rest[..end.unwrap_or(rest.len())];
        event.extend_from_slice(b"data: ");
        event.extend_from_slice(line);
        event.push(b'\n');
        let Some(end) = end else { break };
        let ends_with = if rest[end..].starts_with(b"\r\n") { 2 } else { 1 };
        rest = &rest[end + ends_with..];
    }
    event.push(b'\n');
    event.into()
}

impl fmt::Debug for Sse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sse").field("heartbeat", &self.heartbeat).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Reads a stream as HTML, 9.2.6 says: the events, each with its name and its data.
    fn parse(stream: &str) -> Vec<(String, String)> {
        let mut events = Vec::new();
        let (mut name, mut data) = (String::new(), String::new());
        let lines = stream.replace("\r\n", "\n").replace('\r', "\n");
        for line in lines.split('\n') {
            if line.is_empty() {
                if let Some(data) = data.strip_suffix('\n') {
                    events.push((name.clone(), data.to_owned()));
                }
                (name, data) = (String::new(), String::new());
                continue;
            }
            let (field, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut name),
                "data" => data.extend([value, "\n"]),
                _ => {}
            }
        }
        events
    }

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_gap_and_a_heartbeat_are_what_clients_take_them_for() {
        assert_eq!(parse(text(GAP)), [("gap".to_owned(), String::new())]);
        assert_eq!(parse(text(HEARTBEAT)), []);
    }

    #[test]
    fn a_value_that_brings_line_ends_along_is_one_event() {
        assert_eq!(event(b"{\n\r\"a\":\r\n1}"), "data: {\ndata: \ndata: \"a\":\ndata: 1}\n\n");
    }

    proptest! {
        #[test]
        fn no_byte_of_the_data_ends_its_event_or_begins_a_field(
            first in "([\r\n: ]|data|event|gap|\\PC){0,30}",
            second in "([\r\n: ]|data|event|gap|\\PC){0,30}",
        ) {
            let stream = [&event(first.as_bytes())[..], HEARTBEAT, &event(second.as_bytes())].concat();
            let normal = |text: &str| text.replace("\r\n", "\n").replace('\r', "\n");
            let expected = [(String::new(), normal(&first)), (String::new(), normal(&second))];
            prop_assert_eq!(parse(text(&stream)), expected);
        }
    }
}
