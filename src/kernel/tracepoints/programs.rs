//! What programs do, recorded by the kernel without stopping them: their system calls, forks, execs and ends, and the states of sockets.

use std::ffi::{CStr, OsStr};
use std::io;
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use perf_event::{Builder, Clock as PerfClock, Counter, SampleFlag, Sampler, events};

use super::calls::{CallEvents, Watched};
use super::format::{Format, Said, Tracepoint};
use super::{Untraced, beside_the_mounts, processors, read_format, refused};
use crate::capture::close_beside;
use crate::kernel::measure;
use crate::time::{Clock, ClockId, Span, Timestamp};

/// Records of the threads that it was attached to, and of all that they start, in one buffer for each processor.
///
/// What is not read in time is lost, and counted. As root it records changes of state of all TCP sockets of the host, too, whoever caused
/// them, as far as calls are joined by them: these have buffers of their own, so that what others do loses none of the rest.
pub struct ProgramTrace {
    /// One event of each processor has its buffer, into which all others write.
    rings: Vec<(usize, Sampler)>,
    /// The changes of state, on each processor.
    states: Vec<Sampler>,
    /// Until when each of these was read: the changes of state, then the others.
    read_until: Vec<Option<Timestamp>>,
    /// Until when all was read, where something was left.
    whole_until: Option<Timestamp>,
    attached: Vec<Counter>,
    events: CallEvents,
    state: Option<Format>,
    clock: Clock,
    has_stacks: bool,
}

/// One record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ProgramRecord {
    /// When, on the clock of packet timestamps.
    pub at: Timestamp,
    /// The process.
    pub pid: i32,
    /// The thread. For a change of state it is the one that was on the processor, which need not be the one that caused it.
    pub tid: i32,
    /// What happened.
    pub what: ProgramAct,
}

/// What a record tells.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ProgramAct {
    /// A system call was entered.
    Entered {
        /// Its number.
        nr: u64,
        /// Its arguments.
        args: [u64; 6],
        /// Whether the thread runs 32-bit code, which has other numbers.
        is_foreign: bool,
        /// The stack of the thread.
        stack: UserStack,
    },
    /// It returned.
    Returned {
        /// Its number.
        nr: u64,
        /// Its result, or the negative number of an error.
        result: i64,
        /// The stack of the thread.
        stack: UserStack,
    },
    /// The thread made another one.
    Forked {
        /// The process of the new one.
        pid: i32,
        /// Its number.
        tid: i32,
    },
    /// The thread has another name, which a process gets when it executes a program, too.
    Named {
        /// The name, which is anything at all.
        comm: String,
        /// Whether the process executes a program.
        executes: bool,
    },
    /// The process has a piece of a program or library in its memory, to be executed. Recorded with stacks only.
    Mapped {
        /// Where.
        range: Range<u64>,
        /// From which place of the file on.
        offset: u64,
        /// The file.
        path: PathBuf,
    },
    /// The thread has ended; its descriptors were closed before, if they were the last ones.
    Ended,
    /// A socket went from one state to another.
    State(Said),
}

/// The registers of a thread in user mode, and the octets at the top of its stack.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UserStack {
    /// Where it executes.
    pub instruction: u64,
    /// Where its stack ends.
    pub pointer: u64,
    /// Its frame pointer, or whatever the compiler uses that register for.
    pub frame: u64,
    /// The return address, on machines that keep it in a register.
    pub link: u64,
    /// What lies from `pointer` on.
    pub octets: Vec<u8>,
    /// What lies elsewhere, and is read afterwards.
    pub beside: Option<Box<Beside>>,
}

/// What lies elsewhere in the memory of a program, as it was read after a record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Beside {
    /// Where, and what was read there.
    pub pieces: Vec<(u64, Vec<u8>)>,
    /// When all of it had been read.
    pub read: Timestamp,
}

/// What was read of the buffers, besides the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// How many records were lost.
    pub lost: u64,
    /// Whether there was more in a buffer than is read at once.
    pub is_part: bool,
    /// Until when all was read then, as far as the records say that.
    pub whole_until: Option<Timestamp>,
}

