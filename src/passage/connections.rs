//! The connections of one capture, each with all of its segments.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::flow::Side;
use crate::wire::{Flags, Segment, Seq};

/// The connections of a capture, in the order in which they began.
#[derive(Debug, Default)]
pub struct Capture {
    connections: Vec<Captured>,
    /// The latest connection between two ends, the smaller one first.
    latest: HashMap<[SocketAddr; 2], usize>,
    held: u64,
    left_out: u64,
    most: u64,
}

/// A connection of one capture.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The client's address and the server's.
    pub ends: [SocketAddr; 2],
    /// The initial sequence number of each, where its SYN was captured.
    pub isns: [Option<Seq>; 2],
    /// Its segments with a hash of each one's octets, as they were captured.
    pub segments: Vec<(Side, Segment, u64)>,
}

impl Capture {
    /// One that has room for so many segments.
    pub fn within(most: u64) -> Self {
        Self { most, ..Self::default() }
    }

    /// Takes in a segment and the octets of it that were captured.
    pub fn observe(&mut self, segment: &Segment, octets: &[u8]) {
        if self.held >= self.most {
            self.left_out += 1;
            return;
        }
        self.held += 1;
        let ends = [segment.from(), segment.to()];
        let key = if ends[0] <= ends[1] { ends } else { [ends[1], ends[0]] };
        let opens = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let known = self.latest.get(&key).copied().filter(|place| {
            let known = &self.connections[*place];
            // Another SYN of the same end is another connection.
            let own = known.side_of(segment);
            !opens || known.isns[own as usize].is_none_or(|isn| isn == segment.seq)
        });
        let place = known.unwrap_or_else(|| {
            let answers = segment.flags.contains(Flags::SYN | Flags::ACK);
            // Without a SYN the lower port is taken to be the server's.
            let is_client = opens || !answers && segment.src_port >= segment.dst_port;
            let ends = if is_client { ends } else { [ends[1], ends[0]] };
            self.connections.push(Captured { ends, isns: [None; 2], segments: Vec::new() });
            self.latest.insert(key, self.connections.len() - 1);
            self.connections.len() - 1
        });
        let connection = &mut self.connections[place];
        let side = connection.side_of(segment);
        if segment.flags.contains(Flags::SYN) {
            connection.isns[side as usize].get_or_insert(segment.seq);
        }
        connection.segments.push((side, *segment, hash(octets)));
    }

    /// How many segments had no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The connections.
    pub fn into_connections(self) -> Vec<Captured> {
        self.connections
    }
}

impl Captured {
    fn side_of(&self, segment: &Segment) -> Side {
        if segment.from() == self.ends[0] { Side::Client } else { Side::Server }
    }

    /// The number from which those of an end are counted: that of its SYN, or one before the first that was seen.
    pub(super) fn base(&self, side: Side) -> Option<Seq> {
        self.isns[side as usize].or_else(|| {
            let first = self.segments.iter().find(|(from, ..)| *from == side);
            first.map(|(_, segment, _)| segment.seq.minus(1))
        })
    }

    /// The hash of the first octets that an end sent, and how many there were.
    pub(super) fn first_octets(&self, side: Side) -> Option<(u32, u64)> {
        let first = self.segments.iter().find(|(from, segment, _)| *from == side && segment.len > 0);
        first.map(|(_, segment, hash)| (segment.len, *hash))
    }
}

/// FNV-1a: enough to tell one payload from another, and the same in every run.
fn hash(octets: &[u8]) -> u64 {
    octets.iter().fold(0xcbf2_9ce4_8422_2325, |hash, octet| (hash ^ u64::from(*octet)).wrapping_mul(0x100_0000_01b3))
}
