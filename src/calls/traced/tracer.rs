//! The tracer: threads stop at the calls that are watched, are asked what they do, and go on.

mod calls;
mod lives;
mod nameless;
mod names;
mod queue;
mod recorded;
mod sockets;

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};

use nix::sys::signal::{SaFlags, SigAction, SigEvent, SigHandler, SigSet, SigevNotify, Signal, sigaction};
use nix::sys::time::TimeSpec;
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::time::ClockId;

use super::super::{
    Activity, CallId, Op, Process, ProcessId, Role, SocketChange, SocketEvent, SocketId, SocketUse, Stack, Thread,
    ThreadId, Threads,
};
use super::decode::Asked;
use super::descriptors::{Descriptors, FilesId, Gone};
use super::launch::{Held, Hold, Program, Unstarted};
use super::stack::Stacks;
use super::system::{self, Memory, On, Tid, Waited, Waiter};
use crate::hash::HashMap;
use crate::kernel::now;
use crate::time::{Span, Timestamp};

use queue::Recorded;
pub use queue::{Joining, Refused};

/// Watches programs and everything that they start, and tells of their calls on TCP sockets as they happen.
///
/// All of it is the work of one thread, the one that made it. Every watched process ends with the tracer's own.
pub struct Tracer<'a> {
    threads: &'a Mutex<Threads>,
    heard: Box<dyn FnMut(Activity) + 'a>,
    tracees: HashMap<Tid, Tracee>,
    processes: HashMap<Tid, Watched>,
    /// Threads that stopped before their parents told of them, how, and when.
    early: HashMap<Tid, (i32, i32, Timestamp)>,
    descriptors: Descriptors,
    programs: Vec<Started>,
    notices: Vec<Notice>,
    calls: u64,
    made: u64,
    waiter: Waiter,
    backend: Backend,
    /// Where stacks are asked for.
    stacks: Option<Stacks>,
}

/// How calls are watched.
enum Backend {
    /// Threads stop at them (ptrace).
    Stopped(#[expect(dead_code, reason = "it interrupts the waiting for as long as it is")] Option<Ticks>),
    /// The kernel records them (perf_event_open).
    Recorded(Box<Recorded>),
}

/// Names a program that was started, in the order of starting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ProgramId(pub usize);

/// What a turn brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Turn {
    /// A thread stopped, or ended.
    Stop,
    /// Nothing for a moment, or a signal came to this process.
    Nothing,
    /// No process is left.
    Over,
}

/// How a program ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// With an exit status.
    Exited(i32),
    /// By a signal.
    Killed(i32),
    /// It never began.
    Unstarted(Unstarted),
}

/// What could not be watched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A process makes calls of the 32-bit ABI, or of x32, on sockets: they are not seen.
    OtherAbi {
        /// Which.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// A process made an io_uring: socket work done through it makes no calls.
    Ring {
        /// Which.
        pid: u32,
        /// Its name.
        comm: String,
    },
    /// So many more processes did the one or the other.
    More(u64),
}

struct Started {
    held: Held,
    /// By which its end is heard of where nothing stops it.
    handle: Option<OwnedFd>,
    ended: Option<Ended>,
    /// Whether it has executed its program.
    has_begun: bool,
}

/// A thread that is watched.
struct Tracee {
    pid: Tid,
    files: FilesId,
    thread: Option<ThreadId>,
    calls: u64,
    inside: Option<Inside>,
    /// Its name, where that is recorded.
    comm: Option<String>,
    /// When it was heard of last.
    seen: Timestamp,
    /// When it began to execute a program.
    executes: Option<Timestamp>,
    /// Whether what it makes now has its table of descriptors, as the call asks for that.
    shares: Option<bool>,
    /// Its end has begun, and these calls with it.
    is_ending: bool,
    exits: Vec<(CallId, SocketUse)>,
}

