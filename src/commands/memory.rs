//! How much memory a run may take: what the option says, or what the machine has.

use nix::sys::sysinfo::sysinfo;

use crate::session::Memory;

/// The memory of a run that was asked for, or else a quarter of the machine's.
pub(super) fn of(asked: Option<u64>) -> Memory {
    match asked {
        Some(octets) => Memory::new(octets),
        None => Memory::of_a_machine_with(sysinfo().map_or(0, |machine| machine.ram_total())),
    }
}

/// Has memory that is freed used again, where it would be given back to the system and asked for anew otherwise, with a fault for each of its
/// pages: for who keeps nearly all, and ends once that is told.
pub(super) fn keep_freed() {
    // SAFETY: they take numbers, and change where memory comes from that is asked for later.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
        libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
        libc::mallopt(libc::M_TOP_PAD, STEP);
    };
}

/// Gives memory that was freed back to the system, where the allocator keeps it for later otherwise.
pub(super) fn give_back() {
    // SAFETY: it takes a number, and gives back what nobody has.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}

/// From which size on memory comes from the system by itself, the most that the allocator takes, and how much is asked for at a time.
#[cfg(target_env = "gnu")]
const LARGE: i32 = 32 << 20;
#[cfg(target_env = "gnu")]
const STEP: i32 = 4 << 20;
