//! Descriptors that take the kernel long to close are closed by a process of their own.

use std::os::fd::{AsRawFd, RawFd};

use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, fork, pipe2};

/// Has `close` close these descriptors without waiting for the kernel, which takes some 25 ms for the last descriptor of each event of a
/// tracepoint, and of each packet socket: a process of its own is the last to hold them, and ends for it. It holds nothing else open.
///
/// Where there can be no process, `close` takes as long as it takes.
pub fn close_beside(descriptors: impl IntoIterator<Item = RawFd>, close: impl FnOnce()) {
    let Ok((waits, closed)) = pipe2(OFlag::O_CLOEXEC) else { return close() };
    let mut kept: Vec<RawFd> = descriptors.into_iter().chain([waits.as_raw_fd()]).collect();
    kept.sort_unstable();
    // SAFETY: the child makes nothing but system calls until it ends: it allocates nothing, and takes no lock.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            // SAFETY: the calls take numbers, and a place for one octet.
            unsafe {
                let mut from = 0;
                for fd in kept.iter().map(|fd| *fd as libc::c_uint) {
                    if fd > from {
                        libc::syscall(libc::SYS_close_range, from, fd - 1, 0);
                    }
                    from = fd + 1;
                }
                libc::syscall(libc::SYS_close_range, from, libc::c_uint::MAX, 0);
                let mut octet = 0u8;
                // It returns once the other process has closed its own.
                libc::read(waits.as_raw_fd(), (&raw mut octet).cast(), 1);
                libc::_exit(0)
            }
        }
        Ok(ForkResult::Parent { .. }) => {
            drop(waits);
            close();
            drop(closed);
        }
        Err(_) => close(),
    }
}
