//! What every row of a view needs to be drawn, beside the view.

use std::io::{self, Write};

use smallvec::smallvec;

use super::words::{self, paint_of};
use crate::calls::Call;
use crate::flow::{Connection, RolesBasis, Side};
use crate::report::clock;
use crate::report::style::{Glyphs, Paint, Style};
use crate::report::text::{Line, shown};
use crate::report::view::{Index, PerLane, Row, Slot};
use crate::share::Share;
use crate::story::{EventKind, Lookup, Phase};
use crate::tcp::State;
use crate::time::{Span, Timestamp};
use crate::wire::Tunnel;

/// What every row of a view needs to be drawn, beside the view.
pub(super) struct Sheet<'a> {
    pub(super) index: &'a Index<'a>,
    /// The connection that is drawn, as far as its summary is known.
    pub(super) connection: Option<&'a Connection>,
    /// Whether the rows are of a connection: then there is a wire, and its life has phases.
    pub(super) has_wire: bool,
    pub(super) origin: Timestamp,
    pub(super) style: &'a Style,
}

/// What the rows before have left for those that follow.
#[derive(Clone, Debug)]
pub(super) struct Pen {
    pub(super) phase: Option<Phase>,
    pub(super) states: PerLane<Option<State>>,
    /// The process that spoke last at each end.
    pub(super) speaking: [Option<Speaker>; 2],
}

impl Pen {
    pub(super) fn of(lanes: usize) -> Self {
        Self { phase: None, states: smallvec![None; lanes], speaking: [None, None] }
    }

    /// Whether a row begins a new part of the connection's life.
    pub(super) fn turns(&mut self, sheet: &Sheet<'_>, row: &Row<'_>) -> bool {
        let turns = sheet.has_wire && self.phase.is_none_or(|phase| row.phase > phase);
        if turns {
            self.phase = Some(row.phase);
        }
        turns
    }
}

/// What draws rows, one after the other.
pub(super) trait Draws: Sync {
    /// Draws the row that follows, with what goes before it.
    ///
    /// # Errors
    /// Whatever `out` answers.
    fn next(&self, out: &mut dyn Write, row: &Row<'_>, pen: &mut Pen) -> io::Result<()>;

    /// Takes a row in that is drawn elsewhere: what it leaves for those that follow.
    fn pass(&self, row: &Row<'_>, pen: &mut Pen);

    /// Draws rows after those `drawn` before; where they are many, parts of them side by side.
    ///
    /// # Errors
    /// Whatever `out` answers.
    fn all<'r, 'a>(
        &self,
        out: &mut dyn Write,
        rows: &'r [Row<'a>],
        mut pen: Pen,
        drawn: usize,
        share: &impl Share,
    ) -> io::Result<()> {
        let (drawn, rows) = rows.split_at(drawn.min(rows.len()));
        drawn.iter().for_each(|row| self.pass(row, &mut pen));
        if rows.len() < 2 * PART {
            return rows.iter().try_for_each(|row| self.next(out, row, &mut pen));
        }
        let mut parts = rows.chunks(PART);
        let begin = |part: &mut Part<'r, 'a>| {
            let Some(rows) = parts.next() else { return false };
            (part.rows, part.pen) = (rows, Some(pen.clone()));
            rows.iter().for_each(|row| self.pass(row, &mut pen));
            true
        };
        let draw = |(): &mut (), part: &mut Part<'r, 'a>| {
            part.text.clear();
            let Some(mut pen) = part.pen.take() else { return };
            let drawn = part.rows.iter().try_for_each(|row| self.next(&mut part.text, row, &mut pen));
            debug_assert!(drawn.is_ok(), "memory takes everything");
        };
        share.in_order(begin, draw, |part| out.write_all(&part.text))
    }
}

/// Rows that are drawn one after the other, with what those before have left, and what was drawn.
#[derive(Default)]
struct Part<'r, 'a> {
    rows: &'r [Row<'a>],
    pen: Option<Pen>,
    text: Vec<u8>,
}

/// How many rows a part has.
const PART: usize = 1024;

