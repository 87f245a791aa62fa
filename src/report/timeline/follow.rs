//! The timeline as it grows: each row once it is certain, and again, marked, where later evidence changed it.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};

use smallvec::{SmallVec, smallvec};

use super::sheet::{Draws as _, Pen, Sheet};
use super::{Used, compact, ladder};
use crate::flow::{Connection, ConnectionId, Totals};
use crate::report::clock;
use crate::report::diagnoses::Found;
use crate::report::style::{Paint, Style};
use crate::report::text::{Line, escape, wrap};
use crate::report::view::{Form, Index, Marks, Moved, Open, Row, View, What};
use crate::report::{Table, summary};
use crate::session::Sink;
use crate::story::{Changes, Diagnosis, Event, EventId, EventKind, Lookup, Story, Timeline};
use crate::time::{Span, Timestamp};

/// Draws a timeline while it grows: one connection as a ladder, or several as lines that begin with the connection's id.
///
/// The rows of one moment may be drawn before it is known whose they are: what belongs to no connection has a dash in place of the id.
pub struct Follow<'a> {
    out: &'a mut dyn Write,
    style: Style,
    origin: Option<Timestamp>,
    layout: Layout,
    marks: Marks,
    /// By connection, or all together where there is one ladder.
    parts: HashMap<Option<ConnectionId>, Part>,
    used: Used,
    found: Found,
    /// How many connections have been told.
    ended: u64,
}

/// How the rows stand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Layout {
    /// Nothing is drawn yet; all rows are to be in one ladder as long as there is one connection.
    Undecided,
    /// All rows are those of one connection, if it is known.
    One(Option<ConnectionId>),
    /// Each line begins with its connection.
    Several,
}

/// What was drawn of a connection.
#[derive(Clone, Debug)]
struct Part {
    open: Open,
    pen: Pen,
    /// What each event's row said.
    said: HashMap<EventId, u64>,
}

impl Default for Part {
    fn default() -> Self {
        Self { open: Open::default(), pen: Pen::of(2), said: HashMap::new() }
    }
}

impl<'a> Follow<'a> {
    /// Draws one connection as long as there is no other: calls of sockets that have none yet stand with it.
    pub fn of_one(out: &'a mut dyn Write, style: &Style) -> Self {
        Self::with(out, style, Layout::Undecided)
    }

    /// Draws several connections, each line with the id of its own.
    pub fn of_several(out: &'a mut dyn Write, style: &Style) -> Self {
        Self::with(out, style, Layout::Several)
    }

    fn with(out: &'a mut dyn Write, style: &Style, layout: Layout) -> Self {
        // Nobody knows how long it will take: there is room for a quarter of an hour.
        let style = Style { room_until: style.room_until.max(Span::from_millis(999_000)), ..*style };
        let (marks, parts, used) = (Marks::default(), HashMap::new(), Used::default());
        Self { out, style, origin: None, layout, marks, parts, used, found: Found::default(), ended: 0 }
    }

    /// Ends a timeline all of whose events were drawn: the summaries of its connections, what the capture lacks, and the legend.
    ///
    /// # Errors
    /// Those of the output.
    pub fn end(&mut self, story: &Story) -> io::Result<()> {
        let index = Index::new(story);
        writeln!(self.out)?;
        // Of many each has a line, as those have that were told before.
        let is_short = self.ended > 0 || story.connections.len() > MOST_IN_FULL;
        for connection in story.connections.iter().filter(|_| is_short) {
            self.connection(connection.clone())?;
        }
        for connection in story.connections.iter().filter(|_| !is_short) {
            if story.connections.len() > 1 {
                let (client, server) = (connection.client, connection.server);
                let becomes = self.style.glyphs().becomes;
                Line::of(Paint::Strong, format!("connection {}", connection.id.0))
                    .with(Paint::Plain, format!("  {client} {becomes} {server}"))
                    .write(self.out, &self.style)?;
            }
            let events = index.events_of(Some(connection.id));
            summary::write(self.out, events, connection, &story.threads, &self.style)?;
            writeln!(self.out)?;
        }
        summary::totals(self.out, &story.totals, &self.style)?;
        self.legend()
    }

