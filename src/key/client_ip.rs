use std::fmt::Display;
use std::net::IpAddr;

use http::request::Parts;

use super::forwarding::Field;
use super::identity::{CUSTOMER, check_ipv6_prefix};
use super::{Addresses, Key, KeyError, KeyExtractor, RequestMatcher, peer};

/// By the client's address, of which the proxies in front tell in `X-Forwarded-For`.
///
/// Each proxy appends the address that it was called from, and anybody can send a list of their
/// own, so the header is believed from its right end on, and only as far as proxies are trusted: by
/// their [addresses](ClientIp::behind), or by their [number](ClientIp::hops). What cannot be read
/// ends the list: the nearest trusted proxy counts, and so do all who come by it in this way.
///
/// ```
/// use http::Request;
/// use tower_redis_kit::rate_limit::{ClientIp, KeyError, PeerAddr};
///
/// let client = ClientIp::behind(["10.0.0.0/8", "192.0.2.7"]);
/// let address = |peer: &str, forwarded_for: &str| {
///     let peer = PeerAddr(format!("{peer}:4711").parse().unwrap());
///     let request = Request::get("/").extension(peer).header("x-forwarded-for", forwarded_for);
///     client.address(&request.body(()).unwrap().into_parts().0).unwrap().to_string()
/// };
/// assert_eq!(address("10.0.0.1", "203.0.113.9"), "203.0.113.9");
/// assert_eq!(address("10.0.0.1", "6.6.6.6, 203.0.113.9, 192.0.2.7"), "203.0.113.9");
/// // Whoever is no proxy of ours speaks for nobody.
/// assert_eq!(address("203.0.113.9", "6.6.6.6"), "203.0.113.9");
/// ```
///
/// # Security
/// A proxy that passes on what it was sent and appends nothing lets everybody pretend to be
/// anybody. Check what yours do, and that none but them can reach the service. Of the two headers
/// only the one that was chosen is looked at: a proxy that knows one of them lets the other through
/// as it came.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClientIp {
    trust: Trust,
    field: Field,
    ipv6_prefix: u8,
}

#[derive(Clone, Debug)]
enum Trust {
    Proxies(Addresses),
    Hops(usize),
}

/// So that a request with a huge header costs no more than others.
const MOST_HOPS: usize = 32;

impl ClientIp {
    /// Behind proxies that are known by address: the first address from the right that is none of
    /// theirs, beginning with the peer. Where all are, the leftmost has asked for itself.
    ///
    /// Takes texts, or [`Addresses`] that were read from the configuration.
    ///
    /// ```
    /// use tower_redis_kit::rate_limit::{Addresses, ClientIp};
    ///
    /// let setting = "10.0.0.0/8, 2001:db8::/48";
    /// let proxies: Addresses = setting.parse()?;
    /// let client = ClientIp::behind(proxies);
    /// # let _ = client; Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// When one of them is no address and no network, and when it is everybody: then the leftmost
    /// address would count, which any client can make up.
    #[track_caller]
    pub fn behind<A>(proxies: A) -> ClientIp
    where
        A: TryInto<Addresses, Error: Display>,
    {
        let proxies = addresses(proxies);
        assert!(
            !proxies.is_everybody(),
            "to trust every address is to believe every client: name the proxies, or their number \
             by `ClientIp::hops(n)`"
        );
        ClientIp {
            trust: Trust::Proxies(proxies),
            field: Field::XForwardedFor,
            ipv6_prefix: CUSTOMER,
        }
    }

