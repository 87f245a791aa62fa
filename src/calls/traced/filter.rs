//! The seccomp filter that stops a program at the calls that matter to TCP sockets, and at no other.

use super::abi::{ARCH, FOREIGN, FOREIGN_CALLS, TRACED};

/// The program for the kernel: calls of [`TRACED`] stop, and of other ABIs those that show that sockets are used; all others go on.
///
/// fcntl stops only where it copies a descriptor.
pub(super) fn program() -> Vec<libc::sock_filter> {
    // Where the program goes on is known once it is whole: `Target` stands for the last two instructions until then.
    let mut lines: Vec<(u32, u32, Target, Target)> = Vec::new();
    let load = |at: usize| (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at as u32, Target::Next, Target::Next);
    let equal = |value: u32, yes, no| (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, yes, no);
    let from = |value: u32, yes, no| (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, value, yes, no);
    let nr = std::mem::offset_of!(libc::seccomp_data, nr);
    let command = std::mem::offset_of!(libc::seccomp_data, args) + 8;

    lines.push(load(std::mem::offset_of!(libc::seccomp_data, arch)));
    let foreign = FOREIGN_CALLS.len() as u8 + 2;
    lines.push(equal(ARCH, Target::Skip(foreign + 1), Target::Next));
    lines.push(equal(FOREIGN, Target::Next, Target::Skip(foreign - 1)));
    lines.push(load(nr));
    lines.extend(FOREIGN_CALLS.iter().map(|call| equal(*call, Target::Stop, Target::Next)));
    lines.push((libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, Target::Next, Target::Next));

    lines.push(load(nr));
    // x32 has the numbers of this ABI with a bit set.
    if cfg!(target_arch = "x86_64") {
        let bit = super::abi::X32;
        lines.push(from(bit, Target::Next, Target::Skip(6)));
        for call in [libc::SYS_socket, libc::SYS_connect, libc::SYS_accept, libc::SYS_accept4, libc::SYS_listen] {
            lines.push(equal(bit | call as u32, Target::Stop, Target::Next));
        }
        lines.push((libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW, Target::Next, Target::Next));
    }
    lines.extend(TRACED.iter().map(|call| equal(*call as u32, Target::Stop, Target::Next)));
    lines.push(equal(libc::SYS_fcntl as u32, Target::Next, Target::Go));
    lines.push(load(command));
    lines.push(equal(libc::F_DUPFD as u32, Target::Stop, Target::Next));
    lines.push(equal(libc::F_DUPFD_CLOEXEC as u32, Target::Stop, Target::Go));

    let whole = lines.len();
    let resolve = |(place, (code, k, yes, no)): (usize, (u32, u32, Target, Target))| {
        let jump = |target| match target {
            Target::Next => 0,
            Target::Skip(lines) => lines,
            Target::Go => u8::try_from(whole - place - 1).expect("the filter is short"),
            Target::Stop => u8::try_from(whole - place).expect("the filter is short"),
        };
        libc::sock_filter { code: code as u16, jt: jump(yes), jf: jump(no), k }
    };
    let mut program: Vec<_> = lines.into_iter().enumerate().map(resolve).collect();
    for action in [libc::SECCOMP_RET_ALLOW, libc::SECCOMP_RET_TRACE] {
        let code = (libc::BPF_RET | libc::BPF_K) as u16;
        program.push(libc::sock_filter { code, jt: 0, jf: 0, k: action });
    }
    program
}

/// Where the filter goes on after a comparison.
#[derive(Clone, Copy)]
enum Target {
    Next,
    Skip(u8),
    /// The call goes on.
    Go,
    /// The call stops.
    Stop,
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says of a call: the machine of seccomp(2), as far as the filter uses it.
    fn asked(arch: u32, nr: u32, second: u32) -> u32 {
        let program = program();
        let (mut at, mut value) = (0, 0);
        loop {
            let line = program[at];
            at += 1;
            match u32::from(line.code) {
                code if code == libc::BPF_LD | libc::BPF_W | libc::BPF_ABS => {
                    value = match line.k as usize {
                        0 => nr,
                        4 => arch,
                        24 => second,
                        other => panic!("reads at {other}"),
                    };
                }
                code if code == libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K => {
                    at += usize::from(if value == line.k { line.jt } else { line.jf });
                }
                code if code == libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K => {
                    at += usize::from(if value >= line.k { line.jt } else { line.jf });
                }
                _ => return line.k,
            }
        }
    }

    #[test]
    fn exactly_the_calls_that_matter_stop() {
        for nr in 0..600 {
            let stops = asked(ARCH, nr, u32::MAX) == libc::SECCOMP_RET_TRACE;
            assert_eq!(stops, TRACED.contains(&i64::from(nr)), "{nr}");
        }
        let fcntl = |command: i32| asked(ARCH, libc::SYS_fcntl as u32, command as u32);
        assert_eq!(fcntl(libc::F_DUPFD), libc::SECCOMP_RET_TRACE);
        assert_eq!(fcntl(libc::F_DUPFD_CLOEXEC), libc::SECCOMP_RET_TRACE);
        assert_eq!(fcntl(libc::F_SETFL), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn other_abis_stop_where_they_use_sockets() {
        for nr in 0..600 {
            let stops = asked(FOREIGN, nr, 0) == libc::SECCOMP_RET_TRACE;
            assert_eq!(stops, FOREIGN_CALLS.contains(&nr), "{nr}");
        }
        assert_eq!(asked(0xdead, 41, 0), libc::SECCOMP_RET_ALLOW);
        if cfg!(target_arch = "x86_64") {
            let bit = super::super::abi::X32;
            assert_eq!(asked(ARCH, bit | libc::SYS_socket as u32, 0), libc::SECCOMP_RET_TRACE);
            assert_eq!(asked(ARCH, bit | libc::SYS_read as u32, 0), libc::SECCOMP_RET_ALLOW);
        }
    }
}
