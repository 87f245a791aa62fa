//! Both directions of one connection: what each segment means, seen against all before it.

use super::analysis::{
    Newest, judge, judge_by_age, judge_congestion, oddities, remember_announced, tells_of_duplicates, was_sent_before,
};
use super::stream::{Marks, Stream};
use super::{Around, Direction, Finding, FindingSet};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Segment, Seq};

/// Both directions of one connection.
///
/// The rules of [`Finding`] are those of tshark 4.0, in its order and with its corner cases: a sequence number of zero
/// counts as "not yet known", and the acknowledgement field is remembered even where the ACK flag is not set.
#[derive(Clone, Debug, Default)]
pub struct Conversation {
    streams: [Stream; 2],
    /// Nanoseconds: the initial round-trip time once it is known, until then the moment of the latest SYN without ACK;
    /// which of them it is, the first direction's [`Marks::ASKED`] and [`Marks::TIMED`] tell.
    opening: i64,
}

/// What one segment means, seen against all before it.
#[derive(Clone, Copy, Debug)]
pub struct Judgement {
    /// What is remarkable about it.
    pub findings: FindingSet,
    /// Sequence number relative to the sender's first (SYN = 0, first octet = 1), beyond 2^32 where the stream is.
    pub seq: i64,
    /// Acknowledgement number relative to the peer's first; `None` without ACK.
    pub ack: Option<i64>,
    /// Window in octets, scaled where the scale is known.
    pub window: u32,
    /// The position in the sender's stream of its first octet, 0 being the octet after the SYN; negative before the first seen.
    pub position: i64,
    /// The sequence number up to which the sender's octets and its FIN have come without a gap, as far as the receiver could have them.
    pub in_order: Seq,
    /// Octets of the sender that are not acknowledged yet, this segment's included (Wireshark's bytes in flight by sequence numbers).
    pub in_flight: u32,
    /// Nanoseconds since the sender's stream last advanced: how long a segment that was sent again had been missing.
    pub since_advance: Option<Span>,
    /// The number of a duplicate acknowledgement among those that repeat the same one, from 1.
    pub duplicate: u16,
    /// Of a segment with findings: whether it begins before the end of what its sender had sent, which no RST moves.
    pub is_old: bool,
    /// Of an acknowledgement of what the rules have not seen: whether all of it was captured, in a repetition that reached further.
    pub was_captured: bool,
}

impl Conversation {
    /// How much memory its directions take besides what every conversation does.
    #[inline]
    pub fn extra(&self) -> usize {
        self.streams.iter().map(Stream::extra).sum()
    }

    /// Gives back what only further segments would need.
    pub fn settle(&mut self) {
        self.streams.iter_mut().for_each(Stream::settle);
    }

