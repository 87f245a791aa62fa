//! Descriptors that take the kernel long to close are closed by a process of their own.

use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::unistd::{ForkResult, fork, pipe2};

/// Has `close` close these descriptors without waiting for the kernel, which takes some 25 ms for the last descriptor of each event of a
/// tracepoint, and of each packet socket: a process of its own is the last to hold them, and ends for it. It holds nothing else open.
///
/// Where there can be no process, `close` takes as long as it takes.
pub fn close_beside(descriptors: impl IntoIterator<Item = RawFd>, close: impl FnOnce()) {
    let Ok((waits, closed)) = pipe2(OFlag::O_CLOEXEC) else { return close() };
    let mut kept: Vec<RawFd> = descriptors.into_iter().chain([waits.as_raw_fd()]).collect();
    // SAFETY: the child makes nothing but system calls until it ends: it allocates nothing, and takes no lock.
    match unsafe { fork() } {
        Ok(ForkResult::Child) => {
            // Else it would wait for itself.
            drop(closed);
            // Who could not close the rest would keep others waiting for the end of a pipe: then the other process closes by itself.
            let others_are_closed = close_all_but(&mut kept).is_ok();
            // SAFETY: the calls take numbers, and a place for one octet.
            unsafe {
                if others_are_closed {
                    let mut octet = 0u8;
                    // It returns once the other process has closed its own.
                    libc::read(waits.as_raw_fd(), (&raw mut octet).cast(), 1);
                }
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

/// Closes every descriptor of this process but those, which it sorts; it is for a process that was forked, in which nothing goes on that
/// owns one of the others. It allocates nothing.
///
/// # Errors
/// The kernel has no close_range(2) (before Linux 5.9), or it is not permitted: some may be open still.
pub fn close_all_but(kept: &mut [RawFd]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut from = 0;
    let close = |from: libc::c_uint, to: libc::c_uint| {
        // SAFETY: the call takes numbers only, and nothing uses any more what it closes.
        Errno::result(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) }).map(drop)
    };
    for fd in kept.iter().filter_map(|fd| libc::c_uint::try_from(*fd).ok()) {
        if fd > from {
            close(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close(from, libc::c_uint::MAX)
}

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};

    use super::*;

    #[test]
    fn all_but_those_are_closed() {
        let (first, second) = (pipe2(OFlag::O_CLOEXEC).unwrap(), pipe2(OFlag::O_CLOEXEC).unwrap());
        let [a, b, c, d] = [&first.0, &first.1, &second.0, &second.1].map(AsRawFd::as_raw_fd);
        // SAFETY: the child makes nothing but system calls until it ends.
        match unsafe { fork() }.unwrap() {
            ForkResult::Child => {
                let closed = close_all_but(&mut [d, a, -1, a]).is_ok();
                // SAFETY: the calls take numbers only.
                unsafe {
                    let is_open = |fd| libc::fcntl(fd, libc::F_GETFD) != -1;
                    let is_right = closed && is_open(a) && is_open(d) && ![0, 1, 2, b, c].into_iter().any(is_open);
                    libc::_exit(i32::from(!is_right))
                }
            }
            ForkResult::Parent { child } => assert_eq!(waitpid(child, None), Ok(WaitStatus::Exited(child, 0))),
        }
    }

    #[test]
    fn what_is_closed_beside_is_held_by_nobody_in_the_end() {
        let (held, writes) = pipe2(OFlag::O_CLOEXEC).unwrap();
        let is_over = || {
            let mut octet = [0];
            nix::unistd::read(&held, &mut octet) == Ok(0)
        };
        close_beside([writes.as_raw_fd()], || drop(writes));
        assert!(is_over(), "the last who holds the end of the pipe is gone");
    }
}
