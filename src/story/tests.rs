//! The joins, told from scripts.

use proptest::prelude::*;

use super::fanout::{FOR_EACH, FREE};
use super::script::{Recording, conversation, lines, recording, story, words};
use super::states::MOST_DISAGREEMENTS;
use super::*;
use crate::calls::{Effect, Lifetime, Op, SocketId};
use crate::flow::{Detail, Left, ProblemKind, Side, Verdict};
use crate::kernel::{Congestion, KernelAct, KernelEvent, ResetReason, Witness};
use crate::script::{LinkAct, LinkEvent};
use crate::tcp::{Finding, Rule, State};
use crate::time::{Clock, Span, Timestamp};
use crate::wire::{Flags, Tunnel, TunnelKind};

fn check(script: &str, expected: &str) {
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines(&story(script)), expected);
}

pub(super) const SET_UP: &str = "
    1us..2us S: socket() = 4
    3us..4us S: bind() = 0
    5us..6us S: listen(5) = 0 in LISTEN
    10us..35us S: accept() = 5 in ESTABLISHED
    12us..13us C: socket() = 3 in CLOSED
    15us..34us C: connect() = 0 in ESTABLISHED
    20us C > S: S 0(0)
    22us S > C: S. 0(0) ack 1
    24us C > S: . 1(0) ack 1
";

#[test]
fn an_older_table_of_threads_takes_nobody_away() {
    use crate::calls::{Process, Thread, Threads};
    let mut threads = Threads::default();
    let process = threads.add_process(Process { pid: 7, comm: "echo".into() });
    threads.add(Thread { process, tid: 7, comm: "server".into() });
    let older = threads.clone();
    threads.add(Thread { process, tid: 8, comm: "client".into() });
    let mut timeline = Timeline::default();
    timeline.know_threads(threads.clone());
    timeline.know_threads(older);
    assert_eq!(timeline.threads, threads);
}

#[test]
fn an_accept_of_which_no_length_is_known_has_no_negative_one() {
    let story = story(
        "
        1us..2us S: socket() = 4
        3us..4us S: listen(5) = 0
        10us..11us S: accept() = -EINVAL
        ",
    );
    assert_eq!(story.diagnoses(), []);
}

#[test]
fn with_ipv6_a_host_without_an_address_is_not_one_without_a_port() {
    let mut story = story(
        "
        1us..2us C: socket() = 3
        3us..4us C: connect() = -EADDRNOTAVAIL
        ",
    );
    let names = |story: &Story| -> Vec<_> { story.diagnoses().iter().map(|found| found.what.name()).collect() };
    assert_eq!(names(&story), ["ports_used_up"]);
    for event in &mut story.events {
        if let EventKind::Call(call) = &mut event.kind
            && let Op::Connect { address } = &mut call.call.op
        {
            *address = Some("[::1]:80".parse().expect("an address"));
        }
    }
    assert_eq!(names(&story), ["no_local_address"]);
}

// ---- a whole life --------------------------------------------------------------------------------------------

#[test]
fn an_echo_is_told_from_socket_to_time_wait() {
    check(
        &format!(
            "{SET_UP}
            36us..60us S: recv() = 10 in ESTABLISHED
            40us..45us C: send(10) = 10 in ESTABLISHED
            42us C > S: P. 1(10) ack 1
            43us S > C: . 1(0) ack 11
            46us..80us C: recv() = 10 in ESTABLISHED
            62us..66us S: send(10) = 10 in ESTABLISHED
            64us S > C: P. 1(10) ack 11
            65us C > S: . 11(0) ack 11
            67us..95us S: recv() = 0 in CLOSE-WAIT
            85us..90us C: close() = 0
            87us C > S: F. 11(0) ack 11
            88us S > C: . 11(0) ack 12
            96us..100us S: close() = 0
            97us S > C: F. 11(0) ack 12
            98us C > S: . 12(0) ack 12
            105us kernel: C TIME-WAIT for 60000ms
            106us kernel: S none
            110us..111us S: close(listener) = 0
            60000105us kernel: C none
            "
        ),
        "
        0 server socket
        1 server bind
        2 server listen
        3 server CLOSED>LISTEN of 2
        4 server accept done by 3
        5 client socket
        6 client connect sent [1] done by 2
        7 #1 SYN by [6]
        8 client CLOSED>SYN-SENT of 6
        9 #2 SYN,ACK kernel handshake of 7
        10 server LISTEN>SYN-RECEIVED of 7
        11 client SYN-SENT>ESTABLISHED of 9 [Segments, TcpInfo]
        12 #3 ACK kernel handshake of 9
        13 server SYN-RECEIVED>ESTABLISHED of 12 [Segments, TcpInfo]
        14 server recv [0,10) got [4] done by 4
        15 client send [0,10) sent [4]
        16 #4 PSH,ACK by [15]
        17 #5 ACK kernel ack of 16
        18 client recv [0,10) got [6] done by 6
        19 server send [0,10) sent [6]
        20 #6 PSH,ACK by [19]
        21 #7 ACK kernel ack of 20
        22 server recv done by 8
        23 client close sent [8]
        24 #8 FIN,ACK by [23]
        25 client ESTABLISHED>FIN-WAIT-1 of 23
        26 server ESTABLISHED>CLOSE-WAIT of 24 [Segments, TcpInfo]
        27 #9 ACK kernel ack of 24
        28 client FIN-WAIT-1>FIN-WAIT-2 of 27
        29 server close sent [10]
        30 #10 FIN,ACK by [29]
        31 server CLOSE-WAIT>LAST-ACK of 29
        32 client FIN-WAIT-2>TIME-WAIT of 30 [Segments, SockDiag]
        33 #11 ACK kernel ack of 30
        34 server LAST-ACK>CLOSED of 33 [Segments, SockDiag]
        35 client timer of 23
        36 server close
        37 server LISTEN>CLOSED of 36
        38 client TIME-WAIT>CLOSED of 35
        ",
    );
}

/// The lines from the first that a script of its own adds to an open connection.
fn opened(script: &str, expected: &str) {
    let story = story(&format!("{SET_UP}{script}"));
    let expected: Vec<&str> = expected.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    assert_eq!(lines(&story)[14..], expected);
}

// ---- data: many to many --------------------------------------------------------------------------------------

#[test]
fn two_sends_share_a_segment_and_one_recv_takes_parts_of_both() {
    opened(
        "
        40us..41us C: send(4) = 4
        42us..43us C: send(6) = 6
        44us C > S: P. 1(10) ack 1
        46us..47us S: recv() = 7
        48us..49us S: recv() = 3
        ",
        "
        14 client send [0,4) sent [4]
        15 client send [4,10) sent [4]
        16 #4 PSH,ACK by [14, 15]
        17 server recv [0,7) got [4] done by 4
        18 server recv [7,10) got [4] done by 4
        ",
    );
}

#[test]
fn one_send_takes_many_segments_and_many_receives() {
    opened(
        "
        40us..50us C: send(25) = 25
        41us C > S: . 1(10) ack 1
        42us C > S: . 11(10) ack 1
        43us S > C: . 1(0) ack 21
        60us C > S: P. 21(5) ack 1
        70us..71us S: recv() = 15
        72us..73us S: recv() = 10
        ",
        "
        14 client send [0,25) sent [4, 5, 7]
        15 #4 ACK by [14]
        16 #5 ACK by [14]
        17 #6 ACK kernel ack of 16
        18 #7 PSH,ACK by [14]
        19 server recv [0,15) got [4, 5] done by 4
        20 server recv [15,25) got [5, 7] done by 5
        ",
    );
}

#[test]
fn octets_sent_again_join_the_same_send() {
    opened(
        "
        40us..50us C: send(10) = 10
        41us C > S: P. 1(10) ack 1
        250041us C > S: P. 1(10) ack 1 = retransmission
        250042us S > C: . 1(0) ack 11
        ",
        "
        14 client send [0,10) sent [4, 5]
        15 #4 PSH,ACK by [14]
        16 #5 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
        17 #6 ACK kernel ack of 16
        ",
    );
}

// ---- endings -------------------------------------------------------------------------------------------------

#[test]
fn a_close_with_unread_octets_resets() {
    opened(
        "
        40us..45us C: send(10) = 10
        42us C > S: P. 1(10) ack 1
        43us S > C: . 1(0) ack 11
        50us..55us S: recv() = 4
        60us..65us S: close() = 0
        62us S > C: R. 1(0) ack 11
        70us..71us C: recv() = -ECONNRESET
        ",
        "
        14 client send [0,10) sent [4]
        15 #4 PSH,ACK by [14]
        16 #5 ACK kernel ack of 15
        17 server recv [0,4) got [4] done by 4
        18 server close sent [6]
        19 #6 RST,ACK by [18]
        20 server ESTABLISHED>CLOSED of 18
        21 client ESTABLISHED>CLOSED of 19
        22 client recv done by 6
        ",
    );
    let story = story(&format!(
        "{SET_UP} 40us..45us C: send(10) = 10\n 42us C > S: P. 1(10) ack 1\n 50us..55us S: recv() = 4\n 60us..65us S: close() = 0\n 62us S > C: R. 1(0) ack 11"
    ));
    let note = story.events.iter().find_map(|event| match &event.kind {
        EventKind::Segment(segment) if segment.segment.flags.contains(Flags::RST) => segment.cause.why,
        _ => None,
    });
    assert_eq!(note, Some(Why::Unread(6)), "four of ten were read");
}

#[test]
fn octets_for_a_closed_socket_are_answered_by_the_kernel_with_a_reset() {
    opened(
        "
        40us..41us C: close() = 0
        41us C > S: F. 1(0) ack 1
        42us S > C: . 1(0) ack 2
        50us..51us S: send(5) = 5
        51us S > C: P. 1(5) ack 2
        52us C > S: R 2(0)
        60us..61us S: send() = -EPIPE
        ",
        "
        14 client close sent [4]
        15 #4 FIN,ACK by [14]
        16 client ESTABLISHED>FIN-WAIT-1 of 14
        17 server ESTABLISHED>CLOSE-WAIT of 15
        18 #5 ACK kernel ack of 15
        19 client FIN-WAIT-1>FIN-WAIT-2 of 18
        20 server send [0,5) sent [6]
        21 #6 PSH,ACK by [20]
        22 #7 RST kernel reset of 21
        23 client FIN-WAIT-2>CLOSED of 22
        24 server CLOSE-WAIT>CLOSED of 22
        25 server send done by 7
        ",
    );
}

#[test]
fn a_refused_connect_is_joined_by_its_interval_though_its_port_is_gone() {
    check(
        "
        1us..2us C: socket() = 3
        5us..15us C: connect() = -ECONNREFUSED in CLOSED
        7us C > S: S 0(0)
        8us S > C: R. 0(0) ack 1
        ",
        "
        0 client socket
        1 client connect sent [1] done by 2
        2 #1 SYN by [1]
        3 client CLOSED>SYN-SENT of 1
        4 #2 RST,ACK kernel reset of 2
        5 server ?>CLOSED of 4
        6 client SYN-SENT>CLOSED of 4 [Segments, TcpInfo]
        ",
    );
}

