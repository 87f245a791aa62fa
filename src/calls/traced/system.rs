//! The system calls of a tracer, one at a time: ptrace(2), waiting, and looking into another process.

use std::collections::HashSet;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::time::{Duration, Instant};
use std::{io, ptr};

use nix::errno::Errno;
use nix::sys::socket::{SockaddrStorage, getpeername, getsockname};

use super::super::SocketId;
use super::super::recorded::address_of;
use crate::kernel::{Beside, TcpInfo, UserStack, now};
use crate::time::Timestamp;

/// A thread's id, as the kernel numbers it.
pub(super) type Tid = libc::pid_t;

/// What waiting brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waited {
    /// A thread stopped: by which signal, and by which event of ptrace (0 for none).
    Stopped(Tid, i32, i32),
    /// A thread ended by itself, or a process by its last thread.
    Exited(Tid, i32),
    /// A signal ended it.
    Killed(Tid, i32),
    /// A signal of ours came meanwhile.
    Interrupted,
    /// No child is left.
    Nobody,
}

/// Waits for stops, which may follow close upon one another.
///
/// A tracer that sleeps until the next stop is woken for it, which costs more than all that it does at it. So it looks again and again for a
/// moment before it sleeps, as long as that is worth it: where it finds nothing, as the threads wait for something else or for this very
/// processor, it does so more and more rarely.
pub(super) struct Waiter {
    has_other_processors: bool,
    /// How often it looked in vain, less how often not.
    vain: u32,
    /// How many times it sleeps at once before it looks again.
    sleeps: u32,
}

impl Waiter {
    pub(super) fn new() -> Self {
        let has_other_processors = std::thread::available_parallelism().is_ok_and(|count| count.get() > 1);
        Self { has_other_processors, vain: 0, sleeps: 0 }
    }

    /// Waits for a child, or for a signal of ours.
    pub(super) fn wait(&mut self) -> Waited {
        if !self.has_other_processors {
            return wait();
        }
        if self.sleeps > 0 {
            self.sleeps -= 1;
            return wait();
        }
        if let Some(waited) = look_for_stop() {
            return waited;
        }
        let begun = Instant::now();
        while begun.elapsed() < LOOKING {
            if let Some(waited) = look_for_stop() {
                self.vain = self.vain.saturating_sub(1);
                return waited;
            }
        }
        self.vain = (self.vain + 1).min(MOST_VAIN);
        self.sleeps = (1 << self.vain) - 1;
        wait()
    }
}

/// Waits for a child, or for a signal of ours.
fn wait() -> Waited {
    // Without WNOHANG there is an answer.
    waited(libc::__WALL).unwrap_or(Waited::Interrupted)
}

/// What a child has to tell, if one does.
fn look_for_stop() -> Option<Waited> {
    waited(libc::__WALL | libc::WNOHANG)
}

fn waited(options: i32) -> Option<Waited> {
    let mut status = 0;
    // SAFETY: the kernel writes the status and nothing else.
    let tid = unsafe { libc::waitpid(-1, &mut status, options) };
    Some(match tid {
        0 => return None,
        -1 if Errno::last() == Errno::EINTR => Waited::Interrupted,
        -1 => Waited::Nobody,
        tid if libc::WIFSTOPPED(status) => Waited::Stopped(tid, libc::WSTOPSIG(status), status >> 16),
        tid if libc::WIFSIGNALED(status) => Waited::Killed(tid, libc::WTERMSIG(status)),
        tid => Waited::Exited(tid, libc::WEXITSTATUS(status)),
    })
}

/// Attaches to a thread without stopping it; it dies with its tracer.
pub(super) fn seize(tid: Tid) -> Result<(), Errno> {
    let options = libc::PTRACE_O_EXITKILL
        | libc::PTRACE_O_TRACESECCOMP
        | libc::PTRACE_O_TRACESYSGOOD
        | libc::PTRACE_O_TRACEFORK
        | libc::PTRACE_O_TRACEVFORK
        | libc::PTRACE_O_TRACECLONE
        | libc::PTRACE_O_TRACEEXEC
        | libc::PTRACE_O_TRACEEXIT;
    request(libc::PTRACE_SEIZE, tid, options as usize)
}

/// How a stopped thread goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum On {
    /// To the next call that the filter stops.
    Freely,
    /// To the end of the call that it is in.
    ToTheReturn,
    /// Not at all, until its group is continued: it stays stopped.
    Stopped,
}

/// Lets a stopped thread go on, with a signal (0 for none). One that has been killed meanwhile does not, which its end will tell.
pub(super) fn resume(tid: Tid, on: On, signal: i32) {
    let number = match on {
        On::Freely => libc::PTRACE_CONT,
        On::ToTheReturn => libc::PTRACE_SYSCALL,
        On::Stopped => libc::PTRACE_LISTEN,
    };
    _ = request(number, tid, signal as usize);
}

