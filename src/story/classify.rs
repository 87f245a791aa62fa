//! Each new segment is put beside those before it: whether it answers, repeats or probes. What calls have to do with it is found later.

use std::collections::VecDeque;

use super::connection::{Header, PerConnection, Seen};
use super::ground::{Ground, MINIMUM_RTO, MOMENT, Place, Repair, Reset, Sent, is_older, kernel, most_of};
use super::{Mechanism, Why};
use crate::flow::{Range, Side};
use crate::script::LinkAct;
use crate::tcp::Finding;
use crate::time::Span;
use crate::wire::Flags;

impl PerConnection {
    /// What the segment at `place`, the newest one, is by those before it.
    pub(super) fn classify(&mut self, place: Place) -> Ground {
        let side = self.seen[place].from;
        let ground = self.ground(place, side);
        if !matches!(ground, Ground::Copy { .. }) {
            self.remember(place, side, &ground);
        }
        ground
    }

    fn ground(&self, place: Place, side: Side) -> Ground {
        let seen = &self.seen[place];
        let (flags, findings) = (seen.flags, seen.findings);
        let own = self.sent(side);
        if findings.contains(Finding::CapturedTwice) {
            return Ground::Copy { of: self.same_frame(place, side) };
        }
        if flags.contains(Flags::RST) {
            return Ground::Reset(self.reset(place, side));
        }
        if flags.contains(Flags::SYN) {
            return self.syn(place, side);
        }
        // What does not go on, or goes back, may be the network's copy: of what is sent again the identification is another.
        let goes_back = !findings.is_empty() || seen.ack < own.acked;
        let is_copy = |of: &Place| {
            let is_near = self.between(*of, place).is_none_or(|later| later <= COPIED);
            self.seen[*of].header.is_identified() && is_near
        };
        if goes_back && let Some(of) = self.same_frame(place, side).filter(is_copy) {
            return Ground::Copy { of: Some(of) };
        }
        let peer = self.sent(side.peer());
        if findings.contains(Finding::KeepAlive) {
            if seen.ack < own.acked {
                return self.acknowledgement(place, side);
            }
            // A probe asks again until it is answered, though the window that has opened was captured already.
            let probes_on = own.last.is_some_and(|last| match self.seen[last].ground {
                Ground::Probe { .. } => peer.acked < Some(self.seen[last].end()),
                Ground::Kernel { mechanism, .. } => mechanism == Mechanism::ZeroWindowProbe,
                _ => false,
            });
            let has_opened = peer.opened > own.last;
            // So soon nobody asks whether the peer is there: the word that the window opened was lost, or is on its way.
            let is_soon =
                || own.last.and_then(|last| self.between(last, place)).is_some_and(|took| took < SHORTEST_KEEP_ALIVE);
            let is_unheard = has_opened && seen.len == 0 && is_soon();
            let opened = has_opened && seen.len > 0;
            if (self.has_no_room(side.peer()) || probes_on || is_unheard) && !opened {
                return kernel(Mechanism::ZeroWindowProbe, peer.last_word, Why::NoRoomOldOctet);
            }
            // Nobody asks whether the peer is there who waits for an acknowledgement, or has just heard of it.
            // Where nothing was captured of the peer, nothing says that it waits.
            let waits = own.highest() > peer.acked && peer.last.is_some();
            let heard = own.last.max(peer.last_word).and_then(|last| self.between(last, place));
            if !waits && heard.is_none_or(|heard| heard >= SHORTEST_IDLE) {
                return kernel(Mechanism::KeepAlive, own.last, Why::Idle);
            }
        }
        // The window of a RST says nothing of room.
        if findings.contains(Finding::ZeroWindowProbe) && self.has_no_room(side.peer()) {
            return Ground::Probe { of: peer.last_word };
        }
        if flags.contains(Flags::FIN) || seen.stream.is_some() {
            return self.octets_or_fin(place, side);
        }
        self.acknowledgement(place, side)
    }

    /// The segment among the end's last ones that is the same frame.
    fn same_frame(&self, place: Place, side: Side) -> Option<Place> {
        self.newest_like(side, &self.seen[place].header)
    }

