//! One direction of a connection: what was sent, what was seen of it, and how far it was acknowledged.

use super::copies::{Copies, Earlier};
use super::octets::{Gaps, Octets};
use super::round_trips::RoundTrips;
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq};

/// Which of a connection's two directions a segment takes; the table says which end that is.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Direction {
    #[default]
    /// From the end whose segment was seen first.
    First,
    /// From its peer.
    Second,
}

impl Direction {
    /// The other direction.
    #[must_use]
    pub const fn reverse(self) -> Self {
        match self {
            Self::First => Self::Second,
            Self::Second => Self::First,
        }
    }
}

/// One direction of a connection: what was sent, what was seen of it, and how far it was acknowledged; 128 octets.
#[derive(Clone, Debug, Default)]
pub struct Stream {
    /// The highest sequence number after a segment; 0 while none is known.
    pub(super) next: Seq,
    /// The end of what was sent without a gap, which an acknowledgement may not pass; 0 while none is known.
    pub(super) acceptable: Seq,
    /// The acknowledgement field of the last segment, whether ACK was set or not.
    pub(super) last_ack: Seq,
    /// The initial sequence number, guessed as one before the first octet where no SYN was seen.
    pub(super) base: Seq,
    /// With [`Marks::SYN`]: the first initial sequence number sent.
    pub(super) isn: Seq,
    /// When `next` last advanced.
    pub(super) advanced_at: Option<Timestamp>,
    /// When the last segment was captured.
    pub(super) last_at: Option<Timestamp>,
    /// The window field of the last segment, with [`Marks::WINDOW`].
    pub(super) window: u16,
    /// The IP identification of the segment that advanced `next` last; 0 where it has none, or with [`Marks::STAMPED`] the
    /// lower half of its timestamp.
    pub(super) newest: u16,
    /// How often the last acknowledgement was repeated; `UNSEEN` once this direction's octets were acknowledged without having been captured.
    pub(super) duplicate_acks: u16,
    pub(super) marks: Marks,
    pub(super) mss: u16,
    pub(super) syns: u8,
    pub(super) fins: u8,
    pub(super) resets: u16,
    pub(super) scale: Scale,
    pub(super) announced_scale: u8,
    pub(super) segments: u32,
    pub(super) sum: u64,
    pub(super) octets: Octets,
    pub(super) irregular: Option<Box<Irregular>>,
    pub(super) round_trips: RoundTrips,
    pub(super) copies: Copies,
}

/// What is kept of a direction whose segments did not simply follow one another.
#[derive(Clone, Debug, Default)]
pub(super) struct Irregular {
    pub(super) gaps: Option<Gaps>,
    pub(super) earlier: Earlier,
}

bitflags::bitflags! {
    /// Facts about a direction.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Marks: u16 {
        /// `base` is known or guessed.
        const BASE = 0x001;
        /// A SYN was seen: `isn` holds.
        const SYN = 0x002;
        /// A SYN was seen, and no ACK without SYN since: the window is not scaled yet.
        const UNSCALED = 0x004;
        /// The last segment was a keep-alive.
        const KEEP_ALIVE = 0x008;
        /// The last segment was a zero-window probe.
        const PROBE = 0x010;
        /// It announced a maximum segment size.
        const MSS = 0x020;
        /// It announced a window scale.
        const SCALE = 0x040;
        /// It permitted SACK.
        const SACK = 0x080;
        /// It offered timestamps.
        const TIMESTAMPS = 0x100;
        /// A segment with ACK was seen: `last_ack` is a real one.
        const ACKED = 0x200;
        /// A segment was seen: `window` is a real one.
        const WINDOW = 0x400;
        /// A FIN was seen: `fin_end` holds.
        const FIN = 0x800;
        /// Of the first direction: a SYN without ACK was seen in either.
        const ASKED = 0x1000;
        /// Of the first direction: the initial round-trip time is known.
        const TIMED = 0x2000;
        /// `newest` is of its timestamp.
        const STAMPED = 0x4000;
        /// Its SYN offered accurate ECN.
        const ACCURATE_ECN = 0x8000;
    }
}

/// How a direction's window field is to be read: the shift, or one of two that are none.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Scale(pub(super) u8);

impl Scale {
    /// The handshake was not seen.
    pub(super) const UNKNOWN: Self = Self(0xff);
    /// Not negotiated: the field counts octets.
    pub(super) const NONE: Self = Self(0xfe);

    /// By how many bits the field is shifted left.
    fn shift(self) -> u32 {
        if self.0 <= Self::LARGEST { self.0.into() } else { 0 }
    }

