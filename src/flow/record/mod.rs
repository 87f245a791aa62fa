//! What the table keeps of one connection while it lives, and how that becomes its summary.

mod summary;

use super::history::{History, side_of};
use super::key::{Key, KeySide};
use super::symptoms::{self, Watch};
use super::trouble::{Noted, Trouble};
use super::verdict::{Closing, Course, Reset, ResetKind};
use super::{ConnectionId, Icmp, Range, Reply, RolesBasis, Step};
use crate::tcp::{
    Around, Conversation, Direction, Endpoint, Finding, FindingSet, Judgement, Move, Moves, Novelty, ResetEffect, Rule,
    State, Stream,
};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, IcmpError, Segment, Seq};

/// A connection that is followed, in less than 400 octets.
#[derive(Debug, Default)]
pub(super) struct Record<K> {
    pub(super) key: K,
    pub(super) id: u64,
    conversation: Conversation,
    ends: [Endpoint; 2],
    history: History,
    first_at: Option<Timestamp>,
    first_frame: u64,
    /// How many frames after the first the last one came.
    frames: u32,
    /// The direction of the last segment.
    last: Direction,
    trouble: Option<Box<Trouble>>,
    closing: Closing,
    client: Client,
    /// The place in the key of the end whose segment came first.
    pub(super) first: KeySide,
    completeness: u8,
    /// What the first segment adds to `completeness`; Wireshark counts it only once a second one has come.
    first_adds: u8,
    /// Who sent the last octets.
    spoke: Option<Direction>,
    /// For what each segment is looked at.
    watch: Watch,
}

/// Who is held for the client, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Client {
    /// No SYN was seen: the sender of the first segment.
    #[default]
    SentFirst,
    /// No SYN was seen: by the ports of the first segment, the sender in this direction.
    ByPort(Direction),
    /// The receiver of the first SYN-ACK.
    TookSynAck(Direction),
    /// The sender of the first SYN without ACK.
    SentSyn(Direction),
}

impl Client {
    /// By the first segment: where it has no SYN, the end with a well-known port, or else the one with the lower port, is the server.
    fn of_first(segment: &Segment) -> Self {
        let [from, to] = [segment.src_port, segment.dst_port];
        let [from_known, to_known] = [from, to].map(|port| port < FIRST_UNRESERVED);
        match (from_known, to_known) {
            _ if segment.flags.contains(Flags::SYN) => Self::SentFirst,
            (true, false) => Self::ByPort(Direction::Second),
            (false, true) => Self::ByPort(Direction::First),
            _ if from < to => Self::ByPort(Direction::Second),
            _ if to < from => Self::ByPort(Direction::First),
            _ => Self::SentFirst,
        }
    }

    fn basis(self) -> RolesBasis {
        match self {
            Self::SentFirst => RolesBasis::FirstSegment,
            Self::ByPort(_) => RolesBasis::Port,
            Self::TookSynAck(_) => RolesBasis::SynAck,
            Self::SentSyn(_) => RolesBasis::Syn,
        }
    }

    fn direction(self) -> Direction {
        match self {
            Self::SentFirst => Direction::First,
            Self::ByPort(direction) | Self::TookSynAck(direction) | Self::SentSyn(direction) => direction,
        }
    }
}

impl<K: Key> Record<K> {
    /// A connection that begins with `segment`, whose sender has the place `from` in the key.
    pub(super) fn new(key: K, from: KeySide, id: u64, segment: &Segment) -> Self {
        let opens = is_opening(segment.flags) && !segment.has_short_header();
        // Whoever gets a segment that cannot be read has nothing of it.
        let is_asked = opens && !segment.is_unreadable() && !segment.is_dropped();
        Self {
            key,
            id,
            first: from,
            // Whether somebody listens at the other end shows when it answers.
            ends: [if is_asked { Endpoint::closed() } else { Endpoint::unknown() }, Endpoint::unknown()],
            first_at: segment.at,
            first_frame: segment.frame,
            first_adds: completeness(segment),
            client: if key.is_one_end() { Client::SentFirst } else { Client::of_first(segment) },
            completeness: if opens { SYN } else { 0 },
            ..Self::default()
        }
    }

