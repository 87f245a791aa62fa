//! A run over a capture on as many cores as it has work for: reading and decoding, following the connections, and telling those that have ended.

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::capture::{CaptureError, Frame, FrameSource};
use crate::flow::Ended;
use crate::session::{Batch, Broken, More, Reader, Session, Sink};

/// How the work is shared out; the result is the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Sharing {
    /// One thread follows, and one reads and tells, in turn: for two cores, where a third thread would push one of the others aside.
    Two,
    /// A thread for each: for more cores, and where the source may have to be waited for, which must hold up nothing else.
    Three,
}

impl Sharing {
    /// What suits this machine, and a source that may have to be waited for or not.
    pub(super) fn fitting(may_wait: bool) -> Self {
        let cores = thread::available_parallelism().map_or(1, usize::from);
        if may_wait || cores > 2 { Self::Three } else { Self::Two }
    }
}

/// Takes frames from `source` through `session` into `sink`, as [`Session::run`] does and with the same result.
///
/// Where there can be no thread, all of it is done in this one.
/// Once `stop` is set nothing further is read, and what was seen until then is told.
///
/// # Errors
/// As [`Session::run`].
pub(super) fn run<S: FrameSource + Send>(
    session: &mut Session,
    source: &mut S,
    sharing: Sharing,
    wanted: impl FnMut(&Frame<'_>) -> Result<bool, CaptureError> + Send,
    stop: &AtomicBool,
    mut go_on: impl FnMut(u64) -> ControlFlow<()>,
    sink: &mut dyn Sink,
) -> Result<(), Broken> {
    let mut reader = session.reader(wanted);
    if sharing == Sharing::Three {
        reader = reader.in_small_batches();
    }
    let mut batch = Batch::default();
    let mut more = |session: &mut Session, reader: &mut Reader<_>, source: &mut S, sink: &mut dyn Sink| {
        let more = session.advance(reader, source, &mut batch, sink)? == More::Frames && !stop.load(Ordering::Relaxed);
        Ok::<_, Broken>(if more { Some(batch.last_frame()) } else { None })
    };
    // Most captures are small: threads for the rest of them would cost more than they save.
    match more(session, &mut reader, source, sink)? {
        Some(frame) if go_on(frame).is_continue() => {}
        _ => return Ok(()),
    }
    match shared(session, &mut reader, source, sharing, stop, &mut go_on, sink) {
        Ok(()) => return Ok(()),
        Err(Unshared::Broken(broken)) => return Err(broken),
        Err(Unshared::NoThread) => {}
    }
    while let Some(frame) = more(session, &mut reader, source, sink)? {
        if go_on(frame).is_break() {
            break;
        }
    }
    Ok(())
}

/// Why work that was to be shared out was not, or not to its end.
enum Unshared {
    /// The system lets this process have no further thread; nothing was read.
    NoThread,
    Broken(Broken),
}

/// Does the same in several threads.
fn shared<S: FrameSource + Send, W: FnMut(&Frame<'_>) -> Result<bool, CaptureError> + Send>(
    session: &mut Session,
    reader: &mut Reader<W>,
    source: &mut S,
    sharing: Sharing,
    stop: &AtomicBool,
    go_on: &mut dyn FnMut(u64) -> ControlFlow<()>,
    sink: &mut dyn Sink,
) -> Result<(), Unshared> {
    let halt = AtomicBool::new(false);
    thread::scope(|scope| {
        // A channel closes when the thread at its other end has had enough.
        let (full, filled) = mpsc::sync_channel(AHEAD);
        let mut filler = Some(move |batches: Vec<Batch>| {
            for mut batch in batches {
                let read = reader.fill(source, &mut batch);
                let more = matches!(read, Ok(More::Frames)) && !stop.load(Ordering::Relaxed);
                if full.send((batch, read)).is_err() || !more {
                    return ControlFlow::Break(());
                }
            }
            ControlFlow::Continue(())
        });
        let mut fill = move |batches| {
            if filler.as_mut().is_some_and(|fill| fill(batches).is_break()) {
                filler = None;
            }
        };
        let (say, said) = mpsc::channel();
        let mut emptied = say.clone();
        let (to_reader, empty) = mpsc::channel();
        if sharing == Sharing::Three {
            emptied = to_reader;
        }
        let (told, free) = mpsc::channel();
        let begin = emptied.clone();
        let room = session.limits().octets / 8;
        let spare = (0..UNTOLD).map(|_| Ended::default()).collect();
        let out = VecDeque::new();
        let mut follower = Follower { session, returned: Vec::new(), emptied, reports: say, free, spare, out, room };
        let halt = &halt;
        let follow = move || follower.run(&filled, &[halt, stop]);
        // Neither does anything before it is given batches, so that nothing is lost where there is only one of them.
        thread::Builder::new().spawn_scoped(scope, follow).map_err(|_| Unshared::NoThread)?;
        let mut reading = None;
        if sharing == Sharing::Three {
            let read = move || {
                for word in empty {
                    if let Message::Emptied(batches) = word {
                        fill(batches);
                    }
                }
            };
            thread::Builder::new().spawn_scoped(scope, read).map_err(|_| Unshared::NoThread)?;
        } else {
            reading = Some(fill);
        }
        let _ = begin.send(Message::Emptied((0..AHEAD).map(|_| Batch::default()).collect()));
        drop(begin);

        for word in said {
            let Report { mut ended, frame, damage } = match (word, &mut reading) {
                (Message::Report(report), _) => report,
                (Message::Emptied(batches), Some(fill)) => {
                    fill(batches);
                    continue;
                }
                (Message::Emptied(_), None) => continue,
            };
            ended
                .tell(|connection| sink.connection(connection))
                .map_err(|error| Unshared::Broken(Broken::Output(error)))?;
            let _ = told.send(ended);
            if let Some(damage) = damage {
                return Err(Unshared::Broken(Broken::Capture(damage)));
            }
            // What has ended before the follower heeds it is told all the same.
            if go_on(frame).is_break() {
                halt.store(true, Ordering::Relaxed);
            }
        }
        Ok(())
    })
}

/// What the follower says.
enum Message {
    /// Batches that were followed, to be filled again.
    Emptied(Vec<Batch>),
    Report(Report),
}

/// What the follower has to tell now and then.
struct Report {
    ended: Ended,
    /// The last frame that was followed.
    frame: u64,
    damage: Option<CaptureError>,
}

/// A batch, and how the reading of it ended.
type Filled = (Batch, Result<More, CaptureError>);

/// Whoever has no use for what is sent has had enough.
struct HungUp;

/// Follows the connections, batch by batch.
struct Follower<'a> {
    session: &'a mut Session,
    /// Batches that are handed back together: each time the reader is woken costs more than a batch.
    returned: Vec<Batch>,
    emptied: Sender<Message>,
    reports: Sender<Message>,
    free: Receiver<Ended>,
    /// What reports are made of.
    spare: Vec<Ended>,
    /// How many octets each report takes that is not told yet, the first of them first, and how many all of them may.
    out: VecDeque<usize>,
    room: usize,
}

