//! Calls on our own sockets: one system call at a time, each written down with what the kernel said of the socket right afterwards.

use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::{fmt, io, mem};

use nix::errno::Errno;
use nix::poll::{self, PollFd, PollFlags, PollTimeout};
use nix::sys::socket::{self, Backlog, MsgFlags, SockaddrLike, SockaddrStorage, getpeername, getsockname, sockopt};
use nix::unistd::{self, getpid, gettid};

use super::keys;
use super::{
    Activity, Arg, Call, CallId, Domain, Duplicating, Effect, How, MessageFlags, Op, OptionName, OptionValue, PREVIEW,
    PollEvents, Polling, Process, Protocol, Receiving, Returned, Role, Sending, SocketChange, SocketEvent, SocketFlags,
    SocketId, SocketOption, SocketType, SocketUse, TcpOption, Thread, ThreadId, Threads,
};
use crate::kernel::{TcpInfo, now};
use crate::time::Timestamp;

/// A TCP socket whose calls are recorded; dropped without [`Recorder::close`], it closes without a call, as at a process's end.
#[derive(Debug)]
pub struct Socket {
    fd: OwnedFd,
    id: SocketId,
}

impl Socket {
    /// The socket's inode, which names it in `/proc` and in sock_diag too.
    pub fn id(&self) -> SocketId {
        self.id
    }

    /// Its own address, where the kernel has given it one.
    pub fn local(&self) -> Option<SocketAddr> {
        address_of(getsockname(self.fd.as_raw_fd()))
    }

    /// Its peer's address, while it is connected.
    pub fn peer(&self) -> Option<SocketAddr> {
        address_of(getpeername(self.fd.as_raw_fd()))
    }

    fn used(&self, role: Role) -> SocketUse {
        SocketUse::of(self.id, self.fd.as_raw_fd(), role)
    }

    fn own(fd: OwnedFd) -> Self {
        let id = SocketId(nix::sys::stat::fstat(&fd).map_or(0, |stat| stat.st_ino));
        Self { fd, id }
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// Makes the calls of one thread and writes each down.
///
/// Nothing lies between the two clock readings but the system call itself; TCP_INFO and the addresses are asked for after the second.
/// With a listener, its hearing of the entry lies in between, too: an entry that is told only later would be of no use to it.
pub struct Recorder<'w> {
    thread: ThreadId,
    calls: Vec<Call>,
    whereabouts: &'w Whereabouts,
    listener: Option<Listener<'w>>,
}

/// Hears of calls as they happen; it must not block.
type Listener<'w> = Box<dyn FnMut(Activity) + Send + 'w>;

impl<'w> Recorder<'w> {
    /// A recorder of the calling thread, on which it must stay; it is put down in `threads`, and others can follow it through `whereabouts`.
    pub fn of_this_thread(threads: &Mutex<Threads>, whereabouts: &'w Whereabouts) -> Self {
        let tid = gettid().as_raw() as u32;
        let name = |path| std::fs::read_to_string(path).map(|comm| comm.trim_end_matches('\n').to_owned());
        let comm = name("/proc/thread-self/comm")
            .or_else(|_| std::thread::current().name().map(str::to_owned).ok_or(()))
            .unwrap_or_default();
        whereabouts.tid.store(tid, Ordering::Release);
        let pid = getpid().as_raw() as u32;
        let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
        let process = threads
            .process_with(pid)
            .unwrap_or_else(|| threads.add_process(Process { pid, comm: name("/proc/self/comm").unwrap_or_default() }));
        let thread = threads.add(Thread { process, tid, comm });
        Self { thread, calls: Vec::new(), whereabouts, listener: None }
    }

    /// Has `listener` told of each call as it is entered and as it returns, and of each socket as it comes and goes.
    #[must_use]
    pub fn heard_by(self, listener: impl FnMut(Activity) + Send + 'w) -> Self {
        Self { listener: Some(Box::new(listener)), ..self }
    }

    /// The calls made so far, in order.
    pub fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    /// The call that was made last.
    pub fn latest(&self) -> Option<&Call> {
        self.calls.last()
    }

