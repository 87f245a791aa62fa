//! A condition on a connection, written in the Common Expression Language (CEL) over the fields' names.

mod assertion;
mod named;
mod reader;
#[cfg(test)]
mod tests;
mod value;
mod wrong;

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, MapExpr, StructExpr};
use cel::common::types::CelBool;
use cel::{Context, Env, ExecutionError};

pub use self::assertion::{Assertion, Judged, KnownCalls};
use self::named::Named;
use self::reader::{Reader, Type};
use self::value::{Known, environment};
pub use self::wrong::Wrong;
use self::wrong::last_line;
use crate::flow::Connection;

/// A condition that was found sound: its fields exist, its comparisons compare like with like.
pub struct Expression {
    env: Arc<Env>,
    condition: IdedExpr,
    named: Named,
    undecided: Option<Undecided>,
    tried: u64,
    held: u64,
}

/// Connections for which an expression was neither true nor false, for another reason than that a field is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecided {
    /// How many.
    pub connections: u64,
    /// Why the first of them was.
    pub why: String,
}

impl Expression {
    /// Reads an expression and checks it against the fields that there are.
    ///
    /// Whatever is written, this neither panics nor takes more than a moment, and neither does deciding: length and depth
    /// are limited, and so is what macros such as `exists` may hold, which can make much of a short text.
    ///
    /// # Errors
    /// What is wrong, and where.
    pub fn parse(source: &str) -> Result<Self, Wrong> {
        let env = Arc::new(environment());
        let program = compiled(source, &env)?;
        let places = program.source_info();
        let mut reader =
            Reader { env: &env, places, named: Named::default(), scope: Vec::new(), loops: 0, patterns: Vec::new() };
        let mut condition = program.expression().clone();
        let kind = reader.read(&mut condition)?;
        if !matches!(kind, Type::Truth | Type::Any) {
            return Err(Wrong::whole(format!("this is {kind}, not a condition; compare it with something")));
        }
        let named = reader.named;
        Ok(Self { env, condition, named, undecided: None, tried: 0, held: 0 })
    }

    /// Whether `connection` is one of those described.
    ///
    /// What cannot be decided because a field is not known for it, is not; what cannot for another reason is counted, too.
    pub fn matches(&mut self, connection: &Connection) -> bool {
        let holds = self.holds(connection);
        self.tried += 1;
        self.held += u64::from(holds);
        holds
    }

    fn holds(&mut self, connection: &Connection) -> bool {
        if self.named.findings_again && connection.findings.len() > MOST_AGAIN {
            return self.cannot_decide(format!(
                "it goes through the findings again for each element of a list, and there are more than {MOST_AGAIN}"
            ));
        }
        self.decide(connection).unwrap_or_else(|why| self.cannot_decide(why))
    }

    fn decide(&self, connection: &Connection) -> Result<bool, String> {
        let known = Known { connection, named: &self.named };
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.set_variable_resolver(&known);
        match cel::Value::resolve_val(&self.condition, &context) {
            Ok(answer) => match answer.downcast_ref::<CelBool>() {
                Some(truth) => Ok(*truth.inner()),
                None => Err("it is neither true nor false".to_owned()),
            },
            Err(ExecutionError::NoSuchOverload(error)) if error.argument_types().iter().any(|kind| kind == NULL) => {
                Ok(false)
            }
            Err(
                ExecutionError::UnsupportedBinaryOperator(_, one, other)
                | ExecutionError::ValuesNotComparable(one, other),
            ) if [&one, &other].contains(&&cel::Value::Null) => Ok(false),
            Err(error) => Err(last_line(&error)),
        }
    }

    fn cannot_decide(&mut self, why: String) -> bool {
        self.undecided.get_or_insert(Undecided { connections: 0, why }).connections += 1;
        false
    }

