//! Which wrong checksums are believed: those of senders whose checksums are right otherwise.

use std::net::IpAddr;

use crate::wire::{Oddities, Segment};

/// What was verified so far, in all and by source address.
///
/// Not every wrong checksum is an error of the network: a capture on the sender's own machine has what it hands to a network
/// card that computes the checksum, and a capture whose addresses were rewritten has only wrong ones.
/// So a wrong checksum is believed where it is the exception: of those verified in the capture, and of those from its
/// source address, at most one in ten is wrong, not counting one.
pub(super) struct Trust {
    all: Verified,
    /// By a digest of the source address: addresses with the same digest are counted together.
    by_source: Box<[Verified]>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Verified {
    right: u32,
    wrong: u32,
}

impl Verified {
    fn add(&mut self, is_wrong: bool) {
        let count = if is_wrong { &mut self.wrong } else { &mut self.right };
        *count = count.saturating_add(1);
    }

    fn is_trusted(self) -> bool {
        u64::from(self.wrong.saturating_sub(1)) * 9 <= u64::from(self.right)
    }
}

impl Default for Trust {
    fn default() -> Self {
        Self { all: Verified::default(), by_source: vec![Verified::default(); SOURCES].into() }
    }
}

impl Trust {
    /// Takes note of a segment whose checksum was verified.
    #[inline]
    pub(super) fn note(&mut self, segment: &Segment) {
        let is_wrong = segment.oddities.contains(Oddities::BAD_CHECKSUM);
        self.all.add(is_wrong);
        self.by_source[digest(segment.src)].add(is_wrong);
    }

    /// Whether a wrong checksum of this segment is believed.
    pub(super) fn believes(&self, segment: &Segment) -> bool {
        self.all.is_trusted() && self.by_source[digest(segment.src)].is_trusted()
    }
}

fn digest(address: IpAddr) -> usize {
    let bits = match address {
        IpAddr::V4(address) => u64::from(address.to_bits()),
        IpAddr::V6(address) => address.to_bits() as u64 ^ (address.to_bits() >> 64) as u64,
    };
    (bits.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as usize % SOURCES
}

/// How many source addresses are told apart.
const SOURCES: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script;

    /// What is believed of a wrong checksum from `C` after so many right and wrong ones from `C` and from `S`.
    fn believes(client: [u32; 2], server: [u32; 2]) -> bool {
        let mut trust = Trust::default();
        let segments: Vec<_> = script::read("0 C > S: S 1(0)\n 1 S > C: S. 1(0) ack 2").map(|line| line.1).collect();
        for (segment, counts) in segments.iter().zip([client, server]) {
            for (count, oddity) in counts.into_iter().zip([Oddities::GOOD_CHECKSUM, Oddities::BAD_CHECKSUM]) {
                (0..count).for_each(|_| trust.note(&Segment { oddities: oddity, ..*segment }));
            }
        }
        trust.believes(&segments[0])
    }

    #[test]
    fn a_wrong_checksum_is_believed_where_it_is_the_exception() {
        assert!(believes([0, 1], [0, 0]), "the only one");
        assert!(believes([9, 2], [5, 0]));
        assert!(!believes([8, 2], [50, 0]), "of its own address more than one in ten is wrong");
        assert!(!believes([0, 1], [0, 1]), "all of a capture whose addresses were rewritten are wrong");
        assert!(believes([0, 1], [9, 1]));
    }

    #[test]
    fn more_addresses_than_are_told_apart_are_counted_together() {
        let mut trust = Trust::default();
        let (_, segment, _) = script::read("0 C > S: S 1(0)").next().expect("a segment");
        for address in 0..100_000_u32 {
            let src = IpAddr::V4(address.into());
            trust.note(&Segment { src, oddities: Oddities::GOOD_CHECKSUM, ..segment });
        }
        assert_eq!(trust.by_source.len(), SOURCES);
        assert!(trust.by_source.iter().all(|verified| verified.right > 0));
        assert_eq!(trust.all.right, 100_000);
    }
}
