//! What is shown of a story, without widths: lanes side by side, rows in order, and edges between events.
//!
//! Whoever draws a view decides how wide its lanes are, and how its rows are worded.

mod edges;
mod index;
mod lanes;
mod row;
mod rows;
mod runs;
#[cfg(test)]
mod tests;

pub use edges::{Edge, EdgeKind};
pub use index::{Index, Marks};
pub use lanes::{Lane, LaneId};
pub use row::{Form, Moved, PerLane, Row, Slot, What};
pub use rows::Open;

use lanes::Lanes;

use crate::flow::ConnectionId;
use crate::story::Event;
use crate::time::Timestamp;

/// Some of a story's events in lanes and rows.
pub struct View<'a> {
    /// The lanes, from left to right.
    pub lanes: Vec<Lane<'a>>,
    /// The rows, from top to bottom.
    pub rows: Vec<Row<'a>>,
    events: Vec<&'a Event>,
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
        let events: Vec<_> = index.all.iter().copied().filter(wanted).collect();
        Self::with(Lanes::of_processes(index, connections), index, &events)
    }

    /// A view of further events of a timeline that grows: the client left, the server right.
    ///
    /// `open` is what the rows before have left open, and then what these leave; all that happened `until` then is among the events.
    pub fn of_more(index: &Index<'a>, events: &[&'a Event], open: &mut Open, until: Option<Timestamp>) -> Self {
        let lanes = Lanes::of_ends();
        let rows = rows::rows_on(index, &lanes, events, open, until);
        Self { lanes: lanes.into_list(), rows, events: events.to_vec() }
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
