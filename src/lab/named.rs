//! What a scenario names must be there: findings, causes and endings that there are, actors that its script has, values that it gives.

use std::ops::Range;

use crate::flow::Ending;
use crate::report;
use crate::script::{Actor, Condition, Expected, On, Request, What, When, Which};
use crate::story::Mechanism;
use crate::tcp::Finding;

/// What names nothing: what is wrong, and the way out.
pub(super) struct Unknown {
    pub(super) what: String,
    pub(super) help: String,
}

impl Unknown {
    /// An expectation whose name is none: it could never hold, or never fail.
    pub(super) fn in_expected(expected: &Expected) -> Option<Self> {
        let (name, kind, known): (&String, _, Vec<&str>) = match expected {
            Expected::Finding(name) | Expected::NoFinding(name) => {
                (name, "finding", Finding::ALL.iter().map(|finding| finding.name()).collect())
            }
            Expected::Cause(name) => (name, "cause", Mechanism::ALL.iter().map(|cause| cause.name()).collect()),
            Expected::Ending(name) => (name, "ending", Ending::ALL.iter().map(|ending| ending.name()).collect()),
            _ => return None,
        };
        if known.contains(&name.as_str()) {
            return None;
        }
        let like = report::nearest(name, known.iter().copied());
        let like = like.map_or(String::new(), |like| format!("did you mean {like}? "));
        let help = format!("{like}the {kind}s are {}", known.join(", "));
        Some(Self { what: format!("`{name:.40}` is no {kind}"), help })
    }

    /// An actor who is named and has no line, among those that there are.
    pub(super) fn among(known: &[Actor], named: impl IntoIterator<Item = Actor>) -> Option<Self> {
        let unknown = named.into_iter().find(|actor| !known.contains(actor))?;
        let names: Vec<_> = known.iter().map(|actor| actor.to_string()).collect();
        let help =
            format!("who acts has a line of its own, as in `{unknown}: socket()`; here these do: {}", names.join(", "));
        Some(Self { what: format!("nobody is called {unknown}"), help })
    }

    /// A value that the script has as `$name` and nobody gave, with its place in `text`.
    pub(super) fn in_values<'a>(
        text: &str,
        known: impl Iterator<Item = &'a str> + Clone,
    ) -> Option<(Range<usize>, Self)> {
        for (at, _) in text.match_indices('$') {
            let rest = &text[at + 1..];
            let len = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
            // $size1 is $size with a 1, where there is no $size1.
            if !known.clone().any(|name| rest.starts_with(name)) {
                let name = &rest[..len];
                let help = format!("give it in the table [values], as in `{name} = 10`");
                return Some((at..at + 1 + len, Self { what: format!("no value is called {name:.40}"), help }));
            }
        }
        None
    }
}

/// Whom the condition and the deed of a line name besides who performs it.
pub(super) fn actors_of(when: &When, what: &What) -> Vec<Actor> {
    let mut actors = Vec::new();
    if let When::After(condition) = when {
        match condition {
            Condition::Waits(actor, _) | Condition::Returned(actor, _) | Condition::Is(actor, _) => actors.push(*actor),
            Condition::Passed(which) => actors.extend(ends(which)),
            Condition::Seen(which, actor) => actors.extend(ends(which).into_iter().chain([*actor])),
            Condition::Elapsed(_) => {}
        }
    }
    match what {
        What::Call(asked) => {
            actors.extend(asked.on.and_then(|on| if let On::Peer(actor) = on { Some(actor) } else { None }));
            if let Request::Connect(Some(to)) = &asked.request {
                actors.push(*to);
            }
        }
        What::Link(_, which) | What::Repeat(which) => actors.extend(ends(which)),
        What::Forge(forged) => actors.extend([forged.from, forged.to]),
        What::Flood { to, .. } => actors.push(*to),
        What::Expect(expected) => actors.extend(actors_expected(expected)),
        What::Address(..) | What::Segment(_) | What::Cable(_) | What::Answer(..) => {}
    }
    actors
}

/// Whom an expectation names.
pub(super) fn actors_expected(expected: &Expected) -> Vec<Actor> {
    match expected {
        Expected::State(actor, _)
        | Expected::Through(actor, _)
        | Expected::Congestion(actor, _)
        | Expected::Counted(actor, _) => vec![*actor],
        Expected::Count { which, .. } => ends(which).into(),
        Expected::Finding(_) | Expected::NoFinding(_) | Expected::Cause(_) | Expected::Ending(_) => Vec::new(),
    }
}

fn ends(which: &Which) -> [Actor; 2] {
    [which.from, which.to]
}
