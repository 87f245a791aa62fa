//! What the table keeps of one connection while it lives, and how that becomes its summary.

use super::history::{History, side_of};
use super::key::{Key, Place};
use super::verdict::{self, Reset, ResetKind};
use super::{Connection, ConnectionId, FindingAt, Range, Side, SideSummary, Step};
use crate::tcp::{Conversation, Direction, Endpoint, Finding, Judgement, Move, Moves, State, Stream};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment};

/// A connection that is followed.
#[derive(Debug, Default)]
pub(super) struct Record<K> {
    pub(super) key: K,
    pub(super) id: u64,
    /// The place in the key of the end whose segment came first.
    pub(super) first: Place,
    conversation: Conversation,
    ends: [Endpoint; 2],
    history: History,
    first_at: Option<Timestamp>,
    last_at: Option<Timestamp>,
    first_frame: u64,
    last_frame: u64,
    completeness: u8,
    /// What the first segment adds to `completeness`; Wireshark counts it only once a second one has come.
    first_adds: u8,
    client: Client,
    closing: Closing,
    remarks: Option<Box<Remarks>>,
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
    /// The second FIN was sent before the first was received.
    pub(super) crossed: bool,
    /// The RST that ended it.
    pub(super) reset: Option<Reset>,
    /// New octets were sent to an end that had sent its FIN, by that end.
    pub(super) octets_after_fin: [bool; 2],
}

/// The findings that are told one by one, at most [`MOST_REMARKS`].
#[derive(Debug, Default)]
struct Remarks {
    kept: Vec<Remark>,
    omitted: u64,
}

#[derive(Clone, Copy, Debug)]
struct Remark {
    finding: Finding,
    direction: Direction,
    frame: u64,
    /// What the note says in numbers: nanoseconds, or how many.
    amount: i64,
}

impl Client {
    fn direction(self) -> Direction {
        match self {
            Self::SentFirst => Direction::First,
            Self::TookSynAck(direction) | Self::SentSyn(direction) => direction,
        }
    }
}

impl<K: Key> Record<K> {
    /// A connection that begins with `segment`, whose sender has the place `from` in the key.
    pub(super) fn new(key: K, from: Place, id: u64, segment: &Segment) -> Self {
        let opens = is_opening(segment.flags);
        Self {
            key,
            id,
            first: from,
            // Whether somebody listens at the other end shows when it answers.
            ends: [if opens { Endpoint::closed() } else { Endpoint::unknown() }, Endpoint::unknown()],
            first_at: segment.at,
            first_frame: segment.frame,
            first_adds: completeness(segment),
            completeness: if opens { SYN | if segment.len > 0 { DATA } else { 0 } } else { 0 },
            ..Self::default()
        }
    }

    /// Whether `segment` is a SYN that opens another connection between the same ends.
    pub(super) fn is_outlived_by(&self, from: Place, segment: &Segment) -> bool {
        is_opening(segment.flags) && self.conversation.is_outlived_by(from.direction(self.first), segment)
    }

