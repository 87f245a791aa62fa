//! A live capture as it goes on: one line for each connection that opens, changes state or ends, and a table now and then.

mod json_lines;
mod lines;
mod records;
#[cfg(test)]
mod tests;
mod timelines;

use std::io;

use crate::capture::CaptureStats;
use crate::flow::{Connection, ConnectionId, Ending, Step, Totals};
use crate::story::{Changes, Timeline};
use crate::tcp::State;
use crate::time::Timestamp;
use crate::wire::Segment;

pub use json_lines::JsonLines;
pub use lines::Lines;
pub use records::CsvRecords;
pub use timelines::{Events, Rows};

/// Tells what happens in a live capture.
pub trait Teller {
    /// Tells what a segment changed: it is called for each that opened its connection or moved an end, with the connection as it stands then;
    /// whoever tells events or records has no use for them.
    ///
    /// # Errors
    /// Those of the output, here as in the others.
    fn step(&mut self, _segment: &Segment, _step: &Step, _connection: &Connection) -> io::Result<()> {
        Ok(())
    }

    /// Tells what became of the events of a timeline that grows; whoever tells steps has no use for them.
    ///
    /// # Errors
    /// Those of the output.
    fn changes(&mut self, _timeline: &Timeline, _changes: &Changes) -> io::Result<()> {
        Ok(())
    }

    /// Takes in that the timeline forgets a connection.
    fn forgets(&mut self, _connection: ConnectionId) {}

    /// Tells a connection to which no further segment can belong; called once for each.
    ///
    /// # Errors
    /// Those of the output.
    fn told(&mut self, connection: Connection, now: Timestamp) -> io::Result<()>;

    /// Tells that the kernel has dropped `new` packets since it was asked last.
    ///
    /// # Errors
    /// Those of the output.
    fn drops(&mut self, now: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()>;

    /// Tells how things stand, where the form has a place for that.
    ///
    /// # Errors
    /// Those of the output.
    fn overview(
        &mut self,
        _now: Timestamp,
        _open: Open,
        _totals: &Totals,
        _stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        Ok(())
    }

    /// Tells a connection that is left at the end, when nothing more comes; to be called by id, and before [`Teller::finish`].
    ///
    /// # Errors
    /// Those of the output.
    fn left(&mut self, connection: Connection) -> io::Result<()>;

    /// Ends the output.
    ///
    /// # Errors
    /// Those of the output.
    fn finish(&mut self, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()>;

    /// Ends an output of which there was no time to tell all: with the counts.
    ///
    /// # Errors
    /// Those of the output.
    fn finish_early(&mut self, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()> {
        self.finish(totals, stats)
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Those of the output.
    fn flush(&mut self) -> io::Result<()>;
}

/// The connections that are open: how many, and those that had a segment last.
#[derive(Default)]
pub struct Open {
    count: u64,
    latest: Vec<Connection>,
}

impl Open {
    /// Takes note of one, unless it is over.
    pub fn add(&mut self, connection: Connection) {
        if is_over(&connection) {
            return;
        }
        self.count += 1;
        self.latest.push(connection);
        if self.latest.len() >= 2 * SHOWN {
            self.cut();
        }
    }

    fn cut(&mut self) {
        self.latest.sort_by_key(|connection| std::cmp::Reverse(connection.last));
        self.latest.truncate(SHOWN);
    }

    fn into_latest(mut self) -> Vec<Connection> {
        self.cut();
        self.latest.sort_by_key(|connection| connection.id);
        self.latest
    }
}

/// Whether nothing is left to happen to a connection, but for what comes late.
fn is_over(connection: &Connection) -> bool {
    let gone = |state| matches!(state, None | Some(State::Closed | State::TimeWait));
    match connection.ending {
        Ending::Reset | Ending::Refused => true,
        Ending::Fin => gone(connection.client_state) && gone(connection.server_state),
        Ending::Unanswered | Ending::HalfClosed | Ending::Open => false,
    }
}

/// How many open connections the periodic table has at most.
const SHOWN: usize = 40;
