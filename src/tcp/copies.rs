//! Frames that were captured a second time: by two interfaces, a mirror port, or before and after a router.

use crate::wire::Segment;

/// The last two segments of one direction, to know a frame that was captured a second time.
///
/// A copy has the same header, checksum and IP identification; a segment that was sent again is another datagram with another identification.
/// Where there is none to compare (IPv6, or a host that always writes 0), only a copy within half a millisecond counts, and only of a segment that takes sequence space.
/// The time to live is not compared, which a router between the two captures has lowered.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Copies {
    /// A digest in the upper bits, the low bits of the time in units of 2^19 ns (about half a millisecond) in the lower ones; 0 is empty.
    recent: [u32; 2],
}

/// More segments of a direction in which frames are captured twice, or seem to be: the last [`REACH`] since that was seen, and the two before it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Earlier {
    /// As in [`Copies`].
    before: [u32; 2],
    /// Digests, never 0 where there is one; beside each the low bits of its time, in the same units.
    digests: [u32; REACH],
    ticks: [u16; REACH],
    next: u8,
}

impl Copies {
    /// Whether `segment` is the copy of one of those that are remembered; if it is none, it is remembered.
    ///
    /// One that `advances` the stream was not sent before, so it is no copy.
    #[inline(always)]
    pub(super) fn saw_before(
        &mut self,
        earlier: Option<&mut Earlier>,
        segment: &Segment,
        now: i64,
        advances: bool,
    ) -> bool {
        let digest = digest(segment);
        let entry = digest & !TICKS | 1 << TICKS.count_ones();
        let tick = (now >> 19) as u32;
        if !advances {
            let identified = segment.ip_id.is_some_and(|id| id != 0);
            let longest = if identified { IDENTIFIED } else { 1 };
            if (identified || segment.seq_len() > 0)
                && (holds(self.recent, entry, tick, longest)
                    || earlier.as_ref().is_some_and(|earlier| earlier.holds(digest, tick, longest)))
            {
                return true;
            }
        }
        if let Some(earlier) = earlier {
            earlier.add(self.recent, digest, tick);
        }
        self.recent = [entry | tick & TICKS, self.recent[0]];
        false
    }
}

#[inline]
fn holds(recent: [u32; 2], entry: u32, tick: u32, longest: u32) -> bool {
    let seen = recent.iter().find(|seen| **seen & !TICKS == entry);
    seen.is_some_and(|seen| tick.wrapping_sub(*seen) & TICKS <= longest)
}

impl Earlier {
    /// Remembers one more; `recent` holds the two before it.
    #[inline]
    fn add(&mut self, recent: [u32; 2], digest: u32, tick: u32) {
        if self.digests[0] == 0 {
            self.before = recent;
        }
        let place = usize::from(self.next) % REACH;
        (self.digests[place], self.ticks[place]) = (digest | 1, tick as u16);
        self.next = self.next.wrapping_add(1);
    }

    #[inline(never)]
    fn holds(&self, digest: u32, tick: u32, longest: u32) -> bool {
        // All are compared, so that the compiler can do that at once; that one is the same is rare.
        let same = self.digests.iter().fold(false, |same, seen| same | (*seen == digest | 1));
        let in_time = |then: &u16| (tick as u16).wrapping_sub(*then) <= longest as u16;
        same && self.digests.iter().zip(&self.ticks).any(|(seen, then)| *seen == digest | 1 && in_time(then))
            || holds(self.before, digest & !TICKS | 1 << TICKS.count_ones(), tick, longest)
    }
}

#[inline]
fn digest(segment: &Segment) -> u32 {
    let (sent, echoed) = segment.options.timestamps.unwrap_or_default();
    let id = segment.ip_id.unwrap_or(0);
    let parts = [
        u64::from(segment.seq.0) << 32 | u64::from(segment.ack.0),
        u64::from(sent) << 32 | u64::from(echoed),
        u64::from(segment.checksum) << 48 | u64::from(id) << 32 | u64::from(segment.len) & 0xffff_ffff,
        u64::from(segment.window) << 16 | u64::from(segment.flags.bits()),
    ];
    // Odd factors keep the parts apart; the upper half of the sum depends on all of their bits.
    let sum = parts[0]
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(parts[1].wrapping_mul(0xd6e8_feb8_6659_fd93))
        .wrapping_add(parts[2].wrapping_mul(0xa076_1d64_78bd_642f))
        .wrapping_add(parts[3].wrapping_mul(0xe703_7ed1_a0b4_28db));
    (sum >> 32) as u32
}

/// How many segments of one direction may come between a frame and its copy once one was seen.
pub(super) const REACH: usize = 16;
/// The bits of an entry of [`Copies`] that hold time.
const TICKS: u32 = 0xfff;
/// How long after a frame its copy may come, in ticks, where the IP identification tells the two apart from a retransmission: about a second.
const IDENTIFIED: u32 = 1907;
