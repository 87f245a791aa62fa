//! Why the kernel sent a segment, and what is worth saying of a call: facts, which the reports put into words.

use super::{EventId, Join};
use crate::flow::{ConnectionId, Side};
use crate::kernel::Witness;
use crate::wire::IcmpKind;

/// On what a cause rests.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Evidence {
    /// A witness said so.
    Witnessed(Witness),
    /// Octets, the 4-tuple or an acknowledgement number join the two.
    Joined(Join),
    /// A rule concluded it.
    Inferred(Join),
}

impl Evidence {
    /// `witnessed`, `joined` or `inferred`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Witnessed(_) => "witnessed",
            Self::Joined(_) => "joined",
            Self::Inferred(_) => "inferred",
        }
    }

    /// The rule that joined or concluded; `None` for what was witnessed.
    pub const fn rule(self) -> Option<Join> {
        match self {
            Self::Witnessed(_) => None,
            Self::Joined(rule) | Self::Inferred(rule) => Some(rule),
        }
    }
}

/// The reason for a segment, where it is not plain from its cause.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Why {
    /// No call of its sender was watched; it follows from a call of this kind.
    Unwatched(Unwatched),
    /// No call that was watched wrote its octets.
    NotWritten,
    /// Calls wrote its octets of which it is not known how many they wrote.
    NotCounted,
    /// No call closed the socket: its process ended.
    ProcessEnded,
    /// It has neither ACK nor octets nor any other flag that means something.
    Empty,
    /// A listening socket is answered for by the kernel; accept() is not needed.
    Listening,
    /// The SYNs crossed: each end acknowledges the other's.
    SynsCrossed,
    /// It ends the handshake.
    EndsHandshake,
    /// No answer to the SYN came in time.
    SynUnanswered,
    /// It answers the SYN that was repeated.
    SynRepeated,
    /// Another SYN-ACK with another initial number: not the same socket answers.
    OtherNumber,
    /// What came was no acceptable answer to the SYN, which is sent again.
    AnswerRefused,
    /// The SYN-ACK was answered, but the answer was not taken: the accept queue is full, or TCP_DEFER_ACCEPT waits for octets, or it was lost.
    AnswerNotTaken,
    /// Sooner than a timer runs out, and with no report of a loss.
    TooSoon,
    /// Other octets than were sent at this place before: no stack repeats what it did not send.
    OtherOctets,
    /// The SYN-ACK did not acknowledge the octets of the SYN.
    SynOctetsRefused,
    /// The window opened, and what had not been taken before goes again.
    WindowOpened,
    /// A router forwards no packet of more than so many octets: what was longer goes again in shorter segments.
    PathMtu {
        /// The frame of its ICMP error.
        frame: u64,
        /// Octets of a packet.
        mtu: u32,
    },
    /// In the moment of an acknowledgement: what a loss left out.
    AckedBefore,
    /// A timeout repairs all that was not acknowledged.
    AfterTimeout,
    /// The first transmission of these octets was not captured.
    FirstNotCaptured,
    /// The acknowledgement of the peer's FIN carries the end's own FIN once more.
    FinOnAck,
    /// A RST or SYN that may be forged is answered with the numbers that the end expects (RFC 5961).
    Challenge,
    /// The retransmission timer ran out.
    TimerExpired,
    /// Nothing was acknowledged for two round trips: the last segment is sent again to provoke an answer.
    TailUnacknowledged,
    /// Duplicate acknowledgements or SACK reported a loss.
    LossReported,
    /// The connection was idle (SO_KEEPALIVE).
    Idle,
    /// No keep-alive was answered: the kernel gives the connection up.
    KeepAlivesUnanswered,
    /// The peer's window is 0.
    NoRoom,
    /// The peer's window is 0, and the probe is an octet that was acknowledged: Wireshark's rule says keep-alive.
    NoRoomOldOctet,
    /// A read made room in the receive buffer.
    RoomMade,
    /// The peer opens a connection whose ports an older one has at this end.
    OlderConnection,
    /// The acknowledgement was held back, so that octets could carry it.
    HeldBack,
    /// It acknowledges what was not captured.
    NotCaptured,
    /// All of the segment that it answers had been received before.
    ReceivedBefore,
    /// Something before the segment that it answers is missing.
    GapBefore,
    /// An older acknowledgement, overtaken by a newer one.
    Overtaken,
    /// Its octets waited in the send buffer until the segment in this frame arrived.
    Waited {
        /// The frame.
        released_by: u64,
    },
    /// The port is closed, or a firewall rejected the connection.
    PortClosed,
    /// No socket takes the segment that it answers.
    NoSocket,
    /// The kernel refuses the segment that it answers.
    NotAcceptable,
    /// The socket is closed: nobody can read the octets that it answers.
    SocketClosed,
    /// SO_LINGER with a time of zero: close() resets.
    LingerZero,
    /// The socket was closed with octets on their way to it.
    UnreadOnTheWay,
    /// The socket was closed with so many octets unread.
    Unread(u64),
}

