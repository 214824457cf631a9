//! What waits for one listener to a channel.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;

use super::StoreError;
use super::channels::Ear;

/// A bounded queue with one reader. A reader that is too slow loses what waits, and is told: nobody
/// else waits for it, and it holds no more memory than its bounds.
pub(crate) struct Mailbox {
    state: Mutex<State>,
}

/// What a listener gets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Delivery {
    Message(Bytes),
    /// Something may have been missed at this point.
    Gap,
}

struct State {
    waiting: VecDeque<Delivery>,
    messages: usize,
    /// The bytes of those messages, though several mailboxes share them.
    weight: usize,
    /// The most messages that wait.
    capacity: usize,
    standing: Standing,
    ended: bool,
    reader: Option<Waker>,
}

/// Whether messages arrive, as far as the listener knows.
enum Standing {
    /// Nobody has said so yet, and the listener waits for it.
    Opening,
    /// It was told so, or waits no more: that messages arrive is no news, but that they arrive
    /// again is a gap.
    Open,
    Refused(StoreError),
}

/// The most bytes that wait: of messages larger than this only one does.
const HEAVIEST: usize = 4 << 20;

impl Mailbox {
    pub(super) fn new(capacity: usize, is_open: bool) -> Mailbox {
        let standing = if is_open { Standing::Open } else { Standing::Opening };
        Mailbox {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                messages: 0,
                weight: 0,
                capacity,
                standing,
                ended: false,
                reader: None,
            }),
        }
    }

    /// Waits no more for being told that messages arrive. Fails if they are known not to.
    pub(super) fn wait_no_more(&self) -> Result<(), StoreError> {
        let state = &mut *self.lock();
        if let Standing::Refused(error) = &state.standing {
            return Err(error.clone());
        }
        state.standing = Standing::Open;
        Ok(())
    }

    /// Ready when it is known whether messages arrive.
    pub(super) fn poll_standing(&self, cx: &Context<'_>) -> Poll<()> {
        let mut state = self.lock();
        if matches!(state.standing, Standing::Opening) && !state.ended {
            return state.wake_later(cx);
        }
        Poll::Ready(())
    }

    /// What waits, then what arrives, then `None` after the end.
    pub(super) fn poll_take(&self, cx: &Context<'_>) -> Poll<Option<Delivery>> {
        let mut state = self.lock();
        match state.waiting.pop_front() {
            Some(delivery) => {
                if let Delivery::Message(message) = &delivery {
                    state.messages -= 1;
                    state.weight -= message.len();
                }
                Poll::Ready(Some(delivery))
            }
            None if state.ended => Poll::Ready(None),
            None => state.wake_later(cx),
        }
    }

    pub(super) fn set_capacity(&self, capacity: usize) {
        self.change(|state| {
            state.capacity = capacity;
            if state.messages > capacity {
                state.overflow();
            }
        });
    }

    /// Changes the state, and wakes the reader when the lock is free again.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.lock();
        change(&mut state);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ear for Mailbox {
    fn put(&self, message: Bytes) {
        self.change(|state| state.put(message));
    }

    fn open(&self) {
        self.change(|state| match state.standing {
            Standing::Open => state.mark_gap(),
            Standing::Opening | Standing::Refused(_) => state.standing = Standing::Open,
        });
    }

    /// An answer to a listener that waits for one.
    fn refuse(&self, error: &StoreError) {
        self.change(|state| {
            if let Standing::Opening = state.standing {
                state.standing = Standing::Refused(error.clone());
            }
        });
    }

    fn end(&self) {
        self.change(|state| state.ended = true);
    }
}

impl State {
    fn put(&mut self, message: Bytes) {
        let full = self.messages >= self.capacity || self.weight + message.len() > HEAVIEST;
        if full && self.messages > 0 {
            self.overflow();
        }
        self.messages += 1;
        self.weight += message.len();
        self.waiting.push_back(Delivery::Message(message));
    }

    /// All that waits is dropped, and not only the oldest: a reader that stays behind is then told
    /// of one gap for every full queue, and not before every message.
    fn overflow(&mut self) {
        self.waiting = VecDeque::new();
        (self.messages, self.weight) = (0, 0);
        self.mark_gap();
    }

