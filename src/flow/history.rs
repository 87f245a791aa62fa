//! Zeek's words for a connection: its `conn_state` and its `history`.

use std::fmt;

use super::{ConnState, Side};
use crate::tcp::{Direction, Finding, FindingSet};
use crate::wire::{Flags, Segment, Seq};

/// What Zeek remembers of a connection: one coarse state for each end, and a letter for each new kind of thing it sent.
///
/// Upper case is the originator, lower case the responder; who that is, is settled at the end.
/// SYN, SYN-ACK, FIN and RST are noted again when their sequence number differs from the last one of their kind, `a`, `d`, `i` and `q` once,
/// `c` (bad checksum), `g` (gap), `t` (sent again) and `w` (zero window) the 1st, 10th, 100th time and so on.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct History {
    /// The words of its [`Letters`], upper case those of [`Direction::First`].
    words: [u32; WORDS],
    /// The sequence number of the last RST.
    last_reset: u32,
    /// How many letters there are.
    len: u8,
    ends: [End; 2],
}

/// The letters of a history, upper case those of the end that is taken for the originator.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Letters {
    /// Five bits a letter, the first one lowest: its number in [`LETTERS`], and above that whether the other end sent it.
    words: [u32; WORDS],
    len: u8,
}

#[derive(Clone, Copy, Debug, Default)]
struct End {
    state: Stage,
    /// Where it would be had no RST been sent.
    unreset: Stage,
    seen: Seen,
}

