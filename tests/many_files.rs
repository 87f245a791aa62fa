//! Many captures, each analyzed for itself by `scripts/many_files.sh`, give the same as one process over all of them.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// Captures of a busy afternoon: their times overlap, and no connection is in two of them.
const FILES: u8 = 12;
const CONNECTIONS: u16 = 25;

#[test]
fn the_parts_together_are_the_whole() {
    let folder = scratch("parts");
    let captures = captures(&folder.join("captures"));
    let whole = tcpflow(&["--format", "jsonl"], &captures);
    let mut whole: Vec<Value> = whole.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let totals = whole.pop().unwrap();
    assert_eq!(totals["connections"], u64::from(FILES) * u64::from(CONNECTIONS));
    let endings: BTreeMap<_, u32> = whole.iter().fold(BTreeMap::new(), |mut counts, connection| {
        *counts.entry(connection["ending"].as_str().unwrap()).or_default() += 1;
        counts
    });
    assert!(endings.len() >= 4, "the captures hold too little to show anything: {endings:?}");
    assert!(whole.iter().any(|connection| !connection["findings"].as_array().unwrap().is_empty()));

    let flows = folder.join("jsonl");
    made(&script(&["-j", "3", "-f", "jsonl", "-o"], &flows, &[&folder.join("captures")]));
    let (mut parts, mut sums) = (Vec::new(), BTreeMap::<&str, u64>::new());
    for file in outputs(&flows, captures.len()) {
        let text = fs::read_to_string(file).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let part = lines.pop().unwrap();
        for name in ["frames", "segments", "connections", "late_segments"] {
            *sums.entry(name).or_default() += part[name].as_u64().unwrap();
        }
        parts.extend(lines);
    }
    for (name, sum) in sums {
        assert_eq!(totals[name], sum, "{name}");
    }
    assert_eq!(without_numbers(parts), without_numbers(whole));
}

#[test]
fn csv_and_options_go_to_every_capture() {
    let folder = scratch("csv");
    let captures = captures(&folder.join("captures"));
    let condition = "client_to_server.retransmissions > 0 && ending != \"open\"";
    let whole = records(tcpflow(&["--format", "csv", "--where", condition], &captures).as_bytes());
    assert!(whole.len() > 5, "the captures hold {} such connections", whole.len());
    let flows = folder.join("csv");
    let capture_folder = folder.join("captures");
    let mut command = script_command(&["-f", "csv", "-o"], &flows, &[&capture_folder]);
    made(&command.args(["--", "--where", condition]).output().unwrap());
    let mut parts: Vec<_> =
        outputs(&flows, captures.len()).iter().flat_map(|file| records(&fs::read(file).unwrap())).collect();
    let mut whole = whole;
    parts.sort();
    whole.sort();
    assert_eq!(parts, whole);
}

#[test]
fn what_is_done_is_not_done_again_and_what_is_damaged_is_told_again() {
    let folder = scratch("again");
    let captures = captures(&folder.join("captures"));
    let flows = folder.join("flows");
    let damaged = folder.join("captures/damaged.pcap");
    let bytes = fs::read(&captures[0]).unwrap();
    fs::write(&damaged, &bytes[..bytes.len() - 5]).unwrap();
    fs::write(folder.join("captures/nothing.pcap"), b"").unwrap();
    let both = |output: &Output| {
        assert_eq!(output.status.code(), Some(2));
        let stderr = String::from_utf8(output.stderr.clone()).unwrap();
        assert!(stderr.contains("damaged.pcap") && stderr.contains("nothing.pcap"), "{stderr}");
        assert!(stderr.ends_with("many_files: some captures were not read to their end, as told above\n"), "{stderr}");
    };
    both(&script(&["-o"], &flows, &[&folder.join("captures")]));
    // All but the one that is nothing.
    let made = outputs(&flows, captures.len() + 1);
    let read = |path: &PathBuf| fs::read_to_string(path).unwrap();
    let (of_damaged, others): (Vec<_>, Vec<_>) =
        made.iter().partition(|path| path.to_str().unwrap().contains("damaged"));
    assert!(read(of_damaged[0]).lines().count() > usize::from(CONNECTIONS) / 2);
    for path in &others {
        fs::write(path, "mine").unwrap();
    }
    both(&script(&["-o"], &flows, &[&folder.join("captures")]));
    assert!(others.iter().all(|path| read(path) == "mine"));
    assert_ne!(read(of_damaged[0]), "mine");
}

