//! Which descriptors of which processes are TCP sockets, and when the last one of a socket is gone.

use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;

use super::super::{PollEvents, SocketId};
use super::decode::{Interest, Wanted};
use crate::hash::HashMap;

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
    /// Messages with descriptors that are on their way, the first one first.
    flying: VecDeque<Flying>,
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

/// What a descriptor is that came with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Came {
    /// That was not seen.
    Unseen,
    /// No TCP socket.
    Other,
    /// One.
    Socket(Seen),
}

impl Came {
    fn socket(&self) -> Option<SocketId> {
        match self {
            Self::Socket(seen) => Some(seen.socket),
            Self::Unseen | Self::Other => None,
        }
    }
}

/// A socket as it was looked at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Seen {
    pub(super) socket: SocketId,
    pub(super) local: Option<SocketAddr>,
    pub(super) peer: Option<SocketAddr>,
}

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
    /// Where the socket listens that it was accepted from, as long as its own ends are not known.
    pub(super) accepted_at: Option<SocketAddr>,
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
    /// Of the last one of a socket that was accepted and whose ends are not known: where the other listens.
    pub(super) accepted_at: Option<SocketAddr>,
}

/// Descriptors that were sent with a message (SCM_RIGHTS), and that nobody is known to have received.
#[derive(Debug)]
struct Flying {
    /// By whom, and on which of the descriptors there.
    from: (FilesId, i32),
    /// The TCP sockets among them, each in its place; `None` where that could not be read.
    sockets: Option<Vec<Option<SocketId>>>,
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

    /// Takes in that a call worked on a descriptor that is no TCP socket's: the number is another file's meanwhile.
    pub(super) fn is_another(&mut self, files: FilesId, fd: i32) {
        if let Some(known) = self.files.get_mut(&files) {
            known.closed.remove(&fd);
        }
    }

    /// The sockets of a table, by descriptor.
    pub(super) fn all(&self, files: FilesId) -> Vec<(i32, SocketId)> {
        let sockets = self.files.get(&files).map(|files| &files.sockets);
        sockets.into_iter().flatten().map(|(fd, socket)| (*fd, *socket)).collect()
    }