/// A process that is watched.
#[derive(Default)]
struct Watched {
    handle: Option<OwnedFd>,
    process: Option<ProcessId>,
    /// When the end of its first thread to end began.
    ends: Option<Timestamp>,
    has_other_abi: bool,
    has_ring: bool,
}

/// A call that has been entered.
struct Inside {
    id: CallId,
    nr: u64,
    args: [u64; 6],
    asked: Asked,
    entered: Timestamp,
    sockets: Vec<SocketUse>,
    telling: Telling,
    /// The descriptors that it gave up.
    gone: Vec<Gone>,
    /// Where it connects to if the program has not put another address there by the time at which that was read.
    there_since: Option<SocketAddr>,
    /// A signal ended it; it may go on afterwards.
    interrupted: Option<Timestamp>,
    stack: Stack,
}

/// When a call is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Telling {
    /// As it is entered.
    AtOnce,
    /// When it has returned, as only then it is known what it was about.
    WhenItReturns,
    /// Then, if it failed because its descriptor is no socket, or none at all.
    WhereMistaken,
    /// Then, if that was the reason, or if it was told of less room for an address than the address takes.
    WhereCut,
    /// Never: whether it fails is what matters.
    Never,
}

impl<'a> Tracer<'a> {
    /// A tracer that puts threads down in `threads`, and has `heard` told of calls and sockets; it must not block.
    pub fn new(threads: &'a Mutex<Threads>, heard: impl FnMut(Activity) + 'a) -> Self {
        Self {
            threads,
            heard: Box::new(heard),
            tracees: HashMap::default(),
            processes: HashMap::default(),
            early: HashMap::default(),
            descriptors: Descriptors::default(),
            programs: Vec::new(),
            notices: Vec::new(),
            calls: 0,
            made: 0,
            waiter: Waiter::new(),
            backend: Backend::Stopped(Ticks::start()),
            stacks: None,
        }
    }

    /// Has the stack of each call looked at.
    #[must_use]
    pub fn with_stacks(self) -> Self {
        Self { stacks: Some(Stacks::default()), ..self }
    }

    /// Makes the process of a program and attaches to it; it waits until it is [released](Self::release).
    ///
    /// # Errors
    /// The step that failed.
    pub fn prepare(&mut self, program: &Program) -> Result<ProgramId, Unstarted> {
        let others = self.programs.iter().map(|program| &program.held);
        let held = program.hold(others, if self.is_recorded() { Hold::ToRecord } else { Hold::ToStop })?;
        let files = self.descriptors.begin();
        self.tracees.insert(held.pid, Tracee::new(held.pid, files, now()));
        self.processes.insert(held.pid, Watched::default());
        if self.is_recorded() {
            self.record(&held, files)?;
        }
        let handle = if self.is_recorded() { system::process(held.pid) } else { None };
        self.programs.push(Started { held, handle, ended: None, has_begun: false });
        Ok(ProgramId(self.programs.len() - 1))
    }

    /// Lets a prepared program begin.
    pub fn release(&mut self, program: ProgramId) {
        if let Some(program) = self.programs.get_mut(program.0) {
            program.held.go();
        }
    }

    /// Has a prepared program end without having begun.
    pub fn give_up(&mut self, program: ProgramId) {
        if let Some(program) = self.programs.get_mut(program.0) {
            program.held.release_to_nothing();
        }
    }

    /// Whether a program was prepared and not released.
    pub fn waits(&self, program: ProgramId) -> bool {
        self.programs.get(program.0).is_some_and(|program| program.held.waits())
    }

    /// Sends a signal to the process of a program that has not ended.
    pub fn signal(&self, program: ProgramId, signal: i32) {
        if let Some(program) = self.programs.get(program.0).filter(|program| program.ended.is_none()) {
            // SAFETY: kill takes numbers; the process was not waited for, so that its number is still its own.
            unsafe { libc::kill(program.held.pid, signal) };
        }
    }

    /// Sends a signal to every process that is watched.
    pub fn signal_all(&self, signal: i32) {
        for pid in self.processes.keys() {
            // SAFETY: kill takes numbers; none of these processes was waited for.
            unsafe { libc::kill(*pid, signal) };
        }
    }

