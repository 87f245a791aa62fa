//! What the actors of an experiment know of one another: who waits where, so that each acts only when the other is seen to wait.

use std::fs::File;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;

use super::heard::Heard;
use super::scenario::Scenario;
use crate::calls::{Effect, Threads, Whereabouts};
use crate::kernel::{Answer, SockDiag};

/// A call that failed and should not have: which, and how. `EINTR`: the play was over before it was done.
pub(super) type Failure = (&'static str, Errno);

/// The stage of one run.
pub(super) struct Stage<'a> {
    pub(super) scenario: &'a Scenario,
    /// Where the server listens, or nobody does.
    pub(super) address: SocketAddr,
    /// The threads of all actors.
    pub(super) threads: Mutex<Threads>,
    pub(super) server: Whereabouts,
    pub(super) clients: Vec<Client>,
    /// How many clients were refused that are to connect again.
    pub(super) refused: AtomicUsize,
    /// How many clients' connects have returned.
    pub(super) connected: AtomicUsize,
    /// How many clients have closed their sockets.
    pub(super) gone: AtomicUsize,
    /// Whether the kernel's table of sockets showed the listening socket: otherwise its silence means nothing.
    pub(super) sock_diag_answers: AtomicBool,
    /// What sock_diag said of ends that had just closed first.
    pub(super) evidence: Mutex<Vec<Answer>>,
    /// What has been read of the capture so far.
    pub(super) seen: Arc<Traffic>,
    /// What the clients have had sent back so far.
    pub(super) echoed: Traffic,
    /// Whether the capture was waited for in vain: it has lost segments, and would be waited for again and again.
    lossy: AtomicBool,
    accepting: AtomicBool,
    over: AtomicBool,
    /// Who hears of it as it happens.
    hearer: Option<Sender<Heard>>,
}

/// One client as the others see it.
#[derive(Default)]
pub(super) struct Client {
    pub(super) whereabouts: Whereabouts,
    /// Its own address, from when it is connected.
    pub(super) local: OnceLock<SocketAddr>,
    /// Whether the end that closes first has closed, and the kernel has said what became of it.
    closed: AtomicBool,
}

/// An amount of traffic that grows.
#[derive(Default)]
pub(super) struct Traffic {
    segments: AtomicU64,
    octets: AtomicU64,
}

impl Traffic {
    pub(super) fn add(&self, segments: u64, octets: u64) {
        self.segments.fetch_add(segments, Ordering::AcqRel);
        self.octets.fetch_add(octets, Ordering::AcqRel);
    }

    /// Whether it is no further behind `other` than the capture's buffer can make up for.
    fn keeps_up_with(&self, other: &Self) -> bool {
        let behind = |mine: &AtomicU64, theirs: &AtomicU64| {
            theirs.load(Ordering::Acquire).saturating_sub(mine.load(Ordering::Acquire))
        };
        behind(&self.segments, &other.segments) <= LAG_SEGMENTS && behind(&self.octets, &other.octets) <= LAG_OCTETS
    }
}

impl<'a> Stage<'a> {
    pub(super) fn of(
        scenario: &'a Scenario,
        address: SocketAddr,
        seen: Arc<Traffic>,
        hearer: Option<Sender<Heard>>,
    ) -> Self {
        Self {
            hearer,
            scenario,
            address,
            threads: Mutex::default(),
            server: Whereabouts::default(),
            clients: (0..scenario.clients).map(|_| Client::default()).collect(),
            refused: AtomicUsize::new(0),
            connected: AtomicUsize::new(0),
            gone: AtomicUsize::new(0),
            sock_diag_answers: AtomicBool::new(false),
            evidence: Mutex::default(),
            seen,
            echoed: Traffic::default(),
            lossy: AtomicBool::new(false),
            accepting: AtomicBool::new(false),
            over: AtomicBool::new(false),
        }
    }

    /// Tells whoever hears of it what was seen.
    pub(super) fn tell(&self, seen: impl FnOnce() -> Heard) {
        if let Some(hearer) = &self.hearer {
            // Whoever has stopped listening has failed, and says so itself.
            _ = hearer.send(seen());
        }
    }

    /// Whether somebody hears of it as it happens.
    pub(super) fn is_heard(&self) -> bool {
        self.hearer.is_some()
    }

