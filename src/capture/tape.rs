//! A capture in a thread of its own that is proven to run before, and drained after; and its frames, kept in memory.

use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use nix::sys::socket::{MsgFlags, send};

use super::{CaptureError, CaptureStats, Frame, FrameSource, LinkType, Live, SeenAt};
use crate::time::Timestamp;

/// One captured frame with its bytes.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct OwnedFrame {
    /// See [`Frame::number`].
    pub number: u64,
    /// See [`Frame::at`].
    pub at: Option<Timestamp>,
    /// See [`Frame::link`].
    pub link: LinkType,
    /// See [`Frame::bytes`].
    pub bytes: Box<[u8]>,
    /// See [`Frame::wire_len`].
    pub wire_len: u32,
    /// See [`Frame::seen`].
    pub seen: SeenAt,
}

impl OwnedFrame {
    /// A frame with a copy of its octets.
    pub fn of(frame: &Frame<'_>) -> Self {
        let Frame { number, at, link, bytes, wire_len, seen } = *frame;
        Self { number, at, link, bytes: bytes.into(), wire_len, seen }
    }

    /// The frame as a source would yield it.
    pub fn as_frame(&self) -> Frame<'_> {
        let Self { number, at, link, ref bytes, wire_len, seen } = *self;
        Frame { number, at, link, bytes, wire_len, seen }
    }
}

/// Yields frames that are kept in memory.
#[derive(Clone, Debug)]
pub struct Replay<'a> {
    frames: std::slice::Iter<'a, OwnedFrame>,
}

impl<'a> Replay<'a> {
    /// Yields `frames` in their order.
    pub fn of(frames: &'a [OwnedFrame]) -> Self {
        Self { frames: frames.iter() }
    }
}

impl FrameSource for Replay<'_> {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        Ok(self.frames.next().map(OwnedFrame::as_frame))
    }
}

/// Yields frames that somebody holds.
pub struct Given<'a>(Box<dyn Iterator<Item = Frame<'a>> + 'a>);

impl<'a> Given<'a> {
    /// Yields `frames` in their order.
    pub fn of(frames: impl Iterator<Item = Frame<'a>> + 'a) -> Self {
        Self(Box::new(frames))
    }
}

impl FrameSource for Given<'_> {
    fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
        Ok(self.0.next())
    }
}

/// Datagrams sent over the captured interface to mark the beginning and the end of a capture; they are not frames of it.
#[derive(Debug)]
pub struct Markers {
    way: Way,
    nonce: u64,
}

/// How they are sent.
#[derive(Debug)]
enum Way {
    /// As datagrams of a socket that is connected to itself, at that address.
    Datagrams(UdpSocket, SocketAddr),
    /// As frames of their own, through a raw socket at the other end of a link.
    Frames(OwnedFd),
}

impl Markers {
    /// Takes a free port of `loopback` for them.
    ///
    /// # Errors
    /// The kernel's, such as `EADDRNOTAVAIL` where there is no such address.
    pub fn over(loopback: IpAddr) -> std::io::Result<Self> {
        use std::hash::{BuildHasher, RandomState};
        let socket = UdpSocket::bind((loopback, 0))?;
        let address = socket.local_addr()?;
        // Connected to itself, it neither takes nor answers anybody else's datagrams.
        socket.connect(address)?;
        Ok(Self { way: Way::Datagrams(socket, address), nonce: RandomState::new().hash_one(address) })
    }

