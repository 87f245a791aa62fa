//! One segment on its way between the two points, in as few octets as there is to say of most.

use super::Fate;
use super::changes::Changes;
use super::placed::Placed;
use crate::flow::Side;
use crate::time::Span;
use crate::wire::Flags;

/// One segment on its way between the two capture points, or the part of one that one of the captures has as a segment of its own.
#[derive(Clone, Debug)]
pub struct Passage {
    /// Sequence number relative to the sender's first.
    pub seq: i64,
    /// [`UNKNOWN`] without ACK.
    ack: i64,
    /// In nanoseconds; [`UNKNOWN`] where it is not known.
    took: i64,
    /// Its places in the captures; [`NOWHERE`] where it is not there.
    sent: u32,
    arrived: u32,
    /// How many octets of payload it has.
    pub octets: u32,
    /// Where among those of its pair there is more about it; [`NOWHERE`] for nearly all.
    extra: u32,
    changes: Changes,
    is: u8,
    /// Who sent it.
    pub from: Side,
    /// What became of it.
    pub fate: Fate,
}

/// What few passages have.
#[derive(Clone, Default, Debug)]
pub(super) struct Extra {
    /// The places of those of its copies that came after the first one.
    pub(super) copies: Vec<u32>,
    /// The place of the one that it was compared with.
    pub(super) compared: u32,
    /// The frame of an earlier connection of which it is a late copy.
    pub(super) repeats: Option<u64>,
}

impl Passage {
    /// One of which nothing is known but what its segment says.
    pub(super) fn new(from: Side, seq: i64, ack: Option<i64>, octets: u32) -> Self {
        Self {
            seq,
            ack: ack.unwrap_or(UNKNOWN),
            took: UNKNOWN,
            sent: NOWHERE,
            arrived: NOWHERE,
            octets,
            extra: NOWHERE,
            changes: Changes::default(),
            is: 0,
            from,
            fate: Fate::Unknown,
        }
    }

    pub(super) fn sent(self, sent: &Placed<'_>) -> Self {
        let resets = if sent.taken.flags.contains(Flags::RST) { RESETS } else { 0 };
        Self { sent: sent.place, is: self.is | resets, ..self }
    }

    pub(super) fn arrived(self, arrived: u32) -> Self {
        Self { arrived, ..self }
    }

    pub(super) fn changed(self, changes: Changes) -> Self {
        Self { changes, ..self }
    }

    /// Says whether there was too much that is like it to look at all of it: then nothing is said of its fate.
    pub(super) fn open(self, is_open: bool) -> Self {
        Self { is: self.is | (OPEN * u8::from(is_open)), ..self }
    }

    /// Its place among the segments of the capture at its sender's end; `None`: it was not seen there.
    #[inline]
    pub fn sent_at(&self) -> Option<u32> {
        (self.sent != NOWHERE).then_some(self.sent)
    }

    /// Its place in the capture at its receiver's end, where it came first.
    #[inline]
    pub fn arrived_at(&self) -> Option<u32> {
        (self.arrived != NOWHERE).then_some(self.arrived)
    }

    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    #[inline]
    pub fn ack(&self) -> Option<i64> {
        (self.ack != UNKNOWN).then_some(self.ack)
    }

    /// How long it was on its way, by the clocks as they were estimated.
    #[inline]
    pub fn took(&self) -> Option<Span> {
        (self.took != UNKNOWN).then_some(Span(self.took))
    }

    /// Whether a segment that was sent after it arrived before it.
    #[inline]
    pub fn is_overtaken(&self) -> bool {
        self.is & OVERTAKEN != 0
    }

    /// Whether it arrived, and its receiver went on asking for it until it was sent again.
    #[inline]
    pub fn is_lost_behind(&self) -> bool {
        self.is & LOST_BEHIND != 0
    }

    /// Whether it took much longer than the fastest of its direction.
    #[inline]
    pub fn is_held_up(&self) -> bool {
        self.is & HELD_UP != 0
    }

    /// Whether a part of it was changed on its way, besides addresses and ports.
    #[inline]
    pub fn is_changed(&self) -> bool {
        !self.changes.is_empty()
    }

    /// Whether its sender sent it, and it is a RST.
    #[inline]
    pub(super) fn resets(&self) -> bool {
        self.is & RESETS != 0
    }

    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.is & OPEN != 0
    }

    pub(super) fn changes(&self) -> Changes {
        self.changes
    }

    #[inline]
    pub(super) fn extra(&self) -> Option<usize> {
        (self.extra != NOWHERE).then_some(self.extra as usize)
    }

    pub(super) fn set_extra(&mut self, place: usize) {
        self.extra = place as u32;
    }

    pub(super) fn overtake(&mut self) {
        self.is |= OVERTAKEN;
    }

    pub(super) fn lose_behind(&mut self) {
        self.is |= LOST_BEHIND;
    }

    pub(super) fn hold_up(&mut self) {
        self.is |= HELD_UP;
    }

    #[inline]
    pub(super) fn take_time(&mut self, took: Option<Span>) {
        self.took = took.map_or(UNKNOWN, |took| took.as_nanos().max(UNKNOWN + 1));
    }
}

/// In place of a number that is not known.
const UNKNOWN: i64 = i64::MIN;
/// In place of a place that there is not.
const NOWHERE: u32 = u32::MAX;
const OVERTAKEN: u8 = 1;
const LOST_BEHIND: u8 = 2;
const HELD_UP: u8 = 4;
const RESETS: u8 = 16;
/// There was too much that is like it.
const OPEN: u8 = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_passage_takes_less_than_a_cache_line() {
        assert_eq!(size_of::<Passage>(), 48);
    }
}
