//! One direction as its sender knows it: what it has sent, what it was told, and when it could have been told.

use std::collections::VecDeque;

use super::slots::Slot;
use crate::wire::Segment;

/// One direction.
///
/// Times are nanoseconds; numbers are relative to the first of the direction.
/// What the receiver says takes effect when its sender's next segments could show it at the place of capture: later
/// than it passed by the sender's quickest reaction.
#[derive(Clone, Debug, Default)]
pub(super) struct Way {
    /// The number after all that was sent.
    pub(super) next: i64,
    /// Whether `next` means something.
    pub(super) is_known: bool,
    /// Whether a segment of it was captured.
    pub(super) is_seen: bool,
    /// How far the receiver has acknowledged.
    pub(super) acknowledged: i64,
    /// The same, as its sender knows it, and the window that came with it.
    told: i64,
    edge: Option<i64>,
    is_zero: bool,
    /// When octets that were not sent before were sent last.
    pub(super) sent_at: i64,
    /// From when on an answer to all that was sent is later than the quickest.
    due: i64,
    /// Whether the last octets came with PSH: their sender may have had no more.
    is_pushed: bool,
    /// Whether they were less than full segments.
    is_short: bool,
    /// Until when the segment that ended the handshake is on its way.
    reaching: i64,
    /// Octets that a segment holds, as far as they are known.
    room_of_one: i64,
    largest: i64,
    pub(super) has_fin: bool,
    repair: Option<Repair>,
    effects: VecDeque<Effect>,
    /// What took effect last that acknowledged more or made room.
    released: Option<Release>,
    /// How far it was acknowledged, as its sender knew, when octets were sent last, and before what took effect last.
    told_then: i64,
    told_before: i64,
    /// What was under way when octets were sent last.
    flight: i64,
    /// Since when the window has room again.
    unblocked_at: Option<i64>,
    /// A segment asked for room.
    pub(super) is_probed: bool,
    /// Acknowledgements that say octets are missing, since it was acknowledged further.
    duplicates: u32,
    /// When the last segment of the receiver took effect.
    heard_at: Option<i64>,
    flights: Flights,
    /// What the next acknowledgement is timed by.
    timed: Option<Timed>,
    /// The quickest answer of the receiver to what was sent.
    pub(super) answer: Option<i64>,
    /// A timestamp of the receiver, until the sender repeats it.
    echo: Option<Echo>,
    /// How long the last of them was surely on its way there and back.
    lag: i64,
}

/// A timestamp that passed, and when the sender last showed that it had not received it.
#[derive(Clone, Copy, Debug)]
struct Echo {
    stamp: u32,
    at: i64,
    missed_at: i64,
}

/// Lost octets are being repaired.
#[derive(Clone, Copy, Debug)]
struct Repair {
    by: Slot,
    /// Until this number is acknowledged.
    until: i64,
}

/// What a segment of the receiver tells the sender, from a moment on.
#[derive(Clone, Copy, Debug)]
struct Effect {
    at: i64,
    /// Those from here on are told together.
    since: i64,
    ack: i64,
    edge: Option<i64>,
    is_zero: bool,
    is_held_back: bool,
    is_duplicate: bool,
    stamp: Option<u32>,
}

#[derive(Clone, Copy, Debug)]
struct Release {
    at: i64,
    /// When the first of those took effect that count as one.
    since: i64,
    is_held_back: bool,
}

#[derive(Clone, Copy, Debug)]
struct Timed {
    end: i64,
    at: i64,
}

/// The most that was under way, round by round.
#[derive(Clone, Copy, Debug, Default)]
struct Flights {
    now: i64,
    before: i64,
    /// The round ends when this number is acknowledged.
    until: i64,
    /// About what it was in all rounds since it was another one, and how many there were since.
    level: i64,
    flat: u32,
    /// Whether the window was full in this round, and in the one before.
    is_full: bool,
    was_full: bool,
}

