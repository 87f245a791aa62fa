//! Threads and processes as they come, execute programs and go, with the descriptors that they have.

use std::sync::PoisonError;

use super::super::super::{Op, Returned, Role, SocketChange, SocketId, SocketUse, Stack, ThreadId};
use super::super::descriptors::{Descriptors, FilesId, Gone};
use super::super::system::{self, On, Tid};
use super::{Ended, ORPHANED, Tracee, Tracer, Watched, used};
use crate::hash::HashMap;
use crate::kernel::now;
use crate::time::Timestamp;

impl Tracer<'_> {
    /// A thread made another, or a process, which one is to be asked.
    pub(super) fn born(&mut self, child: Tid, parent: Tid) {
        let is_thread = system::family_of(child).is_some_and(|(process, _)| process != child);
        self.begins(child, parent, is_thread, now());
        if let Some((signal, event, _)) = self.early.remove(&child) {
            self.stopped(child, signal, event);
        }
    }

    /// A thread made another, or a process.
    pub(super) fn begins(&mut self, child: Tid, parent: Tid, is_thread: bool, at: Timestamp) {
        let Some(known) = self.tracees.get(&parent).filter(|_| !self.tracees.contains_key(&child)) else { return };
        let (files, pid, comm) = (known.files, known.pid, known.comm.clone());
        // Where both go on meanwhile, what the call asked for says more than what they have by now.
        let asked = self.tracees.get_mut(&parent).and_then(|parent| parent.shares.take());
        let shares = asked.or_else(|| system::share_files(parent, child)).unwrap_or(is_thread);
        let own = if shares {
            self.descriptors.share(files);
            files
        } else {
            self.descriptors.copy(files)
        };
        let process = if is_thread { pid } else { child };
        self.tracees.insert(child, Tracee { comm, ..Tracee::new(process, own, at) });
        if !is_thread {
            self.processes.insert(child, Watched::default());
            let inherited = if shares { Vec::new() } else { self.descriptors.all(own) };
            if !inherited.is_empty() {
                let thread = self.thread(parent);
                let by = self.process(child);
                for (fd, socket) in inherited {
                    self.holds(child, fd, socket);
                    self.tell_socket(at, thread, None, socket, SocketChange::Inherited { by, fd });
                }
            }
        }
    }

    /// Takes in threads whose parents were killed before they told of them.
    pub(super) fn adopt_orphans(&mut self) {
        let at = now();
        let orphans: Vec<(Tid, Timestamp)> = self.early.iter().map(|(tid, (.., since))| (*tid, *since)).collect();
        for (tid, since) in orphans {
            let Some((pid, parent)) = system::family_of(tid) else { continue };
            let of = if pid == tid { parent } else { pid };
            let is_told_later = self.tracees.get(&of).is_some_and(|parent| !parent.is_ending);
            if is_told_later && at.since(since) < ORPHANED {
                continue;
            }
            let files = self.descriptors.begin();
            self.tracees.insert(tid, Tracee::new(pid, files, at));
            self.processes.entry(pid).or_default();
            if let Some((signal, event, _)) = self.early.remove(&tid) {
                self.take_over(tid, pid, files);
                self.stopped(tid, signal, event);
            }
        }
    }

    /// Takes in the sockets that a process has, of which nothing is known before.
    pub(super) fn take_over(&mut self, tid: Tid, pid: Tid, files: FilesId) {
        for fd in system::sockets_of(pid) {
            if let Some(look) = self.look(tid, fd) {
                self.descriptors.open(files, fd, look.id);
                self.descriptors.is_held_elsewhere(look.id);
                self.learn(&look);
            }
        }
    }

    /// A process has executed a program, and has stopped.
    pub(super) fn executes(&mut self, tid: Tid) {
        let at = now();
        let former = system::event_of(tid).unwrap_or(tid);
        // Where it may not be read, what the program has is not known: it is left as it was.
        let is_closed = |_: &Descriptors, _, fd, socket| match system::socket_at(tid, fd) {
            Ok(still) => still != Some(socket),
            Err(error) => error.kind() == std::io::ErrorKind::NotFound,
        };
        self.has_executed(tid, former, at, is_closed);
        system::resume(tid, On::Freely, 0);
    }

    /// A process has executed a program: what was to be closed by that is.
    ///
    /// The thread has the process's number now, whichever it had; all others are gone.
    pub(super) fn has_executed(
        &mut self,
        tid: Tid,
        former: Tid,
        at: Timestamp,
        is_closed: impl Fn(&Descriptors, FilesId, i32, SocketId) -> bool,
    ) {
        if let Some(stacks) = &mut self.stacks {
            stacks.forget(tid);
        }
        let Some(mut tracee) = self.tracees.remove(&former) else { return };
        let others: Vec<Tid> = self.tracees.iter().filter(|(_, other)| other.pid == tid).map(|(tid, _)| *tid).collect();
        for other in others {
            let Some(other) = self.tracees.remove(&other) else { continue };
            if !other.is_ending {
                self.descriptors.leave(other.files);
            }
            self.has_ended(other.thread);
        }
        if self.descriptors.threads(tracee.files) > 1 {
            let own = self.descriptors.copy(tracee.files);
            self.descriptors.leave(tracee.files);
            tracee.files = own;
        }
        let entered = tracee.executes.take().unwrap_or(at);
        let files = tracee.files;
        self.descriptors.forget_epolls(files);
        tracee.inside = None;
        self.tracees.insert(tid, tracee);
        let is_first = self.programs.iter_mut().any(|program| {
            let begins = program.held.pid == tid && !program.has_begun;
            program.has_begun |= begins;
            begins
        });
        if is_first && !self.is_recorded() {
            self.take_over(tid, tid, files);
        }
        for (fd, socket) in self.descriptors.all(files) {
            if !is_closed(&self.descriptors, files, fd, socket) {
                continue;
            }
            let mut used = used(&self.descriptors, socket, fd, Role::On);
            let Some(gone) = self.descriptors.close(files, fd) else { continue };
            if gone.last {
                used.role = Role::Released;
            }
            let sockets = vec![used];
            let id = self.enter(tid, &Op::Execute, &sockets, entered, Stack::default());
            let returned = Returned { at, result: Ok(0), octets: None, preview: Vec::new() };
            self.finish(id, returned, sockets, &[gone]);
        }
        // From here on it has another name.
        if let Some(tracee) = self.tracees.get_mut(&tid) {
            let former = tracee.thread.take();
            tracee.calls = 0;
            self.has_ended(former);
        }
        if let Some(watched) = self.processes.get_mut(&tid) {
            watched.process = None;
        }
    }

    /// A thread's end has begun; with the last one that has them, its descriptors go.
    pub(super) fn ends(&mut self, tid: Tid, at: Timestamp) {
        self.give_up_unfinished(tid);
        let Some(tracee) = self.tracees.get_mut(&tid).filter(|tracee| !tracee.is_ending) else { return };
        tracee.is_ending = true;
        let files = tracee.files;
        let before: HashMap<i32, SocketUse> = self
            .descriptors
            .all(files)
            .into_iter()
            .map(|(fd, socket)| (fd, used(&self.descriptors, socket, fd, Role::On)))
            .collect();
        for gone in self.descriptors.leave(files) {
            let Some(used) = before.get(&gone.fd) else { continue };
            if gone.last {
                let used = SocketUse { role: Role::Released, ..used.clone() };
                let id = self.enter(tid, &Op::Exit, std::slice::from_ref(&used), at, Stack::default());
                if let Some(tracee) = self.tracees.get_mut(&tid) {
                    tracee.exits.push((id, used));
                }
            } else {
                let thread = self.thread(tid);
                self.tell_gone(at, thread, None, gone);
            }
        }
    }

    /// The thread will not come back to a call that a signal interrupted.
    pub(super) fn give_up_unfinished(&mut self, tid: Tid) {
        let is_interrupted = self
            .tracees
            .get(&tid)
            .and_then(|tracee| tracee.inside.as_ref())
            .is_some_and(|inside| inside.interrupted.is_some());
        if is_interrupted && let Some(tracee) = self.tracees.get_mut(&tid) {
            // It never returned to the program.
            tracee.inside = None;
        }
    }

    /// A thread that was put down makes no more calls.
    fn has_ended(&self, thread: Option<ThreadId>) {
        if let Some(thread) = thread {
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).end(thread);
        }
    }

    /// A thread has ended, or a process with its last thread.
    pub(super) fn over(&mut self, tid: Tid, ended: Ended) {
        self.thread_over(tid, now());
        self.processes.remove(&tid);
        self.program_over(tid, ended);
    }

    /// A thread has ended.
    pub(super) fn thread_over(&mut self, tid: Tid, at: Timestamp) {
        self.early.remove(&tid);
        // A process that was killed has not told that its end began: it was at some moment since it was heard of last.
        let tracee = self.tracees.get(&tid);
        let began = tracee.and_then(|tracee| self.processes.get(&tracee.pid)?.ends);
        let seen = tracee.map_or(at, |tracee| began.map_or(tracee.seen, |began| began.max(tracee.seen)));
        self.ends(tid, seen);
        if let Some(stacks) = &mut self.stacks {
            stacks.forget(tid);
        }
        if let Some(tracee) = self.tracees.remove(&tid) {
            for (id, used) in tracee.exits {
                let (socket, fd) = (used.socket, used.fd);
                let gone = socket.zip(fd).map(|(socket, fd)| Gone {
                    fd,
                    socket,
                    last: true,
                    is_out_of_sight: false,
                    accepted_at: None,
                });
                let gone: Vec<Gone> = gone.into_iter().collect();
                self.finish(id, Returned { at, result: Ok(0), octets: None, preview: Vec::new() }, vec![used], &gone);
            }
            self.has_ended(tracee.thread);
        }
    }

    /// A process has ended, which may be a program's.
    pub(super) fn program_over(&mut self, tid: Tid, ended: Ended) {
        if let Some(program) =
            self.programs.iter_mut().find(|program| program.held.pid == tid && program.ended.is_none())
        {
            let failure = if program.has_begun { None } else { program.held.failure() };
            program.ended = Some(failure.map_or(ended, Ended::Unstarted));
        }
    }
}
