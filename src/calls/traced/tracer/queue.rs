//! What the kernel has recorded of watched programs, put in order, with what was asked about sockets meanwhile.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use super::super::super::SocketId;
use super::super::abi::RECORDED;
use super::super::decode;
use super::super::system::{self, Look, Memory, Tid};
use super::nameless::Nameless;
use crate::hash::{HashMap, HashSet};
use crate::kernel::{
    Beside, Drained, KernelAct, KernelSocket, ProgramAct, ProgramRecord, ProgramTrace, Said, Untraced, UserStack, now,
};
use crate::tcp::State;
use crate::time::{Span, Timestamp};

/// What the kernel has recorded and was not dealt with yet, and what was asked about sockets meanwhile.
pub(super) struct Recorded {
    pub(super) trace: ProgramTrace,
    pub(super) queue: VecDeque<Queued>,
    /// When the last reading of the buffers began.
    pub(super) reading: Timestamp,
    /// All that happened before this is known, and in order.
    pub(super) before: Timestamp,
    /// The calls in which threads are whose sockets are looked at when they return.
    pub(super) inside: HashMap<Tid, (u64, [u64; 6])>,
    pub(super) handles: HashMap<Tid, OwnedFd>,
    pub(super) nameless: Nameless,
    /// What was found out for the record that is dealt with.
    pub(super) looks: Vec<(i32, Look)>,
    pub(super) addresses: Addresses,
    /// The sockets whose connecting was recorded, by thread, and their ends, as far as they are known.
    pub(super) connecting: HashMap<Tid, KernelSocket>,
    pub(super) ends: HashMap<KernelSocket, [SocketAddr; 2]>,
    /// The threads that are recorded, and the sockets that they began to connect, as far as the records have been read.
    pub(super) threads: HashSet<Tid>,
    /// Those of them that have ended, in the last reading and in this one: changes of state are read first, so that what they did to the
    /// last comes in the next reading.
    over: [HashSet<Tid>; 2],
    begun: Begun,
    /// The last reading left something in a buffer.
    pub(super) is_behind: bool,
    pub(super) lost: u64,
    pub(super) named: u64,
    pub(super) checked: Timestamp,
}

/// Something to be dealt with.
pub(super) struct Queued {
    pub(super) at: Timestamp,
    pub(super) what: What,
    /// What was seen of sockets after the record was read: it is true of the descriptor if that was not closed by then.
    pub(super) looks: Vec<(i32, Look)>,
}

/// What it is.
pub(super) enum What {
    Record(ProgramRecord),
    /// A descriptor that a process had when it was joined.
    Found {
        tid: Tid,
        fd: i32,
        look: Box<Look>,
        until_exec: bool,
        unread: Option<u32>,
        is_shared: bool,
    },
    /// From here on records are missing.
    Gap,
    /// A call in which a thread was at that time.
    Inside {
        tid: Tid,
        nr: u64,
        args: [u64; 6],
        /// What was seen of what it waits for.
        stack: UserStack,
    },
}

/// What a process that was joined brought.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joining {
    /// How many threads it has.
    pub threads: usize,
    /// How many TCP sockets it had open.
    pub sockets: usize,
}

/// Why calls are not recorded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refused {
    /// There is no such process.
    Gone,
    /// It belongs to another user.
    OtherUser,
    /// The kernel does not permit it to this user.
    Forbidden,
    /// The kernel cannot do it, or its tracepoints cannot be found.
    Absent,
    /// It takes so many descriptors, more than may be open.
    Descriptors(u64),
    /// Something else: the system's words for it.
    Other(String),
}

impl From<Untraced> for Refused {
    fn from(why: Untraced) -> Self {
        match why {
            Untraced::Forbidden => Self::Forbidden,
            Untraced::Absent => Self::Absent,
            Untraced::Other(why) => Self::Other(why),
        }
    }
}

