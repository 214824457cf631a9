//! What one node of a cluster knows about all of them.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

/// How many slots a cluster has.
pub(crate) const SLOTS: u16 = 16_384;

/// The answer to `CLUSTER NODES`.
pub(crate) struct View(Vec<Known>);

/// One line of it.
#[derive(Debug, PartialEq)]
pub(crate) struct Known {
    pub(crate) id: String,
    pub(crate) port: u16,
    pub(crate) myself: bool,
    pub(crate) is_primary: bool,
    /// Neither suspected of having failed, nor still being greeted, nor out of reach.
    pub(crate) is_well: bool,
    /// The id of a replica's primary.
    pub(crate) replicates: Option<String>,
    pub(crate) epoch: u64,
    pub(crate) slots: Vec<RangeInclusive<u16>>,
}

impl View {
    pub(crate) fn parse(nodes: &str) -> Self {
        Self(nodes.lines().map(|line| known(line).unwrap_or_else(|| panic!("{line}"))).collect())
    }

    pub(crate) fn nodes(&self) -> &[Known] {
        &self.0
    }

    /// The node that this view belongs to.
    pub(crate) fn myself(&self) -> &Known {
        self.0.iter().find(|node| node.myself).expect("a node knows itself")
    }

    /// The ports of the primaries that have slots, with their slots.
    pub(crate) fn owners(&self) -> BTreeMap<u16, Vec<RangeInclusive<u16>>> {
        let owners = self.0.iter().filter(|node| !node.slots.is_empty());
        owners.map(|node| (node.port, node.slots.clone())).collect()
    }

    /// How many slots have an owner.
    pub(crate) fn covered(&self) -> usize {
        self.0.iter().flat_map(|node| &node.slots).map(ExactSizeIterator::len).sum()
    }
}

impl Known {
    pub(crate) fn owns(&self, slot: u16) -> bool {
        self.slots.iter().any(|range| range.contains(&slot))
    }
}

/// Reads `ID 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-5460 [93-<-ID]`.
fn known(line: &str) -> Option<Known> {
    let mut words = line.split(' ');
    let mut next = || words.next();
    let (id, address, flags) = (next()?, next()?, next()?);
    let (primary, _ping, _pong, epoch, link) = (next()?, next()?, next()?, next()?, next()?);
    let port = address.split_once('@')?.0.rsplit_once(':')?.1.parse().ok()?;
    let has = |flag| flags.split(',').any(|it| it == flag);
    let ailing = ["fail", "fail?", "handshake", "noaddr"].into_iter().any(has);
    Some(Known {
        id: id.to_owned(),
        port,
        myself: has("myself"),
        is_primary: has("master"),
        is_well: !ailing && (link == "connected" || has("myself")),
        replicates: (primary != "-").then(|| primary.to_owned()),
        epoch: epoch.parse().ok()?,
        // Slots on their way from or to another node are in brackets, and not among these.
        slots: words.filter_map(range).collect(),
    })
}

fn range(word: &str) -> Option<RangeInclusive<u16>> {
    let (first, last) = word.split_once('-').unwrap_or((word, word));
    Some(first.parse().ok()?..=last.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_taken_apart() {
        let view = View::parse(
            "a 127.0.0.1:7000@17000 myself,master - 0 5 1 connected 0-99 101 [100->-b]\n\
             b 127.0.0.1:7001@17001,host slave,fail? a 1 2 1 connected\n\
             c 127.0.0.1:7002@17002 master - 1 2 3 disconnected\n",
        );
        let mine = Known {
            id: "a".to_owned(),
            port: 7000,
            myself: true,
            is_primary: true,
            is_well: true,
            replicates: None,
            epoch: 1,
            slots: vec![0..=99, 101..=101],
        };
        assert_eq!(view.myself(), &mine);
        assert_eq!((view.covered(), view.owners().len()), (101, 1));
        assert!(mine.owns(101) && !mine.owns(100));
        let other = &view.nodes()[1];
        assert_eq!((other.is_primary, other.is_well), (false, false));
        assert_eq!((other.port, other.replicates.as_deref()), (7001, Some("a")));
        assert!(!view.nodes()[2].is_well);
    }
}
