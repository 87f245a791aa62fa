//! What holds octets up or joins them on their way between two programs, as calls and segments show it.

use std::collections::BTreeMap;

use super::diagnosis::{Diagnosis, Mistake};
use super::{CallEvent, Event, EventId, EventKind, Lookup, SegmentEvent, Why};
use crate::calls::{Call, Effect, Op, Sending, ThreadId};
use crate::flow::{ConnectionId, Side};
use crate::hash::HashMap;
use crate::tcp::Finding;
use crate::time::{Span, Timestamp};
use crate::wire::Flags;

/// What is found at the ends of connections, each once for an end.
pub(super) fn stalls(known: &dyn Lookup, events: &[&Event]) -> Vec<Diagnosis> {
    let mut ends: BTreeMap<(ConnectionId, Side), End> = BTreeMap::new();
    let mut held_back: HashMap<u64, EventId> = HashMap::default();
    let mut found = Vec::new();
    for event in events {
        let Some(connection) = event.connection else { continue };
        match &event.kind {
            EventKind::Call(call) => {
                let Some(side) = call.side else { continue };
                let end = ends.entry((connection, side)).or_default();
                end.is_watched = true;
                if call.call.effect() == Effect::Receive {
                    end.read(event.id);
                }
                if let Some(what) = short_write(call).filter(|_| !std::mem::replace(&mut end.wrote_short, true)) {
                    found.push(Diagnosis {
                        what,
                        connection: Some(connection),
                        side: Some(side),
                        events: vec![event.id],
                    });
                }
            }
            EventKind::Segment(segment) => {
                if segment.cause.why == Some(Why::HeldBack) {
                    held_back.insert(segment.segment.frame, event.id);
                }
                let end = ends.entry((connection, segment.from)).or_default();
                end.advertise(event, segment);
                if segment.cause.calls.len() >= MERGED && end.merged.is_none() {
                    end.merged = Some(());
                    let (what, mut events) = (
                        Mistake::SendsMerged { sends: segment.cause.calls.len() as u64 },
                        segment.cause.calls.iter().copied().take(MOST_NAMED).collect::<Vec<_>>(),
                    );
                    events.push(event.id);
                    found.push(Diagnosis { what, connection: Some(connection), side: Some(segment.from), events });
                }
                if !end.was_held
                    && let Some((what, events)) = nagle(known, event, segment, &held_back)
                {
                    end.was_held = true;
                    found.push(Diagnosis { what, connection: Some(connection), side: Some(segment.from), events });
                }
            }
            _ => {}
        }
        if let Some(end) = event.at {
            let ends = ends.range_mut((connection, Side::Client)..=(connection, Side::Server));
            ends.for_each(|(_, known)| known.until = known.until.max(Some(end)));
        }
    }
    let long = long_calls(events);
    for ((connection, side), end) in ends {
        let Some((what, mut events)) = end.stall(known, &long) else { continue };
        events.sort_unstable();
        events.dedup();
        found.push(Diagnosis { what, connection: Some(connection), side: Some(side), events });
    }
    found
}

/// What is known of an end.
#[derive(Default)]
struct End {
    is_watched: bool,
    /// The last receive before its window closed, or so far.
    last_read: Option<EventId>,
    closed: Option<Closed>,
    /// The first time that its window was closed for long.
    long: Option<(Closed, Option<Timestamp>)>,
    was_held: bool,
    wrote_short: bool,
    merged: Option<()>,
    until: Option<Timestamp>,
}

/// A window of zero.
#[derive(Clone, Copy)]
struct Closed {
    since: Timestamp,
    segment: EventId,
    last_read: Option<EventId>,
    next_read: Option<EventId>,
}

impl End {
    fn read(&mut self, call: EventId) {
        self.last_read = Some(call);
        if let Some(closed) = &mut self.closed {
            closed.next_read.get_or_insert(call);
        }
    }

