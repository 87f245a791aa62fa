//! The end of a timeline: what was counted and measured of a connection, what remains of it, and the verdict.

use std::collections::HashMap;
use std::io::{self, Write};

use super::clock;
use super::style::{Charset, Paint, Style};
use super::text::{Line, counted, escape, wrap};
use crate::calls::{Process, Thread, Threads};
use crate::flow::{Closer, Connection, Ending, Side, SideSummary, Totals, Verdict};
use crate::kernel::TimerKind;
use crate::kernel::Witness;
use crate::story::{Event, EventKind, SegmentEvent, TimerEvent};
use crate::tcp::{Basis, Finding, Rule, State};
use crate::time::{Span, Timestamp};

/// Writes the summary of one connection, whose events are `events`: round trip, octets and segments each way, who closed, TIME-WAIT, findings, verdict.
///
/// # Errors
/// Whatever `out` answers.
pub(super) fn write(
    out: &mut dyn Write,
    events: &[&Event],
    connection: &Connection,
    threads: &Threads,
    style: &Style,
) -> io::Result<()> {
    let page = Page { out, style };
    Summary { page, events, connection, threads }.write()
}

/// Writes what the capture as a whole lacks: dropped, skipped and late frames; nothing where nothing is lacking.
///
/// # Errors
/// Whatever `out` answers.
pub(super) fn totals(out: &mut dyn Write, totals: &Totals, style: &Style) -> io::Result<()> {
    let mut page = Page { out, style };
    if let Some(dropped) = totals.dropped.filter(|dropped| *dropped > 0) {
        let said =
            format!("{} dropped by the kernel's capture buffer: segments are missing above", counted(dropped, "frame"));
        page.entry("CAPTURE", &said, Paint::Bad)?;
    }
    if let Some(said) = disorder(totals) {
        page.entry("CAPTURE", &said, Paint::Bad)?;
    }
    if let Some(said) = skipped(totals) {
        page.entry("skipped", &said, Paint::Plain)?;
    }
    Ok(())
}

/// That frames are not in order of time, in words; `None` where they are.
pub(super) fn disorder(totals: &Totals) -> Option<String> {
    let said = || format!("not in order of time: the clock steps back before {}", counted(totals.steps_back, "frame"));
    (totals.steps_back > 0).then(said)
}

/// The frames that are in no connection's count, in words; `None` when there are none.
pub(super) fn skipped(totals: &Totals) -> Option<String> {
    let s = &totals.skipped;
    let reasons = [
        (s.not_tcp, "not TCP"),
        (s.truncated, "cut short by the snap length"),
        (s.malformed, "malformed"),
        (s.link_type, "of a link type that is not read"),
        (s.fragment, "IP fragments that complete no datagram"),
        (s.too_deep, "nested too deep in tunnels"),
        (s.over_budget, "with more headers or subframes than are followed"),
        (totals.late_segments, "segments after their connection was reported"),
        (totals.let_go, "connections reported before they were closed, for want of memory"),
    ];
    let said: Vec<String> =
        reasons.iter().filter(|(n, _)| *n > 0).map(|(n, why)| format!("{} {why}", super::text::grouped(*n))).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

struct Page<'a> {
    out: &'a mut dyn Write,
    style: &'a Style,
}

impl Page<'_> {
    /// A name and what is said of it, wrapped beside it.
    fn entry(&mut self, name: &str, said: &str, paint: Paint) -> io::Result<()> {
        let ellipsis = self.style.glyphs().ellipsis;
        let room = self.style.columns().min(READABLE).saturating_sub(NAME);
        for (at, text) in wrap(said, room, ellipsis).into_iter().enumerate() {
            let mut line =
                Line::of(Paint::Strong, if at == 0 { name.to_owned() } else { String::new() }).left(NAME, "");
            line.push(paint, text);
            line.write(self.out, self.style)?;
        }
        Ok(())
    }
}

