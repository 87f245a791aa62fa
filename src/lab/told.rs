//! What a run tells: the timeline of what was sent, with the states of each end as its own capture shows them.

use std::ops::ControlFlow;

use super::trial::Trial;
use crate::capture::Replay;
use crate::flow::Side;
use crate::session::{Keep, Memory, Session};
use crate::story::Story;

impl Trial {
    /// Tells the run, in as much memory as there is.
    pub fn told(&self, memory: Memory) -> Story {
        let whole = self.session(memory).with_senses(self.senses.clone());
        let mut story = self.story(whole, self.source());
        for ((frames, seen), side) in self.captures.iter().zip(&self.seen).zip([Side::Client, Side::Server]) {
            let there = self.story(self.session(memory), Replay::of(frames));
            story.take_states(side, &there, seen);
        }
        story
    }

    fn session(&self, memory: Memory) -> Session {
        Session::new(Keep::First(memory.segments())).with_limits(memory.table()).with_room(memory.timeline())
    }

    fn story(&self, mut session: Session, mut source: Replay<'_>) -> Story {
        let whole = session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
        debug_assert!(whole.is_ok(), "frames in memory cannot be damaged, and nothing is written");
        let dropped = self.counted.iter().map(|counted| counted.dropped).sum();
        session.story(self.threads.clone(), self.calls.clone(), &self.evidence, Some(dropped))
    }
}
