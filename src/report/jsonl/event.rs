//! The lines of events: `call`, `segment`, `transition` and `timer`.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::status::End;
use crate::calls::{Arg, Effect, Errno, Process, SocketId, Stack, Thread, Threads};
use crate::capture::Heading;
use crate::flow::{ConnectionId, Range, Side};
use crate::kernel::{Congestion, KernelAct, KernelSocket, ResetReason, TcpInfo, TimerKind, Witness};
use crate::report::wording::{English, Wording};
use crate::script::LinkAct;
use crate::story::{
    CallEvent, Cause, Event, EventId, Evidence, Fate, IcmpEvent, Join, KernelActEvent, LinkActEvent, Lookup, Phase,
    Point, PointSighting, SegmentEvent, Sense, TimerEvent, TransitionEvent,
};
use crate::tcp::{FindingSet, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Options, Seq, Tunnel};

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
pub(super) struct CallLine<'a> {
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
    errno: Option<Shown<Errno>>,
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
    /// Only where stacks were looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    stack: Option<&'a Stack>,
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
    pub(super) fn of(event: &Event, joined: &'a CallEvent, known: &'a dyn Lookup) -> Self {
        let call = &joined.call;
        let process = known.threads().get(call.thread());
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
            errno: call.errno().map(Shown),
            octets: call.octets(),
            stream: joined.stream,
            frames: known.frames_of(&joined.sent),
            brought_by: known.frames_of(&joined.brought_by),
            completed_by: joined.completed_by.and_then(|id| known.frame_of(id)),
            edges: EdgesField { sent: &joined.sent, brought_by: &joined.brought_by, completed_by: joined.completed_by },
            accepted: call.accepted(),
            local: call.local().map(End::from),
            peer: call.peer().map(End::from),
            tcp_info: call.info(),
            preview: Preview(call.preview()),
            stack: Some(&call.stack).filter(|stack| !stack.is_empty()),
            note: joined.remark.as_ref().map(|remark| English.remark(remark)),
        }
    }
}

#[derive(Serialize)]
pub(super) struct SegmentLine<'a> {
    #[serde(flatten)]
    head: Head,
    frame: u64,
    from: Side,
    flags: Shown<Flags>,
    seq: i64,
    ack: Option<i64>,
    window: u32,
    octets: u32,
    stream: Option<Range>,
    cause: CauseField<'a>,
    why: WhyField<'a>,
    point: Option<PointName>,
    seen: Vec<SeenField>,
    fate: Option<&'static str>,
    findings: FindingNames,
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
    pub(super) fn of(event: &Event, joined: &'a SegmentEvent, known: &dyn Lookup) -> Self {
        let segment = &joined.segment;
        let seen: Vec<SeenField> = joined.sightings().map(|seen| SeenField::of(seen, known.points())).collect();
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
            point: seen.first().and_then(|seen| seen.point),
            seen,
            fate: joined.fate.map(Fate::name),
            findings: FindingNames(joined.findings),
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

/// One sighting of a segment.
#[derive(Serialize)]
struct SeenField {
    point: Option<PointName>,
    frame: u64,
    at: Option<Timestamp>,
    sense: &'static str,
    /// Which way it was going, seen from the host of the point.
    heading: Option<&'static str>,
    /// Of a capture on all interfaces at once: the index of the one it was seen on.
    interface_index: Option<u32>,
}

impl SeenField {
    fn of(sighting: PointSighting, points: &[Point]) -> Self {
        let PointSighting { seen, frame, at, sense } = sighting;
        let number = seen.point.0 as usize;
        Self {
            point: points.get(number).map(|point| PointName::of(number, point)),
            frame,
            at,
            sense: match sense {
                Sense::Leaves => "leaves",
                Sense::Arrives => "arrives",
                Sense::Passes => "passes",
            },
            heading: match seen.heading {
                Heading::Inbound => Some("inbound"),
                Heading::Outbound => Some("outbound"),
                Heading::Unknown => None,
            },
            interface_index: seen.interface,
        }
    }
}

/// What a capture point is called: by the end at whose host it is, else by its number.
#[derive(Clone, Copy)]
enum PointName {
    Of(Side),
    Number(usize),
}

impl PointName {
    fn of(number: usize, point: &Point) -> Self {
        point.side.map_or(Self::Number(number), Self::Of)
    }
}

impl Serialize for PointName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Of(side) => serializer.serialize_str(side.name()),
            Self::Number(number) => serializer.collect_str(number),
        }
    }
}

/// A place where segments were captured.
#[derive(Serialize)]
pub(super) struct PointLine<'a> {
    r#type: &'static str,
    id: PointName,
    interface: Option<&'a str>,
    description: Option<&'a str>,
    file: Option<&'a str>,
    side: Option<Side>,
}