    /// A connection that was only quoted so far: it has a number, and no segment.
    pub(super) fn quoted(key: K, id: u64, quote: &Segment) -> Self {
        let opens = is_opening(quote.flags) && !quote.has_short_header();
        let completeness = completeness(quote) | if opens { SYN } else { 0 };
        Self { key, id, completeness, ..Self::default() }
    }

    /// Takes note of a header that was quoted.
    pub(super) fn quote(&mut self, from: KeySide, quote: &Segment, error: Option<IcmpError>) {
        if !quote.flags.is_empty() {
            self.completeness |= completeness(quote) | std::mem::take(&mut self.first_adds);
        }
        if !self.is_empty() {
            self.conversation.quote(from.direction(self.first), quote);
            if let Some(error) = error {
                let trouble = self.trouble.get_or_insert_default();
                let errors = trouble.icmp.as_ref().map_or(0, |icmp| icmp.errors);
                trouble.icmp = Some(Box::new(Icmp { last: error, errors: errors.saturating_add(1) }));
            }
        }
    }

    /// Begins with the first segment of a connection that was only quoted so far.
    pub(super) fn begin_quoted(&mut self, from: KeySide, segment: &Segment) {
        let begun = Self::new(self.key, from, self.id, segment);
        // It is not new to Wireshark, which therefore does not look whether a SYN opens it.
        let completeness = self.completeness | begun.first_adds;
        *self = Self { completeness, first_adds: 0, ..begun };
    }

    /// Whether `segment` is a SYN that opens another connection between the same ends.
    pub(super) fn is_outlived_by(&self, from: KeySide, segment: &Segment) -> bool {
        is_opening(segment.flags) && self.conversation.is_outlived_by(from.direction(self.first), segment)
    }

    /// Whether the peer of an end that opens another connection between the same ends may still have this one.
    pub(super) fn may_be_half_open(&self, opener: KeySide) -> bool {
        let peer = opener.direction(self.first).reverse();
        let is_open = |state| !matches!(state, State::Closed | State::Listen | State::SynSent | State::TimeWait);
        self.stream(peer).segments() > 0
            && !self.key.is_one_end()
            && self.ends[peer as usize].state().is_none_or(is_open)
    }

    /// Whether a RST answers an acknowledgement that is none of this connection, while its sender waits for the answer to its SYN.
    pub(super) fn answers_older_connection(&self, from: KeySide, segment: &Segment) -> bool {
        let direction = from.direction(self.first);
        segment.flags & (Flags::RST | Flags::ACK) == Flags::RST
            && self.ends[direction as usize].state() == Some(State::SynSent)
            && self.stream(direction.reverse()).isn().is_none()
            && self.ends[direction.reverse() as usize].top_ack() == Some(segment.seq)
    }

    /// The end that opened another connection answered with a RST what its peer said of this one.
    #[cold]
    pub(super) fn be_reset_by_successor(&mut self, from: KeySide, reset: &Segment) {
        let direction = from.direction(self.first);
        let around = Around::in_order(reset.seq);
        let moves = self.move_ends(direction, reset, &around, ResetEffect::Ends);
        self.note_closing(direction, reset, &moves, false);
        self.history.be_reset(direction);
    }