#[test]
fn a_shutdown_enters_its_state_though_the_fin_waits_behind_the_octets() {
    opened(
        "
        40us..42us C: send(10) = 10
        43us..44us C: shutdown(SHUT_WR) = 0 in FIN-WAIT-1
        60us C > S: P. 1(10) ack 1
        61us C > S: F. 11(0) ack 1
        ",
        "
        14 client send [0,10) sent [4]
        15 client shutdown sent [5]
        16 client ESTABLISHED>FIN-WAIT-1 of 15 [Segments, TcpInfo]
        17 #4 PSH,ACK by [14]
        18 #5 FIN,ACK by [15]
        19 server ESTABLISHED>CLOSE-WAIT of 18
        ",
    );
}

#[test]
fn fins_that_cross_are_told_as_they_were_though_the_first_passed_before() {
    opened(
        "
        40us..41us C: shutdown(SHUT_WR) = 0
        40us C > S: F. 1(0) ack 1
        41us..45us S: shutdown(SHUT_WR) = 0
        42us S > C: F. 1(0) ack 1
        50us C > S: . 2(0) ack 2
        51us S > C: . 2(0) ack 2
        ",
        "
        14 client shutdown sent [4]
        15 #4 FIN,ACK by [14]
        16 client ESTABLISHED>FIN-WAIT-1 of 14
        17 server shutdown sent [5]
        18 #5 FIN,ACK by [17]
        19 server ESTABLISHED>FIN-WAIT-1 of 17
        20 client FIN-WAIT-1>CLOSING of 18
        21 #6 ACK kernel ack of 18
        22 server FIN-WAIT-1>CLOSING of 15
        23 server CLOSING>TIME-WAIT of 21
        24 #7 ACK kernel ack of 15
        25 client CLOSING>TIME-WAIT of 24
        ",
    );
}

#[test]
fn an_end_that_answers_after_its_bare_reset_is_open_again() {
    check(
        "
        1us C > S: S  0(10)
        2us S > C: S. 0(9)  ack 11
        3us C > S: R  11(0)
        4us S > C: S. 0(5)  ack 11
        5us C > S: .  11(0) ack 6
        ",
        "
        0 #1 SYN kernel unknown inferred
        1 client CLOSED>SYN-SENT of 0
        2 #2 SYN,ACK kernel handshake of 0
        3 server LISTEN>SYN-RECEIVED of 0
        4 #3 RST kernel reset of 2
        5 #4 SYN,ACK kernel unknown of 2 inferred
        6 #5 ACK kernel ack of 5
        7 client SYN-SENT>ESTABLISHED of 5
        8 server SYN-RECEIVED>ESTABLISHED of 6
        ",
    );
}

// ---- lifetimes -----------------------------------------------------------------------------------------------

#[test]
fn a_socket_that_was_refused_and_connects_again_has_a_second_connection() {
    check(
        "
        1us..2us C: socket() = 3
        5us..15us C: connect() = -ECONNREFUSED
        7us C > S: S 0(0)
        8us S > C: R. 0(0) ack 1
        C = 10.0.0.1:5001
        25us..35us C: connect() = 0
        27us C > S: S 0(0)
        28us S > C: S. 0(0) ack 1
        29us C > S: . 1(0) ack 1
        40us..45us C: send(10) = 10
        42us C > S: P. 1(10) ack 1
        50us..55us C: close() = 0
        52us C > S: F. 11(0) ack 1
        ",
        "
        0 client socket
        1 client connect sent [1] done by 2
        2 #1 SYN by [1]
        3 client CLOSED>SYN-SENT of 1
        4 #2 RST,ACK kernel reset of 2
        5 server ?>CLOSED of 4
        6 client SYN-SENT>CLOSED of 4
        7 client connect sent [3] done by 4
        8 #3 SYN by [7]
        9 client CLOSED>SYN-SENT of 7
        10 #4 SYN,ACK kernel handshake of 8
        11 server LISTEN>SYN-RECEIVED of 8
        12 client SYN-SENT>ESTABLISHED of 10
        13 #5 ACK kernel handshake of 10
        14 server SYN-RECEIVED>ESTABLISHED of 13
        15 client send [0,10) sent [6]
        16 #6 PSH,ACK by [15]
        17 client close sent [7]
        18 #7 FIN,ACK by [17]
        19 client ESTABLISHED>FIN-WAIT-1 of 17
        20 server ESTABLISHED>CLOSE-WAIT of 18
        ",
    );
}

#[test]
fn an_id_used_again_writes_nothing_to_the_connection_before() {
    let once = |at: u64| {
        "@1us..@2us C: socket() = 3
         @3us..@7us C: connect() = 0
         @4us C > S: S 0(0)
         @5us S > C: S. 0(0) ack 1
         @6us C > S: . 1(0) ack 1
         @8us..@9us C: send(10) = 10
         @8us C > S: P. 1(10) ack 1"
            .replace('@', &at.to_string())
    };
    let script =
        format!("{}\n20us..21us C: close() = 0\n20us C > S: F. 11(0) ack 1\nC = 10.0.0.1:5001\n{}", once(1), once(3));
    let mut recording = recording(&script);
    for used in recording.calls.iter_mut().flat_map(|call| &mut call.sockets) {
        used.socket = Some(SocketId(1));
    }
    let story = recording.told();
    let told = lines(&story);
    let sends: Vec<_> = told.iter().filter(|line| line.contains("client send")).collect();
    assert!(sends[0].ends_with("[0,10) sent [4]"), "{sends:?}");
    assert!(sends[1].ends_with("[0,10) sent [9]"), "the second socket's octets begin at 0 again: {sends:?}");
    let connects: Vec<_> = told.iter().filter(|line| line.contains("client connect")).collect();
    assert!(connects[0].ends_with("sent [1] done by 2") && connects[1].ends_with("sent [6] done by 7"), "{connects:?}");
}

// ---- what each end could have known -------------------------------------------------------------------------

/// The cause of each frame of a bare capture: the mechanism, the frame that it answers or repeats, and the reason.
fn caused(script: &str) -> Vec<String> {
    let story = story(script);
    let segments = story.events.iter().filter_map(|event| match &event.kind {
        EventKind::Segment(segment) => Some(segment),
        _ => None,
    });
    segments
        .map(|segment| {
            let Cause { kernel, of, why, .. } = &segment.cause;
            let kernel = kernel.map_or("none", Mechanism::name);
            let of = of.and_then(|of| story.frame_of(of)).map_or(String::new(), |frame| format!(" of #{frame}"));
            let why = why.map_or(String::new(), |why| format!(" {why:?}"));
            format!("#{} {kernel}{of}{why}", segment.segment.frame)
        })
        .collect()
}

/// The causes of what follows a handshake with SACK over a path of 100 us to the server, captured at the client.
fn after_handshake(script: &str) -> Vec<String> {
    let open = "
        0us C > S: S 0(0) mss 1460 sackok
        100us S > C: S. 0(0) ack 1 mss 1460 sackok
        110us C > S: . 1(0) ack 1
        ";
    caused(&format!("{open}{script}")).split_off(3)
}

#[test]
fn with_sack_the_tail_is_probed_first_and_then_the_timer_runs_out() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(10) ack 1
        203000us C > S: P. 1(10) ack 1
        503000us C > S: P. 1(10) ack 1
        1200000us C > S: P. 1(10) ack 1
        ",
    );
    assert_eq!(told[1], "#5 tail_loss_probe of #4 TailUnacknowledged");
    assert_eq!(told[2], "#6 retransmission_timeout of #4 TimerExpired");
    assert_eq!(told[3], "#7 retransmission_timeout of #4 TimerExpired");
}

/// RFC 8985 section 7.4.2 and tcp_process_tlp_ack: a probe that repaired a loss stands until what lies beyond it is acknowledged.
#[test]
fn after_a_probe_that_was_needed_the_next_tail_is_not_probed() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(10) ack 1
        203000us C > S: P. 1(10) ack 1
        203100us S > C: . 1(0) ack 11
        210000us C > S: F. 11(0) ack 1
        420000us C > S: F. 11(0) ack 1
        ",
    );
    assert_eq!(told[1], "#5 tail_loss_probe of #4 TailUnacknowledged");
    assert_eq!(told[4], "#8 retransmission_timeout of #7 TimerExpired");
    // A duplicate SACK says that the probe was needless: the next tail is probed.
    let told = after_handshake(
        "
        1000us C > S: P. 1(10) ack 1
        203000us C > S: P. 1(10) ack 1
        203100us S > C: . 1(0) ack 11
        203110us S > C: . 1(0) ack 11 sack 1-11
        210000us C > S: F. 11(0) ack 1
        420000us C > S: F. 11(0) ack 1
        ",
    );
    assert_eq!(told[5], "#9 tail_loss_probe of #8 TailUnacknowledged");
}

#[test]
fn a_tail_that_goes_again_long_after_two_round_trips_is_no_probe() {
    let told = after_handshake("1000us C > S: P. 1(10) ack 1\n 900000us C > S: P. 1(10) ack 1");
    assert_eq!(told[1], "#5 retransmission_timeout of #4 TimerExpired");
}

/// What is sent again in a recovery is its, as far as had been sent when it began, though some of that was overtaken.
#[test]
fn what_a_recovery_overtook_belongs_to_it() {
    let told = after_handshake(
        "
        1000us C > S: . 1(1000) ack 1 id 10
        1010us C > S: . 1001(1000) ack 1 id 11
        1020us C > S: . 2001(1000) ack 1 id 12
        1110us S > C: . 1(0) ack 1 sack 1001-2001
        1120us S > C: . 1(0) ack 1 sack 1001-3001
        1300us C > S: . 1(1000) ack 1 id 14
        1310us C > S: FP. 3001(500) ack 1 id 13
        1400us S > C: . 1(0) ack 3001
        250000us C > S: FP. 3001(500) ack 1 id 15
        ",
    );
    assert_eq!(told[5], "#9 fast_retransmit of #4 LossReported");
    assert_eq!(told[8], "#12 retransmission_timeout of #10 TimerExpired");
}

/// Identifications that count up show a transmission that was lost before it could be captured.
#[test]
fn a_repetition_whose_probe_was_lost_before_the_capture_is_the_timers() {
    let script = |id: &str| {
        after_handshake(&format!(
            "
            1000us C > S: P. 1(10) ack 1 id 10
            1100us S > C: . 1(0) ack 11
            2000us C > S: P. 11(10) ack 1 id 11
            2100us S > C: . 1(0) ack 21
            3000us C > S: P. 21(10) ack 1 id 12
            3100us S > C: . 1(0) ack 31
            4000us C > S: P. 31(10) ack 1 id 13
            205000us C > S: P. 31(10) ack 1 id {id}
            "
        ))
    };
    assert_eq!(script("14")[7], "#11 tail_loss_probe of #10 TailUnacknowledged");
    assert_eq!(script("15")[7], "#11 retransmission_timeout of #10 TimerExpired");
    // Where an acknowledgement was due, it may be that which was lost.
    let asked = after_handshake(
        "
        1000us C > S: P. 1(10) ack 1 id 10
        1100us S > C: . 1(0) ack 11
        2000us C > S: P. 11(10) ack 1 id 11
        2100us S > C: . 1(0) ack 21
        3000us C > S: P. 21(10) ack 1 id 12
        3100us S > C: P. 1(5) ack 31
        3110us C > S: P. 31(10) ack 1 id 13
        205000us C > S: P. 31(10) ack 6 id 15
        ",
    );
    assert_eq!(asked[7], "#11 tail_loss_probe of #10 TailUnacknowledged");
}

