//! The rules that join two events, and what a kernel does without being asked.

/// The rules that join two events; each has a name and a sentence.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Join {
    /// A `connect` and the SYN it sent: the same 4-tuple, the SYN within the call's interval.
    Connect,
    /// A send and a segment that carries some of its octets: their stream positions overlap.
    Octets,
    /// A `shutdown`, `close` or exit and the FIN that it made the kernel send, after the last octet of the send buffer.
    Close,
    /// A `close` (or exit) and the RST that it made the kernel send: octets were unread, or SO_LINGER was zero.
    Abort,
    /// A segment and a receive that took octets that it brought: their stream positions overlap.
    Delivery,
    /// A segment and the call that it let return: SYN-ACK and `connect`, the end of the handshake and `accept`, FIN and a `recv` of 0, RST and an error.
    Return,
    /// A receive and the window update that tells of the room it made.
    Room,
    /// A segment and what the kernel sent because of it.
    Kernel(Mechanism),
    /// A frame and its copy: they are one transmission, seen twice.
    SameFrame,
    /// A call, segment or timer, and the transition that it moved an end by.
    Transition,
    /// A call, and the timer that runs because of it.
    Timer,
    /// A segment, and the ICMP error that quotes it: the same addresses, ports and number.
    Quotation,
    /// A segment, and what the link did with it: the same addresses and header.
    Link,
}

impl Join {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::Octets => "octets",
            Self::Close => "close",
            Self::Abort => "abort",
            Self::Delivery => "delivery",
            Self::Return => "return",
            Self::Room => "room",
            Self::Kernel(mechanism) => mechanism.name(),
            Self::SameFrame => "same_frame",
            Self::Transition => "transition",
            Self::Timer => "timer",
            Self::Quotation => "quotation",
            Self::Link => "link",
        }
    }
}

/// What a kernel does without being asked by a call.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Mechanism {
    /// Answers a SYN on a listening socket, and a SYN-ACK: the handshake is completed before accept.
    Handshake,
    /// Acknowledges at once.
    Ack,
    /// Acknowledges at once again: octets came out of order (RFC 5681 section 4.2).
    OutOfOrderAck,
    /// Answers a RST or SYN that may be forged (RFC 5961).
    ChallengeAck,
    /// Acknowledges after the delayed-ACK timer ran out (RFC 9293 section 3.8.6.3).
    DelayedAck,
    /// Sends again because the retransmission timer ran out (RFC 6298).
    RetransmissionTimeout,
    /// Sends the last segment again to provoke an acknowledgement (RFC 8985 section 7).
    TailLossProbe,
    /// Sends again because duplicate acknowledgements or SACK told of a loss (RFC 5681, RFC 8985).
    FastRetransmit,
    /// Sends again what a loss, a refusal or a closed window left out; no timer ran out.
    Recovery,
    /// Asks whether an idle peer is still there.
    KeepAlive,
    /// Asks whether a zero window has opened.
    ZeroWindowProbe,
    /// Tells of room that a read made.
    WindowUpdate,
    /// Answers a segment for which there is no socket, or that a closed socket cannot take.
    Reset,
    /// Closes the sockets of a process that ended.
    Exit,
    /// Not known: no call was watched and no mechanism fits.
    Unknown,
}

impl Mechanism {
    /// Each of them.
    pub const ALL: &'static [Self] = &[
        Self::Handshake,
        Self::Ack,
        Self::OutOfOrderAck,
        Self::ChallengeAck,
        Self::DelayedAck,
        Self::RetransmissionTimeout,
        Self::TailLossProbe,
        Self::FastRetransmit,
        Self::Recovery,
        Self::KeepAlive,
        Self::ZeroWindowProbe,
        Self::WindowUpdate,
        Self::Reset,
        Self::Exit,
        Self::Unknown,
    ];

    /// Whether an acknowledgement number or the 4-tuple joins it to the segment that it answers; all others are concluded by a rule.
    pub const fn is_joined(self) -> bool {
        matches!(self, Self::Handshake | Self::Ack | Self::OutOfOrderAck | Self::ChallengeAck | Self::Reset)
    }

    /// Its name in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Handshake => "handshake",
            Self::Ack => "ack",
            Self::OutOfOrderAck => "out_of_order_ack",
            Self::ChallengeAck => "challenge_ack",
            Self::DelayedAck => "delayed_ack",
            Self::RetransmissionTimeout => "retransmission_timeout",
            Self::TailLossProbe => "tail_loss_probe",
            Self::FastRetransmit => "fast_retransmit",
            Self::Recovery => "recovery",
            Self::KeepAlive => "keep_alive",
            Self::ZeroWindowProbe => "zero_window_probe",
            Self::WindowUpdate => "window_update",
            Self::Reset => "reset",
            Self::Exit => "exit",
            Self::Unknown => "unknown",
        }
    }
}
