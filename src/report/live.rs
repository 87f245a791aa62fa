//! A live capture as it goes on: one line for each connection that opens, changes state or ends, and a table now and then.

use std::collections::{BTreeSet, VecDeque};
use std::io::{self, Write};

use super::style::{Charset, Clock, Paint, Style};
use super::text::{Line, counted, escape, grouped};
use super::{Csv, Jsonl, Origin, Table, clock};
use crate::capture::CaptureStats;
use crate::flow::{Connection, ConnectionId, Ending, Side, Step, Totals};
use crate::kernel::Witness;
use crate::story::{Event, EventId, EventKind, Phase, Story, TransitionEvent};
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

    /// Tells how things stand.
    ///
    /// # Errors
    /// Those of the output.
    fn overview(&mut self, now: Timestamp, open: Open, totals: &Totals, stats: Option<&CaptureStats>)
    -> io::Result<()>;

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
        line.push(Paint::Plain, escape(&self.style.wording().verdict(&connection.verdict), &self.style));
        line.write(self.out, &self.style)
    }

    /// Writes the rows of the table at the end for what was told and has a number below `id`, or for all.
    fn rows_before(&mut self, id: Option<ConnectionId>) -> io::Result<()> {
        if self.table.is_none() {
            writeln!(self.out)?;
            if self.earlier > 0 {
                let earlier = counted(self.earlier, "connection");
                self.say(Paint::Dim, &format!("{earlier} that ended earlier, told above, are left out here"))?;
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
        self.counters(stats)?;
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
        Table::new(&self.style).totals(self.out, totals, totals.connections)?;
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
            self.jsonl.event(&event, &Story::default())?;
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
        open: Open,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        let id = self.next_id();
        self.jsonl.counts(id, now, open.count, totals, stats)
    }

    fn left(&mut self, connection: Connection) -> io::Result<()> {
        self.jsonl.connection(&connection)
    }

    fn finish(&mut self, totals: &Totals, _: Option<&CaptureStats>) -> io::Result<()> {
        self.jsonl.totals(totals)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.jsonl.flush()
    }
}

/// Tells it to spreadsheets and databases: the record of each connection to which no further segment can belong, and nothing else.
pub struct CsvRecords<'a>(Csv<'a>);

