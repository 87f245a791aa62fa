//! The table of connections, in columns whose widths follow from the page alone, so that rows can be written as they come.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use unicode_width::UnicodeWidthStr;

use super::clock;
use super::style::{Charset, Clock, Paint, Style};
use super::summary::skipped;
use super::text::{Line, counted, escape};
use crate::flow::{Connection, Ending, Totals};
use crate::tcp::State;
use crate::time::Timestamp;

/// The table's columns on one page.
#[derive(Clone, Debug)]
pub struct Table {
    style: Style,
    columns: Vec<(Column, usize)>,
    /// What has no column on this page, in the order in which it is told below the row.
    below: Vec<Column>,
    /// What elapsed times are counted from, where connections are told with their time.
    origin: Option<Timestamp>,
    names: BTreeMap<IpAddr, String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Column {
    Id,
    Began,
    Client,
    Server,
    Duration,
    Sent,
    Received,
    ClientState,
    ServerState,
    Ending,
    Verdict,
}

impl Table {
    /// Lays out the columns for a page: from [`Table::ONE_LINE`] columns on each connection has one line; on a narrower page what has no column is told below it.
    pub fn new(style: &Style) -> Self {
        let columns = style.columns();
        let end = match columns {
            0..60 => 12,
            60..76 => 15,
            76..170 => 21,
            _ => 27,
        };
        let mut chosen = vec![(Column::Id, 5), (Column::Client, end), (Column::Server, end)];
        let mut below = Vec::new();
        let optional: [(Column, usize, usize); 5] = [
            (Column::Duration, 8, 97),
            (Column::Sent, 8, 115),
            (Column::Received, 8, 115),
            (Column::ClientState, 12, 88),
            (Column::ServerState, 12, 88),
        ];
        for (column, width, from) in optional {
            if columns >= from {
                chosen.push((column, width));
            } else {
                below.push(column);
            }
        }
        chosen.push((Column::Ending, 11));
        if columns >= Self::ONE_LINE {
            let used: usize = chosen.iter().map(|(_, width)| width + GAP).sum();
            chosen.push((Column::Verdict, columns - used));
        } else {
            below.push(Column::Verdict);
        }
        Self { style: *style, columns: chosen, below, origin: None, names: BTreeMap::new() }
    }

    /// The same, with the time of each connection's first segment by the style's clock, elapsed time being counted from `origin`.
    pub fn timed(style: &Style, origin: Timestamp) -> Self {
        let mut table = Self::new(style);
        table.origin = Some(origin);
        let time = match style.clock {
            Clock::Elapsed => 13,
            Clock::Epoch => 17,
            Clock::TimeOfDay => 26,
        };
        match table.columns.iter_mut().find(|(column, _)| *column == Column::Verdict) {
            Some((_, verdict)) if *verdict >= time + GAP + 20 => {
                *verdict -= time + GAP;
                table.columns.insert(1, (Column::Began, time));
            }
            _ => table.below.insert(0, Column::Began),
        }
        table
    }

    /// Tells these names instead of addresses.
    pub fn with_names(self, names: BTreeMap<IpAddr, String>) -> Self {
        Self { names, ..self }
    }

    /// From this width on each connection has one line.
    pub const ONE_LINE: usize = 150;

    /// Writes the columns' names.
    ///
    /// # Errors
    /// Whatever `out` answers, here as in the others.
    pub fn header(&self, out: &mut dyn Write) -> io::Result<()> {
        let becomes = self.style.glyphs().becomes;
        self.line(out, |column| {
            let name = match column {
                Column::Id => "id".to_owned(),
                Column::Began => format!("began ({})", clock::unit(&self.style)),
                Column::Client => "client".to_owned(),
                Column::Server => "server".to_owned(),
                Column::Duration => "duration".to_owned(),
                Column::Sent => format!("octets{becomes}"),
                Column::Received => format!("{}octets", self.style.glyphs().because),
                Column::ClientState => "client in".to_owned(),
                Column::ServerState => "server in".to_owned(),
                Column::Ending => "ending".to_owned(),
                Column::Verdict => "verdict".to_owned(),
            };
            Line::of(Paint::Strong, name)
        })
    }

