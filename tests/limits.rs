//! `docs/limits.md` says what the code says: each value is the constant's, each test named is one, and no bound is missing.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

#[test]
fn the_limits_documented_are_those_of_the_code() {
    let mut checked = 0;
    for [what, value, place, _] in all() {
        let spans = spans(&place);
        let [file, name] = &spans[..] else {
            assert!(root().join(&spans[0]).is_file(), "{what}: {place}");
            continue;
        };
        let source = fs::read_to_string(root().join(file)).unwrap_or_else(|error| panic!("{what}: {file}: {error}"));
        let value = value.trim_matches('`');
        let is_constant = source
            .lines()
            .filter_map(|line| line.split_once(&format!("const {name}: ")))
            .any(|(_, rest)| rest.split_once(" = ").is_some_and(|(_, is)| is == format!("{value};")));
        let is_default = source.contains(&format!("            {name}: {value},\n"));
        assert!(is_constant || is_default, "{what}: {name} in {file} is not {value}");
        checked += 1;
    }
    assert!(checked > 25, "{checked} bounds with a value");
}

/// A new number in the code has to be put down: in the document, if it bounds something, or else below.
#[test]
fn every_number_that_could_be_a_bound_is_documented_or_said_to_be_none() {
    let documented =
        all().map(|[_, _, place, _]| spans(&place)).filter_map(|spans| <[String; 2]>::try_from(spans).ok());
    let mut known: BTreeSet<(String, String)> = documented.map(|[file, name]| (file, name)).collect();
    for (_, places) in NO_BOUNDS {
        for place in places.lines() {
            let mut words = place.split_whitespace();
            let Some(file) = words.next() else { continue };
            for name in words {
                let is_new = known.insert((format!("src/{file}"), name.to_owned()));
                assert!(is_new, "{file}: {name} is put down twice");
            }
        }
    }
    let mut found = BTreeSet::new();
    for (file, text) in sources(&root().join("src")).into_iter().filter(|(file, _)| !file.ends_with("tests.rs")) {
        let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
        let names = text.lines().filter_map(number).map(str::to_owned);
        found.extend(names.map(|name| (file.clone(), name)));
    }
    let unknown: Vec<_> = found.difference(&known).collect();
    assert!(unknown.is_empty(), "neither in docs/limits.md nor in NO_BOUNDS: {unknown:?}");
    // Those of fields stand in the document by the field's name.
    let gone: Vec<_> = known.difference(&found).filter(|(_, name)| name.chars().all(|c| !c.is_lowercase())).collect();
    let gone: Vec<_> = gone.into_iter().filter(|(file, name)| !has_constant(file, name)).collect();
    assert!(gone.is_empty(), "these are no longer there: {gone:?}");
}

/// The name of a constant that a line declares and that could bound something: a whole number, signed or not, or a time.
fn number(line: &str) -> Option<&str> {
    let (before, declared) = line.split_once("const ")?;
    let (name, rest) = declared.split_once(": ")?;
    let (kind, _) = rest.split_once(" = ")?;
    let is_small = matches!(kind, "u8" | "u16" | "i8" | "i16")
        && ["MOST", "MAX", "LONGEST", "LARGEST"].iter().any(|of| name.starts_with(of));
    let is_wide =
        matches!(kind, "usize" | "isize" | "u32" | "u64" | "u128" | "i32" | "i64" | "i128" | "Duration" | "Span");
    (before.trim_start().is_empty() || before.trim_start().starts_with("pub")).then_some(())?;
    (is_small || is_wide).then_some(name)
}

fn has_constant(file: &str, name: &str) -> bool {
    fs::read_to_string(root().join(file)).is_ok_and(|text| text.contains(&format!("const {name}: ")))
}

#[test]
fn each_limit_has_a_test_that_reaches_it() {
    let mut tests = String::new();
    for folder in ["src", "tests"] {
        gather(&root().join(folder), &mut tests);
    }
    let untested = rows::<4>();
    assert!(untested.is_empty(), "no test is named for these: {untested:?}");
    for [what, _, _, told, test] in bounds() {
        assert!(told.len() > 7, "{what}: what happens?");
        let names = spans(&test);
        assert!(!names.is_empty(), "{what} has no test");
        for name in names {
            let is_test = tests.contains(&format!("fn {name}("));
            assert!(is_test, "{what}: there is no test {name}");
        }
    }
}

