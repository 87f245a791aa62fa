//! `tcpflow run` where the kernel records calls instead of stopping threads at them: the same calls as ptrace and strace see, running
//! processes that are joined, and the source lines of calls.
//!
//! All of it is played on the real kernel, as root and as an ordinary user.

mod executable;
mod process;
mod users;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::{env, fs};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use process::Process;
use serde_json::Value;
use users::{NOBODY, Program, Who};

/// Everyone for whom the kernel records calls here; who else is, is told.
fn recording() -> Vec<Who> {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    let is_open_to_all = paranoid.trim().parse::<i32>().is_ok_and(|level| level <= 2);
    if !is_open_to_all {
        eprintln!("NOT CHECKED here as an ordinary user: kernel.perf_event_paranoid is {paranoid:?}");
    }
    if !Who::Root.is_playable() {
        eprintln!("NOT CHECKED here as root: the tests run as an ordinary user");
    }
    let may = |who: &Who| who.is_playable() && (is_open_to_all || *who != Who::User);
    [Who::Root, Who::Sudo, Who::User].into_iter().filter(may).collect()
}

/// tcpflow where every user can reach it, and a folder to which everybody may write.
struct Stage {
    /// What a user may lock of memory for buffers is little: one run after the other.
    _alone: MutexGuard<'static, ()>,
    tcpflow: Program,
    folder: PathBuf,
    schema: jsonschema::Validator,
}

impl Stage {
    fn make() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        static ALONE: Mutex<()> = Mutex::new(());
        let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = env::temp_dir().join(format!("tcpflow-recorded-{}-{n}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/output.schema.json");
        let schema = serde_json::from_str(&fs::read_to_string(schema).expect("the schema")).expect("JSON");
        Self { _alone, tcpflow, folder, schema: jsonschema::validator_for(&schema).expect("a schema") }
    }

    /// Runs words with options, and yields the lines of the timeline.
    fn run(&self, who: Who, options: &[&str], words: &[&str]) -> Vec<Value> {
        let file = self.new_file();
        let mut command = self.tcpflow.played_by(who);
        command.args(["run", "--format", "jsonl", "-o"]).arg(&file).args(options).arg("--").args(words);
        let output = command.output().expect("it starts");
        let told = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{who:?} {options:?} {words:?}: {told}");
        self.lines(&file)
    }

    /// The source of a program of `tests/programs` in C, and the program.
    fn compiled(&self, name: &str, optimized: &str) -> (PathBuf, PathBuf) {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name).with_extension("c");
        let program = self.folder.join(name);
        let mut compiler = Command::new(env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        compiler.args(["-g", optimized, "-Wall", "-Werror", "-pthread", "-o"]).arg(&program).arg(&source);
        let output = compiler.output().expect("a C compiler (scripts/setup.sh installs one)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        (source, program)
    }

    fn new_file(&self) -> PathBuf {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        self.folder.join(format!("{}.jsonl", COUNT.fetch_add(1, Ordering::Relaxed)))
    }

    fn lines(&self, file: &Path) -> Vec<Value> {
        let text = fs::read_to_string(file).expect("a timeline");
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for line in &lines {
            assert!(self.schema.is_valid(line), "not as docs/output.schema.json has it: {line}");
        }
        lines
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

fn of_type<'a>(lines: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    lines.iter().filter(move |line| line["type"] == kind)
}

fn text<'a>(line: &'a Value, field: &str) -> &'a str {
    line[field].as_str().unwrap_or_default()
}

/// The calls of each thread in order, in short; threads by the first of them, as their numbers differ between runs.
fn calls_by_thread(lines: &[Value]) -> Vec<Vec<String>> {
    let mut threads: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
    for call in of_type(lines, "call") {
        let tid = call["process"]["tid"].as_u64().expect("a thread");
        let (name, len) = (text(call, "name"), &call["args"]["len"]);
        // Which descriptor is free depends on which thread was faster.
        let result = call["result"].as_i64().filter(|_| !matches!(name, "socket" | "accept4"));
        let short = format!("{name}({len}) = {result:?} {} {}", call["errno"], call["octets"]);
        threads.entry(tid).or_default().push((text(call, "at").to_owned(), short));
    }
    let mut threads: Vec<_> = threads
        .into_values()
        .map(|mut calls| {
            calls.sort_by(|one, other| one.0.cmp(&other.0));
            calls.into_iter().map(|(_, short)| short).collect()
        })
        .collect();
    threads.sort();
    threads
}

