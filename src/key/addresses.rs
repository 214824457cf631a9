use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use ipnet::IpNet;

/// A list of addresses and networks: proxies to trust, callers to let pass or to refuse.
///
/// Each is an address or a network, `192.0.2.7`, `10.0.0.0/8` or `2001:db8::/32`. An IPv4 address
/// mapped into IPv6 is the IPv4 address, and `::/0` is all of IPv6 and nothing of IPv4. A look-up
/// takes the same short time in a list of a hundred thousand.
///
/// ```
/// use tower_redis_kit::rate_limit::Addresses;
///
/// let office = Addresses::new(["10.0.0.0/8", "192.0.2.7", "2001:db8::/32"]);
/// assert!(office.contains("10.1.2.3".parse().unwrap()));
/// assert!(office.contains("::ffff:10.1.2.3".parse().unwrap()));
/// assert!(!office.contains("192.0.2.8".parse().unwrap()));
///
/// // From the configuration.
/// let blocked: Addresses = "203.0.113.0/24, 198.51.100.7".parse()?;
/// assert!(blocked.contains("203.0.113.9".parse()?));
/// let error = Addresses::try_from(vec!["10.0.0.0/33"]).unwrap_err();
/// assert!(error.to_string().contains("10.0.0.0/33"));
/// # Ok::<_, Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Addresses {
    /// From the first address to the last, sorted, and apart from each other.
    ranges: Arc<[(IpAddr, IpAddr)]>,
}

impl Addresses {
    /// The list of these. For texts from the configuration there is [`TryFrom`], of arrays, slices
    /// and `Vec`s, and [`FromStr`], separated by commas or space.
    ///
    /// # Panics
    /// When one of them is no address and no network; says which.
    #[must_use]
    #[track_caller]
    pub fn new(list: impl IntoIterator<Item: AsRef<str>>) -> Addresses {
        match Addresses::read(list) {
            Ok(addresses) => addresses,
            Err(error) => panic!("{error}"),
        }
    }

    /// Whether an address is in the list.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let behind = self.ranges.partition_point(|&(first, _)| first <= address);
        self.ranges[..behind].last().is_some_and(|&(_, last)| address <= last)
    }

    /// Whether all addresses of a family are in the list, as one entry has them.
    pub(super) fn is_everybody(&self) -> bool {
        let everybody = |text: &str| network(text).is_ok_and(|all| self.ranges.contains(&all));
        everybody("0.0.0.0/0") || everybody("::/0")
    }

    fn read(list: impl IntoIterator<Item: AsRef<str>>) -> Result<Addresses, InvalidAddress> {
        let ranges = list.into_iter().map(|text| network(text.as_ref()));
        let mut ranges = ranges.collect::<Result<Vec<_>, _>>()?;
        ranges.sort_unstable();
        ranges.dedup_by(|(first, last), (_, before)| {
            let overlaps = first <= before;
            if overlaps {
                *before = (*before).max(*last);
            }
            overlaps
        });
        Ok(Addresses { ranges: ranges.into() })
    }
}

/// The first and the last address of a network.
fn network(text: &str) -> Result<(IpAddr, IpAddr), InvalidAddress> {
    let text = text.trim();
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().map_err(|_| InvalidAddress { text: text.into() })?,
    };
    let (first, last) = (network.network(), network.broadcast());
    // A network of mapped addresses is one of IPv4; a larger one around them is not.
    match (first.to_canonical(), last.to_canonical()) {
        (first @ IpAddr::V4(_), last @ IpAddr::V4(_)) => Ok((first, last)),
        _ => Ok((first, last)),
    }
}

impl FromStr for Addresses {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Addresses, InvalidAddress> {
        let separates = |char: char| char == ',' || char.is_whitespace();
        Addresses::read(text.split(separates).filter(|text| !text.is_empty()))
    }
}

impl<T: AsRef<str>, const N: usize> TryFrom<[T; N]> for Addresses {
    type Error = InvalidAddress;

    fn try_from(list: [T; N]) -> Result<Addresses, InvalidAddress> {
        Addresses::read(list)
    }
}

impl<T: AsRef<str>> TryFrom<Vec<T>> for Addresses {
    type Error = InvalidAddress;

