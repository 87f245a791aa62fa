//! How many joins of octets a connection may have: in proportion to what it has of segments and calls.

/// What is left to be joined.
///
/// Octets that are sent once are joined once for each segment, send and receive that holds them.
/// Sent again, they are joined again: a thousand sends of an octet in one segment that a tampered capture repeats a thousand times are a million joins.
#[derive(Debug)]
pub(super) struct FanOut {
    left: usize,
    omitted: u64,
}

impl FanOut {
    /// The joins of a connection with so many segments and calls.
    pub(super) fn of(segments: usize, calls: usize) -> Self {
        Self { left: segments.saturating_add(calls).saturating_mul(FOR_EACH).saturating_add(FREE), omitted: 0 }
    }

    /// Takes as many of `joins` as there may be, the first one always.
    pub(super) fn take<T>(&mut self, joins: impl ExactSizeIterator<Item = T>) -> Vec<T> {
        let wanted = joins.len();
        let taken = wanted.min(self.left.max(1));
        self.left -= taken.min(self.left);
        self.omitted += (wanted - taken) as u64;
        joins.take(taken).collect()
    }

    /// How many joins were left out.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn joins_are_in_proportion_and_the_first_is_always_made() {
        let mut out = FanOut::of(10, 90);
        let most = 100 * FOR_EACH + FREE;
        assert_eq!(out.take(0..most - 1).len(), most - 1);
        assert_eq!(out.take(0..0), [0; 0]);
        assert_eq!((out.take(0..3), out.omitted()), (vec![0], 2));
        assert_eq!((out.take(5..9), out.omitted()), (vec![5], 5), "no room is left");
        assert_eq!(FanOut::of(usize::MAX, usize::MAX).take(0..9).len(), 9);
    }
}