/// Each receive takes exactly what was sent, so that every run makes the same calls.
const ECHO: &str = r#"
import socket, threading, sys
rounds = int(sys.argv[1])
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(5)
def exactly(s, n):
    while n:
        n -= len(s.recv(n, socket.MSG_WAITALL))
def serve():
    for _ in range(rounds):
        s, _ = listener.accept()
        exactly(s, 5)
        s.sendall(b"hello")
        assert s.recv(1) == b""
        s.close()
server = threading.Thread(target=serve)
server.start()
for _ in range(rounds):
    s = socket.create_connection(listener.getsockname())
    s.sendall(b"hello")
    exactly(s, 5)
    s.close()
server.join()
"#;

#[test]
fn what_is_recorded_is_what_ptrace_sees_and_every_call_is_joined() {
    let stage = Stage::make();
    for who in recording() {
        let words = ["python3", "-c", ECHO, "100"];
        let [stopped, recorded] =
            ["ptrace", "perf"].map(|backend| stage.run(who, &["--isolated", "--backend", backend], &words));
        let run = of_type(&recorded, "run").next().expect("the line of the run");
        assert_eq!((text(run, "backend"), run["lost_calls"].as_u64()), ("perf", Some(0)), "{who:?}");
        assert_eq!(calls_by_thread(&stopped), calls_by_thread(&recorded), "{who:?}");
        assert_eq!(of_type(&recorded, "connection").count(), 100, "{who:?}");
        // A connection that is closed while its socket is looked at may stay without its server's calls: they are told, and joined to no other.
        let is_unjoined = |call: &&Value| call["connection"].is_null() && text(call, "name") == "accept4";
        let unjoined = of_type(&recorded, "call").filter(is_unjoined).count();
        eprintln!("{who:?}: {unjoined} of 100 accepted connections were closed before their ends were known");
        // Their ends are those of states that the kernel recorded: where it wrote no record of some, they are not known.
        let lost = run["kernel_trace"]["lost_on_host"].as_u64().unwrap_or(0);
        assert!(unjoined as u64 <= 10 + lost, "{who:?}: {unjoined}, {lost} records lost");
        // Each has a peer of its own, and none that of the connection that got its descriptor next.
        let accepts = of_type(&recorded, "call").filter(|call| text(call, "name") == "accept4");
        let mut peers: Vec<_> = accepts.filter_map(|call| call["peer"]["port"].as_u64()).collect();
        let known = peers.len();
        peers.sort_unstable();
        peers.dedup();
        assert_eq!(peers.len(), known, "{who:?}");
        for connection in of_type(&recorded, "connection") {
            // On a machine so busy that a port comes round again, that is told.
            let is_other = |finding: &Value| text(finding, "name") != "port_reuse";
            assert!(
                !connection["findings"].as_array().is_some_and(|all| all.iter().any(is_other)),
                "{who:?}: {connection}"
            );
        }
    }
}

/// A program that makes each kind of call once: where tracefs may not be read, the tracepoint of each is found by its number.
#[test]
fn each_kind_of_call_is_recorded() {
    let stage = Stage::make();
    let (_, program) = stage.compiled("every_call", "-O1");
    let program = program.to_str().expect("a path");
    for who in recording() {
        let [stopped, recorded] = ["ptrace", "perf"].map(|backend| {
            let lines = stage.run(who, &["--isolated", "--backend", backend], &[program]);
            let of = |call: &Value| format!("{} = {}", text(call, "name"), call["result"]);
            of_type(&lines, "call").map(of).collect::<Vec<_>>()
        });
        assert_eq!(stopped, recorded, "{who:?}");
        let kinds: BTreeSet<_> = recorded.iter().map(|call| call.split(' ').next()).collect();
        assert_eq!(kinds.len(), 33, "{who:?}: {kinds:?}");
    }
}

