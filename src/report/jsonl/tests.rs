//! What the lines hold, and that the schema describes all of it.

use serde_json::{Value, json};

use super::lines::steers;
use super::*;
use crate::calls::{Call, CallId, Errno, Op, Process, Returned, Role, SocketId, SocketUse, Thread, ThreadId, Threads};
use crate::flow::{
    Closer, ConnState, ConnectionId, Detail, Disagreement, Ending, Range, RolesBasis, Side, SideSummary, Verdict,
};
use crate::kernel::{TcpInfo, TimerKind, Witness};
use crate::report::sample;
use crate::story::{CallEvent, Cause, Mechanism, Phase, SegmentEvent, TimerEvent, Timing, TransitionEvent};
use crate::tcp::{Basis, Finding, Rule, State};
use crate::time::{Span, Timestamp};
use crate::wire::{Flags, Oddities, Options, Segment, Seq, Tunnel, TunnelKind};

fn lines(write: impl FnOnce(&mut Jsonl<'_>) -> io::Result<()>) -> Vec<Value> {
    let mut out = Vec::new();
    let mut jsonl = Jsonl::new(&mut out);
    write(&mut jsonl).and_then(|()| jsonl.flush()).expect("a Vec takes everything");
    let text = String::from_utf8(out).expect("output is UTF-8");
    assert!(text.ends_with('\n'), "{text}");
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn connection() -> Connection {
    let side = SideSummary {
        segments: 6,
        octets: 10,
        unique_octets: 11,
        syn: 12,
        fin: 13,
        rst: 14,
        isn: Some(4_281_021_145),
        mss: Some(65_495),
        window_scale: Some(10),
        sack_permitted: true,
        timestamps: true,
        retransmissions: 15,
        fast_retransmissions: 16,
        spurious_retransmissions: 17,
        out_of_order: 18,
        duplicate_acks: 19,
        lost_segments: 20,
        acked_unseen: 21,
        zero_windows: 22,
        window_fulls: 23,
        window_updates: 24,
        keep_alives: 25,
        zero_window_probes: 26,
        rtt_min_ns: Some(27),
        rtt_avg_ns: Some(28),
        rtt_max_ns: Some(-29),
    };
    Connection {
        id: ConnectionId(3),
        client: "127.0.0.1:50634".parse().unwrap(),
        server: "[fe80::1%7]:3000".parse().unwrap(),
        midstream: false,
        first: Some(Timestamp::from_nanos(1_795_223_276_000_071_123)),
        last: Some(Timestamp::from_nanos(1_795_223_276_000_503_123)),
        first_frame: 1,
        last_frame: 10,
        completeness: 31,
        conn_state: ConnState::Sf,
        history: "ShADadFf".into(),
        initial_rtt: Some(Span(30_000)),
        client_state_basis: Some(Basis::Sent),
        server_state_basis: None,
        roles_basis: RolesBasis::Syn,
        problem: None,
        icmp: None,
        client_state: Some(State::TimeWait),
        server_state: None,
        closed_by: Some(Closer::Client),
        ending: Ending::HalfClosed,
        verdict: Verdict::Unanswered { syns: 3, lasted: Some(Span(7_000)), instead: None },
        client_to_server: side.clone(),
        server_to_client: SideSummary::default(),
        findings: vec![
            FindingAt {
                finding: Finding::Retransmission,
                frame: Some(7),
                side: Side::Client,
                detail: Detail::Since(Some(Span(2_500))),
            },
            FindingAt { finding: Finding::StateDisagreement, frame: None, side: Side::Server, detail: disagreement() },
        ],
        findings_omitted: 2,
        breakdown: None,
        finding_counts: None,
    }
}

fn disagreement() -> Detail {
    let (witness, segments) = (Witness::SockDiag, Some(State::Closed));
    Detail::Disagreement(Box::new(Disagreement { witness, said: None, segments, after: None }))
}

fn event(id: u64, kind: EventKind) -> Event {
    Event {
        id: EventId(id),
        at: Some(Timestamp::from_nanos(5)),
        connection: Some(ConnectionId(3)),
        phase: Phase::SetUp,
        kind,
    }
}

fn call() -> CallEvent {
    let at = Timestamp::from_nanos(5);
    CallEvent {
        side: Some(Side::Client),
        call: Call {
            id: CallId { thread: ThreadId(0), n: 0 },
            entered: at,
            op: Op::Connect { address: Some("127.0.0.1:3000".parse().unwrap()) },
            sockets: vec![SocketUse {
                local: Some("127.0.0.1:50634".parse().unwrap()),
                info: Some(TcpInfo {
                    asked: at,
                    answered: at,
                    state: State::SynSent,
                    rtt_us: 1,
                    rttvar_us: 2,
                    snd_cwnd: 3,
                    snd_mss: 4,
                    unacked: 5,
                    backlog: None,
                    retransmits: 6,
                    total_retrans: 7,
                    bytes_acked: 8,
                    bytes_received: 9,
                    notsent_bytes: 10,
                }),
                ..SocketUse::of(SocketId(9), 5, Role::On)
            }],
            returned: Some(Returned {
                at,
                result: Err(Errno::ECONNREFUSED),
                octets: Some(10),
                preview: b"hi\n\\\xff".to_vec(),
            }),
            stack: Default::default(),
        },
        stream: Some(Range::of(0, 10)),
        sent: vec![EventId(1)],
        brought_by: vec![],
        completed_by: Some(EventId(3)),
        remark: None,
    }
}

fn segment(cause: Cause) -> SegmentEvent {
    let mut options = Options { mss: Some(1460), timestamps: Some((1, 2)), sack_blocks: 1, ..Options::default() };
    options.sack[0] = (Seq(4_294_967_295), Seq(3));
    SegmentEvent {
        seen: crate::capture::SeenAt::default(),
        sense: crate::story::Sense::Passes,
        passage: Vec::new(),
        from: Side::Client,
        segment: Segment {
            at: Some(Timestamp::from_nanos(5)),
            frame: 1,
            src: "127.0.0.1".parse().unwrap(),
            dst: "127.0.0.1".parse().unwrap(),
            src_port: 50634,
            dst_port: 3000,
            seq: Seq(77),
            ack: Seq(78),
            flags: Flags::PSH | Flags::ACK,
            window: 512,
            urgent: 0,
            checksum: 0,
            ip_id: None,
            ttl: 64,
            len: 10,
            oddities: Oddities::CUT | Oddities::CONGESTION_EXPERIENCED,
            options,
        },
        seq: 1,
        ack: Some(1),
        window: 65536,
        stream: Some(Range::of(0, 10)),
        findings: [Finding::WindowFull].into_iter().collect(),
        timing: Timing {
            in_flight: Some(10),
            acks_frame: None,
            ack_rtt: None,
            ambiguous: false,
            timestamp_rtt: Some(Span(7)),
        },
        cause,
        fate: None,
        preview: b"helloworld".to_vec(),
        tunnel: [
            Tunnel { kind: TunnelKind::Vlan, id: Some(5), ends: None },
            Tunnel {
                kind: TunnelKind::Vxlan,
                id: Some(42),
                ends: Some(("10.0.0.1".parse().unwrap(), "10.0.0.2".parse().unwrap())),
            },
        ]
        .into(),
    }
}

fn cause(calls: &[u64], kernel: Option<Mechanism>, of: Option<u64>) -> Cause {
    Cause { calls: calls.iter().copied().map(EventId).collect(), kernel, of: of.map(EventId), ..sample::by(&[]) }
}

fn story() -> Story {
    let transition = TransitionEvent {
        side: Side::Client,
        from: None,
        to: State::SynSent,
        cause: Some(EventId(0)),
        rule: Rule::ActiveOpen,
        evidence: vec![Witness::Segments, Witness::TcpInfo, Witness::SockDiag],
        disagreement: Some(Disagreement {
            witness: Witness::SockDiag,
            said: Some(State::Listen),
            segments: None,
            after: None,
        }),
    };
    let timer = TimerEvent {
        side: Side::Client,
        kind: TimerKind::TimeWait,
        remaining: Span::from_millis(59_700),
        cause: Some(EventId(0)),
        owner: Some(ThreadId(0)),
    };
    let mut events = vec![
        event(0, EventKind::Call(Box::new(call()))),
        event(1, EventKind::Segment(Box::new(segment(cause(&[0], None, None))))),
        event(2, EventKind::Segment(Box::new(segment(cause(&[0, 0], None, None))))),
        event(3, EventKind::Segment(Box::new(segment(cause(&[], Some(Mechanism::Ack), Some(1)))))),
        event(4, EventKind::Segment(Box::new(segment(cause(&[0], Some(Mechanism::RetransmissionTimeout), Some(1)))))),
        event(5, EventKind::Segment(Box::new(segment(Cause { unwatched: true, ..cause(&[], None, None) })))),
        event(6, EventKind::Transition(transition)),
        event(7, EventKind::Timer(timer)),
    ];
    events[0].connection = None;
    events[3].at = None;
    let totals =
        Totals { frames: 10, segments: 9, connections: 1, late_segments: 1, dropped: Some(0), ..Totals::default() };
    let mut threads = Threads::default();
    let process = threads.add_process(Process { pid: 1, comm: "echo".into() });
    threads.add(Thread { process, tid: 2, comm: "echo\u{1b}".into() });
    let births = Vec::new();
    Story { events, births, connections: vec![connection()], threads, totals, ..Story::default() }
}

fn schema() -> Value {
    serde_json::from_str(include_str!("../../../docs/output.schema.json")).expect("the schema is JSON")
}

/// Lets no object of the schema hold a field that it does not describe.
fn close(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.contains_key("required") && map.contains_key("properties") && map.contains_key("description") {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

#[test]
fn moments_have_nine_decimals_from_the_epoch_on_and_before() {
    for (nanos, shown) in [
        (0, "0.000000000"),
        (5, "0.000000005"),
        (999_999_999, "0.999999999"),
        (1_000_000_000, "1.000000000"),
        (-1, "-0.000000001"),
        (i64::MAX, "9223372036.854775807"),
    ] {
        let first = Some(Timestamp::from_nanos(nanos));
        let [line] = &lines(|out| out.connection(&Connection { first, ..connection() }))[..] else {
            panic!("one line")
        };
        assert_eq!(line["first"], shown);
    }
}

#[test]
fn a_connection_line_holds_what_the_contract_says() {
    let [line] = &lines(|out| out.connection(&connection()))[..] else { panic!("not one line") };
    assert_eq!(line["type"], "connection");
    assert_eq!(line["id"], 3);
    assert_eq!(line["client"], json!({"addr": "127.0.0.1", "port": 50634}));
    assert_eq!(line["server"], json!({"addr": "fe80::1", "port": 3000}));
    assert_eq!(line["first"], "1795223276.000071123");
    assert_eq!(line["duration_ns"], 432_000);
    assert_eq!(line["conn_state"], "SF");
    assert_eq!(line["client_state"], "TIME-WAIT");
    assert_eq!(line["server_state"], Value::Null);
    assert_eq!(line["closed_by"], "client");
    assert_eq!(line["ending"], "half-closed");
    assert_eq!(line["verdict"], "Unanswered: 3 SYNs in 7.0 µs, and nothing came back.");
    assert_eq!(line["reason"], json!({"code": "unanswered", "syns": 3, "lasted_ns": 7_000}));
    assert_eq!(
        line["findings"],
        json!([{"name": "retransmission", "frame": 7, "side": "client", "note": "Retransmission, 2.5 µs after the stream last advanced."},
               {"name": "state_disagreement", "frame": null, "side": "server", "note": "sock_diag said no such socket, the segments say CLOSED"}])
    );
    // The line is written by hand; serde's own derivation knows every field of a side.
    assert_eq!(line["client_to_server"], serde_json::to_value(connection().client_to_server).unwrap());
    let mut silent = serde_json::to_value(SideSummary::default()).unwrap();
    (silent["sack_permitted"], silent["timestamps"]) = (Value::Null, Value::Null);
    assert_eq!(line["server_to_client"], silent);
}

#[test]
fn times_before_1970_and_unknown_ones_are_told() {
    let mut early = connection();
    (early.first, early.last) = (Some(Timestamp::from_nanos(-1_500_000_000)), None);
    let [line] = &lines(|out| out.connection(&early))[..] else { panic!("not one line") };
    assert_eq!(line["first"], "-1.500000000");
    assert_eq!((&line["last"], &line["duration_ns"]), (&Value::Null, &Value::Null));
}

#[test]
fn causes_have_the_forms_of_the_contract() {
    let lines = lines(|out| out.story(&story()));
    assert_eq!(lines[1]["cause"], json!({"call": 0}));
    assert_eq!(lines[2]["cause"], json!({"calls": [0, 0]}));
    assert_eq!(lines[3]["cause"], json!({"kernel": "ack", "of": 1}));
    assert_eq!(lines[4]["cause"], json!({"kernel": "retransmission_timeout", "of": 1, "calls": [0]}));
    assert_eq!(lines[5]["cause"], json!({"kernel": "unknown", "of": null, "inferred": true}));
    assert_eq!(lines[0]["args"], json!({"addr": "127.0.0.1:3000", "addrlen": 16}));
    assert_eq!((&lines[0]["errno"], &lines[0]["result"]), (&json!("ECONNREFUSED"), &json!(-1)));
    assert_eq!(lines[0]["preview"], r"hi\n\\\xff");
    assert_eq!(lines[1]["flags"], "PSH,ACK");
    assert_eq!(lines[1]["oddities"], json!(["cut", "congestion_experienced"]));
}

#[test]
fn nothing_that_steers_a_terminal_gets_out() {
    let mut out = Vec::new();
    Jsonl::new(&mut out).story(&story()).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains('µ'));
    assert_eq!(text.chars().find(|c| *c != '\n' && steers(*c)), None);
}

#[test]
fn every_line_is_valid_and_every_field_is_described() {
    let mut closed = schema();
    close(&mut closed["$defs"]);
    jsonschema::draft202012::meta::validate(&closed).expect("the schema is one of draft 2020-12");
    let validator = jsonschema::validator_for(&closed).unwrap();
    let lines = lines(|out| out.story(&story()));
    assert_eq!(lines.len(), 11);
    for line in &lines {
        let errors: Vec<_> = validator.iter_errors(line).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{line}\n{errors:#?}");
    }
}

#[test]
fn wrong_lines_are_rejected() {
    let validator = jsonschema::validator_for(&schema()).unwrap();
    let lines = lines(|out| out.story(&story()));
    let spoilt = |n: usize, pointer: &str, value: Value| {
        let mut line = lines[n].clone();
        *line.pointer_mut(pointer).unwrap_or_else(|| panic!("{pointer} is not there")) = value;
        line
    };
    for wrong in [
        json!({}),
        json!([]),
        json!({"type": "packet"}),
        json!({"type": "connection"}),
        spoilt(8, "/first", json!(1_795_223_276.32)),
        spoilt(8, "/first", json!("1795223276.32")),
        spoilt(8, "/duration_ns", json!(0.5)),
        spoilt(8, "/client/port", json!(65536)),
        spoilt(8, "/client_state", json!("TIME_WAIT")),
        spoilt(8, "/ending", json!("closed")),
        spoilt(8, "/client_to_server/octets", json!(-1)),
        spoilt(8, "/client_to_server/segments", Value::Null),
        spoilt(8, "/findings/0/name", json!("resent")),
        spoilt(10, "/skipped/not_tcp", json!("0")),
        spoilt(0, "/process", Value::Null),
        spoilt(0, "/errno", json!(111)),
        spoilt(1, "/cause", json!({})),
        spoilt(1, "/cause", json!({"call": 1, "kernel": "ack", "of": 2})),
        spoilt(1, "/cause", json!({"kernel": "magic", "of": 2})),
        spoilt(1, "/frame", json!(0)),
        spoilt(6, "/evidence", json!(["segments", "segments"])),
        spoilt(6, "/rule", json!("because")),
        spoilt(7, "/remaining_ns", Value::Null),
    ] {
        assert!(!validator.is_valid(&wrong), "{wrong}");
    }
}

#[test]
fn the_schema_lists_every_name() {
    let schema = schema();
    let names = |pointer: &str| schema.pointer(pointer).expect(pointer).as_array().unwrap().clone();
    let findings: Vec<_> = Finding::ALL.iter().map(|finding| json!(finding.name())).collect();
    assert_eq!(names("/$defs/finding_name/enum"), findings, "docs/output.schema.json: finding_name");
    // What a correction withdraws is not told, so its rule stands on no transition.
    let told = Rule::ALL.iter().filter(|rule| !rule.is_correction());
    let rules: Vec<_> = told.map(|rule| json!(rule.name())).collect();
    assert_eq!(names("/$defs/transition/properties/rule/enum"), rules, "docs/output.schema.json: transition rule");
    let states: Vec<_> = State::ALL.iter().map(|state| json!(state.name())).collect();
    assert_eq!(names("/$defs/state/enum"), states, "docs/output.schema.json: state");
}

#[test]
fn a_closed_output_is_told() {
    let mut nowhere: &mut [u8] = &mut [];
    let error = Jsonl::new(&mut nowhere).totals(&Totals::default()).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::WriteZero);
}
