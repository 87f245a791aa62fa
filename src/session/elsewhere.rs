//! Segments that several capture points have: which sightings are of one that another point had before.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::capture::PointId;
use crate::time::{Span, Timestamp};
use crate::wire::Segment;

/// Tells sightings of segments at several capture points from segments that were sent again.
///
/// The k-th sighting of a segment at a point is another one of what another point has had k times: each was sent once and passed both.
/// A segment is known by its header, without what changes on the way: the time to live, and the checksum, which a network card may fill in.
/// Points that follow one another, as files of one capture do, have nothing in common: what the later one has again was sent again.
#[derive(Debug, Default)]
pub(super) struct Elsewhere {
    /// The first and the last frame of each point.
    spans: HashMap<PointId, [u64; 2]>,
    /// Whose frame was the last one.
    latest: Option<PointId>,
    /// Whether a point had frames before and after those of another one.
    is_active: bool,
    /// Segments by their digests: those that were seen since a moment, and others that were seen before it.
    recent: HashMap<u64, Counts>,
    before: HashMap<u64, Counts>,
    turned: i64,
}

/// How often a segment was seen at each of its points.
type Counts = [(PointId, u16); MOST_PLACES];

/// Frames of a batch that one point has, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) point: PointId,
    /// The number of the first frame.
    pub(super) frame: u64,
    /// How many segments of the batch come before.
    pub(super) before: usize,
}

impl Elsewhere {
    /// Takes in whose the frames of a batch are, the last of which has the number `last`; whether points have frames at the same time.
    pub(super) fn meet(&mut self, runs: &[Run], last: u64) -> bool {
        let ends = runs.iter().skip(1).map(|next| next.frame - 1).chain([last]);
        for (run, last) in runs.iter().zip(ends) {
            let is_known = self.spans.contains_key(&run.point);
            self.is_active |= is_known && self.latest != Some(run.point);
            self.spans.entry(run.point).or_insert([run.frame, last])[1] = last;
            self.latest = Some(run.point);
        }
        self.is_active
    }

    /// Whether a segment at a point is one that another point had before; it is counted in any case.
    pub(super) fn had(&mut self, point: PointId, segment: &Segment) -> bool {
        let now = segment.at.map_or(0, Timestamp::as_nanos);
        if now.saturating_sub(self.turned) > REMEMBERED.as_nanos() || self.recent.len() >= MOST_REMEMBERED / 2 {
            self.turned = now;
            self.before = std::mem::take(&mut self.recent);
        }
        let digest = digest(segment);
        let before = &mut self.before;
        let counts = self.recent.entry(digest).or_insert_with(|| before.remove(&digest).unwrap_or_default());
        let Some((known, count)) = counts.iter_mut().find(|(known, count)| *known == point || *count == 0) else {
            return false;
        };
        (*known, *count) = (point, count.saturating_add(1));
        let (count, counts) = (*count, *counts);
        counts.iter().any(|(other, others)| *other != point && count <= *others && self.are_at_once(point, *other))
    }

    /// Whether two points have frames at the same time.
    fn are_at_once(&self, one: PointId, other: PointId) -> bool {
        let spans = self.spans.get(&one).zip(self.spans.get(&other));
        spans.is_some_and(|(one, other)| one[0] < other[1] && other[0] < one[1])
    }
}

/// A digest of what a segment has wherever it is seen on its way.
fn digest(segment: &Segment) -> u64 {
    let Segment { src, dst, src_port, dst_port, seq, ack, flags, window, urgent, ip_id, len, .. } = segment;
    let mut hasher = DefaultHasher::new();
    (src, dst, src_port, dst_port, seq.0, ack.0).hash(&mut hasher);
    (flags.bits(), window, urgent, ip_id, len, segment.options.timestamps).hash(&mut hasher);
    for (from, to) in segment.options.sack_edges() {
        (from.0, to.0).hash(&mut hasher);
    }
    hasher.finish()
}

/// For how long a segment is remembered at least after it was seen last: the way between two points, and what their clocks differ by, are
/// shorter.
const REMEMBERED: Span = Span::from_millis(1000);
/// How many segments are remembered at most.
const MOST_REMEMBERED: usize = 1 << 17;
/// At how many points the sightings of one segment are counted.
const MOST_PLACES: usize = 4;

#[cfg(test)]
mod tests {
    use super::*;

    fn segment() -> Segment {
        crate::script::read("0 C > S: S 1(0)").next().expect("a segment").1
    }

    /// Two points that have frames at the same time.
    fn points(count: u32) -> Elsewhere {
        let mut elsewhere = Elsewhere::default();
        let runs: Vec<_> = (0..2 * u64::from(count))
            .map(|frame| Run { point: PointId(frame as u32 % count), frame, before: 0 })
            .collect();
        assert!(elsewhere.meet(&runs, runs.len() as u64));
        elsewhere
    }

    #[test]
    fn the_second_sighting_at_one_point_is_none_elsewhere() {
        let mut elsewhere = points(2);
        let had: Vec<_> = [0, 1, 1, 0, 0].map(|point| elsewhere.had(PointId(point), &segment())).into();
        assert_eq!(had, [false, true, false, true, false]);
    }

    #[test]
    fn points_that_follow_one_another_have_nothing_in_common() {
        let mut elsewhere = Elsewhere::default();
        let run = |point, frame| Run { point: PointId(point), frame, before: 0 };
        assert!(!elsewhere.meet(&[run(0, 1)], 10));
        assert!(!elsewhere.meet(&[run(0, 11), run(1, 20)], 30), "one file after the other");
        assert!(elsewhere.meet(&[run(2, 31), run(1, 32)], 40), "a third beside the second");
        let had: Vec<_> = [0, 1, 2].map(|point| elsewhere.had(PointId(point), &segment())).into();
        assert_eq!(had, [false, false, true]);
    }

    #[test]
    fn no_more_segments_are_remembered_than_there_is_room_for() {
        let mut elsewhere = points(2);
        for number in 0..2 * MOST_REMEMBERED as u32 {
            elsewhere.had(PointId(0), &Segment { seq: crate::wire::Seq(number), ..segment() });
            assert!(elsewhere.recent.len() + elsewhere.before.len() <= MOST_REMEMBERED);
        }
        let last = crate::wire::Seq(2 * MOST_REMEMBERED as u32 - 1);
        assert!(elsewhere.had(PointId(1), &Segment { seq: last, ..segment() }));
        assert!(!elsewhere.had(PointId(1), &Segment { seq: crate::wire::Seq(0), ..segment() }), "forgotten");
    }

    #[test]
    fn sightings_are_counted_at_so_many_points_and_those_at_others_are_not() {
        let most = MOST_PLACES as u32;
        let mut elsewhere = points(most + 1);
        let had: Vec<_> = (0..=most).map(|point| elsewhere.had(PointId(point), &segment())).collect();
        assert_eq!(had, [false, true, true, true, false]);
    }
}
