//! Moments and durations as people read them.

use super::style::{Clock, Style};
use super::text::{digits, padded};
use crate::time::{Span, Timestamp};

/// The moment in the timeline's column: seconds and microseconds since `origin`, or the time of day.
pub(super) fn moment(at: Timestamp, origin: Timestamp, style: &Style) -> String {
    made(|out| push_moment(out, at, origin, style))
}

fn push_moment(out: &mut String, at: Timestamp, origin: Timestamp, style: &Style) {
    match style.clock {
        Clock::Elapsed => push_elapsed(out, at.since(origin)),
        Clock::TimeOfDay => push_time_of_day(out, at, style, 6),
        Clock::Epoch => push_elapsed(out, Span(at.as_nanos())),
    }
}

/// What a column of moments counts in, for its head.
pub(super) fn unit(style: &Style) -> String {
    match style.clock {
        Clock::Elapsed => "seconds".to_owned(),
        Clock::TimeOfDay => zone(style),
        Clock::Epoch => "epoch".to_owned(),
    }
}

/// The moment by itself: as [`moment`], but with its date.
pub(super) fn dated(at: Timestamp, origin: Timestamp, style: &Style) -> String {
    made(|out| push_dated(out, at, origin, style))
}

/// Adds [`dated`] to `out`.
pub(super) fn push_dated(out: &mut String, at: Timestamp, origin: Timestamp, style: &Style) {
    if style.clock == Clock::TimeOfDay {
        // A moment lies between 1677 and 2262, and no zone moves it by a century.
        let (year, month, day) = civil(local(at, style).0);
        padded(out, year.unsigned_abs(), 4);
        out.push('-');
        padded(out, month.unsigned_abs(), 2);
        out.push('-');
        padded(out, day.unsigned_abs(), 2);
        out.push(' ');
    }
    push_moment(out, at, origin, style);
}

/// Seconds with microseconds: `0.000612`.
fn push_elapsed(out: &mut String, span: Span) {
    let micros = span.as_nanos().unsigned_abs() / 1_000;
    if span.as_nanos() < 0 && micros > 0 {
        out.push('-');
    }
    digits(out, micros / 1_000_000);
    out.push('.');
    padded(out, micros % 1_000_000, 6);
}

/// Date, time of day with microseconds, and zone: `2026-11-21 05:53:22.123456 UTC`.
pub(super) fn date(at: Timestamp, style: &Style) -> String {
    let style = Style { clock: Clock::TimeOfDay, ..*style };
    format!("{} {}", dated(at, at, &style), zone(&style))
}

/// Time of day with that many decimals of a second, cut, not rounded.
pub(super) fn time_of_day(at: Timestamp, style: &Style, decimals: usize) -> String {
    made(|out| push_time_of_day(out, at, style, decimals))
}

fn push_time_of_day(out: &mut String, at: Timestamp, style: &Style, decimals: usize) {
    let nanos = local(at, style).1.unsigned_abs();
    let seconds = nanos / 1_000_000_000;
    padded(out, seconds / 3600, 2);
    out.push(':');
    padded(out, seconds / 60 % 60, 2);
    out.push(':');
    padded(out, seconds % 60, 2);
    if decimals > 0 {
        out.push('.');
        let start = out.len();
        padded(out, nanos % 1_000_000_000, 9);
        out.truncate(start + decimals.min(9));
    }
}

/// The name of the style's zone: `UTC`, `UTC+1`, `UTC-3:30`.
pub(super) fn zone(style: &Style) -> String {
    let minutes = style.utc_offset / 60;
    if minutes == 0 {
        return "UTC".to_owned();
    }
    let sign = if minutes < 0 { '-' } else { '+' };
    let minutes = minutes.unsigned_abs();
    match minutes % 60 {
        0 => format!("UTC{sign}{}", minutes / 60),
        rest => format!("UTC{sign}{}:{rest:02}", minutes / 60),
    }
}

/// A duration with three significant digits and its unit: `30.1 µs`, `432 ms`, `59.9 s`; minutes from 100 s on.
pub(super) fn duration(span: Span, micro: &str) -> String {
    made(|out| push_duration(out, span, micro))
}

