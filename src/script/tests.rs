//! Tests of the notation.

use proptest::prelude::*;

use super::*;
use crate::calls::{
    Domain, Effect, Errno, How, Lifetimes, MessageFlags, OptionName, OptionValue, Protocol, Receiving, Role, Sending,
    SocketOption,
};
use crate::tcp::State;
use crate::time::Span;
use crate::wire::{Flags, Seq};

fn one(text: &str) -> Line {
    Script::parse(text).unwrap_or_else(|error| panic!("\n{error}\n")).lines.remove(0)
}

fn wrong(text: &str) -> ScriptError {
    Script::parse(text).expect_err(text)
}

// ---- reading ---------------------------------------------------------------------------------------------------------

#[test]
fn every_form_is_read_and_written_as_it_was() {
    let text = "\
C = 127.0.0.1:50000
10us..35us S: accept() = 5 in ESTABLISHED
40us.. C: recv(16384, MSG_PEEK|MSG_DONTWAIT)
C: connect(to S) = -ECONNREFUSED
S: close(listener) = 0
S: send(C2, 10) = 10
S: setsockopt(SO_LINGER, 0)
after C waits in recv, S: shutdown(SHUT_WR)
after S returned from accept, C: exit()
after 2nd data C>S, link: delay 50ms ACK S>C
C > S: S 100(0) win 1000 mss 1460 ws 7 sackok ts 5:0
30ms S > C: S. 300(0) ack 101 = acks #1
C > S: P. 101(10) ack 301 sack 311-321,331-341 lost =
C > S: -
link: drop 2nd data C>S
link: double SYN-ACK S>C
kernel: C TIME-WAIT for 60s
kernel: S none
expect: C TIME-WAIT
expect: S ?
expect: finding retransmission
expect: ending half-closed
";
    assert_eq!(Script::parse(text).unwrap().to_string(), text);
}

#[test]
fn comments_say_nothing_and_flags_have_words() {
    assert_eq!(Script::parse("# a comment\n\n   \n\t# another\n").unwrap(), Script::default());
    assert_eq!(one("C > S: SYN"), one("C > S: S"));
    assert_eq!(one("S>C:SYN-ACK"), one("S > C: S."));
    assert_eq!(one("C > S: FIN,ACK 1(0)"), one("C > S: F. 1(0)"));
    assert_eq!(one("1500 C: close()"), one("1.5s C: close()"));
}

#[test]
fn a_fault_names_its_place_and_the_way_out() {
    let error = wrong("C: socket()\nC: conect(S)\n");
    assert_eq!((error.line, error.column), (2, 4));
    let shown = error.to_string();
    let expected = "\
line 2, column 4: `conect(S)` does not belong here
  | C: conect(S)
  |    ^^^^^^^^^
  = the calls are socket, bind, ";
    assert!(shown.starts_with(expected), "{shown}");
    for (text, column, help) in [
        ("hello", 1, "an actor has a name with a capital"),
        ("C", 2, "a line is `C: call(…)`"),
        ("C: send", 8, "parentheses"),
        ("C: send(ten)", 9, "a number of octets, flags"),
        ("C: send(99999999999)", 9, "a number that fits"),
        ("C: close() = -ENOSUCH", 14, "errno(3)"),
        ("C: close() = 0 please", 16, "a comment has a line of its own"),
        ("C: setsockopt(SO_BROADCAST, 1)", 15, "the options are SO_REUSEADDR"),
        ("C: shutdown(WR)", 13, "SHUT_WR"),
        ("C: close() in OPEN", 15, "the states are LISTEN"),
        ("C > S: X 1(0)", 8, "flags are letters"),
        ("C > S: . 1", 11, "in parentheses"),
        ("C > S: . 1(0) acks 7", 15, "ack N, win N"),
        ("C > S: . 1(0) win 70000", 19, "fits its place"),
        ("C > S: . 1(0) sack 1-2,3-4,5-6,7-8,9-10", 15, "four"),
        ("5 parsecs", 3, "an actor has a name"),
        ("5parsecs C: close()", 1, "ns, us, ms or s"),
        ("99999999999999s C: close()", 1, "up to ten years"),
        ("0.0000001ms C: close()", 1, "down to a nanosecond"),
        ("9..3 C: close()", 4, "after it was entered"),
        ("after C sleeps, S: close()", 9, "waits in CALL"),
        ("after SYN C>S S: close()", 7, "a comma stands"),
        ("link: lose SYN C>S", 7, "drop, double, damage"),
        ("link: drop 0th SYN C>S", 12, "the 1st"),
        ("link: drop data", 16, "a capital"),
        ("kernel: C SLEEPING", 11, "the states are"),
        ("expect: quiet", 9, "ACTOR STATE"),
        ("expect: finding", 16, "small letters"),
        ("C = 127.0.0.1", 5, "has a port"),
    ] {
        let error = wrong(text);
        assert_eq!(error.column, column, "{error}");
        assert!(error.message().contains(help), "{error}");
    }
}

