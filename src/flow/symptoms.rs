//! What went wrong in a connection while it lasted, by its segments: kept only of connections in which something did.

use super::history::History;
use crate::tcp::{Direction, Finding, FindingSet, Judgement, Stream};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Seq};

/// What went wrong in both directions, and the longest pauses.
#[derive(Debug, Default)]
pub(super) struct Symptoms {
    /// In boxes of their own, without which connections get along that were only silent.
    of: [Option<Box<OfSender>>; 2],
    /// Whether each end sent more at once than the window would hold, were it not scaled, or nobody knows.
    has_passed: [bool; 2],
    /// Frames that were captured twice: then acknowledgements are, too, and seem to report losses.
    pub(super) copies: u32,
    /// The longest pauses that octets of each end ended, after octets of the other.
    pub(super) answers: [Option<Pause>; 2],
    /// The longest one that octets of an end ended, which had sent the last ones, too.
    pub(super) rest: Option<Pause>,
    /// A pause in which nothing but keep-alives or a FIN, and their answers, came, while it lasts.
    pub(super) alive: Option<Alive>,
    /// Where the frames' clock stepped back: the latest time before that.
    latest: Option<Timestamp>,
    /// The longest such step: the time to which the clock was put, and how far back that is.
    pub(super) stepped: Option<(Timestamp, Span)>,
}

/// What went wrong with what one end sent, and what it said of its window.
#[derive(Debug, Default)]
pub(super) struct OfSender {
    /// Octets and FINs retransmitted though they had not been acknowledged.
    pub(super) lost: Spell,
    /// How often the peer reported octets that arrived twice.
    pub(super) arrived_twice: u32,
    pub(super) stuck: Option<Box<Stuck>>,
    /// The block of octets out of order that the peer reported last (SACK).
    beyond: Option<(Seq, u32)>,
    narrow: Narrow,
    rare: Option<Box<Rare>>,
}

/// What goes wrong less often than that a segment is lost.
#[derive(Debug, Default)]
pub(super) struct Rare {
    /// SYNs or SYN-ACKs repeated.
    pub(super) opening: Spell,
    /// Octets retransmitted though they had been acknowledged.
    pub(super) spurious: Spell,
    /// Keep-alives since the peer's last segment.
    pub(super) keep_alives: Spell,
    pub(super) shrunk: Option<Shrunk>,
    pub(super) zero_window: ZeroWindow,
    pub(super) reset: Option<SentReset>,
}

/// Segments of one kind.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Spell {
    pub(super) segments: u32,
    pub(super) octets: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// For how long nothing at all was captured before each of them.
    pub(super) waited: Span,
}

/// What was sent again and again, and is not acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stuck {
    seq: Seq,
    pub(super) what: Unacknowledged,
    /// How many octets the longest segment had, no more than a packet can carry as far as that is known.
    pub(super) len: u32,
    /// How often it was sent in that length, and in a shorter one later.
    pub(super) times: u32,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// The octets of the direction that were acknowledged before it.
    pub(super) before: u64,
    /// The peer has sent something since.
    pub(super) is_heard: bool,
    /// The most octets in one block that the peer has beyond it, by SACK.
    pub(super) beyond: u32,
    /// The length in which it was sent last, where that is shorter.
    shorter: Option<u32>,
    /// How far it was sent in shorter ones without a gap.
    shorter_to: Seq,
}

/// What is not acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unacknowledged {
    /// Octets.
    Octets,
    /// A FIN without octets.
    Fin,
    /// A SYN-ACK.
    SynAck,
}

impl Unacknowledged {
    /// Each of them.
    pub const ALL: &'static [Self] = &[Self::Octets, Self::Fin, Self::SynAck];

    /// `octets`, `fin` or `syn_ack`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Octets => "octets",
            Self::Fin => "fin",
            Self::SynAck => "syn_ack",
        }
    }
}

/// What arrived only when it was sent in shorter segments.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shrunk {
    pub(super) len: u32,
    pub(super) shorter: u32,
    pub(super) times: u32,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

