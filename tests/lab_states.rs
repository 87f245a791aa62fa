//! Every scenario as root, against the kernel's own trace: both ends go through the states that the kernel had, and no others but those
//! of which it wrote no record, as the program says.

mod executable;
mod users;

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde_json::Value;
use tcpflow::lab::{CATALOG, Entry};
use tcpflow::script::{Line, What};
use users::{Program, Who, may_read_the_trace};

#[test]
fn both_ends_have_the_states_that_the_kernel_had() {
    if !may_read_the_trace() {
        return;
    }
    let program = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    let (next, counts) = (AtomicUsize::new(0), Mutex::new(Counts::default()));
    thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(entry) = CATALOG.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let found = Counts::of(&program, *entry);
                    counts.lock().unwrap().add(found);
                }
            });
        }
    });
    let counts = counts.into_inner().unwrap();
    let Counts { scenarios, ends, changes, unrecorded, .. } = counts;
    eprintln!("{scenarios} scenarios, {ends} ends, {changes} changes of state, and {unrecorded} without a record");
    assert_eq!(counts.different, [""; 0]);
    assert!(counts.scenarios >= 85 && counts.ends >= 150 && counts.changes >= 700, "{counts:?}");
}

/// What was compared, and what was not the same.
#[derive(Debug, Default)]
struct Counts {
    scenarios: usize,
    ends: usize,
    changes: usize,
    /// Changes that are told, and of which the trace has no record.
    unrecorded: usize,
    different: Vec<String>,
}

impl Counts {
    fn add(&mut self, other: Self) {
        self.scenarios += other.scenarios;
        self.ends += other.ends;
        self.changes += other.changes;
        self.unrecorded += other.unrecorded;
        self.different.extend(other.different);
    }

    /// Plays a scenario, and compares each end of each connection.
    fn of(program: &Program, entry: Entry) -> Self {
        let Entry { name, .. } = entry;
        let definition = entry.read(&[]).unwrap();
        let output = program.played_by(Who::Root).args(["demo", name, "--format", "jsonl"]).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        let mut counts = Self::default();
        if !definition.needs.is_empty() && told.contains("cannot be played: this kernel has no") {
            eprintln!("NOT CHECKED here: {}", told.trim_end());
            return counts;
        }
        counts.scenarios = 1;
        // What the kernel wrote no record of is told.
        let is_of_trace = |line: &&str| line.contains(" of the kernel's trace ") && line.contains(" lost,");
        let number = |line: &str| line.split_whitespace().find_map(|word| word.parse::<usize>().ok());
        let lost = told.lines().find(is_of_trace).and_then(number).unwrap_or(0);
        // Whether it went as it says is another test's, and the states are the kernel's on a busy machine, too.
        let is_of_haste = |line: &&str| line.contains("this machine was busy: the link handed a segment over");
        if told.lines().any(|line| !is_of_trace(&line) && !is_of_haste(&line))
            || !matches!(output.status.code(), Some(0 | 1))
        {
            counts.different.push(format!("{name}: {told}"));
        }
        let out = String::from_utf8(output.stdout).unwrap();
        let lines: Vec<Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        // A SYN of a host that does not exist is answered by a listener, and nothing has a socket for it.
        let is_flood = |line: &Line| matches!(line.what, What::Flood { .. });
        let is_flooded = definition.script.lines.iter().any(is_flood);
        let of_type = |kind| lines.iter().filter(move |line| line["type"] == kind);
        for connection in of_type("connection") {
            for side in ["client", "server"] {
                let own = |line: &&Value| line["connection"] == connection["id"] && line["side"] == side;
                let steps: Vec<&Value> = of_type("transition").filter(own).collect();
                let kernel = of_type("kernel").filter(own).filter(|line| line["what"] == "state");
                let mut kernel: Vec<&str> = kernel.map(|line| line["to"].as_str().unwrap()).collect();
                kernel.dedup();
                let has_kernel =
                    |step: &&Value| step["evidence"].as_array().unwrap().iter().any(|witness| witness == "kernel");
                let mut states: Vec<&str> = steps.iter().map(|step| step["to"].as_str().unwrap()).collect();
                let has_socket = states != ["CLOSED"] && !(is_flooded && states == ["SYN-RECEIVED"]);
                if !has_socket && kernel.is_empty() {
                    continue;
                }
                counts.ends += 1;
                counts.changes += kernel.len();
                // TIME-WAIT is another, smaller socket in Linux: the first one goes to CLOSED.
                states.iter_mut().filter(|state| **state == "TIME-WAIT").for_each(|state| *state = "CLOSED");
                // So does an end in FIN-WAIT-2 that no process holds any more.
                if states.last() == Some(&"FIN-WAIT-2") && kernel.ends_with(&["FIN-WAIT-2", "CLOSED"]) {
                    states.push("CLOSED");
                }
                states.dedup();
                let is_small = |step: &&&Value| step["to"] == "TIME-WAIT" || step["to"] == "CLOSED";
                let unconfirmed = steps.iter().filter(|step| !is_small(step) && !has_kernel(step)).count();
                let mut left = states.iter();
                let is_part = kernel.iter().all(|state| left.any(|told| told == state));
                let unrecorded = states.len().saturating_sub(kernel.len());
                counts.unrecorded += unrecorded;
                // What a socket did of whose beginning there is no record is nobody's.
                let is_explained = if kernel.is_empty() { lost > 0 } else { unrecorded <= lost };
                if !is_part || unconfirmed > unrecorded || unrecorded > 0 && !is_explained {
                    counts.different.push(format!(
                        "{name}, {side} of {}: {states:?}, {unconfirmed} unconfirmed; the kernel {kernel:?}",
                        connection["id"]
                    ));
                }
            }
        }
        counts
    }
}

const SIDE_BY_SIDE: usize = 4;
