//! Which of several segments that are alike arrived as which: by the identification of their datagrams, else by the times that others took.

use std::cmp::Ordering;
use std::ops::Range;

use super::digest::Compared;
use super::placed::{Key, Placed, Row};

/// What was found of the segments of one direction; its room is used again for the next one.
#[derive(Default)]
pub(super) struct Found {
    /// For each that was sent, the one that it arrived as; [`NOBODY`] where there is none.
    of_sent: Vec<u32>,
    /// For each that arrived, the one that it is.
    of_arrived: Vec<u32>,
    /// Copies of what arrived: which was sent, and what came once more; in order.
    pub(super) copies: Vec<(u32, u32)>,
    /// Those of the sender's capture that are there twice: the same in everything, the identification of the datagram with it, was sent once.
    twice: Vec<bool>,
    /// How many these are.
    pub(super) count_twice: u32,
    /// Whether of something that arrived not all segments were looked at that it may be a part of.
    pub(super) is_open: bool,
    /// Whether the identification is the same at both ends.
    keeps_ids: bool,
    times: Option<Times>,
    /// How many of either are not joined.
    left: [usize; 2],
    /// Those that were sent, and that arrived, in order of what they are found by.
    senders: Vec<Keyed>,
    receivers: Vec<Keyed>,
    /// Those of both that are alike, with the identification of each.
    alike: [Vec<(u16, u32)>; 2],
}

/// How long those take that no other segment is like, by the difference of both clocks.
#[derive(Clone, Copy, Default)]
struct Times {
    /// Most of them.
    usual: Option<i64>,
    fastest: Option<i64>,
}

impl Found {
    /// Joins the segments of one direction: those that are alike in everything, and then those that are in outline, as what was changed on the way is.
    pub(super) fn find(&mut self, sent: Row<'_>, arrived: Row<'_>, how: Compared) {
        self.begin(sent.len(), arrived.len());
        let key = |placed: Placed<'_>| placed.key(placed.taken.mark(how));
        keyed(&mut self.senders, sent, key, |_| true);
        keyed(&mut self.receivers, arrived, key, |_| true);
        self.leave_out_twice(sent);
        self.learn_ids(sent, arrived);
        self.join_alike(sent, arrived);
        if self.left.contains(&0) {
            return;
        }
        let times = self.times(sent, arrived);
        let Self { senders, receivers, of_sent, of_arrived, twice, .. } = self;
        keyed(senders, sent, |placed| placed.outline(), |place| of_sent[place] == NOBODY && !twice[place]);
        keyed(receivers, arrived, |placed| placed.outline(), |place| of_arrived[place] == NOBODY);
        // Where something is changed in every segment, those that are alike in outline tell it.
        if times.usual.is_none() {
            self.times = None;
            self.learn_ids(sent, arrived);
        }
        self.join_alike(sent, arrived);
    }

    /// The one that a segment arrived as.
    #[inline]
    pub(super) fn of_sent(&self, place: usize) -> Option<u32> {
        Some(self.of_sent[place]).filter(|at| *at != NOBODY)
    }

    /// Whether it is known which one that arrived is.
    #[inline]
    pub(super) fn is_known(&self, arrived: usize) -> bool {
        self.of_arrived[arrived] != NOBODY
    }

    /// Whether the sender's capture has it a second time.
    #[inline]
    pub(super) fn is_twice(&self, sent: usize) -> bool {
        self.twice[sent]
    }

    /// Whether something that was sent, and something that arrived, is not joined.
    pub(super) fn is_any_left(&self) -> bool {
        !self.left.contains(&0)
    }

    /// Says that one arrived as a part of another.
    pub(super) fn part(&mut self, one: u32, other: u32) {
        self.of_arrived[other as usize] = one;
        if self.of_sent[one as usize] == NOBODY {
            self.of_sent[one as usize] = other;
        }
    }

    fn begin(&mut self, sent: usize, arrived: usize) {
        for (of, len) in [(&mut self.of_sent, sent), (&mut self.of_arrived, arrived)] {
            of.clear();
            of.resize(len, NOBODY);
        }
        self.twice.clear();
        self.twice.resize(sent, false);
        self.copies.clear();
        self.left = [sent, arrived];
        (self.count_twice, self.is_open, self.keeps_ids, self.times) = (0, false, false, None);
    }

    fn pair(&mut self, one: u32, other: u32) {
        self.of_sent[one as usize] = other;
        self.of_arrived[other as usize] = one;
        self.left.iter_mut().for_each(|left| *left -= 1);
    }

