//! Puts calls, segments and the kernel's words of the chosen connections on one time line, each event with its cause.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::cause::{self, Causes, Found};
use super::matching::{self, CallIndex, Joined, Traces};
use super::timing::Stopwatch;
use super::{
    CallEvent, Cause, Event, EventId, EventKind, Observed, Phase, Remark, SegmentEvent, Story, TimerEvent, Trace,
    TransitionEvent,
};
use crate::calls::{Call, Effect, Errno, Op, SocketId, Threads};
use crate::flow::{Connection, ConnectionId, Detail, Disagreement, FindingAt, Range, Side, Totals};
use crate::kernel::{Evidence, TimerKind, Witness};
use crate::tcp::{Finding, FindingSet, Move, Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Segment, Tunnel};

/// Tells the story of `traces`: joins them with the calls and the kernel's answers, and orders everything by time.
///
/// Segments keep the order in which they were captured, whatever their timestamps say.
/// `connections` are the summaries of the same connections; disagreements between witnesses are added to their findings.
pub fn tell(
    traces: &[Trace],
    connections: Vec<Connection>,
    threads: Threads,
    mut calls: Vec<Call>,
    evidence: &[Evidence],
    totals: Totals,
) -> Story {
    calls.sort_by_key(|call| call.entered);
    let by_ends = Traces::new(traces);
    let joined = matching::join(&calls, &by_ends);
    let mut teller = Teller {
        calls: &calls,
        joined: &joined,
        traces: &by_ends,
        earliest: HashMap::new(),
        drafts: Vec::new(),
        paths: HashMap::new(),
        timers: HashMap::new(),
        connections,
        threads,
        totals,
    };
    teller.draft_calls();
    teller.draft_listeners();
    for trace in traces {
        teller.draft_segments(trace);
    }
    teller.end_time_waits(traces);
    teller.ask_tcp_info();
    teller.ask_sock_diag(evidence);
    teller.explain_binds(traces);
    teller.set_phases();
    teller.finish()
}

struct Teller<'a> {
    calls: &'a [Call],
    joined: &'a Joined,
    traces: &'a Traces<'a>,
    /// For each segment of a trace, the earliest time from it on; found when it is asked for.
    earliest: HashMap<ConnectionId, Vec<Option<Timestamp>>>,
    drafts: Vec<Draft>,
    paths: HashMap<EndKey, StatePath>,
    /// The TIME-WAIT timer of each end that has one.
    timers: HashMap<(ConnectionId, Side), usize>,
    connections: Vec<Connection>,
    threads: Threads,
    totals: Totals,
}

/// The first segment that came in another tunnel than the first one of its end.
fn strayed(trace: &Trace) -> Option<usize> {
    let mut first: [Option<&[Tunnel]>; 2] = [None; 2];
    trace.segments.iter().position(|observed| {
        let tunnel = &observed.tunnel[..];
        let first = *first[cause::slot(trace.sender(&observed.segment))].get_or_insert(tunnel);
        first.len() != tunnel.len() || first.iter().zip(tunnel).any(|(first, tunnel)| !first.is(tunnel))
    })
}

fn with(mut findings: FindingSet, finding: Finding) -> FindingSet {
    findings.insert(finding);
    findings
}

/// An event whose id is still its place in the list of drafts.
struct Draft {
    event: Event,
    /// Its place among the drafts sorts equal times; a call comes before a segment of the same time.
    order: (Option<Timestamp>, u64),
}

#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum EndKey {
    End(ConnectionId, Side),
    Listener(SocketId),
}

/// The states of one end as its machine passed through them.
#[derive(Default)]
struct StatePath {
    initial: Option<State>,
    /// When it entered each, which, and the draft that says so.
    steps: Vec<(Option<Timestamp>, State, usize)>,
}

impl StatePath {
    fn last(&self) -> Option<State> {
        self.steps.last().map(|(_, state, _)| *state).or(self.initial)
    }

    /// Finds the step that a witness's word fits; `Ok(None)` is the state before the first step, `Err` no fitting state.
    ///
    /// The word held at some moment from `asked` to `answered`; a segment may have been captured up to [`LAG`] before the kernel acted on it.
    fn fitting(
        &self,
        fits: impl Fn(State) -> bool,
        asked: Timestamp,
        answered: Timestamp,
    ) -> Result<Option<usize>, Option<State>> {
        let mut left = None;
        for (at, state, draft) in self.steps.iter().rev() {
            let entered = at.is_none_or(|at| at <= answered);
            let still = left.is_none_or(|left: Timestamp| left.after(LAG) >= asked);
            if !still {
                break;
            }
            if entered && fits(*state) {
                return Ok(Some(*draft));
            }
            left = at.or(left);
        }
        let still = left.is_none_or(|left| left.after(LAG) >= asked);
        match self.initial {
            Some(initial) if still && fits(initial) => Ok(None),
            // What an end was before it was first seen may be anything.
            None if still => Ok(None),
            _ => Err(self.at(answered)),
        }
    }

    fn at(&self, moment: Timestamp) -> Option<State> {
        let entered = self.steps.iter().rev().find(|(at, ..)| at.is_none_or(|at| at <= moment));
        entered.map(|(_, state, _)| *state).or(self.initial)
    }

    /// The draft of the step in effect at `moment`.
    fn draft_at(&self, moment: Timestamp) -> Option<usize> {
        self.steps.iter().rev().find(|(at, ..)| at.is_none_or(|at| at <= moment)).map(|(.., draft)| *draft)
    }
}

