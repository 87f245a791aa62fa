//! What a run yields, and what its batches hold.

use super::batch::COMPARED;
use super::*;
use crate::capture::{CapturePoint, Heading, PointId, SeenAt};
use crate::flow::{Conflict, ConnectionId, Detail};
use crate::story::{Changes, EventId, EventKind, Lookup, Mechanism};
use crate::tcp::Finding;

/// Segments of one octet from one end, each in IPv4 without a link layer.
struct Octets {
    frames: u32,
    read: u32,
    bytes: Vec<u8>,
}

impl FrameSource for Octets {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        if self.read == self.frames {
            return Ok(None);
        }
        self.read += 1;
        let head = [0x45, 0, 0, 41, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [&[48, 57, 0, 80][..], &self.read.to_be_bytes(), &[0, 0, 0, 9, 0x50, 16, 16, 0, 0, 0, 0, 0, 7]];
        self.bytes = [&head[..], &tcp.concat()].concat();
        let number = self.read.into();
        Ok(Some(Frame {
            number,
            at: None,
            link: LinkType(101),
            bytes: &self.bytes,
            wire_len: 41,
            seen: Default::default(),
        }))
    }
}

/// One frame over and over.
struct Same(LinkType, Vec<u8>);

impl FrameSource for Same {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        Ok(Some(Frame {
            number: 1,
            at: None,
            link: self.0,
            bytes: &self.1,
            wire_len: self.1.len() as u32,
            seen: Default::default(),
        }))
    }
}

#[test]
fn batches_are_bounded_in_frames_segments_and_octets() {
    let fill = |mut source: Same| {
        let session = Session::new(Keep::All);
        let mut batch = Batch::default();
        let more = session.reader(|_: &Frame<'_>| Ok(true)).fill(&mut source, &mut batch);
        assert!(matches!(more, Ok(More::Frames)));
        (batch.frames, batch.segments.len())
    };
    assert_eq!(fill(Same(LinkType::RAW, vec![0x45])), (512, 0));
    assert_eq!(fill(Same(LinkType::RAW, vec![0; 262_144])), (16, 0));
    // Aggregates of 100 segments each.
    let ip = [&[0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], &[0x50; 20]].concat();
    let subframe = [&[0; 12][..], &[0, 48, 0xaa, 0xaa, 3, 0, 0, 0, 8, 0], &ip, &[0, 0]].concat();
    let frame = [&[0x88, 1][..], &[0; 22], &[0x80, 0], &subframe.repeat(100)].concat();
    assert_eq!(fill(Same(LinkType(105), frame)), (11, 1100));
}

/// Some frames, one after the other.
struct Frames(Vec<Vec<u8>>, usize);

impl FrameSource for Frames {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        self.1 += 1;
        Ok(self.0.get(self.1 - 1).map(|bytes| Frame {
            number: self.1 as u64,
            at: None,
            link: LinkType::RAW,
            bytes,
            wire_len: bytes.len() as u32,
            seen: Default::default(),
        }))
    }
}

#[test]
fn frames_that_are_not_in_order_of_time_are_counted() {
    struct Times(Vec<i64>, usize, Vec<u8>);
    impl FrameSource for Times {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            let Some(time) = self.0.get(self.1) else { return Ok(None) };
            self.1 += 1;
            let (number, at) = (self.1 as u64, Some(Timestamp::from_nanos(*time)));
            let link = LinkType::RAW;
            Ok(Some(Frame { number, at, link, bytes: &self.2, wire_len: 40, seen: Default::default() }))
        }
    }
    let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
    let tcp = [0, 7, 0, 80, 0, 0, 0, 9, 0, 0, 0, 9, 0x50, 16, 16, 0, 0, 0, 0, 0];
    let times = [50, 60, 60, 10, 20, 5].into_iter().chain((0..1000).map(|time| 100 + time)).chain([7]);
    let mut session = Session::new(Keep::All);
    let mut source = Times(times.collect(), 0, [&ip[..], &tcp].concat());
    assert!(session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ()).is_ok());
    let story = session.story(Threads::default(), Vec::new(), &[], None);
    assert_eq!(story.totals.steps_back, 3);
    assert_eq!(story.connections[0].duration(), Some(Span(0)), "never negative");
}

