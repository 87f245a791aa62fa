//! `tcpflow run --save`: packets, calls and the kernel's answers in one capture file.

use std::collections::BTreeMap;
use std::path::Path;

use super::witnesses::Witnesses;
use crate::calls::{Call, Kept, Threads};
use crate::capture::Writer;
use crate::commands::Failure;
use crate::report;
use crate::story::Story;

/// Keeps what was seen: a pcapng gets comments on its packets, and the calls and the kernel's answers with it. Yields what is to be said of that.
///
/// # Errors
/// The file cannot be written.
pub(super) fn save(
    path: &Path,
    witnesses: &Witnesses,
    story: &Story,
    calls: Vec<Call>,
    threads: Threads,
    notices: Vec<String>,
) -> Result<String, Failure> {
    let mut writer = Writer::create(path)?;
    writer.interface(witnesses.interface(), "tcpflow run");
    let mut comments = if writer.keeps_more() { report::comments(story) } else { BTreeMap::new() };
    for frame in witnesses.frames() {
        writer.write(&frame.as_frame(), &comments.remove(&frame.number).unwrap_or_default())?;
    }
    let count = calls.len();
    let what = if writer.keeps_more() {
        if let Some(dropped) = witnesses.dropped() {
            writer.dropped(dropped);
        }
        let kept = Kept { threads, calls, evidence: witnesses.evidence().to_vec(), notices };
        writer.attach(&kept.to_bytes())?;
        format!("{} frames and {count} calls", witnesses.frames().len())
    } else {
        format!("{} frames (a .pcapng would keep the calls, too)", witnesses.frames().len())
    };
    writer.finish()?;
    Ok(format!("{what} are in {}", path.display()))
}
