//! How a connection ended of which no packet was captured, in English.

use std::borrow::Cow;

use crate::calls::Errno;
use crate::flow::Side;
use crate::story::{Account, Outcome, ResetBy};

/// One or two sentences, which say no more than calls and states do.
pub(super) fn english(account: &Account) -> Cow<'static, str> {
    let is_watched = |side: Side| account.ends[side as usize].is_some();
    // A connect that did not wait says nothing itself.
    let failed = if account.is_told_later { "a later call than connect() told of" } else { "connect() failed with" };
    let known = if account.lacks_calls { " that are known" } else { "" };
    let said: Cow<'static, str> = match account.outcome {
        Outcome::Refused => format!(
            "Refused: {failed} {}. A RST or an ICMP error came; without packets it is not known which.",
            Errno::ECONNREFUSED
        )
        .into(),
        Outcome::TimedOut => format!("Timed out: {failed} {}; no SYN was answered in time.", Errno::ETIMEDOUT).into(),
        Outcome::Failed { errno } => format!("Not opened: {failed} {errno}.").into(),
        Outcome::Opening => "Not open yet: nothing says that the handshake was completed.".into(),
        Outcome::Reset { by, why, is_why_inferred } => {
            let mark = if is_why_inferred && !account.is_inferred { "~" } else { "" };
            let why = match why {
                ResetBy::LingerZero => format!(", {mark}which closed with SO_LINGER set to a time of zero"),
                ResetBy::Unread => format!(", {mark}which closed while octets were unread"),
                ResetBy::Gone => format!(", {mark}which had closed when more octets came"),
                ResetBy::Unknown if is_watched(by) => format!("; none of its calls{known} says why"),
                ResetBy::Unknown => ", whose calls are not watched".to_owned(),
            };
            format!("Reset by the {}{why}.", by.name()).into()
        }
        Outcome::GivenUp { by } => format!(
            "Given up by the {}: a call failed with {}, as the {} answered no more.",
            by.name(),
            Errno::ETIMEDOUT,
            by.peer().name()
        )
        .into(),
        Outcome::Closed { first: Some(first) } => {
            format!("Closed by both ends: the {} closed first, and then the {}.", first.name(), first.peer().name())
                .into()
        }
        Outcome::Closed { first: None } => {
            "Closed by both ends; their calls overlap, so that it is not known which was first.".into()
        }
        Outcome::HalfClosed { by } if is_watched(by.peer()) => {
            format!("Closed by the {} only: the {} has not closed.", by.name(), by.peer().name()).into()
        }
        Outcome::HalfClosed { by } if is_watched(by) => format!(
            "Closed by the {}; the calls of the {} are not watched, and what it did is not known.",
            by.name(),
            by.peer().name()
        )
        .into(),
        Outcome::HalfClosed { by } => format!(
            "Closed by the {}, whose calls are not watched; the {} has not closed.",
            by.name(),
            by.peer().name()
        )
        .into(),
        Outcome::Open if account.lacks_calls => "Open: no call that is known closed it.".into(),
        Outcome::Open => "Open: no call closed it.".into(),
    };
    if account.lacks_calls && account.is_inferred {
        return format!("{said} Calls are missing: this is concluded from those that are known.").into();
    }
    said
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::{Call, Op, OptionName, OptionValue, PollEvents, Polling, Role, SocketOption, TcpOption};
    use crate::kernel::{KernelAct, KernelEvent, ResetReason};
    use crate::story::Story;
    use crate::story::script::{recording, story};
    use crate::time::{Clock, Span};

    const OPEN: &str = "
        1us..2us S: socket() = 4
        3us..4us S: listen(5) = 0
        10us..35us S: accept() = 5
        12us..13us C: socket() = 3
        15us..34us C: connect() = 0
    ";

    /// What is said of the only connection, with the mark of what is concluded.
    fn said(story: &Story, events: &[KernelEvent]) -> String {
        let accounts = story.accounts(events, &[]);
        let [account] = &accounts[..] else { panic!("{accounts:?}") };
        format!("{}{}", if account.is_inferred { "~" } else { "" }, english(account))
    }

    fn told(script: &str) -> String {
        said(&story(script), &[])
    }

    const CLIENT: &str = "
        12us..13us C: socket() = 3
        15us..34us C: connect() = 0
    ";

    #[test]
    fn a_receive_that_the_own_shutdown_ended_is_no_fin_of_the_peer() {
        let unwatched = "the calls of the server are not watched, and what it did is not known.";
        for calls in [
            "40us..41us C: shutdown(SHUT_RDWR) = 0
             42us..43us C: recv(10) = 0",
            // One that waited is woken.
            "38us..42us C: recv(10) = 0
             40us..41us C: shutdown(SHUT_RDWR) = 0",
        ] {
            assert_eq!(told(&format!("{CLIENT}\n{calls}")), format!("~Closed by the client; {unwatched}"));
        }
        let open = "40us..41us C: shutdown(SHUT_RD) = 0
                    42us..43us C: recv(10) = 0";
        assert_eq!(told(&format!("{CLIENT}\n{open}")), "Open: no call closed it.");
        let first = "40us..41us C: recv(10) = 0
                     42us..43us C: shutdown(SHUT_RDWR) = 0";
        let closed = "Closed by both ends: the server closed first, and then the client.";
        assert_eq!(told(&format!("{CLIENT}\n{first}")), closed);
    }

    #[test]
    fn a_close_that_is_to_reset_does_so_unless_the_connection_was_over() {
        let linger = "40us..41us C: setsockopt(SO_LINGER, 0) = 0";
        let reset = "~Reset by the client, which closed with SO_LINGER set to a time of zero.";
        for before in ["42us..43us C: shutdown(SHUT_RD) = 0", "42us..43us C: recv(10) = 0"] {
            assert_eq!(told(&format!("{CLIENT}\n{linger}\n{before}\n50us..51us C: close() = 0")), reset);
        }
        let over = "42us..43us C: recv() = -ECONNRESET
                    50us..51us C: close() = 0";
        let by_server = "Reset by the server, whose calls are not watched.";
        assert_eq!(told(&format!("{CLIENT}\n{linger}\n{over}")), by_server);
    }

    #[test]
    fn what_was_lost_to_a_reset_was_not_left_unread() {
        let script = "
            36us..37us S: setsockopt(SO_LINGER, 0) = 0
            38us..39us S: send(10) = 10
            40us..41us S: close() = 0
            42us..43us C: recv() = -ECONNRESET
            44us..45us C: close() = 0
        ";
        let said = "Reset by the server, ~which closed with SO_LINGER set to a time of zero.";
        assert_eq!(told(&format!("{OPEN}\n{script}")), said);
    }

    #[test]
    fn where_calls_are_missing_what_was_not_called_is_concluded() {
        let lacking = |calls: &str| said(&story(&format!("{OPEN}\n{calls}")).lacking_calls(1), &[]);
        let missing = "Calls are missing: this is concluded from those that are known.";
        assert_eq!(lacking(""), format!("~Open: no call that is known closed it. {missing}"));
        let unread = "
            36us..37us C: send(10) = 10
            40us..41us S: close() = 0
            42us..43us C: close() = 0
        ";
        assert_eq!(told(&format!("{OPEN}\n{unread}")), "~Reset by the server, which closed while octets were unread.");
        let closed = "~Closed by both ends: the server closed first, and then the client.";
        assert_eq!(lacking(unread), format!("{closed} {missing}"));
        // What a call says stands.
        let reset = lacking("40us..41us C: recv() = -ECONNRESET");
        assert_eq!(reset, "Reset by the server; none of its calls that are known says why.");
        // A shutdown may be missing that explains it.
        let broken = lacking("40us..41us C: send(1) = -EPIPE");
        assert_eq!(broken, format!("~Reset by the server; none of its calls that are known says why. {missing}"));
    }

    #[test]
    fn why_it_was_reset_is_the_kernels_word_or_concluded() {
        let late = format!(
            "{OPEN}
            40us..41us S: close() = 0
            42us..43us C: send(1) = 1
            50us..51us C: recv() = -ECONNRESET
            52us..53us C: close() = 0"
        );
        let story = story(&late);
        let account = &story.accounts(&[], &[])[0];
        let (client, server) = (account.client.expect("known"), account.server);
        let with = |reason| {
            let (clock, what) = (Clock::WALL, KernelAct::ResetSent { reason });
            // The script's clock: between the send and the receive.
            let at = story.events[0].at.expect("a time").after(Span(43_000));
            said(&story, &[KernelEvent { at, clock, local: server, peer: client, socket: None, what }])
        };
        let concluded = "Reset by the server, ~which had closed when more octets came.";
        assert_eq!(said(&story, &[]), concluded);
        assert_eq!(with(None), concluded);
        assert_eq!(with(Some(ResetReason::TcpAbortOnData)), concluded.replace('~', ""));
        assert_eq!(with(Some(ResetReason::TcpKeepaliveTimeout)), "Reset by the server; none of its calls says why.");
    }

    #[test]
    fn how_a_connect_ended_that_did_not_wait_is_what_a_later_call_says() {
        let reset = "Reset by the server, whose calls are not watched.";
        let refused = later("20us..21us C: getsockopt(SO_ERROR) = 111");
        assert!(refused.starts_with("Refused: a later call than connect() told of ECONNREFUSED."), "{refused}");
        let late = later("20us..21us C: getsockopt(SO_ERROR) = 110");
        assert_eq!(late, "Timed out: a later call than connect() told of ETIMEDOUT; no SYN was answered in time.");
        // While the handshake is under way, SO_ERROR is 0, too.
        let opening = "Not open yet: nothing says that the handshake was completed.";
        assert_eq!(later("20us..21us C: getsockopt(SO_ERROR) = 0"), opening);
        assert_eq!(later(&format!("{WAITS} = 24\n20us..21us C: getsockopt(SO_ERROR) = 0")), opening);
        assert_eq!(later(&format!("{WAITS} = 4\n20us..21us C: getsockopt(SO_ERROR) = 0")), "Open: no call closed it.");
        // Another attempt is not how the one before ended.
        let again = "20us..21us C: getsockopt(SO_ERROR) = 111\n22us..23us C: connect() = -EINPROGRESS";
        assert_eq!(later(again), opening);
        assert_eq!(later(&format!("{again}\n30us..31us C: send(1) = 1")), "Open: no call closed it.");
        // What a RST ended later had been open.
        assert_eq!(later("20us..21us C: getsockopt(SO_ERROR) = 104"), reset);
        assert_eq!(later("20us..21us C: getsockopt(SO_ERROR) = 0\n22us..23us C: getsockopt(SO_ERROR) = 104"), reset);
    }

    /// Stands for a wait that finds these events.
    const WAITS: &str = "18us..19us C: getsockopt(TCP_NODELAY)";

    /// What is told of a connect that does not wait; an option's value is what its call returns.
    fn later(calls: &str) -> String {
        let script = format!("12us..13us C: socket() = 3\n15us..16us C: connect() = -EINPROGRESS\n{calls}");
        let mut recording = recording(&script);
        recording.calls.iter_mut().for_each(fill);
        said(&recording.told(), &[])
    }

    fn fill(call: &mut Call) {
        let Op::GetOption { option, value } = &mut call.op else { return };
        let returned = call.returned.as_mut().expect("it returned");
        let number = returned.result.expect("it worked");
        returned.result = Ok(0);
        if *option == OptionName::Socket(SocketOption::SO_ERROR) {
            *value = OptionValue::Int(number as i32);
        } else if *option == OptionName::Tcp(TcpOption::TCP_NODELAY) {
            let (events, revents) = (PollEvents::POLLOUT, Some(PollEvents::from_bits_retain(number as i16)));
            call.op = Op::Poll { by: Polling::Poll, timeout: -1 };
            call.sockets[0].role = Role::Polled { events, revents };
        }
    }
}
