//! The fields of a connection, flat, under the names that its `connection` line gives them.

mod datum;
mod finding;
mod list;
mod reference;

use std::borrow::Cow;
use std::net::IpAddr;

use super::wording::{English, Wording};
use crate::flow::{
    Class, Closer, ConnState, Connection, Ending, Letters, ProblemKind, RolesBasis, Side, Unacknowledged,
};
use crate::tcp::{Basis, State};
use crate::time::{Span, Timestamp};
use crate::wire::IcmpKind;

pub use datum::Value;
pub(super) use datum::{Code, Datum, Findings, Frame};
pub(super) use finding::FindingField;
pub(super) use list::{connection_fields, end_fields, parts_fields, problem_fields, reason_fields, side_fields};
pub use reference::fields_help;

/// One field of a connection.
///
/// Its name is the path to it in the `connection` line, joined with dots: `client_to_server.octets`.
#[derive(Debug)]
pub struct Field {
    /// The name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    /// What its values count in, where that needs to be said.
    pub unit: Option<Unit>,
    /// Whether it may be unknown, and so null.
    pub nullable: bool,
    /// The least and the greatest that its values can be, of a number.
    pub range: (i64, i64),
    /// Its heading in the table, where it has a column there.
    pub heading: Option<&'static str>,
    doc: &'static str,
    of: for<'a> fn(&'a Connection) -> Value<'a>,
}

/// Which fields records have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Columns {
    /// Those that every connection has.
    Usual,
    /// Those of the breakdown besides.
    WithBreakdown,
}

/// What the values of a field are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// True or false.
    Truth,
    /// A whole number: a count, a number, or nanoseconds where the name ends in `_ns`.
    Number,
    /// A moment.
    Moment,
    /// Any text.
    Text,
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of findings; as a plain value how many there are.
    Findings,
}

/// What a number counts in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unit {
    /// Octets.
    Octets,
    /// Segments.
    Segments,
    /// Findings.
    Findings,
    /// Bits.
    Bits,
    /// Nanoseconds.
    Nanoseconds,
}

impl Unit {
    /// `octets`, `segments`, `findings`, `bits` or `ns`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Octets => "octets",
            Self::Segments => "segments",
            Self::Findings => "findings",
            Self::Bits => "bits",
            Self::Nanoseconds => "ns",
        }
    }
}

/// An object within the `connection` line: what the names of its fields begin with, up to the dot.
#[derive(Debug)]
struct Group {
    /// Empty for the connection's own fields.
    name: &'static str,
    doc: &'static str,
    /// Its heading in the table, where it has one column there.
    heading: Option<&'static str>,
    fields: &'static [&'static [Field]],
}

impl Field {
    /// Every field, in the order of the `connection` line.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        LIST.iter().copied().flatten().flat_map(|group| group.fields.iter().copied().flatten())
    }

    /// The fields in the order of records: that of the `connection` line, and last the number of findings.
    pub fn columns(columns: Columns) -> impl Iterator<Item = &'static Self> {
        let plain = Self::all().filter(move |field| match columns {
            Columns::Usual => field.kind != Kind::Findings && !field.is_of_breakdown(),
            Columns::WithBreakdown => field.kind != Kind::Findings,
        });
        plain.chain(Self::all().filter(|field| field.kind == Kind::Findings))
    }

    /// Whether it is known only where a breakdown was asked for.
    pub fn is_of_breakdown(&self) -> bool {
        self.name.starts_with("breakdown.")
    }

    /// Whether octets that conflict may change it, which are found only where they are compared.
    pub fn is_of_octets(&self) -> bool {
        self.kind == Kind::Findings
            || ["findings_omitted", "verdict"].contains(&self.name)
            || self.name.starts_with("problem.")
    }

    /// The field of that name.
    pub fn named(name: &str) -> Option<&'static Self> {
        Self::all().find(|field| field.name == name)
    }

    /// The name of a field that somebody who wrote `name` may have meant.
    pub fn like(name: &str) -> Option<&'static str> {
        let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
        let closeness = |field: &Self| {
            let whole = strsim::damerau_levenshtein(field.name, name);
            // Who leaves out the first part, as in `octets`, has the last one right; who leaves out the last, as in `client`, the first.
            match field.name.strip_prefix(name).and_then(|rest| rest.chars().next()) {
                _ if last(field.name) == name => 1,
                Some('.') => 1,
                Some('_') => 2,
                _ => whole,
            }
        };
        let closest = Self::all().min_by_key(|field| closeness(field))?;
        (closeness(closest) <= 1 + name.chars().count() / 3).then_some(closest.name)
    }

    /// What it is, in one sentence or two.
    pub fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    /// Whether `name` is what fields' names begin with, up to a dot: `client`.
    pub fn is_group(name: &str) -> bool {
        Self::all().any(|field| field.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The heading in the table of the column that shows the field or the group of fields with that name.
    ///
    /// # Panics
    /// There is none; in a constant that is an error of the compiler.
    pub(super) const fn heading(name: &str) -> &'static str {
        let mut at = 0;
        while at < LIST.len() {
            let mut group = 0;
            while group < LIST[at].len() {
                if let Some(heading) = LIST[at][group].heading(name) {
                    return heading;
                }
                group += 1;
            }
            at += 1;
        }
        panic!("no column of the table shows that")
    }

    /// The value that `connection` has.
    pub fn of<'a>(&self, connection: &'a Connection) -> Value<'a> {
        (self.of)(connection)
    }
}

