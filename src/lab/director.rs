//! The director: has the actors perform the lines of the script one after the other, each as soon as what it waits for has happened.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::LabError;
use super::actor::Word;
use super::addresses::{Addresses, End, FlattenEnds, plain};
use super::definition::Definition;
use super::member::Member;
use super::process::{counters, shown, state_of_process};
use super::relay::Relay;
use super::watched::Watched;
use crate::calls::{
    Call, CallId, Kept, Op, OptionValue, Process, Returned, Role, SocketId, SocketUse, Thread, ThreadId, Threads,
};
use crate::kernel::{Answer, SockDiag, TimerKind, now};
use crate::script::{Actor, Asked, Condition, Fatal, Request, What, When, Which};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// What a run yields that its actors and the kernel's tables tell.
#[derive(Default)]
pub(super) struct Told {
    pub(super) threads: Threads,
    pub(super) calls: Vec<Call>,
    pub(super) evidence: Vec<Answer>,
    /// Both ends of each connection, the one that connected first; the actor of each.
    pub(super) ends: Vec<[(Option<Actor>, SocketAddr); 2]>,
    /// What the kernels of the hosts have counted, the clients' first, by name.
    pub(super) counters: Vec<BTreeMap<String, u64>>,
    /// What did not go as its line says.
    pub(super) amiss: Vec<String>,
}

/// The run of a script.
pub(super) struct Director<'a> {
    definition: &'a Definition,
    addresses: &'a Addresses,
    cast: Vec<Member>,
    watched: &'a Watched,
    kernels: &'a mut [SockDiag],
    relay: Option<&'a Relay>,
    interrupt: Arc<AtomicBool>,
    told: Told,
    /// For how long nothing has happened, though it might have.
    idle: Duration,
    seen: usize,
    /// When the last line that was begun was done or seen to wait.
    settled: Instant,
}

impl<'a> Director<'a> {
    pub(super) fn new(
        definition: &'a Definition,
        addresses: &'a Addresses,
        cast: Vec<Member>,
        watched: &'a Watched,
        kernels: &'a mut [SockDiag],
        relay: Option<&'a Relay>,
        interrupt: Arc<AtomicBool>,
    ) -> Self {
        let now = Instant::now();
        Self {
            definition,
            addresses,
            cast,
            watched,
            kernels,
            relay,
            interrupt,
            told: Told::default(),
            idle: Duration::ZERO,
            seen: 0,
            settled: now,
        }
    }

    /// Has the script performed, and asks the kernel at the end what has become of the connections.
    ///
    /// # Errors
    /// Nothing went on any more: who waits for what; an actor died; it was interrupted.
    ///
    /// `before_the_end` is called when all is done, before the actors are ended.
    pub(super) fn direct(mut self, before_the_end: impl FnOnce()) -> (Told, Result<(), LabError>) {
        let result = self.perform().and_then(|()| self.look_at_last(SETTLING, SETTLING_AT_LAST));
        before_the_end();
        let Self { cast, mut told, .. } = self;
        end(&cast);
        for why in &mut told.amiss {
            *why = why.trim_start_matches(FATAL).to_owned();
        }
        (told, result)
    }

    fn perform(&mut self) -> Result<(), LabError> {
        // That is no part of the script: where it goes slowly the machine is busy, and one that dies says so.
        self.until_all_are_there(STARTING)?;
        self.settled = Instant::now();
        let mut last: Option<usize> = None;
        for number in 0..self.definition.script.lines.len() {
            let line = &self.definition.script.lines[number];
            // What comes next comes once the one before has returned, or is seen to wait.
            if let Some(before) = last {
                self.until("the line before", |this| this.is_settled(before))?;
                self.settled = Instant::now();
            }
            last = None;
            self.wait_for(&line.when, number)?;
            match &line.what {
                What::Call(asked) => {
                    self.begin(number, asked)?;
                    last = self.member(asked.actor);
                }
                What::Link(deed, which) => self.relay.into_iter().for_each(|relay| relay.rule(*deed, *which)),
                What::Forge(forged) => {
                    self.until_taken();
                    self.relay.into_iter().for_each(|relay| relay.forge(*forged));
                }
                What::Repeat(which) => {
                    self.until_taken();
                    self.repeat(*which, number)?;
                }
                What::Flood { number, from, to } => {
                    self.relay.into_iter().for_each(|relay| relay.flood(*number, *from, *to));
                }
                What::Cable(cable) => self.relay.into_iter().for_each(|relay| relay.cable(*cable)),
                What::Address(..) | What::Segment(_) | What::Answer(..) | What::Expect(_) => {}
            }
        }
        self.until_idle()
    }

