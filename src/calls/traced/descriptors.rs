//! Which descriptors of which processes are TCP sockets, and when the last one of a socket is gone.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use super::super::{PollEvents, SocketId};
use super::decode::{Interest, Wanted};

/// Names a table of descriptors, which threads share, and processes where they ask for it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct FilesId(u64);

/// All tables, and the sockets in them.
#[derive(Debug, Default)]
pub(super) struct Descriptors {
    files: HashMap<FilesId, Files>,
    sockets: HashMap<SocketId, Known>,
    /// What each epoll waits for, whichever processes have a descriptor of it.
    epolls: HashMap<EpollId, Epoll>,
    made: u64,
}

/// Names an epoll, which processes share once they have inherited it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct EpollId(u64);

/// One table.
#[derive(Clone, Debug, Default)]
struct Files {
    sockets: BTreeMap<i32, SocketId>,
    /// Descriptors of sockets that were closed.
    closed: BTreeSet<i32>,
    /// Those that exec closes, as far as calls have said so.
    until_exec: BTreeSet<i32>,
    /// The epolls that are known to wait for sockets, or did.
    epolls: BTreeMap<i32, EpollId>,
    /// How many threads have it.
    threads: u64,
}

/// What an epoll waits for at sockets: the events, and what they are named by.
#[derive(Clone, Debug, Default)]
struct Epoll {
    interests: BTreeMap<Watched, Wanted>,
    /// Those of them that were found ready, and are not waited for until that is asked for again.
    disarmed: BTreeSet<Watched>,
    /// Processes that share it may name different sockets alike.
    by_data: BTreeSet<(u64, Watched)>,
    /// How many descriptors it has.
    copies: u64,
}

/// A socket with the descriptor by which an epoll was told of it: it is watched until the last descriptor of the socket is closed,
/// whoever has that.
type Watched = (i32, SocketId);

/// A socket that an epoll waits for: by which descriptor the process that waits has it, if it does, and what is waited for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Awaited {
    pub(super) fd: Option<i32>,
    pub(super) socket: SocketId,
    pub(super) events: PollEvents,
}

/// What is known of a socket.
#[derive(Clone, Debug, Default)]
pub(super) struct Known {
    /// Its own address, and its peer's.
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
    /// How many descriptors it has.
    copies: u64,
    /// How many of them are on their way in messages.
    in_flight: u64,
    /// Whether a process that is not watched may have one.
    is_held_elsewhere: bool,
}

/// A descriptor that is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Gone {
    pub(super) fd: i32,
    pub(super) socket: SocketId,
    /// Whether it was the last one of its socket.
    pub(super) last: bool,
    /// Whether it was the last that is known, and others may be where nobody watches.
    pub(super) is_out_of_sight: bool,
}

impl Epoll {
    fn forget(&mut self, watched: Watched) {
        self.disarmed.remove(&watched);
        if let Some(Wanted { data, .. }) = self.interests.remove(&watched) {
            self.by_data.remove(&(data, watched));
        }
    }

    fn forget_socket(&mut self, socket: SocketId) {
        let all: Vec<Watched> = self.interests.keys().filter(|(_, of)| *of == socket).copied().collect();
        all.into_iter().for_each(|watched| self.forget(watched));
    }

    fn wait_for(&mut self, watched: Watched, wanted: Wanted) {
        self.forget(watched);
        self.interests.insert(watched, wanted);
        self.by_data.insert((wanted.data, watched));
    }
}

impl Files {
    /// By which descriptor it has a socket that an epoll watches; that which the epoll was told of may be another process's.
    fn awaited(&self, (fd, socket): Watched, events: PollEvents) -> Awaited {
        let is_it = |(_, of): &(&i32, &SocketId)| **of == socket;
        let fd = match self.sockets.get(&fd) {
            Some(of) if *of == socket => Some(fd),
            _ => self.sockets.iter().find(is_it).map(|(fd, _)| *fd),
        };
        Awaited { fd, socket, events }
    }
}

impl Descriptors {
    /// A new table that one thread has.
    pub(super) fn begin(&mut self) -> FilesId {
        self.made += 1;
        let id = FilesId(self.made);
        self.files.insert(id, Files { threads: 1, ..Files::default() });
        id
    }

    /// Another thread has the table, too.
    pub(super) fn share(&mut self, files: FilesId) {
        if let Some(files) = self.files.get_mut(&files) {
            files.threads += 1;
        }
    }

