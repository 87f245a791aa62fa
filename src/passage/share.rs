//! Work that can be done side by side: whoever asks for it says by whom, as nothing here knows threads.

/// Does the same to each of many things.
pub trait Share {
    /// Does it, in whatever order; all of it is done when this returns. Whoever does it has room of its own, for one thing after the other.
    fn each<T: Send, R: Default>(&self, things: &mut [T], deed: impl Fn(&mut R, &mut T) + Sync);
}