    /// A descriptor of a socket came; what stood at its number before went unseen.
    pub(super) fn open(&mut self, files: FilesId, fd: i32, socket: SocketId) -> Option<Gone> {
        self.closes_other(files, fd);
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

    /// A call made an epoll.
    pub(super) fn made_epoll(&mut self, files: FilesId, fd: i32) {
        self.closes_other(files, fd);
        self.made += 1;
        let id = EpollId(self.made);
        if let Some(known) = self.files.get_mut(&files) {
            known.epolls.insert(fd, id);
            self.epolls.insert(id, Epoll { copies: 1, ..Epoll::default() });
        }
    }

    /// Whether a descriptor is an epoll's.
    pub(super) fn is_epoll(&self, files: FilesId, fd: i32) -> bool {
        self.files.get(&files).is_some_and(|known| known.epolls.contains_key(&fd))
    }

    /// A descriptor was copied to another number; it may be an epoll's.
    pub(super) fn copies_other(&mut self, files: FilesId, from: i32, to: i32) {
        let id = self.files.get(&files).and_then(|known| known.epolls.get(&from)).copied();
        let Some(id) = id.filter(|_| from != to) else { return };
        self.closes_other(files, to);
        if let (Some(known), Some(epoll)) = (self.files.get_mut(&files), self.epolls.get_mut(&id)) {
            known.epolls.insert(to, id);
            epoll.copies += 1;
        }
    }

    /// The epolls of a table within a range of descriptors are closed.
    pub(super) fn closes_others(&mut self, files: FilesId, range: std::ops::RangeInclusive<u32>) {
        let Some(known) = self.files.get_mut(&files) else { return };
        let is_within = |fd: &i32| u32::try_from(*fd).is_ok_and(|fd| range.contains(&fd));
        let gone: Vec<i32> = known.epolls.keys().copied().filter(is_within).collect();
        gone.into_iter().for_each(|fd| self.closes_other(files, fd));
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

    /// Takes in the ends of a socket of which they were not known.
    pub(super) fn name(&mut self, socket: SocketId, [local, peer]: [SocketAddr; 2]) {
        if let Some(known) = self.sockets.get_mut(&socket) {
            (known.local, known.peer, known.accepted_at) = (Some(local), Some(peer), None);
        }
    }

    /// The sockets of a table that were accepted, and whose ends are not known.
    pub(super) fn nameless(&self, files: FilesId) -> Vec<SocketId> {
        let sockets = self.files.get(&files).map(|files| &files.sockets);
        let mut nameless: Vec<SocketId> = sockets
            .into_iter()
            .flat_map(BTreeMap::values)
            .copied()
            .filter(|socket| self.is_nameless(*socket))
            .collect();
        nameless.sort_unstable();
        nameless.dedup();
        nameless
    }

    /// Whether any socket has a descriptor whose ends are not known, and that was accepted from such a one.
    pub(super) fn has_nameless(&self, accepted_at: impl Fn(SocketAddr) -> bool) -> bool {
        self.sockets.values().any(|known| known.accepted_at.is_some_and(&accepted_at))
    }

    /// Whether a socket was accepted, and its ends are not known.
    pub(super) fn is_nameless(&self, socket: SocketId) -> bool {
        self.accepted_at(socket).is_some()
    }

    /// Where the socket listens that a socket was accepted from whose own ends are not known.
    pub(super) fn accepted_at(&self, socket: SocketId) -> Option<SocketAddr> {
        self.sockets.get(&socket)?.accepted_at
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
        let mut names: HashMap<SocketId, SocketId> = HashMap::default();
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

    /// Descriptors are sent with a message on the one `by`; `None` where which they are could not be read.
    pub(super) fn sends(&mut self, files: FilesId, by: i32, fds: Option<&[i32]>) {
        let sockets = fds.map(|fds| fds.iter().map(|fd| self.at(files, *fd)).collect::<Vec<_>>());
        for socket in sockets.iter().flatten().flatten() {
            self.known(*socket).in_flight += 1;
        }
        if self.flying.len() == MOST_FLYING {
            self.flying.pop_front();
        }
        self.flying.push_back(Flying { from: (files, by), sockets });
    }

    /// The last message with descriptors that was sent on the one `by` was not sent after all.
    pub(super) fn sends_not(&mut self, files: FilesId, by: i32) {
        let last = self.flying.iter().rposition(|message| message.from == (files, by));
        let message = last.and_then(|last| self.flying.remove(last));
        for socket in message.and_then(|message| message.sockets).into_iter().flatten().flatten() {
            self.arrives(socket);
        }
    }

    /// A message came with these descriptors: which TCP sockets they are, each in its place.
    ///
    /// Messages of one sender come in the order in which they were sent. Where it may be one of several nothing is said of what was not seen.
    pub(super) fn receives(&mut self, came: &[Came]) -> Vec<Option<SocketId>> {
        let fits = |message: &Flying| {
            let sockets = message.sockets.as_deref().unwrap_or_default();
            sockets.len() == came.len() && sockets.iter().zip(came).all(|(sent, came)| self.may_be(*sent, came))
        };
        let fitting: Vec<usize> = (0..self.flying.len()).filter(|n| fits(&self.flying[*n])).collect();
        let is_sure = |n: &&usize| {
            let sockets = self.flying[**n].sockets.iter().flatten();
            sockets.zip(came).any(|(sent, came)| sent.is_some() && *sent == came.socket())
        };
        let is_all_read = self.flying.iter().all(|message| message.sockets.is_some());
        let is_of_one_sender = fitting.iter().all(|n| self.flying[*n].from == self.flying[fitting[0]].from);
        let first = fitting.first().filter(|_| is_all_read && is_of_one_sender);
        let it = fitting.iter().find(is_sure).or(first).copied();
        let sockets = it.and_then(|it| self.flying.remove(it)).and_then(|message| message.sockets);
        sockets.iter().flatten().flatten().for_each(|socket| self.arrives(*socket));
        sockets.unwrap_or_else(|| came.iter().map(Came::socket).collect())
    }

    /// Whether a descriptor that came may be one that was sent, of this TCP socket or of something else.
    fn may_be(&self, sent: Option<SocketId>, came: &Came) -> bool {
        let (sent, seen) = match (sent, came) {
            (_, Came::Unseen) | (None, Came::Other) => return true,
            (None, Came::Socket(_)) | (Some(_), Came::Other) => return false,
            (Some(sent), Came::Socket(seen)) => (sent, seen),
        };
        if sent == seen.socket || self.sockets.contains_key(&seen.socket) {
            return sent == seen.socket;
        }
        // It was made when it could not be looked at, and has another name since.
        let is_alike = |known: Option<SocketAddr>, seen: Option<SocketAddr>| known.is_none() || known == seen;
        let known = self.sockets.get(&sent);
        known.is_some_and(|known| is_alike(known.local, seen.local) && is_alike(known.peer, seen.peer))
    }

    /// A descriptor of it was received, or is not on its way any more.
    fn arrives(&mut self, socket: SocketId) {
        let known = self.known(socket);
        known.in_flight = known.in_flight.saturating_sub(1);
    }

    fn gone(&mut self, fd: i32, socket: SocketId) -> Gone {
        let (mut last, mut is_out_of_sight, mut accepted_at) = (false, false, None);
        if let Some(known) = self.sockets.get_mut(&socket) {
            known.copies = known.copies.saturating_sub(1);
            last = known.copies == 0 && known.in_flight == 0 && !known.is_held_elsewhere;
            if known.copies == 0 && known.in_flight == 0 {
                is_out_of_sight = !last;
                accepted_at = known.accepted_at;
                self.sockets.remove(&socket);
                self.epolls.values_mut().for_each(|epoll| epoll.forget_socket(socket));
            }
        }
        Gone { fd, socket, last, is_out_of_sight, accepted_at }
    }
}

/// How many messages with descriptors are remembered that nobody is known to have received.
const MOST_FLYING: usize = 1024;

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: SocketId = SocketId(1);
    const OTHER: SocketId = SocketId(2);

    fn gone(fd: i32, socket: SocketId, last: bool) -> Gone {
        Gone { fd, socket, last, is_out_of_sight: false, accepted_at: None }
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
        table.sends(sender, 7, Some(&[3]));
        assert_eq!(table.close(sender, 3), Some(gone(3, ONE, false)));
        assert_eq!(table.receives(&[Came::Unseen]), [Some(ONE)]);
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
    fn an_epoll_that_was_made_before_a_fork_is_one_in_both_processes() {
        let mut table = Descriptors::default();
        let parent = table.begin();
        table.made_epoll(parent, 3);
        let child = table.copy(parent);
        table.copies_other(parent, 3, 8);
        table.open(child, 5, ONE);
        let wanted = Wanted { events: PollEvents::POLLIN, data: 7, once: false };
        table.interest(child, 3, Interest { op: libc::EPOLL_CTL_ADD, fd: 5, wanted: Some(wanted) });
        let one = |fd| Awaited { fd, socket: ONE, events: PollEvents::POLLIN };
        assert_eq!(table.interests(child, 3, 16), [one(Some(5))]);
        assert_eq!([3, 8].map(|epoll| table.interests(parent, epoll, 16)), [[one(None)], [one(None)]]);
        // What takes its number closes it there.
        table.closes_others(parent, 3..=8);
        assert_eq!(table.interests(parent, 8, 16), []);
        table.open(child, 3, OTHER);
        assert!(table.epolls.is_empty());
    }

    #[test]
    fn descriptors_that_come_are_those_that_were_sent() {
        let mut table = Descriptors::default();
        let [sender, other] = [table.begin(), table.begin()];
        table.open(sender, 3, ONE);
        table.open(sender, 4, OTHER);
        // The second place is no TCP socket's.
        table.sends(sender, 7, Some(&[3, 9]));
        table.sends(sender, 7, Some(&[4]));
        table.sends(sender, 7, Some(&[9]));
        table.sends_not(sender, 7);
        assert_eq!(table.receives(&[Came::Unseen]), [Some(OTHER)]);
        assert_eq!(table.receives(&[Came::Unseen, Came::Unseen]), [Some(ONE), None]);
        // It was made unseen, and is looked at under another name now.
        let [local, peer] = ["127.0.0.1:80", "127.0.0.1:4000"].map(|end| end.parse().ok());
        let seen = Seen { socket: SocketId(9), local, peer };
        table.sends(sender, 7, Some(&[3]));
        assert_eq!(table.receives(&[Came::Socket(seen)]), [Some(ONE)]);
        // Of two senders it may be either's, unless the socket is seen.
        table.open(other, 5, OTHER);
        let both = |table: &mut Descriptors| {
            table.sends(sender, 7, Some(&[3]));
            table.sends(other, 7, Some(&[5]));
        };
        both(&mut table);
        assert_eq!(table.receives(&[Came::Unseen]), [None]);
        assert_eq!(table.receives(&[Came::Socket(Seen { socket: OTHER, ..seen })]), [Some(OTHER)]);
        assert_eq!(table.receives(&[Came::Other]), [None]);
        // One of which is not known what it was has others unknown, too.
        table.sends(other, 7, None);
        assert_eq!(table.receives(&[Came::Unseen]), [None]);
    }

    #[test]
    fn so_many_messages_with_descriptors_are_remembered_that_nobody_received() {
        let mut table = Descriptors::default();
        let files = table.begin();
        table.open(files, 3, ONE);
        table.sends(files, 7, Some(&[3, 3]));
        (1..MOST_FLYING).for_each(|_| table.sends(files, 7, Some(&[9])));
        assert_eq!(table.receives(&[Came::Unseen; 2]), [Some(ONE), Some(ONE)]);
        table.sends(files, 7, Some(&[3, 3]));
        (0..MOST_FLYING).for_each(|_| table.sends(files, 7, Some(&[9])));
        assert_eq!((table.receives(&[Came::Unseen; 2]), table.flying.len()), (vec![None, None], MOST_FLYING));
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