#[cfg(not(feature = "parquet"))]
#[test]
fn without_the_feature_parquet_is_refused_with_the_way_out() {
    let folder = scratch("no-parquet");
    let captures = captures(&folder.join("captures"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    let output = command.args(["analyze", "--format", "parquet", "-o"]).arg(folder.join("tables")).args(&captures);
    let output = output.output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("--features parquet") && stderr.lines().count() == 1, "{stderr}");
    assert!(!folder.join("tables").exists());
}

#[cfg(feature = "parquet")]
#[test]
fn parquet_tables_of_the_parts_hold_the_rows_of_the_whole() {
    use parquet::file::reader::{FileReader, SerializedFileReader};

    let rows = |path: &Path| -> Vec<String> {
        let reader = SerializedFileReader::new(fs::File::open(path).unwrap()).unwrap();
        let rows = reader.get_row_iter(None).unwrap();
        rows.map(|row| {
            let row = row.unwrap();
            let parts = row.get_column_iter().filter(|(name, _)| !NUMBERS.contains(&name.as_str()));
            parts.map(|(name, part)| format!("{name}={part}")).collect::<Vec<_>>().join(" ")
        })
        .collect()
    };
    let folder = scratch("parquet");
    let captures = captures(&folder.join("captures"));
    let whole = folder.join("whole");
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    let status = command.args(["analyze", "--format", "parquet", "-o"]).arg(&whole).args(&captures).status().unwrap();
    assert!(status.success());
    let flows = folder.join("flows");
    made(&script(&["-f", "parquet", "-o"], &flows, &[&folder.join("captures")]));
    for table in ["connections.parquet", "findings.parquet"] {
        let mut expected = rows(&whole.join(table));
        let mut parts: Vec<_> =
            outputs(&flows, captures.len()).iter().flat_map(|part| rows(&part.join(table))).collect();
        assert!(expected.len() > 50, "{table} has {} rows", expected.len());
        expected.sort();
        parts.sort();
        assert_eq!(parts, expected, "{table}");
    }
}

/// What depends on where a connection stands among others.
const NUMBERS: [&str; 5] = ["id", "first_frame", "last_frame", "frame", "connection"];

fn without_numbers(connections: Vec<Value>) -> Vec<String> {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(parts) => {
                parts.retain(|name, _| !NUMBERS.contains(&name.as_str()));
                parts.values_mut().for_each(strip);
            }
            Value::Array(elements) => elements.iter_mut().for_each(strip),
            _ => {}
        }
    }
    let mut lines: Vec<_> = connections
        .into_iter()
        .map(|mut connection| {
            strip(&mut connection);
            connection.to_string()
        })
        .collect();
    lines.sort();
    lines
}

fn records(table: &[u8]) -> Vec<Vec<String>> {
    let mut reader = csv::Reader::from_reader(table);
    let kept: Vec<_> = reader.headers().unwrap().iter().map(|name| !NUMBERS.contains(&name)).collect();
    let record = |record: csv::StringRecord| {
        record.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(value, _)| value.to_owned()).collect()
    };
    reader.records().map(|read| record(read.unwrap())).collect()
}

