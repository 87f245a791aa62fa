//! The command line as a shell sees it: outputs, standard error and exit status.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::Pid;
use tcpflow::capture::Writer;

#[test]
fn help_names_every_subcommand_and_shows_examples() {
    let help = stdout(&["--help"]);
    for word in ["demo", "analyze", "completions", "man", "Examples:", "Exit status:", "--color", "--width", "--ascii"]
    {
        assert!(help.contains(word), "{word} is not in\n{help}");
    }
    for command in ["demo", "analyze", "live", "interfaces", "completions", "man"] {
        assert!(stdout(&[command, "--help"]).contains("Examples:"), "{command}");
    }
    assert_eq!(stdout(&["--version"]), format!("tcpflow {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn bad_usage_is_status_2_and_names_the_option() {
    for (line, named) in [
        (&["demo", "--mtu", "nine"][..], "--mtu"),
        (&["demo", "--port", "65536"], "--port"),
        (&["demo", "--rebind", "--first-close", "client"], "--rebind"),
        (&["demo", "--refused", "--wait"], "--refused"),
        (&["analyze", "--format", "xml", "-"], "xml"),
        (&["analyze"], "FILE"),
        (&["analyse"], "analyse"),
        (&["completions", "csh"], "csh"),
    ] {
        let output = tcpflow(line);
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert_eq!(output.stdout, b"", "{line:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.contains(named), "{line:?}: {told}");
    }
}

#[test]
fn every_shell_gets_completions_that_know_the_options() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = stdout(&["completions", shell]);
        for word in ["analyze", "first-close", "timeline"] {
            assert!(script.contains(word), "{shell} does not know {word}");
        }
    }
    let bash = Command::new("bash").args(["-n", "/dev/stdin"]).stdin(Stdio::piped()).spawn().and_then(|mut bash| {
        bash.stdin.take().unwrap().write_all(stdout(&["completions", "bash"]).as_bytes())?;
        bash.wait()
    });
    assert!(bash.unwrap().success(), "bash does not take its completions");
}

#[test]
fn every_subcommand_has_its_manual_page() {
    assert!(stdout(&["man"]).contains(".TH tcpflow 1"));
    let folder = scratch("man");
    assert_eq!(stdout(&["man", folder.to_str().unwrap()]), "");
    let mut pages: Vec<_> =
        fs::read_dir(&folder).unwrap().map(|page| page.unwrap().file_name().into_string().unwrap()).collect();
    pages.sort();
    assert_eq!(
        pages,
        [
            "tcpflow-analyze.1",
            "tcpflow-completions.1",
            "tcpflow-demo.1",
            "tcpflow-interfaces.1",
            "tcpflow-live.1",
            "tcpflow-man.1",
            "tcpflow-run.1",
            "tcpflow.1"
        ]
    );
    let missing = folder.join("missing");
    let output = tcpflow(&["man", missing.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(one_line(&output), format!("tcpflow: {}: No such file or directory", missing.display()));
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    let echo = capture("echo-v4.pcapng");
    let analyze = ["analyze", &echo];
    let timeline = ["analyze", "--timeline", &echo];
    let jsonl = ["analyze", "--timeline", "--format", "jsonl", &echo];
    for line in [&["completions", "bash"][..], &["man"], &["--help"], &analyze, &timeline, &jsonl] {
        let (reader, writer) = io::pipe().unwrap();
        drop(reader);
        let output = command(line).stdout(writer).output().unwrap();
        assert_eq!(output.status.code(), Some(0), "{line:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line:?}");
    }
}

#[test]
fn an_output_that_takes_nothing_is_told() {
    let echo = capture("echo-v4.pcapng");
    for line in [
        &["--help"][..],
        &["--version"],
        &["live", "--help"],
        &["completions", "bash"],
        &["man"],
        &["interfaces"],
        &["interfaces", "--format", "jsonl"],
        &["demo"],
        &["demo", "--format", "jsonl"],
        &["analyze", &echo],
        &["analyze", "--timeline", &echo],
        &["analyze", "--format", "jsonl", &echo],
        &["analyze", "--format", "csv", &echo],
    ] {
        let output = command(line).stdout(File::create("/dev/full").unwrap()).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        let told = String::from_utf8(output.stderr).unwrap();
        // The demo may have something else to say before that.
        assert_eq!(told.lines().last(), Some("tcpflow: standard output: no space is left on the device"), "{line:?}");
        assert!(told.lines().count() == 1 || line[0] == "demo", "{line:?}: {told}");
    }
}

#[test]
fn bad_input_is_status_2_and_one_line_that_names_it() {
    let folder = scratch("bad-input");
    let echo = capture("echo-v4.pcapng");
    let whole = fs::read(&echo).unwrap();
    for (name, octets) in [("empty.pcap", &b""[..]), ("text.pcap", b"hello\n"), ("half-header.pcapng", &whole[..5])] {
        fs::write(folder.join(name), octets).unwrap();
    }
    for (line, named) in [
        (&["missing.pcap"][..], "missing.pcap"),
        (&["empty.pcap"], "empty.pcap is empty"),
        (&["."], "is a directory"),
        (&["text.pcap"], "text.pcap is not a capture"),
        (&["half-header.pcapng"], "half-header.pcapng"),
        (&["-"], "standard input is empty"),
        (&[&echo, "missing.pcap"], "`missing.pcap` is no file, and the filter \"missing.pcap\" cannot be used: "),
        (
            &[&echo, "tcp", "porrt", "80"],
            "`tcp` is no file, and the filter \"tcp porrt 80\" cannot be used: syntax error",
        ),
        (&[&echo, "--filter", "porrt 80"], "porrt 80"),
        (&[&echo, "--filter", "porrt 80"], "tcpflow: the filter \"porrt 80\" cannot be used: syntax error"),
    ] {
        for form in [&[][..], &["--timeline"], &["--format", "jsonl"]] {
            let output = command(&["analyze"]).args(form).args(line).current_dir(&folder).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{line:?} {form:?}");
            assert!(one_line(&output).contains(named), "{line:?} {form:?}: {}", one_line(&output));
        }
    }
}

#[test]
fn what_chooses_nothing_says_of_how_many() {
    let echo = capture("echo-v4.pcapng");
    for (line, said) in [
        (&["tcp", "port", "81"][..], "tcpflow: filter: 0 of 10 frames match"),
        (&["--filter", "udp", "tcp"], "tcpflow: filter: 0 of 10 frames match"),
        (&["--where", "id == 77"], "tcpflow: --where: 0 of 1 connections match"),
        (&["--where", "id == 77", "--filter", "udp"], "tcpflow: filter: 0 of 10 frames match"),
    ] {
        for form in [&[][..], &["--timeline"], &["--format", "jsonl"], &["--format", "csv"]] {
            let output = command(&["analyze", &echo]).args(form).args(line).output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{line:?} {form:?}: it is an answer");
            assert_eq!(one_line(&output), said, "{line:?} {form:?}");
        }
    }
    for line in [&["tcp", "port", "3000"][..], &["--where", "id == 0"], &[]] {
        let output = command(&["analyze", &echo]).args(line).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{line:?}");
    }
}

#[test]
fn files_that_cannot_be_read_are_left_out_and_told_one_by_one() {
    let folder = scratch("some-bad");
    let (echo, other) = (capture("echo-v4.pcapng"), capture("refused.pcapng"));
    fs::write(folder.join("empty.pcap"), b"").unwrap();
    fs::write(folder.join("text.pcap"), b"hello\n").unwrap();
    for form in [&[][..], &["--timeline"], &["--timeline", "--top", "2"], &["--format", "jsonl"]] {
        let analyze =
            |files: &[&str]| command(&["analyze"]).args(form).args(files).current_dir(&folder).output().unwrap();
        let good = analyze(&[&echo, &other]);
        assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
        let some = analyze(&["empty.pcap", &echo, ".", &other, "text.pcap"]);
        assert_eq!(some.status.code(), Some(2), "{form:?}");
        assert_eq!(some.stdout, good.stdout, "{form:?}");
        let told = String::from_utf8(some.stderr).unwrap();
        let lines: Vec<_> = told.lines().collect();
        assert!(lines.len() == 3 && lines[0].starts_with("tcpflow: empty.pcap is empty"), "{told}");
        assert!(lines[1].contains(". is a directory") && lines[2].contains("text.pcap is not a capture"), "{told}");
        let none = analyze(&["empty.pcap", "text.pcap"]);
        assert_eq!((none.status.code(), &none.stdout[..]), (Some(2), &b""[..]));
        let told = String::from_utf8(none.stderr).unwrap();
        assert!(told.lines().count() == 2 && told.contains("empty.pcap is") && told.contains("text.pcap is"), "{told}");
    }
}

#[test]
fn each_file_for_itself_is_told_as_it_is_alone() {
    let folder = scratch("each");
    let (echo, other) = (capture("echo-v4.pcapng"), capture("three-clients.pcapng"));
    fs::write(folder.join("empty.pcap"), b"").unwrap();
    let alone = |form: &[&str], file: &str| stdout(&[&["analyze"], form, &[file, "tcp"][..]].concat());
    let each = |form: &[&str], files: &[&str]| {
        let mut command = command(&["analyze", "--each"]);
        command.args(form).args(files).arg("tcp").current_dir(&folder).output().unwrap()
    };
    for form in [&[][..], &["--timeline"], &["--findings"], &["--timeline", "--top", "1"], &["--sort", "-id"]] {
        let output = each(form, &[&echo, &other]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let expected = format!("==> {echo} <==\n{}\n==> {other} <==\n{}", alone(form, &echo), alone(form, &other));
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{form:?}");
    }
    for form in [&["--format", "jsonl"][..], &["--format", "jsonl", "--timeline"]] {
        // One that cannot be read has no line, and stops nothing.
        let output = each(form, &["empty.pcap", &echo, "empty.pcap", &other, "."]);
        assert_eq!(output.status.code(), Some(2));
        let told = String::from_utf8(output.stderr).unwrap();
        assert!(told.lines().count() == 3 && told.matches("empty.pcap is empty").count() == 2, "{told}");
        let name = |file: &str| format!("{}\n", serde_json::json!({"name": file, "type": "file"}));
        let expected = name(&echo) + &alone(form, &echo) + &name(&other) + &alone(form, &other);
        assert_eq!(String::from_utf8(output.stdout).unwrap(), expected, "{form:?}");
    }
    for form in [&["--format", "csv"][..], &["--format", "csv", "--findings"]] {
        let output = each(form, &["empty.pcap", &echo, &other]);
        let told = String::from_utf8(output.stdout).unwrap();
        let (echoed, others) = (alone(form, &echo), alone(form, &other));
        let (header, _) = others.split_once('\n').unwrap();
        let mut expected = vec![format!("file,{header}")];
        expected.extend(echoed.lines().skip(1).map(|record| format!("{echo},{record}")));
        expected.extend(others.lines().skip(1).map(|record| format!("{other},{record}")));
        assert_eq!(told.lines().collect::<Vec<_>>(), expected, "{form:?}");
    }
    let twice = command(&["analyze", "--each", "-", "-"]).output().unwrap();
    assert!(twice.status.code() == Some(2) && one_line(&twice).contains("named twice"), "{}", one_line(&twice));
}

#[test]
fn a_stream_that_is_named_twice_is_told() {
    let folder = scratch("twice");
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for (line, named) in [
        (&["-", "-"][..], "standard input is named twice"),
        (&["pipe", "pipe"], "pipe is named twice"),
        (&["pipe", "./pipe"], "./pipe is named twice"),
    ] {
        let output = command(&["analyze"]).args(line).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{line:?}");
        assert!(one_line(&output).contains(named), "{line:?}: {}", one_line(&output));
    }
    // A file can be read twice.
    let echo = capture("echo-v4.pcapng");
    assert!(stdout(&["analyze", "--format", "jsonl", &echo, &echo]).contains("\"frames\":"));
}

#[test]
fn less_memory_than_is_enough_for_anything_is_refused() {
    let echo = capture("echo-v4.pcapng");
    for command in ["analyze", "live", "demo"] {
        let mut tcpflow = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
        let output = tcpflow.args([command, "--memory", "63M"]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2));
        assert!(said.contains("no less than 64M"), "{said}");
    }
    assert!(stdout(&["analyze", "--memory", "64M", "--format", "jsonl", &echo]).contains("\"evicted\":"));
}

#[test]
fn as_many_files_are_opened_as_the_system_allows() {
    let echo = capture("echo-v4.pcapng");
    let limited = |limit: &str| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit}; exec \"$0\" analyze --format jsonl \"$@\"")]);
        command.arg(env!("CARGO_BIN_EXE_tcpflow")).args(vec![&echo; 100]).output().unwrap()
    };
    let raised = limited("ulimit -Sn 64");
    assert!(raised.status.success(), "{}", String::from_utf8_lossy(&raised.stderr));
    let refused = limited("ulimit -n 64");
    assert_eq!((refused.status.code(), &refused.stdout[..]), (Some(2), &b""[..]));
    let told = one_line(&refused);
    assert!(told.contains("100 files") && told.contains("ulimit -Hn 132") && told.contains("mergecap"), "{told}");
}

