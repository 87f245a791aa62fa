//! `tcpflow demo` many times in a row with every processor busy, as root and as an ordinary user: each time every call is joined,
//! every segment has its cause, and the machines end where the kernel does.
//!
//! `TCPFLOW_DEMO_RUNS` says how often each combination is played; once by default.

mod executable;
mod users;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{env, fs, hint, thread};

use serde_json::Value;
use users::{Program, Who};

#[test]
fn every_demo_is_told_without_a_gap_while_the_machine_is_busy() {
    let runs: u32 = env::var("TCPFLOW_DEMO_RUNS").ok().map_or(1, |runs| runs.parse().expect("a number of runs"));
    let program = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = OverOnDrop(&over);
        for _ in 0..thread::available_parallelism().map_or(2, usize::from) {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    hint::spin_loop();
                }
            });
        }
        for run in 0..runs {
            for who in [Who::Root, Who::Sudo, Who::User].into_iter().filter(|who| who.is_playable()) {
                for family in [&[][..], &["--ipv6"]] {
                    for (first, options) in [
                        ("client", &[][..]),
                        ("server", &["--first-close", "server"]),
                        ("client", &["--rounds", "5", "--message", "one", "--message", "two words"]),
                        ("client", &["--clients", "3"]),
                        ("client", &["--size", "100000", "--mtu", "1500"]),
                    ] {
                        let mut command = program.played_by(who);
                        command.args(["demo", "--format", "jsonl"]).args(family).args(options);
                        let output = command.output().expect("tcpflow starts");
                        let case = format!("run {run} as {who:?} {family:?} {options:?}");
                        let errors = String::from_utf8_lossy(&output.stderr);
                        assert!(output.status.success(), "{case}: {}: {errors}", output.status);
                        assert!(!errors.contains("drop") && !errors.contains("missing"), "{case}: {errors}");
                        let story = Story::read(&output.stdout);
                        if let Err(gap) = story.check(first) {
                            let kept = Path::new(env!("CARGO_TARGET_TMPDIR")).join("demo_with_a_gap.jsonl");
                            fs::write(&kept, &output.stdout).expect("a place for the output");
                            panic!("{case}: {gap}\nThe whole output is in {}", kept.display());
                        }
                    }
                }
            }
        }
    });
}

#[test]
fn a_capture_protected_against_writing_stays_as_it_is() {
    let program = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    let folder = env::temp_dir().join(format!("tcpflow-protected-{}", std::process::id()));
    fs::create_dir(&folder).unwrap();
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).unwrap();
    let kept = folder.join("kept.pcapng");
    fs::write(&kept, "before").unwrap();
    fs::set_permissions(&kept, fs::Permissions::from_mode(0o444)).unwrap();
    let output = program.played_by(Who::User).args(["demo", "--save"]).arg(&kept).output().unwrap();
    let content = fs::read_to_string(&kept).unwrap();
    fs::remove_dir_all(&folder).unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(output.stdout.is_empty() && told.contains("protected against writing"), "{told}");
    assert_eq!(content, "before");
}

#[test]
fn demos_at_the_same_time_leave_one_another_alone() {
    let program = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    let who = if Who::Root.is_playable() { Who::Root } else { Who::User };
    let started: Vec<_> = (0..8)
        .map(|_| {
            let mut command = program.played_by(who);
            command.args(["demo", "--format", "jsonl"]).stdout(Stdio::piped()).stderr(Stdio::piped());
            command.spawn().expect("tcpflow starts")
        })
        .collect();
    for demo in started {
        let output = demo.wait_with_output().expect("tcpflow ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Story::read(&output.stdout).check("client").unwrap();
    }
}

struct OverOnDrop<'a>(&'a AtomicBool);

impl Drop for OverOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The lines of one run.
struct Story {
    lines: Vec<Value>,
}

impl Story {
    fn read(output: &[u8]) -> Self {
        let text = std::str::from_utf8(output).expect("UTF-8");
        Self { lines: text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect() }
    }

    fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    /// Holds it to every join of the design; `first` is the end that closes first.
    fn check(&self, first: &str) -> Result<(), String> {
        let second = if first == "client" { "server" } else { "client" };
        let segments: Vec<_> = self.of("segment").collect();
        let totals = self.of("totals").next().ok_or("no totals")?;
        demand(totals["frames"] == segments.len() && totals["dropped"] == 0, || {
            format!("frames without a line: {totals}")
        })?;
        for segment in &segments {
            let cause = &segment["cause"];
            let by_call = cause["call"].is_u64() || cause["calls"].is_array();
            let by_kernel = cause["kernel"].is_string() && cause["kernel"] != "unknown";
            demand(by_call || by_kernel, || format!("a segment without a cause: {segment}"))?;
            demand(segment["connection"].is_u64(), || format!("a segment of no connection: {segment}"))?;
        }
        let with_flag = |frame: &Value, flag: &str| {
            let segment = segments.iter().find(|segment| segment["frame"] == *frame);
            segment
                .and_then(|segment| segment["flags"].as_str())
                .is_some_and(|flags| flags.split(',').any(|one| one == flag))
        };
        let all_with =
            |frames: &[Value], flag: &str| !frames.is_empty() && frames.iter().all(|frame| with_flag(frame, flag));
        for call in self.of("call") {
            let frames = call["frames"].as_array().ok_or("frames are a list")?;
            let moved = call["octets"].as_u64().unwrap_or(0);
            let completed = &call["completed_by"];
            let joined = match (call["name"].as_str().unwrap_or_default(), moved) {
                ("connect", _) => all_with(frames, "SYN") && with_flag(completed, "SYN"),
                ("accept", _) => with_flag(completed, "ACK") && !with_flag(completed, "SYN"),
                ("send", 1..) => !frames.is_empty() && length(&call["stream"]) == moved,
                ("recv", 1..) => {
                    length(&call["stream"]) == moved && call["brought_by"].as_array().is_some_and(|by| !by.is_empty())
                }
                ("recv", 0) => call["errno"].is_string() || with_flag(completed, "FIN"),
                ("close", _) if call["connection"].is_u64() => all_with(frames, "FIN"),
                _ => frames.is_empty(),
            };
            demand(joined, || format!("a call that is not joined: {call}"))?;
        }
        for transition in self.of("transition") {
            let witnessed = transition["evidence"].as_array().is_some_and(|witnesses| !witnesses.is_empty());
            demand(transition["disagreement"].is_null(), || format!("a disagreement: {transition}"))?;
            demand(witnessed && !transition["cause"].is_null(), || {
                format!("a transition without a cause: {transition}")
            })?;
        }
        for connection in self.of("connection") {
            let id = &connection["id"];
            let findings = connection["findings"].as_array().ok_or("findings are a list")?;
            let harmless = |finding: &Value| !GAPS.contains(&finding["name"].as_str().unwrap_or_default());
            demand(findings.iter().all(harmless), || format!("findings: {}", connection["findings"]))?;
            demand(connection["conn_state"] == "SF" && connection["completeness"] == 31, || {
                format!("not whole: {connection}")
            })?;
            demand(connection["closed_by"] == first, || format!("not closed by the {first}: {connection}"))?;
            let ends = (&connection[format!("{first}_state")], &connection[format!("{second}_state")]);
            demand(ends.0 == "TIME-WAIT" && ends.1 == "CLOSED", || format!("other final states: {connection}"))?;
            for (from, to, direction) in
                [("client", "server", "client_to_server"), ("server", "client", "server_to_client")]
            {
                let moved = |name: &str, side: &str| -> u64 {
                    let here =
                        |call: &&Value| call["name"] == name && call["side"] == side && call["connection"] == *id;
                    self.of("call").filter(here).map(|call| length(&call["stream"])).sum()
                };
                let on_wire = connection[direction]["unique_octets"].as_u64().unwrap_or_default();
                let conserved = moved("send", from) == on_wire && moved("recv", to) == on_wire && on_wire > 0;
                demand(conserved, || format!("octets from the {from} are not conserved: {connection}"))?;
            }
            for (side, state) in [(first, "TIME-WAIT"), (second, "CLOSED")] {
                let to_end = |line: &&Value| line["connection"] == *id && line["side"] == side && line["to"] == state;
                let seen = self.of("transition").filter(to_end).any(|line| {
                    line["evidence"].as_array().is_some_and(|witnesses| witnesses.iter().any(|one| one == "sock_diag"))
                });
                demand(seen, || format!("sock_diag did not see the {side} in {state}"))?;
            }
            let timer = self.of("timer").find(|line| line["connection"] == *id).ok_or("no TIME-WAIT timer")?;
            let remaining = timer["remaining_ns"].as_i64().unwrap_or_default();
            demand(
                timer["side"] == first
                    && (55_000_000_000..=60_500_000_000).contains(&remaining)
                    && timer["cause"].is_u64(),
                || format!("another timer: {timer}"),
            )?;
        }
        demand(self.of("connection").next().is_some(), || "no connection".to_owned())
    }
}

/// Findings that would mean that something was missed or misjudged; a kernel under load may well send a segment again.
const GAPS: &[&str] = &[
    "lost_segment",
    "acked_unseen",
    "port_reuse",
    "captured_twice",
    "inconsistent_flags",
    "conflicting_octets",
    "data_after_close",
    "state_disagreement",
];

fn demand(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// How many positions a stream range holds; none for null.
fn length(stream: &Value) -> u64 {
    stream["to"].as_u64().unwrap_or(0) - stream["from"].as_u64().unwrap_or(0)
}
