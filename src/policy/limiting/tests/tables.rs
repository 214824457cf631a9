//! Each row follows from the definitions by hand. With T = W/N: tat' = max(tat, now), and GCRA
//! admits iff now ≥ tat' + cT − BT, and then tat = tat' + cT; remaining = ⌊(now + BT − tat)/T⌋; the
//! wait is tat' + cT − BT − now; a key is full after tat − now.

use std::time::Duration;

use super::table::{never, no, yes};
use super::{Row, Table};
use crate::policy::Quota;
use crate::policy::limiting::Act::{self, Charge, Peek, Refund, Take};

const MS: u64 = 1_000;
const S: u64 = 1_000_000;
const MINUTE: u64 = 60 * S;
const HOUR: u64 = 3_600 * S;
const DAY: u64 = 24 * HOUR;

const fn secs(count: u64) -> Duration {
    Duration::from_secs(count)
}

pub(crate) fn all() -> Vec<Table> {
    let steps = [secs(10), secs(120)];
    let table = |name, quota, rows| Table { name, quota, rows };
    vec![
        table("GCRA", Quota::new(5, secs(10)), GCRA),
        table("GCRA, one at a time", Quota::per_second(10).burst(1), ONE_AT_A_TIME),
        table("GCRA, burst above the quota", Quota::new(2, secs(10)).burst(10), WIDE_BURST),
        table("GCRA, thirds of a second", Quota::per_second(3), THIRDS),
        table("token bucket", Quota::per_minute(6).burst(3).token_bucket(), BUCKET),
        table("guaranteed", Quota::per_minute(10).guaranteed(), GUARANTEED),
        table("guaranteed, one", Quota::new(1, secs(10)).guaranteed(), GUARANTEED_ONE),
        table("fixed window", Quota::new(3, secs(10)).fixed_window(), FIXED),
        table("aligned window", Quota::new(3, secs(10)).aligned_window(), ALIGNED),
        table("calendar day", Quota::per_calendar_day(2), CALENDAR_DAY),
        table("calendar month", Quota::per_calendar_month(2), CALENDAR_MONTH),
        table("sliding window", Quota::new(10, secs(10)).sliding_window(), SLIDING),
        table(
            "sliding window, given back",
            Quota::new(100, secs(10)).sliding_window(),
            SLIDING_BACK,
        ),
        table("sliding window, fractions", Quota::new(3, secs(10)).sliding_window(), FRACTIONS),
        table("sliding log", Quota::new(3, secs(10)).sliding_log(), LOG),
        table("sliding log, failures alone", Quota::per_hour(2).sliding_log(), FAILURES),
        table("sliding log, given back", Quota::new(6, secs(10)).sliding_log(), LOG_BACK),
        table("lockout", Quota::per_minute(3).lockout(steps), LOCKOUT),
        table("lockout, forgotten", Quota::per_minute(3).lockout(steps), FORGOTTEN),
        table("lockout, remembered", Quota::per_minute(3).lockout(steps), REMEMBERED),
    ]
}

/// T = 2 s, BT = 10 s.
const GCRA: &[Row] = &[
    yes(0, Take, 1, 4, 2 * S),
    yes(0, Take, 3, 1, 8 * S),
    no(0, Take, 2, 1, 2 * S, 8 * S),
    yes(0, Take, 1, 0, 10 * S),
    no(0, Take, 1, 0, 2 * S, 10 * S),
    no(2 * S - 1, Take, 1, 0, 1, 8 * S + 1),
    // tat = 12 s.
    yes(2 * S, Take, 1, 0, 10 * S),
    no(3 * S, Peek, 1, 0, S, 9 * S),
    yes(5 * S, Peek, 0, 1, 7 * S),
    never(5 * S, Take, 6, 1, 7 * S),
    // tat = 22 s.
    yes(12 * S, Take, 5, 0, 10 * S),
    yes(12 * S, Refund, 2, 2, 6 * S),
    // All but 2 s of it has come back by itself.
    yes(20 * S, Refund, 2, 5, 0),
    yes(21 * S, Charge, 9, 0, 10 * S),
    yes(21 * S, Take, 0, 0, 10 * S),
    yes(40 * S, Peek, 5, 5, 0),
];

