//! The command line: its options, their help and their examples.

mod examples;
mod later;

use std::ffi::{OsStr, OsString};
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::builder::styling::{self, Styles};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum, ValueHint};

use self::examples::*;
use self::later::Later;
use crate::report::{self, Style, fields_help};
use crate::session::Memory;
use crate::time::Span;

/// Shows what each call of a TCP program does on the wire and to the states of both ends.
///
/// Three witnesses see a TCP connection: the program's calls, the segments on the wire, and the kernel's states.
/// tcpflow puts the three on one clock and joins them into one timeline, in which every line names its cause.
#[derive(Parser, Clone, PartialEq, Debug)]
#[command(name = "tcpflow", version, after_help = EXAMPLES, max_term_width = HELP_WIDTH, styles = STYLES)]
#[command(subcommand_required = true, arg_required_else_help = true, disable_help_subcommand = true)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
    /// How text looks.
    #[command(flatten)]
    pub look: Look,
}

/// The subcommands.
#[derive(Subcommand, Clone, PartialEq, Debug)]
pub enum Command {
    /// Play a scenario on the real kernel and show its calls, segments and states: `echo`, or one of --list
    ///
    /// Runs a real echo server and a real echo client, one system call at a time, captures their segments, asks the kernel for their states, and shows all three as one timeline.
    ///
    /// As root it uses the host's own loopback interface and gives root up once the capture is open.
    /// As an ordinary user it does the same in a private network namespace, which needs no privilege.
    #[command(after_help = DEMO_EXAMPLES)]
    Demo(Later<Demo>),
    /// Analyze capture files: every connection's life, states and ending
    ///
    /// Reads capture files (pcap or pcapng, also compressed) and prints one line for each TCP connection: its ends, duration, octets, the states of both ends, how it ended, and a verdict.
    /// With --timeline, draws each connection's calls, segments and states in order of time.
    /// Reading a file needs no privilege.
    #[command(after_help = ANALYZE_EXAMPLES, override_usage = "tcpflow analyze [OPTIONS] FILE... [FILTER]...")]
    Analyze(Later<Analyze>),
    /// Show connections on an interface as they open, change state and end
    ///
    /// Captures on a network interface and prints one line for each TCP connection that opens, changes state or ends.
    /// Ctrl-C ends it with a table of the connections and the counts, those of packets that the kernel dropped among them.
    ///
    /// It takes the permission to capture (root, or the capability CAP_NET_RAW), which is given up as soon as the capture is open; under sudo, files belong to the user who called it.
    #[command(after_help = LIVE_EXAMPLES)]
    Live(Later<Live>),
    /// Run a program and show its calls, its segments and its states
    ///
    /// Runs a command and everything that it starts, unmodified, watches its calls on TCP sockets, captures the segments of its connections on all interfaces, and shows both with the states of the sockets as one timeline, with a verdict on each connection and what seems wrong.
    ///
    /// The command's input, output, signals, terminal and exit status are its own; the timeline goes to standard error when it has ended.
    /// Exit status: 1 if an expectation did not hold, else the command's (128 + n where signal n ended it, 127 and 126 where it could not be started), 2 for a fault of tcpflow's.
    ///
    /// The command is watched by ptrace with a seccomp filter: it ends when tcpflow is killed, and a program that is setuid runs without that privilege unless tcpflow runs as root.
    /// As root everything is captured, and the command runs as the user who called sudo. As an ordinary user capturing takes a permission (see `tcpflow interfaces`), or --isolated.
    #[command(after_help = RUN_EXAMPLES, override_usage = "tcpflow run [OPTIONS] -- COMMAND [ARGUMENT]...\n       tcpflow run [OPTIONS] --server COMMAND --client COMMAND...\n       tcpflow run [OPTIONS] -p PID...")]
    Run(Later<Run>),
    /// List the interfaces that can be captured, and why others cannot
    #[command(after_help = INTERFACES_EXAMPLES)]
    Interfaces(Later<Interfaces>),
    /// Print the completions for a shell
    ///
    /// Prints the script that completes tcpflow's options in the shell named.
    #[command(after_help = COMPLETIONS_EXAMPLES)]
    Completions(Later<Completions>),
    /// Print the manual page, or write all manual pages into a folder
    #[command(after_help = MAN_EXAMPLES)]
    Man(Later<Man>),
}

