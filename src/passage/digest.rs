//! What tells the octets of one segment from those of another, in a few octets.

/// A digest of the octets of a segment that were captured, and of the first of them: two captures may have cut them at different places.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Digest {
    whole: u64,
    head: u64,
    captured: u32,
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
    pub(super) fn of(octets: &[u8]) -> Self {
        let head = hash(&octets[..octets.len().min(HEAD)]);
        let whole = if octets.len() <= HEAD { head } else { hash(octets) };
        Self { whole, head, captured: octets.len() as u32 }
    }

    /// How many octets were captured.
    pub(super) fn captured(self) -> u32 {
        self.captured
    }

    /// Whether enough of so many octets was captured for [`Compared::Head`].
    pub(super) fn has_head(self, len: u32) -> bool {
        self.captured >= len.min(HEAD as u32)
    }

    pub(super) fn compared(self, how: Compared) -> u64 {
        match how {
            Compared::Whole => self.whole,
            Compared::Head => self.head,
            Compared::Nothing => 0,
        }
    }
}

/// Two lanes of eight octets at a time, the same in every run: enough to tell one payload from another.
fn hash(octets: &[u8]) -> u64 {
    let mut lanes = [octets.len() as u64 ^ SEEDS[0], SEEDS[1]];
    let mut pairs = octets.chunks_exact(16);
    for pair in &mut pairs {
        for (lane, word) in lanes.iter_mut().zip(pair.chunks_exact(8)) {
            *lane = mix(*lane, word.try_into().map_or(0, u64::from_le_bytes));
        }
    }
    for chunk in pairs.remainder().chunks(8) {
        let mut word = [0; 8];
        word[..chunk.len()].copy_from_slice(chunk);
        lanes[0] = mix(lanes[0], u64::from_le_bytes(word));
    }
    mix(lanes[0], lanes[1])
}

/// One more word for a hash.
pub(super) fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word) * u128::from(FACTOR);
    (product as u64 ^ (product >> 64) as u64).wrapping_add(word.rotate_left(31))
}

/// How many octets are the first ones.
const HEAD: usize = 16;
const SEEDS: [u64; 2] = [0x2d35_8dcc_aa6c_78a5, 0x8bb8_4b93_962e_acc9];
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
        for cut in 16..200 {
            let cut = Digest::of(&octets[..cut]);
            assert_eq!(cut.compared(Compared::Head), whole.compared(Compared::Head));
            assert_ne!(cut.compared(Compared::Whole), whole.compared(Compared::Whole));
            assert!(cut.has_head(200));
        }
        assert!(!Digest::of(&octets[..15]).has_head(200) && Digest::of(&octets[..5]).has_head(5));
        assert_ne!(Digest::of(&[0; 8]), Digest::of(&[0; 9]));
    }
}
