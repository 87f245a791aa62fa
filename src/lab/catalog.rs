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
    "strlen",
    "empty-send",
    "any-address",
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
    "self-connect",
    "ipv4-mapped",
    "mptcp",
    "fast-open",
    "fast-open-refused",
    "backlog-overflow",
    "defer-accept",
    "reuseport",
    "port-taken",
    "syn-cookies",
    "syn-flood",
    "syn-flood-cookies",
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
    "recovery-reno",
    "recovery-cubic",
    "recovery-bbr",
    "server-closes-first",
    "half-close",
    "fin-lost",
    "last-ack-lost",
    "simultaneous-close",
    "unread-data",
    "linger-zero",
    "write-after-close",
    "sigpipe",
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
    "old-duplicate",
    "no-such-connection",
    "shutdown-read",
    "send-after-shutdown",
    "zero-window",
    "slow-reader",
    "silly-window",
    "nagle",
    "nodelay",
    "cork",
    "slow-start",
    "small-buffer",
    "large-buffer",
    "urgent",
    "bottleneck",
    "keep-alive",
    "vanished-peer",
    "user-timeout",
    "gives-up",
    "forged-rst-refused",
    "forged-rst-hits",
    "forged-data",
    "md5",
    "md5-wrong-key",
    "ao",
    "ao-wrong-key",
    "path-mtu",
    "black-hole",
    "mss-clamped",
    "window-scale-stripped",
    "ecn",
};

/// The scenario that has options of its own; its file is played where one thing of it is to be changed.
pub const ECHO: &str = "echo";
const ECHO_BETWEEN_HOSTS: Entry = Entry { name: ECHO, source: include_str!("scenarios/echo.toml") };

impl Entry {
    /// The scenario of that name.
    pub fn named(name: &str) -> Option<Self> {
        CATALOG.iter().chain([&ECHO_BETWEEN_HOSTS]).find(|entry| entry.name == name).copied()
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
