//! The machine of `tcpflow run` against the kernel's own trace, on real connections: both go through the same states.

mod executable;
mod users;

use std::collections::BTreeMap;
use std::path::Path;
use std::{env, fs};

use serde_json::Value;
use users::{Program, Who, may_read_the_trace};

#[test]
fn the_machine_has_the_states_that_the_kernel_had() {
    if !may_read_the_trace() {
        return;
    }
    let mut counts = Counts::default();
    for kind in ["ordered", "crossed", "reset", "refused", "large"] {
        for (who, host) in [(Who::Root, "127.0.0.1"), (Who::Sudo, "::1")] {
            counts.compare(kind, &run(who, &[kind, host, "100"]));
        }
    }
    eprintln!("{counts:#?}");
    assert!(counts.connections >= 1000, "{counts:?}");
    assert_eq!(counts.different, [""; 0]);
    // What the trace shows differently was really there.
    assert!(counts.time_wait > 0 && counts.late_syn_received > 0 && counts.without_socket > 0, "{counts:?}");
}

/// Runs the program below, and yields the lines of its timeline.
fn run(who: Who, arguments: &[&str]) -> Vec<Value> {
    let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    let file = env::temp_dir().join(format!("tcpflow-kernel-{}-{}.jsonl", std::process::id(), arguments.concat()));
    let mut command = tcpflow.played_by(who);
    command.args(["run", "--isolated", "--format", "jsonl", "-o"]).arg(&file);
    let output = command.args(["--", "python3", "-c", PROGRAM]).args(arguments).output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {told}");
    let text = fs::read_to_string(&file).expect("a timeline");
    // One that shows a disagreement is left to be looked at.
    if !text.contains("state_disagreement") {
        drop(fs::remove_file(&file));
    }
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What was compared, and how the trace differs where it does.
#[derive(Debug, Default)]
struct Counts {
    connections: usize,
    sides: usize,
    transitions: usize,
    /// TIME-WAIT, which the trace shows as CLOSED.
    time_wait: usize,
    /// CLOSED in the trace before the peer's FIN came, as no process held the end any more.
    kept_in_fin_wait_2: usize,
    /// SYN-RECEIVED, which the trace shows after the last ACK of the handshake.
    late_syn_received: usize,
    /// Ends that never had a socket of their own, of which the trace says nothing.
    without_socket: usize,
    /// Changes of which the kernel wrote no record, as the runs say.
    unrecorded: usize,
    resets: BTreeMap<String, usize>,
    different: Vec<String>,
}

impl Counts {
    fn compare(&mut self, kind: &str, lines: &[Value]) {
        let run = lines.iter().find(|line| line["type"] == "run").expect("the line of the run");
        // Of some changes the kernel writes no record, and the run says of how many.
        let mut lost = run["kernel_trace"]["lost_on_host"].as_u64().expect("a count") as usize;
        let of_type = |name| lines.iter().filter(move |line| line["type"] == name);
        for reset in of_type("kernel").filter(|line| line["sense"] == "sent") {
            *self.resets.entry(reset["reason"].to_string()).or_default() += 1;
        }
        for connection in of_type("connection") {
            self.connections += 1;
            let disagreement = |found: &&Value| found["name"] == "state_disagreement";
            for found in connection["findings"].as_array().into_iter().flatten().filter(disagreement) {
                self.different.push(format!("{kind}: {found}"));
            }
            for side in ["client", "server"] {
                let own = |line: &&Value| line["connection"] == connection["id"] && line["side"] == side;
                let moved: Vec<&Value> = of_type("transition").filter(own).collect();
                let by = |line: &Value, witness: &str| {
                    line["evidence"].as_array().is_some_and(|all| all.iter().any(|by| by == witness))
                };
                let machine: Vec<_> =
                    moved.iter().filter(|line| by(line, "segments")).map(|line| &line["to"]).collect();
                let trace: Vec<_> = of_type("kernel").filter(own).filter(|line| line["what"] == "state").collect();
                let kernel: Vec<_> = trace.iter().map(|line| &line["to"]).collect();
                self.sides += 1;
                if kernel.is_empty() && machine == ["CLOSED"] {
                    self.without_socket += 1;
                    continue;
                }
                self.time_wait += machine.iter().filter(|state| **state == "TIME-WAIT").count();
                let answered = moved.iter().find(|line| line["to"] == "SYN-RECEIVED");
                let received = trace.iter().find(|line| line["to"] == "SYN-RECEIVED");
                if let (Some(answered), Some(received)) = (answered, received) {
                    self.late_syn_received += usize::from(received["at"].as_str() > answered["at"].as_str());
                }
                let mut expected: Vec<_> = machine.clone().into_iter().map(plain).collect();
                expected.dedup();
                let unheld = moved.iter().find(|line| line["to"] == "TIME-WAIT" && !by(line, "kernel"));
                let ended = trace.iter().find(|line| line["from"] == "FIN-WAIT-2" && line["to"] == "CLOSED");
                if let (Some(unheld), Some(ended)) = (unheld, ended) {
                    self.kept_in_fin_wait_2 += usize::from(ended["at"].as_str() < unheld["at"].as_str());
                }
                let is_small = |state: &Value| state == "TIME-WAIT" || state == "CLOSED";
                let unconfirmed = moved.iter().filter(|line| !is_small(&line["to"]) && !by(line, "kernel")).count();
                self.transitions += kernel.len();
                let mut left = expected.iter();
                let is_part = kernel.iter().all(|state| left.any(|moved| state.as_str() == Some(*moved)));
                let unrecorded = expected.len().saturating_sub(kernel.len());
                self.unrecorded += unrecorded;
                if !is_part || unrecorded > lost || unconfirmed > unrecorded {
                    self.different
                        .push(format!("{kind} {} {side}: {machine:?}, the kernel {kernel:?}", connection["id"]));
                }
                lost = lost.saturating_sub(unrecorded);
            }
        }
    }
}

/// A state as the trace has it.
fn plain(state: &Value) -> &str {
    match state.as_str() {
        Some("TIME-WAIT") => "CLOSED",
        Some(state) => state,
        None => "unknown",
    }
}

/// Connections of a kind, one after the other, each of another variety.
const PROGRAM: &str = r#"
import socket, struct, sys, threading
kind, host, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
family = socket.AF_INET6 if ":" in host else socket.AF_INET
listener = socket.create_server((host, 0), family=family)
address = listener.getsockname()
NOW = struct.pack("ii", 1, 0)

def drain(sock):
    got = 0
    try:
        while data := sock.recv(65536):
            got += len(data)
    except OSError:
        pass
    return got

def server(sock, n):
    with sock:
        if kind == "ordered":
            if n % 3 == 0:                      # the client closes first
                drain(sock)
                sock.sendall(b"late") if n % 2 else None
            elif n % 3 == 1:                    # the server closes first
                sock.sendall(b"x" * n)
            else:                               # half-closed, and still sending
                sock.shutdown(socket.SHUT_WR)
                drain(sock)
        elif kind == "crossed":                 # both at the same time
            barrier.wait()
            sock.shutdown(socket.SHUT_WR)
            drain(sock)
        elif kind == "reset":
            if n % 4 == 0:                      # the server aborts
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            elif n % 4 == 1:                    # the server closes with octets unread
                sock.recv(1)
            else:
                drain(sock)
        elif kind == "large":
            drain(sock)
            sock.sendall(b"y" * (n * 5000))

def client(n):
    try:
        talk(n)
    except ConnectionResetError:
        assert kind == "reset"

def talk(n):
    sock = socket.create_connection(address[:2])
    with sock:
        if kind == "ordered":
            sock.sendall(b"hello" * (n % 7))
            if n % 3 == 0:
                sock.shutdown(socket.SHUT_WR)
            drain(sock)
        elif kind == "crossed":
            barrier.wait()
            sock.shutdown(socket.SHUT_WR)
            drain(sock)
        elif kind == "reset":
            sock.sendall(b"hello")
            if n % 4 == 2:                      # the client aborts
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
            elif n % 4 != 3:                    # it may be reset before it has connected, or sent
                drain(sock)
        elif kind == "large":
            sock.sendall(b"z" * (n * 3000))
            sock.shutdown(socket.SHUT_WR)
            assert drain(sock) == n * 5000

if kind == "refused":
    listener.close()
    for n in range(count):
        try:
            socket.create_connection(address[:2])
        except ConnectionRefusedError:
            continue
        sys.exit("it was not refused")
    sys.exit(0)

barrier = threading.Barrier(2)
for n in range(count):
    accepted = threading.Thread(target=lambda: server(listener.accept()[0], n))
    accepted.start()
    client(n)
    accepted.join()
"#;
