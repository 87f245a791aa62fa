//! What goes on while a capture is read: the progress bar, and Ctrl-C.

use std::cell::RefCell;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use super::interrupt::Interrupt;
use super::progress::{Reading, Show, columns};
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
    bar: Bar,
}

impl<'a> Watch<'a> {
    pub(super) fn new(interrupt: &'a Interrupt, source: &Source, show: Show, style: Style) -> Self {
        let (meters, size, name) = (source.meters(), source.size(), source.name());
        Self { interrupt, meters, size, name, show, style, began: Instant::now(), bar: Bar::default() }
    }

    /// Draws how far the source is read, up to that frame, and says whether to go on.
    pub(super) fn go_on(&mut self, frame: u64) -> ControlFlow<()> {
        if self.interrupt.is_interrupted() {
            return ControlFlow::Break(());
        }
        let mut drawn = self.bar.0.borrow_mut();
        let is_due = match *drawn {
            Drawn::NotYet => self.began.elapsed() >= PATIENCE,
            Drawn::Now(_) => true,
            Drawn::NoMore => false,
        };
        if self.show == Show::Terminal && is_due {
            if let Drawn::NotYet = *drawn {
                *drawn = Drawn::Now(Reading::new(&self.name, self.size, self.show, &self.style, columns()));
            }
            if let Drawn::Now(bar) = &*drawn {
                bar.at(self.meters.iter().map(Meter::octets).sum(), frame);
            }
        }
        ControlFlow::Continue(())
    }

    /// What is set once nobody wants to go on.
    pub(super) fn stop(&self) -> Arc<AtomicBool> {
        self.interrupt.flag()
    }

    /// What is written to the terminal through this takes the bar off it first.
    pub(super) fn before<'o>(&self, out: &'o mut dyn Write) -> Uncovered<'o> {
        Uncovered { bar: Bar(Rc::clone(&self.bar.0)), out }
    }
}

/// The progress bar, and whether it may be drawn.
#[derive(Default)]
struct Bar(Rc<RefCell<Drawn>>);

#[derive(Default)]
enum Drawn {
    #[default]
    NotYet,
    Now(Reading),
    /// Rows come now, and would be written over it.
    NoMore,
}

/// The terminal, without the bar.
pub(super) struct Uncovered<'o> {
    bar: Bar,
    out: &'o mut dyn Write,
}

impl Write for Uncovered<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.bar.0.replace(Drawn::NoMore);
        self.out.write(text)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What is read sooner needs no bar.
const PATIENCE: Duration = Duration::from_millis(500);