impl<'a> PointLine<'a> {
    pub(super) fn of(number: usize, point: &'a Point) -> Self {
        Self {
            r#type: "point",
            id: PointName::of(number, point),
            interface: point.at.interface.as_deref(),
            description: point.at.description.as_deref(),
            file: point.at.file.as_deref(),
            side: point.side,
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
pub(super) struct TransitionLine<'a> {
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
    pub(super) fn of(event: &Event, moved: &'a TransitionEvent) -> Self {
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
pub(super) struct TimerLine {
    #[serde(flatten)]
    head: Head,
    side: Side,
    name: &'static str,
    remaining_ns: Span,
    cause: Option<EventId>,
    owner: Option<String>,
}

impl TimerLine {
    pub(super) fn of(event: &Event, timer: &TimerEvent, threads: &Threads) -> Self {
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

#[derive(Serialize)]
pub(super) struct IcmpLine {
    #[serde(flatten)]
    head: Head,
    frame: u64,
    side: Side,
    from: IpAddr,
    what: &'static str,
    mtu: Option<u32>,
    segment: Option<EventId>,
    quotes: Option<u64>,
    raw_seq: u32,
}

impl IcmpLine {
    pub(super) fn of(event: &Event, icmp: &IcmpEvent, known: &dyn Lookup) -> Self {
        let IcmpEvent { side, error, segment, quote } = icmp;
        Self {
            head: Head::of(event, "icmp"),
            frame: quote.frame,
            side: *side,
            from: error.from,
            what: error.kind.name(),
            mtu: error.mtu,
            segment: *segment,
            quotes: segment.and_then(|id| known.frame_of(id)),
            raw_seq: quote.seq.0,
        }
    }
}

#[derive(Serialize)]
pub(super) struct LinkLine {
    #[serde(flatten)]
    head: Head,
    from: Side,
    what: &'static str,
    delay_ns: Option<Span>,
    segment: Option<EventId>,
    frame: Option<u64>,
    flags: Shown<Flags>,
    raw_seq: u32,
    octets: u32,
}

impl LinkLine {
    pub(super) fn of(event: &Event, link: &LinkActEvent, known: &dyn Lookup) -> Self {
        let LinkActEvent { from, act, segment, what } = link;
        let delay_ns = match act {
            LinkAct::Delayed(span) => Some(*span),
            _ => None,
        };
        Self {
            head: Head::of(event, "link"),
            from: *from,
            what: act.name(),
            delay_ns,
            segment: *segment,
            frame: segment.and_then(|id| known.frame_of(id)),
            flags: Shown(what.flags),
            raw_seq: what.seq.0,
            octets: what.len,
        }
    }
}

#[derive(Serialize)]
pub(super) struct KernelLine<'a> {
    #[serde(flatten)]
    head: Head,
    side: Side,
    what: &'static str,
    socket: Option<KernelSocket>,
    from: Option<State>,
    to: Option<State>,
    /// Of a RST: whether it was sent or received.
    sense: Option<&'static str>,
    reason: Option<&'a ResetReason>,
    congestion: Option<Congestion>,
    segment: Option<EventId>,
    frame: Option<u64>,
}

impl<'a> KernelLine<'a> {
    pub(super) fn of(event: &Event, said: &'a KernelActEvent, known: &dyn Lookup) -> Self {
        let KernelActEvent { side, act, socket, segment } = said;
        let mut line = Self {
            head: Head::of(event, "kernel"),
            side: *side,
            what: "state",
            socket: *socket,
            from: None,
            to: None,
            sense: None,
            reason: None,
            congestion: None,
            segment: *segment,
            frame: segment.and_then(|id| known.frame_of(id)),
        };
        match act {
            KernelAct::State { from, to } => (line.from, line.to) = (Some(*from), Some(*to)),
            KernelAct::Retransmit { state } => (line.what, line.from) = ("retransmit", Some(*state)),
            KernelAct::Congestion { to } => (line.what, line.congestion) = ("congestion", Some(*to)),
            KernelAct::ResetSent { reason } => {
                (line.what, line.sense, line.reason) = ("reset", Some("sent"), reason.as_ref());
            }
            KernelAct::ResetReceived => (line.what, line.sense) = ("reset", Some("received")),
            KernelAct::Probe { .. } => line.what = "probe",
            KernelAct::Destroyed => line.what = "destroyed",
        }
        line
    }
}

fn named((thread, process): (&Thread, &Process)) -> String {
    format!("{} ({})", thread.comm, process.pid)
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
        let Cause { calls, kernel, of, link, unwatched, .. } = self.0;
        let mut map = serializer.serialize_map(None)?;
        if let Some(link) = link {
            map.serialize_entry("link", link)?;
            return map.end();
        }
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

struct FindingNames(FindingSet);

impl Serialize for FindingNames {
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
    sack: &'a [(Seq, Seq)],
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