    /// Takes a segment of the connection; `opened` holds the findings about its being the first one.
    pub(super) fn observe(&mut self, from: Place, segment: &Segment, opened: Option<&[Finding]>) -> Step {
        let direction = from.direction(self.first);
        let flags = segment.flags;
        if flags.contains(Flags::SYN) {
            self.settle_client(direction, flags);
        }
        let mut judged = self.conversation.observe(direction, segment);
        for finding in opened.unwrap_or_default() {
            judged.findings.insert(*finding);
        }
        let client = self.client.direction();
        self.history.observe(direction, client, segment, &judged);
        if opened.is_none() {
            self.completeness |= completeness(segment) | std::mem::take(&mut self.first_adds);
        }
        self.last_at = segment.at;
        self.last_frame = segment.frame;
        if self.is_octets_after_close(direction, segment, &judged) {
            judged.findings.insert(Finding::DataAfterClose);
        }
        if flags.intersects(Flags::FIN | Flags::RST) || self.closing.first_fin.is_some() {
            self.note_closing(direction, segment, &judged);
        }

        let sides = [side_of(direction, client), side_of(direction.reverse(), client)];
        let [sent, received] = self.move_ends(direction, segment, &judged);
        if !judged.findings.is_empty() {
            self.remark(direction, segment, &judged);
        }
        let step = |side: Side, step: Option<Move>| step.map(|step| (side, step));
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
            moves: [
                step(sides[0], sent[0]),
                step(sides[0], sent[1]),
                step(sides[1], received[0]),
                step(sides[1], received[1]),
            ],
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
        let octets = [streams[0].counts().octets, streams[1].counts().octets];
        let facts = verdict::Facts {
            streams,
            states,
            client,
            closing: self.closing,
            completeness: self.completeness,
            lasted: self.first_at.zip(self.last_at).map(|(first, last)| last.since(first)),
            midstream: !matches!(self.client, Client::SentSyn(_)) && streams[1].counts().syn == 0,
        };
        let ending = facts.ending();
        let end_of = |direction| match place(direction) {
            Place::Lower => ends[0],
            Place::Higher => ends[1],
        };
        Connection {
            id: ConnectionId(self.id),
            client: end_of(client),
            server: end_of(server),
            midstream: facts.midstream,
            first: self.first_at,
            last: self.last_at,
            first_frame: self.first_frame,
            last_frame: self.last_frame,
            completeness: self.completeness,
            conn_state: self.history.conn_state(client, octets),
            history: self.history.text(client),
            initial_rtt: self.conversation.initial_rtt(),
            client_state: states[0],
            server_state: states[1],
            closed_by: facts.closed_by(),
            ending,
            verdict: facts.verdict(),
            client_to_server: side_summary(streams[0]),
            server_to_client: side_summary(streams[1]),
            findings: self.findings(client),
            findings_omitted: self.remarks.as_ref().map_or(0, |remarks| remarks.omitted),
        }
    }

    fn stream(&self, direction: Direction) -> &Stream {
        self.conversation.stream(direction)
    }

    fn settle_client(&mut self, direction: Direction, flags: Flags) {
        let [lower, higher] = self.key.ends();
        // A socket connected to itself is both ends.
        if lower == higher {
            self.client = Client::SentSyn(Direction::First);
            return;
        }
        self.client = match (self.client, is_opening(flags)) {
            (Client::SentSyn(_), _) => return,
            (_, true) => Client::SentSyn(direction),
            (Client::SentFirst, false) => Client::TookSynAck(direction.reverse()),
            (Client::TookSynAck(_), false) => return,
        };
    }

    /// Runs both ends' machines: the sender did what the segment shows, the receiver got it.
    fn move_ends(&mut self, direction: Direction, segment: &Segment, judged: &Judgement) -> [Moves; 2] {
        let sender = direction as usize;
        let receiver = if self.is_with_itself() { sender } else { direction.reverse() as usize };
        let sent = self.ends[sender].sent(segment);
        let received = if judged.findings.contains(Finding::ResetOutOfWindow) {
            Moves::default()
        } else {
            self.ends[receiver].received(segment, judged.in_order)
        };
        [sent, received]
    }

