//! Reading and decoding in one thread, following connections in another: a run over a capture on two cores.

use std::ops::ControlFlow;
use std::sync::mpsc;
use std::thread;

use crate::capture::{CaptureError, Frame, FrameSource};
use crate::session::{Batch, Broken, More, Session, Sink};

/// Takes frames from `source` through `session` into `sink`, as [`Session::run`] does and with the same result, on two cores where there are two.
///
/// # Errors
/// As [`Session::run`].
pub(super) fn run(
    session: &mut Session,
    source: &mut (dyn FrameSource + Send),
    wanted: impl FnMut(&Frame<'_>) -> Result<bool, CaptureError> + Send,
    mut go_on: impl FnMut(u64) -> ControlFlow<()>,
    sink: &mut dyn Sink,
) -> Result<(), Broken> {
    let mut reader = session.reader(wanted);
    let mut first = Batch::default();
    let read = reader.fill(source, &mut first);
    session.take(&first, sink)?;
    // Most captures are small: a thread for the rest of them would cost more than it saves.
    if read.map_err(Broken::Capture)? == More::Nothing || go_on(first.last_frame()).is_break() {
        return Ok(());
    }
    thread::scope(|scope| {
        let (full, filled) = mpsc::sync_channel::<(Batch, Result<More, CaptureError>)>(AHEAD);
        let (emptied, empty) = mpsc::channel::<Batch>();
        for _ in 0..AHEAD {
            let _ = emptied.send(Batch::default());
        }
        scope.spawn(move || {
            // Either channel closes when the other thread has had enough.
            while let Ok(mut batch) = empty.recv() {
                let read = reader.fill(source, &mut batch);
                let more = matches!(read, Ok(More::Frames));
                if full.send((batch, read)).is_err() || !more {
                    return;
                }
            }
        });
        while let Ok((batch, read)) = filled.recv() {
            session.take(&batch, sink)?;
            let more = read.map_err(Broken::Capture)?;
            if more == More::Nothing || go_on(batch.last_frame()).is_break() {
                break;
            }
            let _ = emptied.send(batch);
        }
        Ok(())
    })
}

/// How many batches the reader may be ahead.
const AHEAD: usize = 16;
