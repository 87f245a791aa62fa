//! An actor: a process that performs its lines of the script, one when it is told to, and says how each call went.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::Mutex;
use std::thread;

use nix::errno::Errno;
use nix::sys::prctl;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::socket::{MsgFlags, recv, send};
use nix::unistd::{ForkResult, fork};

use super::addresses::{Addresses, End};
use super::echo::BUFFER;
use super::network::go;
use super::{LabError, Scenario};
use crate::calls::{
    Activity, Domain, Kept, OptionName, OptionValue, Receiving, Recorder, Sending, Socket, TcpOption, Threads,
    Whereabouts,
};
use crate::script::{Actor, Asked, Name, On, Request, Script, What};

/// What an actor says to the director.
pub(super) enum Word {
    /// It is there; who it is.
    Here(Kept),
    /// It enters the call of that line.
    Enters(usize),
    /// The call of that line has returned.
    Returned(usize, Kept),
    /// It cannot do what that line says.
    Cannot(usize, String),
}

impl Word {
    fn to_bytes(&self) -> Vec<u8> {
        let line = |kind: u8, line: usize, rest: &[u8]| [&[kind][..], &(line as u32).to_ne_bytes(), rest].concat();
        match self {
            Self::Here(kept) => line(b'H', 0, &kept.to_bytes()),
            Self::Enters(number) => line(b'E', *number, &[]),
            Self::Returned(number, kept) => line(b'R', *number, &kept.to_bytes()),
            Self::Cannot(number, why) => line(b'X', *number, why.as_bytes()),
        }
    }

    /// Reads it; `None` for what no actor says.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (kind, line) = (bytes.first()?, u32::from_ne_bytes(bytes.get(1..5)?.try_into().ok()?) as usize);
        let kept = || Kept::from_bytes(&bytes[5..]).ok().flatten();
        Some(match kind {
            b'H' => Self::Here(kept()?),
            b'E' => Self::Enters(line),
            b'R' => Self::Returned(line, kept()?),
            b'X' => Self::Cannot(line, String::from_utf8_lossy(&bytes[5..]).into_owned()),
            _ => return None,
        })
    }
}

/// What an actor begins with.
pub(super) struct Part<'a> {
    pub(super) actor: Actor,
    pub(super) script: &'a Script,
    pub(super) addresses: &'a Addresses,
    /// Its host.
    pub(super) host: &'a File,
    /// Its way to the director, and those of the actors that will be forked from it.
    pub(super) controls: Vec<(Actor, OwnedFd)>,
    /// It ends when the director does.
    pub(super) life: File,
}

/// Lives the life of an actor in this process, which is one of its own.
///
/// `give_up` lays down what privilege the process has, once it is on its host.
pub(super) fn act(part: Part<'_>, give_up: impl FnOnce() -> Result<(), LabError>) -> ! {
    let Part { actor, script, addresses, host, controls, life } = part;
    // Ctrl-C is the director's matter: it ends its actors in order.
    // SAFETY: to ignore a signal runs no code.
    let _ = unsafe { signal(Signal::SIGINT, SigHandler::SigIgn) };
    let ready = go(host).and_then(|()| give_up());
    let mut stage = Acting { actor, script, addresses, controls, life, made: 0 };
    if let Err(error) = ready {
        stage.say(&Word::Cannot(0, error.to_string()));
        leave();
    }
    let mut hands = Vec::new();
    loop {
        stage.live(&mut hands);
    }
}

struct Acting<'a> {
    actor: Actor,
    script: &'a Script,
    addresses: &'a Addresses,
    controls: Vec<(Actor, OwnedFd)>,
    life: File,
    /// How many sockets it has made.
    made: u16,
}

/// A socket in an actor's hands.
struct Held {
    socket: Socket,
    name: Option<Name>,
    peer: Option<Actor>,
    listens: bool,
}