/// How text looks; the same for every subcommand.
#[derive(Args, Clone, PartialEq, Debug)]
#[command(next_help_heading = "Look")]
pub struct Look {
    /// When to use colour; `auto` is on a terminal, unless NO_COLOR is set
    #[arg(long, global = true, value_enum, default_value_t = Color::Auto, value_name = "WHEN")]
    pub color: Color,
    /// Line width in columns [default: the terminal's; without one, 100, and 180 for a table]
    #[arg(long, global = true, value_name = "COLUMNS", value_parser = clap::value_parser!(u16).range(20..=1000))]
    pub width: Option<u16>,
    /// Draw with ASCII characters only [default: where the locale is not UTF-8]
    #[arg(long, global = true)]
    pub ascii: bool,
    /// Clock for timestamps in text [default: timelines relative, tables none]
    #[arg(long, global = true, value_enum, value_name = "CLOCK")]
    pub time: Option<Time>,
    /// In timelines, draw each segment by itself, also those that follow one another alike
    #[arg(long, global = true)]
    pub every_segment: bool,
}

/// The clock for timestamps in text.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Time {
    /// Seconds since the first frame, or the first event of a timeline
    Relative,
    /// Time of day in the local zone
    Local,
    /// Time of day in UTC
    Utc,
    /// Seconds since the epoch
    Epoch,
}

/// When to use colour.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Color {
    /// On a terminal, unless NO_COLOR is set
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

/// By what the calls of programs are watched.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Backend {
    /// ptrace where it is permitted, else perf; for -p always perf
    Auto,
    /// Threads stop at each call (ptrace, seccomp): exact, everybody's own programs
    Ptrace,
    /// The kernel records calls (perf_event_open) and stops nothing: cheaper, but what lies in memory is seen in part, and records can be lost
    Perf,
}

/// The form of the output.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Jsonl,
}

/// What is to hold of what is seen.
#[derive(Args, Clone, PartialEq, Eq, Debug)]
pub struct Expectations {
    /// What is to hold, as '!findings.exists(f, f.name == "close_wait_leak")'; exit status 1 if it does not; may be given several times
    #[arg(long = "assert", value_name = "EXPR", allow_hyphen_values = true)]
    pub assertions: Vec<String>,
    /// A file with such expressions, one a line; empty lines and those that begin with # are left out
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub assert_file: Vec<PathBuf>,
    /// Write whether each holds into a file as JUnit has it, for CI
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub junit: Option<PathBuf>,
}

/// The options of `demo`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Demo {
    /// The scenario, by name (--list), or a file with one, as ./mine.toml; the options below marked (echo) are those of `echo`
    #[arg(value_name = "SCENARIO", default_value = "echo", hide_default_value = true)]
    pub scenario: String,
    /// List the scenarios
    #[arg(long, conflicts_with_all = ["all", "new", "save"])]
    pub list: bool,
    /// Play every scenario, several side by side, and say which went as they say
    #[arg(long, conflicts_with_all = ["new", "save", "format"])]
    pub all: bool,
    /// Write NAME.toml, the commented beginning of a new scenario
    #[arg(long, value_name = "NAME", conflicts_with = "save")]
    pub new: Option<String>,
    /// Change one thing of a scenario, as in link.delay=100ms, sysctl.tcp_sack=0, or a value that it names; may be given several times
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// Play two scenarios, or one of them with a change, and lay the runs side by side, as in fin-lost fin-lost,link.delay=100ms
    #[arg(long, num_args = 2, value_names = ["RUN", "RUN"], conflicts_with_all = ["list", "all", "new", "save", "set", "format"])]
    pub compare: Vec<String>,
    /// Of a scenario, say only what was expected and whether it held
    #[arg(long)]
    pub checks: bool,
    /// Language of titles and lessons [default: by the locale]
    #[arg(long, value_enum, value_name = "LANGUAGE")]
    pub lang: Option<Language>,
    /// (echo) Port of the server; where it is taken, another free one is used, and that is said
    #[arg(long, default_value_t = 3000, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub port: u16,
    /// (echo) Use IPv6
    #[arg(long, short = '6')]
    pub ipv6: bool,
    /// (echo) A message the client sends and the server echoes; may be given several times [default: helloworld]
    #[arg(long, short = 'm', value_name = "TEXT", conflicts_with_all = ["size", "refused"])]
    pub message: Vec<OsString>,
    /// (echo) Send one message of this many octets instead
    #[arg(long, short = 's', value_name = "OCTETS", conflicts_with = "refused", value_parser = clap::value_parser!(u64).range(..=100_000_000))]
    pub size: Option<u64>,
    /// (echo) How many times the messages are sent and echoed
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub rounds: u32,
    /// (echo) How many clients connect at the same time
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub clients: u16,
    /// (echo) MTU of the loopback interface, for segments as in the textbook (1500); always in a private network namespace
    #[arg(long, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(88..=65536))]
    pub mtu: Option<u32>,
    /// (echo) Play it in a private network namespace even where the host's loopback interface may be captured, as --all does
    #[arg(long)]
    pub private: bool,
    /// (echo) Which end closes first, and so ends up in TIME-WAIT [default: client]
    #[arg(long, value_enum, value_name = "END", conflicts_with = "refused")]
    pub first_close: Option<End>,
    /// (echo) Wait until TIME-WAIT ends (60 s on Linux) and show the kernel remove it
    #[arg(long, conflicts_with = "refused")]
    pub wait: bool,
    /// (echo) Connect to a closed port
    #[arg(long)]
    pub refused: bool,
    /// (echo) Connect once before the server listens, which is refused, and then again with the same socket, or with a new one that has the same descriptor
    #[arg(long, value_enum, value_name = "SOCKET", conflicts_with = "refused")]
    pub retry: Option<Retry>,
    /// (echo) Afterwards start a second server on the same port without SO_REUSEADDR, which fails; the server closes first
    #[arg(long, conflicts_with = "refused")]
    pub rebind: bool,
    /// (echo) Show each row as soon as it is certain, instead of all at the end; what later evidence changes is shown again, marked
    #[arg(long, short = 'F')]
    pub follow: bool,
    /// What is to hold.
    #[command(flatten)]
    pub expectations: Expectations,
    /// How much memory to take at most [default: a quarter of the machine's, at most 4G]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// Keep the capture in a file: pcapng with the calls in it, or pcap, by its ending
    #[arg(long, short = 'w', value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub save: Option<PathBuf>,
    /// Whom root becomes as soon as nothing needs root any more, by name or number [default: who called sudo; else nobody, unless files are to be written into a folder of root's]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// The language of what scenarios teach.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Language {
    /// English
    En,
    /// Chinese
    Zh,
}

