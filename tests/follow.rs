//! What `demo --follow` tells while it goes on, beside what is told of the same experiment at its end.

#[path = "../src/report/jsonl/amended.rs"]
mod amended;

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use amended::applied;
use serde_json::Value;

#[test]
fn with_its_amendments_applied_a_demo_that_is_followed_is_the_one_that_is_told_at_its_end() {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("followed");
    std::fs::create_dir_all(&folder).unwrap();
    for (name, options) in [
        ("echo", &[][..]),
        ("rounds", &["--rounds", "100", "-m", "a", "-m", "bc"]),
        ("clients", &["--clients", "3"]),
        ("again", &["--rebind", "--ipv6"]),
        ("refused", &["--refused"]),
        ("retry", &["--retry", "same"]),
        ("descriptor", &["--retry", "new", "--clients", "2"]),
        ("segments", &["--size", "100000", "--mtu", "1500"]),
    ] {
        let file = folder.join(format!("{name}.pcapng"));
        let followed = demo(&[&["--follow", "--format", "jsonl", "--save", str(&file)], options].concat());
        let stream: Vec<Value> = json(&followed);
        let finished = tcpflow(&["analyze", "--timeline", "--checksums", "ignore", "--format", "jsonl", str(&file)]);
        let finished = json(&finished);
        assert!(finished.len() > 8, "{name}: {finished:#?}");
        let (mut applied, mut finished) = (applied(stream), finished);
        // The file is a place of its own; the interface is the same.
        let points = |lines: &mut Vec<Value>| -> Vec<Value> {
            let of = |line: &Value| line["type"] == "point";
            let found = lines.iter().filter(|line| of(line)).map(|line| line["interface"].clone()).collect();
            lines.retain(|line| !of(line));
            found
        };
        assert_eq!(points(&mut applied), points(&mut finished), "{name}");
        assert_eq!(applied.last().unwrap()["type"], "totals", "{name}: what seems wrong comes before");
        for (one, other) in applied.iter().zip(&finished) {
            assert_eq!(one, other, "{name}");
        }
        assert_eq!(applied.len(), finished.len(), "{name}");
    }
}

#[test]
fn rows_of_a_demo_that_is_followed_are_those_of_its_page() {
    for width in ["80", "120"] {
        let output = demo(&["--follow", "--width", width]);
        let text = String::from_utf8(output.stdout).unwrap();
        for wanted in ["connect(", "#1 SYN", "#10 ACK", "TIME-WAIT", "close(", "verdict "] {
            assert!(text.contains(wanted), "{width}: {wanted}\n{text}");
        }
        assert!(text.lines().all(|line| line.chars().count() <= width.parse().unwrap()), "{width}: {text}");
        assert_eq!(text.matches(" kernel acks #4").count(), 1, "{text}");
    }
}

fn demo(options: &[&str]) -> Output {
    tcpflow(&[&["demo"], options].concat())
}

fn tcpflow(arguments: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_tcpflow")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output
}

fn json(output: &Output) -> Vec<Value> {
    let text = std::str::from_utf8(&output.stdout).unwrap();
    text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}
