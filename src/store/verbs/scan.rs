use crate::store::place::Place;

/// One of the servers that together hold all keys: its name, or nothing where there is one alone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ScanTarget(pub(crate) String);

/// How far a scan of one target has come. It begins with the default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) at: u64,
    /// The connection by which it came. Behind another one may be another server, to which it means
    /// something else: there the scan begins anew.
    pub(crate) connection: u64,
}

/// A part of what a scan finds.
///
/// A place that is there from the scan's beginning to its end is on one page at least, unless its
/// slot is moved to another target; one that comes or goes meanwhile may be on one or on none. A
/// page lists no place twice, and may be empty.
#[derive(Debug)]
pub(crate) struct Page {
    pub(crate) places: Vec<Place>,
    /// `None` after the last page.
    pub(crate) next: Option<Cursor>,
}
