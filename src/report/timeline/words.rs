//! The words of a timeline: how calls, segments, causes and transitions are put.

use crate::calls::{Arg, Effect};
use crate::flow::Side;
use crate::kernel::{TimerKind, Witness};
use crate::report::clock;
use crate::report::style::{Detail, Paint, Style};
use crate::report::text::{Columns as _, Line, Rest, counted, escape, head as cut, ordinal, quote, shown};
use crate::report::view::{Form, Index, Moved};
use crate::script::LinkAct;
use crate::story::{
    CallEvent, Cause, EventId, EventKind, Fate, IcmpEvent, LinkActEvent, Mechanism, Phase, SegmentEvent, TimerEvent,
    Why,
};
use crate::tcp::{Finding, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Tunnel};

/// The colour of an end.
pub(super) const fn paint_of(side: Side) -> Paint {
    match side {
        Side::Client => Paint::Client,
        Side::Server => Paint::Server,
    }
}

/// The colour of an end's name.
pub(super) const fn strong_of(side: Side) -> Paint {
    match side {
        Side::Client => Paint::ClientStrong,
        Side::Server => Paint::ServerStrong,
    }
}

/// A call in pieces that may be broken into lines: the head with its arguments one by one, and the result, which is never lost.
pub(super) struct CallWords {
    /// `connect(`, or what the row says of its return.
    pub(super) head: Line,
    /// The arguments.
    pub(super) args: Vec<String>,
    /// How many of them must be seen before the rest may be left out.
    pub(super) keep: usize,
    /// ` = 10`, with the error.
    pub(super) tail: Line,
    /// What is shown where there is room, most telling first.
    pub(super) extras: Vec<Line>,
}

/// How a row names a call: with its arguments, or only by name where it returns.
pub(super) fn call(
    index: &Index<'_>,
    id: EventId,
    call: &CallEvent,
    side: Side,
    form: Form,
    style: &Style,
) -> CallWords {
    let glyphs = style.glyphs();
    let name = shown(call.call.name(), style).into_owned();
    let strong = match side {
        Side::Client => Paint::ClientStrong,
        Side::Server => Paint::ServerStrong,
    };
    let mut head = Line::default();
    if let Some(n) = index.ordinal(id) {
        head.push(Paint::Dim, format!("{} ", ordinal(n)));
    }
    if let Some(caller) = call.call.stack.caller().filter(|_| matches!(form, Form::Whole | Form::Entry)) {
        head.append(Line::of(Paint::Dim, escape(&caller.short(), style)).cut(LONGEST_PLACE, glyphs.ellipsis));
        head.push(Paint::Dim, " ");
    }
    head.append(Line::of(strong, name));
    let mut words = CallWords { head, args: Vec::new(), keep: 0, tail: Line::default(), extras: Vec::new() };
    if matches!(form, Form::Whole | Form::Entry) {
        words.args = arguments(call, form, style);
        words.keep = match call.call.effect() {
            Effect::Send | Effect::Option | Effect::LingerZero => 3,
            Effect::Open | Effect::Bind | Effect::Listen | Effect::Connect | Effect::Receive => 2,
            Effect::Accept => 1,
            _ => words.args.len(),
        };
    }
    match form {
        Form::Entry => {
            let waits = matches!(call.call.effect(), Effect::Accept | Effect::Connect | Effect::Receive);
            if waits {
                words.extras.insert(0, Line::of(Paint::Dim, format!(" {}waiting", glyphs.ellipsis)));
            }
            return words;
        }
        Form::Unreturned => {
            words.tail.push(Paint::Warn, " has not returned");
            return words;
        }
        Form::Whole | Form::Return => {}
    }
    match (call.call.result(), call.call.errno()) {
        (_, Some(errno)) => words.tail.push(Paint::Bad, format!(" = -1 {errno}")),
        // What was found is no call, and the end of a process returns nothing.
        (Some(_), None) if matches!(call.call.effect(), Effect::Found | Effect::Exit) => {}
        (Some(result), None) => words.tail.push(Paint::Plain, format!(" = {result}")),
        (None, None) => {}
    }
    match (&call.brought_by[..], call.completed_by) {
        (brought @ [_, _, ..], _) => {
            words.tail.push(Paint::Dim, format!(" {} ", glyphs.because));
            words.tail.push(Paint::Plain, frames(&index.known.frames_of(brought)));
            words.extras.push(Line::of(Paint::Dim, format!(" ({})", counted(brought.len() as u64, "segment"))));
        }
        (_, Some(segment)) => {
            let (frame, flags) = match index.event(segment).map(|event| &event.kind) {
                Some(EventKind::Segment(segment)) => (segment.segment.frame, format!(" {}", segment.segment.flags)),
                Some(EventKind::Icmp(icmp)) => (icmp.quote.frame, " ICMP".to_owned()),
                _ => (0, String::new()),
            };
            words.tail.push(Paint::Dim, format!(" {} ", glyphs.because));
            words.tail.push(Paint::Plain, format!("#{frame}"));
            words.extras.push(Line::of(Paint::Plain, flags));
        }
        _ => {}
    }
    if call.call.effect() == Effect::Accept
        && form == Form::Return
        && let Some(peer) = call.call.peer()
    {
        words.extras.push(Line::of(Paint::Dim, format!(" from {peer}")));
    }
    if call.call.effect() == Effect::Receive {
        if !call.call.preview().is_empty() {
            words.extras.push(Line::of(Paint::Plain, format!(" {}", preview(call, 22, style))));
        } else if call.call.result() == Some(0) && call.completed_by.is_some() {
            words.extras.push(Line::of(Paint::Dim, " end of stream"));
        }
    }
    if call.sent.len() > 1 {
        let sent = frames(&index.known.frames_of(&call.sent));
        let said = format!(" {} {sent} ({})", glyphs.becomes, counted(call.sent.len() as u64, "segment"));
        words.extras.insert(0, Line::of(Paint::Dim, said));
    }
    if let Some(returned) = call.call.returned_at()
        && form == Form::Return
    {
        let took = clock::duration(returned.since(call.call.entered), micro(style));
        words.extras.push(Line::of(Paint::Dim, format!(" {} {took}", glyphs.dot)));
    }
    words
}

