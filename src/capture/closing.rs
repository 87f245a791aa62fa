//! Descriptors that take the kernel long to close are closed by a process of their own.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigSet, SigmaskHow};
use nix::unistd::pipe2;

/// Has `close` close these descriptors without waiting for the kernel, which takes some 25 ms for the last descriptor of each event of a
/// tracepoint, and of each packet socket: a process of its own is the last to hold them, and ends for it. It holds nothing else open.
///
/// It shares this process's memory, which may be large: a copy would have to be made page by page, by whoever writes there from then on.
///
/// Where there can be no process, `close` takes as long as it takes.
pub fn close_beside(descriptors: impl IntoIterator<Item = RawFd>, close: impl FnOnce()) {
    // Nor where that could close nothing: in the memory of others it is to fail at nothing.
    if close_range(libc::c_uint::MAX, libc::c_uint::MAX).is_err() {
        return close();
    }
    let Ok((waits, closed)) = pipe2(OFlag::O_CLOEXEC) else { return close() };
    let mut kept: Vec<RawFd> = descriptors.into_iter().chain([waits.as_raw_fd()]).collect();
    kept.sort_unstable();
    let pipe = [waits.as_raw_fd(), closed.as_raw_fd()];
    // It may outlive this process: its memory is left to it.
    let holder = Box::leak(Box::new(Holder { kept, pipe }));
    let end = vec![0u8; STACK].leak().as_mut_ptr_range().end;
    let stack = end.wrapping_sub(end.addr() % ALIGN);
    // Signals are for this process, whose handlers share its memory.
    let mask = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    // SAFETY: the stack is its own and large enough, and what it is given is nobody else's; what it may do in this memory, `hold` says.
    let process = unsafe { libc::clone(hold, stack.cast(), libc::CLONE_VM | libc::SIGCHLD, (&raw mut *holder).cast()) };
    if let Ok(mask) = mask {
        _ = mask.thread_set_mask();
    }
    if process == -1 {
        return close();
    }
    drop(waits);
    close();
    drop(closed);
}

/// What a process needs that holds descriptors.
struct Holder {
    kept: Vec<RawFd>,
    /// The end that it reads, and the one that the other process closes.
    pipe: [RawFd; 2],
}

/// Holds descriptors until the other process has closed its own, in a process that shares its memory.
///
/// It makes nothing but system calls, none of which is a place where a thread may be cancelled: it allocates nothing, takes no lock, and
/// where a call fails it changes nothing of that thread but `errno`.
extern "C" fn hold(its: *mut c_void) -> c_int {
    // SAFETY: nobody else has what it was given; the calls take numbers, and a place for one octet.
    unsafe {
        let Holder { kept, pipe: [waits, closed] } = &mut *its.cast::<Holder>();
        // Else it would wait for itself.
        libc::syscall(libc::SYS_close, *closed);
        // Who could not close the rest would keep others waiting for the end of a pipe: then the other process closes by itself.
        if close_all_but(kept).is_ok() {
            let mut octet = 0u8;
            // It returns once the other process has closed its own.
            libc::syscall(libc::SYS_read, *waits, &raw mut octet, 1);
        }
        libc::syscall(libc::SYS_exit_group, 0);
    }
    0
}

/// Closes every descriptor of this process but those, which it sorts; it is for a process that was forked, in which nothing goes on that
/// owns one of the others. It allocates nothing.
///
/// # Errors
/// The kernel has no close_range(2) (before Linux 5.9), or it is not permitted: some may be open still.
pub fn close_all_but(kept: &mut [RawFd]) -> Result<(), Errno> {
    kept.sort_unstable();
    let mut from = 0;
    for fd in kept.iter().filter_map(|fd| libc::c_uint::try_from(*fd).ok()) {
        if fd > from {
            close_range(from, fd - 1)?;
        }
        from = fd + 1;
    }
    close_range(from, libc::c_uint::MAX)
}

fn close_range(from: libc::c_uint, to: libc::c_uint) -> Result<(), Errno> {
    // SAFETY: the call takes numbers only, and nothing uses any more what it closes.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, from, to, 0) }).map(drop)
}

/// Room for a few calls, also of a build that is not optimized, and how a stack is aligned.
const STACK: usize = 32 << 10;
const ALIGN: usize = 16;

#[cfg(test)]
mod tests {
    use nix::sys::wait::{WaitStatus, waitpid};
    use nix::unistd::{ForkResult, fork};

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