impl Demo {
    /// The first option of `echo` that was given, where another scenario is to be played.
    fn misplaced(&self) -> Option<&'static str> {
        let given = [
            (self.port != 3000, "--port"),
            (self.ipv6, "--ipv6"),
            (!self.message.is_empty(), "--message"),
            (self.size.is_some(), "--size"),
            (self.rounds != 1, "--rounds"),
            (self.clients != 1, "--clients"),
            (self.mtu.is_some(), "--mtu"),
            (self.private, "--private"),
            (self.first_close.is_some(), "--first-close"),
            (self.wait, "--wait"),
            (self.refused, "--refused"),
            (self.retry.is_some(), "--retry"),
            (self.rebind, "--rebind"),
            (self.follow, "--follow"),
        ];
        given.into_iter().find_map(|(given, name)| given.then_some(name))
    }
}

/// The socket with which a client connects that was refused.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retry {
    /// The same
    Same,
    /// A new one
    New,
}

/// One of the two ends.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// The end that connects
    Client,
    /// The end that accepts
    Server,
}

/// The options of `run`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Run {
    /// The command and its arguments, after `--`
    #[arg(last = true, value_name = "COMMAND", required_unless_present_any = ["server", "pid"], conflicts_with_all = ["server", "client", "pid"], value_hint = ValueHint::CommandWithArguments)]
    pub command: Vec<OsString>,
    /// Join a process that runs already, by its number, until Ctrl-C or its end; it goes on unharmed. May be given several times
    #[arg(long, short = 'p', value_name = "PID", conflicts_with_all = ["server", "client", "isolated", "exact"], value_parser = clap::value_parser!(u32).range(1..))]
    pub pid: Vec<u32>,
    /// By what calls are watched
    #[arg(long, value_enum, default_value_t = Backend::Auto, value_name = "WHICH")]
    pub backend: Backend,
    /// Show the source line of each call, where the program has line tables (-g); without, the function or the place in its file
    #[arg(long)]
    pub stack: bool,
    /// Lose no call: stop the program at each, as ptrace does, whatever it costs
    #[arg(long, conflicts_with = "backend")]
    pub exact: bool,
    /// A server to run beside clients, as one word that is split as a shell does (but no shell runs it)
    #[arg(long, value_name = "COMMAND", requires = "client")]
    pub server: Option<String>,
    /// A client, started once the server listens; may be given several times
    #[arg(long, value_name = "COMMAND", requires = "server")]
    pub client: Vec<String>,
    /// How many seconds the server has to end after SIGTERM, when all clients are done, until SIGKILL
    #[arg(long, default_value_t = 2, value_name = "SECONDS", requires = "server", value_parser = clap::value_parser!(u32).range(0..=3600))]
    pub grace: u32,
    /// Run it in a private network namespace, with a loopback interface only; takes no privilege
    #[arg(long)]
    pub isolated: bool,
    /// Capture nothing: calls and states are shown without packets, which costs the command less time
    #[arg(long)]
    pub no_packets: bool,
    /// Show each row as soon as it is certain, while the command runs
    #[arg(long)]
    pub follow: bool,
    /// Write the timeline to a file instead of standard error; `-` is standard output
    #[arg(long, short = 'o', value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub output: Option<PathBuf>,
    /// Keep packets, calls and states in a file: pcapng with all of them, which `tcpflow analyze -t` tells again, or pcap, by its ending
    #[arg(long, short = 'w', value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub save: Option<PathBuf>,
    /// The form of the output; jsonl needs --output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
    /// What is to hold.
    #[command(flatten)]
    pub expectations: Expectations,
    /// How much memory to take at most [default: a quarter of the machine's, at most 4G]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
}

