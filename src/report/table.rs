//! The table of connections, in columns whose widths follow from the page alone, so that rows can be written as they come.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem;
use std::net::{IpAddr, SocketAddr};

use super::clock;
use super::style::{Charset, Clock, Paint, Style};
use super::summary::skipped;
use super::text::{Line, counted, digits, each_wrapped, fill, head, push_end, shown, width};
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
    paints: Paints,
    zone: String,
    /// Room for one row, kept from one to the next.
    text: String,
    /// Room for one cell, or for what is told below the row.
    cell: String,
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
        // A number that is cut could not be given to -c: there may be millions.
        let id = if columns < 60 { 5 } else { 7 };
        let mut chosen = vec![(Column::Id, id), (Column::Client, end), (Column::Server, end)];
        let mut below = Vec::new();
        let optional: [(Column, usize, usize); 5] = [
            (Column::Duration, 8, 99),
            (Column::Sent, 8, 117),
            (Column::Received, 8, 117),
            (Column::ClientState, 12, 90),
            (Column::ServerState, 12, 90),
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
        Self {
            style: *style,
            columns: chosen,
            below,
            origin: None,
            names: BTreeMap::new(),
            paints: Paints::of(style),
            zone: clock::zone(style),
            text: String::new(),
            cell: String::new(),
        }
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
    pub fn row(&mut self, out: &mut dyn Write, connection: &Connection) -> io::Result<()> {
        let (mut text, mut cell) = (mem::take(&mut self.text), mem::take(&mut self.cell));
        text.clear();
        let verdict = shown(&connection.verdict, &self.style);
        self.cells(&mut text, &mut cell, connection, &verdict);
        self.rest(&mut text, &mut cell, connection, &verdict);
        let written = out.write_all(text.as_bytes());
        (self.text, self.cell) = (text, cell);
        written
    }

    /// Writes what has columns; `cell` is room for what is aligned to the right.
    fn cells(&self, text: &mut String, cell: &mut String, connection: &Connection, verdict: &str) {
        for (at, (column, columns)) in self.columns.iter().enumerate() {
            if at > 0 {
                fill(text, GAP);
            }
            cell.clear();
            match column {
                Column::Id => digits(cell, connection.id.0),
                Column::Began => self.push_began(cell, connection),
                Column::Duration => self.push_duration(cell, connection),
                Column::Sent => push_quantity(cell, connection.client_to_server.octets),
                Column::Received => push_quantity(cell, connection.server_to_client.octets),
                Column::Client => {
                    self.left(text, &self.paints.client, self.end(cell, connection.client, *columns), *columns);
                    continue;
                }
                Column::Server => {
                    self.left(text, &self.paints.server, self.end(cell, connection.server, *columns), *columns);
                    continue;
                }
                Column::ClientState | Column::ServerState => {
                    let state =
                        if *column == Column::ClientState { connection.client_state } else { connection.server_state };
                    match state {
                        Some(state) => self.left(text, &self.paints.plain, state.name(), *columns),
                        None => self.left(text, &self.paints.dim, "-", *columns),
                    }
                    continue;
                }
                Column::Ending => {
                    let marks = match connection.ending {
                        Ending::Fin => &self.paints.plain,
                        Ending::Open | Ending::HalfClosed => &self.paints.dim,
                        Ending::Reset | Ending::Refused | Ending::Unanswered => &self.paints.bad,
                    };
                    self.left(text, marks, connection.ending.name(), *columns);
                    continue;
                }
                Column::Verdict => {
                    self.left(text, &self.paints.plain, verdict, *columns);
                    continue;
                }
            }
            self.right(text, cell, *columns);
        }
        text.truncate(text.trim_end_matches(' ').len());
        text.push('\n');
    }

    /// Tells below the row what has no column; `said` is room for it.
    fn rest(&self, text: &mut String, said: &mut String, connection: &Connection, verdict: &str) {
        if self.below.is_empty() {
            return;
        }
        said.clear();
        let named = |state: Option<State>| state.map_or("unknown", State::name);
        for column in &self.below {
            let lasted = connection.first.is_some() && connection.last.is_some();
            if *column == Column::Received || *column == Column::Duration && !lasted {
                continue;
            }
            if !said.is_empty() {
                said.push_str("; ");
            }
            match column {
                Column::Began => {
                    let of_day = self.style.clock == Clock::TimeOfDay;
                    said.push_str(if of_day { "began " } else { "began at " });
                    self.push_began(said, connection);
                    said.push(' ');
                    said.push_str(if of_day { &self.zone } else { "s" });
                }
                Column::Duration => self.push_duration(said, connection),
                Column::Sent => {
                    said.push_str("octets ");
                    push_quantity(said, connection.client_to_server.octets);
                    said.push(' ');
                    said.push_str(self.style.glyphs().becomes);
                    said.push(' ');
                    push_quantity(said, connection.server_to_client.octets);
                }
                Column::ClientState => {
                    said.push_str("client in ");
                    said.push_str(named(connection.client_state));
                }
                Column::ServerState => {
                    said.push_str("server in ");
                    said.push_str(named(connection.server_state));
                }
                Column::Verdict => said.push_str(verdict),
                Column::Received | Column::Id | Column::Client | Column::Server | Column::Ending => {}
            }
        }
        let room = self.style.columns().saturating_sub(INDENT);
        let (before, after) = &self.paints.plain;
        each_wrapped(said, room, self.style.glyphs().ellipsis, |line| {
            text.push_str(before);
            fill(text, INDENT);
            text.push_str(line);
            text.push_str(after);
            text.push('\n');
        });
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
    fn push_began(&self, out: &mut String, connection: &Connection) {
        match connection.first.zip(self.origin) {
            Some((first, origin)) => clock::push_dated(out, first, origin, &self.style),
            None => out.push('-'),
        }
    }

    /// From its first segment to its last, where both are known.
    fn push_duration(&self, out: &mut String, connection: &Connection) {
        let micro = if self.style.charset == Charset::Unicode { "µ" } else { "u" };
        if let Some((first, last)) = connection.first.zip(connection.last) {
            clock::push_duration(out, last.since(first), micro);
        }
    }

    /// An end in its column: cut in the middle where it is too long, so that the port stays.
    fn end<'a>(&self, cell: &'a mut String, end: SocketAddr, columns: usize) -> &'a str {
        match self.names.get(&end.ip()) {
            Some(name) => {
                cell.push_str(&shown(name, &self.style));
                cell.push(':');
                digits(cell, end.port().into());
            }
            None => push_end(cell, end),
        }
        if width(cell) > columns {
            let ellipsis = self.style.glyphs().ellipsis;
            let colon = cell.rfind(':').unwrap_or(cell.len());
            // The port is ASCII, and so as wide as it is long.
            let room = columns.saturating_sub(cell.len() - colon + width(ellipsis));
            let kept = head(cell, room).0.len().min(colon);
            cell.replace_range(kept..colon, ellipsis);
        }
        cell
    }

    /// Adds a cell of that many columns, its text to the left.
    fn left(&self, text: &mut String, (before, after): &Marks, cell: &str, columns: usize) {
        let (cell, ellipsis, gap) = self.fitted(cell, columns);
        text.push_str(before);
        text.push_str(cell);
        text.push_str(ellipsis);
        text.push_str(after);
        fill(text, gap);
    }

    /// Adds a cell of that many columns, its text to the right.
    fn right(&self, text: &mut String, cell: &str, columns: usize) {
        let (cell, ellipsis, gap) = self.fitted(cell, columns);
        fill(text, gap);
        text.push_str(cell);
        text.push_str(ellipsis);
    }

    /// As much of `cell` as fits, the ellipsis where something was cut, and how many columns are left.
    fn fitted<'a>(&self, cell: &'a str, columns: usize) -> (&'a str, &'static str, usize) {
        let whole = width(cell);
        if whole <= columns {
            return (cell, "", columns - whole);
        }
        let ellipsis = self.style.glyphs().ellipsis;
        let (cell, used) = head(cell, columns.saturating_sub(width(ellipsis)));
        (cell, ellipsis, columns.saturating_sub(used + width(ellipsis)))
    }
}

