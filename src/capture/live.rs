//! Frames from a live interface, by libpcap.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use pcap::{Active, Capture, Error, Precision, Stat};
use serde::{Deserialize, Serialize};

use super::closing::close_beside;
use super::filter::unusable;
use super::interfaces::ANY;
use super::{
    CaptureError, CapturePoint, Frame, FrameSource, Interface, LinkType, SeenAt, interfaces, shown, ways_to_capture,
};
use crate::time::Timestamp;

/// What to capture, and with how much room.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Tap {
    /// The interface, by name.
    pub interface: String,
    /// A filter in tcpdump's syntax; the empty one lets everything through.
    pub filter: String,
    /// How many octets of a frame are kept at most.
    pub snap_len: u32,
    /// The kernel's buffer, in octets.
    pub buffer: u32,
}

/// Why a live capture could not be opened.
#[derive(Debug)]
pub enum OpenError {
    /// This process may not capture packets: CAP_NET_RAW is missing. Another way in may be open.
    Permission(CaptureError),
    /// Anything else, such as an interface that does not exist or a filter that does not compile.
    Other(CaptureError),
}

impl OpenError {
    /// The error itself.
    pub fn into_inner(self) -> CaptureError {
        match self {
            Self::Permission(error) | Self::Other(error) => error,
        }
    }
}

/// How a capture is held on its interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Manner {
    /// When packets are handed over.
    pub delivery: Delivery,
    /// Whose packets they are.
    pub scope: Scope,
}

/// When packets are handed over.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Delivery {
    /// Each as soon as it is there, for experiments. Every packet takes the room of the longest.
    #[default]
    AtOnce,
    /// Many together, each at most a twentieth of a second after it was captured, for [`Live::gather`].
    ///
    /// They lie close to one another in the kernel's buffer, so that it holds many times as many, and reading them takes few system calls.
    Gathered,
}

/// Whose packets are captured.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Scope {
    /// Those that this host sends or takes.
    #[default]
    Own,
    /// All that pass by: the interface is put into promiscuous mode.
    Everyones,
}

/// A running capture on an interface, with nanosecond stamps.
///
/// libpcap hands each packet on the loopback interface out once, although the kernel sees it leave and arrive.
pub struct Live {
    capture: Capture<Active>,
    tap: Tap,
    point: CapturePoint,
    number: u64,
    bytes: Vec<u8>,
    stop: Arc<AtomicBool>,
    /// When the switch was seen to be set: what was captured later is no longer wanted.
    until: Option<Timestamp>,
    counted: Counted,
}

impl Live {
    /// Opens the capture to hand over each packet at once; from then on packets that pass the filter wait in the kernel's buffer.
    ///
    /// # Errors
    /// See [`OpenError`]; each names the interface or the filter and the way out.
    pub fn open(tap: Tap) -> Result<Self, OpenError> {
        Self::open_in(tap, Manner::default())
    }

