//! Scripts of calls and segments on one time line, in packetdrill's manner, for the tests of the joins.

use std::net::SocketAddr;

use super::{EventKind, Observed, Story, Timeline, Trace};
use crate::calls::{
    Call, CallId, Domain, Effect, Errno, How, MessageFlags, Op, OptionName, OptionValue, Process, Protocol, Receiving,
    Returned, Role, Sending, SocketFlags, SocketId, SocketOption, SocketType, SocketUse, Thread, ThreadId, Threads,
};
use crate::capture::SeenAt;
use crate::flow::{ConnState, Connection, ConnectionId, Ending, Range, Side, SideSummary, Step, Totals, Verdict};
use crate::kernel::{Evidence, TcpInfo, Timer, TimerKind};
use crate::tcp::{Endpoint, Finding, FindingSet, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Options, Segment, Seq, Tunnel, TunnelKind};

/// Tells the story of a script.
///
/// A line is one of
/// - `TIME < FLAGS SEQ(LEN) [ack N] [finding…]`, a segment of the client (`>`: of the server), numbers relative to the ISNs, or
/// - `FROM..TO client|server NAME RESULT [in STATE]`, a call (`-ERRNO` for one that failed; `in` is what TCP_INFO said afterwards), or
/// - `TIME diag client|server STATE|none [REMAINING_MS]`, an answer of sock_diag.
///
/// Times are microseconds.
pub(super) fn story(script: &str) -> Story {
    stories(script, [client().port(); 2])
}

/// Tells the story of a script of two connections, the second one after a line `----`, with the ports of their clients.
pub(super) fn stories(script: &str, ports: [u16; 2]) -> Story {
    let Recording { traces, connections, calls, evidence } = recording(script, ports);
    Timeline::of(traces, calls, &evidence).finish(connections, threads(), Totals::default())
}

/// What a script holds.
#[derive(Clone)]
pub(super) struct Recording {
    pub(super) traces: Vec<Trace>,
    pub(super) connections: Vec<Connection>,
    pub(super) calls: Vec<Call>,
    pub(super) evidence: Vec<Evidence>,
}

/// What a script of two connections holds, as for [`stories`].
pub(super) fn recording(script: &str, ports: [u16; 2]) -> Recording {
    let mut calls = Vec::new();
    let mut evidence = Vec::new();
    let mut traces = Vec::new();
    let mut frames = 0;
    for (id, (part, port)) in (0..).map(ConnectionId).zip(script.split("----").zip(ports)) {
        let client = SocketAddr::new(client().ip(), port);
        let segments = part_of(part, id, client, &mut frames, &mut calls, &mut evidence);
        traces.push(Trace { id, client, server: server(), segments });
    }
    let connections = traces.iter().map(|trace| summary(trace.id)).collect();
    traces.retain(|trace| !trace.segments.is_empty());
    Recording { traces, connections, calls, evidence }
}

/// The segments of one connection of a script; its calls and answers are added to those before.
fn part_of(
    script: &str,
    id: ConnectionId,
    client: SocketAddr,
    frames: &mut u64,
    calls: &mut Vec<Call>,
    evidence: &mut Vec<Evidence>,
) -> Vec<Observed> {
    let mut segments: Vec<Observed> = Vec::new();
    let mut ends = [Endpoint::closed(), Endpoint::unknown()];
    let mut in_order = [0u32; 2];
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[1] {
            "<" | ">" => {
                let mut segment = segment(*frames + 1, client, &words);
                segment.at = Some(time(words[0]));
                *frames += 1;
                let from = usize::from(words[1] == ">");
                if !segment.seq.is_after(Seq(in_order[from])) {
                    in_order[from] = in_order[from].max(segment.end().0);
                }
                let sides = [Side::Client, Side::Server];
                let mut moves = [None; 4];
                let sent = ends[from].sent(&segment).map(|step| step.map(|step| (sides[from], step)));
                let taken = ends[1 - from].received(&segment, Seq(in_order[from]));
                let taken = taken.map(|step| step.map(|step| (sides[1 - from], step)));
                for (slot, step) in moves.iter_mut().zip(sent.into_iter().chain(taken).flatten()) {
                    *slot = Some(step);
                }
                let findings: FindingSet =
                    Finding::ALL.iter().copied().filter(|finding| words.contains(&finding.name())).collect();
                let octets = u64::from(segment.len);
                let step = Step {
                    connection: id,
                    from: sides[from],
                    opened: segments.is_empty(),
                    findings,
                    seq: i64::from(segment.seq.0),
                    ack: segment.flags.contains(Flags::ACK).then_some(i64::from(segment.ack.0)),
                    window: 1000,
                    stream: (octets > 0).then(|| Range::of(u64::from(segment.data_seq().0) - 1, octets)),
                    moves,
                };
                let vxlan = |id| Tunnel { kind: TunnelKind::Vxlan, id: Some(id), ends: None };
                let tunnel = words.iter().filter_map(|word| word.strip_prefix("vni:")?.parse().ok().map(vxlan));
                segments.push(Observed {
                    segment,
                    step,
                    preview: Vec::new(),
                    tunnel: tunnel.collect(),
                    seen: SeenAt::default(),
                });
            }
            "diag" => evidence.push(answer(&words)),
            _ => calls.push(call(calls.len() as u64, client, &words)),
        }
    }
    segments
}

