//! The connections of one address family: the index that finds them, and what a segment does there.

use std::collections::VecDeque;

use hashbrown::HashTable;

use super::attempt::{Attempt, NONE};
use super::bundle::{AT_ONCE, Finder};
use super::ended::Family;
use super::entry::{Entry, Found, Left};
use super::key::KeySide;
use super::ledger::Ledger;
use super::record::Record;
use super::slab::Slab;
use super::{Connection, ConnectionId, Reply};
use crate::tcp::Finding;
use crate::time::Timestamp;
use crate::wire::{Flags, IcmpError, Oddities, Segment};

/// The connections of one address family.
pub(super) struct Flows<K> {
    /// Where the connection of each key is, by the key's hash.
    pub(super) index: HashTable<Entry>,
    pub(super) records: Slab<Record<K>>,
    pub(super) attempts: Slab<Attempt<K>>,
    /// The oldest and the youngest attempt.
    pub(super) lru: [u32; 2],
    /// Slots and numbers of closed connections, in the order in which that came about.
    pub(super) closed: VecDeque<(u32, u64)>,
    /// Where the search for the next one to evict goes on.
    pub(super) clock_hand: u32,
    /// Connections that nobody had closed when a SYN opened another one between the same ends, and of which the other end may still know.
    pub(super) half_open: VecDeque<HalfOpen<K>>,
}

/// A connection that one end has no state for any more, as it opens another one (RFC 9293 section 3.5.1).
pub(super) struct HalfOpen<K> {
    pub(super) record: Record<K>,
    /// The number of the other one.
    by: u64,
}

impl<K> Default for Flows<K>
where
    Slab<Record<K>>: Default,
    Slab<Attempt<K>>: Default,
{
    fn default() -> Self {
        Self {
            index: HashTable::new(),
            records: Slab::default(),
            attempts: Slab::default(),
            lru: [NONE; 2],
            closed: VecDeque::new(),
            clock_hand: 0,
            half_open: VecDeque::new(),
        }
    }
}

impl<K: Family> Flows<K> {
    #[inline]
    pub(super) fn observe<A: Reply>(
        &mut self,
        hash: u64,
        key: K,
        from: KeySide,
        segment: &Segment,
        ledger: &mut Ledger,
    ) -> Option<A> {
        ledger.now = segment.at.or(ledger.now);
        let Some(entry) = self.find(hash, key) else {
            return self.open(hash, key, from, segment, ledger);
        };
        match entry.found() {
            Found::Record(slot) => Some(self.follow(slot, key, from, segment, ledger)),
            Found::Attempt(slot) => Some(self.grow(slot, hash, from, segment, ledger)),
        }
    }

    #[inline]
    pub(super) fn find(&self, hash: u64, key: K) -> Option<Entry> {
        let is_it = |entry: &Entry| match entry.found() {
            Found::Record(slot) => self.records.at(slot).key == key,
            Found::Attempt(slot) => self.attempts.at(slot).key == key,
        };
        self.index.find(hash, is_it).copied()
    }

    /// What the index has for a hash, not compared with the key: nearly always the right one.
    #[inline]
    pub(super) fn likely(&self, hash: u64) -> Option<Entry> {
        self.index.find(hash, |_| true).copied()
    }

    /// Has what is most likely the connection with this hash fetched.
    #[inline]
    pub(super) fn prefetch(&self, hash: u64) {
        match self.likely(hash).map(Entry::found) {
            Some(Found::Record(slot)) => self.records.prefetch(slot),
            Some(Found::Attempt(slot)) => self.attempts.prefetch(slot),
            None => {}
        }
    }

