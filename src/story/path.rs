//! The states that one end passed through, and what witnesses say of them.

use super::events::{Events, Order};
use super::{EventId, EventKind, TransitionEvent};
use crate::calls::Errno;
use crate::flow::{ConnectionId, Disagreement, Side};
use crate::kernel::Witness;
use crate::tcp::{Move, Rule, State};
use crate::time::{Span, Timestamp};

/// The states of one end, in the order in which it entered them, and what witnesses said of them.
#[derive(Clone, Debug, Default)]
pub(super) struct Path {
    initial: Option<State>,
    steps: Vec<Entered>,
    /// For each state, the steps that entered it; once a witness has spoken.
    places: Vec<Vec<usize>>,
    /// What witnesses said, in the order in which they did.
    said: Vec<Said>,
    /// How many of these have been held against the steps.
    judged: usize,
    /// Steps were changed that words had been held against: all have to be again.
    is_stale: bool,
    /// A witness saw the end in a state that it has only with the peer's FIN.
    had_peers_fin: bool,
    /// A witness saw the handshake complete.
    was_established: bool,
    /// What the segments took back was kept, as a witness saw it: the next step goes on from there.
    goes_on: bool,
    /// The states that witnesses told of before a step entered them.
    untimely: Vec<State>,
}

/// A step of a path.
#[derive(Clone, Copy, Debug)]
struct Entered {
    /// When it was entered, never before the step before it; `None` only where no step before has a time.
    at: Option<Timestamp>,
    state: State,
    /// The transition that says so.
    event: EventId,
    /// The witnesses who made it.
    by: Option<Witness>,
}

/// A witness's word for the state of an end.
#[derive(Clone, Debug)]
pub(super) struct Said {
    pub(super) by: Witness,
    /// The state that it left for this one, where a change was seen.
    pub(super) left: Option<State>,
    /// `None`: there is no such socket.
    pub(super) state: Option<State>,
    /// That there is no such socket fits a listening one too, which has no peer.
    pub(super) of_listener: bool,
    pub(super) asked: Timestamp,
    pub(super) answered: Timestamp,
    /// The call after which it was asked.
    pub(super) after: Option<EventId>,
}

impl Said {
    fn fits(&self, state: State) -> bool {
        match self.state {
            // It keeps such a socket in FIN-WAIT-2, too, once no process holds the end.
            Some(State::Closed) if self.by == Witness::Kernel && self.left == Some(State::FinWait2) => {
                matches!(state, State::Closed | State::TimeWait | State::FinWait2)
            }
            // The kernel keeps another, smaller socket in TIME-WAIT: to it the end is closed.
            Some(State::Closed) if matches!(self.by, Witness::Kernel | Witness::TcpInfo) => {
                matches!(state, State::Closed | State::TimeWait)
            }
            Some(said) => state == said,
            // A 4-tuple without a socket: closed, or back at the listening socket, which has no 4-tuple.
            None => state == State::Closed || (state == State::Listen && !self.of_listener),
        }
    }
}

impl Said {
    /// Whether it fits the state before any segment: a socket whose SYN waits for its first octets (tcp(7), TCP_FASTOPEN_CONNECT) is in
    /// SYN-SENT before that leaves.
    fn fits_at_first(&self, state: State) -> bool {
        let waits = self.by == Witness::TcpInfo && self.state == Some(State::SynSent) && state == State::Closed;
        waits || self.fits(state)
    }

    /// Whether the state that was left, as far as that was seen, is this one.
    fn left_fits(&self, state: Option<State>) -> bool {
        let (Some(left), Some(state)) = (self.left, state) else { return true };
        Self { state: Some(left), ..self.clone() }.fits(state)
    }

    /// Whether it is the state after a call that failed with ETIMEDOUT: the kernel gave the connection up, and tells nobody else.
    fn tells_of_a_timeout(&self, events: &Events) -> bool {
        let failed = |call| events.call(call).call.errno() == Some(Errno::ETIMEDOUT);
        self.by == Witness::TcpInfo && self.state == Some(State::Closed) && self.after.is_some_and(failed)
    }
}

impl Entered {
    /// Whether no segment shows it, and no timer that was seen running.
    fn is_only_witnessed(&self) -> bool {
        matches!(self.by, Some(Witness::Kernel | Witness::TcpInfo))
    }
}

impl Path {
    /// The state entered last.
    pub(super) fn last(&self) -> Option<State> {
        self.steps.last().map(|step| step.state).or(self.initial)
    }