/// How often an end showed what is noted by powers of ten.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Signs {
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
    ///
    /// `repeats` tells of a SYN or FIN whether it has the number of the last one.
    #[inline]
    pub(super) fn observe(&mut self, direction: Direction, originator: Direction, segment: &Segment, repeats: bool) {
        let controls = segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        let end = self.ends[direction as usize];
        let kind = if segment.len > 0 { Seen::DATA } else { Seen::ACK };
        // What nearly all segments show was seen before.
        if controls || end.unreset == Stage::Inactive || !end.seen.contains(kind) {
            self.note(direction, direction == originator, segment, repeats);
        }
    }

    /// The sequence number of the last RST; 0 before the first.
    pub(super) fn last_reset(&self) -> Seq {
        Seq(self.last_reset)
    }

    /// Whether the end of this direction has sent a SYN without ACK.
    pub(super) fn has_asked(&self, direction: Direction) -> bool {
        self.letters(Direction::First).iter().any(|letter| letter == (b's', direction))
    }

    /// Takes note that an end ended with a RST that was captured as another connection's.
    pub(super) fn be_reset(&mut self, direction: Direction) {
        self.ends[direction as usize].state = Stage::Reset;
    }

    /// The letters, those of the end whose direction is `originator` in upper case.
    pub(super) fn letters(&self, originator: Direction) -> Letters {
        let Self { mut words, len, .. } = *self;
        if originator == Direction::Second {
            for (at, word) in words.iter_mut().enumerate() {
                let kept = usize::from(len).saturating_sub(at * LETTERS_A_WORD).min(LETTERS_A_WORD);
                *word ^= SECONDS & !(u32::MAX << (kept * BITS));
            }
        }
        Letters { words, len }
    }

    /// The state of the whole, the end whose direction is `originator` having opened it; a RST counts where one `was_reset` by it,
    /// and a FIN but for that of an end that `went_on`, the originator's word first.
    pub(super) fn conn_state(
        &self,
        originator: Direction,
        octets: [u64; 2],
        was_reset: bool,
        went_on: [bool; 2],
    ) -> ConnState {
        let stage = |direction: Direction| {
            let end = &self.ends[direction as usize];
            match if was_reset { end.state } else { end.unreset } {
                Stage::Closed if went_on[usize::from(direction != originator)] => Stage::Established,
                stage => stage,
            }
        };
        let (orig, resp) = (stage(originator), stage(originator.reverse()));
        // A RST alone begins nothing.
        let began = |direction: Direction| self.ends[direction as usize].seen.contains(Seen::SYN);
        let inactive = |stage| matches!(stage, Stage::Inactive | Stage::Partial);
        match (orig, resp) {
            (Stage::SynSent | Stage::SynAckSent, Stage::Reset) => ConnState::Rej,
            (Stage::Reset, Stage::Reset) if octets == [0, 0] => ConnState::Rej,
            (_, Stage::Reset) if inactive(orig) => {
                if began(originator.reverse()) {
                    ConnState::Rstrh
                } else {
                    ConnState::Oth
                }
            }
            (_, Stage::Reset) => ConnState::Rstr,
            (Stage::Reset, _) if inactive(resp) => {
                if began(originator) {
                    ConnState::Rstos0
                } else {
                    ConnState::Oth
                }
            }
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

    fn note(&mut self, direction: Direction, is_originator: bool, segment: &Segment, repeats: bool) {
        self.note_flags(direction, segment, repeats);
        let controls = segment.flags.intersects(Flags::SYN | Flags::FIN | Flags::RST);
        if !controls && self.ends[direction as usize].unreset != Stage::Inactive {
            return;
        }
        let ends = [self.ends[direction as usize], self.ends[direction.reverse() as usize]];
        let [own, other] = advance(ends.map(|end| end.state), ends[1].unreset, is_originator, segment);
        self.ends[direction as usize].state = own;
        self.ends[direction.reverse() as usize].state = other;
        if !segment.flags.contains(Flags::RST) {
            let [own, other] = advance(ends.map(|end| end.unreset), ends[1].unreset, is_originator, segment);
            self.ends[direction as usize].unreset = own;
            self.ends[direction.reverse() as usize].unreset = other;
        }
    }

    fn note_flags(&mut self, direction: Direction, segment: &Segment, repeats: bool) {
        let flags = segment.flags;
        let controls = flags & (Flags::SYN | Flags::FIN | Flags::RST);
        match controls.bits().count_ones() {
            0 if segment.len > 0 => self.once(direction, Seen::DATA, b'd'),
            0 if flags.contains(Flags::ACK) => self.once(direction, Seen::ACK, b'a'),
            0 => {}
            1 if flags.contains(Flags::SYN) => {
                let letter = if flags.contains(Flags::ACK) { b'h' } else { b's' };
                self.unless_repeated(direction, Seen::SYN, letter, repeats);
            }
            1 if flags.contains(Flags::FIN) => self.unless_repeated(direction, Seen::FIN, b'f', repeats),
            1 => {
                let last = std::mem::replace(&mut self.last_reset, segment.seq.0);
                self.unless_repeated(direction, Seen::RST, b'r', last == segment.seq.0);
            }
            _ if flags.contains(Flags::FIN | Flags::RST) => self.once(direction, Seen::FIN_RST, b'i'),
            _ => self.once(direction, Seen::SYN_AND_MORE, b'q'),
        }
    }

    /// Takes note of what is counted by powers of ten; to be called after [`observe`](Self::observe) where there is anything remarkable.
    #[cold]
    pub(super) fn note_signs(
        &mut self,
        signs: &mut [Signs; 2],
        direction: Direction,
        segment: &Segment,
        findings: FindingSet,
    ) {
        let flags = segment.flags;
        let peer = direction.reverse();
        let stages = [self.ends[direction as usize].state, self.ends[peer as usize].state];
        let over = flags.contains(Flags::RST) || stages[1] == Stage::Closed || stages[0] == Stage::Reset;
        let zero_window = segment.window == 0 && !over;
        let repeat = segment.len > 0 && findings.repeats();
        let bad = findings.contains(Finding::BadChecksum);
        let own = &mut signs[direction as usize];
        if zero_window && tenfold(&mut own.zero_windows) {
            self.push(direction, b'w');
        }
        if repeat && tenfold(&mut own.repeats) {
            self.push(direction, b't');
        }
        if bad && tenfold(&mut own.bad_checksums) {
            self.push(direction, b'c');
        }
        // A gap is in the stream of the end whose octets were acknowledged without having been seen.
        let gap = findings.contains(Finding::AckedUnseen) && !flags.intersects(Flags::FIN | Flags::RST);
        if gap && tenfold(&mut signs[peer as usize].gaps) {
            self.push(peer, b'g');
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
        push(&mut self.words, &mut self.len, direction, letter);
    }
}

impl Letters {
    fn iter(&self) -> impl Iterator<Item = (u8, Direction)> + '_ {
        let words = self.words.iter().flat_map(|word| (0..LETTERS_A_WORD).map(move |at| word >> (at * BITS)));
        words.take(self.len.into()).map(letter)
    }

    /// As Zeek writes them, in ASCII: `^` leads when the responder was seen first.
    pub fn write<'a>(&self, room: &'a mut [u8; Self::LONGEST]) -> &'a [u8] {
        let mut len = 0;
        if self.iter().next() == Some((b'h', Direction::Second)) {
            (room[0], len) = (b'^', 1);
        }
        let end = len + usize::from(self.len);
        for (places, word) in room[len..end].chunks_mut(LETTERS_A_WORD).zip(self.words) {
            let mut packed = word;
            for place in places {
                let (letter, from) = letter(packed);
                *place = if from == Direction::First { letter.to_ascii_uppercase() } else { letter };
                packed >>= BITS;
            }
        }
        &room[..end]
    }

    /// How many octets they take at most.
    pub const LONGEST: usize = LETTERS_A_WORD * WORDS + 1;
}

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(str::from_utf8(self.write(&mut [0; Self::LONGEST])).unwrap_or_default())
    }
}

