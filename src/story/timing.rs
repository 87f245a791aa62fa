//! What is measured at each segment of a connection whose timeline is told: octets in flight, and round-trip times.

use std::collections::{BTreeMap, VecDeque};

use crate::flow::Side;
use crate::tcp::{Finding, FindingSet};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq};

/// What one segment tells of the path between the ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Timing {
    /// Octets of its sender that are on their way once it was sent (Wireshark's `tcp.analysis.bytes_in_flight`).
    ///
    /// They go from the first octet that is not acknowledged to the last one seen, less the blocks that the peer's last SACK option told of.
    /// `None` without octets, and from a segment before which one was not captured until the peer sends an ACK.
    pub in_flight: Option<u32>,
    /// The frame of the oldest segment that ends where its acknowledgement does (Wireshark's `tcp.analysis.acks_frame`).
    pub acks_frame: Option<u64>,
    /// The time from that segment to this one (Wireshark's `tcp.analysis.ack_rtt`); `None` where the clock did not move.
    pub ack_rtt: Option<Span>,
    /// Whether some of the octets it newly acknowledges had been sent more than once: then `ack_rtt` is no sample by Karn's rule (RFC 6298 section 3).
    pub ambiguous: bool,
    /// The time from the first segment with octets, SYN or FIN that carried the timestamp it echoes, where it is the first with this echo that acknowledges anything new (RFC 7323 section 4.1).
    ///
    /// What was sent again carries a timestamp of its own, so this is a sample there, too.
    pub timestamp_rtt: Option<Span>,
}

/// Takes the times of one connection, segment by segment in the order of capture.
///
/// For each segment it does work that grows with the logarithm of how many are not acknowledged, and takes out what is acknowledged once.
#[derive(Clone, Debug, Default)]
pub(super) struct Stopwatch {
    ends: [Outstanding; 2],
}

impl Stopwatch {
    /// Measures at a segment that `from` sent.
    pub(super) fn measure(&mut self, from: Side, segment: &Segment, findings: FindingSet) -> Timing {
        let [client, server] = &mut self.ends;
        let (fwd, rev) = match from {
            Side::Client => (client, server),
            Side::Server => (server, client),
        };
        let mut timing = Timing::default();
        let acks = segment.flags.contains(Flags::ACK);
        rev.is_broken &= !acks;
        fwd.is_broken |= findings.contains(Finding::LostSegment);
        fwd.sent(segment, findings.has_retransmission() || findings.contains(Finding::KeepAlive));
        if acks {
            rev.acknowledged(segment, &mut timing);
        }
        if segment.len > 0 {
            timing.in_flight = fwd.in_flight(segment.flags);
        }
        rev.take_blocks(segment.options.sack_edges());
        timing
    }
}

/// What one end has sent and not yet got acknowledged, as far as it was captured.
#[derive(Clone, Debug, Default)]
struct Outstanding {
    /// A sequence number and the position that stands for it: positions go on past 2^32.
    origin: Option<(Seq, i64)>,
    /// Segments that are not acknowledged, each from where it begins, or where the last acknowledgement cut it.
    unacked: Stretches,
    /// Of these, the ones that were sent again.
    repeated: Stretches,
    /// The first segment that ended at a position: its frame and time.
    ends: BTreeMap<i64, (u64, Option<Timestamp>)>,
    /// Up to where the peer has acknowledged.
    acknowledged: Option<i64>,
    /// Octets in the SACK blocks of the peer's last segment.
    sacked: u32,
    /// A segment was missed since the peer's last ACK.
    is_broken: bool,
    /// Timestamps whose echo is waited for, ascending, each with the time of the first segment that carried it.
    timestamps: VecDeque<(u32, Option<Timestamp>)>,
    /// The newest timestamp sent with octets, SYN or FIN.
    newest: Option<u32>,
}

