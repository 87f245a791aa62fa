//! Whether several files that are told as one capture hold the same segments: then they were taken at several places, or one is a copy.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::capture::{CapturePoint, Frame, PointId};
use crate::time::Timestamp;
use crate::wire::{Decoder, Flags};

/// What the first frames of each place hold.
#[derive(Default)]
pub(super) struct Overlap {
    decoder: Decoder,
    /// How many frames of each place were looked at, by its number.
    looked_at: Vec<u32>,
    /// Where each segment was seen first, by a digest of its header.
    first: HashMap<u64, First>,
    /// Which segments were seen again at which places.
    again: HashSet<(u64, PointId)>,
    /// What is known of the segments of one place that were seen at another before.
    shared: HashMap<(PointId, PointId), Shared>,
}

#[derive(Clone, Copy)]
struct First {
    point: PointId,
    at: Option<Timestamp>,
    /// Its place among the frames that were looked at there.
    place: u32,
}

/// The segments that two places have in common; each counts once, however often it was sent again.
///
/// Files of one capture that follow each other may have segments in common, too: what is sent again in the second one. There all
/// of the second are later than all of the first, and nobody who had the answer to his SYN sends that again.
#[derive(Default)]
struct Shared {
    /// How many there are, and of how many the time was the same.
    all: u32,
    at_once: u32,
    /// How many of them came in the same order at both, of those of the same sender.
    in_order: u32,
    /// The latest and the earliest at each of the two places.
    latest: [Option<Timestamp>; 2],
    earliest: [Option<Timestamp>; 2],
    /// Those of each sender, by a digest of the ends.
    senders: HashMap<u64, Sender>,
    /// Whether a SYN is among them, and what its sender sent after it.
    goes_on: bool,
}

/// Where segments of a sender stand at each of the two places.
#[derive(Default)]
struct Sender {
    last: [u32; 2],
    opened: Option<[u32; 2]>,
}

impl Shared {
    fn take(&mut self, seen: [First; 2], ends: u64, opens: bool) {
        let follow = |now: [u32; 2], before: [u32; 2]| now[0] > before[0] && now[1] > before[1];
        self.all += 1;
        self.at_once += u32::from(seen[0].at == seen[1].at);
        for (side, seen) in seen.iter().enumerate() {
            self.latest[side] = self.latest[side].max(seen.at);
            self.earliest[side] = [self.earliest[side], seen.at].into_iter().flatten().min();
        }
        let (sender, places) = (self.senders.entry(ends).or_default(), seen.map(|seen| seen.place));
        self.in_order += u32::from(follow(places, sender.last));
        sender.last = places;
        if opens {
            sender.opened = sender.opened.or(Some(places));
        } else {
            self.goes_on |= sender.opened.is_some_and(|opened| follow(places, opened));
        }
    }

    fn is_telling(&self) -> bool {
        let meet = |[one, other]: [usize; 2]| self.earliest[other].is_some() && self.latest[one] > self.earliest[other];
        self.in_order >= LEAST_SHARED && (self.goes_on || meet([0, 1]) && meet([1, 0]))
    }
}

impl Overlap {
    /// Looks at a frame, where it is one of the first of its place.
    pub(super) fn look(&mut self, frame: &Frame<'_>) {
        let place = frame.seen.point.0 as usize;
        if place >= MOST_PLACES {
            return;
        }
        if self.looked_at.len() <= place {
            self.looked_at.resize(place + 1, 0);
        }
        if self.looked_at[place] >= MOST_FRAMES {
            return;
        }
        self.looked_at[place] += 1;
        let (point, place) = (frame.seen.point, self.looked_at[place]);
        let Self { decoder, first, again, shared, .. } = self;
        // What is no segment says nothing.
        let _ = decoder.decode(frame, |segment, _| {
            // Acknowledgements, keep-alives and probes are alike in every file of a capture.
            let is_control = segment.flags.intersects(Flags::SYN | Flags::FIN);
            if segment.len == 0 && !is_control {
                return;
            }
            let digest = |what: &dyn Fn(&mut DefaultHasher)| {
                let mut hasher = DefaultHasher::new();
                what(&mut hasher);
                hasher.finish()
            };
            let ends = (segment.src, segment.src_port, segment.dst, segment.dst_port);
            let header = (segment.seq.0, segment.ack.0, segment.flags.bits(), segment.window, segment.len);
            let own = digest(&|hasher| (ends, header, segment.options.timestamps).hash(hasher));
            let now = First { point, at: segment.at, place };
            let before = *first.entry(own).or_insert(now);
            if before.point == point || !again.insert((own, point)) {
                return;
            }
            let seen = if before.point < point { [before, now] } else { [now, before] };
            let shared = shared.entry((seen[0].point, seen[1].point)).or_default();
            shared.take(seen, digest(&|hasher| ends.hash(hasher)), segment.flags.contains(Flags::SYN));
        });
    }

