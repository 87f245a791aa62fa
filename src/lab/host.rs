//! The loopback interface to experiment on: the host's own, or that of a network namespace made for the purpose; and giving privilege up.

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::sched::{CloneFlags, CpuSet, sched_getcpu, sched_setaffinity, unshare};
use nix::sys::prctl;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, UnixAddr, bind, getsockname, setsockopt, socket, sockopt,
};
use nix::unistd::{Pid, getegid, geteuid};

use super::LabError;
use crate::capture::{self, LowPorts, Successor};

/// The name of the interface.
pub(super) const LOOPBACK: &str = "lo";

/// Whether this process has a network namespace of its own, and how it came to it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ground {
    /// The network namespace in which the program was started.
    Host,
    /// One of its own, made by root.
    OwnNetwork,
    /// One of its own, inside a user namespace of its own, made by an ordinary user.
    OwnUserAndNetwork,
}

/// Moves this process into a network namespace of its own, with its loopback interface up, and with `mtu` where one is wanted.
///
/// The namespace ends with the process. Root makes just the network namespace; anyone else a user namespace around it, in which
/// user and group keep their numbers, so that files that are written belong to the user.
///
/// It is to be called before there is a second thread.
///
/// # Errors
/// The host forbids it: the setting that does, and where there is one, the way out.
pub fn enter_namespace(mtu: Option<u32>) -> Result<Ground, LabError> {
    let made = if geteuid().is_root() {
        match unshare(CloneFlags::CLONE_NEWNET) {
            Ok(()) => Ok(Ground::OwnNetwork),
            // Root without CAP_SYS_ADMIN, as in a container, is an ordinary user here.
            Err(Errno::EPERM) => enter_user_namespace(),
            Err(errno) => Err(errno),
        }
    } else {
        enter_user_namespace()
    };
    let ground = made.map_err(forbidden)?;
    bring_up(mtu).map_err(|errno| match errno {
        Errno::EPERM | Errno::EACCES => forbidden(errno),
        errno => LabError::new(match mtu {
            Some(mtu) => format!("{LOOPBACK} does not take an MTU of {mtu} octets: {}", errno.desc()),
            None => format!("cannot bring {LOOPBACK} up in a network namespace of its own: {}", errno.desc()),
        }),
    })?;
    Ok(ground)
}

fn enter_user_namespace() -> Result<Ground, Errno> {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    // A program with file capabilities does not own its files in /proc otherwise.
    prctl::set_dumpable(true)?;
    let write =
        |file: &str, text: String| fs::write(format!("/proc/self/{file}"), text).map_err(|error| errno_of(&error));
    // An ordinary user may map a group only after having forsworn setgroups; a kernel before 3.19 has no such file.
    match write("setgroups", "deny".to_owned()) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(errno),
    }
    write("uid_map", format!("{uid} {uid} 1"))?;
    write("gid_map", format!("{gid} {gid} 1"))?;
    Ok(Ground::OwnUserAndNetwork)
}

/// Says which setting of the host stands in the way.
fn forbidden(errno: Errno) -> LabError {
    let setting = |path: &str| fs::read_to_string(path).ok().map(|value| value.trim().to_owned());
    let is = |path: &str, value: &str| setting(path).as_deref() == Some(value);
    let threads = fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let why = if errno == Errno::ENOENT && !Path::new("/proc/self").exists() {
        "/proc is not mounted, and a namespace for users is set up through it: mount -t proc proc /proc".to_owned()
    } else if threads > 1 {
        format!("this process already has {threads} threads")
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "user.max_user_namespaces = 0 on this host".to_owned()
    } else if is("/proc/sys/user/max_net_namespaces", "0") {
        "user.max_net_namespaces = 0 on this host".to_owned()
    } else if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "kernel.unprivileged_userns_clone = 0 on this host".to_owned()
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "kernel.apparmor_restrict_unprivileged_userns = 1 on this host (AppArmor)".to_owned()
    } else {
        match errno {
            Errno::ENOSPC => {
                "the limit on namespaces is reached (user.max_user_namespaces, user.max_net_namespaces)".to_owned()
            }
            Errno::EINVAL => "this kernel was built without user namespaces".to_owned(),
            Errno::EPERM | Errno::EACCES => {
                format!("{errno:?}, which a container's seccomp profile or a security module causes")
            }
            errno => format!("{errno:?}: {}", errno.desc()),
        }
    };
    LabError::new(format!("a network namespace of its own is forbidden: {why}"))
}

