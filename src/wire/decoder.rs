//! From the bytes of a frame to its TCP segments: the way through the layers, and what is carried along it.

use super::datagram::{Ip, Plain};
use super::fragments::Fragments;
use super::header::{Checksums, Extent, Origin};
use super::part::Part;
use super::{IcmpError, Oddities, Segment, Skip, Tunnel, TunnelKind};
use crate::capture::Frame;

/// Finds the TCP segments in frames of any known link type, through tunnels and IP fragments.
///
/// It remembers IP fragments that wait for the rest, in a bounded buffer; otherwise every frame stands for itself.
#[derive(Default)]
pub struct Decoder {
    pub(super) fragments: Fragments,
    checksums: Checksums,
    quote: Option<Segment>,
    error: Option<IcmpError>,
    /// How many steps the last frame took.
    steps: u32,
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
    #[inline(always)]
    pub fn decode(&mut self, frame: &Frame<'_>, mut on: impl FnMut(&Segment, &[u8])) -> Result<(), Skip> {
        // What most frames are needs nothing of what is carried along on the way through the layers.
        let Some(Plain { ip, rest, oddities }) = Plain::of(frame.link, Part::of(frame)) else {
            return self.decode_layers(frame, on);
        };
        self.begin(Plain::STEPS);
        self.origin(frame).segment(ip, rest, oddities, Extent::Packet, &mut on)
    }

    /// Does the same layer by layer, whatever the frame is, with the same result.
    ///
    /// # Errors
    /// As [`decode`](Self::decode).
    #[inline(never)]
    pub fn decode_layers(&mut self, frame: &Frame<'_>, mut on: impl FnMut(&Segment, &[u8])) -> Result<(), Skip> {
        self.begin(0);
        let mut walk = Walk {
            origin: self.origin(frame),
            fragments: &mut self.fragments,
            quote: &mut self.quote,
            error: &mut self.error,
            tunnels: &mut self.tunnels,
            on: &mut on,
            steps: 0,
            budget: budget(frame.bytes.len()),
            is_over: false,
        };
        let way = Way { oddities: Oddities::empty(), depth: 0, extent: Extent::Packet, quoted: false };
        let found = walk.link(frame.link, Part::of(frame), way);
        let Walk { steps, is_over, .. } = walk;
        self.steps = steps;
        if is_over { Err(Skip::OverBudget) } else { found }
    }

    /// Forgets the frame before, for one that takes so many steps.
    #[inline]
    fn begin(&mut self, steps: u32) {
        self.steps = steps;
        if let Some(tunnels) = &mut self.tunnels {
            tunnels.clear();
        }
    }

    #[inline]
    fn origin(&self, frame: &Frame<'_>) -> Origin {
        Origin { at: frame.at, frame: frame.number, checksums: self.checksums }
    }

    /// How many steps the last frame took: what it costs is counted in headers that can hold a header of their own kind, and in subframes of an A-MSDU.
    ///
    /// A frame may take 32 steps, and one more for every eight octets of it and of the packet that its fragment completes;
    /// and of an A-MSDU no more is followed than may be sent as one, 11,454 octets.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// Takes the TCP header that an ICMP error quoted in the last frame, a frame that held no segment, and the error.
    pub fn quote(&mut self) -> Option<(Segment, IcmpError)> {
        self.quote.take().zip(self.error.take())
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
    pub(super) origin: Origin,
    pub(super) fragments: &'w mut Fragments,
    /// Where a TCP header goes that is only quoted.
    pub(super) quote: &'w mut Option<Segment>,
    /// Where the error goes that quotes it.
    pub(super) error: &'w mut Option<IcmpError>,
    /// Where the tunnels go that are entered, if anybody asked for them.
    pub(super) tunnels: &'w mut Option<Vec<Tunnel>>,
    pub(super) on: &'w mut F,
    /// How many steps were taken.
    pub(super) steps: u32,
    /// How many may be.
    pub(super) budget: u32,
    /// Whether some of the frame is not looked at, because that would be too much.
    pub(super) is_over: bool,
}

impl<F> Walk<'_, F> {
    /// The way one header further down, which takes a step of the frame's budget.
    #[inline]
    pub(super) fn deeper(&mut self, mut way: Way) -> Result<Way, Skip> {
        self.step()?;
        way.depth += 1;
        if way.depth > MAX_DEPTH { Err(Skip::TooDeep) } else { Ok(way) }
    }

    /// Takes a step of the frame's budget: each header that can hold a header of its own kind is one, and each subframe of an A-MSDU.
    #[inline]
    pub(super) fn step(&mut self) -> Result<(), Skip> {
        if self.steps >= self.budget {
            return Err(self.over());
        }
        self.steps += 1;
        Ok(())
    }

    /// Leaves the rest of the frame, because it would be too much.
    #[cold]
    pub(super) fn over(&mut self) -> Skip {
        self.is_over = true;
        Skip::OverBudget
    }

    /// A packet of so many octets was put together from fragments: it is decoded as the frames that brought it would have been.
    pub(super) fn reassembled(&mut self, octets: usize) {
        self.budget = self.budget.saturating_add(budget(octets) - budget(0));
    }

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
    /// How much there is of the IP packet that was entered last.
    pub(super) extent: Extent,
    /// Whether an ICMP error quotes what follows.
    pub(super) quoted: bool,
}

impl Way {
    /// The same way, with one thing more to tell.
    #[inline]
    pub(super) fn with(mut self, oddity: Oddities) -> Self {
        self.oddities |= oddity;
        self
    }
}

/// The steps that a frame of so many captured octets may take: no header that counts as one is shorter than these eight octets.
const fn budget(octets: usize) -> u32 {
    (2 * MAX_DEPTH as usize + octets / OCTETS_A_STEP) as u32
}

/// Room for half a dozen tunnels in each other: each takes an IP header, and most a link-layer header too.
const MAX_DEPTH: u8 = 16;
/// How many octets of a frame stand for a step; a step costs some tens of nanoseconds.
const OCTETS_A_STEP: usize = 8;
