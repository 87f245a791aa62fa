//! Moments and durations, in nanoseconds, as every witness of a connection reports them.

use std::fmt;
use std::num::NonZeroI64;

/// A moment: nanoseconds since the Unix epoch on the wall clock (`CLOCK_REALTIME`), which is the clock of packet timestamps.
///
/// Moments before 1970 are negative; conversions saturate at the ends of the range (years 1677 and 2262).
/// `Option<Timestamp>` takes no more room than `Timestamp`: a capture format without times (pcapng simple packet blocks) yields `None`.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Timestamp(NonZeroI64);

impl Timestamp {
    /// The moment `nanos` nanoseconds after the epoch; `i64::MIN` is taken as `i64::MIN + 1`.
    pub fn from_nanos(nanos: i64) -> Self {
        let nanos = nanos.max(i64::MIN + 1);
        Self(NonZeroI64::new(nanos ^ i64::MIN).expect("only i64::MIN maps to zero"))
    }

    /// The moment `seconds` and `nanos` after the epoch, saturating.
    pub fn from_parts(seconds: i64, nanos: u32) -> Self {
        Self::from_nanos(seconds.saturating_mul(1_000_000_000).saturating_add(i64::from(nanos)))
    }

    /// Nanoseconds since the epoch.
    pub fn as_nanos(self) -> i64 {
        self.0.get() ^ i64::MIN
    }

    /// The time that passed from `earlier` to `self`; negative when `earlier` is later.
    pub fn since(self, earlier: Self) -> Span {
        Span(self.as_nanos().saturating_sub(earlier.as_nanos()))
    }

    /// The moment `span` after `self`, saturating.
    pub fn after(self, span: Span) -> Self {
        Self::from_nanos(self.as_nanos().saturating_add(span.0))
    }
}

impl PartialOrd for Timestamp {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Timestamp {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.as_nanos().cmp(&other.as_nanos())
    }
}

/// Decimal seconds since the epoch with nine decimals, as the machine-readable output has it: `1795223276.320071123`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Span(self.as_nanos()).fmt(f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A signed duration in nanoseconds; a plain integer in machine-readable output.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct Span(pub i64);

impl Span {
    /// A duration of whole microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros.saturating_mul(1_000))
    }

    /// A duration of whole milliseconds.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis.saturating_mul(1_000_000))
    }

    /// The duration in nanoseconds.
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// This duration less `other`, saturating.
    pub const fn less(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }

    /// `times` over `over` of this duration, rounded towards zero, saturating; `over` is not 0.
    pub const fn times(self, times: i32, over: i32) -> Self {
        let exact = self.0 as i128 * times as i128 / over as i128;
        match exact {
            ..=MIN => Self(i64::MIN),
            MAX.. => Self(i64::MAX),
            _ => Self(exact as i64),
        }
    }

    /// The duration in seconds, for display only.
    pub fn as_secs_f64(self) -> f64 {
        self.0 as f64 / 1e9
    }
}

/// Decimal seconds with nine decimals: `0.000030123`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let nanos = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:09}", nanos / 1_000_000_000, nanos % 1_000_000_000)
    }
}

impl fmt::Debug for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A clock by which a witness stamps what it saw, and how far it is from the wall clock.
///
/// A clock is measured, not known: it is read between two readings of the other, which a witness does at its border and
/// hands in as numbers. The offset holds about the moment of the measurement. `CLOCK_MONOTONIC` and the wall clock are
/// slewed alike, so there it holds until somebody sets the wall clock; a run that lasts long measures again.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize, serde::Deserialize)]
pub struct Clock {
    /// Which clock.
    pub id: ClockId,
    /// What is to be added to its readings for the wall clock's.
    pub offset: Span,
    /// How far from the truth the offset may be, in either direction; never negative.
    pub error: Span,
}

/// The clocks that events are stamped by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClockId {
    /// `CLOCK_REALTIME`: the wall clock itself, which packets are stamped by.
    Realtime,
    /// `CLOCK_MONOTONIC`: since the start of the system; perf events.
    Monotonic,
    /// `CLOCK_TAI`: International Atomic Time, ahead of the wall clock by the leap seconds, if the system knows them; trace buffers.
    Tai,
}

impl Clock {
    /// The wall clock.
    pub const WALL: Self = Self { id: ClockId::Realtime, offset: Span(0), error: Span(0) };

    /// A clock that read `before` and then `after`, in nanoseconds, and between the two the wall clock read `wall`.
    ///
    /// The wall clock is taken to have been read halfway; how far apart the two readings are bounds the error.
    pub fn bracketed(id: ClockId, before: i64, wall: Timestamp, after: i64) -> Self {
        let apart = after.saturating_sub(before).max(0);
        let halfway = before.saturating_add(apart / 2);
        Self {
            id,
            offset: Span(wall.as_nanos().saturating_sub(halfway)),
            // The half that integers round away counts as error, too.
            error: Span(apart / 2 + apart % 2),
        }
    }

    /// The moment at which this clock reads `nanos` nanoseconds, on the wall clock; saturating.
    pub fn moment(self, nanos: i64) -> Timestamp {
        Timestamp::from_nanos(nanos.saturating_add(self.offset.0))
    }

    /// What this clock reads at a moment of the wall clock, in nanoseconds; saturating.
    pub fn reading(self, at: Timestamp) -> i64 {
        at.as_nanos().saturating_sub(self.offset.0)
    }

    /// The one of two measurements of the same clock whose error is smaller; of two that are as good, `self`.
    #[must_use]
    pub fn or_better(self, other: Self) -> Self {
        if other.error < self.error { other } else { self }
    }

