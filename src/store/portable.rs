use super::memory::OnMemory;
use super::redis::OnRedis;
use super::verbs::{Charge, Lent, Take};

/// A verb that every backend can do.
pub(crate) trait Portable: OnMemory {
    /// What travels in its place.
    type Sent: OnRedis<Answer = Self::Answer>;

    fn sent(self) -> Self::Sent;
}

impl<V: OnMemory + OnRedis> Portable for V {
    type Sent = V;

    fn sent(self) -> V {
        self
    }
}

/// In process the rules are only looked at.
impl Portable for Take<Lent<'_>> {
    type Sent = Take;

    fn sent(self) -> Take {
        Take::new(self.act, self.charges.into_iter().map(Charge::owned))
    }
}
