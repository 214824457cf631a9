use super::{Memory, lock};
use crate::store::place::PlacePrefix;
use crate::store::verbs::Page;

impl Memory {
    /// On one page: the shelf changes its order when something goes, so no position holds.
    pub(crate) fn scan_values(&self, prefix: &PlacePrefix) -> Page {
        let now = self.now();
        let values = lock(&self.values);
        let places = values.keys(now).filter(|place| place.begins_with(prefix)).cloned().collect();
        Page { places, next: None }
    }
}
