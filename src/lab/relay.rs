//! The link between two hosts: a thread that takes each frame from one end to the other, or does with it what the rules say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socketpair};
use nix::sys::time::TimeSpec;

use super::LabError;
use super::addresses::{Addresses, End};
use super::definition::LinkSetting;
use super::host;
use super::rules::{Fate, Rules};
use super::tap::Taps;
use crate::capture::close_beside;
use crate::kernel::now;
use crate::script::{Actor, Cable, Deed, Forged, Which};
use crate::time::{Span, Timestamp};

/// One frame with a segment that came into the link, or that the link made up.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// Whose host it came from, or pretends to.
    pub from: End,
    /// When it came in.
    pub at: Timestamp,
    /// Its octets as they came in.
    pub octets: Box<[u8]>,
    /// Whether nobody sent it.
    pub forged: bool,
    /// What the rules did to it.
    pub deeds: Vec<Deed>,
    /// Its octets as they were handed to the other host, where they are not those that came in.
    pub changed: Option<Box<[u8]>>,
    /// When each of its copies was handed to the other host, in order.
    pub arrivals: Vec<Timestamp>,
    /// Its number among the frames of the run, once it is over; `None` where no capture has it.
    pub frame: Option<u64>,
}

impl Crossing {
    /// Its octets as they were handed to the other host.
    pub(super) fn arrived(&self) -> &[u8] {
        self.changed.as_deref().unwrap_or(&self.octets)
    }
}

/// What the link did in a run.
#[derive(Default)]
pub(super) struct Carried {
    /// What became of each segment.
    pub(super) crossings: Vec<Crossing>,
    /// How many frames the link never took in, because its memory for them was full.
    pub(super) missed: u64,
    /// How many frames the hosts did not take.
    pub(super) refused: u64,
    /// By how much a frame was handed over later than it was due, at most: the host was busy with other things.
    pub(super) late: Duration,
}

/// The running link.
pub(super) struct Relay {
    shared: Arc<Shared>,
    wake: OwnedFd,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    state: Mutex<State>,
    over: AtomicBool,
}

struct State {
    rules: Rules,
    carried: Carried,
    /// What is on its way: when it arrives, in which order it came, where to, what it is, and which crossing it belongs to.
    under_way: BinaryHeap<Reverse<UnderWay>>,
    /// Frames that wait until another one of their direction passes them.
    waiting: [VecDeque<Waiting>; 2],
    /// Until when each direction is busy with what was sent before, where the link has a rate.
    busy: [Instant; 2],
    put: u64,
    setting: LinkSetting,
    clock: Anchor,
}

/// One moment on two clocks: that of frames, and that by which they are handed over.
struct Anchor {
    at: Timestamp,
    here: Instant,
}

impl Anchor {
    /// Reads both clocks, between which nothing else had the processor.
    fn now() -> Self {
        let readings = (0..16).map(|_| {
            let before = Instant::now();
            let at = now();
            (before.elapsed(), Self { at, here: before })
        });
        readings
            .min_by_key(|(took, _)| *took)
            .map_or_else(|| Self { at: now(), here: Instant::now() }, |(_, anchor)| anchor)
    }

    /// When a frame came in, which was not long ago: what comes in later is not earlier by this.
    fn moment(&self, at: Timestamp) -> Instant {
        let since = at.since(self.at).as_nanos();
        let apart = Duration::from_nanos(since.unsigned_abs());
        let moment = if since < 0 { self.here.checked_sub(apart) } else { self.here.checked_add(apart) };
        let here = Instant::now();
        let earliest = here.checked_sub(LATEST).unwrap_or(here);
        moment.map_or(here, |moment| moment.clamp(earliest, here))
    }
}

/// The crossing that a frame belongs to, and its copies.
type Waiting = (usize, Vec<(Span, Vec<u8>)>);

#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct UnderWay {
    due: Instant,
    put: u64,
    to: End,
    octets: Vec<u8>,
    crossing: Option<usize>,
}

