//! Which connection an accept took that does not say so: the only one that was complete by then, or the only one that its octets fit.

use std::collections::BTreeSet;

use super::accept_queue::{Accept, MOST_ACCEPTS, SLACK};
use super::call_table::Life;
use super::connection::PerConnection;
use super::timeline::Timeline;
use super::{EventId, Remark};
use crate::calls::{Call, Effect, Lifetime, Op, OptionName, OptionValue, TcpOption};
use crate::flow::{ConnectionId, Side};
use crate::time::Timestamp;
use crate::wire::Flags;

/// What became of an accept.
enum Turn {
    /// It took this one.
    Of(ConnectionId),
    /// Which it took will not be known.
    Never,
    /// That is not known yet.
    Waits,
}

impl Timeline {
    /// Takes in what a call says of a socket that listens, or of how one will open.
    pub(super) fn see_listener(&mut self, call: &Call, life: Option<Lifetime>) {
        let (Some(life), None) = (life, call.errno()) else { return };
        match call.op {
            Op::Listen { .. } => {
                if let Some(local) = call.local() {
                    self.queues.listeners.insert(life, local);
                }
            }
            Op::SetOption { option: OptionName::Tcp(TcpOption::TCP_FASTOPEN_CONNECT), ref value } => {
                self.calls.life(life).opens_late = *value != OptionValue::Int(0);
            }
            _ if matches!(call.effect(), Effect::Close | Effect::Exit) => self.queues.stops(life),
            _ => {}
        }
    }

    /// Takes in an accept that does not say which connection it took.
    pub(super) fn wait_for_turn(&mut self, call: &Call, event: EventId, life: Lifetime, listener: Option<Lifetime>) {
        let (Some(listener), Some(returned)) = (listener, call.returned_at()) else { return };
        let Some(at) = self.queues.listeners.get(&listener).copied() else { return };
        if self.queues.accepts.len() == MOST_ACCEPTS
            && let Some(first) = self.queues.accepts.pop_front()
            && !first.is_apart
        {
            // Which of those that are complete are still there is not known any more.
            self.queues.stops(first.listener);
            self.queues.accepts.retain(|accept| accept.listener != first.listener || accept.is_apart);
        }
        let accept = Accept { event, life, listener, at, peer: call.peer(), returned, among: None, is_apart: false };
        self.queues.accepts.push_back(accept);
    }

    /// Finds which connections accepts took that did not say so, as far as it can have been no others.
    pub(super) fn take_turns(&mut self) {
        let mut is_found = !self.queues.accepts.is_empty();
        while is_found {
            is_found = false;
            for n in 0..self.queues.accepts.len() {
                let turn = self.turn_of(n);
                if let Turn::Waits = turn {
                    continue;
                }
                let Some(accept) = self.queues.accepts.remove(n) else { break };
                if let Turn::Of(id) = turn {
                    self.set_side(accept.life, Side::Server);
                    self.set_home(accept.life, id);
                    self.events.call_mut(accept.event).remark = Some(Remark::OnlyOneFits);
                }
                is_found = true;
                break;
            }
            is_found |= !is_found && self.set_apart();
        }
    }

    /// Which connection an accept took.
    fn turn_of(&mut self, n: usize) -> Turn {
        let accept = &self.queues.accepts[n];
        let is_homeless = self.calls.lives.get(&accept.life).is_some_and(|life| life.home.is_none() && !life.is_cut);
        if !is_homeless || self.events.find(accept.event).is_none() {
            return Turn::Never;
        }
        let Some(candidates) = self.left(accept) else { return Turn::Waits };
        match candidates[..] {
            [] => Turn::Never,
            [only] => {
                // Of two that can have taken no other one, one took what was not captured.
                let mut others = self.queues.accepts.iter().enumerate().filter(|(other, _)| *other != n);
                let is_alike = |of: &Accept| {
                    of.at.port() == accept.at.port() && self.left(of).is_some_and(|left| left == candidates)
                };
                if others.any(|(_, of)| is_alike(of)) {
                    self.queues.take(only);
                    return Turn::Never;
                }
                Turn::Of(only)
            }
            _ => Turn::Waits,
        }
    }