/// An end's windows of zero.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ZeroWindow {
    /// When it began, while it lasts.
    pub(super) since: Option<Timestamp>,
    pub(super) first: Option<Timestamp>,
    pub(super) times: u32,
    /// Of those that are over.
    pub(super) lasted: Span,
}

/// Whether an end knows that its peer's window is scaled.
#[derive(Debug, Default)]
enum Narrow {
    #[default]
    Unknown,
    /// It sent more at once than the window would hold, were it not scaled, or nobody knows.
    Passed,
    Filled(Box<Filled>),
}

/// Octets that end where the peer's window would, were it not scaled.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Filled {
    pub(super) fills: u32,
    pub(super) window: u16,
    pub(super) scaled: u32,
    /// The last one, until the end sends again.
    is_waiting: bool,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

/// A RST of an end, and what it sent after that.
#[derive(Clone, Copy, Debug)]
pub(super) struct SentReset {
    seq: Seq,
    ip_id: Option<u16>,
    /// The IP identification of what the end had sent before, where that is known.
    id_before: Option<u16>,
    peer_next: Option<Seq>,
    pub(super) ttl: u8,
    pub(super) at: Option<Timestamp>,
    /// Segments that it cannot have sent before.
    pub(super) after: u32,
    pub(super) ttl_after: u8,
    /// Whether the IP identification of the RST is far from that of the first of them; `None` where one has none.
    pub(super) is_far: Option<bool>,
}

/// A time in which nothing was captured, or nothing but keep-alives.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pause {
    /// The end whose octets ended it.
    pub(super) by: Direction,
    pub(super) since: Option<Timestamp>,
    pub(super) lasted: Span,
    pub(super) keep_alives: u32,
}

/// Keep-alives, or a FIN, with nothing but their answers in between.
#[derive(Clone, Copy, Debug)]
pub(super) struct Alive {
    /// When the last segment before them came.
    pub(super) since: Timestamp,
    pub(super) keep_alives: u32,
}

bitflags::bitflags! {
    /// Why each segment of a connection is looked at, and not only the remarkable ones.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Watch: u8 {
        /// Something that was sent again is not acknowledged.
        const STUCK = 1;
        /// A window is zero.
        const ZERO_WINDOW = 2;
        /// A RST was sent.
        const RESET = 4;
        /// Octets ended where the window would, were it not scaled.
        const NARROW = 8;
        /// A keep-alive or a FIN was sent in a pause, and nothing has come since but answers.
        const ALIVE = 16;
    }
}

/// A segment, and what was known around it.
#[derive(Clone, Copy)]
pub(super) struct Seen<'a> {
    pub(super) direction: Direction,
    pub(super) segment: &'a Segment,
    pub(super) judged: &'a Judged,
    /// Octets of the sender that are not acknowledged yet, the segment's included.
    pub(super) in_flight: u32,
    /// The sender's direction, after it.
    pub(super) fwd: &'a Stream,
    /// The peer's.
    pub(super) rev: &'a Stream,
    /// The sequence number after all that the peer sent.
    pub(super) peer_next: Option<Seq>,
    /// How long nothing had been captured before it.
    pub(super) pause: Span,
    /// Who had sent the last octets before it.
    pub(super) spoke: Option<Direction>,
    /// The IP identification of the segment that had advanced the stream before it.
    pub(super) id_before: Option<u16>,
    /// What both ends have sent until then.
    pub(super) history: &'a History,
    /// The initial round-trip time.
    pub(super) rtt: Option<Span>,
}

/// What is looked at of a [`Judgement`]; the rest of it need not be worked out.
#[derive(Clone, Copy)]
pub(super) struct Judged {
    pub(super) findings: FindingSet,
    pub(super) position: i64,
    pub(super) since_advance: Option<Span>,
    pub(super) is_old: bool,
}

impl Judged {
    #[inline]
    pub(super) fn of(judged: &Judgement) -> Self {
        let Judgement { findings, position, since_advance, is_old, .. } = *judged;
        Self { findings, position, since_advance, is_old }
    }
}