/// Why new octets left when they did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    /// An acknowledgement that had been held back let them go.
    pub(super) by_late_ack: bool,
    /// An acknowledgement let them go, and none before it had made room that was left unused.
    pub(super) by_ack: bool,
    /// They are of one burst with those before; or nothing that was heard let them go, they follow a full segment, and much
    /// is under way: the sender keeps a pace.
    pub(super) by_pace: bool,
    /// What it means that acknowledgements let octets go while no more was under way than before, where that is decided.
    pub(super) steady: Option<Slot>,
    /// The window had been full, and they left as soon as it was not.
    pub(super) by_room: bool,
}

/// An acknowledgement as it passes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) at: i64,
    pub(super) ack: i64,
    pub(super) window: i64,
    /// Whether the window counts octets.
    pub(super) is_scaled: bool,
    pub(super) is_bare: bool,
    /// It says that octets are missing.
    pub(super) is_duplicate: bool,
    /// Its timestamp.
    pub(super) stamp: Option<u32>,
}

impl Way {
    /// The slot of the direction from `at` on, until [`change`](Self::change).
    pub(super) fn slot(&self, at: i64) -> Slot {
        let is_late = at >= self.due;
        let flight = self.next - self.told;
        if let Some(repair) = self.repair
            && flight > i64::from(self.has_fin)
        {
            return if is_late && repair.by == Slot::FastRecovery { Slot::RepairLate } else { repair.by };
        }
        if self.has_fin {
            return match flight > 1 && self.acknowledged < self.next {
                true if is_late => Slot::ClosingLate,
                true => Slot::Flight,
                false => Slot::Closing,
            };
        }
        if self.is_zero {
            return Slot::Zero;
        }
        if self.is_blocked() {
            return if is_late && flight > 0 { Slot::WindowLate } else { Slot::Window };
        }
        match (flight > 0, self.is_pushed, is_late) {
            (false, _, _) if at < self.reaching => Slot::Reach,
            (false, _, _) => Slot::Quiet,
            (true, true, _) if self.acknowledged >= self.next => Slot::Returning,
            (true, true, false) => Slot::Flight,
            (true, true, true) if self.next - self.acknowledged >= 2 * self.full() => Slot::Draining,
            (true, true, true) => Slot::Late,
            (true, false, false) => Slot::Network,
            (true, false, true) => Slot::Held,
        }
    }

    /// When the slot may be another one after `at`, if nothing passes before that.
    pub(super) fn change(&self, at: i64) -> Option<i64> {
        let effect = self.effects.front().map(|effect| effect.at);
        let other = [self.due, self.reaching].into_iter().filter(|then| *then > at);
        effect.into_iter().chain(other).min()
    }

    /// Lets take effect at `at` what the sender of a segment that passes then has heard: its timestamp repeats that of what it heard
    /// last, and where it is not far from here it has heard all.
    pub(super) fn hear_what_it_repeats(&mut self, at: i64, stamp: Option<u32>) {
        for effect in &mut self.effects {
            let is_repeated = effect.stamp.zip(stamp).is_some_and(|(sent, seen)| (seen.wrapping_sub(sent) as i32) >= 0);
            if !is_repeated && effect.at - at > NEAR {
                break;
            }
            effect.at = effect.at.min(at);
        }
        self.hear_until(at);
    }

    /// Lets take effect what was said up to `at`.
    pub(super) fn hear_until(&mut self, at: i64) {
        while let Some(effect) = self.effects.front().copied().filter(|effect| effect.at <= at) {
            self.effects.pop_front();
            let was_blocked = self.is_zero || self.is_blocked();
            let told_before = self.told;
            let advances = effect.ack > self.told;
            let widens = effect.edge > self.edge;
            self.told = self.told.max(effect.ack);
            self.edge = effect.edge;
            self.is_zero = effect.is_zero;
            self.heard_at = Some(effect.at);
            if advances {
                self.duplicates = 0;
                self.due = self.due.max(effect.at);
                if self.repair.is_some_and(|repair| self.told >= repair.until) {
                    self.repair = None;
                    self.flights = Flights { until: self.next, ..Flights::default() };
                }
                let full = self.full();
                self.flights.turn(self.told, self.next, full);
            }
            if effect.is_duplicate {
                self.duplicates += 1;
            }
            if was_blocked && !self.is_zero && !self.is_blocked() {
                self.unblocked_at = Some(effect.at);
            }
            if advances || widens {
                let mut since = effect.at;
                match self.released.filter(|last| effect.at - last.since <= TOGETHER) {
                    Some(last) => since = last.since,
                    None => self.told_before = told_before,
                }
                self.released = Some(Release { at: effect.at, since, is_held_back: effect.is_held_back });
            }
        }
    }

