//! `analyze` as a shell sees it: which connections are told, in which order, in which form.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// The captures that stand in the repository, and how many connections they have.
const CAPTURES: &[(&str, usize)] = &[
    ("echo-v4.pcapng", 1),
    ("echo-v6.pcapng", 1),
    ("megabyte-mtu1500.pcapng.gz", 1),
    ("refused.pcapng", 1),
    ("three-clients.pcapng", 3),
];

#[test]
fn where_tells_those_for_which_it_holds() {
    let all = connections(&[]);
    assert_eq!(all.len(), CAPTURES.iter().map(|(_, connections)| connections).sum::<usize>());
    let among = |holds: fn(&Value) -> bool| -> Vec<_> { all.iter().filter(|c| holds(c)).cloned().collect() };
    for (condition, holds) in [
        (r#"ending == "refused""#, (|c| c["ending"] == "refused") as fn(&Value) -> bool),
        (r#"ending == "fin" && server.port == 3000"#, |c| c["ending"] == "fin" && c["server"]["port"] == 3000),
        ("client_to_server.octets > 1000", |c| c["client_to_server"]["octets"].as_u64() > Some(1000)),
        ("duration_ns >= 0 && id % 2 == 1", |c| c["id"].as_u64().unwrap() % 2 == 1),
        (r#"client.addr.contains(":")"#, |c| c["client"]["addr"].as_str().unwrap().contains(':')),
        ("size(findings) > 0", |c| !c["findings"].as_array().unwrap().is_empty()),
        (r#"findings.exists(f, f.name == "window_update")"#, |c| {
            c["findings"].as_array().unwrap().iter().any(|finding| finding["name"] == "window_update")
        }),
        ("initial_rtt_ns == null", |c| c["initial_rtt_ns"].is_null()),
        ("initial_rtt_ns > 0", |c| c["initial_rtt_ns"].as_i64() > Some(0)),
        (r#"first > timestamp("2020-01-01T00:00:00Z")"#, |_| true),
    ] {
        let expected = among(holds);
        assert_eq!(connections(&["--where", condition]), expected, "{condition}");
    }
}

#[test]
fn a_breakdown_adds_up_and_is_null_where_nobody_asks_for_it() {
    let asked: [&[&str]; 4] = [
        &["--breakdown"],
        &["--where", "breakdown.total.unknown_ns == 0"],
        &["--sort", "breakdown.total.network_ns"],
        &["--timeline", "--breakdown"],
    ];
    for options in asked {
        let mut told = connections(options);
        told.retain(|line| line["type"] == "connection");
        assert_eq!(told.len(), CAPTURES.iter().map(|(_, connections)| connections).sum::<usize>(), "{options:?}");
        for connection in told {
            for part in ["client_to_server", "server_to_client", "total"] {
                let classes = connection["breakdown"][part].as_object().unwrap();
                assert_eq!(classes.len(), 13);
                let sum: i64 = classes.values().map(|nanos| nanos.as_i64().unwrap()).sum();
                assert_eq!(connection["duration_ns"], sum, "{options:?} {connection}");
            }
        }
    }
    assert!(connections(&[]).iter().all(|connection| connection["breakdown"].is_null()));
    let header = |options: &[&str]| {
        let output = analyze(&[&["--format", "csv"], options].concat());
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    let (usual, more) = (header(&[]), header(&["--breakdown"]));
    assert!(!usual.contains("breakdown"), "{usual}");
    assert_eq!(more.split(',').filter(|name| name.starts_with("breakdown.")).count(), 39);
    assert_eq!(more.split(',').count(), usual.split(',').count() + 39);
}

#[test]
fn a_wrong_expression_or_field_is_one_line_and_status_2() {
    for (line, told) in [
        (
            &["--where", "server.prt == 443"][..],
            "--where: column 1: no field is named `server.prt`; did you mean `server.port`?",
        ),
        (&["--where", "ending == \"fin"], "--where: column 11: "),
        (&["--where", ""], "--where: empty; write a condition such as ending == \"reset\""),
        (&["--where", "(((((("], "--where: column 7: it ends here, and something is missing"),
        (&["--sort", "duration"], "--sort: no field is named `duration`; did you mean `duration_ns`?"),
        (&["--sort", "-\u{1b}[2J"], "--sort: no field is named `\\u{1b}[2J`"),
        (&["--sort", "-end"], "--sort: the order of ending goes one way only"),
    ] {
        let output = analyze(line);
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert_eq!(output.stdout, b"", "{line:?}");
        assert_eq!(stderr.lines().count(), 1, "{stderr}");
        assert!(stderr.starts_with(&format!("tcpflow: {told}")), "{line:?}: {stderr}");
    }
}

#[test]
fn what_cannot_be_decided_is_left_out_and_told() {
    let output = analyze(&["--where", "1000 / (server.port - 3000) > 5", "--format", "jsonl"]);
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{stderr}");
    assert!(stderr.starts_with("tcpflow: --where: could not be decided for "), "{stderr}");
    assert!(stderr.contains("left out: Division by zero"), "{stderr}");
}

#[test]
fn connections_are_sorted_by_any_field_and_the_top_is_the_beginning() {
    let all = connections(&["--sort", "id"]);
    let ids = |connections: &[Value]| -> Vec<_> { connections.iter().map(|c| c["id"].as_u64().unwrap()).collect() };
    assert_eq!(ids(&all), (0..all.len() as u64).collect::<Vec<_>>());
    for (field, path) in [
        ("client_to_server.octets", "/client_to_server/octets"),
        ("duration_ns", "/duration_ns"),
        ("server_to_client.rtt_avg_ns", "/server_to_client/rtt_avg_ns"),
        ("ending", "/ending"),
        ("first", "/first"),
    ] {
        let key = |c: &Value| (c.pointer(path).unwrap().clone(), c["id"].as_u64().unwrap());
        let less = |one: &Value, other: &Value| match (one, other) {
            (Value::String(one), Value::String(other)) => one.cmp(other),
            _ => one.as_i64().cmp(&other.as_i64()),
        };
        let (known, unknown): (Vec<_>, Vec<_>) = all.iter().partition(|c| !c.pointer(path).unwrap().is_null());
        for minus in ["", "-"] {
            let mut expected = known.clone();
            expected.sort_by(|one, other| {
                let ((one, one_id), (other, other_id)) = (key(one), key(other));
                let order = if minus.is_empty() { less(&one, &other) } else { less(&other, &one) };
                order.then(one_id.cmp(&other_id))
            });
            expected.extend(unknown.clone());
            let expected: Vec<_> = expected.into_iter().cloned().collect();
            let sort = format!("{minus}{field}");
            assert_eq!(ids(&connections(&["--sort", &sort])), ids(&expected), "{sort}");
            assert_eq!(connections(&["--sort", &sort, "--top", "3"]), expected[..3], "{sort} --top 3");
        }
    }
    let greatest = connections(&["--sort", "-client_to_server.octets", "--top", "1"]);
    assert_eq!(connections(&["--sort", "client_to_server.octets", "--reverse", "--top", "1"]), greatest);
    assert_eq!(greatest[0]["client_to_server"]["octets"], 1_000_000);
}

#[test]
fn csv_has_the_same_values_under_the_same_names() {
    let output = analyze(&["--format", "csv"]);
    assert!(output.status.success());
    let mut reader = csv::Reader::from_reader(&output.stdout[..]);
    let names = reader.headers().unwrap().clone();
    let records: Vec<_> = reader.records().map(Result::unwrap).collect();
    let lines = connections(&[]);
    assert_eq!(records.len(), lines.len());
    for (record, line) in records.iter().zip(&lines) {
        for (name, value) in names.iter().zip(record) {
            // Where nothing hurt it, the line has no figures of a problem.
            let none = name.starts_with("problem.") && line["problem"].is_null();
            let pointer = format!("/{}", name.replace('.', "/"));
            let json = if none { &Value::Null } else { line.pointer(&pointer).unwrap_or_else(|| panic!("no {name}")) };
            let expected = match json {
                Value::Null => String::new(),
                Value::String(text) => text.clone(),
                Value::Array(list) => (list.len() as u64 + line["findings_omitted"].as_u64().unwrap()).to_string(),
                other => other.to_string(),
            };
            assert_eq!(value, expected, "{name}");
        }
    }
}

#[test]
fn findings_are_told_one_by_one_in_every_form() {
    let lines = jsonl(&analyze(&["--findings", "--format", "jsonl"]));
    let (totals, lines) = lines.split_last().unwrap();
    assert_eq!(totals["type"], "totals");
    let (sums, findings) = lines.split_last().unwrap();
    assert_eq!(sums["type"], "finding_totals");
    for (name, sum) in sums["findings"].as_object().unwrap() {
        let own: Vec<_> = findings.iter().filter(|finding| finding["name"] == **name).collect();
        let connections: BTreeSet<_> = own.iter().map(|finding| finding["connection"].as_u64()).collect();
        assert_eq!((&sum["findings"], &sum["connections"]), (&own.len().into(), &connections.len().into()), "{name}");
    }
    assert!(findings.iter().all(|finding| sums["findings"].get(finding["name"].as_str().unwrap()).is_some()));
    let mut told = findings;
    for connection in connections(&[]) {
        let listed = connection["findings"].as_array().unwrap();
        let omitted = connection["findings_omitted"].as_u64().unwrap() as usize;
        // All of them, also those that the connection's line only counts.
        let (own, others) = told.split_at(listed.len() + omitted);
        told = others;
        assert!(own.iter().all(|line| line["type"] == "finding" && line["connection"] == connection["id"]));
        for (line, finding) in own.iter().zip(listed) {
            for part in ["name", "frame", "side", "note"] {
                assert_eq!(line[part], finding[part]);
            }
        }
    }
    assert!(told.is_empty() && findings.len() > 100, "{} of {} are of no connection", told.len(), findings.len());

    let table = analyze(&["--findings", "--format", "csv"]).stdout;
    let records: Vec<csv::StringRecord> = csv::Reader::from_reader(&table[..]).records().map(Result::unwrap).collect();
    assert_eq!(records.len(), findings.len());
    for (record, line) in records.iter().zip(findings) {
        assert_eq!((&record[0], &record[1]), (&*line["frame"].to_string(), &*line["connection"].to_string()));
        assert_eq!(record[7], *line["name"].as_str().unwrap());
    }

    let text = String::from_utf8(analyze(&["--findings", "--sort", "end", "--width", "120"]).stdout).unwrap();
    let rows: Vec<_> = text.lines().skip(1).take(findings.len()).collect();
    assert_eq!(rows.len(), findings.len());
    for (row, line) in rows.iter().zip(findings) {
        let words: Vec<_> = row.split_whitespace().take(4).collect();
        let (frame, connection) = (line["frame"].to_string(), line["connection"].to_string());
        assert_eq!(words, [&frame, &connection, line["side"].as_str().unwrap(), line["name"].as_str().unwrap()]);
    }
}

#[test]
fn the_table_says_how_many_of_how_many_it_shows() {
    let text = String::from_utf8(analyze(&["--where", "ending == \"refused\""]).stdout).unwrap();
    assert!(text.lines().last().unwrap().starts_with("1 of 7 connections, "), "{text}");
}

#[test]
fn a_timeline_is_drawn_of_those_that_are_chosen() {
    let file = capture("three-clients.pcapng");
    let drawn = |line: &[&str]| {
        let mut command = command(&["--timeline", "--format", "jsonl"]);
        jsonl(&command.args(line).arg(&file).output().unwrap())
    };
    let by_id = drawn(&["-c", "1"]);
    assert!(by_id.len() > 10);
    assert_eq!(drawn(&["--where", "id == 1"]), by_id);
    assert_eq!(drawn(&["--sort", "-id", "--top", "2", "--where", "id < 2"]), drawn(&["-c", "0,1"]));

    let output = command(&["-t", "--top", "1", "-"]).output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr.starts_with("tcpflow: standard input: --timeline with --where or --top"), "{stderr}");
}

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.arg("analyze").args(line).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command
}

/// What `analyze` says of all the captures as one.
fn analyze(line: &[&str]) -> Output {
    command(line).args(CAPTURES.iter().map(|(name, _)| capture(name))).output().unwrap()
}

fn jsonl(output: &Output) -> Vec<Value> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout.split_inclusive(|octet| *octet == b'\n').map(|line| serde_json::from_slice(line).unwrap()).collect()
}

/// The `connection` lines of all the captures as one.
fn connections(line: &[&str]) -> Vec<Value> {
    let mut lines = jsonl(&analyze(&[&["--format", "jsonl"], line].concat()));
    assert_eq!(lines.pop().unwrap()["type"], "totals");
    lines
}

fn capture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("captures").join(name)
}