#[test]
fn a_link_type_that_is_not_read_is_told_with_the_file() {
    let folder = scratch("link");
    let mut capture = vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0];
    // LINKTYPE_USER0, and a frame of four octets.
    capture.extend([147, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 4, 0, 0, 0, 1, 2, 3, 4]);
    for name in ["user0.pcap", "other.pcap"] {
        fs::write(folder.join(name), &capture).unwrap();
    }
    for (files, named) in [
        (&["user0.pcap"][..], "user0.pcap: no frame could be read: their link type is 147"),
        (&["user0.pcap", "other.pcap"], "user0.pcap and 1 more: no frame could be read"),
    ] {
        let output = command(&["analyze"]).args(files).current_dir(&folder).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        assert!(one_line(&output).contains(named), "{}", one_line(&output));
    }
}

#[test]
fn text_is_ascii_where_the_locale_is_not_utf_8() {
    let echo = capture("echo-v4.pcapng");
    for form in [&[][..], &["--timeline"], &["--findings"]] {
        let told = |locale: &str| {
            let output = command(&["analyze"]).args(form).arg(&echo).env("LC_ALL", locale).output().unwrap();
            assert!(output.status.success());
            output.stdout
        };
        assert!(told("C").is_ascii(), "{form:?}: {}", String::from_utf8_lossy(&told("C")));
        if form == ["--timeline"] {
            assert!(!told("C.UTF-8").is_ascii());
        }
    }
}

