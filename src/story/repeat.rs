//! Octets that were sent before: by which timer, for which report, or by none, because the network copied or overtook them.

use super::connection::PerConnection;
use super::ground::{Again, Ground, MINIMUM_RTO, MOMENT, Place, Repair, TICK, is_older, kernel, most_of};
use super::{Mechanism, Why};
use crate::flow::Side;
use crate::tcp::Finding;
use crate::time::Span;
use crate::wire::{Flags, IcmpKind};

impl PerConnection {
    /// Octets or a FIN: for the first time, or again.
    pub(super) fn octets_or_fin(&self, place: Place, side: Side) -> Ground {
        let (seen, own, peer) = (&self.seen[place], self.sent(side), self.sent(side.peer()));
        let released = peer.last_word;
        // Some stacks put their FIN on the acknowledgement of the peer's once more.
        if let (None, Some(_), Some(fin)) = (seen.stream, own.fin, peer.fin)
            && seen.ack > own.acked
            && seen.ack >= Some(self.seen[fin].end())
            && self.between(fin, place).is_some_and(|took| took < self.least_rto())
        {
            return kernel(Mechanism::Ack, peer.last_question, Why::FinOnAck);
        }
        let again = match self.sent_before(place, side) {
            Some(first) => {
                let latest = self.latest(place, side, first);
                match self.is_same_transmission(place, side, latest) {
                    Some(Same::Copy) => return Ground::Copy { of: Some(latest) },
                    Some(Same::Overtaken) => None,
                    None => Some(self.again(place, side, first, latest)),
                }
            }
            None => self.fills_a_gap(place, side),
        };
        Ground::Octets { again, released }
    }

    /// The first transmission of what this segment carries, if it was sent before.
    fn sent_before(&self, place: Place, side: Side) -> Option<Place> {
        let sent = self.sent(side);
        match self.seen[place].stream {
            Some(range) => {
                let start = sent.octets.partition_point(|(known, _)| known.to <= range.from);
                let known = sent.octets.get(start).filter(|(known, _)| known.overlaps(range)).map(|(_, place)| *place);
                // A segment that brings something new is no repetition, though it may begin with old octets.
                let highest = sent.octets.last().map_or(0, |(known, _)| known.to);
                let seen = &self.seen[place];
                // What filled a gap is not among those that went on.
                let filled = || sent.ends.get(&seen.end()).copied().filter(|known| self.seen[*known].seq <= seen.seq);
                known.or_else(filled).filter(|_| range.to <= highest)
            }
            None => sent.fin,
        }
    }

    /// The last transmission of what the segment at `place` carries.
    fn latest(&self, place: Place, side: Side, first: Place) -> Place {
        let (seen, own) = (&self.seen[place], self.sent(side));
        let latest = [Some(first), own.again.get(&seen.seq).copied(), own.ends.get(&seen.end()).copied()];
        latest.into_iter().flatten().max().unwrap_or(first)
    }

    /// Whether what looks like a repetition of the segment at `latest` was sent no later than that one.
    fn is_same_transmission(&self, place: Place, side: Side, latest: Place) -> Option<Same> {
        let (seen, known, own, peer) = (&self.seen[place], &self.seen[latest], self.sent(side), self.sent(side.peer()));
        let (stamp, before) = seen.stamp.zip(known.stamp)?;
        if is_older(stamp, before) {
            return Some(Same::Overtaken);
        }
        if seen.header != known.header || stamp != before {
            return None;
        }
        // The sender's clock had gone on by then, or the peer could not have been heard yet.
        let is_old = own.stamp.is_some_and(|newest| is_older(stamp, newest));
        let path =
            own.quickest.unwrap_or(Span(0)).as_nanos().saturating_add(peer.quickest.unwrap_or(Span(0)).as_nanos());
        let is_soon = self.between(latest, place).is_some_and(|waited| waited.as_nanos() < most_of(Span(path)));
        (is_old || is_soon).then_some(Same::Copy)
    }