    /// RFC 7323 section 2.3: more than 14 counts as 14.
    pub(super) const LARGEST: u8 = 14;
}

impl Default for Scale {
    fn default() -> Self {
        Self::UNKNOWN
    }
}

impl Stream {
    /// Segments sent.
    pub fn segments(&self) -> u64 {
        self.segments.into()
    }

    /// Sum of the payload lengths.
    pub fn octets(&self) -> u64 {
        self.sum
    }

    /// Segments with SYN, modulo 256.
    pub fn syns(&self) -> u8 {
        self.syns
    }

    /// Segments with FIN, modulo 256.
    pub fn fins(&self) -> u8 {
        self.fins
    }

    /// Segments with RST, modulo 65,536.
    pub fn resets(&self) -> u16 {
        self.resets
    }

    /// Octets seen, each position once.
    #[inline]
    pub fn unique_octets(&self) -> u64 {
        self.octets.unique(self.gaps())
    }

    /// The first initial sequence number sent, of a SYN or SYN-ACK; `None` when none was seen.
    pub fn isn(&self) -> Option<Seq> {
        self.marks.contains(Marks::SYN).then_some(self.isn)
    }

    /// The sequence number of the last SYN or SYN-ACK; `None` when none was seen.
    pub fn last_syn(&self) -> Option<Seq> {
        self.marks.contains(Marks::SYN).then_some(self.base)
    }

    /// When its last segment was captured.
    pub fn last_at(&self) -> Option<Timestamp> {
        self.last_at
    }

    /// The maximum segment size announced.
    pub fn mss(&self) -> Option<u16> {
        self.marks.contains(Marks::MSS).then_some(self.mss)
    }

    /// The window scale announced, as announced.
    pub fn window_scale(&self) -> Option<u8> {
        self.marks.contains(Marks::SCALE).then_some(self.announced_scale)
    }

    /// Whether SACK was permitted.
    pub fn sack_permitted(&self) -> bool {
        self.marks.contains(Marks::SACK)
    }

    /// Whether timestamps were offered.
    pub fn timestamps(&self) -> bool {
        self.marks.contains(Marks::TIMESTAMPS)
    }

    /// The shortest, mean and longest time to an acknowledgement.
    pub fn round_trips(&self) -> Option<(Span, Span, Span)> {
        self.round_trips.summary()
    }

    /// The sequence number after the FIN; `None` when none was sent.
    pub fn fin_end(&self) -> Option<Seq> {
        self.marks.contains(Marks::FIN).then_some(self.octets.fin_end)
    }

    /// Whether its sender announced a window of zero last.
    pub fn has_zero_window(&self) -> bool {
        self.marks.contains(Marks::WINDOW) && self.window == 0
    }

    /// The window field that its sender announced last, and by how many bits it is to be shifted left; `None` where it is not scaled.
    #[inline]
    pub fn scaled_window(&self) -> Option<(u16, u32)> {
        let shift = if self.marks.contains(Marks::UNSCALED) { 0 } else { self.scale.shift() };
        (shift > 0 && self.marks.contains(Marks::WINDOW)).then_some((self.window, shift))
    }

    /// The position in the stream of a sequence number, 0 being the octet after the SYN.
    pub fn position(&self, seq: Seq) -> i64 {
        self.octets.position(seq)
    }

    /// Learns where the direction begins, from a segment of its own.
    #[inline(always)]
    pub(super) fn meet(&mut self, segment: &Segment) {
        if segment.flags.contains(Flags::SYN) || !self.marks.contains(Marks::BASE) {
            self.meet_anew(segment);
        }
    }

    fn meet_anew(&mut self, segment: &Segment) {
        let is_syn = segment.flags.contains(Flags::SYN);
        if is_syn {
            if self.marks.contains(Marks::FIN | Marks::BASE) && segment.seq != self.base && self.sum == 0 {
                // What came before this number was none of the connection.
                self.marks.remove(Marks::FIN);
            }
            self.follow_syn(segment);
            if !self.marks.contains(Marks::SYN) {
                self.isn = segment.seq;
            }
            self.marks |= Marks::SYN | Marks::UNSCALED;
            if self.sum == 0 && !self.marks.contains(Marks::FIN) {
                self.begin(segment.data_seq());
            }
        }
        if !self.marks.contains(Marks::BASE) {
            self.base = if is_syn { segment.seq } else { segment.seq.minus(1) };
            self.marks |= Marks::BASE;
            self.begin(segment.data_seq());
        }
    }