    /// Opens the capture in a manner; from then on packets that pass the filter wait in the kernel's buffer.
    ///
    /// # Errors
    /// See [`OpenError`]; each names the interface or the filter and the way out.
    pub fn open_in(tap: Tap, manner: Manner) -> Result<Self, OpenError> {
        let Tap { interface, filter, .. } = &tap;
        let other = |message: String| OpenError::Other(CaptureError { message });
        if interface != ANY && if_nametoindex(interface.as_str()).is_err() {
            return Err(other(unknown(interface)));
        }
        match socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None) {
            Ok(_) => {}
            Err(Errno::EPERM | Errno::EACCES) => {
                let message = format!("no permission to capture on {interface} (root or CAP_NET_RAW has it)");
                return Err(OpenError::Permission(CaptureError { message }));
            }
            Err(errno) => return Err(other(format!("cannot capture on {interface}: {}", errno.desc()))),
        }
        let opened = Capture::from_device(interface.as_str()).and_then(|inactive| {
            inactive
                .snaplen(tap.snap_len.min(i32::MAX as u32) as i32)
                .buffer_size(tap.buffer.min(i32::MAX as u32) as i32)
                .precision(Precision::Nano)
                .immediate_mode(manner.delivery == Delivery::AtOnce)
                .promisc(manner.scope == Scope::Everyones && interface != ANY)
                .timeout(GATHERING.as_millis() as i32)
                .open()
        });
        // libpcap itself waits for a packet without end, whatever its timeout is (seen of 1.10.3), and hears of no switch meanwhile.
        let mut capture =
            opened.and_then(Capture::setnonblock).map_err(|error| other(cannot_open(interface, &error)))?;
        let link = link_type(capture.get_datalink().0);
        capture.filter(filter, true).map_err(|error| OpenError::Other(unusable(filter, link, &error)))?;
        // Until the filter was there the kernel counted everything that passed.
        let counted = capture.stats().map_or(Counted::default(), |stat| Counted::since(counters(stat)));
        let number = 0;
        let point = CapturePoint { file: None, interface: Some(shown(interface)), description: None, link };
        Ok(Self { capture, tap, point, number, bytes: Vec::new(), stop: Arc::default(), until: None, counted })
    }

    /// Opens the capture where this user may; says so where not.
    #[cfg(test)]
    pub(super) fn where_permitted(tap: Tap, manner: Manner) -> Option<Self> {
        match Self::open_in(tap, manner) {
            Ok(live) => Some(live),
            Err(OpenError::Permission(_)) if !nix::unistd::geteuid().is_root() => {
                eprintln!("NOT CHECKED here: an ordinary user may not capture packets");
                None
            }
            Err(error) => panic!("{}", error.into_inner().message),
        }
    }

    /// The interface captured on.
    pub fn interface(&self) -> &str {
        &self.tap.interface
    }

    /// How many octets of a frame are kept at most.
    pub fn snap_len(&self) -> u32 {
        self.tap.snap_len
    }

    /// How its frames begin.
    pub fn link(&self) -> LinkType {
        self.point.link
    }

    /// A switch that ends the capture: once it is set, [`FrameSource::next_frame`] yields what had been captured by then, and then `None`,
    /// within two tenths of a second.
    pub fn stop_switch(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// What the kernel has counted so far.
    ///
    /// # Errors
    /// libpcap's.
    pub fn stats(&mut self) -> Result<CaptureStats, CaptureError> {
        let interface = self.tap.interface.clone();
        let stat = self
            .capture
            .stats()
            .map_err(|error| CaptureError { message: format!("no counters of {interface}: {}", told(&error)) })?;
        let [received, dropped, if_dropped] = self.counted.advance(counters(stat));
        Ok(CaptureStats { interface, received, dropped, if_dropped, drained: false })
    }

    /// Hands out what has come, at most `most` packets, waiting `patience` for the first of them, or until `wake` can be read from;
    /// returns how many there were.
    ///
    /// Each is given by its time, its length on the wire and the octets captured.
    /// It is meant for a capture opened with [`Delivery::Gathered`].
    ///
    /// # Errors
    /// The capture broke, for example because the interface went away.
    pub fn gather(
        &mut self,
        patience: Duration,
        wake: Option<BorrowedFd<'_>>,
        most: usize,
        mut take: impl FnMut(Timestamp, u32, &[u8]),
    ) -> Result<usize, CaptureError> {
        match self.dispatch(most, &mut take)? {
            0 => {}
            taken => return Ok(taken),
        }
        if self.wait(patience, wake) { self.dispatch(most, &mut take) } else { Ok(0) }
    }

    /// Waits `patience` for a packet, or until `wake` can be read from; whether there is something to look at.
    fn wait(&self, patience: Duration, wake: Option<BorrowedFd<'_>>) -> bool {
        // A signal ends the wait early, as if nothing had come; what is wrong with the interface, libpcap says.
        let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
        let capture = PollFd::new(self.capture.as_fd(), PollFlags::POLLIN);
        let wake = wake.map(|wake| PollFd::new(wake, PollFlags::POLLIN));
        let waited = match wake {
            Some(wake) => poll(&mut [capture, wake], patience),
            None => poll(&mut [capture], patience),
        };
        waited != Ok(0)
    }

    /// Ends the capture; nobody waits for the kernel, which takes tens of milliseconds to close a packet socket.
    pub(super) fn end(self) {
        close_beside([self.capture.as_fd().as_raw_fd()], || drop(self));
    }

    fn dispatch(&mut self, most: usize, take: &mut impl FnMut(Timestamp, u32, &[u8])) -> Result<usize, CaptureError> {
        let Self { capture, tap, .. } = self;
        let hand_over = |packet: pcap::Packet<'_>| take(stamp(packet.header), packet.header.len, packet.data);
        capture.dispatch(Some(most), hand_over).map_err(|error| CaptureError {
            message: format!("the capture on {} broke: {}", tap.interface, told(&error)),
        })
    }
}

impl Interface {
    /// Opens the interface for a moment to learn its link type, or why nothing can be captured on it.
    pub fn try_out(&mut self) {
        let tap = Tap { interface: self.name.clone(), filter: String::new(), snap_len: 64, buffer: 1 << 16 };
        match Live::open(tap) {
            Ok(live) => self.link = Some(live.link().into()),
            Err(OpenError::Permission(_)) => {
                self.why_not = Some(format!("no permission (root or CAP_NET_RAW has it): {}", ways_to_capture()));
            }
            Err(OpenError::Other(error)) => self.why_not = Some(error.message),
        }
    }
}