/// The options of `analyze`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Analyze {
    /// Capture files (`-` is standard input); from the first argument on that is no file, a filter as tcpdump has it
    #[arg(required_unless_present = "client_side", value_name = "FILE|FILTER", value_hint = ValueHint::FilePath)]
    pub arguments: Vec<OsString>,
    /// A capture taken at the client of connections, of which --server-side names the one taken at their server: each segment of one is paired with the same one of the other; with a FILE before them, both name interfaces of it
    #[arg(long, value_name = "FILE|INTERFACE", requires = "server_side", conflicts_with_all = ["each", "timeline", "connection", "filter", "condition", "sort", "reverse", "top", "findings", "resolve", "output"], value_hint = ValueHint::FilePath)]
    pub client_side: Option<PathBuf>,
    /// The capture taken at the server
    #[arg(long, value_name = "FILE|INTERFACE", requires = "client_side", value_hint = ValueHint::FilePath)]
    pub server_side: Option<PathBuf>,
    /// The server's clock minus the client's, as 3s or -250ms, where it is known [default: estimated from the segments of both directions]
    #[arg(long, value_name = "TIME", requires = "client_side", value_parser = offset, allow_hyphen_values = true)]
    pub offset: Option<Span>,
    /// Analyze each file separately, instead of merging all by time into one capture
    #[arg(long)]
    pub each: bool,
    /// Draw every connection's events in order of time instead of one line for each
    #[arg(long, short = 't')]
    pub timeline: bool,
    /// Only these connections, by the id that the table shows; a list, or given several times
    #[arg(long, short = 'c', value_name = "ID", value_delimiter = ',')]
    pub connection: Vec<u64>,
    /// A filter as tcpdump has it, such as `tcp port 80`, besides the one among the arguments
    #[arg(long, short = 'f', value_name = "FILTER")]
    pub filter: Option<String>,
    /// Only connections for which this holds: a condition on their fields, such as 'ending == "reset" && server.port == 443'
    #[arg(long = "where", value_name = "EXPR", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// Order by a field, such as duration_ns, or with a minus from the greatest down; `end` is the order of ending [default: text by id as far as memory allows, others end]
    #[arg(long, value_name = "[-]FIELD", allow_hyphen_values = true)]
    pub sort: Option<String>,
    /// Reverse the sort order
    #[arg(long)]
    pub reverse: bool,
    /// Only the first N in that order
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub top: Option<u32>,
    /// One line for each finding, with its frame number, instead of one for each connection; octets that come again are compared with those before, which takes longer
    #[arg(long, conflicts_with = "timeline")]
    pub findings: bool,
    /// Where each connection's time went: a bar and a sentence for each; in other formats the fields `breakdown.*`
    #[arg(long, conflicts_with = "findings")]
    pub breakdown: bool,
    /// One page on all connections instead of a line for each: what to look at first, how they ended, top talkers, findings, slowest handshakes, most retransmissions
    #[arg(long, conflicts_with_all = ["timeline", "findings", "breakdown", "resolve", "sort", "reverse", "top", "output"])]
    pub summary: bool,
    /// In tables, names instead of addresses, as the system resolves them: this queries name servers, after the capture is read
    #[arg(long, conflicts_with_all = ["timeline", "findings", "breakdown"])]
    pub resolve: bool,
    /// Which TCP checksums are verified: a segment whose checksum is wrong is counted and moves no state
    #[arg(long, value_enum, default_value_t = Checksums::Auto, value_name = "WHICH")]
    pub checksums: Checksums,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Form::Text)]
    pub format: Form,
    /// What is to hold.
    #[command(flatten)]
    pub expectations: Expectations,
    /// How much memory to take at most (k, M, G, Ki, Mi and Gi are understood): what it does not hold is told early or left out, and counted [default: a quarter of the machine's, at most 4G]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// The folder for the tables of --format parquet, connections.parquet and findings.parquet; it is made where it is not there
    #[arg(long, short = 'o', value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub output: Option<PathBuf>,
    /// Whom root becomes as soon as nothing needs root any more, by name or number [default: who called sudo; else nobody, unless files are to be written into a folder of root's]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// The options of `live`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Live {
    /// A filter as tcpdump has it, such as `tcp port 443 and host 10.0.0.1`
    #[arg(value_name = "FILTER")]
    pub filter: Vec<OsString>,
    /// The interface, or `any` [default: libpcap's choice; `tcpflow interfaces` lists them]
    #[arg(long, short = 'i', value_name = "IFACE")]
    pub interface: Option<String>,
    /// Draw every event, each segment with its cause and the states, as soon as it is certain; what later evidence changes is shown again, marked
    #[arg(long, short = 't', conflicts_with_all = ["every", "condition"])]
    pub timeline: bool,
    /// Show a table of the open connections every so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub every: Option<u64>,
    /// Only connections for which this holds as they stand: a condition on their fields, as `analyze --where` has it
    #[arg(long = "where", value_name = "EXPR", allow_hyphen_values = true)]
    pub condition: Option<String>,
    /// Which TCP checksums are verified: a segment whose checksum is wrong is counted and moves no state
    #[arg(long, value_enum, default_value_t = Checksums::Auto, value_name = "WHICH")]
    pub checksums: Checksums,
    /// The form of the output
    #[arg(long, value_enum, default_value_t = LiveForm::Text)]
    pub format: LiveForm,
    /// Keep the frames in a file: pcapng or pcap, by its ending
    #[arg(long, short = 'w', value_name = "FILE")]
    pub save: Option<PathBuf>,
    /// Begin another file when one has this many octets (k, M, G, Ki, Mi and Gi are understood); files are numbered
    #[arg(long, value_name = "SIZE", requires = "save", value_parser = octets)]
    pub rotate_size: Option<u64>,
    /// Begin another file after so many seconds; files are numbered
    #[arg(long, value_name = "SECONDS", requires = "save", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub rotate_seconds: Option<u64>,
    /// Keep at most this many files, including the one being written; the oldest is deleted
    #[arg(long, value_name = "N", requires = "save", value_parser = clap::value_parser!(u32).range(2..=100_000))]
    pub files: Option<u32>,
    /// How many octets of a frame are kept; the default holds the headers, also in a tunnel
    #[arg(long, short = 's', default_value_t = 192, value_name = "OCTETS", value_parser = clap::value_parser!(u32).range(64..=262_144))]
    pub snaplen: u32,
    /// The kernel's buffer for packets that wait to be read
    #[arg(long, short = 'B', default_value = "32Mi", value_name = "SIZE", value_parser = octets)]
    pub buffer: u64,
    /// End after so many frames
    #[arg(long, short = 'c', value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=31_536_000))]
    pub duration: Option<u64>,
    /// Promiscuous mode: capture every packet on the link, not only this host's
    #[arg(long, short = 'p')]
    pub promiscuous: bool,
    /// How much memory to take at most, besides the kernel's buffer: what it does not hold is told early, and counted [default: a quarter of the machine's, at most 4G]
    #[arg(long, value_name = "SIZE", value_parser = memory)]
    pub memory: Option<u64>,
    /// How long a closed connection must be quiet before its record is final; later segments are counted as late
    #[arg(long, default_value_t = 10, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub linger: u64,
    /// Whom root becomes as soon as nothing needs root any more, by name or number [default: who called sudo; else nobody, unless files are to be written into a folder of root's]
    #[arg(long, value_name = "NAME")]
    pub user: Option<String>,
}

