//! A live capture for people.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};

use super::{Open, Teller, is_over};
use crate::capture::CaptureStats;
use crate::flow::{Connection, ConnectionId, Ending, Side, Step, Totals};
use crate::report::style::{Charset, Clock, Paint, Style};
use crate::report::text::{Line, counted, escape, grouped, wrap};
use crate::report::{Table, clock};
use crate::tcp::{Finding, State};
use crate::time::Timestamp;
use crate::wire::{Flags, Segment};

/// Tells it to people.
pub struct Lines<'a> {
    out: &'a mut dyn Write,
    style: Style,
    /// From when elapsed time counts.
    origin: Timestamp,
    begun: bool,
    /// Connections whose end was told, and that are still followed.
    over: BTreeSet<ConnectionId>,
    /// The connections told last, for the table at the end.
    recent: VecDeque<Connection>,
    /// How many others were told before them.
    earlier: u64,
    /// The table at the end, once it has begun.
    table: Option<Table>,
}

impl<'a> Lines<'a> {
    /// Writes to `out`; where the style has elapsed time, it counts from `origin`.
    pub fn new(out: &'a mut dyn Write, style: &Style, origin: Timestamp) -> Self {
        let (over, recent) = (BTreeSet::new(), VecDeque::new());
        Self { out, style: *style, origin, begun: false, over, recent, earlier: 0, table: None }
    }

    fn header(&mut self) -> io::Result<()> {
        if std::mem::replace(&mut self.begun, true) {
            return Ok(());
        }
        let mut line = Line::of(Paint::Strong, self.padded(&clock::unit(&self.style), self.time_width()));
        line.push(Paint::Plain, " ");
        line.append(Line::of(Paint::Strong, "id").right(ID, ""));
        line.push(Paint::Strong, format!(" {}   {} ", self.padded("client", END), self.padded("server", END)));
        line.push(Paint::Strong, format!("{} ", self.padded("segment", WHAT)));
        line.push(Paint::Strong, format!("{} {}", self.padded("client in", STATE), self.padded("server in", STATE)));
        line.write(self.out, &self.style)
    }

    /// The beginning of a line on a connection: time, id, and both ends with `between` in their middle.
    fn begin(&self, at: Option<Timestamp>, connection: &Connection, between: &str) -> Line {
        let time = at.map_or(String::new(), |at| self.time(at));
        let mut line = Line::of(Paint::Dim, self.padded(&time, self.time_width()));
        line.push(Paint::Plain, format!(" {:>ID$} ", connection.id.0));
        line.push(Paint::Client, self.padded(&connection.client.to_string(), END));
        line.push(Paint::Plain, format!(" {between} "));
        line.push(Paint::Server, self.padded(&connection.server.to_string(), END));
        line.push(Paint::Plain, " ");
        line
    }

    fn ended(&mut self, at: Option<Timestamp>, connection: &Connection) -> io::Result<()> {
        let glyphs = self.style.glyphs();
        let micro = if self.style.charset == Charset::Unicode { "µ" } else { "u" };
        let mut line = self.begin(at, connection, &" ".repeat(self.arrow_width()));
        let paint = match connection.ending {
            Ending::Fin => Paint::Strong,
            Ending::Open | Ending::HalfClosed => Paint::Warn,
            Ending::Reset | Ending::Refused | Ending::Unanswered => Paint::Bad,
        };
        line.push(paint, self.padded("end", WHAT));
        line.push(paint, format!(" {}", connection.ending.name()));
        let mut said = String::new();
        if let Some(lasted) = connection.duration() {
            said.push_str(&format!(" after {}", clock::duration(lasted, micro)));
        }
        let [sent, received] =
            [&connection.client_to_server, &connection.server_to_client].map(|way| grouped(way.octets));
        said.push_str(&format!(", octets {sent} {}, {received} {}", glyphs.becomes, glyphs.because));
        let again = retransmitted(connection);
        if again > 0 {
            said.push_str(&format!(", {} retransmitted", counted(again, "segment")));
        }
        said.push_str(". ");
        line.push(Paint::Plain, said);
        line.push(Paint::Plain, escape(&self.style.wording().ending(connection), &self.style));
        line.write(self.out, &self.style)
    }

