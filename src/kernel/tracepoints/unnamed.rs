//! The numbers of the tracepoints of system calls where tracefs may not be read: found by making the calls, and seeing what counts.

use std::ffi::CStr;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};
use std::{ptr, thread};

use nix::fcntl::OFlag;
use nix::sys::prctl::set_pdeathsig;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use nix::sys::signal::Signal;
use nix::unistd::{ForkResult, fork, pipe2};
use perf_event::{Builder, Counter, SampleFlag, events};

use super::remembered::{recall, remember};
use crate::capture::close_all_but;
use crate::hash::HashMap;

/// The tracepoints of one call: at its entry, and at its return.
pub(super) type Pair = [u64; 2];

/// The tracepoints that were tried, which stay open in a process of their own as long as this is there.
///
/// The kernel waits some 30 ms to close the last event of a tracepoint, and opens no other one meanwhile, for whomever. So those that were
/// tried are closed after those that record, and not while these are opened; and these are not the last ones of their tracepoints.
/// Then the process closes them with pauses, in which others can open theirs; where this process is killed it ends at once.
#[derive(Debug)]
pub(super) struct Tried(OwnedFd);

impl Drop for Tried {
    fn drop(&mut self) {
        _ = nix::unistd::write(&self.0, &[0]);
    }
}

/// Finds the tracepoints of these calls, by number; a call that cannot be made for a try is left out, and all are where it is not permitted.
///
/// A user may count the tracepoints of system calls, and no others, in a process of one's own: so numbers are tried, each call is made
/// so many times as no other is, and what was counted tells whose tracepoint it was. To close hundreds of events takes the kernel seconds,
/// so a process of its own does all that; it must not be called where there are other threads.
pub(super) fn find(calls: &[i64]) -> io::Result<(HashMap<i64, Pair>, Tried)> {
    let (told, tell) = pipe2(OFlag::O_CLOEXEC)?;
    let (held, hold) = pipe2(OFlag::O_CLOEXEC)?;
    // SAFETY: there are no other threads, whose locks the child would inherit; it ends without running anything of this process's.
    match unsafe { fork()? } {
        ForkResult::Child => {
            drop(told);
            // Who is killed while tracepoints are tried needs none.
            _ = set_pdeathsig(Signal::SIGKILL);
            drop(hold);
            // The end of a pipe or a socket that it held would keep others waiting, so that without that nothing is tried.
            if close_all_but(&mut [tell.as_raw_fd(), held.as_raw_fd()]).is_err() {
                // SAFETY: it ends the child at once.
                unsafe { libc::_exit(1) }
            }
            let mut opened = Vec::new();
            let tried = std::panic::catch_unwind(AssertUnwindSafe(|| try_known_first(calls, &mut opened)));
            let found = tried.ok().and_then(Result::ok).unwrap_or_default();
            let mut tell = File::from(tell);
            let words = found.into_iter().flat_map(|(nr, [entry, back])| [nr as u64, entry, back]);
            let octets: Vec<u8> = words.flat_map(u64::to_ne_bytes).collect();
            _ = tell.write_all(&octets);
            drop(tell);
            _ = set_pdeathsig(None);
            // Until the parent needs no events any more, or has gone.
            if File::from(held).read_exact(&mut [0]).is_ok() {
                // On a busy machine that may take long; what is left then is closed as the process ends.
                let begun = Instant::now();
                opened.into_iter().take_while(|_| begun.elapsed() < PATIENCE).for_each(close_and_pause);
            }
            // SAFETY: it ends the child at once.
            unsafe { libc::_exit(0) }
        }
        ForkResult::Parent { .. } => {
            drop(tell);
            let mut octets = Vec::new();
            File::from(told).take(1 << 16).read_to_end(&mut octets)?;
            let word = |octets: &[u8]| u64::from_ne_bytes(octets.try_into().expect("8 octets"));
            let entry = |entry: &[u8]| (word(&entry[..8]) as i64, [word(&entry[8..16]), word(&entry[16..])]);
            Ok((octets.chunks_exact(24).map(entry).collect(), Tried(hold)))
        }
    }
}

/// Closes one, and leaves the kernel to others for twice as long as that takes.
fn close_and_pause(tried: (u64, Counter)) {
    let begun = Instant::now();
    drop(tried);
    thread::sleep((begun.elapsed() * 2).min(LONGEST_PAUSE));
}