/// What an event of ptrace is about: the new thread, or the former id of one that executes a program.
pub(super) fn event_of(tid: Tid) -> Option<Tid> {
    let mut message: libc::c_ulong = 0;
    request(libc::PTRACE_GETEVENTMSG, tid, &raw mut message as usize).ok()?;
    Tid::try_from(message).ok()
}

/// A call at its entry or at its return.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Syscall {
    /// It was stopped by the filter.
    Entry {
        /// The ABI (linux/audit.h).
        arch: u32,
        /// Its number.
        nr: u64,
        /// Its arguments.
        args: [u64; 6],
    },
    /// It returns: a result, or the negative number of an error.
    Return(i64),
}

/// The call in which a thread is stopped.
pub(super) fn syscall_of(tid: Tid) -> Option<Syscall> {
    let mut info = MaybeUninit::<libc::ptrace_syscall_info>::zeroed();
    let room = size_of_val(&info);
    // SAFETY: the kernel writes no more than `room` octets there, and octets that are zero are valid for every member.
    let info = unsafe {
        let got = libc::ptrace(libc::PTRACE_GET_SYSCALL_INFO, tid, room, info.as_mut_ptr());
        if got <= 0 {
            return None;
        }
        info.assume_init()
    };
    // SAFETY: the member is the one that `op` names, and all of them are numbers.
    unsafe {
        match info.op {
            libc::PTRACE_SYSCALL_INFO_SECCOMP => {
                let entry = info.u.seccomp;
                Some(Syscall::Entry { arch: info.arch, nr: entry.nr, args: entry.args })
            }
            libc::PTRACE_SYSCALL_INFO_EXIT => Some(Syscall::Return(info.u.exit.sval)),
            _ => None,
        }
    }
}

fn request(number: libc::c_uint, tid: Tid, data: usize) -> Result<(), Errno> {
    // SAFETY: the requests that are made here take a number, or a pointer to what the caller holds.
    let result = unsafe { libc::ptrace(number, tid, ptr::null_mut::<c_void>(), data as *mut c_void) };
    Errno::result(result).map(drop)
}

/// The registers that unwinding begins with.
#[derive(Clone, Copy, Debug)]
pub(super) struct Registers {
    pub(super) instruction: u64,
    pub(super) pointer: u64,
    pub(super) frame: u64,
    #[cfg_attr(target_arch = "x86_64", expect(dead_code, reason = "return addresses are on the stack here"))]
    pub(super) link: u64,
}

/// Where the arguments of a call are read.
#[derive(Clone, Copy, Debug)]
pub(super) enum Memory<'a> {
    /// In the memory of a thread that is stopped.
    Of(Tid),
    /// In what was recorded of its stack; what lies elsewhere cannot be read.
    Stack(&'a UserStack),
}

impl Memory<'_> {
    /// Reads octets into `room`, as many as can be read; how many that were.
    pub(super) fn read(self, at: u64, room: &mut [u8]) -> usize {
        match self {
            Self::Of(tid) => read_of(tid, at, room),
            Self::Stack(stack) => {
                let from = |start: u64, octets| <[u8]>::get(octets, usize::try_from(at.checked_sub(start)?).ok()?..);
                let pieces = stack.beside.iter().flat_map(|beside| &beside.pieces);
                let mut beside =
                    pieces.filter_map(|(start, octets)| from(*start, octets).filter(|there| !there.is_empty()));
                let there = beside.next().or_else(|| from(stack.pointer, &stack.octets)).unwrap_or_default();
                let len = there.len().min(room.len());
                room[..len].copy_from_slice(&there[..len]);
                len
            }
        }
    }

    /// The registers of the thread; `None` where they are not to be had.
    pub(super) fn registers(self) -> Option<Registers> {
        match self {
            Self::Of(tid) => registers_of(tid),
            Self::Stack(stack) if stack.octets.is_empty() => None,
            Self::Stack(UserStack { instruction, pointer, frame, link, .. }) => {
                Some(Registers { instruction: *instruction, pointer: *pointer, frame: *frame, link: *link })
            }
        }
    }

    /// Reads so many octets, or none.
    pub(super) fn exactly<const N: usize>(self, at: u64) -> Option<[u8; N]> {
        let mut room = [0; N];
        (self.read(at, &mut room) == N).then_some(room)
    }

    /// Reads a number of 64 bits.
    pub(super) fn word(self, at: u64) -> Option<u64> {
        self.exactly(at).map(u64::from_ne_bytes)
    }

    /// Reads a number of 32 bits.
    pub(super) fn half(self, at: u64) -> Option<u32> {
        self.exactly(at).map(u32::from_ne_bytes)
    }

    /// Reads the first octets, at most so many.
    pub(super) fn first(self, at: u64, most: usize) -> Vec<u8> {
        let mut octets = vec![0; most];
        let got = self.read(at, &mut octets);
        octets.truncate(got);
        octets
    }
}

