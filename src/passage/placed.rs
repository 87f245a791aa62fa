//! Segments of two captures in one numbering, though each capture may have other numbers, and begin elsewhere.

use super::FoundBy;
use super::connections::Captured;
use super::digest::{folded, mix};
use super::taken::Taken;
use crate::flow::Side;
use crate::wire::{Flags, Seq};

/// From which numbers those of each end are counted, in one capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bases([Seq; 2]);

/// Where a segment stands in its capture, and its numbers, counted from those of its connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    /// Its place among the segments of its capture.
    at: u32,
    seq: i64,
    /// [`NONE`] without ACK.
    ack: i64,
}

/// The segments that an end sent, as one capture has them.
#[derive(Clone, Copy)]
pub(super) struct Row<'a> {
    segments: &'a [Taken],
    places: &'a [Place],
}

/// A segment in one of the captures, its numbers counted from those of its connection.
#[derive(Clone, Copy)]
pub(super) struct Placed<'a> {
    /// Its place among the segments of its capture.
    pub(super) place: u32,
    pub(super) taken: &'a Taken,
    pub(super) seq: i64,
    pub(super) ack: Option<i64>,
}

impl Bases {
    /// Those of the client's capture and of the server's.
    ///
    /// They differ by as much as the initial sequence numbers do; where one of these was not captured, the numbers are the same at both ends.
    pub(super) fn of(here: &Captured, there: &Captured, found_by: FoundBy) -> [Self; 2] {
        let mut bases = [Self([Seq(0); 2]); 2];
        for side in [Side::Client, Side::Server] {
            let at = side as usize;
            let first = |of: &Captured| of.sent_by(side).next().map(|(_, taken)| taken.seq.minus(1));
            let octets = |of: &Captured| of.first_octets(side).map(Taken::data_seq);
            let (ours, theirs) = match (here.isns[at], there.isns[at]) {
                (Some(ours), Some(theirs)) => (ours, theirs),
                (Some(isn), None) | (None, Some(isn)) => (isn, isn),
                (None, None) => match (octets(here), octets(there)) {
                    (Some(ours), Some(theirs)) if found_by == FoundBy::Octets => (ours.minus(1), theirs.minus(1)),
                    _ => {
                        let base = first(here).or_else(|| first(there)).unwrap_or(Seq(0));
                        (base, base)
                    }
                },
            };
            bases[0].0[at] = ours;
            bases[1].0[at] = theirs;
        }
        bases
    }

    /// The segments that an end sent, as one capture has them; where each stands is put into `places`.
    pub(super) fn place<'a>(self, captured: &'a Captured, side: Side, places: &'a mut Vec<Place>) -> Row<'a> {
        let (mut seqs, mut acks) = (Counter::new(self.0[side as usize]), Counter::new(self.0[side.peer() as usize]));
        places.clear();
        for (at, taken) in (0u32..).zip(&captured.segments) {
            if taken.from() == side {
                let ack = if taken.flags.contains(Flags::ACK) { acks.count(taken.ack) } else { NONE };
                places.push(Place { at, seq: seqs.count(taken.seq), ack });
            }
        }
        Row { segments: &captured.segments, places }
    }
}

impl<'a> Row<'a> {
    pub(super) fn len(self) -> usize {
        self.places.len()
    }

    #[inline]
    pub(super) fn at(self, place: u32) -> Placed<'a> {
        self.placed(&self.places[place as usize])
    }

    pub(super) fn first(self) -> Option<Placed<'a>> {
        self.places.first().map(|place| self.placed(place))
    }

    #[inline]
    pub(super) fn iter(self) -> impl DoubleEndedIterator<Item = Placed<'a>> + Clone {
        self.places.iter().map(move |place| self.placed(place))
    }

    /// Those of some of the places in their order.
    pub(super) fn part(self, range: std::ops::Range<usize>) -> Self {
        Self { places: &self.places[range], ..self }
    }

    /// How many of them come before that place of the capture.
    pub(super) fn before(self, place: u32) -> usize {
        self.places.partition_point(|of| of.at < place)
    }

    #[inline]
    fn placed(self, place: &Place) -> Placed<'a> {
        let ack = (place.ack != NONE).then_some(place.ack);
        Placed { place: place.at, taken: &self.segments[place.at as usize], seq: place.seq, ack }
    }
}

/// Counts numbers on past where they wrap around.
struct Counter {
    base: Seq,
    last: i64,
}

impl Counter {
    fn new(base: Seq) -> Self {
        Self { base, last: 0 }
    }

    fn count(&mut self, number: Seq) -> i64 {
        let low = number.0.wrapping_sub(self.base.0);
        let step = low.wrapping_sub(self.last as u32).cast_signed();
        self.last = self.last.saturating_add(step.into());
        self.last
    }
}

impl Placed<'_> {
    /// The number after its last octet, or its FIN.
    pub(super) fn end(&self) -> i64 {
        self.seq.saturating_add(self.taken.seq_len().into())
    }

    /// The number of its first octet of payload.
    pub(super) fn data(&self) -> i64 {
        self.seq.saturating_add(self.taken.flags.contains(Flags::SYN).into())
    }

    /// Its numbers, as they stand in the header, and of all else what `mark` says: the same at both ends where it is the same segment.
    ///
    /// In order of the numbers, which is nearly that in which they are sent.
    #[inline]
    pub(super) fn key(&self, mark: u64) -> Key {
        let ack = self.ack.map_or(0, |ack| ack as u32);
        Key { numbers: u64::from(self.seq as u32) << 32 | u64::from(ack), mark: folded(mark) }
    }

    /// The same without what a middlebox may change.
    pub(super) fn outline(&self) -> Key {
        let control = self.taken.flags & (Flags::SYN | Flags::FIN | Flags::RST | Flags::ACK);
        let mark = mix(control.bits().into(), self.taken.len.into());
        Key { numbers: u64::from(self.seq as u32) << 32, mark: folded(mark) }
    }
}

/// What is the same of a segment at both ends.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Key {
    numbers: u64,
    mark: u32,
}

/// In place of an acknowledgement number where there is none.
const NONE: i64 = i64::MIN;