/// T = BT = 100 ms.
const ONE_AT_A_TIME: &[Row] = &[
    yes(0, Take, 1, 0, 100 * MS),
    no(0, Take, 1, 0, 100 * MS, 100 * MS),
    no(100 * MS - 1, Take, 1, 0, 1, 1),
    yes(100 * MS, Take, 1, 0, 100 * MS),
    never(150 * MS, Take, 2, 0, 50 * MS),
    yes(300 * MS, Peek, 1, 1, 0),
];

/// T = 5 s, BT = 50 s.
const WIDE_BURST: &[Row] = &[
    yes(0, Take, 10, 0, 50 * S),
    no(0, Take, 1, 0, 5 * S, 50 * S),
    yes(5 * S, Take, 1, 0, 50 * S),
    // 55 s + 2T − BT = 15 s.
    no(15 * S - 1, Take, 2, 1, 1, 40 * S + 1),
    yes(15 * S, Take, 2, 0, 50 * S),
    no(60 * S, Peek, 10, 9, 5 * S, 5 * S),
    never(60 * S, Take, 11, 9, 5 * S),
];

/// T = 333_333⅓ µs. What is waited for is rounded up.
const THIRDS: &[Row] = &[
    yes(0, Take, 1, 2, 333_334),
    yes(0, Take, 1, 1, 666_667),
    yes(0, Take, 1, 0, S),
    no(0, Take, 1, 0, 333_334, S),
    // A third of a microsecond is missing.
    no(333_333, Take, 1, 0, 1, 666_667),
    // tat = 1_333_333⅓ µs.
    yes(333_334, Take, 1, 0, S),
    // Due since 666_666⅔ µs.
    yes(666_667, Take, 1, 0, S),
    // Due just now.
    yes(S, Take, 1, 0, S),
    yes(2 * S, Peek, 3, 3, 0),
];

/// Three tokens, one more every ten seconds.
const BUCKET: &[Row] = &[
    yes(0, Take, 2, 1, 20 * S),
    no(0, Take, 2, 1, 10 * S, 20 * S),
    no(10 * S - 1, Take, 2, 1, 1, 10 * S + 1),
    yes(10 * S, Take, 2, 0, 30 * S),
    // One and a half.
    yes(25 * S, Peek, 1, 1, 15 * S),
    never(25 * S, Take, 4, 1, 15 * S),
    yes(40 * S, Peek, 3, 3, 0),
];

/// Half of the ten at once, and the other half within the minute: T = 12 s, BT = 60 s.
const GUARANTEED: &[Row] = &[
    yes(0, Take, 5, 0, 60 * S),
    no(0, Take, 1, 0, 12 * S, 60 * S),
    yes(12 * S, Take, 1, 0, 60 * S),
    yes(60 * S, Take, 4, 0, 60 * S),
    no(60 * S, Take, 1, 0, 12 * S, 60 * S),
    never(60 * S, Take, 6, 0, 60 * S),
    yes(120 * S, Peek, 5, 5, 0),
];

const GUARANTEED_ONE: &[Row] = &[
    yes(0, Take, 1, 0, 10 * S),
    no(10 * S - 1, Take, 1, 0, 1, 1),
    yes(10 * S, Take, 1, 0, 10 * S),
    never(10 * S, Take, 2, 0, 10 * S),
];

/// Windows [5, 15), [15, 25), [31, 41).
const FIXED: &[Row] = &[
    yes(5 * S, Take, 2, 1, 10 * S),
    no(9 * S, Take, 2, 1, 6 * S, 6 * S),
    yes(15 * S - 1, Take, 1, 0, 1),
    no(15 * S - 1, Take, 1, 0, 1, 1),
    yes(15 * S, Take, 3, 0, 10 * S),
    never(15 * S, Take, 4, 0, 10 * S),
    yes(24 * S, Refund, 2, 2, S),
    // Its window is over.
    yes(26 * S, Refund, 1, 3, 0),
    yes(30 * S, Peek, 3, 3, 0),
    yes(31 * S, Charge, 5, 0, 10 * S),
    yes(31 * S, Take, 0, 0, 10 * S),
    no(31 * S, Take, 1, 0, 10 * S, 10 * S),
    yes(61 * S, Peek, 3, 3, 0),
];

