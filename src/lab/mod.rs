//! Experiments on the real kernel: scripts of calls on both ends, captured and recorded.

mod actor;
mod addresses;
mod aftermath;
mod catalog;
mod check;
mod comparison;
mod definition;
mod director;
mod echo;
mod error;
mod flagged;
mod heard;
mod host;
mod member;
mod merged;
mod named;
mod need;
mod netlink;
mod network;
mod opening;
mod playing;
mod process;
mod recording;
mod relay;
mod rules;
mod scenario;
mod stage;
mod supervision;
mod tap;
mod told;
mod traced;
mod trial;
mod watched;

use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, PoisonError};
use std::{mem, thread};

use nix::unistd::Pid;

use crate::capture::{Frame, OwnedFrame, Tape};
use crate::report::counted;
use crate::wire::Decoder;

pub use addresses::{End, Lane};
pub use aftermath::{longest_wait, watch_time_wait};
pub use catalog::{CATALOG, ECHO, Entry, template};
pub use check::{Check, check};
pub use comparison::Summary;
pub use definition::{Definition, LinkSetting, Setting, Words};
pub use error::LabError;
pub use flagged::{FLAGS, Flag, Flagged, Times};
pub use heard::Heard;
#[cfg(test)]
pub(crate) use host::in_own_network;
pub use host::{Ground, enter_namespace};
pub use need::Need;
pub use recording::{Ends, Recording};
pub use relay::Crossing;
pub use scenario::{Loopback, Play, Retry, Scenario};
pub use trial::{Trial, try_out};

use opening::Opened;
use playing::{failed, play, start_again};
use recording::{ends_of, own_frames};
use stage::{Stage, Traffic};

/// Plays `scenario` as [`run`] does, while `hear`, in a thread of its own, hears what the witnesses see; returns what that returns.
///
/// Nothing is left out of what is heard, nor of the recording: who else connects to the scenario's port is part of it.
///
/// # Errors
/// As [`run`]; what was heard until then ends without [`Heard::Over`].
pub fn run_heard<T: Send>(scenario: &Scenario, hear: impl FnOnce(Receiver<Heard>) -> T + Send) -> Result<T, LabError> {
    thread::scope(|scope| {
        let mut hearing = None;
        let mut to_hearer = None;
        let begin = || {
            let (tell, told) = mpsc::channel();
            let thread = thread::Builder::new().name("timeline".to_owned()).spawn_scoped(scope, move || hear(told));
            hearing = Some(thread.map_err(|error| LabError::new(format!("no thread to tell it: {error}")))?);
            to_hearer = Some(tell.clone());
            Ok(Some(tell))
        };
        let played = perform(scenario, begin);
        if let (Ok(recording), Some(tell)) = (&played, to_hearer.take()) {
            // Whoever has stopped listening has failed, and says so itself.
            _ = tell.send(Heard::Over(Box::new(recording.clone())));
        }
        let heard = hearing.map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        played.and_then(|_| heard.ok_or_else(|| LabError::new("it was not begun".to_owned())))
    })
}

/// Plays `scenario` on the real kernel and returns what was seen.
///
/// It must be called once in the life of a process, before there is a second thread: it may move the process into a network namespace
/// of its own, and gives up root and capabilities for good as soon as the capture is open.
///
/// # Errors
/// When the capture cannot be opened, no namespace may be made, or a call fails that should not.
pub fn run(scenario: &Scenario) -> Result<Recording, LabError> {
    perform(scenario, || Ok(None))
}

