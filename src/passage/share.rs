//! Work that can be done side by side: whoever asks for it says by whom, as nothing here knows threads.

/// Does the same to each of many things.
pub trait Share {
    /// Does it, in whatever order; all of it is done when this returns.
    fn each<T: Send>(&self, things: &mut [T], deed: impl Fn(&mut T) + Sync);
}