    /// The newest segment of an end with that header.
    pub(super) fn newest_like(&self, side: Side, header: &Header) -> Option<Place> {
        self.sent(side).recent.iter().rev().find(|earlier| self.seen[**earlier].header == *header).copied()
    }

    fn syn(&self, place: Place, side: Side) -> Ground {
        let with_ack = self.seen[place].flags.contains(Flags::ACK);
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let Some(first) = (if with_ack { own.syn_ack } else { own.syn }) else {
            return match (with_ack, own.syn) {
                (true, Some(syn)) => kernel(Mechanism::Handshake, peer.syn.or(Some(syn)), Why::SynsCrossed),
                (true, None) => kernel(Mechanism::Handshake, peer.syn, Why::Listening),
                (false, _) => Ground::Syn,
            };
        };
        let last = own.last_syn.unwrap_or(first);
        let same = self.seen[last].header == self.seen[place].header;
        if same && self.seen[place].header.is_identified() {
            return Ground::Copy { of: Some(last) };
        }
        if with_ack && !self.seen[first].header.has_number_of(&self.seen[place].header) {
            return kernel(Mechanism::Handshake, peer.last_syn, Why::OtherNumber);
        }
        let waited = self.between(last, place);
        if let Some(syn) = peer.last_syn.filter(|syn| with_ack && *syn > last && self.is_answer(*syn, place, side)) {
            return kernel(Mechanism::Handshake, Some(syn), Why::SynRepeated);
        }
        let is_syn_ack = |place: Place| self.seen[place].flags.contains(Flags::SYN | Flags::ACK);
        let refused = !with_ack && peer.last.is_some_and(|answer| answer > last && !is_syn_ack(answer));
        let (mechanism, why) = match waited.is_some_and(|waited| waited < MINIMUM_RTO) {
            // In SYN-SENT Linux sends its SYN again at once when a bad answer came (tcp_rcv_synsent_state_process).
            _ if refused => (Mechanism::RetransmissionTimeout, Why::AnswerRefused),
            true => (Mechanism::Unknown, Why::TooSoon),
            false if with_ack && peer.finished_handshake => (Mechanism::RetransmissionTimeout, Why::AnswerNotTaken),
            false => (Mechanism::RetransmissionTimeout, Why::SynUnanswered),
        };
        Ground::SynAgain { mechanism, of: first, why }
    }

    /// Whether so much time lies between the two that the second can answer the first.
    pub(super) fn is_answer(&self, of: Place, place: Place, side: Side) -> bool {
        // What the link makes up is there at once.
        if self.is_injected(of) {
            return true;
        }
        let path = self.sent(side).quickest.unwrap_or(Span(0));
        self.between(of, place).is_none_or(|took| took.as_nanos() >= most_of(path))
    }

    /// Whether the link made it up.
    fn is_injected(&self, place: Place) -> bool {
        matches!(self.seen[place].act, Some((_, LinkAct::Injected)))
    }

    fn acknowledgement(&self, place: Place, side: Side) -> Ground {
        let seen = &self.seen[place];
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if !seen.flags.contains(Flags::ACK) {
            return kernel(Mechanism::Unknown, None, Why::Empty);
        }
        if let Some(syn_ack) = peer.syn_ack.filter(|_| own.syn.is_some() && !own.finished_handshake)
            && seen.ack == Some(1)
        {
            // Of several, the timestamp that is repeated says which came there.
            let is_repeated = |of: &Place| seen.echo.is_some() && self.seen[*of].stamp == seen.echo;
            let is_syn_ack = |of: &Place| self.seen[*of].flags.contains(Flags::SYN | Flags::ACK);
            let repeated = peer.recent.iter().rev().copied().find(|of| is_syn_ack(of) && is_repeated(of));
            let last = || peer.last_syn.filter(|last| self.is_answer(*last, place, side));
            let of = repeated.or_else(last).unwrap_or(syn_ack);
            return kernel(Mechanism::Handshake, Some(of), Why::EndsHandshake);
        }
        // An end that has not answered the SYN acknowledges none of what its sender sent: it speaks of an older connection.
        let is_foreign = seen.ack < Some(1) || seen.ack > peer.highest();
        if own.syn.is_none() && peer.is_opening && is_foreign {
            return kernel(Mechanism::ChallengeAck, peer.last_syn, Why::OlderConnection);
        }
        if own.acked.is_some() && seen.ack < own.acked {
            let of = self.acknowledged(seen.ack, side.peer());
            return Ground::Kernel { mechanism: Mechanism::Ack, of, why: Some(Why::Overtaken) };
        }
        if seen.ack == own.acked {
            return self.repeated_ack(place, side);
        }
        let Some(of) = self.newly_acknowledged(place, side) else {
            return kernel(Mechanism::Ack, None, Why::NotCaptured);
        };
        let ack = Ground::Kernel { mechanism: Mechanism::Ack, of: Some(of), why: None };
        if !self.is_worth_a_delay(seen.ack, of, place, side) {
            return ack;
        }
        let Some((path, took)) = own.quickest.zip(self.between(of, place)) else { return ack };
        match Span(took.as_nanos().saturating_sub(path.as_nanos())) {
            held if held > LONGEST_DELAY => ack,
            held if held >= DELAYED => kernel(Mechanism::DelayedAck, Some(of), Why::HeldBack),
            held if held >= MOMENT => Ground::LateAck { of },
            _ => ack,
        }
    }

