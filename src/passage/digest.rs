//! What tells the octets of one segment from those of another, in a few octets.

/// A digest of the octets of a segment that were captured, and of the first of them: two captures may have cut them at different places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(Rust, packed(4))]
pub(super) struct Digest {
    head: u64,
    whole: u32,
}

/// How much of segments is compared.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Compared {
    /// All octets.
    Whole,
    /// The first ones.
    Head,
    /// None: one of the captures has too few.
    Nothing,
}

impl Digest {
    #[inline]
    pub(super) fn of(octets: &[u8]) -> Self {
        if octets.is_empty() {
            return Self::NONE;
        }
        let (head, whole) = match octets.first_chunk() {
            Some(first) => (head(first, HEAD), hash(octets)),
            None => {
                let mut first = [0; HEAD];
                first[..octets.len()].copy_from_slice(octets);
                let head = head(&first, octets.len());
                (head, head)
            }
        };
        Self { head, whole: folded(whole) }
    }

    #[inline]
    pub(super) fn compared(self, how: Compared) -> u64 {
        match how {
            Compared::Whole => self.whole.into(),
            Compared::Head => self.head,
            Compared::Nothing => 0,
        }
    }

    /// That of no octets.
    const NONE: Self = Self { head: 0, whole: 0 };
}

/// Whether of so many octets enough was captured for [`Compared::Head`].
pub(super) fn has_head(captured: usize, len: u32) -> bool {
    captured >= (len as usize).min(HEAD)
}

/// Of the first octets, of which there are so many and zeros behind them.
#[inline]
fn head(first: &[u8; HEAD], len: usize) -> u64 {
    let words = u128::from_le_bytes(*first);
    mix(mix(SEEDS[0] ^ len as u64, words as u64), (words >> 64) as u64)
}

/// Four lanes of eight octets at a time, the same in every run: enough to tell one payload from another.
fn hash(octets: &[u8]) -> u64 {
    let [mut one, mut two, mut three, mut four] = SEEDS;
    one ^= octets.len() as u64;
    let (blocks, rest) = octets.as_chunks::<32>();
    let word = |octets: &[u8; 32], at: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&octets[at..at + 8]);
        u64::from_le_bytes(word)
    };
    let mut add = |block: &[u8; 32]| {
        one = mix(one, word(block, 0));
        two = mix(two, word(block, 8));
        three = mix(three, word(block, 16));
        four = mix(four, word(block, 24));
    };
    blocks.iter().for_each(&mut add);
    if !rest.is_empty() {
        let mut last = [0; 32];
        last[..rest.len()].copy_from_slice(rest);
        add(&last);
    }
    mix(mix(one, two), mix(three, four))
}

/// One more word for a hash.
#[inline(always)]
pub(super) fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(word.rotate_left(31))
}

/// Half as many bits, each of which depends on all of them.
#[inline]
pub(super) fn folded(hash: u64) -> u32 {
    (hash ^ hash >> 32) as u32
}

/// How many octets are the first ones.
const HEAD: usize = 16;
const SEEDS: [u64; 4] = [0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9, 0x4b33_a62e_d433_d4a3, 0x4d5a_2da5_1de1_aa47];
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_octet_makes_another_digest_and_a_cut_one_has_the_same_head() {
        let octets: Vec<u8> = (0..200).map(|n| n as u8).collect();
        let whole = Digest::of(&octets);
        for place in 0..octets.len() {
            let mut other = octets.clone();
            other[place] ^= 1;
            assert_ne!(Digest::of(&other), whole, "{place}");
        }
        for cut_at in 16..200 {
            let cut = Digest::of(&octets[..cut_at]);
            assert_eq!(cut.compared(Compared::Head), whole.compared(Compared::Head));
            assert_ne!(cut.compared(Compared::Whole), whole.compared(Compared::Whole));
            assert!(has_head(cut_at, 200));
        }
        assert!(!has_head(15, 200) && has_head(5, 5));
        assert_ne!(Digest::of(&[0; 8]), Digest::of(&[0; 9]));
    }
}
