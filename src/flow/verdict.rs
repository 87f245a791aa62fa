//! How a connection ended, in a word and in a sentence.

use std::fmt::{self, Write as _};

use super::record::{Closing, Course};
use super::{Closer, Ending, Side};
use crate::tcp::{Direction, Finding, State, Stream};
use crate::time::Span;

/// What a verdict stands on; arrays hold the client's first.
pub(super) struct Facts<'a> {
    pub(super) streams: [&'a Stream; 2],
    pub(super) states: [Option<State>; 2],
    /// The direction of the client's segments.
    pub(super) client: Direction,
    pub(super) closing: Closing,
    pub(super) completeness: u8,
    pub(super) lasted: Option<Span>,
    pub(super) midstream: bool,
    /// How many of the client's segments are copies of frames that were captured before.
    pub(super) copies: u64,
}

/// The RST that ended a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reset {
    pub(super) by: Direction,
    pub(super) kind: ResetKind,
    /// It had ACK, as the abort of a socket has; without it, it answers a segment for which there was no socket.
    pub(super) with_ack: bool,
}

/// What a RST meant when it was sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ResetKind {
    /// It answered a SYN.
    Refusal,
    /// The handshake was not complete.
    HalfOpen,
    /// Its sender had sent a FIN, and the peer sent octets after that.
    OctetsAfterClose,
    /// Its sender had sent a FIN.
    AfterOwnFin,
    /// Only the peer had sent a FIN.
    AfterPeersFin,
    /// Nobody had closed, and the last segment was a keep-alive of its sender.
    KeepAlivesUnanswered,
    /// Nobody had closed.
    Abort,
}

impl Facts<'_> {
    /// How it ended.
    pub(super) fn ending(&self) -> Ending {
        let closed = self.streams.map(|stream| stream.fin_end().is_some());
        match self.closing.reset {
            Some(Reset { kind: ResetKind::Refusal, .. }) => Ending::Refused,
            Some(_) => Ending::Reset,
            None if closed == [true; 2] => Ending::Fin,
            None if closed != [false; 2] => Ending::HalfClosed,
            None if self.is_only_syns() => Ending::Unanswered,
            None => Ending::Open,
        }
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

    /// One sentence on the connection's life and end.
    pub(super) fn verdict(&self) -> String {
        let mut text = String::with_capacity(128);
        // Writing to a string does not fail.
        let _ = self.write(&mut text);
        text
    }

    fn write(&self, text: &mut String) -> fmt::Result {
        match self.ending() {
            Ending::Fin => self.write_fin(text),
            Ending::HalfClosed => self.write_half_closed(text),
            Ending::Refused => text.write_str(
                "Refused: the server answered the SYN with RST, so nobody listens on that port, or a filter says so.",
            ),
            Ending::Reset => self.write_reset(text),
            Ending::Unanswered => self.write_unanswered(text),
            Ending::Open => self.write_open(text),
        }
    }

    fn write_fin(&self, text: &mut String) -> fmt::Result {
        if self.closing.course.contains(Course::CROSSED) {
            text.write_str("Both ends closed at the same time: their FINs crossed")?;
            let waiting = self.states.map(|state| state == Some(State::TimeWait));
            return match waiting {
                [true, true] => text.write_str(", and both wait in TIME-WAIT."),
                [true, false] => text.write_str(", and the client waits in TIME-WAIT."),
                [false, true] => text.write_str(", and the server waits in TIME-WAIT."),
                [false, false] => text.write_str("."),
            };
        }
        let first = self.closing.first_fin.map_or(Side::Client, |first| self.side(first));
        let states = if first == Side::Client { self.states } else { [self.states[1], self.states[0]] };
        write!(text, "Closed normally: the {} sent the first FIN", first.name())?;
        match states {
            [Some(State::TimeWait), _] => write!(text, " and ends in TIME-WAIT."),
            [_, Some(State::LastAck)] => {
                write!(text, "; the last ACK was not captured, so the {} is left in LAST-ACK.", first.peer().name())
            }
            [_, _] => write!(text, ", and the {} answered with its own.", first.peer().name()),
        }
    }

    fn write_half_closed(&self, text: &mut String) -> fmt::Result {
        let first = self.closing.first_fin.map_or(Side::Client, |first| self.side(first));
        let peer = first.peer();
        let taken = self.states[peer as usize] == Some(State::CloseWait);
        write!(text, "Half-closed: the {} sent its FIN, the {} has not closed", first.name(), peer.name())?;
        if taken { write!(text, " and stays in CLOSE-WAIT.") } else { text.write_str(".") }
    }

    fn write_reset(&self, text: &mut String) -> fmt::Result {
        let Some(reset) = self.closing.reset else { return Ok(()) };
        let by = self.side(reset.by);
        let (who, peer) = (by.name(), by.peer().name());
        match reset.kind {
            ResetKind::Refusal => Ok(()),
            ResetKind::HalfOpen => {
                write!(text, "Reset by the {who} before the handshake was complete")?;
                text.write_str(match by {
                    Side::Client => ": probably it wanted only to know whether the port is open, or had given up.",
                    Side::Server => ": probably its program had gone, or did not accept the connection.",
                })
            }
            ResetKind::OctetsAfterClose => write!(
                text,
                "Reset by the {who}: the {peer} sent octets after the {who} had closed; they were probably never read."
            ),
            ResetKind::AfterOwnFin => write!(
                text,
                "Reset by the {who} after its own FIN: probably its program had closed for good, and something from the {peer} still came."
            ),
            ResetKind::AfterPeersFin => write!(
                text,
                "Reset by the {who} after the {peer} had closed: probably it closed with octets unread, or was aborted."
            ),
            ResetKind::KeepAlivesUnanswered => {
                write!(text, "Reset by the {who} while nobody had closed: the {peer} answered its keep-alives no more.")
            }
            ResetKind::Abort if reset.with_ack => write!(
                text,
                "Reset by the {who} while nobody had closed: probably it closed with octets unread, or was aborted (SO_LINGER 0, a program that ended)."
            ),
            ResetKind::Abort => write!(
                text,
                "Reset by the {who} while nobody had closed: its RST has no ACK, so it probably knows no such connection any more."
            ),
        }
    }

    fn write_unanswered(&self, text: &mut String) -> fmt::Result {
        let syns = self.streams[0].segments().saturating_sub(self.copies);
        match (syns, self.lasted) {
            (1, _) => text.write_str(ONE_SYN),
            (_, None) => write!(text, "Unanswered: {syns} SYNs, and nothing came back."),
            (_, Some(lasted)) => write!(text, "Unanswered: {syns} SYNs in {}, and nothing came back.", Amount(lasted)),
        }
    }

    fn write_open(&self, text: &mut String) -> fmt::Result {
        if self.streams.iter().all(|stream| stream.segments() == u64::from(stream.resets())) {
            return text.write_str(if self.streams.iter().any(|stream| stream.isn().is_some()) {
                "Only SYNs with RST were captured: flags that do not go together, and that open and end nothing."
            } else {
                "Only RSTs were captured: each answers a segment that was not, and tells nothing of a connection."
            });
        }
        if self.midstream {
            return text.write_str("Open: the capture holds neither its beginning nor its end.");
        }
        let answered = self.completeness & 2 != 0;
        let established = self.states == [Some(State::Established); 2];
        text.write_str(if established {
            "Open: established, and nobody had closed when the capture ended."
        } else if answered {
            "Open: the server answered the SYN, but the handshake was not seen to its end."
        } else {
            "Open: nobody had closed when the capture ended."
        })
    }

    fn side(&self, direction: Direction) -> Side {
        super::history::side_of(direction, self.client)
    }
}

