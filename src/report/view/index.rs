//! What is looked up in a story while a view of it is made and drawn.

use std::collections::{HashMap, HashSet};

use crate::calls::{Effect, SocketId};
use crate::flow::{Connection, ConnectionId, Side};
use crate::story::{CallEvent, Event, EventId, EventKind, SegmentEvent, Story};
use crate::tcp::Finding;

/// What is looked up in a story while it is drawn.
pub struct Index<'a> {
    /// What it finds its way in.
    pub story: &'a Story,
    events: HashMap<Option<ConnectionId>, Vec<&'a Event>>,
    segments: HashMap<u64, (EventId, &'a SegmentEvent)>,
    ordinals: HashMap<EventId, u64>,
    listeners: HashSet<SocketId>,
    /// The frame that each frame captured twice is a copy of.
    copies: HashMap<u64, u64>,
}

impl<'a> Index<'a> {
    /// Of a whole story.
    pub fn new(story: &'a Story) -> Self {
        let mut events: HashMap<_, Vec<_>> = HashMap::new();
        let mut segments = HashMap::new();
        let mut listeners = HashSet::new();
        let mut counts: HashMap<(Option<ConnectionId>, Side, &str), Vec<EventId>> = HashMap::new();
        for event in &story.events {
            events.entry(event.connection).or_default().push(event);
            match &event.kind {
                EventKind::Segment(segment) => {
                    segments.insert(segment.segment.frame, (event.id, &**segment));
                }
                EventKind::Call(call) => {
                    if let (Effect::Bind | Effect::Listen | Effect::Accept, Some(socket)) =
                        (call.call.effect(), call.call.socket())
                    {
                        listeners.insert(socket);
                    }
                }
                _ => {}
            }
        }
        let copies = copies(story);
        let mut index = Self { story, events, segments, ordinals: HashMap::new(), listeners, copies };
        for event in story.events.iter().filter(|event| event.connection.is_some()) {
            if let EventKind::Call(call) = &event.kind {
                let key = (event.connection, index.side(call), call.call.name());
                counts.entry(key).or_default().push(event.id);
            }
        }
        index.ordinals =
            counts.into_values().filter(|ids| ids.len() > 1).flat_map(|ids| ids.into_iter().zip(1..)).collect();
        index
    }

    /// The events of one connection, or those of none, in order.
    pub fn events_of(&self, connection: Option<ConnectionId>) -> &[&'a Event] {
        self.events.get(&connection).map_or(&[], Vec::as_slice)
    }

    /// The segment in that frame.
    pub fn segment(&self, frame: u64) -> Option<&'a SegmentEvent> {
        self.segments.get(&frame).map(|(_, segment)| *segment)
    }

    /// The event of the segment in that frame.
    pub fn segment_id(&self, frame: u64) -> Option<EventId> {
        self.segments.get(&frame).map(|(id, _)| *id)
    }

    /// The frame that the one with this number is a copy of, where it was captured twice.
    pub fn copied(&self, frame: u64) -> Option<u64> {
        self.copies.get(&frame).copied()
    }

    /// Which of the calls of its name on its connection and at its end it is, from 1; `None` when it is the only one.
    pub fn ordinal(&self, call: EventId) -> Option<u64> {
        self.ordinals.get(&call).copied()
    }

    /// The event with that number, if the story holds it.
    pub fn event(&self, id: EventId) -> Option<&'a Event> {
        usize::try_from(id.0).ok().and_then(|at| self.story.events.get(at)).filter(|event| event.id == id)
    }

    /// The side of a call: that of its end, or for a socket without a connection that of a server if it was bound to listen.
    pub fn side(&self, call: &CallEvent) -> Side {
        call.side.unwrap_or_else(|| match call.call.socket() {
            Some(socket) if self.listeners.contains(&socket) => Side::Server,
            _ => Side::Client,
        })
    }

    /// The connections that are shown: those chosen, or all.
    pub fn chosen(&self, chosen: &[ConnectionId]) -> Vec<&'a Connection> {
        let wanted = |connection: &&Connection| chosen.is_empty() || chosen.contains(&connection.id);
        self.story.connections.iter().filter(wanted).collect()
    }
}

/// For each frame that was captured twice, the one before with the same segment.
fn copies(story: &Story) -> HashMap<u64, u64> {
    let segments = || {
        story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) => {
                let s = &segment.segment;
                Some((segment, (event.connection, segment.from, segment.seq, segment.ack, s.flags, s.len)))
            }
            _ => None,
        })
    };
    let is_copy = |segment: &SegmentEvent| segment.findings.contains(Finding::CapturedTwice);
    let wanted: HashSet<_> = segments().filter(|(segment, _)| is_copy(segment)).map(|(_, what)| what).collect();
    let (mut originals, mut copies) = (HashMap::new(), HashMap::new());
    for (segment, what) in segments().filter(|(_, what)| wanted.contains(what)) {
        match originals.get(&what) {
            Some(original) if is_copy(segment) => _ = copies.insert(segment.segment.frame, *original),
            _ => _ = originals.insert(what, segment.segment.frame),
        }
    }
    copies
}
