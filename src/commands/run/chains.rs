//! Whether the kernel's trace of the programs' sockets is whole: each change of a socket's state begins where the one before ended.

use std::collections::hash_map::Entry;
use std::net::SocketAddr;

use crate::hash::{HashMap, HashSet};
use crate::kernel::{Answer, KernelAct, KernelEvent, KernelSocket};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// The states of sockets, as the trace goes on.
#[derive(Debug, Default)]
pub(super) struct Chains {
    /// Events that one may still come before: records of several processors are read one after the other.
    waiting: Vec<Change>,
    sockets: HashMap<KernelSocket, Known>,
    /// Between which ends changes are missing, and how many at least.
    missing: Vec<([SocketAddr; 2], u64)>,
    /// Those that there is no room for.
    more: u64,
    /// Sockets may have been there before the trace began.
    may_be_older: bool,
}

#[derive(Clone, Copy, Debug)]
struct Change {
    at: Timestamp,
    socket: KernelSocket,
    ends: [SocketAddr; 2],
    from: State,
    to: State,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    state: State,
    ends: [SocketAddr; 2],
}

impl Chains {
    /// Of processes that run already: a socket that was not heard of may have been in any state.
    pub(super) fn of_joined() -> Self {
        Self { may_be_older: true, ..Self::default() }
    }

    /// Takes in an event.
    pub(super) fn hear(&mut self, event: &KernelEvent) {
        let (KernelAct::State { from, to }, Some(socket)) = (&event.what, event.socket) else { return };
        let ends = [event.local, event.peer];
        self.waiting.push(Change { at: event.at, socket, ends, from: *from, to: *to });
        if self.waiting.len() >= MOST_WAITING {
            self.pass(event.at.after(Span(-LATE.0)));
        }
    }

    fn pass(&mut self, until: Timestamp) {
        self.waiting.sort_by_key(|change| change.at);
        // However many come in that time, half of them are old enough.
        let old = self.waiting.partition_point(|change| change.at < until).max(MOST_WAITING / 2);
        let old: Vec<Change> = self.waiting.drain(..old.min(self.waiting.len())).collect();
        old.into_iter().for_each(|change| self.take(change));
    }

    fn take(&mut self, Change { socket, ends, from, to, .. }: Change) {
        let is_full = self.sockets.len() >= MOST_SOCKETS;
        let before = match self.sockets.entry(socket) {
            Entry::Occupied(mut known) => {
                let before = *known.get();
                match to {
                    State::Closed => _ = known.remove(),
                    _ => _ = known.insert(Known { state: to, ends }),
                }
                Some(before)
            }
            Entry::Vacant(new) => {
                if to != State::Closed && !is_full {
                    new.insert(Known { state: to, ends });
                }
                None
            }
        };
        let begins = matches!(from, State::Closed | State::Listen);
        match before {
            Some(before) if before.state == from => {}
            // The kernel has given its place to another one.
            Some(before) if begins => self.misses(before.ends, changes(before.state, State::Closed)),
            Some(before) => self.misses(ends, changes(before.state, from)),
            None if begins || self.may_be_older || is_full => {}
            None => self.misses(ends, changes(State::Closed, from).min(changes(State::Listen, from))),
        }
    }

    fn misses(&mut self, ends: [SocketAddr; 2], count: u64) {
        match self.missing.len() < MOST_MISSING {
            true => self.missing.push((ends, count)),
            false => self.more += count,
        }
    }

    /// How many changes are missing, at least, of sockets that are the programs'; `answers` is what the kernel says of them at last.
    pub(super) fn missing(mut self, answers: &[Answer], is_theirs: impl Fn([SocketAddr; 2]) -> bool) -> u64 {
        self.pass(Timestamp::from_nanos(i64::MAX));
        let is_over = |answer: &&Answer| matches!(answer.state, None | Some(State::TimeWait));
        let over: HashSet<_> = answers.iter().filter(is_over).map(|answer| [answer.local, answer.peer]).collect();
        let unclosed = self.sockets.values().filter(|known| over.contains(&known.ends));
        let unclosed = unclosed.map(|known| (known.ends, changes(known.state, State::Closed)));
        let all = self.missing.iter().copied().chain(unclosed);
        all.filter(|(ends, _)| is_theirs(*ends)).map(|(_, count)| count).sum::<u64>() + self.more
    }
}

/// How many changes lead from one state to another, at least.
fn changes(from: State, to: State) -> u64 {
    let (mut reached, mut count) = (vec![from], 0);
    while !reached.contains(&to) && count < STEPS.len() as u64 {
        let next: Vec<State> =
            STEPS.iter().filter(|(from, _)| reached.contains(from)).flat_map(|(_, to)| to.iter().copied()).collect();
        reached.extend(next);
        count += 1;
    }
    count.max(1)
}

