//! The compact timeline: one line for each call and segment, with both ends' states at its end.

use std::io::{self, Write};

use super::ladder::bracketed;
use super::sheet::{Draws, Pen, Sheet};
use super::words::{self, Said, SegmentWords, paint_of};
use crate::flow::Side;
use crate::report::style::{Glyphs, Paint, Style};
use crate::report::text::{Columns as _, Line, escape, spaces, write_beside};
use crate::report::view::{Form, LaneId, Moved, Row, View, What};
use crate::share::Share;
use crate::story::Phase;
use crate::tcp::State;

/// Draws the rows after those `drawn` before as lines: time, call, segment, both states.
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
    // What was drawn before still tells in which phase and state the rest begins.
    page.all(out, &view.rows, Pen::of(view.lanes.len()), drawn, share)
}

pub(super) struct Page<'a> {
    sheet: &'a Sheet<'a>,
    view: &'a View<'a>,
    style: &'a Style,
    glyphs: &'static Glyphs,
    time: usize,
    call: usize,
    segment: usize,
    /// Whether the states stand on a line of their own.
    is_narrow: bool,
}

impl<'a> Page<'a> {
    pub(super) fn new(sheet: &'a Sheet<'a>, view: &'a View<'a>) -> Self {
        let (style, columns) = (sheet.style, sheet.style.columns());
        let time = sheet.moment_width(&view.rows);
        let beside = columns.saturating_sub(time + 1 + view.lanes.len() * (STATE + 1));
        let is_narrow = beside < NARROW;
        let room = if is_narrow { columns.saturating_sub(time + 1) } else { beside };
        let call = room * 2 / 5;
        Self { sheet, view, style, glyphs: style.glyphs(), time, call, segment: room - call - 1, is_narrow }
    }

