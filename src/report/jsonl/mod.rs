//! Machine-readable output: one JSON object a line, described by `docs/output.schema.json`.

#[cfg(test)]
mod amended;
mod connection;
mod event;
mod lines;
mod overview;
pub(super) mod passage;
mod put;
mod status;
mod stream;
#[cfg(test)]
mod tests;

use std::io::{self, Write};
use std::net::SocketAddr;

use self::event::{CallLine, IcmpLine, KernelLine, LinkLine, PointLine, SegmentLine, TimerLine, TransitionLine};
use self::lines::Lines;
pub use self::status::Crossed;
use self::status::{CountsLine, DropsLine, ExpectationLine, InterfaceLine, OpenedLine, ScenarioLine};
pub use self::stream::EventStream;
use super::expression::Judged;
use super::run::{KernelTrace, RunSummary};
use crate::capture::{CaptureStats, Interface};
use crate::flow::{Connection, FindingAt, Side, Totals};
use crate::report::overview::{FindingTotals, Overview};
use crate::report::wording::{English, Wording};
use crate::story::{Account, Diagnosis, Event, EventId, EventKind, Lookup, Outcome, Point, Story};
use crate::time::Timestamp;

/// How lines name the events of a story.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Named {
    /// By their numbers in order of time, as a finished output does.
    ByOrder,
    /// By the ids with which they were born, as a stream does.
    ByBirth,
}

impl Named {
    fn of(self, events: &[EventId], story: &Story) -> Vec<EventId> {
        let of_birth = |id: &EventId| story.births.get(id.0 as usize).copied().unwrap_or(*id);
        match self {
            Self::ByOrder => events.to_vec(),
            Self::ByBirth => events.iter().map(of_birth).collect(),
        }
    }
}

/// Writes JSON Lines.
///
/// Lines are gathered and written together; what was not yet written is, by [`Jsonl::flush`] and [`Jsonl::totals`].
/// Times are strings of decimal seconds, durations are integers of nanoseconds, and a thing not known is null.
/// No control character and none that turns the direction of text gets out unescaped, whatever a name or note holds.
pub struct Jsonl<'a> {
    out: &'a mut dyn Write,
    lines: Lines,
}

impl<'a> Jsonl<'a> {
    /// A writer of lines to `out`, which needs no buffer of its own.
    pub fn new(out: &'a mut dyn Write) -> Self {
        Self { out, lines: Lines(Vec::with_capacity(GATHERED + GATHERED / 8)) }
    }

    /// Writes a whole story: its events, its connections, what seems wrong with its programs, its totals.
    ///
    /// # Errors
    /// Those of the output.
    pub fn story(&mut self, story: &Story) -> io::Result<()> {
        self.events(story)?;
        self.diagnoses(story, &story.diagnoses(), Named::ByOrder)?;
        self.totals(&story.totals)
    }

    /// Writes of a story the places, the events and the connections, which are all but what seems wrong and the counts.
    ///
    /// # Errors
    /// Those of the output.
    pub fn events(&mut self, story: &Story) -> io::Result<()> {
        // A single place is no news.
        if story.points.len() > 1 {
            self.points(&story.points, 0)?;
        }
        for event in &story.events {
            self.event(event, story)?;
        }
        story.connections.iter().try_for_each(|connection| self.connection(connection))?;
        self.flush()
    }

    /// Writes a `point` line for each place where segments were captured, of which the first one has that number.
    ///
    /// # Errors
    /// Those of the output.
    pub fn points(&mut self, points: &[Point], first: usize) -> io::Result<()> {
        for (number, point) in (first..).zip(points) {
            self.lines.object(&PointLine::of(number, point))?;
            self.end_line()?;
        }
        Ok(())
    }

    /// Writes what seems wrong with the programs of a story: a `diagnosis` line for each, which names events as the lines before it do.
    ///
    /// # Errors
    /// Those of the output.
    pub fn diagnoses(&mut self, story: &Story, found: &[Diagnosis], named: Named) -> io::Result<()> {
        for diagnosis in found {
            self.diagnosis(diagnosis, named.of(&diagnosis.events, story), story)?;
        }
        Ok(())
    }

    /// Writes what seems wrong while a timeline grows, which names events as the lines before it do.
    ///
    /// # Errors
    /// Those of the output.
    pub fn found(&mut self, known: &dyn Lookup, found: &[Diagnosis]) -> io::Result<()> {
        for diagnosis in found {
            self.diagnosis(diagnosis, diagnosis.events.clone(), known)?;
        }
        Ok(())
    }

    fn diagnosis(&mut self, diagnosis: &Diagnosis, events: Vec<EventId>, known: &dyn Lookup) -> io::Result<()> {
        self.lines.object(&serde_json::json!({
            "type": "diagnosis", "name": diagnosis.what.name(),
            "weight": diagnosis.what.weight().name(),
            "connection": diagnosis.connection, "side": diagnosis.side, "events": events,
            "frames": known.frames_of(&diagnosis.events),
            "note": English.mistake(&diagnosis.what),
        }))?;
        self.end_line()
    }

