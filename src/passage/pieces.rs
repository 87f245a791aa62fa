//! What one capture has as one segment and the other as several: offload cuts what a sender captured as a whole, or puts together what a receiver captures.

use super::join::Found;
use super::placed::{Placed, Row};

/// A part of a segment that was sent, which arrived as a part of another one: their places among those of their direction, and its octets.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Piece {
    pub(super) sent: u32,
    /// `None`: it did not arrive.
    pub(super) arrived: Option<u32>,
    pub(super) from: i64,
    pub(super) to: i64,
    /// Those that came once more.
    pub(super) copies: Vec<u32>,
}

/// Finds them among those with octets that are not joined yet; each of those that has a piece is marked as joined.
pub(super) fn pieces(found: &mut Found, sent: Row<'_>, arrived: Row<'_>) -> Vec<Piece> {
    if !found.is_any_left() {
        return Vec::new();
    }
    let span = |placed: &Placed<'_>| (placed.data(), placed.data().saturating_add(placed.taken.len.into()));
    let mut wholes = Vec::new();
    for (place, of) in sent.iter().enumerate() {
        if found.of_sent(place).is_none() && !found.is_twice(place) && of.taken.len > 0 {
            let (from, to) = span(&of);
            wholes.push(Whole { place: place as u32, from, to, pieces: Vec::new() });
        }
    }
    if wholes.is_empty() {
        return Vec::new();
    }
    wholes.sort_by_key(|whole| (whole.from, whole.place));
    let longest = wholes.iter().map(|whole| whole.to - whole.from).max().unwrap_or(0);
    for (at, of) in arrived.iter().enumerate() {
        let len = of.taken.len;
        if found.is_known(at) || len == 0 {
            continue;
        }
        let (mut from, to) = span(&of);
        while from < to {
            let begin = wholes.partition_point(|whole| whole.from < from.saturating_sub(longest));
            let around = || begin..wholes.len().min(begin + LOOKED_AT);
            let is_around = |whole: &Whole| {
                // One of the same length that is not the same is no part of it.
                let another = i64::from(len) != whole.to - whole.from;
                let same_clock = sent.at(whole.place).taken.stamp() == of.taken.stamp();
                another && same_clock && whole.from <= from && from < whole.to
            };
            // Of several the one that was sent first, and has not arrived yet.
            let fits = |place: &usize| is_around(&wholes[*place]) && !wholes[*place].has(from);
            let first = around().filter(fits).min_by_key(|place| wholes[*place].place);
            let again = || around().find(|place| is_around(&wholes[*place]) && wholes[*place].has(from));
            let Some(place) = first.or_else(again) else {
                // One that begins after it is no whole of it.
                let beyond = around().end;
                found.is_open |= wholes.get(beyond).is_some_and(|whole| whole.from <= from);
                break;
            };
            let whole = &mut wholes[place];
            let end = match first {
                Some(_) => whole.add(from, to, at as u32),
                None => whole.repeat(from, at as u32),
            };
            found.part(whole.place, at as u32);
            from = end;
        }
    }
    let mut all = Vec::new();
    for whole in wholes.into_iter().filter(|whole| !whole.pieces.is_empty()) {
        let (sent, mut next) = (whole.place, whole.from);
        for part in whole.pieces {
            if next < part.from {
                all.push(Piece { sent, arrived: None, from: next, to: part.from, copies: Vec::new() });
            }
            next = part.to;
            all.push(Piece { sent, arrived: Some(part.at), from: part.from, to: part.to, copies: part.copies });
        }
        if next < whole.to {
            all.push(Piece { sent, arrived: None, from: next, to: whole.to, copies: Vec::new() });
        }
    }
    all
}

/// A segment that was sent, and the parts of it that arrived, in the order of their octets.
struct Whole {
    place: u32,
    from: i64,
    to: i64,
    pieces: Vec<Part>,
}

struct Part {
    from: i64,
    to: i64,
    at: u32,
    copies: Vec<u32>,
}

impl Whole {
    /// How many of its parts begin at that number or before.
    fn before(&self, from: i64) -> usize {
        self.pieces.partition_point(|part| part.from <= from)
    }

    /// Whether that octet has arrived.
    fn has(&self, octet: i64) -> bool {
        self.before(octet).checked_sub(1).is_some_and(|place| octet < self.pieces[place].to)
    }

    /// Takes in what arrived, up to where another part begins; where that is.
    fn add(&mut self, from: i64, to: i64, at: u32) -> i64 {
        let place = self.before(from);
        let end = self.pieces.get(place).map_or(self.to, |next| next.from).min(to);
        self.pieces.insert(place, Part { from, to: end, at, copies: Vec::new() });
        end
    }

    /// Takes in what arrived before; up to where.
    fn repeat(&mut self, from: i64, at: u32) -> i64 {
        let place = self.before(from).saturating_sub(1);
        let part = &mut self.pieces[place];
        part.copies.push(at);
        part.to
    }
}

/// How many segments are looked at for one that arrived.
pub(super) const LOOKED_AT: usize = 256;
