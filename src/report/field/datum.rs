//! What can be the value of a field, and what follows from its type.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::net::IpAddr;

use super::{Kind, Unit};
use crate::flow::{
    Closer, ConnState, Connection, Ending, FindingAt, Letters, ProblemKind, RolesBasis, Side, Unacknowledged, Verdict,
};
use crate::tcp::{Basis, State};
use crate::time::{Span, Timestamp};
use crate::wire::IcmpKind;

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

/// A type that the list gives a field.
pub(in crate::report) trait Datum<'a> {
    /// What its values are.
    const KIND: Kind;
    /// Whether it may be unknown.
    const NULLABLE: bool = false;
    /// What it counts in.
    const UNIT: Option<Unit> = None;
    /// The least and the greatest, of a number.
    const RANGE: (i64, i64) = (i64::MIN, i64::MAX);

    /// The value, for all that do not need it as fast as the `connection` line does.
    fn value(self) -> Value<'a>;
}

impl<'a, T: Datum<'a>> Datum<'a> for Option<T> {
    const KIND: Kind = T::KIND;
    const NULLABLE: bool = true;
    const UNIT: Option<Unit> = T::UNIT;
    const RANGE: (i64, i64) = T::RANGE;

    #[inline]
    fn value(self) -> Value<'a> {
        self.map_or(Value::Null, T::value)
    }
}

impl<'a> Datum<'a> for bool {
    const KIND: Kind = Kind::Truth;

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Truth(self)
    }
}

impl<'a> Datum<'a> for u64 {
    const KIND: Kind = Kind::Number;
    const RANGE: (i64, i64) = (0, i64::MAX);

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Number(i64::try_from(self).unwrap_or(i64::MAX))
    }
}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl<'a> Datum<'a> for $type {
            const KIND: Kind = Kind::Number;
            const RANGE: (i64, i64) = (0, <$type>::MAX as i64);

            #[inline]
            fn value(self) -> Value<'a> {
                Value::Number(self.into())
            }
        }
    )*};
}

numbers! { u8 u16 u32 }

/// Number of a frame, from 1.
pub(in crate::report) struct Frame(pub(in crate::report) u64);

impl<'a> Datum<'a> for Frame {
    const KIND: Kind = Kind::Number;
    const RANGE: (i64, i64) = (1, i64::MAX);

    #[inline]
    fn value(self) -> Value<'a> {
        self.0.value()
    }
}

impl<'a> Datum<'a> for Span {
    const KIND: Kind = Kind::Number;
    const UNIT: Option<Unit> = Some(Unit::Nanoseconds);

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Number(self.as_nanos())
    }
}

impl<'a> Datum<'a> for Timestamp {
    const KIND: Kind = Kind::Moment;

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Moment(self)
    }
}

impl<'a> Datum<'a> for IpAddr {
    const KIND: Kind = Kind::Text;

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Address(self)
    }
}

impl<'a> Datum<'a> for &'a str {
    const KIND: Kind = Kind::Text;

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Text(Cow::Borrowed(self))
    }
}

impl<'a> Datum<'a> for Cow<'a, str> {
    const KIND: Kind = Kind::Text;

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Text(self)
    }
}

impl<'a> Datum<'a> for Letters {
    const KIND: Kind = Kind::Text;

    #[inline]
    fn value(self) -> Value<'a> {
        Value::Text(Cow::Owned(self.to_string()))
    }
}

/// The code of a verdict.
pub(in crate::report) struct Code(pub(in crate::report) &'static str);

impl<'a> Datum<'a> for Code {
    const KIND: Kind = Kind::Word(Verdict::CODES);

    #[inline]
    fn value(self) -> Value<'a> {
        self.0.value()
    }
}

/// The names of everything in `ALL`, in its order.
macro_rules! names {
    ($type:ty) => {
        &{
            let mut names = [""; <$type>::ALL.len()];
            let mut at = 0;
            while at < names.len() {
                names[at] = <$type>::ALL[at].name();
                at += 1;
            }
            names
        }
    };
}

pub(in crate::report) use names;

macro_rules! words {
    ($($type:ty)*) => {$(
        impl<'a> Datum<'a> for $type {
            const KIND: Kind = Kind::Word(names!($type));

            #[inline]
            fn value(self) -> Value<'a> {
                Value::Text(Cow::Borrowed(self.name()))
            }
        }
    )*};
}

words! { State ConnState Closer Ending IcmpKind Basis RolesBasis ProblemKind Side Unacknowledged }

/// The findings of a connection.
#[derive(Clone, Copy)]
pub(in crate::report) struct Findings<'a> {
    /// Those that were kept.
    pub(in crate::report) kept: &'a [FindingAt],
    omitted: u64,
}

impl<'a> Findings<'a> {
    pub(in crate::report) fn of(connection: &'a Connection) -> Self {
        Self { kept: &connection.findings, omitted: connection.findings_omitted }
    }
}

impl<'a> Datum<'a> for Findings<'a> {
    const KIND: Kind = Kind::Findings;
    const RANGE: (i64, i64) = (0, i64::MAX);

    /// How many there are.
    #[inline]
    fn value(self) -> Value<'a> {
        (self.kept.len() as u64).saturating_add(self.omitted).value()
    }
}
