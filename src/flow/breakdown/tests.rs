//! Each class by a script, and what holds whatever comes.

use std::convert::Infallible;

use proptest::prelude::*;

use super::{Breakdown, Breakdowns, Class, Parts};
use crate::flow::{Connection, FlowTable};
use crate::script;
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq};

/// The connections of these segments, each with its breakdown.
fn divided(segments: impl IntoIterator<Item = Segment>) -> Vec<Connection> {
    let (mut table, mut breakdowns) = (FlowTable::new(), Breakdowns::within(1 << 30));
    for segment in segments {
        if let Some(step) = table.observe(&segment) {
            breakdowns.observe(&segment, &step);
        }
    }
    let mut connections = Vec::new();
    let Ok(_) = table.finish(|connection| {
        let breakdown = breakdowns.take(&connection);
        connections.push(Connection { breakdown, ..connection });
        Ok::<_, Infallible>(())
    });
    assert_eq!((breakdowns.octets, breakdowns.kept.len()), (0, 0), "all memory is given back");
    connections
}

/// A line of a script has a large window where it says none.
fn widened(script: &str) -> String {
    let widen = |line: &str| match line.contains(" > ") && !line.contains(" win ") {
        true => format!("{line} win 60000\n"),
        false => format!("{line}\n"),
    };
    script.lines().map(widen).collect()
}

fn breakdown(script: &str) -> Breakdown {
    let mut connections = divided(script::read(&widened(script)).map(|line| line.1));
    assert_eq!(connections.len(), 1);
    let connection = connections.remove(0);
    let breakdown = connection.breakdown.clone().expect("times are known");
    adds_up(&connection);
    *breakdown
}

fn adds_up(connection: &Connection) {
    let Some(breakdown) = &connection.breakdown else { return };
    for parts in [&breakdown.client_to_server, &breakdown.server_to_client, &breakdown.total] {
        assert_eq!(Some(parts.sum()), connection.duration());
        assert!(Class::ALL.iter().all(|class| parts.of(*class) >= Span(0)), "{parts:?}");
    }
}

/// The classes that took time, with their milliseconds.
fn told(parts: &Parts) -> String {
    let millis = |class: &Class| (class.name(), parts.of(*class).as_nanos() / 1_000_000);
    let told: Vec<_> = Class::ALL
        .iter()
        .map(millis)
        .filter(|(_, millis)| *millis > 0)
        .map(|(name, ms)| format!("{name} {ms}"))
        .collect();
    told.join(", ")
}

/// Holds the whole connection's division against `expected`.
fn check(script: &str, expected: &str) -> Breakdown {
    let breakdown = breakdown(script);
    assert_eq!(told(&breakdown.total), expected, "{breakdown:?}");
    breakdown
}

/// A handshake over a path of 10 ms, captured at the client.
const AT_CLIENT: &str = "
    0  C > S: S  100(0) mss 1000
    10 S > C: S. 300(0) ack 101 mss 1000
    10 C > S: .  101(0) ack 301";
/// The same, captured at the server.
const AT_SERVER: &str = "
    0  C > S: S  100(0) mss 1000
    0  S > C: S. 300(0) ack 101 mss 1000
    10 C > S: .  101(0) ack 301";

fn at_client(script: &str, expected: &str) -> Breakdown {
    check(&format!("{AT_CLIENT}\n{script}"), expected)
}

fn at_server(script: &str, expected: &str) -> Breakdown {
    check(&format!("{AT_SERVER}\n{script}"), expected)
}

// ---- handshake -------------------------------------------------------------------------------------------------------

#[test]
fn syns_that_are_repeated_are_the_handshake() {
    check("0 C > S: S 100(0)\n1000 C > S: S 100(0)\n3000 C > S: S 100(0)", "handshake 3000");
    check("0 C > S: S 100(0)\n1 S > C: R. 0(0) ack 101", "handshake 1");
    check("0 C > S: S 100(0)", "");
    check(
        "0 C > S: S 100(0)\n1000 C > S: S 100(0)\n1010 S > C: S. 300(0) ack 101\n1010 C > S: . 101(0) ack 301",
        "handshake 1010",
    );
}

