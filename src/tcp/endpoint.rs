//! One end's machine of RFC 9293, driven by the segments that the end sends and receives.

use super::State;
use crate::wire::{Flags, Segment, Seq};

/// The machine of one end, as a passive observer runs it: small and `Copy`.
///
/// ```text
///  LISTEN ──SYN-ACK sent──► SYN-RECEIVED ──ACK of it received──► ESTABLISHED ──FIN sent──► FIN-WAIT-1 ──ACK of it──► FIN-WAIT-2
///  CLOSED ──SYN sent──► SYN-SENT ──SYN-ACK received──►─┘              │                        │FIN received              │FIN received
///                                                               FIN received                CLOSING ──ACK of ours──► TIME-WAIT
///                                                                CLOSE-WAIT ──FIN sent──► LAST-ACK ──ACK of it──► CLOSED
/// ```
///
/// What an end sent it has certainly done.
/// What was sent to it counts as received when the observer saw it pass in sequence, or when the end acknowledges it.
/// An end whose past was not seen has no state until something it does leaves only one possible.
/// A passive end is one of these until it answers: a SYN alone does not tell whether somebody listens.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    state: Option<State>,
    seen: Seen,
    /// With [`Seen::SYN`]: the initial sequence number it sent last.
    isn: Seq,
    /// With [`Seen::FIN`]: the sequence number after the FIN it sent.
    fin_end: Seq,
    /// With [`Seen::PEER_FIN`]: the sequence number after the peer's FIN.
    peer_fin_end: Seq,
}

bitflags::bitflags! {
    /// What an end was seen to do.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Seen: u8 {
        /// It sent a SYN.
        const SYN = 0x01;
        /// It sent a FIN.
        const FIN = 0x02;
        /// A FIN was sent to it.
        const PEER_FIN = 0x04;
        /// That FIN reached it.
        const PEER_FIN_TAKEN = 0x08;
        /// It sent octets.
        const OCTETS = 0x10;
        /// Octets reached it.
        const PEER_OCTETS = 0x20;
        /// A SYN-ACK was sent to it.
        const PEER_SYN_ACK = 0x40;
        /// The connection came to it (passive open).
        const PASSIVE = 0x80;
    }
}

/// A step of an end's machine from one state to the next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Move {
    /// The state it left; `None` when it was not known.
    pub from: Option<State>,
    /// The state it entered.
    pub to: State,
    /// The arm of the machine that moved it.
    pub rule: Rule,
}

/// The moves that one segment causes at one end: none, one or two.
pub type Moves = [Option<Move>; 2];

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
    /// The kernel reports a state that no captured segment shows.
    Witnessed = "witnessed",
    /// The end sent octets and took octets: it is open, though its handshake was not captured.
    OpenBothWays = "open-both-ways",
}

/// An end whose past was not seen.
impl Default for Endpoint {
    fn default() -> Self {
        Self::unknown()
    }
}

impl Endpoint {
    /// An end before anything: CLOSED.
    pub const fn closed() -> Self {
        Self::new(Some(State::Closed))
    }

    /// An end that is known to wait for a SYN: LISTEN.
    pub const fn listening() -> Self {
        Self::new(Some(State::Listen))
    }

    /// An end whose past was not seen; also the passive end of a connection whose SYN is the first segment.
    pub const fn unknown() -> Self {
        Self::new(None)
    }

    const fn new(state: Option<State>) -> Self {
        Self { state, seen: Seen::empty(), isn: Seq(0), fin_end: Seq(0), peer_fin_end: Seq(0) }
    }

    /// Its state; `None` while not known.
    pub const fn state(&self) -> Option<State> {
        self.state
    }

