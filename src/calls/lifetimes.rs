//! The lifetimes of sockets: what one descriptor or one id stood for, one after the other.

use serde::{Deserialize, Serialize};

use super::{Call, CallId, Errno, Op, ProcessId, Role, SocketId, ThreadId};
use crate::hash::HashMap;
use crate::time::Timestamp;

/// One life of a socket; calls and segments belong together where it is the same.
///
/// A life begins when a call makes the socket, or when a `connect` follows one that failed: the kernel takes a new local port then, and sends a new SYN.
/// It ends when the last descriptor is closed; the kernel may give the same id to another socket afterwards.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Lifetime {
    /// The socket.
    pub socket: SocketId,
    /// Which of its lives, from 0.
    pub n: u32,
}

/// A socket or one of its descriptors came or went.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SocketEvent {
    /// When.
    pub at: Timestamp,
    /// The thread that did it.
    pub thread: ThreadId,
    /// The call by which it did; `None` for what no call does, such as fork and the end of a process.
    pub call: Option<CallId>,
    /// The socket.
    pub socket: SocketId,
    /// What happened to it.
    pub change: SocketChange,
}

/// What happened to a socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SocketChange {
    /// It was made.
    Created {
        /// Its first descriptor.
        fd: i32,
    },
    /// It has another descriptor in the same process.
    Duplicated {
        /// The descriptor that was copied.
        from: i32,
        /// The copy.
        to: i32,
    },
    /// A new process has its descriptors too.
    Inherited {
        /// The new process.
        by: ProcessId,
        /// The descriptor.
        fd: i32,
    },
    /// A process was sent a descriptor of it (SCM_RIGHTS).
    Passed {
        /// The process that received it.
        to: ProcessId,
        /// The descriptor it has there.
        fd: i32,
    },
    /// A descriptor of it was closed.
    Released {
        /// The descriptor.
        fd: i32,
        /// Whether it was the last of all copies in all processes: the socket is closed.
        last: bool,
    },
    /// Nothing more will be known of it by this id: who is watched has no descriptor of it, or records are missing.
    LostSight,
}

/// Tells which life of its sockets each call belongs to, as calls are entered and return.
///
/// It keeps a few octets for each socket that was seen and not [forgotten](Self::forget), and for each call that has not returned.
#[derive(Clone, Debug, Default)]
pub struct Lifetimes {
    sockets: HashMap<SocketId, Life>,
    /// The calls that were entered and have not returned, with the lives they were entered in.
    open: HashMap<CallId, Vec<Lifetime>>,
}

/// The latest life of a socket.
#[derive(Clone, Copy, Debug)]
struct Life {
    n: u32,
    /// The call that began it.
    begun_by: Option<CallId>,
    /// The next connect begins another one.
    is_spent: bool,
    is_over: bool,
}

impl Lifetimes {
    /// The lives that each of `calls` belongs to, one for each of its sockets; `None` for a socket without an id.
    pub fn of(calls: &[Call]) -> Vec<Vec<Option<Lifetime>>> {
        // At one moment calls return before others are entered, except where a call takes no time.
        let mut moments: Vec<(Timestamp, bool, usize, bool)> = Vec::with_capacity(2 * calls.len());
        for (index, call) in calls.iter().enumerate() {
            moments.push((call.entered, true, index, false));
            if let Some(at) = call.returned_at() {
                moments.push((at.max(call.entered), at <= call.entered, index, true));
            }
        }
        moments.sort_unstable();
        let mut lifetimes = Self::default();
        let mut lives = vec![Vec::new(); calls.len()];
        for (_, _, index, returns) in moments {
            let call = &calls[index];
            lives[index] = if returns { lifetimes.leave(call) } else { lifetimes.enter(call) };
        }
        lives
    }

    /// Takes in that `call` was entered: the lives it belongs to, one for each of its sockets, `None` where that is known only when it returns.
    pub fn enter(&mut self, call: &Call) -> Vec<Option<Lifetime>> {
        let connects = matches!(call.op, Op::Connect { .. });
        let mut entered = Vec::with_capacity(call.sockets.len());
        for used in &call.sockets {
            let known = used.socket.filter(|_| !matches!(used.role, Role::Made | Role::Received));
            entered.push(known.map(|socket| {
                let life = self.sockets.get(&socket);
                if life.is_none_or(|life| life.is_over || (connects && life.is_spent)) {
                    return self.begin(socket, Some(call.id));
                }
                self.current(socket)
            }));
        }
        self.open.insert(call.id, entered.iter().flatten().copied().collect());
        entered
    }

