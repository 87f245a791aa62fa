//! What is asked of the segments around one that was sent again, found without walking there.

use std::cell::OnceCell;

use super::cause::slot;
use super::{Side, Trace};

/// Where an end reported a loss, in the order of capture: a duplicate acknowledgement, or a SACK block.
#[derive(Debug, Default)]
pub(super) struct Reports(Vec<usize>);

impl Reports {
    /// Notes a report at a place later than all before.
    pub(super) fn add(&mut self, place: usize) {
        debug_assert!(self.0.last().is_none_or(|last| *last < place));
        self.0.push(place);
    }

    /// The first report at `place` or later.
    pub(super) fn from(&self, place: usize) -> Option<usize> {
        self.0.get(self.0.partition_point(|known| *known < place)).copied()
    }
}

/// Where each end's segments with octets, SYN or FIN begin in its stream; sorted when it is first asked for.
#[derive(Debug, Default)]
pub(super) struct Starts(OnceCell<[Vec<(i64, usize)>; 2]>);

impl Starts {
    /// Whether a segment between the places `after` and `before` begins at `seq`.
    pub(super) fn any_between(&self, trace: &Trace, side: Side, seq: i64, after: usize, before: usize) -> bool {
        self.next(trace, side, seq, after).is_some_and(|place| place < before)
    }

    /// The first segment behind the place `after` that begins at `seq`.
    pub(super) fn next(&self, trace: &Trace, side: Side, seq: i64, after: usize) -> Option<usize> {
        let list = &self.0.get_or_init(|| sorted(trace))[slot(side)];
        let (start, place) = *list.get(list.partition_point(|known| *known <= (seq, after)))?;
        (start == seq).then_some(place)
    }
}

fn sorted(trace: &Trace) -> [Vec<(i64, usize)>; 2] {
    let mut lists = [Vec::new(), Vec::new()];
    for (place, observed) in trace.segments.iter().enumerate() {
        if observed.segment.seq_len() > 0 {
            lists[slot(trace.sender(&observed.segment))].push((observed.step.seq, place));
        }
    }
    lists.iter_mut().for_each(|list| list.sort_unstable());
    lists
}
