use std::collections::HashSet;

use redis::Value;

use super::command::Command;
use super::{Lane, Redis, Servers, Unexpected, reply};
use crate::store::StoreError;
use crate::store::place::PlacePrefix;
use crate::store::verbs::{Cursor, Page, ScanTarget};

/// How many keys the server looks at for one page: more would hold others up.
const LOOKED_AT: usize = 500;

impl Redis {
    /// The servers that together hold all keys.
    pub(crate) fn scan_targets(&self) -> Result<Vec<ScanTarget>, StoreError> {
        Ok(self.primaries()?.into_iter().map(|(target, _)| target).collect())
    }

    pub(crate) async fn scan_values(
        &self,
        target: &ScanTarget,
        prefix: &PlacePrefix,
        from: Cursor,
    ) -> Result<Page, StoreError> {
        let node = match &*self.servers {
            Servers::One { node, .. } => node.clone(),
            Servers::Many(cluster) => cluster.primary(target)?,
        };
        let connection = node.bulk_connection();
        let at = if connection == Some(from.connection) { from.at } else { 0 };
        let scan = Command::keyless("SCAN")
            .arg(at)
            .arg("MATCH")
            .arg(self.keys.values_glob(prefix))
            .arg("COUNT")
            .arg(LOOKED_AT);
        let reply = node.call(&scan.into(), Lane::Bulk, self.by(Lane::Bulk)).await;
        let (at, keys) = page(reply.map_err(|failed| failed.error)?)?;
        let next = match connection.filter(|_| node.bulk_connection() == connection) {
            Some(connection) => (at != 0).then_some(Cursor { at, connection }),
            // Which of two has answered, nobody knows.
            None => Some(Cursor::default()),
        };
        // The server may list a key more than once, while its table grows or shrinks.
        let places: HashSet<_> =
            keys.iter().filter_map(|key| self.keys.place_of_value(key)).collect();
        let places = places.into_iter().filter(|place| place.begins_with(prefix)).collect();
        Ok(Page { places, next })
    }
}

fn page(reply: Value) -> Result<(u64, Vec<String>), Unexpected> {
    let [next, keys] = reply::array(reply)?;
    let next = text(next)?.and_then(|digits| digits.parse().ok()).ok_or(Unexpected)?;
    let mut found = Vec::new();
    for key in reply::list(keys)? {
        // What is no text is no key of ours.
        found.extend(text(key)?);
    }
    Ok((next, found))
}

fn text(reply: Value) -> Result<Option<String>, Unexpected> {
    Ok(reply::bytes(reply)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}