/// What, its value, where, and what is told, of every bound.
fn all() -> impl Iterator<Item = [String; 4]> {
    bounds().into_iter().map(|[what, value, place, told, _]| [what, value, place, told])
}

/// The rows of those tables that have the five columns of bounds.
fn bounds() -> Vec<[String; 5]> {
    rows()
}

/// The rows of tables that have so many columns.
fn rows<const COLUMNS: usize>() -> Vec<[String; COLUMNS]> {
    let text = fs::read_to_string(root().join("docs/limits.md")).expect("docs/limits.md");
    let rows = text.lines().filter(|line| line.starts_with('|') && !line.starts_with("|---"));
    let cells = rows.map(|row| row.trim_matches('|').split(" | ").map(|cell| cell.trim().to_owned()).collect());
    let rows: Vec<[String; COLUMNS]> = cells.filter_map(|cells: Vec<String>| cells.try_into().ok()).collect();
    rows.into_iter().filter(|row| row[0] != "bound").collect()
}

/// What stands between backticks.
fn spans(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn gather(folder: &Path, text: &mut String) {
    sources(folder).iter().for_each(|(_, source)| text.push_str(source));
}

/// The Rust files of a folder, by their paths from the root, and what stands in them.
fn sources(folder: &Path) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let path = entry.path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let name = path.strip_prefix(root()).expect("below the root").to_string_lossy().into_owned();
            found.push((name, fs::read_to_string(&path).expect("source text")));
        }
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_owned()
}

