//! Ctrl-C: the first one ends the work in order, so that what was seen is told; the second one ends the process at once.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::flag;
use signal_hook::low_level::{self, pipe};

use super::Failure;

/// What Ctrl-C (SIGINT) and SIGTERM do from now on, and SIGHUP where the process was not started to outlive its terminal (nohup).
#[derive(Clone, Debug)]
pub(super) struct Interrupt {
    pressed: Arc<AtomicBool>,
    done: Arc<AtomicBool>,
}

impl Interrupt {
    /// Catches the signals.
    ///
    /// # Errors
    /// The system does not let them be caught.
    pub(super) fn catch() -> Result<Self, Failure> {
        let (pressed, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let caught = Arc::new(AtomicUsize::new(0));
        let failed = |error: io::Error| Failure::new(format!("Ctrl-C cannot be caught: {error}"));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            let (caught, pressed) = (Arc::clone(&caught), Arc::clone(&pressed));
            // They are counted: of two that come at the same moment, to two threads, one is the second.
            let heed = move || {
                if caught.fetch_add(1, Ordering::SeqCst) > 0 {
                    low_level::exit(128 + signal);
                }
                pressed.store(true, Ordering::Relaxed);
            };
            // SAFETY: it counts, stores and ends the process as _exit(2) does, all of which a signal handler may.
            unsafe { low_level::register(signal, heed) }.map_err(failed)?;
            flag::register_conditional_default(signal, Arc::clone(&done)).map_err(failed)?;
        }
        Ok(Self { pressed, done })
    }

    /// Catches the signals as [`Interrupt::catch`] does, but the second one has `keep` done at once, in a thread of its own, and then
    /// ends the process, whatever else it does; the third one does not wait for that.
    ///
    /// # Errors
    /// The system does not let them be caught, or there can be no thread.
    pub(super) fn catch_and(keep: impl FnOnce() + Send + 'static) -> Result<Self, Failure> {
        let (pressed, keeping) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let last = Arc::new(AtomicUsize::new(0));
        let failed = |error: io::Error| Failure::new(format!("Ctrl-C cannot be caught: {error}"));
        let (mut caught, to_us) = UnixStream::pair().map_err(failed)?;
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&keeping)).map_err(failed)?;
            flag::register_usize(signal, Arc::clone(&last), signal as usize).map_err(failed)?;
            flag::register(signal, Arc::clone(&pressed)).map_err(failed)?;
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
        Ok(Self { pressed, done: Arc::default() })
    }

    /// Whether there was one.
    pub(super) fn is_pressed(&self) -> bool {
        self.pressed.load(Ordering::Relaxed)
    }

    /// The flag that the first one sets.
    pub(super) fn flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.pressed)
    }

    /// Nothing is left to end in order: already the next one ends the process.
    pub(super) fn done(&self) {
        self.done.store(true, Ordering::Relaxed);
    }
}

/// Has a write beyond the limit on the size of files (RLIMIT_FSIZE) fail as any other does, instead of ending the process.
pub fn outlive_the_limit_on_files() {
    // It is caught, not ignored: a program that is started from here has what it had. Where it cannot be, the kernel ends the process.
    _ = flag::register(SIGXFSZ, Arc::default());
}

fn is_ignored(signal: i32) -> bool {
    // SAFETY: all octets zero is a valid sigaction; without a new action the call only writes the old one there.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut now) == 0 && now.sa_sigaction == libc::SIG_IGN
    }
}

/// What is said of work that was interrupted.
pub(super) const INTERRUPTED: &str = "interrupted: this is what was seen until then";
