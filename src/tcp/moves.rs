//! The steps of an end's machine: by which rule it goes from one state to the next, and what a state rests on.

use super::State;

/// What a state rests on.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// A segment of that end proves it.
    Sent,
    /// A witness in the kernel says it.
    Kernel,
    /// A segment is believed to have arrived.
    Assumed,
}

impl Basis {
    /// Each of them.
    pub const ALL: &'static [Self] = &[Self::Sent, Self::Kernel, Self::Assumed];

    /// Its name in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Kernel => "kernel",
            Self::Assumed => "assumed",
        }
    }
}

/// A step of an end's machine from one state to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The state it left; `None` when it was not known.
    pub from: Option<State>,
    /// The state it entered; with a rule that [is a correction](Rule::is_correction), the state in which it still was.
    pub to: State,
    /// The arm of the machine that moved it.
    pub rule: Rule,
}

/// The moves that one segment causes at one end: mostly none, one or two.
pub type Moves = [Option<Move>; 4];

macro_rules! rules {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// The arms of the machine; numbers are sections of RFC 9293.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Rule { $($(#[$doc])* $variant,)* }

        impl Rule {
            /// Every arm.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its short name.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

rules! {
    /// listen() makes the socket wait for connections (3.10.1).
    PassiveOpen = "passive-open",
    /// close() of a listening socket ends the waiting (3.10.4).
    ListenerClosed = "listener-closed",
    /// The end sends a SYN: connect() asked for it (3.10.1).
    ActiveOpen = "active-open",
    /// A listening end takes a SYN and answers with SYN-ACK, which shows that it did (3.10.7.2).
    SynTaken = "syn-taken",
    /// A SYN arrives while the end's own SYN is unanswered: the SYNs crossed (3.10.7.3).
    SimultaneousOpen = "simultaneous-open",
    /// A SYN-ACK acknowledges the end's SYN: connect() can return (3.10.7.3).
    SynAckTaken = "syn-ack-taken",
    /// The ACK of the end's SYN ends the handshake: accept() can return (3.10.7.4).
    SynAcked = "syn-acked",
    /// The end goes on as only an open one does: what opened it was not captured.
    AckUnseen = "ack-unseen",
    /// The end answers a SYN with RST: the port is closed (3.10.7.1).
    Refused = "refused",
    /// A RST answers the end's SYN: connect() fails with ECONNREFUSED (3.10.7.3).
    ConnectRefused = "connect-refused",
    /// A RST ends a half-open connection: the passive end listens again (3.10.7.4).
    HandshakeReset = "handshake-reset",
    /// The end sends its FIN first: close() or shutdown() asked for it (3.10.4).
    CloseSent = "close-sent",
    /// The end sends its FIN after it received the peer's (3.10.4).
    CloseAnswered = "close-answered",
    /// The ACK of the end's FIN arrives; the peer may still send (3.10.7.4).
    FinAcked = "fin-acked",
    /// The peer's FIN arrives in sequence: recv() returns 0 after the last octet (3.10.7.4).
    FinTaken = "fin-taken",
    /// The peer's FIN arrives while the end's own FIN is unacknowledged: the FINs crossed (3.10.7.4).
    FinsCrossed = "fins-crossed",
    /// The peer's FIN arrives after the end's own was acknowledged: the active closer waits 2 MSL (3.10.7.4).
    LastFinTaken = "last-fin-taken",
    /// The ACK of the end's FIN arrives after the FINs crossed: the end waits 2 MSL (3.10.7.4).
    CrossedFinAcked = "crossed-fin-acked",
    /// The ACK of the end's FIN arrives, and the peer had closed before: the end is done (3.10.7.4).
    LastAck = "last-ack",
    /// A RST in the window ends the connection at once (3.10.7.4).
    Reset = "reset",
    /// The end sends RST and forgets the connection (3.10.5).
    Aborted = "aborted",
    /// The TIME-WAIT timer ran out, and the kernel removed the socket (3.10.8).
    TimeWaitOver = "time-wait-over",
    /// A new SYN on the same 4-tuple ends TIME-WAIT before its time: its sequence number or timestamp lies past the old ones (3.10.7.4).
    TimeWaitReused = "time-wait-reused",
    /// The kernel has no socket in TIME-WAIT for it, long before the time is over: it kept none, or removed it early.
    TimeWaitNotKept = "time-wait-not-kept",
    /// The kernel reports a state that no captured segment shows.
    Witnessed = "witnessed",
    /// A later segment of the end shows that what was believed to have reached it had not: it still was in the state before.
    NotArrived = "not-arrived",
    /// The end goes on after the RST or the FIN that was believed to be its last: it was not closed.
    WentOn = "went-on",
    /// The end sent octets and took octets: it is open, though its handshake was not captured.
    OpenBothWays = "open-both-ways",
}

impl Rule {
    /// Whether it takes steps back that had been believed, instead of making one.
    pub const fn is_correction(self) -> bool {
        matches!(self, Self::NotArrived | Self::WentOn)
    }
}

/// Collects the moves of one segment; one that does not fit in replaces the last, and no segment causes so many.
#[derive(Default)]
pub(super) struct MoveList(pub(super) Moves);

impl MoveList {
    pub(super) fn push(&mut self, step: Move) {
        match self.0.iter_mut().find(|slot| slot.is_none()) {
            Some(slot) => *slot = Some(step),
            None => {
                if let Some(Some(last)) = self.0.last_mut() {
                    *last = Move { from: last.from, ..step };
                }
            }
        }
    }
}
