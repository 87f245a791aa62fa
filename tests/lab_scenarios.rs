//! Every scenario on the real kernel, as root and as an ordinary user; and what is said of scenarios that are wrong, stuck or interrupted.
//!
//! `TCPFLOW_LAB_RUNS` says how often all of them are played; once by default.

mod executable;
mod process;
mod users;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use process::Process;
use serde_json::Value;
use users::{Program, Who};

fn program() -> Program {
    Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")))
}

/// A scenario's file where every user can read it.
fn file(name: &str, source: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("tcpflow-lab-{}-{name}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let path = folder.join(format!("{name}.toml"));
    fs::write(&path, source).unwrap();
    path
}

fn told(command: &mut Command) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = command.output().expect("tcpflow starts");
    (status.code(), String::from_utf8_lossy(&stdout).into_owned(), String::from_utf8_lossy(&stderr).into_owned())
}

/// The network namespace of a process, while that is there.
fn network(pid: u32) -> Option<PathBuf> {
    fs::read_link(format!("/proc/{pid}/ns/net")).ok()
}

#[test]
fn every_scenario_goes_as_it_says() {
    let runs: u32 = std::env::var("TCPFLOW_LAB_RUNS").map_or(1, |runs| runs.parse().expect("a number of runs"));
    let program = program();
    for run in 0..runs {
        for who in [Who::Root, Who::Sudo, Who::User].into_iter().filter(|who| who.is_playable()) {
            let (status, out, errors) = told(program.played_by(who).args(["demo", "--all"]));
            assert_eq!(status, Some(0), "run {run} as {who:?}:\n{out}{errors}");
            let played = out.lines().filter(|line| line.starts_with('✓')).count();
            let lacking = out.lines().filter(|line| line.starts_with("- ")).count();
            assert!(played + lacking >= 96, "only {played} were played:\n{out}");
            // Whatever this kernel lacks, all others are played.
            assert!(played >= 85, "only {played} were played:\n{out}");
        }
    }
}