    /// Sends them through `tap`, a raw packet socket on the device at the other end of the link whose near end is captured.
    pub fn through(tap: OwnedFd) -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self { nonce: RandomState::new().hash_one(tap.as_raw_fd()), way: Way::Frames(tap) }
    }

    fn send(&self, text: &str) -> std::io::Result<()> {
        match &self.way {
            Way::Datagrams(socket, _) => socket.send(text.as_bytes()).map(drop),
            Way::Frames(tap) => {
                let frame = [&[0xff; 6][..], &[2, 0, 0, 0, 0, 0], &LOCAL_EXPERIMENTAL.to_be_bytes(), text.as_bytes()];
                Ok(send(tap.as_raw_fd(), &frame.concat(), MsgFlags::empty()).map(drop)?)
            }
        }
    }

    /// The filter that lets them through, in tcpdump's syntax.
    pub fn filter(&self) -> String {
        match &self.way {
            Way::Datagrams(_, address) => format!("(udp and src port {0} and dst port {0})", address.port()),
            Way::Frames(_) => format!("(ether proto {LOCAL_EXPERIMENTAL})"),
        }
    }

    // Short enough for the smallest MTU that IPv4 knows.
    fn begin(&self) -> String {
        format!("tcpflow begins {:016x}", self.nonce)
    }

    fn end(&self) -> String {
        format!("tcpflow ends {:016x}", self.nonce)
    }
}

/// A capture in a thread of its own, which keeps the frames between two markers.
pub struct Tape {
    markers: Markers,
    stop: StopOnDrop,
    from_thread: Receiver<Message>,
    interface: String,
}

/// Ends the thread also when nobody stops the tape.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

enum Message {
    Begun,
    Done(Result<(Vec<OwnedFrame>, CaptureStats), CaptureError>),
}

impl Tape {
    /// Starts the thread and returns once a mark has come through the interface, the filter and libpcap: the capture is running.
    ///
    /// The filter of `live` must let `markers` through. `wanted` sees each frame as soon as it is read, in the thread that reads, and
    /// says whether it is kept.
    ///
    /// # Errors
    /// When the mark did not come, or the capture broke.
    pub fn start(
        live: Live,
        markers: Markers,
        wanted: impl FnMut(&Frame<'_>) -> bool + Send + 'static,
    ) -> Result<Self, CaptureError> {
        let stop = StopOnDrop(live.stop_switch());
        let interface = live.interface().to_owned();
        let (begin, end) = (markers.begin().into_bytes(), markers.end().into_bytes());
        let (to_owner, from_thread) = mpsc::channel();
        let broken =
            |what: &dyn std::fmt::Display| CaptureError { message: format!("cannot capture on {interface}: {what}") };
        thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || {
                let mut live = live;
                let result = keep(&mut live, &begin, &end, || drop(to_owner.send(Message::Begun)), wanted);
                drop(to_owner.send(Message::Done(result)));
                live.end();
            })
            .map_err(|error| broken(&error))?;
        markers.send(&markers.begin()).map_err(|error| broken(&error))?;
        match await_message(&from_thread) {
            Ok(Message::Begun) => Ok(Self { markers, stop, from_thread, interface }),
            Ok(Message::Done(Err(error))) => Err(error),
            Ok(Message::Done(Ok(_))) | Err(_) => {
                Err(broken(&"a datagram sent through it was not seen; does a firewall drop local traffic?"))
            }
        }
    }

    /// Sends the end mark, reads until it is seen, and hands out the frames that were kept before it, numbered from 1.
    ///
    /// # Errors
    /// When the capture broke.
    pub fn stop(self) -> Result<(Vec<OwnedFrame>, CaptureStats), CaptureError> {
        let broken = |what: &dyn std::fmt::Display| CaptureError {
            message: format!("the capture on {} broke: {what}", self.interface),
        };
        self.markers.send(&self.markers.end()).map_err(|error| broken(&error))?;
        loop {
            match await_message(&self.from_thread) {
                Ok(Message::Done(result)) => return result,
                Ok(Message::Begun) => {}
                // Either the mark itself was dropped: what was read is still good, and the counters say how much is missing. Or the
                // thread did not run all the while: then it reads what waits for it, the mark too.
                Err(RecvTimeoutError::Timeout) if !self.stop.0.swap(true, Ordering::AcqRel) => {}
                Err(RecvTimeoutError::Timeout) => {
                    let result = self.from_thread.recv().map_err(|error| broken(&error))?;
                    if let Message::Done(result) = result {
                        return result;
                    }
                }
                Err(error) => return Err(broken(&error)),
            }
        }
    }
}

