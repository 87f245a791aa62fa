//! `tcpflow run` on programs that a C compiler makes here: every call joined, what is wrong with them found, and nothing of theirs changed.
//!
//! All of it is played on the real kernel, as root and as an ordinary user, in a network of its own.

mod executable;
mod process;
mod users;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::{env, fs};

use nix::sys::signal::Signal;
use nix::unistd::geteuid;
use serde_json::Value;
use users::{NOBODY, Program, Who};

/// Everyone who can be played here.
fn everyone() -> impl Iterator<Item = Who> {
    [Who::Root, Who::Sudo, Who::User].into_iter().filter(|who| who.is_playable())
}

/// What all tests need, for as long as one of them runs: tcpflow and the programs of `tests/programs`, where every user can reach them,
/// in a folder that everybody may write to.
struct Stage {
    tcpflow: Program,
    folder: PathBuf,
    schema: jsonschema::Validator,
}

impl Stage {
    fn open() -> Arc<Self> {
        static STAGE: Mutex<Weak<Stage>> = Mutex::new(Weak::new());
        let mut stage = STAGE.lock().unwrap_or_else(PoisonError::into_inner);
        stage.upgrade().unwrap_or_else(|| {
            let made = Arc::new(Self::make());
            *stage = Arc::downgrade(&made);
            made
        })
    }

