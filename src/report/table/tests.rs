//! What a table holds, and that its rows are those that are put together piece by piece.

use proptest::prelude::*;
use unicode_width::UnicodeWidthStr;

use super::*;
use crate::report::sample;
use crate::report::style::Color;
use crate::time::Span;

fn drawn(style: &Style, change: impl Fn(&mut Connection)) -> String {
    let mut story = sample::echo();
    change(&mut story.connections[0]);
    story.totals.skipped.not_tcp = 3;
    let mut out = Vec::new();
    let mut table = Table::new(style);
    table.header(&mut out).unwrap();
    table.row(&mut out, &story.connections[0]).unwrap();
    table.totals(&mut out, &story.totals, story.totals.connections).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn every_page_has_everything_in_one_line_or_below_it() {
    for width in 80..=Style::WIDEST {
        let text = drawn(&Style::plain(width), |_| {});
        assert!(text.lines().all(|line| line.width() <= width), "{text}");
        let wanted =
            ["    0", "127.0.0.1:50634", "127.0.0.1:8888", "TIME-WAIT", "CLOSED", " fin", "Closed", "3 not TCP"];
        for wanted in wanted {
            assert!(text.contains(wanted), "{width}: {wanted}\n{text}");
        }
    }
    for width in Style::NARROWEST..80 {
        let text = drawn(&Style { charset: Charset::Ascii, ..Style::plain(width) }, |_| {});
        assert!(text.is_ascii() && text.lines().all(|line| line.width() <= width), "{text}");
    }
}

#[test]
fn a_long_end_keeps_its_port() {
    let long = "[2001:db8:1111:2222:3333:4444:5555:6666]:50634".parse().unwrap();
    let text = drawn(&Style::plain(80), |connection| connection.client = long);
    assert!(text.contains("[2001:db8:1111…:50634"), "{text}");
}

#[test]
fn moments_stand_in_a_column_or_below_the_row() {
    let story = sample::echo();
    let connection = &story.connections[0];
    let origin = Timestamp::from_nanos(connection.first.unwrap().as_nanos() - 1_500_000_000);
    for (clock, wanted) in [(Clock::Elapsed, "1.500000"), (Clock::TimeOfDay, "UTC+5:30"), (Clock::Epoch, ".")] {
        for width in [60, 100, 150, 180] {
            let style = Style { clock, utc_offset: 19_800, ..Style::plain(width) };
            let (mut table, mut out) = (Table::timed(&style, origin), Vec::new());
            table.header(&mut out).unwrap();
            table.row(&mut out, connection).unwrap();
            let text = String::from_utf8(out).unwrap();
            assert!(text.lines().all(|line| line.width() <= width), "{text}");
            assert!(text.contains("began") && text.contains(wanted), "{width}: {wanted}\n{text}");
        }
    }
}

#[test]
fn a_name_stands_for_its_address_and_leaves_the_port() {
    let story = sample::echo();
    let client = story.connections[0].client;
    for (name, told) in [
        ("host.example", "host.example:50634"),
        ("a\u{1b}[2J", "a\\x1b[2J:50634"),
        ("名前名前名前名前名前名前名前名前名前", "…:50634"),
    ] {
        let names = BTreeMap::from([(client.ip(), name.to_owned())]);
        let (mut table, mut out) = (Table::new(&Style::plain(120)).with_names(names), Vec::new());
        table.row(&mut out, &story.connections[0]).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert!(text.contains(told), "{told}\n{text}");
        assert!(text.lines().all(|line| line.width() <= 120), "{text}");
    }
}

#[test]
fn quantities_fit_their_column() {
    let of = [0, 99_999_999, 100_000_000, 12_345_678_901, u64::MAX].map(|n| {
        let mut out = String::new();
        push_quantity(&mut out, n);
        out
    });
    assert_eq!(of, ["0", "99999999", "100 M", "12 G", "18446 P"]);
}

/// Every page there is, with and without colour, in both charsets, with each clock and without.
fn pages() -> Vec<Table> {
    let mut pages = Vec::new();
    for width in 40..=200 {
        for (color, charset) in [
            (Color::Never, Charset::Unicode),
            (Color::Never, Charset::Ascii),
            (Color::Always, Charset::Unicode),
            (Color::Always, Charset::Ascii),
        ] {
            let style = Style { color, charset, ..Style::plain(width) };
            pages.push(Table::new(&style));
            for (clock, utc_offset) in
                [(Clock::Elapsed, 0), (Clock::TimeOfDay, 0), (Clock::TimeOfDay, -12_600), (Clock::Epoch, 0)]
            {
                let style = Style { clock, utc_offset, ..style };
                pages.push(Table::timed(&style, Timestamp::from_parts(1_795_223_276, 320_071_123)));
            }
        }
    }
    pages
}

fn names() -> BTreeMap<IpAddr, String> {
    let named = [
        ("10.0.0.1", "host.example"),
        ("10.0.0.2", "a.name.that.is.longer.than.any.column.of.the.table.example"),
        ("10.0.0.3", "名前名前名前名前名前名前名前名前名前"),
        ("10.0.0.4", "a\u{1b}[2Jb"),
        ("10.0.0.5", "name:with:colons:and:so:on:and:on:and:on"),
        ("10.0.0.6", "cafe\u{301}.example.of.marks\u{301}\u{301}"),
        ("10.0.0.7", "→→→→→→→→→→→→→→→→→→→→→→→→→→→→"),
    ];
    named.into_iter().map(|(address, name)| (address.parse().unwrap(), name.to_owned())).collect()
}

fn same(table: &mut Table, connection: &Connection, verdict: &str) -> Result<(), TestCaseError> {
    let (mut written, mut wanted) = (Vec::new(), Vec::new());
    table.row_with(&mut written, connection, verdict).unwrap();
    table.reference_row(&mut wanted, connection, verdict).unwrap();
    let (written, wanted) = (String::from_utf8(written).unwrap(), String::from_utf8(wanted).unwrap());
    prop_assert_eq!(written, wanted, "{:?}", table.style);
    Ok(())
}

#[test]
fn rows_are_those_that_are_put_together_piece_by_piece() {
    let base = sample::echo().connections.remove(0);
    let ends = [
        "1.2.3.4:5",
        "255.255.255.255:65535",
        "[::]:0",
        "[::1]:80",
        "[fe80::1%3]:443",
        "[::ffff:10.1.2.3]:8080",
        "[2001:db8::1]:443",
        "[2001:db8:1111:2222:3333:4444:5555:6666]:50634",
        "10.0.0.1:1",
        "10.0.0.2:22",
        "10.0.0.3:333",
        "10.0.0.4:4444",
        "10.0.0.5:55555",
        "10.0.0.6:6",
        "10.0.0.7:77",
    ];
    let verdicts = [
        "",
        " ",
        "Unanswered: one SYN, and nothing came back.",
        "Closed normally: the client sent the first FIN and ends in TIME-WAIT.",
        "Reset by the server 12.3 µs after the SYN, with octets → unread.",
        "two  spaces, and at the end ",
        " one at the beginning, and then a long sentence that takes more than one line of any page, to be cut or wrapped by it.",
        "AWordThatIsLongerThanAnyPageIsWideSoThatItIsCutWhereverItStandsAndNothingFollowsItOnTheSameLineUnlessThereIsRoomForIt_________________________________________________ and more",
        "before AWordThatIsLongerThanAnyPageIsWideSoThatItIsCutWhereverItStandsAndNothingFollowsItOnTheSameLineUnlessThereIsRoomForIt_________________________________________________ and more",
        "a\u{1b}[2Jb\nc\u{202e}\u{1680}d",
        "名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前 名前",
        "a – b … c",
    ];
    let moments = [
        (None, None),
        (Some(0), None),
        (Some(0), Some(0)),
        (Some(1_795_223_276_320_071_123), Some(1_795_223_276_320_371_200)),
        (Some(1_795_223_276_320_071_123), Some(1_795_223_286_320_071_123)),
        (Some(1_795_223_276_320_071_124), Some(1_795_223_276_320_071_123)),
        (Some(-1), Some(99_999_999_999)),
        (Some(i64::MIN), Some(i64::MAX)),
        (Some(i64::MAX), Some(i64::MIN)),
    ];
    let endings = [Ending::Fin, Ending::Reset, Ending::Refused, Ending::Unanswered, Ending::HalfClosed, Ending::Open];
    let states: Vec<_> = State::ALL.into_iter().map(Some).chain([None]).collect();
    let octets = [0, 7, 99_999_999, 100_000_000, 12_345_678_901, u64::MAX];
    let ids = [0, 99_999, 100_000, u64::MAX];
    // Each by itself steps through its list; their lengths have little in common, so that pairs differ.
    for (page, mut table) in pages().into_iter().enumerate() {
        if page % 3 == 0 {
            table = table.with_names(names());
        }
        for at in (0..verdicts.len().max(ends.len())).map(|step| page + step) {
            let mut connection = base.clone();
            connection.id.0 = ids[at % ids.len()];
            connection.client = ends[at % ends.len()].parse().unwrap();
            connection.server = ends[(at + page / 7) % ends.len()].parse().unwrap();
            let (first, last) = moments[(at + page / 5) % moments.len()];
            connection.first = first.map(Timestamp::from_nanos);
            connection.last = last.map(Timestamp::from_nanos);
            connection.ending = endings[at % endings.len()];
            connection.client_state = states[at % states.len()];
            connection.server_state = states[(at + page) % states.len()];
            connection.client_to_server.octets = octets[at % octets.len()];
            connection.server_to_client.octets = octets[(at + page / 3) % octets.len()];
            same(&mut table, &connection, verdicts[at % verdicts.len()]).unwrap();
        }
    }
}

proptest! {
    #[test]
    fn rows_are_the_same_whatever_is_in_them(
        width in 40usize..200,
        look in 0usize..20,
        id in any::<u64>(),
        client in any::<SocketAddr>(),
        server in any::<SocketAddr>(),
        moments in any::<(Option<i64>, i64)>(),
        digits in 0u32..20,
        octets in any::<(u64, u64)>(),
        verdict in prop_oneof!["[a-z,;.µ→ ]{0,200}", ".{0,120}", "([A-Za-z0-9,.-]{1,12} ){0,20}[a-z]{1,9}"],
        name in prop_oneof![Just(None), ".{0,40}".prop_map(Some)],
    ) {
        let (color, charset) = ([Color::Never, Color::Always][look % 2], [Charset::Unicode, Charset::Ascii][look / 2 % 2]);
        let clock = [Clock::Elapsed, Clock::TimeOfDay, Clock::Epoch][look / 4 % 3];
        let style = Style { color, charset, clock, ..Style::plain(width) };
        let mut connection = sample::echo().connections.remove(0);
        let origin = Timestamp::from_nanos(moments.1);
        connection.id.0 = id >> (id % 64);
        (connection.client, connection.server) = (client, server);
        connection.first = moments.0.map(Timestamp::from_nanos);
        connection.last = connection.first.map(|first| first.after(Span(10i64.saturating_pow(digits) / 7)));
        connection.client_to_server.octets = octets.0 >> (octets.1 % 64);
        connection.server_to_client.octets = octets.1 >> (octets.0 % 64);
        let mut table = if look < 8 { Table::new(&style) } else { Table::timed(&style, origin) };
        if let Some(name) = name {
            table = table.with_names(BTreeMap::from([(client.ip(), name)]));
        }
        same(&mut table, &connection, &verdict)?;
        same(&mut table, &connection, &verdict)?;
    }
}

#[test]
fn where_a_connection_has_one_line_it_says_what_hurt_most() {
    let mut connection = sample::echo().connections.remove(0);
    connection.problem = Some(crate::flow::Problem {
        segments: Some(4),
        ..crate::flow::Problem::new(crate::flow::ProblemKind::KeepAlivesUnanswered, crate::flow::Side::Client)
    });
    let told = |width| {
        let mut out = Vec::new();
        Table::new(&Style::plain(width)).row(&mut out, &connection).unwrap();
        String::from_utf8(out).unwrap().split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert!(told(180).contains("The client sent 4 keep-alives"), "{}", told(180));
    assert!(!told(180).contains("Closed normally"), "{}", told(180));
    assert!(
        told(100).contains("Closed normally") && told(100).contains("The client sent 4 keep-alives"),
        "{}",
        told(100)
    );
}
