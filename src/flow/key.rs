//! What identifies a connection on the wire: its two ends, the same key for both directions.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::tcp::Direction;
use crate::wire::Segment;

/// The two ends of a connection in an order that does not depend on who sends.
pub(super) trait Key: Copy + Eq + Hash + Default + fmt::Debug {
    /// The lower and the higher end.
    fn ends(&self) -> [SocketAddr; 2];

    /// Whether both are one: a socket connected to itself.
    fn is_one_end(&self) -> bool;
}

/// Two IPv4 ends: 12 octets, in words as they are compared and hashed.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[repr(Rust, packed(4))]
pub(super) struct Key4 {
    /// The lower end's in the upper half.
    addresses: u64,
    ports: u32,
}

/// Two IPv6 ends, or one of each family.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Key6 {
    addresses: [[u64; 2]; 2],
    ports: [u16; 2],
}

/// A segment's key, and whether its sender is the lower or the higher end of it.
#[derive(Clone, Copy, Debug)]
pub(super) enum AnyKey {
    V4(Key4, KeySide),
    V6(Key6, KeySide),
}

/// An end's place in its key.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum KeySide {
    /// The lower address, or of equal ones the lower port; also both ends of a connection with itself.
    #[default]
    Lower,
    /// The other one.
    Higher,
}

impl KeySide {
    /// The direction of a segment whose sender has this place, when the first segment's sender had the place `first`.
    pub(super) fn direction(self, first: Self) -> Direction {
        if self == first { Direction::First } else { Direction::Second }
    }

    /// The other place.
    pub(super) fn other(self) -> Self {
        match self {
            Self::Lower => Self::Higher,
            Self::Higher => Self::Lower,
        }
    }
}

impl AnyKey {
    /// The key of a connection between two ends.
    pub(super) fn between(one: SocketAddr, other: SocketAddr) -> Self {
        match (one.ip(), other.ip()) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Self::v4((src, one.port()), (dst, other.port())),
            (src, dst) => Self::v6((wide(src), one.port()), (wide(dst), other.port())),
        }
    }

    /// The key of a segment.
    #[inline(always)]
    pub(super) fn of(segment: &Segment) -> Self {
        // By reference: an address that is copied whole is read otherwise than it was just written, and that takes its time.
        match (&segment.src, &segment.dst) {
            (IpAddr::V4(src), IpAddr::V4(dst)) => Self::v4((*src, segment.src_port), (*dst, segment.dst_port)),
            (src, dst) => Self::v6((wide(*src), segment.src_port), (wide(*dst), segment.dst_port)),
        }
    }

    /// The key of two IPv4 ends, of which the first sends.
    #[inline]
    pub(super) fn v4(src: (Ipv4Addr, u16), dst: (Ipv4Addr, u16)) -> Self {
        // Both parts of an end in one number, so that neither order of two ends takes a branch that is hard to foresee.
        let [from, to] = [src, dst].map(|end| u64::from(end.0.to_bits()) << 16 | u64::from(end.1));
        let place = if from <= to { KeySide::Lower } else { KeySide::Higher };
        let (lower, higher) = (from.min(to), from.max(to));
        let addresses = lower >> 16 << 32 | higher >> 16;
        let ports = (lower as u32) << 16 | u32::from(higher as u16);
        Self::V4(Key4 { addresses, ports }, place)
    }

    /// The same of two IPv6 ends.
    #[inline]
    fn v6(from: ([u64; 2], u16), to: ([u64; 2], u16)) -> Self {
        if from <= to {
            Self::V6(Key6 { addresses: [from.0, to.0], ports: [from.1, to.1] }, KeySide::Lower)
        } else {
            Self::V6(Key6 { addresses: [to.0, from.0], ports: [to.1, from.1] }, KeySide::Higher)
        }
    }
}

impl Key for Key4 {
    fn is_one_end(&self) -> bool {
        let [lower, higher] = self.ends();
        lower == higher
    }

    fn ends(&self) -> [SocketAddr; 2] {
        let end = |address: u64, port: u32| SocketAddr::new(Ipv4Addr::from_bits(address as u32).into(), port as u16);
        [end(self.addresses >> 32, self.ports >> 16), end(self.addresses, self.ports)]
    }
}

impl Key for Key6 {
    fn is_one_end(&self) -> bool {
        self.addresses[0] == self.addresses[1] && self.ports[0] == self.ports[1]
    }

    fn ends(&self) -> [SocketAddr; 2] {
        [0, 1].map(|at| {
            let [high, low] = self.addresses[at];
            let address = Ipv6Addr::from_bits(u128::from(high) << 64 | u128::from(low));
            SocketAddr::new(address.into(), self.ports[at])
        })
    }
}

impl Hash for Key4 {
    #[inline]
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.addresses);
        state.write_u32(self.ports);
    }
}

// Whole words at once: a derived Hash would hash each array's length, too.
impl Hash for Key6 {
    fn hash<H: Hasher>(&self, state: &mut H) {
        for word in self.addresses.as_flattened() {
            state.write_u64(*word);
        }
        state.write_u32(u32::from(self.ports[0]) << 16 | u32::from(self.ports[1]));
    }
}

fn wide(address: IpAddr) -> [u64; 2] {
    let bits = match address {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => address.to_bits(),
    };
    [(bits >> 64) as u64, bits as u64]
}
