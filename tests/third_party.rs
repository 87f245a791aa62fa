//! `tcpflow run` on programs that nobody here wrote: what their calls moved, what was joined, and what was on the wire, in one table.
//!
//! Each is played in a network of its own, as root and as an ordinary user, where it is installed; where it is not, that is said.
//! With `TCPFLOW_FULL=1` wrk has 10,000 connections instead of 500.

mod executable;
#[allow(dead_code, reason = "nobody calls sudo here")]
mod users;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output, Stdio};
use std::time::{Duration, Instant};
use std::{env, fs};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use serde_json::Value;
use users::{NOBODY, Program, Who};

fn main() -> ExitCode {
    let chosen: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
    let stage = Stage::make();
    let mut failures = Vec::new();
    println!("{}", Moved::HEAD);
    for case in CASES.iter().filter(|case| chosen.is_empty() || chosen.iter().any(|name| case.name.contains(name))) {
        if let Some(missing) = case.needs.iter().find(|program| !is_installed(program)) {
            println!("{:28} NOT CHECKED here: {missing} is not installed", case.name);
            continue;
        }
        let play = match (case.play)(&stage) {
            Ok(play) => play,
            Err(why) => {
                println!("{:28} NOT CHECKED here: {why}", case.name);
                continue;
            }
        };
        for who in [Who::Root, Who::User].into_iter().filter(|who| who.is_playable()) {
            let is_open = |backend: &str| backend == "ptrace" || is_recordable(who);
            for (backend, _) in case.backends.iter().filter(|(of, by)| by.contains(&who) && is_open(of)) {
                let wrong = stage.check(case, &play, who, backend).into_iter();
                failures.extend(wrong.map(|why| format!("{}, {who:?}, {backend}: {why}", case.name)));
            }
        }
    }
    failures.iter().for_each(|why| eprintln!("FAILED: {why}"));
    if failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// A program, or two that talk to each other.
struct Case {
    name: &'static str,
    /// Without these it cannot be played.
    needs: &'static [&'static str],
    /// How its calls are watched, one after the other.
    backends: &'static [(&'static str, &'static [Who])],
    play: fn(&Stage) -> Result<Play, String>,
    /// What else must be true, of what the client wrote to its standard output.
    also: fn(&str, &Moved) -> Result<(), String>,
}

/// How it is played.
enum Play {
    /// By itself: its output and status are the same as without tcpflow.
    Alone(Vec<String>),
    /// A server, and a client that ends with status 0.
    Pair(String, String),
}

/// What all of them need: tcpflow where everybody can reach it, and a folder that everybody may write to.
struct Stage {
    tcpflow: Program,
    folder: PathBuf,
}

/// What the calls of a run moved, and what the wire carried.
#[derive(Default)]
struct Moved {
    connections: u64,
    calls: u64,
    lost: u64,
    status: i64,
    sent: u64,
    sent_joined: u64,
    wire: u64,
    received: u64,
    received_joined: u64,
    /// What is not as it must be.
    wrong: Vec<String>,
}

