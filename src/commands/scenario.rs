//! `tcpflow demo SCENARIO`: a scenario played on the real kernel, its timeline, and whether it went as it says.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{env, fs, thread};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::interrupt::{Interrupt, NOT_ALL};
use super::outlet::Outlet;
use super::{Failure, Outcome, complain, kernel_trace, look, memory};
use crate::calls::Kept;
use crate::capture::{Successor, Writer};
use crate::cli::{Demo, Format, Language, Look};
use crate::lab::{self, CATALOG, Check, Definition, ECHO, Entry, LabError, Trial, Words};
use crate::report::{self, Found, Jsonl, Style};
use crate::script::LinkAct;
use crate::story::Story;

/// Plays the scenario of that name, or the one in that file.
pub(super) fn play(name: &str, options: &Demo, look: &Look) -> Result<Outcome, Failure> {
    let changes = changes(options)?;
    let mut definition = match read(name, &changes) {
        Ok(definition) => definition,
        Err(error) => return Ok(told(&error)),
    };
    if let Some(lack) = definition.needs.iter().find_map(lab::Need::lack) {
        return Err(Failure::new(format!("demo {name} cannot be played: {lack}")));
    }
    if let Some(path) = &options.save {
        Writer::check(path)?;
    }
    let interrupt = Interrupt::catch()?;
    let memory = memory::of(options.memory);
    let style = look::at(look, look::style(look), Some(crate::kernel::now()));
    let successor = Successor { user: options.user.clone(), writes: options.save.clone() };
    let lane = lab::Lane::claim();
    definition.play_in(&lane);
    let tracepoints = definition.traceable(&lane).as_ref().and_then(kernel_trace::open_as_root);
    let trial = lab::try_out(&definition, &successor, tracepoints, &interrupt.flag())
        .map_err(|error| Failure::new(format!("demo {name}: {error}")))?;
    interrupt.limit_telling();
    let story = trial.told(memory);
    let checks = lab::check(&definition, &trial, &story);
    for notice in &trial.notices {
        complain(notice);
    }
    let saved = options.save.as_ref().map_or(Ok(()), |path| save(path, &trial, &story));
    let mut out = Outlet::open();
    let mut until = interrupt.until(Box::new(&mut out));
    let written = match options.format {
        Format::Text => text(&mut until, &definition, &story, &checks, options, &style),
        Format::Jsonl => lines(&mut until, &definition, &trial, &story, &checks),
    };
    drop(until);
    let is_cut = written.is_err() && interrupt.is_time_up();
    if is_cut {
        interrupt.say_once(NOT_ALL);
    }
    let written = if is_cut { Ok(()) } else { written };
    written.and_then(|()| out.finish()).map_err(|error| Failure::output(&error))?;
    saved?;
    if trial.interrupted {
        interrupt.say_once("interrupted: the scenario was not played to its end");
    }
    if trial.interrupted || is_cut {
        return Ok(Outcome::Incomplete);
    }
    Ok(if checks.iter().all(Check::holds) { Outcome::Done } else { Outcome::NotHeld })
}

fn changes(options: &Demo) -> Result<Vec<(String, String)>, Failure> {
    let pair = |change: &String| match change.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.trim().to_owned(), value.trim().to_owned())),
        _ => Err(Failure::new(format!("--set {change}: a key and a value are expected, as in link.delay=100ms"))),
    };
    options.set.iter().map(pair).collect()
}

fn read(name: &str, changes: &[(String, String)]) -> Result<Definition, LabError> {
    if let Some(entry) = Entry::named(name) {
        return entry.read(changes);
    }
    let is_file = name.contains('/') || name.ends_with(".toml");
    if !is_file {
        let names = CATALOG.iter().map(|entry| entry.name).chain([ECHO]);
        let like = report::nearest(name, names);
        let hint = like.map_or(String::new(), |like| format!(" (did you mean {like}?)"));
        return Err(LabError::of(format!(
            "no scenario is called {name}{hint}: `tcpflow demo --list` lists them; a file is named with its folder, as ./{name}.toml"
        )));
    }
    match fs::metadata(name) {
        Ok(file) if file.len() > LONGEST_FILE => {
            return Err(LabError::of(format!("{name}: more than {LONGEST_FILE} octets are no scenario")));
        }
        _ => {}
    }
    match fs::read_to_string(name) {
        Ok(source) => Definition::parse(name, &source, changes),
        Err(error) => Err(LabError::of(format!("{name}: {}", super::outcome::reason(&error)))),
    }
}