    /// Takes in the window that a segment of this end tells of.
    fn advertise(&mut self, event: &Event, segment: &SegmentEvent) {
        let Some(at) = event.at else { return };
        let is_closed = segment.findings.contains(Finding::ZeroWindow);
        match (&self.closed, is_closed) {
            (None, true) => {
                let last_read = self.last_read;
                self.closed = Some(Closed { since: at, segment: event.id, last_read, next_read: None });
            }
            (Some(closed), false) if segment.window > 0 || segment.segment.flags.contains(Flags::RST) => {
                if at.since(closed.since) >= STALL && self.long.is_none() {
                    self.long = Some((*closed, Some(at)));
                }
                self.closed = None;
            }
            _ => {}
        }
    }

    /// The time for which its window was closed, where that was long and its calls were watched.
    fn stall(&self, known: &dyn Lookup, long: &LongCalls<'_>) -> Option<(Mistake, Vec<EventId>)> {
        let (closed, opened) = self.long.or(self.closed.map(|closed| (closed, None)))?;
        let until = opened.or(self.until)?;
        let lasted = until.since(closed.since);
        if !self.is_watched || lasted < STALL {
            return None;
        }
        // Where the thread was meanwhile that read next, or last: in a call that took at least half of that time.
        let reader = closed.next_read.or(closed.last_read).and_then(|read| known.find(read));
        let reader = reader.and_then(|event| match &event.kind {
            EventKind::Call(call) => Some(call.call.thread()),
            _ => None,
        });
        let calls = reader.and_then(|reader| long.get(&reader)).into_iter().flatten();
        let elsewhere = calls.filter(|(event, _)| Some(*event) != closed.next_read).find(|(_, call)| {
            let (from, to) = (call.entered.max(closed.since), call.returned_at().unwrap_or(until).min(until));
            from < to && to.since(from).as_nanos() * 2 >= lasted.as_nanos()
        });
        let elsewhere = elsewhere.map(|(event, _)| *event);
        let events = [closed.last_read, Some(closed.segment), elsewhere, closed.next_read];
        let what = Mistake::ZeroWindowStall { lasted, opened: opened.is_some(), is_elsewhere: elsewhere.is_some() };
        Some((what, events.into_iter().flatten().collect()))
    }
}

/// The calls of each thread that took so long that it could be in them for half of a stall, in order.
type LongCalls<'a> = HashMap<ThreadId, Vec<(EventId, &'a Call)>>;

fn long_calls<'a>(events: &[&'a Event]) -> LongCalls<'a> {
    let mut long = LongCalls::default();
    for event in events {
        let EventKind::Call(call) = &event.kind else { continue };
        let call = &call.call;
        if call.returned_at().is_none_or(|returned| returned.since(call.entered).as_nanos() * 2 >= STALL.as_nanos()) {
            long.entry(call.thread()).or_default().push((event.id, call));
        }
    }
    long
}

/// A send that took less than it was offered.
fn short_write(call: &CallEvent) -> Option<Mistake> {
    let Op::Send { by: Sending::Send | Sending::SendTo | Sending::Write | Sending::WriteV, len, .. } = call.call.op
    else {
        return None;
    };
    let wrote = call.call.octets()?;
    len.filter(|len| wrote < *len).map(|offered| Mistake::ShortWrite { offered, wrote })
}

/// Octets that waited for an acknowledgement, which its sender held back.
fn nagle(
    known: &dyn Lookup,
    event: &Event,
    segment: &SegmentEvent,
    held_back: &HashMap<u64, EventId>,
) -> Option<(Mistake, Vec<EventId>)> {
    let Some(Why::Waited { released_by }) = segment.cause.why else { return None };
    let ack = *held_back.get(&released_by)?;
    let last = *segment.cause.calls.last()?;
    let EventKind::Call(call) = &known.find(last)?.kind else { return None };
    let waited = event.at?.since(call.call.returned_at()?);
    (waited >= HELD).then(|| (Mistake::NagleDelayedAck { waited }, vec![last, ack, event.id]))
}

/// How long a window is closed that a program is to know of: the first probe is sent after 200 ms.
const STALL: Span = Span::from_millis(200);
/// How long octets wait that a program is to know of.
const HELD: Span = Span::from_millis(10);
/// How many sends in one segment are worth a word.
const MERGED: usize = 3;
/// How many events of one kind are named.
pub(super) const MOST_NAMED: usize = 8;
