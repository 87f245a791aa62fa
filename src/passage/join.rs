//! Which of several segments that are alike arrived as which: by the identification of their datagrams, else by the times that others took.

use std::ops::Range;

use super::placed::Placed;

/// What was found of the segments of one direction.
pub(super) struct Found {
    /// For each that was sent, the one that it arrived as.
    pub(super) of_sent: Vec<Option<u32>>,
    /// For each that arrived, the one that it is.
    pub(super) of_arrived: Vec<Option<u32>>,
    /// Copies of what arrived: which was sent, and what came once more.
    pub(super) copies: Vec<(u32, u32)>,
    /// Those of the sender's capture that are there twice.
    pub(super) twice: Vec<bool>,
    /// Whether the identification is the same at both ends.
    pub(super) keeps_ids: bool,
    /// Whether of something that arrived not all segments were looked at that it may be a part of.
    pub(super) is_open: bool,
    /// How long most take, by the difference of both clocks.
    usual: Option<i64>,
    /// How long the fastest takes.
    fastest: Option<i64>,
}

impl Found {
    pub(super) fn new(twice: Vec<bool>, arrived: usize) -> Self {
        Self {
            of_sent: vec![None; twice.len()],
            of_arrived: vec![None; arrived],
            copies: Vec::new(),
            twice,
            keeps_ids: false,
            is_open: false,
            usual: None,
            fastest: None,
        }
    }

    fn pair(&mut self, one: u32, other: u32) {
        self.of_sent[one as usize] = Some(other);
        self.of_arrived[other as usize] = Some(one);
    }

    fn copy(&mut self, one: u32, other: u32) {
        self.copies.push((one, other));
        self.of_arrived[other as usize] = Some(one);
    }