    /// Judges `segment`, which travels in `direction`, and remembers it.
    ///
    /// Inlined, what a caller does not ask for is not worked out.
    #[inline(always)]
    pub fn observe(&mut self, direction: Direction, segment: &Segment) -> Judgement {
        let rtt = self.initial_rtt().map_or(0, Span::as_nanos);
        let [first, second] = &mut self.streams;
        let (fwd, rev) = match direction {
            Direction::First => (first, second),
            Direction::Second => (second, first),
        };
        let flags = segment.flags;
        let acks = flags.contains(Flags::ACK);
        let now = segment.at.map_or(0, Timestamp::as_nanos);

        fwd.meet(segment);
        if acks && !rev.marks.contains(Marks::BASE) {
            rev.meet_by_ack(segment.ack);
        }

        let mut findings = oddities(segment);
        let since_advance = segment.at.zip(fwd.advanced_at).map(|(at, then)| at.since(then));
        let (newest, next) = (Newest::of(fwd), fwd.next);
        judge(fwd, rev, segment, now, rtt, &mut findings);
        let duplicate = fwd.duplicate_acks;
        if findings.repeats() && was_sent_before(newest, segment) {
            // It may be a copy, and others will come.
            fwd.irregular.get_or_insert_default();
        }
        let earlier = fwd.irregular.as_mut().map(|irregular| &mut irregular.earlier);
        // What two capture points have is seen once at each; what one of them has twice is for the rules.
        let is_copy = segment.oddities.contains(Oddities::SEEN_ELSEWHERE)
            || fwd.copies.saw_before(earlier, segment, now, fwd.next != next);
        let (mut known, mut is_old) = (0, false);
        if !findings.is_empty() {
            (known, is_old) = (fwd.unique_octets(), segment.seq.is_before(fwd.reached()));
        }
        let position = fwd.take_octets(segment);
        if is_copy {
            findings.insert(Finding::CapturedTwice);
            // Whoever captured one frame twice does so with others, of both directions.
            fwd.irregular.get_or_insert_default();
            rev.irregular.get_or_insert_default();
        } else if is_old && !findings.is_empty() {
            judge_by_age(newest, segment, fwd.unique_octets() > known, &mut findings);
        }
        if flags.intersects(Flags::ECE | Flags::CWR) {
            let accurate = [&*fwd, &*rev].iter().all(|stream| stream.marks.contains(Marks::ACCURATE_ECN));
            judge_congestion(accurate, segment, &mut findings);
        }
        let was_captured = findings.contains(Finding::AckedUnseen) && rev.holds_all_before(segment.ack);
        if segment.options.sack_blocks > 0 && tells_of_duplicates(segment) {
            findings.insert(Finding::DuplicateSack);
        }
        fwd.count(segment);

        if flags.contains(Flags::FIN) && fwd.is_fin(segment) {
            fwd.marks |= Marks::FIN;
            fwd.octets.fin_end = segment.end();
        }
        fwd.round_trips.sent(segment, findings.repeats());
        if acks {
            rev.acknowledge_octets(segment.ack);
            rev.round_trips.acknowledged(segment);
        }
        let judgement = Judgement {
            findings,
            // The SYN takes the number before the first octet's, which is 1.
            seq: position + i64::from(!flags.contains(Flags::SYN)),
            ack: acks.then(|| rev.octets.position(segment.ack) + 1),
            window: fwd.scaled(segment),
            position,
            in_order: fwd.in_order(),
            in_flight: fwd.in_flight(rev),
            since_advance,
            duplicate,
            is_old,
            was_captured,
        };

        if flags.contains(Flags::SYN) || segment.options.window_scale.is_some() {
            remember_announced(fwd, rev, segment);
        }
        if acks && !flags.contains(Flags::SYN) {
            fwd.marks.remove(Marks::UNSCALED);
        }
        if !self.streams[0].marks.contains(Marks::TIMED) {
            self.time_opening(segment);
        }
        judgement
    }

    /// Remembers a segment whose data offset cannot be, which its receiver drops.
    ///
    /// As in Wireshark it is counted; one that seems shorter than a header has no flags, and what the sequence analysis
    /// finds in it is not told; one that seems longer than the segment takes no part in the sequence analysis.
    #[cold]
    pub fn observe_unreadable(&mut self, direction: Direction, segment: &Segment) -> Judgement {
        let rtt = self.initial_rtt().map_or(0, Span::as_nanos);
        let [first, second] = &mut self.streams;
        let (fwd, rev) = match direction {
            Direction::First => (first, second),
            Direction::Second => (second, first),
        };
        let short = segment.has_short_header();
        let heeded = if short { Segment { flags: Flags::empty(), ..*segment } } else { *segment };
        if segment.flags.contains(Flags::SYN) {
            fwd.follow_syn(segment);
        }
        if !fwd.marks.contains(Marks::BASE) {
            fwd.begin(heeded.data_seq());
        }
        if short {
            if !fwd.marks.contains(Marks::BASE) {
                fwd.base = if segment.flags.contains(Flags::SYN) { segment.seq } else { segment.seq.minus(1) };
                fwd.marks |= Marks::BASE;
            }
            if segment.flags.contains(Flags::ACK) && !rev.marks.contains(Marks::BASE) {
                rev.meet_by_ack(segment.ack);
            }
            let now = segment.at.map_or(0, Timestamp::as_nanos);
            judge(fwd, rev, segment, now, rtt, &mut FindingSet::default());
        } else if heeded.flags.contains(Flags::SYN) {
            if !fwd.marks.contains(Marks::SYN) {
                fwd.isn = segment.seq;
            }
            fwd.marks |= Marks::SYN | Marks::UNSCALED;
        }
        fwd.last_at = segment.at;
        fwd.count(&heeded);
        let position = fwd.take_octets(&heeded);
        let acks = heeded.flags.contains(Flags::ACK);
        let judgement = Judgement {
            findings: oddities(segment),
            seq: position + i64::from(!heeded.flags.contains(Flags::SYN)),
            ack: acks.then(|| rev.octets.position(segment.ack) + 1),
            window: fwd.scaled(segment),
            position,
            in_order: fwd.in_order(),
            in_flight: fwd.in_flight(rev),
            since_advance: None,
            duplicate: 0,
            is_old: false,
            was_captured: false,
        };
        if heeded.flags.contains(Flags::SYN) || heeded.options.window_scale.is_some() {
            remember_announced(fwd, rev, &heeded);
        }
        if acks && !heeded.flags.contains(Flags::SYN) {
            fwd.marks.remove(Marks::UNSCALED);
        }
        if !self.streams[0].marks.contains(Marks::TIMED) {
            self.time_opening(&heeded);
        }
        judgement
    }