    /// Takes a segment of the connection; `opened` holds the findings about its being the first one.
    ///
    /// Says what is remarkable about it besides what was asked for.
    #[inline]
    pub(super) fn observe<A: Reply>(
        &mut self,
        from: KeySide,
        segment: &Segment,
        opened: Option<&[Finding]>,
        most: usize,
    ) -> (FindingSet, A) {
        let direction = from.direction(self.first);
        if segment.is_unreadable() {
            return self.observe_unreadable(direction, segment, opened, most);
        }
        let flags = segment.flags;
        let controls = flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        let (mut repeats, mut gives_up) = (false, false);
        if controls {
            gives_up = flags.contains(Flags::RST) && self.awaits_keep_alive_ack(direction);
            repeats = self.repeats_control(direction, segment);
            if flags.contains(Flags::SYN) {
                self.settle_client(direction, flags);
            }
        }
        let id_before = if controls { self.stream(direction).newest_id() } else { None };
        let before = self.last_at();
        let last_at = before.filter(|_| segment.at == self.first_at && opened.is_none());
        let pause = segment.at.zip(before).map_or(Span(0), |(at, before)| at.since(before));
        let mut judged = self.conversation.observe(direction, segment);
        for finding in opened.unwrap_or_default() {
            judged.findings.insert(*finding);
        }
        if last_at > segment.at && direction == Direction::First && judged.position == 0 {
            self.closing.course |= Course::REPLAYED;
            self.trouble.get_or_insert_default().replayed_until = last_at;
        }
        if self.closing.course.contains(Course::REPLAYED)
            && self.trouble.as_ref().is_some_and(|trouble| segment.at <= trouble.replayed_until)
        {
            judged.findings.insert(Finding::CapturedTwice);
        }
        let overtaken = self.ends[direction as usize].acknowledges(segment);
        let is_dropped = segment.is_dropped();
        if !is_dropped {
            self.history.observe(direction, self.client.direction(), segment, repeats);
        }
        self.complete(segment, opened);
        self.last = direction;
        self.frames = u32::try_from(segment.frame.saturating_sub(self.first_frame)).unwrap_or(u32::MAX);

        let mut moved = None;
        // Between open ends a segment without SYN, FIN and RST moves nothing.
        if !is_dropped && (controls || self.ends.iter().any(|end| end.state() != Some(State::Established))) {
            if self.is_octets_after_close(direction, segment, judged.in_order) {
                judged.findings.insert(Finding::DataAfterClose);
            }
            let novelty = if judged.findings.contains(Finding::CapturedTwice) {
                Novelty::Copy
            } else if overtaken || judged.findings.contains(Finding::Reordered) {
                Novelty::Overtaken
            } else {
                Novelty::New
            };
            if controls && self.has_telling_stamp(direction, segment) && novelty == Novelty::New {
                self.note_stamps(direction, segment);
            }
            let [peer_fin_again, peer_syn_stamp] = self.peer_stamps(direction);
            let around = Around {
                novelty,
                isn: repeats.then_some(segment.seq),
                last_reset: Some(self.history.last_reset()),
                peer_fin_again,
                peer_syn_stamp,
                peer_acked: self.ends[self.receiver(direction)].top_ack(),
                peer_fin: self.ends[self.receiver(direction)].fin_end(),
                ..if self.key.is_one_end() {
                    self.conversation.around_itself(direction, &judged)
                } else {
                    self.conversation.around(direction, &judged)
                }
            };
            let effect = self.reset_effect(direction, segment, &around);
            match effect {
                ResetEffect::Ends => {}
                ResetEffect::Challenged => judged.findings.insert(Finding::ResetChallenged),
                ResetEffect::Ignored => judged.findings.insert(Finding::ResetOutOfWindow),
            }
            let moves = self.move_ends(direction, segment, &around, effect);
            let has_moved = moves.iter().any(|moves| moves[0].is_some());
            if (has_moved || controls || self.closing.is_begun()) && self.may_close(direction, flags) {
                self.note_closing(direction, segment, &moves, gives_up);
            }
            moved = Some(moves);
        }
        let is_remarkable = !judged.findings.is_empty() || segment.window == 0;
        if is_remarkable || controls && self.is_round(direction, flags) {
            let noted = Noted::of(segment, &judged, self.stream(direction.reverse()));
            let noted = moved.iter().fold(noted, |noted, moves| noted.moving(&moves[0]));
            self.note_trouble(direction, segment, &noted, most);
        }
        if is_remarkable && symptoms::may_matter(segment, judged.findings)
            || pause >= symptoms::LONG && (symptoms::may_end_pause(segment) || self.waits_on(flags))
            || pause < symptoms::STEP_BACK
            || !self.watch.is_empty()
            // What refuses a SYN hurts nothing that was there.
            || flags.contains(Flags::RST) && self.completeness & (ACK | DATA) != 0
            || segment.len > 0 && self.is_narrow(direction)
        {
            self.note_symptoms(direction, segment, symptoms::Judged::of(&judged), pause, id_before);
        }
        if segment.len > 0 {
            self.spoke = Some(direction);
        }
        (
            judged.findings,
            A::of(|| self.step(direction, segment, opened.is_some(), &judged, &moved.unwrap_or_default())),
        )
    }

