//! Holds `tcpflow analyze` to the stored outputs of every capture in `captures/`; TCPFLOW_BLESS=1 writes them anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

/// The stored outputs, by what is added to the capture's name, and the options that make them.
const OUTPUTS: [(&str, &[&str]); 4] = [
    (".summary.txt", &["--color", "never", "--width", "160"]),
    (".timeline.txt", &["--color", "never", "--width", "120", "--timeline"]),
    (".breakdown.txt", &["--color", "never", "--width", "100", "--breakdown"]),
    (".jsonl", &["--timeline", "--format", "jsonl"]),
];

#[test]
fn every_capture_is_told_as_it_was_stored() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let names = names(&folder);
    let captures: Vec<_> = names.iter().filter(|name| is_capture(name)).collect();
    assert!(captures.len() >= 6, "captures/ holds {captures:?}");
    let mut wrong = Vec::new();
    for capture in captures {
        for (ending, options) in OUTPUTS {
            let output = Command::new(env!("CARGO_BIN_EXE_tcpflow"))
                .arg("analyze")
                .args(options)
                .arg(capture)
                .current_dir(&folder)
                .env("LC_ALL", "C.UTF-8")
                .env_remove("COLUMNS")
                .output()
                .unwrap();
            assert!(output.status.success(), "{capture}: {}", String::from_utf8_lossy(&output.stderr));
            let told = String::from_utf8(output.stdout).unwrap();
            let stored = folder.join(format!("{capture}{ending}"));
            if std::env::var_os("TCPFLOW_BLESS").is_some() {
                fs::write(&stored, &told).unwrap();
            } else if let Some(difference) = first_difference(&fs::read_to_string(&stored).unwrap_or_default(), &told) {
                wrong.push(format!("captures/{capture}{ending}, {difference}"));
            }
        }
    }
    assert!(wrong.is_empty(), "TCPFLOW_BLESS=1 stores what is told now:\n{}", wrong.join("\n"));
}

#[test]
fn every_capture_has_its_line_in_the_index_and_every_output_its_capture() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures");
    let index = fs::read_to_string(folder.join("INDEX.md")).unwrap();
    for name in names(&folder) {
        if is_capture(&name) {
            assert_eq!(index.matches(&format!("| `{name}` |")).count(), 1, "{name} in captures/INDEX.md");
        } else if name != "INDEX.md" && name != "lab" {
            let of = OUTPUTS.iter().find_map(|(ending, _)| name.strip_suffix(ending));
            assert!(of.is_some_and(|capture| folder.join(capture).exists()), "captures/{name} belongs to no capture");
        }
    }
}

#[test]
fn every_scenario_has_its_capture_and_they_take_little_room() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("captures/lab");
    let files = names(&folder);
    for entry in tcpflow::lab::CATALOG {
        let name = entry.name;
        let told = fs::read_to_string(folder.join(format!("{name}.txt"))).unwrap_or_default();
        let needs = entry.read(&[]).expect("it is sound").needs;
        if !needs.is_empty() && told.contains("cannot be played: this kernel has no") {
            // The kernel on which they were captured lacked it, which is said in its place.
            continue;
        }
        assert!(!told.is_empty() && files.contains(&format!("{name}.pcapng.gz")), "{name}: `make lab-captures`");
        assert!(told.contains('✓') && !told.contains("  ✗ "), "{name} did not go as it says");
    }
    let octets: u64 = files.iter().map(|file| folder.join(file).metadata().unwrap().len()).sum();
    assert!(octets < 10_000_000, "captures/lab has {octets} octets");
}

fn names(folder: &Path) -> BTreeSet<String> {
    let files = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
}

fn is_capture(name: &str) -> bool {
    [".pcap", ".pcapng", ".pcap.gz", ".pcapng.gz"].iter().any(|ending| name.ends_with(ending))
}

fn first_difference(stored: &str, told: &str) -> Option<String> {
    let (mut stored, mut told) = (stored.lines(), told.lines());
    (1..).find_map(|line| match (stored.next(), told.next()) {
        (None, None) => Some(None),
        (was, is) if was == is => None,
        (was, is) => Some(Some(format!(
            "line {line}:\n  stored: {}\n  told:   {}",
            was.unwrap_or("(nothing)"),
            is.unwrap_or("(nothing)")
        ))),
    })?
}