    /// Writes an `account` line for each connection of which no packet was captured: what calls and states say of it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn accounts(&mut self, story: &Story, accounts: &[Account], named: Named) -> io::Result<()> {
        let end = |end: SocketAddr| serde_json::json!({"addr": end.ip(), "port": end.port()});
        for account in accounts {
            let own = |side: Side| {
                account.ends[side as usize].as_ref().map(|end| {
                    let process = story.threads.get(end.thread);
                    let states: Vec<_> = end
                        .states
                        .iter()
                        .map(|(state, by)| serde_json::json!({"state": state, "evidence": by}))
                        .collect();
                    serde_json::json!({
                        "pid": process.map(|(_, process)| process.pid), "comm": process.map(|(thread, _)| &thread.comm),
                        "sent": end.sent, "received": end.received, "states": states,
                    })
                })
            };
            let errno = match account.outcome {
                Outcome::Failed { errno } => Some(errno),
                _ => None,
            };
            self.lines.object(&serde_json::json!({
                "type": "account", "client": account.client.map(end), "server": end(account.server),
                "ending": account.outcome.name(), "closed_by": account.outcome.closed_by(), "errno": errno,
                "inferred": account.is_inferred, "events": named.of(&account.events, story),
                "client_end": own(Side::Client), "server_end": own(Side::Server), "verdict": English.account(account),
            }))?;
            self.end_line()?;
        }
        Ok(())
    }

    /// Writes an `assertion` line for each: whether what was expected of a run holds.
    ///
    /// # Errors
    /// Those of the output.
    pub fn assertions(&mut self, story: &Story, judged: &[Judged], named: Named) -> io::Result<()> {
        for Judged { expr, holds, because, connections, why } in judged {
            self.lines.object(&serde_json::json!({
                "type": "assertion", "expr": expr, "holds": holds, "because": named.of(because, story),
                "connections": connections, "why": why,
            }))?;
            self.end_line()?;
        }
        Ok(())
    }

    /// Writes the `run` line, the last one of a run.
    ///
    /// # Errors
    /// Those of the output.
    pub fn run(&mut self, run: &RunSummary) -> io::Result<()> {
        let RunSummary { command, status, calls, lost_calls, backend, kernel_trace, .. } = run;
        let kernel_trace = kernel_trace.map(|KernelTrace { events, lost, lost_on_host }| {
            serde_json::json!({"events": events, "lost": lost, "lost_on_host": lost_on_host})
        });
        self.lines.object(&serde_json::json!({
            "type": "run", "command": command, "status": status, "calls": calls, "lost_calls": lost_calls,
            "backend": backend, "kernel_trace": kernel_trace,
        }))?;
        self.end_line()?;
        self.flush()
    }

    /// Writes one event: a `call`, `segment`, `transition`, `timer`, `link` or `kernel` line; `known` is what it belongs to.
    ///
    /// # Errors
    /// Those of the output.
    pub fn event(&mut self, event: &Event, known: &dyn Lookup) -> io::Result<()> {
        self.lines.event(event, known)?;
        self.end_line()
    }

    /// Writes the `scenario` line of a run: what was played.
    ///
    /// # Errors
    /// Those of the output.
    pub fn scenario(&mut self, name: &str, group: &str, title: &str) -> io::Result<()> {
        self.lines.object(&ScenarioLine { r#type: "scenario", name, group, title })?;
        self.end_line()
    }

    /// Writes an `expectation` line of a run: what was expected, and what was there instead, if it did not hold.
    ///
    /// # Errors
    /// Those of the output.
    pub fn expectation(&mut self, expected: &str, instead: Option<&str>) -> io::Result<()> {
        let holds = instead.is_none();
        self.lines.object(&ExpectationLine { r#type: "expectation", expected, holds, instead })?;
        self.end_line()
    }

    /// Writes a `crossing` line of a run between two hosts: what the link says of a segment, whatever the captures have.
    ///
    /// # Errors
    /// Those of the output.
    pub fn crossing(&mut self, crossing: &Crossed<'_>) -> io::Result<()> {
        self.lines.object(crossing)?;
        self.end_line()
    }

    /// Writes one `connection` line.
    ///
    /// # Errors
    /// Those of the output.
    pub fn connection(&mut self, connection: &Connection) -> io::Result<()> {
        self.lines.connection(connection);
        self.end_line()
    }

    /// Writes one `finding` line: a finding of a connection, by itself.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finding(&mut self, connection: &Connection, finding: &FindingAt) -> io::Result<()> {
        self.lines.text(r#"{"type":"finding","connection":"#).number(connection.id.0);
        self.lines.text(r#","client":"#).end(connection.client).text(r#","server":"#).end(connection.server);
        self.lines.text(",").finding(finding);
        self.end_line()
    }

    /// Writes the `opened` line of a live capture: a connection's first segment was captured.
    ///
    /// # Errors
    /// Those of the output.
    pub fn opened(&mut self, id: EventId, at: Option<Timestamp>, connection: &Connection) -> io::Result<()> {
        self.lines.object(&OpenedLine {
            r#type: "opened",
            id,
            at,
            connection: connection.id,
            frame: connection.first_frame,
            client: connection.client.into(),
            server: connection.server.into(),
            midstream: connection.midstream,
        })?;
        self.end_line()
    }

    /// Writes the `drops` line of a live capture: the kernel has dropped `new` packets since it was asked last.
    ///
    /// In a timeline, where ids are those of events, it has none.
    ///
    /// # Errors
    /// Those of the output.
    pub fn drops(&mut self, id: Option<EventId>, at: Timestamp, new: u64, stats: &CaptureStats) -> io::Result<()> {
        self.lines.object(&DropsLine {
            r#type: "drops",
            id,
            at,
            connection: None,
            dropped: new,
            dropped_in_all: stats.dropped,
            if_dropped_in_all: stats.if_dropped,
        })?;
        self.end_line()
    }

    /// Writes the `counts` line of a live capture: what was counted until now, `open` being the connections that are not over.
    ///
    /// # Errors
    /// Those of the output.
    pub fn counts(
        &mut self,
        id: EventId,
        at: Timestamp,
        open: u64,
        totals: &Totals,
        stats: Option<&CaptureStats>,
    ) -> io::Result<()> {
        self.lines.object(&CountsLine {
            r#type: "counts",
            id,
            at,
            connection: None,
            frames: totals.frames,
            segments: totals.segments,
            connections: totals.connections,
            open,
            received: stats.map(|stats| stats.received),
            dropped: stats.map(|stats| stats.dropped),
            if_dropped: stats.map(|stats| stats.if_dropped),
        })?;
        self.end_line()
    }

    /// Writes the `interface` line of one interface of this host.
    ///
    /// # Errors
    /// Those of the output.
    pub fn interface(&mut self, interface: &Interface) -> io::Result<()> {
        self.lines.object(&InterfaceLine { r#type: "interface", interface })?;
        self.end_line()
    }

    /// Writes the `summary` line: one page on all connections.
    ///
    /// # Errors
    /// Those of the output.
    pub fn summary(&mut self, overview: &Overview) -> io::Result<()> {
        self.lines.object(&overview::page(overview))?;
        self.end_line()
    }

    /// Writes the `finding_totals` line: how often each finding was made, and in how many connections.
    ///
    /// # Errors
    /// Those of the output.
    pub fn finding_totals(&mut self, totals: &FindingTotals) -> io::Result<()> {
        self.lines.object(&serde_json::json!({"type": "finding_totals", "findings": overview::findings(totals)}))?;
        self.end_line()
    }

    /// Writes the `totals` line, the last one, and everything before it.
    ///
    /// # Errors
    /// Those of the output.
    pub fn totals(&mut self, totals: &Totals) -> io::Result<()> {
        let Totals {
            frames, segments, connections, skipped, late_segments, let_go, evicted, dropped, steps_back, ..
        } = totals;
        self.lines.object(&serde_json::json!({
            "type": "totals", "frames": frames, "segments": segments, "connections": connections,
            "skipped": skipped, "late_segments": late_segments, "let_go": let_go, "evicted": evicted, "dropped": dropped,
            "steps_back": steps_back,
        }))?;
        self.end_line()?;
        self.flush()
    }

    /// Writes which file the lines after it are of, up to the next of these.
    ///
    /// # Errors
    /// Those of the output.
    pub fn file(&mut self, name: &str) -> io::Result<()> {
        self.lines.object(&serde_json::json!({"type": "file", "name": name}))?;
        self.end_line()?;
        self.flush()
    }

    /// Writes what was gathered.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.write_all(&self.lines.0)?;
        self.lines.0.clear();
        self.out.flush()
    }

    fn end_line(&mut self) -> io::Result<()> {
        self.lines.0.push(b'\n');
        if self.lines.0.len() < GATHERED {
            return Ok(());
        }
        self.out.write_all(&self.lines.0)?;
        self.lines.0.clear();
        Ok(())
    }
}

impl Lines {
    /// Adds an event, without the end of its line.
    fn event(&mut self, event: &Event, known: &dyn Lookup) -> io::Result<()> {
        match &event.kind {
            EventKind::Call(call) => self.object(&CallLine::of(event, call, known)),
            EventKind::Segment(segment) => self.object(&SegmentLine::of(event, segment, known)),
            EventKind::Transition(transition) => self.object(&TransitionLine::of(event, transition)),
            EventKind::Icmp(icmp) => self.object(&IcmpLine::of(event, icmp, known)),
            EventKind::Link(link) => self.object(&LinkLine::of(event, link, known)),
            EventKind::Kernel(said) => self.object(&KernelLine::of(event, said, known)),
            EventKind::Timer(timer) => self.object(&TimerLine::of(event, timer, known.threads())),
        }
    }
}

/// How many octets of lines are gathered before they are written.
const GATHERED: usize = 64 * 1024;