// ---- the programs ----------------------------------------------------------------------------------------------------

#[test]
fn an_answer_that_takes_longer_than_the_path_waits_for_the_server() {
    let breakdown = at_client(
        "10  C > S: P. 101(50)  ack 301
         120 S > C: P. 301(200) ack 151
         120 C > S: .  151(0)   ack 501",
        "handshake 10, server_program 100, network 10",
    );
    assert_eq!(told(&breakdown.client_to_server), "handshake 10, server_program 100, network 10");
    assert_eq!(told(&breakdown.server_to_client), "handshake 10, server_program 100, idle 10");
    // Whether the request is acknowledged first or not.
    at_client(
        "10  C > S: P. 101(50)  ack 301
         60  S > C: .  301(0)   ack 151
         120 S > C: P. 301(200) ack 151",
        "handshake 10, server_program 100, network 10",
    );
    at_server(
        "10  C > S: P. 101(50)  ack 301
         120 S > C: P. 301(200) ack 151
         130 C > S: .  151(0)   ack 501",
        "handshake 10, server_program 110, network 10",
    );
}

#[test]
fn who_sends_next_was_waited_for() {
    at_client(
        "10  C > S: P. 101(50)  ack 301
         20  S > C: P. 301(200) ack 151
         20  C > S: .  151(0)   ack 501
         90  C > S: P. 151(50)  ack 501
         100 S > C: P. 501(200) ack 201",
        "handshake 10, client_program 70, network 20",
    );
    at_server(
        "10  C > S: P. 101(50)  ack 301
         10  S > C: P. 301(200) ack 151
         20  C > S: .  151(0)   ack 501
         90  C > S: P. 151(50)  ack 501
         90  S > C: P. 501(200) ack 201",
        "handshake 10, client_program 70, network 10",
    );
}

#[test]
fn octets_under_way_and_no_more_for_the_room_are_the_senders_program() {
    at_client(
        "10  C > S: P. 101(50) ack 301
         15  C > S: P. 151(50) ack 301
         20  S > C: .  301(0)  ack 151
         25  S > C: .  301(0)  ack 201
         45  C > S: P. 201(50) ack 301
         55  S > C: .  301(0)  ack 251",
        "handshake 10, client_program 20, sender_program 15, network 10",
    );
}

#[test]
fn room_that_acknowledgements_made_and_nobody_used_is_the_senders_program_or_buffer() {
    let burst: String = (0..6).map(|n| format!("10 C > S: P. {}(1000) ack 301\n", 101 + 1000 * n)).collect();
    at_client(
        &format!(
            "{burst}
             20 S > C: . 301(0)     ack 1101
             23 S > C: . 301(0)     ack 3101
             26 S > C: . 301(0)     ack 5101
             26 C > S: P. 6101(1000) ack 301
             36 S > C: . 301(0)     ack 7101"
        ),
        "handshake 10, sender_program 16, network 10",
    );
}

/// However little is under way of what was once: within two milliseconds, or a sixteenth of the sender's reaction, it is one burst.
#[test]
fn the_gaps_of_one_burst_are_a_pace_and_longer_ones_are_the_senders_program() {
    let large: String = (0..10).map(|n| format!("10 C > S: . {}(1000) ack 301\n", 101 + 1000 * n)).collect();
    let spread = |first: &str, second: &str| {
        format!(
            "0   C > S: S  100(0) mss 1000
             0.5 S > C: S. 300(0) ack 101 mss 1000
             0.5 C > S: .  101(0) ack 301
             {large}
             10.5 S > C: . 301(0) ack 10101
             100  C > S: P. 10101(1000) ack 301
             {first} C > S: P. 11101(1000) ack 301
             {second} C > S: P. 12101(1000) ack 301
             107  S > C: . 301(0) ack 13101"
        )
    };
    check(&spread("101.9", "103.8"), "client_program 99, network 7");
    check(&spread("103", "106"), "client_program 99, sender_program 6, network 1");
}

