//! The ladder: client left, wire in the middle, server right, time in a column of its own.

use std::borrow::Cow;
use std::io::{self, Write};

use super::sheet::{Draws, Pen, Sheet, Speaker, slots};
use super::words::{self, CallWords, Said, SegmentWords, paint_of};
use crate::calls::Effect;
use crate::flow::Side;
use crate::report::style::{Glyphs, Paint, Style};
use crate::report::text::{Columns as _, Line, escape, spaces, wrap, write_beside};
use crate::report::view::{Form, LaneId, Moved, Row, Slot, View, What};
use crate::share::Share;
use crate::story::Phase;
use crate::tcp::State;

/// Draws the rows after those `drawn` before, the first ones under a head, with a rule before each phase.
pub(super) fn draw(
    out: &mut dyn Write,
    sheet: &Sheet<'_>,
    view: &View<'_>,
    drawn: usize,
    share: &impl Share,
) -> io::Result<()> {
    let page = Page::new(sheet, view);
    if drawn == 0 {
        page.head(out)?;
    }
    let mut pen = Pen::of(view.lanes.len());
    pen.speaking = [Side::Client, Side::Server].map(|side| sheet.process(side));
    // What was drawn before still tells in which phase and state the rest begins.
    page.all(out, &view.rows, pen, drawn, share)
}

/// Where the columns lie: time, two spaces, client, wire with its lifelines, server.
pub(super) struct Page<'a> {
    sheet: &'a Sheet<'a>,
    style: &'a Style,
    glyphs: &'static Glyphs,
    time: usize,
    client: usize,
    /// With both lifelines; 0 where there is no connection.
    wire: usize,
    server: usize,
}

impl<'a> Page<'a> {
    pub(super) fn new(sheet: &'a Sheet<'a>, view: &View<'_>) -> Self {
        let (style, columns) = (sheet.style, sheet.style.columns());
        let time = sheet.moment_width(&view.rows);
        if !sheet.has_wire {
            // Without a connection there is no wire, and one end's calls may have the page to themselves.
            let of_client = |row: &Row<'_>| matches!(row.what, What::Call { lane: LEFT, .. });
            let ends = columns.saturating_sub(time + 2);
            let client = if view.rows.iter().any(of_client) { ends / 2 } else { 0 };
            return Self { sheet, style, glyphs: style.glyphs(), time, client, wire: 0, server: ends - client };
        }
        let wire = (28 + columns.saturating_sub(100) / 2).min(54);
        // A space on either side of the wire, two after the time.
        let ends = columns.saturating_sub(time + 2 + 1 + wire + 1);
        Self { sheet, style, glyphs: style.glyphs(), time, client: ends / 2, wire, server: ends - ends / 2 }
    }

    /// Roomy pages show what narrow ones leave out: notes, durations, windows.
    fn is_roomy(&self) -> bool {
        self.style.columns() >= words::ROOMY
    }

    fn width_of(&self, side: Side) -> usize {
        match side {
            Side::Client => self.client,
            Side::Server => self.server,
        }
    }