    /// Takes in that `call` returned; a call whose entry was not taken in is one that was entered just now.
    pub fn leave(&mut self, call: &Call) -> Vec<Option<Lifetime>> {
        let entered = self.open.remove(&call.id).unwrap_or_default();
        let result = call.returned.as_ref().map(|returned| returned.result);
        let mut left = Vec::with_capacity(call.sockets.len());
        for used in &call.sockets {
            let Some(socket) = used.socket else {
                left.push(None);
                continue;
            };
            let life = match entered.iter().find(|life| life.socket == socket) {
                _ if used.role == Role::Made => self.made(socket, Some(call.id)),
                Some(life) => *life,
                None if self.sockets.get(&socket).is_none_or(|life| life.is_over) => self.begin(socket, Some(call.id)),
                None => self.current(socket),
            };
            let latest = self.sockets.get_mut(&socket).filter(|latest| latest.n == life.n);
            if let Some(latest) = latest {
                latest.is_over |= used.role == Role::Released;
                latest.is_spent |= spends(&call.op, result);
            }
            left.push(Some(life));
        }
        left
    }

    /// Takes in an event of a socket, and tells the life it belongs to.
    ///
    /// What a call did may come as its return and as an event, in either order, and counts once.
    pub fn see(&mut self, event: &SocketEvent) -> Lifetime {
        let entered = event.call.and_then(|call| self.open.get(&call));
        let entered = entered.and_then(|lives| lives.iter().find(|life| life.socket == event.socket)).copied();
        match event.change {
            SocketChange::Created { .. } => self.made(event.socket, event.call),
            SocketChange::Released { last: true, .. } | SocketChange::LostSight => {
                let life = entered.unwrap_or_else(|| self.current(event.socket));
                if let Some(latest) = self.sockets.get_mut(&event.socket).filter(|latest| latest.n == life.n) {
                    latest.is_over = true;
                }
                life
            }
            _ => entered.unwrap_or_else(|| self.current(event.socket)),
        }
    }

    /// Forgets a life that is over: nobody may speak of it any more.
    pub fn forget(&mut self, life: Lifetime) {
        if self.sockets.get(&life.socket).is_some_and(|latest| latest.n == life.n) {
            self.sockets.remove(&life.socket);
        }
    }

    /// Forgets a call that will not return.
    pub fn give_up(&mut self, call: CallId) {
        self.open.remove(&call);
    }

    /// The latest life of a socket, which begins here if none was seen.
    fn current(&mut self, socket: SocketId) -> Lifetime {
        match self.sockets.get(&socket) {
            Some(life) => Lifetime { socket, n: life.n },
            None => self.begin(socket, None),
        }
    }

    /// The life that a call has begun, which may be known already.
    fn made(&mut self, socket: SocketId, by: Option<CallId>) -> Lifetime {
        match self.sockets.get(&socket) {
            Some(life) if by.is_some() && life.begun_by == by => Lifetime { socket, n: life.n },
            _ => self.begin(socket, by),
        }
    }

    fn begin(&mut self, socket: SocketId, begun_by: Option<CallId>) -> Lifetime {
        let n = self.sockets.get(&socket).map_or(0, |life| life.n.saturating_add(1));
        self.sockets.insert(socket, Life { n, begun_by, is_spent: false, is_over: false });
        Lifetime { socket, n }
    }
}

