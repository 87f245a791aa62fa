//! The timeline: a story drawn as a ladder of calls, segments and states, or as compact lines where it is narrow.

mod compact;
mod ladder;
mod plan;
mod words;

use std::collections::BTreeSet;
use std::io::{self, Write};

use self::plan::{Index, Row, What};
use super::clock;
use super::style::{Paint, Style};
use super::summary;
use super::text::{Line, escape, wrap};
use crate::calls::Process;
use crate::flow::{Connection, ConnectionId, Event, EventKind, Side, Story};
use crate::kernel::Witness;
use crate::time::Timestamp;

/// Writes the timeline of the connections in `chosen`, or of all when it is empty, with a summary and a legend.
///
/// From [`Style::LADDER`] columns on each connection is a ladder, below that a list of compact lines.
/// With one connection in the story, the calls of its listening socket stand in the ladder at their time.
/// With several they come first, in a part of their own, and then each connection has its ladder.
///
/// # Errors
/// Whatever `out` answers.
pub fn write(out: &mut dyn Write, story: &Story, chosen: &[ConnectionId], style: &Style) -> io::Result<()> {
    let index = Index::new(story);
    let connections = index.chosen(chosen);
    let mut used = Used::default();
    let alone = story.connections.len() <= 1;
    if !alone || connections.is_empty() {
        let rows = plan::rows(&index, |event| event.connection.is_none());
        if !rows.is_empty() {
            let title = if alone { "calls of sockets without a connection" } else { "sockets of no one connection" };
            Line::of(Paint::Strong, title).cut(style.columns(), style.glyphs().ellipsis).write(out, style)?;
            let view = View { index: &index, connection: None, origin: origin(story, |_| true), style };
            draw(out, &view, &rows, &mut used)?;
            writeln!(out)?;
        }
    }
    for connection in &connections {
        let wanted = |event: &Event| event.connection == Some(connection.id) || (alone && event.connection.is_none());
        let rows = plan::rows(&index, wanted);
        let view = View { index: &index, connection: Some(connection), origin: origin(story, wanted), style };
        view.title(out)?;
        draw(out, &view, &rows, &mut used)?;
        writeln!(out)?;
        summary::write(out, story, connection, style)?;
        writeln!(out)?;
    }
    summary::totals(out, &story.totals, style)?;
    used.legend(out, style)
}

/// What every row of one ladder needs to be drawn.
struct View<'a> {
    index: &'a Index<'a>,
    connection: Option<&'a Connection>,
    origin: Timestamp,
    style: &'a Style,
}

impl View<'_> {
    /// The moment as its column has it, or nothing where the capture does not say.
    fn moment(&self, at: Option<Timestamp>) -> String {
        at.map_or(String::new(), |at| clock::moment(at, self.origin, self.style))
    }

    /// The width of the moments' column.
    fn moment_width(&self, rows: &[Row<'_>]) -> usize {
        let ends = [rows.iter().filter_map(|row| row.at).min(), rows.iter().filter_map(|row| row.at).max()];
        ends.into_iter().map(|at| self.moment(at).len()).max().unwrap_or(0).max("seconds".len())
    }

    /// Who talks with whom, and when it began.
    fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(connection) = self.connection else { return Ok(()) };
        let (glyphs, columns) = (self.style.glyphs(), self.style.columns());
        let mut line = Line::of(Paint::ClientStrong, connection.client.to_string());
        line.push(Paint::Plain, format!(" {} ", glyphs.becomes));
        line.push(Paint::ServerStrong, connection.server.to_string());
        let id = Line::of(Paint::Dim, format!("  connection {}", connection.id.0));
        let date = Line::of(Paint::Dim, format!("  {}", clock::date(self.origin, self.style)));
        for part in [id, date] {
            if line.width() + part.width() > columns {
                line.cut(columns, glyphs.ellipsis).write(out, self.style)?;
                line = Line::default();
            }
            line.append(part);
        }
        line.cut(columns, glyphs.ellipsis).write(out, self.style)
    }

    /// The process that makes an end's calls, as `comm (pid)`, if one was watched.
    fn process(&self, side: Side) -> Option<String> {
        let id = self.connection?.id;
        let of_end = |event: &Event| match &event.kind {
            EventKind::Call(call) if call.side == Some(side) && event.connection == Some(id) => {
                Some(call.call.process.clone())
            }
            _ => None,
        };
        let Process { pid, comm, .. } = self.index.story.events.iter().find_map(of_end)?;
        Some(format!("{} ({pid})", escape(&comm, self.style)))
    }
}

fn draw(out: &mut dyn Write, view: &View<'_>, rows: &[Row<'_>], used: &mut Used) -> io::Result<()> {
    for row in rows {
        used.see(row);
    }
    if view.style.columns() >= Style::LADDER {
        ladder::draw(out, view, rows)
    } else {
        used.compact = true;
        compact::draw(out, view, rows)
    }
}

fn origin(story: &Story, wanted: impl Fn(&Event) -> bool) -> Timestamp {
    let first = story.events.iter().filter(|event| wanted(event)).filter_map(|event| event.at).min();
    first.unwrap_or_else(|| Timestamp::from_nanos(0))
}

