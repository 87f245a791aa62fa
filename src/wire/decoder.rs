//! From the bytes of a frame to its TCP segments: the way through the layers, and what is carried along it.

use std::net::IpAddr;

use super::fragments::Fragments;
use super::{Oddities, Segment, Skip, Tunnel, TunnelKind};
use crate::capture::Frame;
use crate::time::Timestamp;

/// Whether TCP checksums are looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Checksums {
    /// They are not: a sender with checksum offload, and every loopback, hands wrong ones to a capture.
    #[default]
    Ignore,
    /// They are verified where the whole segment was captured: [`Oddities::GOOD_CHECKSUM`] or [`Oddities::BAD_CHECKSUM`].
    Verify,
}

/// Finds the TCP segments in frames of any known link type, through tunnels and IP fragments.
///
/// It remembers IP fragments that wait for the rest, in a bounded buffer; otherwise every frame stands for itself.
#[derive(Default)]
pub struct Decoder {
    pub(super) fragments: Fragments,
    checksums: Checksums,
    quote: Option<Segment>,
    /// The tunnels of the last frame, where they are asked for.
    tunnels: Option<Vec<Tunnel>>,
}

impl Decoder {
    /// A decoder without memory of any fragment, which ignores checksums.
    pub fn new() -> Self {
        Self::default()
    }

    /// Looks at checksums, or not.
    pub fn with_checksums(mut self, checksums: Checksums) -> Self {
        self.checksums = checksums;
        self
    }

    /// Takes note of the tunnels that a segment comes in; see [`tunnels`](Self::tunnels).
    pub fn with_tunnels(mut self) -> Self {
        self.tunnels = Some(Vec::new());
        self
    }

    /// Calls `on` for each TCP header in the frame, outermost first, with as much of its payload as was captured.
    ///
    /// A header that is quoted in an ICMP error is none: it stands for another frame, and [`quote`](Self::quote) yields it.
    ///
    /// # Errors
    /// A [`Skip`] says why the frame held no segment.
    #[inline]
    pub fn decode(&mut self, frame: &Frame<'_>, mut on: impl FnMut(&Segment, &[u8])) -> Result<(), Skip> {
        if let Some(tunnels) = &mut self.tunnels {
            tunnels.clear();
        }
        let mut walk = Walk {
            fragments: &mut self.fragments,
            checksums: self.checksums,
            at: frame.at,
            frame: frame.number,
            quote: &mut self.quote,
            tunnels: &mut self.tunnels,
            on: &mut on,
        };
        let part = Part { bytes: frame.bytes, len: frame.bytes.len().max(frame.wire_len as usize) };
        walk.link(frame.link, part, Way { oddities: Oddities::empty(), depth: 0, fragment: false, quoted: false })
    }

    /// Takes the TCP header that an ICMP error quoted in the last frame, a frame that held no segment.
    pub fn quote(&mut self) -> Option<Segment> {
        self.quote.take()
    }

    /// The tunnels that the segment of the last frame came in, outermost first; of several segments in a frame, those of the last one.
    ///
    /// Always empty unless asked for by [`with_tunnels`](Self::with_tunnels).
    pub fn tunnels(&self) -> &[Tunnel] {
        self.tunnels.as_deref().unwrap_or_default()
    }
}

/// One frame on its way through the layers.
pub(super) struct Walk<'w, F> {
    pub(super) fragments: &'w mut Fragments,
    pub(super) checksums: Checksums,
    pub(super) at: Option<Timestamp>,
    pub(super) frame: u64,
    /// Where a TCP header goes that is only quoted.
    pub(super) quote: &'w mut Option<Segment>,
    /// Where the tunnels go that are entered, if anybody asked for them.
    pub(super) tunnels: &'w mut Option<Vec<Tunnel>>,
    pub(super) on: &'w mut F,
}