    /// An acknowledgement number that was sent before: something came that has to be answered all the same, or there is room.
    fn repeated_ack(&self, place: Place, side: Side) -> Ground {
        let seen = &self.seen[place];
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if let Some((from, to)) = seen.first_block {
            let (mechanism, why) = match seen.findings.contains(Finding::DuplicateSack) {
                true => (Mechanism::Ack, Why::ReceivedBefore),
                false => (Mechanism::OutOfOrderAck, Why::GapBefore),
            };
            // The first block holds what came last (RFC 2018 section 4).
            let of = peer.ends.range(from..=to.max(from)).next_back().map(|(_, place)| *place);
            let of = if why == Why::ReceivedBefore { self.other_transmission(of, from, side) } else { of };
            return kernel(mechanism, of, why);
        }
        if let Some(challenged) = peer.challenged.filter(|challenged| self.is_answer(*challenged, place, side)) {
            return kernel(Mechanism::ChallengeAck, Some(challenged), Why::Challenge);
        }
        let is_probed =
            seen.findings.contains(Finding::KeepAliveAck) || seen.findings.contains(Finding::ZeroWindowProbeAck);
        let question = peer.last_question.filter(|question| is_probed || self.is_answer(*question, place, side));
        let is_asked = is_probed || question > own.last;
        let grew = own.last_word.is_some_and(|last| self.seen[last].window < seen.window);
        // Before any octet came there was nothing that a program could have read.
        let could_read = peer.syn.is_none() || own.acked > Some(1);
        if seen.findings.contains(Finding::WindowUpdate) && grew && could_read && !is_asked {
            return Ground::WindowUpdate;
        }
        let Some(of) = question.or_else(|| self.acknowledged(seen.ack, side.peer())) else {
            return Ground::Kernel { mechanism: Mechanism::Ack, of: None, why: Some(Why::NotCaptured) };
        };
        let answered = &self.seen[of];
        let is_duplicate = seen.findings.contains(Finding::DuplicateAck);
        match seen.ack {
            Some(ack) if answered.seq > ack => {
                let of = self.next_beyond(ack, place, side).unwrap_or(of);
                kernel(Mechanism::OutOfOrderAck, Some(of), Why::GapBefore)
            }
            // It has not come there yet, or is on its way to the program.
            Some(ack) if answered.end() > ack => {
                let of = self.acknowledged(seen.ack, side.peer());
                Ground::Kernel { mechanism: Mechanism::Ack, of, why: None }
            }
            _ => {
                let why = (is_duplicate && answered.len > 0).then_some(Why::ReceivedBefore);
                Ground::Kernel { mechanism: Mechanism::Ack, of: Some(of), why }
            }
        }
    }

    /// Of what was sent at `from` more than once, the last transmission or, where an acknowledgement answered that already, the first.
    fn other_transmission(&self, last: Option<Place>, from: i64, side: Side) -> Option<Place> {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let of = |ack: &Place| match self.seen[*ack].ground {
            Ground::Kernel { of, .. } => of,
            _ => None,
        };
        let is_answered = own.recent.iter().any(|ack| last.is_some() && of(ack) == last);
        let position = u64::try_from(from.saturating_sub(1)).ok().filter(|_| is_answered);
        let first = position.and_then(|position| {
            let start = peer.octets.partition_point(|(known, _)| known.to <= position);
            peer.octets.get(start).filter(|(known, _)| known.from <= position).map(|(_, place)| *place)
        });
        first.or(last)
    }