    /// Another call that is worth a line, on no socket, with its arguments by name; `call` makes it.
    ///
    /// # Errors
    /// The call's own.
    pub fn other(
        &mut self,
        name: &'static str,
        args: &[(&'static str, &'static str)],
        call: impl FnOnce() -> Result<i64, Errno>,
    ) -> Result<i64, Errno> {
        let args = args.iter().map(|(name, value)| ((*name).into(), Arg::Text((*value).into()))).collect();
        let op = Op::Other { name: name.into(), args };
        let result = self.record_on(op, None, call, |returned| *returned);
        self.told();
        result
    }

    /// `socket(AF_INET or AF_INET6, SOCK_STREAM, 0)`, by the address that will be used.
    ///
    /// # Errors
    /// The call's own, here as in all methods; the failed call is recorded too.
    pub fn socket(&mut self, address: IpAddr) -> Result<Socket, Errno> {
        let domain = if address.is_ipv4() { Domain::AF_INET } else { Domain::AF_INET6 };
        self.socket_of(domain, Protocol::IPPROTO_IP)
    }

    /// `socket(domain, SOCK_STREAM, protocol)`.
    ///
    /// # Errors
    /// The call's own, as `EPROTONOSUPPORT` of a kernel without that protocol.
    pub fn socket_of(&mut self, domain: Domain, protocol: Protocol) -> Result<Socket, Errno> {
        let op = Op::Socket { domain, r#type: SocketType::SOCK_STREAM, flags: SocketFlags::empty(), protocol };
        let make = || {
            // SAFETY: the call takes numbers only, and whatever descriptor it returns is nobody else's.
            Errno::result(unsafe { libc::socket(domain.0, libc::SOCK_STREAM, protocol.0) })
                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let result = self.record(op, None, make, |fd| fd.as_raw_fd().into());
        let made = result.map(Socket::own);
        if let Ok(socket) = &made {
            let used = SocketUse { info: TcpInfo::of(socket.as_fd()).ok(), ..socket.used(Role::Made) };
            self.last().sockets.push(used);
        }
        self.told();
        made
    }

    /// `setsockopt` of an option whose value is a number or a word, or SO_LINGER's.
    ///
    /// # Errors
    /// The call's own; `EINVAL`, with no call, for a value of another kind.
    pub fn set_option(&mut self, socket: &Socket, option: OptionName, value: OptionValue) -> Result<(), Errno> {
        let octets: Vec<u8> = match value {
            OptionValue::Int(value) if option.is_time() => [i64::from(value), 0].map(i64::to_ne_bytes).concat(),
            OptionValue::Int(value) => value.to_ne_bytes().to_vec(),
            OptionValue::Linger { on, seconds } => [i32::from(on), seconds].map(i32::to_ne_bytes).concat(),
            OptionValue::Word(ref word) => word.clone().into_bytes(),
            OptionValue::Info { .. } | OptionValue::Opaque(_) | OptionValue::Unread => return Err(Errno::EINVAL),
        };
        self.set_to(socket, option, value, &octets)
    }

    /// `setsockopt` of a key for the segments from and to `peer`: TCP_MD5SIG or TCP_AO_ADD_KEY.
    ///
    /// # Errors
    /// The call's own, as `ENOPROTOOPT` of a kernel that has none of it; `EINVAL`, with no call, for another option or a longer key.
    pub fn set_key(&mut self, socket: &Socket, option: OptionName, key: &str, peer: IpAddr) -> Result<(), Errno> {
        let octets = match option {
            OptionName::Tcp(TcpOption::TCP_MD5SIG) => keys::md5(key, peer),
            OptionName::Tcp(TcpOption::TCP_AO_ADD_KEY) => keys::ao(key, peer),
            _ => None,
        };
        let octets = octets.ok_or(Errno::EINVAL)?;
        self.set_to(socket, option, OptionValue::Word(key.to_owned()), &octets)
    }

    fn set_to(&mut self, socket: &Socket, option: OptionName, value: OptionValue, octets: &[u8]) -> Result<(), Errno> {
        let (level, name) = option.numbers();
        let fd = socket.fd.as_raw_fd();
        let set = || {
            // SAFETY: the kernel reads as many octets as it is told there are.
            let set =
                unsafe { libc::setsockopt(fd, level, name, octets.as_ptr().cast(), octets.len() as libc::socklen_t) };
            Errno::result(set).map(drop)
        };
        self.simple(Op::SetOption { option, value }, socket, set)
    }

    /// `getsockopt` of an option whose value is a number or a word, or of TCP_INFO; that of SO_ERROR is cleared by it.
    ///
    /// # Errors
    /// The call's own.
    pub fn get_option(&mut self, socket: &Socket, option: OptionName) -> Result<OptionValue, Errno> {
        let (level, name) = option.numbers();
        let fd = socket.fd.as_raw_fd();
        let mut room = [0u8; 256];
        let is_number = !option.is_word() && option != OptionName::Tcp(TcpOption::TCP_INFO);
        let mut len = if is_number { size_of::<i32>() } else { room.len() } as libc::socklen_t;
        let get = || {
            // SAFETY: the kernel writes at most `len` octets to `room`, which has as many, and to `len` how many.
            let got = unsafe { libc::getsockopt(fd, level, name, room.as_mut_ptr().cast(), &mut len) };
            Errno::result(got).map(drop)
        };
        let op = Op::GetOption { option, value: OptionValue::Unread };
        let result = self.record(op, Some(socket), get, |()| 0);
        let told = room.get(..len as usize).unwrap_or(&room);
        let number =
            |at: usize| told.get(at..at + 4).and_then(|octets| octets.try_into().ok()).map_or(0, u32::from_ne_bytes);
        let value = match option {
            OptionName::Tcp(TcpOption::TCP_INFO) => OptionValue::Info {
                cwnd: number(80),
                // As long as nothing was lost it is TCP_INFINITE_SSTHRESH.
                ssthresh: Some(number(76)).filter(|ssthresh| *ssthresh < 0x7fff_ffff),
                unacked: number(24),
                rtt_us: number(68),
            },
            option if option.is_word() => {
                let word = told.split(|octet| *octet == 0).next().unwrap_or_default();
                OptionValue::Word(String::from_utf8_lossy(word).into_owned())
            }
            _ => OptionValue::Int(number(0).cast_signed()),
        };
        if result.is_ok() {
            self.last().op = Op::GetOption { option, value: value.clone() };
        }
        self.look_at(socket);
        self.told();
        result.map(|()| value)
    }

    /// `shutdown`.
    ///
    /// # Errors
    /// The call's own, such as `ENOTCONN`.
    pub fn shutdown(&mut self, socket: &Socket, how: How) -> Result<(), Errno> {
        let fd = socket.fd.as_raw_fd();
        // SAFETY: it takes no pointer.
        let shut = || Errno::result(unsafe { libc::shutdown(fd, how.0) }).map(drop);
        self.simple(Op::Shutdown { how }, socket, shut)
    }

    /// `dup`: another descriptor of the same socket.
    ///
    /// # Errors
    /// The call's own.
    pub fn duplicate(&mut self, socket: &Socket) -> Result<Socket, Errno> {
        let op = Op::Duplicate { by: Duplicating::Dup };
        let result = self.record(op, Some(socket), || unistd::dup(socket.fd.as_fd()), |fd| fd.as_raw_fd().into());
        let copy = result.map(|fd| Socket { fd, id: socket.id });
        self.look_at(socket);
        self.told();
        copy
    }

    /// `setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)`.
    ///
    /// # Errors
    /// The call's own.
    pub fn reuse_address(&mut self, socket: &Socket) -> Result<(), Errno> {
        let op = Op::SetOption { option: OptionName::Socket(SocketOption::SO_REUSEADDR), value: OptionValue::Int(1) };
        self.simple(op, socket, || socket::setsockopt(socket, sockopt::ReuseAddr, &true))
    }

    /// `bind` to `address`.
    ///
    /// # Errors
    /// The call's own, such as `EADDRINUSE`.
    pub fn bind(&mut self, socket: &Socket, address: SocketAddr) -> Result<(), Errno> {
        let raw = SockaddrStorage::from(address);
        self.simple(Op::Bind { address: Some(address) }, socket, || socket::bind(socket.fd.as_raw_fd(), &raw))
    }

    /// `listen`.
    ///
    /// # Errors
    /// The call's own; `EINVAL`, with no call, for a backlog above the system's SOMAXCONN.
    pub fn listen(&mut self, socket: &Socket, backlog: i32) -> Result<(), Errno> {
        let length = Backlog::new(backlog)?;
        self.simple(Op::Listen { backlog }, socket, || socket::listen(socket, length))
    }

    /// `accept`, which blocks until a handshake is complete.
    ///
    /// # Errors
    /// The call's own; `EINTR` when a signal ended the wait.
    pub fn accept(&mut self, listening: &Socket) -> Result<Socket, Errno> {
        // nix's accept does not take the peer's address, and asking for it later fails once the peer has reset the connection.
        // SAFETY: all octets zero is a valid sockaddr_storage.
        let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut len = size_of_val(&raw) as libc::socklen_t;
        let accept = || {
            // SAFETY: `raw` has room for `len` octets, and the kernel says in `len` how many the address takes.
            let fd = unsafe { libc::accept(listening.fd.as_raw_fd(), (&raw mut raw).cast(), &mut len) };
            // SAFETY: the kernel has just returned this descriptor to us, so nobody else owns it.
            Errno::result(fd).map(|fd| unsafe { OwnedFd::from_raw_fd(fd) })
        };
        let result =
            self.record(Op::Accept { flags: None, room: None }, Some(listening), accept, |fd| fd.as_raw_fd().into());
        let accepted = result.map(Socket::own);
        match &accepted {
            Ok(socket) => {
                // SAFETY: the kernel has filled `raw` with an address of `len` octets.
                let peer = unsafe { SockaddrStorage::from_raw((&raw const raw).cast(), Some(len)) }
                    .and_then(|address| address_of(Ok(address)));
                let info = TcpInfo::of(socket.as_fd()).ok();
                let used = SocketUse { local: socket.local(), peer, info, ..socket.used(Role::Made) };
                self.last().sockets.push(used);
            }
            Err(_) => self.look_at(listening),
        }
        self.told();
        accepted
    }

    /// `connect` to `address`, which blocks until the handshake is complete, refused, or given up.
    ///
    /// # Errors
    /// The call's own, such as `ECONNREFUSED`; `EINTR` when a signal ended the wait.
    pub fn connect(&mut self, socket: &Socket, address: SocketAddr) -> Result<(), Errno> {
        let raw = SockaddrStorage::from(address);
        let connect = || socket::connect(socket.fd.as_raw_fd(), &raw);
        let result = self.record(Op::Connect { address: Some(address) }, Some(socket), connect, |()| 0);
        self.look_at(socket);
        if result.is_err() {
            let used = self.used();
            used.peer = Some(address);
            used.local = used.local.map(|local| with_source_address(local, address));
        }
        self.told();
        result
    }

    /// `send` of `octets`; with [`Wait::Never`] it takes only what the send buffer has room for.
    ///
    /// Returns how many octets the kernel accepted.
    ///
    /// # Errors
    /// The call's own: `EAGAIN` when it would have had to wait, `EPIPE` (without the signal) or `ECONNRESET` on a dead connection.
    pub fn send(&mut self, socket: &Socket, octets: &[u8], wait: Wait) -> Result<usize, Errno> {
        self.send_with(socket, octets, MessageFlags::MSG_NOSIGNAL | wait.flags())
    }

    /// `send` of `octets` with these flags.
    ///
    /// # Errors
    /// As for [`send`](Self::send).
    pub fn send_with(&mut self, socket: &Socket, octets: &[u8], flags: MessageFlags) -> Result<usize, Errno> {
        let op = Op::Send { by: Sending::Send, len: Some(octets.len() as u64), flags };
        let send = || socket::send(socket.fd.as_raw_fd(), octets, MsgFlags::from_bits_retain(flags.bits()));
        let result = self.record(op, Some(socket), send, |sent| *sent as i64);
        self.moved(result.map(|sent| octets.get(..sent).unwrap_or(octets)), socket);
        result
    }

    /// `recv` of at most `room.len()` octets; 0 is the peer's FIN.
    ///
    /// # Errors
    /// The call's own: `EAGAIN` when it would have had to wait, `ECONNRESET` after an RST, `EINTR` when a signal ended the wait.
    pub fn recv(&mut self, socket: &Socket, room: &mut [u8], wait: Wait) -> Result<usize, Errno> {
        self.recv_with(socket, room, wait.flags())
    }

    /// `recv` of at most `room.len()` octets with these flags; with MSG_PEEK or MSG_OOB nothing is taken from the stream.
    ///
    /// # Errors
    /// As for [`recv`](Self::recv).
    pub fn recv_with(&mut self, socket: &Socket, room: &mut [u8], flags: MessageFlags) -> Result<usize, Errno> {
        let op = Op::Receive { by: Receiving::Recv, len: Some(room.len() as u64), flags };
        let recv = || socket::recv(socket.fd.as_raw_fd(), room, MsgFlags::from_bits_retain(flags.bits()));
        let result = self.record(op, Some(socket), recv, |received| *received as i64);
        let took_none = flags.intersects(MessageFlags::MSG_PEEK | MessageFlags::MSG_OOB);
        match took_none {
            true => {
                self.look_at(socket);
                self.told();
            }
            false => self.moved(result.map(|received| room.get(..received).unwrap_or(room)), socket),
        }
        result
    }

    /// `poll` on the one socket until one of `events` is there, or an error or a hang-up; says what is.
    ///
    /// # Errors
    /// The call's own; `EINTR` when a signal ended the wait.
    pub fn poll(&mut self, socket: &Socket, events: PollFlags) -> Result<PollFlags, Errno> {
        let mut wanted = [PollFd::new(socket.as_fd(), events)];
        let events = PollEvents::from_bits_retain(events.bits());
        let op = Op::Poll { by: Polling::Poll, timeout: -1 };
        let used = socket.used(Role::Polled { events, revents: None });
        let result = self.record_on(op, Some(used), || poll::poll(&mut wanted, PollTimeout::NONE), |n| (*n).into());
        let found = wanted[0].revents().unwrap_or(PollFlags::empty());
        self.look_at(socket);
        if result.is_ok() {
            let revents = Some(PollEvents::from_bits_retain(found.bits()));
            self.used().role = Role::Polled { events, revents };
        }
        self.told();
        result.map(|_| found)
    }

    /// `close`, of the last descriptor of the socket as far as this recorder knows.
    ///
    /// # Errors
    /// The call's own; the socket is closed even then.
    pub fn close(&mut self, socket: Socket) -> Result<(), Errno> {
        let used = SocketUse { local: socket.local(), peer: socket.peer(), ..socket.used(Role::Released) };
        let fd = socket.fd;
        let result = self.record_on(Op::Close, Some(used), || unistd::close(fd), |()| 0);
        self.told();
        result
    }

    /// A call of which nothing is kept but that it was made, and what became of the socket.
    fn simple(&mut self, op: Op, socket: &Socket, call: impl FnOnce() -> Result<(), Errno>) -> Result<(), Errno> {
        let result = self.record(op, Some(socket), call, |()| 0);
        self.look_at(socket);
        self.told();
        result
    }

    /// Ends the record of a call that moved octets.
    fn moved(&mut self, octets: Result<&[u8], Errno>, socket: &Socket) {
        if let (Ok(octets), Some(returned)) = (octets, &mut self.last().returned) {
            returned.octets = Some(octets.len() as u64);
            returned.preview = octets[..octets.len().min(PREVIEW)].to_vec();
        }
        self.look_at(socket);
        self.told();
    }

    fn record<T>(
        &mut self,
        op: Op,
        socket: Option<&Socket>,
        call: impl FnOnce() -> Result<T, Errno>,
        shown: impl FnOnce(&T) -> i64,
    ) -> Result<T, Errno> {
        self.record_on(op, socket.map(|socket| socket.used(Role::On)), call, shown)
    }

    /// Makes one call and writes it down; `shown` is what the C library returns where it succeeds.
    ///
    /// Who calls this adds what it knows of the sockets afterwards, and ends with [`told`](Self::told).
    fn record_on<T>(
        &mut self,
        op: Op,
        used: Option<SocketUse>,
        call: impl FnOnce() -> Result<T, Errno>,
        shown: impl FnOnce(&T) -> i64,
    ) -> Result<T, Errno> {
        let id = CallId { thread: self.thread, n: self.calls.len() as u64 };
        let mut record = Call {
            id,
            entered: Timestamp::from_nanos(0),
            op,
            sockets: used.into_iter().collect(),
            returned: None,
            stack: Default::default(),
        };
        self.whereabouts.enter(record.effect());
        record.entered = now();
        if let Some(listener) = &mut self.listener {
            listener(Activity::Entered(record.clone()));
        }
        let result = call();
        let at = now();
        self.whereabouts.leave();
        let told = result.as_ref().map(shown).map_err(|errno| (*errno).into());
        record.returned = Some(Returned { at, result: told, octets: None, preview: Vec::new() });
        self.calls.push(record);
        result
    }

    /// The call just made.
    fn last(&mut self) -> &mut Call {
        self.calls.last_mut().expect("a call was just recorded")
    }

    /// The socket it was made on.
    fn used(&mut self) -> &mut SocketUse {
        self.last().sockets.first_mut().expect("the call was made on a socket")
    }

    /// Adds what the kernel says of the socket after the call.
    fn look_at(&mut self, socket: &Socket) {
        let used = self.used();
        used.local = socket.local();
        used.peer = socket.peer();
        used.info = TcpInfo::of(socket.as_fd()).ok();
    }

    /// Tells the listener of the call just made, now that all is known of it.
    fn told(&mut self) {
        let (Some(call), Some(listener)) = (self.calls.last(), &mut self.listener) else { return };
        let Some(returned) = call.returned.clone() else { return };
        let at = returned.at;
        listener(Activity::Returned { call: call.id, returned, sockets: call.sockets.clone() });
        for used in &call.sockets {
            let (Some(socket), Some(fd)) = (used.socket, used.fd) else { continue };
            let change = match used.role {
                Role::Made => SocketChange::Created { fd },
                Role::Released => SocketChange::Released { fd, last: true },
                _ => continue,
            };
            listener(Activity::Socket(SocketEvent { at, thread: call.id.thread, call: Some(call.id), socket, change }));
        }
    }
}

impl fmt::Debug for Recorder<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let heard = self.listener.is_some();
        f.debug_struct("Recorder")
            .field("thread", &self.thread)
            .field("calls", &self.calls)
            .field("heard", &heard)
            .finish()
    }
}

/// Whether a call may block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wait {
    /// It blocks until it is done.
    AsLongAsItTakes,
    /// It does what can be done at once (MSG_DONTWAIT).
    Never,
}

