//! Sequence numbers, which wrap around at 2^32.

use std::fmt;

/// A sequence number on the wire (RFC 9293 section 3.4).
///
/// It has no `Ord`: the order of two sequence numbers is defined only while they are less than 2^31 apart, by wrapping subtraction.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Seq(pub u32);

impl Seq {
    /// How far `self` lies past `other`: negative when it lies before it.
    pub const fn since(self, other: Self) -> i32 {
        self.0.wrapping_sub(other.0) as i32
    }

    /// Whether `self` comes after `other`.
    pub const fn is_after(self, other: Self) -> bool {
        self.since(other) > 0
    }

    /// Whether `self` comes before `other`.
    pub const fn is_before(self, other: Self) -> bool {
        self.since(other) < 0
    }

    /// The sequence number `octets` further on.
    pub const fn plus(self, octets: u32) -> Self {
        Self(self.0.wrapping_add(octets))
    }

    /// The sequence number `octets` back.
    pub const fn minus(self, octets: u32) -> Self {
        Self(self.0.wrapping_sub(octets))
    }
}

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn order_holds_across_the_wrap() {
        let before = Seq(u32::MAX - 2);
        let after = before.plus(5);
        assert_eq!(after, Seq(2));
        assert!(after.is_after(before) && before.is_before(after));
        assert_eq!(after.since(before), 5);
        assert_eq!(before.since(after), -5);
    }

    proptest! {
        #[test]
        fn distance_is_the_inverse_of_plus(start: u32, step in 0u32..0x7fff_ffff) {
            let (a, b) = (Seq(start), Seq(start).plus(step));
            prop_assert_eq!(b.since(a), step as i32);
            prop_assert_eq!(b.minus(step), a);
            prop_assert_eq!(b.is_after(a), step != 0);
        }
    }
}
