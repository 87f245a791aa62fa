//! The processes and threads that made calls, each kept once; calls refer to them by id.

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
/// It grows by one for each process and thread that is watched, and never with their calls.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Threads {
    processes: Vec<Process>,
    threads: Vec<Thread>,
}

impl Threads {
    /// Takes in a process that was not there before.
    pub fn add_process(&mut self, process: Process) -> ProcessId {
        self.processes.push(process);
        ProcessId(last(self.processes.len()))
    }

    /// Takes in a thread that was not there before.
    pub fn add(&mut self, thread: Thread) -> ThreadId {
        self.threads.push(thread);
        ThreadId(last(self.threads.len()))
    }

    /// The latest process with that pid.
    pub fn process_with(&self, pid: u32) -> Option<ProcessId> {
        self.processes.iter().rposition(|process| process.pid == pid).map(|place| ProcessId(place as u32))
    }

    /// The thread of that id, and its process; `None` for an id of another table.
    pub fn get(&self, id: ThreadId) -> Option<(&Thread, &Process)> {
        let thread = self.threads.get(id.0 as usize)?;
        Some((thread, self.processes.get(thread.process.0 as usize)?))
    }

    /// The processes, by id.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// The threads, by id.
    pub fn threads(&self) -> &[Thread] {
        &self.threads
    }

    /// Takes in those of another table, and gives its `calls` the ids that they have here.
    pub fn adopt(&mut self, other: Self, calls: &mut [Call]) {
        let (processes, threads) = (self.processes.len() as u32, self.threads.len() as u32);
        self.processes.extend(other.processes);
        self.threads.extend(
            other
                .threads
                .into_iter()
                .map(|thread| Thread { process: ProcessId(thread.process.0.saturating_add(processes)), ..thread }),
        );
        for call in calls {
            call.id.thread.0 = call.id.thread.0.saturating_add(threads);
        }
    }
}

/// The place of the last of `len`; a table that has outgrown its ids names none.
fn last(len: usize) -> u32 {
    u32::try_from(len - 1).unwrap_or(u32::MAX)
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
}