/// One sentence on a finding; `amount` is nanoseconds since the stream advanced, or the number of a duplicate acknowledgement.
pub(super) fn note(finding: Finding, amount: i64) -> String {
    let since = Amount(Span(amount));
    let late = |what: &str| {
        if amount < 0 { format!("{what}.") } else { format!("{what}, {since} after the stream last advanced.") }
    };
    match finding {
        Finding::Retransmission => late("Octets that were sent before are sent again"),
        Finding::FastRetransmission => late("Sent again because duplicate acknowledgements told of a loss"),
        Finding::SpuriousRetransmission => late("Sent again although all of it was acknowledged already"),
        Finding::OutOfOrder => late("Older octets after newer ones, too soon to have been sent again"),
        Finding::DuplicateAck => format!("Number {amount} of the acknowledgements that repeat the same one."),
        Finding::LostSegment => "A segment before this one was not captured.".into(),
        Finding::AckedUnseen => "Acknowledges octets that were not captured.".into(),
        Finding::ZeroWindow => "The receiver has no room left.".into(),
        Finding::WindowFull => "Fills the receiver's window to its end.".into(),
        Finding::WindowUpdate => "Tells only of room: the receiver's program has read.".into(),
        Finding::KeepAlive => "Asks whether the peer is still there.".into(),
        Finding::KeepAliveAck => "Answers a keep-alive.".into(),
        Finding::ZeroWindowProbe => "Asks whether the zero window has opened.".into(),
        Finding::ZeroWindowProbeAck => "Answers a zero-window probe: still no room.".into(),
        Finding::PortReuse => "The same ends had a connection before; this SYN opens another.".into(),
        Finding::CapturedTwice => "The same frame was captured before: nothing was sent twice.".into(),
        Finding::Reordered => {
            late("Sent before newer octets and overtaken by them, as its IP identification shows: not sent again")
        }
        Finding::SentAgain => {
            late("Sent after newer octets, as its IP identification shows: sent again, not overtaken")
        }
        Finding::DuplicateSack => {
            "The receiver tells of octets that arrived twice: sending them again was needless.".into()
        }
        Finding::ResetOutOfWindow => {
            "The sequence number is outside the receiver's window: it ignores this RST.".into()
        }
        Finding::InconsistentFlags => "Flags that do not go together.".into(),
        Finding::BadChecksum => "The checksum is wrong.".into(),
        Finding::ConflictingOctets => "Octets that differ from those sent before at the same positions.".into(),
        Finding::DataAfterClose => "Octets to an end that has closed: nobody will read them.".into(),
        Finding::StateDisagreement => "The kernel's word differs from what the segments say.".into(),
        Finding::OtherTunnel => "It came in another tunnel than the segments of its end before.".into(),
    }
}

/// The verdict on a SYN that was neither answered nor repeated.
pub(super) const ONE_SYN: &str = "Unanswered: one SYN, and nothing came back.";

/// A duration as people say it.
struct Amount(Span);

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.0;
        match nanos.unsigned_abs() {
            0..1_000 => write!(f, "{nanos} ns"),
            1_000..1_000_000 => write!(f, "{:.1} µs", nanos as f64 / 1e3),
            1_000_000..1_000_000_000 => write!(f, "{:.1} ms", nanos as f64 / 1e6),
            _ => write!(f, "{:.1} s", nanos as f64 / 1e9),
        }
    }
}
