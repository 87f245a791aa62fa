//! Frames of every kind, whole, cut and random, through the decoder.

use proptest::prelude::*;

use super::{Checksums, Decoder, Flags, Oddities, Segment, Skip, Tunnel};
use crate::capture::{Frame, LinkType};
use crate::time::Timestamp;

/// The segments that one decoder finds in a frame, with their payloads.
fn decode(decoder: &mut Decoder, link: u16, bytes: &[u8], wire_len: usize) -> Result<Vec<(Segment, Vec<u8>)>, Skip> {
    let mut found = Vec::new();
    let at = Some(Timestamp::from_nanos(0));
    let frame =
        Frame { number: 1, at, link: LinkType(link), bytes, wire_len: wire_len as u32, seen: Default::default() };
    decoder.decode(&frame, |segment, payload| found.push((*segment, payload.to_vec())))?;
    Ok(found)
}

/// The only segment of a frame that was captured whole.
fn only(link: u16, bytes: &[u8]) -> (Segment, Vec<u8>) {
    let mut found = decode(&mut Decoder::new(), link, bytes, bytes.len()).unwrap();
    assert_eq!(found.len(), 1);
    found.remove(0)
}

fn skip(link: u16, bytes: &[u8]) -> Skip {
    decode(&mut Decoder::new(), link, bytes, bytes.len()).unwrap_err()
}

/// From port 12345 to port 80, sequence number 1, acknowledgement 2, window 4096.
fn tcp(flags: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    assert_eq!(options.len() % 4, 0);
    let offset = ((20 + options.len() as u8) / 4) << 4;
    let mut bytes = vec![0x30, 0x39, 0, 80, 0, 0, 0, 1, 0, 0, 0, 2, offset, flags, 0x10, 0, 0, 0, 0, 0];
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(payload);
    bytes
}

fn segment() -> Vec<u8> {
    tcp(0x18, &[], b"octets")
}

fn ipv4_with(protocol: u8, fragment: u16, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    let mut bytes = vec![0x40 | (header / 4) as u8, 0, 0, 0, 0, 1, 0, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    bytes[2..4].copy_from_slice(&((header + payload.len()) as u16).to_be_bytes());
    bytes[6..8].copy_from_slice(&fragment.to_be_bytes());
    bytes.extend_from_slice(options);
    bytes.extend_from_slice(payload);
    bytes
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    ipv4_with(protocol, 0x4000, &[], payload)
}

fn ipv6(next: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0x60, 0, 0, 0, 0, 0, next, 64];
    bytes[4..6].copy_from_slice(&(payload.len() as u16).to_be_bytes());
    for last in [1, 2] {
        bytes.extend_from_slice(&[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, last]);
    }
    bytes.extend_from_slice(payload);
    bytes
}

fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
    join(&[&[2; 12], &kind.to_be_bytes(), payload])
}