/// The work of the child: those numbers that were found before are tried first, and only where one is missing all of them.
fn try_known_first(calls: &[i64], opened: &mut Vec<(u64, Counter)>) -> io::Result<HashMap<i64, Pair>> {
    may_open_many();
    // Some calls have no tracepoint: for how many it was looked is remembered, too.
    let looked_for = wanted(calls) as u64;
    if let Some((_, known)) = recall(NAME).split_first().filter(|(first, _)| **first == looked_for) {
        let found = try_those(calls, known, opened)?;
        if found.len() == known.len() {
            return paired(found);
        }
    }
    let found = try_all(calls, opened, open)?;
    if !found.is_empty() {
        remember(NAME, [looked_for].into_iter().chain(found.values().copied()));
    }
    paired(found)
}

/// Tries these numbers, and sees whose they are.
fn try_those(calls: &[i64], numbers: &[u64], opened: &mut Vec<(u64, Counter)>) -> io::Result<HashMap<i64, u64>> {
    let mut found = HashMap::default();
    for some in numbers.chunks(AT_ONCE) {
        let mut counters: Vec<_> = some.iter().filter_map(|id| Some((*id, open(*id).ok()?))).collect();
        count(calls, &mut counters, &mut found)?;
        opened.append(&mut counters);
    }
    Ok(found)
}

/// How many calls can be made for a try.
fn wanted(calls: &[i64]) -> usize {
    calls.iter().filter(|call| is_harmless(**call) && **call != libc::SYS_restart_syscall).count()
}

fn may_open_many() {
    if let Ok((_, hard)) = getrlimit(Resource::RLIMIT_NOFILE) {
        _ = setrlimit(Resource::RLIMIT_NOFILE, hard, hard);
    }
}

/// Tries all numbers: one of the two tracepoints of each call.
///
/// The two tracepoints of a call have numbers that follow each other, so one of them is counted. The numbers are tried from the greatest
/// down, as those of sockets are among the last, until all calls are found.
fn try_all(
    calls: &[i64],
    opened: &mut Vec<(u64, Counter)>,
    mut open: impl FnMut(u64) -> io::Result<Counter>,
) -> io::Result<HashMap<i64, u64>> {
    let wanted = wanted(calls);
    let mut found: HashMap<i64, u64> = HashMap::default();
    let mut next = MOST;
    while next > 0 && found.len() < wanted {
        let mut counters = Vec::new();
        while next > 0 && counters.len() < AT_ONCE {
            match open(next) {
                Ok(counter) => {
                    counters.push((next, counter));
                    next = next.saturating_sub(2);
                }
                Err(error) if error.raw_os_error() == Some(libc::EMFILE) => return Err(error),
                Err(_) => next -= 1,
            }
        }
        count(calls, &mut counters, &mut found)?;
        opened.append(&mut counters);
    }
    Ok(found)
}

/// Both tracepoints of each call of which one was found.
fn paired(found: HashMap<i64, u64>) -> io::Result<HashMap<i64, Pair>> {
    let Some(greater) = found.get(&libc::SYS_connect).copied() else { return Ok(HashMap::default()) };
    let is_entry = records_arguments(greater)?;
    let pair = |id: u64| if is_entry { [id, id - 1] } else { [id - 1, id] };
    Ok(found.into_iter().map(|(nr, id)| (nr, pair(id))).collect())
}

/// Has a tracepoint counted of which there is only the number.
fn open(id: u64) -> io::Result<Counter> {
    let mut builder = Builder::new(events::Tracepoint::with_id(id));
    // Raw data are what tells system calls, which everybody may see, from other tracepoints.
    builder.observe_self().any_cpu().sample_period(1 << 40).sample(SampleFlag::RAW).enabled(true);
    builder.build()
}

/// Makes each call so many times as no other, and sees what was counted.
fn count(calls: &[i64], counters: &mut [(u64, Counter)], found: &mut HashMap<i64, u64>) -> io::Result<()> {
    let mut before = Vec::with_capacity(counters.len());
    for (_, counter) in &mut *counters {
        before.push(counter.read()?);
    }
    for (n, call) in calls.iter().enumerate() {
        for _ in 0..times_made(n, *call) {
            make(*call);
        }
    }
    for ((id, counter), before) in counters.iter_mut().zip(before) {
        let times = counter.read()?.saturating_sub(before) as usize;
        if let Some(nr) = made(calls, times).filter(|nr| is_harmless(*nr)) {
            found.insert(nr, *id);
        }
    }
    Ok(())
}

/// How often a call is made that stands at that place: read(2) less often than all others, as what is counted is read with it.
fn times_made(place: usize, call: i64) -> usize {
    if call == libc::SYS_read { LEAST } else { 2 * LEAST + 2 * AT_ONCE + place }
}