impl<F> Walk<'_, F> {
    /// Takes note that a tunnel is entered; `ip` carries it, and none where it is a matter of the link layer.
    #[inline]
    pub(super) fn enter(&mut self, kind: TunnelKind, id: Option<u32>, ip: Option<&Ip>) {
        if let Some(tunnels) = self.tunnels
            && tunnels.len() < usize::from(MAX_DEPTH)
        {
            tunnels.push(Tunnel { kind, id, ends: ip.map(|ip| (ip.src, ip.dst)) });
        }
    }

    /// How many tunnels were entered so far.
    pub(super) fn entered(&self) -> usize {
        self.tunnels.as_ref().map_or(0, Vec::len)
    }

    /// Forgets all but the first `count` tunnels: it was another way.
    pub(super) fn leave(&mut self, count: usize) {
        if let Some(tunnels) = self.tunnels {
            tunnels.truncate(count);
        }
    }
}

/// What was met on the way down to here.
#[derive(Clone, Copy)]
pub(super) struct Way {
    pub(super) oddities: Oddities,
    /// How many headers were entered that can hold a header of their own kind.
    pub(super) depth: u8,
    /// Whether this is the first fragment of an IP packet, which could not be put to the others.
    pub(super) fragment: bool,
    /// Whether an ICMP error quotes what follows.
    pub(super) quoted: bool,
}

impl Way {
    /// The way one header further down.
    #[inline]
    pub(super) fn deeper(mut self) -> Result<Self, Skip> {
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Skip::TooDeep) } else { Ok(self) }
    }

    /// The same way, with one thing more to tell.
    #[inline]
    pub(super) fn with(mut self, oddity: Oddities) -> Self {
        self.oddities |= oddity;
        self
    }
}

/// The rest of a frame from some layer on: what was captured of it, and how long it was on the wire.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    pub(super) bytes: &'a [u8],
    /// Never less than `bytes` holds.
    pub(super) len: usize,
}

impl<'a> Part<'a> {
    /// Something that is wholly there.
    pub(super) fn whole(bytes: &'a [u8]) -> Self {
        Self { bytes, len: bytes.len() }
    }

    /// Why fewer than `count` octets are there: the snap length, or a length that lied.
    #[cold]
    pub(super) fn short(self, count: usize) -> Skip {
        if self.len >= count { Skip::Truncated } else { Skip::Malformed }
    }

    /// The first `N` octets.
    #[inline]
    pub(super) fn head<const N: usize>(self) -> Result<&'a [u8; N], Skip> {
        self.bytes.first_chunk().ok_or_else(|| self.short(N))
    }

    /// The octet at `place`.
    #[inline]
    pub(super) fn octet(self, place: usize) -> Result<u8, Skip> {
        self.bytes.get(place).copied().ok_or_else(|| self.short(place + 1))
    }

    /// The 16-bit number at `place`, in network order.
    #[inline]
    pub(super) fn half(self, place: usize) -> Result<u16, Skip> {
        match self.bytes.get(place..place + 2) {
            Some(bytes) => Ok(u16::from_be_bytes([bytes[0], bytes[1]])),
            None => Err(self.short(place + 2)),
        }
    }

    /// The 32-bit number at `place`, in network order.
    #[inline]
    pub(super) fn word(self, place: usize) -> Result<u32, Skip> {
        match self.bytes.get(place..place + 4) {
            Some(bytes) => Ok(u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])),
            None => Err(self.short(place + 4)),
        }
    }

    /// What follows the first `count` octets.
    #[inline]
    pub(super) fn after(self, count: usize) -> Result<Self, Skip> {
        match self.bytes.get(count..) {
            Some(bytes) => Ok(Self { bytes, len: self.len - count }),
            None => Err(self.short(count)),
        }
    }

    /// No more than the first `count` octets.
    #[inline]
    pub(super) fn limited(self, count: usize) -> Self {
        Self { bytes: &self.bytes[..self.bytes.len().min(count)], len: self.len.min(count) }
    }

    /// Whether all of it was captured.
    #[inline]
    pub(super) fn is_whole(self) -> bool {
        self.bytes.len() == self.len
    }
}

/// What an IP header says to the layer above.
#[derive(Clone, Copy)]
pub(super) struct Ip {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    /// Its identification; for IPv6 the lower half of the fragment header's, if it has one.
    pub(super) id: Option<u16>,
    /// Its time to live, or its hop limit.
    pub(super) ttl: u8,
    pub(super) congestion_experienced: bool,
}

/// Room for half a dozen tunnels in each other: each takes an IP header, and most a link-layer header too.
const MAX_DEPTH: u8 = 16;
