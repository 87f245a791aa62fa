//! `tcpflow run --save`: packets, calls and the kernel's answers in one capture file, and what there is of it while the command runs.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, SyncSender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use super::following::MOST_WAITING;
use super::witnesses::Witnesses;
use crate::calls::{Activity, Call, CallId, Kept, Parts, Threads};
use crate::capture::{CaptureError, Writer};
use crate::commands::outcome::{Failure, complain};
use crate::lab::Heard;
use crate::report;
use crate::story::Story;

/// Keeps what was seen: a pcapng gets comments on its packets, and the calls and the kernel's answers with it. Yields what is to be said of that.
///
/// # Errors
/// The file cannot be written.
pub(super) fn save(
    path: &Path,
    witnesses: &Witnesses,
    story: &Story,
    calls: Vec<Call>,
    threads: Threads,
    notices: Vec<String>,
    lost: u64,
) -> Result<String, Failure> {
    let mut writer = Writer::create(path)?;
    writer.interface(witnesses.interface(), "tcpflow run");
    let mut comments = if writer.keeps_more() { report::comments(story) } else { BTreeMap::new() };
    for frame in witnesses.frames() {
        writer.write(&frame.as_frame(), &comments.remove(&frame.number).unwrap_or_default())?;
    }
    let count = calls.len();
    let what = if writer.keeps_more() {
        if let Some(dropped) = witnesses.dropped() {
            writer.dropped(dropped);
        }
        let (evidence, kernel) = (witnesses.evidence().to_vec(), witnesses.kernel_events().to_vec());
        let kept = Kept { threads, calls, evidence, kernel, notices, lost };
        writer.attach(&kept.to_bytes())?;
        format!("{} frames and {count} calls", witnesses.frames().len())
    } else {
        format!("{} frames (a .pcapng would keep the calls, too)", witnesses.frames().len())
    };
    writer.finish()?;
    Ok(format!("{what} are in {}", path.display()))
}

/// Takes away what was written while the command ran, now that the whole is there; where that has failed it stays, and is named.
///
/// # Errors
/// The whole could not be written, or the other file does not go away.
pub(super) fn settle(saved: Result<String, Failure>, partial: Option<Partial>) -> Result<String, Failure> {
    let Some(partial) = partial else { return saved };
    let writer = partial.finish();
    match saved {
        Ok(said) => {
            writer.remove()?;
            Ok(said)
        }
        Err(Failure::Told(why)) => {
            Err(Failure::new(format!("{why}; without comments it is in {}", writer.target().display())))
        }
        Err(Failure::OutputClosed) => Err(Failure::OutputClosed),
    }
}

/// Who writes down what is heard while the command runs, in a thread of its own: what is left should tcpflow be killed.
pub(super) struct Partial(JoinHandle<Writer>);

impl Partial {
    /// Starts the thread, which ends once all who may tell it of something are gone. `None` where nothing can be beside the file.
    ///
    /// # Errors
    /// The file cannot be made, or there can be no thread.
    pub(super) fn start(path: &Path, interface: &str) -> Result<Option<(Self, SyncSender<Heard>)>, Failure> {
        let Some(mut writer) = Writer::create_partial(path)? else { return Ok(None) };
        writer.interface(interface, "tcpflow run");
        let (hearer, told) = mpsc::sync_channel(MOST_WAITING);
        let thread = thread::Builder::new().name("saving".to_owned()).spawn(move || {
            if let Err(error) = write_down(&mut writer, &told) {
                complain(&error);
            }
            // Who tells goes on telling, also where nothing more can be written.
            told.iter().for_each(drop);
            writer
        });
        let thread = thread.map_err(|error| Failure::new(format!("run --save: there can be no thread: {error}")))?;
        Ok(Some((Self(thread), hearer)))
    }

    /// Waits until all is written, and yields the file.
    pub(super) fn finish(self) -> Writer {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// Writes what is told, soon after it is, until nobody is left who may tell more.
fn write_down(writer: &mut Writer, told: &Receiver<Heard>) -> Result<(), CaptureError> {
    let mut calls = Calls::default();
    let mut due = None;
    loop {
        let heard = match due.map(|due: Instant| due.saturating_duration_since(Instant::now())) {
            None => told.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(left) => told.recv_timeout(left),
        };
        match heard {
            Ok(Heard::Frame(frame)) => writer.write(&frame.as_frame(), &[])?,
            Ok(heard) => calls.hear(heard),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                calls.write(writer)?;
                return writer.write_out();
            }
        }
        let due_at = *due.get_or_insert_with(|| Instant::now() + SOON);
        if due_at <= Instant::now() {
            calls.write(writer)?;
            writer.write_out()?;
            due = None;
        }
    }
}

/// What was heard of calls and is not written yet.
#[derive(Default)]
struct Calls {
    threads: Threads,
    parts: Parts,
    /// Those that have returned.
    done: Vec<Call>,
    /// Those that have not, and whether that was written.
    open: HashMap<CallId, (Call, bool)>,
}

impl Calls {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Threads(threads) => self.threads.learn(threads),
            Heard::Call(Activity::Entered(call)) => _ = self.open.insert(call.id, (call, false)),
            Heard::Call(Activity::Returned { call, returned, sockets }) => {
                if let Some((mut call, _)) = self.open.remove(&call) {
                    call.complete(returned, sockets);
                    self.done.push(call);
                }
            }
            Heard::Call(Activity::Lost { call, .. }) => {
                let lost = self.open.remove(&call).filter(|(_, is_written)| !is_written);
                self.done.extend(lost.map(|(call, _)| call));
            }
            Heard::Call(Activity::Socket(_))
            | Heard::Frame(_)
            | Heard::Answer(_)
            | Heard::Kernel(_)
            | Heard::Ended(_)
            | Heard::Missed
            | Heard::Until(_)
            | Heard::Over(_) => {}
        }
    }

    /// Attaches the calls that have come, those too that have not returned: these once more when they have.
    fn write(&mut self, writer: &mut Writer) -> Result<(), CaptureError> {
        let mut calls = std::mem::take(&mut self.done);
        for (call, is_written) in self.open.values_mut().filter(|(_, is_written)| !is_written) {
            calls.push(call.clone());
            *is_written = true;
        }
        if calls.is_empty() || !writer.keeps_more() {
            return Ok(());
        }
        calls.sort_by_key(|call| call.entered);
        writer.attach(&self.parts.part(&self.threads, calls.iter()))
    }
}

/// How soon after it was heard something is in the file.
const SOON: Duration = Duration::from_millis(50);