impl<'a> CsvRecords<'a> {
    /// Writes to `out`, the header at once.
    ///
    /// # Errors
    /// Those of the output.
    pub fn new(out: &'a mut dyn Write) -> io::Result<Self> {
        Ok(Self(Csv::of_connections(out, Origin::Only)?))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::FlowTable;
    use crate::script;

    const REFUSED: &str = "0 C > S: S 100(0)
                           1 S > C: R. 0(0) ack 101";
    const CLOSED: &str = "0  C > S: S  100(0)
                          1  S > C: S. 300(0) ack 101
                          2  C > S: .  101(0) ack 301
                          3  C > S: P. 101(7) ack 301
                          4  C > S: F. 108(0) ack 301
                          5  S > C: F. 301(0) ack 109
                          6  C > S: .  109(0) ack 302";

    /// Follows a script once for each port, told in lines of text with `finish` at the end.
    fn told(style: &Style, script: &str, ports: &[u16], finish: impl FnOnce(&mut Lines<'_>, FlowTable)) -> String {
        let mut out = Vec::new();
        let mut lines = Lines::new(&mut out, style, Timestamp::from_nanos(0));
        let mut table = FlowTable::new();
        for port in ports {
            for (_, mut segment, _) in script::read(script) {
                let to_client = segment.src_port < segment.dst_port;
                *if to_client { &mut segment.dst_port } else { &mut segment.src_port } = *port;
                let Some(step) = table.observe(&segment) else { continue };
                if step.opened || step.moves.iter().any(Option::is_some) {
                    lines.step(&segment, &step, &table.connection(&segment).unwrap()).unwrap();
                }
            }
        }
        finish(&mut lines, table);
        String::from_utf8(out).unwrap()
    }

    fn stats(dropped: u64) -> CaptureStats {
        CaptureStats { interface: "eth\u{1b}0".to_owned(), received: 7, dropped, ..CaptureStats::default() }
    }

    fn finished(lines: &mut Lines<'_>, mut table: FlowTable) {
        let connections = table.finish(|connection| lines.left(connection)).unwrap().connections;
        let totals = Totals { connections, ..Totals::default() };
        lines.finish(&totals, Some(&stats(0))).unwrap();
    }

    #[test]
    fn a_life_is_a_line_for_each_change_one_for_the_end_and_a_row() {
        let style = Style { clock: Clock::TimeOfDay, ..Style::plain(120) };
        let text = told(&style, CLOSED, &[50_000], finished);
        let lines: Vec<&str> = text.lines().collect();
        let end = lines.iter().position(|line| line.contains(" end ")).unwrap();
        let states: Vec<String> = lines[1..end]
            .iter()
            .map(|line| {
                line.split_whitespace()
                    .rev()
                    .take(3)
                    .collect::<Vec<_>>()
                    .into_iter()
                    .rev()
                    .collect::<Vec<_>>()
                    .join(" ")
            })
            .collect();
        assert_eq!(
            states,
            [
                "SYN SYN-SENT –",
                "SYN-ACK ESTABLISHED SYN-RECEIVED",
                "ACK ESTABLISHED ESTABLISHED",
                "FIN FIN-WAIT-1 CLOSE-WAIT",
                "FIN TIME-WAIT LAST-ACK",
                "ACK TIME-WAIT CLOSED",
            ]
        );
        assert!(lines[end].contains(" fin after 6.00 ms, octets 7 →, 0 ←. Closed normally: "), "{text}");
        assert!(lines[end + 1].is_empty() && lines[end + 3].contains("TIME-WAIT    CLOSED       fin"), "{text}");
        assert_eq!(lines.last(), Some(&"eth\\x1b0: 7 packets received, 0 dropped by the kernel, 0 by the interface"));
    }

    #[test]
    fn a_page_in_ascii_stays_so_and_a_narrow_one_is_not_padded() {
        for width in [40, 97, 98, 180] {
            let style = Style { charset: Charset::Ascii, ..Style::plain(width) };
            let text = told(&style, REFUSED, &[50_000], finished);
            assert!(text.is_ascii(), "{text}");
            assert!(text.contains(" -> ") && text.contains(" <- ") && text.contains("refused after "), "{text}");
        }
    }

    #[test]
    fn the_table_at_the_end_has_all_in_order_but_the_earliest() {
        let ports: Vec<u16> = (50_000..51_110).collect();
        let text = told(&Style::plain(180), REFUSED, &ports, |lines, mut table| {
            let mut odd = Vec::new();
            table
                .finish(|connection| {
                    if connection.id.0 % 101 < 100 {
                        return lines.told(connection, Timestamp::from_nanos(0));
                    }
                    odd.push(connection);
                    Ok(())
                })
                .unwrap();
            odd.into_iter().for_each(|connection| lines.left(connection).unwrap());
            lines.finish(&Totals::default(), None).unwrap();
        });
        // All were told above as they ended, none again when they were told for good.
        assert_eq!(text.lines().filter(|line| line.contains(" end ")).count(), 1110);
        let (_, table) = text.split_once("\n\n").unwrap();
        assert!(table.starts_with("100 connections that ended earlier"), "{table}");
        let rows = table.lines().filter(|line| line.contains(" refused "));
        let ids: Vec<u64> = rows.filter_map(|line| line.split_whitespace().next()?.parse().ok()).collect();
        assert_eq!(ids.len(), 1010, "{table}");
        assert!(ids.is_sorted());
        assert!(text.ends_with("the kernel gives no counters of drops\n"));
    }

    #[test]
    fn an_overview_has_the_open_ones_that_had_a_segment_last() {
        let ports: Vec<u16> = (50_000..50_100).collect();
        let text = told(&Style::plain(180), "0 C > S: S 100(0)", &ports, |lines, table| {
            let mut open = Open::default();
            table.each(|connection| open.add(connection));
            lines.overview(Timestamp::from_nanos(0), open, &Totals::default(), Some(&stats(3))).unwrap();
        });
        let (_, overview) = text.split_once("\n\n").unwrap();
        assert!(overview.contains("100 connections open, the 40 that had a segment last:"), "{overview}");
        assert_eq!(overview.lines().filter(|line| line.contains("SYN-SENT")).count(), 40);
        assert!(overview.contains("3 dropped by the kernel"), "{overview}");
    }
}
