//! What the link did to segments that were not seen yet, and the kernel and calls with connections that were not.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;

use super::EventId;
use crate::calls::Lifetime;
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

/// How many acts wait for their segments at most, and how many words of the kernel, and how many calls, for their connections.
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

/// An end as the wire has it.
type End = (IpAddr, u16);

/// Calls that opened connections of which no segment was seen yet, though frames may come later than calls.
#[derive(Clone, Debug, Default)]
pub(super) struct Openers {
    by_ends: BTreeMap<Opener, Lifetime>,
    /// The same, the first one first.
    in_order: VecDeque<Opener>,
    /// No segment will be seen of any.
    pub(super) is_needless: bool,
}

/// A call that returned, and between which ends: a connect may not know its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct Opener {
    client: Option<End>,
    server: End,
    is_accept: bool,
    returned: Timestamp,
    event: EventId,
}

impl Openers {
    /// Takes in a `connect` from an end that may not be known.
    pub(super) fn connect(&mut self, client: Option<End>, server: End, returned: Timestamp, call: (EventId, Lifetime)) {
        self.push(Opener { client, server, is_accept: false, returned, event: call.0 }, call.1);
    }

    /// Takes in an `accept`.
    pub(super) fn accept(&mut self, client: End, server: End, returned: Timestamp, call: (EventId, Lifetime)) {
        self.push(Opener { client: Some(client), server, is_accept: true, returned, event: call.0 }, call.1);
    }

    fn push(&mut self, opener: Opener, life: Lifetime) {
        if self.is_needless {
            return;
        }
        if self.in_order.len() == MOST_UNSEEN
            && let Some(first) = self.in_order.pop_front()
        {
            self.by_ends.remove(&first);
        }
        self.in_order.push_back(opener);
        self.by_ends.insert(opener, life);
    }

    /// The calls that may have opened a connection which began at that time: those that returned first after it, of each kind.
    pub(super) fn of(&self, client: End, server: End, began: Timestamp) -> Vec<(EventId, Lifetime)> {
        let kinds = [(Some(client), false), (None, false), (Some(client), true)];
        let list = |(client, is_accept)| {
            let from = Opener { client, server, is_accept, returned: began, event: EventId(0) };
            let is_alike =
                move |opener: &Opener| (opener.client, opener.server, opener.is_accept) == (client, server, is_accept);
            self.by_ends.range(from..).take_while(move |(opener, _)| is_alike(opener)).take(MOST_LOOKED_AT)
        };
        kinds.into_iter().flat_map(list).map(|(opener, life)| (opener.event, *life)).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_ends.is_empty()
    }
}

/// How many calls are looked at that may have opened one connection.
const MOST_LOOKED_AT: usize = 16;
/// How long before its first segment is captured the kernel may speak of a connection.
pub(super) const LONGEST_EARLY: Span = Span::from_millis(100);
