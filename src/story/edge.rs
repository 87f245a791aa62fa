//! The joins of a story as edges: what caused what, by which rule.

use super::{CallEvent, Event, EventId, EventKind, Join, SegmentEvent, Story};
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
                EventKind::Icmp(icmp) => {
                    edges.extend(icmp.segment.map(|cause| Edge { cause, effect: event.id, rule: Join::Quotation }));
                }
                EventKind::Link(link) => {
                    edges.extend(link.segment.map(|cause| Edge { cause, effect: event.id, rule: Join::Link }));
                }
                // What the kernel says of a segment is a word on it, not its effect.
                EventKind::Kernel(_) => {}
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
