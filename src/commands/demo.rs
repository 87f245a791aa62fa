//! `tcpflow demo`: an experiment on the real kernel, told as one timeline.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::ops::ControlFlow;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::expected::{self, Expected};
use super::experiment::Experiment;
use super::interrupt::{Interrupt, NOT_ALL, TOLD_AFTER_AN_INTERRUPT};
use super::outlet::Outlet;
use super::{Failure, Outcome, complain, follow, look, memory, scenario};
use crate::calls::Kept;
use crate::capture::{Successor, Writer};
use crate::cli::{Demo, End, Format, Look, Retry};
use crate::flow::{Connection, Side, Totals};
use crate::lab::{self, Loopback, Play, Recording, Scenario};
use crate::report::{self, Jsonl, KnownCalls, Named, Style};
use crate::session::{Keep, Memory, Session};
use crate::story::{Point, Timeline, Witnessed};

pub(super) fn run(options: &Demo, look: &Look) -> Result<Outcome, Failure> {
    match &options.new {
        _ if options.list => scenario::list(options, look),
        _ if !options.compare.is_empty() => scenario::compare(&options.compare, look),
        _ if options.all => scenario::all(options, look),
        Some(name) => scenario::new(name),
        None if options.scenario == lab::ECHO && options.set.is_empty() => echo(options, look),
        None => scenario::play(&options.scenario, options, look),
    }
}

fn echo(options: &Demo, look: &Look) -> Result<Outcome, Failure> {
    if let Some(path) = &options.save {
        Writer::check(path)?;
    }
    let expected = Expected::of(&options.expectations)?;
    let demo = Experiment { options, interrupt: &Interrupt::catch()?, expected: &expected };
    let memory = memory::of(options.memory);
    let style = look::at(look, look::style(look), Some(crate::kernel::now()));
    let scenario = scenario(options, demo.interrupt.flag());
    let failed = |error| Failure::new(format!("demo: {error}"));
    if options.follow {
        let told = lab::run_heard(&scenario, |told| follow::tell(&told, &demo, &style, memory));
        return told.map_err(failed)?;
    }
    tell(&demo, &lab::run(&scenario).map_err(failed)?, memory, style)
}

/// Tells what was recorded, as one page.
fn tell(demo: &Experiment<'_>, recording: &Recording, memory: Memory, mut style: Style) -> Result<Outcome, Failure> {
    let options = demo.options;
    for notice in &recording.notices {
        complain(notice);
    }
    let mut out = Outlet::open();
    let mut evidence = recording.evidence.clone();
    demo.interrupt.limit_telling();
    let mut until = demo.interrupt.until(Box::new(&mut out));
    let Heard { mut timeline, connections, totals } = hear(recording, memory);
    let threads = || recording.threads.clone();
    // What is known is told before the wait, and the rest of the same timeline after it.
    let (mut told, mut stayed) = (Ok(0), true);
    if let Some(longest) = lab::longest_wait(&recording.evidence).filter(|_| options.wait) {
        style.room_until = longest;
        if options.format == Format::Text {
            let story = timeline.clone().finish(connections.clone(), threads(), totals.clone());
            told = report::timeline::begin(&mut until, &story, &style);
            told = told.and_then(|drawn| until.flush().map(|()| drawn));
        }
        stayed = told.is_ok()
            && demo.wait(recording, &style, |answer| {
                timeline.take(Witnessed::Answered(answer.clone()));
                evidence.push(answer.clone());
                ControlFlow::Continue(())
            })?;
    }
    let story = timeline.finish(connections, threads(), totals);
    // A full disk must not cost the timeline, nor a reader that stalls or has gone the file.
    let (threads, calls) = (recording.threads.clone(), recording.calls.clone());
    let kept = Kept { threads, calls, evidence, kernel: Vec::new(), notices: recording.notices.clone(), lost: 0 };
    let saved = demo.save(recording, &story, &kept);
    let told = told.and_then(|drawn| match options.format {
        Format::Text => report::timeline::go_on(&mut until, &story, &style, drawn),
        Format::Jsonl => Jsonl::new(&mut until).story(&story),
    });
    let judged = demo.expected.judge(&story, KnownCalls::All);
    let told = told.and_then(|()| expected::tell(&mut until, &story, &judged, options.format, &style, Named::ByOrder));
    drop(until);
    if story.totals.evicted.segments > 0 && recording.interrupted {
        demo.interrupt.say_once(NOT_ALL);
    }
    let is_cut = demo
        .until_over(told)
        .and_then(|is_cut| out.finish().map(|()| is_cut))
        .map_err(|error| Failure::output(&error))
        .or_else(|failure| saved.clone().and(Err(failure)))?;
    saved?;
    demo.outcome(recording, &judged, stayed, is_cut)
}

/// What was recorded, as the timeline that may go on.
struct Heard {
    timeline: Timeline,
    connections: Vec<Connection>,
    totals: Totals,
}

fn hear(recording: &Recording, memory: Memory) -> Heard {
    let mut session =
        Session::new(Keep::First(memory.segments())).with_limits(memory.table()).with_room(memory.timeline());
    session.know_points([Point::live(&recording.capture.interface)]);
    let whole = session.run(&mut recording.source(), |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
    debug_assert!(whole.is_ok(), "frames in memory cannot be damaged, and nothing is written");
    if recording.interrupted {
        session.let_go_beyond(TOLD_AFTER_AN_INTERRUPT);
    }
    let dropped = Some(recording.capture.dropped);
    let (timeline, connections, totals) = session.timeline(recording.calls.clone(), &recording.evidence, dropped);
    Heard { timeline, connections, totals }
}

fn scenario(options: &Demo, interrupt: Arc<AtomicBool>) -> Scenario {
    let play = match (options.refused, options.rebind) {
        (true, _) => Play::Refused,
        (_, true) => Play::EchoAndStartAgain,
        _ => Play::Echo,
    };
    let messages = match (options.size, &options.message[..]) {
        (Some(size), _) => vec![Scenario::message_of(size as usize)],
        (None, []) => Scenario::default().messages,
        (None, messages) => messages.iter().map(|message| message.as_bytes().to_vec()).collect(),
    };
    let server_first = options.first_close == Some(End::Server) || options.rebind;
    Scenario {
        play,
        address: if options.ipv6 { IpAddr::V6(Ipv6Addr::LOCALHOST) } else { IpAddr::V4(Ipv4Addr::LOCALHOST) },
        port: options.port,
        messages,
        rounds: options.rounds,
        retry: options.retry.map(|socket| match socket {
            Retry::Same => lab::Retry::SameSocket,
            Retry::New => lab::Retry::NewSocket,
        }),
        first_close: if server_first { Side::Server } else { Side::Client },
        clients: options.clients.into(),
        mtu: options.mtu,
        loopback: if options.private { Loopback::OwnNamespace } else { Loopback::WherePermitted },
        successor: Successor {
            user: options.user.clone(),
            writes: options.save.as_ref().or(options.expectations.junit.as_ref()).cloned(),
        },
        interrupt,
    }
}