    fn is_with_itself(&self) -> bool {
        let [lower, higher] = self.key.ends();
        lower == higher
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

    fn note_closing(&mut self, direction: Direction, segment: &Segment, judged: &Judgement) {
        let flags = segment.flags;
        let peer = direction.reverse();
        if flags.contains(Flags::RST) {
            if self.closing.reset.is_none()
                && !judged.findings.contains(Finding::ResetOutOfWindow)
                && let Some(kind) = self.reset_kind(direction)
            {
                let with_ack = flags.contains(Flags::ACK);
                self.closing.reset = Some(Reset { by: direction, kind, with_ack });
            }
            return;
        }
        if segment.len > 0 && self.stream(peer).fin_end().is_some() {
            self.closing.octets_after_fin[direction as usize] = true;
        }
        if !flags.contains(Flags::FIN) || self.stream(direction).counts().fin != 1 {
            return;
        }
        match self.closing.first_fin {
            None => self.closing.first_fin = Some(direction),
            Some(first) if first == peer => {
                let taken = self
                    .stream(peer)
                    .fin_end()
                    .is_some_and(|end| flags.contains(Flags::ACK) && !segment.ack.is_before(end));
                self.closing.crossed = !taken;
            }
            Some(_) => {}
        }
    }

    /// What a RST means here; `None` when nothing else was seen, or both ends had closed before.
    fn reset_kind(&self, direction: Direction) -> Option<ResetKind> {
        let (own, other) = (self.stream(direction), self.stream(direction.reverse()));
        let (sent, taken) = (own.counts(), other.counts());
        let others = (sent.segments - u64::from(sent.rst)) + (taken.segments - u64::from(taken.rst));
        if others == 0 || sent.fin > 0 && taken.fin > 0 {
            None
        } else if sent.syn == 0 && taken.syn > 0 && sent.segments == u64::from(sent.rst) && taken.octets == 0 {
            Some(ResetKind::Refusal)
        } else if self.completeness & (ACK | DATA) == 0 {
            Some(ResetKind::HalfOpen)
        } else if sent.fin > 0 && self.closing.octets_after_fin[direction.reverse() as usize] {
            Some(ResetKind::OctetsAfterClose)
        } else if sent.fin > 0 {
            Some(ResetKind::AfterOwnFin)
        } else if taken.fin > 0 {
            Some(ResetKind::AfterPeersFin)
        } else {
            Some(ResetKind::Abort)
        }
    }

    #[cold]
    fn remark(&mut self, direction: Direction, segment: &Segment, judged: &Judgement) {
        let remarks = self.remarks.get_or_insert_default();
        for finding in judged.findings.iter() {
            if remarks.kept.len() >= MOST_REMARKS {
                remarks.omitted += 1;
                continue;
            }
            let amount = match finding {
                Finding::DuplicateAck => i64::from(judged.duplicate),
                _ => judged.since_advance.map_or(-1, Span::as_nanos),
            };
            remarks.kept.push(Remark { finding, direction, frame: segment.frame, amount });
        }
    }

    fn findings(&self, client: Direction) -> Vec<FindingAt> {
        let Some(remarks) = &self.remarks else { return Vec::new() };
        let tell = |remark: &Remark| FindingAt {
            finding: remark.finding,
            frame: Some(remark.frame),
            side: side_of(remark.direction, client),
            note: verdict::note(remark.finding, remark.amount),
        };
        remarks.kept.iter().map(tell).collect()
    }
}

fn side_summary(stream: &Stream) -> SideSummary {
    let counts = stream.counts();
    let of = |finding| counts.of(finding);
    let round_trips = stream.round_trips();
    SideSummary {
        segments: counts.segments,
        octets: counts.octets,
        unique_octets: stream.unique_octets(),
        syn: counts.syn.into(),
        fin: counts.fin.into(),
        rst: counts.rst.into(),
        isn: stream.isn().map(|isn| isn.0),
        mss: stream.mss(),
        window_scale: stream.window_scale(),
        sack_permitted: stream.sack_permitted(),
        timestamps: stream.timestamps(),
        retransmissions: of(Finding::Retransmission)
            + of(Finding::FastRetransmission)
            + of(Finding::SpuriousRetransmission),
        fast_retransmissions: of(Finding::FastRetransmission),
        spurious_retransmissions: of(Finding::SpuriousRetransmission),
        out_of_order: of(Finding::OutOfOrder),
        duplicate_acks: of(Finding::DuplicateAck),
        lost_segments: of(Finding::LostSegment),
        acked_unseen: of(Finding::AckedUnseen),
        zero_windows: of(Finding::ZeroWindow),
        window_fulls: of(Finding::WindowFull),
        window_updates: of(Finding::WindowUpdate),
        keep_alives: of(Finding::KeepAlive),
        zero_window_probes: of(Finding::ZeroWindowProbe),
        rtt_min_ns: round_trips.map(|(shortest, _, _)| shortest.0),
        rtt_avg_ns: round_trips.map(|(_, mean, _)| mean.0),
        rtt_max_ns: round_trips.map(|(_, _, longest)| longest.0),
    }
}

/// A SYN without ACK.
fn is_opening(flags: Flags) -> bool {
    flags & (Flags::SYN | Flags::ACK) == Flags::SYN
}

/// What a segment adds to Wireshark's completeness, but for the SYN, which counts only as the first segment.
fn completeness(segment: &Segment) -> u8 {
    let flags = segment.flags;
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

/// How many findings of one connection are kept; the others are counted.
const MOST_REMARKS: usize = 100;

const SYN: u8 = 1;
const SYN_ACK: u8 = 2;
const ACK: u8 = 4;
const DATA: u8 = 8;
const FIN: u8 = 16;
const RST: u8 = 32;