impl Teller<'_> {
    fn push(
        &mut self,
        order: (Option<Timestamp>, u64),
        at: Option<Timestamp>,
        connection: Option<ConnectionId>,
        kind: EventKind,
    ) -> usize {
        let index = self.drafts.len();
        let event = Event { id: EventId(index as u64), at, connection, phase: Phase::SetUp, kind };
        self.drafts.push(Draft { event, order });
        index
    }

    fn draft_calls(&mut self) {
        for (call, place) in self.calls.iter().zip(&self.joined.places) {
            let kind = EventKind::Call(Box::new(CallEvent {
                side: place.side,
                call: call.clone(),
                stream: place.stream,
                frames: Vec::new(),
                brought_by: Vec::new(),
                completed_by: None,
                remark: remark_on(call),
            }));
            self.push((Some(call.entered), 0), Some(call.entered), place.connection, kind);
        }
    }

    /// A connection that takes the 4-tuple of one in TIME-WAIT over has ended that state.
    fn end_time_waits(&mut self, traces: &[Trace]) {
        let mut waiting: HashMap<[SocketAddr; 2], (ConnectionId, Side)> = HashMap::new();
        let mut opening: HashMap<ConnectionId, usize> = HashMap::new();
        for (index, draft) in self.drafts.iter().enumerate() {
            if let (Some(connection), EventKind::Segment(_)) = (draft.event.connection, &draft.event.kind) {
                opening.entry(connection).or_insert(index);
            }
        }
        for trace in traces {
            let mut ends = [trace.client, trace.server];
            ends.sort_unstable();
            let opened = trace.segments.first().filter(|first| first.segment.flags.contains(Flags::SYN));
            if let (Some(first), Some((earlier, side))) = (opened, waiting.remove(&ends)) {
                let at = first.segment.at;
                self.draft_move(
                    earlier,
                    side,
                    (Some(State::TimeWait), State::Closed, Rule::TimeWaitReused),
                    (at, first.segment.frame),
                    at,
                    opening.get(&trace.id).copied().unwrap_or_default(),
                );
            }
            for side in [Side::Client, Side::Server] {
                if self.paths.get(&EndKey::End(trace.id, side)).and_then(StatePath::last) == Some(State::TimeWait) {
                    waiting.insert(ends, (trace.id, side));
                }
            }
        }
    }

    /// Listening sockets have no segments: their two transitions are what `listen` and `close` did.
    fn draft_listeners(&mut self) {
        for (index, call) in self.calls.iter().enumerate() {
            let Some(socket) = call.socket().filter(|_| call.errno().is_none() && call.returned.is_some()) else {
                continue;
            };
            let listening = self.paths.get(&EndKey::Listener(socket)).and_then(StatePath::last) == Some(State::Listen);
            let (from, to, rule) = match call.effect() {
                Effect::Listen if !listening => (State::Closed, State::Listen, Rule::PassiveOpen),
                Effect::Close | Effect::Exit if listening => (State::Listen, State::Closed, Rule::ListenerClosed),
                _ => continue,
            };
            let transition = TransitionEvent {
                side: Side::Server,
                from: Some(from),
                to,
                cause: Some(EventId(index as u64)),
                rule,
                evidence: Vec::new(),
                disagreement: None,
            };
            let draft = self.push((call.returned_at(), 0), call.returned_at(), None, EventKind::Transition(transition));
            let path = self.paths.entry(EndKey::Listener(socket)).or_default();
            path.initial.get_or_insert(from);
            path.steps.push((call.returned_at(), to, draft));
        }
    }

    fn draft_segments(&mut self, trace: &Trace) {
        let mut causes = Causes::new(trace, self.calls, self.joined);
        let mut stopwatch = Stopwatch::default();
        let strayed = strayed(trace);
        let mut drafts: Vec<usize> = Vec::with_capacity(trace.segments.len());
        let mut latest: Option<Timestamp> = None;
        let mut syn = None;
        let crossed = [Side::Client, Side::Server].map(|side| crossed_fin(trace, side));
        for (index, observed) in trace.segments.iter().enumerate() {
            let segment = observed.segment;
            let from = trace.sender(&segment);
            let found = causes.of(index);
            latest = latest.max(segment.at);
            let order = (latest, segment.frame);
            let closing = found.calls.iter().copied().find(|call| matching::closes(&self.calls[*call]));
            let connect = found.calls.iter().copied().find(|call| self.calls[*call].effect() == Effect::Connect);
            self.join_writers(&found, &segment);
            self.join_readers(trace, from, observed.step.stream, &segment);
            let kind = EventKind::Segment(Box::new(SegmentEvent {
                from,
                segment,
                seq: observed.step.seq,
                ack: observed.step.ack,
                window: observed.step.window,
                stream: observed.step.stream,
                findings: match strayed {
                    Some(place) if place == index => with(observed.step.findings, Finding::OtherTunnel),
                    _ => observed.step.findings,
                },
                timing: stopwatch.measure(from, &segment, observed.step.findings),
                cause: Cause {
                    calls: found.calls.iter().map(|call| EventId(*call as u64)).collect(),
                    kernel: found.kernel,
                    of: found.of.map(|of| EventId(drafts[of] as u64)),
                    evidence: found.evidence(segment.flags),
                    why: found.why,
                    unwatched: found.unwatched,
                },
                preview: observed.preview.clone(),
                tunnel: observed.tunnel.clone(),
            }));
            let draft = self.push(order, segment.at, Some(trace.id), kind);
            drafts.push(draft);
            if segment.flags.contains(Flags::SYN) && !segment.flags.contains(Flags::ACK) {
                syn.get_or_insert(draft);
            }
            let moves = observed.step.moves.into_iter().flatten();
            for (side, step) in moves.flat_map(|(side, step)| {
                corrected(step, crossed[cause::slot(side)]).into_iter().flatten().map(move |step| (side, step))
            }) {
                let call = match step.rule {
                    Rule::ActiveOpen => connect,
                    Rule::CloseSent | Rule::CloseAnswered | Rule::Aborted => closing,
                    _ => None,
                };
                let caused_by = match (call, step.rule) {
                    (Some(call), _) => call,
                    (None, Rule::SynTaken) => syn.unwrap_or(draft),
                    (None, Rule::FinsCrossed) => {
                        let passed = crossed[cause::slot(side)].and_then(|fin| drafts.get(fin).copied());
                        passed.unwrap_or(draft)
                    }
                    (None, _) => draft,
                };
                // A shutdown enters the state at once, though the FIN waits behind the octets in the send buffer.
                let early = call
                    .and_then(|call| self.calls[call].returned_at())
                    .filter(|returned| Some(*returned) < segment.at);
                let path = self.paths.get(&EndKey::End(trace.id, side));
                let settled = path.and_then(|path| path.steps.last()).and_then(|(at, ..)| *at);
                let early = early.filter(|early| settled.is_none_or(|settled| settled < *early));
                self.draft_move(
                    trace.id,
                    side,
                    (step.from, step.to, step.rule),
                    early.map_or(order, |early| (Some(early), 0)),
                    early.or(segment.at),
                    caused_by,
                );
            }
        }
        self.complete_control(trace, &drafts);
        if let Some(place) = strayed {
            self.tell_strayed(trace, place);
        }
    }

    /// Says in which tunnels an end's segments came; it goes before the other findings, which it puts in doubt.
    fn tell_strayed(&mut self, trace: &Trace, place: usize) {
        let strayed = &trace.segments[place];
        let side = trace.sender(&strayed.segment);
        let first = trace.segments.iter().find(|observed| trace.sender(&observed.segment) == side);
        let before = first.map(|first| first.tunnel.clone()).unwrap_or_default();
        let detail = Detail::Tunnels(Box::new([strayed.tunnel.clone(), before]));
        let finding = FindingAt { finding: Finding::OtherTunnel, frame: Some(strayed.segment.frame), side, detail };
        if let Ok(place) = self.connections.binary_search_by_key(&trace.id, |connection| connection.id) {
            self.connections[place].findings.insert(0, finding);
        }
    }

    fn draft_move(
        &mut self,
        connection: ConnectionId,
        side: Side,
        (from, to, rule): (Option<State>, State, Rule),
        order: (Option<Timestamp>, u64),
        at: Option<Timestamp>,
        caused_by: usize,
    ) {
        let transition = TransitionEvent {
            side,
            from,
            to,
            cause: Some(EventId(caused_by as u64)),
            rule,
            evidence: vec![Witness::Segments],
            disagreement: None,
        };
        let draft = self.push(order, at, Some(connection), EventKind::Transition(transition));
        let path = self.paths.entry(EndKey::End(connection, side)).or_default();
        if path.steps.is_empty() {
            path.initial = from;
        }
        path.steps.push((order.0, to, draft));
    }

    /// Tells the calls that put this segment on the wire that they did.
    fn join_writers(&mut self, found: &Found, segment: &Segment) {
        for &call in &found.calls {
            // Reading made room for a window update, but did not write it.
            if self.calls[call].effect() != Effect::Receive {
                self.call_event(call).frames.push(segment.frame);
            }
        }
    }

    /// Tells the receives that got octets from this segment which frame brought them.
    fn join_readers(&mut self, trace: &Trace, from: Side, stream: Option<Range>, segment: &Segment) {
        let (Some(range), Some(end)) = (stream, self.joined.ends.get(&(trace.id, from.peer()))) else { return };
        for call in end.readers(range).collect::<Vec<_>>() {
            let in_time = match (self.calls[call].returned_at(), segment.at) {
                (Some(returned), Some(at)) => at <= returned,
                _ => true,
            };
            let wanted = self.joined.places[call].stream.map(|stream| stream.from);
            let event = self.call_event(call);
            if in_time {
                event.brought_by.push(segment.frame);
                if wanted.is_some_and(|wanted| range.from <= wanted && wanted < range.to) {
                    event.completed_by.get_or_insert(segment.frame);
                }
            }
        }
    }

    /// Finds what let each connect, accept and last receive return.
    fn complete_control(&mut self, trace: &Trace, drafts: &[usize]) {
        debug_assert_eq!(drafts.len(), trace.segments.len());
        for side in [Side::Client, Side::Server] {
            let Some(end) = self.joined.ends.get(&(trace.id, side)) else { continue };
            let answers = Answers::of(trace, side.peer());
            for &index in &end.all {
                let call = &self.calls[index];
                let failed = call.errno().is_some();
                let answer = match call.effect() {
                    Effect::Connect if failed => answers.reset,
                    Effect::Connect => answers.syn,
                    Effect::Accept => answers.ack,
                    Effect::Receive if call.result() == Some(0) => answers.fin,
                    Effect::Receive | Effect::Send
                        if matches!(call.errno(), Some(Errno::ECONNRESET | Errno::EPIPE | Errno::ECONNABORTED)) =>
                    {
                        answers.reset
                    }
                    _ => None,
                };
                let completed = answer.and_then(|answer| answer.by(call.returned_at()));
                let Some(segment) = completed else { continue };
                let entered = call.entered;
                let is_accept = call.effect() == Effect::Accept;
                let is_end = call.effect() == Effect::Receive && call.result() == Some(0);
                let event = self.call_event(index);
                event.completed_by.get_or_insert(segment.frame);
                if is_accept && segment.at.is_some_and(|at| at < entered) {
                    event.remark = Some(Remark::HandshakeWasComplete);
                }
                if is_end {
                    event.remark = Some(Remark::PeerClosed { frame: segment.frame });
                }
            }
        }
    }

    fn call_event(&mut self, call: CallIndex) -> &mut CallEvent {
        match &mut self.drafts[call].event.kind {
            EventKind::Call(event) => event,
            _ => unreachable!("calls are drafted first, one draft each"),
        }
    }

    fn transition(&mut self, draft: usize) -> &mut TransitionEvent {
        match &mut self.drafts[draft].event.kind {
            EventKind::Transition(event) => event,
            _ => unreachable!("a path names drafts of transitions only"),
        }
    }

    /// Holds what TCP_INFO said after each call against the machine of that end.
    fn ask_tcp_info(&mut self) {
        for (index, call) in self.calls.iter().enumerate() {
            let Some(info) = call.info() else { continue };
            let place = self.joined.places[index];
            let key = match (place.connection, place.side, call.socket()) {
                (Some(connection), Some(side), _) => EndKey::End(connection, side),
                (_, _, Some(socket)) => EndKey::Listener(socket),
                _ => continue,
            };
            let name = std::borrow::Cow::Owned(call.name().to_owned());
            let said = Said { by: Witness::TcpInfo, state: Some(info.state), after: Some(&name) };
            self.testify(key, said, |state| state == info.state, (info.asked, info.answered));
        }
    }

    /// Holds sock_diag's answers against the machines; shows the TIME-WAIT timer, and the moment its socket went.
    fn ask_sock_diag(&mut self, evidence: &[Evidence]) {
        let mut listeners: HashMap<SocketAddr, Vec<CallIndex>> = HashMap::new();
        for (index, call) in self.calls.iter().enumerate() {
            if let (Effect::Listen, Some(local)) = (call.effect(), call.local()) {
                listeners.entry(local).or_default().push(index);
            }
        }
        let mut answers: Vec<&Evidence> = evidence.iter().collect();
        answers.sort_by_key(|answer| answer.answered);
        for answer in answers {
            let Some((key, connection, side)) = self.place_of(answer, &listeners) else { continue };
            let Some((connection, side)) = connection.zip(side) else {
                let said = Said { by: Witness::SockDiag, state: answer.state, after: None };
                let fits = |state| state == answer.state.unwrap_or(State::Closed);
                self.testify(key, said, fits, (answer.asked, answer.answered));
                continue;
            };
            let timer = self.timers.get(&(connection, side)).copied();
            if answer.state.is_none()
                && timer.is_some()
                && self.paths.get(&key).and_then(StatePath::last) == Some(State::TimeWait)
            {
                let order = (Some(answer.answered), u64::MAX);
                self.draft_move(
                    connection,
                    side,
                    (Some(State::TimeWait), State::Closed, Rule::TimeWaitOver),
                    order,
                    Some(answer.answered),
                    timer.unwrap_or_default(),
                );
                let last = self.drafts.len() - 1;
                self.transition(last).evidence = vec![Witness::SockDiag];
                continue;
            }
            let fits = |state: State| match answer.state {
                Some(said) => state == said,
                // A 4-tuple without a socket: closed, or back at the listening socket, which has no 4-tuple.
                None => matches!(state, State::Closed | State::Listen),
            };
            let said = Said { by: Witness::SockDiag, state: answer.state, after: None };
            self.testify(key, said, fits, (answer.asked, answer.answered));
            let running = answer
                .timer
                .filter(|running| running.kind == TimerKind::TimeWait && answer.state == Some(State::TimeWait));
            if let Some(running) = running.filter(|_| timer.is_none()) {
                let closing = self.closing_call(connection, side);
                let kind = EventKind::Timer(TimerEvent {
                    side,
                    kind: running.kind,
                    remaining: running.remaining,
                    cause: closing.map(|call| EventId(call as u64)),
                    owner: closing.map(|call| self.calls[call].thread()),
                });
                let draft = self.push((Some(answer.answered), u64::MAX), Some(answer.answered), Some(connection), kind);
                self.timers.insert((connection, side), draft);
            }
        }
    }

    /// The end that an answer is about; `listeners` are the calls that listened on each address.
    fn place_of(
        &self,
        answer: &Evidence,
        listeners: &HashMap<SocketAddr, Vec<CallIndex>>,
    ) -> Option<(EndKey, Option<ConnectionId>, Option<Side>)> {
        if answer.peer.port() == 0 {
            let listens = listeners.get(&answer.local)?;
            let before = listens.partition_point(|call| self.calls[*call].entered <= answer.answered);
            let listener = self.calls[*listens[..before].last()?].socket()?;
            return Some((EndKey::Listener(listener), None, None));
        }
        let found = |client, server, side| {
            self.traces.latest(client, server, Some(answer.answered)).map(|trace| (trace.id, side))
        };
        let client = found(answer.local, answer.peer, Side::Client);
        let server = found(answer.peer, answer.local, Side::Server);
        let (id, side) = match (client, server) {
            // A connection of a socket to itself has one end.
            (Some(client), Some(server)) => {
                if client.0 >= server.0 {
                    client
                } else {
                    server
                }
            }
            (client, server) => client.or(server)?,
        };
        Some((EndKey::End(id, side), Some(id), Some(side)))
    }

    fn closing_call(&self, connection: ConnectionId, side: Side) -> Option<CallIndex> {
        self.joined.ends.get(&(connection, side))?.closings.first().copied()
    }

    /// Adds a witness to the transition that its word confirms, or the disagreement to the one it contradicts.
    fn testify(
        &mut self,
        key: EndKey,
        said: Said<'_>,
        fits: impl Fn(State) -> bool,
        (asked, answered): (Timestamp, Timestamp),
    ) {
        let Some(path) = self.paths.get(&key) else { return };
        match path.fitting(fits, asked, answered) {
            Ok(None) => {}
            Ok(Some(draft)) => {
                let evidence = &mut self.transition(draft).evidence;
                if let Err(place) = evidence.binary_search(&said.by) {
                    evidence.insert(place, said.by);
                }
            }
            Err(state) => {
                let after = said.after.cloned();
                let disagreement = Disagreement { witness: said.by, said: said.state, segments: state, after };
                if let Some(draft) = path.draft_at(answered) {
                    self.transition(draft).disagreement.get_or_insert(disagreement.clone());
                }
                if let EndKey::End(id, side) = key {
                    self.disagree(id, side, disagreement, answered);
                }
            }
        }
    }

    fn disagree(&mut self, id: ConnectionId, side: Side, disagreement: Disagreement, answered: Timestamp) {
        let frame = self.traces.of(id).and_then(|trace| {
            let earliest = self.earliest.entry(id).or_insert_with(|| earliest_from(trace));
            let before = earliest.partition_point(|at| *at <= Some(answered));
            trace.segments[..before].last().map(|observed| observed.segment.frame)
        });
        if let Ok(place) = self.connections.binary_search_by_key(&id, |connection| connection.id) {
            let detail = Detail::Disagreement(Box::new(disagreement));
            let finding = FindingAt { finding: Finding::StateDisagreement, frame, side, detail };
            self.connections[place].findings.push(finding);
        }
    }

    /// When which ends were in TIME-WAIT, by side and port, in the order in which they entered it.
    fn waits(&self, traces: &[Trace]) -> HashMap<(Side, u16), Vec<Wait>> {
        let mut waits: HashMap<_, Vec<Wait>> = HashMap::new();
        for (trace, side) in traces.iter().flat_map(|trace| [(trace, Side::Client), (trace, Side::Server)]) {
            let Some(path) = self.paths.get(&EndKey::End(trace.id, side)) else { continue };
            let port = if side == Side::Client { trace.client.port() } else { trace.server.port() };
            for (index, (begun, state, _)) in path.steps.iter().enumerate() {
                if *state == State::TimeWait {
                    let over = path.steps.get(index + 1).and_then(|(at, ..)| *at);
                    waits.entry((side, port)).or_default().push(Wait { begun: *begun, longest: (over, trace.id) });
                }
            }
        }
        for list in waits.values_mut() {
            list.sort_by_key(|wait| wait.begun);
            for index in 1..list.len() {
                let before = list[index - 1].longest;
                let is_longer = match (before.0, list[index].longest.0) {
                    (Some(before), Some(over)) => before > over,
                    (None, Some(_)) => true,
                    (_, None) => false,
                };
                if is_longer {
                    list[index].longest = before;
                }
            }
        }
        waits
    }

    /// Says of a bind that failed with EADDRINUSE which connection in TIME-WAIT held the port.
    fn explain_binds(&mut self, traces: &[Trace]) {
        let mut waits = None;
        for (index, call) in self.calls.iter().enumerate() {
            if call.effect() != Effect::Bind || call.errno() != Some(Errno::EADDRINUSE) {
                continue;
            }
            let Op::Bind { address: Some(asked) } = call.op else { continue };
            let waits = waits.get_or_insert_with(|| self.waits(traces));
            let holder = [Side::Server, Side::Client].into_iter().find_map(|side| {
                let waits = waits.get(&(side, asked.port()))?;
                let begun = waits.partition_point(|wait| wait.begun <= Some(call.entered));
                let longest = waits[..begun].last()?.longest;
                longest.0.is_none_or(|over| over > call.entered).then_some((longest.1, side))
            });
            if let Some((id, side)) = holder {
                self.call_event(index).remark = Some(Remark::PortHeld { port: asked.port(), connection: id, side });
            }
        }
    }

    fn set_phases(&mut self) {
        let mut bounds: HashMap<ConnectionId, Bounds> = HashMap::new();
        for draft in &self.drafts {
            if let Some(connection) = draft.event.connection {
                bounds.entry(connection).or_default().see(draft, self.calls);
            }
        }
        let all = bounds.values().copied().reduce(Bounds::around);
        for index in 0..self.drafts.len() {
            let draft = &self.drafts[index];
            let bounds = match draft.event.connection {
                Some(connection) => bounds.get(&connection).copied(),
                None => all,
            };
            let is_call = matches!(draft.event.kind, EventKind::Call(_));
            let phase = bounds.map_or(Phase::SetUp, |bounds| bounds.phase(draft.order, is_call));
            self.drafts[index].event.phase = phase;
        }
    }

    /// Orders the drafts by time and gives them their ids.
    fn finish(self) -> Story {
        let mut order: Vec<usize> = (0..self.drafts.len()).collect();
        let first = self.drafts.iter().filter_map(|draft| draft.order.0).min();
        order.sort_by_key(|&index| {
            let (at, frame) = self.drafts[index].order;
            (at.or(first), frame, index)
        });
        let mut ids = vec![EventId(0); order.len()];
        for (id, &draft) in order.iter().enumerate() {
            ids[draft] = EventId(id as u64);
        }
        let renamed = |id: EventId| ids[id.0 as usize];
        let mut events: Vec<Event> = self.drafts.into_iter().map(|draft| draft.event).collect();
        for event in &mut events {
            event.id = renamed(event.id);
            match &mut event.kind {
                EventKind::Call(_) => {}
                EventKind::Segment(segment) => {
                    segment.cause.calls.iter_mut().for_each(|id| *id = renamed(*id));
                    segment.cause.calls.sort_unstable();
                    segment.cause.of = segment.cause.of.map(renamed);
                }
                EventKind::Transition(transition) => transition.cause = transition.cause.map(renamed),
                EventKind::Timer(timer) => timer.cause = timer.cause.map(renamed),
            }
        }
        events.sort_by_key(|event| event.id);
        Story { events, connections: self.connections, threads: self.threads, totals: self.totals }
    }
}