/// Tells what is wrong with a scenario, of which several lines show the place.
fn told(error: &LabError) -> Outcome {
    let text = error.to_string();
    let mut lines = text.lines();
    complain(&lines.next().unwrap_or_default());
    let style = look::messages();
    for line in lines {
        let _ = writeln!(io::stderr(), "{}", report::escape(line, &style));
    }
    Outcome::Incomplete
}

fn text(
    out: &mut dyn Write,
    definition: &Definition,
    story: &Story,
    checks: &[Check],
    options: &Demo,
    style: &Style,
) -> io::Result<()> {
    let language = language(options);
    writeln!(out, "{}: {}", definition.name, report::escape(of(&definition.title, language), style))?;
    if !options.checks {
        for line in report::wrapped(&report::escape(of(&definition.lesson, language), style), style.width) {
            writeln!(out, "{line}")?;
        }
        writeln!(out)?;
        report::timeline::go_on(out, story, style, 0)?;
        writeln!(out)?;
        report::diagnoses(out, story, &story.diagnoses(), Found::default(), style)?;
    }
    for check in checks {
        let mark = match (check.holds(), style.charset) {
            (true, report::Charset::Unicode) => "✓",
            (false, report::Charset::Unicode) => "✗",
            (true, report::Charset::Ascii) => "ok ",
            (false, report::Charset::Ascii) => "NOT",
        };
        let expected = report::escape(&check.expected, style);
        match &check.instead {
            None => writeln!(out, "  {mark} {expected}")?,
            Some(instead) => writeln!(out, "  {mark} {expected}: {}", report::escape(instead, style))?,
        }
    }
    Ok(())
}

fn lines(
    out: &mut dyn Write,
    definition: &Definition,
    trial: &Trial,
    story: &Story,
    checks: &[Check],
) -> io::Result<()> {
    let mut jsonl = Jsonl::new(out);
    jsonl.scenario(&definition.name, &definition.group, &definition.title.en)?;
    for check in checks {
        jsonl.expectation(&check.expected, check.instead.as_deref())?;
    }
    for crossing in &trial.crossings {
        let forged = crossing.forged.then_some(LinkAct::Injected);
        let acts = crossing.deeds.iter().map(|deed| LinkAct::from(*deed)).chain(forged);
        let acts: Vec<_> = acts.map(LinkAct::name).collect();
        let from = match crossing.from {
            lab::End::Client => "client",
            lab::End::Server => "server",
        };
        jsonl.crossing(&report::Crossed {
            frame: crossing.frame,
            from,
            at: crossing.at,
            acts: &acts,
            arrivals: &crossing.arrivals,
        })?;
    }
    jsonl.story(story)
}

/// Keeps the capture: of two hosts both interfaces, in a pcapng with the calls and the kernel's answers.
fn save(path: &Path, trial: &Trial, story: &Story) -> Result<(), Failure> {
    let mut writer = Writer::create(path)?;
    let interface = trial.counted.first().map_or("lo", |counted| counted.interface.as_str());
    writer.interface(interface, "tcpflow demo");
    let mut comments = if writer.keeps_more() { report::comments(story) } else { BTreeMap::new() };
    for frame in &trial.frames {
        writer.write(&frame.as_frame(), &comments.remove(&frame.number).unwrap_or_default())?;
    }
    if writer.keeps_more() {
        writer.dropped(trial.counted.iter().map(|counted| counted.dropped).sum());
        let (threads, calls) = (trial.threads.clone(), trial.calls.clone());
        let (evidence, notices) = (trial.evidence.clone(), trial.notices.clone());
        let kernel = trial.kernel.clone().unwrap_or_default();
        let kept = Kept { threads, calls, evidence, kernel, notices, lost: 0 };
        writer.attach(&kept.to_bytes())?;
        if let Some(link) = trial.link_record() {
            writer.attach(&link.to_bytes())?;
        }
    }
    writer.finish()?;
    complain(&format!("{} frames are in {}", trial.frames.len(), path.display()));
    if let [_, _] = &trial.captures[..] {
        let sides = ["client", "server"].map(|side| beside(path, side));
        for (frames, path) in trial.captures.iter().zip(&sides) {
            let mut writer = Writer::create(path)?;
            writer.interface(interface, "tcpflow demo");
            for frame in frames {
                writer.write(&frame.as_frame(), &[])?;
            }
            let [began, ended] = trial.ran;
            writer.ran(began, ended);
            writer.finish()?;
        }
        let [client, server] = sides;
        complain(&format!("what each host saw is in {} and {}", client.display(), server.display()));
    }
    Ok(())
}

