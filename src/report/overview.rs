//! One page on a whole capture: what ended how, who talked most, what was found, and what to look at first.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap};
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::clock;
use super::style::{Charset, Paint, Style};
use super::text::{Line, counted, escape, grouped, wrap};
use super::wording::{English, Wording};
use crate::flow::{Connection, ConnectionId, Ending, Problem, ProblemKind, Side, Totals};
use crate::tcp::Finding;
use crate::time::{Span, Timestamp};

/// What is counted over the connections of a capture, in a memory that is bounded.
#[derive(Debug)]
pub struct Overview {
    pub(super) connections: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
    /// By [`Ending`], with the first of each.
    pub(super) endings: [(u64, Option<ConnectionId>); Ending::ALL.len()],
    talkers: HashMap<IpAddr, Talk>,
    /// Whether some of those that talked least were forgotten, so that the counts of the others may be too small.
    pub(super) forgot: bool,
    pub(super) findings: FindingTotals,
    pub(super) slowest: Best<Handshake>,
    pub(super) lossy: Best<Lossy>,
    /// By [`ProblemKind`]: how many connections, and the worst of them.
    problems: [(u64, Option<Worst>); ProblemKind::ALL.len()],
}

/// How often each kind of finding was made, and in how many connections.
#[derive(Debug)]
pub struct FindingTotals {
    counts: [(u64, u64); Finding::ALL.len()],
}

/// What one host sent and received.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Talk {
    pub(super) connections: u64,
    pub(super) sent: u64,
    pub(super) received: u64,
}

/// A connection, as it is named on the page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Which {
    pub(super) id: ConnectionId,
    pub(super) client: SocketAddr,
    pub(super) server: SocketAddr,
}

/// How long a connection took to open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Handshake {
    pub(super) took: Span,
    pub(super) syns: u64,
    pub(super) which: Reverse<Which>,
}

/// How much of one direction of a connection was retransmitted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Lossy {
    pub(super) retransmitted: u64,
    /// The segments of that direction.
    pub(super) segments: u64,
    /// Whether the server sent them.
    pub(super) by_server: bool,
    pub(super) which: Reverse<Which>,
}

/// The connection that a problem hurt most.
#[derive(Clone, Debug)]
pub(super) struct Worst {
    pub(super) lasted: Option<Span>,
    pub(super) which: Which,
    pub(super) verdict: String,
}

/// The greatest of all that were put in, at most [`MOST`].
#[derive(Debug)]
pub(super) struct Best<T>(BTreeSet<T>);

impl Default for Overview {
    fn default() -> Self {
        Self {
            connections: 0,
            first: None,
            last: None,
            endings: [(0, None); Ending::ALL.len()],
            talkers: HashMap::new(),
            forgot: false,
            findings: FindingTotals::default(),
            slowest: Best(BTreeSet::new()),
            lossy: Best(BTreeSet::new()),
            problems: [const { (0, None) }; ProblemKind::ALL.len()],
        }
    }
}

impl Default for FindingTotals {
    fn default() -> Self {
        Self { counts: [(0, 0); Finding::ALL.len()] }
    }
}

impl FindingTotals {
    /// Adds those of a connection, also those that it did not keep.
    pub fn add(&mut self, connection: &Connection) {
        let Some(counts) = &connection.finding_counts else { return };
        for (total, count) in self.counts.iter_mut().zip(counts.iter()) {
            total.0 += u64::from(*count);
            total.1 += u64::from(*count > 0);
        }
    }

    /// Whether nothing was found.
    pub fn is_empty(&self) -> bool {
        self.counts.iter().all(|count| count.0 == 0)
    }

    /// Writes a line for each finding that was made, the most frequent first.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn write(&self, out: &mut dyn Write, style: &Style) -> io::Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        heading(out, "Findings", style)?;
        for (finding, count, connections) in self.sorted() {
            let said = format!("{} in {}", grouped(count), counted(connections, "connection"));
            row(out, finding.name(), &said, style)?;
        }
        Ok(())
    }

    /// Those that were made, the most frequent first: how often, and in how many connections.
    pub(super) fn sorted(&self) -> Vec<(Finding, u64, u64)> {
        let made = Finding::ALL.iter().zip(self.counts).filter(|(_, count)| count.0 > 0);
        let mut sorted: Vec<_> = made.map(|(finding, count)| (*finding, count.0, count.1)).collect();
        sorted.sort_by_key(|(_, count, _)| Reverse(*count));
        sorted
    }
}

