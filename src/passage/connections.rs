//! The connections of one capture, each with all of its segments.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::digest::Digest;
use crate::flow::Side;
use crate::time::Timestamp;
use crate::wire::{Flags, Segment, Seq};

/// The connections of a capture, in the order in which they began.
#[derive(Debug, Default)]
pub struct Capture {
    connections: Vec<Captured>,
    /// The latest connection between two ends, the smaller one first.
    latest: HashMap<[SocketAddr; 2], usize>,
    /// The connection of the segment before.
    last: Option<([SocketAddr; 2], usize)>,
    reach: Option<[Timestamp; 2]>,
    held: u64,
    left_out: u64,
    most: u64,
}

/// A connection of one capture.
#[derive(Clone, Debug)]
pub struct Captured {
    /// The client's address and the server's.
    pub ends: [SocketAddr; 2],
    /// Whether a SYN says which of them is the client.
    pub is_known: bool,
    /// The initial sequence number of each, where its SYN was captured.
    pub isns: [Option<Seq>; 2],
    /// Its segments, in the order of their capture.
    pub segments: Vec<Taken>,
    /// How many frames with such were left out because the capture holds each frame twice.
    pub twice: u32,
}

/// A segment of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// Who sent it.
    pub from: Side,
    /// The segment.
    pub segment: Segment,
    /// What its octets are, as far as they were captured.
    pub(super) digest: Digest,
}

impl Capture {
    /// As how many segments a connection counts: what is kept of it besides them, and of its pair.
    pub const CONNECTION: u64 = 6;

    /// One that has room for so many segments, each connection counting as [`CONNECTION`](Self::CONNECTION) of them besides.
    pub fn within(most: u64) -> Self {
        Self { most, ..Self::default() }
    }

    /// Takes in a segment and the octets of it that were captured.
    pub fn observe(&mut self, segment: &Segment, octets: &[u8]) {
        if let Some(at) = segment.at {
            self.ran(at);
        }
        let ends = [segment.from(), segment.to()];
        let key = if ends[0] <= ends[1] { ends } else { [ends[1], ends[0]] };
        let opens = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let place = match self.last {
            Some((last, place)) if last == key => Some(place),
            _ => self.latest.get(&key).copied(),
        };
        let known = place.filter(|place| {
            let known = &self.connections[*place];
            // Another SYN of the same end is another connection.
            let own = known.side_of(segment);
            !opens || known.isns[own as usize].is_none_or(|isn| isn == segment.seq)
        });
        let takes = if known.is_some() { 1 } else { 1 + Self::CONNECTION };
        // The first connection has room in any case.
        if self.held + takes > self.most && self.held > 0 || self.held >= self.most {
            self.left_out += 1;
            return;
        }
        self.held += takes;
        let place = known.unwrap_or_else(|| {
            let answers = segment.flags.contains(Flags::SYN | Flags::ACK);
            // Without a SYN the lower port is taken to be the server's.
            let is_client = opens || !answers && segment.src_port >= segment.dst_port;
            let ends = if is_client { ends } else { [ends[1], ends[0]] };
            let is_known = opens || answers;
            self.connections.push(Captured { ends, is_known, isns: [None; 2], segments: Vec::new(), twice: 0 });
            self.latest.insert(key, self.connections.len() - 1);
            self.connections.len() - 1
        });
        self.last = Some((key, place));
        let connection = &mut self.connections[place];
        let from = connection.side_of(segment);
        if segment.flags.contains(Flags::SYN) {
            connection.isns[from as usize].get_or_insert(segment.seq);
        }
        connection.segments.push(Taken { from, segment: *segment, digest: Digest::of(octets) });
    }

    /// Says that the capture went on at that moment, by its own clock, whether there was anything to capture or not.
    pub fn ran(&mut self, at: Timestamp) {
        let [began, ended] = self.reach.unwrap_or([at; 2]);
        self.reach = Some([began.min(at), ended.max(at)]);
    }

    /// From when to when the capture is known to have run.
    pub fn reach(&self) -> Option<[Timestamp; 2]> {
        self.reach
    }

    /// How many segments had no room.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The connections.
    pub fn connections(&self) -> &[Captured] {
        &self.connections
    }

    /// The connections. Of a capture that holds most frames twice, as one on several interfaces of a host does, the second ones are left out.
    pub fn into_connections(mut self) -> Vec<Captured> {
        let second: Vec<Vec<bool>> = self.connections.iter().map(Captured::second_ones).collect();
        let count: usize = second.iter().flatten().filter(|is_second| **is_second).count();
        let all: usize = second.iter().map(Vec::len).sum();
        if count >= FEWEST_TWICE && count * 3 > all {
            for (connection, second) in self.connections.iter_mut().zip(second) {
                let before = connection.segments.len();
                let mut second = second.into_iter();
                connection.segments.retain(|_| !second.next().unwrap_or(false));
                connection.twice = (before - connection.segments.len()) as u32;
            }
        }
        self.connections
    }
}

impl Captured {
    /// One between the same ends of which nothing was captured.
    pub(super) fn nothing_of(other: &Self) -> Self {
        Self { segments: Vec::new(), isns: [None; 2], twice: 0, ..*other }
    }

    /// Which segments are the same in everything as one shortly before, which has no other such.
    fn second_ones(&self) -> Vec<bool> {
        let same = |one: &Taken, other: &Taken| {
            let (a, b) = (&one.segment, &other.segment);
            (one.from, one.digest, a.seq, a.ack, a.flags, a.len, a.ip_id, a.window, a.checksum)
                == (other.from, other.digest, b.seq, b.ack, b.flags, b.len, b.ip_id, b.window, b.checksum)
        };
        let mut second = vec![false; self.segments.len()];
        let mut has_second = second.clone();
        for (place, taken) in self.segments.iter().enumerate() {
            let before = (place.saturating_sub(LOOKED_AT)..place).rev();
            let mut firsts = before.filter(|first| !second[*first] && !has_second[*first]);
            if let Some(first) = firsts.find(|first| same(&self.segments[*first], taken)) {
                has_second[first] = true;
                second[place] = true;
            }
        }
        second
    }

    fn side_of(&self, segment: &Segment) -> Side {
        if segment.from() == self.ends[0] { Side::Client } else { Side::Server }
    }

    /// The same with the client for the server: of a connection that both opened, or whose SYN was not captured, each capture may have it otherwise.
    pub(super) fn turned(mut self) -> Self {
        self.ends.swap(0, 1);
        self.isns.swap(0, 1);
        self.segments.iter_mut().for_each(|taken| taken.from = taken.from.peer());
        self
    }

    /// Those of one end, each with its place in the capture.
    pub(super) fn sent_by(&self, side: Side) -> impl Iterator<Item = (usize, &Taken)> {
        self.segments.iter().enumerate().filter(move |(_, taken)| taken.from == side)
    }

    /// The first segment of an end that has octets.
    pub(super) fn first_octets(&self, side: Side) -> Option<&Taken> {
        self.sent_by(side).map(|(_, taken)| taken).find(|taken| taken.segment.len > 0)
    }

    /// Whether of one of its segments not all octets were captured.
    pub(super) fn is_cut(&self) -> bool {
        self.segments.iter().any(|taken| taken.digest.captured() < taken.segment.len)
    }
}

/// How many segments before one are looked at for the same.
pub(super) const LOOKED_AT: usize = 8;
/// How many segments a capture must have twice at least for that to be its way.
const FEWEST_TWICE: usize = 3;