    /// Takes a segment whose data offset cannot be: it is shown and counted, but its receiver drops it, so it moves nothing.
    #[cold]
    fn observe_unreadable<A: Reply>(
        &mut self,
        direction: Direction,
        segment: &Segment,
        opened: Option<&[Finding]>,
        most: usize,
    ) -> (FindingSet, A) {
        let heeded = if segment.has_short_header() { Flags::empty() } else { segment.flags };
        if heeded.contains(Flags::SYN) {
            self.settle_client(direction, heeded);
        }
        let mut judged = self.conversation.observe_unreadable(direction, segment);
        for finding in opened.unwrap_or_default() {
            judged.findings.insert(*finding);
        }
        self.complete(segment, opened);
        if !judged.findings.is_empty() || self.is_round(direction, heeded) {
            self.note_trouble(
                direction,
                &Segment { flags: heeded, ..*segment },
                &Noted::of(segment, &judged, self.stream(direction.reverse())),
                most,
            );
        }
        self.last = direction;
        self.frames = u32::try_from(segment.frame.saturating_sub(self.first_frame)).unwrap_or(u32::MAX);
        (judged.findings, A::of(|| self.step(direction, segment, opened.is_some(), &judged, &Default::default())))
    }

    /// What the segment did that was judged last.
    fn step(
        &self,
        direction: Direction,
        segment: &Segment,
        opened: bool,
        judged: &Judgement,
        moved: &[Moves; 2],
    ) -> Step {
        let client = self.client.direction();
        let receiver = if self.key.is_one_end() { direction } else { direction.reverse() };
        let sides = [side_of(direction, client), side_of(receiver, client)];
        let mut moves = [None; 8];
        let all = sides.iter().zip(moved).flat_map(|(side, moved)| moved.iter().flatten().map(|step| (*side, *step)));
        for (slot, step) in moves.iter_mut().zip(all) {
            *slot = Some(step);
        }
        let has_octets = segment.len > 0 && !segment.is_unreadable();
        Step {
            connection: ConnectionId(self.id),
            from: sides[0],
            opened,
            findings: judged.findings,
            seq: judged.seq,
            ack: judged.ack,
            window: judged.window,
            stream: has_octets.then(|| {
                let from = judged.position.max(0) as u64;
                Range { from, to: (judged.position + i64::from(segment.len)).max(0) as u64 }
            }),
            moves,
        }
    }

    /// Adds a segment to the completeness.
    #[inline]
    fn complete(&mut self, segment: &Segment, opened: Option<&[Finding]>) {
        match opened {
            // To Wireshark a connection that uses ports again is none of its new ones, whose first segment it looks at
            // for a SYN and its octets only: it counts the other flags at once, and does not look for octets.
            Some(findings) if findings.contains(&Finding::PortReuse) => {
                self.completeness |= SYN | completeness(segment)
            }
            Some(_) if is_opening(segment.flags) && segment.len > 0 && !segment.has_short_header() => {
                self.completeness |= DATA;
            }
            Some(_) => {}
            None => self.completeness |= completeness(segment) | std::mem::take(&mut self.first_adds),
        }
    }

    /// How much memory it takes besides its slot: its findings, and the holes in its streams.
    #[inline]
    pub(super) fn extra(&self) -> usize {
        self.conversation.extra() + self.trouble.as_deref().map_or(0, Trouble::extra)
    }

