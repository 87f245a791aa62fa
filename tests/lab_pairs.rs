//! Every scenario between two hosts: what the two saved captures tell by themselves is what the link says that it did, also through a
//! translator of addresses, with a clock that is wrong and gains, with segments cut or put together at one end, and with captures that
//! begin late, are cut short, or hold each frame twice.

mod executable;
mod users;

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tcpflow::capture::{FileSource, FrameSource, OwnedFrame, Writer};
use tcpflow::lab::{CATALOG, Definition};
use tcpflow::time::{Span, Timestamp};
use users::{Program, Who};

#[test]
fn two_captures_tell_what_the_link_did_and_nothing_else() {
    let mut told = Told::default();
    for played in played() {
        told.hold(played, &paired(&played.sides), &Rewritten::default());
    }
    told.end("as they are");
    assert!(told.connections >= 38, "{} connections", told.connections);
    for fate in ["arrived", "lost", "duplicated", "damaged", "injected"] {
        assert!(told.fates.get(fate).is_some_and(|count| *count > 0), "nothing was {fate}: {:?}", told.fates);
    }
}

#[test]
fn a_saved_run_tells_again_what_the_link_did_and_which_states_each_end_had() {
    let mut acts = 0;
    for played in played() {
        let read = analyzed(&["--timeline".as_ref(), played.saved.as_os_str()]);
        let (told, again) = (events(&played.lines), events(&read));
        assert_eq!(told.len(), again.len(), "{}", played.name);
        for (told, again) in told.iter().zip(&again) {
            assert_eq!(told, again, "{}", played.name);
        }
        acts += told.iter().filter(|event| event["type"] == "link").count();
    }
    assert!(acts > 60, "{acts} acts of the link");
}

#[test]
fn also_through_a_translator_with_a_clock_that_is_wrong_and_gains() {
    let mut told = Told::default();
    for played in played() {
        let rewritten = Rewritten { offset: 3_000_000_000, gains_ppm: 50, translates: true };
        let server = played.rewrite(
            "nat",
            1,
            |frames| {
                for frame in frames.iter_mut() {
                    frame.at = frame.at.map(|at| rewritten.moment(played.ran[1][0], at));
                    translate(&mut frame.bytes);
                }
            },
            |at| rewritten.moment(played.ran[1][0], at),
        );
        let mut arguments =
            vec!["--client-side".as_ref(), played.sides[0].as_os_str(), "--server-side".as_ref(), server.as_os_str()];
        // Where nothing arrives, nothing tells how the clocks stand.
        if played.crossings.iter().all(|crossing| crossing.arrivals.is_empty()) {
            arguments.extend(["--offset", "3s"].map(std::ffi::OsStr::new));
        }
        told.hold(played, &analyzed(&arguments), &rewritten);
    }
    told.end("translated, 3 s ahead and gaining 50 ppm");
}

#[test]
fn also_with_translators_at_both_ends_a_day_between_the_clocks_and_one_that_gains_much() {
    let mut told = Told::default();
    for played in played() {
        // Nothing but numbers says who a stranger is whose SYN neither host sent, and these are alike.
        if played.has_strangers() {
            continue;
        }
        let rewritten = Rewritten { offset: -86_400_000_000_000, gains_ppm: 200, translates: true };
        let began = played.ran[1][0];
        let server = played.rewrite(
            "far",
            1,
            |frames| {
                for frame in frames.iter_mut() {
                    frame.at = frame.at.map(|at| rewritten.moment(began, at));
                    translate(&mut frame.bytes);
                }
            },
            |at| rewritten.moment(began, at),
        );
        // The client knows the server by another address and port.
        let client = played.rewrite(
            "near",
            0,
            |frames| {
                frames.iter_mut().for_each(|frame| translate_ports(&mut frame.bytes, 3_000..3_010, |port| port - 2_000))
            },
            |at| at,
        );
        let mut arguments =
            vec!["--client-side".as_ref(), client.as_os_str(), "--server-side".as_ref(), server.as_os_str()];
        if played.crossings.iter().all(|crossing| crossing.arrivals.is_empty()) {
            arguments.extend(["--offset", "-86400s"].map(std::ffi::OsStr::new));
        }
        // A SYN alone, to another port and without a timestamp, may be another's by chance, and is not taken for the same.
        let lines = analyze(&arguments);
        if lines.is_empty() {
            assert!(played.crossings.iter().all(|crossing| crossing.is_syn), "{}: nothing was paired", played.name);
            continue;
        }
        told.hold(played, &lines, &rewritten);
    }
    told.end("translated at both ends, a day behind and gaining 200 ppm");
}

