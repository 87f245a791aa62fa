//! Positions in one direction's stream of octets.

/// Positions in one direction's stream of octets, `from` included and `to` not; the first octet is at 0.
///
/// Positions are counted from the octet after the SYN; in midstream from the first octet seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
pub struct Range {
    /// The first position.
    pub from: u64,
    /// The position after the last.
    pub to: u64,
}

impl Range {
    /// The positions from `from` on, `octets` of them.
    pub const fn of(from: u64, octets: u64) -> Self {
        Self { from, to: from.saturating_add(octets) }
    }

    /// Whether the two share a position.
    pub const fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }

    /// How many positions it holds.
    pub const fn len(self) -> u64 {
        self.to.saturating_sub(self.from)
    }

    /// Whether it holds none.
    pub const fn is_empty(self) -> bool {
        self.to <= self.from
    }
}