fn udp(port: u16, payload: &[u8]) -> Vec<u8> {
    let length = (8 + payload.len()) as u16;
    join(&[&40_000u16.to_be_bytes(), &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload])
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

const SNAP: &[u8] = &[0xaa, 0xaa, 3, 0, 0, 0, 8, 0];
const WLAN: &[u8] = &[8, 2, 0, 0, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0, 0];

/// One frame for each way down to a segment: its name, its link type, its bytes, and what tells of the tunnels on the way.
fn ways() -> Vec<(&'static str, u16, Vec<u8>, Oddities)> {
    let v4 = ipv4(6, &segment());
    let v6 = ipv6(6, &segment());
    let eth = ethernet(0x0800, &v4);
    let tunnel = |port, header: &[u8], inner: &[u8]| ethernet(0x0800, &ipv4(17, &udp(port, &join(&[header, inner]))));
    let gre = |header: &[u8], inner: &[u8]| ethernet(0x0800, &ipv4(47, &join(&[header, inner])));
    let pppoe = |ppp: &[u8]| {
        let length = (ppp.len() as u16).to_be_bytes();
        ethernet(0x8864, &join(&[&[0x11, 0, 0, 1], &length, ppp, &[0; 8]]))
    };
    let none = Oddities::empty();
    vec![
        ("ethernet", 1, eth.clone(), none),
        ("ethernet, IPv6", 1, ethernet(0x86dd, &v6), none),
        ("802.1Q", 1, ethernet(0x8100, &join(&[&[0, 5, 8, 0], &v4])), none),
        ("stacked VLAN", 1, ethernet(0x88a8, &join(&[&[0, 5, 0x81, 0, 0, 6, 8, 0], &v4])), none),
        ("802.3 with SNAP", 1, ethernet((8 + v4.len()) as u16, &join(&[SNAP, &v4, &[0; 6]])), none),
        ("MPLS", 1, ethernet(0x8847, &join(&[&[0, 1, 0, 64, 0, 2, 1, 64], &v4])), none),
        ("MPLS with a control word", 1, ethernet(0x8847, &join(&[&[0, 2, 1, 64, 0, 0, 0, 1], &eth])), none),
        ("PPPoE", 1, pppoe(&join(&[&[0, 0x21], &v4])), none),
        ("PPPoE, IPv6", 1, pppoe(&join(&[&[0, 0x57], &v6])), none),
        ("provider backbone", 1, ethernet(0x88e7, &join(&[&[0; 4], &eth])), none),
        ("Linux cooked v1", 113, join(&[&[0, 0, 0, 1, 0, 6, 1, 2, 3, 4, 5, 6, 0, 0, 8, 0], &v4]), none),
        ("Linux cooked v2", 276, join(&[&[0x86, 0xdd], &[0; 6], &[0, 1], &[0; 10], &v6]), none),
        ("BSD null, little endian", 0, join(&[&[2, 0, 0, 0], &v4]), none),
        ("BSD null, big endian", 0, join(&[&[0, 0, 0, 30], &v6]), none),
        ("BSD loop", 108, join(&[&[0, 0, 0, 2], &v4]), none),
        ("raw", 101, v6.clone(), none),
        ("raw, by BSD/OS's number", 12, v4.clone(), none),
        ("raw, by OpenBSD's number", 14, v4.clone(), none),
        ("raw IPv4", 228, v4.clone(), none),
        ("raw IPv6", 229, v6.clone(), none),
        ("raw IPv4 that is IPv6", 228, v6.clone(), none),
        ("PPP", 9, join(&[&[0xff, 3, 0, 0x21], &v4]), none),
        ("PPP with a compressed protocol", 9, join(&[&[0x21], &v4]), none),
        ("PPP in HDLC", 50, join(&[&[0xff, 3, 0, 0x57], &v6]), none),
        ("Cisco HDLC", 104, join(&[&[0x0f, 0, 8, 0], &v4]), none),
        ("frame relay", 107, join(&[&[0x18, 0x41, 3, 0xcc], &v4]), none),
        ("FDDI", 10, join(&[&[0x50], &[2; 12], SNAP, &v4]), none),
        ("token ring", 6, join(&[&[0x10, 0x40], &[2; 12], SNAP, &v4]), none),
        ("ARCNET", 7, join(&[&[1, 2, 212, 0, 0, 1], &v4]), none),
        ("802.11", 105, join(&[WLAN, SNAP, &v4]), none),
        ("802.11 with quality of service", 105, join(&[&[0x88], &WLAN[1..], &[0, 0], SNAP, &v4]), none),
        (
            "802.11 with radiotap, padding and a check sequence",
            127,
            join(&[&[0, 0, 10, 0, 2, 0, 0, 0, 0x30, 0], &[0x88], &WLAN[1..], &[0, 0, 0, 0], SNAP, &v4, &[0; 4]]),
            none,
        ),
        ("PPI", 192, join(&[&[0, 0, 8, 0, 105, 0, 0, 0], WLAN, SNAP, &v4]), none),
        (
            "netfilter's log",
            239,
            join(&[&[2, 0, 0, 0, 8, 0, 1, 0, 0, 0, 0, 0, 4 + v4.len() as u8, 0, 9, 0], &v4]),
            none,
        ),
        ("IPv4 options", 101, ipv4_with(6, 0, &[0x94, 4, 0, 0], &segment()), none),
        ("hop-by-hop options", 101, ipv6(0, &join(&[&[6, 0, 1, 4, 0, 0, 0, 0], &segment()])), none),
        ("destination options", 101, ipv6(60, &join(&[&[6, 0, 1, 4, 0, 0, 0, 0], &segment()])), none),
        ("an atomic fragment", 101, ipv6(44, &join(&[&[6, 0, 0, 0, 0, 0, 0, 9], &segment()])), none),
        ("authentication header", 101, ipv4(51, &join(&[&[6, 4, 0, 0], &[1; 20], &segment()])), none),
        ("IP in IP", 101, ipv4(4, &v4), Oddities::IP_IN_IP),
        ("6in4", 101, ipv4(41, &v6), Oddities::IP_IN_IP),
        ("4in6", 101, ipv6(4, &v4), Oddities::IP_IN_IP),
        ("GRE", 1, gre(&[0, 0, 8, 0], &v4), Oddities::GRE),
        (
            "GRE with all fields",
            1,
            gre(&[0xb0, 0, 0x65, 0x58, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 2], &eth),
            Oddities::GRE,
        ),
        (
            "PPTP",
            1,
            gre(&[0x30, 0x81, 0x88, 0x0b, 0, 9, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 3, 0, 0x21], &v4),
            Oddities::GRE,
        ),
        ("ERSPAN I", 1, gre(&[0, 0, 0x88, 0xbe], &eth), Oddities::GRE),
        ("ERSPAN II", 1, gre(&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 1, 0, 1, 0, 0, 0, 0], &eth), Oddities::GRE),
        (
            "ERSPAN III",
            1,
            gre(&[0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 1, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0], &eth),
            Oddities::GRE,
        ),
        ("Aruba", 1, gre(&[0, 0, 0x82, 0], &join(&[WLAN, SNAP, &v4])), Oddities::GRE),
        ("VXLAN", 1, tunnel(4789, &[8, 0, 0, 0, 0, 0, 1, 0], &eth), Oddities::VXLAN),
        ("VXLAN on Linux's port", 1, tunnel(8472, &[8, 0, 0, 0, 0, 0, 1, 0], &eth), Oddities::VXLAN),
        ("VXLAN with other protocols", 1, tunnel(4790, &[12, 0, 0, 1, 0, 0, 1, 0], &v4), Oddities::VXLAN),
        ("GENEVE with options", 1, tunnel(6081, &[1, 0, 0x65, 0x58, 0, 0, 1, 0, 0, 0, 0, 0], &eth), Oddities::GENEVE),
        ("GTP-U", 1, tunnel(2152, &[0x30, 0xff, 0, 46, 0, 0, 0, 1], &v4), Oddities::GTP_U),
        (
            "GTP-U with an extension",
            1,
            tunnel(2152, &[0x34, 0xff, 0, 54, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 0, 0, 0], &v6),
            Oddities::GTP_U,
        ),
        (
            "Teredo",
            1,
            tunnel(3544, &[0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1], &v6),
            Oddities::TEREDO,
        ),
        ("GTP-U of version 0", 1, tunnel(3386, &[&[0x1e, 0xff, 0, 46][..], &[0; 16]].concat(), &v4), Oddities::GTP_U),
        ("EoIP", 1, gre(&[0x20, 1, 0x64, 0, 0, eth.len() as u8, 7, 0], &join(&[&eth, &[9; 4]])), Oddities::GRE),
        ("GRE in UDP", 1, tunnel(4754, &[0x20, 0, 0x65, 0x58, 0, 0, 0, 1], &eth), Oddities::GRE),
        ("AYIYA", 1, tunnel(5072, &[&[0x44, 0x52, 0x11, 41][..], &[0; 40]].concat(), &v6), Oddities::TUNNELLED),
        ("AYIYA, IPv4", 1, tunnel(5072, &[&[0x24, 0x02, 0x11, 4][..], &[0; 8]].concat(), &v4), Oddities::TUNNELLED),
        (
            "FabricPath",
            1,
            ethernet(0x8903, &join(&[&[0x04, 0x60], &ethernet(0x8100, &join(&[&[0, 5, 8, 0], &v4]))])),
            none,
        ),
        ("IP over InfiniBand", 242, join(&[&[0; 40], &[0x86, 0xdd, 0, 0], &v6]), none),
        ("L2TP", 1, tunnel(1701, &[0, 2, 0, 1, 0, 1, 0xff, 3, 0, 0x21], &v4), Oddities::TUNNELLED),
    ]
}