/// What a wait is for may lie anywhere in a program's memory: it is read there while the thread waits, and not told where that was too late.
#[test]
fn what_a_wait_is_for_is_read_wherever_it_lies_while_the_thread_waits() {
    let stage = Stage::make();
    let (_, program) = stage.compiled("waits", "-O1");
    let program = program.to_str().expect("a path");
    for who in recording() {
        let [stopped, recorded] = ["ptrace", "perf"].map(|backend| {
            let lines = stage.run(who, &["--isolated", "--backend", backend], &[program]);
            let waits = of_type(&lines, "call").filter(|call| call["args"]["timeout"].is_i64());
            // What it found is known where that is certain: nothing, or all that a select asked for.
            let found = |call: &Value| match text(call, "name") {
                "pselect6" => call["args"]["revents"].clone(),
                _ => Value::from(call["result"].as_i64()),
            };
            let of = |call: &Value| {
                let args = &call["args"];
                format!("{} {} {} {} {}", text(call, "name"), call["fd"], args["events"], args["timeout"], found(call))
            };
            let mut told = BTreeMap::<String, usize>::new();
            waits.for_each(|call| *told.entry(of(call)).or_default() += 1);
            told
        });
        let is_long = |wait: &&String| !["1", "2", "3"].contains(&wait.split(' ').nth_back(1).expect("how long"));
        let long: Vec<_> = stopped.keys().filter(is_long).collect();
        assert_eq!(long.len(), 6, "{who:?}: {stopped:?}");
        for wait in &long {
            assert!(recorded.contains_key(*wait), "{who:?}: of four of them none is told: {wait}: {recorded:?}");
        }
        for (wait, times) in &recorded {
            let made = stopped.get(wait);
            assert!(made.is_some_and(|made| times <= made), "{who:?}: never made, or not as often: {wait}, {times}");
        }
        eprintln!("{who:?}: {recorded:?} of {stopped:?}");
    }
}

/// strace and the kernel's records of one and the same run.
#[test]
fn what_is_recorded_is_what_strace_sees_of_the_same_run() {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("NOT CHECKED here: there is no strace");
        return;
    }
    let stage = Stage::make();
    let names = "socket,bind,listen,connect,accept4,accept,sendto,recvfrom,shutdown,setsockopt,close";
    for who in recording() {
        let traces = stage.folder.join(format!("{who:?}"));
        let (trace, only) = (traces.to_str().expect("a path"), format!("trace={names}"));
        let words = ["strace", "-ff", "-yy", "-e", &only, "-o", trace, "python3", "-c", ECHO, "50"];
        let lines = stage.run(who, &["--isolated", "--backend", "perf"], &words);
        let mut recorded: BTreeMap<u64, Vec<(String, String)>> = BTreeMap::new();
        for call in of_type(&lines, "call").filter(|call| text(call, "name") != "exit") {
            let name = match text(call, "name") {
                "send" => "sendto",
                "recv" => "recvfrom",
                name => name,
            };
            let result = call["result"].as_i64().expect("it returned");
            let short = format!(
                "{name} = {result}{}",
                call["errno"].as_str().map_or(String::new(), |errno| format!(" {errno}"))
            );
            let tid = call["process"]["tid"].as_u64().expect("a thread");
            recorded.entry(tid).or_default().push((text(call, "at").to_owned(), short));
        }
        let recorded: BTreeMap<u64, Vec<String>> = recorded
            .into_iter()
            .map(|(tid, mut calls)| {
                calls.sort();
                (tid, calls.into_iter().map(|(_, short)| short).collect())
            })
            .collect();
        let mut traced: BTreeMap<u64, Vec<String>> = BTreeMap::new();
        for file in fs::read_dir(&stage.folder).expect("the folder").flatten() {
            let name = file.file_name().into_string().expect("a name");
            let Some(tid) = name.strip_prefix(&format!("{who:?}.")).and_then(|tid| tid.parse().ok()) else { continue };
            let text = fs::read_to_string(file.path()).expect("what strace wrote");
            let calls: Vec<_> = text.lines().filter_map(strace_line).collect();
            if !calls.is_empty() {
                traced.insert(tid, calls);
            }
        }
        assert_eq!(traced.values().map(Vec::len).sum::<usize>(), 50 * 10 + 4, "{who:?}: {traced:?}");
        assert_eq!(traced, recorded, "{who:?}");
    }
}