    /// The end sent `segment`.
    pub fn sent(&mut self, segment: &Segment) -> Moves {
        let flags = segment.flags;
        let mut moves = Path::default();
        if flags.contains(Flags::RST) {
            self.sent_reset(segment, &mut moves);
            return moves.0;
        }
        if flags.contains(Flags::SYN) {
            self.isn = segment.seq;
            self.seen |= Seen::SYN;
            match (self.state, flags.contains(Flags::ACK)) {
                (None | Some(State::Closed | State::Listen), false) => {
                    self.state.get_or_insert(State::Closed);
                    self.enter(State::SynSent, Rule::ActiveOpen, &mut moves);
                }
                (None | Some(State::Listen), true) => {
                    self.state = Some(State::Listen);
                    self.seen |= Seen::PASSIVE;
                    self.enter(State::SynReceived, Rule::SynTaken, &mut moves);
                }
                (Some(State::SynSent), true) => self.enter(State::SynReceived, Rule::SimultaneousOpen, &mut moves),
                _ => {}
            }
        } else {
            self.implied_open(segment, &mut moves);
        }
        if segment.len > 0 {
            self.seen |= Seen::OCTETS;
        }
        // An acknowledgement of the peer's FIN proves that it arrived, whatever the observer saw of the octets before it.
        if flags.contains(Flags::ACK) && self.seen.contains(Seen::PEER_FIN) && !segment.ack.is_before(self.peer_fin_end)
        {
            self.take_fin(&mut moves);
        }
        if flags.contains(Flags::FIN) && !flags.contains(Flags::SYN) {
            self.sent_fin(segment, &mut moves);
        }
        self.open_both_ways(&mut moves);
        moves.0
    }

    /// `segment`, sent by the peer, reached the end; `in_order` is the sequence number up to which the peer's octets (and its FIN) have been seen without a gap.
    ///
    /// A RST that the receiver would ignore, being out of its window, must not be handed on.
    pub fn received(&mut self, segment: &Segment, in_order: Seq) -> Moves {
        let flags = segment.flags;
        let mut moves = Path::default();
        if flags.contains(Flags::RST) {
            self.received_reset(segment, &mut moves);
            return moves.0;
        }
        if flags.contains(Flags::SYN) {
            match (self.state, flags.contains(Flags::ACK)) {
                (Some(State::SynSent), false) => self.enter(State::SynReceived, Rule::SimultaneousOpen, &mut moves),
                (Some(State::SynSent), true) if segment.ack == self.isn.plus(1) => {
                    self.enter(State::Established, Rule::SynAckTaken, &mut moves);
                }
                (None, true) => self.seen |= Seen::PEER_SYN_ACK,
                (None | Some(State::Listen), false) => self.seen |= Seen::PASSIVE,
                _ => {}
            }
        }
        if flags.contains(Flags::ACK) {
            self.received_ack(segment.ack, &mut moves);
        }
        if segment.len > 0 {
            self.seen |= Seen::PEER_OCTETS;
        }
        if flags.contains(Flags::FIN) && !flags.contains(Flags::SYN) && !self.seen.contains(Seen::PEER_FIN) {
            self.seen |= Seen::PEER_FIN;
            self.peer_fin_end = segment.end();
        }
        if self.seen.contains(Seen::PEER_FIN) && !in_order.is_before(self.peer_fin_end) {
            self.take_fin(&mut moves);
        }
        self.open_both_ways(&mut moves);
        moves.0
    }

    /// A segment without SYN and RST, from an end that was not seen to open: it must have.
    fn implied_open(&mut self, segment: &Segment, moves: &mut Path) {
        let implied = match self.state {
            Some(State::SynSent) => segment.flags.contains(Flags::ACK),
            Some(State::SynReceived) => segment.len > 0 || segment.flags.contains(Flags::FIN),
            None => self.seen.contains(Seen::PEER_SYN_ACK) && segment.flags.contains(Flags::ACK),
            _ => false,
        };
        if implied {
            self.enter(State::Established, Rule::AckUnseen, moves);
        }
    }

    fn open_both_ways(&mut self, moves: &mut Path) {
        if self.state.is_none()
            && self.seen.contains(Seen::OCTETS | Seen::PEER_OCTETS)
            && !self.seen.intersects(Seen::FIN | Seen::PEER_FIN)
        {
            self.enter(State::Established, Rule::OpenBothWays, moves);
        }
    }