    /// Joins those of both that are alike by `key` and not joined yet.
    pub(super) fn join(
        &mut self,
        sent: &[Placed<'_>],
        arrived: &[Placed<'_>],
        key: impl Fn(&Placed<'_>) -> u64,
        is_first: bool,
    ) {
        let keyed = |all: &[Placed<'_>], is_free: &dyn Fn(usize) -> bool| -> Vec<(u64, u32)> {
            let free = (0..all.len()).filter(|place| is_free(*place));
            let mut keyed: Vec<(u64, u32)> = free.map(|place| (key(&all[place]), place as u32)).collect();
            keyed.sort_unstable();
            keyed
        };
        let mut senders = keyed(sent, &|place| self.of_sent[place].is_none() && !self.twice[place]);
        let mut receivers = keyed(arrived, &|place| self.of_arrived[place].is_none());
        let groups: Vec<(Range<usize>, Range<usize>)> = groups(&senders, &receivers).collect();
        // Where something is changed in every segment, those that are alike in outline tell it.
        if is_first || self.usual.is_none() {
            self.learn(sent, arrived, &groups, &senders, &receivers);
        }
        let id = |placed: &Placed<'_>| placed.taken.segment.ip_id.filter(|id| *id != 0);
        for (ours, theirs) in groups {
            let (ours, theirs) = (&mut senders[ours], &mut receivers[theirs]);
            if !self.keeps_ids {
                self.by_time(sent, arrived, ours, theirs);
                continue;
            }
            if let ([(_, one)], [(_, other)]) = (&*ours, &*theirs) {
                if id(&sent[*one as usize]) == id(&arrived[*other as usize]) {
                    self.pair(*one, *other);
                }
                continue;
            }
            // Those that have the same identification, too, are copies.
            ours.sort_by_key(|(_, place)| (id(&sent[*place as usize]), *place));
            theirs.sort_by_key(|(_, place)| (id(&arrived[*place as usize]), *place));
            let numbered = |all: &[(u64, u32)], placed: &[Placed<'_>]| -> Vec<(u64, u32)> {
                all.iter().map(|(_, place)| (id(&placed[*place as usize]).map_or(0, u64::from), *place)).collect()
            };
            let (ours, theirs) = (numbered(ours, sent), numbered(theirs, arrived));
            for (ours_alike, theirs_alike) in groups_of(&ours, &theirs) {
                self.by_time(sent, arrived, &ours[ours_alike], &theirs[theirs_alike]);
            }
        }
    }

    /// Learns from those that no other segment is like whether the identification is kept, and how long they take.
    fn learn(
        &mut self,
        sent: &[Placed<'_>],
        arrived: &[Placed<'_>],
        groups: &[(Range<usize>, Range<usize>)],
        senders: &[(u64, u32)],
        receivers: &[(u64, u32)],
    ) {
        let (mut counts, mut took) = ([0usize; 2], Vec::new());
        for (ours, theirs) in groups {
            let ([(_, one)], [(_, other)]) = (&senders[ours.clone()], &receivers[theirs.clone()]) else { continue };
            let one = &sent[*one as usize].taken.segment;
            let other = &arrived[*other as usize].taken.segment;
            if one.ip_id.is_some_and(|id| id != 0) && other.ip_id.is_some() {
                counts[usize::from(one.ip_id == other.ip_id)] += 1;
            }
            took.extend(other.at.zip(one.at).map(|(arrived, sent)| arrived.since(sent).as_nanos()));
        }
        self.keeps_ids = counts[1] > 0 && counts[1] >= counts[0].saturating_mul(4);
        self.fastest = took.iter().min().copied();
        let middle = took.len() / 2;
        self.usual = (!took.is_empty()).then(|| *took.select_nth_unstable(middle).1);
    }

    /// Joins those that nothing but their time tells apart, in their order; what is left over is a copy, or did not arrive.
    fn by_time(&mut self, sent: &[Placed<'_>], arrived: &[Placed<'_>], ours: &[(u64, u32)], theirs: &[(u64, u32)]) {
        let at = |all: &[Placed<'_>], place: u32| all[place as usize].taken.segment.at;
        let usual = self.usual;
        let strange = |one: u32, other: u32| match (at(sent, one), at(arrived, other), usual) {
            (Some(sent), Some(arrived), Some(usual)) => arrived.since(sent).as_nanos().abs_diff(usual),
            _ => 0,
        };
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
                match self.of_arrived[*other as usize] {
                    Some(one) => latest = Some(one),
                    None => {
                        // What came before anything that was sent then could have come is no copy of it.
                        let is_before = |one: &u32| match (at(sent, *one), at(arrived, *other), self.fastest) {
                            (Some(sent), Some(arrived), Some(fastest)) => {
                                arrived.since(sent).as_nanos() < fastest.saturating_sub(JITTER)
                            }
                            _ => false,
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

/// Which of the segments of an end its capture has a second time: what is the same in everything, the identification of the datagram with it,
/// was sent once.
pub(super) fn captured_twice(sent: &[Placed<'_>], mark: impl Fn(&Placed<'_>) -> u64) -> Vec<bool> {
    let id = |placed: &Placed<'_>| placed.taken.segment.ip_id.unwrap_or(0);
    let numbered = (0u32..).zip(sent).filter(|(_, placed)| id(placed) != 0);
    let mut keyed: Vec<(u64, u16, u32)> = numbered.map(|(place, placed)| (mark(placed), id(placed), place)).collect();
    keyed.sort_unstable();
    let mut twice = vec![false; sent.len()];
    for run in keyed.chunk_by(|one, other| (one.0, one.1) == (other.0, other.1)) {
        run[1..].iter().for_each(|(.., place)| twice[*place as usize] = true);
    }
    twice
}

/// The runs of equal keys that both have; both are sorted.
fn groups<'a>(
    ours: &'a [(u64, u32)],
    theirs: &'a [(u64, u32)],
) -> impl Iterator<Item = (Range<usize>, Range<usize>)> + 'a {
    let (mut one, mut other) = (0, 0);
    std::iter::from_fn(move || {
        while one < ours.len() && other < theirs.len() {
            match ours[one].0.cmp(&theirs[other].0) {
                std::cmp::Ordering::Less => one += 1,
                std::cmp::Ordering::Greater => other += 1,
                std::cmp::Ordering::Equal => {
                    let key = ours[one].0;
                    let run = |all: &[(u64, u32)], from: usize| {
                        from + all[from..].iter().take_while(|entry| entry.0 == key).count()
                    };
                    let found = (one..run(ours, one), other..run(theirs, other));
                    (one, other) = (found.0.end, found.1.end);
                    return Some(found);
                }
            }
        }
        None
    })
}

fn groups_of(ours: &[(u64, u32)], theirs: &[(u64, u32)]) -> Vec<(Range<usize>, Range<usize>)> {
    groups(ours, theirs).collect()
}

/// How many of those that are alike are looked at for one of them.
pub(super) const LOOKED_AT: usize = 64;
/// How much faster than the fastest of those that are known another may be, in nanoseconds.
const JITTER: i64 = 2_000_000;
