//! The octets are what a recording kept in its capture file, beside frames that send the octets of its calls again and again.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::ops::ControlFlow;

use tcpflow::calls::{Call, Damaged, Effect, Kept, PREVIEW, Room, SocketUse, Threads};
use tcpflow::report::Jsonl;
use tcpflow::session::{Keep, Session};
use tcpflow::story::{EventKind, LinkRecord, Story};
use tcpflow::time::{Span, Timestamp};

use super::flow::{Captured, Frames, check_outputs, check_story};

/// Reads the octets as kept calls; what is read is written again and read again as the same, and is told beside frames.
///
/// What is read is in proportion to the octets, and so are the joins of calls and segments, and the lines that tell them.
pub fn kept(octets: &[u8]) {
    let kept = match Kept::from_bytes(octets) {
        Ok(Some(kept)) => kept,
        Ok(None) => return link(octets),
        Err(error) => return is_short(&error),
    };
    let again = Kept::from_bytes(&kept.to_bytes()).expect("what was written is readable");
    assert_eq!(again.as_ref(), Some(&kept), "what was written reads as something else");
    assert!(kept.calls.iter().map(size).sum::<usize>() <= 16 * octets.len(), "calls take more than their octets allow");
    let mut little = Room::of(octets.len());
    let some = Kept::read(octets, &mut little).expect("readable").expect("ours");
    assert!(kept.calls.starts_with(&some.calls), "with little room other calls are read");

    let frames = frames(&kept.calls);
    let (calls, segments) = (kept.calls.len(), frames.len());
    let mut session = Session::new(Keep::All);
    let mut source = Frames(frames.iter());
    let run = session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
    assert!(run.is_ok(), "frames broke off");
    let story = session.story(kept.threads, kept.calls, &kept.evidence, None);
    check_story(&story);
    let joins = joins(&story);
    let connections = story.connections.len();
    // Eight for each segment and call and 4096 for each connection, of sends and of receives; and control.
    assert!(joins <= 2 * (8 * (segments + calls) + 4096 * connections) + 4 * segments, "{joins} joins");
    assert!(story.joins_omitted == 0 || joins > 4096, "joins are left out though there are few");
    let mut lines = Vec::new();
    Jsonl::new(&mut lines).story(&story).expect("memory takes everything");
    let most = 16 * octets.len() + 2500 * (segments + calls + connections) + 24 * joins + 4096;
    assert!(lines.len() <= most, "{} octets tell {} of calls and {segments} segments", lines.len(), octets.len());
    if calls + segments < 200 {
        check_outputs(&story, octets.len() as u8);
    }
}