/// A stay in TIME-WAIT.
struct Wait {
    begun: Option<Timestamp>,
    /// Of the stays that began by then, the end of the one that lasts longest (`None`: no end was seen), and its connection.
    longest: (Option<Timestamp>, ConnectionId),
}

/// The first segments of one end that let calls of the other return.
#[derive(Default)]
struct Answers<'a> {
    reset: Option<Answer<'a>>,
    syn: Option<Answer<'a>>,
    /// That acknowledges, and is no SYN-ACK.
    ack: Option<Answer<'a>>,
    fin: Option<Answer<'a>>,
}

#[derive(Clone, Copy)]
struct Answer<'a> {
    segment: &'a Segment,
    /// The latest time of the trace so far.
    latest: Option<Timestamp>,
}

impl<'a> Answers<'a> {
    fn of(trace: &'a Trace, from: Side) -> Self {
        let mut answers = Self::default();
        let mut latest = None;
        for Observed { segment, .. } in &trace.segments {
            latest = latest.max(segment.at);
            if trace.sender(segment) != from {
                continue;
            }
            let has = |flag| segment.flags.contains(flag);
            let wanted = [
                (&mut answers.reset, has(Flags::RST)),
                (&mut answers.syn, has(Flags::SYN)),
                (&mut answers.ack, has(Flags::ACK) && !has(Flags::SYN)),
                (&mut answers.fin, has(Flags::FIN)),
            ];
            for (answer, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
                answer.get_or_insert(Answer { segment, latest });
            }
        }
        answers
    }
}

