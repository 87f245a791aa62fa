//! Tests of the pairing: captures made from one script, with a link, a translator and a clock between them.

use super::*;
use crate::script;
use crate::time::Timestamp;
use crate::wire::Seq;

/// What lies between the two captures.
struct Between {
    /// By how much the server's clock is ahead, in nanoseconds, and how much it gains a second.
    offset: i64,
    drift_ppb: i64,
    /// How long segments take.
    delay: i64,
    /// The frames that are lost.
    lost: &'static [u64],
    /// Whether the client's address and numbers are translated.
    nat: bool,
}

const PLAIN: Between = Between { offset: 0, drift_ppb: 0, delay: 10_000_000, lost: &[], nat: false };

fn pairs(text: &str, between: &Between) -> Vec<Pair> {
    let performed = script::performed(text);
    let (mut client, mut server) = (Capture::within(1000), Capture::within(1000));
    let start = performed.segments[0].segment.at.unwrap();
    let by_server = |at: Timestamp| {
        let gained = at.since(start).as_secs_f64() * between.drift_ppb as f64;
        at.after(Span(between.offset + gained as i64))
    };
    let mut seen: [Vec<Segment>; 2] = Default::default();
    for placed in &performed.segments {
        let segment = placed.segment;
        let from_client = placed.from == script::Actor::CLIENT;
        let later = segment.at.map(|at| at.after(Span(between.delay)));
        let is_lost = between.lost.contains(&segment.frame);
        let (at_client, at_server) = if from_client { (segment.at, later) } else { (later, segment.at) };
        if from_client || !is_lost {
            seen[0].push(Segment { at: at_client, ..segment });
        }
        if !from_client || !is_lost {
            let mut there = Segment { at: at_server.map(by_server), ..segment };
            if between.nat {
                let address = "192.0.2.9".parse().unwrap();
                match from_client {
                    true => (there.src, there.src_port) = (address, 61_000),
                    false => (there.dst, there.dst_port) = (address, 61_000),
                }
            }
            seen[1].push(there);
        }
    }
    for (capture, mut segments) in [&mut client, &mut server].into_iter().zip(seen) {
        segments.sort_by_key(|segment| segment.at);
        for segment in segments {
            capture.observe(&segment, &vec![segment.seq.0 as u8; segment.len as usize]);
        }
    }
    pair(client, server, None).pairs
}

const CONVERSATION: &str = "
    0     C > S: S  100(0) mss 1460
    10ms  S > C: S. 300(0) ack 101 mss 1460
    20ms  C > S: .  101(0) ack 301
    21ms  C > S: P. 101(10) ack 301
    31ms  S > C: .  301(0) ack 111
    250ms C > S: P. 111(10) ack 301
    500ms C > S: P. 111(10) ack 301
    510ms S > C: .  301(0) ack 121
    2s    C > S: F. 121(0) ack 301
    2.01s S > C: F. 301(0) ack 122
    2.02s C > S: .  122(0) ack 302
";

fn fates(pair: &Pair) -> Vec<(u64, Fate)> {
    pair.passages.iter().filter_map(|passage| Some((pair.sent(passage)?.frame, passage.fate))).collect()
}

#[test]
fn what_arrived_is_paired_and_what_did_not_is_lost() {
    let pairs = pairs(CONVERSATION, &Between { lost: &[6], ..PLAIN });
    assert_eq!(pairs.len(), 1);
    let pair = &pairs[0];
    assert_eq!((pair.found_by, pair.at_client.ends), (FoundBy::Addresses, pair.at_server.ends));
    let expected: Vec<_> = (1..=11).map(|frame| (frame, if frame == 6 { Fate::Lost } else { Fate::Arrived })).collect();
    assert_eq!(fates(pair), expected);
    assert!(pair.passages.iter().all(|passage| passage.changed.is_empty() && !passage.is_overtaken));
    assert_eq!(pair.count(Side::Client, Fate::Lost), 1);
}

#[test]
fn the_offset_is_found_within_half_the_shortest_round_trip_through_a_translator() {
    for offset in [3_000_000_000, -3_000_000_000, 0] {
        let pairs = pairs(CONVERSATION, &Between { offset, nat: true, ..PLAIN });
        let pair = &pairs[0];
        assert_eq!(pair.found_by, FoundBy::Numbers);
        assert_eq!(pair.at_server.ends[0], "192.0.2.9:61000".parse().unwrap());
        let clocks = pair.clocks.unwrap();
        assert!((clocks.offset.as_nanos() - offset).abs() <= 10_000_000, "{clocks:?}");
        // And what ordinary clocks may gain in two seconds.
        assert!((clocks.error.as_nanos() - 10_101_000).abs() < 1_000, "{clocks:?}");
        assert!(pair.passages.iter().all(|passage| passage.changed == [Change::Addresses]));
        for passage in &pair.passages {
            assert!((passage.took.unwrap().as_nanos() - 10_000_000).abs() < 1_000, "{passage:?}");
        }
    }
}

