//! Edges: what leads from one event to another.

use crate::story::{Event, EventId, EventKind};

/// One event that led to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Edge {
    /// The earlier one.
    pub from: EventId,
    /// The one that it led to.
    pub to: EventId,
    /// How.
    pub kind: EdgeKind,
}

/// How one event led to another.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum EdgeKind {
    /// A call put a segment on the wire.
    Sends,
    /// A segment brought octets that a call received.
    Brings,
    /// A segment let a call return.
    Completes,
    /// A segment is why the kernel sent another: an answer, or the same octets again.
    Causes,
    /// A call, a segment or a timer moved an end to another state.
    Moves,
    /// A call is what a timer goes back to.
    Starts,
    /// A segment came to the link, which did something with it.
    Meets,
}

/// The edges of one event: those that lead to it from its causes, and of a call those from the segments that let it return.
pub(super) fn edges(event: &Event) -> Vec<Edge> {
    let to = |from: EventId, kind| Edge { from, to: event.id, kind };
    match &event.kind {
        EventKind::Call(call) => {
            let brought = call.brought_by.iter().map(|segment| to(*segment, EdgeKind::Brings));
            brought.chain(call.completed_by.map(|segment| to(segment, EdgeKind::Completes))).collect()
        }
        EventKind::Segment(segment) => {
            let calls = segment.cause.calls.iter().map(|call| to(*call, EdgeKind::Sends));
            calls.chain(segment.cause.of.map(|of| to(of, EdgeKind::Causes))).collect()
        }
        EventKind::Transition(transition) => {
            transition.cause.map(|cause| to(cause, EdgeKind::Moves)).into_iter().collect()
        }
        EventKind::Icmp(icmp) => icmp.segment.map(|segment| to(segment, EdgeKind::Causes)).into_iter().collect(),
        EventKind::Link(link) => link.segment.map(|segment| to(segment, EdgeKind::Meets)).into_iter().collect(),
        EventKind::Kernel(_) => Vec::new(),
        EventKind::Timer(timer) => timer.cause.map(|cause| to(cause, EdgeKind::Starts)).into_iter().collect(),
    }
}