// ---- windows ---------------------------------------------------------------------------------------------------------

#[test]
fn a_window_without_room_for_a_segment_is_the_receivers() {
    at_client(
        "10  C > S: .  101(1000)  ack 301
         10  C > S: .  1101(1000) ack 301
         20  S > C: .  301(0)     ack 1101 win 1000
         60  S > C: .  301(0)     ack 2101 win 2000
         60  C > S: P. 2101(1000) ack 301
         70  S > C: .  301(0)     ack 3101",
        "handshake 10, receiver_window 40, network 20",
    );
}

#[test]
fn a_window_of_zero_is_told_apart() {
    let script = "
        10  C > S: .  101(1000)  ack 301
        20  S > C: .  301(0)     ack 1101 win 0
        200 S > C: .  301(0)     ack 1101 win 5000
        200 C > S: P. 1101(1000) ack 301
        210 S > C: .  301(0)     ack 2101";
    at_client(script, "handshake 10, zero_window 180, network 20");
    // A sender that had nothing to send was not held up by it.
    at_client(
        &script.replace(".  101(", "P. 101(").replace("200 C", "300 C").replace("210 S", "310 S"),
        "handshake 10, client_program 280, sender_program 10, network 10",
    );
}

// ---- the path --------------------------------------------------------------------------------------------------------

#[test]
fn more_octets_that_wait_for_acknowledgements_are_limited_by_the_network() {
    let flight = |at: u32, from: u32| -> String {
        (0..3).map(|n| format!("{at} C > S: . {}(1000) ack 301\n", from + 1000 * n)).collect()
    };
    let script = format!(
        "{}20 S > C: . 301(0) ack 3101\n{}30 S > C: . 301(0) ack 6101\n30 C > S: P. 6101(10) ack 301\n40 S > C: . 301(0) ack 6111",
        flight(10, 101),
        flight(20, 3101)
    );
    at_client(&script, "handshake 10, network 30");
}

#[test]
fn an_acknowledgement_that_was_held_back_is_told_apart() {
    let script = "
        10 C > S: P. 101(40) ack 301
        60 S > C: .  301(0)  ack 141
        60 C > S: P. 141(60) ack 301
        70 S > C: P. 301(50) ack 201";
    at_client(script, "handshake 10, network 20, delayed_ack 40");
    at_server(
        "10 C > S: P. 101(40) ack 301
         50 S > C: .  301(0)  ack 141
         60 C > S: P. 141(60) ack 301
         60 S > C: P. 301(50) ack 201",
        "handshake 10, network 10, delayed_ack 40",
    );
    // What does not leave with the acknowledgement did not wait for it.
    at_client(
        &script.replace("60 C", "90 C").replace("70 S", "100 S"),
        "handshake 10, client_program 30, sender_program 50, network 10",
    );
}

// ---- losses ----------------------------------------------------------------------------------------------------------

#[test]
fn octets_that_a_timer_repeats_wait_for_it_from_when_their_answer_was_due() {
    at_client(
        "10  C > S: P. 101(50) ack 301
         220 C > S: P. 101(50) ack 301
         230 S > C: .  301(0)  ack 151",
        "handshake 10, network 10, timeout 210",
    );
    // Nobody answers any more.
    at_client(
        "10  C > S: P. 101(50) ack 301
         220 C > S: P. 101(50) ack 301
         640 C > S: P. 101(50) ack 301
         1480 C > S: R. 151(0) ack 301",
        "handshake 10, network 10, timeout 1460",
    );
}

