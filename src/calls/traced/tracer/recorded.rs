//! Calls as the kernel records them, while the threads go on: from their entry to their return, and processes that are joined.

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::super::super::{Activity, Op, Returned, Role, SocketChange, SocketUse, Stack};
use super::super::abi::FOREIGN_CALLS;
use super::super::decode;
use super::super::descriptors::{Descriptors, FilesId};
use super::super::launch::{Held, Step, Unstarted};
use super::super::system::{self, Look, Memory, Tid};
use super::queue::{self, Joining, Queued, Recorded, Refused, UNFINISHED, What};
use super::{Backend, Ended, Inside, Telling, Tracee, Tracer, Turn, Watched, used};
use crate::hash::{HashMap, HashSet};
use crate::kernel::{Begin, KernelAct, KernelSocket, ProgramAct, ProgramRecord, Said, UserStack, now};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

impl Tracer<'_> {
    /// Has the kernel record calls instead of stopping threads at them; to be asked for before any program is prepared.
    ///
    /// `stack` octets of the stack are recorded with each call.
    ///
    /// # Errors
    /// The kernel does not permit it, or cannot.
    pub fn record_calls(&mut self, stack: u32) -> Result<(), Refused> {
        self.backend = Backend::Recorded(Box::new(Recorded::open(stack)?));
        Ok(())
    }

    /// How many records were lost, and so calls that are not told, or not as they were.
    pub fn lost(&self) -> u64 {
        match &self.backend {
            Backend::Recorded(recorded) => recorded.lost,
            Backend::Stopped(_) => 0,
        }
    }

    /// How many sockets began to connect when so many others were open that the kernel's word on their later states was left out.
    pub fn unfollowed(&self) -> u64 {
        match &self.backend {
            Backend::Recorded(recorded) => recorded.unfollowed(),
            Backend::Stopped(_) => 0,
        }
    }

    /// Records what a process does that is held.
    pub(super) fn record(&mut self, held: &Held, files: FilesId) -> Result<(), Unstarted> {
        let Backend::Recorded(recorded) = &mut self.backend else { return Ok(()) };
        recorded.trace.attach(held.pid, Begin::WithItsProgram).map_err(|error| Unstarted {
            step: Step::Watch,
            errno: super::super::super::Errno(error.raw_os_error().unwrap_or(libc::EIO)),
        })?;
        recorded.threads.insert(held.pid);
        // It waits, so what it has is what its program will have.
        for (fd, look) in sockets_of(held.pid, false) {
            self.descriptors.open(files, fd, look.id);
            self.descriptors.is_held_elsewhere(look.id);
            self.learn(&look);
        }
        Ok(())
    }

    /// Joins a process that runs: its calls are recorded from now on, and the sockets that it has are taken over; `all` are to be joined.
    ///
    /// # Errors
    /// Why it cannot be.
    pub fn join(&mut self, pid: u32, all: &[u32]) -> Result<Joining, Refused> {
        let Backend::Recorded(recorded) = &mut self.backend else { return Err(Refused::Absent) };
        let pid = Tid::try_from(pid).map_err(|_| Refused::Gone)?;
        // A thread stands for its process, and one that is named twice is joined once.
        let pid = system::family_of(pid).map_or(pid, |(process, _)| process);
        if self.tracees.values().any(|tracee| tracee.pid == pid) {
            return Ok(Joining { threads: 0, sockets: 0 });
        }
        let files = self.descriptors.begin();
        let mut known: Vec<Tid> = Vec::new();
        // A thread that one of those attached to makes meanwhile is recorded by that.
        loop {
            let new: Vec<Tid> = system::threads_of(pid).into_iter().filter(|tid| !known.contains(tid)).collect();
            if new.is_empty() {
                break;
            }
            recorded.gather_all();
            for tid in new {
                let is_recorded = recorded.queue.iter().any(|queued| match &queued.what {
                    What::Record(ProgramRecord { what: ProgramAct::Forked { tid: born, .. }, .. }) => *born == tid,
                    _ => false,
                });
                known.push(tid);
                if is_recorded {
                    continue;
                }
                match recorded.trace.attach(tid, Begin::Now) {
                    Ok(()) => {
                        recorded.threads.insert(tid);
                        let comm = Some(system::comm(pid, tid)).filter(|comm| !comm.is_empty());
                        self.tracees.insert(tid, Tracee { comm, ..Tracee::new(pid, files, now()) });
                    }
                    // The thread has ended meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ESRCH) => {}
                    Err(error) => return Err(refused(pid, &error, recorded.trace.descriptors(known.len()))),
                }
            }
        }
        if self.tracees.values().all(|tracee| tracee.pid != pid) {
            return Err(Refused::Gone);
        }
        (1..self.tracees.values().filter(|tracee| tracee.files == files).count())
            .for_each(|_| self.descriptors.share(files));
        self.processes.insert(pid, Watched::default());
        let mut sockets = 0;
        let elsewhere = system::sockets_elsewhere(all);
        for (fd, look) in sockets_of(pid, true) {
            let (until_exec, unread) = (system::is_until_exec(pid, fd), look.unread);
            let is_shared = elsewhere.contains(&look.id);
            let what = What::Found { tid: pid, fd, look: Box::new(look), until_exec, unread, is_shared };
            recorded.queue.push_back(Queued { at: now(), what, looks: Vec::new() });
            sockets += 1;
        }
        for tid in &known {
            if let Some((nr, args)) = system::call_of(pid, *tid) {
                let beside = queue::look_at_wait(pid, *tid, nr, args);
                let what = What::Inside { tid: *tid, nr, args, stack: UserStack { beside, ..UserStack::default() } };
                recorded.queue.push_back(Queued { at: now(), what, looks: Vec::new() });
            }
        }
        Ok(Joining { threads: known.len(), sockets })
    }

    /// Deals with all that happened until now.
    pub fn catch_up(&mut self) {
        let Backend::Recorded(recorded) = &mut self.backend else { return };
        recorded.gather_all();
        std::thread::sleep(Duration::from_nanos(UNFINISHED.0.unsigned_abs()));
        recorded.gather_all();
        self.deal(false);
    }

    /// Until when all that happened is known and told.
    pub fn known_until(&self) -> Timestamp {
        match &self.backend {
            Backend::Recorded(recorded) => recorded.before,
            Backend::Stopped(_) => now(),
        }
    }

    /// Deals with what is recorded already, and ends: what was joined goes on, unwatched.
    pub fn leave(&mut self) {
        self.catch_up();
        self.deal(true);
    }

    /// Waits for what comes next, and deals with it.
    pub(super) fn read(&mut self) -> Turn {
        let Backend::Recorded(recorded) = &mut self.backend else { return Turn::Over };
        if !recorded.is_behind {
            let running = self.programs.iter().filter(|program| program.ended.is_none());
            let handles = running.filter_map(|program| program.handle.as_ref()).map(AsFd::as_fd);
            recorded.trace.wait(handles, LOOK);
        }
        recorded.gather();
        let has_ended = self.reap();
        if has_ended && self.is_over() {
            // Nobody is left who could do more: what was done is recorded by now.
            self.catch_up();
        }
        let dealt = self.deal(false);
        self.look_at_nameless();
        let Backend::Recorded(recorded) = &mut self.backend else { return Turn::Over };
        if recorded.reading.since(recorded.checked) >= CHECK && recorded.queue.is_empty() {
            recorded.checked = recorded.reading;
            let at = recorded.reading;
            let gone: Vec<Tid> = self.tracees.keys().copied().filter(|tid| !system::is_there(*tid)).collect();
            // Their ends were lost, or are not recorded, as for a program that got privilege.
            gone.into_iter().for_each(|tid| self.recorded_end(tid, at));
        }
        if self.tracees.is_empty() && self.have_ended() {
            return Turn::Over;
        }
        if dealt { Turn::Stop } else { Turn::Nothing }
    }

    /// Whether all programs have ended.
    fn have_ended(&self) -> bool {
        self.programs.iter().all(|program| program.ended.is_some())
    }

    /// Whether nobody is left whose calls are recorded.
    fn is_over(&self) -> bool {
        self.have_ended() && self.tracees.keys().all(|tid| !system::is_there(*tid))
    }

    /// Hears of programs that have ended; whether one has.
    fn reap(&mut self) -> bool {
        let waiting: Vec<Tid> =
            self.programs.iter().filter(|program| program.ended.is_none()).map(|program| program.held.pid).collect();
        let mut has_ended = false;
        for pid in waiting {
            let ended = match waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(_, status)) => Ended::Exited(status),
                Ok(WaitStatus::Signaled(_, signal, _)) => Ended::Killed(signal as i32),
                Err(Errno::ECHILD) => Ended::Exited(0),
                _ => continue,
            };
            let has_begun = self.programs.iter().any(|program| program.held.pid == pid && program.has_begun);
            if !has_begun {
                // Nothing is recorded of one that never executed its program; of one that did, it may be still to come.
                self.catch_up();
            }
            if !self.programs.iter().any(|program| program.held.pid == pid && program.has_begun) {
                self.recorded_end(pid, now());
            }
            self.program_over(pid, ended);
            has_ended = true;
        }
        has_ended
    }

    /// Deals with what is recorded, as far as all before it is known; whether there was something.
    fn deal(&mut self, all: bool) -> bool {
        let mut dealt = false;
        loop {
            let Backend::Recorded(recorded) = &mut self.backend else { return dealt };
            let Some(Queued { at, what, looks }) = recorded.next(all) else {
                let until = if all { now() } else { recorded.before };
                self.believe_looks(until);
                return dealt;
            };
            self.believe_looks(at);
            let Backend::Recorded(recorded) = &self.backend else { return dealt };
            dealt = true;
            // All that was recorded until the look is to be known, by which its descriptor may have been given up.
            let read_until = if all { None } else { Some(recorded.reading) };
            let is_known = |look: &Look| read_until.is_none_or(|until| look.at <= until);
            let looks = looks.into_iter();
            let looks = looks.filter(|(fd, look)| is_known(look) && !self.closes(&what, *fd, look)).collect();
            if let Backend::Recorded(recorded) = &mut self.backend {
                recorded.looks = looks;
            }
            match what {
                What::Record(record) => self.take(record),
                What::Found { tid, fd, look, until_exec, unread, is_shared } => {
                    if is_shared {
                        self.descriptors.is_held_elsewhere(look.id);
                    }
                    self.found(tid, fd, &look, until_exec, unread, at);
                }
                What::Gap => self.lose_track(at),
                What::Inside { tid, nr, args, stack } => self.was_inside(tid, nr, args, stack, at),
            }
        }
    }

    /// Whether a descriptor of the process of a record was given up, by what comes after it, before the socket there was looked at.
    ///
    /// It was not where the look itself was the last to hold the socket, so that the kernel closed it on this thread's time.
    fn closes(&self, what: &What, fd: i32, look: &Look) -> bool {
        let (Backend::Recorded(recorded), What::Record(of)) = (&self.backend, what) else { return true };
        let files = self.tracees.get(&of.tid).map(|tracee| tracee.files);
        // A process that is made meanwhile may share the descriptors.
        let (mut born, mut asked) = (HashSet::default(), HashMap::default());
        let mut before = recorded.queue.iter().take_while(|queued| queued.at <= look.at);
        let is_closed = before.any(|queued| {
            let What::Record(ProgramRecord { tid, pid, what, .. }) = &queued.what else { return false };
            let is_alike = || files.is_some() && self.tracees.get(tid).map(|tracee| tracee.files) == files;
            if *pid != of.pid && !born.contains(tid) && !is_alike() {
                return false;
            }
            match what {
                ProgramAct::Entered { nr, args, stack, .. } => {
                    _ = shares_files(*nr, *args, stack).map(|shares| asked.insert(*tid, shares));
                }
                ProgramAct::Forked { tid: child, .. } if asked.remove(tid) == Some(true) => _ = born.insert(*child),
                _ => {}
            }
            gives_up(what, fd)
        });
        if !is_closed || self.ends_at_close(of.pid, of.tid, fd).is_some() {
            return is_closed;
        }
        let own = nix::unistd::gettid().as_raw();
        let closed_here = |queued: &Queued| match &queued.what {
            What::Record(ProgramRecord { tid, what: ProgramAct::State(said), .. }) => {
                *tid == own && (Some(said.local), Some(said.peer)) == (look.local, look.peer)
            }
            _ => false,
        };
        let mut after = recorded.queue.iter().skip_while(|queued| queued.at < look.at);
        !after.by_ref().take_while(|queued| queued.at.since(look.at) < LONGEST_LOOK).any(closed_here)
    }

    /// Records are missing: how many octets a socket has sent and received by now is not known, nor which descriptors were closed.
    ///
    /// What was joined before stays; calls on what is open are told by themselves from here on.
    fn lose_track(&mut self, at: Timestamp) {
        let Backend::Recorded(recorded) = &mut self.backend else { return };
        let former = self.descriptors.lose_track(|| recorded.name());
        let inside: Vec<Tid> = self.tracees.iter().filter(|(_, of)| of.inside.is_some()).map(|(tid, _)| *tid).collect();
        inside.into_iter().for_each(|tid| self.lose_return(tid, at));
        // Any thread will do: it is said of the sockets.
        let Some(thread) = self.tracees.values().find_map(|tracee| tracee.thread) else { return };
        for socket in former {
            self.tell_socket(at, thread, None, socket, SocketChange::LostSight);
        }
    }

    /// How the call returned in which a thread is, or that it did, is not among what was recorded.
    fn lose_return(&mut self, tid: Tid, at: Timestamp) {
        let inside = self.tracees.get_mut(&tid).and_then(|tracee| tracee.inside.take());
        if let Some(Inside { id, telling: Telling::AtOnce, .. }) = inside {
            (self.heard)(Activity::Lost { call: id, at });
        }
    }

    fn take(&mut self, record: ProgramRecord) {
        let ProgramRecord { at, pid, tid, what } = record;
        if let ProgramAct::State(said) = what {
            return self.state(tid, said);
        }
        // A thread that executes a program has the number of the first one from then on, which has ended by that.
        let executes = matches!(what, ProgramAct::Named { executes: true, .. });
        if !(self.tracees.contains_key(&tid) || executes && self.executing(pid).is_some()) {
            return;
        }
        match what {
            ProgramAct::Entered { nr, args, is_foreign, mut stack } => {
                let is_overwritten = decode::connects(nr, args) && self.is_overwritten(pid, &stack);
                let there_since = self.doubtful_address(pid, nr, args, &stack, is_overwritten);
                let is_wait = !decode::waits_for(nr, args).is_empty();
                let is_of_another = is_wait && self.is_over_by_the_look(tid, &stack);
                stack.beside = stack.beside.filter(|_| !is_overwritten && !is_of_another);
                self.recorded_entry(tid, nr, args, is_foreign, &stack, at);
                if let Some(inside) = self.tracees.get_mut(&tid).and_then(|tracee| tracee.inside.as_mut()) {
                    inside.there_since = there_since;
                }
            }
            ProgramAct::Returned { nr, result, stack } => {
                let is_inside = self.tracees.get(&tid).and_then(|tracee| tracee.inside.as_ref());
                // A return whose entry was lost, or was before all this began.
                if is_inside.is_some_and(|inside| inside.nr == nr || nr as i64 == libc::SYS_restart_syscall) {
                    self.look_by_states(pid, tid, nr, result);
                    self.returns(tid, result, Memory::Stack(&stack), at);
                }
                if let Backend::Recorded(recorded) = &mut self.backend
                    && let Some(socket) = recorded.connecting.remove(&tid)
                {
                    recorded.ends.remove(&socket);
                }
            }
            ProgramAct::Forked { pid: process, tid: child } => {
                self.begins(child, tid, process == pid, at);
                if let Some(stacks) = self.stacks.as_mut().filter(|_| process != pid) {
                    stacks.copy(pid, process);
                }
            }
            ProgramAct::Mapped { range, offset, path } => {
                if let Some(stacks) = &mut self.stacks {
                    stacks.maps(pid, range, offset, path);
                }
            }
            ProgramAct::Named { comm, executes } => {
                if executes {
                    let by = self.executing(pid).unwrap_or(tid);
                    let is_closed = |descriptors: &Descriptors, files, fd, _| descriptors.is_until_exec(files, fd);
                    self.has_executed(tid, by, at, is_closed);
                    if let Backend::Recorded(recorded) = &mut self.backend {
                        recorded.inside.remove(&tid);
                        recorded.addresses.forget(pid);
                    }
                    if system::is_32_bit(pid) {
                        self.notice_other_abi(tid);
                    }
                }
                if let Some(tracee) = self.tracees.get_mut(&tid) {
                    tracee.comm = Some(comm);
                }
            }
            ProgramAct::Ended => self.recorded_end(tid, at),
            ProgramAct::State(_) => {}
        }
    }

    /// The thread of a process that asked last for another program.
    fn executing(&self, pid: Tid) -> Option<Tid> {
        let threads = self.tracees.iter().filter(|(_, tracee)| tracee.pid == pid);
        let asked = threads.filter_map(|(tid, tracee)| Some((tracee.executes?, *tid)));
        asked.max().map(|(_, tid)| tid)
    }

    /// Where a call connects to, if what lay at its address at another time did so when it was made.
    fn doubtful_address(
        &mut self,
        pid: Tid,
        nr: u64,
        args: [u64; 6],
        stack: &UserStack,
        is_overwritten: bool,
    ) -> Option<SocketAddr> {
        let (by, _) = decode::connects_by(nr, args, Memory::Stack(stack))?;
        let is_read = decode::connects_to(nr, args, Memory::Stack(stack)).is_some();
        if is_read && stack.beside.is_none() {
            return None;
        }
        let Backend::Recorded(recorded) = &mut self.backend else { return None };
        let beside = recorded.addresses.there(pid, by, stack.beside.as_deref());
        let there = UserStack { beside, ..stack.clone() };
        decode::connects_to(nr, args, Memory::Stack(&there)).filter(|_| is_overwritten || !is_read)
    }

    /// Whether a program may have put something else where the address was read to which it connects.
    fn is_overwritten(&self, pid: Tid, stack: &UserStack) -> bool {
        let (Backend::Recorded(recorded), Some(beside)) = (&self.backend, &stack.beside) else { return false };
        let mut until = recorded.queue.iter().take_while(|queued| queued.at <= beside.read);
        until.any(|queued| match &queued.what {
            What::Record(record) if record.pid == pid => match &record.what {
                ProgramAct::Entered { nr, args, stack, .. } => {
                    let by = decode::connects_by(*nr, *args, Memory::Stack(stack));
                    let is_again = by.is_some_and(|(by, _)| beside.pieces.iter().any(|(at, _)| by == *at));
                    is_again || matches!(*nr as i64, libc::SYS_execve | libc::SYS_execveat)
                }
                what => matches!(what, ProgramAct::Named { executes: true, .. }),
            },
            _ => false,
        })
    }

    /// Whether what was seen of a wait may be that of a later one, as it had returned by then.
    fn is_over_by_the_look(&self, tid: Tid, stack: &UserStack) -> bool {
        let (Backend::Recorded(recorded), Some(beside)) = (&self.backend, &stack.beside) else { return false };
        // All that was recorded until then is to be known.
        let mut until = recorded.queue.iter().take_while(|queued| queued.at <= beside.read);
        beside.read > recorded.reading
            || until.any(|queued| match &queued.what {
                What::Record(record) => record.tid == tid && !matches!(record.what, ProgramAct::State(_)),
                What::Gap => true,
                _ => false,
            })
    }

    fn recorded_entry(
        &mut self,
        tid: Tid,
        nr: u64,
        args: [u64; 6],
        is_foreign: bool,
        stack: &UserStack,
        at: Timestamp,
    ) {
        let Some(tracee) = self.tracees.get_mut(&tid) else { return };
        if is_foreign && !FOREIGN_CALLS.contains(&(nr as u32)) {
            return;
        }
        // The return of a call before it was lost.
        let is_lost = tracee.inside.as_ref().is_some_and(|inside| inside.interrupted.is_none());
        let (files, fd, command) = (tracee.files, args[0] as i32, args[1] as i32);
        if is_lost {
            self.lose_return(tid, at);
        }
        let Some(tracee) = self.tracees.get_mut(&tid) else { return };
        match nr as i64 {
            _ if is_foreign => {}
            libc::SYS_clone | libc::SYS_clone3 => {
                tracee.shares = shares_files(nr, args, stack);
                return;
            }
            libc::SYS_exit | libc::SYS_exit_group => {
                tracee.seen = at;
                if nr as i64 == libc::SYS_exit_group
                    && let Some(watched) = self.processes.get_mut(&tracee.pid)
                {
                    watched.ends.get_or_insert(at);
                }
                return;
            }
            libc::SYS_fcntl if command == libc::F_SETFD => {
                return self.descriptors.mark(files, fd, args[2] as i32 & libc::FD_CLOEXEC != 0);
            }
            libc::SYS_fcntl if !matches!(command, libc::F_DUPFD | libc::F_DUPFD_CLOEXEC) => return,
            libc::SYS_ioctl => {
                if let Some(mark) = [(FIOCLEX, true), (FIONCLEX, false)].into_iter().find(|(n, _)| *n == args[1]) {
                    self.descriptors.mark(files, fd, mark.1);
                }
                return;
            }
            _ => {}
        }
        self.enters(tid, is_foreign, nr, args, Memory::Stack(stack), at);
    }

    /// A thread has ended.
    fn recorded_end(&mut self, tid: Tid, at: Timestamp) {
        let pid = self.tracees.get(&tid).map(|tracee| tracee.pid);
        self.thread_over(tid, at);
        if let Some(pid) = pid
            && self.tracees.values().all(|tracee| tracee.pid != pid)
        {
            self.processes.remove(&pid);
        }
        if let Backend::Recorded(recorded) = &mut self.backend {
            recorded.inside.remove(&tid);
            recorded.connecting.remove(&tid);
            recorded.addresses.forget(tid);
        }
    }

    /// A socket went from one state to another.
    fn state(&mut self, tid: Tid, said: Said) {
        let KernelAct::State { from, to } = said.what else { return };
        let Some(socket) = said.socket else { return };
        self.name_by_state(tid, &said);
        let connects = || {
            let inside = self.tracees.get(&tid).and_then(|tracee| tracee.inside.as_ref());
            inside.is_some_and(|inside| decode::connects(inside.nr, inside.args))
        };
        let Backend::Recorded(recorded) = &mut self.backend else { return };
        // A thread connects on its own time.
        if (from, to) == (State::Closed, State::SynSent) && connects() {
            recorded.connecting.insert(tid, socket);
            recorded.ends.insert(socket, [said.local, said.peer]);
        } else if said.local.port() != 0
            && let Some(ends) = recorded.ends.get_mut(&socket)
        {
            *ends = [said.local, said.peer];
        }
    }

    /// Where the socket of a call could not be looked at in time, as it was closed at once: its ends by the states that it went through.
    fn look_by_states(&mut self, pid: Tid, tid: Tid, nr: u64, result: i64) {
        let Backend::Recorded(recorded) = &self.backend else { return };
        let is_whole = |(_, look): &(i32, Look)| look.local.is_some() && look.peer.is_some();
        if recorded.looks.iter().any(is_whole) || !recorded.trace.has_states() {
            return;
        }
        let Some(inside) = self.tracees.get(&tid).and_then(|tracee| tracee.inside.as_ref()) else { return };
        let (fd, ends) = match nr as i64 {
            libc::SYS_accept | libc::SYS_accept4 if result >= 0 => {
                (result as i32, self.ends_at_close(pid, tid, result as i32))
            }
            _ if decode::connects(nr, inside.args) => {
                let socket = recorded.connecting.get(&tid).copied();
                (inside.args[0] as i32, socket.and_then(|socket| self.ends_of(socket)))
            }
            _ => return,
        };
        let Some([local, peer]) = ends else { return };
        let own = inside.sockets.first().and_then(|used| used.socket).filter(|_| decode::connects(nr, inside.args));
        let Backend::Recorded(recorded) = &mut self.backend else { return };
        let id = own.unwrap_or_else(|| recorded.name());
        let look = Look { id, local: Some(local), peer: Some(peer), info: None, unread: None, at: now() };
        recorded.looks = vec![(fd, look)];
    }

    /// The ends of a socket whose connecting was recorded, by what was said of it until now or afterwards.
    fn ends_of(&self, socket: KernelSocket) -> Option<[SocketAddr; 2]> {
        let Backend::Recorded(recorded) = &self.backend else { return None };
        let known = recorded.ends.get(&socket).copied()?;
        if known[0].port() != 0 {
            return Some(known);
        }
        recorded.queue.iter().find_map(|queued| match &queued.what {
            What::Record(ProgramRecord { what: ProgramAct::State(said), .. })
                if said.socket == Some(socket) && said.local.port() != 0 && said.peer == known[1] =>
            {
                Some([said.local, said.peer])
            }
            _ => None,
        })
    }

    /// The ends of the connection at a descriptor that is closed soon: the state that its socket leaves while a thread closes it.
    fn ends_at_close(&self, pid: Tid, by: Tid, fd: i32) -> Option<[SocketAddr; 2]> {
        let Backend::Recorded(recorded) = &self.backend else { return None };
        let files = self.tracees.get(&by).map(|tracee| tracee.files);
        let mut closing: Option<(Tid, bool)> = None;
        for queued in &recorded.queue {
            let What::Record(record) = &queued.what else { continue };
            match (&record.what, closing) {
                (ProgramAct::Entered { nr, args, .. }, None)
                    if matches!(*nr as i64, libc::SYS_close | libc::SYS_shutdown) && args[0] as i32 == fd =>
                {
                    let same = self.tracees.get(&record.tid).map(|tracee| tracee.files) == files;
                    if record.pid == pid || same {
                        closing = Some((record.tid, *nr as i64 == libc::SYS_close));
                    }
                }
                (ProgramAct::State(said), Some((tid, _))) if record.tid == tid => {
                    let KernelAct::State { from, .. } = said.what else { continue };
                    if matches!(from, State::Established | State::CloseWait | State::SynReceived) {
                        return Some([said.local, said.peer]);
                    }
                }
                // It changed nothing: the peer had reset the connection, or there are copies. After a close the number is another socket's.
                (ProgramAct::Returned { .. }, Some((tid, gives_up))) if record.tid == tid => {
                    if gives_up {
                        return None;
                    }
                    closing = None;
                }
                _ => {}
            }
        }
        None
    }

    /// Takes over a descriptor that a process had when it was joined.
    fn found(&mut self, tid: Tid, fd: i32, look: &Look, until_exec: bool, unread: Option<u32>, at: Timestamp) {
        let Some(files) = self.tracees.get(&tid).map(|tracee| tracee.files) else { return };
        if self.descriptors.at(files, fd).is_some() {
            return;
        }
        self.descriptors.open(files, fd, look.id);
        self.descriptors.mark(files, fd, until_exec);
        self.learn(look);
        let used = SocketUse { info: look.info.clone(), ..used(&self.descriptors, look.id, fd, Role::On) };
        let id = self.enter(tid, &Op::Found { unread }, std::slice::from_ref(&used), at, Stack::default());
        self.finish(id, Returned { at, result: Ok(0), octets: None, preview: Vec::new() }, vec![used], &[]);
    }

    /// A thread was in a call when its process was joined, unless it has been heard of since.
    fn was_inside(&mut self, tid: Tid, nr: u64, args: [u64; 6], mut stack: UserStack, at: Timestamp) {
        let is_new = self.tracees.get(&tid).is_some_and(|tracee| tracee.inside.is_none() && tracee.seen < at);
        if is_new {
            let is_of_another = self.is_over_by_the_look(tid, &stack);
            stack.beside = stack.beside.filter(|_| !is_of_another);
            self.enters(tid, false, nr, args, Memory::Stack(&stack), at);
        }
    }
}