    /// How much memory is counted for it besides its slot.
    pub(super) fn weight(&self) -> usize {
        self.trouble.as_ref().map_or(0, |trouble| trouble.weight)
    }

    /// Weighs it anew.
    pub(super) fn weigh(&mut self) -> usize {
        if self.extra() == 0 {
            return 0;
        }
        // What holes alone take is kept there, too.
        self.trouble.get_or_insert_default();
        let extra = self.extra();
        if let Some(trouble) = &mut self.trouble {
            trouble.weight = extra;
        }
        extra
    }

    /// Gives back what only further segments would need; returns how much it takes now.
    pub(super) fn settle(&mut self) -> usize {
        self.conversation.settle();
        if self.trouble.as_ref().is_some_and(|trouble| trouble.symptoms.is_some()) {
            self.settle_symptoms();
        }
        size_of::<Self>() + self.extra()
    }

    /// Keeps of what went wrong only what hurt it most.
    #[cold]
    fn settle_symptoms(&mut self) {
        let facts = self.facts();
        let problem = self.problem(&facts, facts.ending(), &facts.verdict(), None);
        if let Some(trouble) = &mut self.trouble {
            trouble.problem = problem;
            trouble.symptoms = None;
        }
    }

    /// How many findings it did not keep.
    pub(super) fn omitted(&self) -> u64 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.omitted())
    }

    /// Whether this is no connection, but what is left in an empty slot.
    pub(super) fn is_empty(&self) -> bool {
        self.conversation.stream(Direction::First).segments() == 0
    }

    /// Whether this is the connection with that number; an empty slot has none, though its number reads 0.
    pub(super) fn is(&self, id: u64) -> bool {
        self.id == id && !self.is_empty()
    }

    /// Whether only late segments are to be expected.
    pub(super) fn is_closed(&self) -> bool {
        self.closing.course.contains(Course::CLOSED)
    }

    /// When its last segment was captured.
    pub(super) fn last_at(&self) -> Option<Timestamp> {
        self.stream(self.last).last_at()
    }

    fn stream(&self, direction: Direction) -> &Stream {
        self.conversation.stream(direction)
    }

    fn settle_client(&mut self, direction: Direction, flags: Flags) {
        if self.key.is_one_end() {
            return;
        }
        self.client = match (self.client, is_opening(flags)) {
            (Client::SentSyn(_), _) => return,
            (_, true) => Client::SentSyn(direction),
            (Client::SentFirst | Client::ByPort(_), false) => Client::TookSynAck(direction.reverse()),
            (Client::TookSynAck(_), false) => return,
        };
    }

    /// Whether a SYN or FIN has the number of the last one from its end.
    fn repeats_control(&self, direction: Direction, segment: &Segment) -> bool {
        let stream = self.stream(direction);
        if segment.flags.contains(Flags::SYN) {
            stream.last_syn() == Some(segment.seq)
        } else {
            stream.fin_end() == Some(segment.end())
        }
    }

    /// Whether a segment is a FIN that comes again, or a SYN with octets.
    #[inline]
    fn has_telling_stamp(&self, direction: Direction, segment: &Segment) -> bool {
        if segment.flags.contains(Flags::FIN) {
            self.stream(direction).fins() > 1
        } else {
            segment.len > 0 && is_opening(segment.flags)
        }
    }

    /// Remembers the timestamp of a FIN that comes again, or of a SYN with octets.
    #[cold]
    fn note_stamps(&mut self, direction: Direction, segment: &Segment) {
        let Some((stamp, _)) = segment.options.timestamps else { return };
        let trouble = self.trouble.get_or_insert_default();
        let stamps = if segment.flags.contains(Flags::FIN) { &mut trouble.fins_again } else { &mut trouble.syns };
        stamps[direction as usize] = Some(stamp);
    }

    /// Of the receiver of a segment: the timestamp of its FIN that came again, and of its SYN with octets.
    #[inline]
    fn peer_stamps(&self, direction: Direction) -> [Option<u32>; 2] {
        let Some(trouble) = &self.trouble else { return [None; 2] };
        let peer = direction.reverse() as usize;
        // On a shorter path the clock may not have moved between the SYN and what followed it.
        let is_long = self.conversation.initial_rtt() >= Some(TICKS);
        [trouble.fins_again[peer], trouble.syns[peer].filter(|_| is_long)]
    }

    /// The end that a segment reaches.
    #[inline]
    fn receiver(&self, direction: Direction) -> usize {
        if self.key.is_one_end() { direction as usize } else { direction.reverse() as usize }
    }

    /// What a RST does to its receiver.
    #[inline]
    fn reset_effect(&self, direction: Direction, segment: &Segment, around: &Around) -> ResetEffect {
        if !segment.flags.contains(Flags::RST) {
            return ResetEffect::Ends;
        }
        self.ends[self.receiver(direction)].reset_effect(segment, around)
    }

    /// Runs both ends' machines: the sender did what the segment shows, the receiver is believed to have got it.
    #[inline(always)]
    fn move_ends(
        &mut self,
        direction: Direction,
        segment: &Segment,
        around: &Around,
        effect: ResetEffect,
    ) -> [Moves; 2] {
        let (sender, receiver) = (direction as usize, self.receiver(direction));
        let sent = self.ends[sender].sent(segment, around);
        let received = self.ends[receiver].received(segment, around, effect);
        if sender == receiver {
            // One socket is both ends.
            self.ends[1 - sender] = self.ends[sender];
        }
        if self.trouble.is_some() {
            for (end, moves) in [(sender, &sent), (receiver, &received)] {
                if moves.iter().flatten().any(|step| step.rule.is_correction()) {
                    self.retract_octets_after_close(end);
                }
            }
        }
        [sent, received]
    }

    /// The end was not closed: what was sent to it was not in vain.
    #[cold]
    fn retract_octets_after_close(&mut self, end: usize) {
        let from = if end == Direction::First as usize { Direction::Second } else { Direction::First };
        if let Some(trouble) = &mut self.trouble {
            trouble.retract(Finding::DataAfterClose, from);
        }
    }

    /// Whether octets go to an end that has no connection for them any more.
    #[inline]
    fn is_octets_after_close(&self, direction: Direction, segment: &Segment, in_order: Seq) -> bool {
        segment.len > 0
            && !segment.flags.contains(Flags::RST)
            && in_order == segment.end()
            && matches!(
                self.ends[direction.reverse() as usize].state(),
                Some(State::Closed | State::TimeWait | State::LastAck | State::Closing)
            )
    }

    /// Whether anything of the connection's end has come about, which a handshake has not.
    #[inline]
    fn may_close(&self, direction: Direction, flags: Flags) -> bool {
        self.closing.is_begun()
            || flags.contains(Flags::RST)
            || self.stream(direction.reverse()).fin_end().is_some()
            || self.ends.iter().any(|end| end.sent_fin() || end.is_reset())
    }

    /// Takes note of how the connection's end comes about, after the machines have moved.
    fn note_closing(&mut self, direction: Direction, segment: &Segment, moved: &[Moves; 2], gives_up: bool) {
        let peer = direction.reverse();
        if segment.len > 0 && !segment.flags.contains(Flags::RST) && self.stream(peer).fin_end().is_some() {
            self.closing.course |= Course::into_closed(direction);
        }
        let sent_fin = self.ends.each_ref().map(|end| end.sent_fin());
        if self.closing.first_fin.is_some_and(|first| !sent_fin[first as usize]) {
            self.closing.first_fin = None;
        }
        if self.closing.first_fin.is_none() {
            let order = [direction, peer];
            self.closing.first_fin = order.into_iter().find(|direction| sent_fin[*direction as usize]);
        }
        // Where the first was not captured, it shows only later that there was one.
        if let Some(first) = self.closing.first_fin
            && sent_fin == [true; 2]
            && !self.ends[first as usize].closed_first()
            && self.ends[1 - first as usize].closed_first()
        {
            self.closing.first_fin = Some(first.reverse());
        }
        self.closing.course.set(Course::SECOND_FIN, sent_fin == [true; 2]);
        self.closing.course.set(Course::CROSSED, self.ends.iter().all(|end| end.sent_fin() && end.closed_first()));
        if segment.flags.contains(Flags::RST) && self.closing.reset.is_none() {
            self.note_reset(direction, segment, moved, gives_up);
        } else if let Some(reset) = self.closing.reset {
            // Ends that go on were not reset.
            let by = reset.by as usize;
            let stands = self.ends[1 - by].is_reset() || reset.kind != ResetKind::Refusal && self.ends[by].is_reset();
            if !stands && !self.key.is_one_end() {
                self.closing.reset = None;
            }
        }
        let over = self.closing.reset.is_some() || sent_fin == [true; 2] || self.ends.iter().any(Endpoint::is_reset);
        self.closing.course.set(Course::CLOSED, over);
    }

    fn note_reset(&mut self, direction: Direction, segment: &Segment, moved: &[Moves; 2], gives_up: bool) {
        let ends = |step: &&Move| {
            matches!(
                step.rule,
                Rule::Reset | Rule::Aborted | Rule::Refused | Rule::ConnectRefused | Rule::HandshakeReset
            )
        };
        let ended = moved.each_ref().map(|moves| moves.iter().flatten().find(ends).copied());
        // After both FINs a RST still ends what waits for an acknowledgement, but it is no end of a connection that was over.
        let is_over = |step: &Option<Move>| {
            step.is_none_or(|step| matches!(step.from, Some(State::TimeWait | State::Closed | State::Listen)))
        };
        let only_resets = |direction| {
            let stream = self.stream(direction);
            stream.segments() == u64::from(stream.resets())
        };
        if ended.iter().all(is_over) || only_resets(direction) && only_resets(direction.reverse()) {
            return;
        }
        // In SYN-SENT an end goes on though a RST came that does not acknowledge its SYN (3.10.7.3).
        let waits = self.ends[direction.reverse() as usize].state() == Some(State::SynSent);
        if waits && ended[0].is_some_and(|step| step.rule == Rule::Refused) {
            return;
        }
        let is_refusal = ended[1].is_some_and(|step| step.rule == Rule::ConnectRefused);
        let kind = if is_refusal { ResetKind::Refusal } else { self.reset_kind(direction) };
        let kind = match kind {
            ResetKind::Abort if gives_up => ResetKind::KeepAlivesUnanswered,
            ResetKind::Abort if !segment.flags.contains(Flags::ACK) => ResetKind::NoConnection,
            _ => kind,
        };
        self.closing.reset = Some(Reset { by: direction, kind });
    }

    /// Whether the last segment of the connection is a keep-alive that this end sent.
    fn awaits_keep_alive_ack(&self, direction: Direction) -> bool {
        let last = self.trouble.as_ref().and_then(|trouble| trouble.remarks.last());
        last.is_some_and(|last| {
            last.finding == Finding::KeepAlive
                && last.direction == direction
                && last.frame == self.first_frame + u64::from(self.frames)
        })
    }

    /// What a RST means that refuses nothing.
    fn reset_kind(&self, direction: Direction) -> ResetKind {
        let closed = [direction, direction.reverse()].map(|direction| self.ends[direction as usize].sent_fin());
        if self.completeness & (ACK | DATA) == 0 {
            ResetKind::HalfOpen
        } else if closed[0] && self.closing.course.contains(Course::into_closed(direction.reverse())) {
            ResetKind::OctetsAfterClose
        } else if closed[0] {
            ResetKind::AfterOwnFin
        } else if closed[1] {
            ResetKind::AfterPeersFin
        } else {
            ResetKind::Abort
        }
    }

    /// Whether a count of SYNs, FINs or RSTs has just come round to 0.
    fn is_round(&self, direction: Direction, flags: Flags) -> bool {
        CONTROLS
            .iter()
            .zip(controls_of(self.stream(direction)))
            .any(|(flag, count)| flags.contains(*flag) && count == 0)
    }

    #[cold]
    fn note_trouble(&mut self, direction: Direction, segment: &Segment, noted: &Noted, most: usize) {
        let counts_now = controls_of(self.stream(direction));
        let trouble = self.trouble.get_or_insert_default();
        let flags = segment.flags;
        for (at, flag) in CONTROLS.into_iter().enumerate() {
            if flags.contains(flag) && counts_now[at] == 0 {
                trouble.note_round(direction, at);
            }
        }
        self.history.note_signs(&mut trouble.signs, direction, segment, noted.findings);
        trouble.note(direction, segment.frame, noted, most);
    }

    /// Whether the octets end where the peer's window would, were it not scaled.
    #[inline]
    fn is_narrow(&self, direction: Direction) -> bool {
        let window = self.stream(direction.reverse()).scaled_window();
        window.is_some_and(|(window, _)| u32::from(window) == self.conversation.in_flight(direction))
    }

    /// Whether this is the FIN of a client that goes on waiting for the answer to what it sent last, or of a server that closes instead.
    fn waits_on(&self, flags: Flags) -> bool {
        flags.contains(Flags::FIN) && self.spoke == Some(self.client.direction())
    }

    /// Takes note of what may have gone wrong.
    #[cold]
    fn note_symptoms(
        &mut self,
        direction: Direction,
        segment: &Segment,
        judged: symptoms::Judged,
        pause: Span,
        id_before: Option<u16>,
    ) {
        let peer = direction.reverse();
        let trouble = self.trouble.get_or_insert_default();
        let seen = symptoms::Seen {
            direction,
            segment,
            judged: &judged,
            in_flight: self.conversation.in_flight(direction),
            fwd: self.conversation.stream(direction),
            rev: self.conversation.stream(peer),
            peer_next: self.conversation.next(peer),
            pause,
            spoke: self.spoke,
            id_before,
            history: &self.history,
            rtt: self.conversation.initial_rtt(),
        };
        self.watch = trouble.symptoms.get_or_insert_default().note(&seen);
    }
}