    /// Adds a step from `from`; of the first one it is known what the end was before.
    fn enter(&mut self, from: Option<State>, step: Entered) {
        if self.steps.is_empty() {
            self.initial = from;
        }
        if let Some(places) = self.places.get_mut(step.state as usize) {
            places.push(self.steps.len());
        }
        let at = self.steps.last().and_then(|last| last.at).max(step.at);
        self.steps.push(Entered { at, ..step });
        self.is_stale |= self.said[..self.judged].last().is_some_and(|said| at <= Some(said.answered));
        self.is_stale |= self.untimely.contains(&step.state);
    }

    /// Takes the last step back.
    pub(super) fn leave(&mut self) -> Option<EventId> {
        let step = self.steps.pop()?;
        if let Some(places) = self.places.get_mut(step.state as usize) {
            places.pop();
        }
        self.is_stale |= self.judged > 0;
        Some(step.event)
    }

    /// The segment or call that brought about the last step, and when that was.
    pub(super) fn last_step(&self) -> Option<(EventId, Option<Timestamp>)> {
        self.steps.last().map(|step| (step.event, step.at))
    }

    /// Whether the end ever was in that state.
    pub(super) fn has_been(&self, state: State) -> bool {
        self.initial == Some(state) || self.steps.iter().any(|step| step.state == state)
    }

    /// Whether a witness has said that the peer's FIN arrived.
    pub(super) fn had_peers_fin(&self) -> bool {
        self.had_peers_fin
    }

    /// Whether a correction back to `to` is to be passed over: the segments leave open whether the handshake was completed, and a
    /// witness has said that it was. So it is where a program closes at once, and a bare RST answers octets that come after.
    pub(super) fn stands_against(&mut self, to: State) -> bool {
        let stands = self.was_established && to == State::SynReceived && self.last() == Some(State::Established);
        self.goes_on |= stands;
        stands
    }

    /// Takes back the step of `event`, if it is the last one; whether it was.
    pub(super) fn take_back_last(&mut self, event: EventId) -> bool {
        let is_last = self.steps.last().is_some_and(|step| step.event == event);
        is_last && self.leave().is_some()
    }

    /// When the step before that of `event` was entered.
    pub(super) fn entered_before(&self, event: EventId) -> Option<Timestamp> {
        let place = self.steps.iter().rposition(|step| step.event == event)?;
        self.steps[..place].last().and_then(|step| step.at)
    }

    /// Moves a step to another time, which lies between those of its neighbours.
    pub(super) fn put_off(&mut self, event: EventId, at: Option<Timestamp>) {
        let Some(step) = self.steps.iter_mut().rev().find(|step| step.event == event) else { return };
        if step.at != at {
            step.at = at;
            self.is_stale |= self.judged > 0;
        }
    }

    /// Finds anew which steps entered which state.
    fn index(&mut self) {
        self.places = vec![Vec::new(); State::ALL.len()];
        for (place, step) in self.steps.iter().enumerate() {
            self.places[step.state as usize].push(place);
        }
    }

    /// Takes in a witness's word.
    pub(super) fn hear(&mut self, said: Said) {
        let with_fin = [State::CloseWait, State::Closing, State::LastAck, State::TimeWait];
        self.had_peers_fin |= said.state.is_some_and(|state| with_fin.contains(&state));
        self.was_established |= said.state == Some(State::Established);
        self.said.push(said);
    }

    /// Finds the step that a word fits; `Ok(None)` is the state before the first step, `Err` no fitting state.
    ///
    /// The word held at some moment from `asked` to `answered`; a segment may have been captured up to [`LAG`] before the kernel acted on it.
    /// The time it takes grows with the logarithm of the path.
    fn fitting(&self, said: &Said) -> Result<Option<EventId>, Option<State>> {
        // The last step that was surely taken before the question: no state before it still held.
        let taken = self.steps.partition_point(|step| step.at.is_none_or(|at| at.after(LAG) < said.asked));
        let first = self.steps[..taken].last().and_then(|step| step.at).map(|_| taken - 1);
        let end = self.entered_by(said.answered);
        let last_of = |state: State| {
            let places = &self.places[state as usize];
            places[..places.partition_point(|place| *place < end)].last().copied()
        };
        let found = State::ALL.into_iter().filter(|state| said.fits(*state)).filter_map(last_of).max();
        // The kernel makes a socket of a request only once the handshake is complete, however long after the SYN-ACK that is.
        let is_late = said.by == Witness::Kernel && said.state == Some(State::SynReceived);
        if let Some(place) = found.filter(|place| is_late || first.is_none_or(|first| *place >= first)) {
            return Ok(Some(self.steps[place].event));
        }
        match self.initial {
            Some(initial) if first.is_none() && said.fits_at_first(initial) => Ok(None),
            // What an end was before it was first seen may be anything.
            None if first.is_none() => Ok(None),
            _ => Err(self.steps[..end].last().map(|step| step.state).or(self.initial)),
        }
    }