    /// What seems wrong and was told.
    pub fn found(&mut self) -> &mut Found {
        &mut self.found
    }

    /// Writes the legend of what was drawn.
    ///
    /// # Errors
    /// Those of the output.
    pub fn legend(&mut self) -> io::Result<()> {
        self.used.legend(self.out, &self.style)
    }

    /// Says something across the page, between the rows.
    ///
    /// # Errors
    /// Those of the output.
    pub fn say(&mut self, said: &str) -> io::Result<()> {
        for text in wrap(said, self.style.columns(), self.style.glyphs().ellipsis) {
            Line::of(Paint::Strong, text).write(self.out, &self.style)?;
        }
        Ok(())
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }

    /// Where the rows go, for what is said between them.
    pub(in crate::report) fn out(&mut self) -> &mut dyn Write {
        self.out
    }

    /// Decides how rows stand, now that these are to be drawn.
    fn lay_out(&mut self, added: &[&Event], timeline: &Timeline) -> io::Result<()> {
        if self.layout == Layout::Undecided && !added.is_empty() {
            let mut ids = added.iter().filter_map(|event| event.connection);
            let first = ids.next();
            let is_one = ids.all(|id| Some(id) == first);
            self.layout = if is_one { Layout::One(first) } else { Layout::Several };
            if is_one {
                self.head(timeline)?;
            }
        }
        for id in added.iter().filter_map(|event| event.connection) {
            match self.layout {
                Layout::One(None) => self.layout = Layout::One(Some(id)),
                Layout::One(Some(one)) if one != id => {
                    self.layout = Layout::Several;
                    // What is known of the first goes on under its id.
                    let part = self.parts.remove(&None).unwrap_or_default();
                    self.parts.insert(Some(one), part);
                    self.say("another connection begins: from here on each line has the id of its own")?;
                    self.head(timeline)?;
                }
                _ => {}
            }
        }
        if self.layout == Layout::Several && self.parts.is_empty() && !added.is_empty() {
            self.head(timeline)?;
        }
        Ok(())
    }

    fn head(&mut self, timeline: &Timeline) -> io::Result<()> {
        let Self { out, style, layout, origin, .. } = self;
        let origin = origin.unwrap_or(Timestamp::from_nanos(0));
        let index = Index::growing(timeline, Marks::default());
        let (style, indent) = (inner(style, *layout), indent(*layout));
        let page_style = &style;
        let sheet = Sheet { index: &index, connection: None, has_wire: true, origin, style: page_style };
        let mut view = View::of_more(&index, &[], &mut Open::default(), None);
        view.rows.clear();
        let date = clock::date(origin, page_style);
        Line::of(Paint::Dim, date).write(*out, page_style)?;
        let mut drawn = Vec::new();
        match is_ladder(&style, *layout) {
            true => ladder::Page::new(&sheet, &view).head(&mut drawn)?,
            false => compact::Page::new(&sheet, &view).head(&mut drawn)?,
        }
        let before =
            if *layout == Layout::Several { format!("{:>width$} ", "id", width = indent - 1) } else { String::new() };
        prefixed(*out, &drawn, &before, indent)
    }

    /// The part that an event is drawn in.
    fn part_of(&self, event: &Event) -> Option<ConnectionId> {
        if self.layout == Layout::Several { event.connection } else { None }
    }
}

