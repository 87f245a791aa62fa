//! What goes on while a capture is read: the progress bar, and Ctrl-C.

use std::ops::ControlFlow;
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use super::progress::{Reading, Show};
use super::source::Source;
use crate::capture::Meter;
use crate::report::Style;

/// Watches one reading of a source.
pub(super) struct Watch<'a> {
    interrupt: &'a Interrupt,
    meters: Vec<Meter>,
    size: Option<u64>,
    name: String,
    show: Show,
    style: Style,
    began: Instant,
    bar: Option<Reading>,
}

impl<'a> Watch<'a> {
    pub(super) fn new(interrupt: &'a Interrupt, source: &Source, show: Show, style: Style) -> Self {
        let (meters, size, name) = (source.meters(), source.size(), source.name());
        Self { interrupt, meters, size, name, show, style, began: Instant::now(), bar: None }
    }

    /// Draws how far the source is read, up to that frame, and says whether to go on.
    pub(super) fn go_on(&mut self, frame: u64) -> ControlFlow<()> {
        if self.interrupt.is_pressed() {
            return ControlFlow::Break(());
        }
        if self.show == Show::Terminal && (self.bar.is_some() || self.began.elapsed() >= PATIENCE) {
            let octets = self.meters.iter().map(Meter::octets).sum();
            let bar = self.bar.get_or_insert_with(|| Reading::new(&self.name, self.size, self.show, &self.style));
            bar.at(octets, frame);
        }
        ControlFlow::Continue(())
    }
}

/// What is read sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);
