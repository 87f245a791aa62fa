//! `tcpflow run --follow`: the timeline of programs, told while they run.

use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use super::place::Place;
use crate::calls::Threads;
use crate::cli::Format;
use crate::commands::Failure;
use crate::commands::follow::{Ear, Teller};
use crate::lab::Heard;
use crate::report::Style;
use crate::session::Memory;
use crate::story::{Point, Story};

/// Who tells a run while it goes on, in a thread of its own.
pub(super) struct Following(JoinHandle<(Place, io::Result<Story>)>);

impl Following {
    /// Starts the thread, which ends once all who may tell it of something are gone.
    ///
    /// # Errors
    /// There can be no thread.
    pub(super) fn start(
        mut out: Place,
        format: Format,
        style: Style,
        memory: Memory,
        point: Option<Point>,
        threads: Arc<Mutex<Threads>>,
    ) -> Result<(Self, Sender<Heard>), Failure> {
        let (hearer, told) = mpsc::channel();
        let tell = move || {
            let story = {
                let mut teller = Teller::new(&mut out, format, &style);
                let mut ear = Ear::new(memory, point);
                let mut tell = || {
                    // Nobody says that all is over but by having gone.
                    while ear.listen(&told, &mut teller)?.is_none() {}
                    ear.session.settle(&mut teller)
                };
                let written = tell();
                let threads = threads.lock().unwrap_or_else(PoisonError::into_inner).clone();
                let story = ear.session.story(threads, Vec::new(), &[], None);
                written.and_then(|()| teller.end(&story)).map(|()| story)
            };
            (out, story)
        };
        let thread = thread::Builder::new().name("timeline".to_owned()).spawn(tell);
        let thread = thread.map_err(|error| Failure::new(format!("run --follow: there can be no thread: {error}")))?;
        Ok((Self(thread), hearer))
    }

    /// Waits until all is told: the story, and where the rest of it goes.
    pub(super) fn finish(self) -> (Place, io::Result<Story>) {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}