/// Plays `scenario`; `begin` says who hears of it, once threads may begin.
fn perform(
    scenario: &Scenario,
    begin: impl FnOnce() -> Result<Option<Sender<Heard>>, LabError>,
) -> Result<Recording, LabError> {
    scenario::check(scenario)?;
    let mut notices = Vec::new();
    let Opened { live, markers, reservation, claim, ground } = opening::open(scenario, &mut notices)?;
    host::give_up_privilege(ground, reservation.address.port(), &scenario.successor)?;
    let address = reservation.address;
    if scenario.port != 0 && address.port() != scenario.port {
        notices.push(format!("port {} is busy: port {} is used instead", scenario.port, address.port()));
    }
    if scenario.play != Play::Refused && scenario.messages.iter().any(Vec::is_empty) {
        notices.push(
            "a message of 0 octets is sent as a call, but puts no segment on the wire: there is nothing to echo"
                .to_owned(),
        );
    }

    let hearer = begin()?;
    let seen = Arc::new(Traffic::default());
    let mut decoder = Decoder::new();
    let count = {
        let (seen, hearer) = (seen.clone(), hearer.clone());
        let mut number = 0;
        move |frame: &Frame<'_>| {
            number += 1;
            if let Some(hearer) = &hearer {
                _ = hearer.send(Heard::Frame(OwnedFrame { number, ..OwnedFrame::of(frame) }));
            }
            // What is not TCP is no traffic of ours.
            let _ = decoder.decode(frame, |segment, _| seen.add(u64::from(segment.len > 0), segment.len.into()));
            true
        }
    };
    let tape = Tape::start(live, markers, count).map_err(|error| LabError::new(error.message))?;
    let stage = Stage::of(scenario, address, seen, hearer);
    let unkept = || process::counters(Pid::this()).get(NOT_KEPT).copied().unwrap_or(0);
    let unkept_before = unkept();
    let (mut calls, failures) = play(&stage, reservation);
    let interrupted = scenario.interrupt.load(Ordering::Acquire);
    if let (Some((actor, (call, errno))), false) = (failures.first(), interrupted) {
        return Err(failed(scenario, address, actor, call, *errno));
    }

    let ends = ends_of(&calls);
    let answers = scenario.play == Play::Refused || stage.sock_diag_answers.load(Ordering::Acquire);
    let mut evidence = mem::take(&mut *stage.evidence.lock().unwrap_or_else(PoisonError::into_inner));
    if answers {
        match aftermath::final_states(&ends, &scenario.interrupt) {
            Ok(found) => {
                found.iter().for_each(|answer| stage.tell(|| Heard::Answer(answer.clone())));
                evidence.extend(found);
            }
            Err(errno) => {
                notices.push(format!("sock_diag does not answer ({}): final states are inferred", errno.desc()))
            }
        }
    } else if !interrupted {
        notices.push(
            "sock_diag does not answer (is the kernel's module tcp_diag missing?): final states are inferred"
                .to_owned(),
        );
    }
    if scenario.play == Play::EchoAndStartAgain && !interrupted {
        let (more, result) = start_again(&stage);
        calls.extend(more);
        if let Err((call, errno)) = result {
            return Err(failed(scenario, address, "second-server", call, errno));
        }
        // Its listening socket came and went after the other questions were asked.
        if answers && let Ok(answer) = aftermath::listener(address) {
            stage.tell(|| Heard::Answer(answer.clone()));
            evidence.push(answer);
        }
    }
    drop(claim);
    let unkept = unkept().saturating_sub(unkept_before);
    if unkept > 0 {
        notices.push(format!(
            "as many sockets are in TIME-WAIT as net.ipv4.tcp_max_tw_buckets allows: the kernel kept none for {} of this host meanwhile ({NOT_KEPT})",
            counted(unkept, "further connection")
        ));
    }
    let (frames, capture) = tape.stop().map_err(|error| LabError::new(error.message))?;
    if !capture.drained {
        notices.push(format!("the capture's end was not seen: frames may be missing ({} dropped)", capture.dropped));
    } else if capture.dropped > 0 {
        notices.push(format!("the kernel dropped {} packets of the capture", capture.dropped));
    }
    let (frames, foreign) = if stage.is_heard() { (frames, 0) } else { own_frames(frames, &ends) };
    if foreign > 0 {
        notices.push(format!("{foreign} frames of other connections to {address} were left out"));
    }
    let strangers = calls.len();
    let is_heard = stage.is_heard();
    calls.retain(|call| {
        is_heard || call.accepted().is_none() || ends.iter().any(|ends| Some(ends.client) == call.peer())
    });
    if calls.len() < strangers {
        notices.push(format!("{} connections of other programs to {address} were closed", strangers - calls.len()));
    }
    calls.sort_by_key(|call| call.entered);
    let interrupt = scenario.interrupt.clone();
    let threads = stage.threads.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Recording { frames, threads, calls, evidence, ends, address, capture, ground, notices, interrupted, interrupt })
}

/// The kernel's counter of sockets that it did not keep in TIME-WAIT because there were too many.
const NOT_KEPT: &str = "TCPTimeWaitOverflow";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_played_is_said_before_anything_is_touched() {
        let said = |scenario: Scenario| run(&scenario).unwrap_err().to_string();
        assert!(said(Scenario { address: "192.0.2.1".parse().unwrap(), ..Scenario::default() }).contains("loopback"));
        assert!(said(Scenario { mtu: Some(87), ..Scenario::default() }).contains("88"));
        let six = Scenario { mtu: Some(1279), address: "::1".parse().unwrap(), ..Scenario::default() };
        assert!(said(six).contains("1280"));
        for clients in [0, 101] {
            assert!(said(Scenario { clients, ..Scenario::default() }).contains("1 to 100 clients"));
        }
        assert!(said(Scenario { mtu: Some(1500), loopback: Loopback::Host, ..Scenario::default() }).contains("MTU"));
    }
}
