//! `tcpflow run`: any program, its calls joined to its packets and to the states of its sockets.

mod backend;
mod chains;
mod delayed;
mod ending;
mod following;
mod ours;
mod place;
mod saving;
mod watching;
mod witnesses;

use std::ffi::OsString;
use std::io::{self, Write};
use std::mem;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use super::cores::Cores;
use super::expected::Expected;
use super::files::{LEAST_FILES, may_open};
use super::{Failure, Outcome, complain, kernel_trace, look, memory};
use crate::calls::traced::{Inherited, Program, Tracer};
use crate::calls::{Call, Threads};
use crate::capture::{self, Replay, Writer};
use crate::cli::{Format, Look, Run};
use crate::lab;
use crate::report::{self, Found, Jsonl, Judged, KnownCalls, Named, RunSummary, Style};
use crate::session::{Keep, Memory, Session};
use crate::story::{Account, Diagnosis, Story};

use backend::Backend;
use chains::Chains;
use ending::{Status, unstarted};
use following::Following;
use place::Place;
use saving::Partial;
use watching::{Heard, Keeps, Plan, watch};
use witnesses::{Packets, Said, Witnesses};

pub(super) fn run(options: &Run, look: &Look) -> Result<Outcome, Failure> {
    let inherited = Inherited::now();
    let plan = Plan::of(options)?;
    let mut backend = Backend::of(options)?;
    let expected = Expected::of(&options.expectations)?;
    if let Some(path) = &options.save {
        Writer::check(path)?;
    }
    // The command gets the limit that tcpflow was started with.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    may_open(LEAST_FILES)?;
    let memory = memory::of(options.memory);
    let signals = watching::Signals::catch(&plan)?;

    // In a namespace of its own others' files have no owner.
    let mut unprivileged = Vec::new();
    if !geteuid().is_root() {
        let names = plan.programs().iter().filter_map(|words| words.first());
        unprivileged.extend(names.filter_map(|name| ending::unprivileged(&name.to_string_lossy())));
    }
    // In a namespace of its own the process may not.
    let tracepoints = kernel_trace::open();
    if options.isolated {
        lab::enter_namespace(None).map_err(|error| {
            Failure::new(format!("run --isolated: {error}; run it with sudo, or leave --isolated out"))
        })?;
    }
    let packets = if options.no_packets { Packets::Unwanted } else { Packets::Wanted };
    let mut witnesses = Witnesses::open(options.isolated, packets, memory.segments(), tracepoints);
    let acts_for = capture::acts_for();
    if !geteuid().is_root() {
        // A program with file capabilities may not be watched otherwise, nor what it starts.
        _ = prctl::set_dumpable(true);
    }
    let threads = Arc::new(Mutex::new(Threads::default()));
    // What is expected is held against all of it.
    let is_told_only = options.follow && options.save.is_none() && expected.is_empty();
    let keeps = if is_told_only { Keeps::Nothing } else { Keeps::Calls };
    let heard = Heard::new(witnesses.ours(), memory.call_events(), keeps).with_signals(&signals);
    let mut tracer = Tracer::new(&threads, |activity| heard.hear(activity, &threads));
    if options.stack {
        tracer = tracer.with_stacks();
    }
    inherited.keep_others();
    backend.prepare(&mut tracer, options.stack)?;
    for words in plan.programs() {
        let program = program(words, acts_for, limit)?;
        let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        match tracer.prepare(&program) {
            Err(why) if backend.may_give_way(options, why) && words == &plan.programs()[0] => {
                backend = Backend::Perf;
                let refused = unstarted(&name, why).0;
                backend.prepare(&mut tracer, options.stack).map_err(|_| refused)?;
                tracer.prepare(&program).map_err(|why| unstarted(&name, why).0)?;
            }
            prepared => _ = prepared.map_err(|why| unstarted(&name, why).0)?,
        }
    }
    unprivileged.retain(|_| backend == Backend::Ptrace);
    let joined = backend::join(&mut tracer, &options.pid)?;
    // The capture is open and the programs are attached to: nothing needs privilege any more. Into another user's process only root may look.
    capture::give_up_privilege_beside(acts_for.filter(|_| options.pid.is_empty()))?;
    let out = Place::open(options)?;
    let style = look::at(look, look::on(look, out.stream()), Some(witnesses.begun()));
    let mut place = Some(out);
    let partial = match &options.save {
        Some(path) => Partial::start(path, witnesses.interface())?,
        None => None,
    };
    let mut following = None;
    let mut hearer = None;
    let (partial, saver) = partial.unzip();
    saver.iter().for_each(|saver| heard.tell(saver.clone()));
    if let Some(out) = place.take_if(|_| options.follow) {
        let (started, to) = Following::start(out, options.format, style, memory, witnesses.point(), keeps)?;
        heard.tell(to.clone());
        (following, hearer) = (Some(started), Some(to));
    }
    // Whose packets are theirs is known by the sockets that processes had, before the first packet is looked at.
    if !options.pid.is_empty() {
        tracer.catch_up();
    }
    let chains = if options.pid.is_empty() { Chains::default } else { Chains::of_joined };
    witnesses.start(hearer.iter().cloned().chain(saver).collect(), backend, keeps, chains);
    witnesses.notices().iter().chain(&joined).chain(&unprivileged).for_each(complain);

    let status = watch(&mut tracer, &plan, &heard, &signals, &|until, lost| {
        witnesses.pass(until);
        heard.misses(lost);
    });
    if !options.follow {
        memory::keep_freed();
    }
    witnesses.finish();
    let mut notices: Vec<String> = tracer.notices().iter().map(ending::notice).collect();
    if let Some(dropped) = witnesses.dropped().filter(|dropped| options.follow && *dropped > 0) {
        notices
            .push(format!("{dropped} frames were dropped by the kernel's capture buffer: segments are missing above"));
    }
    let (calls, lost_records) = (tracer.calls(), tracer.lost());
    notices.extend(ending::unfollowed(tracer.unfollowed()));
    drop(tracer);
    if lost_records > 0 {
        notices.push(format!(
            "{lost_records} records of calls were lost, as they came faster than they were read: calls are missing, or have no end{}",
            if options.pid.is_empty() { "; --exact loses none" } else { "" }
        ));
    }
    if let Some(hearer) = hearer.take() {
        for answer in witnesses.evidence() {
            _ = hearer.send(lab::Heard::Answer(answer.clone()));
        }
    }
    heard.fall_silent();
    let told = heard.into_calls();
    notices.extend(witnesses.notices());
    if told.left_out > 0 {
        notices.push(format!("{} more calls were made than --memory has room for: they are not told", told.left_out));
    }
    if told.alike > 0 {
        notices.push(format!(
            "{} more receives returned 0 on a socket that had already returned 0 a hundred times: they are not told",
            told.alike
        ));
    }
    notices.iter().for_each(complain);
    let missing = told.left_out + lost_records;
    let lost_calls = missing + told.alike;
    let summary = RunSummary {
        command: plan.command(),
        status: status.number(),
        calls,
        lost_calls,
        backend: backend.name(),
        packets: witnesses.has_packets(),
        kernel_trace: witnesses.kernel_trace(),
    };
    let calls = told.calls;
    let whole_story = |calls| story(calls, &witnesses, &threads, memory).lacking_calls(missing);
    let saved = options.save.as_ref().map(|path| {
        let threads = threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let saved =
            saving::save(path, &witnesses, &whole_story(calls.clone()), calls.clone(), threads, notices, lost_calls);
        saving::settle(saved, partial)
    });
    signals.done();
    let (mut out, written) = match (following, place) {
        (Some(following), _) => {
            let (mut out, story) = following.finish();
            let written = story.and_then(|(story, found)| {
                let story = story.lacking_calls(missing).lacking_packets(!witnesses.has_packets());
                let judged = expected.judge(&story, KnownCalls::AllBut(lost_calls));
                let told = (Named::ByBirth, found);
                let concluded = Concluded::of(&story, &witnesses.said());
                let ended = end(&mut out, &story, &concluded, &judged, &summary, options.format, &style, told);
                mem::forget(story);
                ended.map(|()| judged)
            });
            (out, written)
        }
        (None, Some(mut out)) => {
            let story = whole_story(calls).lacking_packets(!witnesses.has_packets());
            let judged = expected.judge(&story, KnownCalls::AllBut(lost_calls));
            let said = witnesses.said();
            let written = whole(&mut out, &story, &said, &judged, &summary, options.format, &style).map(|()| judged);
            // The process is about to end: taking a long story apart would only take time.
            mem::forget(story);
            (out, written)
        }
        (None, None) => return Ok(Outcome::Incomplete),
    };
    let judged = written.and_then(|judged| out.flush().map(|()| judged)).map_err(|error| Failure::output(&error))?;
    out.finish()?;
    if let Some(said) = saved.transpose()? {
        complain(&said);
    }
    if expected.outcome(&judged, "run")? == Outcome::NotHeld {
        return Ok(Outcome::NotHeld);
    }
    Ok(match status {
        Status::Program(status) => Outcome::Of(status),
        Status::Unstarted(failure, status) => {
            complain(&failure);
            Outcome::Of(status)
        }
    })
}

