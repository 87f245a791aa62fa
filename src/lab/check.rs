//! Whether a run went as its scenario says: states, findings, causes, segments, and conditions on the connection.

use std::net::SocketAddr;

use super::addresses::{Addresses, End, address};
use super::definition::Definition;
use super::trial::Trial;
use super::watched::matches;
use crate::flow::{Connection, ConnectionId, Side};
use crate::report::Expression;
use crate::script::{Actor, Expected, Trend, Which};
use crate::story::{EventKind, Story};
use crate::tcp::State;
use crate::wire::Decoder;

/// An expectation, and whether it held.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Check {
    /// What was expected, as the scenario has it.
    pub expected: String,
    /// What was there instead; `None` where it held.
    pub instead: Option<String>,
}

impl Check {
    fn held(expected: String) -> Self {
        Self { expected, instead: None }
    }

    fn of(expected: String, holds: bool, instead: impl FnOnce() -> String) -> Self {
        Self { expected, instead: (!holds).then(instead) }
    }

    /// Whether it held.
    pub fn holds(&self) -> bool {
        self.instead.is_none()
    }
}

/// Holds a run against what its scenario expects, in the order in which the scenario says it; last come the script's own results
/// and the agreement of the states with the kernel's.
pub fn check(definition: &Definition, trial: &Trial, story: &Story) -> Vec<Check> {
    let judge = Judge { definition, trial, story, addresses: Addresses::of(definition) };
    let mut checks: Vec<Check> = definition.expected.iter().map(|expected| judge.check(expected)).collect();
    for line in &definition.script.lines {
        if let crate::script::What::Expect(expected) = &line.what {
            checks.push(judge.check(expected));
        }
    }
    checks.extend(definition.asserted.iter().map(|condition| judge.assert(condition)));
    let results = "every call returned what its line says".to_owned();
    match &trial.amiss[..] {
        [] => checks.push(Check::held(results)),
        amiss => checks.push(Check { expected: results, instead: Some(amiss.join("; ")) }),
    }
    checks.push(judge.agreement());
    if let Some(broken) = &trial.broken {
        checks.push(Check { expected: "the script came to its end".to_owned(), instead: Some(broken.to_string()) });
    }
    checks
}

struct Judge<'a> {
    definition: &'a Definition,
    trial: &'a Trial,
    story: &'a Story,
    addresses: Addresses,
}