#[test]
fn what_is_shown_of_a_hostile_line_is_short_and_has_no_control() {
    let error = wrong(&format!("C: {}\u{1b}[31m{}", "ä".repeat(5000), "x".repeat(5000)));
    let shown = error.to_string();
    assert!(shown.lines().all(|line| line.chars().count() < 450), "{shown}");
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'), "{shown:?}");
    let far = wrong(&format!("C > S: . 1(0) {}wrong", "win 7 ".repeat(1000)));
    assert_eq!(far.column, 6015);
    let lines: Vec<String> = far.to_string().lines().map(str::to_owned).collect();
    assert_eq!(lines[1].find("wrong"), lines[2].find('^'), "the caret stands under the place:\n{far}");
}

#[test]
fn a_script_has_an_end() {
    let links = "link: drop SYN C>S\n".repeat(64);
    let most = links.clone() + &"C > S: S 1(0)\n# nothing\n".repeat(10_000 - 64);
    let performed = Script::parse(&most).unwrap().perform();
    assert_eq!((performed.segments.len(), performed.links.len()), (9_936, 64 * 9_936));
    let error = wrong(&format!("{most}C: close()\n"));
    assert_eq!((error.line, error.column), (19_937, 1));
    assert!(error.to_string().contains("more than 10000 lines"), "{error}");
    let error = wrong(&format!("{links}link: drop FIN S>C"));
    assert!(error.line == 65 && error.to_string().contains("more than 64 lines of the link"), "{error}");
}

#[test]
fn a_moment_is_no_later_than_ten_years() {
    let longest = cursor::LONGEST.as_nanos();
    for (nanos, is_read) in [(longest, true), (longest + 1, false)] {
        let script = Script::parse(&format!("{nanos}ns C > S: S 1(0)"));
        assert_eq!(script.is_ok(), is_read, "{nanos}");
        if let Err(error) = script {
            assert!((error.line, error.column) == (1, 1) && error.to_string().contains("up to ten years"), "{error}");
        }
    }
}

#[test]
fn a_sentence_on_a_script_is_cut_with_a_mark() {
    let longest = error::LONGEST;
    let told = |len: usize| ScriptError::in_text("C: close()", 0..1, "ä".repeat(len), "ö".repeat(len));
    let (whole, cut) = (told(longest), told(longest + 1));
    assert_eq!((whole.what(), whole.help()), (&*"ä".repeat(longest), &*"ö".repeat(longest)));
    let short = |letter: &str| letter.repeat(longest - 1) + "…";
    assert_eq!((cut.what(), cut.help()), (&*short("ä"), &*short("ö")));
}

#[test]
fn states_and_hosts_that_do_not_exist_have_an_end() {
    let through = |count: usize| format!("expect: C through {}", vec!["ESTABLISHED"; count].join(" "));
    assert!(Script::parse(&through(32)).is_ok());
    assert_eq!(wrong(&through(33)).line, 1);
    assert!(Script::parse("link: flood 200 SYN X>S").is_ok());
    assert!(wrong("link: flood 201 SYN X>S").to_string().contains("up to 200"));
}

// ---- performing ------------------------------------------------------------------------------------------------------

#[test]
fn segments_without_numbers_follow_from_those_before() {
    let segments: Vec<_> =
        read("C > S: S 100(0)\n S > C: S. 300(0) ack 101\n C > S: .\n C > S: P. 101(10) ack 301\n S > C: .").collect();
    let numbers: Vec<_> = segments.iter().map(|(_, segment, _)| (segment.seq, segment.ack)).collect();
    let of = |seq, ack| (Seq(seq), Seq(ack));
    assert_eq!(numbers, [of(100, 0), of(300, 101), of(101, 301), of(101, 301), of(301, 111)]);
    assert!(segments.is_sorted_by(|a, b| a.1.at < b.1.at && a.1.frame < b.1.frame));
}