impl Recorded {
    /// Nothing yet; `stack` octets of the stack are recorded with each call.
    pub(super) fn open(stack: u32) -> Result<Self, Untraced> {
        let now = now();
        Ok(Self {
            trace: ProgramTrace::open(RECORDED, stack)?,
            queue: VecDeque::new(),
            reading: now,
            before: now,
            inside: HashMap::default(),
            handles: HashMap::default(),
            nameless: Nameless::default(),
            looks: Vec::new(),
            addresses: Addresses::default(),
            connecting: HashMap::default(),
            ends: HashMap::default(),
            threads: HashSet::default(),
            over: Default::default(),
            begun: Begun::default(),
            is_behind: false,
            lost: 0,
            named: 0,
            checked: now,
        })
    }

    /// What was found out about the socket at a descriptor for the record that is dealt with.
    pub(super) fn look(&self, fd: i32) -> Option<Look> {
        self.looks.iter().find(|(of, _)| *of == fd).map(|(_, look)| look.clone())
    }

    /// Reads the buffers to their end, unless more comes as fast.
    pub(super) fn gather_all(&mut self) {
        to_the_end(|| {
            self.gather();
            self.is_behind
        });
    }

    /// Reads the buffers, as much as is read at once, and looks at once at the sockets that are new or have got their ends.
    pub(super) fn gather(&mut self) {
        let (began, last) = (now(), self.reading);
        // What happened before a reading began is in its buffer by the next one, unless the processor was kept from finishing its record.
        let mut records = Vec::new();
        let Drained { lost, is_part, whole_until } = self.trace.drain(&mut records);
        // Nor is all known that comes after what was read, where that was not all.
        let until = if is_part { whole_until.unwrap_or(last).min(began) } else { began };
        self.before = self.reading.min(until).min(began.after(Span(-UNFINISHED.0)));
        self.reading = until;
        self.is_behind = is_part;
        if lost > 0 {
            self.lost += lost;
            self.queue.push_back(Queued { at: last, what: What::Gap, looks: Vec::new() });
        }
        // Records are lost, and what is left is old: the rest of it is given up for what happens now.
        if lost > 0 && is_part && is_too_late(began.since(until)) {
            self.skip(until, &mut records);
        }
        records.sort_by_key(|record| record.at);
        // Where something was left, what those threads did may be among that.
        if !self.is_behind {
            self.over.swap(0, 1);
        }
        // Where records are missing, its return may be among these.
        let waiting = if self.is_behind || lost > 0 { HashMap::default() } else { waiting(&records) };
        for (n, mut record) in records.into_iter().enumerate() {
            if !self.is_of_interest(&record) {
                continue;
            }
            if !self.is_behind {
                look_beside(&mut record);
            }
            if waiting.get(&record.tid) == Some(&n)
                && let ProgramAct::Entered { nr, args, stack, .. } = &mut record.what
            {
                stack.beside = look_at_wait(record.pid, record.tid, *nr, *args);
            }
            let looks = self.looks_for(&record);
            self.queue.push_back(Queued { at: record.at, what: What::Record(record), looks });
        }
        self.queue.make_contiguous().sort_by_key(|queued| queued.at);
        if !self.is_behind {
            for tid in self.over[0].drain() {
                self.threads.remove(&tid);
            }
        }
    }

    /// Gives up what was recorded after `since` and is not dealt with, but for the lives of threads.
    fn skip(&mut self, since: Timestamp, records: &mut Vec<ProgramRecord>) {
        let given_up = give_up(&mut self.queue, records, since);
        self.lost += given_up + self.trace.skip(records);
        self.queue.push_back(Queued { at: since, what: What::Gap, looks: Vec::new() });
        self.inside.clear();
        self.reading = now();
        self.is_behind = false;
    }

    /// Takes in that a thread is recorded.
    fn begins(&mut self, tid: Tid) {
        self.threads.insert(tid);
        self.over.iter_mut().for_each(|over| _ = over.remove(&tid));
    }