/// Whether what a call makes shares the descriptors of its thread; `None` for other calls, and where its arguments cannot be read.
fn shares_files(nr: u64, args: [u64; 6], stack: &UserStack) -> Option<bool> {
    let flags = match nr as i64 {
        libc::SYS_clone => args[0],
        libc::SYS_clone3 => Memory::Stack(stack).word(args[0])?,
        _ => return None,
    };
    Some(flags & libc::CLONE_FILES as u64 != 0)
}

/// Whether what a process does gives up a descriptor.
fn gives_up(what: &ProgramAct, fd: i32) -> bool {
    let ProgramAct::Entered { nr, args, .. } = what else {
        return matches!(what, ProgramAct::Ended | ProgramAct::Named { executes: true, .. });
    };
    match *nr as i64 {
        libc::SYS_close => args[0] as i32 == fd,
        libc::SYS_dup3 => args[1] as i32 == fd,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2 => args[1] as i32 == fd,
        libc::SYS_close_range => u32::try_from(fd).is_ok_and(|fd| (args[0] as u32..=args[1] as u32).contains(&fd)),
        libc::SYS_exit_group => true,
        _ => false,
    }
}

/// The TCP sockets of a process, as they are looked at, with those that exec closes or without them.
fn sockets_of(pid: Tid, with_those_until_exec: bool) -> Vec<(i32, Look)> {
    let Some(handle) = system::process(pid) else { return Vec::new() };
    let fds = system::sockets_of(pid).into_iter();
    let fds = fds.filter(|fd| with_those_until_exec || !system::is_until_exec(pid, *fd));
    fds.filter_map(|fd| Some((fd, system::look(&handle, fd)?))).collect()
}

/// Why a thread of a process cannot be recorded.
fn refused(pid: Tid, error: &io::Error, descriptors: u64) -> Refused {
    match error.raw_os_error() {
        Some(libc::EMFILE | libc::ENFILE) => Refused::Descriptors(descriptors),
        Some(libc::ENOENT) => Refused::Absent,
        Some(libc::EACCES | libc::EPERM) => match system::is_of_this_user(pid) {
            Some(false) => Refused::OtherUser,
            _ => Refused::Forbidden,
        },
        _ => Refused::Other(error.to_string()),
    }
}

/// How long a record waits in its buffer at most, in milliseconds.
const LOOK: u16 = 10;
/// How long a look at a socket may take.
const LONGEST_LOOK: Span = Span::from_millis(10);
/// How often it is seen whether threads are still there.
const CHECK: Span = Span::from_millis(500);
/// Ioctls that mark a descriptor (asm-generic/ioctls.h).
const FIOCLEX: u64 = 0x5451;
const FIONCLEX: u64 = 0x5450;
