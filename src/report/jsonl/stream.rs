//! The lines of a timeline that grows: events with the ids of their birth, and amendments.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};

use serde::Serialize;

use super::Jsonl;
use super::lines::Lines;
use crate::flow::{Connection, ConnectionId, Totals};
use crate::session::Sink;
use crate::story::{Changes, Diagnosis, Event, EventId, Lookup, Order, Timeline};
use crate::time::Timestamp;

/// Writes the events of a timeline as they are settled, each with its id of birth and its place in the order of a finished output,
/// and an `amended` line with all of an event where later evidence changed it.
///
/// Whoever puts what an amendment says in place of what was said before, leaves out what was taken back, sorts by `order` and then
/// `id`, and numbers the events from 0 has the lines of the finished output.
pub struct EventStream<'a> {
    jsonl: Jsonl<'a>,
    /// How many of the places where segments are captured were written.
    points: usize,
    /// What was written of each event, in short.
    written: HashMap<Option<ConnectionId>, HashMap<EventId, u64>>,
}

impl<'a> EventStream<'a> {
    /// Writes to `out`.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { jsonl: Jsonl::new(out), points: 0, written: HashMap::new() }
    }

    /// The lines that are of no event.
    pub fn jsonl(&mut self) -> &mut Jsonl<'a> {
        &mut self.jsonl
    }

    fn tell(&mut self, event: &Event, timeline: &Timeline) -> io::Result<()> {
        let Some(order) = timeline.order_of(event.id) else { return Ok(()) };
        let begin = self.jsonl.lines.0.len();
        self.jsonl.lines.event(event, timeline)?;
        self.jsonl.lines.placed(order)?;
        let digest = digest(&self.jsonl.lines.0[begin..]);
        self.written.entry(event.connection).or_default().insert(event.id, digest);
        self.jsonl.end_line()
    }

    fn amend(&mut self, event: &Event, timeline: &Timeline) -> io::Result<()> {
        let Some(order) = timeline.order_of(event.id) else { return Ok(()) };
        let home = self.written.get_mut(&event.connection).and_then(|written| written.remove(&event.id));
        // A call may turn out to be of a connection after it was told.
        let nobodys = || self.written.get_mut(&None).and_then(|written| written.remove(&event.id));
        let Some(before) = home.or_else(nobodys) else { return Ok(()) };
        let mut line = Lines(Vec::new());
        if timeline.is_withdrawn(event.id) {
            line.text("null");
        } else {
            line.event(event, timeline)?;
            line.placed(order)?;
            let now = digest(&line.0);
            self.written.entry(event.connection).or_default().insert(event.id, now);
            if now == before {
                return Ok(());
            }
        }
        self.jsonl.lines.text(r#"{"type":"amended","id":"#).number(event.id.0).text(r#","as":"#);
        self.jsonl.lines.0.extend(line.0);
        self.jsonl.lines.text("}");
        self.jsonl.end_line()
    }
}

impl Sink for EventStream<'_> {
    fn changes(&mut self, timeline: &Timeline, changes: &Changes) -> io::Result<()> {
        // A single place is no news.
        if timeline.points().len() > 1
            && let Some(new) = timeline.points().get(self.points..)
        {
            self.jsonl.points(new, self.points)?;
            self.points += new.len();
        }
        let (first, count) = changes.added;
        let added = (first.0..first.0 + count).filter_map(|id| timeline.find(EventId(id)));
        for event in added.filter(|event| !timeline.is_withdrawn(event.id)) {
            self.tell(event, timeline)?;
        }
        for event in changes.amended.iter().filter_map(|id| timeline.find(*id)) {
            self.amend(event, timeline)?;
        }
        Ok(())
    }

    fn forgets(&mut self, connection: ConnectionId) {
        self.written.remove(&Some(connection));
    }

    fn forgets_events(&mut self, events: &[EventId]) {
        if let Some(written) = self.written.get_mut(&None) {
            events.iter().for_each(|event| _ = written.remove(event));
        }
    }

    fn diagnosed(&mut self, timeline: &Timeline, found: &[Diagnosis]) -> io::Result<()> {
        self.jsonl.found(timeline, found)
    }

    fn connection(&mut self, connection: Connection) -> io::Result<()> {
        self.jsonl.connection(&connection)
    }

    fn finish(&mut self, totals: &Totals) -> io::Result<()> {
        self.jsonl.totals(totals)
    }
}

