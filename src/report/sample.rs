//! Stories for the tests of the tellers, told event by event with the numbers of real runs over loopback.

use std::net::SocketAddr;

use crate::calls::{
    Arg, Call, CallId, Domain, Effect, MessageFlags, Op, OptionName, OptionValue, Process, Protocol, Receiving,
    Returned, Role, Sending, SocketFlags, SocketId, SocketOption, SocketType, SocketUse, Thread, ThreadId,
};
use crate::flow::{
    Closer, ConnState, Connection, ConnectionId, Disagreement, Ending, Left, Range, ResetKind, RolesBasis, Side,
    SideSummary, Verdict,
};
use crate::kernel::{TimerKind, Witness};
use crate::story::{
    CallEvent, Cause, Event, EventId, EventKind, Evidence, Join, Lookup, Mechanism, Phase, Remark, SegmentEvent, Story,
    TimerEvent, Timing, TransitionEvent, Why,
};
use crate::tcp::{Basis, Finding, FindingSet, Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Options, Segment, Seq};

/// The call that is shown as `name(argument, …)` without the descriptor.
fn op(shown: &str, effect: Effect) -> Op {
    let (name, args) = shown.trim_end_matches(')').split_once('(').expect("name(arguments)");
    let args: Vec<&str> = args.split(", ").collect();
    let address = || args[0].parse().ok();
    let len = || args[0].parse().expect("octets");
    let flags = || if args[1] == "0" { MessageFlags::empty() } else { MessageFlags::MSG_NOSIGNAL };
    match effect {
        Effect::Open => Op::Socket {
            domain: Domain::AF_INET,
            r#type: SocketType::SOCK_STREAM,
            flags: SocketFlags::empty(),
            protocol: Protocol::IPPROTO_IP,
        },
        Effect::Option => {
            Op::SetOption { option: OptionName::Socket(SocketOption::SO_REUSEADDR), value: OptionValue::Int(1) }
        }
        Effect::Bind => Op::Bind { address: address() },
        Effect::Listen => Op::Listen { backlog: args[0].parse().expect("backlog") },
        Effect::Accept => Op::Accept { flags: None, room: None },
        Effect::Connect => Op::Connect { address: address() },
        Effect::Send => Op::Send { by: Sending::Send, len: Some(len()), flags: flags() },
        Effect::Receive => Op::Receive { by: Receiving::Recv, len: Some(len()), flags: flags() },
        Effect::Close => Op::Close,
        _ => Op::Other {
            name: name.to_owned().into(),
            args: args.iter().map(|arg| ("arg".into(), Arg::Text((*arg).to_owned().into()))).collect(),
        },
    }
}

/// Builds a story; moments are in microseconds since its beginning.
pub(super) struct Teller {
    pub(super) story: Story,
    pub(super) phase: Phase,
    pub(super) connection: Option<ConnectionId>,
    frame: u64,
}

impl Teller {
    pub(super) fn new() -> Self {
        let mut story = Story::default();
        let process = story.threads.add_process(Process { pid: 4711, comm: "tcpflow".to_owned() });
        for (comm, tid) in [("echo-client", 4712), ("echo-server", 4713)] {
            story.threads.add(Thread { process, tid, comm: comm.to_owned() });
        }
        Self { story, phase: Phase::SetUp, connection: None, frame: 0 }
    }

    /// Has a process with that pid make the call.
    pub(super) fn made_by(&mut self, call: EventId, pid: u32) {
        let threads = &mut self.story.threads;
        let process = threads
            .process_with(pid)
            .unwrap_or_else(|| threads.add_process(Process { pid, comm: "tcpflow".to_owned() }));
        let thread = threads.add(Thread { process, tid: pid, comm: "tcpflow".to_owned() });
        self.call_mut(call).call.id.thread = thread;
    }

    fn push(&mut self, at: Timestamp, kind: EventKind) -> EventId {
        let id = EventId(self.story.events.len() as u64);
        self.story.events.push(Event { id, at: Some(at), connection: self.connection, phase: self.phase, kind });
        id
    }

