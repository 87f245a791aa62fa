//! Tests of the pairing: captures made from one script, with a link, a translator and a clock between them.

use super::*;
use crate::flow::Side;
use crate::script;
use crate::share::InTurn;
use crate::time::{Span, Timestamp};
use crate::wire::{Segment, Seq};

fn pair(at_client: Capture, at_server: Capture, offset: Option<Span>) -> Paired {
    super::pair(at_client, at_server, offset, &InTurn)
}

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
    pair.passages.iter().filter_map(|passage| Some((pair.sent(passage)?.frame(), passage.fate))).collect()
}

#[test]
fn what_arrived_is_paired_and_what_did_not_is_lost() {
    let pairs = pairs(CONVERSATION, &Between { lost: &[6], ..PLAIN });
    assert_eq!(pairs.len(), 1);
    let pair = &pairs[0];
    assert_eq!((pair.found_by, pair.at_client.ends), (FoundBy::Addresses, pair.at_server.ends));
    let expected: Vec<_> = (1..=11).map(|frame| (frame, if frame == 6 { Fate::Lost } else { Fate::Arrived })).collect();
    assert_eq!(fates(pair), expected);
    assert!(pair.passages.iter().all(|passage| pair.changes(passage).is_empty() && !passage.is_overtaken()));
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
        assert!(pair.passages.iter().all(|passage| pair.changes(passage) == [Change::Addresses]));
        for passage in &pair.passages {
            assert!((passage.took().unwrap().as_nanos() - 10_000_000).abs() < 1_000, "{passage:?}");
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
    assert!((last.took().unwrap().as_nanos() - 10_000_000).abs() < 100_000, "{last:?}");
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
    assert_eq!(pairs[0].changes(&passages[0]), [Change::Mss(Some(1460), Some(1200))]);
    assert_eq!(passages[3].fate, Fate::Duplicated);
    let injected: Vec<_> = passages.iter().filter(|passage| passage.fate == Fate::Injected).collect();
    assert_eq!(injected.len(), 1);
    assert_eq!(pairs[0].any(injected[0]).unwrap().frame(), 99);
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
    assert_eq!((passages[0].fate, pairs[0].changes(&passages[0])), (Fate::Arrived, vec![]));
    assert_eq!(pairs[0].changes(&passages[1]), [Change::WindowScale(Some(2), Some(1))]);
}

#[test]
fn memory_is_bounded_and_what_has_no_room_is_counted() {
    let performed = script::performed(CONVERSATION);
    let mut capture = Capture::within(Capture::CONNECTION + 3);
    performed.segments.iter().for_each(|placed| capture.observe(&placed.segment, &[]));
    assert_eq!(capture.left_out(), 8);
    assert_eq!(capture.into_connections()[0].segments.len(), 3);
    // A connection takes room of its own.
    let mut capture = Capture::within(2 * (Capture::CONNECTION + 1));
    for port in 1..=5 {
        capture.observe(&Segment { src_port: port, ..performed.segments[0].segment }, &[]);
    }
    assert_eq!((capture.connections().len(), capture.left_out()), (2, 3));
}

/// What two captures without a delay between them have of a connection, after its handshake.
struct Both {
    /// A segment of the client and one of the server, which others are made of.
    ends: [Segment; 2],
    captures: [Capture; 2],
    frame: u64,
}

impl Both {
    fn opened() -> Self {
        let performed = script::performed(CONVERSATION);
        let ends = [performed.segments[2].segment, performed.segments[4].segment];
        let mut both = Self { ends, captures: [(); 2].map(|()| Capture::within(100_000)), frame: 3 };
        for placed in &performed.segments[..3] {
            both.captures.iter_mut().for_each(|capture| capture.observe(&placed.segment, &[]));
        }
        both
    }

    /// The next segment of an end: 10 ms later, in a datagram of its own.
    fn next(&mut self, from: Side, seq: u32, len: u32, ack: u32) -> Segment {
        self.frame += 1;
        let of = self.ends[from as usize];
        let at = self.ends[0].at.map(|at| at.after(Span::from_millis(10 * self.frame as i64)));
        let ip_id = Some(self.frame as u16);
        Segment { frame: self.frame, at, ip_id, seq: Seq(seq), ack: Seq(ack), len, ..of }
    }

    fn see(&mut self, side: Side, segment: &Segment) {
        self.captures[side as usize].observe(segment, &vec![segment.seq.0 as u8; segment.len as usize]);
    }

    /// One that arrives.
    fn pass(&mut self, from: Side, seq: u32, len: u32, ack: u32) {
        let segment = self.next(from, seq, len, ack);
        [Side::Client, Side::Server].into_iter().for_each(|side| self.see(side, &segment));
    }

    /// One of the client's that is missing in the server's capture.
    fn send(&mut self, seq: u32, len: u32) {
        let segment = self.next(Side::Client, seq, len, 301);
        self.see(Side::Client, &segment);
    }

    fn paired(self) -> Paired {
        let [client, server] = self.captures;
        pair(client, server, Some(Span(0)))
    }
}

#[test]
fn of_very_many_acknowledgements_the_first_ones_and_the_last_say_what_was_lost_behind() {
    let is_lost_behind = |acks: &[(usize, u32)]| {
        let mut both = Both::opened();
        both.pass(Side::Client, 101, 10, 301);
        both.pass(Side::Client, 111, 10, 301);
        for (times, ack) in acks {
            (0..*times).for_each(|_| both.pass(Side::Server, 301, 0, *ack));
        }
        both.pass(Side::Client, 111, 10, 301);
        let paired = both.paired();
        paired.pairs[0].passages.iter().find(|passage| passage.seq == 11).unwrap().is_lost_behind()
    };
    let most = behind::LOOKED_AT;
    assert!(is_lost_behind(&[(most - 3, 101), (3, 111)]));
    assert!(!is_lost_behind(&[(most - 2, 101), (3, 111)]), "two are looked at that ask for it");
    assert!(is_lost_behind(&[(most + 1, 111)]));
    assert!(!is_lost_behind(&[(most, 111), (1, 121)]), "the last one says that it was there");
}

#[test]
fn a_frame_counts_as_captured_twice_where_its_copy_comes_within_a_few() {
    let twice = |apart: usize| {
        let mut both = Both::opened();
        let segments: Vec<Segment> =
            (0..apart as u32).map(|n| both.next(Side::Client, 101 + 10 * n, 10, 301)).collect();
        segments.iter().chain(&segments).for_each(|segment| both.see(Side::Client, segment));
        let [client, _] = both.captures;
        let mut connection = client.into_connections().swap_remove(0);
        let mut seconds = connections::Seconds::default();
        let count = seconds.of(&connection.segments);
        if connections::Seconds::are_its_way(count, connection.segments.len()) {
            connection.leave_out(&mut seconds);
        }
        connection.twice as usize
    };
    assert_eq!(twice(connections::LOOKED_AT), connections::LOOKED_AT);
    assert_eq!(twice(connections::LOOKED_AT + 1), 0);
}

#[test]
fn of_segments_that_reach_into_what_was_not_captured_few_are_looked_at_and_the_others_left_open() {
    let fates = |before: usize, inside: usize| {
        let mut both = Both::opened();
        both.pass(Side::Client, 101, 1000, 301);
        (0..before as u32).for_each(|n| both.send(102 + n, 2000));
        (0..inside as u32).for_each(|n| both.send(1101 + n, 1));
        both.pass(Side::Server, 301, 0, 5001);
        both.pass(Side::Client, 5001, 0, 301);
        let paired = both.paired();
        let missing = paired.pairs[0].sent_by(Side::Client).filter(|passage| passage.arrived_at().is_none());
        missing.map(|passage| passage.fate).collect::<Vec<_>>()
    };
    let most = fates::LOOKED_AT;
    assert_eq!(fates(most, most + 1), vec![Fate::Uncaptured; 2 * most + 1]);
    let more = fates(most + 1, 0);
    assert_eq!(more[0], Fate::Unknown, "it is farthest from what is missing");
    assert_eq!(more[1..], vec![Fate::Uncaptured; most]);
}

#[test]
fn of_segments_that_are_alike_the_one_is_found_that_fits_best_of_those_looked_at() {
    let sent = |alike: usize| {
        let mut both = Both::opened();
        for n in 0..=alike {
            let segment = both.next(Side::Client, 101, 0, 301);
            let segment = Segment { ip_id: None, checksum: n as u16, ..segment };
            // The last one arrives without delay, as all others do that are known.
            match n < alike {
                true => both.see(Side::Client, &segment),
                false => {
                    let before = segment.at.map(|at| at.after(Span::from_millis(-10)));
                    both.see(Side::Server, &Segment { at: before, ..segment });
                }
            }
        }
        let paired = both.paired();
        let pair = &paired.pairs[0];
        assert!(pair.sent_by(Side::Client).all(|passage| passage.sent_at().is_some()));
        let joined = pair.sent_by(Side::Client).filter(|passage| passage.arrived_at().is_some_and(|place| place >= 3));
        joined.map(|passage| pair.sent(passage).unwrap().checksum as usize).collect::<Vec<_>>()
    };
    let most = join::LOOKED_AT;
    assert_eq!(sent(most), [most - 1]);
    assert_eq!(sent(most + 1), [most - 1], "of those that are looked at it is the nearest");
}

#[test]
fn of_connections_that_are_alike_few_are_looked_at_and_of_what_may_be_beyond_nothing_is_said() {
    let paired = |alike: u32, is_translated: bool| {
        let mut both = Both::opened();
        let performed = script::performed(CONVERSATION);
        let [syn, answer] = [0, 1].map(|place| performed.segments[place].segment);
        both.captures[1] = Capture::within(100_000);
        // Only the last one is it.
        for n in (0..alike).rev() {
            let seq = if is_translated { syn.seq } else { Seq(syn.seq.0 + n) };
            let (mut opens, mut answers) = (Segment { seq, ..syn }, Segment { seq: Seq(answer.seq.0 + n), ..answer });
            if is_translated {
                let address = "192.0.2.9".parse().unwrap();
                (opens.src, opens.src_port) = (address, 61_000 - n as u16);
                (answers.dst, answers.dst_port) = (address, 61_000 - n as u16);
            }
            [opens, answers].iter().for_each(|segment| both.captures[1].observe(segment, &[]));
        }
        // Both captures go on.
        let end = syn.at.map(|at| at.after(Span::from_millis(60_000))).unwrap();
        both.captures.iter_mut().for_each(|capture| capture.ran(end));
        both.paired()
    };
    let most = matching::LOOKED_AT as u32;
    for (alike, is_translated, by) in
        [(most, true, FoundBy::Numbers), (most, false, FoundBy::Addresses), (most + 1, false, FoundBy::Addresses)]
    {
        let paired = paired(alike, is_translated);
        let found: Vec<_> = paired.pairs.iter().map(|pair| (pair.found_by, pair.at_server.isns)).collect();
        assert_eq!(found, [(by, [Some(Seq(100)), Some(Seq(300))])], "{alike}");
        assert_eq!([paired.alone[0].len(), paired.alone[1].len()], [0, alike as usize - 1]);
    }
    let paired = paired(most + 1, true);
    assert!(paired.pairs.is_empty(), "none of its segments is said to be lost");
    assert_eq!([paired.alone[0].len(), paired.alone[1].len()], [1, most as usize + 1]);
}

#[test]
fn of_segments_that_a_piece_may_be_of_few_are_looked_at_and_of_what_may_be_beyond_nothing_is_said() {
    let fates = |small: usize| {
        let mut both = Both::opened();
        (0..small as u32).for_each(|n| both.send(101 + 2 * n, 2));
        let whole = 101 + 2 * small as u32;
        both.send(whole, 1000);
        let piece = both.next(Side::Client, whole, 500, 301);
        both.see(Side::Server, &piece);
        both.pass(Side::Client, whole + 1000, 0, 301);
        let paired = both.paired();
        let own = paired.pairs[0].sent_by(Side::Client).filter(|passage| passage.octets >= 500);
        let found = own.map(|passage| (passage.sent_at().is_some(), passage.arrived_at().is_some(), passage.fate));
        found.collect::<Vec<_>>()
    };
    let most = pieces::LOOKED_AT;
    assert_eq!(fates(most - 1), [(true, true, Fate::Arrived), (true, false, Fate::Lost)]);
    assert_eq!(fates(most), [(true, false, Fate::Unknown), (false, true, Fate::Unknown)]);
}
