//! What /proc says of the privilege of each thread: plain root, root under sudo, a program with a file capability, an ordinary user.
//!
//! It stands in docs/security.md what must be the case.

mod cases;
mod executable;
mod process;
mod users;

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs::{self, Permissions};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::{env, thread};

use cases::Cases;
use nix::sys::signal::Signal;
use nix::unistd::User;
use process::Process;
use users::{NOBODY, Program, Who as User_};

/// What is tried. Each case starts its programs itself, as several users.
const CASES: Cases<Who> = Cases {
    short: &[
        ("live_as_plain_root_becomes_nobody", &[Who::Root], live_plain),
        ("live_as_plain_root_becomes_the_user_named", &[Who::Root], live_named),
        ("live_as_plain_root_keeps_its_number_for_a_folder_of_roots", &[Who::Root], live_folder_of_root),
        ("live_as_plain_root_becomes_nobody_for_a_folder_of_nobodys", &[Who::Root], live_folder_of_nobody),
        ("live_under_sudo_becomes_the_caller", &[Who::Root], live_sudo),
        ("live_with_a_file_capability_lays_it_down", &[Who::Root], live_setcap),
        ("demo_in_every_case", &[Who::Root], demo_as_root),
        ("demo_as_a_user_has_nothing_in_its_namespace", &[Who::Root, Who::User], demo_as_user),
        ("analyze_in_every_case", &[Who::Root], analyze_as_root),
        ("analyze_with_a_file_capability_lays_it_down_before_it_opens_anything", &[Who::Root], analyze_setcap),
        ("analyze_as_a_user", &[Who::Root, Who::User], analyze_as_user),
        ("analyze_as_root_reads_what_only_root_may_read", &[Who::Root], analyze_reads),
        ("run_in_every_case", &[Who::Root], run_as_root),
        ("run_where_tracefs_is_not_mounted", &[Who::Root], run_without_tracefs),
        ("run_with_a_file_capability_lays_it_down", &[Who::Root], run_setcap),
        ("run_as_a_user", &[Who::Root, Who::User], run_as_user),
        ("a_user_that_cannot_be_is_told", &[Who::Root, Who::User], no_such_user),
    ],
    long: &[],
};

/// As whom the tests themselves run.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Who {
    Root,
    User,
}

fn main() -> ExitCode {
    if CASES.play_own() {
        return ExitCode::SUCCESS;
    }
    let player = Program::within_reach(&env::current_exe().expect("this program has a path"));
    let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
    CASES.play(|who| {
        let user = if who == Who::Root { User_::Root } else { User_::User };
        user.is_playable().then(|| {
            let mut command = player.played_by(user);
            command.env(TCPFLOW, tcpflow.played_by(user).get_program());
            command
        })
    })
}

// ---- the cases ----

fn live_plain() {
    check(&live(&mut tcpflow(User_::Root), &[]), &Expected::user(NOBODY).with_empty_bounding_set());
}

fn live_named() {
    let daemon = User::from_name("daemon").unwrap().expect("Linux has a user daemon");
    let expected = Expected { uid: daemon.uid.as_raw(), gid: daemon.gid.as_raw(), ..Expected::user(NOBODY) };
    let expected = expected.with_empty_bounding_set();
    check(&live(&mut tcpflow(User_::Root), &["--user", "daemon"]), &expected);
    check(&live(&mut tcpflow(User_::Root), &["--user", &daemon.uid.to_string()]), &expected);
    // Who asks for another one gets it under sudo, too; and root may stay root, without any of its powers.
    check(&live(&mut tcpflow(User_::Sudo), &["--user", "daemon"]), &expected);
    check(&live(&mut tcpflow(User_::Root), &["--user", "root"]), &Expected::user(0).with_empty_bounding_set());
}

