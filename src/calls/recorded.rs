//! Calls on our own sockets: one system call at a time, each written down with what the kernel said of the socket right afterwards.

use std::borrow::Cow;
use std::fs::File;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6, UdpSocket};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::{io, mem};

use nix::errno::Errno;
use nix::poll::PollFlags;
use nix::sys::socket::{SockaddrLike, SockaddrStorage, getpeername, getsockname};
use nix::unistd::{getpid, gettid};

use super::{Arg, Call, Effect, PREVIEW, Process, SocketId};
use crate::kernel::{TcpInfo, now};

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

    fn own(fd: i64) -> Self {
        // SAFETY: the kernel has just returned this descriptor to us, so nobody else owns it.
        let fd = unsafe { OwnedFd::from_raw_fd(fd as i32) };
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
#[derive(Debug)]
pub struct Recorder<'w> {
    process: Process,
    calls: Vec<Call>,
    whereabouts: &'w Whereabouts,
}

impl<'w> Recorder<'w> {
    /// A recorder of the calling thread, on which it must stay; others can follow it through `whereabouts`.
    pub fn of_this_thread(whereabouts: &'w Whereabouts) -> Self {
        let tid = gettid().as_raw() as u32;
        let comm = std::fs::read_to_string("/proc/thread-self/comm")
            .map(|comm| comm.trim_end_matches('\n').to_owned())
            .or_else(|_| std::thread::current().name().map(str::to_owned).ok_or(()))
            .unwrap_or_default();
        whereabouts.tid.store(tid, Ordering::Release);
        Self { process: Process { pid: getpid().as_raw() as u32, tid, comm }, calls: Vec::new(), whereabouts }
    }

    /// The calls made so far, in order.
    pub fn into_calls(self) -> Vec<Call> {
        self.calls
    }

    /// `socket(AF_INET or AF_INET6, SOCK_STREAM, 0)`, by the address that will be used.
    ///
    /// # Errors
    /// The call's own, here as in all methods; the failed call is recorded too.
    pub fn socket(&mut self, address: IpAddr) -> Result<Socket, Errno> {
        let (domain, shown) = if address.is_ipv4() { (libc::AF_INET, "AF_INET") } else { (libc::AF_INET6, "AF_INET6") };
        let args = vec![text("domain", shown), text("type", "SOCK_STREAM"), text("protocol", "IPPROTO_IP")];
        // SAFETY: socket(2) takes no pointer.
        let fd = self.record("socket", Effect::Open, None, args, || unsafe {
            libc::socket(domain, libc::SOCK_STREAM, 0).into()
        })?;
        let socket = Socket::own(fd);
        self.complete(|call| {
            call.fd = Some(fd as i32);
            call.socket = Some(socket.id);
            call.info = TcpInfo::of(socket.as_fd()).ok();
        });
        Ok(socket)
    }

    /// `setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)`.
    ///
    /// # Errors
    /// The call's own.
    pub fn reuse_address(&mut self, socket: &Socket) -> Result<(), Errno> {
        let on: libc::c_int = 1;
        let len = size_of_val(&on);
        let args = vec![
            text("level", "SOL_SOCKET"),
            text("optname", "SO_REUSEADDR"),
            text("optval", "[1]"),
            int("optlen", len as i64),
        ];
        // SAFETY: the kernel reads `len` octets from `on`.
        self.record("setsockopt", Effect::Option, Some(socket), args, || unsafe {
            let value = (&raw const on).cast();
            libc::setsockopt(socket.fd.as_raw_fd(), libc::SOL_SOCKET, libc::SO_REUSEADDR, value, len as _).into()
        })
        .map(drop)
    }

    /// `bind` to `address`.
    ///
    /// # Errors
    /// The call's own, such as `EADDRINUSE`.
    pub fn bind(&mut self, socket: &Socket, address: SocketAddr) -> Result<(), Errno> {
        let (raw, len) = raw(address);
        // SAFETY: `raw` is a socket address of `len` octets.
        self.record("bind", Effect::Bind, Some(socket), address_args(address, len), || unsafe {
            libc::bind(socket.fd.as_raw_fd(), raw.as_ptr(), len).into()
        })
        .map(drop)
    }