// ---- what is found ----

#[test]
fn every_way_down_leads_to_the_segment() {
    for (name, link, bytes, tunnels) in ways() {
        let found = decode(&mut Decoder::new(), link, &bytes, bytes.len());
        let Ok([(segment, payload)]) = found.as_deref() else { panic!("{name}: {found:?}") };
        assert_eq!((segment.src_port, segment.dst_port, segment.len), (12345, 80, 6), "{name}");
        assert_eq!(payload, b"octets", "{name}");
        let tunnelled = if tunnels.is_empty() { tunnels } else { tunnels | Oddities::TUNNELLED };
        assert_eq!(segment.oddities, tunnelled, "{name}");
    }
}

#[test]
fn the_tunnels_on_the_way_are_told_where_they_are_asked_for() {
    let v4 = ipv4(6, &segment());
    let eth = ethernet(0x0800, &v4);
    let over_udp = |port, header: &[u8], inner: &[u8]| ipv4(17, &udp(port, &join(&[header, inner])));
    let vxlan = over_udp(4789, &[8, 0, 0, 0, 0, 1, 0, 0], &eth);
    let half = vxlan.len() / 16 * 8;
    let pieces = [ipv4_with(17, 0x2000, &[], &vxlan[20..half + 20]), {
        ipv4_with(17, (half / 8) as u16, &[], &vxlan[half + 20..])
    }];
    let subframe = join(&[&[2; 12], &((8 + v4.len()) as u16).to_be_bytes(), SNAP, &v4]);
    let ends = "10.0.0.1 to 10.0.0.2";
    let cases: Vec<(u16, Vec<Vec<u8>>, String)> = vec![
        (1, vec![eth.clone()], String::new()),
        (1, vec![ethernet(0x88a8, &join(&[&[0x60, 5, 0x81, 0, 0, 6, 8, 0], &v4]))], "VLAN 5, VLAN 6".into()),
        (1, vec![ethernet(0x8847, &join(&[&[0, 1, 0, 64, 0, 2, 0x11, 64], &v4]))], "MPLS 33".into()),
        (1, vec![ethernet(0x88e7, &join(&[&[0xe0, 0, 1, 1], &eth]))], "PBB 257".into()),
        (51, vec![join(&[&[0x11, 0, 1, 2, 0, 48, 0, 0x21], &v4])], "PPPoE 258".into()),
        (101, vec![vxlan.clone()], format!("VXLAN 256 {ends}")),
        (101, pieces.to_vec(), format!("VXLAN 256 {ends}")),
        (101, vec![over_udp(4790, &[12, 0, 0, 1, 0, 0, 1, 0], &v4)], format!("VXLAN 1 {ends}")),
        (101, vec![over_udp(6081, &[0, 0, 8, 0, 0, 0, 7, 0], &v4)], format!("GENEVE 7 {ends}")),
        (101, vec![over_udp(2152, &[0x30, 0xff, 0, 46, 0xff, 0, 0, 1], &v4)], format!("GTP-U 4278190081 {ends}")),
        (101, vec![over_udp(1701, &[0, 2, 0, 3, 0, 4, 0xff, 3, 0, 0x21], &v4)], format!("L2TP 4 {ends}")),
        (101, vec![over_udp(4341, &[8, 0, 0, 0, 0, 0, 9, 0], &v4)], format!("LISP 9 {ends}")),
        (101, vec![over_udp(6635, &[0, 0, 0x41, 64], &v4)], format!("MPLS 4 {ends}")),
        (101, vec![ipv4(47, &join(&[&[0, 0, 8, 0], &v4]))], format!("GRE {ends}")),
        (101, vec![ipv4(47, &join(&[&[0x20, 0, 0x65, 0x58, 0, 0, 0, 7], &eth]))], format!("GRE 7 {ends}")),
        (101, vec![ipv4(47, &join(&[&[0x20, 1, 0x88, 0x0b, 0, 50, 0, 8, 0, 0x21], &v4]))], format!("GRE 8 {ends}")),
        (
            101,
            vec![ipv4(47, &join(&[&[0x20, 1, 0x64, 0, 0, eth.len() as u8, 7, 1], &eth]))],
            format!("EoIP 263 {ends}"),
        ),
        (101, vec![over_udp(4754, &[0x20, 0, 8, 0, 0, 0, 0, 7], &v4)], format!("GRE in UDP 7 {ends}")),
        (101, vec![over_udp(4754, &[0, 0, 8, 0], &v4)], format!("GRE in UDP {ends}")),
        (101, vec![over_udp(5072, &[0x04, 0x02, 0x11, 4, 0, 0, 0, 0, 0], &v4)], format!("AYIYA {ends}")),
        (1, vec![ethernet(0x8903, &join(&[&[0x04, 0x60], &eth]))], "FabricPath 17".into()),
        (
            101,
            vec![ipv4(47, &join(&[&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 0x10, 5, 0, 20, 0, 0, 0, 0], &eth]))],
            format!("GRE {ends}, ERSPAN 20"),
        ),
        (101, vec![ipv4(4, &ipv4(4, &v4))], format!("IP in IP {ends}, IP in IP {ends}")),
        (101, vec![ipv6(41, &ipv6(6, &segment()))], "IP in IP 2001:db8::1 to 2001:db8::2".into()),
        (1, vec![ethernet(0x8100, &join(&[&[0, 9, 8, 0], &vxlan]))], format!("VLAN 9, VXLAN 256 {ends}")),
        // The lower port is tried first, and is none of a tunnel with this content.
        (101, vec![ipv4(17, &join(&[&[8, 0x68, 0x12, 0xb5], &vxlan[24..]]))], format!("VXLAN 256 {ends}")),
        (105, vec![join(&[&[0x88], &WLAN[1..], &[0x80, 0], &subframe])], String::new()),
    ];
    for (link, frames, expected) in cases {
        let mut decoder = Decoder::new().with_tunnels();
        let found = frames.iter().map(|bytes| decode(&mut decoder, link, bytes, bytes.len())).last();
        assert!(matches!(found.as_ref().map(Result::as_deref), Some(Ok([_]))), "{expected}: {found:?}");
        let told = |tunnel: &Tunnel| match tunnel.ends {
            Some((src, dst)) => format!("{tunnel} {src} to {dst}"),
            None => tunnel.to_string(),
        };
        let told: Vec<_> = decoder.tunnels().iter().map(told).collect();
        assert_eq!(told.join(", "), expected);
    }
    let mut unasked = Decoder::new();
    assert!(decode(&mut unasked, 101, &vxlan, vxlan.len()).is_ok());
    assert_eq!(unasked.tunnels(), []);
}

