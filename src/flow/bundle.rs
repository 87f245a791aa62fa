//! Segments on their way to the table: as small as most of them are, with what it takes to find their connections.

use std::hash::BuildHasher;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::Range;

use foldhash::quality::RandomState;

use super::key::AnyKey;
use crate::time::Timestamp;
use crate::wire::{Flags, Oddities, Options, Segment, Seq};

/// Segments one after the other, for [`FlowTable::observe_all`](super::FlowTable::observe_all).
///
/// They are handed from one processor to another, which takes its time for each cache line: nearly all segments take one of them.
#[derive(Debug, Default)]
pub struct Bundle {
    items: Vec<Item>,
    /// Those that are more than an item can say, with their places.
    whole: Vec<Segment>,
    /// The frame that those of the items are counted from.
    base: u64,
}

/// Finds the places of connections in a table; each [`FlowTable`](super::FlowTable) has its own.
#[derive(Clone, Debug, Default)]
pub struct Finder(RandomState);

impl Finder {
    #[inline]
    pub(super) fn hash(&self, key: &AnyKey) -> u64 {
        match key {
            AnyKey::V4(key, _) => self.0.hash_one(key),
            AnyKey::V6(key, _) => self.0.hash_one(key),
        }
    }

    #[inline]
    pub(super) fn hash_one(&self, key: impl std::hash::Hash) -> u64 {
        self.0.hash_one(key)
    }
}

impl Bundle {
    /// How many segments it holds.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether it holds none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Forgets the segments, and keeps the room.
    pub fn clear(&mut self) {
        self.items.clear();
        self.whole.clear();
    }

    /// Adds a segment, for the table that `finder` is from.
    #[inline(always)]
    pub fn push(&mut self, finder: &Finder, segment: &Segment) {
        if self.items.is_empty() {
            self.base = segment.frame;
        }
        let hash = finder.hash(&AnyKey::of(segment));
        match Item::of(segment, hash, self.base) {
            Some(item) => self.items.push(item),
            None => self.push_whole(hash, segment),
        }
    }

    #[cold]
    fn push_whole(&mut self, hash: u64, segment: &Segment) {
        self.items.push(Item::whole(hash, self.whole.len()));
        self.whole.push(*segment);
    }

    /// Shows one of the segments.
    pub fn with_segment<T>(&self, place: usize, show: impl FnOnce(&Segment) -> T) -> T {
        self.with(place, |_, _, segment| show(segment))
    }

    /// Has nothing more be said of a segment's checksum.
    pub fn forgive(&mut self, place: usize) {
        let item = &mut self.items[place];
        match item.holds.contains(Holds::WHOLE) {
            true => self.whole[item.seq.0 as usize].oddities.remove(Oddities::BAD_CHECKSUM),
            false => item.oddities &= !(Oddities::BAD_CHECKSUM.bits() as u16),
        }
    }

    /// Has it be said of a segment that another capture point had it before.
    pub fn was_elsewhere(&mut self, place: usize) {
        let item = &mut self.items[place];
        match item.holds.contains(Holds::WHOLE) {
            true => self.whole[item.seq.0 as usize].oddities.insert(Oddities::SEEN_ELSEWHERE),
            false => item.holds.insert(Holds::SEEN_ELSEWHERE),
        }
    }

    /// The hashes of some of the segments.
    pub(super) fn hashes(&self, range: Range<usize>) -> impl Iterator<Item = u64> {
        self.items[range].iter().map(|item| item.hash)
    }

    /// Hands a segment on, with its key and the hash of that.
    #[inline(always)]
    pub(super) fn with<T>(&self, place: usize, on: impl FnOnce(u64, AnyKey, &Segment) -> T) -> T {
        let item = &self.items[place];
        let made;
        let (key, segment) = if item.holds.contains(Holds::WHOLE) {
            let whole = &self.whole[item.seq.0 as usize];
            (AnyKey::of(whole), whole)
        } else {
            made = item.segment(self.base);
            (AnyKey::v4((item.src, item.src_port), (item.dst, item.dst_port)), &made)
        };
        on(item.hash, key, segment)
    }
}