/// A bare acknowledgement with the number after a FIN shows that the FIN had been sent, though it was not captured.
#[test]
fn a_fin_that_a_number_showed_is_sent_again() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(10) ack 1 ts 10:1
        1100us S > C: . 1(0) ack 11 ts 1:10
        2000us S > C: P. 1(10) ack 11 ts 2:10
        2100us C > S: . 12(0) ack 11 ts 20:2
        60000us C > S: F. 11(0) ack 11 ts 60:2
        280000us C > S: F. 11(0) ack 11 ts 280:2
        ",
    );
    assert_eq!(told[4], "#8 tail_loss_probe FirstNotCaptured");
    assert_eq!(told[5], "#9 retransmission_timeout of #8 TimerExpired");
}

/// Octets of a SYN whose timer ran out are sent again when it is answered, and from then on by the timer alone.
#[test]
fn what_a_repeated_syn_carried_has_no_probe() {
    let told = caused(
        "
        0us C > S: S 0(1) mss 1460 sackok
        1000ms C > S: S 0(0) mss 1460 sackok
        1000.1ms S > C: S. 0(0) ack 1 mss 1460 sackok
        1000.2ms C > S: P. 1(1) ack 1
        1300ms C > S: P. 1(1) ack 1
        ",
    );
    assert_eq!(told[3], "#4 recovery of #3 SynOctetsRefused");
    assert_eq!(told[4], "#5 retransmission_timeout of #1 TimerExpired");
}

#[test]
fn where_both_ends_sent_a_syn_the_peers_syn_ack_opens_for_a_probe() {
    let told = caused(
        "
        0us C > S: S 0(0) mss 1460 sackok
        50us S > C: S 0(0) mss 1460 sackok
        60us C > S: S. 0(0) ack 1 mss 1460 sackok
        150us S > C: S. 0(0) ack 1 mss 1460 sackok
        1000us C > S: P. 1(10) ack 1
        203000us C > S: P. 1(10) ack 1
        ",
    );
    assert_eq!(told[5], "#6 tail_loss_probe of #5 TailUnacknowledged");
}

/// A probe of the tail lies between the first transmission and the timeout, which is measured from the former.
#[test]
fn a_timeout_that_follows_a_probe_of_a_part_is_a_timeout() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(500) ack 1
        21000us C > S: P. 501(500) ack 1
        31000us C > S: P. 501(500) ack 1
        51000us C > S: P. 1001(500) ack 1
        210000us C > S: P. 1(1000) ack 1
        ",
    );
    assert_eq!(told[2], "#6 tail_loss_probe of #5 TailUnacknowledged");
    assert_eq!(told[4], "#8 retransmission_timeout of #4 TimerExpired");
}

#[test]
fn one_needless_retransmission_of_two_does_not_end_the_recovery() {
    let told = after_handshake(
        "
        1000us C > S: . 1(1000) ack 1
        1001us C > S: . 1001(1000) ack 1
        1002us C > S: . 2001(1000) ack 1
        1003us C > S: . 3001(1000) ack 1
        1004us C > S: . 4001(1000) ack 1
        1103us S > C: . 1(0) ack 1 sack 3001-4001
        1110us C > S: . 1(1000) ack 1
        1111us C > S: . 1001(1000) ack 1
        1211us S > C: . 1(0) ack 2001 sack 1-1001 sack 3001-4001
        1212us S > C: . 1(0) ack 4001
        1214us C > S: . 4001(1000) ack 1
        ",
    );
    assert_eq!(told[6], "#10 fast_retransmit of #4 LossReported");
    assert_eq!(told[10], "#14 fast_retransmit of #8 LossReported");
}

/// What repeats an older timestamp than the segment that opened the window was sent before that one came.
#[test]
fn a_timestamp_shows_that_an_opened_window_was_not_heard_of() {
    let script = |echo: u32| {
        format!(
            "
            0us C > S: S 0(0) mss 1460 sackok ts 100:0
            50us S > C: S. 0(0) ack 1 mss 1460 sackok ts 900:100
            50050us C > S: . 1(0) ack 1 ts 150:900
            60000us C > S: . 1001(1000) ack 1 ts 160:900
            60010us S > C: . 1(0) ack 1 sack 1001-2001 ts 960:150
            90000us C > S: . 1(1000) ack 1 ts 161:900
            90010us S > C: . 1(0) ack 2001 win 0 ts 990:161
            90050us S > C: . 1(0) ack 2001 win 4000 ts 991:161
            140000us C > S: . 1(1000) ack 1 ts 240:{echo}
            "
        )
    };
    assert_eq!(caused(&script(991))[8], "#9 recovery of #8 WindowOpened");
    assert_eq!(caused(&script(960))[8], "#9 fast_retransmit of #6 LossReported");
}

#[test]
fn soon_after_a_window_opened_unheard_a_bare_old_octet_is_a_probe_of_the_window_and_later_a_keep_alive() {
    let told = |later: u32| {
        let probe = 1_200 + later;
        let script = format!(
            "
            1000us C > S: P. 1(10) ack 1
            1100us S > C: . 1(0) ack 11 win 0
            1150us S > C: . 1(0) ack 11 win 1000
            {probe}us C > S: . 10(0) ack 1
            "
        );
        after_handshake(&script).pop().expect("a cause")
    };
    assert_eq!(told(250_000), "#7 zero_window_probe of #6 NoRoomOldOctet");
    assert_eq!(told(2_000_000), "#7 keep_alive of #4 Idle");
}

/// A SYN-ACK that was sent more than once is told apart by the timestamp that its answer repeats.
#[test]
fn the_end_of_the_handshake_answers_the_syn_ack_whose_timestamp_it_repeats() {
    let script = |echo: u32| {
        format!(
            "
            0us C > S: S 0(0) ts 100:0
            50us S > C: S. 0(0) ack 1 ts 900:100
            1000000us S > C: S. 0(0) ack 1 ts 1900:100
            1008000us S > C: S. 0(0) ack 1 ts 1908:100
            1100000us C > S: . 1(0) ack 1 ts 1200:{echo}
            "
        )
    };
    for (echo, of) in [(900, 2), (1900, 3), (1908, 4)] {
        assert_eq!(caused(&script(echo))[4], format!("#5 handshake of #{of} EndsHandshake"));
    }
}

#[test]
fn what_is_sent_again_at_an_acknowledgement_is_no_timeout() {
    let told = after_handshake(
        "
        1000us C > S: . 1(1000) ack 1
        1001us C > S: . 1001(1000) ack 1
        1002us C > S: P. 2001(1000) ack 1
        301000us S > C: . 1(0) ack 1001
        301500us C > S: . 1001(1000) ack 1
        ",
    );
    assert_eq!(told[4], "#8 recovery of #5 AckedBefore");
}

#[test]
fn a_reported_loss_is_no_timeout_where_an_acknowledgement_set_the_timer_anew() {
    let told = after_handshake(
        "
        1000us C > S: . 1(1000) ack 1
        1001us C > S: . 1001(1000) ack 1
        1002us C > S: P. 2001(1000) ack 1
        180000us S > C: . 1(0) ack 1001
        181000us S > C: . 1(0) ack 1001 sack 2001-3001
        221000us C > S: . 1001(1000) ack 1
        ",
    );
    assert_eq!(told[5], "#9 fast_retransmit of #5 LossReported");
}

#[test]
fn with_sack_an_acknowledgement_without_a_block_reports_no_loss() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(10) ack 1
        2000us S > C: . 1(0) ack 1
        210000us C > S: P. 1(10) ack 1
        ",
    );
    assert_eq!(told[2], "#6 tail_loss_probe of #4 TailUnacknowledged");
}

#[test]
fn what_fills_a_gap_long_after_the_reports_is_a_timers() {
    let told = |again: &str| {
        after_handshake(&format!(
            "
            1000us S > C: . 1(1000) ack 1
            1001us S > C: . 2001(1000) ack 1
            1002us S > C: . 3001(1000) ack 1
            1003us C > S: . 1(0) ack 1001 sack 2001-3001
            1004us C > S: . 1(0) ack 1001 sack 2001-4001
            {again}us S > C: . 1001(1000) ack 1
            "
        ))
    };
    assert_eq!(told("1200")[5], "#9 fast_retransmit FirstNotCaptured");
    assert_eq!(told("309000")[5], "#9 retransmission_timeout FirstNotCaptured");
}

#[test]
fn a_probe_is_what_was_sent_last() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(400) ack 1
        1100us C > S: F. 401(0) ack 1
        271000us C > S: FP. 1(400) ack 1
        ",
    );
    assert_eq!(told[2], "#6 retransmission_timeout of #4 TimerExpired");
}

#[test]
fn the_window_of_a_reset_is_not_probed() {
    let told = after_handshake(
        "
        1000us S > C: P. 1(413) ack 1
        1100us C > S: R 1(0) win 0
        1200us S > C: P. 414(1) ack 1
        ",
    );
    assert!(!told[2].contains("probe"), "{told:?}");
}

#[test]
fn what_follows_a_timeout_is_the_timeouts() {
    let told = after_handshake(
        "
        1000us C > S: . 1(1000) ack 1
        1001us C > S: . 1001(1000) ack 1
        1002us C > S: P. 2001(1000) ack 1
        401000us C > S: . 1(1000) ack 1
        401100us S > C: . 1(0) ack 1001
        401110us C > S: . 1001(1000) ack 1
        401111us C > S: P. 2001(1000) ack 1
        ",
    );
    assert_eq!(told[3], "#7 retransmission_timeout of #4 TimerExpired");
    assert_eq!(told[5], "#9 retransmission_timeout of #5 TimerExpired");
    assert_eq!(told[6], "#10 retransmission_timeout of #6 TimerExpired");
}

#[test]
fn an_acknowledgement_answers_what_filled_the_gap_or_what_lies_behind_it() {
    let told = after_handshake(
        "
        1000us S > C: . 1(1000) ack 1
        1010us C > S: . 1(0) ack 1001
        1100us S > C: . 2001(1000) ack 1
        1110us C > S: . 1(0) ack 1001 sack 2001-3001
        1200us S > C: . 3001(1000) ack 1
        1210us C > S: . 1(0) ack 1001 win 9000 sack 2001-4001
        1400us S > C: . 1001(1000) ack 1
        1410us C > S: . 1(0) ack 4001
        ",
    );
    assert_eq!(told[3], "#7 out_of_order_ack of #6 GapBefore");
    assert_eq!(told[5], "#9 out_of_order_ack of #8 GapBefore", "room is not all that it tells");
    assert_eq!(told[6], "#10 fast_retransmit FirstNotCaptured");
    assert_eq!(told[7], "#11 ack of #10");
}