    pub(super) fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        if !self.sheet.has_wire {
            return Ok(());
        }
        let mut ends = [Side::Client, Side::Server].map(|side| {
            let (name, strong) = match side {
                Side::Client => ("CLIENT", Paint::ClientStrong),
                Side::Server => ("SERVER", Paint::ServerStrong),
            };
            let mut line = Line::of(strong, name);
            match (self.sheet.process(side), self.sheet.connection) {
                (Some(process), _) => line.push(paint_of(side), format!(" {}", process.shown(self.style))),
                (None, None) => {}
                (None, Some(connection)) if side == Side::Server && connection.client == connection.server => {
                    line.push(Paint::Dim, " the same socket");
                }
                (None, Some(_)) => {
                    let room = self.width_of(side).saturating_sub(line.width());
                    let ways = [" inferred: no call watched", " no call watched", ""];
                    line.push(Paint::Dim, ways.into_iter().find(|way| way.len() <= room).unwrap_or_default());
                }
            }
            let address = self.sheet.connection.map(|connection| match side {
                Side::Client => connection.client,
                Side::Server => connection.server,
            });
            let room = self.width_of(side).saturating_sub(line.width());
            let address = address.map_or(String::new(), |address| format!("  {address}"));
            if address.len() <= room {
                line.push(Paint::Dim, address);
            }
            line
        });
        let time = Line::of(Paint::Dim, crate::report::clock::unit(self.style));
        let mid = "wire";
        let inner = self.wire - 2;
        let mut line = time.right(self.time, "");
        line.push(Paint::Plain, "  ");
        line.append(std::mem::take(&mut ends[0]).left(self.client, self.glyphs.ellipsis));
        line.push(Paint::Plain, " ");
        line.push(Paint::Plain, format!("{:^width$}", mid, width = inner + 2));
        line.push(Paint::Plain, " ");
        line.append(std::mem::take(&mut ends[1]).cut(self.server, self.glyphs.ellipsis));
        line.write(out, self.style)
    }

    /// A rule across the page, with the phase's name and the state in which each end enters it.
    fn phase(&self, out: &mut dyn Write, phase: Phase, states: &[Option<State>]) -> io::Result<()> {
        let rule = self.glyphs.rule;
        let (name, purpose) = words::phase(phase);
        let mut left = Line::of(Paint::Dim, rule.repeat(2)).with(Paint::Strong, format!(" {name} "));
        let state = |state: Option<State>| state.map_or(String::new(), |state| format!(" {state} "));
        let [client, server] = [LEFT, RIGHT].map(|lane| state(states[lane.0]));
        let room = self.time + 2 + self.client + 1;
        let wanted = left.width() + purpose.width() + 2 + client.width() + 3;
        if wanted <= room {
            left.push(Paint::Dim, format!("{} {purpose} ", self.glyphs.dot));
        }
        let gap = room.saturating_sub(left.width() + client.width() + 1);
        left.push(Paint::Dim, rule.repeat(gap));
        left.push(Paint::State, client);
        left.push(Paint::Dim, rule.repeat(room.saturating_sub(left.width())));
        left.push(Paint::Dim, rule.repeat(self.wire + 1));
        left.push(Paint::State, server);
        let rest = self.style.columns().saturating_sub(left.width());
        left.push(Paint::Dim, rule.repeat(rest));
        left.write(out, self.style)
    }

    /// The process that begins to speak at a row, which the head does not name.
    fn turns_to<'p>(&self, row: &Row<'_>, pen: &'p mut Pen) -> Option<(Side, &'p Speaker)> {
        let What::Call { call, lane, form: Form::Whole | Form::Entry, .. } = &row.what else { return None };
        let last = &mut pen.speaking[side_of(*lane) as usize];
        let speaker = Speaker::turn(last.as_ref(), self.sheet.index.known, &call.call)?;
        Some((side_of(*lane), last.insert(speaker)))
    }

    /// Draws a row.
    pub(super) fn row(&self, out: &mut dyn Write, row: &Row<'_>) -> io::Result<()> {
        let mut cells = [Cell::default(), Cell::default()];
        let mut wire = Vec::new();
        let text_width = |side: Side| self.width_of(side).saturating_sub(2 * row.slots[side as usize].len());
        match &row.what {
            What::Call { id, call, lane, form } => {
                let side = side_of(*lane);
                let words = words::call(self.sheet.index, *id, call, side, *form, self.style);
                let cell = &mut cells[side as usize];
                cell.outer = call_lines(words, text_width(side), self.style);
                // That the peer's FIN is why recv returned 0 is on the line already.
                let is_plain = call.call.effect() == Effect::Receive && call.call.result() == Some(0);
                if *form != Form::Entry && (self.is_roomy() || !is_plain) {
                    self.note(
                        call.remark.as_ref().map(|remark| self.style.wording().remark(remark)),
                        text_width(side),
                        &mut cell.outer,
                    );
                }
            }
            What::Segment { segment, from, departs, .. } => {
                let from = side_of(*from);
                let end = from as usize;
                let cause = |said| words::cause(self.sheet.index, segment, said, self.style);
                let in_full = cause(Said::InFull);
                let fits = in_full.width() <= text_width(from);
                cells[end].inner.push(if fits { in_full } else { cause(Said::Shortly) });
                let half = if *departs { Half::First } else { Half::Whole };
                wire = self.arrow(from, words::segment(segment, self.style), half);
                let said = segment.cause.kernel == Some(crate::story::Mechanism::Unknown);
                if self.is_roomy() && !said {
                    self.note(
                        segment.cause.why.as_ref().map(|why| self.style.wording().why(why)),
                        text_width(from),
                        &mut cells[end].notes,
                    );
                }
            }
            What::Arrival { segments, from, took, again, overtaken, .. } => {
                let words = words::arrival(segments, *took, *again, *overtaken, self.style);
                wire = self.arrow(side_of(*from), words, Half::Second);
            }
            What::Run { segments: run, from, departs, .. } => {
                let from = side_of(*from);
                cells[from as usize].inner.push(words::run_cause(self.sheet.index, run, Said::InFull, self.style));
                wire = self.arrow(from, words::run(run), if *departs { Half::First } else { Half::Whole });
            }
            What::Timer { timer, lane } => {
                let side = side_of(*lane);
                let cell = &mut cells[side as usize];
                cell.stacked = true;
                cell.inner = words::timer(self.sheet.index, row.at, timer, text_width(side), self.style);
            }
            What::Icmp { icmp, lane } => {
                let side = side_of(*lane);
                cells[side as usize].inner = words::icmp(self.sheet.index, icmp).wrapped(text_width(side), 2);
            }
            What::Link { link, .. } => {
                wire = vec![self.lifelines(Line::of(Paint::Plain, "  ").joined(words::link(
                    self.sheet.index,
                    link,
                    self.style,
                )))];
            }
            What::Moves => {}
        }
        for moved in &row.moves {
            let side = side_of(moved.lane);
            let width = text_width(side);
            cells[side as usize].inner.push(self.moved(moved, width));
            if matches!(row.what, What::Moves) {
                cells[side as usize].inner.extend(words::moved_by(self.sheet.index, moved, self.style));
            }
        }
        let [client, server] = cells;
        let client = client.lines(Side::Client, text_width(Side::Client), self.glyphs);
        let server = server.lines(Side::Server, text_width(Side::Server), self.glyphs);
        let height = client.len().max(server.len()).max(wire.len()).max(1);
        let (mut client, mut server, mut wire) = (client.into_iter(), server.into_iter(), wire.into_iter());
        for at in 0..height {
            let moment = if at == 0 { self.sheet.moment(row.at) } else { String::new() };
            let left =
                slots(self.glyphs, &row.slots[LEFT.0], at, Side::Client).joined(client.next().unwrap_or_default());
            let right =
                slots(self.glyphs, &row.slots[RIGHT.0], at, Side::Server).joined(server.next().unwrap_or_default());
            self.line(out, moment, left, wire.next(), right)?;
        }
        self.disagreements(out, row)
    }

    /// The name of a process, on a line above its first call.
    fn speaker(&self, out: &mut dyn Write, row: &Row<'_>, side: Side, name: &str) -> io::Result<()> {
        let [left, right] = [Side::Client, Side::Server].map(|end| {
            let opened = |slot: &Slot| if *slot == Slot::Opens { Slot::Free } else { *slot };
            let opened: Vec<Slot> = row.slots[end as usize].iter().map(opened).collect();
            let said = if end == side { format!("{name}:") } else { String::new() };
            slots(self.glyphs, &opened, 1, end).with(Paint::Dim, said)
        });
        self.line(out, String::new(), left, None, right)
    }

    fn line(&self, out: &mut dyn Write, moment: String, left: Line, wire: Option<Line>, right: Line) -> io::Result<()> {
        let mut line = Line::of(Paint::Dim, moment).right(self.time, "");
        line.push(Paint::Plain, "  ");
        line.append(left.left(self.client, self.glyphs.ellipsis));
        if self.wire > 0 {
            line.push(Paint::Plain, " ");
            line.append(wire.unwrap_or_else(|| self.lifelines(Line::default())));
            line.push(Paint::Plain, " ");
        }
        line.append(right.cut(self.server, self.glyphs.ellipsis));
        line.write(out, self.style)
    }

    /// A transition as long as it fits; broken after the arrow where it does not.
    fn moved(&self, moved: &Moved<'_>, width: usize) -> Line {
        let ways = words::moved(moved, self.style);
        let last = ways.last().cloned().unwrap_or_default();
        ways.into_iter().find(|line| line.width() <= width).unwrap_or(last)
    }

    fn note(&self, note: Option<Cow<'_, str>>, width: usize, lines: &mut Vec<Line>) {
        let Some(note) = note else { return };
        let said = escape(&note, self.style);
        let wrapped = wrap(&said, width.saturating_sub(2), self.glyphs.ellipsis);
        for (at, text) in wrapped.into_iter().enumerate() {
            let before = if at == 0 { self.glyphs.note } else { " " };
            lines.push(Line::of(Paint::Dim, format!("{before} {text}")).cut(width, self.glyphs.ellipsis));
        }
    }

    /// The segment's arrow with its label, and more lines where the label needs them.
    fn arrow(&self, from: Side, words: SegmentWords, half: Half) -> Vec<Line> {
        let inner = self.wire - 2;
        // What was seen to arrive did, if not whole.
        let is_lost = words.is_lost && half != Half::First;
        let label_width = inner.saturating_sub(5);
        let mut labels: Vec<Line> = vec![Line::default()];
        let must = words.what.into_iter().chain(words.place).chain(words.remarks).map(|part| (part, true));
        for (part, is_needed) in must.chain(words.may.into_iter().map(|part| (part, false))) {
            let last = labels.len() - 1;
            let space = usize::from(!labels[last].is_empty());
            let room = if last == 0 { label_width } else { inner.saturating_sub(4) };
            if labels[last].width() + space + part.width() <= room {
                labels[last].push(Paint::Plain, spaces(space));
                labels[last].append(part);
            } else if is_needed {
                labels.push(part);
            }
        }
        let mut labels = labels.into_iter();
        let paint = paint_of(from);
        let label = labels.next().unwrap_or_default().cut(label_width, self.glyphs.ellipsis);
        // What does not arrive ends in mid-air; what arrives at a time of its own goes on in a later row.
        let len = inner - 4 - label.width();
        let flies = match half {
            Half::Whole if !is_lost => len,
            _ => len / 2,
        };
        let shaft = self.glyphs.line.repeat(flies);
        let (air, lost) = (" ".repeat(len - flies), self.glyphs.lost);
        let mut first = Line::default();
        match from {
            // The second half of an arrow begins where the first one ends, and its label stands before its head.
            _ if half == Half::Second => {
                first.push(Paint::Dim, self.glyphs.lifeline);
                let (line, rest) = (self.glyphs.line, " ".repeat(len.saturating_sub(1)));
                if from == Side::Client {
                    first.push(paint, format!("{}{} ", rest, self.glyphs.falls));
                    first.append(label);
                    first.push(paint, format!(" {line}{}", self.glyphs.right));
                } else {
                    first.push(paint, format!("{}{line} ", self.glyphs.left));
                    first.append(label);
                    first.push(paint, format!(" {}{}", self.glyphs.rises, rest));
                }
                first.push(Paint::Dim, self.glyphs.lifeline);
            }
            Side::Client if half == Half::First => {
                first.push(Paint::Dim, self.glyphs.from_left);
                first.push(paint, format!("{} ", self.glyphs.line));
                first.append(label);
                first.push(paint, format!(" {shaft}{}{air}", self.glyphs.falls));
                first.push(Paint::Dim, self.glyphs.lifeline);
            }
            Side::Server if half == Half::First => {
                first.push(Paint::Dim, self.glyphs.lifeline);
                first.push(paint, format!("{air}{} ", self.glyphs.rises));
                first.append(label);
                first.push(paint, format!(" {shaft}{}", self.glyphs.line));
                first.push(Paint::Dim, self.glyphs.from_right);
            }
            Side::Client => {
                first.push(Paint::Dim, self.glyphs.from_left);
                first.push(paint, format!("{} ", self.glyphs.line));
                first.append(label);
                let end =
                    if is_lost { format!(" {shaft}{lost}{air}") } else { format!(" {shaft}{}", self.glyphs.right) };
                first.push(paint, end);
                first.push(Paint::Dim, self.glyphs.lifeline);
            }
            Side::Server => {
                first.push(Paint::Dim, self.glyphs.lifeline);
                let head = if is_lost { "  ".to_owned() } else { format!("{}{}", self.glyphs.left, self.glyphs.line) };
                first.push(paint, format!("{head} "));
                first.append(label);
                first.push(
                    paint,
                    if is_lost {
                        format!(" {}{lost}{shaft}", &air[..air.len().saturating_sub(1)])
                    } else {
                        format!(" {shaft}")
                    },
                );
                first.push(Paint::Dim, self.glyphs.from_right);
            }
        }
        let mut lines = vec![first];
        for label in labels {
            let mut line = Line::of(Paint::Plain, "  ");
            line.append(label);
            lines.push(self.lifelines(line));
        }
        lines
    }

    /// Both lifelines with something between them.
    fn lifelines(&self, between: Line) -> Line {
        let inner = self.wire - 2;
        let mut line = Line::of(Paint::Dim, self.glyphs.lifeline);
        line.append(between.left(inner, self.glyphs.ellipsis));
        line.with(Paint::Dim, self.glyphs.lifeline)
    }

    /// What a witness said that disagrees, across the page: it must not be overlooked.
    fn disagreements(&self, out: &mut dyn Write, row: &Row<'_>) -> io::Result<()> {
        for moved in &row.moves {
            let Some(said) = &moved.transition.disagreement else { continue };
            let mut head = Line::blank(self.time + 2);
            head.push(Paint::Alarm, format!("!! DISAGREEMENT at the {}:", moved.transition.side.name()));
            let said = self.style.wording().disagreement(said);
            write_beside(out, head, &escape(&said, self.style), Paint::Bad, self.style)?;
        }
        Ok(())
    }
}

