//! The files of `-w` and `--save` where somebody or something works against them: links, pipes, stalled readers, full disks, signals.

mod cases;
mod executable;
mod process;
mod server;
mod users;

use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{env, thread};

use cases::Cases;
use nix::sys::signal::Signal;
use process::{LIMIT, Process};
use serde_json::Value;
use server::Server;
use users::{NOBODY, Program, Who as Player};

/// What is tried. Each case starts its programs itself, as several users.
const CASES: Cases<Who> = Cases {
    short: &[
        ("no_link_in_a_sticky_folder_is_followed", &[Who::Root], sticky),
        ("no_link_of_another_user_is_followed", &[Who::Root], foreign_link),
        ("a_pipe_of_another_user_in_a_sticky_folder_is_not_written", &[Who::Root], foreign_pipe),
        ("a_named_pipe_with_a_reader_is_written_and_stays_one", &[Who::Root], named_pipe),
        ("a_file_that_is_replaced_leaves_its_mode_and_belongs_to_the_caller", &[Who::Root], mode_and_owner),
        ("what_a_killed_capture_left_goes_with_the_next", &[Who::Root], killed),
        ("a_reader_that_stalls_holds_up_no_file", &[Who::Root], stalled),
        ("a_reader_that_stalls_for_a_while_gets_the_rest_and_the_count", &[Who::Root], stalled_for_a_while),
        ("a_reader_that_stalls_holds_up_no_saved_demo", &[Who::Root], stalled_demo),
        ("an_interrupt_while_a_demo_is_told_is_not_one_of_its_play", &[Who::Root], interrupted_while_told),
        ("the_second_signal_keeps_the_file_at_once", &[Who::Root], second_signal),
        ("a_full_disk_keeps_whole_frames", &[Who::Root], full_disk),
        ("a_full_disk_is_told_by_the_demo", &[Who::Root], full_disk_of_demo),
        ("the_limit_on_the_size_of_files_is_told", &[Who::Root], limit_on_files),
        ("few_descriptors_are_named_as_that", &[Who::Root], few_descriptors),
        ("a_missing_proc_is_named_as_that", &[Who::Root], no_proc),
    ],
    // What takes mkfs.btrfs: no other file system of a usual kernel has quotas without being built for them.
    long: &[("a_used_up_quota_keeps_whole_frames", &[Who::Root], quota)],
};

/// As whom the tests themselves run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Root,
}

fn main() -> ExitCode {
    if CASES.play_own() {
        return ExitCode::SUCCESS;
    }
    let player = Program::within_reach(&env::current_exe().expect("this program has a path"));
    let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    CASES.play(|Who::Root| {
        Player::Root.is_playable().then(|| {
            let mut command = player.played_by(Player::Root);
            command.env(TCPFLOW, tcpflow.played_by(Player::Root).get_program());
            command
        })
    })
}

// ---- what others may put in the way ----