fn live_folder_of_root() {
    for mode in [0o755, 0o1777] {
        let scratch = Scratch::new("root");
        fs::set_permissions(&scratch.0, Permissions::from_mode(mode)).unwrap();
        let file = scratch.0.join("a.pcap");
        let mut live = started_live(&mut tcpflow(User_::Root), &["-w", str(&file)]);
        check(&threads_of_live(&mut live), &Expected::user(0).with_empty_bounding_set());
        live.signal(Signal::SIGINT);
        assert_eq!(live.wait().0.code(), Some(0));
        assert_eq!(fs::metadata(&file).unwrap().uid(), 0);
    }
}

fn live_folder_of_nobody() {
    let scratch = Scratch::new("nobody");
    chown(&scratch.0, Some(NOBODY), Some(NOBODY)).unwrap();
    let file = scratch.0.join("a.pcap");
    let mut live = started_live(&mut tcpflow(User_::Root), &["-w", str(&file)]);
    check(&threads_of_live(&mut live), &Expected::user(NOBODY).with_empty_bounding_set());
    live.signal(Signal::SIGINT);
    assert_eq!(live.wait().0.code(), Some(0));
    assert_eq!(fs::metadata(&file).unwrap().uid(), NOBODY);
    // A folder of somebody else's is written by that user alone.
    chown(&scratch.0, Some(1), Some(1)).unwrap();
    let output = tcpflow(User_::Root).args(["live", "-i", "lo", "-w", str(&file)]).output().unwrap();
    let told = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("permission denied in its folder for user nobody"), "{told}");
    assert!(told.contains("--user daemon"), "{told}");
    let file = scratch.0.join("b.pcap");
    let live = started_live(&mut tcpflow(User_::Root), &["--user", "daemon", "-w", str(&file)]);
    live.signal(Signal::SIGINT);
    assert_eq!(live.wait().0.code(), Some(0));
    assert_eq!(fs::metadata(&file).unwrap().uid(), 1);
}

fn live_sudo() {
    check(&live(&mut tcpflow(User_::Sudo), &[]), &Expected::user(NOBODY).with_empty_bounding_set());
}

fn live_setcap() {
    let (_folder, mut command) = with_file_capability();
    check(&live(&mut command, &[]), &Expected::user(NOBODY));
}

fn demo_as_root() {
    let expected = Expected::user(NOBODY).with_empty_bounding_set();
    check(&demo(&mut tcpflow(User_::Root), &[]), &expected);
    check(&demo(&mut tcpflow(User_::Sudo), &[]), &expected);
    check(&demo(&mut tcpflow(User_::Root), &["--mtu", "1500"]), &expected);
    check(&demo(&mut tcpflow(User_::Root), &["--user", "root"]), &Expected::user(0).with_empty_bounding_set());
    let scratch = Scratch::new("demo");
    let file = scratch.0.join("a.pcapng");
    let options = ["--save", str(&file)];
    check(&demo(&mut tcpflow(User_::Root), &options), &Expected::user(0).with_empty_bounding_set());
    let (_folder, mut command) = with_file_capability();
    check(&demo(&mut command, &[]), &Expected::user(NOBODY));
}

fn demo_as_user() {
    let expected = Expected::of_user().with_empty_bounding_set();
    check(&demo(&mut tcpflow(User_::User), &[]), &expected);
    // CAP_NET_BIND_SERVICE alone, which is worth nothing outside the namespace.
    let low_port = demo(&mut tcpflow(User_::User), &["--port", "80", "--mtu", "1500"]);
    check(&low_port, &Expected { capabilities: 1 << 10, ..expected });
}

/// Only root that watches root may look into it: CAP_SYS_PTRACE.
fn run_as_root() {
    let root = Expected { capabilities: 1 << 19, ..Expected::user(0) }.with_empty_bounding_set();
    let user = Expected::user(NOBODY).with_empty_bounding_set();
    for options in [&[][..], &["--isolated"], &["--follow"], &["--no-packets"]] {
        check(&run(&mut tcpflow(User_::Root), options), &root);
        check(&run(&mut tcpflow(User_::Sudo), options), &user);
    }
}

