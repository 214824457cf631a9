//! What proxies say about whom they speak for: `X-Forwarded-For`, and `Forwarded` (RFC 7239).
//!
//! Each proxy appends, so what can be believed is at the right end, and whatever a client has sent
//! is to the left of it. Everything here is read from the right, and a byte further left changes
//! nothing of what has been read: no quote that a client leaves open swallows what a proxy appended.

use std::borrow::Cow;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use http::header::ValueIter;
use http::{HeaderMap, HeaderName, HeaderValue};

static X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
static FORWARDED: HeaderName = http::header::FORWARDED;

/// Which of the two.
#[derive(Clone, Copy, Debug)]
pub(super) enum Field {
    XForwardedFor,
    Forwarded,
}

impl Field {
    /// The addresses that were spoken for, the nearest first, up to the first that cannot be read.
    ///
    /// An empty element cannot be read either: a proxy that left one out has said nothing, and what
    /// is to the left of it is not its word.
    pub(super) fn hops(self, headers: &HeaderMap) -> impl Iterator<Item = IpAddr> {
        // Several lines are one list (RFC 9110, 5.3).
        Hops { field: self, lines: headers.get_all(self.name()).iter(), line: None }
    }

    fn name(self) -> &'static HeaderName {
        match self {
            Field::XForwardedFor => &X_FORWARDED_FOR,
            Field::Forwarded => &FORWARDED,
        }
    }

    fn elements(self, line: &HeaderValue) -> Backwards<'_> {
        Backwards::new(line.as_bytes(), b',', matches!(self, Field::Forwarded))
    }
}

/// See [`Field::hops`].
struct Hops<'a> {
    field: Field,
    lines: ValueIter<'a, HeaderValue>,
    /// The one that is being read.
    line: Option<Backwards<'a>>,
}

impl Iterator for Hops<'_> {
    type Item = IpAddr;

    fn next(&mut self) -> Option<IpAddr> {
        loop {
            let Some(element) = self.line.as_mut().and_then(Backwards::next) else {
                self.line = Some(self.field.elements(self.lines.next_back()?));
                continue;
            };
            return match self.field {
                Field::XForwardedFor => node(element?),
                Field::Forwarded => spoken_for(element?),
            };
        }
    }
}

/// The parts of a list, the last first. `None` is a part with a quote that has no other half: what
/// is to the left of it cannot be told.
struct Backwards<'a> {
    rest: Option<&'a [u8]>,
    separator: u8,
    quotes: bool,
}

impl<'a> Backwards<'a> {
    fn new(list: &'a [u8], separator: u8, quotes: bool) -> Backwards<'a> {
        Backwards { rest: Some(list), separator, quotes }
    }
}

impl<'a> Iterator for Backwards<'a> {
    type Item = Option<&'a [u8]>;

    fn next(&mut self) -> Option<Option<&'a [u8]>> {
        let rest = self.rest.take()?;
        if !self.quotes {
            let Some(at) = rest.iter().rposition(|&byte| byte == self.separator) else {
                return Some(Some(rest));
            };
            self.rest = Some(&rest[..at]);
            return Some(Some(&rest[at + 1..]));
        }
        let mut end = rest.len();
        while let Some(at) = end.checked_sub(1) {
            end = match rest[at] {
                b'"' => match opening_quote(&rest[..at]) {
                    Some(opening) => opening,
                    None => return Some(None),
                },
                byte if byte == self.separator => {
                    self.rest = Some(&rest[..at]);
                    return Some(Some(&rest[at + 1..]));
                }
                _ => at,
            };
        }
        Some(Some(rest))
    }
}

/// Where the quoted string begins that ends with a quote after `text`: at the first quote from the
/// right that is not escaped (RFC 9110, 5.6.4).
fn opening_quote(text: &[u8]) -> Option<usize> {
    let escaped =
        |text: &[u8]| text.iter().rev().take_while(|&&byte| byte == b'\\').count() % 2 == 1;
    if escaped(text) {
        return None;
    }
    let mut end = text.len();
    loop {
        end = text[..end].iter().rposition(|&byte| byte == b'"')?;
        if !escaped(&text[..end]) {
            return Some(end);
        }
    }
}

