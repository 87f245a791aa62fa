//! The memory of a whole run, and what each part of it may take.

use crate::flow::Limits;

/// How many octets a run may take, `--memory`; each part has its share, so that all together keep within it.
///
/// What does not grow with a capture is left besides: the program, the buffers between its threads, and what a single frame may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Memory(u64);

impl Memory {
    /// So many octets, but never less than [`LEAST`](Self::LEAST).
    pub const fn new(octets: u64) -> Self {
        Self(if octets < Self::LEAST { Self::LEAST } else { octets })
    }

    /// What is taken where nobody says how much: a quarter of the machine's, and at most 4 GB.
    pub const fn of_a_machine_with(octets: u64) -> Self {
        let quarter = octets / 4;
        Self::new(if quarter < Self::MOST { quarter } else { Self::MOST })
    }

    /// All of it.
    pub const fn octets(self) -> u64 {
        self.0
    }

    /// For what decompression looks back on, of all files together: three tenths, enough for a window of 128 MiB from 480 MB on.
    pub const fn windows(self) -> u64 {
        self.0 / 10 * 3
    }

    /// For the calls and answers that saved captures carry, as octets of the files.
    pub const fn calls(self) -> u64 {
        self.0 / 10
    }

    /// For these calls and answers as events of a timeline: two tenths.
    pub const fn call_events(self) -> u64 {
        self.0 / 10 * 2
    }

    /// For rows that wait for those before them in the order asked for.
    pub const fn rows(self) -> u64 {
        self.0 / 10
    }

    /// For the table of connections.
    pub fn table(self) -> Limits {
        Limits::within(self.0 / 10 * 4)
    }

    /// For what divides the durations of the connections that are followed.
    pub const fn breakdowns(self) -> u64 {
        self.0 / 10
    }

    /// For the octets that are compared, where no timeline has them: half of what breakdowns may take, which have the other half then.
    pub const fn payloads(self) -> u64 {
        self.breakdowns() / 2
    }

    /// For the segments of a timeline and their connections.
    pub const fn timeline(self) -> u64 {
        self.0 / 10 * 4
    }

    /// How many segments a timeline may hold, at most.
    pub const fn segments(self) -> u64 {
        self.timeline() / SEGMENT
    }

    /// How many segments two captures that are paired may hold together: of six tenths, as there is no table and no timeline.
    pub const fn paired(self) -> u64 {
        self.0 / 10 * 6 / PAIRED
    }

    /// How many events a timeline that goes on holds, at most.
    pub const fn events(self) -> usize {
        let events = self.timeline() / SEGMENT;
        if events < usize::MAX as u64 { events as usize } else { usize::MAX }
    }

    /// Less is not enough for anything.
    pub const LEAST: u64 = 64_000_000;
    /// No more is taken where nobody asks for it.
    const MOST: u64 = 4_000_000_000;
}

/// What a segment of a timeline costs until it is written: as it was observed, its event and those of states, and its row.
pub(super) const SEGMENT: u64 = 1500;
/// What a segment of two captures that are paired costs: a cache line, which room that grows may double, half of its passage, and what pairs it.
const PAIRED: u64 = 180;
/// What a connection of a timeline costs besides its segments: its summary, and by what its segments are joined.
pub(super) const CONNECTION: u64 = 6000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shares_are_no_more_than_the_whole() {
        for octets in [1, 100_000_000, 500_000_000, 4_000_000_000, 64_000_000_000] {
            let memory = Memory::new(octets);
            let limits = memory.table();
            let table =
                limits.octets as u64 + 512 * (limits.open + limits.closed) as u64 + 96 * limits.half_open as u64;
            assert!(table <= memory.octets() / 10 * 5, "{octets}: {limits:?}");
            assert!(memory.windows() + memory.rows() + memory.breakdowns() + table <= memory.octets(), "{octets}");
            let timeline = memory.calls() + memory.call_events() + SEGMENT * memory.segments();
            assert!(memory.windows() + timeline <= memory.octets(), "{octets}");
            assert!(memory.windows() + PAIRED * memory.paired() <= memory.octets(), "{octets}");
        }
        assert!(Memory::new(500_000_000).windows() >= 129 << 20, "the test case with the widest window");
    }

    #[test]
    fn a_machine_gives_a_quarter_and_no_more_than_4_gb() {
        assert_eq!(Memory::of_a_machine_with(8_000_000_000).octets(), 2_000_000_000);
        assert_eq!(Memory::of_a_machine_with(1 << 40).octets(), 4_000_000_000);
        assert_eq!(Memory::of_a_machine_with(0).octets(), Memory::LEAST);
    }
}
