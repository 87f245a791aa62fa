//! One end's machine of RFC 9293, driven by the segments that the end sends and receives, and corrected by what it sends later.

use super::State;
use super::around::{Around, Novelty, ResetEffect};
use super::moves::{Basis, Move, MoveList, Moves, Rule};
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
/// What was sent to it is believed to have arrived when the observer saw it pass; what the end sends afterwards may show that it had not
/// (the same SYN again, an ACK below the FIN, octets after a RST), and the machine goes back: [`Rule::NotArrived`], [`Rule::WentOn`].
/// An end whose past was not seen has no state until something it does leaves only one possible.
/// A passive end is one of these until it answers: a SYN alone does not tell whether somebody listens.
#[derive(Clone, Copy, Debug)]
pub struct Endpoint {
    state: Option<State>,
    /// With [`Seen::RESET_SENT`] or [`Seen::RESET_TAKEN`]: the state that the RST ended.
    /// Without: FIN-WAIT-2 where the peer's FIN brings the acknowledgement of this end's, so that taking it leads through that state.
    before: Option<State>,
    seen: Seen,
    /// With [`Seen::ACKED`]: the highest number that it acknowledged.
    top_ack: Seq,
    /// With [`Seen::FIN`]: the sequence number after the FIN it sent; without: after one on its SYN, which counts once it is acknowledged.
    fin_end: Seq,
    /// With [`Seen::PEER_FIN`]: the sequence number after the peer's FIN; without: after one on the peer's SYN, which most drop.
    peer_fin_end: Seq,
}