#[test]
fn also_through_a_firewall_that_makes_other_numbers_or_takes_options_out() {
    let (mut told, mut stripped) = (Told::default(), 0);
    for played in played() {
        let server = played.rewrite(
            "numbers",
            1,
            |frames| frames.iter_mut().for_each(|frame| renumber(&mut frame.bytes, 0x9e37_79b9)),
            |at| at,
        );
        // Where both open and send no octets, or a SYN has no timestamp, nothing is the same at both ends: then nothing is told.
        let lines = analyze(&[
            "--client-side".as_ref(),
            played.sides[0].as_os_str(),
            "--server-side".as_ref(),
            server.as_os_str(),
        ]);
        let may_be_none = ["simultaneous-open", "md5-wrong-key", "ao-wrong-key"].contains(&played.name);
        assert!(!lines.is_empty() || may_be_none, "{}", played.name);
        if !lines.is_empty() && !played.has_strangers() {
            told.hold(played, &lines, &Rewritten::default());
        }
        let server = played.rewrite(
            "bare",
            1,
            |frames| frames.iter_mut().for_each(|frame| stripped += usize::from(strip_timestamps(&mut frame.bytes))),
            |at| at,
        );
        let lines = paired(&[played.sides[0].clone(), server]);
        let count = |lines: &[Value], fate: &str| lines.iter().filter(|line| line["fate"] == fate).count();
        let whole = paired(&played.sides);
        for fate in ["lost", "uncaptured"] {
            assert_eq!(count(&lines, fate), count(&whole, fate), "{} without timestamps: {fate}", played.name);
        }
        let changed =
            |line: &&Value| line["changed"].as_array().is_some_and(|all| all.iter().any(|one| one == "timestamps"));
        // Beside an MD5 signature there is no room for timestamps.
        let has_some = played.frames[1].iter().any(|frame| strip_timestamps(&mut frame.bytes.to_vec()));
        let is_told = lines.iter().any(|line| changed(&line)) || count(&lines, "arrived") == 0;
        assert!(is_told || !has_some, "{}", played.name);
    }
    told.end("other initial numbers");
    assert!(stripped > 500, "{stripped}");
}

#[test]
fn also_where_one_capture_is_a_pcap_of_microseconds_and_68_octets_of_each_frame() {
    let (mut told, mut all_arrived) = (Told { cut: true, ..Told::default() }, 0);
    // Of IPv6 so few octets hold no whole TCP header.
    for played in played().iter().filter(|played| !played.definition.setting.ipv6) {
        let client = played.sides[0].with_file_name(format!("{}-short.pcap", played.name));
        // pcap: microseconds, Ethernet, what was cut off.
        let mut file = [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 68, 1].map(u32::to_le_bytes).concat();
        for frame in &played.frames[0] {
            let (at, bytes) = (frame.at.unwrap().as_nanos(), &frame.bytes[..frame.bytes.len().min(68)]);
            let head =
                [(at / 1_000_000_000) as u32, (at % 1_000_000_000 / 1000) as u32, bytes.len() as u32, frame.wire_len];
            file.extend([&head.map(u32::to_le_bytes).concat(), bytes].concat());
        }
        fs::write(&client, file).unwrap();
        executable_by_all(&client, 0o644);
        let lines = paired(&[client, played.sides[1].clone()]);
        // A pcap does not say when it ran: what has no later segment is not told.
        let fates = |lines: &[Value], fate: &str| lines.iter().filter(|line| line["fate"] == fate).count();
        let whole = paired(&played.sides);
        // Of octets that were cut off nobody knows that they were damaged.
        let came = |lines: &[Value]| fates(lines, "arrived") + fates(lines, "damaged");
        let arrived = fates(&whole, "arrived");
        assert_eq!(came(&lines), came(&whole), "{}: {lines:#?}", played.name);
        all_arrived += arrived;
        for fate in ["lost", "duplicated", "damaged", "uncaptured", "injected"] {
            assert!(fates(&lines, fate) <= fates(&whole, fate), "{}: {fate}: {lines:#?}", played.name);
        }
        told.hold_clocks(played, &lines, &Rewritten::default());
    }
    told.end("a short pcap of microseconds");
    assert!(all_arrived > 1000, "{all_arrived} arrived");
}

#[test]
fn what_ends_at_a_proxy_is_not_one_connection() {
    let of = |name: &str| played().iter().find(|played| played.name == name).unwrap();
    // The same octets between the same addresses and ports, by other connections.
    let (one, other) = (of("duplicate"), of("fin-lost"));
    for (client, server) in [(one, other), (other, one)] {
        let sides = [client.sides[0].clone(), server.sides[1].clone()];
        let lines =
            analyze(&["--client-side".as_ref(), sides[0].as_os_str(), "--server-side".as_ref(), sides[1].as_os_str()]);
        assert_eq!(lines, Vec::<Value>::new(), "{} and {}", client.name, server.name);
    }
}

