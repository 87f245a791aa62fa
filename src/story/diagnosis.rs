//! What seems wrong with how a program uses its sockets, as facts with the events that prove them; the reports put them into words.

use super::EventId;
use crate::calls::Errno;
use crate::flow::{ConnectionId, Side};
use crate::time::Span;

/// Something that a program does and may not want, with its evidence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Diagnosis {
    /// What it is.
    pub what: Mistake,
    /// The connection; `None` for a socket that has none.
    pub connection: Option<ConnectionId>,
    /// The end that does it.
    pub side: Option<Side>,
    /// The events that prove it, in order of time.
    pub events: Vec<EventId>,
}

/// The kinds of diagnosis, each with the rule by which it is found.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mistake {
    /// A call failed with ENOTSOCK.
    NotASocket {
        /// The descriptor.
        fd: i32,
        /// The descriptor of a socket that the process made before and used in no other call.
        unused: Option<i32>,
    },
    /// A call failed with EBADF on a descriptor that was a socket's, and was closed.
    ClosedDescriptor {
        /// The descriptor.
        fd: i32,
    },
    /// A connect ended with ECONNREFUSED.
    Refused,
    /// A connect ended with ETIMEDOUT.
    ConnectTimedOut {
        /// How many SYNs were seen; `None` where no packets were captured.
        syns: Option<u64>,
    },
    /// A connect found no free port (EADDRNOTAVAIL without a bind before), or a bind that was to find one did not (EADDRINUSE).
    PortsUsedUp {
        /// The name of the call.
        call: &'static str,
    },
    /// A connect by IPv6 said EADDRNOTAVAIL, and no connection to that address is known: the host has no address to connect from, or no port.
    NoLocalAddress,
    /// A close reset the connection, as octets were unread.
    UnreadAtClose {
        /// How many; `None` where they were on their way.
        octets: Option<u64>,
    },
    /// A close reset the connection, as SO_LINGER was set to a time of zero.
    LingerZero,
    /// A send failed with EPIPE, or ECONNRESET.
    SentAfterClose {
        /// How it failed.
        errno: Errno,
    },
    /// A receive returned 0, the process went on with other sockets, and no call closed this one.
    CloseWaitLeak,
    /// Receives of one thread returned 0 on one socket, at least ten times without another call on it between them.
    BusyAtEnd {
        /// How many, at least.
        times: u64,
    },
    /// A process that had sent or received closed a descriptor, and a copy stayed open for at least 10 ms: that of a process that never
    /// sent or received on it, or of the same one. No octet was sent or received any more, and no FIN left until the copy was gone.
    DescriptorKept {
        /// Whether the copy is gone at last.
        closed_at_last: bool,
    },
    /// The end of the process closed the connection, and no call did.
    ClosedByExit,
    /// A bind failed with EADDRINUSE while a connection of this port was in TIME-WAIT.
    PortInTimeWait {
        /// The port.
        port: u16,
        /// The connection.
        holder: ConnectionId,
        /// Whether SO_REUSEADDR is set, and was not on the connection's socket.
        reuses: bool,
    },
    /// A bind or listen failed with EADDRINUSE while a socket that was watched listened on the port.
    PortListenedOn {
        /// The name of the call.
        call: &'static str,
        /// The port.
        port: u16,
    },
    /// A bind failed with EADDRINUSE while a socket that was watched, and did not listen, had the port.
    PortInUse {
        /// The name of the call.
        call: &'static str,
        /// The port.
        port: u16,
        /// Whether that was bound to it; else it has the port for its connection.
        is_bound: bool,
    },
    /// A bind or listen failed with EADDRINUSE, and nobody that was watched has the port.
    PortTaken {
        /// The name of the call.
        call: &'static str,
        /// The port.
        port: u16,
    },
    /// SO_REUSEADDR was set after the socket was bound, where it no longer matters.
    ReuseAddressTooLate,
    /// A thread waited in a call on a socket whose descriptor another thread closed.
    ClosedWhileWaitedOn,
    /// A listening socket was closed before connections whose handshakes were complete were accepted.
    NeverAccepted {
        /// How many.
        connections: u64,
    },
    /// The octets of one send, which would have fitted, came with several receives.
    MessageSplit,
    /// One receive returned octets of several sends.
    MessagesJoined {
        /// Of how many.
        sends: u64,
    },
    /// A send wrote as many octets as a receive had returned before their first zero octet: it was counted with strlen.
    CutAtZero {
        /// How many were received.
        received: u64,
        /// How many were sent.
        sent: u64,
    },
    /// A receive filled its buffer, and the send that begins with the same octets wrote more than that: no zero octet ended them.
    BeyondTheReceived {
        /// How many were received.
        received: u64,
        /// How many were sent.
        sent: u64,
    },
    /// A send wrote text and then nothing but zero octets to the end of its buffer: the buffer was sent, not the text.
    ZerosSent {
        /// How long the text is.
        text: u64,
        /// How many octets were sent.
        sent: u64,
    },
    /// A call that asks for an address was told of room for it that cannot be meant: see [`AddressFlaw`].
    AddressLength {
        /// The name of the call.
        call: &'static str,
        /// What is wrong with the length.
        flaw: AddressFlaw,
        /// The length; `None` where it is concluded that it was negative.
        given: Option<i32>,
    },
    /// SYNs, or the ends of handshakes, were not answered while more connections waited for accept than `listen` had asked for.
    AcceptQueueFull {
        /// What `listen` had asked for.
        backlog: i32,
        /// Less room, which is all that the kernel gave.
        given: Option<u32>,
        /// How many connections had to try again.
        connections: u64,
    },
    /// The window of an end was closed for at least 200 ms: its program did not read.
    ZeroWindowStall {
        /// For how long.
        lasted: Span,
        /// Whether it was opened again.
        opened: bool,
        /// Whether the thread that reads it was in a call on something else meanwhile.
        is_elsewhere: bool,
    },
    /// Octets waited for the acknowledgement of those before (Nagle's algorithm), which the peer held back.
    NagleDelayedAck {
        /// For how long, after the send had returned.
        waited: Span,
    },
    /// The octets of several sends went in one segment.
    SendsMerged {
        /// Of how many.
        sends: u64,
    },
    /// A send took less than it was offered.
    ShortWrite {
        /// How many octets it was offered.
        offered: u64,
        /// How many it took.
        wrote: u64,
    },
    /// An end shut down sending, and received octets afterwards.
    HalfClosed {
        /// How many.
        received: u64,
    },
}