    /// After a new measurement: the wall clock may have been set, and what was measured holds as long as both agree within their errors.
    #[must_use]
    pub fn measured_again(self, now: Self) -> Self {
        let apart = now.offset.less(self.offset).0.saturating_abs();
        if apart > now.error.0.saturating_add(self.error.0) { now } else { self.or_better(now) }
    }
}

impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        parse(&text).ok_or_else(|| serde::de::Error::custom("not decimal seconds with nanoseconds"))
    }
}

const MIN: i128 = i64::MIN as i128;
const MAX: i128 = i64::MAX as i128;

fn parse(text: &str) -> Option<Timestamp> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (seconds, nanos) = digits.split_once('.')?;
    if nanos.len() != 9 || !nanos.bytes().all(|b| b.is_ascii_digit()) || !seconds.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let total = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos.parse().ok()?)?;
    Some(Timestamp::from_nanos(if negative { -total } else { total }))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_timestamp_prints_and_reads_back_with_nanoseconds() {
        for nanos in [0, 1, -1, 999_999_999, 1_795_223_276_320_071_123, -1_500_000_000, i64::MAX] {
            let at = Timestamp::from_nanos(nanos);
            assert_eq!(at.as_nanos(), nanos);
            assert_eq!(parse(&at.to_string()), Some(at), "{nanos}");
        }
        assert_eq!(Timestamp::from_nanos(1_795_223_276_320_071_123).to_string(), "1795223276.320071123");
    }

    #[test]
    fn an_unknown_time_costs_no_room() {
        assert_eq!(size_of::<Option<Timestamp>>(), 8);
    }

    #[test]
    fn a_clock_is_measured_between_two_readings() {
        let wall = Timestamp::from_nanos(1_795_223_276_000_000_100);
        let clock = Clock::bracketed(ClockId::Monotonic, 5_000, wall, 5_101);
        assert_eq!(clock.offset, Span(1_795_223_276_000_000_100 - 5_050));
        assert_eq!(clock.error, Span(51));
        assert_eq!(clock.moment(5_050), wall);
        assert_eq!(clock.reading(wall), 5_050);
        // Whenever between the two the wall clock was read, the truth is within the error.
        for truth in [5_000, 5_101] {
            assert!((clock.moment(truth).since(wall)).0.abs() <= clock.error.0);
        }
        let narrower = Clock::bracketed(ClockId::Monotonic, 9_000, wall, 9_010);
        assert_eq!(clock.or_better(narrower), narrower);
        assert_eq!(narrower.or_better(clock), narrower);
    }

    #[test]
    fn international_atomic_time_is_ahead_by_leap_seconds() {
        let tai = Clock { id: ClockId::Tai, offset: Span(-37_000_000_000), error: Span(20) };
        let at = tai.moment(1_795_223_313_320_071_123);
        assert_eq!(at.to_string(), "1795223276.320071123");
        assert_eq!(tai.reading(at), 1_795_223_313_320_071_123);
        assert_eq!(Clock::WALL.moment(7), Timestamp::from_nanos(7));
    }

    #[test]
    fn a_clock_that_runs_backwards_or_far_away_is_taken_as_it_is() {
        let wall = Timestamp::from_nanos(10);
        let backwards = Clock::bracketed(ClockId::Monotonic, 100, wall, 90);
        assert_eq!((backwards.offset, backwards.error), (Span(-90), Span(0)));
        let far = Clock::bracketed(ClockId::Monotonic, i64::MIN, Timestamp::from_nanos(i64::MAX), i64::MAX);
        assert_eq!(far.error.0, i64::MAX / 2 + 1);
        far.moment(i64::MAX);
        far.reading(Timestamp::from_nanos(i64::MIN));
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_parts(i64::MAX, 0);
        assert_eq!(end.after(Span(1)), end);
        assert!(Timestamp::from_nanos(-5) < Timestamp::from_nanos(3));
    }

    /// Numbers at and near the ends of the range as often as others.
    fn any_nanos() -> impl Strategy<Value = i64> {
        prop_oneof![any::<i64>(), -3i64..3, i64::MIN..i64::MIN + 3, i64::MAX - 3..=i64::MAX]
    }

    proptest! {
        /// Whatever the clocks say, arithmetic neither panics nor wraps: it is exact, or at the end of the range.
        #[test]
        fn arithmetic_is_exact_or_at_an_end(a in any_nanos(), b in any_nanos(), n in any::<i32>(), over in 1i32..) {
            let held = |exact: i128| exact.clamp(MIN, MAX) as i64;
            let (at, other) = (Timestamp::from_nanos(a), Timestamp::from_nanos(b));
            let (a, b) = (i128::from(at.as_nanos()), i128::from(other.as_nanos()));
            prop_assert_eq!(at.since(other).as_nanos(), held(a - b));
            prop_assert_eq!(at.after(Span(b as i64)), Timestamp::from_nanos(held(a + b)));
            prop_assert_eq!(Span(a as i64).less(Span(b as i64)).as_nanos(), held(a - b));
            prop_assert_eq!(Span(a as i64).times(n, over).as_nanos(), held(a * i128::from(n) / i128::from(over)));
            prop_assert_eq!(parse(&at.to_string()), Some(at));
            prop_assert_eq!(at.cmp(&other), a.cmp(&b));
        }

        /// Whatever stands where a moment should, reading it neither panics nor makes one up.
        #[test]
        fn what_is_no_moment_is_not_read_as_one(text in "-?[0-9]{0,21}\\.?[0-9]{0,10}|\\PC{0,12}") {
            if let Some(at) = parse(&text) {
                prop_assert_eq!(parse(&at.to_string()), Some(at));
            }
        }
    }
}
