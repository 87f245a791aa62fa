//! Watching the programs to their end: who starts when, which signals pass, and what was heard.

use std::cell::{Cell, RefCell};
use std::ffi::OsString;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM};
use signal_hook::flag;

use super::ending::Status;
use super::ours::Ours;
use crate::calls::traced::{ProgramId, Tracer, Turn};
use crate::calls::{Activity, Call, CallId, Effect, Known, Op, SocketId, ThreadId, Threads};
use crate::cli::Run;
use crate::commands::Failure;
use crate::commands::interrupt::is_ignored;
use crate::hash::HashMap;
use crate::lab;
use crate::time::Timestamp;

/// Which programs are run.
pub(super) struct Plan {
    programs: Vec<Vec<OsString>>,
    /// Whether the first is a server for the others.
    serves: bool,
    grace: Duration,
    /// The processes that are joined instead of programs.
    joined: Vec<u32>,
}

impl Plan {
    /// What the options ask for.
    ///
    /// # Errors
    /// Words that cannot be split as a shell would.
    pub(super) fn of(options: &Run) -> Result<Self, Failure> {
        let grace = Duration::from_secs(options.grace.into());
        let Some(server) = &options.server else {
            let programs = if options.pid.is_empty() { vec![options.command.clone()] } else { Vec::new() };
            return Ok(Self { programs, serves: false, grace, joined: options.pid.clone() });
        };
        let split = |option: &str, text: &str| {
            let words = shlex::split(text).filter(|words| !words.is_empty());
            let words = words.ok_or_else(|| {
                Failure::new(format!("{option}: \"{text}\" is no command: a quote is not closed, or there is no word"))
            })?;
            Ok::<_, Failure>(words.into_iter().map(OsString::from).collect::<Vec<_>>())
        };
        let mut programs = vec![split("--server", server)?];
        for client in &options.client {
            programs.push(split("--client", client)?);
        }
        Ok(Self { programs, serves: true, grace, joined: Vec::new() })
    }

    /// The words of each program, in the order in which they are prepared.
    pub(super) fn programs(&self) -> &[Vec<OsString>] {
        &self.programs
    }

    /// All words, for whoever wants to know what was run.
    pub(super) fn command(&self) -> Vec<String> {
        let joined = self.joined.iter().flat_map(|pid| ["-p".to_owned(), pid.to_string()]);
        self.programs.iter().flatten().map(|word| word.to_string_lossy().into_owned()).chain(joined).collect()
    }

    fn name(&self, program: usize) -> String {
        self.programs[program].first().map(|word| word.to_string_lossy().into_owned()).unwrap_or_default()
    }
}

/// The signals that this process gets while programs run.
///
/// Those that a terminal sends come to the programs, too: they are theirs. SIGTERM comes to this process alone, and is passed on.
pub(super) struct Signals {
    terminated: Arc<AtomicUsize>,
    interrupted: Arc<AtomicUsize>,
    /// Whether any has come.
    any: Arc<AtomicBool>,
    /// Whether the programs are over, and all is kept.
    over: Arc<AtomicBool>,
}

impl Signals {
    /// Catches them, as it is right for a plan.
    ///
    /// A shell without job control has SIGINT and SIGQUIT ignored in what it starts in the background, and `nohup` has SIGHUP.
    /// Where programs are started what is ignored stays so, as they inherit it; where processes are joined nobody does, and SIGINT is
    /// how that ends.
    ///
    /// # Errors
    /// The system does not let them be caught.
    pub(super) fn catch(plan: &Plan) -> Result<Self, Failure> {
        let (terminated, interrupted) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (any, over) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let failed = |error: std::io::Error| Failure::new(format!("signals cannot be caught: {error}"));
        for (signal, flag) in
            [(SIGTERM, &terminated), (SIGINT, &interrupted), (SIGQUIT, &interrupted), (SIGHUP, &interrupted)]
        {
            if !is_ignored(signal) || (plan.programs.is_empty() && signal != SIGHUP) {
                flag::register_usize(signal, Arc::clone(flag), signal as usize).map_err(failed)?;
                flag::register(signal, Arc::clone(&any)).map_err(failed)?;
                flag::register_conditional_default(signal, Arc::clone(&over)).map_err(failed)?;
            }
        }
        Ok(Self { terminated, interrupted, any, over })
    }