    /// Whether identifications that count up show that the end sent another datagram since the segment before the one at `first`,
    /// which was lost before it could be captured, while it had nothing to acknowledge.
    fn is_transmission_missing(&self, place: Place, side: Side, first: Place) -> bool {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        if own.counted_up <= 0 {
            return false;
        }
        let before = own.recent.iter().rposition(|known| *known < first).unwrap_or(0);
        let next = own.recent.iter().skip(before + 1).chain([&place]);
        own.recent.iter().skip(before).zip(next).any(|(earlier, later)| {
            let (one, other) = (&self.seen[*earlier], &self.seen[*later]);
            let is_skipped =
                other.header.datagrams_after(&one.header).is_some_and(|step| (2..=MOST_MISSING).contains(&step));
            let asked = peer.recent.iter().filter(|asked| *asked < later).map(|asked| self.seen[*asked].end()).max();
            // One that was cut into several datagrams behind the place of capture takes as many identifications.
            is_skipped && one.len <= LARGEST_DATAGRAM && one.ack >= asked
        })
    }

    /// Why octets are sent again whose first transmission, at `first`, was captured, and the last one at `latest`.
    fn again(&self, place: Place, side: Side, first: Place, latest: Place) -> Again {
        let (seen, own, peer) = (&self.seen[place], self.sent(side), self.sent(side.peer()));
        let by = |mechanism, of, why| Again { of: Some(of), mechanism, why };
        if self.seen[first].flags.contains(Flags::SYN)
            && let Some(answer) = peer.syn_ack.filter(|answer| self.seen[*answer].ack <= Some(1))
            && !own.again.contains_key(&seen.seq)
        {
            return by(Mechanism::Recovery, answer, Why::SynOctetsRefused);
        }
        if seen.findings.contains(Finding::ConflictingOctets) {
            return by(Mechanism::Unknown, first, Why::OtherOctets);
        }
        if let Some((frame, mtu)) = self.shortened(place, side, first, latest) {
            return by(Mechanism::Recovery, first, Why::PathMtu { frame, mtu });
        }
        let since_last = self.between(latest, place).unwrap_or(Span(0));
        if let Some(opened) = peer.opened.filter(|opened| *opened > latest) {
            let was_probe = matches!(self.seen[first].ground, Ground::Probe { .. });
            if was_probe || self.follows(opened, place, side) {
                return by(Mechanism::Recovery, opened, Why::WindowOpened);
            }
        }
        // Who sends again what lies below has not got beyond it, whatever was captured of the peer.
        let goes_on = |high: i64| peer.acked < Some(high) || seen.seq < high;
        let repair = own.repair.filter(|(_, high)| goes_on(*high)).map(|(repair, _)| repair);
        // A probe of the tail does not set the timer of what lies before it anew.
        let was_probe_again = matches!(
            self.seen[latest].ground,
            Ground::Octets { again: Some(Again { mechanism: Mechanism::TailLossProbe, .. }), .. }
        );
        let since = own.again.get(&seen.seq).copied().map_or(first, |again| again.max(first));
        let waited = if was_probe_again { self.between(since, place).unwrap_or(since_last) } else { since_last };
        let ran_out = waited >= self.least_rto();
        if repair == Some(Repair::Timeout) {
            let why = if ran_out { Why::TimerExpired } else { Why::AfterTimeout };
            return by(Mechanism::RetransmissionTimeout, first, why);
        }
        // Of a socket that is connected to itself the peer has sent nothing.
        let report = peer.reported.map(|report| (report, &self.seen[report]));
        let heard = report.is_some_and(|(place, report)| {
            // It may have been reported missing before its first transmission, overtaken by what followed, was captured.
            let leaves_out = report.ack <= Some(seen.seq) && report.first_block.is_some_and(|(_, to)| to > seen.seq);
            place >= first || leaves_out
        });
        // What has been filled since, and nothing behind it, reports no loss any more.
        let stands = report.is_some_and(|(_, report)| {
            Some(seen.seq) < peer.acked
                || report.ack >= peer.acked
                || report.first_block.is_some_and(|(_, to)| Some(to) > peer.acked)
        });
        // Where SACK was agreed on, a loss is reported with a block.
        let has_block = !self.is_selective() || report.is_some_and(|(_, report)| report.first_block.is_some());
        let reported = heard && stands && has_block;
        // What is said to have arrived is not repeated by who heard of it.
        let is_held = report.and_then(|(_, report)| report.first_block);
        let is_held = is_held.is_some_and(|(from, to)| from <= seen.seq && seen.end() <= to);
        // A probe is what was sent last, or the end of it; what begins before that is sent because it comes first.
        let newest = own.octets.last().map(|(_, place)| *place).max(own.fin);
        let is_tail =
            own.highest() == Some(seen.end()) && newest.is_none_or(|newest| self.seen[newest].seq <= seen.seq);
        let was_probed = own.probed.is_some_and(goes_on);
        // A probe is one segment: what goes with others that are sent again is none.
        let is_alone = own.last.is_none_or(|last| {
            let is_again = matches!(self.seen[last].ground, Ground::Octets { again: Some(_), .. });
            !is_again || self.between(last, place).is_none_or(|took| took > MOMENT)
        });
        // What a Fast Open server sent before the handshake ended has no probe (Linux arms it in ESTABLISHED).
        let before = |opened: Option<Place>| opened.is_some_and(|opened| opened < first);
        let was_open = own.syn_ack.is_none() || before(peer.finished_at) || before(peer.syn_ack);
        // What was captured first was the repetition, or one was lost before it was captured: it is not the first one.
        let was_repeated =
            matches!(self.seen[first].ground, Ground::Octets { again: Some(Again { of: None, .. }), .. })
                || self.is_transmission_missing(place, side, first);
        let may_probe = is_tail
            && !was_repeated
            && is_alone
            && was_open
            && self.is_selective()
            && !was_probed
            && !own.is_probing
            && repair.is_none()
            && self.may_be_probed_after(since_last, side);
        if may_probe && is_held {
            return by(Mechanism::TailLossProbe, first, Why::TailUnacknowledged);
        }
        // What acknowledges this very segment does not make its sender repeat it.
        let prompts = peer.prompts.iter().rev().filter(|prompt| self.seen[**prompt].ack <= Some(seen.seq));
        let prompted = prompts.copied().any(|prompt| prompt > latest && self.follows(prompt, place, side));
        if seen.findings.contains(Finding::FastRetransmission)
            || (reported || repair.is_some() || was_probed) && prompted
            || (reported || repair.is_some()) && (waited < self.shortest_timeout(side) || self.is_timer_anew(place, side))
            // A timeout sends first what is acknowledged next.
            || reported && Some(seen.seq) > peer.acked
        {
            return by(Mechanism::FastRetransmit, first, Why::LossReported);
        }
        if prompted {
            return by(Mechanism::Recovery, first, Why::AckedBefore);
        }
        if may_probe && !reported {
            return by(Mechanism::TailLossProbe, first, Why::TailUnacknowledged);
        }
        match ran_out {
            true => by(Mechanism::RetransmissionTimeout, first, Why::TimerExpired),
            false if heard => by(Mechanism::FastRetransmit, first, Why::LossReported),
            false => by(Mechanism::Recovery, first, Why::TooSoon),
        }
    }

