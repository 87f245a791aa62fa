//! English: short, active, in the field's terms.

use std::borrow::Cow;
use std::fmt;

use super::amount::Amount;
use super::{Wording, breakdown, problem};
use crate::flow::{
    Breakdown, Class, Conflict, Connection, Detail, Disagreement, FindingAt, Icmp, Instead, Left, ProbeEnd, Problem,
    ResetKind, Side, Verdict,
};
use crate::kernel::Witness;
use crate::story::{Account, Holding, Mistake, PortHolder, Remark, Unwatched, Why};
use crate::tcp::{Finding, Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::Tunnel;

/// The English of every output.
#[derive(Clone, Copy, Debug)]
pub struct English;

/// How many SYNs there were, and in what time.
struct Syns(u64, Option<Span>);

impl fmt::Display for Syns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self(1, _) => f.write_str("one SYN"),
            Self(syns, None) => write!(f, "{syns} SYNs"),
            Self(syns, Some(lasted)) => write!(f, "{syns} SYNs in {}", Amount(lasted)),
        }
    }
}

/// A sentence on one end (`WHO`) and its peer, put together by the compiler for both.
macro_rules! of_end {
    ($side:expr, $($part:tt)+) => {
        match $side {
            Side::Client => concat!($(part!($part "client" "server")),+),
            Side::Server => concat!($(part!($part "server" "client")),+),
        }
    };
}

macro_rules! part {
    (WHO $who:literal $peer:literal) => {
        $who
    };
    (PEER $who:literal $peer:literal) => {
        $peer
    };
    ($text:literal $who:literal $peer:literal) => {
        $text
    };
}

