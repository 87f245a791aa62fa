//! Durations in words.

use std::fmt;

use crate::time::Span;

/// A duration as people say it.
pub(super) struct Amount(pub(super) Span);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        match nanos.unsigned_abs() {
            0..1_000 => write!(f, "{nanos} ns"),
            1_000..1_000_000 => write!(f, "{:.1} µs", nanos as f64 / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", nanos as f64 / 1e6),
            _ => write!(f, "{:.1} s", nanos as f64 / 1e9),
        }
    }
}
