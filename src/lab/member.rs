//! An actor as its director knows it: its process, the line that it performs, and its sockets.

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;

use nix::unistd::Pid;

use crate::calls::{SocketUse, ThreadId};
use crate::script::Actor;
use crate::time::Timestamp;

/// An actor as the director knows it.
pub(super) struct Member {
    pub(super) actor: Actor,
    pub(super) control: OwnedFd,
    /// `None` until it is there.
    pub(super) pid: Option<Pid>,
    /// The process that was made for it, which may not be there yet; `None` for one that another actor forks.
    pub(super) made: Option<Pid>,
    pub(super) thread: ThreadId,
    pub(super) calls: u64,
    /// The line that it performs.
    pub(super) busy: Option<usize>,
    /// Whether it has entered that line's call.
    pub(super) entered: bool,
    /// When it was heard of that.
    pub(super) entered_at: Option<Timestamp>,
    stat: Option<File>,
    pub(super) gone: bool,
    /// Whether its end has been seen: its number may be another process's by now.
    pub(super) reaped: bool,
    /// Its descriptors of sockets, in the order in which they came, with what is known of each.
    pub(super) sockets: Vec<SocketUse>,
}

impl Member {
    pub(super) fn new(actor: Actor, control: OwnedFd) -> Self {
        Self {
            actor,
            control,
            pid: None,
            made: None,
            thread: ThreadId(0),
            calls: 0,
            busy: None,
            entered: false,
            entered_at: None,
            stat: None,
            gone: false,
            reaped: false,
            sockets: Vec::new(),
        }
    }

    /// Whether the kernel says that it sleeps in the call that it has entered.
    pub(super) fn sleeps(&mut self) -> bool {
        let (true, Some(pid)) = (self.entered, self.pid) else { return false };
        if self.stat.is_none() {
            self.stat = File::open(format!("/proc/{pid}/stat")).ok();
        }
        let mut line = [0u8; 128];
        let Some(len) = self.stat.as_ref().and_then(|stat| stat.read_at(&mut line, 0).ok()) else { return false };
        // The state follows the name, which stands in parentheses and may hold any octet.
        let after = line[..len].iter().rposition(|octet| *octet == b')');
        after.is_some_and(|after| line.get(after + 2) == Some(&b'S'))
    }
}
