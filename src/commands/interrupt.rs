//! Ctrl-C: the first one ends the work in order, so that what was seen is told; the second one ends the process at once.

use std::io::{self, Read, Write};
use std::mem::ManuallyDrop;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_gettime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::{self, pipe};

use super::{Failure, complain};

/// What Ctrl-C (SIGINT) and SIGTERM do from now on, and SIGHUP where the process was not started to outlive its terminal (nohup).
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    /// Whether there was one.
    interrupted: Arc<AtomicBool>,
    /// Whether the next one ends the process at once: nothing is left to end in order.
    default: Arc<AtomicBool>,
    /// Whether the time for telling after it is over.
    time_up: Arc<AtomicBool>,
    /// Whether standard error says that there was one.
    told: Arc<AtomicBool>,
}

/// An output that ends with a whole line once the time for telling is over.
pub(super) struct Until<'a> {
    out: Box<dyn Write + 'a>,
    time_up: Arc<AtomicBool>,
    /// Whether the last line that was written is not whole.
    in_line: bool,
}

impl Write for Until<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        let mut text = text;
        if self.time_up.load(Ordering::Relaxed) {
            if !self.in_line {
                return Err(io::Error::other("interrupted"));
            }
            let line = text.iter().position(|octet| *octet == b'\n').map_or(text.len(), |end| end + 1);
            text = &text[..line];
        }
        let written = self.out.write(text)?;
        if let Some(last) = text[..written].last() {
            self.in_line = *last != b'\n';
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// How long the process has computed.
fn computed() -> Duration {
    clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

impl Interrupt {
    /// Catches the signals.
    ///
    /// # Errors
    /// The system does not let them be caught.
    pub(super) fn catch() -> Result<Self, Failure> {
        let (interrupted, default) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let caught = Arc::new(AtomicUsize::new(0));
        let failed = |error: io::Error| Failure::new(format!("Ctrl-C cannot be caught: {error}"));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            let (caught, interrupted) = (Arc::clone(&caught), Arc::clone(&interrupted));
            // They are counted: of two that come at the same moment, to two threads, one is the second.
            let heed = move || {
                if caught.fetch_add(1, Ordering::SeqCst) > 0 {
                    low_level::exit(128 + signal);
                }
                interrupted.store(true, Ordering::Relaxed);
            };
            // SAFETY: it counts, stores and ends the process as _exit(2) does, all of which a signal handler may.
            unsafe { low_level::register(signal, heed) }.map_err(failed)?;
            flag::register_conditional_default(signal, Arc::clone(&default)).map_err(failed)?;
        }
        Ok(Self { interrupted, default, time_up: Arc::default(), told: Arc::default() })
    }

    /// Catches the signals as [`Interrupt::catch`] does, but the second one has `keep` done at once, in a thread of its own, and then
    /// ends the process, whatever else it does; the third one does not wait for that.
    ///
    /// # Errors
    /// The system does not let them be caught, or there can be no thread.
    pub(super) fn catch_and(keep: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        let (interrupted, keeping) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let last = Arc::new(AtomicUsize::new(0));
        let failed = |error: io::Error| Failure::new(format!("Ctrl-C cannot be caught: {error}"));
        let (mut caught, to_us) = UnixStream::pair().map_err(failed)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&keeping)).map_err(failed)?;
            flag::register_usize(signal, Arc::clone(&last), signal as usize).map_err(failed)?;
            flag::register(signal, Arc::clone(&interrupted)).map_err(failed)?;
            // Each puts an octet there, so that two that come together are two.
            pipe::register(signal, to_us.try_clone().map_err(failed)?).map_err(failed)?;
        }
        let second = Arc::clone(&keeping);
        let wait = move || {
            let mut signals = [0; 2];
            if caught.read_exact(&mut signals).is_ok() {
                second.store(true, Ordering::Relaxed);
                keep();
                low_level::exit(128 + last.load(Ordering::Relaxed) as i32);
            }
        };
        thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(failed)?;
        Ok(Self { interrupted, default: Arc::default(), time_up: Arc::default(), told: Arc::default() })
    }

    /// Has the first one heeded soon, whatever is done: what is written through [`until`](Self::until) ends with a line once
    /// [`SOON`] is over, and at [`LATEST`] the process ends.
    ///
    /// Both are counted in time that the process computes, so that a busy machine takes nothing from what is told.
    /// Where there can be no thread, or no further open file, all is told.
    pub(super) fn limit_work(&self) {
        let told = Arc::clone(&self.told);
        self.after_the_first(Some(STUCK), move |wait| {
            wait(LATEST * SLOWNESS);
            // Not by the library's lock, which whoever is stuck may hold.
            if !told.swap(true, Ordering::Relaxed) {
                let _ = nix::unistd::write(io::stderr(), format!("tcpflow: {NOT_ALL}\n").as_bytes());
            }
            low_level::exit(2);
        });
    }

    /// Has telling end soon after the first one, as [`limit_work`](Self::limit_work) does, but leaves it to whoever tells to end
    /// the process: there is something to be kept before that. An output that nobody takes is waited for.
    pub(super) fn limit_telling(&self) {
        self.after_the_first(None, |_| {});
    }

    /// Has telling end once [`SOON`] is over after the first one, which may have come already, and does `then` what is to follow.
    ///
    /// That is told how to wait longer; no time is waited for longer than `stuck` times itself.
    fn after_the_first(&self, stuck: Option<u32>, then: impl FnOnce(&dyn Fn(Duration)) + Send + 'static) {
        let Some(caught) = self.descriptor() else { return };
        let (time_up, interrupted) = (Arc::clone(&self.time_up), Arc::clone(&self.interrupted));
        let wait = move || {
            // It stays open: further ones are put there, too.
            let mut caught = ManuallyDrop::new(UnixStream::from(caught));
            if !interrupted.load(Ordering::Relaxed) && caught.read_exact(&mut [0]).is_err() {
                return;
            }
            let (began, at) = (Instant::now(), computed());
            let wait = |time: Duration| {
                let is_stuck = || stuck.is_some_and(|times| began.elapsed() > time * times);
                while computed().saturating_sub(at) <= time && !is_stuck() {
                    thread::sleep(LOOK);
                }
            };
            wait(SOON * SLOWNESS);
            time_up.store(true, Ordering::Relaxed);
            then(&wait);
        };
        let _ = thread::Builder::new().name("interrupt".to_owned()).spawn(wait);
    }

    /// What can be read from once one has come; `None` where there can be no further open file.
    pub(super) fn descriptor(&self) -> Option<OwnedFd> {
        let (caught, to_us) = UnixStream::pair().ok()?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            to_us.try_clone().and_then(|to_us| pipe::register(signal, to_us)).ok()?;
        }
        Some(caught.into())
    }

    /// `out`, until the time for telling after an interrupt is over.
    pub(super) fn until<'a>(&self, out: Box<dyn Write + 'a>) -> Until<'a> {
        Until { out, time_up: Arc::clone(&self.time_up), in_line: false }
    }

    /// Has what is written from now on be written after all: the counts, with which an output ends that is not whole.
    pub(super) fn allow_the_end(&self) {
        self.time_up.store(false, Ordering::Relaxed);
    }

    /// Says once what became of what was seen.
    pub(super) fn say_once(&self, message: &str) {
        if !self.told.swap(true, Ordering::Relaxed) {
            complain(&message);
        }
    }

    /// Whether the time for telling after an interrupt is over.
    pub(super) fn is_time_up(&self) -> bool {
        self.time_up.load(Ordering::Relaxed)
    }

    /// Whether there was one.
    pub(super) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }

    /// The flag that the first one sets.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.interrupted)
    }

    /// Nothing is left to end in order: already the next one ends the process.
    pub(super) fn restore_default(&self) {
        self.default.store(true, Ordering::Relaxed);
    }

    /// Something is there again that the first one is to end in order.
    pub(super) fn catch_again(&self) {
        self.default.store(false, Ordering::Relaxed);
    }
}

