//! Which descriptors of sockets each process had, and what it did with descriptors that are none.

use std::collections::{BTreeMap, BTreeSet};

use super::EventId;
use super::diagnosis::Mistake;
use super::past::{MOST, bound};
use crate::calls::{Call, Effect, Errno, ProcessId};

/// Which descriptors each process had of sockets, and what it did with descriptors that are none.
#[derive(Clone, Debug, Default)]
pub(super) struct Descriptors {
    /// The call that made a socket, and whether the descriptor was used since.
    made: BTreeMap<(Option<ProcessId>, i32), (EventId, bool)>,
    closed: BTreeMap<(Option<ProcessId>, i32), EventId>,
    told: BTreeSet<(Option<ProcessId>, i32, Errno)>,
}

impl Descriptors {
    /// Takes in a call that has returned; what is wrong with its descriptor, with the calls that prove it.
    pub(super) fn see(
        &mut self,
        process: Option<ProcessId>,
        event: EventId,
        call: &Call,
    ) -> Option<(Mistake, Vec<EventId>)> {
        let fd = call.fd()?;
        let (effect, errno) = (call.effect(), call.errno());
        let mut found = None;
        match (effect, errno) {
            (Effect::Open, None) => _ = self.made.insert((process, fd), (event, false)),
            (_, Some(errno @ Errno(ENOTSOCK))) => {
                if self.told.insert((process, fd, errno)) {
                    let unused = self.made.iter().filter(|((of, _), (_, used))| *of == process && !used);
                    let unused = unused.map(|((_, fd), (event, _))| (*event, *fd)).max();
                    let evidence = unused.map(|(event, _)| event).into_iter().chain([event]).collect();
                    found = Some((Mistake::NotASocket { fd, unused: unused.map(|(_, fd)| fd) }, evidence));
                }
            }
            (_, Some(errno @ Errno(EBADF))) => {
                if let Some(before) = self.closed.get(&(process, fd))
                    && self.told.insert((process, fd, errno))
                {
                    found = Some((Mistake::ClosedDescriptor { fd }, vec![*before, event]));
                }
            }
            _ => {
                if let Some((_, used)) = self.made.get_mut(&(process, fd)) {
                    *used |= effect != Effect::Exit;
                }
            }
        }
        if matches!(effect, Effect::Close | Effect::CloseCopy) && errno.is_none() {
            self.closed.insert((process, fd), event);
        }
        bound(&mut self.made);
        bound(&mut self.closed);
        while self.told.len() > MOST {
            self.told.pop_first();
        }
        found
    }
}

/// ENOTSOCK and EBADF, whose numbers are the same on all machines that are supported (asm-generic/errno.h).
const ENOTSOCK: i32 = 88;
const EBADF: i32 = 9;