impl Wording for English {
    fn verdict(&self, verdict: &Verdict) -> Cow<'static, str> {
        let sentence = match *verdict {
            Verdict::Closed { first, left: Left::TimeWait } => {
                of_end!(first, "Closed normally: the " WHO " sent the first FIN and ends in TIME-WAIT.")
            }
            Verdict::Closed { first, left: Left::LastAck } => of_end!(
                first,
                "Closed normally: the " WHO " sent the first FIN; the last ACK was not captured, so the " PEER " is left in LAST-ACK."
            ),
            Verdict::Closed { first, left: Left::Nothing } => {
                of_end!(first, "Closed normally: the " WHO " sent the first FIN, and the " PEER " then sent its own.")
            }
            Verdict::ClosedTogether { waiting } => match waiting {
                [true, true] => "Both ends closed at the same time: their FINs crossed, and both wait in TIME-WAIT.",
                [true, false] => {
                    "Both ends closed at the same time: their FINs crossed, and the client waits in TIME-WAIT."
                }
                [false, true] => {
                    "Both ends closed at the same time: their FINs crossed, and the server waits in TIME-WAIT."
                }
                [false, false] => "Both ends closed at the same time: their FINs crossed.",
            },
            Verdict::Probe { by: ProbeEnd::Fin, lasted } => {
                return format!(
                    "Closed normally after {}, and neither end sent an octet: the client sent the first FIN, and was probably a probe (health check, port scan).",
                    Amount(lasted)
                )
                .into();
            }
            Verdict::Probe { by: ProbeEnd::Reset, lasted } => {
                return format!(
                    "Reset by the client after {}, and neither end sent an octet: probably a probe (health check, port scan).",
                    Amount(lasted)
                )
                .into();
            }
            Verdict::HalfClosed { by, in_close_wait: true } => of_end!(
                by,
                "Half-closed: the " WHO " sent its FIN, the " PEER " has not closed and stays in CLOSE-WAIT."
            ),
            Verdict::HalfClosed { by, in_close_wait: false } => {
                of_end!(by, "Half-closed: the " WHO " sent its FIN, the " PEER " has not closed.")
            }
            Verdict::CloseUnseen { by, of, beyond } => {
                let (of, peer) = (of.name(), of.peer().name());
                if beyond == 0 {
                    return format!("Half-closed, as far as was captured: the {peer} sent its FIN; whether the {of} had closed before the capture began is not known.").into();
                }
                let closed = match beyond {
                    1 => "which may be its FIN",
                    _ => "and whether that one closed is not known",
                };
                let numbers = if beyond == 1 { "1 number" } else { &format!("{beyond} numbers") };
                return match by {
                    Some(_) => format!("Half-closed, as far as was captured: the {peer} sent its FIN, and acknowledged {numbers} beyond what was captured of the {of}, {closed}."),
                    None => format!("Open, as far as was captured: the {peer} acknowledged {numbers} beyond what was captured of the {of}, {closed}."),
                }
                .into();
            }
            Verdict::Refused | Verdict::Reset { kind: ResetKind::Refusal, .. } => {
                "Refused: the server answered the SYN with RST; the port is closed, or a firewall rejected the connection."
            }
            Verdict::Reset { by, kind } => reset(by, kind),
            Verdict::Unanswered { syns: 1, instead: None, .. } => "Unanswered: one SYN, and nothing came back.",
            Verdict::Unanswered { syns, lasted, instead } => {
                let back = match instead {
                    None => ", and nothing came back",
                    Some(Instead::Reset) => "; the server's RST does not acknowledge the SYN, so the client ignores it",
                    Some(Instead::Damaged) => "; what came back has a wrong checksum, so the client ignores it",
                    Some(Instead::Ack) => {
                        "; the server acknowledged something else, probably of an older connection with the same ports"
                    }
                };
                return format!("Unanswered: {}{back}.", Syns(syns, lasted)).into();
            }
            Verdict::OnlyResets => {
                "Only RSTs were captured: what they answer was not, so nothing is known of a connection."
            }
            Verdict::OnlySynsWithReset => {
                "Only SYNs with RST were captured: flags that contradict each other, and that open and end nothing."
            }
            Verdict::OneDirection { captured, reset: true, .. } => of_end!(
                captured,
                "Only the " WHO "'s direction was captured: it ended the connection with a RST; of the " PEER " nothing is known but what the " WHO " acknowledged."
            ),
            Verdict::OneDirection { captured, closed: true, reset: false } => of_end!(
                captured,
                "Only the " WHO "'s direction was captured: it sent its FIN; of the " PEER " nothing is known but what the " WHO " acknowledged."
            ),
            Verdict::OneDirection { captured, closed: false, reset: false } => of_end!(
                captured,
                "Only the " WHO "'s direction was captured; of the " PEER " nothing is known but what the " WHO " acknowledged."
            ),
            Verdict::Midstream => "Open: the capture holds neither its beginning nor its end.",
            Verdict::Established => "Open: established, and nobody had closed when the capture ended.",
            Verdict::GivenUp { by } => of_end!(
                by,
                "Given up by the " WHO " without a segment: its socket is closed, and the " PEER " has not been told."
            ),
            Verdict::Gone => "Over, though its end was not captured: the kernel has no socket of it any more.",
            Verdict::HandshakeUnfinished => {
                "Open: the server answered the SYN, but the end of the handshake was not captured."
            }
            Verdict::Open => "Open: nobody had closed when the capture ended.",
        };
        sentence.into()
    }

    fn ending(&self, connection: &Connection) -> Cow<'static, str> {
        let verdict = self.verdict(&connection.verdict);
        let (last, errors) = match (connection.problem.as_deref(), connection.icmp) {
            (None, None) => return verdict,
            (Some(hurt), icmp) if icmp.is_none() || hurt.mtu.is_some() => {
                return two(&verdict, hurt, connection.first);
            }
            (_, Some(Icmp { last, errors })) => (last, errors),
            (Some(hurt), None) => return two(&verdict, hurt, connection.first),
        };
        let mtu = last.mtu.map_or(String::new(), |mtu| format!(", MTU {mtu}"));
        let error = format!("({}{mtu}) from {}", last.kind.words(), last.from);
        match connection.verdict {
            Verdict::Unanswered { syns: 1, .. } => {
                format!("Unanswered: an ICMP error {error} answered the SYN.").into()
            }
            Verdict::Unanswered { syns, lasted, .. } => {
                let which = if u64::from(errors) >= syns { "each".to_owned() } else { format!("{errors} of them") };
                format!("Unanswered: {}; an ICMP error {error} answered {which}.", Syns(syns, lasted)).into()
            }
            _ if errors == 1 => format!("{verdict} An ICMP error {error} quotes one of its segments.").into(),
            _ => format!("{verdict} {errors} ICMP errors quote its segments, the last {error}.").into(),
        }
    }

    fn time_spent(&self, breakdown: &Breakdown) -> Cow<'static, str> {
        breakdown::time_spent(&breakdown.total).into()
    }

    fn class(&self, class: Class) -> &'static str {
        breakdown::class(class)
    }

    fn brief(&self, connection: &Connection) -> Cow<'static, str> {
        match &connection.problem {
            Some(hurt) => problem::sentence(hurt, connection.first).into(),
            None => self.ending(connection),
        }
    }

    fn finding(&self, finding: &FindingAt) -> Cow<'static, str> {
        let late = |what: &'static str| match finding.detail {
            Detail::Since(Some(since)) => {
                let mut said = String::with_capacity(what.len() + LATE);
                said.extend([what, ", "]);
                Amount(since).push(&mut said);
                said.push_str(" after the stream last advanced.");
                said.into()
            }
            _ => format!("{what}.").into(),
        };
        let sentence = match (finding.finding, &finding.detail) {
            (Finding::Retransmission | Finding::OutOfOrder, Detail::BelowReset) => {
                "Only by the rule, because a RST before it had a higher number: its octets are new."
            }
            (Finding::Retransmission | Finding::OutOfOrder, Detail::SynsCrossed) => {
                "Only by the rule: the SYNs crossed, and it is the SYN once more to acknowledge the peer's (RFC 9293 section 3.5)."
            }
            (Finding::Retransmission, _) => return late("Retransmission"),
            (Finding::FastRetransmission, _) => return late("Retransmitted because duplicate ACKs reported a loss"),
            (Finding::SpuriousRetransmission, _) => {
                return late("Retransmitted although all of it had been acknowledged");
            }
            (Finding::OutOfOrder, _) => return late("Older octets after newer ones, too soon for a retransmission"),
            (Finding::Reordered, _) => {
                return late(
                    "Sent before newer octets and overtaken by them, as its IP identification or timestamp shows: not a retransmission",
                );
            }
            (Finding::SentAgain, _) => {
                return late(
                    "Sent after newer octets, as its IP identification or timestamp shows: retransmitted, not overtaken",
                );
            }
            (Finding::DuplicateAck, Detail::Number(number)) => return format!("Duplicate ACK #{number}.").into(),
            (Finding::DuplicateAck, _) => "Repeats the acknowledgement before.",
            (Finding::StateDisagreement, Detail::Disagreement(disagreement)) => return self.disagreement(disagreement),
            (Finding::StateDisagreement, _) => "A witness and the segments disagree on the state.",
            (Finding::OtherTunnel, Detail::Tunnels(tunnels)) => {
                let [came, before] = &**tunnels;
                return format!(
                    "It came in {}, the segments of its end before in {}: connections of two networks with the same addresses and ports may be one here.",
                    through(came),
                    through(before)
                )
                .into();
            }
            (Finding::OtherTunnel, _) => "It came in another tunnel than the segments of its end before.",
            (Finding::LostSegment, Detail::OtherNumber) => {
                "By the rule a segment before it is missing: it is a SYN with another initial number, which begins anew."
            }
            (Finding::LostSegment, _) => "A segment before this one was not captured.",
            (Finding::AckedUnseen, Detail::Captured) => {
                "Beyond what tshark counts as sent: all of it was captured, in a longer retransmission, as the FIN of a SYN, or after a SYN-ACK with another number."
            }
            (Finding::AckedUnseen, _) => "Acknowledges octets that were not captured.",
            (Finding::ZeroWindow, _) => "The receive buffer is full.",
            (Finding::WindowFull, _) => "Fills the receiver's window to its end.",
            (Finding::WindowUpdate, _) => "Window update: the receiver announces another window.",
            (Finding::KeepAlive, Detail::NoRoom) => {
                "Probes the peer's window of 0 with an octet that was acknowledged: by the rule a keep-alive."
            }
            (Finding::KeepAlive, _) => "Probes whether the peer is still there.",
            (Finding::KeepAliveAck, _) => "Answers a keep-alive.",
            (Finding::ZeroWindowProbe, _) => "Probes whether the zero window has opened.",
            (Finding::ZeroWindowProbeAck, _) => "Answers a zero-window probe: the receive buffer is still full.",
            (Finding::PortReuse, _) => "The same addresses and ports had a connection before; this SYN opens another.",
            (Finding::CapturedTwice, _) => "The same frame was captured before: not a retransmission.",
            (Finding::DuplicateSack, _) => "The receiver reports what arrived twice: it was not lost.",
            (Finding::ResetOutOfWindow, _) => {
                "The receiver ignores this RST: its number lies outside the window, or it does not acknowledge the SYN."
            }
            (Finding::ResetChallenged, _) => {
                "The RST lies in the window but is not the next expected: the receiver sends a challenge ACK and goes on."
            }
            (Finding::InconsistentFlags, _) => "Flags that contradict each other.",
            (Finding::BadChecksum, _) => "The checksum is wrong.",
            (Finding::ConflictingOctets, Detail::Conflict(conflict)) => {
                let Conflict { frame, ttls: [before, now] } = **conflict;
                let ttls = if before == now { String::new() } else { format!(", TTL {now} against {before}") };
                return format!(
                    "Other octets than frame {frame} at the same positions{ttls}: not a retransmission; one of the two was forged or changed on its way."
                )
                .into();
            }
            (Finding::ConflictingOctets, _) => "Octets that differ from those sent before at the same positions.",
            (Finding::EcnEcho, _) => "The receiver reports congestion: a router had marked a segment (ECN).",
            (Finding::WindowReduced, _) => "The sender has reduced its congestion window (ECN).",
            (Finding::DataAfterClose, _) => "Octets to an end that has closed: nobody will read them.",
        };
        sentence.into()
    }

    fn disagreement(&self, disagreement: &Disagreement) -> Cow<'static, str> {
        let witness = match disagreement.witness {
            Witness::Segments => "the segments",
            Witness::TcpInfo => "TCP_INFO",
            Witness::Kernel => "the kernel",
            Witness::SockDiag => "sock_diag",
            Witness::Link => "the link",
        };
        let after = disagreement.after.as_deref().map_or(String::new(), |call| format!(" after {call}()"));
        let said = disagreement.said.map_or("no such socket", State::name);
        let segments = disagreement.segments.map_or("an unknown state", State::name);
        format!("{witness}{after} said {said}, the segments say {segments}").into()
    }

    fn why(&self, why: &Why) -> Cow<'static, str> {
        let sentence = match why {
            Why::Unwatched(Unwatched::Connect) => "a connect(), not watched",
            Why::Unwatched(Unwatched::Send) => "a send(), not watched",
            Why::Unwatched(Unwatched::Close) => "a close() or shutdown(), not watched",
            Why::Unwatched(Unwatched::Abort) => "an abort, not watched",
            Why::NotWritten => "no watched call wrote these octets",
            Why::NotCounted => "which call wrote these octets is not known",
            Why::ProcessEnded => "no call closed the socket: its process ended",
            Why::Empty => "a segment without meaning: no ACK, no octets",
            Why::Listening => "the kernel answers for a listening socket; accept() is not needed for it",
            Why::SynsCrossed => "the SYNs crossed: each end acknowledges the other's",
            Why::EndsHandshake => "ends the handshake",
            Why::SynUnanswered => "no answer came in time: the same SYN is retransmitted",
            Why::SynRepeated => "the SYN was repeated, and is answered again",
            Why::OtherNumber => "another initial number than the SYN-ACK before: two stacks answer, or a proxy does",
            Why::AnswerRefused => "the answer to the SYN was not acceptable: the SYN is retransmitted",
            Why::AnswerNotTaken => {
                "the ACK of the SYN-ACK was not taken: the accept queue is full, TCP_DEFER_ACCEPT waits for octets, or the ACK was lost"
            }
            Why::TooSoon => "sooner than a retransmission timer runs out, and no loss was reported",
            Why::OtherOctets => "other octets than were sent here before: injected, or changed on the way",
            Why::SynOctetsRefused => "the SYN-ACK did not acknowledge the octets of the SYN",
            Why::WindowOpened => "the window opened: octets that were not taken before are retransmitted",
            Why::PathMtu { frame, mtu } => {
                return format!(
                    "a router forwards no packet of more than {mtu} octets (ICMP, #{frame}): the same octets in shorter segments"
                )
                .into();
            }
            Why::AckedBefore => "an acknowledgement had just arrived: no timer ran out",
            Why::AfterTimeout => "after a timeout all that is not acknowledged is retransmitted",
            Why::FirstNotCaptured => "its first transmission was not captured",
            Why::FinOnAck => "the ACK of the peer's FIN carries the FIN once more",
            Why::OlderConnection => {
                "a challenge ACK of an older connection with the same ports, which is still open at this end (RFC 5961)"
            }
            Why::Challenge => "a challenge ACK: that segment may be forged (RFC 5961)",
            Why::TimerExpired => "no acknowledgement came before the retransmission timer ran out",
            Why::TailUnacknowledged => {
                "nothing was acknowledged for two round trips: the last segment again, to provoke an answer"
            }
            Why::LossReported => "duplicate ACKs or SACK reported a loss",
            Why::Idle => "SO_KEEPALIVE: the connection was idle, the kernel probes whether the peer is there",
            Why::KeepAlivesUnanswered => "no keep-alive was answered: the kernel gives the connection up",
            Why::NoRoom => "the peer's window is 0: the kernel probes whether it has opened",
            Why::NoRoomOldOctet => {
                "the peer's window is 0: an octet number that was acknowledged provokes an answer (Wireshark's rule says keep-alive)"
            }
            Why::RoomMade => "the receiver freed buffer space",
            Why::HeldBack => "held back so that octets could carry it",
            Why::NotCaptured => "acknowledges what was not captured",
            Why::ReceivedBefore => "all of that segment had been received before",
            Why::GapBefore => "something before this segment is missing",
            Why::Overtaken => "an older acknowledgement, overtaken by a newer one",
            Why::Waited { released_by } => {
                return format!("waited in the send buffer until the segment in frame {released_by} let it go").into();
            }
            Why::PortClosed => "the port is closed, or a firewall rejected the connection",
            Why::NoSocket => "no socket takes that segment",
            Why::NotAcceptable => "the kernel refuses that segment",
            Why::SocketClosed => "the socket is closed: nobody can read these octets any more",
            Why::LingerZero => "SO_LINGER with zero time: close() resets instead of sending a FIN",
            Why::UnreadOnTheWay => "the close found octets on their way that nobody will read",
            Why::Unread(octets) => {
                let s = if *octets == 1 { "" } else { "s" };
                return format!("closed with {octets} octet{s} unread: the RST shows the peer that they were lost")
                    .into();
            }
        };
        sentence.into()
    }

    fn unwatched(&self, kind: Unwatched) -> &'static str {
        match kind {
            Unwatched::Connect => "a connect()",
            Unwatched::Send => "a send()",
            Unwatched::Close => "a close() or shutdown()",
            Unwatched::Abort => "an abort",
        }
    }

    fn remark(&self, remark: &Remark) -> Cow<'static, str> {
        let sentence = match remark {
            Remark::KernelAnswersSyns => "nothing goes on the wire: from now on the kernel itself answers SYNs",
            Remark::EmptySend => "0 octets: no segment is sent, TCP has no empty message",
            Remark::CopiesRemain => "copies of the descriptor remain: nothing is sent",
            Remark::PastUnknown => "open before tcpflow joined the process: its past is not known",
            Remark::OnlyReadingEnds => "nothing goes on the wire: TCP has no way to make the peer stop",
            Remark::NextCloseResets => "the next close resets the connection instead of closing it in order",
            Remark::PortTaken => {
                "the port is still taken, by a listening socket or by a connection in TIME-WAIT; SO_REUSEADDR allows the latter"
            }
            Remark::PortHeld { port, by } => {
                return match by {
                    PortHolder::Socket { how: Holding::Listening, .. } => {
                        format!("another socket listens on port {port}")
                    }
                    PortHolder::Socket { how: Holding::Bound, .. } => format!("another socket is bound to port {port}"),
                    PortHolder::Socket { how: Holding::Connected, .. } => {
                        format!("another socket has port {port} for its connection")
                    }
                    PortHolder::TimeWait { connection, side, reuses } => {
                        let (id, side) = (connection.0, side.name());
                        let way_out = match reuses {
                            true => "SO_REUSEADDR would allow it if that end had had it, too",
                            false => "SO_REUSEADDR before bind() would allow it, if that end had it, too",
                        };
                        format!("port {port} is held by connection {id}, whose {side} end is in TIME-WAIT; {way_out}")
                    }
                }
                .into();
            }
            Remark::NoPortFree => "there is no free port",
            Remark::RefusedUnseen => {
                "the port is closed, or a firewall rejected the connection; what answered the SYN was not seen"
            }
            Remark::Refused => "RST answered the SYN: the port is closed, or a firewall rejected the connection",
            Remark::AnsweredByIcmp { frame, kind } => {
                return format!("an ICMP error answered the SYN (#{frame}): {}", kind.words()).into();
            }
            Remark::SynUnanswered => "no SYN was answered",
            Remark::HandshakeGoesOn => "nonblocking: the handshake goes on after the call",
            Remark::ClosedForSending => {
                "the connection is closed for sending; the kernel also raises SIGPIPE, unless MSG_NOSIGNAL is set"
            }
            Remark::PeerReset => "the peer reset the connection",
            Remark::WouldBlock => "nonblocking: nothing to do right now",
            Remark::OnlyOneFits => {
                "~ which connection accept() took was not seen: it is the only one that was complete by then and that its octets fit"
            }
            Remark::HandshakeWasComplete => "the kernel had completed the handshake before accept() was called",
            Remark::PeerClosed { frame } => {
                return format!("the peer closed its direction: frame {frame} carried the FIN").into();
            }
            Remark::CongestionWindow { cwnd, ssthresh, unacked } => {
                let ends = ssthresh.map_or(String::new(), |ssthresh| format!(", slow start ends at {ssthresh}"));
                return format!("congestion window {cwnd} segments{ends}; {unacked} under way").into();
            }
        };
        sentence.into()
    }

    fn mistake(&self, mistake: &Mistake) -> Cow<'static, str> {
        super::mistakes::english(mistake)
    }

    fn account(&self, account: &Account) -> Cow<'static, str> {
        super::accounts::english(account)
    }

    fn rule(&self, rule: Rule) -> &'static str {
        arm(rule)
    }
}

