//! The timeline: a story drawn as a ladder of calls, segments and states, or as compact lines where it is narrow.

mod chart;
mod compact;
mod follow;
mod ladder;
mod sheet;
pub(super) mod words;

use std::collections::BTreeSet;
use std::io::{self, Write};

pub use self::follow::Follow;

use self::sheet::Sheet;
use super::clock;
use super::style::{Detail, Paint, Style};
use super::summary;
use super::text::{Columns as _, Line, wrap};
use super::view::{Form, Index, Row, View, What};
use crate::flow::ConnectionId;
use crate::kernel::Witness;
use crate::share::{InTurn, Share};
use crate::story::{Event, Story};
use crate::time::Timestamp;

/// Writes the timeline of the connections in `chosen`, or of all when it is empty, with a summary and a legend.
///
/// From [`Style::LADDER`] columns on each connection is a ladder, below that a list of compact lines.
/// With one connection in the story, the calls of its listening socket stand in the ladder at their time.
/// With several they come first, in a part of their own, and then each connection has its ladder.
///
/// # Errors
/// Whatever `out` answers.
pub fn write(
    out: &mut dyn Write,
    story: &Story,
    chosen: &[ConnectionId],
    style: &Style,
    share: &impl Share,
) -> io::Result<()> {
    write_from(out, story, chosen, style, 0, share)
}

/// Writes the rest of the timeline of which [`begin`] has drawn so many rows, with a summary and a legend.
///
/// # Errors
/// Whatever `out` answers.
pub fn go_on(out: &mut dyn Write, story: &Story, style: &Style, drawn: usize) -> io::Result<()> {
    write_from(out, story, &[], style, drawn, &InTurn)
}

fn write_from(
    out: &mut dyn Write,
    story: &Story,
    chosen: &[ConnectionId],
    style: &Style,
    drawn: usize,
    share: &impl Share,
) -> io::Result<()> {
    let index = Index::new(story);
    let connections = index.chosen(chosen);
    let mut used = Used::default();
    let first = story.events.iter().filter_map(|event| event.at).min();
    let origin = first.unwrap_or_else(|| Timestamp::from_nanos(0));
    let alone = story.connections.len() <= 1 && story.totals.connections <= 1;
    if !alone || connections.is_empty() {
        let view = View::of_one(&index, index.events_of(None));
        if !view.rows.is_empty() {
            let title = Line::of(Paint::Strong, "sockets without a connection of their own");
            let date = Line::of(Paint::Dim, format!("  {}", clock::date(origin, style)));
            let room = style.columns().saturating_sub(title.width());
            let title = if date.width() <= room { title.joined(date) } else { title };
            title.cut(style.columns(), style.glyphs().ellipsis).write(out, style)?;
            let sheet = Sheet { index: &index, connection: None, has_wire: false, origin, style };
            draw(out, &sheet, view, 0, &mut used, share)?;
            writeln!(out)?;
        }
        let ids: Vec<ConnectionId> = connections.iter().map(|connection| connection.id).collect();
        if ids.len() > 1 && ids.len() <= chart::MOST_CONNECTIONS {
            let view = View::of_several(&index, &ids);
            if chart::has_room(&view, style) {
                let sheet = Sheet { index: &index, connection: None, has_wire: true, origin, style };
                let view = match style.detail {
                    Detail::Runs => view.folded(),
                    Detail::Every => view,
                };
                view.rows.iter().for_each(|row| used.see(row));
                chart::draw(out, &sheet, &view)?;
                writeln!(out)?;
                for connection in &connections {
                    Sheet { index: &index, connection: Some(connection), has_wire: true, origin, style }.title(out)?;
                    summary::write(out, index.events_of(Some(connection.id)), connection, &story.threads, style)?;
                    writeln!(out)?;
                }
                summary::totals(out, &story.totals, style)?;
                return used.legend(out, style);
            }
        }
        if connections.len() > 1 {
            let said = format!(
                "{} connections follow, each drawn by itself: client left, wire in the middle, server right. \
                 All times count from the same moment, so that one can be laid beside the other.",
                connections.len()
            );
            for text in wrap(&said, style.columns(), style.glyphs().ellipsis) {
                Line::of(Paint::Plain, text).write(out, style)?;
            }
            writeln!(out)?;
        }
    }
    for connection in &connections {
        let own = index.events_of(Some(connection.id));
        let view = if alone {
            let all: Vec<&Event> = story.events.iter().collect();
            View::of_one(&index, &all)
        } else {
            View::of_one(&index, own)
        };
        let sheet = Sheet { index: &index, connection: Some(connection), has_wire: true, origin, style };
        if drawn == 0 {
            sheet.title(out)?;
        }
        draw(out, &sheet, view, drawn, &mut used, share)?;
        writeln!(out)?;
        summary::write(out, own, connection, &story.threads, style)?;
        writeln!(out)?;
    }
    summary::totals(out, &story.totals, style)?;
    used.legend(out, style)
}