    /// Behind this many proxies, of which the last is the peer: the address that is `number` from
    /// the right.
    ///
    /// If the list is shorter, its furthest entry counts, and if there is none, the peer. Only then
    /// is the peer's address needed: a service on a unix socket has none.
    ///
    /// ```
    /// use http::Request;
    /// use tower_redis_kit::rate_limit::ClientIp;
    ///
    /// let request = Request::get("/").header("x-forwarded-for", "6.6.6.6, 203.0.113.9, 10.0.0.1");
    /// let head = request.body(()).unwrap().into_parts().0;
    /// assert_eq!(ClientIp::hops(2).address(&head)?.to_string(), "203.0.113.9");
    /// # Ok::<_, tower_redis_kit::rate_limit::KeyError>(())
    /// ```
    ///
    /// # Security
    /// With a number that is too large, the client's own entry counts. A request that comes past
    /// one of the proxies can pretend to be anybody.
    ///
    /// # Panics
    /// When there are more than 32.
    #[track_caller]
    pub fn hops(number: usize) -> ClientIp {
        assert!(number <= MOST_HOPS, "at most 32 proxies are in front of a service (got {number})");
        ClientIp { trust: Trust::Hops(number), field: Field::XForwardedFor, ipv6_prefix: CUSTOMER }
    }

    /// Reads `Forwarded` (RFC 7239) in the place of `X-Forwarded-For`.
    ///
    /// ```
    /// use http::Request;
    /// use tower_redis_kit::rate_limit::ClientIp;
    ///
    /// let request = Request::get("/")
    ///     .header("forwarded", r#"for="[2001:db8::17]:4711";proto=https"#)
    ///     .header("x-forwarded-for", "6.6.6.6");
    /// let head = request.body(()).unwrap().into_parts().0;
    /// assert_eq!(ClientIp::hops(1).forwarded().address(&head)?.to_string(), "2001:db8::17");
    /// # Ok::<_, tower_redis_kit::rate_limit::KeyError>(())
    /// ```
    pub fn forwarded(mut self) -> ClientIp {
        self.field = Field::Forwarded;
        self
    }

    /// How many bits of an IPv6 address count as one caller. 64 unless set: what a single customer
    /// usually has. See [`Key::network`].
    ///
    /// # Panics
    /// When they are more than 128.
    #[track_caller]
    pub fn ipv6_prefix(mut self, bits: u8) -> ClientIp {
        check_ipv6_prefix(bits);
        self.ipv6_prefix = bits;
        self
    }

    /// The client's address, whole. An IPv4 address mapped into IPv6 is the IPv4 address.
    ///
    /// # Errors
    /// [`KeyError::MissingPeer`] when the server was not set up to tell where a connection comes
    /// from; see [`PeerIp`](super::PeerIp).
    pub fn address(&self, head: &Parts) -> Result<IpAddr, KeyError> {
        let hops = self.field.hops(&head.headers);
        match &self.trust {
            Trust::Hops(number) => match hops.take(*number).last() {
                Some(address) => Ok(address),
                None => Ok(peer::address(head)?),
            },
            Trust::Proxies(proxies) => {
                let mut hops = hops.take(MOST_HOPS);
                let mut address = peer::address(head)?;
                while proxies.contains(address)
                    && let Some(next) = hops.next()
                {
                    address = next;
                }
                Ok(address)
            }
        }
    }

    /// Whether the client's address is one of these, for lists of callers that a limit lets pass or
    /// refuses. Takes texts, or [`Addresses`] that were read from the configuration.
    ///
    /// Without a peer's address it is none of them, and an error is logged.
    ///
    /// ```
    /// use http::Request;
    /// use tower_redis_kit::rate_limit::{ClientIp, RequestMatcher};
    ///
    /// let office = ClientIp::hops(1).is_in(["203.0.113.0/24"]);
    /// let request = Request::get("/").header("x-forwarded-for", "203.0.113.9");
    /// assert!(office.matches(&request.body(()).unwrap().into_parts().0));
    /// ```
    ///
    /// # Panics
    /// When one of them is no address and no network.
    #[track_caller]
    pub fn is_in<A>(self, list: A) -> AddressIsIn
    where
        A: TryInto<Addresses, Error: Display>,
    {
        AddressIsIn { client: self, addresses: addresses(list) }
    }
}

