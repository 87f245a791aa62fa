//! A condition on a connection, written in the Common Expression Language (CEL) over the fields' names.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, MapExpr, SelectExpr, SourceInfo, StructExpr,
};
use cel::common::types::{CelBool, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelTimestamp};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use cel::{Context, Env, ExecutionError};
use regex::{Regex, RegexBuilder};

use super::field::{Field, Kind, Value};
use crate::flow::{Connection, FindingAt};
use crate::tcp::Finding;

/// A condition that was found sound: its fields exist, its comparisons compare like with like.
pub struct Expression {
    env: Arc<Env>,
    condition: IdedExpr,
    named: Named,
    undecided: Option<Undecided>,
    tried: u64,
    held: u64,
}

/// What is wrong with an expression, and where.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wrong {
    /// The column, from 1, in characters; `None` where the whole is wrong.
    pub column: Option<usize>,
    /// What is wrong and the way out, in one line.
    pub message: String,
}

/// Connections for which an expression was neither true nor false, for another reason than that a field is not known.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Undecided {
    /// How many.
    pub connections: u64,
    /// Why the first of them was.
    pub why: String,
}

/// What an expression names, so that only this is converted.
#[derive(Default)]
struct Named {
    fields: Vec<&'static Field>,
    findings: bool,
    /// Whether a macro goes through the findings, or names them, once for each element of a list.
    findings_again: bool,
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
        let env = Arc::new(environment());
        let program = env.compile(source).map_err(|errors| Wrong::of_syntax(source, &errors))?;
        if depth(program.expression()) > DEEPEST {
            return Err(Wrong::whole(format!("nested more than {DEEPEST} deep, or as long a chain of one operator")));
        }
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

impl Wrong {
    fn whole(message: impl Into<String>) -> Self {
        Self { column: None, message: message.into() }
    }

    /// The first error of the parser, whose own words can go on for lines about every token that would do.
    fn of_syntax(source: &str, errors: &cel::ParseErrors) -> Self {
        let Some(first) = errors.errors.first() else { return Self::whole("not an expression") };
        let (line, column) = (first.pos.0.max(1) as usize - 1, first.pos.1.max(1) as usize - 1);
        let before: usize = source.split('\n').take(line).map(|line| line.chars().count() + 1).sum();
        let at = before + column;
        let rest: String = source.chars().skip(at).take(12).collect();
        let message = match () {
            () if first.msg.contains("invalid argument to has") || first.msg.contains("has()") => {
                "has() takes a field after a dot; to ask whether a field is known write `FIELD != null`, \
                 whether there are findings `size(findings) > 0`"
                    .to_owned()
            }
            () if first.msg.contains("ecursion limit") => "nested too deeply".to_owned(),
            () if rest.trim().is_empty() => "it ends here, and something is missing".to_owned(),
            () if rest.starts_with('=') => "write == to compare".to_owned(),
            () => match rest.split_whitespace().next().unwrap_or_default() {
                word @ ("and" | "or" | "not" | "&" | "|") => {
                    let sign = match word {
                        "and" | "&" => "&&",
                        "or" | "|" => "||",
                        _ => "!",
                    };
                    format!("write {sign} for `{word}`")
                }
                word => format!("`{word}` cannot stand here"),
            },
        };
        Self { column: Some(at + 1), message }
    }
}

/// `column 12: what is wrong`.
impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.column {
            Some(column) => write!(f, "column {column}: {}", self.message),
            None => f.write_str(&self.message),
        }
    }
}

/// What is known of an expression's value before there is a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Type {
    Truth,
    Number,
    Fraction,
    Moment,
    Duration,
    Text,
    Word(&'static [&'static str]),
    Findings,
    Finding,
    List,
    Null,
    Any,
}

impl Type {
    /// Whether it takes the same few octets, whatever is added to it.
    fn is_amount(self) -> bool {
        matches!(self, Self::Number | Self::Fraction | Self::Moment | Self::Duration)
    }

    /// Whether the two can be equal.
    fn compares_with(self, other: Self) -> bool {
        use Type::{Any, Fraction, Null, Number, Text, Word};
        match (self, other) {
            (Any | Null, _) | (_, Any | Null) => true,
            (Number | Fraction, Number | Fraction) | (Text | Word(_), Text | Word(_)) => true,
            (one, other) => one == other,
        }
    }
}

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Truth => "true or false",
            Self::Number | Self::Fraction => "a number",
            Self::Moment => "a moment",
            Self::Duration => "a duration",
            Self::Text | Self::Word(_) => "text",
            Self::Findings | Self::List => "a list",
            Self::Finding => "a finding",
            Self::Null => "null",
            Self::Any => "a value",
        })
    }
}

