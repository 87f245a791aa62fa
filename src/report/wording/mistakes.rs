//! What seems wrong with how a program uses its sockets, in English.

use std::borrow::Cow;

use super::amount::Amount;
use crate::calls::Errno;
use crate::story::{AddressFlaw, Mistake};

/// One or two sentences: what the program does, what comes of it, and where there is one, the way out.
pub(super) fn english(mistake: &Mistake) -> Cow<'static, str> {
    match *mistake {
        Mistake::NotASocket { fd, unused: Some(unused) } if (0..=2).contains(&fd) => format!(
            "Descriptor {fd} is no socket. socket() had returned {unused}, which no call uses. Probably the program has \
             `fd = socket(...) == -1`, which stores the result of the comparison; write `(fd = socket(...)) == -1`."
        )
        .into(),
        Mistake::NotASocket { fd, unused: Some(unused) } => {
            format!("Descriptor {fd} is no socket. socket() had returned {unused}, which no call uses.").into()
        }
        Mistake::NotASocket { fd, unused: None } => format!("Descriptor {fd} is no socket.").into(),
        Mistake::ClosedDescriptor { fd } => {
            format!("Descriptor {fd} is used after it was closed. Another socket or file may get the same number meanwhile.").into()
        }
        Mistake::Refused => "connect() was refused: nothing listens there, or a firewall rejects connections.".into(),
        Mistake::ConnectTimedOut { syns } => {
            let syns = syns.map_or("no SYN".to_owned(), |syns| format!("none of {}", counted(syns, "SYN")));
            format!(
                "connect() timed out: {syns} was answered. The host is down, its accept queue is full, or a firewall \
                 drops the segments."
            )
            .into()
        }
        Mistake::PortsUsedUp { call: "bind" } => "bind() found no free port: all ephemeral ports are taken. With \
             IP_BIND_ADDRESS_NO_PORT a port is taken only by connect(), and the same one for several peers; or widen \
             net.ipv4.ip_local_port_range."
            .into(),
        Mistake::PortsUsedUp { .. } => "connect() found no free port: all ephemeral ports are used by connections to this \
             address, most likely in TIME-WAIT. Keep connections open, or widen net.ipv4.ip_local_port_range."
            .into(),
        Mistake::NoLocalAddress => "connect() found no address of this host to connect from, most likely as IPv6 is off here \
             or has no address; or, less likely, all ephemeral ports are used by connections that are not watched."
            .into(),
        Mistake::UnreadAtClose { octets: Some(octets) } => format!(
            "close() reset the connection, as {} unread: the peer may lose what was sent to it. Read until recv() \
             returns 0 before closing.",
            were(octets)
        )
        .into(),
        Mistake::UnreadAtClose { octets: None } => {
            "close() reset the connection, as octets were on their way to it: the peer may lose what was sent to it. \
             Read until recv() returns 0 before closing."
                .into()
        }
        Mistake::LingerZero => {
            "close() reset the connection, as SO_LINGER is set to a time of zero: what was not sent is lost, and there is no TIME-WAIT.".into()
        }
        Mistake::SentAfterClose { errno: Errno::EPIPE } => {
            "send() failed with EPIPE: the connection is closed for sending. The kernel also raises SIGPIPE, which ends \
             a program that does not handle it; MSG_NOSIGNAL prevents that."
                .into()
        }
        Mistake::SentAfterClose { .. } => "send() failed: the peer had reset the connection.".into(),
        Mistake::CloseWaitLeak => "recv() returned 0, so the peer has closed, and the program goes on without closing \
             its socket: it stays in CLOSE-WAIT, and its descriptor is lost."
            .into(),
        Mistake::BusyAtEnd { times } => format!(
            "recv() returned 0 at least {times} times in a row: the peer has closed, and a loop that does not end on 0 \
             keeps a processor busy."
        )
        .into(),
        Mistake::DescriptorKept { closed_at_last: true } => "close() sent no FIN, as another copy of the descriptor was \
             open (after fork or dup) that is not used: the peer saw the end only when that was closed, too."
            .into(),
        Mistake::DescriptorKept { closed_at_last: false } => "close() sent no FIN, as another copy of the descriptor is \
             open (after fork or dup) that is not used: the peer does not see the end."
            .into(),
        Mistake::ClosedByExit => "No call closed the socket: the kernel closed it as the process ended.".into(),
        Mistake::PortInTimeWait { port, holder, reuses: false } => format!(
            "bind() failed: port {port} is held by connection {}, which is in TIME-WAIT. Set SO_REUSEADDR before bind().",
            holder.0
        )
        .into(),
        Mistake::PortInTimeWait { port, holder, reuses: true } => format!(
            "bind() failed: port {port} is held by connection {}, which is in TIME-WAIT. SO_REUSEADDR is set here, but \
             was not on that connection's socket: both need it.",
            holder.0
        )
        .into(),
        Mistake::PortListenedOn { call, port } => {
            format!("{call}() failed: another socket listens on port {port}.").into()
        }
        Mistake::PortInUse { call, port, is_bound: true } => {
            format!("{call}() failed: another socket is bound to port {port}.").into()
        }
        Mistake::PortInUse { call, port, is_bound: false } => format!(
            "{call}() failed: another socket has port {port} for its connection, which is open."
        )
        .into(),
        Mistake::PortTaken { call, port } => format!(
            "{call}() failed: port {port} is taken by a process that was not watched, or by an earlier connection in TIME-WAIT: `ss -tanp` shows which."
        )
        .into(),
        Mistake::ReuseAddressTooLate => "SO_REUSEADDR was set after bind(), where it changes nothing.".into(),
        Mistake::ClosedWhileWaitedOn => "A thread was waiting in a call on this socket when another thread closed its \
             descriptor: the call is not woken by that. Use shutdown() to wake it."
            .into(),
        Mistake::NeverAccepted { connections } => format!(
            "The listening socket was closed while {} waited in its queue, complete and never accepted: they are reset.",
            counted(connections, "connection")
        )
        .into(),
        Mistake::MessageSplit => {
            "The octets of one send() came with several recv(), though there was room: a recv() is not a message.".into()
        }
        Mistake::MessagesJoined { sends } => {
            format!("One recv() returned the octets of {sends} send()s: a recv() is not a message.").into()
        }
        Mistake::CutAtZero { received, sent } => format!(
            "Of {} received, {sent} were sent on: those before the first zero octet, as strlen() counts. Use what recv() returned.",
            counted(received, "octet")
        )
        .into(),
        Mistake::BeyondTheReceived { received, sent } => format!(
            "recv() filled its buffer with {}, and {sent} were sent on: strlen() counted past the end of what was received. Use what recv() returned.",
            counted(received, "octet")
        )
        .into(),
        Mistake::ZerosSent { text, sent } => format!(
            "A send() of {sent} octets begins with {} of text, and zero octets follow: probably the whole buffer was sent, not the message.",
            counted(text, "octet")
        )
        .into(),
        Mistake::AddressLength { call, flaw, given } => address_length(call, flaw, given).into(),
        Mistake::AcceptQueueFull { backlog, given: None, connections } => format!(
            "{} had to try again: the accept queue was full. listen() had asked for room for {backlog}. Accept sooner, \
             or ask for more.",
            counted(connections, "connection")
        )
        .into(),
        Mistake::AcceptQueueFull { backlog, given: Some(given), connections } => format!(
            "{} had to try again: the accept queue was full. listen() had asked for room for {backlog}, and the kernel \
             gave it {given} (net.core.somaxconn). Accept sooner, or have more allowed.",
            counted(connections, "connection")
        )
        .into(),
        Mistake::ZeroWindowStall { lasted, opened: true, is_elsewhere } => format!(
            "The peer had to wait for {}: the receive buffer was full, and the program did not call recv(){}.",
            Amount(lasted),
            elsewhere(is_elsewhere)
        )
        .into(),
        Mistake::ZeroWindowStall { lasted, opened: false, is_elsewhere } => format!(
            "The peer has waited for {}: the receive buffer is full, and the program does not call recv(){}.",
            Amount(lasted),
            elsewhere(is_elsewhere)
        )
        .into(),
        Mistake::NagleDelayedAck { waited } => format!(
            "The octets of a send() waited for {}: Nagle's algorithm holds a small segment back until the one \
             before is acknowledged, and the peer delays that acknowledgement. Send both with one call, or set TCP_NODELAY.",
            Amount(waited)
        )
        .into(),
        Mistake::SendsMerged { sends } => {
            format!("One segment carried the octets of {sends} send()s: a send() is not a segment.").into()
        }
        Mistake::ShortWrite { offered, wrote } => format!(
            "A send() took {wrote} of {}: the send buffer was full. Send the rest from where it stopped.",
            counted(offered, "octet")
        )
        .into(),
        Mistake::HalfClosed { received } => format!(
            "After shutdown() had ended the own direction, {} still came: the connection was half closed.",
            counted(received, "octet")
        )
        .into(),
    }
}