/// What is wrong with the length of an address that a call was told.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum AddressFlaw {
    /// It is negative: the call failed with EINVAL, and had done its work all the same.
    ///
    /// Where the length is not known: a recvfrom that asks for an address failed so, and it has no other reason.
    Negative,
    /// It is less than the address takes, which was cut off.
    Short,
    /// It is 16,384 or more: no address takes that, and no program has so much room for one.
    Huge,
}

/// How much a diagnosis matters.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Weight {
    /// Good to know: TCP does this, and a program must reckon with it.
    Note,
    /// Likely a mistake, or a failure that a program meets.
    Fault,
}

impl Weight {
    /// `note` or `fault`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Note => "note",
            Self::Fault => "fault",
        }
    }
}

impl Diagnosis {
    /// Whether it may be made: where calls are missing, nobody knows what was not called.
    pub(super) fn is_founded(&self, has_all_calls: bool) -> bool {
        has_all_calls || !self.what.takes_all_calls()
    }
}

impl Mistake {
    /// Every name, in the order of the schema.
    pub const NAMES: &'static [&'static str] = &[
        "not_a_socket",
        "closed_descriptor",
        "refused",
        "connect_timed_out",
        "ports_used_up",
        "no_local_address",
        "unread_at_close",
        "linger_zero",
        "sent_after_close",
        "close_wait_leak",
        "busy_at_end",
        "descriptor_kept",
        "closed_by_exit",
        "port_in_time_wait",
        "port_listened_on",
        "port_in_use",
        "port_taken",
        "reuse_address_too_late",
        "closed_while_waited_on",
        "never_accepted",
        "message_split",
        "messages_joined",
        "cut_at_zero",
        "beyond_the_received",
        "zeros_sent",
        "address_length",
        "accept_queue_full",
        "zero_window_stall",
        "nagle_delayed_ack",
        "sends_merged",
        "short_write",
        "half_closed",
    ];

    /// Its name in machine-readable output.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::NotASocket { .. } => "not_a_socket",
            Self::ClosedDescriptor { .. } => "closed_descriptor",
            Self::Refused => "refused",
            Self::ConnectTimedOut { .. } => "connect_timed_out",
            Self::PortsUsedUp { .. } => "ports_used_up",
            Self::NoLocalAddress => "no_local_address",
            Self::UnreadAtClose { .. } => "unread_at_close",
            Self::LingerZero => "linger_zero",
            Self::SentAfterClose { .. } => "sent_after_close",
            Self::CloseWaitLeak => "close_wait_leak",
            Self::BusyAtEnd { .. } => "busy_at_end",
            Self::DescriptorKept { .. } => "descriptor_kept",
            Self::ClosedByExit => "closed_by_exit",
            Self::PortInTimeWait { .. } => "port_in_time_wait",
            Self::PortListenedOn { .. } => "port_listened_on",
            Self::PortInUse { .. } => "port_in_use",
            Self::PortTaken { .. } => "port_taken",
            Self::ReuseAddressTooLate => "reuse_address_too_late",
            Self::ClosedWhileWaitedOn => "closed_while_waited_on",
            Self::NeverAccepted { .. } => "never_accepted",
            Self::MessageSplit => "message_split",
            Self::MessagesJoined { .. } => "messages_joined",
            Self::CutAtZero { .. } => "cut_at_zero",
            Self::BeyondTheReceived { .. } => "beyond_the_received",
            Self::ZerosSent { .. } => "zeros_sent",
            Self::AddressLength { .. } => "address_length",
            Self::AcceptQueueFull { .. } => "accept_queue_full",
            Self::ZeroWindowStall { .. } => "zero_window_stall",
            Self::NagleDelayedAck { .. } => "nagle_delayed_ack",
            Self::SendsMerged { .. } => "sends_merged",
            Self::ShortWrite { .. } => "short_write",
            Self::HalfClosed { .. } => "half_closed",
        }
    }

    /// Whether it is concluded from calls that were not made.
    const fn takes_all_calls(&self) -> bool {
        matches!(
            self,
            Self::CloseWaitLeak
                | Self::DescriptorKept { .. }
                | Self::ClosedByExit
                | Self::PortTaken { .. }
                | Self::ClosedWhileWaitedOn
                | Self::NeverAccepted { .. }
                | Self::AddressLength { given: None, .. }
                | Self::AcceptQueueFull { .. }
        )
    }

    /// How much it matters.
    pub const fn weight(&self) -> Weight {
        match self {
            Self::ClosedByExit
            | Self::MessageSplit
            | Self::MessagesJoined { .. }
            | Self::ZerosSent { .. }
            | Self::SendsMerged { .. }
            | Self::ShortWrite { .. }
            | Self::HalfClosed { .. }
            | Self::AddressLength { flaw: AddressFlaw::Huge, .. } => Weight::Note,
            _ => Weight::Fault,
        }
    }
}
