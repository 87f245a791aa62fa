//! The connections of one capture, each with all of its segments.

use std::net::SocketAddr;

use super::digest::has_head;
use super::taken::Taken;
use crate::flow::{ByEnds, Ends, Side};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq};

/// The connections of a capture, in the order in which they began.
#[derive(Debug, Default)]
pub struct Capture {
    connections: Vec<Captured>,
    /// The latest connection between two ends.
    latest: ByEnds<u32>,
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

/// A segment as it was seen, with a digest of its octets.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    taken: Taken,
    ends: Ends,
    is_from_lower: bool,
    is_cut: bool,
    lacks_head: bool,
}

impl Seen {
    /// Of a segment and the octets of it that were captured.
    #[inline]
    pub fn of(segment: &Segment, octets: &[u8]) -> Self {
        let (ends, is_from_lower) = Ends::of(segment);
        Self {
            taken: Taken::of(segment, octets),
            ends,
            is_from_lower,
            is_cut: octets.len() < segment.len as usize,
            lacks_head: !has_head(octets.len(), segment.len),
        }
    }
}

impl Capture {
    /// As how many segments a connection counts: what is kept of it besides them, and of its pair.
    pub const CONNECTION: u64 = 2;

    /// One that has room for so many segments, each connection counting as [`CONNECTION`](Self::CONNECTION) of them besides.
    pub fn within(most: u64) -> Self {
        Self { most, ..Self::default() }
    }

    /// Takes in a segment and the octets of it that were captured.
    pub fn observe(&mut self, segment: &Segment, octets: &[u8]) {
        self.observe_all(&[Seen::of(segment, octets)]);
    }

    /// Takes in segments, in the order of their capture.
    pub fn observe_all(&mut self, all: &[Seen]) {
        for all in all.chunks(AT_ONCE) {
            // What they need of memory is fetched for all of them together: first of the table, then of the connections.
            let (mut places, mut lowers) = ([NOWHERE; AT_ONCE], [Side::Client; AT_ONCE]);
            for (place, seen) in places.iter_mut().zip(all) {
                *place = self.latest.find(&seen.ends).map_or(NOWHERE, |place| *place);
            }
            for (lower, place) in lowers.iter_mut().zip(&places) {
                *lower = self.connections.get(*place as usize).map_or(Side::Client, |connection| connection.lower);
            }
            let known = self.connections.len();
            for (seen, (place, lower)) in all.iter().zip(places.into_iter().zip(lowers)) {
                if known == self.connections.len() {
                    self.take(seen, place, lower);
                } else {
                    // One of them began another connection, which may be that of those after it.
                    let place = self.latest.find(&seen.ends).map_or(NOWHERE, |place| *place);
                    let connection = self.connections.get(place as usize);
                    self.take(seen, place, connection.map_or(Side::Client, |connection| connection.lower));
                }
            }
        }
    }

