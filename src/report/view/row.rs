//! A row of a view: what it shows, in which lanes, and what moves with it.

use smallvec::SmallVec;

use super::LaneId;
use crate::story::{CallEvent, EventId, IcmpEvent, LinkActEvent, Phase, SegmentEvent, TimerEvent, TransitionEvent};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

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
    pub slots: PerLane<SmallVec<[Slot; SLOTS]>>,
    /// The state that each lane is in after the row.
    pub states: PerLane<Option<State>>,
}

/// One of each lane: mostly there are two, and nothing is taken from the heap.
pub type PerLane<T> = SmallVec<[T; 2]>;

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
        /// Whether it was seen to arrive at a time of its own, which has a row of its own.
        departs: bool,
    },
    /// The arrival of segments whose departure has a row above.
    Arrival {
        /// The segments, in order; several where they were drawn as one run.
        segments: Vec<&'a SegmentEvent>,
        /// The lane that sent them.
        from: LaneId,
        /// The lane where they arrive.
        to: LaneId,
        /// How long after it left the first of them arrives.
        took: Span,
        /// Whether it has arrived before: the link passed it on more than once.
        again: bool,
        /// Whether one that left later arrived earlier.
        overtaken: bool,
    },
    /// Segments that followed one another, shown as one; three or more.
    Run {
        /// The segments, in order.
        segments: Vec<&'a SegmentEvent>,
        /// The lane that sent them.
        from: LaneId,
        /// The lane that they go to.
        to: LaneId,
        /// Whether they were seen to arrive at times of their own, which have rows of their own.
        departs: bool,
    },
    /// A timer that runs.
    Timer {
        /// The timer.
        timer: &'a TimerEvent,
        /// The lane on whose socket it runs.
        lane: LaneId,
    },
    /// An ICMP error.
    Icmp {
        /// What it says.
        icmp: &'a IcmpEvent,
        /// The lane that it comes to.
        lane: LaneId,
    },
    /// What the link did with a segment.
    Link {
        /// What.
        link: &'a LinkActEvent,
        /// The lane from which the segment comes.
        from: LaneId,
        /// The lane that it goes to.
        to: LaneId,
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

/// How many open calls have a slot in a lane at the same time: more would leave no room for what is said.
pub(super) const SLOTS: usize = 6;
