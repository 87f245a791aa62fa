//! Which segment of one direction, as it was captured at its sender's end, is which of its receiver's end.

use super::behind::lost_behind;
use super::changes::Changes;
use super::connections::{Captured, Seconds};
use super::digest::Compared;
use super::join::Found;
use super::passages::{Extra, Passage};
use super::pieces::{Piece, pieces};
use super::placed::{Bases, Place, Placed, Row};
use super::taken::Taken;
use super::{Fate, Pair};
use crate::flow::Side;
use crate::time::{Span, Timestamp};

/// Room that pairing takes, used for one connection after the other.
#[derive(Default)]
pub(super) struct Room {
    /// Where the segments stand: of each capture, of each end.
    pub(super) places: [[Vec<Place>; 2]; 2],
    pub(super) seconds: Seconds,
    found: Found,
    /// When each passage was sent, and its place.
    pub(super) order: Vec<(Option<Timestamp>, u32)>,
    data: Vec<(i64, u32)>,
    behind: Vec<u32>,
}

/// Pairs the segments of a connection. What did not arrive and what was not sent is [`Fate::Unknown`] yet.
pub(super) fn pair_segments(pair: &mut Pair, room: &mut Room) {
    let bases = Bases::of(&pair.at_client, &pair.at_server, pair.found_by);
    let how = compared(&pair.at_client, &pair.at_server);
    pair.captured_twice = [pair.at_client.twice, pair.at_server.twice];
    pair.extras.clear();
    let mut passages = std::mem::take(&mut pair.passages);
    passages.clear();
    (pair.fastest, pair.began) = ([None; 2], None);
    passages.reserve_exact(pair.at_client.segments.len().max(pair.at_server.segments.len()));
    let [at_client, at_server] = &mut room.places;
    let rows = [(&pair.at_client, at_client, bases[0]), (&pair.at_server, at_server, bases[1])].map(
        |(captured, [client, server], bases)| {
            [bases.place(captured, Side::Client, client), bases.place(captured, Side::Server, server)]
        },
    );
    for side in [Side::Client, Side::Server] {
        let (here, there) = (side as usize, side.peer() as usize);
        let (sent, arrived, answers) = (rows[here][here], rows[there][here], rows[there][there]);
        let begin = passages.len();
        let extras = &mut pair.extras;
        let mut direction =
            Direction { side, sent, arrived, how, passages: &mut passages, extras, shortest: None, began: None };
        direction.pair(&mut room.found);
        pair.fastest[here] = direction.shortest.map(Span);
        let began = direction.began;
        pair.began = pair.began.map_or(began, |before| Some(began.map_or(before, |began| began.min(before))));
        pair.captured_twice[here] += room.found.count_twice;
        room.behind.clear();
        lost_behind(arrived, answers, &mut room.data, &mut room.behind);
        if !room.behind.is_empty() {
            room.behind.sort_unstable();
            mark_behind(&mut passages[begin..], &room.behind);
        }
    }
    pair.passages = passages;
    pair.slowest_answers = [Side::Client, Side::Server].map(|side| pair.at(side).slowest_answer(side));
}

/// How much of the octets of both was captured.
fn compared(here: &Captured, there: &Captured) -> Compared {
    match () {
        () if !here.is_cut() && !there.is_cut() => Compared::Whole,
        () if here.has_heads() && there.has_heads() => Compared::Head,
        () => Compared::Nothing,
    }
}

/// The segments of one direction as both captures have them, and what becomes of them.
struct Direction<'a> {
    side: Side,
    sent: Row<'a>,
    arrived: Row<'a>,
    how: Compared,
    passages: &'a mut Vec<Passage>,
    extras: &'a mut Vec<Extra>,
    /// The shortest time that one took, by the difference of both clocks.
    shortest: Option<i64>,
    /// When the first of those whose time is known was at the client, by its clock.
    began: Option<Timestamp>,
}

