//! What a script yields where no kernel performs it: segments, calls, the kernel's answers and what the link did, as witnesses would have them.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};

use super::types::{
    Actor, Answered, Asked, Deed, Expected, Field, LinkEvent, Name, On, Request, Script, Sent, What, When, Which,
};
use crate::calls::{
    Call, CallId, Domain, Duplicating, Op, OptionValue, Process, Returned, Role, SocketFlags, SocketId, SocketType,
    SocketUse, Thread, ThreadId, Threads,
};
use crate::kernel::{Answer, TcpInfo, Timer, TimerKind};
use crate::tcp::State;
use crate::time::{Span, Timestamp};
use crate::wire::{Oddities, Options, Segment, Seq, Tunnel, TunnelKind};

/// What a script yields.
#[derive(Clone, Debug, Default)]
pub struct Performed {
    /// Its segments, in order; their frames count from 1.
    pub segments: Vec<Placed>,
    /// The threads of its actors, one for each that calls.
    pub threads: Threads,
    /// Its calls, in the order of its lines.
    pub calls: Vec<Call>,
    /// What sock_diag answered.
    pub answers: Vec<Answer>,
    /// What the link did.
    pub links: Vec<LinkEvent>,
    /// What is expected, and after how many segments.
    pub expected: Vec<(usize, Expected)>,
}

/// A segment of a script.
#[derive(Clone, Debug)]
pub struct Placed {
    /// Who sent it.
    pub from: Actor,
    /// The segment.
    pub segment: Segment,
    /// The tunnel it came in.
    pub tunnel: Vec<Tunnel>,
    /// Whether it arrives: neither its line nor the link says otherwise.
    pub arrives: bool,
    /// What its line expects of it.
    pub expected: Option<String>,
}

impl Script {
    /// Performs the script.
    ///
    /// It begins at 1000 s; a line without a time happens a microsecond after the one before it, and conditions hold as soon as their line is reached.
    /// `C` is 10.0.0.1:5000 and `S` is 10.0.0.2:80 until a line gives them another address; others follow in the order in which they appear.
    /// A segment without numbers has those that follow from what its sender sent before; windows are 1000 where none is given.
    /// It takes memory in proportion to the script.
    pub fn perform(&self) -> Performed {
        let start = Timestamp::from_parts(1_000, 0);
        let mut stage = Stage::beginning(start);
        for line in &self.lines {
            let (from, to) = match line.when {
                When::Next | When::After(_) => (stage.now.after(STEP), Some(stage.now.after(STEP))),
                When::At(at) => (start.after(at), Some(start.after(at))),
                When::During(from, to) => (start.after(from), to.map(|to| start.after(to))),
            };
            stage.now = from;
            match &line.what {
                What::Address(actor, at) => _ = stage.addresses.insert(*actor, *at),
                What::Call(asked) => stage.call(asked, to),
                What::Segment(sent) => stage.segment(sent),
                What::Link(deed, which) => stage.rules.push(Rule { deed: *deed, which: *which, seen: 0 }),
                What::Answer(actor, answered) => stage.answer(*actor, *answered),
                // Without a kernel nobody would answer what is forged, and nothing that is written here goes over a cable.
                What::Forge(_) | What::Repeat(_) | What::Flood { .. } | What::Cable(_) => {}
                What::Expect(expected) => {
                    let after = stage.out.segments.len();
                    stage.out.expected.push((after, expected.clone()));
                }
            }
        }
        stage.out
    }
}

struct Stage {
    now: Timestamp,
    addresses: HashMap<Actor, SocketAddr>,
    ends: HashMap<(Actor, Actor), Numbers>,
    players: HashMap<Actor, Player>,
    rules: Vec<Rule>,
    sockets: u64,
    out: Performed,
}

/// The sequence numbers of one direction, for segments that do not say theirs.
#[derive(Clone, Copy, Default)]
struct Numbers {
    next: Seq,
    began: bool,
}

/// What the link is to do.
struct Rule {
    deed: Deed,
    which: Which,
    seen: u32,
}

