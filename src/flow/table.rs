//! The table of connections: finds the one a segment belongs to, follows it, and tells it when it is over.

use std::collections::VecDeque;
use std::fmt;
use std::ops::Range;

use hashbrown::HashTable;

use super::attempt::{Attempt, NONE};
use super::bundle::{Bundle, Finder};
use super::ended::{Ended, Lots};
use super::key::{AnyKey, Key4, Key6, Place};
use super::record::Record;
use super::slab::{self, Slab};
use super::{Connection, Step};
use crate::tcp::Finding;
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment};

/// All connections of a capture that are not told yet.
///
/// Connections are numbered from 0 in the order of their first segments, as Wireshark's `tcp.stream`.
/// A SYN without ACK whose sequence number differs from the first of its direction opens a new connection, and the old one between the same ends is told;
/// a SYN that repeats, and a SYN-ACK with whatever number, belong to the connection that is there.
///
/// A connection is told once, when no further segment can belong to it: see [`Limits`].
/// A segment that comes after that all the same opens nothing; it is counted as late.
#[derive(Default)]
pub struct FlowTable {
    v4: Flows<Key4>,
    v6: Flows<Key6>,
    common: Common,
}

/// When a connection is told before the capture ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// A connection that is over (both FINs or a RST seen), or of which only one SYN was seen, is told when it was quiet for so long, by the capture's own time.
    pub linger: Span,
    /// At most so many that are over are waited with, for late segments; beyond that the one that was over first is told.
    pub over: usize,
    /// At most so many of which only one SYN was seen are kept, or a few more; beyond that the oldest are let go.
    pub asked: usize,
    /// At most so many others are kept; beyond that one is let go: of sixteen that are looked at in turn, the one that was quiet for longest.
    pub open: usize,
    /// At most so many findings of each connection are kept; the others are counted.
    pub findings: usize,
}

/// One hour; 16,384 that are over, 2,097,152 that only asked, 1,048,576 others; a hundred findings.
impl Default for Limits {
    fn default() -> Self {
        Self { linger: Span::from_millis(3_600_000), over: 1 << 14, asked: 1 << 21, open: 1 << 20, findings: 100 }
    }
}

/// What a table counted over its whole life.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Tally {
    /// Connections opened.
    pub connections: u64,
    /// Segments that came after their connection had been told.
    pub late_segments: u64,
    /// Connections that were told before they were over, because there were too many.
    pub let_go: u64,
    /// Numbers given: those of the connections, and of those that nothing but ICMP errors quoted.
    pub numbers: u64,
}

impl FlowTable {
    /// An empty table with the default limits.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty table.
    pub fn with_limits(limits: Limits) -> Self {
        Self { common: Common { limits, ..Common::default() }, ..Self::default() }
    }

    /// Takes a segment; `None` when its connection was told already.
    pub fn observe(&mut self, segment: &Segment) -> Option<Step> {
        let Self { v4, v6, common } = self;
        match AnyKey::of(segment) {
            AnyKey::V4(key, from) => v4.observe(common.finder.hash_one(key), key, from, segment, common),
            AnyKey::V6(key, from) => v6.observe(common.finder.hash_one(key), key, from, segment, common),
        }
    }

    /// Takes a TCP header that an ICMP error quotes.
    ///
    /// It is no segment of its connection, but Wireshark gives the connection its number by it, and counts its flags for completeness.
    pub fn quote(&mut self, quote: &Segment) {
        let Self { v4, v6, common } = self;
        match AnyKey::of(quote) {
            AnyKey::V4(key, from) => v4.quote(key, from, quote, common),
            AnyKey::V6(key, from) => v6.quote(key, from, quote, common),
        }
    }

    /// Takes some segments of a bundle one after the other, as [`observe`](Self::observe) does, and hands on what each did.
    ///
    /// It is faster than one at a time: what they need of memory is fetched for [`AT_ONCE`](Self::AT_ONCE) of them together.
    /// The bundle must have been filled with the [`finder`](Self::finder) of this table.
    pub fn observe_all(&mut self, bundle: &Bundle, range: Range<usize>, mut done: impl FnMut(&Segment, Option<Step>)) {
        let chunk = |from: usize| from..range.end.min(from + Self::AT_ONCE);
        let mut now = chunk(range.start);
        self.expect(bundle, now.clone());
        while !now.is_empty() {
            // While some are followed, what the next ones need is on its way.
            let next = chunk(now.end);
            self.expect(bundle, next.clone());
            let Self { v4, v6, common } = self;
            for place in now {
                bundle.with(place, |hash, key, segment| {
                    debug_assert_eq!(hash, common.finder.hash(&key), "a bundle for another table");
                    let step = match key {
                        AnyKey::V4(key, from) => v4.observe(hash, key, from, segment, common),
                        AnyKey::V6(key, from) => v6.observe(hash, key, from, segment, common),
                    };
                    done(segment, step);
                });
            }
            now = next;
        }
    }

    /// Has what is known of the connections of at most [`AT_ONCE`](Self::AT_ONCE) segments fetched.
    fn expect(&self, bundle: &Bundle, range: Range<usize>) {
        for hash in bundle.hashes(range) {
            // Of one family there are nearly always none.
            if !self.v4.index.is_empty() {
                self.v4.prefetch(hash);
            }
            if !self.v6.index.is_empty() {
                self.v6.prefetch(hash);
            }
        }
    }

    /// What a [`Bundle`] for this table is filled with.
    pub fn finder(&self) -> Finder {
        self.common.finder.clone()
    }

    /// How many segments are best taken at a time.
    pub const AT_ONCE: usize = 16;

    /// Tells the connections that no further segment can belong to, as far as the last segment's time shows.
    ///
    /// # Errors
    /// The first error of `tell`; the connections after it are lost.
    pub fn take_ended<E>(&mut self, tell: impl FnMut(Connection) -> Result<(), E>) -> Result<(), E> {
        self.end_quiet();
        self.common.ended.tell(tell)
    }

