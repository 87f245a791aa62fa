//! The eleven states of a connection's end.

use std::fmt;

/// A state of one end (RFC 9293 section 3.3.2).
///
/// An end whose state cannot be known, because the capture began in midstream, is `None` in an `Option<State>`: unknown is not a state.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum State {
    /// No connection.
    Closed,
    /// Waiting for a connection request.
    Listen,
    /// A SYN was sent.
    SynSent,
    /// A SYN was received and one was sent.
    SynReceived,
    /// Open: data flows both ways.
    Established,
    /// A FIN was sent and is not yet acknowledged.
    FinWait1,
    /// The FIN sent was acknowledged; the peer may still send.
    FinWait2,
    /// The peer's FIN was received; this end may still send.
    CloseWait,
    /// FINs crossed: both were sent, ours is not yet acknowledged.
    Closing,
    /// The peer closed first, our FIN was sent and is not yet acknowledged.
    LastAck,
    /// Both FINs were acknowledged; the active closer waits for old duplicates to die.
    TimeWait,
}

impl State {
    /// All states in the order RFC 9293 names them.
    pub const ALL: [Self; 11] = [
        Self::Listen,
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::FinWait1,
        Self::FinWait2,
        Self::CloseWait,
        Self::Closing,
        Self::LastAck,
        Self::TimeWait,
        Self::Closed,
    ];

    /// The name as RFC 9293 prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "CLOSED",
            Self::Listen => "LISTEN",
            Self::SynSent => "SYN-SENT",
            Self::SynReceived => "SYN-RECEIVED",
            Self::Established => "ESTABLISHED",
            Self::FinWait1 => "FIN-WAIT-1",
            Self::FinWait2 => "FIN-WAIT-2",
            Self::CloseWait => "CLOSE-WAIT",
            Self::Closing => "CLOSING",
            Self::LastAck => "LAST-ACK",
            Self::TimeWait => "TIME-WAIT",
        }
    }

    /// The state that Linux numbers so (include/net/tcp_states.h); `None` for a number that is not a state of RFC 9293.
    ///
    /// `TCP_NEW_SYN_RECV` (12), a request socket, is SYN-RECEIVED.
    pub const fn from_linux(number: u8) -> Option<Self> {
        Some(match number {
            1 => Self::Established,
            2 => Self::SynSent,
            3 | 12 => Self::SynReceived,
            4 => Self::FinWait1,
            5 => Self::FinWait2,
            6 => Self::TimeWait,
            7 => Self::Closed,
            8 => Self::CloseWait,
            9 => Self::LastAck,
            10 => Self::Listen,
            11 => Self::Closing,
            _ => return None,
        })
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl serde::Serialize for State {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> serde::Deserialize<'de> for State {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = <std::borrow::Cow<'_, str>>::deserialize(deserializer)?;
        Self::ALL
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| serde::de::Error::custom("not a state of RFC 9293"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_has_its_linux_number() {
        let known: Vec<_> = (0..=12).filter_map(State::from_linux).collect();
        for state in State::ALL {
            assert!(known.contains(&state), "{state}");
        }
        assert_eq!(State::from_linux(0), None);
        assert_eq!(State::from_linux(13), None);
    }
}