#[test]
fn segments_that_are_whole_at_one_end_and_cut_at_the_other_are_paired_by_their_octets() {
    let mut joined = 0;
    for played in played() {
        for (end, most) in [(0, 65_000), (1, 65_000), (0, 4_000)] {
            let mut count = 0;
            let file = played.rewrite(
                &format!("whole-{end}-{most}"),
                end,
                |frames| count = put_together(frames, most),
                |at| at,
            );
            if count == 0 {
                continue;
            }
            joined += count;
            let mut sides = played.sides.clone();
            sides[end] = file;
            let lines = paired(&sides);
            // Octets that were lost, and that came, are those that the link says, wherever segments begin.
            let octets = |fate: &str| -> u64 {
                let is_one = |line: &&Value| line["type"] == "passage" && line["fate"] == fate;
                lines.iter().filter(is_one).map(|line| line["octets"].as_u64().unwrap()).sum()
            };
            let crossed = |is_one: &dyn Fn(&Crossing) -> bool| -> u64 {
                played.crossings.iter().filter(|crossing| is_one(crossing)).map(|crossing| crossing.octets).sum()
            };
            let lost = crossed(&|crossing| crossing.arrivals.is_empty());
            let injected = crossed(&|crossing| crossing.acts.contains(&"injected".to_owned()));
            let name = &played.name;
            assert_eq!(octets("injected"), injected, "{name}, whole at {end}, {most}");
            let unknown: u64 =
                lines.iter().filter(|line| line["fate"].is_null()).filter_map(|line| line["octets"].as_u64()).sum();
            assert_eq!(octets("lost") + unknown, lost, "{name}, whole at {end}, {most}");
            assert_eq!(octets("uncaptured"), 0, "{name}, whole at {end}, {most}");
            let all = crossed(&|_| true);
            let other = ["arrived", "duplicated", "damaged"].map(octets).iter().sum::<u64>();
            assert_eq!(other + lost + injected, all, "{name}, whole at {end}, {most}");
        }
    }
    assert!(joined > 300, "{joined} segments were put together");
}

#[test]
fn a_capture_that_was_cut_short_pairs_as_well() {
    let mut told = Told::default();
    for played in played() {
        let server = played.rewrite(
            "snap",
            1,
            |frames| {
                for frame in frames.iter_mut() {
                    frame.bytes = frame.bytes[..frame.bytes.len().min(96)].into();
                }
            },
            |at| at,
        );
        told.cut = true;
        told.hold(played, &paired(&[played.sides[0].clone(), server]), &Rewritten::default());
    }
    told.end("96 octets of each frame at the server");
}

#[test]
fn frames_that_a_capture_holds_twice_are_not_lost_or_copied() {
    let mut told = Told::default();
    for played in played() {
        // A frame of the copy has the number of its original.
        for end in [0, 1] {
            if played.frames[end].len() < 8 {
                continue;
            }
            let file = played.rewrite(
                &format!("twice-{end}"),
                end,
                |frames| {
                    *frames = frames.iter().flat_map(|frame| [frame.clone(), frame.clone()]).collect();
                },
                |at| at,
            );
            let mut sides = played.sides.clone();
            sides[end] = file;
            let mut lines = paired(&sides);
            for seen in lines.iter_mut().filter_map(|line| line["seen"].as_array_mut()).flatten() {
                if seen["point"] == ["client", "server"][end] {
                    seen["frame"] = seen["frame"].as_u64().unwrap().div_ceil(2).into();
                }
            }
            told.hold(played, &lines, &Rewritten::default());
        }
    }
    told.end("each frame twice");
}

#[test]
fn what_came_before_a_capture_began_is_neither_lost_nor_made_up() {
    let mut told = 0;
    // Of two connections with the same ends the first may be all that is cut off: what was part of which is then open.
    // And a SYN-ACK that comes three times without a timestamp is each time the same: which is missing is open, too.
    let is_told = |played: &&Played| played.name != "old-duplicate" && !played.has_strangers();
    for played in played().iter().filter(is_told) {
        for end in [0, 1] {
            let (skipped, begins) = (5, played.frames[end].get(5).and_then(|frame| frame.at));
            let Some(begins) = begins else { continue };
            let file = played.rewrite(
                &format!("late-{end}"),
                end,
                |frames| _ = frames.drain(..skipped),
                |at| if at < begins { begins } else { at },
            );
            let mut sides = played.sides.clone();
            sides[end] = file;
            let lines = paired(&sides);
            let whole = paired(&played.sides);
            let count = |lines: &[Value], fate: &str| {
                // What is older than the connection was sent before what is left of the capture.
                let is_of_it = |line: &&Value| line["seq"].as_i64().is_none_or(|seq| seq >= 0);
                let passages = lines.iter().filter(|line| line["type"] == "passage" && line["fate"] == fate);
                passages.filter(is_of_it).count()
            };
            for fate in ["lost", "injected", "damaged", "duplicated", "uncaptured"] {
                assert!(
                    count(&lines, fate) <= count(&whole, fate),
                    "{} late at {end}: {fate}: {lines:#?}",
                    played.name
                );
            }
            told += count(&lines, "arrived");
        }
    }
    assert!(told > 1000, "{told} segments arrived");
}

#[test]
fn two_interfaces_of_one_file_are_two_points() {
    let played = played().iter().find(|played| played.name == "data-lost").unwrap();
    let path = played.sides[0].with_file_name("both.pcapng");
    fs::write(&path, two_interfaces(&played.frames)).unwrap();
    let lines = analyzed(&[
        path.as_os_str(),
        "--client-side".as_ref(),
        "eth-c".as_ref(),
        "--server-side".as_ref(),
        "eth-s".as_ref(),
    ]);
    let fates = |lines: &[Value]| -> Vec<Value> {
        lines.iter().filter(|line| line["type"] == "passage").map(|line| line["fate"].clone()).collect()
    };
    assert_eq!(fates(&lines), fates(&paired(&played.sides)));
    assert!(fates(&lines).contains(&"lost".into()));
    let output = program()
        .played_by(Who::User)
        .arg("analyze")
        .arg(&path)
        .args(["--client-side", "eth0", "--server-side", "eth-s"])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        !output.status.success() && errors.contains("no interface is called eth0; there are eth-c, eth-s"),
        "{errors}"
    );
}

