//! The fields of a connection, flat, under the names that its `connection` line gives them.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::{IpAddr, SocketAddr};

use super::wording::{English, Wording};
use crate::flow::{Closer, Connection, SideSummary, Verdict};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// One field of a connection.
///
/// Its name is the path to it in the `connection` line, joined with dots: `client_to_server.octets`.
#[derive(Debug)]
pub struct Field {
    /// The name.
    pub name: &'static str,
    /// What its values are.
    pub kind: Kind,
    of: fn(&Connection) -> Value<'_>,
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
}

/// The value of one field of one connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Value<'a> {
    /// Not known.
    Null,
    /// True or false.
    Truth(bool),
    /// A whole number.
    Number(i64),
    /// A moment.
    Moment(Timestamp),
    /// Text, not yet escaped.
    Text(Cow<'a, str>),
    /// An address; in order by number, not by its digits.
    Address(IpAddr),
}

impl Field {
    /// Every field, in the order of the `connection` line.
    pub fn all() -> impl Iterator<Item = &'static Self> {
        [OF_CONNECTION, OF_CLIENT, OF_SERVER, OF_FINDINGS].into_iter().flatten()
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

    /// Whether `name` is what fields' names begin with, up to a dot: `client`.
    pub fn is_group(name: &str) -> bool {
        Self::all().any(|field| field.name.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
    }

    /// The value that `connection` has.
    pub fn of<'a>(&self, connection: &'a Connection) -> Value<'a> {
        (self.of)(connection)
    }
}

impl Value<'_> {
    /// The order of two values of the same field; what is not known comes last.
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Truth(one), Self::Truth(other)) => one.cmp(other),
            (Self::Number(one), Self::Number(other)) => one.cmp(other),
            (Self::Moment(one), Self::Moment(other)) => one.cmp(other),
            (Self::Text(one), Self::Text(other)) => one.cmp(other),
            (Self::Address(one), Self::Address(other)) => one.cmp(other),
            (one, other) => (*one == Self::Null).cmp(&(*other == Self::Null)),
        }
    }

    /// The value without what it borrows.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Null => Value::Null,
            Self::Truth(truth) => Value::Truth(truth),
            Self::Number(number) => Value::Number(number),
            Self::Moment(moment) => Value::Moment(moment),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Address(address) => Value::Address(address),
        }
    }
}

fn number(number: u64) -> Value<'static> {
    Value::Number(i64::try_from(number).unwrap_or(i64::MAX))
}

fn maybe<T: Into<i64>>(number: Option<T>) -> Value<'static> {
    number.map_or(Value::Null, |number| Value::Number(number.into()))
}

fn moment(at: Option<Timestamp>) -> Value<'static> {
    at.map_or(Value::Null, Value::Moment)
}

fn word(word: Option<&'static str>) -> Value<'static> {
    word.map_or(Value::Null, |word| Value::Text(Cow::Borrowed(word)))
}

/// Without its SYN nothing is known of what an end offered.
fn offered(side: &SideSummary, offer: bool) -> Value<'static> {
    side.isn.map_or(Value::Null, |_| Value::Truth(offer))
}

fn address(end: SocketAddr) -> Value<'static> {
    Value::Address(end.ip())
}

fn duration(connection: &Connection) -> Option<Span> {
    connection.first.zip(connection.last).map(|(first, last)| last.since(first))
}

fn closer(closer: Closer) -> &'static str {
    match closer {
        Closer::Client => "client",
        Closer::Server => "server",
        Closer::Both => "both",
    }
}

macro_rules! fields {
    ($($name:expr, $kind:expr, $of:expr;)*) => { &[$(Field { name: $name, kind: $kind, of: $of },)*] };
}

/// The fields of one end's side of the connection.
macro_rules! side {
    ($side:ident) => {
        fields! {
            concat!(stringify!($side), ".segments"), Kind::Number, |c| number(c.$side.segments);
            concat!(stringify!($side), ".octets"), Kind::Number, |c| number(c.$side.octets);
            concat!(stringify!($side), ".unique_octets"), Kind::Number, |c| number(c.$side.unique_octets);
            concat!(stringify!($side), ".syn"), Kind::Number, |c| number(c.$side.syn);
            concat!(stringify!($side), ".fin"), Kind::Number, |c| number(c.$side.fin);
            concat!(stringify!($side), ".rst"), Kind::Number, |c| number(c.$side.rst);
            concat!(stringify!($side), ".isn"), Kind::Number, |c| maybe(c.$side.isn);
            concat!(stringify!($side), ".mss"), Kind::Number, |c| maybe(c.$side.mss);
            concat!(stringify!($side), ".window_scale"), Kind::Number, |c| maybe(c.$side.window_scale);
            concat!(stringify!($side), ".sack_permitted"), Kind::Truth, |c| offered(&c.$side, c.$side.sack_permitted);
            concat!(stringify!($side), ".timestamps"), Kind::Truth, |c| offered(&c.$side, c.$side.timestamps);
            concat!(stringify!($side), ".retransmissions"), Kind::Number, |c| number(c.$side.retransmissions);
            concat!(stringify!($side), ".fast_retransmissions"), Kind::Number, |c| number(c.$side.fast_retransmissions);
            concat!(stringify!($side), ".spurious_retransmissions"), Kind::Number,
                |c| number(c.$side.spurious_retransmissions);
            concat!(stringify!($side), ".out_of_order"), Kind::Number, |c| number(c.$side.out_of_order);
            concat!(stringify!($side), ".duplicate_acks"), Kind::Number, |c| number(c.$side.duplicate_acks);
            concat!(stringify!($side), ".lost_segments"), Kind::Number, |c| number(c.$side.lost_segments);
            concat!(stringify!($side), ".acked_unseen"), Kind::Number, |c| number(c.$side.acked_unseen);
            concat!(stringify!($side), ".zero_windows"), Kind::Number, |c| number(c.$side.zero_windows);
            concat!(stringify!($side), ".window_fulls"), Kind::Number, |c| number(c.$side.window_fulls);
            concat!(stringify!($side), ".window_updates"), Kind::Number, |c| number(c.$side.window_updates);
            concat!(stringify!($side), ".keep_alives"), Kind::Number, |c| number(c.$side.keep_alives);
            concat!(stringify!($side), ".zero_window_probes"), Kind::Number, |c| number(c.$side.zero_window_probes);
            concat!(stringify!($side), ".rtt_min_ns"), Kind::Number, |c| maybe(c.$side.rtt_min_ns);
            concat!(stringify!($side), ".rtt_avg_ns"), Kind::Number, |c| maybe(c.$side.rtt_avg_ns);
            concat!(stringify!($side), ".rtt_max_ns"), Kind::Number, |c| maybe(c.$side.rtt_max_ns);
        }
    };
}