/// Windows begin every ten seconds.
const ALIGNED: &[Row] = &[
    yes(5 * S, Take, 2, 1, 5 * S),
    no(10 * S - 1, Take, 2, 1, 1, 1),
    yes(10 * S, Take, 2, 1, 10 * S),
    never(10 * S, Take, 4, 1, 10 * S),
    yes(15 * S, Take, 1, 0, 5 * S),
    no(15 * S, Take, 1, 0, 5 * S, 5 * S),
    yes(19 * S, Refund, 3, 3, 0),
    yes(19 * S, Take, 3, 0, S),
    // Its window is over.
    yes(20 * S, Refund, 3, 3, 0),
    yes(20 * S, Peek, 3, 3, 0),
    yes(45 * S, Take, 1, 2, 5 * S),
];

const CALENDAR_DAY: &[Row] = &[
    yes(6 * HOUR, Take, 2, 0, 18 * HOUR),
    no(6 * HOUR, Take, 1, 0, 18 * HOUR, 18 * HOUR),
    no(DAY - 1, Take, 1, 0, 1, 1),
    yes(DAY, Take, 1, 1, DAY),
    never(DAY, Take, 3, 1, DAY),
    yes(3 * DAY + HOUR, Peek, 2, 2, 0),
];

/// A February of 29 days, a March of 31, an April of 30.
const CALENDAR_MONTH: &[Row] = &[
    yes(0, Take, 2, 0, 29 * DAY),
    no(28 * DAY, Take, 1, 0, DAY, DAY),
    yes(29 * DAY, Take, 1, 1, 31 * DAY),
    no(59 * DAY, Take, 2, 1, DAY, DAY),
    yes(60 * DAY, Take, 2, 0, 30 * DAY),
];

/// Ten in ten seconds: what was counted in the window before fades by a tenth a second.
const SLIDING: &[Row] = &[
    // The last of it is gone at the end of the next window.
    yes(2 * S, Take, 6, 4, 18 * S),
    yes(5 * S, Take, 4, 0, 15 * S),
    // At 11 s: 10 × 9/10 + 1 = 10.
    no(5 * S, Take, 1, 0, 6 * S, 15 * S),
    no(10 * S, Take, 1, 0, S, 10 * S),
    yes(11 * S, Take, 1, 0, 19 * S),
    // 10 × 7½/10 + 1 = 8½; at 13 s it is 8.
    no(12_500 * MS, Take, 2, 1, 500 * MS, 17_500 * MS),
    yes(13 * S, Take, 2, 0, 17 * S),
    // 10 × 5/10 + 3 = 8.
    never(15 * S, Take, 11, 2, 15 * S),
    yes(15 * S, Refund, 2, 4, 15 * S),
    // 1 × 10/10 + 9 = 10.
    yes(20 * S, Peek, 9, 9, 10 * S),
    // It was charged in the window before.
    yes(20 * S, Refund, 1, 10, 0),
    yes(28 * S, Charge, 15, 0, 12 * S),
    // 15 × 6/10 + 1 = 10 at 34 s.
    no(28 * S, Take, 1, 0, 6 * S, 12 * S),
    // 15 × 8/10 = 12; at 36 s: 15 × 4/10 + 4 = 10.
    no(32 * S, Take, 4, 0, 4 * S, 8 * S),
    yes(36 * S, Take, 4, 0, 14 * S),
    yes(60 * S, Peek, 10, 10, 0),
];

