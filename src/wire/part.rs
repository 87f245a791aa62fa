//! What is left of a frame from some layer on, read without ever going beyond what was captured.

use super::Skip;
use crate::capture::Frame;

/// The rest of a frame from some layer on: what was captured of it, and how long it was on the wire.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    /// Never less than `bytes` holds.
    pub(super) len: usize,
}

impl<'a> Part<'a> {
    /// All of a frame.
    #[inline]
    pub(super) fn of(frame: &Frame<'a>) -> Self {
        Self { bytes: frame.bytes, len: frame.bytes.len().max(frame.wire_len as usize) }
    }

    /// Something that is wholly there.
    #[inline]
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, len: bytes.len() }
    }

    /// Why fewer than `count` octets are there: the snap length, or a length that lied.
    #[cold]
    pub(super) fn short(self, count: usize) -> Skip {
        if self.len >= count { Skip::Truncated } else { Skip::Malformed }
    }

    /// The first `N` octets.
    #[inline]
    pub(super) fn head<const N: usize>(self) -> Result<&'a [u8; N], Skip> {
        self.bytes.first_chunk().ok_or_else(|| self.short(N))
    }

    /// The octet at `place`.
    #[inline]
    pub(super) fn octet(self, place: usize) -> Result<u8, Skip> {
        self.bytes.get(place).copied().ok_or_else(|| self.short(place + 1))
    }

    /// The 16-bit number at `place`, in network order.
    #[inline]
    pub(super) fn half(self, place: usize) -> Result<u16, Skip> {
        match self.bytes.get(place..place + 2) {
            Some(bytes) => Ok(u16::from_be_bytes([bytes[0], bytes[1]])),
            None => Err(self.short(place + 2)),
        }
    }

    /// The 32-bit number at `place`, in network order.
    #[inline]
    pub(super) fn word(self, place: usize) -> Result<u32, Skip> {
        match self.bytes.get(place..place + 4) {
            Some(bytes) => Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            None => Err(self.short(place + 4)),
        }
    }

    /// What follows the first `count` octets.
    #[inline]
    pub(super) fn after(self, count: usize) -> Result<Self, Skip> {
        match self.bytes.get(count..) {
            Some(bytes) => Ok(Self { bytes, len: self.len - count }),
            None => Err(self.short(count)),
        }
    }

    /// No more than the first `count` octets.
    #[inline]
    pub(super) fn limited(self, count: usize) -> Self {
        Self { bytes: &self.bytes[..self.bytes.len().min(count)], len: self.len.min(count) }
    }

    /// Whether all of it was captured.
    #[inline]
    pub(super) fn is_whole(self) -> bool {
        self.bytes.len() == self.len
    }
}