/// The registers of a thread that is stopped.
fn registers_of(tid: Tid) -> Option<Registers> {
    let mut registers = MaybeUninit::<libc::user_regs_struct>::zeroed();
    let mut room = libc::iovec { iov_base: registers.as_mut_ptr().cast(), iov_len: size_of_val(&registers) };
    // SAFETY: the kernel writes no more than the length of `registers` there, which are numbers, and so valid if they are zero.
    let registers = unsafe {
        let set = libc::NT_PRSTATUS as *mut c_void;
        let got = libc::ptrace(libc::PTRACE_GETREGSET, tid, set, &raw mut room);
        Errno::result(got).ok()?;
        registers.assume_init()
    };
    #[cfg(target_arch = "x86_64")]
    let registers = Registers { instruction: registers.rip, pointer: registers.rsp, frame: registers.rbp, link: 0 };
    #[cfg(target_arch = "aarch64")]
    let registers = Registers {
        instruction: registers.pc,
        pointer: registers.sp,
        frame: registers.regs[29],
        link: registers.regs[30],
    };
    Some(registers)
}

/// What lies in the memory of another process that goes on meanwhile: so many octets at each of these places, or nothing.
pub(super) fn beside(tid: Tid, places: &[(u64, usize)]) -> Option<Box<Beside>> {
    let piece = |(at, len): &(u64, usize)| {
        let mut octets = vec![0; *len];
        (read_of(tid, *at, &mut octets) == *len).then_some((*at, octets))
    };
    let pieces = places.iter().map(piece).collect::<Option<Vec<_>>>()?;
    Some(Box::new(Beside { pieces, read: now() }))
}

/// Reads the memory of another process.
fn read_of(tid: Tid, at: u64, room: &mut [u8]) -> usize {
    let local = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    let remote = libc::iovec { iov_base: at as *mut c_void, iov_len: room.len() };
    // SAFETY: the kernel writes no more than the length of `room` there, and only reads of the other process.
    let got = unsafe { libc::process_vm_readv(tid, &local, 1, &remote, 1, 0) };
    usize::try_from(got).unwrap_or(0)
}

/// Names a process for as long as it is, whatever becomes of its number.
pub(super) fn process(pid: Tid) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes numbers, and returns a descriptor of ours.
    unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        (fd >= 0).then(|| OwnedFd::from_raw_fd(fd as i32))
    }
}

/// What a socket of another process says of itself.
#[derive(Clone, Debug)]
pub(super) struct Look {
    pub(super) id: SocketId,
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    pub(super) info: Option<TcpInfo>,
    /// How many octets have come that nobody has read yet (SIOCINQ).
    pub(super) unread: Option<u32>,
    /// When the copy of its descriptor was there.
    pub(super) at: Timestamp,
}

/// Looks at a TCP socket of another process through a copy of its descriptor, which is closed at once, as it would hold back a FIN.
///
/// `None` for what is no TCP socket, and where it may not be looked at.
pub(super) fn look(process: &OwnedFd, fd: i32) -> Option<Look> {
    // SAFETY: pidfd_getfd takes numbers, and returns a descriptor of ours.
    let copy = unsafe {
        let fd = libc::syscall(libc::SYS_pidfd_getfd, process.as_raw_fd(), fd, 0);
        if fd < 0 {
            return None;
        }
        OwnedFd::from_raw_fd(fd as i32)
    };
    let at = now();
    let info = TcpInfo::of(copy.as_fd()).ok()?;
    let id = SocketId(nix::sys::stat::fstat(&copy).ok()?.st_ino);
    let name = |name: Result<SockaddrStorage, Errno>| address_of(name);
    let (local, peer) = (name(getsockname(copy.as_raw_fd())), name(getpeername(copy.as_raw_fd())));
    let mut unread: libc::c_int = 0;
    // SAFETY: the kernel writes the number and nothing else (FIONREAD is SIOCINQ for a socket); it fails for one that listens.
    let asked = unsafe { libc::ioctl(copy.as_raw_fd(), libc::FIONREAD, &raw mut unread) };
    let unread = (asked == 0).then(|| u32::try_from(unread).ok()).flatten();
    Some(Look { id, local, peer, info: Some(info), unread, at })
}

/// Whether two threads have one table of descriptors; `None` where the kernel does not say, or one of them has none any more.
///
/// A thread whose end has begun gives its table up before it is gone: it then seems to share none with those that still have one, and one
/// with all others that end.
pub(super) fn share_files(one: Tid, other: Tid) -> Option<bool> {
    // KCMP_FILES (linux/kcmp.h).
    // SAFETY: kcmp takes numbers.
    let shares = match unsafe { libc::syscall(libc::SYS_kcmp, one, other, 2, 0, 0) } {
        0 => true,
        -1 => return None,
        _ => false,
    };
    // Who has a table afterwards had it before.
    (has_files(one) && has_files(other)).then_some(shares)
}