    /// Hands over the connections that no further segment can belong to, in exchange for an empty `ended` to put the next ones in.
    pub fn hand_over(&mut self, ended: &mut Ended) {
        debug_assert!(ended.is_empty());
        std::mem::swap(&mut self.common.ended, ended);
    }

    /// Ends the connections that were quiet for long enough, as far as the last segment's time shows; returns how many wait to be taken.
    pub fn end_quiet(&mut self) -> usize {
        if let Some(now) = self.common.now {
            self.v4.end_quiet(now, &mut self.common);
            self.v6.end_quiet(now, &mut self.common);
        }
        self.common.ended.len()
    }

    /// Tells all connections that are left, by number, and empties the table.
    ///
    /// # Errors
    /// The first error of `tell`.
    pub fn finish<E>(&mut self, mut tell: impl FnMut(Connection) -> Result<(), E>) -> Result<Tally, E> {
        self.common.ended.tell(&mut tell)?;
        let (left4, left6) = (self.v4.left(), self.v6.left());
        let (mut left4, mut left6) = (left4.iter().peekable(), left6.iter().peekable());
        loop {
            let connection = match (left4.peek(), left6.peek()) {
                (Some(one), Some(other)) if one < other => left4.next().map(|left| self.v4.summary(left.entry())),
                (_, Some(_)) => left6.next().map(|left| self.v6.summary(left.entry())),
                (Some(_), None) => left4.next().map(|left| self.v4.summary(left.entry())),
                (None, None) => break,
            };
            connection.map_or(Ok(()), &mut tell)?;
        }
        let tally = self.tally();
        let (limits, finder) = (self.common.limits, self.common.finder.clone());
        *self = Self { common: Common { limits, finder, ..Common::default() }, ..Self::default() };
        Ok(tally)
    }

    /// Says that it is `now`, though no segment came; a live capture may be quiet for long.
    pub fn pass(&mut self, now: Timestamp) {
        self.common.now = self.common.now.max(Some(now));
    }

    /// The connection that a segment belongs to, as it stands; `None` when there is none, or none any more.
    pub fn connection(&self, segment: &Segment) -> Option<Connection> {
        match AnyKey::of(segment) {
            AnyKey::V4(key, _) => self.v4.summary_of(self.common.finder.hash_one(key), key),
            AnyKey::V6(key, _) => self.v6.summary_of(self.common.finder.hash_one(key), key),
        }
    }

    /// Shows the connections that are followed, as they stand and in no order, those that are over and not yet forgotten among them.
    pub fn each(&self, mut show: impl FnMut(Connection)) {
        self.v4.entries().for_each(|entry| show(self.v4.summary(entry)));
        self.v6.entries().for_each(|entry| show(self.v6.summary(entry)));
    }

    /// What was counted so far.
    pub fn tally(&self) -> Tally {
        Tally { numbers: self.common.next, ..self.common.tally }
    }
}

impl fmt::Debug for FlowTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowTable").field("tally", &self.tally()).finish_non_exhaustive()
    }
}

/// What the connections of both address families have in common.
#[derive(Default)]
struct Common {
    finder: Finder,
    limits: Limits,
    tally: Tally,
    /// The number of the next connection.
    next: u64,
    /// Connections that are only quoted so far.
    quoted: usize,
    /// The time of the last segment that had one.
    now: Option<Timestamp>,
    /// Connections that were taken out and not yet told.
    ended: Ended,
    past: Past,
}

impl Common {
    fn next_id(&mut self) -> u64 {
        self.tally.connections += 1;
        self.next_number()
    }

    fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Whether something last seen at `last` was quiet for long enough.
    fn is_quiet(&self, now: Timestamp, last: Option<Timestamp>) -> bool {
        last.is_some_and(|last| now.since(last) > self.limits.linger)
    }
}

/// The connections that were told last, by the hashes of their keys: each pushes out another one, now and then.
#[derive(Default)]
struct Past {
    hashes: Vec<u64>,
}

impl Past {
    fn remember(&mut self, hash: u64) {
        if self.hashes.is_empty() {
            self.hashes = vec![0; REMEMBERED];
        }
        self.hashes[(hash >> 40) as usize % REMEMBERED] = hash;
    }

    /// Has the place of a hash fetched.
    fn prefetch(&self, hash: u64) {
        if let Some(place) = self.hashes.get((hash >> 40) as usize % REMEMBERED) {
            slab::prefetch(std::ptr::from_ref(place).cast());
        }
    }

    fn holds(&self, hash: u64) -> bool {
        !self.hashes.is_empty() && self.hashes[(hash >> 40) as usize % REMEMBERED] == hash
    }
}

/// A connection's number, and below it where it is: small, because there may be millions left.
///
/// Of the number the lower half is enough: beyond 4,294,967,296 connections the order of those left begins anew, and nothing else is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Left(u64);

impl Left {
    fn new(id: u64, entry: Entry) -> Self {
        Self(id << 32 | u64::from(entry.0))
    }

    fn entry(self) -> Entry {
        Entry(self.0 as u32)
    }
}

/// The connections of one address family.
struct Flows<K> {
    /// Where the connection of each key is, by the key's hash.
    index: HashTable<Entry>,
    records: Slab<Record<K>>,
    attempts: Slab<Attempt<K>>,
    /// The oldest and the youngest attempt.
    row: [u32; 2],
    /// Slots and numbers of connections that are over, in the order in which that came about.
    over: VecDeque<(u32, u64)>,
    /// Where to look for the next one to let go.
    hand: u32,
}

/// The slot of a record, or with the highest bit that of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Entry(u32);

/// What an entry stands for.
enum Found {
    Record(u32),
    Attempt(u32),
}

impl Entry {
    fn attempt(slot: u32) -> Self {
        Self(slot | ATTEMPT)
    }

    fn found(self) -> Found {
        if self.0 & ATTEMPT == 0 { Found::Record(self.0) } else { Found::Attempt(self.0 & !ATTEMPT) }
    }
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
            row: [NONE; 2],
            over: VecDeque::new(),
            hand: 0,
        }
    }
}