/// Writes the timeline of a story's only connection as far as it has come, without summary and legend; tells how many rows were drawn.
///
/// When the story has gone on, [`go_on`] draws the others; [`Style::room_until`] leaves room for its last moment.
/// With several connections, each with a ladder of its own, nothing can be written before the end, and nothing is.
///
/// # Errors
/// Whatever `out` answers.
pub fn begin(out: &mut dyn Write, story: &Story, style: &Style) -> io::Result<usize> {
    let [connection] = &story.connections[..] else { return Ok(0) };
    let index = Index::new(story);
    let first = story.events.iter().filter_map(|event| event.at).min();
    let origin = first.unwrap_or_else(|| Timestamp::from_nanos(0));
    let all: Vec<&Event> = story.events.iter().collect();
    let sheet = Sheet { index: &index, connection: Some(connection), has_wire: true, origin, style };
    sheet.title(out)?;
    draw(out, &sheet, View::of_one(&index, &all), 0, &mut Used::default(), &InTurn)
}

/// Draws the rows of a view after those `drawn` before, as a ladder, or as compact lines where that has no room, or no two lanes.
///
/// Returns how many rows there are.
fn draw(
    out: &mut dyn Write,
    sheet: &Sheet<'_>,
    view: View<'_>,
    drawn: usize,
    used: &mut Used,
    share: &impl Share,
) -> io::Result<usize> {
    let view = match sheet.style.detail {
        Detail::Runs => view.folded(),
        Detail::Every => view,
    };
    for row in &view.rows {
        used.see(row);
    }
    if sheet.style.columns() >= Style::LADDER && view.lanes.len() == 2 {
        ladder::draw(out, sheet, &view, drawn, share)?;
    } else {
        used.compact = true;
        compact::draw(out, sheet, &view, drawn, share)?;
    }
    Ok(view.rows.len())
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
    runs: bool,
    compact: bool,
    amended: bool,
    slanted: bool,
}

impl Used {
    fn see(&mut self, row: &Row<'_>) {
        for moved in &row.moves {
            if moved.transition.is_inferred() {
                self.inferred = true;
            } else {
                self.witnesses.extend(&moved.transition.evidence);
            }
        }
        match &row.what {
            What::Call { call, form, .. } => {
                self.opened |= *form == Form::Entry;
                self.answered |= call.completed_by.is_some();
            }
            What::Segment { segment, .. } => {
                self.segments = true;
                self.inferred |= segment.cause.is_inferred();
                self.kernel |= segment.cause.kernel.is_some();
            }
            What::Run { segments: run, .. } => {
                (self.segments, self.runs) = (true, true);
                self.inferred |= run.iter().any(|segment| segment.cause.is_inferred());
                self.kernel |= run.iter().any(|segment| segment.cause.kernel.is_some());
            }
            What::Timer { .. } => {
                self.witnesses.insert(Witness::SockDiag);
            }
            What::Arrival { .. } => self.slanted = true,
            What::Icmp { .. } | What::Link { .. } | What::Moves => {}
        }
    }