/// The story in one line an event, events numbered from 0.
pub(super) fn lines(story: &Story) -> Vec<String> {
    story
        .events
        .iter()
        .map(|event| {
            let what = match &event.kind {
                EventKind::Call(call) => {
                    let mut text = format!("{} {}", call.side.map_or("-", Side::name), named(&call.call));
                    if let Some(stream) = call.stream {
                        text += &format!(" [{},{})", stream.from, stream.to);
                    }
                    if !call.sent.is_empty() {
                        text += &format!(" sent {:?}", story.frames_of(&call.sent));
                    }
                    if !call.brought_by.is_empty() {
                        text += &format!(" got {:?}", story.frames_of(&call.brought_by));
                    }
                    if let Some(frame) = call.completed_by.and_then(|id| story.frame_of(id)) {
                        text += &format!(" done by {frame}");
                    }
                    text
                }
                EventKind::Segment(segment) => {
                    let mut text = format!("#{} {}", segment.segment.frame, segment.segment.flags);
                    if !segment.cause.calls.is_empty() {
                        let calls: Vec<_> = segment.cause.calls.iter().map(|id| id.0).collect();
                        text += &format!(" by {calls:?}");
                    }
                    if let Some(kernel) = segment.cause.kernel {
                        text += &format!(" kernel {}", kernel.name());
                    }
                    if let Some(of) = segment.cause.of {
                        text += &format!(" of {}", of.0);
                    }
                    if segment.cause.is_inferred() {
                        text += " inferred";
                    }
                    text
                }
                EventKind::Transition(step) => {
                    let from = step.from.map_or("?", State::name);
                    let mut text = format!(
                        "{} {from}>{} of {}",
                        step.side.name(),
                        step.to,
                        step.cause.map_or(-1, |id| id.0 as i64)
                    );
                    if step.evidence.len() > 1 || step.disagreement.is_some() {
                        text += &format!(" {:?}", step.evidence);
                    }
                    if step.disagreement.is_some() {
                        text += " DISAGREES";
                    }
                    text
                }
                EventKind::Timer(timer) => {
                    format!("{} timer of {}", timer.side.name(), timer.cause.map_or(-1, |id| id.0 as i64))
                }
            };
            format!("{} {what}", event.id.0)
        })
        .collect()
}

fn summary(id: ConnectionId) -> Connection {
    Connection {
        id,
        client: client(),
        server: server(),
        midstream: false,
        first: None,
        last: None,
        first_frame: 1,
        last_frame: 1,
        completeness: 0,
        conn_state: ConnState::Oth,
        history: String::new(),
        initial_rtt: None,
        client_state: None,
        server_state: None,
        closed_by: None,
        ending: Ending::Open,
        verdict: Verdict::Open,
        client_to_server: SideSummary::default(),
        server_to_client: SideSummary::default(),
        findings: Vec::new(),
        findings_omitted: 0,
    }
}

fn client() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 50_000))
}

fn server() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 3000))
}

fn time(word: &str) -> Timestamp {
    Timestamp::from_nanos(word.parse::<i64>().expect("microseconds") * 1000)
}

fn segment(frame: u64, client: SocketAddr, words: &[&str]) -> Segment {
    let (seq, len) = words[3].split_once('(').expect("seq(len)");
    let flags = words[2].chars().fold(Flags::empty(), |flags, letter| {
        flags
            | match letter {
                'S' => Flags::SYN,
                'F' => Flags::FIN,
                'R' => Flags::RST,
                'P' => Flags::PSH,
                '.' => Flags::ACK,
                other => panic!("flag {other}"),
            }
    });
    let ack = words.iter().position(|word| *word == "ack").map_or(0, |place| words[place + 1].parse().expect("ack"));
    let (from, to) = if words[1] == "<" { (client, server()) } else { (server(), client) };
    Segment {
        at: None,
        frame,
        src: from.ip(),
        dst: to.ip(),
        src_port: from.port(),
        dst_port: to.port(),
        window: 1000,
        urgent: 0,
        checksum: 0,
        ip_id: None,
        ttl: 64,
        oddities: Oddities::empty(),
        options: Options::default(),
        seq: Seq(seq.parse().expect("seq")),
        ack: Seq(ack),
        flags,
        len: len.trim_end_matches(')').parse().expect("len"),
    }
}

