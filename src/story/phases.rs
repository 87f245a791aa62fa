//! The parts of a connection's life: where each begins, and to which each event belongs.

use super::events::{Events, Order};
use super::{EventId, EventKind, Phase};
use crate::calls::{Call, Effect};
use crate::time::Timestamp;
use crate::wire::Flags;

/// The first moments of the phases of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Bounds {
    handshake: Option<Mark>,
    data: Option<Mark>,
    teardown: Option<Mark>,
    time_wait: Option<Mark>,
}

/// A moment for calls, and the place in the order of everything else.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Mark {
    call: Option<Timestamp>,
    order: Order,
    /// The event that sets it.
    by: EventId,
}

impl Bounds {
    /// Takes in a segment, or again, because its cause is another one now; tells whether that changes them.
    pub(super) fn see(&mut self, id: EventId, events: &Events) -> bool {
        let before = *self;
        let (event, order) = (events.segment(id), events.order(id));
        let cause = |wanted: &dyn Fn(&Call) -> bool| {
            let mut asked = event.cause.calls.iter().map(|id| &events.call(*id).call);
            asked.find(|call| wanted(call)).map(|call| call.entered)
        };
        let flags = event.segment.flags;
        let is_of = |mark: Option<Mark>| mark.is_none_or(|mark| mark.by == id);
        let mark = |call: Option<Timestamp>, order| Some(Mark { call, order, by: id });
        if is_of(self.handshake) {
            let connect = cause(&|call| call.effect() == Effect::Connect);
            self.handshake = mark(connect.or(order.at), order);
            if !flags.contains(Flags::SYN) {
                self.data = self.handshake;
            }
        }
        if self.data.is_none() && !flags.contains(Flags::SYN) {
            // The ACK that ends the handshake still belongs to it.
            let frame = if event.stream.is_none() { order.frame.saturating_add(1) } else { order.frame };
            self.data = mark(order.at, Order { frame, ..order });
        }
        if flags.intersects(Flags::FIN | Flags::RST) && is_of(self.teardown) {
            let closing = cause(&super::end_calls::closes);
            let at = closing.or(order.at);
            let frame = if closing.is_some() { 0 } else { order.frame };
            self.teardown = mark(at, Order { at: at.min(order.at), frame, class: 0 });
        }
        *self != before
    }

    /// Takes in that a timer was seen running; tells whether that changes them.
    pub(super) fn see_timer(&mut self, id: EventId, order: Order) -> bool {
        let is_first = self.time_wait.is_none();
        self.time_wait = self.time_wait.or(Some(Mark { call: order.at, order, by: id }));
        is_first
    }

    pub(super) fn phase(self, order: Order, is_call: bool) -> Phase {
        let reached = |mark: Option<Mark>| {
            mark.is_some_and(|mark| match is_call {
                true => order.at >= mark.call,
                false => (order.at, order.frame) >= (mark.order.at, mark.order.frame),
            })
        };
        let later = [
            (self.time_wait, Phase::TimeWait),
            (self.teardown, Phase::Teardown),
            (self.data, Phase::Data),
            (self.handshake, Phase::Handshake),
        ];
        later.into_iter().find(|(mark, _)| reached(*mark)).map_or(Phase::SetUp, |(_, phase)| phase)
    }

    /// The bounds of several connections told as one: the first handshake, the last teardown.
    pub(super) fn around(self, other: Self) -> Self {
        let pick = |a: Option<Mark>, b: Option<Mark>, later: bool| match (a, b) {
            (Some(a), Some(b)) => {
                Some(if ((a.order.at, a.order.frame) < (b.order.at, b.order.frame)) == later { b } else { a })
            }
            (a, b) => a.or(b),
        };
        Self {
            handshake: pick(self.handshake, other.handshake, false),
            data: pick(self.data, other.data, false),
            teardown: pick(self.teardown, other.teardown, true),
            time_wait: pick(self.time_wait, other.time_wait, true),
        }
    }
}

/// Gives these events their phases.
pub(super) fn set_phases(events: &mut Events, of: &[EventId], bounds: Bounds) {
    for &id in of {
        let event = events.event(id);
        let phase = bounds.phase(events.order(id), matches!(event.kind, EventKind::Call(_)));
        if event.phase != phase {
            events.event_mut(id).phase = phase;
        }
    }
}