    fn make() -> Self {
        let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
        let folder = env::temp_dir().join(format!("tcpflow-run-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/mistakes.c");
        let mut compiler = Command::new(env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        compiler.args(["-O1", "-Wall", "-Werror", "-pthread", "-o"]).arg(folder.join("mistakes")).arg(source);
        let output = compiler.output().expect("a C compiler (scripts/setup.sh installs one)");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let schema = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/output.schema.json");
        let schema = serde_json::from_str(&fs::read_to_string(schema).expect("the schema")).expect("JSON");
        let schema = jsonschema::validator_for(&schema).expect("a schema");
        Self { tcpflow, folder, schema }
    }

    /// The words of a play of `tests/programs/mistakes.c`.
    fn words(&self, play: &str) -> Vec<String> {
        vec![self.folder.join("mistakes").to_str().expect("a path").to_owned(), play.to_owned()]
    }

    fn run_mistake(&self, who: Who, play: &str) -> Ran {
        let words = self.words(play);
        self.run(who, &[], &words.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Runs words under `tcpflow run --isolated`.
    fn run(&self, who: Who, options: &[&str], words: &[&str]) -> Ran {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let file = self.folder.join(format!("{}.jsonl", COUNT.fetch_add(1, Ordering::Relaxed)));
        let mut command = self.tcpflow.played_by(who);
        command.args(["run", "--isolated", "--format", "jsonl", "-o"]).arg(&file).args(options);
        if !words.is_empty() {
            command.arg("--").args(words);
        }
        let output = command.output().expect("it starts");
        let text = fs::read_to_string(&file)
            .unwrap_or_else(|error| panic!("{who:?} {words:?}: {error}: {}", String::from_utf8_lossy(&output.stderr)));
        let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        for line in &lines {
            assert!(self.schema.is_valid(line), "{who:?} {words:?}: not as docs/output.schema.json has it: {line}");
        }
        Ran { lines, output }
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// The lines of a run, and what the command itself wrote.
struct Ran {
    lines: Vec<Value>,
    output: Output,
}

impl Ran {
    fn of_type<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Value> {
        self.lines.iter().filter(move |line| line["type"] == kind)
    }

    fn diagnoses(&self) -> Vec<&str> {
        self.of_type("diagnosis").map(|line| line["name"].as_str().expect("a name")).collect()
    }

    /// What standard error says, for the message of a test that fails.
    fn told(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    /// Sees that for each direction what sends reported, what receives reported and what was on the wire is the same, and more than nothing in all.
    fn check_octets(&self, what: &str) -> u64 {
        let mut moved: BTreeMap<(u64, String, String), u64> = BTreeMap::new();
        for call in self.of_type("call") {
            let (Some(octets), Some(effect)) = (call["octets"].as_u64(), call["effect"].as_str()) else { continue };
            if octets == 0 || !["send", "receive"].contains(&effect) {
                continue;
            }
            let connection = call["connection"].as_u64().unwrap_or_else(|| panic!("{what}: not joined: {call}"));
            let side = call["side"].as_str().expect("a side").to_owned();
            *moved.entry((connection, side, effect.to_owned())).or_default() += octets;
        }
        let mut all = 0;
        for connection in self.of_type("connection") {
            let id = connection["id"].as_u64().expect("an id");
            for (side, peer, way) in
                [("client", "server", "client_to_server"), ("server", "client", "server_to_client")]
            {
                let of = |side: &str, effect: &str| {
                    moved.get(&(id, side.to_owned(), effect.to_owned())).copied().unwrap_or(0)
                };
                let wire = connection[way]["unique_octets"].as_u64().expect("octets");
                println!(
                    "{what}: {id} {way}: sent {}, on the wire {wire}, received {}",
                    of(side, "send"),
                    of(peer, "receive")
                );
                assert_eq!(of(side, "send"), wire, "{what}: {id} {way}: what sends wrote");
                all += wire;
            }
        }
        all
    }
}

#[test]
fn what_is_right_has_no_diagnosis_and_every_octet_is_joined() {
    let stage = Stage::open();
    for who in everyone() {
        for name in ["right", "forking", "vectors", "passed", "threads"] {
            let ran = stage.run_mistake(who, name);
            let status = ran.output.status.code();
            assert_eq!(status, Some(0), "{who:?} {name}: {}", ran.told());
            assert_eq!(ran.diagnoses(), [""; 0], "{who:?} {name}");
            assert!(ran.check_octets(name) >= 5, "{who:?} {name}");
            let connections: Vec<_> = ran.of_type("connection").collect();
            assert_eq!(connections.len(), 1, "{who:?} {name}");
            assert_eq!(connections[0]["ending"], "fin", "{who:?} {name}");
            let findings = connections[0]["findings"].as_array().expect("a list");
            assert!(findings.is_empty(), "{who:?} {name}: {findings:?}");
            let last = ran.lines.last().expect("lines");
            assert_eq!(
                (last["type"].as_str(), last["status"].as_u64(), last["lost_calls"].as_u64()),
                (Some("run"), Some(0), Some(0))
            );
            // Nobody but the kernel explains nothing: each FIN was sent by a call.
            let fins: Vec<_> = ran
                .of_type("segment")
                .filter(|line| line["flags"].as_str().is_some_and(|flags| flags.contains("FIN")))
                .collect();
            assert_eq!(fins.len(), 2, "{who:?} {name}");
            for fin in fins {
                assert!(fin["cause"]["call"].is_u64(), "{who:?} {name}: {fin}");
            }
        }
    }
}

#[test]
fn each_mistake_is_found_with_the_calls_and_frames_that_prove_it() {
    let stage = Stage::open();
    // The play, its exit status, and for each diagnosis the calls and the flags of the segments that prove it.
    type Expected = (&'static str, &'static [&'static str], &'static [&'static str]);
    let plays: &[(&str, i32, &[Expected])] = &[
        ("refused", 0, &[("refused", &["connect"], &["RST"])]),
        ("refused_later", 0, &[("refused", &["connect", "getsockopt"], &[])]),
        ("unread", 0, &[("unread_at_close", &["close"], &["RST"])]),
        ("linger", 0, &[("linger_zero", &["close"], &["RST"])]),
        ("linger_inherited", 0, &[("linger_zero", &["close"], &["RST"])]),
        ("linger_and_unread", 0, &[("unread_at_close", &["close"], &["RST"])]),
        ("linger_taken_back", 0, &[]),
        ("busy_polling", 0, &[("busy_at_end", &["recv", "recv", "recv"], &["FIN"])]),
        ("sent_late", 0, &[("sent_after_close", &["send"], &["RST"])]),
        ("sigpipe", 128 + 13, &[("closed_by_exit", &["exit"], &["FIN"]), ("sent_after_close", &["send"], &[])]),
        ("leak", 0, &[("close_wait_leak", &["recv", "socket"], &["FIN"]), ("closed_by_exit", &["exit"], &["FIN"])]),
        ("busy", 0, &[("busy_at_end", &["recv", "recv", "recv"], &["FIN"])]),
        ("kept", 0, &[("closed_by_exit", &["exit"], &["FIN"]), ("descriptor_kept", &["close", "exit"], &[])]),
        ("exits", 0, &[("closed_by_exit", &["exit"], &["FIN"])]),
        ("in_use", 0, &[("port_listened_on", &["listen", "bind"], &[])]),
        ("in_time_wait", 0, &[("port_in_time_wait", &["bind"], &[])]),
        ("bound_by_another", 0, &[("port_in_use", &["bind", "bind"], &[])]),
        ("port_of_a_connection", 0, &[("port_in_use", &["accept", "bind"], &[])]),
        ("listened_on_and_waiting", 0, &[("port_listened_on", &["listen", "bind"], &[])]),
        ("waiting_without_reuse", 0, &[("port_in_time_wait", &["bind"], &[])]),
        ("no_second_listener", 0, &[("port_listened_on", &["listen", "listen"], &[])]),
        ("reuse_in_time", 0, &[("port_listened_on", &["listen", "bind"], &[])]),
        ("refused_at_first_send", 0, &[("refused", &["connect", "send"], &[])]),
        ("file_closed_twice", 0, &[]),
        ("copy_closed_while_waited", 0, &[]),
        ("shut_down_before_close", 0, &[]),
        ("reuse_late", 0, &[("reuse_address_too_late", &["bind", "setsockopt"], &[])]),
        ("closed_twice", 0, &[("closed_descriptor", &["close", "close"], &[])]),
        ("no_socket", 0, &[("not_a_socket", &["socket", "listen"], &[])]),
        ("never_accepted", 0, &[("never_accepted", &["listen", "close"], &["SYN"])]),
        ("waited_on", 0, &[("closed_while_waited_on", &["recv", "close"], &[])]),
        ("echo_cut", 0, &[("cut_at_zero", &["recv", "send"], &[])]),
        ("echo_beyond", 0, &[("beyond_the_received", &["recv", "send"], &[])]),
        ("zeros", 0, &[("zeros_sent", &["send"], &[])]),
        ("joined", 0, &[("messages_joined", &["send", "send", "recv"], &[])]),
        ("length", 0, &[("address_length", &["listen", "accept"], &[])]),
        ("length_elsewhere", 0, &[("address_length", &["listen", "accept"], &[])]),
        ("length_zero", 0, &[("address_length", &["accept"], &[])]),
        ("length_huge", 0, &[("address_length", &["accept"], &[])]),
        ("length_of_peer", 0, &[("address_length", &["getpeername"], &[])]),
        ("length_of_sender", 0, &[("address_length", &["recvfrom"], &[])]),
        (
            "queue_full",
            0,
            &[("accept_queue_full", &["listen"], &["SYN", "SYN"]), ("connect_timed_out", &["connect"], &[])],
        ),
        ("closed_window", 0, &[("short_write", &["send"], &[]), ("zero_window_stall", &["recv"], &["ACK"])]),
        (
            "held_back",
            0,
            &[
                ("messages_joined", &["send", "send", "send", "recv"], &[]),
                ("nagle_delayed_ack", &["send"], &["ACK", "PSH"]),
            ],
        ),
        (
            "corked",
            0,
            &[
                ("messages_joined", &["send", "send", "send", "send", "recv"], &[]),
                ("sends_merged", &["send", "send", "send", "send"], &["PSH"]),
            ],
        ),
        (
            "closed_window_elsewhere",
            0,
            &[("short_write", &["send"], &[]), ("zero_window_stall", &["recv", "recv"], &["ACK"])],
        ),
        ("half", 0, &[("half_closed", &["shutdown", "recv"], &[])]),
        ("ports", 0, &[("ports_used_up", &["connect"], &[])]),
        ("ports_waiting", 0, &[("ports_used_up", &["connect"], &[])]),
        (
            "split",
            0,
            &[("message_split", &["send", "recv", "recv", "recv", "recv", "recv", "recv", "recv", "recv"], &[])],
        ),
    ];
    for who in everyone() {
        for (name, status, expected) in plays {
            let ran = stage.run_mistake(who, name);
            assert_eq!(ran.output.status.code(), Some(*status), "{who:?} {name}: {}", ran.told());
            let mut found = ran.diagnoses();
            found.sort_unstable();
            let names: Vec<_> = expected.iter().map(|(name, ..)| *name).collect();
            assert_eq!(found, names, "{who:?} {name}");
            let events: BTreeMap<u64, &Value> = ran
                .lines
                .iter()
                .filter_map(|line| Some((line["id"].as_u64()?, line)))
                .filter(|(_, line)| line["type"] != "connection")
                .collect();
            for (what, calls, segments) in *expected {
                let diagnosis = ran.of_type("diagnosis").find(|line| line["name"] == *what).expect("it was found");
                let proof: Vec<&Value> = diagnosis["events"]
                    .as_array()
                    .expect("a list")
                    .iter()
                    .map(|id| events[&id.as_u64().expect("an id")])
                    .collect();
                let named: Vec<_> = proof
                    .iter()
                    .filter(|line| line["type"] == "call")
                    .map(|line| line["name"].as_str().expect("a name"))
                    .collect();
                assert_eq!(named, *calls, "{who:?} {name} {what}");
                let flags: Vec<_> = proof
                    .iter()
                    .filter(|line| line["type"] == "segment")
                    .map(|line| line["flags"].as_str().expect("flags"))
                    .collect();
                assert_eq!(flags.len(), segments.len(), "{who:?} {name} {what}: {flags:?}");
                for (flags, wanted) in flags.iter().zip(*segments) {
                    assert!(flags.contains(wanted), "{who:?} {name} {what}: {flags}");
                }
            }
            ran.check_octets(name);
        }
    }
}

/// Where no packets may be captured, calls and states tell how each connection ended, and what they do not tell is marked.
#[test]
fn without_packets_calls_and_states_say_how_a_connection_ended() {
    let stage = Stage::open();
    // The play; how the connection ended, who closed it, and whether that is concluded: as an ordinary user, and where the kernel's trace is read.
    type Told = (&'static str, &'static str, Option<&'static str>, [bool; 2], &'static [&'static str]);
    let plays: &[Told] = &[
        ("right", "closed", Some("client"), [false, false], &["close", "close", "recv"]),
        ("refused", "refused", None, [false, false], &["connect"]),
        ("refused_later", "refused", None, [false, false], &["connect", "getsockopt"]),
        ("unread", "reset", Some("server"), [true, false], &["close"]),
        ("linger", "reset", Some("server"), [true, false], &["close", "setsockopt"]),
        ("sent_late", "reset", Some("server"), [false, false], &["close", "send"]),
        ("half", "closed", Some("client"), [false, false], &["close", "recv", "shutdown"]),
        ("exits", "closed", Some("client"), [false, false], &["close", "exit", "recv"]),
    ];
    for who in everyone() {
        for (name, ending, by, inferred, calls) in plays {
            let words = stage.words(name);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = stage.run(who, &["--no-packets"], &words);
            assert_eq!(ran.output.status.code(), Some(0), "{who:?} {name}: {}", ran.told());
            let accounts: Vec<_> = ran.of_type("account").collect();
            assert_eq!(accounts.len(), 1, "{who:?} {name}");
            let account = accounts[0];
            let told = (account["ending"].as_str(), account["closed_by"].as_str());
            assert_eq!(told, (Some(*ending), *by), "{who:?} {name}: {account}");
            let is_traced = ran.lines.last().expect("lines")["kernel_trace"].is_object();
            assert_eq!(account["inferred"], inferred[usize::from(is_traced)], "{who:?} {name}: {account}");
            let proof = account["events"].as_array().expect("a list");
            let named = ran.of_type("call").filter(|call| proof.contains(&call["id"]));
            // Which of two processes comes first is chance.
            let mut names: Vec<_> = named.map(|call| call["name"].as_str().expect("a name")).collect();
            names.sort_unstable();
            assert_eq!(names, *calls, "{who:?} {name}");
            // Of a trace that has all its records, each end's path is told from its first state to its last.
            if is_traced && ran.lines.last().expect("lines")["kernel_trace"]["lost"] == 0 && *name == "right" {
                let of = |end: &str| -> Vec<String> {
                    let states = account[end]["states"].as_array().expect("a list").iter();
                    states.map(|state| state["state"].as_str().expect("a state").to_owned()).collect()
                };
                assert_eq!(
                    of("client_end"),
                    ["SYN-SENT", "ESTABLISHED", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT"],
                    "{who:?}"
                );
                assert_eq!(
                    of("server_end"),
                    ["SYN-RECEIVED", "ESTABLISHED", "CLOSE-WAIT", "LAST-ACK", "CLOSED"],
                    "{who:?}"
                );
            }
        }
        // What nobody saw is no ground for an expectation that holds.
        let words = stage.words("right");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let expected = "connections.all(c, c.closed_by == 'server')";
        let ran = stage.run(who, &["--no-packets", "--assert", expected], &words);
        assert_eq!(ran.output.status.code(), Some(1), "{who:?}: {}", ran.told());
        let judged = ran.of_type("assertion").next().expect("one");
        assert!(judged["why"].as_str().is_some_and(|why| why.contains("no packets")), "{who:?}: {judged}");
    }
}

#[test]
fn a_wait_in_epoll_names_what_it_waits_for() {
    let stage = Stage::open();
    for who in everyone() {
        for backend in ["ptrace", "perf"] {
            if backend == "perf" && who != Who::Root {
                continue;
            }
            let words = stage.words("epolls");
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = stage.run(who, &["--backend", backend], &words);
            assert_eq!(ran.output.status.code(), Some(128 + Signal::SIGALRM as i32), "{who:?}: {}", ran.told());
            let waits: Vec<_> = ran.of_type("call").filter(|call| call["name"] == "epoll_wait").collect();
            let [found, last] = &waits[..] else { panic!("{who:?} {backend}: {waits:?}") };
            assert_eq!((found["result"].as_i64(), found["side"].as_str()), (Some(1), Some("server")), "{who:?}");
            // The listener's descriptor, and that of the connection, which is ready.
            let args = &found["args"];
            assert_eq!((&args["events"], &args["timeout"]), (&"3 POLLIN, 5 POLLIN".into(), &10000.into()), "{who:?}");
            assert_eq!(args["revents"], "5 POLLIN", "{who:?} {backend}: {found}");
            assert_eq!((&last["errno"], &last["args"]["timeout"]), (&"EINTR".into(), &(-1).into()), "{who:?}");
            assert_eq!(last["args"]["events"], "POLLIN|POLLRDHUP", "{who:?} {backend}: {last}");
            assert!(last["connection"].is_u64(), "{who:?} {backend}: {last}");
            let words = stage.words("epolls_shared");
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = stage.run(who, &["--backend", backend], &words);
            assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
            let waits: Vec<_> = ran.of_type("call").filter(|call| call["name"] == "epoll_wait").collect();
            let [wait] = &waits[..] else { panic!("{who:?} {backend}: {waits:?}") };
            let args = (&wait["args"]["events"], &wait["args"]["revents"]);
            assert_eq!(args, (&"3 POLLIN, 5 POLLIN".into(), &"5 POLLIN".into()), "{who:?} {backend}: {wait}");
            let words = stage.words("epolls_once");
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = stage.run(who, &["--backend", backend], &words);
            assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
            let waits = ran.of_type("call").filter(|call| call["name"] == "epoll_wait");
            let waits: Vec<_> = waits.map(|call| call["args"]["events"].as_str().expect("events")).collect();
            assert_eq!(waits, ["3 POLLIN, 5 POLLIN", "POLLIN", "3 POLLIN, 5 POLLIN"], "{who:?} {backend}");
        }
    }
}

/// A length that does not lie near the top of the stack is not recorded; it is read afterwards, if the program is still there.
#[test]
fn a_negative_length_is_found_wherever_it_lies() {
    let stage = Stage::open();
    for who in everyone() {
        let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
        if who != Who::Root && paranoid.trim().parse::<i32>().is_ok_and(|level| level > 2) {
            continue;
        }
        for play in ["length", "length_elsewhere"] {
            let words = stage.words(play);
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            let ran = stage.run(who, &["--backend", "perf"], &words);
            assert_eq!(ran.diagnoses(), ["address_length"], "{who:?} {play}: {}", ran.told());
        }
    }
}

#[test]
fn exec_and_the_descriptors_that_it_closes_are_followed() {
    let stage = Stage::open();
    for who in everyone() {
        let ran = stage.run_mistake(who, "executes");
        assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
        let closing =
            ran.of_type("call").find(|call| call["name"] == "execve").expect("exec closed the client's socket");
        assert_eq!((closing["effect"].as_str(), closing["side"].as_str()), (Some("close"), Some("client")), "{who:?}");
        let fin = ran.of_type("segment").find(|line| line["flags"].as_str().is_some_and(|flags| flags.contains("FIN")));
        assert_eq!(fin.expect("a FIN")["cause"]["call"], closing["id"], "{who:?}");
        assert_eq!(closing["process"]["comm"], "mistakes", "{who:?}: it had that name then");
        // A thread that is not the first one takes the process over, and the others are gone.
        let threads = stage.run_mistake(who, "thread_executes");
        assert_eq!(threads.output.status.code(), Some(6), "{who:?}: {}", threads.told());
        let closing = threads.of_type("call").find(|call| call["name"] == "execve").expect("exec closed a socket");
        assert_eq!((closing["effect"].as_str(), closing["side"].as_str()), (Some("close"), Some("client")), "{who:?}");
        let reader = ran.of_type("call").find(|call| call["process"]["comm"] == "cat" && call["name"] == "read");
        assert_eq!(reader.expect("cat reads the end")["result"], 0, "{who:?}");
    }
}

#[test]
fn what_comes_after_an_urgent_octet_is_joined_to_its_own_segment() {
    let stage = Stage::open();
    for who in everyone() {
        let ran = stage.run_mistake(who, "urgent");
        assert_eq!((ran.output.status.code(), ran.diagnoses().len()), (Some(0), 0), "{who:?}: {}", ran.told());
        let streams: Vec<_> = ran
            .of_type("call")
            .filter(|call| call["effect"] == "receive" && call["octets"].as_u64() > Some(0))
            .map(|call| (call["stream"]["from"].as_u64(), call["stream"]["to"].as_u64()))
            .collect();
        let parts = [(0, 3), (3, 4), (5, 7)].map(|(from, to)| (Some(from), Some(to)));
        assert_eq!(streams, parts, "{who:?}");
    }
}

#[test]
fn input_output_status_folder_and_signals_are_the_commands_own() {
    let stage = Stage::open();
    for who in everyone() {
        let script = "cat; echo err >&2; pwd; echo \"$MARK\"; exit 42";
        let file = stage.folder.join(format!("untouched-{who:?}.jsonl"));
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "--isolated", "--format", "jsonl", "-o"]).arg(&file).args(["--", "sh", "-c", script]);
        command.env("MARK", "of its own").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        child.stdin.take().expect("it is piped").write_all(b"from the pipe\n").expect("it reads");
        let output = child.wait_with_output().expect("it ends");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "from the pipe\n/\nof its own\n", "{who:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "err\n", "{who:?}");
        assert_eq!(output.status.code(), Some(42), "{who:?}");
        for (script, status) in [("kill -KILL $$", 137), ("kill -TERM $$", 143), ("exit 0", 0)] {
            assert_eq!(
                stage.run(who, &[], &["sh", "-c", script]).output.status.code(),
                Some(status),
                "{who:?} {script}"
            );
        }
        // It is stopped and continued as always.
        let script =
            "(until grep -q 'State:.[tT]' /proc/$$/status; do :; done; kill -CONT $$) & kill -STOP $$; wait; exit 5";
        assert_eq!(stage.run(who, &[], &["sh", "-c", script]).output.status.code(), Some(5), "{who:?}");
        // A signal that it handles comes to it, and no call of its own is disturbed.
        let script = "trap 'echo caught; exit 7' USR1; kill -USR1 $$; sleep 60";
        let ran = stage.run(who, &[], &["sh", "-c", script]);
        assert_eq!((ran.output.status.code(), &*ran.output.stdout), (Some(7), &b"caught\n"[..]), "{who:?}");
    }
}

#[test]
fn a_command_has_no_descriptor_that_is_not_its_own() {
    let stage = Stage::open();
    for who in everyone() {
        let list = |command: &mut Command| {
            let output = command.output().expect("it starts");
            String::from_utf8(output.stdout).expect("text").lines().count()
        };
        let words = ["sh", "-c", "ls /proc/self/fd"];
        let bare = list(Command::new(words[0]).args(&words[1..]).stdin(Stdio::null()));
        let file = stage.folder.join(format!("descriptors-{who:?}.jsonl"));
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "--isolated", "--format", "jsonl", "-o"]).arg(file).arg("--").args(words);
        assert_eq!(list(&mut command), bare, "{who:?}");
    }
}

#[test]
fn nothing_that_reads_packets_has_more_privilege_than_it_needs() {
    let stage = Stage::open();
    for who in everyone() {
        // The parent of the shell is tcpflow.
        let script =
            "id -u; awk '/^(Uid|CapPrm|CapEff|CapInh|CapBnd|NoNewPrivs):/ { print $1, $2 }' /proc/$PPID/status";
        let ran = stage.run(who, &[], &["sh", "-c", script]);
        let shown = String::from_utf8_lossy(&ran.output.stdout).into_owned();
        let user = match who {
            Who::Root => "0".to_owned(),
            Who::Sudo => NOBODY.to_string(),
            Who::User if geteuid().is_root() => NOBODY.to_string(),
            Who::User => geteuid().to_string(),
        };
        let of = |name: &str| {
            let line =
                shown.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_else(|| panic!("{name}: {shown}"));
            u64::from_str_radix(line.trim(), 16).expect("a number in hexadecimal")
        };
        assert_eq!(shown.lines().next(), Some(&*user), "{who:?}: the command's user: {shown}");
        assert!(shown.contains(&format!("Uid: {user}\n")), "{who:?}: {shown}");
        // Only root that watches root may look into it: CAP_SYS_PTRACE.
        let looks = if who == Who::Root { 1 << 19 } else { 0 };
        assert_eq!((of("CapPrm:"), of("CapEff:"), of("CapInh:")), (looks, looks, 0), "{who:?}: {shown}");
        assert_eq!((of("CapBnd:"), of("NoNewPrivs:")), (0, 1), "{who:?}: {shown}");
    }
}

#[test]
fn a_command_that_cannot_be_run_says_so_with_the_status_of_a_shell() {
    let stage = Stage::open();
    let interpreted = stage.folder.join("interpreted");
    executable::make(&interpreted, &b"#!/no/such/interpreter\n"[..]);
    let interpreted = interpreted.to_str().expect("a path");
    for who in everyone() {
        for (word, status, says) in [
            ("/no/such/program", 127, "/no/such/program: no such program\n"),
            (interpreted, 127, "the interpreter (#!) or loader that it names is not there"),
            ("/etc/passwd", 126, "no permission"),
            ("no-such-program-at-all", 127, "PATH"),
        ] {
            let ran = stage.run(who, &[], &[word]);
            assert_eq!(ran.output.status.code(), Some(status), "{who:?} {word}: {}", ran.told());
            assert!(ran.told().contains(word) && ran.told().contains(says), "{who:?}: {}", ran.told());
            assert_eq!(ran.lines.last().expect("lines")["status"], status, "{who:?} {word}");
        }
    }
}

#[test]
fn of_a_setuid_program_it_is_said_before_that_it_runs_without_that_privilege() {
    let stage = Stage::open();
    // One that is setuid on all systems.
    let ran = stage.run(Who::User, &["--backend", "ptrace"], &["su", "--version"]);
    assert_eq!(ran.output.status.code(), Some(0), "{}", ran.told());
    assert!(ran.told().contains("su is setuid: watched by ptrace it runs without that privilege"), "{}", ran.told());
    let ran = stage.run(Who::User, &["--backend", "ptrace"], &["true"]);
    assert_eq!(ran.told(), "");
}

#[test]
fn server_and_clients_are_one_page_and_the_server_is_ended() {
    let stage = Stage::open();
    for who in everyone() {
        // The words have a quote to be taken off, as a shell does.
        let program = stage.folder.join("mistakes").to_str().expect("a path").to_owned();
        let (server, client) = (format!("'{program}' serve"), format!("'{program}' \"visit\""));
        let (server, client) = (&*server, &*client);
        let ran = stage.run(who, &["--server", server, "--client", client, "--client", client], &[]);
        assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
        assert_eq!(ran.check_octets("server and clients"), 20, "{who:?}");
        assert_eq!(ran.of_type("connection").count(), 2, "{who:?}");
        // The status is that of the first client that failed.
        let ran = stage.run(who, &["--server", server, "--client", "true", "--client", "sh -c 'exit 9'"], &[]);
        assert_eq!(ran.output.status.code(), Some(9), "{who:?}: {}", ran.told());
        // A server that ends before it listens: its clients never begin.
        let ran = stage.run(who, &["--server", "sh -c 'exit 5'", "--client", "sh -c 'echo begun'"], &[]);
        assert_eq!((ran.output.status.code(), ran.output.stdout.len()), (Some(5), 0), "{who:?}: {}", ran.told());
    }
}

#[test]
fn what_is_followed_is_what_is_told_at_the_end() {
    let stage = Stage::open();
    for who in everyone() {
        let words = stage.words("unread");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let followed = stage.run(who, &["--follow"], &words);
        assert_eq!(followed.output.status.code(), Some(0), "{who:?}: {}", followed.told());
        let told = stage.run(who, &[], &words);
        let of = |ran: &Ran, kind: &str, field: &str| -> Vec<String> {
            let mut all: Vec<_> = ran.of_type(kind).map(|line| line[field].to_string()).collect();
            all.sort_unstable();
            all
        };
        for (kind, field) in [("call", "name"), ("segment", "flags"), ("connection", "reason"), ("diagnosis", "name")] {
            assert_eq!(of(&followed, kind, field), of(&told, kind, field), "{who:?}: {kind}");
        }
        // A stream names events by the ids that they had from birth.
        let diagnosis = followed.of_type("diagnosis").next().expect("one");
        let close = diagnosis["events"][0].as_u64().expect("an id");
        let named = followed.of_type("call").find(|call| call["id"] == close).expect("the event was told");
        assert_eq!((named["name"].as_str(), named["side"].as_str()), (Some("close"), Some("server")), "{who:?}");
    }
}

#[test]
fn what_is_saved_is_told_again_by_analyze() {
    let stage = Stage::open();
    for who in everyone() {
        let saved = stage.folder.join(format!("saved-{who:?}.pcapng"));
        let words = stage.words("forking");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = stage.run(who, &["--save", saved.to_str().expect("a path")], &words);
        assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
        let output = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
            .args(["analyze", "--timeline", "--format", "jsonl"])
            .arg(&saved)
            .output()
            .expect("it starts");
        assert!(output.status.success(), "{who:?}: {}", String::from_utf8_lossy(&output.stderr));
        let again: Vec<Value> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        let events = |lines: &[Value]| -> Vec<Value> {
            let kinds = ["call", "segment", "transition", "timer", "connection"];
            lines.iter().filter(|line| kinds.contains(&line["type"].as_str().expect("a type"))).cloned().collect()
        };
        assert_eq!(events(&ran.lines), events(&again), "{who:?}");
    }
}

/// What was seen up to there is in a file that can be read, though nobody could end it.
#[test]
fn of_a_run_that_is_killed_the_partial_file_is_left_and_nothing_else() {
    let stage = Stage::open();
    for who in everyone() {
        let folder = stage.folder.join(format!("partial-{who:?}"));
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        let (saved, partial) = (folder.join("run.pcapng"), folder.join("run.pcapng.partial"));
        let program = stage.folder.join("mistakes").to_str().expect("a path").to_owned();
        let (server, client) = (
            format!("'{program}' serve"),
            format!("sh -c \"'{program}' visit && echo visited >&2 && exec sleep 600\""),
        );
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "--isolated", "--save"]).arg(&saved);
        let mut process = process::Process::start(command.args(["--server", &server, "--client", &client]));
        process.await_line("visited");
        // The server waits for the next client, in a call that has not returned.
        let whole = |lines: &[Value]| {
            let of = |name: &str| lines.iter().filter(|line| line["name"] == name).count();
            let fins = lines.iter().filter(|line| line["flags"].as_str().is_some_and(|flags| flags.contains("FIN")));
            (fins.count(), of("accept"), of("close")) == (2, 2, 2)
        };
        process.until("all is written", |_| analyzed(&partial).filter(|lines| whole(lines)));
        process.signal(Signal::SIGKILL);
        process.wait();
        let names: Vec<_> =
            fs::read_dir(&folder).expect("it is there").map(|entry| entry.expect("one").path()).collect();
        assert_eq!(names, std::slice::from_ref(&partial), "{who:?}");
        let lines = analyzed(&partial).expect("it can be read");
        let connections: Vec<_> = lines.iter().filter(|line| line["type"] == "connection").collect();
        assert_eq!((connections.len(), connections[0]["ending"].as_str()), (1, Some("fin")), "{who:?}");
        let calls: Vec<_> = lines.iter().filter(|line| line["type"] == "call").collect();
        let open: Vec<_> = calls.iter().filter(|call| call["returned"].is_null()).collect();
        assert_eq!((open.len(), open[0]["name"].as_str()), (1, Some("accept")), "{who:?}");
        let moved: u64 = calls.iter().filter_map(|call| call["octets"].as_u64()).sum();
        assert_eq!(moved, 4 * 5, "{who:?}");
        assert!(calls.iter().all(|call| call["process"]["comm"] == "mistakes"), "{who:?}: {calls:?}");
    }
}

/// The lines of a timeline of a capture file, if it can be read without a complaint.
fn analyzed(file: &Path) -> Option<Vec<Value>> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    let output = command.args(["analyze", "--timeline", "--format", "jsonl"]).arg(file).output().expect("it starts");
    let text = String::from_utf8(output.stdout).expect("text");
    output.status.success().then(|| text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect())
}

/// The programs of articles for learners, with the mistakes that they have, as they stand in a folder beside this one.
#[test]
fn of_programs_that_learners_copy_each_mistake_is_named() {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let shared = env::var_os("TCPFLOW_SHARED").map_or_else(beside, PathBuf::from);
    let extract = shared.join("check/seed_programs.py");
    if !extract.is_file() {
        eprintln!("SKIPPED: {} is not there: no program of an article is tried", extract.display());
        return;
    }
    let stage = Stage::open();
    let folder = stage.folder.join("articles");
    fs::create_dir(&folder).expect("a folder");
    let status = Command::new("python3").arg(extract).arg(shared.join("seeds")).arg(&folder).status();
    assert!(status.expect("python3 starts").success());
    let program = |name: &str| folder.join(name).to_str().expect("a path").to_owned();
    for who in everyone() {
        // Both ends on one page; what is wrong with them.
        let pairs: [(&str, &str, &[&str]); 2] = [("s001", "", &[]), ("s004", " 127.0.0.1 3000", &["zeros_sent"])];
        for (name, arguments, expected) in pairs {
            let server = program(&format!("{name}_server")) + arguments;
            let client = program(&format!("{name}_client")) + arguments;
            let ran = stage.run(who, &["--server", &server, "--client", &client], &[]);
            assert_eq!(ran.output.status.code(), Some(0), "{who:?} {name}: {}", ran.told());
            let connections: Vec<_> = ran.of_type("connection").collect();
            assert_eq!(connections.len(), 1, "{who:?} {name}");
            assert_eq!(connections[0]["ending"], "fin", "{who:?} {name}");
            assert!(ran.check_octets(name) >= 20, "{who:?} {name}");
            let sides: std::collections::BTreeSet<_> =
                ran.of_type("call").filter_map(|call| call["side"].as_str()).collect();
            assert_eq!(sides.into_iter().collect::<Vec<_>>(), ["client", "server"], "{who:?} {name}");
            assert_eq!(ran.diagnoses(), expected, "{who:?} {name}");
        }
        // A client without a server.
        for (name, status) in [("s001_client", 255), ("s004_client", 1)] {
            let ran = stage.run(who, &[], &[&program(name), "127.0.0.1", "3000"]);
            assert_eq!(ran.output.status.code(), Some(status), "{who:?} {name}: {}", ran.told());
            assert_eq!(ran.diagnoses(), ["refused"], "{who:?} {name}");
            let connection = ran.of_type("connection").next().expect("one");
            assert_eq!(connection["ending"], "refused", "{who:?} {name}");
        }
        // Without standard input the descriptor 0 is the socket, and the loop that does not end on 0 is reached.
        let server = format!("sh -c 'exec {} <&-'", program("s003_server"));
        let client = format!("sh -c '{} <&-; sleep 0.3'", program("s003_client"));
        let ran = stage.run(who, &["--grace", "1", "--server", &server, "--client", &client], &[]);
        assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
        let busy = ran.of_type("diagnosis").find(|line| line["name"] == "busy_at_end");
        let busy = busy.unwrap_or_else(|| panic!("{who:?}: {:?}", ran.diagnoses()));
        assert_eq!((busy["side"].as_str(), busy["weight"].as_str()), (Some("server"), Some("fault")), "{who:?}");
        // A comparison inside an assignment makes the descriptor 0: named with the call that it hit, and with what was meant.
        for (name, hit) in [("s003_server", "bind"), ("s003_client", "connect")] {
            let ran = stage.run(who, &[], &[&program(name)]);
            assert_eq!(ran.output.status.code(), Some(0), "{who:?} {name}: {}", ran.told());
            assert_eq!(ran.diagnoses(), ["not_a_socket"], "{who:?} {name}");
            let diagnosis = ran.of_type("diagnosis").next().expect("one");
            assert!(diagnosis["note"].as_str().is_some_and(|note| note.contains("`(fd = socket(...)) == -1`")));
            let proof: Vec<_> = diagnosis["events"].as_array().expect("a list").iter().collect();
            let named: Vec<_> = ran.of_type("call").filter(|call| proof.contains(&&call["id"])).collect();
            let names: Vec<_> = named.iter().map(|call| call["name"].as_str().expect("a name")).collect();
            assert_eq!(names, ["socket", hit], "{who:?} {name}");
            assert_eq!((named[1]["fd"].as_i64(), named[1]["errno"].as_str()), (Some(0), Some("ENOTSOCK")), "{who:?}");
        }
    }
}

#[test]
fn expectations_are_told_with_what_refutes_them_and_set_the_exit_status() {
    let stage = Stage::open();
    for who in everyone() {
        let words = stage.words("unread");
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let suite = stage.folder.join(format!("junit-{who:?}.xml"));
        let good =
            ["connections.all(c, c.ending == \"reset\")", "calls.exists(k, k.name == \"send\" && k.octets == 10)"];
        let options: Vec<&str> = good.iter().flat_map(|expr| ["--assert", expr]).collect();
        let ran = stage.run(who, &options, &words);
        assert_eq!(ran.output.status.code(), Some(0), "{who:?}: {}", ran.told());
        assert!(ran.of_type("assertion").all(|line| line["holds"] == true), "{who:?}");
        assert_eq!(ran.of_type("assertion").count(), 2, "{who:?}");

        let bad = [
            "!findings.exists(f, f.name == \"unread_at_close\")",
            "connections.all(c, c.client_to_server.octets < 10)",
            "calls.all(k, k.effect != \"receive\" || k.octets == 10)",
            "calls.all(k, k.no_such_field == 1)",
        ];
        let mut options: Vec<&str> = bad.iter().flat_map(|expr| ["--assert", expr]).collect();
        options.extend(["--junit", suite.to_str().expect("a path")]);
        let ran = stage.run(who, &options, &words);
        assert_eq!(ran.output.status.code(), Some(1), "{who:?}: {}", ran.told());
        let judged: Vec<_> = ran.of_type("assertion").collect();
        assert!(judged.len() == 4 && judged.iter().all(|line| line["holds"] == false), "{who:?}: {judged:?}");
        let event = |id: &Value| {
            ran.lines.iter().find(|line| line["id"] == *id && line["type"] != "connection").expect("an event")
        };
        let refuting: Vec<_> = judged[0]["because"].as_array().expect("a list").iter().map(event).collect();
        assert!(
            refuting.iter().any(|line| line["name"] == "close")
                && refuting.iter().any(|line| line["type"] == "segment")
        );
        assert_eq!(judged[1]["connections"], serde_json::json!([0]), "{who:?}");
        let receive = &judged[2]["because"].as_array().expect("a list")[..];
        assert!(receive.len() == 1 && event(&receive[0])["name"] == "recv", "{who:?}: {receive:?}");
        assert!(judged[3]["why"].is_string(), "{who:?}");
        let suite = fs::read_to_string(&suite).expect("it was written");
        assert!(
            suite.contains("tests=\"4\" failures=\"4\"") && suite.contains("&quot;unread_at_close&quot;"),
            "{suite}"
        );
    }
    let mut command = stage.tcpflow.played_by(Who::User);
    let output = command
        .args(["run", "--isolated", "--assert", "connections.all(c,", "--", "true"])
        .output()
        .expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && told.contains("--assert") && told.contains("column"), "{told}");
}

/// The examples of docs/asserting.md, as they stand there, on programs that pass and on such that do not.
#[test]
fn the_worked_examples_of_expectations_do_what_they_say() {
    let stage = Stage::open();
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/asserting.md")).expect("the page");
    let blocks = |kind: &str| -> Vec<String> {
        let begin = format!("```{kind}\n");
        page.split(&*begin).skip(1).map(|rest| rest.split("```").next().expect("a block").to_owned()).collect()
    };
    let [grading] = &blocks("text")[..] else { panic!("one file of expectations") };
    let commands = blocks("sh");
    let [grade, guard, later] = &commands[..] else { panic!("three commands: {commands:?}") };
    for who in everyone() {
        let folder = stage.folder.join(format!("asserting-{who:?}"));
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        fs::write(folder.join("grading.assert"), grading).expect("it can be written");
        let program = |name: &str, play: &str| {
            let path = folder.join(name);
            let text = format!("#!/bin/sh\nexec '{}' {play}\n", stage.folder.join("mistakes").display());
            fs::write(&path, text).expect("it can be written");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("its mode");
        };
        let run = |command: &str, status: i32, holds: usize, fails: usize| {
            let words = shlex::split(command).expect("words");
            assert_eq!(words[0], "tcpflow");
            let mut played = stage.tcpflow.played_by(who);
            let output = played.args(&words[1..]).current_dir(&folder).output().expect("it starts");
            let told = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(status), "{who:?} {command}: {told}");
            let begins = |mark: &str| told.lines().filter(|line| line.starts_with(mark)).count();
            let counts = (begins("✓") + begins("ok "), begins("✗") + begins("NO "));
            assert_eq!(counts, (holds, fails), "{who:?} {command}: {told}");
        };
        let suite = |name: &str, failures: usize| {
            let text = fs::read_to_string(folder.join(name)).expect("it was written");
            assert_eq!(text.matches("<failure ").count(), failures, "{who:?} {name}: {text}");
            assert!(text.contains("classname=\"tcpflow.run\""), "{who:?} {name}: {text}");
        };
        program("server", "serve");
        program("client", "visit");
        run(grade, 0, 8, 0);
        suite("grade.xml", 0);
        program("client", "visit_badly");
        run(grade, 1, 5, 3);
        suite("grade.xml", 3);

        program("test_suite", "right");
        run(guard, 0, 2, 0);
        suite("tcpflow.xml", 0);
        run(later, 0, 1, 0);
        program("test_suite", "unread");
        run(guard, 1, 0, 2);
        suite("tcpflow.xml", 2);
    }
}

#[test]
fn expectations_of_a_demo_and_of_what_it_saved_are_judged_alike() {
    let stage = Stage::open();
    let saved = stage.folder.join("demo-expected.pcapng");
    let file = saved.to_str().expect("a path");
    let suite = stage.folder.join("demo-expected.xml");
    let good =
        ["--assert", "connections.all(c, c.closed_by == 'client')", "--assert", "calls.exists(k, k.name == 'accept')"];
    let bad = ["--assert", "connections.size() == 2", "--junit", suite.to_str().expect("a path")];
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_tcpflow")).args(words).output().expect("it starts");
        let lines = String::from_utf8(output.stdout).expect("text");
        let holds = |line: &str| {
            let line: Value = serde_json::from_str(line).expect("JSON");
            assert!(stage.schema.is_valid(&line), "{words:?}: {line}");
            (line["type"] == "assertion").then(|| line["holds"] == true)
        };
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("a status"), lines.lines().filter_map(holds).collect::<Vec<_>>(), told)
    };
    for begin in
        [&["demo", "--save", file][..], &["demo", "--follow", "--save", file], &["analyze", "--timeline", file]]
    {
        let begin = [begin, &["--format", "jsonl"]].concat();
        let (status, holds, told) = run(&[&begin[..], &good].concat());
        assert_eq!((status, &holds[..]), (0, &[true, true][..]), "{begin:?}: {told}");
        let (status, holds, told) = run(&[&begin[..], &good, &bad].concat());
        assert_eq!((status, &holds[..]), (1, &[true, true, false][..]), "{begin:?}: {told}");
        let text = fs::read_to_string(&suite).expect("it was written");
        assert!(
            text.contains(&format!("classname=\"tcpflow.{}\"", begin[0])) && text.contains("failures=\"1\""),
            "{text}"
        );
    }
    // Without a timeline calls are not known, and nothing is concluded from there being none.
    let none = ["--assert", "connections.size() == 1", "--assert", "!calls.exists(k, k.errno == 'EPIPE')"];
    let diagnosed =
        ["--assert", "!findings.exists(f, f.weight == 'fault')", "--assert", "!findings.exists(f, f.side == 'client')"];
    let (status, holds, _) = run(&[&["analyze", file, "--format", "jsonl"][..], &none, &diagnosed].concat());
    assert_eq!((status, &holds[..]), (1, &[true, false, false, true][..]));
    // Nor from a capture that has none.
    let bare = stage.folder.join("demo-expected.pcap");
    let bare = bare.to_str().expect("a path");
    assert_eq!(run(&["demo", "--save", bare, "--format", "jsonl"]).0, 0);
    let (status, holds, _) = run(&[&["analyze", "--timeline", bare, "--format", "jsonl"][..], &none[2..]].concat());
    assert_eq!((status, &holds[..]), (1, &[false][..]));
}

/// An error of HTTP is curl's own status, a page is 0; both ends are on one page.
#[test]
fn the_status_is_the_clients() {
    let stage = Stage::open();
    if Command::new("curl").arg("--version").output().is_err() {
        eprintln!("curl is not installed: it is not tried");
        return;
    }
    for who in everyone() {
        let server = "python3 -m http.server --bind 127.0.0.1 --directory /usr/share 4322";
        for (page, status) in [("", 0), ("no/such/file", 22)] {
            let client = format!("curl --silent --fail --output /dev/null http://127.0.0.1:4322/{page}");
            let ran = stage.run(who, &["--server", server, "--client", &client], &[]);
            assert_eq!(ran.output.status.code(), Some(status), "{who:?}: {}", ran.told());
            assert!(ran.check_octets("curl and python's http.server") > 150, "{who:?}");
            assert_eq!(ran.of_type("connection").count(), 1, "{who:?}");
        }
    }
}

/// On the host's own network only what belongs to the program is told, whatever else goes on, on the same interface and to the same host.
#[test]
fn of_the_host_only_the_programs_connections_are_told() {
    let stage = Stage::open();
    for who in [Who::Root, Who::Sudo].into_iter().filter(|who| who.is_playable()) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let over = Arc::new(std::sync::atomic::AtomicBool::new(false));
        let done = Arc::clone(&over);
        let stranger = std::thread::spawn(move || {
            let mut count = 0;
            while !done.load(Ordering::Relaxed) {
                let mut client = std::net::TcpStream::connect(address).expect("it listens");
                let (mut server, _) = listener.accept().expect("a client");
                client.write_all(b"not yours").expect("it reads");
                drop(client);
                let mut all = String::new();
                server.read_to_string(&mut all).expect("it wrote");
                count += 1;
            }
            count
        });
        let file = stage.folder.join(format!("host-{who:?}.jsonl"));
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "--format", "jsonl", "-o"]).arg(&file).arg("--").args(stage.words("forking"));
        let output = command.output().expect("it starts");
        over.store(true, Ordering::Relaxed);
        assert!(stranger.join().expect("it ends") > 0);
        assert_eq!(output.status.code(), Some(0), "{who:?}: {}", String::from_utf8_lossy(&output.stderr));
        let text = fs::read_to_string(&file).expect("the timeline");
        let lines = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        let ran = Ran { lines, output };
        assert_eq!(ran.of_type("connection").count(), 1, "{who:?}");
        assert_eq!(ran.check_octets("on the host"), 10, "{who:?}");
        let frames: Vec<_> = ran.of_type("segment").map(|line| line["frame"].as_u64().expect("a number")).collect();
        assert_eq!(frames, (1..=frames.len() as u64).collect::<Vec<_>>(), "{who:?}: only its frames have numbers");
    }
}