#[test]
fn a_segment_has_all_that_its_headers_say() {
    let mut bytes = ethernet(0x0800, &ipv4(6, &tcp(0xd8, &[], b"hi")));
    bytes[15] = 3; // the IP header's ECN field
    bytes[14 + 20 + 12] |= 1;
    bytes[14 + 20 + 16..14 + 20 + 20].copy_from_slice(&[0xbe, 0xef, 0, 7]);
    bytes.resize(60, 0xff);
    let (segment, payload) = only(1, &bytes);
    assert_eq!(segment.from().to_string(), "10.0.0.1:12345");
    assert_eq!(segment.to().to_string(), "10.0.0.2:80");
    assert_eq!((segment.seq.0, segment.ack.0, segment.window, segment.len), (1, 2, 4096, 2));
    assert_eq!((segment.checksum, segment.urgent, segment.ip_id), (0xbeef, 7, Some(1)));
    assert_eq!(segment.flags, Flags::ACK | Flags::PSH | Flags::ECE | Flags::CWR | Flags::AE);
    assert_eq!(segment.oddities, Oddities::CONGESTION_EXPERIENCED);
    assert_eq!(payload, b"hi", "the padding is no payload");
}

#[test]
fn options_are_read_up_to_what_is_impossible() {
    let with = |options: &[u8]| only(101, &ipv4(6, &tcp(2, options, &[]))).0;
    let syn = with(&[2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 9, 0, 0, 0, 0, 1, 3, 3, 7, 34, 2, 30, 4, 0x10, 1, 77, 2]);
    assert_eq!((syn.options.mss, syn.options.window_scale), (Some(1460), Some(7)));
    assert_eq!(syn.options.timestamps, Some((9, 0)));
    assert!(syn.options.sack_permitted && syn.options.fast_open);
    assert_eq!((syn.options.mptcp, syn.options.other), (Some(1), Some(77)));
    assert_eq!(syn.oddities, Oddities::empty());

    let sack = with(&[1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 5, 0, 0, 0, 6]);
    let edges: Vec<_> = sack.options.sack_edges().iter().map(|(left, right)| (left.0, right.0)).collect();
    assert_eq!(edges, [(1, 2), (5, 6)]);

    let timestamps = with(&[1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2]);
    assert_eq!(timestamps.options.timestamps, Some((1, 2)));

    for impossible in [&[2, 255, 0, 0][..], &[2, 0, 5, 0], &[2, 1, 5, 0], &[3, 2, 0, 0], &[8, 4, 0, 0], &[1, 1, 1, 2]] {
        assert_eq!(with(impossible).oddities, Oddities::BAD_OPTIONS, "{impossible:?}");
    }
    assert_eq!(with(&[0, 255, 255, 255]).oddities, Oddities::empty(), "what follows the end is no option");
}

#[test]
fn lengths_that_lie_are_told() {
    let whole = ipv4(6, &segment());
    let with_total = |total: u16| {
        let mut bytes = whole.clone();
        bytes[2..4].copy_from_slice(&total.to_be_bytes());
        bytes
    };
    assert_eq!(skip(101, &with_total(19)), Skip::Malformed);
    let (long, payload) = only(101, &with_total(1500));
    assert_eq!((long.len, long.oddities, &payload[..]), (6, Oddities::BAD_LENGTH, &b"octets"[..]));
    let (offloaded, payload) = only(101, &with_total(0));
    assert_eq!((offloaded.len, offloaded.oddities, &payload[..]), (6, Oddities::empty(), &b"octets"[..]));

    let with_offset = |words: u8| {
        let mut bytes = whole.clone();
        bytes[32] = words << 4;
        only(101, &bytes).0
    };
    let beyond = with_offset(15);
    assert_eq!((beyond.len, beyond.oddities), (0, Oddities::BAD_OFFSET | Oddities::BAD_OPTIONS));
    assert!(beyond.is_unreadable() && !beyond.has_short_header());
    let short = with_offset(4);
    assert_eq!((short.len, short.oddities), (10, Oddities::BAD_OFFSET));
    assert!(short.is_unreadable() && short.has_short_header());
}

