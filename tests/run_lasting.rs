//! `tcpflow run` on programs that go on for long, and what is left when it or they are killed.

mod executable;
mod process;
mod users;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs, thread};

use nix::sys::signal::{SigHandler, Signal, kill, signal};
use nix::unistd::Pid;
use std::os::unix::fs::PermissionsExt;
use users::{Program, Who};

/// tcpflow and `tests/programs/mistakes.c`, where every user can reach them, in a folder that everybody may write to.
struct Stage {
    tcpflow: Program,
    folder: PathBuf,
}

impl Stage {
    fn make(name: &str) -> Self {
        let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
        let folder = env::temp_dir().join(format!("tcpflow-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs/mistakes.c");
        let mut compiler = Command::new(env::var("CC").unwrap_or_else(|_| "cc".to_owned()));
        compiler.args(["-O1", "-pthread", "-o"]).arg(folder.join("mistakes")).arg(source);
        assert!(compiler.status().expect("a C compiler (scripts/setup.sh installs one)").success());
        Self { tcpflow, folder }
    }

    fn program(&self) -> String {
        self.folder.join("mistakes").to_str().expect("a path").to_owned()
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

/// Whenever it comes, Ctrl-C reaches the command: also while that is held back and has not begun.
///
/// Before tcpflow heeds signals there is no command, and the signal ends tcpflow itself; the last moments are those where there is one.
#[test]
fn a_signal_before_the_command_has_begun_is_not_lost() {
    // Where the tests were started in the background the signal is ignored from the beginning.
    // SAFETY: no handler is set, and none is replaced.
    unsafe { signal(Signal::SIGINT, SigHandler::SigDfl) }.expect("the signal can be heeded");
    let stage = Stage::make("early");
    let mut reached = 0;
    for moment in 0..12 {
        let mut command = stage.tcpflow.played_by(Who::User);
        command.args(["run", "--isolated", "--", "sleep", "60"]).stdin(Stdio::null()).stdout(Stdio::null());
        let mut child = command.stderr(Stdio::null()).process_group(0).spawn().expect("tcpflow");
        thread::sleep(Duration::from_millis(moment * 15));
        kill(Pid::from_raw(-(child.id() as i32)), Signal::SIGINT).expect("it is there");
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = child.try_wait().expect("a child") {
                break status;
            }
            assert!(begun.elapsed() < Duration::from_secs(30), "after {} ms it goes on", moment * 15);
            thread::sleep(Duration::from_millis(5));
        };
        assert!(status.signal() == Some(2) || status.code() == Some(130), "{status}");
        reached += usize::from(status.code() == Some(130));
    }
    assert!(reached >= 3, "the command was reached in {reached} of 12 runs");
}

/// Connections that are over are told and forgotten: with four times as many there is no more memory taken.
///
/// `TCPFLOW_CONNECTIONS` says how many are made: then it is looked at after a tenth of them, and may grow by a tenth.
#[test]
fn memory_does_not_grow_with_the_connections_that_are_over() {
    let stage = Stage::make("lasting");
    let most = env::var("TCPFLOW_CONNECTIONS").ok().map(|most| most.parse().expect("TCPFLOW_CONNECTIONS is a number"));
    let (begun, lasted, part) = most.map_or((BEGUN, 4 * BEGUN, 4), |most: u64| (most / 10, most, 10));
    for format in ["text", "jsonl"] {
        let mut command = stage.tcpflow.played_by(Who::User);
        command.args(["run", "--isolated", "--follow", "--format", format, "-o", "-", "--", &stage.program(), "churn"]);
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().expect("it starts");
        let told = BufReader::new(child.stdout.take().expect("it is piped"));
        let mark = if format == "text" { " end fin " } else { "{\"type\":\"connection\"" };
        let (mut ended, mut first) = (0, 0);
        for line in told.lines().map_while(Result::ok).filter(|line| line.contains(mark)) {
            assert!(line.contains("fin"), "{line}");
            ended += 1;
            if ended == begun {
                first = resident(child.id());
            } else if ended == lasted {
                break;
            }
        }
        let last = resident(child.id());
        println!("{format}: {first} kB when {begun} connections were over, {last} kB when {ended} were");
        kill(Pid::from_raw(child.id() as i32), Signal::SIGKILL).expect("it is there");
        child.wait().expect("it ends");
        assert_eq!(ended, lasted, "{format}");
        assert!(first > 0 && last <= first + first / part, "{format}: {first} kB, then {last} kB");
    }
}

/// After how many connections its memory is looked at: by then as many are held as there will be.
const BEGUN: u64 = 1500;

/// The resident memory of a process, in kB.
fn resident(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("it is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has memory");
    line.trim().trim_end_matches(" kB").parse().expect("a number")
}

/// Who is killed at any moment: tcpflow, or the programs. Nothing hangs, and no process, filter or file is left but the partial one.
///
/// With ptrace the programs end with tcpflow; where calls are recorded, or a process was joined, they go on unharmed.
/// `TCPFLOW_KILLS` says how often it is tried; 200 times, with busy loops beside it, is what a release is held to.
#[test]
fn whoever_is_killed_nothing_is_left_and_nothing_hangs() {
    let times: u64 = env::var("TCPFLOW_KILLS").map_or(12, |times| times.parse().expect("TCPFLOW_KILLS is a number"));
    let stage = Stage::make("killed");
    let program = stage.program();
    let mut counts = BTreeMap::<_, (u64, Duration)>::new();
    for n in 0..times {
        let who = if n % 2 == 0 { Who::Root } else { Who::User };
        let way = [Way::Stopped, Way::Recorded, Way::Joined][(n / 2 % 3) as usize];
        if !who.is_playable() || !way.is_open_to(who) {
            continue;
        }
        let folder = stage.folder.join(n.to_string());
        fs::create_dir(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        let mark = format!("{}.{n}", std::process::id());
        let joined = (way == Way::Joined).then(|| {
            let mut command = Command::new(&program);
            command.arg("churn").env(MARK, &mark).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
            if who == Who::User && nix::unistd::geteuid().is_root() {
                command.uid(users::NOBODY).gid(users::NOBODY);
            }
            process::Process::start(&mut command)
        });
        let (saved, told) = (folder.join("saved.pcapng"), folder.join("told.jsonl"));
        let mut command = stage.tcpflow.played_by(who);
        command.arg("run").env(MARK, &mark);
        match n / 6 % 4 {
            0 => _ = command.arg("--follow"),
            1 => _ = command.arg("--save").arg(&saved),
            2 => _ = command.args(["--follow", "--format", "jsonl", "-o"]).arg(&told),
            _ => {}
        }
        match way {
            Way::Stopped => _ = command.args(["--isolated", "--backend", "ptrace"]),
            Way::Recorded => _ = command.args(["--isolated", "--backend", "perf"]),
            Way::Joined => {}
        }
        match &joined {
            Some(joined) => _ = command.args(["-p", &joined.child.id().to_string()]),
            None if n % 5 == 0 => {
                let visits = format!("sh -c \"while :; do '{program}' visit; done\"");
                command.args(["--server", &format!("'{program}' serve"), "--client", &visits]);
            }
            None => _ = command.args(["--", &program, "churn"]),
        }
        let mut process = process::Process::start(command.stdout(Stdio::null()));
        // Any moment: the early ones more often. To find the tracepoints takes an ordinary user a second or more.
        let longest = if way != Way::Stopped && who == Who::User { 3000 } else { 500 };
        let moment = n.wrapping_mul(2_654_435_761) % 1000;
        thread::sleep(Duration::from_millis(longest) * (moment * moment) as u32 / 1_000_000);
        let tcpflow = process.child.id();
        let is_tcpflow_killed = n / 6 % 2 == 0;
        let killed = Instant::now();
        if is_tcpflow_killed {
            process.signal(Signal::SIGKILL);
        } else {
            kill_programs(n, tcpflow);
        }
        process.end();
        let case = (format!("{who:?}"), way, if is_tcpflow_killed { "tcpflow" } else { "programs" });
        let (count, slowest) = counts.entry(case).or_default();
        (*count, *slowest) = (*count + 1, (*slowest).max(killed.elapsed()));
        if is_tcpflow_killed && way != Way::Stopped {
            for pid in marked(n) {
                // One that ends at this moment has nothing to show.
                let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
                let is_free = ["TracerPid:\t0\n", "Seccomp:\t0\n"].iter().all(|free| status.contains(free));
                assert!(is_free || status.is_empty(), "{n}: {status}");
            }
            if let Some(mut joined) = joined {
                assert!(joined.child.try_wait().expect("it can be asked").is_none(), "{n}: it ended with tcpflow");
            }
            kill_programs(n, tcpflow);
        }
        // Programs that go on have its standard error.
        let (_, said) = process.wait();
        assert!(!said.contains("panicked"), "{n}: {said}");
        let begun = Instant::now();
        while !marked(n).is_empty() {
            assert!(begun.elapsed() < process::LIMIT, "{n}: {:?} are left", marked(n));
            thread::yield_now();
        }
        let whole = ["saved.pcapng", "told.jsonl"];
        for file in fs::read_dir(&folder).expect("it is there").flatten() {
            let name = file.file_name().into_string().expect("text");
            let is_partial = name.strip_suffix(".partial").is_some_and(|name| whole.contains(&name));
            assert!(is_partial || (!is_tcpflow_killed && whole.contains(&&*name)), "{n}: {name} is left");
        }
    }
    println!("{times} times; who ran how, who was killed, how often, and after how long tcpflow was gone at most:");
    counts.iter().for_each(|((who, way, killed), (count, slowest))| {
        println!("{who} {way:?}, {killed} killed: {count}, {slowest:?}");
    });
}

/// How programs are watched.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Way {
    Stopped,
    Recorded,
    Joined,
}

impl Way {
    /// Whether the kernel permits it to that user.
    fn is_open_to(self, who: Who) -> bool {
        let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
        self == Self::Stopped || who == Who::Root || paranoid.trim().parse::<i32>().is_ok_and(|level| level <= 2)
    }
}

/// Kills the programs that were started for the n-th time, and what they start meanwhile, until tcpflow has ended.
fn kill_programs(n: u64, tcpflow: u32) {
    let begun = Instant::now();
    loop {
        let programs: Vec<u32> = marked(n).into_iter().filter(|pid| *pid != tcpflow && !is_tcpflow(*pid)).collect();
        let is_over = fs::read_to_string(format!("/proc/{tcpflow}/stat")).map_or(true, |stat| stat.contains(") Z "));
        if is_over && programs.is_empty() {
            return;
        }
        programs.into_iter().for_each(|pid| _ = kill(Pid::from_raw(pid as i32), Signal::SIGKILL));
        assert!(begun.elapsed() < process::LIMIT, "{n}: it goes on without its programs");
    }
}

/// Whether a process executes tcpflow: one of its helpers, or a program that has not begun.
fn is_tcpflow(pid: u32) -> bool {
    fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.ends_with("tcpflow"))
}

/// The processes that were started for the n-th time and have not ended.
fn marked(n: u64) -> Vec<u32> {
    let mark = format!("{MARK}={}.{n}", std::process::id());
    let is_one = |pid: &u32| {
        let words = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        let is_dead = || {
            let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            stat.contains(") Z ") || stat.contains(") X ")
        };
        words.split(|octet| *octet == 0).any(|word| word == mark.as_bytes()) && !is_dead()
    };
    let processes = fs::read_dir("/proc").expect("/proc").flatten();
    processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).filter(is_one).collect()
}

const MARK: &str = "TCPFLOW_TEST_MARK";
