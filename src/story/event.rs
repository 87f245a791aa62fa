//! The causal timeline: calls, segments, transitions and timers as events, each naming what caused it.

use std::ops;

use super::past::Past;
use super::point::{Point, PointSighting, Sense};
use super::{EventId, Evidence, Mechanism, Remark, Timing, Why};
use crate::calls::{Call, ThreadId, Threads};
use crate::capture::SeenAt;
use crate::flow::{Connection, ConnectionId, Disagreement, Range, Side, Totals};
use crate::kernel::{KernelAct, KernelSocket, TimerKind, Witness};
use crate::script::LinkAct;
use crate::tcp::{FindingSet, Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::{IcmpError, Segment, Tunnel};

/// Everything that is told of a capture: its events in time order, its connections, and the counts.
#[derive(Clone, Debug, Default)]
pub struct Story {
    /// Events in time order, `events[n].id == EventId(n)`.
    pub events: Vec<Event>,
    /// The ids with which the events were born, by which a stream names them.
    pub births: Vec<EventId>,
    /// The connections the events name, by id in ascending order.
    pub connections: Vec<Connection>,
    /// The threads that made the calls.
    pub threads: Threads,
    /// Where segments were captured; a sighting names one of them by its place here.
    pub points: Vec<Point>,
    /// Counts over the whole capture.
    pub totals: Totals,
    /// How many joins of calls and segments were left out, at least: octets that are sent again and again are joined in proportion.
    pub joins_omitted: u64,
    /// What is remembered of events that were forgotten.
    pub(crate) past: Past,
}

impl Story {
    /// The same, where so many calls were made that are not known.
    #[must_use]
    pub fn lacking_calls(mut self, count: u64) -> Self {
        if count > 0 {
            self.past.lacks_calls();
        }
        self
    }

    /// The same, where no packets were captured.
    #[must_use]
    pub fn lacking_packets(mut self, lacks: bool) -> Self {
        self.past.lacks_packets = lacks;
        self
    }

    /// Whether it is without packets, so that its connections are not known as such.
    pub fn lacks_packets(&self) -> bool {
        self.past.lacks_packets
    }

    /// A story without events.
    pub fn of_connections(connections: Vec<Connection>) -> Self {
        Self { connections, ..Self::default() }
    }
}

impl ops::Index<EventId> for Story {
    type Output = Event;

    fn index(&self, id: EventId) -> &Event {
        &self.events[id.0 as usize]
    }
}

/// One thing that happened.
#[derive(Clone, PartialEq, Debug)]
pub struct Event {
    /// Its number.
    pub id: EventId,
    /// When it happened; a call's moment is its entry. `None` when the capture does not say.
    pub at: Option<Timestamp>,
    /// The connection it belongs to; `None` for calls that belong to none, or to several (the listening socket's).
    pub connection: Option<ConnectionId>,
    /// The part of a connection's life it belongs to.
    pub phase: Phase,
    /// What happened.
    pub kind: EventKind,
}

/// The part of a connection's life.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Phase {
    /// Before the first segment: socket, bind, listen.
    SetUp,
    /// From the first SYN to the ACK that ends the handshake.
    Handshake,
    /// From then on to the first FIN or RST.
    Data,
    /// From the first FIN or RST to the last segment.
    Teardown,
    /// From the first end's entry into TIME-WAIT on.
    TimeWait,
}

/// The kinds of event.
#[derive(Clone, PartialEq, Debug)]
pub enum EventKind {
    /// A program made a call.
    Call(Box<CallEvent>),
    /// A segment was seen on the wire.
    Segment(Box<SegmentEvent>),
    /// An end moved from one state to another.
    Transition(TransitionEvent),
    /// A kernel timer was seen running.
    Timer(TimerEvent),
    /// An ICMP error that quotes a segment was seen.
    Icmp(Box<IcmpEvent>),
    /// The link between two hosts did something with a segment.
    Link(LinkActEvent),
    /// The kernel did something with a socket, by its own word.
    Kernel(KernelActEvent),
}

/// A call, joined to what it did.
#[derive(Clone, PartialEq, Debug)]
pub struct CallEvent {
    /// The end that made it; `None` for a socket that belongs to no connection.
    pub side: Option<Side>,
    /// The call.
    pub call: Call,
    /// The positions it wrote (in its own direction) or read (in the peer's); `None` when it moved none.
    pub stream: Option<Range>,
    /// The segments it put on the wire, ascending, retransmissions of the same octets included.
    pub sent: Vec<EventId>,
    /// For a receive, the segments that brought its octets, ascending.
    pub brought_by: Vec<EventId>,
    /// The segment that let it return: SYN-ACK for connect, the end of the handshake for accept, the octets or the FIN for recv, the RST for an error; or the ICMP error that made a connect fail.
    pub completed_by: Option<EventId>,
    /// What it did, or why nothing was seen of it, where that is not plain from the frames.
    pub remark: Option<Remark>,
}

