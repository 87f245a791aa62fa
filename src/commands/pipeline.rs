//! A run over a capture on as many cores as it has work for: one thread reads and decodes, one follows connections, and one tells those that have ended.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender, SyncSender};
use std::thread;
use std::time::Duration;

use crate::capture::{CaptureError, Frame, FrameSource};
use crate::flow::Ended;
use crate::session::{Batch, Broken, More, Session, Sink};

/// Takes frames from `source` through `session` into `sink`, as [`Session::run`] does and with the same result.
///
/// # Errors
/// As [`Session::run`].
pub(super) fn run<S: FrameSource + Send>(
    session: &mut Session,
    source: &mut S,
    wanted: impl FnMut(&Frame<'_>) -> Result<bool, CaptureError> + Send,
    mut go_on: impl FnMut(u64) -> ControlFlow<()>,
    sink: &mut dyn Sink,
) -> Result<(), Broken> {
    let mut reader = session.reader(wanted);
    let mut first = Batch::default();
    let read = reader.fill(source, &mut first);
    session.take(&first, sink)?;
    // Most captures are small: threads for the rest of them would cost more than they save.
    if read.map_err(Broken::Capture)? == More::Nothing || go_on(first.last_frame()).is_break() {
        return Ok(());
    }
    let halt = AtomicBool::new(false);
    thread::scope(|scope| {
        let (full, filled) = mpsc::sync_channel(AHEAD);
        let (emptied, empty) = mpsc::channel();
        for _ in 0..AHEAD {
            let _ = emptied.send(Batch::default());
        }
        // A channel closes when the thread at its other end has had enough.
        scope.spawn(move || {
            while let Ok(mut batch) = empty.recv() {
                let read = reader.fill(source, &mut batch);
                let more = matches!(read, Ok(More::Frames));
                if full.send((batch, read)).is_err() || !more {
                    return;
                }
            }
        });
        let (over, reports) = mpsc::sync_channel(AHEAD);
        let (told, free) = mpsc::channel();
        for _ in 0..AHEAD {
            let _ = told.send(Ended::default());
        }
        let mut follower = Follower { session, emptied, returned: Vec::new(), over, free };
        let halt = &halt;
        scope.spawn(move || follower.run(&filled, halt));
        for Report { mut ended, frame, damage } in reports {
            ended.tell(|connection| sink.connection(connection))?;
            let _ = told.send(ended);
            if let Some(damage) = damage {
                return Err(Broken::Capture(damage));
            }
            // What has ended before the follower heeds it is told all the same.
            if go_on(frame).is_break() {
                halt.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

/// What the follower has to say now and then.
struct Report {
    ended: Ended,
    /// The last frame that was followed.
    frame: u64,
    damage: Option<CaptureError>,
}

/// A batch, and how the reading of it ended.
type Filled = (Batch, Result<More, CaptureError>);

/// Whoever has no use for what is sent has had enough.
struct Gone;

/// Follows the connections, batch by batch.
struct Follower<'a> {
    session: &'a mut Session,
    emptied: Sender<Batch>,
    /// Batches that are handed back together: each time the reader is woken costs more than a batch.
    returned: Vec<Batch>,
    over: SyncSender<Report>,
    free: Receiver<Ended>,
}

impl Follower<'_> {
    fn run(&mut self, filled: &Receiver<Filled>, halt: &AtomicBool) {
        let (mut frame, mut waiting, mut silent) = (0, 0, 0);
        loop {
            let next = match filled.recv_timeout(PATIENCE) {
                Ok(next) => next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // Nothing is held back while a slow source is waited for.
                    self.hand_back();
                    if waiting > 0 && self.report(frame, None).is_err() {
                        return;
                    }
                    (waiting, silent) = (0, 0);
                    continue;
                }
            };
            let (batch, read) = next;
            waiting = self.session.follow(&batch);
            frame = batch.last_frame();
            silent += 1;
            self.returned.push(batch);
            let last = !matches!(read, Ok(More::Frames)) || halt.load(Ordering::Relaxed);
            if last {
                let _ = self.report(frame, read.err());
                return;
            }
            if self.returned.len() >= AHEAD / 2 {
                self.hand_back();
            }
            if waiting >= TOLD_TOGETHER || silent >= MOST_SILENT {
                if self.report(frame, None).is_err() {
                    return;
                }
                (waiting, silent) = (0, 0);
            }
        }
    }

    /// Hands over what has ended.
    fn report(&mut self, frame: u64, damage: Option<CaptureError>) -> Result<(), Gone> {
        let mut ended = self.free.recv().map_err(|_| Gone)?;
        self.session.hand_over(&mut ended);
        self.over.send(Report { ended, frame, damage }).map_err(|_| Gone)
    }

    fn hand_back(&mut self) {
        for batch in self.returned.drain(..) {
            let _ = self.emptied.send(batch);
        }
    }
}

/// How many batches the reader may be ahead, and the teller behind.
const AHEAD: usize = 16;
/// How many connections are told together, while there is more to follow.
const TOLD_TOGETHER: usize = 256;
/// After so many batches progress is told, though no connection has ended.
const MOST_SILENT: u32 = 64;
/// How long a slow source is waited for before what has ended is told.
const PATIENCE: Duration = Duration::from_millis(20);
