//! The timeline of what goes on, told while it does: `tcpflow demo --follow`, and the same for `tcpflow run`.

use std::collections::VecDeque;
use std::io::{self, Write};
use std::ops::ControlFlow;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use super::expected::tell as tell_expected;
use super::experiment::Experiment;
use super::gone::Gone;
use super::interrupt::NOT_ALL;
use super::outlet::Outlet;
use super::{Failure, Outcome, complain, memory};
use crate::calls::{Activity, Kept};
use crate::capture::{CaptureError, Frame, Given, OwnedFrame};
use crate::cli::Format;
use crate::flow::{Connection, ConnectionId, Limits, Totals};
use crate::kernel::now;
use crate::lab::{Heard, Recording};
use crate::report::timeline::Follow;
use crate::report::{EventStream, Found, KnownCalls, Named, Style};
use crate::session::{Batch, Keep, Memory, More, Session, Sink};
use crate::story::{Changes, Diagnosis, EventId, Point, Story, Timeline, Witnessed};
use crate::time::{Span, Timestamp};

/// Tells an experiment while it is heard of, and what is left of it afterwards.
pub(super) fn tell(
    told: &Receiver<Heard>,
    demo: &Experiment<'_>,
    style: &Style,
    memory: Memory,
) -> Result<Outcome, Failure> {
    let mut out = Outlet::open();
    demo.interrupt.limit_telling();
    let mut until = demo.interrupt.until(Box::new(&mut out));
    let mut teller = Teller::new(&mut until, demo.options.format, style);
    let mut ear = Ear::new(memory, Some(Point::live(LOOPBACK)));
    let mut written = Ok(());
    let mut recording = None;
    while recording.is_none() {
        let listened = match demo.interrupt.is_time_up() {
            false => ear.listen(told, &mut teller),
            true => Err(io::Error::other(NOT_ALL)),
        };
        match listened {
            Ok(None) => {}
            Ok(Some(ControlFlow::Break(over))) => recording = Some(over),
            // The experiment has failed, and says so itself.
            Ok(Some(ControlFlow::Continue(()))) => return Ok(Outcome::Incomplete),
            // What was played is still kept in its file.
            Err(error) => {
                written = Err(error);
                recording = ear.over.take().or_else(|| {
                    told.iter().find_map(|heard| match heard {
                        Heard::Over(recording) => Some(recording),
                        _ => None,
                    })
                });
                if recording.is_none() {
                    return Ok(Outcome::Incomplete);
                }
            }
        }
    }
    let Some(recording) = recording else { return Ok(Outcome::Incomplete) };
    for notice in &recording.notices {
        complain(notice);
    }
    let mut evidence = recording.evidence.clone();
    let mut stayed = false;
    if written.is_ok() {
        stayed = demo.wait(&recording, style, |answer| {
            ear.session.hear(Witnessed::Answered(answer.clone()));
            evidence.push(answer.clone());
            written = ear.pass(now(), &mut teller);
            if written.is_err() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
    }
    written = written.and_then(|()| ear.session.settle(&mut teller));
    let story = ear.session.story(recording.threads.clone(), Vec::new(), &[], Some(recording.capture.dropped));
    let (threads, calls) = (recording.threads.clone(), recording.calls.clone());
    let kept = Kept { threads, calls, evidence, kernel: Vec::new(), notices: recording.notices.clone(), lost: 0 };
    let saved = demo.save(&recording, &story, &kept);
    written = written.and_then(|()| teller.end(&story));
    drop(teller);
    let judged = demo.expected.judge(&story, KnownCalls::All);
    written =
        written.and_then(|()| tell_expected(&mut until, &story, &judged, demo.options.format, style, Named::ByBirth));
    drop(until);
    let is_cut = demo.until_over(written).and_then(|is_cut| out.finish().map(|()| is_cut));
    let is_cut = is_cut.map_err(|error| Failure::output(&error));
    let is_cut = is_cut.or_else(|failure| saved.clone().and(Err(failure)))?;
    saved?;
    demo.outcome(&recording, &judged, stayed, is_cut)
}

/// Who hears of an experiment, and has its timeline grow.
pub(super) struct Ear {
    pub(super) session: Session,
    frames: VecDeque<OwnedFrame>,
    batch: Batch,
    /// Until when all was told that happened, where that is known.
    until: Option<Timestamp>,
    /// What there is once all is over, until somebody takes it: that what it says cannot be told costs nobody the recording.
    over: Option<Box<Recording>>,
    /// Where connections are forgotten: who finds out which are over.
    gone: Option<Gone>,
}

impl Ear {
    /// One that has heard nothing yet; frames are captured at that point.
    pub(super) fn new(memory: Memory, point: Option<Point>) -> Self {
        let session = Session::new(Keep::First(memory.segments())).growing();
        let mut session = session.with_limits(memory.table()).with_room(memory.timeline());
        session.know_points(point);
        Self { session, frames: VecDeque::new(), batch: Batch::default(), until: None, over: None, gone: None }
    }

    /// One that goes on without end: connections are forgotten once they are over and told.
    pub(super) fn forgetting(memory: Memory, point: Option<Point>) -> Self {
        let limits = Limits { linger: LINGER, closed: MOST_CLOSED, ..memory.table() };
        let mut session = Session::new(Keep::All).growing_within(memory.events()).with_limits(limits);
        session.know_points(point);
        let (frames, batch, gone) = (VecDeque::new(), Batch::default(), Gone::open());
        Self { session, frames, batch, until: None, over: None, gone }
    }

    /// Takes in what comes within a moment, and has told what is settled; breaks off with the recording once all is over, and
    /// continues where nothing more will come though it is not.
    pub(super) fn listen(
        &mut self,
        told: &Receiver<Heard>,
        teller: &mut Teller<'_>,
    ) -> io::Result<Option<ControlFlow<Box<Recording>>>> {
        let first = match told.recv_timeout(TICK) {
            Ok(first) => Some(first),
            Err(RecvTimeoutError::Timeout) => None,
            Err(RecvTimeoutError::Disconnected) => return Ok(Some(ControlFlow::Continue(()))),
        };
        // What was said by now is among what is taken in below, however long that takes; what comes meanwhile is heard of the next time.
        let mut moment = now();
        let (mut count, mut latest) = (0, None);
        for heard in first.into_iter().chain(told.try_iter()).take(MOST_AT_ONCE) {
            count += 1;
            latest = latest.max(said_at(&heard));
            match heard {
                Heard::Threads(threads) => self.session.know_threads(threads),
                Heard::Ended(threads) => threads.into_iter().for_each(|thread| self.session.end_thread(thread)),
                Heard::Call(activity) => Witnessed::of_activity(activity).for_each(|word| self.session.hear(word)),
                Heard::Answer(answer) => self.session.hear(Witnessed::Answered(answer)),
                Heard::Kernel(event) => self.session.hear(Witnessed::Kernel(event)),
                Heard::Frame(frame) => self.frames.push_back(frame),
                Heard::Missed => self.session.lacks_calls(),
                Heard::Until(moment) => self.until = Some(moment),
                Heard::Over(recording) => self.over = Some(recording),
            }
        }
        if count == MOST_AT_ONCE {
            // Others may wait that were said before now, but none that was said before the last of these.
            moment = latest.map_or(moment, |latest| latest.min(moment));
        }
        self.follow(teller)?;
        let until = self.until.unwrap_or(moment);
        if let Some(gone) = &mut self.gone {
            gone.pass(until, &mut self.session);
            if gone.is_time_to_trim(until) {
                memory::give_back();
            }
        }
        self.pass(until, teller)?;
        Ok(self.over.take().map(ControlFlow::Break))
    }

    /// Follows the frames that have come.
    fn follow(&mut self, teller: &mut Teller<'_>) -> io::Result<()> {
        let frames: Vec<OwnedFrame> = self.frames.drain(..).collect();
        let mut reader = self.session.reader(|_: &Frame<'_>| Ok::<_, CaptureError>(true));
        let mut source = Given::of(frames.iter().map(OwnedFrame::as_frame));
        loop {
            match self.session.advance(&mut reader, &mut source, &mut self.batch, teller) {
                Ok(More::Frames) => {}
                Ok(More::Nothing) => return Ok(()),
                Err(crate::session::Broken::Output(error)) => return Err(error),
                Err(crate::session::Broken::Capture(_)) => {
                    debug_assert!(false, "frames in memory cannot be damaged");
                    return Ok(());
                }
            }
        }
    }

    fn pass(&mut self, moment: Timestamp, teller: &mut Teller<'_>) -> io::Result<()> {
        self.session.pass(moment, teller)?;
        teller.flush()
    }
}

/// When that was said, where it says so.
fn said_at(heard: &Heard) -> Option<Timestamp> {
    match heard {
        Heard::Call(Activity::Entered(call)) => Some(call.entered),
        Heard::Call(Activity::Returned { returned, .. }) => Some(returned.at),
        Heard::Call(Activity::Lost { at, .. }) => Some(*at),
        Heard::Frame(frame) => frame.at,
        Heard::Answer(answer) => Some(answer.answered),
        Heard::Kernel(event) => Some(event.at),
        Heard::Call(Activity::Socket(_)) | Heard::Threads(_) | Heard::Ended(_) => None,
        Heard::Missed | Heard::Until(_) | Heard::Over(_) => None,
    }
}

/// The form in which it is told.
pub(super) enum Teller<'a> {
    Rows(Box<Follow<'a>>),
    Lines(EventStream<'a>),
}

impl<'a> Teller<'a> {
    /// One that writes to `out`.
    pub(super) fn new(out: &'a mut dyn Write, format: Format, style: &Style) -> Self {
        match format {
            Format::Text => Self::Rows(Box::new(Follow::of_one(out, style))),
            Format::Jsonl => Self::Lines(EventStream::new(out)),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Rows(rows) => rows.flush(),
            Self::Lines(lines) => lines.jsonl().flush(),
        }
    }

    /// What seemed wrong and was told.
    pub(super) fn found(&mut self) -> Found {
        match self {
            Self::Rows(rows) => std::mem::take(rows.found()),
            Self::Lines(_) => Found::default(),
        }
    }

    /// Ends it: what the connections turned out to be; in text, the counts too, which come last of lines.
    pub(super) fn end(&mut self, story: &Story) -> io::Result<()> {
        match self {
            Self::Rows(rows) => rows.end(story),
            Self::Lines(lines) => {
                story.connections.iter().try_for_each(|connection| lines.jsonl().connection(connection))?;
                lines.jsonl().flush()
            }
        }
    }
}

impl Sink for Teller<'_> {
    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        match self {
            Self::Rows(rows) => rows.changes(timeline, changes),
            Self::Lines(lines) => lines.changes(timeline, changes),
        }
    }

    fn forgets(&mut self, connection: ConnectionId) {
        match self {
            Self::Rows(rows) => rows.forgets(connection),
            Self::Lines(lines) => lines.forgets(connection),
        }
    }

    fn forgets_events(&mut self, events: &[EventId]) {
        match self {
            Self::Rows(rows) => rows.forgets_events(events),
            Self::Lines(lines) => lines.forgets_events(events),
        }
    }

    fn diagnosed(&mut self, timeline: &Timeline, found: &[Diagnosis]) -> io::Result<()> {
        match self {
            Self::Rows(rows) => rows.diagnosed(timeline, found),
            Self::Lines(lines) => lines.diagnosed(timeline, found),
        }
    }

    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        match self {
            Self::Rows(rows) => rows.connection(connection),
            Self::Lines(lines) => lines.connection(connection),
        }
    }

    fn finish(&mut self, _: &Totals) -> io::Result<()> {
        Ok(())
    }
}

/// On what an experiment is captured.
const LOOPBACK: &str = "lo";
/// How often what has settled is told.
const TICK: Duration = Duration::from_millis(20);
/// How many words are taken in before what they say is told.
const MOST_AT_ONCE: usize = 16_384;
/// How long a connection that is over is waited for before it is forgotten: a FIN may come again.
const LINGER: Span = Span::from_millis(2000);
/// How many of these are waited for, at most: else the memory of a run would be that of its busiest moment.
const MOST_CLOSED: usize = 2048;

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::calls::{Call, CallId, Op, Returned, ThreadId};

    /// What takes text, and says at the first flush that it cannot write it.
    struct Full;

    impl Write for Full {
        fn write(&mut self, text: &[u8]) -> io::Result<usize> {
            Ok(text.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::StorageFull.into())
        }
    }

    #[test]
    fn what_cannot_be_told_at_the_end_costs_no_recording() {
        let (tell, told) = mpsc::channel();
        let notices = vec!["the one".to_owned()];
        tell.send(Heard::Over(Box::new(Recording::of_nothing(notices.clone())))).unwrap();
        drop(tell);
        let mut ear = Ear::new(memory::of(None), None);
        let mut full = Full;
        let listened = ear.listen(&told, &mut Teller::Lines(EventStream::new(&mut full)));
        assert_eq!(listened.map(drop).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(ear.over.map(|recording| recording.notices), Some(notices));
    }

    #[test]
    fn so_many_words_are_taken_in_at_once_and_those_that_wait_are_not_taken_to_be_late() {
        let begin = now();
        let call = |name: &'static str, n: u64, ago: i64| {
            let entered = begin.after(Span::from_millis(-ago));
            let returned = Returned { at: entered, result: Ok(0), octets: None, preview: Vec::new() };
            Heard::Call(Activity::Entered(Call {
                id: CallId { thread: ThreadId(0), n },
                entered,
                op: Op::Other { name: name.into(), args: Vec::new() },
                sockets: Vec::new(),
                returned: Some(returned),
                stack: Default::default(),
            }))
        };
        let over = || Heard::Over(Box::new(Recording::of_nothing(Vec::new())));
        for (words, is_over) in [(MOST_AT_ONCE - 2, true), (MOST_AT_ONCE - 1, false)] {
            let (tell, told) = mpsc::channel();
            tell.send(call("listen", 0, 10_000)).unwrap();
            (0..words).for_each(|_| tell.send(Heard::Missed).unwrap());
            if !is_over {
                // It was said before the one that was heard first, and is told before it.
                tell.send(call("socket", 1, 10_001)).unwrap();
            }
            tell.send(over()).unwrap();
            let mut out = Vec::new();
            let mut ear = Ear::new(memory::of(None), None);
            let mut teller = Teller::Lines(EventStream::new(&mut out));
            let first = ear.listen(&told, &mut teller).unwrap();
            assert_eq!(first.is_some(), is_over, "{words}");
            if !is_over {
                assert!(ear.listen(&told, &mut teller).unwrap().is_some());
                ear.session.settle(&mut teller).and_then(|()| teller.flush()).unwrap();
                drop(teller);
                let text = String::from_utf8(out).unwrap();
                let at = |name: &str| text.find(&format!("\"{name}\"")).unwrap_or_else(|| panic!("{name}: {text}"));
                assert!(at("socket") < at("listen"), "{text}");
            }
        }
    }
}