impl Draws for Page<'_> {
    fn next(&self, out: &mut dyn Write, row: &Row<'_>, pen: &mut Pen) -> io::Result<()> {
        if pen.turns(self.sheet, row) {
            self.phase(out, row.phase, &pen.states)?;
        }
        pen.states.clone_from(&row.states);
        if let Some((side, speaker)) = self.turns_to(row, pen) {
            self.speaker(out, row, side, &speaker.shown(self.style))?;
        }
        self.row(out, row)
    }

    fn pass(&self, row: &Row<'_>, pen: &mut Pen) {
        pen.turns(self.sheet, row);
        pen.states.clone_from(&row.states);
        self.turns_to(row, pen);
    }
}

/// Which part of an arrow a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Half {
    /// All of it: it arrives at once, or nobody saw when.
    Whole,
    /// It leaves.
    First,
    /// It arrives.
    Second,
}

/// The two lanes of a ladder.
const LEFT: LaneId = LaneId(0);
const RIGHT: LaneId = LaneId(1);

/// The side of the wire on which a lane lies.
fn side_of(lane: LaneId) -> Side {
    if lane == LEFT { Side::Client } else { Side::Server }
}

/// A call on one line, without its last arguments where they do not fit, or else broken between its arguments.
pub(super) fn call_lines(words: CallWords, width: usize, style: &Style) -> Vec<Line> {
    let CallWords { head, args, keep, tail, extras } = words;
    let ellipsis = style.glyphs().ellipsis;
    let mut lines = Vec::new();
    let one_line = (keep.min(args.len())..=args.len()).rev().map(|shown| bracketed(&args, shown, ellipsis));
    let fitting = one_line.into_iter().find(|args| head.width() + args.width() + tail.width() <= width);
    let mut line = head;
    match fitting {
        Some(args) => line.push(Paint::Plain, args),
        None => {
            let mut cut = broken(line.clone(), &args, args.len(), tail.width(), width, ellipsis);
            if cut.len() > 2 && keep < args.len() {
                cut = broken(line, &args, keep, tail.width(), width, ellipsis);
            }
            line = cut.pop().unwrap_or_default();
            lines = cut;
        }
    }
    // What comes back is never cut: where there is no room beside the call it has lines of its own.
    if line.width() + tail.width() <= width {
        line.append(tail);
    } else {
        lines.push(line);
        lines.extend(Line::of(Paint::Plain, " ").joined(tail).wrapped(width, 2));
        line = lines.pop().unwrap_or_default();
    }
    let budget = if style.columns() >= words::ROOMY { extras.len() } else { 2 };
    for extra in extras.into_iter().take(budget) {
        if line.width() + extra.width() <= width {
            line.append(extra);
        }
    }
    lines.push(line);
    lines
}