/// How it ended and what hurt it most, in two sentences: what explains an ending that is told in two is left out.
fn two<'a>(verdict: &str, hurt: &Problem, first: Option<Timestamp>) -> Cow<'a, str> {
    let mut said = String::with_capacity(verdict.len() + problem::LONG);
    said.extend([verdict, " "]);
    problem::push_sentence(&mut said, hurt, first);
    said.into()
}

fn reset(by: Side, kind: ResetKind) -> &'static str {
    match kind {
        ResetKind::Refusal => "Refused.",
        ResetKind::HalfOpen => match by {
            Side::Client => {
                "Reset by the client before the handshake was complete: probably a port scan, or a client that gave up."
            }
            Side::Server => {
                "Reset by the server before the handshake was complete: probably its program ended, or did not accept the connection."
            }
        },
        ResetKind::HalfOpenOfTwo => {
            "Reset by the client before the handshake was complete: it refused a SYN-ACK of the server, or gave up."
        }
        ResetKind::OctetsAfterClose => of_end!(
            by,
            "Reset by the " WHO ": the " PEER " sent octets after the " WHO " had closed; they were probably never read."
        ),
        ResetKind::AfterOwnFin => of_end!(
            by,
            "Reset by the " WHO " after its own FIN: probably its socket was fully closed, and a segment of the " PEER " still arrived."
        ),
        ResetKind::AfterPeersFin => of_end!(
            by,
            "Reset by the " WHO " after the " PEER " had closed: probably it closed with octets unread, or was aborted."
        ),
        ResetKind::KeepAlivesUnanswered => of_end!(
            by,
            "Reset by the " WHO " while nobody had closed: the " PEER " stopped answering keep-alives."
        ),
        ResetKind::Abort => of_end!(
            by,
            "Reset by the " WHO " while nobody had closed: probably it closed with octets unread, or was aborted (SO_LINGER 0, a program that ended)."
        ),
        ResetKind::AfterEmptyFin => of_end!(
            by,
            "Reset by the " WHO " after the " PEER " had closed without having sent an octet: probably it was aborted."
        ),
        ResetKind::AbortOfEmpty => of_end!(
            by,
            "Reset by the " WHO " while nobody had closed: probably it was aborted (SO_LINGER 0, a program that ended)."
        ),
        ResetKind::Forged => of_end!(by, "Reset by a RST that bears the " WHO "'s address."),
        ResetKind::NoConnection => of_end!(
            by,
            "Reset by the " WHO " while nobody had closed: its RST has no ACK, so the " WHO " probably has no state for this connection any more."
        ),
    }
}