impl<'a> Answer<'a> {
    /// The segment, if it was captured before a call returned.
    fn by(self, returned: Option<Timestamp>) -> Option<&'a Segment> {
        returned.is_none_or(|returned| self.latest <= Some(returned)).then_some(self.segment)
    }
}

/// The first moments of the phases of one connection.
#[derive(Clone, Copy, Default)]
struct Bounds {
    handshake: Option<Mark>,
    data: Option<Mark>,
    teardown: Option<Mark>,
    time_wait: Option<Mark>,
}

/// A moment for calls, and the place in the order of everything else.
#[derive(Clone, Copy)]
struct Mark {
    call: Option<Timestamp>,
    order: (Option<Timestamp>, u64),
}

impl Bounds {
    /// Takes in the next of the connection's drafts.
    fn see(&mut self, draft: &Draft, calls: &[Call]) {
        let (at, frame) = draft.order;
        let event = match &draft.event.kind {
            EventKind::Segment(event) => event,
            EventKind::Timer(_) => {
                self.time_wait = self.time_wait.or(Some(Mark { call: at, order: (at, frame) }));
                return;
            }
            _ => return,
        };
        let cause = |wanted: &dyn Fn(&Call) -> bool| {
            let mut asked = event.cause.calls.iter().map(|id| &calls[id.0 as usize]);
            asked.find(|call| wanted(call)).map(|call| call.entered)
        };
        let flags = event.segment.flags;
        if self.handshake.is_none() {
            let connect = cause(&|call| call.effect() == Effect::Connect);
            self.handshake = Some(Mark { call: connect.or(at), order: (at, frame) });
            if !flags.contains(Flags::SYN) {
                self.data = self.handshake;
            }
        }
        let ends_handshake = !flags.contains(Flags::SYN) && event.stream.is_none() && self.data.is_none();
        if ends_handshake {
            // The ACK that ends the handshake still belongs to it.
            self.data = Some(Mark { call: at, order: (at, frame + 1) });
        } else if event.stream.is_some() && !flags.contains(Flags::SYN) {
            self.data = self.data.or(Some(Mark { call: at, order: (at, frame) }));
        }
        if flags.intersects(Flags::FIN | Flags::RST) && self.teardown.is_none() {
            let closing = cause(&|call| matching::closes(call));
            self.teardown = Some(Mark {
                call: closing.or(at),
                order: (closing.or(at).min(at), if closing.is_some() { 0 } else { frame }),
            });
        }
    }

