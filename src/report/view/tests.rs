//! What rows a view has, in which lanes, and the edges between its events.

use super::rows::SLOTS;
use super::*;
use crate::calls::Effect;
use crate::flow::Side;
use crate::report::sample;
use crate::wire::Flags;

/// The rows that are left of these segments: who sends, how many octets; each is 1 µs after the one before.
fn rows_of(segments: &[(Side, usize)]) -> Vec<String> {
    let mut t = sample::Teller::new();
    t.connection = Some(ConnectionId(0));
    t.phase = Phase::Data;
    let (mut at, mut ends) = (0, [1, 1]);
    for &(side, octets) in segments {
        let (mine, peer) = (side as usize, side.peer() as usize);
        t.segment(at, side, Flags::ACK, (ends[mine], ends[peer], octets), sample::by(&[]));
        ends[mine] += octets as i64;
        at += 1;
    }
    let story = t.story;
    let index = Index::new(&story);
    let rows = View::of_one(&index, index.events_of(Some(ConnectionId(0)))).folded().rows;
    let said = |row: &Row<'_>| match &row.what {
        What::Segment { segment, .. } => format!("{}", segment.segment.frame),
        What::Run { segments, .. } => {
            segments.iter().map(|one| one.segment.frame.to_string()).collect::<Vec<_>>().join("+")
        }
        _ => panic!("only segments"),
    };
    rows.iter().map(said).collect()
}

#[test]
fn a_run_breaks_where_the_other_ends_octets_lie_between() {
    use Side::{Client, Server};
    let round = [(Client, 10), (Server, 0), (Server, 10), (Client, 0)];
    let three: Vec<_> = round.into_iter().cycle().take(12).collect();
    let told: Vec<String> = (1..=12).map(|n| n.to_string()).collect();
    assert_eq!(rows_of(&three), told, "rounds of request and reply stay in order");
    // Acknowledgements between do not break it: they answer, but say nothing.
    let bulk = [(Client, 9), (Client, 9), (Server, 0), (Client, 9), (Client, 9), (Server, 0), (Server, 0)];
    assert_eq!(rows_of(&bulk), ["1+2+4+5", "3+6+7"]);
    let reply = [(Server, 5), (Server, 5), (Server, 5)];
    assert_eq!(rows_of(&[&bulk[..], &reply[..]].concat()), ["1+2+4+5", "3+6+7", "8+9+10"]);
}

#[test]
fn a_crowd_of_open_calls_takes_few_slots_and_each_is_drawn_entering_and_returning() {
    const CROWD: i64 = 20_000;
    let mut t = sample::Teller::new();
    t.connection = Some(ConnectionId(0));
    let calls: Vec<EventId> =
        (0..CROWD).map(|n| t.call((n, 3 * CROWD - n), Side::Server, "recv(64, 0)", Effect::Receive, 4, 1)).collect();
    for id in calls.iter().step_by(2) {
        t.call_mut(*id).call.returned = None;
    }
    t.segment(CROWD, Side::Client, Flags::ACK, (1, 1, 1), sample::by(&[]));
    let story = t.story;
    let index = Index::new(&story);
    let rows = View::of_one(&index, index.events_of(Some(ConnectionId(0)))).rows;
    let drawn = |wanted: Form| {
        rows.iter().filter(|row| matches!(row.what, What::Call { form, .. } if form == wanted)).count() as i64
    };
    assert_eq!([Form::Entry, Form::Return, Form::Unreturned].map(drawn), [CROWD, CROWD / 2, CROWD / 2]);
    assert_eq!(rows.iter().map(|row| row.slots[Side::Server as usize].len()).max(), Some(SLOTS));
    let last = rows.last().expect("rows");
    assert_eq!(last.at, None, "what never returns is told last");
    let returned: Vec<_> = rows.iter().filter_map(|row| row.at).collect();
    assert!(returned.is_sorted(), "returns are in order of time");
}