impl ProgramTrace {
    /// Prepares buffers; nothing is recorded before [`attach`](Self::attach).
    ///
    /// `stack` octets of the stack are recorded with the entry of every call, and with some calls more, as [`Watched`] has it.
    ///
    /// # Errors
    /// The kernel does not permit it, or has no such tracepoints.
    pub fn open(calls: &'static [Watched], stack: u32) -> Result<Self, Untraced> {
        let is_privileged = nix::unistd::geteuid().is_root();
        let mut state = None;
        if is_privileged {
            state = read_format(Tracepoint::State)?;
            if state.is_none() {
                state = beside_the_mounts(|| read_format(Tracepoint::State))??;
            }
        }
        let events = CallEvents::find(calls, stack, state.is_some())?;
        let processors = processors().map_err(|error| Untraced::Other(error.to_string()))?;
        let (mut rings, mut states) = (Vec::new(), Vec::new());
        for processor in processors {
            let opened = open_ring(processor, None).and_then(|ring| {
                rings.push((processor, ring));
                states.extend(state.as_ref().map(|state| open_ring(processor, Some(state))).transpose()?);
                Ok(())
            });
            match opened {
                Ok(()) => {}
                // It was taken offline meanwhile.
                Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                Err(error) => return Err(refused(&error)),
            }
        }
        let clock = measure(ClockId::Monotonic);
        let read_until = vec![None; states.len() + rings.len()];
        Ok(Self {
            rings,
            states,
            read_until,
            whole_until: None,
            attached: Vec::new(),
            events,
            state,
            clock,
            has_stacks: stack > 0,
        })
    }

    /// How many descriptors it takes to attach to so many threads.
    pub fn descriptors(&self, threads: usize) -> u64 {
        (self.rings.len() * self.events.count() * threads) as u64
    }

    /// Whether changes of state are recorded.
    pub fn has_states(&self) -> bool {
        self.state.is_some()
    }

    /// Records what a thread does from now on, or from when it executes a program, and what all do that it starts.
    ///
    /// # Errors
    /// It is gone (ESRCH), or another user's (EACCES).
    pub fn attach(&mut self, tid: i32, begin: Begin) -> io::Result<()> {
        let mut counters = Vec::new();
        for (processor, ring) in &self.rings {
            for (n, event) in self.events.iter().enumerate() {
                let mut builder = Builder::new(events::Tracepoint::with_id(event.id));
                builder.observe_pid(tid).one_cpu(*processor).inherit(true).sample_period(1);
                if self.events.takes_privilege() {
                    builder.include_kernel();
                }
                builder.clockid(PerfClock::MONOTONIC).sample_id_all(true);
                let what = SampleFlag::TID | SampleFlag::TIME | SampleFlag::RAW;
                builder.sample(what | SampleFlag::REGS_USER | SampleFlag::STACK_USER);
                builder.sample_regs_user(REGISTERS).sample_stack_user(event.stack);
                match event.wakes {
                    true => builder.wakeup_events(1),
                    false => builder.wakeup_watermark(self.watermark()),
                };
                if n == 0 {
                    builder.task(true).comm(true).comm_exec(true);
                    builder.mmap(self.has_stacks).mmap2(self.has_stacks);
                }
                builder.enable_on_exec(begin == Begin::WithItsProgram);
                let counter = match builder.build() {
                    Ok(counter) => counter,
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => continue,
                    Err(error) => return Err(error),
                };
                if let Some(filter) = &event.filter {
                    // SAFETY: the kernel copies the text, which ends with a zero octet.
                    let set = unsafe { libc::ioctl(counter.as_raw_fd(), SET_FILTER, filter.as_ptr()) };
                    nix::errno::Errno::result(set)?;
                }
                // SAFETY: both are descriptors of events.
                let set = unsafe { libc::ioctl(counter.as_raw_fd(), SET_OUTPUT, ring.as_raw_fd()) };
                nix::errno::Errno::result(set)?;
                counters.push(counter);
            }
        }
        if begin == Begin::Now {
            for counter in &mut counters {
                counter.enable()?;
            }
        }
        self.attached.append(&mut counters);
        Ok(())
    }