#[test]
fn what_is_no_segment_says_why() {
    let quoted = ipv4(1, &join(&[&[3, 1, 0, 0, 0, 0, 0, 0], &ipv4(6, &segment())]));
    assert_eq!(skip(101, &quoted), Skip::NotTcp);
    assert_eq!(skip(1, &ethernet(0x0806, &[0; 28])), Skip::NotTcp);
    assert_eq!(skip(147, &quoted), Skip::LinkType);
    assert_eq!(skip(101, &[0x55; 40]), Skip::Malformed);
    assert_eq!(skip(101, &ipv4_with(6, 0x2000, &[], &[0; 64])), Skip::Fragment);
    // GTP': without the protocol type bit, or of a later version on the port of charging records.
    let v4 = ipv4(6, &segment());
    for (port, flags) in [(2152, 0x20), (2152, 0x0e), (3386, 0x0e), (3386, 0x30)] {
        let prime = join(&[&[flags, 0xff, 0, 46], &[0; 4], &[0; 12][..if flags < 0x20 { 12 } else { 0 }], &v4]);
        assert_eq!(skip(101, &ipv4(17, &udp(port, &prime))), Skip::NotTcp, "{port} {flags:x}");
    }
    // EoIP's key tells where its frame is; an AYIYA message that forwards nothing.
    assert_eq!(skip(101, &ipv4(47, &join(&[&[0, 1, 0x64, 0], &ethernet(0x0800, &v4)]))), Skip::NotTcp);
    assert_eq!(skip(101, &ipv4(17, &udp(5072, &join(&[&[0x04, 0x02, 0x12, 4, 0, 0, 0, 0, 0], &v4])))), Skip::NotTcp);
    let nested = (0..40).fold(ipv4(6, &segment()), |inner, _| ipv4(4, &inner));
    assert_eq!(skip(101, &nested), Skip::TooDeep);
}

#[test]
fn an_icmp_error_tells_who_sent_it_and_what_it_says() {
    use super::IcmpKind::*;
    let told = |version6: bool, kind, code, word: u32| {
        let header = join(&[&[kind, code, 0, 0], &word.to_be_bytes()]);
        let bytes = match version6 {
            false => ipv4(1, &join(&[&header, &ipv4(6, &segment())])),
            true => ipv6(58, &join(&[&header, &ipv6(6, &segment())])),
        };
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, 101, &bytes, bytes.len()), Err(Skip::NotTcp));
        decoder.quote().map(|(segment, error)| {
            assert_eq!(
                (segment.dst_port, error.from.to_string()),
                (80, if version6 { "2001:db8::1" } else { "10.0.0.1" }.into())
            );
            (error.kind, error.mtu)
        })
    };
    assert_eq!(told(false, 3, 10, 0), Some((HostProhibited, None)));
    assert_eq!(told(false, 3, 4, 1400), Some((FragmentationNeeded, Some(1400))));
    assert_eq!(told(false, 3, 4, 0), Some((FragmentationNeeded, None)));
    assert_eq!(told(false, 3, 1, 7), Some((HostUnreachable, None)));
    assert_eq!(told(false, 11, 0, 0), Some((TimeExceeded, None)));
    assert_eq!(told(false, 5, 0, 0), None, "a redirect is no error");
    assert_eq!(told(true, 1, 1, 0), Some((Prohibited, None)));
    assert_eq!(told(true, 2, 0, 1280), Some((FragmentationNeeded, Some(1280))));
    assert_eq!(told(true, 1, 4, 0), Some((PortUnreachable, None)));
    assert_eq!(told(true, 128, 0, 0), None);
    // Old routers quote eight octets of the TCP header, and no less.
    let start = |octets: usize| {
        let quoted = &ipv4(6, &segment())[..20 + octets];
        let bytes = ipv4(1, &join(&[&[3, 13, 0, 0, 0, 0, 0, 0], quoted]));
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, 101, &bytes, bytes.len()), Err(Skip::NotTcp));
        decoder.quote().map(|(segment, error)| (segment.src_port, segment.dst_port, segment.flags, error.kind))
    };
    assert_eq!([7, 8].map(start), [None, Some((12345, 80, Flags::empty(), Prohibited))]);
}

#[test]
fn tunnels_in_each_other_take_a_step_for_each_header() {
    // Either port of each would do, and what is innermost is not TCP: nothing ends the search but its bound.
    let tunnel = |inner: Vec<u8>| {
        let gtp = join(&[&[0x1e, 0xff], &[0; 18], &inner]);
        ipv4(17, &join(&[&[8, 0x68, 13, 0x3a], &(8 + gtp.len() as u16).to_be_bytes(), &[0, 0], &gtp]))
    };
    for depth in 1..=14 {
        let frame = (0..depth).fold(ipv4(250, &[0; 40]), |inner, _| tunnel(inner));
        let mut decoder = Decoder::new();
        assert_eq!(decode(&mut decoder, 101, &frame, frame.len()), Err(Skip::NotTcp));
        // The link layer, and one IP header each.
        assert_eq!(decoder.steps(), 2 + depth);
    }
}

