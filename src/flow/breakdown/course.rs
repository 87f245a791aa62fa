//! The course of one connection: each segment explains the time before it.

use std::net::IpAddr;

use super::slots::{Slot, Spent};
use super::way::{Departure, Heard, Way};
use super::{Breakdown, Class};
use crate::flow::{Connection, Step};
use crate::tcp::Finding;
use crate::time::Timestamp;
use crate::wire::{Flags, Segment};

/// What is known of one connection's time so far.
#[derive(Clone, Debug)]
pub(super) struct Course {
    /// The end whose segment came first.
    first: (IpAddr, u16),
    /// When its first segment was captured: all times are counted from there.
    began: Option<i64>,
    /// The latest time so far.
    now: i64,
    spent: Spent,
    ways: [Way; 2],
    phase: Phase,
    /// Which ends sent a SYN, and which a SYN-ACK.
    syns: [bool; 2],
    syn_acks: [bool; 2],
    /// The announced sizes of a segment, and whether timestamps were offered.
    sizes: [Option<u16>; 2],
    stamps: [bool; 2],
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    Handshake,
    Open,
    /// A RST ended it.
    Reset,
}

/// A SYN, and nothing else so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    first: (IpAddr, u16),
    at: Option<Timestamp>,
    size: Option<u16>,
    has_timestamps: bool,
}

impl Asked {
    /// What a segment is that opens a connection, and carries nothing else.
    pub(super) fn of(segment: &Segment) -> Option<Self> {
        let is_one = segment.flags & (Flags::SYN | Flags::ACK | Flags::FIN | Flags::RST) == Flags::SYN
            && segment.len == 0
            && !segment.is_unreadable()
            && !segment.is_dropped();
        is_one.then(|| Self {
            first: (segment.src, segment.src_port),
            at: segment.at,
            size: segment.options.mss,
            has_timestamps: segment.options.timestamps.is_some(),
        })
    }

    /// The course that begins with it.
    pub(super) fn course(&self) -> Course {
        let mut course = Course::new(self.first);
        course.began = self.at.map(Timestamp::as_nanos);
        course.open(0, self.size, self.has_timestamps, false);
        course.ways[0].is_seen = true;
        course.ways[0].send_syn(0, 1);
        course
    }
}

impl Course {
    /// That of a connection whose first segment is of this end.
    pub(super) fn new(first: (IpAddr, u16)) -> Self {
        Self {
            first,
            began: None,
            now: 0,
            spent: Spent::default(),
            ways: [Way::default(), Way::default()],
            phase: Phase::Open,
            syns: [false; 2],
            syn_acks: [false; 2],
            sizes: [None; 2],
            stamps: [false; 2],
        }
    }

    /// Takes a segment, and what it did.
    pub(super) fn observe(&mut self, segment: &Segment, step: &Step) {
        let Some(at) = segment.at.map(Timestamp::as_nanos) else { return };
        let z = usize::from((segment.src, segment.src_port) != self.first);
        let at = at.saturating_sub(*self.began.get_or_insert(at));
        if at < self.now {
            // A clock that stepped back is waited for, and times nothing until then.
            self.ways.iter_mut().for_each(Way::stop_timing);
        }
        self.pass(at);
        let at = self.now;
        self.ways[z].is_seen = true;
        let findings = step.findings;
        if segment.is_unreadable() || findings.contains(Finding::CapturedTwice) {
            return;
        }
        if segment.flags.contains(Flags::SYN) {
            let options = &segment.options;
            self.open(z, options.mss, options.timestamps.is_some(), segment.flags.contains(Flags::ACK));
        } else if self.phase == Phase::Handshake && self.completes_handshake(z, segment.flags) {
            self.phase = Phase::Open;
            if segment.seq_len() == 0 {
                self.ways[z].reach(at);
            }
        }
        let echo = segment.options.timestamps.map(|(_, echo)| echo).filter(|_| segment.flags.contains(Flags::ACK));
        self.ways[z].hear_what_it_repeats(at, echo);
        if let Some((stamp, echo)) = segment.options.timestamps
            && segment.flags.contains(Flags::ACK)
        {
            self.ways[z].repeat_stamp(at, echo);
            self.ways[1 - z].stamp(at, stamp);
        }
        self.take(z, at, segment, step);
        let refused = findings.contains(Finding::ResetChallenged) || findings.contains(Finding::ResetOutOfWindow);
        if segment.flags.contains(Flags::RST) && !refused && !segment.is_dropped() {
            self.end();
            self.phase = Phase::Reset;
        }
        if let Some(ack) = step.ack
            && !segment.flags.contains(Flags::RST)
            && !segment.is_dropped()
        {
            self.acknowledge(1 - z, ack, at, segment, step);
        }
    }