/// `name = result ERRNO` of a line about a TCP socket, whose descriptor strace shows as `3<TCP:[127.0.0.1:80]>`.
fn strace_line(line: &str) -> Option<String> {
    let (name, rest) = line.split_once('(')?;
    if !rest.contains("<TCP") {
        return None;
    }
    let (_, result) = line.rsplit_once(" = ")?;
    let words: Vec<_> = result.split(['<', ' ']).collect();
    let errno = words.get(1).filter(|word| word.starts_with('E')).map_or(String::new(), |errno| format!(" {errno}"));
    Some(format!("{name} = {}{errno}", words[0]))
}

/// With TCP_FASTOPEN_CONNECT connect returns before there is a SYN: it leaves with the octets of the first send.
const FAST_OPEN: &str = r#"
import socket
with open("/proc/sys/net/ipv4/tcp_fastopen", "w") as both_ends:
    both_ends.write("3")
listener = socket.socket()
listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_FASTOPEN, 5)
listener.bind(("127.0.0.1", 0))
listener.listen(5)
for _ in range(2):
    client = socket.socket()
    client.setsockopt(socket.IPPROTO_TCP, 30, 1)
    client.connect(listener.getsockname())
    client.sendall(b"hello")
    server, _ = listener.accept()
    assert server.recv(5, socket.MSG_WAITALL) == b"hello"
    server.sendall(b"world")
    assert client.recv(5, socket.MSG_WAITALL) == b"world"
    client.close()
    assert server.recv(1) == b""
    server.close()
"#;

#[test]
fn a_program_that_is_executed_by_another_thread_than_the_first_is_followed() {
    const EXECUTES: &str = "import os, sys, threading\nthreading.Thread(target=lambda: os.execv(sys.executable, \
                            [sys.executable, '-c', sys.argv[1], '1'])).start()";
    let stage = Stage::make();
    for who in recording() {
        let words = ["python3", "-c", EXECUTES, ECHO];
        let lines = stage.run(who, &["--isolated", "--backend", "perf"], &words);
        let sent: u64 = of_type(&lines, "call")
            .filter(|call| call["effect"] == "send")
            .filter_map(|call| call["octets"].as_u64())
            .sum();
        let connection = of_type(&lines, "connection").next().expect("it connects");
        let on_the_wire = ["client_to_server", "server_to_client"].map(|way| connection[way]["unique_octets"].as_u64());
        assert!(
            sent > 0 && sent == on_the_wire.into_iter().flatten().sum::<u64>(),
            "{who:?}: {sent} of {on_the_wire:?}"
        );
        assert_eq!(of_type(&lines, "call").filter(|call| call["name"] == "exit").count(), 0, "{who:?}");
    }
}