    fn phase(self, order: (Option<Timestamp>, u64), is_call: bool) -> Phase {
        let reached = |mark: Option<Mark>| {
            mark.is_some_and(|mark| if is_call { order.0 >= mark.call } else { order >= mark.order })
        };
        let later = [
            (self.time_wait, Phase::TimeWait),
            (self.teardown, Phase::Teardown),
            (self.data, Phase::Data),
            (self.handshake, Phase::Handshake),
        ];
        later.into_iter().find(|(mark, _)| reached(*mark)).map_or(Phase::SetUp, |(_, phase)| phase)
    }

    /// The bounds of several connections told as one: the first handshake, the last teardown.
    fn around(self, other: Self) -> Self {
        let pick = |a: Option<Mark>, b: Option<Mark>, later: bool| match (a, b) {
            (Some(a), Some(b)) => Some(if (a.order < b.order) == later { b } else { a }),
            (a, b) => a.or(b),
        };
        Self {
            handshake: pick(self.handshake, other.handshake, false),
            data: pick(self.data, other.data, false),
            teardown: pick(self.teardown, other.teardown, true),
            time_wait: pick(self.time_wait, other.time_wait, true),
        }
    }
}

/// For each segment of a trace, the earliest time from it on: so ascending, whatever the timestamps do.
fn earliest_from(trace: &Trace) -> Vec<Option<Timestamp>> {
    let mut earliest: Vec<_> = trace.segments.iter().map(|observed| observed.segment.at).collect();
    for index in (1..earliest.len()).rev() {
        earliest[index - 1] = earliest[index - 1].min(earliest[index]);
    }
    earliest
}

/// The segment with the peer's FIN, where the FIN that this end sent later shows that it had not arrived yet.
fn crossed_fin(trace: &Trace, side: Side) -> Option<usize> {
    let of_side = |observed: &Observed| {
        let moves = observed.step.moves;
        moves.into_iter().flatten().filter(move |(moved, _)| *moved == side).map(|(_, step)| step).collect::<Vec<_>>()
    };
    let taken = trace.segments.iter().position(|observed| {
        of_side(observed).iter().any(|step| step.rule == Rule::FinTaken && step.from == Some(State::Established))
    })?;
    let crossed = |step: &Move| step.rule == Rule::FinsCrossed && step.from == Some(State::CloseWait);
    trace.segments[taken..].iter().any(|observed| of_side(observed).iter().any(crossed)).then_some(taken)
}

/// A step of the machine as it is told: what the machine learnt too late is told as if it had known.
///
/// It runs as the segments pass, so a FIN that had not arrived when the end sent its own has moved it to CLOSE-WAIT before that shows.
fn corrected(step: Move, crossed: Option<usize>) -> [Option<Move>; 2] {
    let (established, closing) = (Some(State::Established), Some(State::FinWait1));
    match (crossed, step.rule, step.from) {
        (Some(_), Rule::FinTaken, _) => [None, None],
        (Some(_), Rule::FinsCrossed, Some(State::CloseWait)) => [
            Some(Move { from: established, to: State::FinWait1, rule: Rule::CloseSent }),
            Some(Move { from: closing, ..step }),
        ],
        _ => [Some(step), None],
    }
}

/// What is worth saying of a call by itself.
fn remark_on(call: &Call) -> Option<Remark> {
    Some(match (call.effect(), call.errno(), call.result()) {
        (Effect::Listen, None, _) => Remark::KernelAnswersSyns,
        (Effect::Send, None, Some(0)) => Remark::EmptySend,
        (Effect::CloseCopy, None, _) => Remark::CopiesRemain,
        (Effect::ShutdownRead, None, _) => Remark::OnlyReadingEnds,
        (Effect::LingerZero, None, _) => Remark::NextCloseResets,
        (Effect::Bind, Some(Errno::EADDRINUSE), _) => Remark::PortTaken,
        (Effect::Connect, Some(Errno::ECONNREFUSED), _) => Remark::Refused,
        (Effect::Connect, Some(Errno::ETIMEDOUT), _) => Remark::SynUnanswered,
        (Effect::Connect, Some(Errno::EINPROGRESS), _) => Remark::HandshakeGoesOn,
        (Effect::Send, Some(Errno::EPIPE), _) => Remark::ClosedForSending,
        (Effect::Receive | Effect::Send, Some(Errno::ECONNRESET), _) => Remark::PeerReset,
        (Effect::Receive | Effect::Send | Effect::Accept, Some(Errno::EAGAIN), _) => Remark::WouldBlock,
        _ => return None,
    })
}

