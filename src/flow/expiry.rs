//! When connections leave the table: those that are closed and quiet, and one of too many.

use super::attempt::NONE;
use super::ended::Family;
use super::entry::{Entry, Found};
use super::flows::Flows;
use super::ledger::Ledger;
use crate::time::Timestamp;

impl<K: Family> Flows<K> {
    pub(super) fn wait_for_late(&mut self, slot: u32, id: u64, ledger: &mut Ledger) {
        self.closed.push_back((slot, id));
        while self.closed.len() > ledger.limits.closed {
            let Some((slot, id)) = self.closed.pop_front() else { return };
            if let Some((soon, _)) = self.closed.get(2 * SOON) {
                self.records.prefetch(*soon);
            }
            if let Some((soon, _)) = self.closed.get(SOON) {
                let hash = ledger.finder.hash_one(self.records.at(*soon).key);
                std::hint::black_box(self.likely(hash));
                ledger.recently_closed.prefetch(hash);
            }
            if self.records.at(slot).is(id) {
                self.end(slot, ledger);
            }
        }
    }

    /// Takes out what was quiet for long enough.
    pub(super) fn end_quiet(&mut self, now: Timestamp, ledger: &mut Ledger) {
        while let Some(&(slot, id)) = self.closed.front() {
            let record = self.records.at(slot);
            let is_there = record.is(id);
            if is_there && !ledger.is_quiet(now, record.last_at()) {
                break;
            }
            self.closed.pop_front();
            if is_there {
                self.end(slot, ledger);
            }
        }
        while self.lru[0] != NONE && ledger.is_quiet(now, self.attempts.at(self.lru[0]).at()) {
            self.end_oldest_attempt(ledger);
        }
    }

    /// Evicts a connection when there are more open ones than there may be.
    pub(super) fn keep_within(&mut self, ledger: &mut Ledger) {
        if self.records.len() - self.closed.len().min(self.records.len()) <= ledger.limits.open {
            return;
        }
        let slots = self.records.slots();
        let mut quietest: Option<(Option<Timestamp>, u32)> = None;
        for _ in 0..LOOKED_AT.min(slots) {
            self.clock_hand = (self.clock_hand + 1) % slots;
            let record = self.records.at(self.clock_hand);
            if record.is_empty() || record.is_closed() {
                continue;
            }
            let found = (record.last_at(), self.clock_hand);
            if quietest.is_none_or(|quietest| found.0 < quietest.0) {
                quietest = Some(found);
            }
        }
        if let Some((_, slot)) = quietest {
            ledger.tally.evicted += 1;
            self.end(slot, ledger);
        }
    }

    /// Takes out the connection of a key, if it has a record and segments of its own.
    pub(super) fn give_up(&mut self, key: K, ledger: &mut Ledger) {
        let found = self.find(ledger.finder.hash_one(key), key).map(Entry::found);
        if let Some(Found::Record(slot)) = found
            && !self.records.at(slot).is_empty()
        {
            self.end(slot, ledger);
        }
    }

    /// Takes out a record.
    pub(super) fn end(&mut self, slot: u32, ledger: &mut Ledger) {
        let record = self.records.take(slot);
        let hash = ledger.finder.hash_one(record.key);
        if let Ok(entry) = self.index.find_entry(hash, |entry| *entry == Entry(slot)) {
            entry.remove();
        }
        ledger.recently_closed.remember(hash);
        ledger.end(record);
    }

    /// Makes room for findings and holes, those of the connection in `slot` having grown: what is closed is emitted, or else one is evicted.
    #[cold]
    pub(super) fn make_room(&mut self, slot: u32, ledger: &mut Ledger) {
        while ledger.extra > ledger.limits.octets {
            let Some((slot, id)) = self.closed.pop_front() else { break };
            if self.records.at(slot).is(id) {
                self.end(slot, ledger);
            }
        }
        if ledger.extra <= ledger.limits.octets || self.records.at(slot).is_empty() {
            return;
        }
        let slots = self.records.slots();
        let mut quietest = (self.records.at(slot).last_at(), slot);
        for _ in 0..LOOKED_AT.min(slots) {
            self.clock_hand = (self.clock_hand + 1) % slots;
            let record = self.records.at(self.clock_hand);
            if record.weight() > 0 && !record.is_empty() {
                quietest = quietest.min((record.last_at(), self.clock_hand));
            }
        }
        ledger.tally.evicted += 1;
        self.end(quietest.1, ledger);
    }
}

/// How long before it is taken out a connection is fetched.
const SOON: usize = 4;
/// How many connections are looked at to find one to evict.
const LOOKED_AT: u32 = 16;