    pub(super) fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Line::of(Paint::Dim, crate::report::clock::unit(self.style)).right(self.time, "");
        line.push(Paint::Plain, " ");
        line.append(Line::of(Paint::Strong, "call or cause").left(self.call, self.glyphs.ellipsis));
        line.push(Paint::Plain, " ");
        line.append(Line::of(Paint::Strong, "segment").left(self.segment, self.glyphs.ellipsis));
        if !self.is_narrow {
            for lane in self.lanes() {
                line.append(Line::of(self.strong(lane), format!("  {}", self.name(lane))).left(STATE + 1, ""));
            }
        }
        line.write(out, self.style)
    }

    fn phase(&self, out: &mut dyn Write, phase: Phase) -> io::Result<()> {
        let (name, _) = words::phase(phase);
        let columns = self.style.columns();
        let mut line = Line::of(Paint::Dim, self.glyphs.rule.repeat(2)).with(Paint::Strong, format!(" {name} "));
        let rest = columns.saturating_sub(line.width());
        line.push(Paint::Dim, self.glyphs.rule.repeat(rest));
        line.write(out, self.style)
    }

    /// Draws a row, before which the lanes were in these states.
    pub(super) fn row(&self, out: &mut dyn Write, row: &Row<'_>, before: &[Option<State>]) -> io::Result<()> {
        let room = self.call + 1 + self.segment;
        let middle = match &row.what {
            What::Call { id, call, lane, form } => {
                let side = self.view.lanes[lane.0].side;
                let words = words::call(self.sheet.index, *id, call, side, *form, self.style);
                let mut head = self.end(*lane);
                head.push(
                    paint_of(side),
                    match form {
                        Form::Whole => "  ".to_owned(),
                        Form::Entry => format!("{} ", self.glyphs.opens),
                        Form::Return => format!("{} ", self.glyphs.closes),
                        Form::Unreturned => format!("{} ", self.glyphs.hangs),
                    },
                );
                head.append(words.head);
                let ellipsis = self.glyphs.ellipsis;
                let (keep, all) = (words.keep.min(words.args.len()), words.args.len());
                let sent = match &call.sent[..] {
                    [] => String::new(),
                    _ if *form == Form::Return => String::new(),
                    sent => {
                        let frames = self.sheet.index.known.frames_of(sent);
                        format!(" {} {}", self.glyphs.becomes, words::frames(&frames))
                    }
                };
                let (mut tail, mut extras) = (words.tail, words.extras);
                match form {
                    // Its segments name it themselves, in the lines below.
                    Form::Entry => extras.push(Line::of(Paint::Dim, sent)),
                    _ => tail.push(Paint::Dim, sent),
                }
                let shown = || (keep..=all).rev().map(|shown| bracketed(&words.args, shown, ellipsis));
                let beside = |room: usize| shown().find(|args| head.width() + args.width() <= room);
                // The result has a line of its own rather than be cut, or the name.
                let args = beside(room.saturating_sub(tail.width())).or_else(|| beside(room));
                let args = args.unwrap_or_else(|| bracketed(&words.args, keep, ellipsis));
                let mut lines = head.with(Paint::Plain, args).wrapped(room, CONTINUED);
                let mut line = lines.pop().unwrap_or_default();
                if line.width() + tail.width() <= room {
                    line.append(tail);
                } else {
                    lines.push(line);
                    let own = Line::blank(CONTINUED - 1).joined(tail);
                    lines.extend(own.wrapped(room, CONTINUED));
                    line = lines.pop().unwrap_or_default();
                }
                for extra in extras.into_iter().take(2) {
                    if line.width() + extra.width() <= room {
                        line.append(extra);
                    }
                }
                lines.push(line);
                lines
            }
            What::Segment { segment, from, to, .. } => {
                let cause = words::cause(self.sheet.index, segment, Said::Shortly, self.style);
                self.segment((*from, *to), cause, words::segment(segment, self.style))
            }
            What::Arrival { segments, from, to, took, again, overtaken } => {
                let words = words::arrival(segments, *took, *again, *overtaken, self.style);
                self.segment((*from, *to), Line::of(Paint::Dim, "arrives at ").joined(self.end(*to)), words)
            }
            What::Run { segments: run, from, to, .. } => {
                let cause = words::run_cause(self.sheet.index, run, Said::Shortly, self.style);
                self.segment((*from, *to), cause, words::run(run))
            }
            What::Timer { timer, lane } => {
                let mut line = self.end(*lane).with(Paint::Plain, "  ");
                for (at, part) in
                    words::timer(self.sheet.index, row.at, timer, room, self.style).into_iter().enumerate()
                {
                    line.push(Paint::Plain, if at == 0 { "" } else { " " });
                    line.append(part);
                }
                line.wrapped(room, CONTINUED)
            }
            What::Icmp { icmp, lane } => self
                .end(*lane)
                .with(Paint::Plain, "  ")
                .joined(words::icmp(self.sheet.index, icmp))
                .wrapped(room, CONTINUED),
            What::Link { link, from, .. } => self
                .end(*from)
                .with(Paint::Plain, "  ")
                .joined(words::link(self.sheet.index, link, self.style))
                .wrapped(room, CONTINUED),
            What::Moves => match row.moves.first() {
                Some(moved) => self.moved(moved, room),
                None => Vec::new(),
            },
        };
        let mut middle = middle.into_iter();
        let mut line = Line::of(Paint::Dim, self.sheet.moment(row.at)).right(self.time, "");
        line.push(Paint::Plain, " ");
        line.append(middle.next().unwrap_or_default().left(room, self.glyphs.ellipsis));
        if self.is_narrow {
            line.write(out, self.style)?;
            self.more(out, &mut middle)?;
            line = self.indent();
        }
        // Where an end moves twice in one moment, each state has its line.
        let (first, later): (Vec<_>, Vec<_>) = (0..row.moves.len()).partition(|at| {
            let lane = row.moves[*at].lane;
            !row.moves[..*at].iter().any(|earlier| earlier.lane == lane)
        });
        let mut states = before.to_vec();
        self.states(&mut line, row, &first, &mut states);
        line.write(out, self.style)?;
        self.more(out, &mut middle)?;
        for at in later {
            let mut moved = self.moved(&row.moves[at], room).into_iter();
            let mut line = Line::blank(self.time + 1);
            line.append(moved.next().unwrap_or_default().left(room, self.glyphs.ellipsis));
            if self.is_narrow {
                line.write(out, self.style)?;
                self.more(out, &mut moved)?;
                line = self.indent();
            }
            self.states(&mut line, row, &[at], &mut states);
            line.write(out, self.style)?;
            self.more(out, &mut moved)?;
        }
        for moved in &row.moves {
            let Some(said) = &moved.transition.disagreement else { continue };
            let head = Line::of(Paint::Alarm, format!("!! {} DISAGREES:", self.name(moved.lane)));
            let said = self.style.wording().disagreement(said);
            write_beside(out, head, &escape(&said, self.style), Paint::Bad, self.style)?;
        }
        Ok(())
    }

    /// The lines of a row that found no room beside its moment and its states.
    fn more(&self, out: &mut dyn Write, lines: &mut impl Iterator<Item = Line>) -> io::Result<()> {
        lines.try_for_each(|line| Line::blank(self.time + 1).joined(line).write(out, self.style))
    }

    /// The states of all lanes after some of a row's moves, marked where these changed them.
    fn states(&self, line: &mut Line, row: &Row<'_>, moves: &[usize], states: &mut [Option<State>]) {
        for lane in self.lanes() {
            let end = lane.0;
            let moved = moves.iter().map(|at| &row.moves[*at]).find(|moved| moved.lane == lane);
            // A listening socket's move is not one of the connection.
            let moved = moved.filter(|moved| {
                let to = Some(moved.transition.to);
                !moved.listener || (row.states[end] == to && states[end] != to)
            });
            let (mark, paint) = match moved {
                Some(moved) if moved.transition.is_inferred() => ("~", Paint::State),
                Some(_) => ("*", Paint::State),
                None => (" ", Paint::Dim),
            };
            states[end] = moved.map_or(states[end], |moved| Some(moved.transition.to));
            let text = format!(" {mark}{}", states[end].map_or("-", State::name));
            line.append(Line::of(paint, text).left(STATE + 1, self.glyphs.ellipsis));
        }
    }

    /// Where the states stand on a page too narrow for them beside the rest.
    fn indent(&self) -> Line {
        let states = self.view.lanes.len() * (STATE + 1);
        let columns = (self.time + 5).min(self.style.columns().saturating_sub(states));
        Line::blank(columns)
    }

    fn segment(&self, (from, to): (LaneId, LaneId), cause: Line, words: SegmentWords) -> Vec<Line> {
        let arrow = if from < to { self.glyphs.becomes } else { self.glyphs.because };
        let room = self.call + 1 + self.segment;
        // A long cause may take the room of the label's last parts, but not of frame, flags and octets.
        let call = self.end(from).joined(cause);
        let least = arrow.width() + words.what.iter().map(|part| 1 + part.width()).sum::<usize>();
        let most = room.saturating_sub(least + 1).max(self.call);
        let mut causes = call.wrapped(most, CONTINUED).into_iter();
        let mut line = causes.next().unwrap_or_default();
        let gap = self.call.saturating_sub(line.width());
        line.push(Paint::Plain, spaces(gap + 1));
        line.push(paint_of(self.view.lanes[from.0].side), arrow);
        if self.view.lanes.len() > 2 {
            line.append(self.end(to).cut(1, ""));
        }
        let mut more: Vec<Line> = causes.collect();
        let mut overflown = false;
        // What decides comes before where the segment lies, and has a line of its own where it must.
        for part in words.what.into_iter().chain(words.remarks) {
            let goes_on = std::mem::replace(&mut overflown, true);
            let last = more.last_mut().filter(|last| goes_on && last.width() + 1 + part.width() <= room);
            if !goes_on && line.width() + 1 + part.width() <= room {
                overflown = false;
                line.push(Paint::Plain, " ");
                line.append(part);
            } else if let Some(last) = last {
                last.push(Paint::Plain, " ");
                last.append(part);
            } else {
                more.extend(Line::blank(CONTINUED).joined(part).wrapped(room, CONTINUED));
            }
        }
        for part in words.place.into_iter().chain(words.may.into_iter().take(1)) {
            // The first that does not fit ends the label: later ones would seem to be all there is.
            if line.width() + 1 + part.width() > room {
                break;
            }
            line.push(Paint::Plain, " ");
            line.append(part);
        }
        more.insert(0, line);
        more
    }

    fn moved(&self, moved: &Moved<'_>, room: usize) -> Vec<Line> {
        let mut line = self.end(moved.lane).with(Paint::Plain, "  ");
        if let Some(way) = words::moved(moved, self.style).into_iter().find(|way| way.width() + 4 <= room) {
            line.append(way);
        }
        if let Some(why) = words::moved_by(self.sheet.index, moved, self.style) {
            line.push(Paint::Plain, " ");
            line.append(why);
        }
        line.wrapped(room, CONTINUED)
    }

    fn lanes(&self) -> impl Iterator<Item = LaneId> + use<> {
        (0..self.view.lanes.len()).map(LaneId)
    }

    /// The letter that a lane's lines begin with: C and S of two, A, B and so on of more.
    fn end(&self, lane: LaneId) -> Line {
        let letter = match self.view.lanes[lane.0].side {
            Side::Client if self.view.lanes.len() <= 2 => 'C',
            Side::Server if self.view.lanes.len() <= 2 => 'S',
            _ => letter(lane),
        };
        Line::of(self.strong(lane), format!("{letter} "))
    }

    /// How a lane is called: by its side of two, by its letter and its process of more.
    fn name(&self, lane: LaneId) -> String {
        let end = &self.view.lanes[lane.0];
        match end.process {
            _ if self.view.lanes.len() <= 2 => end.side.name().to_owned(),
            Some(process) => format!("{} {}", letter(lane), escape(&process.comm, self.style)),
            None => format!("{} {}", letter(lane), end.side.name()),
        }
    }

    fn strong(&self, lane: LaneId) -> Paint {
        match self.view.lanes[lane.0].side {
            Side::Client => Paint::ClientStrong,
            Side::Server => Paint::ServerStrong,
        }
    }
}

impl Draws for Page<'_> {
    fn next(&self, out: &mut dyn Write, row: &Row<'_>, pen: &mut Pen) -> io::Result<()> {
        if pen.turns(self.sheet, row) {
            self.phase(out, row.phase)?;
        }
        self.row(out, row, &pen.states)?;
        pen.states.clone_from(&row.states);
        Ok(())
    }

    fn pass(&self, row: &Row<'_>, pen: &mut Pen) {
        pen.turns(self.sheet, row);
        pen.states.clone_from(&row.states);
    }
}

/// A, B and so on; with more than 26 lanes from A again.
fn letter(lane: LaneId) -> char {
    char::from(b'A' + (lane.0 % 26) as u8)
}

/// Where a line goes on that had no room.
const CONTINUED: usize = 4;
/// The longest state's name, with its mark.
const STATE: usize = 13;
/// With fewer columns than these for call and segment, the states stand on a line of their own.
const NARROW: usize = 35;