/// Whether a remarkable segment can say that something went wrong.
pub(super) fn may_matter(segment: &Segment, findings: FindingSet) -> bool {
    segment.window == 0 && !segment.flags.contains(Flags::RST)
        || segment.options.sack_blocks > 0
        || TELLING.iter().any(|telling| findings.contains(*telling))
}

/// Whether a segment after a pause can say that something went wrong: an acknowledgement or a FIN alone cannot.
#[inline]
pub(super) fn may_end_pause(segment: &Segment) -> bool {
    segment.len > 0 || segment.options.sack_blocks > 0 || segment.flags.contains(Flags::RST)
}

impl Symptoms {
    /// Those of what one end sent.
    pub(super) fn of(&self, direction: Direction) -> &OfSender {
        const NONE: &OfSender = &OfSender::NONE;
        self.of[direction as usize].as_deref().unwrap_or(NONE)
    }

    /// Has those of what one end sent changed, and keeps them where there is anything to keep.
    fn change(&mut self, direction: Direction, change: impl FnOnce(&mut OfSender)) {
        let has_passed = &mut self.has_passed[direction as usize];
        let of = &mut self.of[direction as usize];
        match of {
            Some(of) => change(of),
            None => {
                let narrow = if *has_passed { Narrow::Passed } else { Narrow::Unknown };
                let mut changed = OfSender { narrow, ..OfSender::default() };
                change(&mut changed);
                *has_passed = matches!(changed.narrow, Narrow::Passed);
                if !changed.is_empty() {
                    *of = Some(Box::new(changed));
                }
            }
        }
    }

    /// How much memory they take.
    pub(super) fn room(&self) -> usize {
        let of = |of: &OfSender| {
            size_of::<OfSender>()
                + of.stuck.as_ref().map_or(0, |_| size_of::<Stuck>())
                + of.rare.as_ref().map_or(0, |_| size_of::<Rare>())
                + if of.narrow.is_watched() { size_of::<Filled>() } else { 0 }
        };
        size_of::<Self>() + self.of.iter().flatten().map(|sender| of(sender)).sum::<usize>()
    }

    /// Takes note of a segment; returns for what further ones are to be looked at.
    pub(super) fn note(&mut self, seen: &Seen<'_>) -> Watch {
        let seen = &Seen { pause: self.pause(seen), ..*seen };
        let Seen { direction, segment, judged, .. } = *seen;
        let findings = judged.findings;
        // What its receiver drops, and a copy that the capture made, change nothing.
        self.copies = self.copies.saturating_add(findings.contains(Finding::CapturedTwice).into());
        if !findings.contains(Finding::CapturedTwice) && !segment.is_dropped() {
            let again = [Finding::Retransmission, Finding::FastRetransmission, Finding::SentAgain];
            // After a RST ahead of the stream the rule takes all that follows for repeated.
            let is_repeat = again.iter().any(|again| findings.contains(*again))
                && judged.is_old
                && judged.position >= 0
                && !findings.contains(Finding::Reordered)
                && !findings.contains(Finding::ZeroWindowProbe)
                && !seen.rev.has_zero_window();
            self.change(direction, |own| own.note_sent(seen, is_repeat));
            self.change(direction.reverse(), |peer| peer.note_answer(seen));
            let alive = self.note_alive(seen);
            let pause = alive.zip(segment.at).map_or(seen.pause, |(alive, at)| at.since(alive.since).max(seen.pause));
            // Since its own last octets the peer, which closed, has sent nothing but its FIN.
            let goes_on = seen.spoke == Some(direction) && seen.rev.fins() > 0 && self.of(direction).lost.segments == 0;
            let pause =
                judged.since_advance.filter(|_| goes_on && pause >= LONG).map_or(pause, |since| pause.max(since));
            if pause >= LONG && !is_repeat {
                self.note_pause(&Seen { pause, ..*seen }, alive.map_or(0, |alive| alive.keep_alives));
            }
        }
        self.watch()
    }

