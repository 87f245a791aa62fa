//! What is seen of an actor's process: its state, what the kernel has counted for it, and what its calls returned.

use std::collections::BTreeMap;

use nix::unistd::Pid;

use crate::calls::{Call, Errno, Op, OptionName, OptionValue, SocketOption};

/// What a call returned as a script has it: for getsockopt the value, which an error of SO_ERROR is, too.
pub(super) fn shown(call: &Call, got: Result<i64, Errno>) -> Result<i64, Errno> {
    match &call.op {
        Op::GetOption { option: OptionName::Socket(SocketOption::SO_ERROR), value: OptionValue::Int(errno) }
            if *errno > 0 =>
        {
            Err(Errno(*errno))
        }
        Op::GetOption { value: OptionValue::Int(value), .. } => Ok(i64::from(*value)),
        _ => got,
    }
}

/// What the kernel has counted of TCP in the network namespace of a process (`/proc/net/snmp`, `/proc/net/netstat`).
pub(super) fn counters(pid: Pid) -> BTreeMap<String, u64> {
    let mut counters = BTreeMap::new();
    for file in ["snmp", "netstat"] {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        // The names stand on one line, the numbers on the next.
        for pair in lines.chunks(2).filter(|pair| pair[0].starts_with("Tcp")) {
            let [names, numbers] = pair else { continue };
            let named = names.split_whitespace().zip(numbers.split_whitespace()).skip(1);
            counters.extend(named.filter_map(|(name, number)| Some((name.to_owned(), number.parse().ok()?))));
        }
    }
    counters
}

/// The letter of a process's state in /proc, while there is one.
pub(super) fn state_of_process(pid: Pid) -> Option<u8> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit(')').next()?.as_bytes().get(1).copied()
}