impl Sink for Follow<'_> {
    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        let (first, count) = changes.added;
        let mut added: Vec<&Event> = (first.0..first.0 + count)
            .filter_map(|id| timeline.find(EventId(id)))
            .filter(|event| !timeline.is_withdrawn(event.id))
            .collect();
        added.sort_by_key(|event| (timeline.order_of(event.id), event.id));
        if self.origin.is_none() {
            self.origin = added.iter().filter_map(|event| event.at).min();
        }
        self.lay_out(&added, timeline)?;
        for event in &added {
            self.marks.hear(event);
            self.marks.count(event);
        }
        let amended: Vec<&Event> = changes.amended.iter().filter_map(|id| timeline.find(*id)).collect();

        // A call may turn out to be of a connection after it was entered: there it returns.
        if self.layout == Layout::Several
            && let Some(mut nobodys) = self.parts.remove(&None)
        {
            let homes: Vec<_> =
                nobodys.open.calls().filter_map(|id| Some((id, timeline.find(id)?.connection?))).collect();
            for (id, home) in homes {
                let part = self.parts.entry(Some(home)).or_default();
                nobodys.open.hand_over(&mut part.open, |call| call == id);
                if let Some(said) = nobodys.said.remove(&id) {
                    part.said.insert(id, said);
                }
            }
            self.parts.insert(None, nobodys);
        }

        let mut by_part: HashMap<Option<ConnectionId>, Vec<&Event>> = HashMap::new();
        for event in &added {
            by_part.entry(self.part_of(event)).or_default().push(event);
        }
        for (part, known) in &self.parts {
            if known.open.calls().next().is_some() {
                by_part.entry(*part).or_default();
            }
        }
        let index = Index::growing(timeline, std::mem::take(&mut self.marks));
        let mut rows: Vec<(Option<Timestamp>, Option<ConnectionId>, Row<'_>)> = Vec::new();
        let mut parts: Vec<_> = by_part.into_iter().collect();
        parts.sort_by_key(|(part, _)| *part);
        for (id, events) in parts {
            let part = self.parts.entry(id).or_default();
            let view = View::of_more(&index, &events, &mut part.open, changes.until);
            let mut latest = None;
            for row in view.rows {
                latest = latest.max(row.at);
                rows.push((latest, id, row));
            }
            for event in events {
                part.said.insert(event.id, saying(event, timeline));
            }
        }
        rows.sort_by_key(|(at, ..)| *at);

        let Self { out, style, layout, origin, parts, used, .. } = self;
        let origin = origin.unwrap_or(Timestamp::from_nanos(0));
        let layout = *layout;
        let (style, indent) = (inner(style, layout), indent(layout));
        let sheet = Sheet { index: &index, connection: None, has_wire: true, origin, style: &style };
        let empty = View::of_more(&index, &[], &mut Open::default(), None);
        let page = match is_ladder(&style, layout) {
            true => Page::Ladder(ladder::Page::new(&sheet, &empty)),
            false => Page::Lines(compact::Page::new(&sheet, &empty)),
        };
        used.compact |= matches!(page, Page::Lines(_));
        let mut drawn = Vec::new();
        for (_, id, row) in &rows {
            let part = parts.entry(*id).or_default();
            used.see(row);
            drawn.clear();
            if layout == Layout::Several {
                // The parts of several lives would interrupt one another.
                part.pen.phase = Some(row.phase);
            }
            page.next(&mut drawn, row, &mut part.pen)?;
            prefixed(*out, &drawn, &before(layout, *id, indent, None), indent)?;
            if let What::Call { id: call, form: Form::Return | Form::Unreturned, .. } = &row.what
                && let Some(event) = timeline.find(*call)
            {
                part.said.insert(*call, saying(event, timeline));
            }
        }
        for event in amended {
            let id = if layout == Layout::Several { event.connection } else { None };
            // A call may have been told before it was known whose it is.
            let nobodys = id.and_then(|_| parts.get_mut(&None)?.said.remove(&event.id));
            let part = parts.entry(id).or_default();
            if let Some(said) = nobodys {
                part.said.insert(event.id, said);
            }
            let says = saying(event, timeline);
            let is_open = part.open.calls().any(|call| call == event.id);
            let Some(said) = part.said.get_mut(&event.id).filter(|said| **said != says && !is_open) else { continue };
            *said = says;
            used.amended = true;
            let states = part.open.states().to_vec();
            let Some(row) = alone(&index, event, states) else { continue };
            drawn.clear();
            page.row(&mut drawn, &row, &part.pen)?;
            if timeline.is_withdrawn(event.id) {
                let taken_back = "     taken back: later evidence shows that it did not happen";
                Line::of(Paint::Bad, taken_back)
                    .cut(style.columns(), style.glyphs().ellipsis)
                    .write(&mut drawn, &style)?;
                part.said.remove(&event.id);
            }
            prefixed(*out, &drawn, &before(layout, id, indent, Some(style.glyphs().amended)), indent)?;
        }
        self.marks = index.into_marks();
        Ok(())
    }

    fn forgets(&mut self, connection: ConnectionId) {
        self.marks.forget(connection);
        self.parts.remove(&Some(connection));
        if self.layout == Layout::One(Some(connection)) {
            // What comes from now on is of another one, or of none.
            self.parts.clear();
            self.layout = Layout::One(None);
        }
    }

    fn forgets_events(&mut self, events: &[EventId]) {
        if let Some(part) = self.parts.get_mut(&None) {
            let gone: HashSet<EventId> = events.iter().copied().collect();
            part.open.forget(|call| gone.contains(&call));
            events.iter().for_each(|event| _ = part.said.remove(event));
        }
    }

    fn diagnosed(&mut self, timeline: &Timeline, found: &[Diagnosis]) -> io::Result<()> {
        let origin = self.origin.unwrap_or(Timestamp::from_nanos(0));
        self.found.write(self.out, timeline, found, origin, &self.style)
    }

    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.ended += 1;
        let Self { out, style, layout, .. } = self;
        let mut line = Line::of(Paint::Strong, format!("{:>5} ", connection.id.0));
        line.push(Paint::Strong, format!("end {}", connection.ending.name()));
        let becomes = style.glyphs().becomes;
        line.push(Paint::Plain, format!("  {} {becomes} {}", connection.client, connection.server));
        if let Some(lasted) = connection.duration() {
            line.push(Paint::Plain, format!(" after {}", clock::duration(lasted, super::words::micro(style))));
        }
        line.cut(style.columns(), style.glyphs().ellipsis).write(*out, style)?;
        let said = escape(&style.wording().verdict(&connection.verdict), style);
        let indent = indent(*layout).max(6);
        for text in wrap(&said, style.columns().saturating_sub(indent), style.glyphs().ellipsis) {
            Line::of(Paint::Plain, format!("{:indent$}{text}", "")).write(*out, style)?;
        }
        Ok(())
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        Table::new(&self.style).totals(self.out, totals, totals.connections)?;
        summary::totals(self.out, totals, &self.style)?;
        self.legend()
    }
}