    /// Writes the rows of the table at the end for what was told and has a number below `id`, or for all.
    fn rows_before(&mut self, id: Option<ConnectionId>) -> io::Result<()> {
        if self.table.is_none() {
            writeln!(self.out)?;
            if self.earlier > 0 {
                let earlier = counted(self.earlier, "connection");
                self.say(Paint::Dim, &format!("{earlier} that ended earlier are listed above and left out here"))?;
            }
            self.recent.make_contiguous().sort_by_key(|connection| connection.id);
            let table = Table::new(&self.style);
            if id.is_some() || !self.recent.is_empty() {
                table.header(self.out)?;
            }
            self.table = Some(table);
        }
        let Some(table) = &mut self.table else { return Ok(()) };
        while let Some(connection) = self.recent.front()
            && id.is_none_or(|id| connection.id < id)
        {
            table.row(self.out, connection)?;
            self.recent.pop_front();
        }
        Ok(())
    }

    fn say(&mut self, paint: Paint, said: &str) -> io::Result<()> {
        say(self.out, &self.style, paint, said)
    }

    fn padded(&self, text: &str, width: usize) -> String {
        // Where a line does not fit the page anyway, columns only make it longer.
        if self.style.columns() < NARROW { text.to_owned() } else { format!("{text:<width$}") }
    }

    fn time(&self, at: Timestamp) -> String {
        match self.style.clock {
            Clock::TimeOfDay => clock::time_of_day(at, &self.style, self.decimals()),
            Clock::Elapsed | Clock::Epoch => clock::moment(at, self.origin, &self.style),
        }
    }

    fn time_width(&self) -> usize {
        match self.style.clock {
            Clock::TimeOfDay => "00:00:00.".len() + self.decimals(),
            Clock::Elapsed => "00000.000000".len(),
            Clock::Epoch => "0000000000.000000".len(),
        }
    }

    fn decimals(&self) -> usize {
        if self.style.columns() < WIDE { 3 } else { 6 }
    }

    fn arrow_width(&self) -> usize {
        self.style.glyphs().becomes.chars().count()
    }
}

