//! Machine-readable output: one JSON object a line, described by `docs/output.schema.json`.

use std::borrow::Cow;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::wording::{English, Wording};
use crate::calls::{Arg, Effect, Errno, Process, SocketId, Thread, Threads};
use crate::capture::{CaptureStats, Interface};
use crate::flow::{Closer, Connection, ConnectionId, FindingAt, Left, Range, Side, SideSummary, Totals, Verdict};
use crate::kernel::{TcpInfo, TimerKind, Witness};
use crate::story::{
    CallEvent, Cause, Event, EventId, EventKind, Evidence, Join, Phase, SegmentEvent, Story, TimerEvent,
    TransitionEvent,
};
use crate::tcp::{FindingSet, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Oddities, Options, Tunnel};

/// Writes JSON Lines.
///
/// Lines are gathered and written together; what was not yet written is, by [`Jsonl::flush`] and [`Jsonl::totals`].
/// Times are strings of decimal seconds, durations are integers of nanoseconds, and a thing not known is null.
/// No control character and none that turns the direction of text gets out unescaped, whatever a name or note holds.
pub struct Jsonl<'a> {
    out: &'a mut dyn Write,
    lines: Lines,
}

impl<'a> Jsonl<'a> {
    /// A writer of lines to `out`, which needs no buffer of its own.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, lines: Lines(Vec::with_capacity(GATHERED + GATHERED / 8)) }
    }

    /// Writes a whole story: its events, its connections, its totals.
    ///
    /// # Errors
    /// Those of the output.
    pub fn story(&mut self, story: &Story) -> io::Result<()> {
        for event in &story.events {
            self.event(event, story)?;
        }
        for connection in &story.connections {
            self.connection(connection)?;
        }
        self.totals(&story.totals)
    }

    /// Writes one event: a `call`, `segment`, `transition` or `timer` line; `story` is what it belongs to.
    ///
    /// # Errors
    /// Those of the output.
    pub fn event(&mut self, event: &Event, story: &Story) -> io::Result<()> {
        match &event.kind {
            EventKind::Call(call) => self.lines.object(&CallLine::of(event, call, story))?,
            EventKind::Segment(segment) => self.lines.object(&SegmentLine::of(event, segment))?,
            EventKind::Transition(transition) => self.lines.object(&TransitionLine::of(event, transition))?,
            EventKind::Timer(timer) => self.lines.object(&TimerLine::of(event, timer, &story.threads))?,
        }
        self.end_line()
    }

    /// Writes one `connection` line.
    ///
    /// # Errors
    /// Those of the output.
    pub fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.lines.connection(connection)?;
        self.end_line()
    }

    /// Writes one `finding` line: a finding of a connection, by itself.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finding(&mut self, connection: &Connection, finding: &FindingAt) -> io::Result<()> {
        self.lines.text(r#"{"type":"finding","connection":"#).number(connection.id.0);
        self.lines.text(r#","client":"#).end(connection.client).text(r#","server":"#).end(connection.server);
        self.lines.text(",");
        self.lines.finding(finding)?;
        self.end_line()
    }

    /// Writes the `opened` line of a live capture: a connection's first segment was captured.
    ///
    /// # Errors
    /// Those of the output.
    pub fn opened(&mut self, id: EventId, at: Option<Timestamp>, connection: &Connection) -> io::Result<()> {
        self.lines.object(&OpenedLine {
            r#type: "opened",
            id,
            at,
            connection: connection.id,
            frame: connection.first_frame,
            client: connection.client.into(),
            server: connection.server.into(),
            midstream: connection.midstream,
        })?;
        self.end_line()
    }

    /// Writes the `drops` line of a live capture: the kernel has dropped `new` packets since it was asked last.
    ///
    /// # Errors
    /// Those of the output.
    pub fn drops(&mut self, id: EventId, at: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        self.lines.object(&DropsLine {
            r#type: "drops",
            id,
            at,
            connection: None,
            dropped: new,
            dropped_in_all: stats.dropped,
            if_dropped_in_all: stats.if_dropped,
        })?;
        self.end_line()
    }

    /// Writes the `counts` line of a live capture: what was counted until now, `open` being the connections that are not over.
    ///
    /// # Errors
    /// Those of the output.
    pub fn counts(
        &mut self,
        id: EventId,
        at: Timestamp,
        open: u64,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        self.lines.object(&CountsLine {
            r#type: "counts",
            id,
            at,
            connection: None,
            frames: totals.frames,
            segments: totals.segments,
            connections: totals.connections,
            open,
            received: stats.map(|stats| stats.received),
            dropped: stats.map(|stats| stats.dropped),
            if_dropped: stats.map(|stats| stats.if_dropped),
        })?;
        self.end_line()
    }

    /// Writes the `interface` line of one interface of this host.
    ///
    /// # Errors
    /// Those of the output.
    pub fn interface(&mut self, interface: &Interface) -> io::Result<()> {
        self.lines.object(&InterfaceLine { r#type: "interface", interface })?;
        self.end_line()
    }

    /// Writes the `totals` line, the last one, and everything before it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn totals(&mut self, totals: &Totals) -> io::Result<()> {
        let Totals { frames, segments, connections, skipped, late_segments, let_go, dropped, .. } = totals;
        self.lines.object(&serde_json::json!({
            "type": "totals", "frames": frames, "segments": segments, "connections": connections,
            "skipped": skipped, "late_segments": late_segments, "let_go": let_go, "dropped": dropped,
        }))?;
        self.end_line()?;
        self.flush()
    }

    /// Writes which file the lines after it are of, up to the next of these.
    ///
    /// # Errors
    /// Those of the output.
    pub fn file(&mut self, name: &str) -> io::Result<()> {
        self.lines.object(&serde_json::json!({"type": "file", "name": name}))?;
        self.end_line()?;
        self.flush()
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.lines.0)?;
        self.lines.0.clear();
        self.out.flush()
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.lines.0.push(b'\n');
        if self.lines.0.len() < GATHERED {
            return Ok(());
        }
        self.out.write_all(&self.lines.0)?;
        self.lines.0.clear();
        Ok(())
    }
}