const CASES: &[Case] = &[
    Case {
        name: "curl, nginx",
        needs: &["curl", "nginx"],
        backends: STOPPED,
        play: |stage| {
            let client = format!(
                "curl --silent --fail --output /dev/null --write-out %{{size_download}} http://127.0.0.1:{PORT}/file"
            );
            Ok(Play::Pair(stage.nginx(""), client))
        },
        also: |told, moved| {
            let downloaded: u64 = told.parse().map_err(|_| format!("curl said {told:?}"))?;
            let is_told = downloaded == FILE && (FILE + 100..FILE + 1000).contains(&moved.received);
            is_told.then_some(()).ok_or_else(|| format!("curl had {downloaded} octets"))
        },
    },
    Case {
        name: "Python: http.server, threads",
        needs: &["python3"],
        backends: STOPPED,
        play: |stage| Ok(Play::Alone(words(&["python3", &stage.program("web.py")]))),
        also: |_, moved| (moved.connections == 12).then_some(()).ok_or_else(|| "twelve connections".to_owned()),
    },
    Case {
        name: "nc, nc",
        needs: &["nc"],
        backends: STOPPED,
        play: |stage| {
            let [from, to] = ["file", "taken"].map(|name| stage.folder.join(name));
            let script = "nc -l -N 127.0.0.1 $0 </dev/null >$2 & until nc -N 127.0.0.1 $0 <$1; do :; done; wait; cmp $1 $2 && rm $2 && exit 7";
            let [from, to] = [&from, &to].map(|path| path.to_str().expect("a path"));
            Ok(Play::Alone(words(&["sh", "-c", script, &free_port().to_string(), from, to])))
        },
        also: |_, moved| (moved.received == FILE).then_some(()).ok_or_else(|| "the octets of the file".to_owned()),
    },
    Case {
        name: "redis-benchmark, redis",
        needs: &["redis-server", "redis-benchmark"],
        backends: STOPPED,
        play: |stage| {
            let folder = stage.folder.display();
            let server = format!("redis-server --port {PORT} --bind 127.0.0.1 --save '' --dir {folder} --daemonize no");
            let client = format!("redis-benchmark -h 127.0.0.1 -p {PORT} -n 2000 -c 20 -t set,get -d 100 --csv");
            Ok(Play::Pair(server, client))
        },
        also: |told, moved| {
            let asked = told.lines().filter(|line| line.starts_with("\"SET\"") || line.starts_with("\"GET\"")).count();
            // A SET has its value of 100 octets, and a GET gets it.
            let is_told = asked == 2 && moved.sent > 2 * 2000 * 100;
            is_told.then_some(()).ok_or_else(|| format!("redis-benchmark said {told:?}"))
        },
    },
    Case {
        name: "iperf3, iperf3",
        needs: &["iperf3"],
        backends: STOPPED,
        play: |_| {
            let server = format!("iperf3 --server --one-off --port {PORT} --logfile /dev/null");
            let client = format!("iperf3 --client 127.0.0.1 --port {PORT} --bytes 20M --json");
            Ok(Play::Pair(server, client))
        },
        also: |told, moved| {
            let told: Value = serde_json::from_str(told).map_err(|error| error.to_string())?;
            let octets = |sum: &str| told["end"][sum]["bytes"].as_u64().unwrap_or(0);
            let (sent, received) = (octets("sum_sent"), octets("sum_received"));
            // Beside them go a cookie, parameters and results.
            let is_near = |told: u64, ours: u64| (told..told + 20_000).contains(&ours);
            let is_told = sent >= 20 << 20 && is_near(sent, moved.sent) && is_near(received, moved.received);
            is_told.then_some(()).ok_or_else(|| format!("iperf3 sent {sent} and received {received}"))
        },
    },
    Case {
        name: "curl with HTTP/2, nginx",
        needs: &["curl", "nginx"],
        backends: BOTH,
        play: |stage| {
            let url = format!("http://127.0.0.1:{PORT}");
            let client = format!(
                "curl --silent --fail --http2-prior-knowledge --output /dev/null --write-out %{{http_version}}:%{{size_download}} {url}/file"
            );
            Ok(Play::Pair(stage.nginx("http2"), client))
        },
        also: |told, moved| {
            let is_told = told == format!("2:{FILE}") && moved.connections == 1;
            is_told.then_some(()).ok_or_else(|| format!("curl said {told:?}"))
        },
    },
    Case {
        name: "Python: asyncio",
        needs: &["python3"],
        backends: BOTH,
        play: |stage| Ok(Play::Alone(words(&["python3", &stage.program("asynchronous.py")]))),
        also: |told, moved| {
            let is_told = told == "30\n" && moved.connections == 30;
            is_told.then_some(()).ok_or_else(|| format!("it said {told:?}"))
        },
    },
    Case {
        name: "Python: ForkingTCPServer",
        needs: &["python3"],
        backends: BOTH,
        play: |stage| Ok(Play::Alone(words(&["python3", &stage.program("forking.py")]))),
        also: |told, moved| {
            let is_told = told == "NUMBER 19\n" && moved.connections == 20;
            is_told.then_some(()).ok_or_else(|| format!("it said {told:?}"))
        },
    },
    Case {
        name: "socat, a fork for each",
        needs: &["socat"],
        backends: BOTH,
        play: |_| {
            let script = "socat TCP-LISTEN:$0,fork,bind=127.0.0.1,reuseaddr EXEC:cat 2>/dev/null & \
                for n in 1 2 3 4 5 6 7 8; do until echo number $n | socat -t 30 - TCP:127.0.0.1:$0 2>/dev/null; do :; done; done; \
                kill $!; wait; exit 7";
            Ok(Play::Alone(words(&["sh", "-c", script, &free_port().to_string()])))
        },
        also: |told, moved| {
            let is_told = told.lines().eq((1..=8).map(|n| format!("number {n}"))) && moved.sent == 2 * 8 * 9;
            is_told.then_some(()).ok_or_else(|| format!("it said {told:?}"))
        },
    },
    Case {
        name: "ncat, one after the other",
        needs: &["ncat"],
        backends: BOTH_AS_ROOT,
        play: |_| {
            let script = "taken=$(mktemp); ncat -l -k --recv-only 127.0.0.1 $0 </dev/null >$taken 2>/dev/null & server=$!; \
                for n in 1 2 3 4 5 6 7 8; do until echo number $n | ncat --send-only 127.0.0.1 $0 2>/dev/null; do :; done; done; \
                until [ $(wc -l <$taken) = 8 ]; do :; done; kill $server; wait; cat $taken; rm $taken; exit 7";
            Ok(Play::Alone(words(&["sh", "-c", script, &free_port().to_string()])))
        },
        also: |told, moved| {
            let is_told = told.lines().eq((1..=8).map(|n| format!("number {n}"))) && moved.sent == 8 * 9;
            is_told.then_some(()).ok_or_else(|| format!("it said {told:?}"))
        },
    },
    Case {
        name: "rsync, its daemon",
        needs: &["rsync"],
        backends: BOTH,
        play: |stage| {
            let folder = stage.folder.display();
            let text = format!("use chroot = no\nmunge symlinks = no\n[files]\npath = {folder}\nread only = yes\n");
            fs::write(stage.folder.join("rsyncd.conf"), text).expect("a configuration");
            let script = "cd $1 && taken=$(mktemp -d taken.XXXXXX) && \
                rsync --daemon --no-detach --config=rsyncd.conf --address=127.0.0.1 --port=$0 --log-file=/dev/null & server=$!; \
                cd $1; until rsync --port=$0 127.0.0.1::files 2>/dev/null >/dev/null; do :; done; \
                taken=$(mktemp -d); rsync -t --port=$0 127.0.0.1::files/file 127.0.0.1::files/small $taken/ && cmp file $taken/file && echo copied; \
                rm -r $taken taken.*; kill $server; wait; exit 7";
            let folder = stage.folder.to_str().expect("a path");
            Ok(Play::Alone(words(&["sh", "-c", script, &free_port().to_string(), folder])))
        },
        also: |told, moved| {
            let is_told = told == "copied\n" && moved.connections >= 2;
            is_told.then_some(()).ok_or_else(|| format!("it said {told:?}"))
        },
    },
    Case {
        name: "scp, sshd",
        needs: &["scp", "ssh-keygen", "ssh-keyscan"],
        backends: BOTH,
        play: |stage| {
            let sshd = ["/usr/sbin/sshd", "/usr/bin/sshd"].iter().find(|place| Path::new(place).is_file());
            sshd.ok_or_else(|| "sshd is not installed".to_owned())?;
            // Where it never ran as a service its folder is not there.
            _ = fs::create_dir_all("/run/sshd");
            let file = stage.folder.join("file");
            let (folder, file) = (stage.folder.to_str().expect("a path"), file.to_str().expect("a path"));
            Ok(Play::Alone(words(&["sh", &stage.program("scp.sh"), folder, file, &PORT.to_string()])))
        },
        also: |told, moved| {
            let is_told = match told {
                "copied\n" => moved.received > FILE,
                "refused\n" => moved.received > 1000,
                _ => false,
            };
            is_told.then_some(()).ok_or_else(|| format!("it said {told:?}"))
        },
    },
    Case {
        name: "wrk, nginx",
        needs: &["wrk", "nginx"],
        backends: STOPPED,
        play: |stage| {
            let (count, seconds) = if is_full() { (10_000, 5) } else { (500, 1) };
            let files = getrlimit(Resource::RLIMIT_NOFILE).map_or(0, |(files, _)| files);
            if files < count + 100 {
                return Err(format!("only {files} files may be open, for {count} connections"));
            }
            let client = format!("wrk -t2 -c{count} -d{seconds} --timeout 30 http://127.0.0.1:{PORT}/small");
            Ok(Play::Pair(stage.nginx(""), client))
        },
        also: |told, moved| {
            let requests = told.lines().find_map(|line| line.trim().split_once(" requests in")?.0.parse::<u64>().ok());
            let requests = requests.ok_or_else(|| format!("wrk said {told:?}"))?;
            let is_told =
                moved.received >= requests * SMALL && moved.connections > if is_full() { 10_000 } else { 500 };
            is_told.then_some(()).ok_or_else(|| format!("wrk had {requests} answers"))
        },
    },
    Case {
        name: "Go: goroutines, splice",
        needs: &["go"],
        backends: STOPPED,
        play: |stage| {
            let built = stage.folder.join("echo");
            let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("go");
            let mut go = Command::new("go");
            go.args(["build", "-o"]).arg(&built).arg(stage.program("echo.go"));
            go.env("GOCACHE", &cache).env("GOPATH", &cache).env("CGO_ENABLED", "0").env("GO111MODULE", "off");
            done(&mut go);
            Ok(Play::Alone(vec![built.to_str().expect("a path").to_owned()]))
        },
        also: |_, moved| (moved.connections == 50).then_some(()).ok_or_else(|| "fifty connections".to_owned()),
    },
    Case {
        name: "Java: HttpServer, HttpClient",
        needs: &["java", "javac"],
        backends: STOPPED,
        play: |stage| {
            done(Command::new("javac").arg("-d").arg(&stage.folder).arg(stage.program("Web.java")));
            let folder = stage.folder.to_str().expect("a path");
            Ok(Play::Alone(words(&["java", "-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", folder, "Web"])))
        },
        also: |_, moved| (moved.received > 20 * 35_000).then_some(()).ok_or_else(|| "twenty answers".to_owned()),
    },
    Case {
        name: "Node: http",
        needs: &["node"],
        backends: STOPPED,
        play: |stage| Ok(Play::Alone(words(&["node", &stage.program("web.js")]))),
        also: |_, moved| (moved.connections == 4).then_some(()).ok_or_else(|| "four connections".to_owned()),
    },
];

