//! A live capture as it goes on: one line for each connection that opens, changes state or ends, and a table now and then.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};

use super::style::{Charset, Clock, Paint, Style};
use super::text::{Line, counted, escape, grouped};
use super::{Jsonl, Table, clock};
use crate::capture::CaptureStats;
use crate::flow::{
    Connection, ConnectionId, Ending, Event, EventId, EventKind, Phase, Side, Step, Totals, TransitionEvent,
};
use crate::kernel::Witness;
use crate::tcp::{Rule, State};
use crate::time::Timestamp;
use crate::wire::{Flags, Segment};

/// Tells what happens in a live capture.
pub trait Teller {
    /// Tells what a segment changed: it is called for each that opened its connection or moved an end, with the connection as it stands then.
    ///
    /// # Errors
    /// Those of the output, here as in the others.
    fn step(&mut self, segment: &Segment, step: &Step, connection: &Connection) -> io::Result<()>;

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

    /// Tells how things stand; `connections` are all that are followed.
    ///
    /// # Errors
    /// Those of the output.
    fn overview(
        &mut self,
        now: Timestamp,
        connections: Vec<Connection>,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()>;

    /// Ends the output: `left` are the connections that were not told yet, by id.
    ///
    /// # Errors
    /// Those of the output.
    fn finish(&mut self, left: Vec<Connection>, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()>;

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Those of the output.
    fn flush(&mut self) -> io::Result<()>;
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
}

impl<'a> Lines<'a> {
    /// Writes to `out`; where the style has elapsed time, it counts from `origin`.
    pub fn new(out: &'a mut dyn Write, style: &Style, origin: Timestamp) -> Self {
        let (over, recent) = (BTreeSet::new(), VecDeque::new());
        Self { out, style: *style, origin, begun: false, over, recent, earlier: 0 }
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
        if let Some((first, last)) = connection.first.zip(connection.last) {
            said.push_str(&format!(" after {}", clock::duration(last.since(first), micro)));
        }
        let [sent, received] =
            [&connection.client_to_server, &connection.server_to_client].map(|way| grouped(way.octets));
        said.push_str(&format!(", octets {sent} {}, {received} {}", glyphs.becomes, glyphs.because));
        let again = connection.client_to_server.retransmissions + connection.server_to_client.retransmissions;
        if again > 0 {
            said.push_str(&format!(", {} sent again", counted(again, "segment")));
        }
        said.push_str(". ");
        line.push(Paint::Plain, said);
        line.push(Paint::Plain, escape(&connection.verdict, &self.style));
        line.write(self.out, &self.style)
    }

    fn say(&mut self, paint: Paint, said: &str) -> io::Result<()> {
        for text in super::text::wrap(said, self.style.columns(), self.style.glyphs().ellipsis) {
            Line::of(paint, text).write(self.out, &self.style)?;
        }
        Ok(())
    }

    fn counters(&mut self, stats: Option<&CaptureStats>) -> io::Result<()> {
        let said = match stats {
            None => "the kernel gives no counters of drops".to_owned(),
            Some(stats) => format!(
                "{}: {} received, {} dropped by the kernel, {} by the interface",
                escape(&stats.interface, &self.style),
                counted(stats.received, "packet"),
                grouped(stats.dropped),
                grouped(stats.if_dropped)
            ),
        };
        let lacks = stats.is_some_and(|stats| stats.dropped + stats.if_dropped > 0);
        self.say(if lacks { Paint::Bad } else { Paint::Dim }, &said)
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
            "the kernel dropped {}: {} in all; what is told of connections may lack them",
            counted(new, "packet"),
            grouped(stats.dropped)
        );
        let line = Line::of(Paint::Dim, self.padded(&time, self.time_width())).with(Paint::Bad, format!(" {said}"));
        line.write(self.out, &self.style)
    }

    fn overview(
        &mut self,
        now: Timestamp,
        mut connections: Vec<Connection>,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        connections.retain(|connection| !is_over(connection));
        let open = connections.len();
        // Those in which something happened last are the ones that people look for.
        connections.sort_by_key(|connection| std::cmp::Reverse(connection.last));
        connections.truncate(SHOWN);
        connections.sort_by_key(|connection| connection.id);
        writeln!(self.out)?;
        let time = clock::dated(now, self.origin, &self.style);
        let mut said = format!("{time} {}: {} open", clock::unit(&self.style), counted(open as u64, "connection"));
        if open > connections.len() {
            said.push_str(&format!(", the {} that had a segment last:", connections.len()));
        }
        self.say(Paint::Strong, &said)?;
        let table = Table::new(&self.style);
        if !connections.is_empty() {
            table.header(self.out)?;
        }
        for connection in &connections {
            table.row(self.out, connection)?;
        }
        table.totals(self.out, totals, totals.connections)?;
        self.counters(stats)?;
        writeln!(self.out)
    }

    fn finish(&mut self, left: Vec<Connection>, totals: &Totals, stats: Option<&CaptureStats>) -> io::Result<()> {
        writeln!(self.out)?;
        let mut connections: Vec<Connection> = self.recent.drain(..).collect();
        connections.extend(left);
        connections.sort_by_key(|connection| connection.id);
        let table = Table::new(&self.style);
        if self.earlier > 0 {
            let said = format!("{} were told above and are left out here", counted(self.earlier, "earlier connection"));
            self.say(Paint::Dim, &said)?;
        }
        if !connections.is_empty() {
            table.header(self.out)?;
        }
        for connection in &connections {
            table.row(self.out, connection)?;
        }
        table.totals(self.out, totals, totals.connections)?;
        self.counters(stats)?;
        self.flush()
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Tells it to programs: `opened`, `transition`, `drops` and `counts` lines as it happens, a `connection` line when no further segment can
/// belong to one, and the `totals` line at the end.
pub struct JsonLines<'a> {
    jsonl: Jsonl<'a>,
    next: u64,
}

impl<'a> JsonLines<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { jsonl: Jsonl::new(out), next: 0 }
    }