impl<K: Lots> Flows<K> {
    fn observe(&mut self, hash: u64, key: K, from: Place, segment: &Segment, common: &mut Common) -> Option<Step> {
        common.now = segment.at.or(common.now);
        let Some(entry) = self.find(hash, key) else {
            return self.open(hash, key, from, segment, common);
        };
        match entry.found() {
            Found::Record(slot) => Some(self.follow(slot, key, from, segment, common)),
            Found::Attempt(slot) => Some(self.grow(slot, hash, from, segment, common)),
        }
    }

    fn find(&self, hash: u64, key: K) -> Option<Entry> {
        let is_it = |entry: &Entry| match entry.found() {
            Found::Record(slot) => self.records.at(slot).key == key,
            Found::Attempt(slot) => self.attempts.at(slot).key == key,
        };
        self.index.find(hash, is_it).copied()
    }

    /// What the index has for a hash, not compared with the key: nearly always the right one.
    fn likely(&self, hash: u64) -> Option<Entry> {
        self.index.find(hash, |_| true).copied()
    }

    /// Has what is most likely the connection with this hash fetched.
    fn prefetch(&self, hash: u64) {
        match self.likely(hash).map(Entry::found) {
            Some(Found::Record(slot)) => self.records.prefetch(slot),
            Some(Found::Attempt(slot)) => self.attempts.prefetch(slot),
            None => {}
        }
    }

    /// A segment of a connection that has a record.
    fn follow(&mut self, slot: u32, key: K, from: Place, segment: &Segment, common: &mut Common) -> Step {
        let record = self.records.at_mut(slot);
        let mut opened: Option<&[Finding]> = None;
        if record.is_empty() {
            record.begin_quoted(from, segment);
            (common.quoted, common.tally.connections) = (common.quoted - 1, common.tally.connections + 1);
            opened = Some(&[]);
        } else if record.is_outlived_by(from, segment) {
            let new = Record::new(key, from, common.next_id(), segment);
            common.ended.add_record(std::mem::replace(record, new));
            opened = Some(&[Finding::PortReuse]);
        }
        let was_over = record.is_over();
        let step = record.observe(from, segment, opened, common.limits.findings);
        if record.is_over() && !was_over {
            let id = record.id;
            self.wait_for_late(slot, id, common);
        }
        step
    }

    /// A segment between ends that have no connection.
    fn open(&mut self, hash: u64, key: K, from: Place, segment: &Segment, common: &mut Common) -> Option<Step> {
        let opens = segment.flags & (Flags::SYN | Flags::ACK) == Flags::SYN;
        if !opens && common.past.holds(hash) {
            common.tally.late_segments += 1;
            return None;
        }
        let id = common.next_id();
        if let Some(attempt) = Attempt::new(key, from, id, segment) {
            let step = attempt.step(segment);
            self.line_up(hash, attempt, &common.finder);
            if self.attempts.len() >= common.limits.asked.saturating_add(FlowTable::AT_ONCE) {
                self.let_go_of_attempts(common);
            }
            return Some(step);
        }
        let slot = self.records.insert(Record::new(key, from, id, segment));
        self.enter(hash, Entry(slot), &common.finder);
        let step = self.start(slot, from, segment, &[], common);
        self.keep_within(common);
        Some(step)
    }

