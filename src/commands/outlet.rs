//! Standard output, written by a thread of its own, so that a reader that stalls holds up nobody but itself.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// A way to standard output: lines are gathered, and handed to the thread that writes them by a flush.
///
/// Up to 16 MiB wait for a reader that is slow; what comes then waits, or is left out, as [`Valve`] says.
pub(super) struct Outlet {
    gathered: Vec<u8>,
    valve: Valve,
    /// Whether there is a thread; where there can be none, a flush writes by itself.
    is_threaded: bool,
}

/// What is to be done with text for which there is no room: it may be told from elsewhere while the outlet is in use.
#[derive(Clone)]
pub(super) struct Valve(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Vec<u8>>,
    /// The octets in there, and those that are being written.
    octets: usize,
    overflow: Overflow,
    left_out: u64,
    /// Nothing will come any more.
    closed: bool,
    failure: Option<io::Error>,
}

/// What happens to text for which there is no room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Overflow {
    /// It waits, and who wrote it with it.
    #[default]
    Waits,
    /// It is left out, and its lines are counted.
    IsLeftOut,
}

impl Outlet {
    /// Starts the thread.
    pub(super) fn open() -> Self {
        let shared = Arc::new(Shared { state: Mutex::default(), moved: Condvar::new() });
        let to_thread = Arc::clone(&shared);
        let spawned = thread::Builder::new().name("output".to_owned()).spawn(move || to_thread.write_all());
        Self { gathered: Vec::new(), valve: Valve(shared), is_threaded: spawned.is_ok() }
    }

    /// What says what becomes of text for which there is no room.
    pub(super) fn valve(&self) -> Valve {
        self.valve.clone()
    }

    /// Waits until all is written.
    ///
    /// # Errors
    /// Those of standard output.
    pub(super) fn finish(mut self) -> io::Result<()> {
        let end = self.gathered.len();
        self.hand_over(end)?;
        let mut state = self.valve.0.lock();
        state.closed = true;
        self.valve.0.moved.notify_all();
        while state.octets > 0 && state.failure.is_none() {
            state = self.valve.0.wait(state);
        }
        state.failure.take().map_or(Ok(()), Err)
    }

    /// Hands over what was gathered, up to `end`.
    fn hand_over(&mut self, end: usize) -> io::Result<()> {
        if !self.is_threaded {
            let text = self.gathered.drain(..end).collect::<Vec<_>>();
            return io::stdout().write_all(&text).and_then(|()| io::stdout().flush());
        }
        let mut state = self.valve.0.lock();
        loop {
            if let Some(failure) = &state.failure {
                return Err(copy(failure));
            }
            if end == 0 {
                return Ok(());
            }
            if state.octets == 0 || state.octets + end <= MOST_WAITING {
                let rest = self.gathered.split_off(end);
                state.octets += end;
                state.waiting.push_back(std::mem::replace(&mut self.gathered, rest));
                self.valve.0.moved.notify_all();
                return Ok(());
            }
            if state.overflow == Overflow::IsLeftOut {
                let lines = self.gathered.drain(..end).filter(|octet| *octet == b'\n').count();
                state.left_out += lines as u64;
                return Ok(());
            }
            state = self.valve.0.wait(state);
        }
    }
}

impl Valve {
    /// Says what happens to text for which there is no room from now on.
    pub(super) fn set(&self, overflow: Overflow) {
        self.0.lock().overflow = overflow;
        self.0.moved.notify_all();
    }

    /// How many lines were left out.
    pub(super) fn left_out(&self) -> u64 {
        self.0.lock().left_out
    }
}

impl Write for Outlet {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.gathered.extend_from_slice(text);
        if self.gathered.len() >= LARGEST
            && let Some(last) = self.gathered.iter().rposition(|octet| *octet == b'\n')
        {
            self.hand_over(last + 1)?;
        }
        Ok(text.len())
    }

    /// Hands over what was gathered; it does not wait until that is written.
    fn flush(&mut self) -> io::Result<()> {
        self.hand_over(self.gathered.len())
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.moved.wait(state).unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what comes until nothing will, or until it cannot be written.
    fn write_all(&self) {
        let mut state = self.lock();
        loop {
            let Some(text) = state.waiting.pop_front() else {
                if state.closed {
                    return;
                }
                state = self.wait(state);
                continue;
            };
            drop(state);
            let written = io::stdout().write_all(&text).and_then(|()| io::stdout().flush());
            state = self.lock();
            state.octets -= text.len();
            state.failure = written.err();
            self.moved.notify_all();
            if state.failure.is_some() {
                return;
            }
        }
    }
}

/// The same error once more.
fn copy(error: &io::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error)
}

/// How many octets wait for the reader at most, but for one text that is longer.
const MOST_WAITING: usize = 16 << 20;
/// So many octets are handed over though nobody asks for it.
const LARGEST: usize = 64 << 10;