    /// Tells the threads that have begun to make calls.
    ///
    /// It is told before anyone else is put down: a table that came after a longer one would take threads back.
    pub(super) fn tell_threads(&self) {
        let threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        self.tell(|| Heard::Threads(threads.clone()));
    }

    /// Ends the play early: it was interrupted, is stuck, or an actor failed.
    pub(super) fn end(&self) {
        self.over.store(true, Ordering::Release);
    }

    pub(super) fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// How many calls of all actors have returned: the measure of progress.
    pub(super) fn progress(&self) -> u64 {
        self.server.returned() + self.clients.iter().map(|client| client.whereabouts.returned()).sum::<u64>()
    }

    /// Tells that an accept has returned, whoever it was that connected.
    pub(super) fn has_accepted(&self) {
        self.accepting.store(true, Ordering::Release);
    }

    /// Waits until the server has been seen asleep in accept.
    pub(super) fn wait_for_accept(&self) -> Result<(), Failure> {
        let mut stat = None;
        self.wait(ALWAYS, "accept", || {
            if sleeps(&self.server, Effect::Accept, &mut stat) {
                self.has_accepted();
            }
            self.accepting.load(Ordering::Acquire)
        })
    }

    /// Waits until `actor` is seen asleep in recv; only for so long, as nothing but the clarity of the picture depends on it.
    pub(super) fn wait_for_recv(&self, actor: &Whereabouts) -> Result<(), Failure> {
        let mut stat = None;
        self.wait(COURTESY, "recv", || sleeps(actor, Effect::Receive, &mut stat))
    }

    /// Waits until every client is connected.
    pub(super) fn wait_for_all(&self) -> Result<(), Failure> {
        self.wait(ALWAYS, "connect", || self.all_are_connected())
    }

    /// Waits until every client that is to be refused was.
    pub(super) fn wait_for_refusals(&self) -> Result<(), Failure> {
        let wanted = if self.scenario.retry.is_some() { self.clients.len() } else { 0 };
        self.wait(ALWAYS, "listen", || self.refused.load(Ordering::Acquire) >= wanted)
    }

    /// Waits until every client has closed its socket.
    pub(super) fn wait_for_goodbyes(&self) -> Result<(), Failure> {
        self.wait(ALWAYS, "close", || self.gone.load(Ordering::Acquire) >= self.clients.len())
    }

    /// Asks the kernel about the end that has just closed first: no process holds it any more, so that only sock_diag can speak of it.
    pub(super) fn has_closed_first(&self, client: &Client, local: Option<SocketAddr>, peer: Option<SocketAddr>) {
        if let (Some(local), Some(peer), true) = (local, peer, self.sock_diag_answers.load(Ordering::Acquire))
            && let Ok(evidence) = SockDiag::open().and_then(|mut kernel| kernel.lookup(local, peer))
        {
            self.tell(|| Heard::Answer(evidence.clone()));
            self.evidence.lock().unwrap_or_else(PoisonError::into_inner).push(evidence);
        }
        client.closed.store(true, Ordering::Release);
    }

    /// Waits until that has been asked; only for so long, as a state that is over cannot be witnessed.
    pub(super) fn wait_for_first_close(&self, client: &Client) -> Result<(), Failure> {
        self.wait(COURTESY, "close", || client.closed.load(Ordering::Acquire))
    }

    /// Waits while the capture is so far behind that its buffer might run full; only for so long, as drops are counted and told.
    pub(super) fn wait_for_capture(&self) -> Result<(), Failure> {
        let keeps_up = || self.seen.keeps_up_with(&self.echoed);
        self.wait(COURTESY, "send", || self.lossy.load(Ordering::Acquire) || keeps_up())?;
        self.lossy.fetch_or(!keeps_up(), Ordering::AcqRel);
        Ok(())
    }

    /// The client with that address, once its connect has returned; `None` when all are connected and it is none of them.
    pub(super) fn client_at(&self, address: SocketAddr) -> Result<Option<&Client>, Failure> {
        let find = || self.clients.iter().find(|client| client.local.get() == Some(&address));
        self.wait(ALWAYS, "connect", || find().is_some() || self.all_are_connected())?;
        Ok(find())
    }

