//! What hurt a connection most, as a name with its figures.

use super::Side;
use super::symptoms::{LARGE_TIMES, OfSender, Pause, Spell, Stuck, Symptoms, Unacknowledged};
use crate::tcp::{Direction, Stream};
use crate::time::{Span, Timestamp};
use crate::wire::{IcmpError, IcmpKind};

/// What hurt a connection most; what does not belong to its kind, or is not known, is `None`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Problem {
    /// What it is.
    pub kind: ProblemKind,
    /// The end that it is about; each kind says how.
    pub side: Side,
    /// When it began.
    pub since: Option<Timestamp>,
    /// How long it lasted.
    pub lasted: Option<Span>,
    /// Of a loss: for how long nothing else happened until a segment was sent again, in all.
    pub waited: Option<Span>,
    /// Whether it had not ended when the connection, or the capture, did.
    pub until_end: bool,
    /// How many segments it is about.
    pub segments: Option<u64>,
    /// How many segments that end sent in all.
    pub of_segments: Option<u64>,
    /// How many octets it is about.
    pub octets: Option<u64>,
    /// The octets of a segment that does not arrive.
    pub size_lost: Option<u32>,
    /// The most octets that one that arrived can have had.
    pub size_passed: Option<u32>,
    /// Of a window scale that is ignored: the peer's window with it, and without.
    pub windows: Option<[u32; 2]>,
    /// The largest packet that a router forwards, as its ICMP error says.
    pub mtu: Option<u32>,
    /// Of a silence: the end that had sent the last octets.
    pub after: Option<Side>,
    /// The time to live of what the end is said to have sent, and of what it sent.
    pub ttls: Option<[u8; 2]>,
    /// What was sent again and again.
    pub what: Option<Unacknowledged>,
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $variant:ident = $name:literal;)*) => {
        /// The kinds of problems.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum ProblemKind { $($(#[$doc])* $variant,)* }

        impl ProblemKind {
            /// Each of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in machine-readable output.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

kinds! {
    /// `segments` that bear the address of `side` are not its own: the link between the ends made them up, with `octets`.
    Injected = "injected";
    /// A RST that bears the address of `side`, which went on: `segments` that it cannot have sent before, and another time to live or IP identification.
    ForgedReset = "forged_reset";
    /// Other octets than `side` had sent at the same positions, or the other way round: one of the two was forged or changed on its way.
    ConflictingOctets = "conflicting_octets";
    /// What `side` sent in segments of `size_lost` octets never arrived, `segments` times; shorter ones did.
    LargeSegmentsLost = "large_segments_lost";
    /// `side` sent the same `segments` times and nothing came from its peer any more.
    PeerSilent = "peer_silent";
    /// `side` sent the same `segments` times, and its peer, which went on, never acknowledged it.
    NeverAcknowledged = "never_acknowledged";
    /// `side` sent `segments` keep-alives, and nothing came back.
    KeepAlivesUnanswered = "keep_alives_unanswered";
    /// `side` sent no more at once than its peer's window would hold if it were not scaled.
    WindowScaleIgnored = "window_scale_ignored";
    /// The window of `side` was zero, `segments` times.
    ZeroWindow = "zero_window";
    /// `side` repeated its SYN or SYN-ACK `segments` times before the handshake went on.
    HandshakeRepeated = "handshake_repeated";
    /// `segments` of `side` were retransmitted, because they or their acknowledgements had been lost, the first `since` and the last when it had `lasted`.
    Loss = "loss";
    /// `segments` of `side` were retransmitted that had arrived.
    NeedlessRetransmissions = "needless_retransmissions";
    /// Nobody sent anything until `side` sent octets.
    Silence = "silence";
    /// The capture's clock stepped back, by as much as `lasted`, before a segment came; `side` means nothing.
    ClockSteppedBack = "clock_stepped_back";
}

/// What a problem is looked for in; arrays hold the client's first.
pub(super) struct Evidence<'a> {
    pub(super) symptoms: Option<&'a Symptoms>,
    pub(super) streams: [&'a Stream; 2],
    /// The direction of the client's segments.
    pub(super) client: Direction,
    /// The last ICMP error that quotes it.
    pub(super) icmp: Option<IcmpError>,
    /// When the last segment came.
    pub(super) last: Option<Timestamp>,
    /// For how long nothing had come when the capture ended, of a connection that nobody had closed.
    pub(super) quiet: Option<Span>,
    /// Who sent the last octets.
    pub(super) spoke: Option<Direction>,
    /// Whether the handshake was completed.
    pub(super) is_open: bool,
    /// Whether the first SYN was answered otherwise than with a RST.
    pub(super) is_answered: bool,
    /// Whether it ended with a RST that stands.
    pub(super) is_reset: bool,
    /// From the first segment to the last.
    pub(super) lasted: Option<Span>,
    /// Whether more than which end spoke first says who is the client.
    pub(super) knows_roles: bool,
}

impl Evidence<'_> {
    /// What hurt most; `None` where nothing stands out.
    pub(super) fn problem(&self) -> Option<Problem> {
        let at_once = self.symptoms.and_then(|symptoms| self.certain(symptoms));
        at_once.or_else(|| self.quiet()).or_else(|| self.symptoms.and_then(|symptoms| self.costly(symptoms)))
    }

    /// What decided how the connection went, whatever else there was.
    fn certain(&self, symptoms: &Symptoms) -> Option<Problem> {
        let both =
            || [self.client, self.client.reverse()].into_iter().map(|direction| (direction, symptoms.of(direction)));
        let forged = both().find_map(|(direction, of)| self.forged_reset(direction, of));
        let stuck = || {
            let longest = both().filter_map(|(direction, of)| Some((direction, of.stuck.as_deref()?)));
            let longest =
                longest.max_by_key(|(_, stuck)| stuck.first.zip(stuck.last).map(|(first, last)| last.since(first)));
            longest.filter(|_| self.is_both_ways()).and_then(|(direction, stuck)| self.stuck(direction, stuck))
        };
        let shrunk = || both().find_map(|(direction, of)| self.shrunk(direction, of));
        let keep_alives = || both().find_map(|(direction, of)| self.keep_alives(direction, of));
        let narrow = || both().find_map(|(direction, of)| self.narrow(direction, of));
        forged.or_else(stuck).or_else(shrunk).or_else(keep_alives).or_else(narrow)
    }

    fn forged_reset(&self, direction: Direction, of: &OfSender) -> Option<Problem> {
        let reset = of.rare().reset.filter(|reset| reset.after > 0)?;
        let has_other_ttl = reset.ttl != reset.ttl_after;
        // What goes on after its own RST, and looks the same, may be another connection with the same addresses and ports.
        (has_other_ttl || reset.is_far == Some(true)).then(|| Problem {
            since: reset.at,
            segments: Some(reset.after.into()),
            ttls: has_other_ttl.then_some([reset.ttl, reset.ttl_after]),
            ..self.about(ProblemKind::ForgedReset, direction)
        })
    }

    fn stuck(&self, direction: Direction, stuck: &Stuck) -> Option<Problem> {
        let lasted = stuck.first.zip(stuck.last).map(|(first, last)| last.since(first).max(Span(0)));
        let told = stuck.times >= TELLING_TIMES || lasted >= Some(TELLING_TIME);
        if !told || self.is_reset && self.stream(direction.reverse()).resets() > 0 {
            return None;
        }
        let needed = self.icmp.filter(|icmp| icmp.kind == IcmpKind::FragmentationNeeded);
        let is_long = stuck.what == Unacknowledged::Octets && stuck.len > SMALL;
        let arrived_beyond = (1..stuck.len).contains(&stuck.beyond);
        let is_too_long = is_long && stuck.times >= LARGE_TIMES && arrived_beyond || is_long && needed.is_some();
        let passed = match (arrived_beyond, is_too_long) {
            (true, _) => Some(stuck.beyond),
            // What had been acknowledged before cannot have been in longer segments than it was in all.
            (false, false) => u32::try_from(stuck.before).ok(),
            (false, true) => None,
        };
        let kind = match (is_too_long, stuck.is_heard) {
            (true, _) => ProblemKind::LargeSegmentsLost,
            (false, true) => ProblemKind::NeverAcknowledged,
            (false, false) => ProblemKind::PeerSilent,
        };
        let size = (stuck.what == Unacknowledged::Octets).then_some(stuck.len);
        Some(Problem {
            since: stuck.first,
            lasted,
            until_end: true,
            segments: Some(stuck.times.into()),
            size_lost: size,
            size_passed: passed.filter(|passed| is_long && (1..stuck.len).contains(passed)),
            mtu: needed.filter(|_| is_long).and_then(|icmp| icmp.mtu),
            what: Some(stuck.what),
            ..self.about(kind, direction)
        })
    }

    fn shrunk(&self, direction: Direction, of: &OfSender) -> Option<Problem> {
        let shrunk = of.rare().shrunk.filter(|shrunk| shrunk.len > SMALL)?;
        let needed = self.icmp.filter(|icmp| icmp.kind == IcmpKind::FragmentationNeeded);
        Some(Problem {
            since: shrunk.first,
            lasted: shrunk.first.zip(shrunk.last).map(|(first, last)| last.since(first).max(Span(0))),
            segments: Some(shrunk.times.into()),
            size_lost: Some(shrunk.len),
            size_passed: Some(shrunk.shorter),
            mtu: needed.and_then(|icmp| icmp.mtu),
            what: Some(Unacknowledged::Octets),
            ..self.about(ProblemKind::LargeSegmentsLost, direction)
        })
    }

    fn keep_alives(&self, direction: Direction, of: &OfSender) -> Option<Problem> {
        let sent = &of.rare().keep_alives;
        let is_answered = self.stream(direction.reverse()).last_at() > sent.first;
        (sent.segments >= TELLING_KEEP_ALIVES && !is_answered && self.is_both_ways()).then(|| Problem {
            since: sent.first,
            lasted: sent.lasted(),
            until_end: true,
            segments: Some(sent.segments.into()),
            ..self.about(ProblemKind::KeepAlivesUnanswered, direction)
        })
    }

    fn narrow(&self, direction: Direction, of: &OfSender) -> Option<Problem> {
        of.narrow().map(|narrow| Problem {
            since: narrow.first,
            lasted: narrow.first.zip(narrow.last).map(|(first, last)| last.since(first).max(Span(0))),
            segments: Some(narrow.fills.into()),
            windows: Some([narrow.scaled, narrow.window.into()]),
            ..self.about(ProblemKind::WindowScaleIgnored, direction)
        })
    }

    /// That nothing came any more after octets of the client, until the capture ended.
    fn quiet(&self) -> Option<Problem> {
        let alive = self.symptoms.and_then(|symptoms| symptoms.alive);
        let since = alive.map(|alive| alive.since).or(self.last);
        let before = since.zip(self.last).map_or(0, |(since, last)| last.since(since).0.max(0));
        let quiet = self.quiet.map(|quiet| Span(quiet.0.saturating_add(before)));
        let quiet = quiet.filter(|quiet| self.is_open && *quiet >= TELLING_QUIET)?;
        let spoke = self.spoke.filter(|spoke| *spoke == self.client)?;
        let is_shut = [self.client, self.client.reverse()].iter().any(|direction| {
            self.symptoms.is_some_and(|symptoms| symptoms.of(*direction).rare().zero_window.since.is_some())
        });
        (!is_shut).then(|| Problem {
            since,
            lasted: Some(quiet),
            until_end: true,
            segments: alive.map(|alive| alive.keep_alives.into()),
            after: Some(self.side(spoke)),
            ..self.about(ProblemKind::Silence, spoke.reverse())
        })
    }

    /// What cost most time.
    fn costly(&self, symptoms: &Symptoms) -> Option<Problem> {
        let mut costs: Vec<(Span, Problem)> = Vec::new();
        // Where frames were captured twice, what seems to be repeated or reported lost need not be.
        let tells = |spell: &Spell| symptoms.copies == 0 || spell.waited >= TELLING_WAIT;
        for direction in [self.client, self.client.reverse()] {
            let of = symptoms.of(direction);
            let rare = of.rare();
            let sent = self.stream(direction);
            let zero = rare.zero_window.lasted(self.last);
            // A moment of a long connection hurts nothing.
            let is_long = zero >= TELLING_WINDOW || self.lasted.is_none_or(|lasted| zero.0 >= lasted.0 / TELLING_SHARE);
            if zero > Span(0) && (is_long || rare.zero_window.since.is_some()) {
                costs.push((
                    zero,
                    Problem {
                        since: rare.zero_window.first,
                        lasted: Some(zero),
                        until_end: rare.zero_window.since.is_some(),
                        segments: Some(rare.zero_window.times.into()),
                        ..self.about(ProblemKind::ZeroWindow, direction)
                    },
                ));
            }
            // Of SYNs that nobody answered their number is told already.
            if rare.opening.segments > 0 && self.is_answered && tells(&rare.opening) {
                costs.push((
                    rare.opening.waited,
                    Problem {
                        since: rare.opening.first,
                        lasted: Some(rare.opening.waited),
                        segments: Some(rare.opening.segments.into()),
                        ..self.about(ProblemKind::HandshakeRepeated, direction)
                    },
                ));
            }
            let needless = of.arrived_twice.min(of.lost.segments);
            let lost = of.lost.segments - needless;
            if lost > 0 && tells(&of.lost) {
                costs.push((
                    of.lost.waited.max(Span(1)),
                    Problem {
                        since: of.lost.first,
                        lasted: of.lost.lasted(),
                        segments: Some(lost.into()),
                        of_segments: Some(sent.segments()),
                        // Which of them were needless is not known.
                        octets: (needless == 0).then_some(of.lost.octets),
                        waited: Some(of.lost.waited),
                        ..self.about(ProblemKind::Loss, direction)
                    },
                ));
            }
            let needless = needless.saturating_add(rare.spurious.segments);
            if needless > 0 && lost == 0 && symptoms.copies == 0 {
                costs.push((
                    Span(0),
                    Problem {
                        since: rare.spurious.first.or(of.lost.first),
                        segments: Some(needless.into()),
                        of_segments: Some(sent.segments()),
                        octets: Some(rare.spurious.octets),
                        ..self.about(ProblemKind::NeedlessRetransmissions, direction)
                    },
                ));
            }
        }
        let silence = |pause: Pause, after: Option<Side>| Problem {
            since: pause.since,
            lasted: Some(pause.lasted),
            segments: (pause.keep_alives > 0).then_some(pause.keep_alives.into()),
            after,
            ..self.about(ProblemKind::Silence, pause.by)
        };
        // A time beyond that of the connection's last segment was one to which the clock had stepped by mistake.
        let is_known = |pause: &Pause| {
            let ended = pause.since.map(|since| since.after(pause.lasted));
            ended.zip(self.last).is_none_or(|(ended, last)| ended.since(last) < STEP)
        };
        let answer = |direction: Direction| {
            let pause = symptoms.answers[direction as usize].filter(|pause| self.is_both_ways() && is_known(pause))?;
            Some((pause.lasted, silence(pause, Some(self.side(direction.reverse())))))
        };
        // A client has no duty to ask: it may be idle.
        let of_server = if self.knows_roles { answer(self.client.reverse()) } else { None };
        costs.extend(of_server);
        // The first of those that cost the same.
        let worst = |costs: Vec<(Span, Problem)>| {
            costs.into_iter().rev().max_by_key(|(cost, _)| *cost).map(|(_, problem)| problem)
        };
        let stepped = || {
            let (since, back) = symptoms.stepped?;
            let problem = self.about(ProblemKind::ClockSteppedBack, self.client);
            Some(Problem { since: Some(since), lasted: Some(back), ..problem })
        };
        worst(costs).or_else(stepped).or_else(|| {
            let both = [self.client, self.client.reverse()].into_iter().filter_map(answer).collect();
            let rest =
                || symptoms.rest.filter(|pause| self.is_both_ways() && is_known(pause)).map(|rest| silence(rest, None));
            worst(both).or_else(rest)
        })
    }

    /// Whether segments of both ends were captured: else nobody knows what the other one sent.
    fn is_both_ways(&self) -> bool {
        self.streams.iter().all(|stream| stream.segments() > 0)
    }

    fn about(&self, kind: ProblemKind, direction: Direction) -> Problem {
        Problem::new(kind, self.side(direction))
    }

    fn stream(&self, direction: Direction) -> &Stream {
        self.streams[self.side(direction) as usize]
    }

    fn side(&self, direction: Direction) -> Side {
        if direction == self.client { Side::Client } else { Side::Server }
    }
}

impl Problem {
    /// A problem without figures.
    pub const fn new(kind: ProblemKind, side: Side) -> Self {
        Self {
            kind,
            side,
            since: None,
            lasted: None,
            waited: None,
            until_end: false,
            segments: None,
            of_segments: None,
            octets: None,
            size_lost: None,
            size_passed: None,
            windows: None,
            mtu: None,
            after: None,
            ttls: None,
            what: None,
        }
    }
}

/// By how much frames of several queues may be out of order.
const STEP: Span = Span(1_000_000_000);
/// How often the same must have been sent, or for how long, to say that it was not acknowledged.
const TELLING_TIMES: u32 = 3;
const TELLING_TIME: Span = Span(1_000_000_000);
/// For how long nothing else must have been captured before what was sent again, among copies.
const TELLING_WAIT: Span = Span(100_000_000);
/// How many keep-alives must have gone unanswered.
const TELLING_KEEP_ALIVES: u32 = 2;
/// For how long nothing must have come when the capture ended.
const TELLING_QUIET: Span = Span(1_000_000_000);
/// For how long a window must have been zero, or for what part of the connection's duration, where it opened again.
const TELLING_WINDOW: Span = Span(200_000_000);
const TELLING_SHARE: i64 = 50;
/// Every path forwards segments with so many octets (RFC 879).
const SMALL: u32 = 536;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::*;
    use crate::flow::FlowTable;
    use crate::script;

    /// What hurt the only connection of a script, which begins with a handshake, most.
    fn problem(script: &str) -> Option<Problem> {
        let opened = format!(
            "0  C > S: S  100(0)         mss 1460 ws 7 sackok win 64000
             10 S > C: S. 300(0) ack 101 mss 1460 ws 7 sackok win 64000
             20 C > S: .  101(0) ack 301 win 502
             {script}"
        );
        problem_of(&opened)
    }

    /// What hurt the only connection of a script most.
    fn problem_of(script: &str) -> Option<Problem> {
        let mut table = FlowTable::new();
        script::read(script).for_each(|(_, segment, _)| _ = table.observe(&segment));
        let mut told = Vec::new();
        let Ok(_) = table.finish(|connection| {
            told.push(connection.problem.as_deref().copied());
            Ok::<_, Infallible>(())
        });
        assert_eq!(told.len(), 1);
        told[0]
    }

    fn kind(script: &str) -> Option<&'static str> {
        problem(script).map(|problem| problem.kind.name())
    }

    #[test]
    fn nothing_is_said_where_nothing_hurts() {
        assert_eq!(
            kind("21 C > S: P. 101(50) ack 301\n31 S > C: P. 301(500) ack 151\n32 C > S: . 151(0) ack 801"),
            None
        );
        // It was captured twice.
        let twice =
            "21 C > S: P. 101(50) ack 301 id 9\n21.1 C > S: P. 101(50) ack 301 id 9\n31 S > C: . 301(0) ack 151";
        assert_eq!(kind(twice), None);
        // It was overtaken on its way.
        let overtaken =
            "21 C > S: P. 151(50) ack 301 id 8\n31.1 C > S: P. 101(50) ack 301 id 7\n40 S > C: . 301(0) ack 201";
        assert_eq!(kind(overtaken), None);
        // The rule takes all that follows a RST ahead of the stream for retransmitted.
        let after_reset = "21 S > C: R 9301(0)\n300 S > C: P. 301(50) ack 101\n301 C > S: . 101(0) ack 351";
        assert_eq!(kind(after_reset), None);
    }

    #[test]
    fn what_comes_again_sooner_than_anybody_can_react_was_not_lost() {
        let doubled = "
            21    C > S: P. 101(50) ack 301 id 7
            21.01 C > S: P. 101(50) ack 301 id 2007
            31    S > C: .  301(0)  ack 151";
        assert_eq!(kind(doubled), None);
        let cut = "
            21    S > C: .  301(1460)  ack 101 id 7
            21    S > C: .  1761(1460) ack 101 id 8
            21.01 S > C: .  301(1440)  ack 101 id 9
            31    C > S: .  101(0)     ack 3221";
        assert_eq!(kind(cut), None);
    }

    #[test]
    fn that_a_long_segment_was_lost_twice_does_not_say_that_it_was_too_long() {
        let lost = "
            21  C > S: .  101(1460) ack 301
            22  C > S: P. 1561(200) ack 301
            31  S > C: .  301(0) ack 101 sack 1561-1761
            250 C > S: .  101(1460) ack 301
            260 S > C: .  301(0) ack 1761";
        assert_eq!(kind(lost), Some("loss"));
        let again = "
            21   C > S: .  101(1460) ack 301
            250  C > S: .  101(1460) ack 301
            700  C > S: .  101(1460) ack 301
            1600 C > S: .  101(500)  ack 301
            1610 S > C: .  301(0) ack 601
            1611 C > S: .  601(1460) ack 301
            1620 S > C: .  301(0) ack 2061";
        assert_eq!(kind(again), Some("loss"));
    }

    #[test]
    fn where_long_ones_arrive_beyond_its_length_is_not_the_reason() {
        let lost = "
            21   C > S: .  101(1460)  ack 301
            22   C > S: .  1561(1460) ack 301
            31   S > C: .  301(0) ack 101 sack 1561-3021
            250  C > S: .  101(1460)  ack 301
            700  C > S: .  101(1460)  ack 301
            1600 C > S: .  101(1460)  ack 301
            3400 C > S: .  101(1460)  ack 301
            3410 S > C: .  301(0) ack 101 sack 1561-3021";
        let never = problem(lost).expect("a problem");
        assert_eq!((never.kind, never.segments, never.size_passed), (ProblemKind::NeverAcknowledged, Some(5), None));
    }

    #[test]
    fn a_sender_that_passes_the_unscaled_window_knows_of_the_scale() {
        let mut filled = String::new();
        let mut passed = String::new();
        for turn in 0..6 {
            let (at, seq) = (30 + 20 * turn, 301 + 502 * turn);
            filled +=
                &format!("{at} S > C: . {seq}(502) ack 101\n{} C > S: . 101(0) ack {} win 502\n", at + 10, seq + 502);
        }
        assert_eq!(kind(&filled), Some("window_scale_ignored"));
        passed += &filled;
        passed += "500 S > C: . 3313(1460) ack 101\n510 C > S: . 101(0) ack 4773 win 502";
        assert_eq!(kind(&passed), None);
        // Questions that fill it by chance are answered.
        let mut asked = String::new();
        for turn in 0..6 {
            let (at, seq, ack) = (30 + 20 * turn, 301 + 502 * turn, 101 + 10 * turn);
            asked += &format!(
                "{at} S > C: P. {seq}(502) ack {ack}\n{} C > S: P. {ack}(10) ack {} win 502\n",
                at + 10,
                seq + 502
            );
        }
        assert_eq!(kind(&asked), None);
    }

    #[test]
    fn keep_alives_that_are_answered_hurt_nobody() {
        let answered = "
            21    C > S: P. 101(50) ack 301
            31    S > C: .  301(0)  ack 151
            60000 C > S: .  150(0)  ack 301
            60010 S > C: .  301(0)  ack 151
            61000 C > S: .  150(0)  ack 301
            61010 S > C: .  301(0)  ack 151";
        // They are no reason, but the server's silence goes on through them.
        let silence = problem(answered).expect("the server is silent");
        assert_eq!((silence.kind, silence.side, silence.segments), (ProblemKind::Silence, Side::Server, Some(2)));
        assert_eq!((silence.lasted, silence.until_end), (Some(Span::from_millis(60_979)), true));
        let replied = answered.replacen("ack 151", "ack 151\n            32 S > C: P. 301(50) ack 151", 1);
        let idle =
            replied.replace("ack 301", "ack 351").replacen("ack 351", "ack 301", 1).replace(". 301(0)", ". 351(0)");
        assert_eq!(kind(&idle), None, "{idle}");
    }

    /// A keep-alive divides no silence into two.
    #[test]
    fn a_silence_across_keep_alives_is_one() {
        let slow = "
            21    C > S: P. 101(50) ack 301
            31    S > C: .  301(0)  ack 151
            20031 C > S: .  150(0)  ack 301
            20041 S > C: .  301(0)  ack 151
            40031 C > S: .  150(0)  ack 301
            40041 S > C: .  301(0)  ack 151
            40500 S > C: P. 301(9)  ack 151
            40510 C > S: F. 151(0)  ack 310
            40520 S > C: F. 310(0)  ack 152
            40530 C > S: .  152(0)  ack 311";
        let silence = problem(slow).expect("a silence");
        assert_eq!(
            (silence.kind, silence.side, silence.after),
            (ProblemKind::Silence, Side::Server, Some(Side::Client))
        );
        assert_eq!((silence.lasted, silence.segments), (Some(Span::from_millis(40_469)), Some(2)));
    }

    /// An idle client outweighs nothing, and a window of zero for a moment is no reason.
    #[test]
    fn what_hurt_is_no_pause_of_the_client_and_no_moment() {
        let script = "
            21    C > S: P. 101(50) ack 301
            22    S > C: P. 301(50) ack 151
            60022 C > S: P. 151(50) ack 351
            60023 S > C: .  351(0)  ack 201 win 0
            60025 S > C: .  351(0)  ack 201 win 500
            63030 S > C: P. 351(50) ack 201
            63040 C > S: .  201(0)  ack 401";
        let found = problem(script).expect("the server is silent");
        assert_eq!((found.kind, found.side, found.after), (ProblemKind::Silence, Side::Server, Some(Side::Client)));
        let short = "
            21 C > S: P. 101(50) ack 301
            22 S > C: .  301(0)  ack 151 win 0
            24 S > C: .  301(0)  ack 151 win 500
            25 C > S: P. 151(50) ack 301";
        assert_eq!(kind(short), Some("zero_window"), "a twelfth of the time");
    }

    #[test]
    fn a_reset_that_what_was_under_way_follows_is_no_forgery() {
        let under_way = "
            21 S > C: P. 301(50) ack 101 id 500
            22 S > C: R. 401(0)  ack 101 id 502
            23 S > C: P. 351(50) ack 101 id 501";
        assert_eq!(kind(under_way), None);
    }

    #[test]
    fn of_an_end_that_was_not_captured_nothing_is_claimed() {
        let opened = "0 C > S: S 100(0) win 64000\n20 C > S: . 101(0) ack 301\n";
        let again = "
            21   C > S: P. 101(50) ack 301
            300  C > S: P. 101(50) ack 301
            900  C > S: P. 101(50) ack 301
            1800 C > S: P. 101(50) ack 301";
        let repeated = problem_of(&format!("{opened}{again}")).expect("a problem");
        assert_eq!((repeated.kind, repeated.segments), (ProblemKind::Loss, Some(3)));
        let keep_alives = "
            21    C > S: P. 101(50) ack 301
            60000 C > S: .  150(0)  ack 351
            61000 C > S: .  150(0)  ack 351
            62000 C > S: .  150(0)  ack 351";
        assert_eq!(problem_of(&format!("{opened}{keep_alives}")), None);
    }

    #[test]
    fn a_syn_ack_after_a_syn_of_its_own_repeats_nothing() {
        let crossed = "
            0    C > S: S  100(0)
            20   S > C: S  300(0)
            20.1 C > S: S. 100(0) ack 301
            60   S > C: S. 300(0) ack 101
            60.1 C > S: .  101(0) ack 301";
        assert_eq!(problem_of(crossed), None);
    }

    #[test]
    fn a_syn_that_comes_again_at_once_is_a_copy() {
        let copied = "
            0    C > S: S  100(0) id -
            5    C > S: S  100(0) id -
            20   S > C: S. 300(0) ack 101 id -
            20.1 C > S: .  101(0) ack 301 id -
            25   S > C: S. 300(0) ack 101 id -";
        assert_eq!(problem_of(copied), None);
    }

    #[test]
    fn frames_out_of_order_repeat_nothing() {
        let disordered = "
            32 C > S: .  151(0)  ack 351
            30 S > C: P. 301(50) ack 151
            10 S > C: S. 300(0)  ack 101
            21 C > S: P. 101(50) ack 301";
        assert_eq!(problem_of(disordered), None);
    }

    #[test]
    fn a_fin_that_answers_the_peers_was_not_lost() {
        let answered = "
            100 C > S: F. 101(0) ack 301
            200 S > C: F. 301(0) ack 101
            200.1 C > S: F. 101(0) ack 302
            300 S > C: .  302(0) ack 102";
        assert_eq!(kind(answered), None);
        let lost = "
            100 C > S: F. 101(0) ack 301
            300 C > S: F. 101(0) ack 301
            310 S > C: F. 301(0) ack 102
            311 C > S: .  102(0) ack 302";
        assert_eq!(kind(lost), Some("loss"));
    }

    #[test]
    fn a_window_that_opened_in_between_was_zero_twice_and_a_fin_can_open_it() {
        let twice = "
            21   C > S: P. 101(50) ack 301
            31   S > C: .  301(0)  ack 151 win 0
            1031 S > C: .  301(0)  ack 151 win 500
            1032 C > S: P. 151(50) ack 301
            1042 S > C: .  301(0)  ack 201 win 0
            5042 C > S: .  200(0)  ack 301
            5043 S > C: .  301(0)  ack 201 win 0";
        let twice = problem(twice).expect("a problem");
        assert_eq!((twice.kind, twice.until_end, twice.segments), (ProblemKind::ZeroWindow, true, Some(2)));
        let closed = "
            21   C > S: P. 101(50) ack 301
            31   S > C: .  301(0)  ack 151 win 0
            2031 S > C: F. 301(0)  ack 151 win 500
            2032 C > S: .  151(0)  ack 302";
        let closed = problem(closed).expect("a problem");
        assert_eq!((closed.until_end, closed.lasted), (false, Some(Span::from_millis(2000))));
    }

    #[test]
    fn a_long_segment_that_is_acknowledged_whole_had_arrived() {
        let long = "
            21   C > S: . 101(1460) ack 301
            221  C > S: . 101(1460) ack 301
            621  C > S: . 101(1460) ack 301
            1421 C > S: . 101(1460) ack 301
            2421 C > S: . 101(1000) ack 301";
        assert_eq!(kind(&format!("{long}\n2431 S > C: . 301(0) ack 1561")), Some("loss"));
        assert_eq!(kind(&format!("{long}\n2431 S > C: . 301(0) ack 1101")), Some("large_segments_lost"));
        let both = format!("{long}\n2422 C > S: . 1101(460) ack 301\n2431 S > C: . 301(0) ack 1561");
        assert_eq!(kind(&both), Some("large_segments_lost"));
    }

    #[test]
    fn what_is_left_of_a_segment_was_sent_as_often_as_the_whole() {
        let left = "
            21   C > S: P. 101(1000) ack 301
            221  C > S: P. 101(1000) ack 301
            621  C > S: P. 101(1000) ack 301
            700  S > C: .  301(0)    ack 601
            1421 C > S: P. 601(500)  ack 301";
        let left = problem(left).expect("a problem");
        assert_eq!((left.kind, left.segments, left.size_lost), (ProblemKind::NeverAcknowledged, Some(4), Some(500)));
    }

    #[test]
    fn time_to_which_the_clock_stepped_back_is_no_silence() {
        let zigzag = "
            21      C > S: P. 101(50) ack 301
            10031   S > C: P. 301(50) ack 151
            32      C > S: .  151(0)  ack 351
            10040   C > S: P. 151(50) ack 351
            10041   S > C: .  351(0)  ack 201";
        let longest = problem(zigzag).expect("a problem");
        assert_eq!((longest.side, longest.lasted), (Side::Server, Some(Span::from_millis(10_010))));
        let back = "
            21      C > S: P. 101(50) ack 301
            22      S > C: .  301(0)  ack 151
            9000    C > S: .  150(0)  ack 301
            9001    S > C: .  301(0)  ack 151
            31      S > C: P. 301(50) ack 151
            9010    C > S: P. 151(50) ack 351
            9011    S > C: .  351(0)  ack 201";
        assert_eq!(kind(back), Some("clock_stepped_back"));
    }

    /// One frame with a time far ahead, and all others without: nobody was silent for as long.
    #[test]
    fn a_time_far_ahead_of_all_others_is_no_silence() {
        let ahead = "
            21      C > S: P. 101(50) ack 301
            3600031 S > C: P. 301(50) ack 151
            32      C > S: .  151(0)  ack 351
            40      C > S: F. 151(0)  ack 351
            50      S > C: F. 351(0)  ack 152
            51      C > S: .  152(0)  ack 352";
        let stepped = problem(ahead).expect("the clock stepped");
        assert_eq!((stepped.kind, stepped.lasted), (ProblemKind::ClockSteppedBack, Some(Span::from_millis(3_599_999))));
    }

    /// Who closes instead of answering was silent until then; a FIN of the other end divides no silence.
    #[test]
    fn a_silence_ends_with_a_fin_of_who_was_to_answer_and_goes_on_through_others() {
        let closes = "
            21    C > S: P. 101(50) ack 301
            31    S > C: .  301(0)  ack 151
            20031 S > C: F. 301(0)  ack 151
            20041 C > S: F. 151(0)  ack 302
            20051 S > C: .  302(0)  ack 152";
        let silence = problem(closes).expect("the server is silent");
        assert_eq!(
            (silence.kind, silence.side, silence.after),
            (ProblemKind::Silence, Side::Server, Some(Side::Client))
        );
        assert_eq!(silence.lasted, Some(Span::from_millis(20_000)));
        // Who has answered may close when it likes.
        let answered =
            closes.replace(".  301(0)  ack 151", "P. 301(9)  ack 151\n            32 C > S: . 151(0) ack 310");
        let answered =
            answered.replace("F. 301(0)", "F. 310(0)").replace("ack 302", "ack 311").replace(".  302(0)", ".  311(0)");
        assert_eq!(kind(&answered), None, "{answered}");
        let half = "
            21    S > C: P. 301(80) ack 101
            22    C > S: .  101(0)  ack 381
            5021  C > S: F. 101(0)  ack 381
            5031  S > C: .  381(0)  ack 102
            20021 S > C: P. 381(40) ack 102
            20022 C > S: .  102(0)  ack 421
            20030 S > C: F. 421(0)  ack 102
            20040 C > S: .  102(0)  ack 422";
        let rest = problem(half).expect("nobody sends anything");
        assert_eq!((rest.kind, rest.after, rest.lasted), (ProblemKind::Silence, None, Some(Span::from_millis(20_000))));
    }

    #[test]
    fn identifications_that_are_not_counted_say_nothing_of_a_reset() {
        let random = "
            21 C > S: P. 101(50) ack 301
            31 S > C: P. 301(50) ack 151 id 7001
            40 S > C: R. 351(0)  ack 151 id 51966
            45 S > C: P. 351(50) ack 151 id 30002";
        assert_eq!(kind(random), None);
    }

    #[test]
    fn time_is_what_tells_which_problem_is_the_worst() {
        let both = "
            21   C > S: P. 101(50) ack 301
            31   S > C: .  301(0)  ack 151 win 0
            531  S > C: .  301(0)  ack 151 win 500
            532  C > S: P. 151(50) ack 301
            1532 C > S: P. 151(50) ack 301
            1540 S > C: .  301(0)  ack 201";
        let loss = problem(both).expect("a problem");
        assert_eq!((loss.kind, loss.waited), (ProblemKind::Loss, Some(Span::from_millis(1000))));
    }
}
