//! What the connections of both address families have in common: counts, limits, and those that were emitted last.

use super::bundle::Finder;
use super::ended::{Ended, Family};
use super::limits::{Limits, Tally};
use super::record::Record;
use super::slab;
use crate::time::Timestamp;

/// What the connections of both address families have in common.
pub(super) struct Ledger {
    pub(super) finder: Finder,
    pub(super) limits: Limits,
    /// How many findings a connection may keep now.
    pub(super) findings: usize,
    pub(super) tally: Tally,
    /// The number of the next connection.
    pub(super) next: u64,
    /// Connections that are only quoted so far.
    pub(super) quoted: usize,
    /// The time of the last segment that had one.
    pub(super) now: Option<Timestamp>,
    /// How many octets the findings and holes of the connections in the table take.
    pub(super) extra: usize,
    /// Connections that were taken out and not yet emitted.
    pub(super) ended: Ended,
    pub(super) recently_closed: RecentlyClosed,
}

impl Default for Ledger {
    fn default() -> Self {
        Self::new(Limits::default(), Finder::default())
    }
}

impl Ledger {
    pub(super) fn new(limits: Limits, finder: Finder) -> Self {
        Self {
            finder,
            limits,
            findings: limits.findings,
            tally: Tally::default(),
            next: 0,
            quoted: 0,
            now: None,
            extra: 0,
            ended: Ended::default(),
            recently_closed: RecentlyClosed::default(),
        }
    }

    /// Takes note of how much memory a record takes now.
    #[inline]
    pub(super) fn weigh<K: Family>(&mut self, record: &mut Record<K>) {
        let (before, now) = (record.weight(), record.weigh());
        if before != now {
            self.set_extra(self.extra - before + now);
        }
    }

    pub(super) fn set_extra(&mut self, octets: usize) {
        self.extra = octets;
        let is_short = octets > self.limits.octets / 4 * 3;
        self.findings = if is_short { self.limits.findings.min(FEW) } else { self.limits.findings };
    }

    /// Takes note of a record that is in the table no more.
    #[inline]
    pub(super) fn end<K: Family>(&mut self, record: Record<K>) {
        self.set_extra(self.extra - record.weight());
        self.tally.omitted += record.omitted();
        self.ended.add_record(record);
    }

    #[inline]
    pub(super) fn next_id(&mut self) -> u64 {
        self.tally.connections += 1;
        self.next_number()
    }

    #[inline]
    pub(super) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Whether something last seen at `last` was quiet for long enough.
    #[inline]
    pub(super) fn is_quiet(&self, now: Timestamp, last: Option<Timestamp>) -> bool {
        last.is_some_and(|last| now.since(last) > self.limits.linger)
    }
}

/// The connections that were emitted last, by the hashes of their keys: each pushes out another one, now and then.
#[derive(Default)]
pub(super) struct RecentlyClosed {
    hashes: Vec<u64>,
}

impl RecentlyClosed {
    pub(super) fn remember(&mut self, hash: u64) {
        if self.hashes.is_empty() {
            self.hashes = vec![0; REMEMBERED];
        }
        self.hashes[(hash >> 40) as usize % REMEMBERED] = hash;
    }

    /// Has the place of a hash fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        if let Some(place) = self.hashes.get((hash >> 40) as usize % REMEMBERED) {
            slab::prefetch(std::ptr::from_ref(place).cast());
        }
    }

    #[inline]
    pub(super) fn holds(&self, hash: u64) -> bool {
        !self.hashes.is_empty() && self.hashes[(hash >> 40) as usize % REMEMBERED] == hash
    }
}

/// How many findings of a connection are kept where there is little memory left.
const FEW: usize = 4;
/// How many emitted connections are remembered, to know a late segment.
const REMEMBERED: usize = 1 << 16;