#[test]
fn octets_beyond_those_compared_are_not() {
    let conflicts = |place: usize| {
        let frame = |octet: u8| {
            let ip = [0x45, 0, 0x0b, 0xe0, 0, 0, 0x40, 0, 64 + octet, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let tcp = [0, 7, 0, 80, 0, 0, 0, 9, 0, 0, 0, 9, 0x50, 16, 16, 0, octet, 0, 0, 0];
            let mut frame = [&ip[..], &tcp, &[0; 3000]].concat();
            frame[40 + place] = octet;
            frame
        };
        let mut session = Session::new(Keep::All);
        let mut source = Frames(vec![frame(0), frame(1)], 0);
        assert!(session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ()).is_ok());
        let story = session.story(Threads::default(), Vec::new(), &[], None);
        let of_segment = story.events.iter().any(|event| match &event.kind {
            EventKind::Segment(segment) if segment.findings.contains(Finding::ConflictingOctets) => {
                assert_eq!(segment.cause.kernel, Some(Mechanism::Unknown), "no stack repeats what it did not send");
                true
            }
            _ => false,
        });
        let mut findings = story.connections[0].findings.iter();
        let listed = findings.find(|finding| finding.finding == Finding::ConflictingOctets).cloned();
        assert_eq!(listed.is_some(), of_segment);
        // Without a timeline the same is found where it is asked for, and nothing where it is not.
        let told = |session: Session| {
            struct Told(Vec<Connection>);
            impl Sink for Told {
                fn connection(&mut self, connection: Connection) -> io::Result<()> {
                    self.0.push(connection);
                    Ok(())
                }
                fn finish(&mut self, _: &Totals) -> io::Result<()> {
                    Ok(())
                }
            }
            let (mut session, mut told) = (session, Told(Vec::new()));
            let mut source = Frames(vec![frame(0), frame(1)], 0);
            assert!(session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut told).is_ok());
            session.finish(&mut told).expect("nothing is written");
            told.0.remove(0)
        };
        let (asked, unasked) = (told(Session::default().with_conflicts(1 << 20)), told(Session::default()));
        assert_eq!(asked, story.connections[0]);
        let count =
            |one: &Connection| one.finding_counts.as_ref().map_or(0, |of| of[Finding::ConflictingOctets as usize]);
        assert_eq!((count(&asked), count(&unasked)), (u32::from(of_segment), 0));
        assert!(unasked.findings.iter().all(|finding| finding.finding != Finding::ConflictingOctets));
        listed.map(|finding| (finding.frame, finding.detail))
    };
    let told = Detail::Conflict(Box::new(Conflict { frame: 1, ttls: [64, 65] }));
    assert_eq!(conflicts(COMPARED - 1), Some((Some(2), told)));
    assert_eq!(conflicts(COMPARED), None);
}

#[test]
fn a_bounded_timeline_has_the_first_segments_and_counts_the_others() {
    for (keep, held, left_out) in [(Keep::First(700), 700, 300), (Keep::First(1000), 1000, 0), (Keep::All, 1000, 0)] {
        let mut session = Session::new(keep);
        let mut source = Octets { frames: 1000, read: 0, bytes: Vec::new() };
        let run = session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
        assert!(run.is_ok());
        assert_eq!(session.left_out(), left_out);
        let story = session.story(Threads::default(), Vec::new(), &[], None);
        let frames = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) => Some(segment.segment.frame),
            _ => None,
        });
        assert!(frames.eq(1..=held));
        assert_eq!(story.connections[0].client_to_server.segments, 1000, "the summary has all of them");
    }
}

/// What a timeline that grows tells.
#[derive(Default)]
struct Grown {
    events: u64,
    connections: Vec<ConnectionId>,
    forgotten: Vec<ConnectionId>,
    most: usize,
}

