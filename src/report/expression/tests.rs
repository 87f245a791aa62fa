//! What expressions hold for, what is told of wrong ones, and how much they may be.

use proptest::prelude::*;

use super::value::{COMPILED, MOST_PATTERNS};
use super::*;
use crate::flow::{Detail, Ending, FindingAt, Side};
use crate::report::sample;
use crate::tcp::Finding;
use crate::time::Span;

/// A refused connection with two findings, of 30 µs, to port 8888.
fn connection() -> Connection {
    let mut connection = sample::echo().connections.remove(0);
    connection.ending = Ending::Reset;
    connection.initial_rtt = Some(Span(30_000));
    connection.server_to_client.mss = None;
    connection.server_to_client.rtt_min_ns = None;
    connection.findings = [(Finding::Retransmission, 7, Side::Client), (Finding::ZeroWindow, 9, Side::Server)]
        .map(|(finding, frame, side)| FindingAt {
            finding,
            frame: Some(frame),
            side,
            detail: Detail::Since(Some(Span(1))),
        })
        .into();
    connection
}

fn holds(source: &str) -> bool {
    let mut expression = Expression::parse(source).unwrap_or_else(|wrong| panic!("{source}: {wrong}"));
    let answer = expression.matches(&connection());
    assert_eq!(expression.undecided(), None, "{source}");
    answer
}

fn wrong(source: &str) -> String {
    Expression::parse(source).map(|_| "sound".to_owned()).unwrap_or_else(|wrong| wrong.to_string())
}