    /// How a program ended; `None` while it has not.
    pub fn ended(&self, program: ProgramId) -> Option<Ended> {
        self.programs.get(program.0)?.ended
    }

    /// The number of a program's process.
    pub fn pid(&self, program: ProgramId) -> Option<u32> {
        self.programs.get(program.0).map(|program| program.held.pid as u32)
    }

    /// How many calls were told.
    pub fn calls(&self) -> u64 {
        self.calls
    }

    /// What could not be watched, each once.
    pub fn notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Waits for what comes next, and deals with it.
    pub fn turn(&mut self) -> Turn {
        if self.is_recorded() {
            return self.read();
        }
        match self.waiter.wait() {
            Waited::Stopped(tid, signal, event) => self.stopped(tid, signal, event),
            Waited::Exited(tid, status) => self.over(tid, Ended::Exited(status)),
            Waited::Killed(tid, signal) => self.over(tid, Ended::Killed(signal)),
            Waited::Interrupted => {
                self.adopt_orphans();
                return Turn::Nothing;
            }
            Waited::Nobody => return Turn::Over,
        }
        Turn::Stop
    }

    fn stopped(&mut self, tid: Tid, signal: i32, event: i32) {
        if !self.tracees.contains_key(&tid) {
            self.early.insert(tid, (signal, event, now()));
            return;
        }
        match event {
            0 if signal == libc::SIGTRAP | 0x80 => self.left(tid),
            // A signal on its way to the thread.
            0 => system::resume(tid, On::Freely, signal),
            libc::PTRACE_EVENT_SECCOMP => self.entered(tid),
            libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK | libc::PTRACE_EVENT_CLONE => {
                if let Some(child) = system::event_of(tid) {
                    self.born(child, tid);
                }
                system::resume(tid, On::Freely, 0);
            }
            libc::PTRACE_EVENT_EXEC => self.executes(tid),
            libc::PTRACE_EVENT_EXIT => {
                let at = now();
                if let Some(watched) = self.tracees.get(&tid).and_then(|tracee| self.processes.get_mut(&tracee.pid)) {
                    watched.ends.get_or_insert(at);
                }
                self.ends(tid, at);
                system::resume(tid, On::Freely, 0);
            }
            // The whole process was stopped (job control): it stays so until it is continued.
            libc::PTRACE_EVENT_STOP if signal != libc::SIGTRAP => system::resume(tid, On::Stopped, 0),
            _ => system::resume(tid, On::Freely, 0),
        }
    }

    /// The stack of a thread that makes a call, if it is to be looked at.
    fn stack(&mut self, tid: Tid, memory: Memory<'_>) -> Stack {
        let (Some(stacks), Some(tracee)) = (&mut self.stacks, self.tracees.get(&tid)) else { return Stack::default() };
        let registers = memory.registers();
        registers.map_or_else(Stack::default, |registers| stacks.stack(tracee.pid, registers, memory))
    }

    fn tell_socket(
        &mut self,
        at: Timestamp,
        thread: ThreadId,
        call: Option<CallId>,
        socket: SocketId,
        change: SocketChange,
    ) {
        (self.heard)(Activity::Socket(SocketEvent { at, thread, call, socket, change }));
    }

    /// The process as it is put down, which is done when it is first spoken of.
    fn process(&mut self, pid: Tid) -> ProcessId {
        let watched = self.processes.entry(pid).or_default();
        *watched.process.get_or_insert_with(|| {
            let named = self.tracees.get(&pid).and_then(|first| first.comm.clone());
            let comm = named.unwrap_or_else(|| system::comm(pid, pid));
            let process = Process { pid: pid as u32, comm };
            self.threads.lock().unwrap_or_else(PoisonError::into_inner).add_process(process)
        })
    }