/// The arguments as strace has them: the descriptor first, then the octets, then the values without their names.
///
/// What the kernel writes into its arguments is not known when a call is entered.
fn arguments(call: &CallEvent, form: Form, style: &Style) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    if let Some(fd) = call.call.fd()
        && !matches!(call.call.effect(), Effect::Open | Effect::Exit)
    {
        args.push(fd.to_string());
    }
    if call.call.effect() == Effect::Send && !call.call.preview().is_empty() {
        args.push(preview(call, if style.columns() < 120 { 14 } else { 20 }, style));
    }
    if call.call.effect() == Effect::Accept && form == Form::Entry {
        return args;
    }
    args.extend(call.call.args().into_iter().map(|(_, value)| match value {
        Arg::Int(number) => number.to_string(),
        Arg::Text(text) => match shown(&text, style).into_owned() {
            long if long.width() > LONGEST_ARGUMENT => {
                let ellipsis = style.glyphs().ellipsis;
                format!("{}{ellipsis}", cut(&long, LONGEST_ARGUMENT - ellipsis.width()).0)
            }
            short => short,
        },
    }));
    args
}

/// The first octets that a call moved.
fn preview(call: &CallEvent, columns: usize, style: &Style) -> String {
    let whole = call.call.octets().is_none_or(|octets| octets == call.call.preview().len() as u64);
    quote(call.call.preview(), if whole { Rest::Nothing } else { Rest::Follows }, columns, style)
}

/// Frame numbers in few words: `#4`, `#4 #5`, `#4-#9`; a range may hold frames that are not meant, so their number is told beside it.
pub(super) fn frames(numbers: &[u64]) -> String {
    match numbers {
        [] => String::new(),
        [one] => format!("#{one}"),
        [one, other] => format!("#{one} #{other}"),
        [first, .., last] => format!("#{first}-#{last}"),
    }
}

/// The parts of a segment's label: those that must be shown, and those that are where there is room.
pub(super) struct SegmentWords {
    /// Frame, flags and octets.
    pub(super) what: Vec<Line>,
    /// Where it lies: sequence and acknowledgement numbers.
    pub(super) place: Vec<Line>,
    /// What decides: its findings, and a window that is closed, opened or filled.
    pub(super) remarks: Vec<Line>,
    pub(super) may: Vec<Line>,
    /// Whether it does not reach the other end, or not whole.
    pub(super) is_lost: bool,
}

