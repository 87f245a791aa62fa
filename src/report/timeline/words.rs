//! The words of a timeline: how calls, segments, causes and transitions are put.

use super::plan::{Form, Index, Moved, is_inferred};
use crate::calls::{Arg, Effect};
use crate::flow::{CallEvent, Cause, EventId, EventKind, Mechanism, Phase, SegmentEvent, Side, TimerEvent};
use crate::kernel::{TimerKind, Witness};
use crate::report::clock;
use crate::report::style::{Paint, Style};
use crate::report::text::{Line, Rest, counted, escape, ordinal, quote};
use crate::tcp::{Finding, State};
use crate::wire::Flags;

/// The colour of an end.
pub(super) const fn paint_of(side: Side) -> Paint {
    match side {
        Side::Client => Paint::Client,
        Side::Server => Paint::Server,
    }
}

/// A call in pieces that may be broken into lines: the head with its arguments one by one, and the result, which is never lost.
pub(super) struct CallWords {
    /// `connect(`, or what the row says of its return.
    pub(super) head: Line,
    /// The arguments with their commas, the last with the closing bracket.
    pub(super) args: Vec<String>,
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
    let name = escape(&call.call.name, style);
    let strong = match side {
        Side::Client => Paint::ClientStrong,
        Side::Server => Paint::ServerStrong,
    };
    let mut head = Line::default();
    if let Some(n) = index.ordinal(id) {
        head.push(Paint::Dim, format!("{} ", ordinal(n)));
    }
    head.push(strong, name);
    let preview = |columns| {
        let whole = call.call.octets == Some(call.call.preview.len() as u64);
        quote(&call.call.preview, if whole { Rest::Nothing } else { Rest::Follows }, columns, style)
    };
    let mut words = CallWords { head, args: Vec::new(), tail: Line::default(), extras: Vec::new() };
    if matches!(form, Form::Whole | Form::Entry) {
        words.args = arguments(call, style);
    }
    if call.call.effect == Effect::Send && form != Form::Return && !call.call.preview.is_empty() {
        words.extras.push(Line::of(Paint::Plain, format!(" {}", preview(22))));
    }
    match form {
        Form::Entry => {
            let waits = matches!(call.call.effect, Effect::Accept | Effect::Connect | Effect::Receive);
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
    match (call.call.result, &call.call.errno) {
        (_, Some(errno)) => words.tail.push(Paint::Bad, format!(" = -1 {}", escape(errno, style))),
        (Some(result), None) => words.tail.push(Paint::Plain, format!(" = {result}")),
        (None, None) => {}
    }
    if let Some(frame) = call.completed_by {
        let flags = index.segment(frame).map_or(String::new(), |segment| format!(" {}", segment.segment.flags));
        words.tail.push(Paint::Dim, format!(" {} ", glyphs.because));
        words.tail.push(Paint::Plain, format!("#{frame}"));
        words.extras.push(Line::of(Paint::Plain, flags));
    }
    if call.call.effect == Effect::Receive {
        if !call.call.preview.is_empty() {
            words.extras.push(Line::of(Paint::Plain, format!(" {}", preview(22))));
        } else if call.call.result == Some(0) && call.completed_by.is_some() {
            words.extras.push(Line::of(Paint::Dim, " end of stream"));
        }
    }
    if call.brought_by.len() > 1 {
        words.extras.push(Line::of(Paint::Dim, format!(" from {}", frames(&call.brought_by))));
    }
    if call.frames.len() > 1 {
        words.extras.push(Line::of(Paint::Dim, format!(" in {}", frames(&call.frames))));
    }
    if let Some(returned) = call.call.returned {
        let took = clock::duration(returned.since(call.call.entered), micro(style));
        words.extras.push(Line::of(Paint::Dim, format!(" {} {took}", glyphs.dot)));
    }
    words
}

/// The arguments as strace has them: the descriptor first, then the values without their names.
fn arguments(call: &CallEvent, style: &Style) -> Vec<String> {
    let mut args: Vec<String> = Vec::new();
    if let Some(fd) = call.call.fd
        && !matches!(call.call.effect, Effect::Open | Effect::Exit)
    {
        args.push(fd.to_string());
    }
    for (_, value) in &call.call.args {
        args.push(match value {
            Arg::Int(number) => number.to_string(),
            Arg::Text(text) => escape(text, style),
        });
    }
    let last = args.len().saturating_sub(1);
    for (at, arg) in args.iter_mut().enumerate() {
        arg.push_str(if at == last { ")" } else { "," });
    }
    if args.is_empty() {
        args.push(")".to_owned());
    }
    args
}

/// Frame numbers in few words: `#4`, `#4 #5`, `#4 to #9`, `6 segments, #4 to #12`.
fn frames(numbers: &[u64]) -> String {
    match numbers {
        [] => String::new(),
        [one] => format!("#{one}"),
        [one, other] => format!("#{one} #{other}"),
        [first, .., last] if last - first == numbers.len() as u64 - 1 => format!("#{first} to #{last}"),
        [first, .., last] => format!("{}, #{first} to #{last}", counted(numbers.len() as u64, "segment")),
    }
}

/// The parts of a segment's label: those that must be shown, and those that are where there is room.
pub(super) struct SegmentWords {
    pub(super) must: Vec<Line>,
    pub(super) may: Vec<Line>,
}

/// What stands on a segment's arrow.
pub(super) fn segment(segment: &SegmentEvent, style: &Style) -> SegmentWords {
    let flags = segment.segment.flags;
    let paint = if flags.contains(Flags::RST) { Paint::Bad } else { Paint::Strong };
    let mut must =
        vec![Line::of(Paint::Plain, format!("#{}", segment.segment.frame)), Line::of(paint, flags.to_string())];
    if segment.segment.len > 0 {
        must.push(Line::of(Paint::Plain, format!("len {}", segment.segment.len)));
    }
    must.push(Line::of(Paint::Dim, format!("seq {}", segment.seq)));
    if let Some(ack) = segment.ack {
        must.push(Line::of(Paint::Dim, format!("ack {ack}")));
    }
    let window = format!("win {}", segment.window);
    let mut may = Vec::new();
    for finding in segment.findings.iter() {
        must.push(Line::of(Paint::Warn, said(finding)));
    }
    let told = [Finding::ZeroWindow, Finding::WindowUpdate, Finding::WindowFull, Finding::ZeroWindowProbe];
    if told.into_iter().any(|finding| segment.findings.contains(finding)) {
        must.push(Line::of(Paint::Plain, window));
    } else {
        may.push(Line::of(Paint::Dim, window));
    }
    if flags.contains(Flags::SYN) {
        let options = &segment.segment.options;
        may.extend(options.mss.map(|mss| Line::of(Paint::Dim, format!("mss {mss}"))));
        may.extend(options.window_scale.map(|scale| Line::of(Paint::Dim, format!("ws {scale}"))));
    }
    if !segment.preview.is_empty() {
        let whole = segment.preview.len() as u64 == u64::from(segment.segment.len);
        let rest = if whole { Rest::Nothing } else { Rest::Follows };
        may.insert(0, Line::of(Paint::Plain, quote(&segment.preview, rest, 18, style)));
    }
    SegmentWords { must, may }
}

/// A finding's name with spaces.
fn said(finding: Finding) -> String {
    finding.name().replace('_', " ")
}

/// What made an end send a segment: the calls, the kernel, or what segments alone let one conclude.
pub(super) fn cause(index: &Index<'_>, segment: &SegmentEvent, style: &Style) -> Line {
    let Cause { calls, kernel, of, inferred } = &segment.cause;
    let mut line = Line::default();
    if *inferred {
        line.push(Paint::Warn, "~");
    }
    if !calls.is_empty() {
        line.push(Paint::Dim, "by ");
        line.push(paint_of(segment.from), called(index, calls, style));
        if kernel.is_some() {
            line.push(Paint::Dim, "; ");
        }
    }
    let Some(mechanism) = kernel else { return line };
    if *mechanism == Mechanism::Unknown {
        let said = segment.note.as_deref().unwrap_or("cause not known");
        return line.with(Paint::Kernel, escape(said, style));
    }
    let of = of.and_then(|of| index.event(of)).and_then(|event| match &event.kind {
        EventKind::Segment(segment) => Some(format!("#{}", segment.segment.frame)),
        _ => None,
    });
    let (alone, with) = match mechanism {
        Mechanism::Handshake => ("answers the SYN", "answers SYN"),
        Mechanism::Ack => ("acks", "acks"),
        Mechanism::DelayedAck => ("delayed ack", "delayed ack of"),
        Mechanism::RetransmissionTimeout => ("timeout, sends again", "timeout, repeats"),
        Mechanism::TailLossProbe => ("tail loss probe", "tail loss probe,"),
        Mechanism::FastRetransmit => ("fast retransmit", "fast retransmit of"),
        Mechanism::KeepAlive => ("keep-alive", "keep-alive after"),
        Mechanism::ZeroWindowProbe => ("zero-window probe", "zero-window probe after"),
        Mechanism::WindowUpdate => ("window update", "window update after"),
        Mechanism::Reset => ("resets", "resets on"),
        Mechanism::Exit => ("closes at exit", "closes at exit, after"),
        Mechanism::Unknown => ("not known", "not known, after"),
    };
    line.push(Paint::Kernel, "kernel ");
    match of {
        Some(of) => line.with(Paint::Kernel, format!("{with} {of}")),
        None => line.with(Paint::Kernel, alone),
    }
}

/// Calls by name and number: `connect`, `2nd send`, `1st–3rd send`, `2nd send, close`.
pub(super) fn called(index: &Index<'_>, calls: &[EventId], style: &Style) -> String {
    let mut groups: Vec<(String, Vec<Option<u64>>)> = Vec::new();
    for &id in calls {
        let Some(EventKind::Call(call)) = index.event(id).map(|event| &event.kind) else { continue };
        let name = escape(&call.call.name, style);
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
    let inferred = if is_inferred(transition) { "~" } else { "" };
    let build = |before: &str, arrow: String, after: String| {
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
pub(super) const fn mark(witness: Witness) -> char {
    match witness {
        Witness::Segments => 's',
        Witness::TcpInfo => 't',
        Witness::Kernel => 'k',
        Witness::SockDiag => 'd',
    }
}

/// A witness in full, for the legend.
pub(super) const fn witness(witness: Witness) -> &'static str {
    match witness {
        Witness::Segments => "segments",
        Witness::TcpInfo => "TCP_INFO",
        Witness::Kernel => "kernel tracepoint",
        Witness::SockDiag => "sock_diag",
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
        EventKind::Timer(_) => Line::of(Paint::Dim, "timer ran out"),
        EventKind::Transition(_) => return None,
    })
}

/// A timer as sock_diag showed it, in pieces for one or two lines.
pub(super) fn timer(index: &Index<'_>, timer: &TimerEvent, style: &Style) -> Vec<Line> {
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
    let mut why = Line::default();
    if let Some(cause) = timer.cause {
        why.push(Paint::Dim, "since ");
        why.push(paint_of(timer.side), called(index, &[cause], style));
    }
    if let Some(owner) = &timer.owner {
        why.push(Paint::Dim, if why.is_empty() { "by " } else { " by " });
        why.push(Paint::Plain, escape(owner, style));
    }
    if !why.is_empty() {
        lines.push(why);
    }
    lines
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