    /// How long nothing had been captured before a segment, a time to which the clock stepped back not counted twice.
    fn pause(&mut self, seen: &Seen<'_>) -> Span {
        let Some(at) = seen.segment.at else { return seen.pause };
        let before = at.after(Span(seen.pause.0.saturating_neg()));
        if before > at {
            self.latest = self.latest.max(Some(before));
            if self.stepped.is_none_or(|(_, longest)| longest < before.since(at)) && before.since(at) >= TELLING_STEP {
                self.stepped = Some((at, before.since(at)));
            }
        }
        self.latest.map_or(seen.pause, |latest| at.since(latest.max(before)))
    }

    /// Counts a keep-alive; of octets, says in what pause with nothing but keep-alives they come.
    fn note_alive(&mut self, seen: &Seen<'_>) -> Option<Alive> {
        let Seen { segment, judged, pause, .. } = *seen;
        let is_probe = judged.findings.contains(Finding::KeepAlive) && !seen.rev.has_zero_window();
        match (is_probe, segment.at) {
            (true, Some(at)) => {
                let begun = || Alive { since: at.after(Span(pause.0.saturating_neg())), keep_alives: 0 };
                let alive = self.alive.get_or_insert_with(begun);
                alive.keep_alives = alive.keep_alives.saturating_add(1);
                None
            }
            // Who closes while he waits for an answer still waits for it.
            (_, Some(at)) if segment.flags.contains(Flags::FIN) && segment.len == 0 => {
                if seen.spoke != Some(seen.direction) {
                    // Nor is there anything to wait for from an end that closes.
                    return self.alive.take();
                }
                if self.alive.is_none() && pause >= LONG {
                    self.alive = Some(Alive { since: at.after(Span(pause.0.saturating_neg())), keep_alives: 0 });
                }
                None
            }
            _ if segment.seq_len() > 0 || segment.flags.contains(Flags::RST) => {
                self.alive.take().filter(|_| segment.len > 0)
            }
            _ => None,
        }
    }

    fn note_pause(&mut self, seen: &Seen<'_>, keep_alives: u32) {
        let Seen { direction, segment, judged, .. } = *seen;
        let closes = segment.flags.contains(Flags::FIN) && seen.spoke == Some(direction.reverse());
        let is_new = (segment.len > 0 || closes)
            && seen.in_flight == segment.seq_len()
            && !segment.flags.intersects(Flags::SYN | Flags::RST)
            && [Finding::KeepAlive, Finding::ZeroWindowProbe, Finding::OutOfOrder, Finding::SpuriousRetransmission]
                .iter()
                .all(|other| !judged.findings.contains(*other));
        if !is_new || seen.rev.has_zero_window() || self.of(direction.reverse()).rare().zero_window.since.is_some() {
            return;
        }
        let at = seen.segment.at;
        let since = at.map(|at| at.after(Span(-seen.pause.0)));
        let longest = match seen.spoke == Some(direction.reverse()) {
            true => &mut self.answers[direction as usize],
            false => &mut self.rest,
        };
        if longest.is_none_or(|longest| longest.lasted < seen.pause) {
            *longest = Some(Pause { by: direction, since, lasted: seen.pause, keep_alives });
        }
    }

    fn watch(&self) -> Watch {
        let mut watch = if self.alive.is_some() { Watch::ALIVE } else { Watch::empty() };
        for of in self.of.iter().flatten() {
            watch.set(Watch::STUCK, watch.contains(Watch::STUCK) || of.stuck.is_some());
            watch.set(Watch::ZERO_WINDOW, watch.contains(Watch::ZERO_WINDOW) || of.rare().zero_window.since.is_some());
            watch.set(Watch::RESET, watch.contains(Watch::RESET) || of.rare().reset.is_some());
            watch.set(Watch::NARROW, watch.contains(Watch::NARROW) || of.narrow.is_watched());
        }
        watch
    }
}

impl OfSender {
    const NONE: Self =
        Self { lost: Spell::NONE, arrived_twice: 0, stuck: None, beyond: None, narrow: Narrow::Unknown, rare: None };