fn sticky() {
    let scratch = Scratch::new("sticky");
    let victim = scratch.secret();
    let shared = scratch.folder("shared", 0o1777, 0);
    symlink(&victim, shared.join("a.pcap")).unwrap();
    symlink(&scratch.0, shared.join("folder")).unwrap();
    for owner in [0, 1, NOBODY] {
        for link in ["a.pcap", "folder"] {
            nix::unistd::fchownat(
                nix::fcntl::AT_FDCWD,
                &shared.join(link),
                Some(owner.into()),
                None,
                nix::fcntl::AtFlags::AT_SYMLINK_NOFOLLOW,
            )
            .unwrap();
        }
        for who in [Player::Root, Player::Sudo] {
            for path in [shared.join("a.pcap"), shared.join("folder/new.pcap")] {
                for options in [&["live", "-i", "lo", "-w"][..], &["demo", "--save"]] {
                    let told = refused(tcpflow(who).args(options).arg(&path));
                    assert!(told.contains("is a symbolic link in a folder that everybody may write to"), "{told}");
                }
            }
        }
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    assert!(fs::symlink_metadata(shared.join("a.pcap")).unwrap().is_symlink());
    assert!(!scratch.0.join("new.pcap").exists());
    assert_eq!(names(&shared), ["a.pcap", "folder"]);
}

fn foreign_link() {
    let scratch = Scratch::new("foreign");
    let victim = scratch.secret();
    // User 1's link in a folder of user 1's, where nobody, for whom sudo acts, may write, too.
    let theirs = scratch.folder("theirs", 0o775, 1);
    chown(&theirs, None, Some(NOBODY)).unwrap();
    symlink(&victim, theirs.join("a.pcap")).unwrap();
    std::os::unix::fs::lchown(theirs.join("a.pcap"), Some(1), Some(1)).unwrap();
    for who in [Player::Root, Player::Sudo] {
        let told = refused(tcpflow(who).args(["live", "-i", "lo", "-w"]).arg(theirs.join("a.pcap")));
        assert!(told.contains("is a symbolic link of another user"), "{told}");
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "secret");
    // The caller's own link, and one of root's, lead where they lead.
    let own = scratch.folder("own", 0o755, NOBODY);
    for (owner, name) in [(NOBODY, "mine"), (0, "roots")] {
        symlink(".", own.join(name)).unwrap();
        std::os::unix::fs::lchown(own.join(name), Some(owner), None).unwrap();
        let file = own.join(name).join(format!("{name}.pcap"));
        let (status, told) = one_capture(Player::Sudo, &file);
        assert_eq!(status, Some(0), "{told}");
        assert!(own.join(format!("{name}.pcap")).is_file());
    }
}

fn foreign_pipe() {
    let scratch = Scratch::new("foreign-pipe");
    let shared = scratch.folder("shared", 0o1777, 0);
    let pipe = shared.join("a.pcap");
    make_pipe(&pipe);
    chown(&pipe, Some(1), Some(1)).unwrap();
    fs::set_permissions(&pipe, Permissions::from_mode(0o666)).unwrap();
    let _reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    for who in [Player::Root, Player::Sudo] {
        let told = refused(tcpflow(who).args(["live", "-i", "lo", "-w"]).arg(&pipe));
        assert!(told.contains("is a pipe of another user"), "{told}");
    }
}

fn named_pipe() {
    let scratch = Scratch::new("pipe");
    let pipe = scratch.0.join("a.pcap");
    make_pipe(&pipe);
    let told = refused(tcpflow(Player::Root).args(["live", "-i", "lo", "-w"]).arg(&pipe));
    assert!(told.contains("a named pipe that nobody reads"), "{told}");

    let mut reader = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(&pipe).unwrap();
    let server = Server::start();
    let mut live = server.live(&pipe, &mut tcpflow(Player::Root), Stdio::null());
    server.echo();
    // What comes can be read while the capture goes on.
    let mut octets = vec![0; 24];
    live.until("the capture's header", |_| reader.read_exact(&mut octets).ok());
    live.signal(Signal::SIGINT);
    live.await_line("frames are in");
    assert_eq!(live.wait().0.code(), Some(0));
    reader.read_to_end(&mut octets).unwrap();
    assert!(fs::symlink_metadata(&pipe).unwrap().file_type().is_fifo());
    assert_eq!(names(&scratch.0), ["a.pcap"]);
    let file = scratch.0.join("copy.pcap");
    fs::write(&file, octets).unwrap();
    assert_eq!(analyze(&file)["connections"], 1);
}

fn mode_and_owner() {
    let scratch = Scratch::new("mode");
    for (who, owner) in [(Player::Root, 0), (Player::Sudo, NOBODY)] {
        let folder = scratch.folder(&format!("{owner}"), 0o755, owner);
        let (secret, new) = (folder.join("secret.pcap"), folder.join("new.pcap"));
        fs::write(&secret, "before").unwrap();
        fs::set_permissions(&secret, Permissions::from_mode(0o600)).unwrap();
        chown(&secret, Some(owner), Some(owner)).unwrap();
        for (file, mode) in [(&secret, 0o600), (&new, 0o640)] {
            let (status, told) = one_capture(who, file);
            assert_eq!(status, Some(0), "{told}");
            let metadata = fs::metadata(file).unwrap();
            assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o7777), (owner, owner, mode), "as {who:?}");
        }
    }
}