    /// Explains what is left, and divides the duration.
    pub(super) fn finish(&mut self, connection: &Connection) -> Option<Breakdown> {
        let whole = connection.duration()?.as_nanos();
        let phase = self.phase;
        self.end();
        let is_first_client = self.is_client(connection);
        let one_way = !(self.ways[0].is_seen && self.ways[1].is_seen);
        let mut parts = self.spent.parts(is_first_client);
        // What came before the first segment here are SYNs, and nothing else was there.
        let rest = if self.syns == [false; 2] { Class::Unknown } else { Class::Handshake };
        for part in &mut parts {
            if one_way && phase != Phase::Handshake {
                part.forget_what_one_direction_cannot_show();
            }
            part.fit(whole, rest);
        }
        let [first, second, total] = parts;
        let [client_to_server, server_to_client] = if is_first_client { [first, second] } else { [second, first] };
        Some(Breakdown { client_to_server, server_to_client, total })
    }

    /// How many octets it takes.
    pub(super) fn octets(&self) -> usize {
        size_of::<Self>() + self.spent.room() + self.ways.iter().map(Way::room).sum::<usize>()
    }

    fn is_client(&self, connection: &Connection) -> bool {
        self.first == (connection.client.ip(), connection.client.port())
    }

    /// Adds the time until `at`, as both directions spent it.
    fn pass(&mut self, at: i64) {
        loop {
            let now = self.now;
            for way in &mut self.ways {
                way.hear_until(now);
            }
            if now >= at {
                return;
            }
            let change = self.ways.iter().filter_map(|way| way.change(now)).min();
            let until = change.map_or(at, |change| change.clamp(now, at));
            if until > now {
                let slots = match self.phase {
                    Phase::Handshake => [Slot::Handshake; 2],
                    Phase::Open => [self.ways[0].slot(now), self.ways[1].slot(now)],
                    Phase::Reset => [Slot::Closing; 2],
                };
                self.spent.add(slots, until - now);
            }
            self.now = until;
        }
    }

    fn open(&mut self, z: usize, size: Option<u16>, has_timestamps: bool, has_ack: bool) {
        let has_begun = self.ways.iter().any(Way::has_octets);
        if self.syns == [false; 2] && !has_begun {
            self.phase = Phase::Handshake;
        }
        self.syns[z] = true;
        self.syn_acks[z] |= has_ack;
        self.sizes[z] = size;
        self.stamps[z] = has_timestamps;
        let stamp = if self.stamps == [true; 2] { TIMESTAMP } else { 0 };
        for way in 0..2 {
            if let Some(size) = self.sizes[1 - way] {
                self.ways[way].set_room_of_one((i64::from(size) - stamp).max(1));
            }
        }
    }

    /// Whether a segment without SYN shows that the handshake is over: its sender had the other's SYN, and its own acknowledged.
    fn completes_handshake(&self, z: usize, flags: Flags) -> bool {
        flags.contains(Flags::ACK) && !flags.contains(Flags::RST) && (!self.syn_acks[z] || self.syns[1 - z]) && {
            // A challenge ACK comes from an end that has sent no SYN.
            self.syns[z] || !self.syns[1 - z]
        }
    }