    /// Which two files hold the same segments, in one line; `None` where none do.
    pub(super) fn told(&self, points: &[CapturePoint]) -> Option<String> {
        let file = |point: PointId| points.get(point.0 as usize)?.file.as_deref();
        let mut told: Vec<_> = self.shared.iter().filter(|(_, shared)| shared.is_telling()).collect();
        told.sort_by_key(|(points, _)| **points);
        let others = told.iter().filter_map(|((one, other), shared)| {
            let (one, other) = (file(*one)?, file(*other)?);
            (one != other).then_some((one, other, shared.at_once == shared.all))
        });
        let pairs: Vec<_> = others.collect();
        let (one, other, at_once) = *pairs.first()?;
        let [one_name, other_name] = [one, other].map(|path| Path::new(path).display().to_string());
        let more: HashSet<_> = pairs.iter().map(|(one, other, _)| (one, other)).collect();
        let more = if more.len() > 1 { " (and so do others)" } else { "" };
        Some(if at_once {
            format!(
                "{one_name} and {other_name} hold the same frames{more}: each counts twice, and is flagged as captured twice or repeated"
            )
        } else {
            format!(
                "{one_name} and {other_name} hold the same segments{more}, at other times: told as one capture, each counts \
                 as often as it was seen, and is flagged as captured twice; if they were taken at client and server, say \
                 --client-side {one_name} --server-side {other_name}, or the other way round"
            )
        })
    }
}