    /// Without SACK: the segment beyond a gap that a duplicate acknowledgement answers, one after the other in the order in which they were sent.
    fn next_beyond(&self, ack: i64, place: Place, side: Side) -> Option<Place> {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let before = own.last.and_then(|last| match self.seen[last].ground {
            Ground::Kernel { mechanism: Mechanism::OutOfOrderAck, of, .. } => of,
            _ => None,
        });
        let is_beyond = |of: &&Place| {
            let seen = &self.seen[**of];
            seen.seq_len > 0 && seen.seq > ack && Some(**of) > before && self.is_answer(**of, place, side)
        };
        peer.recent.iter().find(is_beyond).copied()
    }

    /// The segment that a new acknowledgement answers: the last that came of those it covers, so the one that filled a hole.
    ///
    /// `None` where what it acknowledges was not captured. It looks at each segment once, as the number never goes back.
    fn newly_acknowledged(&self, place: Place, side: Side) -> Option<Place> {
        let (ack, own, peer) = (self.seen[place].ack?, self.sent(side), self.sent(side.peer()));
        if peer.highest().is_none_or(|highest| highest < ack) {
            return None;
        }
        let first = own.acked.map_or(ack, |acked| acked.min(ack));
        let (reached, _) = peer.ends.range(..=ack).next_back().unzip();
        if reached != Some(&ack) {
            // An acknowledgement amid a segment: some hosts and middleboxes take less than was sent at once.
            let around = peer.ends.range(ack..).next().map(|(_, around)| *around);
            if let Some(around) = around.filter(|around| self.seen[*around].seq < ack) {
                return Some(around);
            }
            return None;
        }
        self.newest_between(first, ack, place, side).or_else(|| peer.ends.get(&ack).copied())
    }

    /// The newest segment of the peer that ends after `from` and at most at `to`, and could have been answered by `place`.
    fn newest_between(&self, from: i64, to: i64, place: Place, side: Side) -> Option<Place> {
        let covered = (from < to).then(|| self.sent(side.peer()).ends.range(from + 1..=to))?;
        covered.map(|(_, covered)| *covered).filter(|covered| self.is_answer(*covered, place, side)).max()
    }

    /// Whether an acknowledgement may be held back (RFC 9293 section 3.8.6.3): nothing newer had been sent that would have called it forth, and it is for less than two full segments, or there is no more room.
    fn is_worth_a_delay(&self, ack: Option<i64>, of: Place, place: Place, side: Side) -> bool {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let ack = ack.unwrap_or_default();
        let next = peer.ends.range(ack.saturating_add(1)..).next();
        // What is acknowledged had been sent once more, too lately to be answered yet: it is not known since when.
        let is_plain = peer.ends.get(&ack).is_some_and(|end| self.is_answer(*end, place, side));
        let newest = is_plain && next.is_none_or(|(_, next)| !self.is_answer(*next, place, side));
        let first = own.acked.unwrap_or_default();
        // Linux acknowledges two segments at once only where it can announce more room (__tcp_ack_snd_check).
        let no_room = own.last_word.is_some_and(|last| self.seen[place].window < self.seen[last].window);
        // What fills a gap, or leaves one, is acknowledged at once (RFC 5681 section 4.2).
        let had_gap = own.reported.is_some_and(|report| self.seen[report].ack == own.acked);
        let in_order = !had_gap && self.seen[place].first_block.is_none();
        newest && in_order && (first >= self.seen[of].seq || ack.saturating_sub(first) < 2 * SMALLEST_MSS || no_room)
    }

    /// The time from one segment to another; `None` where a clock does not say, or went back.
    pub(super) fn between(&self, from: Place, to: Place) -> Option<Span> {
        self.seen[to].at.zip(self.seen[from].at).map(|(now, then)| now.since(then)).filter(|took| *took >= Span(0))
    }