#[test]
fn the_link_counts_what_it_is_told_to_count() {
    let script = "
        link: drop 2nd data C>S
        link: double SYN-ACK S>C
        C > S: S 100(0)
        S > C: S. 300(0) ack 101
        C > S: P. 101(10) ack 301
        S > C: P. 301(10) ack 111
        C > S: P. 111(10) ack 301
        C > S: P. 121(10) ack 301 lost
    ";
    let performed = performed(script);
    let did: Vec<_> = performed.links.iter().map(|event| (event.segment.frame, event.act)).collect();
    assert_eq!(did, [(2, LinkAct::Duplicated), (5, LinkAct::Dropped)]);
    let arrived: Vec<_> = performed.segments.iter().map(|placed| placed.arrives).collect();
    assert_eq!(arrived, [true, true, true, true, false, false]);
}

#[test]
fn calls_are_made_on_the_sockets_they_name() {
    let script = "
        S: socket() = 4
        S: bind()
        S: listen(5) in LISTEN
        C: socket() = 3
        C: connect() = 0 in ESTABLISHED
        C2: connect() = 0
        S: accept() = 5
        S: accept(C2) = 6
        S: recv(C, 7) = 7
        S: recv(3) = 3
        S: close()
        S: close(C)
        S: close(listener)
        C2: recv(10) = -ECONNRESET
    ";
    let performed = performed(script);
    let calls = &performed.calls;
    let fds: Vec<_> = calls.iter().map(|call| (call.name(), call.fd().unwrap_or(-1))).collect();
    assert_eq!(fds[..6], [("socket", 4), ("bind", 4), ("listen", 4), ("socket", 3), ("connect", 3), ("connect", 3)]);
    let expected = [("accept", 4), ("accept", 4), ("recv", 5), ("recv", 6), ("close", 6), ("close", 5), ("close", 4)];
    assert_eq!(fds[6..13], expected);
    assert_eq!((calls[6].peer(), calls[7].peer()), (calls[4].local(), calls[5].local()));
    assert_eq!((calls[8].peer(), calls[8].octets()), (calls[4].local(), Some(7)));
    assert_eq!((calls[13].errno(), calls[13].octets()), (Some(Errno::ECONNRESET), None));
    assert_eq!((calls[2].effect(), calls[2].info().map(|info| info.state)), (Effect::Listen, Some(State::Listen)));
    assert!(calls[10..13].iter().all(|call| call.sockets[0].role == Role::Released));
    let who: Vec<_> = performed.threads.threads().map(|thread| &*thread.comm).collect();
    assert_eq!(who, ["S", "C", "C2"]);
    assert!(Lifetimes::of(calls).iter().flatten().flatten().all(|life| life.n == 0));
}

// ---- properties ------------------------------------------------------------------------------------------------------

fn any_actor() -> impl Strategy<Value = Actor> {
    "[A-Z][A-Za-z0-9]{0,15}".prop_filter_map("a kind of segment", |name| Actor::named(&name))
}

fn any_span() -> impl Strategy<Value = Span> {
    (0i64..1_000_000, prop_oneof![Just(1i64), Just(1_000), Just(1_000_000), Just(1_000_000_000)])
        .prop_map(|(number, unit)| Span(number * unit))
}

fn any_which() -> impl Strategy<Value = Which> {
    let kinds = Kind::WORDS.map(|(_, kind)| kind);
    (proptest::option::of(1u32..), proptest::sample::select(kinds.to_vec()), any_actor(), any_actor())
        .prop_map(|(nth, kind, from, to)| Which { nth, kind, from, to })
}

fn any_when() -> impl Strategy<Value = When> {
    let call = proptest::sample::select(vec!["accept", "connect", "recv"]);
    prop_oneof![
        Just(When::Next),
        any_span().prop_map(When::At),
        (any_span(), proptest::option::of(any_span()))
            .prop_map(|(from, took)| When::During(from, took.map(|took| Span(from.0 + took.0)))),
        (any_actor(), call.clone()).prop_map(|(actor, call)| When::After(Condition::Waits(actor, call))),
        (any_actor(), call).prop_map(|(actor, call)| When::After(Condition::Returned(actor, call))),
        any_which().prop_map(|which| When::After(Condition::Passed(which))),
    ]
}

fn any_flags() -> impl Strategy<Value = MessageFlags> {
    (0..1i32 << 30).prop_map(MessageFlags::from_bits_truncate)
}

