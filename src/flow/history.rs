//! Zeek's words for a connection: its `conn_state` and its `history`.

use super::{ConnState, Side};
use crate::tcp::{Direction, Finding, Judgement};
use crate::wire::{Flags, Segment};

/// What Zeek remembers of a connection: one coarse state for each end, and a letter for each new kind of thing it sent.
///
/// Upper case is the originator, lower case the responder; who that is, is settled at the end.
/// SYN, SYN-ACK, FIN and RST are noted again when their sequence number differs from the last one of their kind, `a`, `d`, `i` and `q` once,
/// `c` (bad checksum), `g` (gap), `t` (sent again) and `w` (zero window) the 1st, 10th, 100th time and so on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    letters: [u8; LONGEST],
    len: u8,
    ends: [End; 2],
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    state: Stage,
    before: Stage,
    seen: Seen,
    syn: u32,
    fin: u32,
    rst: u32,
    gaps: u16,
    repeats: u16,
    zero_windows: u16,
    bad_checksums: u16,
}

/// The states that Zeek keeps for an end (its TCP_Endpoint.h).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum Stage {
    #[default]
    Inactive,
    SynSent,
    SynAckSent,
    Partial,
    Established,
    Closed,
    Reset,
}

bitflags::bitflags! {
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
    struct Seen: u8 {
        const SYN = 1;
        const FIN = 2;
        const RST = 4;
        const DATA = 8;
        const ACK = 16;
        const FIN_RST = 32;
        const SYN_AND_MORE = 64;
    }
}

impl History {
    /// Takes note of a segment; `originator` is the direction of the end that is held for the client so far.
    pub(super) fn observe(
        &mut self,
        direction: Direction,
        originator: Direction,
        segment: &Segment,
        judged: &Judgement,
    ) {
        self.note_flags(direction, segment);
        self.note_counts(direction, segment, judged);
        self.advance(direction, direction == originator, segment);
    }

    /// The letters, those of the end whose direction is `originator` in upper case; `^` leads when the responder was seen first.
    pub(super) fn text(&self, originator: Direction) -> String {
        let mut text = String::with_capacity(usize::from(self.len) + 1);
        let flipped = originator == Direction::Second && self.letters[0] & !SECOND == b'h';
        if flipped {
            text.push('^');
        }
        for letter in &self.letters[..usize::from(self.len)] {
            let is_second = letter & SECOND != 0;
            let letter = char::from(letter & !SECOND);
            let upper = is_second == (originator == Direction::Second);
            text.push(if upper { letter.to_ascii_uppercase() } else { letter });
        }
        text
    }

    /// The state of the whole, the end whose direction is `originator` having opened it.
    pub(super) fn conn_state(&self, originator: Direction, octets: [u64; 2]) -> ConnState {
        let orig = self.ends[originator as usize].state;
        let resp = self.ends[originator.reverse() as usize].state;
        let inactive = |stage| matches!(stage, Stage::Inactive | Stage::Partial);
        match (orig, resp) {
            (Stage::SynSent | Stage::SynAckSent, Stage::Reset) => ConnState::Rej,
            (Stage::Reset, Stage::Reset) if octets == [0, 0] => ConnState::Rej,
            (_, Stage::Reset) if inactive(orig) => ConnState::Rstrh,
            (_, Stage::Reset) => ConnState::Rstr,
            (Stage::Reset, _) if inactive(resp) => ConnState::Rstos0,
            (Stage::Reset, _) => ConnState::Rsto,
            (Stage::Closed, Stage::Closed) => ConnState::Sf,
            (Stage::Closed, _) if inactive(resp) => ConnState::Sh,
            (Stage::Closed, _) => ConnState::S2,
            (_, Stage::Closed) if inactive(orig) => ConnState::Shr,
            (_, Stage::Closed) => ConnState::S3,
            (Stage::SynSent, Stage::Inactive) => ConnState::S0,
            (Stage::Established, Stage::Established) => ConnState::S1,
            _ => ConnState::Oth,
        }
    }

    fn note_flags(&mut self, direction: Direction, segment: &Segment) {
        let flags = segment.flags;
        let seq = segment.seq.0;
        let controls = flags & (Flags::SYN | Flags::FIN | Flags::RST);
        match controls.bits().count_ones() {
            0 if segment.len > 0 => self.once(direction, Seen::DATA, b'd'),
            0 if flags.contains(Flags::ACK) => self.once(direction, Seen::ACK, b'a'),
            0 => {}
            1 if flags.contains(Flags::SYN) => {
                let letter = if flags.contains(Flags::ACK) { b'h' } else { b's' };
                let last = std::mem::replace(&mut self.ends[direction as usize].syn, seq);
                self.unless_repeated(direction, Seen::SYN, letter, last == seq);
            }
            1 if flags.contains(Flags::FIN) => {
                let seq = seq.wrapping_add(segment.len);
                let last = std::mem::replace(&mut self.ends[direction as usize].fin, seq);
                self.unless_repeated(direction, Seen::FIN, b'f', last == seq);
            }
            1 => {
                let last = std::mem::replace(&mut self.ends[direction as usize].rst, seq);
                self.unless_repeated(direction, Seen::RST, b'r', last == seq);
            }
            _ if flags.contains(Flags::FIN | Flags::RST) => self.once(direction, Seen::FIN_RST, b'i'),
            _ => self.once(direction, Seen::SYN_AND_MORE, b'q'),
        }
    }