#[test]
fn a_syn_ack_answers_the_syn_that_was_repeated() {
    let told = caused(
        "
        0us C > S: S 0(0)
        100us S > C: S. 0(0) ack 1
        1000000us C > S: S 0(0)
        1000100us S > C: S. 0(0) ack 1
        3000100us S > C: S. 0(0) ack 1
        ",
    );
    assert_eq!(told[2], "#3 retransmission_timeout of #1 SynUnanswered");
    assert_eq!(told[3], "#4 handshake of #3 SynRepeated");
    assert_eq!(told[4], "#5 retransmission_timeout of #2 SynUnanswered");
}

#[test]
fn a_delay_is_told_from_the_paths_own_time() {
    // Captured at the server: what the client answers takes 40 ms for the path alone.
    let far = caused(
        "
        0us C > S: S 0(0)
        100us S > C: S. 0(0) ack 1
        40000us C > S: . 1(0) ack 1
        50000us S > C: P. 1(100) ack 1
        90100us C > S: . 1(0) ack 101
        100000us S > C: P. 101(100) ack 1
        180100us C > S: . 1(0) ack 201
        200000us S > C: P. 201(100) ack 1
        840100us C > S: . 1(0) ack 301
        ",
    );
    assert_eq!(far[4], "#5 ack of #4");
    assert_eq!(far[6], "#7 delayed_ack of #6 HeldBack");
    assert_eq!(far[8], "#9 ack of #8", "no timer holds an acknowledgement for 600 ms");
}

#[test]
fn an_old_acknowledgement_and_one_while_octets_are_on_their_way_are_no_keep_alives() {
    let told = after_handshake(
        "
        1000us S > C: . 1(1000) ack 1
        1100us S > C: . 1001(1000) ack 1
        2000us C > S: . 1(0) ack 2001
        2001us C > S: P. 1(10) ack 2001
        2002us C > S: . 10(0) ack 1001
        ",
    );
    assert_eq!(told[4], "#8 ack of #4 Overtaken");
}

#[test]
fn a_probes_octet_goes_again_because_the_window_opened() {
    let told = after_handshake(
        "
        1000us C > S: P. 1(1000) ack 1
        1100us S > C: . 1(0) ack 1001 win 0
        300000us C > S: P. 1001(1) ack 1
        300100us S > C: . 1(0) ack 1001 win 0
        900000us S > C: . 1(0) ack 1001 win 5000
        900060us C > S: P. 1001(1) ack 1
        ",
    );
    assert_eq!(told[2], "#6 zero_window_probe of #5 NoRoom");
    assert_eq!(told[4], "#8 window_update RoomMade");
    assert_eq!(told[5], "#9 recovery of #8 WindowOpened");
}

// ---- what the kernel does by itself --------------------------------------------------------------------------

#[test]
fn syns_that_cross_are_answered_not_sent_again() {
    check(
        "
        0us C > S: S 0(0)
        10us S > C: S 0(0)
        20us C > S: S. 0(0) ack 1
        30us S > C: S. 0(0) ack 1
        40us C > S: . 1(0) ack 1 win 900 = window_update
        50us S > C: . 1(0) ack 1 win 900 = window_update
        1000050us S > C: S. 0(0) ack 1
        ",
        "
        0 #1 SYN kernel unknown inferred
        1 client CLOSED>SYN-SENT of 0
        2 #2 SYN kernel unknown inferred
        3 server CLOSED>SYN-SENT of 2
        4 client SYN-SENT>SYN-RECEIVED of 2
        5 #3 SYN,ACK kernel handshake of 2
        6 #4 SYN,ACK kernel handshake of 0
        7 server SYN-SENT>SYN-RECEIVED of 6
        8 server SYN-RECEIVED>ESTABLISHED of 6
        9 client SYN-RECEIVED>ESTABLISHED of 6
        10 #5 ACK kernel handshake of 6
        11 #6 ACK kernel handshake of 5
        12 #7 SYN,ACK kernel retransmission_timeout of 6 inferred
        ",
    );
}

#[test]
fn an_acknowledgement_from_far_away_is_not_delayed() {
    check(
        "
        0us C > S: S 0(0)
        80000us S > C: S. 0(0) ack 1
        80001us C > S: . 1(0) ack 1
        80010us C > S: P. 1(5) ack 1
        160020us S > C: . 1(0) ack 6
        160030us C > S: P. 6(5) ack 1
        280040us S > C: . 1(0) ack 11
        ",
        "
        0 #1 SYN kernel unknown inferred
        1 client CLOSED>SYN-SENT of 0
        2 #2 SYN,ACK kernel handshake of 0
        3 server LISTEN>SYN-RECEIVED of 0
        4 client SYN-SENT>ESTABLISHED of 2
        5 #3 ACK kernel handshake of 2
        6 server SYN-RECEIVED>ESTABLISHED of 5
        7 #4 PSH,ACK kernel unknown inferred
        8 #5 ACK kernel ack of 7
        9 #6 PSH,ACK kernel unknown inferred
        10 #7 ACK kernel delayed_ack of 9 inferred
        ",
    );
}

#[test]
fn the_tail_is_probed_once_and_then_the_timeout_doubles() {
    opened(
        "
        40us..45us C: send(10) = 10
        41us C > S: P. 1(10) ack 1
        247041us C > S: P. 1(10) ack 1 = retransmission
        495041us C > S: P. 1(10) ack 1 = retransmission
        1000041us C > S: P. 1(10) ack 1 = retransmission
        ",
        "
        14 client send [0,10) sent [4, 5, 6, 7]
        15 #4 PSH,ACK by [14]
        16 #5 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
        17 #6 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
        18 #7 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
        ",
    );
}

#[test]
fn keep_alives_without_an_answer_end_in_a_reset_of_the_kernel() {
    opened(
        "
        1000000us C > S: . 0(0) ack 1 = keep_alive
        1000001us S > C: . 1(0) ack 1 = keep_alive_ack
        2000000us C > S: . 0(0) ack 1 = keep_alive
        3000000us C > S: . 0(0) ack 1 = keep_alive
        4000000us C > S: R. 1(0) ack 1
        ",
        "
        14 #4 ACK kernel keep_alive of 12 inferred
        15 #5 ACK kernel ack of 14
        16 #6 ACK kernel keep_alive of 14 inferred
        17 #7 ACK kernel keep_alive of 16 inferred
        18 #8 RST,ACK kernel keep_alive of 17 inferred
        19 client ESTABLISHED>CLOSED of 18
        20 server ESTABLISHED>CLOSED of 18
        ",
    );
}

// ---- witnesses that disagree ---------------------------------------------------------------------------------

#[test]
fn a_word_of_the_kernel_that_fits_no_state_is_shown() {
    opened(
        "
        40us..45us C: send(10) = 10 in CLOSING
        42us C > S: P. 1(10) ack 1
        ",
        "
        14 client send [0,10) sent [4]
        15 #4 PSH,ACK by [14]
        ",
    );
    let story = story(&format!("{SET_UP} 40us..45us C: send(10) = 10 in CLOSING\n 42us C > S: P. 1(10) ack 1"));
    assert_eq!(story.connections[0].findings[0].finding, Finding::StateDisagreement);
    assert_eq!(story.connections[0].findings[0].frame, Some(4));
}

// ---- tunnels -------------------------------------------------------------------------------------------------

#[test]
fn another_tunnel_is_told_once_and_before_other_findings() {
    let one = "0us C > S: S 0(0) vni 7\n 1us S > C: S. 0(0) ack 1 vni 9\n 2us C > S: . 1(0) ack 1 vni 7\n";
    assert_eq!(story(one).connections[0].findings, [], "each direction may have an identifier of its own");
    let mixed = story(&format!(
        "{one} 3us C > S: . 1(0) ack 1 vni 8\n 4us S > C: . 1(0) ack 1\n 5us C > S: . 1(0) ack 1 vni 8"
    ));
    let [finding, others @ ..] = &mixed.connections[0].findings[..] else { panic!("no finding") };
    assert!(!others.is_empty() && others.iter().all(|other| other.finding == Finding::DuplicateAck), "{others:?}");
    assert_eq!((finding.finding, finding.frame, finding.side), (Finding::OtherTunnel, Some(4), Side::Client));
    let vxlan = |id| Tunnel { kind: TunnelKind::Vxlan, id: Some(id), ends: None };
    assert_eq!(finding.detail, Detail::Tunnels(Box::new([[vxlan(8)].into(), [vxlan(7)].into()])));
    let marked = mixed.events.iter().filter_map(|event| match &event.kind {
        EventKind::Segment(segment) if segment.findings.contains(Finding::OtherTunnel) => Some(segment),
        _ => None,
    });
    let marked: Vec<_> = marked.map(|segment| (segment.segment.frame, segment.tunnel[0].id)).collect();
    assert_eq!(marked, [(4, Some(8))]);
}

#[test]
fn from_segments_alone_what_a_number_joins_is_plain_and_the_rest_inferred() {
    check(
        "
        7us C > S: S 0(0)
        8us S > C: S. 0(0) ack 1
        9us C > S: . 1(0) ack 1
        10us C > S: P. 1(5) ack 1
        50011us S > C: . 1(0) ack 6
        ",
        "
        0 #1 SYN kernel unknown inferred
        1 client CLOSED>SYN-SENT of 0
        2 #2 SYN,ACK kernel handshake of 0
        3 server LISTEN>SYN-RECEIVED of 0
        4 client SYN-SENT>ESTABLISHED of 2
        5 #3 ACK kernel handshake of 2
        6 server SYN-RECEIVED>ESTABLISHED of 5
        7 #4 PSH,ACK kernel unknown inferred
        8 #5 ACK kernel delayed_ack of 7 inferred
        ",
    );
}

// ---- bounds --------------------------------------------------------------------------------------------------

/// RFC 9293 figure 9, told of both connections.
#[test]
fn a_challenge_ack_of_an_older_connection_is_told_and_the_reset_that_answers_it_ends_that_one() {
    let told = lines(&story(
        "
        0us C > S: S 100(0)
        10us S > C: S. 300(0) ack 101
        20us C > S: . 101(0) ack 301
        60000ms C > S: S 9000(0)
        60000.1ms S > C: . 301(0) ack 101
        60000.2ms C > S: R 101(0)
        61000ms C > S: S 9000(0)
        61000.1ms S > C: S. 7000(0) ack 9001
        ",
    ));
    let of = |frame: &str| told.iter().position(|line| line.contains(frame)).unwrap_or_else(|| panic!("{told:#?}"));
    assert!(told[of("#5 ACK")].contains("kernel challenge_ack"), "{told:#?}");
    let reset = of("#6 RST");
    let moves: Vec<_> = told.iter().filter(|line| line.contains("ESTABLISHED>CLOSED")).collect();
    assert_eq!(moves.len(), 2, "{told:#?}");
    assert!(moves.iter().all(|line| line.contains(&format!("of {reset}"))), "{told:#?}");
    assert!(told.last().is_some_and(|line| line.contains("SYN-SENT>ESTABLISHED")), "{told:#?}");
}

