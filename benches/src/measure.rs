//! One run of a program: how long it took and how much memory it had at its peak.

use std::io;
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, ExitStatus, Stdio};
use std::time::Instant;

/// What a run cost.
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    /// Wall-clock seconds from the start to the end of the process.
    pub seconds: f64,
    /// Seconds of processor time, of all its threads and in the kernel for it.
    pub processor: f64,
    /// The peak of its resident memory in octets, as the kernel counted it.
    pub peak: u64,
}

/// What a run may use before the kernel stops it, so that a peer that grows without end does not take the machine along.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Seconds of processor time.
    pub seconds: u64,
    /// Octets of address space.
    pub memory: u64,
}

impl Limits {
    /// Limits of time, and of nine tenths of the machine's memory.
    pub fn of(seconds: u64) -> Self {
        // SAFETY: sysconf only reads, and answers -1 where it does not know.
        let (pages, size) = unsafe { (libc::sysconf(libc::_SC_PHYS_PAGES), libc::sysconf(libc::_SC_PAGESIZE)) };
        let memory = u64::try_from(pages).ok().zip(u64::try_from(size).ok()).map(|(pages, size)| pages * size);
        Self { seconds, memory: memory.unwrap_or(u64::MAX) / 10 * 9 }
    }

    fn apply(self) -> io::Result<()> {
        for (resource, most) in [(libc::RLIMIT_CPU, self.seconds), (libc::RLIMIT_AS, self.memory)] {
            let limit = libc::rlimit { rlim_cur: most, rlim_max: most };
            // SAFETY: the pointer is to a live value of the type the call reads.
            if unsafe { libc::setrlimit(resource, &raw const limit) } != 0 {
                return Err(io::Error::last_os_error());
            }
        }
        Ok(())
    }
}

/// Runs a command with its output thrown away and measures it.
///
/// # Errors
/// Where the program cannot be started, fails, or is stopped at its limits.
pub fn run(command: &[String], limits: Limits) -> io::Result<Cost> {
    let (program, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    // SAFETY: between fork and exec only setrlimit is called, which is async-signal-safe.
    unsafe { command.pre_exec(move || limits.apply()) };
    let begin = Instant::now();
    let child = command.spawn()?;
    let (status, usage) = wait(child.id() as libc::pid_t)?;
    let seconds = begin.elapsed().as_secs_f64();
    let processor = [usage.ru_utime, usage.ru_stime].map(|time| time.tv_sec as f64 + time.tv_usec as f64 / 1e6);
    let processor = processor[0] + processor[1];
    let peak = usage.ru_maxrss as u64 * 1024;
    if status.success() { Ok(Cost { seconds, processor, peak }) } else { Err(io::Error::other(status.to_string())) }
}

/// Waits for a child and asks what it used.
fn wait(pid: libc::pid_t) -> io::Result<(ExitStatus, libc::rusage)> {
    let mut status = 0;
    // SAFETY: an all-zero rusage is a valid value of that plain struct.
    let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: both pointers are to live values of the types the call writes.
        if unsafe { libc::wait4(pid, &raw mut status, 0, &raw mut usage) } == pid {
            return Ok((ExitStatus::from_raw(status), usage));
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}