impl Sink for Grown {
    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        self.events += changes.added.1;
        self.most = self.most.max(timeline.held());
        let (first, count) = changes.added;
        assert!(
            (first.0..first.0 + count).all(|id| timeline.find(EventId(id)).is_some()),
            "told after it was forgotten"
        );
        Ok(())
    }

    fn forgets(&mut self, connection: ConnectionId) {
        self.forgotten.push(connection);
    }

    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.connections.push(connection.id);
        Ok(())
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_timeline_that_goes_on_forgets_connections_that_were_told_and_never_holds_too_many_events() {
    const MOST: usize = 4096;
    let limits = Limits { linger: Span::from_millis(1000), ..Limits::default() };
    let mut session = Session::new(Keep::All).with_limits(limits).growing_within(MOST);
    let mut reader = session.reader(|_: &Frame<'_>| Ok(true));
    let (mut batch, mut grown) = (Batch::default(), Grown::default());
    // One connection that never ends, and 2000 that are reset at once, a millisecond apart.
    let (mut number, mut now) = (0, Timestamp::from_parts(1000, 0));
    let mut tell = |session: &mut Session, grown: &mut Grown, port: u16, seq: u32, flags: u8| {
        number += 1;
        now = now.after(Span::from_micros(500));
        let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp =
            [&port.to_be_bytes()[..], &[0, 80], &seq.to_be_bytes(), &[0, 0, 0, 0, 0x50, flags, 16, 0, 0, 0, 0, 0]];
        let bytes = [&ip[..], &tcp.concat()].concat();
        let (at, link) = (Some(now), LinkType::RAW);
        let frame = Frame { number, at, link, bytes: &bytes, wire_len: 40, seen: Default::default() };
        let mut source = crate::capture::Given::of(std::iter::once(frame));
        session.advance(&mut reader, &mut source, &mut batch, grown).expect("nothing is written");
        session.pass(now, grown).expect("nothing is written");
    };
    for round in 0..4000u32 {
        tell(&mut session, &mut grown, 7, round, 16);
        tell(&mut session, &mut grown, 1000 + (round / 2) as u16, 1, if round % 2 == 0 { 2 } else { 4 });
    }
    assert!(grown.most <= MOST + 1024, "{} events are held", grown.most);
    let told_at_once = grown.connections.len();
    assert!(told_at_once > 1000 && !grown.connections.contains(&ConnectionId(0)), "{told_at_once}");
    assert!(grown.forgotten.contains(&ConnectionId(0)), "the oldest events are those of the one that never ends");
    let totals = session.finish(&mut grown).expect("nothing is written");
    assert_eq!((totals.segments, grown.connections.len()), (8000, 2001));
    assert!(grown.events >= 8000, "{}", grown.events);
}

#[test]
fn an_event_is_told_when_it_is_settled_and_not_before() {
    let mut session = Session::new(Keep::All).growing();
    let mut grown = Grown::default();
    let mut source = Octets { frames: 1, read: 0, bytes: Vec::new() };
    let mut reader = session.reader(|_: &Frame<'_>| Ok(true));
    let start = Timestamp::from_parts(1000, 0);
    session.pass(start, &mut grown).expect("nothing is written");
    session.advance(&mut reader, &mut source, &mut Batch::default(), &mut grown).expect("nothing is written");
    let mut told = Vec::new();
    for millis in (0..=120).step_by(10) {
        session.pass(start.after(Span::from_millis(millis)), &mut grown).expect("nothing is written");
        told.push((millis, grown.events > 0));
    }
    // The sorter waits for 50 ms, and what it let go settles for 40.
    assert!(told.iter().all(|(millis, told)| *told == (*millis >= 90)), "{told:?}");
}

/// Each of two segments twice, one copy right after the other, as two points saw them.
struct Twice {
    points: [CapturePoint; 2],
    seen: [SeenAt; 2],
    frames: Vec<Vec<u8>>,
    read: usize,
}

impl FrameSource for Twice {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some(bytes) = self.frames.get(self.read / 2) else { return Ok(None) };
        let seen = self.seen[self.read % 2];
        self.read += 1;
        let (number, at) = (self.read as u64, Some(Timestamp::from_nanos(1000 * self.read as i64)));
        Ok(Some(Frame { number, at, link: LinkType::RAW, bytes, wire_len: bytes.len() as u32, seen }))
    }

    fn points(&self) -> &[CapturePoint] {
        &self.points
    }
}

#[test]
fn a_frame_that_two_points_saw_is_one_segment_with_two_sightings() {
    let frame = |id: u8, seq: u8, flags: u8, octets: usize| {
        let len = 40 + octets as u8;
        let ip = [0x45, 0, 0, len, 0, id, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        let tcp = [0, 7, 0, 80, 0, 0, 0, seq, 0, 0, 0, 9, 0x50, flags, 16, 0, 0, 0, 0, 0];
        [&ip[..], &tcp, &vec![7; octets]].concat()
    };
    let point = |name: &str| CapturePoint {
        file: Some("router.pcapng".into()),
        interface: Some(name.to_owned()),
        description: None,
        link: LinkType::RAW,
    };
    let at = |point: u32, heading| SeenAt { point: PointId(point), heading, interface: None };
    let story_of = |seen: [SeenAt; 2]| {
        let frames = vec![frame(1, 1, 2, 0), frame(2, 2, 24, 10)];
        let mut source = Twice { points: [point("eth0"), point("eth1")], seen, frames, read: 0 };
        let mut session = Session::new(Keep::All);
        assert!(session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ()).is_ok());
        session.story(Threads::default(), Vec::new(), &[], None)
    };
    let sightings = |story: &Story| -> Vec<Vec<(u32, u64)>> {
        let of = |event: &crate::story::Event| match &event.kind {
            EventKind::Segment(segment) => {
                Some(segment.sightings().map(|seen| (seen.seen.point.0, seen.frame)).collect())
            }
            _ => None,
        };
        story.events.iter().filter_map(of).collect()
    };

    let forwarded = story_of([at(0, Heading::Inbound), at(1, Heading::Outbound)]);
    assert_eq!(sightings(&forwarded), [[(0, 1), (1, 2)], [(0, 3), (1, 4)]]);
    let names: Vec<_> = forwarded.points.iter().map(|point| point.at.interface.as_deref()).collect();
    assert_eq!(names, [Some("eth0"), Some("eth1")]);
    let copied = |finding: &crate::flow::FindingAt| finding.finding == Finding::CapturedTwice;
    assert!(!forwarded.connections[0].findings.iter().any(copied));
    assert_eq!(forwarded.connections[0].client_to_server.segments, 4, "the counts are those of the frames");

    // The same interface had it in and out again.
    let turned = story_of([at(0, Heading::Inbound), at(0, Heading::Outbound)]);
    assert_eq!(sightings(&turned), [[(0, 1), (0, 2)], [(0, 3), (0, 4)]]);

    // What one point took twice is shown twice, and named a copy.
    let mirrored = story_of([at(0, Heading::Unknown), at(0, Heading::Unknown)]);
    assert_eq!(sightings(&mirrored), [[(0, 1)], [(0, 2)], [(0, 3)], [(0, 4)]]);
    assert_eq!(mirrored.connections[0].findings.iter().filter(|finding| copied(finding)).count(), 2);
}

/// Segments without an identification, as (point, flags, number, acknowledgement, octets), a millisecond apart; each twice the time so.
struct AtPoints {
    segments: Vec<(u32, bool, u8, u32, u32, u8)>,
    points: Vec<CapturePoint>,
    read: usize,
    bytes: Vec<u8>,
}

impl AtPoints {
    fn of(segments: &[(u32, bool, u8, u32, u32, u8)]) -> Self {
        let point = CapturePoint { file: None, interface: None, description: None, link: LinkType(101) };
        Self { segments: segments.to_vec(), points: vec![point; 3], read: 0, bytes: Vec::new() }
    }
}

impl FrameSource for AtPoints {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        let Some((point, is_server, flags, seq, ack, len)) = self.segments.get(self.read).copied() else {
            return Ok(None);
        };
        self.read += 1;
        let ends = if is_server { [2, 1] } else { [1, 2] };
        let ports: [&[u8]; 2] = if is_server { [&[0, 80], &[48, 57]] } else { [&[48, 57], &[0, 80]] };
        // The checksum that a network card is to fill in differs from the one on the way.
        let checksum = if point == 0 { [0, 0] } else { [1, 1] };
        let head = [0x45, 0, 0, 40 + len, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, ends[0], 10, 0, 0, ends[1]];
        let numbers = [seq.to_be_bytes(), ack.to_be_bytes()].concat();
        let rest = [&[0x50, flags, 16, 0][..], &checksum, &[0, 0], &vec![7; len.into()]].concat();
        self.bytes = [&head[..], &ports.concat(), &numbers, &rest].concat();
        Ok(Some(Frame {
            number: self.read as u64,
            at: Some(Timestamp::from_nanos(0).after(Span::from_millis(self.read as i64))),
            link: LinkType(101),
            bytes: &self.bytes,
            wire_len: self.bytes.len() as u32,
            seen: SeenAt { point: PointId(point), ..SeenAt::default() },
        }))
    }

    fn points(&self) -> &[CapturePoint] {
        &self.points
    }
}