    /// There is only something left to be told: the next one ends that, and the process.
    pub(super) fn done(&self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

/// Runs the programs of a plan, which are prepared in its order, and everything that they start, to the end.
///
/// `meanwhile` is done after each turn, with the moment until which all calls were heard of, and how many were lost.
pub(super) fn watch(
    tracer: &mut Tracer<'_>,
    plan: &Plan,
    heard: &Heard,
    signals: &Signals,
    meanwhile: &dyn Fn(Timestamp, u64),
) -> Status {
    if plan.programs.is_empty() {
        return watch_joined(tracer, signals, meanwhile);
    }
    let programs: Vec<ProgramId> = (0..plan.programs.len()).map(ProgramId).collect();
    let (first, clients) = (programs[0], &programs[1..]);
    // One that came before there was a program was for it.
    let early = signals.interrupted.swap(0, Ordering::Relaxed);
    if early != 0 {
        programs.iter().for_each(|program| tracer.signal(*program, early as i32));
    }
    tracer.release(first);
    let mut asked_to_end = None;
    let mut rest = Rest::default();
    loop {
        if tracer.turn() == Turn::Over {
            break;
        }
        meanwhile(tracer.known_until(), tracer.lost());
        if signals.terminated.swap(0, Ordering::Relaxed) != 0 {
            programs.iter().for_each(|program| tracer.signal(*program, SIGTERM));
        }
        let is_done = |tracer: &Tracer<'_>, program: &ProgramId| tracer.ended(*program).is_some();
        if programs.iter().all(|program| is_done(tracer, program))
            && signals.interrupted.swap(0, Ordering::Relaxed) != 0
        {
            // What the programs left running is not waited for any longer.
            tracer.signal_all(libc::SIGKILL);
        }
        if !plan.serves {
            continue;
        }
        let waits = clients.iter().any(|client| tracer.waits(*client));
        if waits && heard.listens() {
            clients.iter().for_each(|client| tracer.release(*client));
        } else if waits && is_done(tracer, &first) {
            // Nobody will listen: the clients have nothing to talk to.
            clients.iter().for_each(|client| tracer.give_up(*client));
        }
        if !clients.iter().all(|client| is_done(tracer, client)) || is_done(tracer, &first) {
            continue;
        }
        match asked_to_end {
            None if !rest.is_over(tracer.calls(), Instant::now()) => {}
            None => {
                tracer.signal(first, SIGTERM);
                asked_to_end = Some(Some(Instant::now() + plan.grace));
            }
            Some(Some(deadline)) if Instant::now() >= deadline => {
                tracer.signal(first, libc::SIGKILL);
                asked_to_end = Some(None);
            }
            Some(_) => {}
        }
    }
    let status = |program: usize| {
        let ended = tracer.ended(programs[program]);
        ended.map_or(Status::Program(2), |ended| Status::of(&plan.name(program), ended))
    };
    if !plan.serves {
        return status(0);
    }
    // The server's own status says nothing where it was asked to end.
    if asked_to_end.is_none() && !heard.listens() {
        return status(0);
    }
    let failed = (1..programs.len()).map(status).find(|status| status.number() != 0);
    failed.unwrap_or(Status::Program(0))
}

/// The time that a server has for what its clients left it to do, as to close what they have closed.
#[derive(Default)]
struct Rest {
    /// Since when the clients are done.
    began: Option<Instant>,
    /// How many calls there were, and when there was another one last.
    last: Option<(u64, Instant)>,
}

impl Rest {
    /// Whether nothing more is done, or that goes on for too long; there were so many calls by now.
    fn is_over(&mut self, calls: u64, now: Instant) -> bool {
        let began = *self.began.get_or_insert(now);
        let (known, last) = *self.last.get_or_insert((calls, now));
        if known != calls {
            self.last = Some((calls, now));
            return now.duration_since(began) >= LONGEST_REST;
        }
        now.duration_since(last) >= QUIET || now.duration_since(began) >= LONGEST_REST
    }
}

/// Watches processes that were joined, to their end or until a signal ends that: they go on.
fn watch_joined(tracer: &mut Tracer<'_>, signals: &Signals, meanwhile: &dyn Fn(Timestamp, u64)) -> Status {
    while tracer.turn() != Turn::Over {
        meanwhile(tracer.known_until(), tracer.lost());
        if [&signals.terminated, &signals.interrupted].iter().any(|signal| signal.load(Ordering::Relaxed) != 0) {
            tracer.leave();
            break;
        }
    }
    Status::Program(0)
}

/// What was heard of the calls.
pub(super) struct Heard {
    ours: Arc<Mutex<Ours>>,
    /// Those that have returned, if they are kept.
    calls: RefCell<Vec<Call>>,
    /// Those that have not.
    open: RefCell<HashMap<CallId, Call>>,
    /// Calls that repeat one another: the thread's last one, and how often it came.
    repeated: RefCell<HashMap<ThreadId, Repeated>>,
    keeps: Keeps,
    listens: Cell<bool>,
    most: u64,
    left_out: Cell<u64>,
    /// How many were lost before they were heard of, and were said to be.
    missed: Cell<u64>,
    alike: Cell<u64>,
    /// Who is told at once, and how many threads they know.
    hearers: RefCell<Vec<Hearer>>,
    /// A signal has come: the programs are not made to wait for those who hear of them.
    hurries: Arc<AtomicBool>,
}

/// Whether calls are kept until the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Keeps {
    /// They are.
    Calls,
    /// They are told at once, and that is all.
    Nothing,
}

/// Who hears of calls as they happen.
struct Hearer {
    to: SyncSender<lab::Heard>,
    threads: Known,
}

/// A receive that returned 0 on a socket, again and again.
#[derive(Clone, Copy)]
struct Repeated {
    socket: Option<SocketId>,
    times: u32,
}

/// The calls of a run.
pub(super) struct Told {
    pub(super) calls: Vec<Call>,
    /// How many were left out, as there was no room for them.
    pub(super) left_out: u64,
    /// How many receives were left out that returned 0 on a socket that had often done so.
    pub(super) alike: u64,
}

impl Heard {
    /// Nothing yet; calls are kept as long as they take no more than so many octets.
    pub(super) fn new(ours: Arc<Mutex<Ours>>, octets: u64, keeps: Keeps) -> Self {
        Self {
            ours,
            calls: RefCell::default(),
            open: RefCell::default(),
            repeated: RefCell::default(),
            keeps,
            listens: Cell::new(false),
            most: octets / CALL,
            left_out: Cell::new(0),
            missed: Cell::new(0),
            alike: Cell::new(0),
            hearers: RefCell::default(),
            hurries: Arc::default(),
        }
    }

