//! The sockets of calls: those that are made, come from other processes, and are asked what they are.

use std::net::SocketAddr;

use super::super::super::recorded::with_source_address;
use super::super::super::{MessageFlags, Op, Receiving, Role, SocketChange, SocketId, SocketUse};
use super::super::descriptors::FilesId;
use super::super::system::{self, Look, Memory, Tid};
use super::{Backend, Inside, Tracer, used};
use crate::time::Timestamp;

/// What an accept says by itself: whose connection it took, and at which address the socket listens.
#[derive(Clone, Copy)]
pub(super) struct Accepted {
    pub(super) from: Option<SocketAddr>,
    pub(super) local: Option<SocketAddr>,
}

impl Tracer<'_> {
    /// A call made a socket; what the call itself says of it, where it was accepted.
    pub(super) fn made(&mut self, tid: Tid, files: FilesId, fd: i32, accepted: Option<Accepted>) -> Option<SocketUse> {
        let look = self.look(tid, fd);
        let id = match (&look, self.tracees.get(&tid)) {
            (Some(look), _) => look.id,
            // What has the number now need not be what had it then.
            (None, Some(_)) if self.is_recorded() => {
                self.made += 1;
                SocketId(u64::MAX - self.made)
            }
            // It may be seen, though not be asked; else it gets a name that no inode has.
            (None, Some(tracee)) => match system::socket_at(tracee.pid, fd) {
                Ok(Some(id)) => id,
                Ok(None) => return None,
                Err(_) => {
                    self.made += 1;
                    SocketId(u64::MAX - self.made)
                }
            },
            (None, None) => return None,
        };
        self.descriptors.open(files, fd, id);
        match (&look, accepted) {
            (Some(look), _) => self.learn(look),
            (None, Some(accepted)) => {
                let known = self.descriptors.known(id);
                known.peer = accepted.from;
                // A socket that listens at all addresses does not say at which one it was reached.
                known.local = accepted.local.filter(|local| !local.ip().is_unspecified());
            }
            (None, None) => {}
        }
        let mut used = used(&self.descriptors, id, fd, Role::Made);
        // A socket that is new says nothing but that it is closed.
        used.info = look.and_then(|look| look.info).filter(|_| accepted.is_some());
        Some(used)
    }

    /// A descriptor came from another process; it may be a TCP socket.
    pub(super) fn received(&mut self, tid: Tid, files: FilesId, fd: i32, until_exec: bool, at: Timestamp) {
        let Some(look) = self.look(tid, fd) else { return };
        self.descriptors.open(files, fd, look.id);
        self.descriptors.mark(files, fd, until_exec);
        self.descriptors.received(look.id);
        self.learn(&look);
        let Some(pid) = self.tracees.get(&tid).map(|tracee| tracee.pid) else { return };
        let (to, thread) = (self.process(pid), self.thread(tid));
        self.tell_socket(at, thread, None, look.id, SocketChange::Passed { to, fd });
    }

    /// Takes in descriptors that went or came with a message.
    pub(super) fn pass_descriptors(
        &mut self,
        tid: Tid,
        files: FilesId,
        inside: &Inside,
        ok: bool,
        memory: Memory<'_>,
        at: Timestamp,
    ) {
        let (Op::Send { .. } | Op::Receive { by: Receiving::RecvMsg, .. }) = &inside.asked.op else { return };
        if !ok || !inside.asked.has_control(memory) {
            return;
        }
        for fd in inside.asked.passed(memory) {
            match inside.asked.op {
                Op::Receive { flags, .. } => {
                    let until_exec = flags.contains(MessageFlags::MSG_CMSG_CLOEXEC);
                    self.received(tid, files, fd, until_exec, at)
                }
                _ => {
                    if let Some(socket) = self.descriptors.at(files, fd) {
                        self.descriptors.sent(socket);
                    }
                }
            }
        }
    }

    /// Asks the kernel about the socket of a call that has returned.
    pub(super) fn look_after(&mut self, tid: Tid, inside: &mut Inside, fd: i32) {
        if inside.sockets.first().is_none_or(|used| used.socket.is_none()) {
            return;
        }
        let look = self.look(tid, fd);
        let asked_for = match &inside.asked.op {
            Op::Connect { address } => *address,
            _ => None,
        };
        let Some(used) = inside.sockets.first_mut() else { return };
        let is_recorded = matches!(self.backend, Backend::Recorded(_));
        if let (Some(look), Some(socket)) =
            (look.filter(|look| is_recorded || Some(look.id) == used.socket), used.socket)
        {
            let known = self.descriptors.known(socket);
            known.local = look.local.or(known.local);
            known.peer = look.peer.or(asked_for).or(known.peer);
            if let (Some(local), Some(peer)) = (known.local, known.peer)
                && local.ip().is_unspecified()
                && asked_for.is_some()
            {
                known.local = Some(with_source_address(local, peer));
            }
            (used.local, used.peer, used.info) = (known.local, known.peer, look.info);
        } else if used.peer.is_none() {
            used.peer = asked_for;
        }
    }

    pub(super) fn learn(&mut self, look: &Look) {
        let known = self.descriptors.known(look.id);
        (known.local, known.peer) = (look.local, look.peer);
    }

    /// Looks at a socket of a thread's process.
    pub(super) fn look(&mut self, tid: Tid, fd: i32) -> Option<Look> {
        if let Backend::Recorded(recorded) = &self.backend {
            return recorded.look(fd);
        }
        let pid = self.tracees.get(&tid)?.pid;
        let watched = self.processes.get_mut(&pid)?;
        if watched.handle.is_none() {
            watched.handle = system::process(pid);
        }
        system::look(watched.handle.as_ref()?, fd)
    }
}