    /// `listen`.
    ///
    /// # Errors
    /// The call's own.
    pub fn listen(&mut self, socket: &Socket, backlog: i32) -> Result<(), Errno> {
        let args = vec![int("backlog", backlog.into())];
        // SAFETY: listen(2) takes no pointer.
        self.record("listen", Effect::Listen, Some(socket), args, || unsafe {
            libc::listen(socket.fd.as_raw_fd(), backlog).into()
        })
        .map(drop)
    }

    /// `accept`, which blocks until a handshake is complete.
    ///
    /// # Errors
    /// The call's own; `EINTR` when a signal ended the wait.
    pub fn accept(&mut self, listening: &Socket) -> Result<Socket, Errno> {
        // SAFETY: all octets zero is a valid sockaddr_storage.
        let mut raw: libc::sockaddr_storage = unsafe { mem::zeroed() };
        let mut len = size_of_val(&raw) as libc::socklen_t;
        // SAFETY: `raw` has room for `len` octets, and the kernel says in `len` how many the address takes.
        let result = self.record("accept", Effect::Accept, Some(listening), Vec::new(), || unsafe {
            libc::accept(listening.fd.as_raw_fd(), (&raw mut raw).cast(), &mut len).into()
        });
        let socket = Socket::own(result?);
        // SAFETY: the kernel has filled `raw` with an address of `len` octets.
        let peer = unsafe { SockaddrStorage::from_raw((&raw const raw).cast(), Some(len)) }
            .and_then(|address| address_of(Ok(address)));
        self.complete(|call| {
            if let Some(peer) = peer {
                call.args = vec![owned("addr", peer.to_string()), owned("addrlen", format!("[{len}]"))];
            }
            call.accepted = Some(socket.id);
            call.local = socket.local();
            call.peer = peer;
            call.info = TcpInfo::of(socket.as_fd()).ok();
        });
        Ok(socket)
    }

    /// `connect` to `address`, which blocks until the handshake is complete, refused, or given up.
    ///
    /// # Errors
    /// The call's own, such as `ECONNREFUSED`; `EINTR` when a signal ended the wait.
    pub fn connect(&mut self, socket: &Socket, address: SocketAddr) -> Result<(), Errno> {
        let (raw, len) = raw(address);
        // SAFETY: `raw` is a socket address of `len` octets.
        let result = self.record("connect", Effect::Connect, Some(socket), address_args(address, len), || unsafe {
            libc::connect(socket.fd.as_raw_fd(), raw.as_ptr(), len).into()
        });
        if result.is_err() {
            self.complete(|call| {
                call.peer = Some(address);
                call.local = call.local.map(|local| with_source_address(local, address));
            });
        }
        result.map(drop)
    }

    /// `send` of `octets`; with [`Wait::Never`] it takes only what the send buffer has room for.
    ///
    /// Returns how many octets the kernel accepted.
    ///
    /// # Errors
    /// The call's own: `EAGAIN` when it would have had to wait, `EPIPE` (without the signal) or `ECONNRESET` on a dead connection.
    pub fn send(&mut self, socket: &Socket, octets: &[u8], wait: Wait) -> Result<usize, Errno> {
        let (flags, shown) = match wait {
            Wait::AsLongAsItTakes => (libc::MSG_NOSIGNAL, "MSG_NOSIGNAL"),
            Wait::Never => (libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT, "MSG_DONTWAIT|MSG_NOSIGNAL"),
        };
        let args = vec![int("len", octets.len() as i64), text("flags", shown)];
        // SAFETY: the kernel reads at most `octets.len()` octets from `octets`.
        let accepted = self.record("send", Effect::Send, Some(socket), args, || unsafe {
            libc::send(socket.fd.as_raw_fd(), octets.as_ptr().cast(), octets.len(), flags) as i64
        })? as usize;
        self.moved(octets.get(..accepted).unwrap_or(octets));
        Ok(accepted)
    }

