//! A segment as a capture has it, in one cache line: what there is to compare, to judge and to tell.

use super::digest::{Compared, Digest, folded, mix};
use crate::flow::Side;
use crate::time::Timestamp;
use crate::wire::{Flags, Oddities, Segment, Seq};

/// A segment of a capture.
#[derive(Clone, Copy, Debug)]
pub struct Taken {
    /// When it was captured; `None` when the capture does not say.
    pub at: Option<Timestamp>,
    /// Sequence number of the first octet, or of the SYN.
    pub seq: Seq,
    /// Acknowledgement number; meaningless without ACK.
    pub ack: Seq,
    /// Octets of payload, whether captured or not.
    pub len: u32,
    /// Control bits.
    pub flags: Flags,
    /// Window as it stands in the header.
    pub window: u16,
    /// Checksum as it stands in the header.
    pub checksum: u16,
    timestamps: [u32; 2],
    digest: Digest,
    /// Of its SACK blocks, counted from its acknowledgement; 0 without any.
    sacks: u32,
    /// The number of its frame: the lower 32 bits, and those above.
    frame: u32,
    frame_above: u16,
    ip_id: u16,
    mss: u16,
    window_scale: u8,
    is: Is,
}

/// What else is known of a segment, and which of its fields mean something.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Is(u16);

impl Is {
    const FROM_SERVER: Self = Self(1);
    const TIMESTAMPS: Self = Self(1 << 1);
    const IP_ID: Self = Self(1 << 2);
    const MSS: Self = Self(1 << 3);
    const WINDOW_SCALE: Self = Self(1 << 4);
    const SACK_PERMITTED: Self = Self(1 << 5);
    const HEADER_CUT: Self = Self(1 << 6);
    const MARKED: Self = Self(1 << 7);
    const DROPPED: Self = Self(1 << 8);

    /// The flag, if that is so.
    #[inline]
    fn when(self, is_so: bool) -> u16 {
        self.0 * u16::from(is_so)
    }
}

impl Taken {
    /// A segment with the octets of it that were captured, of which nobody says yet that the server sent it.
    #[inline]
    pub(super) fn of(segment: &Segment, octets: &[u8]) -> Self {
        let options = &segment.options;
        let is = Is::TIMESTAMPS.when(options.timestamps.is_some())
            | Is::IP_ID.when(segment.ip_id.is_some())
            | Is::MSS.when(options.mss.is_some())
            | Is::WINDOW_SCALE.when(options.window_scale.is_some())
            | Is::SACK_PERMITTED.when(options.sack_permitted)
            | Is::HEADER_CUT.when(segment.oddities.contains(Oddities::HEADER_CUT))
            | Is::MARKED.when(segment.oddities.contains(Oddities::CONGESTION_EXPERIENCED))
            | Is::DROPPED.when(segment.is_dropped());
        Self {
            at: segment.at,
            seq: segment.seq,
            ack: segment.ack,
            len: segment.len,
            flags: segment.flags,
            window: segment.window,
            checksum: segment.checksum,
            timestamps: options.timestamps.map_or([0; 2], |(value, echo)| [value, echo]),
            digest: Digest::of(octets),
            sacks: if options.sack_blocks == 0 { 0 } else { sacks(segment) },
            frame: segment.frame as u32,
            frame_above: (segment.frame >> 32) as u16,
            ip_id: segment.ip_id.unwrap_or(0),
            mss: options.mss.unwrap_or(0),
            window_scale: options.window_scale.unwrap_or(0),
            is: Is(is),
        }
    }

    /// The same, sent by that end.
    #[inline]
    pub(super) fn sent_by(mut self, from: Side) -> Self {
        self.is.0 = self.is.0 & !Is::FROM_SERVER.0 | Is::FROM_SERVER.when(from == Side::Server);
        self
    }

    #[inline]
    fn is(&self, what: Is) -> bool {
        self.is.0 & what.0 != 0
    }

    /// Who sent it.
    #[inline]
    pub fn from(&self) -> Side {
        if self.is(Is::FROM_SERVER) { Side::Server } else { Side::Client }
    }

    /// Its frame's number, counted from 1 over all frames of the capture.
    #[inline]
    pub fn frame(&self) -> u64 {
        u64::from(self.frame_above) << 32 | u64::from(self.frame)
    }