#[test]
fn of_an_aggregate_no_more_is_followed_than_may_be_sent_as_one() {
    let body = join(&[SNAP, &ipv4(6, &tcp(0x10, &[], &[]))]);
    let subframe = join(&[&[0; 12], &(body.len() as u16).to_be_bytes(), &body, &[0, 0]]);
    assert_eq!(subframe.len(), 64);
    for (count, segments, whole) in [(1, 1, true), (179, 179, true), (180, 179, false), (4000, 179, false)] {
        let frame = join(&[&[0x88, 1], &[0; 22], &[0x80, 0], &subframe.repeat(count)]);
        let frame = Frame {
            number: 1,
            at: None,
            link: LinkType(105),
            bytes: &frame,
            wire_len: frame.len() as u32,
            seen: Default::default(),
        };
        let mut seen = 0;
        let decoded = Decoder::new().decode(&frame, |_, _| seen += 1);
        assert_eq!((seen, decoded), (segments, if whole { Ok(()) } else { Err(Skip::OverBudget) }));
    }
}

#[test]
fn a_frame_takes_no_more_steps_than_its_octets_are_worth() {
    // Headers of PPP multilink, five octets each: the shortest in which another of their kind can stand.
    let multilink = [0x3d, 0xc0, 0, 0, 0].repeat(15);
    let session = join(&[&[0x11, 0, 0, 1], &(multilink.len() as u16).to_be_bytes(), &multilink]);
    let subframe = |body: &[u8]| {
        let head = join(&[&[0; 12], &(body.len() as u16).to_be_bytes(), body]);
        join(&[&head, &vec![0; head.len().next_multiple_of(4) - head.len()]])
    };
    let stacks = subframe(&join(&[&SNAP[..6], &[0x88, 0x64], &session]));
    let segments = subframe(&join(&[SNAP, &ipv4(6, &segment())]));
    let frame = |count| join(&[&[0x88, 1], &[0; 22], &[0x80, 0], &segments, &stacks.repeat(count)]);
    let mut decoder = Decoder::new();
    let mut told = |frame: &[u8]| {
        let mut count = 0;
        let frame = Frame {
            number: 1,
            at: None,
            link: LinkType(105),
            bytes: frame,
            wire_len: frame.len() as u32,
            seen: Default::default(),
        };
        let decoded = decoder.decode(&frame, |_, _| count += 1);
        (decoded, count, decoder.steps())
    };
    let few = frame(2);
    assert_eq!((told(&few).0, told(&few).1), (Ok(()), 1));
    // What stood before it was too much is told all the same.
    let many = frame(100);
    assert_eq!(told(&many), (Err(Skip::OverBudget), 1, 32 + many.len() as u32 / 8));
}

#[test]
fn each_header_of_a_tunnel_in_tcp_would_be_called_outermost_first() {
    // Two subframes of one 802.11 frame are the one case of two segments in a frame.
    let subframe = |flags| {
        let body = join(&[SNAP, &ipv4(6, &tcp(flags, &[], b"octets"))]);
        let mut bytes = join(&[&[2; 12], &(body.len() as u16).to_be_bytes(), &body]);
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    };
    let frame = join(&[&[0x88], &WLAN[1..], &[0x80, 0], &subframe(2), &subframe(16)]);
    let found = decode(&mut Decoder::new(), 105, &frame, frame.len()).unwrap();
    let flags: Vec<_> = found.iter().map(|(segment, _)| segment.flags).collect();
    assert_eq!(flags, [Flags::SYN, Flags::ACK]);
}

#[test]
fn checksums_are_verified_only_where_asked() {
    let mut bytes = ipv4(6, &segment());
    let view = pnet::packet::tcp::TcpPacket::new(&bytes[20..]).unwrap();
    let right = pnet::packet::tcp::ipv4_checksum(&view, &[10, 0, 0, 1].into(), &[10, 0, 0, 2].into());
    bytes[36..38].copy_from_slice(&right.to_be_bytes());
    let verify = |bytes: &[u8], wire_len| {
        let mut decoder = Decoder::new().with_checksums(Checksums::Verify);
        decode(&mut decoder, 101, bytes, wire_len).unwrap()[0].0.oddities
    };
    assert_eq!(verify(&bytes, bytes.len()), Oddities::GOOD_CHECKSUM);
    assert_eq!(verify(&bytes[..44], bytes.len()), Oddities::CUT, "what is cut cannot be verified");
    bytes[45] ^= 1;
    assert_eq!(verify(&bytes, bytes.len()), Oddities::BAD_CHECKSUM);
    assert_eq!(only(101, &bytes).0.oddities, Oddities::empty());
}

proptest! {
    /// The checksum over wide words is that of pnet, which adds up the header's numbers one by one.
    #[test]
    fn checksums_are_right_for_any_octets(
        payload in proptest::collection::vec(any::<u8>(), 0..60),
        addresses: [[u8; 16]; 2],
        version6: bool,
        wrong in 1u16..,
    ) {
        let mut bytes = if version6 { ipv6(6, &tcp(0x18, &[], &payload)) } else { ipv4(6, &tcp(0x18, &[], &payload)) };
        let (start, width, header) = if version6 { (8, 16, 40) } else { (12, 4, 20) };
        for (side, address) in addresses.iter().enumerate() {
            bytes[start + side * width..][..width].copy_from_slice(&address[..width]);
        }
        let view = pnet::packet::tcp::TcpPacket::new(&bytes[header..]).unwrap();
        let right = if version6 {
            let [src, dst] = addresses.map(Into::into);
            pnet::packet::tcp::ipv6_checksum(&view, &src, &dst)
        } else {
            let [src, dst] = addresses.map(|[a, b, c, d, ..]| [a, b, c, d].into());
            pnet::packet::tcp::ipv4_checksum(&view, &src, &dst)
        };
        let mut told = |checksum: u16| {
            bytes[header + 16..header + 18].copy_from_slice(&checksum.to_be_bytes());
            let mut decoder = Decoder::new().with_checksums(Checksums::Verify);
            decode(&mut decoder, 101, &bytes, bytes.len()).unwrap()[0].0.oddities
        };
        prop_assert_eq!(told(right), Oddities::GOOD_CHECKSUM);
        // In one's complement there are two zeros, and a receiver takes either for the other.
        let is_other_zero = [right, right ^ wrong].iter().all(|sum| matches!(sum, 0 | 0xffff));
        let expected = if is_other_zero { Oddities::GOOD_CHECKSUM } else { Oddities::BAD_CHECKSUM };
        prop_assert_eq!(told(right ^ wrong), expected);
    }
}

