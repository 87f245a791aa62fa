//! How a connection ended: in a word, and as a code with its facts.

use super::{Closer, Ending, Side};
use crate::tcp::{Direction, State, Stream};
use crate::time::Span;

/// How a connection ended or stands, and what that rests on: a code with its facts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// Both ends sent a FIN, one after the other.
    Closed {
        /// The end that sent the first FIN.
        first: Side,
        /// What was left of it.
        left: Left,
    },
    /// Both ends sent a FIN before they had received the other's.
    ClosedTogether {
        /// Whether the client, and the server, is in TIME-WAIT.
        waiting: [bool; 2],
    },
    /// The client completed the handshake and closed at once, and neither end sent an octet.
    Probe {
        /// What it closed with.
        by: ProbeEnd,
        /// From the first segment to the last; less than a second.
        lasted: Span,
    },
    /// One end sent a FIN, the other did not.
    HalfClosed {
        /// The end that sent it.
        by: Side,
        /// Whether the other end is in CLOSE-WAIT.
        in_close_wait: bool,
    },
    /// An end acknowledged more than was captured of the other, behind all that was, or that one sent no octets since the capture began
    /// amid the connection: whether it closed is not known.
    CloseUnseen {
        /// The end that sent a FIN; `None` where none was captured.
        by: Option<Side>,
        /// The end of which something is missing.
        of: Side,
        /// How many numbers lie beyond what was captured; a FIN takes one. 0: it may have closed before the capture began.
        beyond: u32,
    },
    /// The SYN was answered with RST.
    Refused,
    /// A RST ended it.
    Reset {
        /// The end that sent it.
        by: Side,
        /// What it meant.
        kind: ResetKind,
    },
    /// No SYN was answered.
    Unanswered {
        /// How many there were.
        syns: u64,
        /// From the first to the last; `None` for a single one, or where the capture does not say.
        lasted: Option<Span>,
        /// What came back that is no answer.
        instead: Option<Instead>,
    },
    /// Nothing but RSTs was captured.
    OnlyResets,
    /// Nothing but SYNs with RST was captured.
    OnlySynsWithReset,
    /// Of one direction no segment was captured, so nobody knows how that end stands.
    OneDirection {
        /// The end whose segments were captured.
        captured: Side,
        /// Whether it sent a FIN.
        closed: bool,
        /// Whether it ended the connection with a RST.
        reset: bool,
    },
    /// Open, and neither its beginning nor its end was captured.
    Midstream,
    /// Open: both ends are in ESTABLISHED.
    Established,
    /// The kernel of one end has closed its socket and sent nothing that says so: a witness there says it.
    GivenUp {
        /// That end.
        by: Side,
    },
    /// Its end was not captured: the kernel has no socket of it any more, but for TIME-WAIT.
    Gone,
    /// The SYN was answered, and the end of the handshake was not captured.
    HandshakeUnfinished,
    /// Nobody had closed when the capture ended.
    Open,
}

/// What came from the server in place of an answer to the SYN, which the client does not take for one (RFC 9293 section 3.10.7.3).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Instead {
    /// RSTs that do not acknowledge the SYN.
    Reset,
    /// Acknowledgements of something else: probably the server has an older connection with these ports.
    Ack,
    /// Segments with a wrong checksum.
    Damaged,
}

impl Instead {
    /// Its name in machine-readable output.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::Ack => "ack",
            Self::Damaged => "damaged",
        }
    }
}

/// How a client ends a connection of which it only wanted to know whether it can be opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ProbeEnd {
    /// With a FIN, which the server answered with its own.
    Fin,
    /// With a RST.
    Reset,
}

/// What is left of a connection that both ends closed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Left {
    /// The end that closed first is in TIME-WAIT.
    TimeWait,
    /// The other end is in LAST-ACK: the last ACK was not captured.
    LastAck,
    /// Nothing that is known.
    Nothing,
}

/// How the connection's end came about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closing {
    /// Who sent the first FIN.
    pub(super) first_fin: Option<Direction>,
    /// The RST that ended it.
    pub(super) reset: Option<Reset>,
    pub(super) course: Course,
}

bitflags::bitflags! {
    /// What came after the first FIN.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Course: u8 {
        /// The peer has sent its FIN, too.
        const SECOND_FIN = 1;
        /// That one was sent before the first was received.
        const CROSSED = 2;
        /// Octets went in the first direction to an end that had sent its FIN.
        const FIRST_INTO_CLOSED = 4;
        /// Octets went in the second direction to an end that had sent its FIN.
        const SECOND_INTO_CLOSED = 8;
        /// Nothing but late segments is to be expected any more: both FINs were sent, or a RST that its receiver heeds.
        const CLOSED = 16;
        /// The capture began again from the first segment, with the same times.
        const REPLAYED = 32;
    }
}