    /// The name of a field that only a breakdown has, where it names one.
    pub fn of_breakdown(&self) -> Option<&'static str> {
        self.named.fields.iter().find(|field| field.is_of_breakdown()).map(|field| field.name)
    }

    /// Whether it names a field that octets which conflict may change.
    pub fn is_of_octets(&self) -> bool {
        self.named.findings || self.named.fields.iter().any(|field| field.is_of_octets())
    }

    /// How many connections it was tried on, where it held for none of them.
    pub fn in_vain(&self) -> Option<u64> {
        (self.tried > 0 && self.held == 0).then_some(self.tried)
    }

    /// For how many connections it could not be decided, and why not.
    pub fn undecided(&self) -> Option<&Undecided> {
        self.undecided.as_ref()
    }
}

impl fmt::Debug for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields: Vec<_> = self.named.fields.iter().map(|field| field.name).collect();
        f.debug_struct("Expression").field("fields", &fields).finish_non_exhaustive()
    }
}

/// Reads an expression that is neither longer nor deeper than what is decided in a moment.
fn compiled(source: &str, env: &Arc<Env>) -> Result<cel::Program, Wrong> {
    if source.trim().is_empty() {
        return Err(Wrong::whole("empty; write a condition such as ending == \"reset\""));
    }
    if source.len() > LONGEST {
        return Err(Wrong::whole(format!("longer than {LONGEST} octets")));
    }
    if brackets(source) > DEEPEST_BRACKETS {
        return Err(Wrong::whole(format!("more than {DEEPEST_BRACKETS} brackets in one another")));
    }
    // The library's parser goes as deep as a chain of these is long, and would overflow the stack.
    if source.matches(|c| ".[({+-*/%<>=!?".contains(c)).count() > MOST_OPERATORS {
        return Err(Wrong::whole(format!("more than {MOST_OPERATORS} operators and brackets")));
    }
    let program = env.compile(source).map_err(|errors| Wrong::of_syntax(source, &errors))?;
    if depth(program.expression()) > DEEPEST {
        return Err(Wrong::whole(format!("nested more than {DEEPEST} deep, or as long a chain of one operator")));
    }
    Ok(program)
}

/// How many brackets are open at once, at most; one in a text counts, too.
fn brackets(source: &str) -> usize {
    let (mut open, mut most) = (0_usize, 0);
    for c in source.chars() {
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open = open.saturating_sub(1),
            _ => {}
        }
        most = most.max(open);
    }
    most
}

/// How deep an expression is; without recursion, for it may be too deep for that.
fn depth(expr: &IdedExpr) -> usize {
    let mut deepest = 0;
    let mut left = vec![(expr, 1)];
    while let Some((expr, depth)) = left.pop() {
        deepest = deepest.max(depth);
        let mut add = |part| left.push((part, depth + 1));
        match &expr.expr {
            Expr::Call(call) => call.target.as_deref().into_iter().chain(&call.args).for_each(add),
            Expr::Select(select) => add(&select.operand),
            Expr::List(list) => list.elements.iter().for_each(add),
            Expr::Comprehension(of) => {
                [&of.iter_range, &of.accu_init, &of.loop_cond, &of.loop_step, &of.result].into_iter().for_each(add);
            }
            Expr::Map(MapExpr { entries }) | Expr::Struct(StructExpr { entries, .. }) => {
                for entry in entries {
                    match &entry.expr {
                        EntryExpr::MapEntry(entry) => [&entry.key, &entry.value].into_iter().for_each(&mut add),
                        EntryExpr::StructField(field) => add(&field.value),
                    }
                }
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => {}
        }
    }
    deepest
}

/// The longest expression, in octets; far more than anybody writes, and what the parser reads in a moment.
const LONGEST: usize = 4000;

/// The most of what can make a chain; a stack of 4 MB carries more than twice as many.
const MOST_OPERATORS: usize = 300;

/// The most brackets in one another; a stack of 4 MB carries more than that.
const DEEPEST_BRACKETS: usize = 16;

/// The most findings that are gone through once for each element of a list.
const MOST_AGAIN: usize = 1000;

/// The deepest that is decided for each connection; a stack of 4 MB carries more than that.
const DEEPEST: usize = 40;

/// How the library calls the type of null.
const NULL: &str = "null_type";