impl Wait {
    fn flags(self) -> MessageFlags {
        match self {
            Self::AsLongAsItTakes => MessageFlags::empty(),
            Self::Never => MessageFlags::MSG_DONTWAIT,
        }
    }
}

/// Where a recorded thread is right now, for other threads to see.
#[derive(Debug, Default)]
pub struct Whereabouts {
    tid: AtomicU32,
    inside: AtomicU8,
    returned: AtomicU64,
}

impl Whereabouts {
    /// Its thread id, once it has one.
    pub fn tid(&self) -> Option<u32> {
        Some(self.tid.load(Ordering::Acquire)).filter(|tid| *tid != 0)
    }

    /// How many of its calls have returned so far.
    pub fn returned(&self) -> u64 {
        self.returned.load(Ordering::Acquire)
    }

    /// Whether the thread is inside a call of that effect *and* the kernel says that it sleeps there.
    ///
    /// `None` where `/proc` does not tell: then being inside the call is all that can be known.
    pub fn sleeps_in(&self, effect: Effect, stat: &mut Option<File>) -> Option<bool> {
        if self.inside.load(Ordering::Acquire) != effect as u8 + 1 {
            return Some(false);
        }
        if stat.is_none() {
            *stat = File::open(format!("/proc/self/task/{}/stat", self.tid()?)).ok();
        }
        // The state follows the name, which stands in parentheses and may hold any octet.
        let mut line = [0u8; 128];
        let len = stat.as_ref()?.read_at(&mut line, 0).ok()?;
        let after = line[..len].iter().rposition(|octet| *octet == b')')?;
        Some(line.get(after + 2) == Some(&b'S'))
    }