#[test]
fn calls_of_a_socket_that_opens_with_its_first_octets_are_joined() {
    if !Who::Root.is_playable() {
        eprintln!("NOT CHECKED here: only root may have a server take octets with a SYN");
        return;
    }
    let stage = Stage::make();
    let who = Who::Root;
    for backend in ["ptrace", "perf"] {
        let lines = stage.run(who, &["--isolated", "--backend", backend], &["python3", "-c", FAST_OPEN]);
        let run = of_type(&lines, "run").next().expect("the line of the run");
        assert_eq!(run["lost_calls"], 0, "{who:?} {backend}");
        let of = |n: u64, kind, name: &str| -> Vec<&Value> {
            let is_its =
                |line: &&Value| line["connection"] == n && line["side"] == "client" && text(line, "name") == name;
            of_type(&lines, kind).filter(is_its).collect()
        };
        let syn = |n: u64| {
            let is_it = |line: &&Value| line["connection"] == n && line["flags"] == "SYN";
            of_type(&lines, "segment")
                .find(is_it)
                .unwrap_or_else(|| panic!("{who:?} {backend} {n}: no SYN: {lines:#?}"))
        };
        // The first one has no cookie yet: its SYN is connect's. The second one's is the send's.
        for (n, octets, name) in [(0, 0, "connect"), (1, 5, "send")] {
            let [connect, send] = ["connect", "send"].map(|name| of(n, "call", name));
            assert_eq!((connect.len(), send.len()), (1, 1), "{who:?} {backend} {n}: {lines:#?}");
            let (syn, call) = (syn(n), if name == "connect" { connect[0] } else { send[0] });
            assert_eq!((&syn["octets"], &syn["cause"]["call"]), (&octets.into(), &call["id"]), "{who:?} {backend} {n}");
            assert_eq!(connect[0]["result"], 0, "{who:?} {backend} {n}");
            assert_eq!(send[0]["stream"], serde_json::json!({"from": 0, "to": 5}), "{who:?} {backend} {n}");
        }
        assert_eq!(of(1, "call", "connect")[0]["frames"], serde_json::json!([]), "{who:?} {backend}");
        // All others are about the socket that listens.
        let unjoined = of_type(&lines, "call").filter(|call| call["connection"].is_null());
        let unjoined: Vec<_> = unjoined.map(|call| text(call, "name")).collect();
        assert_eq!(unjoined, ["socket", "setsockopt", "bind", "listen", "close"], "{who:?} {backend}");
    }
}

/// However a connection opens, and though its address lies where nothing of it is recorded, all that its ends moved is joined to it.
#[test]
fn whoever_opens_a_connection_is_joined_however_that_is_done() {
    let stage = Stage::make();
    let (_, program) = stage.compiled("fast_open", "-O1");
    let program = program.to_str().expect("a path");
    for who in recording() {
        for way in ["connect", "option", "sendto", "sendmsg"] {
            let lines = stage.run(who, &["--isolated", "--backend", "perf"], &[program, way]);
            let run = of_type(&lines, "run").next().expect("the line of the run");
            let mut moved = BTreeMap::<(u64, String, String), u64>::new();
            let (mut unjoined, mut seen) = (0, BTreeSet::new());
            for line in &lines {
                let octets = line["octets"].as_u64().unwrap_or(0);
                // On a busy machine a segment may be sent again.
                let place = format!("{} {} {}", line["connection"], line["from"], line["stream"]);
                if text(line, "type") == "segment" && !seen.insert(place) {
                    continue;
                }
                let (what, side) = match text(line, "type") {
                    "call" => (text(line, "effect"), text(line, "side")),
                    "segment" => ("segment", text(line, "from")),
                    _ => continue,
                };
                match line["connection"].as_u64() {
                    _ if octets == 0 => {}
                    Some(n) => *moved.entry((n, what.to_owned(), side.to_owned())).or_default() += octets,
                    None => unjoined += 1,
                }
            }
            // Of the kernel's words on states that root joins by, some may be lost.
            let lost = run["kernel_trace"]["lost_on_host"].as_u64().unwrap_or(0);
            assert!(unjoined <= lost, "{who:?} {way}: {unjoined} calls unjoined, {lost} records lost");
            assert_eq!(of_type(&lines, "connection").count(), 60, "{who:?} {way}");
            for ((n, what, side), octets) in &moved {
                assert_eq!(*octets, n + 1, "{who:?} {way}: {what} of the {side}, connection {n}");
            }
            assert!(moved.len() as u64 + lost >= 6 * 60, "{who:?} {way}: {moved:?}");
        }
    }
}

/// A server that answers in capitals, one thread for each connection.
const SERVER: &str = r#"
import socket, threading
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
listener.listen(5)
print(listener.getsockname()[1], flush=True)
def serve(s):
    while data := s.recv(100):
        s.sendall(data.upper())
    s.close()
while True:
    s, _ = listener.accept()
    threading.Thread(target=serve, args=(s,), daemon=True).start()
"#;

