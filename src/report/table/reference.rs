//! Rows as they are put together piece by piece, which the rows that are written must equal in every octet.

use std::io::{self, Write};
use std::net::SocketAddr;

use unicode_width::UnicodeWidthStr;

use super::{Column, INDENT, Table};
use crate::flow::{Connection, Ending};
use crate::report::clock::{civil, local, zone};
use crate::report::style::{Charset, Clock, Paint, Style};
use crate::report::text::{Line, escape, head, wrap};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

impl Table {
    /// Writes one connection.
    pub(super) fn reference_row(&self, out: &mut dyn Write, connection: &Connection, verdict: &str) -> io::Result<()> {
        let micro = if self.style.charset == Charset::Unicode { "µ" } else { "u" };
        self.line(out, |column| match column {
            Column::Id => Line::of(Paint::Plain, connection.id.0.to_string()),
            Column::Began => Line::of(Paint::Plain, self.reference_began(connection)),
            Column::Client => Line::of(Paint::Client, self.reference_end(connection.client)),
            Column::Server => Line::of(Paint::Server, self.reference_end(connection.server)),
            Column::Duration => {
                let lasted = connection.duration();
                Line::of(Paint::Plain, lasted.map_or(String::new(), |lasted| duration(lasted, micro)))
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
            Column::Verdict => Line::of(Paint::Plain, escape(verdict, &self.style)),
        })?;
        self.reference_rest(out, connection, verdict, micro)
    }

    /// Tells below the row what has no column.
    fn reference_rest(
        &self,
        out: &mut dyn Write,
        connection: &Connection,
        verdict: &str,
        micro: &str,
    ) -> io::Result<()> {
        if self.below.is_empty() {
            return Ok(());
        }
        let named = |state: Option<State>| state.map_or("unknown", State::name);
        let parts = self.below.iter().filter_map(|column| match column {
            Column::Began if self.style.clock == Clock::TimeOfDay => {
                Some(format!("began {} {}", self.reference_began(connection), zone(&self.style)))
            }
            Column::Began => Some(format!("began at {} s", self.reference_began(connection))),
            Column::Duration => {
                let lasted = connection.duration();
                lasted.map(|lasted| duration(lasted, micro))
            }
            Column::Sent => Some(format!(
                "octets {} {} {}",
                quantity(connection.client_to_server.octets),
                self.style.glyphs().becomes,
                quantity(connection.server_to_client.octets)
            )),
            Column::ClientState => Some(format!("client in {}", named(connection.client_state))),
            Column::ServerState => Some(format!("server in {}", named(connection.server_state))),
            Column::Verdict => Some(escape(verdict, &self.style)),
            Column::Received | Column::Id | Column::Client | Column::Server | Column::Ending => None,
        });
        let text = parts.collect::<Vec<_>>().join("; ");
        let room = self.style.columns().saturating_sub(INDENT);
        for text in wrap(&text, room, self.style.glyphs().ellipsis) {
            Line::of(Paint::Plain, format!("{:INDENT$}{text}", "")).write(out, &self.style)?;
        }
        Ok(())
    }

    /// When its first segment was captured.
    fn reference_began(&self, connection: &Connection) -> String {
        let Some((first, origin)) = connection.first.zip(self.origin) else { return "-".to_owned() };
        dated(first, origin, &self.style)
    }

    /// An end in its column: cut in the middle where it is too long, so that the port stays.
    fn reference_end(&self, end: SocketAddr) -> String {
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
        format!("{}{ellipsis}{port}", head(&text, keep).0)
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

/// The moment in the timeline's column: seconds and microseconds since `origin`, or the time of day.
fn moment(at: Timestamp, origin: Timestamp, style: &Style) -> String {
    match style.clock {
        Clock::Elapsed => elapsed(at.since(origin)),
        Clock::TimeOfDay => time_of_day(at, style, 6),
        Clock::Epoch => elapsed(Span(at.as_nanos())),
    }
}

/// The moment by itself: as [`moment`], but with its date.
fn dated(at: Timestamp, origin: Timestamp, style: &Style) -> String {
    match style.clock {
        Clock::TimeOfDay => {
            let (year, month, day) = civil(local(at, style).0);
            format!("{year:04}-{month:02}-{day:02} {}", time_of_day(at, style, 6))
        }
        Clock::Elapsed | Clock::Epoch => moment(at, origin, style),
    }
}

/// Seconds with microseconds: `0.000612`.
fn elapsed(span: Span) -> String {
    let micros = span.as_nanos().unsigned_abs() / 1_000;
    let sign = if span.as_nanos() < 0 && micros > 0 { "-" } else { "" };
    format!("{sign}{}.{:06}", micros / 1_000_000, micros % 1_000_000)
}

/// Time of day with that many decimals of a second, cut, not rounded.
fn time_of_day(at: Timestamp, style: &Style, decimals: usize) -> String {
    let (_, nanos) = local(at, style);
    let seconds = nanos / 1_000_000_000;
    let mut text = format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60);
    if decimals > 0 {
        let fraction = format!("{:09}", nanos % 1_000_000_000);
        text.push('.');
        text.push_str(&fraction[..decimals.min(9)]);
    }
    text
}

/// A duration with three significant digits and its unit: `30.1 µs`, `432 ms`, `59.9 s`; minutes from 100 s on.
fn duration(span: Span, micro: &str) -> String {
    let nanos = span.as_nanos();
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let text = match n {
        0..1_000 => format!("{n} ns"),
        1_000..1_000_000 => format!("{} {micro}s", three(n, 1_000)),
        1_000_000..1_000_000_000 => format!("{} ms", three(n, 1_000_000)),
        1_000_000_000..100_000_000_000 => format!("{} s", three(n, 1_000_000_000)),
        _ => {
            let seconds = n / 1_000_000_000;
            match seconds / 3600 {
                0 => format!("{} min {:02} s", seconds / 60, seconds % 60),
                hours => format!("{hours} h {:02} min", seconds / 60 % 60),
            }
        }
    };
    format!("{sign}{text}")
}

/// `n / unit` cut to three significant digits; `n / unit` is below 1000.
fn three(n: u64, unit: u64) -> String {
    let whole = n / unit;
    match whole {
        0..10 => format!("{whole}.{:02}", n % unit * 100 / unit),
        10..100 => format!("{whole}.{}", n % unit * 10 / unit),
        _ => whole.to_string(),
    }
}