// ---- what is cut ----

#[test]
fn of_controls_alone_what_no_offload_leaves_is_wrong() {
    let told = |flags, checksum: u16, version6: bool| {
        let mut tcp = tcp(flags, &[], b"octets");
        tcp[16..18].copy_from_slice(&checksum.to_be_bytes());
        let bytes = if version6 { ipv6(6, &tcp) } else { ipv4(6, &tcp) };
        let mut decoder = Decoder::new().with_checksums(Checksums::Controls);
        decode(&mut decoder, 101, &bytes, bytes.len()).unwrap()[0].0.oddities
    };
    // Of 10.0.0.1 to 10.0.0.2, TCP, 26 octets: with the length and without it.
    assert_eq!([0, 0x1409, 0x1423].map(|sum| told(2, sum, false)), [Oddities::empty(); 3]);
    // Of 2001:db8::1 to 2001:db8::2.
    assert_eq!([0, 0x5b7b, 0x5b95].map(|sum| told(2, sum, true)), [Oddities::empty(); 3]);
    for flags in [2, 1, 4, 18] {
        assert_eq!(told(flags, 0x1424, false), Oddities::BAD_CHECKSUM);
    }
    assert_eq!(told(16, 0x1424, false), Oddities::empty(), "others are not looked at");
    let right = (1..=u16::MAX).filter(|sum| told(2, *sum, false) == Oddities::GOOD_CHECKSUM);
    assert_eq!(right.count(), 1);
}

#[test]
fn a_cut_frame_shows_the_same_segment_or_none() {
    for (name, link, bytes, _) in ways() {
        let whole = only(link, &bytes).0;
        for captured in 0..bytes.len() {
            match decode(&mut Decoder::new(), link, &bytes[..captured], bytes.len()) {
                Ok(found) => {
                    let (cut, payload) = &found[0];
                    let header = (cut.src_port, cut.dst_port, cut.seq, cut.ack, cut.flags, cut.window, cut.len);
                    assert_eq!(
                        header,
                        (whole.src_port, whole.dst_port, whole.seq, whole.ack, whole.flags, whole.window, whole.len),
                        "{name} cut to {captured}"
                    );
                    assert!(b"octets".starts_with(payload), "{name} cut to {captured}");
                    assert_eq!(cut.oddities.contains(Oddities::CUT), payload.len() < 6, "{name} cut to {captured}");
                }
                Err(skip) => assert_eq!(skip, Skip::Truncated, "{name} cut to {captured}"),
            }
        }
    }
}

// ---- fragments ----

/// The fragments of an IPv4 packet that carries this payload, cut at these multiples of eight octets.
fn fragments(payload: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let edges: Vec<usize> = [0].into_iter().chain(cuts.iter().map(|cut| cut * 8)).chain([payload.len()]).collect();
    edges
        .windows(2)
        .map(|edge| {
            let more = if edge[1] < payload.len() { 0x2000 } else { 0 };
            ipv4_with(6, more | (edge[0] / 8) as u16, &[], &payload[edge[0]..edge[1]])
        })
        .collect()
}

#[test]
fn a_fragmented_segment_comes_in_the_frame_that_completes_it() {
    let payload: Vec<u8> = (0..100).collect();
    let parts = fragments(&tcp(0x10, &[], &payload), &[3, 7]);
    let mut decoder = Decoder::new();
    for part in [&parts[2], &parts[0], &parts[0]] {
        assert_eq!(decode(&mut decoder, 101, part, part.len()), Err(Skip::Fragment));
    }
    let found = decode(&mut decoder, 101, &parts[1], parts[1].len()).unwrap();
    assert_eq!((found[0].0.len, &found[0].1), (100, &payload));
    assert_eq!(found[0].0.oddities, Oddities::FRAGMENTED);
}

#[test]
fn a_first_fragment_that_is_cut_shows_its_header() {
    let parts = fragments(&tcp(0x10, &[], &[0; 100]), &[8]);
    let found = decode(&mut Decoder::new(), 101, &parts[0][..60], parts[0].len()).unwrap();
    assert_eq!((found[0].0.len, found[0].0.oddities), (0, Oddities::CUT));
}

#[test]
fn a_fragment_beyond_any_packet_is_left_out() {
    let mut decoder = Decoder::new();
    let mut add = |offset: u16| {
        let bytes = ipv4_with(6, offset, &[], &[7; 8]);
        assert_eq!(decode(&mut decoder, 101, &bytes, bytes.len()), Err(Skip::Fragment));
        decoder.fragments.octets()
    };
    assert_eq!(add(8191), 0);
    assert!(add(8190) > 65_000);
}

