//! How far back a timeline looks, and how much of one thing it names: at each bound, and one beyond it.

use crate::calls::Op;
use crate::capture::{PointId, SeenAt};
use crate::flow::{Detail, FindingAt, Side};
use crate::kernel::{Congestion, KernelAct, Witness};
use crate::script::{LinkAct, LinkEvent};
use crate::story::script::{Recording, lines, recording, story, words};
use crate::story::tests::{SET_UP, moment, segment_in, with_kernel};
use crate::story::*;
use crate::tcp::{Finding, Rule, State};
use crate::wire::Seq;

/// The three segments that open a connection, and what follows them.
fn opened(rest: &str) -> String {
    format!("7us C > S: S 0(0)\n 8us S > C: S. 0(0) ack 1\n 9us C > S: . 1(0) ack 1\n{rest}")
}

/// So many bare acknowledgements of an end from a moment on, a microsecond apart.
fn acknowledgements(count: usize, from: usize, line: &str) -> String {
    (0..count).map(|n| format!("{}us {line}\n", from + n)).collect()
}

#[test]
fn a_copy_is_told_as_one_where_its_original_is_among_an_ends_last_segments() {
    let of = |between: usize| {
        let others = acknowledgements(between, 100, "C > S: . 11(0) ack 1");
        let story =
            story(&opened(&format!("41us C > S: P. 1(10) ack 1 id 70\n{others}500us C > S: P. 1(10) ack 1 id 70")));
        let copy = segment_in(&story, 5 + between as u64);
        (copy.cause.kernel, copy.cause.of.and_then(|of| story.frame_of(of)))
    };
    // The original itself is the first of these.
    assert_eq!(of(classify::REACH - 1), (None, Some(4)));
    assert_eq!(of(classify::REACH), (Some(Mechanism::Recovery), Some(4)), "it counts as sent again");
}

#[test]
fn what_the_link_did_is_joined_to_one_of_the_last_segments_or_to_none() {
    let fate = |later: usize| {
        let others = acknowledgements(later, 100, "C > S: . 11(0) ack 1");
        let recording = recording(&opened(&format!("41us C > S: P. 1(10) ack 1\n{others}")));
        let segment = recording.traces[0].segments[3].observed.segment;
        let mut timeline = Timeline::default();
        words(recording.clone()).for_each(|word| timeline.take(word));
        let act = LinkEvent { at: moment(900), segment, act: LinkAct::Dropped };
        timeline.take(Witnessed::Link(Box::new(act)));
        let story = timeline.finish(recording.connections, recording.threads, Default::default());
        let told = story.events.iter().find_map(|event| match &event.kind {
            EventKind::Link(link) => Some(link.segment.and_then(|segment| story.frame_of(segment))),
            _ => None,
        });
        (told.expect("it is told in any case"), segment_in(&story, 4).fate)
    };
    assert_eq!(fate(link::LAST_ONES - 1), (Some(4), Some(Fate::Lost)));
    assert_eq!(fate(link::LAST_ONES), (None, None));
}

#[test]
fn the_kernels_word_is_joined_to_one_of_the_last_segments_or_to_none() {
    let evidence = |later: usize| {
        let others = acknowledgements(later, 250_100, "S > C: . 1(0) ack 1");
        let script =
            opened(&format!("41us C > S: P. 1(10) ack 1\n250041us C > S: P. 1(10) ack 1 = retransmission\n{others}"));
        let again = KernelAct::Retransmit { state: State::Established };
        let acts = [KernelAct::Congestion { to: Congestion::Loss }, again.clone()];
        let story = with_kernel(&script, &acts.map(|act| (251_000, Side::Client, act)));
        let told = story.events.iter().find_map(|event| match &event.kind {
            EventKind::Kernel(told) if told.act == again => {
                Some(told.segment.and_then(|segment| story.frame_of(segment)))
            }
            _ => None,
        });
        let is_witnessed = segment_in(&story, 5).cause.evidence == Evidence::Witnessed(Witness::Kernel);
        (told.expect("it is told in any case"), is_witnessed)
    };
    assert_eq!(evidence(samples::LAST_ONES - 1), (Some(5), true));
    assert_eq!(evidence(samples::LAST_ONES), (None, false));
}

/// A connection in which a segment was captured so often, each time at another point.
fn seen_at_many_points(times: usize) -> Recording {
    let again = acknowledgements(times, 100, "C > S: P. 1(10) ack 1 id 70");
    let mut recording = recording(&opened(&again));
    for (point, sighting) in recording.traces[0].segments[3..].iter_mut().enumerate() {
        sighting.observed.seen = SeenAt { point: PointId(point as u32), ..SeenAt::default() };
    }
    recording
}

#[test]
fn so_many_sightings_of_a_segment_are_one_event_and_further_ones_are_copies() {
    let sightings = |times: usize| {
        let story = seen_at_many_points(times).told();
        let events = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) if segment.segment.frame > 3 => Some(segment),
            _ => None,
        });
        events.map(|segment| (segment.sightings().count(), segment.cause.of.is_some())).collect::<Vec<_>>()
    };
    let most = sightings::MOST_SIGHTINGS;
    assert_eq!(sightings(most), [(most, false)]);
    assert_eq!(sightings(most + 2), [(most, false), (1, true), (1, true)]);
}