/// A segment, joined to what caused it.
#[derive(Clone, PartialEq, Debug)]
pub struct SegmentEvent {
    /// The end that sent it.
    pub from: Side,
    /// The segment.
    pub segment: Segment,
    /// Sequence number relative to the sender's first.
    pub seq: i64,
    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    pub ack: Option<i64>,
    /// Window in octets, scaled where the scale is known.
    pub window: u32,
    /// Positions in the sender's stream that its octets take; `None` without octets.
    pub stream: Option<Range>,
    /// What is remarkable about it.
    pub findings: FindingSet,
    /// What was measured at it.
    pub timing: Timing,
    /// Its cause.
    pub cause: Cause,
    /// What became of it on its way; `None` where nobody saw that.
    pub fate: Option<Fate>,
    /// Where its frame was captured, and which way it was going there.
    pub seen: SeenAt,
    /// What its being seen there says of its ends.
    pub sense: Sense,
    /// Each of its sightings, in order of time, where there is another one than that of its frame; else empty.
    pub passage: Vec<PointSighting>,
    /// The first octets of its payload, at most [`crate::calls::PREVIEW`].
    pub preview: Vec<u8>,
    /// The tunnels it came in, outermost first.
    pub tunnel: Box<[Tunnel]>,
}

impl SegmentEvent {
    /// Where it was seen on its way, in order of time.
    pub fn sightings(&self) -> impl Iterator<Item = PointSighting> + '_ {
        let alone =
            PointSighting { seen: self.seen, frame: self.segment.frame, at: self.segment.at, sense: self.sense };
        self.passage.is_empty().then_some(alone).into_iter().chain(self.passage.iter().copied())
    }

    /// The times at which it was seen to arrive, in order.
    pub fn arrivals(&self) -> impl Iterator<Item = Timestamp> + '_ {
        self.passage.iter().filter(|seen| seen.sense == Sense::Arrives).filter_map(|seen| seen.at)
    }
}

/// What caused a segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cause {
    /// The calls whose octets it carries or that asked for its SYN, FIN or RST, in order.
    pub calls: Vec<EventId>,
    /// What the kernel did by itself: why it sent this segment without a call, or why it sent a call's octets again.
    pub kernel: Option<Mechanism>,
    /// The segment that the kernel's mechanism answers or repeats.
    pub of: Option<EventId>,
    /// On what that rests.
    pub evidence: Evidence,
    /// What the link did that made it, where neither end sent it.
    pub link: Option<EventId>,
    /// The reason, where it is not plain: why an acknowledgement came late.
    pub why: Option<Why>,
    /// Whether no call of the segment's sender was watched.
    pub unwatched: bool,
}

impl Cause {
    /// Whether a rule concluded it.
    pub const fn is_inferred(&self) -> bool {
        matches!(self.evidence, Evidence::Inferred(_))
    }
}

/// What became of a segment on its way.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Fate {
    /// It was seen to arrive.
    Arrived,
    /// It did not arrive.
    Lost,
    /// It was passed on more than once.
    Duplicated,
    /// Octets of it were changed.
    Damaged,
}

impl Fate {
    /// Its name in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrived => "arrived",
            Self::Lost => "lost",
            Self::Duplicated => "duplicated",
            Self::Damaged => "damaged",
        }
    }
}

/// An ICMP error that quotes a segment of the connection.
#[derive(Clone, PartialEq, Debug)]
pub struct IcmpEvent {
    /// The end that the error comes to: it sent the segment.
    pub side: Side,
    /// What the error says.
    pub error: IcmpError,
    /// The segment that it quotes; `None` where that was not captured.
    pub segment: Option<EventId>,
    /// The header that it quotes, as far as it does, with the frame and the time of the error.
    pub quote: Segment,
}

/// What the link did with a segment, as the link says.
#[derive(Clone, PartialEq, Debug)]
pub struct LinkActEvent {
    /// The end from which the segment comes, or would come.
    pub from: Side,
    /// What was done.
    pub act: LinkAct,
    /// The segment that it was done to; `None` where it was not captured.
    pub segment: Option<EventId>,
    /// The segment as the link had it.
    pub what: Box<Segment>,
}

/// What the kernel did with a socket, as its trace says.
#[derive(Clone, PartialEq, Debug)]
pub struct KernelActEvent {
    /// The end whose socket it is.
    pub side: Side,
    /// What it did.
    pub act: KernelAct,
    /// Which socket; `None` where none was involved.
    pub socket: Option<KernelSocket>,
    /// The segment that it sent in doing so; `None` where it sends none, or none was captured.
    pub segment: Option<EventId>,
}

/// An end's transition, with cause and evidence.
#[derive(Clone, PartialEq, Debug)]
pub struct TransitionEvent {
    /// The end that moved; `Server` for a listening socket.
    pub side: Side,
    /// The state it left; `None` when not known.
    pub from: Option<State>,
    /// The state it entered.
    pub to: State,
    /// The call, segment or timer event that moved it.
    pub cause: Option<EventId>,
    /// The arm of the machine.
    pub rule: Rule,
    /// Every witness that agrees, ascending; empty never.
    pub evidence: Vec<Witness>,
    /// What a witness said that disagrees; it is a finding, too.
    pub disagreement: Option<Disagreement>,
}

impl TransitionEvent {
    /// Whether it rests on the segments alone.
    pub fn is_inferred(&self) -> bool {
        self.evidence == [Witness::Segments]
    }
}

/// A kernel timer, as sock_diag showed it.
#[derive(Clone, PartialEq, Debug)]
pub struct TimerEvent {
    /// The end whose socket it runs on.
    pub side: Side,
    /// Which timer.
    pub kind: TimerKind,
    /// How long it still ran at that moment.
    pub remaining: Span,
    /// The call that the state goes back to (the close that made this end the active closer).
    pub cause: Option<EventId>,
    /// The thread that closed the socket, which owned it last.
    pub owner: Option<ThreadId>,
}
