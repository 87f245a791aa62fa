//! The clock of packet timestamps.

use nix::time::{ClockId, clock_gettime};

use crate::time::Timestamp;

/// Reads `CLOCK_REALTIME`, the clock on which the kernel stamps packets.
pub fn now() -> Timestamp {
    let at = clock_gettime(ClockId::CLOCK_REALTIME).expect("Linux always has CLOCK_REALTIME");
    Timestamp::from_parts(at.tv_sec(), at.tv_nsec() as u32)
}
