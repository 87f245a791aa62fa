//! Sockets that were accepted and could not be looked at in time: who has them, and what tells their ends afterwards.

use std::net::SocketAddr;

use super::super::super::{Naming, Op, SocketId};
use super::super::decode::About;
use super::super::descriptors::FilesId;
use super::super::system::{self, Look, Tid};
use super::{Backend, Inside, Tracer};
use crate::kernel::{KernelAct, Said};
use crate::tcp::State;
use crate::time::Timestamp;

impl Tracer<'_> {
    /// A thread has a descriptor of a socket: if its ends are not known, it may be looked at there.
    pub(super) fn holds(&mut self, tid: Tid, fd: i32, socket: SocketId) {
        let Some(pid) = self.tracees.get(&tid).map(|tracee| tracee.pid) else { return };
        if let Backend::Recorded(recorded) = &mut self.backend
            && self.descriptors.is_nameless(socket)
        {
            recorded.nameless.hold(socket, (pid, fd));
        }
    }

    /// Looks at sockets whose ends are not known, wherever there is a descriptor of them.
    pub(super) fn look_at_nameless(&mut self) {
        let Backend::Recorded(recorded) = &self.backend else { return };
        for socket in recorded.nameless.due() {
            while let Some((pid, fd)) = self.holder(socket) {
                let Backend::Recorded(recorded) = &mut self.backend else { return };
                let look = recorded.handle(pid).and_then(|handle| system::look(handle, fd));
                if let Some(look) = look.filter(|look| look.local.is_some() && look.peer.is_some()) {
                    recorded.nameless.looks.push((socket, (pid, fd), look));
                    break;
                }
            }
        }
    }

    /// Takes the next descriptor by which a socket may be looked at.
    fn holder(&mut self, socket: SocketId) -> Option<(Tid, i32)> {
        loop {
            let Backend::Recorded(recorded) = &mut self.backend else { return None };
            let next = recorded.nameless.holders.get_mut(&socket)?.pop();
            let Some((pid, fd)) = next.filter(|_| self.descriptors.is_nameless(socket)) else {
                recorded.nameless.holders.remove(&socket);
                return None;
            };
            if self.is_at(socket, (pid, fd)) {
                return Some((pid, fd));
            }
        }
    }

    /// Believes what was seen of sockets until a moment, where the descriptor was theirs still when all before that was taken in.
    pub(super) fn believe_looks(&mut self, until: Timestamp) {
        let Backend::Recorded(recorded) = &mut self.backend else { return };
        if recorded.nameless.looks.iter().all(|(.., look)| look.at >= until) {
            return;
        }
        let looks = std::mem::take(&mut recorded.nameless.looks);
        let (due, later) = looks.into_iter().partition(|(.., look)| look.at < until);
        recorded.nameless.looks = later;
        let due: Vec<(SocketId, (Tid, i32), Look)> = due;
        for (socket, at, look) in due {
            if let (Some(local), Some(peer)) = (look.local, look.peer)
                && self.is_at(socket, at)
                && self.descriptors.accepted_at(socket).is_some_and(|at| leads_to(at, local))
            {
                self.name(socket, [local, peer]);
            }
        }
    }

    /// Whether a process has a socket at a descriptor.
    fn is_at(&self, socket: SocketId, (pid, fd): (Tid, i32)) -> bool {
        let tracee = self.tracees.get(&pid).or_else(|| self.tracees.values().find(|tracee| tracee.pid == pid));
        tracee.is_some_and(|tracee| self.descriptors.at(tracee.files, fd) == Some(socket))
    }

    /// Takes in the address that a call returned for a socket whose ends are not known.
    pub(super) fn learn_name(&mut self, socket: SocketId, by: Naming, address: Option<SocketAddr>) {
        let Some(address) = address.filter(|address| address.port() != 0) else { return };
        let is_nameless = self.descriptors.is_nameless(socket);
        let known = self.descriptors.known(socket);
        match by {
            Naming::SockName if is_nameless || known.local.is_none() => known.local = Some(address),
            Naming::PeerName if is_nameless => known.peer = Some(address),
            _ => return,
        }
        if let (Some(local), Some(peer), true) = (known.local, known.peer, is_nameless) {
            self.name(socket, [local, peer]);
        }
    }

    /// Takes in the address that a call gave a socket that could not be looked at.
    pub(super) fn is_bound(&mut self, inside: &mut Inside, to: SocketAddr) {
        let Some(used) = inside.sockets.first_mut().filter(|used| used.local.is_none() && to.port() != 0) else {
            return;
        };
        used.local = Some(to);
        if let Some(socket) = used.socket {
            self.descriptors.known(socket).local.get_or_insert(to);
        }
    }

    fn name(&mut self, socket: SocketId, ends: [SocketAddr; 2]) {
        self.descriptors.name(socket, ends);
        if let Backend::Recorded(recorded) = &mut self.backend {
            recorded.nameless.holders.remove(&socket);
        }
    }

    /// Takes in which state a socket left on a thread's time: only who closes it or shuts it down has it leave so.
    pub(super) fn name_by_state(&mut self, tid: Tid, said: &Said) {
        let KernelAct::State { from, to } = said.what else { return };
        if to == State::Listen
            && let Some(mut inside) = self.tracees.get_mut(&tid).and_then(|tracee| tracee.inside.take())
        {
            if let Op::Listen { .. } = inside.asked.op {
                self.is_bound(&mut inside, said.local);
            }
            return self.set_inside(tid, inside);
        }
        let was_open = matches!(from, State::Established | State::CloseWait | State::SynReceived);
        if !was_open || !matches!(to, State::FinWait1 | State::LastAck | State::Closed) {
            return;
        }
        let ends = [said.local, said.peer];
        let leads = |at: SocketAddr| leads_to(at, said.local);
        // What a RST closes is closed on anybody's time.
        let is_only_one = to != State::Closed || !self.descriptors.has_nameless(leads);
        let Some(tracee) = self.tracees.get_mut(&tid) else { return };
        let files = tracee.files;
        if let Some(inside) = &mut tracee.inside {
            let shuts_down = to != State::Closed && matches!(inside.asked.op, Op::Shutdown { .. });
            if let (true, About::Fd(fd)) = (shuts_down, &inside.asked.about) {
                let socket = self.descriptors.at(files, *fd);
                if let Some(socket) = socket.filter(|id| self.descriptors.accepted_at(*id).is_some_and(leads)) {
                    name_in(inside, socket, ends);
                    self.name(socket, ends);
                }
                return;
            }
            let its = inside.gone.iter_mut().filter(|gone| gone.last);
            let mut its: Vec<_> = its.filter(|gone| gone.accepted_at.is_some_and(leads)).collect();
            if let [gone] = &mut its[..]
                && is_only_one
            {
                gone.accepted_at = None;
                let socket = gone.socket;
                name_in(inside, socket, ends);
            }
        } else if to != State::Closed {
            self.name_at_exit(files, ends);
        }
    }

    /// A thread that is in no call closes a socket: its process ends, or has executed a program.
    fn name_at_exit(&mut self, files: FilesId, ends: [SocketAddr; 2]) {
        let its = self.descriptors.nameless(files);
        let is_its = |at: SocketAddr| leads_to(at, ends[0]);
        let its = its.into_iter().filter(|id| self.descriptors.accepted_at(*id).is_some_and(is_its));
        if let [socket] = its.collect::<Vec<_>>()[..] {
            self.name(socket, ends);
        }
    }
}

/// Has a call name the ends of a socket that it is about.
fn name_in(inside: &mut Inside, socket: SocketId, [local, peer]: [SocketAddr; 2]) {
    for used in inside.sockets.iter_mut().filter(|used| used.socket == Some(socket)) {
        (used.local, used.peer) = (Some(local), Some(peer));
    }
}

/// Whether a socket with this local address may have been accepted from one that listens there.
fn leads_to(listening: SocketAddr, local: SocketAddr) -> bool {
    let is_reached = listening.ip().is_unspecified() || listening.ip().to_canonical() == local.ip().to_canonical();
    is_reached && listening.port() == local.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_lead_from_a_listening_socket_has_its_port_and_address() {
        let leads = |listening: &str, local: &str| leads_to(listening.parse().unwrap(), local.parse().unwrap());
        assert!(leads("0.0.0.0:80", "10.0.0.1:80") && leads("[::]:80", "[::ffff:10.0.0.1]:80"));
        assert!(leads("[::ffff:10.0.0.1]:80", "10.0.0.1:80") && leads("10.0.0.1:80", "10.0.0.1:80"));
        assert!(!leads("10.0.0.1:80", "10.0.0.2:80") && !leads("0.0.0.0:80", "10.0.0.1:81"));
    }
}