struct Summary<'a> {
    page: Page<'a>,
    events: &'a [&'a Event],
    connection: &'a Connection,
    threads: &'a Threads,
}

impl<'a> Summary<'a> {
    fn write(&mut self) -> io::Result<()> {
        let (connection, style) = (self.connection, self.page.style);
        let dot = style.glyphs().dot;
        let micro = if style.charset == Charset::Unicode { "µ" } else { "u" };
        let mut times = Vec::new();
        if let Some(rtt) = connection.initial_rtt {
            let what = if connection.ending == Ending::Refused { "answered after" } else { "handshake round trip" };
            times.push(format!("{what} {}", clock::duration(rtt, micro)));
        }
        if let (Some(first), Some(last)) = (connection.first, connection.last) {
            times.push(format!("first to last segment {}", clock::duration(last.since(first).max(Span(0)), micro)));
        }
        if !times.is_empty() {
            self.page.entry("time", &times.join(&format!(" {dot} ")), Paint::Plain)?;
        }
        let copies = self.copies();
        let way = |end: Side, side: &SideSummary| {
            let mut said = self.carried(end, side);
            let own = copies.values().filter(|copy| copy.from == end);
            let taken_for_repeated =
                own.clone().filter(|copy| copy.findings.iter().any(|finding| finding.is_retransmission())).count()
                    as u64;
            let duplicate_ack = if side.duplicate_acks == 1 { "duplicate ACK" } else { "duplicate ACKs" };
            for (n, what) in [
                (side.retransmissions.saturating_sub(taken_for_repeated), "retransmitted"),
                (own.count() as u64, "captured twice"),
                (side.out_of_order, "out of order"),
                (side.lost_segments, "after a gap in the capture"),
                (side.duplicate_acks, duplicate_ack),
                (side.zero_windows, "with window 0"),
            ] {
                if n > 0 {
                    said.push_str(&format!(", {} {what}", super::text::grouped(n)));
                }
            }
            said
        };
        let becomes = style.glyphs().becomes;
        let (to, back) =
            (way(Side::Client, &connection.client_to_server), way(Side::Server, &connection.server_to_client));
        let state = |(state, is_assumed): (Option<State>, bool)| match state {
            Some(state) if is_assumed => format!("~{}", state.name()),
            state => state.map_or("an unknown state", State::name).to_owned(),
        };
        let [client, server] = [Side::Client, Side::Server].map(|side| self.final_state(side));
        let said = if connection.client == connection.server {
            // One socket is both ends: what it sent it received.
            self.page.entry("octets", &format!("to itself: {to}"), Paint::Plain)?;
            format!("{} {dot} the socket in {}", self.closing(), state(client))
        } else {
            self.page.entry("octets", &format!("client {becomes} server: {to}"), Paint::Plain)?;
            self.page.entry("", &format!("server {becomes} client: {back}"), Paint::Plain)?;
            format!("{} {dot} client in {} {dot} server in {}", self.closing(), state(client), state(server))
        };
        self.page.entry("closed by", &said, Paint::Plain)?;
        self.time_wait()?;
        for at in connection.findings.iter().take(MOST_FINDINGS) {
            let frame = at.frame.map_or(String::new(), |frame| format!(" in #{frame}"));
            let name = at.finding.name().replace('_', " ");
            let is_copy = at.frame.is_some_and(|frame| copies.contains_key(&frame));
            let note = match is_copy && at.finding.is_retransmission() {
                true => "By the rule alone: the frame was captured twice, and nothing was retransmitted.".into(),
                false => escape(&style.wording().finding(at), style),
            };
            let said = format!("{name}{frame} ({}): {note}", at.side.name());
            let paint = if at.finding == Finding::StateDisagreement { Paint::Bad } else { Paint::Plain };
            self.page.entry("finding", &said, paint)?;
        }
        let more = connection.findings.len().saturating_sub(MOST_FINDINGS) as u64 + connection.findings_omitted;
        if more > 0 {
            self.page.entry("finding", &format!("and {more} more"), Paint::Plain)?;
        }
        self.page.entry("verdict", &escape(&style.wording().ending(connection), style), Paint::Strong)?;
        match &connection.breakdown {
            Some(breakdown) => {
                self.page.entry("", &escape(&style.wording().time_spent(breakdown), style), Paint::Strong)
            }
            None => Ok(()),
        }
    }

