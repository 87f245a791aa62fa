//! What the numbers that one capture shows say of segments: that one is missing in a capture though it passed there, or was lost behind it.

use std::collections::BTreeMap;

use super::placed::Row;

/// Ranges of octets that a receiver acknowledged before its capture had them, each with the place of that acknowledgement in the capture; in order.
///
/// `arrived` and `answers` are what came to the receiver and what it sent, as its own capture has them.
pub(super) fn acknowledged_unseen(arrived: Row<'_>, answers: Row<'_>) -> Vec<(i64, i64, u32)> {
    let Some(first) = arrived.iter().map(|placed| placed.seq).min() else { return Vec::new() };
    let mut have = Coverage::from(first);
    let mut unseen = Vec::new();
    let (mut arrived, mut answers) = (arrived.iter().peekable(), answers.iter().peekable());
    loop {
        let comes = match (arrived.peek(), answers.peek()) {
            (Some(one), Some(other)) => one.place < other.place,
            (Some(_), None) => true,
            (None, Some(_)) => false,
            (None, None) => return unseen,
        };
        if comes {
            let Some(one) = arrived.next() else { return unseen };
            have.add(one.seq, one.end());
        } else {
            let Some(answer) = answers.next() else { return unseen };
            let Some(ack) = answer.ack else { continue };
            while have.next < ack {
                let (from, to) = have.gap(ack);
                unseen.push((from, to, answer.place));
                have.add(from, to);
            }
        }
    }
}

/// Whether a capture of what an end sent lacks that range, though the end went on behind it.
pub(super) struct Sent {
    have: Coverage,
    end: i64,
}

impl Sent {
    pub(super) fn of(sent: Row<'_>) -> Self {
        let mut have = Coverage::from(sent.iter().map(|placed| placed.seq).min().unwrap_or(0));
        sent.iter().for_each(|placed| have.add(placed.seq, placed.end()));
        Self { have, end: sent.iter().map(|placed| placed.end()).max().unwrap_or(0) }
    }

    pub(super) fn lacks(&self, from: i64, to: i64) -> bool {
        from < to && to <= self.end && self.have.has_none_of(from, to)
    }
}

/// Octets that were seen.
struct Coverage {
    /// All before are known.
    next: i64,
    /// What is beyond, without overlap: where each range begins, and ends.
    beyond: BTreeMap<i64, i64>,
}

impl Coverage {
    fn from(next: i64) -> Self {
        Self { next, beyond: BTreeMap::new() }
    }

    fn add(&mut self, from: i64, to: i64) {
        if to <= self.next || from >= to {
            return;
        }
        // Nearly always it goes on where the last one ended.
        match self.beyond.last_entry() {
            None if from <= self.next => {
                self.next = to;
                return;
            }
            Some(mut last) if (*last.key()..=*last.get()).contains(&from) => {
                *last.get_mut() = to.max(*last.get());
                return;
            }
            _ => {}
        }
        let (mut from, mut to) = (from, to);
        while let Some((begin, end)) = self.beyond.range(..=to).next_back().map(|(begin, end)| (*begin, *end)) {
            if end < from {
                break;
            }
            self.beyond.remove(&begin);
            (from, to) = (from.min(begin), to.max(end));
        }
        if from <= self.next {
            self.next = to;
        } else {
            self.beyond.insert(from, to);
        }
    }

    /// The first range that is missing, of those before `to`.
    fn gap(&self, to: i64) -> (i64, i64) {
        let end = self.beyond.keys().next().map_or(to, |begin| to.min(*begin));
        (self.next, end)
    }

    fn has_none_of(&self, from: i64, to: i64) -> bool {
        let before = self.beyond.range(..to).next_back();
        from >= self.next && before.is_none_or(|(_, end)| *end <= from)
    }
}

/// Adds the places of those that arrived and did not reach their receiver behind the capture: it went on asking for them until they came again.
///
/// `data` has room for what it takes to find them.
pub(super) fn lost_behind(arrived: Row<'_>, answers: Row<'_>, data: &mut Vec<(i64, u32)>, lost: &mut Vec<u32>) {
    data.clear();
    let with_octets = arrived.iter().filter(|of| of.taken.len > 0 && !of.taken.is_dropped());
    data.extend(with_octets.map(|of| (of.data(), of.place)));
    // Those that begin with the same octet one after the other.
    data.sort();
    for pair in data.windows(2).filter(|pair| pair[0].0 == pair[1].0) {
        let [(octet, before), (_, again)] = [pair[0], pair[1]];
        let between = answers.part(answers.before(before)..answers.before(again));
        let mut acks = between.iter().filter_map(|answer| answer.ack);
        // Whoever acknowledged it once goes on doing so: of very many the last one decides, too.
        let (mut asked, mut is_past) = (0, acks.clone().next_back().is_some_and(|ack| ack > octet));
        for ack in acks.by_ref().take(LOOKED_AT) {
            asked += u32::from(ack == octet);
            is_past |= ack > octet;
        }
        // The first may have been under way to the capture when the segment passed it.
        if asked > 2 && !is_past {
            lost.push(before);
        }
    }
}

/// How many acknowledgements between two transmissions are looked at, besides the last one.
pub(super) const LOOKED_AT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_covered_is_known_in_any_order() {
        let mut have = Coverage::from(0);
        for (from, to) in [(20, 30), (40, 50), (25, 45), (0, 10)] {
            have.add(from, to);
        }
        assert_eq!((have.next, have.gap(60)), (10, (10, 20)));
        assert!(have.has_none_of(12, 20) && !have.has_none_of(12, 21) && !have.has_none_of(9, 12));
        have.add(10, 20);
        assert_eq!((have.next, have.gap(60)), (50, (50, 60)));
    }
}
