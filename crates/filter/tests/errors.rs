//! Messages and places of errors. No test here makes libpcap ask a name server.
#![cfg(feature = "compile")]

use model::Snaplen;
use whaletap_filter::{Error, Expression, LiveJob, LiveProgram};

fn error(text: &str) -> Error {
    let no_namespace = |_: LiveJob<'_>| Err::<LiveProgram, _>("not in this test");
    Expression::new(text).compile(Snaplen::MAX, no_namespace).expect_err(text)
}

#[test]
fn errors_carry_libpcaps_words_and_the_place() {
    // The second line of each case points at the place; without a caret there is none.
    let cases = [
        ("tcp prt 80", "    ^", "syntax error"),
        ("tcp port 80 and", "               ^", "syntax error"),
        ("tcp port 80 and  ", "               ^", "syntax error"),
        ("tcp port 80 and and udp", "                ^", "syntax error"),
        ("host", "    ^", "syntax error"),
        ("(tcp", "    ^", "syntax error"),
        ("tcp)", "   ^", "syntax error"),
        ("port nosuchport and tcp", "     ^", "unknown port 'nosuchport'"),
        ("port 80 or port nosuchport", "                ^", "unknown port 'nosuchport'"),
        ("port 70000", "     ^", "illegal port number 70000 > 65535"),
        ("net 10.0.0.1/8", "    ^", "non-network bits set in \"10.0.0.1/8\""),
        ("ip6 host 192.0.2.1", "^", "'ip6' modifier applied to ip host"),
        ("tcp and ip host ::1", "        ^", "'ip' modifier applied to ip6 host"),
        ("ip proto nosuch", "         ^", "unknown ip proto 'nosuch'"),
        ("ether proto nosuch", "            ^", "unknown ether proto 'nosuch'"),
        ("ether host 192.0.2.1", "           ^", "illegal link layer address"),
        ("ip and arp", "", "expression rejects all packets"),
        ("tcp[0:3]", "       ^", "data size must be 1, 2, or 4"),
        ("tcp[tcpflags & 3", "                ^", "syntax error"),
        ("len > 99999999999", "      ^", "number 99999999999 overflows 32 bits"),
        ("ip @ 3", "   ^", "syntax error"),
        ("vlan 5000", "     ^", "VLAN tag 5000 greater than maximum 4095"),
        ("vlan and vlan and prot 3", "                  ^", "syntax error"),
        ("len / 0 == 1", "      ^", "division by zero"),
        ("ip host 192.0.2.300", "        ^", "invalid IPv4 address '192.0.2.300'"),
        ("\\tcp", "^", "syntax error"),
        ("tcp and ä", "        ^", "syntax error"),
    ];
    for (text, caret, message) in cases {
        let error = error(text);
        assert_eq!(error.position(), caret.find('^'), "{text}: {error}");
        assert!(error.to_string().contains(message), "{text}: {error}");
        assert!(matches!(error, Error::Expression { .. }), "{text}: {error:?}");
    }
}

#[test]
fn a_long_expression_is_searched_quickly() {
    let mut text = vec!["host 192.0.2.1 or"; 500].join(" ");
    let place = text.len() + 1;
    text.push_str(" hust 192.0.2.2 or port 80");
    assert_eq!(error(&text).position(), Some(place));
}

#[test]
fn ip_broadcast_is_refused_however_it_is_written() {
    for (text, position) in [
        ("ip broadcast", 0),
        ("udp and  ip\tbroadcast", 9),
        ("not ip broadcast", 4),
        ("(ip broadcast)", 1),
        ("tcp or(ip\nbroadcast or arp)", 7),
        ("vlan and ip broadcast", 9),
    ] {
        assert_eq!(error(text), Error::IpBroadcast { position }, "{text}");
    }
}

#[test]
fn other_broadcasts_compile() {
    let no_namespace = |_: LiveJob<'_>| Err::<LiveProgram, _>("not in this test");
    for text in
        ["broadcast", "ether broadcast", "ip and broadcast", "ip multicast", "ip proto \\ip"]
    {
        let compiled = Expression::new(text).compile(Snaplen::MAX, no_namespace);
        assert!(compiled.is_ok(), "{text}: {compiled:?}");
    }
}

#[test]
fn a_nul_byte_is_found() {
    assert_eq!(error("tcp\0and udp"), Error::Nul { position: 3 });
}