impl Outstanding {
    fn sent(&mut self, segment: &Segment, is_repeat: bool) {
        let flags = segment.flags;
        let control = flags.intersects(Flags::SYN | Flags::FIN);
        if segment.len == 0 && !control {
            return;
        }
        // A SYN with FIN takes one number, as in Wireshark.
        let end = segment.seq.plus(segment.len).plus(control.into());
        let (_, furthest) = *self.origin.get_or_insert((segment.seq, 0));
        let (start, to) = (self.position(segment.seq), self.position(end));
        if to > furthest {
            self.origin = Some((end, to));
        }
        self.unacked.insert(start, to);
        if is_repeat {
            self.repeated.insert(start, to);
        }
        self.ends.entry(to).or_insert((segment.frame, segment.at));
        if let Some((sent, _)) = segment.options.timestamps
            && self.newest.is_none_or(|newest| is_later(sent, newest))
        {
            self.newest = Some(sent);
            self.timestamps.push_back((sent, segment.at));
        }
    }

    /// The peer sent `segment`, with ACK.
    fn acknowledged(&mut self, segment: &Segment, timing: &mut Timing) {
        if self.origin.is_none() {
            return;
        }
        let position = self.position(segment.ack);
        let before = self.acknowledged;
        let is_new = before.is_none_or(|before| position > before);
        self.acknowledged = before.max(Some(position));
        if let Some((frame, sent)) = self.ends.get(&position) {
            timing.acks_frame = Some(*frame);
            timing.ack_rtt = segment.at.zip(*sent).map(|(at, sent)| at.since(sent)).filter(|rtt| *rtt != Span(0));
        }
        while self.ends.first_key_value().is_some_and(|(end, _)| *end <= position) {
            self.ends.pop_first();
        }
        let taken = self.unacked.cut(position);
        let again = self.repeated.cut(position);
        if is_new && taken.is_some() {
            timing.ambiguous = again.is_some_and(|again| before.is_none_or(|before| again > before));
            timing.timestamp_rtt = self.echoed(segment);
        }
    }

    /// The time since the timestamp was sent that `segment` echoes, the first time that it does.
    fn echoed(&mut self, segment: &Segment) -> Option<Span> {
        let (_, echoed) = segment.options.timestamps?;
        while self.timestamps.front().is_some_and(|(sent, _)| is_later(echoed, *sent)) {
            self.timestamps.pop_front();
        }
        let (_, sent) = *self.timestamps.front().filter(|(sent, _)| *sent == echoed)?;
        self.timestamps.pop_front();
        segment.at.zip(sent).map(|(at, sent)| at.since(sent)).filter(|rtt| *rtt != Span(0))
    }

    fn in_flight(&self, flags: Flags) -> Option<u32> {
        if self.is_broken {
            return None;
        }
        let octets = self.unacked.width()? as u32;
        let octets = octets.wrapping_sub(self.sacked);
        // What Wireshark takes for nonsense: blocks that are no longer in flight were taken off.
        let sound = (1..2_000_000_000).contains(&octets);
        let control = u32::from(flags.intersects(Flags::SYN | Flags::FIN));
        (sound && octets > control).then(|| octets - control)
    }

    fn take_blocks(&mut self, blocks: &[(Seq, Seq)]) {
        let octets = |(left, right): &(Seq, Seq)| right.0.wrapping_sub(left.0);
        self.sacked = blocks.iter().take(BLOCKS).map(octets).fold(0, u32::wrapping_add);
    }

    /// Where a sequence number lies, seen from the furthest one sent.
    fn position(&self, seq: Seq) -> i64 {
        self.origin.map_or(0, |(origin, position)| position + i64::from(seq.since(origin)))
    }
}

/// Stretches of positions, which may overlap.
#[derive(Clone, Debug, Default)]
struct Stretches {
    /// By their beginnings, the furthest end of those that begin there.
    ends: BTreeMap<i64, i64>,
    /// The furthest end of all.
    furthest: i64,
}

impl Stretches {
    fn insert(&mut self, from: i64, to: i64) {
        self.furthest = if self.ends.is_empty() { to } else { self.furthest.max(to) };
        let end = self.ends.entry(from).or_insert(to);
        *end = to.max(*end);
    }

