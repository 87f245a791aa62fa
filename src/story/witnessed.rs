//! What any source yields: one thing that one witness saw, and the order in which all of them are told.

use std::net::SocketAddr;

use super::point::{PointSighting, Sense};
use crate::calls::{Activity, Call, CallId, Returned, Role, SocketEvent, SocketUse};
use crate::capture::SeenAt;
use crate::flow::{Connection, ConnectionId, Step};
use crate::kernel::{self, KernelEvent, TcpInfo};
use crate::script::{LinkAct, LinkEvent};
use crate::time::Timestamp;
use crate::wire::{IcmpError, Segment, Tunnel};

/// One thing that a witness saw.
#[derive(Clone, Debug)]
pub enum Witnessed {
    /// A thread entered a call.
    Entered(Box<Call>),
    /// A call returned.
    Returned {
        /// Which.
        call: CallId,
        /// How.
        returned: Returned,
        /// Its sockets as they are now, in place of those it was entered with.
        sockets: Vec<SocketUse>,
    },
    /// Records are missing: how a call returned, or that it did, is not known.
    Lost {
        /// Which.
        call: CallId,
        /// Since when.
        at: Timestamp,
    },
    /// A socket, or one of its descriptors, came or went.
    Socket(SocketEvent),
    /// A segment was seen at a capture point.
    Sighting(Box<Sighting>),
    /// An ICMP error quotes a segment.
    Quoted(Box<Quotation>),
    /// The kernel did something by itself.
    Kernel(KernelEvent),
    /// The link between two hosts did something with a segment.
    Link(Box<LinkEvent>),
    /// What TCP_INFO said after a call.
    Info {
        /// The call.
        call: CallId,
        /// What it said.
        info: TcpInfo,
    },
    /// What sock_diag answered.
    Answered(kernel::Answer),
    /// No further segment of a connection is to be expected: its summary.
    Ended(Box<Connection>),
}

/// One segment as the table observed it.
#[derive(Clone, Debug)]
pub struct Observed {
    /// The segment.
    pub segment: Segment,
    /// What it did to its connection.
    pub step: Step,
    /// The first octets of its payload, at most [`crate::calls::PREVIEW`].
    pub preview: Vec<u8>,
    /// The tunnels it came in, outermost first.
    pub tunnel: Box<[Tunnel]>,
    /// Where its frame was captured, and which way it was going there.
    pub seen: SeenAt,
}

/// An ICMP error that quotes a segment of a connection.
#[derive(Clone, Debug)]
pub struct Quotation {
    /// The connection.
    pub connection: ConnectionId,
    /// What the error says.
    pub error: IcmpError,
    /// The header that it quotes, as far as it does, with the frame and the time of the error.
    pub quote: Segment,
}

/// A segment seen at a capture point.
#[derive(Clone, Debug)]
pub struct Sighting {
    /// The segment, and what it did to its connection.
    pub observed: Observed,
    /// Its ends, the client first.
    pub ends: [SocketAddr; 2],
    /// What its being seen there says of its ends.
    pub sense: Sense,
    /// What a link between the ends says that it did with the segment besides carrying it; what it says of segments
    /// that are not known yet is a [`Witnessed::Link`].
    pub acts: Vec<LinkAct>,
    /// Every sighting of it, in order of time, where it was seen at more points than this one; else empty.
    pub passage: Vec<PointSighting>,
}

impl Sighting {
    /// One on the way between its ends, of which it is not known yet which is the client.
    pub fn passing(observed: Observed) -> Box<Self> {
        let ends = [observed.segment.from(), observed.segment.to()];
        Box::new(Self { observed, ends, sense: Sense::Passes, acts: Vec::new(), passage: Vec::new() })
    }
}

/// The place of a witness's word in the order in which the words are told: by time, then as things go at one moment.
///
/// A segment is there before the call that it lets return, calls return before others are entered, and samples are taken after that.
/// Words of one source keep the order in which they came.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Moment {
    at: Option<Timestamp>,
    rank: u8,
    within: (u64, u64),
}

impl Moment {
    /// The place of a segment.
    pub(super) fn of_segment(at: Option<Timestamp>, frame: u64) -> Self {
        Self { at, rank: 0, within: (frame, 0) }
    }

    /// The place of a call's entry.
    pub(super) fn of_entry(call: &Call) -> Self {
        Self { at: Some(call.entered), rank: ENTERED, within: (call.id.n, u64::from(call.id.thread.0)) }
    }