/// How many frames of each place are looked at.
const MOST_FRAMES: u32 = 2000;
/// At how many places.
const MOST_PLACES: usize = 64;
/// From how many segments in the same order on files are said to hold the same.
const LEAST_SHARED: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, SeenAt};

    /// A segment: its flags, sequence number and octets, and when it came, in microseconds.
    type Sent = (u8, u32, u8, i64);

    const ACK: u8 = 0x10;
    const SYN: u8 = 2;

    fn look(overlap: &mut Overlap, place: u32, sent: impl IntoIterator<Item = Sent>) {
        for (flags, seq, octets, at) in sent {
            let ip = [0x45, 0, 0, 40 + octets, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
            let ports = [48, 57, 0, 80];
            let rest = [0, 0, 0, 9, 0x50, flags, 16, 0, 0, 0, 0, 0];
            let bytes = [&ip[..], &ports, &seq.to_be_bytes(), &rest, &vec![7; octets.into()]].concat();
            overlap.look(&Frame {
                number: 1,
                at: Some(Timestamp::from_nanos(at * 1000)),
                link: LinkType::RAW,
                bytes: &bytes,
                wire_len: bytes.len() as u32,
                seen: SeenAt { point: PointId(place), ..SeenAt::default() },
            });
        }
    }

    fn told(one: &[Sent], other: &[Sent]) -> Option<String> {
        let point = |file: &str| CapturePoint {
            file: Some(file.into()),
            interface: None,
            description: None,
            link: LinkType::RAW,
        };
        let mut overlap = Overlap::default();
        look(&mut overlap, 0, one.iter().copied());
        look(&mut overlap, 1, other.iter().copied());
        overlap.told(&["a.pcap", "b.pcap"].map(point))
    }

    /// So many segments with octets, one each millisecond.
    fn segments(count: u32) -> Vec<Sent> {
        (0..count).map(|number| (ACK, 100 + 10 * number, 10, i64::from(number) * 1000)).collect()
    }

    fn later(sent: &[Sent], by: i64) -> Vec<Sent> {
        sent.iter().map(|(flags, seq, octets, at)| (*flags, *seq, *octets, at + by)).collect()
    }

    #[test]
    fn files_that_hold_the_same_segments_are_named() {
        let [few, enough] = [LEAST_SHARED - 1, LEAST_SHARED].map(segments);
        assert_eq!(told(&few, &later(&few, 5)), None);
        assert!(
            told(&enough, &later(&enough, 5))
                .is_some_and(|told| told.contains("--client-side a.pcap --server-side b.pcap"))
        );
        assert!(told(&enough, &enough).is_some_and(|told| told.starts_with("a.pcap and b.pcap hold the same frames:")));
        // Those of the other direction cross them on the way.
        let mut overlap = Overlap::default();
        for (place, sent) in [(0, enough[0]), (1, (ACK, 9, 9, 1)), (1, enough[0]), (0, (ACK, 9, 9, 3)), (0, enough[1])]
        {
            look(&mut overlap, place, [sent]);
        }
        let shared = &overlap.shared[&(PointId(0), PointId(1))];
        assert_eq!((shared.all, shared.in_order, shared.latest[0]), (2, 1, Some(Timestamp::from_nanos(3000))));
        // Also where the clocks are a day apart.
        let opened = [&[(SYN, 99, 0, -1000)][..], &enough].concat();
        for day in [-86_400_000_000, 86_400_000_000] {
            assert!(told(&opened, &later(&opened, day)).is_some_and(|told| told.contains("--client-side")), "{day}");
        }
    }

    #[test]
    fn files_of_one_capture_that_follow_each_other_hold_no_segments_together() {
        let (day, many) = (86_400_000_000, segments(40));
        // Keep-alives and acknowledgements again and again, and probes of a window.
        let alike: Vec<Sent> = (0..40).map(|number| (ACK, 99, (number % 2) as u8, number * 1000)).collect();
        assert_eq!(told(&alike, &later(&alike, day)), None);
        assert_eq!(told(&alike, &later(&alike, 5)), None, "one segment with octets, however often");
        // All that was under way is sent again in the second file.
        assert_eq!(told(&many, &later(&many, 40_000)), None);
        assert_eq!(told(&many, &[later(&many[20..], 40_000), later(&many, 90_000)].concat()), None);
        // A SYN is, too, with what was sent before it by an earlier connection of the same ends.
        let syn = |at| (SYN, 99, 0, at);
        let again = [later(&many, 90_000), vec![syn(200_000)]].concat();
        assert_eq!(told(&[many.clone(), vec![syn(40_000)]].concat(), &again), None);
    }

    #[test]
    fn of_each_place_the_first_frames_are_looked_at_and_no_more() {
        let mut overlap = Overlap::default();
        let many = segments(MOST_FRAMES + 10);
        look(&mut overlap, 0, many.iter().copied());
        look(&mut overlap, 1, later(&many, 5));
        let shared = &overlap.shared[&(PointId(0), PointId(1))];
        assert_eq!((shared.all, shared.at_once, shared.in_order), (MOST_FRAMES, 0, MOST_FRAMES));
        assert_eq!(overlap.first.len(), MOST_FRAMES as usize);
    }

    #[test]
    fn of_several_files_the_first_places_are_looked_at_and_no_more() {
        let told = |one: usize, other: usize| {
            let mut overlap = Overlap::default();
            look(&mut overlap, one as u32, segments(40));
            look(&mut overlap, other as u32, later(&segments(40), 5));
            let points: Vec<CapturePoint> = (0..=other)
                .map(|place| CapturePoint {
                    file: Some(format!("{place}.pcap").into()),
                    interface: None,
                    description: None,
                    link: LinkType::RAW,
                })
                .collect();
            overlap.told(&points)
        };
        assert!(told(0, MOST_PLACES - 1).is_some_and(|told| told.starts_with("0.pcap and 63.pcap hold the same")));
        assert_eq!(told(0, MOST_PLACES), None);
    }
}
