//! The kernel's own trace of TCP sockets: tracepoints read through `perf_event_open`, on every processor.

mod calls;
mod format;
mod programs;
mod remembered;
mod unnamed;

use std::ffi::{CStr, CString};
use std::fs;
use std::io;
use std::ops::RangeInclusive;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::mount::{MsFlags, mount};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::pipe2;
use perf_event::data::Record;
use perf_event::{Builder, Clock as PerfClock, SampleFlag, Sampler, events};

use self::format::{Format, Tracepoint};
use super::{KernelAct, KernelEvent, KernelSocket, measure};
use crate::capture::close_beside;
use crate::hash::HashMap;
use crate::time::{Clock, ClockId};

pub use self::calls::Watched;
pub use self::format::Said;
pub use self::programs::{Begin, Beside, Drained, ProgramAct, ProgramRecord, ProgramTrace, UserStack};

/// The tracepoints `sock:inet_sock_set_state`, `tcp:tcp_send_reset`, `tcp:tcp_receive_reset`, `tcp:tcp_retransmit_skb`,
/// `tcp:tcp_retransmit_synack` and `tcp:tcp_cong_state_set`, open on every processor.
///
/// They tell of all sockets of this host, in whatever network namespace, and a record does not say in which; whoever reads
/// them knows events by their ends. The process that runs on the processor at that moment is not told: it need not be the owner.
/// Opening takes CAP_PERFMON (or root); reading takes nothing. The descriptors are closed by exec.
pub struct Tracepoints {
    rings: Vec<Ring>,
    clock: Clock,
    missing: Vec<&'static str>,
}

/// Which sockets are traced.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ports {
    /// One end of each has one of these,
    pub own: RangeInclusive<u16>,
    /// and the other one of these.
    pub peers: Vec<u16>,
}

impl Ports {
    /// The filter of a tracepoint (Documentation/trace/events.rst), by fields that all of ours have.
    fn filter(&self) -> CString {
        let (first, last) = (self.own.start(), self.own.end());
        let any = |field: &str| {
            let each: Vec<_> = self.peers.iter().map(|peer| format!("{field} == {peer}")).collect();
            format!("({})", each.join(" || "))
        };
        let between = |own: &str, other: &str| format!("({own} >= {first} && {own} <= {last} && {})", any(other));
        // A socket that connects leaves CLOSED before it has a port.
        let opening = format!("(sport == 0 && {})", any("dport"));
        let filter = [between("sport", "dport"), between("dport", "sport"), opening].join(" || ");
        CString::new(filter).unwrap_or_default()
    }
}

/// One tracepoint on one processor.
struct Ring {
    sampler: Sampler,
    format: Arc<Format>,
    tracepoint: Tracepoint,
    /// How many records were read.
    read: u64,
}

/// How many events of this host were lost: the buffers were full, or the kernel wrote no record.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LostEvents {
    /// Changes of state.
    pub states: u64,
    /// What was sent again, and RSTs.
    pub others: u64,
    /// Congestion states.
    pub congestion: u64,
}

impl LostEvents {
    /// How many they are together.
    pub fn all(self) -> u64 {
        self.states + self.others + self.congestion
    }
}

impl Ring {
    /// 0 for changes of state, 2 for congestion states, 1 for all others.
    fn class(&self) -> usize {
        match self.tracepoint {
            Tracepoint::State => 0,
            Tracepoint::Congestion => 2,
            _ => 1,
        }
    }

    /// How often the tracepoint was passed on this processor, records or none: of some passes in an interrupt on an idle processor the
    /// kernel (6.18) writes no record, and says nothing of that.
    fn passes(&mut self) -> u64 {
        self.sampler.as_counter_mut().read().unwrap_or(0)
    }
}

/// Why the kernel's trace cannot be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Untraced {
    /// The kernel does not permit it.
    Forbidden,
    /// The kernel has no such tracepoint, or none that can be read, or its tracefs is not to be had.
    Absent,
    /// Something else: the system's words for it.
    Other(String),
}

impl Tracepoints {
    /// Opens them, and has them record from now on.
    ///
    /// What is not read is lost once a buffer of 512 KiB for each processor is full (32 KiB for all but the states); [`Trace::stop`]
    /// says how much was.
    ///
    /// # Errors
    /// The kernel permits it not, or has no `sock:inet_sock_set_state`; that others are missing is told by [`Self::missing`].
    pub fn open() -> Result<Self, Untraced> {
        Self::open_for(None)
    }