impl Teller for Lines<'_> {
    fn step(&mut self, segment: &Segment, step: &Step, connection: &Connection) -> io::Result<()> {
        self.header()?;
        let glyphs = self.style.glyphs();
        let arrow = if step.from == Side::Client { glyphs.becomes } else { glyphs.because };
        let mut line = self.begin(segment.at, connection, arrow);
        line.push(Paint::Strong, self.padded(what(segment), WHAT));
        for (side, state) in [(Side::Client, connection.client_state), (Side::Server, connection.server_state)] {
            let moved = step.moves.iter().flatten().any(|(mover, _)| *mover == side);
            let name = state.map_or(glyphs.dash, State::name);
            line.push(Paint::Plain, " ");
            line.push(if moved { Paint::State } else { Paint::Dim }, self.padded(name, STATE));
        }
        if step.opened && connection.midstream {
            line.push(Paint::Dim, " in midstream");
        }
        line.write(self.out, &self.style)?;
        if is_over(connection) && self.over.insert(connection.id) {
            self.ended(segment.at, connection)?;
        }
        Ok(())
    }

    fn told(&mut self, connection: Connection, now: Timestamp) -> io::Result<()> {
        if !self.over.remove(&connection.id) {
            self.header()?;
            self.ended(Some(now), &connection)?;
        }
        if self.recent.len() == RECENT {
            self.recent.pop_front();
            self.earlier += 1;
        }
        self.recent.push_back(connection);
        Ok(())
    }

    fn drops(&mut self, now: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        let time = self.time(now);
        let said = format!(
            "the kernel dropped {}: {} in all; the lines above may lack them",
            counted(new, "packet"),
            grouped(stats.dropped)
        );
        let line = Line::of(Paint::Dim, self.padded(&time, self.time_width())).with(Paint::Bad, format!(" {said}"));
        line.write(self.out, &self.style)
    }

    fn overview(
        &mut self,
        now: Timestamp,
        open: Open,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        let (count, connections) = (open.count, open.into_latest());
        writeln!(self.out)?;
        let time = clock::dated(now, self.origin, &self.style);
        let mut said = format!("{time} {}: {} open", clock::unit(&self.style), counted(count, "connection"));
        if count > connections.len() as u64 {
            said.push_str(&format!(", the {} that had a segment last:", connections.len()));
        }
        self.say(Paint::Strong, &said)?;
        let mut table = Table::new(&self.style);
        if !connections.is_empty() {
            table.header(self.out)?;
        }
        for connection in &connections {
            table.row(self.out, connection)?;
        }
        table.totals(self.out, totals, totals.connections)?;
        counters(self.out, &self.style, stats)?;
        writeln!(self.out)
    }

    fn left(&mut self, connection: Connection) -> io::Result<()> {
        self.rows_before(Some(connection.id))?;
        match &mut self.table {
            Some(table) => table.row(self.out, &connection),
            None => Ok(()),
        }
    }

    fn finish(&mut self, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()> {
        self.rows_before(None)?;
        self.finish_early(totals, stats)
    }

    fn finish_early(&mut self, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()> {
        Table::new(&self.style).totals(self.out, totals, totals.connections)?;
        counters(self.out, &self.style, stats)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What the kernel counted of a capture.
pub(super) fn counters(out: &mut dyn Write, style: &Style, stats: Option<&CaptureStats>) -> io::Result<()> {
    let said = match stats {
        None => "the kernel gives no counters of drops".to_owned(),
        Some(stats) => {
            // The kernel shows each packet to a capture of the loopback interface as it leaves and as it arrives.
            let how = match stats.interface == LOOPBACK {
                true => "counted, each leaving and arriving;",
                false => "received,",
            };
            format!(
                "{}: {} {how} {} dropped by the kernel, {} by the interface",
                escape(&stats.interface, style),
                counted(stats.received, "packet"),
                grouped(stats.dropped),
                grouped(stats.if_dropped)
            )
        }
    };
    let lacks = stats.is_some_and(|stats| stats.dropped + stats.if_dropped > 0);
    say(out, style, if lacks { Paint::Bad } else { Paint::Dim }, &said)
}

fn say(out: &mut dyn Write, style: &Style, paint: Paint, said: &str) -> io::Result<()> {
    for text in wrap(said, style.columns(), style.glyphs().ellipsis) {
        Line::of(paint, text).write(out, style)?;
    }
    Ok(())
}

/// How many segments were retransmitted; those that were only captured twice are none, as far as the findings that are kept tell.
fn retransmitted(connection: &Connection) -> u64 {
    let frames = |wanted: fn(Finding) -> bool| -> BTreeSet<u64> {
        connection.findings.iter().filter(|at| wanted(at.finding)).filter_map(|at| at.frame).collect()
    };
    let copies = frames(|finding| finding == Finding::CapturedTwice);
    let copies = copies.intersection(&frames(Finding::is_retransmission)).count() as u64;
    let by_rule = connection.client_to_server.retransmissions + connection.server_to_client.retransmissions;
    by_rule.saturating_sub(copies)
}

/// What a segment is, in one word.
fn what(segment: &Segment) -> &'static str {
    let flags = segment.flags;
    if flags.contains(Flags::RST) {
        "RST"
    } else if flags.contains(Flags::SYN | Flags::ACK) {
        "SYN-ACK"
    } else if flags.contains(Flags::SYN) {
        "SYN"
    } else if flags.contains(Flags::FIN) {
        "FIN"
    } else if segment.len > 0 {
        "data"
    } else {
        "ACK"
    }
}

const ID: usize = 5;
const END: usize = 21;
const WHAT: usize = 7;
const STATE: usize = 12;
/// Below these columns nothing is aligned, from the others on times have microseconds.
const NARROW: usize = 98;
const WIDE: usize = 104;
/// The name of the loopback interface.
const LOOPBACK: &str = "lo";
/// How many connections that were told are in the table at the end.
const RECENT: usize = 1000;
