//! What is expected of a run: an expression over its connections, its calls, and what was found.

use std::collections::HashMap;
use std::sync::Arc;

use cel::common::ast::IdedExpr;
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env};

use super::value::{converted, environment};
use super::{Wrong, compiled};
use crate::flow::{Connection, ConnectionId, Side};
use crate::report::field::Field;
use crate::report::wording::{English, Wording};
use crate::story::{CallEvent, Event, EventId, EventKind, Mistake, Story};

/// An expression that is to be true of a whole run.
///
/// `connections` is a list of maps with the fields that `--where` has; `calls` one of `id`, `name`, `effect`, `connection`, `side`, `pid`, `comm`,
/// `fd`, `result`, `errno`, `octets` and `completed`; `findings` one of `name`, `connection`, `side`, `note` and, where it is a diagnosis, `weight`.
pub struct Assertion {
    source: String,
    env: Arc<Env>,
    condition: IdedExpr,
}

/// What is known of the calls of what is judged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KnownCalls {
    /// All that were made.
    All,
    /// All but so many.
    AllBut(u64),
    /// None: why, and what would make them known.
    None(&'static str),
}

/// Whether an assertion holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Judged {
    /// What was expected.
    pub expr: String,
    /// Whether it holds.
    pub holds: bool,
    /// The events that refute it, by their numbers in the story; those of single calls and findings, where one alone refutes it.
    pub because: Vec<EventId>,
    /// The connections that refute it.
    pub connections: Vec<ConnectionId>,
    /// Why it could not be decided, where it could not.
    pub why: Option<String>,
}

impl Assertion {
    /// Reads an assertion.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &str) -> Result<Self, Wrong> {
        let env = Arc::new(environment());
        let condition = compiled(source, &env)?.expression().clone();
        Ok(Self { source: source.trim().to_owned(), env, condition })
    }

    /// Whether it may name what octets that conflict change: findings, problems and verdicts.
    pub fn is_of_octets(&self) -> bool {
        ["findings", "problem", "verdict"].iter().any(|word| self.source.contains(word))
    }

    /// Whether it holds of a run. Where calls are missing, one that speaks of them does not.
    pub fn judge(&self, story: &Story, calls: KnownCalls) -> Judged {
        let all = Lists::of(story);
        let speaks_of = |what: &str| self.source.contains(what);
        let answer = match calls {
            KnownCalls::AllBut(lost @ 1..) if speaks_of("calls") || speaks_of("findings") => {
                Err(format!("{lost} calls are not known: give it more --memory"))
            }
            _ if story.lacks_packets() && speaks_of("connections") => {
                Err("no packets were captured: connections are not known as such".to_owned())
            }
            // Findings on segments are known without calls, diagnoses are not: nothing is shown by there being none.
            KnownCalls::None(why)
                if speaks_of("calls")
                    || speaks_of("findings")
                        && (speaks_of("weight") || Mistake::NAMES.iter().any(|name| speaks_of(name))) =>
            {
                Err(why.to_owned())
            }
            _ => self.decide(&all),
        };
        let mut judged = Judged {
            expr: self.source.clone(),
            holds: answer == Ok(true),
            because: Vec::new(),
            connections: Vec::new(),
            why: answer.err(),
        };
        if judged.holds || judged.why.is_some() {
            return judged;
        }
        // An element refutes it if it does so alone, and nothing would not.
        let none = Lists::default();
        if self.decide(&none) != Ok(true) {
            return judged;
        }
        let alone = |only: Lists<'_>| self.decide(&only) == Ok(false);
        for connection in all.connections.iter().filter(|one| alone(Lists { connections: vec![**one], ..none.clone() }))
        {
            judged.connections.push(connection.id);
        }
        for call in all.calls.iter().filter(|one| alone(Lists { calls: vec![**one], ..none.clone() })) {
            judged.because.push(call.0.id);
        }
        for finding in all.findings.iter().filter(|one| alone(Lists { findings: vec![(*one).clone()], ..none.clone() }))
        {
            judged.because.extend(&finding.events);
            judged.connections.extend(finding.connection);
        }
        judged.because.sort_unstable();
        judged.because.dedup();
        judged.connections.sort_unstable();
        judged.connections.dedup();
        judged
    }

    fn decide(&self, lists: &Lists<'_>) -> Result<bool, String> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(lists);
        match cel::Value::resolve_val(&self.condition, &context) {
            Ok(answer) => match answer.downcast_ref::<CelBool>() {
                Some(truth) => Ok(*truth.inner()),
                None => Err("it is neither true nor false".to_owned()),
            },
            Err(error) => Err(super::last_line(&error)),
        }
    }
}

/// What an assertion speaks of.
#[derive(Clone, Default)]
struct Lists<'a> {
    connections: Vec<&'a Connection>,
    calls: Vec<Called<'a>>,
    findings: Vec<Found>,
}

/// A call, with the pid and the name of whose it is.
type Called<'a> = (&'a Event, &'a CallEvent, Option<(u32, &'a str)>);

/// A finding of a segment, or a diagnosis.
#[derive(Clone)]
struct Found {
    name: &'static str,
    weight: Option<&'static str>,
    connection: Option<ConnectionId>,
    side: Option<Side>,
    note: String,
    events: Vec<EventId>,
}

