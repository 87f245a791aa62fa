//! Which connection of one capture is which of the other.

use std::collections::{HashMap, HashSet};

use super::FoundBy;
use super::connections::Captured;
use super::digest::{Compared, mix};
use super::taken::Taken;
use crate::flow::{ByEnds, Ends, Side};
use crate::wire::Seq;

/// What a connection of the client's capture is in the server's.
pub(super) struct Matched {
    /// Its place there, and by what it was found; `None`: it is not there, as far as was looked.
    pub(super) found: Option<(usize, FoundBy)>,
    /// Whether more are like it than are looked at: then it may be there all the same.
    pub(super) is_open: bool,
}

/// Finds the connections of the client's capture in the server's.
///
/// They are matched by addresses and ports first, then by their initial sequence numbers and timestamps, then by the first octets that each end sent,
/// and last by any segment with octets whose numbers and octets are the same.
pub(super) fn matched(at_client: &[Captured], at_server: &[Captured]) -> Vec<Matched> {
    let mut index = Index::of(at_server);
    let found = at_client.iter().map(|here| Matched { found: index.by_addresses(here), is_open: false });
    let mut all: Vec<Matched> = found.collect();
    // What the others are found by is put down only where there are others.
    if all.iter().any(|matched| matched.found.is_none()) {
        index.by_other_means(at_client, &mut all);
    }
    all
}

/// Both with the same end as the client: the one that a SYN makes known, or else the client's capture does.
pub(super) fn orient(here: &mut Captured, there: &mut Captured, found_by: FoundBy) {
    let is_turned = match found_by {
        FoundBy::Addresses => here.ends != there.ends,
        _ if here.isns.iter().any(Option::is_some) && there.isns.iter().any(Option::is_some) => {
            let differ = |side: usize, other: usize| {
                here.isns[side].zip(there.isns[other]).is_some_and(|(one, other)| one != other)
            };
            let agree = |side: usize, other: usize| here.isns[side].is_some() && here.isns[side] == there.isns[other];
            (differ(0, 0) || differ(1, 1)) && (agree(0, 1) || agree(1, 0))
        }
        // The end whose port is the same in both captures is the same end.
        _ => {
            here.ends[0].port() == there.ends[1].port() && here.ends[0].port() != there.ends[0].port()
                || here.ends[1].port() == there.ends[0].port() && here.ends[1].port() != there.ends[1].port()
        }
    };
    match is_turned {
        false => {}
        true if !here.is_known && there.is_known => here.turn(),
        true => there.turn(),
    }
}

/// The connections of the server's capture, and which of them are not found yet.
struct Index<'a> {
    all: &'a [Captured],
    between: ByEnds<Chain>,
    links: Links,
}

/// Connections that are found by the same, in their order: the first one, from which [`Links`] go on.
#[derive(Clone, Copy)]
struct Chain(u32);

/// The next one of each connection's chain, and which are taken.
struct Links {
    next: Vec<u32>,
    is_taken: Vec<bool>,
    /// Whether of those that are alike some were not looked at.
    is_cut: bool,
}

impl Links {
    fn of(count: usize) -> Self {
        Self { next: vec![END; count], is_taken: vec![false; count], is_cut: false }
    }

    /// The first of a chain that fits, which is taken then; those that are taken leave the chain.
    fn take_first(&mut self, chain: &mut Chain, fits: impl Fn(usize) -> bool) -> Option<usize> {
        let (mut before, mut at, mut looked_at) = (None, chain.0, 0);
        while at != END {
            let (place, after) = (at as usize, self.next[at as usize]);
            if self.is_taken[place] {
                *before.map_or(&mut chain.0, |before: usize| &mut self.next[before]) = after;
            } else if looked_at == LOOKED_AT {
                self.is_cut = true;
                return None;
            } else if fits(place) {
                self.is_taken[place] = true;
                return Some(place);
            } else {
                looked_at += 1;
                before = Some(place);
            }
            at = after;
        }
        None
    }
}

impl<'a> Index<'a> {
    fn of(all: &'a [Captured]) -> Self {
        let mut between: ByEnds<Chain> = ByEnds::for_many(all.len());
        let mut links = Links::of(all.len());
        // From the last one on, so that the first one is where its chain begins.
        for (place, there) in all.iter().enumerate().rev() {
            let after = between.insert(Ends::between(there.ends), Chain(place as u32));
            links.next[place] = after.map_or(END, |chain| chain.0);
        }
        Self { all, between, links }
    }

    /// Finds those that addresses and ports did not: by numbers, by octets, by segments.
    fn by_other_means(&mut self, at_client: &[Captured], found: &mut [Matched]) {
        let mut by_isns: HashMap<Seq, Chain> = HashMap::new();
        for (place, there) in self.all.iter().enumerate().rev() {
            if let Some(isn) = there.isns.into_iter().flatten().next() {
                let after = by_isns.insert(isn, Chain(place as u32));
                self.links.next[place] = after.map_or(END, |chain| chain.0);
            }
        }
        for (here, matched) in at_client.iter().zip(&mut *found).filter(|(_, matched)| matched.found.is_none()) {
            self.links.is_cut = false;
            matched.found = self.by_numbers(here, &mut by_isns);
            matched.is_open = self.links.is_cut && matched.found.is_none();
        }
        let mut times: HashMap<Octets, u32> = HashMap::new();
        at_client.iter().filter_map(Octets::of).for_each(|octets| *times.entry(octets).or_default() += 1);
        let mut by_octets: HashMap<Octets, Option<usize>> = HashMap::new();
        for (place, there) in self.all.iter().enumerate() {
            if let Some(octets) = Octets::of(there) {
                by_octets.entry(octets).and_modify(|only| *only = None).or_insert(Some(place));
            }
        }
        for (here, matched) in at_client.iter().zip(&mut *found).filter(|(_, matched)| matched.found.is_none()) {
            // The only one whose ends sent the same first octets.
            let only = Octets::of(here).filter(|octets| times.get(octets) == Some(&1));
            let place = only.and_then(|octets| *by_octets.get(&octets)?).filter(|place| !self.links.is_taken[*place]);
            if let Some(place) = place {
                self.links.is_taken[place] = true;
                matched.found = Some((place, FoundBy::Octets));
            }
        }
        self.by_segments(at_client, found);
    }

