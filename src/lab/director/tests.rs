//! How long the director waits for what does not come.

use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrStorage, bind, connect, listen, setsockopt, socket, socketpair, sockopt,
};

use super::super::definition::LinkSetting;
use super::super::host::in_own_network;
use super::super::netlink::Netlink;
use super::super::rules::bare_segment;
use super::super::tap::Taps;
use super::*;
use crate::capture::{Frame, LinkType, SeenAt};
use crate::wire::Decoder;

const SCENARIO: &str = r#"
name = "waiting"
group = "basics"
title = { en = "Waiting", zh = "Waiting" }
lesson = { en = "Waiting.", zh = "Waiting." }
expect = ["C CLOSED"]
script = '''
S: socket()
C: socket()
C: connect(to S)
'''
"#;

/// What a director needs, but for actors; the socket tables are those of the calling thread's network.
struct Scene {
    definition: Definition,
    addresses: Addresses,
    watched: Watched,
    kernels: [SockDiag; 1],
}

impl Scene {
    fn new() -> Self {
        let definition = Definition::parse("waiting.toml", SCENARIO, &[]).expect("it is sound");
        let addresses = Addresses::of(&definition);
        let watched = Watched::new(addresses.clone());
        Self { definition, addresses, watched, kernels: [SockDiag::open().expect("sock_diag")] }
    }

    fn actor(&self, name: &str) -> Actor {
        let actors = self.definition.actors().into_iter().map(|(actor, _)| actor);
        actors.into_iter().find(|actor| actor.name() == name).expect("it is in the script")
    }

    fn director<'a>(&'a mut self, cast: Vec<Member>, relay: Option<&'a Relay>) -> Director<'a> {
        let Self { definition, addresses, watched, kernels } = self;
        Director::new(definition, addresses, cast, watched, kernels, relay, Arc::default())
    }
}

/// Both ends of a connection on loopback.
fn connection() -> [TcpStream; 2] {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    [client, listener.accept().expect("the connection").0]
}

/// Has a socket take no segment any more.
fn deaf(socket: &impl AsRawFd) {
    let mut none = [libc::sock_filter { code: (libc::BPF_RET | libc::BPF_K) as u16, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: none.as_mut_ptr() };
    let len = size_of_val(&filter) as u32;
    // SAFETY: the pointers are to values that live here, with their sizes.
    let set = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, (&raw const filter).cast(), len)
    };
    Errno::result(set).expect("a filter");
}

/// The states that were told at last, and how long that took.
fn looked_at_last(connection: &[TcpStream; 2], settling: [Duration; 2]) -> (Vec<Option<State>>, Duration) {
    let mut scene = Scene::new();
    let [client, server] = ["C", "S"].map(|name| scene.actor(name));
    let ends = connection.each_ref().map(|end| end.local_addr().expect("an address"));
    let mut director = scene.director(Vec::new(), None);
    director.told.ends.push([(Some(client), ends[0]), (Some(server), ends[1])]);
    let begun = Instant::now();
    director.look_at_last(settling[0], settling[1]).expect("sock_diag answers");
    let took = begun.elapsed();
    (director.told.evidence.iter().map(|answer| answer.state).collect(), took)
}

const OPEN: Option<State> = Some(State::Established);

#[test]
fn ends_that_are_not_in_their_last_states_are_waited_for_only_so_long() {
    let connection = connection();
    let (states, took) = looked_at_last(&connection, [SETTLING, SETTLING_AT_LAST]);
    assert_eq!(states, [OPEN; 2], "they are told as they are");
    // Both together: nothing runs that could change them.
    assert!(took >= SETTLING && took < SETTLING_AT_LAST, "{took:?}");
}

/// With times that stand in for those of a run, whose greater one is longer than a test may take.
#[test]
fn where_a_timer_has_still_to_run_the_ends_are_waited_for_longer() {
    use std::io::Write;
    let settling = [Duration::from_millis(100), Duration::from_millis(1200)];
    let connection = connection();
    // Nobody reads: the window is closed, and probed again and again.
    let mut client = &connection[0];
    client.set_nonblocking(true).expect("an option");
    while client.write(&[0; 1 << 16]).is_ok() {}
    let (states, took) = looked_at_last(&connection, settling);
    assert_eq!(states, [OPEN; 2], "they are told as they are");
    assert!(took >= settling[1], "{took:?}");
}

