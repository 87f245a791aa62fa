//! Which connection, and which segment of it, one capture shares with the other.

use std::collections::{HashMap, VecDeque};

use super::connections::Captured;
use super::{Change, Clocks, Fate, FoundBy, Pair, Passage};
use crate::flow::Side;
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Segment, Seq};

/// Pairs the connections of two captures, and the segments of each, in the order of the client's capture; `offset` is the server's clock minus the client's, where it is known.
///
/// Connections are matched by addresses and ports first, then by their initial sequence numbers, then by the first octets that each end sent.
/// Those of one capture alone are left out. It takes time in proportion to the segments.
pub fn pair(at_client: Vec<Captured>, at_server: Vec<Captured>, offset: Option<Span>) -> Vec<Pair> {
    let mut left = Index::of(&at_server);
    let mut pairs = Vec::new();
    for here in &at_client {
        let Some((place, found_by)) = left.take(here, &at_server) else { continue };
        pairs.push(pair_segments(here, &at_server[place], found_by, offset));
    }
    pairs
}

/// The connections of the server's capture that are not paired yet.
struct Index {
    by_ends: HashMap<[std::net::SocketAddr; 2], VecDeque<usize>>,
    by_numbers: HashMap<[Option<Seq>; 2], VecDeque<usize>>,
    by_octets: HashMap<[Option<(u32, u64)>; 2], VecDeque<usize>>,
    is_taken: Vec<bool>,
}

impl Index {
    fn of(all: &[Captured]) -> Self {
        let mut index = Self {
            by_ends: HashMap::new(),
            by_numbers: HashMap::new(),
            by_octets: HashMap::new(),
            is_taken: vec![false; all.len()],
        };
        for (place, there) in all.iter().enumerate() {
            index.by_ends.entry(there.ends).or_default().push_back(place);
            index.by_numbers.entry(there.isns).or_default().push_back(place);
            index.by_octets.entry(octets(there)).or_default().push_back(place);
        }
        index
    }

    fn take(&mut self, here: &Captured, all: &[Captured]) -> Option<(usize, FoundBy)> {
        let Self { by_ends, by_numbers, by_octets, is_taken } = self;
        let mut first = |places: Option<&mut VecDeque<usize>>, fits: &dyn Fn(&Captured) -> bool| {
            let places = places?;
            places.retain(|place| !is_taken[*place]);
            let at = places.iter().position(|place| fits(&all[*place]))?;
            let place = places.remove(at)?;
            is_taken[place] = true;
            Some(place)
        };
        // Between the same ends there may have been several: a SYN tells which is which, where it has the same number on both sides.
        let same_isn = |there: &Captured| {
            here.isns.iter().zip(&there.isns).all(|(one, other)| one.is_none() || other.is_none() || one == other)
        };
        if let Some(place) = first(by_ends.get_mut(&here.ends), &same_isn) {
            return Some((place, FoundBy::Addresses));
        }
        if here.isns[0].is_some()
            && let Some(place) = first(by_numbers.get_mut(&here.isns), &|_| true)
        {
            return Some((place, FoundBy::Numbers));
        }
        if octets(here).iter().any(Option::is_some)
            && let Some(place) = first(by_octets.get_mut(&octets(here)), &|_| true)
        {
            return Some((place, FoundBy::Octets));
        }
        let place = first(by_ends.get_mut(&here.ends), &|_| true)?;
        Some((place, FoundBy::Addresses))
    }
}

fn octets(captured: &Captured) -> [Option<(u32, u64)>; 2] {
    [Side::Client, Side::Server].map(|side| captured.first_octets(side))
}

/// What of a segment is the same at both ends, whoever translates addresses and numbers between.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Mark {
    seq: i64,
    ack: Option<i64>,
    flags: u16,
    len: u32,
    stamps: Option<(u32, u32)>,
    octets: u64,
}

/// The same without what a middlebox may change.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Outline {
    seq: i64,
    flags: u16,
    len: u32,
}

/// A segment in one of the captures, its numbers counted from those of its connection.
#[derive(Clone, Copy)]
struct Placed {
    segment: Segment,
    seq: i64,
    ack: Option<i64>,
    hash: u64,
}

impl Placed {
    fn mark(&self) -> Mark {
        let Segment { flags, len, options, .. } = self.segment;
        Mark { seq: self.seq, ack: self.ack, flags: flags.bits(), len, stamps: options.timestamps, octets: self.hash }
    }

    fn outline(&self) -> Outline {
        let control = self.segment.flags & (Flags::SYN | Flags::FIN | Flags::RST | Flags::ACK);
        Outline { seq: self.seq, flags: control.bits(), len: self.segment.len }
    }
}

