//! What a run tells: the timeline of what was sent, with the states and the causes of each end as its own capture shows them.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;

use super::trial::Trial;
use crate::capture::{CaptureStats, PointId, Replay, SeenAt};
use crate::flow::Side;
use crate::script::LinkAct;
use crate::session::{Keep, Memory, Session};
use crate::story::{LinkRecord, Passing, Point, PointSighting, Sense, Story};

impl Trial {
    /// Tells the run, in as much memory as there is.
    pub fn told(&self, memory: Memory) -> Story {
        let mut whole = self.session(memory).with_passing(self.known());
        whole.know_points(self.points());
        let mut story = self.story(whole, self.source());
        for (place, ((frames, seen), side)) in
            self.captures.iter().zip(&self.seen).zip([Side::Client, Side::Server]).enumerate()
        {
            let session = self.session(memory).with_passing(self.known_at(PointId(place as u32)));
            let there = self.story(session, Replay::of(frames));
            story.take_end(side, &there, seen);
        }
        story
    }

    /// What the frames of an end's own capture say of it, by their numbers there.
    fn known_at(&self, point: PointId) -> HashMap<u64, Passing> {
        let known = self.known();
        let there = known.values().flat_map(|passing| passing.passage.iter().map(move |seen| (seen, &passing.acts)));
        let there = there.filter(|(seen, _)| seen.seen.point == point);
        let sense = |acts: &[LinkAct], seen: &PointSighting| seen.sense.at_its_end(acts);
        there.map(|(seen, acts)| (seen.frame, Passing { sense: sense(acts, seen), ..Passing::default() })).collect()
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

    /// What the link between two hosts knew of the frames, with those that never came to it; `None` on loopback.
    pub fn link_record(&self) -> Option<LinkRecord> {
        let [_, _] = &self.captures[..] else { return None };
        let mut passing: BTreeMap<u64, Passing> = self.known().into_iter().collect();
        for (point, (seen, frames)) in (0..).zip(self.seen.iter().zip(&self.captures)) {
            for frame in frames {
                let Some(known) = seen.get(&frame.number).map(|number| passing.entry(*number).or_default()) else {
                    continue;
                };
                if known.passage.is_empty() {
                    let sense = if known.sense == Sense::Leaves { Sense::Leaves } else { Sense::Arrives };
                    let seen = SeenAt { point: PointId(point), ..frame.seen };
                    known.passage.push(PointSighting { seen, frame: frame.number, at: frame.at, sense });
                }
            }
        }
        Some(LinkRecord { points: self.points(), passing, rto_min: self.rto_min })
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
        session.with_kernel_events(self.kernel.clone().unwrap_or_default()).with_rto_min(self.rto_min)
    }

    fn story(&self, mut session: Session, mut source: Replay<'_>) -> Story {
        let whole = session.run(&mut source, |_| Ok(true), |_| ControlFlow::Continue(()), &mut ());
        debug_assert!(whole.is_ok(), "frames in memory cannot be damaged, and nothing is written");
        let dropped = self.counted.iter().map(|counted| counted.dropped).sum();
        session.story(self.threads.clone(), self.calls.clone(), &self.evidence, Some(dropped))
    }
}