/// Where strace is installed the same calls on TCP sockets are seen, of each thread in the same order, with the same results.
///
/// Its runs are others than ours: the programs are deterministic but for addresses, and descriptors are the same.
#[test]
fn the_calls_are_those_that_strace_sees() {
    let stage = Stage::open();
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("strace is not installed: nothing is compared with it");
        return;
    }
    let mut programs: Vec<(&str, Vec<String>)> =
        ["right", "vectors", "unread", "refused", "leak", "threads", "forking", "passed", "joined"]
            .map(|play| (play, stage.words(play)))
            .into();
    let python = |program: &str| ["python3", "-c", program].map(str::to_owned).to_vec();
    programs.push(("python's threads", python(LOCKSTEP)));
    if Command::new("curl").arg("--version").output().is_ok() {
        programs.push(("curl", python(ONE_PAGE)));
    } else {
        eprintln!("curl is not installed: it is not compared");
    }
    for (name, words) in programs {
        // close_range names no descriptor that strace could say more of; how often curl looks whether something has come is chance.
        let is_left_out = |called: &str| called == "close_range" || (name == "curl" && called == "poll");
        let mut theirs = traced_by_strace(&stage, name, &words);
        theirs.iter_mut().for_each(|calls| calls.retain(|(called, _)| !is_left_out(called)));
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let ran = stage.run(Who::User, &[], &words);
        let mut ours: BTreeMap<u64, Vec<(String, i64)>> = BTreeMap::new();
        for call in ran.of_type("call").filter(|call| call["effect"] != "exit" && call["effect"] != "execute") {
            let called = call["name"].as_str().expect("a name").to_owned();
            if is_left_out(&called) {
                continue;
            }
            let thread = call["process"]["tid"].as_u64().expect("a thread");
            ours.entry(thread).or_default().push((called, call["result"].as_i64().expect("it returned")));
        }
        let ours: Vec<_> = ours.into_values().collect();
        assert!(theirs.iter().map(Vec::len).sum::<usize>() >= 4, "{name}: {theirs:?}");
        assert_eq!(ours, theirs, "{name}");
    }
}