/// What stands on a segment's arrow.
pub(super) fn segment(segment: &SegmentEvent, style: &Style) -> SegmentWords {
    let flags = segment.segment.flags;
    let paint = if flags.contains(Flags::RST) { Paint::Bad } else { Paint::Strong };
    let mut what =
        vec![Line::of(Paint::Plain, format!("#{}", segment.segment.frame)), Line::of(paint, flags.to_string())];
    if segment.segment.len > 0 {
        what.push(Line::of(Paint::Plain, format!("len {}", segment.segment.len)));
    }
    let mut place = vec![Line::of(Paint::Dim, format!("seq {}", segment.seq))];
    if let Some(ack) = segment.ack {
        place.push(Line::of(Paint::Dim, format!("ack {ack}")));
    }
    let window = format!("win {}", segment.window);
    let (mut remarks, mut may) = (Vec::new(), Vec::new());
    let is_lost = matches!(segment.fate, Some(Fate::Lost | Fate::Damaged));
    // What the cause says already needs no second telling.
    let is_said = |finding: &Finding| {
        matches!(
            (finding, segment.cause.kernel),
            (Finding::WindowUpdate, Some(Mechanism::WindowUpdate))
                | (Finding::KeepAlive, Some(Mechanism::KeepAlive))
                | (Finding::ZeroWindowProbe, Some(Mechanism::ZeroWindowProbe))
        )
    };
    // A copy was not sent again, whatever its numbers look like; the rule's verdict stands among the findings below.
    let is_copy = segment.findings.contains(Finding::CapturedTwice);
    // Nor was a SYN that says in the same number that it has met the peer's.
    let is_crossed = segment.cause.why == Some(Why::SynsCrossed);
    let is_repeat = |finding: &Finding| finding.is_retransmission() || is_crossed && *finding == Finding::OutOfOrder;
    let is_left_out = |finding: &Finding| is_said(finding) || (is_copy || is_crossed) && is_repeat(finding);
    for finding in segment.findings.iter().filter(|finding| !is_left_out(finding)) {
        remarks.push(Line::of(Paint::Warn, said(finding)));
    }
    if let Some(fate) = segment.fate.filter(|fate| *fate != Fate::Arrived) {
        remarks.push(Line::of(Paint::Bad, fate.name()));
    }
    let told = [Finding::ZeroWindow, Finding::WindowUpdate, Finding::WindowFull, Finding::ZeroWindowProbe];
    if told.into_iter().any(|finding| segment.findings.contains(finding)) {
        remarks.push(Line::of(Paint::Plain, window));
    } else if flags.contains(Flags::SYN) {
        let options = &segment.segment.options;
        may.push(Line::of(Paint::Dim, window));
        may.extend(options.mss.map(|mss| Line::of(Paint::Dim, format!("mss {mss}"))));
        may.extend(options.window_scale.map(|scale| Line::of(Paint::Dim, format!("ws {scale}"))));
    } else if style.columns() >= ROOMY {
        may.push(Line::of(Paint::Dim, window));
    }
    if !segment.preview.is_empty() {
        let whole = segment.preview.len() as u64 == u64::from(segment.segment.len);
        let rest = if whole { Rest::Nothing } else { Rest::Follows };
        may.insert(0, Line::of(Paint::Plain, quote(&segment.preview, rest, 18, style)));
    }
    if style.columns() >= ROOMY || style.detail == Detail::Every {
        // What a SYN announces goes before, and octets that are not alone on their way are seldom read one by one.
        let at = if flags.contains(Flags::SYN) { may.len() } else { 0 };
        may.splice(at..at, measured(segment, style));
    }
    SegmentWords { what, place, remarks, may, is_lost }
}

/// Tunnels from the outermost on: `VLAN 5, VXLAN 42 10.0.0.1 → 10.0.0.2`.
pub(super) fn tunnels(tunnels: &[Tunnel], style: &Style) -> String {
    let becomes = style.glyphs().becomes;
    let told = |tunnel: &Tunnel| match tunnel.ends {
        Some((src, dst)) => format!("{tunnel} {src} {becomes} {dst}"),
        None => tunnel.to_string(),
    };
    tunnels.iter().map(told).collect::<Vec<_>>().join(", ")
}

