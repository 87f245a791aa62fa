//! A finished output: its events numbered in order of time, and every reference by these numbers.

use super::events::Events;
use super::{Event, EventId, EventKind, PortHolder, Remark};

/// The events that stand, by their numbers, and the ids with which they were born.
pub(super) fn renumbered(events: Events) -> (Vec<Event>, Vec<EventId>) {
    let (mut events, numbers) = events.in_order();
    let births = events.iter().map(|event| event.id).collect();
    number_by_place(&mut events, |id| numbers.of(id));
    (events, births)
}

/// Numbers events by their places, and what they refer to by `number`; a reference to an event that has none is dropped.
pub(super) fn number_by_place(events: &mut [Event], number: impl Fn(EventId) -> Option<EventId>) {
    let all = |ids: &mut Vec<EventId>| {
        *ids = ids.iter().copied().filter_map(&number).collect();
        ids.sort_unstable();
    };
    for (place, event) in events.iter_mut().enumerate() {
        event.id = EventId(place as u64);
        match &mut event.kind {
            EventKind::Call(call) => {
                all(&mut call.sent);
                all(&mut call.brought_by);
                call.completed_by = call.completed_by.and_then(&number);
                if let Some(Remark::PortHeld { by: PortHolder::Socket { by, .. }, .. }) = &mut call.remark {
                    *by = by.and_then(&number);
                }
            }
            EventKind::Segment(segment) => {
                all(&mut segment.cause.calls);
                segment.cause.of = segment.cause.of.and_then(&number);
                segment.cause.link = segment.cause.link.and_then(&number);
            }
            EventKind::Transition(transition) => transition.cause = transition.cause.and_then(&number),
            EventKind::Timer(timer) => timer.cause = timer.cause.and_then(&number),
            EventKind::Icmp(icmp) => icmp.segment = icmp.segment.and_then(&number),
            EventKind::Link(link) => link.segment = link.segment.and_then(&number),
            EventKind::Kernel(kernel) => kernel.segment = kernel.segment.and_then(&number),
        }
    }
}