#[test]
fn captures_of_different_connections_are_said_to_share_none() {
    let of = |name: &str| played().iter().find(|played| played.name == name).unwrap();
    let sides = [of("ipv6").sides[0].clone(), of("data-lost").sides[1].clone()];
    let output = program()
        .played_by(Who::User)
        .args(["analyze", "--client-side"])
        .arg(&sides[0])
        .arg("--server-side")
        .arg(&sides[1])
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && errors.contains("no connection is in both captures"), "{errors}");
}

/// A scenario's run: what the link says, and what each host captured.
struct Played {
    name: &'static str,
    definition: Definition,
    saved: PathBuf,
    /// What `demo` told.
    lines: Vec<Value>,
    crossings: Vec<Crossing>,
    sides: [PathBuf; 2],
    frames: [Vec<OwnedFrame>; 2],
    ran: [[Timestamp; 2]; 2],
}

/// What the link says of a segment.
struct Crossing {
    from: usize,
    /// Where it was captured first: at which end, and as which frame there.
    seen: (usize, u64),
    /// When it was captured there.
    at: i64,
    octets: u64,
    is_syn: bool,
    acts: Vec<String>,
    arrivals: Vec<i64>,
}

/// What was done with the server's capture.
#[derive(Default)]
struct Rewritten {
    offset: i64,
    gains_ppm: i64,
    translates: bool,
}

impl Rewritten {
    fn moment(&self, began: Timestamp, at: Timestamp) -> Timestamp {
        let gained = at.since(began).as_nanos() / 1_000_000 * self.gains_ppm;
        at.after(Span(self.offset + gained))
    }

    /// What a gain that is not told may add in so many seconds; nothing up to 50 ppm.
    fn untold_gain(&self, seconds: i64) -> i64 {
        if self.gains_ppm > 50 { seconds * self.gains_ppm * 1_000 } else { 0 }
    }
}

/// What did not agree, and how much did.
#[derive(Default)]
struct Told {
    wrong: Vec<String>,
    fates: HashMap<String, usize>,
    connections: usize,
    cut: bool,
}

impl Told {
    fn end(&self, what: &str) {
        eprintln!("{what}: {} connections, {:?}", self.connections, self.fates);
        let first = self.wrong.iter().take(12).map(String::as_str).collect::<Vec<_>>().join("\n");
        assert!(self.wrong.is_empty(), "{what}: {} are wrong:\n{first}", self.wrong.len());
    }

