//! Connections: two ends and two directions each, the table that finds them, and their verdicts as data.

mod attempt;
mod breakdown;
mod bundle;
mod by_ends;
mod conflicts;
mod connection;
mod ended;
mod ending;
mod entry;
mod expiry;
mod flows;
mod half_open;
mod history;
mod key;
mod ledger;
mod limits;
mod problem;
mod range;
mod record;
mod slab;
mod symptoms;
mod table;
mod trouble;
mod verdict;

use crate::tcp::{FindingSet, Move};
pub use breakdown::{Breakdown, Breakdowns, Class, Parts};
pub use bundle::{Bundle, Finder};
pub use by_ends::{ByEnds, Ends};
pub use conflicts::Conflicts;
pub use connection::{
    Conflict, Connection, Detail, Disagreement, Evicted, FindingAt, FindingCounts, Icmp, RolesBasis, SideSummary,
    Totals,
};
pub use ended::Ended;
pub use ending::{Closer, ConnState, Ending};
pub use history::Letters;
pub use limits::{Limits, Tally};
pub use problem::{Problem, ProblemKind};
pub use range::Range;
pub use symptoms::Unacknowledged;
pub use table::FlowTable;
pub use verdict::{Instead, Left, ProbeEnd, ResetKind, Verdict};

/// A connection's number, from 0 in the order of first segments, as Wireshark's `tcp.stream`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct ConnectionId(pub u64);

/// One end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// The end that opened it: the sender of the first SYN without ACK; else the receiver of the first SYN-ACK; else, by port, the peer of the end
    /// with a well-known or the lower port; else the sender of the first segment.
    Client,
    /// The other end.
    Server,
}

impl Side {
    /// Each of them.
    pub const ALL: &'static [Self] = &[Self::Client, Self::Server];

    /// The other end.
    #[must_use]
    pub const fn peer(self) -> Self {
        match self {
            Self::Client => Self::Server,
            Self::Server => Self::Client,
        }
    }

    /// `client` or `server`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
        }
    }
}

/// What one segment did to its connection: the answer of the table to a segment.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// The connection it belongs to.
    pub connection: ConnectionId,
    /// The end that sent it.
    pub from: Side,
    /// Whether it is the first segment of its connection.
    pub opened: bool,
    /// What is remarkable about it.
    pub findings: FindingSet,
    /// Sequence number relative to the sender's first (SYN = 0, first octet = 1).
    pub seq: i64,
    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    pub ack: Option<i64>,
    /// Window in octets, scaled where the scale is known.
    pub window: u32,
    /// The positions in the sender's stream that its octets take; `None` without octets.
    pub stream: Option<Range>,
    /// Moves of the sender's machine, then of the receiver's, in order.
    pub moves: [Option<(Side, Move)>; 8],
}

/// What the table replies to a segment: a [`Step`], or `()` where nobody wants to know, and then no step is put together.
pub trait Reply {
    /// The reply, for which `step` tells what the segment did.
    fn of(step: impl FnOnce() -> Step) -> Self;
}

impl Reply for Step {
    #[inline]
    fn of(step: impl FnOnce() -> Step) -> Self {
        step()
    }
}

impl Reply for () {
    #[inline]
    fn of(_: impl FnOnce() -> Step) -> Self {}
}
