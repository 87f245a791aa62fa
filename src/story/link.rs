//! What the link between two hosts did with segments: each act joined to the segment that it was done to.

use super::connection::{Header, PerConnection, Undone};
use super::events::{Events, Order};
use super::ground::Place;
use super::timeline::Timeline;
use super::{EventId, EventKind, Fate, LinkActEvent};
use crate::flow::{ConnectionId, Side};
use crate::script::{LinkAct, LinkEvent};
use crate::tcp::Move;
use crate::time::Span;
use crate::wire::{Flags, Segment};

impl Timeline {
    /// Takes in what the link did.
    pub(super) fn link_event(&mut self, act: LinkEvent) {
        let home = self.end_of(act.segment.from(), act.segment.to(), act.at);
        let side = home.map_or(Side::Client, |(_, side)| side);
        let segment = None;
        let kind = EventKind::Link(LinkActEvent { from: side, act: act.act, segment, what: Box::new(act.segment) });
        let order = Order::of_sample(act.at);
        let event = self.events.push(order, Some(act.at), home.map(|(id, _)| id), kind);
        match home.and_then(|(id, _)| self.connections.get_mut(&id)) {
            Some(connection) => connection.events.push(event),
            None => self.unjoined.push(event),
        }
        let place = home.and_then(|(id, side)| Some((id, self.connections.get(&id)?.done_to(side, &act)?)));
        match place {
            Some((id, place)) => self.join_act(id, place, event, act.act),
            None => self.unseen.push(event, act),
        }
    }

    /// Takes in what the link did with the segment at `place`, of which that is known as it is seen.
    pub(super) fn acted_on(
        &mut self,
        id: ConnectionId,
        place: Place,
        order: Order,
        (act, segment): (LinkAct, Segment),
    ) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let from = connection.seen[place].from;
        let kind = EventKind::Link(LinkActEvent { from, act, segment: None, what: Box::new(segment) });
        let event = self.events.push(order, segment.at, Some(id), kind);
        connection.events.push(event);
        self.join_act(id, place, event, act);
    }

    /// Looks whether the link did something to the segment at `place`, which was just seen.
    pub(super) fn expect_act(&mut self, id: ConnectionId, place: Place) {
        let Some(connection) = self.connections.get(&id) else { return };
        let seen = &connection.seen[place];
        let from = if seen.from == Side::Client { connection.client } else { connection.server };
        let is_its = |(_, act): &(EventId, LinkEvent)| {
            act.segment.from() == from
                && Header::of(&act.segment) == seen.header
                && seen.at.is_none_or(|at| at.since(act.at) <= LAG && act.at.since(at) <= LAG)
        };
        let Some(found) = self.unseen.0.iter().position(is_its) else { return };
        let Some((event, act)) = self.unseen.0.remove(found) else { return };
        if self.events.event(event).connection.is_none() {
            let side = seen.from;
            let known = self.events.event_mut(event);
            known.connection = Some(id);
            if let EventKind::Link(link) = &mut known.kind {
                link.from = side;
            }
            if let Some(connection) = self.connections.get_mut(&id) {
                connection.events.push(event);
            }
        }
        self.join_act(id, place, event, act.act);
    }

    fn join_act(&mut self, id: ConnectionId, place: Place, event: EventId, act: LinkAct) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let seen = &mut connection.seen[place];
        seen.act = Some((event, act));
        if let EventKind::Link(link) = &mut self.events.event_mut(event).kind {
            link.segment = Some(seen.event);
        }
        let fate = match act {
            LinkAct::Dropped => Some(Fate::Lost),
            LinkAct::Duplicated => Some(Fate::Duplicated),
            LinkAct::Damaged => Some(Fate::Damaged),
            // Whether it arrived is another witness's matter.
            LinkAct::Delayed(_) | LinkAct::Injected | LinkAct::Overtaken | LinkAct::Marked => None,
        };
        if fate.is_some() {
            self.events.segment_mut(seen.event).fate = fate;
        }
        connection.stale.push(place);
        self.stale.insert(id);
        if matches!(act, LinkAct::Dropped | LinkAct::Damaged) {
            connection.take_back_from_receiver(&mut self.events, place);
        }
    }
}

impl PerConnection {
    /// A segment did not arrive: it did not move its receiver.
    fn take_back_from_receiver(&mut self, events: &mut Events, place: Place) {
        let seen = &mut self.seen[place];
        let receiver = seen.from.peer();
        let moves = std::mem::take(&mut seen.moves);
        let (fin, ack) = (seen.flags.contains(Flags::FIN), seen.ack);
        let end = &mut self.ends[receiver as usize];
        for moved in moves {
            let transition = events.transition(moved);
            let step = Move { from: transition.from, to: transition.to, rule: transition.rule };
            // What it did since, it did for another reason.
            if transition.side != receiver || !end.path.take_back_last(moved) {
                self.seen[place].moves.push(moved);
                continue;
            }
            events.withdraw(moved);
            end.undone = Some(Undone { step, fin, ack });
        }
    }

    /// The move that a segment of `from` makes its receiver make in place of one that did not arrive.
    pub(super) fn made_up_for(&mut self, from: Side, flags: Flags, ack: Option<i64>) -> Option<Move> {
        let end = &mut self.ends[from.peer() as usize];
        let undone = end.undone?;
        let says_it = if undone.fin { flags.contains(Flags::FIN) } else { ack >= undone.ack };
        if !says_it || end.path.last() != undone.step.from {
            return None;
        }
        end.undone = None;
        Some(undone.step)
    }

    /// The last segment of an end, of the newest ones, that this was done to.
    fn done_to(&self, side: Side, act: &LinkEvent) -> Option<Place> {
        let header = Header::of(&act.segment);
        let newest = self.seen.iter().enumerate().rev().take(LAST_ONES);
        let found = newest
            .filter(|(_, seen)| seen.from == side && seen.header == header && seen.act.is_none())
            .find(|(_, seen)| seen.at.is_none_or(|at| at.since(act.at) <= LAG && act.at.since(at) <= LAG));
        found.map(|(place, _)| place)
    }
}

/// Among how many of a connection's last segments the one is looked for that something was done to.
pub(super) const LAST_ONES: usize = 256;
/// How far apart the link and the capture may say that they had the same segment.
const LAG: Span = Span::from_millis(100);