/// Adds [`duration`] to `out`.
pub(super) fn push_duration(out: &mut String, span: Span, micro: &str) {
    let nanos = span.as_nanos();
    if nanos < 0 {
        out.push('-');
    }
    let n = nanos.unsigned_abs();
    match n {
        0..1_000 => {
            digits(out, n);
            out.push_str(" ns");
        }
        1_000..1_000_000 => {
            push_three(out, n, 1_000);
            out.push(' ');
            out.push_str(micro);
            out.push('s');
        }
        1_000_000..1_000_000_000 => {
            push_three(out, n, 1_000_000);
            out.push_str(" ms");
        }
        1_000_000_000..100_000_000_000 => {
            push_three(out, n, 1_000_000_000);
            out.push_str(" s");
        }
        _ => {
            let seconds = n / 1_000_000_000;
            let ((large, unit), (small, rest)) = match seconds / 3600 {
                0 => ((seconds / 60, " min "), (seconds % 60, " s")),
                hours => ((hours, " h "), (seconds / 60 % 60, " min")),
            };
            digits(out, large);
            out.push_str(unit);
            padded(out, small, 2);
            out.push_str(rest);
        }
    }
}

/// Adds `n / unit` cut to three significant digits; `n / unit` is below 1000.
fn push_three(out: &mut String, n: u64, unit: u64) {
    let whole = n / unit;
    digits(out, whole);
    match whole {
        0..10 => {
            out.push('.');
            padded(out, n % unit * 100 / unit, 2);
        }
        10..100 => {
            out.push('.');
            digits(out, n % unit * 10 / unit);
        }
        _ => {}
    }
}

fn made(push: impl FnOnce(&mut String)) -> String {
    let mut out = String::new();
    push(&mut out);
    out
}

/// Days since the epoch and nanoseconds into that day, in the style's zone.
pub(super) fn local(at: Timestamp, style: &Style) -> (i64, i64) {
    let nanos = i128::from(at.as_nanos()) + i128::from(style.utc_offset) * 1_000_000_000;
    (nanos.div_euclid(NANOS_PER_DAY) as i64, nanos.rem_euclid(NANOS_PER_DAY) as i64)
}

/// Year, month and day of the proleptic Gregorian calendar.
///
/// Counts years from March, so that the leap day is the last of its year, in eras of 400 years, which all have as many days.
pub(super) fn civil(days: i64) -> (i64, i64, i64) {
    let days = days + DAYS_TO_EPOCH;
    let (era, day_of_era) = (days.div_euclid(DAYS_PER_ERA), days.rem_euclid(DAYS_PER_ERA));
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

const NANOS_PER_DAY: i128 = 86_400_000_000_000;
/// From 1 March of year 0 to 1 January 1970.
const DAYS_TO_EPOCH: i64 = 719_468;
const DAYS_PER_ERA: i64 = 146_097;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        let style = Style::plain(80);
        let on = |seconds| date(Timestamp::from_parts(seconds, 123_456_789), &style);
        assert_eq!(on(0), "1970-01-01 00:00:00.123456 UTC");
        assert_eq!(on(1_795_240_402), "2026-11-21 05:53:22.123456 UTC");
        assert_eq!(on(951_782_400), "2000-02-29 00:00:00.123456 UTC");
        assert_eq!(on(-86_400), "1969-12-31 00:00:00.123456 UTC");
        let east = Style { utc_offset: 19_800, ..style };
        assert_eq!(date(Timestamp::from_parts(1_795_240_402, 0), &east), "2026-11-21 11:23:22.000000 UTC+5:30");
        assert_eq!(zone(&Style { utc_offset: -10_800, ..style }), "UTC-3");
    }

    #[test]
    fn the_ends_of_time_do_not_overflow() {
        for nanos in [i64::MIN, i64::MAX] {
            for utc_offset in [i32::MIN, i32::MAX] {
                let style = Style { utc_offset, ..Style::plain(80) };
                assert!(date(Timestamp::from_nanos(nanos), &style).contains("UTC"));
            }
        }
        assert_eq!(made(|out| push_elapsed(out, Span(i64::MIN))), "-9223372036.854775");
        assert!(duration(Span(i64::MIN), "u").starts_with("-2562047 h"));
    }

    #[test]
    fn durations_have_three_digits() {
        let as_text = |nanos| duration(Span(nanos), "µ");
        assert_eq!(as_text(0), "0 ns");
        assert_eq!(as_text(999), "999 ns");
        assert_eq!(as_text(30_123), "30.1 µs");
        assert_eq!(as_text(1_234_567), "1.23 ms");
        assert_eq!(as_text(432_999_999), "432 ms");
        assert_eq!(as_text(59_987_000_000), "59.9 s");
        assert_eq!(as_text(240_000_000_000), "4 min 00 s");
        assert_eq!(as_text(-1_500), "-1.50 µs");
    }

    #[test]
    fn elapsed_time_has_microseconds() {
        let elapsed = |nanos| made(|out| push_elapsed(out, Span(nanos)));
        assert_eq!(elapsed(612_999), "0.000612");
        assert_eq!(elapsed(60_312_345_678), "60.312345");
        assert_eq!(elapsed(-1), "0.000000");
    }
}