    /// A segment of a connection that has a record.
    #[inline(always)]
    pub(super) fn follow<A: Reply>(
        &mut self,
        slot: u32,
        key: K,
        from: KeySide,
        segment: &Segment,
        ledger: &mut Ledger,
    ) -> A {
        let record = self.records.at_mut(slot);
        let mut opened: Option<&[Finding]> = None;
        if record.is_empty() {
            record.begin_quoted(from, segment);
            (ledger.quoted, ledger.tally.connections) = (ledger.quoted - 1, ledger.tally.connections + 1);
            opened = Some(&[]);
        } else if record.is_outlived_by(from, segment) {
            let new = Record::new(key, from, ledger.next_id(), segment);
            let by = new.id;
            let before = std::mem::replace(record, new);
            if before.may_be_half_open(from) {
                if self.half_open.len() == MOST_HALF_OPEN
                    && let Some(oldest) = self.half_open.pop_front()
                {
                    ledger.end(oldest.record);
                }
                self.half_open.push_back(HalfOpen { record: before, by });
            } else {
                ledger.end(before);
            }
            opened = Some(&[Finding::PortReuse]);
        }
        let was_closed = record.is_closed();
        let (findings, answer) = record.observe(from, segment, opened, ledger.findings);
        // Where nothing is found and the segment carries no control, nothing has grown.
        if !findings.is_empty() || segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
            ledger.weigh(record);
            let (is_closed, id) = (record.is_closed() && !was_closed, record.id);
            if opened.is_none() && !self.half_open.is_empty() {
                let resets = record.answers_older_connection(from, segment);
                self.settle_half_open(id, from, segment, resets, ledger);
            }
            if is_closed {
                self.wait_for_late(slot, id, ledger);
            }
            if ledger.extra > ledger.limits.octets {
                self.make_room(slot, ledger);
            }
        }
        answer
    }

    /// What a segment of the connection with that number says of the one before it.
    #[cold]
    fn settle_half_open(&mut self, id: u64, from: KeySide, segment: &Segment, resets: bool, ledger: &mut Ledger) {
        let opens_again = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        let is_control = segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) && !opens_again;
        let place = self.half_open.iter().position(|old| old.by == id).filter(|_| is_control);
        if let Some(mut old) = place.and_then(|place| self.half_open.remove(place)) {
            if resets {
                old.record.be_reset_by_successor(from, segment);
            }
            ledger.end(old.record);
        }
    }

    /// Ends the connections of which only another one could say how they ended.
    pub(super) fn end_half_open(&mut self, ledger: &mut Ledger) {
        self.half_open.drain(..).for_each(|old| ledger.end(old.record));
    }

    /// A segment between ends that have no connection.
    pub(super) fn open<A: Reply>(
        &mut self,
        hash: u64,
        key: K,
        from: KeySide,
        segment: &Segment,
        ledger: &mut Ledger,
    ) -> Option<A> {
        let opens = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        if !opens && ledger.recently_closed.holds(hash) {
            ledger.tally.late_segments += 1;
            return None;
        }
        let id = ledger.next_id();
        if let Some(attempt) = Attempt::new(key, from, id, segment) {
            let answer = A::of(|| attempt.step(segment));
            self.enter_lru(hash, attempt, &ledger.finder);
            if self.attempts.len() >= ledger.limits.half_open.saturating_add(AT_ONCE) {
                self.evict_attempts(ledger);
            }
            return Some(answer);
        }
        let slot = self.records.insert(Record::new(key, from, id, segment));
        self.enter(hash, Entry(slot), &ledger.finder);
        let answer = self.start(slot, from, segment, &[], ledger);
        self.keep_within(ledger);
        Some(answer)
    }

    /// The first segment of a connection that has a record at once.
    pub(super) fn start<A: Reply>(
        &mut self,
        slot: u32,
        from: KeySide,
        segment: &Segment,
        findings: &[Finding],
        ledger: &mut Ledger,
    ) -> A {
        let record = self.records.at_mut(slot);
        let (_, answer) = record.observe(from, segment, Some(findings), ledger.findings);
        ledger.weigh(record);
        if record.is_closed() {
            let id = record.id;
            self.wait_for_late(slot, id, ledger);
        }
        if ledger.extra > ledger.limits.octets {
            self.make_room(slot, ledger);
        }
        answer
    }

    /// A header that is only quoted: as a segment of it would, it may open a connection, and end another one.
    ///
    /// Returns the connection, where segments of it were captured.
    pub(super) fn quote(
        &mut self,
        key: K,
        from: KeySide,
        quote: &Segment,
        error: Option<IcmpError>,
        ledger: &mut Ledger,
    ) -> Option<ConnectionId> {
        let hash = ledger.finder.hash_one(key);
        let found = self.find(hash, key).map(Entry::found);
        if ledger.quoted >= MOST_QUOTED {
            return None;
        }
        // Without flags it opens no connection, for Wireshark neither.
        let is_start = quote.flags.is_empty() && quote.oddities.contains(Oddities::HEADER_CUT);
        match found {
            None if is_start => {}
            None if ledger.recently_closed.holds(hash) => {}
            None => {
                ledger.quoted += 1;
                let slot = self.records.insert(Record::quoted(key, ledger.next_number(), quote));
                self.enter(hash, Entry(slot), &ledger.finder);
            }
            Some(Found::Record(slot)) => {
                let record = self.records.at_mut(slot);
                if record.is_outlived_by(from, quote) {
                    let before = std::mem::replace(record, Record::quoted(key, ledger.next_number(), quote));
                    // What was only quoted, too, is no connection to emit.
                    if !before.is_empty() {
                        ledger.quoted += 1;
                        ledger.end(before);
                    }
                } else {
                    record.quote(from, quote, error);
                    ledger.weigh(record);
                    return (!record.is_empty()).then_some(ConnectionId(record.id));
                }
            }
            Some(Found::Attempt(slot)) if self.attempts.at(slot).is_outlived_by(from, quote) => {
                ledger.quoted += 1;
                let record = Record::quoted(key, ledger.next_number(), quote);
                self.replace(slot, hash, record, ledger);
            }
            Some(Found::Attempt(slot)) => {
                if error.is_some() || quote.flags.intersects(Flags::ACK | Flags::FIN | Flags::RST) {
                    let grown = self.promote(slot, hash, ledger);
                    let record = self.records.at_mut(grown);
                    record.quote(from, quote, error);
                    ledger.weigh(record);
                    let id = ConnectionId(record.id);
                    self.keep_within(ledger);
                    return Some(id);
                }
            }
        }
        None
    }

    #[inline]
    pub(super) fn enter(&mut self, hash: u64, entry: Entry, finder: &Finder) {
        let Self { index, records, attempts, .. } = self;
        index.insert_unique(hash, entry, |entry| {
            finder.hash_one(match entry.found() {
                Found::Record(slot) => records.at(slot).key,
                Found::Attempt(slot) => attempts.at(slot).key,
            })
        });
    }

    /// Where each connection is.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry> {
        let is_connection = |entry: &Entry| match entry.found() {
            Found::Record(slot) => !self.records.at(slot).is_empty(),
            Found::Attempt(_) => true,
        };
        self.index.iter().copied().filter(is_connection)
    }

    /// Those that are left, by number.
    pub(super) fn left(&mut self) -> Vec<Left> {
        // Nothing is looked for any more, and the index takes more room than this list.
        let most = std::mem::take(&mut self.index).len();
        let mut left = Vec::with_capacity(most);
        let records = (0..self.records.slots()).map(|slot| (self.records.at(slot), Entry(slot)));
        left.extend(
            records.filter(|(record, _)| !record.is_empty()).map(|(record, entry)| Left::new(record.id, entry)),
        );
        let mut slot = self.lru[0];
        while slot != NONE {
            let attempt = self.attempts.at(slot);
            left.push(Left::new(attempt.id, Entry::attempt(slot)));
            slot = attempt.neighbours[1];
        }
        left.sort_unstable();
        left
    }

    pub(super) fn summary_of(&self, hash: u64, key: K) -> Option<Connection> {
        let entry = self.find(hash, key)?;
        let only_quoted = matches!(entry.found(), Found::Record(slot) if self.records.at(slot).is_empty());
        (!only_quoted).then(|| self.summary(entry, None))
    }

    /// A connection as it stands `now`, where that time is known.
    pub(super) fn summary(&self, entry: Entry, now: Option<Timestamp>) -> Connection {
        match entry.found() {
            Found::Record(slot) => self.records.at(slot).summary_at(now),
            Found::Attempt(slot) => self.attempts.at(slot).summary(),
        }
    }
}

/// How many connections wait for what the next one between the same ends says of them.
pub(super) const MOST_HALF_OPEN: usize = 64;
/// How many connections are remembered that are only quoted.
const MOST_QUOTED: usize = 1 << 16;