    /// The thread, likewise.
    fn thread(&mut self, tid: Tid) -> ThreadId {
        let Some((pid, known)) = self.tracees.get(&tid).map(|tracee| (tracee.pid, tracee.thread)) else {
            return ThreadId(u32::MAX);
        };
        if let Some(known) = known {
            return known;
        }
        let named = self.tracees.get(&tid).and_then(|tracee| tracee.comm.clone());
        let comm = named.unwrap_or_else(|| system::comm(pid, tid));
        let thread = Thread { process: self.process(pid), tid: tid as u32, comm };
        let id = self.threads.lock().unwrap_or_else(PoisonError::into_inner).add(thread);
        if let Some(tracee) = self.tracees.get_mut(&tid) {
            tracee.thread = Some(id);
        }
        id
    }

    /// Whether the kernel records what happens; else threads stop.
    fn is_recorded(&self) -> bool {
        matches!(self.backend, Backend::Recorded(_))
    }

    fn notice_other_abi(&mut self, tid: Tid) {
        let Some(pid) = self.tracees.get(&tid).map(|tracee| tracee.pid) else { return };
        let watched = self.processes.entry(pid).or_default();
        if !std::mem::replace(&mut watched.has_other_abi, true) {
            let comm = self.comm_of(tid, pid);
            self.notice(|| Notice::OtherAbi { pid: pid as u32, comm });
        }
    }

    /// The name of a process: that which was recorded of its thread where the process is gone.
    fn comm_of(&self, tid: Tid, pid: Tid) -> String {
        let comm = system::comm(pid, pid);
        if !comm.is_empty() {
            return comm;
        }
        self.tracees.get(&tid).and_then(|tracee| tracee.comm.clone()).unwrap_or_default()
    }

    fn notice_ring(&mut self, tid: Tid) {
        let Some(pid) = self.tracees.get(&tid).map(|tracee| tracee.pid) else { return };
        let watched = self.processes.entry(pid).or_default();
        if !std::mem::replace(&mut watched.has_ring, true) {
            let comm = self.comm_of(tid, pid);
            self.notice(|| Notice::Ring { pid: pid as u32, comm });
        }
    }

    fn notice(&mut self, notice: impl FnOnce() -> Notice) {
        if let Some(Notice::More(more)) = self.notices.last_mut() {
            *more += 1;
        } else if self.notices.len() == MOST_NOTICES {
            self.notices.push(Notice::More(1));
        } else {
            self.notices.push(notice());
        }
    }
}

impl Tracee {
    fn new(pid: Tid, files: FilesId, seen: Timestamp) -> Self {
        Self {
            pid,
            files,
            thread: None,
            calls: 0,
            inside: None,
            comm: None,
            seen,
            executes: None,
            shares: None,
            is_ending: false,
            exits: Vec::new(),
        }
    }
}

/// A socket as a call uses it, with the addresses that are known.
fn used(descriptors: &Descriptors, socket: SocketId, fd: i32, role: Role) -> SocketUse {
    let (local, peer) = descriptors.addresses(socket);
    SocketUse { local, peer, ..SocketUse::of(socket, fd, role) }
}

/// Whether a call on what is no TCP socket is worth waiting for, as it may say that it is no socket at all.
fn may_be_mistaken(op: &Op) -> bool {
    matches!(
        op,
        Op::Bind { .. }
            | Op::Listen { .. }
            | Op::Connect { .. }
            | Op::Accept { .. }
            | Op::Address { .. }
            | Op::Shutdown { .. }
            | Op::Send { .. }
            | Op::Receive { .. }
            | Op::Close
    )
}

/// A timer that interrupts the waiting of the thread that started it.
struct Ticks {
    _timer: Timer,
}

impl Ticks {
    fn start() -> Option<Self> {
        extern "C" fn nothing(_: libc::c_int) {}
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, which is safe at any moment.
        unsafe { sigaction(Signal::SIGALRM, &action) }.ok()?;
        let here = SigevNotify::SigevThreadId {
            signal: Signal::SIGALRM,
            thread_id: nix::unistd::gettid().as_raw(),
            si_value: 0,
        };
        let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(here)).ok()?;
        let every = Expiration::Interval(TimeSpec::from_duration(TICK));
        timer.set(every, TimerSetTimeFlags::empty()).ok()?;
        Some(Self { _timer: timer })
    }
}