    fn enter(&self, effect: Effect) {
        self.inside.store(effect as u8 + 1, Ordering::Release);
    }

    fn leave(&self) {
        self.inside.store(0, Ordering::Release);
        self.returned.fetch_add(1, Ordering::AcqRel);
    }
}

/// The address that the kernel named; `None` for one that is none yet.
pub(super) fn address_of(raw: Result<SockaddrStorage, Errno>) -> Option<SocketAddr> {
    let raw = raw.ok()?;
    let address = match (raw.as_sockaddr_in(), raw.as_sockaddr_in6()) {
        (Some(v4), _) => SocketAddr::V4(SocketAddrV4::from(*v4)),
        (_, Some(v6)) => SocketAddr::V6(SocketAddrV6::from(*v6)),
        _ => return None,
    };
    // Port 0: neither bound nor connected yet.
    (address.port() != 0).then_some(address)
}

/// After a failed connect the kernel has taken the source address back, and kept the port: the route to the peer still tells it.
pub(super) fn with_source_address(local: SocketAddr, peer: SocketAddr) -> SocketAddr {
    let source = || -> io::Result<IpAddr> {
        let any: IpAddr =
            if peer.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { std::net::Ipv6Addr::UNSPECIFIED.into() };
        let probe = UdpSocket::bind((any, 0))?;
        // Connecting a datagram socket sends nothing: it only asks for the route.
        probe.connect(peer)?;
        Ok(probe.local_addr()?.ip())
    };
    match source() {
        Ok(source) if local.ip().is_unspecified() => SocketAddr::new(source, local.port()),
        _ => local,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::State;

    #[test]
    fn a_conversation_is_written_down_call_by_call() {
        let (server_at, client_at) = (Whereabouts::default(), Whereabouts::default());
        let threads = Mutex::default();
        let mut server = Recorder::of_this_thread(&threads, &server_at);
        let mut client = Recorder::of_this_thread(&threads, &client_at);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();

        let listening = server.socket(any.ip()).unwrap();
        server.reuse_address(&listening).unwrap();
        server.bind(&listening, any).unwrap();
        server.listen(&listening, 5).unwrap();
        let port = listening.local().unwrap();
        let socket = client.socket(any.ip()).unwrap();
        client.connect(&socket, port).unwrap();
        let accepted = server.accept(&listening).unwrap();
        assert_eq!(client.send(&socket, b"helloworld", Wait::AsLongAsItTakes), Ok(10));
        let mut room = [0; 64];
        assert_eq!(server.recv(&accepted, &mut room, Wait::AsLongAsItTakes), Ok(10));
        assert_eq!(server.recv(&accepted, &mut room, Wait::Never), Err(Errno::EAGAIN));
        let found = client.poll(&socket, PollFlags::POLLOUT | PollFlags::POLLIN).unwrap();
        assert_eq!(found, PollFlags::POLLOUT);
        let (local, id) = (socket.local(), socket.id());
        client.close(socket).unwrap();
        assert_eq!(server.recv(&accepted, &mut room, Wait::AsLongAsItTakes), Ok(0));

        let calls = server.into_calls();
        let told: Vec<_> = calls.iter().map(|call| (call.name(), call.result().unwrap() >= 0)).collect();
        let expected = [("socket", true), ("setsockopt", true), ("bind", true), ("listen", true), ("accept", true)];
        assert_eq!(told[..5], expected);
        assert_eq!(told[5..], [("recv", true), ("recv", false), ("recv", true)]);
        assert!(calls.iter().all(|call| call.returned_at().unwrap() >= call.entered));
        assert_eq!(calls[3].info().unwrap().state, State::Listen);
        let accept = &calls[4];
        assert_eq!((accept.socket(), accept.accepted()), (Some(listening.id()), Some(accepted.id())));
        assert_eq!((accept.local(), accept.peer()), (Some(port), local));
        assert_eq!(accept.info().unwrap().state, State::Established);
        assert_eq!((calls[5].octets(), calls[5].preview()), (Some(10), &b"helloworld"[..]));
        assert_eq!((calls[6].errno(), calls[6].octets()), (Some(super::super::Errno::EAGAIN), None));
        assert_eq!(calls[7].octets(), Some(0));
        assert_eq!(calls[7].info().unwrap().state, State::CloseWait);

        let calls = client.into_calls();
        let close = calls.last().unwrap();
        assert_eq!((close.name(), close.socket(), close.local(), close.peer()), ("close", Some(id), local, Some(port)));
        assert_eq!(close.info(), None);
    }

    #[test]
    fn a_refused_connect_names_both_ends() {
        let at = Whereabouts::default();
        let mut recorder = Recorder::of_this_thread(&Mutex::default(), &at);
        // Bound and not listening: nobody else can listen there meanwhile.
        let closed = recorder.socket("::1".parse().unwrap()).unwrap();
        recorder.bind(&closed, "[::1]:0".parse().unwrap()).unwrap();
        let peer = closed.local().unwrap();
        let socket = recorder.socket(peer.ip()).unwrap();
        assert_eq!(recorder.connect(&socket, peer), Err(Errno::ECONNREFUSED));
        let call = recorder.into_calls().pop().unwrap();
        assert_eq!((call.result(), call.errno()), (Some(-1), Some(super::super::Errno::ECONNREFUSED)));
        assert_eq!(call.peer(), Some(peer));
        assert_eq!(call.local().unwrap().ip(), peer.ip());
        assert_ne!(call.local().unwrap().port(), 0);
    }

    #[test]
    fn a_sleeping_thread_is_seen_to_sleep() {
        let (server_at, client_at) = (Whereabouts::default(), Whereabouts::default());
        let threads = Mutex::default();
        let mut recorder = Recorder::of_this_thread(&threads, &client_at);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listening = recorder.socket(any.ip()).unwrap();
        recorder.bind(&listening, any).unwrap();
        recorder.listen(&listening, 1).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| Recorder::of_this_thread(&threads, &server_at).accept(&listening).unwrap());
            let mut stat = None;
            while server_at.sleeps_in(Effect::Accept, &mut stat) != Some(true) {
                std::thread::yield_now();
            }
            assert_eq!(server_at.sleeps_in(Effect::Receive, &mut stat), Some(false));
            let socket = recorder.socket(any.ip()).unwrap();
            recorder.connect(&socket, listening.local().unwrap()).unwrap();
        });
        assert_eq!(server_at.sleeps_in(Effect::Accept, &mut None), Some(false));
    }

    #[test]
    fn a_listener_hears_of_each_call_as_it_happens() {
        let (at, heard, threads) = (Whereabouts::default(), Mutex::new(Vec::new()), Mutex::default());
        let mut recorder =
            Recorder::of_this_thread(&threads, &at).heard_by(|activity| heard.lock().unwrap().push(activity));
        let socket = recorder.socket("127.0.0.1".parse().unwrap()).unwrap();
        let id = socket.id();
        let entered_first = matches!(&heard.lock().unwrap()[..], [Activity::Entered(_), Activity::Returned { .. }, _]);
        assert!(entered_first);
        recorder.bind(&socket, "127.0.0.1:0".parse().unwrap()).unwrap();
        recorder.close(socket).unwrap();
        let calls = recorder.into_calls();

        let mut told: Vec<Call> = Vec::new();
        let mut changes = Vec::new();
        for activity in heard.into_inner().unwrap() {
            match activity {
                Activity::Entered(call) => {
                    assert_eq!(call.returned, None);
                    told.push(call);
                }
                Activity::Returned { call, returned, sockets } => {
                    told.iter_mut().find(|known| known.id == call).unwrap().complete(returned, sockets);
                }
                Activity::Lost { .. } => panic!("records are complete"),
                Activity::Socket(event) => changes.push((event.call, event.socket, event.change)),
            }
        }
        assert_eq!(told, calls, "what was heard of piece by piece is what was written down");
        let fd = calls[0].fd().unwrap();
        let created = (Some(calls[0].id), id, SocketChange::Created { fd });
        assert_eq!(changes, [created, (Some(calls[2].id), id, SocketChange::Released { fd, last: true })]);
        let threads = threads.into_inner().unwrap();
        let (thread, process) = threads.get(calls[0].thread()).unwrap();
        assert_eq!((thread.tid, process.pid), (gettid().as_raw() as u32, std::process::id()));
    }
}
