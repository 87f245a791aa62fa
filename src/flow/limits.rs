//! What a table of connections keeps at most, and what it counted.

use super::attempt::Attempt;
use super::entry::Entry;
use super::key::{Key4, Key6};
use super::record::Record;
use crate::time::Span;

/// When a connection is emitted before the capture ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A closed connection (both FINs or a RST seen), or one of which only one SYN was seen, is emitted when it was quiet for so long, by the capture's own time.
    pub linger: Span,
    /// At most so many closed ones are kept for late segments; beyond that the one that was closed first is emitted.
    pub closed: usize,
    /// At most so many of which only one SYN was seen are kept, or a few more; beyond that the oldest are evicted.
    pub half_open: usize,
    /// At most so many others are kept; beyond that one is evicted: of sixteen that are looked at in turn, the one that was quiet for longest.
    pub open: usize,
    /// At most so many findings of each connection are kept; the others are counted.
    pub findings: usize,
    /// So many octets at most are for findings, and for the holes in streams, of all connections together.
    ///
    /// When three quarters are taken, connections keep no more than four further findings each, and the others are counted.
    /// When all are, one closed connection is emitted, or else one is evicted: of seventeen that are looked at, the one with findings or holes that was quiet for longest.
    pub octets: usize,
}

impl Limits {
    /// The default limits, or smaller ones where all connections together are to take no more than so many octets, or a few more.
    pub fn within(octets: u64) -> Self {
        let usual = Self::default();
        let fit = |share: u64, size: usize| usize::try_from(share / size as u64).unwrap_or(usize::MAX);
        // Each with its entry in the index, of which there is a larger one while it grows.
        let index = 4 * size_of::<Entry>();
        Self {
            closed: usual.closed.min(fit(octets / 16, size_of::<Record<Key6>>() + index)),
            open: usual.open.min(fit(octets / 16 * 5, size_of::<Record<Key6>>() + index)),
            half_open: usual.half_open.min(fit(octets / 8, size_of::<Attempt<Key4>>() + index)),
            octets: usual.octets.min(usize::try_from(octets / 8 * 3).unwrap_or(usize::MAX)),
            ..usual
        }
    }
}

/// One hour; 16,384 closed, 2,097,152 half open, 1,048,576 others; a hundred findings; 600 MB.
impl Default for Limits {
    fn default() -> Self {
        Self {
            linger: Span::from_millis(3_600_000),
            closed: 1 << 14,
            half_open: 1 << 21,
            open: 1 << 20,
            findings: 100,
            octets: 600_000_000,
        }
    }
}

/// What a table counted over its whole life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Connections opened.
    pub connections: u64,
    /// Segments that came after their connection had been emitted.
    pub late_segments: u64,
    /// Connections that were emitted before they were closed, because there were too many.
    pub evicted: u64,
    /// Findings of those emitted so far that were counted and not kept, because there were too many.
    pub omitted: u64,
    /// Numbers given: those of the connections, and of those that nothing but ICMP errors quoted.
    pub numbers: u64,
}