/// What was measured at a segment: the round trip that it ended, and the octets in flight where they are more than its own.
fn measured(segment: &SegmentEvent, style: &Style) -> Vec<Line> {
    let timing = &segment.timing;
    let by_ack = timing.ack_rtt.filter(|_| !timing.ambiguous);
    let rtt = by_ack.or(timing.timestamp_rtt).map(|rtt| format!("rtt {}", clock::duration(rtt, micro(style))));
    let in_flight = timing.in_flight.filter(|octets| *octets > segment.segment.len);
    let in_flight = in_flight.map(|octets| format!("in flight {octets}"));
    rtt.into_iter().chain(in_flight).map(|said| Line::of(Paint::Dim, said)).collect()
}

/// What stands on the arrow of a run: its frames, how many segments, their octets and where they lie.
pub(super) fn run(run: &[&SegmentEvent]) -> SegmentWords {
    let (mut what, mut place) = (Vec::new(), Vec::new());
    if let [first, .., last] = run {
        what.push(Line::of(Paint::Plain, format!("#{}-#{}", first.segment.frame, last.segment.frame)));
        let octets: u64 = run.iter().map(|segment| u64::from(segment.segment.len)).sum();
        if octets > 0 {
            what.push(Line::of(Paint::Strong, format!("{} segments,", run.len())));
            what.push(Line::of(Paint::Strong, format!("{octets} octets")));
            let end = last.seq + i64::from(last.segment.len) - 1;
            place.push(Line::of(Paint::Dim, format!("seq {}-{end}", first.seq)));
        } else {
            what.push(Line::of(Paint::Strong, format!("{} ACKs", run.len())));
            if let (Some(from), Some(to)) = (first.ack, last.ack) {
                place.push(Line::of(Paint::Dim, format!("ack {from}-{to}")));
            }
        }
    }
    SegmentWords { what, place, remarks: Vec::new(), may: Vec::new(), is_lost: false }
}

/// The cause of a run: all its calls, or that the kernel acknowledged.
pub(super) fn run_cause(index: &Index<'_>, run: &[&SegmentEvent], said: Said, style: &Style) -> Line {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return Line::default() };
    let mut calls: Vec<EventId> = run.iter().flat_map(|segment| segment.cause.calls.iter().copied()).collect();
    calls.sort_unstable();
    calls.dedup();
    if calls.is_empty() {
        let mut line = cause(index, first, said, style);
        let of = |segment: &SegmentEvent| match &index.event(segment.cause.of?)?.kind {
            EventKind::Segment(segment) => Some(segment.segment.frame),
            _ => None,
        };
        if let Some(to) = of(last).filter(|_| first.cause.kernel == Some(Mechanism::Ack)) {
            line.push(Paint::Kernel, format!("-#{to}"));
        }
        return line;
    }
    Line::of(Paint::Dim, "by ").with(paint_of(first.from), called(index, &calls, style))
}

/// A finding's name with spaces.
fn said(finding: Finding) -> String {
    finding.name().replace('_', " ")
}

/// How much is said of a cause.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Said {
    /// The flags of the segment that is answered, too.
    InFull,
    /// Only its number, and the kernel's reason in a word.
    Shortly,
}

