//! Facts in sentences: one file for each language; machine-readable output is always English.

mod english;
pub(super) mod passages;

use std::borrow::Cow;

use crate::flow::{Connection, Disagreement, FindingAt, Verdict};
use crate::story::{Remark, Unwatched, Why};
use crate::tcp::Rule;

pub use english::English;

/// How facts are put into the sentences of one language; each takes what the core found, and none of them text.
pub trait Wording: Sync {
    /// How a connection ended: one or two sentences, with a full stop.
    fn verdict(&self, verdict: &Verdict) -> Cow<'static, str>;

    /// How a connection ended, and what ICMP errors said of it: one or two sentences.
    fn ending(&self, connection: &Connection) -> Cow<'static, str>;

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

    /// An arm of the machine, with a full stop.
    fn rule(&self, rule: Rule) -> &'static str;
}
