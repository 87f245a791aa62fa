//! Which descriptors of which processes are TCP sockets, and when the last one of a socket is gone.

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
    made: u64,
}

/// One table.
#[derive(Clone, Debug, Default)]
struct Files {
    sockets: BTreeMap<i32, SocketId>,
    /// Descriptors of sockets that were closed.
    closed: BTreeSet<i32>,
    /// Those that exec closes, as far as calls have said so.
    until_exec: BTreeSet<i32>,
    /// What each epoll waits for at sockets.
    epolls: BTreeMap<i32, Epoll>,
    /// How many threads have it.
    threads: u64,
}

/// What an epoll waits for at sockets: the events, and the sockets by what they are named by.
#[derive(Clone, Debug, Default)]
struct Epoll {
    interests: BTreeMap<i32, Wanted>,
    /// Those of them that were found ready, and are not waited for until that is asked for again.
    disarmed: BTreeSet<i32>,
    by_data: HashMap<u64, i32>,
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
}

impl Epoll {
    fn forget(&mut self, fd: i32) {
        self.disarmed.remove(&fd);
        if let Some(Wanted { data, .. }) = self.interests.remove(&fd)
            && self.by_data.get(&data) == Some(&fd)
        {
            self.by_data.remove(&data);
        }
    }

    fn wait_for(&mut self, fd: i32, wanted: Wanted) {
        self.forget(fd);
        self.interests.insert(fd, wanted);
        self.by_data.insert(wanted.data, fd);
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
        let sockets = self.files.remove(&files).map(|files| files.sockets).unwrap_or_default();
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
        known.epolls.values_mut().for_each(|epoll| epoll.forget(fd));
        Some(self.gone(fd, socket))
    }

    /// Takes in what an epoll is to wait for at a socket, as a call asks for that, and returns what it waited for there before.
    ///
    /// Another thread may find it ready before the call returns.
    pub(super) fn interest(&mut self, files: FilesId, epoll: i32, asked: Interest) -> Option<Wanted> {
        let known = self.files.get_mut(&files).filter(|known| known.sockets.contains_key(&asked.fd))?;
        let epoll = known.epolls.entry(epoll).or_default();
        let before = epoll.interests.get(&asked.fd).copied().filter(|_| !epoll.disarmed.contains(&asked.fd));
        match (asked.op, asked.wanted) {
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD, Some(wanted)) => epoll.wait_for(asked.fd, wanted),
            (libc::EPOLL_CTL_ADD | libc::EPOLL_CTL_MOD | libc::EPOLL_CTL_DEL, _) => epoll.forget(asked.fd),
            _ => {}
        }
        before
    }

    /// A call that asked for that failed: all is as it was before.
    pub(super) fn interest_stays(&mut self, files: FilesId, epoll: i32, fd: i32, before: Option<Wanted>) {
        let Some(known) = self.files.get_mut(&files).filter(|known| known.sockets.contains_key(&fd)) else { return };
        let Some(epoll) = known.epolls.get_mut(&epoll) else { return };
        match before {
            Some(wanted) => epoll.wait_for(fd, wanted),
            None => epoll.forget(fd),
        }
    }

    /// What an epoll waits for: so many of its sockets, at most.
    pub(super) fn interests(&self, files: FilesId, epoll: i32, most: usize) -> Vec<(i32, PollEvents)> {
        let known = self.files.get(&files).and_then(|files| files.epolls.get(&epoll));
        let Some(known) = known else { return Vec::new() };
        let waits_for = known.interests.iter().filter(|(fd, _)| !known.disarmed.contains(fd));
        waits_for.take(most).map(|(fd, wanted)| (*fd, wanted.events)).collect()
    }

    /// A wait found the socket ready that an epoll names so: which one, and what it waited for there.
    pub(super) fn found_ready(&mut self, files: FilesId, epoll: i32, data: u64) -> Option<(i32, PollEvents)> {
        let epoll = self.files.get_mut(&files)?.epolls.get_mut(&epoll)?;
        let fd = *epoll.by_data.get(&data)?;
        let wanted = epoll.interests.get(&fd)?;
        if wanted.once {
            epoll.disarmed.insert(fd);
        }
        Some((fd, wanted.events))
    }

    /// Takes in that a descriptor which is no TCP socket is closed: it may be an epoll's.
    pub(super) fn closes_other(&mut self, files: FilesId, fd: i32) {
        if let Some(known) = self.files.get_mut(&files) {
            known.epolls.remove(&fd);
        }
    }

    /// Takes in that a program is executed: an epoll that is still open is not known any more.
    pub(super) fn forget_epolls(&mut self, files: FilesId) {
        if let Some(known) = self.files.get_mut(&files) {
            known.epolls.clear();
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

    /// What the sockets of all descriptors did is not known from here on: each has another name, and no addresses.
    pub(super) fn lose_track(&mut self, mut name: impl FnMut() -> SocketId) {
        let mut names: HashMap<SocketId, SocketId> = HashMap::new();
        let known = std::mem::take(&mut self.sockets);
        for socket in self.files.values_mut().flat_map(|files| files.sockets.values_mut()) {
            *socket = *names.entry(*socket).or_insert_with(&mut name);
        }
        for (former, now) in names {
            let Known { copies, in_flight, .. } = known.get(&former).cloned().unwrap_or_default();
            let unknown = Known { copies, in_flight, is_held_elsewhere: true, ..Known::default() };
            self.sockets.insert(now, unknown);
        }
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
        let mut last = false;
        if let Some(known) = self.sockets.get_mut(&socket) {
            known.copies = known.copies.saturating_sub(1);
            last = known.copies == 0 && known.in_flight == 0 && !known.is_held_elsewhere;
            if known.copies == 0 && known.in_flight == 0 {
                self.sockets.remove(&socket);
            }
        }
        Gone { fd, socket, last }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SocketId = SocketId(1);
    const OTHER: SocketId = SocketId(2);

    fn gone(fd: i32, socket: SocketId, last: bool) -> Gone {
        Gone { fd, socket, last }
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
        table.lose_track(|| OTHER);
        assert_eq!((table.at(parent, 3), table.at(child, 3)), (Some(OTHER), Some(OTHER)));
        assert_eq!(table.addresses(OTHER), (None, None));
        assert_eq!(
            (table.close(parent, 3), table.close(child, 3)),
            (Some(gone(3, OTHER, false)), Some(gone(3, OTHER, false)))
        );
    }

    #[test]
    fn an_epoll_waits_for_what_was_asked_for_and_once_for_what_is_wanted_once() {
        let mut table = Descriptors::default();
        let files = table.begin();
        table.open(files, 5, ONE);
        let once = Wanted { events: PollEvents::POLLIN, data: 7, once: true };
        let asks = |op, wanted| Interest { op, fd: 5, wanted: Some(wanted) };
        let waits = [(5, PollEvents::POLLIN)];
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
    fn what_others_may_hold_is_never_known_to_be_gone() {
        let mut table = Descriptors::default();
        let files = table.begin();
        table.open(files, 0, ONE);
        table.is_held_elsewhere(ONE);
        assert_eq!(table.close(files, 0), Some(gone(0, ONE, false)));
        // A number that is taken again had been closed unseen.
        table.open(files, 5, OTHER);
        assert_eq!(table.open(files, 5, ONE), Some(gone(5, OTHER, true)));
    }
}
