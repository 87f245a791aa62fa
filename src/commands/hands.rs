//! Work that is done on all processors at once.

use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::report::Hands;

/// As many threads as there are processors, for as long as it takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Processors(usize);

impl Processors {
    /// Those that this process may use, of which more than [`MOST`] would only wait for whoever writes.
    pub(super) fn all() -> Self {
        Self(thread::available_parallelism().map_or(1, usize::from).min(MOST))
    }
}

impl Hands for Processors {
    fn count(&self) -> usize {
        self.0
    }

    fn all(&self, work: Vec<Box<dyn FnOnce() + Send + '_>>) {
        let others = self.0.min(work.len()).saturating_sub(1);
        let left = Mutex::new(work.into_iter());
        let next = || left.lock().unwrap_or_else(PoisonError::into_inner).next();
        let do_them = || {
            while let Some(piece) = next() {
                piece();
            }
        };
        thread::scope(|scope| {
            // Where there can be no more threads, those that there are do all of it.
            _ = (0..others).map_while(|_| thread::Builder::new().spawn_scoped(scope, do_them).ok()).count();
            do_them();
        });
    }
}

/// How many work at once, at most.
const MOST: usize = 8;

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn each_piece_of_work_is_done_once() {
        for (hands, pieces) in [(1, 5), (3, 0), (3, 1), (3, 100)] {
            let done: Vec<AtomicUsize> = (0..pieces).map(|_| AtomicUsize::new(0)).collect();
            let work = done
                .iter()
                .map(|done| Box::new(|| _ = done.fetch_add(1, Ordering::Relaxed)) as Box<dyn FnOnce() + Send + '_>);
            Processors(hands).all(work.collect());
            assert!(done.iter().all(|done| done.load(Ordering::Relaxed) == 1), "{hands} hands, {pieces} pieces");
        }
    }
}
