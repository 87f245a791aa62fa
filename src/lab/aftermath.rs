//! What is left of a connection after its last call: the kernel is asked until both ends are final, and on demand until TIME-WAIT is over.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::host::any_like;
use super::{Ends, LabError, Recording};
use crate::kernel::{Answer, SockDiag};
use crate::tcp::State;
use crate::time::Span;

/// Asks about both ends of each connection once both are final: CLOSED, or in TIME-WAIT. What is not final within a second is told as it is.
///
/// At last it asks whether anybody still listens where they connected.
pub(super) fn final_states(ends: &[Ends], interrupt: &AtomicBool) -> Result<Vec<Answer>, Errno> {
    let mut kernel = SockDiag::open()?;
    let deadline = Instant::now() + Duration::from_secs(1);
    let mut evidence = Vec::with_capacity(2 * ends.len());
    for Ends { client, server } in ends {
        loop {
            let both = [kernel.lookup(*client, *server)?, kernel.lookup(*server, *client)?];
            let settled = both.iter().all(|end| matches!(end.state, None | Some(State::TimeWait)));
            if settled || Instant::now() >= deadline || interrupt.load(Ordering::Acquire) {
                evidence.extend(both);
                break;
            }
            thread::yield_now();
        }
    }
    let mut servers: Vec<SocketAddr> = ends.iter().map(|ends| ends.server).collect();
    servers.dedup();
    for server in servers {
        evidence.push(listener(server)?);
    }
    Ok(evidence)
}

/// Asks whether a socket listens on `address`.
///
/// # Errors
/// When the kernel does not answer.
pub(super) fn listener(address: SocketAddr) -> Result<Answer, Errno> {
    SockDiag::open()?.lookup(address, any_like(address))
}

/// Follows the sockets that the recording left in TIME-WAIT until the kernel has removed them, or `on_tick` breaks off.
///
/// `on_tick` gets the answers as they are asked for: at first, about every second, and at last one whose state is `None`, asked within
/// 50 ms of the removal. It is called in the network namespace of the run, by the thread that calls this.
///
/// # Errors
/// When the kernel does not answer.
pub fn watch_time_wait(
    recording: &Recording,
    mut on_tick: impl FnMut(&Answer) -> ControlFlow<()>,
) -> Result<(), LabError> {
    let unanswered = |errno: Errno| LabError::new(format!("sock_diag does not answer: {}", errno.desc()));
    let mut waiting: Vec<(SocketAddr, SocketAddr)> = recording
        .evidence
        .iter()
        .filter(|evidence| evidence.state == Some(State::TimeWait))
        .map(|evidence| (evidence.local, evidence.peer))
        .collect();
    waiting.sort_unstable();
    waiting.dedup();
    let mut kernel = SockDiag::open().map_err(unanswered)?;
    let mut told = Instant::now() - TICK;
    while !waiting.is_empty() {
        let tick = told.elapsed() >= TICK;
        if tick {
            told = Instant::now();
        }
        let mut still = Vec::with_capacity(waiting.len());
        for (local, peer) in waiting {
            let evidence = kernel.lookup(local, peer).map_err(unanswered)?;
            // Another connection may have taken the 4-tuple over: then this one is gone, too.
            let evidence = match evidence.state {
                Some(State::TimeWait) => evidence,
                _ => Answer { state: None, timer: None, inode: 0, uid: 0, ..evidence },
            };
            if evidence.state.is_some() {
                still.push((local, peer));
            }
            if (tick || evidence.state.is_none()) && on_tick(&evidence).is_break() {
                return Ok(());
            }
        }
        waiting = still;
        if !waiting.is_empty() {
            if recording.interrupt.load(Ordering::Acquire) {
                return Ok(());
            }
            thread::sleep(POLL);
        }
    }
    Ok(())
}

/// What the longest TIME-WAIT of `evidence` has left.
pub fn longest_wait(evidence: &[Answer]) -> Option<Span> {
    evidence
        .iter()
        .filter(|evidence| evidence.state == Some(State::TimeWait))
        .filter_map(|evidence| evidence.timer.map(|timer| timer.remaining))
        .max()
}

const TICK: Duration = Duration::from_secs(1);
/// How often the kernel is asked; an answer costs some ten microseconds.
const POLL: Duration = Duration::from_millis(25);