    /// The same, where what cannot be told is left out once one of these signals has come.
    pub(super) fn with_signals(self, signals: &Signals) -> Self {
        Self { hurries: Arc::clone(&signals.any), ..self }
    }

    /// Has what is heard told to somebody at once.
    pub(super) fn tell(&self, to: SyncSender<lab::Heard>) {
        self.hearers.borrow_mut().push(Hearer { to, threads: Known::default() });
    }

    /// Takes in that so many calls, or records of them, were lost.
    pub(super) fn misses(&self, lost: u64) {
        let lost = lost + self.left_out.get();
        if lost > self.missed.replace(lost) {
            for Hearer { to, .. } in &*self.hearers.borrow() {
                self.send(to, lab::Heard::Missed);
            }
        }
    }

    /// Nobody is told any more.
    pub(super) fn fall_silent(&self) {
        self.hearers.borrow_mut().clear();
    }

    fn pass_on(&self, activity: &Activity, threads: &Mutex<Threads>) {
        for Hearer { to, threads: known } in &mut *self.hearers.borrow_mut() {
            if let Activity::Entered(_) = activity {
                let threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
                if threads.known() != *known {
                    let new = threads.beyond(*known);
                    *known = threads.known();
                    drop(threads);
                    self.send(to, lab::Heard::Threads(new));
                }
            }
            if !self.send(to, lab::Heard::Call(activity.clone())) && matches!(activity, Activity::Entered(_)) {
                self.left_out.set(self.left_out.get() + 1);
            }
        }
    }