#[test]
fn a_clock_that_gains_is_seen_to_gain() {
    let mut text = CONVERSATION[..CONVERSATION.find("2s").unwrap()].trim_end().to_owned();
    for n in 0..40u32 {
        let (seq, at) = (121 + 10 * n, 1000 + 250 * n);
        text += &format!("\n{at}ms C > S: P. {seq}(10) ack 301\n{}ms S > C: . 301(0) ack {}", at + 10, seq + 10);
    }
    let pairs = pairs(&text, &Between { offset: 3_000_000_000, drift_ppb: 50_000, ..PLAIN });
    let clocks = pairs[0].clocks.unwrap();
    assert!((clocks.drift_ppb.unwrap() - 50_000).abs() < 500, "{clocks:?}");
    assert!((clocks.offset.as_nanos() - 3_000_000_000).abs() <= clocks.error.as_nanos(), "{clocks:?}");
    let last = pairs[0].passages.last().unwrap();
    assert!((last.took.unwrap().as_nanos() - 10_000_000).abs() < 100_000, "{last:?}");
}

#[test]
fn a_copy_a_change_and_what_nobody_sent_are_told_apart() {
    let performed = script::performed(CONVERSATION);
    let (mut client, mut server) = (Capture::within(1000), Capture::within(1000));
    for placed in &performed.segments {
        let segment = placed.segment;
        let octets = vec![segment.seq.0 as u8; segment.len as usize];
        client.observe(&segment, &octets);
        let mut there = segment;
        match segment.frame {
            1 => there.options.mss = Some(1200),
            4 => server.observe(&there, &octets),
            9 => {
                let forged =
                    Segment { flags: crate::wire::Flags::RST, seq: Seq(121), frame: 99, ip_id: Some(999), ..there };
                server.observe(&forged, &[]);
            }
            _ => {}
        }
        server.observe(&there, &octets);
    }
    let pairs = pair(client, server, Some(Span(0))).pairs;
    let passages = &pairs[0].passages;
    assert_eq!(passages[0].changed, [Change::Mss(Some(1460), Some(1200))]);
    assert_eq!(passages[3].fate, Fate::Duplicated);
    let injected: Vec<_> = passages.iter().filter(|passage| passage.fate == Fate::Injected).collect();
    assert_eq!(injected.len(), 1);
    assert_eq!(pairs[0].any(injected[0]).unwrap().frame, 99);
    assert_eq!(pairs[0].clocks.unwrap().error, Span(0), "who says the offset knows it");
}

#[test]
fn of_options_that_were_cut_off_nothing_is_told() {
    let performed = script::performed(CONVERSATION);
    let (mut client, mut server) = (Capture::within(1000), Capture::within(1000));
    for placed in &performed.segments {
        let (mut here, mut there) = (placed.segment, placed.segment);
        if here.frame <= 2 {
            here.options = Default::default();
            here.oddities |= crate::wire::Oddities::HEADER_CUT;
            // What both have is compared.
            here.options.window_scale = Some(1);
            there.options.window_scale = Some(if here.frame == 1 { 1 } else { 2 });
        }
        let octets = vec![here.seq.0 as u8; here.len as usize];
        client.observe(&here, &octets);
        server.observe(&there, &octets);
    }
    let pairs = pair(client, server, Some(Span(0))).pairs;
    let passages = &pairs[0].passages;
    assert_eq!((passages[0].fate, &passages[0].changed[..]), (Fate::Arrived, &[][..]));
    assert_eq!(passages[1].changed, [Change::WindowScale(Some(2), Some(1))]);
}

#[test]
fn memory_is_bounded_and_what_has_no_room_is_counted() {
    let performed = script::performed(CONVERSATION);
    let mut capture = Capture::within(3);
    performed.segments.iter().for_each(|placed| capture.observe(&placed.segment, &[]));
    assert_eq!(capture.left_out(), 8);
    assert_eq!(capture.into_connections()[0].segments.len(), 3);
}