    fn all_are_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire) >= self.clients.len()
    }

    /// Polls for `condition`, giving the processor away in between, until it holds, the limit is reached, or the play is over.
    fn wait(&self, limit: Duration, in_call: &'static str, mut condition: impl FnMut() -> bool) -> Result<(), Failure> {
        let deadline = Instant::now() + limit;
        while !condition() && Instant::now() < deadline {
            if self.is_over() {
                return Err((in_call, Errno::EINTR));
            }
            thread::yield_now();
        }
        Ok(())
    }
}

/// Where `/proc` does not show it, being inside the call has to do.
fn sleeps(actor: &Whereabouts, effect: Effect, stat: &mut Option<File>) -> bool {
    actor.sleeps_in(effect, stat).unwrap_or(true)
}

/// How far the reading of the capture may be behind, which its buffer makes up for.
const LAG_SEGMENTS: u64 = 1024;
const LAG_OCTETS: u64 = 1 << 20;
/// How many octets of a long message may be on their way there and back: about what the kernel's buffers take without a zero window.
pub(super) const WINDOW: usize = 1 << 17;
/// Longer than anything that is waited for without end: who supervises the stage ends it before.
const ALWAYS: Duration = Duration::from_secs(3600);
const COURTESY: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::calls::{Process, Thread};

    #[test]
    fn a_table_of_threads_never_comes_after_a_longer_one() {
        let scenario = Scenario::default();
        let (hearer, heard) = mpsc::channel();
        let stage = Stage::of(&scenario, ([127, 0, 0, 1], 1).into(), Arc::default(), Some(hearer));
        let process = stage.threads.lock().unwrap().add_process(Process { pid: 1, comm: "p".to_owned() });
        let (actors, each) = (4, 500);
        thread::scope(|scope| {
            for _ in 0..actors {
                scope.spawn(|| {
                    for tid in 0..each {
                        stage.threads.lock().unwrap().add(Thread { process, tid, comm: String::new() });
                        stage.tell_threads();
                    }
                });
            }
        });
        let told: Vec<usize> = heard
            .try_iter()
            .map(|heard| match heard {
                Heard::Threads(threads) => threads.threads().len(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(told.len(), actors * each as usize);
        assert!(told.is_sorted(), "{told:?}");
    }

    /// A capture that is as far behind as its buffer makes up for is not waited for; one that is further behind, for a second, and then
    /// no more.
    #[test]
    fn a_capture_that_is_too_far_behind_is_waited_for_but_not_for_ever() {
        let scenario = Scenario::default();
        let is_lossy = |segments: u64, octets: u64, more: Traffic| {
            let seen = Arc::new(Traffic::default());
            let stage = Stage::of(&scenario, ([127, 0, 0, 1], 1).into(), Arc::clone(&seen), None);
            stage.echoed.add(segments, octets);
            let begun = Instant::now();
            thread::scope(|scope| {
                // What the capture's thread reads while it is waited for.
                scope.spawn(move || seen.add(more.segments.into_inner(), more.octets.into_inner()));
                stage.wait_for_capture().expect("the play is not over");
            });
            let is_lossy = stage.lossy.load(Ordering::Acquire);
            assert!(!is_lossy || begun.elapsed() >= COURTESY);
            // Whoever was waited for in vain is not waited for again: the play would take a second for each message.
            assert!(!is_lossy || stage.wait_for_capture().is_ok());
            is_lossy
        };
        let none = || Traffic::default();
        assert!(!is_lossy(LAG_SEGMENTS, LAG_OCTETS, none()), "at the bounds");
        let one = || Traffic { segments: 1.into(), octets: 1.into() };
        assert!(!is_lossy(LAG_SEGMENTS + 1, LAG_OCTETS + 1, one()), "it catches up");
        thread::scope(|scope| {
            let beyond = [(LAG_SEGMENTS + 1, 0), (0, LAG_OCTETS + 1)];
            let waiting = beyond.map(|(segments, octets)| scope.spawn(move || is_lossy(segments, octets, none())));
            assert!(waiting.map(|waiting| waiting.join().expect("no panic")).into_iter().all(|is_lossy| is_lossy));
        });
    }
}