impl<'a> Lists<'a> {
    fn of(story: &'a Story) -> Self {
        let calls = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Call(call) => {
                let thread = story.threads.get(call.call.thread());
                Some((event, &**call, thread.map(|(thread, process)| (process.pid, &*thread.comm))))
            }
            _ => None,
        });
        let frames: HashMap<u64, EventId> = story
            .events
            .iter()
            .filter_map(|event| match &event.kind {
                EventKind::Segment(segment) => Some((segment.segment.frame, event.id)),
                _ => None,
            })
            .collect();
        let listed = story.connections.iter().flat_map(|connection| {
            connection.findings.iter().map(|finding| Found {
                name: finding.finding.name(),
                weight: None,
                connection: Some(connection.id),
                side: Some(finding.side),
                note: English.finding(finding).into_owned(),
                events: finding.frame.and_then(|frame| frames.get(&frame)).copied().into_iter().collect(),
            })
        });
        let diagnosed = story.diagnoses().into_iter().map(|diagnosis| Found {
            name: diagnosis.what.name(),
            weight: Some(diagnosis.what.weight().name()),
            connection: diagnosis.connection,
            side: diagnosis.side,
            note: English.mistake(&diagnosis.what).into_owned(),
            events: diagnosis.events,
        });
        Self {
            connections: story.connections.iter().collect(),
            calls: calls.collect(),
            findings: listed.chain(diagnosed).collect(),
        }
    }
}

impl VariableResolver for Lists<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        let list: Vec<Box<dyn Val + 'b>> = match variable {
            "connections" => self.connections.iter().map(|connection| of_connection(connection)).collect(),
            "calls" => self.calls.iter().map(|(event, call, made_by)| of_call(event, call, *made_by)).collect(),
            "findings" => self.findings.iter().map(of_finding).collect(),
            _ => return None,
        };
        Some(CowVal::owned(CelList::from(list)))
    }
}

type Parts<'a> = HashMap<CelMapKey<'a>, Box<dyn Val + 'a>>;

/// A connection as a map, with the parts of names such as `client_to_server.octets` as maps of their own.
fn of_connection(connection: &Connection) -> Box<dyn Val + '_> {
    let mut parts: Parts<'_> = HashMap::new();
    let mut inner: HashMap<&'static str, Parts<'_>> = HashMap::new();
    for field in Field::all() {
        let value = converted(field.of(connection)).into_owned();
        match field.name.split_once('.') {
            // No name has more than one dot.
            Some((first, rest)) => _ = inner.entry(first).or_default().insert(rest.into(), value),
            None => _ = parts.insert(field.name.into(), value),
        }
    }
    for (name, inner) in inner {
        parts.insert(name.into(), Box::new(CelMap::from(inner)));
    }
    Box::new(CelMap::from(parts))
}

fn of_call<'a>(event: &Event, call: &'a CallEvent, made_by: Option<(u32, &'a str)>) -> Box<dyn Val + 'a> {
    let number =
        |number: Option<i64>| number.map_or_else(null, |number| Box::new(CelInt::from(number)) as Box<dyn Val>);
    let errno = call.call.errno().map(|errno| errno.to_string());
    let parts: Parts<'a> = HashMap::from([
        ("id".into(), number(i64::try_from(event.id.0).ok())),
        ("name".into(), text(Some(call.call.name().to_owned()))),
        ("effect".into(), text(Some(call.call.effect().name().to_owned()))),
        ("connection".into(), number(event.connection.and_then(|id| i64::try_from(id.0).ok()))),
        ("side".into(), text(call.side.map(|side| side.name().to_owned()))),
        ("pid".into(), number(made_by.map(|(pid, _)| pid.into()))),
        ("comm".into(), text(made_by.map(|(_, comm)| comm.to_owned()))),
        ("fd".into(), number(call.call.fd().map(i64::from))),
        ("result".into(), number(call.call.result())),
        ("errno".into(), text(errno)),
        ("octets".into(), number(call.call.octets().and_then(|octets| i64::try_from(octets).ok()))),
        ("completed".into(), Box::new(CelBool::from(call.call.returned.is_some()))),
    ]);
    Box::new(CelMap::from(parts))
}

fn of_finding(finding: &Found) -> Box<dyn Val + '_> {
    let connection = finding.connection.and_then(|id| i64::try_from(id.0).ok());
    let parts: Parts<'_> = HashMap::from([
        ("name".into(), text(Some(finding.name.to_owned()))),
        ("weight".into(), text(finding.weight.map(str::to_owned))),
        ("connection".into(), connection.map_or_else(null, |id| Box::new(CelInt::from(id)) as Box<dyn Val>)),
        ("side".into(), text(finding.side.map(|side| side.name().to_owned()))),
        ("note".into(), text(Some(finding.note.clone()))),
    ]);
    Box::new(CelMap::from(parts))
}

fn null<'a>() -> Box<dyn Val + 'a> {
    Box::new(CelNull)
}

fn text<'a>(text: Option<String>) -> Box<dyn Val + 'a> {
    text.map_or_else(null, |text| Box::new(CelString::from(text)))
}
