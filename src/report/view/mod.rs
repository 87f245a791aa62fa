//! What is shown of a story, without widths: lanes side by side, rows in order, and edges between events.
//!
//! Whoever draws a view decides how wide its lanes are, and how its rows are worded.

mod edges;
mod index;
mod lanes;
mod rows;
mod runs;
#[cfg(test)]
mod tests;

pub use edges::{Edge, EdgeKind};
pub use index::Index;
pub use lanes::{Lane, LaneId};

use lanes::Lanes;

use crate::flow::ConnectionId;
use crate::story::{CallEvent, Event, EventId, Phase, SegmentEvent, TimerEvent, TransitionEvent};
use crate::tcp::State;
use crate::time::Timestamp;

/// Some of a story's events in lanes and rows.
pub struct View<'a> {
    /// The lanes, from left to right.
    pub lanes: Vec<Lane<'a>>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row<'a>>,
    events: Vec<&'a Event>,
}

/// One row: one event, or several that belong together, and the transitions of that moment.
pub struct Row<'a> {
    /// When; `None` when the capture does not say.
    pub at: Option<Timestamp>,
    /// The part of the connection's life.
    pub phase: Phase,
    /// What it shows.
    pub what: What<'a>,
    /// Transitions of that same moment, which the row's own event or its cause brought about.
    pub moves: Vec<Moved<'a>>,
    /// The calls that are open in each lane while the row is shown, by slot.
    pub slots: Vec<Vec<Slot>>,
    /// The state that each lane is in after the row.
    pub states: Vec<Option<State>>,
}

/// What a row shows.
pub enum What<'a> {
    /// A call, or a part of it.
    Call {
        /// The event.
        id: EventId,
        /// The call.
        call: &'a CallEvent,
        /// The lane that made it.
        lane: LaneId,
        /// Which part of it.
        form: Form,
    },
    /// A segment.
    Segment {
        /// The segment.
        segment: &'a SegmentEvent,
        /// The lane that sent it.
        from: LaneId,
        /// The lane that it goes to.
        to: LaneId,
    },
    /// Segments that followed one another, shown as one; three or more.
    Run {
        /// The segments, in order.
        segments: Vec<&'a SegmentEvent>,
        /// The lane that sent them.
        from: LaneId,
        /// The lane that they go to.
        to: LaneId,
    },
    /// A timer that runs.
    Timer {
        /// The timer.
        timer: &'a TimerEvent,
        /// The lane on whose socket it runs.
        lane: LaneId,
    },
    /// Only its moves.
    Moves,
}

/// Which part of a call a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// All of it: nothing else happened while it lasted.
    Whole,
    /// Its entry; its return follows.
    Entry,
    /// Its return.
    Return,
    /// That it has not returned when the story ends.
    Unreturned,
}

/// A transition as a row shows it.
pub struct Moved<'a> {
    /// The transition.
    pub transition: &'a TransitionEvent,
    /// The lane that moved.
    pub lane: LaneId,
    /// Whether it is a listening socket that moved, and not the connection.
    pub listener: bool,
}

/// A slot beside a lane's calls, where a line shows how long a call is open.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Slot {
    /// No call has it.
    Free,
    /// A call is entered.
    Opens,
    /// The call goes on.
    Waits,
    /// The call returns.
    Closes,
    /// The call has not returned when the story ends.
    Hangs,
}

impl<'a> View<'a> {
    /// A view of `events` of a story with one connection, or of one of them: the client left, the server right.
    pub fn of_one(index: &Index<'a>, events: &[&'a Event]) -> Self {
        Self::with(Lanes::of_ends(), index, events)
    }

    /// A view of several connections at once: a lane for each end, and one for the ends of a process that has several.
    ///
    /// So a proxy, of which a process is the server of one connection and the client of the other, stands between the two.
    /// Calls on sockets without a connection are left out.
    pub fn of_several(index: &Index<'a>, connections: &[ConnectionId]) -> Self {
        let wanted = |event: &&Event| event.connection.is_some_and(|id| connections.contains(&id));
        let events: Vec<_> = index.story.events.iter().filter(wanted).collect();
        Self::with(Lanes::of_processes(index, connections), index, &events)
    }

    fn with(lanes: Lanes<'a>, index: &Index<'a>, events: &[&'a Event]) -> Self {
        let rows = rows::rows(index, &lanes, events);
        Self { lanes: lanes.into_list(), rows, events: events.to_vec() }
    }

    /// The same with its runs of like segments shown as one row each: those of one lane that carry octets, or those that only acknowledge.
    #[must_use]
    pub fn folded(self) -> Self {
        Self { rows: runs::folded(self.rows), ..self }
    }

    /// What leads from one of its events to another, in the order of the events that the edges lead to or belong to.
    pub fn edges(&self) -> impl Iterator<Item = Edge> {
        self.events.iter().flat_map(|event| edges::edges(event))
    }
}