const SLIDING_BACK: &[Row] = &[
    // Across the edge of a window.
    yes(9_900 * MS, Take, 80, 20, 10_100 * MS),
    yes(10_100 * MS, Refund, 80, 100, 0).of_any(),
    yes(25 * S, Take, 60, 40, 15 * S),
    // 60 × 5/10 + 20 = 50.
    yes(35 * S, Take, 20, 50, 15 * S),
    // This window's 20, and 10 of the one before: 50 × 5/10 = 25.
    yes(35 * S, Refund, 30, 75, 5 * S).of_any(),
    // Of what was charged in this window there is nothing left.
    yes(35 * S, Refund, 30, 75, 5 * S).of(35 * S),
    // 20 × 5/10 = 10.
    yes(35 * S, Refund, 30, 90, 5 * S).of(25 * S),
    yes(36 * S, Refund, 90, 100, 0).of_any(),
];

/// 3 × rest/10 s + 1 ≤ 3 at a rest of 6_666_666⅔ µs.
const FRACTIONS: &[Row] = &[
    yes(0, Take, 3, 0, 20 * S),
    no(13 * S, Take, 1, 0, 333_334, 7 * S),
    no(13_333_333, Take, 1, 0, 1, 6_666_667),
    yes(13_333_334, Take, 1, 0, 16_666_666),
];

const LOG: &[Row] = &[
    yes(0, Take, 2, 1, 10 * S),
    yes(4 * S, Take, 1, 0, 10 * S),
    no(4 * S, Take, 1, 0, 6 * S, 10 * S),
    no(4 * S, Take, 2, 0, 6 * S, 10 * S),
    no(4 * S, Take, 3, 0, 10 * S, 10 * S),
    no(10 * S - 1, Take, 1, 0, 1, 4 * S + 1),
    // Two at 0 are no longer in (0, 10].
    yes(10 * S, Take, 2, 0, 10 * S),
    never(10 * S, Take, 4, 0, 10 * S),
    // One ends at 14 s, two at 20 s.
    no(12 * S, Peek, 2, 0, 8 * S, 8 * S),
    yes(14 * S, Take, 1, 0, 10 * S),
    // No more than was taken at 14 s: what is left is of 10 s.
    yes(15 * S, Refund, 2, 1, 5 * S),
    yes(24 * S, Peek, 3, 3, 0),
    // What was taken last is over.
    yes(25 * S, Take, 1, 2, 10 * S),
    yes(35 * S, Take, 1, 2, 10 * S),
    yes(36 * S, Charge, 5, 0, 10 * S),
    yes(36 * S, Take, 0, 0, 10 * S),
    // One of 35 s and five of 36 s: four have to go.
    no(36 * S, Take, 1, 0, 10 * S, 10 * S),
    yes(60 * S, Peek, 3, 3, 0),
    yes(60 * S, Refund, 1, 3, 0),
];

/// One failure, and then every half hour a success, which is given back: nobody waits longer for
/// that.
const FAILURES: &[Row] = &[
    yes(0, Take, 1, 1, HOUR),
    yes(30 * MINUTE, Take, 1, 0, HOUR),
    yes(30 * MINUTE, Refund, 1, 1, 30 * MINUTE),
    yes(HOUR, Take, 1, 1, HOUR),
    yes(HOUR, Refund, 1, 2, 0),
    yes(90 * MINUTE, Take, 1, 1, HOUR),
    yes(120 * MINUTE, Take, 1, 0, HOUR),
    // The older of the two: the newer one stays for its own hour.
    yes(121 * MINUTE, Refund, 1, 1, 59 * MINUTE).of(90 * MINUTE),
    yes(4 * HOUR, Peek, 1, 2, 0),
];

