//! The witnesses beside the calls: the packets of the programs' connections, and what the kernel says of their ends at last.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::mpsc::SyncSender;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{mem, thread};

use nix::errno::Errno;

use super::backend::Backend;
use super::chains::Chains;
use super::delayed::{self, Delayed, Kept};
use super::ours::{Ours, is_wanted, own_frames};
use super::watching::Keeps;
use crate::capture::{
    CaptureStats, Frame, Live, Markers, OpenError, OwnedFrame, Tap, Tape, interfaces, ways_to_capture,
};
use crate::kernel::{Answer, KernelAct, KernelEvent, LostEvents, SockDiag, Trace, Tracepoints, now};
use crate::lab;
use crate::report::{KernelTrace, lost_congestion, lost_resets, missing_events};
use crate::story::Point;
use crate::tcp::State;
use crate::time::Timestamp;
use crate::wire::Decoder;

/// The packets and the kernel's answers, from before the first call until after the last.
pub(super) struct Witnesses {
    /// Whether packets can be captured.
    captures: bool,
    opened: Option<(Live, Markers)>,
    tape: Option<Tape>,
    ours: Arc<Mutex<Ours>>,
    frames: Vec<OwnedFrame>,
    stats: Option<CaptureStats>,
    evidence: Vec<Answer>,
    tracepoints: Option<Tracepoints>,
    trace: Option<Trace>,
    kept: Arc<Mutex<KeptEvents>>,
    kernel_events: Arc<Vec<KernelEvent>>,
    kernel_trace: Option<KernelTrace>,
    notices: Vec<String>,
    most: u64,
    begun: Timestamp,
    interface: &'static str,
    /// Where calls are heard of late: what waits for them.
    delayed: Option<Arc<Mutex<Delayed>>>,
}

/// What the kernel said, and whether packets say more.
#[derive(Clone, Copy, Debug)]
pub(super) struct Said<'a> {
    pub(super) events: &'a [KernelEvent],
    pub(super) answers: &'a [Answer],
    pub(super) has_packets: bool,
}

/// Whether packets are captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packets {
    /// Where that is permitted.
    Wanted,
    /// Calls and states are enough.
    Unwanted,
}

/// What the kernel's trace said of sockets that may be the programs'.
#[derive(Debug, Default)]
struct KeptEvents {
    events: Vec<KernelEvent>,
    chains: Chains,
    /// How many more were told and not kept.
    told: u64,
    left_out: u64,
}

impl Witnesses {
    /// Opens the capture, where that is permitted; at most so many frames are kept, and as many events of the kernel's trace.
    pub(super) fn open(
        is_private: bool,
        packets: Packets,
        most: u64,
        tracepoints: Result<Tracepoints, Option<String>>,
    ) -> Self {
        let addresses = || interfaces().into_iter().flatten().flat_map(|interface| interface.addresses);
        let ours = if is_private {
            Ours::in_private()
        } else {
            Ours::on(addresses().map(|address| address.addr.to_canonical()))
        };
        let mut notices = Vec::new();
        let tracepoints = tracepoints.map_err(|why| notices.extend(why)).ok();
        if let Some(missing) = tracepoints.as_ref().map(Tracepoints::missing).filter(|missing| !missing.is_empty()) {
            notices.push(format!(
                "the kernel's trace is incomplete: this kernel has no tracepoint {}",
                missing.join(", ")
            ));
        }
        let interface = if is_private { "lo" } else { "any" };
        let opened = match packets {
            Packets::Unwanted => None,
            Packets::Wanted => open(interface)
                .map_err(|why| {
                    notices.push(format!("{why}; calls and states are shown without packets"));
                })
                .ok(),
        };
        Self {
            captures: opened.is_some(),
            opened,
            tape: None,
            ours: Arc::new(Mutex::new(ours)),
            frames: Vec::new(),
            stats: None,
            evidence: Vec::new(),
            tracepoints,
            trace: None,
            kept: Arc::default(),
            kernel_events: Arc::default(),
            kernel_trace: None,
            notices,
            most,
            begun: now(),
            interface,
            delayed: None,
        }
    }