/// The counts of SYNs, FINs and RSTs as far as they are kept in the stream.
fn controls_of(stream: &Stream) -> [u16; 3] {
    [stream.syns().into(), stream.fins().into(), stream.resets()]
}

/// A SYN without ACK.
fn is_opening(flags: Flags) -> bool {
    flags & (Flags::SYN | Flags::ACK) == Flags::SYN
}

/// What a segment adds to Wireshark's completeness, but for the SYN, which counts only as the first segment.
#[inline]
fn completeness(segment: &Segment) -> u8 {
    let flags = if segment.has_short_header() { Flags::empty() } else { segment.flags };
    let acks = |bits| if flags.contains(Flags::ACK) { bits } else { 0 };
    let carries = acks(if segment.len > 0 { DATA } else { ACK });
    // Most have none of these.
    if !flags.intersects(Flags::SYN | Flags::FIN | Flags::RST) {
        return carries;
    }
    let mut bits = if flags.contains(Flags::SYN) { acks(SYN_ACK) } else { carries };
    if flags.contains(Flags::FIN | Flags::ACK) {
        bits |= FIN;
    }
    if flags.contains(Flags::RST) {
        bits |= RST;
    }
    bits
}

/// In this time a clock of timestamps has moved: their ticks are 1 ms nearly everywhere.
const TICKS: Span = Span(4_000_000);
/// Ports below this one are those of servers (RFC 6335 section 6).
const FIRST_UNRESERVED: u16 = 1024;
/// The flags whose segments are counted.
const CONTROLS: [Flags; 3] = [Flags::SYN, Flags::FIN, Flags::RST];
const SYN: u8 = 1;
const SYN_ACK: u8 = 2;
const ACK: u8 = 4;
const DATA: u8 = 8;
const FIN: u8 = 16;
const RST: u8 = 32;
