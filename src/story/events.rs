//! The events of a timeline in the order of their birth, and what has become of them since they were looked at last.

use std::collections::BTreeSet;

use super::{CallEvent, Event, EventId, EventKind, Phase, SegmentEvent, TransitionEvent};
use crate::flow::ConnectionId;
use crate::time::Timestamp;

/// Events by their ids, each with its place in the order of time.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    list: Vec<Event>,
    order: Vec<Order>,
    withdrawn: BTreeSet<EventId>,
    /// How many events had been born when changes were taken last.
    known: usize,
    amended: BTreeSet<EventId>,
}

/// Where an event stands among the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Order {
    pub(super) at: Option<Timestamp>,
    /// The frame, for what a segment did; 0 for calls, which come before segments of the same time, and the highest for samples.
    pub(super) frame: u64,
    /// 0 for calls, 1 for what they did.
    pub(super) class: u8,
}

impl Order {
    /// The place of what a segment in that frame did.
    pub(super) fn of_frame(at: Option<Timestamp>, frame: u64) -> Self {
        Self { at, frame, class: 1 }
    }

    /// The place of what a call did as it returned.
    pub(super) fn of_return(at: Option<Timestamp>) -> Self {
        Self { at, frame: 0, class: 1 }
    }

    /// The place of what a sample shows.
    pub(super) fn of_sample(at: Timestamp) -> Self {
        Self { at: Some(at), frame: u64::MAX, class: 1 }
    }
}

/// What has become of the events of a timeline.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Changes {
    /// The first event that was added, and how many were.
    pub added: (EventId, u64),
    /// Events from before that were changed, ascending.
    pub amended: Vec<EventId>,
}

impl Events {
    /// A new event.
    pub(super) fn push(
        &mut self,
        order: Order,
        at: Option<Timestamp>,
        connection: Option<ConnectionId>,
        kind: EventKind,
    ) -> EventId {
        let id = EventId(self.list.len() as u64);
        self.list.push(Event { id, at, connection, phase: Phase::SetUp, kind });
        self.order.push(order);
        id
    }

    pub(super) fn event(&self, id: EventId) -> &Event {
        &self.list[id.0 as usize]
    }

    pub(super) fn order(&self, id: EventId) -> Order {
        self.order[id.0 as usize]
    }

    pub(super) fn call(&self, id: EventId) -> &CallEvent {
        match &self.list[id.0 as usize].kind {
            EventKind::Call(event) => event,
            _ => unreachable!("only calls are asked for as calls"),
        }
    }

    pub(super) fn segment(&self, id: EventId) -> &SegmentEvent {
        match &self.list[id.0 as usize].kind {
            EventKind::Segment(event) => event,
            _ => unreachable!("only segments are asked for as segments"),
        }
    }

    pub(super) fn transition(&self, id: EventId) -> &TransitionEvent {
        match &self.list[id.0 as usize].kind {
            EventKind::Transition(event) => event,
            _ => unreachable!("only transitions are asked for as transitions"),
        }
    }

    /// An event that is changed; so are those below.
    pub(super) fn event_mut(&mut self, id: EventId) -> &mut Event {
        if (id.0 as usize) < self.known {
            self.amended.insert(id);
        }
        &mut self.list[id.0 as usize]
    }

    pub(super) fn call_mut(&mut self, id: EventId) -> &mut CallEvent {
        match &mut self.event_mut(id).kind {
            EventKind::Call(event) => event,
            _ => unreachable!("only calls are asked for as calls"),
        }
    }

    pub(super) fn segment_mut(&mut self, id: EventId) -> &mut SegmentEvent {
        match &mut self.event_mut(id).kind {
            EventKind::Segment(event) => event,
            _ => unreachable!("only segments are asked for as segments"),
        }
    }

    pub(super) fn transition_mut(&mut self, id: EventId) -> &mut TransitionEvent {
        match &mut self.event_mut(id).kind {
            EventKind::Transition(event) => event,
            _ => unreachable!("only transitions are asked for as transitions"),
        }
    }

    /// Moves an event to another time.
    pub(super) fn put_off(&mut self, id: EventId, order: Order, at: Option<Timestamp>) {
        self.order[id.0 as usize] = order;
        self.event_mut(id).at = at;
    }

    /// Takes an event back: later evidence shows that it did not happen.
    pub(super) fn withdraw(&mut self, id: EventId) {
        self.event_mut(id);
        self.withdrawn.insert(id);
    }

    /// Whether an event was taken back.
    pub(super) fn is_withdrawn(&self, id: EventId) -> bool {
        self.withdrawn.contains(&id)
    }

    /// What has become of them since this was asked last.
    pub(super) fn changes(&mut self) -> Changes {
        let added = (EventId(self.known as u64), (self.list.len() - self.known) as u64);
        self.known = self.list.len();
        Changes { added, amended: std::mem::take(&mut self.amended).into_iter().collect() }
    }

    /// The events that stand, numbered from 0 in the order of time, and the new number of each.
    pub(super) fn in_order(self) -> (Vec<Event>, Vec<Option<EventId>>) {
        let Self { list, order, withdrawn, .. } = self;
        let first = order.iter().filter_map(|order| order.at).min();
        let stands = |id: &usize| !withdrawn.contains(&EventId(*id as u64));
        let mut places: Vec<usize> = (0..list.len()).filter(stands).collect();
        places.sort_unstable_by_key(|&id| (order[id].at.or(first), order[id].frame, order[id].class, id));
        let mut numbers = vec![None; list.len()];
        for (number, &place) in places.iter().enumerate() {
            numbers[place] = Some(EventId(number as u64));
        }
        let mut events: Vec<Event> = list.into_iter().filter(|event| numbers[event.id.0 as usize].is_some()).collect();
        events.sort_unstable_by_key(|event| numbers[event.id.0 as usize]);
        (events, numbers)
    }
}
