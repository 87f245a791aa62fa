//! What the files that are read together may take: memory for what compression looks back on and for attached records, and time until somebody gives up.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the files that are opened with it may take, all of them together.
#[derive(Clone, Debug)]
pub struct Allowance {
    /// Reading ends as an error once this is set.
    pub stop: Arc<AtomicBool>,
    /// Octets for the windows of zstd and the blocks of lz4.
    pub windows: Share,
    /// Octets for records that are attached to a capture; `None` passes them over.
    pub attachments: Option<Share>,
}

/// No bound but those that hold for each file, and nobody who gives up.
impl Default for Allowance {
    fn default() -> Self {
        Self { stop: Arc::default(), windows: Share::new(u64::MAX), attachments: Some(Share::new(u64::MAX)) }
    }
}

/// Octets of which several may take some.
#[derive(Clone, Debug)]
pub struct Share {
    left: Arc<AtomicU64>,
}

/// What was taken of a share, which has it back when this is dropped.
#[derive(Debug)]
pub(super) struct Taken {
    share: Share,
    octets: u64,
}

impl Share {
    /// So many octets.
    pub fn new(octets: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(octets)) }
    }

    /// How many are left.
    pub(super) fn left(&self) -> u64 {
        self.left.load(Ordering::Relaxed)
    }

    /// Nothing yet.
    pub(super) fn begin(&self) -> Taken {
        Taken { share: self.clone(), octets: 0 }
    }
}

impl Taken {
    /// Takes more, until so many octets were taken; whether that many are there.
    pub(super) fn grow_to(&mut self, octets: u64) -> bool {
        let more = octets.saturating_sub(self.octets);
        let taken =
            self.share.left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(more)).is_ok();
        if taken {
            self.octets += more;
        }
        taken
    }

    /// How many it can have at most now.
    pub(super) fn most(&self) -> u64 {
        self.octets.saturating_add(self.share.left())
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.share.left.fetch_add(self.octets, Ordering::Relaxed);
    }
}

/// Reads until somebody gives up.
pub(super) struct Heeding {
    reader: Box<dyn Read + Send>,
    stop: Arc<AtomicBool>,
}

impl Heeding {
    pub(super) fn new(reader: Box<dyn Read + Send>, stop: &Arc<AtomicBool>) -> Self {
        Self { reader, stop: Arc::clone(stop) }
    }
}

impl Read for Heeding {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.stop.load(Ordering::Relaxed) {
            return Err(interrupted());
        }
        // No more than a moment's work of a decompressor between two looks.
        let most = into.len().min(AT_ONCE);
        self.reader.read(&mut into[..most])
    }
}

/// The error of a read that was given up: of another kind than `Interrupted`, after which readers try again.
pub(super) fn interrupted() -> io::Error {
    io::Error::other("interrupted")
}

/// How many octets are decompressed between two looks.
const AT_ONCE: usize = 4 << 20;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_take_together_is_no_more_than_their_share() {
        let share = Share::new(100);
        let (mut one, mut other) = (share.begin(), share.begin());
        assert!(one.grow_to(60) && !other.grow_to(41) && other.grow_to(40) && !one.grow_to(61));
        assert!(one.grow_to(50) && one.most() == 60, "it never shrinks");
        drop(one);
        assert!(other.grow_to(100) && other.most() == 100);
    }

    #[test]
    fn reading_ends_when_somebody_gives_up() {
        let stop = Arc::<AtomicBool>::default();
        let mut reader = Heeding::new(Box::new(io::repeat(7)), &stop);
        assert_eq!(reader.read(&mut [0; 9]).unwrap(), 9);
        stop.store(true, Ordering::Relaxed);
        assert_eq!(reader.read(&mut [0; 9]).unwrap_err().to_string(), "interrupted");
    }
}