impl Overview {
    /// Adds a connection.
    pub fn add(&mut self, connection: &Connection) {
        self.connections += 1;
        self.first = [self.first, connection.first].into_iter().flatten().min();
        self.last = self.last.max(connection.last);
        let ending = &mut self.endings[connection.ending as usize];
        ending.0 += 1;
        ending.1 = Some(ending.1.map_or(connection.id, |first| first.min(connection.id)));
        self.findings.add(connection);
        self.talk(connection);
        let which = Which { id: connection.id, client: connection.client, server: connection.server };
        let [to, back] = [&connection.client_to_server, &connection.server_to_client];
        if let Some(rtt) = connection.initial_rtt {
            let repeated =
                connection.problem.as_deref().filter(|problem| problem.kind == ProblemKind::HandshakeRepeated);
            let waited = repeated.and_then(|problem| problem.lasted).unwrap_or_default();
            let took = Span(rtt.0.saturating_add(waited.0));
            self.slowest.put(Handshake { took, syns: to.syn, which: Reverse(which) });
        }
        for (side, by_server) in [(to, false), (back, true)] {
            let (retransmitted, segments) = (side.retransmissions, side.segments);
            if retransmitted > 0 {
                self.lossy.put(Lossy { retransmitted, segments, by_server, which: Reverse(which) });
            }
        }
        if let Some(problem) = connection.problem.as_ref().filter(|problem| !is_rest(problem)) {
            let (count, worst) = &mut self.problems[problem.kind as usize];
            *count += 1;
            let is_worse =
                |worst: &Worst| (worst.lasted, Reverse(worst.which.id)) < (problem.lasted, Reverse(connection.id));
            if worst.as_ref().is_none_or(is_worse) {
                let verdict = English.ending(connection).into_owned();
                *worst = Some(Worst { lasted: problem.lasted, which, verdict });
            }
        }
    }

    fn talk(&mut self, connection: &Connection) {
        let [to, back] = [connection.client_to_server.octets, connection.server_to_client.octets];
        let ends = [(connection.client.ip(), to, back), (connection.server.ip(), back, to)];
        let is_own = ends[0].0 == ends[1].0;
        for (address, sent, received) in ends.into_iter().take(if is_own { 1 } else { 2 }) {
            let talk = self.talkers.entry(address).or_default();
            talk.connections += 1;
            talk.sent += sent;
            talk.received += if is_own { 0 } else { received };
            if is_own {
                talk.sent += received;
            }
        }
        if self.talkers.len() > MOST_TALKERS {
            // Those that talked least make room; if they talk again, they begin anew.
            let mut octets: Vec<u64> = self.talkers.values().map(Talk::octets).collect();
            let (_, middle, _) = octets.select_nth_unstable(MOST_TALKERS / 2);
            let middle = *middle;
            // Of those that are equal as many stay as there is room for.
            let mut room = MOST_TALKERS / 2 - octets.iter().filter(|octets| **octets > middle).count();
            self.talkers.retain(|_, talk| {
                let stays = talk.octets() > middle || talk.octets() == middle && room > 0;
                room -= usize::from(stays && talk.octets() == middle);
                stays
            });
            self.forgot = true;
        }
    }

    /// The addresses that sent and received most.
    pub(super) fn top_talkers(&self) -> Vec<(IpAddr, Talk)> {
        let mut talkers: Vec<_> = self.talkers.iter().map(|(address, talk)| (*address, *talk)).collect();
        talkers.sort_by_key(|(address, talk)| (Reverse(talk.octets()), Reverse(talk.connections), *address));
        talkers.truncate(MOST);
        talkers
    }

    /// The problems that there were, the gravest first, each with its number of connections and the worst of them.
    pub(super) fn problems(&self) -> impl Iterator<Item = (ProblemKind, u64, &Worst)> {
        let kinds = ProblemKind::ALL.iter().zip(&self.problems);
        kinds.filter_map(|(kind, (count, worst))| Some((*kind, *count, worst.as_ref()?)))
    }