#[test]
fn octets_of_many_calls_that_are_sent_again_and_again_are_joined_in_proportion() {
    let (calls, again) = (300, 100);
    let mut script = SET_UP.to_owned();
    for number in 0..calls {
        script += &format!("{}us..{}us C: send(1) = 1\n", 100 + 2 * number, 101 + 2 * number);
    }
    for number in 0..again {
        script += &format!("{}us C > S: P. 1({calls}) ack 1\n", 1000 + number * 300_000);
    }
    for number in 0..calls {
        script += &format!("{}us..{}us S: recv() = 1\n", 40_000_000 + 2 * number, 40_000_001 + 2 * number);
    }
    let story = story(&script);
    let joins = |of: fn(&EventKind) -> usize| story.events.iter().map(|event| of(&event.kind)).sum::<usize>();
    let written = joins(|kind| if let EventKind::Segment(segment) = kind { segment.cause.calls.len() } else { 0 });
    let sent = joins(|kind| if let EventKind::Call(call) = kind { call.sent.len() } else { 0 });
    let brought = joins(|kind| if let EventKind::Call(call) = kind { call.brought_by.len() } else { 0 });
    assert_eq!(sent, written, "each join has two ends");
    // Six calls and three segments set the connection up; each segment and receive has one in any case.
    let most = FREE + FOR_EACH * (9 + again + 2 * calls) + again + calls;
    assert!((FREE..=most).contains(&(brought + written)), "{brought} {written} {most}");
    assert!(story.joins_omitted > 0 && story.joins_omitted as usize <= 2 * calls * again, "{}", story.joins_omitted);
    let has_cause = |kind: &EventKind| match kind {
        EventKind::Segment(segment) if segment.stream.is_some() => !segment.cause.calls.is_empty(),
        EventKind::Call(call) if call.call.effect() == Effect::Receive => !call.brought_by.is_empty(),
        _ => true,
    };
    assert!(story.events.iter().all(|event| has_cause(&event.kind)), "each names one of the others");
}

#[test]
fn witnesses_that_disagree_without_end_are_counted() {
    let mut script = SET_UP.to_owned();
    let words = MOST_DISAGREEMENTS + 7;
    for number in 0..words {
        let at = 1_000_000 + number * 10;
        script += &format!("{at}us..{}us C: recv() = -EAGAIN in CLOSING\n", at + 5);
    }
    let connection = &story(&script).connections[0];
    assert_eq!((connection.findings.len(), connection.findings_omitted), (MOST_DISAGREEMENTS, 7));
}

// ---- what the kernel says -----------------------------------------------------------------------------------------

/// So many microseconds after the beginning of a script.
pub(super) fn moment(micros: i64) -> Timestamp {
    Timestamp::from_parts(1_000, 0).after(Span::from_micros(micros))
}

/// The story of a script with what the kernel did: `(microseconds, end, act)`.
pub(super) fn with_kernel(script: &str, acts: &[(i64, Side, KernelAct)]) -> Story {
    let recording = recording(script);
    let (client, server) = (recording.traces[0].client, recording.traces[0].server);
    let event = |(micros, side, what): &(i64, Side, KernelAct)| {
        let (local, peer) = if *side == Side::Client { (client, server) } else { (server, client) };
        let at = moment(*micros);
        Witnessed::Kernel(KernelEvent { at, clock: Clock::WALL, local, peer, socket: None, what: what.clone() })
    };
    let mut sorter = Sorter::default();
    words(recording.clone()).chain(acts.iter().map(event)).for_each(|word| sorter.put(word));
    pushed(&recording, &mut sorter)
}

pub(super) fn segment_in(story: &Story, frame: u64) -> &SegmentEvent {
    let found = story.events.iter().find_map(|event| match &event.kind {
        EventKind::Segment(segment) if segment.segment.frame == frame => Some(segment),
        _ => None,
    });
    found.expect("a segment")
}

#[test]
fn what_the_kernel_says_of_a_retransmission_and_a_reset_is_witnessed() {
    let script = format!(
        "{SET_UP}
        40us..45us C: send(10) = 10
        41us C > S: P. 1(10) ack 1
        250041us C > S: P. 1(10) ack 1 = retransmission
        250050us S > C: R. 1(0) ack 1
        "
    );
    let concluded = story(&script);
    assert_eq!(
        segment_in(&concluded, 5).cause.evidence,
        Evidence::Inferred(Join::Kernel(Mechanism::RetransmissionTimeout))
    );
    let reset = KernelAct::ResetSent { reason: Some(ResetReason::TcpAbortOnData) };
    let story = with_kernel(
        &script,
        &[
            (250_030, Side::Client, KernelAct::Congestion { to: Congestion::Loss }),
            // The clocks differ: one is told before the segment was captured, the other after.
            (250_035, Side::Client, KernelAct::Retransmit { state: State::Established }),
            (250_060, Side::Server, reset),
        ],
    );
    let again = &segment_in(&story, 5).cause;
    assert_eq!(
        (again.kernel, again.evidence),
        (Some(Mechanism::RetransmissionTimeout), Evidence::Witnessed(Witness::Kernel))
    );
    let reset = &segment_in(&story, 6).cause;
    assert_eq!((reset.why, reset.evidence), (Some(Why::SocketClosed), Evidence::Witnessed(Witness::Kernel)));
    assert_eq!(segment_in(&story, 4).cause.evidence, Evidence::Joined(Join::Octets), "the first transmission is none");
}

/// By the times alone it is a timeout.
#[test]
fn the_congestion_state_says_what_is_sent_again_for_and_without_it_that_is_concluded() {
    let script = format!(
        "{SET_UP}
        40us..45us C: send(10) = 10
        41us C > S: P. 1(10) ack 1
        250041us C > S: P. 1(10) ack 1
        "
    );
    let again = (250_045, Side::Client, KernelAct::Retransmit { state: State::Established });
    let cause = |acts: &[(i64, Side, KernelAct)]| {
        let Cause { kernel, evidence, .. } = segment_in(&with_kernel(&script, acts), 5).cause;
        (kernel, evidence)
    };
    let concluded = Mechanism::RetransmissionTimeout;
    assert_eq!(cause(std::slice::from_ref(&again)), (Some(concluded), Evidence::Inferred(Join::Kernel(concluded))));
    for (to, mechanism) in [
        (Congestion::Open, Mechanism::TailLossProbe),
        (Congestion::Disorder, Mechanism::TailLossProbe),
        (Congestion::Cwr, Mechanism::TailLossProbe),
        (Congestion::Recovery, Mechanism::FastRetransmit),
        (Congestion::Loss, Mechanism::RetransmissionTimeout),
    ] {
        let state = (250_040, Side::Client, KernelAct::Congestion { to });
        let witnessed = (Some(mechanism), Evidence::Witnessed(Witness::Kernel));
        assert_eq!(cause(&[state.clone(), again.clone()]), witnessed, "{to:?}");
        // That of the other end says nothing.
        let others = (state.0, Side::Server, state.2);
        assert_eq!(cause(&[others, again.clone()]).1, Evidence::Inferred(Join::Kernel(concluded)), "{to:?}");
    }
}

/// A report that arrives a second after it left, as on a busy machine, is answered at once: no timer has run out.
#[test]
fn the_causes_of_an_end_are_those_that_its_own_capture_shows() {
    let opened = "
        0us C > S: S 0(0) mss 1460 sackok
        100us S > C: S. 0(0) ack 1 mss 1460 sackok
        200us C > S: . 1(0) ack 1
        300us C > S: . 1(1000) ack 1
        310us C > S: . 1001(1000) ack 1
        320us C > S: . 2001(1000) ack 1
        330us C > S: P. 3001(1000) ack 1
        ";
    let sent = format!(
        "{opened}
        420us S > C: . 1(0) ack 1 sack 1001-2001
        430us S > C: . 1(0) ack 1 sack 1001-3001
        440us S > C: . 1(0) ack 1 sack 1001-4001
        1000050us C > S: . 1(1000) ack 1
        "
    );
    let came = format!(
        "{opened}
        1000000us S > C: . 1(0) ack 1 sack 1001-2001
        1000010us S > C: . 1(0) ack 1 sack 1001-3001
        1000020us S > C: . 1(0) ack 1 sack 1001-4001
        1000050us C > S: . 1(1000) ack 1
        "
    );
    let cause = |story: &Story| (segment_in(story, 11).cause.kernel, segment_in(story, 11).cause.of);
    let mut whole = story(&sent);
    let there = story(&came);
    let first = segment_event(&whole, 4);
    assert_eq!(cause(&whole), (Some(Mechanism::RetransmissionTimeout), Some(first)));
    let frames = (1..=11).map(|frame| (frame, frame)).collect();
    whole.take_end(Side::Server, &there, &frames);
    assert_eq!(cause(&whole).0, Some(Mechanism::RetransmissionTimeout), "it is not the server's");
    whole.take_end(Side::Client, &there, &frames);
    let first = segment_event(&whole, 4);
    assert_eq!(cause(&whole), (Some(Mechanism::FastRetransmit), Some(first)));
}

#[test]
fn no_timer_is_shorter_than_the_least_that_is_known_of_the_hosts() {
    let script = "
        0us C > S: S 0(0) mss 1460 sackok
        100us S > C: S. 0(0) ack 1 mss 1460 sackok
        200us C > S: . 1(0) ack 1
        300us C > S: . 1(1000) ack 1
        310us C > S: P. 1001(1000) ack 1
        900000us S > C: . 1(0) ack 1 sack 1001-2001
        920000us C > S: . 1(1000) ack 1
        ";
    let cause = |rto_min| {
        let recording = recording(script);
        let timeline = Timeline::of(recording.traces, Vec::new(), &[], &[], rto_min);
        let story = timeline.finish(recording.connections, Default::default(), Default::default());
        segment_in(&story, 7).cause.kernel
    };
    assert_eq!(cause(None), Some(Mechanism::RetransmissionTimeout));
    assert_eq!(cause(Some(Span::from_millis(5000))), Some(Mechanism::FastRetransmit));
    assert_eq!(cause(Some(Span(i64::MAX))), Some(Mechanism::FastRetransmit));
}

#[test]
fn a_keep_alive_is_one_also_where_the_peers_direction_was_not_captured() {
    let story = story(
        "
        0us C > S: S 0(0)
        100us C > S: . 1(0) ack 1
        200us C > S: P. 1(10) ack 1
        10s C > S: . 10(0) ack 1 = keep_alive
        20s C > S: . 10(1) ack 1 = keep_alive
        ",
    );
    for frame in [4, 5] {
        let cause = &segment_in(&story, frame).cause;
        let expected = Evidence::Inferred(Join::Kernel(Mechanism::KeepAlive));
        assert_eq!((cause.kernel, cause.evidence), (Some(Mechanism::KeepAlive), expected), "{frame}");
    }
}