    /// Whether a record is about the watched programs: changes of state are recorded of the whole host.
    fn is_of_interest(&mut self, record: &ProgramRecord) -> bool {
        match &record.what {
            ProgramAct::Forked { tid, .. } if self.threads.contains(&record.tid) => self.begins(*tid),
            ProgramAct::Ended => _ = self.over[1].insert(record.tid),
            // Whichever thread executes a program has the number of the process then.
            ProgramAct::Named { executes: true, .. } => self.begins(record.tid),
            ProgramAct::State(said) => {
                let own = nix::unistd::gettid().as_raw();
                let is_theirs = self.threads.contains(&record.tid) || record.tid == own;
                return self.begun.takes(said, is_theirs);
            }
            _ => {}
        }
        true
    }

    pub(super) fn looks_for(&mut self, record: &ProgramRecord) -> Vec<(i32, Look)> {
        let (pid, tid) = (record.pid, record.tid);
        // What became of a descriptor since is not known where there is more to read.
        let is_known = !self.is_behind;
        let fds = match &record.what {
            ProgramAct::Entered { nr, args, .. } => {
                if decode::connects(*nr, *args)
                    || matches!(*nr as i64, libc::SYS_bind | libc::SYS_listen | libc::SYS_recvmsg)
                {
                    self.inside.insert(tid, (*nr, *args));
                }
                return Vec::new();
            }
            ProgramAct::Returned { nr, result, stack } => {
                let entered = self.inside.remove(&tid).filter(|(entered, _)| entered == nr);
                let is_begun = *result == 0 || *result == -i64::from(libc::EINPROGRESS);
                match (*nr as i64, entered) {
                    (libc::SYS_accept | libc::SYS_accept4 | libc::SYS_pidfd_getfd, _) if *result >= 0 => {
                        vec![*result as i32]
                    }
                    (libc::SYS_connect, Some((_, args))) if is_begun => vec![args[0] as i32],
                    (libc::SYS_sendto | libc::SYS_sendmsg | libc::SYS_sendmmsg, Some((_, args)))
                        if *result >= 0 || is_begun =>
                    {
                        vec![args[0] as i32]
                    }
                    (libc::SYS_bind | libc::SYS_listen, Some((_, args))) if *result == 0 => vec![args[0] as i32],
                    (libc::SYS_recvmsg, Some((nr, args))) if *result >= 0 => {
                        let memory = Memory::Stack(stack);
                        decode::asked(nr, args, memory).map(|asked| asked.passed(memory)).unwrap_or_default()
                    }
                    _ => return Vec::new(),
                }
            }
            ProgramAct::Ended if pid == tid => {
                self.handles.remove(&pid);
                return Vec::new();
            }
            _ => return Vec::new(),
        };
        let mut looks = Vec::new();
        for fd in fds.into_iter().filter(|_| is_known) {
            if let Some(look) = self.handle(pid).and_then(|handle| system::look(handle, fd)) {
                looks.push((fd, look));
            }
        }
        looks
    }

    /// The process of that number, for looking at its sockets.
    pub(super) fn handle(&mut self, pid: Tid) -> Option<&OwnedFd> {
        match self.handles.entry(pid) {
            Entry::Occupied(known) => Some(known.into_mut()),
            Entry::Vacant(free) => system::process(pid).map(|new| &*free.insert(new)),
        }
    }

    /// The next record, if all that happened before it is known, and some time afterwards.
    pub(super) fn next(&mut self, all: bool) -> Option<Queued> {
        self.queue.front().is_some_and(|queued| all || queued.at < self.before).then(|| self.queue.pop_front())?
    }

    /// How many sockets began to connect of which no changes of state are taken that happen on other programs' time.
    pub(super) fn unfollowed(&self) -> u64 {
        self.begun.left_out
    }

    /// A name for a socket whose inode is not known.
    pub(super) fn name(&mut self) -> SocketId {
        self.named += 1;
        SocketId(NAMED + self.named)
    }
}

