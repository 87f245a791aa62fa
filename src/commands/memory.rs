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

/// Gives memory that was freed back to the system, where the allocator keeps it for later otherwise.
pub(super) fn give_back() {
    // SAFETY: it takes a number, and gives back what nobody has.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0)
    };
}
