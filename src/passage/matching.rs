//! Which connection of one capture is which of the other.

use std::collections::{HashMap, HashSet, VecDeque};
use std::net::SocketAddr;

use super::FoundBy;
use super::connections::{Captured, Taken};
use super::digest::{Compared, mix};
use crate::flow::Side;
use crate::wire::Seq;

/// A connection of the client's capture, and what it is in the server's.
pub(super) struct Couple {
    pub(super) at_client: Captured,
    /// `None`: it is not there, as far as was looked.
    pub(super) at_server: Option<(Captured, FoundBy)>,
    /// Whether more are like it than are looked at: then it may be there all the same.
    pub(super) is_open: bool,
}

/// Finds the connections of the client's capture in the server's; those that are left of the latter come second.
///
/// They are matched by addresses and ports first, then by their initial sequence numbers and timestamps, then by the first octets that each end sent,
/// and last by any segment with octets whose numbers and octets are the same.
pub(super) fn couples(at_client: Vec<Captured>, at_server: Vec<Captured>) -> (Vec<Couple>, Vec<Captured>) {
    let mut index = Index::of(at_server);
    let mut found: Vec<Option<(usize, FoundBy)>> = at_client.iter().map(|here| index.by_addresses(here)).collect();
    let mut is_open = Vec::with_capacity(at_client.len());
    let octets: Vec<_> = at_client.iter().map(Octets::of).collect();
    let mut times: HashMap<Octets, u32> = HashMap::new();
    octets.iter().flatten().for_each(|octets| *times.entry(*octets).or_default() += 1);
    for (here, found) in at_client.iter().zip(&mut found) {
        index.is_cut = false;
        *found = found.or_else(|| index.by_numbers(here));
        is_open.push(index.is_cut);
    }
    for (octets, found) in octets.iter().zip(&mut found).filter(|(_, found)| found.is_none()) {
        let only = octets.filter(|octets| times.get(octets) == Some(&1));
        *found = only.and_then(|octets| index.by_octets(octets));
    }
    index.by_segments(&at_client, &mut found);
    let Index { mut all, .. } = index;
    let couples = at_client.into_iter().zip(found).zip(is_open).map(|((at_client, found), is_open)| {
        let Some((there, found_by)) = found.and_then(|(place, by)| Some((all[place].take()?, by))) else {
            return Couple { at_client, at_server: None, is_open };
        };
        let (at_client, there) = oriented(at_client, there, found_by);
        Couple { at_client, at_server: Some((there, found_by)), is_open: false }
    });
    let couples = couples.collect();
    (couples, all.into_iter().flatten().collect())
}

/// Both with the same end as the client: the one that a SYN makes known, or else the client's capture does.
fn oriented(here: Captured, there: Captured, found_by: FoundBy) -> (Captured, Captured) {
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
        false => (here, there),
        true if !here.is_known && there.is_known => (here.turned(), there),
        true => (here, there.turned()),
    }
}

/// The connections of the server's capture, and which of them are not found yet.
struct Index {
    all: Vec<Option<Captured>>,
    by_ends: HashMap<[SocketAddr; 2], VecDeque<usize>>,
    by_isns: HashMap<Seq, VecDeque<usize>>,
    by_octets: HashMap<Octets, Vec<usize>>,
    is_taken: Vec<bool>,
    /// Whether of those that are alike some were not looked at.
    is_cut: bool,
}

impl Index {
    fn of(all: Vec<Captured>) -> Self {
        let mut by_ends: HashMap<_, VecDeque<usize>> = HashMap::new();
        let mut by_isns: HashMap<_, VecDeque<usize>> = HashMap::new();
        let mut by_octets: HashMap<_, Vec<usize>> = HashMap::new();
        for (place, there) in all.iter().enumerate() {
            by_ends.entry(sorted(there.ends)).or_default().push_back(place);
            if let Some(isn) = there.isns.iter().flatten().next() {
                by_isns.entry(*isn).or_default().push_back(place);
            }
            if let Some(octets) = Octets::of(there) {
                by_octets.entry(octets).or_default().push(place);
            }
        }
        let is_taken = vec![false; all.len()];
        Self { all: all.into_iter().map(Some).collect(), by_ends, by_isns, by_octets, is_taken, is_cut: false }
    }

    /// The first of those that fits; those that are taken are forgotten.
    fn first(&mut self, from: Option<&mut VecDeque<usize>>, fits: impl Fn(&Captured) -> bool) -> Option<usize> {
        let places = from?;
        places.retain(|place| !self.is_taken[*place]);
        let is_it = |place: &&usize| self.all[**place].as_ref().is_some_and(&fits);
        let place = places.iter().take(LOOKED_AT).find(is_it).copied();
        self.is_cut |= place.is_none() && places.len() > LOOKED_AT;
        self.is_taken[place?] = true;
        place
    }

