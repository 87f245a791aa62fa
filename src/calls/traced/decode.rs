//! What a thread asks for, read from the registers and the memory of its call, and what it got.

use std::borrow::Cow;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::super::{
    Domain, Duplicating, Errno, How, Level, MessageFlags, Naming, Op, OptionName, OptionValue, PREVIEW, PollEvents,
    Polling, Protocol, Receiving, Returned, Sending, SocketFlags, SocketOption, SocketType, TcpOption,
};
use super::system::Memory;
use crate::time::Timestamp;

/// A call as it is entered.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Asked {
    pub(super) op: Op,
    pub(super) about: About,
    /// Where its octets are.
    octets: Octets,
}

/// Which descriptors a call is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum About {
    /// None; it makes one.
    New,
    /// One.
    Fd(i32),
    /// It copies one to the number of another, which it closes (dup2, dup3), or to a free one.
    Copy(i32, Option<i32>),
    /// Octets go from one to the other.
    Between(i32, i32),
    /// It waits for these.
    Several(Vec<(i32, PollEvents)>),
    /// It says what an epoll is to wait for at a descriptor.
    ///
    /// With what it was to wait for there before, once that is known.
    Interest(i32, Interest, Option<Wanted>),
    /// It waits for what an epoll waits for.
    Epoll(i32),
    /// It closes all from the first to the last, or marks them to be closed by exec.
    Range(u32, u32, Closing),
    /// It executes a program.
    Program,
    /// It goes on with a call that a signal interrupted.
    Again,
    /// It makes an epoll.
    NewEpoll,
    /// The thread gets a table of descriptors of its own.
    Unshared,
    /// It makes a ring, whose work is no calls.
    Ring,
    /// It takes a descriptor of another process.
    Taken,
}

/// What epoll_ctl asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Interest {
    /// EPOLL_CTL_ADD and its kin.
    pub(super) op: i32,
    /// At which descriptor.
    pub(super) fd: i32,
    /// What for; `None` where that could not be read.
    pub(super) wanted: Option<Wanted>,
}

/// What an epoll is to wait for at a descriptor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    pub(super) events: PollEvents,
    /// What it is to be named by.
    pub(super) data: u64,
    /// Once it was found ready, it is waited for no more, until that is asked for again (EPOLLONESHOT).
    pub(super) once: bool,
}

/// What close_range does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Closing {
    /// The descriptors stay open until the process executes a program.
    pub(super) only_marks: bool,
    /// The thread gets a table of its own first.
    pub(super) unshares: bool,
}

/// Where the octets of a transfer are in the memory of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Octets {
    /// Nowhere, or in no memory of the program.
    None,
    At(u64),
    /// In the pieces of an array of `struct iovec`.
    Vector(u64, u64),
    /// In those of a `struct msghdr`.
    Message(u64),
    /// The value of an option, and its length.
    Value(u64, u64),
    /// In those of several `struct mmsghdr`.
    Messages(u64),
}