impl Follower<'_> {
    fn run(&mut self, filled: &Receiver<Filled>, halts: &[&AtomicBool]) {
        let (mut frame, mut waiting, mut silent) = (0, 0, 0);
        loop {
            let next = match filled.recv_timeout(PATIENCE) {
                Ok(next) => next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    // Nothing is held back while a slow source is waited for.
                    self.hand_back();
                    if waiting > 0 && self.report(frame, None).is_err() {
                        return;
                    }
                    (waiting, silent) = (0, 0);
                    continue;
                }
            };
            let (batch, read) = next;
            waiting = self.session.follow(&batch);
            frame = batch.last_frame();
            silent += 1;
            self.returned.push(batch);
            let last = !matches!(read, Ok(More::Frames)) || halts.iter().any(|halt| halt.load(Ordering::Relaxed));
            if last {
                let _ = self.report(frame, read.err());
                return;
            }
            if self.returned.len() >= AHEAD / 2 {
                self.hand_back();
            }
            if waiting >= TOLD_TOGETHER || silent >= MOST_SILENT || self.session.waiting() > self.room / UNTOLD {
                if self.report(frame, None).is_err() {
                    return;
                }
                (waiting, silent) = (0, 0);
            }
        }
    }

    /// Hands over what has ended.
    fn report(&mut self, frame: u64, damage: Option<CaptureError>) -> Result<(), HungUp> {
        let octets = self.session.waiting();
        while let Ok(told) = self.free.try_recv() {
            self.take_back(told);
        }
        while self.spare.is_empty() || !self.out.is_empty() && self.out.iter().sum::<usize>() + octets > self.room {
            let told = self.free.recv().map_err(|_| HungUp)?;
            self.take_back(told);
        }
        let mut ended = self.spare.pop().ok_or(HungUp)?;
        self.session.hand_over(&mut ended);
        self.out.push_back(octets);
        self.reports.send(Message::Report(Report { ended, frame, damage })).map_err(|_| HungUp)
    }

    /// Takes back what was told.
    fn take_back(&mut self, told: Ended) {
        self.spare.push(told);
        self.out.pop_front();
    }

    fn hand_back(&mut self) {
        if !self.returned.is_empty() {
            let _ = self.emptied.send(Message::Emptied(std::mem::take(&mut self.returned)));
        }
    }
}

