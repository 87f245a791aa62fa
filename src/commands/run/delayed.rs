//! Packets and kernel events that wait until the calls before them are known: where calls are recorded, they are heard of later.

use std::collections::VecDeque;
use std::mem;
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};

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
        Self { ours, decoder, hearers, frames, events, kept, number: 0, most, keeps, heard_until: None }
    }

    /// Has a frame wait.
    pub(super) fn frame(&mut self, frame: &Frame<'_>) {
        // The oldest is judged early rather than that all that a busy host sends is kept.
        if self.frames.len() >= MOST_WAITING
            && let Some(oldest) = self.frames.pop_front()
        {
            self.judge_frame(oldest);
        }
        self.frames.push_back(OwnedFrame::of(frame));
    }

    /// Has an event wait.
    pub(super) fn event(&mut self, event: KernelEvent) {
        if self.events.len() >= MOST_WAITING
            && let Some(oldest) = self.events.pop_front()
        {
            self.judge_event(oldest);
        }
        self.events.push_back(event);
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

/// How much later a call may have been made that they turn out to belong to, and how late they themselves may come.
const WAIT: Span = Span::from_millis(20);
/// How many wait at most.
const MOST_WAITING: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{LinkType, SeenAt};

    #[test]
    fn of_more_than_may_wait_the_first_are_judged_early() {
        let (ours, nobody) = (Arc::default(), Vec::new());
        let mut delayed = Delayed::new(ours, nobody, u64::MAX, Keeps::Calls, Chains::default());
        let at = Timestamp::from_nanos(0);
        let frame =
            Frame { number: 1, at: Some(at), link: LinkType::RAW, bytes: &[], wire_len: 0, seen: SeenAt::default() };
        (0..MOST_WAITING + 10).for_each(|_| delayed.frame(&frame));
        assert_eq!(delayed.frames.len(), MOST_WAITING);
        delayed.pass(at.after(WAIT));
        assert_eq!(delayed.frames.len(), 0);
    }
}
