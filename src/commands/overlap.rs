//! Whether several files that are told as one capture hold the same segments: then they were taken at several places, or one is a copy.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use crate::capture::{CapturePoint, Frame, PointId};
use crate::time::Timestamp;
use crate::wire::Decoder;

/// What the first frames of each place hold.
#[derive(Default)]
pub(super) struct Overlap {
    decoder: Decoder,
    /// How many frames of each place were looked at, by its number.
    looked_at: Vec<u32>,
    /// Where each segment was seen first, and when, by a digest of its header.
    first: HashMap<u64, (PointId, Option<Timestamp>)>,
    /// How many segments of one place were seen at another before, and of how many the time was the same.
    shared: HashMap<(PointId, PointId), (u32, u32)>,
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
        let (point, first, shared) = (frame.seen.point, &mut self.first, &mut self.shared);
        // What is no segment says nothing.
        let _ = self.decoder.decode(frame, |segment, _| {
            let mut digest = DefaultHasher::new();
            let ends = (segment.src, segment.src_port, segment.dst, segment.dst_port);
            let header = (segment.seq.0, segment.ack.0, segment.flags.bits(), segment.window, segment.len);
            (ends, header, segment.options.timestamps).hash(&mut digest);
            let (there, then) = *first.entry(digest.finish()).or_insert((point, segment.at));
            if there != point {
                let (all, at_once) = shared.entry((there.min(point), there.max(point))).or_default();
                *all += 1;
                *at_once += u32::from(then == segment.at);
            }
        });
    }

    /// Which two files hold the same segments, in one line; `None` where none do.
    pub(super) fn told(&self, points: &[CapturePoint]) -> Option<String> {
        let file = |point: PointId| points.get(point.0 as usize)?.file.as_deref();
        let mut told: Vec<_> = self.shared.iter().filter(|(_, (all, _))| *all >= LEAST_SHARED).collect();
        told.sort();
        let others = told.iter().filter_map(|((one, other), counts)| {
            let (one, other) = (file(*one)?, file(*other)?);
            (one != other).then_some((one, other, **counts))
        });
        let pairs: Vec<_> = others.collect();
        let (one, other, (all, at_once)) = *pairs.first()?;
        let [one_name, other_name] = [one, other].map(|path| Path::new(path).display().to_string());
        let more: HashSet<_> = pairs.iter().map(|(one, other, _)| (one, other)).collect();
        let more = if more.len() > 1 { " (and so do others)" } else { "" };
        Some(if at_once == all {
            format!(
                "{one_name} and {other_name} hold the same frames{more}: each counts twice, and is flagged as captured twice or repeated"
            )
        } else {
            format!(
                "{one_name} and {other_name} hold the same segments{more}, at other times: told as one capture, their second sighting \
                 may be flagged as repeated; if they were taken at client and server, say \
                 --client-side {one_name} --server-side {other_name}, or the other way round"
            )
        })
    }
}

/// How many frames of each place are looked at.
const MOST_FRAMES: u32 = 2000;
/// At how many places.
const MOST_PLACES: usize = 64;
/// From how many segments on files are said to hold the same: one or two may be repetitions of what another file ends with.
const LEAST_SHARED: u32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, SeenAt};

    /// Looks at so many segments from each of two files, the second one's later by so much.
    fn overlap(segments: u32, later: i64) -> Overlap {
        let mut overlap = Overlap::default();
        for place in [0, 1] {
            for number in 0..segments {
                let ip = [0x45, 0, 0, 40, 0, 0, 0x40, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
                let ports = [48, 57, 0, 80];
                let rest = [0, 0, 0, 9, 0x50, 16, 16, 0, 0, 0, 0, 0];
                let bytes = [&ip[..], &ports, &number.to_be_bytes(), &rest].concat();
                let at = i64::from(number) * 1000 + i64::from(place) * later;
                overlap.look(&Frame {
                    number: number.into(),
                    at: Some(Timestamp::from_nanos(at)),
                    link: LinkType::RAW,
                    bytes: &bytes,
                    wire_len: 40,
                    seen: SeenAt { point: PointId(place as u32), ..SeenAt::default() },
                });
            }
        }
        overlap
    }

    fn told(segments: u32, later: i64) -> Option<String> {
        let point = |file: &str| CapturePoint {
            file: Some(file.into()),
            interface: None,
            description: None,
            link: LinkType::RAW,
        };
        overlap(segments, later).told(&["a.pcap", "b.pcap"].map(point))
    }

    #[test]
    fn files_that_hold_the_same_segments_are_named() {
        assert_eq!(told(LEAST_SHARED - 1, 5), None);
        assert!(told(LEAST_SHARED, 5).is_some_and(|told| told.contains("--client-side a.pcap --server-side b.pcap")));
        assert!(told(LEAST_SHARED, 0).is_some_and(|told| told.starts_with("a.pcap and b.pcap hold the same frames:")));
    }

    #[test]
    fn of_each_place_the_first_frames_are_looked_at_and_no_more() {
        let overlap = overlap(MOST_FRAMES + 10, 5);
        assert_eq!(overlap.shared[&(PointId(0), PointId(1))], (MOST_FRAMES, 0));
        assert_eq!(overlap.first.len(), MOST_FRAMES as usize);
    }
}