impl From<Kind> for Type {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Truth => Self::Truth,
            Kind::Number => Self::Number,
            Kind::Moment => Self::Moment,
            Kind::Text => Self::Text,
            Kind::Word(words) => Self::Word(words),
        }
    }
}

/// Reads an expression once: checks it, and gives each field's path one name.
struct Reader<'a> {
    env: &'a Arc<Env>,
    places: &'a SourceInfo,
    named: Named,
    /// Variables that a macro such as `exists` brings, innermost last.
    scope: Vec<(String, Type)>,
    /// How many macros this is in, in what they do with each element.
    loops: usize,
    /// The regular expressions, each once.
    patterns: Vec<String>,
}

impl Reader<'_> {
    fn read(&mut self, expr: &mut IdedExpr) -> Result<Type, Wrong> {
        if let Some((path, root)) = path(expr)
            && !self.scope.iter().any(|(name, _)| path.split('.').next() == Some(name))
        {
            let kind = self.field(&path, root)?;
            expr.expr = Expr::Ident(path);
            return Ok(kind);
        }
        let id = expr.id;
        match &mut expr.expr {
            Expr::Literal(literal) => Ok(match literal {
                LiteralValue::Boolean(_) => Type::Truth,
                LiteralValue::Int(_) | LiteralValue::UInt(_) => Type::Number,
                LiteralValue::Double(_) => Type::Fraction,
                LiteralValue::String(_) => Type::Text,
                LiteralValue::Null => Type::Null,
                LiteralValue::Bytes(_) => Type::Any,
            }),
            Expr::Ident(name) => {
                let found = self.scope.iter().rev().find(|(variable, _)| variable == name);
                Ok(found.map_or(Type::Any, |(_, kind)| *kind))
            }
            Expr::Select(select) if select.test => self.presence(expr),
            Expr::Select(select) => {
                let of = self.read(&mut select.operand)?;
                self.part(of, &select.field, id)
            }
            Expr::Call(call) => self.call(call, id),
            Expr::List(list) => {
                if self.loops > 0 && list.elements.len() > LONGEST_LIST {
                    return Err(self.wrong(id, format!("in a macro a list has at most {LONGEST_LIST} elements")));
                }
                for element in &mut list.elements {
                    self.read(element)?;
                }
                Ok(Type::List)
            }
            Expr::Map(map) => {
                for entry in &mut map.entries {
                    if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                        self.read(&mut entry.key)?;
                        self.read(&mut entry.value)?;
                    }
                }
                Ok(Type::Any)
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension, id),
            Expr::Struct(message) => Err(self.wrong(id, format!("there is no message type `{}`", message.type_name))),
            Expr::Unspecified => Err(self.wrong(id, "not an expression")),
        }
    }

    /// A field by its path; `root` is where the path begins.
    fn field(&mut self, path: &str, root: u64) -> Result<Type, Wrong> {
        if path == "findings" {
            self.named.findings = true;
            self.named.findings_again |= self.loops > 0;
            return Ok(Type::Findings);
        }
        if let Some(field) = Field::named(path) {
            if !self.named.fields.iter().any(|known| known.name == field.name) {
                self.named.fields.push(field);
            }
            return Ok(field.kind.into());
        }
        if TYPES.contains(&path) {
            return Ok(Type::Any);
        }
        let way_out = match Field::like(path) {
            _ if Field::is_group(path) => {
                let mut parts = Field::all().filter_map(|field| field.name.strip_prefix(path)?.strip_prefix('.'));
                let first: Vec<_> = parts.by_ref().take(2).map(|part| format!("{path}.{part}")).collect();
                let more = if parts.next().is_some() { ", …" } else { "" };
                return Err(self.wrong(root, format!("`{path}` has parts: write {}{more}", first.join(", "))));
            }
            _ if path.starts_with("findings.") => {
                "ask its elements: findings.exists(f, f.name == \"retransmission\")".to_owned()
            }
            Some(like) => format!("did you mean `{like}`?"),
            None if path == "type" => "only connections are asked, so leave it out".to_owned(),
            None if WORDS.iter().any(|words| words.contains(&path)) => format!("as text it is \"{path}\""),
            None => "the `connection` line of --format jsonl shows them all".to_owned(),
        };
        Err(self.wrong(root, format!("no field is named `{path}`; {way_out}")))
    }

    /// `has(x.y)`: whether y is known.
    fn presence(&mut self, expr: &mut IdedExpr) -> Result<Type, Wrong> {
        let Expr::Select(select) = &mut expr.expr else { return Ok(Type::Any) };
        let asked = SelectExpr { test: false, ..std::mem::take(select) };
        let mut operand = IdedExpr { id: expr.id, expr: Expr::Select(asked) };
        self.read(&mut operand)?;
        let null = IdedExpr { id: expr.id, expr: Expr::Literal(LiteralValue::Null) };
        expr.expr = Expr::Call(CallExpr { func_name: "_!=_".to_owned(), target: None, args: vec![operand, null] });
        Ok(Type::Truth)
    }

    /// A part of something that is no field: of a finding, in `exists` and its like.
    fn part(&self, of: Type, part: &str, id: u64) -> Result<Type, Wrong> {
        match (of, part) {
            (Type::Finding, "name") => Ok(Type::Word(FINDINGS)),
            (Type::Finding, "frame") => Ok(Type::Number),
            (Type::Finding, "side") => Ok(Type::Word(SIDES)),
            (Type::Finding, "note") => Ok(Type::Text),
            (Type::Finding, _) => {
                Err(self.wrong(id, format!("a finding has no `{part}`; it has name, frame, side and note")))
            }
            (Type::Any, _) => Ok(Type::Any),
            (of, _) => Err(self.wrong(id, format!("{of} has no `{part}`"))),
        }
    }

    fn call(&mut self, call: &mut CallExpr, id: u64) -> Result<Type, Wrong> {
        let target = match &mut call.target {
            Some(target) => Some(self.read(target)?),
            None => None,
        };
        let mut kinds = Vec::with_capacity(call.args.len());
        for arg in &mut call.args {
            kinds.push(self.read(arg)?);
        }
        if let ("matches", Some(pattern)) = (&*call.func_name, call.args.last()) {
            self.pattern(pattern)?;
        }
        let is_function = FUNCTIONS.contains(&&*call.func_name);
        if let Some(mistake) = is_function.then(|| self.mistake(call)).flatten() {
            return Err(self.wrong(id, mistake));
        }
        match (&*call.func_name, &kinds[..]) {
            ("_==_" | "_!=_" | "_<_" | "_<=_" | "_>_" | "_>=_", [one, other]) => {
                if !one.compares_with(*other) {
                    return Err(self.wrong(id, format!("{one} is compared with {other}")));
                }
                self.words(*one, &call.args[1])?;
                self.words(*other, &call.args[0])?;
                Ok(Type::Truth)
            }
            ("@in", [one, _]) => {
                if let Expr::List(list) = &call.args[1].expr {
                    for element in &list.elements {
                        self.words(*one, element)?;
                    }
                }
                Ok(Type::Truth)
            }
            ("_&&_" | "_||_" | "!_", sides) => {
                match sides.iter().zip(&call.args).find(|(kind, _)| !matches!(kind, Type::Truth | Type::Any)) {
                    None => Ok(Type::Truth),
                    Some((kind, arg)) => {
                        Err(self.wrong(arg.id, format!("this is {kind}, not a condition; compare it with something")))
                    }
                }
            }
            ("_?_:_", [_, one, other]) => Ok(if one == other { *one } else { Type::Any }),
            ("_+_" | "_-_" | "_*_" | "_/_" | "_%_", [Type::Number, Type::Number]) => Ok(Type::Number),
            // Text and lists could double with each of many macros in a chain.
            ("_+_", [one, other]) if self.loops > 0 && !one.is_amount() && !other.is_amount() => Err(self
                .wrong(id, "in a macro + adds numbers; write int(…) or double(…) around one that is not known to be")),
            ("-_", [kind]) => Ok(*kind),
            (name, _) if name.starts_with(['_', '-', '@']) => Ok(Type::Any),
            (name, _) if !FUNCTIONS.contains(&name) => {
                Err(self.wrong(id, format!("there is no function `{name}`; there are {}", FUNCTIONS.join(", "))))
            }
            ("contains" | "startsWith" | "endsWith" | "matches", _) => match target.or(kinds.first().copied()) {
                Some(Type::Text | Type::Word(_) | Type::Any) => Ok(Type::Truth),
                Some(kind) => Err(self.wrong(id, format!("{} is for text, and this is {kind}", call.func_name))),
                None => Ok(Type::Any),
            },
            ("size" | "int" | "uint", _) => Ok(Type::Number),
            ("double", _) => Ok(Type::Fraction),
            ("string", _) => Ok(Type::Text),
            ("timestamp", _) => Ok(Type::Moment),
            ("duration", _) => Ok(Type::Duration),
            _ => Ok(Type::Any),
        }
    }

    /// That a regular expression is written out, and is not one too many to be kept compiled.
    fn pattern(&mut self, pattern: &IdedExpr) -> Result<(), Wrong> {
        let Expr::Literal(LiteralValue::String(text)) = &pattern.expr else {
            let way_out = "matches takes a pattern written out in quotes; for other text there is contains";
            return Err(self.wrong(pattern.id, way_out));
        };
        if self.patterns.iter().any(|known| known == text.inner()) {
            return Ok(());
        }
        if self.patterns.len() == MOST_PATTERNS {
            let way_out = "join some of them as one, such as matches(\"one|other\")";
            return Err(self.wrong(pattern.id, format!("more than {MOST_PATTERNS} patterns; {way_out}")));
        }
        self.patterns.push(text.inner().to_owned());
        Ok(())
    }

    /// Why a function cannot take what is written out for it, such as a regular expression or a moment; it would fail for every connection.
    fn mistake(&self, call: &CallExpr) -> Option<String> {
        let mut asked = call.clone();
        if let ("matches", Some(target)) = (&*asked.func_name, &mut asked.target) {
            // Whatever the text is that it is matched with.
            target.expr = Expr::Literal(LiteralValue::String(CelString::from("")));
        }
        let literal = |part: &IdedExpr| matches!(part.expr, Expr::Literal(_));
        if !asked.target.as_deref().into_iter().chain(&asked.args).all(literal) {
            return None;
        }
        let asked = IdedExpr { id: 0, expr: Expr::Call(asked) };
        let context = Context::with_env(Arc::clone(self.env));
        cel::Value::resolve_val(&asked, &context).err().map(|error| last_line(&error))
    }

    /// That a literal is one of the words that the other side can be: else the condition could never hold.
    fn words(&self, kind: Type, literal: &IdedExpr) -> Result<(), Wrong> {
        let Type::Word(words) = kind else { return Ok(()) };
        let Expr::Literal(LiteralValue::String(text)) = &literal.expr else { return Ok(()) };
        let text = text.inner();
        if words.contains(&text) {
            return Ok(());
        }
        let closest = words.iter().min_by_key(|word| strsim::damerau_levenshtein(word, text));
        let few = words.len() <= 6;
        let way_out = match closest {
            Some(closest) if !few => format!("did you mean \"{closest}\"?"),
            _ => format!("it is one of {}", words.join(", ")),
        };
        Err(self.wrong(literal.id, format!("it is never \"{text}\"; {way_out}")))
    }

    fn comprehension(&mut self, of: &mut ComprehensionExpr, id: u64) -> Result<Type, Wrong> {
        if self.loops == MOST_LOOPS {
            return Err(self.wrong(id, format!("more than {MOST_LOOPS} of exists, all, filter and map in one another")));
        }
        if let Expr::List(list) = &of.iter_range.expr
            && list.elements.len() > LONGEST_LIST
        {
            return Err(self.wrong(id, format!("in a macro a list has at most {LONGEST_LIST} elements")));
        }
        let element = match self.read(&mut of.iter_range)? {
            Type::Findings => Type::Finding,
            _ => Type::Any,
        };
        let result = self.read(&mut of.accu_init)?;
        self.loops += 1;
        let depth = self.scope.len();
        self.scope.push((of.accu_var.clone(), Type::Any));
        let elements = std::iter::once(&of.iter_var).chain(&of.iter_var2).map(|variable| (variable.clone(), element));
        self.scope.extend(elements);
        self.read(&mut of.loop_cond)?;
        self.step(of)?;
        self.loops -= 1;
        self.scope.truncate(depth + 1);
        self.read(&mut of.result)?;
        self.scope.truncate(depth);
        Ok(match result {
            Type::Truth => Type::Truth,
            Type::List => Type::List,
            _ => Type::Any,
        })
    }

    /// What a macro does with each element; that of `map` and `filter` is `@result + […]`, perhaps under a condition.
    fn step(&mut self, of: &mut ComprehensionExpr) -> Result<(), Wrong> {
        let is_result = |expr: &IdedExpr| matches!(&expr.expr, Expr::Ident(name) if *name == of.accu_var);
        let mut step = &mut of.loop_step;
        if let Expr::Call(call) = &step.expr
            && let ("_?_:_", [_, _, otherwise]) = (&*call.func_name, &call.args[..])
            && is_result(otherwise)
        {
            let Expr::Call(call) = &mut step.expr else { return Ok(()) };
            self.read(&mut call.args[0])?;
            step = &mut call.args[1];
        }
        match &mut step.expr {
            Expr::Call(call) if call.func_name == "_+_" && call.args.first().is_some_and(is_result) => {
                let Some(added) = call.args.get_mut(1) else { return Ok(()) };
                if let Expr::List(list) = &mut added.expr {
                    for element in &mut list.elements {
                        if let Some(id) = holds_list(element) {
                            return Err(self.wrong(id, "map makes a list of numbers, text and the like, not of lists"));
                        }
                        self.read(element)?;
                    }
                    return Ok(());
                }
                self.read(added).map(drop)
            }
            _ => self.read(step).map(drop),
        }
    }

    fn wrong(&self, id: u64, message: impl Into<String>) -> Wrong {
        let column = self.places.offset_for(id).map(|(start, _)| start as usize + 1);
        Wrong { column, message: message.into() }
    }
}

