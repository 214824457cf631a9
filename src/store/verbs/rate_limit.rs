use std::ptr;
use std::sync::Arc;
use std::time::Duration;

use smallvec::SmallVec;

use super::Verb;
use crate::policy::limiting::{Act, Counting, Taken};
use crate::policy::{Timestamp, micros};
use crate::store::keys::{Fingerprint, Subject};

/// A limit, as far as the store is concerned.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) name: Box<str>,
    /// Of the name and the algorithm: limits that have these in common share their counts.
    pub(crate) id: Fingerprint,
    pub(crate) counting: Counting,
    /// It is counted and reported, but refuses nobody.
    pub(crate) is_shadow: bool,
    /// Whether a process remembers who is refused, and does not ask again until that is over.
    pub(crate) denies: bool,
    /// How much a process takes at once, to spend it by and by. Only where a decision is about one
    /// limit.
    pub(crate) batch: u32,
    /// Processes are told what is given back, or charged though it may not fit, whether or not this
    /// one remembers anything: so it is of whatever does such by itself, or is asked to.
    pub(crate) tells: bool,
}

/// What one limit is asked about one subject.
#[derive(Clone, Debug)]
pub(crate) struct Charge<R = Arc<Rule>> {
    pub(crate) rule: R,
    pub(crate) subject: Subject,
    pub(crate) cost: u32,
    /// Of a refund: what is given back, by [`Taken::mark`].
    pub(crate) charged: Option<Timestamp>,
}

/// Most decisions are about one limit, and then take no memory of their own.
pub(crate) type Charges<R = Arc<Rule>> = SmallVec<[Charge<R>; 1]>;

/// Does `act` to each of `charges`, atomically.
///
/// [`Act::Take`] charges all or none: none, when a limit that is no shadow refuses. A shadow is
/// charged if it would admit by itself. Of any number of concurrent callers just as many are
/// admitted as the quotas say. An absent, expired or malformed state counts as unused.
///
/// On a cluster, subjects may be on different nodes. Each node's limits are then charged by
/// themselves at the same time, and given back when another one's refuse.
///
/// Who asks lends the rules, as [`Lent`]: only what travels has rules of its own.
#[derive(Clone, Debug)]
pub(crate) struct Take<R = Arc<Rule>> {
    pub(crate) charges: Charges<R>,
    pub(crate) act: Act,
}

/// A rule that somebody else holds.
pub(crate) type Lent<'a> = &'a Arc<Rule>;

impl<R> Verb for Take<R> {
    const NAME: &'static str = "take";

    /// What came of each, in its place.
    type Answer = SmallVec<[Taken; 1]>;
}

/// Shuts a limit for a subject for a time, at most some 35 years; `None` opens it again, as it does
/// a lockout. Says whether it was shut before.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    pub(crate) rule: Arc<Rule>,
    pub(crate) subject: Subject,
    pub(crate) time: Option<Duration>,
}

impl Verb for Block {
    const NAME: &'static str = "block";

    type Answer = bool;
}

impl Block {
    /// How long it is shut, in microseconds.
    pub(crate) fn micros(&self) -> Option<u64> {
        // With the time of day, what a number of Lua's holds exactly.
        const LONGEST: u64 = 1 << 50;
        self.time.map(|time| micros(time).clamp(1, LONGEST))
    }
}

/// Forgets all that a limit has counted of a subject, and whether it was shut. Says whether there
/// was something.
#[derive(Clone, Debug)]
pub(crate) struct Reset {
    pub(crate) rule: Arc<Rule>,
    pub(crate) subject: Subject,
}

impl Verb for Reset {
    const NAME: &'static str = "reset";

    type Answer = bool;
}

/// # Panics
/// When the name is none: it is part of keys and response fields.
#[track_caller]
pub(crate) fn check_limit_name(name: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    assert!(
        (1..=64).contains(&name.len()) && name.bytes().all(plain),
        "a limit's name is 1 to 64 letters, digits or any of - _ . (got {name:?})"
    );
}

impl Rule {
    /// # Panics
    /// When the name is none.
    pub(crate) fn new(name: &str, counting: Counting, is_shadow: bool) -> Rule {
        check_limit_name(name);
        let algorithm = match counting {
            Counting::Gcra(_) => b'g',
            Counting::FixedWindow(_) => b'f',
            Counting::SlidingWindow(_) => b's',
            Counting::SlidingLog(_) => b'l',
            Counting::Lockout(_) => b'o',
        };
        let id = Fingerprint::of(&[name.as_bytes(), &[algorithm]]);
        Rule { name: name.into(), id, counting, is_shadow, denies: false, batch: 1, tells: false }
    }

    /// Whether what was counted for the other one says the same for this one. Most often they are
    /// one and the same.
    pub(crate) fn counts_as(&self, other: &Rule) -> bool {
        ptr::eq(self, other) || self.counting == other.counting
    }

    /// Whether this process may know an answer without asking.
    pub(crate) fn has_shortcuts(&self) -> bool {
        self.denies || self.batch > 1
    }

    /// Whether some process may know something that it has to be told the end of.
    pub(crate) fn is_known(&self) -> bool {
        self.has_shortcuts() || self.tells
    }
}

impl<R> Charge<R> {
    pub(crate) fn new(rule: R, subject: Subject, cost: u32) -> Charge<R> {
        Charge { rule, subject, cost, charged: None }
    }
}

impl Charge {
    /// Whether a batch is taken at once for it and for others. Who only looks asks for nothing.
    pub(crate) fn is_leased(&self) -> bool {
        (1..self.rule.batch).contains(&self.cost)
    }

    /// What gives it back.
    pub(crate) fn back(&self, taken: &Taken) -> Charge {
        Charge { charged: Some(taken.mark()), ..self.clone() }
    }
}

impl<R> Take<R> {
    pub(crate) fn new(act: Act, charges: impl IntoIterator<Item = Charge<R>>) -> Take<R> {
        Take { charges: charges.into_iter().collect(), act }
    }

    pub(crate) fn one(act: Act, charge: Charge<R>) -> Take<R> {
        Take { charges: SmallVec::from_buf([charge]), act }
    }
}

impl Charge<Lent<'_>> {
    /// With a rule of its own.
    pub(crate) fn owned(self) -> Charge {
        let Charge { rule, subject, cost, charged } = self;
        Charge { rule: rule.clone(), subject, cost, charged }
    }
}

impl Take {
    /// Whether every limit that may refuse admits.
    pub(crate) fn passes(&self, taken: &[Taken]) -> bool {
        self.charges.iter().zip(taken).all(|(charge, taken)| taken.fits || charge.rule.is_shadow)
    }
}
