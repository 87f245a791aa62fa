//! Ending a play early: whatever its actors wait for, they wake up.

use std::sync::atomic::Ordering;
use std::time::Duration;

use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, Signal, sigaction};

use super::stage::Stage;
use crate::calls::Whereabouts;

/// Ends a play that was interrupted, in which an actor failed, or which is stuck.
pub(super) struct Supervision {
    progress: u64,
    /// For how many looks there has been none: a clock would go on while the whole process is stopped.
    idle: u32,
    signal: Option<WakeUp>,
}

impl Supervision {
    pub(super) fn begin() -> Self {
        Self { progress: 0, idle: 0, signal: None }
    }

    /// To be called every [`LOOK`].
    pub(super) fn look(&mut self, stage: &Stage<'_>) {
        let progress = stage.progress();
        if progress != self.progress {
            (self.progress, self.idle) = (progress, 0);
        }
        self.idle = self.idle.saturating_add(1);
        if stage.scenario.interrupt.load(Ordering::Acquire) || LOOK * self.idle > STUCK {
            stage.end();
        }
        if stage.is_over() {
            // Again each time: a signal that comes just before a call does not keep it from blocking.
            let wake_up = self.signal.get_or_insert_with(WakeUp::install);
            wake_up.send(&stage.server);
            stage.clients.iter().for_each(|client| wake_up.send(&client.whereabouts));
        }
    }
}

/// A signal that ends a blocked call with EINTR and does nothing else.
struct WakeUp {
    before: Option<SigAction>,
}

impl WakeUp {
    fn install() -> Self {
        extern "C" fn nothing(_: libc::c_int) {}
        let action = SigAction::new(SigHandler::Handler(nothing), SaFlags::empty(), SigSet::empty());
        // SAFETY: the handler does nothing, which is safe at any moment.
        Self { before: unsafe { sigaction(Signal::SIGUSR1, &action) }.ok() }
    }

    fn send(&self, actor: &Whereabouts) {
        if let (Some(tid), true) = (actor.tid(), self.before.is_some()) {
            let (pid, tid) = (std::process::id() as libc::pid_t, tid as libc::pid_t);
            // SAFETY: tgkill takes no pointer; a thread that is gone is an error that does not matter.
            unsafe { libc::syscall(libc::SYS_tgkill, pid, tid, libc::SIGUSR1) };
        }
    }
}

impl Drop for WakeUp {
    fn drop(&mut self) {
        if let Some(before) = &self.before {
            // SAFETY: it was in force before.
            let _ = unsafe { sigaction(Signal::SIGUSR1, before) };
        }
    }
}

/// How often one looks.
pub(super) const LOOK: Duration = Duration::from_millis(10);

/// How long all actors may wait without any call returning.
pub(super) const STUCK: Duration = Duration::from_secs(5);