    fn copy(&mut self, one: u32, other: u32) {
        self.copies.push((one, other));
        self.of_arrived[other as usize] = one;
        self.left[1] -= 1;
    }

    fn leave_out_twice(&mut self, sent: Row<'_>) {
        let [ids, _] = &mut self.alike;
        for run in self.senders.chunk_by(|one, other| one.key() == other.key()).filter(|run| run.len() > 1) {
            numbered(ids, run, sent);
            for alike in ids.chunk_by(|one, other| one.0 == other.0).filter(|alike| alike[0].0 != 0) {
                for (_, place) in &alike[1..] {
                    self.twice[*place as usize] = true;
                    self.count_twice += 1;
                }
            }
        }
        if self.count_twice > 0 {
            self.left[0] -= self.count_twice as usize;
            self.senders.retain(|keyed| !self.twice[keyed.place as usize]);
        }
    }

    /// Learns from those that no other segment is like whether the identification is kept.
    fn learn_ids(&mut self, sent: Row<'_>, arrived: Row<'_>) {
        let mut counts = [0usize; 2];
        each_alike(&self.senders, &self.receivers, |ours, theirs| {
            if let ([one], [other]) = (ours, theirs) {
                let (one, other) = (sent.at(one.place).taken.ip_id(), arrived.at(other.place).taken.ip_id());
                if one.is_some_and(|id| id != 0) && other.is_some() {
                    counts[usize::from(one == other)] += 1;
                }
            }
        });
        self.keeps_ids = counts[1] > 0 && counts[1] >= counts[0].saturating_mul(4);
    }

    /// The times of those that no other segment is like; they are looked up where they are needed.
    fn times(&mut self, sent: Row<'_>, arrived: Row<'_>) -> Times {
        let (senders, receivers) = (&self.senders, &self.receivers);
        *self.times.get_or_insert_with(|| Times::of(sent, arrived, senders, receivers))
    }

    /// Joins those of both that are found by the same.
    fn join_alike(&mut self, sent: Row<'_>, arrived: Row<'_>) {
        let (senders, receivers) = (std::mem::take(&mut self.senders), std::mem::take(&mut self.receivers));
        let [mut our_ids, mut their_ids] = std::mem::take(&mut self.alike);
        each_alike(&senders, &receivers, |ours, theirs| {
            if let ([one], [other]) = (ours, theirs) {
                let id = |placed: Placed<'_>| placed.taken.ip_id().unwrap_or(0);
                if !self.keeps_ids || id(sent.at(one.place)) == id(arrived.at(other.place)) {
                    self.pair(one.place, other.place);
                }
                return;
            }
            let times = *self.times.get_or_insert_with(|| Times::of(sent, arrived, &senders, &receivers));
            if self.keeps_ids {
                // Those that have the same identification, too, are copies.
                numbered(&mut our_ids, ours, sent);
                numbered(&mut their_ids, theirs, arrived);
            } else {
                for (ids, alike) in [(&mut our_ids, ours), (&mut their_ids, theirs)] {
                    ids.clear();
                    ids.extend(alike.iter().map(|keyed| (0, keyed.place)));
                }
            }
            let alike = |one: &(u16, u32), other: &(u16, u32)| one.0 == other.0;
            let mut theirs = their_ids.chunk_by(alike).peekable();
            for ours in our_ids.chunk_by(alike) {
                while theirs.next_if(|theirs| theirs[0].0 < ours[0].0).is_some() {}
                if let Some(theirs) = theirs.next_if(|theirs| theirs[0].0 == ours[0].0) {
                    self.join_by_time(sent, arrived, ours, theirs, times);
                }
            }
        });
        (self.senders, self.receivers, self.alike) = (senders, receivers, [our_ids, their_ids]);
    }