/// What made an end send a segment: the calls, the kernel, or what segments alone let one conclude.
pub(super) fn cause(index: &Index<'_>, segment: &SegmentEvent, said: Said, style: &Style) -> Line {
    let Cause { calls, kernel, of, why, .. } = &segment.cause;
    let mut line = Line::default();
    let is_copy =
        segment.findings.contains(Finding::CapturedTwice) || calls.is_empty() && kernel.is_none() && of.is_some();
    if is_copy {
        // Nothing made an end send it: it is not a segment of its own.
        return line.with(
            Paint::Plain,
            match of.and_then(|of| frame_of(index, of)).or_else(|| index.copied(segment.segment.frame)) {
                Some(original) => format!("same frame as #{original}"),
                None => "a frame captured twice".to_owned(),
            },
        );
    }
    if segment.cause.link.is_some() {
        return line.with(Paint::Warn, "injected by the link");
    }
    if segment.cause.is_inferred() {
        line.push(Paint::Warn, "~");
    }
    let by_calls = match calls[..] {
        [] => Line::default(),
        _ => Line::of(Paint::Dim, "by ").with(paint_of(segment.from), called(index, calls, style)),
    };
    let Some(mechanism) = kernel else { return line.joined(by_calls) };
    if *mechanism == Mechanism::Unknown {
        let said = match why {
            // The mark says that it was not watched.
            Some(Why::Unwatched(kind)) => style.wording().unwatched(*kind).into(),
            Some(why) => style.wording().why(why),
            None => "cause not known".into(),
        };
        // Blue is the kernel's; a call that nobody watched is the end's own.
        let paint = if segment.cause.is_inferred() { paint_of(segment.from) } else { Paint::Plain };
        return line.with(paint, escape(&said, style));
    }
    let of = of.and_then(|of| index.event(of)).and_then(|event| match &event.kind {
        EventKind::Segment(segment) if *mechanism == Mechanism::Handshake && said == Said::InFull => {
            Some(format!("{} #{}", segment.segment.flags, segment.segment.frame))
        }
        EventKind::Segment(segment) => Some(format!("#{}", segment.segment.frame)),
        _ => None,
    });
    let (alone, with, short) = match mechanism {
        Mechanism::Handshake => ("answers the SYN", "answers", "answers"),
        Mechanism::Ack => ("acks", "acks", "acks"),
        Mechanism::OutOfOrderAck => ("acks out of order", "acks out-of-order", "acks"),
        Mechanism::ChallengeAck => ("challenge ack", "challenge ack on", "challenge"),
        Mechanism::DelayedAck => ("delayed ack", "delayed ack of", "delayed ack"),
        Mechanism::RetransmissionTimeout => ("timeout, retransmits", "timeout, repeats", "timeout"),
        Mechanism::TailLossProbe => ("tail loss probe", "tail loss probe, repeats", "probe"),
        Mechanism::FastRetransmit => ("fast retransmit", "fast retransmit of", "fast retransmit"),
        Mechanism::KeepAlive if segment.segment.flags.contains(Flags::RST) => {
            ("gives up", "gives up after", "gives up")
        }
        Mechanism::KeepAlive => ("keep-alive", "keep-alive after", "keep-alive"),
        Mechanism::ZeroWindowProbe => ("zero-window probe", "zero-window probe after", "probe"),
        Mechanism::WindowUpdate => ("window update", "window update after", "window"),
        Mechanism::Reset => ("resets", "resets on", "resets on"),
        Mechanism::Exit => ("closes at exit", "closes at exit, after", "at exit"),
        Mechanism::Recovery => ("recovery", "recovery of", "recovery"),
        Mechanism::Unknown => ("not known", "not known, after", "not known"),
    };
    let (with, alone) = if said == Said::Shortly { (short, short) } else { (with, alone) };
    let kernel = match of {
        Some(of) => format!("{with} {of}"),
        None => alone.to_owned(),
    };
    match (said, by_calls.is_empty()) {
        (_, true) => line.with(Paint::Kernel, format!("kernel {kernel}")),
        (Said::InFull, false) => line.with(Paint::Kernel, format!("kernel {kernel} ")).joined(by_calls),
        (Said::Shortly, false) => line.joined(by_calls).with(Paint::Kernel, format!(" ({kernel})")),
    }
}

/// The frame of a segment, or of an ICMP error.
fn frame_of(index: &Index<'_>, id: EventId) -> Option<u64> {
    index.known.frame_of(id)
}

/// Calls by name and number: `connect`, `2nd send`, `1st–3rd send`, `2nd send, close`.
pub(super) fn called(index: &Index<'_>, calls: &[EventId], style: &Style) -> String {
    let mut groups: Vec<(String, Vec<Option<u64>>)> = Vec::new();
    for &id in calls {
        let Some(EventKind::Call(call)) = index.event(id).map(|event| &event.kind) else { continue };
        let name = shown(call.call.name(), style).into_owned();
        let n = index.ordinal(id);
        match groups.last_mut() {
            Some((last, numbers)) if *last == name => numbers.push(n),
            _ => groups.push((name, vec![n])),
        }
    }
    let texts: Vec<String> = groups
        .into_iter()
        .map(|(name, numbers)| match numbers[..] {
            [Some(n)] => format!("{} {name}", ordinal(n)),
            [Some(first), .., Some(last)] => {
                format!("{}{}{} {name}", ordinal(first), style.glyphs().dash, ordinal(last))
            }
            _ => name,
        })
        .collect();
    texts.join(", ")
}