    /// Takes note of a header of a segment in `direction` that an ICMP error quotes: only its SYN means something.
    pub fn quote(&mut self, direction: Direction, quote: &Segment) {
        let stream = &mut self.streams[direction as usize];
        if quote.flags.contains(Flags::SYN) {
            stream.follow_syn(quote);
        }
    }

    /// Whether `segment` is a SYN that cannot belong to this conversation: its initial sequence number is another than before.
    pub fn is_outlived_by(&self, direction: Direction, segment: &Segment) -> bool {
        let fwd = self.stream(direction);
        segment.flags.contains(Flags::SYN)
            && !segment.flags.contains(Flags::ACK)
            && fwd.marks.contains(Marks::BASE)
            && segment.seq != fwd.base
    }

    /// What is known of both streams around the segment in `direction` that was judged last.
    #[inline(always)]
    pub fn around(&self, direction: Direction, judged: &Judgement) -> Around {
        self.between(self.stream(direction), self.stream(direction.reverse()), judged)
    }

    /// As [`around`](Self::around), for a socket that is connected to itself: its receiver is its sender.
    pub fn around_itself(&self, direction: Direction, judged: &Judgement) -> Around {
        let own = self.stream(direction);
        self.between(own, own, judged)
    }

    #[inline(always)]
    fn between(&self, fwd: &Stream, rev: &Stream, judged: &Judgement) -> Around {
        Around {
            next: Some(fwd.reached()),
            peer_next: rev.marks.contains(Marks::BASE).then(|| rev.reached()),
            peer_isn: rev.last_syn(),
            peer_ack: rev.marks.contains(Marks::ACKED).then_some(rev.last_ack),
            room: rev.room(),
            tells_duplicate: judged.findings.contains(Finding::DuplicateSack),
            ..Around::in_order(judged.in_order)
        }
    }

    /// Octets of a direction that are not acknowledged yet, as [`Judgement::in_flight`].
    #[inline]
    pub fn in_flight(&self, direction: Direction) -> u32 {
        self.stream(direction).in_flight(self.stream(direction.reverse()))
    }

    /// The sequence number after all that came in a direction; `None` while none is known.
    pub fn next(&self, direction: Direction) -> Option<Seq> {
        let stream = self.stream(direction);
        stream.marks.contains(Marks::BASE).then(|| stream.reached())
    }

    /// One direction.
    pub fn stream(&self, direction: Direction) -> &Stream {
        &self.streams[direction as usize]
    }

    /// From the latest SYN to the first segment with ACK and without SYN; `None` while one of them lacks, or where the clock did not move.
    pub fn initial_rtt(&self) -> Option<Span> {
        self.streams[0].marks.contains(Marks::TIMED).then_some(Span(self.opening))
    }

