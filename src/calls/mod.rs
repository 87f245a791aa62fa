//! What a program asked of its sockets: one call as an interval from entry to return.

mod kept;
mod recorded;

use std::borrow::Cow;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::kernel::TcpInfo;
use crate::time::Timestamp;

pub use kept::{Damaged, Kept, Room};
pub use recorded::{Recorder, Socket, Wait, Whereabouts};

/// One call of a program on a socket, or a process exit that closed it.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Call {
    /// When the program entered it, on the clock of packet timestamps.
    pub entered: Timestamp,
    /// When it returned; `None` if it never did while it was watched.
    pub returned: Option<Timestamp>,
    /// Who made it.
    pub process: Process,
    /// The name of the system call: `connect`, `send`, `recv`, `close`; `exit` for a process's end.
    pub name: Cow<'static, str>,
    /// What it does to a connection.
    pub effect: Effect,
    /// The descriptor it was made on; for `socket`, the one it returned.
    pub fd: Option<i32>,
    /// The socket behind the descriptor, whichever copy of the descriptor was used; for `socket`, the one it made.
    pub socket: Option<SocketId>,
    /// The arguments worth showing, by name, in order, without the descriptor.
    pub args: Vec<(Cow<'static, str>, Arg)>,
    /// What it returned: a count of octets, a descriptor, 0, or -1; `None` if it never returned.
    pub result: Option<i64>,
    /// The error by name, such as `ECONNREFUSED`.
    pub errno: Option<Cow<'static, str>>,
    /// Octets that a send or receive (or one of their kin) moved; `None` for other calls and for failed ones. MSG_PEEK moves none.
    pub octets: Option<u64>,
    /// The socket that `accept` returned.
    pub accepted: Option<SocketId>,
    /// Local address and port of the socket after the call (of the accepted one for `accept`), where known.
    pub local: Option<SocketAddr>,
    /// Address and port of the peer, likewise; for a `connect` that failed, the one that was asked for.
    pub peer: Option<SocketAddr>,
    /// TCP_INFO of the socket after the call (of the accepted one for `accept`); `None` where there is no socket to ask.
    pub info: Option<TcpInfo>,
    /// The first octets that it moved, at most [`PREVIEW`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub preview: Vec<u8>,
}

/// How many octets of payload are kept to be shown.
pub const PREVIEW: usize = 64;

/// The process and thread that made a call.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Thread id.
    pub tid: u32,
    /// The thread's name (`/proc/PID/task/TID/comm`), which is anything at all: escape it before it is shown.
    pub comm: String,
}

/// Names one socket for as long as it is watched, over all copies of its descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct SocketId(pub u64);

/// An argument as it is shown.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Arg {
    /// A number.
    Int(i64),
    /// Symbolic constants such as `SOCK_STREAM`, an address with its port, or any other text.
    Text(Cow<'static, str>),
}

/// What a call does to a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Makes a socket.
    Open,
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