    /// The connections that an accept can have taken, and of which no other one is known.
    fn left(&self, accept: &Accept) -> Option<Vec<ConnectionId>> {
        let Some(among) = &accept.among else { return self.queues.candidates(accept) };
        let is_left = |id: &ConnectionId| self.connections.contains_key(id) && !self.has_life(*id, Side::Server);
        Some(among.iter().copied().filter(is_left).collect())
    }

    /// Where all connections that were complete are taken, though not which by whom is known, they are not there for later accepts.
    fn set_apart(&mut self) -> bool {
        let mut is_set = false;
        let ports: BTreeSet<u16> =
            self.queues.accepts.iter().filter(|accept| !accept.is_apart).map(|accept| accept.at.port()).collect();
        for port in ports {
            let waits = |accept: &Accept| !accept.is_apart && accept.at.port() == port;
            let last = self.queues.accepts.iter().rfind(|accept| waits(accept));
            let Some(all) = last.and_then(|last| self.queues.candidates(&Accept { peer: None, ..last.clone() })) else {
                continue;
            };
            let count = self.queues.accepts.iter().filter(|accept| waits(accept)).count();
            if all.len() != count {
                continue;
            }
            for n in 0..self.queues.accepts.len() {
                if waits(&self.queues.accepts[n]) {
                    let left = self.left(&self.queues.accepts[n]);
                    let accept = &mut self.queues.accepts[n];
                    (accept.among, accept.is_apart) = (Some(left.unwrap_or_default()), true);
                }
            }
            all.into_iter().for_each(|id| self.queues.take(id));
            is_set = true;
        }
        is_set
    }

    /// A socket is closed, or nothing more will come: of the connections that it may have been, those are left that its octets fit.
    pub(super) fn narrow_down(&mut self, life: Lifetime) {
        let Some(n) = self.queues.accepts.iter().position(|accept| accept.life == life) else { return };
        let Some(known) = self.calls.lives.get(&life) else { return };
        let Some(left) = self.left(&self.queues.accepts[n]) else { return };
        let calls: Vec<&Call> = known.calls.iter().map(|event| &self.events.call(*event).call).collect();
        let fits =
            |id: &ConnectionId| self.connections.get(id).is_some_and(|connection| fits(known, &calls, connection));
        let fitting = left.into_iter().filter(fits).collect();
        self.queues.accepts[n].among = Some(fitting);
        self.take_turns();
    }

    /// Nothing more will come.
    pub(super) fn narrow_all_down(&mut self) {
        let lives: Vec<Lifetime> = self.queues.accepts.iter().map(|accept| accept.life).collect();
        lives.into_iter().for_each(|life| self.narrow_down(life));
        self.take_turns();
    }
}

