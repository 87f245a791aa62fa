//! Sinks that write connections, or their findings, to one output.

use std::cell::Cell;
use std::io::{self, Write};
use std::sync::OnceLock;

use super::{look, names};
use crate::cli::{Form, Look};
use crate::flow::{Connection, ConnectionId, Totals};
use crate::report::{
    Bars, ByNumber, Columns, Csv, FindingList, FindingTotals, Jsonl, Origin, Overview, Style, Table, cost,
};
use crate::session::Sink;
use crate::time::Timestamp;

/// What is told of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The connection as a whole.
    Connections,
    /// Where its time went.
    Breakdowns,
    /// Each of its findings.
    Findings,
    /// All connections together, on one page.
    Summary,
}

/// In which order rows are written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sequence {
    /// That in which connections are told.
    Given,
    /// By number, as far as a bounded memory allows.
    Number,
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
    pub(super) order: Sequence,
    /// Which fields records have.
    pub(super) columns: Columns,
    /// How many octets what waits for its turn may take.
    pub(super) room: usize,
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
        (Form::Text, Subject::Connections) => {
            Box::new(Rows { page, table: None, told: 0, held: Vec::new(), queue: Queue::new(&page, out), octets: 0 })
        }
        (Form::Text, Subject::Breakdowns) => Box::new(Divided {
            bars: Bars::new(&page.style),
            table: page.table(),
            told: 0,
            queue: Queue::new(&page, out),
        }),
        (Form::Text, Subject::Findings) => Box::new(Remarks {
            list: FindingList::new(&page.style),
            table: page.table(),
            told: 0,
            totals: FindingTotals::default(),
            style: page.style,
            queue: Queue::new(&page, out),
        }),
        (Form::Text, Subject::Summary) => Box::new(Sheet { page, overview: Overview::default(), out }),
        (Form::Jsonl, Subject::Summary) => {
            Box::new(SummaryLine { jsonl: Jsonl::new(out), overview: Overview::default() })
        }
        (Form::Jsonl, Subject::Connections | Subject::Breakdowns) => Box::new(Lines(Jsonl::new(out))),
        (Form::Jsonl, Subject::Findings) => {
            Box::new(FindingLines { jsonl: Jsonl::new(out), totals: FindingTotals::default(), omitted })
        }
        (Form::Csv, Subject::Connections | Subject::Breakdowns) => {
            Box::new(Records(Csv::of_connections(out, origin, page.columns)?))
        }
        (Form::Csv, Subject::Findings) => Box::new(FindingRecords { csv: Csv::of_findings(out, origin)?, omitted }),
        // Its tables go to files of their own, and a page is no table.
        (Form::Parquet, _) | (Form::Csv, Subject::Summary) => Box::new(()),
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

/// The page on all connections.
struct Sheet<'a> {
    page: Page<'a>,
    overview: Overview,
    out: &'a mut dyn Write,
}

impl Sink for Sheet<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.overview.add(&connection);
        Ok(())
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.overview.write(self.out, totals, &self.page.style)
    }
}

struct SummaryLine<'a> {
    jsonl: Jsonl<'a>,
    overview: Overview,
}

impl Sink for SummaryLine<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.overview.add(&connection);
        Ok(())
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.jsonl.summary(&self.overview)?;
        self.jsonl.totals(totals)
    }
}

struct FindingLines<'a> {
    jsonl: Jsonl<'a>,
    totals: FindingTotals,
    omitted: &'a Cell<u64>,
}

impl Sink for FindingLines<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.omitted.set(self.omitted.get() + connection.findings_omitted);
        self.totals.add(&connection);
        connection.findings.iter().try_for_each(|finding| self.jsonl.finding(&connection, finding))
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.jsonl.finding_totals(&self.totals)?;
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

/// Rows on their way out, and what stands above the first of them.
struct Queue<'a> {
    order: Option<ByNumber<Box<[u8]>>>,
    head: Vec<u8>,
    row: Vec<u8>,
    out: &'a mut dyn Write,
}

impl<'a> Queue<'a> {
    #[expect(clippy::borrowed_box, reason = "it is boxes that wait")]
    fn new(page: &Page<'_>, out: &'a mut dyn Write) -> Self {
        let order = (page.order == Sequence::Number)
            .then(|| ByNumber::new(MOST_WAITING, page.room, |row: &Box<[u8]>| row.len() + ROW));
        Self { order, head: Vec::new(), row: Vec::new(), out }
    }

