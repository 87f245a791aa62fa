//! A connection that was captured at both of its ends: each end's states, and the causes of what it sent, are those that its own capture shows.

use std::collections::HashMap;

use super::order::number_by_place;
use super::{Cause, Event, EventId, EventKind, Evidence, Join, Sense, Story, Why};
use crate::calls::CallId;
use crate::flow::{Connection, ConnectionId, Side};
use crate::tcp::Finding;

impl Story {
    /// Takes the states of `side`, and the causes of its segments, from the story of what was captured at that end, where each segment
    /// was seen when it was sent or received; `frames` says which frames of this story were seen there, by their numbers there.
    ///
    /// What an end answers, and which of its timers can have run out, is plain only where it is known when everything came to it.
    /// Connections are the same that have the same ends, in the order of their ids.
    /// It takes time in proportion to both stories.
    pub fn take_end(&mut self, side: Side, there: &Story, frames: &HashMap<u64, u64>) {
        let connections = self.counterparts(there);
        let is_taken = |event: &Event| {
            let of_side = matches!(&event.kind, EventKind::Transition(step) if step.side == side);
            of_side && event.connection.is_some_and(|id| connections.values().any(|(here, _)| *here == id))
        };
        let mut by_frame: HashMap<u64, EventId> = HashMap::new();
        let mut by_call: HashMap<CallId, EventId> = HashMap::new();
        let mut timers: HashMap<ConnectionId, EventId> = HashMap::new();
        for event in &self.events {
            match &event.kind {
                EventKind::Segment(segment) => _ = by_frame.insert(segment.segment.frame, event.id),
                EventKind::Call(call) => _ = by_call.insert(call.call.id, event.id),
                EventKind::Timer(timer) if timer.side == side => {
                    timers.extend(event.connection.map(|id| (id, event.id)));
                }
                EventKind::Timer(_)
                | EventKind::Transition(_)
                | EventKind::Icmp(_)
                | EventKind::Link(_)
                | EventKind::Kernel(_) => {}
            }
        }
        let here = |id: EventId, connection: ConnectionId| match &there[id].kind {
            EventKind::Segment(segment) => by_frame.get(frames.get(&segment.segment.frame)?).copied(),
            EventKind::Call(call) => by_call.get(&call.call.id).copied(),
            EventKind::Timer(_) => timers.get(&connection).copied(),
            EventKind::Transition(_) | EventKind::Icmp(_) | EventKind::Link(_) | EventKind::Kernel(_) => None,
        };
        let mut next = self.events.len() as u64;
        let mut taken = Vec::new();
        let mut causes = Vec::new();
        for event in &there.events {
            let Some((connection, turn)) = event.connection.and_then(|id| connections.get(&id).copied()) else {
                continue;
            };
            let step = match &event.kind {
                EventKind::Transition(step) if turn.of(step.side) == side => step,
                EventKind::Segment(segment) if turn.of(segment.from) == side && segment.sense != Sense::Arrives => {
                    let sent = frames.get(&segment.segment.frame).and_then(|frame| by_frame.get(frame));
                    let cause = translated(&segment.cause, |id| here(id, connection), frames);
                    causes.extend(sent.copied().zip(cause));
                    continue;
                }
                _ => continue,
            };
            let mut step = step.clone();
            step.side = side;
            step.cause = step.cause.and_then(|cause| here(cause, connection));
            let kind = EventKind::Transition(step);
            taken.push(Event { id: EventId(next), connection: Some(connection), kind, ..event.clone() });
            next += 1;
        }
        for (sent, cause) in causes {
            let EventKind::Segment(segment) = &mut self.events[sent.0 as usize].kind else { continue };
            // What the link made up no end sent, and of what it copied no end's capture knows.
            let is_ends = |cause: &Cause| cause.link.is_none() && cause.evidence != Evidence::Joined(Join::SameFrame);
            if is_ends(&cause) && is_ends(&segment.cause) {
                segment.cause = cause;
            }
        }
        self.events.retain(|event| !is_taken(event));
        self.events.extend(taken);
        self.put_in_order();
        for connection in &mut self.connections {
            let id = connections.iter().find(|(_, (here, _))| *here == connection.id);
            let Some((id, (_, turn))) = id else { continue };
            let Some(seen) = there.connections.iter().find(|seen| seen.id == *id) else { continue };
            let known = match turn.of(side) {
                Side::Client => (seen.client_state, seen.client_state_basis),
                Side::Server => (seen.server_state, seen.server_state_basis),
            };
            match side {
                Side::Client => (connection.client_state, connection.client_state_basis) = known,
                Side::Server => (connection.server_state, connection.server_state_basis) = known,
            }
            let is_about = |finding: Finding, of: Side| finding == Finding::StateDisagreement && of == side;
            connection.findings.retain(|found| !is_about(found.finding, found.side));
            let found = seen.findings.iter().filter(|found| is_about(found.finding, turn.of(found.side))).cloned();
            connection.findings.extend(found.map(|mut found| {
                found.side = side;
                found.frame = found.frame.and_then(|frame| frames.get(&frame).copied());
                found
            }));
        }
    }