    /// A call from `entered` to `returned`; `shown` is `name(argument, …)` without the descriptor.
    pub(super) fn call(
        &mut self,
        (entered, returned): (i64, i64),
        side: Side,
        shown: &str,
        effect: Effect,
        fd: i32,
        result: i64,
    ) -> EventId {
        let op = op(shown, effect);
        let role = match effect {
            Effect::Open => Role::Made,
            Effect::Close => Role::Released,
            _ => Role::On,
        };
        let mut sockets = vec![SocketUse::of(SocketId(fd as u64), fd, role)];
        if effect == Effect::Accept {
            sockets.push(SocketUse::of(SocketId(result as u64), result as i32, Role::Made));
        }
        let moves = matches!(effect, Effect::Send | Effect::Receive);
        let returned = Returned {
            at: moment(returned),
            result: Ok(result),
            octets: moves.then_some(result as u64),
            preview: if moves && result > 0 { PAYLOAD[..result as usize].to_vec() } else { Vec::new() },
        };
        let id = CallId { thread: ThreadId(side as u32), n: self.story.events.len() as u64 };
        let call =
            Call { id, entered: moment(entered), op, sockets, returned: Some(returned), stack: Default::default() };
        let side = self.connection.map(|_| side);
        let event = CallEvent {
            side,
            call,
            stream: None,
            sent: Vec::new(),
            brought_by: Vec::new(),
            completed_by: None,
            remark: None,
        };
        self.push(moment(entered), EventKind::Call(Box::new(event)))
    }

    pub(super) fn call_mut(&mut self, id: EventId) -> &mut CallEvent {
        match &mut self.story.events[id.0 as usize].kind {
            EventKind::Call(call) => call,
            other => panic!("not a call: {other:?}"),
        }
    }

    /// The next segment: flags, relative seq and ack, octets, and the cause.
    pub(super) fn segment(
        &mut self,
        at: i64,
        from: Side,
        flags: Flags,
        (seq, ack, len): (i64, i64, usize),
        cause: Cause,
    ) -> EventId {
        self.frame += 1;
        let (src, dst) = match from {
            Side::Client => (CLIENT, SERVER),
            Side::Server => (SERVER, CLIENT),
        };
        let (src, dst): (SocketAddr, SocketAddr) = (src.parse().unwrap(), dst.parse().unwrap());
        let options = if flags.contains(Flags::SYN) {
            Options { mss: Some(65_495), window_scale: Some(7), ..Options::default() }
        } else {
            Options::default()
        };
        let segment = Segment {
            at: Some(moment(at)),
            frame: self.frame,
            src: src.ip(),
            dst: dst.ip(),
            src_port: src.port(),
            dst_port: dst.port(),
            seq: Seq(seq as u32),
            ack: Seq(ack as u32),
            flags,
            window: 512,
            urgent: 0,
            len: len as u32,
            checksum: 0,
            ip_id: None,
            ttl: 64,
            oddities: crate::wire::Oddities::default(),
            options,
        };
        let event = SegmentEvent {
            from,
            segment,
            seq,
            ack: flags.contains(Flags::ACK).then_some(ack),
            window: 65_536,
            stream: (len > 0).then(|| Range::of(seq as u64 - 1, len as u64)),
            findings: FindingSet::default(),
            timing: Timing::default(),
            cause,
            fate: None,
            seen: crate::capture::SeenAt::default(),
            sense: crate::story::Sense::Passes,
            passage: Vec::new(),
            preview: PAYLOAD[..len.min(PAYLOAD.len())].to_vec(),
            tunnel: Box::default(),
        };
        self.push(moment(at), EventKind::Segment(Box::new(event)))
    }

    /// The segment in that frame.
    fn in_frame(&self, frame: u64) -> EventId {
        let is_it = |event: &&Event| self.story.frame_of(event.id) == Some(frame);
        self.story.events.iter().find(is_it).expect("a segment").id
    }

    pub(super) fn segment_mut(&mut self, id: EventId) -> &mut SegmentEvent {
        match &mut self.story.events[id.0 as usize].kind {
            EventKind::Segment(segment) => segment,
            other => panic!("not a segment: {other:?}"),
        }
    }

