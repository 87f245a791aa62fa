//! The `connection` line and the `finding` line, written member by member from the list of fields.

use std::net::SocketAddr;

use super::Lines;
use crate::flow::{Class, Connection, FindingAt, Left, Parts, ProbeEnd, Problem, SideSummary, Verdict};
use crate::report::field::{
    Code, Findings, Frame, connection_fields, end_fields, parts_fields, problem_fields, reason_fields, side_fields,
};
use crate::report::wording::{English, Wording};
use crate::tcp::State;
use crate::time::Span;

/// Writes the members of an object, after others of it.
macro_rules! members {
    (($out:ident, $of:expr) |$bound:ident| $($block:ident { $($rows:tt)* })*) => {
        let $bound = $of;
        $(block! { $out $block { $($rows)* } })*
    };
}

/// Writes the beginning of an object and its members.
macro_rules! begun {
    (($out:ident, $of:expr) |$bound:ident| rows {
        $(#[$doc:meta])* $name:ident: $type:ty $(, in $unit:ident)? $(, as $heading:literal)? = $value:expr;
        $($rows:tt)*
    } $($block:ident { $($more:tt)* })*) => {
        let $bound = $of;
        $out.text(concat!("{\"", stringify!($name), "\":")).put($value);
        block! { $out rows { $($rows)* } }
        $(block! { $out $block { $($more)* } })*
    };
}

/// Writes one block of the list of fields.
macro_rules! block {
    ($out:ident rows { $(
        $(#[$doc:meta])* $name:ident: $type:ty $(, in $unit:ident)? $(, as $heading:literal)? = $value:expr;
    )* }) => {
        $($out.text(concat!(",\"", stringify!($name), "\":")).put($value);)*
    };
    ($out:ident mostly_zero { $(
        $(#[$doc:meta])* $name:ident: $type:ty $(, in $unit:ident)? = $value:expr;
    )* }) => {
        if 0 $(| $value)* == 0 {
            $out.text(concat!($(",\"", stringify!($name), "\":0"),*));
        } else {
            $($out.text(concat!(",\"", stringify!($name), "\":")).number($value);)*
        }
    };
    ($out:ident ends { $($(#[$doc:meta])* $name:ident, as $heading:literal = $of:expr;)* }) => {
        $($out.text(concat!(",\"", stringify!($name), "\":")).end($of);)*
    };
    ($out:ident problems { $($(#[$doc:meta])* $name:ident = $of:expr;)* }) => {
        $($out.text(concat!(",\"", stringify!($name), "\":")).problem($of);)*
    };
    ($out:ident sides { $($(#[$doc:meta])* $name:ident = $of:expr;)* }) => {
        $($out.text(concat!(",\"", stringify!($name), "\":")).side($of);)*
    };
    ($out:ident reasons { $($(#[$doc:meta])* $name:ident = $of:expr;)* }) => {
        $($out.text(concat!(",\"", stringify!($name), "\":")).reason($of);)*
    };
    ($out:ident divided { $(#[$whole_doc:meta])* $whole:ident: $divided:expr, |$b:ident| {
        $(#[$first_doc:meta])* $first:ident = $of_first:expr;
        $($(#[$doc:meta])* $name:ident = $of:expr;)*
    } }) => {
        $out.text(concat!(",\"", stringify!($whole), "\":"));
        match $divided {
            None => _ = $out.text("null"),
            Some($b) => {
                $out.text(concat!("{\"", stringify!($first), "\":")).parts($of_first);
                $($out.text(concat!(",\"", stringify!($name), "\":")).parts($of);)*
                $out.text("}");
            }
        }
    };
}

impl Lines {
    pub(super) fn connection(&mut self, connection: &Connection) {
        self.text(r#"{"type":"connection""#);
        connection_fields! { members (self, connection) }
        self.text("}");
    }

    fn side(&mut self, side: &SideSummary) {
        side_fields! { begun (self, side) }
        self.text("}");
    }

    fn parts(&mut self, parts: &Parts) {
        parts_fields! { begun (self, Some(parts)) }
        self.text("}");
    }

    /// The verdict as data: its code, and what else a verdict with that code has.
    fn reason(&mut self, verdict: &Verdict) {
        reason_fields! { begun (self, verdict) }
        match *verdict {
            Verdict::Closed { first, left } => {
                self.text(r#","first":"#).name(first.name());
                self.text(r#","left_in":"#).put(match left {
                    Left::TimeWait => Some(State::TimeWait),
                    Left::LastAck => Some(State::LastAck),
                    Left::Nothing => None,
                });
            }
            Verdict::ClosedTogether { waiting } => {
                self.text(r#","waiting":"#).text(match waiting {
                    [true, true] => r#"["client","server"]"#,
                    [true, false] => r#"["client"]"#,
                    [false, true] => r#"["server"]"#,
                    [false, false] => "[]",
                });
            }
            Verdict::HalfClosed { by, in_close_wait } => {
                self.text(r#","by":"#).name(by.name()).text(r#","in_close_wait":"#).put(in_close_wait);
            }
            Verdict::CloseUnseen { by, of, beyond } => {
                if let Some(by) = by {
                    self.text(r#","by":"#).name(by.name());
                }
                self.text(r#","of":"#).name(of.name()).text(r#","beyond":"#).put(beyond);
            }
            Verdict::OneDirection { captured, closed, reset } => {
                self.text(r#","captured":"#).name(captured.name()).text(r#","closed":"#).put(closed);
                if reset {
                    self.text(r#","by":"#).name(captured.name());
                }
            }
            Verdict::Probe { by, lasted } => {
                let by = match by {
                    ProbeEnd::Fin => "fin",
                    ProbeEnd::Reset => "rst",
                };
                self.text(r#","closed_with":"#).name(by).text(r#","lasted_ns":"#).put(lasted);
            }
            Verdict::Reset { by, .. } | Verdict::GivenUp { by } => _ = self.text(r#","by":"#).name(by.name()),
            Verdict::Unanswered { syns, lasted, instead } => {
                self.text(r#","syns":"#).number(syns).text(r#","lasted_ns":"#).put(lasted);
                if let Some(instead) = instead {
                    self.text(r#","instead":"#).name(instead.name());
                }
            }
            Verdict::Refused
            | Verdict::OnlyResets
            | Verdict::OnlySynsWithReset
            | Verdict::Midstream
            | Verdict::Established
            | Verdict::Gone
            | Verdict::HandshakeUnfinished
            | Verdict::Open => {}
        }
        self.text("}");
    }

    /// What hurt the connection most, or null.
    fn problem(&mut self, problem: Option<&Problem>) {
        if problem.is_none() {
            self.text("null");
            return;
        }
        problem_fields! { begun (self, problem) }
        self.text("}");
    }

    pub(super) fn end(&mut self, end: SocketAddr) -> &mut Self {
        end_fields! { begun (self, end) }
        self.text("}")
    }

    /// The fields of a finding, and the end of its object.
    pub(super) fn finding(&mut self, at: &FindingAt) -> &mut Self {
        self.text(r#""name":"#).name(at.finding.name());
        self.text(r#","frame":"#).put(at.frame).text(r#","side":"#).name(at.side.name());
        self.text(r#","note":"#).put(English.finding(at)).text("}")
    }
}