    fn watermark(&self) -> usize {
        BUFFERS[0] / 8
    }

    /// Waits until there is something to read, there or in one of those files, a signal comes, or so many milliseconds are over.
    pub fn wait<'a>(&self, files: impl Iterator<Item = BorrowedFd<'a>>, milliseconds: u16) {
        let mut watched: Vec<_> = self
            .rings
            .iter()
            .map(|(_, ring)| {
                // SAFETY: the descriptor stays open as long as its ring, which is borrowed.
                let fd = unsafe { BorrowedFd::borrow_raw(ring.as_raw_fd()) };
                PollFd::new(fd, PollFlags::POLLIN)
            })
            .chain(files.map(|file| PollFd::new(file, PollFlags::POLLIN)))
            .collect();
        _ = poll(&mut watched, PollTimeout::from(milliseconds));
    }

    /// Takes what is in the buffers, in no order; how many records were lost, changes of state not among them.
    pub fn drain(&mut self, into: &mut Vec<ProgramRecord>) -> Drained {
        self.clock = self.clock.measured_again(measure(ClockId::Monotonic));
        let reader = Reader { events: &self.events, state: self.state.as_ref(), clock: self.clock };
        let (mut is_part, mut whole_until) = (false, None::<Timestamp>);
        let is_ahead = |read: Timestamp| self.whole_until.is_some_and(|until| read.since(until) > AHEAD);
        let mut read = |ring: &mut Sampler, before: &mut Option<Timestamp>| {
            let mut lost = 0;
            // What comes after what is left in another buffer can wait in its own.
            let is_to_wait = before.is_some_and(is_ahead);
            for _ in 0..if is_to_wait { 0 } else { MOST_AT_ONCE } {
                let Some(record) = ring.next_record() else { return lost };
                let octets = record.to_contiguous();
                match reader.read(record.ty(), record.misc(), &octets) {
                    Read::Record(record) => {
                        *before = (*before).max(Some(record.at));
                        into.push(record);
                    }
                    Read::Lost(records) => lost += records,
                    Read::Nothing => {}
                }
            }
            // There may be more, all of it later.
            is_part = true;
            whole_until = whole_until.into_iter().chain(*before).min();
            lost
        };
        let (of_states, of_calls) = self.read_until.split_at_mut(self.states.len());
        self.states.iter_mut().zip(of_states).for_each(|(ring, before)| _ = read(ring, before));
        let lost = self.rings.iter_mut().zip(of_calls).map(|((_, ring), before)| read(ring, before)).sum();
        self.whole_until = whole_until;
        Drained { lost, is_part, whole_until }
    }

    /// Throws away what is in the buffers, but for which threads came, went and executed programs; how many records were lost by that,
    /// changes of state not among them.
    pub fn skip(&mut self, into: &mut Vec<ProgramRecord>) -> u64 {
        let reader = Reader { events: &self.events, state: self.state.as_ref(), clock: self.clock };
        let mut pass = |ring: &mut Sampler| {
            let mut lost = 0;
            // More may come while this is read.
            for _ in 0..MOST_SKIPPED {
                let Some(record) = ring.next_record() else { break };
                if record.ty() == SAMPLE {
                    lost += 1;
                    continue;
                }
                match reader.read(record.ty(), record.misc(), &record.to_contiguous()) {
                    Read::Record(record) => into.push(record),
                    Read::Lost(records) => lost += records,
                    Read::Nothing => {}
                }
            }
            lost
        };
        self.states.iter_mut().for_each(|ring| _ = pass(ring));
        self.rings.iter_mut().map(|(_, ring)| pass(ring)).sum()
    }
}

impl Drop for ProgramTrace {
    /// There may be a hundred events.
    fn drop(&mut self) {
        let Self { attached, states, .. } = self;
        let events: Vec<_> =
            attached.iter().map(AsRawFd::as_raw_fd).chain(states.iter().map(AsRawFd::as_raw_fd)).collect();
        if !events.is_empty() {
            close_beside(events, || {
                attached.clear();
                states.clear();
            });
        }
    }
}

/// From when on a thread is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Begin {
    /// From now on.
    Now,
    /// From the moment in which it executes a program.
    WithItsProgram,
}