    /// The same, of the sockets alone that have those ports: of what others do hardly anything is recorded, so that no buffer is full of it.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn open_for(ports: Option<&Ports>) -> Result<Self, Untraced> {
        let filter = ports.map(Ports::filter);
        let clock = measure(ClockId::Monotonic);
        let processors = processors().map_err(|error| Untraced::Other(error.to_string()))?;
        let mut traced = Self { rings: Vec::new(), clock, missing: Vec::new() };
        let mut formats = read_formats()?;
        if formats.iter().all(Option::is_none) {
            formats = beside_the_mounts(read_formats)??;
        }
        for (tracepoint, format) in Tracepoint::ALL.into_iter().zip(formats) {
            let Some(format) = format else {
                if tracepoint == Tracepoint::State {
                    return Err(Untraced::Absent);
                }
                traced.missing.push(tracepoint.path());
                continue;
            };
            let format = Arc::new(format);
            for processor in &processors {
                match open_one(format.id, *processor, buffer_of(tracepoint), filter.as_deref()) {
                    Ok(sampler) => {
                        traced.rings.push(Ring { sampler, format: Arc::clone(&format), tracepoint, read: 0 })
                    }
                    // It was taken offline meanwhile.
                    Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {}
                    Err(error) => return Err(refused(&error)),
                }
            }
        }
        Ok(traced)
    }

    /// How many descriptors [`open`](Self::open) takes, while it does.
    pub fn descriptors() -> u64 {
        let processors = processors().map_or(1, |processors| processors.len());
        (processors * Tracepoint::ALL.len()) as u64
    }

    /// The tracepoints that this kernel does not have, by their folders in tracefs.
    pub fn missing(&self) -> &[&'static str] {
        &self.missing
    }

    /// Starts the thread that reads them; `hear` is told of each event, and says whether it takes it.
    ///
    /// Events of one socket come in order, and each within 50 ms; what a connect did before it had a port comes with the first
    /// event that names the port.
    ///
    /// # Errors
    /// There can be no thread.
    pub fn start(self, hear: impl FnMut(KernelEvent) + Send + 'static) -> io::Result<Trace> {
        let (ended, end) = pipe2(OFlag::O_CLOEXEC)?;
        let over = Arc::new(AtomicBool::new(false));
        let is_over = Arc::clone(&over);
        let mut reading = Reading {
            rings: self.rings,
            clock: self.clock,
            portless: HashMap::default(),
            read: Vec::new(),
            lost: 0,
            hear,
        };
        let thread = thread::Builder::new().name("tracepoints".to_owned()).spawn(move || {
            loop {
                // What happened before the end was asked for is in the buffers by then.
                let last = is_over.load(Ordering::Acquire);
                let passes = if last { reading.passes() } else { [0; 3] };
                reading.drain();
                if last {
                    let recorded = reading.recorded();
                    let [states, others, congestion] = [0, 1, 2].map(|of| passes[of].saturating_sub(recorded[of]));
                    let lost = LostEvents { states: states + reading.lost, others, congestion };
                    let events = reading.rings.iter().map(|ring| ring.sampler.as_raw_fd()).collect::<Vec<_>>();
                    close_beside(events, || reading.rings.clear());
                    return lost;
                }
                reading.wait(&ended);
            }
        })?;
        Ok(Trace { thread, over, end })
    }
}

/// A trace that is being read.
pub struct Trace {
    thread: JoinHandle<LostEvents>,
    over: Arc<AtomicBool>,
    /// Closing it wakes the thread.
    end: OwnedFd,
}