fn pair_segments(here: &Captured, there: &Captured, found_by: FoundBy, offset: Option<Span>) -> Pair {
    let placed = |of: &Captured, side: Side| -> Vec<Placed> {
        let (Some(own), peers) = (of.base(side), of.base(side.peer())) else { return Vec::new() };
        of.segments
            .iter()
            .filter(|(from, ..)| *from == side)
            .map(|(_, segment, hash)| {
                let relative = |number: Seq, base: Seq| i64::from(number.0.wrapping_sub(base.0).cast_signed());
                let ack = peers.filter(|_| segment.flags.contains(Flags::ACK)).map(|base| relative(segment.ack, base));
                Placed { segment: *segment, seq: relative(segment.seq, own), ack, hash: *hash }
            })
            .collect()
    };
    let mut passages = Vec::new();
    for side in [Side::Client, Side::Server] {
        let (senders, receivers) = match side {
            Side::Client => (placed(here, side), placed(there, side)),
            Side::Server => (placed(there, side), placed(here, side)),
        };
        passages.extend(match_segments(side, &senders, &receivers));
    }
    let clocks = match offset {
        Some(offset) => here.segments.first().and_then(|(_, first, _)| first.at).map(|at| Clocks::given(offset, at)),
        None => estimate(&passages),
    };
    for passage in &mut passages {
        passage.took = clocks.and_then(|clocks| took(passage, &clocks));
    }
    // What was sent while the other capture went on, and long enough before its end, was lost.
    let end = |of: &Captured| of.segments.iter().filter_map(|(_, segment, _)| segment.at).max();
    let by_client = |at: Timestamp| clocks.map_or(at, |clocks| clocks.to_clients(at));
    let ends = [end(here), end(there).map(by_client)];
    let longest = passages.iter().filter_map(|passage| passage.took).max().unwrap_or(Span(0));
    for passage in passages.iter_mut().filter(|passage| passage.fate == Fate::Unknown) {
        let Some(sent) = passage.sent.as_ref().and_then(|sent| sent.at) else { continue };
        let (sent, end) = match passage.from {
            Side::Client => (sent, ends[1]),
            Side::Server => (by_client(sent), ends[0]),
        };
        if clocks.is_some() && end.is_some_and(|end| end > sent.after(longest)) {
            passage.fate = Fate::Lost;
        }
    }
    // In the order of sending, by the client's clock.
    let moment = |passage: &Passage| -> Option<Timestamp> {
        let (segment, is_clients) = match (&passage.sent, passage.arrived.first()) {
            (Some(sent), _) => (sent, passage.from == Side::Client),
            (None, Some(arrived)) => (arrived, passage.from == Side::Server),
            (None, None) => return None,
        };
        let at = segment.at?;
        Some(if is_clients { at } else { clocks.map_or(at, |clocks| clocks.to_clients(at)) })
    };
    passages.sort_by_key(moment);
    Pair { at_client: here.ends, at_server: there.ends, found_by, clocks, passages }
}

fn match_segments(side: Side, sent: &[Placed], arrived: &[Placed]) -> Vec<Passage> {
    let mut waiting: HashMap<Mark, VecDeque<usize>> = HashMap::new();
    for (place, of) in arrived.iter().enumerate() {
        waiting.entry(of.mark()).or_default().push_back(place);
    }
    // Where the identification of the datagram survives the way, it tells two segments apart that are alike.
    let keeps_ids = keeps_identification(sent, arrived, &waiting);
    let mut is_taken = vec![false; arrived.len()];
    let mut found: Vec<Vec<usize>> = vec![Vec::new(); sent.len()];
    for (place, of) in sent.iter().enumerate() {
        let Some(alike) = waiting.get_mut(&of.mark()) else { continue };
        let is_it = |at: &usize| !keeps_ids || arrived[*at].segment.ip_id == of.segment.ip_id;
        if let Some(at) = alike.iter().position(is_it).and_then(|at| alike.remove(at)) {
            is_taken[at] = true;
            found[place].push(at);
        }
    }
    // What was changed on the way is alike in outline; of several the first that is left.
    let mut outlines: HashMap<Outline, VecDeque<usize>> = HashMap::new();
    for at in (0..arrived.len()).filter(|at| !is_taken[*at]) {
        outlines.entry(arrived[at].outline()).or_default().push_back(at);
    }
    for (place, of) in sent.iter().enumerate().filter(|(place, _)| found[*place].is_empty()).collect::<Vec<_>>() {
        let Some(alike) = outlines.get_mut(&of.outline()) else { continue };
        let is_it = |at: &usize| !keeps_ids || arrived[*at].segment.ip_id == of.segment.ip_id;
        if let Some(at) = alike.iter().position(is_it).and_then(|at| alike.remove(at)) {
            is_taken[at] = true;
            found[place].push(at);
        }
    }
    // What comes once more is a copy of what came before, if anything like it did.
    let mut last_of: HashMap<(Mark, Option<u16>), usize> = HashMap::new();
    for (place, copies) in found.iter().enumerate() {
        if let Some(at) = copies.first() {
            last_of.insert((arrived[*at].mark(), arrived[*at].segment.ip_id), place);
        }
    }
    for at in (0..arrived.len()).filter(|at| !is_taken[*at]).collect::<Vec<_>>() {
        if let Some(place) = last_of.get(&(arrived[at].mark(), arrived[at].segment.ip_id)) {
            is_taken[at] = true;
            found[*place].push(at);
        }
    }
    let last_sent = (0..sent.len()).rev().find(|place| !found[*place].is_empty());
    let mut passages = Vec::with_capacity(sent.len());
    for (place, of) in sent.iter().enumerate() {
        let copies = &found[place];
        let changed = copies.first().map_or_else(Vec::new, |at| changes(of, &arrived[*at]));
        let fate = match copies.len() {
            0 if last_sent.is_some_and(|last| place < last) => Fate::Lost,
            // Nothing that was sent after it arrived, either: the other capture may have ended before.
            0 => Fate::Unknown,
            1 if changed.contains(&Change::Octets) => Fate::Damaged,
            1 => Fate::Arrived,
            _ => Fate::Duplicated,
        };
        let first = copies.iter().min().copied();
        let is_overtaken = first.is_some_and(|first| {
            // Something sent later arrived earlier.
            found[place + 1..].iter().take(REORDERED).flatten().any(|later| *later < first)
        });
        passages.push(Passage {
            from: side,
            sent: Some(of.segment),
            arrived: copies.iter().map(|at| arrived[*at].segment).collect(),
            seq: of.seq,
            ack: of.ack,
            took: None,
            fate,
            changed,
            is_overtaken,
        });
    }
    for (at, of) in arrived.iter().enumerate().filter(|(at, _)| !is_taken[*at]) {
        // What came before anything that was seen to be sent may have been sent before that capture began.
        let is_early = found.iter().flatten().min().is_none_or(|first| at < *first);
        passages.push(Passage {
            from: side,
            sent: None,
            arrived: vec![of.segment],
            seq: of.seq,
            ack: of.ack,
            took: None,
            fate: if is_early { Fate::Unknown } else { Fate::Injected },
            changed: Vec::new(),
            is_overtaken: false,
        });
    }
    passages
}