/// The end of an error, for the library's can have several lines of which the last one says what is wrong.
fn last_line(error: &ExecutionError) -> String {
    let told = error.to_string();
    if told.contains("'duration'") && told.contains("Parsing") {
        return "not a duration; write one as \"1.5s\", \"200ms\" or \"1h30m\"".to_owned();
    }
    told.lines().last().unwrap_or_default().trim().to_owned()
}

/// Where in what `map` makes of an element a list or a map is that it could hold: one that is only looked through is not.
fn holds_list(expr: &IdedExpr) -> Option<u64> {
    match &expr.expr {
        Expr::List(_) | Expr::Map(_) => Some(expr.id),
        Expr::Ident(name) if name == "findings" => Some(expr.id),
        Expr::Comprehension(of) => matches!(of.accu_init.expr, Expr::List(_)).then_some(expr.id),
        Expr::Call(call) if call.func_name == "_?_:_" => call.args.iter().skip(1).find_map(holds_list),
        Expr::Call(call) if call.func_name == "_[_]" || call.func_name == "dyn" => {
            call.target.as_deref().into_iter().chain(&call.args).find_map(holds_list)
        }
        _ => None,
    }
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

/// The language's standard library, with a function `matches` that does not compile its pattern again for each connection.
fn environment() -> Env {
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
    static COMPILED: RefCell<Vec<(String, Result<Regex, String>)>> = const { RefCell::new(Vec::new()) };
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

/// The dotted path that an expression spells, and the id of its first part.
fn path(expr: &IdedExpr) -> Option<(String, u64)> {
    match &expr.expr {
        Expr::Ident(name) => Some((name.clone(), expr.id)),
        Expr::Select(select) if !select.test => {
            let (mut path, root) = path(&select.operand)?;
            path.push('.');
            path.push_str(&select.field);
            Some((path, root))
        }
        _ => None,
    }
}

/// What an expression names, of one connection.
struct Known<'a> {
    connection: &'a Connection,
    named: &'a Named,
}

impl VariableResolver for Known<'_> {
    fn resolve<'b>(&'b self, variable: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(field) = self.named.fields.iter().find(|field| field.name == variable) {
            return Some(converted(field.of(self.connection)));
        }
        if self.named.findings && variable == "findings" {
            let findings = self.connection.findings.iter().map(finding).collect::<Vec<_>>();
            return Some(CowVal::owned(CelList::from(findings)));
        }
        None
    }
}