impl KeyExtractor for ClientIp {
    fn key(&self, head: &Parts) -> Result<Option<Key>, KeyError> {
        Ok(Some(Key::network(self.address(head)?, self.ipv6_prefix)))
    }
}

/// What [`ClientIp::is_in`] makes.
#[derive(Clone, Debug)]
pub struct AddressIsIn {
    client: ClientIp,
    addresses: Addresses,
}

impl RequestMatcher for AddressIsIn {
    fn matches(&self, head: &Parts) -> bool {
        match self.client.address(head) {
            Ok(address) => self.addresses.contains(address),
            Err(error) => {
                tracing::error!("{error}");
                false
            }
        }
    }
}

#[track_caller]
fn addresses<A>(list: A) -> Addresses
where
    A: TryInto<Addresses, Error: Display>,
{
    match list.try_into() {
        Ok(addresses) => addresses,
        Err(error) => panic!("{error}"),
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::Request;
    use proptest::prelude::*;

    use super::super::PeerAddr;
    use super::*;

    fn head(peer: Option<&str>, name: &str, lines: &[&str]) -> Parts {
        let mut request = Request::get("/");
        for line in lines {
            request = request.header(name, *line);
        }
        let mut head = request.body(()).unwrap().into_parts().0;
        if let Some(peer) = peer {
            head.extensions.insert(PeerAddr(SocketAddr::new(peer.parse().unwrap(), 4711)));
        }
        head
    }

    fn address(client: &ClientIp, peer: &str, lines: &[&str]) -> String {
        client.address(&head(Some(peer), "x-forwarded-for", lines)).unwrap().to_string()
    }

    #[test]
    fn trusted_proxies_are_walked_from_the_peer_on() {
        let client = ClientIp::behind(["10.0.0.0/8", "192.0.2.7"]);
        let client = |peer: &str, lines: &[&str]| address(&client, peer, lines);
        assert_eq!(client("203.0.113.9", &[]), "203.0.113.9");
        assert_eq!(client("203.0.113.9", &["10.0.0.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 203.0.113.9"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "203.0.113.9, 10.0.0.2"]), "203.0.113.9");
        assert_eq!(client("::ffff:10.0.0.1", &["203.0.113.9, ::ffff:192.0.2.7"]), "203.0.113.9");
        // One of the service's own, by way of all its proxies.
        assert_eq!(client("10.0.0.1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn an_unreadable_hop_counts_as_the_proxy_that_told_of_it() {
        let client = ClientIp::behind(["10.0.0.0/8"]);
        assert_eq!(address(&client, "10.0.0.1", &["6.6.6.6, garbage"]), "10.0.0.1");
        assert_eq!(address(&client, "10.0.0.1", &["6.6.6.6, unknown, 10.0.0.2"]), "10.0.0.2");
        assert_eq!(address(&ClientIp::hops(2), "10.0.0.1", &["6.6.6.6, x"]), "10.0.0.1");
        assert_eq!(address(&ClientIp::hops(3), "10.0.0.1", &["6.6.6.6, x, 10.0.0.2"]), "10.0.0.2");
    }

    #[test]
    fn hops_are_counted_from_the_right() {
        let lines = ["6.6.6.6, 203.0.113.9", "10.0.0.2"];
        let hops = |number| address(&ClientIp::hops(number), "10.0.0.1", &lines);
        assert_eq!(hops(0), "10.0.0.1");
        assert_eq!(hops(1), "10.0.0.2");
        assert_eq!(hops(2), "203.0.113.9");
        assert_eq!(hops(3), "6.6.6.6");
        assert_eq!(hops(32), "6.6.6.6", "never beyond the list");
        assert_eq!(address(&ClientIp::hops(2), "10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_peer_is_needed_unless_hops_say_enough() {
        let missing = |client: ClientIp, lines: &[&str]| {
            matches!(
                client.address(&head(None, "x-forwarded-for", lines)),
                Err(KeyError::MissingPeer(_))
            )
        };
        assert!(missing(ClientIp::behind(["10.0.0.0/8"]), &["203.0.113.9"]));
        assert!(missing(ClientIp::hops(1), &[]));
        assert!(missing(ClientIp::hops(0), &["203.0.113.9"]));
        assert!(!missing(ClientIp::hops(1), &["203.0.113.9"]));
    }

    #[test]
    fn only_the_chosen_header_is_looked_at() {
        let forwarded = head(Some("10.0.0.1"), "forwarded", &["for=203.0.113.9"]);
        let x_forwarded_for = head(Some("10.0.0.1"), "x-forwarded-for", &["203.0.113.9"]);
        let by_one = ClientIp::behind(["10.0.0.1"]);
        let by_other = by_one.clone().forwarded();
        let text = |client: &ClientIp, head| client.address(head).unwrap().to_string();
        assert_eq!(text(&by_one, &forwarded), "10.0.0.1");
        assert_eq!(text(&by_one, &x_forwarded_for), "203.0.113.9");
        assert_eq!(text(&by_other, &forwarded), "203.0.113.9");
        assert_eq!(text(&by_other, &x_forwarded_for), "10.0.0.1");
    }

    #[test]
    fn a_walk_is_bounded() {
        let many = vec!["10.0.0.2"; 100].join(", ");
        let line = format!("203.0.113.9, {many}");
        assert_eq!(address(&ClientIp::behind(["10.0.0.0/8"]), "10.0.0.1", &[&line]), "10.0.0.2");
    }

    #[test]
    fn lists_match_by_address() {
        let list = ClientIp::behind(["10.0.0.0/8"]).is_in(["203.0.113.0/24"]);
        let matches = |peer, lines: &[&str]| list.matches(&head(peer, "x-forwarded-for", lines));
        assert!(matches(Some("10.0.0.1"), &["203.0.113.9"]));
        assert!(matches(Some("::ffff:203.0.113.9"), &[]));
        assert!(!matches(Some("10.0.0.1"), &["203.0.113.9, 203.0.114.9"]));
        assert!(!matches(None, &["203.0.113.9"]), "nobody is nowhere");
    }

    #[test]
    #[should_panic(expected = r#""10.0.0.0/99" is no address and no network"#)]
    fn a_malformed_proxy_is_named() {
        let _ = ClientIp::behind(["10.0.0.0/99"]);
    }

    #[test]
    #[should_panic(expected = "believe every client")]
    fn everybody_is_no_proxy() {
        let _ = ClientIp::behind(["10.0.0.0/8", "0.0.0.0/0"]);
    }

    #[test]
    #[should_panic(expected = "at most 32 proxies")]
    fn hops_are_bounded() {
        let _ = ClientIp::hops(33);
    }

    proptest! {
        /// The peer and `proxies` are ours, and the first of them was called from `client`.
        #[test]
        fn nobody_forges_an_address(
            sent in prop::collection::vec("[ -~]{0,40}", 0..3),
            client: [u8; 4], proxies in prop::collection::vec(any::<[u8; 3]>(), 0..6),
        ) {
            let client = IpAddr::from([client[0] | 128, client[1], client[2], client[3]]);
            let proxies: Vec<_> =
                proxies.iter().map(|&[a, b, c]| IpAddr::from([10, a, b, c])).collect();
            let mut appended = client.to_string();
            for proxy in &proxies {
                appended.push_str(&format!(", {proxy}"));
            }
            let mut lines: Vec<_> = sent.iter().map(String::as_str).collect();
            lines.push(&appended);
            let by_address = ClientIp::behind(["10.0.0.0/8"]);
            let by_number = ClientIp::hops(proxies.len() + 1);
            for by in [by_address, by_number] {
                prop_assert_eq!(address(&by, "10.0.0.1", &lines), client.to_string());
            }
        }
    }
}
