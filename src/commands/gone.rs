//! Connections of which the kernel has no socket any more, though no segment has shown their end: what is followed forgets these, too.

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use crate::capture::interfaces;
use crate::flow::ConnectionId;
use crate::kernel::{Answer, SockDiag, now};
use crate::session::Session;
use crate::story::Witnessed;
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// Asks the kernel about connections that were quiet for long, in turn.
pub(super) struct Gone {
    kernel: SockDiag,
    /// The addresses of this host; the sockets of others are not asked for.
    hosts: HashSet<IpAddr>,
    asked: Option<Timestamp>,
    trimmed: Option<Timestamp>,
    /// The last one that was asked about.
    last: Option<ConnectionId>,
    /// Those of which there was no socket, when that was, and what the kernel said.
    suspects: VecDeque<Suspect>,
}

struct Suspect {
    id: ConnectionId,
    ends: [SocketAddr; 2],
    at: Timestamp,
    answers: Vec<Answer>,
}

impl Gone {
    /// Nobody was asked about yet; `None` where the kernel does not answer.
    pub(super) fn open() -> Option<Self> {
        let addresses = interfaces().into_iter().flatten().flat_map(|interface| interface.addresses);
        let hosts = addresses.map(|address| address.addr.to_canonical()).collect();
        let kernel = SockDiag::open().ok()?;
        Some(Self { kernel, hosts, asked: None, trimmed: None, last: None, suspects: VecDeque::new() })
    }

    /// Whether it is time to give memory that is not needed any more back to the system: what a busy moment took is not taken for good.
    pub(super) fn is_time_to_trim(&mut self, until: Timestamp) -> bool {
        let is_time = self.trimmed.is_none_or(|trimmed| until.since(trimmed) >= TRIMS);
        if is_time {
            self.trimmed = Some(until);
        }
        is_time
    }

    /// Asks about some, where it is time to, and has the session know which are gone; all that happened until `until` was told to it.
    pub(super) fn pass(&mut self, until: Timestamp, session: &mut Session) {
        while self.suspects.front().is_some_and(|suspect| until.since(suspect.at) >= UNTOLD) {
            let Some(Suspect { id, ends, at, answers }) = self.suspects.pop_front() else { break };
            answers.into_iter().for_each(|answer| session.hear(Witnessed::Answered(answer)));
            session.gone(id, ends, at);
        }
        if self.asked.is_some_and(|asked| until.since(asked) < OFTEN) || !self.suspects.is_empty() {
            return;
        }
        self.asked = Some(until);
        let quiet = session.quiet(self.last, until.after(Span(-QUIET.0)));
        self.last = quiet.last().map(|(id, _)| *id);
        for (id, ends) in quiet {
            let at = now();
            if let Some(answers) = self.ask(ends) {
                self.suspects.push_back(Suspect { id, ends, at, answers });
            }
        }
    }

    /// What the kernel says of the ends that are on this host, if that is that there is no socket but in TIME-WAIT.
    fn ask(&mut self, [client, server]: [SocketAddr; 2]) -> Option<Vec<Answer>> {
        let mut answers = Vec::new();
        for (local, peer) in [(client, server), (server, client)] {
            if local.ip().is_loopback() || self.hosts.contains(&local.ip().to_canonical()) {
                let answer = self.kernel.lookup(local, peer).ok()?;
                if !matches!(answer.state, None | Some(State::TimeWait)) {
                    return None;
                }
                answers.push(answer);
            }
        }
        (!answers.is_empty()).then_some(answers)
    }
}

/// How long a connection is quiet before the kernel is asked about it.
const QUIET: Span = Span::from_millis(3000);
/// How often memory is given back.
const TRIMS: Span = Span::from_millis(2000);
/// How often the kernel is asked.
const OFTEN: Span = Span::from_millis(500);
/// How long it may take a segment that was captured to be told.
const UNTOLD: Span = Span::from_millis(1000);