/// Which checksums are verified.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Checksums {
    /// Those of segments with SYN, FIN or RST. A wrong one counts unless it is what a sender leaves to its network card,
    /// and only while at most one in ten is wrong, in the capture and from its source address (a first one counts)
    Auto,
    /// All, and every wrong one counts
    Verify,
    /// None
    Ignore,
}

impl From<Checksums> for crate::wire::Checksums {
    fn from(checksums: Checksums) -> Self {
        match checksums {
            Checksums::Auto => Self::Controls,
            Checksums::Verify => Self::Verify,
            Checksums::Ignore => Self::Ignore,
        }
    }
}

/// The form of what `live` tells.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum LiveForm {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Jsonl,
    /// For spreadsheets and databases: a header, and each connection's record when it is over
    Csv,
}

/// The options of `interfaces`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Interfaces {
    /// The form of the output
    #[arg(long, value_enum, default_value_t = Format::Text)]
    pub format: Format,
}

/// The form of what `analyze` tells.
#[derive(ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
pub enum Form {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Jsonl,
    /// For spreadsheets and databases: a header and comma-separated values
    Csv,
    /// For engines that query many captures: tables in the folder of --output, where tcpflow was built with the feature `parquet`
    Parquet,
}

/// The arguments of `completions`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Completions {
    /// The shell
    #[arg(value_enum)]
    pub shell: clap_complete::Shell,
}

/// The arguments of `man`.
#[derive(Args, Clone, PartialEq, Debug)]
pub struct Man {
    /// The folder to write a page for tcpflow and one for each subcommand into; it must exist
    #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub dir: Option<PathBuf>,
}

