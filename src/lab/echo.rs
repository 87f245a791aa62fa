//! The scripts: an echo server and its clients, making the calls that a textbook program makes.

use std::sync::atomic::Ordering;

use nix::errno::Errno;
use nix::poll::PollFlags;

use super::host::{Reservation, any_like};
use super::scenario::Retry;
use super::stage::{Client, Failure, Stage, WINDOW};
use crate::calls::{Recorder, Socket, Wait};
use crate::flow::Side;
use crate::kernel::SockDiag;

/// Plays the server: socket, setsockopt, bind, listen; for each client accept, recv and send in turn, close; at last close.
///
/// Here as in the other scripts a socket is closed by a recorded call also when something failed before.
pub(super) fn serve(stage: &Stage<'_>, calls: &mut Recorder<'_>, reservation: Reservation) -> Result<(), Failure> {
    let listening = calls.socket(stage.address.ip()).map_err(|errno| ("socket", errno))?;
    let served = serve_on(stage, calls, &listening, reservation);
    let left = served.and_then(|()| stage.wait_for_goodbyes());
    let closed = calls.close(listening).map_err(|errno| ("close", errno));
    left.and(closed)
}

fn serve_on(
    stage: &Stage<'_>,
    calls: &mut Recorder<'_>,
    listening: &Socket,
    reservation: Reservation,
) -> Result<(), Failure> {
    calls.reuse_address(listening).map_err(|errno| ("setsockopt", errno))?;
    calls.bind(listening, stage.address).map_err(|errno| ("bind", errno))?;
    stage.wait_for_refusals()?;
    calls.listen(listening, libc::SOMAXCONN).map_err(|errno| ("listen", errno))?;
    drop(reservation);
    let answer = SockDiag::open().and_then(|mut kernel| kernel.lookup(stage.address, any_like(stage.address)));
    stage.sock_diag_answers.store(answer.is_ok_and(|evidence| evidence.state.is_some()), Ordering::Release);

    let mut served = 0;
    while served < stage.clients.len() {
        let accepted = calls.accept(listening).map_err(|errno| ("accept", errno))?;
        stage.has_accepted();
        let client = match accepted.peer() {
            Some(peer) => stage.client_at(peer)?,
            None => None,
        };
        let Some(client) = client else {
            // Somebody else on this host: not served, and not part of the story.
            drop(accepted);
            continue;
        };
        stage.wait_for_all()?;
        let echoed = echo(stage, calls, &accepted, client);
        close(stage, calls, accepted, client, Side::Server, echoed)?;
        served += 1;
    }
    Ok(())
}

fn echo(stage: &Stage<'_>, calls: &mut Recorder<'_>, socket: &Socket, client: &Client) -> Result<(), Failure> {
    let scenario = stage.scenario;
    let expected = scenario.octets();
    let mut echoed = 0;
    let mut room = vec![0u8; BUFFER];
    while scenario.first_close == Side::Client || echoed < expected {
        let received = calls.recv(socket, &mut room, Wait::AsLongAsItTakes).map_err(|errno| ("recv", errno))?;
        if received == 0 {
            break;
        }
        // A client with a long message reads while it still sends; any other waits in recv for what now comes.
        if scenario.messages.iter().all(|message| message.len() <= BUFFER) {
            stage.wait_for_recv(&client.whereabouts)?;
        }
        let mut rest = &room[..received];
        while !rest.is_empty() {
            let accepted = calls.send(socket, rest, Wait::AsLongAsItTakes).map_err(|errno| ("send", errno))?;
            rest = &rest[accepted..];
        }
        echoed += received as u64;
    }
    Ok(())
}

/// Plays a client: socket, connect, for each message send and recv until all of it has come back, close.
pub(super) fn visit(stage: &Stage<'_>, calls: &mut Recorder<'_>, me: &Client) -> Result<(), Failure> {
    let refused = stage.scenario.retry.map(|retry| knock_first(stage, calls, retry)).transpose()?.flatten();
    stage.wait_for_accept()?;
    let socket = match refused {
        Some(socket) => socket,
        None => calls.socket(stage.address.ip()).map_err(|errno| ("socket", errno))?,
    };
    let visited = visit_with(stage, calls, &socket, me);
    let closed = close(stage, calls, socket, me, Side::Client, visited);
    stage.gone.fetch_add(1, Ordering::AcqRel);
    closed
}

/// Connects before the server listens, which is refused; the socket, if it is to connect again.
fn knock_first(stage: &Stage<'_>, calls: &mut Recorder<'_>, retry: Retry) -> Result<Option<Socket>, Failure> {
    let socket = calls.socket(stage.address.ip()).map_err(|errno| ("socket", errno))?;
    match calls.connect(&socket, stage.address) {
        Err(Errno::ECONNREFUSED) => {}
        // Somebody else on this host listens there.
        Ok(()) => return Err(("connect", Errno::EADDRINUSE)),
        Err(errno) => return Err(("connect", errno)),
    }
    let kept = match retry {
        Retry::SameSocket => Some(socket),
        Retry::NewSocket => {
            calls.close(socket).map_err(|errno| ("close", errno))?;
            None
        }
    };
    stage.refused.fetch_add(1, Ordering::AcqRel);
    Ok(kept)
}

/// Closes the connection's socket on `side`: whoever is second waits until the kernel has said what became of the first.
///
/// `before` is how the conversation went; the socket is closed anyhow.
fn close(
    stage: &Stage<'_>,
    calls: &mut Recorder<'_>,
    socket: Socket,
    client: &Client,
    side: Side,
    before: Result<(), Failure>,
) -> Result<(), Failure> {
    let first = stage.scenario.first_close == side;
    let before = if first { before } else { before.and_then(|()| stage.wait_for_first_close(client)) };
    let (local, peer) = (socket.local(), socket.peer());
    let closed = calls.close(socket).map_err(|errno| ("close", errno));
    if first {
        stage.has_closed_first(client, local, peer);
    }
    before.and(closed)
}