/// The sockets of a client have ports by their number: one beyond those that are looked at waits for its server, and nobody sees that.
#[test]
fn of_the_sockets_that_connect_so_many_are_looked_at() {
    in_own_network(|| {
        let mut scene = Scene::new();
        let (client, server) = (scene.actor("C"), scene.actor("S"));
        let address = |at: Option<SocketAddr>| SockaddrStorage::from(at.expect("an address"));
        let stream = || socket(AddressFamily::Inet, SockType::Stream, SockFlag::SOCK_NONBLOCK, None).expect("a socket");
        let to = address(scene.addresses.at(server));
        let listener = stream();
        bind(listener.as_raw_fd(), &to).expect("nobody else is in this network");
        listen(&listener, nix::sys::socket::Backlog::new(1).expect("a length")).expect("it can listen");
        deaf(&listener);
        let own = scene.addresses.at(client).expect("an address");
        let ports: Vec<_> = (0..=MOST_SOCKETS).filter_map(|n| scene.addresses.port(client, n)).collect();
        assert_eq!(ports.len(), usize::from(MOST_SOCKETS) + 1);
        let (own_control, others) =
            socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC).expect("two sockets");
        let mut connects = Member::new(client, own_control);
        connects.busy = Some(2);
        let mut director = scene.director(vec![connects, Member::new(server, others)], None);
        let found = ports.iter().map(|port| {
            assert!(!director.awaits_a_timer(), "nothing is under way");
            let connecting = stream();
            setsockopt(&connecting, sockopt::ReuseAddr, &true).expect("an option");
            bind(connecting.as_raw_fd(), &address(Some(SocketAddr::new(own.ip(), *port)))).expect("a free port");
            assert_eq!(connect(connecting.as_raw_fd(), &to), Err(Errno::EINPROGRESS));
            director.awaits_a_timer()
        });
        let found: Vec<_> = found.collect();
        let expected: Vec<_> = (0..=MOST_SOCKETS).map(|n| n < MOST_SOCKETS).collect();
        assert_eq!(found, expected);
    });
}

/// What was captured where it was sent never comes to the link.
#[test]
fn a_link_that_does_not_take_in_what_was_sent_is_waited_for_only_so_long() {
    in_own_network(|| {
        let netlink = Netlink::open().expect("rtnetlink");
        let links = ["near", "far"];
        netlink.pair_here(links);
        links.iter().for_each(|link| netlink.up(link).expect("it is there"));
        links.iter().for_each(|link| netlink.await_sending(link).expect("they are connected"));
        let mut scene = Scene::new();
        let taps = Taps::open(links, 1500).expect("raw sockets");
        let relay = Relay::start(taps, scene.addresses.clone(), LinkSetting::default(), None).expect("a thread");
        let [from, to] = ["C", "S"].map(|name| scene.addresses.at(scene.actor(name)).expect("an address"));
        let waited = |scene: &mut Scene| {
            let begun = Instant::now();
            scene.director(Vec::new(), Some(&relay)).until_taken();
            begun.elapsed()
        };
        waited(&mut scene);
        let bytes = &bare_segment(from, to)[..];
        let wire_len = bytes.len() as u32;
        let frame = Frame { number: 1, at: None, link: LinkType::ETHERNET, bytes, wire_len, seen: SeenAt::default() };
        let seen = Decoder::new().decode(&frame, |segment, _| scene.watched.see(End::Client, segment));
        assert!(seen.is_ok() && scene.watched.sent(End::Client) == 1);
        let took = waited(&mut scene);
        assert!(took >= TAKING, "{took:?}");
        // It goes on without it.
        assert_eq!((relay.taken(End::Client), relay.stop().crossings.len()), (0, 0));
    });
}

/// With a time that stands in for the one of a run, which is longer than a test may take.
#[test]
fn an_actor_that_never_comes_is_waited_for_only_so_long() {
    let mut scene = Scene::new();
    let [client, server] = ["C", "S"].map(|name| scene.actor(name));
    // Its process is there, and sleeps; it says nothing.
    let mut process = std::process::Command::new("sleep").arg("60").spawn().expect("a process");
    let (control, _others) =
        (socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)).expect("two sockets");
    let (here, _other) =
        (socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)).expect("two sockets");
    let pid = Pid::from_raw(process.id() as i32);
    let mut cast = vec![Member::new(server, here), Member::new(client, control)];
    (cast[0].pid, cast[1].made) = (Some(Pid::this()), Some(pid));
    let mut director = scene.director(cast, None);
    let (patience, begun) = (Duration::from_millis(300), Instant::now());
    let why = director.until_all_are_there(patience).expect_err("one is missing").to_string();
    assert!(begun.elapsed() >= patience, "{:?}", begun.elapsed());
    let said = "nothing happened for 0.3 s while the script waited for the actors to be there: the process of C has not begun; is this machine too busy?";
    assert_eq!(why, said);
    director.cast[1].pid = Some(pid);
    assert!(director.until_all_are_there(patience).is_ok());
    process.kill().and_then(|()| process.wait()).expect("its end");
}