enum Read {
    Record(ProgramRecord),
    Lost(u64),
    Nothing,
}

/// What it takes to read a record.
#[derive(Clone, Copy)]
struct Reader<'a> {
    events: &'a CallEvents,
    state: Option<&'a Format>,
    clock: Clock,
}

impl Reader<'_> {
    /// Reads a record, as perf_event_open(2) has them; one that says less than it must is lost.
    fn read(self, kind: u32, misc: u16, octets: &[u8]) -> Read {
        match kind {
            SAMPLE => self.sample(Octets(octets)).unwrap_or(Read::Lost(1)),
            FORK | EXIT => self.life(kind, Octets(octets)).map_or(Read::Lost(1), Read::Record),
            COMM => self.name(octets, misc & EXECUTES != 0).map_or(Read::Lost(1), Read::Record),
            MMAP2 => self.mapping(octets).map_or(Read::Lost(1), Read::Record),
            LOST => {
                let mut rest = Octets(octets);
                Read::Lost(rest.word().and(rest.word()).unwrap_or(1))
            }
            _ => Read::Nothing,
        }
    }

    fn moment(self, at: u64) -> Timestamp {
        self.clock.moment(at.try_into().unwrap_or(i64::MAX))
    }

    fn sample(self, mut rest: Octets<'_>) -> Option<Read> {
        let (pid, tid, at) = (rest.half()? as i32, rest.half()? as i32, self.moment(rest.word()?));
        let len = rest.half()? as usize;
        let raw = rest.take(len)?;
        let id = u64::from(u16::from_ne_bytes(*raw.first_chunk()?));
        let what = match self.state.filter(|state| id == state.id) {
            // A socket of another protocol.
            Some(state) => match state.read(raw) {
                Some(said) => ProgramAct::State(said),
                None => return Some(Read::Nothing),
            },
            None => call(raw, rest, self.events.is_return(id)?)?,
        };
        Some(Read::Record(ProgramRecord { at, pid, tid, what }))
    }

    fn life(self, kind: u32, mut rest: Octets<'_>) -> Option<ProgramRecord> {
        let (pid, parent) = (rest.half()? as i32, rest.half()? as i32);
        let (tid, by) = (rest.half()? as i32, rest.half()? as i32);
        let at = self.moment(rest.word()?);
        Some(match kind {
            FORK => ProgramRecord { at, pid: parent, tid: by, what: ProgramAct::Forked { pid, tid } },
            _ => ProgramRecord { at, pid, tid, what: ProgramAct::Ended },
        })
    }

    fn mapping(self, octets: &[u8]) -> Option<ProgramRecord> {
        let mut rest = Octets(octets);
        let (pid, tid) = (rest.half()? as i32, rest.half()? as i32);
        let (start, len, offset) = (rest.word()?, rest.word()?, rest.word()?);
        // The device, the inode, its generation, what may be done there, and how it is shared.
        rest.take(8 + 16 + 8)?;
        let at = self.moment(u64::from_ne_bytes(*octets.last_chunk()?));
        let name = rest.0.split(|octet| *octet == 0).next()?;
        let path = PathBuf::from(OsStr::from_bytes(name));
        let range = start..start.saturating_add(len);
        Some(ProgramRecord { at, pid, tid, what: ProgramAct::Mapped { range, offset, path } })
    }

    fn name(self, octets: &[u8], executes: bool) -> Option<ProgramRecord> {
        let mut rest = Octets(octets);
        let (pid, tid) = (rest.half()? as i32, rest.half()? as i32);
        // The name, and at the end who did it and when (sample_id_all).
        let at = self.moment(u64::from_ne_bytes(*octets.last_chunk()?));
        let name = rest.0.split(|octet| *octet == 0).next()?;
        let comm = String::from_utf8_lossy(name).into_owned();
        Some(ProgramRecord { at, pid, tid, what: ProgramAct::Named { comm, executes } })
    }
}