    /// Writes one connection.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn row(&self, out: &mut dyn Write, connection: &Connection) -> io::Result<()> {
        let micro = if self.style.charset == Charset::Unicode { "µ" } else { "u" };
        self.line(out, |column| match column {
            Column::Id => Line::of(Paint::Plain, connection.id.0.to_string()),
            Column::Began => Line::of(Paint::Plain, self.began(connection)),
            Column::Client => Line::of(Paint::Client, self.end(connection.client)),
            Column::Server => Line::of(Paint::Server, self.end(connection.server)),
            Column::Duration => {
                let lasted = connection.first.zip(connection.last).map(|(first, last)| last.since(first));
                Line::of(Paint::Plain, lasted.map_or(String::new(), |lasted| clock::duration(lasted, micro)))
            }
            Column::Sent => Line::of(Paint::Plain, quantity(connection.client_to_server.octets)),
            Column::Received => Line::of(Paint::Plain, quantity(connection.server_to_client.octets)),
            Column::ClientState => state(connection.client_state),
            Column::ServerState => state(connection.server_state),
            Column::Ending => {
                let paint = match connection.ending {
                    Ending::Fin => Paint::Plain,
                    Ending::Open | Ending::HalfClosed => Paint::Dim,
                    Ending::Reset | Ending::Refused | Ending::Unanswered => Paint::Bad,
                };
                Line::of(paint, connection.ending.name())
            }
            Column::Verdict => Line::of(Paint::Plain, escape(&connection.verdict, &self.style)),
        })?;
        self.rest(out, connection, micro)
    }

    /// Tells below the row what has no column.
    fn rest(&self, out: &mut dyn Write, connection: &Connection, micro: &str) -> io::Result<()> {
        if self.below.is_empty() {
            return Ok(());
        }
        let named = |state: Option<State>| state.map_or("unknown", State::name);
        let parts = self.below.iter().filter_map(|column| match column {
            Column::Began if self.style.clock == Clock::TimeOfDay => {
                Some(format!("began {} {}", self.began(connection), clock::zone(&self.style)))
            }
            Column::Began => Some(format!("began at {} s", self.began(connection))),
            Column::Duration => {
                let lasted = connection.first.zip(connection.last).map(|(first, last)| last.since(first));
                lasted.map(|lasted| clock::duration(lasted, micro))
            }
            Column::Sent => Some(format!(
                "octets {} {} {}",
                quantity(connection.client_to_server.octets),
                self.style.glyphs().becomes,
                quantity(connection.server_to_client.octets)
            )),
            Column::ClientState => Some(format!("client in {}", named(connection.client_state))),
            Column::ServerState => Some(format!("server in {}", named(connection.server_state))),
            Column::Verdict => Some(escape(&connection.verdict, &self.style)),
            Column::Received | Column::Id | Column::Client | Column::Server | Column::Ending => None,
        });
        let text = parts.collect::<Vec<_>>().join("; ");
        let room = self.style.columns().saturating_sub(INDENT);
        for text in super::text::wrap(&text, room, self.style.glyphs().ellipsis) {
            Line::of(Paint::Dim, format!("{:INDENT$}{text}", "")).write(out, &self.style)?;
        }
        Ok(())
    }

    /// Writes the last line: frames, segments, connections, of which `told` stand above, and what was skipped, in words.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn totals(&self, out: &mut dyn Write, totals: &Totals, told: u64) -> io::Result<()> {
        let ellipsis = self.style.glyphs().ellipsis;
        let of = if told == totals.connections { String::new() } else { format!("{told} of ") };
        let mut said = format!(
            "{of}{}, {}, {}",
            counted(totals.connections, "connection"),
            counted(totals.segments, "segment"),
            counted(totals.frames, "frame")
        );
        if let Some(skipped) = skipped(totals) {
            said.push_str(&format!("; skipped: {skipped}"));
        }
        if let Some(dropped) = totals.dropped.filter(|dropped| *dropped > 0) {
            said.push_str(&format!("; {dropped} dropped by the kernel's capture buffer"));
        }
        for text in super::text::wrap(&said, self.style.columns(), ellipsis) {
            Line::of(Paint::Dim, text).write(out, &self.style)?;
        }
        Ok(())
    }

    fn line(&self, out: &mut dyn Write, cell: impl Fn(Column) -> Line) -> io::Result<()> {
        let ellipsis = self.style.glyphs().ellipsis;
        let mut line = Line::default();
        for (at, (column, width)) in self.columns.iter().enumerate() {
            if at > 0 {
                line.push(Paint::Plain, " ".repeat(GAP));
            }
            line.append(match column {
                Column::Id | Column::Began | Column::Duration | Column::Sent | Column::Received => {
                    cell(*column).right(*width, ellipsis)
                }
                _ => cell(*column).left(*width, ellipsis),
            });
        }
        line.write(out, &self.style)
    }

    /// When its first segment was captured.
    fn began(&self, connection: &Connection) -> String {
        let Some((first, origin)) = connection.first.zip(self.origin) else { return "-".to_owned() };
        clock::dated(first, origin, &self.style)
    }

    /// An end in its column: cut in the middle where it is too long, so that the port stays.
    fn end(&self, end: SocketAddr) -> String {
        let text = match self.names.get(&end.ip()) {
            Some(name) => format!("{}:{}", escape(name, &self.style), end.port()),
            None => end.to_string(),
        };
        let width = self.columns.iter().find(|(column, _)| *column == Column::Client).map_or(0, |(_, width)| *width);
        if text.width() <= width {
            return text;
        }
        let ellipsis = self.style.glyphs().ellipsis;
        let port = format!(":{}", end.port());
        let keep = width.saturating_sub(port.len() + ellipsis.width());
        format!("{}{ellipsis}{port}", super::text::head(&text, keep).0)
    }
}