/// Numbers of the code that bound nothing, by what they are instead: the file below `src`, and its constants.
const NO_BOUNDS: &[(&str, &str)] = &[
    (
        "a number or a length of a format, of a protocol or of the kernel's interface",
        "
        calls/kept.rs VERSION
        calls/kept/first.rs VERSION
        calls/errno.rs MOST LAST_NAMED
        calls/keys.rs STORAGE ROOM
        calls/traced/abi.rs ARCH FOREIGN X32
        calls/traced/decode.rs MAX_ERRNO IOVEC MSGHDR MMSGHDR POLLFD CMSGHDR TIMESPEC
        calls/traced/tracer/queue.rs NAMED LONGEST_ADDRESS
        calls/traced/tracer/recorded.rs FIOCLEX FIONCLEX
        capture/compression.rs MAGIC INFLATED START LONGEST_HEAD BLOCK
        capture/pcap.rs FILE_HEADER
        capture/pcapng.rs SECTION INTERFACE PACKET SIMPLE_PACKET STATISTICS ENHANCED_PACKET EXAMPLE_ENTERPRISE BLOCK_HEADER
        capture/writer.rs SNAP_LEN
        tcp/octets.rs WIDEST_WINDOW
        tcp/stream.rs LARGEST
        flow/breakdown/course.rs TIMESTAMP
        flow/breakdown/way.rs USUAL
        flow/problem.rs SMALL
        kernel/sock_diag.rs REQUEST ANSWER
        kernel/tcp_info.rs ROOM
        kernel/tracepoints/format.rs SOCKADDR
        kernel/tracepoints/programs.rs REGISTERS ABI_32 LOST COMM EXIT FORK SAMPLE MMAP2
        lab/actor.rs IP_LOCAL_PORT_RANGE
        lab/host.rs ETHTOOL_STXCSUM ETHTOOL_STSO ETHTOOL_SGSO ETHTOOL_SGRO
        lab/need.rs TCP_AO_ADD_KEY
        lab/network.rs ETHERNET_HEADER LARGEST_PACKET FIRST_INDEX
        lab/opening.rs ETHERNET HEADERS
        lab/rules.rs ETHERNET
        lab/tap.rs HEADROOM
        report/clock.rs NANOS_PER_DAY DAYS_TO_EPOCH DAYS_PER_ERA
        report/jsonl/put.rs SECOND SHIFT PLACES
        report/jsonl/stream.rs HIGHEST
        report/wording/amount.rs EXACT
        story/classify.rs SMALLEST_MSS
        story/descriptors.rs ENOTSOCK EBADF
        story/diagnoses.rs EADDRNOTAVAIL EINVAL SOCKADDR_IN SOCKADDR_IN6
        story/repeat.rs SHORTEST_HEADERS
        story/link_record.rs VERSION
        story/timing.rs BLOCKS
        time.rs MIN MAX
        wire/header.rs MIN_HEADER MIN_SHOWN
        ",
    ),
    (
        "how something is laid out in memory, or a mark of its own among numbers",
        "
        capture/closing.rs STACK ALIGN
        commands/memory.rs LARGE STEP
        flow/attempt.rs NONE
        flow/breakdown/keeper.rs ENTRY
        flow/entry.rs ATTEMPT
        flow/history.rs BITS LETTERS_A_WORD SECOND SECONDS LONGEST
        flow/slab.rs BLOCK CACHE_LINE
        flow/trouble.rs FIRST IS_NEW IS_CROSSED
        capture/input.rs LINE
        passage/digest.rs HEAD FACTOR
        passage/connections.rs NOWHERE
        passage/join.rs NOBODY
        passage/matching.rs END
        passage/passages.rs UNKNOWN NOWHERE
        passage/placed.rs NONE
        report/selection.rs SHELF
        story/events.rs CHUNK FEW
        tcp/copies.rs TICKS
        tcp/round_trips.rs COARSE
        ",
    ),
    (
        "how much is done, read, written or taken at a time: what is more comes next",
        "
        calls/traced/abi.rs SOME
        commands/run/witnesses.rs FEW_ASKED
        calls/traced/tracer/nameless.rs MOST_AT_ONCE
        capture/attachment.rs PIECE
        capture/compression.rs BUFFER
        capture/input.rs WINDOW GOAL
        capture/pcapng.rs SKIP_STEP
        capture/writer.rs STATISTICS_BLOCK BUFFER
        commands/names.rs AT_ONCE
        commands/outlet.rs LARGEST
        commands/pipeline.rs TOLD_TOGETHER MOST_SILENT
        commands/run/backend.rs STACK
        commands/run/delayed.rs MOST_AT_ONCE
        flow/bundle.rs AT_ONCE
        flow/expiry.rs SOON
        flow/table.rs AT_ONCE
        kernel/tracepoints/programs.rs MOST_SKIPPED AHEAD
        kernel/tracepoints/unnamed.rs AT_ONCE LEAST READS
        lab/echo.rs BUFFER
        lab/host.rs SLICE
        lab/stage.rs WINDOW
        lab/tap.rs LEAST_PLACE LEAST_PLACES BLOCK
        passage/connections.rs AT_ONCE
        passage/fates.rs AT_ONCE PARTS
        report/csv.rs GATHERED
        report/jsonl/mod.rs GATHERED
        report/parquet.rs GROUP
        report/passages.rs PORTION
        report/text.rs WRITTEN
        report/timeline/sheet.rs PART
        session/batch.rs SMALL_BATCH
        commands/cores.rs PORTIONS AHEAD
        commands/two_points.rs TOGETHER
        story/forgetting.rs MOST_QUIET
        ",
    ),
    (
        "how often something is looked at, how soon it is told, or how long it is waited for before it is looked at again",
        "
        calls/traced/system.rs LOOKING MOST_VAIN
        calls/traced/tracer/recorded.rs CHECK
        capture/feed.rs ASKING
        capture/live.rs GATHERING PATIENCE
        capture/tape.rs STEPS
        commands/follow.rs TICK
        commands/gone.rs OFTEN TRIMS
        commands/interrupt.rs LOOK SLOWNESS
        commands/live.rs TICK SHORT_TICK
        commands/pipeline.rs PATIENCE
        commands/run/delayed.rs RETRY
        commands/run/saving.rs SOON
        commands/run/watching.rs RETRY
        commands/scenario.rs LOOK
        commands/watch.rs PATIENCE
        kernel/clock.rs READINGS
        kernel/tracepoints.rs LEAVING
        kernel/tracepoints/unnamed.rs PATIENCE LONGEST_PAUSE
        lab/aftermath.rs TICK POLL
        lab/director.rs LOOK LONGEST_PAUSE SHARE
        lab/relay.rs IDLE
        lab/supervision.rs LOOK
        lab/tap.rs FULL
        session/growth.rs SWEEP
        ",
    ),
    (
        "what one of those costs that a bound of octets counts",
        "
        calls/kept.rs COST_OF_EVENT COST_OF_EVIDENCE
        commands/tellers.rs ROW
        report/selection.rs ALLOCATION
        flow/conflicts.rs PER_DIRECTION PER_PIECE PER_FOUND
        session/growth.rs PER_CONNECTION
        story/link_record.rs COST_OF_FRAME COST_OF_SIGHTING
        wire/datagram.rs STEPS
        wire/fragments.rs PACKET_COST
        ",
    ),
    (
        "columns or characters of a page, whose lines are wrapped",
        "
        cli.rs HELP_WIDTH
        commands/look.rs DEFAULT_WIDTH
        commands/progress.rs WIDE
        commands/scenario.rs LABELS NAMES
        report/accounts.rs NAME
        report/breakdown.rs NAME
        report/diagnoses.rs NAME
        report/field/reference.rs NAME
        report/findings.rs FRAME ID SIDE
        report/live/lines.rs ID END WHAT STATE NARROW WIDE
        report/overview.rs NAME
        report/run.rs MARK
        report/style.rs NARROWEST LADDER WIDEST
        report/summary.rs NAME READABLE
        report/table/mod.rs GAP INDENT ONE_LINE
        report/timeline/chart.rs NARROWEST WIDEST TIME
        report/timeline/compact.rs CONTINUED STATE NARROW
        report/timeline/follow.rs ID
        report/timeline/words.rs ROOMY
        report/view/runs.rs SHORTEST_RUN
        report/wording/amount.rs MOST
        report/wording/english.rs LATE
        report/wording/problem.rs LONG
        script/error.rs BEFORE AFTER
        ",
    ),
    (
        "how long or how often it takes until something is called what it is, by a rule that says so",
        "
        calls/traced/tracer.rs ORPHANED
        calls/traced/tracer/queue.rs UNFINISHED
        calls/traced/tracer/recorded.rs LONGEST_LOOK
        commands/follow.rs LINGER
        commands/gone.rs QUIET UNTOLD
        commands/interrupt.rs STUCK
        commands/run/chains.rs LATE
        commands/run/delayed.rs WAIT
        commands/run/watching.rs QUIET LONGEST_REST
        story/accept_queue.rs SLACK
        flow/breakdown/way.rs SLACK LATER MOST_FLAT NEAR TOGETHER LEAST_DELAY MOST_DELAY REORDERING LEAST_TIMEOUT
        commands/overlap.rs LEAST_SHARED
        flow/problem.rs STEP TELLING_TIMES TELLING_TIME TELLING_WAIT TELLING_KEEP_ALIVES TELLING_QUIET TELLING_WINDOW TELLING_SHARE
        flow/record/mod.rs TICKS
        flow/symptoms.rs STEP_BACK TELLING_STEP LONG LARGE_TIMES FILLS LEAST_SCALE REORDERING AT_ONCE UNDER_WAY
        flow/verdict.rs AT_ONCE
        lab/definition.rs PATIENCE
        lab/director.rs LONGEST_TIMER
        lab/relay.rs LATEST
        lab/stage.rs ALWAYS COURTESY
        lab/traced.rs BIRTH_WINDOW LONE_WINDOW
        lab/trial.rs PUNCTUAL
        passage/clocks.rs FEWEST
        passage/connections.rs FEWEST_TWICE
        passage/fates.rs JITTER
        passage/join.rs JITTER
        passage/segments.rs COMPARED
        report/view/rows.rs SLANTED
        report/wording/breakdown.rs NEARLY_ALL MOST LEAST_NAMED
        report/wording/passages.rs SLOW
        script/perform.rs STEP
        session/growth.rs KEPT
        story/accounts.rs AHEAD LONGEST_QUEUED
        story/classify.rs DELAYED LONGEST_DELAY SHORTEST_IDLE SHORTEST_KEEP_ALIVE COPIED MOST_COUNTED
        story/connection.rs NEAR
        story/diagnoses.rs HUGE BUSY KEPT ZEROS
        session/elsewhere.rs REMEMBERED
        story/ground.rs MINIMUM_RTO MOMENT JITTER TICK
        story/icmp.rs LAG
        story/link.rs LAG
        story/path.rs LAG
        story/repeat.rs PROBE_SLACK SHORTEST_BOTH MOST_MISSING LARGEST_DATAGRAM
        story/samples.rs LONGEST_CROSSED AHEAD LAG SHORTEST_TIME_WAIT
        story/stalls.rs STALL HELD MERGED
        story/unseen.rs LONGEST_EARLY
        tcp/analysis.rs FAST REORDERING
        tcp/copies.rs IDENTIFIED
        ",
    ),
    (
        "so much there is at least, whatever else is asked for",
        "
        commands/files.rs LEAST_FILES
        commands/source.rs OTHERS
        session/growth.rs FEWEST_WAITING
        ",
    ),
];
