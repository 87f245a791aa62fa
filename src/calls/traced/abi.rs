//! The numbers of the calls that are watched, in the ABI of this machine and in those beside it.

use crate::kernel::Watched;

/// Whose calls they are, as the kernel says with each (linux/audit.h).
#[cfg(target_arch = "x86_64")]
pub(super) const ARCH: u32 = 0xc000_003e;
/// Whose calls they are, as the kernel says with each (linux/audit.h).
#[cfg(target_arch = "aarch64")]
pub(super) const ARCH: u32 = 0xc000_00b7;

/// The 32-bit ABI of this machine.
#[cfg(target_arch = "x86_64")]
pub(super) const FOREIGN: u32 = 0x4000_0003;
/// The 32-bit ABI of this machine.
#[cfg(target_arch = "aarch64")]
pub(super) const FOREIGN: u32 = 0x4000_0028;

/// The calls of the 32-bit ABI that show that a program uses sockets: socketcall, socket, connect, listen, accept4.
#[cfg(target_arch = "x86_64")]
pub(super) const FOREIGN_CALLS: &[u32] = &[102, 359, 362, 363, 364];
/// The calls of the 32-bit ABI that show that a program uses sockets: socket, connect, listen, accept, accept4.
#[cfg(target_arch = "aarch64")]
pub(super) const FOREIGN_CALLS: &[u32] = &[281, 283, 284, 285, 366];

/// The bit of the calls of x32 (arch/x86/include/uapi/asm/unistd.h).
pub(super) const X32: u32 = 0x4000_0000;

/// The calls that stop, besides fcntl where it copies a descriptor.
pub(super) const TRACED: &[i64] = &[
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_close,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_preadv2,
    libc::SYS_pwritev2,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_connect,
    libc::SYS_socket,
    libc::SYS_bind,
    libc::SYS_listen,
    libc::SYS_shutdown,
    libc::SYS_setsockopt,
    libc::SYS_getsockopt,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_close_range,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    libc::SYS_unshare,
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_restart_syscall,
    libc::SYS_io_uring_setup,
    libc::SYS_pidfd_getfd,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_create,
];

/// The calls that are recorded where threads are not stopped, and how much of the stack is with them: what lies there of addresses, of the
/// values of options, of messages with their control data, and of what a wait is for.
///
/// Beside those of [`TRACED`] they are such as mark a descriptor to be closed by exec, and those by which threads begin and end.
pub(super) const RECORDED: &[Watched] = &[
    call(libc::SYS_read, "read", 0, 0),
    call(libc::SYS_write, "write", 0, 0),
    call(libc::SYS_close, "close", 0, 0),
    call(libc::SYS_sendto, "sendto", 0, 0),
    call(libc::SYS_recvfrom, "recvfrom", 0, 0),
    call(libc::SYS_readv, "readv", SOME, 0),
    call(libc::SYS_writev, "writev", SOME, 0),
    call(libc::SYS_preadv2, "preadv2", SOME, 0),
    call(libc::SYS_pwritev2, "pwritev2", SOME, 0),
    call(libc::SYS_sendmsg, "sendmsg", SOME, SOME),
    call(libc::SYS_recvmsg, "recvmsg", SOME, SOME),
    Watched { wakes: true, ..call(libc::SYS_accept, "accept", SOME, SOME) },
    Watched { wakes: true, ..call(libc::SYS_accept4, "accept4", SOME, SOME) },
    Watched { wakes: true, ..call(libc::SYS_connect, "connect", SOME, 0) },
    call(libc::SYS_socket, "socket", 0, 0),
    call(libc::SYS_bind, "bind", SOME, 0),
    call(libc::SYS_listen, "listen", 0, 0),
    call(libc::SYS_shutdown, "shutdown", 0, 0),
    call(libc::SYS_setsockopt, "setsockopt", SOME, 0),
    call(libc::SYS_getsockopt, "getsockopt", 0, SOME),
    call(libc::SYS_getsockname, "getsockname", SOME, SOME),
    call(libc::SYS_getpeername, "getpeername", SOME, SOME),
    call(libc::SYS_sendmmsg, "sendmmsg", SOME, SOME),
    call(libc::SYS_recvmmsg, "recvmmsg", SOME, SOME),
    call(libc::SYS_sendfile, "sendfile64", 0, 0),
    call(libc::SYS_splice, "splice", 0, 0),
    call(libc::SYS_dup, "dup", 0, 0),
    call(libc::SYS_dup3, "dup3", 0, 0),
    call(libc::SYS_close_range, "close_range", 0, 0),
    call(libc::SYS_ppoll, "ppoll", SOME, SOME),
    call(libc::SYS_pselect6, "pselect6", SOME, SOME),
    call(libc::SYS_epoll_create1, "epoll_create1", 0, 0),
    call(libc::SYS_epoll_ctl, "epoll_ctl", SOME, 0),
    call(libc::SYS_epoll_pwait, "epoll_pwait", 0, SOME),
    call(libc::SYS_epoll_pwait2, "epoll_pwait2", SOME, SOME),
    call(libc::SYS_clone, "clone", 0, 0),
    call(libc::SYS_clone3, "clone3", SOME, 0),
    call(libc::SYS_unshare, "unshare", 0, 0),
    call(libc::SYS_execve, "execve", 0, 0),
    call(libc::SYS_execveat, "execveat", 0, 0),
    call(libc::SYS_restart_syscall, "restart_syscall", 0, 0),
    call(libc::SYS_io_uring_setup, "io_uring_setup", 0, 0),
    call(libc::SYS_pidfd_getfd, "pidfd_getfd", 0, 0),
    call(libc::SYS_fcntl, "fcntl", 0, 0),
    call(libc::SYS_ioctl, "ioctl", 0, 0),
    call(libc::SYS_exit, "exit", 0, 0),
    call(libc::SYS_exit_group, "exit_group", 0, 0),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_dup2, "dup2", 0, 0),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_poll, "poll", SOME, SOME),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_select, "select", SOME, SOME),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_epoll_wait, "epoll_wait", 0, SOME),
    #[cfg(target_arch = "x86_64")]
    call(libc::SYS_epoll_create, "epoll_create", 0, 0),
];

const fn call(nr: i64, name: &'static str, entry: u32, back: u32) -> Watched {
    Watched { nr, name, entry, back, wakes: false }
}

/// As much of a stack as holds what a function of the C library, and the one that called it, have put there.
const SOME: u32 = 1024;
