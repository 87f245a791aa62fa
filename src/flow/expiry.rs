//! When connections leave the table: those that are over and quiet, and one of too many.

use super::attempt::NONE;
use super::common::Common;
use super::ended::Lots;
use super::entry::Entry;
use super::flows::Flows;
use crate::time::Timestamp;

impl<K: Lots> Flows<K> {
    pub(super) fn wait_for_late(&mut self, slot: u32, id: u64, common: &mut Common) {
        self.over.push_back((slot, id));
        while self.over.len() > common.limits.over {
            let Some((slot, id)) = self.over.pop_front() else { return };
            if let Some((soon, _)) = self.over.get(2 * SOON) {
                self.records.prefetch(*soon);
            }
            if let Some((soon, _)) = self.over.get(SOON) {
                let hash = common.finder.hash_one(self.records.at(*soon).key);
                std::hint::black_box(self.likely(hash));
                common.past.prefetch(hash);
            }
            if self.records.at(slot).is(id) {
                self.end(slot, common);
            }
        }
    }

    /// Takes out what was quiet for long enough.
    pub(super) fn end_quiet(&mut self, now: Timestamp, common: &mut Common) {
        while let Some(&(slot, id)) = self.over.front() {
            let record = self.records.at(slot);
            let is_there = record.is(id);
            if is_there && !common.is_quiet(now, record.last_at()) {
                break;
            }
            self.over.pop_front();
            if is_there {
                self.end(slot, common);
            }
        }
        while self.row[0] != NONE && common.is_quiet(now, self.attempts.at(self.row[0]).at()) {
            self.end_oldest_attempt(common);
        }
    }

    /// Lets go of a connection when there are more open ones than there may be.
    pub(super) fn keep_within(&mut self, common: &mut Common) {
        if self.records.len() - self.over.len().min(self.records.len()) <= common.limits.open {
            return;
        }
        let slots = self.records.slots();
        let mut quietest: Option<(Option<Timestamp>, u32)> = None;
        for _ in 0..LOOKED_AT.min(slots) {
            self.hand = (self.hand + 1) % slots;
            let record = self.records.at(self.hand);
            if record.is_empty() || record.is_over() {
                continue;
            }
            let found = (record.last_at(), self.hand);
            if quietest.is_none_or(|quietest| found.0 < quietest.0) {
                quietest = Some(found);
            }
        }
        if let Some((_, slot)) = quietest {
            common.tally.let_go += 1;
            self.end(slot, common);
        }
    }

    /// Takes out a record.
    pub(super) fn end(&mut self, slot: u32, common: &mut Common) {
        let record = self.records.take(slot);
        let hash = common.finder.hash_one(record.key);
        if let Ok(entry) = self.index.find_entry(hash, |entry| *entry == Entry(slot)) {
            entry.remove();
        }
        common.past.remember(hash);
        common.end(record);
    }

    /// Makes room for findings and holes, those of the connection in `slot` having grown: what is over is told, or else one is let go.
    #[cold]
    pub(super) fn make_room(&mut self, slot: u32, common: &mut Common) {
        while common.extra > common.limits.octets {
            let Some((slot, id)) = self.over.pop_front() else { break };
            if self.records.at(slot).is(id) {
                self.end(slot, common);
            }
        }
        if common.extra <= common.limits.octets || self.records.at(slot).is_empty() {
            return;
        }
        let slots = self.records.slots();
        let mut quietest = (self.records.at(slot).last_at(), slot);
        for _ in 0..LOOKED_AT.min(slots) {
            self.hand = (self.hand + 1) % slots;
            let record = self.records.at(self.hand);
            if record.weight() > 0 && !record.is_empty() {
                quietest = quietest.min((record.last_at(), self.hand));
            }
        }
        common.tally.let_go += 1;
        self.end(quietest.1, common);
    }
}

/// How long before it is taken out a connection is fetched.
const SOON: usize = 4;
/// How many connections are looked at to find one to let go.
const LOOKED_AT: u32 = 16;