#[test]
fn a_reset_whose_number_nothing_calls_for_answers_no_segment() {
    let of = |number: u32| {
        let script = format!(
            "
            0us C > S: S 0(0)
            100us S > C: S. 0(0) ack 1
            200us C > S: . 1(0) ack 1
            300us S > C: P. 1(10) ack 1
            500ms C > S: R {number}(0)
            "
        );
        let cause = segment_in(&story(&script), 5).cause.clone();
        (cause.of.is_some(), cause.is_inferred())
    };
    assert_eq!(of(1), (true, false));
    assert_eq!(of(30), (false, true));
}

fn segment_event(story: &Story, frame: u64) -> EventId {
    let is_it = |event: &&Event| matches!(&event.kind, EventKind::Segment(seen) if seen.segment.frame == frame);
    story.events.iter().find(is_it).expect("a segment").id
}

#[test]
fn what_the_kernel_says_of_a_syn_ack_that_is_sent_again_is_said_of_no_other_segment() {
    let script = "
        7us C > S: S 0(0)
        8us S > C: S. 0(0) ack 1
        1000000us C > S: S 0(0)
        1000010us S > C: S. 0(0) ack 1
        1000020us C > S: . 1(0) ack 1
        1000030us C > S: F. 1(0) ack 1
        1000040us S > C: F. 1(0) ack 2
        1000050us C > S: . 2(0) ack 2
        ";
    let again = |state| KernelAct::Retransmit { state };
    let words = [
        (1_000_002, Side::Client, again(State::SynSent)),
        (1_000_012, Side::Server, again(State::SynReceived)),
        // A second one, which was not captured.
        (1_000_014, Side::Server, again(State::SynReceived)),
    ];
    let story = with_kernel(script, &words);
    for frame in [3, 4] {
        assert_eq!(segment_in(&story, frame).cause.evidence, Evidence::Witnessed(Witness::Kernel), "{frame}");
    }
    assert_eq!(segment_in(&story, 4).cause.why, Some(Why::SynRepeated));
    for frame in [1, 2, 5, 6, 7, 8] {
        let cause = &segment_in(&story, frame).cause;
        assert_ne!(cause.evidence, Evidence::Witnessed(Witness::Kernel), "{frame}: {cause:?}");
        assert_ne!(cause.kernel, Some(Mechanism::Recovery), "{frame}");
    }
}

#[test]
fn a_state_that_no_segment_shows_is_a_transition_by_the_kernel_and_one_that_a_segment_shows_is_confirmed() {
    let script = format!("{SET_UP} 40us C > S: . 1(0) ack 1\n 90us C > S: P. 1(5) ack 1");
    let state = |from, to| KernelAct::State { from, to };
    let story = with_kernel(
        &script,
        &[
            (21, Side::Client, state(State::SynSent, State::Established)),
            (300_000, Side::Server, state(State::Established, State::CloseWait)),
        ],
    );
    let moves: Vec<_> = lines(&story).into_iter().filter(|line| line.contains('>')).collect();
    assert_eq!(moves.iter().filter(|line| line.contains("Kernel")).count(), 1, "{moves:#?}");
    assert!(
        moves.iter().any(|line| line.contains("client SYN-SENT>ESTABLISHED") && line.contains("Kernel")),
        "{moves:#?}"
    );
    let last = story.events.last().expect("events");
    let EventKind::Transition(last) = &last.kind else { panic!("{last:?}") };
    assert_eq!((last.from, last.to, last.rule), (Some(State::Established), State::CloseWait, Rule::Witnessed));
    assert_eq!(last.evidence, [Witness::Kernel]);
}

#[test]
fn a_socket_leaves_closed_before_its_first_segment() {
    let script = "7us C > S: S 0(0)\n 8us S > C: S. 0(0) ack 1\n 9us C > S: . 1(0) ack 1";
    let state = |from, to| KernelAct::State { from, to };
    let story = with_kernel(
        script,
        &[
            (2, Side::Client, state(State::Closed, State::SynSent)),
            (9, Side::Client, state(State::SynSent, State::Established)),
            (11, Side::Server, state(State::Listen, State::SynReceived)),
            (12, Side::Server, state(State::SynReceived, State::Established)),
        ],
    );
    let moves: Vec<_> = story
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Transition(moved) => Some((moved.to, &moved.evidence[..])),
            _ => None,
        })
        .collect();
    let both = &[Witness::Segments, Witness::Kernel][..];
    assert_eq!(
        moves,
        [State::SynSent, State::SynReceived, State::Established, State::Established].map(|state| (state, both))
    );
    let told = story.events.iter().filter(|event| matches!(event.kind, EventKind::Kernel(_)));
    assert_eq!(told.filter(|event| event.connection == Some(story.connections[0].id)).count(), 4);
}

#[test]
fn the_kernel_enters_a_state_before_the_fin_leaves_that_says_so_and_syn_received_long_after_the_syn_ack() {
    let script = "7us C > S: S 0(0)\n 8us S > C: S. 0(0) ack 1\n 300000us C > S: . 1(0) ack 1\n \
                  600000us C > S: F. 1(0) ack 1\n 600009us S > C: . 1(0) ack 2";
    let state = |from, to| KernelAct::State { from, to };
    let story = with_kernel(
        script,
        &[
            (300_001, Side::Server, state(State::Listen, State::SynReceived)),
            (300_002, Side::Server, state(State::SynReceived, State::Established)),
            (580_000, Side::Client, state(State::Established, State::FinWait1)),
            (600_030, Side::Client, state(State::FinWait1, State::FinWait2)),
        ],
    );
    let lines = lines(&story);
    let made = |line: &&String| line.contains('>') && line.contains("[Kernel]");
    assert_eq!(lines.iter().find(made), None);
    let confirmed = lines.iter().filter(|line| line.contains("[Segments, Kernel]")).count();
    assert_eq!(confirmed, 4, "{lines:#?}");
    assert!(story.connections[0].findings.iter().all(|found| found.finding != Finding::StateDisagreement));
}

#[test]
fn a_socket_that_no_process_holds_is_kept_in_fin_wait_2_by_a_smaller_one() {
    let script =
        format!("{SET_UP} 40us C > S: F. 1(0) ack 1\n 50us S > C: . 1(0) ack 2\n 90000us S > C: F. 1(0) ack 2");
    let state = |from, to| KernelAct::State { from, to };
    let acts = [
        (38, Side::Client, state(State::Established, State::FinWait1)),
        (51, Side::Client, state(State::FinWait1, State::FinWait2)),
        (52, Side::Client, state(State::FinWait2, State::Closed)),
    ];
    let story = with_kernel(&script, &acts);
    let evidence_of = |story: &Story, state| {
        story.events.iter().find_map(|event| match &event.kind {
            EventKind::Transition(moved) if moved.to == state => Some(moved.evidence.clone()),
            _ => None,
        })
    };
    // Of what became of that one, the trace says nothing.
    assert_eq!(evidence_of(&story, State::TimeWait), Some(vec![Witness::Segments]));
    assert_eq!(evidence_of(&story, State::FinWait2), Some(vec![Witness::Segments, Witness::Kernel]));
    // Where a process holds it, the FIN ends it.
    let held = [acts[0].clone(), acts[1].clone(), (90_004, Side::Client, state(State::FinWait2, State::Closed))];
    let story = with_kernel(&script, &held);
    assert_eq!(evidence_of(&story, State::TimeWait), Some(vec![Witness::Segments, Witness::Kernel]));
    assert!(story.connections[0].findings.iter().all(|found| found.finding != Finding::StateDisagreement));
}

#[test]
fn a_state_that_the_kernel_left_and_no_segment_shows_is_a_disagreement() {
    let script = format!("{SET_UP} 40us C > S: . 1(0) ack 1");
    let act = KernelAct::State { from: State::FinWait2, to: State::Closed };
    let story = with_kernel(&script, &[(500_000, Side::Client, act)]);
    let found = &story.connections[0].findings;
    let against = found.iter().filter(|found| found.finding == Finding::StateDisagreement).count();
    assert_eq!(against, 1, "{found:?}");
}

#[test]
fn the_kernels_word_alone_makes_no_more_transitions_than_a_socket_goes_through() {
    let script = format!("{SET_UP} 40us C > S: . 1(0) ack 1");
    let acts: Vec<_> = (0..3000)
        .map(|n| {
            let [from, to] =
                if n % 2 == 0 { [State::CloseWait, State::Closing] } else { [State::Closing, State::CloseWait] };
            (500_000 + 300_000 * n, Side::Client, KernelAct::State { from, to })
        })
        .chain((0..3000).map(|n| (500_001 + n, Side::Server, KernelAct::ResetSent { reason: None })))
        .collect();
    let recording = recording(&script);
    let (client, server) = (recording.traces[0].client, recording.traces[0].server);
    let events: Vec<_> = acts
        .into_iter()
        .map(|(micros, side, what)| {
            let (local, peer) = if side == Side::Client { (client, server) } else { (server, client) };
            KernelEvent { at: moment(micros), clock: Clock::WALL, local, peer, socket: None, what }
        })
        .collect();
    let timeline = Timeline::of(recording.traces, Vec::new(), &[], &events, None);
    let story = timeline.finish(recording.connections, Default::default(), Default::default());
    let made = story.events.iter().filter(|event| match &event.kind {
        EventKind::Transition(moved) => moved.evidence == [Witness::Kernel],
        _ => false,
    });
    assert_eq!(made.count(), 32);
}

#[test]
fn a_reset_for_a_reason_that_says_nothing_keeps_what_was_concluded() {
    let script = format!(
        "{SET_UP}
        30us..31us C: setsockopt(SO_LINGER, 0) = 0
        40us..60us C: close() = 0
        50us C > S: R. 1(0) ack 1
        "
    );
    let reset = |reason| KernelAct::ResetSent { reason: Some(reason) };
    let of = |reason| segment_in(&with_kernel(&script, &[(55, Side::Client, reset(reason))]), 4).cause.clone();
    let concluded = segment_in(&story(&script), 4).cause.clone();
    let by_state = of(ResetReason::TcpState);
    assert_eq!((by_state.why, by_state.evidence), (concluded.why, concluded.evidence));
    let by_linger = of(ResetReason::TcpAbortOnLinger);
    assert_eq!((by_linger.why, by_linger.evidence), (Some(Why::LingerZero), Evidence::Witnessed(Witness::Kernel)));
}

#[test]
fn a_kernel_that_has_no_socket_in_time_wait_ends_it() {
    let closed = |asked: &str| {
        format!(
            "{SET_UP}
            50us C > S: P. 1(10) ack 1
            87us C > S: F. 11(0) ack 1
            97us S > C: F. 1(0) ack 12
            98us C > S: . 12(0) ack 2
            {asked} kernel: C none
            "
        )
    };
    let told = |asked: &str| {
        let story = story(&closed(asked));
        let ended = story
            .events
            .iter()
            .filter(|event| matches!(&event.kind, EventKind::Transition(step) if step.rule == Rule::TimeWaitNotKept));
        let found = story.connections[0].findings.iter().any(|found| found.finding == Finding::StateDisagreement);
        (ended.count(), story.connections[0].client_state, story.connections[0].verdict, found)
    };
    let left = |left| Verdict::Closed { first: Side::Client, left };
    assert_eq!(told("200ms"), (1, Some(State::Closed), left(Left::Nothing), false));
    // It may be over by then, and before the last FIN came it had not begun.
    assert_eq!(told("70s").0, 0);
    assert_eq!(told("90us").0, 0);
}

