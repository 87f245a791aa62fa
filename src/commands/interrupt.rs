//! Ctrl-C: the first one ends the work in order, so that what was seen is told; the second one ends the process at once.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

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
        let failed = |error: io::Error| Failure::new(format!("Ctrl-C cannot be caught: {error}"));
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            if signal == SIGHUP && is_ignored(signal) {
                continue;
            }
            // In this order: the second signal finds the flag set by the first.
            flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&pressed)).map_err(failed)?;
            flag::register_conditional_default(signal, Arc::clone(&done)).map_err(failed)?;
            flag::register(signal, Arc::clone(&pressed)).map_err(failed)?;
        }
        Ok(Self { pressed, done })
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

    /// Something is there again that the first one is to end in order.
    pub(super) fn begin(&self) {
        self.done.store(false, Ordering::Relaxed);
    }
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
