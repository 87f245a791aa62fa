//! The segments of one end that may let calls of the other return.

use super::ground::Place;
use crate::wire::Flags;

/// The first segments of one end that let calls of the other return.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Answers {
    pub(super) reset: Option<Place>,
    pub(super) syn_ack: Option<Place>,
    /// That acknowledges, and is no SYN-ACK.
    pub(super) ack: Option<Place>,
    pub(super) fin: Option<Place>,
}

impl Answers {
    /// Takes in a segment of the end; whether it is the first of its kind.
    pub(super) fn see(&mut self, flags: Flags, place: Place) -> bool {
        let has = |flag| flags.contains(flag);
        let wanted = [
            (&mut self.reset, has(Flags::RST)),
            (&mut self.syn_ack, has(Flags::SYN | Flags::ACK)),
            (&mut self.ack, has(Flags::ACK) && !has(Flags::SYN)),
            (&mut self.fin, has(Flags::FIN)),
        ];
        let mut is_first = false;
        for (answer, _) in wanted.into_iter().filter(|(_, wanted)| *wanted) {
            is_first |= answer.is_none();
            answer.get_or_insert(place);
        }
        is_first
    }
}
