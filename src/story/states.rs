//! How both ends move, and what hindsight corrects.

use super::EventId;
use super::connection::{PerConnection, Place};
use super::events::{Events, Order};
use super::path::{Judged, Moved};
use crate::flow::{Detail, FindingAt, Side};
use crate::tcp::{Finding, Move, Rule, State};
use crate::time::Timestamp;
use crate::wire::Flags;

impl PerConnection {
    /// Moves an end.
    pub(super) fn step(&mut self, events: &mut Events, moved: Moved) -> EventId {
        let end = &mut self.ends[moved.side as usize];
        let event = end.path.step(events, Some(self.id), moved);
        self.events.push(event);
        event
    }

    /// Moves an end by a segment, and corrects by hindsight what was believed of it before.
    ///
    /// A correction withdraws the transitions after the state that the end still was in.
    pub(super) fn step_by_segment(&mut self, events: &mut Events, moved: Moved) -> Option<EventId> {
        if moved.step.rule.is_correction() {
            self.take_back(events, moved.side, moved.step.to);
            return None;
        }
        Some(self.step(events, moved))
    }

    /// Whether `moves`, by a FIN of `from` that comes again, only take back and repeat what a witness saw that the first one did.
    ///
    /// A tail loss probe sends a FIN again before its acknowledgement, which may be delayed, has come (RFC 8985, 7.3): to the
    /// numbers alone it looks as if the first had been lost.
    pub(super) fn is_needless_fin(&self, from: Side, flags: Flags, moves: &[Option<(Side, Move)>]) -> bool {
        let path = &self.ends[from.peer() as usize].path;
        let mut of_receiver = moves.iter().flatten().filter(|(side, _)| *side != from).map(|(_, step)| step);
        flags.contains(Flags::FIN)
            && path.had_peers_fin()
            && of_receiver.next().is_some_and(|step| step.rule == Rule::NotArrived)
            && of_receiver.next_back().is_some_and(|step| path.last() == Some(step.to))
    }

    /// Whether a move would take back, or do again, what a FIN did to an end at whose place it was seen to arrive.
    ///
    /// A FIN that comes again before it was acknowledged makes the end acknowledge the later one, as if the first had been lost.
    pub(super) fn has_heard(&self, side: Side, step: Move) -> bool {
        let end = &self.ends[side as usize];
        let last = end.path.last().filter(|_| end.has_own_capture);
        match (last, step.rule) {
            (Some(State::CloseWait), Rule::NotArrived) => step.to == State::Established,
            (Some(State::Closing | State::TimeWait), Rule::NotArrived) => step.to == State::FinWait1,
            (Some(last), Rule::FinTaken | Rule::FinsCrossed | Rule::LastFinTaken) => step.to == last,
            _ => false,
        }
    }

    fn take_back(&mut self, events: &mut Events, side: Side, to: State) {
        let path = &mut self.ends[side as usize].path;
        if !path.has_been(to) || path.stands_against(to) {
            return;
        }
        while path.last() != Some(to) {
            let closed = path.last() == Some(State::Closed);
            let Some(event) = path.leave() else { break };
            events.withdraw(event);
            if !closed {
                continue;
            }
            // It was not closed: what was sent to it was not in vain.
            for seen in self.seen.iter_mut().rev().take_while(|seen| seen.event > event) {
                if seen.from != side && seen.findings.contains(Finding::DataAfterClose) {
                    seen.findings.remove(Finding::DataAfterClose);
                    events.segment_mut(seen.event).findings.remove(Finding::DataAfterClose);
                }
            }
        }
    }

    /// Puts a transition, which a segment of its end showed, to the moment at which the call returned that brought it about.
    ///
    /// A shutdown enters the state at once, though the FIN waits behind the octets in the send buffer.
    pub(super) fn put_off(
        &mut self,
        events: &mut Events,
        event: EventId,
        returned: Option<Timestamp>,
        shown: Order,
        shown_at: Option<Timestamp>,
    ) {
        let side = events.transition(event).side;
        let path = &mut self.ends[side as usize].path;
        let settled = path.entered_before(event);
        let early = returned.filter(|early| Some(*early) < shown_at && settled.is_none_or(|settled| settled < *early));
        let order = early.map_or(shown, |early| Order::of_return(Some(early)));
        if events.order(event) != order {
            events.put_off(event, order, early.or(shown_at));
            self.moved.push(event);
            path.put_off(event, order.at);
        }
    }

    /// Whether octets of its end were not sent, or not acknowledged, when a call returned at `returned` that closed it: then the FIN
    /// in the segment at `place` had to wait for them, or for the congestion window.
    ///
    /// Of a Multipath TCP connection a FIN leaves later though nothing waits, and its end is open until then (RFC 8684 section 3.3.3).
    pub(super) fn waited(&self, place: Place, returned: Timestamp) -> bool {
        let fin = &self.seen[place];
        let peers = self.seen[..place].iter().rev().filter(|seen| seen.from != fin.from);
        let last = peers.filter(|seen| seen.at.is_none_or(|at| at <= returned)).find_map(|seen| seen.ack);
        last.is_none_or(|acknowledged| acknowledged < fin.seq + i64::from(fin.len))
    }

    /// Holds what witnesses said against the states, and notes where they disagree.
    pub(super) fn judge(&mut self, events: &mut Events) {
        for side in [Side::Client, Side::Server] {
            let path = &mut self.ends[side as usize].path;
            if path.is_settled() {
                continue;
            }
            let Judged { against, anew, born, drawn } = path.judge(events, Some(self.id), Some(side));
            for event in &born {
                self.give_up_by_icmp(events, side, *event);
            }
            self.events.extend(born);
            self.moved.extend(drawn);
            if anew {
                self.disagreements.retain(|finding| finding.side != side);
            }
            for (disagreement, answered) in against {
                if self.disagreements.len() >= MOST_DISAGREEMENTS {
                    self.disagreements_omitted += 1;
                    continue;
                }
                let frame = self.last_by(answered);
                let detail = Detail::Disagreement(Box::new(disagreement));
                self.disagreements.push(FindingAt { finding: Finding::StateDisagreement, frame, side, detail });
            }
        }
    }
}

/// How many disagreements of witnesses are findings of a connection; further ones are counted.
pub(super) const MOST_DISAGREEMENTS: usize = 1000;