/// How many batches the reader may be ahead.
const AHEAD: usize = 8;
/// How many reports the teller may be behind.
const UNTOLD: usize = 4;
/// How many connections are told together, while there is more to follow.
const TOLD_TOGETHER: usize = 128;
/// After so many batches progress is told, though no connection has ended.
const MOST_SILENT: u32 = 64;
/// How long a slow source is waited for before what has ended is told.
const PATIENCE: Duration = Duration::from_millis(20);

#[cfg(test)]
mod tests {
    use std::io;
    use std::net::Ipv4Addr;

    use super::*;
    use crate::capture::LinkType;
    use crate::flow::{Connection, Totals};
    use crate::tcp::Finding;
    use crate::time::Timestamp;

    /// One after another a segment: a SYN with an octet, and far behind it a RST, a SYN-ACK, or the SYN with another octet; in the end it may break.
    struct Syns {
        made: u32,
        most: u32,
        breaks: bool,
        bytes: Vec<u8>,
    }

    impl Syns {
        fn new(most: u32, breaks: bool) -> Self {
            Self { made: 0, most, breaks, bytes: Vec::new() }
        }
    }

    impl FrameSource for Syns {
        fn next_frame(&mut self) -> Result<Option<Frame<'_>>, CaptureError> {
            if self.made == self.most {
                return if self.breaks { Err(CaptureError::new("broken")) } else { Ok(None) };
            }
            self.made += 1;
            let (number, server) = (self.made / 2, [192, 0, 2, 1]);
            let client = |number: u32| Ipv4Addr::from_bits(0x0a00_0000 + number).octets();
            // More than may wait are over, or only asked, before the answers come.
            let (from, to, flags, octet) = match (self.made % 2, number.checked_sub(20_000)) {
                (0, Some(asked)) if asked % 3 < 2 => (server, client(asked), [0x14, 0x12][asked as usize % 3], None),
                (0, Some(asked)) if asked % 2 == 1 => (client(asked), server, 2, Some(b'b')),
                _ => (client(self.made), server, 2, Some(b'a')),
            };
            let len = 40 + u8::from(octet.is_some());
            let ip = [&[0x45, 0, 0, len, 0, 0, 0x40, 0, 64, 6, 0, 0][..], &from, &to].concat();
            let ports: [u8; 4] = if flags == 2 { [48, 57, 0, 80] } else { [0, 80, 48, 57] };
            let tcp = [&ports[..], &[0, 0, 0, 9, 0, 0, 0, 10, 0x50, flags, 16, 0, 0, 0, 0, 0]].concat();
            self.bytes = [ip, tcp, octet.into_iter().collect()].concat();
            let number = u64::from(self.made);
            let at = Some(Timestamp::from_nanos(number as i64 * 10_000_000));
            Ok(Some(Frame {
                number,
                at,
                link: LinkType::RAW,
                bytes: &self.bytes,
                wire_len: self.bytes.len() as u32,
                seen: Default::default(),
            }))
        }
    }

    #[derive(Default)]
    struct Told(Vec<Connection>, Option<Totals>);

    impl Sink for Told {
        fn connection(&mut self, connection: Connection) -> io::Result<()> {
            self.0.push(connection);
            Ok(())
        }

        fn finish(&mut self, totals: &Totals) -> io::Result<()> {
            self.1 = Some(totals.clone());
            Ok(())
        }
    }

    fn told(sharing: Option<Sharing>, breaks: bool) -> (Told, Option<String>) {
        let mut session = Session::default().with_breakdowns(1 << 30).with_conflicts(1 << 30);
        let mut source = Syns::new(200_000, breaks);
        let mut told = Told::default();
        let go_on = |_| ControlFlow::Continue(());
        let run = match sharing {
            Some(sharing) => {
                run(&mut session, &mut source, sharing, |_| Ok(true), &AtomicBool::new(false), go_on, &mut told)
            }
            None => session.run(&mut source, |_| Ok(true), go_on, &mut told),
        };
        let damage = match run {
            Ok(()) => None,
            Err(Broken::Capture(damage)) => Some(damage.to_string()),
            Err(Broken::Output(error)) => panic!("{error}"),
        };
        session.finish(&mut told).expect("nothing is written");
        (told, damage)
    }

    #[test]
    fn what_is_told_does_not_depend_on_the_threads() {
        for breaks in [false, true] {
            let (alone, damage) = told(None, breaks);
            assert_eq!(damage.is_some(), breaks);
            let endings: std::collections::BTreeSet<_> = alone.0.iter().map(|one| one.ending.name()).collect();
            assert!(endings.len() >= 3 && alone.0.len() > 100_000, "{endings:?} {}", alone.0.len());
            assert!(alone.0.iter().all(|one| one.breakdown.is_some()));
            let conflicts =
                |one: &&Connection| one.findings.iter().any(|finding| finding.finding == Finding::ConflictingOctets);
            assert!(alone.0.iter().filter(conflicts).count() > 5_000);
            for sharing in [Sharing::Two, Sharing::Three] {
                let (shared, other_damage) = told(Some(sharing), breaks);
                assert_eq!(shared.0, alone.0, "{sharing:?}");
                assert_eq!(shared.1, alone.1, "{sharing:?}");
                assert_eq!(other_damage, damage, "{sharing:?}");
            }
        }
    }

    #[test]
    fn whoever_stops_it_is_told_what_was_seen_until_then() {
        for sharing in [Sharing::Two, Sharing::Three] {
            let mut session = Session::default();
            let mut source = Syns::new(u32::MAX, false);
            let mut told = Told::default();
            let stop = |frame| if frame >= 10_000 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
            let run = run(&mut session, &mut source, sharing, |_| Ok(true), &AtomicBool::new(false), stop, &mut told);
            assert!(run.is_ok());
            let totals = session.finish(&mut told).expect("nothing is written");
            assert!((10_000..=1_000_000).contains(&totals.frames), "{sharing:?}: {}", totals.frames);
            assert_eq!(told.0.len() as u64, totals.connections);
        }
    }

    #[test]
    fn an_output_that_fails_ends_it() {
        struct Full;
        impl Sink for Full {
            fn connection(&mut self, _: Connection) -> io::Result<()> {
                Err(io::ErrorKind::StorageFull.into())
            }

            fn finish(&mut self, _: &Totals) -> io::Result<()> {
                Ok(())
            }
        }
        for sharing in [Sharing::Two, Sharing::Three] {
            let mut session = Session::default();
            let mut source = Syns::new(u32::MAX, false);
            let go_on = |_| ControlFlow::Continue(());
            let run = run(&mut session, &mut source, sharing, |_| Ok(true), &AtomicBool::new(false), go_on, &mut Full);
            assert!(matches!(run, Err(Broken::Output(error)) if error.kind() == io::ErrorKind::StorageFull));
        }
    }
}
