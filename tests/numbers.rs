//! Connections are chosen by their numbers, of which some may belong to nothing but a header quoted in an ICMP error.

use std::io::Write;
use std::process::{Command, Output, Stdio};

#[test]
fn a_number_that_only_an_icmp_error_gave_is_a_gap_and_no_end() {
    for form in [&[][..], &["--timeline"]] {
        let told = |numbers: &str| analyze(&[form, &["--format", "jsonl", "-c", numbers]].concat());
        let both = told("0,2");
        assert_eq!(ids(&both), [0, 2], "{form:?}");
        assert_eq!((errors(&both), both.status.code()), (String::new(), Some(0)), "{form:?}");
        let gap = told("1");
        assert!(ids(&gap).is_empty(), "{form:?}");
        assert!(errors(&gap).contains("connection 1 has no segment in this capture: an ICMP error"), "{form:?}");
        let beyond = told("3");
        assert!(errors(&beyond).contains("connection 3 is not in this capture, which has 0 to 2\n"), "{form:?}");
        assert_eq!([&gap, &beyond].map(|output| output.status.code()), [Some(2); 2], "{form:?}");
    }
}

#[test]
fn a_number_is_known_though_a_condition_leaves_it_out() {
    for form in [&[][..], &["--timeline"]] {
        // Read twice, so from a file.
        let path = std::env::temp_dir().join(format!("tcpflow-numbers-{}-{}.pcap", std::process::id(), form.len()));
        std::fs::write(&path, capture()).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
            .args([&["analyze", "--format", "jsonl", "-c", "2,7", "--where", "false"], form].concat())
            .arg(&path)
            .output();
        std::fs::remove_file(&path).unwrap();
        let output = output.unwrap();
        assert!(ids(&output).is_empty(), "{form:?}");
        let said = errors(&output);
        assert!(said.contains("connection 7 ") && !said.contains("connection 2 "), "{form:?}: {said}");
    }
}

fn ids(output: &Output) -> Vec<u64> {
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    let lines = lines.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let mut ids: Vec<_> =
        lines.filter(|line| line["type"] == "connection").map(|line| line["id"].as_u64().unwrap()).collect();
    ids.sort_unstable();
    ids
}

fn errors(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// Two SYNs to different ports, and between them an ICMP error about a segment to a third.
fn capture() -> Vec<u8> {
    let error = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &ipv4(6, &syn(81))].concat();
    let word = u32::to_le_bytes;
    let mut capture = [&word(0xa1b2_c3d4)[..], &[2, 0, 4, 0], &[0; 8], &word(65_535), &word(101)].concat();
    for (number, frame) in [ipv4(6, &syn(80)), ipv4(1, &error), ipv4(6, &syn(82))].iter().enumerate() {
        for field in [1_700_000_000, number as u32, frame.len() as u32, frame.len() as u32] {
            capture.extend_from_slice(&word(field));
        }
        capture.extend_from_slice(frame);
    }
    capture
}

fn syn(port: u8) -> [u8; 20] {
    [48, 57, 0, port, 0, 0, 0, port, 0, 0, 0, 0, 0x50, 2, 16, 0, 0, 0, 0, 0]
}

fn ipv4(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let length = 20 + payload.len() as u8;
    [&[0x45, 0, 0, length, 0, 0, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2][..], payload].concat()
}

fn analyze(options: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
        .arg("analyze")
        .args(options)
        .arg("-")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(&capture()).unwrap();
    child.wait_with_output().unwrap()
}
