//! The link between two hosts: a thread that takes each frame from one end to the other, or does with it what the rules say.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, recv, send, socket, socketpair};
use nix::sys::time::TimeSpec;

use super::LabError;
use super::addresses::{Addresses, End};
use super::definition::LinkSetting;
use super::rules::{Fate, Rules};
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
    /// When each of its copies was handed to the other host, in order.
    pub arrivals: Vec<Timestamp>,
    /// Its number among the frames of the run, once it is over; `None` where no capture has it.
    pub frame: Option<u64>,
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
    crossings: Vec<Crossing>,
    /// What is on its way: when it arrives, in which order it came, where to, what it is, and which crossing it belongs to.
    under_way: BinaryHeap<Reverse<UnderWay>>,
    /// Frames that wait until another one of their direction passes them.
    waiting: [VecDeque<Waiting>; 2],
    /// Until when each direction is busy with what was sent before, where the link has a rate.
    busy: [Instant; 2],
    put: u64,
    setting: LinkSetting,
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

/// The sockets at the two ends of the link, opened while the process still may.
pub(super) struct Taps([OwnedFd; 2]);

impl Taps {
    /// Opens a raw socket on each end of the link.
    pub(super) fn open(interfaces: [&str; 2]) -> Result<Self, LabError> {
        let failed =
            |errno: Errno| LabError::new(format!("the link between the hosts cannot be opened: {}", errno.desc()));
        let [client, server] = interfaces.map(tap);
        Ok(Self([client.map_err(failed)?, server.map_err(failed)?]))
    }
}

impl Taps {
    /// Another descriptor of the socket at one end.
    pub(super) fn copy(&self, end: End) -> Result<OwnedFd, Errno> {
        self.0[end as usize].try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }
}

fn tap(interface: &str) -> Result<OwnedFd, Errno> {
    let tap = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let every = 1i32;
    // SAFETY: all octets zero is a valid sockaddr_ll.
    let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
    address.sll_ifindex = if_nametoindex(interface)? as i32;
    // SAFETY: both pointers are to values that live here, with their sizes.
    unsafe {
        let ignored = libc::setsockopt(
            tap.as_raw_fd(),
            libc::SOL_PACKET,
            PACKET_IGNORE_OUTGOING,
            (&raw const every).cast(),
            size_of::<i32>() as u32,
        );
        Errno::result(ignored)?;
        // Nobody shall lose a frame because this thread was not on a processor.
        let room = 8i32 << 20;
        let have = |option| libc::setsockopt(tap.as_raw_fd(), libc::SOL_SOCKET, option, (&raw const room).cast(), 4);
        // Only root may have more than net.core.rmem_max.
        if have(libc::SO_RCVBUFFORCE) != 0 {
            have(libc::SO_RCVBUF);
        }
        let bound = libc::bind(tap.as_raw_fd(), (&raw const address).cast(), size_of::<libc::sockaddr_ll>() as u32);
        Errno::result(bound)?;
    }
    Ok(tap)
}

