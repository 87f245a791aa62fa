//! The joins of a story as edges: what caused what, by which rule.

use super::{CallEvent, Event, EventId, EventKind, Mechanism, SegmentEvent, Story};
use crate::calls::Effect;
use crate::wire::Flags;

/// One join: `cause` made `effect` happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Edge {
    /// The event that caused the other.
    pub cause: EventId,
    /// The event that was caused.
    pub effect: EventId,
    /// The rule that joins them.
    pub rule: Join,
}

/// The rules that join two events; each has a name and a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Join {
    /// A `connect` and the SYN it sent: the same 4-tuple, the SYN within the call's interval.
    Connect,
    /// A send and a segment that carries some of its octets: their stream positions overlap.
    Octets,
    /// A `shutdown`, `close` or exit and the FIN that it made the kernel send, after the last octet of the send buffer.
    Close,
    /// A `close` (or exit) and the RST that it made the kernel send: octets were unread, or SO_LINGER was zero.
    Abort,
    /// A segment and a receive that took octets that it brought: their stream positions overlap.
    Delivery,
    /// A segment and the call that it let return: SYN-ACK and `connect`, the end of the handshake and `accept`, FIN and a `recv` of 0, RST and an error.
    Return,
    /// A receive and the window update that tells of the room it made.
    Room,
    /// A segment and what the kernel sent because of it.
    Kernel(Mechanism),
    /// A frame and its copy: they are one transmission, seen twice.
    SameFrame,
    /// A call, segment or timer, and the transition that it moved an end by.
    Transition,
    /// A call, and the timer that runs because of it.
    Timer,
}

impl Join {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Octets => "octets",
            Self::Close => "close",
            Self::Abort => "abort",
            Self::Delivery => "delivery",
            Self::Return => "return",
            Self::Room => "room",
            Self::Kernel(mechanism) => mechanism.name(),
            Self::SameFrame => "same_frame",
            Self::Transition => "transition",
            Self::Timer => "timer",
        }
    }
}

impl Story {
    /// Every join of the story, by effect in time order.
    pub fn edges(&self) -> Vec<Edge> {
        let mut edges = Vec::new();
        for event in &self.events {
            match &event.kind {
                EventKind::Call(call) => to_call(event, call, &mut edges),
                EventKind::Segment(segment) => self.to_segment(event, segment, &mut edges),
                EventKind::Transition(transition) => {
                    edges.extend(transition.cause.map(|cause| Edge {
                        cause,
                        effect: event.id,
                        rule: Join::Transition,
                    }));
                }
                EventKind::Timer(timer) => {
                    edges.extend(timer.cause.map(|cause| Edge { cause, effect: event.id, rule: Join::Timer }));
                }
            }
        }
        edges
    }

    fn to_segment(&self, event: &Event, segment: &SegmentEvent, edges: &mut Vec<Edge>) {
        for &cause in &segment.cause.calls {
            let EventKind::Call(call) = &self[cause].kind else { continue };
            let rule = match call.call.effect() {
                Effect::Connect => Join::Connect,
                Effect::Send => Join::Octets,
                Effect::Receive => Join::Room,
                _ if segment.segment.flags.contains(Flags::RST) => Join::Abort,
                _ => Join::Close,
            };
            edges.push(Edge { cause, effect: event.id, rule });
        }
        if let Some(cause) = segment.cause.of {
            let rule = segment.cause.kernel.map_or(Join::SameFrame, Join::Kernel);
            edges.push(Edge { cause, effect: event.id, rule });
        }
    }
}

fn to_call(event: &Event, call: &CallEvent, edges: &mut Vec<Edge>) {
    let effect = event.id;
    edges.extend(call.brought_by.iter().map(|cause| Edge { cause: *cause, effect, rule: Join::Delivery }));
    let returned = call.completed_by.filter(|cause| !call.brought_by.contains(cause));
    edges.extend(returned.map(|cause| Edge { cause, effect, rule: Join::Return }));
}