    /// The sequence number of the first octet of payload: one past a SYN.
    pub(super) fn data_seq(&self) -> Seq {
        if self.flags.contains(Flags::SYN) { self.seq.plus(1) } else { self.seq }
    }

    /// How much sequence space it takes: its octets, and one each for SYN and FIN.
    #[inline]
    pub(super) fn seq_len(&self) -> u32 {
        let controls = u32::from(self.flags.contains(Flags::SYN)) + u32::from(self.flags.contains(Flags::FIN));
        self.len.wrapping_add(controls)
    }

    /// The sequence number after all that it takes.
    pub(super) fn end(&self) -> Seq {
        self.seq.plus(self.seq_len())
    }

    /// The timestamp's value and its echo, where it has any.
    #[inline]
    pub(super) fn timestamps(&self) -> Option<[u32; 2]> {
        self.is(Is::TIMESTAMPS).then_some(self.timestamps)
    }

    /// The clock of its sender, where its timestamps tell it.
    #[inline]
    pub(super) fn stamp(&self) -> Option<u32> {
        self.timestamps().map(|[value, _]| value)
    }

    /// The identification of its datagram; `None` for IPv6 without a fragment header.
    #[inline]
    pub(super) fn ip_id(&self) -> Option<u16> {
        self.is(Is::IP_ID).then_some(self.ip_id)
    }

    /// Maximum segment size.
    pub(super) fn mss(&self) -> Option<u16> {
        self.is(Is::MSS).then_some(self.mss)
    }

    /// Window scale.
    pub(super) fn window_scale(&self) -> Option<u8> {
        self.is(Is::WINDOW_SCALE).then_some(self.window_scale)
    }

    /// SACK permitted.
    pub(super) fn permits_sack(&self) -> bool {
        self.is(Is::SACK_PERMITTED)
    }

    /// Whether its header was cut: of options that were not captured nothing is known.
    pub(super) fn is_cut_short(&self) -> bool {
        self.is(Is::HEADER_CUT)
    }

    /// Whether its datagram is marked: congestion experienced.
    pub(super) fn is_marked(&self) -> bool {
        self.is(Is::MARKED)
    }

    /// Whether its receiver drops it because its checksum is wrong.
    pub(super) fn is_dropped(&self) -> bool {
        self.is(Is::DROPPED)
    }

    #[inline]
    pub(super) fn digest(&self, how: Compared) -> u64 {
        self.digest.compared(how)
    }

    /// What is the same at both ends besides the numbers, whoever translates addresses and numbers between.
    #[inline]
    pub(super) fn mark(&self, how: Compared) -> u64 {
        let flags = u64::from(self.flags.bits()) << 1 | u64::from(self.is(Is::TIMESTAMPS));
        let [value, echo] = self.timestamps.map(u64::from);
        let words = [value << 32 | echo, u64::from(self.sacks) << 32 ^ self.digest(how)];
        words.into_iter().fold(flags << 32 | u64::from(self.len), mix)
    }

    /// Whether two frames may have the same segment: a quick look.
    #[inline]
    pub(super) fn may_be_same_frame(&self, other: &Self) -> bool {
        (self.seq == other.seq) & (self.checksum == other.checksum)
    }

    /// Whether two frames have the same segment, the same in all but the time.
    pub(super) fn is_same_frame(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.from(), one.digest, one.ack, one.flags, one.len, one.ip_id(), one.window);
        self.may_be_same_frame(other) && of(self) == of(other)
    }

    /// Takes it to be sent by the other end.
    pub(super) fn turn(&mut self) {
        self.is.0 ^= Is::FROM_SERVER.0;
    }
}

/// Of SACK blocks, counted from the acknowledgement, as a translator of numbers leaves them.
#[cold]
fn sacks(segment: &Segment) -> u32 {
    let own = |edge: Seq| u64::from(edge.0.wrapping_sub(segment.ack.0));
    let edges = segment.options.sack_edges().iter();
    folded(edges.fold(1, |hash, (from, to)| mix(hash, own(*from) << 32 | own(*to)))).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_takes_one_cache_line() {
        assert_eq!(size_of::<Taken>(), 64);
    }
}