    /// What a SYN changes that is not the first thing known of the direction.
    pub(super) fn follow_syn(&mut self, segment: &Segment) {
        if !self.marks.contains(Marks::BASE) {
            return;
        }
        if segment.flags.contains(Flags::ACK) {
            self.base = segment.seq;
        } else if segment.seq == self.base {
            // A RST may have moved it to whatever its sender had acknowledged.
            self.next = self.acceptable;
        }
    }

    /// Whether a FIN is the first that counts: one whose number an octet has is none of this stream's.
    #[inline]
    pub(super) fn is_fin(&self, segment: &Segment) -> bool {
        let octets = self.octets.in_order(self.gaps());
        !segment.end().minus(1).is_before(octets) && self.fin_end().is_none_or(|fin_end| octets.is_after(fin_end))
    }

    /// Counts the positions of octets from `at`.
    pub(super) fn begin(&mut self, at: Seq) {
        self.octets = Octets::from(at);
        if let Some(irregular) = &mut self.irregular {
            irregular.gaps = None;
        }
    }

    /// Learns where the direction begins, from the first acknowledgement of it.
    #[cold]
    pub(super) fn meet_by_ack(&mut self, ack: Seq) {
        self.base = ack.minus(1);
        self.marks |= Marks::BASE;
        self.begin(ack);
    }