    pub(super) fn moved(
        &mut self,
        at: i64,
        side: Side,
        (from, to): (State, State),
        cause: EventId,
        evidence: &[Witness],
    ) -> EventId {
        let rule = if from == State::TimeWait { Rule::TimeWaitOver } else { Rule::Reset };
        self.went(at, side, (from, to), rule, cause, evidence)
    }

    /// The same, by a rule that is named.
    pub(super) fn went(
        &mut self,
        at: i64,
        side: Side,
        (from, to): (State, State),
        rule: Rule,
        cause: EventId,
        evidence: &[Witness],
    ) -> EventId {
        let event = TransitionEvent {
            side,
            from: Some(from),
            to,
            cause: Some(cause),
            rule,
            evidence: evidence.to_vec(),
            disagreement: None,
        };
        self.push(moment(at), EventKind::Transition(event))
    }

    pub(super) fn disagree(&mut self, id: EventId, said: Disagreement) {
        match &mut self.story.events[id.0 as usize].kind {
            EventKind::Transition(transition) => transition.disagreement = Some(said),
            other => panic!("not a transition: {other:?}"),
        }
    }

    pub(super) fn time_wait(&mut self, at: i64, side: Side, remaining: i64, cause: EventId) -> EventId {
        let timer = TimerEvent {
            side,
            kind: TimerKind::TimeWait,
            remaining: Span::from_millis(remaining),
            cause: Some(cause),
            owner: Some(ThreadId(0)),
        };
        self.push(moment(at), EventKind::Timer(timer))
    }

    /// Adds the connection's summary, counted from what was told of it.
    pub(super) fn summed_up(mut self, ending: Ending, closed_by: Option<Closer>, verdict: Verdict) -> Story {
        let id = self.connection.unwrap_or(ConnectionId(0));
        let mut sides = [SideSummary::default(), SideSummary::default()];
        let mut ends = (None, None);
        for event in &self.story.events {
            if let EventKind::Segment(segment) = &event.kind
                && event.connection == Some(id)
            {
                let side = &mut sides[segment.from as usize];
                side.segments += 1;
                side.octets += u64::from(segment.segment.len);
                side.retransmissions += u64::from(segment.findings.contains(Finding::Retransmission));
                ends = (ends.0.or(event.at), event.at);
            }
        }
        let [client_to_server, server_to_client] = sides;
        self.story.connections.push(Connection {
            id,
            client: CLIENT.parse().unwrap(),
            server: SERVER.parse().unwrap(),
            midstream: false,
            first: ends.0,
            last: ends.1,
            first_frame: 1,
            last_frame: self.frame,
            completeness: 31,
            conn_state: ConnState::Sf,
            history: "ShADadFf".into(),
            initial_rtt: Some(Span(41_000)),
            client_state_basis: Some(Basis::Sent),
            server_state_basis: None,
            roles_basis: RolesBasis::Syn,
            problem: None,
            icmp: None,
            client_state: Some(State::TimeWait),
            server_state: Some(State::Closed),
            closed_by,
            ending,
            verdict,
            client_to_server,
            server_to_client,
            findings: Vec::new(),
            findings_omitted: 0,
            breakdown: None,
            finding_counts: None,
        });
        self.story.totals.frames = self.frame;
        self.story.totals.segments = self.frame;
        self.story.totals.connections = self.story.connections.len() as u64;
        self.story
    }
}

/// Sent because of calls.
pub(super) fn by(calls: &[EventId]) -> Cause {
    let evidence = Evidence::Joined(Join::Octets);
    Cause { calls: calls.to_vec(), kernel: None, of: None, link: None, evidence, why: None, unwatched: false }
}

/// Sent by the kernel, on account of a segment.
pub(super) fn kernel(mechanism: Mechanism, of: EventId) -> Cause {
    let rule = Join::Kernel(mechanism);
    let evidence = if mechanism.is_joined() { Evidence::Joined(rule) } else { Evidence::Inferred(rule) };
    Cause { kernel: Some(mechanism), of: Some(of), evidence, ..by(&[]) }
}