    /// The step that a word shows to have been taken by then, and when: segments place what an arriving segment brought about where the end first answers it, which may be long after.
    fn late_step(&self, events: &Events, said: &Said) -> Option<(usize, Timestamp)> {
        let told = if said.by == Witness::Kernel { said.asked } else { said.answered };
        let place = self.entered_by(told);
        let step = self.steps.get(place).filter(|step| Some(step.state) == said.state && !step.is_only_witnessed())?;
        let cause = events.event(events.transition(step.event).cause?);
        let is_segment = matches!(cause.kind, EventKind::Segment(_));
        let arrived = cause.at.filter(|arrived| is_segment && *arrived <= told)?;
        let settled = self.steps[..place].last().and_then(|before| before.at).unwrap_or(arrived);
        Some((place, said.asked.max(arrived).max(settled)))
    }

    /// The transition in effect at `moment`.
    fn event_at(&self, moment: Timestamp) -> Option<EventId> {
        self.steps[..self.entered_by(moment)].last().map(|step| step.event)
    }

    fn entered_by(&self, moment: Timestamp) -> usize {
        self.steps.partition_point(|step| step.at.is_none_or(|at| at <= moment))
    }

    /// Whether there are words that have not been held against the steps.
    pub(super) fn is_settled(&self) -> bool {
        !self.is_stale && self.judged == self.said.len()
    }

    /// Holds what witnesses said against the steps: a word confirms a transition, or contradicts the one in effect.
    ///
    pub(super) fn judge(&mut self, events: &mut Events, of: Option<ConnectionId>, side: Option<Side>) -> Judged {
        let mut born = Vec::new();
        let anew = std::mem::take(&mut self.is_stale);
        if anew {
            self.judged = 0;
            for made in self.steps.iter().filter(|step| step.is_only_witnessed()) {
                events.withdraw(made.event);
            }
            self.steps.retain(|step| !step.is_only_witnessed());
            self.untimely.clear();
            self.index();
            for step in &self.steps {
                let transition = events.transition_mut(step.event);
                transition.evidence = step.by.into_iter().collect();
                transition.disagreement = None;
            }
        }
        if self.places.is_empty() {
            self.index();
        }
        let mut against = Vec::new();
        let said = std::mem::take(&mut self.said);
        let mut drawn = Vec::new();
        for said in &said[self.judged..] {
            if let Some((place, at)) = self.late_step(events, said) {
                let step = &mut self.steps[place];
                step.at = Some(at);
                events.put_off(step.event, Order::of_sample(at), Some(at));
                drawn.push(step.event);
            }
            let fitting = self.fitting(said);
            if fitting.is_err() {
                self.untimely.extend(said.state.filter(|state| !self.untimely.contains(state)));
            }
            match fitting {
                Ok(None) => {}
                Ok(Some(event)) => {
                    if let Err(place) = events.transition(event).evidence.binary_search(&said.by) {
                        events.transition_mut(event).evidence.insert(place, said.by);
                    }
                }
                Err(from) if said.by == Witness::Kernel || said.tells_of_a_timeout(events) => {
                    // No segment shows it: the kernel's word alone makes it a transition.
                    let (Some(to), Some(side)) = (said.state, side) else { continue };
                    let made = |step: &&Entered| step.is_only_witnessed();
                    if self.steps.iter().filter(made).count() >= MOST_MADE {
                        continue;
                    }
                    let disagreement = (!said.left_fits(from)).then_some(Disagreement {
                        witness: said.by,
                        said: said.left,
                        segments: from,
                        after: None,
                    });
                    against.extend(disagreement.clone().map(|disagreement| (disagreement, said.asked)));
                    let step = Move { from, to, rule: Rule::Witnessed };
                    let transition = TransitionEvent {
                        side,
                        from,
                        to,
                        cause: said.after,
                        rule: step.rule,
                        evidence: vec![said.by],
                        disagreement,
                    };
                    let at = Some(said.asked);
                    let event = events.push(Order::of_sample(said.asked), at, of, EventKind::Transition(transition));
                    let place = self.steps.partition_point(|step| step.at.is_none_or(|at| at <= said.asked));
                    self.steps.insert(place, Entered { at, state: to, event, by: Some(said.by) });
                    self.index();
                    born.push(event);
                }
                Err(state) => {
                    let after = said.after.map(|call| events.call(call).call.name().to_owned().into());
                    let disagreement = Disagreement { witness: said.by, said: said.state, segments: state, after };
                    if let Some(event) = self.event_at(said.answered)
                        && events.transition(event).disagreement.is_none()
                    {
                        events.transition_mut(event).disagreement = Some(disagreement.clone());
                    }
                    against.push((disagreement, said.answered));
                }
            }
        }
        self.judged = said.len();
        self.said = said;
        Judged { against, anew, born, drawn }
    }