/// The calls on TCP sockets that strace sees, with their results, for each thread in the order in which they began.
fn traced_by_strace(stage: &Stage, name: &str, words: &[String]) -> Vec<Vec<(String, i64)>> {
    let folder = stage.folder.join(format!("strace-{}", name.replace(['\'', ' '], "")));
    fs::create_dir(&folder).expect("a folder");
    let traced = "trace=socket,bind,listen,accept,accept4,connect,read,write,readv,writev,sendto,recvfrom,sendmsg,recvmsg,\
        sendfile,splice,shutdown,close,setsockopt,getsockopt,dup,dup2,dup3,poll,ppoll,select,pselect6";
    let mut strace = Command::new("strace");
    strace.args(["-ff", "-qq", "-yy", "-e", "signal=none", "-e", traced, "-o"]).arg(folder.join("of"));
    let output = strace.args(words).output().expect("strace starts");
    assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
    let mut logs: Vec<(u64, String)> = fs::read_dir(&folder)
        .expect("its logs")
        .map(|log| {
            let path = log.expect("a log").path();
            let thread = path.extension().and_then(|thread| thread.to_str()?.parse().ok()).expect("a thread");
            (thread, fs::read_to_string(&path).expect("text"))
        })
        .collect();
    logs.sort_unstable();
    let call = |line: &str| {
        let (name, rest) = line.split_once('(').filter(|_| line.contains("<TCP"))?;
        // A message of another socket may carry a descriptor of one.
        let is_passed = ["sendmsg", "recvmsg"].contains(&name)
            && !rest.trim_start_matches(|c: char| c.is_ascii_digit()).starts_with("<TCP");
        if is_passed {
            return None;
        }
        let result = line.rsplit_once(" = ")?.1;
        let digits = result.find(|c: char| !c.is_ascii_digit() && c != '-').unwrap_or(result.len());
        let name = match name {
            "sendto" => "send",
            "recvfrom" => "recv",
            name => name,
        };
        Some((name.to_owned(), result[..digits].parse().ok()?))
    };
    let calls = logs.iter().map(|(_, log)| log.lines().filter_map(call).collect::<Vec<_>>());
    calls.filter(|calls| !calls.is_empty()).collect()
}