/// Whether the next `connect` on the socket sends another SYN (net/ipv4/af_inet.c, `__inet_stream_connect`).
///
/// A nonblocking one that fails later says so in the next `connect`, even if SO_ERROR was read before: that one is still of the same life.
fn spends(op: &Op, result: Option<Result<i64, Errno>>) -> bool {
    match (op, result) {
        (Op::Connect { .. }, Some(Err(errno))) => {
            !matches!(errno, Errno::EINPROGRESS | Errno::EALREADY | Errno::EINTR | Errno::EISCONN)
        }
        // An address of no family dissolves the connection.
        (Op::Connect { address: None }, Some(Ok(_))) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Returned, SocketUse};
    use super::*;

    /// Calls of one socket: `NAME RESULT [socket]`, each at a moment of its own unless it says `FROM..TO`.
    fn calls(script: &str) -> Vec<Call> {
        let lines = script.lines().map(str::trim).filter(|line| !line.is_empty());
        let call = |(line, n): (&str, u64)| {
            let words: Vec<&str> = line.split_whitespace().collect();
            let moment = |word: &str| Timestamp::from_nanos(word.parse().unwrap());
            let (entered, returned) = words[0].split_once("..").unwrap();
            let address = Some("127.0.0.1:3000".parse().unwrap());
            let (op, role) = match words[1] {
                "socket" | "accept" => (Op::Accept { flags: None, room: None }, Role::Made),
                "connect" => (Op::Connect { address }, Role::On),
                "disconnect" => (Op::Connect { address: None }, Role::On),
                "send" => (Op::Listen { backlog: 1 }, Role::On),
                "close" => (Op::Close, Role::Released),
                "close_copy" => (Op::Close, Role::On),
                other => panic!("{other}"),
            };
            let result = words[2].strip_prefix('-').map_or(Ok(0), |name| Err(Errno::named(name).unwrap()));
            let socket = SocketId(words.get(3).map_or(7, |word| word.parse().unwrap()));
            Call {
                id: CallId { thread: ThreadId(0), n },
                entered: moment(entered),
                op,
                sockets: vec![SocketUse::of(socket, 3, role)],
                returned: (!returned.is_empty()).then(|| Returned {
                    at: moment(returned),
                    result,
                    octets: None,
                    preview: Vec::new(),
                }),
                stack: Default::default(),
            }
        };
        lines.zip(0..).map(call).collect()
    }

    fn lives(script: &str) -> Vec<u32> {
        Lifetimes::of(&calls(script)).into_iter().map(|lives| lives[0].unwrap().n).collect()
    }

    #[test]
    fn a_socket_that_was_refused_and_connects_again_has_another_life() {
        let script = "
            0..1 socket 0
            2..3 connect -ECONNREFUSED
            4..5 send -EPIPE
            6..7 connect 0
            8..9 send 0
            10..11 close 0
        ";
        assert_eq!(lives(script), [0, 0, 0, 1, 1, 1]);
    }

    #[test]
    fn a_connect_that_goes_on_after_its_call_is_one_life_with_the_call_that_asks_how_it_went() {
        let script = "
            0..1 socket 0
            2..3 connect -EINPROGRESS
            4..5 connect -EALREADY
            6..7 connect -ECONNREFUSED
            8..9 connect -EINPROGRESS
            10..11 connect -EINTR
            12..13 connect 0
            14..15 connect -EISCONN
            16..17 connect 0
        ";
        assert_eq!(lives(script), [0, 0, 0, 0, 1, 1, 1, 1, 1]);
        assert_eq!(lives("0..1 socket 0\n 2..3 connect 0\n 4..5 disconnect 0\n 6..7 connect 0"), [0, 0, 0, 1]);
    }

    #[test]
    fn an_id_used_again_is_another_life() {
        let script = "
            0..1 socket 0
            2..3 connect 0
            4..5 close_copy 0
            6..7 send 0
            8..9 close 0
            10..11 socket 0
            12..13 send 0
        ";
        assert_eq!(lives(script), [0, 0, 0, 0, 0, 1, 1]);
        // The close before was not seen, or nothing was seen of the opening.
        assert_eq!(lives("0..1 socket 0\n 2..3 accept 0\n 4..5 send 0"), [0, 1, 1]);
        assert_eq!(lives("0..1 send 0\n 2..3 close 0\n 4..5 send 0"), [0, 0, 1]);
    }

    #[test]
    fn a_call_stays_in_the_life_it_was_entered_in() {
        // The id is free as soon as the close is done, which may be before it returns; a receive may hang over both.
        let script = "
            0..1 socket 0
            2..20 send -EINTR
            3..10 close 0
            5..6 socket 0
            7..8 send 0
            11..12 send 0
            13.. send 0
        ";
        assert_eq!(lives(script), [0, 0, 0, 1, 1, 1, 1]);
        // An accept that was entered long before the socket it returns was there.
        assert_eq!(lives("0..20 accept 0\n 1..2 socket 0\n 3..4 close 0\n 21..22 send 0"), [1, 0, 0, 1]);
        // Calls without duration, one after the other at one moment.
        assert_eq!(lives("0..0 socket 0\n 1..1 connect -ETIMEDOUT\n 1..1 connect 0"), [0, 0, 1]);
    }

    #[test]
    fn an_event_and_the_return_of_its_call_count_once() {
        let calls = calls("0..1 socket 0\n 2..3 close 0\n 4..5 socket 0");
        let event = |call: Option<&Call>, change| SocketEvent {
            at: Timestamp::from_nanos(0),
            thread: ThreadId(0),
            call: call.map(|call| call.id),
            socket: SocketId(7),
            change,
        };
        let mut lifetimes = Lifetimes::default();
        lifetimes.enter(&calls[0]);
        let made = SocketChange::Created { fd: 3 };
        assert_eq!(lifetimes.see(&event(Some(&calls[0]), made)).n, 0);
        assert_eq!(lifetimes.leave(&calls[0])[0].unwrap().n, 0);
        assert_eq!(lifetimes.see(&event(None, SocketChange::Duplicated { from: 3, to: 4 })).n, 0);
        assert_eq!(lifetimes.see(&event(None, SocketChange::Released { fd: 4, last: false })).n, 0);
        lifetimes.enter(&calls[1]);
        assert_eq!(lifetimes.see(&event(Some(&calls[1]), SocketChange::Released { fd: 3, last: true })).n, 0);
        // Another socket has the id before the close returns.
        lifetimes.enter(&calls[2]);
        assert_eq!(lifetimes.leave(&calls[2])[0].unwrap().n, 1);
        assert_eq!(lifetimes.leave(&calls[1])[0].unwrap().n, 0);
        assert_eq!(lifetimes.see(&event(Some(&calls[2]), made)).n, 1);
        // A process that ends closes without a call.
        lifetimes.see(&event(None, SocketChange::Released { fd: 3, last: true }));
        let again = &calls[1];
        assert_eq!(lifetimes.enter(again)[0].unwrap().n, 2);
    }
}