#[test]
fn octets_that_duplicate_acknowledgements_repeat_are_in_fast_recovery() {
    let burst: String = (0..4).map(|n| format!("10 C > S: . {}(1000) ack 301\n", 101 + 1000 * n)).collect();
    at_client(
        &format!(
            "{burst}
             20 S > C: .  301(0)    ack 101 sack 1101-2101
             20 S > C: .  301(0)    ack 101 sack 1101-3101
             20 S > C: .  301(0)    ack 101 sack 1101-4101
             20 C > S: .  101(1000) ack 301
             30 S > C: .  301(0)    ack 4101"
        ),
        "handshake 10, network 10, fast_recovery 10",
    );
}

#[test]
fn a_copy_and_a_keep_alive_repair_nothing() {
    at_client(
        "10  C > S: P. 101(50) ack 301 id 7
         10  C > S: P. 101(50) ack 301 id 7
         20  S > C: .  301(0)  ack 151
         500 C > S: .  150(0)  ack 301
         510 S > C: .  301(0)  ack 151
         900 S > C: P. 301(10) ack 151",
        "handshake 10, server_program 880, network 10",
    );
}

// ---- the end ---------------------------------------------------------------------------------------------------------

#[test]
fn idle_until_the_first_fin_and_closing_from_then_on() {
    let breakdown = at_client(
        "110 C > S: F. 101(0) ack 301
         120 S > C: .  301(0) ack 102
         300 S > C: F. 301(0) ack 102
         300 C > S: .  102(0) ack 302",
        "handshake 10, closing 190, idle 100",
    );
    assert_eq!(told(&breakdown.server_to_client), told(&breakdown.total));
    // Who goes on after the other's FIN is not closing.
    at_client(
        "10  C > S: FP. 101(50) ack 301
         20  S > C: .  301(0)   ack 152
         120 S > C: P. 301(99)  ack 152
         130 S > C: F. 400(0)   ack 152
         130 C > S: .  152(0)   ack 401",
        "handshake 10, server_program 100, network 10, closing 10",
    );
}

#[test]
fn after_a_reset_nothing_is_waited_for() {
    at_client(
        "10  C > S: P. 101(50) ack 301
         20  S > C: R. 301(0)  ack 151
         520 C > S: R  151(0)",
        "handshake 10, network 10, closing 500",
    );
}

// ---- what cannot be known --------------------------------------------------------------------------------------------

#[test]
fn of_one_direction_only_repetitions_by_a_timer_are_known() {
    check(
        "0   C > S: P. 101(50) ack 301
         100 C > S: P. 151(50) ack 301
         400 C > S: P. 151(50) ack 301
         450 C > S: P. 201(50) ack 301",
        "timeout 350, unknown 100",
    );
}

#[test]
fn a_clock_that_steps_back_is_waited_for_and_nothing_is_negative() {
    at_client(
        "10  C > S: P. 101(50) ack 301
         5   S > C: .  301(0)  ack 151
         110 S > C: P. 301(9)  ack 151",
        "handshake 10, server_program 90, network 10",
    );
    at_client("50 C > S: P. 101(50) ack 301\n 30 S > C: . 301(0) ack 151", "handshake 10, client_program 20");
    check(
        "40 C > S: S 100(0)\n50 S > C: S. 300(0) ack 101\n60 C > S: . 101(0) ack 301\n30 S > C: P. 301(9) ack 101",
        "",
    );
}

#[test]
fn what_has_no_time_has_no_breakdown() {
    let segments = script::read(AT_CLIENT).map(|line| Segment { at: None, ..line.1 });
    assert_eq!(divided(segments)[0].breakdown, None);
}

