//! Connections of which one SYN was seen so far: their list from the oldest to the youngest, and how they grow.

use super::Reply;
use super::attempt::{Attempt, NONE};
use super::bundle::{AT_ONCE, Finder};
use super::ended::Family;
use super::entry::Entry;
use super::flows::Flows;
use super::key::KeySide;
use super::ledger::Ledger;
use super::record::Record;
use crate::tcp::Finding;
use crate::wire::Segment;

impl<K: Family> Flows<K> {
    /// A segment of a connection of which only one SYN was seen so far.
    pub(super) fn grow<A: Reply>(
        &mut self,
        slot: u32,
        hash: u64,
        from: KeySide,
        segment: &Segment,
        ledger: &mut Ledger,
    ) -> A {
        let attempt = self.attempts.at(slot);
        let key = attempt.key;
        let answer = if attempt.is_outlived_by(from, segment) {
            let record = Record::new(key, from, ledger.next_id(), segment);
            let grown = self.replace(slot, hash, record, ledger);
            self.start(grown, from, segment, &[Finding::PortReuse], ledger)
        } else {
            let grown = self.promote(slot, hash, ledger);
            self.follow(grown, key, from, segment, ledger)
        };
        self.keep_within(ledger);
        answer
    }

    /// Gives an attempt a record in which its SYN has been followed.
    pub(super) fn promote(&mut self, slot: u32, hash: u64, ledger: &mut Ledger) -> u32 {
        let attempt = self.leave_lru(slot);
        let syn = attempt.segment();
        let mut record = Record::new(attempt.key, attempt.from(), attempt.id, &syn);
        let (_, ()) = record.observe(attempt.from(), &syn, Some(&[]), ledger.findings);
        ledger.weigh(&mut record);
        self.put_instead(slot, hash, record)
    }

    /// Takes an attempt out, to be emitted, and puts the record of another connection into its place.
    pub(super) fn replace(&mut self, slot: u32, hash: u64, record: Record<K>, ledger: &mut Ledger) -> u32 {
        ledger.ended.add_attempt(self.leave_lru(slot));
        self.put_instead(slot, hash, record)
    }

    pub(super) fn put_instead(&mut self, slot: u32, hash: u64, record: Record<K>) -> u32 {
        let grown = self.records.insert(record);
        if let Some(entry) = self.index.find_mut(hash, |entry| *entry == Entry::attempt(slot)) {
            *entry = Entry(grown);
        }
        grown
    }

    /// Evicts the oldest attempts, several at a time so that the waits for memory overlap.
    pub(super) fn evict_attempts(&mut self, ledger: &mut Ledger) {
        let (mut slot, mut touched) = (self.lru[0], 0);
        for _ in 0..AT_ONCE {
            if slot == NONE {
                break;
            }
            let attempt = self.attempts.at(slot);
            let hash = ledger.finder.hash_one(attempt.key);
            touched ^= u32::from(self.likely(hash).is_some()) ^ u32::from(ledger.recently_closed.holds(hash));
            slot = attempt.neighbours[1];
        }
        std::hint::black_box(touched);
        while self.attempts.len() > ledger.limits.half_open {
            ledger.tally.evicted += 1;
            self.end_oldest_attempt(ledger);
        }
    }

    pub(super) fn end_oldest_attempt(&mut self, ledger: &mut Ledger) {
        let slot = self.lru[0];
        let hash = ledger.finder.hash_one(self.attempts.at(slot).key);
        if let Ok(entry) = self.index.find_entry(hash, |entry| *entry == Entry::attempt(slot)) {
            entry.remove();
        }
        ledger.recently_closed.remember(hash);
        ledger.ended.add_attempt(self.leave_lru(slot));
    }

    /// Puts an attempt at the end of the list, the youngest.
    pub(super) fn enter_lru(&mut self, hash: u64, mut attempt: Attempt<K>, finder: &Finder) {
        attempt.neighbours = [self.lru[1], NONE];
        let slot = self.attempts.insert(attempt);
        match self.lru[1] {
            NONE => self.lru[0] = slot,
            last => self.attempts.at_mut(last).neighbours[1] = slot,
        }
        self.lru[1] = slot;
        self.enter(hash, Entry::attempt(slot), finder);
    }

    pub(super) fn leave_lru(&mut self, slot: u32) -> Attempt<K> {
        let attempt = self.attempts.take(slot);
        let [before, after] = attempt.neighbours;
        match before {
            NONE => self.lru[0] = after,
            before => self.attempts.at_mut(before).neighbours[1] = after,
        }
        match after {
            NONE => self.lru[1] = before,
            after => self.attempts.at_mut(after).neighbours[0] = before,
        }
        attempt
    }
}