/// A call broken between its arguments, of which the first are shown, so that its last line has room for the result where that can be.
fn broken(head: Line, args: &[String], shown: usize, tail: usize, width: usize, ellipsis: &str) -> Vec<Line> {
    let ellipsis = ellipsis.to_owned();
    let args = args[..shown].iter().chain((shown < args.len()).then_some(&ellipsis));
    let mut args = args.peekable();
    let mut lines = head.wrapped(width, 2);
    if args.peek().is_none() {
        return lines;
    }
    let mut line = lines.pop().unwrap_or_default().with(Paint::Plain, "(");
    let mut is_first = true;
    while let Some(arg) = args.next() {
        let (piece, rest) = if args.peek().is_none() { (format!("{arg})"), tail) } else { (format!("{arg},"), 0) };
        let space = usize::from(!is_first);
        if (!is_first && line.width() + space + piece.width() + rest > width)
            || (is_first && line.width() + piece.width() > width)
        {
            lines.push(std::mem::replace(&mut line, Line::of(Paint::Plain, " ")));
            line.push(Paint::Plain, format!(" {piece}"));
        } else {
            line.push(Paint::Plain, if is_first { piece } else { format!(" {piece}") });
        }
        is_first = false;
    }
    lines.push(line.cut(width, &ellipsis));
    lines
}

