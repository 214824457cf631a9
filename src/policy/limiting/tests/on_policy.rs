use super::key::Key;
use super::{START, tables};
use crate::policy::limiting::Act;

#[test]
fn the_policy_decides_as_the_tables_say() {
    for table in tables::all() {
        let (mut key, mut mark) = (Key::new(table.quota.counting()), None);
        for row in table.rows {
            let taken = key.act(row.act, START + row.at, row.cost, mark);
            table.check(row, &taken);
            if row.act == Act::Take && taken.fits {
                mark = Some(taken.mark());
            }
        }
    }
}