fn killed() {
    let scratch = Scratch::new("killed");
    let (server, file) = (Server::start(), scratch.0.join("a.pcapng"));
    let live = server.live(&file, &mut tcpflow(Player::Root), Stdio::null());
    live.signal(Signal::SIGKILL);
    live.wait();
    let left = names(&scratch.0);
    assert!(left.len() == 1 && left[0].starts_with(".a.pcapng.") && left[0].ends_with(".part"), "{left:?}");
    // Another one that lives keeps its own.
    let other = server.live(&file, &mut tcpflow(Player::Root), Stdio::null());
    assert_eq!(names(&scratch.0).len(), 2);
    let next = server.live(&file, &mut tcpflow(Player::Root), Stdio::null());
    next.signal(Signal::SIGINT);
    assert_eq!(next.wait().0.code(), Some(0));
    let names_now = names(&scratch.0);
    assert!(names_now.len() == 2 && !names_now.contains(&left[0]), "{names_now:?}");
    other.signal(Signal::SIGINT);
    assert_eq!(other.wait().0.code(), Some(0));
    assert_eq!(names(&scratch.0), ["a.pcapng"]);
}

// ---- readers that stall, and signals ----

fn stalled() {
    let scratch = Scratch::new("stalled");
    let (server, file) = (Server::start(), scratch.0.join("a.pcap"));
    let (_reader, writer) = io::pipe().unwrap();
    let mut live = server.live(&file, &mut tcpflow(Player::Root), writer.into());
    let connections = 2000;
    (0..connections).for_each(|_| server.echo());
    // The first signal ends the capture with its file, though not a line of it was read.
    live.signal(Signal::SIGINT);
    live.await_line("frames are in");
    assert!(live.child.try_wait().unwrap().is_none(), "it waits for its reader");
    assert_eq!(names(&scratch.0), ["a.pcap"]);
    assert_eq!(analyze(&file)["connections"], connections);
    live.signal(Signal::SIGINT);
    assert_eq!(live.wait().0.code(), Some(130));
    assert_eq!(names(&scratch.0), ["a.pcap"]);
}

fn stalled_for_a_while() {
    let scratch = Scratch::new("while");
    let (server, file) = (Server::start(), scratch.0.join("a.pcap"));
    let (mut reader, writer) = io::pipe().unwrap();
    let mut live = server.live(&file, &mut tcpflow(Player::Root), writer.into());
    // More lines than may wait: each connection has about three kilobytes of them.
    let connections = 9000;
    (0..connections).for_each(|_| server.echo());
    // What it is behind with at an interrupt would not be told.
    await_rest(live.child.id());
    live.signal(Signal::SIGINT);
    live.await_line("frames are in");
    assert_eq!(analyze(&file)["connections"], connections);
    let read = thread::spawn(move || {
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        text
    });
    let (status, told) = live.wait();
    let text = read.join().unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).expect("whole lines")).collect();
    let left_out = told.lines().find_map(|line| line.strip_prefix("tcpflow: ")?.strip_suffix(LEFT_OUT));
    let left_out: usize = left_out.unwrap_or_else(|| panic!("{told}")).parse().unwrap();
    assert_eq!(status.code(), Some(2), "{told}");
    let totals = lines.last().unwrap();
    assert_eq!((&totals["type"], &totals["connections"]), (&"totals".into(), &connections.into()), "all are counted");
    // Each event has a number: those that are missing are those that are counted.
    let events = lines.iter().filter(|line| !["connection", "totals"].contains(&line["type"].as_str().unwrap()));
    let ids: Vec<u64> = events.map(|line| line["id"].as_u64().unwrap()).collect();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]));
    let last = ids.last().map_or(0, |last| *last as usize + 1);
    assert!(left_out > 0 && left_out >= last - ids.len(), "{left_out} are left out, {} of {last} are told", ids.len());
}

/// Waits until no thread of a process has anything to do: each is seen asleep again and again.
fn await_rest(pid: u32) {
    let sleeps = || {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
        let mut stats = tasks.map(|task| fs::read_to_string(task.path().join("stat")).unwrap_or_default());
        stats.all(|stat| stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" S")))
    };
    let (mut looks, begun) = (0, Instant::now());
    while looks < 30 {
        assert!(begun.elapsed() < LIMIT, "it has no rest within {LIMIT:?}");
        looks = if sleeps() { looks + 1 } else { 0 };
        thread::sleep(Duration::from_millis(10));
    }
}

fn stalled_demo() {
    let scratch = Scratch::new("demo");
    let file = scratch.0.join("a.pcapng");
    let (_reader, writer) = io::pipe().unwrap();
    let mut command = tcpflow(Player::Root);
    // More than a pipe takes.
    command.args(["demo", "--rounds", "500", "--every-segment", "--save"]).arg(&file).stdout(writer);
    let mut demo = Process::start(&mut command);
    demo.await_line(&format!("are in {}", file.display()));
    assert!(demo.child.try_wait().unwrap().is_none(), "it waits for its reader");
    assert_eq!(analyze(&file)["connections"], 1);
    demo.signal(Signal::SIGINT);
    demo.signal(Signal::SIGTERM);
    assert!(demo.wait().0.code().is_some_and(|code| code == 130 || code == 143));
    assert_eq!(names(&scratch.0), ["a.pcapng"]);
}