struct Server {
    child: Child,
    port: u16,
}

impl Server {
    fn start(who: Who) -> Self {
        let mut command = Command::new("python3");
        command.args(["-c", SERVER]).current_dir("/").stdin(Stdio::null()).stdout(Stdio::piped());
        if who != Who::Root && geteuid().is_root() {
            command.uid(NOBODY).gid(NOBODY);
        }
        let mut child = command.spawn().expect("python3");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("its port");
        Self { child, port: line.trim().parse().expect("a port") }
    }

    fn connect(&self) -> TcpStream {
        TcpStream::connect(("127.0.0.1", self.port)).expect("the server listens")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Sends octets and sees that they come back in capitals.
fn talk(stream: &mut TcpStream, said: &str) {
    stream.write_all(said.as_bytes()).expect("it is sent");
    let mut heard = vec![0; said.len()];
    stream.read_exact(&mut heard).expect("it is answered");
    assert_eq!(heard, said.to_uppercase().as_bytes());
}

#[test]
fn a_process_that_runs_is_joined_and_goes_on() {
    let stage = Stage::make();
    for who in recording() {
        let server = Server::start(who);
        let mut open = server.connect();
        talk(&mut open, "before");
        let (file, pid) = (stage.new_file(), server.child.id().to_string());
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "--format", "jsonl", "-o"]).arg(&file).args(["-p", &pid, "-p", &pid]);
        let mut tcpflow = Process::start(&mut command);
        tcpflow.await_line("had 2 TCP sockets open already");
        talk(&mut open, "after");
        let mut new = server.connect();
        talk(&mut new, "new one");
        drop((open, new));
        talk(&mut server.connect(), "last");
        tcpflow.signal(Signal::SIGINT);
        let (status, told) = tcpflow.wait();
        assert!(status.success(), "{who:?}: {told}");
        let lines = stage.lines(&file);
        let calls = |name: &str| of_type(&lines, "call").filter(|call| text(call, "name") == name).collect::<Vec<_>>();
        assert_eq!(calls("found").len(), 2, "{who:?}: {lines:#?}");
        let octets = |name: &str| calls(name).iter().filter_map(|call| call["octets"].as_u64()).sum::<u64>();
        // What was said before is not told.
        assert_eq!((octets("recv"), octets("send")), (16, 16), "{who:?}");
        if who != Who::User {
            // Their packets are there, and each call that moved octets is joined to them.
            assert_eq!(of_type(&lines, "connection").count(), 3, "{who:?}");
            let moved = |call: &&&Value| call["octets"].as_u64().is_some_and(|octets| octets > 0);
            for call in [calls("recv"), calls("send")].iter().flatten().filter(moved) {
                assert!(call["connection"].is_u64() && call["stream"].is_object(), "{who:?}: {call}");
            }
        }
        let run = of_type(&lines, "run").next().expect("the line of the run");
        assert_eq!((text(run, "backend"), run["lost_calls"].as_u64()), ("perf", Some(0)), "{who:?}");
        talk(&mut server.connect(), "it goes on");
    }
}

#[test]
fn a_process_that_was_joined_goes_on_when_tcpflow_is_killed() {
    let stage = Stage::make();
    for who in recording() {
        let mut server = Server::start(who);
        let mut open = server.connect();
        talk(&mut open, "before");
        let (file, pid) = (stage.new_file(), server.child.id().to_string());
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "-o"]).arg(&file).args(["-p", &pid]);
        let mut tcpflow = Process::start(&mut command);
        tcpflow.await_line("had 2 TCP sockets open already");
        talk(&mut open, "after");
        tcpflow.signal(Signal::SIGKILL);
        tcpflow.wait();
        talk(&mut open, "still");
        talk(&mut server.connect(), "and new");
        assert!(server.child.try_wait().expect("it can be asked").is_none(), "{who:?}");
        let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        for nothing in ["TracerPid:\t0", "Seccomp:\t0"] {
            assert!(status.contains(nothing), "{who:?}: {status}");
        }
    }
}

