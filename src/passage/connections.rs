//! The connections of one capture, each with all of its segments.

use std::net::SocketAddr;

use super::digest::has_head;
use super::taken::Taken;
use crate::flow::{ByEnds, Ends, Side};
use crate::time::Timestamp;
use crate::wire::{Flags, Segment, Seq};

/// The connections of a capture, in the order in which they began.
#[derive(Debug, Default)]
pub struct Capture {
    connections: Vec<Captured>,
    /// The latest connection between two ends.
    latest: ByEnds<usize>,
    /// The connection of the segment before.
    last: Option<(Ends, usize)>,
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
    /// Who the lower end is, in the order of ends.
    lower: Side,
    /// Whether of one of its segments not all octets were captured, and whether of one not even the first ones.
    is_cut: bool,
    lacks_heads: bool,
}

impl Capture {
    /// As how many segments a connection counts: what is kept of it besides them, and of its pair.
    pub const CONNECTION: u64 = 4;

    /// One that has room for so many segments, each connection counting as [`CONNECTION`](Self::CONNECTION) of them besides.
    pub fn within(most: u64) -> Self {
        Self { most, ..Self::default() }
    }

    /// Takes in a segment and the octets of it that were captured.
    pub fn observe(&mut self, segment: &Segment, octets: &[u8]) {
        if let Some(at) = segment.at {
            self.ran(at);
        }
        let (ends, is_from_lower) = Ends::of(segment);
        let opens = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let place = match self.last {
            Some((last, place)) if last == ends => Some(place),
            _ => self.latest.find(&ends).copied(),
        };
        let known = place.filter(|place| {
            // Another SYN of the same end is another connection.
            let known = &self.connections[*place];
            !opens || known.isns[known.side_of(is_from_lower) as usize].is_none_or(|isn| isn == segment.seq)
        });
        let takes = if known.is_some() { 1 } else { 1 + Self::CONNECTION };
        // The first connection has room in any case.
        if self.held + takes > self.most && self.held > 0 || self.held >= self.most {
            self.left_out += 1;
            return;
        }
        self.held += takes;
        let place = known.unwrap_or_else(|| {
            self.connections.push(Captured::begun(segment, is_from_lower));
            self.latest.insert(ends, self.connections.len() - 1);
            self.connections.len() - 1
        });
        self.last = Some((ends, place));
        self.connections[place].take(segment, octets, is_from_lower);
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
        let mut seconds = Seconds::default();
        let count: usize = self.connections.iter().map(|connection| seconds.of(&connection.segments)).sum();
        let all: usize = self.connections.iter().map(|connection| connection.segments.len()).sum();
        if count >= FEWEST_TWICE && count * 3 > all {
            for connection in &mut self.connections {
                connection.twice = seconds.of(&connection.segments) as u32;
                let mut second = seconds.second.iter();
                connection.segments.retain(|_| !second.next().is_some_and(|second| *second));
            }
        }
        self.connections
    }
}

/// Which segments are the same in everything as one shortly before, which has no other such.
#[derive(Default)]
struct Seconds {
    second: Vec<bool>,
    has_second: Vec<bool>,
}

impl Seconds {
    /// Finds those of a connection; how many there are.
    fn of(&mut self, segments: &[Taken]) -> usize {
        let Self { second, has_second } = self;
        for marks in [&mut *second, &mut *has_second] {
            marks.clear();
            marks.resize(segments.len(), false);
        }
        let mut count = 0;
        for (place, taken) in segments.iter().enumerate() {
            let begin = place.saturating_sub(LOOKED_AT);
            let before = &segments[begin..place];
            // Hardly any has the same numbers and checksum.
            if !before.iter().fold(false, |any, first| any | first.may_be_same_frame(taken)) {
                continue;
            }
            let mut alike = (begin..place).rev().filter(|first| segments[*first].is_same_frame(taken));
            if let Some(first) = alike.find(|first| !second[*first] && !has_second[*first]) {
                has_second[first] = true;
                second[place] = true;
                count += 1;
            }
        }
        count
    }
}

impl Captured {
    /// One that begins with that segment, which it does not have yet.
    fn begun(segment: &Segment, is_from_lower: bool) -> Self {
        let opens = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let answers = segment.flags.contains(Flags::SYN | Flags::ACK);
        // Without a SYN the lower port is taken to be the server's.
        let is_client = opens || !answers && segment.src_port >= segment.dst_port;
        let ends = [segment.from(), segment.to()];
        let is_one_end = ends[0] == ends[1];
        Self {
            ends: if is_client { ends } else { [ends[1], ends[0]] },
            is_known: opens || answers,
            isns: [None; 2],
            segments: Vec::new(),
            twice: 0,
            lower: if is_client == is_from_lower || is_one_end { Side::Client } else { Side::Server },
            is_cut: false,
            lacks_heads: false,
        }
    }

    /// One between the same ends of which nothing was captured.
    pub(super) fn nothing_of(other: &Self) -> Self {
        Self { segments: Vec::new(), isns: [None; 2], twice: 0, is_cut: false, lacks_heads: false, ..*other }
    }

    /// Takes in a segment and the octets of it that were captured.
    #[inline]
    fn take(&mut self, segment: &Segment, octets: &[u8], is_from_lower: bool) {
        let from = self.side_of(is_from_lower);
        if segment.flags.contains(Flags::SYN) {
            self.isns[from as usize].get_or_insert(segment.seq);
        }
        self.is_cut |= octets.len() < segment.len as usize;
        self.lacks_heads |= !has_head(octets.len(), segment.len);
        if self.segments.len() == self.segments.capacity() {
            // Many have but one or two, and nearly all others more than four.
            let more = match self.segments.len() {
                0 => 2,
                2 => 6,
                len => len,
            };
            self.segments.reserve_exact(more);
        }
        self.segments.push(Taken::of(from, segment, octets));
    }

    /// Who the sender is, which is the lower end or not.
    #[inline]
    fn side_of(&self, is_from_lower: bool) -> Side {
        if is_from_lower { self.lower } else { self.lower.peer() }
    }

    /// Takes the client for the server: of a connection that both opened, or whose SYN was not captured, each capture may have it otherwise.
    pub(super) fn turn(&mut self) {
        self.ends.swap(0, 1);
        self.isns.swap(0, 1);
        self.lower = self.lower.peer();
        self.segments.iter_mut().for_each(Taken::turn);
    }

    /// Those of one end, each with its place in the capture.
    pub(super) fn sent_by(&self, side: Side) -> impl Iterator<Item = (usize, &Taken)> {
        self.segments.iter().enumerate().filter(move |(_, taken)| taken.from() == side)
    }

    /// The first segment of an end that has octets.
    pub(super) fn first_octets(&self, side: Side) -> Option<&Taken> {
        self.sent_by(side).map(|(_, taken)| taken).find(|taken| taken.len > 0)
    }

    /// Whether of one of its segments not all octets were captured.
    pub(super) fn is_cut(&self) -> bool {
        self.is_cut
    }

    /// Whether of each of its segments the first octets were captured, as many as are compared where the others were not.
    pub(super) fn has_heads(&self) -> bool {
        !self.lacks_heads
    }
}

/// How many segments before one are looked at for the same.
pub(super) const LOOKED_AT: usize = 8;
/// How many segments a capture must have twice at least for that to be its way.
const FEWEST_TWICE: usize = 3;