/// A segment over IPv4 with no options but those that are common: one cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Item {
    hash: u64,
    at: Option<Timestamp>,
    src: Ipv4Addr,
    dst: Ipv4Addr,
    seq: Seq,
    ack: Seq,
    timestamps: [u32; 2],
    src_port: u16,
    dst_port: u16,
    flags: Flags,
    /// All but those that `holds` has.
    oddities: u16,
    window: u16,
    checksum: u16,
    ip_id: u16,
    len: u16,
    mss: u16,
    frame: u16,
    window_scale: u8,
    ttl: u8,
    holds: Holds,
}

bitflags::bitflags! {
    /// Which of an item's fields mean something.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    struct Holds: u8 {
        /// Nothing but the hash does; `seq` says which of the whole segments it is.
        const WHOLE = 1;
        const TIMESTAMPS = 2;
        const MSS = 4;
        const WINDOW_SCALE = 8;
        const SACK_PERMITTED = 16;
        const SEEN_ELSEWHERE = 32;
    }
}

impl Item {
    fn whole(hash: u64, place: usize) -> Self {
        Self {
            hash,
            at: None,
            src: Ipv4Addr::UNSPECIFIED,
            dst: Ipv4Addr::UNSPECIFIED,
            seq: Seq(place as u32),
            ack: Seq(0),
            timestamps: [0; 2],
            src_port: 0,
            dst_port: 0,
            flags: Flags::empty(),
            oddities: 0,
            window: 0,
            checksum: 0,
            ip_id: 0,
            len: 0,
            mss: 0,
            frame: 0,
            window_scale: 0,
            ttl: 0,
            holds: Holds::WHOLE,
        }
    }

    /// The segment, if it is one that an item can say all of.
    #[inline]
    fn of(segment: &Segment, hash: u64, base: u64) -> Option<Self> {
        let options = &segment.options;
        let (IpAddr::V4(src), IpAddr::V4(dst), Some(ip_id)) = (segment.src, segment.dst, segment.ip_id) else {
            return None;
        };
        let (Ok(len), Ok(frame)) = (u16::try_from(segment.len), u16::try_from(segment.frame.wrapping_sub(base))) else {
            return None;
        };
        let is_rare = options.sack_blocks > 0
            || options.mptcp.is_some()
            || options.fast_open
            || options.other.is_some()
            || segment.urgent != 0;
        if is_rare {
            return None;
        }
        let mut holds = Holds::empty();
        holds.set(Holds::TIMESTAMPS, options.timestamps.is_some());
        holds.set(Holds::MSS, options.mss.is_some());
        holds.set(Holds::WINDOW_SCALE, options.window_scale.is_some());
        holds.set(Holds::SACK_PERMITTED, options.sack_permitted);
        holds.set(Holds::SEEN_ELSEWHERE, segment.oddities.contains(Oddities::SEEN_ELSEWHERE));
        Some(Self {
            hash,
            at: segment.at,
            src,
            dst,
            seq: segment.seq,
            ack: segment.ack,
            timestamps: options.timestamps.map_or([0; 2], |(value, echo)| [value, echo]),
            src_port: segment.src_port,
            dst_port: segment.dst_port,
            flags: segment.flags,
            oddities: segment.oddities.bits() as u16,
            window: segment.window,
            checksum: segment.checksum,
            ip_id,
            len,
            mss: options.mss.unwrap_or(0),
            frame,
            window_scale: options.window_scale.unwrap_or(0),
            ttl: segment.ttl,
            holds,
        })
    }

    #[inline]
    fn segment(&self, base: u64) -> Segment {
        let holds = |what| self.holds.contains(what);
        let mut oddities = Oddities::from_bits_retain(self.oddities.into());
        oddities.set(Oddities::SEEN_ELSEWHERE, holds(Holds::SEEN_ELSEWHERE));
        Segment {
            at: self.at,
            frame: base.wrapping_add(self.frame.into()),
            src: IpAddr::V4(self.src),
            dst: IpAddr::V4(self.dst),
            src_port: self.src_port,
            dst_port: self.dst_port,
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            urgent: 0,
            checksum: self.checksum,
            ip_id: Some(self.ip_id),
            ttl: self.ttl,
            len: self.len.into(),
            oddities,
            options: Options {
                mss: holds(Holds::MSS).then_some(self.mss),
                window_scale: holds(Holds::WINDOW_SCALE).then_some(self.window_scale),
                sack_permitted: holds(Holds::SACK_PERMITTED),
                timestamps: holds(Holds::TIMESTAMPS).then_some((self.timestamps[0], self.timestamps[1])),
                ..Options::default()
            },
        }
    }
}

