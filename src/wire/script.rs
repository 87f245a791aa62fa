//! Segments written down in packetdrill's manner, for tests.

use std::net::{IpAddr, Ipv4Addr};

use super::{Flags, Oddities, Options, Segment, Seq};
use crate::time::Timestamp;

/// Which end of a script's connection sends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum From {
    /// `<`: the end at 10.0.0.1, port 5000.
    Client,
    /// `>`: the end at 10.0.0.2, port 80.
    Server,
}

/// Reads the lines of a script: each a segment and what the test expects of it, after `=`.
///
/// `12.5 < P. 101(10) ack 301 win 512 ws 7 ts 5:6 id 9` is a segment 12.5 ms after the start from the client, with PSH and ACK,
/// ten octets from 101 on, the window field 512, and window scale, timestamps and IP identification where they are given, as are SACK blocks with `sack 101-111,121-131`.
/// Where none is given the window is 1000 and the identification counts up. Frames count from 1.
pub(crate) fn read(script: &str) -> impl Iterator<Item = (From, Segment, &str)> {
    let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.zip(1..).map(|(line, frame)| {
        let (what, expected) = line.split_once('=').unwrap_or((line, ""));
        let (from, segment) = parse(what, frame);
        (from, segment, expected.trim())
    })
}

fn parse(what: &str, frame: u64) -> (From, Segment) {
    let mut words = what.split_whitespace();
    let mut word = || words.next();
    let millis: f64 = word().expect("time").parse().expect("time in ms");
    let from = if word() == Some("<") { From::Client } else { From::Server };
    let mut flags = Flags::empty();
    for letter in word().expect("flags").chars() {
        flags |= match letter {
            'S' => Flags::SYN,
            'F' => Flags::FIN,
            'R' => Flags::RST,
            'P' => Flags::PSH,
            '.' => Flags::ACK,
            other => panic!("flag {other}"),
        };
    }
    let (seq, len) = word().expect("seq(len)").split_once('(').expect("seq(len)");
    let (client, server) = (Ipv4Addr::new(10, 0, 0, 1), Ipv4Addr::new(10, 0, 0, 2));
    let ends = [(IpAddr::V4(client), 5000), (IpAddr::V4(server), 80)];
    let [src, dst] = if from == From::Client { ends } else { [ends[1], ends[0]] };
    let mut segment = Segment {
        at: Some(Timestamp::from_nanos(1_000_000_000_000 + (millis * 1e6) as i64)),
        frame,
        src: src.0,
        dst: dst.0,
        src_port: src.1,
        dst_port: dst.1,
        seq: Seq(seq.parse().expect("seq")),
        ack: Seq(0),
        flags,
        window: 1000,
        urgent: 0,
        checksum: 0,
        ip_id: Some(frame as u16),
        ttl: 64,
        len: len.trim_end_matches(')').parse().expect("len"),
        oddities: Oddities::empty(),
        options: Options::default(),
    };
    while let Some(name) = word() {
        let value = word().expect("a value");
        match name {
            "ack" => segment.ack = Seq(value.parse().expect("ack")),
            "win" => segment.window = value.parse().expect("win"),
            "ws" => segment.options.window_scale = Some(value.parse().expect("ws")),
            "id" => segment.ip_id = value.parse().ok(),
            "ts" => {
                let (sent, echoed) = value.split_once(':').expect("ts");
                segment.options.timestamps = Some((sent.parse().expect("ts"), echoed.parse().expect("ts")));
            }
            "sack" => {
                for (edges, block) in segment.options.sack.iter_mut().zip(value.split(',')) {
                    let (left, right) = block.split_once('-').expect("left-right");
                    *edges = (Seq(left.parse().expect("sack")), Seq(right.parse().expect("sack")));
                    segment.options.sack_blocks += 1;
                }
            }
            other => panic!("{other}"),
        }
    }
    (from, segment)
}