/// The thread that reads tracefs, which is mounted for it alone, is gone before privilege is given up.
fn run_without_tracefs() {
    const UNMOUNT: &str = "umount -l /sys/kernel/tracing /sys/kernel/debug/tracing 2>/dev/null; ! mountpoint -q /sys/kernel/tracing && exec \"$@\"";
    for n in 0..20 {
        let tcpflow = tcpflow(User_::Root);
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", UNMOUNT, "sh"]).arg(tcpflow.get_program());
        let isolated = if n % 2 == 0 { "--isolated" } else { "--no-packets" };
        command.args(["run", "--backend", "ptrace", isolated, "-o", "/dev/null", "--", "true"]);
        let output = command.output().expect("unshare(1) is a part of util-linux");
        assert!(output.status.success(), "{output:?}");
    }
}

fn run_setcap() {
    let (_folder, mut command) = with_file_capability();
    check(&run(&mut command, &[]), &Expected::user(NOBODY));
}

fn run_as_user() {
    check(&run(&mut tcpflow(User_::User), &["--isolated"]), &Expected::of_user().with_empty_bounding_set());
    check(&run(&mut tcpflow(User_::User), &["--no-packets"]), &Expected::of_user());
}

fn analyze_as_root() {
    let expected = Expected::user(NOBODY).with_empty_bounding_set();
    check(&analyze(tcpflow(User_::Root).arg("analyze")), &expected);
    check(&analyze(tcpflow(User_::Sudo).arg("analyze")), &expected);
    let still_root = analyze(tcpflow(User_::Root).args(["analyze", "--user", "root"]));
    check(&still_root, &Expected::user(0).with_empty_bounding_set());
}

fn analyze_setcap() {
    let (folder, mut command) = with_file_capability();
    check(&analyze(command.arg("analyze")), &Expected::user(NOBODY));
    // A named pipe that nobody writes holds it where it waits for the first octet.
    let pipe = folder.0.join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::from_bits_truncate(0o644)).unwrap();
    let mut command = command_at(&folder.0.join("tcpflow"));
    as_user(&mut command);
    let mut opened = Process::start(command.arg("analyze").arg(&pipe));
    let status = opened.until("the pipe is open", |process| {
        let descriptors = fs::read_dir(format!("/proc/{}/fd", process.child.id())).ok()?;
        let is_pipe = |entry: fs::DirEntry| fs::read_link(entry.path()).is_ok_and(|target| target == pipe);
        descriptors.flatten().any(is_pipe).then(|| threads(process))
    });
    check(&status, &Expected::user(NOBODY));
}

fn analyze_as_user() {
    check(&analyze(tcpflow(User_::User).arg("analyze")), &Expected::of_user());
}

fn analyze_reads() {
    let scratch = Scratch::new("reads");
    fs::set_permissions(&scratch.0, Permissions::from_mode(0o700)).unwrap();
    let files: Vec<PathBuf> = (0..3).map(|number| scratch.0.join(format!("{number}.pcap"))).collect();
    for file in &files {
        fs::write(file, capture(10)).unwrap();
        fs::set_permissions(file, Permissions::from_mode(0o600)).unwrap();
    }
    for options in [&[][..], &["--each"], &["-t", "--where", "true"], &["-t"]] {
        for who in [User_::Root, User_::Sudo] {
            let output = tcpflow(who).arg("analyze").args(options).args(&files).output().unwrap();
            let told = String::from_utf8(output.stderr).unwrap();
            // They are alike, and that is told.
            let faults: Vec<&str> = told.lines().filter(|line| !line.contains(" hold the same frames ")).collect();
            assert_eq!((output.status.code(), &*faults), (Some(0), &[][..]), "{options:?} as {who:?}");
        }
    }
}

fn no_such_user() {
    let told = |who, options: &[&str]| {
        let output = tcpflow(who).args(options).stdin(Stdio::null()).output().unwrap();
        assert_eq!(output.status.code(), Some(2));
        String::from_utf8(output.stderr).unwrap()
    };
    let unknown = ["analyze", "-", "--user", "no-such-user"];
    assert_eq!(told(User_::User, &unknown), "tcpflow: --user: there is no user no-such-user\n");
    let other = told(User_::User, &["analyze", "-", "--user", "root"]);
    assert!(other.starts_with("tcpflow: --user: only root can become another user"), "{other}");
}