impl Stage {
    fn make() -> Self {
        let tcpflow = Program::within_reach(Path::new(env!("CARGO_BIN_EXE_tcpflow")));
        let folder = env::temp_dir().join(format!("tcpflow-elsewhere-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o777)).expect("its mode");
        let octets = |count: u64| (0..count).map(|n| (n * 7 % 251) as u8).collect::<Vec<_>>();
        for (name, size) in [("file", FILE), ("small", SMALL)] {
            fs::write(folder.join(name), octets(size)).expect("a file");
        }
        Self { tcpflow, folder }
    }

    /// A program of `tests/programs`, where everybody can read it.
    fn program(&self, name: &str) -> String {
        let copy = self.folder.join(name);
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/programs").join(name), &copy).expect("a copy");
        copy.to_str().expect("a path").to_owned()
    }

    /// nginx in the foreground, with its own folder and nothing of the system's; `how` it listens.
    fn nginx(&self, how: &str) -> String {
        let folder = self.folder.display();
        let of = |name: &str| format!("{name}_temp_path {folder}/{name};");
        let places = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map(of).concat();
        let text = format!(
            "daemon off; user root; worker_processes 2; error_log stderr crit; pid {folder}/nginx.pid;\n\
             events {{ worker_connections 19000; }}\n\
             http {{ access_log off; {places}\n\
             server {{ listen 127.0.0.1:{PORT} backlog=4096 {how}; root {folder}; }} }}\n"
        );
        let file = self.folder.join("nginx.conf");
        fs::write(&file, text).expect("a configuration");
        format!("nginx -e stderr -p {folder} -c {}", file.display())
    }

    /// Plays a case, prints its row of the table, and tells what is wrong.
    fn check(&self, case: &Case, play: &Play, who: Who, backend: &str) -> Vec<String> {
        let file = self.folder.join("timeline.jsonl");
        let mut command = self.tcpflow.played_by(who);
        command.args(["run", "--isolated", "--backend", backend, "--format", "jsonl", "-o"]).arg(&file);
        let expected = match play {
            Play::Alone(words) => {
                command.arg("--").args(words);
                Some(bare(words, who))
            }
            Play::Pair(server, client) => {
                command.args(["--server", server, "--client", client]);
                None
            }
        };
        let begun = Instant::now();
        let output = command.output().expect("it starts");
        let took = begun.elapsed();
        let told = String::from_utf8_lossy(&output.stderr);
        let Some(moved) = Moved::read(&file) else { return vec![format!("no timeline: {told}")] };
        drop(fs::remove_file(&file));
        println!("{}", moved.row(case.name, who, backend, took));
        let mut wrong = moved.wrong.clone();
        let status = output.status.code();
        let stdout = String::from_utf8_lossy(&output.stdout);
        match expected {
            Some(bare) if (bare.status.code(), &bare.stdout) != (status, &output.stdout) => wrong.push(format!(
                "without tcpflow {:?} {:?}, with it {status:?} {stdout:?}",
                bare.status.code(),
                String::from_utf8_lossy(&bare.stdout)
            )),
            None if status != Some(0) => wrong.push(format!("status {status:?}")),
            _ => {}
        }
        if moved.lost > 0 || i64::from(status.unwrap_or(-1)) != moved.status {
            wrong.push(format!("{} calls lost, status {}", moved.lost, moved.status));
        }
        if moved.sent == 0 || (moved.sent, moved.received) != (moved.sent_joined, moved.received_joined) {
            wrong.push("what calls moved is not what was joined".to_owned());
        }
        wrong.extend((case.also)(&stdout, &moved).err());
        if !wrong.is_empty() {
            wrong.push(format!("it wrote: {told}"));
        }
        wrong
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.folder));
    }
}

