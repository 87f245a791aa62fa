//! Work that can be done side by side: whoever asks for it says by whom, as nothing here knows threads.

/// Does the same to each of many things.
pub trait Share {
    /// Does it, in whatever order; all of it is done when this returns. Whoever does it has room of its own, for one thing after the other.
    fn each<T: Send, R: Default>(&self, things: &mut [T], deed: impl Fn(&mut R, &mut T) + Sync);

    /// Has things begun one after the other, as long as `begin` says that there is one, made side by side, and ended in the order in which they
    /// were begun; a thing that has ended is begun again.
    ///
    /// # Errors
    /// The first of `end`, after which no further one is begun.
    fn in_order<T: Send + Default, R: Default, E>(
        &self,
        begin: impl FnMut(&mut T) -> bool + Send,
        make: impl Fn(&mut R, &mut T) + Sync,
        end: impl FnMut(&T) -> Result<(), E>,
    ) -> Result<(), E>;
}

/// Whoever asks does all of it, one thing after the other.
#[derive(Clone, Copy, Debug)]
pub struct InTurn;

impl Share for InTurn {
    fn each<T: Send, R: Default>(&self, things: &mut [T], deed: impl Fn(&mut R, &mut T) + Sync) {
        let mut room = R::default();
        things.iter_mut().for_each(|thing| deed(&mut room, thing));
    }

    fn in_order<T: Send + Default, R: Default, E>(
        &self,
        mut begin: impl FnMut(&mut T) -> bool + Send,
        make: impl Fn(&mut R, &mut T) + Sync,
        mut end: impl FnMut(&T) -> Result<(), E>,
    ) -> Result<(), E> {
        let (mut room, mut thing) = (R::default(), T::default());
        while begin(&mut thing) {
            make(&mut room, &mut thing);
            end(&thing)?;
        }
        Ok(())
    }
}