impl Closing {
    /// Whether a FIN or a RST has begun it, so that what follows may matter.
    pub(super) fn is_begun(&self) -> bool {
        self.first_fin.is_some() || self.reset.is_some()
    }
}

impl Course {
    /// Octets went in this direction to an end that had sent its FIN.
    pub(super) fn into_closed(direction: Direction) -> Self {
        match direction {
            Direction::First => Self::FIRST_INTO_CLOSED,
            Direction::Second => Self::SECOND_INTO_CLOSED,
        }
    }
}

/// The RST that ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reset {
    pub(super) by: Direction,
    pub(super) kind: ResetKind,
}

/// What a RST meant when it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ResetKind {
    /// It answered a SYN.
    Refusal,
    /// The handshake was not complete.
    HalfOpen,
    /// The same, by the client, where the server had sent more than one SYN-ACK.
    HalfOpenOfTwo,
    /// Its sender had sent a FIN, and the peer sent octets after that.
    OctetsAfterClose,
    /// Its sender had sent a FIN.
    AfterOwnFin,
    /// Only the peer had sent a FIN.
    AfterPeersFin,
    /// The same, where the peer had sent no octet.
    AfterEmptyFin,
    /// Neither end had closed, and the last segment was a keep-alive of its sender.
    KeepAlivesUnanswered,
    /// Neither end had closed; it has ACK, as the abort of a socket has.
    Abort,
    /// The same, where the peer had sent no octet.
    AbortOfEmpty,
    /// Its sender went on, so that it was probably not the sender.
    Forged,
    /// Neither end had closed; it has no ACK, as the answer to a segment for which there is no socket.
    NoConnection,
}

impl Verdict {
    /// Every code, in the order of the schema.
    pub const CODES: &'static [&'static str] = &[
        "closed",
        "closed_together",
        "probe",
        "half_closed",
        "close_unseen",
        "refused",
        "reset_in_handshake",
        "reset_octets_after_close",
        "reset_after_own_fin",
        "reset_after_peers_fin",
        "reset_keep_alives_unanswered",
        "reset_abort",
        "reset_no_connection",
        "reset_forged",
        "unanswered",
        "only_resets",
        "only_syns_with_reset",
        "one_direction",
        "midstream",
        "established",
        "given_up",
        "gone",
        "handshake_unfinished",
        "open",
    ];

    /// Its name in machine-readable output.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Closed { .. } => "closed",
            Self::ClosedTogether { .. } => "closed_together",
            Self::Probe { .. } => "probe",
            Self::HalfClosed { .. } => "half_closed",
            Self::CloseUnseen { .. } => "close_unseen",
            Self::Refused | Self::Reset { kind: ResetKind::Refusal, .. } => "refused",
            Self::Reset { kind: ResetKind::HalfOpen | ResetKind::HalfOpenOfTwo, .. } => "reset_in_handshake",
            Self::Reset { kind: ResetKind::OctetsAfterClose, .. } => "reset_octets_after_close",
            Self::Reset { kind: ResetKind::AfterOwnFin, .. } => "reset_after_own_fin",
            Self::Reset { kind: ResetKind::AfterPeersFin | ResetKind::AfterEmptyFin, .. } => "reset_after_peers_fin",
            Self::Reset { kind: ResetKind::KeepAlivesUnanswered, .. } => "reset_keep_alives_unanswered",
            Self::Reset { kind: ResetKind::Abort | ResetKind::AbortOfEmpty, .. } => "reset_abort",
            Self::Reset { kind: ResetKind::NoConnection, .. } => "reset_no_connection",
            Self::Reset { kind: ResetKind::Forged, .. } => "reset_forged",
            Self::Unanswered { .. } => "unanswered",
            Self::OnlyResets => "only_resets",
            Self::OnlySynsWithReset => "only_syns_with_reset",
            Self::OneDirection { .. } => "one_direction",
            Self::Midstream => "midstream",
            Self::Established => "established",
            Self::GivenUp { .. } => "given_up",
            Self::Gone => "gone",
            Self::HandshakeUnfinished => "handshake_unfinished",
            Self::Open => "open",
        }
    }
}