    /// Whether there is nothing to keep, but for what [`Symptoms::has_passed`] says.
    fn is_empty(&self) -> bool {
        let Self { lost, arrived_twice, stuck, beyond, narrow, rare } = self;
        let is_plain = stuck.is_none() && beyond.is_none() && rare.is_none() && !narrow.is_watched();
        is_plain && lost.segments == 0 && *arrived_twice == 0
    }

    /// What went wrong less often.
    pub(super) fn rare(&self) -> &Rare {
        const NONE: &Rare = &Rare::NONE;
        self.rare.as_deref().unwrap_or(NONE)
    }

    fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Octets that filled the window as if it were not scaled, where it may be that the end does not know of the scale.
    pub(super) fn narrow(&self) -> Option<&Filled> {
        match &self.narrow {
            Narrow::Filled(filled) if filled.fills >= FILLS => Some(filled),
            _ => None,
        }
    }

    /// A segment that this end sent.
    fn note_sent(&mut self, seen: &Seen<'_>, is_repeat: bool) {
        let Seen { segment, judged, fwd, rev, pause, .. } = *seen;
        let findings = judged.findings;
        let at = segment.at;
        let is_at_once = judged.since_advance.is_some_and(|since| since < AT_ONCE);
        if is_repeat && segment.flags.contains(Flags::SYN) && (!is_second(seen) || is_at_once) {
            // Out of order, a copy, or the SYN-ACK of an end that opens, too: nothing was repeated.
        } else if is_repeat && segment.flags.contains(Flags::SYN) {
            self.rare_mut().opening.add(segment, pause);
            if segment.flags.contains(Flags::ACK) {
                self.note_repeat(seen, Unacknowledged::SynAck);
            }
        } else if is_repeat && rev.segments() <= 1 && judged.position == 0 && segment.len > 0 && pause < AT_ONCE {
            // The SYN-ACK did not take the octets of the SYN.
        } else if is_repeat && segment.len == 0 && is_answer_or_first(seen) {
            // The FIN answers the peer's, or is the first one at its place.
        } else if is_repeat && segment.seq_len() > 0 && !self.is_reaction(seen) {
            // A copy that was made on the way, or a segment that was cut in two there.
        } else if is_repeat && segment.len == 0 && rev.acked().is_some_and(|acked| !segment.end().is_after(acked)) {
            // A FIN whose acknowledgement was captured.
            self.rare_mut().spurious.add(segment, pause);
        } else if is_repeat && segment.seq_len() > 0 {
            self.lost.add(segment, pause);
            let what = if segment.len > 0 { Unacknowledged::Octets } else { Unacknowledged::Fin };
            self.note_repeat(seen, what);
        } else if findings.contains(Finding::SpuriousRetransmission)
            // What came before the first octets that were captured may be out of order.
            && judged.position >= 0
            && self.is_reaction(seen)
        {
            self.rare_mut().spurious.add(segment, pause);
        }
        if findings.contains(Finding::KeepAlive) && !rev.has_zero_window() {
            let keep_alives = &mut self.rare_mut().keep_alives;
            if rev.last_at() > keep_alives.last {
                *keep_alives = Spell::default();
            }
            keep_alives.add(segment, pause);
        }
        if segment.window == 0 {
            self.rare_mut().zero_window.note(segment);
        } else if let Some(rare) = &mut self.rare {
            rare.zero_window.note(segment);
        }
        if let Some(rare) = &mut self.rare
            && rare.shrunk.is_some_and(|shrunk| segment.len > shrunk.shorter)
        {
            // It sends long ones again: that they are long was not why they were lost.
            rare.shrunk = None;
        }
        if let Some(stuck) = &mut self.stuck
            && stuck.shorter.is_some_and(|shorter| segment.len <= shorter)
            && segment.seq == stuck.shorter_to
        {
            stuck.shorter_to = segment.end();
        }
        if segment.flags.contains(Flags::RST) {
            let last = self.rare.as_ref().and_then(|rare| rare.reset).map(|reset| (reset.ip_id, reset.id_before));
            let new = || SentReset {
                seq: segment.seq,
                ip_id: segment.ip_id.filter(|id| *id != 0),
                // Where the last RST was taken for the stream's end, what came before that one.
                id_before: seen
                    .id_before
                    .filter(|id| last.is_none_or(|(last, _)| last != Some(*id)))
                    .or(last.and_then(|(_, before)| before)),
                peer_next: seen.peer_next,
                ttl: segment.ttl,
                at,
                after: 0,
                ttl_after: 0,
                is_far: None,
            };
            // The last one before its sender went on.
            let reset = &mut self.rare_mut().reset;
            if reset.is_none_or(|reset| reset.after == 0) {
                *reset = Some(new());
            }
        } else if let Some(reset) = self.rare.as_mut().and_then(|rare| rare.reset.as_mut()) {
            reset.note(segment, is_repeat);
        }
        if segment.len > 0 {
            self.narrow.note_sent(segment, seen.in_flight, fwd, rev);
        }
    }