    /// The segments that were captured twice, by their frames.
    fn copies(&self) -> HashMap<u64, &'a SegmentEvent> {
        let events: &'a [&'a Event] = self.events;
        let segments = events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) => Some(&**segment),
            _ => None,
        });
        let copies = segments.filter(|segment| segment.findings.contains(Finding::CapturedTwice));
        copies.map(|segment| (segment.segment.frame, segment)).collect()
    }

    /// The octets and segments of one direction; where it was not captured, what the other acknowledged.
    fn carried(&self, end: Side, side: &SideSummary) -> String {
        let segments = |of: Side| {
            self.events.iter().filter_map(move |event| match &event.kind {
                EventKind::Segment(segment) if segment.from == of => Some(segment),
                _ => None,
            })
        };
        let octets = counted(side.octets, "octet");
        let carriers = segments(end).filter(|segment| segment.segment.len > 0).count() as u64;
        let acks = || segments(end.peer()).filter_map(|segment| segment.ack);
        match acks().min().zip(acks().max()) {
            Some((first, last)) if side.segments == 0 && last > first => {
                // The first acknowledgement of a handshake is that of the SYN, which is no octet.
                let acknowledged = counted((last - first).unsigned_abs(), "octet");
                // A FIN takes a number as an octet does, and nobody saw whether there was one.
                let fin = match self.connection.ending {
                    Ending::Fin | Ending::HalfClosed => ", a FIN counted as one",
                    _ => "",
                };
                format!("only the {}'s direction was captured; it acknowledged {acknowledged}{fin}", end.peer().name())
            }
            _ if (1..side.segments).contains(&carriers) => {
                format!("{octets} in {carriers} of {}", counted(side.segments, "segment"))
            }
            _ => format!("{octets} in {}", counted(side.segments, "segment")),
        }
    }

    /// Who ended it, and how.
    fn closing(&self) -> String {
        let who = match self.connection.closed_by {
            Some(Closer::Client) => "the client",
            Some(Closer::Server) => "the server",
            Some(Closer::Both) => "both at once",
            None => "nobody",
        };
        match self.connection.ending {
            Ending::Fin if self.connection.client == self.connection.server => {
                "the socket, which took its own FIN".to_owned()
            }
            Ending::Fin if self.connection.closed_by == Some(Closer::Both) => format!("{who}: the FINs crossed"),
            Ending::Fin => {
                let other = if self.connection.closed_by == Some(Closer::Client) { "the server" } else { "the client" };
                format!("{who} sent the first FIN; {other} then sent its own FIN")
            }
            Ending::Reset | Ending::Refused if self.connection.closed_by.is_none() => {
                "a RST that neither end sent".to_owned()
            }
            Ending::Reset => format!("{who}, with RST"),
            Ending::Refused => format!("{who}, with RST in answer to the SYN"),
            Ending::HalfClosed if matches!(self.connection.verdict, Verdict::CloseUnseen { .. }) => {
                format!("{who}, as far as was captured")
            }
            Ending::HalfClosed => format!("{who} only: the other direction is still open"),
            Ending::Unanswered => "nobody: the SYN was not answered".to_owned(),
            Ending::Open if matches!(self.connection.verdict, Verdict::OneDirection { .. }) => {
                "not known: only one direction was captured".to_owned()
            }
            Ending::Open => match self.connection.verdict {
                Verdict::GivenUp { by } => format!("no segment: the {} gave up", by.name()),
                Verdict::Gone => "not known: its end was not captured".to_owned(),
                _ => "nobody: it is still open".to_owned(),
            },
        }
    }

    /// The last state that any witness gave for an end, and whether that is concluded from what is believed to have arrived there.
    fn final_state(&self, side: Side) -> (Option<State>, bool) {
        let connection = self.connection;
        let (known, basis) = match side {
            Side::Client => (connection.client_state, connection.client_state_basis),
            Side::Server => (connection.server_state, connection.server_state_basis),
        };
        let last = self.events.iter().rev().find_map(|event| match &event.kind {
            EventKind::Transition(step) if step.side == side => Some(step),
            _ => None,
        });
        let is_proven = |state: State| known == Some(state) && basis.is_some_and(|basis| basis != Basis::Assumed);
        match last {
            Some(step) => (Some(step.to), step.is_inferred() && !is_proven(step.to)),
            None => (known, known.is_some_and(|known| !is_proven(known))),
        }
    }

    /// Where the connection waits in TIME-WAIT, how long still, why, and what that means.
    fn time_wait(&mut self) -> io::Result<()> {
        let mut waiting = Vec::new();
        for side in [Side::Client, Side::Server] {
            let events = || self.events.iter();
            let entered = events().find_map(|event| match &event.kind {
                EventKind::Transition(t) if t.side == side && t.to == State::TimeWait => Some(event.at),
                _ => None,
            });
            let left = events().find_map(|event| match &event.kind {
                EventKind::Transition(t) if t.side == side && t.rule == Rule::TimeWaitOver => Some(event.at),
                _ => None,
            });
            let last = events().rev().find_map(|event| match &event.kind {
                EventKind::Transition(t) if t.side == side => Some((event.at, t)),
                _ => None,
            });
            if let Some((at, t)) = last
                && t.rule == Rule::TimeWaitNotKept
            {
                let lasted = at.zip(entered.flatten()).map(|(at, entered)| at.since(entered));
                let micro = if self.page.style.charset == Charset::Unicode { "µ" } else { "u" };
                let after = lasted.map(|lasted| format!(" {} after the last FIN", clock::duration(lasted, micro)));
                let said = format!(
                    "none on the {}: queried{}, the kernel held no socket of it. It keeps none while \
                     net.ipv4.tcp_max_tw_buckets of them wait already, and counts that as TCPTimeWaitOverflow.",
                    side.name(),
                    after.unwrap_or_default()
                );
                self.page.entry("TIME-WAIT", &said, Paint::Strong)?;
                continue;
            }
            let early = match last {
                Some((at, t)) if t.rule == Rule::TimeWaitReused => {
                    Some((at, "a new SYN took the same addresses and ports for the next connection"))
                }
                Some((at, t)) if t.rule == Rule::Reset && t.from == Some(State::TimeWait) => {
                    let is_seen = t.evidence.iter().any(|witness| *witness != Witness::Segments);
                    Some((
                        at,
                        match is_seen {
                            true => "the peer's RST removed it",
                            false => "the peer's RST removed it, as on Linux unless net.ipv4.tcp_rfc1337 is set",
                        },
                    ))
                }
                _ => None,
            };
            if let Some((at, how)) = early {
                let lasted = at.zip(entered.flatten()).map(|(at, entered)| at.since(entered));
                let micro = if self.page.style.charset == Charset::Unicode { "µ" } else { "u" };
                let after = lasted.map_or(String::new(), |lasted| format!(" after {}", clock::duration(lasted, micro)));
                let said = format!("on the {}: ended early{after}: {how}.", side.name());
                self.page.entry("TIME-WAIT", &said, Paint::Strong)?;
                continue;
            }
            let timer = events().rev().find_map(|event| match &event.kind {
                EventKind::Timer(timer) if timer.side == side && timer.kind == TimerKind::TimeWait => {
                    Some((event.at, timer))
                }
                _ => None,
            });
            if entered.is_none() && timer.is_none() {
                continue;
            }
            let said = self.remaining(side, entered.flatten(), left, timer);
            self.page.entry("TIME-WAIT", &said, Paint::Strong)?;
            waiting.push(side);
        }
        if waiting.is_empty() {
            return Ok(());
        }
        let why = "the last ACK may be lost, and this end must then be there to retransmit it; and old duplicates of these \
                   segments must expire before the same two addresses and ports are used again.";
        self.page.entry("  why", why, Paint::Plain)?;
        let long = "60 s on Linux, a constant of the kernel; 2 MSL in RFC 9293, which is 4 minutes.";
        self.page.entry("  how long", long, Paint::Plain)?;
        if self.connection.client == self.connection.server {
            return Ok(());
        }
        // What waits at the server decides, wherever else it waits.
        let restart = if waiting.contains(&Side::Server) {
            format!(
                "a server started again on port {} in that time fails in bind() with EADDRINUSE, unless it sets \
                 SO_REUSEADDR before.",
                self.connection.server.port()
            )
        } else {
            format!(
                "a server can be started again at once, for the waiting socket is the client's (port {}); had the \
                 server closed first, its own port would wait, and bind() fail with EADDRINUSE without SO_REUSEADDR.",
                self.connection.client.port()
            )
        };
        self.page.entry("  restart", &restart, Paint::Plain)
    }

    fn remaining(
        &self,
        side: Side,
        entered: Option<Timestamp>,
        left: Option<Option<Timestamp>>,
        timer: Option<(Option<Timestamp>, &TimerEvent)>,
    ) -> String {
        let style = self.page.style;
        let micro = if style.charset == Charset::Unicode { "µ" } else { "u" };
        let owner = timer.and_then(|(_, timer)| self.threads.get(timer.owner?));
        let of = |(thread, process): (&Thread, &Process)| {
            format!(", whose socket was last owned by {} ({})", escape(&thread.comm, style), process.pid)
        };
        let owner = owner.map_or(String::new(), of);
        let mut said = format!("on the {}{owner}: ", side.name());
        match (left, timer) {
            (Some(at), _) => {
                let lasted = at.zip(entered).map(|(at, entered)| at.since(entered));
                said.push_str("ended, the kernel removed it");
                if let Some(at) = at {
                    said.push_str(&format!(" at {} {}", clock::time_of_day(at, style, 3), clock::zone(style)));
                }
                if let Some(lasted) = lasted {
                    said.push_str(&format!(" after {}", clock::duration(lasted, micro)));
                }
            }
            (None, Some((Some(at), timer))) => {
                let over = at.after(timer.remaining);
                said.push_str(&format!(
                    "{} left when the kernel was queried, ends {} {}",
                    clock::duration(timer.remaining, micro),
                    clock::time_of_day(over, style, 0),
                    clock::zone(style)
                ));
            }
            (None, _) => {
                said.push_str("kernel not queried; on Linux it lasts 60 s");
                if let Some(entered) = entered {
                    let over = clock::time_of_day(entered.after(Span::from_millis(60_000)), style, 0);
                    said.push_str(&format!(
                        ", so until {over} {} unless a new SYN takes the same ports before",
                        clock::zone(style)
                    ));
                }
            }
        }
        said.push('.');
        said
    }
}