    /// Takes note of an acknowledgement of this direction, which takes effect `reaction` after it passed.
    pub(super) fn acknowledge(&mut self, heard: Heard, reaction: i64) {
        if !self.is_known {
            (self.is_known, self.next, self.told, self.acknowledged) = (true, heard.ack, heard.ack, heard.ack);
        }
        // What was not captured was sent all the same.
        self.next = self.next.max(heard.ack);
        if let Some(timed) = self.timed.filter(|timed| heard.ack >= timed.end) {
            let took = heard.at.saturating_sub(timed.at).max(0);
            self.answer = Some(self.answer.map_or(took, |answer| answer.min(took)));
            self.timed = None;
        }
        let advances = heard.ack > self.acknowledged;
        let kept_back = heard.at.saturating_sub(self.sent_at).saturating_sub(self.answer.unwrap_or(0));
        let is_held_back = heard.is_bare
            && advances
            && heard.ack >= self.next
            && self.next - self.acknowledged < 2 * self.full()
            && (LEAST_DELAY..=MOST_DELAY).contains(&kept_back);
        self.acknowledged = self.acknowledged.max(heard.ack);
        let edge = heard.is_scaled.then_some(heard.ack.saturating_add(heard.window));
        // An older acknowledgement that was overtaken takes nothing back.
        let before = self.effects.back().map_or((self.told, self.edge), |last| (last.ack, last.edge));
        let is_overtaken = heard.ack < before.0;
        let effect = Effect {
            at: heard.at.saturating_add(reaction),
            since: heard.at.saturating_add(reaction),
            ack: heard.ack,
            edge: if is_overtaken { before.1 } else { edge },
            is_zero: heard.window == 0,
            is_held_back,
            is_duplicate: heard.is_duplicate && !advances,
            stamp: heard.stamp,
        };
        let waiting = self.effects.len();
        match self.effects.back_mut() {
            // Many of them are told together: each is late by no more than a part of the path's time.
            Some(last) if waiting > 1 && effect.at - last.since < reaction / MOST_EFFECTS as i64 => {
                let before = *last;
                *last = Effect {
                    at: effect.at.max(before.at),
                    since: before.since,
                    ack: effect.ack.max(before.ack),
                    is_held_back: effect.is_held_back || before.is_held_back,
                    is_duplicate: effect.is_duplicate || before.is_duplicate && effect.ack <= before.ack,
                    ..effect
                };
            }
            Some(last) if effect.at < last.at || waiting >= 2 * MOST_EFFECTS => {
                *last = Effect { at: last.at.max(effect.at), ..effect };
            }
            _ => self.effects.push_back(effect),
        }
    }

    /// What let octets go that leave at `at`, where everything said until then has taken effect.
    pub(super) fn departure(&self, at: i64, reaction: i64) -> Departure {
        let slack = SLACK + reaction / 16;
        let soon = |then: i64| at.saturating_sub(then) <= slack;
        // What left together with octets let them go, and not those that follow.
        let released = self.released.filter(|release| soon(release.at) && self.told > self.told_then);
        let left_unused = if released.is_some() { self.told_before } else { self.told } - self.told_then;
        let is_unused = left_unused > 2 * self.full() && 4 * left_unused > self.flight;
        let is_within_burst =
            at.saturating_sub(self.sent_at) <= (2 * TOGETHER).max(reaction.max(self.answer.unwrap_or(0)) / 16);
        Departure {
            by_late_ack: released.is_some_and(|release| release.is_held_back),
            by_ack: released.is_some() && !is_unused && !is_within_burst,
            by_pace: !is_unused
                && match released {
                    Some(_) => is_within_burst,
                    None => {
                        let is_much = 2 * self.flight > self.flights.most();
                        !self.is_short && self.told < self.next && (is_much || is_within_burst)
                    }
                },
            steady: match self.flights.flat {
                0 => Some(Slot::Network),
                flat if flat >= MOST_FLAT => Some(Slot::SenderProgram),
                _ => None,
            },
            by_room: !self.is_pushed
                || self.is_probed
                || self.is_zero
                || self.is_blocked()
                || self.unblocked_at.is_some_and(|then| {
                    // Who filled the window to the edge with full segments hardly had no more by chance.
                    soon(if self.is_short { then } else { then.saturating_add(LATER) })
                }),
        }
    }