    /// Whether what is sent again can be an answer to something: a loss was reported, or no answer came for a round trip.
    fn is_reaction(&self, seen: &Seen<'_>) -> bool {
        let Seen { segment, judged, rtt, .. } = *seen;
        let is_reported = judged.findings.contains(Finding::FastRetransmission)
            || self.beyond.is_some_and(|(left, _)| left.is_after(segment.seq));
        let least = rtt.map_or(REORDERING, |rtt| Span(rtt.0 / 2).max(Span(1)));
        is_reported || judged.since_advance.is_none_or(|since| since >= least)
    }

    fn note_repeat(&mut self, seen: &Seen<'_>, what: Unacknowledged) {
        let Seen { segment, judged, fwd, rev, .. } = *seen;
        let most = rev.mss().map_or(u32::MAX, u32::from);
        let len = segment.len.min(most);
        match &mut self.stuck {
            Some(stuck) if stuck.seq == segment.seq => {
                if len < stuck.len {
                    stuck.shorter = Some(len);
                    stuck.shorter_to = segment.end();
                } else {
                    stuck.times += 1;
                    stuck.last = segment.at;
                    stuck.len = len;
                }
            }
            // What comes after it is sent again, too, and will be acknowledged only after it.
            Some(stuck) if segment.seq.is_after(stuck.seq) => {}
            stuck => {
                // It was sent no later than when the stream advanced last.
                let first =
                    segment.at.zip(judged.since_advance).map(|(at, since)| at.after(Span(since.0.saturating_neg())));
                *stuck = Some(Box::new(Stuck {
                    seq: segment.seq,
                    what,
                    len,
                    times: 2,
                    first: first.min(segment.at).or(segment.at),
                    last: segment.at,
                    before: u64::try_from(fwd.position(segment.data_seq())).unwrap_or(0),
                    is_heard: false,
                    beyond: self.beyond.filter(|(left, _)| left.is_after(segment.seq)).map_or(0, |(_, octets)| octets),
                    shorter: None,
                    shorter_to: segment.seq,
                }));
            }
        }
    }

    /// A segment that the peer sent: what it says of what this end sent.
    fn note_answer(&mut self, seen: &Seen<'_>) {
        let Seen { segment, judged, .. } = *seen;
        if judged.findings.contains(Finding::DuplicateSack) {
            self.arrived_twice += 1;
        }
        if segment.len > 0 {
            self.narrow.interrupt();
        }
        let blocks = segment.options.sack_edges().iter().filter(|(left, _)| left.is_after(segment.ack));
        let blocks = blocks.map(|(left, right)| (*left, u32::try_from(right.since(*left)).unwrap_or(0)));
        self.beyond = blocks.max_by_key(|(_, octets)| *octets).or(self.beyond);
        let Some(stuck) = &mut self.stuck else { return };
        if segment.flags.contains(Flags::ACK) && segment.ack.is_after(stuck.seq) {
            // Where more is acknowledged than was sent in shorter ones, the long one has arrived.
            let arrived_shorter = !segment.ack.is_after(stuck.shorter_to);
            if let Some(shorter) = stuck.shorter.filter(|_| stuck.times >= LARGE_TIMES && arrived_shorter) {
                let Stuck { len, times, first, .. } = **stuck;
                self.rare.get_or_insert_default().shrunk =
                    Some(Shrunk { len, shorter, times, first, last: segment.at });
            }
            // What is left of it was sent as often as the whole.
            let acknowledged = u32::try_from(segment.ack.since(stuck.seq)).unwrap_or(u32::MAX);
            if stuck.what == Unacknowledged::Octets && stuck.shorter.is_none() && acknowledged < stuck.len {
                stuck.seq = segment.ack;
                stuck.len -= acknowledged;
                stuck.before += u64::from(acknowledged);
                stuck.is_heard = true;
            } else {
                self.stuck = None;
            }
            return;
        }
        stuck.is_heard |= !segment.flags.contains(Flags::RST);
        if let Some((_, octets)) = self.beyond.filter(|(left, _)| left.is_after(stuck.seq)) {
            stuck.beyond = stuck.beyond.max(octets);
        }
    }
}

