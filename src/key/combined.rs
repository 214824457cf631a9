use std::fmt;
use std::future::ready;

use http::request::Parts;

use super::{Key, KeyError, KeyExtractor, KeyFuture};

type Answer = Result<Option<Key>, KeyError>;

/// What one part of several says.
enum Part {
    Known(Answer),
    Later(KeyFuture),
}

impl Part {
    fn new(later: Option<KeyFuture>, key: impl FnOnce() -> Answer) -> Part {
        later.map_or_else(|| Part::Known(key()), Part::Later)
    }

    async fn answer(self) -> Answer {
        match self {
            Part::Known(answer) => answer,
            Part::Later(future) => future.await,
        }
    }
}

/// The key of all parts. What is known comes first: if it settles the matter, nothing is waited for.
fn all<const N: usize>(parts: [Part; N]) -> KeyFuture {
    for part in &parts {
        if let Part::Known(answer @ (Err(_) | Ok(None))) = part {
            return Box::pin(ready(answer.clone()));
        }
    }
    Box::pin(async move {
        let mut keys = Vec::with_capacity(N);
        for part in parts {
            match part.answer().await? {
                Some(key) => keys.push(key),
                None => return Ok(None),
            }
        }
        Ok(Some(Key::all(keys)))
    })
}

macro_rules! tuple {
    ($($part:ident)+) => {
        /// A key of all parts, by [`Key::all`]. Where one of them is none, there is none.
        impl<$($part: KeyExtractor),+> KeyExtractor for ($($part,)+) {
            fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
                #[expect(non_snake_case, reason = "a value is called as its type")]
                let ($($part,)+) = self;
                let keys = [$(match $part.key(head)? {
                    Some(key) => key,
                    None => return Ok(None),
                }),+];
                Ok(Some(Key::all(keys)))
            }

            fn later(&self, head: &Parts) -> Option<KeyFuture> {
                #[expect(non_snake_case, reason = "a value is called as its type")]
                let ($($part,)+) = self;
                let later = [$($part.later(head)),+];
                if later.iter().all(Option::is_none) {
                    return None;
                }
                let mut later = later.into_iter();
                let parts = [$(Part::new(later.next().flatten(), || $part.key(head))),+];
                Some(all(parts))
            }
        }
    };
}

tuple!(A B);
tuple!(A B C);

/// What [`KeyExtractor::or`] makes of two.
#[derive(Clone)]
pub struct Or<A, B> {
    first: A,
    second: B,
}

impl<A, B> Or<A, B> {
    pub(super) fn new(first: A, second: B) -> Or<A, B> {
        Or { first, second }
    }
}

impl<A: KeyExtractor, B: KeyExtractor> KeyExtractor for Or<A, B> {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        match self.first.key(head)? {
            Some(key) => Ok(Some(key)),
            None => self.second.key(head),
        }
    }

    fn later(&self, head: &Parts) -> Option<KeyFuture> {
        let Some(first) = self.first.later(head) else {
            let second = self.second.later(head)?;
            return match self.first.key(head) {
                Ok(None) => Some(second),
                known => Some(Box::pin(ready(known))),
            };
        };
        // Asked now, as there is no head later on, and waited for only if it comes to that.
        let second = Part::new(self.second.later(head), || self.second.key(head));
        Some(Box::pin(async move {
            match first.await? {
                Some(key) => Ok(Some(key)),
                None => second.answer().await,
            }
        }))
    }
}

/// Closures have no `Debug`.
impl<A, B> fmt::Debug for Or<A, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Or").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use http::Request;
    use proptest::prelude::*;

    use super::super::MissingPeer;
    use super::*;

    /// Gives this answer, at once or later, and counts how often it was waited for.
    #[derive(Clone, Debug)]
    struct Says {
        answer: Answer,
        later: bool,
        waited: Arc<AtomicUsize>,
    }

    impl Says {
        fn new((answer, later): (Answer, bool)) -> Says {
            Says { answer, later, waited: Arc::default() }
        }
    }

    impl KeyExtractor for Says {
        fn key(&self, _: &Parts) -> Answer {
            assert!(!self.later, "`later` was to be asked");
            self.answer.clone()
        }

        fn later(&self, _: &Parts) -> Option<KeyFuture> {
            let (answer, waited) = (self.answer.clone(), self.waited.clone());
            self.later.then(|| -> KeyFuture {
                Box::pin(async move {
                    waited.fetch_add(1, Ordering::SeqCst);
                    answer
                })
            })
        }
    }

    /// As a layer asks.
    fn ask(extractor: &impl KeyExtractor) -> Answer {
        let head = Request::new(()).into_parts().0;
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        match extractor.later(&head) {
            Some(future) => runtime.block_on(future),
            None => extractor.key(&head),
        }
    }

    fn missing() -> Answer {
        Err(KeyError::MissingPeer(MissingPeer))
    }

    fn says() -> impl Strategy<Value = (Answer, bool)> {
        let key = "[ab]".prop_map(|name| Ok(Some(Key::named(name))));
        (prop_oneof![4 => key, 1 => Just(Ok(None)), 1 => Just(missing())], any::<bool>())
    }

    proptest! {
        #[test]
        fn a_tuple_is_a_key_of_all_its_parts(parts in prop::array::uniform3(says())) {
            let [a, b, c] = parts.clone().map(Says::new);
            let answer = ask(&(a, b, c));
            let keys: Vec<_> =
                parts.iter().filter_map(|(answer, _)| answer.clone().ok().flatten()).collect();
            if keys.len() == 3 {
                prop_assert_eq!(answer, Ok(Some(Key::all(keys))));
            } else {
                prop_assert!(parts.iter().any(|(part, _)| *part == answer), "{:?}", answer);
            }
        }

        #[test]
        fn or_is_the_first_unless_that_is_none(one in says(), two in says()) {
            let answer = ask(&Says::new(one.clone()).or(Says::new(two.clone())));
            prop_assert_eq!(answer, if one.0 == Ok(None) { two.0 } else { one.0 });
        }
    }

    #[test]
    fn nothing_is_waited_for_that_cannot_matter() {
        let later = Says::new((Ok(Some(Key::named("a"))), true));
        for known in [Ok(None), missing()] {
            let known = Says::new((known, false));
            assert_eq!(ask(&(later.clone(), known.clone())), known.answer);
        }
        let known = Says::new((Ok(Some(Key::named("b"))), false));
        assert_eq!(ask(&known.clone().or(later.clone())), known.answer);
        assert_eq!(ask(&later.clone().or(later.clone())), later.answer);
        assert_eq!(later.waited.load(Ordering::SeqCst), 1, "the first of the last two");
    }
}