/// Whether segments that are alike in all else have the same identification at both ends.
fn keeps_identification(sent: &[Placed], arrived: &[Placed], waiting: &HashMap<Mark, VecDeque<usize>>) -> bool {
    let mut counts = [0usize; 2];
    for of in sent {
        let Some(alike) = waiting.get(&of.mark()).filter(|alike| alike.len() == 1) else { continue };
        let there = arrived[alike[0]].segment.ip_id;
        if of.segment.ip_id.is_some_and(|id| id != 0) && there.is_some() {
            counts[usize::from(there == of.segment.ip_id)] += 1;
        }
    }
    counts[1] > 0 && counts[1] >= counts[0] * 4
}

fn changes(sent: &Placed, arrived: &Placed) -> Vec<Change> {
    let (one, other) = (&sent.segment, &arrived.segment);
    let mut changes = Vec::new();
    let mut note = |is_other: bool, change: Change| changes.extend(is_other.then_some(change));
    note((one.from(), one.to()) != (other.from(), other.to()), Change::Addresses);
    note(sent.ack != arrived.ack, Change::Numbers);
    note(one.options.mss != other.options.mss, Change::Mss(one.options.mss, other.options.mss));
    let scales = (one.options.window_scale, other.options.window_scale);
    note(scales.0 != scales.1, Change::WindowScale(scales.0, scales.1));
    note(one.options.sack_permitted != other.options.sack_permitted, Change::SackPermitted);
    note(one.options.timestamps != other.options.timestamps, Change::Timestamps);
    note(one.window != other.window, Change::Window);
    note(one.flags != other.flags, Change::Flags);
    note(sent.hash != arrived.hash, Change::Octets);
    let marks = |segment: &Segment| segment.oddities.contains(Oddities::CONGESTION_EXPERIENCED);
    note(marks(one) != marks(other), Change::Congestion);
    changes
}

/// The time that it took, by the difference of both clocks.
fn difference(passage: &Passage) -> Option<(Timestamp, Span)> {
    let sent = passage.sent.as_ref()?.at?;
    let arrived = passage.arrived.first()?.at?;
    // By the client's clock.
    let when = if passage.from == Side::Client { sent } else { arrived };
    Some((when, arrived.since(sent)))
}

fn estimate(passages: &[Passage]) -> Option<Clocks> {
    let of = |side: Side| -> Vec<(Timestamp, Span)> {
        passages.iter().filter(|passage| passage.from == side).filter_map(difference).collect()
    };
    Clocks::of(&of(Side::Client), &of(Side::Server))
}

fn took(passage: &Passage, clocks: &Clocks) -> Option<Span> {
    let (sent, arrived) = (passage.sent.as_ref()?.at?, passage.arrived.first()?.at?);
    Some(match passage.from {
        Side::Client => clocks.to_clients(arrived).since(sent),
        Side::Server => arrived.since(clocks.to_clients(sent)),
    })
}

/// How many segments that were sent after one are looked at for one that arrived before it.
const REORDERED: usize = 128;
