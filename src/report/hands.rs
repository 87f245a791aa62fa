//! Who does pieces of work that may be done at the same time: the core itself has no threads.

/// Who does several pieces of work.
pub trait Hands: Sync {
    /// How many pieces are done at the same time.
    fn count(&self) -> usize;

    /// Does all of them, and comes back when they are done.
    fn all(&self, work: Vec<Box<dyn FnOnce() + Send + '_>>);
}

/// Whoever asks does it, one piece after the other.
#[derive(Clone, Copy, Debug)]
pub struct OwnHands;

impl Hands for OwnHands {
    fn count(&self) -> usize {
        1
    }

    fn all(&self, work: Vec<Box<dyn FnOnce() + Send + '_>>) {
        work.into_iter().for_each(|piece| piece());
    }
}
