//! Work that is done on all cores at once.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::thread;

use crate::share::Share;

/// As many threads as there are cores.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cores;

impl Share for Cores {
    fn each<T: Send, R: Default>(&self, things: &mut [T], deed: impl Fn(&mut R, &mut T) + Sync) {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        // Things differ in size: whoever is done takes further ones.
        let few = (things.len() / (cores * PORTIONS)).max(1);
        let left = Mutex::new(things.chunks_mut(few));
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let work = || {
            let mut room = R::default();
            while let Some(portion) = next() {
                portion.iter_mut().for_each(|thing| deed(&mut room, thing));
            }
        };
        thread::scope(|scope| {
            for _ in 1..cores {
                // Where there can be no further thread, those that are there do it.
                drop(thread::Builder::new().name("sharing".to_owned()).spawn_scoped(scope, work));
            }
            work();
        });
    }

    fn in_order<T: Send + Default, R: Default, E>(
        &self,
        begin: impl FnMut(&mut T) -> bool + Send,
        make: impl Fn(&mut R, &mut T) + Sync,
        mut end: impl FnMut(&T) -> Result<(), E>,
    ) -> Result<(), E> {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        let line =
            Line { begin, made: VecDeque::new(), ended: 0, spare: Vec::new(), is_over: false, is_stopped: false };
        let line = (Mutex::new(line), Condvar::new());
        let lock = || line.0.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = |held| line.1.wait(held).unwrap_or_else(PoisonError::into_inner);
        let help = || {
            let (mut room, _stop) = (R::default(), StopsOnPanic(&line));
            let mut held = lock();
            while !held.is_over && !held.is_stopped {
                let Some((number, mut thing)) = held.begun(AHEAD * cores) else {
                    held = wait(held);
                    continue;
                };
                drop(held);
                make(&mut room, &mut thing);
                held = lock();
                held.is_made(number, thing);
                line.1.notify_all();
            }
        };
        thread::scope(|scope| {
            for _ in 1..cores {
                // Where there can be no further thread, this one does it.
                drop(thread::Builder::new().name("sharing".to_owned()).spawn_scoped(scope, help));
            }
            // Those that wait for room must not wait for ever, whatever becomes of this one.
            let (mut room, _stop) = (R::default(), StopsOnPanic(&line));
            let mut held = lock();
            while !held.is_stopped {
                if let Some(thing) = held.first_made() {
                    drop(held);
                    line.1.notify_all();
                    let ended = end(&thing);
                    held = lock();
                    held.spare.push(thing);
                    if ended.is_err() {
                        held.is_stopped = true;
                        line.1.notify_all();
                        return ended;
                    }
                } else if let Some((number, mut thing)) = held.begun(AHEAD * cores) {
                    drop(held);
                    make(&mut room, &mut thing);
                    held = lock();
                    held.is_made(number, thing);
                } else if held.is_over && held.made.is_empty() {
                    break;
                } else {
                    held = wait(held);
                }
            }
            line.1.notify_all();
            Ok(())
        })
    }
}

/// Things that are made side by side, in the order in which they were begun.
struct Line<T, B> {
    begin: B,
    /// Those that have begun and not ended; `None`: one is being made.
    made: VecDeque<Option<T>>,
    /// How many have ended.
    ended: usize,
    spare: Vec<T>,
    /// There is no further one.
    is_over: bool,
    /// No further one is wanted.
    is_stopped: bool,
}

impl<T: Default, B: FnMut(&mut T) -> bool> Line<T, B> {
    /// The next one, begun, with its number; `None`: there is none, or so many wait for those before them.
    fn begun(&mut self, most: usize) -> Option<(usize, T)> {
        if self.is_over || self.made.len() >= most {
            return None;
        }
        let mut thing = self.spare.pop().unwrap_or_default();
        if !(self.begin)(&mut thing) {
            self.is_over = true;
            return None;
        }
        self.made.push_back(None);
        Some((self.ended + self.made.len() - 1, thing))
    }

    fn is_made(&mut self, number: usize, thing: T) {
        self.made[number - self.ended] = Some(thing);
    }

    /// The first one, if it is made.
    fn first_made(&mut self) -> Option<T> {
        let first = self.made.front_mut()?.take()?;
        self.made.pop_front();
        self.ended += 1;
        Some(first)
    }
}

/// Has nobody wait for what a thread that panicked would have made.
struct StopsOnPanic<'a, T, B>(&'a (Mutex<Line<T, B>>, Condvar));

impl<T, B> Drop for StopsOnPanic<'_, T, B> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.0.lock().unwrap_or_else(PoisonError::into_inner).is_stopped = true;
            self.0.1.notify_all();
        }
    }
}

/// How many things each core may be ahead of the first one that is not made.
const AHEAD: usize = 4;
/// In how many portions each core's part of the work is handed out.
const PORTIONS: usize = 16;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_piece_of_work_is_done_once() {
        for pieces in [0, 1, 5, 1000] {
            let mut done: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
            Cores.each(&mut done, |(), done| _ = done.fetch_add(1, Ordering::Relaxed));
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1), "{pieces} pieces");
        }
    }

    #[test]
    fn what_is_made_side_by_side_ends_in_the_order_in_which_it_began() {
        for (things, fails_at) in [(0, 10), (1, 10), (1000, 2000), (1000, 137)] {
            let (mut begun, mut ended) = (0, Vec::new());
            let begin = |thing: &mut [u64; 2]| {
                (thing[0], begun) = (begun, begun + 1);
                thing[0] < things
            };
            let made = Cores.in_order(
                begin,
                |(), [n, twice]| *twice = 2 * *n,
                |[n, twice]| {
                    ended.push((*n, *twice));
                    if *n == fails_at { Err(*n) } else { Ok(()) }
                },
            );
            assert_eq!(made, if fails_at < things { Err(fails_at) } else { Ok(()) });
            let last = things.min(fails_at + 1);
            assert_eq!(ended, (0..last).map(|n| (n, 2 * n)).collect::<Vec<_>>());
        }
    }
}
