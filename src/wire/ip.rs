//! IPv4 and IPv6: their lengths, options, extension headers and fragments, down to TCP or a tunnel.

use super::datagram::{Ip, Ipv4, Ipv6};
use super::decoder::{Walk, Way};
use super::fragments::{Fragment, Key};
use super::header::Extent;
use super::part::Part;
use super::{IcmpError, Oddities, Segment, Skip, TunnelKind};

impl<F: FnMut(&Segment, &[u8])> Walk<'_, F> {
    /// IP of the version that its first four bits say.
    pub(super) fn ip(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        match part.octet(0)? >> 4 {
            4 => self.ipv4(part, way),
            6 => self.ipv6(part, way),
            _ => Err(Skip::Malformed),
        }
    }

    /// An IPv4 packet.
    pub(super) fn ipv4(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let way = self.deeper(way)?;
        let packet = Ipv4::read(part)?;
        let way = Way { extent: Extent::Packet, ..way.with(packet.oddities()) };
        let is_fragment = packet.is_fragment();
        let Ipv4 { ip, protocol, offset, more, lies, rest } = packet;
        if !is_fragment {
            return self.transport(&ip, protocol, rest, way);
        }
        if way.quoted {
            return Err(Skip::NotTcp);
        }
        let key = Key { src: ip.src, dst: ip.dst, id: ip.id.unwrap_or(0).into(), protocol };
        self.fragment(&ip, key, Fragment { offset, more, lies, protocol, part: rest }, way)
    }

    /// An IPv6 packet.
    pub(super) fn ipv6(&mut self, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let way = self.deeper(way)?;
        let packet = Ipv6::read(part)?;
        let way = Way { extent: Extent::Packet, ..way.with(packet.oddities()) };
        let Ipv6 { ip, next, lies, rest } = packet;
        self.extensions(&ip, next, rest, lies, way)
    }

    /// Extension headers, as many as there are: each takes octets, so their chain ends.
    fn extensions(&mut self, ip: &Ip, mut next: u8, mut part: Part<'_>, lies: bool, way: Way) -> Result<(), Skip> {
        let mut ip = *ip;
        loop {
            match next {
                HOP_BY_HOP | ROUTING | DESTINATION_OPTIONS | SHIM6 => {
                    let [following, words] = *part.head::<2>()?;
                    part = part.after((usize::from(words) + 1) * 8)?;
                    next = following;
                }
                FRAGMENT => {
                    let [following, _, offset_high, offset_low, id @ ..] = *part.head::<8>()?;
                    let field = u16::from_be_bytes([offset_high, offset_low]);
                    let (offset, more) = (u32::from(field & 0xfff8), field & 1 != 0);
                    ip.id = Some(u16::from_be_bytes([id[2], id[3]]));
                    part = part.after(8)?;
                    if (more || offset != 0) && way.quoted {
                        return Err(Skip::NotTcp);
                    }
                    if more || offset != 0 {
                        let key = Key { src: ip.src, dst: ip.dst, id: u32::from_be_bytes(id), protocol: FRAGMENT };
                        return self.fragment(
                            &ip,
                            key,
                            Fragment { offset, more, lies, protocol: following, part },
                            way,
                        );
                    }
                    // An atomic fragment (RFC 6946) stands alone.
                    next = following;
                }
                _ => return self.transport(&ip, next, part, way),
            }
        }
    }

    /// What an IP header carries, by its protocol number.
    fn transport(&mut self, ip: &Ip, protocol: u8, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let inside = way.with(Oddities::TUNNELLED);
        match protocol {
            TCP => self.tcp(ip, part, way),
            UDP => self.udp(ip, part, way),
            GRE => self.gre(TunnelKind::Gre, ip, part, inside.with(Oddities::GRE)),
            IPV4_INSIDE | IPV6_INSIDE => {
                self.enter(TunnelKind::IpInIp, None, Some(ip));
                let inside = inside.with(Oddities::IP_IN_IP);
                if protocol == IPV4_INSIDE { self.ipv4(part, inside) } else { self.ipv6(part, inside) }
            }
            AUTHENTICATION => {
                let [next, words] = *part.head::<2>()?;
                let way = self.deeper(way)?;
                self.extensions(ip, next, part.after((usize::from(words) + 2) * 4)?, false, way)
            }
            // EtherIP: a version and zeros, then Ethernet.
            97 => {
                self.enter(TunnelKind::EtherIp, None, Some(ip));
                self.ethernet(part.after(2)?, inside)
            }
            137 => self.labelled(Some(ip), part, inside),
            // Extension headers of IPv6, which Wireshark follows in IPv4, too.
            DESTINATION_OPTIONS | ROUTING | FRAGMENT | HOP_BY_HOP if ip.src.is_ipv4() => {
                let way = self.deeper(way)?;
                self.extensions(ip, protocol, part, false, way)
            }
            ICMP if ip.src.is_ipv4() => self.icmp(ip, &[3, 4, 11, 12], part, way),
            ICMP_V6 if ip.src.is_ipv6() => self.icmp(ip, &[1, 2, 3, 4], part, way),
            _ => Err(Skip::NotTcp),
        }
    }

    /// A TCP segment, which is handed on, or one that an ICMP error quotes, which is kept for whoever asks.
    fn tcp(&mut self, ip: &Ip, part: Part<'_>, way: Way) -> Result<(), Skip> {
        let Self { origin, on, .. } = self;
        let mut quote = None;
        let found = origin.segment(*ip, part, way.oddities, way.extent, |segment, payload| match way.quoted {
            true => quote = Some(Segment { len: 0, ..*segment }),
            false => on(segment, payload),
        });
        if !way.quoted {
            return found;
        }
        *self.quote = quote.or_else(|| self.origin.quoted_start(ip, part));
        found.and(Err(Skip::NotTcp))
    }

    /// An ICMP message: those of the types in `errors` quote the packet they are about, after eight octets (RFC 792, RFC 4443).
    ///
    /// A redirect quotes one, too, but that packet went on its way.
    fn icmp(&mut self, ip: &Ip, errors: &[u8], part: Part<'_>, way: Way) -> Result<(), Skip> {
        let [kind, code, _, _, word @ ..] = *part.head::<8>()?;
        if errors.contains(&kind)
            && let Ok(quoted) = part.after(8)
        {
            *self.error = Some(IcmpError::new(ip.src, kind, code, u32::from_be_bytes(word)));
            // Whatever is wrong with the quotation, the frame is an ICMP message all the same.
            let _ = self.ip(quoted, Way { quoted: true, ..way });
        }
        Err(Skip::NotTcp)
    }

    #[inline(never)]
    fn fragment(&mut self, ip: &Ip, key: Key, fragment: Fragment<'_>, way: Way) -> Result<(), Skip> {
        if fragment.lies || !fragment.part.is_whole() {
            // A cut fragment cannot be put to the others; the first one shows its headers all the same,
            // though, as in Wireshark, not over IPv6.
            return if fragment.offset == 0 && ip.src.is_ipv4() {
                self.transport(ip, fragment.protocol, fragment.part, Way { extent: Extent::FirstFragment, ..way })
            } else {
                Err(Skip::Fragment)
            };
        }
        // Its place in the packet may be far behind what is there: that room is cleared.
        for _ in 0..STEPS_A_FRAGMENT {
            self.step()?;
        }
        match self.fragments.add(key, &fragment, self.origin.at) {
            Some((protocol, bytes)) => {
                self.reassembled(bytes.len());
                self.upper(ip, protocol, Part::whole(&bytes), way.with(Oddities::FRAGMENTED))
            }
            None => Err(Skip::Fragment),
        }
    }

    fn upper(&mut self, ip: &Ip, protocol: u8, part: Part<'_>, way: Way) -> Result<(), Skip> {
        if ip.src.is_ipv6() {
            let way = self.deeper(way)?;
            self.extensions(ip, protocol, part, false, way)
        } else {
            self.transport(ip, protocol, part, way)
        }
    }
}

/// What a fragment costs: as much as so many headers.
const STEPS_A_FRAGMENT: u32 = 4;
const HOP_BY_HOP: u8 = 0;
const ICMP: u8 = 1;
const IPV4_INSIDE: u8 = 4;
const TCP: u8 = 6;
const UDP: u8 = 17;
const IPV6_INSIDE: u8 = 41;
const ROUTING: u8 = 43;
const FRAGMENT: u8 = 44;
const GRE: u8 = 47;
const AUTHENTICATION: u8 = 51;
const ICMP_V6: u8 = 58;
const DESTINATION_OPTIONS: u8 = 60;
const SHIM6: u8 = 140;