    fn next_id(&mut self) -> EventId {
        self.next += 1;
        EventId(self.next - 1)
    }
}

impl Teller for JsonLines<'_> {
    fn step(&mut self, segment: &Segment, step: &Step, connection: &Connection) -> io::Result<()> {
        if step.opened {
            let id = self.next_id();
            self.jsonl.opened(id, segment.at, connection)?;
        }
        for (side, moved) in step.moves.iter().flatten() {
            let transition = TransitionEvent {
                side: *side,
                from: moved.from,
                to: moved.to,
                cause: None,
                rule: moved.rule,
                evidence: vec![Witness::Segments],
                disagreement: None,
            };
            let event = Event {
                id: self.next_id(),
                at: segment.at,
                connection: Some(connection.id),
                phase: phase(connection, moved.rule),
                kind: EventKind::Transition(transition),
            };
            self.jsonl.event(&event)?;
        }
        Ok(())
    }

    fn told(&mut self, connection: Connection, _: Timestamp) -> io::Result<()> {
        self.jsonl.connection(&connection)
    }

    fn drops(&mut self, now: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        let id = self.next_id();
        self.jsonl.drops(id, now, new, stats)
    }

    fn overview(
        &mut self,
        now: Timestamp,
        connections: Vec<Connection>,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        let open = connections.iter().filter(|connection| !is_over(connection)).count() as u64;
        let id = self.next_id();
        self.jsonl.counts(id, now, open, totals, stats)
    }

    fn finish(&mut self, left: Vec<Connection>, totals: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        for connection in &left {
            self.jsonl.connection(connection)?;
        }
        self.jsonl.totals(totals)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.jsonl.flush()
    }
}

/// The part of its life in which a connection is, having just moved by `rule`.
fn phase(connection: &Connection, rule: Rule) -> Phase {
    let closing = [&connection.client_to_server, &connection.server_to_client].iter().any(|way| way.fin + way.rst > 0);
    if [connection.client_state, connection.server_state].contains(&Some(State::TimeWait)) {
        Phase::TimeWait
    } else if closing {
        Phase::Teardown
    } else if rule == Rule::OpenBothWays {
        Phase::Data
    } else {
        Phase::Handshake
    }
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
/// How many connections that were told are in the table at the end.
const RECENT: usize = 1000;
/// How many open connections the periodic table has at most.
const SHOWN: usize = 40;