/// What was read last where processes have addresses to which they connect.
#[derive(Default)]
pub(super) struct Addresses(HashMap<(Tid, u64), Box<Beside>>);

impl Addresses {
    /// Takes in what was read at a place of a process; what lies there, as it was read last.
    pub(super) fn there(&mut self, pid: Tid, at: u64, read: Option<&Beside>) -> Option<Box<Beside>> {
        if let Some(read) = read {
            if self.0.len() >= MOST_ADDRESSES {
                self.0.clear();
            }
            self.0.insert((pid, at), Box::new(read.clone()));
        }
        self.0.get(&(pid, at)).cloned()
    }

    /// Takes in that a process has ended, or executes another program: nothing lies anywhere any more.
    pub(super) fn forget(&mut self, pid: Tid) {
        self.0.retain(|(of, _), _| *of != pid);
    }
}

/// The sockets that the watched programs began to connect and that were not closed since.
#[derive(Default)]
struct Begun {
    sockets: HashSet<KernelSocket>,
    /// How many were left out, as there was no room for them.
    left_out: u64,
}

impl Begun {
    /// Whether a change of state is one of their sockets: what follows upon a SYN happens on anybody's time.
    fn takes(&mut self, said: &Said, is_on_their_time: bool) -> bool {
        let (Some(socket), KernelAct::State { from, to }) = (said.socket, &said.what) else { return is_on_their_time };
        if is_on_their_time && (*from, *to) == (State::Closed, State::SynSent) {
            match self.sockets.len() < MOST_BEGUN {
                true => _ = self.sockets.insert(socket),
                false => self.left_out += 1,
            }
        }
        let is_begun = self.sockets.contains(&socket);
        if *to == State::Closed {
            self.sockets.remove(&socket);
        }
        is_on_their_time || is_begun
    }
}

/// Reads until nothing is left behind, unless more comes as fast.
fn to_the_end(mut leaves_some: impl FnMut() -> bool) {
    for _ in 0..MOST_READINGS {
        if !leaves_some() {
            return;
        }
    }
}

/// Looks at what a call was told of an address, if that is not among what was recorded of the stack.
///
/// Where an address is asked for, that is its length. The kernel writes how long the address is there, and nothing where it finds the
/// length negative: so one that is negative now was so before.
/// Where the call connects it is the address, which is what it was unless the program has put another one there since.
fn look_beside(record: &mut ProgramRecord) {
    let ProgramAct::Entered { nr, args, stack, is_foreign: false } = &mut record.what else { return };
    let (at, len) = match *nr as i64 {
        libc::SYS_accept | libc::SYS_accept4 | libc::SYS_getsockname | libc::SYS_getpeername if args[1] != 0 => {
            (args[2], 4)
        }
        _ if decode::connects(*nr, *args) => match decode::connects_by(*nr, *args, Memory::Stack(stack)) {
            Some((at, len)) => (at, len.min(LONGEST_ADDRESS) as usize),
            None => return,
        },
        _ => return,
    };
    if at == 0 || len < 4 || Memory::Stack(stack).half(at).is_some() {
        return;
    }
    let is_negative = |octets: &[u8]| octets.try_into().is_ok_and(|octets| i32::from_ne_bytes(octets) < 0);
    let read = system::beside(record.pid, &[(at, len)]);
    let counts = |read: &Beside| read.pieces.iter().all(|(_, octets)| is_negative(octets));
    stack.beside = read.filter(|read| decode::connects(*nr, *args) || counts(read));
}