/// The lines gathered so far; what is written often is written field by field, without a serializer in between.
struct Lines(Vec<u8>);

impl Lines {
    fn object(&mut self, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
        Ok(value.serialize(&mut serde_json::Serializer::with_formatter(&mut self.0, Careful))?)
    }

    fn connection(&mut self, c: &Connection) -> io::Result<()> {
        self.text(r#"{"type":"connection","id":"#).number(c.id.0);
        self.text(r#","client":"#).end(c.client).text(r#","server":"#).end(c.server);
        self.text(r#","midstream":"#).truth(c.midstream);
        self.text(r#","first":"#).moment(c.first).text(r#","last":"#).moment(c.last);
        let duration = c.first.zip(c.last).map(|(first, last)| last.since(first).0);
        self.text(r#","duration_ns":"#).maybe(duration);
        self.text(r#","first_frame":"#).number(c.first_frame).text(r#","last_frame":"#).number(c.last_frame);
        self.text(r#","completeness":"#).number(c.completeness);
        self.text(r#","conn_state":"#).name(Some(c.conn_state.name()));
        self.text(r#","history":"#).sentence(&c.history)?;
        self.text(r#","initial_rtt_ns":"#).maybe(c.initial_rtt.map(|rtt| rtt.0));
        self.text(r#","client_state":"#).name(c.client_state.map(State::name));
        self.text(r#","server_state":"#).name(c.server_state.map(State::name));
        self.text(r#","closed_by":"#).name(c.closed_by.map(Closer::name));
        self.text(r#","ending":"#).name(Some(c.ending.name()));
        self.text(r#","verdict":"#).sentence(&English.verdict(&c.verdict))?;
        self.text(r#","reason":"#).reason(&c.verdict);
        self.text(r#","client_to_server":"#).side(&c.client_to_server);
        self.text(r#","server_to_client":"#).side(&c.server_to_client);
        self.text(r#","findings":["#);
        for (n, finding) in c.findings.iter().enumerate() {
            self.text(if n == 0 { "{" } else { ",{" });
            self.finding(finding)?;
        }
        self.text(r#"],"findings_omitted":"#).number(c.findings_omitted).text("}");
        Ok(())
    }

    /// The fields of a finding, and the end of its object.
    fn finding(&mut self, at: &FindingAt) -> io::Result<()> {
        self.text(r#""name":"#).name(Some(at.finding.name()));
        self.text(r#","frame":"#).maybe(at.frame).text(r#","side":"#).name(Some(at.side.name()));
        self.text(r#","note":"#).sentence(&English.finding(at))?;
        self.text("}");
        Ok(())
    }

    /// The verdict as data.
    fn reason(&mut self, verdict: &Verdict) -> &mut Self {
        self.text(r#"{"code":"#).name(Some(verdict.code()));
        match *verdict {
            Verdict::Closed { first, left } => {
                self.text(r#","first":"#).name(Some(first.name()));
                self.text(r#","left_in":"#).name(match left {
                    Left::TimeWait => Some(State::TimeWait.name()),
                    Left::LastAck => Some(State::LastAck.name()),
                    Left::Nothing => None,
                });
            }
            Verdict::ClosedTogether { waiting } => {
                self.text(r#","waiting":"#).text(match waiting {
                    [true, true] => r#"["client","server"]"#,
                    [true, false] => r#"["client"]"#,
                    [false, true] => r#"["server"]"#,
                    [false, false] => "[]",
                });
            }
            Verdict::HalfClosed { by, in_close_wait } => {
                self.text(r#","by":"#).name(Some(by.name())).text(r#","in_close_wait":"#).truth(in_close_wait);
            }
            Verdict::Reset { by, .. } => _ = self.text(r#","by":"#).name(Some(by.name())),
            Verdict::Unanswered { syns, lasted } => {
                self.text(r#","syns":"#).number(syns).text(r#","lasted_ns":"#).maybe(lasted.map(Span::as_nanos));
            }
            Verdict::Refused
            | Verdict::OnlyResets
            | Verdict::OnlySynsWithReset
            | Verdict::Midstream
            | Verdict::Established
            | Verdict::HandshakeUnfinished
            | Verdict::Open => {}
        }
        self.text("}")
    }

    fn side(&mut self, s: &SideSummary) -> &mut Self {
        // Without its SYN nothing is known of what an end offered.
        let offered = |offer| s.isn.map(|_| offer);
        self.text(r#"{"segments":"#).number(s.segments);
        self.text(r#","octets":"#).number(s.octets);
        self.text(r#","unique_octets":"#).number(s.unique_octets);
        self.text(r#","syn":"#).number(s.syn);
        self.text(r#","fin":"#).number(s.fin);
        self.text(r#","rst":"#).number(s.rst);
        self.text(r#","isn":"#).maybe(s.isn);
        self.text(r#","mss":"#).maybe(s.mss);
        self.text(r#","window_scale":"#).maybe(s.window_scale);
        self.text(r#","sack_permitted":"#).maybe_truth(offered(s.sack_permitted));
        self.text(r#","timestamps":"#).maybe_truth(offered(s.timestamps));
        let remarkable = [
            (r#","retransmissions":"#, s.retransmissions),
            (r#","fast_retransmissions":"#, s.fast_retransmissions),
            (r#","spurious_retransmissions":"#, s.spurious_retransmissions),
            (r#","out_of_order":"#, s.out_of_order),
            (r#","duplicate_acks":"#, s.duplicate_acks),
            (r#","lost_segments":"#, s.lost_segments),
            (r#","acked_unseen":"#, s.acked_unseen),
            (r#","zero_windows":"#, s.zero_windows),
            (r#","window_fulls":"#, s.window_fulls),
            (r#","window_updates":"#, s.window_updates),
            (r#","keep_alives":"#, s.keep_alives),
            (r#","zero_window_probes":"#, s.zero_window_probes),
        ];
        if remarkable.iter().all(|(_, count)| *count == 0) {
            self.text(NOTHING_REMARKABLE);
        } else {
            for (key, count) in remarkable {
                self.text(key).number(count);
            }
        }
        self.text(r#","rtt_min_ns":"#).maybe(s.rtt_min_ns);
        self.text(r#","rtt_avg_ns":"#).maybe(s.rtt_avg_ns);
        self.text(r#","rtt_max_ns":"#).maybe(s.rtt_max_ns);
        self.text("}")
    }

    fn end(&mut self, end: SocketAddr) -> &mut Self {
        self.text(r#"{"addr":""#);
        match end.ip() {
            IpAddr::V4(address) => {
                let [a, b, c, d] = address.octets();
                self.number(a).text(".").number(b).text(".").number(c).text(".").number(d);
            }
            IpAddr::V6(address) => write!(self.0, "{address}").expect("a Vec takes everything"),
        }
        self.text(r#"","port":"#).number(end.port()).text("}")
    }

    fn moment(&mut self, at: Option<Timestamp>) -> &mut Self {
        let Some(nanos) = at.map(Timestamp::as_nanos) else { return self.text("null") };
        if nanos < 0 {
            write!(self.0, "\"{}\"", Span(nanos)).expect("a Vec takes everything");
            return self;
        }
        self.text("\"").number(nanos / 1_000_000_000).text(".");
        let mut digits = [b'0'; 9];
        let mut rest = nanos % 1_000_000_000;
        for digit in digits.iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        self.0.extend_from_slice(&digits);
        self.text("\"")
    }

    fn text(&mut self, text: &str) -> &mut Self {
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    fn number(&mut self, number: impl itoa::Integer) -> &mut Self {
        let mut buffer = itoa::Buffer::new();
        match buffer.format(number).as_bytes() {
            // Most are this short, and copied faster without asking how long they are.
            [digit] => self.0.push(*digit),
            digits => self.0.extend_from_slice(digits),
        }
        self
    }

    fn maybe(&mut self, number: Option<impl itoa::Integer>) -> &mut Self {
        match number {
            Some(number) => self.number(number),
            None => self.text("null"),
        }
    }

    fn truth(&mut self, truth: bool) -> &mut Self {
        self.text(if truth { "true" } else { "false" })
    }

    fn maybe_truth(&mut self, truth: Option<bool>) -> &mut Self {
        match truth {
            Some(truth) => self.truth(truth),
            None => self.text("null"),
        }
    }

    /// Any text; what nearly all of them are, letters and marks that need no escapes, is written as it is.
    fn sentence(&mut self, text: &str) -> io::Result<()> {
        if text.bytes().all(|octet| (b' '..=b'~').contains(&octet) && octet != b'"' && octet != b'\\') {
            self.text("\"").text(text).text("\"");
            return Ok(());
        }
        self.object(text)
    }

    /// A name from one of our own lists, which needs no escapes.
    fn name(&mut self, name: Option<&'static str>) -> &mut Self {
        match name {
            Some(name) => self.text("\"").text(name).text("\""),
            None => self.text("null"),
        }
    }
}

/// Compact JSON in which every character that could steer a terminal is escaped, not only those that JSON demands.
struct Careful;

impl serde_json::ser::Formatter for Careful {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        if fragment.bytes().all(|octet| (b' '..=b'~').contains(&octet)) {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some((at, steering)) = rest.char_indices().find(|(_, c)| steers(*c)) {
            writer.write_all(&rest.as_bytes()[..at])?;
            for unit in steering.encode_utf16(&mut [0; 2]) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = &rest[at + steering.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

/// Whether a character moves the cursor, begins an escape sequence, breaks the line or turns the direction of text.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// What every event's line begins with.
#[derive(Serialize)]
struct Head {
    r#type: &'static str,
    id: EventId,
    at: Option<Timestamp>,
    connection: Option<ConnectionId>,
    phase: &'static str,
}

impl Head {
    fn of(event: &Event, r#type: &'static str) -> Self {
        let phase = match event.phase {
            Phase::SetUp => "set_up",
            Phase::Handshake => "handshake",
            Phase::Data => "data",
            Phase::Teardown => "teardown",
            Phase::TimeWait => "time_wait",
        };
        Self { r#type, id: event.id, at: event.at, connection: event.connection, phase }
    }
}

#[derive(Serialize)]
struct CallLine<'a> {
    #[serde(flatten)]
    head: Head,
    returned: Option<Timestamp>,
    side: Option<Side>,
    process: Option<ProcessField<'a>>,
    name: &'a str,
    effect: Effect,
    fd: Option<i32>,
    socket: Option<SocketId>,
    args: Args<'a>,
    result: Option<i64>,
    errno: Option<Errno>,
    octets: Option<u64>,
    stream: Option<Range>,
    frames: Vec<u64>,
    brought_by: Vec<u64>,
    completed_by: Option<u64>,
    edges: EdgesField<'a>,
    accepted: Option<SocketId>,
    local: Option<End>,
    peer: Option<End>,
    tcp_info: Option<&'a TcpInfo>,
    preview: Preview<'a>,
    note: Option<Cow<'static, str>>,
}

/// The segments that a call has to do with, by their ids.
#[derive(Serialize)]
struct EdgesField<'a> {
    sent: &'a [EventId],
    brought_by: &'a [EventId],
    completed_by: Option<EventId>,
}

/// The thread that made a call.
#[derive(Serialize)]
struct ProcessField<'a> {
    pid: u32,
    tid: u32,
    comm: &'a str,
}

impl<'a> CallLine<'a> {
    fn of(event: &Event, joined: &'a CallEvent, story: &'a Story) -> Self {
        let call = &joined.call;
        let process = story.threads.get(call.thread());
        Self {
            head: Head::of(event, "call"),
            returned: call.returned_at(),
            side: joined.side,
            process: process.map(|(thread, process)| ProcessField {
                pid: process.pid,
                tid: thread.tid,
                comm: &thread.comm,
            }),
            name: call.name(),
            effect: call.effect(),
            fd: call.fd(),
            socket: call.socket(),
            args: Args(call.args()),
            result: call.result(),
            errno: call.errno(),
            octets: call.octets(),
            stream: joined.stream,
            frames: story.frames_of(&joined.sent),
            brought_by: story.frames_of(&joined.brought_by),
            completed_by: joined.completed_by.and_then(|id| story.frame_of(id)),
            edges: EdgesField { sent: &joined.sent, brought_by: &joined.brought_by, completed_by: joined.completed_by },
            accepted: call.accepted(),
            local: call.local().map(End::from),
            peer: call.peer().map(End::from),
            tcp_info: call.info(),
            preview: Preview(call.preview()),
            note: joined.remark.as_ref().map(|remark| English.remark(remark)),
        }
    }
}

#[derive(Serialize)]
struct SegmentLine<'a> {
    #[serde(flatten)]
    head: Head,
    frame: u64,
    from: Side,
    flags: Shown<crate::wire::Flags>,
    seq: i64,
    ack: Option<i64>,
    window: u32,
    octets: u32,
    stream: Option<Range>,
    cause: CauseField<'a>,
    why: WhyField<'a>,
    findings: Findings,
    raw_seq: u32,
    raw_ack: Option<u32>,
    raw_window: u16,
    options: OptionsField<'a>,
    oddities: OdditiesField,
    preview: Preview<'a>,
    note: Option<Cow<'static, str>>,
    bytes_in_flight: Option<u32>,
    acks_frame: Option<u64>,
    ack_rtt_ns: Option<Span>,
    ack_rtt_ambiguous: bool,
    timestamp_rtt_ns: Option<Span>,
    tunnel: Vec<TunnelField>,
}

impl<'a> SegmentLine<'a> {
    fn of(event: &Event, joined: &'a SegmentEvent) -> Self {
        let segment = &joined.segment;
        Self {
            head: Head::of(event, "segment"),
            frame: segment.frame,
            from: joined.from,
            flags: Shown(segment.flags),
            seq: joined.seq,
            ack: joined.ack,
            window: joined.window,
            octets: segment.len,
            stream: joined.stream,
            cause: CauseField(&joined.cause),
            why: WhyField::of_segment(&joined.cause),
            findings: Findings(joined.findings),
            raw_seq: segment.seq.0,
            raw_ack: joined.ack.map(|_| segment.ack.0),
            raw_window: segment.window,
            options: OptionsField::from(&segment.options),
            oddities: OdditiesField(segment.oddities),
            preview: Preview(&joined.preview),
            note: joined.cause.why.as_ref().map(|why| English.why(why)),
            bytes_in_flight: joined.timing.in_flight,
            acks_frame: joined.timing.acks_frame,
            ack_rtt_ns: joined.timing.ack_rtt,
            ack_rtt_ambiguous: joined.timing.ambiguous,
            timestamp_rtt_ns: joined.timing.timestamp_rtt,
            tunnel: joined.tunnel.iter().map(TunnelField::of).collect(),
        }
    }
}

/// On what a cause rests.
#[derive(Serialize)]
struct WhyField<'a> {
    evidence: &'static str,
    rule: Option<&'static str>,
    by: Cow<'a, [Witness]>,
}

impl<'a> WhyField<'a> {
    fn of_segment(cause: &Cause) -> Self {
        let by = match cause.evidence {
            Evidence::Witnessed(witness) => vec![witness],
            Evidence::Joined(_) | Evidence::Inferred(_) => Vec::new(),
        };
        Self { evidence: cause.evidence.name(), rule: cause.evidence.rule().map(Join::name), by: by.into() }
    }

    fn of_transition(moved: &'a TransitionEvent) -> Self {
        let evidence = if moved.is_inferred() { "inferred" } else { "witnessed" };
        let by = if moved.is_inferred() { &[] } else { &moved.evidence[..] };
        Self { evidence, rule: Some(moved.rule.name()), by: by.into() }
    }
}

#[derive(Serialize)]
struct TunnelField {
    kind: &'static str,
    id: Option<u32>,
    src: Option<IpAddr>,
    dst: Option<IpAddr>,
}

impl TunnelField {
    fn of(tunnel: &Tunnel) -> Self {
        let (src, dst) = tunnel.ends.unzip();
        Self { kind: tunnel.kind.name(), id: tunnel.id, src, dst }
    }
}

#[derive(Serialize)]
struct TransitionLine<'a> {
    #[serde(flatten)]
    head: Head,
    side: Side,
    from: Option<State>,
    to: State,
    cause: Option<EventId>,
    rule: &'static str,
    evidence: &'a [Witness],
    why: WhyField<'a>,
    disagreement: Option<Cow<'static, str>>,
}

impl<'a> TransitionLine<'a> {
    fn of(event: &Event, moved: &'a TransitionEvent) -> Self {
        Self {
            head: Head::of(event, "transition"),
            side: moved.side,
            from: moved.from,
            to: moved.to,
            cause: moved.cause,
            rule: moved.rule.name(),
            evidence: &moved.evidence,
            why: WhyField::of_transition(moved),
            disagreement: moved.disagreement.as_ref().map(|disagreement| English.disagreement(disagreement)),
        }
    }
}

#[derive(Serialize)]
struct TimerLine {
    #[serde(flatten)]
    head: Head,
    side: Side,
    name: &'static str,
    remaining_ns: Span,
    cause: Option<EventId>,
    owner: Option<String>,
}

impl TimerLine {
    fn of(event: &Event, timer: &TimerEvent, threads: &Threads) -> Self {
        let name = match timer.kind {
            TimerKind::Retransmission => "retransmission",
            TimerKind::KeepAlive => "keep-alive",
            TimerKind::TimeWait => "TIME-WAIT",
            TimerKind::ZeroWindowProbe => "zero-window-probe",
        };
        Self {
            head: Head::of(event, "timer"),
            side: timer.side,
            name,
            remaining_ns: timer.remaining,
            cause: timer.cause,
            owner: timer.owner.and_then(|owner| threads.get(owner)).map(named),
        }
    }
}

fn named((thread, process): (&Thread, &Process)) -> String {
    format!("{} ({})", thread.comm, process.pid)
}

#[derive(Serialize)]
struct End {
    addr: IpAddr,
    port: u16,
}

impl From<SocketAddr> for End {
    fn from(end: SocketAddr) -> Self {
        Self { addr: end.ip(), port: end.port() }
    }
}

#[derive(Serialize)]
struct OpenedLine {
    r#type: &'static str,
    id: EventId,
    at: Option<Timestamp>,
    connection: ConnectionId,
    frame: u64,
    client: End,
    server: End,
    midstream: bool,
}

#[derive(Serialize)]
struct DropsLine {
    r#type: &'static str,
    id: EventId,
    at: Timestamp,
    connection: Option<ConnectionId>,
    dropped: u64,
    dropped_in_all: u64,
    if_dropped_in_all: u64,
}

#[derive(Serialize)]
struct CountsLine {
    r#type: &'static str,
    id: EventId,
    at: Timestamp,
    connection: Option<ConnectionId>,
    frames: u64,
    segments: u64,
    connections: u64,
    open: u64,
    received: Option<u64>,
    dropped: Option<u64>,
    if_dropped: Option<u64>,
}

#[derive(Serialize)]
struct InterfaceLine<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    interface: &'a Interface,
}

/// Arguments as an object, in the order in which the call takes them.
struct Args<'a>(Vec<(Cow<'a, str>, Arg)>);

impl Serialize for Args<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

/// `{"call":3}`, `{"calls":[7,8]}`, `{"kernel":"ack","of":4}`, or a mechanism together with the calls whose octets it sends again.
struct CauseField<'a>(&'a Cause);

impl Serialize for CauseField<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Cause { calls, kernel, of, unwatched, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        match (kernel, &calls[..]) {
            (None, []) => {
                map.serialize_entry("kernel", "unknown")?;
                map.serialize_entry("of", of)?;
            }
            (None, [call]) => map.serialize_entry("call", call)?,
            (None, calls) => map.serialize_entry("calls", calls)?,
            (Some(mechanism), calls) => {
                map.serialize_entry("kernel", mechanism.name())?;
                map.serialize_entry("of", of)?;
                if !calls.is_empty() {
                    map.serialize_entry("calls", calls)?;
                }
            }
        }
        if *unwatched {
            map.serialize_entry("inferred", &true)?;
        }
        map.end()
    }
}

/// Anything as its own text.
struct Shown<T>(T);

impl<T: std::fmt::Display> Serialize for Shown<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0)
    }
}

/// Octets as text: printable ASCII as it is, everything else and the backslash escaped as in a program's text (`\n`, `\xff`).
struct Preview<'a>(&'a [u8]);

impl Serialize for Preview<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            [] => serializer.serialize_none(),
            octets => serializer.collect_str(&octets.escape_ascii()),
        }
    }
}

struct Findings(FindingSet);

impl Serialize for Findings {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|finding| finding.name()))
    }
}

struct OdditiesField(Oddities);

impl Serialize for OdditiesField {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter_names().map(|(name, _)| name.to_ascii_lowercase()))
    }
}

#[derive(Serialize)]
struct OptionsField<'a> {
    mss: Option<u16>,
    window_scale: Option<u8>,
    sack_permitted: bool,
    timestamps: Option<(u32, u32)>,
    sack: &'a [(crate::wire::Seq, crate::wire::Seq)],
    mptcp: Option<u8>,
    fast_open: bool,
    other: Option<u8>,
}

impl<'a> From<&'a Options> for OptionsField<'a> {
    fn from(options: &'a Options) -> Self {
        Self {
            mss: options.mss,
            window_scale: options.window_scale,
            sack_permitted: options.sack_permitted,
            timestamps: options.timestamps,
            sack: options.sack_edges(),
            mptcp: options.mptcp,
            fast_open: options.fast_open,
            other: options.other,
        }
    }
}

/// What most ends say of everything remarkable, in one piece.
const NOTHING_REMARKABLE: &str = concat!(
    r#","retransmissions":0"#,
    r#","fast_retransmissions":0"#,
    r#","spurious_retransmissions":0"#,
    r#","out_of_order":0"#,
    r#","duplicate_acks":0"#,
    r#","lost_segments":0"#,
    r#","acked_unseen":0"#,
    r#","zero_windows":0"#,
    r#","window_fulls":0"#,
    r#","window_updates":0"#,
    r#","keep_alives":0"#,
    r#","zero_window_probes":0"#,
);

/// How many octets of lines are gathered before they are written.
const GATHERED: usize = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Call, CallId, Op, Returned, Role, SocketUse, ThreadId};
    use crate::flow::{Closer, ConnState, Detail, Disagreement, Ending};
    use crate::report::sample;
    use crate::story::{Mechanism, Timing};
    use crate::tcp::{Finding, Rule};
    use crate::wire::{Flags, Segment, Seq, TunnelKind};
    use serde_json::{Value, json};

    fn lines(write: impl FnOnce(&mut Jsonl<'_>) -> io::Result<()>) -> Vec<Value> {
        let mut out = Vec::new();
        let mut jsonl = Jsonl::new(&mut out);
        write(&mut jsonl).and_then(|()| jsonl.flush()).expect("a Vec takes everything");
        let text = String::from_utf8(out).expect("output is UTF-8");
        assert!(text.ends_with('\n'), "{text}");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    fn connection() -> Connection {
        let side = SideSummary {
            segments: 6,
            octets: 10,
            unique_octets: 11,
            syn: 12,
            fin: 13,
            rst: 14,
            isn: Some(4_281_021_145),
            mss: Some(65_495),
            window_scale: Some(10),
            sack_permitted: true,
            timestamps: true,
            retransmissions: 15,
            fast_retransmissions: 16,
            spurious_retransmissions: 17,
            out_of_order: 18,
            duplicate_acks: 19,
            lost_segments: 20,
            acked_unseen: 21,
            zero_windows: 22,
            window_fulls: 23,
            window_updates: 24,
            keep_alives: 25,
            zero_window_probes: 26,
            rtt_min_ns: Some(27),
            rtt_avg_ns: Some(28),
            rtt_max_ns: Some(-29),
        };
        Connection {
            id: ConnectionId(3),
            client: "127.0.0.1:50634".parse().unwrap(),
            server: "[fe80::1%7]:3000".parse().unwrap(),
            midstream: false,
            first: Some(Timestamp::from_nanos(1_795_223_276_000_071_123)),
            last: Some(Timestamp::from_nanos(1_795_223_276_000_503_123)),
            first_frame: 1,
            last_frame: 10,
            completeness: 31,
            conn_state: ConnState::Sf,
            history: "ShADadFf".into(),
            initial_rtt: Some(Span(30_000)),
            client_state: Some(State::TimeWait),
            server_state: None,
            closed_by: Some(Closer::Client),
            ending: Ending::HalfClosed,
            verdict: Verdict::Unanswered { syns: 3, lasted: Some(Span(7_000)) },
            client_to_server: side.clone(),
            server_to_client: SideSummary::default(),
            findings: vec![
                FindingAt {
                    finding: Finding::Retransmission,
                    frame: Some(7),
                    side: Side::Client,
                    detail: Detail::Since(Some(Span(2_500))),
                },
                FindingAt {
                    finding: Finding::StateDisagreement,
                    frame: None,
                    side: Side::Server,
                    detail: disagreement(),
                },
            ],
            findings_omitted: 2,
        }
    }

    fn disagreement() -> Detail {
        let (witness, segments) = (Witness::SockDiag, Some(State::Closed));
        Detail::Disagreement(Box::new(Disagreement { witness, said: None, segments, after: None }))
    }

    fn event(id: u64, kind: EventKind) -> Event {
        Event {
            id: EventId(id),
            at: Some(Timestamp::from_nanos(5)),
            connection: Some(ConnectionId(3)),
            phase: Phase::SetUp,
            kind,
        }
    }

    fn call() -> CallEvent {
        let at = Timestamp::from_nanos(5);
        CallEvent {
            side: Some(Side::Client),
            call: Call {
                id: CallId { thread: ThreadId(0), n: 0 },
                entered: at,
                op: Op::Connect { address: Some("127.0.0.1:3000".parse().unwrap()) },
                sockets: vec![SocketUse {
                    local: Some("127.0.0.1:50634".parse().unwrap()),
                    info: Some(TcpInfo {
                        asked: at,
                        answered: at,
                        state: State::SynSent,
                        rtt_us: 1,
                        rttvar_us: 2,
                        snd_cwnd: 3,
                        snd_mss: 4,
                        unacked: 5,
                        retransmits: 6,
                        total_retrans: 7,
                        bytes_acked: 8,
                        bytes_received: 9,
                        notsent_bytes: 10,
                    }),
                    ..SocketUse::of(SocketId(9), 5, Role::On)
                }],
                returned: Some(Returned {
                    at,
                    result: Err(Errno::ECONNREFUSED),
                    octets: Some(10),
                    preview: b"hi\n\\\xff".to_vec(),
                }),
            },
            stream: Some(Range::of(0, 10)),
            sent: vec![EventId(1)],
            brought_by: vec![],
            completed_by: Some(EventId(3)),
            remark: None,
        }
    }

    fn segment(cause: Cause) -> SegmentEvent {
        let mut options = Options { mss: Some(1460), timestamps: Some((1, 2)), sack_blocks: 1, ..Options::default() };
        options.sack[0] = (Seq(4_294_967_295), Seq(3));
        SegmentEvent {
            from: Side::Client,
            segment: Segment {
                at: Some(Timestamp::from_nanos(5)),
                frame: 1,
                src: "127.0.0.1".parse().unwrap(),
                dst: "127.0.0.1".parse().unwrap(),
                src_port: 50634,
                dst_port: 3000,
                seq: Seq(77),
                ack: Seq(78),
                flags: Flags::PSH | Flags::ACK,
                window: 512,
                urgent: 0,
                checksum: 0,
                ip_id: None,
                ttl: 64,
                len: 10,
                oddities: Oddities::CUT | Oddities::CONGESTION_EXPERIENCED,
                options,
            },
            seq: 1,
            ack: Some(1),
            window: 65536,
            stream: Some(Range::of(0, 10)),
            findings: [Finding::WindowFull].into_iter().collect(),
            timing: Timing {
                in_flight: Some(10),
                acks_frame: None,
                ack_rtt: None,
                ambiguous: false,
                timestamp_rtt: Some(Span(7)),
            },
            cause,
            preview: b"helloworld".to_vec(),
            tunnel: [
                Tunnel { kind: TunnelKind::Vlan, id: Some(5), ends: None },
                Tunnel {
                    kind: TunnelKind::Vxlan,
                    id: Some(42),
                    ends: Some(("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())),
                },
            ]
            .into(),
        }
    }

    fn cause(calls: &[u64], kernel: Option<Mechanism>, of: Option<u64>) -> Cause {
        Cause { calls: calls.iter().copied().map(EventId).collect(), kernel, of: of.map(EventId), ..sample::by(&[]) }
    }

    fn story() -> Story {
        let transition = TransitionEvent {
            side: Side::Client,
            from: None,
            to: State::SynSent,
            cause: Some(EventId(0)),
            rule: Rule::ActiveOpen,
            evidence: vec![Witness::Segments, Witness::TcpInfo, Witness::SockDiag],
            disagreement: Some(Disagreement {
                witness: Witness::SockDiag,
                said: Some(State::Listen),
                segments: None,
                after: None,
            }),
        };
        let timer = TimerEvent {
            side: Side::Client,
            kind: TimerKind::TimeWait,
            remaining: Span::from_millis(59_700),
            cause: Some(EventId(0)),
            owner: Some(ThreadId(0)),
        };
        let mut events = vec![
            event(0, EventKind::Call(Box::new(call()))),
            event(1, EventKind::Segment(Box::new(segment(cause(&[0], None, None))))),
            event(2, EventKind::Segment(Box::new(segment(cause(&[0, 0], None, None))))),
            event(3, EventKind::Segment(Box::new(segment(cause(&[], Some(Mechanism::Ack), Some(1)))))),
            event(
                4,
                EventKind::Segment(Box::new(segment(cause(&[0], Some(Mechanism::RetransmissionTimeout), Some(1))))),
            ),
            event(5, EventKind::Segment(Box::new(segment(Cause { unwatched: true, ..cause(&[], None, None) })))),
            event(6, EventKind::Transition(transition)),
            event(7, EventKind::Timer(timer)),
        ];
        events[0].connection = None;
        events[3].at = None;
        let totals =
            Totals { frames: 10, segments: 9, connections: 1, late_segments: 1, dropped: Some(0), ..Totals::default() };
        let mut threads = Threads::default();
        let process = threads.add_process(Process { pid: 1, comm: "echo".into() });
        threads.add(Thread { process, tid: 2, comm: "echo\u{1b}".into() });
        Story { events, connections: vec![connection()], threads, totals, joins_omitted: 0 }
    }

    fn schema() -> Value {
        serde_json::from_str(include_str!("../../docs/output.schema.json")).expect("the schema is JSON")
    }

    /// Lets no object of the schema hold a field that it does not describe.
    fn close(schema: &mut Value) {
        match schema {
            Value::Object(map) => {
                if map.contains_key("required") && map.contains_key("properties") && map.contains_key("description") {
                    map.entry("additionalProperties").or_insert(json!(false));
                }
                map.values_mut().for_each(close);
            }
            Value::Array(items) => items.iter_mut().for_each(close),
            _ => {}
        }
    }

    #[test]
    fn a_connection_line_holds_what_the_contract_says() {
        let [line] = &lines(|out| out.connection(&connection()))[..] else { panic!("not one line") };
        assert_eq!(line["type"], "connection");
        assert_eq!(line["id"], 3);
        assert_eq!(line["client"], json!({"addr": "127.0.0.1", "port": 50634}));
        assert_eq!(line["server"], json!({"addr": "fe80::1", "port": 3000}));
        assert_eq!(line["first"], "1795223276.000071123");
        assert_eq!(line["duration_ns"], 432_000);
        assert_eq!(line["conn_state"], "SF");
        assert_eq!(line["client_state"], "TIME-WAIT");
        assert_eq!(line["server_state"], Value::Null);
        assert_eq!(line["closed_by"], "client");
        assert_eq!(line["ending"], "half-closed");
        assert_eq!(line["verdict"], "Unanswered: 3 SYNs in 7.0 µs, and nothing came back.");
        assert_eq!(line["reason"], json!({"code": "unanswered", "syns": 3, "lasted_ns": 7_000}));
        assert_eq!(
            line["findings"],
            json!([{"name": "retransmission", "frame": 7, "side": "client", "note": "Retransmission, 2.5 µs after the stream last advanced."},
                   {"name": "state_disagreement", "frame": null, "side": "server", "note": "sock_diag said no such socket, the segments say CLOSED"}])
        );
        // The line is written by hand; serde's own derivation knows every field of a side.
        assert_eq!(line["client_to_server"], serde_json::to_value(connection().client_to_server).unwrap());
        let mut silent = serde_json::to_value(SideSummary::default()).unwrap();
        (silent["sack_permitted"], silent["timestamps"]) = (Value::Null, Value::Null);
        assert_eq!(line["server_to_client"], silent);
    }

    #[test]
    fn times_before_1970_and_unknown_ones_are_told() {
        let mut early = connection();
        (early.first, early.last) = (Some(Timestamp::from_nanos(-1_500_000_000)), None);
        let [line] = &lines(|out| out.connection(&early))[..] else { panic!("not one line") };
        assert_eq!(line["first"], "-1.500000000");
        assert_eq!((&line["last"], &line["duration_ns"]), (&Value::Null, &Value::Null));
    }

    #[test]
    fn causes_have_the_forms_of_the_contract() {
        let lines = lines(|out| out.story(&story()));
        assert_eq!(lines[1]["cause"], json!({"call": 0}));
        assert_eq!(lines[2]["cause"], json!({"calls": [0, 0]}));
        assert_eq!(lines[3]["cause"], json!({"kernel": "ack", "of": 1}));
        assert_eq!(lines[4]["cause"], json!({"kernel": "retransmission_timeout", "of": 1, "calls": [0]}));
        assert_eq!(lines[5]["cause"], json!({"kernel": "unknown", "of": null, "inferred": true}));
        assert_eq!(lines[0]["args"], json!({"addr": "127.0.0.1:3000", "addrlen": 16}));
        assert_eq!(lines[0]["preview"], r"hi\n\\\xff");
        assert_eq!(lines[1]["flags"], "PSH,ACK");
        assert_eq!(lines[1]["oddities"], json!(["cut", "congestion_experienced"]));
    }

    #[test]
    fn nothing_that_steers_a_terminal_gets_out() {
        let mut out = Vec::new();
        Jsonl::new(&mut out).story(&story()).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains('µ'));
        assert_eq!(text.chars().find(|c| *c != '\n' && steers(*c)), None);
    }

    #[test]
    fn every_line_is_valid_and_every_field_is_described() {
        let mut closed = schema();
        close(&mut closed["$defs"]);
        jsonschema::draft202012::meta::validate(&closed).expect("the schema is one of draft 2020-12");
        let validator = jsonschema::validator_for(&closed).unwrap();
        let lines = lines(|out| out.story(&story()));
        assert_eq!(lines.len(), 10);
        for line in &lines {
            let errors: Vec<_> = validator.iter_errors(line).map(|e| format!("{}: {e}", e.instance_path())).collect();
            assert!(errors.is_empty(), "{line}\n{errors:#?}");
        }
    }

    #[test]
    fn wrong_lines_are_rejected() {
        let validator = jsonschema::validator_for(&schema()).unwrap();
        let lines = lines(|out| out.story(&story()));
        let spoilt = |n: usize, pointer: &str, value: Value| {
            let mut line = lines[n].clone();
            *line.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there")) = value;
            line
        };
        for wrong in [
            json!({}),
            json!([]),
            json!({"type": "packet"}),
            json!({"type": "connection"}),
            spoilt(8, "/first", json!(1_795_223_276.32)),
            spoilt(8, "/first", json!("1795223276.32")),
            spoilt(8, "/duration_ns", json!(0.5)),
            spoilt(8, "/client/port", json!(65536)),
            spoilt(8, "/client_state", json!("TIME_WAIT")),
            spoilt(8, "/ending", json!("closed")),
            spoilt(8, "/client_to_server/octets", json!(-1)),
            spoilt(8, "/client_to_server/segments", Value::Null),
            spoilt(8, "/findings/0/name", json!("resent")),
            spoilt(9, "/skipped/not_tcp", json!("0")),
            spoilt(0, "/process", Value::Null),
            spoilt(0, "/errno", json!(111)),
            spoilt(1, "/cause", json!({})),
            spoilt(1, "/cause", json!({"call": 1, "kernel": "ack", "of": 2})),
            spoilt(1, "/cause", json!({"kernel": "magic", "of": 2})),
            spoilt(1, "/frame", json!(0)),
            spoilt(6, "/evidence", json!(["segments", "segments"])),
            spoilt(6, "/rule", json!("because")),
            spoilt(7, "/remaining_ns", Value::Null),
        ] {
            assert!(!validator.is_valid(&wrong), "{wrong}");
        }
    }

    #[test]
    fn the_schema_lists_every_name() {
        let schema = schema();
        let names = |pointer: &str| schema.pointer(pointer).expect(pointer).as_array().unwrap().clone();
        let findings: Vec<_> = Finding::ALL.iter().map(|finding| json!(finding.name())).collect();
        assert_eq!(names("/$defs/finding_name/enum"), findings, "docs/output.schema.json: finding_name");
        let rules: Vec<_> = Rule::ALL.iter().map(|rule| json!(rule.name())).collect();
        assert_eq!(names("/$defs/transition/properties/rule/enum"), rules, "docs/output.schema.json: transition rule");
        let states: Vec<_> = State::ALL.iter().map(|state| json!(state.name())).collect();
        assert_eq!(names("/$defs/state/enum"), states, "docs/output.schema.json: state");
    }

    #[test]
    fn a_closed_output_is_told() {
        let mut nowhere: &mut [u8] = &mut [];
        let error = Jsonl::new(&mut nowhere).totals(&Totals::default()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WriteZero);
    }
}
