//! What the actors of an experiment know of one another: who waits where, so that each acts only when the other is seen to wait.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use super::Scenario;
use crate::calls::{Effect, Whereabouts};

/// The stage of one run.
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    /// Where the server listens, or nobody does.
    pub(super) address: SocketAddr,
    pub(super) server: Whereabouts,
    pub(super) clients: Vec<Client>,
    /// How many clients' connects have returned.
    pub(super) connected: AtomicUsize,
    /// How many clients' closes have returned.
    pub(super) gone: AtomicUsize,
    /// Set when the play is over early: interrupted, or an actor failed.
    pub(super) stop: AtomicBool,
    /// Whether the kernel's table of sockets showed the listening socket: otherwise its silence means nothing.
    pub(super) sock_diag_answers: AtomicBool,
    accepting: AtomicBool,
}

/// One client as the others see it.
#[derive(Default)]
pub(super) struct Client {
    pub(super) whereabouts: Whereabouts,
    /// Its own address, from when it is connected.
    pub(super) local: OnceLock<SocketAddr>,
}

impl<'a> Stage<'a> {
    pub(super) fn of(scenario: &'a Scenario, address: SocketAddr) -> Self {
        Self {
            scenario,
            address,
            server: Whereabouts::default(),
            clients: (0..scenario.clients).map(|_| Client::default()).collect(),
            connected: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            sock_diag_answers: AtomicBool::new(false),
            accepting: AtomicBool::new(false),
        }
    }

    pub(super) fn is_over(&self) -> bool {
        self.stop.load(Ordering::Acquire)
    }

    /// How many calls of all actors have returned: the measure of progress.
    pub(super) fn progress(&self) -> u64 {
        self.server.returned() + self.clients.iter().map(|client| client.whereabouts.returned()).sum::<u64>()
    }

    /// Waits until the server has been seen asleep in accept.
    pub(super) fn wait_for_accept(&self) {
        let mut stat = None;
        self.wait(ALWAYS, || {
            if sleeps(&self.server, Effect::Accept, &mut stat) {
                self.accepting.store(true, Ordering::Release);
            }
            self.accepting.load(Ordering::Acquire)
        });
    }

    /// Waits until `actor` is seen asleep in recv; only for so long, as nothing but the clarity of the picture depends on it.
    pub(super) fn wait_for_recv(&self, actor: &Whereabouts) {
        let mut stat = None;
        self.wait(COURTESY, || sleeps(actor, Effect::Receive, &mut stat));
    }

    /// Waits until every client is connected.
    pub(super) fn wait_for_all(&self) {
        self.wait(ALWAYS, || self.connected.load(Ordering::Acquire) >= self.clients.len());
    }

    /// Waits until every client has closed its socket.
    pub(super) fn wait_for_goodbyes(&self) {
        self.wait(ALWAYS, || self.gone.load(Ordering::Acquire) >= self.clients.len());
    }

    /// The client with that address, once its connect has returned; `None` when all are connected and it is none of them.
    pub(super) fn client_at(&self, address: SocketAddr) -> Option<&Client> {
        let find = || self.clients.iter().find(|client| client.local.get() == Some(&address));
        self.wait(ALWAYS, || find().is_some() || self.connected.load(Ordering::Acquire) >= self.clients.len());
        find()
    }

    /// Polls for `condition`, giving the processor away in between, until it holds, the play is over, or the limit is reached.
    fn wait(&self, limit: Duration, mut condition: impl FnMut() -> bool) {
        let deadline = Instant::now() + limit;
        while !condition() && !self.is_over() && Instant::now() < deadline {
            thread::yield_now();
        }
    }
}

/// Where `/proc` does not show it, being inside the call has to do.
fn sleeps(actor: &Whereabouts, effect: Effect, stat: &mut Option<File>) -> bool {
    actor.sleeps_in(effect, stat).unwrap_or(true)
}

/// Longer than anything that is waited for without end: who supervises the stage ends it before.
const ALWAYS: Duration = Duration::from_secs(3600);
const COURTESY: Duration = Duration::from_millis(200);
