//! What all passages of one direction come to.

use super::{Fate, Pair};
use crate::time::Span;

/// What the passages of one direction come to.
#[derive(Clone, Copy, Default, Debug)]
pub struct Tally {
    /// How many there are.
    pub passages: usize,
    /// How many arrived, and were lost behind the capture.
    pub lost_behind: usize,
    /// How many were held up.
    pub held_up: usize,
    /// How much longer than the fastest the one took that was held up the most.
    pub longest_held_up: Option<Span>,
    /// How long the fastest took.
    pub fastest: Option<Span>,
    /// Whether a RST was sent.
    pub resets: bool,
    fates: [usize; Fate::KNOWN.len()],
    unknown: usize,
}

impl Tally {
    /// How many had that fate.
    pub fn count(&self, fate: Fate) -> usize {
        if fate == Fate::Unknown { self.unknown } else { self.fates[fate as usize] }
    }
}

impl Pair {
    /// What the passages of each direction come to: the client's, and the server's.
    pub fn tallies(&self) -> [Tally; 2] {
        let mut tallies = [Tally::default(); 2];
        for passage in &self.passages {
            let tally = &mut tallies[passage.from as usize];
            tally.passages += 1;
            tally.lost_behind += usize::from(passage.is_lost_behind());
            tally.resets |= passage.resets();
            match passage.fate {
                Fate::Unknown => tally.unknown += 1,
                fate => tally.fates[fate as usize] += 1,
            }
            if passage.is_held_up() {
                tally.held_up += 1;
                tally.longest_held_up = tally.longest_held_up.max(self.held_up(passage));
            }
        }
        for (tally, fastest) in tallies.iter_mut().zip(self.fastest) {
            tally.fastest = fastest;
        }
        tallies
    }
}