/// Which marks a timeline used, for its legend.
#[derive(Default)]
struct Used {
    witnesses: BTreeSet<Witness>,
    inferred: bool,
    opened: bool,
    answered: bool,
    kernel: bool,
    segments: bool,
    compact: bool,
}

impl Used {
    fn see(&mut self, row: &Row<'_>) {
        for moved in &row.moves {
            if plan::is_inferred(moved.transition) {
                self.inferred = true;
            } else {
                self.witnesses.extend(&moved.transition.evidence);
            }
        }
        match &row.what {
            What::Call { call, form, .. } => {
                self.opened |= *form == plan::Form::Entry;
                self.answered |= call.completed_by.is_some();
            }
            What::Segment(segment) => {
                self.segments = true;
                self.inferred |= segment.cause.inferred;
                self.kernel |= segment.cause.kernel.is_some();
            }
            What::Timer(_) => {
                self.witnesses.insert(Witness::SockDiag);
            }
            What::Moves => {}
        }
    }

    fn legend(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let glyphs = style.glyphs();
        let mut parts = Vec::new();
        if self.compact && self.segments {
            parts.push("C client, S server; * a state that this line changed".to_owned());
        }
        if self.opened && !self.compact {
            let (opens, closes) = (glyphs.opens, glyphs.closes);
            parts.push(format!("{opens} a call is entered, {closes} it returns"));
        }
        if self.segments {
            parts.push("#n a frame of the capture, seq and ack count from each end's SYN".to_owned());
        }
        if self.answered {
            parts.push(format!("{} #n the segment that let the call return", glyphs.because));
        }
        if self.kernel {
            parts.push("kernel: sent without a call asking for it".to_owned());
        }
        if self.inferred {
            parts.push("~ inferred from the segments alone".to_owned());
        }
        if !self.witnesses.is_empty() {
            let named: Vec<_> =
                self.witnesses.iter().map(|w| format!("{} {}", words::mark(*w), words::witness(*w))).collect();
            parts.push(format!("[ ] who saw it: {}", named.join(", ")));
        }
        let mut line = String::new();
        let columns = style.columns();
        for part in parts {
            let joined = format!("{line}{}{part}", if line.is_empty() { "" } else { " | " });
            if unicode_width::UnicodeWidthStr::width(joined.as_str()) <= columns {
                line = joined;
                continue;
            }
            if !line.is_empty() {
                Line::of(Paint::Dim, line).write(out, style)?;
            }
            let mut lines = wrap(&part, columns, glyphs.ellipsis);
            line = lines.pop().unwrap_or_default();
            for whole in lines {
                Line::of(Paint::Dim, whole).write(out, style)?;
            }
        }
        if line.is_empty() { Ok(()) } else { Line::of(Paint::Dim, line).write(out, style) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_width::UnicodeWidthStr;

    use crate::report::{Charset, Color, sample};

    fn drawn(story: &Story, style: &Style) -> String {
        let mut out = Vec::new();
        write(&mut out, story, &[], style).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_line_is_wider_than_the_page_nor_ends_in_a_space() {
        let story = sample::echo();
        for width in Style::NARROWEST..=Style::WIDEST {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let text = drawn(&story, &Style { charset, ..Style::plain(width) });
                for line in text.lines() {
                    assert!(line.width() <= width, "{width}: {line}");
                    assert!(!line.ends_with(' '), "{width}: {line:?}");
                }
                assert!(charset == Charset::Unicode || text.is_ascii(), "{text}");
            }
        }
    }

    #[test]
    fn colour_changes_no_character() {
        let story = sample::echo();
        let plain = Style::plain(120);
        let colored = drawn(&story, &Style { color: Color::Always, ..plain });
        assert!(colored.contains("\x1b["));
        let mut bare = String::new();
        for (at, piece) in colored.split("\x1b[").enumerate() {
            bare.push_str(if at == 0 { piece } else { piece.split_once('m').unwrap().1 });
        }
        assert_eq!(bare, drawn(&story, &plain));
    }

    #[test]
    fn a_blocked_call_is_seen_to_start_and_to_return() {
        let text = drawn(&sample::echo(), &Style::plain(160));
        let line = |wanted: &str| text.lines().position(|line| line.contains(wanted)).expect(wanted);
        assert!(line("┌ accept(3,") < line("#1 SYN"));
        assert!(line("#2 SYN,ACK seq") < line("└ connect = 0 ← #2"));
        assert!(line("#3 ACK seq") < line("└ accept = 5 ← #3"));
        assert!(line("#8 FIN,ACK seq") < line("recv = 0 ← #8"));
    }

    #[test]
    fn each_compact_line_of_a_segment_names_its_cause_and_both_states() {
        let text = drawn(&sample::echo(), &Style::plain(80));
        let syn = text.lines().find(|line| line.contains("#1 SYN")).unwrap();
        assert!(syn.contains("by connect") && syn.contains("*SYN-SENT") && syn.contains(" LISTEN"), "{syn}");
    }
}