    fn time_opening(&mut self, segment: &Segment) {
        let Some(at) = segment.at.map(Timestamp::as_nanos) else { return };
        let syn_ack = segment.flags & (Flags::SYN | Flags::ACK);
        let marks = &mut self.streams[0].marks;
        if syn_ack == Flags::SYN {
            *marks |= Marks::ASKED;
            self.opening = at;
        } else if syn_ack == Flags::ACK && marks.contains(Marks::ASKED) && at != self.opening {
            *marks |= Marks::TIMED;
            self.opening = at.saturating_sub(self.opening);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::copies::REACH;
    use super::*;
    use crate::script::{self, Actor};

    /// Holds the findings of each line against the names after `=`; returns the conversation.
    fn check(script: &str) -> Conversation {
        let mut conversation = Conversation::default();
        for (from, segment, expected) in script::read(script) {
            let judged = conversation.observe(direction(from), &segment);
            let names: Vec<_> = judged.findings.iter().map(Finding::name).collect();
            assert_eq!(names.join(" "), expected, "frame {}", segment.frame);
        }
        conversation
    }

    fn direction(from: Actor) -> Direction {
        if from == Actor::CLIENT { Direction::First } else { Direction::Second }
    }

    fn opened(script: &str) -> Conversation {
        check(&format!(
            "
            0   C > S: S  100(0)         win 1000 ws 0
            10  S > C: S. 300(0) ack 101 win 1000 ws 0
            20  C > S: .  101(0) ack 301 win 1000
            {script}"
        ))
    }

    // ---- retransmissions -----------------------------------------------------------------------------------------

    #[test]
    fn octets_sent_again_late_are_a_retransmission() {
        let conversation = opened(
            "30   C > S: P. 101(10) ack 301
             240  C > S: P. 101(10) ack 301 = retransmission
             250  S > C: .  301(0)  ack 111",
        );
        let stream = conversation.stream(Direction::First);
        assert_eq!((stream.octets(), stream.unique_octets()), (20, 10));
    }

    #[test]
    fn octets_sent_again_after_they_were_acknowledged_are_spurious() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: .  301(0)  ack 111
             240  C > S: P. 101(10) ack 301 = spurious_retransmission",
        );
    }

    #[test]
    fn the_segment_asked_for_by_two_duplicate_acks_is_a_fast_retransmission() {
        opened(
            "30   C > S: P. 101(10) ack 301
             30.1 C > S: P. 111(10) ack 301
             30.2 C > S: P. 121(10) ack 301
             40   S > C: .  301(0)  ack 101 = duplicate_ack
             40.1 S > C: .  301(0)  ack 101 = duplicate_ack
             41   C > S: P. 101(10) ack 301 = fast_retransmission",
        );
    }

    #[test]
    fn older_octets_within_the_initial_rtt_are_out_of_order() {
        let conversation = opened(
            "30   C > S: P. 111(10) ack 301 id 8 = lost_segment
             31   C > S: P. 101(10) ack 301 id 7 = out_of_order",
        );
        assert_eq!(conversation.stream(Direction::First).unique_octets(), 20);
    }

    #[test]
    fn without_an_identification_timestamps_say_what_was_sent_first() {
        for id in ["id -", "id 0"] {
            let script = "
                0    C > S: S  100(0)          ts 10:0  ID
                10   S > C: S. 300(0)  ack 101 ts 70:10 ID
                20   C > S: .  101(0)  ack 301 ts 30:70 ID
                30   C > S: P. 111(10) ack 301 ts 40:70 ID = lost_segment
                31   C > S: P. 101(5)  ack 301 ts 41:70 ID = out_of_order sent_again
                31.1 C > S: P. 106(5)  ack 301 ts 40:70 ID = out_of_order
                32   C > S: P. 141(10) ack 301 ts 50:70 ID = lost_segment
                90   C > S: P. 121(10) ack 301 ts 49:70 ID = retransmission reordered
                91   C > S: P. 121(10) ack 301 ts 49:71 ID = retransmission
                92   C > S: P. 131(10) ack 301 ts 99:71 ID = retransmission";
            check(&script.replace("ID", id));
        }
    }

    #[test]
    fn congestion_is_reported_after_the_handshake_unless_the_flags_count() {
        let check = |syns: Flags| {
            let mut conversation = Conversation::default();
            let script = "0 C > S: S 100(0)\n 1 S > C: S. 300(0) ack 101\n 2 C > S: . 101(0) ack 301\n 3 C > S: P. 101(9) ack 301";
            let mut told = Vec::new();
            for (place, (from, mut segment, _)) in script::read(script).enumerate() {
                segment.flags |= [syns, syns, Flags::ECE, Flags::CWR][place];
                let findings = conversation.observe(direction(from), &segment).findings;
                told.extend(findings.iter().map(Finding::name));
            }
            told.join(" ")
        };
        assert_eq!(check(Flags::ECE | Flags::CWR), "ecn_echo window_reduced");
        assert_eq!(check(Flags::ECE | Flags::CWR | Flags::AE), "");
    }

