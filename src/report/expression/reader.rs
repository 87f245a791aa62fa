//! Reads an expression once: checks it against the fields that there are, and gives each field's path one name.

use std::fmt;
use std::sync::Arc;

use cel::common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, SourceInfo};
use cel::common::types::CelString;
use cel::{Context, Env};

use super::named::Named;
use super::value::MOST_PATTERNS;
use super::wrong::{Wrong, last_line};
use crate::report::field::{Field, FindingField, Kind};

/// What is known of an expression's value before there is a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Type {
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
            Kind::Findings => Self::Findings,
        }
    }
}

/// Reads an expression once: checks it, and gives each field's path one name.
pub(super) struct Reader<'a> {
    pub(super) env: &'a Arc<Env>,
    pub(super) places: &'a SourceInfo,
    pub(super) named: Named,
    /// Variables that a macro such as `exists` brings, innermost last.
    pub(super) scope: Vec<(String, Type)>,
    /// How many macros this is in, in what they do with each element.
    pub(super) loops: usize,
    /// The regular expressions, each once.
    pub(super) patterns: Vec<String>,
}

impl Reader<'_> {
    pub(super) fn read(&mut self, expr: &mut IdedExpr) -> Result<Type, Wrong> {
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
            None if is_word(path) => format!("as text it is \"{path}\""),
            None => "`tcpflow analyze --help` lists them all".to_owned(),
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
            (Type::Finding, _) => match FindingField::own().find(|field| field.name == part) {
                Some(field) => Ok(field.kind.into()),
                None => {
                    let parts: Vec<_> = FindingField::own().map(|field| field.name).collect();
                    Err(self.wrong(id, format!("a finding has no `{part}`; it has {}", parts.join(", "))))
                }
            },
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

/// Whether a field can have that word: somebody may have left it without quotes.
fn is_word(text: &str) -> bool {
    let kinds = Field::all().map(|field| field.kind).chain(FindingField::own().map(|field| field.kind));
    kinds.into_iter().any(|kind| matches!(kind, Kind::Word(words) if words.contains(&text)))
}

/// The most macros in one another, in what they do with each element: findings beside findings.
const MOST_LOOPS: usize = 2;

/// The longest list that is written out in a macro.
const LONGEST_LIST: usize = 100;

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