/// An actor that calls.
struct Player {
    thread: ThreadId,
    calls: u64,
    /// The one that calls are made on where they name none.
    latest: Option<Held>,
    listener: Option<Held>,
    connected: HashMap<Actor, Held>,
    named: HashMap<Name, Held>,
}

/// A socket in an actor's hands.
#[derive(Clone, Copy, PartialEq)]
struct Held {
    id: SocketId,
    fd: i32,
    peer: Option<Actor>,
}

impl Stage {
    fn beginning(now: Timestamp) -> Self {
        Self {
            now,
            addresses: HashMap::new(),
            ends: HashMap::new(),
            players: HashMap::new(),
            rules: Vec::new(),
            sockets: 0,
            out: Performed::default(),
        }
    }

    fn address(&mut self, actor: Actor) -> SocketAddr {
        let n = self.addresses.len() as u16;
        *self.addresses.entry(actor).or_insert_with(|| match actor {
            Actor::CLIENT => SocketAddr::from((Ipv4Addr::new(10, 0, 0, 1), 5000)),
            Actor::SERVER => SocketAddr::from((Ipv4Addr::new(10, 0, 0, 2), 80)),
            _ => SocketAddr::from((Ipv4Addr::new(10, 0, 0, 3), 5000u16.wrapping_add(n))),
        })
    }

    fn segment(&mut self, sent: &Sent) {
        let (from, to) = (self.address(sent.from), self.address(sent.to));
        let frame = self.out.segments.len() as u64 + 1;
        let own = self.ends.get(&(sent.from, sent.to)).copied().unwrap_or_default();
        let theirs = self.ends.get(&(sent.to, sent.from)).copied().unwrap_or_default();
        let (seq, len) = sent.seq.map_or((own.next, 0), |(seq, len)| (Seq(seq), len));
        let mut segment = Segment {
            at: Some(self.now),
            frame,
            src: from.ip(),
            dst: to.ip(),
            src_port: from.port(),
            dst_port: to.port(),
            seq,
            ack: Seq(0),
            flags: sent.flags,
            window: 1000,
            urgent: 0,
            checksum: 0,
            ip_id: Some(frame as u16),
            ttl: 64,
            len,
            oddities: Oddities::empty(),
            options: Options::default(),
        };
        if sent.seq.is_none() && theirs.began {
            segment.ack = theirs.next;
        }
        let mut arrives = true;
        let mut tunnel = Vec::new();
        for field in &sent.fields {
            match *field {
                Field::Ack(ack) => segment.ack = Seq(ack),
                Field::Window(window) => segment.window = window,
                Field::Id(id) => segment.ip_id = id,
                Field::Urgent(urgent) => segment.urgent = urgent,
                Field::Mss(mss) => segment.options.mss = Some(mss),
                Field::WindowScale(shift) => segment.options.window_scale = Some(shift),
                Field::SackPermitted => segment.options.sack_permitted = true,
                Field::Timestamps(sent, echoed) => segment.options.timestamps = Some((sent, echoed)),
                Field::Sack(ref blocks) => {
                    for (edges, (left, right)) in segment.options.sack.iter_mut().zip(blocks) {
                        *edges = (Seq(*left), Seq(*right));
                    }
                    segment.options.sack_blocks = blocks.len().min(segment.options.sack.len()) as u8;
                }
                Field::Vni(id) => tunnel.push(Tunnel { kind: TunnelKind::Vxlan, id: Some(id), ends: None }),
                Field::Lost => arrives = false,
            }
        }
        for rule in &mut self.rules {
            let Which { nth, kind, from, to } = rule.which;
            if (from, to) != (sent.from, sent.to) || !kind.holds(sent.flags, len) {
                continue;
            }
            rule.seen = rule.seen.saturating_add(1);
            if nth.is_none_or(|nth| nth == rule.seen) {
                self.out.links.push(LinkEvent { at: self.now, segment, act: rule.deed.into() });
                // TCP throws away what is damaged.
                arrives &= !matches!(rule.deed, Deed::Drop | Deed::Damage);
            }
        }
        let end = segment.end();
        if !own.began || end.is_after(own.next) {
            self.ends.insert((sent.from, sent.to), Numbers { next: end, began: true });
        }
        self.out.segments.push(Placed { from: sent.from, segment, tunnel, arrives, expected: sent.expected.clone() });
    }

