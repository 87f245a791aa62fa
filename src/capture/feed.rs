//! A thread that takes packets off a live capture into batches, so that whoever follows them never makes the kernel drop any.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::live::{GATHERING, now};
use super::{CaptureError, CapturePoint, CaptureStats, Frame, FrameSource, LinkType, Live, SeenAt};
use crate::time::Timestamp;

/// The packets of a live capture, in batches that wait until they are asked for.
///
/// Up to 64 MiB of them wait, or twice that for a moment; after that the kernel's buffer fills, and then the kernel drops packets and counts them.
pub struct Feed {
    from: From,
    spare: Sender<Batch>,
    stop: StopOnDrop,
    points: Vec<CapturePoint>,
}

/// Ends the thread also when nobody stops the feed.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// What a feed has to say.
#[derive(Debug)]
pub enum Fed {
    /// Packets came.
    Batch(Batch),
    /// None came in the time given.
    Nothing,
    /// No more will come: the feed was stopped and is empty.
    Ended {
        /// What the kernel counted; `None` when it gives no counters.
        stats: Option<CaptureStats>,
        /// Why the capture broke, if it did.
        broken: Option<CaptureError>,
    },
}

/// Frames one after the other, and the counters of the kernel where they were asked after the last of them.
#[derive(Debug)]
pub struct Batch {
    link: LinkType,
    heads: Vec<Head>,
    bytes: Vec<u8>,
    /// What the kernel had counted by then.
    pub stats: Option<CaptureStats>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    at: Timestamp,
    wire_len: u32,
    /// Where its octets end in the batch; they begin where the last one's end.
    end: u32,
}

impl Batch {
    fn new(link: LinkType) -> Self {
        Self { link, heads: Vec::new(), bytes: Vec::new(), stats: None }
    }

    /// Its frames, numbered from `number` on.
    pub fn frames(&self, number: u64) -> impl Iterator<Item = Frame<'_>> {
        let mut begin = 0;
        self.heads.iter().zip(number..).map(move |(head, number)| {
            let bytes = &self.bytes[begin..head.end as usize];
            begin = head.end as usize;
            let (link, seen) = (self.link, SeenAt::default());
            Frame { number, at: Some(head.at), link, wire_len: head.wire_len, bytes, seen }
        })
    }

    fn push(&mut self, at: Timestamp, wire_len: u32, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        self.heads.push(Head { at, wire_len, end: self.bytes.len() as u32 });
    }

    fn clear(&mut self) {
        self.heads.clear();
        self.bytes.clear();
        self.stats = None;
    }
}

impl Feed {
    /// Starts the thread that reads `live`, which was opened with [`Delivery::Gathered`](super::Delivery::Gathered).
    ///
    /// It stops, as by [`stop`](Self::stop), as soon as `wake` can be read from.
    ///
    /// Where there can be no thread, packets are read when they are asked for, and until then only the kernel's buffer holds them.
    pub fn start(live: Live, wake: Option<OwnedFd>) -> Self {
        let stop = StopOnDrop(live.stop_switch());
        let points = live.points().to_vec();
        let (to_owner, from_thread) = mpsc::sync_channel(WAITING);
        let (spare, back) = mpsc::channel();
        let reader = Arc::new(Mutex::new(Some(Reader::new(live, stop.0.clone(), wake, back))));
        let of_thread = Arc::clone(&reader);
        let thread = thread::Builder::new().name("capture".to_owned()).spawn(move || {
            if let Some(reader) = taken(&of_thread) {
                reader.run(&to_owner);
            }
        });
        let from = match thread {
            Ok(_) => From::Thread(from_thread),
            Err(_) => taken(&reader).map_or(From::Thread(from_thread), |reader| From::Here(Box::new(reader))),
        };
        Self { from, spare, stop, points }
    }

    /// Where its packets are captured, as [`FrameSource::points`] has it.
    pub fn points(&self) -> &[CapturePoint] {
        &self.points
    }

