//! How each kind of value is written, without a serializer in between.

use std::borrow::Cow;
use std::io::Write;
use std::net::IpAddr;

use super::lines::{Lines, steers};
use crate::flow::{Closer, ConnState, Ending, Letters, ProblemKind, RolesBasis, Side, Unacknowledged};
use crate::report::field::{Code, Findings, Frame};
use crate::report::text::Dotted;
use crate::tcp::{Basis, State};
use crate::time::{Span, Timestamp};
use crate::wire::IcmpKind;

/// What can be written as the value of a field, without a serializer in between.
pub(super) trait Put {
    fn put(self, out: &mut Lines);
}

impl Lines {
    pub(super) fn put(&mut self, datum: impl Put) -> &mut Self {
        datum.put(self);
        self
    }
}

impl<T: Put> Put for Option<T> {
    fn put(self, out: &mut Lines) {
        match self {
            Some(known) => known.put(out),
            None => _ = out.text("null"),
        }
    }
}

impl Put for bool {
    fn put(self, out: &mut Lines) {
        out.text(if self { "true" } else { "false" });
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Put for $type {
            fn put(self, out: &mut Lines) {
                out.number(self.into());
            }
        }
    )*};
}

numbers! { u8 u16 u32 u64 }

impl Put for Frame {
    fn put(self, out: &mut Lines) {
        out.number(self.0);
    }
}

impl Put for Span {
    fn put(self, out: &mut Lines) {
        let nanos = self.as_nanos();
        if nanos < 0 {
            out.text("-");
        }
        out.number(nanos.unsigned_abs());
    }
}

macro_rules! words {
    ($($type:ty)*) => {$(
        impl Put for $type {
            fn put(self, out: &mut Lines) {
                out.name(self.name());
            }
        }
    )*};
}

words! { State ConnState Closer Ending IcmpKind Basis RolesBasis ProblemKind Side Unacknowledged }

impl Put for Code {
    fn put(self, out: &mut Lines) {
        out.name(self.0);
    }
}

impl Put for Letters {
    fn put(self, out: &mut Lines) {
        out.text("\"");
        out.0.extend_from_slice(self.write(&mut [0; Self::LONGEST]));
        out.text("\"");
    }
}

/// What is borrowed for ever is a text of our own, which needs no escapes.
impl Put for Cow<'static, str> {
    fn put(self, out: &mut Lines) {
        match self {
            Cow::Borrowed(ours) => _ = out.name(ours),
            Cow::Owned(text) => _ = out.put(text.as_str()),
        }
    }
}

impl Put for IpAddr {
    fn put(self, out: &mut Lines) {
        match self {
            Self::V4(address) => {
                out.text("\"");
                out.0.extend_from_slice(Dotted::of(address).as_bytes());
                out.text("\"");
            }
            Self::V6(address) => write!(out.0, "\"{address}\"").expect("a Vec takes everything"),
        }
    }
}

/// Decimal seconds since the epoch.
impl Put for Timestamp {
    fn put(self, out: &mut Lines) {
        let nanos = self.as_nanos();
        if nanos < 0 {
            write!(out.0, "\"{}\"", Span(nanos)).expect("a Vec takes everything");
            return;
        }
        // With a one in front, which is left out, the zeros of its first second are written, too.
        let shift = if nanos as u64 >= SECOND { 0 } else { SHIFT };
        let mut buffer = itoa::Buffer::new();
        let digits = &buffer.format(nanos as u64 + shift)[usize::from(shift != 0)..];
        let (seconds, rest) = digits.split_at(digits.len() - PLACES);
        out.text("\"").text(seconds).text(".").text(rest).text("\"");
    }
}

/// Any text; what nearly all of them are, letters and marks that need no escapes, is written as it is.
impl Put for &str {
    fn put(self, out: &mut Lines) {
        let needs_one = |octet: u8| octet < b' ' || octet == b'"' || octet == b'\\' || octet == 0x7f;
        // Octets, and without a way out, so that many are looked at together.
        let escapes = self.bytes().fold(0, |so_far, octet| so_far | u8::from(needs_one(octet)));
        if escapes == 0 && (self.is_ascii() || !may_steer(self.as_bytes()) || !self.contains(steers)) {
            out.text("\"").text(self).text("\"");
            return;
        }
        out.object(self).expect("a Vec takes everything");
    }
}

impl Put for Findings<'_> {
    fn put(self, out: &mut Lines) {
        out.text("[");
        for (n, finding) in self.kept.iter().enumerate() {
            out.text(if n == 0 { "{" } else { ",{" }).finding(finding);
        }
        out.text("]");
    }
}

/// Whether octets of UTF-8 may hold a character that [steers]: such are the controls of Latin-1 and some after three first octets.
fn may_steer(octets: &[u8]) -> bool {
    let control = |pair: &[u8]| pair[0] == 0xc2 && pair[1] < 0xa0;
    octets.iter().any(|octet| matches!(octet, 0xd8 | 0xe2 | 0xef)) || octets.windows(2).any(control)
}

/// The nanoseconds of a second.
const SECOND: u64 = 1_000_000_000;
/// What gives a part of a second as many digits as it has with "0" in front, after a first one.
const SHIFT: u64 = 10 * SECOND;
/// Decimals of a second.
const PLACES: usize = 9;
