//! What the table keeps of one connection while it lives, and how that becomes its summary.

use super::history::{History, Signs, side_of};
use super::key::{Key, KeySide};
use super::verdict::{self, Reset, ResetKind};
use super::{Connection, ConnectionId, Detail, FindingAt, Icmp, Range, RolesBasis, SideSummary, Step};
use crate::tcp::{
    Around, Conversation, Direction, Endpoint, Finding, Judgement, Move, Moves, Novelty, ResetEffect, Rule, State,
    Stream,
};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, IcmpError, Segment};

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
}

/// What only connections have of which something is remarkable.
#[derive(Debug, Default)]
struct Trouble {
    /// How often, by direction and by finding.
    counts: [[u32; Finding::ALL.len()]; 2],
    signs: [Signs; 2],
    /// How often the counts of SYN, FIN and RST came round to 0, by direction.
    rounds: [[u32; 3]; 2],
    /// The first findings, at most [`Limits::findings`](super::Limits).
    remarks: Vec<Remark>,
    omitted: u64,
    /// ICMP errors that quote its segments.
    icmp: Option<Icmp>,
    /// With [`Course::REPLAYED`]: the last time before that.
    replayed_until: Option<Timestamp>,
    /// How much memory the table counts for the connection besides its slot.
    weight: usize,
}

/// Who is held for the client, and why.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Client {
    /// No SYN was seen: the sender of the first segment.
    #[default]
    SentFirst,
    /// The receiver of the first SYN-ACK.
    TookSynAck(Direction),
    /// The sender of the first SYN without ACK.
    SentSyn(Direction),
}

/// How the connection's end came about.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Closing {
    /// Who sent the first FIN.
    pub(super) first_fin: Option<Direction>,
    /// The RST that ended it.
    pub(super) reset: Option<Reset>,
    pub(super) course: Course,
}

bitflags::bitflags! {
    /// What came after the first FIN.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    pub(super) struct Course: u8 {
        /// The peer has sent its FIN, too.
        const SECOND_FIN = 1;
        /// That one was sent before the first was received.
        const CROSSED = 2;
        /// Octets went in the first direction to an end that had sent its FIN.
        const FIRST_INTO_CLOSED = 4;
        /// Octets went in the second direction to an end that had sent its FIN.
        const SECOND_INTO_CLOSED = 8;
        /// Nothing but late segments is to be expected any more: both FINs were sent, or a RST that its receiver heeds.
        const CLOSED = 16;
        /// The capture began again from the first segment, with the same times.
        const REPLAYED = 32;
    }
}

impl Closing {
    /// Whether a FIN or a RST has begun it, so that what follows may matter.
    fn is_begun(&self) -> bool {
        self.first_fin.is_some() || self.reset.is_some()
    }
}