    #[test]
    fn octets_of_a_longer_repetition_were_captured() {
        let mut conversation = Conversation::default();
        let script = "0  C > S: S  100(0)
                      10 S > C: S. 300(0)  ack 101
                      20 C > S: P. 101(10) ack 301
                      21 C > S: P. 101(30) ack 301
                      22 S > C: .  301(0)  ack 131
                      23 S > C: .  301(0)  ack 151";
        let judged: Vec<_> =
            script::read(script).map(|(from, segment, _)| conversation.observe(direction(from), &segment)).collect();
        let unseen = |judged: &Judgement| (judged.findings.contains(Finding::AckedUnseen), judged.was_captured);
        assert_eq!([unseen(&judged[4]), unseen(&judged[5])], [(true, true), (true, false)]);
    }

    #[test]
    fn a_repeated_syn_and_a_repeated_fin_are_retransmissions() {
        check(
            "0     C > S: S  100(0)
             1000  C > S: S  100(0)         = retransmission
             1010  S > C: S. 300(0) ack 101
             1020  C > S: .  101(0) ack 301
             1030  C > S: F. 101(0) ack 301
             2030  C > S: F. 101(0) ack 301 = retransmission",
        );
    }

    #[test]
    fn one_old_octet_at_the_edge_is_a_keep_alive_and_more_of_them_are_new() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: .  301(0)  ack 111
             5000 C > S: .  110(1)  ack 301 = keep_alive
             5001 S > C: .  301(0)  ack 111 = keep_alive_ack
             6000 C > S: .  110(11) ack 301",
        );
    }

    // ---- acknowledgements and windows ----------------------------------------------------------------------------

    #[test]
    fn a_repeated_ack_is_a_duplicate_only_without_octets_and_with_the_same_window() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: P. 301(5)  ack 101
             32   S > C: .  306(0)  ack 101 = duplicate_ack
             33   S > C: .  306(0)  ack 101 win 900 = window_update
             34   S > C: P. 306(5)  ack 101 win 900",
        );
    }

    #[test]
    fn a_zero_window_is_probed_and_opens_again() {
        opened(
            "30   C > S: P. 101(1000) ack 301 = window_full
             31   S > C: .  301(0)  ack 1101 win 0 = zero_window
             231  C > S: .  1101(1) ack 301 = zero_window_probe
             232  S > C: .  301(0)  ack 1101 win 0 = zero_window zero_window_probe_ack
             300  S > C: .  301(0)  ack 1101 win 1000 = window_update",
        );
    }

    #[test]
    fn a_window_is_full_by_its_scale() {
        check(
            "0   C > S: S  100(0)         win 1000 ws 2
             10  S > C: S. 300(0) ack 101 win 1000 ws 3
             20  C > S: .  101(0) ack 301 win 1000
             25  S > C: .  301(0) ack 101 win 200 = window_update
             30  C > S: P. 101(1000) ack 301
             31  C > S: P. 1101(600) ack 301 = window_full",
        );
    }

    #[test]
    fn an_ack_of_what_was_not_captured_is_told_once() {
        opened(
            "30   C > S: P. 101(10) ack 301
             31   S > C: .  301(0)  ack 131 = acked_unseen
             32   S > C: P. 301(10) ack 131
             33   C > S: P. 131(10) ack 301 = lost_segment
             34   S > C: .  311(0)  ack 141 = acked_unseen
             35   C > S: P. 141(10) ack 311
             36   S > C: .  311(0)  ack 151",
        );
    }

    // ---- captured twice ------------------------------------------------------------------------------------------

    #[test]
    fn the_copy_of_a_frame_keeps_the_rules_verdict_and_gets_ours_beside_it() {
        opened(
            "30    C > S: P. 101(10) ack 301 id 77
             30.01 C > S: P. 101(10) ack 301 id 77 = retransmission captured_twice
             31    S > C: .  301(0)  ack 111 id 78
             31.01 S > C: .  301(0)  ack 111 id 78 = duplicate_ack captured_twice",
        );
    }

    #[test]
    fn after_the_first_copy_more_segments_may_come_between() {
        opened(
            "30   C > S: P. 101(10) ack 301 id 77
             30.1 C > S: P. 101(10) ack 301 id 77 = retransmission captured_twice
             31   C > S: P. 111(10) ack 301 id 78
             32   C > S: P. 121(10) ack 301 id 79
             33   C > S: P. 131(10) ack 301 id 80
             33.5 S > C: .  301(0)  ack 141 id 5
             34   C > S: P. 141(10) ack 301 id 81
             35   C > S: P. 111(10) ack 301 id 78 = spurious_retransmission captured_twice
             36   C > S: P. 121(10) ack 301 id 83 = spurious_retransmission
             37   S > C: P. 301(10) ack 141 id 6
             38   S > C: P. 311(10) ack 151 id 7
             39   S > C: P. 321(10) ack 151 id 8
             39.5 S > C: P. 331(10) ack 151 id 9
             40   S > C: .  301(0)  ack 141 id 5 = captured_twice
             41   S > C: P. 301(10) ack 141 id 6 = out_of_order captured_twice",
        );
    }

    #[test]
    fn an_old_datagram_is_a_sign_of_copies() {
        opened(
            "30   C > S: P. 101(10) ack 301 id 77
             31   C > S: P. 111(10) ack 301 id 78
             32   C > S: P. 121(10) ack 301 id 79
             63   C > S: P. 101(10) ack 301 id 77 = retransmission
             64   C > S: P. 131(10) ack 301 id 80
             64.5 C > S: P. 141(10) ack 301 id 81
             65   C > S: P. 121(10) ack 301 id 79 = out_of_order captured_twice",
        );
    }

    #[test]
    fn only_a_copy_within_a_second_and_within_reach_counts() {
        let mut script = String::from(
            "30 C > S: P. 101(10) ack 301 id 77\n30.1 C > S: P. 101(10) ack 301 id 77 = retransmission captured_twice\n",
        );
        let mut next = 111;
        let mut send = |script: &mut String, count| {
            for _ in 0..count {
                *script += &format!("31 C > S: P. {next}(1) ack 301 id {next}\n");
                next += 1;
            }
        };
        send(&mut script, REACH);
        let in_reach = format!("{script} 32 C > S: P. 111(1) ack 301 id 111 = out_of_order captured_twice");
        opened(&in_reach);
        let late = format!("{script} 2032 C > S: P. 111(1) ack 301 id 111 = retransmission");
        opened(&late);
        send(&mut script, 1);
        opened(&format!("{script} 32 C > S: P. 111(1) ack 301 id 111 = out_of_order"));
    }

    #[test]
    fn another_datagram_with_the_same_octets_is_no_copy() {
        opened(
            "30    C > S: P. 101(10) ack 301 id 77
             240   C > S: P. 101(10) ack 301 id 79 = retransmission",
        );
    }

    #[test]
    fn without_an_identification_only_a_copy_at_once_counts() {
        opened(
            "30    C > S: P. 101(10) ack 301 id -
             30.01 C > S: P. 101(10) ack 301 id - = retransmission captured_twice
             240   C > S: P. 101(10) ack 301 id - = retransmission",
        );
    }

    // ---- better than the rule ------------------------------------------------------------------------------------

    #[test]
    fn without_an_identification_timestamps_tell_what_was_overtaken() {
        opened(
            "30    C > S: P. 101(10) ack 301 id - ts 500:1
             31    C > S: P. 121(10) ack 301 id - ts 510:1 = lost_segment
             32    C > S: P. 111(10) ack 301 id - ts 511:1 = out_of_order sent_again
             33    C > S: P. 141(10) ack 301 id - ts 520:1 = lost_segment
             34    C > S: P. 131(10) ack 301 id - ts 515:1 = out_of_order
             35    C > S: P. 161(10) ack 301 id - ts 530:1 = lost_segment
             135   C > S: P. 151(10) ack 301 id - ts 525:1 = retransmission reordered",
        );
    }

    #[test]
    fn identifications_tell_overtaken_octets_from_those_sent_again() {
        opened(
            "30    C > S: P. 101(10) ack 301 id 10
             31    C > S: P. 121(10) ack 301 id 12 = lost_segment
             80    C > S: P. 111(10) ack 301 id 11 = retransmission reordered
             90    C > S: P. 141(10) ack 301 id 15 = lost_segment
             91    C > S: P. 131(10) ack 301 id 16 = out_of_order sent_again",
        );
    }

    #[test]
    fn a_duplicate_sack_tells_of_octets_that_arrived_twice() {
        let mut conversation = Conversation::default();
        let mut tells = |ack: u32, blocks: &[(u32, u32)]| {
            let (_, mut segment, _) = script::read("0 S > C: . 301(0)").next().expect("a segment");
            segment.ack = Seq(ack);
            for (at, (left, right)) in blocks.iter().enumerate() {
                segment.options.sack[at] = (Seq(*left), Seq(*right));
            }
            segment.options.sack_blocks = blocks.len() as u8;
            conversation.observe(Direction::Second, &segment).findings.contains(Finding::DuplicateSack)
        };
        assert!(tells(200, &[(101, 111)]));
        assert!(tells(200, &[(300, 310), (290, 320)]));
        assert!(!tells(200, &[(300, 310)]));
        assert!(!tells(200, &[(300, 310), (400, 420)]));
    }

    // ---- octets and times ----------------------------------------------------------------------------------------

    #[test]
    fn octets_that_ride_with_a_syn_or_a_fin_count() {
        let conversation = check(
            "0   C > S: S  100(5)
             10  S > C: S. 300(0) ack 106
             20  C > S: F. 106(7) ack 301",
        );
        let stream = conversation.stream(Direction::First);
        assert_eq!((stream.octets(), stream.unique_octets()), (12, 12));
        assert_eq!(stream.fin_end(), Some(Seq(114)));
    }

    #[test]
    fn positions_go_on_where_sequence_numbers_wrap() {
        let mut conversation = Conversation::default();
        let script = "0  C > S: S  4294967290(0)
                      10 S > C: S. 300(0) ack 4294967291
                      20 C > S: P. 4294967291(10) ack 301
                      30 C > S: P. 5(10) ack 301";
        let judged: Vec<_> =
            script::read(script).map(|(from, segment, _)| conversation.observe(direction(from), &segment)).collect();
        assert_eq!(judged.iter().map(|judged| judged.seq).collect::<Vec<_>>(), [0, 0, 1, 11]);
        assert_eq!(judged[3].position, 10);
        assert!(judged.iter().all(|judged| judged.findings.is_empty()), "{judged:?}");
        assert_eq!(conversation.stream(Direction::First).unique_octets(), 20);
    }

    #[test]
    fn a_segment_that_was_sent_twice_is_not_timed() {
        let conversation = opened(
            "30   C > S: P. 101(10) ack 301
             33   S > C: .  301(0)  ack 111
             40   C > S: P. 111(10) ack 301
             240  C > S: P. 111(10) ack 301 = retransmission
             241  S > C: .  301(0)  ack 121
             250  C > S: P. 121(10) ack 301
             255  S > C: .  301(0)  ack 131",
        );
        let (shortest, mean, longest) = conversation.stream(Direction::First).round_trips().expect("three samples");
        assert_eq!((shortest.0, mean.0, longest.0), (3_000_000, 6_000_000, 10_000_000));
        assert_eq!(conversation.initial_rtt(), Some(Span(20_000_000)));
    }

    #[test]
    fn what_came_in_order_ends_at_a_hole_until_it_is_filled_or_acknowledged() {
        let mut conversation = Conversation::default();
        let script = "0  C > S: S  100(0)          = 101
                      10 S > C: S. 300(0)  ack 101 = 301
                      20 C > S: P. 111(10) ack 301 = 101
                      21 C > S: F. 121(0)  ack 301 = 101
                      22 C > S: P. 101(10) ack 301 = 122
                      30 S > C: P. 311(10) ack 122 = 301
                      31 C > S: .  122(0)  ack 321 = 122
                      32 S > C: .  321(0)  ack 122 = 321";
        for (from, segment, expected) in script::read(script) {
            let judged = conversation.observe(direction(from), &segment);
            assert_eq!(judged.in_order.to_string(), expected, "frame {}", segment.frame);
        }
    }

    proptest! {
        /// The same octets, cut in any way, take the same positions.
        #[test]
        fn positions_do_not_depend_on_the_cut(start: u32, cuts in proptest::collection::vec(1u32..2_000, 1..200)) {
            let mut conversation = Conversation::default();
            let (_, mut segment, _) = script::read("0 C > S: S 0(0)").next().expect("a segment");
            segment.seq = Seq(start);
            conversation.observe(Direction::First, &segment);
            segment.flags = Flags::ACK;
            let mut at = 0;
            for len in cuts {
                (segment.seq, segment.len) = (Seq(start).plus(1 + at), len);
                let judged = conversation.observe(Direction::First, &segment);
                prop_assert_eq!((judged.position, judged.seq), (i64::from(at), i64::from(at) + 1));
                at += len;
            }
            prop_assert_eq!(conversation.stream(Direction::First).unique_octets(), u64::from(at));
        }
    }
}