    /// Waits until the processes of the actors have begun, but for those that others fork.
    fn until_all_are_there(&mut self, patience: Duration) -> Result<(), LabError> {
        let expected = self.cast.iter().filter(|member| !self.is_forked(member.actor)).count();
        let there = |this: &Self| this.cast.iter().filter(|member| member.pid.is_some()).count() >= expected;
        self.within(patience, "the actors to be there", |this| there(this))
    }

    /// Waits until the link has taken in what was captured where it was sent, but not for what it has lost.
    fn until_taken(&mut self) {
        let Some(relay) = self.relay else { return };
        let sent = [End::Client, End::Server].map(|end| (end, self.watched.sent(end)));
        let until = Instant::now() + TAKING;
        while sent.iter().any(|(end, sent)| relay.taken(*end) < *sent) && Instant::now() < until {
            self.hear_for(LOOK);
        }
    }

    /// Has the link repeat a segment that passed before.
    fn repeat(&self, which: Which, number: usize) -> Result<(), LabError> {
        let Some(relay) = self.relay else { return Ok(()) };
        if relay.repeat(&which) {
            return Ok(());
        }
        let line = self.definition.numbers[number];
        Err(LabError::new(format!("line {line}: no {which} has passed that the link could repeat")))
    }

    fn is_forked(&self, actor: Actor) -> bool {
        self.definition.actors().iter().any(|(of, parent)| *of == actor && parent.is_some())
    }

    fn member(&self, actor: Actor) -> Option<usize> {
        self.cast.iter().position(|member| member.actor == actor)
    }

    fn is_settled(&mut self, place: usize) -> bool {
        let member = &mut self.cast[place];
        if member.gone || member.busy.is_none() {
            return true;
        }
        // Asked again after it was seen to sleep: it may have returned and said so meanwhile.
        member.sleeps() && !self.hear() && self.cast[place].busy.is_some()
    }

    fn wait_for(&mut self, when: &When, number: usize) -> Result<(), LabError> {
        let When::After(condition) = when else { return Ok(()) };
        let what = format!("what line {} waits for", self.definition.numbers[number]);
        let begun = number;
        self.until(&what, |this| match condition {
            Condition::Waits(actor, call) => this.member(*actor).is_some_and(|place| {
                let is_that = this.cast[place].busy.is_some_and(|line| this.call_of(line) == Some(call));
                is_that && this.cast[place].sleeps()
            }),
            Condition::Returned(actor, call) => {
                let made = this.lines_of(*actor, call, begun);
                let busy = this.member(*actor).and_then(|place| this.cast[place].busy);
                made.last().is_none_or(|last| busy.is_none_or(|busy| busy != *last))
            }
            Condition::Passed(which) => this.watched.has(which, this.end(End::of(which.from))),
            Condition::Seen(which, actor) => this.watched.has(which, this.end(End::of(*actor))),
            Condition::Is(actor, state) => this.state_of(*actor) == Some(*state),
            Condition::Elapsed(span) => {
                let elapsed = this.settled.elapsed() >= Duration::from_nanos(span.as_nanos().max(0) as u64);
                // Time passes: that is what happens.
                this.goes_on();
                elapsed
            }
        })
    }

    /// The host where an end's segments are captured: the only one on loopback.
    fn end(&self, end: End) -> End {
        if self.kernels.len() == 1 { End::Client } else { end }
    }

