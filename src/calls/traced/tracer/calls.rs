//! Calls from their entry to their return: what they are about, and what became of it.

use super::super::super::{
    Activity, Call, CallId, Errno, MessageFlags, Op, PollEvents, Returned, Role, SocketChange, SocketFlags, SocketUse,
    Stack, ThreadId,
};
use super::super::abi::{ARCH, X32};
use super::super::decode::{self, About, Asked, asked};
use super::super::descriptors::{Awaited, Descriptors, FilesId, Gone};
use super::super::system::{self, Memory, On, Syscall, Tid};
use super::sockets::Accepted;
use super::{Inside, Telling, Tracer, may_be_mistaken, used};
use crate::kernel::now;
use crate::time::Timestamp;

impl Tracer<'_> {
    /// A thread has stopped as it is about to make a call.
    pub(super) fn entered(&mut self, tid: Tid) {
        let at = now();
        let on = match system::syscall_of(tid) {
            Some(Syscall::Entry { arch, nr, args }) => self.enters(tid, arch != ARCH, nr, args, Memory::Of(tid), at),
            _ => On::Freely,
        };
        system::resume(tid, on, 0);
    }

    /// A thread is about to make a call; whether its return is of interest.
    pub(super) fn enters(
        &mut self,
        tid: Tid,
        is_foreign: bool,
        nr: u64,
        args: [u64; 6],
        memory: Memory<'_>,
        at: Timestamp,
    ) -> On {
        if is_foreign || nr & u64::from(X32) != 0 {
            self.notice_other_abi(tid);
            return On::Freely;
        }
        let Some(tracee) = self.tracees.get_mut(&tid) else { return On::Freely };
        tracee.seen = at;
        let again = nr as i64 == libc::SYS_restart_syscall;
        if let Some(inside) = &mut tracee.inside
            && inside.interrupted.take().is_some()
        {
            if again || (inside.nr, inside.args) == (nr, args) {
                return On::ToTheReturn;
            }
            self.give_up_interrupted(tid, memory);
        }
        let Some(tracee) = self.tracees.get_mut(&tid) else { return On::Freely };
        // Most calls of most programs are about no socket at all.
        let fd = args[0] as i32;
        let is_transfer = matches!(
            nr as i64,
            libc::SYS_read
                | libc::SYS_write
                | libc::SYS_readv
                | libc::SYS_writev
                | libc::SYS_preadv2
                | libc::SYS_pwritev2
                | libc::SYS_close
                | libc::SYS_dup
        );
        let files = tracee.files;
        if is_transfer && self.descriptors.at(files, fd).is_none() {
            let is_copy = nr as i64 == libc::SYS_dup;
            let is_mistake = !is_copy && self.descriptors.was_closed(files, fd);
            if nr as i64 == libc::SYS_close {
                self.descriptors.closes_other(files, fd);
            }
            if !(is_mistake || is_copy && self.descriptors.is_epoll(files, fd)) {
                return On::Freely;
            }
        }
        let Some(asked) = asked(nr, args, memory) else { return On::Freely };
        self.send_descriptors(files, &asked, memory);
        let is_of_interest = self.begin(tid, nr, args, asked, memory, at);
        if is_of_interest { On::ToTheReturn } else { On::Freely }
    }

    /// Begins a call; whether its return is of interest.
    pub(super) fn begin(
        &mut self,
        tid: Tid,
        nr: u64,
        args: [u64; 6],
        asked: Asked,
        memory: Memory<'_>,
        at: Timestamp,
    ) -> bool {
        let Some(tracee) = self.tracees.get_mut(&tid) else { return false };
        let files = tracee.files;
        let table = &mut self.descriptors;
        let on = |table: &Descriptors, fd: i32, role| table.at(files, fd).map(|socket| used(table, socket, fd, role));
        let polled = |table: &Descriptors, watched: &[(i32, PollEvents)]| -> Vec<_> {
            let role = |events| Role::Polled { events, revents: None };
            watched.iter().filter_map(|(fd, events)| on(table, *fd, role(*events))).collect()
        };
        let (mut asked, mut sockets, mut gone) = (asked, Vec::new(), Vec::new());
        // Its name and stack, where it was told already.
        let mut entered = None;
        let mut telling = match asked.op {
            Op::GetOption { .. } => Telling::WhenItReturns,
            Op::Address { .. } => Telling::WhereCut,
            _ => Telling::AtOnce,
        };
        match asked.about.clone() {
            About::New if asked.makes_tcp() => {}
            About::New | About::Again => return false,
            About::Program => {
                tracee.executes = Some(at);
                // It is named as long as it has its name.
                if !self.descriptors.all(files).is_empty() {
                    self.thread(tid);
                }
                return false;
            }
            About::Ring => {
                self.notice_ring(tid);
                return false;
            }
            About::NewEpoll => telling = Telling::Never,
            About::Unshared => {
                if table.threads(files) > 1 {
                    let own = table.copy(files);
                    table.leave(files);
                    tracee.files = own;
                }
                return false;
            }
            About::Taken => telling = Telling::WhereMistaken,
            About::Fd(fd) => match on(table, fd, Role::On) {
                Some(mut used) => {
                    if asked.op == Op::Close {
                        // From here on the number may be given to another, before this call has returned.
                        gone.extend(table.close(files, fd));
                        if gone.iter().any(|gone| gone.last) {
                            used.role = Role::Released;
                        }
                    }
                    if let Op::Send { .. } = asked.op {
                        used.peer = used.peer.or_else(|| decode::connects_to(nr, args, memory));
                    }
                    sockets.push(used);
                }
                // What is no TCP socket is told only where the call says that it is none, or that there is none.
                None if may_be_mistaken(&asked.op) || asked.has_control(memory) => {
                    telling = Telling::WhereMistaken;
                    let used =
                        SocketUse { socket: None, fd: Some(fd), role: Role::On, local: None, peer: None, info: None };
                    sockets.push(used);
                }
                None => return false,
            },
            About::Copy(from, to) => {
                let to = to.filter(|to| *to != from);
                let source = on(table, from, Role::On);
                let target = to.and_then(|to| on(table, to, Role::On));
                if source.is_none() && target.is_none() && !table.is_epoll(files, from) {
                    if let Some(to) = to {
                        table.closes_other(files, to);
                    }
                    return false;
                }
                if source.is_none() && target.is_none() {
                    telling = Telling::Never;
                }
                if let (Some(mut target), Some(to)) = (target, to) {
                    gone.extend(table.close(files, to));
                    if gone.iter().any(|gone| gone.last) {
                        target.role = Role::Released;
                    }
                    sockets.push(target);
                }
                sockets.extend(source);
            }
            About::Between(from, to) => {
                let (source, target) = (on(table, from, Role::On), on(table, to, Role::On));
                if target.is_none() && source.is_some() {
                    asked = asked.into_receive();
                }
                sockets.extend(target.or(source));
                if sockets.is_empty() {
                    return false;
                }
            }
            About::Several(watched) => {
                sockets.extend(polled(table, &watched));
                if sockets.is_empty() {
                    return false;
                }
            }
            About::Interest(epoll, interest, _) => {
                if table.at(files, interest.fd).is_none() {
                    return false;
                }
                let before = table.interest(files, epoll, interest);
                asked.about = About::Interest(epoll, interest, before);
                telling = Telling::Never;
            }
            About::Epoll(epoll) => {
                let watched = table.interests(files, epoll, MOST_WAITED_FOR);
                sockets.extend(watched.into_iter().map(|awaited| waited_for(table, awaited, None)));
                if sockets.is_empty() {
                    return false;
                }
            }
            About::Range(first, last, closing) => {
                if closing.unshares && table.threads(files) > 1 {
                    let own = table.copy(files);
                    table.leave(files);
                    tracee.files = own;
                }
                let files = tracee.files;
                let within = |fd: &i32| u32::try_from(*fd).is_ok_and(|fd| (first..=last).contains(&fd));
                if closing.only_marks {
                    let marked = table.all(files).into_iter().filter(|(fd, _)| within(fd));
                    marked.for_each(|(fd, _)| table.mark(files, fd, true));
                    return false;
                }
                table.closes_others(files, first..=last);
                for (fd, socket) in table.all(files).into_iter().filter(|(fd, _)| within(fd)) {
                    let mut used = used(table, socket, fd, Role::On);
                    let closed = table.close(files, fd);
                    if closed.is_some_and(|gone| gone.last) {
                        used.role = Role::Released;
                    }
                    gone.extend(closed);
                    sockets.push(used);
                }
                if sockets.is_empty() {
                    return false;
                }
                // A call of its own for each socket: the first is the one that is waited for.
                let rest = sockets.split_off(1);
                let others = gone.split_off(1);
                let stack = self.stack(tid, memory);
                let id = self.enter(tid, &asked.op, &sockets, at, stack.clone());
                let mut all = vec![(id, sockets, gone)];
                for (used, gone) in rest.into_iter().zip(others) {
                    let sockets = vec![used];
                    all.push((self.enter(tid, &asked.op, &sockets, at, stack.clone()), sockets, vec![gone]));
                }
                let kept = all.split_off(1);
                let Some(first) = all.pop() else { return false };
                for (id, sockets, gone) in kept {
                    // They return as the first one does; that the kernel closes them all is certain from here on.
                    let returned = Returned { at, result: Ok(0), octets: None, preview: Vec::new() };
                    self.finish(id, returned, sockets, &gone);
                }
                let id = first.0;
                (sockets, gone) = (first.1, first.2);
                entered = Some((id, stack));
            }
        }
        let (id, stack) = entered.unwrap_or_else(|| {
            // Where it is told later, the stack is no longer there.
            let is_rare = matches!(telling, Telling::WhereMistaken | Telling::WhereCut | Telling::Never);
            let stack = if is_rare { Stack::default() } else { self.stack(tid, memory) };
            let id = match telling {
                Telling::AtOnce => self.enter(tid, &asked.op, &sockets, at, stack.clone()),
                _ => CallId { thread: ThreadId(u32::MAX), n: 0 },
            };
            (id, stack)
        });
        self.set_inside(
            tid,
            Inside {
                id,
                nr,
                args,
                asked,
                entered: at,
                sockets,
                telling,
                gone,
                there_since: None,
                interrupted: None,
                stack,
            },
        );
        true
    }

    pub(super) fn set_inside(&mut self, tid: Tid, inside: Inside) {
        if let Some(tracee) = self.tracees.get_mut(&tid) {
            tracee.inside = Some(inside);
        }
    }

    /// Tells that a call was entered, and gives it its name.
    pub(super) fn enter(&mut self, tid: Tid, op: &Op, sockets: &[SocketUse], at: Timestamp, stack: Stack) -> CallId {
        let id = self.next_call(tid);
        let call = Call { id, entered: at, op: op.clone(), sockets: sockets.to_vec(), returned: None, stack };
        self.calls += 1;
        (self.heard)(Activity::Entered(call));
        id
    }

    pub(super) fn next_call(&mut self, tid: Tid) -> CallId {
        let thread = self.thread(tid);
        let n = self.tracees.get_mut(&tid).map_or(0, |tracee| {
            tracee.calls += 1;
            tracee.calls - 1
        });
        CallId { thread, n }
    }

    /// A thread has stopped as its call returns.
    pub(super) fn left(&mut self, tid: Tid) {
        let at = now();
        let Some(Syscall::Return(result)) = system::syscall_of(tid) else {
            return system::resume(tid, On::ToTheReturn, 0);
        };
        self.returns(tid, result, Memory::Of(tid), at);
        system::resume(tid, On::Freely, 0);
    }

    /// A call returns.
    pub(super) fn returns(&mut self, tid: Tid, result: i64, memory: Memory<'_>, at: Timestamp) {
        let inside = self.tracees.get_mut(&tid).and_then(|tracee| {
            tracee.seen = at;
            tracee.inside.take()
        });
        if let Some(mut inside) = inside {
            // The kernel's own numbers, which no program sees: the call goes on, or fails with EINTR (include/linux/errno.h).
            if (-516..=-512).contains(&result) {
                inside.interrupted = Some(at);
                self.set_inside(tid, inside);
            } else {
                self.complete(tid, inside, at, result, memory);
            }
        }
    }

    /// The thread does something else after a signal: to the program the call has failed with EINTR.
    pub(super) fn give_up_interrupted(&mut self, tid: Tid, memory: Memory<'_>) {
        let inside = self.tracees.get_mut(&tid).and_then(|tracee| tracee.inside.take());
        if let Some(inside) = inside {
            let at = inside.interrupted.unwrap_or(inside.entered);
            self.complete(tid, inside, at, -i64::from(libc::EINTR), memory);
        }
    }

    pub(super) fn complete(&mut self, tid: Tid, mut inside: Inside, at: Timestamp, result: i64, memory: Memory<'_>) {
        let returned = inside.asked.returned(at, result, memory);
        let ok = returned.result.is_ok();
        let Some(files) = self.tracees.get(&tid).map(|tracee| tracee.files) else { return };
        let new_fd = returned.result.ok().and_then(|fd| i32::try_from(fd).ok());
        let mut look_at = None;
        match (&inside.asked.op, &inside.asked.about) {
            (Op::Socket { flags, .. }, _) => {
                if let Some(fd) = new_fd {
                    let until_exec = flags.contains(SocketFlags::SOCK_CLOEXEC);
                    inside.sockets.extend(self.made(tid, files, fd, None));
                    self.descriptors.mark(files, fd, until_exec);
                }
            }
            (Op::Accept { flags, .. }, About::Fd(_)) if inside.telling == Telling::AtOnce => {
                if let Some(fd) = new_fd {
                    let until_exec = flags.is_some_and(|flags| flags.contains(SocketFlags::SOCK_CLOEXEC));
                    let from = inside.asked.accepted_from(inside.args, memory);
                    let local = inside.sockets.first().and_then(|used| used.local);
                    inside.sockets.extend(self.made(tid, files, fd, Some(Accepted { from, local })));
                    self.descriptors.mark(files, fd, until_exec);
                }
            }
            (Op::Duplicate { .. }, About::Copy(from, _)) => {
                if let Some(to) = new_fd.filter(|to| to != from) {
                    if let Some(socket) = self.descriptors.at(files, *from) {
                        self.descriptors.open(files, to, socket);
                        self.descriptors.mark(files, to, copies_until_exec(inside.nr, inside.args));
                        let (thread, change) = (inside.id.thread, SocketChange::Duplicated { from: *from, to });
                        self.tell_socket(at, thread, Some(inside.id), socket, change);
                        self.holds(tid, to, socket);
                    } else {
                        self.descriptors.copies_other(files, *from, to);
                    }
                }
            }
            (Op::Connect { .. } | Op::Bind { .. } | Op::Listen { .. }, About::Fd(fd)) => look_at = Some(*fd),
            (Op::Shutdown { .. } | Op::SetOption { .. }, About::Fd(fd)) => look_at = Some(*fd),
            // A transfer says nothing new of the state but at its end, and where it fails.
            // With Fast Open it connects, too.
            (Op::Send { flags, .. }, About::Fd(fd)) if !ok || flags.contains(MessageFlags::MSG_FASTOPEN) => {
                look_at = Some(*fd);
            }
            (Op::Receive { .. }, About::Fd(fd)) if returned.result.unwrap_or(0) <= 0 => look_at = Some(*fd),
            (_, About::Several(watched)) if ok => {
                let found = inside.asked.found(inside.args, returned.result.unwrap_or(0), memory);
                for (n, (fd, _)) in watched.iter().enumerate() {
                    for used in inside.sockets.iter_mut().filter(|used| used.fd == Some(*fd)) {
                        if let Role::Polled { revents, .. } = &mut used.role {
                            *revents = found.get(n).copied();
                        }
                    }
                }
            }
            (_, About::Epoll(epoll)) if ok => {
                let ready = inside.asked.ready(inside.args, returned.result.unwrap_or(0), memory);
                if let Some(ready) = ready {
                    self.find_ready(files, *epoll, &ready, &mut inside.sockets);
                }
            }
            (_, About::NewEpoll) => {
                if let Some(fd) = new_fd {
                    self.descriptors.made_epoll(files, fd);
                }
                return;
            }
            (Op::Address { by, .. }, About::Fd(fd)) if ok => {
                if let Some(socket) = self.descriptors.at(files, *fd) {
                    self.learn_name(socket, *by, inside.asked.named(inside.args, memory));
                }
            }
            (_, About::Interest(epoll, interest, before)) => {
                if !ok {
                    self.descriptors.interest_stays(files, *epoll, interest.fd, *before);
                }
                return;
            }
            (_, About::Taken) => {
                if let Some(fd) = new_fd {
                    self.took(tid, files, fd, at);
                }
                return;
            }
            _ => {}
        }
        if let Some(fd) = look_at {
            self.look_after(tid, &mut inside, fd);
            if let (Op::Bind { address: Some(address) }, true) = (&inside.asked.op, ok) {
                let address = *address;
                self.is_bound(&mut inside, address);
            }
        }
        self.pass_descriptors(tid, files, &inside, ok, memory, at);
        let is_mistaken = matches!(returned.result, Err(Errno(libc::ENOTSOCK | libc::EBADF)));
        let number = inside.sockets.first().filter(|used| used.socket.is_none()).and_then(|used| used.fd);
        if let Some(number) = number.filter(|_| inside.telling == Telling::WhereMistaken)
            && returned.result != Err(Errno(libc::EBADF))
        {
            self.descriptors.is_another(files, number);
        }
        match inside.telling {
            Telling::WhereMistaken if !is_mistaken => return,
            Telling::Never => return,
            Telling::WhereCut if !is_mistaken && !inside.asked.has_cut(inside.args, returned.result, memory) => return,
            _ => {}
        }
        if inside.telling != Telling::AtOnce {
            if inside.stack.is_empty() {
                inside.stack = self.stack(tid, memory);
            }
            inside.id = self.enter(tid, &inside.asked.op, &inside.sockets, inside.entered, inside.stack.clone());
        }
        // What the call wrote into its arguments is known only now.
        self.finish(inside.id, returned, inside.sockets, &inside.gone);
    }

    /// Takes in which sockets a wait of an epoll found ready, those included that were not named as it began.
    fn find_ready(&mut self, files: FilesId, epoll: i32, ready: &[(PollEvents, u64)], sockets: &mut Vec<SocketUse>) {
        for used in &mut *sockets {
            if let Role::Polled { revents, .. } = &mut used.role {
                *revents = Some(PollEvents::empty());
            }
        }
        for (found, data) in ready {
            let Some(awaited) = self.descriptors.found_ready(files, epoll, *data) else { continue };
            let used = waited_for(&self.descriptors, awaited, Some(*found));
            match sockets.iter_mut().find(|known| (known.fd, known.socket) == (used.fd, used.socket)) {
                Some(known) => known.role = used.role,
                None => sockets.push(used),
            }
        }
    }

    /// Tells that a descriptor was closed.
    pub(super) fn tell_gone(&mut self, at: Timestamp, thread: ThreadId, call: Option<CallId>, gone: Gone) {
        let Gone { fd, socket, last, is_out_of_sight, .. } = gone;
        self.tell_socket(at, thread, call, socket, SocketChange::Released { fd, last });
        if is_out_of_sight {
            self.tell_socket(at, thread, call, socket, SocketChange::LostSight);
        }
    }

    /// Tells that a call returned, and what became of its sockets.
    pub(super) fn finish(&mut self, id: CallId, returned: Returned, sockets: Vec<SocketUse>, gone: &[Gone]) {
        let at = returned.at;
        let made: Vec<_> = sockets.iter().filter(|used| used.role == Role::Made).cloned().collect();
        (self.heard)(Activity::Returned { call: id, returned, sockets });
        for used in made {
            if let (Some(socket), Some(fd)) = (used.socket, used.fd) {
                self.tell_socket(at, id.thread, Some(id), socket, SocketChange::Created { fd });
            }
        }
        for gone in gone {
            self.tell_gone(at, id.thread, Some(id), *gone);
        }
    }
}

/// A socket that an epoll waits for, and what was found there.
fn waited_for(descriptors: &Descriptors, awaited: Awaited, revents: Option<PollEvents>) -> SocketUse {
    let Awaited { fd, socket, events } = awaited;
    SocketUse { fd, ..used(descriptors, socket, -1, Role::Polled { events, revents }) }
}

/// How many of the sockets that an epoll waits for are named as a wait begins.
pub(super) const MOST_WAITED_FOR: usize = 16;

/// Whether a call that copies a descriptor has the copy closed by exec.
fn copies_until_exec(nr: u64, args: [u64; 6]) -> bool {
    match nr as i64 {
        libc::SYS_dup3 => args[2] as i32 & libc::O_CLOEXEC != 0,
        libc::SYS_fcntl => args[1] as i32 == libc::F_DUPFD_CLOEXEC,
        _ => false,
    }
}