    /// The place of what the kernel did.
    pub(super) fn of_event(event: &KernelEvent) -> Self {
        Self { at: Some(event.at), rank: DID, within: (0, 0) }
    }

    /// The place of what sock_diag answered.
    pub(super) fn of_answer(answer: &kernel::Answer) -> Self {
        Self { at: Some(answer.answered), rank: ANSWERED, within: (0, 0) }
    }

    /// When it is told to have been.
    pub fn at(&self) -> Option<Timestamp> {
        self.at
    }
}

impl Witnessed {
    /// When it happened; `None` where the capture does not say.
    pub fn at(&self) -> Option<Timestamp> {
        match self {
            Self::Entered(call) => Some(call.entered),
            Self::Returned { returned, .. } => Some(returned.at),
            Self::Lost { at, .. } => Some(*at),
            Self::Socket(event) => Some(event.at),
            Self::Sighting(sighting) => sighting.observed.segment.at,
            Self::Quoted(quotation) => quotation.quote.at,
            Self::Kernel(event) => Some(event.at),
            Self::Link(act) => Some(act.at),
            Self::Info { info, .. } => Some(info.answered),
            Self::Answered(answer) => Some(answer.answered),
            Self::Ended(connection) => connection.last,
        }
    }

    /// Its place in the order, where its time is taken to be `at`.
    pub(super) fn moment(&self, at: Option<Timestamp>) -> Moment {
        let call = |id: &CallId| (id.n, u64::from(id.thread.0));
        let (rank, within) = match self {
            Self::Sighting(sighting) => return Moment::of_segment(at, sighting.observed.segment.frame),
            Self::Quoted(quotation) => return Moment::of_segment(at, quotation.quote.frame),
            Self::Kernel(_) | Self::Link(_) => (DID, (0, 0)),
            Self::Returned { call: id, .. } => (2, call(id)),
            Self::Socket(_) => (3, (0, 0)),
            Self::Entered(entered) => (ENTERED, call(&entered.id)),
            Self::Lost { call: id, .. } => (5, call(id)),
            Self::Info { call: id, .. } => (6, call(id)),
            Self::Answered(_) => (ANSWERED, (0, 0)),
            Self::Ended(connection) => (8, (connection.id.0, 0)),
        };
        Moment { at, rank, within }
    }

    /// The place in the order of the return of a call that was entered then.
    ///
    /// A call that took no time returns after it was entered, and not before other calls of that moment.
    pub(super) fn moment_of_return(&self, entered: Timestamp) -> Moment {
        let at = self.at().max(Some(entered));
        let moment = self.moment(at);
        if at == Some(entered) { Moment { rank: 5, ..moment } } else { moment }
    }

    /// What a source of calls yields, as words.
    pub fn of_activity(activity: Activity) -> impl Iterator<Item = Self> {
        let (first, info) = match activity {
            Activity::Entered(call) => (Self::Entered(Box::new(call)), None),
            Activity::Lost { call, at } => (Self::Lost { call, at }, None),
            Activity::Socket(event) => (Self::Socket(event), None),
            Activity::Returned { call, returned, sockets } => {
                let spoken_of = sockets.iter().find(|used| used.role == Role::Made).or(sockets.first());
                let info = spoken_of.and_then(|used| used.info.clone()).map(|info| Self::Info { call, info });
                (Self::Returned { call, returned, sockets }, info)
            }
        };
        std::iter::once(first).chain(info)
    }

    /// What a call that was recorded from its entry to its return is in the order of time.
    pub fn of_call(mut call: Call) -> impl Iterator<Item = (Moment, Self)> {
        let id = call.id;
        let entered = call.entered;
        let sockets = call.sockets.clone();
        let returned = call.returned.take();
        let info = call.info().cloned();
        let first = Self::Entered(Box::new(call));
        let first = (first.moment(Some(entered)), first);
        let second = returned.map(|returned| {
            let second = Self::Returned { call: id, returned, sockets };
            (second.moment_of_return(entered), second)
        });
        let third = info.map(|info| {
            let third = Self::Info { call: id, info };
            (third.moment(third.at().max(Some(entered))), third)
        });
        std::iter::once(first).chain(second).chain(third)
    }
}

/// The ranks of what the kernel did, of a call's entry and of an answer among the words of one moment.
const DID: u8 = 1;
const ENTERED: u8 = 4;
const ANSWERED: u8 = 7;