fn call(n: u64, client: SocketAddr, words: &[&str]) -> Call {
    let (entered, returned) = words[0].split_once("..").expect("FROM..TO");
    let (entered, returned) = (time(entered), time(returned));
    let result = match words[3].strip_prefix('-') {
        Some(name) => Err(Errno::named(name).expect("an error")),
        None => Ok(words[3].parse().expect("result")),
    };
    let octets = result.unwrap_or(0) as u64;
    let is_client = words[1] == "client";
    let (own, peer) = if is_client { (client, server()) } else { (server(), client) };
    let flags = MessageFlags::empty();
    let op = match words[2] {
        "socket" => Op::Socket {
            domain: Domain::AF_INET,
            r#type: SocketType::SOCK_STREAM,
            flags: SocketFlags::empty(),
            protocol: Protocol::IPPROTO_IP,
        },
        "bind" => Op::Bind { address: Some(own) },
        "listen" => Op::Listen { backlog: 5 },
        "accept" => Op::Accept { flags: None },
        "connect" => Op::Connect { address: Some(peer) },
        "send" => Op::Send { by: Sending::Send, len: octets, flags },
        "recv" => Op::Receive { by: Receiving::Recv, len: octets, flags },
        "shutdown" => Op::Shutdown { how: How::SHUT_WR },
        "linger" => Op::SetOption {
            option: OptionName::Socket(SocketOption::SO_LINGER),
            value: OptionValue::Linger { on: true, seconds: 0 },
        },
        "close" | "unlisten" => Op::Close,
        other => panic!("call {other}"),
    };
    let of_listener = !is_client && matches!(words[2], "socket" | "bind" | "listen" | "accept" | "unlisten");
    let socket = match (is_client, of_listener) {
        (true, _) => 1,
        (_, true) => 2,
        _ => 3,
    };
    let role = match words[2] {
        "socket" => Role::Made,
        "close" | "unlisten" => Role::Released,
        _ => Role::On,
    };
    let used = |socket, role| SocketUse { local: Some(own), ..SocketUse::of(SocketId(socket), socket as i32, role) };
    let mut sockets = vec![used(socket, role)];
    if words[2] == "accept" && result.is_ok() {
        sockets.push(used(3, Role::Made));
    }
    let last = sockets.last_mut().expect("one");
    last.peer = (!of_listener || words[2] == "accept").then_some(peer);
    last.info = words.iter().position(|word| *word == "in").map(|place| info(returned, words[place + 1]));
    let moves = matches!(words[2], "send" | "recv") && result.is_ok();
    let returned = Returned { at: returned, result, octets: moves.then_some(octets), preview: Vec::new() };
    let id = CallId { thread: ThreadId(u32::from(!is_client)), n };
    Call { id, entered, op, sockets, returned: Some(returned) }
}

/// How a script calls it.
fn named(call: &Call) -> &str {
    let of_listener = call.socket() == Some(SocketId(2));
    match call.effect() {
        Effect::Close if of_listener => "unlisten",
        Effect::LingerZero => "linger",
        _ => call.name(),
    }
}

fn threads() -> Threads {
    let mut threads = Threads::default();
    let process = threads.add_process(Process { pid: 1, comm: "test".to_owned() });
    for comm in ["client", "server"] {
        threads.add(Thread { process, tid: 1, comm: comm.to_owned() });
    }
    threads
}

fn state(word: &str) -> State {
    State::ALL.into_iter().find(|state| state.name() == word).expect("a state")
}

fn info(at: Timestamp, word: &str) -> TcpInfo {
    TcpInfo {
        asked: at,
        answered: at,
        state: state(word),
        rtt_us: 0,
        rttvar_us: 0,
        snd_cwnd: 10,
        snd_mss: 1460,
        unacked: 0,
        retransmits: 0,
        total_retrans: 0,
        bytes_acked: 0,
        bytes_received: 0,
        notsent_bytes: 0,
    }
}

fn answer(words: &[&str]) -> Evidence {
    let (local, peer) = if words[2] == "client" { (client(), server()) } else { (server(), client()) };
    let remaining = words.get(4).map(|millis| Span::from_millis(millis.parse().expect("milliseconds")));
    Evidence {
        asked: time(words[0]),
        answered: time(words[0]),
        local,
        peer,
        state: (words[3] != "none").then(|| state(words[3])),
        timer: remaining.map(|remaining| Timer { kind: TimerKind::TimeWait, remaining }),
        inode: 0,
        uid: 0,
    }
}