fn state(state: Option<State>) -> Line {
    match state {
        Some(state) => Line::of(Paint::Plain, state.name()),
        None => Line::of(Paint::Dim, "-"),
    }
}

/// A number in at most eight columns: whole below 100 million, then in the largest unit that keeps four digits.
fn quantity(n: u64) -> String {
    if n < 100_000_000 {
        return n.to_string();
    }
    let units = [(1_000_000_000_000_000, "P"), (1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M")];
    let (unit, name) = units.into_iter().find(|(unit, _)| n / unit >= 10).unwrap_or((1_000_000, "M"));
    format!("{} {name}", n / unit)
}

/// Spaces between columns.
const GAP: usize = 1;

/// Spaces before what stands below a row.
const INDENT: usize = 6;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    fn drawn(style: &Style, change: impl Fn(&mut Connection)) -> String {
        let mut story = sample::echo();
        change(&mut story.connections[0]);
        story.totals.skipped.not_tcp = 3;
        let mut out = Vec::new();
        let table = Table::new(style);
        table.header(&mut out).unwrap();
        table.row(&mut out, &story.connections[0]).unwrap();
        table.totals(&mut out, &story.totals, story.totals.connections).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_page_has_everything_in_one_line_or_below_it() {
        for width in 80..=Style::WIDEST {
            let text = drawn(&Style::plain(width), |_| {});
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
            let wanted = [
                "    0",
                "127.0.0.1:50634",
                "127.0.0.1:8888",
                "TIME-WAIT",
                "CLOSED",
                " fin",
                "A complete",
                "3 not TCP",
            ];
            for wanted in wanted {
                assert!(text.contains(wanted), "{width}: {wanted}\n{text}");
            }
        }
        for width in Style::NARROWEST..80 {
            let text = drawn(&Style { charset: Charset::Ascii, ..Style::plain(width) }, |_| {});
            assert!(text.is_ascii() && text.lines().all(|line| line.width() <= width), "{text}");
        }
    }

    #[test]
    fn a_long_end_keeps_its_port() {
        let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:50634".parse().unwrap();
        let text = drawn(&Style::plain(80), |connection| connection.client = long);
        assert!(text.contains("[2001:db8:1111…:50634"), "{text}");
    }

    #[test]
    fn moments_stand_in_a_column_or_below_the_row() {
        let story = sample::echo();
        let connection = &story.connections[0];
        let origin = Timestamp::from_nanos(connection.first.unwrap().as_nanos() - 1_500_000_000);
        for (clock, wanted) in [(Clock::Elapsed, "1.500000"), (Clock::TimeOfDay, "UTC+5:30"), (Clock::Epoch, ".")] {
            for width in [60, 100, 150, 180] {
                let style = Style { clock, utc_offset: 19_800, ..Style::plain(width) };
                let (table, mut out) = (Table::timed(&style, origin), Vec::new());
                table.header(&mut out).unwrap();
                table.row(&mut out, connection).unwrap();
                let text = String::from_utf8(out).unwrap();
                assert!(text.lines().all(|line| line.width() <= width), "{text}");
                assert!(text.contains("began") && text.contains(wanted), "{width}: {wanted}\n{text}");
            }
        }
    }

    #[test]
    fn a_name_stands_for_its_address_and_leaves_the_port() {
        let story = sample::echo();
        let client = story.connections[0].client;
        for (name, told) in [
            ("host.example", "host.example:50634"),
            ("a\u{1b}[2J", "a\\x1b[2J:50634"),
            ("名前名前名前名前名前名前名前名前名前", "…:50634"),
        ] {
            let names = BTreeMap::from([(client.ip(), name.to_owned())]);
            let (table, mut out) = (Table::new(&Style::plain(120)).with_names(names), Vec::new());
            table.row(&mut out, &story.connections[0]).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(told), "{told}\n{text}");
            assert!(text.lines().all(|line| line.width() <= 120), "{text}");
        }
    }

    #[test]
    fn quantities_fit_their_column() {
        let of = [0, 99_999_999, 100_000_000, 12_345_678_901, u64::MAX].map(quantity);
        assert_eq!(of, ["0", "99999999", "100 M", "12 G", "18446 P"]);
    }

    #[test]
    fn a_verdict_cannot_move_the_cursor() {
        let text = drawn(&Style::plain(120), |connection| connection.verdict = "a\u{1b}[2Jb\nc".to_owned());
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("a\\x1b[2Jb\\x0ac"), "{text}");
    }
}
