//! An allocator that counts what the current thread holds, by which a target asserts what its octets cost.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The system's allocator, which notes for each thread what it holds and the most it held.
pub struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

/// Runs a target, and asserts that its thread never held more than `most` octets beyond what it held before.
///
/// What other threads hold is not counted; a target makes none.
pub fn within<T>(most: usize, target: impl FnOnce() -> T) -> T {
    let before = HELD.get();
    MOST.set(before);
    let answer = target();
    let held = MOST.get() - before;
    assert!(held <= most as isize, "{held} octets of memory were held, and {most} are allowed");
    answer
}

fn note(change: isize) {
    // A thread that ends frees what it held after its counters are gone; nothing is asserted of it any more.
    let _ = HELD.try_with(|held| {
        let now = held.get() + change;
        held.set(now);
        MOST.try_with(|most| most.set(most.get().max(now)))
    });
}

// SAFETY: every call is the system allocator's own with the same arguments; counting touches thread-local integers only, and allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: the caller keeps `alloc`'s contract, which is the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        note(layout.size() as isize);
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        note(size as isize - layout.size() as isize);
        // SAFETY: as above; the block is the system allocator's, as every block is.
        unsafe { System.realloc(block, layout, size) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        note(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(block, layout) }
    }
}
