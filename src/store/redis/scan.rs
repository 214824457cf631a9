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

    /// Sends a request to one of them, within the deadline.
    async fn call_on(&self, target: &ScanTarget, request: Command) -> Result<Value, StoreError> {
        let node = match &*self.servers {
            Servers::One { node, .. } => node.clone(),
            Servers::Many(cluster) => cluster.primary(target)?,
        };
        let reply = node.call(&request.into(), Lane::Bulk, self.by(Lane::Bulk)).await;
        reply.map_err(|failed| failed.error)
    }

    pub(crate) async fn scan_values(
        &self,
        target: &ScanTarget,
        prefix: &PlacePrefix,
        from: Cursor,
    ) -> Result<Page, StoreError> {
        let scan = Command::keyless("SCAN")
            .arg(from.0)
            .arg("MATCH")
            .arg(self.keys.values_glob(prefix))
            .arg("COUNT")
            .arg(LOOKED_AT);
        let (next, keys) = page(self.call_on(target, scan).await?)?;
        // The server may list a key more than once, while its table grows or shrinks.
        let places: HashSet<_> =
            keys.iter().filter_map(|key| self.keys.place_of_value(key)).collect();
        let places = places.into_iter().filter(|place| place.begins_with(prefix)).collect();
        Ok(Page { places, next: (next != Cursor::default()).then_some(next) })
    }
}

fn page(reply: Value) -> Result<(Cursor, Vec<String>), Unexpected> {
    let [next, keys] = reply::array(reply)?;
    let next = text(next)?.and_then(|digits| digits.parse().ok()).ok_or(Unexpected)?;
    let mut found = Vec::new();
    for key in reply::list(keys)? {
        // What is no text is no key of ours.
        found.extend(text(key)?);
    }
    Ok((Cursor(next), found))
}

fn text(reply: Value) -> Result<Option<String>, Unexpected> {
    Ok(reply::bytes(reply)?.and_then(|bytes| String::from_utf8(bytes).ok()))
}
