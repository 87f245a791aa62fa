//! `make bench`: tcpflow against cat and its peers, on captures made from a seed, in one run.

mod captures;
mod far;
mod marks;
mod measure;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use clap::Parser;

use captures::{Capture, RECIPES, Recipe};
use marks::{Figure, MARKS, Mark, PROGRAMS, Pace, Program, TWICE};
use measure::{Cost, Limits};

/// Measures `tcpflow analyze` beside cat and whatever of its peers is installed, on generated captures.
#[derive(Parser)]
#[command(name = "speed")]
struct Options {
    /// The size of the captures; 1 is the size that the marks are for
    #[arg(long, default_value_t = 1.0, value_name = "FACTOR")]
    scale: f64,
    /// How often each program runs on each capture; those that take minutes run once
    #[arg(long, default_value_t = 5, value_name = "N")]
    rounds: usize,
    /// Only these captures
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    only: Vec<String>,
    /// Only tcpflow and these programs
    #[arg(long, value_delimiter = ',', value_name = "NAME")]
    peers: Option<Vec<String>>,
    /// Make the captures and stop
    #[arg(long)]
    generate: bool,
    /// Fail where a mark that has to be reached is not
    #[arg(long)]
    strict: bool,
    /// The tcpflow to measure [default: the one that was built beside this program]
    #[arg(long, value_name = "PROGRAM")]
    tcpflow: Option<PathBuf>,
    /// Where the captures are kept [default: bench in the target folder]
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Seconds of processor time after which a program is stopped
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    patience: u64,
}

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("speed: {error}");
            ExitCode::from(2)
        }
    }
}

/// Measures what was asked for; whether every mark that has to be reached was, or nobody is strict about it.
fn run(options: &Options) -> io::Result<bool> {
    // This program is target/release/speed.
    let built = std::env::current_exe()?;
    let tcpflow = options.tcpflow.clone().unwrap_or_else(|| built.with_file_name("tcpflow"));
    let dir = options.dir.clone().or_else(|| Some(built.parent()?.parent()?.join("bench")));
    let dir = dir.ok_or_else(|| io::Error::other("no folder for the captures: name one with --dir"))?;
    if !options.generate && !tcpflow.is_file() {
        return Err(io::Error::other(format!("{}: not there; `cargo build --release` makes it", tcpflow.display())));
    }
    let wanted = |recipe: &&Recipe| options.only.is_empty() || options.only.iter().any(|name| name == recipe.name);
    let mut results = Results::default();
    for recipe in RECIPES.iter().filter(wanted) {
        if !options.generate {
            // Made by a process of its own: what this one ever had in memory counts for the programs it starts.
            let mut make = Command::new(&built);
            make.args(["--generate", "--only", recipe.name, "--scale", &options.scale.to_string(), "--dir"]).arg(&dir);
            if !make.stdout(Stdio::null()).status()?.success() {
                return Err(io::Error::other(format!("{} could not be made", recipe.name)));
            }
        }
        let capture = recipe.capture(&dir, options.scale)?;
        if TWICE.contains(&recipe.name) {
            capture.far()?;
        }
        println!(
            "\n{}: {} packets, {:.2} GB, {}",
            recipe.name,
            grouped(capture.packets),
            capture.octets as f64 / 1e9,
            capture.path.display()
        );
        if !options.generate {
            measure_capture(options, &tcpflow, recipe.name, &capture, &mut results);
        }
    }
    if options.generate {
        return Ok(true);
    }
    let reached = results.judge(options.scale);
    Ok(reached || !options.strict)
}

/// Runs every program on a capture, round by round, so that each pair of figures comes from the same minute.
fn measure_capture(options: &Options, tcpflow: &Path, name: &'static str, capture: &Capture, results: &mut Results) {
    let chosen = |program: &&Program| {
        program.on.contains(&name)
            && (program.command[0] == "TCPFLOW"
                || options.peers.as_ref().is_none_or(|peers| peers.iter().any(|peer| peer == program.name)))
    };
    let programs: Vec<&Program> = PROGRAMS.iter().filter(chosen).collect();
    let mut failures = BTreeMap::new();
    let limits = Limits::of(options.patience);
    // One run that does not count brings the file into the page cache.
    let warm = ["cat".to_owned(), capture.path.to_string_lossy().into_owned()];
    let _ = measure::run(&warm, limits);
    for round in 0..options.rounds {
        for program in &programs {
            if failures.contains_key(program.name) || (program.pace == Pace::Once && round > 0) {
                continue;
            }
            match measure::run(&program.command(tcpflow, &capture.path), limits) {
                Ok(cost) => results.add(name, program.name, cost),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    failures.insert(program.name, "not installed".to_owned());
                }
                Err(error) => {
                    failures.insert(program.name, error.to_string());
                }
            }
        }
    }
    println!(
        "| {:14} | {:>9} | {:>9} | {:>12} | {:>11} | {:>8} |",
        "program", "median", "processor", "packets/s", "peak", "of cat"
    );
    println!("|{:-<16}|{:-<10}:|{:-<10}:|{:-<13}:|{:-<12}:|{:-<9}:|", "", "", "", "", "", "");
    for program in &programs {
        let costs = results.of(name, program.name);
        if costs.is_empty() {
            println!("| {:14} | {}", program.name, failures.get(program.name).map_or("not run", String::as_str));
            continue;
        }
        let seconds = median(costs.iter().map(|cost| cost.seconds).collect());
        let peak = results.peak(name, program.name);
        let of_cat = results.ratio((name, program.name), (name, "cat"));
        println!(
            "| {:14} | {:>7.3} s | {:>7.3} s | {:>12} | {:>8.1} MB | {:>8} |",
            program.name,
            seconds,
            median(costs.iter().map(|cost| cost.processor).collect()),
            grouped((capture.packets as f64 / seconds) as u64),
            peak / 1e6,
            of_cat.map_or("–".to_owned(), |ratio| format!("{ratio:.2}"))
        );
    }
}

