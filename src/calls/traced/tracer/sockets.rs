//! The sockets of calls: those that are made, come from other processes, and are asked what they are.

use std::net::SocketAddr;

use super::super::super::recorded::with_source_address;
use super::super::super::{MessageFlags, Op, Receiving, Role, SocketChange, SocketId, SocketUse};
use super::super::decode::{About, Asked};
use super::super::descriptors::{Came, FilesId, Seen};
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
            (Some(look), None) => self.learn(look),
            // One that its peer has reset has no peer any more.
            (Some(look), Some(accepted)) => self.learn(&Look { peer: look.peer.or(accepted.from), ..look.clone() }),
            (None, Some(accepted)) => {
                let known = self.descriptors.known(id);
                known.peer = accepted.from;
                // A socket that listens at all addresses does not say at which one it was reached.
                known.local = accepted.local.filter(|local| !local.ip().is_unspecified());
                known.accepted_at = accepted.local.filter(|_| known.local.is_none() || known.peer.is_none());
                self.holds(tid, fd, id);
            }
            (None, None) => {}
        }
        let mut used = used(&self.descriptors, id, fd, Role::Made);
        // A socket that is new says nothing but that it is closed.
        used.info = look.and_then(|look| look.info).filter(|_| accepted.is_some());
        Some(used)
    }

    /// A descriptor was taken from another process; it may be a TCP socket.
    pub(super) fn took(&mut self, tid: Tid, files: FilesId, fd: i32, at: Timestamp) {
        if let Some(look) = self.look(tid, fd) {
            self.came(tid, files, (fd, true), look.id, Some(&look), at);
        }
    }

    /// A thread has a descriptor of a socket that another process has, or had.
    fn came(
        &mut self,
        tid: Tid,
        files: FilesId,
        (fd, until_exec): (i32, bool),
        socket: SocketId,
        look: Option<&Look>,
        at: Timestamp,
    ) {
        self.descriptors.open(files, fd, socket);
        self.descriptors.mark(files, fd, until_exec);
        match look.map(|look| (look.local, look.peer)) {
            Some((Some(local), Some(peer))) => self.descriptors.name(socket, [local, peer]),
            Some((local, peer)) => {
                let known = self.descriptors.known(socket);
                (known.local, known.peer) = (local.or(known.local), peer.or(known.peer));
            }
            None => {}
        }
        self.holds(tid, fd, socket);
        let Some(pid) = self.tracees.get(&tid).map(|tracee| tracee.pid) else { return };
        let (to, thread) = (self.process(pid), self.thread(tid));
        self.tell_socket(at, thread, None, socket, SocketChange::Passed { to, fd });
    }

    /// Takes in descriptors that a thread is about to send with a message: they may come before the call returns.
    pub(super) fn send_descriptors(&mut self, files: FilesId, asked: &Asked, memory: Memory<'_>) {
        if let (Op::Send { .. }, About::Fd(by)) = (&asked.op, &asked.about)
            && asked.has_control(memory)
        {
            let fds = asked.passed(memory);
            if !fds.is_empty() {
                self.descriptors.sends(files, *by, Some(&fds));
            } else if !asked.can_read_control(memory) {
                self.descriptors.sends(files, *by, None);
            }
        }
    }

    /// Takes in descriptors that came with a message, or that did not go.
    pub(super) fn pass_descriptors(
        &mut self,
        tid: Tid,
        files: FilesId,
        inside: &Inside,
        ok: bool,
        memory: Memory<'_>,
        at: Timestamp,
    ) {
        let asked = &inside.asked;
        match (&asked.op, &asked.about) {
            (Op::Send { .. }, About::Fd(by)) if !ok && !asked.passed(memory).is_empty() => {
                self.descriptors.sends_not(files, *by);
            }
            (Op::Receive { by: Receiving::RecvMsg, flags, .. }, _) if ok && asked.has_control(memory) => {
                let until_exec = flags.contains(MessageFlags::MSG_CMSG_CLOEXEC);
                let fds = asked.passed(memory);
                if fds.is_empty() {
                    return;
                }
                let looks: Vec<Option<Look>> = fds.iter().map(|fd| self.look(tid, *fd)).collect();
                let came = |look: &Option<Look>| match look {
                    Some(look) => Came::Socket(Seen { socket: look.id, local: look.local, peer: look.peer }),
                    // One that goes on may have closed it by now.
                    None if self.is_recorded() => Came::Unseen,
                    None => Came::Other,
                };
                let came: Vec<Came> = looks.iter().map(came).collect();
                let sockets = self.descriptors.receives(&came);
                for ((fd, look), socket) in fds.into_iter().zip(&looks).zip(sockets) {
                    let Some(socket) = socket else { continue };
                    self.came(tid, files, (fd, until_exec), socket, look.as_ref(), at);
                }
            }
            _ => {}
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
            // Whoever knows the segments believes the latter if they say so.
            used.peer = asked_for.or(inside.there_since);
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
