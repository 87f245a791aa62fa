//! The octets say which header stands around which: tunnels in each other, and aggregates of them.

use tcpflow::capture::{Frame, LinkType};
use tcpflow::wire::{Decoder, Skip};

use super::allocated::within;

/// Builds a frame from the innermost header outwards, one for each octet, and decodes it.
///
/// However they are nested, each header is decoded once: the steps are no more than the headers are worth, the memory is in proportion to the frame, the segments as many as were built, or none.
pub fn nested(octets: &[u8]) {
    let Some((inner, layers)) = octets.split_first() else { return };
    let mut frame = Built { octets: transport(*inner), headers: 1, segments: u64::from(inner & 1 == 0) };
    for layer in layers.iter().take(MOST) {
        match frame.wrapped(*layer) {
            Some(wrapped) => frame = wrapped,
            None => break,
        }
    }
    let Built { octets, headers, segments } = frame;
    let mut decoder = Decoder::new().with_tunnels();
    let mut seen = 0;
    let frame = Frame {
        number: 1,
        at: None,
        link: LinkType(101),
        bytes: &octets,
        wire_len: octets.len() as u32,
        seen: Default::default(),
    };
    // A packet that is put together, and a subframe that is turned into one, is copied once for each layer that is followed.
    let decoded = within((64 << 10) + 16 * octets.len(), || decoder.decode(&frame, |_, _| seen += 1));
    let steps = u64::from(decoder.steps());
    assert!(steps <= 3 * headers + 1, "{steps} steps for {headers} headers");
    assert!(steps <= 33 + octets.len() as u64 / 8, "{steps} steps for {} octets", octets.len());
    assert!(seen <= segments, "{seen} segments of {segments}");
    assert!(decoder.tunnels().len() <= 16);
    if let Err(Skip::NotTcp | Skip::TooDeep) = decoded {
        assert_eq!(seen, 0);
    }
}

/// An IPv4 packet on its way to be a frame.
struct Built {
    octets: Vec<u8>,
    headers: u64,
    segments: u64,
}

impl Built {
    /// The same in one header more, or in an aggregate of several; `None` where that would be longer than a frame or a packet may be.
    fn wrapped(&self, layer: u8) -> Option<Self> {
        let Self { octets, headers, segments } = self;
        let copies = if layer & 7 == 7 { 2 + usize::from(layer >> 3) } else { 1 };
        let (protocol, inside) = match layer & 7 {
            0 => (17, udp([8, 0x68, 13, 0x3a], &[&[0x30, 0xff, 0, 0, 0, 0, 0, 7], octets])),
            1 => (17, udp([0x12, 0xb5, 0x21, 0x18], &[&[8, 0, 0, 0, 0, 0, 1, 0], &ETHERNET, octets])),
            2 => (47, [&[0, 0, 8, 0], &octets[..]].concat()),
            3 => (4, octets.clone()),
            4 => (47, [&[0, 0, 0x65, 0x58][..], &ETHERNET[..12], &[0x81, 0, 0, layer, 8, 0], octets].concat()),
            5 => (137, [&[0, 0, 0x10, 0, 0, 0, 0x11, 9], &octets[..]].concat()),
            6 => (17, udp([6, 0xa5, 6, 0xa5], &[&[0, 2, 0, 0, 0, 0, 0, 0x21], octets])),
            // 802.11 in GRE, as Aruba's access points send it, whose subframes each hold the same.
            _ => (47, [vec![0, 0, 0x82, 0], aggregate(octets, copies)].concat()),
        };
        let octets = ip(protocol, &inside)?;
        let copies = copies as u64;
        Some(Self { octets, headers: 2 + copies * (headers + 2), segments: segments * copies })
    }
}

/// A TCP segment, or something else, in IPv4.
fn transport(kind: u8) -> Vec<u8> {
    let tcp = [48, 57, 0, 80, 0, 0, 0, 9, 0, 0, 0, 9, 0x50, 16, 16, 0, 0, 0, 0, 0];
    ip(if kind & 1 == 0 { 6 } else { 250 }, &tcp).unwrap_or_default()
}

fn ip(protocol: u8, inside: &[u8]) -> Option<Vec<u8>> {
    let length = (inside.len() + 20 <= 262_144).then_some(inside.len() + 20)?;
    // What is longer than the field can say is what segmentation offload leaves: 0.
    let [high, low] = u16::try_from(length).unwrap_or(0).to_be_bytes();
    Some([&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2], inside].concat())
}

fn udp(ports: [u8; 4], inside: &[&[u8]]) -> Vec<u8> {
    let inside = inside.concat();
    let [high, low] = u16::try_from(inside.len() + 8).unwrap_or(u16::MAX).to_be_bytes();
    [&ports[..], &[high, low, 0, 0], &inside].concat()
}

fn aggregate(inside: &[u8], copies: usize) -> Vec<u8> {
    let mut frame = vec![0x88, 1];
    frame.resize(24, 0);
    frame.extend([0x80, 0]);
    for _ in 0..copies {
        let length = u16::try_from(8 + inside.len()).unwrap_or(u16::MAX);
        frame.extend([0; 12]);
        frame.extend(length.to_be_bytes());
        frame.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0]);
        frame.extend(inside);
        frame.resize(26 + (frame.len() - 26).next_multiple_of(4), 0);
    }
    frame
}

const ETHERNET: [u8; 14] = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
/// More layers than are followed.
const MOST: usize = 40;