    fn try_from(list: Vec<T>) -> Result<Addresses, InvalidAddress> {
        Addresses::read(list)
    }
}

impl<T: AsRef<str>> TryFrom<&[T]> for Addresses {
    type Error = InvalidAddress;

    fn try_from(list: &[T]) -> Result<Addresses, InvalidAddress> {
        Addresses::read(list)
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.ranges.iter().map(|(first, last)| first..=last)).finish()
    }
}

/// A text is no address and no network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidAddress {
    text: Box<str>,
}

impl fmt::Display for InvalidAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{:?} is no address and no network: write it as 192.0.2.7, 10.0.0.0/8 or 2001:db8::/32",
            self.text
        )
    }
}

impl std::error::Error for InvalidAddress {}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_and_networks_are_read() {
        let list = Addresses::new(["192.0.2.7", " 10.1.2.3/8 ", "2001:db8::/32", "::1"]);
        for inside in ["192.0.2.7", "10.0.0.0", "10.255.255.255", "2001:db8:ffff::1", "::1"] {
            assert!(list.contains(address(inside)), "{inside}");
        }
        for outside in ["192.0.2.6", "192.0.2.8", "11.0.0.0", "9.255.255.255", "2001:db9::", "::"] {
            assert!(!list.contains(address(outside)), "{outside}");
        }
        assert!(!Addresses::default().contains(address("::1")));
    }

    #[test]
    fn mapped_addresses_are_ipv4_in_the_list_and_when_asked_for() {
        for list in ["10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:a00:0/104"] {
            let list = Addresses::new([list]);
            assert!(list.contains(address("10.1.2.3")));
            assert!(list.contains(address("::ffff:10.1.2.3")));
            assert!(!list.contains(address("11.0.0.0")));
        }
        assert!(!Addresses::new(["::/0"]).contains(address("::ffff:10.1.2.3")));
        assert!(Addresses::new(["::/0"]).contains(address("::fffe:10.1.2.3")));
        assert!(Addresses::new(["::ffff:0:0/96"]).is_everybody());
    }

    #[test]
    fn what_is_no_address_is_named() {
        for text in
            ["", "10.0.0.0/33", "10.0.0/8", "::/129", "localhost", "10.0.0.0/8/8", "1.2.3.4:5"]
        {
            let error = Addresses::try_from([text]).unwrap_err();
            assert!(error.to_string().starts_with(&format!("{text:?} is no address")), "{error}");
        }
        assert!("10.0.0.0/8, nonsense".parse::<Addresses>().is_err());
        assert_eq!(" , ".parse(), Ok(Addresses::default()));
    }

    #[test]
    #[should_panic(expected = r#""10.0.0.0/99" is no address and no network"#)]
    fn a_constructor_panics_with_the_text() {
        let _ = Addresses::new(["10.0.0.0/99"]);
    }

    proptest! {
        #[test]
        fn a_list_holds_what_one_of_its_networks_holds(
            networks in prop::collection::vec((any::<IpAddr>(), 0u8..=128), 0..20),
            near in any::<prop::sample::Index>(), step in -2i128..=2, any: IpAddr,
        ) {
            let networks: Vec<_> = networks
                .into_iter()
                .map(|(address, bits)| {
                    let address = address.to_canonical();
                    IpNet::new(address, if address.is_ipv4() { bits / 4 } else { bits }).unwrap()
                })
                .collect();
            let texts: Vec<_> = networks.iter().map(IpNet::to_string).collect();
            let list = Addresses::new(&texts);
            let mut asked = vec![any];
            if !networks.is_empty() {
                // At the edges is where it matters.
                let network = networks[near.index(networks.len())];
                for edge in [network.network(), network.broadcast()] {
                    asked.push(match edge {
                        IpAddr::V4(v4) => IpAddr::V4(v4.to_bits().wrapping_add(step as u32).into()),
                        IpAddr::V6(v6) => IpAddr::V6(v6.to_bits().wrapping_add(step as u128).into()),
                    });
                }
            }
            for address in asked.into_iter().map(|address| address.to_canonical()) {
                let held = networks.iter().any(|network| network.contains(&address));
                prop_assert_eq!(list.contains(address), held, "{} in {:?}", address, &list);
            }
        }
    }
}
