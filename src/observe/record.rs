//! To the recorder that the application installed. Without one, nowhere.

use std::sync::Arc;

use super::event::CALLS;
use crate::stopwatch::Stopwatch;

const CALL_TIME: &str = "tower_redis_kit_store_call_seconds";

/// What a label says.
pub(super) type Label = metrics::SharedString;

/// A word of the kit.
pub(super) fn word(word: &'static str) -> Label {
    Label::const_str(word)
}

/// A name that the application chose.
pub(super) fn name(name: &Arc<str>) -> Label {
    Label::from_shared(name.clone())
}

pub(super) fn count<const N: usize>(name: &'static str, labels: [(&'static str, Label); N]) {
    metrics::counter!(name, pairs(labels)).increment(1);
}

pub(super) fn set<const N: usize>(
    name: &'static str,
    labels: [(&'static str, Label); N],
    value: f64,
) {
    metrics::gauge!(name, pairs(labels)).set(value);
}

fn pairs<const N: usize>(labels: [(&'static str, Label); N]) -> Vec<metrics::Label> {
    labels.map(|(key, value)| metrics::Label::new(key, value)).into()
}

/// A call on its way over the network. One that nobody waits for to the end is `abandoned`.
#[derive(Debug)]
pub(crate) struct Call {
    verb: &'static str,
    outcome: &'static str,
    began: Stopwatch,
}

impl Call {
    pub(crate) fn begin(verb: &'static str) -> Call {
        Call { verb, outcome: "abandoned", began: Stopwatch::start() }
    }

    pub(crate) fn end(mut self, outcome: &'static str) {
        self.outcome = outcome;
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        count(CALLS, [("verb", word(self.verb)), ("outcome", word(self.outcome))]);
        let seconds = self.began.elapsed().as_secs_f64();
        metrics::histogram!(CALL_TIME, pairs([("verb", word(self.verb))])).record(seconds);
    }
}
