//! The segments of a run as they are captured, for those who wait for one.

use std::sync::{Mutex, PoisonError};

use super::addresses::{Addresses, End};
use crate::script::{Actor, Kind, Which};
use crate::wire::{Flags, Segment};

/// What has been captured so far, at both ends.
pub(super) struct Watched {
    addresses: Addresses,
    seen: Mutex<Vec<Seen>>,
}

/// A segment as far as a script can name it.
#[derive(Clone, Copy)]
struct Seen {
    at: End,
    from: Option<Actor>,
    to: Option<Actor>,
    flags: Flags,
    octets: u32,
}

impl Watched {
    pub(super) fn new(addresses: Addresses) -> Self {
        Self { addresses, seen: Mutex::default() }
    }

    /// Takes in a segment that was captured at the host `at`.
    pub(super) fn see(&self, at: End, segment: &Segment) {
        let (from, to) = (self.addresses.actor(segment.src_port), self.addresses.actor(segment.dst_port));
        let seen = Seen { at, from, to, flags: segment.flags, octets: segment.len };
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
    }

    /// How many there are: the measure of progress.
    pub(super) fn len(&self) -> usize {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// How many segments an end has sent.
    pub(super) fn sent(&self, end: End) -> usize {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| seen.at == end && seen.from.is_some_and(|from| End::of(from) == end)).count()
    }

    /// Whether the segment has been captured at that end.
    pub(super) fn has(&self, which: &Which, at: End) -> bool {
        self.count(which, at) >= which.nth.unwrap_or(1)
    }

    /// How many segments of the kind have been captured at that end.
    pub(super) fn count(&self, which: &Which, at: End) -> u32 {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.iter().filter(|seen| seen.at == at && seen.is(which)).count() as u32
    }
}

impl Seen {
    fn is(&self, which: &Which) -> bool {
        matches(which, self.from, self.to, self.flags, self.octets)
    }
}

/// Whether a segment is one of those that are named.
pub(super) fn matches(which: &Which, from: Option<Actor>, to: Option<Actor>, flags: Flags, octets: u32) -> bool {
    let Which { kind, .. } = which;
    // A self-connected socket sends to itself: both ends have one port.
    let way = from == Some(which.from) && to == Some(which.to);
    way && Kind::holds(*kind, flags, octets)
}
