//! The processes and threads that made calls, each kept once; calls refer to them by id.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Call;

/// A thread's place in [`Threads`].
///
/// The kernel gives a tid to another thread once the first has ended, so the tid alone does not name one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ThreadId(pub u32);

/// A process's place in [`Threads`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProcessId(pub u32);

/// A process.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Process {
    /// Process id, in the pid namespace of the one who watched.
    pub pid: u32,
    /// The name of its first thread (`/proc/PID/comm`), which is anything at all: escape it before it is shown.
    pub comm: String,
}

/// A thread.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Thread {
    /// The process it belongs to.
    pub process: ProcessId,
    /// Thread id.
    pub tid: u32,
    /// Its own name (`/proc/PID/task/TID/comm`), which is anything at all: escape it before it is shown.
    pub comm: String,
}

/// The table of processes and threads.
///
/// It grows by one for each process and thread that is watched, and never with their calls; those that ended may be forgotten.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Threads {
    processes: BTreeMap<u32, Process>,
    threads: BTreeMap<u32, Thread>,
    /// How many there ever were.
    counts: Known,
    /// Threads that have ended since that was asked last.
    ended: Vec<ThreadId>,
}

/// How many processes and threads of a table somebody knows: all those with lower ids.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Known {
    processes: u32,
    threads: u32,
}

impl Threads {
    /// Takes in a process that was not there before.
    pub fn add_process(&mut self, process: Process) -> ProcessId {
        let id = ProcessId(next(&mut self.counts.processes));
        self.processes.insert(id.0, process);
        id
    }

    /// Takes in a thread that was not there before.
    pub fn add(&mut self, thread: Thread) -> ThreadId {
        let id = ThreadId(next(&mut self.counts.threads));
        self.threads.insert(id.0, thread);
        id
    }

    /// The latest process with that pid.
    pub fn process_with(&self, pid: u32) -> Option<ProcessId> {
        self.processes.iter().rev().find(|(_, process)| process.pid == pid).map(|(id, _)| ProcessId(*id))
    }

    /// The thread of that id, and its process; `None` for an id of another table, and for one that was forgotten.
    pub fn get(&self, id: ThreadId) -> Option<(&Thread, &Process)> {
        let thread = self.threads.get(&id.0)?;
        Some((thread, self.processes.get(&thread.process.0)?))
    }

    /// The processes, by id.
    pub fn processes(&self) -> impl ExactSizeIterator<Item = &Process> {
        self.processes.values()
    }

    /// The threads, by id.
    pub fn threads(&self) -> impl ExactSizeIterator<Item = &Thread> {
        self.threads.values()
    }

    /// Which of them whoever has this table knows.
    pub fn known(&self) -> Known {
        self.counts
    }

    /// A table of those only that somebody does not know yet, with the ids that they have here.
    pub fn beyond(&self, known: Known) -> Self {
        Self {
            processes: self.processes.range(known.processes..).map(|(id, process)| (*id, process.clone())).collect(),
            threads: self.threads.range(known.threads..).map(|(id, thread)| (*id, thread.clone())).collect(),
            counts: self.counts,
            ended: Vec::new(),
        }
    }

    /// Takes in those of the same table at a later moment, whole or [beyond](Self::beyond) what is known here.
    pub fn learn(&mut self, later: Self) {
        let known = self.counts;
        self.processes.extend(later.processes.into_iter().filter(|(id, _)| *id >= known.processes));
        self.threads.extend(later.threads.into_iter().filter(|(id, _)| *id >= known.threads));
        self.counts.processes = known.processes.max(later.counts.processes);
        self.counts.threads = known.threads.max(later.counts.threads);
    }

    /// Takes in that a thread makes no more calls.
    pub fn end(&mut self, id: ThreadId) {
        self.ended.push(id);
    }

    /// The threads that have ended since this was asked last.
    pub fn take_ended(&mut self) -> Vec<ThreadId> {
        std::mem::take(&mut self.ended)
    }

    /// Forgets a thread, and its process where that has no other; nobody asks for it any more.
    pub fn forget(&mut self, id: ThreadId) {
        let Some(thread) = self.threads.remove(&id.0) else { return };
        // The threads of a process lie close together.
        let has_another = self.threads.values().rev().any(|other| other.process == thread.process);
        if !has_another {
            self.processes.remove(&thread.process.0);
        }
    }

    /// Takes in those of another table, and gives its `calls` the ids that they have here.
    pub fn adopt(&mut self, other: Self, calls: &mut [Call]) {
        let Known { processes, threads } = self.counts;
        self.processes.extend(other.processes.into_iter().map(|(id, process)| (id.saturating_add(processes), process)));
        self.threads.extend(other.threads.into_iter().map(|(id, thread)| {
            let process = ProcessId(thread.process.0.saturating_add(processes));
            (id.saturating_add(threads), Thread { process, ..thread })
        }));
        self.counts.processes = processes.saturating_add(other.counts.processes);
        self.counts.threads = threads.saturating_add(other.counts.threads);
        for call in calls {
            call.id.thread.0 = call.id.thread.0.saturating_add(threads);
        }
    }
}

/// The next id; a table that has outgrown its ids names none.
fn next(count: &mut u32) -> u32 {
    let id = *count;
    *count = id.saturating_add(1);
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(pid: u32) -> Threads {
        let mut threads = Threads::default();
        let process = threads.add_process(Process { pid, comm: format!("p{pid}") });
        threads.add(Thread { process, tid: pid + 1, comm: format!("t{pid}") });
        threads
    }

    #[test]
    fn a_table_that_takes_another_in_keeps_who_was_who() {
        let (mut one, other) = (table(1), table(7));
        let mut calls = [Call::for_test(ThreadId(0))];
        one.adopt(other, &mut calls);
        let (thread, process) = one.get(calls[0].thread()).unwrap();
        assert_eq!((thread.tid, process.pid, one.process_with(7)), (8, 7, Some(ProcessId(1))));
        let (thread, process) = one.get(ThreadId(0)).unwrap();
        assert_eq!((thread.tid, process.pid), (2, 1));
        assert_eq!(one.get(ThreadId(9)), None);
    }

    #[test]
    fn a_table_is_told_by_what_is_new_in_it_and_forgets_what_has_ended() {
        let mut table = table(1);
        let mut told = table.clone();
        let process = table.add_process(Process { pid: 7, comm: "p7".into() });
        let (first, second) = (table.add(thread(process, 8)), table.add(thread(process, 9)));
        let news = table.beyond(told.known());
        assert_eq!((news.processes().len(), news.threads().len()), (1, 2));
        told.learn(news);
        assert_eq!(told, table);
        // A table that is older says nothing new.
        told.learn(Threads::default());
        told.forget(first);
        assert!(told.get(first).is_none() && told.get(second).is_some());
        told.forget(second);
        assert_eq!((told.processes().len(), told.threads().len()), (1, 1));
        // What was forgotten does not come back with the whole table.
        told.learn(table.clone());
        assert_eq!((told.threads().len(), told.known()), (1, table.known()));
    }

    fn thread(process: ProcessId, tid: u32) -> Thread {
        Thread { process, tid, comm: String::new() }
    }
}