    fn answer(&mut self, actor: Actor, Answered { state, remaining }: Answered) {
        let peer = if actor == Actor::CLIENT { Actor::SERVER } else { Actor::CLIENT };
        let (local, peer) = (self.address(actor), self.address(peer));
        let timer = remaining.map(|remaining| Timer { kind: TimerKind::TimeWait, remaining });
        let (asked, answered) = (self.now, self.now);
        self.out.answers.push(Answer { asked, answered, local, peer, state, timer, inode: 0, uid: 0 });
    }

    fn call(&mut self, asked: &Asked, returned: Option<Timestamp>) {
        let me = self.address(asked.actor);
        if let Request::Fork(_) | Request::Kill | Request::DefaultPipe = asked.request {
            return;
        }
        if !self.players.contains_key(&asked.actor) {
            let n = self.players.len() as u32 + 1;
            let process = self.out.threads.add_process(Process { pid: n, comm: asked.actor.to_string() });
            let thread = self.out.threads.add(Thread { process, tid: n, comm: asked.actor.to_string() });
            let player = Player {
                thread,
                calls: 0,
                latest: None,
                listener: None,
                connected: HashMap::new(),
                named: HashMap::new(),
            };
            self.players.insert(asked.actor, player);
        }
        let result = asked.result.unwrap_or_else(|| Ok(self.likely(&asked.request)));
        let op = self.op(asked, me, &result);
        let Some(mut player) = self.players.remove(&asked.actor) else { return };

        let mut sockets = Vec::new();
        let mut on = match asked.on {
            _ if matches!(asked.request, Request::Socket(..)) => None,
            Some(On::Listener) => player.listener,
            Some(On::Peer(peer)) if asked.request != Request::Accept => player.connected.get(&peer).copied(),
            Some(On::Named(name)) => player.named.get(&name).copied().or(player.latest),
            _ if asked.request == Request::Accept => player.listener.or(player.latest),
            _ => player.latest,
        };
        if on.is_none() && !matches!(asked.request, Request::Socket(..)) {
            // A script may begin when the socket is there already.
            let held = self.hold(3);
            (on, player.latest) = (Some(held), Some(held));
        }
        let role = match asked.request {
            Request::Close | Request::Exit => Role::Released,
            _ => Role::On,
        };
        if let (Some(held), Request::Connect(_)) = (&mut on, &asked.request) {
            let peer = connects_to(asked);
            held.peer = Some(peer);
            player.latest = Some(*held);
            player.connected.insert(peer, *held);
        }
        sockets.extend(on.map(|held| used(&held, role)));
        let fd = result.ok().and_then(|fd| i32::try_from(fd).ok());
        match asked.request {
            Request::Socket(..) if result.is_ok() => {
                let held = self.hold(fd.unwrap_or(3));
                player.named.extend(asked.named.map(|name| (name, held)));
                player.latest = Some(held);
                sockets.push(used(&held, Role::Made));
            }
            Request::Accept if result.is_ok() => {
                let peer = match asked.on {
                    Some(On::Peer(peer)) => peer,
                    _ => Actor::CLIENT,
                };
                let held = Held { peer: Some(peer), ..self.hold(fd.unwrap_or(4)) };
                (player.listener, player.latest) = (on, Some(held));
                player.connected.insert(peer, held);
                player.named.extend(asked.named.map(|name| (name, held)));
                sockets.push(used(&held, Role::Made));
            }
            Request::Listen(_) => player.listener = on,
            Request::Close | Request::Exit => {
                player.connected.retain(|_, held| Some(*held) != on);
                for mine in [&mut player.latest, &mut player.listener] {
                    *mine = mine.filter(|held| Some(*held) != on);
                }
            }
            _ => {}
        }

        let made = sockets.last().and_then(|used| used.socket);
        let peer =
            [player.latest, on].into_iter().flatten().find(|held| Some(held.id) == made).and_then(|held| held.peer);
        let peer = peer.map(|peer| self.address(peer));
        if let Some(last) = sockets.last_mut() {
            (last.local, last.peer) = (Some(me), peer);
            last.info = asked.state.map(|state| info(returned.unwrap_or(self.now), state));
        }
        let moves = matches!(op, Op::Send { .. } | Op::Receive { .. });
        let octets = result.ok().filter(|_| moves).and_then(|moved| u64::try_from(moved).ok());
        self.out.calls.push(Call {
            id: CallId { thread: player.thread, n: player.calls },
            entered: self.now,
            op,
            sockets,
            returned: returned.map(|at| Returned { at, result, octets, preview: Vec::new() }),
            stack: Default::default(),
        });
        player.calls += 1;
        self.players.insert(asked.actor, player);
    }