    fn sent_fin(&mut self, segment: &Segment, moves: &mut Path) {
        if self.seen.contains(Seen::FIN) {
            return;
        }
        self.seen |= Seen::FIN;
        self.fin_end = segment.end();
        match self.state {
            Some(State::Established | State::SynReceived) => self.enter(State::FinWait1, Rule::CloseSent, moves),
            // The peer's FIN passed the observer, but this one shows that it had not arrived: the FINs crossed on the way.
            Some(State::CloseWait)
                if self.seen.contains(Seen::PEER_FIN) && segment.ack.is_before(self.peer_fin_end) =>
            {
                self.enter(State::Closing, Rule::FinsCrossed, moves);
            }
            Some(State::CloseWait) => self.enter(State::LastAck, Rule::CloseAnswered, moves),
            None if self.seen.contains(Seen::PEER_FIN_TAKEN) => self.enter(State::LastAck, Rule::CloseAnswered, moves),
            None if self.seen.contains(Seen::PEER_OCTETS) => self.enter(State::FinWait1, Rule::CloseSent, moves),
            _ => {}
        }
    }

    fn sent_reset(&mut self, segment: &Segment, moves: &mut Path) {
        match self.state {
            None if self.seen.contains(Seen::PASSIVE) => self.enter(State::Closed, Rule::Refused, moves),
            // A RST that answers an unacceptable ACK in SYN-SENT carries that ACK's number and leaves the state as it is.
            Some(State::SynSent) if segment.seq.since(self.isn) > 1 || segment.seq.is_before(self.isn) => {}
            None | Some(State::Closed | State::Listen) => {
                if self.state.is_none() {
                    self.enter(State::Closed, Rule::Aborted, moves);
                }
            }
            Some(_) => self.enter(State::Closed, Rule::Aborted, moves),
        }
    }

    fn received_reset(&mut self, segment: &Segment, moves: &mut Path) {
        match self.state {
            Some(State::Closed | State::Listen) => {}
            Some(State::SynSent) => {
                if segment.flags.contains(Flags::ACK) && segment.ack == self.isn.plus(1) {
                    self.enter(State::Closed, Rule::ConnectRefused, moves);
                }
            }
            Some(State::SynReceived) if self.seen.contains(Seen::PASSIVE) => {
                self.enter(State::Listen, Rule::HandshakeReset, moves);
            }
            // Only a SYN came before: whoever got it and this RST has nothing left of either.
            None if self.seen == Seen::PASSIVE => {}
            _ => self.enter(State::Closed, Rule::Reset, moves),
        }
    }

    fn received_ack(&mut self, ack: Seq, moves: &mut Path) {
        let fin_acked = self.seen.contains(Seen::FIN) && !ack.is_before(self.fin_end);
        if self.state == Some(State::SynReceived) && self.seen.contains(Seen::SYN) && ack.is_after(self.isn) {
            self.enter(State::Established, Rule::SynAcked, moves);
        }
        match self.state {
            Some(State::FinWait1) if fin_acked => self.enter(State::FinWait2, Rule::FinAcked, moves),
            Some(State::Closing) if fin_acked => self.enter(State::TimeWait, Rule::CrossedFinAcked, moves),
            Some(State::LastAck) if fin_acked => self.enter(State::Closed, Rule::LastAck, moves),
            _ => {}
        }
    }

    fn take_fin(&mut self, moves: &mut Path) {
        if self.seen.contains(Seen::PEER_FIN_TAKEN) {
            return;
        }
        self.seen |= Seen::PEER_FIN_TAKEN;
        match self.state {
            Some(State::Established | State::SynReceived) => self.enter(State::CloseWait, Rule::FinTaken, moves),
            Some(State::FinWait1) => self.enter(State::Closing, Rule::FinsCrossed, moves),
            Some(State::FinWait2) => self.enter(State::TimeWait, Rule::LastFinTaken, moves),
            None if self.seen.contains(Seen::OCTETS) && !self.seen.contains(Seen::FIN) => {
                self.enter(State::CloseWait, Rule::FinTaken, moves);
            }
            _ => {}
        }
    }