/// Reads the octets as what a link knew; what is read is written again and read again as the same, and is told beside frames.
fn link(octets: &[u8]) {
    let record = match LinkRecord::read(octets, &mut Room::default()) {
        Ok(Some(record)) => record,
        Ok(None) => return,
        Err(error) => return is_short(&error),
    };
    let again = LinkRecord::read(&record.to_bytes(), &mut Room::default()).expect("what was written is readable");
    assert_eq!(again.as_ref(), Some(&record), "what was written reads as something else");
    let ends = ["10.0.0.1:50001", "10.0.0.2:3000"].map(|end| end.parse().expect("an address"));
    let frames = said([(ends[0], ends[1])].into_iter(), 10, FEW, Timestamp::from_nanos(0));
    let mut session = Session::new(Keep::All);
    let run = session.run(&mut Frames(frames.iter()), |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
    assert!(run.is_ok(), "frames broke off");
    session.know_link(record);
    check_story(&session.story(Threads::default(), Vec::new(), &[], None));
}

/// An error holds nothing of what the octets say.
fn is_short(error: &Damaged) {
    let told = error.to_string();
    assert!(!told.is_empty() && told.len() < 200, "an error repeats what the octets say");
}

fn size(call: &Call) -> usize {
    assert!(call.preview().len() <= PREVIEW);
    size_of::<Call>() + call.sockets.capacity() * size_of::<SocketUse>() + call.preview().len()
}

fn joins(story: &Story) -> usize {
    let of = |kind: &EventKind| match kind {
        EventKind::Call(call) => call.sent.len() + call.brought_by.len(),
        EventKind::Segment(segment) => segment.cause.calls.len(),
        _ => 0,
    };
    // A send is told of its frames, and the segments of their sends: each is one join.
    story.events.iter().map(|event| of(&event.kind)).sum::<usize>().div_ceil(2)
}

/// Handshakes between the ends that calls name, and segments with all octets that are written and read, many times.
fn frames(calls: &[Call]) -> Vec<Captured> {
    let named = |call: &Call| match call.effect() {
        Effect::Accept => call.peer().zip(call.local()),
        _ => call.local().zip(call.peer()),
    };
    let whole = |(client, server): &(SocketAddr, SocketAddr)| {
        client.is_ipv4() && server.is_ipv4() && client != server && client.port() != 0 && server.port() != 0
    };
    let opening = calls.iter().filter(|call| matches!(call.effect(), Effect::Connect | Effect::Accept));
    let ends: BTreeSet<_> = opening.filter_map(named).filter(whole).take(MOST_CONNECTIONS).collect();
    let moved = |effect: Effect| {
        let octets = calls.iter().filter(|call| call.effect() == effect).filter_map(Call::octets);
        octets.fold(0, u64::saturating_add).clamp(1, LARGEST) as u16
    };
    let octets = moved(Effect::Send).max(moved(Effect::Receive));
    let start = calls.iter().map(|call| call.entered).min().unwrap_or(Timestamp::from_nanos(0));
    said(ends.into_iter(), octets, REPEATED, start)
}

/// Handshakes between the ends, and so many times so many octets in each direction.
fn said(
    ends: impl Iterator<Item = (SocketAddr, SocketAddr)>,
    octets: u16,
    repeated: usize,
    start: Timestamp,
) -> Vec<Captured> {
    let mut frames: Vec<Captured> = Vec::new();
    for (client, server) in ends {
        let mut put = |from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, flags: u8, octets: u16| {
            let number = frames.len() as u64 + 1;
            let octets = segment(from, to, seq, ack, flags, octets);
            let wire_len = octets.len() as u32;
            frames.push(Captured { number, at: Some(start.after(Span(number as i64 * 7_000))), octets, wire_len });
        };
        put(client, server, 0, 0, 2, 0);
        put(server, client, 0, 1, 18, 0);
        put(client, server, 1, 1, 16, 0);
        for _ in 0..repeated {
            put(client, server, 1, 1, 24, octets);
            put(server, client, 1, 1, 24, octets);
        }
        put(client, server, 1 + u32::from(octets), 1, 17, 0);
    }
    frames
}

fn segment(from: SocketAddr, to: SocketAddr, seq: u32, ack: u32, flags: u8, octets: u16) -> Vec<u8> {
    let v4 = |end: SocketAddr| match end.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(_) => [0; 4],
    };
    let length = (40 + octets).to_be_bytes();
    let mut segment = [&[0x45, 0][..], &length, &[0, 0, 0x40, 0, 64, 6, 0, 0], &v4(from), &v4(to)].concat();
    segment.extend([from.port(), to.port()].iter().flat_map(|port| port.to_be_bytes()));
    segment.extend([seq, ack].iter().flat_map(|number| number.to_be_bytes()));
    segment.extend_from_slice(&[0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    segment.resize(40 + usize::from(octets), b'x');
    segment
}

const MOST_CONNECTIONS: usize = 4;
/// How often all octets are sent, each way.
const REPEATED: usize = 128;
/// How often beside a link's record, of which each segment may have been seen many times.
const FEW: usize = 4;
/// The most octets of a segment.
const LARGEST: u64 = 1000;