/// The file of one side beside the whole: `a.pcapng` has `a-client.pcapng`.
fn beside(path: &Path, side: &str) -> PathBuf {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let ending = path.extension().map_or(String::new(), |ending| format!(".{}", ending.to_string_lossy()));
    path.with_file_name(format!("{stem}-{side}{ending}"))
}

/// Lists the scenarios by group, a line each.
pub(super) fn list(options: &Demo, look: &Look) -> Result<Outcome, Failure> {
    let style = look::style(look);
    let language = language(options);
    let mut out = Outlet::open();
    let mut group = String::new();
    let echo = match language {
        Language::En => "a client sends, a server sends it back; it has options of its own (--help)",
        Language::Zh => "客户端发送,服务器原样返回;它有自己的选项(--help)",
    };
    let mut write = || -> io::Result<()> {
        writeln!(out, "basics")?;
        writeln!(out, "  {ECHO:NAMES$}  {echo}")?;
        group.push_str("basics");
        for entry in CATALOG {
            let Ok(definition) = entry.read(&[]) else { continue };
            if definition.group != group {
                writeln!(out, "{}", definition.group)?;
                group.clone_from(&definition.group);
            }
            let title = report::escape(of(&definition.title, language), &style);
            writeln!(out, "  {:NAMES$}  {title}", definition.name)?;
        }
        Ok(())
    };
    write().and_then(|()| out.finish()).map_err(|error| Failure::output(&error))?;
    Ok(Outcome::Done)
}

/// Writes a new scenario's file.
pub(super) fn new(name: &str) -> Result<Outcome, Failure> {
    let is_name = name.bytes().all(|octet| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-');
    if !is_name || name.is_empty() || name.len() > 40 {
        return Err(Failure::new(format!(
            "--new {name}: a name is of small letters, digits and hyphens, as in my-first"
        )));
    }
    let path = format!("{name}.toml");
    let file = fs::File::create_new(&path);
    let written = file.and_then(|mut file| file.write_all(lab::template(name).as_bytes()));
    written.map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => {
            Failure::new(format!("{path} is there already: choose another name, or edit it"))
        }
        _ => Failure::file(Path::new(&path), &error),
    })?;
    complain(&format!("{path} is written: play it with `tcpflow demo ./{path}`"));
    Ok(Outcome::Done)
}

/// How a process ended: its status, standard output and standard error.
type Ended = (Option<i32>, String, String);