/// Why there is nothing to run.
#[derive(Debug)]
pub enum Ended {
    /// Help or the version was asked for and printed (0), or a usage error was told on standard error (2).
    Told(ExitCode),
    /// Help or the version was asked for, and standard output does not take it.
    Unwritten(io::Error),
}

/// The command line with all that its help says.
pub fn command() -> clap::Command {
    Cli::command().mut_subcommand("analyze", |analyze| analyze.after_long_help(analyze_reference()))
}

/// Reads the command line.
///
/// # Errors
/// See [`Ended`].
pub fn parse() -> Result<Cli, Ended> {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    let parsed = read(&arguments).and_then(|cli| match contradiction(&cli) {
        None => Ok(cli),
        Some(message) => Err(Cli::command().error(ErrorKind::ArgumentConflict, message)),
    });
    parsed.map_err(|error| {
        let error = visible(error, &arguments);
        // Nobody may be left to read it: a closed output is no failure of the command line. One that takes nothing is.
        match error.print().and_then(|()| io::stdout().flush()) {
            Err(failure) if !error.use_stderr() => Ended::Unwritten(failure),
            _ => Ended::Told(ExitCode::from(if error.use_stderr() { 2 } else { 0 })),
        }
    })
}

fn read<A: AsRef<OsStr>>(arguments: &[A]) -> Result<Cli, clap::Error> {
    let arguments = arguments.iter().map(AsRef::as_ref);
    // To write the reference takes longer than to read a small capture.
    let is_help = arguments.clone().any(|argument| argument == "--help");
    let mut command = if is_help { command() } else { Cli::command() };
    let mut matches = command.try_get_matches_from_mut(arguments)?;
    Cli::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
}

/// The error with everything in it escaped that a terminal would act on: clap repeats arguments as they are.
fn visible(error: clap::Error, arguments: &[OsString]) -> clap::Error {
    let escaped = |argument: &OsString| report::escape(&argument.to_string_lossy(), &Style::plain(Style::WIDEST));
    let shown: Vec<String> = arguments.iter().map(escaped).collect();
    if shown.iter().zip(arguments).all(|(shown, argument)| argument == shown.as_str()) {
        return error;
    }
    // The same mistake is in the arguments as they are shown: clap marks and colours it as always.
    match read(&shown) {
        Err(again) if again.kind() == error.kind() => again,
        _ => {
            let told = error.to_string();
            let message = told.lines().next().unwrap_or_default().trim_start_matches("error: ");
            Cli::command().error(error.kind(), report::escape(message, &Style::plain(Style::WIDEST)))
        }
    }
}

/// A number of octets, with a unit or without: `4096`, `100M`, `64Mi`.
fn octets(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_end_matches('B') {
        "" => 1,
        "k" | "K" => 1_000,
        "M" => 1_000_000,
        "G" => 1_000_000_000,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err("a number of octets, such as 4096, 100M or 64Mi".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "a number of octets, such as 4096, 100M or 64Mi".to_owned())?;
    match number.checked_mul(unit) {
        Some(octets @ 4096..=0xff_ffff_ffff) => Ok(octets),
        _ => Err("from 4096 octets to a terabyte".to_owned()),
    }
}

/// A number of octets that is enough to run with.
fn memory(text: &str) -> Result<u64, String> {
    match octets(text)? {
        octets if octets >= Memory::LEAST => Ok(octets),
        _ => Err(format!("no less than {}M", Memory::LEAST / 1_000_000)),
    }
}

/// A time with its unit, which may be negative.
fn offset(text: &str) -> Result<Span, String> {
    let wrong = || "a time is a number and ns, us, ms or s, as in 3s, -250ms or 1.5s".to_owned();
    let (sign, digits) = text.strip_prefix('-').map_or((1.0, text), |digits| (-1.0, digits));
    let unit = digits.find(|c: char| c.is_ascii_alphabetic()).ok_or_else(wrong)?;
    let number: f64 = digits[..unit].parse().map_err(|_| wrong())?;
    let scale = match &digits[unit..] {
        "ns" => 1.0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        _ => return Err(wrong()),
    };
    let nanos = sign * number * scale;
    // Ten years are more than clocks differ by.
    if nanos.abs() < 3.2e17 { Ok(Span(nanos as i64)) } else { Err(wrong()) }
}

/// What contradicts itself in a way that the definitions above cannot say.
fn contradiction(cli: &Cli) -> Option<&'static str> {
    let demo = match &cli.command {
        Command::Demo(demo) => demo,
        Command::Analyze(analyze) => return contradiction_of_analyze(analyze),
        Command::Run(run) if run.format == Format::Jsonl && run.output.is_none() => {
            return Some(
                "--format jsonl needs a place of its own: add --output FILE, or --output - for standard output",
            );
        }
        Command::Live(live) if live.timeline && live.format == LiveForm::Csv => {
            return Some(
                "--timeline has the formats text and jsonl only: leave it out for one record per connection in this --format",
            );
        }
        _ => return None,
    };
    let is_echo = demo.scenario == "echo" && !demo.list && !demo.all && demo.new.is_none() && demo.compare.is_empty();
    if !is_echo && demo.misplaced().is_some() {
        return Some(
            "the options marked (echo) belong to the scenario echo; another one is changed by --set KEY=VALUE",
        );
    }
    if is_echo && !demo.set.is_empty() && demo.misplaced().is_some() {
        return Some("with --set, echo is a scenario between two hosts, which has none of the options marked (echo)");
    }
    if demo.rebind && demo.first_close == Some(End::Client) {
        return Some(
            "--rebind needs the TIME-WAIT on the server: leave --first-close out, or say --first-close server",
        );
    }
    if demo.ipv6 && demo.mtu.is_some_and(|mtu| mtu < 1280) {
        return Some("--ipv6 needs an --mtu of at least 1280 octets (RFC 8200 section 5)");
    }
    None
}

