//! The states of one end as its machine passed through them, and what a witness's word fits.

use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// The states of one end, in the order in which it entered them.
#[derive(Debug, Default)]
pub(super) struct StatePath {
    initial: Option<State>,
    steps: Vec<Entered>,
    /// For each state, the steps that entered it.
    places: [Vec<usize>; State::ALL.len()],
}

/// A step of the path.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entered {
    /// When it was entered, never before the step before it; `None` only where no step before has a time.
    pub(super) at: Option<Timestamp>,
    pub(super) state: State,
    /// The draft that says so.
    pub(super) draft: usize,
}

impl StatePath {
    /// Adds a step from `from` to `to`; of the first one it is known what the end was before.
    pub(super) fn enter(&mut self, from: Option<State>, to: State, at: Option<Timestamp>, draft: usize) {
        if self.steps.is_empty() {
            self.initial = from;
        }
        self.places[to as usize].push(self.steps.len());
        let at = self.steps.last().and_then(|last| last.at).max(at);
        self.steps.push(Entered { at, state: to, draft });
    }

    /// The state entered last.
    pub(super) fn last(&self) -> Option<State> {
        self.steps.last().map(|step| step.state).or(self.initial)
    }

    /// Every step.
    pub(super) fn steps(&self) -> &[Entered] {
        &self.steps
    }

    /// Finds the step that a witness's word fits; `Ok(None)` is the state before the first step, `Err` no fitting state.
    ///
    /// The word held at some moment from `asked` to `answered`; a segment may have been captured up to [`LAG`] before the kernel acted on it.
    /// The time it takes grows with the logarithm of the path.
    pub(super) fn fitting(
        &self,
        fits: impl Fn(State) -> bool,
        asked: Timestamp,
        answered: Timestamp,
    ) -> Result<Option<usize>, Option<State>> {
        // The last step that was surely taken before the question: no state before it still held.
        let taken = self.steps.partition_point(|step| step.at.is_none_or(|at| at.after(LAG) < asked));
        let first = self.steps[..taken].last().and_then(|step| step.at).map(|_| taken - 1);
        let end = self.entered_by(answered);
        let last_of = |state: State| {
            let places = &self.places[state as usize];
            places[..places.partition_point(|place| *place < end)].last().copied()
        };
        let found = State::ALL.into_iter().filter(|state| fits(*state)).filter_map(last_of).max();
        if let Some(place) = found.filter(|place| first.is_none_or(|first| *place >= first)) {
            return Ok(Some(self.steps[place].draft));
        }
        match self.initial {
            Some(initial) if first.is_none() && fits(initial) => Ok(None),
            // What an end was before it was first seen may be anything.
            None if first.is_none() => Ok(None),
            _ => Err(self.steps[..end].last().map(|step| step.state).or(self.initial)),
        }
    }

    /// The draft of the step in effect at `moment`.
    pub(super) fn draft_at(&self, moment: Timestamp) -> Option<usize> {
        self.steps[..self.entered_by(moment)].last().map(|step| step.draft)
    }

    fn entered_by(&self, moment: Timestamp) -> usize {
        self.steps.partition_point(|step| step.at.is_none_or(|at| at <= moment))
    }
}

/// How long after a segment's capture the kernel may take to act on it: a loaded machine runs its softirqs late.
const LAG: Span = Span::from_millis(100);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same answer by a walk back along the whole path.
    fn walked(path: &StatePath, said: State, asked: Timestamp, answered: Timestamp) -> Result<Option<usize>, ()> {
        let mut left = None;
        let still = |left: Option<Timestamp>| left.is_none_or(|left| left.after(LAG) >= asked);
        for step in path.steps.iter().rev() {
            if !still(left) {
                return Err(());
            }
            if step.at.is_none_or(|at| at <= answered) && step.state == said {
                return Ok(Some(step.draft));
            }
            left = step.at.or(left);
        }
        if still(left) && path.initial.is_none_or(|initial| initial == said) { Ok(None) } else { Err(()) }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_walk_finds(
            untimed in 0usize..3,
            steps in proptest::collection::vec((0usize..11, 0i64..90), 0..40),
            initial in proptest::option::of(0usize..11),
            (said, asked, took) in (0usize..11, 0i64..2000, 0i64..300),
        ) {
            let mut path = StatePath { initial: initial.map(|state| State::ALL[state]), ..StatePath::default() };
            let at = |millis: i64| Timestamp::from_nanos(0).after(Span::from_millis(millis));
            let mut now = 0;
            for (index, (state, after)) in steps.into_iter().enumerate() {
                now += after;
                path.enter(path.last(), State::ALL[state], (index >= untimed).then(|| at(now)), index);
            }
            let (said, asked, answered) = (State::ALL[said], at(asked), at(asked + took));
            let found = path.fitting(|state| state == said, asked, answered);
            prop_assert_eq!(found.map_err(drop), walked(&path, said, asked, answered));
        }
    }
}
