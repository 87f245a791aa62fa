//! Bytes to segments: link layers, tunnels, IP and its fragments, the TCP header and its options.

mod datagram;
mod decoder;
mod encapsulation;
mod fragments;
mod header;
mod icmp;
mod ip;
mod link;
mod part;
mod segment;
mod seq;
mod tunnel;
mod wlan;

pub use decoder::Decoder;
pub use header::Checksums;
pub use icmp::{IcmpError, IcmpKind};
pub use segment::{Flags, Oddities, Options, Segment};
pub use seq::Seq;
pub use tunnel::{Tunnel, TunnelKind};

/// Why a frame held no TCP segment; not an error, but counted.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Skip {
    /// It is something other than TCP: another protocol, or an ICMP error that quotes a TCP header.
    NotTcp,
    /// It was cut by the snap length before the end of the TCP window: what segment it was cannot be told.
    Truncated,
    /// Its headers contradict themselves before the TCP header: a length that lies, a version that is neither 4 nor 6.
    Malformed,
    /// Its link type is not one that is read.
    LinkType,
    /// It is an IP fragment that waits for the rest, or that never got it.
    Fragment,
    /// It sits deeper in tunnels than is followed.
    TooDeep,
    /// It has more headers than a frame of its length may have decoded, or aggregates more than may be sent at once: what of it follows was not looked at.
    ///
    /// It alone may come with segments: those before that.
    OverBudget,
}

/// How many frames were skipped, by reason.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, serde::Serialize)]
pub struct Skipped {
    /// See [`Skip::NotTcp`].
    pub not_tcp: u64,
    /// See [`Skip::Truncated`].
    pub truncated: u64,
    /// See [`Skip::Malformed`].
    pub malformed: u64,
    /// See [`Skip::LinkType`].
    pub link_type: u64,
    /// See [`Skip::Fragment`].
    pub fragment: u64,
    /// See [`Skip::TooDeep`].
    pub too_deep: u64,
    /// See [`Skip::OverBudget`].
    pub over_budget: u64,
}

impl Skipped {
    /// Adds what another count has.
    pub fn add(&mut self, other: &Self) {
        self.not_tcp += other.not_tcp;
        self.truncated += other.truncated;
        self.malformed += other.malformed;
        self.link_type += other.link_type;
        self.fragment += other.fragment;
        self.too_deep += other.too_deep;
        self.over_budget += other.over_budget;
    }

    /// Counts one more.
    pub fn count(&mut self, skip: Skip) {
        *match skip {
            Skip::NotTcp => &mut self.not_tcp,
            Skip::Truncated => &mut self.truncated,
            Skip::Malformed => &mut self.malformed,
            Skip::LinkType => &mut self.link_type,
            Skip::Fragment => &mut self.fragment,
            Skip::TooDeep => &mut self.too_deep,
            Skip::OverBudget => &mut self.over_budget,
        } += 1;
    }
}

#[cfg(test)]
mod tests;