impl Group {
    fn doc(&self) -> &'static str {
        self.doc.trim_start()
    }

    const fn heading(&self, name: &str) -> Option<&'static str> {
        if same(self.name, name) && self.heading.is_some() {
            return self.heading;
        }
        let mut at = 0;
        while at < self.fields.len() {
            let mut field = 0;
            while field < self.fields[at].len() {
                if same(self.fields[at][field].name, name) {
                    return self.fields[at][field].heading;
                }
                field += 1;
            }
            at += 1;
        }
        None
    }
}

/// Whether two texts are the same, for constants.
const fn same(one: &str, other: &str) -> bool {
    let (one, other) = (one.as_bytes(), other.as_bytes());
    let mut at = 0;
    while at < one.len() && at < other.len() && one[at] == other[at] {
        at += 1;
    }
    at == one.len() && at == other.len()
}

/// Makes fields of a list; in brackets what their names begin with, and what binds the value that the list describes.
macro_rules! fields {
    (($prefix:expr, |$c:ident| $of:expr) |$value:ident| $($block:ident { $($rows:tt)* })*) => {
        &[$(rows! { ($prefix, $c, $value, $of) $($rows)* },)*]
    };
}

/// Makes the fields of one block of rows.
macro_rules! rows {
    (
        ($prefix:expr, $c:ident, $bound:ident, $of:expr)
        $($(#[doc = $doc:literal])* $name:ident: $type:ty $(, in $unit:ident)? $(, as $heading:literal)? = $value:expr;)*
    ) => {
        &[$(Field {
            name: concat!($prefix, stringify!($name)),
            kind: <$type as Datum<'static>>::KIND,
            unit: unit!($type $(, $unit)?),
            nullable: <$type as Datum<'static>>::NULLABLE,
            range: <$type as Datum<'static>>::RANGE,
            heading: optional!($($heading)?),
            doc: concat!($($doc),*),
            of: |$c| {
                let $bound = $of;
                Datum::value($value)
            },
        },)*]
    };
}

/// Makes the groups of the list of a connection's fields; those of its own have no name.
macro_rules! groups {
    (() |$c:ident| $($block:ident { $($rows:tt)* })*) => {
        &[$(block! { $c $block { $($rows)* } },)*]
    };
}

/// Makes the groups of one block.
macro_rules! block {
    ($c:ident rows { $($rows:tt)* }) => {
        &[Group { name: "", doc: "", heading: None, fields: &[rows! { ("", $c, $c, $c) $($rows)* }] }]
    };
    ($c:ident ends { $($(#[doc = $doc:literal])* $name:ident, as $heading:literal = $of:expr;)* }) => {
        &[$(Group {
            name: stringify!($name),
            doc: concat!($($doc),*),
            heading: Some($heading),
            fields: end_fields! { fields (concat!(stringify!($name), "."), |$c| $of) },
        },)*]
    };
    ($c:ident sides { $($(#[doc = $doc:literal])* $name:ident = $of:expr;)* }) => {
        &[$(Group {
            name: stringify!($name),
            doc: concat!($($doc),*),
            heading: None,
            fields: side_fields! { fields (concat!(stringify!($name), "."), |$c| $of) },
        },)*]
    };
    ($c:ident reasons { $($(#[doc = $doc:literal])* $name:ident = $of:expr;)* }) => {
        &[$(Group {
            name: stringify!($name),
            doc: concat!($($doc),*),
            heading: None,
            fields: reason_fields! { fields (concat!(stringify!($name), "."), |$c| $of) },
        },)*]
    };

    ($c:ident divided { $(#[doc = $whole_doc:literal])* $whole:ident: $divided:expr, |$b:ident| {
        $($(#[doc = $doc:literal])* $name:ident = $of:expr;)*
    } }) => {
        &[$(Group {
            name: concat!(stringify!($whole), ".", stringify!($name)),
            doc: concat!($($doc),*),
            heading: None,
            fields: parts_fields! {
                fields (concat!(stringify!($whole), ".", stringify!($name), "."), |$c| $divided.map(|$b| $of))
            },
        },)*]
    };

    ($c:ident problems { $($(#[doc = $doc:literal])* $name:ident = $of:expr;)* }) => {
        &[$(Group {
            name: stringify!($name),
            doc: concat!($($doc),*),
            heading: None,
            fields: problem_fields! { fields (concat!(stringify!($name), "."), |$c| $of) },
        },)*]
    };
}

macro_rules! unit {
    ($type:ty) => {
        <$type as Datum<'static>>::UNIT
    };
    ($type:ty, $unit:ident) => {
        Some(Unit::$unit)
    };
}

macro_rules! optional {
    () => {
        None
    };
    ($value:expr) => {
        Some($value)
    };
}

const LIST: &[&[Group]] = connection_fields! { groups () };

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::flow::Problem;
    use crate::report::{Jsonl, sample};

    /// The fields of a JSON object by their paths, lists left out.
    fn flat(prefix: &str, object: &serde_json::Value, found: &mut BTreeMap<String, serde_json::Value>) {
        for (key, value) in object.as_object().unwrap() {
            let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
            match value {
                serde_json::Value::Object(_) => flat(&path, value, found),
                serde_json::Value::Array(_) => {}
                _ => {
                    found.insert(path, value.clone());
                }
            }
        }
    }

    fn json(value: Value<'_>) -> serde_json::Value {
        match value {
            Value::Null => serde_json::Value::Null,
            Value::Truth(truth) => truth.into(),
            Value::Number(number) => number.into(),
            Value::Moment(at) => at.to_string().into(),
            Value::Text(text) => text.into_owned().into(),
            Value::Address(address) => address.to_string().into(),
        }
    }

    #[test]
    fn the_fields_are_those_of_the_connection_line_with_its_values() {
        let mut whole = sample::echo().connections.remove(0);
        whole.closed_by = Some(Closer::Both);
        let mut unknown = whole.clone();
        (unknown.first, unknown.closed_by, unknown.client_to_server.isn) = (None, None, None);
        let parts = Class::ALL.iter().map(|class| (*class, Span(100 + *class as i64))).collect();
        let breakdown = crate::flow::Breakdown { total: parts, ..Default::default() };
        whole.breakdown = Some(Box::new(breakdown));
        unknown.problem = Some(Box::new(Problem::new(ProblemKind::PeerSilent, Side::Server)));
        for connection in [whole, unknown] {
            let mut line = Vec::new();
            let mut jsonl = Jsonl::new(&mut line);
            jsonl.connection(&connection).unwrap();
            jsonl.flush().unwrap();
            let mut expected = BTreeMap::new();
            flat("", &serde_json::from_slice(&line).unwrap(), &mut expected);
            expected.remove("type");
            // What else a reason has depends on its code.
            expected.retain(|name, _| name == "reason.code" || !name.starts_with("reason."));
            // Where nothing hurt it, or nobody asked where its time went, none of these fields is there.
            let (is_hurt, is_divided) = (connection.problem.is_some(), connection.breakdown.is_some());
            assert_eq!(expected.remove("problem").is_some(), !is_hurt);
            assert_eq!(expected.remove("breakdown"), (!is_divided).then_some(serde_json::Value::Null));
            let told: BTreeMap<_, _> = Field::all()
                .filter(|field| is_hurt || !field.name.starts_with("problem."))
                .filter(|field| field.kind != Kind::Findings && (is_divided || !field.is_of_breakdown()))
                .map(|field| (field.name.to_owned(), json(field.of(&connection))))
                .collect();
            assert_eq!(told, expected);
        }
    }

    /// What a schema admits, its references followed: types, words, least and greatest number.
    fn admitted(
        schema: &serde_json::Value,
        of: &serde_json::Value,
    ) -> (BTreeSet<String>, Option<Vec<String>>, i64, i64) {
        if let Some(name) = of["$ref"].as_str() {
            return admitted(schema, schema.pointer(name.trim_start_matches('#')).expect(name));
        }
        if let Some(any) = of["anyOf"].as_array() {
            let known = any.iter().find(|one| one["type"] != "null").expect("a type besides null");
            let mut admitted = admitted(schema, known);
            if any.len() > 1 {
                admitted.0.insert("null".to_owned());
            }
            return admitted;
        }
        let texts = |list: &serde_json::Value| {
            let list = list.as_array()?;
            Some(list.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect::<Vec<_>>())
        };
        let words = texts(&of["enum"]);
        let types = match (&of["type"], &words) {
            (serde_json::Value::String(one), _) => [one.clone()].into(),
            (_, Some(words)) if words.len() < of["enum"].as_array().unwrap().len() => {
                ["string", "null"].map(str::to_owned).into()
            }
            (_, Some(_)) => ["string".to_owned()].into(),
            (several, None) => texts(several).unwrap_or_default().into_iter().collect(),
        };
        (types, words, of["minimum"].as_i64().unwrap_or(i64::MIN), of["maximum"].as_i64().unwrap_or(i64::MAX))
    }

    /// The schema is written by hand for people and other programs; this holds it to the list, field by field.
    #[test]
    fn the_schema_describes_the_list() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../../docs/output.schema.json")).unwrap();
        let mut wrong = Vec::new();
        let mut top = vec!["type".to_owned()];
        for group in LIST.iter().copied().flatten() {
            let name = group.name;
            let object = match name {
                "" => "connection",
                "client" | "server" => "end",
                "reason" => "reason",
                "problem" => "problem",
                _ if name.starts_with("breakdown.") => "parts",
                _ => "side_summary",
            };
            // What is null as a whole has no part that is.
            let is_part = object == "parts";
            let described = &schema["$defs"][object];
            if name.is_empty() {
                top.extend(group.fields.iter().copied().flatten().map(|field| field.name.to_owned()));
            } else {
                let told = match name.strip_prefix("breakdown.") {
                    Some(part) => &schema["$defs"]["breakdown"]["properties"][part],
                    None => &schema["$defs"]["connection"]["properties"][name],
                };
                top.push(name.split('.').next().unwrap().to_owned());
                top.dedup();
                // Where nothing hurt it, there is no problem.
                let at = if object == "problem" { &told["anyOf"][0] } else { told };
                if at["$ref"] != format!("#/$defs/{object}") || told["description"] != group.doc() {
                    wrong.push(format!("{name}: \"$ref\": \"#/$defs/{object}\", \"description\": \"{}\"", group.doc()));
                }
                let names: Vec<_> =
                    group.fields.iter().copied().flatten().map(|field| &field.name[name.len() + 1..]).collect();
                assert_eq!(described["required"], serde_json::json!(names), "{object}");
                // What else a reason has depends on its code.
                let others = described["properties"].as_object().unwrap().len() - names.len();
                assert!(others == 0 || object == "reason", "{object}");
            }
            for field in group.fields.iter().copied().flatten() {
                let name = field.name.rsplit('.').next().unwrap();
                let told = &described["properties"][name];
                if told["description"] != field.doc() {
                    wrong.push(format!("{object}.{name}: \"description\": {:?}", field.doc()));
                }
                let kind = match field.kind {
                    Kind::Truth => "boolean",
                    Kind::Number => "integer",
                    Kind::Moment | Kind::Text | Kind::Word(_) => "string",
                    Kind::Findings => "array",
                };
                let mut types = BTreeSet::from([kind.to_owned()]);
                // Where there is a problem, these are known of it.
                let is_known = object == "problem" && ["kind", "side", "until_end"].contains(&name);
                if field.nullable && !is_part && !is_known {
                    types.insert("null".to_owned());
                }
                let words = match field.kind {
                    Kind::Word(words) => Some(words.iter().map(|word| (*word).to_owned()).collect()),
                    _ => None,
                };
                let (least, most) = if field.kind == Kind::Number { field.range } else { (i64::MIN, i64::MAX) };
                let admitted = admitted(&schema, told);
                // What is known of a number's greatest value, and its type does not say, makes the schema stricter.
                let most = most.min(admitted.3);
                let expected = (types, words, least, most);
                if admitted != expected {
                    wrong.push(format!("{object}.{name}: {expected:?}, and not {admitted:?}"));
                }
            }
        }
        assert!(wrong.is_empty(), "docs/output.schema.json:\n{}", wrong.join("\n"));
        assert_eq!(schema["$defs"]["connection"]["required"], serde_json::json!(top));
        assert_eq!(schema["$defs"]["connection"]["properties"].as_object().unwrap().len(), top.len());
    }

    #[test]
    fn a_finding_in_the_schema_has_the_fields_of_the_list() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../../docs/output.schema.json")).unwrap();
        let described: BTreeSet<_> =
            schema["$defs"]["finding"]["properties"].as_object().unwrap().keys().cloned().collect();
        assert_eq!(described, FindingField::own().map(|field| field.name.to_owned()).collect());
    }

    #[test]
    fn a_slip_finds_its_field() {
        for (written, meant) in [
            ("sever.port", Some("server.port")),
            ("octets", Some("client_to_server.octets")),
            ("client.address", Some("client.addr")),
            ("endnig", Some("ending")),
            ("client", Some("client.addr")),
            ("finding", Some("findings")),
            ("colour", None),
        ] {
            assert_eq!(Field::like(written), meant, "{written}");
        }
        assert!(Field::is_group("client") && !Field::is_group("ending") && !Field::is_group("clien"));
    }

    #[test]
    fn what_is_not_known_comes_last() {
        let mut values = [Value::Null, Value::Number(10), Value::Number(-2)];
        values.sort_by(Value::order);
        assert_eq!(values, [Value::Number(-2), Value::Number(10), Value::Null]);
    }
}