    /// Waits at most `patience` for the next batch.
    pub fn next(&mut self, patience: Duration) -> Fed {
        let from_thread = match &mut self.from {
            From::Thread(from_thread) => from_thread,
            From::Here(reader) => return reader.next(patience),
        };
        match from_thread.recv_timeout(patience) {
            Ok(fed) => fed,
            Err(RecvTimeoutError::Timeout) => Fed::Nothing,
            Err(RecvTimeoutError::Disconnected) => {
                let broken = Some(CaptureError::new("the thread that captures ended by itself"));
                Fed::Ended { stats: None, broken }
            }
        }
    }

    /// Gives a batch back to be filled again.
    pub fn recycle(&self, batch: Batch) {
        // The thread may have ended; then there is nothing to fill.
        _ = self.spare.send(batch);
    }

    /// Ends the capture: what was captured until now still comes, and nothing after it.
    pub fn stop(&self) {
        self.stop.0.store(true, Ordering::Release);
    }
}

/// Who reads the packets.
enum From {
    Thread(Receiver<Fed>),
    Here(Box<Reader>),
}

fn taken(reader: &Mutex<Option<Reader>>) -> Option<Reader> {
    reader.lock().ok().and_then(|mut reader| reader.take())
}

/// Reads packets off a live capture.
struct Reader {
    live: Live,
    back: Receiver<Batch>,
    stop: Arc<AtomicBool>,
    /// What says so, too.
    wake: Option<OwnedFd>,
    /// As many packets as fit a batch, however long they are.
    most: usize,
    /// When the kernel was last asked for its counters.
    asked: Instant,
    /// Since the stop: what was captured later is not wanted, and when it is too late for anything.
    until: Option<(Timestamp, Instant)>,
    is_over: bool,
}

impl Reader {
    fn new(live: Live, stop: Arc<AtomicBool>, wake: Option<OwnedFd>, back: Receiver<Batch>) -> Self {
        let most = (LARGEST / live.snap_len().max(1) as usize).clamp(1, MOST);
        Self { live, back, stop, wake, most, asked: Instant::now(), until: None, is_over: false }
    }

    /// What runs in the thread.
    fn run(mut self, to_owner: &SyncSender<Fed>) {
        let broken = self.read(to_owner).err();
        let stats = self.live.stats().ok();
        // The owner may have gone; then nobody wants to know.
        _ = to_owner.send(Fed::Ended { stats, broken });
        self.live.end();
    }

    fn read(&mut self, to_owner: &SyncSender<Fed>) -> Result<(), CaptureError> {
        let mut batch = self.empty();
        loop {
            let drained = self.gather(&mut batch, 2 * GATHERING)?;
            if batch.heads.is_empty() && batch.stats.is_none() {
                // Nothing to tell.
            } else if drained || batch.bytes.len() >= LARGEST {
                if to_owner.send(Fed::Batch(batch)).is_err() {
                    return Ok(());
                }
                batch = self.empty();
            } else {
                // While the owner is behind, the batch grows.
                batch = match to_owner.try_send(Fed::Batch(batch)) {
                    Ok(()) => self.empty(),
                    Err(TrySendError::Full(Fed::Batch(batch))) => batch,
                    Err(_) => return Ok(()),
                };
            }
            if drained {
                return Ok(());
            }
        }
    }

    /// What runs without a thread.
    fn next(&mut self, patience: Duration) -> Fed {
        let mut broken = None;
        if !self.is_over {
            let mut batch = self.empty();
            match self.gather(&mut batch, patience.min(2 * GATHERING)) {
                Ok(drained) => self.is_over = drained,
                Err(error) => (self.is_over, broken) = (true, Some(error)),
            }
            if broken.is_none() && !(batch.heads.is_empty() && batch.stats.is_none()) {
                return Fed::Batch(batch);
            }
        }
        if self.is_over { Fed::Ended { stats: self.live.stats().ok(), broken } } else { Fed::Nothing }
    }

