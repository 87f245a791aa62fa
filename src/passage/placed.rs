//! Segments of two captures in one numbering, though each capture may have other numbers, and begin elsewhere.

use super::FoundBy;
use super::connections::{Captured, Taken};
use super::digest::{Compared, mix};
use crate::flow::Side;
use crate::wire::{Flags, Segment, Seq};

/// From which numbers those of each end are counted, in one capture.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bases([Seq; 2]);

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
            let first = |of: &Captured| of.sent_by(side).next().map(|(_, taken)| taken.segment.seq.minus(1));
            let octets = |of: &Captured| of.first_octets(side).map(|taken| taken.segment.data_seq());
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

    /// The segments that an end sent, as one capture has them.
    pub(super) fn place<'a>(self, captured: &'a Captured, side: Side) -> Vec<Placed<'a>> {
        let (mut seqs, mut acks) = (Counter::new(self.0[side as usize]), Counter::new(self.0[side.peer() as usize]));
        let of = |(place, taken): (usize, &'a Taken)| {
            let segment = &taken.segment;
            let ack = segment.flags.contains(Flags::ACK).then(|| acks.count(segment.ack));
            Placed { place: place as u32, taken, seq: seqs.count(segment.seq), ack }
        };
        captured.sent_by(side).map(of).collect()
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
    fn segment(&self) -> &Segment {
        &self.taken.segment
    }

    /// The number after its last octet, or its FIN.
    pub(super) fn end(&self) -> i64 {
        self.seq.saturating_add(self.segment().seq_len().into())
    }

    /// The number of its first octet of payload.
    pub(super) fn data(&self) -> i64 {
        self.seq.saturating_add(self.segment().flags.contains(Flags::SYN).into())
    }

    pub(super) fn digest(&self, how: Compared) -> u64 {
        self.taken.digest.compared(how)
    }

    /// What is the same at both ends, whoever translates addresses and numbers between.
    pub(super) fn mark(&self, how: Compared) -> u64 {
        let Segment { flags, options, .. } = self.segment();
        let (value, echo) = options.timestamps.map_or((0, 0), |(value, echo)| (u64::from(value), u64::from(echo)));
        let ack = self.ack.map_or(u64::MAX, |ack| u64::from(ack as u32));
        let flags = u64::from(flags.bits()) << 1 | u64::from(options.timestamps.is_some());
        let start = [ack, flags, value << 32 | echo, self.digest(how)].into_iter().fold(self.place_in_stream(), mix);
        // Counted from the acknowledgement, as a translator of numbers leaves them.
        let own = self.segment().ack.0;
        options.sack_edges().iter().fold(start, |hash, (from, to)| {
            mix(hash, u64::from(from.0.wrapping_sub(own)) << 32 | u64::from(to.0.wrapping_sub(own)))
        })
    }

    /// The same without what a middlebox may change.
    pub(super) fn outline(&self) -> u64 {
        let control = self.segment().flags & (Flags::SYN | Flags::FIN | Flags::RST | Flags::ACK);
        mix(self.place_in_stream(), control.bits().into())
    }

    fn place_in_stream(&self) -> u64 {
        mix(START, u64::from(self.seq as u32) << 32 | u64::from(self.segment().len))
    }

    /// The clock of its sender, where its timestamps tell it.
    pub(super) fn stamp(&self) -> Option<u32> {
        self.segment().options.timestamps.map(|(value, _)| value)
    }
}

const START: u64 = 0x5851_f42d_4c95_7f2d;