    fn call_of(&self, number: usize) -> Option<&'static str> {
        match &self.definition.script.lines[number].what {
            What::Call(asked) => Some(asked.request.name()),
            _ => None,
        }
    }

    /// The lines before `number` in which an actor makes that call.
    fn lines_of(&self, actor: Actor, call: &str, number: usize) -> Vec<usize> {
        let lines = self.definition.script.lines[..number].iter().enumerate();
        lines
            .filter(|(_, line)| matches!(&line.what, What::Call(asked) if asked.actor == actor && asked.request.name() == call))
            .map(|(place, _)| place)
            .collect()
    }

    /// What the kernel says of the connection of an actor; `None` where it has none yet.
    fn state_of(&mut self, actor: Actor) -> Option<Option<State>> {
        let (local, peer) = self.ends_of(actor)?;
        self.ask(local, peer).ok().map(|evidence| evidence.state)
    }

    /// Both addresses of the latest connection of an actor.
    fn ends_of(&self, actor: Actor) -> Option<(SocketAddr, SocketAddr)> {
        let connections = self.told.ends.iter().rev().flatten_ends();
        connections.into_iter().find(|(of, ..)| *of == Some(actor)).map(|(_, local, peer)| (local, peer))
    }

    fn ask(&mut self, local: SocketAddr, peer: SocketAddr) -> Result<Answer, LabError> {
        let [local, peer] = [local, peer].map(plain);
        let end = self.addresses.actor(local.port()).map_or(End::Client, End::of);
        let host = if self.kernels.len() == 1 { 0 } else { end as usize };
        self.kernels[host].lookup(local, peer).map_err(|errno| {
            LabError::new(format!("the kernel does not tell of its sockets (sock_diag): {}", errno.desc()))
        })
    }

    /// Has an actor begin a call, once it is idle.
    fn begin(&mut self, number: usize, asked: &Asked) -> Result<(), LabError> {
        let line = self.definition.numbers[number];
        let Some(place) = self.member(asked.actor) else {
            return Err(LabError::new(format!("line {line}: nobody is called {}", asked.actor)));
        };
        self.until(&format!("{} to return, as line {line} needs it", asked.actor), |this| {
            let member = &this.cast[place];
            member.gone || (member.pid.is_some() && member.busy.is_none()) || asked.request == Request::Kill
        })?;
        if self.cast[place].gone {
            return Err(LabError::new(format!("line {line}: {} has ended before", asked.actor)));
        }
        match asked.request {
            Request::Exit | Request::Kill => self.end_of(place, number, &asked.request),
            _ => {
                self.order(place, number)?;
                (self.cast[place].busy, self.cast[place].entered) = (Some(number), false);
                Ok(())
            }
        }
    }

    fn order(&mut self, place: usize, number: usize) -> Result<(), LabError> {
        let member = &self.cast[place];
        let sent = send(member.control.as_raw_fd(), &(number as u32).to_ne_bytes(), MsgFlags::MSG_NOSIGNAL);
        sent.map(drop).map_err(|_| died(member.actor))
    }

    /// The process of an actor ends, and with it its descriptors.
    fn end_of(&mut self, place: usize, number: usize, request: &Request) -> Result<(), LabError> {
        let entered = now();
        let pid = self.cast[place].pid;
        match (request, pid) {
            (Request::Kill, Some(pid)) => _ = kill(pid, Signal::SIGKILL),
            _ => self.order(place, number)?,
        }
        self.cast[place].gone = true;
        if let Some(pid) = pid {
            // A process that was forked from an actor is the actor's child, or ours once that has ended.
            let ended = || {
                let of_ours = waitpid(pid, Some(WaitPidFlag::WNOHANG)).is_ok_and(|status| status.pid() == Some(pid));
                of_ours || matches!(state_of_process(pid), None | Some(b'Z'))
            };
            self.until("a process to end", |_| ended())?;
            self.cast[place].reaped = true;
        }
        let closed = self.put_down_end(place, entered);
        for (local, peer) in closed {
            let evidence = self.ask(local, peer)?;
            self.told.evidence.push(evidence);
        }
        Ok(())
    }

    /// Puts down that a process has ended, and with it its descriptors; the connections that it had.
    fn put_down_end(&mut self, place: usize, entered: Timestamp) -> Vec<(SocketAddr, SocketAddr)> {
        let returned = Returned { at: now(), result: Ok(0), octets: None, preview: Vec::new() };
        let held = std::mem::take(&mut self.cast[place].sockets);
        let mut sockets = Vec::new();
        for used in held {
            let role = if self.holds(used.socket) { Role::On } else { Role::Released };
            if sockets.iter().all(|known: &SocketUse| known.socket != used.socket) {
                sockets.push(SocketUse { role, info: None, ..used });
            }
        }
        // One that is closed by it comes first: by it the call is joined.
        sockets.sort_by_key(|used| (used.role != Role::Released, used.peer.is_none()));
        let member = &mut self.cast[place];
        let id = CallId { thread: member.thread, n: member.calls };
        member.calls += 1;
        member.busy = None;
        let closed: Vec<_> = sockets.iter().filter_map(|used| Some((used.local?, used.peer?))).collect();
        self.told.calls.push(Call {
            id,
            entered,
            op: Op::Exit,
            sockets,
            returned: Some(returned),
            stack: Default::default(),
        });
        closed
    }

    /// Whether anybody has a descriptor of the socket.
    fn holds(&self, socket: Option<SocketId>) -> bool {
        self.cast.iter().any(|member| member.sockets.iter().any(|used| used.socket == socket))
    }

    /// Waits until every call has returned.
    fn until_idle(&mut self) -> Result<(), LabError> {
        self.until("every call to return", |this| this.cast.iter().all(|member| member.gone || member.busy.is_none()))
    }

    /// Asks the kernel about both ends of each connection, once it says what is expected of them; in vain for as long as `settling`, and
    /// where a timer of the kernel's has still to run, for as long as `at_last`.
    fn look_at_last(&mut self, settling: Duration, at_last: Duration) -> Result<(), LabError> {
        use crate::script::Expected;
        let mut expected: HashMap<Actor, Option<State>> = HashMap::new();
        for wanted in &self.definition.expected {
            if let Expected::State(actor, state) = wanted {
                expected.insert(*actor, *state);
            }
        }
        let is_final = |evidence: &Answer, actor: Option<Actor>| match actor.and_then(|actor| expected.get(&actor)) {
            Some(state) => evidence.state.unwrap_or(State::Closed) == state.unwrap_or(State::Closed),
            None => matches!(evidence.state, None | Some(State::TimeWait)),
        };
        let (until, at_last) = (Instant::now() + settling, Instant::now() + at_last);
        let ends: Vec<_> = self.told.ends.iter().flatten_ends();
        for (actor, local, peer) in ends {
            loop {
                let evidence = self.ask(local, peer)?;
                let is_late = Instant::now() >= until;
                // What was lost last is repeated before the end is as it is to be.
                let is_expected = actor.is_some_and(|actor| expected.contains_key(&actor));
                let goes_on = is_late && is_expected && Instant::now() < at_last && self.goes_on_by_itself();
                if is_final(&evidence, actor) || is_late && !goes_on || self.interrupt.load(Ordering::Acquire) {
                    self.told.evidence.push(evidence);
                    break;
                }
                self.hear_for(LOOK);
            }
        }
        self.told.counters = self.kernels.iter().map(|_| BTreeMap::new()).collect();
        for member in self.cast.iter().filter(|member| !member.gone) {
            let host = (End::of(member.actor) as usize).min(self.kernels.len() - 1);
            if let (Some(pid), true) = (member.pid, self.told.counters[host].is_empty()) {
                self.told.counters[host] = counters(pid);
            }
        }
        if let Some(relay) = self.relay {
            while relay.is_busy() && Instant::now() < until && !self.interrupt.load(Ordering::Acquire) {
                self.hear_for(LOOK);
            }
        }
        Ok(())
    }

    /// Whether something is still to come though nobody calls anything: the link carries it, or a timer of the kernel's runs at either end.
    fn goes_on_by_itself(&mut self) -> bool {
        self.relay.is_some_and(Relay::is_busy) || self.awaits_a_timer()
    }

    /// Hears the actors until the condition holds, or nothing has happened for as long as the scenario says.
    fn until(&mut self, what: &str, holds: impl FnMut(&mut Self) -> bool) -> Result<(), LabError> {
        let patience = self.definition.setting.patience.as_nanos().max(0) as u64;
        self.within(Duration::from_nanos(patience), what, holds)
    }

    /// Hears the actors until the condition holds, or nothing has happened for so long.
    fn within(
        &mut self,
        patience: Duration,
        what: &str,
        mut holds: impl FnMut(&mut Self) -> bool,
    ) -> Result<(), LabError> {
        let begun = Instant::now();
        loop {
            self.hear();
            if let Some(why) = self.told.amiss.iter().find(|why| why.starts_with(FATAL)) {
                return Err(LabError::new(why[FATAL.len()..].to_owned()));
            }
            if holds(self) {
                return Ok(());
            }
            if self.interrupt.load(Ordering::Acquire) {
                return Err(LabError::new("interrupted".to_owned()));
            }
            let seen = self.watched.len();
            if seen != self.seen {
                self.seen = seen;
                self.goes_on();
            }
            if self.idle > patience {
                if !self.awaits_a_processor() && !self.awaits_a_timer() {
                    return Err(self.stuck(what, patience));
                }
                self.goes_on();
            }
            let looked = Instant::now();
            // What has taken long is looked for less often: on a busy machine each look takes the processor from what is waited for.
            let pause = (begun.elapsed() / SHARE).clamp(LOOK, LONGEST_PAUSE);
            self.hear_for(pause);
            // Where this process did not have the processor either, nothing could happen.
            self.idle += looked.elapsed().min(10 * pause);
        }
    }

    /// Takes in that something has happened.
    fn goes_on(&mut self) {
        self.idle = Duration::ZERO;
    }

    /// Whether an actor that has something to do does not sleep: it goes on as soon as it has the processor.
    fn awaits_a_processor(&self) -> bool {
        let busy = self.cast.iter().filter(|member| !member.gone && (member.busy.is_some() || member.pid.is_none()));
        busy.filter_map(|member| state_of_process(member.pid.or(member.made)?))
            .any(|state| matches!(state, b'R' | b'D'))
    }

    /// Whether a timer of the kernel's will make something happen, as far as it says: it repeats or probes, or forgets a connection.
    ///
    /// How long it runs depends on the round trip that was measured, which on a busy host may be long.
    fn awaits_a_timer(&mut self) -> bool {
        let mut ends: Vec<_> =
            self.told.ends.iter().flatten_ends().into_iter().map(|(_, local, peer)| (local, peer)).collect();
        // Of a connect that has not returned nobody has told the addresses.
        for member in self.cast.iter().filter(|member| !member.gone) {
            let Some(What::Call(asked)) = member.busy.map(|line| &self.definition.script.lines[line].what) else {
                continue;
            };
            if let Request::Connect(to) = &asked.request {
                let servers =
                    self.cast.iter().map(|member| member.actor).filter(|actor| End::of(*actor) == End::Server);
                let peers = servers.filter(|actor| to.is_none_or(|to| to == *actor));
                let peers = peers.filter_map(|actor| self.addresses.at(actor));
                for (peer, n) in peers.flat_map(|peer| (0..MOST_SOCKETS).map(move |n| (peer, n))) {
                    let port = self.addresses.port(asked.actor, n);
                    let local = self.addresses.at(asked.actor).zip(port);
                    ends.extend(local.map(|(at, port)| (SocketAddr::new(at.ip(), port), peer)));
                }
            }
        }
        ends.into_iter().any(|(local, peer)| self.ask(local, peer).is_ok_and(|answer| is_awaited(&answer)))
    }

    /// Who waits for what, or is not there.
    fn stuck(&self, what: &str, patience: Duration) -> LabError {
        let patience = patience.as_secs_f64();
        let nothing = format!("nothing happened for {patience} s while the script waited for {what}");
        let absent = self.cast.iter().filter(|member| member.pid.is_none() && !self.is_forked(member.actor));
        let absent: Vec<_> = absent.map(|member| member.actor.name()).collect();
        if !absent.is_empty() {
            let absent = absent.join(", ");
            return LabError::new(format!(
                "{nothing}: the process of {absent} has not begun; is this machine too busy?"
            ));
        }
        let waiting: Vec<_> = self
            .cast
            .iter()
            .filter_map(|member| {
                let number = member.busy?;
                let line = self.definition.numbers[number];
                Some(format!("{} waits in {} (line {line})", member.actor, self.call_of(number).unwrap_or("a call")))
            })
            .collect();
        let who = if waiting.is_empty() { "nobody waits in a call".to_owned() } else { waiting.join(", ") };
        LabError::new(format!("{nothing}: {who}; let another actor do what it waits for, or set `patience` higher"))
    }

    /// Takes in what the actors have said; whether there was anything.
    fn hear(&mut self) -> bool {
        let mut any = false;
        for place in 0..self.cast.len() {
            loop {
                if self.cast[place].gone {
                    break;
                }
                let mut room = vec![0; 1 << 16];
                match recv(self.cast[place].control.as_raw_fd(), &mut room, MsgFlags::MSG_DONTWAIT) {
                    Ok(0) => {
                        if self.dies_as_said(place) {
                            any = true;
                            self.goes_on();
                        } else if self.cast[place].pid.is_some() || !self.is_forked(self.cast[place].actor) {
                            self.cast[place].gone = true;
                            let why = died(self.cast[place].actor);
                            self.told.amiss.push(format!("{FATAL}{why}"));
                        }
                        break;
                    }
                    Ok(len) => {
                        any = true;
                        self.goes_on();
                        if let Some(word) = Word::from_bytes(&room[..len]) {
                            self.take(place, word);
                        }
                    }
                    Err(_) => break,
                }
            }
        }
        any
    }

    /// Whether an actor that has gone was to be ended by the call that it was in; if so, that is put down.
    fn dies_as_said(&mut self, place: usize) -> bool {
        let Some(number) = self.cast[place].busy else { return false };
        let What::Call(asked) = &self.definition.script.lines[number].what else { return false };
        let (Some(Fatal::SigPipe), Some(pid)) = (asked.fatal, self.cast[place].pid) else { return false };
        // Its way to here is closed shortly before its end can be waited for.
        let ended = loop {
            match waitpid(pid, None) {
                Err(Errno::EINTR) => {}
                ended => break ended,
            }
        };
        if !matches!(ended, Ok(WaitStatus::Signaled(_, Signal::SIGPIPE, _))) {
            return false;
        }
        let member = &mut self.cast[place];
        (member.gone, member.reaped) = (true, true);
        let id = CallId { thread: member.thread, n: member.calls };
        member.calls += 1;
        let on = member.sockets.iter().rev().find(|used| used.peer.is_some()).cloned();
        let len = match asked.request {
            Request::Send(_, octets, _) => u64::from(octets.unwrap_or(10)),
            _ => 0,
        };
        let op =
            Op::Send { by: crate::calls::Sending::Send, len: Some(len), flags: crate::calls::MessageFlags::empty() };
        let sockets = on.into_iter().map(|used| SocketUse { role: Role::On, info: None, ..used }).collect();
        let entered = member.entered_at.unwrap_or_else(now);
        self.told.calls.push(Call { id, entered, op, sockets, returned: None, stack: Default::default() });
        self.put_down_end(place, now());
        true
    }

    /// Waits until an actor says something, for so long at most.
    fn hear_for(&mut self, time: Duration) {
        let mut polled: Vec<_> = self
            .cast
            .iter()
            .filter(|member| !member.gone)
            .map(|member| PollFd::new(member.control.as_fd(), PollFlags::POLLIN))
            .collect();
        let time = PollTimeout::try_from(time).unwrap_or(PollTimeout::ZERO);
        let _ = poll(&mut polled, time);
    }

    fn take(&mut self, place: usize, word: Word) {
        match word {
            Word::Here(kept) => self.enter(place, kept),
            Word::Enters(_) => (self.cast[place].entered, self.cast[place].entered_at) = (true, Some(now())),
            Word::Cannot(number, why) => {
                let line = self.definition.numbers.get(number).copied().unwrap_or(0);
                let actor = self.cast[place].actor;
                self.told.amiss.push(format!("{FATAL}line {line}: {actor} cannot do that: {why}"));
            }
            Word::Returned(number, kept) => {
                (self.cast[place].busy, self.cast[place].entered) = (None, false);
                if let Some(call) = kept.calls.into_iter().next() {
                    self.returned(place, number, call);
                }
            }
        }
    }

    /// An actor is there.
    fn enter(&mut self, place: usize, kept: Kept) {
        let Some(thread) = kept.threads.threads().next() else { return };
        let Some((_, process)) = kept.threads.get(ThreadId(0)) else { return };
        let name = thread.comm.clone();
        let process = self.told.threads.add_process(Process { pid: process.pid, comm: name.clone() });
        let id = self.told.threads.add(Thread { process, tid: thread.tid, comm: name });
        let member = &mut self.cast[place];
        member.pid = Some(Pid::from_raw(thread.tid as i32));
        member.thread = id;
    }

    fn returned(&mut self, place: usize, number: usize, mut call: Call) {
        let member = &mut self.cast[place];
        call.id = CallId { thread: member.thread, n: member.calls };
        member.calls += 1;
        let actor = member.actor;
        // The child has the descriptors from then on, however late it is heard of.
        if let What::Call(Asked { request: Request::Fork(child), .. }) = &self.definition.script.lines[number].what
            && call.errno().is_none()
        {
            let inherited = member.sockets.clone();
            if let Some(child) = self.member(*child) {
                self.cast[child].sockets = inherited;
            }
        }
        let member = &mut self.cast[place];
        let fd = call.result().and_then(|fd| i32::try_from(fd).ok());
        match &call.op {
            Op::Socket { .. } | Op::Accept { .. } => {
                member.sockets.extend(call.sockets.iter().filter(|used| used.role == Role::Made).cloned());
            }
            Op::Duplicate { .. } if call.errno().is_none() => {
                let copied = call.sockets.first().cloned();
                member.sockets.extend(copied.map(|used| SocketUse { fd, ..used }));
            }
            Op::Close => {
                let closed = call.fd();
                member.sockets.retain(|used| used.fd != closed);
                if self.holds(call.socket())
                    && let Some(used) = call.sockets.first_mut()
                {
                    used.role = Role::On;
                }
            }
            Op::Connect { .. } => {
                let (local, peer) = (call.local(), call.peer());
                for used in member.sockets.iter_mut().filter(|used| used.socket == call.socket()) {
                    (used.local, used.peer) = (local, peer);
                }
            }
            _ => {}
        }
        self.connect(actor, &call);
        if let What::Call(asked) = &self.definition.script.lines[number].what {
            self.compare(number, asked, &call);
        }
        let ends = call.local().zip(call.peer());
        if let (Op::Close | Op::Shutdown { .. }, Some((local, peer))) = (&call.op, ends)
            && let Ok(evidence) = self.ask(local, peer)
        {
            self.told.evidence.push(evidence);
        }
        self.told.calls.push(call);
    }

    /// Notes the connection that a call speaks of.
    fn connect(&mut self, actor: Actor, call: &Call) {
        let (Some(local), Some(peer)) = (call.local().map(plain), call.peer().map(plain)) else { return };
        let is_known = self
            .told
            .ends
            .iter()
            .any(|[client, server]| (client.1, server.1) == (local, peer) || (client.1, server.1) == (peer, local));
        if is_known {
            return;
        }
        let other = self.addresses.actor(peer.port());
        match call.op {
            Op::Connect { .. } => self.told.ends.push([(Some(actor), local), (other, peer)]),
            Op::Accept { .. } => self.told.ends.push([(other, peer), (Some(actor), local)]),
            _ => {}
        }
    }

    /// Whether a call went as its line says.
    fn compare(&mut self, number: usize, asked: &Asked, call: &Call) {
        let line = self.definition.numbers[number];
        let got = call.returned.as_ref().map(|returned| returned.result);
        if let (Some(wanted), Some(got)) = (asked.result, got)
            && wanted != shown(call, got)
        {
            let text = |result: Result<i64, crate::calls::Errno>| match result {
                Ok(number) => number.to_string(),
                Err(errno) => format!("-{errno}"),
            };
            let actor = asked.actor;
            let name = asked.request.name();
            let (got, wanted) = (text(shown(call, got)), text(wanted));
            self.told.amiss.push(format!("line {line}: {actor}: {name}() returned {got}, not {wanted}"));
        }
        if let Some(wanted) = asked.word {
            let told = match &call.op {
                Op::GetOption { value: OptionValue::Word(word), .. } => word.as_str(),
                _ => "nothing",
            };
            if told != wanted.as_str() {
                let (actor, name) = (asked.actor, asked.request.name());
                self.told.amiss.push(format!("line {line}: {actor}: {name}() told {told}, not {}", wanted.as_str()));
            }
        }
        if let Some(fatal) = asked.fatal {
            let (actor, name) = (asked.actor, asked.request.name());
            self.told
                .amiss
                .push(format!("line {line}: {actor}: {name}() returned, and no {fatal:?} ended its process"));
        }
        if let Some(wanted) = asked.state {
            let state = call.info().map(|info| info.state);
            if state != Some(wanted) {
                let state = state.map_or("no state", State::name);
                let (actor, name) = (asked.actor, asked.request.name());
                self.told
                    .amiss
                    .push(format!("line {line}: after {name}() the kernel says {state} of {actor}, not {wanted}"));
            }
        }
    }
}

