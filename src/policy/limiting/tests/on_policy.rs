use super::key::Key;
use super::{Marks, START, tables};

#[test]
fn the_policy_decides_as_the_tables_say() {
    for table in tables::all() {
        let (mut key, mut marks) = (Key::new(table.quota.counting()), Marks::default());
        for row in table.rows {
            let taken = key.act(row.act, START + row.at, row.cost, marks.of(row));
            table.check(row, &taken);
            marks.note(row, &taken);
        }
    }
}
