//! `tcpflow run`: any program, its calls joined to its packets and to the states of its sockets.

mod ending;
mod ours;
mod watching;
mod witnesses;

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use nix::sys::prctl;
use nix::sys::resource::{Resource, getrlimit};
use nix::unistd::geteuid;

use super::files::{LEAST_FILES, may_open};
use super::look::Stream;
use super::{Failure, Outcome, complain, look, memory};
use crate::calls::Threads;
use crate::calls::traced::{Inherited, Program, Tracer};
use crate::capture::{self, NewFile, Replay};
use crate::cli::{Format, Look, Run};
use crate::lab;
use crate::report::{self, Jsonl};
use crate::session::{Keep, Session};
use crate::story::{Story, Timeline};

use ending::{Status, unstarted};
use watching::{Heard, Plan, watch};
use witnesses::Witnesses;

pub(super) fn run(options: &Run, look: &Look) -> Result<Outcome, Failure> {
    let inherited = Inherited::now();
    let plan = Plan::of(options)?;
    let mut out = Place::open(options)?;
    // The command gets the limit that tcpflow was started with.
    let limit = getrlimit(Resource::RLIMIT_NOFILE).ok();
    may_open(LEAST_FILES)?;
    let memory = memory::of(options.memory);
    let signals = watching::Signals::catch()?;

    if options.isolated {
        lab::enter_namespace(None).map_err(|error| {
            Failure::new(format!("run --isolated: {error}; run it with sudo, or leave --isolated out"))
        })?;
    }
    let mut witnesses = Witnesses::open(options.isolated, memory.segments());
    let acts_for = capture::acts_for();
    if !geteuid().is_root() {
        // A program with file capabilities may not be watched otherwise, nor what it starts.
        _ = prctl::set_dumpable(true);
    }
    let threads = Mutex::new(Threads::default());
    let heard = Heard::new(witnesses.ours(), memory.call_events());
    let mut tracer = Tracer::new(&threads, |activity| heard.hear(activity));
    inherited.keep_others();
    for words in plan.programs() {
        let program = program(words, acts_for, limit)?;
        let name = words.first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default();
        tracer.prepare(&program).map_err(|why| unstarted(&name, why).0)?;
    }
    // The capture is open and the programs are attached to: nothing needs privilege any more.
    capture::give_up_privilege_beside(acts_for)?;
    witnesses.start();
    for notice in witnesses.notices() {
        complain(&notice);
    }

    let status = watch(&mut tracer, &plan, &heard, &signals);
    witnesses.finish();
    for notice in tracer.notices() {
        complain(&ending::notice(&notice));
    }
    let calls = tracer.calls();
    drop(tracer);
    let told = heard.into_calls();
    for notice in witnesses.notices() {
        complain(&notice);
    }
    if told.left_out > 0 {
        complain(&format!("{} more calls were made than --memory has room for: they are not told", told.left_out));
    }

    if told.alike > 0 {
        complain(&format!(
            "{} more receives returned 0 on a socket that had already returned 0 a hundred times: they are not told",
            told.alike
        ));
    }

    let mut session =
        Session::new(Keep::First(memory.segments())).with_limits(memory.table()).with_room(memory.timeline());
    let frames = witnesses.frames();
    let whole = session.run(&mut Replay::of(frames), |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
    debug_assert!(whole.is_ok(), "frames in memory cannot be damaged, and nothing is written");
    let (timeline, connections, totals): (Timeline, _, _) =
        session.timeline(told.calls, witnesses.evidence(), witnesses.dropped());
    let threads = threads.into_inner().unwrap_or_else(PoisonError::into_inner);
    let story = timeline.finish(connections, threads, totals);
    let summary = report::RunSummary {
        command: plan.command(),
        status: status.number(),
        calls,
        lost_calls: told.left_out + told.alike,
        backend: "ptrace",
        packets: witnesses.has_packets(),
    };
    let written = write(&mut out, &story, &summary, options.format, look, witnesses.begun());
    written.and_then(|()| out.finish())?;
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

/// Where the timeline goes.
enum Place {
    Errors,
    Output,
    File(NewFile),
}

impl Place {
    fn open(options: &Run) -> Result<Self, Failure> {
        Ok(match options.output.as_deref() {
            None => Self::Errors,
            Some(path) if path == Path::new("-") => Self::Output,
            Some(path) => Self::File(NewFile::create(path)?),
        })
    }

    fn stream(&self) -> Stream {
        match self {
            Self::Errors => Stream::Errors,
            Self::Output => Stream::Output,
            Self::File(_) => Stream::File,
        }
    }

    fn finish(self) -> Result<(), Failure> {
        match self {
            Self::File(mut file) => Ok(file.finish()?),
            Self::Errors | Self::Output => Ok(()),
        }
    }
}

fn write(
    out: &mut Place,
    story: &Story,
    summary: &report::RunSummary,
    format: Format,
    look: &Look,
    begun: crate::time::Timestamp,
) -> Result<(), Failure> {
    let style = look::at(look, look::on(look, out.stream()), Some(begun));
    let mut text = Vec::new();
    let found = story.diagnoses();
    let told = match format {
        Format::Text => report::timeline::write(&mut text, story, &[], &style)
            .and_then(|()| report::diagnoses(&mut text, story, &found, &style))
            .and_then(|()| report::run(&mut text, story, summary, &style)),
        Format::Jsonl => {
            let mut lines = Jsonl::new(&mut text);
            lines.story(story).and_then(|()| lines.diagnoses(story, &found)).and_then(|()| lines.run(summary))
        }
    };
    told.map_err(|error| Failure::output(&error))?;
    match out {
        // Where nobody reads standard error, that is no failure.
        Place::Errors => {
            _ = io::stderr().write_all(&text);
            Ok(())
        }
        Place::Output => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(&text).and_then(|()| stdout.flush()).map_err(|error| Failure::output(&error))
        }
        Place::File(file) => {
            let file: &mut File = file.file();
            file.write_all(&text).map_err(|error| Failure::new(format!("the timeline cannot be written: {error}")))
        }
    }
}