/// What draws the rows.
enum Page<'a> {
    Ladder(ladder::Page<'a>),
    Lines(compact::Page<'a>),
}

impl Page<'_> {
    fn next(&self, out: &mut dyn Write, row: &Row<'_>, pen: &mut Pen) -> io::Result<()> {
        match self {
            Self::Ladder(page) => page.next(out, row, pen),
            Self::Lines(page) => page.next(out, row, pen),
        }
    }

    fn row(&self, out: &mut dyn Write, row: &Row<'_>, pen: &Pen) -> io::Result<()> {
        match self {
            Self::Ladder(page) => page.row(out, row),
            Self::Lines(page) => page.row(out, row, &pen.states),
        }
    }
}

/// A row of one event, with nothing beside it.
fn alone<'a>(index: &Index<'a>, event: &'a Event, states: Vec<Option<crate::tcp::State>>) -> Option<Row<'a>> {
    let lane = |side| crate::report::view::LaneId(side as usize);
    let mut moves = Vec::new();
    let what = match &event.kind {
        EventKind::Call(call) => {
            let form = if call.call.returned.is_some() { Form::Return } else { Form::Unreturned };
            What::Call { id: event.id, call, lane: lane(index.side(call)), form }
        }
        EventKind::Segment(segment) => {
            What::Segment { segment, from: lane(segment.from), to: lane(segment.from.peer()), departs: false }
        }
        EventKind::Transition(transition) => {
            moves.push(Moved { transition, lane: lane(transition.side), listener: event.connection.is_none() });
            What::Moves
        }
        EventKind::Icmp(icmp) => What::Icmp { icmp, lane: lane(icmp.side) },
        EventKind::Link(link) => What::Link { link, from: lane(link.from), to: lane(link.from.peer()) },
        EventKind::Kernel(_) | EventKind::Timer(_) => return None,
    };
    Some(Row {
        at: event.at,
        phase: event.phase,
        what,
        moves,
        slots: smallvec![SmallVec::new(); 2],
        states: states.into(),
    })
}

