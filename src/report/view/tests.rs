//! What rows a view has, in which lanes, and the edges between its events.

use super::row::SLOTS;
use super::*;
use crate::calls::Effect;
use crate::flow::Side;
use crate::report::sample;
use crate::story::{EventId, EventKind, Phase, Story};
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

/// A client (1) that talks to a proxy (2), which talks to a server (3): a request through both connections.
fn proxied() -> Story {
    let mut t = sample::Teller::new();
    t.phase = Phase::Data;
    let hop = |t: &mut sample::Teller, connection: u64, at: i64, sender: u32, receiver: u32| {
        t.connection = Some(ConnectionId(connection));
        let send = t.call((at, at + 9), Side::Client, "send(10, 0)", Effect::Send, 4, 10);
        let segment = t.segment(at + 2, Side::Client, Flags::ACK, (1, 1, 10), sample::by(&[send]));
        let recv = t.call((at + 4, at + 8), Side::Server, "recv(64, 0)", Effect::Receive, 5, 10);
        t.made_by(send, sender);
        t.made_by(recv, receiver);
        let received = t.call_mut(recv);
        (received.brought_by, received.completed_by) = (vec![segment], Some(segment));
    };
    // The connection of the proxy to the server comes first: lanes do not depend on the order.
    hop(&mut t, 1, 100, 2, 3);
    hop(&mut t, 0, 200, 1, 2);
    t.story
}

#[test]
fn a_process_with_ends_of_two_connections_has_one_lane_between_their_peers() {
    let story = proxied();
    let index = Index::new(&story);
    let view = View::of_several(&index, &[ConnectionId(1), ConnectionId(0)]);
    let pids: Vec<_> = view.lanes.iter().map(|lane| lane.process.unwrap().pid).collect();
    assert_eq!(pids, [1, 2, 3]);
    let segments: Vec<_> = view
        .rows
        .iter()
        .filter_map(|row| match row.what {
            What::Segment { from, to, .. } => Some((from.0, to.0)),
            _ => None,
        })
        .collect();
    assert_eq!(segments, [(1, 2), (0, 1)]);
    assert!(view.rows.iter().all(|row| row.slots.len() == 3 && row.states.len() == 3));
}

#[test]
fn edges_lead_from_calls_over_segments_to_the_calls_that_they_let_return() {
    let story = proxied();
    let index = Index::new(&story);
    let view = View::of_several(&index, &[ConnectionId(1)]);
    let edges: Vec<_> = view.edges().map(|edge| (edge.from.0, edge.to.0, edge.kind)).collect();
    assert_eq!(edges, [(0, 1, EdgeKind::Sends), (1, 2, EdgeKind::Brings), (1, 2, EdgeKind::Completes)]);
    let all = View::of_one(&index, &story.events.iter().collect::<Vec<_>>());
    assert!(all.edges().all(|edge| edge.from < edge.to && index.event(edge.to).is_some()));
    assert_eq!(all.edges().count(), 6);
}

#[test]
fn every_cause_of_the_echo_is_an_edge() {
    let story = sample::echo();
    let index = Index::new(&story);
    let view = View::of_one(&index, &story.events.iter().collect::<Vec<_>>());
    let edges: Vec<_> = view.edges().collect();
    let count = |kind| edges.iter().filter(|edge| edge.kind == kind).count();
    let mut named = [0; 4];
    for event in &story.events {
        match &event.kind {
            EventKind::Call(call) => named[0] += call.brought_by.len() + usize::from(call.completed_by.is_some()),
            EventKind::Segment(segment) => {
                named[1] += segment.cause.calls.len();
                named[2] += usize::from(segment.cause.of.is_some());
            }
            EventKind::Transition(transition) => named[3] += usize::from(transition.cause.is_some()),
            EventKind::Timer(_) | EventKind::Icmp(_) | EventKind::Link(_) | EventKind::Kernel(_) => {}
        }
    }
    use EdgeKind::{Brings, Causes, Completes, Moves, Sends};
    assert_eq!([count(Brings) + count(Completes), count(Sends), count(Causes), count(Moves)], named);
    assert!(named.iter().all(|number| *number > 0), "{named:?}");
}

#[test]
fn a_segment_arrives_in_a_row_of_its_own_twice_if_it_is_doubled_and_never_if_it_is_lost() {
    use crate::story::{PointSighting, Sense};
    let mut t = sample::Teller::new();
    t.connection = Some(ConnectionId(0));
    let sent: Vec<EventId> = [0, 10, 20, 30]
        .into_iter()
        .map(|at| t.segment(at, Side::Client, Flags::ACK, (1 + at, 1, 10), sample::by(&[])))
        .collect();
    let ack = t.segment(12_000, Side::Server, Flags::ACK, (1, 11, 0), sample::by(&[]));
    // The first is passed by the second, which comes twice; the third is lost; the fourth takes no time.
    let arrivals: [(EventId, &[i64]); 5] =
        [(sent[0], &[15_000]), (sent[1], &[11_000, 13_000]), (sent[2], &[]), (sent[3], &[40]), (ack, &[12_100])];
    for (id, arrives) in arrivals {
        let segment = t.segment_mut(id);
        let (frame, left) = (segment.segment.frame, segment.segment.at);
        let at = |at: &i64| Some(sample::moment(*at));
        let leaves = (left, Sense::Leaves);
        let seen = std::iter::once(leaves).chain(arrives.iter().map(|moment| (at(moment), Sense::Arrives)));
        segment.passage = seen
            .map(|(at, sense)| PointSighting { seen: crate::capture::SeenAt::default(), frame, at, sense })
            .collect();
    }
    let story = t.story;
    let index = Index::new(&story);
    let said = |row: &Row<'_>| match &row.what {
        What::Segment { segment, departs, .. } => {
            format!("{}{}", segment.segment.frame, if *departs { " leaves" } else { "" })
        }
        What::Arrival { segments, again, overtaken, .. } => {
            let frames: Vec<_> = segments.iter().map(|segment| segment.segment.frame.to_string()).collect();
            let how = if *again {
                " again"
            } else if *overtaken {
                " overtaken"
            } else {
                ""
            };
            format!("{} arrives{how}", frames.join("+"))
        }
        _ => panic!("only segments"),
    };
    let rows = View::of_one(&index, index.events_of(Some(ConnectionId(0)))).rows;
    let told: Vec<_> = rows.iter().map(said).collect();
    let expected = ["1 leaves", "2 leaves", "3", "4", "2 arrives", "5", "2 arrives again", "1 arrives overtaken"];
    assert_eq!(told, expected, "what arrives at once goes straight across");
}