/// The kind of call that a segment follows from, though none was watched.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Unwatched {
    /// A connect.
    Connect,
    /// A send or its kin.
    Send,
    /// A close or shutdown.
    Close,
    /// What aborts a connection.
    Abort,
}

/// What is worth saying of a call, where it is not plain from its frames.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Remark {
    /// listen(): nothing goes on the wire, and the kernel answers SYNs from now on.
    KernelAnswersSyns,
    /// A send of 0 octets: no segment.
    EmptySend,
    /// Copies of the closed descriptor remain.
    CopiesRemain,
    /// The socket was open when its process was joined.
    PastUnknown,
    /// SHUT_RD: nothing goes on the wire.
    OnlyReadingEnds,
    /// SO_LINGER with a time of zero was set.
    NextCloseResets,
    /// bind() or listen() failed: the port is taken, and nobody that is watched has it.
    PortTaken,
    /// bind() or listen() failed: it is known who has the port.
    PortHeld {
        /// The port.
        port: u16,
        /// Who has it.
        by: PortHolder,
    },
    /// bind() was to find a port, and there was none.
    NoPortFree,
    /// The SYN was answered with RST.
    Refused,
    /// connect said ECONNREFUSED, and what answered the SYN was not seen.
    RefusedUnseen,
    /// An ICMP error answered the SYN.
    AnsweredByIcmp {
        /// Its frame.
        frame: u64,
        /// What it says.
        kind: IcmpKind,
    },
    /// No SYN was answered.
    SynUnanswered,
    /// Nonblocking: the handshake goes on after the call.
    HandshakeGoesOn,
    /// EPIPE: the connection is closed for sending.
    ClosedForSending,
    /// The peer reset the connection.
    PeerReset,
    /// Nonblocking: nothing to do right now.
    WouldBlock,
    /// The handshake was complete before accept() was called.
    HandshakeWasComplete,
    /// accept() did not say which connection it took, and it can have been no other.
    OnlyOneFits,
    /// recv() of 0: the peer closed its direction.
    PeerClosed {
        /// The frame with its FIN.
        frame: u64,
    },
    /// getsockopt(TCP_INFO): the congestion window.
    CongestionWindow {
        /// Segments.
        cwnd: u32,
        /// Where slow start ends, segments; `None` as long as nothing was lost.
        ssthresh: Option<u32>,
        /// Segments under way.
        unacked: u32,
    },
}

/// Who has a port that another socket could not have.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum PortHolder {
    /// An open socket.
    Socket {
        /// How it has it.
        how: Holding,
        /// The call by which it came to have it so, as long as that is known.
        by: Option<EventId>,
    },
    /// A connection in TIME-WAIT.
    TimeWait {
        /// The connection.
        connection: ConnectionId,
        /// Its end that is in TIME-WAIT.
        side: Side,
        /// Whether SO_REUSEADDR is set on the socket that could not have the port, and was not on that end's.
        reuses: bool,
    },
}

/// How a socket has a port; what comes first is named first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Holding {
    /// It listens there.
    Listening,
    /// It was bound to it, and does not listen.
    Bound,
    /// It is an end of a connection, and was not bound.
    Connected,
}
