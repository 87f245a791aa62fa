//! What is known of connections by their two ends, found as fast as the table finds them.

use std::fmt;
use std::net::SocketAddr;

use foldhash::quality::RandomState;
use hashbrown::HashMap;

use super::key::{AnyKey, Key, Key4, Key6, KeySide};
use crate::wire::Segment;

/// The two ends of a connection, whichever of them sends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ends(Which);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Which {
    V4(Key4),
    V6(Key6),
}

impl Ends {
    /// Those of a segment, and whether the one that comes first in the order of ends is its sender.
    #[inline]
    pub fn of(segment: &Segment) -> (Self, bool) {
        Self::split(AnyKey::of(segment))
    }

    /// Those of a connection between two ends.
    pub fn between([one, other]: [SocketAddr; 2]) -> Self {
        Self::split(AnyKey::between(one, other)).0
    }

    /// The lower one and the higher one.
    pub fn both(&self) -> [SocketAddr; 2] {
        match &self.0 {
            Which::V4(key) => key.ends(),
            Which::V6(key) => key.ends(),
        }
    }

    #[inline]
    fn split(key: AnyKey) -> (Self, bool) {
        match key {
            AnyKey::V4(key, side) => (Self(Which::V4(key)), side == KeySide::Lower),
            AnyKey::V6(key, side) => (Self(Which::V6(key)), side == KeySide::Lower),
        }
    }
}

/// Something for each two ends.
pub struct ByEnds<T> {
    v4: HashMap<Key4, T, RandomState>,
    v6: HashMap<Key6, T, RandomState>,
}

impl<T> Default for ByEnds<T> {
    fn default() -> Self {
        Self { v4: HashMap::default(), v6: HashMap::default() }
    }
}

impl<T> fmt::Debug for ByEnds<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ends", self.v4.len() + self.v6.len())
    }
}

impl<T> ByEnds<T> {
    /// With room for so many, which are nearly all of the older version of IP or nearly all of the newer.
    pub fn for_many(count: usize) -> Self {
        Self { v4: HashMap::with_capacity_and_hasher(count, RandomState::default()), ..Self::default() }
    }

    /// What was put down for these ends.
    #[inline]
    pub fn find(&self, ends: &Ends) -> Option<&T> {
        match &ends.0 {
            Which::V4(key) => self.v4.get(key),
            Which::V6(key) => self.v6.get(key),
        }
    }

    /// The same, to be changed.
    pub fn find_mut(&mut self, ends: &Ends) -> Option<&mut T> {
        match &ends.0 {
            Which::V4(key) => self.v4.get_mut(key),
            Which::V6(key) => self.v6.get_mut(key),
        }
    }

    /// Puts it down, and yields what was there before.
    pub fn insert(&mut self, ends: Ends, value: T) -> Option<T> {
        match ends.0 {
            Which::V4(key) => self.v4.insert(key, value),
            Which::V6(key) => self.v6.insert(key, value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn either_direction_finds_the_same_and_another_port_does_not() {
        let mut known = ByEnds::default();
        for [one, other] in [["10.0.0.1:5", "10.0.0.2:80"], ["[2001:db8::1]:5", "[2001:db8::2]:80"]] {
            let [one, other]: [SocketAddr; 2] = [one, other].map(|end| end.parse().unwrap());
            assert_eq!(known.insert(Ends::between([one, other]), 1), None);
            assert_eq!(known.insert(Ends::between([other, one]), 2), Some(1));
            assert_eq!(known.find(&Ends::between([one, other])), Some(&2));
            let elsewhere = SocketAddr::new(other.ip(), 81);
            assert_eq!(known.find(&Ends::between([one, elsewhere])), None);
            assert_eq!(Ends::between([other, one]).both(), [one, other]);
        }
    }
}
