//! Where a connection's time went: its duration divided into classes, for each direction and in all, without rest.
//!
//! `docs/breakdown.md` has the rule of each class, and how they were checked against the kernel.

mod course;
mod keeper;
mod slots;
#[cfg(test)]
mod tests;
mod way;

pub use keeper::Breakdowns;

use crate::time::Span;

macro_rules! classes {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal,)*) => {
        /// What a connection, or one of its directions, spent time on.
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr(u8)]
        pub enum Class { $($(#[doc = $doc])* $variant,)* }

        impl Class {
            /// Each of them, in the order in which they are listed.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Its name in machine-readable output, without `_ns`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

classes! {
    /// The handshake, from the first SYN to the first segment of an end that had the other's SYN acknowledged.
    Handshake = "handshake",
    /// Nothing was under way, and the client's program was the next to send.
    ClientProgram = "client_program",
    /// Nothing was under way, and the server's program was the next to send.
    ServerProgram = "server_program",
    /// Octets were under way, and their sender's program, or its send buffer, had no more for the room that there was.
    SenderProgram = "sender_program",
    /// The sender had more, and the receiver's window was full.
    ReceiverWindow = "receiver_window",
    /// The same, while the window was zero.
    ZeroWindow = "zero_window",
    /// Octets or their acknowledgement were on the path, or the congestion window held the rest back.
    Network = "network",
    /// Octets were lost, and a timer repaired that.
    Timeout = "timeout",
    /// Octets were lost, and acknowledgements that said so let them be repaired.
    FastRecovery = "fast_recovery",
    /// The sender waited for an acknowledgement that the receiver held back.
    DelayedAck = "delayed_ack",
    /// From the first FIN on where nothing else went on, or from the RST on.
    Closing = "closing",
    /// Nothing was under way, and nobody sent octets any more; of a direction: the other one was at work.
    Idle = "idle",
    /// The segments do not show it.
    Unknown = "unknown",
}

/// A connection's duration, divided three times: each sums up to it exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Breakdown {
    /// As the client's octets spent it.
    pub client_to_server: Parts,
    /// As the server's octets spent it.
    pub server_to_client: Parts,
    /// As the connection did: of two directions that spent it differently the one that held it up.
    pub total: Parts,
}

/// How much of a duration each class has; none is negative.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts([i64; Class::ALL.len()]);

impl FromIterator<(Class, Span)> for Parts {
    fn from_iter<I: IntoIterator<Item = (Class, Span)>>(classes: I) -> Self {
        let mut parts = Self::default();
        classes.into_iter().for_each(|(class, span)| parts.add(class, span.as_nanos()));
        parts
    }
}

impl Parts {
    /// How long a class took.
    pub const fn of(&self, class: Class) -> Span {
        Span(self.0[class as usize])
    }

    /// All of them together.
    pub fn sum(&self) -> Span {
        Span(self.0.iter().sum())
    }

    /// The classes that took time, the longest first.
    pub fn largest(&self) -> Vec<(Class, Span)> {
        let mut parts: Vec<_> = Class::ALL.iter().map(|class| (*class, self.of(*class))).collect();
        parts.retain(|(_, span)| span.as_nanos() > 0);
        parts.sort_by_key(|(class, span)| (std::cmp::Reverse(*span), *class));
        parts
    }

    fn add(&mut self, class: Class, nanos: i64) {
        self.0[class as usize] += nanos;
    }

    /// Calls unknown what only both directions together show.
    fn forget_what_one_direction_cannot_show(&mut self) {
        for class in Class::ALL {
            if !matches!(class, Class::Handshake | Class::Timeout | Class::Closing | Class::Unknown) {
                let nanos = std::mem::take(&mut self.0[*class as usize]);
                self.add(Class::Unknown, nanos);
            }
        }
    }

    /// Makes the sum what it is to be: what lacks goes to `class`, what is too much is taken off the longest first.
    fn fit(&mut self, whole: i64, class: Class) {
        let mut lacks = whole - self.sum().as_nanos();
        if lacks > 0 {
            self.add(class, lacks);
        }
        while lacks < 0 {
            let Some(longest) = self.0.iter_mut().max() else { return };
            let less = (-lacks).min(*longest);
            *longest -= less;
            lacks += less;
        }
    }
}
