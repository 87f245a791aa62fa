//! A thread that takes packets off a live capture into batches, so that whoever follows them never makes the kernel drop any.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender, TrySendError};
use std::thread;
use std::time::{Duration, Instant};

use super::live::{GATHERING, now};
use super::{CaptureError, CapturePoint, CaptureStats, Frame, FrameSource, LinkType, Live, SeenAt};
use crate::time::Timestamp;

/// The packets of a live capture, in batches that wait until they are asked for.
///
/// Up to 64 MiB of them wait, or twice that for a moment; after that the kernel's buffer fills, and then the kernel drops packets and counts them.
pub struct Feed {
    from_thread: Receiver<Fed>,
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
    /// # Errors
    /// There can be no thread.
    pub fn start(live: Live) -> Result<Self, CaptureError> {
        let stop = StopOnDrop(live.stop_switch());
        let points = live.points().to_vec();
        let (to_owner, from_thread) = mpsc::sync_channel(WAITING);
        let (spare, back) = mpsc::channel();
        let switch = stop.0.clone();
        thread::Builder::new()
            .name("capture".to_owned())
            // Closing a packet socket takes the kernel tens of milliseconds: nobody waits for this thread.
            .spawn(move || Reader { live, back, to_owner, stop: switch }.run())
            .map_err(|error| CaptureError::new(format!("there can be no thread for the capture: {error}")))?;
        Ok(Self { from_thread, spare, stop, points })
    }

    /// Where its packets are captured, as [`FrameSource::points`] has it.
    pub fn points(&self) -> &[CapturePoint] {
        &self.points
    }

    /// Waits at most `patience` for the next batch.
    pub fn next(&self, patience: Duration) -> Fed {
        match self.from_thread.recv_timeout(patience) {
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

/// What runs in the thread.
struct Reader {
    live: Live,
    back: Receiver<Batch>,
    to_owner: SyncSender<Fed>,
    stop: Arc<AtomicBool>,
}

impl Reader {
    fn run(mut self) {
        let broken = self.read().err();
        let stats = self.live.stats().ok();
        // The owner may have gone; then nobody wants to know.
        _ = self.to_owner.send(Fed::Ended { stats, broken });
    }

    fn read(&mut self) -> Result<(), CaptureError> {
        // As many as fit a batch, however long they are.
        let most = (LARGEST / self.live.snap_len().max(1) as usize).clamp(1, MOST);
        let mut batch = self.empty();
        let mut asked = Instant::now();
        let mut until = None;
        loop {
            if until.is_none() && self.stop.load(Ordering::Acquire) {
                until = Some((now(), Instant::now() + DRAINING));
            }
            let mut late = false;
            let taken = self.live.gather(2 * GATHERING, most, |at, wire_len, bytes| match until {
                Some((end, _)) if at > end => late = true,
                _ => batch.push(at, wire_len, bytes),
            })?;
            if asked.elapsed() >= ASKING {
                asked = Instant::now();
                batch.stats = self.live.stats().ok();
            }
            let drained = until.is_some_and(|(_, limit)| taken == 0 || late || Instant::now() >= limit);
            if batch.heads.is_empty() && batch.stats.is_none() {
                // Nothing to tell.
            } else if drained || batch.bytes.len() >= LARGEST {
                if self.to_owner.send(Fed::Batch(batch)).is_err() {
                    return Ok(());
                }
                batch = self.empty();
            } else {
                // While the owner is behind, the batch grows.
                batch = match self.to_owner.try_send(Fed::Batch(batch)) {
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

/// How long packets are still taken off libpcap after the stop, where it never runs dry.
const DRAINING: Duration = Duration::from_secs(2);
