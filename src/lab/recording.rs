//! What the witnesses saw of an experiment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::host::Ground;
use crate::calls::{Call, Effect, Threads};
use crate::capture::{CaptureStats, OwnedFrame, Replay};
use crate::kernel::Answer;
use crate::wire::Decoder;

/// Both ends of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Ends {
    /// The end that connected.
    pub client: SocketAddr,
    /// The end that accepted, or would have.
    pub server: SocketAddr,
}

/// What the three witnesses saw of an experiment.
#[derive(Clone, Debug)]
pub struct Recording {
    /// The frames on the wire, in the order of their capture, numbered from 1.
    pub frames: Vec<OwnedFrame>,
    /// The threads of all actors.
    pub threads: Threads,
    /// The calls of all threads, by time of entry.
    pub calls: Vec<Call>,
    /// What sock_diag said, by time: of each end that closed first, right afterwards; of both ends of each connection after the last call,
    /// the client's end first; and whether anybody still listened.
    pub evidence: Vec<Answer>,
    /// The connections, in the order in which they were asked for.
    pub ends: Vec<Ends>,
    /// Where the server listened, or where nobody did.
    pub address: SocketAddr,
    /// What the kernel counted of the capture.
    pub capture: CaptureStats,
    /// Whether it was played in an own namespace.
    pub ground: Ground,
    /// What the user should know: one line each.
    pub notices: Vec<String>,
    /// Whether it was ended early.
    pub interrupted: bool,
    pub(super) interrupt: Arc<AtomicBool>,
}

impl Recording {
    /// One of an experiment in which nothing was seen, with these notices.
    #[cfg(test)]
    pub(crate) fn of_nothing(notices: Vec<String>) -> Self {
        Self {
            frames: Vec::new(),
            threads: Threads::default(),
            calls: Vec::new(),
            evidence: Vec::new(),
            ends: Vec::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 7)),
            capture: CaptureStats::default(),
            ground: Ground::Host,
            notices,
            interrupted: false,
            interrupt: Arc::default(),
        }
    }

    /// The frames as a source.
    pub fn source(&self) -> Replay<'_> {
        Replay::of(&self.frames)
    }
}

/// The connections that were asked for, by the calls.
pub(super) fn ends_of(calls: &[Call]) -> Vec<Ends> {
    let mut connects: Vec<_> = calls.iter().filter(|call| call.effect() == Effect::Connect).collect();
    connects.sort_by_key(|call| call.entered);
    connects.into_iter().filter_map(|call| Some(Ends { client: call.local()?, server: call.peer()? })).collect()
}

/// The frames of these connections, numbered anew, and how many others there were: on a host's own loopback interface there may be
/// somebody else's.
pub(super) fn own_frames(frames: Vec<OwnedFrame>, ends: &[Ends]) -> (Vec<OwnedFrame>, usize) {
    let before = frames.len();
    let mut decoder = Decoder::new();
    let mut own: Vec<_> = frames
        .into_iter()
        .filter(|frame| {
            let mut ours = false;
            let skipped = decoder.decode(&frame.as_frame(), |segment, _| {
                let (from, to) = (segment.from(), segment.to());
                ours |= ends
                    .iter()
                    .any(|ends| (ends.client, ends.server) == (from, to) || (ends.server, ends.client) == (from, to));
            });
            // What is not understood is shown rather than judged away.
            ours || skipped.is_err()
        })
        .collect();
    for (frame, number) in own.iter_mut().zip(1..) {
        frame.number = number;
    }
    let foreign = before - own.len();
    (own, foreign)
}