/// What a row says of an event, in short: where that changes, the row is drawn again.
fn saying(event: &Event, timeline: &Timeline) -> u64 {
    let mut hasher = DefaultHasher::new();
    match &event.kind {
        // What a send put on the wire is said where it goes by.
        EventKind::Call(call) => {
            (call.call.result(), call.call.errno(), &call.brought_by, call.completed_by).hash(&mut hasher);
            call.stream.map(|range| (range.from, range.to)).hash(&mut hasher);
        }
        EventKind::Segment(segment) => {
            let cause = &segment.cause;
            (&cause.calls, cause.kernel, cause.of, cause.why, cause.evidence, cause.unwatched).hash(&mut hasher);
            (segment.fate, cause.link).hash(&mut hasher);
            (segment.from, segment.findings.iter().collect::<Vec<_>>()).hash(&mut hasher);
        }
        EventKind::Transition(moved) => {
            (moved.side, moved.from, moved.to, moved.cause, &moved.evidence, event.at).hash(&mut hasher);
            (moved.disagreement.is_some(), timeline.is_withdrawn(event.id)).hash(&mut hasher);
        }
        EventKind::Icmp(icmp) => (icmp.side, icmp.segment).hash(&mut hasher),
        EventKind::Link(link) => link.segment.hash(&mut hasher),
        EventKind::Timer(_) | EventKind::Kernel(_) => {}
    }
    hasher.finish()
}

/// The style of what is drawn right of the mark and the id.
fn inner(style: &Style, layout: Layout) -> Style {
    Style { width: style.columns().saturating_sub(indent(layout)), ..*style }
}

/// The columns of the mark and the id.
fn indent(layout: Layout) -> usize {
    if layout == Layout::Several { ID + 2 } else { 2 }
}

fn is_ladder(inner: &Style, layout: Layout) -> bool {
    layout != Layout::Several && inner.columns() >= Style::LADDER
}

/// What stands before the first line of a row.
fn before(layout: Layout, id: Option<ConnectionId>, indent: usize, mark: Option<&str>) -> String {
    let mark = mark.unwrap_or(" ");
    match layout {
        Layout::Several => {
            let id = id.map_or("-".to_owned(), |id| id.0.to_string());
            format!("{mark}{id:>width$} ", width = indent - 2)
        }
        Layout::Undecided | Layout::One(_) => format!("{mark} "),
    }
}

/// Writes lines, the first of them after `before`, the others as far from the edge.
fn prefixed(out: &mut dyn Write, lines: &[u8], before: &str, indent: usize) -> io::Result<()> {
    for (at, line) in lines.split_inclusive(|octet| *octet == b'\n').enumerate() {
        if at == 0 {
            write!(out, "{before:indent$}")?;
        } else if line != b"\n" {
            write!(out, "{:indent$}", "")?;
        }
        out.write_all(line)?;
    }
    Ok(())
}

/// Of how many connections the summaries are written in full at the end.
const MOST_IN_FULL: usize = 100;
/// Columns of a connection's id.
const ID: usize = 5;

#[cfg(test)]
mod tests {
    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::session::{Keep, Session};
    use crate::story::script::{recording, words};

    const SLOW: &str = "
        1us..2us S: socket() = 4
        3us..4us S: bind() = 0
        5us..6us S: listen(5) = 0 in LISTEN
        50us..900us S: accept() = 5
        90us..92us C: socket() = 3
        100us..800us C: connect() = 0 in ESTABLISHED
        150us C > S: S 0(0)
        700us S > C: S. 0(0) ack 1
        810us C > S: . 1(0) ack 1
        1000000us..1400000us C: send(10) = 10
        1000100us C > S: P. 1(10) ack 1
        1000200us..2000000us S: recv() = 10
        2100000us..2100100us C: close() = 0
        2100050us C > S: F. 11(0) ack 1
        2100090us S > C: . 1(0) ack 12
    ";

