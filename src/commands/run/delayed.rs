//! Packets and kernel events that wait until the calls before them are known: where calls are recorded, they are heard of later.

use std::collections::VecDeque;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use std::{mem, thread};

use super::chains::Chains;
use super::ours::{Ours, is_wanted};
use super::watching::Keeps;
use crate::capture::{Frame, OwnedFrame};
use crate::kernel::KernelEvent;
use crate::lab::Heard;
use crate::time::{Span, Timestamp};
use crate::wire::Decoder;

/// What waits, and what has turned out to be the programs'.
pub(super) struct Delayed {
    ours: Arc<Mutex<Ours>>,
    decoder: Decoder,
    hearers: Vec<SyncSender<Heard>>,
    /// Whether there is anybody to be told.
    is_heard: bool,
    frames: VecDeque<OwnedFrame>,
    events: VecDeque<KernelEvent>,
    kept: Kept,
    /// How many frames have turned out to be the programs'.
    number: u64,
    most: u64,
    keeps: Keeps,
    /// Until when all was told that happened.
    heard_until: Option<Timestamp>,
    /// No more calls will be known: nothing is waited for any longer.
    is_over: bool,
}

/// What has turned out to be the programs'.
#[derive(Default)]
pub(super) struct Kept {
    pub(super) frames: Vec<OwnedFrame>,
    pub(super) events: Vec<KernelEvent>,
    pub(super) chains: Chains,
    /// How many events were told, and are not kept.
    pub(super) events_told: u64,
    /// How many events there was no room for.
    pub(super) events_left_out: u64,
}

impl Delayed {
    /// Nothing yet; at most so many frames are kept, and as many events, or none.
    pub(super) fn new(
        ours: Arc<Mutex<Ours>>,
        hearers: Vec<SyncSender<Heard>>,
        most: u64,
        keeps: Keeps,
        chains: Chains,
    ) -> Self {
        let (frames, events) = (VecDeque::new(), VecDeque::new());
        let (decoder, kept) = (Decoder::new(), Kept { chains, ..Kept::default() });
        Self {
            ours,
            decoder,
            is_heard: !hearers.is_empty(),
            hearers,
            frames,
            events,
            kept,
            number: 0,
            most,
            keeps,
            heard_until: None,
            is_over: false,
        }
    }

    /// Has a frame wait; whether there was room for it.
    ///
    /// Where there is none the kernel's buffer holds it, and those after it: by calls that are not known yet it cannot be judged.
    fn frame(&mut self, frame: &Frame<'_>) -> bool {
        let has_room = self.frames.len() < MOST_WAITING || self.is_over;
        if has_room {
            self.frames.push_back(OwnedFrame::of(frame));
        }
        has_room
    }

    /// Has an event wait, likewise.
    fn event(&mut self, event: &KernelEvent) -> bool {
        let has_room = self.events.len() < MOST_EVENTS || self.is_over;
        if has_room {
            self.events.push_back(event.clone());
        }
        has_room
    }

    /// Takes in that no more calls will be known, and nobody takes anything out before the end.
    pub(super) fn end(&mut self) {
        self.is_over = true;
    }

    /// Takes out up to so many of those that have waited long enough, where all calls are known until that moment: how many, and what of
    /// them is the programs'.
    fn due(&mut self, until: Timestamp, most: usize) -> (usize, Vec<Heard>) {
        let is_due = |at: Timestamp| until.since(at) >= WAIT;
        let (mut told, mut taken) = (Vec::new(), 0);
        while taken < most && self.frames.front().is_some_and(|frame| frame.at.is_none_or(is_due)) {
            let Some(frame) = self.frames.pop_front() else { break };
            told.extend(self.judge_frame(frame));
            taken += 1;
        }
        while taken < most && self.events.front().is_some_and(|event| is_due(event.at)) {
            let Some(event) = self.events.pop_front() else { break };
            told.extend(self.judge_event(event));
            taken += 1;
        }
        (taken, told)
    }

    /// Until when all is told, where that is worth telling.
    fn told_until(&mut self, until: Timestamp) -> Option<Heard> {
        let until = until.after(Span(-WAIT.0));
        let is_news = self.heard_until.is_none_or(|heard| until.since(heard) >= WAIT);
        is_news.then(|| Heard::Until(*self.heard_until.insert(until)))
    }

    /// Takes out all, and ends.
    pub(super) fn finish(&mut self) -> Kept {
        let frames: Vec<OwnedFrame> = mem::take(&mut self.frames).into();
        let events: Vec<KernelEvent> = mem::take(&mut self.events).into();
        let hearers = mem::take(&mut self.hearers);
        frames.into_iter().filter_map(|frame| self.judge_frame(frame)).for_each(|heard| tell(&hearers, heard));
        events.into_iter().filter_map(|event| self.judge_event(event)).for_each(|heard| tell(&hearers, heard));
        mem::take(&mut self.kept)
    }