impl Trace {
    /// Reads what has happened until now, and ends it: how many records of this host were lost.
    pub fn stop(self) -> LostEvents {
        self.over.store(true, Ordering::Release);
        drop(self.end);
        self.thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// The thread's own.
struct Reading<H> {
    rings: Vec<Ring>,
    clock: Clock,
    /// Sockets that left CLOSED and had no port of their own yet, with that event.
    portless: HashMap<KernelSocket, KernelEvent>,
    /// What was read and not told.
    read: Vec<(u64, Said)>,
    lost: u64,
    hear: H,
}

impl<H: FnMut(KernelEvent)> Reading<H> {
    /// Waits until there is something to read or the end was asked for, or a little.
    fn wait(&self, ended: &OwnedFd) {
        let mut watched: Vec<_> = self
            .rings
            .iter()
            .map(|ring| {
                // SAFETY: the descriptor stays open as long as its ring, which is borrowed.
                let fd = unsafe { BorrowedFd::borrow_raw(ring.sampler.as_raw_fd()) };
                PollFd::new(fd, PollFlags::POLLIN)
            })
            .chain([PollFd::new(ended.as_fd(), PollFlags::POLLIN)])
            .collect();
        // A ring says that it has something only where much is in it; the rest is looked for now and then.
        _ = poll(&mut watched, PollTimeout::from(LOOK));
    }

    /// How often the tracepoints were passed, by their class.
    fn passes(&mut self) -> [u64; 3] {
        let mut passes = [0; 3];
        self.rings.iter_mut().for_each(|ring| passes[ring.class()] += ring.passes());
        passes
    }

    /// How many records of that were read.
    fn recorded(&self) -> [u64; 3] {
        let mut read = [0; 3];
        self.rings.iter().for_each(|ring| read[ring.class()] += ring.read);
        read
    }

    /// Tells what is in the buffers, in order of time.
    fn drain(&mut self) {
        self.clock = self.clock.measured_again(measure(ClockId::Monotonic));
        for Ring { sampler, format, read, .. } in &mut self.rings {
            // What comes meanwhile waits for the next time: one processor must not keep the others waiting.
            for _ in 0..MOST_AT_ONCE {
                let Some(record) = sampler.next_record() else { break };
                // What was lost shows in the end, in how often the tracepoint was passed; so does what cannot be read.
                if let Ok(Record::Sample(sample)) = record.parse_record() {
                    *read += 1;
                    let said = sample.raw().and_then(|raw| format.read(raw));
                    self.read.extend(sample.time().zip(said));
                }
            }
        }
        self.read.sort_by_key(|(at, _)| *at);
        let clock = self.clock;
        for (at, said) in std::mem::take(&mut self.read) {
            let Said { local, peer, socket, what } = said;
            let at = clock.moment(at.try_into().unwrap_or(i64::MAX));
            self.tell(KernelEvent { at, clock, local, peer, socket, what });
        }
    }

    /// An event of a socket without a port waits for one that names it.
    fn tell(&mut self, event: KernelEvent) {
        let Some(socket) = event.socket else { return (self.hear)(event) };
        if event.local.port() == 0 && matches!(event.what, KernelAct::State { .. }) {
            if self.portless.len() < MOST_PORTLESS {
                self.portless.insert(socket, event);
            } else {
                self.lost += 1;
            }
            return;
        }
        if let Some(first) = self.portless.remove(&socket)
            && first.peer.port() == event.peer.port()
        {
            (self.hear)(KernelEvent { local: event.local, peer: event.peer, ..first });
        }
        (self.hear)(event);
    }
}

/// Opens one tracepoint on one processor.
fn open_one(id: u64, processor: usize, buffer: usize, filter: Option<&CStr>) -> io::Result<Sampler> {
    let mut builder = Builder::new(events::Tracepoint::with_id(id));
    builder.any_pid().one_cpu(processor).include_kernel().sample_period(1);
    builder.clockid(PerfClock::MONOTONIC).sample(SampleFlag::TIME | SampleFlag::RAW);
    builder.wakeup_watermark(buffer / 8);
    let mut sampler = builder.build()?.sampled(buffer)?;
    if let Some(filter) = filter {
        // Where it is not taken, more is recorded than is needed.
        // SAFETY: the pointer is to a string that ends with a zero octet and lives here; the kernel copies it.
        unsafe { libc::ioctl(sampler.as_raw_fd(), SET_FILTER, filter.as_ptr()) };
    }
    sampler.as_counter_mut().enable()?;
    Ok(sampler)
}

fn refused(error: &io::Error) -> Untraced {
    match error.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Untraced::Forbidden,
        Some(libc::ENOENT | libc::ENOSYS | libc::EOPNOTSUPP) => Untraced::Absent,
        _ => Untraced::Other(error.to_string()),
    }
}

/// The kernel's descriptions of all tracepoints.
fn read_formats() -> Result<Vec<Option<Format>>, Untraced> {
    Tracepoint::ALL.into_iter().map(read_format).collect()
}

/// Does something in a thread of its own in which tracefs is mounted, and nowhere else.
///
/// A thread that was joined still counts until the kernel has put down its mount namespace, and namespaces of one's own are for a process
/// of one thread: so that is waited for.
fn beside_the_mounts<R: Send>(act: impl FnOnce() -> R + Send) -> Result<R, Untraced> {
    let mounted = || {
        unshare(CloneFlags::CLONE_NEWNS)?;
        // What is mounted here is not to be seen elsewhere.
        mount(None::<&str>, "/", None::<&str>, MsFlags::MS_REC | MsFlags::MS_PRIVATE, None::<&str>)?;
        mount(Some("tracefs"), TRACEFS[0], Some("tracefs"), MsFlags::empty(), None::<&str>)
    };
    let in_thread = || match mounted() {
        Ok(()) => Ok(act()),
        Err(Errno::EPERM | Errno::EACCES) => Err(Untraced::Forbidden),
        Err(Errno::ENOENT | Errno::ENODEV) => Err(Untraced::Absent),
        Err(errno) => Err(Untraced::Other(format!("tracefs cannot be mounted: {}", errno.desc()))),
    };
    let threads = || fs::read_dir("/proc/self/task").map_or(1, Iterator::count);
    let (before, begun) = (threads(), Instant::now());
    let done =
        thread::scope(|scope| scope.spawn(in_thread).join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
    while threads() > before && begun.elapsed() < LEAVING {
        thread::sleep(Duration::from_millis(1));
    }
    done
}

/// The kernel's description of a tracepoint; `None` where it has none of that name, or an unreadable one.
fn read_format(tracepoint: Tracepoint) -> Result<Option<Format>, Untraced> {
    let mut forbidden = false;
    for tracefs in TRACEFS {
        match fs::read_to_string(format!("{tracefs}/events/{}/format", tracepoint.path())) {
            Ok(text) => return Ok(Format::parse(tracepoint, &text)),
            Err(error) => forbidden |= error.kind() == io::ErrorKind::PermissionDenied,
        }
    }
    if forbidden { Err(Untraced::Forbidden) } else { Ok(None) }
}

/// The processors that are online.
fn processors() -> io::Result<Vec<usize>> {
    online(&fs::read_to_string("/sys/devices/system/cpu/online")?)
}

/// The processors of a list as the kernel writes it (cpuset(7), "List format"), the first ones of more than a kernel can be built for.
fn online(list: &str) -> io::Result<Vec<usize>> {
    let mut processors = Vec::new();
    for range in list.trim().split(',') {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        let (Ok(first), Ok(last)) = (first.parse::<usize>(), last.parse::<usize>()) else {
            return Err(io::Error::other(format!("the processors that are online are given as {list:?}")));
        };
        processors.extend((first..=last).take(MOST_PROCESSORS - processors.len()));
    }
    Ok(processors)
}

/// How large the buffer of a tracepoint is, for each processor: states change far more often than anything is lost or reset.
fn buffer_of(tracepoint: Tracepoint) -> usize {
    match tracepoint {
        Tracepoint::State => 512 << 10,
        _ => 32 << 10,
    }
}

/// Where tracefs is mounted: by itself since Linux 4.1, before that in debugfs.
const TRACEFS: [&str; 2] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"];
/// How long a thread that has ended may take to leave.
const LEAVING: Duration = Duration::from_secs(5);
/// How long a record waits in its buffer at most, in milliseconds.
const LOOK: u8 = 20;
/// How many records are taken from one buffer in turn.
const MOST_AT_ONCE: usize = 8192;
/// How many connects may be under way whose port no record has named yet.
const MOST_PORTLESS: usize = 4096;
/// How many processors are read: as many as NR_CPUS may be.
const MOST_PROCESSORS: usize = 8192;
/// `PERF_EVENT_IOC_SET_FILTER`, `_IOW('$', 6, char *)` (linux/perf_event.h).
const SET_FILTER: libc::Ioctl = 0x4008_2406;

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;
    use crate::kernel::now;
    use crate::tcp::State;

    fn reading<H>(hear: H) -> Reading<H> {
        let clock = Clock::WALL;
        Reading { rings: Vec::new(), clock, portless: HashMap::default(), read: Vec::new(), lost: 0, hear }
    }

    fn event(socket: u64, local: &str, peer: &str, from: State, to: State) -> KernelEvent {
        let [local, peer] = [local, peer].map(|end| end.parse().expect("an end"));
        let what = KernelAct::State { from, to };
        KernelEvent { at: now(), clock: Clock::WALL, local, peer, socket: Some(KernelSocket(socket)), what }
    }

    #[test]
    fn a_connect_waits_for_its_port_and_no_more_of_them_than_there_is_room_for() {
        let mut told = Vec::new();
        let mut reading = reading(|event| told.push(event));
        let (portless, named, peer) = ("127.0.0.1:0", "127.0.0.1:40000", "127.0.0.2:80");
        reading.tell(event(1, portless, peer, State::Closed, State::SynSent));
        reading.tell(event(2, named, peer, State::SynReceived, State::Established));
        reading.tell(event(1, named, peer, State::SynSent, State::Established));
        // The same socket, for another peer: the first connect was never heard of again.
        reading.tell(event(3, portless, peer, State::Closed, State::SynSent));
        reading.tell(event(3, named, "127.0.0.2:81", State::SynSent, State::Established));
        (0..MOST_PORTLESS as u64 + 2)
            .for_each(|socket| reading.tell(event(10 + socket, portless, peer, State::Closed, State::SynSent)));
        assert_eq!((reading.portless.len(), reading.lost), (MOST_PORTLESS, 2));
        let told: Vec<_> = told.iter().map(|event| (event.socket.map(|socket| socket.0), event.local.port())).collect();
        assert_eq!(told, [(Some(2), 40000), (Some(1), 40000), (Some(1), 40000), (Some(3), 40000)]);
    }

    #[test]
    fn as_many_processors_are_read_as_a_kernel_can_have() {
        let read = |list: &str| online(list).expect("a list");
        assert_eq!(read("0\n"), [0]);
        assert_eq!(read("0-2,5,7-8\n"), [0, 1, 2, 5, 7, 8]);
        let all: Vec<usize> = (0..MOST_PROCESSORS).collect();
        assert_eq!(read("0-8191\n"), all);
        // One more than the bound, of one range and of several.
        for list in ["0-8192\n", "0-9000\n", "0-4095,4096-8191,8192-9000\n", "0-18446744073709551615\n"] {
            assert_eq!(read(list), all, "{list}");
        }
        assert!(online("0-x").is_err());
    }

    /// The kernel itself, where it permits it: each of these moves is made by this test, and told in order with its time.
    #[test]
    fn the_moves_of_a_connection_are_told_with_their_times() {
        use State::{CloseWait, Closed, Established, FinWait1, FinWait2, Listen, SynReceived, SynSent};
        let tracepoints = match Tracepoints::open() {
            Ok(tracepoints) => tracepoints,
            Err(why) => {
                assert!(
                    why != Untraced::Absent
                        || !nix::unistd::geteuid().is_root()
                        || !fs::exists(TRACEFS[0]).unwrap_or(false)
                );
                eprintln!("NOT CHECKED here: the kernel's trace is not to be had ({why:?})");
                return;
            }
        };
        let told = Arc::new(Mutex::new(Vec::new()));
        let telling = Arc::clone(&told);
        let trace = tracepoints.start(move |event| telling.lock().unwrap_or_else(PoisonError::into_inner).push(event));
        let trace = trace.expect("a thread");
        let before = now();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let (own, peer) = (client.local_addr().expect("an address"), client.peer_addr().expect("an address"));
        drop(client);
        // The server's kernel may acknowledge the FIN later (a delayed ACK).
        let ended =
            |event: &KernelEvent| event.local == own && matches!(event.what, KernelAct::State { from: FinWait2, .. });
        let begun = Instant::now();
        while !told.lock().unwrap_or_else(PoisonError::into_inner).iter().any(ended) && begun.elapsed().as_secs() < 10 {
            thread::yield_now();
        }
        let (lost, after) = (trace.stop(), now());
        if lost.all() > 0 {
            eprintln!("NOT CHECKED here: of {lost:?} changes of state the kernel wrote no record");
            return;
        }
        let told = told.lock().unwrap_or_else(PoisonError::into_inner);
        let of = |local, peer| told.iter().filter(move |event| event.local == local && event.peer == peer);
        let moves = |local, peer| {
            let states = of(local, peer).filter_map(|event| match event.what {
                KernelAct::State { from, to } => Some((from, to)),
                _ => None,
            });
            states.collect::<Vec<_>>()
        };
        // With no process, a smaller socket is kept in FIN-WAIT-2, of which the trace says nothing.
        let client = [
            (Closed, SynSent),
            (SynSent, Established),
            (Established, FinWait1),
            (FinWait1, FinWait2),
            (FinWait2, Closed),
        ];
        assert_eq!(moves(own, peer), client);
        let server = [(Listen, SynReceived), (SynReceived, Established), (Established, CloseWait)];
        assert_eq!(moves(peer, own), server);
        for event in of(own, peer).chain(of(peer, own)) {
            let error = event.clock.error;
            assert!(before.since(event.at) <= error && event.at.since(after) <= error, "{event:?}");
        }
        assert!(of(own, peer).all(|event| event.socket == of(own, peer).next().and_then(|first| first.socket)));
    }
}