#[test]
fn the_rest_of_a_packet_is_waited_for_no_longer_than_two_minutes() {
    let whole = tcp(0x10, &[], &[7; 64]);
    let parts = fragments(&whole, &[4]);
    let found_after = |seconds: i64| {
        let (mut decoder, mut found) = (Decoder::new(), 0);
        for (part, at) in parts.iter().zip([0, seconds]) {
            let at = Some(Timestamp::from_nanos(at * 1_000_000_000));
            let (link, wire_len) = (LinkType(101), part.len() as u32);
            let frame = Frame { number: 1, at, link, bytes: part, wire_len, seen: Default::default() };
            let _ = decoder.decode(&frame, |_, _| found += 1);
        }
        found
    };
    assert_eq!(parts.len(), 2);
    assert_eq!([120, 121].map(found_after), [1, 0]);
}

#[test]
fn endless_fragments_are_let_go_of() {
    let mut decoder = Decoder::new();
    for number in 0..5_000u32 {
        let mut bytes = ipv4_with(6, 0x2000 | 1000, &[], &[7; 8]);
        bytes[12..16].copy_from_slice(&number.to_be_bytes());
        assert_eq!(decode(&mut decoder, 101, &bytes, bytes.len()), Err(Skip::Fragment));
    }
    assert!(decoder.fragments.octets() <= 8 << 20);
}

proptest! {
    #[test]
    fn fragments_in_any_order_give_the_segment_once(
        length in 0usize..600,
        cuts in proptest::collection::btree_set(1usize..70, 0..12),
        order in any::<proptest::sample::Index>(),
        seed: u64,
    ) {
        let payload: Vec<u8> = (0..length).map(|i| (i as u64 ^ seed) as u8).collect();
        let whole = tcp(0x10, &[], &payload);
        let cuts: Vec<usize> = cuts.into_iter().filter(|cut| cut * 8 < whole.len()).collect();
        let mut parts = fragments(&whole, &cuts);
        let turn = order.index(parts.len());
        parts.rotate_left(turn);
        if seed & 1 == 1 {
            parts.reverse();
        }
        let mut decoder = Decoder::new();
        let mut found = Vec::new();
        for part in &parts {
            found.extend(decode(&mut decoder, 101, part, part.len()).unwrap_or_default());
        }
        prop_assert_eq!(found.len(), 1);
        prop_assert_eq!(&found[0].1, &payload);
        prop_assert_eq!(decoder.fragments.octets(), 0);
    }

    // ---- whatever comes ----

    #[test]
    fn no_bytes_of_any_link_type_are_too_odd(
        link in prop_oneof![0u16..300, proptest::sample::select(ways().iter().map(|way| way.1).collect::<Vec<_>>())],
        bytes in proptest::collection::vec(any::<u8>(), 0..300),
        beyond in 0usize..100,
    ) {
        let mut decoder = Decoder::new().with_checksums(Checksums::Verify);
        let found = decode(&mut decoder, link, &bytes, bytes.len() + beyond).unwrap_or_default();
        for (segment, payload) in found {
            prop_assert!(payload.len() <= segment.len as usize);
        }
    }

    #[test]
    fn no_change_to_a_frame_is_too_odd(
        way in 0..ways().len(),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..8),
        captured in any::<proptest::sample::Index>(),
    ) {
        let (_, link, mut bytes, _) = ways().swap_remove(way);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let captured = captured.index(bytes.len() + 1);
        let mut decoder = Decoder::new().with_checksums(Checksums::Verify);
        for (segment, payload) in decode(&mut decoder, link, &bytes[..captured], bytes.len()).unwrap_or_default() {
            prop_assert!(payload.len() <= segment.len as usize);
            prop_assert!(segment.options.sack_edges().len() <= 4);
        }
    }

    /// A plain frame, however odd, is the same whether it is decoded at once or layer by layer.
    #[test]
    fn plain_frames_are_what_their_layers_say(
        version6 in proptest::bool::weighted(0.1),
        words in proptest::collection::vec(any::<[u8; 4]>(), 0..11),
        (flags, fragment) in (any::<u8>(), prop_oneof![4 => Just(0x4000), 1 => any::<u16>()]),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 0..3),
        (captured, padding, beyond) in (any::<proptest::sample::Index>(), 0usize..9, 0usize..9),
        checksums in proptest::sample::select(&[Checksums::Ignore, Checksums::Controls, Checksums::Verify]),
    ) {
        let tcp = tcp(flags, &words.concat(), b"octets");
        let mut bytes = if version6 {
            ethernet(0x86dd, &ipv6(6, &tcp))
        } else {
            ethernet(0x0800, &ipv4_with(6, fragment, &words.concat()[..words.len() / 4 * 4], &tcp))
        };
        bytes.extend_from_slice(&vec![0; padding]);
        for (place, value) in changes {
            let place = place.index(bytes.len());
            bytes[place] = value;
        }
        let wire_len = bytes.len() + beyond;
        // Half of them are whole.
        bytes.truncate(captured.index(2 * bytes.len() + 2));
        let [at_once, by_layer] = [true, false].map(|at_once| {
            let mut decoder = Decoder::new().with_checksums(checksums).with_tunnels();
            let frame = Frame {
                number: 7,
                at: Some(Timestamp::from_nanos(5)),
                link: LinkType::ETHERNET,
                bytes: &bytes,
                wire_len: wire_len as u32,
                seen: Default::default(),
            };
            let mut found = Vec::new();
            let on = |segment: &Segment, payload: &[u8]| found.push((*segment, payload.to_vec()));
            let decoded = if at_once { decoder.decode(&frame, on) } else { decoder.decode_layers(&frame, on) };
            (decoded, found, decoder.steps(), decoder.quote(), decoder.tunnels().to_vec())
        });
        prop_assert_eq!(at_once, by_layer);
    }
}