/// A system call at its entry or at its return, with what follows its data.
///
/// `struct syscall_trace_enter` and `syscall_trace_exit` (kernel/trace/trace.h) and the records of `raw_syscalls` have one layout:
/// the number, and then the arguments or the result.
fn call(raw: &[u8], mut rest: Octets<'_>, is_return: bool) -> Option<ProgramAct> {
    let word = |at: usize| raw.get(at..at + 8).map(|word| u64::from_ne_bytes(word.try_into().expect("8 octets")));
    let nr = u64::from(u32::from_ne_bytes(raw.get(8..12)?.try_into().expect("4 octets")));
    let abi = rest.word()?;
    let mut stack = UserStack::default();
    if abi != 0 {
        for register in ORDER {
            let value = rest.word()?;
            match register {
                Register::Instruction => stack.instruction = value,
                Register::Pointer => stack.pointer = value,
                Register::Frame => stack.frame = value,
                #[cfg(target_arch = "aarch64")]
                Register::Link => stack.link = value,
            }
        }
    }
    let room = usize::try_from(rest.word()?).ok()?;
    if room > 0 {
        let octets = rest.take(room)?;
        let used = usize::try_from(rest.word()?).ok()?.min(room);
        stack.octets = octets[..used].to_vec();
    }
    if is_return {
        return Some(ProgramAct::Returned { nr, result: word(16)? as i64, stack });
    }
    let mut args = [0; 6];
    for (n, arg) in args.iter_mut().enumerate() {
        *arg = word(16 + 8 * n).unwrap_or(0);
    }
    Some(ProgramAct::Entered { nr, args, is_foreign: abi == ABI_32, stack })
}

/// Opens an event of a processor that has a buffer: the states of sockets, or nothing but what others write there.
fn open_ring(processor: usize, state: Option<&Format>) -> io::Result<Sampler> {
    let mut smallest = None;
    for buffer in BUFFERS {
        let mut builder = match state {
            Some(state) => Builder::new(events::Tracepoint::with_id(state.id)),
            None => Builder::new(events::Software::DUMMY),
        };
        match state {
            Some(_) => builder.any_pid().include_kernel(),
            None => builder.observe_self(),
        };
        builder.one_cpu(processor).sample_period(1).clockid(PerfClock::MONOTONIC).sample_id_all(true);
        builder.sample(SampleFlag::TID | SampleFlag::TIME | SampleFlag::RAW);
        builder.wakeup_watermark(buffer / 8);
        match builder.build().and_then(|counter| counter.sampled(buffer)) {
            Ok(mut ring) => {
                if state.is_some() {
                    // SAFETY: the kernel copies the text, which ends with a zero octet.
                    let set = unsafe { libc::ioctl(ring.as_raw_fd(), SET_FILTER, OF_CALLS.as_ptr()) };
                    // Where it is not taken, more is recorded than is needed.
                    debug_assert_eq!(set, 0, "the fields are those of the tracepoint");
                }
                ring.as_counter_mut().enable()?;
                return Ok(ring);
            }
            // Who is not privileged may lock kernel.perf_event_mlock_kb, and what the limit on locked memory allows.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => smallest = Some(error),
            Err(error) => return Err(error),
        }
    }
    Err(smallest.unwrap_or_else(|| io::Error::from_raw_os_error(libc::EPERM)))
}

/// What is left of a record.
#[derive(Clone, Copy)]
struct Octets<'a>(&'a [u8]);

impl<'a> Octets<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn word(&mut self) -> Option<u64> {
        self.take(8).map(|word| u64::from_ne_bytes(word.try_into().expect("8 octets")))
    }

    fn half(&mut self) -> Option<u32> {
        self.take(4).map(|half| u32::from_ne_bytes(half.try_into().expect("4 octets")))
    }
}

#[derive(Clone, Copy)]
enum Register {
    Instruction,
    Pointer,
    Frame,
    #[cfg(target_arch = "aarch64")]
    Link,
}

/// The registers that are recorded (asm/perf_regs.h), by number, and so in the order of a record.
#[cfg(target_arch = "x86_64")]
const ORDER: [Register; 3] = [Register::Frame, Register::Pointer, Register::Instruction];
#[cfg(target_arch = "x86_64")]
const REGISTERS: u64 = 1 << 6 | 1 << 7 | 1 << 8;
/// The registers that are recorded (asm/perf_regs.h), by number, and so in the order of a record.
#[cfg(target_arch = "aarch64")]
const ORDER: [Register; 4] = [Register::Frame, Register::Link, Register::Pointer, Register::Instruction];
#[cfg(target_arch = "aarch64")]
const REGISTERS: u64 = 1 << 29 | 1 << 30 | 1 << 31 | 1 << 32;

