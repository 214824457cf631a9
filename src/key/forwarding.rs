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
    let text = std::str::from_utf8(text.trim_ascii()).ok()?;
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hops(field: Field, lines: &[&[u8]]) -> Vec<String> {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(field.name(), HeaderValue::from_bytes(line).unwrap());
        }
        field.hops(&headers).map(|address| address.to_string()).collect()
    }

    fn x_forwarded_for(line: &str) -> Vec<String> {
        hops(Field::XForwardedFor, &[line.as_bytes()])
    }

    fn forwarded(line: &str) -> Vec<String> {
        hops(Field::Forwarded, &[line.as_bytes()])
    }

    const NONE: [&str; 0] = [];

    #[test]
    fn the_nearest_comes_first_and_lines_are_one_list() {
        assert_eq!(
            x_forwarded_for("1.1.1.1, 2.2.2.2,\t3.3.3.3"),
            ["3.3.3.3", "2.2.2.2", "1.1.1.1"]
        );
        let lines: [&[u8]; 2] = [b"1.1.1.1, 2.2.2.2", b"3.3.3.3"];
        assert_eq!(hops(Field::XForwardedFor, &lines), ["3.3.3.3", "2.2.2.2", "1.1.1.1"]);
        let lines: [&[u8]; 2] = [b"for=1.1.1.1", b"for=2.2.2.2, for=3.3.3.3"];
        assert_eq!(hops(Field::Forwarded, &lines), ["3.3.3.3", "2.2.2.2", "1.1.1.1"]);
    }

    #[test]
    fn ports_brackets_and_mapped_addresses_are_read() {
        let line = "1.2.3.4:5678, [::1]:80, [2001:db8::1], 2001:db8::2, ::ffff:1.2.3.4";
        let addresses = ["1.2.3.4", "2001:db8::2", "2001:db8::1", "::1", "1.2.3.4"];
        assert_eq!(x_forwarded_for(line), addresses);
        let line = r#"for=1.2.3.4:_port, for="[::1]:80", for="[2001:db8::1]", for="1.2.3.4:80""#;
        assert_eq!(forwarded(line), ["1.2.3.4", "2001:db8::1", "::1", "1.2.3.4"]);
    }

    #[test]
    fn what_cannot_be_read_ends_the_list() {
        let unreadable = [
            "",
            " ",
            "unknown",
            "_hidden",
            "localhost",
            "1.2.3",
            "1.2.3.4.5",
            "1.2.3.4:",
            "1.2.3.4:x",
            "1.2.3.4:123456",
            "1.2.3.4:-1",
            "1.2.3.4:_",
            "[::1",
            "::1]",
            "[::1]80",
            "[1.2.3.4]",
            "[::1]:",
            "::1%eth0",
            "\"1.2.3.4\"",
            "01.2.3.4",
            "1.2.3.4 5.6.7.8",
            "unix:",
            "-",
        ];
        for text in unreadable {
            assert_eq!(
                x_forwarded_for(&format!("1.1.1.1, {text}, 2.2.2.2")),
                ["2.2.2.2"],
                "{text}"
            );
            assert_eq!(x_forwarded_for(text), NONE, "{text}");
        }
        assert_eq!(hops(Field::XForwardedFor, &[b"1.1.1.1", b"", b"2.2.2.2"]), ["2.2.2.2"]);
        assert_eq!(hops(Field::XForwardedFor, &[b"1.1.1.1", b"\xff"]), NONE);
    }

    #[test]
    fn the_grammar_of_forwarded_is_read() {
        // Examples of RFC 7239, 4 and 7.1.
        assert_eq!(forwarded(r#"For="[2001:db8:cafe::17]:4711""#), ["2001:db8:cafe::17"]);
        assert_eq!(forwarded("for=192.0.2.60;proto=http;by=203.0.113.43"), ["192.0.2.60"]);
        assert_eq!(forwarded("for=192.0.2.43, for=198.51.100.17"), ["198.51.100.17", "192.0.2.43"]);
        let line = "for=192.0.2.43, for=\"[2001:db8:cafe::17]\",for=unknown";
        assert_eq!(forwarded(line), NONE);
        let line = "for=_hidden, for=_SEVKISEK, for=192.0.2.1";
        assert_eq!(forwarded(line), ["192.0.2.1"]);

        assert_eq!(forwarded(r#"proto=https ; FOR = "1.2.3.4" ;"#), ["1.2.3.4"]);
        assert_eq!(forwarded(r#"host="a, b;for=6.6.6.6";for=1.2.3.4"#), ["1.2.3.4"]);
        assert_eq!(forwarded(r#"for=1.2.3.4;host="a\"b\\", for=5.5.5.5"#), ["5.5.5.5", "1.2.3.4"]);
        assert_eq!(forwarded(r#"for="1.2\.3.\4""#), ["1.2.3.4"]);
    }

    #[test]
    fn malformed_elements_of_forwarded_end_the_list() {
        let malformed = [
            "for",
            "for=",
            "=1.2.3.4",
            "1.2.3.4",
            "proto=https",
            "for=1.2.3.4;for=5.6.7.8",
            "for=1.2.3.4;for=1.2.3.4",
            "for=1.2.3.4;nonsense",
            r#"for=""#,
            r#"for="1.2.3.4"#,
            r#"for=1.2.3.4""#,
            r#"for="1.2.3.4\""#,
            r#"for="a"1.2.3.4"#,
            r#"for="1.2.3.4"""#,
            r#"for='1.2.3.4'"#,
            "",
            ";",
            "forx=1.2.3.4",
        ];
        for text in malformed {
            let line = format!("for=1.1.1.1, {text}, for=2.2.2.2");
            assert_eq!(forwarded(&line), ["2.2.2.2"], "{text}");
        }
    }

    fn line() -> impl Strategy<Value = Vec<u8>> {
        let word = prop::sample::select(vec![
            "for=", "1.2.3.4", "6.6.6.6", "[::1]", ":80", "\"", "\\", ",", ";", " ", "=",
            "unknown", "host=", "\u{e9}",
        ]);
        prop_oneof![
            prop::collection::vec(word, 0..20).prop_map(|words| words.concat().into_bytes()),
            prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..60),
        ]
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_changes_what_is_appended(
            sent in prop::collection::vec(line(), 0..4),
            proxies in prop::collection::vec(any::<IpAddr>(), 1..5),
            port: Option<u16>, quoted: bool, a_line_each: bool,
        ) {
            let addresses: Vec<_> =
                proxies.iter().rev().map(|address| address.to_canonical().to_string()).collect();
            for field in [Field::XForwardedFor, Field::Forwarded] {
                let mut lines = sent.clone();
                for address in &proxies {
                    let mut node = match (address, port) {
                        (IpAddr::V6(v6), Some(port)) => format!("[{v6}]:{port}"),
                        (IpAddr::V6(v6), None) => format!("[{v6}]"),
                        (v4, Some(port)) => format!("{v4}:{port}"),
                        (v4, None) => v4.to_string(),
                    };
                    if let Field::Forwarded = field {
                        let quote = if quoted || node.contains('[') { "\"" } else { "" };
                        node = format!("host=\"a\\\",b\";for={quote}{node}{quote};proto=http");
                    }
                    match lines.last_mut() {
                        Some(line) if !a_line_each => {
                            line.extend(b", ");
                            line.extend(node.into_bytes());
                        }
                        _ => lines.push(node.into_bytes()),
                    }
                }
                let lines: Vec<_> = lines.iter().map(Vec::as_slice).collect();
                let read = hops(field, &lines);
                prop_assert_eq!(&read[..proxies.len()], &addresses);
                // And what was sent is read as if it were alone.
                let sent: Vec<_> = sent.iter().map(Vec::as_slice).collect();
                prop_assert_eq!(&read[proxies.len()..], &hops(field, &sent));
            }
        }
    }
}
