//! Holds docs/answers.md to its word: each row's fields and sentence are those of the capture or script that it names.

use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use tcpflow::flow::{Connection, FlowTable};
use tcpflow::report::Expression;
use tcpflow::report::wording::{English, Wording};
use tcpflow::script::Script;
use tcpflow::wire::{IcmpError, IcmpKind};

#[test]
fn each_row_is_what_its_capture_or_script_tells() {
    let page = fs::read_to_string(folder().join("docs/answers.md")).unwrap();
    let rows: Vec<Row> = page.lines().filter_map(Row::of).collect();
    let mut wrong = Vec::new();
    let mut shown = Vec::new();
    for row in &rows {
        shown.push(row.shown.clone());
        let said = match row.shown.extension().and_then(|ending| ending.to_str()) {
            Some("script") => told_of_script(row),
            _ => told_of_capture(row),
        };
        if !said.iter().any(|said| said.contains(&row.sentence)) {
            wrong.push(format!(
                "{}: {}\n  told of those with {}: {said:#?}",
                row.shown.display(),
                row.sentence,
                row.field
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // A script that no row names shows nothing to anybody.
    for script in fs::read_dir(folder().join("tests/answers")).unwrap().map(|entry| entry.unwrap().path()) {
        assert!(shown.contains(&script), "{} is in no row of docs/answers.md", script.display());
    }
    assert!(rows.len() >= 20, "{} rows", rows.len());
}

#[test]
fn every_kind_of_problem_has_a_row() {
    let page = fs::read_to_string(folder().join("docs/answers.md")).unwrap();
    let rows: Vec<Row> = page.lines().filter_map(Row::of).collect();
    // What the link of an experiment injected only that link can say: src/story/tests.rs holds its sentence.
    let kinds = tcpflow::flow::ProblemKind::ALL.iter().filter(|kind| **kind != tcpflow::flow::ProblemKind::Injected);
    for kind in kinds {
        let field = format!("problem.kind == \"{}\"", kind.name());
        assert!(rows.iter().any(|row| row.field.contains(&field)), "no row for {field}");
    }
}

/// One row: question, field, sentence, and what shows it.
struct Row {
    field: String,
    sentence: String,
    shown: PathBuf,
}

impl Row {
    /// The row in a line of the page; `None` for any other line.
    fn of(line: &str) -> Option<Self> {
        let cells: Vec<&str> = line.strip_prefix("| ")?.strip_suffix(" |")?.split(" | ").collect();
        let [_, field, sentence, shown] = cells[..] else { return None };
        let field = field.strip_prefix('`')?.strip_suffix('`')?.to_owned();
        let link = shown.rsplit_once("](")?.1.strip_suffix(')')?;
        let shown = folder().join("docs").join(link);
        let shown = shown.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", shown.display()));
        Some(Self { field, sentence: sentence.to_owned(), shown })
    }
}

/// The verdicts of the connections of a script that the row's expression chooses.
fn told_of_script(row: &Row) -> Vec<String> {
    let text = fs::read_to_string(&row.shown).unwrap();
    let errors: Vec<(u64, IcmpError)> = text.lines().filter_map(icmp).collect();
    let mut table = FlowTable::new();
    let script = Script::parse(&text).unwrap_or_else(|error| panic!("{}: {error}", row.shown.display()));
    for placed in script.perform().segments {
        let segment = placed.segment;
        table.observe(&segment);
        for (_, error) in errors.iter().filter(|(frame, _)| *frame == segment.frame) {
            table.quote(&segment, Some(*error));
        }
    }
    let mut expression = Expression::parse(&row.field).unwrap_or_else(|wrong| panic!("{}: {wrong}", row.field));
    let mut told = Vec::new();
    let finished = table.finish(|connection: Connection| {
        if expression.matches(&connection) {
            told.push(English.ending(&connection).into_owned());
        }
        Ok::<_, std::convert::Infallible>(())
    });
    finished.unwrap();
    told
}

/// `#! icmp after frame N from ADDRESS KIND MTU`, a comment for the notation.
fn icmp(line: &str) -> Option<(u64, IcmpError)> {
    let words: Vec<&str> = line.strip_prefix("#! icmp after frame ")?.split(' ').collect();
    let [frame, "from", from, kind, mtu] = words[..] else { panic!("{line}") };
    let kind = IcmpKind::ALL.iter().copied().find(|known| known.name() == kind).unwrap();
    let from: IpAddr = from.parse().unwrap();
    Some((frame.parse().unwrap(), IcmpError { from, kind, mtu: Some(mtu.parse().unwrap()) }))
}

/// The same of a capture, by the program itself.
fn told_of_capture(row: &Row) -> Vec<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.args(["analyze", "--format", "jsonl", "--where", &row.field]).arg(&row.shown);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let chosen = lines.filter(|line| line["type"] == "connection");
    chosen.filter_map(|line| line["verdict"].as_str().map(str::to_owned)).collect()
}

fn folder() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// What a program hears of an ICMP error: its connect names the frame that let it return, and its socket closes because of it.
#[test]
fn a_connect_that_an_icmp_error_ends_names_it() {
    let output = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
        .args(["analyze", "--timeline", "--format", "jsonl"])
        .arg(folder().join("tests/answers/unreachable.pcapng"))
        .output()
        .unwrap();
    let lines = String::from_utf8(output.stdout).unwrap();
    let lines: Vec<serde_json::Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_type = |kind: &'static str| lines.iter().filter(move |line| line["type"] == kind);
    for (connection, errno, what) in [(0, "EHOSTUNREACH", "host_unreachable"), (1, "ECONNREFUSED", "port_unreachable")]
    {
        let its = |line: &&serde_json::Value| line["connection"] == connection;
        let connect = of_type("call").filter(its).find(|call| call["name"] == "connect").unwrap();
        assert_eq!(connect["errno"], errno);
        // The first error found the socket in use by connect itself, and ended nothing.
        let errors: Vec<_> = of_type("icmp").filter(its).collect();
        assert_eq!(errors.len(), 2, "{errors:#?}");
        let syns = of_type("segment").filter(its).filter(|segment| segment["flags"] == "SYN");
        let syns: Vec<_> = syns.map(|syn| (&syn["id"], &syn["frame"])).collect();
        assert_eq!(syns, errors.iter().map(|error| (&error["segment"], &error["quotes"])).collect::<Vec<_>>());
        let last = errors[1];
        assert_eq!(
            (&last["what"], &last["side"], &last["from"]),
            (&what.into(), &"client".into(), &"127.0.0.9".into())
        );
        assert_eq!(connect["completed_by"], last["frame"]);
        assert_eq!(connect["edges"]["completed_by"], last["id"]);
        let closed = of_type("transition").filter(its).find(|moved| moved["from"] == "SYN-SENT").unwrap();
        assert_eq!((&closed["to"], &closed["cause"]), (&"CLOSED".into(), &last["id"]));
    }
}

/// Octets are compared wherever an option asks for what they may change, and nowhere else.
#[test]
fn conflicting_octets_are_found_where_they_are_asked_for() {
    let told = |options: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
        command.arg("analyze").args(options).arg(folder().join("tests/answers/conflicting-octets.pcap"));
        let output = command.output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let named = "conflicting_octets";
    for asked in [
        &["--findings"][..],
        &["--findings", "--format", "csv"],
        &["--findings", "--format", "jsonl"],
        &["--summary"],
        &["--summary", "--format", "jsonl"],
        &["--format", "jsonl", "--where", "problem.kind == \"conflicting_octets\""],
        &["--format", "jsonl", "--where", "findings.exists(one, one.name == \"conflicting_octets\")"],
        &["--format", "jsonl", "--where", "verdict.contains(\"injected\")"],
        &["--format", "csv", "--sort", "problem.kind"],
        &["--timeline", "--format", "jsonl", "--where", "problem.kind == \"conflicting_octets\""],
        &["--assert", "findings.exists(one, one.name == \"conflicting_octets\")"],
        &["--assert", "connections.all(one, one.problem.kind == \"conflicting_octets\")"],
    ] {
        let (status, told) = told(asked);
        assert!(status == Some(0) && told.contains(named), "{asked:?}: {status:?}\n{told}");
    }
    for unasked in [&["--format", "jsonl"][..], &["--format", "csv"], &["--format", "jsonl", "--sort", "first"]] {
        let (status, told) = told(unasked);
        assert!(status == Some(0) && !told.contains(named), "{unasked:?}: {status:?}\n{told}");
    }
}

/// Two captures of one connection that are told as one: its segments seem to be repeated, and the way out is named.
#[test]
fn files_that_hold_the_same_segments_are_named_with_the_way_out() {
    let [client, server, other] =
        ["ack-lost-client.pcapng.gz", "ack-lost-server.pcapng.gz", "bottleneck-client.pcapng.gz"]
            .map(|name| folder().join("captures/lab").join(name));
    let said = |options: &[&str], files: [&Path; 2]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
        let output = command.arg("analyze").args(options).args(files).output().unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    for options in [&[][..], &["--timeline"], &["--findings"], &["--format", "jsonl"]] {
        let (status, told) = said(options, [&client, &server]);
        assert_eq!(status, Some(0), "{told}");
        assert!(told.contains("hold the same segments") && told.contains("--client-side"), "{options:?}: {told}");
        let (_, told) = said(options, [&client, &other]);
        assert!(!told.contains("hold the same"), "{options:?}: {told}");
    }
    let (_, told) = said(&["--each"], [&client, &server]);
    assert!(!told.contains("hold the same"), "{told}");
}