    /// Holds what was found in the captures against what the link says.
    fn hold(&mut self, played: &Played, lines: &[Value], rewritten: &Rewritten) {
        let name = played.name;
        let mut found: HashMap<(usize, u64), &Value> = HashMap::new();
        for line in lines.iter().filter(|line| line["type"] == "passage") {
            let seen = &line["seen"][0];
            let point = usize::from(seen["point"] == "server");
            if found.insert((point, seen["frame"].as_u64().unwrap()), line).is_some() {
                self.wrong.push(format!("{name}: {line} is there twice"));
            }
        }
        let last = played.crossings.iter().flat_map(|crossing| crossing.arrivals.iter().chain([&crossing.at])).max();
        let longest = found.values().filter_map(|line| line["took_ns"].as_i64()).max().unwrap_or(0);
        for (place, crossing) in played.crossings.iter().enumerate() {
            let Some(line) = found.remove(&crossing.seen) else {
                // Of hosts that are at neither end, who never heard of it, one capture alone has the connection.
                if played.has_strangers() && crossing.is_syn && crossing.acts.contains(&"injected".to_owned()) {
                    continue;
                }
                self.wrong.push(format!("{name}: frame {:?} was not told", crossing.seen));
                continue;
            };
            let is = |act: &str| crossing.acts.iter().any(|known| known == act);
            let fate = match crossing.arrivals.len() {
                _ if is("injected") => "injected",
                0 => "lost",
                1 if is("damaged") => "damaged",
                1 => "arrived",
                _ => "duplicated",
            };
            // Of what was sent right before the capture ended nobody can tell.
            let is_last = fate == "lost" && last.is_some_and(|last| crossing.at + longest >= *last);
            // Nor of what came after it.
            let ended = played.ran[1 - crossing.from][1].as_nanos();
            let is_last = is_last || crossing.arrivals.iter().any(|at| *at >= ended);
            // Nor what of octets that were not captured was changed.
            let is_unseen = self.cut && fate == "damaged" && line["fate"] != "damaged";
            // What was cut does not say that it came before.
            let is_older = self.cut && is("injected") && line["seq"].as_i64().is_some_and(|seq| seq < 0);
            // Nor of what came before anything could have come that was sent since the capture began.
            let began = played.ran[crossing.from][0].as_nanos();
            let is_first = is("injected") && crossing.at <= began + longest.max(0) + 2_000_000;
            let is_it = line["fate"] == fate
                || (is_last || is_first || is_older) && line["fate"].is_null()
                || is_unseen && line["fate"] == "arrived";
            if !is_it {
                self.wrong.push(format!("{name}: the link says {fate}: {line}"));
            }
            *self.fates.entry(line["fate"].as_str().unwrap_or("unknown").to_owned()).or_default() += 1;
            let times = line["seen"].as_array().unwrap().len();
            if times != crossing.arrivals.len() + usize::from(!is("injected")) && !is_last {
                self.wrong.push(format!("{name}: it arrived {} times: {line}", crossing.arrivals.len()));
            }
            let later = played.crossings[place + 1..].iter().filter(|later| later.from == crossing.from);
            let mut later = later.filter(|later| !later.acts.iter().any(|act| act == "injected"));
            let is_overtaken = !is("injected")
                && crossing
                    .arrivals
                    .first()
                    .is_some_and(|at| later.any(|later| later.arrivals.first().is_some_and(|later| later < at)));
            // Two that the link hands over at nearly the same time may be taken in either order by the kernel behind it.
            let own = crossing.arrivals.first();
            let is_near = played.crossings.iter().enumerate().any(|(other, crossing)| {
                let gap = own.zip(crossing.arrivals.first()).map(|(own, other)| (own - other).abs());
                other != place && gap.is_some_and(|gap| gap < 1_000_000)
            });
            if line["overtaken"] != is_overtaken && !is_last && !is_near {
                self.wrong.push(format!("{name}: overtaken: {is_overtaken}: {line}"));
            }
            if line["lost_behind"] != false {
                self.wrong.push(format!("{name}: nothing is lost behind the points: {line}"));
            }
            self.hold_delay(played, crossing, line, rewritten);
            let changed: Vec<_> = line["changed"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
            let changed: Vec<_> = changed.into_iter().filter(|change| *change != "addresses").collect();
            let link = played.definition.setting.link.as_ref().unwrap();
            let expected = match () {
                () if line["seen"].as_array().unwrap().len() < 2 || is_unseen => vec![],
                () if is("marked") => vec!["congestion"],
                () if is("damaged") && crossing.octets > 0 => vec!["octets"],
                () if is("damaged") => vec!["window"],
                () if crossing.is_syn && link.clamp_mss.is_some() => vec!["mss"],
                () if crossing.is_syn && crossing.from == 0 && link.strip_window_scale => vec!["window_scale"],
                () => vec![],
            };
            if changed != expected {
                self.wrong.push(format!("{name}: the link changed {expected:?}: {line}"));
            }
        }
        self.wrong.extend(found.values().map(|line| format!("{name}: the link has no such segment: {line}")));
        self.hold_clocks(played, lines, rewritten);
    }

    /// What was held up was held up, and what the link delayed by a rule is told as that.
    fn hold_delay(&mut self, played: &Played, crossing: &Crossing, line: &Value, rewritten: &Rewritten) {
        let link = played.definition.setting.link.as_ref().unwrap();
        let took = crossing.arrivals.first().map_or(0, |arrived| arrived - crossing.at);
        match line["held_up_ns"].as_i64() {
            Some(held_up) if took < link.delay.as_nanos() + 2_000_000 && held_up > rewritten.untold_gain(15) => {
                self.wrong
                    .push(format!("{}: it took {took} ns, and was not held up for {held_up}: {line}", played.name));
            }
            None if crossing.acts.iter().any(|act| act == "delayed") => {
                self.wrong.push(format!("{}: the link delayed it: {line}", played.name));
            }
            _ => {}
        }
    }

    fn hold_clocks(&mut self, played: &Played, lines: &[Value], rewritten: &Rewritten) {
        let took = |side: &str| {
            let of = lines.iter().filter(|line| line["from"] == side).filter_map(|line| line["took_ns"].as_i64());
            of.min()
        };
        for line in lines.iter().filter(|line| line["type"] == "clock") {
            self.connections += 1;
            let Some(offset) = line["offset_ns"].as_i64() else {
                // Nothing arrived of one direction at least.
                let is_one_way = took("client").is_none() || took("server").is_none();
                assert!(line["found_by"] == "nothing" || is_one_way, "{}: {line}", played.name);
                continue;
            };
            let at = nanos(&line["at"]);
            let truth = rewritten.moment(played.ran[1][0], Timestamp::from_nanos(at)).as_nanos() - at;
            if line["found_by"] == "nothing" {
                continue;
            }
            let round_trip = took("client").unwrap() + took("server").unwrap();
            let off = (offset - truth).abs();
            // Without a drift the offset holds at the moment of the segments that tell it.
            let may_be_off = if line["drift_ppb"].is_null() { rewritten.untold_gain(4) } else { 0 };
            if off > round_trip / 2 + may_be_off || off > line["error_ns"].as_i64().unwrap() {
                self.wrong.push(format!("{}: the offset is {truth}, the round trip {round_trip}: {line}", played.name));
            }
            // The strangers' addresses are left as they are.
            if rewritten.translates == line["nat"].is_null() && !played.has_strangers() {
                self.wrong.push(format!("{}: translated: {}: {line}", played.name, rewritten.translates));
            }
        }
    }
}

impl Played {
    /// Plays a scenario; `None` where the kernel lacks what it needs.
    fn of(name: &'static str, definition: Definition, folder: &Path) -> Option<Self> {
        let saved = folder.join(format!("{name}.pcapng"));
        let who = [Who::User, Who::Root, Who::Sudo][name.len() % 3];
        let who = if who.is_playable() { who } else { Who::User };
        let output =
            program().played_by(who).args(["demo", name, "--format", "jsonl", "--save"]).arg(&saved).output().unwrap();
        let told = String::from_utf8_lossy(&output.stderr);
        if !definition.needs.is_empty() && told.contains("cannot be played: this kernel has no") {
            eprintln!("NOT CHECKED here: {}", told.trim_end());
            return None;
        }
        // Whether it went as the scenario says is another test's.
        assert!(matches!(output.status.code(), Some(0 | 1)), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let lines = json(&output.stdout);
        let sides = ["client", "server"].map(|side| folder.join(format!("{name}-{side}.pcapng")));
        let [(client, ran), (server, ran_there)] = sides.each_ref().map(|path| read(path));
        let (frames, ran) = ([client, server], [ran, ran_there]);
        let mut crossings = Vec::new();
        let segments: HashMap<u64, &Value> = lines
            .iter()
            .filter(|line| line["type"] == "segment")
            .map(|line| (line["frame"].as_u64().unwrap(), line))
            .collect();
        for line in lines.iter().filter(|line| line["type"] == "crossing") {
            let Some(frame) = line["frame"].as_u64() else {
                // The actors end after the captures, and with them what is still open.
                assert!(nanos(&line["at"]) >= ran[0][1].as_nanos(), "{name}: {line} was not captured");
                continue;
            };
            let segment = segments[&frame];
            let acts: Vec<String> =
                line["acts"].as_array().unwrap().iter().map(|act| act.as_str().unwrap().to_owned()).collect();
            let from = usize::from(line["from"] == "server");
            let end = if acts.iter().any(|act| act == "injected") { 1 - from } else { from };
            let at = nanos(&segment["at"]);
            let mut same = frames[end].iter().filter(|frame| frame.at == Some(Timestamp::from_nanos(at)));
            let frame = same.next().unwrap_or_else(|| panic!("{name}: {line} was captured")).number;
            assert!(same.next().is_none(), "{name}: two frames at {at}");
            let arrivals = line["arrivals"].as_array().unwrap().iter().map(nanos).collect();
            let octets = segment["octets"].as_u64().unwrap();
            let is_syn = segment["flags"].as_str().unwrap().contains("SYN");
            crossings.push(Crossing { from, seen: (end, frame), at, octets, is_syn, acts, arrivals });
        }
        Some(Self { name, definition, saved, lines, crossings, sides, frames, ran })
    }

    /// Whether SYNs come from hosts that are at neither end.
    fn has_strangers(&self) -> bool {
        self.definition.setting.has_strangers
    }

    /// The capture of one end, changed.
    fn rewrite(
        &self,
        what: &str,
        end: usize,
        change: impl FnOnce(&mut Vec<OwnedFrame>),
        moment: impl Fn(Timestamp) -> Timestamp,
    ) -> PathBuf {
        let path = self.sides[end].with_file_name(format!("{}-{what}.pcapng", self.name));
        let mut frames = self.frames[end].clone();
        change(&mut frames);
        let mut writer = Writer::create(&path).unwrap();
        frames.iter().for_each(|frame| writer.write(&frame.as_frame(), &[]).unwrap());
        let [began, ended] = self.ran[end];
        writer.ran(moment(began), moment(ended));
        writer.finish().unwrap();
        executable_by_all(&path, 0o644);
        path
    }
}

/// All scenarios with two hosts, played once.
fn played() -> &'static [Played] {
    static PLAYED: OnceLock<Vec<Played>> = OnceLock::new();
    PLAYED.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("tcpflow-lab-pairs-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        executable_by_all(&folder, 0o777);
        let definitions = CATALOG.iter().map(|entry| (entry.name, entry.read(&[]).unwrap()));
        let two_hosts: Vec<_> = definitions.filter(|(_, definition)| definition.setting.link.is_some()).collect();
        let (next, total) = (AtomicUsize::new(0), two_hosts.len());
        let two_hosts: Vec<_> = two_hosts.into_iter().map(|one| std::sync::Mutex::new(Some(one))).collect();
        std::thread::scope(|scope| {
            let play = || {
                let mut done = Vec::new();
                while let Some(one) = two_hosts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let (name, definition) = one.lock().unwrap().take().unwrap();
                    done.push(Played::of(name, definition, &folder));
                }
                done
            };
            let threads: Vec<_> = (0..SIDE_BY_SIDE).map(|_| scope.spawn(play)).collect();
            let all: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
            assert_eq!(all.len(), total);
            all.into_iter().flatten().collect()
        })
    })
}

