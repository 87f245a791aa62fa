//! The chart of several connections at once: a lane for each end or process, with its lifeline, and arrows from lane to lane.

use std::io::{self, Write};

use super::ladder::call_lines;
use super::sheet::{Sheet, slots};
use super::words::{self, Said, SegmentWords};
use crate::report::style::{Glyphs, Paint, Style};
use crate::report::text::{Line, escape, spaces, write_beside};
use crate::report::view::{LaneId, Row, View, What};

/// Whether a view is worth a chart and has room for one: three lanes or more, each wide enough, and of any two lanes one
/// connection at most, so that an arrow says which it belongs to.
pub(super) fn has_room(view: &View<'_>, style: &Style) -> bool {
    let lanes = view.lanes.len();
    let mut pairs: Vec<(usize, usize)> = Vec::new();
    for (at, lane) in view.lanes.iter().enumerate() {
        for (id, side) in &lane.ends {
            let peer = (*id, side.peer());
            pairs.extend(view.lanes.iter().position(|other| other.ends.contains(&peer)).map(|other| (at, other)));
        }
    }
    let all = pairs.len();
    pairs.sort_unstable();
    pairs.dedup();
    let is_shared = view.lanes.iter().any(|lane| lane.ends.len() > 1);
    // An end that nobody watched may be that of a process that was: which one is not known.
    let watched = view.lanes.iter().filter(|lane| lane.process.is_some()).count();
    let is_told_apart = watched == 0 || watched == lanes;
    lanes > 2 && pairs.len() == all && is_shared && is_told_apart && lanes * NARROWEST + TIME <= style.columns()
}

/// Draws the rows of a view.
pub(super) fn draw(out: &mut dyn Write, sheet: &Sheet<'_>, view: &View<'_>) -> io::Result<()> {
    let style = sheet.style;
    let time = sheet.moment_width(&view.rows);
    let width = (style.columns().saturating_sub(time + 2) / view.lanes.len().max(1)).min(WIDEST);
    let page = Page { sheet, view, style, glyphs: style.glyphs(), time, width };
    page.head(out)?;
    view.rows.iter().try_for_each(|row| page.row(out, row))
}

struct Page<'a> {
    sheet: &'a Sheet<'a>,
    view: &'a View<'a>,
    style: &'a Style,
    glyphs: &'static Glyphs,
    time: usize,
    /// Of a lane, its lifeline at its left edge.
    width: usize,
}

/// An arrow over the lanes between two lifelines.
struct Arrow {
    left: usize,
    right: usize,
    /// Whether it leaves from the lifeline at its right.
    leaves_right: bool,
    line: Line,
}