/// The threads that, as far as these records tell, are in a wait for more than is among what was recorded of their stacks; by which record.
fn waiting(records: &[ProgramRecord]) -> HashMap<Tid, usize> {
    let is_elsewhere = |record: &ProgramRecord| match &record.what {
        ProgramAct::Entered { nr, args, stack, is_foreign: false } => is_wait_elsewhere(*nr, *args, stack),
        _ => false,
    };
    // Few calls are waits.
    if !records.iter().any(is_elsewhere) {
        return HashMap::default();
    }
    let calls = (0..).zip(records).filter(|(_, record)| !matches!(record.what, ProgramAct::State(_)));
    let last: HashMap<Tid, (usize, &ProgramRecord)> = calls.map(|(n, record)| (record.tid, (n, record))).collect();
    let waiting = last.into_iter().filter(|(_, (_, record))| is_elsewhere(record));
    waiting.map(|(tid, (n, _))| (tid, n)).collect()
}

/// Whether a call waits for what lies, in part, elsewhere than on the stack.
fn is_wait_elsewhere(nr: u64, args: [u64; 6], stack: &UserStack) -> bool {
    let is_elsewhere = |(at, len): &(u64, usize)| Memory::Stack(stack).first(*at, *len).len() < *len;
    decode::waits_for(nr, args).iter().any(is_elsewhere)
}

/// Looks at what a thread waits for that is in that call, as the records say: the kernel writes there only when the call returns.
///
/// It is what the call was told if that had not returned by then. Where the thread was in another call already, the return of this one is
/// in its buffer when the look is over.
pub(super) fn look_at_wait(pid: Tid, tid: Tid, nr: u64, args: [u64; 6]) -> Option<Box<Beside>> {
    let places = decode::waits_for(nr, args);
    let seen = if places.is_empty() { None } else { system::beside(tid, &places) };
    seen.filter(|_| system::call_of(pid, tid).is_some_and(|(now, _)| now == nr))
}

/// Whether what is read is so old that it is given up for what happens now, where records are lost anyway.
fn is_too_late(behind: Span) -> bool {
    behind > MOST_BEHIND
}

/// Takes out what was recorded after a moment, but for the lives of threads; how many records of calls were among it.
fn give_up(queue: &mut VecDeque<Queued>, records: &mut Vec<ProgramRecord>, since: Timestamp) -> u64 {
    let mut given_up = 0;
    let mut keeps = |record: &ProgramRecord| match record.what {
        _ if record.at <= since => true,
        ProgramAct::Entered { .. } | ProgramAct::Returned { .. } => {
            given_up += 1;
            false
        }
        ProgramAct::State(_) => false,
        _ => true,
    };
    queue.retain(|queued| match &queued.what {
        What::Record(record) => keeps(record),
        _ => true,
    });
    records.retain(keeps);
    given_up
}

/// How many sockets are remembered that began to connect and were not closed since.
const MOST_BEGUN: usize = 1 << 16;
/// How far behind the reading may be where records are lost.
const MOST_BEHIND: Span = Span::from_millis(500);
/// How many places are remembered at which processes have addresses.
const MOST_ADDRESSES: usize = 1024;
/// How long the address of a socket is at most that is looked at (`struct sockaddr_in6`).
const LONGEST_ADDRESS: u64 = 28;
/// How often the buffers are read to reach their end.
const MOST_READINGS: usize = 64;
/// How long it may take the kernel to finish a record: interrupts keep it from that, and what they bring with them.
pub(super) const UNFINISHED: Span = Span::from_millis(5);
/// Beyond all inodes, and before the names of sockets that cannot be looked at.
const NAMED: u64 = 1 << 62;

#[cfg(test)]
mod tests {
    use super::*;

    fn change(socket: u64, from: State, to: State) -> Said {
        let [local, peer] = ["127.0.0.1:40000", "127.0.0.1:80"].map(|end| end.parse().expect("an end"));
        Said { local, peer, socket: Some(KernelSocket(socket)), what: KernelAct::State { from, to } }
    }

