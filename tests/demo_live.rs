//! Experiments on the real kernel, each in a process of its own, as root and as an ordinary user.
//!
//! A run may move its process into a namespace and gives up its privilege for good, and the former works only before there is a second
//! thread. So this file has a `main` of its own: it starts itself again for each case. Nothing is skipped: where the host lets nobody
//! capture, the cases fail with the reason.

mod cases;
mod executable;
mod users;

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs, thread};

use cases::Cases;
use nix::unistd::geteuid;
use tcpflow::calls::{Call, Effect, Errno};
use tcpflow::capture::{FrameSource, Live, Tap};
use tcpflow::flow::Side;
use tcpflow::kernel::{Answer, TimerKind};
use tcpflow::lab::{Ground, Loopback, Play, Recording, Scenario, longest_wait, run, watch_time_wait};
use tcpflow::tcp::State;
use tcpflow::time::Span;
use tcpflow::wire::{Decoder, Flags, Segment};
use users::{NOBODY, Program, Who};

/// The variable that names the address that a stranger connects to.
const STRANGER: &str = "TCPFLOW_LIVE_STRANGER";

/// What is tried, by whom.
const CASES: Cases<Who> = Cases {
    short: &[
        ("echo_v4", &[Who::Root, Who::User], echo_v4),
        ("echo_v6", &[Who::Root, Who::User], echo_v6),
        ("echo_in_own_namespace", &[Who::Root, Who::User], echo_in_own_namespace),
        ("server_closes_first_and_starts_again", &[Who::Root, Who::User], server_closes_first_and_starts_again),
        ("three_clients_at_once", &[Who::Root, Who::User], three_clients_at_once),
        ("connection_refused", &[Who::Root, Who::User], connection_refused),
        ("a_megabyte_at_mtu_1500", &[Who::Root, Who::User], a_megabyte_at_mtu_1500),
        ("a_megabyte_over_ipv6", &[Who::Root, Who::User], a_megabyte_over_ipv6),
        ("many_messages_and_rounds", &[Who::Root, Who::User], many_messages_and_rounds),
        ("ten_megabytes", &[Who::Root], ten_megabytes),
        ("message_of_no_octets", &[Who::Root, Who::User], message_of_no_octets),
        ("only_messages_of_no_octets", &[Who::Root, Who::User], only_messages_of_no_octets),
        ("busy_port", &[Who::Root], busy_port),
        ("interrupted", &[Who::Root], interrupted),
        ("strangers_are_left_out", &[Who::Root], strangers_are_left_out),
        ("what_was_captured_before_the_stop_is_read", &[Who::Root], what_was_captured_before_the_stop_is_read),
        ("sudo_is_given_up", &[Who::Sudo], sudo_is_given_up),
        ("host_loopback_is_denied_with_a_way_out", &[Who::User], host_loopback_is_denied_with_a_way_out),
        ("time_wait_counts_down", &[Who::Root, Who::User], time_wait_counts_down),
    ],
    long: &[("time_wait_ends", &[Who::Root, Who::User], time_wait_ends)],
};

fn main() -> ExitCode {
    if let Ok(address) = env::var(STRANGER) {
        stranger(&address);
        return ExitCode::SUCCESS;
    }
    if CASES.play_own() {
        return ExitCode::SUCCESS;
    }
    let program = Program::within_reach(&env::current_exe().expect("this program has a path"));
    CASES.play(|who| who.is_playable().then(|| program.played_by(who)))
}

// ---- the cases ----

fn echo_v4() {
    let as_root = geteuid().is_root();
    let recording = played(&Scenario::default());
    check_echo(&Scenario::default(), &recording);
    check_ground(&recording, as_root);
    assert_eq!(names(&recording, "echo-client"), ["socket", "connect", "send", "recv", "close"]);
    assert_eq!(
        names(&recording, "echo-server"),
        ["socket", "setsockopt", "bind", "listen", "accept", "recv", "send", "recv", "close", "close"]
    );
    check_waits(&recording);
    assert!(recording.frames.len() >= 9, "{} frames", recording.frames.len());
}