fn contradiction_of_analyze(analyze: &Analyze) -> Option<&'static str> {
    let tables = analyze.format == Form::Parquet;
    if tables && analyze.client_side.is_some() {
        return Some("--client-side has the formats text, jsonl and csv");
    }
    if analyze.timeline && !matches!(analyze.format, Form::Text | Form::Jsonl) {
        return Some(
            "--timeline has the formats text and jsonl only: leave it out for one line per connection in this --format",
        );
    }
    if tables && analyze.output.is_none() {
        return Some("--format parquet needs a folder for its tables: add --output DIR");
    }
    if tables && analyze.each {
        return Some(
            "--format parquet makes the tables of one capture: scripts/many_files.sh makes those of each file",
        );
    }
    if tables && analyze.findings {
        return Some(
            "--format parquet always writes findings, as a table beside that of connections: leave --findings out",
        );
    }
    if analyze.each && analyze.expectations.junit.is_some() {
        return Some("--junit has what is expected of one capture: leave --each out, or analyze each file by itself");
    }
    if analyze.resolve && analyze.format != Form::Text {
        return Some("--resolve is for the table: every other --format has addresses");
    }
    if !tables && analyze.output.is_some() {
        return Some("--output is for --format parquet: redirect standard output instead (> FILE)");
    }
    None
}

/// The examples of `analyze`, and the fields that its options name.
fn analyze_reference() -> String {
    format!("{ANALYZE_EXAMPLES}\n\n{}", fields_help(HELP_WIDTH))
}

/// Columns of the help at most, as `max_term_width` above has it.
const HELP_WIDTH: usize = 100;