    /// `recv` of at most `room.len()` octets; 0 is the peer's FIN.
    ///
    /// # Errors
    /// The call's own: `EAGAIN` when it would have had to wait, `ECONNRESET` after an RST, `EINTR` when a signal ended the wait.
    pub fn recv(&mut self, socket: &Socket, room: &mut [u8], wait: Wait) -> Result<usize, Errno> {
        let (flags, shown) = match wait {
            Wait::AsLongAsItTakes => (0, int("flags", 0)),
            Wait::Never => (libc::MSG_DONTWAIT, text("flags", "MSG_DONTWAIT")),
        };
        let args = vec![int("len", room.len() as i64), shown];
        // SAFETY: the kernel writes at most `room.len()` octets into `room`.
        let received = self.record("recv", Effect::Receive, Some(socket), args, || unsafe {
            libc::recv(socket.fd.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) as i64
        })? as usize;
        self.moved(room.get(..received).unwrap_or(room));
        Ok(received)
    }

    /// `poll` on the one socket until one of `events` is there, or an error or a hang-up; says what is.
    ///
    /// # Errors
    /// The call's own; `EINTR` when a signal ended the wait.
    pub fn poll(&mut self, socket: &Socket, events: PollFlags) -> Result<PollFlags, Errno> {
        let mut wanted = libc::pollfd { fd: socket.fd.as_raw_fd(), events: events.bits(), revents: 0 };
        let args = vec![owned("events", names(events)), int("timeout", -1)];
        // SAFETY: `wanted` is one pollfd.
        self.record("poll", Effect::Other, Some(socket), args, || unsafe { libc::poll(&mut wanted, 1, -1).into() })?;
        let found = PollFlags::from_bits_truncate(wanted.revents);
        self.complete(|call| call.args.push(owned("revents", names(found))));
        Ok(found)
    }

    /// `close`; the last descriptor of the socket, as none is ever copied here.
    ///
    /// # Errors
    /// The call's own; the socket is closed even then.
    pub fn close(&mut self, socket: Socket) -> Result<(), Errno> {
        let (local, peer, id) = (socket.local(), socket.peer(), socket.id);
        let fd = socket.fd.into_raw_fd();
        // SAFETY: `fd` was ours alone and is given up here.
        let result = self.record("close", Effect::Close, None, Vec::new(), || unsafe { libc::close(fd).into() });
        self.complete(|call| {
            call.fd = Some(fd);
            call.socket = Some(id);
            call.local = local;
            call.peer = peer;
        });
        result.map(drop)
    }

