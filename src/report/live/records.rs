//! A live capture for spreadsheets and databases.

use std::io::{self, Write};

use super::{Open, Teller};
use crate::capture::CaptureStats;
use crate::flow::{Connection, Step, Totals};
use crate::report::{Columns, Csv, Origin};
use crate::time::Timestamp;
use crate::wire::Segment;

/// Tells it to spreadsheets and databases: the record of each connection to which no further segment can belong, and nothing else.
pub struct CsvRecords<'a>(Csv<'a>);

impl<'a> CsvRecords<'a> {
    /// Writes to `out`, the header at once.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: &'a mut dyn Write) -> io::Result<Self> {
        Ok(Self(Csv::of_connections(out, Origin::Only, Columns::Usual)?))
    }
}

impl Teller for CsvRecords<'_> {
    fn step(&mut self, _: &Segment, _: &Step, _: &Connection) -> io::Result<()> {
        Ok(())
    }

    fn told(&mut self, connection: Connection, _: Timestamp) -> io::Result<()> {
        self.0.connection(&connection)
    }

    fn drops(&mut self, _: Timestamp, _: u64, _: &CaptureStats) -> io::Result<()> {
        Ok(())
    }

    fn overview(&mut self, _: Timestamp, _: Open, _: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        Ok(())
    }

    fn left(&mut self, connection: Connection) -> io::Result<()> {
        self.0.connection(&connection)
    }

    fn finish(&mut self, _: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        self.0.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}
