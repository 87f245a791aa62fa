//! A real process that a test watches while it runs.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// One that runs, whose standard error is read; ended when it is dropped.
pub(crate) struct Process {
    pub(crate) child: Child,
    lines: Receiver<String>,
    pub(crate) told: Vec<String>,
}

impl Process {
    /// Starts it; standard error is taken, standard output is as the command has it.
    pub(crate) fn start(command: &mut Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().expect("it starts");
        let (to_us, lines) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().expect("it is piped"));
        thread::spawn(move || stderr.lines().map_while(Result::ok).try_for_each(|line| to_us.send(line)));
        Self { child, lines, told: Vec::new() }
    }

    /// Waits until a line of standard error holds a text.
    #[allow(dead_code, reason = "not every test that watches a process waits for its words")]
    pub(crate) fn await_line(&mut self, text: &str) {
        while !self.told.last().is_some_and(|line| line.contains(text)) {
            match self.lines.recv_timeout(LIMIT) {
                Ok(line) => self.told.push(line),
                Err(_) => panic!("`{text}` was not told: {:#?}", self.told),
            }
        }
    }

    /// Waits for something.
    pub(crate) fn until<T>(&mut self, what: &str, mut is: impl FnMut(&mut Self) -> Option<T>) -> T {
        let begun = Instant::now();
        loop {
            if let Some(found) = is(self) {
                return found;
            }
            let is_over = self.child.try_wait().expect("it can be asked").is_some() && is(self).is_none();
            if is_over || begun.elapsed() > LIMIT {
                _ = self.child.kill();
                while let Ok(line) = self.lines.recv_timeout(LIMIT) {
                    self.told.push(line);
                }
                panic!("{what}: waited in vain for {:?}: {:#?}", begun.elapsed(), self.told);
            }
            thread::yield_now();
        }
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).expect("it can be signalled");
    }

    /// Waits for its end, whoever else still has its standard error open.
    pub(crate) fn end(&mut self) -> ExitStatus {
        self.until("its end", |process| process.child.try_wait().expect("it can be asked"))
    }

    /// Waits for its end, and yields its status and all that was told on its standard error until everybody had closed that.
    pub(crate) fn wait(mut self) -> (ExitStatus, String) {
        let status = self.end();
        let mut told = std::mem::take(&mut self.told);
        while let Ok(line) = self.lines.recv_timeout(LIMIT) {
            told.push(line);
        }
        (status, told.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// How long something may take that is waited for.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);