/// Has a write beyond the limit on the size of files (RLIMIT_FSIZE) fail as any other does, instead of ending the process.
pub fn outlive_the_limit_on_files() {
    // It is caught, not ignored: a program that is started from here has what it had. Where it cannot be, the kernel ends the process.
    _ = flag::register(SIGXFSZ, Arc::default());
}

pub(super) fn is_ignored(signal: i32) -> bool {
    // SAFETY: all octets zero is a valid sigaction; without a new action the call only writes the old one there.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// What is said of work that was interrupted.
pub(super) const INTERRUPTED: &str = "interrupted: this is what was seen until then";
/// What is said where telling that took longer than it may.
pub(super) const NOT_ALL: &str = "interrupted: not all of what was seen until then is told";
/// How many segments a timeline has after an interrupt: as many as are told in an instant.
pub(super) const TOLD_AFTER_AN_INTERRUPT: usize = 5_000;
/// How long may be told after an interrupt.
const SOON: Duration = Duration::from_millis(80);
/// How long the process may go on after it.
const LATEST: Duration = Duration::from_millis(130);
/// How many times as long the same work takes: a build that is not optimized does it that much more slowly.
const SLOWNESS: u32 = if cfg!(debug_assertions) { 5 } else { 1 };
/// How many times as long it may wait, for a machine that is busy or an output that nobody takes.
const STUCK: u32 = 5;
/// How often that is looked at.
const LOOK: Duration = Duration::from_millis(5);
