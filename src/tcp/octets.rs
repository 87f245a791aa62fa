//! Which octets of one direction were seen, and where it has gaps.

use crate::wire::{Flags, Segment, Seq};

/// Which octets of one direction were seen, by their position in the stream.
///
/// Positions count from the octet after the SYN, or from the first one that is known of, and go on past 2^32.
/// While octets come in order there is one interval, from 0 to `end`; the first that do not make it a list, [`Gaps`].
#[derive(Clone, Debug, Default)]
pub(super) struct Octets {
    /// Positions are told by their distance to this one, which has the sequence number `end_seq`:
    /// the end of the only interval, or with gaps the highest position at which a segment began.
    end: i64,
    end_seq: Seq,
    /// With `Marks::FIN`: the sequence number after the FIN.
    pub(super) fin_end: Seq,
}

/// The intervals of a stream that has holes, or octets before the first that was seen.
#[derive(Clone, Debug)]
pub(super) struct Gaps {
    /// The interval that grew last.
    hot: (i64, i64),
    /// The other intervals, ascending, neither touching each other nor `hot`.
    others: Vec<(i64, i64)>,
    unique: u64,
    in_order: i64,
    /// Where the last segment began, if that was further ahead than a window reaches.
    far: Option<i64>,
}

impl Octets {
    /// None yet, of a stream whose first octet has this sequence number.
    pub(super) fn from(at: Seq) -> Self {
        Self { end: 0, end_seq: at, fin_end: at }
    }

    #[inline]
    pub(super) fn position(&self, seq: Seq) -> i64 {
        self.end + i64::from(seq.since(self.end_seq))
    }

    #[inline]
    pub(super) fn unique(&self, gaps: Option<&Gaps>) -> u64 {
        gaps.map_or(self.end as u64, |gaps| gaps.unique)
    }

    /// The sequence number up to which they came without a gap.
    #[inline]
    pub(super) fn in_order(&self, gaps: Option<&Gaps>) -> Seq {
        match gaps {
            None => self.end_seq,
            Some(gaps) => self.end_seq.plus((gaps.in_order - self.end) as u32),
        }
    }

    /// The sequence number after the last octet.
    #[inline]
    pub(super) fn reached(&self, gaps: Option<&Gaps>) -> Seq {
        match gaps {
            None => self.end_seq,
            Some(gaps) => {
                let end = gaps.others.last().map_or(gaps.hot.1, |last| last.1.max(gaps.hot.1));
                self.end_seq.plus((end - self.end) as u32)
            }
        }
    }

    /// Takes the octets of a segment that begin at `from`, in a stream without gaps; whether it has none after that, either.
    #[inline]
    pub(super) fn take_in_order(&mut self, segment: &Segment, from: i64) -> bool {
        if segment.len == 0 {
            return true;
        }
        if !(0..=self.end).contains(&from) {
            return false;
        }
        let to = from + i64::from(segment.len);
        if to > self.end {
            self.end_seq = segment.data_seq().plus(segment.len);
            self.end = to;
        }
        true
    }

    /// Takes the octets of a segment that begin at `from`, in a stream with gaps.
    pub(super) fn take(&mut self, gaps: &mut Gaps, segment: &Segment, from: i64) {
        let bare_reset = segment.flags.contains(Flags::RST) && segment.len == 0;
        if !bare_reset && gaps.is_ahead(from, self.end) {
            (self.end, self.end_seq) = (from, segment.data_seq());
        }
        if segment.len > 0 {
            let to = from + i64::from(segment.len);
            gaps.insert(from, to);
            if from <= gaps.in_order && gaps.in_order < to {
                gaps.in_order = gaps.end_of(to);
            }
        }
    }

    /// The gaps of a stream that had none until now.
    pub(super) fn without_gaps(&self) -> Gaps {
        Gaps { hot: (0, self.end), others: Vec::new(), unique: self.end as u64, in_order: self.end, far: None }
    }
}

impl Gaps {
    /// How much memory they take besides their own.
    pub(super) fn room(&self) -> usize {
        self.others.capacity() * size_of::<(i64, i64)>()
    }

    /// Forgets where they are: nothing more comes.
    pub(super) fn settle(&mut self) {
        self.others = Vec::new();
    }

    /// Whether a segment that begins at `from` is the newest, the one before having begun at `end`.
    ///
    /// One further ahead than any window reaches is, only if the one before it was there, too: else its number is wrong,
    /// and those around it would seem to be a whole circle of numbers away.
    fn is_ahead(&mut self, from: i64, end: i64) -> bool {
        let last = self.far.take();
        if from - end <= WIDEST_WINDOW {
            return from > end;
        }
        self.far = Some(from);
        last.is_some_and(|last| (from - last).abs() <= WIDEST_WINDOW)
    }

    /// The receiver acknowledged up to `position`: what was not captured before it has arrived all the same.
    pub(super) fn acknowledged(&mut self, position: i64) {
        let end = self.others.last().map_or(self.hot.1, |last| last.1.max(self.hot.1));
        if position > self.in_order && position <= end {
            self.in_order = self.end_of(position);
        }
    }

    /// The end of the interval that holds or touches `position`, or `position` where none does.
    fn end_of(&self, position: i64) -> i64 {
        if self.hot.0 <= position && position <= self.hot.1 {
            return self.hot.1;
        }
        let at = self.others.partition_point(|interval| interval.1 < position);
        self.others.get(at).filter(|interval| interval.0 <= position).map_or(position, |interval| interval.1)
    }

    fn insert(&mut self, from: i64, to: i64) {
        if from >= self.hot.0 && from <= self.hot.1 {
            let after = self.others.partition_point(|interval| interval.0 < self.hot.0);
            if self.others.get(after).is_none_or(|next| next.0 > to) {
                if to > self.hot.1 {
                    self.unique += (to - self.hot.1) as u64;
                    self.hot.1 = to;
                }
                return;
            }
        }
        if self.hot.0 < self.hot.1 {
            let at = self.others.partition_point(|interval| interval.0 < self.hot.0);
            self.others.insert(at, self.hot);
        }
        // All intervals that overlap or touch the new one become one with it.
        let first = self.others.partition_point(|interval| interval.1 < from);
        let last = self.others.partition_point(|interval| interval.0 <= to);
        let (mut low, mut high, mut known) = (from, to, 0);
        for interval in &self.others[first..last] {
            known += interval.1 - interval.0;
            low = low.min(interval.0);
            high = high.max(interval.1);
        }
        self.others.drain(first..last);
        self.unique += (high - low - known) as u64;
        self.hot = (low, high);
        if self.others.len() > MOST_INTERVALS {
            let second = self.others.remove(1);
            self.others[0].1 = second.1;
        }
    }
}

/// No window is wider (RFC 7323 section 2.3).
const WIDEST_WINDOW: i64 = 1 << 30;
/// How many separate intervals of octets are kept for a direction; past that the two lowest become one.
const MOST_INTERVALS: usize = 4096;