/// A transition, in the ways it can be put, longest first; all but the last are on one line.
pub(super) fn moved(moved: &Moved<'_>, style: &Style) -> Vec<Line> {
    let transition = moved.transition;
    let becomes = style.glyphs().becomes;
    let from = transition.from.map_or("?", State::name);
    let to = transition.to.name();
    let marks = marks(&transition.evidence);
    let inferred = if moved.transition.is_inferred() { "~" } else { "" };
    let build = |before: &'static str, arrow: String, after: String| {
        let mut line = Line::default();
        if moved.listener && !before.is_empty() {
            line.push(Paint::Dim, "listener ");
        }
        line.push(Paint::Warn, inferred);
        line.push(Paint::Plain, before);
        line.push(Paint::Dim, arrow);
        line.push(Paint::State, to);
        line.push(Paint::Dim, after);
        line
    };
    let spaced = if marks.is_empty() { String::new() } else { format!(" {marks}") };
    vec![
        build(from, format!(" {becomes} "), spaced.clone()),
        build(from, becomes.to_owned(), spaced.clone()),
        build(from, becomes.to_owned(), marks.clone()),
        build("", format!("{becomes} "), spaced),
        build("", becomes.to_owned(), String::new()),
    ]
}

/// The witnesses of a transition as letters in brackets; nothing for the segments alone, which `~` says.
fn marks(evidence: &[Witness]) -> String {
    if evidence.is_empty() || evidence == [Witness::Segments] {
        return String::new();
    }
    let letters: String = evidence.iter().map(|witness| mark(*witness)).collect();
    format!("[{letters}]")
}

/// The letter of a witness.
pub(in crate::report) const fn mark(witness: Witness) -> char {
    match witness {
        Witness::Segments => 's',
        Witness::TcpInfo => 't',
        Witness::Kernel => 'k',
        Witness::SockDiag => 'd',
        Witness::Link => 'l',
    }
}

/// A witness in full, for the legend.
pub(in crate::report) const fn witness(witness: Witness) -> &'static str {
    match witness {
        Witness::Segments => "segments",
        Witness::TcpInfo => "TCP_INFO",
        Witness::Kernel => "kernel tracepoint",
        Witness::SockDiag => "sock_diag",
        Witness::Link => "link",
    }
}

/// Why a transition that stands alone happened: ` by close`, ` on #7`.
pub(super) fn moved_by(index: &Index<'_>, moved: &Moved<'_>, style: &Style) -> Option<Line> {
    let cause = moved.transition.cause?;
    Some(match &index.event(cause)?.kind {
        EventKind::Call(_) => {
            Line::of(Paint::Dim, "by ").with(paint_of(moved.transition.side), called(index, &[cause], style))
        }
        EventKind::Segment(segment) => Line::of(Paint::Dim, format!("on #{}", segment.segment.frame)),
        EventKind::Icmp(icmp) => Line::of(Paint::Dim, format!("on #{}", icmp.quote.frame)),
        EventKind::Timer(_) => Line::of(Paint::Dim, "timer ran out"),
        EventKind::Transition(_) | EventKind::Link(_) | EventKind::Kernel(_) => return None,
    })
}

/// A timer as sock_diag showed it, on lines of at most `width` where that can be.
pub(super) fn timer(
    index: &Index<'_>,
    at: Option<Timestamp>,
    timer: &TimerEvent,
    width: usize,
    style: &Style,
) -> Vec<Line> {
    let name = match timer.kind {
        TimerKind::TimeWait => "TIME-WAIT",
        TimerKind::Retransmission => "retransmission",
        TimerKind::KeepAlive => "keep-alive",
        TimerKind::ZeroWindowProbe => "zero-window probe",
    };
    let left = clock::duration(timer.remaining, micro(style));
    let mut lines = vec![
        Line::of(Paint::State, name)
            .with(Paint::Plain, format!(" {left} left "))
            .with(Paint::Dim, format!("[{}]", mark(Witness::SockDiag))),
    ];
    if let Some(at) = at {
        let over = clock::time_of_day(at.after(timer.remaining), style, 0);
        lines.push(Line::of(Paint::Dim, "ends ").with(Paint::Plain, format!("{over} {}", clock::zone(style))));
    }
    let call = timer
        .cause
        .map(|cause| Line::of(Paint::Dim, "after ").with(paint_of(timer.side), called(index, &[cause], style)));
    let owner = timer.owner.and_then(|owner| index.known.threads().get(owner)).map(|(thread, process)| {
        let owner = format!("{} ({})", escape(&thread.comm, style), process.pid);
        Line::of(Paint::Dim, "by ").with(Paint::Plain, owner)
    });
    match (call, owner) {
        (Some(call), Some(owner)) if call.width() + 1 + owner.width() <= width => {
            lines.push(call.with(Paint::Plain, " ").joined(owner));
        }
        (call, owner) => lines.extend(call.into_iter().chain(owner)),
    }
    lines
}