    /// What the calls tell of the packets that belong to them.
    pub(super) fn ours(&self) -> Arc<Mutex<Ours>> {
        Arc::clone(&self.ours)
    }

    /// On what is captured.
    pub(super) fn interface(&self) -> &'static str {
        self.interface
    }

    /// Where packets are captured; `None` where they cannot be.
    pub(super) fn point(&self) -> Option<Point> {
        self.captures.then(|| Point::live(self.interface))
    }

    /// When it began.
    pub(super) fn begun(&self) -> Timestamp {
        self.begun
    }

    /// Starts the capture, and waits until it is seen to run; `hearers` are told of each frame at once.
    ///
    /// Where nothing is kept, that is all that becomes of them.
    /// Where calls are recorded, which is heard of late, packets and events wait for them: see [`pass`](Self::pass).
    pub(super) fn start(
        &mut self,
        hearers: Vec<SyncSender<lab::Heard>>,
        backend: Backend,
        keeps: Keeps,
        chains: fn() -> Chains,
    ) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).chains = chains();
        if keeps == Keeps::Nothing {
            self.ours.lock().unwrap_or_else(PoisonError::into_inner).forgetting();
        }
        if backend == Backend::Perf {
            let delayed = Delayed::new(Arc::clone(&self.ours), hearers.clone(), self.most, keeps, chains());
            self.delayed = Some(Arc::new(Mutex::new(delayed)));
        }
        self.start_trace(hearers.clone(), keeps);
        let Some((live, markers)) = self.opened.take() else { return };
        if let Some(delayed) = self.delayed.clone() {
            let wait = move |frame: &Frame<'_>| {
                delayed::frame(&delayed, frame);
                false
            };
            return self.start_tape(live, markers, wait);
        }
        let (ours, mut decoder, mut room, mut number) = (Arc::clone(&self.ours), Decoder::new(), self.most, 0);
        let wanted = move |frame: &Frame<'_>| {
            let ours = ours.lock().unwrap_or_else(PoisonError::into_inner);
            let wanted = is_wanted(frame, &mut decoder, &ours);
            drop(ours);
            room = room.saturating_sub(u64::from(wanted && keeps == Keeps::Calls));
            let is_kept = wanted && room > 0;
            number += u64::from(is_kept);
            for hearer in hearers.iter().filter(|_| is_kept) {
                _ = hearer.send(lab::Heard::Frame(OwnedFrame { number, ..OwnedFrame::of(frame) }));
            }
            is_kept && keeps == Keeps::Calls
        };
        self.start_tape(live, markers, wanted);
    }

    fn start_tape(&mut self, live: Live, markers: Markers, wanted: impl FnMut(&Frame<'_>) -> bool + Send + 'static) {
        match Tape::start(live, markers, wanted) {
            Ok(tape) => self.tape = Some(tape),
            Err(error) => self.notices.push(format!("{error}; calls and states are shown without packets")),
        }
    }

    /// Takes in packets and events that have waited long enough for the calls before them, all of which are known until that moment.
    pub(super) fn pass(&self, until: Timestamp) {
        if let Some(delayed) = &self.delayed {
            delayed::pass(delayed, until);
        }
    }

    fn start_trace(&mut self, hearers: Vec<SyncSender<lab::Heard>>, keeps: Keeps) {
        let Some(tracepoints) = self.tracepoints.take() else { return };
        if let Some(delayed) = self.delayed.clone() {
            let wait = move |event: KernelEvent| delayed::event(&delayed, &event);
            return self.read_trace(tracepoints, wait);
        }
        let (ours, kept, most) = (Arc::clone(&self.ours), Arc::clone(&self.kept), self.most);
        let hear = move |event: KernelEvent| {
            let ours = ours.lock().unwrap_or_else(PoisonError::into_inner);
            if event.peer.port() == 0 || !ours.may_have_socket(event.local, event.peer) {
                return;
            }
            drop(ours);
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            kept.chains.hear(&event);
            if kept.events.len() as u64 >= most {
                kept.left_out += 1;
                return;
            }
            match keeps {
                Keeps::Calls => kept.events.push(event.clone()),
                Keeps::Nothing => kept.told += 1,
            }
            drop(kept);
            for hearer in &hearers {
                _ = hearer.send(lab::Heard::Kernel(event.clone()));
            }
        };
        self.read_trace(tracepoints, hear);
    }

    fn read_trace(&mut self, tracepoints: Tracepoints, hear: impl FnMut(KernelEvent) + Send + 'static) {
        match tracepoints.start(hear) {
            Ok(trace) => self.trace = Some(trace),
            Err(error) => self.notices.push(format!("the kernel's trace is not read: there can be no thread: {error}")),
        }
    }

    /// Takes in what the kernel's trace said, which has been read to its end.
    fn finish_trace(&mut self, on_host: LostEvents, KeptEvents { mut events, chains, told, left_out }: KeptEvents) {
        let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
        events.retain(|event| ours.has_socket(event.local, event.peer));
        // Of the ends of those that were forgotten it is not known any more whose they were.
        let is_theirs = |[local, peer]: [SocketAddr; 2]| told > 0 || ours.has_socket(local, peer);
        let lost = chains.missing(&self.evidence, is_theirs);
        if lost > 0 {
            self.notices.push(missing_events(lost));
        }
        // Whose these were nobody knows.
        if on_host.others > 0 && (told > 0 || !events.is_empty()) {
            self.notices.push(lost_resets(on_host.others));
        }
        let is_again = |event: &KernelEvent| matches!(event.what, KernelAct::Retransmit { .. });
        if on_host.congestion > 0 && events.iter().any(is_again) {
            self.notices.push(lost_congestion(on_host.congestion));
        }
        if left_out > 0 {
            self.notices.push(format!("{left_out} events of the kernel's trace are left out: raise --memory for more"));
        }
        self.kernel_trace = Some(KernelTrace {
            events: told + events.len() as u64,
            lost: lost + left_out,
            lost_on_host: on_host.all() + left_out,
        });
        self.kernel_events = Arc::new(events);
    }

    /// Asks the kernel what became of the ends, and reads the capture to its end.
    pub(super) fn finish(&mut self) {
        let pairs: Vec<_> = {
            let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
            ours.pairs().filter(|[local, _]| ours.is_here(local.ip())).take(MOST_ASKED).collect()
        };
        match final_states(&pairs) {
            Ok(evidence) => self.evidence = evidence,
            Err(errno) => {
                self.notices.push(format!("sock_diag does not answer ({}): final states are inferred", errno.desc()))
            }
        }
        if let Some(delayed) = &self.delayed {
            delayed.lock().unwrap_or_else(PoisonError::into_inner).end();
        }
        let taped = self.tape.take().map(Tape::stop);
        let lost = self.trace.take().map(Trace::stop);
        let delayed = self.delayed.take().map(|delayed| {
            let mut delayed = delayed.lock().unwrap_or_else(PoisonError::into_inner);
            delayed.finish()
        });
        let mut kept = mem::take(&mut *self.kept.lock().unwrap_or_else(PoisonError::into_inner));
        let mut waited = None;
        if let Some(Kept { frames, events, chains, events_told, events_left_out }) = delayed {
            kept = KeptEvents { events, chains, told: events_told, left_out: events_left_out };
            waited = Some(frames);
        }
        if let Some(lost) = lost {
            self.finish_trace(lost, kept);
        }
        let Some(taped) = taped else { return };
        match taped {
            Ok((frames, stats)) => {
                let frames = waited.unwrap_or(frames);
                if !stats.drained {
                    self.notices.push("the capture's end was not seen: frames may be missing".to_owned());
                }
                let ours = self.ours.lock().unwrap_or_else(PoisonError::into_inner);
                if frames.len() as u64 + 1 >= self.most {
                    self.notices
                        .push(format!("only the first {} packets are shown: raise --memory for more", frames.len()));
                }
                if ours.unknown() > 0 && !ours.is_private() {
                    self.notices.push("the packets of further connections are left out: there are too many".to_owned());
                }
                self.frames = own_frames(frames, &ours);
                self.stats = Some(stats);
            }
            Err(error) => self.notices.push(error.message),
        }
    }

    /// What the user should know, each once.
    pub(super) fn notices(&mut self) -> Vec<String> {
        mem::take(&mut self.notices)
    }

    /// The frames of the programs' connections.
    pub(super) fn frames(&self) -> &[OwnedFrame] {
        &self.frames
    }

    /// Whether there was a capture.
    pub(super) fn has_packets(&self) -> bool {
        self.stats.is_some()
    }

    /// How many packets the kernel dropped.
    pub(super) fn dropped(&self) -> Option<u64> {
        self.stats.as_ref().map(|stats| stats.dropped)
    }

    /// What the kernel's trace said of the programs' sockets.
    pub(super) fn kernel_events(&self) -> &Arc<Vec<KernelEvent>> {
        &self.kernel_events
    }

    /// How the kernel's trace was read, if it was.
    pub(super) fn kernel_trace(&self) -> Option<KernelTrace> {
        self.kernel_trace
    }

    /// What the kernel said of the programs' sockets.
    pub(super) fn said(&self) -> Said<'_> {
        Said { events: &self.kernel_events, answers: &self.evidence, has_packets: self.has_packets() }
    }

    /// What sock_diag said.
    pub(super) fn evidence(&self) -> &[Answer] {
        &self.evidence
    }
}