    fn enter(&mut self, to: State, rule: Rule, moves: &mut Path) {
        let step = Move { from: self.state, to, rule };
        self.state = Some(to);
        moves.push(step);
    }
}

/// Collects the moves of one segment; a third would replace the second, and no segment causes three.
#[derive(Default)]
struct Path(Moves);

impl Path {
    fn push(&mut self, step: Move) {
        match &mut self.0 {
            [first @ None, _] => *first = Some(step),
            [_, second @ None] => *second = Some(step),
            [_, Some(second)] => *second = Move { from: second.from, ..step },
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;
    use std::net::{IpAddr, Ipv4Addr};

    use super::*;
    use crate::script::{self, Actor};
    use crate::wire::{Oddities, Options};

    /// Runs a script on both ends and holds the states of client and server, which stand after `=`, after every segment.
    ///
    /// The client's octets start at 100, the server's at 300.
    fn check(client: Endpoint, server: Endpoint, script: &str) {
        let (mut client, mut server) = (client, server);
        let mut in_order = [None, None];
        for placed in script::performed(script).segments {
            let (segment, from_client) = (placed.segment, placed.from == Actor::CLIENT);
            let next = &mut in_order[usize::from(!from_client)];
            let expected = next.unwrap_or(segment.seq);
            if !segment.seq.is_after(expected) && segment.end().is_after(expected) {
                *next = Some(segment.end());
            }
            let contiguous = next.unwrap_or(segment.seq);
            let (sender, receiver) = if from_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let _ = sender.sent(&segment);
            if placed.arrives {
                let _ = receiver.received(&segment, contiguous);
            }
            let name = |end: &Endpoint| end.state().map_or("?", State::name);
            let states = placed.expected.expect("states after =");
            assert_eq!(format!("{} {}", name(&client), name(&server)), states, "after segment {}", segment.frame);
        }
    }

    fn segment(flags: Flags, seq: u32, len: u32, ack: u32) -> Segment {
        Segment {
            at: None,
            frame: 1,
            src: IpAddr::V4(Ipv4Addr::LOCALHOST),
            dst: IpAddr::V4(Ipv4Addr::LOCALHOST),
            src_port: 1,
            dst_port: 2,
            seq: Seq(seq),
            ack: Seq(ack),
            flags,
            window: 1000,
            urgent: 0,
            checksum: 0,
            ip_id: None,
            ttl: 64,
            len,
            oddities: Oddities::empty(),
            options: Options::default(),
        }
    }

    const HANDSHAKE: &str = "
        C > S: S  100(0)            = SYN-SENT ?
        S > C: S. 300(0) ack 101    = ESTABLISHED SYN-RECEIVED
        C > S: .  101(0) ack 301    = ESTABLISHED ESTABLISHED
    ";

    fn opened(script: &str) {
        check(Endpoint::closed(), Endpoint::unknown(), &format!("{HANDSHAKE}{script}"));
    }

    // ---- opening -------------------------------------------------------------------------------------------------

    #[test]
    fn a_lost_syn_ack_and_its_repetition_move_each_end_once() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(0)               = SYN-SENT ?
            S > C: S. 300(0) ack 101 lost  = SYN-SENT SYN-RECEIVED
            C > S: S  100(0)               = SYN-SENT SYN-RECEIVED
            S > C: S. 300(0) ack 101       = ESTABLISHED SYN-RECEIVED
            C > S: .  101(0) ack 301       = ESTABLISHED ESTABLISHED
            ",
        );
    }

