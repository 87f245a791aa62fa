//! Two captures of the same connections, taken at their client and at their server: which segment of one is which of the other, and what became of it between.

mod clocks;
mod connections;
mod matching;

use std::net::SocketAddr;

pub use clocks::Clocks;
pub use connections::{Capture, Captured};
pub use matching::pair;

use crate::flow::Side;
use crate::time::Span;
use crate::wire::Segment;

/// A connection that was captured at both ends.
#[derive(Clone, Debug)]
pub struct Pair {
    /// Its client and its server as the client's capture has them.
    pub at_client: [SocketAddr; 2],
    /// As the server's capture has them: others where addresses or ports are translated between (NAT).
    pub at_server: [SocketAddr; 2],
    /// By what the two were found to be one.
    pub found_by: FoundBy,
    /// The server's clock against the client's; `None` where only one direction was seen to arrive.
    pub clocks: Option<Clocks>,
    /// Its segments, in the order in which they were sent, as far as the clocks tell.
    pub passages: Vec<Passage>,
}

/// By what a connection of one capture was found in the other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FoundBy {
    /// Both have the same addresses and ports.
    Addresses,
    /// The initial sequence numbers, and the timestamps where there are any, are the same; the addresses are not.
    Numbers,
    /// The octets that were sent are the same; neither the addresses nor the numbers are.
    Octets,
}

impl FoundBy {
    /// `addresses`, `numbers` or `octets`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Numbers => "numbers",
            Self::Octets => "octets",
        }
    }
}

/// One segment on its way between the two capture points.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Who sent it.
    pub from: Side,
    /// As it was captured at its sender's end; `None`: it was not seen there.
    pub sent: Option<Segment>,
    /// As it was captured at its receiver's end, each time that it came.
    pub arrived: Vec<Segment>,
    /// Sequence number relative to the sender's first.
    pub seq: i64,
    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    pub ack: Option<i64>,
    /// How long it was on its way, by the clocks as they were estimated.
    pub took: Option<Span>,
    /// What became of it.
    pub fate: Fate,
    /// What was changed on its way.
    pub changed: Vec<Change>,
    /// Whether a segment that was sent after it arrived before it.
    pub is_overtaken: bool,
}

/// What became of a segment between the two points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// It did not arrive, while others that were sent after it did.
    Lost,
    /// It arrived more than once.
    Duplicated,
    /// Its octets were changed, and its checksum not with them: its receiver drops it.
    Damaged,
    /// It arrived, and its sender's end did not send it.
    Injected,
    /// One of the captures does not reach so far.
    Unknown,
}

impl Fate {
    /// Its name; `None` where it is not known.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Arrived => Some("arrived"),
            Self::Lost => Some("lost"),
            Self::Duplicated => Some("duplicated"),
            Self::Damaged => Some("damaged"),
            Self::Injected => Some("injected"),
            Self::Unknown => None,
        }
    }
}

/// A part of a segment that is another when it arrives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// An address or a port.
    Addresses,
    /// A sequence or acknowledgement number, by another amount than all others.
    Numbers,
    /// The maximum segment size: sent, arrived.
    Mss(Option<u16>, Option<u16>),
    /// The window scale: sent, arrived.
    WindowScale(Option<u8>, Option<u8>),
    /// SACK permitted.
    SackPermitted,
    /// The timestamps.
    Timestamps,
    /// The window.
    Window,
    /// The flags.
    Flags,
    /// The octets.
    Octets,
    /// The congestion mark of the IP header (CE).
    Congestion,
}

impl Change {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Numbers => "numbers",
            Self::Mss(..) => "mss",
            Self::WindowScale(..) => "window_scale",
            Self::SackPermitted => "sack_permitted",
            Self::Timestamps => "timestamps",
            Self::Window => "window",
            Self::Flags => "flags",
            Self::Octets => "octets",
            Self::Congestion => "congestion",
        }
    }
}

impl Pair {
    /// The passages of one direction.
    pub fn sent_by(&self, side: Side) -> impl Iterator<Item = &Passage> {
        self.passages.iter().filter(move |passage| passage.from == side)
    }

    /// How many passages of one direction had that fate.
    pub fn count(&self, side: Side, fate: Fate) -> usize {
        self.sent_by(side).filter(|passage| passage.fate == fate).count()
    }

    /// The shortest, the middle and the longest time on the way of one direction.
    pub fn delays(&self, side: Side) -> Option<[Span; 3]> {
        let mut all: Vec<Span> = self.sent_by(side).filter_map(|passage| passage.took).collect();
        all.sort_unstable();
        Some([*all.first()?, all[all.len() / 2], *all.last()?])
    }
}

#[cfg(test)]
mod tests;