impl Moved {
    const HEAD: &str = "                                         seconds connections   calls lost      sent    joined      wire    joined  received";

    fn row(&self, name: &str, who: Who, backend: &str, took: Duration) -> String {
        let Self { connections, calls, lost, sent, sent_joined, wire, received, received_joined, .. } = self;
        format!(
            "{name:28} {:4} {backend:6} {:8.1} {connections:11} {calls:7} {lost:4} {sent:9} {sent_joined:9} {wire:9} {received_joined:9} {received:9}",
            format!("{who:?}"),
            took.as_secs_f64()
        )
    }

    /// What the lines of a timeline say; `None` where there is none that has come to its end.
    fn read(file: &Path) -> Option<Self> {
        let mut moved = Self::default();
        let mut of_calls: BTreeMap<(u64, String, String), u64> = BTreeMap::new();
        let mut connections = Vec::new();
        let mut has_ended = false;
        for line in BufReader::new(fs::File::open(file).ok()?).lines() {
            let line: Value = serde_json::from_str(&line.ok()?).expect("JSON");
            match line["type"].as_str() {
                Some("call") => moved.take(&line, &mut of_calls),
                Some("connection") => connections.push(line),
                Some("run") => {
                    moved.lost = line["lost_calls"].as_u64()?;
                    moved.status = line["status"].as_i64()?;
                    has_ended = true;
                }
                _ => {}
            }
        }
        moved.connections = connections.len() as u64;
        for connection in &connections {
            moved.compare(connection, &of_calls);
        }
        has_ended.then_some(moved)
    }

