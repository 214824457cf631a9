use std::future::poll_fn;
use std::time::Duration;

use bytes::Bytes;

use crate::Store;
use crate::store::Delivery;
use crate::store::channels::Listener;
use crate::store::verbs::Publish;

async fn listen(store: &Store, channel: &str) -> Listener {
    store.listen(channel, 1_000).await.unwrap()
}

async fn publish(store: &Store, channel: &str, message: impl Into<String>) {
    let message = Bytes::from(message.into());
    store.ask(Publish { channel: channel.into(), message }).await.unwrap();
}

/// The next delivery, which has to come; `None` is the end.
async fn next(listener: &Listener) -> Option<Delivery> {
    let next = poll_fn(|cx| listener.poll_next(cx));
    tokio::time::timeout(Duration::from_secs(10), next).await.expect("something is delivered")
}

fn message(text: impl Into<String>) -> Option<Delivery> {
    Some(Delivery::Message(Bytes::from(text.into())))
}

pub(super) async fn a_message_reaches_all_who_listen_to_its_channel(store: Store) {
    let mut listeners = Vec::new();
    for channel in ["a", "b", "a"] {
        listeners.push(listen(&store, channel).await);
    }
    let clone = store.clone();
    publish(&clone, "a", "to a").await;
    publish(&clone, "b", "to b\0\r\n\u{fc}").await;
    publish(&clone, "nobody's", "").await;
    publish(&clone, "a", "").await;
    for listener in [&listeners[0], &listeners[2]] {
        assert_eq!(next(listener).await, message("to a"));
        assert_eq!(next(listener).await, message(""));
    }
    assert_eq!(next(&listeners[1]).await, message("to b\0\r\n\u{fc}"));
}

pub(super) async fn messages_of_one_publisher_arrive_in_order(store: Store) {
    let listener = listen(&store, "a").await;
    for number in 0..500 {
        publish(&store, "a", number.to_string()).await;
    }
    for number in 0..500 {
        assert_eq!(next(&listener).await, message(number.to_string()));
    }
}

pub(super) async fn what_was_published_before_is_not_heard(store: Store) {
    publish(&store, "a", "before").await;
    let first = listen(&store, "a").await;
    publish(&store, "a", "between").await;
    let second = listen(&store, "a").await;
    publish(&store, "a", "after").await;
    // What was on its way may meet who came after it was sent: on a cluster for a while, and on one
    // server where both listen on one connection.
    let after = async |listener: &Listener, late: &[&str], then: &str| {
        let mut heard = next(listener).await;
        for sent in late {
            if heard == message(*sent) {
                heard = next(listener).await;
            }
        }
        assert_eq!(heard, message(then));
    };
    after(&first, &["before"], "between").await;
    after(&first, &[], "after").await;
    after(&second, &["before", "between"], "after").await;
}

pub(super) async fn who_is_slow_gets_a_gap_and_holds_up_nobody(store: Store) {
    let slow = store.listen("a", 4).await.unwrap();
    let quick = listen(&store, "a").await;
    for number in 1..=10 {
        publish(&store, "a", number.to_string()).await;
        assert_eq!(next(&quick).await, message(number.to_string()));
    }
    assert_eq!(next(&slow).await, Some(Delivery::Gap));
    for text in ["9", "10"] {
        assert_eq!(next(&slow).await, message(text));
    }
    publish(&store, "a", "11").await;
    assert_eq!(next(&slow).await, message("11"));
}

pub(super) async fn a_channel_can_be_left_and_listened_to_again(store: Store) {
    let other = listen(&store, "b").await;
    for round in 0..100 {
        let listener = listen(&store, "a").await;
        publish(&store, "a", round.to_string()).await;
        assert_eq!(next(&listener).await, message(round.to_string()));
        if round % 2 == 0 {
            let again = listen(&store, "a").await;
            drop(listener);
            publish(&store, "a", "again").await;
            assert_eq!(next(&again).await, message("again"));
        }
    }
    publish(&store, "b", "other").await;
    assert_eq!(next(&other).await, message("other"));
}

pub(super) async fn listening_ends_with_the_store(store: Store) {
    let listener = listen(&store, "a").await;
    publish(&store, "a", "last").await;
    assert_eq!(next(&listener).await, message("last"));
    drop(store);
    assert_eq!(next(&listener).await, None);
    assert_eq!(next(&listener).await, None);
}

pub(super) async fn listening_ends_when_it_is_ended(store: Store) {
    let listener = listen(&store, "a").await;
    store.channels().end();
    assert_eq!(next(&listener).await, None);
    assert_eq!(next(&listen(&store, "a").await).await, None);
    publish(&store, "a", "to nobody").await;
}
