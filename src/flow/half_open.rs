//! Connections of which one SYN was seen so far: their row from the oldest to the youngest, and how they grow.

use super::Step;
use super::attempt::{Attempt, NONE};
use super::bundle::{AT_ONCE, Finder};
use super::common::Common;
use super::ended::Lots;
use super::entry::Entry;
use super::flows::Flows;
use super::key::Place;
use super::record::Record;
use crate::tcp::Finding;
use crate::wire::Segment;

impl<K: Lots> Flows<K> {
    /// A segment of a connection of which only one SYN was seen so far.
    pub(super) fn grow(&mut self, slot: u32, hash: u64, from: Place, segment: &Segment, common: &mut Common) -> Step {
        let attempt = self.attempts.at(slot);
        let key = attempt.key;
        let step = if attempt.is_outlived_by(from, segment) {
            let record = Record::new(key, from, common.next_id(), segment);
            let grown = self.replace(slot, hash, record, common);
            self.start(grown, from, segment, &[Finding::PortReuse], common)
        } else {
            let grown = self.promote(slot, hash, common);
            self.follow(grown, key, from, segment, common)
        };
        self.keep_within(common);
        step
    }

    /// Gives an attempt a record in which its SYN has been followed.
    pub(super) fn promote(&mut self, slot: u32, hash: u64, common: &mut Common) -> u32 {
        let attempt = self.leave_row(slot);
        let syn = attempt.segment();
        let mut record = Record::new(attempt.key, attempt.from(), attempt.id, &syn);
        record.observe(attempt.from(), &syn, Some(&[]), common.findings);
        common.weigh(&mut record);
        self.put_instead(slot, hash, record)
    }

    /// Takes an attempt out, to be told, and puts the record of another connection into its place.
    pub(super) fn replace(&mut self, slot: u32, hash: u64, record: Record<K>, common: &mut Common) -> u32 {
        common.ended.add_attempt(self.leave_row(slot));
        self.put_instead(slot, hash, record)
    }

    pub(super) fn put_instead(&mut self, slot: u32, hash: u64, record: Record<K>) -> u32 {
        let grown = self.records.insert(record);
        if let Some(entry) = self.index.find_mut(hash, |entry| *entry == Entry::attempt(slot)) {
            *entry = Entry(grown);
        }
        grown
    }

    /// Lets go of the oldest attempts, several at a time so that the waits for memory overlap.
    pub(super) fn let_go_of_attempts(&mut self, common: &mut Common) {
        let (mut slot, mut touched) = (self.row[0], 0);
        for _ in 0..AT_ONCE {
            if slot == NONE {
                break;
            }
            let attempt = self.attempts.at(slot);
            let hash = common.finder.hash_one(attempt.key);
            touched ^= u32::from(self.likely(hash).is_some()) ^ u32::from(common.past.holds(hash));
            slot = attempt.neighbours[1];
        }
        std::hint::black_box(touched);
        while self.attempts.len() > common.limits.asked {
            common.tally.let_go += 1;
            self.end_oldest_attempt(common);
        }
    }

    pub(super) fn end_oldest_attempt(&mut self, common: &mut Common) {
        let slot = self.row[0];
        let hash = common.finder.hash_one(self.attempts.at(slot).key);
        if let Ok(entry) = self.index.find_entry(hash, |entry| *entry == Entry::attempt(slot)) {
            entry.remove();
        }
        common.past.remember(hash);
        common.ended.add_attempt(self.leave_row(slot));
    }

    /// Puts an attempt at the end of the row, the youngest.
    pub(super) fn line_up(&mut self, hash: u64, mut attempt: Attempt<K>, finder: &Finder) {
        attempt.neighbours = [self.row[1], NONE];
        let slot = self.attempts.insert(attempt);
        match self.row[1] {
            NONE => self.row[0] = slot,
            last => self.attempts.at_mut(last).neighbours[1] = slot,
        }
        self.row[1] = slot;
        self.enter(hash, Entry::attempt(slot), finder);
    }

    pub(super) fn leave_row(&mut self, slot: u32) -> Attempt<K> {
        let attempt = self.attempts.take(slot);
        let [before, after] = attempt.neighbours;
        match before {
            NONE => self.row[0] = after,
            before => self.attempts.at_mut(before).neighbours[1] = after,
        }
        match after {
            NONE => self.row[1] = before,
            after => self.attempts.at_mut(after).neighbours[0] = before,
        }
        attempt
    }
}
