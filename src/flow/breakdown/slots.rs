//! Time that is spent and not yet explained: how long each pair of slots lasted, one slot for each direction.

use super::{Class, Parts};

/// What a direction is in at a moment: a class, or what only later segments turn into one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Slot {
    Handshake,
    /// The program of the end whose segment came first was waited for.
    FirstProgram,
    /// The program of the other end was.
    SecondProgram,
    SenderProgram,
    ReceiverWindow,
    ZeroWindow,
    Network,
    Timeout,
    FastRecovery,
    DelayedAck,
    Closing,
    Idle,
    Unknown,
    /// Open: the last octets are on their way, and their sender may have had no more.
    Flight,
    /// Open: the same, later than the quickest answer to them would have come.
    Late,
    /// Open: the same, with more under way than a receiver may leave unacknowledged.
    Draining,
    /// Open: the acknowledgement of all octets has passed, and is on its way to the sender.
    Returning,
    /// Open: an acknowledgement let the next octets go, and as much is under way as before.
    Steady,
    /// Open: nothing is under way.
    Quiet,
    /// Open: the same, before the other end's FIN.
    QuietBefore,
    /// Open: octets are under way, their sender had more and room for it, and no acknowledgement came for longer than the path takes.
    Held,
    /// Open: the receiver's window has no room for another segment.
    Window,
    /// Open: the same, later than the quickest answer to the last octets would have come.
    WindowLate,
    /// Open: the receiver's window is zero.
    Zero,
    /// Open: nothing but the handshake's last segment is on its way.
    Reach,
    /// Open: the FIN was sent, and octets before it are under way for longer than the path takes.
    ClosingLate,
    /// Open: lost octets were sent again, and no acknowledgement came for longer than the path takes.
    RepairLate,
}

impl Slot {
    /// Whether only later segments explain it.
    pub(super) fn is_open(self) -> bool {
        matches!(
            self,
            Self::Flight
                | Self::Late
                | Self::Draining
                | Self::Returning
                | Self::Steady
                | Self::Quiet
                | Self::QuietBefore
                | Self::Held
                | Self::Window
                | Self::WindowLate
                | Self::Zero
                | Self::RepairLate
                | Self::Reach
                | Self::ClosingLate
        )
    }

    /// Whether the direction has nothing on its way to the receiver.
    pub(super) fn is_quiet(self) -> bool {
        matches!(
            self,
            Self::Quiet
                | Self::QuietBefore
                | Self::Late
                | Self::Returning
                | Self::Idle
                | Self::Closing
                | Self::ClosingLate
                | Self::Handshake
                | Self::Unknown
                | Self::FirstProgram
                | Self::SecondProgram
        )
    }

    fn class(self, first_is_client: bool) -> Class {
        match self {
            Self::Handshake => Class::Handshake,
            Self::FirstProgram if first_is_client => Class::ClientProgram,
            Self::FirstProgram => Class::ServerProgram,
            Self::SecondProgram if first_is_client => Class::ServerProgram,
            Self::SecondProgram => Class::ClientProgram,
            Self::SenderProgram => Class::SenderProgram,
            Self::ReceiverWindow => Class::ReceiverWindow,
            Self::ZeroWindow => Class::ZeroWindow,
            Self::Network => Class::Network,
            Self::Timeout => Class::Timeout,
            Self::FastRecovery => Class::FastRecovery,
            Self::DelayedAck => Class::DelayedAck,
            Self::Closing => Class::Closing,
            Self::Idle => Class::Idle,
            // Whatever is open is explained before it is told.
            _ => Class::Unknown,
        }
    }
}

/// The class that held the connection up where its directions were in two: the first of them in this order.
fn rank(class: Class) -> u8 {
    match class {
        Class::Handshake => 0,
        Class::Timeout => 1,
        Class::FastRecovery => 2,
        Class::ZeroWindow => 3,
        Class::DelayedAck => 4,
        Class::ReceiverWindow => 5,
        Class::Network => 6,
        Class::SenderProgram => 7,
        Class::ClientProgram | Class::ServerProgram => 8,
        Class::Unknown => 9,
        Class::Closing => 10,
        Class::Idle => 11,
    }
}

/// How long each pair of slots lasted; there are no more entries than pairs.
#[derive(Clone, Debug, Default)]
pub(super) struct Spent {
    pairs: Vec<Pair>,
    is_open: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    slots: [Slot; 2],
    nanos: i64,
}

impl Spent {
    /// Adds time.
    pub(super) fn add(&mut self, slots: [Slot; 2], nanos: i64) {
        self.is_open |= slots.iter().any(|slot| slot.is_open());
        match self.pairs.iter_mut().find(|pair| pair.slots == slots) {
            Some(pair) => pair.nanos += nanos,
            None => self.pairs.push(Pair { slots, nanos }),
        }
    }

    /// Explains what is open: each pair of slots becomes another one.
    pub(super) fn explain(&mut self, mut explained: impl FnMut([Slot; 2]) -> [Slot; 2]) {
        if !self.is_open {
            return;
        }
        let mut pairs = std::mem::take(&mut self.pairs);
        self.is_open = false;
        for pair in &mut pairs {
            if pair.slots.iter().any(|slot| slot.is_open()) {
                pair.slots = explained(pair.slots);
            }
        }
        // The room is kept, and what has become the same is one.
        let mut kept = 0;
        for at in 0..pairs.len() {
            let pair = pairs[at];
            self.is_open |= pair.slots.iter().any(|slot| slot.is_open());
            match pairs[..kept].iter_mut().find(|other| other.slots == pair.slots) {
                Some(other) => other.nanos += pair.nanos,
                None => {
                    pairs[kept] = pair;
                    kept += 1;
                }
            }
        }
        pairs.truncate(kept);
        self.pairs = pairs;
    }

    /// The three divisions: as the first direction spent it, as the second did, and as the connection did.
    pub(super) fn parts(&self, first_is_client: bool) -> [Parts; 3] {
        let mut parts = [Parts::default(); 3];
        for pair in &self.pairs {
            let [first, second] = pair.slots.map(|slot| slot.class(first_is_client));
            let whole = if rank(first) <= rank(second) { first } else { second };
            for (part, class) in parts.iter_mut().zip([first, second, whole]) {
                part.add(class, pair.nanos);
            }
        }
        parts
    }

    /// How many octets it takes besides its own.
    pub(super) fn room(&self) -> usize {
        self.pairs.capacity() * size_of::<Pair>()
    }
}