fn converted<'a>(value: Value<'a>) -> CowVal<'a, 'a> {
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

fn finding<'a>(finding: &'a FindingAt) -> Box<dyn Val + 'a> {
    let text = |text: &'a str| Box::new(CelString::from(text)) as Box<dyn Val + 'a>;
    let frame: Box<dyn Val + 'a> = match finding.frame {
        Some(frame) => Box::new(CelInt::from(i64::try_from(frame).unwrap_or(i64::MAX))),
        None => Box::new(CelNull),
    };
    let parts: HashMap<CelMapKey<'a>, Box<dyn Val + 'a>> = HashMap::from([
        ("name".into(), text(finding.finding.name())),
        ("frame".into(), frame),
        ("side".into(), text(finding.side.name())),
        ("note".into(), text(&finding.note)),
    ]);
    Box::new(CelMap::from(parts))
}

/// The longest expression, in octets; far more than anybody writes, and what the parser reads in a moment.
const LONGEST: usize = 4000;
/// The most of what can make a chain; a stack of 4 MB carries more than twice as many.
const MOST_OPERATORS: usize = 300;
/// The most brackets in one another; a stack of 4 MB carries more than that.
const DEEPEST_BRACKETS: usize = 16;
/// The most macros in one another, in what they do with each element: findings beside findings.
const MOST_LOOPS: usize = 2;
/// The longest list that is written out in a macro.
const LONGEST_LIST: usize = 100;
/// The most findings that are gone through once for each element of a list.
const MOST_AGAIN: usize = 1000;
/// The deepest that is decided for each connection; a stack of 4 MB carries more than that.
const DEEPEST: usize = 40;