/// Waits for as long as a mark may take, in steps: while this process is stopped, the thread that it waits for is stopped, too, and no more
/// than one of them passes.
fn await_message(from_thread: &Receiver<Message>) -> Result<Message, RecvTimeoutError> {
    for _ in 0..STEPS {
        match from_thread.recv_timeout(LIMIT / STEPS) {
            Err(RecvTimeoutError::Timeout) => {}
            result => return result,
        }
    }
    Err(RecvTimeoutError::Timeout)
}

/// Keeps the frames from the begin mark to the end mark, or to the stop.
fn keep(
    live: &mut Live,
    begin: &[u8],
    end: &[u8],
    begun: impl FnOnce(),
    mut wanted: impl FnMut(&Frame<'_>) -> bool,
) -> Result<(Vec<OwnedFrame>, CaptureStats), CaptureError> {
    let mut frames = Vec::new();
    let mut begun = Some(begun);
    let mut drained = false;
    while let Some(frame) = live.next_frame()? {
        if frame.bytes.ends_with(end) {
            drained = true;
            break;
        }
        if frame.bytes.ends_with(begin) {
            if let Some(begun) = begun.take() {
                begun();
            }
            continue;
        }
        if !wanted(&frame) {
            continue;
        }
        frames.push(OwnedFrame { number: frames.len() as u64 + 1, ..OwnedFrame::of(&frame) });
    }
    let stats = live.stats()?;
    Ok((frames, CaptureStats { drained, ..stats }))
}

/// The type of frames that nobody else uses (IEEE 802, local experimental EtherType 1).
const LOCAL_EXPERIMENTAL: u16 = 0x88b5;
/// How long a mark may take to come through.
const LIMIT: Duration = Duration::from_secs(3);
/// In how many steps that is waited for.
const STEPS: u32 = 30;

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;
    use std::time::Instant;

    use super::*;
    use crate::capture::{Manner, Tap};

    /// A capture on loopback of those markers, as far as a filter lets them through besides.
    fn captured(besides: &str) -> Option<(Markers, Live)> {
        let markers = Markers::over(Ipv4Addr::LOCALHOST.into()).expect("a port");
        let filter = format!("{} and {besides}", markers.filter());
        let tap = Tap { interface: "lo".to_owned(), filter, snap_len: 1500, buffer: 1 << 20 };
        Some((markers, Live::where_permitted(tap, Manner::default())?))
    }

    /// Neither capture sees the mark that it waits for: the one that of its beginning, the other that of its end.
    #[test]
    fn a_mark_is_waited_for_only_so_long() {
        let unbegun = || {
            let Some((markers, live)) = captured("udp[4:2] = 0") else { return };
            let begun = Instant::now();
            let Err(error) = Tape::start(live, markers, |_| true) else { panic!("no mark came through") };
            assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
            let said =
                "cannot capture on lo: a datagram sent through it was not seen; does a firewall drop local traffic?";
            assert_eq!(error.message, said);
        };
        let unended = || {
            // The end's has an `e` where the beginning's has a `b`.
            let Some((markers, live)) = captured("udp[16] != 0x65") else { return };
            let Way::Datagrams(socket, _) = &markers.way else { panic!("{markers:?}") };
            let socket = socket.try_clone().expect("a descriptor");
            let tape = Tape::start(live, markers, |_| true).expect("the capture runs");
            socket.send(b"tcpflow has a frame").expect("loopback takes it");
            let begun = Instant::now();
            let (frames, stats) = tape.stop().expect("it is ended without the mark");
            assert!(begun.elapsed() >= LIMIT, "{:?}", begun.elapsed());
            // What was read is good; that it may not be all is for whoever tells of it.
            assert_eq!((frames.len(), stats.drained), (1, false));
        };
        thread::scope(|scope| {
            scope.spawn(unbegun);
            scope.spawn(unended);
        });
    }
}