impl Judge<'_> {
    fn check(&self, expected: &Expected) -> Check {
        let text = expected.to_string();
        match expected {
            Expected::State(actor, state) => {
                let found = self.kernels_last(*actor);
                let holds = found.is_some_and(|found| found.unwrap_or(State::Closed) == state.unwrap_or(State::Closed));
                Check::of(text, holds, || match found {
                    Some(found) => format!("the kernel says {}", found.map_or("CLOSED", State::name)),
                    None => format!("{actor} has no connection"),
                })
            }
            Expected::Finding(name) => {
                Check::of(text, self.findings().any(|found| found == name), || self.all_findings())
            }
            Expected::NoFinding(name) => {
                Check::of(text, !self.findings().any(|found| found == name), || "there is one".to_owned())
            }
            Expected::Cause(name) => {
                let causes: Vec<_> = self.causes();
                Check::of(text, causes.contains(&name.as_str()), || format!("the causes are {}", list(causes)))
            }
            Expected::Ending(name) => {
                let endings: Vec<_> =
                    self.story.connections.iter().map(|connection| connection.ending.name()).collect();
                let holds = endings.first() == Some(&name.as_str());
                Check::of(text, holds, || format!("it is {}", endings.first().unwrap_or(&"none")))
            }
            Expected::Through(actor, states) => {
                let path = self.path(*actor);
                let holds = path.windows(states.len()).any(|part| part == states);
                Check::of(text, holds, || format!("it went through {}", list(path.iter().map(|state| state.name()))))
            }
            Expected::Congestion(actor, trend) => {
                let windows = self.congestion_windows(*actor);
                let holds = windows.iter().enumerate().any(|(place, before)| {
                    windows[place..].iter().any(|after| match trend {
                        Trend::Doubled => *after >= 2 * before,
                        Trend::Shrank => 4 * after <= 3 * before,
                    })
                });
                Check::of(text, holds, || format!("it was {}", list(windows.iter().map(u32::to_string))))
            }
            Expected::Counted(actor, name) => {
                let host = (End::of(*actor) as usize).min(self.trial.counters.len().saturating_sub(1));
                let counted = self.trial.counters.get(host).and_then(|counters| counters.get(name).copied());
                Check::of(text, counted.is_some_and(|count| count > 0), || match counted {
                    Some(_) => "it has not".to_owned(),
                    None => "this kernel has no such counter".to_owned(),
                })
            }
            Expected::Count { number, or_more, which } => {
                let count = self.count(which);
                let holds = count == *number || (*or_more && count > *number);
                Check::of(text, holds, || format!("there were {count}"))
            }
        }
    }

    fn assert(&self, condition: &str) -> Check {
        let holds = match (Expression::parse(condition), self.story.connections.first()) {
            (Ok(mut expression), Some(connection)) => expression.matches(connection),
            _ => false,
        };
        Check::of(condition.to_owned(), holds, || "it does not hold for the first connection".to_owned())
    }

    /// Whether the states that the segments tell are those that the kernel told.
    fn agreement(&self) -> Check {
        let against = |connection: &Connection| {
            connection
                .findings
                .iter()
                .filter(|finding| finding.finding == crate::tcp::Finding::StateDisagreement)
                .count()
        };
        let count: usize = self.story.connections.iter().map(against).sum();
        Check::of("the kernel's states are those of the segments".to_owned(), count == 0, || {
            format!("{count} of them are not")
        })
    }

    /// What the kernel said last of the connection of an actor; `None`: it has none.
    fn kernels_last(&self, actor: Actor) -> Option<Option<State>> {
        let (local, peer) = self.ends(actor)?;
        let evidence = self.trial.evidence.iter().rev().find(|told| told.local == local && told.peer == peer)?;
        Some(evidence.state)
    }

    /// The addresses of the latest connection of an actor, its own first.
    fn ends(&self, actor: Actor) -> Option<(SocketAddr, SocketAddr)> {
        self.trial.ends.iter().rev().find_map(|[client, server]| match actor {
            _ if client.0 == Some(actor) => Some((client.1, server.1)),
            _ if server.0 == Some(actor) => Some((server.1, client.1)),
            _ => None,
        })
    }

    fn findings(&self) -> impl Iterator<Item = &str> {
        self.story.connections.iter().flat_map(|connection| &connection.findings).map(|found| found.finding.name())
    }

    fn all_findings(&self) -> String {
        let mut names: Vec<_> = self.findings().collect();
        names.sort_unstable();
        names.dedup();
        format!("the findings are {}", list(names))
    }

    fn causes(&self) -> Vec<&'static str> {
        let mut causes: Vec<_> = self
            .story
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Segment(segment) => segment.cause.kernel.map(|mechanism| mechanism.name()),
                _ => None,
            })
            .collect();
        causes.sort_unstable();
        causes.dedup();
        causes
    }

    /// The congestion window of an actor's connection as TCP_INFO told it after each of its calls, without repetitions.
    fn congestion_windows(&self, actor: Actor) -> Vec<u32> {
        let Some((local, peer)) = self.ends(actor) else { return Vec::new() };
        let of_it = self.trial.calls.iter().filter(|call| (call.local(), call.peer()) == (Some(local), Some(peer)));
        let mut windows: Vec<_> = of_it.filter_map(|call| Some(call.info()?.snd_cwnd)).collect();
        windows.dedup();
        windows
    }

    /// The states that the end of an actor went through, on its latest connection.
    fn path(&self, actor: Actor) -> Vec<State> {
        let Some((id, side)) = self.connection(actor) else { return Vec::new() };
        let mut path = Vec::new();
        for event in &self.story.events {
            if let (EventKind::Transition(step), true) = (&event.kind, event.connection == Some(id))
                && step.side == side
            {
                if path.is_empty() {
                    path.extend(step.from);
                }
                path.push(step.to);
            }
        }
        path
    }

    fn connection(&self, actor: Actor) -> Option<(ConnectionId, Side)> {
        let (local, peer) = self.ends(actor)?;
        self.story.connections.iter().rev().find_map(|connection| match (connection.client, connection.server) {
            ends if ends == (local, peer) => Some((connection.id, Side::Client)),
            ends if ends == (peer, local) => Some((connection.id, Side::Server)),
            _ => None,
        })
    }

    /// How many segments of a kind were sent.
    fn count(&self, which: &Which) -> u32 {
        let mut decoder = Decoder::new();
        let mut count = 0;
        let host = address(End::of(which.from), &self.definition.setting);
        let captures = &self.trial.captures;
        let frames = &captures[(End::of(which.from) as usize).min(captures.len() - 1)];
        for frame in frames {
            let _ = decoder.decode(&frame.as_frame(), |segment, _| {
                let (from, to) = (self.addresses.actor(segment.src_port), self.addresses.actor(segment.dst_port));
                let is_one = segment.src == host && matches(which, from, to, segment.flags, segment.len);
                count += u32::from(is_one);
            });
        }
        count
    }
}

fn list<T: AsRef<str>>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<_> = names.into_iter().map(|name| name.as_ref().to_owned()).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(", ") }
}