    /// Whether an end's last word was that its receive buffer is full.
    fn has_no_room(&self, side: Side) -> bool {
        self.sent(side).last_word.is_some_and(|last| self.seen[last].window == 0)
    }

    /// The segment of an end that reaches furthest of those that this number acknowledges in full.
    fn acknowledged(&self, ack: Option<i64>, of: Side) -> Option<Place> {
        self.sent(of).ends.range(..=ack?).next_back().map(|(_, place)| *place)
    }

    fn reset(&self, place: Place, side: Side) -> Reset {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let has_ack = |place: Place| self.seen[place].flags.contains(Flags::ACK);
        let refuses = peer.last_syn.filter(|syn| own.last_word.is_none() && !has_ack(*syn));
        let unanswered = own.last.filter(|last| {
            peer.last < Some(*last)
                && matches!(
                    self.seen[*last].ground,
                    Ground::Kernel { mechanism: Mechanism::KeepAlive | Mechanism::ZeroWindowProbe, .. }
                )
                && !self.has_no_room(side.peer())
        });
        let arrived = peer.octets.last().map_or(0, |(range, _)| range.to);
        // One without ACK has the number that the segment acknowledged which it answers (RFC 9293 section 3.10.7.1).
        let is_answered = |of: &&Place| {
            let answered = &self.seen[**of];
            answered.flags & (Flags::ACK | Flags::RST) == Flags::ACK
                && answered.ack == Some(self.seen[place].seq)
                && self.is_answer(**of, place, side)
        };
        let of = match (has_ack(place), own.fin) {
            (true, _) => None,
            (false, Some(_)) => peer.recent.iter().rev().find(is_answered).copied(),
            // Where there is no socket each segment is answered.
            (false, None) => {
                let before = own.last.and_then(|last| match self.seen[last].ground {
                    Ground::Reset(reset) => reset.of,
                    _ => Some(last),
                });
                let is_real = |of: &&Place| !self.is_injected(**of) && is_answered(of);
                let since = peer.recent.iter().filter(|of| Some(**of) > before).find(is_answered);
                since.or_else(|| peer.recent.iter().rev().find(is_real)).copied()
            }
        };
        // A number that no segment called for answers none that was captured.
        let fits = |last: &Place| has_ack(place) || self.seen[*last].ack.is_none_or(|ack| ack == self.seen[place].seq);
        Reset { refuses, unanswered, of: of.or(peer.last_word.filter(fits)), after_own_fin: own.fin.is_some(), arrived }
    }

    pub(super) fn sent(&self, side: Side) -> &Sent {
        // A socket that is connected to itself is its own peer.
        let side = if self.is_one_end() { Side::Client } else { side };
        &self.ends[side as usize].sent
    }