    /// One between the same ends: of several the one whose SYNs have the same numbers; where these are other ones, the timestamps or the octets are the same.
    fn by_addresses(&mut self, here: &Captured) -> Option<(usize, FoundBy)> {
        let Self { all, between, links } = self;
        let chain = between.find_mut(&Ends::between(here.ends))?;
        let same_numbers = |there: &Captured| {
            let turned = usize::from(here.ends != there.ends);
            (0..2).all(|side| here.isns[side].zip(there.isns[side ^ turned]).is_none_or(|(one, other)| one == other))
        };
        let found = links.take_first(chain, |place| same_numbers(&all[place]));
        let found = found.or_else(|| {
            let octets = Octets::of(here);
            let alike = |there: &Captured| {
                same_stamp(here, there) || octets.is_some_and(|octets| Octets::of(there) == Some(octets))
            };
            links.take_first(chain, |place| alike(&all[place]))
        });
        Some((found?, FoundBy::Addresses))
    }

    /// One whose SYNs have the same numbers: both, or one with the same timestamp or to the same port, because a number alone may be another's by chance.
    fn by_numbers(&mut self, here: &Captured, by_isns: &mut HashMap<Seq, Chain>) -> Option<(usize, FoundBy)> {
        let Self { all, links, .. } = self;
        let isns: Vec<Seq> = here.isns.iter().flatten().copied().collect();
        for isn in &isns {
            let Some(chain) = by_isns.get_mut(isn) else { continue };
            let fits = |there: &Captured| {
                let theirs: Vec<Seq> = there.isns.iter().flatten().copied().collect();
                let shared = isns.iter().filter(|isn| theirs.contains(isn)).count();
                let contradicts = isns.len() == 2 && theirs.len() == 2 && shared < 2;
                let stamps = stamps(here).zip(stamps(there));
                let same_port = here.ends[1].port() == there.ends[1].port();
                !contradicts && stamps.map_or(shared == 2 || same_port, |(one, other)| one == other || shared == 2)
            };
            if let Some(place) = links.take_first(chain, |place| fits(&all[place])) {
                // Among very many between the same ends it may not have been looked at before.
                let is_there = Ends::between(all[place].ends) == Ends::between(here.ends);
                return Some((place, if is_there { FoundBy::Addresses } else { FoundBy::Numbers }));
            }
        }
        None
    }

    /// Those that share a segment with octets, as it stands: one capture of a connection may begin long after the other.
    fn by_segments(&mut self, at_client: &[Captured], found: &mut [Matched]) {
        let Self { all, links: Links { is_taken, .. }, .. } = self;
        if found.iter().all(|matched| matched.found.is_some()) || is_taken.iter().all(|taken| *taken) {
            return;
        }
        let mark = |taken: &Taken| {
            let numbers = u64::from(taken.seq.0) << 32 | u64::from(taken.ack.0);
            let stamp = taken.timestamps().map_or(0, |[value, echo]| u64::from(value) << 32 | u64::from(echo));
            [numbers, taken.len.into(), stamp].into_iter().fold(taken.digest(Compared::Head), mix)
        };
        let mut by_mark: HashMap<u64, usize> = HashMap::new();
        let mut ambiguous: HashSet<u64> = HashSet::new();
        for (place, there) in all.iter().enumerate().filter(|(place, _)| !is_taken[*place]) {
            for taken in there.segments.iter().filter(|taken| taken.len > 0) {
                if by_mark.insert(mark(taken), place).is_some_and(|before| before != place) {
                    ambiguous.insert(mark(taken));
                }
            }
        }
        for (here, matched) in at_client.iter().zip(found).filter(|(_, matched)| matched.found.is_none()) {
            let mut with_octets = here.segments.iter().filter(|taken| taken.len > 0);
            let shared = with_octets.find_map(|taken| {
                let place = *by_mark.get(&mark(taken))?;
                (!ambiguous.contains(&mark(taken)) && !is_taken[place]).then_some(place)
            });
            if let Some(place) = shared {
                is_taken[place] = true;
                matched.found = Some((place, FoundBy::Numbers));
            }
        }
    }
}

/// The first octets that each end sent: how many, and their digest.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Octets([Option<(u32, u64, u32)>; 2]);

impl Octets {
    /// `None` where neither end sent any.
    fn of(captured: &Captured) -> Option<Self> {
        let of = [Side::Client, Side::Server].map(|side| {
            captured
                .first_octets(side)
                .map(|taken| (taken.len, taken.digest(Compared::Head), taken.stamp().unwrap_or(0)))
        });
        of.iter().any(Option::is_some).then_some(Self(of))
    }
}

/// The timestamp of the first segment with one, if it is a SYN's.
fn stamps(captured: &Captured) -> Option<u32> {
    let first = captured.segments.iter().find(|taken| taken.seq_len() > 0)?;
    first.stamp().filter(|value| *value != 0)
}

fn same_stamp(here: &Captured, there: &Captured) -> bool {
    stamps(here).is_some() && stamps(here) == stamps(there)
}

/// How many connections that are alike are looked at for one.
pub(super) const LOOKED_AT: usize = 256;
/// In place of a next one where there is none.
const END: u32 = u32::MAX;