    /// Tells somebody, and waits until they can hear it; whether it was told.
    ///
    /// The programs wait with it: what they do faster than it is told would take more and more memory.
    fn send(&self, to: &SyncSender<lab::Heard>, mut heard: lab::Heard) -> bool {
        loop {
            match to.try_send(heard) {
                Ok(()) | Err(TrySendError::Disconnected(_)) => return true,
                Err(TrySendError::Full(_)) if self.hurries.load(Ordering::Relaxed) => return false,
                Err(TrySendError::Full(untold)) => heard = untold,
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Takes in that threads make no more calls.
    fn end_threads(&self, threads: &Mutex<Threads>) {
        let ended = threads.lock().unwrap_or_else(PoisonError::into_inner).take_ended();
        if ended.is_empty() {
            return;
        }
        let mut open = self.open.borrow_mut();
        if self.keeps == Keeps::Nothing {
            let mut threads = threads.lock().unwrap_or_else(PoisonError::into_inner);
            ended.iter().for_each(|thread| threads.forget(*thread));
            open.retain(|call, _| !ended.contains(&call.thread));
            self.ours.lock().unwrap_or_else(PoisonError::into_inner).end(&ended);
        }
        let mut repeated = self.repeated.borrow_mut();
        ended.iter().for_each(|thread| _ = repeated.remove(thread));
        for Hearer { to, .. } in &*self.hearers.borrow() {
            self.send(to, lab::Heard::Ended(ended.clone()));
        }
    }

    /// Takes in what the tracer tells; `threads` made the calls.
    pub(super) fn hear(&self, activity: Activity, threads: &Mutex<Threads>) {
        self.ours.lock().unwrap_or_else(PoisonError::into_inner).hear(&activity);
        self.end_threads(threads);
        let (mut calls, mut open) = (self.calls.borrow_mut(), self.open.borrow_mut());
        match &activity {
            Activity::Entered(call) if self.is_one_too_many(call) => {
                self.alike.set(self.alike.get() + 1);
                return;
            }
            Activity::Entered(_) if (calls.len() + open.len()) as u64 >= self.most => {
                self.left_out.set(self.left_out.get() + 1);
                return;
            }
            Activity::Returned { call, .. } | Activity::Lost { call, .. } if !open.contains_key(call) => return,
            _ => {}
        }
        self.pass_on(&activity, threads);
        match activity {
            Activity::Entered(call) => _ = open.insert(call.id, call),
            Activity::Returned { call, returned, sockets } => {
                let Some(mut call) = open.remove(&call) else { return };
                call.complete(returned, sockets);
                if call.effect() == Effect::Listen && call.errno().is_none() {
                    self.listens.set(true);
                    self.ours.lock().unwrap_or_else(PoisonError::into_inner).listens(&call);
                }
                let is_end = call.effect() == Effect::Receive && call.result() == Some(0);
                let mut repeated = self.repeated.borrow_mut();
                if is_end {
                    let socket = call.socket();
                    let known = repeated.entry(call.thread()).or_insert(Repeated { socket, times: 0 });
                    known.times = if known.socket == socket { known.times + 1 } else { 1 };
                    known.socket = socket;
                } else if !repeated.is_empty() {
                    repeated.remove(&call.thread());
                }
                if self.keeps == Keeps::Calls {
                    calls.push(call);
                }
            }
            Activity::Lost { call, .. } => {
                let call = open.remove(&call);
                calls.extend(call.filter(|_| self.keeps == Keeps::Calls));
            }
            Activity::Socket(_) => {}
        }
    }

    /// Whether a receive on a socket that has returned 0 so often is one more of the same.
    fn is_one_too_many(&self, call: &Call) -> bool {
        if !matches!(call.op, Op::Receive { .. }) {
            return false;
        }
        let repeated = self.repeated.borrow();
        let known = repeated.get(&call.thread());
        known.is_some_and(|known| known.socket == call.socket() && known.times >= MOST_ALIKE)
    }

    /// Whether a socket listens.
    fn listens(&self) -> bool {
        self.listens.get()
    }

    /// The calls, by the time of their entry.
    pub(super) fn into_calls(self) -> Told {
        let mut calls = self.calls.into_inner();
        calls.extend(self.open.into_inner().into_values());
        // Each is large, and moved but once.
        calls.sort_by_cached_key(|call| call.entered);
        Told { calls, left_out: self.left_out.get(), alike: self.alike.get() }
    }
}

/// What a call costs while it is kept, and as an event.
const CALL: u64 = 800;
/// How long a server makes no call before it is asked to end, and how long that is waited for.
const QUIET: Duration = Duration::from_millis(50);
const LONGEST_REST: Duration = Duration::from_secs(1);
/// How soon it is tried again to tell somebody who has much to hear.
const RETRY: Duration = Duration::from_millis(1);
/// How often a receive on the same socket that returns 0 is told: a loop that never ends would fill the timeline with nothing else.
const MOST_ALIKE: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Receiving, Returned, Role, SocketUse};

    /// Has one receive of a socket heard of, from entry to return.
    fn receive(heard: &Heard, n: u64, result: i64) {
        let threads = Mutex::new(Threads::default());
        let id = CallId { thread: ThreadId(0), n };
        let op = Op::Receive { by: Receiving::Recv, len: Some(10), flags: Default::default() };
        let (entered, sockets) = (Timestamp::from_nanos(n as i64), vec![SocketUse::of(SocketId(1), 3, Role::On)]);
        heard.hear(
            Activity::Entered(Call {
                id,
                entered,
                op,
                sockets: sockets.clone(),
                returned: None,
                stack: Default::default(),
            }),
            &threads,
        );
        let octets = Some(result as u64);
        let returned = Returned { at: entered, result: Ok(result), octets, preview: Vec::new() };
        heard.hear(Activity::Returned { call: id, returned, sockets }, &threads);
    }

    #[test]
    fn a_server_has_time_for_what_its_clients_left_it_and_no_more() {
        let begun = Instant::now();
        let at = |millis: u64| begun + Duration::from_millis(millis);
        let mut rest = Rest::default();
        let over = [(7, 0), (7, 40), (8, 49), (8, 98), (8, 99)].map(|(calls, now)| rest.is_over(calls, at(now)));
        assert_eq!(over, [false, false, false, false, true]);
        // One that goes on and on is asked all the same.
        let mut rest = Rest::default();
        let asked = (0..200).find(|n| rest.is_over(*n, at(10 * n)));
        assert_eq!(asked, Some(100));
    }

    #[test]
    fn calls_beyond_the_memory_for_them_are_counted() {
        let heard = Heard::new(Arc::default(), 3 * CALL, Keeps::Calls);
        (0..5).for_each(|n| receive(&heard, n, 1));
        let told = heard.into_calls();
        assert_eq!((told.calls.len(), told.left_out, told.alike), (3, 2, 0));
        assert!(told.calls.iter().all(|call| call.octets() == Some(1)));
    }

    #[test]
    fn a_loop_on_the_end_of_the_input_fills_no_timeline() {
        let heard = Heard::new(Arc::default(), 1000 * CALL, Keeps::Calls);
        (0..500).for_each(|n| receive(&heard, n, 0));
        let told = heard.into_calls();
        assert_eq!((told.calls.len(), told.left_out, told.alike), (100, 0, 400));
        // Octets between them begin it anew.
        let heard = Heard::new(Arc::default(), 1000 * CALL, Keeps::Calls);
        (0..500).for_each(|n| receive(&heard, n, i64::from(n % 99 == 0)));
        assert_eq!(heard.into_calls().calls.len(), 500);
    }
}
