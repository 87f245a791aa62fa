//! What each form tells of a live capture.

use super::*;
use crate::flow::FlowTable;
use crate::report::{Charset, Clock, Style};
use crate::script;

const REFUSED: &str = "0 C > S: S 100(0)
                       1 S > C: R. 0(0) ack 101";
const CLOSED: &str = "0  C > S: S  100(0)
                      1  S > C: S. 300(0) ack 101
                      2  C > S: .  101(0) ack 301
                      3  C > S: P. 101(7) ack 301
                      4  C > S: F. 108(0) ack 301
                      5  S > C: F. 301(0) ack 109
                      6  C > S: .  109(0) ack 302";

/// Follows a script once for each port, told in lines of text with `finish` at the end.
fn told(style: &Style, script: &str, ports: &[u16], finish: impl FnOnce(&mut Lines<'_>, FlowTable)) -> String {
    let mut out = Vec::new();
    let mut lines = Lines::new(&mut out, style, Timestamp::from_nanos(0));
    let mut table = FlowTable::new();
    for port in ports {
        for (_, mut segment, _) in script::read(script) {
            let to_client = segment.src_port < segment.dst_port;
            *if to_client { &mut segment.dst_port } else { &mut segment.src_port } = *port;
            let Some(step) = table.observe(&segment) else { continue };
            if step.opened || step.moves.iter().any(Option::is_some) {
                lines.step(&segment, &step, &table.connection(&segment).unwrap()).unwrap();
            }
        }
    }
    finish(&mut lines, table);
    String::from_utf8(out).unwrap()
}

fn stats(dropped: u64) -> CaptureStats {
    CaptureStats { interface: "eth\u{1b}0".to_owned(), received: 7, dropped, ..CaptureStats::default() }
}

fn finished(lines: &mut Lines<'_>, mut table: FlowTable) {
    let connections = table.finish(|connection| lines.left(connection)).unwrap().connections;
    let totals = Totals { connections, ..Totals::default() };
    lines.finish(&totals, Some(&stats(0))).unwrap();
}

#[test]
fn a_life_is_a_line_for_each_change_one_for_the_end_and_a_row() {
    let style = Style { clock: Clock::TimeOfDay, ..Style::plain(120) };
    let text = told(&style, CLOSED, &[50_000], finished);
    let lines: Vec<&str> = text.lines().collect();
    let end = lines.iter().position(|line| line.contains(" end ")).unwrap();
    let states: Vec<String> = lines[1..end]
        .iter()
        .map(|line| {
            line.split_whitespace().rev().take(3).collect::<Vec<_>>().into_iter().rev().collect::<Vec<_>>().join(" ")
        })
        .collect();
    assert_eq!(
        states,
        [
            "SYN SYN-SENT –",
            "SYN-ACK ESTABLISHED SYN-RECEIVED",
            "ACK ESTABLISHED ESTABLISHED",
            "FIN FIN-WAIT-1 CLOSE-WAIT",
            "FIN TIME-WAIT LAST-ACK",
            "ACK TIME-WAIT CLOSED",
        ]
    );
    assert!(lines[end].contains(" fin after 6.00 ms, octets 7 →, 0 ←. Closed normally: "), "{text}");
    assert!(lines[end + 1].is_empty() && lines[end + 3].contains("TIME-WAIT    CLOSED       fin"), "{text}");
    assert_eq!(lines.last(), Some(&"eth\\x1b0: 7 packets received, 0 dropped by the kernel, 0 by the interface"));
}

#[test]
fn on_loopback_it_is_said_that_the_kernel_counts_each_packet_twice() {
    let text = told(&Style::plain(120), CLOSED, &[50_000], |lines, mut table| {
        table.finish(|connection| lines.left(connection)).unwrap();
        let stats = CaptureStats { interface: "lo".to_owned(), received: 14, ..CaptureStats::default() };
        lines.finish(&Totals { frames: 7, segments: 7, connections: 1, ..Totals::default() }, Some(&stats)).unwrap();
    });
    let last: Vec<&str> = text.lines().rev().take(2).collect();
    assert_eq!(last[1], "1 connection, 7 segments, 7 frames");
    assert_eq!(
        last[0],
        "lo: 14 packets counted, each leaving and arriving; 0 dropped by the kernel, 0 by the interface"
    );
}

#[test]
fn a_segment_captured_twice_is_not_told_as_retransmitted() {
    let script = "0  C > S: S  100(0)
                  1  S > C: S. 300(0) ack 101
                  2  C > S: .  101(0) ack 301
                  3  C > S: P. 101(7) ack 301 id 7
                  3.01 C > S: P. 101(7) ack 301 id 7
                  400 C > S: P. 101(7) ack 301 id 8
                  401 S > C: R. 301(0) ack 108";
    let text = told(&Style::plain(180), script, &[50_000], finished);
    assert!(text.contains(", 1 segment retransmitted. "), "{text}");
}

#[test]
fn a_page_in_ascii_stays_so_and_a_narrow_one_is_not_padded() {
    for width in [40, 97, 98, 180] {
        let style = Style { charset: Charset::Ascii, ..Style::plain(width) };
        let text = told(&style, REFUSED, &[50_000], finished);
        assert!(text.is_ascii(), "{text}");
        assert!(text.contains(" -> ") && text.contains(" <- ") && text.contains("refused after "), "{text}");
    }
}

#[test]
fn the_table_at_the_end_has_all_in_order_but_the_earliest() {
    let ports: Vec<u16> = (50_000..51_110).collect();
    let text = told(&Style::plain(180), REFUSED, &ports, |lines, mut table| {
        let mut odd = Vec::new();
        table
            .finish(|connection| {
                if connection.id.0 % 101 < 100 {
                    return lines.told(connection, Timestamp::from_nanos(0));
                }
                odd.push(connection);
                Ok(())
            })
            .unwrap();
        odd.into_iter().for_each(|connection| lines.left(connection).unwrap());
        lines.finish(&Totals::default(), None).unwrap();
    });
    // All were told above as they ended, none again when they were told for good.
    assert_eq!(text.lines().filter(|line| line.contains(" end ")).count(), 1110);
    let (_, table) = text.split_once("\n\n").unwrap();
    assert!(table.starts_with("100 connections that ended earlier"), "{table}");
    let rows = table.lines().filter(|line| line.contains(" refused "));
    let ids: Vec<u64> = rows.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
    assert_eq!(ids.len(), 1010, "{table}");
    assert!(ids.is_sorted());
    assert!(text.ends_with("the kernel gives no counters of drops\n"));
}

#[test]
fn an_overview_has_the_open_ones_that_had_a_segment_last() {
    let ports: Vec<u16> = (50_000..50_100).collect();
    let text = told(&Style::plain(180), "0 C > S: S 100(0)", &ports, |lines, table| {
        let mut open = Open::default();
        table.each(|connection| open.add(connection));
        lines.overview(Timestamp::from_nanos(0), open, &Totals::default(), Some(&stats(3))).unwrap();
    });
    let (_, overview) = text.split_once("\n\n").unwrap();
    assert!(overview.contains("100 connections open, the 40 that had a segment last:"), "{overview}");
    assert_eq!(overview.lines().filter(|line| line.contains("SYN-SENT")).count(), 40);
    assert!(overview.contains("3 dropped by the kernel"), "{overview}");
}
