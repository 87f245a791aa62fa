//! The table of connections, in columns whose widths follow from the page alone, so that rows can be written as they come.

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::mem;
use std::net::{IpAddr, SocketAddr};

use super::clock;
use super::field::Field;
use super::style::{Charset, Clock, Paint, Style};
use super::summary::{disorder, skipped};
use super::text::{Line, counted, digits, each_wrapped, fill, head, push_end, shown, spaces, width};
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

impl Column {
    /// Its heading, and how what it shows is named below a row: the list of fields says.
    const fn heading(self) -> &'static str {
        match self {
            Self::Id => const { Field::heading("id") },
            Self::Began => const { Field::heading("first") },
            Self::Client => const { Field::heading("client") },
            Self::Server => const { Field::heading("server") },
            Self::Duration => const { Field::heading("duration_ns") },
            Self::Sent => const { Field::heading("client_to_server.octets") },
            Self::Received => const { Field::heading("server_to_client.octets") },
            Self::ClientState => const { Field::heading("client_state") },
            Self::ServerState => const { Field::heading("server_state") },
            Self::Ending => const { Field::heading("ending") },
            Self::Verdict => const { Field::heading("verdict") },
        }
    }
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
            let heading = column.heading();
            let name = match column {
                Column::Began => format!("{heading} ({})", clock::unit(&self.style)),
                Column::Sent => format!("{heading}{becomes}"),
                Column::Received => format!("{}{heading}", self.style.glyphs().because),
                _ => heading.to_owned(),
            };
            Line::of(Paint::Strong, name)
        })
    }

    /// Writes one connection.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn row(&mut self, out: &mut dyn Write, connection: &Connection) -> io::Result<()> {
        let wording = self.style.wording();
        let is_whole = self.below.contains(&Column::Verdict);
        let verdict = if is_whole { wording.ending(connection) } else { wording.brief(connection) };
        self.row_with(out, connection, &verdict)
    }

    /// Writes one connection, with that said of it.
    fn row_with(&mut self, out: &mut dyn Write, connection: &Connection, verdict: &str) -> io::Result<()> {
        let (mut text, mut cell) = (mem::take(&mut self.text), mem::take(&mut self.cell));
        text.clear();
        let verdict = shown(verdict, &self.style);
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
            let lasted = connection.duration().is_some();
            if *column == Column::Received || *column == Column::Duration && !lasted {
                continue;
            }
            if !said.is_empty() {
                said.push_str("; ");
            }
            match column {
                Column::Began => {
                    let of_day = self.style.clock == Clock::TimeOfDay;
                    said.push_str(column.heading());
                    said.push_str(if of_day { " " } else { " at " });
                    self.push_began(said, connection);
                    said.push(' ');
                    said.push_str(if of_day { &self.zone } else { "s" });
                }
                Column::Duration => self.push_duration(said, connection),
                Column::Sent => {
                    said.push_str(column.heading());
                    said.push(' ');
                    push_quantity(said, connection.client_to_server.octets);
                    said.push(' ');
                    said.push_str(self.style.glyphs().becomes);
                    said.push(' ');
                    push_quantity(said, connection.server_to_client.octets);
                }
                Column::ClientState => {
                    said.push_str(column.heading());
                    said.push(' ');
                    said.push_str(named(connection.client_state));
                }
                Column::ServerState => {
                    said.push_str(column.heading());
                    said.push(' ');
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
        if let Some(disorder) = disorder(totals) {
            said.push_str(&format!("; {disorder}"));
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
                line.push(Paint::Plain, spaces(GAP));
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
        if let Some(lasted) = connection.duration() {
            clock::push_duration(out, lasted, micro);
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
