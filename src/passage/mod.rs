//! Two captures of the same connections, taken at their client and at their server: which segment of one is which of the other, and what became of it between.

mod behind;
mod changes;
mod clocks;
mod connections;
mod digest;
mod fates;
mod join;
mod matching;
mod pairs;
mod passages;
mod pieces;
mod placed;
mod repeated;
mod segments;
mod taken;
mod tally;

use std::net::SocketAddr;

pub use changes::Change;
pub use clocks::Clocks;
pub use connections::{Capture, Captured, Seen};
pub use fates::pair;
pub use pairs::Pair;
pub use passages::Passage;
pub use taken::Taken;
pub use tally::Tally;

/// What two captures share, and what only one of them has.
#[derive(Clone, Debug, Default)]
pub struct Paired {
    /// The connections that are in both, in the order of the client's capture; and those of the client's whose server the other capture covers.
    pub pairs: Vec<Pair>,
    /// The ends of those that are in the client's capture alone, and in the server's.
    pub alone: [Vec<[SocketAddr; 2]>; 2],
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
    /// It is in the client's capture alone, and the server's would have it if anything of it had come.
    Nothing,
}

impl FoundBy {
    /// `addresses`, `numbers`, `octets` or `nothing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Addresses => "addresses",
            Self::Numbers => "numbers",
            Self::Octets => "octets",
            Self::Nothing => "nothing",
        }
    }
}

/// What became of a segment between the two points.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It arrived.
    Arrived,
    /// It did not arrive, while the capture at its receiver's end went on.
    Lost,
    /// It arrived more than once.
    Duplicated,
    /// Its octets were changed, and its checksum not with them: its receiver drops it.
    Damaged,
    /// It arrived, and its sender's end did not send it, or had sent it in an earlier connection.
    Injected,
    /// One of the captures lacks it, though what follows proves that it passed there: it was not captured.
    Uncaptured,
    /// The captures leave it open: one of them does not reach so far, or of several transmissions any may be the one that was acknowledged.
    Unknown,
}

impl Fate {
    /// All but [`Self::Unknown`].
    pub const KNOWN: [Self; 6] =
        [Self::Arrived, Self::Lost, Self::Duplicated, Self::Damaged, Self::Injected, Self::Uncaptured];

    /// Its name; `None` where it is not known.
    pub const fn name(self) -> Option<&'static str> {
        match self {
            Self::Arrived => Some("arrived"),
            Self::Lost => Some("lost"),
            Self::Duplicated => Some("duplicated"),
            Self::Damaged => Some("damaged"),
            Self::Injected => Some("injected"),
            Self::Uncaptured => Some("uncaptured"),
            Self::Unknown => None,
        }
    }
}

#[cfg(test)]
mod tests;
