//! Records in numbered slots that are used again, in blocks that never move.

/// A store of records by slot number; a slot that was emptied is the next to be filled.
#[derive(Debug)]
pub(super) struct Slab<T> {
    blocks: Vec<Vec<T>>,
    empty: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { blocks: Vec::new(), empty: Vec::new() }
    }
}

impl<T: Default> Slab<T> {
    /// Puts a record into a slot, and says which.
    pub(super) fn insert(&mut self, record: T) -> u32 {
        if let Some(slot) = self.empty.pop() {
            *self.at_mut(slot) = record;
            return slot;
        }
        if self.blocks.last().is_none_or(|block| block.len() == BLOCK) {
            self.blocks.push(Vec::with_capacity(BLOCK));
        }
        let slot = self.slots();
        let Some(block) = self.blocks.last_mut() else { return slot };
        block.push(record);
        slot
    }

    /// Takes the record out of a slot that holds one.
    pub(super) fn take(&mut self, slot: u32) -> T {
        self.empty.push(slot);
        std::mem::take(self.at_mut(slot))
    }

    /// The record in `slot`, which [`insert`](Self::insert) named.
    pub(super) fn at(&self, slot: u32) -> &T {
        &self.blocks[slot as usize / BLOCK][slot as usize % BLOCK]
    }

    /// The same, to change it.
    pub(super) fn at_mut(&mut self, slot: u32) -> &mut T {
        &mut self.blocks[slot as usize / BLOCK][slot as usize % BLOCK]
    }

    /// Has the processor fetch the record in `slot` while it does something else.
    #[inline]
    pub(super) fn prefetch(&self, slot: u32) {
        let Some(record) = self.blocks.get(slot as usize / BLOCK).and_then(|block| block.get(slot as usize % BLOCK))
        else {
            return;
        };
        let first = std::ptr::from_ref(record).cast::<i8>();
        for line in (0..size_of::<T>()).step_by(CACHE_LINE) {
            prefetch(first.wrapping_add(line));
        }
    }

    /// How many records there are.
    pub(super) fn len(&self) -> usize {
        self.slots() as usize - self.empty.len()
    }

    /// How many slots there are, empty ones counted.
    pub(super) fn slots(&self) -> u32 {
        match self.blocks.split_last() {
            None => 0,
            Some((last, full)) => (full.len() * BLOCK + last.len()) as u32,
        }
    }
}

/// Has the processor fetch a cache line, where it can be told to.
#[inline]
pub(super) fn prefetch(line: *const i8) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a prefetch neither reads nor writes as far as a program can see, and faults on no address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(line);
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = line;
}

/// How many records a block holds.
const BLOCK: usize = 256;
/// Octets that a processor fetches together.
const CACHE_LINE: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut slab = Slab::default();
        let slots: Vec<_> = (0..1000u64).map(|record| slab.insert(record)).collect();
        assert_eq!(slab.len(), 1000);
        assert!(slots.iter().all(|slot| *slab.at(*slot) == u64::from(*slot)));
        assert_eq!(slab.take(7), 7);
        assert_eq!((slab.len(), slab.slots()), (999, 1000));
        assert_eq!(slab.insert(77), 7);
        assert_eq!(*slab.at(7), 77);
    }
}