    /// Takes in a segment of the connection in that place, if there is one, whose lower end is that.
    fn take(&mut self, seen: &Seen, place: u32, lower: Side) {
        if let Some(at) = seen.taken.at {
            self.ran(at);
        }
        let opens = seen.taken.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let from = if seen.is_from_lower { lower } else { lower.peer() };
        // Another SYN of the same end is another connection.
        let goes_on = |known: &Captured| !opens || known.isns[from as usize].is_none_or(|isn| isn == seen.taken.seq);
        let is_known = self.connections.get(place as usize).is_some_and(goes_on);
        let takes = if is_known { 1 } else { 1 + Self::CONNECTION };
        // The first connection has room in any case.
        let is_full = self.held + takes > self.most && self.held > 0 || self.held >= self.most;
        if is_full || !is_known && self.connections.len() >= NOWHERE as usize {
            self.left_out += 1;
            return;
        }
        self.held += takes;
        if is_known {
            self.connections[place as usize].take(from, seen);
            return;
        }
        let mut connection = Captured::begun(seen);
        let from = if seen.is_from_lower { connection.lower } else { connection.lower.peer() };
        connection.take(from, seen);
        self.latest.insert(seen.ends, self.connections.len() as u32);
        self.connections.push(connection);
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

    /// The connections.
    pub fn into_connections(self) -> Vec<Captured> {
        self.connections
    }
}

/// Finds the segments that are the same in everything as one shortly before, which has no other such.
#[derive(Default)]
pub(super) struct Seconds {
    second: Vec<bool>,
    has_second: Vec<bool>,
}

impl Seconds {
    /// Finds those of a connection; how many there are.
    pub(super) fn of(&mut self, segments: &[Taken]) -> usize {
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

    /// Whether a capture of so many segments, so many of them second ones, holds most frames twice, as one on several interfaces of a host does.
    pub(super) fn are_its_way(count: usize, all: usize) -> bool {
        count >= FEWEST_TWICE && count * 3 > all
    }
}

impl Captured {
    /// One that begins with that segment, which it does not have yet.
    fn begun(seen: &Seen) -> Self {
        let opens = seen.taken.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let answers = seen.taken.flags.contains(Flags::SYN | Flags::ACK);
        let [lower, higher] = seen.ends.both();
        let [from, to] = if seen.is_from_lower { [lower, higher] } else { [higher, lower] };
        // Without a SYN the lower port is taken to be the server's.
        let is_client = opens || !answers && from.port() >= to.port();
        Self {
            ends: if is_client { [from, to] } else { [to, from] },
            is_known: opens || answers,
            isns: [None; 2],
            segments: Vec::new(),
            twice: 0,
            lower: if is_client == seen.is_from_lower || from == to { Side::Client } else { Side::Server },
            is_cut: false,
            lacks_heads: false,
        }
    }

    /// Leaves the second ones out, of a capture that holds most frames twice.
    pub(super) fn leave_out(&mut self, seconds: &mut Seconds) {
        self.twice = seconds.of(&self.segments) as u32;
        let mut second = seconds.second.iter();
        self.segments.retain(|_| !second.next().is_some_and(|second| *second));
    }

    /// One between the same ends of which nothing was captured.
    pub(super) fn nothing_of(other: &Self) -> Self {
        Self { segments: Vec::new(), isns: [None; 2], twice: 0, is_cut: false, lacks_heads: false, ..*other }
    }

    /// Takes in a segment that an end sent.
    #[inline]
    fn take(&mut self, from: Side, seen: &Seen) {
        if seen.taken.flags.contains(Flags::SYN) {
            self.isns[from as usize].get_or_insert(seen.taken.seq);
        }
        self.is_cut |= seen.is_cut;
        self.lacks_heads |= seen.lacks_head;
        if self.segments.len() == self.segments.capacity() {
            // Many have but one or two, and nearly all others more than four.
            let more = match self.segments.len() {
                0 => 2,
                2 => 6,
                len => len,
            };
            self.segments.reserve_exact(more);
        }
        self.segments.push(seen.taken.sent_by(from));
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

    /// The longest time from octets that came to that end, whose capture this is, until it sent some of its own for the first time.
    pub(super) fn slowest_answer(&self, side: Side) -> Option<Span> {
        let (mut asked, mut next, mut slowest) = (None, None, None);
        for taken in self.segments.iter().filter(|taken| taken.len > 0) {
            if taken.from() != side {
                asked = taken.at;
            } else if next.is_none_or(|next| !taken.end().is_before(next)) {
                next = Some(taken.end());
                let took = taken.at.zip(asked.take()).map(|(sent, asked)| sent.since(asked));
                slowest = slowest.max(took);
            }
        }
        slowest
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
/// How many segments are taken in together.
const AT_ONCE: usize = 16;
/// In place of the place of a connection where there is none.
const NOWHERE: u32 = u32::MAX;
/// How many segments a capture must have twice at least for that to be its way.
const FEWEST_TWICE: usize = 3;
