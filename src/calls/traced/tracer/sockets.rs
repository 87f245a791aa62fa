//! The sockets of calls: those that are made, come from other processes, and are asked what they are.

use super::super::super::recorded::with_source_address;
use super::super::super::{Op, Receiving, Role, SocketChange, SocketId, SocketUse};
use super::super::descriptors::FilesId;
use super::super::system::{self, Look, Memory, Tid};
use super::{Inside, Tracer, used};
use crate::time::Timestamp;

impl Tracer<'_> {
    /// A call made a socket.
    pub(super) fn made(&mut self, tid: Tid, files: FilesId, fd: i32, is_accepted: bool) -> Option<SocketUse> {
        let look = self.look(tid, fd);
        let id = match (&look, self.tracees.get(&tid)) {
            (Some(look), _) => look.id,
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
        if let Some(look) = &look {
            self.learn(look);
        }
        let mut used = used(&self.descriptors, id, fd, Role::Made);
        // A socket that is new says nothing but that it is closed.
        used.info = look.and_then(|look| look.info).filter(|_| is_accepted);
        Some(used)
    }

    /// A descriptor came from another process; it may be a TCP socket.
    pub(super) fn received(&mut self, tid: Tid, files: FilesId, fd: i32, at: Timestamp) {
        let Some(look) = self.look(tid, fd) else { return };
        self.descriptors.open(files, fd, look.id);
        self.descriptors.received(look.id);
        self.learn(&look);
        let Some(pid) = self.tracees.get(&tid).map(|tracee| tracee.pid) else { return };
        let (to, thread) = (self.process(pid), self.thread(tid));
        self.tell_socket(at, thread, None, look.id, SocketChange::Passed { to, fd });
    }

    /// Takes in descriptors that went or came with a message.
    pub(super) fn pass_descriptors(&mut self, tid: Tid, files: FilesId, inside: &Inside, ok: bool, at: Timestamp) {
        let (Op::Send { .. } | Op::Receive { by: Receiving::RecvMsg, .. }) = &inside.asked.op else { return };
        if !ok || !inside.asked.has_control(Memory(tid)) {
            return;
        }
        for fd in inside.asked.passed(Memory(tid)) {
            match inside.asked.op {
                Op::Receive { .. } => self.received(tid, files, fd, at),
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
        if let Some(look) = look.filter(|look| Some(look.id) == used.socket) {
            let known = self.descriptors.known(look.id);
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
        let pid = self.tracees.get(&tid)?.pid;
        let watched = self.processes.get_mut(&pid)?;
        if watched.handle.is_none() {
            watched.handle = system::process(pid);
        }
        system::look(watched.handle.as_ref()?, fd)
    }
}