const SYN: u8 = 2;
const ACK: u8 = 16;

/// The timeline's segments as (frame, what the kernel did, frames of its other sightings).
fn told_at_points(segments: &[(u32, bool, u8, u32, u32, u8)]) -> Vec<(u64, Option<Mechanism>, Vec<u64>)> {
    let mut source = AtPoints::of(segments);
    let mut session = Session::new(Keep::All);
    session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ()).expect("nothing is written");
    let story = session.story(Threads::default(), Vec::new(), &[], None);
    let segments = story.events.iter().filter_map(|event| match &event.kind {
        EventKind::Segment(segment) => Some(segment),
        _ => None,
    });
    let others = |segment: &crate::story::SegmentEvent| segment.sightings().skip(1).map(|seen| seen.frame).collect();
    segments.map(|segment| (segment.segment.frame, segment.cause.kernel, others(segment))).collect()
}

#[test]
fn what_two_points_have_was_sent_once_and_what_both_have_twice_was_sent_again() {
    let told = told_at_points(&[
        (0, false, SYN, 100, 0, 0),
        (1, false, SYN, 100, 0, 0),
        (1, true, SYN | ACK, 300, 101, 0),
        (0, true, SYN | ACK, 300, 101, 0),
        (0, false, ACK, 101, 301, 0),
        (1, false, ACK, 101, 301, 0),
        (0, false, ACK, 101, 301, 9),
        (1, false, ACK, 101, 301, 9),
        // It was sent again, and seen at both; and once more, and lost between them.
        (0, false, ACK, 101, 301, 9),
        (1, false, ACK, 101, 301, 9),
        (0, false, ACK, 101, 301, 9),
        (1, true, ACK, 301, 110, 0),
        (0, true, ACK, 301, 110, 0),
    ]);
    let seen: Vec<_> = told.iter().map(|(frame, _, others)| (*frame, &others[..])).collect();
    let expected: [(u64, &[u64]); 7] = [(1, &[2]), (3, &[4]), (5, &[6]), (7, &[8]), (9, &[10]), (11, &[]), (12, &[13])];
    assert_eq!(seen, expected);
    assert!(told[4].1.is_some() && told[5].1.is_some(), "they are repetitions: {told:?}");
    assert_eq!(
        (told[0].1, told[3].1),
        (Some(Mechanism::Unknown), Some(Mechanism::Unknown)),
        "nobody watched the calls"
    );
}

#[test]
fn what_files_that_follow_one_another_have_in_common_was_sent_again() {
    let told = told_at_points(&[
        (0, false, SYN, 100, 0, 0),
        (0, true, SYN | ACK, 300, 101, 0),
        (0, false, ACK, 101, 301, 0),
        (0, false, ACK, 101, 301, 9),
        (1, false, ACK, 101, 301, 9),
        (1, true, ACK, 301, 110, 0),
    ]);
    assert_eq!(told.iter().map(|(frame, ..)| *frame).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6]);
    assert!(told.iter().all(|(.., others)| others.is_empty()));
}