fn program() -> &'static Program {
    static PROGRAM: OnceLock<Program> = OnceLock::new();
    PROGRAM.get_or_init(|| Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow"))))
}

fn paired(sides: &[PathBuf; 2]) -> Vec<Value> {
    analyzed(&["--client-side".as_ref(), sides[0].as_os_str(), "--server-side".as_ref(), sides[1].as_os_str()])
}

/// The json lines of `analyze`, none where it found no connection in both captures.
fn analyze(arguments: &[&std::ffi::OsStr]) -> Vec<Value> {
    let output =
        program().played_by(Who::User).args(["analyze", "--format", "jsonl"]).args(arguments).output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || errors.contains("no connection is in both captures"), "{arguments:?}: {errors}");
    json(&output.stdout)
}

/// The json lines of `analyze`, each of which is as the schema has it.
fn analyzed(arguments: &[&std::ffi::OsStr]) -> Vec<Value> {
    static SCHEMA: OnceLock<jsonschema::Validator> = OnceLock::new();
    let schema = SCHEMA.get_or_init(|| {
        let schema: Value = serde_json::from_str(include_str!("../docs/output.schema.json")).unwrap();
        jsonschema::validator_for(&schema).unwrap()
    });
    let output =
        program().played_by(Who::User).args(["analyze", "--format", "jsonl"]).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    let lines = json(&output.stdout);
    lines.iter().for_each(|line| assert!(schema.is_valid(line), "{line}"));
    lines
}