    #[test]
    fn a_refused_connection_closes_the_client_and_never_listened() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "C > S: S 100(0) = SYN-SENT ?\n S > C: R. 0(0) ack 101 = CLOSED CLOSED",
        );
    }

    #[test]
    fn a_reset_that_does_not_acknowledge_the_syn_is_ignored() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "C > S: S 100(0) = SYN-SENT ?\n S > C: R. 0(0) ack 77 = SYN-SENT CLOSED",
        );
    }

    #[test]
    fn syns_that_cross_open_both_ends() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(0)           = SYN-SENT ?
            S > C: S  300(0)           = SYN-RECEIVED SYN-SENT
            S > C: S. 300(0) ack 101   = ESTABLISHED SYN-RECEIVED
            C > S: S. 100(0) ack 301   = ESTABLISHED ESTABLISHED
            C > S: .  101(0) ack 301   = ESTABLISHED ESTABLISHED
            ",
        );
    }

    #[test]
    fn a_reset_in_the_handshake_lets_the_server_listen_again() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "C > S: S 100(0) = SYN-SENT ?\n S > C: S. 300(0) ack 101 = ESTABLISHED SYN-RECEIVED\n C > S: R 101(0) = CLOSED LISTEN",
        );
    }

    #[test]
    fn an_unseen_syn_ack_is_implied_by_what_follows() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "C > S: S 100(0) = SYN-SENT ?\n C > S: P. 101(5) ack 301 = ESTABLISHED ?",
        );
    }

    // ---- closing -------------------------------------------------------------------------------------------------

    #[test]
    fn four_segments_close_in_order() {
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: .  301(0) ack 102 = FIN-WAIT-2 CLOSE-WAIT
            S > C: F. 301(0) ack 102 = TIME-WAIT LAST-ACK
            C > S: .  102(0) ack 302 = TIME-WAIT CLOSED
            ",
        );
    }

    #[test]
    fn a_fin_that_acknowledges_a_fin_goes_through_fin_wait_2() {
        let mut end = Endpoint::new(Some(State::Established));
        let _ = end.sent(&segment(Flags::FIN | Flags::ACK, 101, 0, 301));
        let moves = end.received(&segment(Flags::FIN | Flags::ACK, 301, 0, 102), Seq(302));
        assert_eq!(moves.map(|step| step.map(|step| step.to)), [Some(State::FinWait2), Some(State::TimeWait)]);
    }

    #[test]
    fn fins_that_cross_wait_at_both_ends() {
        opened(
            "
            C > S: F. 101(0) ack 301 lost = FIN-WAIT-1 ESTABLISHED
            S > C: F. 301(0) ack 101      = CLOSING FIN-WAIT-1
            C > S: .  102(0) ack 302      = CLOSING FIN-WAIT-2
            S > C: .  302(0) ack 102      = TIME-WAIT FIN-WAIT-2
            ",
        );
    }

    #[test]
    fn a_fin_behind_a_gap_waits_for_the_octets() {
        opened(
            "
            C > S: P. 101(5) ack 301 lost = ESTABLISHED ESTABLISHED
            C > S: F. 106(0) ack 301      = FIN-WAIT-1 CLOSE-WAIT
            ",
        );
        let mut server = Endpoint::new(Some(State::Established));
        let _ = server.received(&segment(Flags::FIN | Flags::ACK, 106, 0, 301), Seq(101));
        assert_eq!(server.state(), Some(State::Established));
        let _ = server.received(&segment(Flags::PSH | Flags::ACK, 101, 5, 301), Seq(107));
        assert_eq!(server.state(), Some(State::CloseWait));
    }

    #[test]
    fn a_repeated_fin_moves_nothing() {
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: F. 301(0) ack 102 = TIME-WAIT LAST-ACK
            S > C: F. 301(0) ack 102 = TIME-WAIT LAST-ACK
            C > S: .  102(0) ack 302 = TIME-WAIT CLOSED
            ",
        );
    }

    #[test]
    fn a_reset_closes_both_ends() {
        opened("S > C: R. 301(0) ack 101 = CLOSED CLOSED");
    }

    // ---- midstream -----------------------------------------------------------------------------------------------

    #[test]
    fn midstream_ends_become_known_when_only_one_state_is_left() {
        check(
            Endpoint::unknown(),
            Endpoint::unknown(),
            "
            C > S: P. 101(5) ack 301 = ? ?
            S > C: P. 301(5) ack 106 = ESTABLISHED ESTABLISHED
            C > S: F. 106(0) ack 306 = FIN-WAIT-1 CLOSE-WAIT
            S > C: F. 306(0) ack 107 = TIME-WAIT LAST-ACK
            C > S: .  107(0) ack 307 = TIME-WAIT CLOSED
            ",
        );
        check(Endpoint::unknown(), Endpoint::unknown(), "C > S: F. 101(0) ack 301 = ? ?");
        check(
            Endpoint::unknown(),
            Endpoint::unknown(),
            "C > S: . 101(0) ack 301 = ? ?\n S > C: R. 301(0) ack 101 = CLOSED CLOSED",
        );
    }

    // ---- every cell ----------------------------------------------------------------------------------------------

    /// Every (state × event) cell in words, so that a change of the machine reads as a change of `docs/transitions.txt`.
    #[test]
    fn the_table_of_transitions_is_the_one_in_the_docs() {
        let events: [(&str, bool, Flags, u32, u32, u32); 13] = [
            ("sends SYN", true, Flags::SYN, 100, 0, 0),
            ("sends SYN-ACK", true, Flags::SYN.union(Flags::ACK), 100, 0, 301),
            ("sends octets", true, Flags::ACK, 101, 5, 301),
            ("sends FIN", true, Flags::FIN.union(Flags::ACK), 101, 0, 302),
            ("sends FIN, the peer's not seen", true, Flags::FIN.union(Flags::ACK), 101, 0, 301),
            ("sends RST", true, Flags::RST, 101, 0, 0),
            ("receives SYN", false, Flags::SYN, 300, 0, 0),
            ("receives SYN-ACK of its SYN", false, Flags::SYN.union(Flags::ACK), 300, 0, 101),
            ("receives ACK of its SYN", false, Flags::ACK, 301, 0, 101),
            ("receives ACK of its FIN", false, Flags::ACK, 301, 0, 102),
            ("receives FIN", false, Flags::FIN.union(Flags::ACK), 301, 0, 101),
            ("receives FIN with ACK of its FIN", false, Flags::FIN.union(Flags::ACK), 301, 0, 102),
            ("receives RST", false, Flags::RST.union(Flags::ACK), 301, 0, 101),
        ];
        let mut table = String::from(
            "One line per state of an end and event at that end: the state it enters and the arm of the machine that moves it.\n\
             Written by the test the_table_of_transitions_is_the_one_in_the_docs; TCPFLOW_BLESS=1 rewrites it.\n\n",
        );
        for state in State::ALL.into_iter().map(Some).chain([None]) {
            for (event, sends, flags, seq, len, ack) in events {
                let mut end = Endpoint::new(state);
                if !matches!(state, Some(State::Closed | State::Listen) | None) {
                    end.seen |= Seen::SYN;
                    end.isn = Seq(100);
                }
                if matches!(
                    state,
                    Some(State::FinWait1 | State::FinWait2 | State::Closing | State::LastAck | State::TimeWait)
                ) {
                    end.seen |= Seen::FIN;
                    end.fin_end = Seq(102);
                }
                if matches!(state, Some(State::CloseWait | State::Closing | State::LastAck | State::TimeWait)) {
                    end.seen |= Seen::PEER_FIN | Seen::PEER_FIN_TAKEN;
                    end.peer_fin_end = Seq(302);
                }
                let segment = segment(flags, seq, len, ack);
                let moves = if sends { end.sent(&segment) } else { end.received(&segment, segment.end()) };
                let from = state.map_or("unknown", State::name);
                let to: Vec<_> =
                    moves.iter().flatten().map(|step| format!("{} ({})", step.to, step.rule.name())).collect();
                let to = if to.is_empty() { "-".to_owned() } else { to.join(", then ") };
                writeln!(table, "{from:<13}{event:<33}{to}").expect("a string takes all");
            }
            table.push('\n');
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/transitions.txt");
        if std::env::var_os("TCPFLOW_BLESS").is_some() {
            std::fs::write(path, &table).expect("docs/transitions.txt can be written");
        }
        let kept = std::fs::read_to_string(path).expect("docs/transitions.txt is there; TCPFLOW_BLESS=1 writes it");
        assert!(
            kept == table,
            "the machine differs from docs/transitions.txt; if that is meant, run with TCPFLOW_BLESS=1"
        );
    }
}