impl Direction<'_> {
    fn pair(&mut self, found: &mut Found) {
        let Self { side, sent, arrived, how, .. } = *self;
        found.find(sent, arrived, how);
        let pieces = pieces(found, sent, arrived);
        found.copies.sort_unstable();

        let usual = self.usual_translation(found);
        let begin = self.passages.len();
        let (mut copies, mut parts) = (found.copies.iter().peekable(), Parts::of(pieces));
        for (place, of) in sent.iter().enumerate() {
            if found.is_twice(place) {
                continue;
            }
            if let Some(parts) = parts.take(place as u32) {
                for part in parts {
                    self.add_part(part, &of, found.is_open);
                }
                continue;
            }
            let Some(first) = found.of_sent(place) else {
                let is_open = found.is_open;
                self.passages.push(Passage::new(side, of.seq, of.ack, of.taken.len).sent(&of).open(is_open));
                continue;
            };
            let it = arrived.at(first);
            let changed = Changes::of(&of, &it, how, false);
            // Who changes a segment and means it changes the checksum with it.
            let is_damaged = || usual == Some(translation(&of, &it)) && changed.concern_the_segment();
            let mut passage = Passage::new(side, of.seq, of.ack, of.taken.len).sent(&of).changed(changed);
            // The first one in time is the first, whichever of those that are alike it was joined with.
            let mut earliest = first;
            if copies.peek().is_some_and(|(one, _)| *one as usize == place) {
                let mut all = vec![first];
                while let Some((_, at)) = copies.next_if(|(one, _)| *one as usize == place) {
                    all.push(*at);
                }
                all.sort_unstable();
                earliest = all[0];
                let copies = all[1..].iter().map(|at| arrived.at(*at).place).collect();
                self.extra(&mut passage, Extra { copies, compared: it.place, ..Extra::default() });
                passage.fate = Fate::Duplicated;
            } else {
                passage.fate = if is_damaged() { Fate::Damaged } else { Fate::Arrived };
            }
            let passage = self.timed(passage, of.taken, &arrived.at(earliest));
            self.passages.push(passage);
        }
        mark_overtaken(&mut self.passages[begin..]);
        for (_, of) in arrived.iter().enumerate().filter(|(place, _)| !found.is_known(*place)) {
            let passage = Passage::new(side, of.seq, of.ack, of.taken.len).arrived(of.place);
            self.passages.push(passage.open(found.is_open));
        }
    }

    fn add_part(&mut self, part: Piece, of: &Placed<'_>, is_open: bool) {
        let Self { side, arrived, how, .. } = *self;
        let octets = (part.to - part.from) as u32;
        let mut passage = Passage::new(side, part.from, of.ack, octets).sent(of);
        let Some(at) = part.arrived else {
            self.passages.push(passage.open(is_open));
            return;
        };
        let it = arrived.at(at);
        passage = self.timed(passage, of.taken, &it).changed(Changes::of(of, &it, how, true));
        passage.fate = Fate::Arrived;
        if !part.copies.is_empty() {
            passage.fate = Fate::Duplicated;
            let copies = part.copies.into_iter().map(|at| arrived.at(at).place).collect();
            self.extra(&mut passage, Extra { copies, compared: it.place, ..Extra::default() });
        }
        self.passages.push(passage);
    }

    /// One that arrived, with the time that it took by the difference of both clocks.
    #[inline]
    fn timed(&mut self, passage: Passage, sent: &Taken, arrived: &Placed<'_>) -> Passage {
        let mut passage = passage.arrived(arrived.place);
        if let (Some(sent), Some(arrived)) = (sent.at, arrived.taken.at) {
            let took = arrived.since(sent);
            passage.take_time(Some(took));
            let when = if self.side == Side::Client { sent } else { arrived };
            self.shortest = Some(self.shortest.map_or(took.as_nanos(), |shortest| shortest.min(took.as_nanos())));
            self.began = Some(self.began.map_or(when, |began| began.min(when)));
        }
        passage
    }

    /// Puts down what few passages have.
    fn extra(&mut self, passage: &mut Passage, extra: Extra) {
        self.extras.push(extra);
        passage.set_extra(self.extras.len() - 1);
    }

    /// By how much the checksum of segments that arrived as they were sent is another; `None` where they differ in it, because the sender's
    /// interface filled the checksum in after the capture.
    fn usual_translation(&self, found: &Found) -> Option<u16> {
        let Self { sent, arrived, how, .. } = *self;
        let pairs = sent.iter().enumerate().filter_map(|(place, of)| Some((of, arrived.at(found.of_sent(place)?))));
        let mut unchanged = pairs
            .filter(|(of, it)| Changes::of(of, it, how, false).is_empty())
            .map(|(of, it)| translation(&of, &it))
            .take(COMPARED);
        let first = unchanged.next()?;
        unchanged.all(|other| other == first).then_some(first)
    }
}

/// By how much the checksum of a segment is another when it arrives, in one's complement: a translator of addresses adds the same to each.
fn translation(sent: &Placed<'_>, arrived: &Placed<'_>) -> u16 {
    let sum = u32::from(arrived.taken.checksum) + u32::from(!sent.taken.checksum);
    let sum = (sum & 0xffff) + (sum >> 16);
    // Both are zero.
    if sum == 0xffff { 0 } else { sum as u16 }
}

/// Marks those that arrived after something that was sent later.
fn mark_overtaken(passages: &mut [Passage]) {
    let mut earliest = u32::MAX;
    for passage in passages.iter_mut().rev() {
        if let Some(at) = passage.arrived_at() {
            if earliest < at {
                passage.overtake();
            }
            earliest = earliest.min(at);
        }
    }
}

/// Marks those that arrived and were lost behind the capture.
fn mark_behind(passages: &mut [Passage], behind: &[u32]) {
    for passage in passages.iter_mut().filter(|passage| passage.fate == Fate::Arrived) {
        if passage.arrived_at().is_some_and(|place| behind.binary_search(&place).is_ok()) {
            passage.lose_behind();
        }
    }
}

/// Pieces by the segment that they are of.
struct Parts {
    all: std::iter::Peekable<std::vec::IntoIter<Piece>>,
}

impl Parts {
    fn of(mut all: Vec<Piece>) -> Self {
        all.sort_by_key(|part| (part.sent, part.from));
        Self { all: all.into_iter().peekable() }
    }

    /// Those of the segment in that place, which is no earlier than any that was asked for before.
    fn take(&mut self, sent: u32) -> Option<Vec<Piece>> {
        self.all.peek().filter(|part| part.sent <= sent)?;
        let mut parts = Vec::new();
        while let Some(part) = self.all.next_if(|part| part.sent <= sent) {
            parts.push(part);
        }
        Some(parts)
    }
}

/// How many checksums are compared.
const COMPARED: usize = 16;
