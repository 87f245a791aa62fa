//! What the link did to segments that were not seen yet, and the kernel with connections that were not.

use std::collections::VecDeque;

use super::EventId;
use crate::kernel::KernelEvent;
use crate::script::LinkEvent;
use crate::time::{Span, Timestamp};

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

/// How many acts wait for their segments at most, and how many words of the kernel for their connections.
const MOST_UNSEEN: usize = 1024;

/// What the kernel said of connections whose first segments were not seen yet, the oldest first.
#[derive(Clone, Debug, Default)]
pub(super) struct Early(VecDeque<KernelEvent>);

impl Early {
    pub(super) fn push(&mut self, event: KernelEvent) {
        if self.0.len() == MOST_UNSEEN {
            self.0.pop_front();
        }
        self.0.push_back(event);
    }

    /// Takes out those that are about this connection, which begins at that time.
    pub(super) fn take(&mut self, is_its: impl Fn(&KernelEvent) -> bool, at: Option<Timestamp>) -> Vec<KernelEvent> {
        while self.0.front().is_some_and(|event| at.is_some_and(|at| at.since(event.at) > LONGEST_EARLY)) {
            self.0.pop_front();
        }
        let (its, others) = std::mem::take(&mut self.0).into_iter().partition(|event| is_its(event));
        self.0 = others;
        Vec::from(its)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// How long before its first segment is captured the kernel may speak of a connection.
pub(super) const LONGEST_EARLY: Span = Span::from_millis(100);
