//! Nothing is recorded, and nothing is paid for it.

use std::sync::Arc;

pub(super) struct Label;

#[inline(always)]
pub(super) fn word(_: &'static str) -> Label {
    Label
}

#[inline(always)]
pub(super) fn name(_: &Arc<str>) -> Label {
    Label
}

#[inline(always)]
pub(super) fn count<const N: usize>(_: &'static str, _: [(&'static str, Label); N]) {}

#[inline(always)]
pub(super) fn set<const N: usize>(_: &'static str, _: [(&'static str, Label); N], _: f64) {}

/// A call on its way over the network.
#[derive(Debug)]
pub(crate) struct Call;

impl Call {
    #[inline(always)]
    pub(crate) fn begin(_: &'static str) -> Call {
        Call
    }

    #[inline(always)]
    pub(crate) fn end(self, _: &'static str) {}
}
