//! The programs that are measured, and the marks that `tcpflow analyze` is held to.

use std::path::{Path, PathBuf};

/// A program on a capture.
#[derive(Clone, Copy, Debug)]
pub struct Program {
    /// Its name in the tables and in the marks.
    pub name: &'static str,
    /// Its command line; `FILE` is the capture, `FAR` that of the other end, `DIR` its folder and `TCPFLOW` the command under measurement.
    pub command: &'static [&'static str],
    /// The captures it is run on.
    pub on: &'static [&'static str],
    /// How it takes part in the rounds.
    pub pace: Pace,
}

/// How a program takes part in the rounds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// Once in every round.
    EveryRound,
    /// In the first round only: it takes minutes.
    Once,
}

/// What a run of tcpflow is held to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    /// The program that is held to it.
    pub subject: &'static str,
    /// The capture it runs on.
    pub capture: &'static str,
    /// What is compared.
    pub figure: Figure,
    /// What has to be reached.
    pub must: f64,
    /// What is worth reaching.
    pub aim: f64,
}

/// What a mark compares.
#[derive(Clone, Copy, Debug)]
pub enum Figure {
    /// How many times faster than this program on the same capture; at least.
    FasterThan(&'static str),
    /// The subject's time in times of this program's; at most.
    TimesOf(&'static str),
    /// The subject's processor time in times of this program's; at most.
    ProcessorOf(&'static str),
    /// The subject's time in times of its own on another capture; at most.
    TimesOn(&'static str),
    /// The subject's peak of memory in MB (10⁶ octets); at most.
    Megabytes,
    /// The subject's peak of memory over its peak on the ten-packet capture, in octets for each of so many connections; at most.
    OctetsEach(f64),
    /// The subject's time in milliseconds; at most.
    Milliseconds,
}

impl Figure {
    /// Whether a value reaches a bound.
    pub fn reaches(self, value: f64, bound: f64) -> bool {
        match self {
            Self::FasterThan(_) => value >= bound,
            _ => value <= bound,
        }
    }

    /// Whether the figure stands at any scale, or only on the captures in full.
    pub fn is_of_any_scale(self) -> bool {
        matches!(self, Self::Milliseconds)
    }
}

impl Program {
    /// The command line for a capture.
    pub fn command(&self, tcpflow: &Path, capture: &Path) -> Vec<String> {
        let fill = |word: &&str| match *word {
            "FILE" => capture.to_string_lossy().into_owned(),
            "FAR" => far(capture).to_string_lossy().into_owned(),
            "TCPFLOW" => tcpflow.to_string_lossy().into_owned(),
            "DIR/tstat" => capture.with_file_name("tstat").to_string_lossy().into_owned(),
            word => word.to_owned(),
        };
        self.command.iter().map(fill).collect()
    }
}

/// Where the capture of the other end is.
pub fn far(capture: &Path) -> PathBuf {
    let name = capture.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    capture.with_file_name(format!("far-{name}"))
}

const fn program(name: &'static str, command: &'static [&'static str], on: &'static [&'static str]) -> Program {
    Program { name, command, on, pace: Pace::EveryRound }
}

const fn slow(name: &'static str, command: &'static [&'static str], on: &'static [&'static str]) -> Program {
    Program { name, command, on, pace: Pace::Once }
}

const fn mark(subject: &'static str, capture: &'static str, figure: Figure, must: f64, aim: f64) -> Mark {
    Mark { subject, capture, figure, must, aim }
}

/// The programs in the order in which a round runs them.
pub const PROGRAMS: [Program; 16] = [
    program(TEXT, &["TCPFLOW", "analyze", "FILE"], EVERY),
    program("cat", &["cat", "FILE"], EVERY),
    program(JSONL, &["TCPFLOW", "analyze", "--format", "jsonl", "FILE"], EVERY),
    program(TIMELINE, &["TCPFLOW", "analyze", "--timeline", "-c", "7", "FILE"], &["many"]),
    program(BOTH, &["TCPFLOW", "analyze", "FILE", "FAR"], TWICE),
    program(PAIRED, &["TCPFLOW", "analyze", "--client-side", "FILE", "--server-side", "FAR"], TWICE),
    program(BOTH_JSONL, &["TCPFLOW", "analyze", "--format", "jsonl", "FILE", "FAR"], TWICE),
    program(PAIRED_JSONL, PAIRING_JSONL, TWICE),
    program("capinfos", &["capinfos", "-c", "-u", "FILE"], &["many", "elephants", "elephants96"]),
    program("tcpdump", &["tcpdump", "-r", "FILE", "-w", "/dev/null", "tcp"], &["many", "elephants", "elephants96"]),
    program("argus", &["argus", "-r", "FILE", "-w", "/dev/null"], LOADED),
    program("tstat", &["tstat", "-s", "DIR/tstat", "FILE"], LOADED),
    program("tcptrace", &["tcptrace", "-n", "FILE"], LOADED),
    slow("tcptrace -lr", &["tcptrace", "-n", "-l", "-r", "FILE"], &["many"]),
    slow("tshark conv", &["tshark", "-n", "-q", "-r", "FILE", "-z", "conv,tcp"], &["many", "elephants96"]),
    slow("tshark fields", TSHARK_FIELDS, &["many"]),
];

/// What tcpflow is held to: on generated captures with the page cache warm, in pairs within one run.
pub const MARKS: [Mark; 40] = [
    mark(TEXT, "many", Figure::FasterThan("tshark conv"), 40.0, 60.0),
    mark(JSONL, "many", Figure::FasterThan("tshark conv"), 40.0, 60.0),
    mark(TEXT, "many", Figure::FasterThan("tshark fields"), 110.0, 160.0),
    mark(JSONL, "many", Figure::FasterThan("tshark fields"), 110.0, 160.0),
    mark(TEXT, "many", Figure::FasterThan("tcptrace"), 8.0, 12.0),
    mark(JSONL, "many", Figure::FasterThan("tcptrace"), 8.0, 12.0),
    mark(TEXT, "many", Figure::FasterThan("tcptrace -lr"), 25.0, 33.0),
    mark(JSONL, "many", Figure::FasterThan("tcptrace -lr"), 25.0, 33.0),
    mark(TEXT, "many", Figure::FasterThan("tstat"), 8.0, 11.0),
    mark(JSONL, "many", Figure::FasterThan("tstat"), 8.0, 11.0),
    mark(TEXT, "many", Figure::FasterThan("argus"), 4.0, 6.0),
    mark(JSONL, "many", Figure::FasterThan("argus"), 4.0, 6.0),
    mark(TEXT, "many", Figure::TimesOf("cat"), 5.0, 3.0),
    mark(JSONL, "many", Figure::TimesOf("cat"), 5.0, 3.0),
    mark(TEXT, "elephants", Figure::TimesOf("cat"), 1.8, 1.5),
    mark(JSONL, "elephants", Figure::TimesOf("cat"), 1.8, 1.5),
    mark(TEXT, "elephants96", Figure::FasterThan("tshark conv"), 200.0, 300.0),
    mark(JSONL, "elephants96", Figure::FasterThan("tshark conv"), 200.0, 300.0),
    mark(TEXT, "many-ng", Figure::TimesOn("many"), 1.4, 1.1),
    mark(JSONL, "many-ng", Figure::TimesOn("many"), 1.4, 1.1),
    mark(TIMELINE, "many", Figure::TimesOf(TEXT), 1.2, 1.2),
    mark(PAIRED, "many", Figure::TimesOf(BOTH), 1.2, 0.8),
    mark(PAIRED, "many", Figure::ProcessorOf(BOTH), 1.5, 1.0),
    mark(PAIRED_JSONL, "many", Figure::TimesOf(BOTH_JSONL), 1.2, 0.8),
    mark(PAIRED_JSONL, "many", Figure::ProcessorOf(BOTH_JSONL), 1.5, 1.0),
    mark(PAIRED, "elephants96", Figure::TimesOf(BOTH), 1.8, 1.2),
    mark(PAIRED, "elephants96", Figure::ProcessorOf(BOTH), 2.2, 1.5),
    mark(PAIRED_JSONL, "elephants96", Figure::TimesOf(BOTH_JSONL), 2.2, 1.2),
    mark(PAIRED_JSONL, "elephants96", Figure::ProcessorOf(BOTH_JSONL), 2.6, 1.5),
    mark(PAIRED, "many", Figure::Megabytes, 2000.0, 1400.0),
    mark(JSONL, "many", Figure::Megabytes, 96.0, 32.0),
    mark(TEXT, "elephants", Figure::Megabytes, 16.0, 12.0),
    mark(JSONL, "elephants", Figure::Megabytes, 16.0, 12.0),
    mark(TEXT, "scan", Figure::Megabytes, 600.0, 200.0),
    mark(JSONL, "scan", Figure::Megabytes, 600.0, 200.0),
    mark(JSONL, "scan", Figure::OctetsEach(5e6), 110.0, 40.0),
    mark(TEXT, "open", Figure::OctetsEach(1e6), 400.0, 256.0),
    mark(JSONL, "open", Figure::OctetsEach(1e6), 400.0, 256.0),
    mark(TEXT, "ten", Figure::Milliseconds, 20.0, 5.0),
    mark(JSONL, "ten", Figure::Milliseconds, 20.0, 5.0),
];

const TEXT: &str = "tcpflow";
const JSONL: &str = "tcpflow jsonl";
const TIMELINE: &str = "tcpflow -t -c";

/// `analyze` of the captures of both ends, and their segments paired.
const BOTH: &str = "tcpflow both";
const PAIRED: &str = "tcpflow paired";
const BOTH_JSONL: &str = "both jsonl";
const PAIRED_JSONL: &str = "paired jsonl";
const PAIRING_JSONL: &[&str] =
    &["TCPFLOW", "analyze", "--format", "jsonl", "--client-side", "FILE", "--server-side", "FAR"];

const EVERY: &[&str] = &["ten", "many", "many-ng", "elephants", "elephants96", "scan", "open", "holes"];
/// What there are captures of both ends of.
pub const TWICE: &[&str] = &["many", "elephants96"];
const LOADED: &[&str] = &["many", "elephants", "elephants96"];

/// Every connection's numbers and every judgement, as a user asks tshark for them.
const TSHARK_FIELDS: &[&str] = &[
    "tshark",
    "-n",
    "-r",
    "FILE",
    "-T",
    "fields",
    "-e",
    "frame.number",
    "-e",
    "tcp.stream",
    "-e",
    "tcp.flags",
    "-e",
    "tcp.len",
    "-e",
    "tcp.completeness",
    "-e",
    "tcp.analysis.initial_rtt",
    "-e",
    "tcp.analysis.retransmission",
    "-e",
    "tcp.analysis.fast_retransmission",
    "-e",
    "tcp.analysis.spurious_retransmission",
    "-e",
    "tcp.analysis.out_of_order",
    "-e",
    "tcp.analysis.duplicate_ack",
    "-e",
    "tcp.analysis.lost_segment",
    "-e",
    "tcp.analysis.zero_window",
    "-e",
    "tcp.analysis.window_full",
];