    fn note_counts(&mut self, direction: Direction, segment: &Segment, judged: &Judgement) {
        let findings = judged.findings;
        let flags = segment.flags;
        let peer = self.ends[direction.reverse() as usize].state;
        let end = &mut self.ends[direction as usize];
        let closing = flags.intersects(Flags::RST) || peer == Stage::Closed || end.state == Stage::Reset;
        let zero_window = segment.window == 0 && !closing;
        let repeat = segment.len > 0
            && (findings.contains(Finding::Retransmission)
                || findings.contains(Finding::FastRetransmission)
                || findings.contains(Finding::SpuriousRetransmission)
                || findings.contains(Finding::OutOfOrder)
                || findings.contains(Finding::KeepAlive));
        let bad = findings.contains(Finding::BadChecksum);
        let tell = [
            (zero_window && tenfold(&mut end.zero_windows)).then_some((direction, b'w')),
            (repeat && tenfold(&mut end.repeats)).then_some((direction, b't')),
            (bad && tenfold(&mut end.bad_checksums)).then_some((direction, b'c')),
        ];
        // A gap is in the stream of the end whose octets were acknowledged without having been seen.
        let gap = findings.contains(Finding::AckedUnseen) && !flags.intersects(Flags::FIN | Flags::RST) && {
            tenfold(&mut self.ends[direction.reverse() as usize].gaps)
        };
        for (direction, letter) in tell.into_iter().flatten().chain(gap.then_some((direction.reverse(), b'g'))) {
            self.push(direction, letter);
        }
    }

    /// Zeek's machine of one end, as far as `conn_state` depends on it.
    fn advance(&mut self, direction: Direction, is_originator: bool, segment: &Segment) {
        let flags = segment.flags;
        let (syn, fin, rst) = (flags.contains(Flags::SYN), flags.contains(Flags::FIN), flags.contains(Flags::RST));
        let (own, other) = (direction as usize, direction.reverse() as usize);
        match self.ends[own].state {
            Stage::Inactive => self.advance_inactive(own, other, is_originator, segment),
            Stage::SynSent | Stage::SynAckSent => {
                if fin {
                    self.ends[own].enter(Stage::Closed);
                }
                if rst {
                    self.ends[own].enter(Stage::Reset);
                }
            }
            Stage::Partial | Stage::Established => {
                let opens = syn && !flags.contains(Flags::ACK);
                if opens && self.ends[own].state == Stage::Partial && self.ends[other].state == Stage::Inactive {
                    self.ends[own].enter(Stage::SynSent);
                }
                if fin && !rst {
                    self.ends[own].enter(Stage::Closed);
                    // A FIN and then a RST from the peer was a normal end, now that this end closes too.
                    if (self.ends[other].state, self.ends[other].before) == (Stage::Reset, Stage::Closed) {
                        self.ends[other].enter(Stage::Closed);
                    }
                }
                if rst {
                    self.ends[own].enter(Stage::Reset);
                }
            }
            Stage::Closed if rst && self.ends[other].state != Stage::Closed => self.ends[own].enter(Stage::Reset),
            Stage::Closed | Stage::Reset => {}
        }
    }

    fn advance_inactive(&mut self, own: usize, other: usize, is_originator: bool, segment: &Segment) {
        let flags = segment.flags;
        if flags.contains(Flags::SYN) {
            if is_originator {
                let is_answer = flags.contains(Flags::ACK);
                // A SYN that follows the SYN-ACK it caused was captured out of order: both ends are open.
                let reversed = !is_answer && self.ends[other].state == Stage::Established;
                self.ends[own].enter(match (is_answer, reversed) {
                    (true, _) => Stage::SynAckSent,
                    (false, true) => Stage::Established,
                    (false, false) => Stage::SynSent,
                });
            } else {
                if self.ends[other].state == Stage::SynSent {
                    self.ends[other].enter(Stage::Established);
                }
                self.ends[own].enter(Stage::Established);
            }
        }
        if flags.contains(Flags::FIN) {
            self.ends[own].enter(Stage::Closed);
        }
        if flags.contains(Flags::RST) {
            self.ends[own].enter(Stage::Reset);
        }
        if self.ends[own].state == Stage::Inactive {
            let bare_ack_of_syn = !is_originator && segment.len == 0 && self.ends[other].state == Stage::SynSent;
            if !bare_ack_of_syn {
                let open = flags.contains(Flags::ACK) && self.ends[other].state == Stage::Established;
                self.ends[own].enter(if open { Stage::Established } else { Stage::Partial });
            }
        }
    }

    fn once(&mut self, direction: Direction, what: Seen, letter: u8) {
        self.unless_repeated(direction, what, letter, true);
    }

    fn unless_repeated(&mut self, direction: Direction, what: Seen, letter: u8, same: bool) {
        let seen = &mut self.ends[direction as usize].seen;
        if !(same && seen.contains(what)) {
            seen.insert(what);
            self.push(direction, letter);
        }
    }

    fn push(&mut self, direction: Direction, letter: u8) {
        if let Some(place) = self.letters.get_mut(usize::from(self.len)) {
            *place = letter | if direction == Direction::Second { SECOND } else { 0 };
            self.len += 1;
        }
    }
}

impl End {
    fn enter(&mut self, state: Stage) {
        self.before = self.state;
        self.state = state;
    }
}

/// Which end a direction's sender is, once it is settled which of the two is the client.
pub(super) fn side_of(direction: Direction, client: Direction) -> Side {
    if direction == client { Side::Client } else { Side::Server }
}

/// Counts, and says whether the count is now 1, 10, 100, 1,000 or 10,000.
fn tenfold(count: &mut u16) -> bool {
    *count = count.saturating_add(1);
    matches!(*count, 1 | 10 | 100 | 1_000 | 10_000)
}

/// How many letters are kept; only a flood of resets or SYNs with ever new numbers has more.
const LONGEST: usize = 24;
/// Marks a letter of [`Direction::Second`].
const SECOND: u8 = 0x80;
