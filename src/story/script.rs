//! Plays scripts of the one notation through the real table and timeline, for the tests of the joins.

use std::convert::Infallible;

use proptest::prelude::*;

use super::{EventKind, Lookup, Observed, Sighting, Story, Timeline, Trace, Witnessed};
use crate::calls::{Call, Threads};
use crate::capture::SeenAt;
use crate::flow::{Connection, ConnectionId, FlowTable, Side, Totals};
use crate::kernel::Answer;
use crate::script::{self, LinkEvent};
use crate::tcp::{Finding, State};

/// Tells the story of a script.
pub(crate) fn story(script: &str) -> Story {
    recording(script).told()
}

/// What a script holds.
#[derive(Clone)]
pub(crate) struct Recording {
    pub(crate) traces: Vec<Trace>,
    pub(crate) connections: Vec<Connection>,
    pub(crate) threads: Threads,
    pub(crate) calls: Vec<Call>,
    pub(crate) evidence: Vec<Answer>,
    pub(crate) links: Vec<LinkEvent>,
}

impl Recording {
    pub(crate) fn told(self) -> Story {
        let mut timeline = Timeline::default();
        let (connections, threads) = (self.connections.clone(), self.threads.clone());
        words(self).for_each(|word| timeline.take(word));
        timeline.finish(connections, threads, Totals::default())
    }
}

/// What a script holds; findings that stand behind `=` of a segment are those that the table has.
pub(crate) fn recording(script: &str) -> Recording {
    let performed = script::performed(script);
    let mut table = FlowTable::new();
    let mut observed: Vec<(ConnectionId, Observed)> = Vec::new();
    for placed in performed.segments {
        let segment = placed.segment;
        let step = table.observe(&segment).expect("not late");
        if let Some(expected) = placed.expected {
            let findings: Vec<_> = step.findings.iter().map(Finding::name).collect();
            assert_eq!(findings.join(" "), expected, "frame {}", segment.frame);
        }
        let tunnel = placed.tunnel.into();
        let seen = SeenAt::default();
        observed.push((step.connection, Observed { segment, step, preview: Vec::new(), tunnel, seen }));
    }
    let mut connections = Vec::new();
    let Ok(_) = table.finish(|connection| {
        connections.push(connection);
        Ok::<_, Infallible>(())
    });
    connections.sort_by_key(|connection| connection.id);
    let of =
        |id| observed.iter().filter(move |(of, _)| *of == id).map(|(_, observed)| Sighting::passing(observed.clone()));
    let trace = |Connection { id, client, server, .. }: &Connection| Trace {
        id: *id,
        client: *client,
        server: *server,
        segments: of(*id).collect(),
        errors: Vec::new(),
    };
    let traces = connections.iter().map(trace).collect();
    Recording {
        traces,
        connections,
        threads: performed.threads,
        calls: performed.calls,
        evidence: performed.answers,
        links: performed.links,
    }
}

/// The story in one line an event, events numbered from 0.
pub(crate) fn lines(story: &Story) -> Vec<String> {
    story
        .events
        .iter()
        .map(|event| {
            let what = match &event.kind {
                EventKind::Call(call) => {
                    let mut text = format!("{} {}", call.side.map_or("-", Side::name), call.call.name());
                    if let Some(stream) = call.stream {
                        text += &format!(" [{},{})", stream.from, stream.to);
                    }
                    if !call.sent.is_empty() {
                        text += &format!(" sent {:?}", story.frames_of(&call.sent));
                    }
                    if !call.brought_by.is_empty() {
                        text += &format!(" got {:?}", story.frames_of(&call.brought_by));
                    }
                    if let Some(frame) = call.completed_by.and_then(|id| story.frame_of(id)) {
                        text += &format!(" done by {frame}");
                    }
                    text
                }
                EventKind::Segment(segment) => {
                    let mut text = format!("#{} {}", segment.segment.frame, segment.segment.flags);
                    if !segment.cause.calls.is_empty() {
                        let calls: Vec<_> = segment.cause.calls.iter().map(|id| id.0).collect();
                        text += &format!(" by {calls:?}");
                    }
                    if let Some(kernel) = segment.cause.kernel {
                        text += &format!(" kernel {}", kernel.name());
                    }
                    if let Some(of) = segment.cause.of {
                        text += &format!(" of {}", of.0);
                    }
                    if let Some(link) = segment.cause.link {
                        text += &format!(" link {}", link.0);
                    }
                    if let Some(fate) = segment.fate {
                        text += &format!(" {}", fate.name());
                    }
                    if segment.cause.is_inferred() {
                        text += " inferred";
                    }
                    text
                }
                EventKind::Transition(step) => {
                    let from = step.from.map_or("?", State::name);
                    let mut text = format!(
                        "{} {from}>{} of {}",
                        step.side.name(),
                        step.to,
                        step.cause.map_or(-1, |id| id.0 as i64)
                    );
                    if step.evidence.len() > 1 || step.disagreement.is_some() {
                        text += &format!(" {:?}", step.evidence);
                    }
                    if step.disagreement.is_some() {
                        text += " DISAGREES";
                    }
                    text
                }
                EventKind::Icmp(icmp) => format!(
                    "{} icmp {} of {}",
                    icmp.side.name(),
                    icmp.error.kind.name(),
                    icmp.segment.map_or(-1, |id| id.0 as i64)
                ),
                EventKind::Link(link) => format!(
                    "{} link {} of {}",
                    link.from.name(),
                    link.act.name(),
                    link.segment.map_or(-1, |id| id.0 as i64)
                ),
                EventKind::Kernel(kernel) => format!(
                    "{} kernel {:?} of {}",
                    kernel.side.name(),
                    kernel.act,
                    kernel.segment.map_or(-1, |id| id.0 as i64)
                ),
                EventKind::Timer(timer) => {
                    format!("{} timer of {}", timer.side.name(), timer.cause.map_or(-1, |id| id.0 as i64))
                }
            };
            format!("{} {what}", event.id.0)
        })
        .collect()
}