    /// Takes a call in.
    fn take(&mut self, call: &Value, of_calls: &mut BTreeMap<(u64, String, String), u64>) {
        self.calls += 1;
        let (Some(octets @ 1..), Some(effect @ ("send" | "receive"))) =
            (call["octets"].as_u64(), call["effect"].as_str())
        else {
            return;
        };
        let place = |end: &str| call["stream"][end].as_u64();
        let joined = match (call["connection"].as_u64(), place("from"), place("to"), call["side"].as_str()) {
            (Some(connection), Some(from), Some(to), Some(side)) => {
                *of_calls.entry((connection, side.to_owned(), effect.to_owned())).or_default() += to - from;
                to - from
            }
            _ => 0,
        };
        let (all, of_them) = match effect {
            "send" => (&mut self.sent, &mut self.sent_joined),
            _ => (&mut self.received, &mut self.received_joined),
        };
        *all += octets;
        *of_them += joined;
        if joined != octets && self.wrong.len() < 3 {
            self.wrong.push(format!("{joined} octets joined of {call}"));
        }
    }

    /// Sees that what the calls of a connection moved was on the wire: no more was received than that, and no less sent.
    ///
    /// What a reset threw away before it could leave, or be received, is no fault of anybody's.
    fn compare(&mut self, connection: &Value, of_calls: &BTreeMap<(u64, String, String), u64>) {
        let id = connection["id"].as_u64().expect("an id");
        let is_reset = connection["ending"] == "reset";
        for (side, peer, way) in [("client", "server", "client_to_server"), ("server", "client", "server_to_client")] {
            let of = |side: &str, effect: &str| {
                of_calls.get(&(id, side.to_owned(), effect.to_owned())).copied().unwrap_or(0)
            };
            let wire = connection[way]["unique_octets"].as_u64().expect("octets");
            let (sent, received) = (of(side, "send"), of(peer, "receive"));
            self.wire += wire;
            let holds = if is_reset { received <= wire && wire <= sent } else { received == wire && wire == sent };
            if !holds && self.wrong.len() < 3 {
                let ending = &connection["ending"];
                self.wrong.push(format!(
                    "connection {id}, {ending}, {way}: sent {sent}, on the wire {wire}, received {received}"
                ));
            }
        }
    }
}