    /// A new transition, by which the path goes on.
    pub(super) fn step(&mut self, events: &mut Events, of: Option<ConnectionId>, moved: Moved) -> EventId {
        let Moved { side, mut step, order, at, cause, by } = moved;
        if std::mem::take(&mut self.goes_on) {
            step.from = self.last();
        }
        let transition = TransitionEvent {
            side,
            from: step.from,
            to: step.to,
            cause: Some(cause),
            rule: step.rule,
            evidence: by.into_iter().collect(),
            disagreement: None,
        };
        let event = events.push(order, at, of, EventKind::Transition(transition));
        self.enter(step.from, Entered { at: order.at, state: step.to, event, by });
        event
    }
}

/// What came of holding witnesses' words against a path.
pub(super) struct Judged {
    /// What contradicts, and when it was said.
    pub(super) against: Vec<(Disagreement, Timestamp)>,
    /// Whether what was found before no longer holds.
    pub(super) anew: bool,
    /// Transitions that only a witness shows.
    pub(super) born: Vec<EventId>,
    /// Transitions that a witness knew of before the segments showed them.
    pub(super) drawn: Vec<EventId>,
}

/// A move of an end.
pub(super) struct Moved {
    pub(super) side: Side,
    pub(super) step: Move,
    pub(super) order: Order,
    pub(super) at: Option<Timestamp>,
    pub(super) cause: EventId,
    /// The witness who made it, not only agrees.
    pub(super) by: Option<Witness>,
}

/// How many transitions of an end the kernel's word alone may make: a socket goes through fewer.
const MOST_MADE: usize = 32;
/// How long after a segment's capture the kernel may take to act on it: a loaded machine runs its softirqs late.
const LAG: Span = Span::from_millis(100);

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The same answer by a walk back along the whole path.
    fn walked(path: &Path, said: &Said) -> Result<Option<EventId>, ()> {
        let mut left = None;
        let still = |left: Option<Timestamp>| left.is_none_or(|left| left.after(LAG) >= said.asked);
        for step in path.steps.iter().rev() {
            if !still(left) {
                return Err(());
            }
            if step.at.is_none_or(|at| at <= said.answered) && said.fits(step.state) {
                return Ok(Some(step.event));
            }
            left = step.at.or(left);
        }
        if still(left) && path.initial.is_none_or(|initial| said.fits_at_first(initial)) { Ok(None) } else { Err(()) }
    }

    proptest! {
        #[test]
        fn it_finds_what_a_walk_finds(
            untimed in 0usize..3,
            steps in proptest::collection::vec((0usize..11, 0i64..90), 0..40),
            initial in proptest::option::of(0usize..11),
            (said, asked, took) in (proptest::option::of(0usize..11), 0i64..2000, 0i64..300),
        ) {
            let mut path = Path { initial: initial.map(|state| State::ALL[state]), ..Path::default() };
            let at = |millis: i64| Timestamp::from_nanos(0).after(Span::from_millis(millis));
            let mut now = 0;
            for (index, (state, after)) in steps.into_iter().enumerate() {
                now += after;
                let at = (index >= untimed).then(|| at(now));
                let entered = Entered { at, state: State::ALL[state], event: EventId(index as u64), by: None };
                path.enter(path.last(), entered);
            }
            let said = Said {
                by: Witness::TcpInfo,
                left: None,
                state: said.map(|said| State::ALL[said]),
                of_listener: false,
                asked: at(asked),
                answered: at(asked + took),
                after: None,
            };
            path.index();
            prop_assert_eq!(path.fitting(&said).map_err(drop), walked(&path, &said));
        }
    }
}