/// The ways to the permission to capture, for the end of a message.
pub(super) fn ways_out(mtu: Option<u32>) -> String {
    match mtu {
        Some(_) => "run it with sudo, or leave --mtu out".to_owned(),
        None => capture::ways_to_capture(),
    }
}

/// Whether the loopback interface is up.
pub(super) fn is_up() -> bool {
    Request::about(LOOPBACK).and_then(|mut request| request.flags()).is_ok_and(|flags| flags & libc::IFF_UP != 0)
}

pub(super) fn bring_up(mtu: Option<u32>) -> Result<(), Errno> {
    let mut request = Request::about(LOOPBACK)?;
    if let Some(mtu) = mtu {
        request.data.ifr_ifru.ifru_mtu = i32::try_from(mtu).map_err(|_| Errno::EINVAL)?;
        request.make(libc::SIOCSIFMTU)?;
        // Otherwise the kernel hands segments of up to 64 KiB over the wire at once and leaves cutting them to a card that is not there.
        request.offload_off(ETHTOOL_STSO)?;
        request.offload_off(ETHTOOL_SGSO)?;
    }
    let flags = request.flags()?;
    request.data.ifr_ifru.ifru_flags = (flags | libc::IFF_UP) as libc::c_short;
    request.make(libc::SIOCSIFFLAGS)
}