fn interrupted_while_told() {
    let scratch = Scratch::new("told");
    let file = scratch.0.join("a.pcapng");
    let plays = [
        &["demo", "slow-start", "--every-segment"][..],
        &["demo", "--rounds", "500", "--every-segment"],
        &["demo", "--rounds", "500", "--every-segment", "--follow"],
    ];
    for play in plays {
        let mut demo = Process::start(tcpflow(Player::Root).args(play).arg("--save").arg(&file).stdout(Stdio::null()));
        demo.await_line(&format!("are in {}", file.display()));
        // Where it has ended by now, nobody is interrupted.
        demo.signal(Signal::SIGINT);
        let (status, told) = demo.wait();
        let is_cut = told.contains("interrupted: not all of what was seen until then is told");
        assert_eq!(status.code(), Some(if is_cut { 2 } else { 0 }), "{play:?}: {told}");
        assert!(!told.contains("played") && !told.contains("this is what was seen"), "{play:?}: {told}");
        assert!(file.exists(), "{play:?}: {told}");
        fs::remove_file(&file).unwrap();
    }
    // All is told, and waits for its reader: it is not cut.
    let (mut reader, writer) = io::pipe().unwrap();
    let mut command = tcpflow(Player::Root);
    command.args(["demo", "slow-start", "--format", "jsonl", "--save"]).arg(&file).stdout(writer);
    let mut demo = Process::start(&mut command);
    drop(command);
    demo.await_line(&format!("are in {}", file.display()));
    await_rest(demo.child.id());
    assert!(demo.child.try_wait().unwrap().is_none(), "it waits for its reader");
    demo.signal(Signal::SIGINT);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let (status, told) = demo.wait();
    assert_eq!((status.code(), told.contains("interrupted")), (Some(0), false), "{told}");
    assert!(text.lines().all(|line| serde_json::from_str::<Value>(line).is_ok()), "whole lines");
}

fn second_signal() {
    let scratch = Scratch::new("signal");
    let (server, file) = (Server::start(), scratch.0.join("a.pcapng"));
    // Nobody reads what it tells, so that it cannot end by itself.
    let (_reader, writer) = io::pipe().unwrap();
    let live = server.live(&file, &mut tcpflow(Player::Root), writer.into());
    // Both signals wait for it when it goes on, and so does much work, which the first one alone would let it do.
    live.signal(Signal::SIGSTOP);
    (0..3000).for_each(|_| server.echo());
    live.signal(Signal::SIGINT);
    live.signal(Signal::SIGTERM);
    live.signal(Signal::SIGCONT);
    let (status, told) = live.wait();
    assert!(status.code().is_some_and(|code| code == 130 || code == 143), "{status}: {told}");
    assert_eq!(names(&scratch.0), ["a.pcapng"]);
    let frames = analyze(&file)["frames"].as_u64().unwrap();
    assert!(told.contains(&format!("{frames} frames are in {}", file.display())), "{told}");
}

// ---- disks, limits ----

fn full_disk() {
    let scratch = Scratch::new("full");
    let (disk, kept) = (scratch.folder("disk", 0o755, 0), scratch.folder("kept", 0o755, 0));
    let server = Server::start();
    let mut command = on_small_disk(&disk, &kept);
    command.args(["live", "-i", "lo", "--snaplen", "2000", "-w"]).arg(disk.join("a.pcapng")).arg(server.filter());
    let mut live = Process::start(command.stdout(Stdio::null()));
    live.await_line("capturing on");
    // It ends by itself when there is no more room.
    server.take(40 << 20);
    let (status, told) = live.wait();
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("a.pcapng cannot be written: no space is left on the device"), "{told}");
    assert_eq!(names(&kept), ["a.pcapng"]);
    let frames = analyze(&kept.join("a.pcapng"))["frames"].as_u64().unwrap();
    assert!(frames > 10, "{frames}");
    assert!(told.contains(&format!("{frames} frames are in {}", disk.join("a.pcapng").display())), "{told}");
}