    /// A segment of a connection of which only one SYN was seen so far.
    fn grow(&mut self, slot: u32, hash: u64, from: Place, segment: &Segment, common: &mut Common) -> Step {
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
    fn promote(&mut self, slot: u32, hash: u64, common: &Common) -> u32 {
        let attempt = self.leave_row(slot);
        let syn = attempt.segment();
        let mut record = Record::new(attempt.key, attempt.from(), attempt.id, &syn);
        record.observe(attempt.from(), &syn, Some(&[]), common.limits.findings);
        self.put_instead(slot, hash, record)
    }

    /// Takes an attempt out, to be told, and puts the record of another connection into its place.
    fn replace(&mut self, slot: u32, hash: u64, record: Record<K>, common: &mut Common) -> u32 {
        common.ended.add_attempt(self.leave_row(slot));
        self.put_instead(slot, hash, record)
    }

    fn put_instead(&mut self, slot: u32, hash: u64, record: Record<K>) -> u32 {
        let grown = self.records.insert(record);
        if let Some(entry) = self.index.find_mut(hash, |entry| *entry == Entry::attempt(slot)) {
            *entry = Entry(grown);
        }
        grown
    }

    /// The first segment of a connection that has a record at once.
    fn start(&mut self, slot: u32, from: Place, segment: &Segment, findings: &[Finding], common: &mut Common) -> Step {
        let record = self.records.at_mut(slot);
        let step = record.observe(from, segment, Some(findings), common.limits.findings);
        if record.is_over() {
            let id = record.id;
            self.wait_for_late(slot, id, common);
        }
        step
    }

    /// A header that is only quoted: as a segment of it would, it may open a connection, and end another one.
    fn quote(&mut self, key: K, from: Place, quote: &Segment, common: &mut Common) {
        let hash = common.finder.hash_one(key);
        let found = self.find(hash, key).map(Entry::found);
        if common.quoted >= MOST_QUOTED {
            return;
        }
        match found {
            None if common.past.holds(hash) => {}
            None => {
                common.quoted += 1;
                let slot = self.records.insert(Record::quoted(key, common.next_number(), quote));
                self.enter(hash, Entry(slot), &common.finder);
            }
            Some(Found::Record(slot)) => {
                let record = self.records.at_mut(slot);
                if record.is_outlived_by(from, quote) {
                    let before = std::mem::replace(record, Record::quoted(key, common.next_number(), quote));
                    // What was only quoted, too, is no connection to tell.
                    if !before.is_empty() {
                        common.quoted += 1;
                        common.ended.add_record(before);
                    }
                } else {
                    record.quote(from, quote);
                }
            }
            Some(Found::Attempt(slot)) if self.attempts.at(slot).is_outlived_by(from, quote) => {
                common.quoted += 1;
                let record = Record::quoted(key, common.next_number(), quote);
                self.replace(slot, hash, record, common);
            }
            Some(Found::Attempt(slot)) => {
                if quote.flags.intersects(Flags::ACK | Flags::FIN | Flags::RST) {
                    let grown = self.promote(slot, hash, common);
                    self.records.at_mut(grown).quote(from, quote);
                }
            }
        }
    }

    fn wait_for_late(&mut self, slot: u32, id: u64, common: &mut Common) {
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
    fn end_quiet(&mut self, now: Timestamp, common: &mut Common) {
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
    fn keep_within(&mut self, common: &mut Common) {
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

    /// Lets go of the oldest attempts, several at a time so that the waits for memory overlap.
    fn let_go_of_attempts(&mut self, common: &mut Common) {
        let (mut slot, mut touched) = (self.row[0], 0);
        for _ in 0..FlowTable::AT_ONCE {
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

    fn end_oldest_attempt(&mut self, common: &mut Common) {
        let slot = self.row[0];
        let hash = common.finder.hash_one(self.attempts.at(slot).key);
        if let Ok(entry) = self.index.find_entry(hash, |entry| *entry == Entry::attempt(slot)) {
            entry.remove();
        }
        common.past.remember(hash);
        common.ended.add_attempt(self.leave_row(slot));
    }

    /// Takes out a record.
    fn end(&mut self, slot: u32, common: &mut Common) {
        let record = self.records.take(slot);
        let hash = common.finder.hash_one(record.key);
        if let Ok(entry) = self.index.find_entry(hash, |entry| *entry == Entry(slot)) {
            entry.remove();
        }
        common.past.remember(hash);
        common.ended.add_record(record);
    }

    fn enter(&mut self, hash: u64, entry: Entry, finder: &Finder) {
        let Self { index, records, attempts, .. } = self;
        index.insert_unique(hash, entry, |entry| {
            finder.hash_one(match entry.found() {
                Found::Record(slot) => records.at(slot).key,
                Found::Attempt(slot) => attempts.at(slot).key,
            })
        });
    }

    /// Puts an attempt at the end of the row, the youngest.
    fn line_up(&mut self, hash: u64, mut attempt: Attempt<K>, finder: &Finder) {
        attempt.neighbours = [self.row[1], NONE];
        let slot = self.attempts.insert(attempt);
        match self.row[1] {
            NONE => self.row[0] = slot,
            last => self.attempts.at_mut(last).neighbours[1] = slot,
        }
        self.row[1] = slot;
        self.enter(hash, Entry::attempt(slot), finder);
    }

    fn leave_row(&mut self, slot: u32) -> Attempt<K> {
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

    /// Where each connection is.
    fn entries(&self) -> impl Iterator<Item = Entry> {
        let is_told = |entry: &Entry| match entry.found() {
            Found::Record(slot) => !self.records.at(slot).is_empty(),
            Found::Attempt(_) => true,
        };
        self.index.iter().copied().filter(is_told)
    }

    /// Those that are left, by number.
    fn left(&mut self) -> Vec<Left> {
        // Nothing is looked for any more, and the index takes more room than this list.
        let most = std::mem::take(&mut self.index).len();
        let mut left = Vec::with_capacity(most);
        let records = (0..self.records.slots()).map(|slot| (self.records.at(slot), Entry(slot)));
        left.extend(
            records.filter(|(record, _)| !record.is_empty()).map(|(record, entry)| Left::new(record.id, entry)),
        );
        let mut slot = self.row[0];
        while slot != NONE {
            let attempt = self.attempts.at(slot);
            left.push(Left::new(attempt.id, Entry::attempt(slot)));
            slot = attempt.neighbours[1];
        }
        left.sort_unstable();
        left
    }

    fn summary_of(&self, hash: u64, key: K) -> Option<Connection> {
        let entry = self.find(hash, key)?;
        let only_quoted = matches!(entry.found(), Found::Record(slot) if self.records.at(slot).is_empty());
        (!only_quoted).then(|| self.summary(entry))
    }

    fn summary(&self, entry: Entry) -> Connection {
        match entry.found() {
            Found::Record(slot) => self.records.at(slot).summary(),
            Found::Attempt(slot) => self.attempts.at(slot).summary(),
        }
    }
}

/// Marks an entry that stands for an attempt.
const ATTEMPT: u32 = 1 << 31;
/// How long before it is taken out a connection is fetched.
const SOON: usize = 4;
/// How many connections are looked at to find one to let go.
const LOOKED_AT: u32 = 16;
/// How many connections are remembered that are only quoted.
const MOST_QUOTED: usize = 1 << 16;
/// How many told connections are remembered, to know a late segment.
const REMEMBERED: usize = 1 << 16;

#[cfg(test)]
mod tests {
    #[test]
    fn a_live_connection_takes_less_than_400_octets() {
        // With its entry in the index.
        assert!(size_of::<Record<Key4>>() + 9 <= 400, "{}", size_of::<Record<Key4>>());
        assert_eq!(size_of::<Attempt<Key4>>(), 64);
        assert_eq!(size_of::<crate::tcp::Stream>(), 128);
    }

    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::flow::{Closer, ConnState, Ending, Side};
    use crate::flow::{ResetKind, Verdict};
    use crate::script::{self, Actor};
    use crate::tcp::State;
    use crate::wire::{Flags, Oddities, Seq};

    /// Follows a script whose lines end in the number of the segment's connection and its findings; returns all connections by number.
    fn check(script: &str) -> Vec<Connection> {
        let mut table = FlowTable::new();
        for (_, segment, expected) in script::read(script) {
            let step = table.observe(&segment).expect("not late");
            let mut words = vec![step.connection.0.to_string()];
            words.extend(step.findings.iter().map(|finding| finding.to_string()));
            if !expected.is_empty() {
                assert_eq!(words.join(" "), expected, "frame {}", segment.frame);
            }
        }
        let mut connections = Vec::new();
        let Ok(tally) = table.finish(|connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        });
        assert_eq!(tally.connections, connections.len() as u64);
        connections.sort_by_key(|connection| connection.id);
        connections
    }

    fn only(script: &str) -> Connection {
        let connections = check(script);
        assert_eq!(connections.len(), 1);
        connections.into_iter().next().expect("one")
    }

    fn opened(script: &str) -> Connection {
        only(&format!(
            "
            0  C > S: S  100(0)
            10 S > C: S. 300(0) ack 101
            20 C > S: .  101(0) ack 301
            {script}"
        ))
    }

    // ---- endings -------------------------------------------------------------------------------------------------

    #[test]
    fn the_end_that_closes_first_waits() {
        let connection = opened(
            "30 C > S: P. 101(10) ack 301
             31 S > C: P. 301(10) ack 111
             32 C > S: F. 111(0)  ack 311
             33 S > C: F. 311(0)  ack 112
             34 C > S: .  112(0)  ack 312",
        );
        assert_eq!(connection.ending, Ending::Fin);
        assert_eq!(connection.closed_by, Some(Closer::Client));
        assert_eq!(connection.conn_state, ConnState::Sf);
        assert_eq!(connection.history, "ShADdFfA".replace("fA", "f"));
        assert_eq!(connection.completeness, 31);
        assert_eq!((connection.client_state, connection.server_state), (Some(State::TimeWait), Some(State::Closed)));
        assert_eq!(connection.client_to_server.octets, 10);
        assert_eq!(connection.verdict, Verdict::Closed { first: Side::Client, left: crate::flow::Left::TimeWait });
    }

    #[test]
    fn fins_that_cross_close_both() {
        let connection = opened(
            "32 C > S: F. 101(0) ack 301
             33 S > C: F. 301(0) ack 101
             34 C > S: .  102(0) ack 302
             35 S > C: .  302(0) ack 102",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Fin, Some(Closer::Both)));
        assert_eq!(connection.client_state, Some(State::TimeWait));
        assert_eq!(connection.server_state, Some(State::TimeWait));
    }

    #[test]
    fn a_refused_connection() {
        let connection = only(
            "0   C > S: S  100(0)
             0.1 S > C: R. 0(0) ack 101",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Refused, Some(Closer::Server)));
        assert_eq!(connection.conn_state, ConnState::Rej);
        assert_eq!(connection.history, "Sr");
        assert_eq!(connection.completeness, 37);
        assert_eq!((connection.client_state, connection.server_state), (Some(State::Closed), Some(State::Closed)));
        assert_eq!(connection.initial_rtt.map(|rtt| rtt.0), Some(100_000));
    }

    #[test]
    fn an_unanswered_syn_is_counted_however_often_it_is_sent() {
        let connection = only(
            "0    C > S: S 100(0) = 0
             1000 C > S: S 100(0) = 0 retransmission
             3000 C > S: S 100(0) = 0 retransmission",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Unanswered, None));
        assert_eq!(connection.conn_state, ConnState::S0);
        assert_eq!(connection.client_to_server.syn, 3);
        assert!(
            matches!(connection.verdict, Verdict::Unanswered { syns: 3, lasted: Some(_) }),
            "{:?}",
            connection.verdict
        );
        assert_eq!(connection.client_state, Some(State::SynSent));
    }

    #[test]
    fn a_syn_with_reset_is_no_unanswered_syn() {
        let connection = only("0 C > S: SR 100(0) = 0 inconsistent_flags");
        assert_eq!((connection.ending, connection.closed_by, connection.completeness), (Ending::Open, None, 1));
        assert_eq!(connection.verdict, Verdict::OnlySynsWithReset);
    }

    /// tshark 4.0: on a fresh 4-tuple the RST of the first segment counts once a second segment came, on a used one at once.
    #[test]
    fn a_first_segment_that_uses_ports_again_counts_at_once() {
        let connections = check(
            "0  C > S: S   100(0)         = 0
             1  S > C: R.  0(0) ack 101   = 0
             2  C > S: SR  500(0)         = 1 port_reuse inconsistent_flags
             3  C > S: SF  900(0)         = 2 port_reuse inconsistent_flags
             4  C > S: S   1300(5)        = 3 port_reuse",
        );
        let completeness: Vec<_> = connections.iter().map(|connection| connection.completeness).collect();
        assert_eq!(completeness, [37, 33, 1, 1]);
        assert_eq!(connections[1].verdict, Verdict::OnlySynsWithReset);
        let fresh = only("0 C > S: SR 100(0)\n 1 C > S: SR 100(0)");
        assert_eq!(fresh.completeness, 33);
    }

    #[test]
    fn octets_after_close_are_answered_with_a_reset() {
        let connection = opened(
            "30 C > S: F. 101(0)  ack 301
             31 S > C: .  301(0)  ack 102
             40 S > C: P. 301(10) ack 102
             41 C > S: R  102(0)",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Reset, Some(Closer::Client)));
        assert_eq!(connection.verdict, Verdict::Reset { by: Side::Client, kind: ResetKind::OctetsAfterClose });
    }

    #[test]
    fn a_reset_after_keep_alives_without_an_answer_says_so() {
        let connection = opened(
            "1000000 C > S: .  100(0) ack 301
             1000010 S > C: .  301(0) ack 101
             2000000 C > S: .  100(0) ack 301
             3000000 C > S: R. 101(0) ack 301",
        );
        assert_eq!((connection.ending, connection.closed_by), (Ending::Reset, Some(Closer::Client)));
        assert_eq!(connection.verdict, Verdict::Reset { by: Side::Client, kind: ResetKind::KeepAlivesUnanswered });
    }

    #[test]
    fn a_half_closed_connection_stays_so() {
        let connection = opened(
            "30 C > S: F. 101(0)  ack 301
             31 S > C: .  301(0)  ack 102",
        );
        assert_eq!((connection.ending, connection.conn_state), (Ending::HalfClosed, ConnState::S2));
        assert_eq!(connection.server_state, Some(State::CloseWait));
    }

    // ---- while they live -----------------------------------------------------------------------------------------

    #[test]
    fn a_connection_can_be_seen_while_it_lives() {
        let mut table = FlowTable::new();
        let mut seen = Vec::new();
        for (_, segment, _) in script::read(
            "0  C > S: S  100(0)
             10 S > C: S. 300(0) ack 101
             20 C > S: P. 101(7) ack 301",
        ) {
            assert_eq!(table.connection(&segment).is_none(), seen.is_empty());
            table.observe(&segment);
            let connection = table.connection(&segment).expect("it is there");
            seen.push((connection.client_state, connection.client_to_server.octets));
            let mut all = Vec::new();
            table.each(|connection| all.push(connection));
            assert_eq!(all, [connection]);
        }
        assert_eq!(seen, [(Some(State::SynSent), 0), (Some(State::Established), 0), (Some(State::Established), 7)]);
    }

    // ---- mistakes that others made -------------------------------------------------------------------------------

    #[test]
    fn a_lone_reset_is_no_reset_of_a_connection_that_never_was() {
        let connection = only("0 S > C: R 301(0)");
        assert_eq!((connection.ending, connection.closed_by), (Ending::Open, None));
        assert!(connection.midstream);
    }

    #[test]
    fn repeated_controls_open_nothing_and_move_no_state_twice() {
        let mut table = FlowTable::new();
        let script = "0    C > S: S  100(0)         = 1
                      10   C > S: S  100(0)         = 0
                      20   S > C: S. 300(0) ack 101 = 2
                      21   S > C: S. 300(0) ack 101 = 0
                      30   C > S: .  101(0) ack 301 = 1
                      40   C > S: F. 101(0) ack 301 = 2
                      440  C > S: F. 101(0) ack 301 = 0
                      450  S > C: .  301(0) ack 102 = 1";
        for (_, segment, expected) in script::read(script) {
            let step = table.observe(&segment).expect("not late");
            assert_eq!(step.connection.0, 0);
            assert_eq!(step.moves.iter().flatten().count().to_string(), expected, "frame {}", segment.frame);
        }
    }

    #[test]
    fn a_syn_ack_with_another_number_stays_in_its_connection() {
        let connection = only(
            "0    C > S: S  100(0)         = 0
             10   S > C: S. 300(0) ack 101 = 0
             1010 S > C: S. 700(0) ack 101 = 0 lost_segment
             1020 C > S: .  101(0) ack 701 = 0 acked_unseen
             1030 S > C: P. 701(5) ack 101 = 0",
        );
        assert_eq!(connection.server_to_client.isn, Some(300));
        assert_eq!(connection.server_to_client.unique_octets, 5);
    }

    #[test]
    fn ports_used_again_are_another_connection() {
        let connections = check(
            "0    C > S: S  100(0)          = 0
             10   S > C: S. 300(0) ack 101  = 0
             20   C > S: .  101(0) ack 301  = 0
             30   C > S: F. 101(0) ack 301  = 0
             31   S > C: F. 301(0) ack 102  = 0
             32   C > S: .  102(0) ack 302  = 0
             90   C > S: S  9000(0)         = 1 port_reuse
             91   S > C: S. 8000(0) ack 9001 = 1
             92   C > S: .  9001(0) ack 8001 = 1
             93   C > S: P. 9001(5) ack 8001 = 1",
        );
        assert_eq!(connections.len(), 2);
        assert_eq!(connections[0].ending, Ending::Fin);
        assert_eq!(connections[1].client_to_server.octets, 5);
        assert_eq!(connections[1].findings.len(), 1);
    }

    #[test]
    fn a_connection_with_itself_has_one_end_that_does_both() {
        let mut table = FlowTable::new();
        for (_, mut segment, _) in
            script::read("0 C > S: S 100(0)\n 1 C > S: S. 100(0) ack 101\n 2 C > S: P. 101(5) ack 101")
        {
            (segment.dst, segment.dst_port) = (segment.src, segment.src_port);
            assert_eq!(table.observe(&segment).expect("not late").from, Side::Client);
        }
        let Ok(_) = table.finish(|connection| {
            assert_eq!(connection.client, connection.server);
            assert_eq!(connection.client_to_server.octets, 5);
            assert_eq!(connection.client_state, Some(State::Established));
            Ok::<_, Infallible>(())
        });
    }

    #[test]
    fn both_ends_on_one_address_are_two_ends() {
        let mut table = FlowTable::new();
        for (from, mut segment, _) in
            script::read("0 C > S: S 100(0)\n 1 S > C: S. 300(0) ack 101\n 2 C > S: . 101(0) ack 301")
        {
            segment.dst = std::net::Ipv4Addr::LOCALHOST.into();
            segment.src = segment.dst;
            let side = if from == Actor::CLIENT { Side::Client } else { Side::Server };
            assert_eq!(table.observe(&segment).expect("not late").from, side);
        }
        assert_eq!(table.tally().connections, 1);
    }

    #[test]
    fn a_syn_ack_that_is_seen_first_comes_from_the_server() {
        let connection = only(
            "0 S > C: S. 300(0) ack 101 = 0
             1 C > S: .  101(0) ack 301 = 0",
        );
        assert_eq!(connection.client.port(), 5000);
        assert_eq!(connection.history, "^hA");
        assert_eq!(connection.conn_state, ConnState::S1);
    }

    #[test]
    fn floods_of_controls_are_counted_to_the_last() {
        let mut table = FlowTable::new();
        let (_, mut syn, _) = script::read("0 C > S: S 100(0)").next().expect("a segment");
        for _ in 0..1000 {
            table.observe(&syn);
        }
        syn.flags = Flags::RST;
        for _ in 0..70_000 {
            table.observe(&syn);
        }
        let Ok(_) = table.finish(|connection| {
            assert_eq!((connection.client_to_server.syn, connection.client_to_server.rst), (1000, 70_000));
            Ok::<_, Infallible>(())
        });
    }

    #[test]
    fn findings_are_bounded_and_the_rest_is_counted() {
        let mut script = String::from("0 C > S: S 100(0)\n 1 S > C: S. 300(0) ack 101\n 2 C > S: . 101(0) ack 301\n");
        for at in 0..150 {
            script.push_str(&format!("{} C > S: . 101(0) ack 301 = 0 duplicate_ack\n", 3 + at));
        }
        let connection = only(&script);
        assert_eq!((connection.findings.len(), connection.findings_omitted), (100, 50));
        assert_eq!(connection.client_to_server.duplicate_acks, 150);
    }

    // ---- data offsets that cannot be ------------------------------------------------------------------------------

    /// Follows a script in which `!` before the time marks a data offset below 5 words, `?` one beyond the segment.
    fn with_bad_offsets(script: &str) -> Vec<Connection> {
        let mut table = FlowTable::new();
        let marks: Vec<_> = script.lines().map(|line| line.trim().chars().next()).collect();
        for ((_, mut segment, _), mark) in script::read(&script.replace(['!', '?'], "")).zip(marks) {
            segment.oddities = match mark {
                Some('!') => Oddities::BAD_OFFSET,
                Some('?') => Oddities::BAD_OFFSET | Oddities::BAD_OPTIONS,
                _ => Oddities::empty(),
            };
            table.observe(&segment).expect("not late");
        }
        let mut connections = Vec::new();
        let Ok(_) = table.finish(|connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        });
        connections.sort_by_key(|connection| connection.id);
        connections
    }

    /// tshark 4.0 gives up at such a header: it counts the segment and its octets, and heeds none of its flags.
    #[test]
    fn a_header_that_is_too_short_is_counted_and_says_nothing() {
        let connections = with_bad_offsets(
            "0    C > S: S  100(0)
             !5   S > C: S. 300(4) ack 101
             10   S > C: S. 300(0) ack 101
             !15  C > S: .  101(4) ack 301
             20   C > S: .  101(0) ack 301
             !30  C > S: F. 101(4) ack 301
             !40  S > C: R. 301(4) ack 101",
        );
        let [connection] = &connections[..] else { panic!("{connections:?}") };
        let (client, server) = (&connection.client_to_server, &connection.server_to_client);
        assert_eq!((client.segments, client.syn, client.fin, client.octets), (4, 1, 0, 8));
        assert_eq!((server.segments, server.syn, server.rst, server.octets), (3, 1, 0, 8));
        assert_eq!((connection.completeness, connection.ending), (7, Ending::Open));
        assert_eq!(connection.client_state, Some(State::Established));
        assert_eq!(connection.initial_rtt.map(|rtt| rtt.0), Some(20_000_000));
        assert_eq!(connection.history, "ShA");
        assert!(connection.findings.iter().all(|finding| finding.frame != Some(6)), "{:?}", connection.findings);
    }

    /// tshark 4.0 counts its flags, and leaves it out of the sequence analysis.
    #[test]
    fn a_header_beyond_its_segment_counts_by_its_flags_and_moves_nothing() {
        let connections = with_bad_offsets(
            "0    C > S: S  100(0)
             10   S > C: S. 300(0) ack 101
             20   C > S: .  101(0) ack 301
             ?30  C > S: F. 101(0) ack 301
             ?40  S > C: R. 301(0) ack 101
             50   C > S: P. 101(5) ack 301",
        );
        let [connection] = &connections[..] else { panic!("{connections:?}") };
        assert_eq!((connection.client_to_server.fin, connection.server_to_client.rst), (1, 1));
        assert_eq!((connection.completeness, connection.ending), (63, Ending::Open));
        assert_eq!(connection.client_state, Some(State::Established));
        assert_eq!(connection.findings, []);
    }

    #[test]
    fn a_syn_with_a_bad_offset_opens_a_connection_all_the_same() {
        let short = with_bad_offsets(
            "!0 C > S: S 100(4)\n 1 C > S: S 100(0)\n 2 S > C: S. 300(0) ack 101\n !3 C > S: S 900(4)",
        );
        assert_eq!(short.iter().map(|connection| connection.completeness).collect::<Vec<_>>(), [2, 1]);
        assert_eq!((short[0].client_to_server.syn, short[1].client_to_server.syn), (1, 0));
        // Where its numbers begin is not known from one beyond its segment.
        let beyond = with_bad_offsets("?0 C > S: S 100(0)\n 1 C > S: S 900(0)\n 2 S > C: S. 300(0) ack 901");
        assert_eq!(beyond.iter().map(|connection| connection.completeness).collect::<Vec<_>>(), [3]);
        assert_eq!(beyond[0].client_to_server.syn, 2);
    }

    // ---- quoted in ICMP errors -----------------------------------------------------------------------------------

    #[test]
    fn a_quoted_header_takes_a_number_and_is_no_segment() {
        let mut table = FlowTable::new();
        let port = |line: &str, port: u16| {
            let (from, mut segment, _) = script::read(line).next().expect("a segment");
            *(if from == Actor::CLIENT { &mut segment.src_port } else { &mut segment.dst_port }) = port;
            segment
        };
        table.quote(&port("0 C > S: S 100(0)", 1));
        table.quote(&port("0 C > S: S 100(0)", 2));
        table.observe(&port("1 C > S: S 100(0)", 3));
        table.observe(&port("2 C > S: S 100(0)", 2));
        table.observe(&port("3 S > C: R. 0(0) ack 101", 2));
        table.quote(&port("4 C > S: . 101(0) ack 301", 3));
        table.each(|connection| assert_ne!(connection.client.port(), 1));
        let mut told = Vec::new();
        let Ok(tally) = table.finish(|connection| {
            let segments = connection.client_to_server.segments;
            told.push((connection.id.0, connection.client.port(), connection.completeness, segments));
            Ok::<_, Infallible>(())
        });
        assert_eq!(told, [(1, 2, 37, 1), (2, 3, 5, 1)]);
        assert_eq!(tally.connections, 2);
    }

    // ---- limits --------------------------------------------------------------------------------------------------

    /// A table's connections in the order in which they are told, after a script of SYNs and others to many ports.
    fn told(limits: Limits, lines: impl IntoIterator<Item = (u16, &'static str)>) -> (Vec<Connection>, Tally) {
        let mut table = FlowTable::with_limits(limits);
        let mut connections = Vec::new();
        let mut tell = |connection| {
            connections.push(connection);
            Ok::<_, Infallible>(())
        };
        for (port, line) in lines {
            let (from, mut segment, _) = script::read(line).next().expect("a segment");
            *(if from == Actor::CLIENT { &mut segment.src_port } else { &mut segment.dst_port }) = port;
            table.observe(&segment);
            let Ok(()) = table.take_ended(&mut tell);
        }
        let Ok(tally) = table.finish(&mut tell);
        (connections, tally)
    }

    #[test]
    fn what_is_over_is_told_when_it_was_quiet_for_long() {
        let limits = Limits { linger: Span::from_millis(1000), ..Limits::default() };
        let (connections, tally) = told(
            limits,
            [
                (1, "0 C > S: S 100(0)"),
                (2, "1 C > S: S 100(0)"),
                (2, "2 S > C: R. 0(0) ack 101"),
                (3, "900 C > S: S 100(0)"),
                (2, "1500 S > C: R. 0(0) ack 101"),
                (3, "1600 S > C: S. 300(0) ack 101"),
                (3, "9000 C > S: . 101(0) ack 301"),
                (2, "9001 S > C: R. 0(0) ack 101"),
            ],
        );
        let order: Vec<_> =
            connections.iter().map(|connection| (connection.client.port(), connection.ending)).collect();
        assert_eq!(order, [(1, Ending::Unanswered), (2, Ending::Refused), (3, Ending::Open)]);
        assert_eq!(connections[1].server_to_client.rst, 2);
        assert_eq!((tally.late_segments, tally.let_go), (1, 0));
    }

    #[test]
    fn of_too_many_attempts_the_oldest_is_let_go() {
        let limits = Limits { asked: 10, ..Limits::default() };
        let (connections, tally) = told(limits, (1..=100).map(|port| (port, "0 C > S: S 100(0)")));
        let order: Vec<_> = connections.iter().map(|connection| connection.id.0).collect();
        assert_eq!(order, (0..100).collect::<Vec<_>>());
        assert!((58..=90).contains(&tally.let_go), "{tally:?}");
        assert_eq!(connections.len(), 100);
    }

    #[test]
    fn of_too_many_open_ones_a_quiet_one_is_let_go() {
        let limits = Limits { open: 10, ..Limits::default() };
        let (connections, tally) = told(limits, (1..=300).map(|port| (port, "0 C > S: . 101(1) ack 301")));
        assert_eq!((connections.len(), tally.connections, tally.let_go), (300, 300, 290));
    }

    #[test]
    fn of_too_many_that_are_over_the_first_is_told() {
        let limits = Limits { over: 2, ..Limits::default() };
        let lines = (1..=5).flat_map(|port| [(port, "0 C > S: S 100(0)"), (port, "1 S > C: R. 0(0) ack 101")]);
        let (connections, tally) = told(limits, lines.chain([(1, "2 S > C: R. 0(0) ack 101")]));
        assert_eq!(connections.iter().map(|connection| connection.id.0).collect::<Vec<_>>(), [0, 1, 2, 3, 4]);
        assert_eq!((tally.late_segments, tally.let_go), (1, 0));
    }

    proptest! {
        /// A SYN alone is told and followed the same whether it is kept small or not.
        #[test]
        fn an_attempt_is_a_record_in_fewer_octets(
            flip: bool, seq: u32, window in 1u16.., mss: Option<u16>, window_scale: Option<u8>, sack_permitted: bool,
            timestamp: Option<u32>, ip_id: Option<u16>, checksum: u16, ecn: bool,
        ) {
            let (_, mut segment, _) = script::read("7 C > S: S 100(0)").next().expect("a segment");
            if flip {
                (segment.src, segment.dst) = (segment.dst, segment.src);
            }
            (segment.seq, segment.window, segment.ip_id, segment.checksum) = (Seq(seq), window, ip_id, checksum);
            segment.options.mss = mss;
            segment.options.window_scale = window_scale;
            segment.options.sack_permitted = sack_permitted;
            segment.options.timestamps = timestamp.map(|timestamp| (timestamp, 0));
            segment.flags.set(Flags::ECE | Flags::CWR, ecn);
            let AnyKey::V4(key, from) = AnyKey::of(&segment) else { panic!("IPv4") };
            let attempt = Attempt::new(key, from, 5, &segment).expect("plain");
            prop_assert_eq!(attempt.segment(), Segment { ttl: 0, ..segment });
            let mut record = Record::new(key, from, 5, &segment);
            let step = record.observe(from, &segment, Some(&[]), 100);
            prop_assert_eq!(format!("{:?}", attempt.step(&segment)), format!("{step:?}"));
            prop_assert_eq!(attempt.summary(), record.summary());
        }
    }

    prop_compose! {
        fn any_segment()(
            flip: bool, flags in 0u16..0x200, seq in 0u32..2_000, ack in 0u32..2_000, len in 0u32..500,
            window in 0u16..1_000, offset in prop_oneof![Just(0u32), Just(u32::MAX - 900)], millis in 0u32..5_000,
        ) -> Segment {
            let line = format!("{millis} {}: . 0({len}) win {window}", if flip { "S > C" } else { "C > S" });
            let (_, mut segment, _) = script::read(&line).next().expect("a segment");
            segment.flags = Flags::from_bits_truncate(flags);
            (segment.seq, segment.ack) = (Seq(seq.wrapping_add(offset)), Seq(ack.wrapping_add(offset)));
            segment
        }
    }

    proptest! {
        /// Whatever comes, nothing panics, and every segment and octet is in exactly one connection.
        #[test]
        fn any_segments_are_counted_once(segments in proptest::collection::vec(any_segment(), 0..80)) {
            let mut table = FlowTable::new();
            for segment in &segments {
                prop_assert!(table.observe(segment).is_some());
            }
            let (mut counted, mut octets) = (0, 0);
            let Ok(_) = table.finish(|connection| {
                for side in [&connection.client_to_server, &connection.server_to_client] {
                    counted += side.segments;
                    octets += side.octets;
                    assert!(side.unique_octets <= side.octets);
                }
                Ok::<_, Infallible>(())
            });
            prop_assert_eq!(counted, segments.len() as u64);
            prop_assert_eq!(octets, segments.iter().map(|segment| u64::from(segment.len)).sum::<u64>());
        }
    }
}