/// Reads what a call asks for; `None` for one that is not watched.
pub(super) fn asked(nr: u64, args: [u64; 6], memory: Memory<'_>) -> Option<Asked> {
    let fd = |n: usize| args[n] as i32;
    let int = |n: usize| args[n] as i32;
    let on = |op| Asked { op, about: About::Fd(fd(0)), octets: Octets::None };
    let send = |by, len, flags: i32, octets| {
        let flags = MessageFlags::from_bits_retain(flags);
        Asked { op: Op::Send { by, len, flags }, about: About::Fd(fd(0)), octets }
    };
    let receive = |by, len, flags: i32, octets| {
        let flags = MessageFlags::from_bits_retain(flags);
        Asked { op: Op::Receive { by, len, flags }, about: About::Fd(fd(0)), octets }
    };
    let copy = |by, to| Asked { op: Op::Duplicate { by }, about: About::Copy(fd(0), to), octets: Octets::None };
    let other = |name, about| Asked {
        op: Op::Other { name: Cow::Borrowed(name), args: Vec::new() },
        about,
        octets: Octets::None,
    };
    let polls = |by, timeout: Option<i64>, watched: Option<Vec<_>>| {
        // A wait of which it is not known what it waits for, or for how long, says nothing.
        let (op, about) = (Op::Poll { by, timeout: timeout? }, About::Several(watched?));
        Some(Asked { op, about, octets: Octets::None })
    };
    let waits_in_epoll =
        |by, timeout, epoll| Asked { op: Op::Poll { by, timeout }, about: About::Epoll(epoll), octets: Octets::None };
    Some(match nr as i64 {
        libc::SYS_read => receive(Receiving::Read, Some(args[2]), 0, Octets::At(args[1])),
        libc::SYS_write => send(Sending::Write, Some(args[2]), 0, Octets::At(args[1])),
        libc::SYS_close => on(Op::Close),
        libc::SYS_sendto => {
            let by = if args[4] == 0 { Sending::Send } else { Sending::SendTo };
            send(by, Some(args[2]), int(3), Octets::At(args[1]))
        }
        libc::SYS_recvfrom => {
            let by = if args[4] == 0 { Receiving::Recv } else { Receiving::RecvFrom };
            receive(by, Some(args[2]), int(3), Octets::At(args[1]))
        }
        libc::SYS_readv => {
            let octets = Octets::Vector(args[1], args[2]);
            receive(Receiving::ReadV, room_in(octets, memory), 0, octets)
        }
        libc::SYS_writev => {
            let octets = Octets::Vector(args[1], args[2]);
            send(Sending::WriteV, room_in(octets, memory), 0, octets)
        }
        // A socket has no positions: both fail unless they ask for the next octets.
        libc::SYS_preadv2 => {
            let octets = Octets::Vector(args[1], args[2]);
            receive(Receiving::PReadV2, room_in(octets, memory), 0, octets)
        }
        libc::SYS_pwritev2 => {
            let octets = Octets::Vector(args[1], args[2]);
            send(Sending::PWriteV2, room_in(octets, memory), 0, octets)
        }
        libc::SYS_sendmsg => {
            let octets = Octets::Message(args[1]);
            send(Sending::SendMsg, room_in(octets, memory), int(2), octets)
        }
        libc::SYS_recvmsg => {
            let octets = Octets::Message(args[1]);
            receive(Receiving::RecvMsg, room_in(octets, memory), int(2), octets)
        }
        libc::SYS_sendmmsg => {
            send(Sending::SendMmsg, room_of(args[1], args[2], memory), int(3), Octets::Messages(args[1]))
        }
        libc::SYS_recvmmsg => {
            receive(Receiving::RecvMmsg, room_of(args[1], args[2], memory), int(3), Octets::Messages(args[1]))
        }
        libc::SYS_sendfile => {
            Asked { about: About::Between(fd(1), fd(0)), ..send(Sending::SendFile, Some(args[3]), 0, Octets::None) }
        }
        // Its flags are no messages': SPLICE_F_NONBLOCK has the number of MSG_PEEK.
        libc::SYS_splice => {
            Asked { about: About::Between(fd(0), fd(2)), ..send(Sending::Splice, Some(args[4]), 0, Octets::None) }
        }
        libc::SYS_socket => {
            let flags = SocketFlags::from_bits_truncate(int(1));
            let kind = SocketType(int(1) & !SocketFlags::all().bits());
            let op = Op::Socket { domain: Domain(int(0)), r#type: kind, flags, protocol: Protocol(int(2)) };
            Asked { op, about: About::New, octets: Octets::None }
        }
        libc::SYS_bind => on(Op::Bind { address: address(args[1], args[2], memory) }),
        libc::SYS_connect => on(Op::Connect { address: address(args[1], args[2], memory) }),
        libc::SYS_listen => on(Op::Listen { backlog: int(1) }),
        libc::SYS_accept => on(Op::Accept { flags: None, room: room(args, memory) }),
        libc::SYS_accept4 => {
            let flags = Some(SocketFlags::from_bits_retain(int(3)));
            on(Op::Accept { flags, room: room(args, memory) })
        }
        libc::SYS_getsockname => on(Op::Address { by: Naming::SockName, room: room(args, memory) }),
        libc::SYS_getpeername => on(Op::Address { by: Naming::PeerName, room: room(args, memory) }),
        libc::SYS_shutdown => on(Op::Shutdown { how: How(int(1)) }),
        libc::SYS_setsockopt => {
            let option = option(int(1), int(2));
            on(Op::SetOption { option, value: value(option, args[3], args[4] as u32, memory) })
        }
        libc::SYS_getsockopt => {
            let option = option(int(1), int(2));
            Asked {
                octets: Octets::Value(args[3], args[4]),
                ..on(Op::GetOption { option, value: OptionValue::Unread })
            }
        }
        libc::SYS_dup => copy(Duplicating::Dup, None),
        libc::SYS_dup3 => copy(Duplicating::Dup3, Some(fd(1))),
        libc::SYS_fcntl => copy(Duplicating::Fcntl, None),
        libc::SYS_close_range => {
            let (first, last) = (args[0] as u32, args[1] as u32);
            let has = |flag: libc::c_uint| args[2] as u32 & flag != 0;
            let closing =
                Closing { only_marks: has(libc::CLOSE_RANGE_CLOEXEC), unshares: has(libc::CLOSE_RANGE_UNSHARE) };
            let about = About::Range(first, last, closing);
            Asked { op: Op::CloseRange { first, last }, about, octets: Octets::None }
        }
        libc::SYS_ppoll => polls(Polling::Ppoll, timespec(args[2], memory), polled(args[0], args[1], memory))?,
        libc::SYS_pselect6 => {
            polls(Polling::Pselect, timespec(args[4], memory), selected([args[0], args[1], args[2], args[3]], memory))?
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_dup2 => copy(Duplicating::Dup2, Some(fd(1))),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => polls(Polling::Poll, Some(i64::from(int(2))), polled(args[0], args[1], memory))?,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => {
            // Microseconds beside seconds, rounded up as the kernel does.
            let timeout = match (args[4], memory.word(args[4]), memory.word(args[4].wrapping_add(8))) {
                (0, ..) => Some(-1),
                (_, Some(seconds), Some(micros)) => Some(milliseconds(seconds, micros.div_ceil(1000))),
                _ => None,
            };
            polls(Polling::Select, timeout, selected([args[0], args[1], args[2], args[3]], memory))?
        }
        libc::SYS_epoll_ctl => {
            let once = memory.half(args[3]).is_some_and(|events| events & libc::EPOLLONESHOT as u32 != 0);
            let read = epoll_events(args[3], 1, memory).first().copied();
            let wanted = read.map(|(events, data)| Wanted { events, data, once });
            other("epoll_ctl", About::Interest(fd(0), Interest { op: int(1), fd: fd(2), wanted }, None))
        }
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_wait => waits_in_epoll(Polling::EpollWait, i64::from(int(3)), fd(0)),
        libc::SYS_epoll_pwait => waits_in_epoll(Polling::EpollPwait, i64::from(int(3)), fd(0)),
        libc::SYS_epoll_pwait2 => waits_in_epoll(Polling::EpollPwait2, timespec(args[3], memory)?, fd(0)),
        libc::SYS_epoll_create1 => other("epoll_create1", About::NewEpoll),
        #[cfg(target_arch = "x86_64")]
        libc::SYS_epoll_create => other("epoll_create", About::NewEpoll),
        libc::SYS_unshare if int(0) & libc::CLONE_FILES != 0 => other("unshare", About::Unshared),
        libc::SYS_execve | libc::SYS_execveat => other("execve", About::Program),
        libc::SYS_restart_syscall => other("restart_syscall", About::Again),
        libc::SYS_io_uring_setup => other("io_uring_setup", About::Ring),
        libc::SYS_pidfd_getfd => other("pidfd_getfd", About::Taken),
        _ => return None,
    })
}

/// Where it is said what a call waits for and for how long, and how many octets that takes; nowhere for a call that does not wait so.
pub(super) fn waits_for(nr: u64, args: [u64; 6]) -> Vec<(u64, usize)> {
    let entries = || (args[0], polled_octets(args[1]));
    let sets = || args[1..4].iter().map(|set| (*set, set_octets(args[0])));
    let timeout = |at: u64| (at, TIMESPEC);
    let places: Vec<_> = match nr as i64 {
        libc::SYS_ppoll => vec![entries(), timeout(args[2])],
        libc::SYS_pselect6 => sets().chain([timeout(args[4])]).collect(),
        libc::SYS_epoll_pwait2 => vec![timeout(args[3])],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => vec![entries()],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => sets().chain([timeout(args[4])]).collect(),
        _ => Vec::new(),
    };
    places.into_iter().filter(|(at, len)| *at != 0 && *len > 0).collect()
}

/// Whether a call connects: connect does, and with Fast Open a send.
pub(super) fn connects(nr: u64, args: [u64; 6]) -> bool {
    let has = |flags: u64| flags & libc::MSG_FASTOPEN as u64 != 0;
    match nr as i64 {
        libc::SYS_connect => true,
        libc::SYS_sendto | libc::SYS_sendmmsg => has(args[3]),
        libc::SYS_sendmsg => has(args[2]),
        _ => false,
    }
}

/// Where the address lies to which such a call connects, and how long it is; `None` where that cannot be read, or it has none.
pub(super) fn connects_by(nr: u64, args: [u64; 6], memory: Memory<'_>) -> Option<(u64, u64)> {
    if !connects(nr, args) {
        return None;
    }
    let (at, len) = match nr as i64 {
        libc::SYS_connect => (args[1], args[2]),
        libc::SYS_sendto => (args[4], args[5]),
        // The first message connects.
        _ => (memory.word(args[1])?, memory.half(args[1].wrapping_add(8)).map(u64::from)?),
    };
    (at != 0).then_some((at, len))
}

/// Where such a call leads, if that can be read.
pub(super) fn connects_to(nr: u64, args: [u64; 6], memory: Memory<'_>) -> Option<SocketAddr> {
    let (at, len) = connects_by(nr, args, memory)?;
    address(at, len, memory)
}

impl Asked {
    /// Whether it makes a TCP socket.
    pub(super) fn makes_tcp(&self) -> bool {
        let Op::Socket { domain, r#type, protocol, .. } = &self.op else { return false };
        matches!(*domain, Domain::AF_INET | Domain::AF_INET6)
            && *r#type == SocketType::SOCK_STREAM
            && matches!(*protocol, Protocol::IPPROTO_IP | Protocol::IPPROTO_TCP | Protocol::IPPROTO_MPTCP)
    }

    /// The same call as one that reads, where octets come from a socket.
    pub(super) fn into_receive(mut self) -> Self {
        if let Op::Send { by: Sending::Splice, len, flags } = self.op {
            self.op = Op::Receive { by: Receiving::Splice, len, flags };
        }
        self
    }

    /// How it returned; what it wrote into its arguments is there now.
    pub(super) fn returned(&mut self, at: Timestamp, result: i64, memory: Memory<'_>) -> Returned {
        let result = if (-MAX_ERRNO..0).contains(&result) { Err(Errno(-result as i32)) } else { Ok(result) };
        let mut returned = Returned { at, result, octets: None, preview: Vec::new() };
        let Ok(got) = result else { return returned };
        let moved = match &mut self.op {
            Op::Send { .. } => self.moved(got, memory),
            // Neither what is only looked at, nor what came beside the stream, is taken off it.
            Op::Receive { flags, .. } if flags.intersects(BESIDE) => {
                returned.octets = Some(0);
                return returned;
            }
            Op::Receive { .. } => self.moved(got, memory),
            Op::GetOption { option, value } => {
                if let Octets::Value(at, len) = self.octets {
                    let len = memory.half(len);
                    *value = len.map_or(OptionValue::Unread, |len| self::value(*option, at, len, memory));
                }
                return returned;
            }
            _ => return returned,
        };
        let Some(moved) = moved else { return returned };
        returned.octets = Some(moved);
        // MSG_TRUNC throws the octets away.
        let is_thrown_away = matches!(&self.op, Op::Receive { flags, .. } if flags.contains(MessageFlags::MSG_TRUNC));
        if moved > 0 && !is_thrown_away {
            returned.preview = preview(self.octets, moved, memory);
        }
        returned
    }

    /// How many octets were moved: those of all messages, where the result counts messages; `None` where that cannot be read.
    fn moved(&self, result: i64, memory: Memory<'_>) -> Option<u64> {
        match self.octets {
            Octets::Messages(at) => {
                let message = |n: u64| memory.half(at.wrapping_add(n * MMSGHDR + MSGHDR)).map(u64::from);
                (0..result.clamp(0, MOST_MESSAGES) as u64).map(message).sum()
            }
            _ => u64::try_from(result).ok(),
        }
    }

    /// What a wait found that counted so many, in the order of what it waits for; shorter where that cannot be read, and is not certain.
    pub(super) fn found(&self, args: [u64; 6], count: i64, memory: Memory<'_>) -> Vec<PollEvents> {
        let (Op::Poll { by, .. }, About::Several(watched)) = (&self.op, &self.about) else { return Vec::new() };
        if count == 0 {
            return vec![PollEvents::empty(); watched.len()];
        }
        match by {
            Polling::Poll | Polling::Ppoll => {
                let entries = memory.first(args[0], watched.len() * POLLFD);
                entries.chunks_exact(POLLFD).map(|entry| bits(i16::from_ne_bytes([entry[6], entry[7]]))).collect()
            }
            _ => {
                let Some(now) = selected([args[0], args[1], args[2], args[3]], memory) else {
                    // A select counts what it found and was asked for: it may have been all of it.
                    let asked = watched.iter().map(|(_, events)| i64::from(events.bits().count_ones())).sum::<i64>();
                    let is_all = asked == count && args[0] <= libc::FD_SETSIZE as u64;
                    let all = watched.iter().filter(|_| is_all);
                    return all.map(|(_, events)| *events).collect();
                };
                let found =
                    |fd: i32| now.iter().find(|(of, _)| *of == fd).map_or(PollEvents::empty(), |(_, bits)| *bits);
                watched.iter().map(|(fd, _)| found(*fd)).collect()
            }
        }
    }

    /// What a wait of an epoll found: events, and what they are named by; `None` where that cannot be read.
    pub(super) fn ready(&self, args: [u64; 6], count: i64, memory: Memory<'_>) -> Option<Vec<(PollEvents, u64)>> {
        let count = usize::try_from(count).ok()?.min(MOST_READY);
        Some(epoll_events(args[1], count, memory)).filter(|ready| ready.len() == count)
    }

    /// The descriptors that came, or went, with its message (SCM_RIGHTS).
    pub(super) fn passed(&self, memory: Memory<'_>) -> Vec<i32> {
        let Octets::Message(at) = self.octets else { return Vec::new() };
        let (Some(control), Some(len)) = (memory.word(at.wrapping_add(32)), memory.word(at.wrapping_add(40))) else {
            return Vec::new();
        };
        rights(&memory.first(control, len.min(MOST_CONTROL) as usize))
    }

    /// Whether the control data of its message can be read.
    pub(super) fn can_read_control(&self, memory: Memory<'_>) -> bool {
        let Octets::Message(at) = self.octets else { return false };
        memory.word(at.wrapping_add(32)).is_some_and(|control| memory.word(control).is_some())
    }

    /// Whose connection an accept took, where it asked for that.
    pub(super) fn accepted_from(&self, args: [u64; 6], memory: Memory<'_>) -> Option<SocketAddr> {
        match self.op {
            Op::Accept { room, .. } if args[1] != 0 => {
                // Beyond the room that it was told of nothing was written.
                let len = memory.half(args[2])?;
                let len = room.map_or(len, |room| len.min(u32::try_from(room).unwrap_or(0)));
                address(args[1], len.into(), memory)
            }
            _ => None,
        }
    }

    /// The address that it returned, where it asks for one and that can be read.
    pub(super) fn named(&self, args: [u64; 6], memory: Memory<'_>) -> Option<SocketAddr> {
        let Op::Address { room, .. } = self.op else { return None };
        let len = memory.half(args[2])?;
        // Where there was no room for all of it the rest is unknown.
        room.is_none_or(|room| i64::from(len) <= i64::from(room)).then(|| address(args[1], len.into(), memory))?
    }

    /// Whether it returned with an address of which there was no room for all, or failed as that room was negative.
    pub(super) fn has_cut(&self, args: [u64; 6], result: Result<i64, Errno>, memory: Memory<'_>) -> bool {
        let Op::Address { room: Some(room), .. } = self.op else { return false };
        match (result, memory.half(args[2])) {
            (Ok(_), Some(len)) => i64::from(len) > i64::from(room),
            (Err(errno), _) => errno == Errno(libc::EINVAL) && room < 0,
            (Ok(_), None) => false,
        }
    }

    /// Whether its message has room for descriptors, or carries some.
    pub(super) fn has_control(&self, memory: Memory<'_>) -> bool {
        match self.octets {
            Octets::Message(at) => memory.word(at.wrapping_add(40)).is_some_and(|len| len > 0),
            _ => false,
        }
    }
}

/// How many octets of room for an address a call is told of, where it asks for one.
fn room(args: [u64; 6], memory: Memory<'_>) -> Option<i32> {
    memory.half(args[2]).filter(|_| args[1] != 0).map(u32::cast_signed)
}

/// The pieces of memory that a transfer is made of: where each is, and how long; `None` where they cannot be read.
fn pieces(octets: Octets, memory: Memory<'_>) -> Option<Vec<(u64, u64)>> {
    let (at, count) = match octets {
        Octets::Vector(at, count) => (at, count),
        Octets::Message(at) => (memory.word(at.wrapping_add(16))?, memory.word(at.wrapping_add(24))?),
        Octets::Messages(at) => return pieces(Octets::Message(at), memory),
        Octets::At(_) | Octets::Value(..) | Octets::None => return Some(Vec::new()),
    };
    let wanted = count.min(MOST_PIECES) as usize * IOVEC;
    let entries = Some(memory.first(at, wanted)).filter(|entries| entries.len() == wanted)?;
    let word = |octets: &[u8]| u64::from_ne_bytes(octets.try_into().expect("8 octets"));
    Some(entries.chunks_exact(IOVEC).map(|entry| (word(&entry[..8]), word(&entry[8..]))).collect())
}

/// How many octets they have room for.
fn room_in(octets: Octets, memory: Memory<'_>) -> Option<u64> {
    Some(pieces(octets, memory)?.iter().fold(0, |sum: u64, (_, len)| sum.saturating_add(*len)))
}

/// How many octets the messages of `struct mmsghdr` have room for.
fn room_of(at: u64, count: u64, memory: Memory<'_>) -> Option<u64> {
    let message = |n: u64| room_in(Octets::Message(at.wrapping_add(n * MMSGHDR)), memory);
    (0..count.min(MOST_MESSAGES as u64)).try_fold(0, |sum, n| Some(u64::saturating_add(sum, message(n)?)))
}

/// The first of `moved` octets.
fn preview(octets: Octets, moved: u64, memory: Memory<'_>) -> Vec<u8> {
    let most = moved.min(PREVIEW as u64) as usize;
    if let Octets::At(at) = octets {
        return memory.first(at, most);
    }
    let mut first = Vec::with_capacity(most);
    for (at, len) in pieces(octets, memory).unwrap_or_default() {
        let wanted = (most - first.len()).min(usize::try_from(len).unwrap_or(usize::MAX));
        let got = memory.first(at, wanted);
        let is_short = got.len() < wanted;
        first.extend(got);
        if first.len() == most || is_short {
            break;
        }
    }
    first
}

/// An internet address of `struct sockaddr_in` or `sockaddr_in6`; `None` for another, and for one that cannot be read.
fn address(at: u64, len: u64, memory: Memory<'_>) -> Option<SocketAddr> {
    let octets = memory.first(at, len.min(28) as usize);
    let family = i32::from(u16::from_ne_bytes(octets.get(..2)?.try_into().ok()?));
    let port = u16::from_be_bytes(octets.get(2..4)?.try_into().ok()?);
    match family {
        libc::AF_INET if len >= 16 => {
            let ip: [u8; 4] = octets.get(4..8)?.try_into().ok()?;
            Some((Ipv4Addr::from(ip), port).into())
        }
        libc::AF_INET6 if len >= 24 => {
            let ip: [u8; 16] = octets.get(8..24)?.try_into().ok()?;
            let scope = octets.get(24..28).map_or(0, |octets| u32::from_ne_bytes(octets.try_into().expect("4 octets")));
            Some(SocketAddrV6::new(Ipv6Addr::from(ip), port, 0, scope).into())
        }
        _ => None,
    }
}

fn option(level: i32, name: i32) -> OptionName {
    match Level(level) {
        Level::SOL_SOCKET => OptionName::Socket(SocketOption(name)),
        Level::SOL_TCP => OptionName::Tcp(TcpOption(name)),
        level => OptionName::Other(level, name),
    }
}

fn value(option: OptionName, at: u64, len: u32, memory: Memory<'_>) -> OptionValue {
    match (option, len) {
        (OptionName::Socket(SocketOption::SO_LINGER), 8..) => {
            match (memory.half(at), memory.half(at.wrapping_add(4))) {
                (Some(on), Some(seconds)) => OptionValue::Linger { on: on != 0, seconds: seconds as i32 },
                _ => OptionValue::Unread,
            }
        }
        (_, 4) => memory.half(at).map_or(OptionValue::Unread, |value| OptionValue::Int(value as i32)),
        (_, len) => OptionValue::Opaque(len),
    }
}

/// What poll waits for, without descriptors that are negative, which it passes over.
fn polled(at: u64, count: u64, memory: Memory<'_>) -> Option<Vec<(i32, PollEvents)>> {
    let wanted = polled_octets(count);
    let entries = Some(memory.first(at, wanted)).filter(|entries| entries.len() == wanted)?;
    let entry = |entry: &[u8]| {
        let fd = i32::from_ne_bytes(entry[..4].try_into().expect("4 octets"));
        (fd, bits(i16::from_ne_bytes([entry[4], entry[5]])))
    };
    Some(entries.chunks_exact(POLLFD).map(entry).collect())
}

fn polled_octets(count: u64) -> usize {
    count.min(MOST_POLLED) as usize * POLLFD
}

/// What select waits for, or found: its sets of descriptors as poll would name them.
fn selected([count, read, write, except]: [u64; 4], memory: Memory<'_>) -> Option<Vec<(i32, PollEvents)>> {
    let octets = set_octets(count);
    let count = count.min(libc::FD_SETSIZE as u64) as usize;
    let set = |at: u64| match at {
        0 => Some(Vec::new()),
        at => Some(memory.first(at, octets)).filter(|read| read.len() == octets),
    };
    let sets =
        [(set(read)?, PollEvents::POLLIN), (set(write)?, PollEvents::POLLOUT), (set(except)?, PollEvents::POLLPRI)];
    let mut found = Vec::new();
    for fd in 0..count {
        let mut events = PollEvents::empty();
        for (set, event) in &sets {
            events.set(*event, set.get(fd / 8).is_some_and(|octet| octet >> (fd % 8) & 1 == 1));
        }
        if !events.is_empty() {
            found.push((fd as i32, events));
        }
    }
    Some(found)
}

/// How many octets there are of a set of so many descriptors.
fn set_octets(count: u64) -> usize {
    count.min(libc::FD_SETSIZE as u64).div_ceil(8) as usize
}

fn bits(events: i16) -> PollEvents {
    PollEvents::from_bits_retain(events)
}

/// The entries of an array of `struct epoll_event`, which is packed on x86-64 alone (eventpoll.h).
fn epoll_events(at: u64, count: usize, memory: Memory<'_>) -> Vec<(PollEvents, u64)> {
    let (size, data) = if cfg!(target_arch = "x86_64") { (12, 4) } else { (16, 8) };
    let octets = memory.first(at, count * size);
    let entry = |entry: &[u8]| {
        let events = u32::from_ne_bytes(entry[..4].try_into().expect("4 octets"));
        (bits(events as i16), u64::from_ne_bytes(entry[data..data + 8].try_into().expect("8 octets")))
    };
    octets.chunks_exact(size).map(entry).collect()
}

/// Milliseconds of a `struct timespec`; negative where there is none: it waits without end. `None` for one that cannot be read.
fn timespec(at: u64, memory: Memory<'_>) -> Option<i64> {
    match (at, memory.word(at), memory.word(at.wrapping_add(8))) {
        (0, ..) => Some(-1),
        (_, seconds, nanos) => Some(milliseconds(seconds?, nanos?.div_ceil(1_000_000))),
    }
}

fn milliseconds(seconds: u64, rest: u64) -> i64 {
    i64::try_from(seconds.saturating_mul(1000).saturating_add(rest)).unwrap_or(i64::MAX)
}

/// The descriptors in control messages (cmsg(3), SCM_RIGHTS).
fn rights(control: &[u8]) -> Vec<i32> {
    let mut found = Vec::new();
    let mut rest = control;
    while rest.len() >= CMSGHDR {
        let len = u64::from_ne_bytes(rest[..8].try_into().expect("8 octets"));
        let kind = |at: usize| i32::from_ne_bytes(rest[at..at + 4].try_into().expect("4 octets"));
        let Ok(len) = usize::try_from(len) else { break };
        if len < CMSGHDR || len > rest.len() {
            break;
        }
        if (kind(8), kind(12)) == (libc::SOL_SOCKET, libc::SCM_RIGHTS) {
            let fds = rest[CMSGHDR..len].chunks_exact(4);
            found.extend(fds.map(|fd| i32::from_ne_bytes(fd.try_into().expect("4 octets"))));
        }
        rest = rest.get(len.next_multiple_of(8)..).unwrap_or(&[]);
    }
    found
}

/// A receive with one of these takes nothing off the stream.
const BESIDE: MessageFlags =
    MessageFlags::MSG_PEEK.union(MessageFlags::MSG_OOB).union(MessageFlags::from_bits_retain(libc::MSG_ERRQUEUE));

/// MAX_ERRNO (include/linux/err.h).
const MAX_ERRNO: i64 = 4095;
/// Sizes of the kernel's structures on machines of 64 bits.
const IOVEC: usize = 16;
const MSGHDR: u64 = 56;
const MMSGHDR: u64 = 64;
const POLLFD: usize = 8;
const TIMESPEC: usize = 16;
const CMSGHDR: usize = 16;
/// IOV_MAX: the kernel takes no more (UIO_MAXIOV), nor more messages at once.
const MOST_PIECES: u64 = 1024;
const MOST_MESSAGES: i64 = 1024;
/// How many descriptors of a poll are looked at.
const MOST_POLLED: u64 = 4096;
/// How many events that an epoll found are looked at.
const MOST_READY: usize = 64;
/// How many octets of control messages are looked at: more than 253 descriptors (SCM_MAX_FD) take.
const MOST_CONTROL: u64 = 8192;

#[cfg(test)]
mod tests {
    use super::*;

    fn here() -> Memory<'static> {
        Memory::Of(std::process::id() as i32)
    }

    fn at<T: ?Sized>(of: &T) -> u64 {
        std::ptr::from_ref(of).cast::<u8>() as u64
    }

    fn asked_of(nr: i64, args: &[u64]) -> Asked {
        let mut six = [0; 6];
        six[..args.len()].copy_from_slice(args);
        asked(nr as u64, six, here()).unwrap()
    }

    fn moment() -> Timestamp {
        Timestamp::from_nanos(7)
    }

    #[test]
    fn flags_of_splice_are_no_flags_of_messages() {
        let flags = u64::from(libc::SPLICE_F_MOVE | libc::SPLICE_F_NONBLOCK | libc::SPLICE_F_MORE);
        let mut receive = asked_of(libc::SYS_splice, &[3, 0, 4, 0, 100, flags]).into_receive();
        let none = MessageFlags::empty();
        assert_eq!(receive.op, Op::Receive { by: Receiving::Splice, len: Some(100), flags: none });
        // What it took is taken off the stream.
        assert_eq!(receive.returned(moment(), 60, here()).octets, Some(60));
    }

    #[test]
    fn addresses_are_read_as_long_as_the_call_says_they_are() {
        let mut four = [0u8; 16];
        four[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        four[2..8].copy_from_slice(&[0x0b, 0xb8, 127, 0, 0, 1]);
        let connect = |len| asked_of(libc::SYS_connect, &[3, at(&four), len]).op;
        assert_eq!(connect(16), Op::Connect { address: Some("127.0.0.1:3000".parse().unwrap()) });
        // An address length that was never set.
        assert_eq!(connect(0), Op::Connect { address: None });
        assert_eq!(asked_of(libc::SYS_connect, &[3, 8, 16]).op, Op::Connect { address: None }, "not readable");
        let mut six = [0u8; 28];
        six[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
        six[2..4].copy_from_slice(&[0, 80]);
        six[23] = 1;
        let bind = asked_of(libc::SYS_bind, &[3, at(&six), 28]).op;
        assert_eq!(bind, Op::Bind { address: Some("[::1]:80".parse().unwrap()) });
    }

    #[test]
    fn octets_of_vectors_and_messages_are_counted_and_shown_in_order() {
        let (one, two) = (*b"hello", *b"world");
        let vector = [at(&one), 5, at(&two), 5];
        let mut writev = asked_of(libc::SYS_writev, &[4, at(&vector), 2]);
        assert_eq!(writev.op, Op::Send { by: Sending::WriteV, len: Some(10), flags: MessageFlags::empty() });
        let returned = writev.returned(moment(), 7, here());
        assert_eq!((returned.octets, &returned.preview[..]), (Some(7), &b"hellowo"[..]));
        let mut header = [0u64; 16];
        header[2..4].copy_from_slice(&[at(&vector), 2]);
        let sendmsg = asked_of(libc::SYS_sendmsg, &[4, at(&header), libc::MSG_NOSIGNAL as u64]);
        assert_eq!(sendmsg.op, Op::Send { by: Sending::SendMsg, len: Some(10), flags: MessageFlags::MSG_NOSIGNAL });
        // Two messages, of which the kernel took 10 and 3 octets.
        header[7] = 10;
        header[8 + 2..8 + 4].copy_from_slice(&[at(&vector), 1]);
        header[8 + 7] = 3;
        let mut sendmmsg = asked_of(libc::SYS_sendmmsg, &[4, at(&header), 2, 0]);
        assert_eq!(sendmmsg.op, Op::Send { by: Sending::SendMmsg, len: Some(15), flags: MessageFlags::empty() });
        assert_eq!(sendmmsg.returned(moment(), 2, here()).octets, Some(13));
    }

    #[test]
    fn what_is_only_looked_at_is_not_taken() {
        let room = *b"hello";
        let mut peek = asked_of(libc::SYS_recvfrom, &[4, at(&room), 5, libc::MSG_PEEK as u64, 0, 0]);
        let returned = peek.returned(moment(), 5, here());
        assert_eq!((returned.result, returned.octets), (Ok(5), Some(0)));
        let mut failed = asked_of(libc::SYS_read, &[4, at(&room), 5]);
        let returned = failed.returned(moment(), -11, here());
        assert_eq!((returned.result, returned.octets), (Err(Errno::EAGAIN), None));
    }

    #[test]
    fn options_have_their_values() {
        let linger = [1i32, 0];
        let option = OptionName::Socket(SocketOption::SO_LINGER);
        let set = |len| asked_of(libc::SYS_setsockopt, &[4, 1, libc::SO_LINGER as u64, at(&linger), len]).op;
        assert_eq!(set(8), Op::SetOption { option, value: OptionValue::Linger { on: true, seconds: 0 } });
        let (error, len) = ([libc::ECONNREFUSED], [4u32]);
        let mut get = asked_of(libc::SYS_getsockopt, &[4, 1, libc::SO_ERROR as u64, at(&error), at(&len)]);
        get.returned(moment(), 0, here());
        let option = OptionName::Socket(SocketOption::SO_ERROR);
        assert_eq!(get.op, Op::GetOption { option, value: OptionValue::Int(libc::ECONNREFUSED) });
    }

    #[test]
    fn waits_name_what_they_wait_for_and_what_they_found() {
        let entries = [7i32, (libc::POLLIN as i32) | (libc::POLLHUP as i32) << 16, -1, 0];
        let args = [at(&entries), 2, 500, 0, 0, 0];
        let poll = asked(libc::SYS_ppoll as u64, [args[0], 2, 0, 0, 0, 0], here()).unwrap();
        assert_eq!(poll.op, Op::Poll { by: Polling::Ppoll, timeout: -1 });
        assert_eq!(poll.about, About::Several(vec![(7, PollEvents::POLLIN), (-1, PollEvents::empty())]));
        assert_eq!(poll.found(args, 1, here())[0], PollEvents::POLLHUP);
        let (read, timeout) = ([0b1000_1000u8, 0], [1i64, 500_000_000]);
        let args = [8, at(&read), 0, 0, at(&timeout), 0];
        let select = asked(libc::SYS_pselect6 as u64, args, here()).unwrap();
        assert_eq!(select.op, Op::Poll { by: Polling::Pselect, timeout: 1500 });
        assert_eq!(select.about, About::Several(vec![(3, PollEvents::POLLIN), (7, PollEvents::POLLIN)]));
        // What it found cannot be read where its sets are: both is all that it can have been, and of one it is not known which.
        let elsewhere = crate::kernel::UserStack::default();
        let found = |count| select.found(args, count, Memory::Stack(&elsewhere));
        assert_eq!(found(2), [PollEvents::POLLIN; 2]);
        assert_eq!((found(1), found(0)), (vec![], vec![PollEvents::empty(); 2]));
    }

    #[test]
    fn descriptors_are_found_in_control_messages_and_nothing_else_is() {
        let message = |len: u64, level: i32, kind: i32, fds: &[i32]| {
            let mut octets = [&len.to_ne_bytes()[..], &level.to_ne_bytes(), &kind.to_ne_bytes()].concat();
            octets.extend(fds.iter().flat_map(|fd| fd.to_ne_bytes()));
            octets.resize(octets.len().next_multiple_of(8), 0);
            octets
        };
        let one = message(20, libc::SOL_SOCKET, libc::SCM_RIGHTS, &[5]);
        let strange = message(20, libc::SOL_SOCKET, libc::SCM_CREDENTIALS, &[9]);
        let two = message(24, libc::SOL_SOCKET, libc::SCM_RIGHTS, &[6, 7]);
        assert_eq!(rights(&[one.clone(), strange, two].concat()), [5, 6, 7]);
        // Lengths that cannot be.
        for len in [0, 15, 25, u64::MAX] {
            assert_eq!(rights(&message(len, libc::SOL_SOCKET, libc::SCM_RIGHTS, &[5])), [0i32; 0]);
        }
        assert_eq!(rights(&one[..12]), [0i32; 0]);
    }

    #[test]
    fn only_tcp_sockets_are_tcp() {
        let makes = |domain: i32, kind: i32, protocol: i32| {
            asked_of(libc::SYS_socket, &[domain as u64, kind as u64, protocol as u64]).makes_tcp()
        };
        assert!(makes(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0));
        assert!(makes(libc::AF_INET6, libc::SOCK_STREAM, libc::IPPROTO_TCP));
        assert!(!makes(libc::AF_INET, libc::SOCK_DGRAM, 0) && !makes(libc::AF_UNIX, libc::SOCK_STREAM, 0));
        assert!(!makes(libc::AF_INET, libc::SOCK_STREAM, libc::IPPROTO_SCTP));
    }

    #[test]
    fn of_what_an_epoll_found_the_first_events_are_looked_at() {
        let mut events = [libc::epoll_event { events: libc::EPOLLIN as u32, u64: 0 }; MOST_READY + 1];
        for (n, event) in (0..).zip(&mut events) {
            event.u64 = n;
        }
        let args = [7, at(&events), MOST_READY as u64 + 1, 0, 0, 0];
        let wait = asked(libc::SYS_epoll_pwait as u64, args, here()).unwrap();
        let named = |count: usize| {
            let ready = wait.ready(args, count as i64, here()).expect("it is readable");
            assert!(ready.iter().all(|(events, _)| *events == PollEvents::POLLIN));
            ready.into_iter().map(|(_, by)| by).collect::<Vec<_>>()
        };
        let first: Vec<u64> = (0..MOST_READY as u64).collect();
        assert_eq!(named(MOST_READY - 1), first[..MOST_READY - 1]);
        assert_eq!(named(MOST_READY), first);
        assert_eq!(named(MOST_READY + 1), first);
    }
}
