//! Sinks that write connections, or their findings, to one output.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::OnceLock;

use super::{look, names};
use crate::cli::{Form, Look};
use crate::flow::{Connection, Totals};
use crate::report::{Csv, FindingList, Jsonl, Origin, Style, Table};
use crate::session::Sink;
use crate::time::Timestamp;

/// What is told of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The connection as a whole.
    Connections,
    /// Each of its findings.
    Findings,
}

/// How text is laid out, which the first frame's time is needed for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page<'a> {
    pub(super) look: &'a Look,
    pub(super) style: Style,
    /// When the first frame was captured, as soon as it was read.
    pub(super) began: &'a OnceLock<Timestamp>,
    /// Whether names stand for addresses.
    pub(super) names: Names,
}

/// Whether names stand for addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Names {
    /// No name server is asked.
    Never,
    /// They are asked for after the capture was read.
    Resolved,
}

impl Page<'_> {
    fn table(&self) -> Table {
        let began = self.began.get().copied();
        let style = look::at(self.look, self.style, began);
        match (self.look.time, began) {
            (Some(_), Some(began)) => Table::timed(&style, began),
            _ => Table::new(&style),
        }
    }
}

/// The sink that writes `subject` in that form; what it has not written yet, `finish` writes.
///
/// Findings that a connection did not keep are added to `omitted`, where the form has no place for them.
pub(super) fn teller<'a>(
    form: Form,
    subject: Subject,
    out: &'a mut dyn Write,
    page: Page<'a>,
    origin: Origin<'a>,
    omitted: &'a Cell<u64>,
) -> io::Result<Box<dyn Sink + 'a>> {
    Ok(match (form, subject) {
        (Form::Text, Subject::Connections) => Box::new(Rows { page, table: None, told: 0, held: Vec::new(), out }),
        (Form::Text, Subject::Findings) => {
            Box::new(Remarks { list: FindingList::new(&page.style), table: page.table(), told: 0, out })
        }
        (Form::Jsonl, Subject::Connections) => Box::new(Lines(Jsonl::new(out))),
        (Form::Jsonl, Subject::Findings) => Box::new(FindingLines { jsonl: Jsonl::new(out), omitted }),
        (Form::Csv, Subject::Connections) => Box::new(Records(Csv::of_connections(out, origin)?)),
        (Form::Csv, Subject::Findings) => Box::new(FindingRecords { csv: Csv::of_findings(out, origin)?, omitted }),
        // Its tables go to files of their own.
        (Form::Parquet, _) => Box::new(()),
    })
}

struct Lines<'a>(Jsonl<'a>);

impl Sink for Lines<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.0.connection(&connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.0.totals(totals)
    }
}

struct FindingLines<'a> {
    jsonl: Jsonl<'a>,
    omitted: &'a Cell<u64>,
}

impl Sink for FindingLines<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.omitted.set(self.omitted.get() + connection.findings_omitted);
        connection.findings.iter().try_for_each(|finding| self.jsonl.finding(&connection, finding))
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.jsonl.totals(totals)
    }
}

struct Records<'a>(Csv<'a>);

impl Sink for Records<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.0.connection(&connection)
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        self.0.flush()
    }
}

struct FindingRecords<'a> {
    csv: Csv<'a>,
    omitted: &'a Cell<u64>,
}

impl Sink for FindingRecords<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.omitted.set(self.omitted.get() + connection.findings_omitted);
        connection.findings.iter().try_for_each(|finding| self.csv.finding(&connection, finding))
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        self.csv.flush()
    }
}

struct Rows<'a> {
    page: Page<'a>,
    /// Laid out for the first row.
    table: Option<Table>,
    told: u64,
    /// What waits for its names.
    held: Vec<Connection>,
    out: &'a mut dyn Write,
}

impl Rows<'_> {
    fn row(&mut self, connection: &Connection) -> io::Result<()> {
        let table = self.table.get_or_insert_with(|| self.page.table());
        if self.told == 0 {
            table.header(self.out)?;
        }
        self.told += 1;
        table.row(self.out, connection)
    }
}

impl Sink for Rows<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        match self.page.names {
            Names::Never => self.row(&connection),
            Names::Resolved => {
                self.held.push(connection);
                Ok(())
            }
        }
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        let held = std::mem::take(&mut self.held);
        if !held.is_empty() {
            let names = names::resolved(names::addresses(&held));
            self.table = Some(self.page.table().with_names(names));
        }
        for connection in &held {
            self.row(connection)?;
        }
        let table = self.table.get_or_insert_with(|| self.page.table());
        table.totals(self.out, totals, self.told)
    }
}

/// The findings for people.
struct Remarks<'a> {
    list: FindingList,
    table: Table,
    told: u64,
    out: &'a mut dyn Write,
}

impl Sink for Remarks<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        if connection.findings.is_empty() {
            return Ok(());
        }
        if self.told == 0 {
            self.list.header(self.out)?;
        }
        self.told += 1;
        self.list.rows(self.out, &connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.table.totals(self.out, totals, self.told)
    }
}
