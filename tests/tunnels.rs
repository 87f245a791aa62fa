//! `analyze --timeline` shows what segments came in, and says where connections of several networks are one.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

#[test]
fn a_connection_in_vxlan_names_its_network_and_the_outer_addresses() {
    let frames = [vxlan(42, SYN, Way::There), vxlan(42, SYN_ACK, Way::Back)];
    let lines = jsonl(&frames, &["--timeline", "--format", "jsonl"]);
    let tunnels: Vec<&Value> = of(&lines, "segment").map(|line| &line["tunnel"]).collect();
    let tunnel = |src, dst| json!([{"kind": "vxlan", "id": 42, "src": src, "dst": dst}]);
    assert_eq!(tunnels, [&tunnel("192.0.2.1", "192.0.2.2"), &tunnel("192.0.2.2", "192.0.2.1")]);
    for width in ["80", "120"] {
        let text = analyze(&frames, &["--timeline", "--color", "never", "--ascii", "--width", width]);
        let heading: Vec<_> = text.lines().take(2).collect();
        assert!(heading[0].starts_with("10.0.0.1:12345 -> 10.0.0.2:80"), "{text}");
        assert_eq!(heading[1], "in VXLAN 42 192.0.2.1 -> 192.0.2.2", "{text}");
    }
}

#[test]
fn two_networks_with_the_same_addresses_are_one_connection_and_the_timeline_says_so() {
    let frames = [
        vxlan(42, SYN, Way::There),
        vxlan(43, SYN, Way::There),
        vxlan(42, SYN_ACK, Way::Back),
        vxlan(43, SYN_ACK, Way::Back),
    ];
    let lines = jsonl(&frames, &["--timeline", "--format", "jsonl"]);
    let connections: Vec<_> = of(&lines, "connection").collect();
    let [connection] = connections[..] else { panic!("{connections:?}") };
    let first = &connection["findings"][0];
    assert_eq!(
        (&first["name"], &first["frame"], &first["side"]),
        (&json!("other_tunnel"), &json!(2), &json!("client"))
    );
    assert!(first["note"].as_str().unwrap().contains("VXLAN 43"), "{first}");
    // The summary keeps no segment, so it cannot know.
    let lines = jsonl(&frames, &["--format", "jsonl"]);
    let names: Vec<_> = of(&lines, "connection").flat_map(|line| line["findings"].as_array().unwrap()).collect();
    assert!(names.iter().all(|finding| finding["name"] != "other_tunnel"), "{names:?}");
}

#[test]
fn each_kind_of_tunnel_has_its_name_and_number() {
    let inner = ipv4(
        6,
        [10, 0, 0],
        (1, 2),
        &[&[48, 57, 0, 80, 0, 0, 3, 232, 0, 0, 0, 0, 0x50, SYN, 16, 0][..], &[0; 4]].concat(),
    );
    let ethernet = [&[2; 12][..], &[8, 0], &inner].concat();
    let gre = |head: &[u8], inner: &[u8]| ipv4(47, [192, 0, 2], (1, 2), &[head, inner].concat());
    let udp = |port: u16, head: &[u8], inner: &[u8]| {
        let length = (8 + head.len() + inner.len()) as u16;
        let udp = [&[0xc0, 0][..], &port.to_be_bytes(), &length.to_be_bytes(), &[0, 0], head, inner].concat();
        ipv4(17, [192, 0, 2], (1, 2), &udp)
    };
    let frames = [
        gre(&[0x20, 1, 0x64, 0, 0, ethernet.len() as u8, 7, 1], &ethernet),
        udp(4754, &[0x20, 0, 0x65, 0x58, 0, 0, 0, 9], &ethernet),
        udp(5072, &[&[0x44, 0x52, 0x11, 4][..], &[0; 40]].concat(), &inner),
        gre(&[0, 0, 0x89, 3, 0x04, 0x60], &ethernet),
    ];
    let lines = jsonl(&frames, &["--timeline", "--format", "jsonl"]);
    let kinds: Vec<_> = of(&lines, "segment")
        .map(|line| {
            line["tunnel"]
                .as_array()
                .unwrap()
                .iter()
                .map(|tunnel| json!([tunnel["kind"], tunnel["id"]]))
                .collect::<Vec<_>>()
        })
        .collect();
    let expected = [
        vec![json!(["eoip", 263])],
        vec![json!(["gre_in_udp", 9])],
        vec![json!(["ayiya", null])],
        vec![json!(["gre", null]), json!(["fabricpath", 17])],
    ];
    assert_eq!(kinds, expected);
}

/// Which way a frame goes.
#[derive(Clone, Copy)]
enum Way {
    There,
    Back,
}

const SYN: u8 = 2;
const SYN_ACK: u8 = 18;

/// A segment in IPv4 in Ethernet in VXLAN in UDP in IPv4.
fn vxlan(network: u8, flags: u8, way: Way) -> Vec<u8> {
    let (from, to, ports) = match way {
        Way::There => (1, 2, [12345u16, 80]),
        Way::Back => (2, 1, [80, 12345]),
    };
    let ports: Vec<u8> = ports.iter().flat_map(|port| port.to_be_bytes()).collect();
    let ack = if flags == SYN { 0 } else { 1001 };
    let tcp = [&ports[..], &[0, 0, 3, 232, 0, 0], &u16::to_be_bytes(ack), &[0x50, flags, 16, 0, 0, 0, 0, 0]].concat();
    let inner = [&[2; 12][..], &[8, 0], &ipv4(6, [10, 0, 0], (from, to), &tcp)].concat();
    let length = (16 + inner.len() as u16).to_be_bytes();
    let udp = [&[0xc0, 0, 0x12, 0xb5][..], &length, &[0, 0, 8, 0, 0, 0, 0, 0, network, 0], &inner].concat();
    ipv4(17, [192, 0, 2], (from, to), &udp)
}

fn ipv4(protocol: u8, network: [u8; 3], (from, to): (u8, u8), payload: &[u8]) -> Vec<u8> {
    let length = (20 + payload.len() as u16).to_be_bytes();
    let head = [&[0x45, 0][..], &length, &[0, 0, 0x40, 0, 64, protocol, 0, 0]].concat();
    [&head[..], &network, &[from], &network, &[to], payload].concat()
}

fn of<'a>(lines: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["type"] == kind)
}

fn jsonl(frames: &[Vec<u8>], options: &[&str]) -> Vec<Value> {
    analyze(frames, options).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// What `analyze` says of raw IP frames, 1 ms apart.
fn analyze(frames: &[Vec<u8>], options: &[&str]) -> String {
    let word = u32::to_le_bytes;
    let mut capture = [&word(0xa1b2_c3d4)[..], &[2, 0, 4, 0], &[0; 8], &word(65_535), &word(101)].concat();
    for (number, frame) in frames.iter().enumerate() {
        for field in [1_700_000_000, number as u32 * 1000, frame.len() as u32, frame.len() as u32] {
            capture.extend_from_slice(&word(field));
        }
        capture.extend_from_slice(frame);
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
        .arg("analyze")
        .args(options)
        .arg("-")
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&capture).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{}", output.status);
    String::from_utf8(output.stdout).unwrap()
}
