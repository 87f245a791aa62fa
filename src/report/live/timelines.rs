//! A live capture as a timeline that grows: for people, and for programs.

use std::io::{self, Write};

use super::lines::counters;
use super::{Open, Teller};
use crate::capture::CaptureStats;
use crate::flow::{Connection, ConnectionId, Step, Totals};
use crate::report::text::{counted, grouped};
use crate::report::timeline::Follow;
use crate::report::{EventStream, Style};
use crate::session::Sink;
use crate::story::{Changes, Timeline};
use crate::time::Timestamp;
use crate::wire::Segment;

/// Draws a row for each event, with the id of its connection, and how each connection ended.
pub struct Rows<'a>(Follow<'a>, Style);

impl<'a> Rows<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write, style: &Style) -> Self {
        Self(Follow::of_several(out, style), *style)
    }
}

impl Teller for Rows<'_> {
    fn step(&mut self, _: &Segment, _: &Step, _: &Connection) -> io::Result<()> {
        Ok(())
    }

    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        self.0.changes(timeline, changes)
    }

    fn forgets(&mut self, connection: ConnectionId) {
        self.0.forgets(connection);
    }

    fn told(&mut self, connection: Connection, _: Timestamp) -> io::Result<()> {
        self.0.connection(connection)
    }

    fn drops(&mut self, _: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        let (new, all) = (counted(new, "packet"), grouped(stats.dropped));
        self.0.say(&format!("the kernel dropped {new}: {all} in all; the lines above may lack them"))
    }

    fn overview(&mut self, _: Timestamp, _: Open, _: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        Ok(())
    }

    fn left(&mut self, connection: Connection) -> io::Result<()> {
        self.0.connection(connection)
    }

    fn finish(&mut self, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()> {
        self.0.finish(totals)?;
        counters(self.0.out(), &self.1, stats)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes a line for each event, and again where it was amended; a `connection` line when no further segment can belong to one.
pub struct Events<'a>(EventStream<'a>);

impl<'a> Events<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self(EventStream::new(out))
    }
}

impl Teller for Events<'_> {
    fn step(&mut self, _: &Segment, _: &Step, _: &Connection) -> io::Result<()> {
        Ok(())
    }

    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        self.0.changes(timeline, changes)
    }

    fn forgets(&mut self, connection: ConnectionId) {
        self.0.forgets(connection);
    }

    fn told(&mut self, connection: Connection, _: Timestamp) -> io::Result<()> {
        self.0.connection(connection)
    }

    fn drops(&mut self, now: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        self.0.jsonl().drops(None, now, new, stats)
    }

    fn overview(&mut self, _: Timestamp, _: Open, _: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        Ok(())
    }

    fn left(&mut self, connection: Connection) -> io::Result<()> {
        self.0.connection(connection)
    }

    fn finish(&mut self, totals: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        self.0.finish(totals)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.jsonl().flush()
    }
}
