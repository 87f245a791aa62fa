//! `tcpflow live` and `tcpflow interfaces` on the real kernel, as root and as an ordinary user in a namespace of their own.
//!
//! A namespace can be entered only before there is a second thread. So this file has a `main` of its own: it starts itself again for each
//! case. Nothing is skipped: where the host lets nobody capture, the cases fail with the reason.

#[path = "../src/report/jsonl/amended.rs"]
mod amended;
mod cases;
mod executable;
mod server;
mod users;

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Duration;
use std::{env, thread};

use amended::applied;
use cases::{CASE, Cases};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getegid, geteuid};
use serde_json::Value;
use server::Server;
use users::{NOBODY, Program};

/// What is tried, by whom.
const CASES: Cases<Who> = Cases {
    short: &[
        ("lines_for_programs_tell_everything_and_the_file_tells_the_same", &[Who::Root, Who::User], jsonl),
        ("lines_for_people_end_with_the_table_and_the_drops", &[Who::Root, Who::User], text),
        ("a_timeline_is_told_as_it_grows_and_is_that_of_the_file", &[Who::Root, Who::User], timeline),
        ("rows_of_a_timeline_come_as_they_are_certain", &[Who::Root, Who::User], rows),
        ("a_condition_chooses_connections_as_they_stand", &[Who::Root, Who::User], condition),
        ("records_come_when_a_connection_is_over", &[Who::Root, Who::User], records),
        ("a_bulk_transfer_is_held", &[Who::Root, Who::User], bulk),
        ("a_connection_that_is_over_is_told_while_the_capture_goes_on", &[Who::Root], over),
        ("what_the_kernel_drops_is_told", &[Who::Root, Who::User], drops),
        ("files_rotate_in_a_ring", &[Who::Root, Who::User], ring),
        ("a_count_and_a_duration_end_it", &[Who::Root], ends),
        ("any_is_an_interface", &[Who::Root, Who::User], any),
        ("a_reader_that_has_gone_is_no_failure_and_loses_no_file", &[Who::Root], reader_gone),
        ("bad_options_are_told", &[Who::Root, Who::User], bad_options),
        ("a_file_that_cannot_be_written_is_told", &[Who::Root], bad_file),
        ("a_file_that_has_no_more_room_ends_with_its_last_whole_frame", &[Who::Root, Who::User], full),
        ("an_interface_that_is_down_is_told", &[Who::UserDown], down),
        ("no_permission_is_told_with_the_ways_out", &[Who::Nobody], no_permission),
        ("root_is_given_up_and_files_belong_to_the_caller", &[Who::Sudo], sudo),
        ("interfaces_are_listed", &[Who::Root, Who::User], interfaces),
    ],
    long: &[],
};

/// As which user a case is played.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    /// Root, on the host's own loopback.
    Root,
    /// Root, with the environment that sudo gives.
    Sudo,
    /// An ordinary user, in a user and network namespace of its own.
    User,
    /// The same, before the loopback is brought up.
    UserDown,
    /// An ordinary user on the host.
    Nobody,
}

impl Who {
    /// As whom the program is started.
    fn user(self) -> users::Who {
        match self {
            Self::Root => users::Who::Root,
            Self::Sudo => users::Who::Sudo,
            Self::User | Self::UserDown | Self::Nobody => users::Who::User,
        }
    }
}

fn main() -> ExitCode {
    if let Ok(loopback) = env::var(NAMESPACE) {
        enter_namespace();
        if loopback == "up" {
            bring_loopback_up();
        }
    }
    if CASES.play_own() {
        return ExitCode::SUCCESS;
    }
    let programs = Programs::within_reach();
    CASES.play(|who| who.user().is_playable().then(|| programs.command(who)))
}

// ---- the cases -------------------------------------------------------------------------------------------------------