    /// A copy of the table, which one thread has.
    pub(super) fn copy(&mut self, files: FilesId) -> FilesId {
        let copy = self.begin();
        let of = |files: &Files| (files.sockets.clone(), files.until_exec.clone(), files.epolls.clone());
        let (sockets, until_exec, epolls) = self.files.get(&files).map(of).unwrap_or_default();
        for socket in sockets.values() {
            self.sockets.entry(*socket).or_default().copies += 1;
        }
        for epoll in epolls.values() {
            self.epolls.entry(*epoll).or_default().copies += 1;
        }
        if let Some(files) = self.files.get_mut(&copy) {
            (files.sockets, files.until_exec, files.epolls) = (sockets, until_exec, epolls);
        }
        copy
    }

    /// A thread has the table no longer; with the last one all its descriptors are gone.
    pub(super) fn leave(&mut self, files: FilesId) -> Vec<Gone> {
        let Some(known) = self.files.get_mut(&files) else { return Vec::new() };
        known.threads -= 1;
        if known.threads > 0 {
            return Vec::new();
        }
        let Files { sockets, epolls, .. } = self.files.remove(&files).unwrap_or_default();
        epolls.into_values().for_each(|epoll| self.close_epoll(epoll));
        sockets.into_iter().map(|(fd, socket)| self.gone(fd, socket)).collect()
    }

    /// How many threads have the table.
    pub(super) fn threads(&self, files: FilesId) -> u64 {
        self.files.get(&files).map_or(0, |files| files.threads)
    }

    /// The socket at a descriptor.
    pub(super) fn at(&self, files: FilesId, fd: i32) -> Option<SocketId> {
        self.files.get(&files)?.sockets.get(&fd).copied()
    }

    /// Whether the descriptor was a socket's that was closed.
    pub(super) fn was_closed(&self, files: FilesId, fd: i32) -> bool {
        self.files.get(&files).is_some_and(|files| files.closed.contains(&fd))
    }

    /// The sockets of a table, by descriptor.
    pub(super) fn all(&self, files: FilesId) -> Vec<(i32, SocketId)> {
        let sockets = self.files.get(&files).map(|files| &files.sockets);
        sockets.into_iter().flatten().map(|(fd, socket)| (*fd, *socket)).collect()
    }

    /// A descriptor of a socket came; what stood at its number before went unseen.
    pub(super) fn open(&mut self, files: FilesId, fd: i32, socket: SocketId) -> Option<Gone> {
        let known = self.files.get_mut(&files)?;
        known.closed.remove(&fd);
        known.until_exec.remove(&fd);
        let before = known.sockets.insert(fd, socket);
        self.sockets.entry(socket).or_default().copies += 1;
        before.map(|before| self.gone(fd, before))
    }

    /// A descriptor goes.
    pub(super) fn close(&mut self, files: FilesId, fd: i32) -> Option<Gone> {
        let known = self.files.get_mut(&files)?;
        let socket = known.sockets.remove(&fd)?;
        known.closed.insert(fd);
        known.until_exec.remove(&fd);
        Some(self.gone(fd, socket))
    }