/// The changes of state that the kernel's trace has (RFC 9293, figure 5; TIME-WAIT is another socket's).
const STEPS: &[(State, &[State])] = &[
    (State::Closed, &[State::SynSent, State::Listen]),
    (State::Listen, &[State::SynReceived, State::Closed]),
    (State::SynSent, &[State::Established, State::SynReceived, State::Closed]),
    (State::SynReceived, &[State::Established, State::FinWait1, State::Closed]),
    (State::Established, &[State::FinWait1, State::CloseWait, State::Closed]),
    (State::FinWait1, &[State::FinWait2, State::Closing, State::Closed]),
    (State::FinWait2, &[State::Closed]),
    (State::Closing, &[State::Closed]),
    (State::CloseWait, &[State::LastAck, State::Closed]),
    (State::LastAck, &[State::Closed]),
];

/// How late an event may come, and how many wait for those before them.
const LATE: Span = Span::from_millis(100);
const MOST_WAITING: usize = 8192;
/// How many sockets are known that are not closed, and how many ends are remembered of which changes are missing.
const MOST_SOCKETS: usize = 1 << 16;
const MOST_MISSING: usize = 1 << 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::Clock;

    /// Hears of changes of one socket, each a nanosecond after the other; how many are missing.
    fn missing(of: &[(State, State)], last: Option<State>) -> u64 {
        missing_of(Chains::default(), of, last)
    }

    fn missing_of(mut chains: Chains, of: &[(State, State)], last: Option<State>) -> u64 {
        let [local, peer] = ["127.0.0.1:1", "127.0.0.1:80"].map(|end| end.parse().expect("an end"));
        let at = |n: usize| Timestamp::from_nanos(n as i64);
        // They come in the wrong order, as several processors' may.
        for (n, (from, to)) in of.iter().copied().enumerate().rev() {
            let what = KernelAct::State { from, to };
            let socket = Some(KernelSocket(7));
            chains.hear(&KernelEvent { at: at(n), clock: Clock::WALL, local, peer, socket, what });
        }
        let (asked, answered) = (at(100), at(101));
        let answer = Answer { asked, answered, local, peer, state: last, timer: None, inode: 0, uid: 0 };
        chains.missing(&[answer], |ends| ends == [local, peer])
    }

    #[test]
    fn what_is_missing_between_two_changes_is_counted() {
        use State::*;
        let client = [
            (Closed, SynSent),
            (SynSent, Established),
            (Established, FinWait1),
            (FinWait1, FinWait2),
            (FinWait2, Closed),
        ];
        assert_eq!(missing(&client, Some(TimeWait)), 0);
        assert_eq!(missing(&[&client[..2], &client[4..]].concat(), Some(TimeWait)), 2);
        assert_eq!(missing(&client[..3], None), 1, "it is closed, and nothing says so");
        assert_eq!(missing(&client[..3], Some(FinWait1)), 0, "it is still there");
        let server = [(Listen, SynReceived), (SynReceived, Established), (Established, CloseWait)];
        assert_eq!(missing(&server[1..], Some(CloseWait)), 1);
        assert_eq!(missing(&server[2..], Some(CloseWait)), 2);
        assert_eq!(missing_of(Chains::of_joined(), &server[2..], Some(CloseWait)), 0);
        // The kernel gives the place of a socket to another.
        assert_eq!(missing(&[&client[..2], &client[..]].concat(), None), 1);
    }

    #[test]
    fn what_waits_and_what_is_known_has_a_bound() {
        let mut chains = Chains::default();
        let end = |n: u64| SocketAddr::from((std::net::Ipv4Addr::from(n as u32), 80));
        let mut hear = |n: u64, from, to| {
            let (at, what) = (Timestamp::from_nanos(n as i64), KernelAct::State { from, to });
            let socket = Some(KernelSocket(n));
            chains.hear(&KernelEvent { at, clock: Clock::WALL, local: end(n), peer: end(0), socket, what });
            assert!(chains.waiting.len() <= MOST_WAITING);
        };
        let sockets = (MOST_SOCKETS + 2 * MOST_WAITING) as u64;
        (0..sockets).for_each(|n| hear(n, State::Closed, State::SynSent));
        assert_eq!(chains.sockets.len(), MOST_SOCKETS);
        let mut chains = Chains::default();
        let mut hear = |n: u64, from, to| {
            let (at, what) = (Timestamp::from_nanos(n as i64), KernelAct::State { from, to });
            let socket = Some(KernelSocket(n));
            chains.hear(&KernelEvent { at, clock: Clock::WALL, local: end(n), peer: end(0), socket, what });
        };
        let ended = (MOST_MISSING + 10) as u64;
        (0..ended).for_each(|n| hear(n, State::LastAck, State::Closed));
        assert_eq!(chains.missing(&[], |_| true) / ended, 4, "SYN-RECEIVED, ESTABLISHED, CLOSE-WAIT, LAST-ACK");
    }
}
