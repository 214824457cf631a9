//! What may happen to a limit, at random.

use std::time::Duration;

use proptest::prelude::*;

use crate::policy::Quota;

/// Any way to count.
pub(crate) fn algorithm() -> impl Strategy<Value = fn(Quota, u32) -> Quota> {
    prop_oneof![
        3 => Just((|quota, burst| quota.burst(burst)) as fn(Quota, u32) -> Quota),
        1 => Just((|quota, _| quota.guaranteed()) as fn(Quota, u32) -> Quota),
        2 => Just((|quota, _| quota.fixed_window()) as fn(Quota, u32) -> Quota),
        1 => Just((|quota, _| quota.aligned_window()) as fn(Quota, u32) -> Quota),
        2 => Just((|quota, _| quota.sliding_window()) as fn(Quota, u32) -> Quota),
        3 => Just((|quota, _| quota.sliding_log()) as fn(Quota, u32) -> Quota),
        3 => Just((|quota, _| {
            quota.lockout([Duration::from_secs(1), Duration::from_secs(7)])
        }) as fn(Quota, u32) -> Quota),
    ]
}
