//! Where events are found by their ids: in a story that is finished, or in a timeline that grows.

use super::{Event, EventId, EventKind, Point, Story, Timeline};
use crate::calls::Threads;

/// What whoever tells an event looks up: the events that it names, and who made the calls.
pub trait Lookup: Sync {
    /// The event with that id; `None` where there is none, or none any more.
    fn find(&self, id: EventId) -> Option<&Event>;

    /// The threads that made the calls.
    fn threads(&self) -> &Threads;

    /// Where segments were captured.
    fn points(&self) -> &[Point];

    /// The frame of a segment, or of an ICMP error.
    fn frame_of(&self, id: EventId) -> Option<u64> {
        match &self.find(id)?.kind {
            EventKind::Segment(segment) => Some(segment.segment.frame),
            EventKind::Icmp(icmp) => Some(icmp.quote.frame),
            _ => None,
        }
    }

    /// The frames of segments, in order.
    fn frames_of(&self, ids: &[EventId]) -> Vec<u64> {
        ids.iter().filter_map(|id| self.frame_of(*id)).collect()
    }
}

impl Lookup for Story {
    fn find(&self, id: EventId) -> Option<&Event> {
        self.events.get(usize::try_from(id.0).ok()?).filter(|event| event.id == id)
    }

    fn threads(&self) -> &Threads {
        &self.threads
    }

    fn points(&self) -> &[Point] {
        &self.points
    }
}

impl Lookup for Timeline {
    fn find(&self, id: EventId) -> Option<&Event> {
        self.events.find(id)
    }

    fn threads(&self) -> &Threads {
        &self.threads
    }

    fn points(&self) -> &[Point] {
        &self.points
    }
}