// ---- what must be the case ----

/// What /proc must say of every thread.
#[derive(Clone, Copy, Debug)]
struct Expected {
    uid: u32,
    gid: u32,
    /// Permitted and effective.
    capabilities: u64,
    /// Whether the bounding set is empty; else it is that of the tests.
    has_empty_bounding_set: bool,
}

impl Expected {
    fn user(uid: u32) -> Self {
        let gid = if uid == 0 { 0 } else { NOBODY };
        Self { uid, gid, capabilities: 0, has_empty_bounding_set: false }
    }

    /// The ordinary user as whom the tests play.
    fn of_user() -> Self {
        let uid = nix::unistd::geteuid();
        if uid.is_root() {
            return Self::user(NOBODY);
        }
        Self { gid: nix::unistd::getegid().as_raw(), ..Self::user(uid.as_raw()) }
    }

    fn with_empty_bounding_set(self) -> Self {
        Self { has_empty_bounding_set: true, ..self }
    }
}

fn check(threads: &BTreeMap<String, Status>, expected: &Expected) {
    assert!(!threads.is_empty());
    let bounding = if expected.has_empty_bounding_set { 0 } else { bits(Status::own().of("CapBnd")) };
    for (thread, status) in threads {
        let numbers = |name| status.of(name).split_whitespace().map(|id| id.parse().unwrap()).collect::<Vec<u32>>();
        assert_eq!(numbers("Uid"), [expected.uid; 4], "{thread}");
        assert_eq!(numbers("Gid"), [expected.gid; 4], "{thread}");
        if nix::unistd::geteuid().is_root() {
            assert!(numbers("Groups").iter().all(|group| *group == expected.gid), "{thread}: {}", status.of("Groups"));
        }
        for (set, bits_of_set) in [
            ("CapInh", 0),
            ("CapPrm", expected.capabilities),
            ("CapEff", expected.capabilities),
            ("CapAmb", 0),
            ("CapBnd", bounding),
        ] {
            assert_eq!(bits(status.of(set)), bits_of_set, "{set} of {thread}");
        }
        assert_eq!(status.of("NoNewPrivs"), "1", "{thread}");
    }
}

fn bits(hex: &str) -> u64 {
    u64::from_str_radix(hex, 16).unwrap()
}

// ---- the programs ----

/// The threads of a process by name.
type Threads = BTreeMap<String, Status>;

/// The status of each of its threads as the kernel has it, by name of the thread.
fn threads(process: &Process) -> Threads {
    let tasks = fs::read_dir(format!("/proc/{}/task", process.child.id())).into_iter().flatten().flatten();
    // A thread may end while it is looked at.
    let status = |task: fs::DirEntry| fs::read_to_string(task.path().join("status")).ok();
    let mut threads = Threads::new();
    for status in tasks.filter_map(status).map(Status) {
        // Several may have one name, and each counts.
        let name = status.of("Name").to_owned();
        let name = if threads.contains_key(&name) { format!("{name} {}", status.of("Pid")) } else { name };
        threads.insert(name, status);
    }
    threads
}

/// What `/proc/PID/status` says.
#[derive(Clone)]
struct Status(String);

impl Status {
    /// The status of the process that asks.
    fn own() -> Self {
        Self(fs::read_to_string("/proc/self/status").expect("/proc is there"))
    }

    /// A line by its name.
    fn of(&self, name: &str) -> &str {
        let line = self.0.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.0)).trim()
    }
}

fn started_live(command: &mut Command, options: &[&str]) -> Process {
    // Nobody reads what it tells, and there may be much traffic.
    let command = command.args(["live", "-i", "lo"]).args(options).arg("tcp port 9");
    let mut live = Process::start(command.stdout(Stdio::piped()));
    live.await_line("capturing on");
    live
}

fn threads_of_live(live: &mut Process) -> Threads {
    live.until("the thread of standard output", |live| {
        let threads = threads(live);
        ["capture", "output"].iter().all(|name| threads.contains_key(*name)).then_some(threads)
    })
}