/// Whether a thread has a table of descriptors still.
fn has_files(tid: Tid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).unwrap_or_default();
    let size = status.lines().find_map(|line| line.strip_prefix("FDSize:"));
    size.is_some_and(|size| size.trim() != "0")
}

/// What a descriptor of another process is: its inode where it is a socket; an error where there is none, or it may not be asked.
pub(super) fn socket_at(pid: Tid, fd: i32) -> io::Result<Option<SocketId>> {
    let link = std::fs::read_link(format!("/proc/{pid}/fd/{fd}"))?;
    let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
    Ok(inode.map(SocketId))
}

/// The descriptors of another process that are sockets.
pub(super) fn sockets_of(pid: Tid) -> Vec<i32> {
    let Ok(folder) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return Vec::new() };
    let mut open: Vec<i32> = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    open.retain(|fd| socket_at(pid, *fd).is_ok_and(|socket| socket.is_some()));
    open.sort_unstable();
    open
}

/// The sockets that other processes have than these, as far as they may be looked at.
pub(super) fn sockets_elsewhere(than: &[u32]) -> HashSet<SocketId> {
    let Ok(folder) = std::fs::read_dir("/proc") else { return HashSet::new() };
    let processes = folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let own = std::process::id() as Tid;
    let mut found = HashSet::new();
    for other in processes.filter(|other| *other != own && !than.contains(&(*other as u32))) {
        found.extend(sockets_of(other).into_iter().filter_map(|fd| socket_at(other, fd).ok().flatten()));
    }
    found
}

/// Whether exec closes a descriptor of another process; it does not where that cannot be read.
pub(super) fn is_until_exec(pid: Tid, fd: i32) -> bool {
    let info = std::fs::read_to_string(format!("/proc/{pid}/fdinfo/{fd}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    let flags = flags.and_then(|flags| i32::from_str_radix(flags.trim(), 8).ok());
    flags.is_some_and(|flags| flags & libc::O_CLOEXEC != 0)
}

/// The threads of a process; none where there is no such process.
pub(super) fn threads_of(pid: Tid) -> Vec<Tid> {
    let Ok(folder) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return Vec::new() };
    folder.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
}

/// The call in which a thread waits, and its arguments; `None` for one that runs, and where it may not be read.
pub(super) fn call_of(pid: Tid, tid: Tid) -> Option<(u64, [u64; 6])> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/task/{tid}/syscall")).ok()?;
    let mut words = text.split_whitespace();
    let nr = words.next()?.parse().ok()?;
    let mut args = [0; 6];
    for arg in &mut args {
        *arg = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
    }
    Some((nr, args))
}

/// Whether there is a thread of that number which has not ended.
pub(super) fn is_there(tid: Tid) -> bool {
    std::fs::read_to_string(format!("/proc/{tid}/stat")).is_ok_and(|stat| {
        !matches!(stat.rsplit_once(')').and_then(|(_, rest)| rest.trim().chars().next()), Some('Z' | 'X'))
    })
}

/// Whether a process runs a program of 32 bits, or of x32.
pub(super) fn is_32_bit(pid: Tid) -> bool {
    use std::io::Read;
    let mut first = [0; 5];
    let read = std::fs::File::open(format!("/proc/{pid}/exe")).and_then(|mut file| file.read_exact(&mut first));
    read.is_ok() && first.starts_with(b"\x7fELF\x01")
}

/// Whether a process belongs to the user who runs this one; `None` where there is no such process.
pub(super) fn is_of_this_user(pid: Tid) -> Option<bool> {
    use std::os::unix::fs::MetadataExt;
    let owner = std::fs::metadata(format!("/proc/{pid}")).ok()?.uid();
    Some(owner == nix::unistd::geteuid().as_raw())
}

/// The name of a thread; empty where it cannot be read.
pub(super) fn comm(pid: Tid, tid: Tid) -> String {
    let name = std::fs::read(format!("/proc/{pid}/task/{tid}/comm")).unwrap_or_default();
    String::from_utf8_lossy(&name).trim_end_matches('\n').to_owned()
}

/// The process that a thread belongs to, and the one that made it.
pub(super) fn family_of(tid: Tid) -> Option<(Tid, Tid)> {
    let status = std::fs::read_to_string(format!("/proc/{tid}/status")).ok()?;
    let number = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    Some((number("Tgid:")?, number("PPid:")?))
}

/// How long the next stop is looked for: a few times what a thread takes from one short call to the next.
const LOOKING: Duration = Duration::from_micros(20);
/// Where looking was in vain this often it is done once in a thousand times.
const MOST_VAIN: u32 = 10;