bitflags::bitflags! {
    /// What is known of an end; what is believed only is marked so.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Seen: u16 {
        /// It acknowledged something: `top_ack` holds.
        const ACKED = 0x0001;
        /// It sent a FIN.
        const FIN = 0x0002;
        /// A FIN was sent to it.
        const PEER_FIN = 0x0004;
        /// That FIN reached it; believed unless [`Self::PEER_FIN_PROVEN`].
        const PEER_FIN_TAKEN = 0x0008;
        /// It sent octets.
        const OCTETS = 0x0010;
        /// Octets reached it.
        const PEER_OCTETS = 0x0020;
        /// A SYN-ACK was sent to it.
        const PEER_SYN_ACK = 0x0040;
        /// The connection came to it (passive open).
        const PASSIVE = 0x0080;
        /// It acknowledged the peer's FIN.
        const PEER_FIN_PROVEN = 0x0100;
        /// The acknowledgement of its FIN is believed to have reached it.
        const FIN_ACKED = 0x0200;
        /// It sent its FIN before it took the peer's.
        const CLOSED_FIRST = 0x0400;
        /// Its SYN-ACK acknowledged octets of the SYN: Fast Open (RFC 7413).
        const FAST_OPEN = 0x0800;
        /// It sent a SYN without ACK (active open).
        const ACTIVE = 0x1000;
        /// It sent the RST that is believed to have ended it.
        const RESET_SENT = 0x2000;
        /// A RST that reached it is believed to have ended it.
        const RESET_TAKEN = 0x4000;
        /// A segment of its own proves the state it is in.
        const PROVEN = 0x8000;
    }
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
        Self { state, before: None, seen: Seen::empty(), top_ack: Seq(0), fin_end: Seq(0), peer_fin_end: Seq(0) }
    }

    /// Its state; `None` while not known.
    pub const fn state(&self) -> Option<State> {
        self.state
    }

    /// What its state rests on.
    pub const fn basis(&self) -> Basis {
        if self.seen.contains(Seen::PROVEN) { Basis::Sent } else { Basis::Assumed }
    }

    /// Whether a RST is believed to have ended it.
    pub const fn is_reset(&self) -> bool {
        self.seen.intersects(Seen::RESET_SENT.union(Seen::RESET_TAKEN))
    }

    /// Whether it sent its FIN before it took the peer's.
    pub const fn closed_first(&self) -> bool {
        self.seen.contains(Seen::CLOSED_FIRST)
    }

    /// Whether it sent a FIN that counts.
    pub const fn sent_fin(&self) -> bool {
        self.seen.contains(Seen::FIN)
    }

    /// The sequence number after the FIN that it sent.
    pub fn fin_end(&self) -> Option<Seq> {
        self.sent_fin().then_some(self.fin_end)
    }

    /// The highest number that it acknowledged.
    pub fn top_ack(&self) -> Option<Seq> {
        self.seen.contains(Seen::ACKED).then_some(self.top_ack)
    }

    /// Takes note of what a segment of the end acknowledges; to be called for each of them, before [`sent`](Self::sent).
    /// Returns whether it had acknowledged more before: then the segment was overtaken by one that was sent later.
    #[inline]
    pub fn acknowledges(&mut self, segment: &Segment) -> bool {
        if segment.flags & (Flags::ACK | Flags::RST) != Flags::ACK {
            return false;
        }
        // What an end acknowledged before its SYN-ACK was of an older connection.
        let opens = segment.flags.contains(Flags::SYN)
            && matches!(self.state, None | Some(State::Closed | State::Listen | State::SynSent));
        if opens {
            self.seen.remove(Seen::ACKED);
        }
        if self.seen.contains(Seen::ACKED) && segment.ack.is_before(self.top_ack) {
            return true;
        }
        self.seen |= Seen::ACKED;
        self.top_ack = segment.ack;
        if self.state == Some(State::Established) && !segment.flags.contains(Flags::SYN) {
            self.seen |= if segment.len > 0 { Seen::PROVEN.union(Seen::OCTETS) } else { Seen::PROVEN };
        }
        false
    }

    /// The end sent `segment`.
    pub fn sent(&mut self, segment: &Segment, around: &Around) -> Moves {
        let flags = segment.flags;
        let mut moves = MoveList::default();
        if around.novelty == Novelty::Copy {
            return moves.0;
        }
        if flags.contains(Flags::RST) {
            self.send_reset(segment, around, &mut moves);
            return moves.0;
        }
        let again = self.go_on(segment, around, &mut moves);
        if flags.contains(Flags::SYN) {
            self.send_syn(segment, around, &mut moves);
        } else {
            self.implied_open(segment, around, &mut moves);
        }
        if segment.len > 0 {
            self.seen |= Seen::OCTETS;
        }
        let mut had_answered = false;
        if flags.contains(Flags::ACK) {
            if self.seen.contains(Seen::PEER_FIN) {
                self.belie_peer_fin(segment.ack, around, &mut moves);
            } else if around.peer_fin == Some(segment.ack) {
                // The peer's FIN was lost before it was captured: numbers of the peer's own have shown it.
                self.seen |= Seen::PEER_FIN;
                self.peer_fin_end = segment.ack;
            }
        }
        if flags.contains(Flags::ACK) && self.seen.contains(Seen::PEER_FIN) {
            had_answered = self.seen.contains(Seen::PEER_FIN_PROVEN);
            // An acknowledgement of the peer's FIN proves that it arrived, whatever the observer saw of the octets before it.
            if !segment.ack.is_before(self.peer_fin_end) {
                // What echoes an older timestamp than that of the FIN that came again answers the one before.
                let echoed = segment.options.timestamps.map(|(_, echoed)| Seq(echoed));
                let answers_again =
                    around.peer_fin_again.zip(echoed).is_some_and(|(again, echoed)| !echoed.is_before(Seq(again)));
                if answers_again && !self.seen.contains(Seen::PEER_FIN_PROVEN) {
                    self.forget_peer_fin(&mut moves);
                }
                self.take_fin(&mut moves);
                self.seen |= Seen::PEER_FIN_PROVEN;
            } else if around.novelty == Novelty::New
                && self.seen & (Seen::PEER_FIN_TAKEN | Seen::PEER_FIN_PROVEN) == Seen::PEER_FIN_TAKEN
                && self.top_ack == segment.ack
            {
                self.forget_peer_fin(&mut moves);
            }
        }
        let is_stray = || !self.seen.contains(Seen::FIN) && is_below(segment, around.peer_acked, around);
        if flags.contains(Flags::FIN) && (!flags.contains(Flags::SYN) || flags.contains(Flags::ACK)) && !is_stray() {
            self.send_fin(segment, around, &mut moves);
        } else if self.is_fin_unacknowledged(segment, around) {
            self.forget_fin_ack(&mut moves);
        }
        self.fin_before_capture(segment, around, had_answered, &mut moves);
        self.open_both_ways(&mut moves);
        if let Some((state, rule, bit)) = again {
            self.end(state, rule, bit, &mut moves);
        } else {
            self.prove(segment);
        }
        moves.0
    }

    /// `segment`, sent by the peer, passed on its way to the end; `effect` is what it does if it is a RST.
    pub fn received(&mut self, segment: &Segment, around: &Around, effect: ResetEffect) -> Moves {
        let flags = segment.flags;
        let mut moves = MoveList::default();
        if around.novelty == Novelty::Copy {
            return moves.0;
        }
        if flags.contains(Flags::RST) {
            if effect == ResetEffect::Ends {
                // A FIN that passed before it has come by now, though acknowledgements crossed it on the way.
                if self.is_peer_fin_due(around) {
                    self.take_fin(&mut moves);
                }
                self.take_reset(&mut moves);
            }
            return moves.0;
        }
        if flags.contains(Flags::SYN | Flags::ACK) {
            self.seen |= Seen::PEER_SYN_ACK;
        }
        if self.is_reset() || self.is_outside(segment, around) {
            return moves.0;
        }
        // What was sent after the FIN arrives after it.
        if self.is_peer_fin_due(around) && !segment.seq.is_before(self.peer_fin_end) {
            self.take_fin(&mut moves);
        }
        if flags.contains(Flags::SYN) {
            self.take_syn(segment, around, &mut moves);
        }
        self.fin_acknowledged_unseen(segment, around, &mut moves);
        if flags.contains(Flags::ACK) {
            self.take_ack(segment.ack, around, &mut moves);
        }
        if segment.len > 0 {
            self.seen |= Seen::PEER_OCTETS;
        }
        // A FIN that comes before the handshake is none of this connection (3.10.7.3).
        let heeds_fin = || {
            self.state != Some(State::SynSent)
                && (!flags.contains(Flags::SYN) || flags.contains(Flags::ACK))
                && !is_below(segment, self.top_ack(), around)
        };
        if flags.contains(Flags::FIN) && heeds_fin() {
            let brings_ack =
                flags.contains(Flags::ACK) && self.seen.contains(Seen::FIN) && !segment.ack.is_before(self.fin_end);
            self.before = brings_ack.then_some(State::FinWait2);
            if !self.seen.contains(Seen::PEER_FIN) {
                self.seen |= Seen::PEER_FIN;
                self.peer_fin_end = segment.end();
            } else if segment.end() == self.peer_fin_end && around.novelty == Novelty::New {
                // The peer repeats its FIN: the one before had not arrived, or its acknowledgement is on its way.
                // Where there are timestamps, that acknowledgement tells which.
                let is_told = segment.options.timestamps.is_some();
                if !is_told && self.seen & (Seen::PEER_FIN_TAKEN | Seen::PEER_FIN_PROVEN) == Seen::PEER_FIN_TAKEN {
                    self.forget_peer_fin(&mut moves);
                }
            }
        }
        if self.is_peer_fin_due(around) && (flags.contains(Flags::FIN) || segment.len > 0) {
            self.take_fin(&mut moves);
        }
        self.open_both_ways(&mut moves);
        moves.0
    }

    /// What a RST in `segment`, sent by the peer, does to the end; `expected` says up to where the peer's octets may have arrived.
    pub fn reset_effect(&self, segment: &Segment, around: &Around) -> ResetEffect {
        match self.state {
            Some(State::SynSent) => {
                let newest = around.peer_next.or(around.peer_isn.map(|isn| isn.plus(1)));
                let acknowledges = segment.flags.contains(Flags::ACK)
                    && around.peer_isn.is_none_or(|isn| segment.ack.is_after(isn))
                    && newest.is_none_or(|newest| !segment.ack.is_after(newest));
                return if acknowledges { ResetEffect::Ends } else { ResetEffect::Ignored };
            }
            Some(State::Closed | State::Listen) => return ResetEffect::Ends,
            _ => {}
        }
        let Some(low) = self.top_ack() else { return ResetEffect::Ends };
        let high = if around.in_order.is_before(low) { low } else { around.in_order };
        let may_be_next = !segment.seq.is_before(low) && !segment.seq.is_after(high);
        // A hole before it may be the capture's; Linux also heeds a RST at the end of what it acknowledged by SACK.
        let is_newest = around.next == Some(segment.seq) && !segment.seq.is_before(low);
        if may_be_next || is_newest {
            ResetEffect::Ends
        } else if !segment.seq.is_before(low) && segment.seq.since(low).unsigned_abs() < around.room.max(1) {
            ResetEffect::Challenged
        } else {
            ResetEffect::Ignored
        }
    }

    // ---- what it sends -------------------------------------------------------------------------------------------

    /// Takes back that a RST ended the end, which goes on; returns how it is to be ended again, where that RST is only still on its way.
    fn go_on(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) -> Option<(State, Rule, Seen)> {
        if around.novelty != Novelty::New {
            return None;
        }
        if !self.is_reset() {
            // The last ACK had not reached an end that still speaks; a bare ACK may have crossed it.
            let is_done = self.state == Some(State::Closed) && self.seen.contains(Seen::FIN | Seen::FIN_ACKED);
            if is_done && !segment.flags.contains(Flags::SYN) && segment.seq_len() == 0 {
                self.forget_fin_ack(moves);
                self.seen |= Seen::FIN_ACKED;
                return Some((State::Closed, Rule::LastAck, Seen::empty()));
            }
            return None;
        }
        let ended = self.state?;
        let taken = self.seen.contains(Seen::RESET_TAKEN);
        let bit = if taken { Seen::RESET_TAKEN } else { Seen::RESET_SENT };
        self.seen.remove(Seen::RESET_SENT | Seen::RESET_TAKEN | Seen::PROVEN);
        let restored =
            self.before.or(if self.seen.contains(Seen::PASSIVE) { Some(State::Listen) } else { self.open_state() });
        if let Some(restored) = restored {
            self.step(restored, Rule::WentOn, moves);
        }
        // The acknowledgement of its SYN-ACK, which its bare RST seemed to belie, had arrived after all.
        if !taken
            && restored == Some(State::SynReceived)
            && !segment.flags.contains(Flags::SYN)
            && around.peer_ack.is_some()
        {
            self.enter(State::Established, Rule::SynAcked, moves);
        }
        let past_reset =
            segment.flags.contains(Flags::ACK) && around.last_reset.is_none_or(|seq| segment.ack.is_after(seq));
        let on_its_way = taken && !past_reset && !segment.flags.contains(Flags::SYN);
        let rule = if ended == State::Listen { Rule::HandshakeReset } else { Rule::Reset };
        on_its_way.then_some((ended, rule, bit))
    }

    fn send_syn(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        let answers = segment.flags.contains(Flags::ACK);
        let repeats =
            around.isn == Some(segment.seq) && around.novelty == Novelty::New && !self.seen.contains(Seen::PROVEN);
        if !self.seen.contains(Seen::FIN) {
            self.fin_end = fin_on(segment);
        }
        if answers
            && !self.seen.contains(Seen::PEER_FIN)
            && reaches_fin(segment.ack, around.peer_isn, self.peer_fin_end)
        {
            self.seen |= Seen::PEER_FIN;
        }
        match (self.state, answers) {
            (None | Some(State::Closed | State::Listen), false) => {
                self.state.get_or_insert(State::Closed);
                self.seen |= Seen::ACTIVE;
                self.enter(State::SynSent, Rule::ActiveOpen, moves);
                self.seen |= Seen::PROVEN;
            }
            (None | Some(State::Listen | State::Closed), true) => {
                if self.state == Some(State::Closed) && self.seen.intersects(Seen::ACTIVE | Seen::FIN) {
                    return;
                }
                self.state = Some(State::Listen);
                // What came from it before its SYN was none of this connection.
                self.seen.remove(Seen::FIN | Seen::CLOSED_FIRST | Seen::OCTETS | Seen::FIN_ACKED);
                self.seen |= Seen::PASSIVE;
                self.note_fast_open(segment, around);
                self.enter(State::SynReceived, Rule::SynTaken, moves);
                self.seen |= Seen::PROVEN;
            }
            (Some(State::SynSent), true) => {
                self.enter(State::SynReceived, Rule::SimultaneousOpen, moves);
                self.seen |= Seen::PROVEN;
            }
            (Some(State::SynSent | State::SynReceived), _) => {}
            // The same SYN again: its answer had not arrived.
            (Some(_), false) if repeats && self.seen.contains(Seen::ACTIVE) && !self.seen.contains(Seen::FIN) => {
                self.forget_arrivals();
                self.step(State::SynSent, Rule::NotArrived, moves);
                self.seen |= Seen::PROVEN;
            }
            // An end that opened and answers a SYN had taken it before its own was answered.
            (Some(_), true) if self.seen.contains(Seen::ACTIVE) && repeats && !self.seen.contains(Seen::FIN) => {
                self.step(State::SynSent, Rule::NotArrived, moves);
                self.enter(State::SynReceived, Rule::SimultaneousOpen, moves);
                // The answer to its own SYN is on its way.
                self.enter(State::Established, Rule::SynAcked, moves);
            }
            // The same SYN-ACK again: the handshake had not ended.
            (Some(_), true) if repeats && !self.seen.contains(Seen::ACTIVE) => {
                let waits = !self.seen.contains(Seen::FIN)
                    && (!self.seen.contains(Seen::OCTETS) || self.seen.contains(Seen::FAST_OPEN));
                if waits {
                    self.forget_arrivals();
                    self.step(State::SynReceived, Rule::NotArrived, moves);
                    self.seen |= Seen::PROVEN;
                }
            }
            _ => {}
        }
    }

    fn note_fast_open(&mut self, segment: &Segment, around: &Around) {
        let plain = around.peer_isn.map(|isn| isn.plus(1));
        if plain.is_some_and(|plain| segment.ack.is_after(plain)) {
            self.seen |= Seen::FAST_OPEN;
        }
    }

    /// A segment without SYN and RST, from an end that was not seen to open: it must have.
    fn implied_open(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        let takes_octets =
            segment.flags.contains(Flags::ACK) && around.peer_isn.is_some_and(|isn| segment.ack.is_after(isn.plus(1)));
        let implied = match self.state {
            Some(State::SynSent) => segment.flags.contains(Flags::ACK),
            // A FIN may leave in SYN-RECEIVED (3.10.4); octets leave it, and are acknowledged in it, only with Fast Open.
            Some(State::SynReceived) => {
                let sends_octets = segment.len > 0 && !segment.flags.contains(Flags::FIN);
                (sends_octets || takes_octets) && !self.seen.contains(Seen::FAST_OPEN)
            }
            None => self.seen.contains(Seen::PEER_SYN_ACK) && segment.flags.contains(Flags::ACK),
            _ => false,
        };
        if implied {
            let rule = if self.seen.contains(Seen::PEER_SYN_ACK) { Rule::SynAckTaken } else { Rule::AckUnseen };
            self.enter(State::Established, rule, moves);
            self.seen |= Seen::PROVEN;
        }
    }

    fn open_both_ways(&mut self, moves: &mut MoveList) {
        if self.state.is_none()
            && self.seen.contains(Seen::OCTETS | Seen::PEER_OCTETS)
            && !self.seen.intersects(Seen::FIN | Seen::PEER_FIN | Seen::PASSIVE)
        {
            self.enter(State::Established, Rule::OpenBothWays, moves);
        }
    }

    /// With Fast Open a server may close before the handshake ends: it has heard nothing newer than the SYN.
    fn closes_half_open(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        let heard = segment.options.timestamps.map(|(_, echoed)| echoed);
        if self.state == Some(State::Established)
            && self.seen.contains(Seen::PASSIVE | Seen::FAST_OPEN)
            && around.peer_syn_stamp.is_some()
            && heard == around.peer_syn_stamp
        {
            self.step(State::SynReceived, Rule::NotArrived, moves);
        }
    }

    fn send_fin(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        if self.seen.contains(Seen::FIN) {
            if around.novelty == Novelty::New && segment.end() == self.fin_end {
                self.forget_fin_ack(moves);
            }
            return;
        }
        self.closes_half_open(segment, around, moves);
        self.close(segment.end(), moves);
    }

    /// The end sent its FIN, which ends at `fin_end`.
    fn close(&mut self, fin_end: Seq, moves: &mut MoveList) {
        self.seen |= Seen::FIN;
        self.fin_end = fin_end;
        self.seen.set(Seen::CLOSED_FIRST, !self.seen.contains(Seen::PEER_FIN_TAKEN));
        let to = match self.state {
            Some(State::Established | State::SynReceived) => State::FinWait1,
            Some(State::CloseWait) => State::LastAck,
            None if self.seen.contains(Seen::PEER_FIN_TAKEN) => State::LastAck,
            None if self.seen.contains(Seen::PEER_OCTETS) => State::FinWait1,
            _ => return,
        };
        let rule = if to == State::LastAck { Rule::CloseAnswered } else { Rule::CloseSent };
        self.enter(to, rule, moves);
        self.seen |= Seen::PROVEN;
    }

    /// The peer acknowledged, with the SYN of the end, a FIN that this carried: it was sent after all.
    fn close_with_syn(&mut self, ack: Seq, around: &Around, moves: &mut MoveList) {
        if !self.seen.contains(Seen::FIN) && reaches_fin(ack, around.peer_isn, self.fin_end) {
            self.close(self.fin_end, moves);
        }
    }

    /// The number of an acknowledgement that takes none shows that the end had sent its FIN, which was lost before it was captured:
    /// it lies one past all that it sent, and acknowledges the peer's FIN. The FINs crossed, unless the peer's had been answered before.
    fn fin_before_capture(&mut self, segment: &Segment, around: &Around, had_answered: bool, moves: &mut MoveList) {
        let is_shown = segment.is_pure_ack()
            && !self.seen.contains(Seen::FIN)
            && self.seen.contains(Seen::PEER_FIN_PROVEN)
            && segment.ack == self.peer_fin_end
            && self.state == Some(State::CloseWait)
            && around.next.is_some_and(|next| next.plus(1) == segment.seq);
        if is_shown && had_answered {
            // It had acknowledged the peer's FIN before it sent its own.
            self.close(segment.seq, moves);
            if around.peer_ack == Some(segment.seq) {
                self.seen |= Seen::FIN_ACKED;
                self.enter(State::Closed, Rule::LastAck, moves);
            }
        } else if is_shown && around.peer_ack == Some(segment.seq) {
            // The peer had acknowledged that FIN with its own.
            self.seen.remove(Seen::PEER_FIN_TAKEN);
            self.step(State::Established, Rule::NotArrived, moves);
            self.close(segment.seq, moves);
            self.before = Some(State::FinWait2);
            self.take_fin(moves);
        } else if is_shown && around.tells_duplicate {
            // The peer's FIN had come before, and been answered: by the FIN that was lost.
            self.close(segment.seq, moves);
        } else if is_shown {
            self.seen.remove(Seen::PEER_FIN_TAKEN);
            self.step(State::Established, Rule::NotArrived, moves);
            self.close(segment.seq, moves);
            self.take_fin(moves);
        }
    }

    fn send_reset(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        let bare = !segment.flags.contains(Flags::ACK);
        match self.state {
            None if self.seen.contains(Seen::PASSIVE) => {
                self.end(State::Closed, Rule::Refused, Seen::RESET_SENT, moves)
            }
            None => self.end(State::Closed, Rule::Aborted, Seen::RESET_SENT, moves),
            Some(State::Closed | State::Listen) => {}
            // In SYN-SENT a RST with the number that somebody acknowledged answers that acknowledgement, and changes nothing (3.10.7.3).
            Some(State::SynSent) if around.peer_ack == Some(segment.seq) => {}
            Some(state) => {
                if around.novelty == Novelty::Overtaken || self.is_no_abort(segment, around) {
                    return;
                }
                // A bare RST comes from no socket: what it answers had not moved one.
                if bare && !self.seen.contains(Seen::PROVEN) {
                    let fin_only_believed =
                        self.seen & (Seen::PEER_FIN_TAKEN | Seen::PEER_FIN_PROVEN) == Seen::PEER_FIN_TAKEN;
                    if fin_only_believed && state != State::Established {
                        self.forget_peer_fin(moves);
                    }
                    match self.state.unwrap_or(state) {
                        State::Established if self.seen.contains(Seen::ACTIVE) => {
                            self.step(State::SynSent, Rule::NotArrived, moves);
                        }
                        State::Established
                            if self.seen.contains(Seen::PASSIVE) && !self.seen.contains(Seen::OCTETS) =>
                        {
                            self.step(State::SynReceived, Rule::NotArrived, moves);
                        }
                        _ => {}
                    }
                }
                self.end(State::Closed, Rule::Aborted, Seen::RESET_SENT, moves);
            }
        }
    }

    /// Whether the number of a RST is none that the end would send to abort: past all it sent, or below what the peer has acknowledged.
    fn is_no_abort(&self, segment: &Segment, around: &Around) -> bool {
        let too_high = around.next.is_some_and(|next| segment.seq.since(next) > 1);
        let too_low = around.peer_ack.is_some_and(|una| segment.seq.plus(1).is_before(una));
        too_high || too_low
    }

    /// Whether the segment repeats octets whose acknowledgement was believed to have arrived with that of the FIN.
    fn is_fin_unacknowledged(&self, segment: &Segment, around: &Around) -> bool {
        around.novelty == Novelty::New
            && self.seen.contains(Seen::FIN | Seen::FIN_ACKED)
            && segment.len > 1
            && segment.seq.is_before(self.fin_end)
    }

    /// A segment of its own proves where the end is.
    fn prove(&mut self, segment: &Segment) {
        if !segment.flags.contains(Flags::ACK) || segment.flags.contains(Flags::SYN) {
            return;
        }
        let proves = match self.state {
            Some(State::Established) => true,
            Some(State::CloseWait) => self.seen.contains(Seen::PEER_FIN_PROVEN),
            _ => false,
        };
        if proves {
            self.seen |= Seen::PROVEN;
        }
    }

    // ---- what reaches it -----------------------------------------------------------------------------------------

    /// Whether a half-open end drops the segment because it begins past its window (3.10.7.4).
    fn is_outside(&self, segment: &Segment, around: &Around) -> bool {
        self.state == Some(State::SynReceived)
            && !segment.flags.contains(Flags::SYN)
            && self.top_ack().is_some_and(|next| {
                segment.seq.is_before(next) && segment.end().is_before(next)
                    || segment.seq.since(next) > 0 && segment.seq.since(next).unsigned_abs() >= around.room.max(1)
            })
    }

    fn take_syn(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        let acceptable = |isn: Seq| {
            let newest = around.peer_next.filter(|next| next.is_after(isn)).unwrap_or(isn.plus(1));
            segment.ack.is_after(isn) && !segment.ack.is_after(newest)
        };
        if !self.seen.contains(Seen::PEER_FIN) {
            self.peer_fin_end = fin_on(segment);
        }
        match (self.state, segment.flags.contains(Flags::ACK)) {
            (Some(State::SynSent), false) => self.enter(State::SynReceived, Rule::SimultaneousOpen, moves),
            (Some(State::SynSent), true) if around.peer_isn.is_some_and(acceptable) => {
                self.forget_arrivals();
                self.enter(State::Established, Rule::SynAckTaken, moves);
                self.close_with_syn(segment.ack, around, moves);
            }
            (None | Some(State::Listen), false) => self.seen |= Seen::PASSIVE,
            _ => {}
        }
    }

    fn take_ack(&mut self, ack: Seq, around: &Around, moves: &mut MoveList) {
        let is_sent = around.peer_next.is_none_or(|next| !ack.is_after(next));
        if !is_sent && self.fin_end() != Some(ack) {
            return;
        }
        self.belie_own_fin(ack, moves);
        if self.state == Some(State::SynReceived) && around.peer_isn.is_some_and(|isn| ack.is_after(isn)) {
            self.enter(State::Established, Rule::SynAcked, moves);
            self.close_with_syn(ack, around, moves);
        }
        let fin_acked = self.seen.contains(Seen::FIN) && !ack.is_before(self.fin_end);
        let (to, rule) = match self.state {
            Some(State::FinWait1) if fin_acked => (State::FinWait2, Rule::FinAcked),
            Some(State::Closing) if fin_acked => (State::TimeWait, Rule::CrossedFinAcked),
            Some(State::LastAck) if fin_acked => (State::Closed, Rule::LastAck),
            _ => return,
        };
        self.seen |= Seen::FIN_ACKED;
        self.enter(to, rule, moves);
    }

    /// The peer's FIN was not captured: the end has acknowledged with its own FIN one number more than was seen of the peer,
    /// which goes on behind that number. So the end had taken that FIN when it closed.
    fn fin_acknowledged_unseen(&mut self, segment: &Segment, around: &Around, moves: &mut MoveList) {
        let is_shown = segment.is_pure_ack()
            && self.state == Some(State::FinWait1)
            && !self.seen.contains(Seen::PEER_FIN)
            && segment.ack == self.fin_end
            && self.top_ack() == Some(segment.seq)
            && around.next.is_some_and(|next| next.plus(1) == segment.seq);
        if !is_shown {
            return;
        }
        self.step(State::Established, Rule::NotArrived, moves);
        self.seen |= Seen::PEER_FIN | Seen::PEER_FIN_PROVEN;
        self.peer_fin_end = segment.seq;
        self.seen.remove(Seen::CLOSED_FIRST);
        self.take_fin(moves);
        self.enter(State::LastAck, Rule::CloseAnswered, moves);
    }

    /// Whether all before the peer's FIN has passed, and the FIN is not believed to have arrived.
    fn is_peer_fin_due(&self, around: &Around) -> bool {
        self.seen & (Seen::PEER_FIN | Seen::PEER_FIN_TAKEN) == Seen::PEER_FIN
            && !around.in_order.is_before(self.peer_fin_end)
    }

    fn take_fin(&mut self, moves: &mut MoveList) {
        if self.seen.contains(Seen::PEER_FIN_TAKEN) {
            return;
        }
        self.seen |= Seen::PEER_FIN_TAKEN;
        match self.state {
            Some(State::Established | State::SynReceived) => self.enter(State::CloseWait, Rule::FinTaken, moves),
            Some(State::FinWait1) if self.before == Some(State::FinWait2) => {
                self.seen |= Seen::FIN_ACKED;
                self.enter(State::FinWait2, Rule::FinAcked, moves);
                self.enter(State::TimeWait, Rule::LastFinTaken, moves);
            }
            Some(State::FinWait1) => self.enter(State::Closing, Rule::FinsCrossed, moves),
            Some(State::FinWait2) => self.enter(State::TimeWait, Rule::LastFinTaken, moves),
            None if self.seen.contains(Seen::OCTETS) && !self.seen.contains(Seen::FIN) => {
                self.enter(State::CloseWait, Rule::FinTaken, moves);
            }
            _ => {}
        }
    }

    fn take_reset(&mut self, moves: &mut MoveList) {
        let (to, rule) = match self.state {
            Some(State::Closed | State::Listen) => return,
            Some(State::SynSent) => (State::Closed, Rule::ConnectRefused),
            Some(State::SynReceived) if self.seen.contains(Seen::PASSIVE) => (State::Listen, Rule::HandshakeReset),
            // Only a SYN came before: whoever got it and this RST has nothing left of either.
            None if self.seen & !Seen::ACKED == Seen::PASSIVE => return,
            _ => (State::Closed, Rule::Reset),
        };
        self.end(to, rule, Seen::RESET_TAKEN, moves);
    }

    // ---- what turns out otherwise --------------------------------------------------------------------------------

    /// The peer's FIN had not arrived.
    fn forget_peer_fin(&mut self, moves: &mut MoveList) {
        self.seen.remove(Seen::PEER_FIN_TAKEN);
        match self.state {
            Some(State::CloseWait) => self.step(State::Established, Rule::NotArrived, moves),
            Some(State::Closing) => self.step(State::FinWait1, Rule::NotArrived, moves),
            // It may have come by CLOSING: without the peer's FIN, the acknowledgement led to FIN-WAIT-2.
            Some(State::TimeWait) if self.seen.contains(Seen::FIN_ACKED) => {
                self.step(State::FinWait1, Rule::NotArrived, moves);
                self.enter(State::FinWait2, Rule::FinAcked, moves);
            }
            _ => {}
        }
    }

    /// The acknowledgement of the end's FIN had not arrived.
    fn forget_fin_ack(&mut self, moves: &mut MoveList) {
        if !self.seen.contains(Seen::FIN_ACKED) {
            return;
        }
        self.seen.remove(Seen::FIN_ACKED);
        let taken = self.seen.contains(Seen::PEER_FIN_TAKEN);
        match self.state {
            Some(State::FinWait2) => self.step(State::FinWait1, Rule::NotArrived, moves),
            Some(State::TimeWait) => {
                self.step(State::FinWait1, Rule::NotArrived, moves);
                if taken {
                    self.enter(State::Closing, Rule::FinsCrossed, moves);
                }
            }
            Some(State::Closed) => self.step(State::LastAck, Rule::NotArrived, moves),
            _ => {}
        }
    }

    /// An acknowledgement of octets where the end's FIN should lie shows that the FIN was none of its own, or was not taken.
    fn belie_own_fin(&mut self, ack: Seq, moves: &mut MoveList) {
        if !self.fin_end().is_some_and(|fin_end| ack.is_after(fin_end)) || self.is_reset() {
            return;
        }
        let to = match self.state {
            Some(State::FinWait1 | State::FinWait2) => State::Established,
            Some(State::Closing | State::TimeWait | State::LastAck | State::Closed) => State::CloseWait,
            _ => return,
        };
        self.seen.remove(Seen::FIN | Seen::FIN_ACKED | Seen::CLOSED_FIRST);
        self.before = None;
        self.step(to, Rule::WentOn, moves);
    }

    /// If the end acknowledges octets of the peer where the FIN should lie that the peer sent, it has not taken that.
    fn belie_peer_fin(&mut self, ack: Seq, around: &Around, moves: &mut MoveList) {
        let is_belied = ack.is_after(self.peer_fin_end) && around.peer_next.is_some_and(|next| !ack.is_after(next));
        if !is_belied || self.is_reset() {
            return;
        }
        self.seen.remove(Seen::PEER_FIN | Seen::PEER_FIN_TAKEN | Seen::PEER_FIN_PROVEN);
        self.before = None;
        let to = match self.state {
            Some(State::CloseWait) => State::Established,
            Some(State::Closing | State::LastAck) => State::FinWait1,
            Some(State::TimeWait) => State::FinWait2,
            _ => return,
        };
        self.step(to, Rule::WentOn, moves);
    }

    /// Nothing that the peer sent had arrived.
    fn forget_arrivals(&mut self) {
        self.seen.remove(
            Seen::PEER_FIN | Seen::PEER_FIN_TAKEN | Seen::PEER_FIN_PROVEN | Seen::FIN_ACKED | Seen::PEER_OCTETS,
        );
    }

    /// The state of an open end by the FINs that are known.
    fn open_state(&self) -> Option<State> {
        let has = |bit| self.seen.contains(bit);
        Some(match (has(Seen::FIN), has(Seen::FIN_ACKED), has(Seen::PEER_FIN_TAKEN)) {
            (false, _, false) => State::Established,
            (false, _, true) => State::CloseWait,
            (true, false, false) => State::FinWait1,
            (true, true, false) => State::FinWait2,
            (true, false, true) if has(Seen::CLOSED_FIRST) => State::Closing,
            (true, false, true) => State::LastAck,
            (true, true, true) => State::TimeWait,
        })
    }

    /// A RST, or the last ACK, ends it.
    fn end(&mut self, to: State, rule: Rule, by: Seen, moves: &mut MoveList) {
        self.before = self.state;
        self.enter(to, rule, moves);
        self.seen |= by;
        if by == Seen::RESET_SENT {
            self.seen |= Seen::PROVEN;
        }
    }

    fn enter(&mut self, to: State, rule: Rule, moves: &mut MoveList) {
        self.seen.remove(Seen::PROVEN);
        self.step(to, rule, moves);
    }

    fn step(&mut self, to: State, rule: Rule, moves: &mut MoveList) {
        moves.push(Move { from: self.state, to, rule });
        self.state = Some(to);
    }
}

