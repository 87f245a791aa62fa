//! How a connection ended, in a word: who closed it, and the words that Zeek has for it.

use std::fmt;

use super::Side;

/// Who ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Closer {
    /// The client sent the first FIN, or the RST that ended it.
    Client,
    /// The server did.
    Server,
    /// Both FINs were sent before either was received.
    Both,
}

impl Closer {
    /// Each of them.
    pub const ALL: &'static [Self] = &[Self::Client, Self::Server, Self::Both];

    /// `client`, `server` or `both`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Client => "client",
            Self::Server => "server",
            Self::Both => "both",
        }
    }
}

impl From<Side> for Closer {
    fn from(side: Side) -> Self {
        match side {
            Side::Client => Self::Client,
            Side::Server => Self::Server,
        }
    }
}

/// How a connection ended, as far as the capture shows.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Ending {
    /// Both ends sent a FIN and both were received.
    Fin,
    /// A RST ended it.
    Reset,
    /// The SYN was answered with RST.
    Refused,
    /// The SYN was never answered.
    Unanswered,
    /// One end has closed its direction, the other has not.
    HalfClosed,
    /// Still open.
    Open,
}

impl Ending {
    /// Each of them.
    pub const ALL: &'static [Self] =
        &[Self::Fin, Self::Reset, Self::Refused, Self::Unanswered, Self::HalfClosed, Self::Open];

    /// Its name in every output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fin => "fin",
            Self::Reset => "reset",
            Self::Refused => "refused",
            Self::Unanswered => "unanswered",
            Self::HalfClosed => "half-closed",
            Self::Open => "open",
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Zeek's `conn_state` (base/protocols/conn/main.zeek).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, serde::Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum ConnState {
    /// Attempt seen, no reply.
    S0,
    /// Established, not closed.
    S1,
    /// Normal establishment and close.
    Sf,
    /// Attempt refused.
    Rej,
    /// Established, closed by the originator only.
    S2,
    /// Established, closed by the responder only.
    S3,
    /// Established, reset by the originator.
    Rsto,
    /// Reset by the responder.
    Rstr,
    /// SYN then RST from the originator, no SYN-ACK.
    Rstos0,
    /// SYN-ACK then RST from the responder, no SYN seen.
    Rstrh,
    /// SYN then FIN from the originator, no SYN-ACK.
    Sh,
    /// SYN-ACK then FIN from the responder, no SYN seen.
    Shr,
    /// Midstream.
    Oth,
}

impl ConnState {
    /// Each of them, in the order in which Zeek's documentation lists them.
    pub const ALL: &'static [Self] = &[
        Self::S0,
        Self::S1,
        Self::Sf,
        Self::Rej,
        Self::S2,
        Self::S3,
        Self::Rsto,
        Self::Rstr,
        Self::Rstos0,
        Self::Rstrh,
        Self::Sh,
        Self::Shr,
        Self::Oth,
    ];

    /// Zeek's name for it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::S0 => "S0",
            Self::S1 => "S1",
            Self::Sf => "SF",
            Self::Rej => "REJ",
            Self::S2 => "S2",
            Self::S3 => "S3",
            Self::Rsto => "RSTO",
            Self::Rstr => "RSTR",
            Self::Rstos0 => "RSTOS0",
            Self::Rstrh => "RSTRH",
            Self::Sh => "SH",
            Self::Shr => "SHR",
            Self::Oth => "OTH",
        }
    }
}