    /// One between the same ends: of several the one whose SYNs have the same numbers; where these are other ones, the timestamps or the octets are the same.
    fn by_addresses(&mut self, here: &Captured) -> Option<(usize, FoundBy)> {
        let mut places = self.by_ends.remove(&sorted(here.ends));
        let same_numbers = |there: &Captured| {
            let turned = usize::from(here.ends != there.ends);
            (0..2).all(|side| here.isns[side].zip(there.isns[side ^ turned]).is_none_or(|(one, other)| one == other))
        };
        let mut found = self.first(places.as_mut(), same_numbers);
        if found.is_none() {
            let octets = Octets::of(here);
            let alike = |there: &Captured| {
                same_stamp(here, there) || octets.is_some_and(|octets| Octets::of(there) == Some(octets))
            };
            found = self.first(places.as_mut(), alike);
        }
        if let Some(places) = places {
            self.by_ends.insert(sorted(here.ends), places);
        }
        Some((found?, FoundBy::Addresses))
    }

    /// One whose SYNs have the same numbers: both, or one with the same timestamp or to the same port, because a number alone may be another's by chance.
    fn by_numbers(&mut self, here: &Captured) -> Option<(usize, FoundBy)> {
        let isns: Vec<Seq> = here.isns.iter().flatten().copied().collect();
        for isn in &isns {
            let mut places = self.by_isns.remove(isn);
            let fits = |there: &Captured| {
                let theirs: Vec<Seq> = there.isns.iter().flatten().copied().collect();
                let shared = isns.iter().filter(|isn| theirs.contains(isn)).count();
                let contradicts = isns.len() == 2 && theirs.len() == 2 && shared < 2;
                let stamps = stamps(here).zip(stamps(there));
                let same_port = here.ends[1].port() == there.ends[1].port();
                !contradicts && stamps.map_or(shared == 2 || same_port, |(one, other)| one == other || shared == 2)
            };
            let found = self.first(places.as_mut(), fits);
            if let Some(places) = places {
                self.by_isns.insert(*isn, places);
            }
            if let Some(place) = found {
                // Among very many between the same ends it may not have been looked at before.
                let ends = self.all[place].as_ref().map(|there| sorted(there.ends));
                let is_there = ends == Some(sorted(here.ends));
                return Some((place, if is_there { FoundBy::Addresses } else { FoundBy::Numbers }));
            }
        }
        None
    }

    /// The only one whose ends sent the same first octets.
    fn by_octets(&mut self, octets: Octets) -> Option<(usize, FoundBy)> {
        let [place] = self.by_octets.get(&octets)?[..] else { return None };
        if self.is_taken[place] {
            return None;
        }
        self.is_taken[place] = true;
        Some((place, FoundBy::Octets))
    }

    /// Those that share a segment with octets, as it stands: one capture of a connection may begin long after the other.
    fn by_segments(&mut self, at_client: &[Captured], found: &mut [Option<(usize, FoundBy)>]) {
        if found.iter().all(Option::is_some) || self.is_taken.iter().all(|taken| *taken) {
            return;
        }
        let mark = |taken: &Taken| {
            let segment = &taken.segment;
            let numbers = u64::from(segment.seq.0) << 32 | u64::from(segment.ack.0);
            let stamp = segment.options.timestamps.map_or(0, |(value, echo)| u64::from(value) << 32 | u64::from(echo));
            [numbers, segment.len.into(), stamp].into_iter().fold(taken.digest.compared(Compared::Head), mix)
        };
        let mut by_mark: HashMap<u64, usize> = HashMap::new();
        let mut ambiguous: HashSet<u64> = HashSet::new();
        for (place, there) in self.all.iter().enumerate().filter(|(place, _)| !self.is_taken[*place]) {
            for taken in there.iter().flat_map(|there| &there.segments).filter(|taken| taken.segment.len > 0) {
                if by_mark.insert(mark(taken), place).is_some_and(|before| before != place) {
                    ambiguous.insert(mark(taken));
                }
            }
        }
        for (here, found) in at_client.iter().zip(found).filter(|(_, found)| found.is_none()) {
            let mut with_octets = here.segments.iter().filter(|taken| taken.segment.len > 0);
            let shared = with_octets.find_map(|taken| {
                let place = *by_mark.get(&mark(taken))?;
                (!ambiguous.contains(&mark(taken)) && !self.is_taken[place]).then_some(place)
            });
            if let Some(place) = shared {
                self.is_taken[place] = true;
                *found = Some((place, FoundBy::Numbers));
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
            captured.first_octets(side).map(|taken| {
                let stamp = taken.segment.options.timestamps.map_or(0, |(value, _)| value);
                (taken.segment.len, taken.digest.compared(Compared::Head), stamp)
            })
        });
        of.iter().any(Option::is_some).then_some(Self(of))
    }
}

/// The timestamp of the first segment with one, if it is a SYN's.
fn stamps(captured: &Captured) -> Option<u32> {
    let first = captured.segments.iter().find(|taken| taken.segment.seq_len() > 0)?;
    first.segment.options.timestamps.map(|(value, _)| value).filter(|value| *value != 0)
}

fn same_stamp(here: &Captured, there: &Captured) -> bool {
    stamps(here).is_some() && stamps(here) == stamps(there)
}

fn sorted([one, other]: [SocketAddr; 2]) -> [SocketAddr; 2] {
    if one <= other { [one, other] } else { [other, one] }
}

/// How many connections that are alike are looked at for one.
pub(super) const LOOKED_AT: usize = 256;
