//! Segments that were sent in an earlier connection between the same ends, and came once more in a later one.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

use super::connections::Captured;
use super::digest::{Compared, mix};
use super::passages::Passage;
use super::taken::Taken;
use super::{Fate, Pair};
use crate::flow::{Ends, Side};

/// What is the same of a segment and its copy: its ends, and all that tells it from others.
type Mark = (SocketAddr, SocketAddr, u64);

/// Tells of what arrived and was not seen to be sent whether the same had come, or had been sent, in an earlier connection: then it is a late copy.
///
/// Octets and timestamps are compared as far as they were captured; without either, numbers alone do not say it.
pub(super) fn tell_repeated(pairs: &mut [Pair]) {
    let mut wanted: HashMap<Mark, Option<u64>> = HashMap::new();
    let mut between: HashSet<Ends> = HashSet::new();
    for pair in pairs.iter().filter(|pair| pair.has_unsent) {
        let copies = copies(pair);
        if !copies.is_empty() {
            between.extend([&pair.at_client, &pair.at_server].map(|captured| Ends::between(captured.ends)));
            wanted.extend(copies.into_iter().map(|(_, mark)| (mark, None)));
        }
    }
    if wanted.is_empty() {
        return;
    }
    let is_between = |captured: &Captured| between.contains(&Ends::between(captured.ends));
    for pair in pairs.iter_mut().filter(|pair| is_between(&pair.at_client) || is_between(&pair.at_server)) {
        for (place, mark) in copies(pair) {
            let Some(Some(frame)) = wanted.get(&mark) else { continue };
            pair.passages[place].fate = Fate::Injected;
            pair.extra_of(place).repeats = Some(*frame);
        }
        // Pairs are in the order in which they began: those to come are later.
        for side in [Side::Client, Side::Server] {
            let captured = pair.at(side);
            for taken in captured.segments.iter().filter(|taken| taken.from() != side) {
                let mark = mark(captured.ends, taken);
                if let Some(known) = mark.and_then(|mark| wanted.get_mut(&mark)) {
                    known.get_or_insert(taken.frame());
                }
            }
        }
    }
}

/// What may be a late copy, by its place among the passages.
fn copies(pair: &Pair) -> Vec<(usize, Mark)> {
    let is_unsent = |passage: &Passage| passage.fate == Fate::Unknown && passage.sent_at().is_none();
    let unsent = pair.passages.iter().enumerate().filter(|(_, passage)| is_unsent(passage));
    let marked = unsent.filter_map(|(place, passage)| {
        let ends = pair.at(passage.from.peer()).ends;
        Some((place, mark(ends, pair.first_arrived(passage)?)?))
    });
    marked.collect()
}

fn mark(ends: [SocketAddr; 2], taken: &Taken) -> Option<Mark> {
    let stamps = taken.timestamps();
    if stamps.is_none() && taken.len == 0 {
        return None;
    }
    let [value, echo] = stamps.unwrap_or_default().map(u64::from);
    let numbers = u64::from(taken.seq.0) << 32 | u64::from(taken.ack.0);
    let shape = u64::from(taken.len) << 32 | u64::from(taken.flags.bits());
    let all = [shape, value << 32 | echo, taken.digest(Compared::Whole)];
    let from = taken.from();
    Some((ends[from as usize], ends[from.peer() as usize], all.into_iter().fold(numbers, mix)))
}