impl Page<'_> {
    fn head(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut line = Line::of(Paint::Dim, crate::report::clock::unit(self.style)).right(self.time, "");
        line.push(Paint::Plain, "  ");
        for lane in &self.view.lanes {
            let name = match (lane.thread, lane.process) {
                (Some(thread), Some(process)) => format!("{} ({})", escape(&thread.comm, self.style), process.pid),
                (_, Some(process)) => format!("{} ({})", escape(&process.comm, self.style), process.pid),
                _ => lane.ends.first().map_or(String::new(), |(id, side)| {
                    let connection = self.sheet.index.connection(*id);
                    connection.map_or(String::new(), |connection| match side {
                        crate::flow::Side::Client => connection.client.to_string(),
                        crate::flow::Side::Server => connection.server.to_string(),
                    })
                }),
            };
            let name = Line::of(words::strong_of(lane.side), name).cut(self.width - 1, self.glyphs.ellipsis);
            line.append(name.left(self.width, self.glyphs.ellipsis));
        }
        line.write(out, self.style)
    }

    fn row(&self, out: &mut dyn Write, row: &Row<'_>) -> io::Result<()> {
        let mut cells: Vec<Vec<Line>> = vec![Vec::new(); self.view.lanes.len()];
        let room = |lane: LaneId| self.width.saturating_sub(3 + 2 * row.slots[lane.0].len());
        let mut arrow = None;
        let index = self.sheet.index;
        match &row.what {
            What::Call { id, call, lane, form } => {
                let side = self.view.lanes[lane.0].side;
                let words = words::call(index, *id, call, side, *form, self.style);
                cells[lane.0] = call_lines(words, room(*lane), self.style);
            }
            What::Segment { segment, from, to, departs } => {
                let words = words::segment(segment, self.style);
                let goes = if *departs { Goes::Leaves } else { Goes::Across };
                arrow = Some(self.arrow(*from, *to, words, goes, &mut cells));
                cells[from.0].push(words::cause(index, segment, Said::Shortly, self.style));
            }
            What::Arrival { segments, from, to, took, again, overtaken } => {
                let words = words::arrival(segments, *took, *again, *overtaken, self.style);
                arrow = Some(self.arrow(*from, *to, words, Goes::Arrives, &mut cells));
            }
            What::Run { segments, from, to, departs } => {
                let goes = if *departs { Goes::Leaves } else { Goes::Across };
                arrow = Some(self.arrow(*from, *to, words::run(segments), goes, &mut cells));
                cells[from.0].push(words::run_cause(index, segments, Said::Shortly, self.style));
            }
            What::Timer { timer, lane } => {
                cells[lane.0] = words::timer(index, row.at, timer, room(*lane), self.style);
            }
            What::Icmp { icmp, lane } => cells[lane.0].push(words::icmp(index, icmp)),
            What::Link { link, from, to } => cells[from.0.min(to.0)].push(words::link(index, link, self.style)),
            What::Moves => {}
        }
        for moved in &row.moves {
            let ways = words::moved(moved, self.style);
            let last = ways.last().cloned().unwrap_or_default();
            let way = ways.into_iter().find(|way| way.width() <= room(moved.lane)).unwrap_or(last);
            cells[moved.lane.0].push(way);
            if matches!(row.what, What::Moves) {
                cells[moved.lane.0].extend(words::moved_by(index, moved, self.style));
            }
        }
        // Nothing that is said is cut: what has no room goes on below.
        let mut cells: Vec<Vec<Line>> = cells
            .into_iter()
            .enumerate()
            .map(|(lane, lines)| {
                lines
                    .into_iter()
                    .filter(|line| !line.is_empty())
                    .flat_map(|line| line.wrapped(room(LaneId(lane)), 2))
                    .collect()
            })
            .collect();
        if let Some(arrow) = &arrow {
            for cell in &mut cells[arrow.left..arrow.right] {
                cell.insert(0, Line::default());
            }
        }
        let height = cells.iter().map(Vec::len).max().unwrap_or(0).max(1);
        for at in 0..height {
            let moment = if at == 0 { self.sheet.moment(row.at) } else { String::new() };
            let mut line = Line::of(Paint::Dim, moment).right(self.time, "");
            line.push(Paint::Plain, "  ");
            let mut lane = 0;
            while lane < cells.len() {
                if let Some(arrow) = arrow.as_ref().filter(|arrow| at == 0 && arrow.left == lane) {
                    line.append(arrow.line.clone());
                    lane = arrow.right;
                    continue;
                }
                let ends_here =
                    arrow.as_ref().is_some_and(|arrow| at == 0 && arrow.right == lane && arrow.leaves_right);
                let lifeline = if ends_here { self.glyphs.from_right } else { self.glyphs.lifeline };
                let mut cell = Line::of(Paint::Dim, lifeline).with(Paint::Plain, " ");
                cell.append(slots(self.glyphs, &row.slots[lane], at, self.view.lanes[lane].side));
                cell.append(cells[lane].get(at).cloned().unwrap_or_default());
                line.append(cell.left(self.width, self.glyphs.ellipsis));
                lane += 1;
            }
            line.write(out, self.style)?;
        }
        for moved in &row.moves {
            let Some(said) = &moved.transition.disagreement else { continue };
            let head = Line::of(Paint::Alarm, format!("!! DISAGREEMENT at the {}:", moved.transition.side.name()));
            let said = self.style.wording().disagreement(said);
            write_beside(out, head, &escape(&said, self.style), Paint::Bad, self.style)?;
        }
        Ok(())
    }

    /// The arrow, with as much of its label as it has room for; the rest is said below it.
    fn arrow(&self, from: LaneId, to: LaneId, words: SegmentWords, goes: Goes, cells: &mut [Vec<Line>]) -> Arrow {
        let (left, right) = (from.0.min(to.0), from.0.max(to.0));
        let falls = from < to;
        // Between the lifelines: shaft, label and head, with a space on either side of the label.
        let inner = ((right - left) * self.width).saturating_sub(1);
        let room = inner.saturating_sub(7);
        let is_lost = words.is_lost && goes == Goes::Across;
        let (mut label, mut rest) = (Line::default(), Line::default());
        let must = words.what.into_iter().chain(words.place).chain(words.remarks).map(|part| (part, true));
        for (part, is_needed) in must.chain(words.may.into_iter().map(|part| (part, false))) {
            let space = usize::from(!label.is_empty());
            if rest.is_empty() && label.width() + space + part.width() <= room {
                label.push(Paint::Plain, spaces(space));
                label.append(part);
            } else if is_needed {
                rest.push(Paint::Plain, if rest.is_empty() { "" } else { " " });
                rest.append(part);
            }
        }
        if !rest.is_empty() {
            cells[left].push(rest);
        }
        let label = label.cut(room, self.glyphs.ellipsis);
        let len = inner - 5 - label.width();
        let paint = words::paint_of(self.view.lanes[from.0].side);
        let glyphs = self.glyphs;
        let shaft = |columns: usize| glyphs.line.repeat(columns);
        let air = |columns: usize| " ".repeat(columns);
        let half = len / 2;
        let mut line = Line::default();
        let begins = falls && goes != Goes::Arrives;
        line.push(Paint::Dim, if begins { glyphs.from_left } else { glyphs.lifeline });
        let (before, after) = match (falls, goes) {
            (true, Goes::Across) if is_lost => (shaft(2), format!("{}{}{}", shaft(half), glyphs.lost, air(len - half))),
            (true, Goes::Across) => (shaft(2), format!("{}{}", shaft(len), glyphs.right)),
            (true, Goes::Leaves) => (shaft(2), format!("{}{}{}", shaft(half), glyphs.falls, air(len - half))),
            (true, Goes::Arrives) => (format!("{}{}", air(len), glyphs.falls), format!("{}{}", shaft(1), glyphs.right)),
            (false, Goes::Across) if is_lost => (air(2), format!("{}{}{}", air(len - half), glyphs.lost, shaft(half))),
            (false, Goes::Across) => (format!("{}{}", glyphs.left, shaft(1)), shaft(len + 1)),
            (false, Goes::Leaves) => (format!("{}{}", air(len), glyphs.rises), shaft(2)),
            (false, Goes::Arrives) => (format!("{}{}", glyphs.left, shaft(1)), format!("{}{}", glyphs.rises, air(len))),
        };
        line.push(paint, format!("{before} "));
        line.append(label);
        line.push(paint, format!(" {after}"));
        let line = line.left(inner + 1, "");
        Arrow { left, right, leaves_right: !falls && goes != Goes::Arrives, line }
    }
}

/// Which part of an arrow a row shows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Goes {
    Across,
    Leaves,
    Arrives,
}

/// The narrowest lane: a call with its result has room on two lines, and a segment's frame, flags and octets on one.
const NARROWEST: usize = 28;
/// A wider lane would only part what belongs together.
const WIDEST: usize = 60;
/// What is left for the column of time.
const TIME: usize = 12;
/// Of more connections two have the same lanes: the widest page has room for six, and a connection for each two of them.
pub(super) const MOST_CONNECTIONS: usize = 15;
