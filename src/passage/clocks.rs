//! How two clocks that were never compared stand to each other, from the times that segments took by both of them.

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

    /// Estimates it from the times of both directions: when by the client's clock, and how long by the difference of both.
    ///
    /// `None` where no segment was seen to arrive in one of the directions.
    pub fn of(to_server: &[(Timestamp, Span)], to_client: &[(Timestamp, Span)]) -> Option<Self> {
        let at = to_server.iter().chain(to_client).map(|(at, _)| *at).min()?;
        let points = |all: &[(Timestamp, Span)]| -> Vec<(f64, f64)> {
            all.iter().map(|(when, took)| (when.since(at).as_secs_f64(), took.as_nanos() as f64)).collect()
        };
        let (there, back) = (points(to_server), points(to_client));
        // A clock that gains lengthens one direction as it shortens the other; a queue that fills does not.
        let agree = |(there, back): &(f64, f64)| (there + back).abs() / 2.0 <= DISAGREEMENT;
        let drift = slope(&there).zip(slope(&back)).filter(agree).map(|(there, back)| (there - back) / 2.0);
        let level =
            |all: &[(f64, f64)], drift: f64| all.iter().map(|(when, took)| took - drift * when).min_by(f64::total_cmp);
        let (shortest, answer) = (level(&there, drift.unwrap_or(0.0))?, level(&back, -drift.unwrap_or(0.0))?);
        let (offset, error) = ((shortest - answer) / 2.0, (shortest + answer) / 2.0);
        // Where the drift is not known it may be that of two ordinary oscillators, for as long as the segments are apart.
        let last = there.iter().chain(&back).map(|(when, _)| *when).fold(0.0, f64::max);
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

/// The slope of the line below all points that lies closest to them: the edge of their lower hull below their middle.
///
/// `None` for points that are too few or too close together for it to say anything.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let mut points = points.to_vec();
    points.sort_by(|one, other| one.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal));
    let (first, last) = (points.first()?.0, points.last()?.0);
    if points.len() < FEWEST || last - first < SHORTEST {
        return None;
    }
    let mut hull: Vec<(f64, f64)> = Vec::new();
    for point in &points {
        while let [.., before, at] = hull[..] {
            let turn = (at.0 - before.0) * (point.1 - before.1) - (at.1 - before.1) * (point.0 - before.0);
            if turn > 0.0 {
                break;
            }
            hull.pop();
        }
        hull.push(*point);
    }
    let middle = points.iter().map(|(when, _)| when).sum::<f64>() / points.len() as f64;
    let edge = hull.windows(2).find(|edge| edge[0].0 <= middle && middle <= edge[1].0)?;
    let width = edge[1].0 - edge[0].0;
    // An edge that is short beside the whole says more of two segments than of the clocks.
    (width >= (last - first) / 3.0).then(|| (edge[1].1 - edge[0].1) / width)
}

/// How much a clock may gain in a second, half of it to either side: 100 ppm of two oscillators that are no better than ordinary.
const ORDINARY_DRIFT: f64 = 50_000.0;
/// By how much the two directions may differ in what they say of the drift, in nanoseconds a second.
const DISAGREEMENT: f64 = 20_000.0;
/// How many segments of a direction there must be for its slope.
const FEWEST: usize = 8;
/// Over how many seconds.
const SHORTEST: f64 = 2.0;
