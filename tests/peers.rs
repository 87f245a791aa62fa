//! Holds `tcpflow analyze` to tshark's answers for every capture in `captures/`, connection by connection.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

#[test]
#[ignore = "needs tshark; `make test` runs it where tshark is installed"]
fn every_stored_capture_is_told_as_tshark_tells_it() {
    let captures = captures();
    assert!(captures.len() >= 6, "captures/ holds {captures:?}");
    for capture in captures {
        let theirs = tshark(&capture);
        assert!(!theirs.is_empty(), "tshark finds no connection in {}", capture.display());
        assert_eq!(tcpflow(&capture), theirs, "{}", capture.display());
    }
}

#[test]
#[ignore = "needs tshark; `make test` runs it where tshark is installed"]
fn tshark_takes_every_stored_capture_without_a_complaint() {
    for capture in captures() {
        let output = Command::new("tshark").args(["-n", "-Y", "_ws.malformed", "-r"]).arg(&capture).output().unwrap();
        assert!(output.status.success(), "{}", capture.display());
        assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{}", capture.display());
        let told = String::from_utf8_lossy(&output.stderr);
        let complaints: Vec<_> = told.lines().filter(|line| !line.starts_with("Running as user")).collect();
        assert!(complaints.is_empty(), "{}: {complaints:?}", capture.display());
    }
}

#[test]
#[ignore = "needs tshark; `make test` runs it where tshark is installed"]
fn every_segment_is_measured_as_tshark_measures_it() {
    let mut timed = 0;
    for capture in captures() {
        let lines = lines(&capture, &["--timeline"]);
        let ours: Vec<_> = lines
            .iter()
            .filter(|line| line["type"] == "segment")
            .map(|line| {
                [&line["frame"], &line["bytes_in_flight"], &line["acks_frame"], &line["ack_rtt_ns"]].map(Value::as_u64)
            })
            .collect();
        let fields =
            ["frame.number", "tcp.analysis.bytes_in_flight", "tcp.analysis.acks_frame", "tcp.analysis.ack_rtt"];
        let theirs: Vec<_> = fields_of(&capture, &fields)
            .iter()
            .map(|line| {
                let [frame, in_flight, acks, rtt] = line.split('\t').collect::<Vec<_>>()[..] else {
                    panic!("{line:?}")
                };
                // Seconds with nine decimals.
                [frame, in_flight, acks, &rtt.replace('.', "")].map(|field| field.parse::<u64>().ok())
            })
            .collect();
        timed += theirs.iter().filter(|[.., rtt]| rtt.is_some()).count();
        assert_eq!(ours, theirs, "{}", capture.display());
    }
    assert!(timed > 100, "only {timed} acknowledgements are timed");
}

/// What both must say of a connection, by its number.
type Connections = BTreeMap<u64, Value>;

fn tcpflow(capture: &Path) -> Connections {
    let side = |line: &Value, name: &str| -> Value {
        ["segments", "octets", "syn", "fin", "rst"].iter().map(|field| (*field, line[name][*field].clone())).collect()
    };
    lines(capture, &[])
        .iter()
        .filter(|line| line["type"] == "connection")
        .map(|line| {
            let told = json!({
                "client": line["client"], "server": line["server"],
                "first_frame": line["first_frame"], "last_frame": line["last_frame"],
                "completeness": line["completeness"],
                "client_to_server": side(line, "client_to_server"), "server_to_client": side(line, "server_to_client"),
            });
            (line["id"].as_u64().unwrap(), told)
        })
        .collect()
}

/// The lines that tcpflow writes of a capture, with further options.
fn lines(capture: &Path, options: &[&str]) -> Vec<Value> {
    let output = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
        .args(["analyze", "--format", "jsonl"])
        .args(options)
        .arg(capture)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", capture.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// tshark's fields of each segment, in two passes: in one, `tcp.completeness` lacks the last segment.
fn fields_of(capture: &Path, fields: &[&str]) -> Vec<String> {
    let output = Command::new("tshark")
        .args(["-n", "-2", "-o", "tcp.desegment_tcp_streams:FALSE", "-Y", "tcp", "-T", "fields", "-r"])
        .arg(capture)
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", capture.display(), String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

/// The same from tshark.
fn tshark(capture: &Path) -> Connections {
    let fields = [
        "tcp.stream",
        "frame.number",
        "ip.src",
        "ipv6.src",
        "tcp.srcport",
        "ip.dst",
        "ipv6.dst",
        "tcp.dstport",
        "tcp.len",
        "tcp.flags",
        "tcp.completeness",
    ];
    let mut connections = Connections::new();
    for line in fields_of(capture, &fields) {
        let [stream, frame, v4_from, v6_from, from_port, v4_to, v6_to, to_port, len, flags, completeness] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line:?}")
        };
        let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} in {line:?}"));
        let from = json!({"addr": format!("{v4_from}{v6_from}"), "port": number(from_port)});
        let to = json!({"addr": format!("{v4_to}{v6_to}"), "port": number(to_port)});
        let nothing = json!({"segments": 0, "octets": 0, "syn": 0, "fin": 0, "rst": 0});
        let told = connections.entry(number(stream)).or_insert_with(|| {
            json!({
                // Every capture here begins with a SYN of the client.
                "client": from, "server": to, "first_frame": number(frame),
                "client_to_server": nothing, "server_to_client": nothing,
            })
        });
        told["last_frame"] = json!(number(frame));
        told["completeness"] = json!(number(completeness));
        let side = if told["client"] == from { "client_to_server" } else { "server_to_client" };
        let flags = u64::from_str_radix(flags.trim_start_matches("0x"), 16).unwrap();
        for (field, more) in [
            ("segments", 1),
            ("octets", number(len)),
            ("syn", flags >> 1 & 1),
            ("fin", flags & 1),
            ("rst", flags >> 2 & 1),
        ] {
            told[side][field] = json!(told[side][field].as_u64().unwrap() + more);
        }
    }
    connections
}

fn captures() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let files = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut files: Vec<_> = files
        .map(|file| file.unwrap().path())
        .filter(|file| {
            let name = file.file_name().unwrap().to_string_lossy();
            [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz"].iter().any(|ending| name.ends_with(ending))
        })
        .collect();
    files.sort();
    files
}
