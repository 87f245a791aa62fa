//! Facts in sentences: one file for each language; machine-readable output is always English.

mod accounts;
mod amount;
mod breakdown;
mod english;
mod mistakes;
pub(super) mod passages;
mod problem;

use std::borrow::Cow;

use crate::flow::{Breakdown, Class, Connection, Disagreement, FindingAt, Verdict};
use crate::story::{Account, Mistake, Remark, Unwatched, Why};
use crate::tcp::Rule;

pub use english::English;

/// How facts are put into the sentences of one language; each takes what the core found, and none of them text.
pub trait Wording: Sync {
    /// How a connection ended: one or two sentences, with a full stop.
    fn verdict(&self, verdict: &Verdict) -> Cow<'static, str>;

    /// How a connection ended, and what hurt it most, or what ICMP errors said of it: at most two sentences.
    fn ending(&self, connection: &Connection) -> Cow<'static, str>;

    /// Where a connection's time went: one sentence, with a full stop, that names the largest parts.
    fn time_spent(&self, breakdown: &Breakdown) -> Cow<'static, str>;

    /// What a class of a breakdown is called.
    fn class(&self, class: Class) -> &'static str;

    /// The most that one line can say where its columns tell how the connection ended: what hurt it most, or else how it ended.
    fn brief(&self, connection: &Connection) -> Cow<'static, str>;

    /// What is remarkable about a segment: one sentence, with a full stop.
    fn finding(&self, finding: &FindingAt) -> Cow<'static, str>;

    /// What a witness said against the segments: a sentence without a full stop, as are all below.
    fn disagreement(&self, disagreement: &Disagreement) -> Cow<'static, str>;

    /// Why a segment was sent.
    fn why(&self, why: &Why) -> Cow<'static, str>;

    /// The kind of call that a segment follows from, where a mark says that none was watched.
    fn unwatched(&self, kind: Unwatched) -> &'static str;

    /// What is worth saying of a call.
    fn remark(&self, remark: &Remark) -> Cow<'static, str>;

    /// What seems wrong with how a program uses a socket: what it does, what comes of it, and where there is one, the way out; with a full stop.
    fn mistake(&self, mistake: &Mistake) -> Cow<'static, str>;

    /// How a connection ended, by calls and states alone; with a full stop.
    fn account(&self, account: &Account) -> Cow<'static, str>;

    /// An arm of the machine, with a full stop.
    fn rule(&self, rule: Rule) -> &'static str;
}