/// Whether a SYN or SYN-ACK comes after another one of its end that was the same.
fn is_second(seen: &Seen<'_>) -> bool {
    seen.fwd.syns() != 1 && !(seen.segment.flags.contains(Flags::ACK) && seen.history.has_asked(seen.direction))
}

/// Whether a FIN without octets that comes at an older place need not have been lost: it is sent again at once as the answer
/// to the peer's FIN, or no other one was sent.
fn is_answer_or_first(seen: &Seen<'_>) -> bool {
    let Seen { segment, fwd, rev, pause, .. } = *seen;
    let is_answer = segment.flags.contains(Flags::ACK) && rev.fin_end() == Some(segment.ack) && pause < AT_ONCE;
    segment.flags.contains(Flags::FIN) && (is_answer || fwd.fins() == 1)
}

impl Spell {
    const NONE: Self = Self { segments: 0, octets: 0, first: None, last: None, waited: Span(0) };

    fn add(&mut self, segment: &Segment, pause: Span) {
        self.segments = self.segments.saturating_add(1);
        self.octets = self.octets.saturating_add(segment.len.into());
        self.first = self.first.or(segment.at);
        self.last = segment.at.or(self.last);
        self.waited = Span(self.waited.0.saturating_add(pause.0.max(0)));
    }

    /// From the first to the last.
    pub(super) fn lasted(&self) -> Option<Span> {
        self.first.zip(self.last).map(|(first, last)| last.since(first).max(Span(0)))
    }
}

impl ZeroWindow {
    fn note(&mut self, segment: &Segment) {
        let Some(at) = segment.at else { return };
        if segment.flags.intersects(Flags::SYN | Flags::RST) || !segment.flags.contains(Flags::ACK) {
            return;
        }
        match (self.since, segment.window) {
            // Whoever closes need not have room any more.
            (None, 0) if !segment.flags.contains(Flags::FIN) => {
                self.since = Some(at);
                self.first = self.first.or(Some(at));
                self.times = self.times.saturating_add(1);
            }
            (Some(since), 1..) => {
                self.lasted = Span(self.lasted.0.saturating_add(at.since(since).0.max(0)));
                self.since = None;
            }
            _ => {}
        }
    }

    /// How long the windows were zero in all, the last segment of the connection having come then.
    pub(super) fn lasted(&self, until: Option<Timestamp>) -> Span {
        let open = self.since.zip(until).map_or(Span(0), |(since, until)| until.since(since).max(Span(0)));
        Span(self.lasted.0.saturating_add(open.0))
    }
}

impl Narrow {
    fn is_watched(&self) -> bool {
        matches!(self, Self::Filled(_))
    }

    /// Something else than an acknowledgement came between two of them.
    fn interrupt(&mut self) {
        if let Self::Filled(filled) = self {
            filled.is_waiting = false;
        }
    }

