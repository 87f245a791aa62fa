//! Sinks that write connections, or their findings, to one output.

use std::io::{self, Write};

use crate::cli::Form;
use crate::flow::{Connection, Totals};
use crate::report::{Csv, FindingList, Jsonl, Style, Table};
use crate::session::Sink;

/// What is told of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The connection as a whole.
    Connections,
    /// Each of its findings.
    Findings,
}

/// The sink that writes `subject` in that form; what it has not written yet, `finish` writes.
pub(super) fn teller<'a>(
    form: Form,
    subject: Subject,
    out: &'a mut dyn Write,
    style: &Style,
) -> io::Result<Box<dyn Sink + 'a>> {
    Ok(match (form, subject) {
        (Form::Text, Subject::Connections) => Box::new(Rows { table: Table::new(style), told: 0, out }),
        (Form::Text, Subject::Findings) => {
            Box::new(Remarks { list: FindingList::new(style), table: Table::new(style), told: 0, out })
        }
        (Form::Jsonl, Subject::Connections) => Box::new(Lines(Jsonl::new(out))),
        (Form::Jsonl, Subject::Findings) => Box::new(FindingLines(Jsonl::new(out))),
        (Form::Csv, Subject::Connections) => Box::new(Records(Csv::of_connections(out)?)),
        (Form::Csv, Subject::Findings) => Box::new(FindingRecords(Csv::of_findings(out)?)),
    })
}

struct Lines<'a>(Jsonl<'a>);

impl Sink for Lines<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.0.connection(connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.0.totals(totals)
    }
}

struct FindingLines<'a>(Jsonl<'a>);

impl Sink for FindingLines<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        connection.findings.iter().try_for_each(|finding| self.0.finding(connection, finding))
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.0.totals(totals)
    }
}

struct Records<'a>(Csv<'a>);

impl Sink for Records<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.0.connection(connection)
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        self.0.flush()
    }
}

struct FindingRecords<'a>(Csv<'a>);

impl Sink for FindingRecords<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        connection.findings.iter().try_for_each(|finding| self.0.finding(connection, finding))
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        self.0.flush()
    }
}

struct Rows<'a> {
    table: Table,
    told: u64,
    out: &'a mut dyn Write,
}

impl Sink for Rows<'_> {
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        if self.told == 0 {
            self.table.header(self.out)?;
        }
        self.told += 1;
        self.table.row(self.out, connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.table.totals(self.out, totals, self.told)
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
    fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        if connection.findings.is_empty() {
            return Ok(());
        }
        if self.told == 0 {
            self.list.header(self.out)?;
        }
        self.told += 1;
        self.list.rows(self.out, connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.table.totals(self.out, totals, self.told)
    }
}