impl Relay {
    /// Starts it, in a thread that stays on `processor`: what is delivered on one stays in order.
    pub(super) fn start(
        taps: Taps,
        addresses: Addresses,
        setting: LinkSetting,
        processor: Option<usize>,
    ) -> Result<Self, LabError> {
        let shared = Arc::new(Shared::of(addresses, setting));
        let failed = |what: String| LabError::new(format!("the link between the hosts cannot be started: {what}"));
        let (wake, woken) =
            socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
                .map_err(|errno| failed(errno.desc().to_owned()))?;
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || {
                host::stay_on(processor);
                carry(taps, &woken, &of_thread);
            })
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { shared, wake, thread: Some(thread) })
    }

    /// Has a rule from now on.
    pub(super) fn rule(&self, deed: Deed, which: Which) {
        self.shared.state().rules.add(deed, which, now());
    }

    /// Cuts or mends the cable.
    pub(super) fn cable(&self, cable: Cable) {
        self.shared.state().rules.cable(now(), cable);
    }

    /// Puts a segment on the wire that nobody sent.
    pub(super) fn forge(&self, forged: Forged) {
        let mut state = self.shared.state();
        let Some(octets) = state.rules.forge(&forged) else { return };
        state.inject(End::of(forged.from), octets);
        drop(state);
        self.wake();
    }

    /// Puts the latest segment that is meant by `which` on the wire once more, at once; whether one has passed.
    pub(super) fn repeat(&self, which: &Which) -> bool {
        let mut state = self.shared.state();
        let Some(octets) = state.passed(which) else { return false };
        state.inject(End::of(which.from), octets);
        drop(state);
        self.wake();
        true
    }

    /// Puts SYNs on the wire, each from another host that does not exist.
    pub(super) fn flood(&self, number: u16, from: Actor, to: Actor) {
        let mut state = self.shared.state();
        for nth in 0..number {
            if let Some(octets) = state.rules.stranger(nth, to) {
                state.inject(End::of(from), octets);
            }
        }
        drop(state);
        self.wake();
    }

    /// How many segments it has taken in from an end.
    pub(super) fn taken(&self, from: End) -> usize {
        let state = self.shared.state();
        state.carried.crossings.iter().filter(|crossing| crossing.from == from && !crossing.forged).count()
    }

    /// Whether anything is still on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.shared.state().under_way.is_empty()
    }

    /// Ends it, once it has taken in what the hosts sent; what it did with each segment.
    pub(super) fn stop(mut self) -> Carried {
        self.end();
        std::mem::take(&mut self.shared.state().carried)
    }

    fn wake(&self) {
        let _ = send(self.wake.as_raw_fd(), &[0], MsgFlags::MSG_DONTWAIT);
    }

    fn end(&mut self) {
        self.shared.over.store(true, Ordering::Release);
        self.wake();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.end();
    }
}