fn script_command(options: &[&str], flows: &Path, captures: &[&Path]) -> Command {
    let mut command = Command::new(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/many_files.sh"));
    command.env("TCPFLOW", env!("CARGO_BIN_EXE_tcpflow")).args(options).arg(flows).args(captures);
    command
}

fn script(options: &[&str], flows: &Path, captures: &[&Path]) -> Output {
    script_command(options, flows, captures).output().unwrap()
}

fn made(output: &Output) {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// The outputs in a folder, of which there must be as many.
fn outputs(flows: &Path, count: usize) -> Vec<PathBuf> {
    let mut files: Vec<_> = fs::read_dir(flows).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    assert_eq!(files.len(), count, "{files:?}");
    files
}

fn tcpflow(options: &[&str], captures: &[PathBuf]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    let output = command.arg("analyze").args(options).args(captures).output().unwrap();
    made(&output);
    String::from_utf8(output.stdout).unwrap()
}

fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("many_files").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}

/// Writes the captures, some in folders, with names that a shell stumbles over.
fn captures(folder: &Path) -> Vec<PathBuf> {
    (0..FILES)
        .map(|file| {
            let name = match file % 4 {
                0 => format!("{file}.pcap"),
                1 => format!("a b/{file} $(x) 'y'.pcap"),
                2 => format!("100%/-{file}.pcap"),
                _ => format!("deep/er/{file}.cap"),
            };
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, capture(file)).unwrap();
            path
        })
        .collect()
}

/// A capture of raw IPv4, all of whose connections are of a network of its own.
fn capture(file: u8) -> Vec<u8> {
    let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
    for connection in 0..CONNECTIONS {
        let (client, server) = ([10, file, 0, 1], [10, file, 1, 1]);
        let began = u64::from(connection) * 40_000 + u64::from(file) * 1_000;
        let mut at = began;
        let mut say = |from_client: bool, flags: u8, seq: u32, ack: u32, octets: &[u8]| {
            at += 1_500;
            let ends = if from_client { (client, server) } else { (server, client) };
            let ports = if from_client { (40_000 + connection, 80) } else { (80, 40_000 + connection) };
            frames.push((at, packet(ends, ports, flags, (seq, ack), octets)));
        };
        let octets = vec![b'x'; usize::from(connection) * 7 + 1];
        let len = octets.len() as u32;
        say(true, SYN, 1000, 0, b"");
        match connection % 6 {
            0 => {
                say(false, RST | ACK, 0, 1001, b"");
                continue;
            }
            1 => continue,
            _ => {}
        }
        say(false, SYN | ACK, 5000, 1001, b"");
        say(true, ACK, 1001, 5001, b"");
        say(true, ACK, 1001, 5001, &octets);
        if connection % 6 >= 4 {
            // Lost behind the capture, and sent again.
            say(true, ACK, 1001, 5001, &octets);
        }
        say(false, ACK, 5001, 1001 + len, b"");
        match connection % 6 {
            2 => {}
            3 => say(false, RST | ACK, 5001, 1001 + len, b""),
            _ => {
                say(true, FIN | ACK, 1001 + len, 5001, b"");
                say(false, FIN | ACK, 5001, 1002 + len, b"");
                say(true, ACK, 1002 + len, 5002, b"");
            }
        }
    }
    frames.sort();
    let mut capture = Vec::new();
    capture.extend(0xa1b2_c3d4_u32.to_le_bytes());
    capture.extend([2, 0, 4, 0]);
    capture.extend([0; 8]);
    capture.extend(65_535_u32.to_le_bytes());
    capture.extend(228_u32.to_le_bytes());
    for (at, packet) in frames {
        capture.extend((1_700_000_000 + (at / 1_000_000) as u32).to_le_bytes());
        capture.extend(((at % 1_000_000) as u32).to_le_bytes());
        capture.extend((packet.len() as u32).to_le_bytes());
        capture.extend((packet.len() as u32).to_le_bytes());
        capture.extend(packet);
    }
    capture
}

fn packet(
    (from, to): ([u8; 4], [u8; 4]),
    (from_port, to_port): (u16, u16),
    flags: u8,
    (seq, ack): (u32, u32),
    octets: &[u8],
) -> Vec<u8> {
    let mut packet = vec![0x45, 0];
    packet.extend((40 + octets.len() as u16).to_be_bytes());
    packet.extend([0, 0, 0x40, 0, 64, 6, 0, 0]);
    packet.extend(from);
    packet.extend(to);
    packet.extend(from_port.to_be_bytes());
    packet.extend(to_port.to_be_bytes());
    packet.extend(seq.to_be_bytes());
    packet.extend(ack.to_be_bytes());
    packet.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    packet.extend(octets);
    packet
}

const FIN: u8 = 1;
const SYN: u8 = 2;
const RST: u8 = 4;
const ACK: u8 = 16;
