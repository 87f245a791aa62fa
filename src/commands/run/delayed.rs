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
        Self { ours, decoder, hearers, frames, events, kept, number: 0, most, keeps, heard_until: None, is_over: false }
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

    /// Takes out those that have waited long enough, where all calls are known until that moment.
    pub(super) fn pass(&mut self, until: Timestamp) {
        let is_due = |at: Timestamp| until.since(at) >= WAIT;
        while self.frames.front().is_some_and(|frame| frame.at.is_none_or(is_due)) {
            let Some(frame) = self.frames.pop_front() else { break };
            self.judge_frame(frame);
        }
        while self.events.front().is_some_and(|event| is_due(event.at)) {
            let Some(event) = self.events.pop_front() else { break };
            self.judge_event(event);
        }
        let until = until.after(Span(-WAIT.0));
        if self.heard_until.is_none_or(|heard| until.since(heard) >= WAIT) {
            self.heard_until = Some(until);
            for hearer in &self.hearers {
                _ = hearer.send(Heard::Until(until));
            }
        }
    }

    /// Takes out all, and ends.
    pub(super) fn finish(&mut self) -> Kept {
        mem::take(&mut self.frames).into_iter().for_each(|frame| self.judge_frame(frame));
        mem::take(&mut self.events).into_iter().for_each(|event| self.judge_event(event));
        self.hearers.clear();
        mem::take(&mut self.kept)
    }

    fn judge_frame(&mut self, frame: OwnedFrame) {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        let is_ours = is_wanted(&frame.as_frame(), &mut self.decoder, &ours);
        drop(ours);
        if !is_ours || self.kept.frames.len() as u64 >= self.most {
            return;
        }
        self.number += 1;
        let frame = OwnedFrame { number: self.number, ..frame };
        for hearer in &self.hearers {
            _ = hearer.send(Heard::Frame(frame.clone()));
        }
        if self.keeps == Keeps::Calls {
            self.kept.frames.push(frame);
        }
    }

    fn judge_event(&mut self, event: KernelEvent) {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        if event.peer.port() == 0 || !ours.may_have_socket(event.local, event.peer) {
            return;
        }
        drop(ours);
        self.kept.chains.hear(&event);
        if self.kept.events.len() as u64 >= self.most {
            self.kept.events_left_out += 1;
            return;
        }
        for hearer in &self.hearers {
            _ = hearer.send(Heard::Kernel(event.clone()));
        }
        match self.keeps {
            Keeps::Calls => self.kept.events.push(event),
            Keeps::Nothing => self.kept.events_told += 1,
        }
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

/// How much later a call may have been made that they turn out to belong to, and how late they themselves may come.
const WAIT: Span = Span::from_millis(20);
/// How many wait at most, and how soon it is seen whether there is room for more.
const MOST_WAITING: usize = 1 << 15;
const MOST_EVENTS: usize = 1 << 17;
const RETRY: Duration = Duration::from_millis(1);

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
        let mut delayed = Delayed::new(ours, nobody, u64::MAX, Keeps::Calls, Chains::default());
        let at = Timestamp::from_nanos(0);
        let frame =
            Frame { number: 1, at: Some(at), link: LinkType::RAW, bytes: &[], wire_len: 0, seen: SeenAt::default() };
        let event = |delayed: &mut Delayed| delayed.event(&event(at));
        assert!((0..MOST_WAITING).all(|_| delayed.frame(&frame)) && !delayed.frame(&frame));
        assert!((0..MOST_EVENTS).all(|_| event(&mut delayed)) && !event(&mut delayed));
        assert_eq!((delayed.frames.len(), delayed.events.len()), (MOST_WAITING, MOST_EVENTS));
        delayed.pass(at.after(WAIT));
        assert_eq!((delayed.frames.len(), delayed.events.len()), (0, 0));
        assert!(delayed.frame(&frame) && event(&mut delayed));
        // At the end all that the kernel's buffers held has room.
        delayed.end();
        for _ in 0..2 * MOST_EVENTS {
            assert!(delayed.frame(&frame) && event(&mut delayed));
        }
    }
}