/// The address of an element's `for` (RFC 7239, 4). None where it has none, or two, or is malformed.
fn spoken_for(element: &[u8]) -> Option<IpAddr> {
    let mut found = None;
    for pair in Backwards::new(element, b';', true) {
        let pair = pair?.trim_ascii();
        if pair.is_empty() {
            continue;
        }
        let equals = pair.iter().position(|&byte| byte == b'=')?;
        if pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for") {
            let address = node(&unquoted(pair[equals + 1..].trim_ascii()))?;
            if found.replace(address).is_some() {
                return None;
            }
        }
    }
    found
}

/// What a quoted string means; a token means itself.
fn unquoted(value: &[u8]) -> Cow<'_, [u8]> {
    let Some(text) = value.strip_prefix(b"\"").and_then(|value| value.strip_suffix(b"\"")) else {
        return value.into();
    };
    if !text.contains(&b'\\') {
        return text.into();
    }
    let mut bytes = text.iter();
    let mut meant = Vec::with_capacity(text.len());
    while let Some(&byte) = bytes.next() {
        meant.push(if byte == b'\\' { bytes.next().copied().unwrap_or(byte) } else { byte });
    }
    meant.into()
}

/// An address, with a port or without (RFC 7239, 6). IPv6 may go without brackets where there is no
/// port, as it does in `X-Forwarded-For`. `unknown` and `_hidden` are none.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = text.trim_ascii();
    dotted(text).map(IpAddr::V4).or_else(|| any_node(text))
}

/// An IPv4 address by itself, as the standard library reads it. Nearly every request brings one, and
/// that way takes four times the code.
fn dotted(text: &[u8]) -> Option<Ipv4Addr> {
    let (mut address, mut dots) = (0_u32, 0);
    let (mut octet, mut digits) = (0_u32, 0);
    for &byte in text {
        match byte {
            // After a zero there is no other digit.
            b'0'..=b'9' if digits == 0 || octet > 0 => {
                (octet, digits) = (octet * 10 + u32::from(byte - b'0'), digits + 1);
            }
            b'.' if digits > 0 && dots < 3 => {
                (address, dots) = (address << 8 | octet, dots + 1);
                (octet, digits) = (0, 0);
            }
            _ => return None,
        }
        if octet > 255 {
            return None;
        }
    }
    (dots == 3 && digits > 0).then(|| Ipv4Addr::from_bits(address << 8 | octet))
}

fn any_node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let (address, port) = if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']')?;
        let port = if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) };
        (address.parse::<Ipv6Addr>().ok()?.into(), port)
    } else if let Ok(address) = text.parse::<IpAddr>() {
        (address, None)
    } else {
        let (address, port) = text.split_once(':')?;
        (address.parse::<Ipv4Addr>().ok()?.into(), Some(port))
    };
    port.is_none_or(is_port).then(|| address.to_canonical())
}

fn is_port(text: &str) -> bool {
    match text.strip_prefix('_') {
        Some(name) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            !name.is_empty() && name.bytes().all(plain)
        }
        None => (1..=5).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit()),
    }
}

/// Whatever a client sends: no panic, and what a proxy appends is read as if it were alone.
#[cfg(fuzzing)]
pub(crate) fn fuzz(data: &[u8]) {
    for field in [Field::XForwardedFor, Field::Forwarded] {
        let name = field.name();
        let appended = match field {
            Field::XForwardedFor => &b"192.0.2.1"[..],
            Field::Forwarded => &b"proto=https;for=\"192.0.2.1:80\""[..],
        };
        let mut headers = HeaderMap::new();
        for line in data.split(|&byte| byte == b'\n') {
            let Ok(line) = HeaderValue::from_bytes(line) else { return };
            headers.append(name, line);
        }
        let sent: Vec<_> = field.hops(&headers).take(64).collect();
        let proxy = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));

        let mut with_line = headers.clone();
        with_line.append(name, HeaderValue::from_bytes(appended).expect("a value"));
        let mut hops = field.hops(&with_line);
        assert_eq!(hops.next(), Some(proxy));
        assert!(hops.take(64).eq(sent.iter().copied()));

        let last = headers.get_all(name).iter().next_back().expect("a line");
        let joined = [last.as_bytes(), b", ", appended].concat();
        headers.insert(name, HeaderValue::from_bytes(&joined).expect("a value"));
        assert_eq!(field.hops(&headers).next(), Some(proxy));
    }
}

#[cfg(test)]
mod tests;