    /// Makes one call and writes it down. `call` returns what the C library did: -1 and `errno` for an error.
    fn record(
        &mut self,
        name: &'static str,
        effect: Effect,
        socket: Option<&Socket>,
        args: Vec<(Cow<'static, str>, Arg)>,
        call: impl FnOnce() -> i64,
    ) -> Result<i64, Errno> {
        self.whereabouts.enter(effect);
        let entered = now();
        let result = Errno::result(call());
        let returned = now();
        self.whereabouts.leave();
        self.calls.push(Call {
            entered,
            returned: Some(returned),
            process: self.process.clone(),
            name: name.into(),
            effect,
            fd: socket.map(|socket| socket.fd.as_raw_fd()),
            socket: socket.map(|socket| socket.id),
            args,
            result: Some(result.unwrap_or(-1)),
            errno: result.err().map(|errno| format!("{errno:?}").into()),
            octets: None,
            accepted: None,
            local: socket.and_then(Socket::local),
            peer: socket.and_then(Socket::peer),
            info: socket.and_then(|socket| TcpInfo::of(socket.as_fd()).ok()),
            preview: Vec::new(),
        });
        result
    }

    /// Adds to the call just made what only its method knows.
    fn complete(&mut self, with: impl FnOnce(&mut Call)) {
        with(self.calls.last_mut().expect("a call was just recorded"));
    }

    fn moved(&mut self, octets: &[u8]) {
        self.complete(|call| {
            call.octets = Some(octets.len() as u64);
            call.preview = octets[..octets.len().min(PREVIEW)].to_vec();
        });
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

fn address_of(raw: Result<SockaddrStorage, Errno>) -> Option<SocketAddr> {
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
fn with_source_address(local: SocketAddr, peer: SocketAddr) -> SocketAddr {
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

/// The address as the kernel reads it, and its length.
fn raw(address: SocketAddr) -> (SockaddrStorage, libc::socklen_t) {
    let len = if address.is_ipv4() { size_of::<libc::sockaddr_in>() } else { size_of::<libc::sockaddr_in6>() };
    (SockaddrStorage::from(address), len as libc::socklen_t)
}

fn address_args(address: SocketAddr, len: libc::socklen_t) -> Vec<(Cow<'static, str>, Arg)> {
    vec![owned("addr", address.to_string()), int("addrlen", len.into())]
}

fn names(events: PollFlags) -> String {
    events.iter_names().map(|(name, _)| name).collect::<Vec<_>>().join("|")
}

fn int(name: &'static str, value: i64) -> (Cow<'static, str>, Arg) {
    (name.into(), Arg::Int(value))
}

fn text(name: &'static str, value: &'static str) -> (Cow<'static, str>, Arg) {
    (name.into(), Arg::Text(value.into()))
}

fn owned(name: &'static str, value: String) -> (Cow<'static, str>, Arg) {
    (name.into(), Arg::Text(value.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tcp::State;

    #[test]
    fn a_conversation_is_written_down_call_by_call() {
        let (server_at, client_at) = (Whereabouts::default(), Whereabouts::default());
        let mut server = Recorder::of_this_thread(&server_at);
        let mut client = Recorder::of_this_thread(&client_at);
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
        let told: Vec<_> = calls.iter().map(|call| (&*call.name, call.result.unwrap() >= 0)).collect();
        let expected = [("socket", true), ("setsockopt", true), ("bind", true), ("listen", true), ("accept", true)];
        assert_eq!(told[..5], expected);
        assert_eq!(told[5..], [("recv", true), ("recv", false), ("recv", true)]);
        assert!(calls.iter().all(|call| call.returned.unwrap() >= call.entered));
        assert_eq!(calls[3].info.as_ref().unwrap().state, State::Listen);
        let accept = &calls[4];
        assert_eq!((accept.socket, accept.accepted), (Some(listening.id()), Some(accepted.id())));
        assert_eq!((accept.local, accept.peer), (Some(port), local));
        assert_eq!(accept.info.as_ref().unwrap().state, State::Established);
        assert_eq!((calls[5].octets, &calls[5].preview[..]), (Some(10), &b"helloworld"[..]));
        assert_eq!((calls[6].errno.as_deref(), calls[6].octets), (Some("EAGAIN"), None));
        assert_eq!(calls[7].octets, Some(0));
        assert_eq!(calls[7].info.as_ref().unwrap().state, State::CloseWait);

        let calls = client.into_calls();
        let close = calls.last().unwrap();
        assert_eq!((&*close.name, close.socket, close.local, close.peer), ("close", Some(id), local, Some(port)));
        assert_eq!(close.info, None);
    }

    #[test]
    fn a_refused_connect_names_both_ends() {
        let at = Whereabouts::default();
        let mut recorder = Recorder::of_this_thread(&at);
        // Bound and not listening: nobody else can listen there meanwhile.
        let closed = recorder.socket("::1".parse().unwrap()).unwrap();
        recorder.bind(&closed, "[::1]:0".parse().unwrap()).unwrap();
        let peer = closed.local().unwrap();
        let socket = recorder.socket(peer.ip()).unwrap();
        assert_eq!(recorder.connect(&socket, peer), Err(Errno::ECONNREFUSED));
        let call = recorder.into_calls().pop().unwrap();
        assert_eq!((call.result, call.errno.as_deref()), (Some(-1), Some("ECONNREFUSED")));
        assert_eq!(call.peer, Some(peer));
        assert_eq!(call.local.unwrap().ip(), peer.ip());
        assert_ne!(call.local.unwrap().port(), 0);
    }

    #[test]
    fn a_sleeping_thread_is_seen_to_sleep() {
        let (server_at, client_at) = (Whereabouts::default(), Whereabouts::default());
        let mut recorder = Recorder::of_this_thread(&client_at);
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let listening = recorder.socket(any.ip()).unwrap();
        recorder.bind(&listening, any).unwrap();
        recorder.listen(&listening, 1).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| Recorder::of_this_thread(&server_at).accept(&listening).unwrap());
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
}