/// Plays every scenario, each in a process of its own, several side by side.
pub(super) fn all(options: &Demo, look: &Look) -> Result<Outcome, Failure> {
    let program = env::current_exe().map_err(|error| Failure::new(format!("cannot find this program: {error}")))?;
    let style = look::style(look);
    let names: Vec<&str> = [ECHO].into_iter().chain(CATALOG.iter().map(|entry| entry.name)).collect();
    let lacks: Vec<Option<String>> = names.iter().map(|name| lack(name)).collect();
    let interrupt = Interrupt::catch()?;
    let running: Mutex<Vec<u32>> = Mutex::default();
    let play = |name: &str| -> Ended {
        let mut command = Command::new(&program);
        command.args(["demo", name, "--color=never"]).stdin(Stdio::null());
        command.arg(if name == ECHO { "--private" } else { "--checks" });
        command.args(options.user.iter().flat_map(|user| ["--user", user]));
        let started = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let output = started.and_then(|child| {
            let pid = child.id();
            locked(&running).push(pid);
            let output = child.wait_with_output();
            locked(&running).retain(|other| *other != pid);
            output
        });
        match output {
            Ok(output) => (
                output.status.code(),
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ),
            Err(error) => (None, String::new(), error.to_string()),
        }
    };
    // What keeps this one from being played keeps all of them: it is said once.
    let first = play(names[0]);
    if first.0 == Some(2) && !interrupt.is_interrupted() {
        let why = first.2.lines().next().unwrap_or("it could not be played");
        return Err(Failure::new(why.trim_start_matches("tcpflow: ").to_owned()));
    }
    let done: Mutex<BTreeMap<usize, Ended>> = Mutex::new(BTreeMap::from([(0, first)]));
    let (next, busy) = (AtomicUsize::new(1), AtomicUsize::new(0));
    let side_by_side = 2 * thread::available_parallelism().map_or(2, usize::from);
    thread::scope(|scope| {
        busy.store(side_by_side, Ordering::Release);
        for _ in 0..side_by_side {
            scope.spawn(|| {
                while !interrupt.is_interrupted() {
                    let place = next.fetch_add(1, Ordering::Relaxed);
                    let Some(name) = names.get(place).copied() else { break };
                    if lacks[place].is_none() {
                        let ended = play(name);
                        locked(&done).insert(place, ended);
                    }
                }
                busy.fetch_sub(1, Ordering::Release);
            });
        }
        let mut told = Vec::new();
        while busy.load(Ordering::Acquire) > 0 {
            if interrupt.is_interrupted() {
                // Each ends in order, and leaves nothing behind. The terminal's Ctrl-C has reached them, too: SIGTERM does the same.
                for pid in locked(&running).iter().filter(|pid| !told.contains(*pid)).copied().collect::<Vec<_>>() {
                    told.push(pid);
                    let _ = kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM);
                }
            }
            thread::sleep(LOOK);
        }
    });
    if interrupt.is_interrupted() {
        complain(&"interrupted: not every scenario was played");
        return Ok(Outcome::Incomplete);
    }
    let mut out = Outlet::open();
    let mut worst = Outcome::Done;
    let mut failed = 0;
    let done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let mut write = || -> io::Result<()> {
        for (place, (status, told, complaints)) in &done {
            let name = names[*place];
            let as_expected = *status == Some(0);
            let (good, bad) = match style.charset {
                report::Charset::Unicode => ("✓", "✗"),
                report::Charset::Ascii => ("ok ", "NOT"),
            };
            writeln!(out, "{} {name}", if as_expected { good } else { bad })?;
            if !as_expected {
                failed += 1;
                worst = match (status, worst) {
                    (Some(1), Outcome::Done | Outcome::NotHeld) => Outcome::NotHeld,
                    _ => Outcome::Incomplete,
                };
                let amiss = told.lines().filter(|line| line.contains(bad.trim()) || line.contains("NOT"));
                for line in amiss.chain(complaints.lines()) {
                    writeln!(out, "    {}", report::escape(line.trim(), &style))?;
                }
            }
        }
        for (name, lack) in names.iter().zip(&lacks) {
            if let Some(lack) = lack {
                writeln!(out, "- {name}: not played, for {lack}")?;
            }
        }
        let lacking = names.len() - done.len();
        let not_played = if lacking > 0 { format!(", {lacking} not played") } else { String::new() };
        writeln!(out, "{} scenarios, {} as they say{not_played}", names.len(), done.len() - failed)
    };
    write().and_then(|()| out.finish()).map_err(|error| Failure::output(&error))?;
    Ok(worst)
}

/// What is behind a lock, also of a thread that has failed.
fn locked<T>(shared: &Mutex<T>) -> MutexGuard<'_, T> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What the kernel lacks for a scenario.
fn lack(name: &str) -> Option<String> {
    Entry::named(name)?.read(&[]).ok()?.needs.iter().find_map(lab::Need::lack)
}