/// What a verdict stands on; arrays hold the client's first.
pub(super) struct Facts<'a> {
    pub(super) streams: [&'a Stream; 2],
    pub(super) states: [Option<State>; 2],
    /// Which of them sent a FIN that counts.
    pub(super) closed: [bool; 2],
    /// The direction of the client's segments.
    pub(super) client: Direction,
    pub(super) closing: Closing,
    pub(super) completeness: u8,
    pub(super) lasted: Option<Span>,
    pub(super) midstream: bool,
    /// Whether both ends have the same address and port.
    pub(super) is_one_end: bool,
    /// How many of the client's segments are copies of frames that were captured before.
    pub(super) copies: u64,
    /// How many of the server's segments have a wrong checksum.
    pub(super) damaged: u64,
}

impl Facts<'_> {
    /// How it ended.
    pub(super) fn ending(&self) -> Ending {
        let closed = self.closed;
        match self.closing.reset {
            Some(Reset { kind: ResetKind::Refusal, .. }) => Ending::Refused,
            Some(_) => Ending::Reset,
            None if closed == [true; 2] => Ending::Fin,
            // Of an end of which nothing was captured nobody knows whether it closed.
            None if self.streams.iter().any(|stream| stream.segments() == 0) && !self.is_only_syns() => Ending::Open,
            None if closed != [false; 2] => Ending::HalfClosed,
            None if self.is_only_syns() || self.instead().is_some() => Ending::Unanswered,
            None => Ending::Open,
        }
    }

    /// What the server sent in place of an answer to the SYN, if the client still waits for one.
    fn instead(&self) -> Option<Instead> {
        let [client, server] = self.streams;
        let waits = client.isn().is_some()
            && self.states[0] == Some(State::SynSent)
            && server.isn().is_none()
            && server.segments() > 0
            && server.octets() == 0
            && !self.is_one_end;
        let only_resets = server.segments() == u64::from(server.resets());
        waits.then_some(match (server.segments() == self.damaged, only_resets) {
            (true, _) => Instead::Damaged,
            (false, true) => Instead::Reset,
            (false, false) => Instead::Ack,
        })
    }

    fn is_only_syns(&self) -> bool {
        let [client, server] = self.streams;
        client.isn().is_some()
            && server.segments() == 0
            && client.segments() & 0xff == u64::from(client.syns())
            && client.resets() == 0
    }

    /// Who ended it: the sender of the RST that did, or of the first FIN.
    pub(super) fn closed_by(&self) -> Option<Closer> {
        match (self.closing.reset, self.closing.first_fin) {
            (Some(reset), _) => Some(self.side(reset.by).into()),
            (None, Some(_)) if self.closing.course.contains(Course::CROSSED) => Some(Closer::Both),
            (None, Some(first)) => Some(self.side(first).into()),
            (None, None) => None,
        }
    }

    /// How it ended, with what that rests on.
    pub(super) fn verdict(&self) -> Verdict {
        if let Some(probe) = self.probe() {
            return probe;
        }
        match (self.ending(), self.closing.reset) {
            (Ending::Fin, _) => self.closed(),
            (Ending::HalfClosed, _) => {
                let by = self.first_fin();
                if let Some(beyond) = self.unseen_of(by.peer()) {
                    return Verdict::CloseUnseen { by: Some(by), of: by.peer(), beyond };
                }
                // Its FIN may have been acknowledged before the capture began.
                if self.midstream && !self.is_one_end && self.streams[by.peer() as usize].octets() == 0 {
                    return Verdict::CloseUnseen { by: Some(by), of: by.peer(), beyond: 0 };
                }
                let in_close_wait = self.states[by.peer() as usize] == Some(State::CloseWait);
                Verdict::HalfClosed { by, in_close_wait }
            }
            (Ending::Reset, Some(reset)) => {
                let by = self.side(reset.by);
                if reset.kind != ResetKind::Forged && self.is_alone(by) {
                    return Verdict::OneDirection { captured: by, closed: self.closed[by as usize], reset: true };
                }
                // Where the peer sent no octet, none was left unread.
                let has_unread = self.midstream || self.streams[by.peer() as usize].octets() > 0;
                let kind = match reset.kind {
                    ResetKind::HalfOpen if by == Side::Client && self.streams[1].syns() > 1 => ResetKind::HalfOpenOfTwo,
                    ResetKind::Abort if !has_unread => ResetKind::AbortOfEmpty,
                    ResetKind::AfterPeersFin if !has_unread => ResetKind::AfterEmptyFin,
                    kind => kind,
                };
                Verdict::Reset { by, kind }
            }
            (Ending::Refused | Ending::Reset, _) => Verdict::Refused,
            (Ending::Unanswered, _) => {
                let client = self.streams[0];
                let resets = u64::from(client.resets());
                let syns = client.segments().saturating_sub(self.copies).saturating_sub(resets);
                // What came back after the last SYN does not count.
                let since =
                    self.streams[1].last_at().zip(client.last_at()).map_or(Span(0), |(last, syn)| last.since(syn));
                let lasted = self.lasted.map(|lasted| Span(lasted.as_nanos().saturating_sub(since.as_nanos().max(0))));
                Verdict::Unanswered { syns, lasted: lasted.filter(|_| syns > 1), instead: self.instead() }
            }
            (Ending::Open, _) => self.open(),
        }
    }

    /// A connection that the client opened and closed at once, in which neither end sent an octet.
    fn probe(&self) -> Option<Verdict> {
        let is_empty =
            self.streams.iter().all(|stream| stream.octets() == 0) && self.completeness & HANDSHAKE == HANDSHAKE;
        let lasted = self.lasted.filter(|lasted| is_empty && (Span(0)..AT_ONCE).contains(lasted))?;
        let by = match (self.ending(), self.closing.reset) {
            (Ending::Fin, _) if self.first_fin() == Side::Client => ProbeEnd::Fin,
            (Ending::Reset, Some(Reset { by, kind: ResetKind::Abort })) if by == self.client => ProbeEnd::Reset,
            _ => return None,
        };
        let crossed = self.closing.course.contains(Course::CROSSED);
        (!crossed && !self.midstream && !self.is_one_end).then_some(Verdict::Probe { by, lasted })
    }

    fn closed(&self) -> Verdict {
        if self.closing.course.contains(Course::CROSSED) {
            let [client, server] = self.states.map(|state| state == Some(State::TimeWait));
            // Of a socket that is connected to itself there is one.
            return Verdict::ClosedTogether { waiting: [client, server && !self.is_one_end] };
        }
        let first = self.first_fin();
        let left = match [self.states[first as usize], self.states[first.peer() as usize]] {
            [Some(State::TimeWait), _] => Left::TimeWait,
            [_, Some(State::LastAck)] => Left::LastAck,
            [_, _] => Left::Nothing,
        };
        Verdict::Closed { first, left }
    }

    fn open(&self) -> Verdict {
        if self.streams.iter().all(|stream| stream.segments() == u64::from(stream.resets())) {
            let with_syn = self.streams.iter().any(|stream| stream.isn().is_some());
            return if with_syn { Verdict::OnlySynsWithReset } else { Verdict::OnlyResets };
        }
        if let Some(captured) = [Side::Client, Side::Server].into_iter().find(|end| self.is_alone(*end)) {
            return Verdict::OneDirection { captured, closed: self.closed[captured as usize], reset: false };
        }
        if self.midstream {
            return Verdict::Midstream;
        }
        if self.states == [Some(State::Established); 2] {
            let unseen = |of| self.unseen_of(of).map(|beyond| Verdict::CloseUnseen { by: None, of, beyond });
            return unseen(Side::Client).or_else(|| unseen(Side::Server)).unwrap_or(Verdict::Established);
        }
        let answered = self.completeness & 2 != 0;
        if answered { Verdict::HandshakeUnfinished } else { Verdict::Open }
    }

    /// Whether of an end's peer no segment was captured.
    fn is_alone(&self, end: Side) -> bool {
        self.streams[end.peer() as usize].segments() == 0 && !self.is_one_end
    }

    /// How many numbers the peer of an end acknowledged beyond all that was captured of that end, if any.
    fn unseen_of(&self, of: Side) -> Option<u32> {
        if self.is_one_end {
            return None;
        }
        let [own, peer] = [of, of.peer()].map(|side| self.streams[side as usize]);
        own.missing_behind(peer)
    }

    /// The end that sent the first FIN.
    fn first_fin(&self) -> Side {
        self.closing.first_fin.map_or(Side::Client, |first| self.side(first))
    }

    fn side(&self, direction: Direction) -> Side {
        super::history::side_of(direction, self.client)
    }
}

/// SYN, SYN-ACK and ACK, in Wireshark's completeness.
const HANDSHAKE: u8 = 7;
/// A connection that lasts less is over at once.
const AT_ONCE: Span = Span(1_000_000_000);