/// Whether a timer runs on a socket of which more than the end of TIME-WAIT is to come, and before long.
fn is_awaited(answer: &Answer) -> bool {
    answer.state.zip(answer.timer).is_some_and(|(state, timer)| {
        state != State::TimeWait && timer.kind != TimerKind::KeepAlive && timer.remaining < LONGEST_TIMER
    })
}

/// Ends the actors that are left.
fn end(cast: &[Member]) {
    let left = || cast.iter().filter(|member| !member.reaped).filter_map(|member| member.pid.or(member.made));
    for pid in left() {
        let _ = kill(pid, Signal::SIGKILL);
    }
    for pid in left() {
        while matches!(waitpid(pid, None), Err(Errno::EINTR)) {}
    }
}

fn died(actor: Actor) -> LabError {
    LabError::new(format!("the process of {actor} ended, and the script does not say so: was it killed?"))
}

/// What begins the description of something that cannot go on.
const FATAL: &str = "!";
/// How often one looks.
const LOOK: Duration = Duration::from_millis(1);
/// The longest pause between two looks, and which part of the time that was waited it is.
const LONGEST_PAUSE: Duration = Duration::from_millis(5);
const SHARE: u32 = 20;
/// How long the processes of the actors may take to be there.
const STARTING: Duration = Duration::from_secs(60);
/// How long the ends may take to be in their last states.
const SETTLING: Duration = Duration::from_secs(2);
/// And how long where a timer of the kernel's has still to run for that.
const SETTLING_AT_LAST: Duration = Duration::from_secs(20);
/// How long a timer may run that is waited for.
const LONGEST_TIMER: Span = Span::from_millis(30_000);
/// How many sockets of an actor are looked at for one that connects.
const MOST_SOCKETS: u16 = 4;
/// How long the link may take to take in what was sent.
const TAKING: Duration = Duration::from_secs(2);

#[cfg(test)]
mod tests;