fn through(tunnels: &[Tunnel]) -> String {
    match tunnels {
        [] => "none".to_owned(),
        _ => tunnels.iter().map(Tunnel::to_string).collect::<Vec<_>>().join(", "),
    }
}

fn arm(rule: Rule) -> &'static str {
    match rule {
        Rule::PassiveOpen => "listen() makes the socket wait for connections (3.10.1).",
        Rule::ListenerClosed => "close() of a listening socket ends the waiting (3.10.4).",
        Rule::ActiveOpen => "The end sends a SYN: connect() asked for it (3.10.1).",
        Rule::SynTaken => "A listening end takes a SYN and answers with SYN-ACK, which shows that it did (3.10.7.2).",
        Rule::SimultaneousOpen => "A SYN arrives while the end's own SYN is unanswered: the SYNs crossed (3.10.7.3).",
        Rule::SynAckTaken => "A SYN-ACK acknowledges the end's SYN: connect() can return (3.10.7.3).",
        Rule::SynAcked => "The ACK of the end's SYN ends the handshake: accept() can return (3.10.7.4).",
        Rule::AckUnseen => "The end goes on as only an open one does: what opened it was not captured.",
        Rule::Refused => "The end answers a SYN with RST: the port is closed (3.10.7.1).",
        Rule::ConnectRefused => "A RST answers the end's SYN: connect() fails with ECONNREFUSED (3.10.7.3).",
        Rule::HandshakeReset => "A RST ends a half-open connection: the passive end listens again (3.10.7.4).",
        Rule::CloseSent => "The end sends its FIN first: close() or shutdown() asked for it (3.10.4).",
        Rule::CloseAnswered => "The end sends its FIN after it received the peer's (3.10.4).",
        Rule::FinAcked => "The ACK of the end's FIN arrives; the peer may still send (3.10.7.4).",
        Rule::FinTaken => "The peer's FIN arrives in sequence: recv() returns 0 after the last octet (3.10.7.4).",
        Rule::FinsCrossed => {
            "The peer's FIN arrives while the end's own FIN is unacknowledged: the FINs crossed (3.10.7.4)."
        }
        Rule::LastFinTaken => {
            "The peer's FIN arrives after the end's own was acknowledged: the active closer waits 2 MSL (3.10.7.4)."
        }
        Rule::CrossedFinAcked => {
            "The ACK of the end's FIN arrives after the FINs crossed: the end waits 2 MSL (3.10.7.4)."
        }
        Rule::LastAck => {
            "The ACK of the end's FIN arrives, and the peer had closed before: the end is done (3.10.7.4)."
        }
        Rule::Reset => "A RST in the window ends the connection at once (3.10.7.4).",
        Rule::Aborted => "The end sends RST and forgets the connection (3.10.5).",
        Rule::TimeWaitOver => "The TIME-WAIT timer ran out, and the kernel removed the socket (3.10.8).",
        Rule::TimeWaitReused => {
            "A new SYN on the same 4-tuple ends TIME-WAIT before its time: its sequence number or timestamp lies past the old ones (3.10.7.4)."
        }
        Rule::TimeWaitNotKept => {
            "The kernel has no socket in TIME-WAIT for it, long before the time is over: it kept none, or removed it early."
        }
        Rule::Witnessed => "The kernel reports a state that no captured segment shows.",
        Rule::NotArrived => {
            "A later segment of the end shows that what was believed to have reached it had not: it still was in the state before."
        }
        Rule::WentOn => "The end goes on after the RST or the FIN that was believed to be its last: it was not closed.",
        Rule::OpenBothWays => "The end sent octets and took octets: it is open, though its handshake was not captured.",
    }
}