#[test]
fn conditions_hold_for_what_they_describe() {
    for (source, expected) in [
        (r#"ending == "reset" && server.port == 8888"#, true),
        (r#"ending == "reset" && server.port == 443"#, false),
        ("initial_rtt_ns == 30000", true),
        ("initial_rtt_ns > 30 * 1000", false),
        ("client_to_server.octets + server_to_client.octets == 20", true),
        ("double(initial_rtt_ns) / 1e9 < 0.1", true),
        (r#"ending in ["reset", "refused"]"#, true),
        (r#"client.addr.startsWith("127.")"#, true),
        (r#"verdict.matches("(?i)closed NORMALLY")"#, true),
        (r#"verdict.contains(ending)"#, false),
        (r#"matches(server.addr, "^127[.]")"#, true),
        (r#"history.contains("S")"#, true),
        ("midstream", false),
        ("!midstream", true),
        ("size(findings) == 2", true),
        (r#"findings.exists(f, f.name == "zero_window" && f.side == "server" && f.frame > 8)"#, true),
        (r#"findings.all(f, f.name == "zero_window")"#, false),
        (r#"findings.exists_one(f, f.note.contains("advanced") && f.frame == 7)"#, true),
        (r#"findings.filter(f, f.side == "client").size() == 1"#, true),
        (r#"first > timestamp("2020-01-01T00:00:00Z")"#, true),
        (r#"last - first < duration("1h")"#, true),
        (r#"last - first == duration(string(duration_ns) + "ns")"#, true),
        (r#"first.getFullYear() > 2000"#, true),
        ("duration_ns >= 0 ? true : false", true),
        ("client_to_server.retransmissions > 0 || server_to_client.retransmissions > 0", false),
    ] {
        assert_eq!(holds(source), expected, "{source}");
    }
}

#[test]
fn what_is_not_known_does_not_match_and_can_be_asked() {
    assert!(!holds("server_to_client.mss > 1000"));
    assert!(!holds("server_to_client.mss <= 1000"));
    assert!(!holds("!(server_to_client.mss > 1000)"));
    assert!(!holds("server_to_client.mss + 1 > 1000"));
    assert!(holds("server_to_client.mss == null"));
    assert!(!holds("has(server_to_client.mss)"));
    assert!(holds("has(client_to_server.octets)"));
    assert!(holds("server_to_client.mss > 1000 || server.port == 8888"));
}

#[test]
fn what_cannot_be_decided_is_counted() {
    let mut expression = Expression::parse("server.port / client_to_server.zero_windows > 1").unwrap();
    assert!(!expression.matches(&connection()) && !expression.matches(&connection()));
    let undecided = expression.undecided().unwrap();
    assert_eq!((undecided.connections, undecided.why.as_str()), (2, "Division by zero of Int(8888)"));
}

#[test]
fn mistakes_are_told_with_their_place_and_the_way_out() {
    for (source, told) in [
        ("", "empty; write a condition such as ending == \"reset\""),
        ("sever.port == 443", "column 1: no field is named `sever.port`; did you mean `server.port`?"),
        ("midstream && octets > 5", "column 14: no field is named `octets`; did you mean `client_to_server.octets`?"),
        ("ending == reset", "column 11: no field is named `reset`; as text it is \"reset\""),
        (
            "ending == \"rst\"",
            "column 11: it is never \"rst\"; it is one of fin, reset, refused, unanswered, half-closed, open",
        ),
        ("client_state == \"TIMEWAIT\"", "column 17: it is never \"TIMEWAIT\"; did you mean \"TIME-WAIT\"?"),
        ("server.port == \"443\"", "column 13: a number is compared with text"),
        ("server.port", "this is a number, not a condition; compare it with something"),
        ("midstream && server.port", "column 20: this is a number, not a condition; compare it with something"),
        ("client == \"a\"", "column 1: `client` has parts: write client.addr, client.port"),
        ("ending = \"fin\"", "column 8: write == to compare"),
        ("midstream and midstream", "column 11: write && for `and`"),
        ("server.port ==", "column 15: it ends here, and something is missing"),
        ("server.port == 1)", "column 17: `)` cannot stand here"),
        (
            "has(findings)",
            "column 5: has() takes a field after a dot; to ask whether a field is known write `FIELD != null`, \
             whether there are findings `size(findings) > 0`",
        ),
        ("findings.exists(f, f.kind == \"x\")", "column 21: a finding has no `kind`; it has frame, side, name, note"),
        (
            "findings.exists(f, f.name == \"retransmision\")",
            "column 30: it is never \"retransmision\"; did you mean \"retransmission\"?",
        ),
        ("verdict.matches(\"(\")", "column 16: Error executing function 'matches': error: unclosed group"),
        ("first > timestamp(\"yesterday\")", "column 18: Error executing function 'timestamp': premature end of input"),
        ("first - last > duration(\"1x\")", "column 24: not a duration; write one as \"1.5s\", \"200ms\" or \"1h30m\""),
        ("type == \"connection\"", "column 1: no field is named `type`; only connections are asked, so leave it out"),
        ("server.port.startsWith(\"4\")", "column 23: startsWith is for text, and this is a number"),
    ] {
        assert_eq!(wrong(source), told, "{source}");
    }
    assert!(wrong("lower(ending) == \"fin\"").starts_with("column 6: there is no function `lower`; there are size"));
    assert_eq!(wrong(&"(".repeat(17)), "more than 16 brackets in one another");
    assert_eq!(wrong(&"!".repeat(301)), "more than 300 operators and brackets");
    assert!(wrong(&("1".to_owned() + &"+1".repeat(60) + " > 1")).starts_with("nested more than 40 deep"));
    assert_eq!(wrong(&"!".repeat(5000)), "longer than 4000 octets");
}

#[test]
fn patterns_are_written_out_few_and_small() {
    for pattern in ["ending", "ending + \"x\"", "string(id)", "[\"a\"][0]"] {
        let told = wrong(&format!("verdict.matches({pattern})"));
        assert!(told.ends_with("matches takes a pattern written out in quotes; for other text there is contains"));
        assert!(told.starts_with("column "), "{told}");
    }
    assert!(wrong("[\"a\"].exists(p, verdict.matches(p))").contains("written out"));
    assert!(wrong("matches(verdict, ending)").contains("written out"));
    let patterns = |count: usize| {
        let each: Vec<_> = (0..count).map(|number| format!("verdict.matches(\"x{number}\")")).collect();
        format!("{} || verdict.matches(\"x0\")", each.join(" || "))
    };
    assert!(!holds(&patterns(MOST_PATTERNS)));
    let told = wrong(&patterns(MOST_PATTERNS + 1));
    assert!(
        told.ends_with("more than 16 patterns; join some of them as one, such as matches(\"one|other\")"),
        "{told}"
    );
    COMPILED.with_borrow(|known| assert!(known.len() <= MOST_PATTERNS));
    assert!(wrong("verdict.matches(\"(?:a{1000}){1000}\")").contains("more than 1 MiB: write fewer repetitions"));
    let deep = format!("verdict.matches(\"{}\")", "(?:".repeat(DEEPEST_BRACKETS));
    assert!(wrong(&deep).contains("brackets in one another"), "those of a pattern count, too");
}

#[test]
fn what_macros_make_of_a_short_text_is_limited() {
    let list = "[1,2,3,4,5,6,7,8,9,10]";
    let nested = |macros: usize| {
        format!("size({}1{}) > 0", format!("{list}.filter(a, 0 < size(").repeat(macros), "))".repeat(macros))
    };
    assert!(wrong(&nested(3).replace("size(1)", "1")).ends_with("in one another"), "{}", wrong(&nested(3)));
    assert!(
        wrong("findings.exists(a, findings.exists(b, findings.exists(c, true)))")
            .ends_with("more than 2 of exists, all, filter and map in one another")
    );
    assert!(holds("findings.exists(a, findings.exists(b, b.frame > a.frame && b.side != a.side))"));
    assert!(holds("findings.filter(f, f.frame > 1).map(f, f.frame).exists(x, x == 7)"));
    assert!(holds("findings.map(f, f.frame + 1).exists(x, x - 1 == 7)"));
    assert!(holds("findings.map(f, f.name in [\"keep_alive\", \"zero_window\"]).exists(x, x)"));
    assert!(holds("findings.exists_one(f, f.frame == 7) && [1, 2].all(x, x > 0)"));
    for lists in ["[1].map(a, [a, a])", "[1].map(a, {1: a})", "[1].map(a, true ? [a] : 1)", "[1].map(a, findings)"] {
        assert!(wrong(&format!("size({lists}) > 0")).ends_with("not of lists"), "{lists}: {}", wrong(lists));
    }
    assert!(wrong(&format!("size([1].map(a, {list}.map(b, b))) > 0")).ends_with("not of lists"));
    assert!(wrong("size([\"x\"].map(a, a + a)) > 0").contains("in a macro + adds numbers"));
    let long = format!("[{}0]", "1,".repeat(100));
    assert!(wrong(&format!("{long}.exists(a, true)")).ends_with("at most 100 elements"));
    assert!(wrong(&format!("[1].exists(a, a in {long})")).ends_with("at most 100 elements"));
    let mut connection = connection();
    connection.findings = vec![connection.findings[0].clone(); MOST_AGAIN + 1];
    let mut once = Expression::parse("findings.exists(a, a.frame == 1)").unwrap();
    assert!(!once.matches(&connection) && once.undecided().is_none());
    let mut again = Expression::parse("findings.exists(a, findings.exists(b, a.frame > b.frame))").unwrap();
    assert!(!again.matches(&connection));
    assert!(again.undecided().unwrap().why.ends_with("more than 1000"), "{:?}", again.undecided());
}

/// Half the stack that a program begins with; without optimization it takes many times what it does with.
#[test]
fn the_longest_and_deepest_expressions_are_read_and_decided() {
    let thread = std::thread::Builder::new().stack_size(4 << 20).spawn(longest_and_deepest).unwrap();
    thread.join().unwrap();
}

fn longest_and_deepest() {
    let shapes = [
        ("1", "+1", "> 0"),
        ("true", "&&true", ""),
        ("true", "||!true", ""),
        ("1", "==1", ""),
        ("true", "?true:true", ""),
        ("", "[", "1"),
        ("", "(", "1"),
        ("", "{1:", "1"),
        ("", "!", "true"),
        ("", "-", "1 > 0"),
        ("ending", ".a", ""),
        ("findings", "[0]", "== 1"),
        ("ending", ".size()", "> 1"),
        ("id in [1", ",1", "]"),
        ("", "findings.all(f,", "true"),
        ("true", " // ", ""),
        ("true", " \n", ""),
        ("\"", "\\\"", "\" == ending"),
    ];
    for (first, more, last) in shapes {
        for times in [DEEPEST_BRACKETS, DEEPEST - 5, MOST_OPERATORS, LONGEST / more.len()] {
            let Some(times) = times.checked_sub((first.len() + last.len()).div_ceil(more.len())) else { continue };
            let closing: String = more
                .chars()
                .filter_map(|c| match c {
                    '(' => Some(')'),
                    '[' => Some(']'),
                    '{' => Some('}'),
                    _ => None,
                })
                .collect();
            let closing = if more.contains([')', ']', '}']) { "" } else { &closing };
            let source = first.to_owned() + &more.repeat(times) + last + &closing.repeat(times);
            if let Ok(mut expression) = Expression::parse(&source) {
                expression.matches(&connection());
            }
        }
    }
    assert!(holds(&("true".to_owned() + &"&&true".repeat(600))));
    assert!(!holds(&format!("server.port in [{}0]", "1,".repeat(1900))));
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(source in "[ -~é\n]{0,40}") {
        if let Ok(mut expression) = Expression::parse(&source) {
            expression.matches(&connection());
        }
    }

    #[test]
    fn no_sequence_of_its_words_makes_it_panic(words in prop::collection::vec(prop::sample::select(vec![
        "ending", "server", ".", "port", "findings", "exists", "(", ")", "f", ",", "==", "&&", "!", "-", "\"", "\"fin\"", "1", "0",
        "/", "%", "9223372036854775807", "1.5", "1u", "null", "[", "]", "{", "}", ":", "?", "has", "size", "first", "timestamp",
        "duration", "matches", "\"(\"", "in", "map", "all", "dyn", "`", "b'x'", "r\"\"\"",
    ]), 0..14)) {
        if let Ok(mut expression) = Expression::parse(&words.join(" ")) {
            expression.matches(&connection());
        }
    }
}