/// How often waiting is interrupted: a signal that comes just before it is waited for again is made up for by the next.
const TICK: std::time::Duration = std::time::Duration::from_millis(50);
/// How long a thread waits for its parent to tell of it.
const ORPHANED: Span = Span::from_millis(1000);
/// How many notices are kept.
const MOST_NOTICES: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_many_processes_that_cannot_be_watched_the_first_are_named_and_the_others_counted() {
        let threads = Mutex::default();
        let mut tracer = Tracer::new(&threads, |_| {});
        let files = tracer.descriptors.begin();
        for pid in 1..=MOST_NOTICES as Tid + 5 {
            tracer.tracees.insert(pid, Tracee::new(pid, files, now()));
            (0..3).for_each(|_| tracer.notice_other_abi(pid));
        }
        tracer.notice_ring(1);
        let notices = tracer.notices();
        assert_eq!((notices.len(), notices.last()), (MOST_NOTICES + 1, Some(&Notice::More(6))));
    }

    /// An epoll waits for more sockets than are named as a wait begins; the last one is found ready.
    #[test]
    fn of_the_sockets_that_an_epoll_waits_for_few_are_named_as_a_wait_begins() {
        use super::super::super::PollEvents;
        use crate::kernel::UserStack;
        let heard = std::cell::RefCell::new(Vec::new());
        let threads = Mutex::default();
        let mut tracer = Tracer::new(&threads, |activity| heard.borrow_mut().push(activity));
        let (tid, epoll, at) = (1, 3, 4096);
        let files = tracer.descriptors.begin();
        tracer.tracees.insert(tid, Tracee::new(tid, files, now()));
        // A `struct epoll_event` on the stack of the program.
        let event = |fd: i32| {
            let padding: &[u8] = if cfg!(target_arch = "x86_64") { &[] } else { &[0; 4] };
            let octets = [&(libc::EPOLLIN as u32).to_ne_bytes(), padding, &(fd as u64).to_ne_bytes()].concat();
            UserStack { pointer: at, octets, ..UserStack::default() }
        };
        let named = |tracer: &mut Tracer<'_>, fd: i32| {
            tracer.descriptors.open(files, fd, SocketId(fd as u64));
            let stack = event(fd);
            let memory = Memory::Stack(&stack);
            let add = [epoll, libc::EPOLL_CTL_ADD as u64, fd as u64, at, 0, 0];
            tracer.enters(tid, false, libc::SYS_epoll_ctl as u64, add, memory, now());
            tracer.returns(tid, 0, memory, now());
            let wait = [epoll, at, 1, u64::MAX, 0, 0];
            tracer.enters(tid, false, libc::SYS_epoll_pwait as u64, wait, memory, now());
            tracer.returns(tid, 1, memory, now());
            let heard: Vec<_> = heard.borrow_mut().drain(..).collect();
            let [Activity::Entered(call), Activity::Returned { sockets, .. }] = &heard[..] else {
                panic!("{heard:?}");
            };
            let is_ready = |used: &&SocketUse| matches!(used.role, Role::Polled { revents: Some(found), .. } if found == PollEvents::POLLIN);
            let ready: Vec<_> = sockets.iter().filter(is_ready).map(|used| used.fd).collect();
            assert_eq!(ready, [Some(fd)], "whatever was named, what is ready is");
            (call.sockets.len(), sockets.len())
        };
        let first = 10;
        let of = |n: usize| (n.min(calls::MOST_WAITED_FOR), n.min(calls::MOST_WAITED_FOR + 1));
        for n in 1..=calls::MOST_WAITED_FOR + 2 {
            assert_eq!(named(&mut tracer, first + n as i32), of(n), "{n} sockets");
        }
    }
}