    /// Whether octets that lie before others of their end, and were not captured yet, are sent again: why then.
    fn fills_a_gap(&self, place: Place, side: Side) -> Option<Again> {
        let (seen, own, peer) = (&self.seen[place], self.sent(side), self.sent(side.peer()));
        // A segment without octets shows by its number that they had been sent.
        let shown = own.furthest.filter(|furthest| self.seen[*furthest].seq >= seen.end());
        let is_beyond = own.highest() > Some(seen.end());
        let gap = own.gap.filter(|_| is_beyond || shown.is_some())?;
        let by = |mechanism| Some(Again { of: None, mechanism, why: Why::FirstNotCaptured });
        // A newer timestamp than that of all before: sent after them. Else: overtaken.
        let is_newer = seen.stamp.zip(own.stamp).map(|(stamp, newest)| is_older(newest, stamp));
        let is_again = seen.findings.contains(Finding::SentAgain) || is_newer == Some(true);
        if seen.findings.contains(Finding::Reordered) || (is_newer == Some(false) && !is_again) {
            return None;
        }
        let reported = peer.reported.filter(|reported| *reported > gap);
        let waited = self.between(gap, place)?;
        // What answers a report comes a round trip after it, what was overtaken comes sooner.
        let answers = reported.is_some() && own.quickest.is_some_and(|quickest| waited.as_nanos() >= most_of(quickest));
        // Long after the reports, and not in the moment of one, it is the timer, or the second repetition.
        let is_late = own
            .quickest
            .is_some_and(|quickest| waited.as_nanos() > self.least_rto().as_nanos() + 2 * quickest.as_nanos());
        let is_late = is_late && !peer.prompts.iter().rev().any(|prompt| self.follows(*prompt, place, side));
        match (reported.is_some() && (is_again || answers), waited >= self.least_rto()) {
            (true, _) if !is_late => by(Mechanism::FastRetransmit),
            (true, _) => by(Mechanism::RetransmissionTimeout),
            (false, true) => by(Mechanism::RetransmissionTimeout),
            // Nothing had been sent behind it: the first repetition of a tail is a probe.
            (false, false) if is_again && !is_beyond && self.is_selective() && own.probed.is_none() => {
                by(Mechanism::TailLossProbe)
            }
            (false, false) if is_again => by(Mechanism::Recovery),
            (false, false) => None,
        }
    }