    fn remember(&mut self, place: Place, side: Side, ground: &Ground) {
        let took = self.sample(place, side, ground);
        let seen = &self.seen[place];
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        let (peer_synced, flags) = (peer.syn.is_some(), seen.flags);
        let is_new = seen.ack > own.acked;
        let waits = peer.highest() > seen.ack;
        let is_second = seen.findings.contains(Finding::DuplicateSack);
        let reports =
            !is_second && (seen.first_block.is_some() || seen.findings.contains(Finding::DuplicateAck) && waits);
        let challenges = flags.contains(Flags::RST) && seen.findings.contains(Finding::ResetChallenged)
            || flags.contains(Flags::SYN) && !flags.contains(Flags::ACK) && own.finished_handshake;
        // What lies below the window is answered, too (RFC 9293 section 3.10.7.4).
        let asks = seen.seq_len > 0 || Some(seen.seq) < own.highest();
        let opens = seen.window > 0 && self.has_no_room(side);
        let answers_challenge = matches!(ground, Ground::Kernel { mechanism: Mechanism::ChallengeAck, .. });
        let (peers, at_once) = (side.peer(), self.is_one_end());
        if is_second {
            // Where nothing was lost, the peer takes its recovery back (RFC 3708).
            let peer = &mut self.ends[if at_once { Side::Client } else { peers } as usize].sent;
            peer.recovered = peer.recovered.saturating_sub(1);
            let stands = peer.recovered > 0;
            peer.repair = peer.repair.filter(|(repair, _)| stands || *repair == Repair::Timeout);
        }
        let seen = &self.seen[place];
        let is_bare = seen.seq_len == 0 && !seen.findings.contains(Finding::WindowUpdate);
        let peer = &mut self.ends[if at_once { Side::Client } else { peers } as usize].sent;
        peer.is_probing &= match peer.probed {
            Some(high) if seen.ack > Some(high) => false,
            Some(high) if seen.ack == Some(high) => is_new || !(is_second || is_bare),
            _ => true,
        };
        if answers_challenge {
            self.ends[if at_once { Side::Client } else { peers } as usize].sent.challenged = None;
        }
        let seen = &self.seen[place];
        let sent = &mut self.ends[side as usize].sent;
        let step = sent.last.and_then(|last| seen.header.datagrams_after(&self.seen[last].header));
        sent.counted_up = match step {
            Some(1) => sent.counted_up.saturating_add(1).min(MOST_COUNTED),
            Some(_) => sent.counted_up.saturating_sub(1).max(-MOST_COUNTED),
            None => sent.counted_up,
        };
        sent.last = Some(place);
        push(&mut sent.recent, place);
        if challenges {
            sent.challenged = Some(place);
        }
        if flags.contains(Flags::RST) {
            return;
        }
        sent.last_word = Some(place);
        if asks {
            sent.last_question = Some(place);
        }
        if opens {
            sent.opened = Some(place);
        }
        if reports {
            sent.reported = Some(place);
        }
        if reports || is_new || is_second {
            push(&mut sent.prompts, place);
        }
        sent.quickest = sent.quickest.into_iter().chain(took).min();
        sent.slowest = sent.slowest.max(took);
        sent.acked = sent.acked.max(seen.ack);
        // Without ACK it waits for the answer to its SYN.
        sent.is_opening = !flags.contains(Flags::ACK) && (sent.is_opening || flags.contains(Flags::SYN));
        if flags.contains(Flags::SYN) {
            if sent.syn.is_none() {
                // What came before the SYN was of another connection.
                sent.fin = None;
            }
            sent.syn.get_or_insert(place);
            sent.last_syn = Some(place);
        } else if flags.contains(Flags::ACK) && peer_synced {
            sent.finished_handshake = true;
            sent.finished_at.get_or_insert(place);
        }
        if flags.contains(Flags::SYN | Flags::ACK) {
            sent.syn_ack.get_or_insert(place);
        }
        if flags.contains(Flags::FIN) {
            sent.fin.get_or_insert(place);
        }
        if let Some(stamp) = seen.stamp
            && sent.stamp.is_none_or(|newest| is_older(newest, stamp))
        {
            sent.stamp = Some(stamp);
        }
        sent.remember_repair(seen, place, ground);
        sent.widen_repair(&self.seen, place);
        if seen.findings.contains(Finding::LostSegment) {
            sent.gap = Some(place);
        }
        if seen.seq_len > 0 {
            sent.ends.insert(seen.end(), place);
        } else if sent.furthest.is_none_or(|furthest| self.seen[furthest].seq < seen.seq) {
            sent.furthest = Some(place);
        }
        if let Some(range) = seen.stream {
            let highest = sent.octets.last().map_or(0, |(known, _)| known.to);
            if range.to > highest {
                sent.octets.push((Range { from: range.from.max(highest), to: range.to }, place));
            }
        }
    }