const LOG_BACK: &[Row] = &[
    yes(0, Take, 1, 5, 10 * S),
    // One entry of three.
    yes(S, Take, 2, 3, 10 * S),
    yes(S, Take, 1, 2, 10 * S),
    yes(2 * S, Take, 2, 0, 10 * S),
    yes(3 * S, Refund, 1, 1, 9 * S).of(S),
    // One of 0 s, two of 1 s, two of 2 s.
    no(3 * S, Take, 2, 1, 7 * S, 9 * S),
    no(3 * S, Take, 3, 1, 8 * S, 9 * S),
    no(3 * S, Take, 5, 1, 9 * S, 9 * S),
    // No more than the entry has left, and then nothing.
    yes(4 * S, Refund, 5, 3, 8 * S).of(S),
    yes(4 * S, Refund, 1, 3, 8 * S).of(S),
    // What was taken last goes first.
    yes(5 * S, Refund, 1, 4, 7 * S).of_any(),
    yes(5 * S, Refund, 1, 5, 5 * S).of_any(),
    yes(6 * S, Take, 5, 0, 10 * S),
    // All of 6 s; what is of 0 s goes by itself.
    yes(7 * S, Refund, 9, 5, 3 * S),
    yes(7 * S, Take, 2, 3, 10 * S),
    yes(8 * S, Refund, 9, 6, 0).of_any(),
    yes(8 * S, Refund, 1, 6, 0).of_any(),
    yes(9 * S, Take, 2, 4, 10 * S),
    // The oldest, of two.
    yes(10 * S, Take, 4, 0, 10 * S),
    yes(11 * S, Refund, 2, 2, 9 * S).of(9 * S),
    // It has ended.
    yes(20 * S, Refund, 4, 6, 0).of(10 * S),
];

/// Three attempts in a minute; then 10 s without any, and 120 s from the second time on.
const LOCKOUT: &[Row] = &[
    yes(0, Take, 1, 2, 60 * S),
    yes(5 * S, Take, 1, 1, 55 * S),
    no(5 * S, Take, 3, 1, 55 * S, 55 * S),
    never(5 * S, Take, 4, 1, 55 * S),
    // The last one: from here on 10 s.
    yes(10 * S, Take, 1, 0, 10 * S),
    no(10 * S, Take, 1, 0, 10 * S, 10 * S),
    never(10 * S, Take, 4, 0, 10 * S),
    no(15 * S, Take, 1, 0, 5 * S, 5 * S),
    yes(15 * S, Charge, 1, 0, 5 * S),
    no(20 * S - 1, Take, 1, 0, 1, 1),
    yes(20 * S, Take, 1, 2, 60 * S),
    // The second time.
    yes(20 * S, Take, 2, 0, 120 * S),
    no(139 * S, Peek, 1, 0, S, S),
    // The third time is as long as the second.
    yes(140 * S, Take, 3, 0, 120 * S),
    no(140 * S, Take, 1, 0, 120 * S, 120 * S),
    yes(260 * S, Take, 1, 2, 60 * S),
    yes(265 * S, Refund, 1, 3, 0),
    yes(270 * S, Take, 3, 0, 120 * S),
    // One of them was none: it is open again, until 330 s.
    yes(271 * S, Refund, 1, 1, 59 * S),
    yes(271 * S, Take, 1, 0, 120 * S),
];

/// The first time ends at 10 s. It is remembered from the end of the minute for two more, whatever
/// is looked at or refused meanwhile, or done that changes nothing.
const FORGOTTEN: &[Row] = &[
    yes(0, Take, 3, 0, 10 * S),
    yes(100 * S, Peek, 3, 3, 0),
    yes(110 * S, Take, 0, 3, 0),
    yes(120 * S, Charge, 0, 3, 0),
    yes(130 * S, Refund, 1, 3, 0).of_any(),
    never(170 * S, Take, 4, 3, 0),
    yes(180 * S, Take, 3, 0, 10 * S),
];

const REMEMBERED: &[Row] = &[
    yes(0, Take, 3, 0, 10 * S),
    yes(100 * S, Peek, 3, 3, 0),
    yes(180 * S - 1, Take, 3, 0, 120 * S),
];

/// Every act is in some table.
#[test]
fn the_tables_try_every_act_and_every_outcome() {
    let rows = || all().into_iter().flat_map(|table| table.rows);
    for act in [Act::Take, Act::Peek, Act::Charge, Act::Refund] {
        assert!(rows().any(|row| row.act == act), "{act:?}");
    }
    for table in all() {
        assert!(table.rows.is_sorted_by_key(|row| row.at), "{}", table.name);
    }
}