/// Room for how late a segment came.
const LATE: usize = 48;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{IcmpError, IcmpKind};

    #[test]
    fn each_end_has_its_own_sentence() {
        let said = |first| English.verdict(&Verdict::Closed { first, left: Left::LastAck });
        assert!(said(Side::Client).starts_with("Closed normally: the client sent the first FIN; "));
        assert!(said(Side::Server).ends_with("so the client is left in LAST-ACK."));
    }

    #[test]
    fn numbers_are_put_into_words() {
        let verdict = Verdict::Unanswered { syns: 3, lasted: Some(Span::from_millis(3_012)), instead: None };
        assert_eq!(English.verdict(&verdict), "Unanswered: 3 SYNs in 3.0 s, and nothing came back.");
        let verdict = Verdict::Unanswered { syns: 1, lasted: None, instead: Some(Instead::Reset) };
        assert_eq!(
            English.verdict(&verdict),
            "Unanswered: one SYN; the server's RST does not acknowledge the SYN, so the client ignores it."
        );
        let finding =
            |finding, detail| English.finding(&FindingAt { finding, frame: None, side: Side::Client, detail });
        assert_eq!(finding(Finding::DuplicateAck, Detail::Number(2)), "Duplicate ACK #2.");
        let since = Detail::Since(Some(Span(1_500)));
        assert_eq!(finding(Finding::Retransmission, since), "Retransmission, 1.5 µs after the stream last advanced.");
        assert_eq!(finding(Finding::Retransmission, Detail::Since(None)), "Retransmission.");
        assert!(English.why(&Why::Unread(1)).starts_with("closed with 1 octet unread"));
    }

    #[test]
    fn icmp_errors_say_who_refused_what() {
        let mut connection = crate::report::sample::echo().connections.remove(0);
        let last = IcmpError { from: [10, 2, 0, 20].into(), kind: IcmpKind::HostProhibited, mtu: None };
        connection.icmp = Some(Icmp { last, errors: 3 });
        connection.verdict = Verdict::Unanswered { syns: 3, lasted: Some(Span::from_millis(3_012)), instead: None };
        assert_eq!(
            English.ending(&connection),
            "Unanswered: 3 SYNs in 3.0 s; an ICMP error (host administratively prohibited) from 10.2.0.20 answered each."
        );
        connection.verdict = Verdict::Unanswered { syns: 1, lasted: None, instead: None };
        assert!(English.ending(&connection).ends_with("from 10.2.0.20 answered the SYN."));
        connection.verdict = Verdict::Open;
        let last = IcmpError { kind: IcmpKind::FragmentationNeeded, mtu: Some(1400), ..last };
        connection.icmp = Some(Icmp { last, errors: 1 });
        assert_eq!(
            English.ending(&connection),
            "Open: nobody had closed when the capture ended. An ICMP error (fragmentation needed, MTU 1400) from 10.2.0.20 quotes one of its segments."
        );
        connection.icmp = None;
        assert_eq!(English.ending(&connection), English.verdict(&Verdict::Open));
    }

    #[test]
    fn every_finding_is_one_line_that_ends_in_a_full_stop_and_every_rule() {
        for finding in Finding::ALL {
            let at = FindingAt { finding: *finding, frame: None, side: Side::Client, detail: Detail::None };
            let said = English.finding(&at);
            assert!(said.ends_with('.') && !said.contains('\n'), "{said}");
        }
        assert!(Rule::ALL.iter().all(|rule| English.rule(*rule).ends_with('.')));
    }
}
