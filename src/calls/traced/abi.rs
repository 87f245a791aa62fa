//! The numbers of the calls that are watched, in the ABI of this machine and in those beside it.

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
    libc::SYS_sendmmsg,
    libc::SYS_recvmmsg,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_close_range,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
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
];