/// Plays two scenarios, or one with a change, and lays the runs side by side.
pub(super) fn compare(runs: &[String], look: &Look) -> Result<Outcome, Failure> {
    let program = env::current_exe().map_err(|error| Failure::new(format!("cannot find this program: {error}")))?;
    let style = look::style(look);
    let mut summaries = Vec::new();
    for run in runs {
        let mut parts = run.split(',');
        let name = parts.next().unwrap_or_default();
        if name.starts_with('-') {
            return Err(Failure::new(format!(
                "--compare {run}: a scenario of --list or a file is expected, as in fin-lost,link.delay=100ms"
            )));
        }
        let mut changes: Vec<String> = parts.map(str::to_owned).collect();
        if name == ECHO && changes.is_empty() {
            // As the other one: between two hosts, which the plain one is not.
            changes.push("octets=10".to_owned());
        }
        let mut command = Command::new(&program);
        command.args(["demo", name, "--format", "jsonl"]).stdin(Stdio::null());
        command.args(changes.iter().flat_map(|change| ["--set", change]));
        let output = command.output().map_err(|error| Failure::new(format!("--compare {run}: {error}")))?;
        if !matches!(output.status.code(), Some(0 | 1)) {
            let told = String::from_utf8_lossy(&output.stderr).into_owned();
            return Err(Failure::new(format!(
                "--compare {run}: {}",
                told.lines().next().unwrap_or("it could not be played").trim_start_matches("tcpflow: ")
            )));
        }
        summaries.push(lab::Summary::of(&String::from_utf8_lossy(&output.stdout)));
    }
    let [one, other] = &summaries[..] else { return Err(Failure::new("--compare takes two runs")) };
    let mut out = Outlet::open();
    let columns = (style.width.saturating_sub(LABELS + 4) / 2).max(20);
    let mut write = || -> io::Result<()> {
        row(&mut out, "", [&runs[0], &runs[1]], columns, &style)?;
        for ((label, left), (_, right)) in one.rows.iter().zip(&other.rows) {
            row(&mut out, label, [left, right], columns, &style)?;
        }
        Ok(())
    };
    write().and_then(|()| out.finish()).map_err(|error| Failure::output(&error))?;
    Ok(if one.held && other.held { Outcome::Done } else { Outcome::NotHeld })
}

/// Writes two cells beside each other, each on as many lines as it takes; where they differ, a mark stands between.
fn row(out: &mut Outlet, label: &str, cells: [&str; 2], columns: usize, style: &Style) -> io::Result<()> {
    let plain = |text: &str| match style.charset {
        report::Charset::Ascii => report::escape(&text.replace('→', "->"), style),
        report::Charset::Unicode => report::escape(text, style),
    };
    let mark = if cells[0] == cells[1] { ' ' } else { '|' };
    let [left, right] = cells.map(|cell| report::wrapped(&plain(cell), columns));
    for place in 0..left.len().max(right.len()).max(1) {
        let at = |lines: &[String]| lines.get(place).cloned().unwrap_or_default();
        let label = if place == 0 { plain(label) } else { String::new() };
        let line = format!("{label:LABELS$} {:columns$} {mark} {}", at(&left), at(&right));
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

fn language(options: &Demo) -> Language {
    options.lang.unwrap_or_else(|| {
        let locale = ["LC_ALL", "LC_MESSAGES", "LANG"]
            .into_iter()
            .find_map(|name| env::var(name).ok().filter(|set| !set.is_empty()));
        if locale.is_some_and(|locale| locale.starts_with("zh")) { Language::Zh } else { Language::En }
    })
}

fn of(words: &Words, language: Language) -> &str {
    match language {
        Language::En => &words.en,
        Language::Zh => &words.zh,
    }
}

/// How many columns the names of what is compared take.
const LABELS: usize = 23;
/// How many columns the names of a list take.
const NAMES: usize = 28;
/// How often it is looked whether all are played, or Ctrl-C was pressed.
const LOOK: Duration = Duration::from_millis(10);
/// No scenario is longer.
const LONGEST_FILE: u64 = 1 << 20;
