//! IP fragments on their way to being a packet again, in a bounded buffer.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use super::part::Part;
use crate::time::{Span, Timestamp};

/// What fragments of one packet have in common (RFC 791 section 3.2, RFC 8200 section 4.5).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) src: IpAddr,
    pub(super) dst: IpAddr,
    pub(super) id: u32,
    pub(super) protocol: u8,
}

/// One fragment; only what was wholly captured can be put to others.
pub(super) struct Fragment<'a> {
    pub(super) offset: u32,
    pub(super) more: bool,
    /// Whether its header says more octets than the frame had.
    pub(super) lies: bool,
    /// What the packet carries; for IPv6 only the first fragment's counts.
    pub(super) protocol: u8,
    pub(super) part: Part<'a>,
}

/// Packets of which some fragments came, and not all.
#[derive(Default)]
pub(super) struct Fragments {
    packets: HashMap<Key, Packet>,
    /// In the order in which their first fragment came: keys, each with the packet's serial number.
    order: VecDeque<(Key, u64)>,
    serial: u64,
    octets: usize,
}

#[derive(Default)]
struct Packet {
    serial: u64,
    since: Option<Timestamp>,
    protocol: Option<u8>,
    octets: Vec<u8>,
    /// What is filled, in order, never touching each other.
    filled: Vec<(u32, u32)>,
    total: Option<u32>,
}

impl Fragments {
    /// Adds one; when it was the last that was missing, the packet's protocol and payload.
    ///
    /// Where fragments overlap, the octets that came first stay.
    pub(super) fn add(&mut self, key: Key, fragment: &Fragment<'_>, at: Option<Timestamp>) -> Option<(u8, Vec<u8>)> {
        let bytes = fragment.part.bytes;
        let end = fragment.offset as usize + bytes.len();
        if bytes.is_empty() || end > MAX_PACKET {
            return None;
        }
        let stale = self.packets.get(&key).is_some_and(|packet| match (packet.since, at) {
            (Some(since), Some(at)) => at.since(since) > PATIENCE,
            _ => false,
        });
        if stale {
            self.forget(&key);
        }
        let packet = match self.packets.entry(key) {
            std::collections::hash_map::Entry::Occupied(packet) => packet.into_mut(),
            std::collections::hash_map::Entry::Vacant(place) => {
                self.serial += 1;
                self.order.push_back((key, self.serial));
                self.octets += PACKET_COST;
                place.insert(Packet { serial: self.serial, since: at, ..Packet::default() })
            }
        };
        let before = packet.cost();
        packet.add(fragment, end);
        self.octets = self.octets + packet.cost() - before;
        if packet.is_complete() {
            let packet = self.forget(&key)?;
            return Some((packet.protocol?, packet.octets));
        }
        self.make_room();
        None
    }

    /// How many octets they take.
    #[cfg(test)]
    pub(super) fn octets(&self) -> usize {
        self.octets
    }

    fn forget(&mut self, key: &Key) -> Option<Packet> {
        let packet = self.packets.remove(key)?;
        self.octets -= PACKET_COST + packet.cost();
        Some(packet)
    }

    /// Lets go of what has waited longest.
    fn make_room(&mut self) {
        while self.octets > MAX_OCTETS || self.order.len() > MAX_PACKETS {
            let Some((key, serial)) = self.order.pop_front() else { return };
            if self.packets.get(&key).is_some_and(|packet| packet.serial == serial) {
                self.forget(&key);
            }
        }
    }
}

impl Packet {
    fn add(&mut self, fragment: &Fragment<'_>, end: usize) {
        if fragment.offset == 0 && self.protocol.is_none() {
            self.protocol = Some(fragment.protocol);
        }
        if !fragment.more && self.total.is_none() {
            self.total = Some(end as u32);
        }
        if self.octets.len() < end {
            self.octets.resize(end, 0);
        }
        // Fills the gaps between what is there already.
        let (start, end) = (fragment.offset, end as u32);
        let first = self.filled.partition_point(|&(_, filled_end)| filled_end < start);
        let mut last = first;
        let mut at = start;
        let (mut low, mut high) = (start, end);
        while let Some(&(filled_start, filled_end)) = self.filled.get(last) {
            if filled_start > end {
                break;
            }
            if at < filled_start {
                self.copy(fragment, at, filled_start);
            }
            at = at.max(filled_end);
            low = low.min(filled_start);
            high = high.max(filled_end);
            last += 1;
        }
        if at < end {
            self.copy(fragment, at, end);
        }
        self.filled.splice(first..last, [(low, high)]);
    }

    fn copy(&mut self, fragment: &Fragment<'_>, from: u32, to: u32) {
        let source = &fragment.part.bytes[(from - fragment.offset) as usize..(to - fragment.offset) as usize];
        self.octets[from as usize..to as usize].copy_from_slice(source);
    }

    fn is_complete(&mut self) -> bool {
        let (Some(total), Some(_)) = (self.total, self.protocol) else { return false };
        let complete = self.filled.first().is_some_and(|&(start, end)| start == 0 && end >= total);
        if complete {
            self.octets.truncate(total as usize);
        }
        complete
    }

    fn cost(&self) -> usize {
        self.octets.capacity() + self.filled.capacity() * size_of::<(u32, u32)>()
    }
}

/// The longest packet that IP can say, and what a Linux host would still put together.
const MAX_PACKET: usize = 65_535;
const MAX_PACKETS: usize = 4096;
const MAX_OCTETS: usize = 8 << 20;
const PACKET_COST: usize = 256;
/// How long the rest is waited for: RFC 1122 section 3.3.2 asks for 60 to 120 seconds.
const PATIENCE: Span = Span::from_millis(120_000);