/// Which call was counted so many times.
fn made(calls: &[i64], times: usize) -> Option<i64> {
    match times {
        0..LEAST => None,
        // The counters of a turn are read before and after.
        LEAST..=READS => Some(libc::SYS_read),
        _ => calls.iter().copied().enumerate().find(|(n, call)| times_made(*n, *call) == times).map(|(_, call)| call),
    }
}

/// Whether a tracepoint of connect records its three arguments, which its return has not.
fn records_arguments(id: u64) -> io::Result<bool> {
    let mut builder = Builder::new(events::Tracepoint::with_id(id));
    builder.observe_self().any_cpu().sample_period(1).sample(SampleFlag::RAW);
    let mut sampler = builder.build()?.sampled(4096)?;
    sampler.as_counter_mut().enable()?;
    make(libc::SYS_connect);
    let record = sampler.next_record().ok_or_else(|| io::Error::other("nothing was recorded"))?;
    // A length, the number of the call behind the common fields, and then words.
    Ok(record.len() >= 4 + 16 + 3 * 8)
}

/// Whether a call can be made with arguments that have it do nothing.
fn is_harmless(nr: i64) -> bool {
    !matches!(nr, libc::SYS_exit | libc::SYS_exit_group)
}

/// Makes a call that fails, or does nothing: its descriptors are none, its pointers are null, and it waits for no time.
fn make(nr: i64) {
    if !is_harmless(nr) {
        return;
    }
    let at_once = [0i64; 2];
    let (none, null, now) = (-1i64, 0i64, ptr::from_ref(&at_once) as i64);
    let args: [i64; 6] = match nr {
        libc::SYS_ppoll => [null, 0, now, 0, 0, 0],
        libc::SYS_pselect6 => [0, null, null, null, now, 0],
        libc::SYS_execve => [null; 6],
        libc::SYS_execveat => [none, null, null, null, 0, 0],
        libc::SYS_io_uring_setup => [0, null, 0, 0, 0, 0],
        // The first is greater than the last.
        libc::SYS_close_range => [2, 1, 0, 0, 0, 0],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_poll => [null, 0, 0, 0, 0, 0],
        #[cfg(target_arch = "x86_64")]
        libc::SYS_select => [0, null, null, null, now, 0],
        _ => [none, null, 0, 0, 0, 0],
    };
    // SAFETY: with these arguments no call changes anything of this process, nor writes to its memory but to `at_once`, which is an array
    // of its own.
    unsafe { libc::syscall(nr, args[0], args[1], args[2], args[3], args[4], args[5]) };
}

/// By which name they are remembered.
const NAME: &CStr = c"tcpflow:tracepoints";
/// Up to which number tracepoints are tried; kernels have two or three thousand.
const MOST: u64 = 16_384;
/// How many are counted at once.
const AT_ONCE: usize = 48;
/// How long those that were tried are closed one by one, and how long the pause between two is at most.
const PATIENCE: Duration = Duration::from_secs(30);
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// How often a call is made at least: more often than the calls that are made beside.
const LEAST: usize = 16;
/// How often read(2) is called in a turn, at most.
const READS: usize = LEAST + 2 * AT_ONCE;

#[cfg(test)]
mod tests {
    use super::*;

    /// However many calls there are, and however many counters were read.
    #[test]
    fn what_was_counted_tells_which_call_it_was() {
        let calls: Vec<i64> = (0..200).collect();
        assert!(calls.contains(&libc::SYS_read));
        for (n, call) in calls.iter().enumerate() {
            let read_besides = if *call == libc::SYS_read { 0..=2 * AT_ONCE } else { 0..=0 };
            for besides in read_besides {
                assert_eq!(made(&calls, times_made(n, *call) + besides), Some(*call), "{call}, {besides}");
            }
        }
        assert_eq!((0..LEAST).find_map(|times| made(&calls, times)), None);
    }

    /// None of these is the tracepoint of a call that everybody may see: each number is tried once, none beyond the bound, and nothing is
    /// found, which the caller says.
    #[test]
    fn each_number_up_to_the_bound_is_tried_once_and_none_beyond_it() {
        let (mut tried, mut opened) = (Vec::new(), Vec::new());
        let refusing = |id| {
            tried.push(id);
            Err(io::Error::from_raw_os_error(libc::EACCES))
        };
        let found = try_all(&[libc::SYS_connect, libc::SYS_close], &mut opened, refusing).expect("no more to try");
        assert!(found.is_empty() && opened.is_empty(), "{found:?}");
        assert_eq!(tried, (1..=MOST).rev().collect::<Vec<_>>());
    }
}