#[test]
fn a_capture_that_was_cut_short_is_read_as_far_as_it_goes() {
    let folder = scratch("cut");
    let whole = fs::read(capture("echo-v4.pcapng")).unwrap();
    let cut = folder.join("cut.pcapng");
    fs::write(&cut, &whole[..3000]).unwrap();
    let output = tcpflow(&["analyze", "--format", "jsonl", cut.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(2));
    let told = one_line(&output);
    assert!(told.contains("cut.pcapng") && told.contains("frame "), "{told}");
    let lines: Vec<serde_json::Value> =
        String::from_utf8(output.stdout).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let [connection, totals] = &lines[..] else { panic!("{lines:?}") };
    let frames = totals["frames"].as_u64().unwrap();
    assert!((1..10).contains(&frames), "{totals}");
    assert_eq!(connection["last_frame"], frames);
    assert!(told.contains(&format!("frame {frames}")), "{told}");
}

#[test]
fn a_capture_is_the_same_from_a_pipe_and_through_a_filter() {
    let echo = capture("echo-v4.pcapng");
    let told = stdout(&["analyze", "--format", "jsonl", &echo]);
    let piped = command(&["analyze", "--format", "jsonl", "-"]).stdin(File::open(&echo).unwrap()).output().unwrap();
    assert_eq!(String::from_utf8(piped.stdout).unwrap(), told);
    assert_eq!(stdout(&["analyze", "--format", "jsonl", &echo, "tcp", "port", "3000"]), told);
    let none = stdout(&["analyze", "--format", "jsonl", &echo, "tcp", "port", "3001"]);
    assert!(none.starts_with(r#"{"#) && none.lines().count() == 1 && none.contains(r#""connections":0"#), "{none}");
}

#[test]
fn what_a_capture_says_of_itself_cannot_reach_the_terminal() {
    let folder = scratch("escapes");
    let path = folder.join("\u{1b}[31mred\n.pcapng");
    let mut writer = Writer::create(&path).unwrap();
    writer.attach(b"{\"tcpflow\":{\"version\":1}}\n{\"notice\":\"\\u001b]0;title\\u0007\\u202e\\n\"}\n").unwrap();
    writer.attach(b"{\"tcpflow\":{\"version\":1}}\n{\"call\":{\"effect\":\"\\u001b[2J\"}}\n").unwrap();
    writer.finish().unwrap();
    let output = tcpflow(&["analyze", "--timeline", path.to_str().unwrap()]);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(!told.chars().any(|c| (c.is_control() && c != '\n') || c == '\u{202e}'), "{told:?}");
    let marked = r#"\u{1b}[31mred\n.pcapng: a note kept in this file says "\x1b]0;title\x07"#;
    for shown in [marked, "\\u{1b}[31mred\\n.pcapng: the calls kept in it cannot be read"] {
        assert!(told.contains(shown), "{told}");
    }
}

#[test]
fn an_interrupt_ends_the_wait_for_a_stream() {
    let pipe = scratch("interrupted").join("pipe");
    nix::unistd::mkfifo(&pipe, Mode::from_bits_truncate(0o600)).unwrap();
    let started = || {
        let mut command = command(&["analyze", pipe.to_str().unwrap()]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        // There is a reader only once tcpflow has opened the pipe, and by then it catches the signal.
        let writer = loop {
            match OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK).open(&pipe) {
                Ok(writer) => break writer,
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::ENXIO), "{error}"),
            }
            std::thread::yield_now();
        };
        (child, writer)
    };
    let interrupted = |child: Child| {
        nix::sys::signal::kill(Pid::from_raw(child.id() as i32), Signal::SIGINT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        let told = one_line(&output);
        assert!(told.contains("interrupted"), "{told}");
        String::from_utf8(output.stdout).unwrap()
    };

    let (child, _silent) = started();
    assert_eq!(interrupted(child), "");

    let (child, mut writer) = started();
    writer.write_all(&fs::read(capture("echo-v4.pcapng")).unwrap()).unwrap();
    let mut unread = 1;
    while unread > 0 {
        // SAFETY: the call writes one int.
        assert_eq!(unsafe { libc::ioctl(writer.as_raw_fd(), libc::FIONREAD, &raw mut unread) }, 0);
        std::thread::yield_now();
    }
    let table = interrupted(child);
    assert!(table.contains("127.0.0.1:3000") && table.contains("10 frames"), "{table}");
}

/// A stored capture's path.
fn capture(name: &str) -> String {
    format!("{}/captures/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn command(line: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tcpflow"));
    command.args(line).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    command
}

fn tcpflow(line: &[&str]) -> Output {
    command(line).output().unwrap()
}

/// What a command that succeeds prints.
fn stdout(line: &[&str]) -> String {
    let output = tcpflow(line);
    assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What a command that fails says on standard error, which must be one line.
fn one_line(output: &Output) -> String {
    let told = String::from_utf8(output.stderr.clone()).unwrap();
    assert_eq!(told.lines().count(), 1, "{told}");
    told.trim_end().to_owned()
}

/// An empty folder for one test.
fn scratch(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("cli").join(name);
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir_all(&folder).unwrap();
    folder
}
