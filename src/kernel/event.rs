//! What the kernel itself tells of a socket: changes of state, retransmissions, the congestion state, resets with their reasons, probes.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::tcp::State;
use crate::time::{Clock, Timestamp};

/// Something that the kernel did with a socket, told by the kernel (tracepoints of `sock:` and `tcp:`).
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct KernelEvent {
    /// When, on the wall clock.
    pub at: Timestamp,
    /// The clock by which the kernel stamped it; `at` is what that makes on the wall clock, give or take its error.
    pub clock: Clock,
    /// The socket's own address; its port is 0 where it has none yet, as when it leaves CLOSED for SYN-SENT.
    pub local: SocketAddr,
    /// Its peer's; unspecified where it has none.
    pub peer: SocketAddr,
    /// Which socket; `None` where none is involved, as with the RST for a segment that no socket wants.
    pub socket: Option<KernelSocket>,
    /// What happened.
    pub what: KernelAct,
}

/// The address of a socket in the kernel: the same number is the same socket until it is freed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct KernelSocket(pub u64);

/// What the kernel did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum KernelAct {
    /// It changed the socket's state (`sock:inet_sock_set_state`).
    ///
    /// The active closer goes from FIN-WAIT-2 to CLOSED here, because TIME-WAIT is another, smaller socket; the passive
    /// end is in SYN-RECEIVED only from the last ACK of the handshake on, because a request is not yet a socket.
    State {
        /// What it was in.
        from: State,
        /// What it is in now.
        to: State,
    },
    /// It sent a segment again (`tcp:tcp_retransmit_skb`), or a SYN-ACK (`tcp:tcp_retransmit_synack`).
    Retransmit {
        /// The socket's state at that.
        state: State,
    },
    /// It went on sending in another way, or began again to repair a loss (`tcp:tcp_cong_state_set`).
    Congestion {
        /// In which.
        to: Congestion,
    },
    /// It sent a RST (`tcp:tcp_send_reset`).
    ResetSent {
        /// Why; `None` where the kernel is too old to say.
        reason: Option<ResetReason>,
    },
    /// It took a RST that counts (`tcp:tcp_receive_reset`).
    ResetReceived,
    /// What it knew of the path as it took a segment (`tcp:tcp_probe`).
    Probe {
        /// The congestion window, in segments.
        snd_cwnd: u32,
        /// The slow-start threshold, in segments.
        ssthresh: u32,
        /// The window that the peer offered, in octets.
        snd_wnd: u32,
        /// The smoothed round-trip time, in microseconds.
        srtt_us: u32,
    },
    /// It freed the socket (`tcp:tcp_destroy_sock`).
    Destroyed,
}

/// In which way the kernel sends: the congestion state of a socket (`enum tcp_ca_state`, include/uapi/linux/tcp.h).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Congestion {
    /// Nothing is amiss.
    Open,
    /// Duplicate acknowledgements or SACK came, and no loss has been concluded from them.
    Disorder,
    /// The window is being reduced because congestion was marked, or the host's own queue was full.
    Cwr,
    /// A loss that was reported is being repaired.
    Recovery,
    /// The retransmission timer ran out, or the path turned out to take shorter packets: what was not acknowledged is being repaired.
    Loss,
}

impl Congestion {
    /// The state that has that number in Linux.
    pub const fn from_linux(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Open,
            1 => Self::Disorder,
            2 => Self::Cwr,
            3 => Self::Recovery,
            4 => Self::Loss,
            _ => return None,
        })
    }
}

/// Why the kernel sent a RST, by the names of include/net/rstreason.h without `SK_RST_REASON_`.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ResetReason {
    /// Nothing listens there, and there is no such connection.
    NoSocket,
    /// An acknowledgement that answers no SYN cookie or request.
    TcpInvalidAckSequence,
    /// The timestamp is older than one that was taken (PAWS).
    #[serde(rename = "TCP_RFC7323_PAWS")]
    TcpRfc7323Paws,
    /// The acknowledgement is of octets from before the window.
    TcpTooOldAck,
    /// The acknowledgement is of octets that were never sent.
    TcpAckUnsentData,
    /// Flags that do not fit the state.
    TcpFlags,
    /// The acknowledgement is old, in SYN-RECEIVED.
    TcpOldAck,
    /// Octets came for a socket that its program has closed.
    TcpAbortOnData,
    /// A SYN or another segment reached a socket in TIME-WAIT that cannot take it.
    TcpTimewaitSocket,
    /// A SYN in the window of an open connection.
    InvalidSyn,
    /// The program closed with octets unread.
    TcpAbortOnClose,
    /// The program closed with SO_LINGER 0.
    TcpAbortOnLinger,
    /// There was no memory for a socket without a program.
    TcpAbortOnMemory,
    /// The state did not allow the segment.
    TcpState,
    /// The peer answered no keep-alive.
    TcpKeepaliveTimeout,
    /// The program disconnected with octets unsent.
    TcpDisconnectWithData,
    /// The kernel does not say.
    NotSpecified,
    /// Another one: its name.
    #[serde(untagged)]
    Other(String),
}

impl ResetReason {
    /// The reason of that name; one that is not known is another one.
    pub fn named(name: &str) -> Self {
        use serde::de::{IntoDeserializer, value};
        Self::deserialize(IntoDeserializer::<value::Error>::into_deserializer(name))
            .unwrap_or_else(|_| Self::Other(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{ClockId, Span};

    #[test]
    fn an_event_is_written_and_read_back() {
        let clock = Clock { id: ClockId::Tai, offset: Span(-37_000_000_000), error: Span(40) };
        let event = |what| KernelEvent {
            at: clock.moment(37_000_000_001),
            clock,
            local: "127.0.0.1:0".parse().unwrap(),
            peer: "[::1]:80".parse().unwrap(),
            socket: Some(KernelSocket(0xffff_8880_0000_0001)),
            what,
        };
        let acts = [
            (
                KernelAct::State { from: State::Closed, to: State::SynSent },
                r#""what":"state","from":"CLOSED","to":"SYN-SENT""#,
            ),
            (KernelAct::Retransmit { state: State::Established }, r#""what":"retransmit","state":"ESTABLISHED""#),
            (KernelAct::Congestion { to: Congestion::Loss }, r#""what":"congestion","to":"loss""#),
            (KernelAct::ResetSent { reason: Some(ResetReason::TcpAbortOnClose) }, r#""reason":"TCP_ABORT_ON_CLOSE""#),
            (KernelAct::ResetSent { reason: Some(ResetReason::TcpRfc7323Paws) }, r#""reason":"TCP_RFC7323_PAWS""#),
            (
                KernelAct::ResetSent { reason: Some(ResetReason::Other("MPTCP_RST_EMPTCP".into())) },
                r#""reason":"MPTCP_RST_EMPTCP""#,
            ),
            (KernelAct::ResetSent { reason: None }, r#""what":"reset_sent","reason":null"#),
            (KernelAct::ResetReceived, r#""what":"reset_received""#),
            (
                KernelAct::Probe { snd_cwnd: 10, ssthresh: u32::MAX, snd_wnd: 65_535, srtt_us: 48 },
                r#""ssthresh":4294967295"#,
            ),
            (KernelAct::Destroyed, r#""what":"destroyed""#),
        ];
        for (act, expected) in acts {
            let event = event(act);
            let line = serde_json::to_string(&event).unwrap();
            assert!(line.contains(expected), "{line}");
            assert!(line.contains(r#""clock":{"id":"tai","offset":-37000000000,"error":40}"#), "{line}");
            assert_eq!(serde_json::from_str::<KernelEvent>(&line).unwrap(), event);
        }
    }
}