    /// Writes the page.
    ///
    /// # Errors
    /// Whatever `out` answers.
    pub fn write(&self, out: &mut dyn Write, totals: &Totals, style: &Style) -> io::Result<()> {
        let micro = if style.charset == Charset::Unicode { "µ" } else { "u" };
        let becomes = style.glyphs().becomes;
        let lasted = self.first.zip(self.last).map(|(first, last)| last.since(first).max(Span(0)));
        let lasted = lasted.map_or(String::new(), |lasted| format!(" in {}", clock::duration(lasted, micro)));
        let said =
            format!("{}{lasted}; {} read", counted(self.connections, "connection"), counted(totals.frames, "frame"));
        Line::of(Paint::Strong, said).write(out, style)?;
        // As the option is written that chooses it, and at the beginning, where no line breaks.
        let ends = |which: &Which| format!("-c {}, {} {becomes} {}", which.id.0, which.client, which.server);

        let failed: Vec<_> =
            Ending::ALL.iter().zip(self.endings).filter(|(ending, _)| never_opened(**ending)).collect();
        if self.problems().next().is_some() || failed.iter().any(|(_, (count, _))| *count > 0) {
            heading(out, "Look at first", style)?;
        }
        for (ending, (count, first)) in failed {
            let Some(first) = first else { continue };
            row(out, ending.name(), &format!("{}, the first -c {}", counted(count, "connection"), first.0), style)?;
        }
        for (kind, count, worst) in self.problems() {
            let which = if count == 1 { "" } else { "; worst " };
            let number = if count == 1 { String::new() } else { counted(count, "connection") };
            let said = format!("{number}{which}{}: {}", ends(&worst.which), worst.verdict);
            row(out, kind.name(), &said, style)?;
        }
        heading(out, "Endings", style)?;
        for (ending, (count, first)) in Ending::ALL.iter().zip(self.endings) {
            let Some(first) = first else { continue };
            let share = count as f64 * 100.0 / self.connections.max(1) as f64;
            row(out, ending.name(), &format!("{} ({share:.1} %), the first -c {}", grouped(count), first.0), style)?;
        }
        heading(out, "Top talkers", style)?;
        for (address, talk) in self.top_talkers() {
            let least = if self.forgot { "at least " } else { "" };
            let said = format!(
                "{least}{} sent, {} received, in {}",
                counted(talk.sent, "octet"),
                grouped(talk.received),
                counted(talk.connections, "connection")
            );
            row(out, &address.to_string(), &said, style)?;
        }
        self.findings.write(out, style)?;
        if !self.slowest.is_empty() {
            heading(out, "Slowest handshakes", style)?;
        }
        for Handshake { took, syns, which } in self.slowest.each() {
            let syns = if *syns > 1 { format!(", {}", counted(*syns, "SYN")) } else { String::new() };
            row(out, &clock::duration(*took, micro), &format!("{}{syns}", ends(&which.0)), style)?;
        }
        if !self.lossy.is_empty() {
            heading(out, "Most retransmissions", style)?;
        }
        for Lossy { retransmitted, segments, by_server, which } in self.lossy.each() {
            let share = *retransmitted as f64 * 100.0 / (*segments).max(1) as f64;
            let by = if *by_server { "server" } else { "client" };
            let segments = counted(*segments, "segment");
            let said = format!("{}: of {segments} of the {by} ({share:.1} %)", ends(&which.0));
            row(out, &grouped(*retransmitted), &said, style)?;
        }
        Ok(())
    }
}

impl Talk {
    fn octets(&self) -> u64 {
        self.sent.saturating_add(self.received)
    }
}

impl<T: Ord> Best<T> {
    /// From the greatest down.
    pub(super) fn each(&self) -> impl Iterator<Item = &T> {
        self.0.iter().rev()
    }

    /// Whether nothing was put in.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn put(&mut self, one: T) {
        if self.0.len() >= MOST && self.0.first().is_some_and(|least| *least >= one) {
            return;
        }
        self.0.insert(one);
        if self.0.len() > MOST {
            self.0.pop_first();
        }
    }
}

fn heading(out: &mut dyn Write, text: &'static str, style: &Style) -> io::Result<()> {
    writeln!(out)?;
    Line::of(Paint::Strong, text).write(out, style)
}