    /// Which connection of this story each one of `there` is, and which way round.
    fn counterparts(&self, there: &Story) -> HashMap<ConnectionId, (ConnectionId, Turn)> {
        let mut left: Vec<_> = self.connections.iter().collect();
        let mut found = HashMap::new();
        for turn in [Turn::Same, Turn::Round] {
            for seen in &there.connections {
                let ends = match turn {
                    Turn::Same => [seen.client, seen.server],
                    // Where both opened at once, each end's own SYN came first there.
                    Turn::Round => [seen.server, seen.client],
                };
                let is_it = |here: &&Connection| ends == [here.client, here.server];
                if !found.contains_key(&seen.id)
                    && let Some(place) = left.iter().position(is_it)
                {
                    found.insert(seen.id, (left.remove(place).id, turn));
                }
            }
        }
        found
    }

    /// Puts the events in order of time, and gives them their numbers; those of one moment keep their order.
    fn put_in_order(&mut self) {
        let mut latest = None;
        let mut places: Vec<_> = (0..self.events.len()).collect();
        // What has no time comes where it stands.
        let moments: Vec<_> = self
            .events
            .iter()
            .map(|event| {
                latest = event.at.or(latest);
                // At one moment a segment comes before what it brings about, and that before what the link did with it.
                let after = match event.kind {
                    EventKind::Transition(_) => 1,
                    EventKind::Link(_) => 2,
                    _ => 0,
                };
                (latest, after)
            })
            .collect();
        places.sort_by_key(|place| moments[*place]);
        let numbers: HashMap<EventId, EventId> =
            (0..).zip(&places).map(|(number, place)| (self.events[*place].id, EventId(number))).collect();
        let mut events: Vec<Option<Event>> = std::mem::take(&mut self.events).into_iter().map(Some).collect();
        self.events = places.into_iter().filter_map(|place| events[place].take()).collect();
        // Some were born in another story: these have no ids by which a stream could name them.
        self.births.clear();
        number_by_place(&mut self.events, |id| numbers.get(&id).copied());
    }
}

/// A cause in the ids and frames of another story; `None` where that one lacks what it names.
fn translated(cause: &Cause, here: impl Fn(EventId) -> Option<EventId>, frames: &HashMap<u64, u64>) -> Option<Cause> {
    let calls = cause.calls.iter().map(|call| here(*call)).collect::<Option<_>>()?;
    let of = match cause.of {
        Some(of) => Some(here(of)?),
        None => None,
    };
    let why = match cause.why {
        Some(Why::Waited { released_by }) => Some(Why::Waited { released_by: *frames.get(&released_by)? }),
        Some(Why::PathMtu { frame, mtu }) => Some(Why::PathMtu { frame: *frames.get(&frame)?, mtu }),
        why => why,
    };
    Some(Cause { calls, of, why, ..cause.clone() })
}

/// Whether the client of one story is the client of the other.
#[derive(Clone, Copy)]
enum Turn {
    Same,
    Round,
}

impl Turn {
    fn of(self, side: Side) -> Side {
        match self {
            Self::Same => side,
            Self::Round => side.peer(),
        }
    }
}
