//! The headers that most frames have before TCP's, each read by itself: Ethernet, IPv4 and IPv6.

use std::net::IpAddr;

use pnet::packet::ethernet::{EtherType, EtherTypes, EthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::Ipv4Packet;
use pnet::packet::ipv6::Ipv6Packet;

use super::part::Part;
use super::{Oddities, Skip};
use crate::capture::LinkType;

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

/// Reads an Ethernet header; what follows it may end in padding and a check sequence, which are left to IP's length.
#[inline(always)]
pub(super) fn ethernet(part: Part<'_>) -> Result<(EtherType, Part<'_>), Skip> {
    let header = EthernetPacket::new(part.bytes).ok_or_else(|| part.short(14))?;
    Ok((header.get_ethertype(), part.after(14)?))
}

/// An IPv4 header (RFC 791), and what follows it.
pub(super) struct Ipv4<'a> {
    pub(super) ip: Ip,
    pub(super) protocol: u8,
    /// Its place in the packet, in octets, if this is a fragment.
    pub(super) offset: u32,
    /// Whether fragments follow this one.
    pub(super) more: bool,
    /// Whether it claims to be longer than the frame.
    pub(super) lies: bool,
    pub(super) rest: Part<'a>,
}

impl<'a> Ipv4<'a> {
    #[inline(always)]
    pub(super) fn read(part: Part<'a>) -> Result<Self, Skip> {
        let header = Ipv4Packet::new(part.bytes).ok_or_else(|| part.short(20))?;
        let header_len = usize::from(header.get_header_length()) * 4;
        if header.get_version() != 4 || header_len < 20 {
            return Err(Skip::Malformed);
        }
        let mut lies = false;
        let total = match usize::from(header.get_total_length()) {
            // A sender with segmentation offload leaves it to the hardware: the frame's length holds.
            0 => part.len,
            total if total < header_len => return Err(Skip::Malformed),
            total if total > part.len => {
                lies = true;
                part.len
            }
            total => total,
        };
        Ok(Self {
            ip: Ip {
                src: IpAddr::V4(header.get_source()),
                dst: IpAddr::V4(header.get_destination()),
                id: Some(header.get_identification()),
                ttl: header.get_ttl(),
                congestion_experienced: header.get_ecn() == 3,
            },
            protocol: header.get_next_level_protocol().0,
            offset: u32::from(header.get_fragment_offset()) * 8,
            more: header.get_flags() & 1 != 0,
            lies,
            rest: part.limited(total).after(header_len)?,
        })
    }

    /// Whether it is a part of a packet.
    #[inline]
    pub(super) fn is_fragment(&self) -> bool {
        self.more || self.offset != 0
    }

    /// What is odd about it.
    #[inline]
    pub(super) fn oddities(&self) -> Oddities {
        if self.lies { Oddities::BAD_LENGTH } else { Oddities::empty() }
    }
}

/// An IPv6 header (RFC 8200), and what follows it.
pub(super) struct Ipv6<'a> {
    pub(super) ip: Ip,
    /// What follows, an extension header or the layer above.
    pub(super) next: u8,
    /// Whether it claims to be longer than the frame.
    pub(super) lies: bool,
    pub(super) rest: Part<'a>,
}

impl<'a> Ipv6<'a> {
    pub(super) fn read(part: Part<'a>) -> Result<Self, Skip> {
        let header = Ipv6Packet::new(part.bytes).ok_or_else(|| part.short(40))?;
        if header.get_version() != 6 {
            return Err(Skip::Malformed);
        }
        let mut rest = part.after(40)?;
        let mut lies = false;
        match usize::from(header.get_payload_length()) {
            // A jumbogram, or segmentation offload: the frame's length holds.
            0 => {}
            length if length > rest.len => lies = true,
            length => rest = rest.limited(length),
        }
        Ok(Self {
            ip: Ip {
                src: IpAddr::V6(header.get_source()),
                dst: IpAddr::V6(header.get_destination()),
                id: None,
                ttl: header.get_hop_limit(),
                congestion_experienced: header.get_traffic_class() & 3 == 3,
            },
            next: header.get_next_header().0,
            lies,
            rest,
        })
    }

    /// What is odd about it.
    pub(super) fn oddities(&self) -> Oddities {
        if self.lies { Oddities::BAD_LENGTH } else { Oddities::empty() }
    }
}

/// A TCP segment in IPv4 in Ethernet, with nothing in between: what most frames hold.
pub(super) struct Plain<'a> {
    pub(super) ip: Ip,
    pub(super) rest: Part<'a>,
    pub(super) oddities: Oddities,
}

impl<'a> Plain<'a> {
    /// How many steps such a frame takes: one for each of its two headers before that of TCP.
    pub(super) const STEPS: u32 = 2;

    /// Finds it; `None` where anything is otherwise, which is then looked at layer by layer.
    #[inline(always)]
    pub(super) fn of(link: LinkType, part: Part<'a>) -> Option<Self> {
        if link != LinkType::ETHERNET {
            return None;
        }
        let (kind, rest) = ethernet(part).ok()?;
        if kind != EtherTypes::Ipv4 {
            return None;
        }
        let packet = Ipv4::read(rest).ok()?;
        let is_plain = packet.protocol == IpNextHeaderProtocols::Tcp.0 && !packet.is_fragment();
        is_plain.then_some(Self { ip: packet.ip, oddities: packet.oddities(), rest: packet.rest })
    }
}