    /// Takes what a segment carries.
    fn take(&mut self, z: usize, at: i64, segment: &Segment, step: &Step) {
        let len = i64::from(segment.seq_len());
        let has_syn = segment.flags.contains(Flags::SYN);
        if len == 0 {
            if step.findings.contains(Finding::KeepAlive) {
                self.ways[z].is_probed = true;
            }
            return;
        }
        let reaction = self.reaction(z);
        let end = step.seq.saturating_add(len);
        let way = &mut self.ways[z];
        let is_new = !way.is_known || end > way.next;
        let has_fin = segment.flags.contains(Flags::FIN);
        if !is_new {
            if has_syn {
                way.time_again(at, end);
                return;
            }
            let is_other = [Finding::KeepAlive, Finding::ZeroWindowProbe, Finding::Reordered]
                .iter()
                .any(|finding| step.findings.contains(*finding));
            let overtaken = step.findings.contains(Finding::OutOfOrder) && !step.findings.contains(Finding::SentAgain);
            if is_other {
                way.is_probed |= !step.findings.contains(Finding::Reordered);
            } else if !overtaken && self.phase != Phase::Handshake {
                let by = way.repeat(at, reaction);
                self.repaired(z, by);
            }
            return;
        }
        if has_syn && segment.len == 0 {
            way.send_syn(at, end);
            return;
        }
        if segment.len > 0 {
            if self.phase == Phase::Reset {
                // Whoever goes on was not reset.
                self.phase = Phase::Open;
            }
            if !has_syn {
                let departure = way.departure(at, reaction);
                self.sent(z, departure);
            }
        }
        let way = &mut self.ways[z];
        // A part of it may have been sent before.
        if segment.len > 0
            && !has_syn
            && way.is_known
            && step.seq < way.next
            && step.findings.contains(Finding::Retransmission)
        {
            let by = way.repeat(at, reaction);
            self.repaired(z, by);
        }
        let pushed = segment.flags.contains(Flags::PSH) || has_fin || has_syn;
        self.ways[z].send(at, segment, end, pushed);
        if has_fin && !self.ways[z].has_fin {
            self.closed(z);
        }
    }

    fn acknowledge(&mut self, w: usize, ack: i64, at: i64, segment: &Segment, step: &Step) {
        let reaction = self.reaction(w);
        let is_bare = segment.is_pure_ack();
        let heard = Heard {
            at,
            ack,
            window: step.window.into(),
            is_scaled: self.syns == [true; 2] || segment.flags.contains(Flags::SYN),
            is_bare,
            is_duplicate: is_bare && (segment.options.sack_blocks > 0 || step.findings.contains(Finding::DuplicateAck)),
            stamp: segment.options.timestamps.map(|(stamp, _)| stamp),
        };
        self.ways[w].acknowledge(heard, reaction);
        self.ways[w].hear_until(self.now);
    }

    /// How quickly the sender of a direction answers, as seen here.
    fn reaction(&self, z: usize) -> i64 {
        self.ways[1 - z].answer.unwrap_or(0).max(self.ways[z].lag())
    }

    fn program(z: usize) -> Slot {
        if z == 0 { Slot::FirstProgram } else { Slot::SecondProgram }
    }

