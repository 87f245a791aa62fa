//! The scenarios that come with the program, and the template of a new one.

use super::{Definition, LabError};

/// A scenario that comes with the program.
#[derive(Clone, Copy, Debug)]
pub struct Entry {
    /// Its name.
    pub name: &'static str,
    /// Its file.
    pub source: &'static str,
}

macro_rules! entries {
    ($($name:literal,)*) => {
        &[$(Entry { name: $name, source: include_str!(concat!("scenarios/", $name, ".toml")) },)*]
    };
}

/// All of them, in the order in which they are listed.
pub const CATALOG: &[Entry] = entries! {
    "three-clients",
    "late-accept",
    "two-sends-one-recv",
    "one-send-many-recvs",
    "short-read",
    "short-write",
    "empty-send",
    "ipv6",
    "nonblocking-recv",
    "peek",
    "not-connected",
    "refused",
    "no-answer",
    "syn-lost",
    "syn-ack-lost",
    "handshake-ack-lost",
    "handshake-ack-lost-data",
    "simultaneous-open",
    "backlog-overflow",
    "defer-accept",
    "reuseport",
    "port-taken",
    "syn-cookies",
    "data-lost",
    "timeout-backoff",
    "fast-retransmit",
    "fast-retransmit-no-sack",
    "retransmission-lost",
    "reordering",
    "duplicate",
    "damaged",
    "spurious-timeout",
    "ack-lost",
    "server-closes-first",
    "half-close",
    "fin-lost",
    "last-ack-lost",
    "simultaneous-close",
    "unread-data",
    "linger-zero",
    "write-after-close",
    "recv-after-reset",
    "copy-closed",
    "inherited",
    "exit-closes",
    "kill-closes",
    "close-wait-leak",
    "fin-wait-2-timeout",
    "listener-closed",
    "rebind",
    "time-wait-reused",
    "shutdown-read",
    "send-after-shutdown",
    "zero-window",
    "slow-reader",
    "nagle",
    "nodelay",
    "cork",
    "slow-start",
    "small-buffer",
    "urgent",
    "bottleneck",
    "keep-alive",
    "vanished-peer",
    "user-timeout",
    "gives-up",
    "forged-rst-refused",
    "forged-rst-hits",
    "forged-data",
    "path-mtu",
    "black-hole",
    "mss-clamped",
    "window-scale-stripped",
    "ecn",
    "fast-open",
};

/// The scenario that has options of its own, and no file.
pub const ECHO: &str = "echo";

impl Entry {
    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Self> {
        CATALOG.iter().find(|entry| entry.name == name).copied()
    }

    /// Reads it, with changes to what it says.
    ///
    /// # Errors
    /// A change that cannot be.
    pub fn read(self, changes: &[(String, String)]) -> Result<Definition, LabError> {
        Definition::parse(&format!("{}.toml", self.name), self.source, changes)
    }
}

/// A new scenario's file, in which every key is explained.
pub fn template(name: &str) -> String {
    TEMPLATE.replace("NAME", name)
}

const TEMPLATE: &str = include_str!("scenarios/template.txt");
