//! How what is kept of a connection becomes its summary.

use super::{Client, Key, KeySide, Record};
use crate::flow::problem::{self, Problem, ProblemKind};
use crate::flow::trouble::{Counts, Trouble, in_both_directions};
use crate::flow::verdict::{self, ResetKind, Verdict};
use crate::flow::{Connection, ConnectionId, Ending, FindingAt, SideSummary};
use crate::tcp::{Direction, Finding, State, Stream};
use crate::time::Timestamp;

impl<K: Key> Record<K> {
    /// The connection as it is told when no segment can follow.
    pub(in crate::flow) fn summary(&self) -> Connection {
        self.summary_at(None)
    }

    /// The connection as it is told while segments may follow, at this time, if it is known.
    pub(in crate::flow) fn summary_at(&self, now: Option<Timestamp>) -> Connection {
        let client = self.client.direction();
        let server = client.reverse();
        let ends = self.key.ends();
        let place = |direction| if direction == Direction::First { self.first } else { self.first.other() };
        let facts = self.facts();
        let (streams, mut states) = (facts.streams, facts.states);
        let octets = streams.map(Stream::octets);
        let ending = facts.ending();
        let verdict = facts.verdict();
        if let Verdict::CloseUnseen { by: Some(by), of, .. } = verdict {
            // What is missing may have closed it.
            states[of as usize] = states[of as usize].filter(|state| *state != State::CloseWait);
            states[by as usize] = states[by as usize].filter(|state| *state != State::FinWait2);
        }
        // Of an end of which nothing was captured nobody knows where it is, whatever was sent to it.
        for (state, stream) in states.iter_mut().zip(streams) {
            *state = state.filter(|_| stream.segments() > 0 || facts.is_one_end);
        }
        let trouble = self.trouble.as_deref();
        let icmp = trouble.and_then(|trouble| trouble.icmp.as_deref().copied());
        let counts = trouble.map(Trouble::counts);
        let problem = self.problem(&facts, ending, &verdict, now);
        let verdict = match (verdict, problem.as_deref()) {
            (Verdict::Reset { by, .. }, Some(Problem { kind: ProblemKind::ForgedReset, side, .. })) if by == *side => {
                Verdict::Reset { by, kind: ResetKind::Forged }
            }
            (verdict, _) => verdict,
        };
        // A RST that ended nothing is no ending for Zeek's word either.
        let was_reset =
            facts.closing.reset.is_some() || matches!(verdict, Verdict::OnlyResets | Verdict::OnlySynsWithReset);
        // Nor is a FIN that did not count, of an end that is open.
        let is_open = |state| matches!(state, Some(State::Established | State::CloseWait));
        let went_on = [is_open(facts.states[0]), is_open(facts.states[1])];
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
            conn_state: self.history.conn_state(client, octets, was_reset, went_on),
            history: self.history.letters(client),
            initial_rtt: self.conversation.initial_rtt(),
            client_state: states[0],
            server_state: states[1],
            client_state_basis: states[0].map(|_| self.ends[client as usize].basis()),
            server_state_basis: states[1].map(|_| self.ends[server as usize].basis()),
            roles_basis: self.client.basis(),
            // A RST that no end sent was no end's decision, and of one direction nobody knows whose FIN was first.
            closed_by: facts.closed_by().filter(|_| {
                !matches!(
                    verdict,
                    Verdict::Reset { kind: ResetKind::Forged, .. } | Verdict::OneDirection { reset: false, .. }
                )
            }),
            ending,
            verdict,
            problem,
            icmp,
            client_to_server: self.side_summary(client, counts.as_ref()),
            server_to_client: self.side_summary(server, counts.as_ref()),
            findings: self.findings(client),
            findings_omitted: self.omitted(),
            breakdown: None,
            finding_counts: counts.as_ref().and_then(in_both_directions),
        }
    }

    /// What the verdict rests on.
    pub(super) fn facts(&self) -> verdict::Facts<'_> {
        let client = self.client.direction();
        let server = client.reverse();
        let streams = [self.stream(client), self.stream(server)];
        verdict::Facts {
            streams,
            states: [self.ends[client as usize].state(), self.ends[server as usize].state()],
            closed: [client, server].map(|direction| self.ends[direction as usize].sent_fin()),
            client,
            closing: self.closing,
            completeness: self.completeness,
            lasted: self.first_at.zip(self.last_at()).map(|(first, last)| last.since(first)),
            is_one_end: self.key.is_one_end(),
            midstream: streams.iter().all(|stream| stream.isn().is_none()),
            copies: self.trouble.as_ref().map_or(0, |trouble| trouble.count(Finding::CapturedTwice, client).into()),
            damaged: self.trouble.as_ref().map_or(0, |trouble| trouble.count(Finding::BadChecksum, server).into()),
        }
    }

    /// What hurt it most, as it stands `now`, where that time is known.
    pub(super) fn problem(
        &self,
        facts: &verdict::Facts<'_>,
        ending: Ending,
        verdict: &Verdict,
        now: Option<Timestamp>,
    ) -> Option<Box<Problem>> {
        let trouble = self.trouble.as_deref();
        let settled = trouble.and_then(|trouble| trouble.problem.as_ref());
        if facts.is_one_end || settled.is_some() {
            return settled.cloned();
        }
        let symptoms = trouble.and_then(|trouble| trouble.symptoms.as_deref());
        let quiet = now.zip(self.last_at()).map(|(now, last)| now.since(last));
        if symptoms.is_none() && quiet.is_none() {
            return None;
        }
        let evidence = problem::Evidence {
            symptoms,
            streams: facts.streams,
            client: facts.client,
            icmp: trouble.and_then(|trouble| trouble.icmp.as_ref()).map(|icmp| icmp.last),
            last: self.last_at(),
            quiet,
            spoke: self.spoke,
            is_open: *verdict == Verdict::Established,
            is_answered: !matches!(ending, Ending::Unanswered | Ending::Refused),
            is_reset: ending == Ending::Reset,
            lasted: facts.lasted,
            knows_roles: self.client != Client::SentFirst || !facts.midstream,
        };
        evidence.problem().map(Box::new)
    }

    fn findings(&self, client: Direction) -> Vec<FindingAt> {
        self.trouble.as_ref().map_or_else(Vec::new, |trouble| trouble.findings(client))
    }

    fn side_summary(&self, direction: Direction, counts: Option<&Counts>) -> SideSummary {
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
        let (Some(trouble), Some(counts)) = (&self.trouble, counts) else { return summary };
        let of = |finding| u64::from(counts[direction as usize][finding as usize]);
        let [syn, fin, rst] = trouble.rounds(direction).map(u64::from);
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