    /// The ICMP error because of which an end sends again, in the moment in which it heard of it, what went last at `latest` in a packet that
    /// was too large; and how large one may be.
    fn shortened(&self, place: Place, side: Side, first: Place, latest: Place) -> Option<(u64, u32)> {
        let heard = self.ends[side as usize].heard.filter(|heard| heard.before > latest)?;
        let mtu = heard.error.mtu.filter(|_| heard.error.kind == IcmpKind::FragmentationNeeded)?;
        let took = self.seen[place].at?.since(heard.at?);
        let room = mtu.saturating_sub(SHORTEST_HEADERS);
        let is_shorter = self.seen[place].len <= room && room < self.seen[first].len;
        // At its sender's place an ICMP error is captured as it arrives.
        let is_soon = (Span(0)..=MOMENT).contains(&took) || self.is_moment(side, took);
        (is_shorter && is_soon).then_some((heard.frame, mtu))
    }

    /// Whether both ends agreed on SACK; believed of a handshake that was not captured, as nearly all do.
    fn is_selective(&self) -> bool {
        let permits = |side| self.sent(side).syn.is_none_or(|syn| self.seen[syn].permits_sack);
        permits(Side::Client) && permits(Side::Server)
    }

    /// Whether an end waits so long, at most, before it probes its tail: two round trips and, for one segment alone, 200 ms
    /// (tcp_schedule_loss_probe in net/ipv4/tcp_output.c), by the shortest and the longest round trip that were measured.
    fn may_be_probed_after(&self, waited: Span, side: Side) -> bool {
        let (own, peer) = (self.sent(side), self.sent(side.peer()));
        // Of a SYN that was repeated the sender may have no round trip.
        let is_measured = own.syn == own.last_syn || own.last_syn == own.syn_ack;
        let both = |one: Option<Span>, other: Option<Span>| {
            let (one, other) = one.zip(other).filter(|_| is_measured)?;
            Some(one.as_nanos().saturating_add(other.as_nanos()))
        };
        let measured = both(own.quickest, peer.quickest).zip(both(own.slowest, peer.slowest));
        measured.is_none_or(|(shortest, longest)| {
            // What is measured on the way is less than what the sender sees, by as much as delays differ.
            let more = self.least_rto().as_nanos().saturating_sub(MINIMUM_RTO.as_nanos());
            let probe = longest.saturating_mul(4).saturating_add(PROBE_SLACK.as_nanos()).saturating_add(more);
            let both = SHORTEST_BOTH.as_nanos().saturating_add(more.saturating_mul(2));
            let timeout = shortest.saturating_mul(2).saturating_add(both);
            waited.as_nanos() <= probe.max(timeout)
        })
    }

