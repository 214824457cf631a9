//! One or two limits of a subject in a random history: what is asked of a store, and what the
//! policy makes of it.

use std::sync::Arc;

use super::keys::Subject;
use super::verbs::{Charge, Rule, Take};
use crate::policy::limiting::tests::Key;
use crate::policy::limiting::tests::histories::Turn;
use crate::policy::limiting::{Act, Ask, Done, Taken};
use crate::policy::{Quota, Timestamp};

pub(super) struct TwoLimits {
    rules: [[Arc<Rule>; 2]; 2],
    subject: Subject,
    pub(super) keys: Vec<Key>,
    /// When each was charged.
    marks: [Vec<Timestamp>; 2],
}

impl TwoLimits {
    /// The first `count` of each pair of quotas.
    pub(super) fn new(quotas: [[Quota; 2]; 2], count: usize, subject: Subject) -> TwoLimits {
        let rules = quotas.map(|pair| {
            let names = ["one", "two"];
            [0, 1].map(|at| Arc::new(Rule::new(names[at], pair[at].counting(), false)))
        });
        let keys = rules[0][..count].iter().map(|rule| Key::new(rule.counting)).collect();
        TwoLimits { rules, subject, keys, marks: [const { Vec::new() }; 2] }
    }

    /// What the store is asked for in a turn.
    pub(super) fn take(&self, turn: &Turn) -> Take {
        let rules = &self.rules[usize::from(turn.changed)];
        let back = turn.marked.filter(|_| turn.act == Act::Refund);
        let charges = (0..self.keys.len()).map(|index| Charge {
            charged: back.and_then(|back| self.marks[index].iter().rev().nth(back).copied()),
            ..Charge::new(rules[index].clone(), self.subject, turn.costs[index])
        });
        Take::new(turn.act, charges)
    }

    /// What the policy says to it.
    pub(super) fn decide(&mut self, take: &Take, now: Timestamp) -> Vec<Done> {
        let ask = |it: &Charge| Ask { act: take.act, now, cost: it.cost, charged: it.charged };
        let asks: Vec<_> = take.charges.iter().map(ask).collect();
        for (key, charge) in self.keys.iter_mut().zip(&take.charges) {
            key.counting = charge.rule.counting;
        }
        Key::all(&mut self.keys, &asks)
    }

    /// Remembers what was charged when.
    pub(super) fn note(&mut self, act: Act, answer: &[Taken]) {
        if act == Act::Take {
            for (marks, taken) in self.marks.iter_mut().zip(answer) {
                marks.push(taken.mark());
            }
        }
    }
}