    fn note_sent(&mut self, segment: &Segment, in_flight: u32, fwd: &Stream, rev: &Stream) {
        if matches!(self, Self::Passed) {
            return;
        }
        let Some((window, scale)) = rev.scaled_window() else { return };
        // Where the octets before were not captured, nobody knows how many are under way.
        let known = fwd.isn().is_some() && rev.isn().is_some();
        if !known || in_flight > window.into() {
            *self = Self::Passed;
        } else if in_flight == u32::from(window) && scale >= LEAST_SCALE {
            let mut filled = match std::mem::take(self) {
                Self::Filled(filled) => filled,
                _ => Box::default(),
            };
            filled.first = filled.first.or(segment.at);
            filled.last = segment.at;
            (filled.window, filled.scaled) = (window, u32::from(window) << scale);
            // The first one counts once the end has gone on with nothing but an acknowledgement in between.
            filled.fills += u32::from(filled.fills == 0 || filled.is_waiting);
            filled.is_waiting = true;
            *self = Self::Filled(filled);
        } else {
            self.interrupt();
        }
    }
}

impl Rare {
    const NONE: Self = Self {
        opening: Spell::NONE,
        spurious: Spell::NONE,
        keep_alives: Spell::NONE,
        shrunk: None,
        zero_window: ZeroWindow { since: None, first: None, times: 0, lasted: Span(0) },
        reset: None,
    };
}

impl SentReset {
    fn note(&mut self, segment: &Segment, is_repeat: bool) {
        if segment.flags.contains(Flags::SYN) {
            return;
        }
        let since = segment.at.zip(self.at).map(|(at, reset)| at.since(reset));
        let goes_on =
            segment.seq_len() > 0 && !segment.seq.is_before(self.seq) || is_repeat && since >= Some(UNDER_WAY);
        let answers = segment.flags.contains(Flags::ACK)
            && self.peer_next.is_some_and(|next| segment.ack.is_after(next))
            && !segment.seq.is_before(self.seq);
        if goes_on || answers {
            if self.after == 0 {
                self.ttl_after = segment.ttl;
                let ids = self.ip_id.zip(self.id_before).zip(segment.ip_id.filter(|id| *id != 0));
                // Only where the end counts its packets does a number in between say anything.
                self.is_far = ids
                    .filter(|((_, before), after)| apart(*before, *after) <= COUNTED)
                    .map(|((reset, before), after)| apart(reset, after) > NEAR && apart(reset, before) > NEAR);
            }
            self.after = self.after.saturating_add(1);
        }
    }
}

/// How far apart two IP identifications are.
fn apart(one: u16, other: u16) -> u16 {
    (other.wrapping_sub(one) as i16).unsigned_abs()
}

/// The findings that can say that something went wrong.
const TELLING: [Finding; 7] = [
    Finding::Retransmission,
    Finding::FastRetransmission,
    Finding::SpuriousRetransmission,
    Finding::SentAgain,
    Finding::DuplicateSack,
    Finding::KeepAlive,
    Finding::CapturedTwice,
];
/// A clock that steps back by more is followed.
pub(super) const STEP_BACK: Span = Span(-10_000_000);
/// By how much a clock must step back to be told of: frames of several queues are out of order by less.
const TELLING_STEP: Span = Span(1_000_000_000);
/// How long nothing must have been captured for a pause.
pub(super) const LONG: Span = Span(1_000_000_000);
/// How often a long segment must have been sent to say that it is its length that keeps it from arriving.
pub(super) const LARGE_TIMES: u32 = 4;
/// How often a window that is not scaled must have been filled to its end.
const FILLS: u32 = 4;
/// Windows that are scaled by less are not told apart.
const LEAST_SCALE: u32 = 2;
/// Without a known round trip nobody reacts sooner.
const REORDERING: Span = Span(3_000_000);
/// No retransmission timer runs out sooner.
const AT_ONCE: Span = Span(100_000_000);
/// No segment is under way for longer.
const UNDER_WAY: Span = Span(200_000_000);
/// How far apart the IP identifications of one sender may be.
const NEAR: u16 = 256;
/// How far apart they are at most, before and after a RST, of a sender that counts them.
const COUNTED: u16 = 2048;