fn program(words: &[OsString], acts_for: Option<(u32, u32)>, limit: Option<(u64, u64)>) -> Result<Program, Failure> {
    let program = Program::new(words)
        .ok_or_else(|| Failure::new("run: there is no command: give it after --, as in: tcpflow run -- ./server"))?;
    let program = match acts_for {
        Some((uid, gid)) => program.run_by(uid, gid),
        None => program,
    };
    Ok(match limit {
        Some((soft, hard)) => program.with_files(soft, hard),
        None => program,
    })
}

/// The story of what was seen.
fn story(calls: Vec<Call>, witnesses: &Witnesses, threads: &Mutex<Threads>, memory: Memory) -> Story {
    let mut session =
        Session::new(Keep::First(memory.segments())).with_limits(memory.table()).with_room(memory.timeline());
    session.know_points(witnesses.point());
    let frames = witnesses.frames();
    let whole = session.run(&mut Replay::of(frames), |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
    debug_assert!(whole.is_ok(), "frames in memory cannot be damaged, and nothing is written");
    let threads = threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
    let session = session.with_kernel_events(Arc::clone(witnesses.kernel_events()));
    session.story(threads, calls, witnesses.evidence(), witnesses.dropped())
}

/// What is concluded from all of a story together.
struct Concluded {
    /// What calls and states say of the connections, where there are no packets to say more.
    accounts: Vec<Account>,
    diagnoses: Vec<Diagnosis>,
}

impl Concluded {
    fn of(story: &Story, said: &Said<'_>) -> Self {
        let sockets = story.sockets();
        let accounts = || if said.has_packets { Vec::new() } else { sockets.accounts(said.events, said.answers) };
        thread::scope(|scope| {
            let accounts = scope.spawn(accounts);
            let diagnoses = sockets.diagnoses();
            let accounts = accounts.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            Self { accounts, diagnoses }
        })
    }
}

/// Writes a timeline, and what stands at its end.
fn whole(
    out: &mut Place,
    story: &Story,
    said: &Said<'_>,
    judged: &[Judged],
    summary: &RunSummary,
    format: Format,
    style: &Style,
) -> io::Result<()> {
    // What comes after the events is found while they are written.
    let concluded = thread::scope(|scope| {
        let concluded = scope.spawn(|| Concluded::of(story, said));
        match format {
            Format::Text => report::timeline::write(out, story, &[], style, &Cores)?,
            Format::Jsonl => Jsonl::new(out).events(story)?,
        }
        Ok::<_, io::Error>(concluded.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    end(out, story, &concluded, judged, summary, format, style, (Named::ByOrder, Found::default()))
}

/// Writes what stands at the end: what seems wrong and was not told before, and how the run ended.
#[expect(clippy::too_many_arguments, reason = "each is a part of what is written")]
fn end(
    out: &mut Place,
    story: &Story,
    Concluded { accounts, diagnoses }: &Concluded,
    judged: &[Judged],
    summary: &RunSummary,
    format: Format,
    style: &Style,
    (named, before): (Named, Found),
) -> io::Result<()> {
    match format {
        Format::Text => {
            report::accounts(out, story, accounts, style)?;
            report::diagnoses(out, story, diagnoses, before, style)?;
            report::assertions(out, story, judged, style)?;
            report::run(out, story, summary, style)
        }
        Format::Jsonl => {
            let mut lines = Jsonl::new(out);
            lines.diagnoses(story, diagnoses, named)?;
            lines.totals(&story.totals)?;
            lines.accounts(story, accounts, named)?;
            lines.assertions(story, judged, named)?;
            lines.run(summary)
        }
    }
}