/// Turns off what leaves the cutting of segments and their checksums to a card that is not there: captures then hold whole segments.
pub(super) fn offloads_off(interface: &str) -> Result<(), Errno> {
    let mut request = Request::about(interface)?;
    for command in [ETHTOOL_STXCSUM, ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO] {
        match request.offload_off(command) {
            // What a kernel does not know is not on.
            Ok(()) | Err(Errno::EOPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// One ioctl about an interface (netdevice(7)).
struct Request {
    socket: OwnedFd,
    data: libc::ifreq,
}

impl Request {
    fn about(interface: &str) -> Result<Self, Errno> {
        let socket = socket(AddressFamily::Inet, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        // SAFETY: all octets zero is a valid ifreq.
        let mut data: libc::ifreq = unsafe { std::mem::zeroed() };
        for (room, octet) in data.ifr_name.iter_mut().zip(interface.bytes().take(libc::IFNAMSIZ - 1)) {
            *room = octet as libc::c_char;
        }
        Ok(Self { socket, data })
    }

    fn make(&mut self, number: libc::Ioctl) -> Result<(), Errno> {
        // SAFETY: each number used here takes a pointer to an ifreq, and what that points to lives in the caller.
        Errno::result(unsafe { libc::ioctl(self.socket.as_raw_fd(), number, &mut self.data) }).map(drop)
    }

    fn flags(&mut self) -> Result<libc::c_int, Errno> {
        self.make(libc::SIOCGIFFLAGS)?;
        // SAFETY: SIOCGIFFLAGS has filled this member.
        Ok(unsafe { self.data.ifr_ifru.ifru_flags }.into())
    }

    fn offload_off(&mut self, command: u32) -> Result<(), Errno> {
        // struct ethtool_value (linux/ethtool.h): the command and the value.
        let mut value = [command, 0u32];
        self.data.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
        self.make(libc::SIOCETHTOOL as libc::Ioctl)
    }
}

/// Gives up what privilege the process has, for good: it was needed only to open the capture.
///
/// In a user namespace of its own it keeps what a server on a port below 1024 needs, which is worth nothing outside.
pub(super) fn give_up_privilege(ground: Ground, port: u16, successor: &Successor) -> Result<(), LabError> {
    let given_up = match ground {
        Ground::OwnUserAndNetwork if port < 1024 => capture::give_up_privilege_inside(LowPorts::Open),
        Ground::OwnUserAndNetwork => capture::give_up_privilege_inside(LowPorts::Closed),
        Ground::Host | Ground::OwnNetwork => capture::give_up_privilege(successor),
    };
    given_up.map_err(|error| LabError::new(error.message))
}

/// The processor that runs the calling thread, where the kernel tells.
pub(super) fn this_processor() -> Option<usize> {
    sched_getcpu().ok()
}

/// Keeps the calling thread on `processor`, if that is allowed.
///
/// Each processor delivers by itself what was sent on it over loopback. With all actors on one, segments arrive in the order in which
/// they were sent; otherwise a busy host reorders them, and the picture is of its scheduler more than of TCP.
pub(super) fn stay_on(processor: Option<usize>) {
    let mut only = CpuSet::new();
    if processor.is_some_and(|processor| only.set(processor).is_ok()) {
        // Where it is not allowed, the experiment is as good, only less orderly.
        let _ = sched_setaffinity(Pid::from_raw(0), &only);
    }
}

/// How a thread comes to its turn.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// Before all ordinary threads (SCHED_FIFO), where that is permitted; root may.
    First,
    /// As other threads do, but for a short time at once, and so as soon as it may.
    Ordinary,
}

/// Has the calling thread, and those that come of it from now on, take their turn so (sched_setattr(2)).
///
/// On a busy host, a segment that the link hands over late is one that TCP thinks lost. Kernels before 6.12 do not know of short turns,
/// and it is as they say.
pub(super) fn take_turns(turn: Turn) {
    let settings = libc::sched_attr {
        size: size_of::<libc::sched_attr>() as u32,
        sched_policy: if turn == Turn::First { libc::SCHED_FIFO } else { libc::SCHED_OTHER } as u32,
        sched_flags: 0,
        sched_nice: 0,
        sched_priority: u32::from(turn == Turn::First),
        sched_runtime: if turn == Turn::First { 0 } else { SLICE },
        sched_deadline: 0,
        sched_period: 0,
    };
    // A process of low priority keeps it.
    // SAFETY: both calls take numbers, and a pointer to a value that lives here, whose size it holds.
    unsafe {
        let nice = libc::getpriority(libc::PRIO_PROCESS, 0);
        let settings = libc::sched_attr { sched_nice: nice, ..settings };
        libc::syscall(libc::SYS_sched_setattr, 0, &raw const settings, 0);
    }
}

/// A port that is kept from others: bound with SO_REUSEADDR and never listening, so that the server can bind it, too.
pub(super) struct Reservation {
    /// Address and port.
    pub(super) address: SocketAddr,
    _socket: OwnedFd,
}

impl Reservation {
    /// Takes `port` of `address`, or any free one for 0; the claim keeps other runs of this program off it for as long as it is held.
    ///
    /// # Errors
    /// The kernel's: `EADDRINUSE` when somebody listens there or has claimed it, `EACCES` for a port that only root may take.
    pub(super) fn of(address: IpAddr, port: u16) -> Result<(Self, Claim), Errno> {
        Self::claimed(address, port, Claim::on)
    }

    fn claimed(
        address: IpAddr,
        port: u16,
        mut claim: impl FnMut(u16) -> Result<Claim, Errno>,
    ) -> Result<(Self, Claim), Errno> {
        let family = if address.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
        let mut refused = Errno::EADDRINUSE;
        for _ in 0..ATTEMPTS {
            let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
            setsockopt(&socket, sockopt::ReuseAddr, &true)?;
            bind(socket.as_raw_fd(), &SockaddrStorage::from(SocketAddr::new(address, port)))?;
            let bound: SockaddrStorage = getsockname(socket.as_raw_fd())?;
            let taken = match (bound.as_sockaddr_in(), bound.as_sockaddr_in6()) {
                (Some(v4), _) => v4.port(),
                (_, Some(v6)) => v6.port(),
                _ => port,
            };
            match claim(taken) {
                Ok(claim) => return Ok((Self { address: SocketAddr::new(address, taken), _socket: socket }, claim)),
                Err(errno) if port != 0 => return Err(errno),
                Err(errno) => refused = errno,
            }
        }
        Err(refused)
    }
}

/// The claim of this run on a port: a name in the abstract namespace of Unix sockets, which goes with the process (unix(7)).
///
/// SO_REUSEADDR alone does not do it: it lets two runs bind the same port, of which only one can listen.
pub(super) struct Claim {
    _socket: OwnedFd,
}

impl Claim {
    pub(super) fn on(port: u16) -> Result<Self, Errno> {
        let socket = socket(AddressFamily::Unix, SockType::Datagram, SockFlag::SOCK_CLOEXEC, None)?;
        let name = format!("tcpflow demo on port {port}");
        bind(socket.as_raw_fd(), &UnixAddr::new_abstract(name.as_bytes())?)?;
        Ok(Self { _socket: socket })
    }
}

/// Does something in a network of its own, whose loopback interface is up, in a thread of its own; says so where that is not permitted.
#[cfg(test)]
pub(crate) fn in_own_network<T: Send>(act: impl FnOnce() -> T + Send) -> Option<T> {
    let apart = || match unshare(CloneFlags::CLONE_NEWNET) {
        Ok(()) => {
            bring_up(None).expect("the loopback interface comes up");
            Some(act())
        }
        Err(errno) => {
            assert!(!geteuid().is_root(), "no network namespace: {errno}");
            eprintln!("NOT CHECKED here: only root may give a thread a network of its own");
            None
        }
    };
    std::thread::scope(|scope| scope.spawn(apart).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
}

fn errno_of(error: &io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// The unspecified address of the same family, with port 0.
pub(super) fn any_like(address: SocketAddr) -> SocketAddr {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    SocketAddr::new(any, 0)
}

/// For how long a thread runs at once, in nanoseconds: the shortest time that Linux grants.
const SLICE: u64 = 100_000;
/// How many free ports are tried.
const ATTEMPTS: usize = 32;
const ETHTOOL_STXCSUM: u32 = 0x17;
const ETHTOOL_STSO: u32 = 0x1f;
const ETHTOOL_SGSO: u32 = 0x24;
const ETHTOOL_SGRO: u32 = 0x2c;

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[test]
    fn of_ports_that_others_have_claimed_so_many_are_tried() {
        // At the n-th try one is had; the others have claimed those before.
        let tried = |port: u16, nth: usize| {
            let mut tries = 0;
            let had = Reservation::claimed(HERE, port, |taken| {
                tries += 1;
                if tries == nth { Claim::on(taken) } else { Err(Errno::EADDRINUSE) }
            });
            (tries, had.map(|(reservation, _)| reservation.address.ip()).map_err(|errno| errno as i32))
        };
        let refused = Err(libc::EADDRINUSE);
        assert_eq!(tried(0, 1), (1, Ok(HERE)));
        assert_eq!(tried(0, ATTEMPTS), (ATTEMPTS, Ok(HERE)));
        assert_eq!(tried(0, ATTEMPTS + 1), (ATTEMPTS, refused));
        // One that was asked for is no other.
        let (reservation, claim) = Reservation::of(HERE, 0).expect("a free port");
        let port = reservation.address.port();
        assert_eq!(Reservation::of(HERE, port).map(|_| ()), Err(Errno::EADDRINUSE));
        drop(claim);
        assert_eq!(tried(port, 2), (1, refused));
    }

    /// The kernel gives out one port, which another run has.
    #[test]
    fn where_all_ports_are_claimed_there_is_none() {
        in_own_network(|| {
            fs::write("/proc/sys/net/ipv4/ip_local_port_range", "40000 40000").expect("a range of one port");
            let (reservation, claim) = Reservation::of(HERE, 0).expect("the one port");
            assert_eq!(reservation.address.port(), 40_000);
            // It is free of sockets.
            drop(reservation);
            assert_eq!(Reservation::of(HERE, 0).map(|_| ()), Err(Errno::EADDRINUSE));
            drop(claim);
            assert!(Reservation::of(HERE, 0).is_ok());
        });
    }
}
