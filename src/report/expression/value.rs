//! What an expression is decided with: the values of a connection, and the functions that there are.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;

use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Env, ExecutionError};
use regex::{Regex, RegexBuilder};

use super::named::Named;
use crate::flow::{Connection, FindingAt};
use crate::report::field::{FindingField, Value};

/// The language's standard library, with a function `matches` that does not compile its pattern again for each connection.
pub(super) fn environment() -> Env {
    let mut env = Env::stdlib().with_optional_support(false);
    let added = cel::add_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>, id = "matches")
        .and_then(|()| cel::add_member_overload!(env, fn matches: (CelString, CelString) -> Result<CelBool>));
    debug_assert!(added.is_ok(), "the library has no function of that name, unless its feature for it is on");
    env
}

/// Whether a regular expression matches somewhere in a text.
fn matches(text: &CelString<'_>, pattern: &CelString<'_>) -> Result<CelBool, ExecutionError> {
    let build = |pattern: &str| {
        let mut builder = RegexBuilder::new(pattern);
        builder.size_limit(LARGEST_PATTERN).dfa_size_limit(LARGEST_PATTERN).build()
    };
    let compiled = |pattern: &str| match build(pattern) {
        Ok(compiled) => Ok(compiled),
        Err(regex::Error::CompiledTooBig(_)) => {
            Err(format!("a pattern that takes more than {} MiB: write fewer repetitions", LARGEST_PATTERN >> 20))
        }
        // The other lines of the error draw where in the pattern it is.
        Err(error) => Err(error.to_string().lines().last().unwrap_or_default().to_owned()),
    };
    COMPILED.with_borrow_mut(|known| {
        let at = known.iter().position(|(known, _)| known == pattern.inner());
        let at = at.unwrap_or_else(|| {
            known.truncate(MOST_PATTERNS - 1);
            known.insert(0, (pattern.inner().to_owned(), compiled(pattern.inner())));
            0
        });
        match &known[at].1 {
            Ok(compiled) => Ok(CelBool::from(compiled.is_match(text.inner()))),
            Err(error) => Err(ExecutionError::function_error("matches", error)),
        }
    })
}

thread_local! {
    /// The patterns that were compiled last; most expressions have one.
    pub(super) static COMPILED: RefCell<Vec<(String, Result<Regex, String>)>> = const { RefCell::new(Vec::new()) };
}

/// What an expression names, of one connection.
pub(super) struct Known<'a> {
    pub(super) connection: &'a Connection,
    pub(super) named: &'a Named,
}

impl VariableResolver for Known<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(field) = self.named.fields.iter().find(|field| field.name == variable) {
            return Some(converted(field.of(self.connection)));
        }
        if self.named.findings && variable == "findings" {
            let findings =
                self.connection.findings.iter().map(|listed| finding(self.connection, listed)).collect::<Vec<_>>();
            return Some(CowVal::owned(CelList::from(findings)));
        }
        None
    }
}

/// A field's value in the language.
pub(super) fn converted<'a>(value: Value<'a>) -> CowVal<'a, 'a> {
    match value {
        Value::Null => CowVal::owned(CelNull),
        Value::Truth(truth) => CowVal::owned(CelBool::from(truth)),
        Value::Number(number) => CowVal::owned(CelInt::from(number)),
        Value::Moment(at) => {
            let moment = chrono::DateTime::from_timestamp_nanos(at.as_nanos());
            CowVal::owned(CelTimestamp::from(moment.fixed_offset()))
        }
        Value::Text(Cow::Borrowed(text)) => CowVal::owned(CelString::from(text)),
        Value::Text(Cow::Owned(text)) => CowVal::owned(CelString::from(text)),
        Value::Address(address) => CowVal::owned(CelString::from(address.to_string())),
    }
}

fn finding<'a>(connection: &'a Connection, finding: &'a FindingAt) -> Box<dyn Val + 'a> {
    let parts: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = FindingField::own()
        .map(|field| (field.name.into(), converted(field.of(connection, finding)).into_owned()))
        .collect();
    Box::new(CelMap::from(parts))
}

/// How many patterns an expression has, all of which are kept compiled.
pub(super) const MOST_PATTERNS: usize = 16;

/// The octets of a compiled pattern, and of what it keeps while it matches.
const LARGEST_PATTERN: usize = 1 << 20;
