//! Calls that are kept while they are made: a record that is written in parts, each of which goes on with the threads of those before.

use std::collections::HashSet;

use super::reading::Lines;
use super::{Damaged, Kept, Line, Room, VERSION, written};
use crate::calls::{Call, Known, Threads};

/// Writes a record in parts.
///
/// A call that has not returned may be written once more when it has: the latest is the one that holds.
#[derive(Clone, Debug, Default)]
pub struct Parts {
    begun: bool,
    known: Known,
}

impl Parts {
    /// The next part: what of the threads was not written before, and these calls of theirs.
    pub fn part<'a>(&mut self, threads: &Threads, calls: impl Iterator<Item = &'a Call>) -> Vec<u8> {
        let new = threads.beyond(self.known);
        let lines = std::iter::once(Line::Tcpflow { version: VERSION, continues: self.begun })
            .chain(new.processes().cloned().map(Line::Process))
            .chain(new.threads().cloned().map(Line::Thread))
            .chain(calls.map(|call| Line::Call(Box::new(call.clone()))));
        let bytes = written(lines);
        (self.begun, self.known) = (true, threads.known());
        bytes
    }
}

/// Reads the records of a file, whole ones and such as were written in [`Parts`].
#[derive(Debug, Default)]
pub struct PartsRead {
    records: Vec<Kept>,
    /// Whether the last of them has several parts.
    is_parted: bool,
    /// Whether the last one was damaged: what goes on with its threads cannot be read.
    is_broken: bool,
}

impl PartsRead {
    /// Reads the next record of the file; what is something else's is passed over.
    ///
    /// # Errors
    /// As [`Kept::read`]. Of a record in parts those before the damaged one are read all the same, and those after it are not.
    pub fn read(&mut self, bytes: &[u8], room: &mut Room) -> Result<(), Damaged> {
        let mut lines = Lines::of(bytes);
        if !matches!(lines.head(), Some(Line::Tcpflow { version: VERSION, continues: true })) {
            self.settle();
            let read = Kept::read(bytes, room);
            self.is_broken = read.is_err();
            self.records.extend(read?);
            return Ok(());
        }
        if self.is_broken {
            return Ok(());
        }
        let Some(last) = self.records.last_mut() else {
            return Err(Damaged("the beginning of a record is missing".to_owned()));
        };
        self.is_parted = true;
        let read = last.read_lines(lines, room);
        self.is_broken = read.is_err();
        read
    }

    /// The records, each whole.
    pub fn finish(mut self) -> Vec<Kept> {
        self.settle();
        self.records
    }

    /// Of calls that were written when they had not returned, and again when they had, leaves the latest.
    fn settle(&mut self) {
        let Some(last) = self.records.last_mut().filter(|_| std::mem::take(&mut self.is_parted)) else { return };
        let mut known = HashSet::new();
        last.calls.reverse();
        last.calls.retain(|call| known.insert(call.id));
        last.calls.reverse();
        last.calls.sort_by_key(|call| call.entered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{CallId, Op, Process, Returned, Thread};
    use crate::time::Timestamp;

    fn add(threads: &mut Threads, pid: u32) -> CallId {
        let process = threads.add_process(Process { pid, comm: "a".into() });
        CallId { thread: threads.add(Thread { process, tid: pid, comm: "a".into() }), n: 0 }
    }

    fn call(id: CallId, at: i64, returned: Option<i64>) -> Call {
        let returned = returned.map(|at| Returned {
            at: Timestamp::from_nanos(at),
            result: Ok(0),
            octets: None,
            preview: Vec::new(),
        });
        Call {
            id,
            entered: Timestamp::from_nanos(at),
            op: Op::Close,
            sockets: Vec::new(),
            returned,
            stack: Default::default(),
        }
    }

    #[test]
    fn what_was_kept_in_parts_is_read_as_one() {
        let (mut threads, mut parts) = (Threads::default(), Parts::default());
        let first = add(&mut threads, 7);
        let open = call(first, 1, None);
        let one = parts.part(&threads, [&open].into_iter());
        let second = add(&mut threads, 8);
        let (done, other) = (call(first, 1, Some(9)), call(second, 3, Some(4)));
        let two = parts.part(&threads, [&other, &done].into_iter());
        let foreign = b"something else";

        let mut read = PartsRead::default();
        for part in [&one[..], foreign, &two] {
            read.read(part, &mut Room::default()).expect("readable");
        }
        let kept = read.finish();
        assert_eq!(kept, [Kept { threads, calls: vec![done, other], ..Kept::default() }]);

        // Killed before the second part: the call has not returned.
        let mut read = PartsRead::default();
        read.read(&one, &mut Room::default()).expect("readable");
        assert_eq!(read.finish()[0].calls, [open]);
        // Without the first part nobody knows whose calls these are.
        assert!(PartsRead::default().read(&two, &mut Room::default()).is_err());
    }

    #[test]
    fn what_follows_a_damaged_part_is_left_out_and_what_stands_before_it_is_read() {
        let (mut threads, mut parts) = (Threads::default(), Parts::default());
        let id = add(&mut threads, 7);
        let calls = [0, 1, 2].map(|n| call(CallId { n, ..id }, n as i64, Some(5)));
        let [one, two, three] = [0, 1, 2].map(|n: usize| parts.part(&threads, [&calls[n]].into_iter()));
        let mut read = PartsRead::default();
        read.read(&one, &mut Room::default()).expect("readable");
        assert!(read.read(&two[..two.len() - 5], &mut Room::default()).is_err());
        read.read(&three, &mut Room::default()).expect("it is passed over");
        assert_eq!(read.finish()[0].calls, calls[..1]);
    }
}
