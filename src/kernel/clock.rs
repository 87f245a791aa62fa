//! The clocks of the kernel's witnesses, read and measured.

use nix::time::{ClockId as Posix, clock_gettime};

use crate::time::{Clock, ClockId, Timestamp};

/// Reads `CLOCK_REALTIME`, the clock on which the kernel stamps packets.
pub fn now() -> Timestamp {
    Timestamp::from_nanos(read(ClockId::Realtime))
}

/// Measures how far a clock is from the wall clock: the narrowest of several readings of the latter between two of the former.
///
/// The error is a few dozen nanoseconds, or as long as this thread was interrupted in the best of the readings.
pub fn measure(id: ClockId) -> Clock {
    if id == ClockId::Realtime {
        return Clock::WALL;
    }
    let once = || {
        let (before, wall, after) = (read(id), now(), read(id));
        Clock::bracketed(id, before, wall, after)
    };
    (1..READINGS).fold(once(), |best, _| best.or_better(once()))
}

fn read(id: ClockId) -> i64 {
    let posix = match id {
        ClockId::Realtime => Posix::CLOCK_REALTIME,
        ClockId::Monotonic => Posix::CLOCK_MONOTONIC,
        ClockId::Tai => Posix::CLOCK_TAI,
    };
    let at = clock_gettime(posix).expect("Linux always has this clock");
    Timestamp::from_parts(at.tv_sec(), at.tv_nsec() as u32).as_nanos()
}

/// How often a clock is read to find a reading that nothing interrupted.
const READINGS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_clock_is_converted_to_the_wall_clock() {
        assert_eq!(measure(ClockId::Realtime), Clock::WALL);
        for id in [ClockId::Monotonic, ClockId::Tai] {
            let clock = measure(id);
            assert_eq!(clock.id, id);
            let (before, reading, after) = (now(), read(id), now());
            let at = clock.moment(reading);
            assert!(before.since(at) <= clock.error && at.since(after) <= clock.error, "{id:?}: {before} {at} {after}");
        }
    }
}
