//! The events of a timeline in the order of their birth, and what has become of them since they were looked at last.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::{CallEvent, Event, EventId, EventKind, Phase, SegmentEvent, TransitionEvent};
use crate::flow::ConnectionId;
use crate::hash::HashMap;
use crate::time::Timestamp;

/// Events by their ids, each with its place in the order of time.
///
/// They lie in chunks: one whose events were nearly all forgotten is freed, and those that are left of it lie elsewhere.
#[derive(Clone, Debug, Default)]
pub(super) struct Events {
    chunks: VecDeque<Option<Box<Chunk>>>,
    /// How many chunks before the first of these are gone.
    gone: usize,
    /// What is left of the chunks that were freed.
    left: BTreeMap<EventId, Slot>,
    /// How many events were ever born.
    born: usize,
    withdrawn: BTreeSet<EventId>,
    /// How many events had been born when changes were taken last.
    known: usize,
    amended: BTreeSet<EventId>,
}

/// Events that were born one after the other.
#[derive(Clone, Debug, Default)]
struct Chunk {
    slots: Vec<Option<Slot>>,
    /// How many of them are not forgotten.
    left: usize,
}

#[derive(Clone, Debug)]
struct Slot {
    event: Event,
    order: Order,
}

/// Where an event stands among the others.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Order {
    /// When; of a segment the latest time of those before it, as segments stand in the order of their capture.
    pub at: Option<Timestamp>,
    /// The frame, for what a segment did; 0 for calls, which come before segments of the same time, and the highest for samples.
    pub frame: u64,
    /// 0 for calls, 1 for what they did.
    pub class: u8,
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
    /// Up to when all that happened is among what was added until now; `None` where nothing more will come.
    pub until: Option<Timestamp>,
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
        let id = EventId(self.born as u64);
        self.born += 1;
        if (id.0 as usize).is_multiple_of(CHUNK) {
            // Most captures are small.
            let room = if self.chunks.is_empty() { 0 } else { CHUNK };
            self.chunks.push_back(Some(Box::new(Chunk { slots: Vec::with_capacity(room), left: 0 })));
        }
        if let Some(Some(last)) = self.chunks.back_mut() {
            last.slots.push(Some(Slot { event: Event { id, at, connection, phase: Phase::SetUp, kind }, order }));
            last.left += 1;
        }
        id
    }

    /// An event, unless it was forgotten.
    pub(super) fn find(&self, id: EventId) -> Option<&Event> {
        self.slot(id).map(|slot| &slot.event)
    }

    fn slot(&self, id: EventId) -> Option<&Slot> {
        let chunk = (id.0 as usize / CHUNK).checked_sub(self.gone).and_then(|chunk| self.chunks.get(chunk)?.as_ref());
        match chunk {
            Some(chunk) => chunk.slots.get(id.0 as usize % CHUNK)?.as_ref(),
            None => self.left.get(&id),
        }
    }

    fn slot_mut(&mut self, id: EventId) -> &mut Slot {
        let chunk = (id.0 as usize / CHUNK).checked_sub(self.gone);
        let slot = match chunk.and_then(|chunk| self.chunks.get_mut(chunk)?.as_mut()) {
            Some(chunk) => chunk.slots.get_mut(id.0 as usize % CHUNK).and_then(Option::as_mut),
            None => self.left.get_mut(&id),
        };
        slot.expect(FORGOTTEN)
    }

    pub(super) fn event(&self, id: EventId) -> &Event {
        self.find(id).expect(FORGOTTEN)
    }

    pub(super) fn order(&self, id: EventId) -> Order {
        self.slot(id).expect(FORGOTTEN).order
    }

    pub(super) fn call(&self, id: EventId) -> &CallEvent {
        match &self.event(id).kind {
            EventKind::Call(event) => event,
            _ => unreachable!("only calls are asked for as calls"),
        }
    }

    pub(super) fn segment(&self, id: EventId) -> &SegmentEvent {
        match &self.event(id).kind {
            EventKind::Segment(event) => event,
            _ => unreachable!("only segments are asked for as segments"),
        }
    }

    pub(super) fn transition(&self, id: EventId) -> &TransitionEvent {
        match &self.event(id).kind {
            EventKind::Transition(event) => event,
            _ => unreachable!("only transitions are asked for as transitions"),
        }
    }

    /// An event that is changed; so are those below.
    pub(super) fn event_mut(&mut self, id: EventId) -> &mut Event {
        if (id.0 as usize) < self.known {
            self.amended.insert(id);
        }
        &mut self.slot_mut(id).event
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
        self.event_mut(id).at = at;
        self.slot_mut(id).order = order;
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

    /// Frees an event of which nothing more will be said; nobody may ask for it any more.
    pub(super) fn forget(&mut self, id: EventId) {
        self.withdrawn.remove(&id);
        self.amended.remove(&id);
        let place = (id.0 as usize / CHUNK).checked_sub(self.gone);
        let Some(chunk) = place.and_then(|place| self.chunks.get_mut(place)) else {
            self.left.remove(&id);
            return;
        };
        let Some(known) = chunk else {
            self.left.remove(&id);
            return;
        };
        known.left -= usize::from(known.slots.get_mut(id.0 as usize % CHUNK).and_then(Option::take).is_some());
        if known.left <= FEW && known.slots.len() == CHUNK {
            let slots = std::mem::take(&mut known.slots);
            self.left.extend(slots.into_iter().flatten().map(|slot| (slot.event.id, slot)));
            *chunk = None;
        }
        while let Some(None) = self.chunks.front() {
            self.chunks.pop_front();
            self.gone += 1;
        }
    }

    fn slots(&self) -> impl Iterator<Item = &Slot> {
        // Those that are left are older than most.
        self.left.values().chain(self.chunks.iter().flatten().flat_map(|chunk| &chunk.slots).flatten())
    }

    /// How many events are not forgotten.
    pub(super) fn standing(&self) -> usize {
        self.left.len() + self.chunks.iter().flatten().map(|chunk| chunk.left).sum::<usize>()
    }

    /// For how many events there is memory taken.
    pub(super) fn held(&self) -> usize {
        self.left.len() + self.chunks.iter().flatten().map(|chunk| chunk.slots.len()).sum::<usize>()
    }

    /// The connection of the oldest event that belongs to one and is not forgotten, or nearly so.
    pub(super) fn oldest(&self) -> Option<ConnectionId> {
        self.slots().find_map(|slot| slot.event.connection)
    }

    /// What has become of them since this was asked last, all of which happened by then.
    pub(super) fn changes(&mut self, until: Option<Timestamp>) -> Changes {
        let added = (EventId(self.known as u64), (self.born - self.known) as u64);
        self.known = self.born;
        Changes { added, amended: std::mem::take(&mut self.amended).into_iter().collect(), until }
    }

    /// The events that stand, numbered from 0 in the order of time, and the new number of each.
    pub(super) fn in_order(self) -> (Vec<Event>, Numbers) {
        let first = self.slots().filter_map(|slot| slot.order.at).min();
        let mut places: Vec<EventId> = self.slots().map(|slot| slot.event.id).collect();
        let mut numbers = match places.len() == self.born {
            true => Numbers::All(vec![None; self.born]),
            false => Numbers::Some(HashMap::with_capacity_and_hasher(places.len(), Default::default())),
        };
        places.retain(|id| !self.withdrawn.contains(id));
        places.sort_unstable_by_key(|id| {
            let order = self.order(*id);
            (order.at.or(first), order.frame, order.class, *id)
        });
        for (number, id) in (0..).zip(&places) {
            match &mut numbers {
                Numbers::All(numbers) => numbers[id.0 as usize] = Some(EventId(number)),
                Numbers::Some(numbers) => _ = numbers.insert(*id, EventId(number)),
            }
        }
        let mut events = Vec::with_capacity(places.len());
        drop(places);
        // Each chunk is freed as its events go over.
        let stands = |event: &Event| numbers.of(event.id).is_some();
        events.extend(self.left.into_values().map(|slot| slot.event).filter(stands));
        for chunk in self.chunks.into_iter().flatten() {
            events.extend(chunk.slots.into_iter().flatten().map(|slot| slot.event).filter(stands));
        }
        events.sort_unstable_by_key(|event| numbers.of(event.id));
        (events, numbers)
    }
}

/// The numbers of events in a finished output, by their ids.
pub(super) enum Numbers {
    /// Of all that were ever born.
    All(Vec<Option<EventId>>),
    /// Of those that were not forgotten.
    Some(HashMap<EventId, EventId>),
}

impl Numbers {
    /// The number of an event that stands.
    pub(super) fn of(&self, id: EventId) -> Option<EventId> {
        match self {
            Self::All(numbers) => numbers.get(id.0 as usize).copied().flatten(),
            Self::Some(numbers) => numbers.get(&id).copied(),
        }
    }
}

/// How many events lie together.
const CHUNK: usize = 512;
/// Of a chunk of which no more than so many are left the rest is freed.
const FEW: usize = 64;
/// What is wrong where an event is asked for that was forgotten.
const FORGOTTEN: &str = "nobody asks for what was forgotten";