/// What stands before a text in a paint, and what after it.
type Marks = (String, String);

/// The paints of a row's cells, made once for all rows.
#[derive(Clone, Debug)]
struct Paints {
    plain: Marks,
    client: Marks,
    server: Marks,
    dim: Marks,
    bad: Marks,
}

impl Paints {
    fn of(style: &Style) -> Self {
        Self {
            plain: style.marks(Paint::Plain),
            client: style.marks(Paint::Client),
            server: style.marks(Paint::Server),
            dim: style.marks(Paint::Dim),
            bad: style.marks(Paint::Bad),
        }
    }
}

/// A number in at most eight columns: whole below 100 million, then in the largest unit that keeps four digits.
fn push_quantity(out: &mut String, n: u64) {
    if n < 100_000_000 {
        return digits(out, n);
    }
    let units = [(1_000_000_000_000_000, "P"), (1_000_000_000_000, "T"), (1_000_000_000, "G"), (1_000_000, "M")];
    let (unit, name) = units.into_iter().find(|(unit, _)| n / unit >= 10).unwrap_or((1_000_000, "M"));
    digits(out, n / unit);
    out.push(' ');
    out.push_str(name);
}

/// Spaces between columns.
const GAP: usize = 1;

/// Spaces before what stands below a row.
const INDENT: usize = 6;