/// A server's thread and a client that wait for each other: so that each descriptor is taken, and given back, in one order.
const LOCKSTEP: &str = "
import socket, threading
listener = socket.create_server(('127.0.0.1', 0))
def serve():
    for n in range(3):
        both.wait()
        peer, _ = listener.accept()
        with peer:
            for size in (1, 100, 5000):
                assert len(peer.recv(size, socket.MSG_WAITALL)) == size
                peer.sendall(bytes(size))
            assert peer.recv(1) == b''
        both.wait()
both = threading.Barrier(2)
serving = threading.Thread(target=serve)
serving.start()
for n in range(3):
    with socket.create_connection(listener.getsockname()) as sock:
        both.wait()
        for size in (1, 100, 5000):
            sock.sendall(bytes(size))
            assert len(sock.recv(size, socket.MSG_WAITALL)) == size
    both.wait()
serving.join()
listener.close()
";

/// A page for curl, all of which is there when it looks.
const ONE_PAGE: &str = "
import socket, subprocess
listener = socket.create_server(('127.0.0.1', 0))
url = 'http://127.0.0.1:%d/' % listener.getsockname()[1]
curl = subprocess.Popen(['curl', '--silent', '--max-time', '60', '--output', '/dev/null', url])
peer, _ = listener.accept()
asked = b''
while not asked.endswith(b'\\r\\n\\r\\n'):
    asked += peer.recv(1000)
