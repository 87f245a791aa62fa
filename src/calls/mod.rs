//! What programs asked of their sockets: one call as an interval from entry to return, the sockets it was about, and their lifetimes.

mod constants;
mod errno;
mod kept;
mod keys;
mod lifetimes;
mod op;
mod recorded;
mod stack;
mod threads;
pub mod traced;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::kernel::TcpInfo;
use crate::time::Timestamp;

pub use constants::{
    Domain, How, IpOption, Ipv6Option, Level, MessageFlags, PollEvents, Protocol, SocketFlags, SocketOption,
    SocketType, TcpOption,
};
pub use errno::Errno;
pub use kept::{Damaged, Kept, Parts, PartsRead, Room};
pub(crate) use kept::{Lines, parsed, written};
pub use lifetimes::{Lifetime, Lifetimes, SocketChange, SocketEvent};
pub use op::{Arg, Duplicating, Naming, Op, OptionName, OptionValue, Polling, Receiving, Sending};
pub use recorded::{Recorder, Socket, Wait, Whereabouts};
pub use stack::{Stack, StackFrame};
pub use threads::{Known, Process, ProcessId, Thread, ThreadId, Threads};

/// One call of a thread, or the end of a process that closed its sockets.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// Which call it is.
    pub id: CallId,
    /// When the thread entered it, on the clock of packet timestamps.
    pub entered: Timestamp,
    /// What was asked, with its arguments.
    pub op: Op,
    /// The sockets it is about, first the one it was made on: as they were entered with, and once it returned as they were then.
    pub sockets: Vec<SocketUse>,
    /// How it returned; `None` if it never did while it was watched.
    pub returned: Option<Returned>,
    /// From where it was made, if that was asked for.
    #[serde(default, skip_serializing_if = "Stack::is_empty")]
    pub stack: Stack,
}

/// Names a call: the n-th of a thread, from 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct CallId {
    /// The thread that made it.
    pub thread: ThreadId,
    /// How many calls of that thread were watched before.
    pub n: u64,
}

/// How a call returned.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Returned {
    /// When.
    pub at: Timestamp,
    /// A count of octets, a descriptor, or 0; or the error.
    pub result: Result<i64, Errno>,
    /// Octets that a send or receive (or one of their kin) moved; `None` for other calls and for failed ones. MSG_PEEK moves none.
    pub octets: Option<u64>,
    /// The first octets that it moved, at most [`PREVIEW`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preview: Vec<u8>,
}

/// How many octets of payload are kept to be shown.
pub const PREVIEW: usize = 64;

/// A socket in a call.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct SocketUse {
    /// The socket behind the descriptor, whichever copy of the descriptor was used; `None` where it was not known.
    pub socket: Option<SocketId>,
    /// The descriptor.
    pub fd: Option<i32>,
    /// What it has to do with the call.
    pub role: Role,
    /// Its own address and port after the call, where known.
    pub local: Option<SocketAddr>,
    /// Address and port of its peer, likewise; for a `connect` that failed, the one that was asked for.
    pub peer: Option<SocketAddr>,
    /// TCP_INFO after the call; `None` where there is no socket to ask, or it was not asked.
    pub info: Option<TcpInfo>,
}

/// What a socket has to do with a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The call is made on it.
    On,
    /// The call made it: socket, accept.
    Made,
    /// The call (or exit, or dup2 over its descriptor) gave up its last descriptor.
    Released,
    /// A poll waits for it.
    Polled {
        /// What for.
        events: PollEvents,
        /// What it found; `None` until it returned.
        revents: Option<PollEvents>,
    },
    /// A descriptor of it went to another process with this message (SCM_RIGHTS).
    Passed,
    /// A descriptor of it came with this message.
    Received,
}

/// Names one socket for as long as it is watched, over all copies of its descriptor.
///
/// It is the socket's inode, which the kernel gives to another one once it is free: see [`Lifetimes`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u64);

/// What a source of calls yields, as it happens.
#[derive(Clone, PartialEq, Debug)]
pub enum Activity {
    /// A thread entered a call.
    Entered(Call),
    /// It returned.
    Returned {
        /// Which.
        call: CallId,
        /// How.
        returned: Returned,
        /// Its sockets as they are now, in place of those it was entered with.
        sockets: Vec<SocketUse>,
    },
    /// Records are missing: how it returned, or that it did, is not known.
    Lost {
        /// Which.
        call: CallId,
        /// Since when.
        at: Timestamp,
    },
    /// A socket, or one of its descriptors, came or went.
    Socket(SocketEvent),
}

