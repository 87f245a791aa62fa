//! How many joins of octets a connection may have: in proportion to what it has of segments and calls.

/// What is left to be joined.
///
/// Octets that are sent once are joined once for each segment, send and receive that holds them.
/// Sent again, they are joined again: a thousand sends of an octet in one segment that a tampered capture repeats a thousand times are a million joins.
#[derive(Clone, Debug)]
pub(super) struct Joins {
    left: usize,
    omitted: u64,
}

impl Default for Joins {
    fn default() -> Self {
        Self { left: FREE, omitted: 0 }
    }
}

impl Joins {
    /// Takes in that there is one more segment or call.
    pub(super) fn grow(&mut self) {
        self.left = self.left.saturating_add(FOR_EACH);
    }

    /// Takes as many of `joins` as there may be, the first one always, in place of so many that were taken `before`.
    pub(super) fn take<T>(&mut self, before: usize, joins: impl ExactSizeIterator<Item = T>) -> Vec<T> {
        self.left = self.left.saturating_add(before);
        let wanted = joins.len();
        let taken = wanted.min(self.left.max(1));
        self.left -= taken.min(self.left);
        self.omitted += (wanted - taken) as u64;
        joins.take(taken).collect()
    }

    /// How many joins there may still be for one segment or call.
    pub(super) fn most(&self) -> usize {
        self.left.max(1)
    }

    /// How many joins were left out, at least.
    pub(super) fn omitted(&self) -> u64 {
        self.omitted
    }
}

/// How many joins a connection may have for each of its segments and calls.
///
/// Without retransmissions there are at most two: a segment's octets are those of some sends and some receives, and each of these but the ones at its edges is joined to it alone.
pub(super) const FOR_EACH: usize = 8;
/// How many it may have besides.
pub(super) const FREE: usize = 4096;