/// Whether the calls of a socket can have been on the server's end of a connection: nothing was received before it came, or left before it
/// was sent.
fn fits(life: &Life, calls: &[&Call], connection: &PerConnection) -> bool {
    if life.has_lost_octets || calls.len().max(connection.seen.len()) > MOST_COMPARED {
        return true;
    }
    let of = |side: Side| connection.seen.iter().filter(move |seen| seen.from == side && seen.at.is_some());
    let by = |moment: Timestamp| move |at: &Option<Timestamp>| at.is_some_and(|at| at <= moment.after(SLACK));
    let mut came = of(Side::Client).peekable();
    let (mut there, mut is_ended, mut taken) = (0, false, 0);
    for call in calls.iter().filter(|call| call.effect() == Effect::Receive) {
        let (Some(at), Some(octets), Some(result)) = (call.returned_at(), call.octets(), call.result()) else {
            continue;
        };
        while let Some(seen) = came.next_if(|seen| by(at)(&seen.at)) {
            there = there.max(seen.stream.map_or(0, |stream| stream.to));
            is_ended |= seen.flags.intersects(Flags::FIN | Flags::RST);
        }
        taken += octets;
        let is_end = result == 0 && !matches!(call.op, Op::Receive { len: Some(0), .. });
        if taken > there || (is_end && !is_ended && !calls.iter().any(|call| call.effect() == Effect::ShutdownRead)) {
            return false;
        }
    }
    let mut acts = calls.iter().peekable();
    let (mut sent, mut is_closed) = (Some(0), false);
    for seen in of(Side::Server) {
        let Some(at) = seen.at else { continue };
        while let Some(call) = acts.next_if(|call| by(at)(&Some(call.entered))) {
            match call.effect() {
                Effect::Send => {
                    sent = sent.zip(call.returned.as_ref()).map(|(sent, _)| sent + call.octets().unwrap_or(0))
                }
                Effect::ShutdownWrite | Effect::Close | Effect::Exit => is_closed = true,
                _ => {}
            }
        }
        let left = seen.stream.map_or(0, |stream| stream.to);
        if sent.is_some_and(|sent| left > sent) || (seen.flags.contains(Flags::FIN) && !is_closed) {
            return false;
        }
    }
    true
}

