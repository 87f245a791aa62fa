//! Where frames were captured: the points of a capture, and which way a frame was going there.

use std::collections::HashMap;
use std::sync::Arc;

use super::{LinkType, shown};

/// A place where frames were captured: an interface of a file, or a live one.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CapturePoint {
    /// The file it is from, as errors call it; `None` for a live capture.
    pub file: Option<Arc<str>>,
    /// The interface's name, its control characters escaped; `None` where the capture does not say.
    pub interface: Option<String>,
    /// What the capture says of the interface beside its name, escaped like it.
    pub description: Option<String>,
    /// How frames begin there.
    pub link: LinkType,
}

/// A capture point's number: its place in [`FrameSource::points`](super::FrameSource::points).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct PointId(pub u32);

/// Which way a frame was going, seen from the host at whose interface it was captured.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Heading {
    /// Nothing says it, or it passed by on its way between other hosts.
    #[default]
    Unknown,
    /// The host received it.
    Inbound,
    /// The host sent it.
    Outbound,
}

/// Where a frame was seen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeenAt {
    /// The capture point.
    pub point: PointId,
    /// Which way it was going there.
    pub heading: Heading,
    /// The interface's index on the capturing host; `None` where the point is one interface, or the frame does not say.
    ///
    /// A capture on all interfaces at once has one point, and each of its frames names an interface in a
    /// LINKTYPE_LINUX_SLL2 header.
    pub interface: Option<u32>,
}

impl SeenAt {
    /// The same, with what the link-layer header of the frame says where the capture file said nothing.
    ///
    /// Those of Linux's cooked headers (pcap's `sll_pkttype`: sent by this host is outgoing, to this host or to a group is
    /// incoming, to somebody else passes by) and of PPP with a direction say which way it was going.
    #[must_use]
    pub(super) fn completed(mut self, link: LinkType, bytes: &[u8]) -> Self {
        let of_packet_type = |kind: u8| match kind {
            0..=2 => Heading::Inbound,
            4 => Heading::Outbound,
            _ => Heading::Unknown,
        };
        let heading = match link {
            LinkType::LINUX_SLL => match bytes {
                [0, kind, ..] => of_packet_type(*kind),
                _ => Heading::Unknown,
            },
            LinkType::LINUX_SLL2 => match bytes {
                [_, _, _, _, a, b, c, d, _, _, kind, ..] => {
                    self.interface = Some(u32::from_be_bytes([*a, *b, *c, *d])).filter(|index| *index != 0);
                    of_packet_type(*kind)
                }
                _ => Heading::Unknown,
            },
            PPP_PPPD | PPP_WITH_DIRECTION => match bytes {
                [0, ..] => Heading::Inbound,
                [1, ..] => Heading::Outbound,
                _ => Heading::Unknown,
            },
            _ => Heading::Unknown,
        };
        if self.heading == Heading::Unknown {
            self.heading = heading;
        }
        self
    }
}

/// The capture points of one file, numbered in the order in which it describes them.
///
/// A file of several sections describes the same interface in each of them: what has the same place in its section, and is
/// the same in all that is said of it, is one point. Two interfaces of one section are two points, whatever they are called.
#[derive(Debug)]
pub(super) struct Points {
    file: Arc<str>,
    known: Vec<CapturePoint>,
    numbers: HashMap<(usize, CapturePoint), PointId>,
}

impl Points {
    /// None yet, of a file of this name.
    pub(super) fn new(file: &str) -> Self {
        Self { file: file.into(), known: Vec::new(), numbers: HashMap::new() }
    }

    /// The points known so far.
    pub(super) fn known(&self) -> &[CapturePoint] {
        &self.known
    }

    /// The point that is the interface at `place` of its section; past the bound of [`MAX_POINTS`] the last one stands for all.
    pub(super) fn number(&mut self, place: usize, link: LinkType, name: &[u8], description: &[u8]) -> PointId {
        let point = CapturePoint {
            file: Some(Arc::clone(&self.file)),
            interface: text(name),
            description: text(description),
            link,
        };
        if let Some(number) = self.numbers.get(&(place, point.clone())) {
            return *number;
        }
        if self.known.len() >= MAX_POINTS {
            return PointId(MAX_POINTS as u32 - 1);
        }
        let number = PointId(self.known.len() as u32);
        self.known.push(point.clone());
        self.numbers.insert((place, point), number);
        number
    }
}