    fn op(&mut self, asked: &Asked, me: SocketAddr, result: &Result<i64, crate::calls::Errno>) -> Op {
        let len =
            |len: Option<u32>| len.map_or(result.ok().and_then(|moved| moved.try_into().ok()).unwrap_or(0), u64::from);
        match asked.request.clone() {
            Request::Socket(domain, protocol) => Op::Socket {
                domain: domain.unwrap_or(if me.is_ipv4() { Domain::AF_INET } else { Domain::AF_INET6 }),
                r#type: SocketType::SOCK_STREAM,
                flags: SocketFlags::empty(),
                protocol,
            },
            Request::Bind(address) => Op::Bind { address: Some(address.unwrap_or(me)) },
            Request::Listen(backlog) => Op::Listen { backlog: backlog.unwrap_or(5) },
            Request::Connect(_) => Op::Connect { address: Some(self.address(connects_to(asked))) },
            Request::Accept => Op::Accept { flags: None, room: None },
            Request::Send(by, octets, flags) => Op::Send { by, len: Some(len(octets)), flags },
            Request::Receive(by, octets, flags) => Op::Receive { by, len: Some(len(octets)), flags },
            Request::Shutdown(how) => Op::Shutdown { how },
            Request::SetOption(option, value) => Op::SetOption { option, value },
            Request::Close => Op::Close,
            Request::GetOption(option) => Op::GetOption { option, value: OptionValue::Unread },
            Request::Duplicate => Op::Duplicate { by: Duplicating::Dup },
            Request::Exit | Request::Fork(_) | Request::Kill | Request::DefaultPipe => Op::Exit,
        }
    }

    /// What a call returns where the script does not say.
    fn likely(&self, request: &Request) -> i64 {
        match request {
            Request::Socket(..) | Request::Accept => self.sockets.try_into().map_or(i64::MAX, |made: i64| made + 3),
            Request::Send(_, octets, _) | Request::Receive(_, octets, _) => octets.unwrap_or(0).into(),
            _ => 0,
        }
    }

    fn hold(&mut self, fd: i32) -> Held {
        self.sockets += 1;
        Held { id: SocketId(self.sockets), fd, peer: None }
    }
}

fn connects_to(asked: &Asked) -> Actor {
    match asked.request {
        Request::Connect(Some(to)) => to,
        _ => Actor::SERVER,
    }
}

fn used(held: &Held, role: Role) -> SocketUse {
    SocketUse::of(held.id, held.fd, role)
}

/// TCP_INFO of which only the state is known.
fn info(at: Timestamp, state: State) -> TcpInfo {
    TcpInfo {
        asked: at,
        answered: at,
        state,
        rtt_us: 0,
        rttvar_us: 0,
        snd_cwnd: 10,
        snd_mss: 1460,
        unacked: 0,
        backlog: None,
        retransmits: 0,
        total_retrans: 0,
        bytes_acked: 0,
        bytes_received: 0,
        notsent_bytes: 0,
    }
}

const STEP: Span = Span(1_000);