    /// What a retransmission timer is never shorter than: Linux's bound, or the one that its hosts are known to have had.
    fn least_rto(&self) -> Span {
        self.rto_min.map_or(MINIMUM_RTO, |known| Span(known.as_nanos().saturating_sub(TICK.as_nanos())))
    }

    /// How long a retransmission timer runs at least: Linux's shortest is 200 ms longer than the smoothed round trip (tcp_set_rto in
    /// net/ipv4/tcp_input.c), which is not less than the quickest one that was seen.
    fn shortest_timeout(&self, side: Side) -> Span {
        let quickest = self.sent(side).quickest.zip(self.sent(side.peer()).quickest);
        let round_trip = quickest.map_or(0, |(own, peer)| own.as_nanos().saturating_add(peer.as_nanos()));
        Span(self.least_rto().as_nanos().saturating_add(most_of(Span(round_trip))))
    }

    /// Whether an acknowledgement that was new set the end's retransmission timer anew so short a time before that it cannot have run out.
    fn is_timer_anew(&self, place: Place, side: Side) -> bool {
        let peer = self.sent(side.peer());
        let advanced = peer.prompts.iter().copied().find(|prompt| self.seen[*prompt].ack == peer.acked);
        advanced.and_then(|advanced| self.between(advanced, place)).is_some_and(|took| took < self.least_rto())
    }

    /// Whether an end sent the segment at `place` in the moment in which the one at `prompt` reached it, as far as the place of capture shows it.
    fn follows(&self, prompt: Place, place: Place, side: Side) -> bool {
        let (seen, prompt_seen) = (&self.seen[place], &self.seen[prompt]);
        // It repeats an older timestamp than that of a segment that came in order: it was sent before that one came.
        let is_unheard = Some(prompt_seen.seq) <= seen.ack
            && seen.echo.zip(prompt_seen.stamp).is_some_and(|(echo, stamp)| is_older(echo, stamp));
        !is_unheard && self.between(prompt, place).is_some_and(|took| self.is_moment(side, took))
    }

    /// Whether an end takes so long to answer what passes the place of capture when it answers at once.
    fn is_moment(&self, side: Side, took: Span) -> bool {
        let path = self.sent(side).quickest.unwrap_or(Span(0));
        (most_of(path)..=path.as_nanos().saturating_add(path.as_nanos() / 4).saturating_add(MOMENT.as_nanos()))
            .contains(&took.as_nanos())
    }
}

/// What Linux adds to two round trips before it probes with one segment alone, and ticks of its clock.
const PROBE_SLACK: Span = Span::from_millis(250);

/// A probe that was lost before the place of capture, and the timeout after it, take two round trips and twice 200 ms at least, less ticks of
/// two timers: what comes sooner is the probe.
const SHORTEST_BOTH: Span = Span::from_millis(392);

/// More identifications than this are not skipped by what is lost for a moment.
const MOST_MISSING: i16 = 4;

/// The octets of the largest TCP segment of a common path: one with more is cut by the network card.
const LARGEST_DATAGRAM: u32 = 1460;

/// The headers of IPv4 and TCP without options.
const SHORTEST_HEADERS: u32 = 40;

/// What was sent no later than what it seems to repeat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Same {
    /// It is the same frame.
    Copy,
    /// It was sent before, and overtaken.
    Overtaken,
}