/// How many patterns an expression has, all of which are kept compiled.
const MOST_PATTERNS: usize = 16;
/// The octets of a compiled pattern, and of what it keeps while it matches.
const LARGEST_PATTERN: usize = 1 << 20;

/// How the library calls the type of null.
const NULL: &str = "null_type";

/// Names that stand for types.
const TYPES: &[&str] =
    &["bool", "bytes", "double", "duration", "int", "list", "map", "null_type", "string", "timestamp", "uint"];

/// The functions of the language's standard library.
const FUNCTIONS: &[&str] = &[
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "int",
    "uint",
    "double",
    "string",
    "bool",
    "type",
    "dyn",
    "timestamp",
    "duration",
    "getFullYear",
    "getMonth",
    "getDayOfMonth",
    "getDayOfWeek",
    "getDayOfYear",
    "getDate",
    "getHours",
    "getMinutes",
    "getSeconds",
    "getMilliseconds",
];

const SIDES: &[&str] = &["client", "server"];

const FINDINGS: &[&str] = &{
    let mut names = [""; Finding::ALL.len()];
    let mut at = 0;
    while at < names.len() {
        names[at] = Finding::ALL[at].name();
        at += 1;
    }
    names
};

/// Words that somebody may have left without quotes.
const WORDS: &[&[&str]] = &[&["fin", "reset", "refused", "unanswered", "open"], SIDES, FINDINGS];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::flow::{Ending, Side};
    use crate::report::sample;
    use crate::time::Span;

    /// A refused connection with two findings, of 30 µs, to port 8888.
    fn connection() -> Connection {
        let mut connection = sample::echo().connections.remove(0);
        connection.ending = Ending::Reset;
        connection.initial_rtt = Some(Span(30_000));
        connection.server_to_client.mss = None;
        connection.server_to_client.rtt_min_ns = None;
        connection.findings = [(Finding::Retransmission, 7, Side::Client), (Finding::ZeroWindow, 9, Side::Server)]
            .map(|(finding, frame, side)| FindingAt { finding, frame: Some(frame), side, note: "it \"was\"".into() })
            .into();
        connection
    }

    fn holds(source: &str) -> bool {
        let mut expression = Expression::parse(source).unwrap_or_else(|wrong| panic!("{source}: {wrong}"));
        let answer = expression.matches(&connection());
        assert_eq!(expression.undecided(), None, "{source}");
        answer
    }

    fn wrong(source: &str) -> String {
        Expression::parse(source).map(|_| "sound".to_owned()).unwrap_or_else(|wrong| wrong.to_string())
    }

    #[test]
    fn conditions_hold_for_what_they_describe() {
        for (source, expected) in [
            (r#"ending == "reset" && server.port == 8888"#, true),
            (r#"ending == "reset" && server.port == 443"#, false),
            ("initial_rtt_ns == 30000", true),
            ("initial_rtt_ns > 30 * 1000", false),
            ("client_to_server.octets + server_to_client.octets == 20", true),
            ("double(initial_rtt_ns) / 1e9 < 0.1", true),
            (r#"ending in ["reset", "refused"]"#, true),
            (r#"client.addr.startsWith("127.")"#, true),
            (r#"verdict.matches("(?i)complete")"#, true),
            (r#"verdict.contains(ending)"#, false),
            (r#"matches(server.addr, "^127[.]")"#, true),
            (r#"history.contains("S")"#, true),
            ("midstream", false),
            ("!midstream", true),
            ("size(findings) == 2", true),
            (r#"findings.exists(f, f.name == "zero_window" && f.side == "server" && f.frame > 8)"#, true),
            (r#"findings.all(f, f.name == "zero_window")"#, false),
            (r#"findings.exists_one(f, f.note.contains("was") && f.frame == 7)"#, true),
            (r#"findings.filter(f, f.side == "client").size() == 1"#, true),
            (r#"first > timestamp("2020-01-01T00:00:00Z")"#, true),
            (r#"last - first < duration("1h")"#, true),
            (r#"last - first == duration(string(duration_ns) + "ns")"#, true),
            (r#"first.getFullYear() > 2000"#, true),
            ("duration_ns >= 0 ? true : false", true),
            ("client_to_server.retransmissions > 0 || server_to_client.retransmissions > 0", false),
        ] {
            assert_eq!(holds(source), expected, "{source}");
        }
    }

    #[test]
    fn what_is_not_known_does_not_match_and_can_be_asked() {
        assert!(!holds("server_to_client.mss > 1000"));
        assert!(!holds("server_to_client.mss <= 1000"));
        assert!(!holds("!(server_to_client.mss > 1000)"));
        assert!(!holds("server_to_client.mss + 1 > 1000"));
        assert!(holds("server_to_client.mss == null"));
        assert!(!holds("has(server_to_client.mss)"));
        assert!(holds("has(client_to_server.octets)"));
        assert!(holds("server_to_client.mss > 1000 || server.port == 8888"));
    }

    #[test]
    fn what_cannot_be_decided_is_counted() {
        let mut expression = Expression::parse("server.port / client_to_server.zero_windows > 1").unwrap();
        assert!(!expression.matches(&connection()) && !expression.matches(&connection()));
        let undecided = expression.undecided().unwrap();
        assert_eq!((undecided.connections, undecided.why.as_str()), (2, "Division by zero of Int(8888)"));
    }

    #[test]
    fn mistakes_are_told_with_their_place_and_the_way_out() {
        for (source, told) in [
            ("", "empty; write a condition such as ending == \"reset\""),
            ("sever.port == 443", "column 1: no field is named `sever.port`; did you mean `server.port`?"),
            (
                "midstream && octets > 5",
                "column 14: no field is named `octets`; did you mean `client_to_server.octets`?",
            ),
            ("ending == reset", "column 11: no field is named `reset`; as text it is \"reset\""),
            (
                "ending == \"rst\"",
                "column 11: it is never \"rst\"; it is one of fin, reset, refused, unanswered, half-closed, open",
            ),
            ("client_state == \"TIMEWAIT\"", "column 17: it is never \"TIMEWAIT\"; did you mean \"TIME-WAIT\"?"),
            ("server.port == \"443\"", "column 13: a number is compared with text"),
            ("server.port", "this is a number, not a condition; compare it with something"),
            ("midstream && server.port", "column 20: this is a number, not a condition; compare it with something"),
            ("client == \"a\"", "column 1: `client` has parts: write client.addr, client.port"),
            ("ending = \"fin\"", "column 8: write == to compare"),
            ("midstream and midstream", "column 11: write && for `and`"),
            ("server.port ==", "column 15: it ends here, and something is missing"),
            ("server.port == 1)", "column 17: `)` cannot stand here"),
            (
                "has(findings)",
                "column 5: has() takes a field after a dot; to ask whether a field is known write `FIELD != null`, \
                 whether there are findings `size(findings) > 0`",
            ),
            (
                "findings.exists(f, f.kind == \"x\")",
                "column 21: a finding has no `kind`; it has name, frame, side and note",
            ),
            (
                "findings.exists(f, f.name == \"retransmision\")",
                "column 30: it is never \"retransmision\"; did you mean \"retransmission\"?",
            ),
            ("verdict.matches(\"(\")", "column 16: Error executing function 'matches': error: unclosed group"),
            (
                "first > timestamp(\"yesterday\")",
                "column 18: Error executing function 'timestamp': premature end of input",
            ),
            (
                "first - last > duration(\"1x\")",
                "column 24: not a duration; write one as \"1.5s\", \"200ms\" or \"1h30m\"",
            ),
            (
                "type == \"connection\"",
                "column 1: no field is named `type`; only connections are asked, so leave it out",
            ),
            ("server.port.startsWith(\"4\")", "column 23: startsWith is for text, and this is a number"),
        ] {
            assert_eq!(wrong(source), told, "{source}");
        }
        assert!(
            wrong("lower(ending) == \"fin\"").starts_with("column 6: there is no function `lower`; there are size")
        );
        assert_eq!(wrong(&"(".repeat(17)), "more than 16 brackets in one another");
        assert_eq!(wrong(&"!".repeat(301)), "more than 300 operators and brackets");
        assert!(wrong(&("1".to_owned() + &"+1".repeat(60) + " > 1")).starts_with("nested more than 40 deep"));
        assert_eq!(wrong(&"!".repeat(5000)), "longer than 4000 octets");
    }

    #[test]
    fn patterns_are_written_out_few_and_small() {
        for pattern in ["ending", "ending + \"x\"", "string(id)", "[\"a\"][0]"] {
            let told = wrong(&format!("verdict.matches({pattern})"));
            assert!(told.ends_with("matches takes a pattern written out in quotes; for other text there is contains"));
            assert!(told.starts_with("column "), "{told}");
        }
        assert!(wrong("[\"a\"].exists(p, verdict.matches(p))").contains("written out"));
        assert!(wrong("matches(verdict, ending)").contains("written out"));
        let patterns = |count: usize| {
            let each: Vec<_> = (0..count).map(|number| format!("verdict.matches(\"x{number}\")")).collect();
            format!("{} || verdict.matches(\"x0\")", each.join(" || "))
        };
        assert!(!holds(&patterns(MOST_PATTERNS)));
        let told = wrong(&patterns(MOST_PATTERNS + 1));
        assert!(
            told.ends_with("more than 16 patterns; join some of them as one, such as matches(\"one|other\")"),
            "{told}"
        );
        COMPILED.with_borrow(|known| assert!(known.len() <= MOST_PATTERNS));
        assert!(wrong("verdict.matches(\"(?:a{1000}){1000}\")").contains("more than 1 MiB: write fewer repetitions"));
        let deep = format!("verdict.matches(\"{}\")", "(?:".repeat(DEEPEST_BRACKETS));
        assert!(wrong(&deep).contains("brackets in one another"), "those of a pattern count, too");
    }

    #[test]
    fn what_macros_make_of_a_short_text_is_limited() {
        let list = "[1,2,3,4,5,6,7,8,9,10]";
        let nested = |macros: usize| {
            format!("size({}1{}) > 0", format!("{list}.filter(a, 0 < size(").repeat(macros), "))".repeat(macros))
        };
        assert!(wrong(&nested(3).replace("size(1)", "1")).ends_with("in one another"), "{}", wrong(&nested(3)));
        assert!(
            wrong("findings.exists(a, findings.exists(b, findings.exists(c, true)))")
                .ends_with("more than 2 of exists, all, filter and map in one another")
        );
        assert!(holds("findings.exists(a, findings.exists(b, b.frame > a.frame && b.side != a.side))"));
        assert!(holds("findings.filter(f, f.frame > 1).map(f, f.frame).exists(x, x == 7)"));
        assert!(holds("findings.map(f, f.frame + 1).exists(x, x - 1 == 7)"));
        assert!(holds("findings.map(f, f.name in [\"keep_alive\", \"zero_window\"]).exists(x, x)"));
        assert!(holds("findings.exists_one(f, f.frame == 7) && [1, 2].all(x, x > 0)"));
        for lists in ["[1].map(a, [a, a])", "[1].map(a, {1: a})", "[1].map(a, true ? [a] : 1)", "[1].map(a, findings)"]
        {
            assert!(wrong(&format!("size({lists}) > 0")).ends_with("not of lists"), "{lists}: {}", wrong(lists));
        }
        assert!(wrong(&format!("size([1].map(a, {list}.map(b, b))) > 0")).ends_with("not of lists"));
        assert!(wrong("size([\"x\"].map(a, a + a)) > 0").contains("in a macro + adds numbers"));
        let long = format!("[{}0]", "1,".repeat(100));
        assert!(wrong(&format!("{long}.exists(a, true)")).ends_with("at most 100 elements"));
        assert!(wrong(&format!("[1].exists(a, a in {long})")).ends_with("at most 100 elements"));
        let mut connection = connection();
        connection.findings = vec![connection.findings[0].clone(); MOST_AGAIN + 1];
        let mut once = Expression::parse("findings.exists(a, a.frame == 1)").unwrap();
        assert!(!once.matches(&connection) && once.undecided().is_none());
        let mut again = Expression::parse("findings.exists(a, findings.exists(b, a.frame > b.frame))").unwrap();
        assert!(!again.matches(&connection));
        assert!(again.undecided().unwrap().why.ends_with("more than 1000"), "{:?}", again.undecided());
    }

    /// Half the stack that a program begins with; without optimization it takes many times what it does with.
    #[test]
    fn the_longest_and_deepest_expressions_are_read_and_decided() {
        let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(longest_and_deepest).unwrap();
        thread.join().unwrap();
    }

    fn longest_and_deepest() {
        let shapes = [
            ("1", "+1", "> 0"),
            ("true", "&&true", ""),
            ("true", "||!true", ""),
            ("1", "==1", ""),
            ("true", "?true:true", ""),
            ("", "[", "1"),
            ("", "(", "1"),
            ("", "{1:", "1"),
            ("", "!", "true"),
            ("", "-", "1 > 0"),
            ("ending", ".a", ""),
            ("findings", "[0]", "== 1"),
            ("ending", ".size()", "> 1"),
            ("id in [1", ",1", "]"),
            ("", "findings.all(f,", "true"),
            ("true", " // ", ""),
            ("true", " \n", ""),
            ("\"", "\\\"", "\" == ending"),
        ];
        for (first, more, last) in shapes {
            for times in [DEEPEST_BRACKETS, DEEPEST - 5, MOST_OPERATORS, LONGEST / more.len()] {
                let Some(times) = times.checked_sub((first.len() + last.len()).div_ceil(more.len())) else { continue };
                let closing: String = more
                    .chars()
                    .filter_map(|c| match c {
                        '(' => Some(')'),
                        '[' => Some(']'),
                        '{' => Some('}'),
                        _ => None,
                    })
                    .collect();
                let closing = if more.contains([')', ']', '}']) { "" } else { &closing };
                let source = first.to_owned() + &more.repeat(times) + last + &closing.repeat(times);
                if let Ok(mut expression) = Expression::parse(&source) {
                    expression.matches(&connection());
                }
            }
        }
        assert!(holds(&("true".to_owned() + &"&&true".repeat(600))));
        assert!(!holds(&format!("server.port in [{}0]", "1,".repeat(1900))));
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(source in "[ -~é\n]{0,40}") {
            if let Ok(mut expression) = Expression::parse(&source) {
                expression.matches(&connection());
            }
        }

        #[test]
        fn no_sequence_of_its_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
            "ending", "server", ".", "port", "findings", "exists", "(", ")", "f", ",", "==", "&&", "!", "-", "\"", "\"fin\"", "1", "0",
            "/", "%", "9223372036854775807", "1.5", "1u", "null", "[", "]", "{", "}", ":", "?", "has", "size", "first", "timestamp",
            "duration", "matches", "\"(\"", "in", "map", "all", "dyn", "`", "b'x'", "r\"\"\"",
        ]), 0..14)) {
            if let Ok(mut expression) = Expression::parse(&words.join(" ")) {
                expression.matches(&connection());
            }
        }
    }
}