/// Whether nothing but silence hurt, and it was not the server's turn: an idle client is nothing to look at first.
fn is_rest(problem: &Problem) -> bool {
    problem.kind == ProblemKind::Silence && (problem.side != Side::Server || problem.after != Some(Side::Client))
}

/// Whether a connection with this ending was asked for and never came to be.
fn never_opened(ending: Ending) -> bool {
    matches!(ending, Ending::Refused | Ending::Unanswered)
}

/// A name and what is said of it, wrapped beside it.
fn row(out: &mut dyn Write, name: &str, said: &str, style: &Style) -> io::Result<()> {
    let ellipsis = style.glyphs().ellipsis;
    let room = style.columns().saturating_sub(NAME + 2).max(20);
    for (at, text) in wrap(&escape(said, style), room, ellipsis).into_iter().enumerate() {
        let mut line =
            Line::of(Paint::Plain, format!("  {}", if at == 0 { name } else { "" })).left(NAME + 2, ellipsis);
        line.push(Paint::Plain, text);
        line.write(out, style)?;
    }
    Ok(())
}

/// How many of a kind the page has.
const MOST: usize = 5;
/// How many hosts are counted; past that the half that talked least is forgotten.
const MOST_TALKERS: usize = 1 << 16;
/// Columns of a name.
const NAME: usize = 26;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::sample;

    #[test]
    fn hosts_are_counted_in_a_bounded_memory() {
        let mut overview = Overview::default();
        let mut connection = sample::echo().connections.remove(0);
        let hosts = u32::try_from(MOST_TALKERS * 3).unwrap();
        connection.server = "10.255.255.255:80".parse().unwrap();
        for host in 0..hosts {
            connection.client = SocketAddr::new(std::net::Ipv4Addr::from_bits(host).into(), 5000);
            // One of them talks more than all others, and is met again and again.
            connection.client_to_server.octets = if host % 1000 == 7 { 1_000_000 } else { 1 };
            if host % 1000 == 7 {
                connection.client = "10.0.0.7:5000".parse().unwrap();
            }
            overview.add(&connection);
            assert!(overview.talkers.len() <= MOST_TALKERS);
        }
        assert_eq!(overview.connections, u64::from(hosts));
        let top = overview.top_talkers();
        assert_eq!((top.len(), top[0].0, top[1].0), (MOST, connection.server.ip(), "10.0.0.7".parse().unwrap()));
        assert!(overview.forgot);
        assert_eq!((overview.slowest.0.len(), overview.lossy.0.len()), (MOST, 0));
    }

    #[test]
    fn the_page_fits_every_width() {
        let mut overview = Overview::default();
        let mut connection = sample::echo().connections.remove(0);
        connection.client_to_server.retransmissions = 3;
        connection.problem = Some(Box::new(Problem {
            segments: Some(3),
            lasted: Some(Span::from_millis(900)),
            ..Problem::new(ProblemKind::PeerSilent, Side::Client)
        }));
        overview.add(&connection);
        for width in [60, 80, 160] {
            let mut page = Vec::new();
            overview.write(&mut page, &Totals::default(), &Style::plain(width)).unwrap();
            let page = String::from_utf8(page).unwrap();
            assert!(page.lines().all(|line| line.chars().count() <= width), "{width}\n{page}");
            assert!(page.contains("peer_silent") && page.contains("-c 0, "), "{page}");
        }
    }

    /// Also where nothing hurt a connection that was there: those that never were stand first.
    #[test]
    fn what_never_opened_is_to_be_looked_at_first() {
        let mut overview = Overview::default();
        let mut connection = sample::echo().connections.remove(0);
        (connection.ending, connection.problem) = (Ending::Unanswered, None);
        for id in [7, 3] {
            connection.id = ConnectionId(id);
            overview.add(&connection);
        }
        let mut page = Vec::new();
        overview.write(&mut page, &Totals::default(), &Style::plain(80)).unwrap();
        let page = String::from_utf8(page).unwrap();
        let told: Vec<_> = page.lines().skip_while(|line| *line != "Look at first").take(2).collect();
        assert_eq!(told.len(), 2, "{page}");
        assert!(told[1].contains("unanswered") && told[1].contains("2 connections, the first -c 3"), "{page}");
    }
}