impl Shared {
    fn of(addresses: Addresses, setting: LinkSetting) -> Self {
        let state = State {
            rules: Rules::new(addresses, setting.clone()),
            carried: Carried::default(),
            under_way: BinaryHeap::new(),
            waiting: Default::default(),
            busy: [Instant::now(); 2],
            put: 0,
            setting,
            clock: Anchor::now(),
        };
        Self { state: Mutex::new(state), over: AtomicBool::new(false) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in a frame that an end sent, and that came in at that time.
    fn take(&mut self, from: End, at: Timestamp, frame: &[u8]) {
        // However late this thread came to it, it is on its way since then.
        let here = self.clock.moment(at);
        let Some(fate) = self.rules.decide(from, at, frame) else {
            if !self.rules.is_cut(at) {
                let due = here + of(self.setting.delay);
                self.send(due, from.peer(), frame.to_vec(), None);
            }
            return;
        };
        let Fate { mut deeds, waits, copies, answer } = fate;
        let due = self.through(from, here, frame.len());
        let copies = match due {
            Some(_) => copies,
            None => {
                deeds.push(Deed::Drop);
                Vec::new()
            }
        };
        let changed = copies.first().map(|(_, octets)| octets).filter(|octets| octets[..] != *frame);
        let crossing = self.cross(Crossing {
            from,
            at,
            octets: frame.into(),
            forged: false,
            deeds,
            changed: changed.map(|octets| octets.clone().into()),
            arrivals: Vec::new(),
            frame: None,
        });
        if let Some(answer) = answer {
            self.send(here + of(self.setting.delay), from, answer, None);
        }
        let due = due.unwrap_or(here);
        if waits {
            self.waiting[from as usize].push_back((crossing, copies));
            return;
        }
        let is_sent = !copies.is_empty();
        for (extra, octets) in copies {
            self.send(due + of(extra), from.peer(), octets, Some(crossing));
        }
        if is_sent {
            for (crossing, copies) in std::mem::take(&mut self.waiting[from as usize]) {
                for (extra, octets) in copies {
                    self.send(due + of(extra), from.peer(), octets, Some(crossing));
                }
            }
        }
    }

    /// Puts a frame on the wire that no host sent now.
    fn inject(&mut self, from: End, octets: Vec<u8>) {
        let crossing = self.cross(Crossing {
            from,
            at: now(),
            octets: octets.clone().into(),
            forged: true,
            deeds: Vec::new(),
            changed: None,
            arrivals: Vec::new(),
            frame: None,
        });
        self.send(Instant::now(), from.peer(), octets, Some(crossing));
    }

    fn cross(&mut self, crossing: Crossing) -> usize {
        self.carried.crossings.push(crossing);
        self.carried.crossings.len() - 1
    }

    /// The segment that `which` means among those that came into the link; without a number the last one.
    fn passed(&mut self, which: &Which) -> Option<Vec<u8>> {
        let Self { rules, carried, .. } = self;
        let of_kind = carried.crossings.iter().filter(|crossing| !crossing.forged && rules.is(which, &crossing.octets));
        let found: Vec<_> = of_kind.collect();
        let place = which.nth.map_or(found.len(), |nth| nth as usize).checked_sub(1)?;
        found.get(place).map(|crossing| crossing.octets.to_vec())
    }

    /// When a frame of that length will have been carried; `None` where the queue before the link is full.
    fn through(&mut self, from: End, here: Instant, len: usize) -> Option<Instant> {
        let delay = of(self.setting.delay);
        let Some(rate) = self.setting.rate else { return Some(here + delay) };
        let takes = |octets: usize| Duration::from_nanos(octets as u64 * 8 * 1_000_000_000 / rate);
        let begins = self.busy[from as usize].max(here);
        // As many frames of full size as the queue holds.
        if begins - here > takes(1514 * self.setting.queue) {
            return None;
        }
        self.busy[from as usize] = begins + takes(len);
        Some(self.busy[from as usize] + delay)
    }

    fn send(&mut self, due: Instant, to: End, octets: Vec<u8>, crossing: Option<usize>) {
        self.put += 1;
        self.under_way.push(Reverse(UnderWay { due, put: self.put, to, octets, crossing }));
    }
}

/// Carries frames until it is over, and takes in what came before that.
fn carry(mut taps: Taps, woken: &OwnedFd, shared: &Shared) {
    loop {
        let is_over = shared.over.load(Ordering::Acquire);
        while let Some(from) = taps.earliest() {
            taps.of(from).take(|at, frame| shared.state().take(from, at, frame));
        }
        if is_over {
            break;
        }
        hand_over(shared, |to, octets| taps.of(to).put(octets));
        let next = shared.state().under_way.peek().map(|Reverse(next)| next.due);
        let patience = next.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()).min(IDLE));
        let [client, server] = taps.descriptors();
        let mut polled = [client, server, woken.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let _ = ppoll(&mut polled, Some(TimeSpec::from_duration(patience)), None);
        while recv(woken.as_raw_fd(), &mut [0], MsgFlags::MSG_DONTWAIT).is_ok() {}
    }
    shared.state().carried.missed = [End::Client, End::Server].map(|end| taps.of(end).dropped()).iter().sum();
    let sockets = taps.descriptors().map(|socket| socket.as_raw_fd());
    close_beside(sockets, || drop(taps));
}

/// Hands the hosts what has been carried by now; `put` says whether they took it.
fn hand_over(shared: &Shared, mut put: impl FnMut(End, &[u8]) -> bool) {
    loop {
        let mut state = shared.state();
        if state.under_way.peek().is_none_or(|Reverse(next)| next.due > Instant::now()) {
            return;
        }
        let Some(Reverse(UnderWay { due, to, octets, crossing, .. })) = state.under_way.pop() else { return };
        state.carried.late = state.carried.late.max(due.elapsed());
        drop(state);
        let taken = put(to, &octets);
        // It has been captured at the other host by now.
        let at = now();
        let mut state = shared.state();
        match crossing {
            Some(crossing) if taken => state.carried.crossings[crossing].arrivals.push(at),
            _ => state.carried.refused += u64::from(!taken),
        }
    }
}

fn of(span: Span) -> Duration {
    Duration::from_nanos(span.as_nanos().max(0) as u64)
}

/// How late a frame may be taken in: more is a clock that was set.
const LATEST: Duration = Duration::from_secs(1);
const IDLE: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests {
    use super::super::catalog::{ECHO, Entry};
    use super::*;

    #[test]
    fn what_a_host_does_not_take_is_counted_and_has_not_arrived() {
        let echo = Entry::named(ECHO).expect("it is there").read(&[]).expect("it is sound");
        let shared = Shared::of(Addresses::of(&echo), LinkSetting::default());
        shared.state().inject(End::Client, vec![1; 60]);
        shared.state().inject(End::Client, vec![2; 60]);
        // Not of a segment.
        shared.state().send(Instant::now(), End::Client, vec![3; 60], None);
        hand_over(&shared, |to, octets| to == End::Server && octets[0] == 1);
        let Carried { crossings, refused, .. } = std::mem::take(&mut shared.state().carried);
        let arrived: Vec<_> = crossings.iter().map(|crossing| crossing.arrivals.len()).collect();
        assert_eq!((refused, &arrived[..]), (2, &[1, 0][..]));
    }
}