impl Acting<'_> {
    /// Performs lines until a fork makes another actor of this process, or for ever.
    fn live(&mut self, hands: &mut Vec<Held>) {
        let name = match self.actor {
            Actor::CLIENT => "client".to_owned(),
            Actor::SERVER => "server".to_owned(),
            actor => actor.name().replace('C', "client").replace('S', "server"),
        };
        if let Ok(name) = std::ffi::CString::new(name) {
            let _ = prctl::set_name(&name);
        }
        self.end_with_director();
        let (whereabouts, threads) = (Whereabouts::default(), Mutex::<Threads>::default());
        let line = std::sync::atomic::AtomicUsize::new(0);
        let control = self.control();
        let entered = |activity: Activity| {
            if let Activity::Entered(_) = activity {
                let line = line.load(std::sync::atomic::Ordering::Relaxed);
                tell(control, &Word::Enters(line));
            }
        };
        let mut calls = Recorder::of_this_thread(&threads, &whereabouts).heard_by(entered);
        let of = |threads: &Mutex<Threads>| Kept {
            threads: threads.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone(),
            ..Kept::default()
        };
        self.say(&Word::Here(of(&threads)));
        loop {
            let mut order = [0; 4];
            match recv(control, &mut order, MsgFlags::empty()) {
                Ok(4) => {}
                Err(Errno::EINTR) => continue,
                // The director has gone.
                _ => leave(),
            }
            let number = u32::from_ne_bytes(order) as usize;
            line.store(number, std::sync::atomic::Ordering::Relaxed);
            let Some(What::Call(asked)) = self.script.lines.get(number).map(|line| &line.what) else { leave() };
            if let Request::Fork(child) = asked.request {
                // SAFETY: the child goes on with this thread alone, and needs nothing that another one could hold: that one only waits.
                let forked = calls.other("fork", &[], || match unsafe { fork() }? {
                    ForkResult::Parent { child } => Ok(child.as_raw().into()),
                    ForkResult::Child => Ok(0),
                });
                if forked == Ok(0) {
                    self.controls.retain(|(of, _)| *of != self.actor);
                    self.actor = child;
                    return;
                }
                self.controls.retain(|(of, _)| *of != child);
            } else if let Err(why) = self.perform(asked, &mut calls, hands) {
                self.say(&Word::Cannot(number, why));
                continue;
            }
            let kept = Kept { calls: calls.latest().cloned().into_iter().collect(), ..of(&threads) };
            self.say(&Word::Returned(number, kept));
        }
    }

    /// Performs one call; what it returns is in the recorder.
    ///
    /// # Errors
    /// What cannot be done at all, in words.
    fn perform(&mut self, asked: &Asked, calls: &mut Recorder<'_>, hands: &mut Vec<Held>) -> Result<(), String> {
        match &asked.request {
            Request::Socket(domain, protocol) => {
                let Some(at) = self.addresses.at(self.actor) else { return Err("it has no address".to_owned()) };
                let nth = self.made;
                self.made += 1;
                let own = if at.is_ipv4() { Domain::AF_INET } else { Domain::AF_INET6 };
                if let Ok(socket) = calls.socket_of(domain.unwrap_or(own), *protocol) {
                    if let Some(port) = self.addresses.port(self.actor, nth) {
                        prefer(&socket, port);
                    }
                    hands.push(Held { socket, name: asked.named, peer: None, listens: false });
                }
                return Ok(());
            }
            Request::Exit | Request::Kill => leave(),
            Request::DefaultPipe => {
                // SAFETY: the default action runs no code of this process.
                let set = || unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) }.map(|_| 0);
                let _ = calls.other("signal", &[("signum", "SIGPIPE"), ("handler", "SIG_DFL")], set);
                return Ok(());
            }
            _ => {}
        }
        let place = self.place(asked, hands)?;
        let held = &mut hands[place];
        let socket = &held.socket;
        match asked.request.clone() {
            Request::Bind(address) => {
                let address = address.or_else(|| self.addresses.at(self.actor)).ok_or("it has no address")?;
                let _ = calls.bind(socket, address);
            }
            Request::Listen(backlog) => {
                held.listens = calls.listen(socket, backlog.unwrap_or(5)).is_ok();
            }
            Request::Connect(to) => {
                let to = to.unwrap_or(Actor::SERVER);
                let address = self.addresses.at(to).ok_or_else(|| format!("nobody is called {to}"))?;
                held.peer = Some(to);
                let _ = calls.connect(socket, address);
            }
            Request::Accept => {
                if let Ok(accepted) = calls.accept(socket) {
                    let peer = calls.latest().and_then(crate::calls::Call::peer);
                    let peer = peer.and_then(|peer| self.addresses.actor(peer.port()));
                    hands.push(Held { socket: accepted, name: asked.named, peer, listens: false });
                }
            }
            Request::Send(Sending::Send, octets, flags) => {
                let octets = match octets.unwrap_or(10) {
                    _ if asked.text.is_some() => asked.text.clone().unwrap_or_default(),
                    10 => b"helloworld".to_vec(),
                    octets => Scenario::message_of(octets as usize),
                };
                let _ = calls.send_with(socket, &octets, flags);
            }
            Request::Receive(Receiving::Recv, octets, flags) => {
                let mut room = vec![0; octets.map_or(BUFFER, |octets| octets as usize)];
                let _ = calls.recv_with(socket, &mut room, flags);
            }
            Request::Shutdown(how) => _ = calls.shutdown(socket, how),
            Request::SetOption(
                option @ OptionName::Tcp(TcpOption::TCP_MD5SIG | TcpOption::TCP_AO_ADD_KEY),
                OptionValue::Word(key),
            ) => {
                let peer = self.addresses.host(End::of(self.actor).peer());
                let _ = calls.set_key(socket, option, &key, peer);
            }
            Request::SetOption(option, value) => _ = calls.set_option(socket, option, value),
            Request::GetOption(option) => _ = calls.get_option(socket, option),
            Request::Duplicate => {
                let (peer, listens) = (held.peer, held.listens);
                if let Ok(copy) = calls.duplicate(socket) {
                    hands.push(Held { socket: copy, name: asked.named, peer, listens });
                }
            }
            Request::Close => _ = calls.close(hands.remove(place).socket),
            Request::Send(by, ..) => return Err(format!("{} is not performed: write send", by.name())),
            Request::Receive(by, ..) => return Err(format!("{} is not performed: write recv", by.name())),
            Request::Socket(..) | Request::Fork(_) | Request::Exit | Request::Kill | Request::DefaultPipe => {}
        }
        Ok(())
    }

    /// The socket that a call is made on.
    fn place(&self, asked: &Asked, hands: &[Held]) -> Result<usize, String> {
        let found = match asked.on {
            Some(On::Named(name)) => hands.iter().rposition(|held| held.name == Some(name)),
            Some(On::Listener) => hands.iter().rposition(|held| held.listens),
            Some(On::Peer(peer)) if asked.request != Request::Accept => {
                hands.iter().rposition(|held| held.peer == Some(peer))
            }
            _ if asked.request == Request::Accept => {
                hands.iter().rposition(|held| held.listens).or_else(|| hands.len().checked_sub(1))
            }
            _ => hands.len().checked_sub(1),
        };
        found.ok_or_else(|| match asked.on {
            Some(On::Named(name)) => format!("it has no socket called {}", name.as_str()),
            Some(On::Peer(peer)) => format!("it has no socket connected with {peer}"),
            Some(On::Listener) => "it has no socket that listens".to_owned(),
            None => "it has no socket: write socket() or accept() before".to_owned(),
        })
    }

    fn control(&self) -> RawFd {
        let own = self.controls.iter().find(|(of, _)| *of == self.actor);
        own.map_or(-1, |(_, control)| control.as_raw_fd())
    }

    fn say(&self, word: &Word) {
        tell(self.control(), word);
    }

    /// Ends this process when the director has gone, whatever call it waits in.
    fn end_with_director(&self) {
        let Ok(mut life) = self.life.try_clone() else { leave() };
        let waits = move || {
            let _ = life.read(&mut [0]);
            leave();
        };
        if thread::Builder::new().name("life".to_owned()).spawn(waits).is_err() {
            leave();
        }
    }
}

fn tell(control: i32, word: &Word) {
    // Where nobody listens any more, this process is about to end.
    let _ = send(control, &word.to_bytes(), MsgFlags::MSG_NOSIGNAL);
}

/// Has the kernel take this port for a connect, where it can (IP_LOCAL_PORT_RANGE, Linux 6.3): any other is as good.
fn prefer(socket: &Socket, port: u16) {
    let range = u32::from(port) << 16 | u32::from(port);
    // SAFETY: the kernel reads four octets from `range`.
    unsafe {
        libc::setsockopt(
            socket.as_fd().as_raw_fd(),
            libc::IPPROTO_IP,
            IP_LOCAL_PORT_RANGE,
            (&raw const range).cast(),
            4,
        );
    }
}

/// Ends this process without anything that a program does at its end.
fn leave() -> ! {
    // SAFETY: it ends the process, and runs nothing of it before.
    unsafe { libc::_exit(0) }
}

const IP_LOCAL_PORT_RANGE: i32 = 51;