/// An echo of `helloworld` over loopback; the client closes first.
pub(super) fn echo() -> Story {
    use Side::{Client, Server};
    use State::{CloseWait, Closed, Established, FinWait1, FinWait2, LastAck, Listen, SynReceived, SynSent, TimeWait};
    use Witness::{Segments, SockDiag, TcpInfo};
    let syn_ack = Flags::SYN | Flags::ACK;
    let psh_ack = Flags::PSH | Flags::ACK;
    let fin_ack = Flags::FIN | Flags::ACK;
    let both = [Segments, TcpInfo];
    let mut t = Teller::new();

    t.call((0, 9), Server, "socket(AF_INET, SOCK_STREAM, IPPROTO_IP)", Effect::Open, 3, 3);
    t.call((14, 16), Server, "setsockopt(SOL_SOCKET, SO_REUSEADDR, [1], 4)", Effect::Option, 3, 0);
    t.call((20, 24), Server, "bind(127.0.0.1:8888, 16)", Effect::Bind, 3, 0);
    let listen = t.call((28, 41), Server, "listen(5)", Effect::Listen, 3, 0);
    t.call_mut(listen).remark = Some(Remark::KernelAnswersSyns);
    t.moved(41, Server, (Closed, Listen), listen, &[TcpInfo]);
    t.connection = Some(ConnectionId(0));
    let accept = t.call((47, 238), Server, "accept(127.0.0.1:50634, [16])", Effect::Accept, 3, 5);
    t.call((112, 118), Client, "socket(AF_INET, SOCK_STREAM, IPPROTO_IP)", Effect::Open, 4, 4);

    t.phase = Phase::Handshake;
    let connect = t.call((123, 226), Client, "connect(127.0.0.1:8888, 16)", Effect::Connect, 4, 0);
    let s1 = t.segment(151, Client, Flags::SYN, (0, 0, 0), by(&[connect]));
    t.moved(151, Client, (Closed, SynSent), connect, &[Segments]);
    let s2 = t.segment(172, Server, syn_ack, (0, 1, 0), kernel(Mechanism::Handshake, s1));
    t.moved(172, Server, (Listen, SynReceived), s1, &[Segments]);
    t.moved(172, Client, (SynSent, Established), s2, &both);
    let s3 = t.segment(192, Client, Flags::ACK, (1, 1, 0), kernel(Mechanism::Handshake, s2));
    t.moved(192, Server, (SynReceived, Established), s3, &both);

    t.phase = Phase::Data;
    let recv = t.call((251, 330), Server, "recv(4096, 0)", Effect::Receive, 5, 10);
    let send = t.call((262, 322), Client, "send(10, MSG_NOSIGNAL)", Effect::Send, 4, 10);
    let s4 = t.segment(281, Client, psh_ack, (1, 1, 10), by(&[send]));
    t.segment(295, Server, Flags::ACK, (1, 11, 0), kernel(Mechanism::Ack, s4));
    let back = t.call((331, 420), Client, "recv(10, 0)", Effect::Receive, 4, 10);
    let send_back = t.call((345, 402), Server, "send(10, MSG_NOSIGNAL)", Effect::Send, 5, 10);
    let s6 = t.segment(366, Server, psh_ack, (1, 11, 10), by(&[send_back]));
    t.segment(378, Client, Flags::ACK, (11, 11, 0), kernel(Mechanism::Ack, s6));
    let last_recv = t.call((409, 502), Server, "recv(4096, 0)", Effect::Receive, 5, 0);

    t.phase = Phase::Teardown;
    let close = t.call((428, 490), Client, "close()", Effect::Close, 4, 0);
    let s8 = t.segment(455, Client, fin_ack, (11, 11, 0), by(&[close]));
    t.moved(455, Client, (Established, FinWait1), close, &[Segments]);
    t.moved(455, Server, (Established, CloseWait), s8, &both);
    let close_back = t.call((511, 583), Server, "close()", Effect::Close, 5, 0);
    let s9 = t.segment(541, Server, fin_ack, (11, 12, 0), by(&[close_back]));
    t.moved(541, Server, (CloseWait, LastAck), close_back, &[Segments]);
    t.moved(541, Client, (FinWait1, FinWait2), s9, &[Segments]);
    t.moved(541, Client, (FinWait2, TimeWait), s9, &[Segments, SockDiag]);
    let s10 = t.segment(562, Client, Flags::ACK, (12, 12, 0), kernel(Mechanism::Ack, s9));
    t.moved(562, Server, (LastAck, Closed), s10, &[Segments, SockDiag]);
    t.connection = None;
    let gone = t.call((601, 620), Server, "close()", Effect::Close, 3, 0);
    t.moved(620, Server, (Listen, Closed), gone, &[TcpInfo]);

    t.phase = Phase::TimeWait;
    t.connection = Some(ConnectionId(0));
    t.time_wait(712, Client, 59_996, close);

    for (call, frame) in [(accept, 3), (connect, 2), (recv, 4), (back, 6), (last_recv, 8)] {
        let segment = t.in_frame(frame);
        t.call_mut(call).completed_by = Some(segment);
    }
    for (call, frame) in [(connect, 1), (send, 4), (send_back, 6), (close, 8), (close_back, 9)] {
        let segment = t.in_frame(frame);
        t.call_mut(call).sent = vec![segment];
    }
    t.summed_up(Ending::Fin, Some(Closer::Client), Verdict::Closed { first: Client, left: Left::TimeWait })
}