#[test]
fn the_states_told_are_those_of_both_ends_at_their_own_times() {
    let program = program();
    let (status, out, errors) =
        told(program.played_by(Who::User).args(["demo", "simultaneous-close", "--format", "jsonl"]));
    assert_eq!(status, Some(0), "{errors}");
    let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let at = |line: &Value| line["at"].as_str().unwrap().parse::<f64>().unwrap();
    for (side, peer) in [("client", "server"), ("server", "client")] {
        let crossed = lines.iter().find(|line| {
            line["type"] == "transition"
                && line["side"] == side
                && line["from"] == "FIN-WAIT-1"
                && line["to"] == "CLOSING"
        });
        let crossed = crossed.unwrap_or_else(|| panic!("the {side} was not in CLOSING"));
        let fin = lines.iter().find(|line| {
            line["type"] == "segment" && line["from"] == peer && line["flags"].as_str().unwrap().contains("FIN")
        });
        let took = at(crossed) - at(fin.unwrap());
        assert!(took > 0.19, "the FIN takes 200 ms to the {side}, not {took}");
        assert_eq!(crossed["cause"], fin.unwrap()["id"], "and brings it there");
    }
    let schema: Value = serde_json::from_str(include_str!("../docs/output.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    for line in &lines {
        assert!(
            schema.is_valid(line),
            "{line}: {:?}",
            schema.iter_errors(line).map(|error| error.to_string()).collect::<Vec<_>>()
        );
    }
}

/// However late it is heard of a child, it has its parent's descriptors since the fork.
#[test]
fn what_a_child_inherits_is_its_own_from_the_fork_on() {
    let program = program();
    for run in 0..20 {
        let (_, out, _) = told(program.played_by(Who::User).args(["demo", "inherited", "--format", "jsonl"]));
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let calls =
            |name: &str| lines.iter().filter(|line| line["type"] == "call" && line["name"] == name).collect::<Vec<_>>();
        let [send] = calls("send")[..] else { panic!("run {run}: {out}") };
        assert_eq!((&send["side"], &send["stream"]["to"]), (&"server".into(), &10.into()), "run {run}: {send}");
        // The parent's close sends nothing; the child's has the FIN.
        let sent = |fd: i64| {
            calls("close")
                .iter()
                .filter(|call| call["side"] == "server" && call["fd"] == fd)
                .map(|call| call["frames"].as_array().unwrap().len())
                .collect::<Vec<_>>()
        };
        assert_eq!(sent(send["fd"].as_i64().unwrap()), [0, 1], "run {run}: {out}");
    }
}

#[test]
fn a_mistake_is_told_with_its_place_and_the_way_out() {
    let program = program();
    let of = |name: &str, source: &str| {
        let path = file(name, source);
        told(program.played_by(Who::User).arg("demo").arg(path))
    };
    let head =
        "name = \"x\"\ngroup = \"mine\"\ntitle = { en = \"a\", zh = \"b\" }\nlesson = { en = \"a\", zh = \"b\" }\n";
    for (name, rest, place, way) in [
        ("call", "script = '''\nC: conect(to S)\n'''\n", "line 6, column 4", "the calls are"),
        ("key", "scrip = '''\n'''\n", "line 5, column 1", "--new NAME"),
        ("time", "script = '''\n30ms C: socket()\n'''\n", "line 6, column 1", "after C waits in recv"),
        ("segment", "script = '''\nC > S: S\n'''\n", "line 6, column 1", "write calls"),
        ("link", "script = '''\nlink: cut\n'''\n", "line 6, column 1", "[link]"),
        (
            "expected",
            "expect = [\"C TIMEWAIT\"]\nscript = '''\nC: socket()\n'''\n",
            "line 5, column 14",
            "the states are",
        ),
        (
            "finding",
            "expect = [\"no finding retransmision\"]\nscript = '''\nC: socket()\n'''\n",
            "line 5, column 11",
            "did you mean retransmission?",
        ),
        (
            "cause",
            "script = '''\nC: socket()\nexpect: cause tail_lost_probe\n'''\n",
            "line 7, column 1",
            "did you mean tail_loss_probe?",
        ),
        (
            "ending",
            "expect = [\"ending finn\"]\nscript = '''\nC: socket()\n'''\n",
            "line 5, column 11",
            "the endings are fin,",
        ),
        ("actor", "script = '''\nC: socket()\nC: connect(to S2x)\n'''\n", "line 7, column 1", "here these do: C"),
        (
            "awaited",
            "script = '''\nC: socket()\nafter C2 waits in recv, C: close()\n'''\n",
            "line 7, column 1",
            "C2: socket()",
        ),
        (
            "other",
            "expect = [\"C7 TIME-WAIT\"]\nscript = '''\nC: socket()\n'''\n",
            "line 5, column 11",
            "here these do: C",
        ),
        ("value", "script = '''\nC: socket()\nC: send($size)\n'''\n", "line 7, column 9", "[values]"),
        ("mtu", "mtu = 40\nscript = '''\nC: socket()\n'''\n", "line 5, column 7", "88 to 65535"),
        ("fault", "faults = [\"drop 1st data C>S\"]\nscript = '''\nC: socket()\n'''\n", "line 5, column 11", "[link]"),
        ("result", "script = '''\nC: socket()\nC: send(1) = EPIPE\n'''\n", "line 7, column 14", "-ECONNREFUSED"),
        ("assertion", "assert = [\"endin == 1\"]\nscript = '''\nC: socket()\n'''\n", "line 5, column", "--where"),
    ] {
        let (status, _, errors) = of(name, &format!("{head}{rest}"));
        assert_eq!(status, Some(2), "{name}: {errors}");
        assert!(errors.contains(place) && errors.contains('^') && errors.contains(way), "{name}: {errors}");
        assert!(errors.contains(&format!("{name}.toml")), "{name}: {errors}");
    }
    let (status, _, errors) = told(program.played_by(Who::User).args(["demo", "fin-last"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("fin-lost") && errors.contains("--list"), "{errors}");
    for change in ["link.delai=1ms", "delay=1ms", "link.delay=soon"] {
        let (status, _, errors) = told(program.played_by(Who::User).args(["demo", "fin-lost", "--set", change]));
        assert_eq!(status, Some(2), "{change}");
        assert!(errors.contains(change), "{errors}");
    }
}

/// The page of a scenario and that of the capture that it leaves say the same of what seems wrong.
#[test]
fn what_seems_wrong_stands_on_the_page_of_a_scenario() {
    let folder = std::env::temp_dir().join(format!("tcpflow-lab-{}-diagnoses", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let capture = folder.join("nagle.pcapng");
    let program = || Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    let look = ["--color", "never", "--width", "100"];
    let (code, played, errors) = told(program().args(["demo", "nagle", "--save"]).arg(&capture).args(look));
    assert_eq!(code, Some(0), "{errors}");
    let (_, page, _) = told(program().args(["analyze", "-t", "--checksums", "ignore"]).arg(&capture).args(look));
    let found = |text: &str| -> Vec<String> {
        let lines = text.lines().skip_while(|line| !line.starts_with("fault "));
        lines.take_while(|line| !line.is_empty()).map(str::to_owned).collect()
    };
    let [on_page, here] = [found(&page), found(&played)];
    assert_eq!(on_page, here);
    assert!(
        here.iter().any(|line| line.contains("The octets of a send() waited for ") && line.contains(" ms: ")),
        "{played}"
    );
    fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn an_expectation_that_is_not_met_and_a_script_that_is_stuck_are_failures() {
    let program = program();
    let scenario = |name: &str, expect: &str, script: &str| {
        let source = format!(
            "name = \"{name}\"\ngroup = \"mine\"\ntitle = {{ en = \"a\", zh = \"b\" }}\nlesson = {{ en = \"a\", zh = \"b\" }}\npatience = \"500ms\"\nexpect = [{expect}]\nscript = '''\n{script}\n'''\n"
        );
        told(program.played_by(Who::User).arg("demo").arg(file(name, &source)).arg("--checks"))
    };
    let open = "S: socket()\nS: bind()\nS: listen(5)\nS: accept()\nC: socket()\nC: connect(to S) = 0\n";
    let (status, out, errors) = scenario("unmet", "\"2 SYN C>S\", \"1 SYN C>S\"", open);
    assert_eq!(status, Some(1), "{out}{errors}");
    assert!(out.contains("✗ 2 SYN C>S: there were 1") && out.contains("✓ 1 SYN C>S"), "{out}");
    let (status, out, _) = scenario("returned", "", &format!("{open}C: send(10) = 11\n"));
    assert_eq!(status, Some(1));
    assert!(out.contains("line 14: C: send() returned 10, not 11"), "{out}");
    let (status, out, _) = scenario("stuck", "", &format!("{open}C: recv()\nS: recv()\n"));
    assert_eq!(status, Some(1));
    assert!(out.contains("C waits in recv (line 14)") && out.contains("S waits in recv (line 15)"), "{out}");
}

#[test]
fn a_new_scenario_can_be_played_as_it_is_written() {
    let program = program();
    let folder = file("new", "").parent().unwrap().to_owned();
    executable_by_all(&folder);
    let (status, _, errors) =
        told(program.played_by(Who::User).current_dir(&folder).args(["demo", "--new", "my-first"]));
    assert_eq!(status, Some(0), "{errors}");
    let (status, out, errors) =
        told(program.played_by(Who::User).current_dir(&folder).args(["demo", "./my-first.toml"]));
    assert_eq!(status, Some(0), "{out}{errors}");
    let (status, _, errors) =
        told(program.played_by(Who::User).current_dir(&folder).args(["demo", "--new", "my-first"]));
    assert_eq!(status, Some(2));
    assert!(errors.contains("there already"), "{errors}");
}

fn executable_by_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

#[test]
fn the_documented_scenarios_go_as_they_say() {
    let program = program();
    let page = include_str!("../docs/scenarios.md");
    let mut played = 0;
    for (number, block) in page.split("```toml\n").skip(1).enumerate() {
        let source = block.split("```").next().unwrap();
        let path = file(&format!("documented-{number}"), source);
        let (status, out, errors) = told(program.played_by(Who::User).arg("demo").arg(path));
        assert_eq!(status, Some(0), "{out}{errors}");
        played += 1;
    }
    assert_eq!(played, 3);
}

#[test]
fn every_scenario_that_a_lesson_names_is_there() {
    let (status, list, errors) = told(Command::new(env!("CARGO_BIN_EXE_tcpflow")).args(["demo", "--list"]));
    assert_eq!(status, Some(0), "{errors}");
    let names: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("  ")?.split_whitespace().next()).collect();
    let rows = include_str!("../docs/lessons.md").lines().filter(|line| line.starts_with("| ")).skip(1);
    let mut named = 0;
    for row in rows {
        let shown = row.trim_end_matches(['|', ' ']).rsplit('|').next().unwrap();
        let there: Vec<&str> = shown.split('`').skip(1).step_by(2).filter(|name| !name.starts_with('-')).collect();
        assert!(!there.is_empty(), "{row}");
        for name in &there {
            assert!(names.contains(name), "{name}: {row}");
        }
        named += there.len();
    }
    assert!(named > 60, "{named}");
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let program = program();
    let source = "name = \"waits\"\ngroup = \"mine\"\ntitle = { en = \"a\", zh = \"b\" }\nlesson = { en = \"a\", zh = \"b\" }\npatience = \"600s\"\nscript = '''\nS: socket()\nS: bind()\nS: listen(5)\nS: accept()\n'''\n\n[link]\n";
    let path = file("waits", source);
    let mut process = Process::start(program.played_by(Who::User).arg("demo").arg(&path).stdout(Stdio::null()));
    let actors = |pid: u32| {
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        children.split_whitespace().map(|pid| pid.parse::<u32>().unwrap()).collect::<Vec<_>>()
    };
    let pid = process.child.id();
    let here = network(std::process::id());
    let actors = process.until("an actor that waits on its host", |_| {
        let found = actors(pid);
        // The actor's host is a network of its own, and so is what lies between the hosts.
        let between = network(pid).filter(|between| Some(between) != here.as_ref())?;
        let is_apart = |pid: &u32| network(*pid).is_some_and(|host| host != between && Some(&host) != here.as_ref());
        let waits = |pid: &u32| {
            fs::read_to_string(format!("/proc/{pid}/wchan")).is_ok_and(|place| place.contains("accept"))
                || fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name.starts_with("server"))
        };
        found.iter().any(|pid| is_apart(pid) && waits(pid)).then_some(found)
    });
    process.signal(Signal::SIGINT);
    let (status, errors) = process.wait();
    assert_eq!(status.code(), Some(2), "{errors}");
    assert!(errors.contains("interrupted"), "{errors}");
    // Killed as it ends, they take a moment to go.
    let is_left = |actor: &u32| Path::new(&format!("/proc/{actor}")).exists();
    let patience = Instant::now() + Duration::from_secs(5);
    while actors.iter().any(is_left) && Instant::now() < patience {
        thread::sleep(Duration::from_millis(10));
    }
    assert!(!actors.iter().any(is_left), "an actor is left");
}

/// A mark in the environment of processes, by which they and those that they start are found.
struct Mark(String);

impl Mark {
    fn new(name: &str) -> Self {
        Self(format!("{}-{name}", std::process::id()))
    }

    /// What `tcpflow demo` is started by.
    fn demo(&self, program: &Program, args: &[&str]) -> Command {
        let mut command = program.played_by(Who::User);
        command.env("TCPFLOW_TEST_MARK", &self.0).arg("demo").args(args);
        command
    }

    /// The processes that have the mark and still run.
    fn running(&self) -> Vec<u32> {
        let wanted = format!("TCPFLOW_TEST_MARK={}", self.0);
        let is_marked = |entry: fs::DirEntry| {
            let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
            let environment = fs::read(entry.path().join("environ")).ok()?;
            environment.split(|octet| *octet == 0).any(|variable| variable == wanted.as_bytes()).then_some(pid)
        };
        fs::read_dir("/proc").unwrap().filter_map(|entry| is_marked(entry.ok()?)).collect()
    }

    /// Those that still run once what only ends has had a moment to: a process closes what takes the kernel long.
    fn left(&self) -> Vec<u32> {
        let patience = Instant::now() + Duration::from_secs(5);
        while !self.running().is_empty() && Instant::now() < patience {
            thread::sleep(Duration::from_millis(10));
        }
        self.running()
    }
}

#[test]
fn ctrl_c_at_any_moment_leaves_nothing_behind_and_says_one_line() {
    let (program, mark) = (program(), Mark::new("any-moment"));
    for round in 0..50u64 {
        let name = ["fin-lost", "slow-start", "three-clients", "inherited", "syn-flood"][round as usize % 5];
        let process = Process::start(mark.demo(&program, &[name, "--checks"]).stdout(Stdio::null()));
        // The moments are spread over a run; nothing is waited for.
        thread::sleep(Duration::from_millis(round * 37 % 400));
        process.signal(Signal::SIGINT);
        let (status, errors) = process.wait();
        // That the link was late is told beside what was seen until then.
        let (late, errors): (Vec<&str>, Vec<&str>) =
            errors.lines().partition(|line| line.contains("this machine was busy: the link handed a segment over"));
        match (status.code(), &errors[..]) {
            // It had ended before, or was ended before it was able to hear of Ctrl-C.
            (Some(0) | None, []) => {}
            // It had ended before, and the late link made it another story than the script's.
            (Some(1), []) if !late.is_empty() => {}
            (Some(2), [line]) if line.contains("interrupted") => {}
            (code, errors) => panic!("{name}: {code:?} {late:?} {errors:?}"),
        }
        assert_eq!(mark.left(), [0; 0], "{name}: a process is left");
    }
}

#[test]
fn ctrl_c_ends_all_scenarios() {
    let (program, mark) = (program(), Mark::new("all"));
    let mut process = Process::start(mark.demo(&program, &["--all"]).stdout(Stdio::null()));
    process.until("several scenarios", |_| (mark.running().len() > 5).then_some(()));
    process.signal(Signal::SIGINT);
    let (status, errors) = process.wait();
    assert_eq!(status.code(), Some(2), "{errors}");
    assert_eq!(errors.lines().count(), 1, "{errors}");
    assert!(errors.contains("interrupted"), "{errors}");
    assert_eq!(mark.left(), [0; 0], "a process is left");
}

#[test]
fn an_actor_that_is_killed_is_named_and_nothing_is_left_behind() {
    let (program, mark) = (program(), Mark::new("killed"));
    let source = "name = \"killed\"\ngroup = \"mine\"\ntitle = { en = \"a\", zh = \"b\" }\nlesson = { en = \"a\", zh = \"b\" }\npatience = \"600s\"\nscript = '''\nS: socket()\nS: bind()\nS: listen(5)\nS: accept()\n'''\n\n[link]\n";
    let path = file("killed", source);
    let mut demo = mark.demo(&program, &[path.to_str().unwrap(), "--checks"]);
    let mut process = Process::start(demo.stdout(Stdio::piped()));
    let server = process.until("the server", |_| {
        let named = |pid: &u32| fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|name| name == "server\n");
        mark.running().into_iter().find(named)
    });
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(server.cast_signed()), Signal::SIGKILL).unwrap();
    let mut out = String::new();
    std::io::Read::read_to_string(process.child.stdout.as_mut().unwrap(), &mut out).unwrap();
    let (status, errors) = process.wait();
    assert_eq!(status.code(), Some(1), "{out}{errors}");
    assert!(out.contains("the process of S ended, and the script does not say so: was it killed?"), "{out}");
    assert_eq!(mark.left(), [0; 0], "a process is left");
}

#[test]
fn what_the_kernel_lacks_or_forbids_is_one_line_with_the_way_out() {
    let program = program();
    let one_line = |command: &mut Command, parts: &[&str]| {
        let (status, _, errors) = told(command);
        assert_eq!((status, errors.lines().count()), (Some(2), 1), "{errors}");
        assert!(parts.iter().all(|part| errors.contains(part)), "{errors}");
    };
    let demo = |args: &[&str]| {
        let mut command = program.played_by(Who::User);
        command.arg("demo").args(args);
        command
    };
    one_line(
        &mut demo(&["fin-lost", "--set", "sysctl.tcp_nonesuch=1"]),
        &["tcp_nonesuch", "this kernel has no net.ipv4.tcp_nonesuch"],
    );
    one_line(&mut demo(&["fin-lost", "--set", "sysctl.tcp_sack=maybe"]), &["tcp_sack = maybe"]);
    one_line(
        &mut demo(&["recovery-reno", "--set", "congestion=nonesuch"]),
        &["no congestion control nonesuch", "it has", "reno"],
    );
    for scenario in ["fin-lost", "three-clients", "--all"] {
        one_line(&mut without_namespaces(demo(&[scenario])), &["user.max_user_namespaces = 0", "run it with sudo"]);
    }
}

/// Lets a command run where no user namespace may be made: in one that forbids others.
fn without_namespaces(mut command: Command) -> Command {
    use std::os::unix::process::CommandExt;
    let (uid, gid) = (nix::unistd::geteuid().as_raw(), nix::unistd::getegid().as_raw());
    let (uid, gid) = if uid == 0 { (users::NOBODY, users::NOBODY) } else { (uid, gid) };
    let (users, groups) = (format!("{uid} {uid} 1"), format!("{gid} {gid} 1"));
    let forbid = move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWUSER)?;
        // A process that has taken another user's identity does not own its files in /proc otherwise.
        nix::sys::prctl::set_dumpable(true)?;
        fs::write("/proc/self/setgroups", "deny")?;
        fs::write("/proc/self/uid_map", &users)?;
        fs::write("/proc/self/gid_map", &groups)?;
        // It is of this namespace alone.
        fs::write("/proc/sys/user/max_user_namespaces", "0")?;
        Ok(())
    };
    // SAFETY: what runs between fork and exec makes system calls only, and holds no lock that a thread of the parent could have had.
    unsafe { command.pre_exec(forbid) };
    command
}

