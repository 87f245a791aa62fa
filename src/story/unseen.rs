//! What the link did to segments that were not seen yet.

use std::collections::VecDeque;

use super::EventId;
use crate::script::LinkEvent;

/// Acts of the link whose segments were not seen yet, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Unseen(pub(super) VecDeque<(EventId, LinkEvent)>);

impl Unseen {
    pub(super) fn push(&mut self, event: EventId, act: LinkEvent) {
        if self.0.len() == MOST_UNSEEN {
            self.0.pop_front();
        }
        self.0.push_back((event, act));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets the acts whose events are forgotten.
    pub(super) fn forget(&mut self, is_there: impl Fn(EventId) -> bool) {
        self.0.retain(|(event, _)| is_there(*event));
    }
}

/// How many acts wait for their segments at most.
const MOST_UNSEEN: usize = 1024;
