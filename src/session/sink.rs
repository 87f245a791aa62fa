//! Where a run tells what it found, and why it may break off.

use std::io;

use crate::capture::CaptureError;
use crate::flow::{Connection, ConnectionId, Step, Totals};
use crate::story::{Changes, Diagnosis, EventId, Timeline};
use crate::wire::Segment;

/// Where a run tells what it found.
pub trait Sink {
    /// Tells what a segment changed: it opened its connection or moved an end; `connection` is how that stands then.
    ///
    /// Only a run [that tells steps](super::Session::telling_steps) calls it.
    ///
    /// # Errors
    /// The output could not be written, here as in all the others.
    fn step(&mut self, _segment: &Segment, _step: &Step, _connection: &Connection) -> io::Result<()> {
        Ok(())
    }

    /// Tells what became of the events of a timeline: each is told once it is settled, and again where later evidence changed it.
    ///
    /// An event that was amended may be forgotten by then: it was told for the last time.
    ///
    /// Only a run [that grows](super::Session::growing) calls it.
    ///
    /// # Errors
    /// The output could not be written.
    fn changes(&mut self, _timeline: &Timeline, _changes: &Changes) -> io::Result<()> {
        Ok(())
    }

    /// Takes in that the timeline forgets a connection: none of its events is told again.
    fn forgets(&mut self, _connection: ConnectionId) {}

    /// Takes in that the timeline forgets events of no connection: none of them is told again.
    fn forgets_events(&mut self, _events: &[EventId]) {}

    /// Tells what seems wrong with how a program uses its sockets; each once, when the events that prove it are about to be forgotten.
    ///
    /// # Errors
    /// The output could not be written.
    fn diagnosed(&mut self, _timeline: &Timeline, _found: &[Diagnosis]) -> io::Result<()> {
        Ok(())
    }

    /// Tells one connection; called once for each, when nothing more can happen to it.
    ///
    /// # Errors
    /// The output could not be written.
    fn connection(&mut self, connection: Connection) -> io::Result<()>;

    /// Ends the output with the counts.
    ///
    /// # Errors
    /// The output could not be written.
    fn finish(&mut self, totals: &Totals) -> io::Result<()>;
}

/// Tells nobody: a timeline is told as a whole, at the end.
impl Sink for () {
    fn connection(&mut self, _: Connection) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        Ok(())
    }
}

/// Why a run ended before its capture did.
#[derive(Debug)]
pub enum Broken {
    /// The capture is damaged, or could not be read on; everything before that was told.
    Capture(CaptureError),
    /// The output could not be written.
    Output(io::Error),
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