#[test]
fn two_captures_are_paired_as_the_link_says() {
    let program = program();
    let schema: Value = serde_json::from_str(include_str!("../docs/output.schema.json")).unwrap();
    let schema = jsonschema::validator_for(&schema).unwrap();
    let folder = file("sides", "").parent().unwrap().to_owned();
    executable_by_all(&folder);
    let json = |out: &str| -> Vec<Value> { out.lines().map(|line| serde_json::from_str(line).unwrap()).collect() };
    for scenario in [
        "data-lost",
        "fin-lost",
        "last-ack-lost",
        "duplicate",
        "damaged",
        "reordering",
        "forged-rst-refused",
        "mss-clamped",
    ] {
        let saved = folder.join(format!("{scenario}.pcapng"));
        let mut demo = program.played_by(Who::User);
        let (status, out, errors) = told(demo.args(["demo", scenario, "--format", "jsonl", "--save"]).arg(&saved));
        assert_eq!(status, Some(0), "{scenario}: {errors}");
        let lines = json(&out);
        let sides = ["client", "server"].map(|side| folder.join(format!("{scenario}-{side}.pcapng")));
        let mut analyze = program.played_by(Who::User);
        analyze
            .args(["analyze", "--format", "jsonl", "--client-side"])
            .arg(&sides[0])
            .arg("--server-side")
            .arg(&sides[1]);
        let (status, out, errors) = told(&mut analyze);
        assert_eq!(status, Some(0), "{scenario}: {errors}");
        let paired = json(&out);
        for line in &paired {
            assert!(schema.is_valid(line), "{line}");
        }
        let clock = paired.iter().find(|line| line["type"] == "clock").unwrap();
        let (offset, error) = (clock["offset_ns"].as_i64().unwrap(), clock["error_ns"].as_i64().unwrap());
        assert!(offset.abs() <= error, "{scenario}: one clock is no other: {clock}");
        // What the link did, by when the segment was sent; and what the pairing found, by the same.
        let at = |frame: &Value| {
            let segment = lines.iter().find(|line| line["type"] == "segment" && &line["frame"] == frame);
            segment.map(|segment| segment["at"].as_str().unwrap().to_owned()).unwrap()
        };
        let mut acts: Vec<(String, String)> = lines
            .iter()
            .filter(|line| line["type"] == "link" && line["what"] != "overtaken" && line["what"] != "marked")
            .map(|line| (at(&line["frame"]), line["what"].as_str().unwrap().replace("dropped", "lost")))
            .collect();
        let mut found: Vec<(String, String)> = paired
            .iter()
            .filter(|line| line["type"] == "passage" && line["fate"] != "arrived")
            .map(|line| {
                (
                    line["seen"][0]["at"].as_str().unwrap().to_owned(),
                    line["fate"].as_str().unwrap_or("unknown").to_owned(),
                )
            })
            .collect();
        acts.sort();
        found.sort();
        assert_eq!(found, acts, "{scenario}");
        let overtaken = paired.iter().any(|line| line["overtaken"] == true);
        assert_eq!(overtaken, scenario == "reordering", "{scenario}");
        let changed =
            paired.iter().any(|line| line["changed"].as_array().is_some_and(|all| all.iter().any(|one| one == "mss")));
        assert_eq!(changed, scenario == "mss-clamped", "{scenario}");
    }
}

#[test]
fn a_scenario_that_is_too_long_is_refused() {
    let program = program();
    let path = file("long", &"# nothing\n".repeat((1 << 20) / 10 + 1));
    let (status, _, errors) = told(program.played_by(Who::User).arg("demo").arg(path));
    assert_eq!(status, Some(2));
    assert!(errors.contains("no scenario"), "{errors}");
}