#[test]
fn what_cannot_be_joined_is_told_with_the_way_out() {
    let stage = Stage::make();
    let mut gone = Command::new("true").spawn().expect("true");
    gone.wait().expect("it ends");
    let failure = |who: Who, arguments: &[&str]| {
        let output = stage.tcpflow.played_by(who).arg("run").args(arguments).output().expect("it starts");
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    for who in recording() {
        let told = failure(who, &["-p", &gone.id().to_string()]);
        assert!(told.contains("there is no such process"), "{who:?}: {told}");
    }
    if recording().contains(&Who::User) {
        let told = failure(Who::User, &["-p", "1"]);
        assert!(told.contains("belongs to another user: run tcpflow with sudo"), "{told}");
    }
    let told = failure(Who::User, &["-p", "1", "--backend", "ptrace"]);
    assert!(told.contains("-p takes the perf backend"), "{told}");
}

/// The lines of a program in C: those where its calls stand are where tcpflow says that they were made.
#[test]
fn each_call_has_its_source_line() {
    let stage = Stage::make();
    let (source, program) = stage.compiled("echo", "-O2");
    let code: Vec<String> = fs::read_to_string(&source).expect("its source").lines().map(str::to_owned).collect();
    let words = [program.to_str().expect("a path")];
    let backends = recording().into_iter().map(|who| (who, "perf")).chain([(Who::User, "ptrace")]);
    for (who, backend) in backends {
        let lines = stage.run(who, &["--isolated", "--stack", "--backend", backend], &words);
        let mut found = 0;
        for call in of_type(&lines, "call").filter(|call| text(call, "name") != "exit") {
            let frames = call["stack"].as_array().unwrap_or_else(|| panic!("{who:?} {backend}: no stack: {call}"));
            let own = frames.iter().find(|frame| text(frame, "file").ends_with("echo.c"));
            let own = own.unwrap_or_else(|| panic!("{who:?} {backend}: {call}"));
            let line = &code[own["line"].as_u64().expect("a line") as usize - 1];
            assert!(line.contains(&format!("{}(", text(call, "name"))), "{who:?} {backend}: {line:?}: {call}");
            found += 1;
        }
        assert_eq!(found, 14, "{who:?} {backend}: {lines:#?}");
    }
}

#[test]
fn of_a_deep_stack_the_outermost_frames_are_left_out() {
    let stage = Stage::make();
    let (_, program) = stage.compiled("deep", "-O0");
    let backends = recording().into_iter().map(|who| (who, "perf")).chain([(Who::User, "ptrace")]);
    for (who, backend) in backends {
        let functions = |depth: usize| -> Vec<String> {
            let words = [program.to_str().expect("a path"), &depth.to_string()];
            let lines = stage.run(who, &["--isolated", "--stack", "--backend", backend], &words);
            let call = of_type(&lines, "call").find(|call| text(call, "name") == "socket").expect("its call");
            let frames = call["stack"].as_array().unwrap_or_else(|| panic!("{who:?} {backend}: no stack: {call}"));
            frames.iter().map(|frame| frame["function"].as_str().unwrap_or_default().to_owned()).collect()
        };
        let own = |functions: &[String]| functions.iter().filter(|name| *name == "deeper").count();
        let shallow = functions(1);
        let main = shallow.iter().position(|name| name == "main").expect("the outermost frames are there");
        assert_eq!(own(&shallow), 1, "{who:?} {backend}: {shallow:?}");
        // As many as are kept, and one more.
        let depth = 48 - shallow.len() + 1;
        let (whole, cut) = (functions(depth), functions(depth + 1));
        assert_eq!((whole.len(), own(&whole)), (48, depth), "{who:?} {backend}: {whole:?}");
        assert_eq!(whole[depth + main - 1..], shallow[main..], "{who:?} {backend}");
        assert_eq!((cut.len(), own(&cut)), (48, depth + 1), "{who:?} {backend}: {cut:?}");
        let mut others = cut.clone();
        others.remove(cut.iter().position(|name| name == "deeper").expect("its own"));
        assert_eq!(others, whole[..47], "{who:?} {backend}: the innermost are there");
    }
}