fn echo_v6() {
    let scenario = Scenario { address: "::1".parse().unwrap(), ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    check_waits(&recording);
}

fn echo_in_own_namespace() {
    let scenario = Scenario { loopback: Loopback::OwnNamespace, ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    assert_ne!(recording.ground, Ground::Host);
    assert_eq!(recording.address.port(), 3000, "nobody else is there");
}

fn server_closes_first_and_starts_again() {
    let scenario = Scenario { play: Play::EchoAndStartAgain, first_close: Side::Server, ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    let again: Vec<_> = of(&recording, "second-server").collect();
    let told: Vec<_> = again.iter().map(|call| (call.name(), call.errno())).collect();
    let expected = [
        ("socket", None),
        ("bind", Some(Errno::EADDRINUSE)),
        ("close", None),
        ("socket", None),
        ("setsockopt", None),
        ("bind", None),
        ("listen", None),
        ("close", None),
    ];
    assert_eq!(told, expected);
    let waiting = recording.evidence.iter().find(|evidence| evidence.state == Some(State::TimeWait)).unwrap();
    assert!(waiting.answered <= again[1].entered, "it fails because of the TIME-WAIT that was seen before");
}

fn three_clients_at_once() {
    let scenario = Scenario { clients: 3, ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    assert_eq!(recording.ends.len(), 3);
    let connected = |call: &&Call| call.effect() == Effect::Connect;
    let last_connected = recording.calls.iter().filter(connected).filter_map(Call::returned_at).max().unwrap();
    let first_octets = recording.calls.iter().find(|call| call.effect() == Effect::Send).unwrap().entered;
    assert!(last_connected <= first_octets, "all are connected before the first speaks");
    let accepts: Vec<_> = recording.calls.iter().filter(|call| call.effect() == Effect::Accept).collect();
    assert!(
        accepts[1].entered > last_connected && accepts[2].entered > last_connected,
        "the kernel completes handshakes before accept"
    );
}

fn connection_refused() {
    let scenario = Scenario { play: Play::Refused, ..Scenario::default() };
    let recording = played(&scenario);
    assert_eq!(names(&recording, "echo-client"), ["socket", "connect", "close"]);
    let connect = &recording.calls[1];
    assert_eq!((connect.result(), connect.errno()), (Some(-1), Some(Errno::ECONNREFUSED)));
    let segments = segments(&recording);
    assert_eq!(segments.iter().map(|segment| segment.flags).collect::<Vec<_>>(), [Flags::SYN, Flags::RST | Flags::ACK]);
    assert_eq!((Some(segments[0].from()), Some(segments[0].to())), (connect.local(), connect.peer()));
    assert!(recording.evidence.iter().all(|evidence| evidence.state.is_none()), "{:?}", recording.evidence);
    assert!(recording.evidence.iter().any(|evidence| Some(evidence.local) == connect.local()));
}

fn a_megabyte_at_mtu_1500() {
    let scenario = Scenario { messages: vec![Scenario::message_of(1_000_000)], mtu: Some(1500), ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    let longest = segments(&recording).iter().map(|segment| segment.len).max().unwrap();
    assert_eq!(longest, 1448, "textbook-sized segments");
}

fn a_megabyte_over_ipv6() {
    let scenario = Scenario {
        address: "::1".parse().unwrap(),
        messages: vec![Scenario::message_of(1_000_000)],
        ..Scenario::default()
    };
    check_echo(&scenario, &played(&scenario));
}

fn ten_megabytes() {
    let scenario = Scenario {
        messages: vec![Scenario::message_of(5_000_000), Scenario::message_of(5_000_000)],
        ..Scenario::default()
    };
    check_echo(&scenario, &played(&scenario));
}

fn many_messages_and_rounds() {
    let messages = vec![b"a".to_vec(), Scenario::message_of(20_000), b"three words here".to_vec()];
    let scenario = Scenario { messages, rounds: 20, first_close: Side::Server, ..Scenario::default() };
    check_echo(&scenario, &played(&scenario));
}

fn message_of_no_octets() {
    let scenario = Scenario { messages: vec![Vec::new(), b"helloworld".to_vec()], ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    let empty = of(&recording, "echo-client").find(|call| call.effect() == Effect::Send).unwrap();
    assert_eq!((empty.result(), empty.octets()), (Some(0), Some(0)));
    assert!(recording.notices.iter().any(|notice| notice.contains("0 octets")), "{:?}", recording.notices);
}

fn only_messages_of_no_octets() {
    let scenario = Scenario { messages: vec![Vec::new()], rounds: 3, ..Scenario::default() };
    check_echo(&scenario, &played(&scenario));
}

fn busy_port() {
    let busy = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = busy.local_addr().unwrap().port();
    let scenario = Scenario { port, loopback: Loopback::Host, ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    assert_ne!(recording.address.port(), port);
    assert!(recording.notices[0].contains(&format!("port {port} is busy")), "{:?}", recording.notices);
}

fn interrupted() {
    let scenario = Scenario { rounds: u32::MAX, loopback: Loopback::Host, ..Scenario::default() };
    signal_hook::flag::register(signal_hook::consts::SIGUSR1, scenario.interrupt.clone()).unwrap();
    // As Ctrl-C would, in the middle: once the client is there. A thread of this process would keep it from giving up root.
    let watcher = "until cat /proc/$PPID/task/*/comm 2>/dev/null | grep -qx echo-client; do :; done; kill -USR1 $PPID";
    let mut ctrl_c = Command::new("sh").args(["-c", watcher]).spawn().unwrap();
    let recording = played(&scenario);
    assert!(ctrl_c.wait().unwrap().success());
    assert!(recording.interrupted);
    for actor in ["echo-server", "echo-client"] {
        if let Some(last) = of(&recording, actor).last() {
            assert_eq!(last.effect(), Effect::Close, "{actor} leaves nothing open");
        }
    }
    for thread in fs::read_dir("/proc/self/task").unwrap().flatten() {
        let comm = fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        assert!(!comm.starts_with("echo-"), "{comm} is still there");
    }
}

fn strangers_are_left_out() {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let scenario = Scenario { port: port.port(), rounds: 200, loopback: Loopback::Host, ..Scenario::default() };
    // A thread of this process would keep it from giving up root.
    let mut stranger = Command::new(env::current_exe().unwrap());
    stranger.env(STRANGER, port.to_string()).stdin(Stdio::piped()).stdout(Stdio::piped());
    let stranger = stranger.spawn().unwrap();
    let recording = played(&scenario);
    let met = stranger.wait_with_output().unwrap();
    check_echo(&scenario, &recording);
    assert!(String::from_utf8(met.stdout).unwrap().trim().parse::<u64>().unwrap() > 0, "somebody else connected");
    assert!(recording.notices.iter().any(|notice| notice.contains("other connections")), "{:?}", recording.notices);
}

/// Connects to that address again and again, until its standard input ends; tells how often it was let in.
fn stranger(address: &str) {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).unwrap();
            over.store(true, Ordering::Release);
        });
        let mut met = 0;
        while !over.load(Ordering::Acquire) {
            met += u64::from(std::net::TcpStream::connect(address).is_ok());
            thread::yield_now();
        }
        println!("{met}");
    });
}

fn what_was_captured_before_the_stop_is_read() {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let filter = format!("udp and src port {0} and dst port {0}", address.port());
    let mut live = Live::open(Tap { interface: "lo".to_owned(), filter, snap_len: 256, buffer: 4 << 20 }).unwrap();
    let send = |number: u8| assert_eq!(socket.send_to(&[number], address).unwrap(), 1);
    (0..10).for_each(send);
    live.stop_switch().store(true, Ordering::Release);
    for number in 0..10 {
        assert_eq!(live.next_frame().unwrap().expect("it had been captured").bytes.last(), Some(&number));
    }
    send(10);
    assert!(live.next_frame().unwrap().is_none(), "it came after the stop");
}

fn sudo_is_given_up() {
    let scenario = Scenario { loopback: Loopback::Host, ..Scenario::default() };
    let recording = played(&scenario);
    check_echo(&scenario, &recording);
    let status = fs::read_to_string("/proc/thread-self/status").unwrap();
    let line = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().map(str::to_owned).collect::<HashSet<_>>()
    };
    assert_eq!(line("Uid:"), HashSet::from([NOBODY.to_string()]));
    assert_eq!(line("Gid:"), HashSet::from([NOBODY.to_string()]));
    assert_eq!(line("Groups:"), HashSet::from([NOBODY.to_string()]));
    for set in ["CapInh:", "CapPrm:", "CapEff:"] {
        assert_eq!(line(set), HashSet::from(["0000000000000000".to_owned()]), "{set}");
    }
    let file = env::temp_dir().join(format!("tcpflow-live-file-{}", std::process::id()));
    fs::write(&file, "").unwrap();
    let (uid, gid) = owner(&file);
    fs::remove_file(&file).unwrap();
    assert_eq!((uid, gid), (NOBODY, NOBODY), "what it writes belongs to who called sudo");
}

fn host_loopback_is_denied_with_a_way_out() {
    let error = run(&Scenario { loopback: Loopback::Host, ..Scenario::default() }).unwrap_err().to_string();
    assert!(
        error.contains("no permission to capture on lo") && error.contains("sudo setcap cap_net_raw+ep /"),
        "{error}"
    );
}

fn time_wait_counts_down() {
    let recording = played(&Scenario::default());
    let left = longest_wait(&recording.evidence).unwrap();
    let mut seen = Vec::new();
    watch_time_wait(&recording, |evidence| {
        seen.push((evidence.state, evidence.timer.unwrap().remaining));
        if seen.len() < 2 { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })
    .unwrap();
    assert!(seen.iter().all(|(state, _)| *state == Some(State::TimeWait)));
    assert!(seen[0].1 <= left && seen[1].1 < seen[0].1, "{seen:?} after {left}");
}

fn time_wait_ends() {
    let recording = played(&Scenario::default());
    let closed = recording.calls.iter().find(|call| call.effect() == Effect::Close).unwrap().returned_at().unwrap();
    let mut seen = Vec::new();
    watch_time_wait(&recording, |evidence| {
        seen.push(evidence.clone());
        ControlFlow::Continue(())
    })
    .unwrap();
    let (gone, waiting) = seen.split_last().unwrap();
    assert!(waiting.len() >= 55 && waiting.iter().all(|evidence| evidence.state == Some(State::TimeWait)));
    assert_eq!(gone.state, None);
    // The kernel's timer wheel may add some seconds to a timer of a minute.
    let lasted = gone.answered.since(closed);
    assert!(lasted > Span::from_millis(59_500) && lasted < Span::from_millis(70_000), "{lasted}");
}

// ---- what holds of every echo ----

fn played(scenario: &Scenario) -> Recording {
    match run(scenario) {
        Ok(recording) => recording,
        Err(error) => panic!("{error}"),
    }
}

fn check_ground(recording: &Recording, as_root: bool) {
    // By now root has become another user.
    assert!(!geteuid().is_root());
    let expected = if as_root { Ground::Host } else { Ground::OwnUserAndNetwork };
    assert_eq!(recording.ground, expected);
    let told = recording.notices.iter().any(|notice| notice.contains("in a private network namespace"));
    assert_eq!(told, expected != Ground::Host, "{:?}", recording.notices);
}

/// Octets conserved, every segment seen, both ends final, and nothing dropped.
fn check_echo(scenario: &Scenario, recording: &Recording) {
    assert!(recording.capture.drained, "{:?}", recording.capture);
    assert_eq!((recording.capture.dropped, recording.capture.if_dropped), (0, 0));
    assert_eq!(recording.ends.len(), scenario.clients);
    assert!(!recording.interrupted);

    let mut last = None;
    for call in &recording.calls {
        assert!(last <= Some(call.entered), "calls are in order of entry");
        assert!(call.returned_at().is_some_and(|returned| returned >= call.entered));
        last = Some(call.entered);
        let info = call.info();
        let expected = match call.effect() {
            Effect::Connect => Some(State::Established),
            Effect::Listen => Some(State::Listen),
            _ => None,
        };
        assert!(expected.is_none() || info.map(|info| info.state) == expected, "{call:?}");
        assert_eq!(info.is_none(), call.effect() == Effect::Close, "{call:?}");
    }
    let first_call = recording.calls.first().unwrap().entered;
    // The kernel may still have a FIN to deliver when close returns, but nothing once it has said that both ends are final.
    let settled = recording.evidence.iter().map(|evidence| evidence.answered).max().unwrap();
    let segments = segments(recording);
    for ((index, frame), segment) in recording.frames.iter().enumerate().zip(&segments) {
        assert_eq!(frame.number, index as u64 + 1);
        assert!(
            frame.at >= Some(first_call) && frame.at <= Some(settled),
            "outside {first_call}..{settled}: {segment:?}"
        );
        assert_eq!(frame.bytes.len(), frame.wire_len as usize, "no frame is cut");
        assert!(!segment.flags.contains(Flags::RST), "{segment:?}");
    }

    for ends in &recording.ends {
        for (from, to) in [(ends.client, ends.server), (ends.server, ends.client)] {
            let sent: Vec<_> = segments.iter().filter(|segment| (segment.from(), segment.to()) == (from, to)).collect();
            let count = |flag| sent.iter().filter(|segment| segment.flags.contains(flag)).count();
            assert_eq!((count(Flags::SYN), count(Flags::FIN)), (1, 1), "{from}");
            assert_eq!(octets_once(&sent), scenario.octets(), "on the wire from {from}");
            let moved = |effect, local, peer| -> u64 {
                let here =
                    |call: &&Call| call.effect() == effect && (call.local(), call.peer()) == (Some(local), Some(peer));
                recording.calls.iter().filter(here).filter_map(Call::octets).sum()
            };
            assert_eq!(moved(Effect::Send, from, to), scenario.octets(), "sent by {from}");
            assert_eq!(moved(Effect::Receive, to, from), scenario.octets(), "received by {to}");
        }
        let (first, other) = match scenario.first_close {
            Side::Client => (ends.client, ends.server),
            Side::Server => (ends.server, ends.client),
        };
        let about = |local, peer| {
            let of_end = |evidence: &&Answer| (evidence.local, evidence.peer) == (local, peer);
            recording.evidence.iter().filter(of_end).cloned().collect::<Vec<_>>()
        };
        let [closing, waiting] = &about(first, other)[..] else { panic!("{:?}", about(first, other)) };
        assert!(matches!(closing.state, Some(State::FinWait1 | State::FinWait2)), "{closing:?}");
        assert_eq!(waiting.state, Some(State::TimeWait));
        let timer = waiting.timer.unwrap();
        assert_eq!(timer.kind, TimerKind::TimeWait);
        assert!(timer.remaining > Span::from_millis(55_000) && timer.remaining <= Span::from_millis(60_500));
        assert_eq!(about(other, first).iter().map(|evidence| evidence.state).collect::<Vec<_>>(), [None]);
    }
    let last = recording.calls.iter().rfind(|call| comm_of(recording, call) == "echo-server").unwrap();
    let listen = recording.calls.iter().find(|call| call.effect() == Effect::Listen).unwrap();
    assert_eq!((last.effect(), last.socket()), (Effect::Close, listen.socket()), "the listening socket is closed last");
}

/// One sees accept and both recvs wait.
fn check_waits(recording: &Recording) {
    let segments = segments(recording);
    let find = |effect| recording.calls.iter().find(|call| call.effect() == effect).unwrap();
    let (accept, connect) = (find(Effect::Accept), find(Effect::Connect));
    let syn = segments[0].at;
    assert!(Some(accept.entered) < Some(connect.entered) && accept.returned_at() > syn);
    assert!(Some(connect.entered) < syn && connect.returned_at() > segments[1].at);
    assert!(
        recording.calls.iter().position(|call| call.name() == "accept")
            < recording.calls.iter().position(|call| comm_of(recording, call) == "echo-client")
    );
    let client_recv = of(recording, "echo-client").find(|call| call.effect() == Effect::Receive).unwrap();
    let echo = segments.iter().find(|segment| segment.len > 0 && segment.from() == recording.address).unwrap();
    assert!(Some(client_recv.entered) < echo.at && client_recv.returned_at() > echo.at);
    let end = of(recording, "echo-server").filter(|call| call.effect() == Effect::Receive).last().unwrap();
    let fin = segments.iter().find(|segment| segment.flags.contains(Flags::FIN)).unwrap();
    assert_eq!((end.octets(), end.result()), (Some(0), Some(0)));
    assert!(Some(end.entered) < fin.at && end.returned_at() > fin.at);
    assert_eq!(end.info().unwrap().state, State::CloseWait);
}

fn segments(recording: &Recording) -> Vec<Segment> {
    let mut decoder = Decoder::new();
    let mut segments = Vec::new();
    let mut source = recording.source();
    while let Some(frame) = source.next_frame().unwrap() {
        decoder.decode(&frame, |segment, _| segments.push(*segment)).unwrap();
    }
    assert_eq!(segments.len(), recording.frames.len());
    segments
}

fn of<'a>(recording: &'a Recording, comm: &'a str) -> impl Iterator<Item = &'a Call> {
    recording.calls.iter().filter(move |call| comm_of(recording, call) == comm)
}

fn comm_of<'a>(recording: &'a Recording, call: &Call) -> &'a str {
    &recording.threads.get(call.thread()).expect("a thread of the recording").0.comm
}

fn names<'a>(recording: &'a Recording, comm: &'a str) -> Vec<&'a str> {
    of(recording, comm).map(Call::name).collect()
}

fn owner(path: &Path) -> (u32, u32) {
    let metadata = fs::metadata(path).unwrap();
    (metadata.uid(), metadata.gid())
}

/// How many octets one end sent, those that the kernel sent again, perhaps cut otherwise, counted once.
fn octets_once(sent: &[&Segment]) -> u64 {
    let begin = sent.iter().find(|segment| segment.flags.contains(Flags::SYN)).expect("a SYN").data_seq();
    let mut ranges: Vec<_> = sent
        .iter()
        .filter(|segment| segment.len > 0)
        .map(|segment| (segment.data_seq().since(begin), segment.data_seq().plus(segment.len).since(begin)))
        .collect();
    ranges.sort_unstable();
    let (mut octets, mut counted) = (0, 0);
    for (from, to) in ranges {
        octets += (to - from.max(counted)).max(0);
        counted = counted.max(to);
    }
    u64::try_from(octets).expect("counted upwards")
}