/// Where the thread was that should have read.
fn elsewhere(is_elsewhere: bool) -> &'static str {
    if is_elsewhere { "; the thread that reads was in the other call that is named" } else { "" }
}

fn address_length(call: &str, flaw: AddressFlaw, given: Option<i32>) -> String {
    let set = "Set it to the size of the address before each call.";
    match (flaw, given) {
        (AddressFlaw::Negative, _) => {
            let lost = match call {
                "accept" | "accept4" => " The connection was taken off the queue and closed.",
                "recvfrom" => " What had come was taken off the stream, and is lost.",
                _ => "",
            };
            let length = given.map_or(String::new(), |given| format!(" ({given})"));
            format!(
                "{call}() failed with EINVAL: the address length that it was given is negative{length}, as of a variable \
                 that was never set.{lost} {set}"
            )
        }
        (AddressFlaw::Short, given) => format!(
            "{call}() was given an address length of {}, which is less than the address takes: it was cut off there, and \
             what the program reads behind is what was in its memory before. Probably the length was never set. {set}",
            given.unwrap_or_default()
        ),
        (AddressFlaw::Huge, given) => format!(
            "{call}() was given an address length of {}, more than any address takes: probably it was never set. It did \
             no harm here, as it happened to be large. {set}",
            given.unwrap_or_default()
        ),
    }
}

fn counted(n: u64, noun: &str) -> String {
    if n == 1 { format!("1 {noun}") } else { format!("{n} {noun}s") }
}

fn were(octets: u64) -> String {
    if octets == 1 { "1 octet was".to_owned() } else { format!("{} were", counted(octets, "octet")) }
}