peer.sendall(b'HTTP/1.0 200 OK\\r\\nContent-Length: 100\\r\\n\\r\\n' + bytes(100))
assert peer.recv(1) == b''
peer.close()
listener.close()
assert curl.wait() == 0
";

#[test]
fn a_tracer_that_is_killed_takes_all_that_it_watched_with_it() {
    let stage = Stage::open();
    for who in everyone() {
        let mark = format!("{}.{}", 7_000_000 + std::process::id(), who as u32);
        let mut command = stage.tcpflow.played_by(who);
        command.args(["run", "--isolated", "--", "sh", "-c", &format!("sleep {mark} & echo ready >&2; wait")]);
        let mut process = process::Process::start(&mut command);
        process.await_line("ready");
        process.until("the program runs", |_| (sleepers(&mark) > 0).then_some(()));
        process.signal(Signal::SIGKILL);
        process.wait();
        let begun = std::time::Instant::now();
        while sleepers(&mark) > 0 {
            assert!(begun.elapsed() < process::LIMIT, "{who:?}: it is left");
            std::thread::yield_now();
        }
    }
}

/// How many processes sleep for that long.
fn sleepers(mark: &str) -> usize {
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    let is_one = |entry: &fs::DirEntry| {
        let words = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        words.split(|octet| *octet == 0).eq([b"sleep", mark.as_bytes(), b""])
    };
    processes.filter(is_one).count()
}

