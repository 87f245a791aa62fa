//! Which segment of one direction, as it was captured at its sender's end, is which of its receiver's end.

use super::changes::Change;
use super::connections::Captured;
use super::digest::Compared;
use super::join::{Found, captured_twice};
use super::pieces::{Piece, pieces};
use super::placed::{Bases, Placed};
use super::{Fate, FoundBy, Pair, Passage};
use crate::flow::Side;

/// Pairs the segments of a connection. What did not arrive and what was not sent is [`Fate::Unknown`] yet.
pub(super) fn pair_segments(at_client: Captured, at_server: Captured, found_by: FoundBy) -> Pair {
    let [here, there] = Bases::of(&at_client, &at_server, found_by);
    let how = compared(&at_client, &at_server);
    let (mut passages, mut captured_twice) = (Vec::new(), [at_client.twice, at_server.twice]);
    for side in [Side::Client, Side::Server] {
        let (ours, theirs) = (here.place(&at_client, side), there.place(&at_server, side));
        let (sent, arrived) = if side == Side::Client { (&ours, &theirs) } else { (&theirs, &ours) };
        captured_twice[side as usize] += direction(side, sent, arrived, how, &mut passages);
    }
    Pair { at_client, at_server, found_by, clocks: None, passages, captured_twice }
}

/// How much of the octets of both was captured.
fn compared(here: &Captured, there: &Captured) -> Compared {
    let has_heads = |of: &Captured| of.segments.iter().all(|taken| taken.digest.has_head(taken.segment.len));
    match () {
        () if !here.is_cut() && !there.is_cut() => Compared::Whole,
        () if has_heads(here) && has_heads(there) => Compared::Head,
        () => Compared::Nothing,
    }
}