#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::report::sample;
    use crate::report::style::Color;
    use crate::time::Span;

    fn drawn(style: &Style, change: impl Fn(&mut Connection)) -> String {
        let mut story = sample::echo();
        change(&mut story.connections[0]);
        story.totals.skipped.not_tcp = 3;
        let mut out = Vec::new();
        let mut table = Table::new(style);
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
                let (mut table, mut out) = (Table::timed(&style, origin), Vec::new());
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
            let (mut table, mut out) = (Table::new(&Style::plain(120)).with_names(names), Vec::new());
            table.row(&mut out, &story.connections[0]).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.contains(told), "{told}\n{text}");
            assert!(text.lines().all(|line| line.width() <= 120), "{text}");
        }
    }

    #[test]
    fn quantities_fit_their_column() {
        let of = [0, 99_999_999, 100_000_000, 12_345_678_901, u64::MAX].map(|n| {
            let mut out = String::new();
            push_quantity(&mut out, n);
            out
        });
        assert_eq!(of, ["0", "99999999", "100 M", "12 G", "18446 P"]);
    }

    #[test]
    fn a_verdict_cannot_move_the_cursor() {
        let text = drawn(&Style::plain(120), |connection| connection.verdict = "a\u{1b}[2Jb\nc".to_owned());
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("a\\x1b[2Jb\\x0ac"), "{text}");
    }
    /// Every page there is, with and without colour, in both charsets, with each clock and without.
    fn pages() -> Vec<Table> {
        let mut pages = Vec::new();
        for width in 40..=200 {
            for (color, charset) in [
                (Color::Never, Charset::Unicode),
                (Color::Never, Charset::Ascii),
                (Color::Always, Charset::Unicode),
                (Color::Always, Charset::Ascii),
            ] {
                let style = Style { color, charset, ..Style::plain(width) };
                pages.push(Table::new(&style));
                for (clock, utc_offset) in
                    [(Clock::Elapsed, 0), (Clock::TimeOfDay, 0), (Clock::TimeOfDay, -12_600), (Clock::Epoch, 0)]
                {
                    let style = Style { clock, utc_offset, ..style };
                    pages.push(Table::timed(&style, Timestamp::from_parts(1_795_223_276, 320_071_123)));
                }
            }
        }
        pages
    }

    fn names() -> BTreeMap<IpAddr, String> {
        let named = [
            ("10.0.0.1", "host.example"),
            ("10.0.0.2", "a.name.that.is.longer.than.any.column.of.the.table.example"),
            ("10.0.0.3", "名前名前名前名前名前名前名前名前名前"),
            ("10.0.0.4", "a\u{1b}[2Jb"),
            ("10.0.0.5", "name:with:colons:and:so:on:and:on:and:on"),
            ("10.0.0.6", "cafe\u{301}.example.of.marks\u{301}\u{301}"),
            ("10.0.0.7", "→→→→→→→→→→→→→→→→→→→→→→→→→→→→"),
        ];
        named.into_iter().map(|(address, name)| (address.parse().unwrap(), name.to_owned())).collect()
    }

    fn same(table: &mut Table, connection: &Connection) -> Result<(), TestCaseError> {
        let (mut written, mut wanted) = (Vec::new(), Vec::new());
        table.row(&mut written, connection).unwrap();
        table.reference_row(&mut wanted, connection).unwrap();
        let (written, wanted) = (String::from_utf8(written).unwrap(), String::from_utf8(wanted).unwrap());
        prop_assert_eq!(written, wanted, "{:?}", table.style);
        Ok(())
    }

    #[test]
    fn rows_are_those_that_are_put_together_piece_by_piece() {
        let base = sample::echo().connections.remove(0);
        let ends = [
            "1.2.3.4:5",
            "255.255.255.255:65535",
            "[::]:0",
            "[::1]:80",
            "[fe80::1%3]:443",
            "[::ffff:10.1.2.3]:8080",
            "[2001:db8::1]:443",
            "[2001:db8:1111:2222:3333:4444:5555:6666]:50634",
            "10.0.0.1:1",
            "10.0.0.2:22",
            "10.0.0.3:333",
            "10.0.0.4:4444",
            "10.0.0.5:55555",
            "10.0.0.6:6",
            "10.0.0.7:77",
        ];
        let verdicts = [
            "",
            " ",
            "Unanswered: one SYN, and nothing came back.",
            "Closed normally: the client sent the first FIN and ends in TIME-WAIT.",
            "Reset by the server 12.3 µs after the SYN, with octets → unread.",
            "two  spaces, and at the end ",
            " one at the beginning, and then a long sentence that takes more than one line of any page, to be cut or wrapped by it.",
            "AWordThatIsLongerThanAnyPageIsWideSoThatItIsCutWhereverItStandsAndNothingFollowsItOnTheSameLineUnlessThereIsRoomForIt_________________________________________________ and more",
            "before AWordThatIsLongerThanAnyPageIsWideSoThatItIsCutWhereverItStandsAndNothingFollowsItOnTheSameLineUnlessThereIsRoomForIt_________________________________________________ and more",
            "a\u{1b}[2Jb\nc\u{202e}\u{1680}d",
            "名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前",
            "a – b … c",
        ];
        let moments = [
            (None, None),
            (Some(0), None),
            (Some(0), Some(0)),
            (Some(1_795_223_276_320_071_123), Some(1_795_223_276_320_371_200)),
            (Some(1_795_223_276_320_071_123), Some(1_795_223_286_320_071_123)),
            (Some(1_795_223_276_320_071_124), Some(1_795_223_276_320_071_123)),
            (Some(-1), Some(99_999_999_999)),
            (Some(i64::MIN), Some(i64::MAX)),
            (Some(i64::MAX), Some(i64::MIN)),
        ];
        let endings =
            [Ending::Fin, Ending::Reset, Ending::Refused, Ending::Unanswered, Ending::HalfClosed, Ending::Open];
        let states: Vec<_> = State::ALL.into_iter().map(Some).chain([None]).collect();
        let octets = [0, 7, 99_999_999, 100_000_000, 12_345_678_901, u64::MAX];
        let ids = [0, 99_999, 100_000, u64::MAX];
        // Each by itself steps through its list; their lengths have little in common, so that pairs differ.
        for (page, mut table) in pages().into_iter().enumerate() {
            if page % 3 == 0 {
                table = table.with_names(names());
            }
            for at in (0..verdicts.len().max(ends.len())).map(|step| page + step) {
                let mut connection = base.clone();
                connection.id.0 = ids[at % ids.len()];
                connection.client = ends[at % ends.len()].parse().unwrap();
                connection.server = ends[(at + page / 7) % ends.len()].parse().unwrap();
                connection.verdict = verdicts[at % verdicts.len()].to_owned();
                let (first, last) = moments[(at + page / 5) % moments.len()];
                connection.first = first.map(Timestamp::from_nanos);
                connection.last = last.map(Timestamp::from_nanos);
                connection.ending = endings[at % endings.len()];
                connection.client_state = states[at % states.len()];
                connection.server_state = states[(at + page) % states.len()];
                connection.client_to_server.octets = octets[at % octets.len()];
                connection.server_to_client.octets = octets[(at + page / 3) % octets.len()];
                same(&mut table, &connection).unwrap();
            }
        }
    }

    proptest! {
        #[test]
        fn rows_are_the_same_whatever_is_in_them(
            width in 40usize..200,
            look in 0usize..20,
            id in any::<u64>(),
            client in any::<SocketAddr>(),
            server in any::<SocketAddr>(),
            moments in any::<(Option<i64>, i64)>(),
            digits in 0u32..20,
            octets in any::<(u64, u64)>(),
            verdict in prop_oneof!["[a-z,;.µ→ ]{0,200}", ".{0,120}", "([A-Za-z0-9,.-]{1,12} ){0,20}[a-z]{1,9}"],
            name in prop_oneof![Just(None), ".{0,40}".prop_map(Some)],
        ) {
            let (color, charset) = ([Color::Never, Color::Always][look % 2], [Charset::Unicode, Charset::Ascii][look / 2 % 2]);
            let clock = [Clock::Elapsed, Clock::TimeOfDay, Clock::Epoch][look / 4 % 3];
            let style = Style { color, charset, clock, ..Style::plain(width) };
            let mut connection = sample::echo().connections.remove(0);
            let origin = Timestamp::from_nanos(moments.1);
            connection.id.0 = id >> (id % 64);
            (connection.client, connection.server, connection.verdict) = (client, server, verdict);
            connection.first = moments.0.map(Timestamp::from_nanos);
            connection.last = connection.first.map(|first| first.after(Span(10i64.saturating_pow(digits) / 7)));
            connection.client_to_server.octets = octets.0 >> (octets.1 % 64);
            connection.server_to_client.octets = octets.1 >> (octets.0 % 64);
            let mut table = if look < 8 { Table::new(&style) } else { Table::timed(&style, origin) };
            if let Some(name) = name {
                table = table.with_names(BTreeMap::from([(client.ip(), name)]));
            }
            same(&mut table, &connection)?;
            same(&mut table, &connection)?;
        }
    }
}