    /// Joins those that nothing but their time tells apart, in their order; what is left over is a copy, or did not arrive.
    fn join_by_time(
        &mut self,
        sent: Row<'_>,
        arrived: Row<'_>,
        ours: &[(u16, u32)],
        theirs: &[(u16, u32)],
        times: Times,
    ) {
        let took = |one: u32, other: u32| {
            let (sent, arrived) = (sent.at(one).taken.at, arrived.at(other).taken.at);
            sent.zip(arrived).map(|(sent, arrived)| arrived.since(sent).as_nanos())
        };
        let strange =
            |one: u32, other: u32| took(one, other).zip(times.usual).map_or(0, |(took, usual)| took.abs_diff(usual));
        // The fewer ones are each put to the likeliest of the others that leaves enough for the rest.
        let mut next = 0;
        if ours.len() <= theirs.len() {
            for (n, (_, one)) in ours.iter().enumerate() {
                let last = (theirs.len() - (ours.len() - n)).min(next + LOOKED_AT - 1);
                let Some(place) = (next..=last).min_by_key(|place| strange(*one, theirs[*place].1)) else { break };
                self.pair(*one, theirs[place].1);
                next = place + 1;
            }
            let mut latest = ours.first().map(|(_, one)| *one);
            for (_, other) in theirs {
                match Some(self.of_arrived[*other as usize]).filter(|one| *one != NOBODY) {
                    Some(one) => latest = Some(one),
                    None => {
                        // What came before anything that was sent then could have come is no copy of it.
                        let is_before = |one: &u32| {
                            took(*one, *other)
                                .zip(times.fastest)
                                .is_some_and(|(took, fastest)| took < fastest.saturating_sub(JITTER))
                        };
                        if let Some(one) = latest.filter(|one| !is_before(one)) {
                            self.copy(one, *other);
                        }
                    }
                }
            }
        } else {
            for (n, (_, other)) in theirs.iter().enumerate() {
                let last = (ours.len() - (theirs.len() - n)).min(next + LOOKED_AT - 1);
                let Some(place) = (next..=last).min_by_key(|place| strange(ours[*place].1, *other)) else { break };
                self.pair(ours[place].1, *other);
                next = place + 1;
            }
        }
    }
}

impl Times {
    fn of(sent: Row<'_>, arrived: Row<'_>, senders: &[Keyed], receivers: &[Keyed]) -> Self {
        let mut took = Vec::new();
        each_alike(senders, receivers, |ours, theirs| {
            if let ([one], [other]) = (ours, theirs) {
                let (one, other) = (sent.at(one.place).taken.at, arrived.at(other.place).taken.at);
                took.extend(one.zip(other).map(|(sent, arrived)| arrived.since(sent).as_nanos()));
            }
        });
        let fastest = took.iter().min().copied();
        let middle = took.len() / 2;
        Self { usual: (!took.is_empty()).then(|| *took.select_nth_unstable(middle).1), fastest }
    }
}

/// A segment, and what it is found by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Keyed {
    key: Key,
    place: u32,
}

impl Keyed {
    #[inline]
    fn key(&self) -> Key {
        self.key
    }
}

/// Puts into `all` those of a row that are free, in order of what they are found by and then of their capture.
fn keyed(all: &mut Vec<Keyed>, row: Row<'_>, key: impl Fn(Placed<'_>) -> Key, is_free: impl Fn(usize) -> bool) {
    all.clear();
    let free = row.iter().enumerate().filter(|(place, _)| is_free(*place));
    all.extend(free.map(|(place, placed)| Keyed { key: key(placed), place: place as u32 }));
    // They come nearly in order: what is made for that sorts them.
    all.sort();
}

/// Puts into `ids` the identification of each, 0 where it has none, and its place; in order of both.
fn numbered(ids: &mut Vec<(u16, u32)>, alike: &[Keyed], row: Row<'_>) {
    ids.clear();
    ids.extend(alike.iter().map(|keyed| (row.at(keyed.place).taken.ip_id().unwrap_or(0), keyed.place)));
    ids.sort_unstable();
}

/// Shows the runs that both have and that are found by the same; both are sorted.
#[inline]
fn each_alike(ours: &[Keyed], theirs: &[Keyed], mut show: impl FnMut(&[Keyed], &[Keyed])) {
    let run = |all: &[Keyed], from: usize| -> Range<usize> {
        let key = all[from].key();
        from..from + 1 + all[from + 1..].iter().take_while(|keyed| keyed.key() == key).count()
    };
    let (mut one, mut other) = (0, 0);
    while one < ours.len() && other < theirs.len() {
        match ours[one].key().cmp(&theirs[other].key()) {
            Ordering::Less => one += 1,
            Ordering::Greater => other += 1,
            Ordering::Equal => {
                let (of_ours, of_theirs) = (run(ours, one), run(theirs, other));
                (one, other) = (of_ours.end, of_theirs.end);
                show(&ours[of_ours], &theirs[of_theirs]);
            }
        }
    }
}

/// In place of the one that a segment is joined with.
const NOBODY: u32 = u32::MAX;
/// How many of those that are alike are looked at for one of them.
pub(super) const LOOKED_AT: usize = 64;
/// How much faster than the fastest of those that are known another may be, in nanoseconds.
const JITTER: i64 = 2_000_000;