/// Pairs those of one direction; how many the sender's capture has twice.
fn direction(
    side: Side,
    sent: &[Placed<'_>],
    arrived: &[Placed<'_>],
    how: Compared,
    passages: &mut Vec<Passage>,
) -> u32 {
    let mut found = Found::new(captured_twice(sent, |placed| placed.mark(how)), arrived.len());
    found.join(sent, arrived, |placed| placed.mark(how), true);
    // What was changed on the way is alike in outline.
    found.join(sent, arrived, |placed| placed.outline(), false);
    let pieces = pieces(&mut found, sent, arrived);
    found.copies.sort_unstable();

    let usual = usual_translation(&found, sent, arrived, how);
    let begin = passages.len();
    let (mut copies, mut parts) = (found.copies.iter().peekable(), Parts::of(pieces));
    for (place, of) in sent.iter().enumerate().filter(|(place, _)| !found.twice[*place]) {
        if let Some(parts) = parts.take(place as u32) {
            let of_part = |part| of_part(side, part, of, arrived, how);
            passages.extend(
                parts
                    .into_iter()
                    .map(of_part)
                    .map(|part| Passage { is_open: part.arrived.is_none() && found.is_open, ..part }),
            );
            continue;
        }
        let first = found.of_sent[place];
        let mut again = Vec::new();
        while let Some((_, at)) = copies.next_if(|(one, _)| *one as usize == place) {
            again.push(*at);
        }
        let changed = first.map_or_else(Vec::new, |at| Change::all(of, &arrived[at as usize], how, false));
        // The first one in time is the first, whichever of those that are alike it was joined with.
        let mut all: Vec<u32> = first.into_iter().chain(again).collect();
        all.sort_unstable();
        // Who changes a segment and means it changes the checksum with it.
        let is_damaged = |at: u32| {
            usual.is_some_and(|usual| usual == translation(of, &arrived[at as usize]))
                && changed.iter().any(|change| !matches!(change, Change::Addresses | Change::Congestion))
        };
        let fate = match (first, all.len()) {
            (None, _) => Fate::Unknown,
            (Some(at), 1) if is_damaged(at) => Fate::Damaged,
            (Some(_), 1) => Fate::Arrived,
            (Some(_), _) => Fate::Duplicated,
        };
        let mut all = all.into_iter().map(|at| arrived[at as usize].place);
        passages.push(Passage {
            sent: Some(of.place),
            arrived: all.next(),
            copies: all.collect(),
            fate,
            changed,
            is_open: first.is_none() && found.is_open,
            ..blank(side, of)
        });
    }
    mark_overtaken(&mut passages[begin..]);
    let is_free = |place: &usize| found.of_arrived[*place].is_none();
    for of in (0..arrived.len()).filter(is_free).map(|place| &arrived[place]) {
        passages.push(Passage { arrived: Some(of.place), is_open: found.is_open, ..blank(side, of) });
    }
    found.twice.iter().filter(|twice| **twice).count() as u32
}

/// By how much the checksum of a segment is another when it arrives, in one's complement: a translator of addresses adds the same to each.
fn translation(sent: &Placed<'_>, arrived: &Placed<'_>) -> u16 {
    let sum = u32::from(arrived.taken.segment.checksum) + u32::from(!sent.taken.segment.checksum);
    let sum = (sum & 0xffff) + (sum >> 16);
    // Both are zero.
    if sum == 0xffff { 0 } else { sum as u16 }
}

/// What it is of segments that arrived as they were sent; `None` where they differ in it, because the sender's interface filled the checksum in
/// after the capture.
fn usual_translation(found: &Found, sent: &[Placed<'_>], arrived: &[Placed<'_>], how: Compared) -> Option<u16> {
    let pairs = sent.iter().zip(&found.of_sent).filter_map(|(of, at)| Some((of, &arrived[(*at)? as usize])));
    let mut unchanged = pairs
        .filter(|(of, at)| Change::all(of, at, how, false).iter().all(|change| *change == Change::Addresses))
        .map(|(of, at)| translation(of, at))
        .take(COMPARED);
    let first = unchanged.next()?;
    unchanged.all(|other| other == first).then_some(first)
}

fn blank(from: Side, of: &Placed<'_>) -> Passage {
    Passage {
        from,
        sent: None,
        arrived: None,
        copies: Vec::new(),
        seq: of.seq,
        ack: of.ack,
        octets: of.taken.segment.len,
        took: None,
        held_up: None,
        fate: Fate::Unknown,
        changed: Vec::new(),
        is_overtaken: false,
        is_lost_behind: false,
        repeats: None,
        is_open: false,
    }
}

fn of_part(side: Side, part: Piece, of: &Placed<'_>, arrived: &[Placed<'_>], how: Compared) -> Passage {
    let changed = part.arrived.map_or_else(Vec::new, |at| Change::all(of, &arrived[at as usize], how, true));
    let fate = match (part.arrived, part.copies.len()) {
        (None, _) => Fate::Unknown,
        (Some(_), 0) => Fate::Arrived,
        (Some(_), _) => Fate::Duplicated,
    };
    let place = |at: u32| arrived[at as usize].place;
    Passage {
        sent: Some(of.place),
        arrived: part.arrived.map(place),
        copies: part.copies.into_iter().map(place).collect(),
        seq: part.from,
        octets: (part.to - part.from) as u32,
        fate,
        changed,
        ..blank(side, of)
    }
}

/// Marks those that arrived after something that was sent later.
fn mark_overtaken(passages: &mut [Passage]) {
    let mut earliest = u32::MAX;
    for passage in passages.iter_mut().rev() {
        if let Some(at) = passage.arrived {
            passage.is_overtaken = earliest < at;
            earliest = earliest.min(at);
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
        let mut parts = Vec::new();
        while let Some(part) = self.all.next_if(|part| part.sent <= sent) {
            parts.push(part);
        }
        (!parts.is_empty()).then_some(parts)
    }
}

/// How many checksums are compared.
const COMPARED: usize = 16;