    #[inline]
    pub(super) fn count(&mut self, segment: &Segment) {
        self.segments = self.segments.saturating_add(1);
        self.sum += u64::from(segment.len);
        let flags = segment.flags;
        if flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
            self.syns = self.syns.wrapping_add(flags.contains(Flags::SYN).into());
            self.fins = self.fins.wrapping_add(flags.contains(Flags::FIN).into());
            self.resets = self.resets.wrapping_add(flags.contains(Flags::RST).into());
        }
    }

    /// The sequence number after all that was seen, wherever there are holes.
    #[inline]
    pub(super) fn reached(&self) -> Seq {
        let octets = self.octets.reached(self.gaps());
        let fin_end = self.octets.fin_end;
        if self.marks.contains(Marks::FIN) && fin_end.is_after(octets) { fin_end } else { octets }
    }

    /// The sequence number up to which octets and FIN have come in order.
    #[inline]
    pub(super) fn in_order(&self) -> Seq {
        let octets = self.octets.in_order(self.gaps());
        let fin_end = self.octets.fin_end;
        if self.marks.contains(Marks::FIN) && octets == fin_end.minus(1) { fin_end } else { octets }
    }

    /// The window field of a segment of this direction, in octets.
    #[inline]
    pub(super) fn scaled(&self, segment: &Segment) -> u32 {
        let shift = if segment.flags.contains(Flags::SYN) { 0 } else { self.scale.shift() };
        u32::from(segment.window) << shift
    }

    /// The room this direction's sender announced last, in octets; before its first segment more than any window.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        let window = if self.marks.contains(Marks::WINDOW) { u32::from(self.window) } else { u32::MAX };
        let shift = if self.marks.contains(Marks::UNSCALED) { 0 } else { self.scale.shift() };
        window.wrapping_shl(shift)
    }

    /// Octets of this direction past the last acknowledgement of `rev`.
    #[inline]
    pub(super) fn in_flight(&self, rev: &Self) -> u32 {
        if self.next == Seq(0) || !rev.marks.contains(Marks::ACKED) {
            return 0;
        }
        u32::try_from(self.next.since(rev.last_ack)).unwrap_or(0)
    }

    /// How much memory it takes besides what every direction does.
    #[inline]
    pub(super) fn extra(&self) -> usize {
        self.irregular
            .as_ref()
            .map_or(0, |irregular| size_of::<Irregular>() + irregular.gaps.as_ref().map_or(0, Gaps::room))
    }

    /// Gives back what only further segments would need; what was counted stays.
    pub(super) fn settle(&mut self) {
        match &mut self.irregular {
            Some(irregular) if irregular.gaps.is_some() => irregular.gaps.iter_mut().for_each(Gaps::settle),
            irregular => *irregular = None,
        }
    }

    /// Whether all octets before this number were captured, wherever the rules see a gap.
    #[cold]
    pub(super) fn holds_all_before(&self, ack: Seq) -> bool {
        !ack.is_after(self.in_order())
    }

    /// The number that its sender acknowledged last; `None` while there is none.
    pub fn acked(&self) -> Option<Seq> {
        self.marks.contains(Marks::ACKED).then_some(self.last_ack)
    }

    /// How many numbers `rev` acknowledged beyond all that was captured of this direction, if any.
    pub fn missing_behind(&self, rev: &Self) -> Option<u32> {
        let acked = rev.acked().filter(|_| self.marks.contains(Marks::BASE))?;
        u32::try_from(acked.since(self.reached())).ok().filter(|beyond| *beyond > 0)
    }

    /// The IP identification of the segment that advanced the stream last; `None` where it has none.
    pub fn newest_id(&self) -> Option<u16> {
        (self.newest != 0 && !self.marks.contains(Marks::STAMPED)).then_some(self.newest)
    }

    /// Takes note of what tells whether later segments were sent before or after one that advanced the stream.
    #[inline]
    pub(super) fn date(&mut self, segment: &Segment) {
        self.newest = segment.ip_id.unwrap_or(0);
        self.marks.remove(Marks::STAMPED);
        if self.newest == 0
            && let Some((sent, _)) = segment.options.timestamps
        {
            self.newest = sent as u16;
            self.marks |= Marks::STAMPED;
        }
    }

    /// Takes the octets of a segment, and says at which position they begin.
    #[inline]
    pub(super) fn take_octets(&mut self, segment: &Segment) -> i64 {
        let from = self.octets.position(segment.data_seq());
        if self.gaps().is_some() || !self.octets.take_in_order(segment, from) {
            self.take_with_gaps(segment, from);
        }
        from
    }

    #[cold]
    fn take_with_gaps(&mut self, segment: &Segment, from: i64) {
        let irregular = self.irregular.get_or_insert_default();
        let gaps = irregular.gaps.get_or_insert_with(|| self.octets.without_gaps());
        self.octets.take(gaps, segment, from);
    }

    /// The receiver acknowledged up to `ack`.
    #[inline]
    pub(super) fn acknowledge_octets(&mut self, ack: Seq) {
        if let Some(gaps) = self.irregular.as_mut().and_then(|irregular| irregular.gaps.as_mut()) {
            gaps.acknowledged(self.octets.position(ack));
        }
    }

    #[inline]
    fn gaps(&self) -> Option<&Gaps> {
        self.irregular.as_ref().and_then(|irregular| irregular.gaps.as_ref())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::script;

    fn octets(pieces: &[(u32, u32)], start: Seq) -> Stream {
        let mut stream = Stream::default();
        let (_, mut segment, _) = script::read("0 C > S: . 0(0)").next().expect("a segment");
        segment.seq = start;
        stream.begin(start);
        for &(from, len) in pieces {
            (segment.seq, segment.len) = (start.plus(from), len);
            stream.take_octets(&segment);
        }
        stream
    }

    #[test]
    fn a_wrong_number_half_a_circle_away_moves_nobody_elses_octets() {
        let half = 1 << 31;
        for wrong in [half - 1448, half, half + 1448] {
            let taken =
                octets(&[(0, 1448), (1448, 1448), (wrong, 1448), (0, 1448), (2896, 1448), (1448, 1448)], Seq(700));
            assert_eq!(taken.unique_octets(), 4 * 1448, "{wrong}");
        }
        // A hole of more than a window is not a wrong number: what follows is there, too.
        let hole = (1 << 30) + 5000;
        let taken =
            octets(&[(0, 1448), (hole, 1448), (hole + 1448, 1448), (hole + (1 << 30), 8), (hole + half, 8)], Seq(700));
        assert_eq!(
            (taken.unique_octets(), taken.octets.position(Seq(700).plus(hole + half))),
            (3 * 1448 + 16, i64::from(hole) + (1 << 31))
        );
    }

    proptest! {
        /// However a stream is cut and in whatever order the pieces come, each octet counts once.
        #[test]
        fn octets_are_conserved(
            start: u32,
            mut pieces in proptest::collection::vec((0u32..5_000, 0u32..300), 1..60),
        ) {
            let taken = octets(&pieces, Seq(start));
            let mut seen = vec![false; 6_000];
            for &(from, len) in &pieces {
                seen[from as usize..(from + len) as usize].fill(true);
            }
            let seen_once = seen.iter().filter(|seen| **seen).count() as u64;
            prop_assert_eq!(taken.unique_octets(), seen_once);
            let contiguous = seen.iter().position(|seen| !seen).unwrap_or(seen.len());
            prop_assert_eq!(taken.in_order(), Seq(start).plus(contiguous as u32));
            pieces.reverse();
            prop_assert_eq!(octets(&pieces, Seq(start)).unique_octets(), seen_once);
        }
    }
}