/// Beyond a quota btrfs refuses to cut a file and to rename it, too: it is named as it is.
fn quota() {
    let scratch = Scratch::new("quota");
    let (disk, kept) = (scratch.folder("disk", 0o755, 0), scratch.folder("kept", 0o755, 0));
    let server = Server::start();
    let mut command = command_at(Path::new("unshare"));
    let script = "image=$1.img && truncate -s 160M \"$image\" && mkfs.btrfs -q \"$image\" && mount -o loop \"$image\" \"$1\" && \
                  btrfs -q quota enable \"$1\" && btrfs -q subvolume create \"$1/s\" && \
                  btrfs -q qgroup limit 1M \"$1/s\" && disk=$1 kept=$2 && shift 2 && \"$0\" \"$@\"; status=$?; \
                  cp -a \"$disk/s/.\" \"$kept\"; exit $status";
    command.args(["-m", "sh", "-c", script]).arg(tcpflow(Player::Root).get_program()).args([&disk, &kept]);
    command.args(["live", "-i", "lo", "--snaplen", "2000", "-w"]).arg(disk.join("s/a.pcapng")).arg(server.filter());
    let mut live = Process::start(command.stdout(Stdio::null()));
    live.await_line("capturing on");
    server.take(40 << 20);
    let (status, told) = live.wait();
    assert_eq!(status.code(), Some(2), "{told}");
    assert!(told.contains("a.pcapng cannot be written: the disk quota is used up"), "{told}");
    let names = names(&kept);
    assert!(names.len() == 1, "{names:?}");
    let output =
        tcpflow(Player::Root).args(["analyze", "--format", "jsonl"]).arg(kept.join(&names[0])).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let totals: Value = serde_json::from_str(text.lines().last().unwrap()).unwrap();
    let frames = totals["frames"].as_u64().unwrap();
    assert!(frames > 10, "{frames}");
    let says = match &*names[0] {
        "a.pcapng" => format!("{frames} frames are in {}", disk.join("s/a.pcapng").display()),
        part => format!("{frames} whole frames of it are in {}", disk.join("s").join(part).display()),
    };
    assert!(told.contains(&says), "{says}: {told}");
}

fn full_disk_of_demo() {
    let scratch = Scratch::new("full-demo");
    let (disk, kept) = (scratch.folder("disk", 0o755, 0), scratch.folder("kept", 0o755, 0));
    let mut command = on_small_disk(&disk, &kept);
    command.args(["demo", "--size", "1000000", "--save"]).arg(disk.join("a.pcapng"));
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("a.pcapng cannot be written: no space is left on the device"), "{told}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("TIME-WAIT"), "the timeline is told all the same");
    assert_eq!(names(&kept), [""; 0]);
}

fn limit_on_files() {
    let scratch = Scratch::new("limit");
    let limited = |line: &str, path: &Path| {
        let mut command = tcpflow(Player::Root);
        let program = command.get_program().to_owned();
        command = command_at(Path::new("sh"));
        command.args(["-c", line]).arg(program).arg(path);
        command.output().unwrap()
    };
    let file = scratch.0.join("a.pcapng");
    let output = limited("ulimit -f 8; exec \"$0\" demo --size 1000000 --save \"$1\"", &file);
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("a.pcapng cannot be written: the limit on the size of a file is reached"), "{told}");
    assert_eq!(names(&scratch.0), [""; 0]);
    for line in ["--help", "man", "demo --rounds 100"] {
        let text = scratch.0.join("text");
        let output = limited(&format!("ulimit -f 1; exec \"$0\" {line} > \"$1\""), &text);
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{line}: {told}");
        assert!(told.contains("standard output: the limit on the size of a file is reached"), "{line}: {told}");
    }
}

fn few_descriptors() {
    for line in ["analyze -", "live -i lo", "demo", "interfaces"] {
        let mut command = command_at(Path::new("sh"));
        command.args(["-c", &format!("ulimit -n 9; exec \"$0\" {line}")]).arg(tcpflow(Player::Root).get_program());
        let told = refused(&mut command);
        assert!(told.contains("only 9 files may be open at once (ulimit -Hn)"), "{line}: {told}");
    }
}