/// What a call does to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Makes a socket.
    Open,
    /// Nothing: it was there when the process was joined.
    Found,
    /// Sets or reads an option; SO_LINGER with zero time has its own.
    Option,
    /// Sets SO_LINGER to a time of zero: the next close resets the connection.
    LingerZero,
    /// Gives the socket its local address.
    Bind,
    /// Makes it accept connections.
    Listen,
    /// Sends a SYN.
    Connect,
    /// Takes a finished handshake off the queue.
    Accept,
    /// Writes octets to the stream.
    Send,
    /// Reads octets from the stream.
    Receive,
    /// Ends the own direction: shutdown with SHUT_WR or SHUT_RDWR.
    ShutdownWrite,
    /// Ends reading only: shutdown with SHUT_RD, which puts nothing on the wire.
    ShutdownRead,
    /// Closes the last descriptor of the socket.
    Close,
    /// Closes a descriptor of which copies remain: the connection stays open.
    CloseCopy,
    /// The process ended, and with it the last descriptor of the socket.
    Exit,
    /// Something else that is worth a line.
    Other,
}

impl Effect {
    /// Its name, as it is written down.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Found => "found",
            Self::Option => "option",
            Self::LingerZero => "linger_zero",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Connect => "connect",
            Self::Accept => "accept",
            Self::Send => "send",
            Self::Receive => "receive",
            Self::ShutdownWrite => "shutdown_write",
            Self::ShutdownRead => "shutdown_read",
            Self::Close => "close",
            Self::CloseCopy => "close_copy",
            Self::Exit => "exit",
            Self::Other => "other",
        }
    }
}

impl Call {
    /// The thread that made it.
    pub fn thread(&self) -> ThreadId {
        self.id.thread
    }

    /// The name of the system call: `connect`, `send`, `recv`, `close`; `exit` for a process's end.
    pub fn name(&self) -> &str {
        self.op.name()
    }

    /// When it returned; `None` if it never did while it was watched.
    pub fn returned_at(&self) -> Option<Timestamp> {
        self.returned.as_ref().map(|returned| returned.at)
    }

    /// Whether it waits until something can be done with sockets, and does nothing with them: poll and its kin.
    pub fn is_wait(&self) -> bool {
        matches!(self.op, Op::Poll { .. })
    }

    /// What it returned as the C library has it: a count of octets, a descriptor, 0, or -1; `None` if it never returned.
    pub fn result(&self) -> Option<i64> {
        self.returned.as_ref().map(|returned| returned.result.unwrap_or(-1))
    }

    /// The error, if it failed.
    pub fn errno(&self) -> Option<Errno> {
        self.returned.as_ref()?.result.err()
    }

    /// Octets that it moved.
    pub fn octets(&self) -> Option<u64> {
        self.returned.as_ref()?.octets
    }

    /// The first octets that it moved, at most [`PREVIEW`].
    pub fn preview(&self) -> &[u8] {
        self.returned.as_ref().map_or(&[], |returned| &returned.preview)
    }

    /// The socket it was made on; for `socket`, the one it made.
    pub fn socket(&self) -> Option<SocketId> {
        self.sockets.first()?.socket
    }

    /// The descriptor it was made on; for `socket`, the one it returned.
    pub fn fd(&self) -> Option<i32> {
        self.sockets.first()?.fd
    }

    /// The socket that `accept` returned.
    pub fn accepted(&self) -> Option<SocketId> {
        self.outcome().filter(|_| matches!(self.op, Op::Accept { .. }))?.socket
    }

    /// Local address and port of the socket after the call (of the accepted one for `accept`), where known.
    pub fn local(&self) -> Option<SocketAddr> {
        self.outcome().or(self.sockets.first())?.local
    }