/// A witness's word for the state of an end.
struct Said<'a> {
    by: Witness,
    /// `None`: there is no such socket.
    state: Option<State>,
    /// The call after which it was asked.
    after: Option<&'a std::borrow::Cow<'static, str>>,
}

/// How long after a segment's capture the kernel may take to act on it: a loaded machine runs its softirqs late.
const LAG: Span = Span::from_millis(100);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::script::{lines, stories, story};
    use super::super::{Join, Why};
    use super::*;
    use crate::wire::TunnelKind;

    fn check(script: &str, expected: &str) {
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines(&story(script)), expected);
    }

    const SET_UP: &str = "
        1..2 server socket 4
        3..4 server bind 0
        5..6 server listen 0 in LISTEN
        10..35 server accept 5 in ESTABLISHED
        12..13 client socket 3 in CLOSED
        15..34 client connect 0 in ESTABLISHED
        20 < S 0(0)
        22 > S. 0(0) ack 1
        24 < . 1(0) ack 1
    ";

    // ---- a whole life --------------------------------------------------------------------------------------------

    #[test]
    fn an_echo_is_told_from_socket_to_time_wait() {
        check(
            &format!(
                "{SET_UP}
                36..60 server recv 10 in ESTABLISHED
                40..45 client send 10 in ESTABLISHED
                42 < P. 1(10) ack 1
                43 > . 1(0) ack 11
                46..80 client recv 10 in ESTABLISHED
                62..66 server send 10 in ESTABLISHED
                64 > P. 1(10) ack 11
                65 < . 11(0) ack 11
                67..95 server recv 0 in CLOSE-WAIT
                85..90 client close 0
                87 < F. 11(0) ack 11
                88 > . 11(0) ack 12
                96..100 server close 0
                97 > F. 11(0) ack 12
                98 < . 12(0) ack 12
                105 diag client TIME-WAIT 60000
                106 diag server none
                110..111 server unlisten 0
                60000105 diag client none
                "
            ),
            "
            0 server socket
            1 server bind
            2 server listen
            3 server CLOSED>LISTEN of 2
            4 server accept done by 3
            5 client socket
            6 client connect sent [1] done by 2
            7 #1 SYN by [6]
            8 client CLOSED>SYN-SENT of 6
            9 #2 SYN,ACK kernel handshake of 7
            10 server LISTEN>SYN-RECEIVED of 7
            11 client SYN-SENT>ESTABLISHED of 9 [Segments, TcpInfo]
            12 #3 ACK kernel handshake of 9
            13 server SYN-RECEIVED>ESTABLISHED of 12 [Segments, TcpInfo]
            14 server recv [0,10) got [4] done by 4
            15 client send [0,10) sent [4]
            16 #4 PSH,ACK by [15]
            17 #5 ACK kernel ack of 16
            18 client recv [0,10) got [6] done by 6
            19 server send [0,10) sent [6]
            20 #6 PSH,ACK by [19]
            21 #7 ACK kernel ack of 20
            22 server recv done by 8
            23 client close sent [8]
            24 #8 FIN,ACK by [23]
            25 client ESTABLISHED>FIN-WAIT-1 of 23
            26 server ESTABLISHED>CLOSE-WAIT of 24 [Segments, TcpInfo]
            27 #9 ACK kernel ack of 24
            28 client FIN-WAIT-1>FIN-WAIT-2 of 27
            29 server close sent [10]
            30 #10 FIN,ACK by [29]
            31 server CLOSE-WAIT>LAST-ACK of 29
            32 client FIN-WAIT-2>TIME-WAIT of 30 [Segments, SockDiag]
            33 #11 ACK kernel ack of 30
            34 server LAST-ACK>CLOSED of 33 [Segments, SockDiag]
            35 client timer of 23
            36 server unlisten
            37 server LISTEN>CLOSED of 36
            38 client TIME-WAIT>CLOSED of 35
            ",
        );
    }

    /// The lines from the first that a script of its own adds to an open connection.
    fn opened(script: &str, expected: &str) {
        let story = story(&format!("{SET_UP}{script}"));
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines(&story)[14..], expected);
    }

    // ---- data: many to many --------------------------------------------------------------------------------------

    #[test]
    fn two_sends_share_a_segment_and_one_recv_takes_parts_of_both() {
        opened(
            "
            40..41 client send 4
            42..43 client send 6
            44 < P. 1(10) ack 1
            46..47 server recv 7
            48..49 server recv 3
            ",
            "
            14 client send [0,4) sent [4]
            15 client send [4,10) sent [4]
            16 #4 PSH,ACK by [14, 15]
            17 server recv [0,7) got [4] done by 4
            18 server recv [7,10) got [4] done by 4
            ",
        );
    }

    #[test]
    fn one_send_takes_many_segments_and_many_receives() {
        opened(
            "
            40..50 client send 25
            41 < . 1(10) ack 1
            42 < . 11(10) ack 1
            43 > . 1(0) ack 21
            60 < P. 21(5) ack 1
            70..71 server recv 15
            72..73 server recv 10
            ",
            "
            14 client send [0,25) sent [4, 5, 7]
            15 #4 ACK by [14]
            16 #5 ACK by [14]
            17 #6 ACK kernel ack of 16
            18 #7 PSH,ACK by [14]
            19 server recv [0,15) got [4, 5] done by 4
            20 server recv [15,25) got [5, 7] done by 5
            ",
        );
    }

    #[test]
    fn octets_sent_again_join_the_same_send() {
        opened(
            "
            40..50 client send 10
            41 < P. 1(10) ack 1
            250041 < P. 1(10) ack 1 retransmission
            250042 > . 1(0) ack 11
            ",
            "
            14 client send [0,10) sent [4, 5]
            15 #4 PSH,ACK by [14]
            16 #5 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
            17 #6 ACK kernel ack of 16
            ",
        );
    }

    // ---- endings -------------------------------------------------------------------------------------------------

    #[test]
    fn a_close_with_unread_octets_resets() {
        opened(
            "
            40..45 client send 10
            42 < P. 1(10) ack 1
            43 > . 1(0) ack 11
            50..55 server recv 4
            60..65 server close 0
            62 > R. 1(0) ack 11
            70..71 client recv -ECONNRESET
            ",
            "
            14 client send [0,10) sent [4]
            15 #4 PSH,ACK by [14]
            16 #5 ACK kernel ack of 15
            17 server recv [0,4) got [4] done by 4
            18 server close sent [6]
            19 #6 RST,ACK by [18]
            20 server ESTABLISHED>CLOSED of 18
            21 client ESTABLISHED>CLOSED of 19
            22 client recv done by 6
            ",
        );
        let story = story(&format!(
            "{SET_UP} 40..45 client send 10\n 42 < P. 1(10) ack 1\n 50..55 server recv 4\n 60..65 server close 0\n 62 > R. 1(0) ack 11"
        ));
        let note = story.events.iter().find_map(|event| match &event.kind {
            EventKind::Segment(segment) if segment.segment.flags.contains(Flags::RST) => segment.cause.why,
            _ => None,
        });
        assert_eq!(note, Some(Why::Unread(6)), "four of ten were read");
    }

    #[test]
    fn octets_for_a_closed_socket_are_answered_by_the_kernel_with_a_reset() {
        opened(
            "
            40..41 client close 0
            41 < F. 1(0) ack 1
            42 > . 1(0) ack 2
            50..51 server send 5
            51 > P. 1(5) ack 2
            52 < R 2(0)
            60..61 server send -EPIPE
            ",
            "
            14 client close sent [4]
            15 #4 FIN,ACK by [14]
            16 client ESTABLISHED>FIN-WAIT-1 of 14
            17 server ESTABLISHED>CLOSE-WAIT of 15
            18 #5 ACK kernel ack of 15
            19 client FIN-WAIT-1>FIN-WAIT-2 of 18
            20 server send [0,5) sent [6]
            21 #6 PSH,ACK by [20]
            22 #7 RST kernel reset of 21
            23 client FIN-WAIT-2>CLOSED of 22
            24 server CLOSE-WAIT>CLOSED of 22
            25 server send done by 7
            ",
        );
    }

    #[test]
    fn a_refused_connect_is_joined_by_its_interval_though_its_port_is_gone() {
        check(
            "
            1..2 client socket 3
            5..15 client connect -ECONNREFUSED in CLOSED
            7 < S 0(0)
            8 > R. 0(0) ack 1
            ",
            "
            0 client socket
            1 client connect sent [1] done by 2
            2 #1 SYN by [1]
            3 client CLOSED>SYN-SENT of 1
            4 #2 RST,ACK kernel reset of 2
            5 server ?>CLOSED of 4
            6 client SYN-SENT>CLOSED of 4 [Segments, TcpInfo]
            ",
        );
    }

    #[test]
    fn a_shutdown_enters_its_state_though_the_fin_waits_behind_the_octets() {
        opened(
            "
            40..42 client send 10
            43..44 client shutdown 0 in FIN-WAIT-1
            60 < P. 1(10) ack 1
            61 < F. 11(0) ack 1
            ",
            "
            14 client send [0,10) sent [4]
            15 client shutdown sent [5]
            16 client ESTABLISHED>FIN-WAIT-1 of 15 [Segments, TcpInfo]
            17 #4 PSH,ACK by [14]
            18 #5 FIN,ACK by [15]
            19 server ESTABLISHED>CLOSE-WAIT of 18
            ",
        );
    }

    #[test]
    fn fins_that_cross_are_told_as_they_were_though_the_first_passed_before() {
        opened(
            "
            40..41 client shutdown 0
            40 < F. 1(0) ack 1
            41..45 server shutdown 0
            42 > F. 1(0) ack 1
            50 < . 2(0) ack 2
            51 > . 2(0) ack 2
            ",
            "
            14 client shutdown sent [4]
            15 #4 FIN,ACK by [14]
            16 client ESTABLISHED>FIN-WAIT-1 of 14
            17 server shutdown sent [5]
            18 #5 FIN,ACK by [17]
            19 server ESTABLISHED>FIN-WAIT-1 of 17
            20 server FIN-WAIT-1>CLOSING of 15
            21 client FIN-WAIT-1>CLOSING of 18
            22 #6 ACK kernel ack of 18
            23 server CLOSING>TIME-WAIT of 22
            24 #7 ACK kernel ack of 15
            25 client CLOSING>TIME-WAIT of 24
            ",
        );
    }

    // ---- lifetimes -----------------------------------------------------------------------------------------------

    /// Two connections of one socket or one id are told apart; `ports` are the clients' of the two.
    fn told_apart(script: &str, ports: [u16; 2], expected: &str) {
        let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
        assert_eq!(lines(&stories(script, ports)), expected);
    }

    #[test]
    fn a_socket_that_was_refused_and_connects_again_has_a_second_connection() {
        told_apart(
            "
            1..2 client socket 3
            5..15 client connect -ECONNREFUSED
            7 < S 0(0)
            8 > R. 0(0) ack 1
            ----
            25..35 client connect 0
            27 < S 0(0)
            28 > S. 0(0) ack 1
            29 < . 1(0) ack 1
            40..45 client send 10
            42 < P. 1(10) ack 1
            50..55 client close 0
            52 < F. 11(0) ack 1
            ",
            [50_000, 50_001],
            "
            0 client socket
            1 client connect sent [1] done by 2
            2 #1 SYN by [1]
            3 client CLOSED>SYN-SENT of 1
            4 #2 RST,ACK kernel reset of 2
            5 server ?>CLOSED of 4
            6 client SYN-SENT>CLOSED of 4
            7 client connect sent [3] done by 4
            8 #3 SYN by [7]
            9 client CLOSED>SYN-SENT of 7
            10 #4 SYN,ACK kernel handshake of 8
            11 server LISTEN>SYN-RECEIVED of 8
            12 client SYN-SENT>ESTABLISHED of 10
            13 #5 ACK kernel handshake of 10
            14 server SYN-RECEIVED>ESTABLISHED of 13
            15 client send [0,10) sent [6]
            16 #6 PSH,ACK by [15]
            17 client close sent [7]
            18 #7 FIN,ACK by [17]
            19 client ESTABLISHED>FIN-WAIT-1 of 17
            20 server ESTABLISHED>CLOSE-WAIT of 18
            ",
        );
    }

    #[test]
    fn an_id_used_again_writes_nothing_to_the_connection_before() {
        let once = |at: u64| {
            "@1..@2 client socket 3
             @3..@7 client connect 0
             @4 < S 0(0)
             @5 > S. 0(0) ack 1
             @6 < . 1(0) ack 1
             @8..@9 client send 10
             @8 < P. 1(10) ack 1"
                .replace('@', &at.to_string())
        };
        let script = format!("{}\n20..21 client close 0\n20 < F. 11(0) ack 1\n----\n{}", once(1), once(3));
        let story = stories(&script, [50_000, 50_001]);
        let told = lines(&story);
        let sends: Vec<_> = told.iter().filter(|line| line.contains("client send")).collect();
        assert!(sends[0].ends_with("[0,10) sent [4]"), "{sends:?}");
        assert!(sends[1].ends_with("[0,10) sent [9]"), "the second socket's octets begin at 0 again: {sends:?}");
        let connects: Vec<_> = told.iter().filter(|line| line.contains("client connect")).collect();
        assert!(
            connects[0].ends_with("sent [1] done by 2") && connects[1].ends_with("sent [6] done by 7"),
            "{connects:?}"
        );
    }

    // ---- what the kernel does by itself --------------------------------------------------------------------------

    #[test]
    fn syns_that_cross_are_answered_not_sent_again() {
        check(
            "
            0 < S 0(0)
            10 > S 0(0)
            20 < S. 0(0) ack 1
            30 > S. 0(0) ack 1
            40 < . 1(0) ack 1 window_update
            50 > . 1(0) ack 1 window_update
            1000050 > S. 0(0) ack 1
            ",
            "
            0 #1 SYN kernel unknown inferred
            1 client CLOSED>SYN-SENT of 0
            2 #2 SYN kernel unknown inferred
            3 server CLOSED>SYN-SENT of 2
            4 client SYN-SENT>SYN-RECEIVED of 2
            5 #3 SYN,ACK kernel handshake of 2
            6 server SYN-SENT>ESTABLISHED of 5
            7 #4 SYN,ACK kernel handshake of 0
            8 client SYN-RECEIVED>ESTABLISHED of 7
            9 #5 ACK kernel handshake of 7
            10 #6 ACK kernel handshake of 5
            11 #7 SYN,ACK kernel retransmission_timeout of 7 inferred
            ",
        );
    }

    #[test]
    fn an_acknowledgement_from_far_away_is_not_delayed() {
        check(
            "
            0 < S 0(0)
            80000 > S. 0(0) ack 1
            80001 < . 1(0) ack 1
            80010 < P. 1(5) ack 1
            160020 > . 1(0) ack 6
            160030 < P. 6(5) ack 1
            280040 > . 1(0) ack 11
            ",
            "
            0 #1 SYN kernel unknown inferred
            1 client CLOSED>SYN-SENT of 0
            2 #2 SYN,ACK kernel handshake of 0
            3 server LISTEN>SYN-RECEIVED of 0
            4 client SYN-SENT>ESTABLISHED of 2
            5 #3 ACK kernel handshake of 2
            6 server SYN-RECEIVED>ESTABLISHED of 5
            7 #4 PSH,ACK kernel unknown inferred
            8 #5 ACK kernel ack of 7
            9 #6 PSH,ACK kernel unknown inferred
            10 #7 ACK kernel delayed_ack of 9 inferred
            ",
        );
    }

    #[test]
    fn the_tail_is_probed_once_and_then_the_timeout_doubles() {
        opened(
            "
            40..45 client send 10
            41 < P. 1(10) ack 1
            247041 < P. 1(10) ack 1 retransmission
            495041 < P. 1(10) ack 1 retransmission
            1000041 < P. 1(10) ack 1 retransmission
            ",
            "
            14 client send [0,10) sent [4, 5, 6, 7]
            15 #4 PSH,ACK by [14]
            16 #5 PSH,ACK by [14] kernel tail_loss_probe of 15 inferred
            17 #6 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
            18 #7 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
            ",
        );
    }

    #[test]
    fn keep_alives_without_an_answer_end_in_a_reset_of_the_kernel() {
        opened(
            "
            1000000 < . 0(0) ack 1 keep_alive
            1000001 > . 1(0) ack 1 keep_alive_ack
            2000000 < . 0(0) ack 1 keep_alive
            3000000 < . 0(0) ack 1 keep_alive
            4000000 < R. 1(0) ack 1
            ",
            "
            14 #4 ACK kernel keep_alive of 12 inferred
            15 #5 ACK kernel ack of 14
            16 #6 ACK kernel keep_alive of 14 inferred
            17 #7 ACK kernel keep_alive of 16 inferred
            18 #8 RST,ACK kernel keep_alive of 17 inferred
            19 client ESTABLISHED>CLOSED of 18
            20 server ESTABLISHED>CLOSED of 18
            ",
        );
    }

    // ---- witnesses that disagree ---------------------------------------------------------------------------------

    #[test]
    fn a_word_of_the_kernel_that_fits_no_state_is_shown() {
        opened(
            "
            40..45 client send 10 in CLOSING
            42 < P. 1(10) ack 1
            ",
            "
            14 client send [0,10) sent [4]
            15 #4 PSH,ACK by [14]
            ",
        );
        let story = story(&format!("{SET_UP} 40..45 client send 10 in CLOSING\n 42 < P. 1(10) ack 1"));
        assert_eq!(story.connections[0].findings[0].finding, Finding::StateDisagreement);
        assert_eq!(story.connections[0].findings[0].frame, Some(4));
    }

    // ---- tunnels -------------------------------------------------------------------------------------------------

    #[test]
    fn another_tunnel_is_told_once_and_before_other_findings() {
        let one = "0 < S 0(0) vni:7\n 1 > S. 0(0) ack 1 vni:9\n 2 < . 1(0) ack 1 vni:7\n";
        assert_eq!(story(one).connections[0].findings, [], "each direction may have an identifier of its own");
        let mixed = story(&format!("{one} 3 < . 1(0) ack 1 vni:8\n 4 > . 1(0) ack 1\n 5 < . 1(0) ack 1 vni:8"));
        let [finding] = &mixed.connections[0].findings[..] else { panic!("{:?}", mixed.connections[0].findings) };
        assert_eq!((finding.finding, finding.frame, finding.side), (Finding::OtherTunnel, Some(4), Side::Client));
        let vxlan = |id| Tunnel { kind: TunnelKind::Vxlan, id: Some(id), ends: None };
        assert_eq!(finding.detail, Detail::Tunnels(Box::new([[vxlan(8)].into(), [vxlan(7)].into()])));
        let marked = mixed.events.iter().filter_map(|event| match &event.kind {
            EventKind::Segment(segment) if segment.findings.contains(Finding::OtherTunnel) => Some(segment),
            _ => None,
        });
        let marked: Vec<_> = marked.map(|segment| (segment.segment.frame, segment.tunnel[0].id)).collect();
        assert_eq!(marked, [(4, Some(8))]);
    }

    #[test]
    fn from_segments_alone_what_a_number_joins_is_plain_and_the_rest_inferred() {
        check(
            "
            7 < S 0(0)
            8 > S. 0(0) ack 1
            9 < . 1(0) ack 1
            10 < P. 1(5) ack 1
            50011 > . 1(0) ack 6
            ",
            "
            0 #1 SYN kernel unknown inferred
            1 client CLOSED>SYN-SENT of 0
            2 #2 SYN,ACK kernel handshake of 0
            3 server LISTEN>SYN-RECEIVED of 0
            4 client SYN-SENT>ESTABLISHED of 2
            5 #3 ACK kernel handshake of 2
            6 server SYN-RECEIVED>ESTABLISHED of 5
            7 #4 PSH,ACK kernel unknown inferred
            8 #5 ACK kernel delayed_ack of 7 inferred
            ",
        );
    }

    proptest! {
        /// However the octets are cut into sends, segments and receives, each join holds exactly the octets that both its ends hold.
        #[test]
        fn joins_conserve_octets(
            sends in proptest::collection::vec(1u64..50, 1..20),
            segments in proptest::collection::vec(1u64..50, 1..60),
            receives in proptest::collection::vec(1u64..50, 1..60),
        ) {
            let total: u64 = sends.iter().sum();
            let mut script = SET_UP.to_owned();
            let mut at = 1000;
            let mut line = |text: String| {
                at += 10;
                script += &format!("{}\n", text.replace("FROM", &at.to_string()).replace("TO", &(at + 5).to_string()));
            };
            for octets in &sends {
                line(format!("FROM..TO client send {octets}"));
            }
            let cut = |sizes: &[u64]| {
                let mut left = total;
                let mut parts: Vec<u64> = Vec::new();
                for size in sizes.iter().cycle() {
                    let part = left.min(*size);
                    if part == 0 {
                        return parts;
                    }
                    parts.push(part);
                    left -= part;
                }
                parts
            };
            let mut seq = 1;
            for octets in cut(&segments) {
                line(format!("FROM < P. {seq}({octets}) ack 1"));
                seq += octets;
            }
            for octets in cut(&receives) {
                line(format!("FROM..TO server recv {octets}"));
            }
            let story = story(&script);
            let range = |id: EventId| match &story[id].kind {
                EventKind::Call(call) => call.stream,
                EventKind::Segment(segment) => segment.stream,
                _ => None,
            };
            for rule in [Join::Octets, Join::Delivery] {
                let joined: u64 = story
                    .edges()
                    .iter()
                    .filter(|edge| edge.rule == rule)
                    .map(|edge| {
                        let (cause, effect) = (range(edge.cause).expect("octets"), range(edge.effect).expect("octets"));
                        effect.to.min(cause.to) - effect.from.max(cause.from)
                    })
                    .sum();
                prop_assert_eq!(joined, total, "{:?}", rule);
            }
        }
    }
}