/// How many calls of a socket, or segments of a connection, are compared.
const MOST_COMPARED: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Role, SocketId};
    use crate::story::accept_queue::MOST_LOOKED_AT;
    use crate::story::script::{Recording, recording};
    use crate::story::{EventKind, Story};

    /// A recording in which no call on the sockets that were accepted knows their ends.
    fn unseen(script: &str) -> Recording {
        let mut recording = recording(script);
        let made =
            |call: &Call| call.sockets.iter().filter(|used| used.role == Role::Made).find_map(|used| used.socket);
        let accepts = recording.calls.iter().filter(|call| matches!(call.op, Op::Accept { .. }));
        let accepted: Vec<SocketId> = accepts.filter_map(made).collect();
        for used in recording.calls.iter_mut().flat_map(|call| &mut call.sockets) {
            if used.socket.is_some_and(|socket| accepted.contains(&socket)) {
                (used.local, used.peer, used.info) = (None, None, None);
            }
        }
        recording
    }

    /// The connections of the accepts, in the order of their entry, and whether it is said that it was concluded.
    fn taken(story: &Story) -> Vec<(Option<u64>, bool)> {
        let accepts = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Call(call) if matches!(call.call.op, Op::Accept { .. }) => {
                Some((event.connection.map(|id| id.0), call.remark == Some(Remark::OnlyOneFits)))
            }
            _ => None,
        });
        accepts.collect()
    }

    fn listens() -> String {
        "1us..2us S: socket() = 4\n 3us..4us S: bind() = 0\n 5us..6us S: listen(500) = 0\n".to_owned()
    }

    /// The handshake of the n-th client, from that microsecond on.
    fn handshake(n: usize, at: usize) -> String {
        let ends = format!("C{n} = 10.0.0.{}:{}\n", 1 + n / 200, 40_000 + n);
        let segments = format!(
            "{at}us C{n} > S: S 0(0)\n {}us S > C{n}: S. 0(0) ack 1\n {}us C{n} > S: . 1(0) ack 1\n",
            at + 1,
            at + 2
        );
        ends + &segments
    }

    /// What the server does with a connection that it has accepted: it receives so many octets, and closes.
    fn served(n: usize, octets: usize, at: usize) -> String {
        let end = at + 60;
        format!(
            "{0}us..{1}us S: recv(conn{n}, 100) = {octets}\n {2}us..{end}us S: close(conn{n}) = 0\n",
            at + 30,
            at + 40,
            at + 50
        )
    }

    fn sends(n: usize, octets: usize, at: usize) -> String {
        format!("{at}us C{n} > S: P. 1({octets}) ack 1\n {}us S > C{n}: . 1(0) ack {}\n", at + 1, 1 + octets)
    }

    #[test]
    fn the_only_connection_that_is_complete_is_the_one_that_was_accepted() {
        let accepts = "200us..210us S: accept() = conn1\n";
        let story = |handshakes: String| taken(&unseen(&(listens() + &handshakes + accepts)).told());
        assert_eq!(story(handshake(1, 100)), [(Some(0), true)]);
        // One whose handshake ended afterwards is another one.
        assert_eq!(story(handshake(1, 100) + &handshake(2, 400)), [(Some(0), true)]);
        assert_eq!(story(handshake(1, 400)), [(None, false)]);
        assert_eq!(story(handshake(1, 100) + &handshake(2, 110)), [(None, false)], "either is possible");
    }

    #[test]
    fn a_connection_that_opens_with_octets_can_be_accepted_before_its_handshake_is_over() {
        let opens = |answer: &str| {
            listens()
                + "C1 = 10.0.0.1:40001\n 100us C1 > S: S 0(5)\n"
                + answer
                + "110us..120us S: accept() = conn1\n 121us..122us S: recv(conn1, 100) = 5\n"
                + "130us C1 > S: . 6(0) ack 1\n"
        };
        assert_eq!(taken(&unseen(&opens("101us S > C1: S. 0(0) ack 6\n")).told()), [(Some(0), true)]);
        // Nobody can accept it before its SYN is answered.
        assert_eq!(taken(&unseen(&opens("125us S > C1: S. 0(0) ack 6\n")).told()), [(None, false)]);
    }

    #[test]
    fn of_several_that_are_complete_it_is_the_one_that_its_octets_fit() {
        let script = |first: usize, other: usize| {
            listens()
                + &handshake(1, 100)
                + &handshake(2, 110)
                + &sends(1, first, 120)
                + &sends(2, other, 130)
                + "200us..210us S: accept() = conn1\n 211us..212us S: accept() = conn2\n"
                + &served(1, 20, 300)
                + &served(2, 10, 400)
                + "350us S > C2: F. 1(0) ack 21\n 450us S > C1: F. 1(0) ack 11\n"
        };
        // The first one that was accepted received more than the first client had sent.
        assert_eq!(taken(&unseen(&script(10, 20)).told()), [(Some(1), true), (Some(0), true)]);
    }

    #[test]
    fn two_that_fit_alike_are_not_told_apart_and_are_gone_for_later_ones() {
        let script = listens()
            + &handshake(1, 100)
            + &handshake(2, 110)
            + "200us..210us S: accept() = conn1\n 211us..212us S: accept() = conn2\n"
            + &handshake(3, 300)
            + "400us..410us S: accept() = conn3\n";
        assert_eq!(taken(&unseen(&script).told()), [(None, false), (None, false), (Some(2), true)]);
    }

    #[test]
    fn a_later_call_that_knows_its_ends_tells_which_connection_it_is() {
        let script = listens()
            + &handshake(1, 100)
            + &handshake(2, 110)
            + &sends(2, 20, 120)
            + "200us..210us S: accept(C2) = conn1\n 211us..212us S: accept(C1) = conn2\n"
            + &served(1, 20, 300);
        let mut unseen = unseen(&script);
        let known = recording(&script);
        let close = known.calls.iter().position(|call| call.op == Op::Close).expect("a close");
        unseen.calls[close] = known.calls[close].clone();
        let story = unseen.told();
        // With the one of two the other one is known, too.
        assert_eq!(taken(&story), [(Some(1), false), (Some(0), true)]);
        let received = story.events.iter().find_map(|event| match &event.kind {
            EventKind::Call(call) if call.call.effect() == Effect::Receive => Some((event.connection, call.stream)),
            _ => None,
        });
        let (connection, stream) = received.expect("a receive");
        assert_eq!((connection, stream.map(|of| (of.from, of.to))), (Some(ConnectionId(1)), Some((0, 20))));
    }

    #[test]
    fn where_a_connect_led_that_could_not_be_read_in_time_is_proven_by_a_syn() {
        let told = |connect: &str, others: &str| {
            let script = format!("{connect} C1: connect() = 0\n{others}") + &handshake(1, 110) + &sends(1, 20, 400);
            let mut recording = recording(&(script + "380us..390us C1: send(20) = 20\n"));
            for call in &mut recording.calls {
                if let Op::Connect { address } = &mut call.op {
                    *address = None;
                }
                let connects = call.effect() == Effect::Connect;
                for used in &mut call.sockets {
                    (used.local, used.info) = (None, None);
                    used.peer = used.peer.filter(|_| connects);
                }
            }
            let story = recording.told();
            let calls = story.events.iter().filter_map(|event| match &event.kind {
                EventKind::Call(call) => Some((event.connection.is_some(), call.call.peer().is_some())),
                _ => None,
            });
            calls.collect::<Vec<_>>()
        };
        assert_eq!(told("100us..120us", ""), [(true, true), (true, false)]);
        assert_eq!(told("200us..220us", ""), [(false, false); 2], "no SYN was sent meanwhile");
        assert_eq!(told("100us..120us", &handshake(2, 105)), [(false, false); 2], "either may be its own");
    }

    #[test]
    fn of_connections_that_wait_so_many_are_looked_at_for_an_accept() {
        let joined = |count: usize| {
            let mut script = listens();
            (1..=count).for_each(|n| script += &handshake(n, 100 + 10 * n));
            script += &sends(1, 20, 20_000);
            script += "30000us..30010us S: accept() = conn1\n";
            script += &served(1, 20, 30_100);
            taken(&unseen(&script).told())
        };
        assert_eq!(joined(MOST_LOOKED_AT), [(Some(0), true)]);
        assert_eq!(joined(MOST_LOOKED_AT + 1), [(None, false)]);
    }

    #[test]
    fn of_accepts_whose_connections_are_not_known_so_many_are_remembered() {
        let last = |count: usize| {
            let mut script = listens() + &handshake(1, 100) + &handshake(2, 110) + &handshake(3, 120);
            // As many as that are in progress beside others, so that nothing is said of them.
            script += "150us..900000us S2: accept() = conn0\n";
            for n in 1..=count {
                script += &format!("{}us..{}us S: accept() = a{n}\n", 200 + 10 * n, 205 + 10 * n);
            }
            let mut timeline = Timeline::default();
            crate::story::script::words(unseen(&script)).for_each(|word| timeline.take(word));
            (timeline.queues.accepts.len(), timeline.queues.listeners.len())
        };
        let (held, listening) = last(2);
        assert_eq!((held, listening), (2, 1));
        assert!(last(MOST_ACCEPTS + 2).0 <= MOST_ACCEPTS);
    }

    #[test]
    fn of_very_many_calls_of_a_socket_nothing_is_compared() {
        let joined = |receives: usize| {
            let mut script = listens() + &handshake(1, 100) + &handshake(2, 110) + &sends(1, receives, 120);
            script += "200us..210us S: accept() = conn1\n";
            for n in 0..receives {
                script += &format!("{}us..{}us S: recv(conn1, 1) = 1\n", 300 + 10 * n, 305 + 10 * n);
            }
            let end = 1000 + 10 * receives;
            script += &format!("{end}us..{}us S: close(conn1) = 0\n", end + 5);
            taken(&unseen(&script).told())
        };
        // Beside the receives there are accept and close.
        assert_eq!(joined(MOST_COMPARED - 2), [(Some(0), true)]);
        assert_eq!(joined(MOST_COMPARED - 1), [(None, false)]);
    }
}