/// The events of a timeline; whether a checksum was looked at is a matter of the program that reads.
fn events(lines: &[Value]) -> Vec<Value> {
    let types = ["call", "segment", "link", "transition", "icmp", "kernel", "timer"];
    let events = lines.iter().filter(|line| types.iter().any(|known| line["type"] == **known)).cloned();
    let without = |mut line: Value| {
        line.as_object_mut().unwrap().remove("oddities");
        line
    };
    events.map(without).collect()
}

fn json(text: &[u8]) -> Vec<Value> {
    String::from_utf8_lossy(text).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn read(path: &Path) -> (Vec<OwnedFrame>, [Timestamp; 2]) {
    let mut source = FileSource::open(path).unwrap();
    let mut frames = Vec::new();
    while let Some(frame) = source.next_frame().unwrap() {
        frames.push(OwnedFrame::of(&frame));
    }
    (frames, source.ran().unwrap())
}

fn nanos(text: &Value) -> i64 {
    let (seconds, nanos) = text.as_str().unwrap().split_once('.').unwrap();
    seconds.parse::<i64>().unwrap() * 1_000_000_000 + nanos.parse::<i64>().unwrap()
}

/// Has the client behind a translator: another address and port in both directions, the checksums with it.
fn translate(frame: &mut [u8]) {
    translate_ports(frame, 50_001..60_000, |port| port - 20_000);
}

/// The same of whoever has one of those ports.
fn translate_ports(frame: &mut [u8], ports: std::ops::Range<u16>, other: impl Fn(u16) -> u16) {
    let Some((addresses, half, tcp)) = places(frame) else { return };
    for (address, port) in [(addresses, tcp), (addresses + half, tcp + 2)] {
        let number = word(frame, port);
        if !ports.contains(&number) {
            continue;
        }
        let last = address + half - 2;
        for (place, value) in [(last, 0x4d07), (port, other(number))] {
            let old = word(frame, place);
            frame[place..place + 2].copy_from_slice(&value.to_be_bytes());
            let is_address = place == last;
            if is_address && half == 4 {
                amend(&mut frame[24..26], old, value);
            }
            amend(&mut frame[tcp + 16..tcp + 18], old, value);
        }
    }
}

/// Where the addresses of a frame begin, how many octets each has, and where its TCP header begins.
fn places(frame: &[u8]) -> Option<(usize, usize, usize)> {
    match frame[14] >> 4 {
        4 if frame[23] == 6 => Some((26, 4, 14 + usize::from(frame[14] & 15) * 4)),
        6 if frame[20] == 6 => Some((22, 16, 54)),
        _ => None,
    }
}

fn word(frame: &[u8], place: usize) -> u16 {
    u16::from_be_bytes([frame[place], frame[place + 1]])
}

/// Writes four octets of a TCP header, and the checksum with them; they may begin at an odd place.
fn put(frame: &mut [u8], tcp: usize, place: usize, value: u32) {
    let begin = tcp + (place - tcp) / 2 * 2;
    let end = (place + 4 - tcp).next_multiple_of(2) + tcp;
    let before: Vec<u16> = (begin..end).step_by(2).map(|place| word(frame, place)).collect();
    frame[place..place + 4].copy_from_slice(&value.to_be_bytes());
    for (old, place) in before.into_iter().zip((begin..end).step_by(2)) {
        let new = word(frame, place);
        amend(&mut frame[tcp + 16..tcp + 18], old, new);
    }
}

/// Where each option of a TCP header begins, and its kind.
fn options(frame: &[u8], tcp: usize) -> Vec<(usize, u8)> {
    let end = (tcp + usize::from(frame[tcp + 12] >> 4) * 4).min(frame.len());
    let (mut place, mut found) = (tcp + 20, Vec::new());
    while place < end && frame[place] != 0 {
        found.push((place, frame[place]));
        place += if frame[place] == 1 { 1 } else { usize::from(frame.get(place + 1).copied().unwrap_or(2)).max(2) };
    }
    found
}

/// Adds to the numbers of the client's octets, as a firewall does that does not trust its random numbers.
fn renumber(frame: &mut [u8], by: u32) {
    let Some((_, _, tcp)) = places(frame) else { return };
    let number = |frame: &[u8], place: usize| u32::from_be_bytes(frame[place..place + 4].try_into().unwrap());
    let is_clients = !(3_000..3_010).contains(&word(frame, tcp));
    if is_clients {
        let seq = number(frame, tcp + 4).wrapping_add(by);
        put(frame, tcp, tcp + 4, seq);
        return;
    }
    if frame[tcp + 13] & 0x10 != 0 {
        let ack = number(frame, tcp + 8).wrapping_add(by);
        put(frame, tcp, tcp + 8, ack);
    }
    for (place, _) in options(frame, tcp).into_iter().filter(|(_, kind)| *kind == 5) {
        let len = usize::from(frame[place + 1]);
        for edge in (place + 2..place + len).step_by(4) {
            let value = number(frame, edge).wrapping_add(by);
            put(frame, tcp, edge, value);
        }
    }
}

/// Puts octets without meaning in the place of timestamps; whether there were some.
fn strip_timestamps(frame: &mut [u8]) -> bool {
    let Some((_, _, tcp)) = places(frame) else { return false };
    let Some((place, _)) = options(frame, tcp).into_iter().find(|(_, kind)| *kind == 8) else { return false };
    // With the two octets before it: another option, or none.
    let mut bare = frame[place - 2..place + 10].to_vec();
    bare[2..].fill(1);
    for (n, value) in bare.chunks(4).enumerate() {
        put(frame, tcp, place - 2 + n * 4, u32::from_be_bytes(value.try_into().unwrap()));
    }
    true
}

/// A checksum after one word of what it covers was changed (RFC 1624).
fn amend(checksum: &mut [u8], old: u16, new: u16) {
    let sum = u32::from(!u16::from_be_bytes([checksum[0], checksum[1]])) + u32::from(!old) + u32::from(new);
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = (sum & 0xffff) + (sum >> 16);
    checksum.copy_from_slice(&(!(sum as u16)).to_be_bytes());
}

/// Puts segments of IPv4 together that follow each other as an interface with segmentation offload would have them, up to so many octets;
/// how many were put to another.
fn put_together(frames: &mut Vec<OwnedFrame>, most: usize) -> usize {
    let mut whole: Vec<OwnedFrame> = Vec::new();
    let mut count = 0;
    for frame in frames.drain(..) {
        let parts = |frame: &[u8]| {
            let is_tcp = frame[14] == 0x45 && frame[23] == 6;
            let header = 34 + usize::from(frame.get(46).copied().unwrap_or(0) >> 4) * 4;
            let is_data = is_tcp && frame.len() > header && frame[47] & 0x07 == 0;
            is_data.then(|| {
                let seq = u32::from_be_bytes(frame[38..42].try_into().unwrap());
                (header, seq, frame.len() - header)
            })
        };
        let follows = whole.last().and_then(|last| {
            let ((header, seq, len), (other, next, more)) = (parts(&last.bytes)?, parts(&frame.bytes)?);
            let same = |range: std::ops::Range<usize>| last.bytes[range.clone()] == frame.bytes[range];
            let is_next = seq.wrapping_add(len as u32) == next && len + more <= most;
            // Addresses, ports, acknowledgement, window and options.
            let alike = same(26..38) && same(42..46) && same(48..50) && header == other && same(54..header);
            (is_next && alike).then_some(header)
        });
        match (whole.last_mut(), follows) {
            (Some(last), Some(header)) => {
                let mut bytes = [&last.bytes[..], &frame.bytes[header..]].concat();
                let len = (bytes.len() - 14) as u16;
                bytes[16..18].copy_from_slice(&len.to_be_bytes());
                bytes[47] |= frame.bytes[47];
                last.wire_len = bytes.len() as u32;
                last.bytes = bytes.into();
                count += 1;
            }
            _ => whole.push(frame),
        }
    }
    *frames = whole;
    count
}

/// A pcapng file with two interfaces, in the order of time.
fn two_interfaces(frames: &[Vec<OwnedFrame>; 2]) -> Vec<u8> {
    let block = |kind: u32, body: &[u8]| {
        let body = [body, &[0; 3][..body.len().next_multiple_of(4) - body.len()]].concat();
        let length = (body.len() as u32 + 12).to_le_bytes();
        [&kind.to_le_bytes(), &length[..], &body, &length].concat()
    };
    let mut file = block(0x0a0d_0d0a, &[&0x1a2b_3c4du32.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat());
    for name in ["eth-c", "eth-s"] {
        let padded = [name.as_bytes(), &[0; 3]].concat();
        // if_name, and if_tsresol: nanoseconds.
        let options = [&[2, 0, 5, 0][..], &padded, &[9, 0, 1, 0, 9, 0, 0, 0]].concat();
        file.extend(block(1, &[&[1, 0, 0, 0, 0, 0, 0, 0][..], &options].concat()));
    }
    let both = (0u32..).zip(frames).flat_map(|(end, frames)| frames.iter().map(move |frame| (frame.at, end, frame)));
    let mut both: Vec<_> = both.collect();
    both.sort_by_key(|(at, end, _)| (*at, *end));
    for (at, end, frame) in both {
        let at = at.unwrap().as_nanos() as u64;
        let len = frame.bytes.len() as u32;
        let words = [end, (at >> 32) as u32, at as u32, len, len].map(u32::to_le_bytes).concat();
        file.extend(block(6, &[&words[..], &frame.bytes].concat()));
    }
    file
}

fn executable_by_all(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

const SIDE_BY_SIDE: usize = 4;