/// Opens a capture on an interface, or says why not and what to do.
fn open(interface: &str) -> Result<(Live, Markers), String> {
    let markers = Markers::over(Ipv4Addr::LOCALHOST.into())
        .or_else(|_| Markers::over(Ipv6Addr::LOCALHOST.into()))
        .map_err(|error| format!("the loopback interface cannot be used ({error})"))?;
    let tap = Tap {
        interface: interface.to_owned(),
        // Segments, their fragments, and ICMP errors that quote them.
        filter: format!("tcp or icmp or icmp6 or (ip[6:2] & 0x3fff != 0) or (ip6[6] = 44) or {}", markers.filter()),
        snap_len: SNAP_LEN,
        buffer: BUFFER,
    };
    match Live::open(tap) {
        Ok(live) => Ok((live, markers)),
        Err(OpenError::Permission(error)) => Err(format!("{error}: {}, or use --isolated", ways_to_capture())),
        Err(OpenError::Other(error)) => Err(error.message),
    }
}

/// Asks about each end until it is final: gone, or in TIME-WAIT. What is not final in a while is told as it is.
fn final_states(pairs: &[[SocketAddr; 2]]) -> Result<Vec<Answer>, Errno> {
    if pairs.is_empty() {
        return Ok(Vec::new());
    }
    let deadline = Instant::now() + LATEST;
    // Many are asked about by two.
    let (own, others) = pairs.split_at(pairs.len().div_ceil(2).max(FEW_ASKED).min(pairs.len()));
    let mut evidence = thread::scope(|scope| {
        let ask = move || final_states_of(others, deadline);
        let other = if others.is_empty() { None } else { thread::Builder::new().spawn_scoped(scope, ask).ok() };
        let mut all = final_states_of(own, deadline)?;
        let asked = other.map(|other| other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)));
        // Where there can be no thread, or no further socket, this one asks.
        match asked {
            Some(Ok(others)) => all.extend(others),
            Some(Err(_)) | None if !others.is_empty() => all.extend(final_states_of(others, deadline)?),
            _ => {}
        }
        Ok::<_, Errno>(all)
    })?;
    evidence.sort_by_key(|answer| answer.answered);
    Ok(evidence)
}