/// Octets that are sent twice, to a server whose kernel says another state than its segments, by a process with a hostile name.
pub(super) fn troubled() -> Story {
    use Side::{Client, Server};
    use State::{CloseWait, Established, SynSent};
    let mut t = Teller::new();
    t.connection = Some(ConnectionId(0));
    t.phase = Phase::Handshake;
    let connect = t.call((0, 90), Client, "connect(127.0.0.1:8888, 16)", Effect::Connect, 4, 0);
    let comm = "\u{1b}[31mred\u{202e}\r\n".to_owned();
    let odd = Thread { comm, ..t.story.threads.threads().next().expect("one").clone() };
    t.call_mut(connect).call.id.thread = t.story.threads.add(odd);
    let syn = t.segment(10, Client, Flags::SYN, (0, 0, 0), by(&[connect]));
    let answer = t.segment(30, Server, Flags::SYN | Flags::ACK, (0, 1, 0), kernel(Mechanism::Handshake, syn));
    let moved = t.moved(30, Client, (SynSent, Established), answer, &[Witness::Segments]);
    t.disagree(
        moved,
        Disagreement {
            witness: Witness::TcpInfo,
            said: Some(CloseWait),
            segments: Some(Established),
            after: Some("connect".into()),
        },
    );
    t.call_mut(connect).completed_by = Some(answer);
    t.phase = Phase::Data;
    let send = t.call((100, 120), Client, "send(5, 0)", Effect::Send, 4, 5);
    t.call_mut(send).call.returned.as_mut().unwrap().preview = b"a\x1b[2Jb".to_vec();
    let first = t.segment(110, Client, Flags::ACK, (1, 1, 5), by(&[send]));
    let again = t.segment(
        200_110,
        Client,
        Flags::ACK,
        (1, 1, 5),
        Cause { calls: vec![send], ..kernel(Mechanism::RetransmissionTimeout, first) },
    );
    t.call_mut(send).sent = vec![first, again];
    let segment = t.segment_mut(again);
    segment.findings = [Finding::Retransmission].into_iter().collect();
    segment.cause.why = Some(Why::TimerExpired);
    t.moved(200_110, Server, (Established, CloseWait), again, &[Witness::Segments, Witness::TcpInfo]);
    let waits = t.call((200_200, 200_300), Server, "recv(4096, 0)", Effect::Receive, 5, 0);
    t.call_mut(waits).call.returned = None;
    t.segment(200_250, Server, Flags::RST, (1, 0, 0), kernel(Mechanism::Reset, again));
    t.summed_up(Ending::Reset, Some(Closer::Server), Verdict::Reset { by: Server, kind: ResetKind::NoConnection })
}

pub(super) fn moment(micros: i64) -> Timestamp {
    Timestamp::from_parts(1_795_240_402, 123_456_000).after(Span::from_micros(micros))
}

const CLIENT: &str = "127.0.0.1:50634";
const SERVER: &str = "127.0.0.1:8888";
const PAYLOAD: &[u8] = b"helloworld";