    fn legend(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        let glyphs = style.glyphs();
        let mut parts = Vec::new();
        if self.compact && self.segments {
            parts.push("C client, S server; * a state that this line changed, ~ the same, inferred".to_owned());
        }
        if self.opened && !self.compact {
            let (opens, closes) = (glyphs.opens, glyphs.closes);
            parts.push(format!("{opens} a call is entered, {closes} it returns"));
        }
        if self.segments {
            parts.push("#n a frame of the capture, seq and ack count from each end's SYN".to_owned());
        }
        if self.runs {
            parts.push("#n-#m several segments alike, drawn as one".to_owned());
        }
        if self.slanted && !self.compact {
            let (falls, right) = (glyphs.falls, glyphs.right);
            parts.push(format!(
                "{falls} {right} a segment leaves, and arrives where that is seen, at times of their own"
            ));
        }
        if self.answered {
            parts.push(format!("{} #n the segments that let the call return", glyphs.because));
        }
        if self.kernel {
            parts.push("kernel: sent by the kernel itself, for no call".to_owned());
        }
        if self.inferred {
            parts.push("~ inferred by a rule, not witnessed".to_owned());
        }
        if self.amended {
            parts.push(format!("{} a row from above, as later evidence has it", glyphs.amended));
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
            if joined.width() <= columns {
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
    use std::path::Path;

    use unicode_width::UnicodeWidthStr;

    use super::*;
    use crate::calls::{Effect, Errno, Stack, StackFrame};
    use crate::flow::{Ending, ResetKind, Side, Verdict};
    use crate::report::wording::{English, Wording};
    use crate::report::{Charset, Clock, Color, sample};
    use crate::story::{EventKind, Mechanism, Phase, Timing};
    use crate::tcp::{Finding, Rule};
    use crate::time::Span;
    use crate::wire::Flags;

    fn drawn(story: &Story, style: &Style) -> String {
        let mut out = Vec::new();
        write(&mut out, story, &[], style, &InTurn).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn no_line_is_wider_than_the_page_nor_ends_in_a_space() {
        let stories = [sample::echo(), sample::troubled()];
        for (width, story) in
            (Style::NARROWEST..=Style::WIDEST).flat_map(|width| stories.iter().map(move |s| (width, s)))
        {
            for charset in [Charset::Unicode, Charset::Ascii] {
                let text = drawn(story, &Style { charset, ..Style::plain(width) });
                for line in text.lines() {
                    assert!(UnicodeWidthStr::width(line) <= width, "{width}: {line}");
                    assert!(!line.ends_with(' '), "{width}: {line:?}");
                }
                assert!(charset == Charset::Unicode || text.is_ascii(), "{text}");
            }
        }
    }

    #[test]
    fn a_frame_captured_twice_is_the_same_frame_and_no_retransmission() {
        let mut t = sample::Teller::new();
        t.connection = Some(ConnectionId(0));
        t.phase = Phase::Data;
        let send = t.call((0, 5), Side::Client, "send(10, 0)", Effect::Send, 4, 10);
        t.segment(1, Side::Client, Flags::ACK, (1, 1, 10), sample::by(&[send]));
        t.segment(2, Side::Client, Flags::ACK, (11, 1, 10), sample::by(&[send]));
        let copy = t.segment(3, Side::Client, Flags::ACK, (1, 1, 10), sample::by(&[send]));
        t.segment_mut(copy).findings = [Finding::SpuriousRetransmission, Finding::CapturedTwice].into_iter().collect();
        t.segment_mut(copy).cause.kernel = Some(Mechanism::RetransmissionTimeout);
        let again = t.segment(300_000, Side::Client, Flags::ACK, (1, 1, 10), sample::by(&[send]));
        t.segment_mut(again).findings.insert(Finding::Retransmission);
        let mut story = t.summed_up(Ending::Open, None, Verdict::Open);
        story.connections[0].client_to_server.retransmissions = 2;
        for width in [60, 80, 100, 128, 160] {
            let text = drawn(&story, &Style::plain(width));
            assert!(text.contains("same frame as #1"), "{width}: {text}");
            assert!(!text.contains("timeout"), "{width}: {text}");
            let (rows, summary) = text.split_once("\n\n").unwrap();
            assert!(!rows.contains("spurious") && rows.contains("captured twice"), "{width}: {text}");
            let said = summary.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("in 4 segments, 1 retransmitted, 1 captured twice"), "{width}: {said}");
        }
    }

    /// What decides is there at every width, unbroken; only the verdict may go on on the next line.
    #[test]
    fn nothing_that_decides_is_cut() {
        let reset = Verdict::Reset { by: Side::Server, kind: ResetKind::OctetsAfterClose };
        let verdict = English.verdict(&reset);
        let calls = [
            ("connect(127.0.0.1:8888, 16)", Effect::Connect, Some("ECONNREFUSED")),
            ("setsockopt(SOL_SOCKET, SO_REUSEADDR, 1, 4)", Effect::Option, Some("EPROTONOSUPPORT")),
            ("getsockname(127.0.0.1:8888, 16)", Effect::Other, None),
            ("send(1000000, MSG_NOSIGNAL|MSG_DONTWAIT)", Effect::Send, Some("ENOBUFS")),
            ("epoll_pwait2(0x7ffc0123456789ab, 1024, {tv_sec=1, tv_nsec=500000000}, NULL, 8)", Effect::Other, None),
        ];
        let mut t = sample::Teller::new();
        t.connection = Some(ConnectionId(0));
        t.phase = Phase::Data;
        for (n, (shown, effect, errno)) in (0..).zip(calls) {
            for side in [Side::Client, Side::Server] {
                let id = t.call(
                    (n * 100, n * 100 + 90),
                    side,
                    shown,
                    effect,
                    1_048_575,
                    if errno.is_some() { -1 } else { 37 },
                );
                let call = &mut t.call_mut(id).call;
                let returned = call.returned.as_mut().expect("it returned");
                returned.result = errno.map_or(Ok(37), |name| Err(Errno::named(name).expect("an error")));
                // Seen to return after something else, which gives it a row for its return and a line beside the others.
                t.segment(n * 100 + 50, side.peer(), Flags::ACK, (1, 1, 10), sample::by(&[]));
            }
        }
        for (n, finding) in (10..).zip(Finding::ALL) {
            for side in [Side::Client, Side::Server] {
                let id = t.segment(
                    n * 100,
                    side,
                    Flags::PSH | Flags::ACK,
                    (4_294_967_290, 4_294_967_290, 1460),
                    sample::by(&[]),
                );
                let segment = t.segment_mut(id);
                segment.findings.insert(*finding);
                segment.window = if *finding == Finding::ZeroWindow { 0 } else { 65_536 };
            }
        }
        let story = t.summed_up(Ending::Reset, None, reset);
        for (width, clock) in
            (60..=200).flat_map(|width| [Clock::Elapsed, Clock::TimeOfDay, Clock::Epoch].map(|clock| (width, clock)))
        {
            let text = drawn(&story, &Style { clock, ..Style::plain(width) });
            let (rows, summary) = text.split_once("\n\n").unwrap();
            let count = |wanted: &str| rows.matches(wanted).count();
            for (shown, _, errno) in calls {
                let name = shown.split_once('(').unwrap().0;
                assert_eq!(count(&format!("{name}(")), 2, "{width}: {name} is entered twice:\n{rows}");
                assert_eq!(
                    count(&format!("{} {name}", Style::plain(width).glyphs().closes)),
                    2,
                    "{width}: {name}:\n{rows}"
                );
                match errno {
                    Some(errno) => assert_eq!(count(errno), 2, "{width}: {errno}:\n{rows}"),
                    None => assert!(count("= 37") >= 2, "{width}: {name}:\n{rows}"),
                }
            }
            assert_eq!(count("= -1") + count("=\n"), 6, "{width}:\n{rows}");
            for finding in Finding::ALL {
                let name = finding.name().replace('_', " ");
                assert!(count(&name) >= 2, "{width}: {name}:\n{rows}");
            }
            assert_eq!(count("win 0"), 2, "{width}:\n{rows}");
            let said = summary.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains(&*verdict), "{width}: {said}");
        }
    }

    #[test]
    fn a_timeline_that_goes_on_is_drawn_in_two_parts_as_in_one() {
        let whole = sample::echo();
        let mut begun = whole.clone();
        begun.events.pop();
        for width in [60, 80, 100, 160] {
            let style = Style { room_until: Span(60_000_000_000), ..Style::plain(width) };
            let mut parts = Vec::new();
            let drawn = begin(&mut parts, &begun, &style).unwrap();
            assert!(drawn > 20);
            go_on(&mut parts, &whole, &style, drawn).unwrap();
            assert_eq!(String::from_utf8(parts).unwrap(), self::drawn(&whole, &style), "{width}");
        }
    }

    #[test]
    fn the_echo_is_drawn_as_the_stored_pages_have_it() {
        let ascii = Style { charset: Charset::Ascii, ..Style::plain(120) };
        let mut wrong = Vec::new();
        for (name, story, style) in [
            ("ladder-100", sample::echo(), Style::plain(100)),
            ("ladder-120", sample::echo(), Style::plain(120)),
            ("ladder-160", sample::echo(), Style::plain(160)),
            ("ladder-ascii", sample::echo(), ascii),
            ("compact-80", sample::echo(), Style::plain(80)),
            ("compact-60", sample::echo(), Style::plain(60)),
            ("troubled-120", sample::troubled(), Style::plain(120)),
            ("troubled-80", sample::troubled(), Style::plain(80)),
        ] {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("src/report/timeline/golden/{name}.txt"));
            let text = drawn(&story, &style);
            if std::env::var_os("TCPFLOW_BLESS").is_some() {
                std::fs::write(&path, &text).unwrap();
            }
            let kept = std::fs::read_to_string(&path).expect("the page is there; TCPFLOW_BLESS=1 writes it");
            if kept != text {
                wrong.push(format!("{name} is now\n{text}"));
            }
        }
        assert!(wrong.is_empty(), "{}\nif that is meant, run with TCPFLOW_BLESS=1", wrong.join("\n"));
    }

    #[test]
    fn disagreement_is_loud_and_names_from_outside_are_tame() {
        for width in [60, 80, 100, 160] {
            let text = drawn(&sample::troubled(), &Style::plain(width));
            assert!(text.contains("DISAGREE"), "{text}");
            assert!(!text.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{text:?}");
            assert!(text.contains("has not returned"), "{text}");
            let cause = if width <= 100 { "by send (timeout #3)" } else { "kernel timeout, repeats #3 by send" };
            assert!(text.contains(cause), "{text}");
            let said = text.split_whitespace().collect::<Vec<_>>().join(" ");
            assert!(said.contains("the segments say ESTABLISHED"), "{text}");
        }
    }

    #[test]
    fn runs_of_like_segments_share_an_arrow_and_lose_no_octet() {
        let mut t = sample::Teller::new();
        t.connection = Some(ConnectionId(0));
        t.phase = Phase::Data;
        let send = t.call((0, 100), Side::Client, "send(10, 0)", Effect::Send, 4, 10);
        for n in 0..5 {
            t.segment(1 + n, Side::Client, Flags::ACK, (1 + n * 10, 1, 10), sample::by(&[send]));
        }
        let story = t.summed_up(Ending::Open, None, Verdict::Open);
        let text = drawn(&story, &Style::plain(120));
        assert!(text.contains("#1-#5 5 segments, 50 octets ─") && text.contains("│  seq 1-50 "), "{text}");
        let each = drawn(&story, &Style { detail: Detail::Every, ..Style::plain(120) });
        assert_eq!((1..=5).filter(|n| each.contains(&format!("#{n} ACK len 10"))).count(), 5, "{each}");
    }

    #[test]
    fn what_was_measured_is_told_where_there_is_room_or_each_segment_is_asked_for() {
        let mut t = sample::Teller::new();
        t.connection = Some(ConnectionId(0));
        t.phase = Phase::Data;
        let send = t.call((0, 100), Side::Client, "send(20, 0)", Effect::Send, 4, 10);
        let timings = [
            (Side::Client, (1, 1, 10), Timing { in_flight: Some(10), ..Timing::default() }),
            (Side::Client, (11, 1, 10), Timing { in_flight: Some(20), ..Timing::default() }),
            (Side::Server, (1, 11, 0), Timing { ack_rtt: Some(Span(5_000)), ..Timing::default() }),
            (Side::Server, (1, 21, 0), Timing { ack_rtt: Some(Span(7_000)), ambiguous: true, ..Timing::default() }),
        ];
        for (n, (side, place, timing)) in (1..).zip(timings) {
            let id = t.segment(n * 10, side, Flags::ACK, place, sample::by(&[send]));
            t.segment_mut(id).timing = timing;
        }
        let story = t.summed_up(Ending::Open, None, Verdict::Open);
        let every = Style { detail: Detail::Every, ..Style::plain(139) };
        for (style, is_told) in [(Style::plain(160), true), (every, true), (Style::plain(139), false)] {
            let text = drawn(&story, &style);
            for said in ["in flight 20", "rtt 5.00 µs"] {
                assert_eq!(text.contains(said), is_told, "{said}: {text}");
            }
            assert!(!text.contains("in flight 10") && !text.contains("rtt 7"), "{text}");
        }
    }

    /// Makes all things before the first one ends, the last one first.
    struct Backwards;

    impl Share for Backwards {
        fn each<T: Send, R: Default>(&self, things: &mut [T], deed: impl Fn(&mut R, &mut T) + Sync) {
            things.iter_mut().rev().for_each(|thing| deed(&mut R::default(), thing));
        }

        fn in_order<T: Send + Default, R: Default, E>(
            &self,
            mut begin: impl FnMut(&mut T) -> bool + Send,
            make: impl Fn(&mut R, &mut T) + Sync,
            end: impl FnMut(&T) -> Result<(), E>,
        ) -> Result<(), E> {
            let mut things: Vec<T> = std::iter::from_fn(|| {
                let mut thing = T::default();
                begin(&mut thing).then_some(thing)
            })
            .collect();
            self.each(&mut things, make);
            things.iter().try_for_each(end)
        }
    }

    #[test]
    fn a_long_timeline_is_the_same_whoever_draws_which_part_of_it() {
        let mut script = String::new();
        for n in 0..6000 {
            let of = if n % 1500 < 700 { "C" } else { "S" };
            script += &format!("{}us..{}us {of}: socket() = {}\n", 10 * n, 10 * n + 8, 3 + n);
        }
        script += "70ms C > S: S 0(0)\n70010us S > C: S. 0(0) ack 1\n70020us C > S: . 1(0) ack 1\n";
        let story = crate::story::script::story(&script);
        for width in [80, 120, 180] {
            let style = Style { color: Color::Always, ..Style::plain(width) };
            let mut by_several = Vec::new();
            write(&mut by_several, &story, &[], &style, &Backwards).unwrap();
            let alone = drawn(&story, &style);
            assert!(alone.lines().count() > 6000, "{}", alone.lines().count());
            assert_eq!(alone.as_bytes(), by_several, "{width} columns");
        }
    }

    #[test]
    fn several_connections_are_drawn_one_by_one_after_the_listening_socket() {
        let mut story = sample::echo();
        let mut second = story.connections[0].clone();
        second.id = ConnectionId(1);
        story.connections.push(second);
        story.totals.connections = 2;
        let text = drawn(&story, &Style::plain(120));
        let at = |wanted: &str| text.find(wanted).unwrap_or_else(|| panic!("{wanted}: {text}"));
        assert!(at("sockets without a connection") < at("listen(3, 5)"));
        assert!(at("listen(3, 5)") < at("2 connections follow"));
        assert!(at("2 connections follow") < at("connection 0"));
        assert!(at("connection 0") < at("connection 1"));
        let mut only = Vec::new();
        write(&mut only, &story, &[ConnectionId(1)], &Style::plain(120), &InTurn).unwrap();
        assert!(!String::from_utf8(only).unwrap().contains("connection 0"));
    }

    #[test]
    fn the_document_explains_every_rule_and_finding() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/timeline.md");
        let document = std::fs::read_to_string(path).unwrap();
        for rule in Rule::ALL {
            let row = format!("| `{}` | {} |", rule.name(), English.rule(*rule));
            assert!(document.contains(&row), "docs/timeline.md lacks: {row}");
        }
        for finding in Finding::ALL {
            let row = format!("\n| {} | ", finding.name().replace('_', " "));
            assert!(document.contains(&row), "docs/timeline.md lacks {finding}");
        }
        for witness in [Witness::Segments, Witness::TcpInfo, Witness::Kernel, Witness::SockDiag, Witness::Link] {
            assert!(document.contains(&format!("\n| `{}` | ", words::mark(witness))), "{witness:?}");
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

    /// There and back over two connections of a proxy, which begin at these times.
    fn relayed(begin: [i64; 2]) -> Story {
        let mut t = sample::Teller::new();
        t.phase = Phase::Data;
        for (connection, (at, pid)) in (0..).zip(begin.into_iter().zip(1..)) {
            t.connection = Some(ConnectionId(connection));
            for (side, pid) in [(Side::Client, pid), (Side::Server, pid + 1)] {
                let id = t.call((at, at + 9), side, "send(10, 0)", Effect::Send, 4, 10);
                t.made_by(id, pid);
                t.segment(at + 5, side, Flags::ACK, (1, 1, 10), sample::by(&[id]));
            }
        }
        t.story
    }

    #[test]
    fn more_than_two_lanes_are_drawn_as_lines_each_under_its_letter() {
        let story = relayed([100, 200]);
        let index = Index::new(&story);
        for width in [60, 120, 160] {
            let style = Style::plain(width);
            let sheet = Sheet {
                index: &index,
                connection: None,
                has_wire: false,
                origin: Timestamp::from_nanos(0),
                style: &style,
            };
            let mut out = Vec::new();
            let view = View::of_several(&index, &[ConnectionId(0), ConnectionId(1)]);
            assert_eq!(view.lanes.len(), 3);
            assert_eq!(chart::has_room(&view, &style), width >= 100);
            draw(&mut out, &sheet, view, 0, &mut Used::default(), &InTurn).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().all(|line| UnicodeWidthStr::width(line) <= width), "{width}: {text}");
            for wanted in ["A by send", "B by", "C by", "→B #", "←A #", "→C #", "←B #"] {
                assert!(text.contains(wanted), "{width}: {wanted}\n{text}");
            }
        }
    }

    #[test]
    fn a_proxy_has_a_lane_between_those_of_its_peers_wherever_three_lanes_have_room() {
        let story = relayed([0, 20]);
        let index = Index::new(&story);
        for (width, lanes) in [(80, 0), (95, 0), (96, 3), (100, 3), (128, 3), (160, 3)] {
            let style = Style::plain(width);
            let view = View::of_several(&index, &[ConnectionId(0), ConnectionId(1)]);
            assert_eq!(if chart::has_room(&view, &style) { view.lanes.len() } else { 0 }, lanes, "{width}");
            if lanes == 0 {
                continue;
            }
            let origin = Timestamp::from_nanos(0);
            let sheet = Sheet { index: &index, connection: None, has_wire: true, origin, style: &style };
            let mut out = Vec::new();
            chart::draw(&mut out, &sheet, &view).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(
                text.lines().all(|line| UnicodeWidthStr::width(line) <= width && !line.ends_with(' ')),
                "{width}: {text}"
            );
            // There and back over the first connection, then over the second; what is sent is said in the sender's lane.
            for wanted in ["├── #1 ACK len 10", "◄─ #2 ACK len 10", "│ ├── #3 ACK len 10", "by send"]
            {
                let wanted = wanted.trim_start_matches("│ ");
                assert!(text.contains(wanted), "{width}: {wanted}\n{text}");
            }
            let lane_of = |frame: &str| {
                let line = text.lines().find(|line| line.contains(frame)).expect(frame);
                line.chars().position(|at| at == '├' || at == '◄').expect("an arrow")
            };
            assert_eq!(lane_of("#1 "), lane_of("#2 ") - 1, "{text}");
            assert!(lane_of("#3 ") > lane_of("#1 "), "{text}");
        }
    }

    #[test]
    fn a_blocked_call_is_seen_to_start_and_to_return() {
        let text = drawn(&sample::echo(), &Style::plain(160));
        let line = |wanted: &str| text.lines().position(|line| line.contains(wanted)).expect(wanted);
        assert!(line("┌ accept(3)") < line("#1 SYN"));
        assert!(line("#2 SYN,ACK seq") < line("└ connect = 0 ← #2"));
        assert!(line("#3 ACK seq") < line("└ accept = 5 ← #3"));
        assert!(line("#8 FIN,ACK seq") < line("recv = 0 ← #8"));
    }

    #[test]
    fn each_compact_line_of_a_segment_names_its_cause_and_both_states() {
        let text = drawn(&sample::echo(), &Style::plain(80));
        let syn = text.lines().find(|line| line.contains("#1 SYN")).unwrap();
        assert!(syn.contains("by connect") && syn.contains("~SYN-SENT") && syn.contains(" LISTEN"), "{syn}");
    }

    #[test]
    fn the_place_and_an_argument_of_a_call_are_cut_with_a_mark() {
        let words = |place: usize, argument: usize| {
            let mut t = sample::Teller::new();
            let op = format!("ioctl({})", "x".repeat(argument));
            let id = t.call((0, 10), Side::Client, &op, Effect::Other, 3, 0);
            let (file, line) = ("y".repeat(place - ".c:1".len()) + ".c", Some(1));
            let frame = StackFrame { file: Some(file), line, module: Some("server".into()), ..StackFrame::default() };
            t.call_mut(id).call.stack = Stack::of(vec![frame]);
            let index = Index::new(&t.story);
            let EventKind::Call(call) = &t.story[id].kind else { panic!("a call") };
            let style = Style::plain(160);
            let words = words::call(&index, id, call, Side::Client, Form::Whole, &style);
            let mut head = Vec::new();
            words.head.write(&mut head, &style).unwrap();
            (String::from_utf8(head).unwrap().trim().to_owned(), words.args.concat())
        };
        let (place, argument) = (words::LONGEST_PLACE, words::LONGEST_ARGUMENT);
        let (head, arg) = words(place, argument);
        assert!(head.ends_with(&format!("{}.c:1 ioctl", "y".repeat(place - 4))), "{head}");
        assert_eq!(arg, format!("3{}", "x".repeat(argument)));
        let (head, arg) = words(place + 1, argument + 1);
        assert!(head.ends_with(&format!("{}.c… ioctl", "y".repeat(place - 3))), "{head}");
        assert_eq!(arg, format!("3{}…", "x".repeat(argument - 1)));
    }

    /// Connections between six processes, one for each two of them, and so many more.
    #[test]
    fn a_chart_has_as_many_connections_as_there_are_pairs_of_lanes_on_the_widest_page() {
        let drawn_of = |more: usize| {
            let mut t = sample::Teller::new();
            t.phase = Phase::Data;
            let pairs = (1..=6).flat_map(|one| (one + 1..=6).map(move |other| (one, other)));
            for (n, (one, other)) in (0..).zip(pairs.chain(std::iter::repeat_n((1, 2), more))) {
                t.connection = Some(ConnectionId(n));
                for (side, pid) in [(Side::Client, one), (Side::Server, other)] {
                    let id = t.call((n as i64 * 9, n as i64 * 9 + 8), side, "send(10, 0)", Effect::Send, 4, 10);
                    t.made_by(id, pid);
                    t.segment(n as i64 * 9 + 5, side, Flags::ACK, (1, 1, 10), sample::by(&[id]));
                }
            }
            let mut story = t.summed_up(Ending::Open, None, Verdict::Open);
            let one = story.connections.remove(0);
            let count = (chart::MOST_CONNECTIONS + more) as u64;
            let with_id = |id| crate::flow::Connection { id: ConnectionId(id), ..one.clone() };
            story.connections = (0..count).map(with_id).collect();
            story.totals.connections = count;
            drawn(&story, &Style::plain(Style::WIDEST))
        };
        let (chart, ladders) = (drawn_of(0), drawn_of(1));
        assert!(!chart.contains("connections follow"), "{chart}");
        assert!(ladders.contains("16 connections follow"), "{ladders}");
    }
}
