//! Times from segments of one direction to their acknowledgements.

use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq};

/// Times from a segment to its acknowledgement, one segment at a time, never one that was sent twice (Karn's rule).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RoundTrips {
    /// When the segment was captured whose acknowledgement is waited for.
    timed_at: Option<Timestamp>,
    /// The sequence number after it.
    timed_end: Seq,
    samples: u32,
    shortest: Short,
    longest: Short,
    sum: u64,
}

/// A duration in four octets: to the nanosecond below 2.1 s, to about a microsecond up to half an hour, and no more than that.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Short(u32);

impl Short {
    #[inline]
    fn of(nanos: u64) -> Self {
        match u32::try_from(nanos) {
            Ok(exact) if exact < Self::COARSE => Self(exact),
            _ => Self(Self::COARSE | u32::try_from(nanos >> 10).unwrap_or(u32::MAX).min(Self::COARSE - 1)),
        }
    }

    #[inline]
    fn nanos(self) -> i64 {
        if self.0 < Self::COARSE { i64::from(self.0) } else { i64::from(self.0 - Self::COARSE) << 10 }
    }

    const COARSE: u32 = 1 << 31;
}

impl RoundTrips {
    /// Times a segment that was sent, if none is timed; `is_repeat` is whether it repeats sequence space.
    #[inline]
    pub(super) fn sent(&mut self, segment: &Segment, is_repeat: bool) {
        if segment.seq_len() == 0 || segment.flags.contains(Flags::RST) {
            return;
        }
        if self.timed_at.is_none() {
            if !is_repeat {
                (self.timed_at, self.timed_end) = (segment.at, segment.end());
            }
        } else if is_repeat && segment.seq.is_before(self.timed_end) {
            self.timed_at = None;
        }
    }

    /// Takes note of an acknowledgement from the peer.
    #[inline]
    pub(super) fn acknowledged(&mut self, segment: &Segment) {
        let Some(sent) = self.timed_at else { return };
        if segment.ack.is_before(self.timed_end) {
            return;
        }
        self.timed_at = None;
        let Some(at) = segment.at else { return };
        let Ok(time) = u64::try_from(at.since(sent).0) else { return };
        let short = Short::of(time);
        self.shortest = if self.samples == 0 { short } else { self.shortest.min(short) };
        self.longest = self.longest.max(short);
        // Of what is kept, so that the mean lies between the shortest and the longest.
        self.sum = self.sum.saturating_add(short.nanos().unsigned_abs());
        self.samples = self.samples.saturating_add(1);
    }

    /// The shortest, mean and longest; `None` before the first.
    pub(super) fn summary(&self) -> Option<(Span, Span, Span)> {
        let mean = self.sum.checked_div(self.samples.into())?;
        Some((Span(self.shortest.nanos()), Span(i64::try_from(mean).unwrap_or(i64::MAX)), Span(self.longest.nanos())))
    }
}