/// The first arguments in brackets, with the ellipsis for those left out; nothing where a call is only named.
pub(super) fn bracketed(args: &[String], shown: usize, ellipsis: &str) -> String {
    match args {
        [] => String::new(),
        _ if shown < args.len() => format!("({}, {ellipsis})", args[..shown].join(", ")),
        _ => format!("({})", args.join(", ")),
    }
}

/// What stands at one end in a row: its calls outside, what belongs to the wire beside the wire.
#[derive(Default)]
struct Cell {
    outer: Vec<Line>,
    inner: Vec<Line>,
    notes: Vec<Line>,
    /// Whether what belongs to the wire is one line below the other, in order.
    stacked: bool,
}

impl Cell {
    /// Its lines; an outer and an inner one share a line where both fit.
    fn lines(self, side: Side, width: usize, glyphs: &Glyphs) -> Vec<Line> {
        // What stands here says why, and which state: it is never cut.
        let mut inner: Vec<Line> = self.inner.into_iter().flat_map(|line| line.wrapped(width, 0)).collect();
        // Cause and transition on one line, the cause at the arrow.
        while !self.stacked && inner.len() > 1 && inner[0].width() + 2 + inner[1].width() <= width {
            let next = inner.remove(1);
            let first = std::mem::take(&mut inner[0]);
            let (a, b) = match side {
                Side::Client => (next, first),
                Side::Server => (first, next),
            };
            inner[0] = a.with(Paint::Plain, "  ");
            inner[0].append(b);
        }
        let mut lines = self.outer;
        let shared = match (lines.last(), inner.first()) {
            (Some(last), Some(first)) if lines.len() == 1 && last.width() + 2 + first.width() <= width => 1,
            _ => 0,
        };
        let first_inner = lines.len() - shared;
        for (at, line) in inner.into_iter().enumerate() {
            let line = line.cut(width, glyphs.ellipsis);
            if at < shared {
                let gap = match side {
                    Side::Client => width - lines[first_inner].width() - line.width(),
                    Side::Server => 2,
                };
                lines[first_inner].push(Paint::Plain, spaces(gap));
                lines[first_inner].append(line);
            } else {
                lines.push(match side {
                    Side::Client => line.right(width, glyphs.ellipsis),
                    Side::Server => line,
                });
            }
        }
        lines.extend(self.notes);
        lines
    }
}