    /// How long the answer at `place` took, where it is plain what it answers: what was sent once, and has just come.
    fn sample(&self, place: Place, side: Side, ground: &Ground) -> Option<Span> {
        let seen = &self.seen[place];
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if seen.flags.contains(Flags::RST) {
            return None;
        }
        let is_new = seen.flags.contains(Flags::ACK) && seen.ack > own.acked;
        // Of what was sent more than once, a timestamp says which was answered.
        let repeats = |of: Place| seen.echo.is_some() && seen.echo == self.seen[of].stamp;
        let of = match *ground {
            Ground::Kernel { mechanism: Mechanism::Handshake, of, .. } if is_new => {
                of.filter(|of| peer.syn.max(peer.syn_ack) == Some(*of) || repeats(*of))
            }
            // Nothing but a probe is answered with what was said before.
            Ground::Kernel { .. } if !is_new => peer.last_question.filter(|of| {
                let is_probe = matches!(
                    self.seen[*of].ground,
                    Ground::Probe { .. }
                        | Ground::Kernel { mechanism: Mechanism::KeepAlive | Mechanism::ZeroWindowProbe, .. }
                );
                let says_no_more = own
                    .last_word
                    .is_some_and(|last| (self.seen[last].ack, self.seen[last].window) == (seen.ack, seen.window));
                is_probe && says_no_more && seen.seq_len == 0 && Some(*of) > own.last
            }),
            _ if !is_new => None,
            Ground::Kernel { of, .. } => of,
            Ground::LateAck { of } => Some(of),
            _ => self.newly_acknowledged(place, side),
        }?;
        let is_once = repeats(of)
            || !matches!(self.seen[of].ground, Ground::Octets { again: Some(_), .. } | Ground::SynAgain { .. });
        // A clock that did not move says nothing.
        self.between(of, place).filter(|took| is_once && *took > Span(0))
    }
}

impl Sent {
    /// Takes in that something was sent again, and how.
    fn remember_repair(&mut self, seen: &Seen, place: Place, ground: &Ground) {
        let highest = self.highest().unwrap_or_default();
        let (mechanism, why) = match ground {
            Ground::Octets { again: Some(again), .. } => (again.mechanism, Some(again.why)),
            Ground::Kernel { mechanism: Mechanism::ZeroWindowProbe, .. } => (Mechanism::ZeroWindowProbe, None),
            _ => return,
        };
        self.again.insert(seen.seq, place);
        self.repaired = Some(place);
        match mechanism {
            Mechanism::RetransmissionTimeout => self.repair = Some((Repair::Timeout, highest)),
            Mechanism::FastRetransmit => {
                let goes_on = matches!(self.repair, Some((Repair::Recovery, _)));
                self.recovered = if goes_on { self.recovered.saturating_add(1) } else { 1 };
                self.repair = Some((Repair::Recovery, highest));
                self.is_probing = false;
            }
            Mechanism::TailLossProbe => (self.probed, self.is_probing) = (Some(highest.max(seen.end())), true),
            // The timer of a SYN had run out, and what it lost is being repaired until its octets are acknowledged.
            Mechanism::Recovery if self.syn != self.last_syn && why == Some(Why::SynOctetsRefused) => {
                self.repair = Some((Repair::Timeout, highest));
            }
            _ => {}
        }
    }

    /// What was sent before the last repetition, and overtaken by it, belongs to what is being repaired.
    fn widen_repair(&mut self, seen: &[Seen], place: Place) {
        if let (Some((_, high)), Some(repaired)) = (&mut self.repair, self.repaired)
            && seen[place].end() > *high
            && seen[place].was_sent_before(&seen[repaired])
        {
            *high = seen[place].end();
        }
    }
}

/// Keeps the last few places.
fn push(places: &mut VecDeque<Place>, place: Place) {
    if places.len() == REACH {
        places.pop_front();
    }
    places.push_back(place);
}

/// An acknowledgement that took this much longer than the end's quickest answer was delayed: Linux's shortest delay is 40 ms (TCP_DELACK_MIN, include/net/tcp.h).
const DELAYED: Span = Span::from_millis(36);

/// The longest delay in use is 200 ms (TCP_DELACK_MAX, include/net/tcp.h), and a tick of a slow clock: what took longer waited for something else.
const LONGEST_DELAY: Span = Span::from_millis(210);

/// The largest segment that every end takes without having said so (RFC 9293 section 3.7.1).
const SMALLEST_MSS: i64 = 536;

/// The shortest silence after which a peer is asked whether it is there: Linux counts in seconds, others may not.
const SHORTEST_IDLE: Span = Span::from_millis(200);

/// Linux counts the silence before a keep-alive in seconds.
const SHORTEST_KEEP_ALIVE: Span = Span::from_millis(950);

/// How much later the network may deliver a copy.
const COPIED: Span = Span::from_millis(1000);

/// How far an end's way of numbering its datagrams is remembered.
const MOST_COUNTED: i32 = 16;

/// Among how many of an end's last segments the original of a copied frame, or what made the peer send, is looked for.
pub(super) const REACH: usize = 32;