    /// Takes what has come into `batch`; whether that was the last of it.
    fn gather(&mut self, batch: &mut Batch, patience: Duration) -> Result<bool, CaptureError> {
        if self.until.is_none() && (self.stop.load(Ordering::Acquire) || self.is_woken()) {
            self.until = Some((now(), Instant::now() + DRAINING));
        }
        let patience = if self.until.is_some() { LAST } else { patience };
        let Self { live, until, wake, .. } = self;
        // Once it was heard it says nothing new.
        let wake = wake.as_ref().filter(|_| until.is_none()).map(OwnedFd::as_fd);
        let mut late = false;
        let taken = live.gather(patience, wake, self.most, |at, wire_len, bytes| match until {
            Some((end, _)) if at > *end => late = true,
            _ => batch.push(at, wire_len, bytes),
        })?;
        if self.asked.elapsed() >= ASKING {
            self.asked = Instant::now();
            batch.stats = self.live.stats().ok();
        }
        Ok(self.until.is_some_and(|(_, limit)| taken == 0 || late || Instant::now() >= limit))
    }

    fn is_woken(&self) -> bool {
        let Some(wake) = &self.wake else { return false };
        poll(&mut [PollFd::new(wake.as_fd(), PollFlags::POLLIN)], PollTimeout::ZERO).is_ok_and(|ready| ready > 0)
    }

    fn empty(&self) -> Batch {
        let mut batch = self.back.try_recv().unwrap_or_else(|_| Batch::new(self.live.link()));
        batch.clear();
        batch
    }
}

/// How many batches wait at most.
const WAITING: usize = 256;

/// How many packets are taken off libpcap at once.
const MOST: usize = 1024;

/// How many octets a batch has before it must be taken.
const LARGEST: usize = 256 << 10;

/// How often the kernel is asked for its counters.
const ASKING: Duration = Duration::from_millis(200);

/// How long what was captured before the stop may take to come: the kernel hands it over within [`GATHERING`], if a timer is not late.
const LAST: Duration = Duration::from_millis(80);

