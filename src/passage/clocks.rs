//! How two clocks that were never compared stand to each other, from the times that segments took by both of them.

use std::cmp::Ordering;

use crate::time::{Span, Timestamp};

/// The server's clock against the client's.
///
/// A segment that is sent at `t` by the client's clock and arrives at `u` by the server's tells `u − t`: the time that it took, plus the
/// offset; one that goes the other way tells the time that it took, minus the offset. The shortest ones of both directions bound the offset from both sides,
/// and the middle is taken, as if the way took as long there as back: the error is at most half the shortest round trip.
/// Where segments are spread over long enough, the line below all of the times of each direction shows how the offset grows.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Clocks {
    /// The server's clock minus the client's, at [`Self::at`].
    pub offset: Span,
    /// How far it may be from the truth, either way; 0 where it was given.
    pub error: Span,
    /// How much the server's clock gains, in nanoseconds a second; `None` where that cannot be told.
    pub drift_ppb: Option<i64>,
    /// When that is so, by the client's clock.
    pub at: Timestamp,
    /// Whether the times of all segments fit to that; where they do not, one of the clocks was set while it was captured.
    pub is_even: bool,
}

impl Clocks {
    /// The offset that somebody knows.
    pub fn given(offset: Span, at: Timestamp) -> Self {
        Self { offset, error: Span(0), drift_ppb: None, at, is_even: true }
    }

    /// Estimates it from the times of both directions, counted from `at` by the client's clock.
    ///
    /// `None` where no segment was seen to arrive in one of the directions.
    pub(super) fn of(at: Timestamp, there: &Edge, back: &Edge) -> Option<Self> {
        // A clock that gains lengthens one direction as it shortens the other; a queue that fills does not.
        let agree = |(there, back): &(f64, f64)| (there + back).abs() / 2.0 <= DISAGREEMENT;
        let drift = there.slope().zip(back.slope()).filter(agree).map(|(there, back)| (there - back) / 2.0);
        let (shortest, answer) = (there.level(drift.unwrap_or(0.0))?, back.level(-drift.unwrap_or(0.0))?);
        let (offset, error) = ((shortest - answer) / 2.0, (shortest + answer) / 2.0);
        // Where the drift is not known it may be that of two ordinary oscillators, for as long as the segments are apart.
        let last = there.last.max(back.last);
        let unknown = if drift.is_none() { last * ORDINARY_DRIFT } else { 0.0 };
        let is_even = shortest + answer + unknown >= 0.0;
        let error = Span((error.abs() + unknown) as i64);
        Some(Self { offset: Span(offset as i64), error, drift_ppb: drift.map(|drift| drift as i64), at, is_even })
    }

    /// A moment of the server's clock by the client's.
    pub fn to_clients(&self, at: Timestamp) -> Timestamp {
        let plain = at.after(Span(-self.offset.as_nanos()));
        let seconds = plain.since(self.at).as_secs_f64();
        plain.after(Span(-(seconds * self.drift_ppb.unwrap_or(0) as f64) as i64))
    }
}

/// The lower edge of the times that the segments of one direction took: the corners of the line below all of them.
#[derive(Clone, Default, Debug)]
pub(super) struct Edge {
    /// Seconds from a moment by the client's clock on, and nanoseconds by the difference of both clocks.
    corners: Vec<(f64, f64)>,
    /// How many segments there are, the sum of their seconds, and the first and the last of these.
    count: usize,
    sum: f64,
    first: f64,
    last: f64,
}

impl Edge {
    /// Adds segments, and takes them out of `points`: so many nanoseconds after a moment, by the client's clock, each took so many by the difference
    /// of both. Their edge is found when it is closed.
    pub(super) fn add(&mut self, points: &mut Vec<(i64, i64)>) {
        // They come nearly in order: what is made for that sorts them.
        points.sort();
        let begin = self.corners.len();
        for (when, took) in points.drain(..) {
            let when = Span(when).as_secs_f64();
            self.first = if self.count == 0 { when } else { self.first.min(when) };
            self.last = self.last.max(when);
            self.count += 1;
            self.sum += when;
            self.turn_to((when, took as f64), begin);
        }
    }

    /// Leaves of what was added only the corners of the whole.
    pub(super) fn close(&mut self) {
        let mut corners = std::mem::take(&mut self.corners);
        corners.sort_by(|one, other| one.partial_cmp(other).unwrap_or(Ordering::Equal));
        corners.into_iter().for_each(|corner| self.turn_to(corner, 0));
    }

    /// That of the segments of all of them.
    pub(super) fn around<'a>(all: impl Iterator<Item = &'a Self>) -> Self {
        let mut whole = Self::default();
        for edge in all.filter(|edge| edge.count > 0) {
            whole.first = if whole.count == 0 { edge.first } else { whole.first.min(edge.first) };
            whole.last = whole.last.max(edge.last);
            whole.count += edge.count;
            whole.sum += edge.sum;
            whole.corners.extend_from_slice(&edge.corners);
        }
        whole.close();
        whole
    }

    /// Goes on to a point that is no earlier than any of those from `begin` on.
    fn turn_to(&mut self, point: (f64, f64), begin: usize) {
        while let [.., before, at] = self.corners[begin..] {
            let turn = (at.0 - before.0) * (point.1 - before.1) - (at.1 - before.1) * (point.0 - before.0);
            if turn > 0.0 {
                break;
            }
            self.corners.pop();
        }
        self.corners.push(point);
    }

    /// The slope of the line below all points that lies closest to them: the part of the edge below their middle.
    ///
    /// `None` for points that are too few or too close together for it to say anything.
    fn slope(&self) -> Option<f64> {
        if self.count < FEWEST || self.last - self.first < SHORTEST {
            return None;
        }
        let middle = self.sum / self.count as f64;
        let part = self.corners.windows(2).find(|part| part[0].0 <= middle && middle <= part[1].0)?;
        let width = part[1].0 - part[0].0;
        // One that is short beside the whole says more of two segments than of the clocks.
        (width >= (self.last - self.first) / 3.0).then(|| (part[1].1 - part[0].1) / width)
    }

    /// The lowest point, where the clocks drift by that many nanoseconds a second.
    fn level(&self, drift: f64) -> Option<f64> {
        self.corners.iter().map(|(when, took)| took - drift * when).min_by(f64::total_cmp)
    }
}

/// How much a clock may gain in a second, half of it to either side: 100 ppm of two oscillators that are no better than ordinary.
const ORDINARY_DRIFT: f64 = 50_000.0;
/// By how much the two directions may differ in what they say of the drift, in nanoseconds a second.
const DISAGREEMENT: f64 = 20_000.0;
/// How many segments of a direction there must be for its slope.
const FEWEST: usize = 8;
/// Over how many seconds.
const SHORTEST: f64 = 2.0;