#[test]
fn the_summary_is_one_page_of_sums() {
    let lines = jsonl(&analyze(&["--summary", "--format", "jsonl"]));
    let [page, totals] = &lines[..] else { panic!("{lines:?}") };
    assert_eq!((&page["type"], &totals["type"]), (&"summary".into(), &"totals".into()));
    let all = connections(&[]);
    assert_eq!(page["connections"], all.len());
    for (ending, count) in page["endings"].as_object().unwrap() {
        assert_eq!(*count, all.iter().filter(|connection| connection["ending"] == **ending).count(), "{ending}");
    }
    let problems: BTreeSet<_> = all.iter().filter_map(|connection| connection["problem"]["kind"].as_str()).collect();
    let told: BTreeSet<_> =
        page["look_at_first"].as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(told, problems);
    for one in page["look_at_first"].as_array().unwrap() {
        let worst = all.iter().find(|connection| connection["id"] == one["worst"]).unwrap();
        assert_eq!((&worst["verdict"], &worst["problem"]["kind"]), (&one["verdict"], &one["kind"]));
    }
    let octets = |end: &str, way: &str| -> u64 {
        let talker = page["talkers"][0]["addr"].as_str().unwrap();
        let own = all.iter().filter(|connection| connection[end]["addr"] == talker);
        own.map(|connection| connection[way]["octets"].as_u64().unwrap()).sum()
    };
    let sent = octets("client", "client_to_server") + octets("server", "server_to_client");
    assert_eq!(page["talkers"][0]["octets_sent"], sent);
    let slowest = all.iter().filter_map(|connection| connection["initial_rtt_ns"].as_i64()).max();
    assert_eq!(page["slowest_handshakes"][0]["handshake_ns"].as_i64(), slowest);

    let only = jsonl(&analyze(&["--summary", "--format", "jsonl", "--where", "ending == 'refused'"]));
    assert_eq!((&only[0]["connections"], &only[0]["endings"]["refused"]), (&1.into(), &1.into()));
    let text = String::from_utf8(analyze(&["--summary", "--width", "80"]).stdout).unwrap();
    for heading in ["Look at first", "Endings", "Top talkers", "Findings", "Slowest handshakes"] {
        assert!(text.lines().any(|line| line == heading), "{heading}\n{text}");
    }
    assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
    let table = analyze(&["--summary", "--format", "csv"]);
    assert_eq!(table.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&table.stderr).contains("--format text or jsonl"));
}