/// Columns of the entries' names.
const NAME: usize = 12;
/// Sentences are wrapped at this width even on a wider page.
const READABLE: usize = 120;
const MOST_FINDINGS: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Effect;
    use crate::flow::{ConnectionId, Detail, FindingAt, Verdict};
    use crate::report::sample::Teller;

    /// The summary of a connection that waits on these sides, in one line; `removed` says when the kernel removed it.
    fn summary(sides: &[Side], removed: Option<i64>) -> String {
        let mut t = Teller::new();
        t.connection = Some(ConnectionId(0));
        for &side in sides {
            let close = t.call((0, 10), side, "close()", Effect::Close, 4, 0);
            t.moved(20, side, (State::FinWait2, State::TimeWait), close, &[Witness::Segments]);
            let timer = t.time_wait(30, side, 59_990, close);
            if let Some(at) = removed {
                t.moved(at, side, (State::TimeWait, State::Closed), timer, &[Witness::SockDiag]);
            }
        }
        told(t)
    }

    fn told(t: Teller) -> String {
        let story = t.summed_up(Ending::Fin, Some(Closer::Both), Verdict::Open);
        let events: Vec<&Event> = story.events.iter().collect();
        let mut out = Vec::new();
        write(&mut out, &events, &story.connections[0], &story.threads, &Style::plain(100)).unwrap();
        String::from_utf8(out).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn time_wait_says_how_long_still_and_until_when() {
        let said = summary(&[Side::Client], None);
        assert!(
            said.contains("on the client, whose socket was last owned by echo-client (4711): 59.9 s left"),
            "{said}"
        );
        assert!(said.contains("ends 05:54:22 UTC"), "{said}");
        assert!(said.contains("can be started again at once"), "{said}");
    }

    #[test]
    fn time_wait_that_was_waited_for_says_how_long_it_lasted() {
        let said = summary(&[Side::Server], Some(60_000_020));
        assert!(said.contains("ended, the kernel removed it at 05:54:22.123 UTC after 60.0 s"), "{said}");
        assert!(said.contains("port 8888 in that time fails in bind() with EADDRINUSE"), "{said}");
    }

    #[test]
    fn time_wait_that_a_reset_ended_is_not_waited_in() {
        let mut t = Teller::new();
        t.connection = Some(ConnectionId(0));
        let close = t.call((0, 10), Side::Server, "close()", Effect::Close, 4, 0);
        t.moved(20, Side::Server, (State::FinWait2, State::TimeWait), close, &[Witness::Segments]);
        t.went(30_020, Side::Server, (State::TimeWait, State::Closed), Rule::Reset, close, &[Witness::Segments]);
        let said = told(t);
        assert!(
            said.contains("on the server: ended early after 30.0 ms: the peer's RST removed it, as on Linux unless"),
            "{said}"
        );
        assert!(!said.contains("EADDRINUSE") && !said.contains("60 s"), "{said}");
    }

    #[test]
    fn why_is_said_once_though_both_ends_wait() {
        let said = summary(&[Side::Client, Side::Server], None);
        assert_eq!(said.matches("the last ACK may be lost").count(), 1, "{said}");
        assert_eq!(said.matches("59.9 s left").count(), 2, "{said}");
        assert!(!said.contains("at once, for"), "{said}");
        assert!(said.contains("both at once: the FINs crossed"), "{said}");
    }

    #[test]
    fn of_many_findings_the_first_are_written_and_the_others_counted() {
        let said = |findings: usize, omitted: u64| {
            let mut t = Teller::new();
            t.connection = Some(ConnectionId(0));
            let mut story = t.summed_up(Ending::Open, None, Verdict::Open);
            let found = |frame| FindingAt {
                finding: Finding::Retransmission,
                frame: Some(frame),
                side: Side::Client,
                detail: Detail::None,
            };
            story.connections[0].findings = (1..=findings as u64).map(found).collect();
            story.connections[0].findings_omitted = omitted;
            let mut out = Vec::new();
            write(&mut out, &[], &story.connections[0], &story.threads, &Style::plain(100)).unwrap();
            let text = String::from_utf8(out).unwrap();
            let more = text.split_once("and ").and_then(|(_, more)| more.split_once(" more"));
            (text.matches("retransmission in #").count(), more.map(|(count, _)| count.to_owned()))
        };
        assert_eq!(said(MOST_FINDINGS, 0), (MOST_FINDINGS, None));
        assert_eq!(said(MOST_FINDINGS + 1, 0), (MOST_FINDINGS, Some("1".into())));
        assert_eq!(said(MOST_FINDINGS + 1, 7), (MOST_FINDINGS, Some("8".into())));
    }
}