/// What a capture says in words, as far as it is kept; nothing where it says nothing.
fn text(bytes: &[u8]) -> Option<String> {
    let bytes = &bytes[..bytes.len().min(MAX_TEXT)];
    Some(shown(String::from_utf8_lossy(bytes).trim_end_matches('\0'))).filter(|text| !text.is_empty())
}

/// How many points of one file are told apart: as many as interfaces in one section.
const MAX_POINTS: usize = 1 << 16;
/// How many octets of an interface's name or description are kept; Linux's own names have at most 15.
const MAX_TEXT: usize = 128;
const PPP_PPPD: LinkType = LinkType(166);
const PPP_WITH_DIRECTION: LinkType = LinkType(204);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_layer_header_says_which_way_a_frame_was_going() {
        let told = |link, bytes: &[u8]| {
            let seen = SeenAt::default().completed(link, bytes);
            (seen.heading, seen.interface)
        };
        assert_eq!(told(LinkType::LINUX_SLL, &[0, 4, 0, 1]), (Heading::Outbound, None));
        assert_eq!(told(LinkType::LINUX_SLL, &[0, 0, 0, 1]), (Heading::Inbound, None));
        assert_eq!(told(LinkType::LINUX_SLL, &[0, 3, 0, 1]), (Heading::Unknown, None));
        assert_eq!(told(LinkType::LINUX_SLL, &[0]), (Heading::Unknown, None));
        let cooked = |kind| [8, 0, 0, 0, 0, 0, 0, 7, 0, 1, kind, 6];
        assert_eq!(told(LinkType::LINUX_SLL2, &cooked(4)), (Heading::Outbound, Some(7)));
        assert_eq!(told(LinkType::LINUX_SLL2, &cooked(2)), (Heading::Inbound, Some(7)));
        assert_eq!(told(LinkType::LINUX_SLL2, &cooked(4)[..10]), (Heading::Unknown, None));
        assert_eq!(told(PPP_WITH_DIRECTION, &[1, 0xff, 3]), (Heading::Outbound, None));
        assert_eq!(told(LinkType::ETHERNET, &[0, 4, 0, 1]), (Heading::Unknown, None));
    }

    #[test]
    fn what_the_file_says_of_a_frame_comes_before_its_header() {
        let inbound = SeenAt { heading: Heading::Inbound, ..SeenAt::default() };
        assert_eq!(inbound.completed(LinkType::LINUX_SLL, &[0, 4]).heading, Heading::Inbound);
    }

    #[test]
    fn an_interface_described_again_is_the_same_point() {
        let mut points = Points::new("a.pcapng");
        let eth0 = points.number(0, LinkType::ETHERNET, b"eth0", b"");
        let other_eth0 = points.number(1, LinkType::ETHERNET, b"eth0", b"");
        assert_ne!(eth0, other_eth0);
        assert_eq!(points.number(0, LinkType::ETHERNET, b"eth0\0", b""), eth0);
        assert_ne!(points.number(0, LinkType::RAW, b"eth0", b""), eth0);
        assert_eq!(points.known().len(), 3);
        assert_eq!(points.known()[0].interface.as_deref(), Some("eth0"));
        assert_eq!(points.known()[0].description, None);
    }

    #[test]
    fn names_are_cut_and_points_are_bounded() {
        let mut points = Points::new("a.pcapng");
        points.number(0, LinkType::RAW, &[b'x'; 10_000], b"\x1b[2J");
        assert_eq!(points.known()[0].interface.as_ref().map(String::len), Some(MAX_TEXT));
        assert_eq!(points.known()[0].description.as_deref(), Some("\\u{1b}[2J"));
        for place in 1..MAX_POINTS + 5 {
            points.number(place, LinkType::RAW, b"", b"");
        }
        assert_eq!(points.known().len(), MAX_POINTS);
        assert_eq!(points.number(MAX_POINTS + 9, LinkType::RAW, b"y", b""), PointId(MAX_POINTS as u32 - 1));
    }
}