/// Help and usage errors have bold and underline alone, which every theme keeps legible.
const STYLES: Styles = Styles::styled()
    .error(styling::Style::new().bold())
    .valid(styling::Style::new().bold())
    .invalid(styling::Style::new().underline());

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Result<Cli, clap::Error> {
        let arguments: Vec<&str> = std::iter::once("tcpflow").chain(line.split_whitespace()).collect();
        super::read(&arguments)
    }

    #[test]
    fn the_definitions_are_sound() {
        command().debug_assert();
    }

    #[test]
    fn help_and_errors_leave_the_colours_to_the_terminal() {
        let help = Cli::command().render_long_help().ansi().to_string();
        let wrong = ["demo --prot 1", "live --every 0", "analyze --format txt a", "demo --refused --wait", "analyse"];
        let errors = wrong.map(|line| read(line).unwrap_err().render().ansi().to_string());
        for text in std::iter::once(help).chain(errors) {
            let sequences: Vec<&str> =
                text.split("\x1b[").skip(1).filter_map(|rest| Some(rest.split_once('m')?.0)).collect();
            assert!(!sequences.is_empty());
            for sequence in sequences {
                assert!(["", "0", "1", "4"].contains(&sequence), "{sequence:?} in {text:?}");
            }
        }
    }

    #[test]
    fn options_may_stand_between_and_after_files_and_filter() {
        let Command::Analyze(analyze) =
            read("analyze -t a.pcap -c 3,4 tcp port 80 -c 7 --format jsonl").unwrap().command
        else {
            panic!("not analyze")
        };
        assert_eq!(analyze.arguments, ["a.pcap", "tcp", "port", "80"]);
        assert_eq!(analyze.connection, [3, 4, 7]);
        assert!(analyze.timeline);
        assert_eq!(analyze.format, Form::Jsonl);
    }

    #[test]
    fn a_field_to_sort_by_may_begin_with_a_minus() {
        for line in ["analyze a.pcap --sort -duration_ns --top 3", "analyze --sort=-duration_ns --top=3 a.pcap"] {
            let Command::Analyze(analyze) = read(line).unwrap().command else { panic!("not analyze") };
            assert_eq!((analyze.sort.as_deref(), analyze.top), (Some("-duration_ns"), Some(3)), "{line}");
        }
    }

    #[test]
    fn a_condition_may_begin_with_a_minus() {
        let read = super::read(&["tcpflow", "analyze", "--where", "-id < 0", "a.pcap"]).unwrap();
        let Command::Analyze(analyze) = read.command else { panic!("not analyze") };
        assert_eq!(analyze.condition.as_deref(), Some("-id < 0"));
    }

    #[test]
    fn standard_input_is_an_argument() {
        let Command::Analyze(analyze) = read("analyze -").unwrap().command else { panic!("not analyze") };
        assert_eq!(analyze.arguments, ["-"]);
    }

    #[test]
    fn sizes_have_units() {
        for (text, number) in
            [("4096", 4096), ("64k", 64_000), ("64Ki", 65_536), ("100MB", 100_000_000), ("2G", 2_000_000_000)]
        {
            assert_eq!(octets(text), Ok(number), "{text}");
        }
        for text in ["", "M", "1", "64 k", "64T", "-64k", "99999999999999999999", "9999999999G"] {
            assert!(octets(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_live_filter_is_what_is_left_of_the_words() {
        let Command::Live(live) = read("live -i lo tcp port 80 --every 3 -c 5 and host ::1").unwrap().command else {
            panic!("not live")
        };
        assert_eq!(live.filter, ["tcp", "port", "80", "and", "host", "::1"]);
        assert_eq!((live.every, live.count, live.buffer), (Some(3), Some(5), 32 << 20));
        for line in ["live --rotate-size 1M", "live -w a.pcap --files 1", "live --snaplen 10", "live --buffer 7"] {
            assert!(read(line).is_err(), "{line}");
        }
    }

    #[test]
    fn what_an_error_repeats_is_escaped() {
        use std::os::unix::ffi::OsStringExt;
        let strange = "x\u{1b}[2J\u{202e}\n\rerror: \u{9b}31m";
        for line in [
            vec![strange],
            vec!["analyze", "--format", strange, "a"],
            vec!["demo", "--port", strange],
            vec!["demo", &format!("--{strange}")],
            vec!["completions", strange],
        ] {
            let arguments: Vec<OsString> = std::iter::once("tcpflow").chain(line).map(OsString::from).collect();
            let error = super::read(&arguments).unwrap_err();
            let kind = error.kind();
            let told = visible(error, &arguments);
            assert_eq!(told.kind(), kind);
            let told = told.to_string();
            assert!(
                !told.contains(['\u{1b}', '\u{202e}', '\r', '\u{9b}']) && !told.contains("\nerror: \\"),
                "{told:?}"
            );
            assert_eq!(told.matches("\\x1b[2J").count().min(1), 1, "it is shown all the same: {told:?}");
        }
        let short: Vec<OsString> = ["tcpflow", "analyze", "-\u{1b}[2J"].map(OsString::from).into();
        let told = visible(super::read(&short).unwrap_err(), &short).to_string();
        assert!(told.contains("unexpected argument") && !told.contains('\u{1b}'), "{told:?}");
        let arguments = vec!["tcpflow".into(), "demo".into(), "--port".into(), OsString::from_vec(b"a\xff\x1b".into())];
        let told = visible(super::read(&arguments).unwrap_err(), &arguments).to_string();
        assert!(told.contains("UTF-8") && !told.contains('\u{1b}'), "{told:?}");
        let plain: Vec<OsString> = ["tcpflow", "grüße"].map(OsString::from).into();
        let told = visible(super::read(&plain).unwrap_err(), &plain).to_string();
        assert!(told.contains("grüße"), "{told:?}");
    }

    #[test]
    fn contradictions_are_told() {
        for line in [
            "demo --rebind --first-close client",
            "demo --ipv6 --mtu 1279",
            "analyze -t --format csv a",
            "live -t --format csv",
            "analyze --format parquet a",
            "analyze -o b a",
            "analyze --each --format parquet -o b a",
            "analyze --resolve --format csv a",
            "analyze --format parquet -o b --findings a",
            "analyze -t --format parquet -o b a",
        ] {
            assert!(contradiction(&read(line).unwrap()).is_some(), "{line}");
        }
        for line in ["demo --rebind", "demo --rebind --first-close server", "demo --ipv6 --mtu 1280", "demo --mtu 88"] {
            assert_eq!(contradiction(&read(line).unwrap()), None, "{line}");
        }
        for line in [
            "demo --refused --wait",
            "demo --message a --size 3",
            "demo --mtu 87",
            "analyze",
            "demo --port 0",
            "analyze --top 0 a",
            "analyze -t --findings a",
        ] {
            assert!(read(line).is_err(), "{line}");
        }
    }
}
