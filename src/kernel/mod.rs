//! What the kernel says of a socket: TCP_INFO of one's own sockets, sock_diag for those that no process holds any more, and its trace.

mod clock;
mod event;
mod sock_diag;
mod tcp_info;
mod tracepoints;

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::tcp::State;
use crate::time::{Span, Timestamp};

pub use clock::{measure, now};
pub use event::{Congestion, KernelAct, KernelEvent, KernelSocket, ResetReason};
pub use sock_diag::SockDiag;
pub use tracepoints::{
    Begin, Beside, Drained, LostEvents, Ports, ProgramAct, ProgramRecord, ProgramTrace, Said, Trace, Tracepoints,
    Untraced, UserStack, Watched,
};

/// Who testified to a state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Witness {
    /// The machine of RFC 9293, driven by captured segments (and by the calls that sent them, where they are known).
    Segments,
    /// `getsockopt(TCP_INFO)` on the socket itself.
    TcpInfo,
    /// A tracepoint of the kernel (`sock:inet_sock_set_state`).
    Kernel,
    /// A netlink sock_diag answer (linux/inet_diag.h).
    SockDiag,
    /// The link between two hosts of an experiment.
    Link,
}

/// What `getsockopt(TCP_INFO)` returned (struct tcp_info, linux/tcp.h), asked right after a call on the same socket.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct TcpInfo {
    /// When it was asked.
    pub asked: Timestamp,
    /// When the answer was there; the state held at some moment between the two.
    pub answered: Timestamp,
    /// `tcpi_state`.
    pub state: State,
    /// `tcpi_rtt`, smoothed round-trip time in microseconds; 0 before the first sample.
    pub rtt_us: u32,
    /// `tcpi_rttvar`, microseconds.
    pub rttvar_us: u32,
    /// `tcpi_snd_cwnd`, segments.
    pub snd_cwnd: u32,
    /// `tcpi_snd_mss`, octets.
    pub snd_mss: u32,
    /// `tcpi_unacked`, segments in flight.
    pub unacked: u32,
    /// `tcpi_sacked` of a socket that listens: for how many finished handshakes there is room, which net.core.somaxconn limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog: Option<u32>,
    /// `tcpi_retransmits`, retransmissions of the segment now unacknowledged.
    pub retransmits: u8,
    /// `tcpi_total_retrans`, segments.
    pub total_retrans: u32,
    /// `tcpi_bytes_acked`, octets the peer acknowledged (a SYN counts one).
    pub bytes_acked: u64,
    /// `tcpi_bytes_received`, octets received in order (the peer's FIN counts one).
    pub bytes_received: u64,
    /// `tcpi_notsent_bytes`, octets accepted from the program and not yet sent.
    pub notsent_bytes: u32,
}

/// One answer of sock_diag about one 4-tuple, seen from `local`.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Answer {
    /// When the kernel was asked.
    pub asked: Timestamp,
    /// When the answer was there; it held at some moment between the two.
    pub answered: Timestamp,
    /// The end that was asked about.
    pub local: SocketAddr,
    /// Its peer.
    pub peer: SocketAddr,
    /// The state of the socket; `None`: the kernel has no socket with this 4-tuple (any more).
    pub state: Option<State>,
    /// The timer that runs on the socket, if one does.
    pub timer: Option<Timer>,
    /// The inode of the socket; 0 when no process holds it (TIME-WAIT).
    pub inode: u32,
    /// The user the socket belongs to; 0 for a TIME-WAIT socket, whoever owned it.
    pub uid: u32,
}

/// A kernel timer of a socket (`idiag_timer`, `idiag_expires`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Timer {
    /// Which timer.
    pub kind: TimerKind,
    /// How long it still runs, with the kernel's resolution of a millisecond.
    pub remaining: Span,
}

/// The timers that sock_diag tells apart (net/ipv4/inet_diag.c).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TimerKind {
    /// 1: retransmission, early retransmit or tail loss probe.
    Retransmission,
    /// 2: keep-alive.
    KeepAlive,
    /// 3: TIME-WAIT.
    TimeWait,
    /// 4: zero-window probe.
    ZeroWindowProbe,
}
