//! `tcpflow run --follow`: the timeline of programs, told while they run.

use std::io;
use std::sync::mpsc::{self, SyncSender};
use std::thread::{self, JoinHandle};

use super::place::Place;
use super::watching::Keeps;
use crate::calls::Threads;
use crate::cli::Format;
use crate::commands::Failure;
use crate::commands::follow::{Ear, Teller};
use crate::lab::Heard;
use crate::report::{Found, Style};
use crate::session::Memory;
use crate::story::{Point, Story};

/// Who tells a run while it goes on, in a thread of its own.
pub(super) struct Following(JoinHandle<(Place, io::Result<(Story, Found)>)>);

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
        keeps: Keeps,
    ) -> Result<(Self, SyncSender<Heard>), Failure> {
        let (hearer, told) = mpsc::sync_channel(MOST_WAITING);
        let tell = move || {
            let story = {
                let mut teller = Teller::new(&mut out, format, &style);
                let mut ear = match keeps {
                    Keeps::Calls => Ear::new(memory, point),
                    Keeps::Nothing => Ear::forgetting(memory, point),
                };
                let mut tell = || {
                    // Nobody says that all is over but by having gone.
                    while ear.listen(&told, &mut teller)?.is_none() {}
                    ear.session.settle(&mut teller)
                };
                let written = tell();
                let story = ear.session.story(Threads::default(), Vec::new(), &[], None);
                let told = written.and_then(|()| teller.end(&story));
                let found = teller.found();
                told.map(|()| (story, found))
            };
            (out, story)
        };
        let thread = thread::Builder::new().name("timeline".to_owned()).spawn(tell);
        let thread = thread.map_err(|error| Failure::new(format!("run --follow: there can be no thread: {error}")))?;
        Ok((Self(thread), hearer))
    }

    /// Waits until all is told: the story of what was not forgotten, what seemed wrong and was told, and where the rest of it goes.
    pub(super) fn finish(self) -> (Place, io::Result<(Story, Found)>) {
        self.0.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

/// How many words wait to be told, at most: the programs wait for those before.
pub(super) const MOST_WAITING: usize = 8192;