    /// Takes note of octets that were not sent before, up to `end`.
    pub(super) fn send(&mut self, at: i64, segment: &Segment, end: i64, is_pushed: bool) {
        if !self.is_known {
            let start = end - i64::from(segment.seq_len());
            (self.is_known, self.told, self.acknowledged) = (true, start, start);
        }
        self.next = self.next.max(end);
        self.is_pushed = is_pushed;
        self.is_short = i64::from(segment.len) % self.full() != 0;
        self.largest = self.largest.max(segment.len.into());
        self.sent_at = at;
        self.due = at.saturating_add(self.answer.unwrap_or(0));
        (self.told_then, self.told_before) = (self.told, self.told);
        self.unblocked_at = None;
        self.is_probed = false;
        self.flight = self.next - self.told;
        if self.repair.is_none() {
            self.flights.note(self.flight, self.next);
        }
        self.flights.is_full |= self.lacks_room_for_one();
        if self.timed.is_none() {
            self.timed = Some(Timed { end, at });
        }
    }

    /// Takes note of a SYN.
    pub(super) fn send_syn(&mut self, at: i64, end: i64) {
        (self.is_known, self.next, self.told, self.acknowledged) = (true, end, end, end);
        self.timed = Some(Timed { end, at });
    }

    /// Whether octets of it are known.
    pub(super) fn has_octets(&self) -> bool {
        self.largest > 0
    }

    /// Takes note of octets that were sent before, and says what repairs: a timer or acknowledgements.
    pub(super) fn repeat(&mut self, at: i64, reaction: i64) -> Slot {
        let path = self.answer.unwrap_or(0).saturating_add(reaction);
        let active = self.heard_at.map_or(self.sent_at, |heard| heard.max(self.sent_at));
        let silence = at.saturating_sub(active);
        let is_told = self.duplicates > 0 && silence <= path / 2 + REORDERING;
        // No timer is that quick.
        let is_soon = silence < REORDERING.max(path) && silence < LEAST_TIMEOUT;
        let by = match self.repair {
            Some(Repair { by: Slot::FastRecovery, .. }) if silence < LEAST_TIMEOUT => Slot::FastRecovery,
            Some(repair) if repair.by == Slot::Timeout => Slot::Timeout,
            None if is_told || is_soon => Slot::FastRecovery,
            _ => Slot::Timeout,
        };
        let until = self
            .repair
            .map_or(self.next, |repair| repair.until.max(if by == repair.by { repair.until } else { self.next }));
        self.repair = Some(Repair { by, until });
        self.due = at.saturating_add(self.answer.unwrap_or(0));
        self.timed = None;
        by
    }

    /// Times no answer to what was sent so far.
    pub(super) fn stop_timing(&mut self) {
        (self.timed, self.echo) = (None, None);
    }

    /// Begins to time again, with a SYN that was sent again.
    pub(super) fn time_again(&mut self, at: i64, end: i64) {
        self.timed = Some(Timed { end, at });
    }

    /// Takes note of the segment that ends the handshake, which is on its way for as long as the quickest answer takes.
    pub(super) fn reach(&mut self, at: i64) {
        self.reaching = at.saturating_add(self.answer.unwrap_or(0));
    }

    /// Takes note of a timestamp that the receiver sent.
    pub(super) fn stamp(&mut self, at: i64, stamp: u32) {
        if self.echo.is_none() {
            self.echo = Some(Echo { stamp, at, missed_at: at });
        }
    }