/// Whether a FIN lies below what its receiver has acknowledged of what was sent, which therefore ignores it (3.10.7.4).
fn is_below(fin: &Segment, acked: Option<Seq>, around: &Around) -> bool {
    let is_sent = |acked: Seq| around.next.is_none_or(|next| !acked.is_after(next));
    acked.is_some_and(|acked| fin.end().is_before(acked) && is_sent(acked))
}

/// The number after the FIN on a SYN that answers none; of another SYN its own number, which no acknowledgement of it has.
fn fin_on(syn: &Segment) -> Seq {
    if syn.flags & (Flags::FIN | Flags::ACK) == Flags::FIN { syn.end() } else { syn.seq }
}

/// Whether `ack` reaches over the SYN with the number `isn` up to the end of the FIN that this carried.
fn reaches_fin(ack: Seq, isn: Option<Seq>, fin_end: Seq) -> bool {
    ack == fin_end && isn.is_some_and(|isn| ack.is_after(isn.plus(1)))
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
        let (mut isns, mut ends, mut reset) = ([None; 2], [None; 2], None);
        for placed in script::performed(script).segments {
            let (segment, from_client) = (placed.segment, placed.from == Actor::CLIENT);
            let next = &mut in_order[usize::from(!from_client)];
            let expected = next.unwrap_or(segment.seq);
            if !segment.seq.is_after(expected) && segment.end().is_after(expected) {
                *next = Some(segment.end());
            }
            let contiguous = next.unwrap_or(segment.seq);
            let (own, peer) = (usize::from(!from_client), usize::from(from_client));
            let around = Around {
                isn: isns[own].filter(|isn| *isn == segment.seq),
                peer_isn: isns[peer],
                next: ends[own],
                peer_next: ends[peer],
                peer_ack: [&client, &server][peer].top_ack(),
                last_reset: reset,
                ..Around::in_order(contiguous)
            };
            let (sender, receiver) = if from_client { (&mut client, &mut server) } else { (&mut server, &mut client) };
            let around = match sender.acknowledges(&segment) {
                true => Around { novelty: Novelty::Overtaken, ..around },
                false => around,
            };
            let _ = sender.sent(&segment, &around);
            if placed.arrives {
                let effect = receiver.reset_effect(&segment, &around);
                let _ = receiver.received(&segment, &around, effect);
            }
            if segment.flags.contains(Flags::SYN) {
                isns[own] = Some(segment.seq);
            }
            if segment.flags.contains(Flags::RST) {
                reset = Some(segment.seq);
            }
            ends[own] = ends[own].filter(|end: &Seq| !end.is_before(segment.end())).or(Some(segment.end()));
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
        let _ = end.sent(&segment(Flags::FIN | Flags::ACK, 101, 0, 301), &Around::in_order(Seq(102)));
        let fin = segment(Flags::FIN | Flags::ACK, 301, 0, 102);
        let moves = end.received(&fin, &Around::in_order(Seq(302)), ResetEffect::Ends);
        let entered: Vec<State> = moves.iter().flatten().map(|step| step.to).collect();
        assert_eq!(entered, [State::FinWait2, State::TimeWait]);
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
    fn a_fin_that_was_not_captured_did_not_cross_one_that_its_end_had_acknowledged_before() {
        opened(
            "
            S > C: F. 301(0) ack 101      = CLOSE-WAIT FIN-WAIT-1
            C > S: .  101(0) ack 302      = CLOSE-WAIT FIN-WAIT-2
            C > S: .  102(0) ack 302      = LAST-ACK FIN-WAIT-2
            ",
        );
        opened(
            "
            S > C: F. 301(0) ack 101      = CLOSE-WAIT FIN-WAIT-1
            C > S: .  101(0) ack 302      = CLOSE-WAIT FIN-WAIT-2
            S > C: .  302(0) ack 102      = CLOSE-WAIT FIN-WAIT-2
            C > S: .  102(0) ack 302      = CLOSED FIN-WAIT-2
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
        let fin = segment(Flags::FIN | Flags::ACK, 106, 0, 301);
        let _ = server.received(&fin, &Around::in_order(Seq(101)), ResetEffect::Ends);
        assert_eq!(server.state(), Some(State::Established));
        let octets = segment(Flags::PSH | Flags::ACK, 101, 5, 301);
        let _ = server.received(&octets, &Around::in_order(Seq(107)), ResetEffect::Ends);
        assert_eq!(server.state(), Some(State::CloseWait));
    }

    #[test]
    fn a_repeated_fin_leaves_the_states_as_they_were() {
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

    // ---- what turns out otherwise --------------------------------------------------------------------------------

    #[test]
    fn the_same_syn_again_shows_that_its_answer_never_came() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(0)            = SYN-SENT ?
            S > C: S. 300(0) ack 101    = ESTABLISHED SYN-RECEIVED
            C > S: S  100(0)            = SYN-SENT SYN-RECEIVED
            S > C: S. 300(0) ack 101    = ESTABLISHED SYN-RECEIVED
            C > S: .  101(0) ack 301    = ESTABLISHED ESTABLISHED
            ",
        );
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(0)          = SYN-SENT ?
            S > C: R. 0(0) ack 101    = CLOSED CLOSED
            C > S: S  100(0)          = SYN-SENT CLOSED
            S > C: R. 0(0) ack 101    = CLOSED CLOSED
            ",
        );
    }

    #[test]
    fn the_same_syn_ack_again_shows_that_the_handshake_had_not_ended() {
        opened(
            "
            S > C: S. 300(0) ack 101 = ESTABLISHED SYN-RECEIVED
            C > S: .  101(0) ack 301 = ESTABLISHED ESTABLISHED
            S > C: P. 301(5) ack 101 = ESTABLISHED ESTABLISHED
            S > C: S. 300(0) ack 101 = ESTABLISHED ESTABLISHED
            ",
        );
    }

    #[test]
    fn an_acknowledgement_below_the_fin_shows_that_it_had_not_arrived() {
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: P. 301(5) ack 101 = FIN-WAIT-1 ESTABLISHED
            C > S: .  102(0) ack 306 = FIN-WAIT-1 CLOSE-WAIT
            S > C: .  306(0) ack 102 = FIN-WAIT-2 CLOSE-WAIT
            ",
        );
        // An old acknowledgement that was overtaken proves nothing.
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: .  301(0) ack 102 = FIN-WAIT-2 CLOSE-WAIT
            S > C: F. 301(0) ack 101 = TIME-WAIT LAST-ACK
            ",
        );
    }

    #[test]
    fn the_same_fin_again_shows_that_its_acknowledgement_never_came() {
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: .  301(0) ack 102 = FIN-WAIT-2 CLOSE-WAIT
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: .  301(0) ack 102 = FIN-WAIT-2 CLOSE-WAIT
            S > C: F. 301(0) ack 102 = TIME-WAIT LAST-ACK
            C > S: .  102(0) ack 302 = TIME-WAIT CLOSED
            S > C: F. 301(0) ack 102 = TIME-WAIT LAST-ACK
            C > S: .  102(0) ack 302 = TIME-WAIT CLOSED
            ",
        );
    }

    /// The client's FIN again was sent before the server's came; that one brought the acknowledgement: no FINs crossed.
    #[test]
    fn a_fin_that_comes_late_brings_its_acknowledgement() {
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: F. 301(0) ack 102 = TIME-WAIT LAST-ACK
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 LAST-ACK
            C > S: .  102(0) ack 302 = TIME-WAIT CLOSED
            ",
        );
        // The first of these FINs had crossed the client's.
        opened(
            "
            C > S: F. 101(0) ack 301 = FIN-WAIT-1 CLOSE-WAIT
            S > C: F. 301(0) ack 101 = CLOSING FIN-WAIT-1
            ",
        );
    }

    /// Octets are acknowledged only after the handshake, except with Fast Open.
    #[test]
    fn an_acknowledgement_of_octets_shows_that_the_handshake_had_ended() {
        opened(
            "
            C > S: P. 101(5) ack 301 = ESTABLISHED ESTABLISHED
            S > C: S. 300(0) ack 101 = ESTABLISHED SYN-RECEIVED
            S > C: .  301(0) ack 106 = ESTABLISHED ESTABLISHED
            S > C: F. 301(0) ack 106 = CLOSE-WAIT FIN-WAIT-1
            ",
        );
    }

    #[test]
    fn a_reset_ends_only_what_does_not_go_on() {
        // The server takes it, the client was not its sender.
        opened(
            "
            C > S: R  101(0)         = CLOSED CLOSED
            C > S: P. 101(5) ack 301 = ESTABLISHED CLOSED
            S > C: R  301(0)         = CLOSED CLOSED
            ",
        );
        // What was on its way when the RST passed was sent before it arrived.
        opened(
            "
            C > S: R. 101(0) ack 301 = CLOSED CLOSED
            S > C: P. 301(5) ack 101 = CLOSED CLOSED
            S > C: F. 306(0) ack 101 = CLOSED CLOSED
            ",
        );
        // What acknowledges octets behind the RST shows that it was refused.
        opened(
            "
            C > S: R. 101(0) ack 301 = CLOSED CLOSED
            C > S: P. 101(5) ack 301 = ESTABLISHED CLOSED
            S > C: .  301(0) ack 106 = ESTABLISHED ESTABLISHED
            ",
        );
    }

    #[test]
    fn a_reset_counts_only_with_the_number_that_is_expected() {
        opened(
            "
            C > S: P. 101(5) ack 301  = ESTABLISHED ESTABLISHED
            S > C: .  301(0) ack 106  = ESTABLISHED ESTABLISHED
            C > S: R  107(0) lost     = CLOSED ESTABLISHED
            ",
        );
        let mut end = Endpoint::new(Some(State::Established));
        end.acknowledges(&segment(Flags::ACK, 301, 0, 106));
        let around = Around { room: 1000, ..Around::in_order(Seq(110)) };
        let effect = |seq| end.reset_effect(&segment(Flags::RST, seq, 0, 0), &around);
        let effects = [105, 106, 110, 111, 1105, 1106].map(effect);
        let (ends, challenged, ignored) = (ResetEffect::Ends, ResetEffect::Challenged, ResetEffect::Ignored);
        assert_eq!(effects, [ignored, ends, ends, challenged, challenged, ignored]);
    }

    #[test]
    fn a_bare_reset_comes_from_no_socket() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(0)         = SYN-SENT ?
            S > C: S. 300(0) ack 101 = ESTABLISHED SYN-RECEIVED
            C > S: R  101(0)         = CLOSED LISTEN
            ",
        );
        opened(
            "
            S > C: F. 301(0) ack 101 = CLOSE-WAIT FIN-WAIT-1
            C > S: .  101(0) ack 302 = CLOSE-WAIT FIN-WAIT-2
            C > S: F. 101(0) ack 302 = LAST-ACK TIME-WAIT
            S > C: R  302(0)         = CLOSED CLOSED
            ",
        );
    }

    #[test]
    fn an_end_that_answers_after_its_bare_reset_had_a_socket() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(10)        = SYN-SENT ?
            S > C: S. 300(9) ack 111 = ESTABLISHED SYN-RECEIVED
            C > S: R  111(0)         = CLOSED LISTEN
            S > C: S. 300(5) ack 111 = CLOSED SYN-RECEIVED
            C > S: .  111(0) ack 306 = ESTABLISHED ESTABLISHED
            ",
        );
        opened(
            "
            S > C: R  301(0)         = CLOSED CLOSED
            S > C: .  301(0) ack 101 = CLOSED ESTABLISHED
            ",
        );
    }

    #[test]
    fn a_fin_on_a_syn_counts_where_it_is_acknowledged() {
        let crossed = "
            C > S: S  100(0)         = SYN-SENT ?
            S > C: SF 300(0)         = SYN-RECEIVED SYN-SENT
        ";
        let taken = "
            C > S: S. 100(0) ack 302 = CLOSE-WAIT FIN-WAIT-2
            S > C: .  302(0) ack 101 = CLOSE-WAIT FIN-WAIT-2
            C > S: F. 101(0) ack 302 = LAST-ACK TIME-WAIT
            S > C: .  302(0) ack 102 = CLOSED TIME-WAIT
        ";
        let left = "
            C > S: S. 100(0) ack 301 = SYN-RECEIVED ESTABLISHED
            S > C: F. 301(0) ack 101 = CLOSE-WAIT FIN-WAIT-1
            C > S: .  101(0) ack 302 = CLOSE-WAIT FIN-WAIT-2
        ";
        for rest in [taken, left] {
            check(Endpoint::closed(), Endpoint::unknown(), &format!("{crossed}{rest}"));
        }
        check(
            Endpoint::unknown(),
            Endpoint::listening(),
            "
            C > S: SF 100(0)         = SYN-SENT LISTEN
            S > C: S. 300(0) ack 102 = FIN-WAIT-2 CLOSE-WAIT
            C > S: .  102(0) ack 301 = FIN-WAIT-2 CLOSE-WAIT
            ",
        );
    }

    #[test]
    fn an_acknowledgement_that_is_not_of_the_syn_changes_nothing() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(0)         = SYN-SENT ?
            S > C: .  700(0) ack 500 = SYN-SENT ?
            C > S: R  500(0)         = SYN-SENT ?
            C > S: S  100(0)         = SYN-SENT ?
            S > C: S. 300(0) ack 101 = ESTABLISHED SYN-RECEIVED
            ",
        );
    }

    #[test]
    fn a_fast_open_server_speaks_and_closes_before_the_handshake_ends() {
        check(
            Endpoint::closed(),
            Endpoint::unknown(),
            "
            C > S: S  100(5)         = SYN-SENT ?
            S > C: S. 300(0) ack 106 = ESTABLISHED SYN-RECEIVED
            S > C: P. 301(5) ack 106 = ESTABLISHED SYN-RECEIVED
            S > C: F. 306(0) ack 106 = CLOSE-WAIT FIN-WAIT-1
            C > S: .  106(0) ack 307 = CLOSE-WAIT FIN-WAIT-2
            ",
        );
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
                let mut isn = None;
                if !matches!(state, Some(State::Closed | State::Listen) | None) {
                    isn = Some(Seq(100));
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
                let around = Around {
                    isn: isn.filter(|_| sends),
                    peer_isn: isn.filter(|_| !sends),
                    ..Around::in_order(segment.end())
                };
                let moves = if sends {
                    end.acknowledges(&segment);
                    end.sent(&segment, &around)
                } else {
                    let effect = end.reset_effect(&segment, &around);
                    end.received(&segment, &around, effect)
                };
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