    /// Address and port of the peer, likewise; for a `connect` that failed, the one that was asked for.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.outcome().or(self.sockets.first())?.peer
    }

    /// Takes the peer away of the socket that it was made on, as nothing proves it.
    pub(crate) fn forget_peer(&mut self) {
        if let Some(used) = self.sockets.first_mut() {
            used.peer = None;
        }
    }

    /// TCP_INFO of the socket after the call (of the accepted one for `accept`).
    pub fn info(&self) -> Option<&TcpInfo> {
        self.outcome().or(self.sockets.first())?.info.as_ref()
    }

    /// The socket that it made.
    fn outcome(&self) -> Option<&SocketUse> {
        self.sockets.iter().find(|used| used.role == Role::Made)
    }

    /// What it does to the connection of the socket it was made on; whether it failed is told by [`errno`](Self::errno).
    pub fn effect(&self) -> Effect {
        self.effect_on(self.sockets.first())
    }

    /// What it does to the connection of one of its sockets.
    pub fn effect_on(&self, used: Option<&SocketUse>) -> Effect {
        let released = used.is_some_and(|used| used.role == Role::Released);
        match &self.op {
            Op::Socket { .. } => Effect::Open,
            Op::Found { .. } => Effect::Found,
            Op::Bind { .. } => Effect::Bind,
            Op::Listen { .. } => Effect::Listen,
            Op::Connect { .. } => Effect::Connect,
            Op::Accept { .. } => Effect::Accept,
            Op::Send { .. } => Effect::Send,
            Op::Receive { .. } => Effect::Receive,
            Op::Shutdown { how: How::SHUT_RD } => Effect::ShutdownRead,
            Op::Shutdown { .. } => Effect::ShutdownWrite,
            Op::SetOption { value: OptionValue::Linger { on: true, seconds: 0 }, .. } => Effect::LingerZero,
            Op::SetOption { .. } | Op::GetOption { .. } => Effect::Option,
            Op::Exit => Effect::Exit,
            Op::Close | Op::CloseRange { .. } | Op::Duplicate { .. } | Op::Execute if released => Effect::Close,
            Op::Close | Op::CloseRange { .. } | Op::Execute => Effect::CloseCopy,
            Op::Duplicate { .. } | Op::Address { .. } | Op::Poll { .. } | Op::Other { .. } => Effect::Other,
        }
    }

    /// The same, without the octets it moved and the place it was made from: all that says what it did to which sockets.
    #[must_use]
    pub fn without_octets(&self) -> Self {
        let Self { id, entered, op, sockets, returned, stack: _ } = self;
        let returned = returned.as_ref().map(|Returned { at, result, octets, preview: _ }| Returned {
            at: *at,
            result: *result,
            octets: *octets,
            preview: Vec::new(),
        });
        Self { id: *id, entered: *entered, op: op.clone(), sockets: sockets.clone(), returned, stack: Stack::default() }
    }

    /// Takes in how it returned.
    pub fn complete(&mut self, returned: Returned, sockets: Vec<SocketUse>) {
        self.returned = Some(returned);
        self.sockets = sockets;
    }
}

impl SocketUse {
    /// A socket of which nothing but its names is known.
    pub fn of(socket: SocketId, fd: i32, role: Role) -> Self {
        Self { socket: Some(socket), fd: Some(fd), role, local: None, peer: None, info: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Call {
        /// A call on no socket.
        pub(super) fn for_test(thread: ThreadId) -> Self {
            Self {
                id: CallId { thread, n: 0 },
                entered: Timestamp::from_nanos(0),
                op: Op::Close,
                sockets: Vec::new(),
                returned: None,
                stack: Stack::default(),
            }
        }
    }

    #[test]
    fn what_a_call_does_is_told_by_its_arguments_and_its_socket() {
        let on = |op, role| {
            let mut call = Call::for_test(ThreadId(0));
            call.op = op;
            call.sockets = vec![SocketUse::of(SocketId(1), 3, role)];
            call.effect()
        };
        assert_eq!(on(Op::Close, Role::Released), Effect::Close);
        assert_eq!(on(Op::Close, Role::On), Effect::CloseCopy);
        assert_eq!(on(Op::Shutdown { how: How::SHUT_RD }, Role::On), Effect::ShutdownRead);
        assert_eq!(on(Op::Shutdown { how: How::SHUT_RDWR }, Role::On), Effect::ShutdownWrite);
        let linger = |on, seconds| Op::SetOption {
            option: OptionName::Socket(SocketOption::SO_LINGER),
            value: OptionValue::Linger { on, seconds },
        };
        assert_eq!(on(linger(true, 0), Role::On), Effect::LingerZero);
        assert_eq!(on(linger(false, 0), Role::On), Effect::Option);
        assert_eq!(on(linger(true, 1), Role::On), Effect::Option);
        assert_eq!(on(Op::Duplicate { by: Duplicating::Dup2 }, Role::Released), Effect::Close);
        assert_eq!(on(Op::Duplicate { by: Duplicating::Dup }, Role::On), Effect::Other);
    }

    #[test]
    fn a_call_speaks_of_the_socket_it_made() {
        let mut call = Call::for_test(ThreadId(0));
        call.op = Op::Accept { flags: None, room: None };
        let listening = SocketUse::of(SocketId(1), 3, Role::On);
        let peer = Some("[::1]:5000".parse().unwrap());
        let made = SocketUse { peer, ..SocketUse::of(SocketId(2), 4, Role::Made) };
        call.sockets = vec![listening, made];
        assert_eq!((call.socket(), call.fd(), call.accepted()), (Some(SocketId(1)), Some(3), Some(SocketId(2))));
        assert_eq!(call.peer(), peer);
        let shown: Vec<_> = call.args().into_iter().map(|(_, arg)| arg).collect();
        assert_eq!(shown, [Arg::Text("[::1]:5000".into()), Arg::Text("[28]".into())]);
    }
}
