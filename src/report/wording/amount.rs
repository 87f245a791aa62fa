//! Durations in words.

use std::fmt::{self, Write};

use crate::time::Span;

/// A duration as people say it.
pub(super) struct Amount(pub(super) Span);

impl Amount {
    /// The unit, and how many nanoseconds it has.
    fn unit(nanos: u64) -> (&'static str, u64) {
        match nanos {
            0..1_000 => ("ns", 1),
            1_000..1_000_000 => ("µs", 1_000),
            1_000_000..1_000_000_000 => ("ms", 1_000_000),
            _ => ("s", 1_000_000_000),
        }
    }

    /// Two or three digits of it, cut as the durations with more digits beside it are; of minutes and more all seconds.
    pub(super) fn rough(&self) -> String {
        let nanos = self.0.0.max(0).unsigned_abs();
        let (name, unit) = Self::unit(nanos);
        let (whole, tenths) = (nanos / unit, nanos / (unit / 10).max(1));
        match whole {
            _ if unit == 1 => format!("{nanos} ns"),
            120.. if name == "s" => format!("{} min {} s", whole / 60, whole % 60),
            10.. => format!("{whole} {name}"),
            _ => format!("{}.{} {name}", tenths / 10, tenths % 10),
        }
    }

    /// Appends it to a text; many sentences have several.
    pub(super) fn push(&self, text: &mut String) {
        let nanos = self.0.0.unsigned_abs();
        if self.0.0 < 0 {
            text.push('-');
        }
        let (name, unit) = Self::unit(nanos);
        if unit == 1 {
            digits(text, nanos);
        } else if nanos % (unit / 10) == unit / 20 || nanos > EXACT {
            // Which of two that are equally near it is, the binary fraction decides.
            _ = write!(text, "{:.1}", nanos as f64 / unit as f64);
        } else {
            let tenths = (nanos + unit / 20) / (unit / 10);
            digits(text, tenths / 10);
            text.push('.');
            digits(text, tenths % 10);
        }
        text.push(' ');
        text.push_str(name);
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::with_capacity(MOST);
        self.push(&mut text);
        f.write_str(&text)
    }
}

/// Adds a number, without the formatting machinery.
pub(super) fn digits(text: &mut String, n: u64) {
    let mut octets = [0; 20];
    let (mut at, mut rest) = (octets.len(), n);
    loop {
        at -= 1;
        octets[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.push_str(str::from_utf8(&octets[at..]).unwrap_or_default());
}

/// Room for nearly every one.
const MOST: usize = 16;
/// As many nanoseconds a floating-point number tells apart.
const EXACT: u64 = 1 << 53;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_number_has_its_digits(n in any::<u64>(), shift in 0..64u32) {
            let mut text = String::new();
            digits(&mut text, n >> shift);
            prop_assert_eq!(text, (n >> shift).to_string());
        }

        #[test]
        fn a_digit_is_rounded_as_the_floating_point_number_is(nanos in any::<i64>(), shift in 0..63u32, half in any::<bool>()) {
            let nanos = nanos >> shift;
            let nanos = if half { nanos / 100 * 100 + 50 } else { nanos };
            let (name, unit) = Amount::unit(nanos.unsigned_abs());
            let expected =
                if unit == 1 { format!("{nanos} ns") } else { format!("{:.1} {name}", nanos as f64 / unit as f64) };
            prop_assert_eq!(Amount(Span(nanos)).to_string(), expected);
        }
    }
}