/// PERF_SAMPLE_REGS_ABI_32: the thread runs 32-bit code.
const ABI_32: u64 = 1;
/// Kinds of records, and what a COMM says that comes of exec (linux/perf_event.h).
const LOST: u32 = 2;
const COMM: u32 = 3;
const EXIT: u32 = 4;
const FORK: u32 = 7;
const SAMPLE: u32 = 9;
const MMAP2: u32 = 10;
const EXECUTES: u16 = 1 << 13;
/// The changes of state that a call brings about, or that say what a socket's ends are, or that it is gone: to ESTABLISHED and SYN-RECEIVED
/// of a socket that connects, and to SYN-SENT, FIN-WAIT-1, CLOSED, LAST-ACK and LISTEN (include/net/tcp_states.h).
const OF_CALLS: &CStr =
    c"(newstate == 1 && oldstate != 3) || (newstate == 3 && oldstate == 2) || newstate == 2 || newstate == 4 || \
                          newstate == 7 || newstate == 9 || newstate == 10";
/// PERF_EVENT_IOC_SET_OUTPUT and PERF_EVENT_IOC_SET_FILTER.
const SET_OUTPUT: libc::c_ulong = 0x2405;
const SET_FILTER: libc::c_ulong = 0x4008_2406;
/// How large a processor's buffer is: the first that may be had.
const BUFFERS: [usize; 5] = [8 << 20, 2 << 20, 512 << 10, 256 << 10, 64 << 10];
/// How many records are taken from one buffer in turn.
///
/// What was read is dealt with before more is: so what waits is in the kernel's buffers, which are bounded, and not here.
const MOST_AT_ONCE: usize = 1 << 12;
/// How much later than all that was read may be what is read of one buffer while another has more.
const AHEAD: Span = Span::from_millis(20);
/// How many records of one buffer are thrown away at once: more than are in the largest.
const MOST_SKIPPED: usize = 1 << 17;

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(id: u16, nr: u32, words: &[u64], registers: &[u64], stack: &[u8]) -> Vec<u8> {
        let mut raw = [&id.to_ne_bytes()[..], &[0; 6], &nr.to_ne_bytes(), &[0; 4]].concat();
        raw.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        raw.extend([0; 4]);
        let mut octets = [7u32, 8].map(u32::to_ne_bytes).concat();
        octets.extend(1_000u64.to_ne_bytes());
        octets.extend((raw.len() as u32).to_ne_bytes());
        octets.extend(raw);
        octets.extend(registers.iter().flat_map(|word| word.to_ne_bytes()));
        octets.extend((stack.len() as u64).to_ne_bytes());
        octets.extend(stack);
        if !stack.is_empty() {
            octets.extend((stack.len() as u64 - 1).to_ne_bytes());
        }
        octets
    }

    fn events() -> CallEvents {
        CallEvents::for_test(5, 6)
    }

    #[test]
    fn calls_are_read_with_the_stack_that_comes_with_them() {
        let events = events();
        let reader = Reader { events: &events, state: None, clock: Clock::WALL };
        let registers: Vec<u64> = [2].into_iter().chain((0..ORDER.len() as u64).map(|n| 100 + n)).collect();
        let entry = sample(5, 42, &[3, 4, 5], &registers, b"stack...");
        let Read::Record(record) = reader.read(SAMPLE, 0, &entry) else { panic!("no record") };
        assert_eq!((record.at, record.pid, record.tid), (Timestamp::from_nanos(1000), 7, 8));
        let ProgramAct::Entered { nr, args, is_foreign, stack } = record.what else { panic!("no entry") };
        assert_eq!((nr, args, is_foreign), (42, [3, 4, 5, 0, 0, 0], false));
        assert_eq!((stack.frame, &stack.octets[..]), (100, &b"stack.."[..]));
        let back = sample(6, 42, &[-11i64 as u64], &[0], b"");
        let Read::Record(record) = reader.read(SAMPLE, 0, &back) else { panic!("no record") };
        assert_eq!(record.what, ProgramAct::Returned { nr: 42, result: -11, stack: UserStack::default() });
    }

    #[test]
    fn a_record_that_was_cut_is_lost_and_no_other() {
        let events = events();
        let reader = Reader { events: &events, state: None, clock: Clock::WALL };
        let registers: Vec<u64> = vec![1; 1 + ORDER.len()];
        let entry = sample(5, 42, &[3, 4, 5], &registers, b"stack...");
        for len in 0..entry.len() {
            assert!(matches!(reader.read(SAMPLE, 0, &entry[..len]), Read::Lost(1)), "{len}");
        }
        assert!(matches!(reader.read(SAMPLE, 0, &sample(9, 42, &[3], &registers, b"")), Read::Lost(1)));
        let lost = [1u64.to_ne_bytes(), 77u64.to_ne_bytes()].concat();
        assert!(matches!(reader.read(LOST, 0, &lost), Read::Lost(77)));
        assert!(matches!(reader.read(99, 0, &[]), Read::Nothing));
        let comm =
            [&7u32.to_ne_bytes()[..], &8u32.to_ne_bytes(), b"nc\0\0\0\0\0\0", &[0; 8], &9u64.to_ne_bytes()].concat();
        let Read::Record(record) = reader.read(COMM, EXECUTES, &comm) else { panic!("no record") };
        assert_eq!(record.what, ProgramAct::Named { comm: "nc".to_owned(), executes: true });
        assert_eq!(record.at, Timestamp::from_nanos(9));
    }

    /// The kernel itself: of more than is taken of a buffer at once, the first come first, and what is left says that it is there.
    #[test]
    fn of_a_full_buffer_so_many_records_are_taken_at_once_and_the_others_next() {
        const CALLS: &[Watched] =
            &[Watched { nr: libc::SYS_getppid, name: "getppid", entry: 0, back: 0, wakes: false }];
        let is_root = nix::unistd::geteuid().is_root();
        let mut trace = match ProgramTrace::open(CALLS, 0) {
            Ok(trace) => trace,
            Err(why) => {
                assert!(!is_root || !std::fs::exists("/sys/kernel/tracing").unwrap_or(false), "{why:?}");
                return eprintln!("NOT CHECKED here: the kernel records no calls for this user ({why:?})");
            }
        };
        // All of it goes into the buffer of one processor.
        let here = nix::sched::sched_getcpu().expect("a processor");
        let mut only = nix::sched::CpuSet::new();
        only.set(here).expect("a processor's number");
        nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &only).expect("this thread's own processor");
        let own = nix::unistd::gettid().as_raw();
        trace.attach(own, Begin::Now).expect("this thread is there");
        // Each has a record of its entry and one of its return.
        let made = MOST_AT_ONCE + 500;
        (0..made).for_each(|_| _ = nix::unistd::getppid());
        let (mut all, mut parts) = (Vec::new(), Vec::new());
        loop {
            let mut records = Vec::new();
            let drained = trace.drain(&mut records);
            assert_eq!(drained.lost, 0);
            records.retain(|record| record.tid == own && !matches!(record.what, ProgramAct::State(_)));
            parts.push(records.len());
            // What happened on the other processors and to sockets is in buffers of its own.
            assert_eq!(drained.is_part, parts.iter().sum::<usize>() < 2 * made, "{parts:?}");
            if drained.is_part {
                assert!(drained.whole_until.is_some());
            }
            all.append(&mut records);
            if !drained.is_part {
                break;
            }
        }
        assert_eq!(parts, [MOST_AT_ONCE, MOST_AT_ONCE, 2 * made - 2 * MOST_AT_ONCE]);
        let is_entry = |record: &ProgramRecord| matches!(record.what, ProgramAct::Entered { .. });
        assert_eq!(all.iter().filter(|record| is_entry(record)).count(), made);
        assert!(all.is_sorted_by_key(|record| record.at), "the first ones come first");
    }
}