impl Sheet<'_> {
    /// The moment as its column has it, or nothing where the capture does not say.
    pub(super) fn moment(&self, at: Option<Timestamp>) -> String {
        at.map_or(String::new(), |at| clock::moment(at, self.origin, self.style))
    }

    /// The width of the moments' column.
    pub(super) fn moment_width(&self, rows: &[Row<'_>]) -> usize {
        let room = (self.style.room_until > Span(0)).then(|| self.origin.after(self.style.room_until));
        let ends = [rows.iter().filter_map(|row| row.at).min(), rows.iter().filter_map(|row| row.at).max(), room];
        ends.into_iter().map(|at| self.moment(at).len()).max().unwrap_or(0).max(clock::unit(self.style).len())
    }

    /// Who talks with whom, and when it began.
    pub(super) fn title(&self, out: &mut dyn Write) -> io::Result<()> {
        let Some(connection) = self.connection else { return Ok(()) };
        let (glyphs, columns) = (self.style.glyphs(), self.style.columns());
        let mut line = Line::of(Paint::ClientStrong, connection.client.to_string());
        line.push(Paint::Plain, format!(" {} ", glyphs.becomes));
        line.push(Paint::ServerStrong, connection.server.to_string());
        let id = Line::of(Paint::Dim, format!("  connection {}", connection.id.0));
        let date = Line::of(Paint::Dim, format!("  {}", clock::date(self.origin, self.style)));
        // Without a SYN, who is the client is concluded.
        let roles = match connection.roles_basis {
            RolesBasis::Syn | RolesBasis::SynAck => Line::default(),
            RolesBasis::Port => Line::of(Paint::Dim, "  ~roles by port"),
            RolesBasis::FirstSegment => Line::of(Paint::Dim, "  ~client sent first"),
        };
        for part in [id, roles, date] {
            if line.width() + part.width() > columns {
                line.cut(columns, glyphs.ellipsis).write(out, self.style)?;
                line = Line::default();
            }
            line.append(part);
        }
        line.cut(columns, glyphs.ellipsis).write(out, self.style)?;
        self.tunnels(connection, out)
    }

    /// What the connection's segments came in: those of both ends on one line where that is the same tunnel there and back.
    pub(super) fn tunnels(&self, connection: &Connection, out: &mut dyn Write) -> io::Result<()> {
        let first = |side: Side| {
            let segments = self.index.events_of(Some(connection.id)).iter().filter_map(|event| match &event.kind {
                EventKind::Segment(segment) => Some(segment),
                _ => None,
            });
            segments.into_iter().find(|segment| segment.from == side).map(|segment| &segment.tunnel[..])
        };
        let [client, server] = [Side::Client, Side::Server].map(first);
        // A mirror port sends both directions to the same end.
        let is_same = |(there, back): (&Tunnel, &Tunnel)| {
            there.is(back) && (there.ends == back.ends || there.ends == back.ends.map(|(src, dst)| (dst, src)))
        };
        let ways = match (client, server) {
            (Some(there), Some(back)) if there.len() == back.len() && there.iter().zip(back).all(is_same) => {
                vec![("in", there)]
            }
            _ => [("client in", client), ("server in", server)]
                .into_iter()
                .filter_map(|(who, way)| Some((who, way?)))
                .collect(),
        };
        for (who, tunnels) in ways.into_iter().filter(|(_, tunnels)| !tunnels.is_empty()) {
            let line = Line::of(Paint::Dim, format!("{who} {}", words::tunnels(tunnels, self.style)));
            line.cut(self.style.columns(), self.style.glyphs().ellipsis).write(out, self.style)?;
        }
        Ok(())
    }

    /// The process that makes an end's calls, if one was watched.
    pub(super) fn process(&self, side: Side) -> Option<Speaker> {
        let own = self.index.events_of(Some(self.connection?.id));
        own.iter().find_map(|event| match &event.kind {
            EventKind::Call(call) if call.side == Some(side) => Speaker::turn(None, self.index.known, &call.call),
            _ => None,
        })
    }
}

/// A process as its calls name it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Speaker {
    comm: String,
    pid: u32,
}

impl Speaker {
    /// The process that makes a call, unless it is the one that spoke last.
    pub(super) fn turn(last: Option<&Self>, known: &dyn Lookup, call: &Call) -> Option<Self> {
        let (thread, process) = known.threads().get(call.thread())?;
        let is_same = last.is_some_and(|last| last.pid == process.pid && last.comm == thread.comm);
        (!is_same).then(|| Self { comm: thread.comm.clone(), pid: process.pid })
    }

    /// As `comm (pid)`.
    pub(super) fn shown(&self, style: &Style) -> String {
        format!("{} ({})", shown(&self.comm, style), self.pid)
    }
}

/// The lines beside open calls, on the `at`-th line of a row.
pub(super) fn slots(glyphs: &Glyphs, slots: &[Slot], at: usize, side: Side) -> Line {
    let mut line = Line::default();
    for slot in slots {
        let symbol = match (slot, at) {
            (Slot::Opens, 0) => glyphs.opens,
            (Slot::Closes, 0) => glyphs.closes,
            (Slot::Hangs, 0) => glyphs.hangs,
            (Slot::Opens | Slot::Waits, _) => glyphs.waits,
            (Slot::Free | Slot::Closes | Slot::Hangs, _) => " ",
        };
        line.push(paint_of(side), format!("{symbol} "));
    }
    line
}