/// What every run cost, by capture and program, in order of rounds.
#[derive(Default)]
struct Results(BTreeMap<(&'static str, &'static str), Vec<Cost>>);

impl Results {
    fn add(&mut self, capture: &'static str, program: &'static str, cost: Cost) {
        self.0.entry((capture, program)).or_default().push(cost);
    }

    fn of(&self, capture: &'static str, program: &'static str) -> &[Cost] {
        self.0.get(&(capture, program)).map_or(&[], Vec::as_slice)
    }

    fn peak(&self, capture: &'static str, program: &'static str) -> f64 {
        self.of(capture, program).iter().map(|cost| cost.peak as f64).fold(0.0, f64::max)
    }

    /// The median over the rounds of one's time divided by the other's in the same round.
    fn ratio(&self, one: (&'static str, &'static str), other: (&'static str, &'static str)) -> Option<f64> {
        let pairs = self.of(one.0, one.1).iter().zip(self.of(other.0, other.1));
        let ratios: Vec<f64> = pairs.map(|(one, other)| one.seconds / other.seconds).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// The same of their processor time.
    fn processor(&self, one: (&'static str, &'static str), other: (&'static str, &'static str)) -> Option<f64> {
        let pairs = self.of(one.0, one.1).iter().zip(self.of(other.0, other.1));
        let ratios: Vec<f64> = pairs.map(|(one, other)| one.processor / other.processor).collect();
        (!ratios.is_empty()).then(|| median(ratios))
    }

    /// The value of a mark's figure, where what it compares was measured.
    fn value(&self, mark: &Mark, scale: f64) -> Option<f64> {
        let subject = (mark.capture, mark.subject);
        if self.of(subject.0, subject.1).is_empty() {
            return None;
        }
        match mark.figure {
            Figure::FasterThan(peer) => self.ratio((mark.capture, peer), subject),
            Figure::TimesOf(peer) => self.ratio(subject, (mark.capture, peer)),
            Figure::ProcessorOf(peer) => self.processor(subject, (mark.capture, peer)),
            Figure::TimesOn(capture) => self.ratio(subject, (capture, mark.subject)),
            Figure::Megabytes => Some(self.peak(subject.0, subject.1) / 1e6),
            Figure::OctetsEach(connections) => {
                let least = self.peak("ten", mark.subject);
                (least > 0.0).then(|| (self.peak(subject.0, subject.1) - least) / (connections * scale))
            }
            Figure::Milliseconds => {
                Some(median(self.of(subject.0, subject.1).iter().map(|cost| cost.seconds * 1e3).collect()))
            }
        }
    }

    /// Prints every mark beside what was measured; whether all that have to be reached were.
    fn judge(&self, scale: f64) -> bool {
        println!();
        if scale != 1.0 {
            println!("The marks are for the captures in full; at scale {scale} there is no verdict on most of them.");
        }
        println!("| {:68} | {:>9} | {:>9} | {:>9} | {:16} |", "mark", "measured", "must", "aim", "verdict");
        println!("|{:-<70}|{:-<10}:|{:-<10}:|{:-<10}:|{:-<18}|", "", "", "", "", "");
        let mut all = true;
        for mark in MARKS.iter().filter(|mark| !self.of(mark.capture, mark.subject).is_empty()) {
            let value = self.value(mark, scale);
            let counts = scale == 1.0 || mark.figure.is_of_any_scale();
            let verdict = match value {
                None => "not measured",
                Some(_) if !counts => "–",
                Some(value) if mark.figure.reaches(value, mark.aim) => "aim reached",
                Some(value) if mark.figure.reaches(value, mark.must) => "must reached",
                Some(_) => {
                    all = false;
                    "MISSED"
                }
            };
            let value = value.map_or("–".to_owned(), |value| shown(mark.figure, value));
            let (must, aim) = (shown(mark.figure, mark.must), shown(mark.figure, mark.aim));
            println!("| {:68} | {value:>9} | {must:>9} | {aim:>9} | {verdict:16} |", sentence(mark));
        }
        all
    }
}

fn sentence(mark: &Mark) -> String {
    let Mark { subject, capture, figure, .. } = mark;
    match figure {
        Figure::FasterThan(peer) => format!("{capture}: {subject} is so many times faster than {peer}"),
        Figure::TimesOf(peer) => format!("{capture}: {subject} takes the time of {peer} times"),
        Figure::ProcessorOf(peer) => format!("{capture}: {subject} takes the processor time of {peer} times"),
        Figure::TimesOn(other) => format!("{capture}: {subject} takes its time on {other} times"),
        Figure::Megabytes => format!("{capture}: peak memory of {subject}"),
        Figure::OctetsEach(_) => format!("{capture}: memory of {subject} for each connection"),
        Figure::Milliseconds => format!("{capture}: {subject} from start to end"),
    }
}

fn shown(figure: Figure, value: f64) -> String {
    match figure {
        Figure::FasterThan(_) => format!("{value:.1} ×"),
        Figure::TimesOf(_) | Figure::ProcessorOf(_) | Figure::TimesOn(_) => format!("{value:.2} ×"),
        Figure::Megabytes => format!("{value:.1} MB"),
        Figure::OctetsEach(_) => format!("{value:.0} B"),
        Figure::Milliseconds => format!("{value:.1} ms"),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 }
}

/// A count with its thousands apart.
fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}
