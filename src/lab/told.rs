//! What a run tells: the timeline of what was sent, with the states of each end as its own capture shows them.

use std::collections::HashMap;
use std::ops::ControlFlow;

use super::trial::Trial;
use crate::capture::{CaptureStats, Replay};
use crate::flow::Side;
use crate::session::{Keep, Memory, Session};
use crate::story::{Passing, Point, Story};

impl Trial {
    /// Tells the run, in as much memory as there is.
    pub fn told(&self, memory: Memory) -> Story {
        let mut whole = self.session(memory).with_passing(self.known());
        whole.know_points(self.points());
        let mut story = self.story(whole, self.source());
        for ((frames, seen), side) in self.captures.iter().zip(&self.seen).zip([Side::Client, Side::Server]) {
            let there = self.story(self.session(memory), Replay::of(frames));
            story.take_states(side, &there, seen);
        }
        story
    }

    /// What is known of the passage of frames, and what the link did with them.
    fn known(&self) -> HashMap<u64, Passing> {
        let mut known: HashMap<u64, Passing> = HashMap::new();
        for (frame, sense) in &self.senses {
            known.entry(*frame).or_default().sense = *sense;
        }
        for (frame, act) in &self.links {
            known.entry(*frame).or_default().acts.push(*act);
        }
        for (frame, passage) in &self.passages {
            known.entry(*frame).or_default().passage.clone_from(passage);
        }
        known
    }

    /// Where it was captured: at the client's host and at the server's, or on the loopback that is both.
    fn points(&self) -> Vec<Point> {
        let sides: &[Option<Side>] = match self.counted.len() {
            2 => &[Some(Side::Client), Some(Side::Server)],
            _ => &[None],
        };
        let point =
            |(counted, side): (&CaptureStats, &Option<Side>)| Point { side: *side, ..Point::live(&counted.interface) };
        self.counted.iter().zip(sides).map(point).collect()
    }

    fn session(&self, memory: Memory) -> Session {
        let session =
            Session::new(Keep::First(memory.segments())).with_limits(memory.table()).with_room(memory.timeline());
        session.with_kernel_events(self.kernel.clone().unwrap_or_default())
    }

    fn story(&self, mut session: Session, mut source: Replay<'_>) -> Story {
        let whole = session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
        debug_assert!(whole.is_ok(), "frames in memory cannot be damaged, and nothing is written");
        let dropped = self.counted.iter().map(|counted| counted.dropped).sum();
        session.story(self.threads.clone(), self.calls.clone(), &self.evidence, Some(dropped))
    }
}