impl Course {
    fn into_closed(direction: Direction) -> Self {
        match direction {
            Direction::First => Self::FIRST_INTO_CLOSED,
            Direction::Second => Self::SECOND_INTO_CLOSED,
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Remark {
    finding: Finding,
    direction: Direction,
    frame: u64,
    /// Nanoseconds since the stream advanced last, negative where that is not known, or which of the duplicate acknowledgements it is,
    /// or 1 where all that is acknowledged was captured.
    amount: i64,
}

impl Remark {
    fn detail(&self) -> Detail {
        match self.finding {
            Finding::DuplicateAck => Detail::Number(u32::try_from(self.amount).unwrap_or(u32::MAX)),
            Finding::AckedUnseen if self.amount > 0 => Detail::Captured,
            Finding::Retransmission
            | Finding::FastRetransmission
            | Finding::SpuriousRetransmission
            | Finding::OutOfOrder
            | Finding::Reordered
            | Finding::SentAgain => Detail::Since((self.amount >= 0).then_some(Span(self.amount))),
            _ => Detail::None,
        }
    }
}

impl Client {
    fn basis(self) -> RolesBasis {
        match self {
            Self::SentFirst => RolesBasis::FirstSegment,
            Self::TookSynAck(_) => RolesBasis::SynAck,
            Self::SentSyn(_) => RolesBasis::Syn,
        }
    }

    fn direction(self) -> Direction {
        match self {
            Self::SentFirst => Direction::First,
            Self::TookSynAck(direction) | Self::SentSyn(direction) => direction,
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
                let errors = trouble.icmp.map_or(0, |icmp| icmp.errors);
                trouble.icmp = Some(Icmp { last: error, errors: errors.saturating_add(1) });
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

    /// Takes a segment of the connection; `opened` holds the findings about its being the first one.
    pub(super) fn observe(
        &mut self,
        from: KeySide,
        segment: &Segment,
        opened: Option<&[Finding]>,
        most: usize,
    ) -> Step {
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
        let last_at = (segment.at == self.first_at && opened.is_none()).then(|| self.last_at()).flatten();
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
        let client = self.client.direction();
        let is_dropped = segment.is_dropped();
        if !is_dropped {
            self.history.observe(direction, client, segment, repeats);
        }
        self.complete(segment, opened);
        self.last = direction;
        self.frames = u32::try_from(segment.frame.saturating_sub(self.first_frame)).unwrap_or(u32::MAX);

        // The one end of a socket that is connected to itself is the client.
        let receiver = if self.key.is_one_end() { direction } else { direction.reverse() };
        let sides = [side_of(direction, client), side_of(receiver, client)];
        let mut moves = [None; 6];
        // Between open ends a segment without SYN, FIN and RST moves nothing.
        if !is_dropped && (controls || self.ends.iter().any(|end| end.state() != Some(State::Established))) {
            if self.is_octets_after_close(direction, segment, &judged) {
                judged.findings.insert(Finding::DataAfterClose);
            }
            let novelty = if judged.findings.contains(Finding::CapturedTwice) {
                Novelty::Copy
            } else if overtaken || judged.findings.contains(Finding::Reordered) {
                Novelty::Overtaken
            } else {
                Novelty::New
            };
            let around = Around {
                novelty,
                isn: repeats.then_some(segment.seq),
                last_reset: Some(self.history.last_reset()),
                ..self.conversation.around(direction, &judged)
            };
            let [sent, received] = self.move_ends(direction, segment, &around, &mut judged);
            let has_moved = sent[0].is_some() || received[0].is_some();
            if has_moved || controls || self.closing.is_begun() {
                self.note_closing(direction, segment, [&sent, &received], gives_up);
            }
            if has_moved {
                let all =
                    sent.iter().flatten().map(|step| (0, step)).chain(received.iter().flatten().map(|step| (1, step)));
                for (slot, (side, step)) in moves.iter_mut().zip(all) {
                    *slot = Some((sides[side], *step));
                }
            }
        }
        if !judged.findings.is_empty() || segment.window == 0 || controls && self.is_round(direction, flags) {
            self.note_trouble(direction, segment, &judged, most);
        }
        Step {
            connection: ConnectionId(self.id),
            from: sides[0],
            opened: opened.is_some(),
            findings: judged.findings,
            seq: judged.seq,
            ack: judged.ack,
            window: judged.window,
            stream: (segment.len > 0).then(|| {
                let from = judged.position.max(0) as u64;
                Range { from, to: (judged.position + i64::from(segment.len)).max(0) as u64 }
            }),
            moves,
        }
    }

    /// Takes a segment whose data offset cannot be: it is shown and counted, but its receiver drops it, so it moves nothing.
    #[cold]
    fn observe_unreadable(
        &mut self,
        direction: Direction,
        segment: &Segment,
        opened: Option<&[Finding]>,
        most: usize,
    ) -> Step {
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
            self.note_trouble(direction, &Segment { flags: heeded, ..*segment }, &judged, most);
        }
        self.last = direction;
        self.frames = u32::try_from(segment.frame.saturating_sub(self.first_frame)).unwrap_or(u32::MAX);
        Step {
            connection: ConnectionId(self.id),
            from: side_of(direction, self.client.direction()),
            opened: opened.is_some(),
            findings: judged.findings,
            seq: judged.seq,
            ack: judged.ack,
            window: judged.window,
            stream: None,
            moves: [None; 6],
        }
    }

    /// Adds a segment to the completeness.
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

    /// The connection as it is told.
    pub(super) fn summary(&self) -> Connection {
        let client = self.client.direction();
        let server = client.reverse();
        let ends = self.key.ends();
        let place = |direction| if direction == Direction::First { self.first } else { self.first.other() };
        let streams = [self.stream(client), self.stream(server)];
        let states = [self.ends[client as usize].state(), self.ends[server as usize].state()];
        let octets = streams.map(Stream::octets);
        let facts = verdict::Facts {
            streams,
            states,
            closed: [client, server].map(|direction| self.ends[direction as usize].sent_fin()),
            client,
            closing: self.closing,
            completeness: self.completeness,
            lasted: self.first_at.zip(self.last_at()).map(|(first, last)| last.since(first)),
            is_one_end: self.key.is_one_end(),
            midstream: streams.iter().all(|stream| stream.isn().is_none()),
            copies: self
                .trouble
                .as_ref()
                .map_or(0, |trouble| trouble.counts[client as usize][Finding::CapturedTwice as usize].into()),
        };
        let ending = facts.ending();
        let end_of = |direction| match place(direction) {
            KeySide::Lower => ends[0],
            KeySide::Higher => ends[1],
        };
        Connection {
            id: ConnectionId(self.id),
            client: end_of(client),
            server: end_of(server),
            midstream: facts.midstream,
            first: self.first_at,
            last: self.last_at(),
            first_frame: self.first_frame,
            last_frame: self.first_frame + u64::from(self.frames),
            completeness: self.completeness,
            conn_state: self.history.conn_state(client, octets),
            history: self.history.text(client),
            initial_rtt: self.conversation.initial_rtt(),
            client_state: states[0],
            server_state: states[1],
            client_state_basis: states[0].map(|_| self.ends[client as usize].basis()),
            server_state_basis: states[1].map(|_| self.ends[server as usize].basis()),
            roles_basis: self.client.basis(),
            closed_by: facts.closed_by(),
            ending,
            verdict: facts.verdict(),
            icmp: self.trouble.as_ref().and_then(|trouble| trouble.icmp),
            client_to_server: self.side_summary(client),
            server_to_client: self.side_summary(server),
            findings: self.findings(client),
            findings_omitted: self.omitted(),
        }
    }

    /// How much memory it takes besides its slot: its findings, and the holes in its streams.
    #[inline]
    pub(super) fn extra(&self) -> usize {
        let trouble = |trouble: &Trouble| size_of::<Trouble>() + trouble.remarks.capacity() * size_of::<Remark>();
        self.conversation.extra() + self.trouble.as_deref().map_or(0, trouble)
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
        size_of::<Self>() + self.extra()
    }

    /// How many findings it did not keep.
    pub(super) fn omitted(&self) -> u64 {
        self.trouble.as_ref().map_or(0, |trouble| trouble.omitted)
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
            (Client::SentFirst, false) => Client::TookSynAck(direction.reverse()),
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

    /// Runs both ends' machines: the sender did what the segment shows, the receiver is believed to have got it.
    fn move_ends(
        &mut self,
        direction: Direction,
        segment: &Segment,
        around: &Around,
        judged: &mut Judgement,
    ) -> [Moves; 2] {
        let sender = direction as usize;
        let receiver = if self.key.is_one_end() { sender } else { direction.reverse() as usize };
        let mut effect = ResetEffect::Ends;
        if segment.flags.contains(Flags::RST) {
            effect = self.ends[receiver].reset_effect(segment, around);
            match effect {
                ResetEffect::Ends => {}
                ResetEffect::Challenged => judged.findings.insert(Finding::ResetChallenged),
                ResetEffect::Ignored => judged.findings.insert(Finding::ResetOutOfWindow),
            }
        }
        let sent = self.ends[sender].sent(segment, around);
        let received = self.ends[receiver].received(segment, around, effect);
        for (end, moves) in [(sender, &sent), (receiver, &received)] {
            if moves[0].is_some() && moves.iter().flatten().any(|step| step.rule.is_correction()) {
                self.retract_octets_after_close(end);
            }
        }
        [sent, received]
    }

    /// The end was not closed: what was sent to it was not in vain.
    #[cold]
    fn retract_octets_after_close(&mut self, end: usize) {
        let Some(trouble) = &mut self.trouble else { return };
        let count = &mut trouble.counts[1 - end][Finding::DataAfterClose as usize];
        if *count > 0 {
            *count = 0;
            trouble
                .remarks
                .retain(|remark| remark.finding != Finding::DataAfterClose || remark.direction as usize == end);
        }
    }

    /// Whether octets go to an end that has no connection for them any more.
    fn is_octets_after_close(&self, direction: Direction, segment: &Segment, judged: &Judgement) -> bool {
        segment.len > 0
            && !segment.flags.contains(Flags::RST)
            && judged.in_order == segment.end()
            && matches!(
                self.ends[direction.reverse() as usize].state(),
                Some(State::Closed | State::TimeWait | State::LastAck | State::Closing)
            )
    }

    /// Takes note of how the connection's end comes about, after the machines have moved.
    fn note_closing(&mut self, direction: Direction, segment: &Segment, moved: [&Moves; 2], gives_up: bool) {
        let peer = direction.reverse();
        if segment.len > 0 && !segment.flags.contains(Flags::RST) && self.stream(peer).fin_end().is_some() {
            self.closing.course |= Course::into_closed(direction);
        }
        let sent_fin = self.ends.map(|end| end.sent_fin());
        if self.closing.first_fin.is_some_and(|first| !sent_fin[first as usize]) {
            self.closing.first_fin = None;
        }
        if self.closing.first_fin.is_none() {
            let order = [direction, peer];
            self.closing.first_fin = order.into_iter().find(|direction| sent_fin[*direction as usize]);
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

    fn note_reset(&mut self, direction: Direction, segment: &Segment, moved: [&Moves; 2], gives_up: bool) {
        let ends = |step: &&Move| {
            matches!(
                step.rule,
                Rule::Reset | Rule::Aborted | Rule::Refused | Rule::ConnectRefused | Rule::HandshakeReset
            )
        };
        let ended = moved.map(|moves| moves.iter().flatten().find(ends).copied());
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
    fn note_trouble(&mut self, direction: Direction, segment: &Segment, judged: &Judgement, most: usize) {
        let counts_now = controls_of(self.stream(direction));
        let trouble = self.trouble.get_or_insert_default();
        let flags = segment.flags;
        for (at, flag) in CONTROLS.into_iter().enumerate() {
            if flags.contains(flag) && counts_now[at] == 0 {
                trouble.rounds[direction as usize][at] += 1;
            }
        }
        self.history.note_signs(&mut trouble.signs, direction, segment, judged.findings);
        for finding in judged.findings.iter() {
            trouble.counts[direction as usize][finding as usize] += 1;
            if trouble.remarks.len() >= most {
                trouble.omitted += 1;
                continue;
            }
            let amount = match finding {
                Finding::DuplicateAck => i64::from(judged.duplicate),
                Finding::AckedUnseen => judged.was_captured.into(),
                _ => judged.since_advance.map_or(-1, Span::as_nanos),
            };
            trouble.remarks.push(Remark { finding, direction, frame: segment.frame, amount });
        }
    }

    fn findings(&self, client: Direction) -> Vec<FindingAt> {
        let Some(trouble) = &self.trouble else { return Vec::new() };
        let tell = |remark: &Remark| FindingAt {
            finding: remark.finding,
            frame: Some(remark.frame),
            side: side_of(remark.direction, client),
            detail: remark.detail(),
        };
        trouble.remarks.iter().map(tell).collect()
    }

    fn side_summary(&self, direction: Direction) -> SideSummary {
        let stream = self.stream(direction);
        let round_trips = stream.round_trips();
        let mut summary = SideSummary {
            segments: stream.segments(),
            octets: stream.octets(),
            unique_octets: stream.unique_octets(),
            syn: stream.syns().into(),
            fin: stream.fins().into(),
            rst: stream.resets().into(),
            isn: stream.isn().map(|isn| isn.0),
            mss: stream.mss(),
            window_scale: stream.window_scale(),
            sack_permitted: stream.sack_permitted(),
            timestamps: stream.timestamps(),
            rtt_min_ns: round_trips.map(|(shortest, _, _)| shortest.0),
            rtt_avg_ns: round_trips.map(|(_, mean, _)| mean.0),
            rtt_max_ns: round_trips.map(|(_, _, longest)| longest.0),
            ..SideSummary::default()
        };
        let Some(trouble) = &self.trouble else { return summary };
        let of = |finding| u64::from(trouble.counts[direction as usize][finding as usize]);
        let [syn, fin, rst] = trouble.rounds[direction as usize].map(u64::from);
        summary.syn += syn << 8;
        summary.fin += fin << 8;
        summary.rst += rst << 16;
        summary.fast_retransmissions = of(Finding::FastRetransmission);
        summary.spurious_retransmissions = of(Finding::SpuriousRetransmission);
        summary.retransmissions =
            of(Finding::Retransmission) + summary.fast_retransmissions + summary.spurious_retransmissions;
        summary.out_of_order = of(Finding::OutOfOrder);
        summary.duplicate_acks = of(Finding::DuplicateAck);
        summary.lost_segments = of(Finding::LostSegment);
        summary.acked_unseen = of(Finding::AckedUnseen);
        summary.zero_windows = of(Finding::ZeroWindow);
        summary.window_fulls = of(Finding::WindowFull);
        summary.window_updates = of(Finding::WindowUpdate);
        summary.keep_alives = of(Finding::KeepAlive);
        summary.zero_window_probes = of(Finding::ZeroWindowProbe);
        summary
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
fn completeness(segment: &Segment) -> u8 {
    let flags = if segment.has_short_header() { Flags::empty() } else { segment.flags };
    let mut bits = 0;
    if flags.contains(Flags::SYN | Flags::ACK) {
        bits |= SYN_ACK;
    } else if flags.contains(Flags::ACK) {
        bits |= if segment.len > 0 { DATA } else { ACK };
    }
    if flags.contains(Flags::FIN | Flags::ACK) {
        bits |= FIN;
    }
    if flags.contains(Flags::RST) {
        bits |= RST;
    }
    bits
}

/// The flags whose segments are counted.
const CONTROLS: [Flags; 3] = [Flags::SYN, Flags::FIN, Flags::RST];
const SYN: u8 = 1;
const SYN_ACK: u8 = 2;
const ACK: u8 = 4;
const DATA: u8 = 8;
const FIN: u8 = 16;
const RST: u8 = 32;