    fn judge_frame(&mut self, frame: OwnedFrame) -> Option<Heard> {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = is_wanted(&frame.as_frame(), &mut self.decoder, &ours);
        drop(ours);
        if !is_ours || self.kept.frames.len() as u64 >= self.most {
            return None;
        }
        self.number += 1;
        let frame = OwnedFrame { number: self.number, ..frame };
        let heard = self.is_heard.then(|| Heard::Frame(frame.clone()));
        if self.keeps == Keeps::Calls {
            self.kept.frames.push(frame);
        }
        heard
    }

    fn judge_event(&mut self, event: KernelEvent) -> Option<Heard> {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if event.peer.port() == 0 || !ours.may_have_socket(event.local, event.peer) {
            return None;
        }
        drop(ours);
        self.kept.chains.hear(&event);
        if self.kept.events.len() as u64 >= self.most {
            self.kept.events_left_out += 1;
            return None;
        }
        let heard = self.is_heard.then(|| Heard::Kernel(event.clone()));
        match self.keeps {
            Keeps::Calls => self.kept.events.push(event),
            Keeps::Nothing => self.kept.events_told += 1,
        }
        heard
    }
}

/// Has a frame wait as soon as there is room for it.
pub(super) fn frame(delayed: &Mutex<Delayed>, frame: &Frame<'_>) {
    while !delayed.lock().unwrap_or_else(PoisonError::into_inner).frame(frame) {
        thread::sleep(RETRY);
    }
}

/// Has an event wait, likewise.
pub(super) fn event(delayed: &Mutex<Delayed>, event: &KernelEvent) {
    while !delayed.lock().unwrap_or_else(PoisonError::into_inner).event(event) {
        thread::sleep(RETRY);
    }
}

/// Tells what has waited long enough, where all calls are known until that moment.
///
/// Whoever hears of it may be slow; others can wait meanwhile, and have their turn when the calls that came meanwhile have had theirs.
pub(super) fn pass(delayed: &Mutex<Delayed>, until: Timestamp) {
    let locked = || delayed.lock().unwrap_or_else(PoisonError::into_inner);
    let (hearers, mut left) = {
        let delayed = locked();
        (delayed.hearers.clone(), delayed.frames.len() + delayed.events.len())
    };
    while left > 0 {
        let (taken, told) = locked().due(until, left.min(MOST_AT_ONCE));
        told.into_iter().for_each(|heard| tell(&hearers, heard));
        left = if taken == 0 { 0 } else { left - taken };
    }
    let last = locked().told_until(until);
    last.into_iter().for_each(|heard| tell(&hearers, heard));
}

fn tell(hearers: &[SyncSender<Heard>], heard: Heard) {
    if let Some((last, others)) = hearers.split_last() {
        others.iter().for_each(|hearer| _ = hearer.send(heard.clone()));
        _ = last.send(heard);
    }
}

/// How much later a call may have been made that they turn out to belong to, and how late they themselves may come.
const WAIT: Span = Span::from_millis(20);
/// How many wait at most, and how soon it is seen whether there is room for more.
const MOST_WAITING: usize = 1 << 15;
const MOST_EVENTS: usize = 1 << 17;
const RETRY: Duration = Duration::from_millis(1);
/// How many are taken out before they are told.
const MOST_AT_ONCE: usize = 256;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, SeenAt};
    use crate::kernel::KernelAct;
    use crate::tcp::State;
    use crate::time::Clock;

    fn event(at: Timestamp) -> KernelEvent {
        let [local, peer] = ["127.0.0.1:40000", "127.0.0.1:80"].map(|end| end.parse().expect("an end"));
        let what = KernelAct::State { from: State::Closed, to: State::SynSent };
        KernelEvent { at, clock: Clock::WALL, local, peer, socket: None, what }
    }

    #[test]
    fn more_than_may_wait_is_left_to_the_kernel_until_there_is_room() {
        let (ours, nobody) = (Arc::default(), Vec::new());
        let delayed = Mutex::new(Delayed::new(ours, nobody, u64::MAX, Keeps::Calls, Chains::default()));
        let locked = || delayed.lock().unwrap_or_else(PoisonError::into_inner);
        let at = Timestamp::from_nanos(0);
        let frame =
            Frame { number: 1, at: Some(at), link: LinkType::RAW, bytes: &[], wire_len: 0, seen: SeenAt::default() };
        let event = || locked().event(&event(at));
        assert!((0..MOST_WAITING).all(|_| locked().frame(&frame)) && !locked().frame(&frame));
        assert!((0..MOST_EVENTS).all(|_| event()) && !event());
        let waiting = || {
            let delayed = locked();
            (delayed.frames.len(), delayed.events.len())
        };
        assert_eq!(waiting(), (MOST_WAITING, MOST_EVENTS));
        pass(&delayed, at.after(WAIT));
        assert_eq!(waiting(), (0, 0));
        assert!(locked().frame(&frame) && event());
        // At the end all that the kernel's buffers held has room.
        locked().end();
        assert!((0..2 * MOST_EVENTS).all(|_| event()) && (0..2 * MOST_WAITING).all(|_| locked().frame(&frame)));
    }
}
