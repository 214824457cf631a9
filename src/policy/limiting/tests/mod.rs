//! What the definitions of the algorithms say, and whether the code does it: tables that were
//! computed by hand, which the stores are held to as well, and facts that hold of every history.

mod always;
mod bounds;
mod changes;
pub(crate) mod histories;
mod key;
mod on_policy;
mod refunds;
mod table;
pub(crate) mod tables;

pub(crate) use self::key::Key;
pub(crate) use self::table::{Marks, Row, START, Table};
