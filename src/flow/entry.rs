//! Where in the table a connection is.

/// The slot of a record, or with the highest bit that of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Entry(pub(super) u32);

/// What an entry stands for.
pub(super) enum Found {
    Record(u32),
    Attempt(u32),
}

impl Entry {
    #[inline]
    pub(super) fn attempt(slot: u32) -> Self {
        Self(slot | ATTEMPT)
    }

    #[inline]
    pub(super) fn found(self) -> Found {
        if self.0 & ATTEMPT == 0 { Found::Record(self.0) } else { Found::Attempt(self.0 & !ATTEMPT) }
    }
}

/// A connection's number, and below it where it is: small, because there may be millions left.
///
/// Of the number the lower half is enough: beyond 4,294,967,296 connections the order of those left begins anew, and nothing else is lost.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Left(u64);

impl Left {
    pub(super) fn new(id: u64, entry: Entry) -> Self {
        Self(id << 32 | u64::from(entry.0))
    }

    pub(super) fn entry(self) -> Entry {
        Entry(self.0 as u32)
    }
}

/// Marks an entry that stands for an attempt.
const ATTEMPT: u32 = 1 << 31;
