//! Holds tshark to what each scenario promises of it: the flags of its analysis, in what was captured at each end.

mod executable;
mod users;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::{fs, thread};

use tcpflow::lab::{CATALOG, Entry, FLAGS, Flag, Flagged};
use users::{Program, Who};

/// `TCPFLOW_LAB_RUNS` says how often each scenario is played; once by default.
#[test]
#[ignore = "needs tshark; `make test` runs it where tshark is installed"]
fn tshark_flags_in_each_capture_what_the_scenario_promises() {
    let runs: usize = std::env::var("TCPFLOW_LAB_RUNS").map_or(1, |runs| runs.parse().expect("a number of runs"));
    let program = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    let folder = std::env::temp_dir().join(format!("tcpflow-lab-tshark-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    open_to_all(&folder);
    let (next, wrong) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(entry) = CATALOG.iter().cycle().take(CATALOG.len() * runs).nth(place) else { break };
                    let who = [Who::User, Who::Root, Who::Sudo][place % 3];
                    let who = if who.is_playable() { who } else { Who::User };
                    let told =
                        hold(program.played_by(who), *entry, &folder.join(format!("{place}-{}.pcapng", entry.name)));
                    wrong.lock().unwrap().extend(told);
                }
            });
        }
    });
    fs::remove_dir_all(&folder).unwrap();
    let wrong = wrong.into_inner().unwrap();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Plays a scenario, and says what tshark flags besides what is promised, or does not flag.
fn hold(mut demo: Command, entry: Entry, saved: &Path) -> Vec<String> {
    let definition = entry.read(&[]).unwrap();
    let played = demo.args(["demo", entry.name, "--checks", "--save"]).arg(saved).output().unwrap();
    let told = String::from_utf8_lossy(&played.stderr);
    if !definition.needs.is_empty() && told.contains("cannot be played: this kernel has no") {
        eprintln!("NOT CHECKED here: {}", told.trim_end());
        return Vec::new();
    }
    if !played.status.success() {
        return vec![format!("it did not go as it says: {}", String::from_utf8_lossy(&played.stdout))];
    }
    let Flagged { client, server } = &definition.flagged;
    let stem = saved.file_stem().unwrap().to_string_lossy();
    let side = |side: &str| saved.with_file_name(format!("{stem}-{side}.pcapng"));
    let captures: Vec<(&str, PathBuf, &Vec<Flag>)> = match definition.setting.link {
        Some(_) => vec![("client", side("client"), client), ("server", side("server"), server)],
        None => vec![("loopback", saved.to_owned(), client)],
    };
    let mut wrong = Vec::new();
    for (side, capture, promised) in captures {
        let counts = flags(&capture);
        let count = |name: &str| counts.get(name).copied().unwrap_or(0);
        for flag in promised {
            let found = flag.names.iter().map(|name| count(name)).sum();
            if !flag.holds(found) {
                wrong.push(format!("{} ({side}): promised {flag}; found {counts:?}", entry.name));
            }
        }
        // A window update is worth a word only where it is promised: the window grows with every buffer that the kernel enlarges.
        let promises = |name: &str| name == "window_update" || promised.iter().any(|flag| flag.names.contains(&name));
        for (name, count) in counts.iter().filter(|(name, _)| !promises(name)) {
            wrong.push(format!("{} ({side}): not promised: {count} {name}", entry.name));
        }
    }
    wrong
}

/// How many segments of a capture have each flag.
fn flags(capture: &Path) -> BTreeMap<&'static str, u32> {
    let output = Command::new("tshark")
        .args(["-n", "-2", "-o", "tcp.desegment_tcp_streams:FALSE", "-Y", "tcp", "-T", "fields", "-r"])
        .arg(capture)
        .args(FLAGS.iter().flat_map(|flag| ["-e".to_owned(), format!("tcp.analysis.{flag}")]))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}: {}", capture.display(), String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let mut counts = BTreeMap::new();
    for line in text.lines() {
        let values: Vec<_> = line.split('\t').collect();
        assert_eq!(values.len(), FLAGS.len(), "{line:?}");
        let mut set: Vec<_> =
            FLAGS.iter().zip(values).filter(|(_, value)| !value.is_empty()).map(|(name, _)| *name).collect();
        // A fast or spurious retransmission has both flags.
        if set.iter().any(|name| ["fast_retransmission", "spurious_retransmission"].contains(name)) {
            set.retain(|name| *name != "retransmission");
        }
        set.into_iter().for_each(|name| *counts.entry(name).or_default() += 1);
    }
    counts
}

fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
}

const SIDE_BY_SIDE: usize = 4;