/// libpcap counts in 32 bits, which a long capture fills.
#[derive(Clone, Copy, Default)]
struct Counted {
    last: [u32; 3],
    all: [u64; 3],
}

impl Counted {
    /// Counts from here on.
    fn since(now: [u32; 3]) -> Self {
        Self { last: now, all: [0; 3] }
    }

    fn advance(&mut self, now: [u32; 3]) -> [u64; 3] {
        for ((all, last), now) in self.all.iter_mut().zip(&mut self.last).zip(now) {
            *all += u64::from(now.wrapping_sub(*last));
            *last = now;
        }
        self.all
    }
}

fn counters(stat: Stat) -> [u32; 3] {
    [stat.received, stat.dropped, stat.if_dropped]
}

impl FrameSource for Live {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        loop {
            if self.until.is_none() && self.stop.load(Ordering::Acquire) {
                self.until = Some(now());
            }
            match self.capture.next_packet() {
                Ok(packet) => {
                    let at = stamp(packet.header);
                    if self.until.is_some_and(|until| at > until) {
                        return Ok(None);
                    }
                    self.number += 1;
                    self.bytes.clear();
                    self.bytes.extend_from_slice(packet.data);
                    return Ok(Some(Frame {
                        number: self.number,
                        at: Some(at),
                        link: self.point.link,
                        wire_len: packet.header.len,
                        bytes: &self.bytes,
                        seen: SeenAt::default(),
                    }));
                }
                // None is there.
                Err(Error::TimeoutExpired) => {
                    if !self.wait(PATIENCE, None) && self.until.is_some() {
                        return Ok(None);
                    }
                }
                Err(Error::NoMorePackets) => return Ok(None),
                Err(error) => {
                    let message = format!("the capture on {} broke: {}", self.tap.interface, told(&error));
                    return Err(CaptureError { message });
                }
            }
        }
    }

    fn points(&self) -> &[CapturePoint] {
        std::slice::from_ref(&self.point)
    }
}

/// What the kernel counted of a live capture.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct CaptureStats {
    /// The interface captured on.
    pub interface: String,
    /// Packets that passed the filter; on loopback each counts twice, leaving and arriving.
    pub received: u64,
    /// Packets that the kernel dropped because its buffer was full.
    pub dropped: u64,
    /// Packets that the interface or its driver dropped.
    pub if_dropped: u64,
    /// Whether everything was read that had been captured: a mark sent after the last packet was seen to come through.
    pub drained: bool,
}

/// The time on the clock by which packets are stamped.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp::from_parts(since_epoch.as_secs() as i64, since_epoch.subsec_nanos())
}

fn stamp(header: &pcap::PacketHeader) -> Timestamp {
    // With nanosecond precision libpcap keeps nanoseconds where the name says microseconds.
    Timestamp::from_parts(header.ts.tv_sec, header.ts.tv_usec as u32)
}

/// The number in the LINKTYPE_ registry of what libpcap on this system knows by another one.
fn link_type(dlt: i32) -> LinkType {
    LinkType(match dlt {
        11 => 100,
        12 => 101,
        15 => 102,
        16 => 103,
        19 => 106,
        number => u16::try_from(number).unwrap_or(u16::MAX),
    })
}

fn unknown(interface: &str) -> String {
    let name = shown(interface);
    match interfaces() {
        Ok(known) if !known.is_empty() => {
            let known: Vec<_> = known.iter().map(|interface| shown(&interface.name)).collect();
            format!("no interface is called '{name}'; there are: {}", known.join(", "))
        }
        _ => format!("no interface is called '{name}': 'ip link' lists those there are"),
    }
}

fn cannot_open(interface: &str, error: &Error) -> String {
    let why = told(error);
    if why.contains("not up") {
        return format!("the interface {interface} is down: 'sudo ip link set {interface} up'");
    }
    format!("cannot capture on {interface}: {why}")
}

fn told(error: &Error) -> String {
    shown(error.to_string().trim_start_matches("libpcap error: "))
}

/// How long the kernel gathers packets before it hands them over.
pub(super) const GATHERING: Duration = Duration::from_millis(50);

/// How long a packet is waited for before the switch is looked at.
const PATIENCE: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_of_32_bits_go_on_past_their_end() {
        let mut counted = Counted::default();
        assert_eq!(counted.advance([u32::MAX, 5, 0]), [u64::from(u32::MAX), 5, 0]);
        assert_eq!(counted.advance([4, 5, 1]), [u64::from(u32::MAX) + 5, 5, 1]);
        let mut counted = Counted::since([u32::MAX, 5, 0]);
        assert_eq!(counted.advance([4, 5, 1]), [5, 0, 1]);
    }

    #[test]
    fn link_types_have_the_numbers_of_the_registry() {
        assert_eq!([1, 12, 113, 276].map(link_type), [1, 101, 113, 276].map(LinkType));
    }
}
