//! Records of any length that ride in a pcapng file beside its packets, cut into options and joined again.

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
#[derive(Default)]
pub(super) struct Joiner {
    whole: Vec<Vec<u8>>,
    open: Vec<u8>,
    octets: usize,
    /// Whether nobody wants the records.
    unwanted: bool,
}

/// More octets than [`MAX_OCTETS`].
pub(super) struct TooLarge;

impl Joiner {
    /// Takes one piece; whatever lacks the mark is somebody else's, and is passed over.
    pub(super) fn add(&mut self, piece: &[u8]) -> Result<(), TooLarge> {
        let Some([kind @ (MORE | LAST), share @ ..]) = piece.strip_prefix(MARK) else { return Ok(()) };
        if self.unwanted {
            return Ok(());
        }
        self.octets += share.len() + if *kind == LAST { size_of::<Vec<u8>>() } else { 0 };
        if self.octets > MAX_OCTETS {
            return Err(TooLarge);
        }
        self.open.extend_from_slice(share);
        if *kind == LAST {
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

    /// Keeps no record from now on.
    pub(super) fn leave(&mut self) {
        *self = Self { unwanted: true, ..Self::default() };
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
        let mut joiner = Joiner::default();
        for record in &records {
            for piece in pieces(record) {
                assert!(piece.len() + 4 <= usize::from(u16::MAX));
                assert!(joiner.add(&piece).is_ok());
            }
        }
        assert_eq!(joiner.whole(), records);
    }

    #[test]
    fn records_that_nobody_wants_take_no_room_and_those_of_a_bomb_are_refused() {
        let record = vec![b'x'; MAX_OCTETS];
        let mut joiner = Joiner::default();
        assert!(
            pieces(&record).any(|piece| joiner.add(&piece).is_err()),
            "a record with what its place costs is too long"
        );
        let mut joiner = Joiner::default();
        joiner.leave();
        assert!(pieces(&record).all(|piece| joiner.add(&piece).is_ok()));
        assert!(joiner.whole().is_empty() && joiner.open.capacity() == 0);
    }

    #[test]
    fn what_others_wrote_is_passed_over() {
        let mut joiner = Joiner::default();
        for piece in [&b""[..], b"tcpflow", b"tcpflow\x01", b"tcpflow\x01\x07abc", b"something"] {
            assert!(joiner.add(piece).is_ok());
        }
        assert!(joiner.whole().is_empty());
    }
}