    /// What is drawn of a script as its words come in.
    fn drawn(script: &str, style: &Style) -> String {
        let recording = recording(script);
        let mut out = Vec::new();
        let mut follow = Follow::of_one(&mut out, style);
        let mut session = Session::new(Keep::All).growing();
        session.know_threads(recording.threads.clone());
        let mut now: Option<Timestamp> = None;
        for word in words(recording) {
            // The clock goes on while nobody speaks.
            while let (Some(before), Some(at)) = (now, word.at())
                && before < at
            {
                let next = before.after(Span::from_millis(20)).min(at);
                session.pass(next, &mut follow).expect("a Vec takes everything");
                now = Some(next);
            }
            now = now.or(word.at());
            session.hear(word);
        }
        session.settle(&mut follow).and_then(|()| follow.legend()).expect("a Vec takes everything");
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn a_row_is_drawn_when_it_is_certain_and_again_where_it_was_not() {
        for width in [80, 120] {
            let text = drawn(SLOW, &Style::plain(width));
            let segment: Vec<&str> = text.lines().filter(|line| line.contains("#4 PSH,ACK len 10")).collect();
            let [first, again] = &segment[..] else { panic!("{width}: {text}") };
            assert!(first.starts_with("  ") && !first.contains("by send"), "{text}");
            assert!(again.starts_with("± ") && again.contains("by send"), "{text}");
            assert_eq!(text.matches("± ").count(), 2, "the segment, and the legend: {text}");
            let line = |wanted: &str| text.lines().position(|line| line.contains(wanted)).expect(wanted);
            assert!(line("connect(") < line("#1 SYN") && line("#1 SYN") < line("connect = 0"), "{text}");
            assert!(line("send = 10") < line("recv = 10") && line("recv = 10") < line("#5 FIN"), "{text}");
            assert!(text.lines().all(|line| line.width() <= width), "{width}: {text}");
        }
    }

    #[test]
    fn with_a_second_connection_each_line_has_the_id_of_its_own() {
        let two = "C = 10.0.0.1:1\nC2 = 10.0.0.1:2\n0us C > S: S 0(0)\n1us S > C: S. 0(0) ack 1\n\
                   500000us C2 > S: S 0(0)\n500001us S > C2: R. 0(0) ack 1\n900000us C > S: R 1(0)";
        let text = drawn(two, &Style::plain(100));
        let (before, after) = text.split_once("another connection begins").expect("it is said");
        assert!(before.contains("#1 SYN") && !before.contains("#3 SYN"), "{text}");
        let of = |id: &str, frame: &str| after.lines().any(|line| line.starts_with(id) && line.contains(frame));
        assert!(of("     1 ", "#3 SYN") && of("     1 ", "#4 RST") && of("     0 ", "#5 RST"), "{text}");
    }

    #[test]
    fn the_summaries_of_few_connections_stand_in_full_and_of_more_each_has_a_line() {
        let ended = |count: usize| {
            let recording = recording("0us C > S: S 0(0)\n1us S > C: R. 0(0) ack 1");
            let mut story = recording.told();
            let one = story.connections.remove(0);
            story.connections =
                (0..count as u64).map(|id| Connection { id: ConnectionId(id), ..one.clone() }).collect();
            let mut out = Vec::new();
            Follow::of_one(&mut out, &Style::plain(100)).end(&story).expect("a Vec takes everything");
            let text = String::from_utf8(out).expect("text");
            let lines = text.lines().filter(|line| line.contains("the port is closed")).count();
            (text.matches("closed by").count(), text.matches("verdict").count(), lines)
        };
        let most = MOST_IN_FULL;
        assert_eq!(ended(most), (most, most, most));
        assert_eq!(ended(most + 1), (0, 0, most + 1));
    }
}
