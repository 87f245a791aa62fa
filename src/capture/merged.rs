//! Several captures as one, in the order of their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::ControlFlow;

use super::{CaptureError, Frame, FrameSource, LinkType};
use crate::time::Timestamp;

/// Several sources of frames merged by time, their frames numbered anew from 1.
///
/// Each source keeps its own order, even where its times run backwards.
/// A frame without a time comes right after the one before it in its source.
/// Where one source breaks, the others are still read to their ends; the error is told after that.
pub struct Merged<S> {
    sources: Vec<S>,
    heads: Vec<Head>,
    /// The next frame of each source that has one: its time, and the source's place.
    queue: BinaryHeap<Reverse<(Option<Timestamp>, usize)>>,
    /// The source whose frame was handed out last, and whose next one is not known yet.
    pending: Option<usize>,
    number: u64,
    started: bool,
    broken: Vec<String>,
}

/// A source's next frame, kept while the other sources' frames come first.
struct Head {
    at: Option<Timestamp>,
    order: Option<Timestamp>,
    link: LinkType,
    bytes: Vec<u8>,
    wire_len: u32,
}

impl<S: FrameSource> Merged<S> {
    /// Merges these sources; among frames of the same time, those of the source that stands first come first.
    pub fn new(sources: Vec<S>) -> Self {
        let heads = sources
            .iter()
            .map(|_| Head { at: None, order: None, link: LinkType::ETHERNET, bytes: Vec::new(), wire_len: 0 })
            .collect();
        Self { sources, heads, queue: BinaryHeap::new(), pending: None, number: 0, started: false, broken: Vec::new() }
    }

    /// The sources, in the order in which they were given.
    pub fn sources(&self) -> &[S] {
        &self.sources
    }

    /// The sources, to have them do other than yield frames.
    pub fn sources_mut(&mut self) -> &mut [S] {
        &mut self.sources
    }

    fn advance(&mut self, index: usize) {
        match self.sources[index].next_frame() {
            Ok(Some(frame)) => {
                let head = &mut self.heads[index];
                head.at = frame.at;
                head.order = frame.at.or(head.order);
                head.link = frame.link;
                head.wire_len = frame.wire_len;
                head.bytes.clear();
                head.bytes.extend_from_slice(frame.bytes);
                self.queue.push(Reverse((head.order, index)));
            }
            Ok(None) => {}
            Err(error) => self.broken.push(error.message),
        }
    }
}

impl<S: FrameSource> FrameSource for Merged<S> {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        // A single source needs no copies.
        if self.sources.len() == 1 {
            let number = &mut self.number;
            return Ok(self.sources[0].next_frame()?.map(|frame| {
                *number += 1;
                Frame { number: *number, ..frame }
            }));
        }
        if !self.started {
            self.started = true;
            for index in 0..self.sources.len() {
                self.advance(index);
            }
        }
        if let Some(index) = self.pending.take() {
            self.advance(index);
        }
        let Some(Reverse((_, index))) = self.queue.pop() else {
            return match std::mem::take(&mut self.broken) {
                broken if broken.is_empty() => Ok(None),
                broken => Err(CaptureError::new(broken.join("; "))),
            };
        };
        self.pending = Some(index);
        self.number += 1;
        let head = &self.heads[index];
        Ok(Some(Frame {
            number: self.number,
            at: head.at,
            link: head.link,
            bytes: &head.bytes,
            wire_len: head.wire_len,
        }))
    }

    #[inline]
    fn next_frames(
        &mut self,
        most: usize,
        mut on: impl FnMut(Frame<'_>) -> Result<ControlFlow<()>, CaptureError>,
    ) -> Result<usize, CaptureError> {
        if let [source] = &mut self.sources[..] {
            let number = &mut self.number;
            return source.next_frames(most, |frame| {
                *number += 1;
                on(Frame { number: *number, ..frame })
            });
        }
        for taken in 0..most {
            match self.next_frame()? {
                Some(frame) if on(frame)?.is_break() => return Ok(taken + 1),
                Some(_) => {}
                None => return Ok(taken),
            }
        }
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames by their time in nanoseconds, and then perhaps an error.
    struct Script {
        times: std::collections::VecDeque<Option<i64>>,
        name: [u8; 1],
        breaks: bool,
    }

    impl Script {
        fn new(name: u8, times: &[Option<i64>]) -> Self {
            Self { times: times.iter().copied().collect(), name: [name], breaks: false }
        }
    }

    impl FrameSource for Script {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            match self.times.pop_front() {
                Some(at) => Ok(Some(Frame {
                    number: 99,
                    at: at.map(Timestamp::from_nanos),
                    link: LinkType::RAW,
                    bytes: &self.name,
                    wire_len: 1,
                })),
                None if std::mem::take(&mut self.breaks) => Err(CaptureError::new("broken")),
                None => Ok(None),
            }
        }
    }

    fn told(sources: Vec<Script>) -> (String, Option<String>) {
        let mut merged = Merged::new(sources);
        let mut told = String::new();
        let mut number = 0;
        loop {
            let most = 1 + number as usize % 3;
            let mut take = |frame: Frame<'_>| {
                number += 1;
                assert_eq!(frame.number, number);
                told.push(char::from(frame.bytes[0]));
            };
            // One by one and several at a time, in turn.
            let taken = match most {
                1 => merged.next_frame().map(|frame| usize::from(frame.map(&mut take).is_some())),
                _ => merged.next_frames(most, |frame| {
                    take(frame);
                    Ok(ControlFlow::Continue(()))
                }),
            };
            match taken {
                Ok(taken) if taken == most => {}
                Ok(_) => return (told, None),
                Err(error) => {
                    assert!(merged.next_frame().unwrap().is_none());
                    return (told, Some(error.message));
                }
            }
        }
    }

    #[test]
    fn frames_come_by_time_and_each_source_keeps_its_order() {
        let a = Script::new(b'a', &[Some(1), Some(5), Some(3), Some(9)]);
        let b = Script::new(b'b', &[Some(2), None, Some(5), Some(6)]);
        assert_eq!(told(vec![a, b]), ("abbaabba".into(), None));
    }

    #[test]
    fn a_broken_source_is_told_after_the_others_ended() {
        let mut a = Script::new(b'a', &[Some(1)]);
        a.breaks = true;
        let b = Script::new(b'b', &[Some(2), Some(3)]);
        assert_eq!(told(vec![a, b]), ("abb".into(), Some("broken".into())));
    }
}
