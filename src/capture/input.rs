//! A bounded window onto the bytes of a capture, filled by large reads, from which frames are borrowed.

use std::io::{self, Read};
use std::ops::Range;

/// A window that grows only as far as bytes really arrive, whatever length a hostile header claims.
pub(super) struct Input {
    reader: Box<dyn Read + Send>,
    window: Vec<u8>,
    start: usize,
    end: usize,
    ended: bool,
    filled: bool,
    failure: Option<io::Error>,
    /// How many octets the window is to have once the capture turns out to be a long one.
    goal: usize,
}

impl Input {
    pub(super) fn new(reader: Box<dyn Read + Send>) -> Self {
        Self {
            reader,
            window: vec![0; WINDOW],
            start: 0,
            end: 0,
            ended: false,
            filled: false,
            failure: None,
            goal: GOAL,
        }
    }

    /// Reads no more than `octets` at a time, or as many as one packet needs.
    pub(super) fn limit(&mut self, octets: usize) {
        self.goal = octets.clamp(WINDOW, GOAL);
    }

    /// The next bytes: at least `count` of them, or all that are left.
    #[inline]
    pub(super) fn peek(&mut self, count: usize) -> &[u8] {
        if self.end - self.start < count {
            self.fill(count);
        }
        &self.window[self.start..self.end]
    }

    /// Moves past `count` bytes that were peeked; they stay readable through [`Input::bytes`] until the next peek.
    #[inline]
    pub(super) fn consume(&mut self, count: usize) {
        debug_assert!(count <= self.end - self.start);
        self.start = (self.start + count).min(self.end);
    }

    /// Has the processor fetch the next bytes while something else is done with those before them.
    #[inline]
    pub(super) fn look_ahead(&self) {
        // Nobody waits for what is read here, unless it takes very long.
        std::hint::black_box(self.window.get(self.start).copied());
        std::hint::black_box(self.window.get(self.start + LINE).copied());
    }

    /// Where the next byte lies in the window.
    #[inline]
    pub(super) fn position(&self) -> usize {
        self.start
    }

    /// Bytes by their place in the window; valid until the next peek.
    #[inline]
    pub(super) fn bytes(&self, range: Range<usize>) -> &[u8] {
        &self.window[range]
    }

    /// Why the reader stopped, if it was not by coming to its end.
    pub(super) fn take_failure(&mut self) -> Option<io::Error> {
        self.failure.take()
    }

    /// Gives back what the reader took: nothing more is read.
    pub(super) fn close(&mut self) {
        self.reader = Box::new(io::empty());
        self.ended = true;
    }

    #[cold]
    #[inline(never)]
    fn fill(&mut self, count: usize) {
        self.window.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        if self.window.len() < self.goal && self.filled {
            self.window.resize(self.goal, 0);
        }
        self.filled = true;
        while self.end < count && !self.ended {
            if self.end == self.window.len() {
                self.window.resize(self.window.len() * 2, 0);
            }
            match self.reader.read(&mut self.window[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) => {
                    self.failure = Some(error);
                    self.ended = true;
                }
            }
        }
    }
}

/// What a processor fetches at once.
const LINE: usize = 64;
const WINDOW: usize = 128 << 10;
/// Reads of this size are as fast as longer ones; shorter ones take up to half as long again.
const GOAL: usize = 512 << 10;