#[test]
fn a_reset_ends_one_of_the_last_connections_before_its_own_or_none() {
    let closed = |between: usize| {
        let mut script = String::from("0ms C > S: S 100(0)\n S > C: S. 300(0) ack 101\n C > S: . 101(0) ack 301\n");
        for port in 0..between {
            script += &format!("C = 10.0.0.1:{}\n C > S: S 100(0)\n", 10_000 + port);
        }
        script += "C = 10.0.0.1:5000\n 60000ms C > S: S 9000(0)\n S > C: . 301(0) ack 101\n C > S: R 101(0)\n";
        let told = lines(&story(&script));
        told.iter().filter(|line| line.contains("ESTABLISHED>CLOSED")).count()
    };
    assert_eq!([closed(sightings::LOOKED_BACK - 1), closed(sightings::LOOKED_BACK)], [2, 0]);
}

#[test]
fn what_was_found_in_further_sightings_is_no_finding_however_many_there_are() {
    let mut script = String::new();
    let segments = 3000;
    for n in 0..segments {
        let (at, seq) = (100 + 10 * n, 1 + n);
        script +=
            &format!("{at}us C > S: P. {seq}(1) ack 1 id {0}\n{1}us C > S: P. {seq}(1) ack 1 id {0}\n", n + 1, at + 1);
    }
    let mut recording = recording(&opened(&script));
    // As `--findings` has them, all of them.
    let found = |frame| FindingAt {
        finding: Finding::CapturedTwice,
        frame: Some(frame),
        side: Side::Client,
        detail: Detail::None,
    };
    recording.connections[0].findings.clear();
    for (n, pair) in recording.traces[0].segments[3..].chunks_mut(2).enumerate() {
        assert!(pair[1].observed.step.findings.contains(Finding::CapturedTwice), "{n}");
        pair[1].observed.seen.point = PointId(1);
        recording.connections[0].findings.push(found(pair[1].observed.segment.frame));
    }
    let story = recording.told();
    assert_eq!(story.connections[0].findings, []);
    assert_eq!(story.events.iter().filter(|event| matches!(event.kind, EventKind::Segment(_))).count(), 3 + segments);
}

#[test]
fn an_end_in_time_wait_gives_way_to_a_syn_past_the_highest_number_however_long_ago_that_was_sent() {
    let gives_way = |number: u32| {
        let mut recording = recording(&opened(&format!(
            "41us C > S: P. 1(1000) ack 1
            51us S > C: F. 1(0) ack 1001
            52us C > S: F. 1001(0) ack 2
            53us S > C: . 2(0) ack 1002
            {}
            2000us C > S: S 5000(0)",
            acknowledgements(200, 100, "C > S: . 1(0) ack 2")
        )));
        assert_eq!(recording.traces.len(), 2);
        recording.traces[1].segments[0].observed.segment.seq = Seq(number);
        let story = recording.told();
        story.events.iter().any(|event| match &event.kind {
            EventKind::Transition(moved) => (moved.side, moved.rule) == (Side::Server, Rule::TimeWaitReused),
            _ => false,
        })
    };
    assert!(gives_way(5000) && gives_way(1003));
    assert!(!gives_way(500), "it is past the numbers sent last, not past all of them");
}

#[test]
fn a_diagnosis_names_the_first_of_very_many_events_and_counts_all() {
    let found = |sends: usize, is_one_segment: bool| {
        let mut script = SET_UP.to_owned();
        for n in 0..sends {
            script += &format!("{}us..{}us C: send(1) = 1\n", 100 + 2 * n, 101 + 2 * n);
            if !is_one_segment {
                script += &format!("{}us C > S: P. {}(1) ack 1\n", 101 + 2 * n, 1 + n);
            }
        }
        if is_one_segment {
            script += &format!("900us C > S: P. 1({sends}) ack 1\n");
        }
        script += &format!("1000us..1001us S: recv() = {sends}\n");
        let story = story(&script);
        let called = |id: &EventId| match &story[*id].kind {
            EventKind::Call(call) => matches!(call.call.op, Op::Send { .. }),
            _ => false,
        };
        let diagnoses = story.diagnoses().into_iter();
        diagnoses
            .filter_map(|found| match found.what {
                Mistake::SendsMerged { sends } if is_one_segment => Some((sends as usize, found.events)),
                Mistake::MessagesJoined { sends } if !is_one_segment => Some((sends as usize, found.events)),
                _ => None,
            })
            .map(|(sends, events)| (sends, events.iter().filter(|id| called(id)).count(), events.len()))
            .collect::<Vec<_>>()
    };
    for (most, is_one_segment) in [(stalls::MOST_NAMED, true), (diagnoses::MOST_NAMED, false)] {
        assert_eq!(found(most, is_one_segment), [(most, most, most + 1)]);
        assert_eq!(found(most + 1, is_one_segment), [(most + 1, most, most + 1)]);
    }
}