fn live(command: &mut Command, options: &[&str]) -> Threads {
    threads_of_live(&mut started_live(command, options))
}

/// The threads of an experiment that goes on, the actors among them.
fn demo(command: &mut Command, options: &[&str]) -> Threads {
    let mut demo = Process::start(command.args(["demo", "--rounds", "10000"]).args(options).stdout(Stdio::null()));
    demo.until("the client", |demo| {
        let threads = threads(demo);
        ["echo-client", "echo-server"].iter().all(|name| threads.contains_key(*name)).then_some(threads)
    })
}

/// The threads of a run whose command goes on.
fn run(command: &mut Command, options: &[&str]) -> Threads {
    let line = ["--", "sh", "-c", "echo begun >&2; exec sleep 60"];
    let mut run = Process::start(command.arg("run").args(options).args(line).stdout(Stdio::null()));
    run.await_line("begun");
    threads(&run)
}

/// The threads of an analysis whose standard input has not ended.
fn analyze(command: &mut Command) -> Threads {
    let mut command = Process::start(command.arg("-").stdin(Stdio::piped()).stdout(Stdio::null()));
    let mut input = command.child.stdin.take().unwrap();
    let write = thread::spawn(move || {
        // It is ended when enough was seen of it.
        _ = input.write_all(&capture(200_000));
        input
    });
    let threads = command.until("the threads that share the work", |command| {
        let all = threads(command);
        let tasks = fs::read_dir(format!("/proc/{}/task", command.child.id())).into_iter().flatten().count();
        (tasks >= 3).then_some(all)
    });
    drop(command);
    drop(write.join());
    threads
}

/// A pcap file of so many SYNs.
fn capture(frames: u32) -> Vec<u8> {
    let mut file = 0xa1b2_c3d4_u32.to_le_bytes().to_vec();
    file.extend([2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 101, 0, 0, 0]);
    for number in 0..frames {
        for word in [number, 0, 40, 40] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2]);
        file.extend((number as u16).to_be_bytes());
        file.extend([0, 80]);
        file.extend(number.to_be_bytes());
        file.extend([0, 0, 0, 0, 0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    }
    file
}

fn tcpflow(who: User_) -> Command {
    let path = PathBuf::from(env::var_os(TCPFLOW).expect("the program's path"));
    let mut command = command_at(&path);
    match who {
        User_::Root => {}
        User_::Sudo => drop(command.env("SUDO_UID", NOBODY.to_string()).env("SUDO_GID", NOBODY.to_string())),
        User_::User => as_user(&mut command),
    }
    command
}

fn command_at(path: &Path) -> Command {
    let mut command = Command::new(path);
    command.current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env_remove(cases::CASE);
    command
}

fn as_user(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    if nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
}

/// A copy of the program with CAP_NET_RAW on its file, to be run by an ordinary user.
fn with_file_capability() -> (Scratch, Command) {
    let folder = Scratch::new("setcap");
    let path = folder.0.join("tcpflow");
    let program = env::var_os(TCPFLOW).expect("the program's path");
    executable::make(&path, fs::File::open(program).expect("the program is there"));
    // struct vfs_cap_data (linux/capability.h): version 2 and the flag `effective`, then permitted and inheritable, low and high.
    let words: [u32; 5] = [0x0200_0001, 1 << 13, 0, 0, 0];
    let value: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let (c_path, name) = (CString::new(path.as_os_str().as_bytes()).unwrap(), c"security.capability");
    // SAFETY: both strings end with a zero octet, and the value has the length given.
    let set = unsafe { libc::setxattr(c_path.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len(), 0) };
    assert_eq!(set, 0, "setcap: {}", std::io::Error::last_os_error());
    let mut command = command_at(&path);
    as_user(&mut command);
    (folder, command)
}

/// A folder of its own for each case, gone with it.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = env::temp_dir().join(format!("tcpflow-privilege-{name}-{}", std::process::id()));
        fs::create_dir(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.0));
    }
}

fn str(path: &Path) -> &str {
    path.to_str().unwrap()
}

const TCPFLOW: &str = "TCPFLOW_PRIVILEGE_PROGRAM";