    /// New octets of `z` explain what both directions were waiting for.
    fn sent(&mut self, z: usize, departure: Departure) {
        let program = Self::program(z);
        let surely = departure.by_room;
        self.spent.explain(|slots| {
            let (own, other) = (slots[z], slots[1 - z]);
            let program_here = if other.is_quiet() { program } else { Slot::Idle };
            let in_flight = match departure {
                Departure { by_late_ack: true, .. } | Departure { by_pace: true, .. } => Slot::Network,
                Departure { by_ack: true, .. } => Slot::Steady,
                _ => Slot::SenderProgram,
            };
            let own_now = match own {
                Slot::Flight => in_flight,
                Slot::Late | Slot::Held if departure.by_late_ack => Slot::DelayedAck,
                Slot::Late | Slot::Draining | Slot::Returning => in_flight,
                Slot::Steady => departure.steady.unwrap_or(own),
                Slot::Held => Slot::Network,
                Slot::Quiet | Slot::QuietBefore | Slot::Reach => program_here,
                Slot::Window | Slot::WindowLate if surely => Slot::ReceiverWindow,
                Slot::Window | Slot::WindowLate => Slot::SenderProgram,
                Slot::Zero if surely => Slot::ZeroWindow,
                Slot::Zero => program_here,
                Slot::RepairLate => Slot::FastRecovery,
                known => known,
            };
            let other_now = match other {
                Slot::Flight | Slot::Draining | Slot::Reach => Slot::Network,
                Slot::Late | Slot::Returning | Slot::Quiet | Slot::QuietBefore => match own {
                    Slot::Quiet | Slot::QuietBefore | Slot::Reach => program,
                    Slot::Zero if !surely => program,
                    _ => Slot::Idle,
                },
                open => open,
            };
            place(z, own_now, other_now)
        });
    }

    /// Octets of `z` that were sent again explain what was waited for.
    fn repaired(&mut self, z: usize, by: Slot) {
        self.spent.explain(|slots| {
            let own = match slots[z] {
                Slot::Flight | Slot::Steady => Slot::Network,
                Slot::Late
                | Slot::Draining
                | Slot::Returning
                | Slot::Held
                | Slot::WindowLate
                | Slot::RepairLate
                | Slot::ClosingLate => by,
                other => other,
            };
            place(z, own, slots[1 - z])
        });
    }

    /// The FIN of `z` explains what its own direction was waiting for.
    fn closed(&mut self, z: usize) {
        self.ways[z].has_fin = true;
        let (surely, is_closing) = (self.ways[z].is_surely_blocked(), self.ways[1 - z].has_fin);
        self.spent.explain(|slots| {
            let other = if slots[1 - z] == Slot::Quiet { Slot::QuietBefore } else { slots[1 - z] };
            place(z, last(slots[z], surely, true, is_closing), other)
        });
    }

    /// Nothing further comes.
    fn end(&mut self) {
        let ways = &self.ways;
        let surely = [ways[0].is_surely_blocked(), ways[1].is_surely_blocked()];
        let acked = [ways[0].is_acknowledged(), ways[1].is_acknowledged()];
        let closing = [ways[1].has_fin, ways[0].has_fin];
        self.spent.explain(|slots| [0, 1].map(|z| last(slots[z], surely[z], acked[z], closing[z])));
    }
}

/// What a slot was where its direction had no further octets.
fn last(slot: Slot, surely: bool, is_acknowledged: bool, is_closing: bool) -> Slot {
    match slot {
        Slot::Flight | Slot::Held | Slot::Draining | Slot::Steady => Slot::Network,
        Slot::Returning => Slot::Idle,
        Slot::Late if is_acknowledged => Slot::Idle,
        Slot::Late => Slot::Unknown,
        Slot::Window | Slot::WindowLate if surely => Slot::ReceiverWindow,
        Slot::Zero if surely => Slot::ZeroWindow,
        Slot::Quiet if is_closing => Slot::Closing,
        Slot::Window | Slot::WindowLate | Slot::Zero | Slot::Quiet | Slot::QuietBefore | Slot::Reach => Slot::Idle,
        Slot::ClosingLate => Slot::Closing,
        Slot::RepairLate => Slot::FastRecovery,
        known => known,
    }
}

/// A pair of slots, by direction.
fn place(z: usize, own: Slot, other: Slot) -> [Slot; 2] {
    if z == 0 { [own, other] } else { [other, own] }
}

/// Octets of the timestamps option, with its padding.
const TIMESTAMP: i64 = 12;