    /// Two gaps with nothing in between are one.
    fn mark_gap(&mut self) {
        if self.waiting.back() != Some(&Delivery::Gap) {
            self.waiting.push_back(Delivery::Gap);
        }
    }

    fn wake_later<T>(&mut self, cx: &Context<'_>) -> Poll<T> {
        match &mut self.reader {
            Some(reader) => reader.clone_from(cx.waker()),
            none => *none = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// Never what waits.
impl fmt::Debug for Mailbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = self.lock();
        f.debug_struct("Mailbox")
            .field("messages", &state.messages)
            .field("weight", &state.weight)
            .field("ended", &state.ended)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &'static str) -> Delivery {
        Delivery::Message(Bytes::from_static(text.as_bytes()))
    }

    fn put(mailbox: &Mailbox, text: &'static str) {
        mailbox.put(Bytes::from_static(text.as_bytes()));
    }

    /// All that waits.
    fn take(mailbox: &Mailbox) -> Vec<Delivery> {
        let cx = Context::from_waker(Waker::noop());
        let take = || match mailbox.poll_take(&cx) {
            Poll::Ready(delivery) => delivery,
            Poll::Pending => None,
        };
        std::iter::from_fn(take).collect()
    }

    #[test]
    fn a_full_mailbox_starts_over_with_a_gap() {
        let mailbox = Mailbox::new(2, true);
        for text in ["a", "b", "c"] {
            put(&mailbox, text);
        }
        assert_eq!(take(&mailbox), [Delivery::Gap, message("c")]);
        for text in ["d", "e"] {
            put(&mailbox, text);
        }
        assert_eq!(take(&mailbox), [message("d"), message("e")]);
    }

    #[test]
    fn large_messages_are_bounded_by_their_bytes() {
        let mailbox = Mailbox::new(256, true);
        let large = Bytes::from(vec![0; HEAVIEST]);
        mailbox.put(large.clone());
        mailbox.put(large.clone());
        assert_eq!(take(&mailbox), [Delivery::Gap, Delivery::Message(large.clone())]);
        let larger = Bytes::from(vec![0; HEAVIEST + 1]);
        mailbox.put(larger.clone());
        assert_eq!(take(&mailbox), [Delivery::Message(larger.clone())]);
        for _ in 0..100 {
            mailbox.put(larger.clone());
        }
        assert_eq!(take(&mailbox), [Delivery::Gap, Delivery::Message(larger)]);
        assert_eq!(mailbox.lock().weight, 0);
    }

    #[test]
    fn being_open_again_is_a_gap_and_being_open_at_last_as_well() {
        let mailbox = Mailbox::new(2, false);
        mailbox.open();
        assert_eq!(take(&mailbox), []);
        put(&mailbox, "a");
        mailbox.open();
        mailbox.open();
        put(&mailbox, "b");
        assert_eq!(take(&mailbox), [message("a"), Delivery::Gap, message("b")]);

        let late = Mailbox::new(2, false);
        late.wait_no_more().unwrap();
        late.open();
        assert_eq!(take(&late), [Delivery::Gap]);
    }

    #[test]
    fn a_refusal_is_told_to_who_waits_for_an_answer_only() {
        let error = StoreError::reply("NOPERM");
        let waits = Mailbox::new(2, false);
        waits.refuse(&error);
        assert_eq!(waits.wait_no_more(), Err(error.clone()));
        let open = Mailbox::new(2, true);
        open.refuse(&error);
        assert_eq!(open.wait_no_more(), Ok(()));
    }

    #[test]
    fn what_waits_comes_before_the_end() {
        let mailbox = Mailbox::new(2, true);
        put(&mailbox, "a");
        mailbox.end();
        assert_eq!(take(&mailbox), [message("a")]);
        let cx = Context::from_waker(Waker::noop());
        assert_eq!(mailbox.poll_take(&cx), Poll::Ready(None));
    }

    #[test]
    fn a_smaller_capacity_holds_at_once() {
        let mailbox = Mailbox::new(9, true);
        for text in ["a", "b", "c"] {
            put(&mailbox, text);
        }
        mailbox.set_capacity(3);
        mailbox.set_capacity(2);
        assert_eq!(take(&mailbox), [Delivery::Gap]);
    }
}