impl fmt::Debug for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// The letters of a history as Zeek writes it; others than Zeek's are left out.
impl From<&str> for Letters {
    fn from(text: &str) -> Self {
        let mut letters = Self::default();
        for octet in text.bytes().filter(|octet| LETTERS.contains(&octet.to_ascii_lowercase())) {
            let from = if octet.is_ascii_uppercase() { Direction::First } else { Direction::Second };
            push(&mut letters.words, &mut letters.len, from, octet.to_ascii_lowercase());
        }
        letters
    }
}

impl PartialEq<str> for Letters {
    fn eq(&self, text: &str) -> bool {
        self.write(&mut [0; Self::LONGEST]) == text.as_bytes()
    }
}

impl PartialEq<&str> for Letters {
    fn eq(&self, text: &&str) -> bool {
        self == *text
    }
}

/// Zeek's machine of one end, as far as `conn_state` depends on it: where the sender of a segment, and its peer, are after it.
///
/// `unreset` is where the peer would be had it sent no RST.
fn advance([own, other]: [Stage; 2], unreset: Stage, is_originator: bool, segment: &Segment) -> [Stage; 2] {
    let flags = segment.flags;
    let (syn, fin, rst) = (flags.contains(Flags::SYN), flags.contains(Flags::FIN), flags.contains(Flags::RST));
    match own {
        Stage::Inactive => advance_inactive(other, is_originator, segment),
        Stage::SynSent | Stage::SynAckSent if rst => [Stage::Reset, other],
        Stage::SynSent | Stage::SynAckSent if fin => [Stage::Closed, other],
        Stage::Partial | Stage::Established if rst => [Stage::Reset, other],
        // A FIN and then a RST from the peer was a normal end, now that this end closes too.
        Stage::Partial | Stage::Established if fin => {
            let was_normal = (other, unreset) == (Stage::Reset, Stage::Closed);
            [Stage::Closed, if was_normal { Stage::Closed } else { other }]
        }
        Stage::Partial if syn && !flags.contains(Flags::ACK) && other == Stage::Inactive => [Stage::SynSent, other],
        Stage::Closed if rst && other != Stage::Closed => [Stage::Reset, other],
        _ => [own, other],
    }
}

fn advance_inactive(other: Stage, is_originator: bool, segment: &Segment) -> [Stage; 2] {
    let flags = segment.flags;
    if flags.contains(Flags::RST) {
        let opens = flags.contains(Flags::SYN) && !is_originator && other == Stage::SynSent;
        return [Stage::Reset, if opens { Stage::Established } else { other }];
    }
    if flags.contains(Flags::FIN) {
        let opens = flags.contains(Flags::SYN) && !is_originator && other == Stage::SynSent;
        return [Stage::Closed, if opens { Stage::Established } else { other }];
    }
    if flags.contains(Flags::SYN) {
        if !is_originator {
            return [Stage::Established, if other == Stage::SynSent { Stage::Established } else { other }];
        }
        let is_answer = flags.contains(Flags::ACK);
        // A SYN that follows the SYN-ACK it caused was captured out of order: both ends are open.
        let reversed = !is_answer && other == Stage::Established;
        let own = match (is_answer, reversed) {
            (true, _) => Stage::SynAckSent,
            (false, true) => Stage::Established,
            (false, false) => Stage::SynSent,
        };
        return [own, other];
    }
    let bare_ack_of_syn = !is_originator && segment.len == 0 && other == Stage::SynSent;
    let open = flags.contains(Flags::ACK) && other == Stage::Established;
    let own = match (bare_ack_of_syn, open) {
        (true, _) => Stage::Inactive,
        (false, true) => Stage::Established,
        (false, false) => Stage::Partial,
    };
    [own, other]
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

/// Adds a letter, if there is room for it.
fn push(words: &mut [u32; WORDS], len: &mut u8, direction: Direction, letter: u8) {
    let at = usize::from(*len);
    let Some(word) = words.get_mut(at / LETTERS_A_WORD) else { return };
    let number = LETTERS.iter().position(|known| *known == letter).unwrap_or(0) as u32;
    let second = if direction == Direction::Second { SECOND } else { 0 };
    *word |= (number | second) << (at % LETTERS_A_WORD * BITS);
    *len += 1;
}

/// A letter, and whose it is, in the lowest bits.
#[inline]
fn letter(packed: u32) -> (u8, Direction) {
    let direction = if packed & SECOND == 0 { Direction::First } else { Direction::Second };
    (LETTERS[(packed & 0xf) as usize % LETTERS.len()], direction)
}

/// The letters of a history, lower case.
const LETTERS: [u8; 12] = *b"shadfriqcgtw";
/// How many bits a letter takes.
const BITS: usize = 5;
/// How many letters fit into a word.
const LETTERS_A_WORD: usize = 32 / BITS;
/// How many words of letters are kept; only a flood of resets or SYNs with ever new numbers has more.
const WORDS: usize = 4;
/// Marks a letter of [`Direction::Second`].
const SECOND: u32 = 0x10;
/// Marks all letters of a word.
const SECONDS: u32 = SECOND * 0x0210_8421;
