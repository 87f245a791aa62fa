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

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;

    /// A server that nobody ever connects to: as long as a call has returned within the time it goes on, and then it is ended.
    #[test]
    fn actors_that_wait_without_end_are_ended_and_that_is_said() {
        let scenario = Scenario::default();
        let (reservation, _claim) = Reservation::of(Ipv4Addr::LOCALHOST.into(), 0).expect("a free port");
        let address = reservation.address;
        let stage = Stage::of(&scenario, address, Arc::default(), None);
        let part: Part<'_> = Box::new(|calls| echo::serve(&stage, calls, reservation));
        let looks = STUCK.as_millis() / LOOK.as_millis();
        let (calls, played) = thread::scope(|scope| {
            let server = scope.spawn(|| act(&stage, &stage.server, part));
            stage.wait_for_accept().expect("the play is not over");
            let mut supervision = Supervision::begin();
            (0..looks).for_each(|_| supervision.look(&stage));
            assert!(!stage.is_over(), "at the bound");
            // Somebody on this host connects who is no client: an accept returns, and the next one begins.
            stage.connected.store(stage.clients.len(), Ordering::Release);
            let before = stage.progress();
            drop(std::net::TcpStream::connect(address).expect("the server listens"));
            while stage.progress() == before {
                thread::yield_now();
            }
            (0..looks).for_each(|_| supervision.look(&stage));
            assert!(!stage.is_over(), "something has happened");
            supervision.look(&stage);
            assert!(stage.is_over());
            while !server.is_finished() {
                supervision.look(&stage);
                thread::sleep(Duration::from_millis(1));
            }
            server.join().expect("no panic")
        });
        let (call, errno) = played.expect_err("it was ended");
        assert_eq!((call, errno), ("accept", Errno::EINTR), "{calls:?}");
        let said = failed(&scenario, address, "echo-server", call, errno).to_string();
        assert!(
            said.starts_with("nothing happened for 5 s while echo-server waited in accept on 127.0.0.1:"),
            "{said}"
        );
    }
}