    #[test]
    fn of_sockets_that_connect_so_many_are_followed_on_other_programs_time() {
        use State::{Closed, Established, SynSent};
        let mut begun = Begun::default();
        let beyond = MOST_BEGUN as u64;
        // What happens on their own time is taken of all of them.
        assert!((0..=beyond).all(|socket| begun.takes(&change(socket, Closed, SynSent), true)));
        let mut answered = |socket| begun.takes(&change(socket, SynSent, Established), false);
        assert!((0..beyond).all(&mut answered));
        assert!(!answered(beyond), "there was no room for it");
        // With one that is closed there is room for another one.
        assert!(begun.takes(&change(0, Established, Closed), false));
        assert!(!begun.takes(&change(0, Closed, SynSent), false));
        assert!(begun.takes(&change(beyond + 1, Closed, SynSent), true));
        assert!(begun.takes(&change(beyond + 1, SynSent, Established), false));
        assert_eq!((begun.sockets.len(), begun.left_out), (MOST_BEGUN, 1));
    }

    #[test]
    fn of_so_many_places_it_is_remembered_what_was_read_there() {
        let mut addresses = Addresses::default();
        let read = |octet: u8| Beside { pieces: vec![(8, vec![octet])], read: Timestamp::from_nanos(1) };
        let mut at =
            |pid: Tid, at: u64, read: Option<&Beside>| addresses.there(pid, at, read).map(|read| read.pieces[0].1[0]);
        assert_eq!(
            (at(1, 8, None), at(1, 8, Some(&read(7))), at(1, 8, None), at(2, 8, None)),
            (None, Some(7), Some(7), None)
        );
        (1..MOST_ADDRESSES as u64).for_each(|place| _ = at(2, place, Some(&read(1))));
        assert_eq!((at(1, 8, None), at(2, 8, None)), (Some(7), Some(1)), "as many as are remembered");
        assert_eq!(
            (at(3, 8, Some(&read(9))), at(1, 8, None), at(3, 8, None)),
            (Some(9), None, Some(9)),
            "and one more"
        );
        addresses.forget(3);
        assert_eq!(addresses.there(3, 8, None), None);
    }

    #[test]
    fn records_that_come_as_fast_as_they_are_read_are_read_so_often() {
        let read = |readings: usize| {
            let mut made = 0;
            to_the_end(|| {
                made += 1;
                made < readings
            });
            made
        };
        assert_eq!([1, 3, MOST_READINGS].map(read), [1, 3, MOST_READINGS]);
        assert_eq!([MOST_READINGS + 1, usize::MAX].map(read), [MOST_READINGS; 2]);
    }

    #[test]
    fn what_is_old_is_given_up_where_records_are_lost() {
        assert!(!is_too_late(MOST_BEHIND) && is_too_late(Span(MOST_BEHIND.0 + 1)));
        let record = |at: i64, what| ProgramRecord { at: Timestamp::from_nanos(at), pid: 1, tid: 1, what };
        let returned = || ProgramAct::Returned { nr: 0, result: 0, stack: Default::default() };
        let state = || ProgramAct::State(change(1, State::Closed, State::SynSent));
        let all = |from: i64| {
            [(from, returned()), (from, state()), (from, ProgramAct::Ended)].map(|(at, what)| record(at, what))
        };
        let queued = |record: ProgramRecord| Queued { at: record.at, what: What::Record(record), looks: Vec::new() };
        let mut queue: VecDeque<Queued> = all(10).into_iter().chain(all(11)).map(queued).collect();
        let mut records = Vec::from_iter(all(10).into_iter().chain(all(12)));
        assert_eq!(give_up(&mut queue, &mut records, Timestamp::from_nanos(10)), 2, "the returns after it");
        // What threads became stays known.
        assert_eq!(queue.iter().map(|queued| queued.at.as_nanos()).collect::<Vec<_>>(), [10, 10, 10, 11]);
        assert_eq!(records.iter().map(|record| record.at.as_nanos()).collect::<Vec<_>>(), [10, 10, 10, 12]);
        assert!(matches!(records[3].what, ProgramAct::Ended));
    }
}
