//! Streams that may have nothing more to give for long, and reading them until somebody gives up.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Reads a pipe or a device; waits for what it has to give only until `stop` is set.
///
/// A signal alone does not end the wait: the system goes on with a read that it broke off.
pub(super) struct Patient {
    file: Arc<File>,
    stop: Arc<AtomicBool>,
}

impl Patient {
    pub(super) fn new(file: Arc<File>, stop: &Arc<AtomicBool>) -> Self {
        Self { file, stop: Arc::clone(stop) }
    }
}

impl Read for Patient {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        loop {
            if self.stop.load(Ordering::Relaxed) {
                // Of another kind than `Interrupted`, after which readers try again.
                return Err(io::Error::other("interrupted"));
            }
            let mut wanted = [PollFd::new(self.file.as_fd(), PollFlags::POLLIN)];
            match poll(&mut wanted, PollTimeout::from(LOOK_UP)) {
                Ok(0) | Err(Errno::EINTR) => continue,
                Ok(_) => {}
                Err(errno) => return Err(errno.into()),
            }
            match self.file.read(into) {
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                done => return done,
            }
        }
    }
}

/// How often a wait looks whether it is to stop, in milliseconds.
const LOOK_UP: u8 = 50;