    /// Takes in what an epoll is to wait for at a socket, as a call asks for that, and returns what it waited for there before.
    ///
    /// Another thread may find it ready before the call returns.
    pub(super) fn interest(&mut self, files: FilesId, epoll: i32, asked: Interest) -> Option<Wanted> {
        let known = self.files.get_mut(&files)?;
        let watched = (asked.fd, *known.sockets.get(&asked.fd)?);
        let id = *known.epolls.entry(epoll).or_insert_with(|| {
            self.made += 1;
            EpollId(self.made)
        });
        let epoll = self.epolls.entry(id).or_insert_with(|| Epoll { copies: 1, ..Epoll::default() });
        let before = epoll.interests.get(&watched).copied().filter(|_| !epoll.disarmed.contains(&watched));
        match (asked.op, asked.wanted) {
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, Some(wanted)) => epoll.wait_for(watched, wanted),
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, _) => epoll.forget(watched),
            _ => {}
        }
        before
    }

    /// A call that asked for that failed: all is as it was before.
    pub(super) fn interest_stays(&mut self, files: FilesId, epoll: i32, fd: i32, before: Option<Wanted>) {
        let Some(known) = self.files.get(&files) else { return };
        let Some(watched) = known.sockets.get(&fd).map(|socket| (fd, *socket)) else { return };
        let Some(epoll) = known.epolls.get(&epoll).and_then(|epoll| self.epolls.get_mut(epoll)) else { return };
        match before {
            Some(wanted) => epoll.wait_for(watched, wanted),
            None => epoll.forget(watched),
        }
    }

    /// What an epoll waits for: so many of its sockets, at most.
    pub(super) fn interests(&self, files: FilesId, epoll: i32, most: usize) -> Vec<Awaited> {
        let Some(files) = self.files.get(&files) else { return Vec::new() };
        let Some(known) = files.epolls.get(&epoll).and_then(|epoll| self.epolls.get(epoll)) else { return Vec::new() };
        let waits_for = known.interests.iter().filter(|(watched, _)| !known.disarmed.contains(watched));
        waits_for.take(most).map(|(watched, wanted)| files.awaited(*watched, wanted.events)).collect()
    }

    /// A wait found the socket ready that an epoll names so: which one, and what it waited for there.
    pub(super) fn found_ready(&mut self, files: FilesId, epoll: i32, data: u64) -> Option<Awaited> {
        let files = self.files.get(&files)?;
        let epoll = self.epolls.get_mut(files.epolls.get(&epoll)?)?;
        let alike = epoll.by_data.range((data, (i32::MIN, SocketId(0)))..=(data, (i32::MAX, SocketId(u64::MAX))));
        let alike: Vec<Watched> = alike.map(|(_, watched)| *watched).collect();
        // Of those of several processes it is its own.
        let own = alike.iter().find(|(fd, socket)| files.sockets.get(fd) == Some(socket));
        let watched = *own.or(alike.first())?;
        let wanted = epoll.interests.get(&watched)?;
        if wanted.once {
            epoll.disarmed.insert(watched);
        }
        Some(files.awaited(watched, wanted.events))
    }

    /// Takes in that a descriptor which is no TCP socket is closed: it may be an epoll's.
    pub(super) fn closes_other(&mut self, files: FilesId, fd: i32) {
        if let Some(epoll) = self.files.get_mut(&files).and_then(|known| known.epolls.remove(&fd)) {
            self.close_epoll(epoll);
        }
    }

    /// Takes in that a program is executed: an epoll that is still open is not known any more.
    pub(super) fn forget_epolls(&mut self, files: FilesId) {
        let epolls = self.files.get_mut(&files).map(|known| std::mem::take(&mut known.epolls));
        epolls.into_iter().flat_map(BTreeMap::into_values).for_each(|epoll| self.close_epoll(epoll));
    }

    fn close_epoll(&mut self, epoll: EpollId) {
        if let Entry::Occupied(mut known) = self.epolls.entry(epoll) {
            known.get_mut().copies -= 1;
            if known.get().copies == 0 {
                known.remove();
            }
        }
    }

    /// Marks a descriptor of a socket to be closed by exec, or not to be.
    pub(super) fn mark(&mut self, files: FilesId, fd: i32, until_exec: bool) {
        let Some(known) = self.files.get_mut(&files).filter(|known| known.sockets.contains_key(&fd)) else { return };
        match until_exec {
            true => _ = known.until_exec.insert(fd),
            false => _ = known.until_exec.remove(&fd),
        }
    }

    /// Whether exec closes a descriptor, by what was said of it.
    pub(super) fn is_until_exec(&self, files: FilesId, fd: i32) -> bool {
        self.files.get(&files).is_some_and(|known| known.until_exec.contains(&fd))
    }

    /// What is known of a socket that has a descriptor.
    pub(super) fn known(&mut self, socket: SocketId) -> &mut Known {
        self.sockets.entry(socket).or_default()
    }

    /// The addresses of a socket, where known.
    pub(super) fn addresses(&self, socket: SocketId) -> (Option<SocketAddr>, Option<SocketAddr>) {
        self.sockets.get(&socket).map_or((None, None), |known| (known.local, known.peer))
    }

    /// A process that is not watched may have a descriptor of it, too.
    pub(super) fn is_held_elsewhere(&mut self, socket: SocketId) {
        self.known(socket).is_held_elsewhere = true;
    }

    /// What the sockets of all descriptors did is not known from here on: each has another name, and no addresses; the names they had.
    pub(super) fn lose_track(&mut self, mut name: impl FnMut() -> SocketId) -> Vec<SocketId> {
        let mut names: HashMap<SocketId, SocketId> = HashMap::new();
        let known = std::mem::take(&mut self.sockets);
        for socket in self.files.values_mut().flat_map(|files| files.sockets.values_mut()) {
            *socket = *names.entry(*socket).or_insert_with(&mut name);
        }
        for epoll in self.epolls.values_mut() {
            let renamed = |(fd, socket): Watched| Some((fd, *names.get(&socket)?));
            let interests = std::mem::take(&mut epoll.interests);
            let disarmed = std::mem::take(&mut epoll.disarmed);
            epoll.by_data.clear();
            for (watched, wanted) in interests {
                if let Some(watched) = renamed(watched) {
                    epoll.wait_for(watched, wanted);
                }
            }
            epoll.disarmed = disarmed.into_iter().filter_map(renamed).collect();
        }
        for (former, now) in names {
            let Known { copies, in_flight, .. } = known.get(&former).cloned().unwrap_or_default();
            let unknown = Known { copies, in_flight, is_held_elsewhere: true, ..Known::default() };
            self.sockets.insert(now, unknown);
        }
        known.into_keys().collect()
    }

    /// A descriptor of it was sent.
    pub(super) fn sent(&mut self, socket: SocketId) {
        self.known(socket).in_flight += 1;
    }

    /// A descriptor of it was received.
    pub(super) fn received(&mut self, socket: SocketId) {
        let known = self.known(socket);
        known.in_flight = known.in_flight.saturating_sub(1);
    }

    fn gone(&mut self, fd: i32, socket: SocketId) -> Gone {
        let (mut last, mut is_out_of_sight) = (false, false);
        if let Some(known) = self.sockets.get_mut(&socket) {
            known.copies = known.copies.saturating_sub(1);
            last = known.copies == 0 && known.in_flight == 0 && !known.is_held_elsewhere;
            if known.copies == 0 && known.in_flight == 0 {
                is_out_of_sight = !last;
                self.sockets.remove(&socket);
                self.epolls.values_mut().for_each(|epoll| epoll.forget_socket(socket));
            }
        }
        Gone { fd, socket, last, is_out_of_sight }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SocketId = SocketId(1);
    const OTHER: SocketId = SocketId(2);

    fn gone(fd: i32, socket: SocketId, last: bool) -> Gone {
        Gone { fd, socket, last, is_out_of_sight: false }
    }

    #[test]
    fn a_socket_is_gone_with_its_last_descriptor_in_all_processes() {
        let mut table = Descriptors::default();
        let parent = table.begin();
        table.open(parent, 3, ONE);
        table.open(parent, 4, ONE);
        let child = table.copy(parent);
        assert_eq!(table.close(parent, 3), Some(gone(3, ONE, false)));
        assert_eq!(table.close(parent, 3), None);
        assert!(table.was_closed(parent, 3) && !table.was_closed(child, 3));
        assert_eq!(table.close(parent, 4), Some(gone(4, ONE, false)));
        assert_eq!(table.leave(child), [gone(3, ONE, false), gone(4, ONE, true)]);
        assert_eq!(table.leave(parent), []);
    }

    #[test]
    fn threads_have_one_table_until_the_last_one_is_gone() {
        let mut table = Descriptors::default();
        let files = table.begin();
        table.share(files);
        table.open(files, 3, ONE);
        assert_eq!((table.leave(files), table.threads(files)), (Vec::new(), 1));
        assert_eq!(table.leave(files), [gone(3, ONE, true)]);
    }

    #[test]
    fn a_descriptor_on_its_way_keeps_the_socket() {
        let mut table = Descriptors::default();
        let (sender, receiver) = (table.begin(), table.begin());
        table.open(sender, 3, ONE);
        table.sent(ONE);
        assert_eq!(table.close(sender, 3), Some(gone(3, ONE, false)));
        table.received(ONE);
        table.open(receiver, 9, ONE);
        assert_eq!(table.close(receiver, 9), Some(gone(9, ONE, true)));
    }

    #[test]
    fn a_socket_of_which_track_was_lost_has_another_name_in_all_tables() {
        let mut table = Descriptors::default();
        let parent = table.begin();
        table.open(parent, 3, ONE);
        table.known(ONE).local = Some("127.0.0.1:80".parse().expect("an address"));
        let child = table.copy(parent);
        assert_eq!(table.lose_track(|| OTHER), [ONE]);
        assert_eq!((table.at(parent, 3), table.at(child, 3)), (Some(OTHER), Some(OTHER)));
        assert_eq!(table.addresses(OTHER), (None, None));
        assert_eq!(
            (table.close(parent, 3), table.close(child, 3)),
            (Some(gone(3, OTHER, false)), Some(Gone { is_out_of_sight: true, ..gone(3, OTHER, false) }))
        );
    }

    #[test]
    fn an_epoll_waits_for_what_was_asked_for_and_once_for_what_is_wanted_once() {
        let mut table = Descriptors::default();
        let files = table.begin();
        table.open(files, 5, ONE);
        let once = Wanted { events: PollEvents::POLLIN, data: 7, once: true };
        let asks = |op, wanted| Interest { op, fd: 5, wanted: Some(wanted) };
        let waits = [Awaited { fd: Some(5), socket: ONE, events: PollEvents::POLLIN }];
        assert_eq!(table.interest(files, 3, asks(libc::EPOLL_CTL_ADD, once)), None);
        assert_eq!(table.interests(files, 3, 16), waits);
        assert_eq!(table.found_ready(files, 3, 7), Some(waits[0]));
        assert_eq!(table.interests(files, 3, 16), []);
        // A call that fails neither arms it again nor takes it away.
        let before = table.interest(files, 3, asks(libc::EPOLL_CTL_MOD, once));
        table.interest_stays(files, 3, 5, before);
        assert_eq!(table.interests(files, 3, 16), []);
        table.interest(files, 3, asks(libc::EPOLL_CTL_MOD, once));
        assert_eq!(table.interests(files, 3, 16), waits);
        let other = Wanted { events: PollEvents::POLLOUT, data: 8, once: false };
        let before = table.interest(files, 3, asks(libc::EPOLL_CTL_ADD, other));
        table.interest_stays(files, 3, 5, before);
        assert_eq!((table.interests(files, 3, 16), table.found_ready(files, 3, 8)), (waits.to_vec(), None));
        // What cannot be read is not known.
        table.interest(files, 3, Interest { op: libc::EPOLL_CTL_MOD, fd: 5, wanted: None });
        assert_eq!(table.interests(files, 3, 16), []);
    }

    #[test]
    fn processes_that_share_an_epoll_wait_for_the_same_sockets() {
        let mut table = Descriptors::default();
        let parent = table.begin();
        table.open(parent, 5, ONE);
        let wanted = Wanted { events: PollEvents::POLLIN, data: 7, once: false };
        let adds = |fd| Interest { op: libc::EPOLL_CTL_ADD, fd, wanted: Some(wanted) };
        table.interest(parent, 3, adds(5));
        let child = table.copy(parent);
        let one = |fd| Awaited { fd, socket: ONE, events: PollEvents::POLLIN };
        let other = |fd| Awaited { fd, socket: OTHER, events: PollEvents::POLLIN };
        // What either asks for is what both wait for, with a descriptor where the one that waits has one.
        table.open(child, 6, OTHER);
        table.interest(child, 3, adds(6));
        assert_eq!(table.interests(child, 3, 16), [one(Some(5)), other(Some(6))]);
        assert_eq!(table.interests(parent, 3, 16), [one(Some(5)), other(None)]);
        // Both are named alike: each process is told of its own.
        assert_eq!(table.found_ready(parent, 3, 7), Some(one(Some(5))));
        // A socket is watched until its last descriptor is closed.
        table.close(parent, 5);
        assert_eq!(table.interests(parent, 3, 16), [one(None), other(None)]);
        table.close(child, 5);
        assert_eq!(table.interests(parent, 3, 16), [other(None)]);
        // The epoll is there until its own last one is.
        table.closes_other(parent, 3);
        assert_eq!((table.interests(parent, 3, 16), table.interests(child, 3, 16)), (vec![], vec![other(Some(6))]));
        table.leave(child);
        assert!(table.epolls.is_empty());
    }

    #[test]
    fn what_others_may_hold_is_never_known_to_be_gone() {
        let mut table = Descriptors::default();
        let files = table.begin();
        table.open(files, 0, ONE);
        table.is_held_elsewhere(ONE);
        assert_eq!(table.close(files, 0), Some(Gone { is_out_of_sight: true, ..gone(0, ONE, false) }));
        // A number that is taken again had been closed unseen.
        table.open(files, 5, OTHER);
        assert_eq!(table.open(files, 5, ONE), Some(gone(5, OTHER, true)));
    }
}