fn final_states_of(pairs: &[[SocketAddr; 2]], deadline: Instant) -> Result<Vec<Answer>, Errno> {
    let mut kernel = SockDiag::open()?;
    let mut evidence = Vec::with_capacity(pairs.len());
    for [local, peer] in pairs {
        loop {
            let answer = kernel.lookup(*local, *peer)?;
            let settled = matches!(answer.state, None | Some(State::TimeWait));
            if settled || Instant::now() >= deadline {
                evidence.push(answer);
                break;
            }
            thread::yield_now();
        }
    }
    Ok(evidence)
}

/// Headers, and as much payload as is compared and shown. The kernel's buffer has places of this size.
const SNAP_LEN: u32 = 512;
/// The kernel's buffer.
const BUFFER: u32 = 32 << 20;
/// How many ends are asked about at last.
const MOST_ASKED: usize = 4096;
/// How many are not worth a thread of their own.
const FEW_ASKED: usize = 256;
/// How long the ends are waited for.
const LATEST: Duration = Duration::from_millis(300);

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::{TcpListener, TcpStream, UdpSocket};
    use std::sync::atomic::{AtomicU32, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn ends_that_do_not_come_to_rest_are_asked_about_for_so_long_and_told_as_they_are() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let _server = listener.accept().expect("the connection");
        let (own, peer) = (client.local_addr().expect("an address"), client.peer_addr().expect("an address"));
        // However many there are, it takes that time in all.
        let pairs = [[own, peer], [peer, own]].repeat(FEW_ASKED);
        let begun = Instant::now();
        let told = final_states(&pairs).expect("sock_diag answers");
        let took = begun.elapsed();
        assert!(told.len() == pairs.len() && told.iter().all(|end| end.state == Some(State::Established)), "{told:?}");
        assert!(took >= LATEST && took < 20 * LATEST, "{took:?}");
    }

    /// Whoever hears of the packets takes none, until the kernel's buffer has no room for more.
    #[test]
    fn packets_that_the_kernels_buffer_has_no_room_for_are_counted() {
        lab::in_own_network(|| {
            let mut witnesses = Witnesses::open(true, Packets::Wanted, u64::MAX, Err(None));
            let (hearer, heard) = mpsc::sync_channel(0);
            witnesses.start(vec![hearer], Backend::Ptrace, Keeps::Calls, Chains::default);
            assert_eq!(witnesses.notices(), [""; 0]);
            let refused = || {
                let refused = TcpStream::connect((Ipv4Addr::LOCALHOST, 1)).map(drop).map_err(|error| error.kind());
                assert_eq!(refused, Err(ErrorKind::ConnectionRefused));
            };
            // The first segment is heard of; until that is taken nothing more is read of the capture.
            refused();
            // Each of these is answered with an ICMP error, which the kernel has twice, going out and coming in.
            let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
            let flood = BUFFER / SNAP_LEN;
            for _ in 0..flood {
                from.send_to(b"nobody is there", (Ipv4Addr::LOCALHOST, 1)).expect("loopback takes it");
            }
            let segments = AtomicU32::new(0);
            thread::scope(|scope| {
                scope.spawn(|| {
                    for _ in heard {
                        segments.fetch_add(1, Ordering::AcqRel);
                    }
                });
                // Beyond those of the first connection one is heard of once the buffer has room, as it has to have for the capture's end.
                while segments.load(Ordering::Acquire) < 3 {
                    refused();
                }
                witnesses.finish();
            });
            assert_eq!(witnesses.notices(), [""; 0], "the capture was read to its end");
            let CaptureStats { received, dropped, .. } = witnesses.stats.as_ref().expect("there was a capture");
            assert_eq!(witnesses.dropped(), Some(*dropped));
            // A place of the buffer has room for as much of a packet as is kept, and for what is said of it.
            let (held, places) = (received - dropped, u64::from(BUFFER / SNAP_LEN));
            assert!(*dropped >= u64::from(flood) && held >= places / 2, "{dropped} dropped, {held} held");
        });
    }
}
