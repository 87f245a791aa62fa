//! Two captures of the same connections, taken at their client and at their server: which segment of one is which of the other, and what became of it between.

mod behind;
mod changes;
mod clocks;
mod connections;
mod digest;
mod fates;
mod join;
mod matching;
mod pieces;
mod placed;
mod repeated;
mod segments;
mod share;

use std::net::SocketAddr;

pub use changes::Change;
pub use clocks::Clocks;
pub use connections::{Capture, Captured, Taken};
pub use fates::pair;
pub use share::Share;

use crate::flow::Side;
use crate::time::Span;
use crate::wire::Segment;

/// What two captures share, and what only one of them has.
#[derive(Clone, Debug, Default)]
pub struct Paired {
    /// The connections that are in both, in the order of the client's capture; and those of the client's whose server the other capture covers.
    pub pairs: Vec<Pair>,
    /// The ends of those that are in the client's capture alone, and in the server's.
    pub alone: [Vec<[SocketAddr; 2]>; 2],
}

/// A connection that was captured at both ends.
#[derive(Clone, Debug)]
pub struct Pair {
    /// As the client's capture has it.
    pub at_client: Captured,
    /// As the server's capture has it: with other addresses or ports where they are translated between (NAT).
    pub at_server: Captured,
    /// By what the two were found to be one.
    pub found_by: FoundBy,
    /// The server's clock against the client's, by all segments of the two captures; `None` where only one direction was seen to arrive.
    pub clocks: Option<Clocks>,
    /// Its segments, in the order in which they were sent, as far as the clocks tell.
    pub passages: Vec<Passage>,
    /// How many frames the client's capture, and the server's, hold a second time: they were captured twice, not sent twice.
    pub captured_twice: [u32; 2],
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

/// One segment on its way between the two capture points, or the part of one that one of the captures has as a segment of its own.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Who sent it.
    pub from: Side,
    /// Its place among the segments of the capture at its sender's end; `None`: it was not seen there.
    pub sent: Option<u32>,
    /// Its place in the capture at its receiver's end, where it came first.
    pub arrived: Option<u32>,
    /// Those of the copies that came after it.
    pub copies: Vec<u32>,
    /// Sequence number relative to the sender's first.
    pub seq: i64,
    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    pub ack: Option<i64>,
    /// How many octets of payload it has.
    pub octets: u32,
    /// How long it was on its way, by the clocks as they were estimated.
    pub took: Option<Span>,
    /// How much longer than the fastest of its direction, where that is remarkable.
    pub held_up: Option<Span>,
    /// What became of it.
    pub fate: Fate,
    /// What was changed on its way.
    pub changed: Vec<Change>,
    /// Whether a segment that was sent after it arrived before it.
    pub is_overtaken: bool,
    /// Whether it arrived, and its receiver went on asking for it until it was sent again.
    pub is_lost_behind: bool,
    /// Of which segment of an earlier connection between the same ends it is a late copy: the frame in its receiver's capture.
    pub repeats: Option<u64>,
    /// Whether there was too much that is like it to look at all of it: then nothing is said of its fate.
    is_open: bool,
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

impl Pair {
    /// The capture at one end.
    pub fn at(&self, side: Side) -> &Captured {
        match side {
            Side::Client => &self.at_client,
            Side::Server => &self.at_server,
        }
    }

    /// Whether its addresses or ports are others at the server.
    pub fn is_translated(&self) -> bool {
        self.at_client.ends != self.at_server.ends
    }

    /// A segment as it was captured at its sender's end.
    pub fn sent(&self, passage: &Passage) -> Option<&Segment> {
        let place = passage.sent?;
        self.at(passage.from).segments.get(place as usize).map(|taken| &taken.segment)
    }

    /// The same at its receiver's end, each time that it came.
    pub fn arrived<'a>(&'a self, passage: &'a Passage) -> impl Iterator<Item = &'a Segment> {
        let places = passage.arrived.iter().chain(&passage.copies);
        places.filter_map(|place| Some(&self.at(passage.from.peer()).segments.get(*place as usize)?.segment))
    }

    /// A segment as it was captured at all: at its sender's end, or else at its receiver's.
    pub fn any<'a>(&'a self, passage: &'a Passage) -> Option<&'a Segment> {
        self.sent(passage).or_else(|| self.arrived(passage).next())
    }

    /// The passages of one direction.
    pub fn sent_by(&self, side: Side) -> impl Iterator<Item = &Passage> {
        self.passages.iter().filter(move |passage| passage.from == side)
    }

    /// How many passages of one direction had that fate.
    pub fn count(&self, side: Side, fate: Fate) -> usize {
        self.sent_by(side).filter(|passage| passage.fate == fate).count()
    }

    /// The longest time from octets that came to an end until it sent some of its own for the first time, by its own clock: what its host took to answer.
    pub fn slowest_answer(&self, side: Side) -> Option<Span> {
        let (mut asked, mut next, mut slowest) = (None, None, None);
        for taken in self.at(side).segments.iter().filter(|taken| taken.segment.len > 0) {
            let segment = &taken.segment;
            if taken.from != side {
                asked = segment.at;
            } else if next.is_none_or(|next| !segment.end().is_before(next)) {
                next = Some(segment.end());
                let took = segment.at.zip(asked.take()).map(|(sent, asked)| sent.since(asked));
                slowest = slowest.max(took);
            }
        }
        slowest
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