fn any_request() -> impl Strategy<Value = Request> {
    let sending = Sending::ALL.iter().copied().filter(|by| *by != Sending::Splice).collect::<Vec<_>>();
    let receiving = Receiving::ALL.iter().copied().filter(|by| *by != Receiving::Splice).collect::<Vec<_>>();
    let octets = || proptest::option::of(any::<u32>());
    prop_oneof![
        Just(Request::Socket(None, Protocol::IPPROTO_IP)),
        Just(Request::Socket(Some(Domain::AF_INET6), Protocol::IPPROTO_MPTCP)),
        Just(Request::Accept),
        Just(Request::Close),
        Just(Request::Exit),
        any::<Option<std::net::SocketAddrV4>>().prop_map(|address| Request::Bind(address.map(Into::into))),
        any::<Option<i32>>().prop_map(Request::Listen),
        proptest::option::of(any_actor()).prop_map(Request::Connect),
        (proptest::sample::select(sending), octets(), any_flags()).prop_map(|(by, n, f)| Request::Send(by, n, f)),
        (proptest::sample::select(receiving), octets(), any_flags()).prop_map(|(by, n, f)| Request::Receive(by, n, f)),
        (0..3).prop_map(|how| Request::Shutdown(How(how))),
        any::<i32>().prop_map(|seconds| Request::SetOption(
            OptionName::Socket(SocketOption::SO_LINGER),
            OptionValue::Linger { on: true, seconds }
        )),
        any::<i32>().prop_map(|value| Request::SetOption(
            OptionName::Socket(SocketOption::SO_KEEPALIVE),
            OptionValue::Int(value)
        )),
    ]
}

fn any_asked() -> impl Strategy<Value = Asked> {
    let on = prop_oneof![Just(On::Listener), any_actor().prop_map(On::Peer)];
    let errors = vec![Errno::EPIPE, Errno::ECONNRESET, Errno::EAGAIN, Errno(7)];
    let result = prop_oneof![any::<i64>().prop_map(Ok), proptest::sample::select(errors).prop_map(Err)];
    let state = proptest::option::of(proptest::sample::select(State::ALL.to_vec()));
    (any_actor(), proptest::option::of(on), any_request(), proptest::option::of(result), state)
        .prop_map(|(actor, on, request, result, state)| asked(actor, on, request, result, state))
}

fn asked(
    actor: Actor,
    on: Option<On>,
    request: Request,
    result: Option<Result<i64, Errno>>,
    state: Option<State>,
) -> Asked {
    Asked { actor, on, request, text: None, result, named: None, word: None, fatal: None, state }
}

fn any_sent() -> impl Strategy<Value = Sent> {
    let blocks = proptest::collection::vec(any::<(u32, u32)>(), 1..=4);
    let field = prop_oneof![
        any::<u32>().prop_map(Field::Ack),
        any::<u16>().prop_map(Field::Window),
        any::<Option<u16>>().prop_map(Field::Id),
        any::<u16>().prop_map(Field::Urgent),
        any::<u16>().prop_map(Field::Mss),
        any::<u8>().prop_map(Field::WindowScale),
        Just(Field::SackPermitted),
        any::<(u32, u32)>().prop_map(|(sent, echoed)| Field::Timestamps(sent, echoed)),
        blocks.prop_map(Field::Sack),
        any::<u32>().prop_map(Field::Vni),
        Just(Field::Lost),
    ];
    let fields = proptest::collection::vec(field, 0..5);
    let expected = proptest::option::of("[a-z#=][a-z0-9 #=]{0,20}".prop_map(|text| text.trim().to_owned()));
    (any_actor(), any_actor(), 0u16..0x200, any::<Option<(u32, u32)>>(), fields, expected).prop_map(
        |(from, to, flags, seq, fields, expected)| Sent {
            from,
            to,
            flags: Flags::from_bits_truncate(flags),
            seq,
            fields,
            expected,
        },
    )
}