const OF_CONNECTION: &[Field] = fields! {
    "id", Kind::Number, |c| number(c.id.0);
    "client.addr", Kind::Text, |c| address(c.client);
    "client.port", Kind::Number, |c| Value::Number(c.client.port().into());
    "server.addr", Kind::Text, |c| address(c.server);
    "server.port", Kind::Number, |c| Value::Number(c.server.port().into());
    "midstream", Kind::Truth, |c| Value::Truth(c.midstream);
    "first", Kind::Moment, |c| moment(c.first);
    "last", Kind::Moment, |c| moment(c.last);
    "duration_ns", Kind::Number, |c| maybe(duration(c).map(Span::as_nanos));
    "first_frame", Kind::Number, |c| number(c.first_frame);
    "last_frame", Kind::Number, |c| number(c.last_frame);
    "completeness", Kind::Number, |c| Value::Number(c.completeness.into());
    "conn_state", Kind::Word(CONN_STATES), |c| word(Some(c.conn_state.name()));
    "history", Kind::Text, |c| Value::Text(Cow::Borrowed(&c.history));
    "initial_rtt_ns", Kind::Number, |c| maybe(c.initial_rtt.map(Span::as_nanos));
    "client_state", Kind::Word(STATES), |c| word(c.client_state.map(State::name));
    "server_state", Kind::Word(STATES), |c| word(c.server_state.map(State::name));
    "closed_by", Kind::Word(&["client", "server", "both"]), |c| word(c.closed_by.map(closer));
    "ending", Kind::Word(ENDINGS), |c| word(Some(c.ending.name()));
    "verdict", Kind::Text, |c| Value::Text(English.verdict(&c.verdict));
    "reason.code", Kind::Word(Verdict::CODES), |c| word(Some(c.verdict.code()));
};
const OF_CLIENT: &[Field] = side!(client_to_server);
const OF_SERVER: &[Field] = side!(server_to_client);
const OF_FINDINGS: &[Field] = fields! {
    "findings_omitted", Kind::Number, |c| number(c.findings_omitted);
};

const ENDINGS: &[&str] = &["fin", "reset", "refused", "unanswered", "half-closed", "open"];
const CONN_STATES: &[&str] =
    &["S0", "S1", "SF", "REJ", "S2", "S3", "RSTO", "RSTR", "RSTOS0", "RSTRH", "SH", "SHR", "OTH"];
const STATES: &[&str] = &[
    "LISTEN",
    "SYN-SENT",
    "SYN-RECEIVED",
    "ESTABLISHED",
    "FIN-WAIT-1",
    "FIN-WAIT-2",
    "CLOSE-WAIT",
    "CLOSING",
    "LAST-ACK",
    "TIME-WAIT",
    "CLOSED",
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
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
            let told: BTreeMap<_, _> =
                Field::all().map(|field| (field.name.to_owned(), json(field.of(&connection)))).collect();
            assert_eq!(told, expected);
        }
    }

    #[test]
    fn words_are_those_of_the_schema() {
        let schema: serde_json::Value = serde_json::from_str(include_str!("../../docs/output.schema.json")).unwrap();
        let fields = &schema["$defs"]["connection"]["properties"];
        for (name, listed) in [
            ("ending", &fields["ending"]["enum"]),
            ("conn_state", &fields["conn_state"]["enum"]),
            ("client_state", &schema["$defs"]["state"]["enum"]),
            ("closed_by", &fields["closed_by"]["enum"]),
            ("reason.code", &schema["$defs"]["reason"]["properties"]["code"]["enum"]),
        ] {
            let Kind::Word(words) = Field::named(name).unwrap().kind else { panic!("{name} has no words") };
            let listed: Vec<_> = listed.as_array().unwrap().iter().filter_map(|word| word.as_str()).collect();
            assert_eq!(words, listed, "{name}");
        }
    }

    #[test]
    fn a_slip_finds_its_field() {
        for (written, meant) in [
            ("sever.port", Some("server.port")),
            ("octets", Some("client_to_server.octets")),
            ("client.address", Some("client.addr")),
            ("endnig", Some("ending")),
            ("client", Some("client.addr")),
            ("findings", Some("findings_omitted")),
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
