//! Cases that are each played in a process of its own, by a test that has its own `main` and starts itself again for each of them.
//!
//! Its arguments are those of other tests: parts of titles, `--list`, `--ignored` and `--include-ignored`.

use std::env;
use std::fmt::Debug;
use std::process::{Command, ExitCode};

/// A name, the users as whom it is played, and what is played.
pub(crate) type Case<W> = (&'static str, &'static [W], fn());

/// What a test plays.
pub(crate) struct Cases<W: 'static> {
    /// What is played unless something else is asked for.
    pub(crate) short: &'static [Case<W>],
    /// What takes a minute: played with `--ignored` or `--include-ignored`.
    pub(crate) long: &'static [Case<W>],
}

impl<W: Copy + Debug> Cases<W> {
    /// Plays the case for which this process was started; whether there is one.
    pub(crate) fn play_own(&self) -> bool {
        let Ok(name) = env::var(CASE) else { return false };
        let (_, _, case) =
            self.short.iter().chain(self.long).find(|(case, ..)| *case == name).expect("a case of that name");
        case();
        true
    }

    /// Plays each case that is asked for, as each of its users, and tells how it went.
    ///
    /// `start` is the command that starts this program again as a user; `None` where the tests may not.
    pub(crate) fn play(&self, start: impl Fn(W) -> Option<Command>) -> ExitCode {
        let args: Vec<String> = env::args().skip(1).collect();
        let filters: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
        let wanted = |title: &str| filters.is_empty() || filters.iter().any(|filter| title.contains(filter.as_str()));
        let given = |option: &str| args.iter().any(|arg| arg == option);
        let short = if given("--ignored") { &[][..] } else { self.short };
        let long = if given("--ignored") || given("--include-ignored") { self.long } else { &[] };
        let cases = short.iter().chain(long).flat_map(|(name, who, _)| who.iter().map(move |who| (*name, *who)));
        let (mut passed, mut failed) = (0, 0);
        for (name, who) in cases {
            let title = format!("{name} as {who:?}");
            if !wanted(&title) {
                continue;
            }
            if given("--list") {
                println!("{title}: test");
                continue;
            }
            let Some(mut command) = start(who) else {
                println!("left to root: {title}");
                continue;
            };
            let output = command.env(CASE, name).output().expect("this program starts again");
            if output.status.success() {
                passed += 1;
                println!("test {title} ... ok");
            } else {
                failed += 1;
                println!("test {title} ... FAILED ({})\n{}", output.status, String::from_utf8_lossy(&output.stderr));
            }
        }
        println!("\ntest result: {passed} passed; {failed} failed");
        if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

/// The variable that names the case for which a process was started.
pub(crate) const CASE: &str = "TCPFLOW_LIVE_CASE";
