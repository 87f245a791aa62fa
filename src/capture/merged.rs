//! Several captures as one, in the order of their times.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{CaptureError, CapturePoint, Frame, FrameSource, LinkType, PointId, SeenAt};
use crate::time::Timestamp;

/// Several sources of frames merged by time, their frames numbered anew from 1.
///
/// Each source keeps its own order, even where its times run backwards.
/// A frame without a time comes right after the one before it in its source.
/// Where one source breaks, the others are still read to their ends; the error is told after that.
pub struct Merged<S> {
    sources: Vec<S>,
    heads: Vec<Head>,
    /// The points of all sources, in the order in which they were met.
    points: Vec<CapturePoint>,
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
    /// The numbers here of the source's points.
    numbers: Vec<PointId>,
    seen: SeenAt,
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
            .map(|_| Head {
                numbers: Vec::new(),
                seen: SeenAt::default(),
                at: None,
                order: None,
                link: LinkType::ETHERNET,
                bytes: Vec::new(),
                wire_len: 0,
            })
            .collect();
        let points = Vec::new();
        Self {
            sources,
            heads,
            points,
            queue: BinaryHeap::new(),
            pending: None,
            number: 0,
            started: false,
            broken: Vec::new(),
        }
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
                head.seen = frame.seen;
                head.bytes.clear();
                head.bytes.extend_from_slice(frame.bytes);
                self.queue.push(Reverse((head.order, index)));
                self.number_points(index);
            }
            Ok(None) => {}
            Err(error) => self.broken.push(error.message),
        }
    }

    /// Gives the points that a source has described since then their numbers, and its next frame that of its own.
    fn number_points(&mut self, index: usize) {
        let head = &mut self.heads[index];
        for point in &self.sources[index].points()[head.numbers.len()..] {
            head.numbers.push(PointId(self.points.len() as u32));
            self.points.push(point.clone());
        }
        if let Some(number) = head.numbers.get(head.seen.point.0 as usize) {
            head.seen.point = *number;
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
            seen: head.seen,
        }))
    }

    fn points(&self) -> &[CapturePoint] {
        match &self.sources[..] {
            [source] => source.points(),
            _ => &self.points,
        }
    }

    #[inline]
    fn next_frames(
        &mut self,
        most: usize,
        mut on: impl FnMut(Frame<'_>) -> Result<(), CaptureError>,
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
                Some(frame) => on(frame)?,
                None => return Ok(taken),
            }
        }
        Ok(most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Frames by their time in nanoseconds, in turn from each of its points, and then perhaps an error.
    struct Script {
        times: std::collections::VecDeque<Option<i64>>,
        name: [u8; 1],
        breaks: bool,
        points: Vec<CapturePoint>,
        turn: u32,
    }

    impl Script {
        fn new(name: u8, times: &[Option<i64>]) -> Self {
            let times = times.iter().copied().collect();
            Self { times, name: [name], breaks: false, points: Vec::new(), turn: 0 }
        }
    }

    impl Script {
        /// Describes a new point with each second frame.
        fn take_turn(&mut self) -> PointId {
            if self.turn.is_multiple_of(2) {
                let interface = Some(format!("{}{}", char::from(self.name[0]), self.turn / 2));
                self.points.push(CapturePoint { file: None, interface, description: None, link: LinkType::RAW });
            }
            self.turn += 1;
            PointId((self.turn - 1) / 2)
        }
    }

    impl FrameSource for Script {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            match self.times.pop_front() {
                Some(at) => {
                    let seen = SeenAt { point: self.take_turn(), ..SeenAt::default() };
                    let at = at.map(Timestamp::from_nanos);
                    let bytes = &self.name;
                    Ok(Some(Frame { number: 99, at, link: LinkType::RAW, bytes, wire_len: 1, seen }))
                }
                None if std::mem::take(&mut self.breaks) => Err(CaptureError::new("broken")),
                None => Ok(None),
            }
        }

        fn points(&self) -> &[CapturePoint] {
            &self.points
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
                    Ok(())
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
    fn the_points_of_all_sources_are_told_apart() {
        let a = Script::new(b'a', &[Some(1), Some(2), Some(5)]);
        let b = Script::new(b'b', &[Some(3), Some(4), Some(6)]);
        let mut merged = Merged::new(vec![a, b]);
        let mut seen = Vec::new();
        while let Some(frame) = merged.next_frame().unwrap() {
            let point = frame.seen.point;
            seen.push(merged.points()[point.0 as usize].interface.clone().unwrap());
        }
        assert_eq!(seen, ["a0", "a0", "b0", "b0", "a1", "b1"]);
        assert_eq!(merged.points().len(), 4);
    }

    #[test]
    fn a_broken_source_is_told_after_the_others_ended() {
        let mut a = Script::new(b'a', &[Some(1)]);
        a.breaks = true;
        let b = Script::new(b'b', &[Some(2), Some(3)]);
        assert_eq!(told(vec![a, b]), ("abb".into(), Some("broken".into())));
    }
}