/// What a program does without tcpflow, as the same user.
fn bare(words: &[String], who: Who) -> Output {
    let mut command = Command::new(&words[0]);
    command.args(&words[1..]).current_dir("/").stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
    if who == Who::User && nix::unistd::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command.output().expect("it starts")
}

fn is_installed(program: &str) -> bool {
    let places = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&places).any(|place| place.join(program).is_file())
}

/// Whether the kernel lets that user have calls recorded.
fn is_recordable(who: Who) -> bool {
    let paranoid = fs::read_to_string("/proc/sys/kernel/perf_event_paranoid").unwrap_or_default();
    who == Who::Root || paranoid.trim().parse::<i32>().is_ok_and(|level| level <= 2)
}

/// Whether the sizes are those that take long.
fn is_full() -> bool {
    env::var_os("TCPFLOW_FULL").is_some_and(|full| full == "1")
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

/// Runs a compiler.
fn done(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// A port of this host that nobody listens on.
fn free_port() -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

const EVERYBODY: &[Who] = &[Who::Root, Who::User];
const STOPPED: &[(&str, &[Who])] = &[("ptrace", EVERYBODY)];
/// Where it makes no more calls than are read in time.
const BOTH: &[(&str, &[Who])] = &[("ptrace", EVERYBODY), ("perf", EVERYBODY)];
/// Where it connects to an address that does not lie on its stack, and is over before that can be read: only root knows it then.
const BOTH_AS_ROOT: &[(&str, &[Who])] = &[("ptrace", EVERYBODY), ("perf", &[Who::Root])];
/// The port of servers in a network of their own.
const PORT: u16 = 8088;
/// How long the files are that servers give.
const FILE: u64 = 300_000;
const SMALL: u64 = 1000;
