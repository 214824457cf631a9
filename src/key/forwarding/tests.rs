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
    assert_eq!(x_forwarded_for("1.1.1.1, 2.2.2.2,\t3.3.3.3"), ["3.3.3.3", "2.2.2.2", "1.1.1.1"]);
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
        assert_eq!(x_forwarded_for(&format!("1.1.1.1, {text}, 2.2.2.2")), ["2.2.2.2"], "{text}");
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
        "for=", "1.2.3.4", "6.6.6.6", "[::1]", ":80", "\"", "\\", ",", ";", " ", "=", "unknown",
        "host=", "\u{e9}",
    ]);
    prop_oneof![
        prop::collection::vec(word, 0..20).prop_map(|words| words.concat().into_bytes()),
        prop::collection::vec(prop_oneof![Just(b'\t'), 0x20..0x7f_u8, 0x80..=0xff_u8], 0..60),
    ]
}

proptest! {
    #[test]
    fn an_address_is_what_the_standard_library_takes_for_one(
        text in prop_oneof![
            any::<[u8; 4]>().prop_map(|octets| Ipv4Addr::from(octets).to_string()),
            prop::collection::vec("|0|00|[0-9]{1,4}|2[0-9]{2}", 3..6).prop_map(|it| it.join(".")),
            "[0-9.: ]{0,16}",
        ],
    ) {
        prop_assert_eq!(dotted(text.as_bytes()), text.parse().ok());
    }

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
