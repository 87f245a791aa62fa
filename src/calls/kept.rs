//! Calls and the kernel's answers as they are kept in a capture file, one JSON object a line.

mod first;

use std::io;

use serde::{Deserialize, Serialize};

use super::{Call, PREVIEW, Process, ProcessId, Thread, Threads};
use crate::kernel::Evidence;

/// What a recording knew besides its frames.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Kept {
    /// Who made the calls.
    pub threads: Threads,
    /// The calls, in the order in which they were entered.
    pub calls: Vec<Call>,
    /// What sock_diag answered.
    pub evidence: Vec<Evidence>,
    /// What was worth saying about how it was recorded.
    pub notices: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Line {
    Tcpflow {
        version: u32,
    },
    /// The next process of the table.
    Process(Process),
    /// The next thread of the table; its process stands before it.
    Thread(Thread),
    /// A call; its thread stands before it.
    Call(Box<Call>),
    Evidence(Box<Evidence>),
    Notice(String),
}

impl Kept {
    /// The bytes to keep.
    pub fn to_bytes(&self) -> Vec<u8> {
        let lines = std::iter::once(Line::Tcpflow { version: VERSION })
            .chain(self.threads.processes().iter().cloned().map(Line::Process))
            .chain(self.threads.threads().iter().cloned().map(Line::Thread))
            .chain(self.calls.iter().map(|call| Line::Call(Box::new(call.clone()))))
            .chain(self.evidence.iter().map(|evidence| Line::Evidence(Box::new(evidence.clone()))))
            .chain(self.notices.iter().cloned().map(Line::Notice));
        let mut bytes = Vec::new();
        for line in lines {
            serde_json::to_writer(&mut bytes, &line).expect("strings, numbers and lists always serialize into memory");
            bytes.push(b'\n');
        }
        bytes
    }

    /// Reads what [`to_bytes`](Self::to_bytes) wrote, in this version of the format or the first one; `Ok(None)` when the bytes are something else's.
    ///
    /// # Errors
    /// The bytes begin as ours and are damaged, or were written by a later version.
    pub fn from_bytes(bytes: &[u8]) -> io::Result<Option<Self>> {
        let mut lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        match lines.next().map(serde_json::from_slice) {
            Some(Ok(Line::Tcpflow { version: VERSION })) => {}
            Some(Ok(Line::Tcpflow { version: first::VERSION })) => return first::read(lines).map(Some),
            Some(Ok(Line::Tcpflow { version })) => {
                return Err(io::Error::other(format!(
                    "written by a later tcpflow (format {version}); this one reads formats up to {VERSION}"
                )));
            }
            _ => return Ok(None),
        }
        let mut kept = Self::default();
        for line in lines {
            match serde_json::from_slice(line)? {
                Line::Process(process) => _ = kept.threads.add_process(process),
                Line::Thread(thread) => {
                    let ProcessId(process) = thread.process;
                    if process as usize >= kept.threads.processes().len() {
                        return Err(io::Error::other(format!("process {process} of a thread is not described")));
                    }
                    kept.threads.add(thread);
                }
                Line::Call(call) => {
                    if kept.threads.get(call.thread()).is_none() {
                        return Err(io::Error::other(format!("thread {} of a call is not described", call.thread().0)));
                    }
                    kept.calls.push(bounded(*call));
                }
                Line::Evidence(evidence) => kept.evidence.push(*evidence),
                Line::Notice(notice) => kept.notices.push(notice),
                Line::Tcpflow { .. } => {}
            }
        }
        Ok(Some(kept))
    }
}

/// The call without more octets of payload than a recording keeps.
fn bounded(mut call: Call) -> Call {
    if let Some(returned) = &mut call.returned {
        returned.preview.truncate(PREVIEW);
    }
    call
}

const VERSION: u32 = 2;

#[cfg(test)]
mod tests {
    use super::super::{
        CallId, Errno, MessageFlags, Op, OptionName, OptionValue, PollEvents, Polling, Returned, Role, Sending,
        SocketId, SocketOption, SocketUse, ThreadId,
    };
    use super::*;
    use crate::time::Timestamp;

    fn kept() -> Kept {
        let at = Timestamp::from_nanos(1_795_223_276_320_071_123);
        let evidence = Evidence {
            asked: at,
            answered: at,
            local: "127.0.0.1:3000".parse().expect("an address"),
            peer: "[::1]:40000".parse().expect("an address"),
            state: Some(crate::tcp::State::TimeWait),
            timer: None,
            inode: 0,
            uid: 0,
        };
        let mut threads = Threads::default();
        let process = threads.add_process(Process { pid: 7, comm: "echo \u{1b}[1m".into() });
        let thread = threads.add(Thread { process, tid: 8, comm: "echo".into() });
        let call = |n, op, result| Call {
            id: CallId { thread, n },
            entered: at,
            op,
            sockets: vec![SocketUse::of(SocketId(u64::MAX), 3, Role::On)],
            returned: Some(Returned { at, result, octets: None, preview: vec![0; 3] }),
        };
        let mut polled = call(2, Op::Poll { by: Polling::Poll, timeout: -1 }, Ok(1));
        polled.sockets[0].role = Role::Polled { events: PollEvents::POLLIN, revents: None };
        polled.returned = None;
        let calls = vec![
            call(0, Op::Send { by: Sending::Send, len: u64::MAX, flags: MessageFlags::MSG_OOB }, Err(Errno::EPIPE)),
            call(
                1,
                Op::SetOption {
                    option: OptionName::Socket(SocketOption(99)),
                    value: OptionValue::Linger { on: true, seconds: 0 },
                },
                Ok(i64::MIN),
            ),
            polled,
        ];
        Kept { threads, calls, evidence: vec![evidence], notices: vec!["line\nbreak \u{1b}[31m".into()] }
    }

    #[test]
    fn what_is_kept_is_read_back() {
        let kept = kept();
        assert_eq!(Kept::from_bytes(&kept.to_bytes()).expect("readable"), Some(kept));
    }

    #[test]
    fn foreign_bytes_are_left_alone_and_damaged_ones_are_told() {
        assert_eq!(Kept::from_bytes(b"\x00\x01").expect("foreign"), None);
        assert_eq!(Kept::from_bytes(b"").expect("empty"), None);
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":1}}\n{\"call\":").is_err());
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":2}}\n{\"call\":").is_err());
        assert!(Kept::from_bytes(b"{\"tcpflow\":{\"version\":9}}\n").is_err());
    }

    #[test]
    fn a_call_of_nobody_and_a_thread_of_no_process_are_damage() {
        let text = String::from_utf8(kept().to_bytes()).expect("text");
        for (whole, damaged) in [
            ("\"thread\":0", "\"thread\":1"),
            ("\"thread\":0", "\"thread\":4294967296"),
            ("\"process\":0", "\"process\":4294967295"),
            ("EPIPE", "EPOPE"),
            ("\"send\":{\"by\":\"send\"", "\"send\":{\"by\":\"sent\""),
            ("\"n\":0", "\"n\":-1"),
        ] {
            assert!(text.contains(whole), "{whole} in {text}");
            assert!(Kept::from_bytes(text.replacen(whole, damaged, 1).as_bytes()).is_err(), "{damaged}");
        }
        let mut long = kept();
        long.calls[0].returned.as_mut().expect("returned").preview = vec![1; PREVIEW + 1];
        let again = Kept::from_bytes(&long.to_bytes()).expect("readable").expect("ours");
        assert_eq!(again.calls[0].preview().len(), PREVIEW);
        assert_eq!(again.calls[0].thread(), ThreadId(0));
    }
}