fn no_proc() {
    let without = |line: &str| {
        let mut command = command_at(Path::new("unshare"));
        command.args(["-m", "sh", "-c", &format!("mount -t tmpfs none /proc && exec {line}")]);
        command.arg(tcpflow(Player::Root).get_program()).output().unwrap()
    };
    let own = without("setpriv --reuid 65534 --regid 65534 --clear-groups \"$0\" demo");
    let told = String::from_utf8(own.stderr).unwrap();
    assert_eq!(own.status.code(), Some(2), "{told}");
    assert!(told.contains("/proc is not mounted"), "{told}");
    // Root needs it for nothing.
    let output = without("\"$0\" demo");
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
}

// ---- the program, and what it captures ----

/// Runs what must not succeed, and yields the one line that it tells.
fn refused(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    told
}

/// A whole capture of one connection into that file; the exit status, and what was told.
fn one_capture(who: Player, file: &Path) -> (Option<i32>, String) {
    let server = Server::start();
    let live = server.live(file, &mut tcpflow(who), Stdio::null());
    server.echo();
    live.signal(Signal::SIGINT);
    let (status, told) = live.wait();
    (status.code(), told)
}

/// The totals of a capture.
fn analyze(file: &Path) -> Value {
    let output = tcpflow(Player::Root).args(["analyze", "--format", "jsonl"]).arg(file).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_str(String::from_utf8(output.stdout).unwrap().lines().last().unwrap()).unwrap()
}

/// The program on a disk of 100 KiB at `disk`, which only it sees; what is there at its end is copied to `kept`.
fn on_small_disk(disk: &Path, kept: &Path) -> Command {
    let mut command = command_at(Path::new("unshare"));
    let script = "mount -t tmpfs -o size=100k none \"$1\" && disk=$1 kept=$2 && shift 2 && \"$0\" \"$@\"; status=$?; \
                  cp -a \"$disk/.\" \"$kept\"; exit $status";
    command.args(["-m", "sh", "-c", script]);
    command.arg(tcpflow(Player::Root).get_program()).args([disk, kept]);
    command
}

impl Server {
    /// Starts a capture of its connections, and returns when it says that it captures.
    fn live(&self, file: &Path, command: &mut Command, stdout: Stdio) -> Process {
        let options = ["live", "-i", "lo", "--format", "jsonl", "--buffer", "64Mi", "-w"];
        let mut live = Process::start(command.args(options).arg(file).arg(self.filter()).stdout(stdout));
        live.await_line("capturing on");
        live
    }

    /// A client says something, hears it back, and closes first.
    fn echo(&self) {
        let mut client = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        let (mut server, _) = self.listener.accept().unwrap();
        let mut back = [0; 10];
        client.write_all(b"helloworld").unwrap();
        server.read_exact(&mut back).unwrap();
        server.write_all(&back).unwrap();
        client.read_exact(&mut back).unwrap();
        drop(client);
        assert_eq!(server.read(&mut back).unwrap(), 0);
    }

    /// A client sends that many octets, and closes first.
    fn take(&self, octets: usize) {
        let port = self.port;
        let client = thread::spawn(move || {
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            client.write_all(&vec![7; octets]).unwrap();
        });
        let (mut server, _) = self.listener.accept().unwrap();
        io::copy(&mut server, &mut io::sink()).unwrap();
        client.join().unwrap();
    }
}

fn tcpflow(who: Player) -> Command {
    let mut command = command_at(&PathBuf::from(env::var_os(TCPFLOW).expect("the program's path")));
    if who == Player::Sudo {
        command.env("SUDO_UID", NOBODY.to_string()).env("SUDO_GID", NOBODY.to_string());
    }
    command
}

fn command_at(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env_remove(cases::CASE);
    command
}

fn make_pipe(path: &Path) {
    nix::unistd::mkfifo(path, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
}

/// What is in a folder, hidden files too.
fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<_> = entries.collect();
    names.sort();
    names
}

/// A folder of its own for each case, gone with it; in it new files are for their owner and group alone.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("tcpflow-kept-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o027));
        Self(path)
    }

    fn folder(&self, name: &str, mode: u32, owner: u32) -> PathBuf {
        let path = self.0.join(name);
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        chown(&path, Some(owner), Some(owner)).unwrap();
        path
    }

    /// What only root may read, and nobody may lose.
    fn secret(&self) -> PathBuf {
        let path = self.0.join("secret.pcap");
        fs::write(&path, "secret").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

const TCPFLOW: &str = "TCPFLOW_KEPT_PROGRAM";
const LEFT_OUT: &str = " lines of standard output are left out: its reader stalled, and with -w the file goes first";