    /// Writes what `write` has to say of the connection `id`, or lets it wait for those before it.
    fn tell(&mut self, id: ConnectionId, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let Self { order, head, row, out } = self;
        row.clear();
        write(row)?;
        match order {
            None => put(head, row, out),
            Some(order) if order.is_due(id) => {
                put(head, row, out)?;
                order.pass(id, |row| put(head, &row, out))
            }
            Some(order) => order.put(id, row.as_slice().into(), |row: Box<[u8]>| put(head, &row, out)),
        }
    }

    /// Writes what still waits, and then what `write` has to say.
    fn finish(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
        let Self { order, head, out, .. } = self;
        if let Some(order) = order {
            order.finish(|row| put(head, &row, out))?;
        }
        write(out)
    }
}

/// Writes a row, and the head above it if it is the first.
fn put(head: &mut Vec<u8>, row: &[u8], out: &mut dyn Write) -> io::Result<()> {
    if !head.is_empty() {
        out.write_all(head)?;
        head.clear();
    }
    out.write_all(row)
}

struct Rows<'a> {
    page: Page<'a>,
    /// Laid out for the first row.
    table: Option<Table>,
    told: u64,
    /// What waits for its names, and how many octets that takes.
    held: Vec<Connection>,
    octets: usize,
    queue: Queue<'a>,
}

impl Rows<'_> {
    fn row(&mut self, connection: &Connection) -> io::Result<()> {
        let table = self.table.get_or_insert_with(|| self.page.table());
        if self.told == 0 {
            table.header(&mut self.queue.head)?;
        }
        self.told += 1;
        self.queue.tell(connection.id, |out| table.row(out, connection))
    }

    /// Tells those that wait for their names.
    fn tell_held(&mut self) -> io::Result<()> {
        self.octets = 0;
        let mut held = std::mem::take(&mut self.held);
        if self.queue.order.is_some() {
            held.sort_by_key(|connection| connection.id);
        }
        if !held.is_empty() {
            let names = names::resolved(names::addresses(&held));
            self.table = Some(self.page.table().with_names(names));
        }
        held.iter().try_for_each(|connection| self.row(connection))
    }
}

impl Sink for Rows<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        match self.page.names {
            Names::Never => self.row(&connection),
            Names::Resolved => {
                self.octets += cost(&connection);
                self.held.push(connection);
                if self.octets > self.page.room { self.tell_held() } else { Ok(()) }
            }
        }
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.tell_held()?;
        let table = self.table.get_or_insert_with(|| self.page.table());
        self.queue.finish(|out| table.totals(out, totals, self.told))
    }
}

/// Where the time went, for people.
struct Divided<'a> {
    bars: Bars,
    table: Table,
    told: u64,
    queue: Queue<'a>,
}

impl Sink for Divided<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        if self.told == 0 {
            self.bars.legend(&mut self.queue.head)?;
        }
        self.told += 1;
        self.queue.tell(connection.id, |out| self.bars.rows(out, &connection))
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.queue.finish(|out| {
            if self.told > 0 {
                writeln!(out)?;
            }
            self.table.totals(out, totals, self.told)
        })
    }
}

/// The findings for people.
struct Remarks<'a> {
    list: FindingList,
    table: Table,
    told: u64,
    totals: FindingTotals,
    style: Style,
    queue: Queue<'a>,
}

impl Sink for Remarks<'_> {
    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        if connection.findings.is_empty() {
            return Ok(());
        }
        if self.told == 0 {
            self.list.header(&mut self.queue.head)?;
        }
        self.told += 1;
        self.totals.add(&connection);
        self.queue.tell(connection.id, |out| self.list.rows(out, &connection))
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.queue.finish(|out| {
            self.totals.write(out, &self.style)?;
            self.table.totals(out, totals, self.told)
        })
    }
}

/// How many connections' rows wait for those with lower numbers.
const MOST_WAITING: usize = 1 << 15;
/// What a row that waits takes besides its octets: at worst it stands alone on its shelf.
const ROW: usize = 320;