#[test]
fn memory_is_bounded_and_what_it_does_not_hold_is_counted() {
    let (mut table, mut breakdowns) = (FlowTable::new(), Breakdowns::within(20_000));
    let segments: Vec<_> = script::read(AT_CLIENT).map(|line| line.1).collect();
    let mut ids = Vec::new();
    for port in 1..=1000 {
        for segment in &segments {
            let (src_port, dst_port) = if segment.flags.contains(Flags::SYN | Flags::ACK) {
                (segment.src_port, port)
            } else if segment.src_port == segments[0].src_port {
                (port, segment.dst_port)
            } else {
                (segment.src_port, port)
            };
            let segment = Segment { src_port, dst_port, ..*segment };
            let step = table.observe(&segment).expect("not late");
            breakdowns.observe(&segment, &step);
            ids.push(step.connection);
        }
        assert!(breakdowns.kept.values().map(super::keeper::Kept::octets).sum::<usize>() <= 20_000);
    }
    let mut without = 0;
    let Ok(_) = table.finish(|connection| {
        without += u64::from(breakdowns.take(&connection).is_none());
        Ok::<_, Infallible>(())
    });
    assert!(without > 900 && without < 1000, "{without}");
    assert_eq!((without, breakdowns.octets), (breakdowns.given_up(), 0));
}

#[test]
fn acknowledgements_on_their_way_are_bounded() {
    let mut way = super::way::Way::default();
    let heard = |n: i64| super::way::Heard {
        at: n * 1_000,
        ack: n,
        window: 9,
        is_scaled: true,
        is_bare: true,
        is_duplicate: n % 3 == 0,
        stamp: Some(n as u32),
    };
    // A hundred thousand of them within the second that the first takes to be heard.
    for n in 0..100_000 {
        way.acknowledge(heard(n), 1_000_000_000);
    }
    assert!(way.room() < 16_000, "{}", way.room());
    way.hear_until(1_100_000_000);
    assert_eq!(way.change(1_100_000_000), None, "the last one was heard");
}

prop_compose! {
    fn segment()(
        is_first: bool,
        at in prop_oneof![4 => -2_000_000_000..2_000_000_000_i64, 1 => any::<i64>()],
        is_timed in prop::bool::weighted(0.95),
        numbers in prop_oneof![4 => (0..9_000_u32, 0..9_000_u32), 1 => any::<(u32, u32)>()],
        len in prop_oneof![Just(0_u32), 1..2_000_u32, any::<u32>()],
        flags in prop_oneof![3 => Just(16_u16), 2 => Just(24), 1 => 0..64_u16],
        window in prop_oneof![Just(0_u16), any::<u16>()],
        stamps in proptest::option::of((0..50_u32, 0..50_u32)),
        sack in 0..2_u8,
    ) -> (bool, i64, bool, (u32, u32), u32, u16, u16, Option<(u32, u32)>, u8) {
        (is_first, at, is_timed, numbers, len, flags, window, stamps, sack)
    }
}

proptest! {
    /// Whatever the segments are, and however their clock steps, the classes add up to the duration.
    #[test]
    fn the_classes_add_up(
        made in proptest::collection::vec(segment(), 1..60),
        in_order: bool,
        begins in 0..4_usize,
    ) {
        let opening: Vec<_> = script::read(AT_CLIENT).map(|line| line.1).collect();
        let mut now = 20_000_000_i64;
        let made = made.into_iter().map(|(is_first, at, is_timed, numbers, len, flags, window, stamps, sack)| {
            let base = if is_first { &opening[0] } else { &opening[1] };
            now = if in_order { now.saturating_add(at.saturating_abs() % 1_000_000_000) } else { at };
            let mut segment = Segment {
                at: is_timed.then(|| Timestamp::from_nanos(now)),
                seq: Seq(numbers.0),
                ack: Seq(numbers.1),
                flags: Flags::from_bits_truncate(flags),
                len,
                window,
                ..*base
            };
            segment.options.timestamps = stamps;
            segment.options.sack_blocks = sack;
            segment
        });
        let segments: Vec<_> = opening.iter().take(begins).copied().chain(made).collect();
        for connection in divided(segments) {
            adds_up(&connection);
            prop_assert_eq!(connection.breakdown.is_some(), connection.duration().is_some());
        }
    }
}
