//! Holds real output to `docs/output.schema.json`: what `demo` prints of a live run, and what is stored for every capture.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

#[test]
fn a_live_demo_prints_valid_lines_of_every_type() {
    let output = Command::new(env!("CARGO_BIN_EXE_tcpflow")).args(["demo", "--format", "jsonl"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = validate("demo", &String::from_utf8(output.stdout).unwrap());
    for (kind, least) in
        [("call", 10), ("segment", 10), ("transition", 8), ("timer", 1), ("connection", 1), ("totals", 1)]
    {
        assert!(lines.get(kind).is_some_and(|number| *number >= least), "{kind}: {lines:?}");
    }
}

#[test]
fn every_stored_line_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut stored = 0;
    for file in fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()) {
        if file.extension().is_some_and(|ending| ending == "jsonl") {
            stored += 1;
            let lines = validate(&file.display().to_string(), &fs::read_to_string(&file).unwrap());
            assert_eq!(lines["totals"], 1, "{}", file.display());
        }
    }
    assert!(stored >= 6, "{stored} files");
}

#[test]
fn lines_that_name_their_file_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.args(["analyze", "--each", "--format", "jsonl", "echo-v4.pcapng", "echo-v6.pcapng"]);
    let output = command.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let lines = validate("each", &String::from_utf8(output.stdout).unwrap());
    assert_eq!((lines["file"], lines["totals"]), (2, 2));
}

#[test]
fn lines_with_a_breakdown_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.args(["analyze", "--breakdown", "--format", "jsonl", "three-clients.pcapng", "refused.pcapng"]);
    let output = command.current_dir(folder).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(validate("breakdown", &text)["connection"], 4);
    assert_eq!(text.matches(r#""breakdown":{"client_to_server":{"handshake_ns":"#).count(), 4);
}

#[test]
fn lines_of_icmp_errors_are_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.args(["analyze", "--timeline", "--format", "jsonl"]);
    command.args(["tests/answers/unreachable.pcapng", "captures/lab/path-mtu.pcapng.gz"]).current_dir(folder);
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert_eq!(validate("icmp", &String::from_utf8(output.stdout).unwrap())["icmp"], 7);
}

/// Holds each line to the schema, the ids to the order of time and the totals to the end; returns the number of lines of each type.
fn validate(name: &str, text: &str) -> BTreeMap<String, usize> {
    let schema = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/output.schema.json")).unwrap();
    let validator = jsonschema::validator_for(&serde_json::from_str(&schema).unwrap()).unwrap();
    let mut types = BTreeMap::new();
    let mut events = 0;
    for (number, line) in text.lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{name}:{}: {error}", number + 1));
        let errors: Vec<_> = validator.iter_errors(&value).map(|e| format!("{}: {e}", e.instance_path())).collect();
        assert!(errors.is_empty(), "{name}:{}: {line}\n{errors:#?}", number + 1);
        let kind = value["type"].as_str().unwrap();
        if !["connection", "totals", "file", "diagnosis", "point"].contains(&kind) {
            assert_eq!(value["id"], events, "{name}:{}: events are numbered from 0", number + 1);
            events += 1;
        }
        *types.entry(kind.to_owned()).or_insert(0) += 1;
    }
    let last = text.lines().next_back().unwrap_or_default();
    assert!(last.starts_with(r#"{"type":"totals""#) || last.contains(r#""type":"totals""#), "{name} ends with {last}");
    types
}