// ---- copies -------------------------------------------------------------------------------------------------------

#[test]
fn a_copy_is_the_same_frame_again_and_has_no_cause_of_its_own() {
    opened(
        "
        40us..45us C: send(10) = 10
        41us C > S: P. 1(10) ack 1 id 70
        42us C > S: P. 1(10) ack 1 id 70 = retransmission captured_twice
        43us S > C: . 1(0) ack 11
        250041us C > S: P. 1(10) ack 1 = spurious_retransmission
        ",
        "
        14 client send [0,10) sent [4, 7]
        15 #4 PSH,ACK by [14]
        16 #5 PSH,ACK of 15
        17 #6 ACK kernel ack of 15
        18 #7 PSH,ACK by [14] kernel retransmission_timeout of 15 inferred
        ",
    );
}

#[test]
fn a_fin_that_was_taken_and_comes_again_had_not_been_lost() {
    let script = |seen: &str| {
        format!(
            "{SET_UP}
            40us..45us C: close() = 0
            42us C > S: F. 1(0) ack 1
            43us..50us S: recv() = 0{seen}
            40000us C > S: F. 1(0) ack 1
            40010us S > C: . 1(0) ack 2
            "
        )
    };
    let taken = |script: &str| {
        let story = story(script);
        let steps = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Transition(step) if step.to == State::CloseWait => Some((event.at, step.disagreement.is_some())),
            _ => None,
        });
        steps.collect::<Vec<_>>()
    };
    // The server's kernel had it when recv returned: the second one is a tail loss probe.
    assert_eq!(taken(&script(" in CLOSE-WAIT")), [(Some(moment(42)), false)]);
    // Where nobody saw that, the numbers alone say that it had not arrived.
    assert_eq!(taken(&script("")), [(Some(moment(40_000)), false)]);
}

#[test]
fn a_fin_that_a_witness_saw_taken_came_before_the_segment_that_answers_it() {
    let script = |seen: &str| {
        format!(
            "{SET_UP}
            40us..45us C: send(10) = 10
            41us C > S: P. 1(10) ack 1
            46us..49us C: shutdown(SHUT_WR) = 0
            47us C > S: F. 11(0) ack 1
            48us S > C: . 1(0) ack 11
            55us..60us S: recv() = 10
            61us..65us S: recv() = 0{seen}
            300us..305us S: send(5) = 5
            301us S > C: P. 1(5) ack 12
            "
        )
    };
    let taken = |script: &str, acts: &[(i64, Side, KernelAct)]| {
        let story = with_kernel(script, acts);
        assert_eq!(story.connections[0].findings, []);
        let steps = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Transition(step) if step.to == State::CloseWait => Some((event.at, step.evidence.clone())),
            _ => None,
        });
        steps.collect::<Vec<_>>()
    };
    // The ACK was on its way when the FIN came; only the next segment covers it.
    assert_eq!(taken(&script(""), &[]), [(Some(moment(301)), vec![Witness::Segments])]);
    let [(Some(at), evidence)] = &taken(&script(" in CLOSE-WAIT"), &[])[..] else { panic!("one step") };
    assert!(moment(61) <= *at && *at <= moment(66), "{at}");
    assert_eq!(*evidence, [Witness::Segments, Witness::TcpInfo]);
    let act = KernelAct::State { from: State::Established, to: State::CloseWait };
    let all = [Witness::Segments, Witness::TcpInfo, Witness::Kernel];
    let told = taken(&script(" in CLOSE-WAIT"), &[(50, Side::Server, act)]);
    assert_eq!(told, [(Some(moment(50)), all.to_vec())]);
}

#[test]
fn a_handshake_that_a_witness_saw_complete_is_not_taken_back() {
    let script = |seen: &str| {
        format!(
            "
            0us..4us C: connect(S) = 0
            1us C > S: S 0(0)
            2us S > C: S. 0(0) ack 1
            3us C > S: . 1(0) ack 1
            0us..6us S: accept() = 4{seen}
            20us..25us C: send(5) = 5
            22us S: close() = 0
            24us C > S: P. 1(5) ack 1
            25us S > C: R 1(0)
            26us S > C: R. 1(0) ack 1
            "
        )
    };
    let went = |script: &str| {
        let story = story(script);
        let steps = story.events.iter().filter_map(|event| match &event.kind {
            EventKind::Transition(step) if step.side == Side::Server => Some((step.from, step.to)),
            _ => None,
        });
        steps.collect::<Vec<_>>()
    };
    let [begins, .., ends] = &went(&script(" in ESTABLISHED"))[..] else { panic!("some steps") };
    assert_eq!((begins.1, *ends), (State::SynReceived, (Some(State::Established), State::Closed)));
}

// ---- the link -----------------------------------------------------------------------------------------------------

#[test]
fn what_the_link_did_is_joined_to_its_segment_and_says_its_fate() {
    check(
        "
        link: drop 1st data C>S
        link: double SYN-ACK S>C
        link: damage 1st FIN C>S
        link: delay 2ms ACK S>C
        7us C > S: S 0(0)
        8us S > C: S. 0(0) ack 1
        9us C > S: . 1(0) ack 1
        10us C > S: P. 1(5) ack 1
        300000us C > S: P. 1(5) ack 1
        300010us S > C: . 1(0) ack 6
        300020us C > S: F. 6(0) ack 1
        600000us C > S: F. 6(0) ack 1
        ",
        "
        0 #1 SYN kernel unknown inferred
        1 client CLOSED>SYN-SENT of 0
        2 #2 SYN,ACK kernel handshake of 0 duplicated
        3 server LISTEN>SYN-RECEIVED of 0
        4 client SYN-SENT>ESTABLISHED of 2
        5 server link duplicated of 2
        6 #3 ACK kernel handshake of 2
        7 server SYN-RECEIVED>ESTABLISHED of 6
        8 #4 PSH,ACK kernel unknown lost inferred
        9 client link dropped of 8
        10 #5 PSH,ACK kernel retransmission_timeout of 8 inferred
        11 #6 ACK kernel ack of 10
        12 server link delayed of 11
        13 #7 FIN,ACK kernel unknown damaged inferred
        14 client ESTABLISHED>FIN-WAIT-1 of 13
        15 client link damaged of 13
        16 #8 FIN,ACK kernel retransmission_timeout of 13 inferred
        17 server ESTABLISHED>CLOSE-WAIT of 16
        ",
    );
}

#[test]
fn what_the_link_made_up_was_sent_by_neither_end() {
    let recording =
        recording("7us C > S: S 0(0)\n 8us S > C: S. 0(0) ack 1\n 9us C > S: . 1(0) ack 1\n 40us S > C: R. 1(0) ack 1");
    let injected = recording.traces[0].segments[3].observed.segment;
    for micros in [39, 41] {
        let act = LinkEvent { at: moment(micros), segment: injected, act: LinkAct::Injected };
        let told = Recording { links: vec![act], ..recording.clone() }.told();
        let reset = segment_in(&told, 4);
        let Some(link) = reset.cause.link else { panic!("no link: {:?}", reset.cause) };
        assert_eq!(reset.cause.evidence, Evidence::Witnessed(Witness::Link));
        assert_eq!((reset.cause.kernel, reset.cause.of), (None, None));
        let EventKind::Link(act) = &told[link].kind else { panic!("no act of the link") };
        assert_eq!((act.act, act.from), (LinkAct::Injected, Side::Server));
        assert_eq!(told[link].connection, Some(told.connections[0].id));
        let connection = &told.connections[0];
        let problem = connection.problem.as_deref().expect("what the link did");
        assert_eq!((problem.kind, problem.side), (ProblemKind::Injected, Side::Server));
        assert_eq!((problem.segments, problem.octets), (Some(1), Some(0)));
        assert_eq!((connection.closed_by, connection.verdict.code()), (None, "reset_forged"));
    }
}

/// A RST without ACK answers a segment that finds no socket, whatever was called: each of them another one.
#[test]
fn a_closed_socket_answers_each_segment_with_a_reset_of_the_kernel() {
    let told = story(&format!(
        "{SET_UP} 40us..45us C: send(10) = 10
        42us C > S: P. 1(10) ack 1
        60us..65us C: close() = 0
        62us C > S: R. 11(0) ack 1
        70us S > C: . 1(0) ack 11
        71us S > C: P. 1(5) ack 11
        80us C > S: R 11(0)
        81us C > S: R 11(0)"
    ));
    let cause = |frame| {
        let cause = &segment_in(&told, frame).cause;
        (cause.kernel, cause.of.and_then(|of| told.frame_of(of)), cause.why)
    };
    assert_eq!(segment_in(&told, 5).cause.kernel, None, "by close");
    assert_eq!(cause(8), (Some(Mechanism::Reset), Some(6), Some(Why::NoSocket)));
    assert_eq!(cause(9), (Some(Mechanism::Reset), Some(7), Some(Why::NoSocket)));
}

/// Without SACK nothing but their order says which segment beyond a gap a duplicate acknowledgement answers.
#[test]
fn duplicate_acknowledgements_answer_one_segment_after_the_other() {
    let causes = caused(
        "
        0us C > S: S 0(0) mss 1460
        100us S > C: S. 0(0) ack 1 mss 1460
        110us C > S: . 1(0) ack 1
        200us C > S: P. 1(10) ack 1
        201us C > S: P. 11(10) ack 1 lost
        202us C > S: P. 21(10) ack 1
        203us C > S: P. 31(10) ack 1
        310us S > C: . 1(0) ack 11
        311us S > C: . 1(0) ack 11
        312us S > C: . 1(0) ack 11
        ",
    );
    assert_eq!(
        causes[7..],
        ["#8 ack of #4", "#9 out_of_order_ack of #6 GapBefore", "#10 out_of_order_ack of #7 GapBefore"]
    );
}

#[test]
fn acts_of_a_link_without_end_wait_for_few() {
    let recording = recording("7us C > S: S 0(0)\n 40us C > S: S 0(0)");
    let mut segment = recording.traces[0].segments[0].observed.segment;
    segment.src_port = 1;
    let mut timeline = Timeline::default();
    for frame in 0..2000 {
        timeline.take(Witnessed::Link(Box::new(LinkEvent { at: moment(frame), segment, act: LinkAct::Dropped })));
    }
    assert_eq!(timeline.unseen.0.len(), 1024);
    let story = timeline.finish(Vec::new(), Default::default(), Default::default());
    assert_eq!(story.events.len(), 2000, "each is told all the same");
}