#[test]
fn sigterm_is_passed_on() {
    let stage = Stage::open();
    for who in everyone() {
        let mut command = stage.tcpflow.played_by(who);
        command.args([
            "run",
            "--isolated",
            "--",
            "sh",
            "-c",
            "trap 'exit 3' TERM; echo ready >&2; while :; do sleep 0.01; done",
        ]);
        let mut process = process::Process::start(&mut command);
        process.await_line("ready");
        process.signal(Signal::SIGTERM);
        let (status, told) = process.wait();
        assert_eq!(status.code(), Some(3), "{who:?}: {told}");
    }
}

#[test]
fn without_the_permission_to_capture_calls_are_shown_and_the_way_out_is_said() {
    let stage = Stage::open();
    let file = stage.folder.join("no-capture.jsonl");
    let mut command = stage.tcpflow.played_by(Who::User);
    command.args(["run", "--format", "jsonl", "-o"]).arg(&file).arg("--").args(stage.words("right"));
    let output = command.output().expect("it starts");
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && told.contains("without packets") && told.contains("--isolated"), "{told}");
    let text = fs::read_to_string(&file).expect("the timeline");
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let count = |kind: &str| lines.iter().filter(|line| line["type"] == kind).count();
    assert!(count("call") >= 12 && count("segment") == 0, "{text}");
}
