//! Reading what was kept, in every version of the format.

use std::collections::HashSet;

use super::{
    COST_OF_EVIDENCE, Damaged, Kept, LONGEST_LINE, Line, Room, VERSION, claims, cost, first, is_plain, is_short, parsed,
};
use crate::calls::{Process, ProcessId, Thread};

impl Kept {
    /// Reads what [`to_bytes`](Self::to_bytes) wrote, into as much room as [`Room::default`] has.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<Self>, Damaged> {
        Self::read(bytes, &mut Room::default())
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, in this version of the format or the first one; `Ok(None)` when the bytes are something else's.
    ///
    /// Calls and answers for which `room` has no place are left out and counted there.
    /// What is read takes memory in proportion to `bytes`, and no more than `room` has, whatever they claim.
    ///
    /// # Errors
    /// The bytes begin as ours and are damaged, claim more than a call can have, or were written by a later version.
    pub fn read(bytes: &[u8], room: &mut Room) -> Result<Option<Self>, Damaged> {
        let mut lines = Lines::of(bytes);
        match lines.head() {
            Some(Line::Tcpflow { version: VERSION, .. }) => {}
            Some(Line::Tcpflow { version: first::VERSION, .. }) => return first::read(lines, room).map(Some),
            Some(Line::Tcpflow { version, .. }) => {
                return Err(Damaged(format!(
                    "written by a later tcpflow (format {version}); this one reads formats up to {VERSION}"
                )));
            }
            _ => return Ok(None),
        }
        let mut kept = Self::default();
        kept.read_lines(lines, room)?;
        Ok(Some(kept))
    }

    /// Takes in the lines that stand after the first one.
    pub(super) fn read_lines<'a>(
        &mut self,
        lines: impl Iterator<Item = (usize, &'a [u8])>,
        room: &mut Room,
    ) -> Result<(), Damaged> {
        let kept = self;
        let mut stacks = HashSet::new();
        for (number, line) in lines {
            let wrong = |what: String| Damaged::in_line(number, &what);
            match parsed(number, line)? {
                Line::Process(process) => {
                    is_short(&process.comm).map_err(wrong)?;
                    if room.take_told(2 * (size_of::<Process>() + process.comm.len())) {
                        kept.threads.add_process(process);
                    }
                }
                Line::Thread(thread) => {
                    is_short(&thread.comm).map_err(wrong)?;
                    if !room.take_told(2 * (size_of::<Thread>() + thread.comm.len())) {
                        continue;
                    }
                    let ProcessId(process) = thread.process;
                    if process as usize >= kept.threads.processes().len() {
                        return Err(wrong(format!("has a thread of process {process}, which is not described before")));
                    }
                    kept.threads.add(thread);
                }
                Line::Call(mut call) => {
                    claims(&call).map_err(wrong)?;
                    let shared = stacks.get(&call.stack).cloned();
                    let own = if shared.is_some() { 0 } else { call.stack.octets() };
                    if !room.take_call(cost(&call), own) {
                        continue;
                    }
                    match shared {
                        Some(shared) => call.stack = shared,
                        None => stacks.extend(Some(call.stack.clone())),
                    }
                    if kept.threads.get(call.thread()).is_none() {
                        let thread = call.thread().0;
                        return Err(wrong(format!("has a call of thread {thread}, which is not described before")));
                    }
                    kept.calls.push(*call);
                }
                Line::Evidence(evidence) => kept.evidence.extend(room.take_told(COST_OF_EVIDENCE).then_some(*evidence)),
                Line::Kernel(event) => {
                    is_plain(&event).map_err(wrong)?;
                    kept.kernel.extend(room.take_told(COST_OF_EVIDENCE).then_some(*event));
                }
                Line::Notice(notice) => kept.notice(notice, room),
                Line::Lost(calls) => kept.lost = kept.lost.saturating_add(calls),
                Line::Tcpflow { .. } => {}
            }
        }
        Ok(())
    }
}

/// The lines that are not empty, with their numbers.
pub(crate) struct Lines<L> {
    lines: L,
    number: usize,
}

impl<'a> Lines<()> {
    /// Those of a record.
    pub(crate) fn of(bytes: &'a [u8]) -> Lines<impl Iterator<Item = &'a [u8]>> {
        Lines { lines: bytes.split(|byte| *byte == b'\n'), number: 0 }
    }
}

impl<'a, L: Iterator<Item = &'a [u8]>> Lines<L> {
    /// The next line, if it is of that kind.
    pub(crate) fn head<K: for<'k> serde::Deserialize<'k>>(&mut self) -> Option<K> {
        let (_, line) = self.next().filter(|(_, line)| line.len() <= LONGEST_LINE)?;
        serde_json::from_slice(line).ok()
    }
}

impl<'a, L: Iterator<Item = &'a [u8]>> Iterator for Lines<L> {
    type Item = (usize, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let line = self.lines.next()?;
            self.number += 1;
            if !line.is_empty() {
                return Some((self.number, line));
            }
        }
    }
}