    /// Takes out what lies before `position`, and says how far that reached; a stretch that goes on behind it begins there now.
    fn cut(&mut self, position: i64) -> Option<i64> {
        let mut reached: Option<i64> = None;
        while self.ends.first_key_value().is_some_and(|(from, _)| *from < position) {
            reached = reached.max(self.ends.pop_first().map(|(_, to)| to));
        }
        if let Some(to) = reached.filter(|to| *to > position) {
            let end = self.ends.entry(position).or_insert(to);
            *end = to.max(*end);
        }
        reached
    }

    /// From the first beginning to the furthest end.
    fn width(&self) -> Option<i64> {
        self.ends.first_key_value().map(|(from, _)| self.furthest - from)
    }
}

/// Whether a timestamp is newer than another (RFC 7323 section 5.2).
fn is_later(timestamp: u32, other: u32) -> bool {
    (timestamp.wrapping_sub(other) as i32) > 0
}

/// How many SACK blocks Wireshark takes into account: not the fourth.
const BLOCKS: usize = 3;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::script;
    use crate::tcp::{Conversation, Direction};

    /// Measures at each segment of a script (see [`script::read`]) and holds it to what stands behind `=`.
    fn check(lines: &str) {
        let (mut stopwatch, mut conversation) = (Stopwatch::default(), Conversation::default());
        for (from, segment, expected) in script::read(lines) {
            let (side, direction) = match from {
                script::Actor::CLIENT => (Side::Client, Direction::First),
                _ => (Side::Server, Direction::Second),
            };
            let findings = conversation.observe(direction, &segment).findings;
            let timing = stopwatch.measure(side, &segment, findings);
            let millis = |span: Span| span.as_nanos() as f64 / 1e6;
            let mut told = Vec::new();
            told.extend(timing.in_flight.map(|octets| format!("flight {octets}")));
            told.extend(timing.acks_frame.map(|frame| format!("acks #{frame}")));
            told.extend(timing.ack_rtt.map(|rtt| format!("in {}", millis(rtt))));
            told.extend(timing.ambiguous.then(|| "ambiguous".to_owned()));
            told.extend(timing.timestamp_rtt.map(|rtt| format!("echo {}", millis(rtt))));
            assert_eq!(told.join(" "), expected, "frame {} of {lines}", segment.frame);
        }
    }

    #[test]
    fn octets_are_in_flight_until_they_are_acknowledged() {
        check(
            "
            0 C > S: S 100(0)
            5 S > C: S. 300(0) ack 101 = acks #1 in 5
            6 C > S: . 101(0) ack 301 = acks #2 in 1
            7 C > S: P. 101(10) ack 301 = flight 10
            8 C > S: P. 111(20) ack 301 = flight 30
            9 S > C: . 301(0) ack 106 =
            10 C > S: P. 131(5) ack 301 = flight 30
            12 S > C: . 301(0) ack 131 = acks #5 in 4
            13 C > S: F. 136(7) ack 301 = flight 12
            14 S > C: . 301(0) ack 144 = acks #9 in 1
            ",
        );
    }

    #[test]
    fn what_sack_told_of_is_not_in_flight_while_the_peer_says_so() {
        check(
            "
            0 C > S: . 101(10) ack 301 = flight 10
            1 C > S: . 111(10) ack 301 = flight 20
            2 C > S: . 121(10) ack 301 = flight 30
            3 S > C: . 301(0) ack 101 sack 111-121,121-126 =
            4 C > S: . 131(10) ack 301 = flight 25
            5 S > C: . 301(0) ack 101 =
            6 C > S: . 141(10) ack 301 = flight 50
            ",
        );
    }

    #[test]
    fn nothing_is_known_of_octets_in_flight_from_a_gap_until_the_peers_next_ack() {
        check(
            "
            0 C > S: . 101(10) ack 301 = flight 10
            1 C > S: . 131(10) ack 301 =
            2 C > S: . 141(10) ack 301 =
            3 S > C: . 301(0) ack 111 = acks #1 in 3
            4 C > S: . 151(10) ack 301 = flight 30
            ",
        );
    }

    #[test]
    fn an_acknowledgement_of_octets_sent_twice_is_timed_from_the_first_but_is_ambiguous() {
        check(
            "
            0 C > S: . 101(10) ack 301 = flight 10
            50 C > S: . 111(10) ack 301 = flight 20
            300 C > S: . 101(10) ack 301 = flight 20
            305 S > C: . 301(0) ack 121 = acks #2 in 255 ambiguous
            310 C > S: . 121(10) ack 301 = flight 10
            320 S > C: . 301(0) ack 131 = acks #5 in 10
            ",
        );
    }

    #[test]
    fn a_timestamp_tells_which_transmission_was_acknowledged() {
        check(
            "
            0 C > S: . 101(10) ack 301 ts 7:3 = flight 10
            1 C > S: . 101(0) ack 301 ts 8:3 =
            300 C > S: . 101(10) ack 301 ts 90:3 = flight 10
            304 S > C: . 301(0) ack 101 ts 5:90 =
            305 S > C: . 301(0) ack 111 ts 5:90 = acks #1 in 305 ambiguous echo 5
            306 C > S: . 111(10) ack 301 ts 90:5 = flight 10
            308 S > C: . 301(0) ack 121 ts 5:90 = acks #6 in 2
            ",
        );
    }

    #[test]
    fn numbers_wrap() {
        check(
            "
            0 C > S: . 4294967286(10) ack 301 ts 4294967295:3 = flight 10
            1 C > S: . 0(10) ack 301 ts 0:3 = flight 20
            2 S > C: . 301(0) ack 0 ts 5:4294967295 = acks #1 in 2 echo 2
            3 S > C: . 301(0) ack 10 ts 5:0 = acks #2 in 2 echo 2
            ",
        );
    }

    /// Wireshark's list of unacknowledged segments, newest first, as `tcp_analyze_sequence_number` keeps it.
    #[derive(Default)]
    struct List(Vec<(i64, i64, u64)>);

    impl List {
        fn acknowledged(&mut self, ack: i64) -> Option<u64> {
            let mut acks_frame = None;
            self.0.retain_mut(|(start, end, frame)| {
                if *end == ack {
                    acks_frame = Some(*frame);
                }
                *start = if *start < ack { ack } else { *start };
                *end > ack
            });
            acks_frame
        }

        fn in_flight(&self) -> Option<u32> {
            let (first, last) = (self.0.iter().map(|(start, ..)| start), self.0.iter().map(|(_, end, _)| end));
            Some((last.max()? - first.min()?) as u32)
        }
    }

    proptest! {
        /// Whatever is sent and acknowledged, the answer is that of a walk along the whole list.
        #[test]
        fn it_is_wiresharks_list(steps in proptest::collection::vec((any::<bool>(), 0u32..60, 1u32..12), 1..80)) {
            let (mut stopwatch, mut list) = (Stopwatch::default(), List::default());
            let (_, template, _) = script::read("0 C > S: . 0(0) ack 0").next().expect("a line");
            for (frame, (sends, at, len)) in (1..).zip(steps) {
                let number = |position: u32| Seq(u32::MAX - 20).plus(position);
                if sends {
                    let segment = Segment { frame, seq: number(at), len, ..template };
                    list.0.insert(0, (at.into(), (at + len).into(), frame));
                    let timing = stopwatch.measure(Side::Client, &segment, FindingSet::default());
                    prop_assert_eq!(timing.in_flight, list.in_flight());
                } else if !list.0.is_empty() {
                    let segment = Segment { frame, ack: number(at), ..template };
                    let timing = stopwatch.measure(Side::Server, &segment, FindingSet::default());
                    prop_assert_eq!(timing.acks_frame, list.acknowledged(at.into()));
                }
            }
        }
    }
}