impl Relay {
    /// Starts it.
    pub(super) fn start(taps: Taps, addresses: Addresses, setting: LinkSetting) -> Result<Self, LabError> {
        let state = State {
            rules: Rules::new(addresses, setting.clone()),
            crossings: Vec::new(),
            under_way: BinaryHeap::new(),
            waiting: Default::default(),
            busy: [Instant::now(); 2],
            put: 0,
            setting,
        };
        let shared = Arc::new(Shared { state: Mutex::new(state), over: AtomicBool::new(false) });
        let failed = |what: String| LabError::new(format!("the link between the hosts cannot be started: {what}"));
        let (wake, woken) =
            socketpair(AddressFamily::Unix, SockType::Datagram, None, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK)
                .map_err(|errno| failed(errno.desc().to_owned()))?;
        let of_thread = Arc::clone(&shared);
        let thread = thread::Builder::new()
            .name("link".to_owned())
            .spawn(move || carry(&taps.0, &woken, &of_thread))
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { shared, wake, thread: Some(thread) })
    }

    /// Has a rule from now on.
    pub(super) fn rule(&self, deed: Deed, which: Which) {
        self.shared.state().rules.add(deed, which);
    }

    /// Cuts or mends the cable.
    pub(super) fn cable(&self, cable: Cable) {
        self.shared.state().rules.cut(cable == Cable::Cut);
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

    /// Whether anything is still on its way.
    pub(super) fn is_busy(&self) -> bool {
        !self.shared.state().under_way.is_empty()
    }

    /// Ends it; what it did with each segment.
    pub(super) fn stop(mut self) -> Vec<Crossing> {
        self.end();
        std::mem::take(&mut self.shared.state().crossings)
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
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Takes in a frame that an end sent.
    fn take(&mut self, from: End, frame: &[u8]) {
        let (at, here) = (now(), Instant::now());
        let Some(fate) = self.rules.decide(from, frame) else {
            if self.rules.passes() {
                let due = here + of(self.setting.delay);
                self.send(due, from.peer(), frame.to_vec(), None);
            }
            return;
        };
        let Fate { mut deeds, waits, copies, answer } = fate;
        let due = self.carried(from, here, frame.len());
        let copies = match due {
            Some(_) => copies,
            None => {
                deeds.push(Deed::Drop);
                Vec::new()
            }
        };
        let octets = frame.into();
        self.crossings.push(Crossing { from, at, octets, forged: false, deeds, arrivals: Vec::new(), frame: None });
        let crossing = self.crossings.len() - 1;
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
        self.crossings.push(Crossing {
            from,
            at: now(),
            octets: octets.clone().into(),
            forged: true,
            deeds: Vec::new(),
            arrivals: Vec::new(),
            frame: None,
        });
        let crossing = Some(self.crossings.len() - 1);
        self.send(Instant::now(), from.peer(), octets, crossing);
    }

    /// The segment that `which` means among those that came into the link; without a number the last one.
    fn passed(&mut self, which: &Which) -> Option<Vec<u8>> {
        let Self { rules, crossings, .. } = self;
        let of_kind = crossings.iter().filter(|crossing| !crossing.forged && rules.is(which, &crossing.octets));
        let found: Vec<_> = of_kind.collect();
        let place = which.nth.map_or(found.len(), |nth| nth as usize).checked_sub(1)?;
        found.get(place).map(|crossing| crossing.octets.to_vec())
    }

    /// When a frame of that length will have been carried; `None` where the queue before the link is full.
    fn carried(&mut self, from: End, here: Instant, len: usize) -> Option<Instant> {
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

/// Carries frames until it is over.
fn carry(taps: &[OwnedFd; 2], woken: &OwnedFd, shared: &Shared) {
    let mut room = vec![0; 1 << 17];
    while !shared.over.load(Ordering::Acquire) {
        let next = shared.state().under_way.peek().map(|Reverse(next)| next.due);
        let patience = next.map_or(IDLE, |due| due.saturating_duration_since(Instant::now()).min(IDLE));
        let mut polled = [
            PollFd::new(taps[0].as_fd(), PollFlags::POLLIN),
            PollFd::new(taps[1].as_fd(), PollFlags::POLLIN),
            PollFd::new(woken.as_fd(), PollFlags::POLLIN),
        ];
        let _ = ppoll(&mut polled, Some(TimeSpec::from_duration(patience)), None);
        while recv(woken.as_raw_fd(), &mut room[..1], MsgFlags::MSG_DONTWAIT).is_ok() {}
        for (from, tap) in [End::Client, End::Server].into_iter().zip(taps) {
            while let Ok(len) = recv(tap.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT) {
                shared.state().take(from, &room[..len]);
            }
        }
        loop {
            let mut state = shared.state();
            let is_due = state.under_way.peek().is_some_and(|Reverse(next)| next.due <= Instant::now());
            if !is_due {
                break;
            }
            let Some(Reverse(frame)) = state.under_way.pop() else { break };
            drop(state);
            let _ = send(taps[frame.to as usize].as_raw_fd(), &frame.octets, MsgFlags::empty());
            // It has been captured at the other host by now.
            if let Some(crossing) = frame.crossing {
                let at = now();
                shared.state().crossings[crossing].arrivals.push(at);
            }
        }
    }
}

fn of(span: Span) -> Duration {
    Duration::from_nanos(span.as_nanos().max(0) as u64)
}

const PACKET_IGNORE_OUTGOING: i32 = 23;
const IDLE: Duration = Duration::from_millis(200);