fn jsonl() {
    let scratch = Scratch::new("jsonl");
    let server = Server::start();
    let file = scratch.0.join("kept.pcapng");
    let mut live = Running::start(&["-i", "lo", "--format", "jsonl", "-w", str(&file), &server.filter()]);
    let client = server.echo(b"helloworld");
    live.await_line(|line| is(line, "transition") && line["to"] == "TIME-WAIT");
    live.await_line(|line| is(line, "transition") && line["side"] == "server" && line["to"] == "CLOSED");
    assert!(!file.exists(), "the file has its name before it is whole");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    assert!(told.stderr.contains("capturing on lo"), "{}", told.stderr);
    let lines = told.json();
    validate(&lines);

    let of = |kind: &str| lines.iter().filter(|line| is(line, kind)).collect::<Vec<_>>();
    let [opened] = &of("opened")[..] else { panic!("{lines:#?}") };
    assert_eq!(opened["client"]["port"], client);
    assert_eq!(opened["server"]["port"], server.port);
    let moves: Vec<String> = of("transition")
        .iter()
        .map(|line| format!("{} {}", line["side"].as_str().unwrap(), line["to"].as_str().unwrap()))
        .collect();
    let way = |side: &str| moves.iter().filter_map(|moved| moved.strip_prefix(side)).collect::<Vec<_>>().join(",");
    assert_eq!(way("client "), "SYN-SENT,ESTABLISHED,FIN-WAIT-1,FIN-WAIT-2,TIME-WAIT");
    assert_eq!(way("server "), "SYN-RECEIVED,ESTABLISHED,CLOSE-WAIT,LAST-ACK,CLOSED");
    let [connection] = &of("connection")[..] else { panic!("{lines:#?}") };
    for (field, value) in [("ending", "fin"), ("closed_by", "client"), ("conn_state", "SF")] {
        assert_eq!(connection[field], value, "{connection}");
    }
    for side in ["client_to_server", "server_to_client"] {
        // On loopback the kernel sees each packet leave and arrive: neither is taken for a repetition of the other.
        assert_eq!((&connection[side]["octets"], &connection[side]["syn"]), (&10.into(), &1.into()), "{connection}");
    }
    assert_eq!(connection["findings"], Value::Array(vec![]), "{connection}");
    let totals = lines.last().unwrap();
    assert!(is(totals, "totals") && totals["dropped"] == 0 && totals["connections"] == 1, "{totals}");

    assert_eq!(scratch.names(), ["kept.pcapng"]);
    assert_eq!(connections_of(&lines), analyze(&file));
}

fn text() {
    let server = Server::start();
    let mut live = Running::start(&["-i", "lo", "--every", "1", "--width", "110", &server.filter()]);
    let client = server.echo(b"helloworld");
    live.await_text(" end ");
    live.await_text("0 connections open");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let ends = format!("127.0.0.1:{client:<11} → 127.0.0.1:{:<11} SYN ", server.port);
    let opened = told.lines.iter().find(|line| line.contains(&ends)).unwrap_or_else(|| panic!("{:#?}", told.lines));
    assert!(opened.contains(" SYN-SENT "), "{opened}");
    let end = told.lines.iter().find(|line| line.contains(" end ")).unwrap();
    assert!(end.contains("fin after ") && end.contains(", octets 10 →, 10 ←. Closed normally: "), "{end}");
    let (drops, rest) = told.lines.split_last().unwrap();
    assert!(drops.starts_with("lo: ") && drops.contains(" 0 dropped by the kernel, 0 by the interface"), "{drops}");
    assert!(rest.last().unwrap().starts_with("1 connection, 10 segments, 10 frames"), "{:#?}", told.lines);
    let rows = |line: &&String| line.contains(&format!("127.0.0.1:{client}")) && line.contains("TIME-WAIT    CLOSED");
    assert!(told.lines.iter().rev().take(5).any(|line| rows(&line)), "{:#?}", told.lines);
}