/// The words of a script, in order.
pub(crate) fn words(recording: Recording) -> impl Iterator<Item = Witnessed> {
    let Recording { traces, calls, evidence, links, .. } = recording;
    let mut words: Vec<Witnessed> = super::words::words(traces, calls, &evidence, &[]).collect();
    // The link has a segment after it was captured on its way there.
    words.extend(links.into_iter().map(|act| Witnessed::Link(Box::new(act))));
    words.sort_by_key(|word| matches!(word, Witnessed::Link(_)).then(|| word.at()));
    let (others, links): (Vec<_>, Vec<_>) = words.into_iter().partition(|word| !matches!(word, Witnessed::Link(_)));
    let mut links = links.into_iter().peekable();
    let mut merged = Vec::new();
    for word in others {
        while let Some(link) = links.next_if(|link| link.at() < word.at()) {
            merged.push(link);
        }
        merged.push(word);
    }
    merged.extend(links);
    merged.into_iter()
}

/// A conversation: what is sent and received, when, what is lost, and how it ends.
pub(crate) fn conversation() -> impl Strategy<Value = String> {
    let act = (0u8..10, any::<bool>(), 1u64..400, 1i64..30, 1i64..60);
    let timing = (1i64..30, 1i64..30, 1i64..30, 1i64..40);
    (timing, proptest::collection::vec(act, 0..30), 0u8..6).prop_map(|((syn, back, ack, accept), acts, end)| {
        let (syn, back, ack) = (100 + syn, 130 + syn + back, 160 + syn + back + ack);
        let mut script = format!(
            "1us..2us S: socket() = 4\n3us..4us S: bind() = 0\n5us..6us S: listen(5) = 0 in LISTEN\n\
             50us..{}us S: accept() = 5\n90us..92us C: socket() = 3\n95us..{}us C: connect() = 0 in ESTABLISHED\n\
             {syn}us C > S: S 0(0)\n{back}us S > C: S. 0(0) ack 1\n{ack}us C > S: . 1(0) ack 1\n",
            ack + accept,
            back + accept,
        );
        let mut at = ack + 100;
        let mut next = [1u64, 1];
        let end_of = |client: bool| if client { ("C", "C > S:", 0) } else { ("S", "S > C:", 1) };
        for (what, client, octets, took, lag) in acts {
            let (name, arrow, from) = end_of(client);
            at += lag;
            let (seq, other) = (next[from], next[1 - from]);
            match what {
                // A send, whose segment may leave before or after it returns.
                0..=3 => {
                    script += &format!("{at}us..{}us {name}: send({octets}) = {octets}\n", at + took);
                    script += &format!("{}us {arrow} P. {seq}({octets}) ack {other}\n", at + lag);
                    next[from] += octets;
                }
                4 => script += &format!("{at}us {arrow} . {seq}(0) ack {other}\n"),
                5 => script += &format!("{at}us {arrow} . {seq}(0) ack {other} win {}\n", 1000 + octets),
                6 if seq > 1 => {
                    let first = seq.saturating_sub(octets).max(1);
                    at += octets as i64 * 1000;
                    script += &format!("{at}us {arrow} P. {first}({}) ack {other}\n", seq - first);
                }
                7 => script += &format!("{at}us..{}us {name}: recv() = {octets} in ESTABLISHED\n", at + took),
                8 => {
                    let segment = format!("{arrow} P. {seq}({octets}) ack {other} id 7");
                    script += &format!("{at}us {segment}\n{}us {segment}\n", at + 1);
                    next[from] += octets;
                }
                _ => script += &format!("{at}us {arrow} . {}(0) ack {other}\n", seq - 1),
            }
            at += took;
        }
        let [c, s] = next;
        at += 100;
        let (a, b, d) = (at + 5, at + 10, at + 15);
        script += &match end {
            0 => format!("{at}us..{b}us C: close() = 0\n{a}us C > S: F. {c}(0) ack {s}\n{d}us S > C: F. {s}(0) ack {}\n{}us kernel: C TIME-WAIT for 100ms\n{}us..{}us S: socket() = 6\n", c + 1, d + 90, d + 95, d + 99),
            1 => format!("{at}us..{a}us C: shutdown(SHUT_WR) = 0 in FIN-WAIT-1\n{d}us C > S: F. {c}(0) ack {s}\n"),
            2 => format!("{at}us..{a}us C: shutdown(SHUT_WR) = 0\n{a}us C > S: F. {c}(0) ack {s}\n{a}us..{d}us S: shutdown(SHUT_WR) = 0 in FIN-WAIT-1\n{b}us S > C: F. {s}(0) ack {c}\n{d}us C > S: . {}(0) ack {}\n", c + 1, s + 1),
            3 => format!("{at}us..{b}us S: close() = 0\n{a}us S > C: R. {s}(0) ack {c}\n{d}us..{}us C: recv() = -ECONNRESET\n", d + 3),
            4 => format!("{at}us C > S: R {c}(0)\n"),
            _ => String::new(),
        };
        script
    })
}