impl Lines {
    /// Adds to an event's line where it stands in a finished output.
    fn placed(&mut self, order: Order) -> io::Result<()> {
        self.0.pop();
        self.text(r#","order":"#);
        let place: (Option<Timestamp>, u64, u8) = (order.at, order.frame.min(HIGHEST), order.class);
        self.object(&Place(place))?;
        self.text("}");
        Ok(())
    }
}

#[derive(Serialize)]
#[serde(transparent)]
struct Place((Option<Timestamp>, u64, u8));

fn digest(line: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    line.hash(&mut hasher);
    hasher.finish()
}

/// The highest number that every reader of JSON keeps exactly, in place of a frame after all others.
const HIGHEST: u64 = (1 << 53) - 1;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::super::amended::applied;
    use super::*;
    use crate::session::{Keep, Session};
    use crate::story::script::{Recording, conversation, recording, words};
    use crate::time::Span;

    fn read(lines: &[u8]) -> Vec<Value> {
        let text = std::str::from_utf8(lines).expect("output is UTF-8");
        text.lines().map(|line| serde_json::from_str(line).expect(line)).collect()
    }

    /// The lines of a stream whose words come so long before the clock.
    fn streamed(recording: &Recording, ahead: Span) -> Vec<Value> {
        let mut out = Vec::new();
        let mut stream = EventStream::new(&mut out);
        let mut session = Session::new(Keep::All).growing();
        session.know_threads(recording.threads.clone());
        for word in words(recording.clone()) {
            let at = word.at();
            session.hear(word);
            if let Some(at) = at {
                session.pass(at.after(ahead), &mut stream).expect("a Vec takes everything");
            }
        }
        session.settle(&mut stream).and_then(|()| stream.jsonl().flush()).expect("a Vec takes everything");
        read(&out)
    }

    fn finished(recording: Recording) -> Vec<Value> {
        let story = recording.told();
        let mut out = Vec::new();
        let mut jsonl = Jsonl::new(&mut out);
        for event in &story.events {
            jsonl.event(event, &story).expect("a Vec takes everything");
        }
        jsonl.flush().expect("a Vec takes everything");
        read(&out)
    }

    const SLOW: &str = "
        1us..2us S: socket() = 4
        3us..4us S: bind() = 0
        5us..6us S: listen(5) = 0 in LISTEN
        50us..900000us S: accept() = 5
        90us..92us C: socket() = 3
        300000us..800000us C: connect() = 0 in ESTABLISHED
        300100us C > S: S 0(0)
        799000us S > C: S. 0(0) ack 1
        800100us C > S: . 1(0) ack 1
        1000000us..1400000us C: send(10) = 10
        1000100us C > S: P. 1(10) ack 1
        1300000us C > S: P. 1(10) ack 1
        1000200us..2000000us S: recv() = 10
        2100000us..2100100us C: close() = 0
        2100050us C > S: F. 11(0) ack 1
        2100090us S > C: . 1(0) ack 12
    ";

    #[test]
    fn with_its_amendments_applied_a_stream_is_the_finished_page() {
        let recording = recording(SLOW);
        let stream = streamed(&recording, Span(0));
        let amended = stream.iter().filter(|line| line["type"] == "amended").count();
        assert!(amended >= 4, "calls that block are told before they return: {stream:#?}");
        assert_eq!(applied(stream), finished(recording));
    }

    proptest! {
        #[test]
        fn whatever_is_said_a_stream_is_the_finished_page(script in conversation(), ahead in 0i64..200) {
            let recording = recording(&script);
            let stream = streamed(&recording, Span::from_millis(ahead));
            prop_assert_eq!(applied(stream), finished(recording));
        }
    }
}