fn timeline() {
    let scratch = Scratch::new("timeline");
    let server = Server::start();
    let file = scratch.0.join("kept.pcapng");
    let options = ["-i", "lo", "--timeline", "--linger", "1", "--format", "jsonl", "-w", str(&file), &server.filter()];
    let mut live = Running::start(&options);
    server.echo(b"helloworld");
    // While the capture goes on the connection is told for good, and forgotten.
    live.await_line(|line| is(line, "connection"));
    server.echo(b"again");
    live.await_line(|line| is(line, "transition") && line["connection"] == 1 && line["to"] == "TIME-WAIT");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let lines = told.json();
    let schema: Value = serde_json::from_str(include_str!("../docs/output.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    assert!(lines.iter().all(|line| validator.is_valid(line)), "{lines:#?}");

    let analyzed = tcpflow().args(["analyze", "-t", "--format", "jsonl"]).arg(&file).output().unwrap();
    let finished = json(&String::from_utf8(analyzed.stdout).unwrap());
    let events =
        |lines: &[Value]| lines.iter().filter(|line| line["order"].is_null() && line["phase"].is_string()).count();
    assert!(events(&finished) >= 30, "{finished:#?}");
    // A file names where it was captured; of what is live that is known.
    let is_told = |line: &Value| !["totals", "connection", "point"].iter().any(|kind| is(line, kind));
    let applied = applied(lines);
    for (one, other) in applied.iter().filter(|line| is_told(line)).zip(finished.iter().filter(|line| is_told(line))) {
        assert_eq!(one, other);
    }
    assert_eq!(events(&applied), events(&finished));
    let ends = |lines: &[Value]| lines.iter().filter(|line| is(line, "connection")).cloned().collect::<Vec<_>>();
    assert_eq!(ends(&applied), ends(&finished));
}

fn rows() {
    let server = Server::start();
    let mut live = Running::start(&["-i", "lo", "-t", "--linger", "1", "--width", "110", &server.filter()]);
    server.echo(b"helloworld");
    live.await_text("#1 SYN");
    live.await_text(" end fin");
    server.echo(b"helloworld");
    live.await_text(" 1 ");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let ids = |id: &str| told.lines.iter().filter(|line| line.starts_with(&format!("{id:>6} "))).count();
    assert!(ids("0") >= 10 && ids("1") >= 10, "{:#?}", told.lines);
    assert!(told.lines.iter().all(|line| line.chars().count() <= 110), "{:#?}", told.lines);
    assert!(told.lines.iter().any(|line| line.starts_with("2 connections, 20 segments")), "{:#?}", told.lines);
}

fn condition() {
    let server = Server::start();
    let asked = "server_to_client.octets == 10 && closed_by == \"client\"";
    let mut live = Running::start(&["-i", "lo", "--format", "jsonl", "--where", asked, &server.filter()]);
    server.echo(b"hi");
    let client = server.echo(b"helloworld");
    live.await_line(|line| is(line, "transition") && line["side"] == "server" && line["to"] == "CLOSED");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let lines = told.json();
    validate(&lines);
    let [connection] = &connections_of(&lines)[..] else { panic!("{lines:#?}") };
    assert_eq!(connection["client"]["port"], client);
    assert!(!lines.iter().any(|line| is(line, "opened")), "nothing had been sent when it opened");
    assert!(lines.iter().filter(|line| is(line, "transition")).all(|line| line["connection"] == connection["id"]));
    assert_eq!(lines.last().unwrap()["connections"], 2);
}

fn records() {
    let server = Server::start();
    let mut live = Running::start(&["-i", "lo", "--format", "csv", "--linger", "1", &server.filter()]);
    let client = server.echo(b"helloworld");
    live.await_text(&format!(",{client},"));
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let [header, record] = &told.lines[..] else { panic!("{:#?}", told.lines) };
    let fields = |line: &str| line.split(',').map(str::to_owned).collect::<Vec<_>>();
    let field = |name: &str| fields(record)[fields(header).iter().position(|field| field == name).expect(name)].clone();
    assert_eq!(field("client.port"), client.to_string());
    assert_eq!(field("ending"), "fin");
    assert_eq!(field("client_to_server.octets"), "10");
}

fn bulk() {
    let scratch = Scratch::new("bulk");
    let (server, file) = (Server::start(), scratch.0.join("bulk.pcap"));
    let mut live = Running::start(&["-i", "lo", "--format", "jsonl", "-w", str(&file), &server.filter()]);
    let octets = 200 << 20;
    server.take(octets);
    live.await_line(|line| is(line, "transition") && line["to"] == "TIME-WAIT");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let lines = told.json();
    let totals = lines.last().unwrap();
    assert_eq!(totals["dropped"], 0, "{totals}");
    let connections = connections_of(&lines);
    let [connection] = &connections[..] else { panic!("{connections:#?}") };
    // Every position came; in which order, two processors settle between them.
    assert_eq!(connection["client_to_server"]["unique_octets"], octets, "{connection}");
    assert_eq!(connections, analyze(&file));
    // Only the headers were kept.
    assert!(fs::metadata(&file).unwrap().len() < octets / 10);
}

fn over() {
    let server = Server::start();
    let mut live = Running::start(&["-i", "lo", "--format", "jsonl", "--linger", "1", &server.filter()]);
    server.echo(b"one");
    // No segment comes after the last one: it is the clock that says that it was quiet for long enough.
    live.await_line(|line| is(line, "connection") && line["id"] == 0 && line["ending"] == "fin");
    server.echo(b"two");
    live.await_line(|line| is(line, "connection") && line["id"] == 1);
    let lines = live.interrupt().json();
    validate(&lines);
    assert_eq!(connections_of(&lines).len(), 2);
}

fn drops() {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let filter = format!("udp port {}", sink.local_addr().unwrap().port());
    let mut live = Running::start(&["-i", "lo", "--buffer", "4096", "--format", "jsonl", "--every", "1", &filter]);
    kill(live.pid(), Signal::SIGSTOP).unwrap();
    let source = UdpSocket::bind("127.0.0.1:0").unwrap();
    let datagrams = 50_000;
    for _ in 0..datagrams {
        source.send_to(&[7; 1000], sink.local_addr().unwrap()).unwrap();
    }
    kill(live.pid(), Signal::SIGCONT).unwrap();
    let drops = live.await_line(|line| is(line, "drops"));
    assert!(drops["dropped"].as_u64().unwrap() > 0, "{drops}");
    live.await_line(|line| is(line, "counts") && line["dropped"].as_u64().unwrap() > 0);
    let lines = live.interrupt().json();
    validate(&lines);
    let counts = lines.iter().rfind(|line| is(line, "counts")).unwrap();
    let (received, totals) = (counts["received"].as_u64().unwrap(), lines.last().unwrap());
    let (frames, dropped) = (totals["frames"].as_u64().unwrap(), totals["dropped"].as_u64().unwrap());
    // The kernel sees each twice, and counts what it drops among what it received; libpcap hands out those that arrive.
    assert_eq!(received, 2 * datagrams, "{lines:#?}");
    assert!(frames <= datagrams && (datagrams..=2 * datagrams).contains(&(frames + dropped)), "{totals}");
    let in_time: u64 =
        lines.iter().filter(|line| is(line, "drops")).map(|line| line["dropped"].as_u64().unwrap()).sum();
    assert_eq!(in_time, dropped, "what was told in time is what is told at the end");
}

fn ring() {
    let scratch = Scratch::new("ring");
    let (server, file) = (Server::start(), scratch.0.join("ring.pcapng"));
    let options = ["-i", "lo", "--rotate-size", "4096", "--files", "3", "--format", "jsonl", "-w", str(&file)];
    let mut live = Running::start(&[&options[..], &[&server.filter()]].concat());
    for _ in 0..20 {
        server.echo(b"helloworld");
    }
    live.await_line(|line| is(line, "transition") && line["connection"] == 19 && line["to"] == "TIME-WAIT");
    live.await_line(|line| is(line, "transition") && line["connection"] == 19 && line["rule"] == "last-ack");
    let told = live.interrupt();
    assert!(told.status.success(), "{}", told.stderr);
    let names = scratch.names();
    assert_eq!(names.len(), 3, "{names:?}");
    let numbers: Vec<u32> =
        names.iter().map(|name| name.strip_prefix("ring-").unwrap()[..5].parse().unwrap()).collect();
    assert!(numbers[0] > 1 && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{names:?}");
    // The last ones, read as one, end as the capture did.
    let mut command = tcpflow();
    command.args(["analyze", "--format", "jsonl"]).args(names.iter().map(|name| scratch.0.join(name)));
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let kept = json(&String::from_utf8(output.stdout).unwrap());
    let lines = told.json();
    let last = |lines: &[Value]| {
        let connections = connections_of(lines);
        let last = connections.last().unwrap().clone();
        (last["client"].clone(), last["history"].clone(), last["client_to_server"].clone())
    };
    assert_eq!(last(&kept), last(&lines));
    let frames = kept.last().unwrap()["frames"].as_u64().unwrap();
    assert!((20..200).contains(&frames), "{frames} of {}", lines.last().unwrap()["frames"]);
}

fn ends() {
    let scratch = Scratch::new("ends");
    let (server, file) = (Server::start(), scratch.0.join("ends.pcap"));
    let live = Running::start(&["-i", "lo", "--count", "3", "-w", str(&file), "--format", "jsonl", &server.filter()]);
    server.echo(b"helloworld");
    let told = live.wait();
    assert!(told.status.success() && told.stderr.contains("3 frames are in "), "{}", told.stderr);
    let lines = told.json();
    assert_eq!(lines.last().unwrap()["frames"], 3);
    assert_eq!(connections_of(&lines), analyze(&file));

    let live = Running::start(&["-i", "lo", "--duration", "1", "--format", "jsonl", &server.filter()]);
    let told = live.wait();
    assert!(told.status.success(), "{}", told.stderr);
    assert_eq!(told.json().last().unwrap()["frames"], 0);
}

fn any() {
    let scratch = Scratch::new("any");
    let (server, file) = (Server::start(), scratch.0.join("any.pcapng"));
    let mut live = Running::start(&["-i", "any", "--format", "jsonl", "-w", str(&file), &server.filter()]);
    server.echo(b"helloworld");
    live.await_line(|line| is(line, "transition") && line["rule"] == "last-ack");
    let lines = live.interrupt().json();
    let connections = connections_of(&lines);
    assert_eq!(connections[0]["client_to_server"]["octets"], 10);
    assert_eq!(connections[0]["findings"], Value::Array(vec![]));
    assert_eq!(connections, analyze(&file));
}

fn reader_gone() {
    let scratch = Scratch::new("reader");
    let (server, file) = (Server::start(), scratch.0.join("reader.pcap"));
    let mut live = Running::start(&["-i", "lo", "-w", str(&file), &server.filter()]);
    drop(live.lines.take());
    // The reader goes away when it has read the first line; what is told then has nowhere to go.
    server.echo(b"helloworld");
    live.reader.take().unwrap().join().unwrap();
    server.echo(b"helloworld");
    let told = live.wait();
    assert_eq!(told.status.code(), Some(0), "{}", told.stderr);
    assert!(told.stderr.contains("frames are in "), "{}", told.stderr);
    assert_eq!(scratch.names(), ["reader.pcap"]);
    assert_eq!(analyze(&file).len(), 2);
}

fn bad_options() {
    for (options, named) in [
        (&["-i", "nowhere0"][..], &["'nowhere0'", "lo", "any"][..]),
        (&["-i", "a\u{1b}[31m"], &["\\u{1b}"]),
        (&["-i", "lo", "tcp", "prot", "80"], &["\"tcp prot 80\"", "cannot be used: syntax error", "pcap-filter(7)"]),
        (&["-i", "lo", "-w", "a.txt"], &["a.txt", ".pcapng"]),
        (&["-i", "lo", "-w", "/nowhere/a.pcap"], &["/nowhere"]),
        (&["-i", "lo", "-w", "a.pcap", "--files", "3"], &["--rotate-size"]),
        (&["-i", "lo", "--rotate-seconds", "3"], &["--save"]),
        (&["-i", "lo", "-t", "--format", "csv"], &["text and jsonl only"]),
        (&["-i", "lo", "-t", "--where", "true"], &["--timeline", "--where"]),
    ] {
        let output = tcpflow().arg("live").args(options).stdin(Stdio::null()).output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{options:?}: {told}");
        assert!(named.iter().all(|named| told.contains(named)), "{options:?}: {told}");
        assert!(!told.contains('\u{1b}'), "{told:?}");
    }
}

fn bad_file() {
    let live = tcpflow().args(["live", "-i", "lo", "-w", "/proc/a.pcap"]).output().unwrap();
    let told = String::from_utf8(live.stderr).unwrap();
    assert_eq!(live.status.code(), Some(2), "{told}");
    assert!(told.contains("/proc/a.pcap cannot be written"), "{told}");
}

fn full() {
    let scratch = Scratch::new("full");
    for (name, rotation) in [("full.pcap", &[][..]), ("full.pcapng", &[]), ("full.pcapng", &["--rotate-size", "1G"])] {
        let (server, file) = (Server::start(), scratch.0.join(name));
        // A limit on how long a file may be is a full disk that needs no disk.
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -f 100; exec \"$0\" live \"$@\""]).arg(tcpflow().get_program());
        command.env_remove(CASE).env("LC_ALL", "C.UTF-8");
        let filter = server.filter();
        let options = ["-i", "lo", "--format", "jsonl", "--snaplen", "2000", "-w", str(&file), &filter];
        let live = Running::of(command.args(options).args(rotation));
        server.take(20 << 20);
        let told = live.interrupt();
        assert_eq!(told.status.code(), Some(2), "{}", told.stderr);
        let file = if rotation.is_empty() { file } else { scratch.0.join("full-00001.pcapng") };
        assert_eq!(scratch.names(), [file.file_name().unwrap().to_str().unwrap()]);
        let output = tcpflow().args(["analyze", "--format", "jsonl"]).arg(&file).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let lines = String::from_utf8(output.stdout).unwrap();
        let frames = json(&lines).last().unwrap()["frames"].as_u64().unwrap();
        let length = fs::metadata(&file).unwrap().len();
        assert!(frames > 10 && length > 100 * 512 - 2100, "{frames} frames in {length} octets");
        assert!(told.stderr.contains(&format!("{frames} frames are in {}", file.display())), "{}", told.stderr);
        assert!(told.stderr.contains("cannot be written"), "{}", told.stderr);
        let captured = json(&told.lines.join("\n")).last().unwrap()["frames"].as_u64().unwrap();
        assert!(captured > frames, "{captured} frames were captured, and {frames} kept");
        fs::remove_file(&file).unwrap();
    }
}

fn down() {
    let output = tcpflow().args(["live", "-i", "lo"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("lo is down") && told.contains("ip link set lo up"), "{told}");
    let lo = interface("lo");
    assert!(lo["up"] == false && lo["why_not"].as_str().unwrap().contains("ip link set lo up"), "{lo}");
}

fn no_permission() {
    let output = tcpflow().args(["live", "-i", "lo"]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    let path = tcpflow().get_program().to_str().unwrap().to_owned();
    for words in ["no permission", "sudo", &format!("sudo setcap cap_net_raw+ep {path}")] {
        assert!(told.contains(words), "{words}: {told}");
    }
    let lo = interface("lo");
    assert!(lo["why_not"].as_str().unwrap().contains("setcap"), "{lo}");
}

fn sudo() {
    let scratch = Scratch::new("sudo");
    fs::set_permissions(&scratch.0, fs::Permissions::from_mode(0o777)).unwrap();
    let (server, file) = (Server::start(), scratch.0.join("sudo.pcapng"));
    let mut live = Running::start(&["-i", "lo", "-w", str(&file), &server.filter()]);
    let status = fs::read_to_string(format!("/proc/{}/status", live.child.id())).unwrap();
    for who in ["Uid", "Gid"] {
        let ids = status.lines().find(|line| line.starts_with(who)).unwrap();
        assert!(ids.split_whitespace().skip(1).all(|id| id == NOBODY.to_string()), "{ids}");
    }
    let capabilities = status.lines().find(|line| line.starts_with("CapEff")).unwrap();
    assert!(capabilities.ends_with("0000000000000000"), "{capabilities}");
    server.echo(b"helloworld");
    live.await_text(" end ");
    assert!(live.interrupt().status.success());
    let owner = fs::metadata(&file).unwrap();
    assert_eq!((owner.uid(), owner.gid()), (NOBODY, NOBODY));
}

fn interfaces() {
    let lo = interface("lo");
    assert!(lo["up"] == true && lo["loopback"] == true, "{lo}");
    assert_eq!(lo["why_not"], Value::Null, "{lo}");
    assert_eq!(lo["link"]["number"], 1, "{lo}");
    let addresses: BTreeMap<_, _> = lo["addresses"]
        .as_array()
        .unwrap()
        .iter()
        .map(|address| (address["addr"].as_str().unwrap(), address["prefix"].as_u64()))
        .collect();
    assert_eq!(addresses["127.0.0.1"], Some(8), "{lo}");
    let output = tcpflow().args(["interfaces", "--width", "80"]).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let line = text.lines().find(|line| line.starts_with("lo ")).unwrap_or_else(|| panic!("{text}"));
    assert!(line.contains("up, running") && line.contains("127.0.0.1/8") && line.contains("loopback"), "{line}");
}

// ---- the capture, and what is captured --------------------------------------------------------------------------------

/// A `tcpflow live` that runs.
struct Running {
    child: Child,
    lines: Option<Receiver<String>>,
    reader: Option<thread::JoinHandle<()>>,
    told: Vec<String>,
    stderr: thread::JoinHandle<String>,
}

/// One that has ended.
struct Told {
    status: ExitStatus,
    lines: Vec<String>,
    stderr: String,
}

impl Running {
    /// Starts it, and returns when it says that it captures.
    fn start(options: &[&str]) -> Self {
        Self::of(tcpflow().arg("live").args(options))
    }

    /// As [`Running::start`], by a command of one's own.
    fn of(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("tcpflow starts");
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("capturing on") {
            let more = stderr.read_line(&mut said).unwrap();
            assert!(more > 0, "it ended: {said}");
        }
        let stderr = thread::spawn(move || {
            stderr.read_to_string(&mut said).unwrap();
            said
        });
        let (to_us, lines) = mpsc::channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let reader = thread::spawn(move || {
            let mut line = String::new();
            // An empty line first, which is told by nobody, shows whether somebody still wants to know.
            while to_us.send(String::new()).is_ok() {
                line.clear();
                if stdout.read_line(&mut line).unwrap() == 0 || to_us.send(line.trim_end().to_owned()).is_err() {
                    return;
                }
            }
        });
        Self { child, lines: Some(lines), reader: Some(reader), told: Vec::new(), stderr }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id() as i32)
    }

    /// Waits until a line holds a text.
    fn await_text(&mut self, text: &str) {
        self.await_one(|line| line.contains(text).then_some(()));
    }

    /// Waits for a JSON line.
    fn await_line(&mut self, wanted: impl Fn(&Value) -> bool) -> Value {
        self.await_one(|line| serde_json::from_str(line).ok().filter(|line| wanted(line)))
    }

    fn await_one<T>(&mut self, wanted: impl Fn(&str) -> Option<T>) -> T {
        loop {
            let line = self.lines.as_ref().unwrap().recv_timeout(LIMIT);
            let line = line.unwrap_or_else(|_| panic!("it was not told: {:#?}", self.told));
            if let Some(found) = wanted(&line) {
                self.told.push(line);
                return found;
            }
            self.told.push(line);
        }
    }

    fn interrupt(self) -> Told {
        kill(self.pid(), Signal::SIGINT).unwrap();
        self.wait()
    }

    fn wait(mut self) -> Told {
        if let Some(lines) = self.lines.take() {
            while let Ok(line) = lines.recv_timeout(LIMIT) {
                self.told.push(line);
            }
        }
        let status = self.child.wait().unwrap();
        self.told.retain(|line| !line.is_empty());
        Told { status, lines: self.told, stderr: self.stderr.join().unwrap() }
    }
}

impl Told {
    fn json(&self) -> Vec<Value> {
        json(&self.lines.join("\n"))
    }
}

fn json(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

fn is(line: &Value, kind: &str) -> bool {
    line["type"] == kind
}

/// The `connection` lines, by id.
fn connections_of(lines: &[Value]) -> Vec<Value> {
    let mut connections: Vec<Value> = lines.iter().filter(|line| is(line, "connection")).cloned().collect();
    connections.sort_by_key(|connection| connection["id"].as_u64());
    connections
}

/// The `connection` lines of a file, by id.
fn analyze(file: &Path) -> Vec<Value> {
    let output = tcpflow().args(["analyze", "--format", "jsonl"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    connections_of(&json(&String::from_utf8(output.stdout).unwrap()))
}

/// Holds lines to the schema, and the ids of events to the order in which they are told.
fn validate(lines: &[Value]) {
    let schema: Value = serde_json::from_str(include_str!("../docs/output.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&schema).unwrap();
    let mut events = 0;
    for line in lines {
        let errors: Vec<_> =
            validator.iter_errors(line).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert!(errors.is_empty(), "{line}\n{errors:#?}");
        if !is(line, "connection") && !is(line, "totals") && !is(line, "interface") {
            assert_eq!(line["id"], events, "{line}");
            events += 1;
        }
    }
}

fn interface(name: &str) -> Value {
    let Output { status, stdout, stderr } = tcpflow().args(["interfaces", "--format", "jsonl"]).output().unwrap();
    assert!(status.success(), "{}", String::from_utf8_lossy(&stderr));
    let lines = json(&String::from_utf8(stdout).unwrap());
    validate(&lines);
    assert!(lines.iter().filter(|line| line["default"] == true).count() == 1, "{lines:#?}");
    lines.into_iter().find(|line| line["name"] == name).unwrap_or_else(|| panic!("no {name}"))
}

impl Server {
    /// A client sends octets, has them back, and closes first; returns its port.
    fn echo(&self, octets: &[u8]) -> u16 {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (mut server, _) = self.listener.accept().unwrap();
        let mut back = vec![0; octets.len()];
        client.write_all(octets).unwrap();
        server.read_exact(&mut back).unwrap();
        server.write_all(&back).unwrap();
        client.read_exact(&mut back).unwrap();
        assert_eq!(back, octets);
        let port = client.local_addr().unwrap().port();
        drop(client);
        assert_eq!(server.read(&mut back).unwrap(), 0);
        port
    }

    /// A client sends that many octets, and closes first.
    fn take(&self, octets: u64) {
        let port = self.port;
        let client = thread::spawn(move || {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let some = vec![7; 1 << 20];
            (0..octets >> 20).for_each(|_| client.write_all(&some).unwrap());
        });
        let (mut server, _) = self.listener.accept().unwrap();
        let mut room = vec![0; 1 << 20];
        while server.read(&mut room).unwrap() > 0 {}
        client.join().unwrap();
    }
}

/// A folder of its own for each case, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("tcpflow-live-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    /// What is in it, hidden files too.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(&self.0).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn tcpflow() -> Command {
    let mut command = Command::new(env::var_os(TCPFLOW).expect("the program's path"));
    command.env_remove(CASE).env("LC_ALL", "C.UTF-8");
    command
}

// ---- who plays ----------------------------------------------------------------------------------------------------------

/// This program and `tcpflow`, where every user can reach them.
struct Programs {
    player: Program,
    tcpflow: Program,
}

impl Programs {
    fn within_reach() -> Self {
        Self {
            player: Program::within_reach(&env::current_exe().expect("this program has a path")),
            tcpflow: Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow"))),
        }
    }

    fn command(&self, who: Who) -> Command {
        let user = who.user();
        let mut command = self.player.played_by(user);
        command.env(TCPFLOW, self.tcpflow.played_by(user).get_program());
        match who {
            Who::Root | Who::Sudo | Who::Nobody => {}
            Who::User => drop(command.env(NAMESPACE, "up")),
            Who::UserDown => drop(command.env(NAMESPACE, "down")),
        }
        command
    }
}

/// What `unshare --map-root-user --net` does: the programs started from here may capture, in here.
fn enter_namespace() {
    let (uid, gid) = (geteuid(), getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)
        .expect("this host lets ordinary users make namespaces (`tcpflow demo` says which setting forbids it)");
    fs::write("/proc/self/setgroups", "deny").unwrap();
    fs::write("/proc/self/uid_map", format!("0 {uid} 1")).unwrap();
    fs::write("/proc/self/gid_map", format!("0 {gid} 1")).unwrap();
}

fn bring_loopback_up() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // SAFETY: all octets zero is a valid ifreq; both calls take a pointer to one.
    unsafe {
        let mut request: libc::ifreq = std::mem::zeroed();
        request.ifr_name[0] = b'l' as libc::c_char;
        request.ifr_name[1] = b'o' as libc::c_char;
        assert_eq!(libc::ioctl(socket.as_raw_fd(), libc::SIOCGIFFLAGS, &mut request), 0);
        request.ifr_ifru.ifru_flags |= libc::IFF_UP as libc::c_short;
        assert_eq!(libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &mut request), 0);
    }
}

const NAMESPACE: &str = "TCPFLOW_LIVE_NAMESPACE";
const TCPFLOW: &str = "TCPFLOW_LIVE_PROGRAM";
/// How long something may take that is waited for.
const LIMIT: Duration = Duration::from_secs(30);