/// How many segments are best taken at a time: what they need of memory is fetched for all of them together.
pub(super) const AT_ONCE: usize = 16;

#[cfg(test)]
mod tests {
    use std::net::Ipv6Addr;

    use proptest::option;
    use proptest::prelude::*;

    use super::*;

    prop_compose! {
        fn options()(
            mss in option::of(any::<u16>()),
            window_scale in option::of(any::<u8>()),
            sack_permitted: bool,
            timestamps in option::of(any::<(u32, u32)>()),
            sack_blocks in prop_oneof![3 => Just(0), 1 => 1..=4_u8],
            mptcp in option::weighted(0.1, any::<u8>()),
            fast_open in prop::bool::weighted(0.1),
            other in option::weighted(0.1, any::<u8>()),
        ) -> Options {
            let sack = [(Seq(1), Seq(2)); 4];
            let sack = if sack_blocks > 0 { sack } else { Options::default().sack };
            Options { mss, window_scale, sack_permitted, timestamps, sack, sack_blocks, mptcp, fast_open, other }
        }
    }

    prop_compose! {
        fn segment()(
            ends: (u32, u32, u16, u16),
            is_v6 in prop::bool::weighted(0.2),
            numbers: (u32, u32, u16, u16),
            urgent in prop_oneof![Just(0), any::<u16>()],
            flags: u16,
            oddities: u32,
            ip_id in option::of(any::<u16>()),
            ttl: u8,
            len in prop_oneof![0..2_u32, Just(65_535), Just(65_536), any::<u32>()],
            at in option::of(any::<i64>()),
            frame in prop_oneof![0..9_u64, 65_530..65_540_u64, any::<u64>()],
            options in options(),
        ) -> Segment {
            let address = |bits: u32| match is_v6 {
                true => IpAddr::V6(Ipv6Addr::from_bits(bits.into())),
                false => IpAddr::V4(Ipv4Addr::from_bits(bits)),
            };
            Segment {
                at: at.map(Timestamp::from_nanos),
                frame,
                src: address(ends.0),
                dst: address(ends.1),
                src_port: ends.2,
                dst_port: ends.3,
                seq: Seq(numbers.0),
                ack: Seq(numbers.1),
                flags: Flags::from_bits_truncate(flags),
                window: numbers.2,
                urgent,
                checksum: numbers.3,
                ip_id,
                ttl,
                len,
                oddities: Oddities::from_bits_truncate(oddities),
                options,
            }
        }
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(segments in prop::collection::vec(segment(), 0..40)) {
            let (finder, mut bundle) = (Finder::default(), Bundle::default());
            for _ in 0..2 {
                bundle.clear();
                prop_assert!(bundle.is_empty());
                segments.iter().for_each(|segment| bundle.push(&finder, segment));
                prop_assert_eq!(bundle.len(), segments.len());
                for (place, segment) in segments.iter().enumerate() {
                    let (hash, key, out) = bundle.with(place, |hash, key, out| (hash, key, *out));
                    prop_assert_eq!(out, *segment);
                    prop_assert_eq!(hash, finder.hash(&AnyKey::of(segment)));
                    prop_assert_eq!(format!("{key:?}"), format!("{:?}", AnyKey::of(segment)));
                }
            }
        }
    }

    #[test]
    fn a_wrong_checksum_is_forgiven_in_either_form() {
        let (finder, mut bundle) = (Finder::default(), Bundle::default());
        let (_, segment, _) = crate::script::read("0 C > S: S 1(0)").next().expect("a segment");
        let wrong = Segment { oddities: Oddities::BAD_CHECKSUM | Oddities::FRAGMENTED, ..segment };
        for segment in [wrong, Segment { urgent: 1, ..wrong }] {
            bundle.push(&finder, &segment);
            bundle.push(&finder, &segment);
        }
        (0..2).for_each(|which| bundle.forgive(which * 2));
        let left: Vec<_> = (0..4).map(|place| bundle.with_segment(place, |segment| segment.oddities)).collect();
        assert_eq!(left, [Oddities::FRAGMENTED, wrong.oddities, Oddities::FRAGMENTED, wrong.oddities]);
    }

    #[test]
    fn nearly_all_segments_take_one_cache_line() {
        assert_eq!(size_of::<Item>(), 64);
    }
}