/// What an ICMP error says: `#8 ICMP fragmentation needed, MTU 1400, for #4, from 10.0.0.2`.
pub(super) fn icmp(index: &Index<'_>, icmp: &IcmpEvent) -> Line {
    let mut line = Line::of(Paint::Plain, format!("#{} ", icmp.quote.frame))
        .with(Paint::Bad, format!("ICMP {}", icmp.error.kind.words()));
    if let Some(mtu) = icmp.error.mtu {
        line.push(Paint::Plain, format!(", MTU {mtu}"));
    }
    if let Some(frame) = icmp.segment.and_then(|segment| frame_of(index, segment)) {
        line.push(Paint::Plain, format!(", for #{frame}"));
    }
    line.with(Paint::Dim, format!(", from {}", icmp.error.from))
}

/// What the link did: `link drops #4`.
pub(super) fn link(index: &Index<'_>, link: &LinkActEvent, style: &Style) -> Line {
    let verb = match link.act {
        LinkAct::Dropped => "drops",
        LinkAct::Delayed(_) => "delays",
        LinkAct::Duplicated => "duplicates",
        LinkAct::Damaged => "damages",
        LinkAct::Injected => "injects",
        LinkAct::Overtaken => "reorders",
        LinkAct::Marked => "CE-marks",
    };
    let what = link.segment.and_then(|segment| frame_of(index, segment));
    let what = what.map_or_else(|| link.what.flags.to_string(), |frame| format!("#{frame}"));
    let mut line = Line::of(Paint::Warn, format!("link {verb} {what}"));
    if let LinkAct::Delayed(span) = link.act {
        line.push(Paint::Plain, format!(" by {}", clock::duration(span, micro(style))));
    }
    line
}

/// What stands on the second half of an arrow: which segments arrive, and how long after they left.
pub(super) fn arrival(
    segments: &[&SegmentEvent],
    took: Span,
    again: bool,
    overtaken: bool,
    style: &Style,
) -> SegmentWords {
    let took = clock::duration(took, micro(style));
    let frames: Vec<u64> = segments.iter().map(|segment| segment.segment.frame).collect();
    let mut what = vec![Line::of(Paint::Plain, frames_of_run(&frames))];
    what.push(Line::of(Paint::Dim, format!("after {took}")));
    let mut remarks = Vec::new();
    if again {
        remarks.push(Line::of(Paint::Bad, "a second time"));
    }
    if overtaken {
        remarks.push(Line::of(Paint::Warn, "overtaken"));
    }
    if segments.iter().any(|segment| segment.fate == Some(Fate::Damaged)) {
        remarks.push(Line::of(Paint::Bad, "damaged"));
    }
    SegmentWords { what, place: Vec::new(), remarks, may: Vec::new(), is_lost: false }
}

fn frames_of_run(numbers: &[u64]) -> String {
    match numbers {
        [first, _, .., last] => format!("#{first}-#{last} {} segments", numbers.len()),
        few => frames(few),
    }
}

/// A phase's name, and what it is for.
pub(super) const fn phase(phase: Phase) -> (&'static str, &'static str) {
    match phase {
        Phase::SetUp => ("set-up", "sockets are made; nothing is on the wire yet"),
        Phase::Handshake => ("handshake", "both ends agree on where their octets begin"),
        Phase::Data => ("data", "octets flow, and are acknowledged"),
        Phase::Teardown => ("teardown", "each end closes its own direction"),
        Phase::TimeWait => ("TIME-WAIT", "the end that closed first waits"),
    }
}

/// The letter before `s` in microseconds.
pub(super) const fn micro(style: &Style) -> &'static str {
    match style.charset {
        crate::report::Charset::Unicode => "µ",
        crate::report::Charset::Ascii => "u",
    }
}

/// Columns of a source line, or of what stands in its place.
pub(super) const LONGEST_PLACE: usize = 24;
/// Columns of an argument, which may be broken into lines: a file may claim any.
pub(super) const LONGEST_ARGUMENT: usize = 120;

/// From this width on a page shows what narrower ones leave out: windows, durations, notes.
pub(super) const ROOMY: usize = 140;