    /// Takes note of the timestamp that the sender repeats: one that is older than another that passed shows what it had not received.
    pub(super) fn repeat_stamp(&mut self, at: i64, stamp: u32) {
        let Some(echo) = &mut self.echo else { return };
        if (stamp.wrapping_sub(echo.stamp) as i32) < 0 {
            echo.missed_at = at;
            self.lag = self.lag.max(at - echo.at);
        } else {
            self.lag = echo.missed_at - echo.at;
            self.echo = None;
        }
    }

    /// How long what the receiver says is surely on its way to the sender, and the sender's answer back.
    pub(super) fn lag(&self) -> i64 {
        self.lag
    }

    /// What the receiver announced of the size of a segment.
    pub(super) fn set_room_of_one(&mut self, octets: i64) {
        self.room_of_one = octets;
    }

    /// Whether the sender was surely held up by the window, whatever comes.
    pub(super) fn is_surely_blocked(&self) -> bool {
        !self.is_pushed || self.is_probed
    }

    /// Whether all octets were acknowledged, as far as they were captured.
    pub(super) fn is_acknowledged(&self) -> bool {
        self.acknowledged >= self.next
    }

    /// How many octets it takes besides its own.
    pub(super) fn room(&self) -> usize {
        self.effects.capacity() * size_of::<Effect>()
    }

    /// Octets of a full segment.
    fn full(&self) -> i64 {
        if self.room_of_one > 0 { self.room_of_one } else { self.largest.clamp(1, USUAL) }
    }

    fn is_blocked(&self) -> bool {
        if self.lacks_room_for_one() {
            return true;
        }
        // A sender of large segments waits until a third of the window is free.
        let is_near = self.flights.is_full || self.flights.was_full;
        is_near && !self.is_pushed && self.edge.is_some_and(|edge| edge - self.next < (edge - self.told) / 3)
    }

    fn lacks_room_for_one(&self) -> bool {
        self.edge.is_some_and(|edge| edge - self.next < self.full())
    }
}

impl Flights {
    fn note(&mut self, flight: i64, next: i64) {
        self.now = self.now.max(flight);
        if self.until == 0 {
            self.until = next;
        }
    }

    fn turn(&mut self, told: i64, next: i64, full: i64) {
        if told < self.until {
            return;
        }
        let is_flat = (self.now - self.level).abs() <= (full / 2).max(self.level / 16);
        *self = Self {
            now: 0,
            before: self.now,
            until: next,
            level: if is_flat { self.level } else { self.now },
            flat: if is_flat { self.flat.saturating_add(1) } else { 0 },
            is_full: false,
            was_full: self.is_full,
        };
    }

    fn most(&self) -> i64 {
        self.now.max(self.before)
    }
}

/// How long after it could a segment leaves at most that was waiting to, besides a part of the sender's reaction.
const SLACK: i64 = 3_000_000;
/// How much longer that may be where the last octets were a full segment.
const LATER: i64 = 20_000_000;
/// For so many rounds no congestion window stays what it is: it grows, and BBR's does in one of eight.
const MOST_FLAT: u32 = 10;
/// How much quicker than the quickest so far an end may have answered.
const NEAR: i64 = 200_000;
/// Acknowledgements that take effect this close to one another are one.
const TOGETHER: i64 = 1_000_000;
/// A receiver that holds an acknowledgement back does so for 20 to 600 ms (RFC 9293 says no more than 500).
const LEAST_DELAY: i64 = 20_000_000;
const MOST_DELAY: i64 = 600_000_000;
/// How long a sender waits after an acknowledgement that says octets are missing, besides half of the path's time.
const REORDERING: i64 = 10_000_000;
/// No retransmission timer is quicker (Linux; RFC 6298 says a second).
const LEAST_TIMEOUT: i64 = 200_000_000;
/// Octets of a segment where nobody announced them.
const USUAL: i64 = 1448;
/// In how many parts of the path's time acknowledgements are told apart; at most twice as many wait for their effect.
const MOST_EFFECTS: usize = 32;
