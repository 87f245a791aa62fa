//! The actors of an experiment, each in a thread of its own.

use std::net::SocketAddr;
use std::sync::mpsc;
use std::thread;

use nix::errno::Errno;

use super::echo;
use super::error::LabError;
use super::heard::Heard;
use super::host::{self, Reservation};
use super::scenario::{Play, Scenario};
use super::stage::{Failure, Stage};
use super::supervision::{LOOK, STUCK, Supervision};
use crate::calls::{Call, Recorder, Whereabouts};

/// Plays the scenario to its end, or until it is interrupted or stuck, and returns the calls of all actors and what went wrong.
pub(super) fn play(stage: &Stage<'_>, reservation: Reservation) -> (Vec<Call>, Vec<(String, Failure)>) {
    let mut parts: Vec<(String, &Whereabouts, Part<'_>)> = Vec::new();
    let mut unused = Some(reservation);
    if stage.scenario.play != Play::Refused
        && let Some(reservation) = unused.take()
    {
        let part: Part<'_> = Box::new(|calls| echo::serve(stage, calls, reservation));
        parts.push(("echo-server".to_owned(), &stage.server, part));
    }
    for (index, client) in stage.clients.iter().enumerate() {
        let name = match stage.clients.len() {
            1 => "echo-client".to_owned(),
            _ => format!("echo-client-{}", index + 1),
        };
        let part: Part<'_> = match stage.scenario.play {
            Play::Refused => Box::new(|calls| echo::knock(stage, calls)),
            Play::Echo | Play::EchoAndStartAgain => Box::new(|calls| echo::visit(stage, calls, client)),
        };
        parts.push((name, &client.whereabouts, part));
    }

    let mut calls = Vec::new();
    let mut failures = Vec::new();
    thread::scope(|scope| {
        let (done, finished) = mpsc::channel();
        let processor = host::this_processor();
        let mut actors = Vec::new();
        for (name, whereabouts, part) in parts {
            let (to_us, actor) = (done.clone(), name.clone());
            let spawned = thread::Builder::new().name(name.clone()).spawn_scoped(scope, move || {
                host::stay_on(processor);
                let played = act(stage, whereabouts, part);
                drop(to_us.send((actor, played)));
            });
            match spawned {
                Ok(actor) => actors.push(actor),
                Err(_) => drop(done.send((name, (Vec::new(), Err(("clone", Errno::EAGAIN)))))),
            }
        }
        drop(done);
        let mut supervision = Supervision::begin();
        loop {
            match finished.recv_timeout(LOOK) {
                Ok((name, (more, result))) => {
                    calls.extend(more);
                    if let Err(failure) = result {
                        // The first to fail is the cause; the others fail because it ended the play.
                        failures.push((name, failure));
                        stage.end();
                    }
                }
                Err(mpsc::RecvTimeoutError::Timeout) => {}
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
            }
            supervision.look(stage);
        }
        // The scope alone would wait for their last word, not for their end.
        for actor in actors {
            actor.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        }
    });
    (calls, failures)
}

/// Starts a second server on the port of the first, in a thread of its own.
pub(super) fn start_again(stage: &Stage<'_>) -> (Vec<Call>, Result<(), Failure>) {
    let whereabouts = Whereabouts::default();
    let part: Part<'_> = Box::new(|calls| echo::start_again(stage, calls));
    thread::scope(|scope| {
        let actor = thread::Builder::new()
            .name("second-server".to_owned())
            .spawn_scoped(scope, || act(stage, &whereabouts, part));
        match actor.map(thread::ScopedJoinHandle::join) {
            Ok(Ok(played)) => played,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => (Vec::new(), Err(("clone", Errno::EAGAIN))),
        }
    })
}

/// What one actor does.
type Part<'a> = Box<dyn FnOnce(&mut Recorder<'_>) -> Result<(), Failure> + Send + 'a>;

/// Plays one part in this thread, and returns its calls too when it failed.
fn act(stage: &Stage<'_>, whereabouts: &Whereabouts, part: Part<'_>) -> (Vec<Call>, Result<(), Failure>) {
    let mut calls = Recorder::of_this_thread(&stage.threads, whereabouts);
    if stage.is_heard() {
        stage.tell_threads();
        calls = calls.heard_by(|activity| stage.tell(|| Heard::Call(activity)));
    }
    let result = part(&mut calls);
    (calls.into_calls(), result)
}

/// What went wrong with a call, in words of whoever started the experiment.
pub(super) fn failed(scenario: &Scenario, address: SocketAddr, actor: &str, call: &str, errno: Errno) -> LabError {
    LabError::new(match (call, errno) {
        ("bind" | "listen", Errno::EADDRINUSE) => {
            format!(
                "port {} was taken by somebody else meanwhile: run it again, or choose one with --port",
                address.port()
            )
        }
        (_, Errno::EINTR) => format!(
            "nothing happened for {} s while {actor} waited in {call} on {address}: does a firewall drop local traffic?",
            STUCK.as_secs()
        ),
        ("bind", Errno::EACCES) => {
            format!(
                "port {} is only for root, and root was given up: choose one from 1024 on with --port",
                scenario.port
            )
        }
        _ => format!("{call} of {actor} on {address} failed with {errno:?}: {}", errno.desc()),
    })
}