fn any_what() -> impl Strategy<Value = What> {
    let deed = prop_oneof![Just(Deed::Drop), Just(Deed::Double), Just(Deed::Damage), any_span().prop_map(Deed::Delay),];
    let state = || proptest::option::of(proptest::sample::select(State::ALL.to_vec()));
    prop_oneof![
        any_asked().prop_map(What::Call),
        any_sent().prop_map(What::Segment),
        (any_actor(), any::<std::net::SocketAddrV4>()).prop_map(|(actor, at)| What::Address(actor, at.into())),
        (deed, any_which()).prop_map(|(deed, which)| What::Link(deed, which)),
        (any_actor(), state(), proptest::option::of(any_span()))
            .prop_map(|(actor, state, remaining)| What::Answer(actor, Answered { state, remaining })),
        (any_actor(), state()).prop_map(|(actor, state)| What::Expect(Expected::State(actor, state))),
        "[a-z][a-z_-]{0,39}".prop_map(|name| What::Expect(Expected::Finding(name))),
        "[a-z][a-z_-]{0,39}".prop_map(|name| What::Expect(Expected::Ending(name))),
    ]
}

fn any_script() -> impl Strategy<Value = Script> {
    let line = (any_when(), any_what()).prop_map(|(when, what)| Line { when, what });
    proptest::collection::vec(line, 0..20).prop_map(|lines| Script { lines })
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(script in any_script()) {
        let text = script.to_string();
        let again = Script::parse(&text).map_err(|error| TestCaseError::fail(error.to_string()))?;
        prop_assert_eq!(again, script);
    }

    #[test]
    fn any_script_can_be_performed(script in any_script()) {
        let performed = script.perform();
        let count = |wanted: fn(&What) -> bool| script.lines.iter().filter(|line| wanted(&line.what)).count();
        prop_assert_eq!(performed.segments.len(), count(|what| matches!(what, What::Segment(_))));
        prop_assert_eq!(performed.calls.len(), count(|what| matches!(what, What::Call(_))));
        prop_assert!(performed.calls.iter().all(|call| performed.threads.get(call.thread()).is_some()));
    }

    #[test]
    fn any_text_is_a_script_or_a_fault_with_a_place(text in "(C|S|after|link|: |> |expect|send\\(|[0-9]+|=|\\.|\\n|\\PC|ack ){0,30}") {
        match Script::parse(&text) {
            Ok(script) => prop_assert_eq!(Script::parse(&script.to_string()).ok(), Some(script)),
            Err(error) => prop_assert!(error.line >= 1 && !error.to_string().is_empty()),
        }
    }
}

#[test]
fn what_scenarios_say_is_read_and_written_as_it_was() {
    let text = "\
S: accept() = conn
S: dup(conn) = copy
S: send(copy, 10) = 10
S: getsockopt(SO_ERROR) = -ECONNRESET
S: fork(S2)
S2: kill()
after 2nd data C>S seen by S, C: close()
after C is FIN-WAIT-2, S: close()
after S is none, link: cut
after 200ms, link: mend
link: overtake 3rd data C>S
link: replay 2s 1st data C>S
link: mark data C>S
link: forge RST S>C exact
link: forge 5 octets S>C inside
expect: C through FIN-WAIT-1 CLOSING TIME-WAIT
expect: no finding retransmission
expect: cause tail_loss_probe
expect: 2 SYN C>S
expect: at least 3 data S>C
expect: C counted TCPLossProbes
expect: C window shrank
S: socket(AF_INET6)
C: socket(AF_INET, IPPROTO_MPTCP)
C: socket(IPPROTO_MPTCP) = multi
C: setsockopt(TCP_CONGESTION, reno)
C: setsockopt(TCP_MD5SIG, secret) = 0
C: getsockopt(TCP_CONGESTION) = cubic
C: getsockopt(TCP_INFO)
C: send(\"hello\\0world\", MSG_DONTWAIT) = 11
C: send(\"a\\n\\\"b\\\\\")
C: signal(SIGPIPE, SIG_DFL)
C: send(10) = SIGPIPE
link: repeat 1st data C>S
link: flood 8 SYN X>S
";
    assert_eq!(Script::parse(text).unwrap().to_string(), text);
    for (wrong_one, column) in [
        ("S: send(conn, 10)", 9),
        ("link: forge FIN S>C exact", 13),
        ("link: forge RST S>C near", 21),
        ("after C is HAPPY, C: close()", 12),
        ("expect: C window grew", 18),
        ("C: send(\"hello)", 9),
        ("C: setsockopt(TCP_MD5SIG, 7)", 27),
        ("link: flood 0 SYN X>S", 15),
        ("link: flood 8 RST X>S", 15),
        ("C: signal(SIGTERM)", 11),
        ("expect: C through", 18),
        ("expect: no retransmission", 12),
        ("expect: at least SYN C>S", 18),
    ] {
        assert_eq!(wrong(wrong_one).column, column, "{wrong_one}");
    }
}