/// How long packets are still taken off libpcap after the stop, where it never runs dry.
const DRAINING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, UdpSocket};

    use super::*;
    use crate::capture::{Delivery, Manner, Tap};

    /// What the kernel holds.
    const BUFFER: usize = 4 << 20;

    /// A port on loopback and a capture of what is sent to it, of packets of up to so many octets.
    fn captured(snap_len: u32) -> Option<(UdpSocket, Live)> {
        let to = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let filter = format!("udp dst port {}", to.local_addr().expect("an address").port());
        let tap = Tap { interface: "lo".to_owned(), filter, snap_len, buffer: BUFFER as u32 };
        Some((to, Live::where_permitted(tap, Manner { delivery: Delivery::Gathered, ..Manner::default() })?))
    }

    /// Who reads a capture, without a thread; it is stopped.
    fn stopped(live: Live) -> Reader {
        let (_, back) = mpsc::channel();
        let stop = live.stop_switch();
        stop.store(true, Ordering::Release);
        Reader::new(live, stop, None, back)
    }

    /// After the stop nothing comes any more: that is waited for as long as the kernel may take to hand over what it had.
    #[test]
    fn what_was_captured_before_the_stop_is_waited_for_only_so_long() {
        let Some((to, live)) = captured(1500) else { return };
        let mut reader = stopped(live);
        let begun = Instant::now();
        let fed = reader.next(Duration::from_secs(60));
        let took = begun.elapsed();
        assert!(matches!(fed, Fed::Ended { broken: None, .. }), "{fed:?}");
        assert!(took >= LAST && took < DRAINING, "{took:?}");
        // What is sent now is not taken, however long it is waited for.
        let address = to.local_addr().expect("an address");
        to.send_to(b"late", address).expect("loopback takes it");
        thread::sleep(2 * GATHERING);
        let fed = reader.next(Duration::from_secs(60));
        assert!(matches!(fed, Fed::Ended { broken: None, .. }), "{fed:?}");
    }

    /// Two captures of the same packets: of one they are taken at once, of the other so late that its time is over.
    #[test]
    fn what_is_not_taken_long_after_the_stop_is_left() {
        // As many octets of a packet may be kept that few packets are taken at once.
        let Some((to, live)) = captured(65_535) else { return };
        let address = to.local_addr().expect("an address");
        let tap = Tap {
            interface: "lo".to_owned(),
            filter: format!("udp dst port {}", address.port()),
            snap_len: 65_535,
            buffer: BUFFER as u32,
        };
        let other = Live::where_permitted(tap, Manner { delivery: Delivery::Gathered, ..Manner::default() });
        let sent = 40;
        (0..sent).for_each(|_| _ = to.send_to(b"early", address).expect("loopback takes it"));
        let readers = [live, other.expect("the first one was permitted")].map(stopped);
        let most = readers[0].most;
        assert!(3 * most < sent, "{most} are taken at once");
        let [mut prompt, mut late] = readers;
        let taken = |reader: &mut Reader| match reader.next(Duration::from_secs(60)) {
            Fed::Batch(batch) => Some(batch.heads.len()),
            Fed::Nothing => Some(0),
            Fed::Ended { broken, .. } => {
                assert!(broken.is_none(), "{broken:?}");
                None
            }
        };
        let first = taken(&mut late).expect("some have come");
        assert!((1..=most).contains(&first), "{first}");
        assert_eq!(std::iter::from_fn(|| taken(&mut prompt)).sum::<usize>(), sent);
        // Whoever is to take them is busy with other things.
        let (_, limit) = late.until.expect("it has heard of the stop");
        thread::sleep(limit.saturating_duration_since(Instant::now()));
        let after: Vec<_> = std::iter::from_fn(|| taken(&mut late)).collect();
        assert!(after.len() <= 1 && after.iter().sum::<usize>() <= most, "{after:?}");
    }

    /// A flood on loopback of which nothing is taken meanwhile: so much of it waits, the kernel counts the rest, and neither is lost twice.
    #[test]
    fn what_nobody_takes_waits_so_far_and_the_kernel_counts_the_rest() {
        let Some((to, live)) = captured(65_535) else { return };
        let address = to.local_addr().expect("an address");
        let mut feed = Feed::start(live, None);
        let (sent, datagram) = (6_000, vec![7; 60_000]);
        let from = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        // First no faster than the thread takes it off the kernel, until as much waits as may; then a flood.
        for number in 0..sent {
            from.send_to(&datagram, address).expect("loopback takes it");
            if number < sent / 2 && number % 30 == 0 {
                thread::sleep(Duration::from_millis(4));
            }
        }
        feed.stop();
        let (mut frames, mut octets, mut batches, mut last) = (0, 0, 0, None);
        while last.is_none() {
            match feed.next(Duration::from_secs(5)) {
                Fed::Batch(batch) => {
                    assert!(batch.heads.len() <= MOST && batch.bytes.len() <= 2 * LARGEST, "{}", batch.bytes.len());
                    (frames, octets, batches) = (frames + batch.heads.len(), octets + batch.bytes.len(), batches + 1);
                }
                Fed::Nothing => panic!("no end comes"),
                Fed::Ended { stats, broken } => {
                    assert!(broken.is_none(), "{broken:?}");
                    last = stats;
                }
            }
        }
        let stats = last.expect("counters");
        // What the kernel still has comes while the others are taken.
        let most = WAITING + 2 + BUFFER / datagram.len();
        assert!(
            batches <= most && octets <= (WAITING + 2) * 2 * LARGEST + BUFFER,
            "{batches} batches, {octets} octets"
        );
        assert!(batches >= WAITING, "{batches} batches");
        assert!(stats.dropped > 0 && frames < sent, "{frames} frames, {stats:?}");
        // The kernel counts each going out and coming in, and libpcap hands over those that come in. Where its buffer fills or
        // empties between the two, one of them alone is dropped.
        let (sent, frames) = (sent as u64, frames as u64);
        assert_eq!(stats.received, 2 * sent, "{stats:?}");
        let off = (2 * frames + stats.dropped).abs_diff(stats.received);
        assert!(off <= 2 + frames / 50, "{frames} frames, {stats:?}");
    }
}