fn visit_with(stage: &Stage<'_>, calls: &mut Recorder<'_>, socket: &Socket, me: &Client) -> Result<(), Failure> {
    let scenario = stage.scenario;
    let alone = stage.clients.len() == 1;
    calls.connect(socket, stage.address).map_err(|errno| ("connect", errno))?;
    if let Some(local) = socket.local() {
        me.local.get_or_init(|| local);
    }
    stage.connected.fetch_add(1, Ordering::AcqRel);
    stage.wait_for_all()?;
    for message in (0..scenario.rounds).flat_map(|_| &scenario.messages) {
        if alone {
            stage.wait_for_recv(&stage.server)?;
        }
        stage.wait_for_capture()?;
        if message.len() <= BUFFER {
            exchange(stage, calls, socket, message)?;
        } else {
            exchange_long(stage, calls, socket, message)?;
        }
    }
    match scenario.first_close {
        Side::Client if alone => stage.wait_for_recv(&stage.server)?,
        Side::Client => {}
        Side::Server => {
            let received = calls.recv(socket, &mut [0; 1], Wait::AsLongAsItTakes).map_err(|errno| ("recv", errno))?;
            debug_assert_eq!(received, 0, "the server sent more than it was sent");
        }
    }
    Ok(())
}

/// Sends the whole message, then reads it back.
fn exchange(stage: &Stage<'_>, calls: &mut Recorder<'_>, socket: &Socket, message: &[u8]) -> Result<(), Failure> {
    let mut rest = message;
    // A message of 0 octets is sent too, once: the call returns, and no segment leaves.
    loop {
        let accepted = calls.send(socket, rest, Wait::AsLongAsItTakes).map_err(|errno| ("send", errno))?;
        rest = &rest[accepted..];
        if rest.is_empty() {
            break;
        }
    }
    let mut room = vec![0u8; BUFFER];
    let mut back = 0;
    while back < message.len() {
        match calls.recv(socket, &mut room, Wait::AsLongAsItTakes).map_err(|errno| ("recv", errno))? {
            0 => return Err(("recv", Errno::ECONNRESET)),
            received => back += received,
        }
    }
    stage.echoed.add(2 * u64::from(back > 0), 2 * back as u64);
    Ok(())
}

/// Sends and reads as the socket allows: a client that first sent everything would block for ever once the buffers on the way
/// there and back are full, as the server then waits for it to read.
fn exchange_long(stage: &Stage<'_>, calls: &mut Recorder<'_>, socket: &Socket, message: &[u8]) -> Result<(), Failure> {
    let mut room = vec![0u8; BUFFER];
    let (mut sent, mut back) = (0, 0);
    while back < message.len() {
        let may_go = message.len().min(back + WINDOW);
        let mut wanted = PollFlags::POLLIN;
        wanted.set(PollFlags::POLLOUT, sent < may_go);
        let found = calls.poll(socket, wanted).map_err(|errno| ("poll", errno))?;
        if found.contains(PollFlags::POLLOUT) {
            stage.wait_for_capture()?;
            match calls.send(socket, &message[sent..may_go], Wait::Never) {
                Ok(accepted) => sent += accepted,
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(("send", errno)),
            }
        }
        if found.intersects(PollFlags::POLLIN | PollFlags::POLLHUP | PollFlags::POLLERR) {
            match calls.recv(socket, &mut room, Wait::Never) {
                Ok(0) => return Err(("recv", Errno::ECONNRESET)),
                Ok(received) => {
                    back += received;
                    stage.echoed.add(0, 2 * received as u64);
                }
                Err(Errno::EAGAIN) => {}
                Err(errno) => return Err(("recv", errno)),
            }
        }
    }
    Ok(())
}

/// Plays a client that is refused: socket, connect, close.
pub(super) fn knock(stage: &Stage<'_>, calls: &mut Recorder<'_>) -> Result<(), Failure> {
    let socket = calls.socket(stage.address.ip()).map_err(|errno| ("socket", errno))?;
    let refused = match calls.connect(&socket, stage.address) {
        Err(Errno::ECONNREFUSED) | Ok(()) => Ok(()),
        Err(errno) => Err(("connect", errno)),
    };
    let closed = calls.close(socket).map_err(|errno| ("close", errno));
    refused.and(closed)
}

/// Plays a server that is started again: bind without SO_REUSEADDR, then with it. What the kernel says to the first is for it to say.
pub(super) fn start_again(stage: &Stage<'_>, calls: &mut Recorder<'_>) -> Result<(), Failure> {
    let first = calls.socket(stage.address.ip()).map_err(|errno| ("socket", errno))?;
    let bound = match calls.bind(&first, stage.address) {
        Ok(()) | Err(Errno::EADDRINUSE) => Ok(()),
        Err(errno) => Err(("bind", errno)),
    };
    let closed = calls.close(first).map_err(|errno| ("close", errno));
    bound.and(closed)?;

    let second = calls.socket(stage.address.ip()).map_err(|errno| ("socket", errno))?;
    let listening = calls
        .reuse_address(&second)
        .map_err(|errno| ("setsockopt", errno))
        .and_then(|()| calls.bind(&second, stage.address).map_err(|errno| ("bind", errno)))
        .and_then(|()| calls.listen(&second, libc::SOMAXCONN).map_err(|errno| ("listen", errno)));
    let closed = calls.close(second).map_err(|errno| ("close", errno));
    listening.and(closed)
}

/// How much the programs read at a time, in octets.
pub(super) const BUFFER: usize = 16 * 1024;
