//! Segments that were sent in an earlier connection between the same ends, and came once more in a later one.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::connections::Taken;
use super::digest::{Compared, mix};
use super::{Fate, Pair};
use crate::flow::Side;

/// What is the same of a segment and its copy: its ends, and all that tells it from others.
type Mark = (SocketAddr, SocketAddr, u64);

/// Tells of what arrived and was not seen to be sent whether the same had come, or had been sent, in an earlier connection: then it is a late copy.
///
/// Octets and timestamps are compared as far as they were captured; without either, numbers alone do not say it.
pub(super) fn tell_repeated(pairs: &mut [Pair]) {
    let mut wanted: HashMap<Mark, Option<u64>> = HashMap::new();
    let of_copies = |pair: &Pair| -> Vec<(usize, Mark)> {
        let passages = pair.passages.iter().enumerate();
        let unsent = passages.filter(|(_, passage)| passage.fate == Fate::Unknown && passage.sent.is_none());
        let marked = unsent.filter_map(|(place, passage)| {
            let taken = pair.at(passage.from.peer()).segments.get(passage.arrived? as usize)?;
            Some((place, mark(taken)?))
        });
        marked.collect()
    };
    for pair in pairs.iter() {
        wanted.extend(of_copies(pair).into_iter().map(|(_, mark)| (mark, None)));
    }
    if wanted.is_empty() {
        return;
    }
    for pair in pairs {
        for (place, mark) in of_copies(pair) {
            let Some(Some(frame)) = wanted.get(&mark) else { continue };
            let passage = &mut pair.passages[place];
            (passage.fate, passage.repeats) = (Fate::Injected, Some(*frame));
        }
        // Pairs are in the order in which they began: those to come are later.
        for side in [Side::Client, Side::Server] {
            for taken in pair.at(side).segments.iter().filter(|taken| taken.from != side) {
                if let Some(known) = mark(taken).and_then(|mark| wanted.get_mut(&mark)) {
                    known.get_or_insert(taken.segment.frame);
                }
            }
        }
    }
}

fn mark(taken: &Taken) -> Option<Mark> {
    let segment = &taken.segment;
    let stamps = segment.options.timestamps;
    if stamps.is_none() && segment.len == 0 {
        return None;
    }
    let (value, echo) = stamps.map_or((0, 0), |(value, echo)| (u64::from(value), u64::from(echo)));
    let numbers = u64::from(segment.seq.0) << 32 | u64::from(segment.ack.0);
    let shape = u64::from(segment.len) << 32 | u64::from(segment.flags.bits());
    let all = [shape, value << 32 | echo, taken.digest.compared(Compared::Whole)];
    Some((segment.from(), segment.to(), all.into_iter().fold(numbers, mix)))
}