/// Captured at the server itself: the FIN came, and was not acknowledged before it came again.
#[test]
fn a_fin_that_was_seen_to_arrive_is_not_taken_back_because_a_later_one_is_acknowledged() {
    let mut recording = recording(
        "
        7us C > S: S 0(0) sackok ts 10:0
        8us S > C: S. 0(0) ack 1 sackok ts 50:10
        9us C > S: . 1(0) ack 1 ts 11:50
        40us C > S: F. 1(0) ack 1 ts 20:50
        60us C > S: F. 1(0) ack 1 ts 30:50
        61us S > C: . 1(0) ack 2 ts 60:30
        ",
    );
    let entered = |told: &Story| {
        let is_it = |event: &&Event| matches!(&event.kind, EventKind::Transition(step) if step.to == State::CloseWait);
        told.events.iter().find(is_it).and_then(|event| event.at)
    };
    // Seen on the way, it is believed to have been lost before the server.
    assert_ne!(entered(&recording.clone().told()), Some(moment(40)));
    for sighting in recording.traces[0].segments.iter_mut().filter(|seen| seen.observed.step.from == Side::Client) {
        sighting.sense = Sense::Arrives;
    }
    assert_eq!(entered(&recording.told()), Some(moment(40)));
}

// ---- the sorter ---------------------------------------------------------------------------------------------------

#[test]
fn a_word_that_comes_too_late_is_told_and_counted_and_few_wait() {
    let recording =
        recording(&format!("{SET_UP} 400000us..400001us C: send(10) = 10\n 900000us C > S: P. 1(10) ack 1"));
    let mut spoken: Vec<_> = words(recording.clone()).collect();
    // The end of the handshake comes after the send, which is a third of a second later.
    let place = spoken
        .iter()
        .position(|word| matches!(word, Witnessed::Returned { returned, .. } if returned.at == moment(34)));
    let late = spoken.remove(place.expect("connect returns"));
    spoken.insert(spoken.len() - 1, late);
    let count = spoken.len();
    let (mut sorter, mut told) = (Sorter::default(), Vec::new());
    for word in spoken {
        sorter.put(word);
        told.extend(std::iter::from_fn(|| sorter.due()));
    }
    told.extend(&mut sorter);
    assert_eq!((sorter.late(), told.len()), (1, count));
    let story = pushed(&recording, told.into_iter());
    assert!(lines(&story).iter().any(|line| line.ends_with("PSH,ACK by [14]")), "{:#?}", lines(&story));

    let mut sorter = Sorter::of(3);
    words(recording).take(5).for_each(|word| sorter.put(word));
    assert_eq!(std::iter::from_fn(|| sorter.due()).count(), 2, "three wait");
}

/// Frames that come later than the sorter waits, after all calls were told: what was told without a connection is amended.
#[test]
fn frames_that_come_after_the_calls_are_joined_all_the_same() {
    for script in [
        format!(
            "{SET_UP} 40us..45us C: send(10) = 10 in ESTABLISHED
            41us..60us S: recv() = 10
            42us C > S: P. 1(10) ack 1
            43us S > C: . 1(0) ack 11
            70us..72us C: close() = 0
            71us C > S: F. 11(0) ack 1
            72us S > C: . 1(0) ack 12
            80us..81us S: recv() = 0 in CLOSE-WAIT
            90us..91us S: close() = 0
            90us S > C: F. 1(0) ack 12
            91us C > S: . 12(0) ack 2"
        ),
        format!(
            "{SET_UP} 40us..45us C: send(10) = 10
            42us C > S: P. 1(10) ack 1
            50us S > C: R. 1(0) ack 11
            60us..61us C: recv() = -ECONNRESET"
        ),
        "10us..20us C: connect() = -ECONNREFUSED\n 12us C > S: S 0(0)\n 13us S > C: R. 0(0) ack 1".to_owned(),
    ] {
        let recording = recording(&script);
        let expected = lines(&recording.clone().told());
        let is_sighting = |word: &Witnessed| matches!(word, Witnessed::Sighting(_));
        let (frames, calls): (Vec<_>, Vec<_>) = words(recording.clone()).partition(is_sighting);
        let story = pushed(&recording, calls.into_iter().chain(frames));
        assert_eq!(lines(&story), expected);
        assert!(story.events.iter().all(|event| event.connection.is_some() || !is_of_an_end(event)), "{story:#?}");
    }
}

/// Whether it is a call that only a socket with a connection returns from so.
fn is_of_an_end(event: &Event) -> bool {
    let EventKind::Call(call) = &event.kind else { return false };
    matches!(call.call.effect(), Effect::Connect | Effect::Accept | Effect::Send | Effect::Receive)
}

/// A later connection to the same server is not that of a connect that returned before it began.
#[test]
fn a_connection_that_began_after_a_call_had_returned_is_not_its() {
    let recording = recording("10us..20us C: connect() = -EHOSTUNREACH\n 30us C > S: S 0(0)");
    let is_sighting = |word: &Witnessed| matches!(word, Witnessed::Sighting(_));
    let (frames, calls): (Vec<_>, Vec<_>) = words(recording.clone()).partition(is_sighting);
    let story = pushed(&recording, calls.into_iter().chain(frames));
    assert_eq!(story.events[0].connection, None, "{:#?}", lines(&story));
}

#[test]
fn calls_without_end_that_open_nothing_wait_for_few() {
    let mut openers = unseen::Openers::default();
    let server = ("192.0.2.1".parse().expect("an address"), 443);
    let life = Lifetime { socket: SocketId(1), n: 0 };
    for event in 0..2000 {
        openers.connect(None, server, moment(event as i64), (EventId(event), life));
    }
    let client = (server.0, 1);
    assert_eq!(openers.of(client, server, moment(0)).first(), Some(&(EventId(2000 - 1024), life)));
    assert_eq!(openers.of(client, server, moment(0)).len(), 16);
    assert_eq!(openers.of(client, server, moment(1990)).len(), 10, "those that returned by then");
}

#[test]
fn of_a_socket_without_a_connection_few_words_of_tcp_info_are_kept() {
    let sends = |n: usize| format!("{}us..{}us C: send(10) = 10 in ESTABLISHED\n", 100 + 10 * n, 105 + 10 * n);
    let script = format!("15us..34us C: connect() = 0 in ESTABLISHED\n{}", (0..30).map(sends).collect::<String>());
    let mut timeline = Timeline::default();
    words(recording(&script)).for_each(|word| timeline.take(word));
    let heard: Vec<usize> = timeline.calls.lives.values().map(|life| life.heard.len()).collect();
    assert_eq!(heard, [16]);
}

/// The same words, pushed one by one; the events are those that the changes told of, and no other.
fn pushed(recording: &Recording, words: impl Iterator<Item = Witnessed>) -> Story {
    let mut timeline = Timeline::default();
    let mut told: Vec<Event> = Vec::new();
    for word in words {
        let changes = timeline.push(word);
        let (first, count) = changes.added;
        assert_eq!(first.0, told.len() as u64);
        told.extend((first.0..first.0 + count).map(|id| timeline.find(EventId(id)).expect("an event").clone()));
        for id in changes.amended {
            told[id.0 as usize] = timeline.find(id).expect("an event").clone();
        }
        assert!(
            told.iter().all(|event| event == timeline.find(event.id).expect("an event")),
            "a change that was not told"
        );
    }
    timeline.finish(recording.connections.clone(), Default::default(), Default::default())
}

proptest! {
    #[test]
    fn one_by_one_it_is_the_same_timeline_as_at_once(script in conversation()) {
        let recording = recording(&script);
        let at_once = {
            let mut timeline = Timeline::default();
            words(recording.clone()).for_each(|word| timeline.take(word));
            timeline.finish(recording.connections.clone(), Default::default(), Default::default())
        };
        let one_by_one = pushed(&recording, words(recording.clone()));
        prop_assert_eq!(lines(&one_by_one), lines(&at_once));
        prop_assert_eq!(&one_by_one.events, &at_once.events);
        prop_assert_eq!(&one_by_one.connections, &at_once.connections);
    }

    #[test]
    fn in_any_order_within_the_bound_it_is_the_same_timeline(script in conversation(), delays in proptest::collection::vec(0i64..50_000, 1..40)) {
        let recording = recording(&script);
        let in_order: Vec<_> = words(recording.clone()).collect();
        let expected = pushed(&recording, in_order.clone().into_iter());
        // Each word comes as late as the bound allows, those of one call and of the wire one after the other.
        let mut coming: Vec<(i64, usize)> = Vec::new();
        let mut wire = i64::MIN;
        for (place, word) in in_order.iter().enumerate() {
            let mut at = word.at().expect("a time").as_nanos() / 1000 + delays[place % delays.len()];
            if let Witnessed::Sighting(_) = word {
                at = at.max(wire);
                wire = at;
            }
            if let Witnessed::Returned { call, .. } | Witnessed::Info { call, .. } = word {
                let entered = in_order[..place].iter().position(|word| matches!(word, Witnessed::Entered(entered) if entered.id == *call));
                at = at.max(coming[entered.expect("entered before")].0);
            }
            coming.push((at, place));
        }
        coming.sort_unstable();
        let mut sorter = Sorter::default();
        let mut sorted = Vec::new();
        for (_, place) in coming {
            sorter.put(in_order[place].clone());
            sorted.extend(std::iter::from_fn(|| sorter.due()));
        }
        sorted.extend(&mut sorter);
        prop_assert_eq!(sorter.late(), 0);
        let told = pushed(&recording, sorted.into_iter());
        prop_assert_eq!(lines(&told), lines(&expected));
        prop_assert_eq!(&told.events, &expected.events);
    }

    /// However the octets are cut into sends, segments and receives, each join holds exactly the octets that both its ends hold.
    #[test]
    fn joins_conserve_octets(
        sends in proptest::collection::vec(1u64..50, 1..20),
        segments in proptest::collection::vec(1u64..50, 1..60),
        receives in proptest::collection::vec(1u64..50, 1..60),
    ) {
        let total: u64 = sends.iter().sum();
        let mut script = SET_UP.to_owned();
        let mut at = 1000;
        let mut line = |text: String| {
            at += 10;
            script += &format!("{}\n", text.replace("FROM", &at.to_string()).replace("TO", &(at + 5).to_string()));
        };
        for octets in &sends {
            line(format!("FROMus..TOus C: send({octets}) = {octets}"));
        }
        let cut = |sizes: &[u64]| {
            let mut left = total;
            let mut parts: Vec<u64> = Vec::new();
            for size in sizes.iter().cycle() {
                let part = left.min(*size);
                if part == 0 {
                    return parts;
                }
                parts.push(part);
                left -= part;
            }
            parts
        };
        let mut seq = 1;
        for octets in cut(&segments) {
            line(format!("FROMus C > S: P. {seq}({octets}) ack 1"));
            seq += octets;
        }
        for octets in cut(&receives) {
            line(format!("FROMus..TOus S: recv() = {octets}"));
        }
        let story = story(&script);
        let range = |id: EventId| match &story[id].kind {
            EventKind::Call(call) => call.stream,
            EventKind::Segment(segment) => segment.stream,
            _ => None,
        };
        for rule in [Join::Octets, Join::Delivery] {
            let joined: u64 = story
                .edges()
                .iter()
                .filter(|edge| edge.rule == rule)
                .map(|edge| {
                    let (cause, effect) = (range(edge.cause).expect("octets"), range(edge.effect).expect("octets"));
                    effect.to.min(cause.to) - effect.from.max(cause.from)
                })
                .sum();
            prop_assert_eq!(joined, total, "{:?}", rule);
        }
    }
}
