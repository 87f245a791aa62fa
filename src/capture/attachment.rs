//! Records of any length that ride in a pcapng file beside its packets, cut into options and joined again.

use super::allowance::{Share, Taken};

/// Cuts a record into what fits an option: a mark, whether more follows, and a share of the octets.
pub(super) fn pieces(record: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let count = record.len().div_ceil(PIECE).max(1);
    (0..count).map(move |index| {
        let share = &record[index * PIECE..record.len().min((index + 1) * PIECE)];
        let mut piece = Vec::with_capacity(MARK.len() + 1 + share.len());
        piece.extend_from_slice(MARK);
        piece.push(if index + 1 < count { MORE } else { LAST });
        piece.extend_from_slice(share);
        piece
    })
}

/// Joins pieces, in the order in which they were cut, to records.
pub(super) struct Joiner {
    whole: Vec<Vec<u8>>,
    open: Vec<u8>,
    octets: usize,
    /// What they take of the memory of all files; `None` where nobody asks for them.
    taken: Option<Taken>,
}

/// More octets than [`MAX_OCTETS`], or than there is memory for.
pub(super) struct TooLarge;

impl Joiner {
    /// Without a share, whatever comes is passed over.
    pub(super) fn new(share: Option<&Share>) -> Self {
        Self { whole: Vec::new(), open: Vec::new(), octets: 0, taken: share.map(Share::begin) }
    }

    /// Takes one piece; whatever lacks the mark is somebody else's, and is passed over.
    pub(super) fn add(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        let Some([kind @ (MORE | LAST), share @ ..]) = piece.strip_prefix(MARK) else { return Ok(()) };
        let Some(taken) = &mut self.taken else { return Ok(()) };
        self.octets += share.len() + if *kind == LAST { size_of::<Vec<u8>>() } else { 0 };
        // A vector that grows may have twice the room, and for a moment half of that besides.
        if self.octets > MAX_OCTETS || !taken.grow_to(3 * self.octets as u64) {
            return Err(TooLarge);
        }
        self.open.extend_from_slice(share);
        if *kind == LAST {
            self.open.shrink_to_fit();
            self.whole.push(std::mem::take(&mut self.open));
        }
        Ok(())
    }

    /// The records that are whole.
    pub(super) fn whole(&self) -> &[Vec<u8>] {
        &self.whole
    }

    /// Gives the records that are whole away.
    pub(super) fn take(&mut self) -> Vec<Vec<u8>> {
        std::mem::take(&mut self.whole)
    }
}

/// How much of [`MAX_OCTETS`] a record takes.
pub(super) fn cost(record: &[u8]) -> usize {
    record.len() + size_of::<Vec<u8>>()
}

/// All records of a file together may take so much.
pub(super) const MAX_OCTETS: usize = 256 << 20;
const PIECE: usize = 65_000;
const MARK: &[u8] = b"tcpflow\x01";
const MORE: u8 = 1;
const LAST: u8 = 0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_of_any_length_comes_back_as_it_was() {
        let records: Vec<Vec<u8>> =
            [0, 1, PIECE - 1, PIECE, PIECE + 1, 3 * PIECE].map(|length| (0..length).map(|i| i as u8).collect()).into();
        let mut joiner = Joiner::new(Some(&Share::new(u64::MAX)));
        for record in &records {
            for piece in pieces(record) {
                assert!(piece.len() + 4 <= usize::from(u16::MAX));
                assert!(joiner.add(&piece).is_ok());
            }
        }
        assert_eq!(joiner.whole(), records);
    }

    #[test]
    fn records_of_a_bomb_are_refused() {
        let record = vec![b'x'; MAX_OCTETS];
        let mut joiner = Joiner::new(Some(&Share::new(u64::MAX)));
        assert!(
            pieces(&record).any(|piece| joiner.add(&piece).is_err()),
            "a record with what its place costs is too long"
        );
    }

    #[test]
    fn attached_records_take_no_more_than_there_is_for_them() {
        let record = pieces(&[7; 1000]).next().unwrap();
        let share = Share::new(7000);
        let (mut one, mut other) = (Joiner::new(Some(&share)), Joiner::new(Some(&share)));
        assert!(one.add(&record).is_ok() && other.add(&record).is_ok());
        assert!(one.add(&record).is_err());
        drop((one, other));
        assert!(Joiner::new(Some(&share)).add(&record).is_ok());
        // Where nobody asks for them they take nothing.
        let mut unasked = Joiner::new(None);
        assert!((0..1000).all(|_| unasked.add(&record).is_ok()) && unasked.whole().is_empty());
    }

    #[test]
    fn what_others_wrote_is_passed_over() {
        let mut joiner = Joiner::new(Some(&Share::new(u64::MAX)));
        for piece in [&b""[..], b"tcpflow", b"tcpflow\x01", b"tcpflow\x01\x07abc", b"something"] {
            assert!(joiner.add(piece).is_ok());
        }
        assert!(joiner.whole().is_empty());
    }
}
