//! Puts the words of all witnesses in order of time, and waits no longer for a late one than it must.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::witnessed::{Moment, Witnessed};
use crate::calls::{CallId, ThreadId};
use crate::time::{Span, Timestamp};

/// A bounded sorter: it holds a word until all that were spoken [`Sorter::LONGEST`] later may have come, or until too many wait.
///
/// Sightings keep the order in which they were captured, where their timestamps differ by no more than that.
/// A word that comes after later ones were let go is let go at once, and counted.
#[derive(Debug)]
pub struct Sorter {
    /// In order of time; the words themselves lie still.
    waiting: BinaryHeap<Reverse<Waiting>>,
    words: Vec<Option<Witnessed>>,
    /// The places of words that are free.
    free: Vec<u32>,
    /// The latest moment that is known to have come.
    now: Option<Timestamp>,
    /// When the last sighting was.
    seen: Option<Timestamp>,
    /// When the calls were entered that have not returned.
    open: BTreeMap<CallId, Timestamp>,
    /// The last word that was let go.
    gone: Option<Moment>,
    put: u64,
    most: usize,
    late: u64,
}

#[derive(Debug)]
struct Waiting {
    moment: Moment,
    at: Option<Timestamp>,
    put: u64,
    /// Its place among the words.
    word: u32,
}

impl Default for Sorter {
    fn default() -> Self {
        Self::of(Self::MOST)
    }
}

impl Sorter {
    /// How long a word waits for those that were spoken before it.
    pub const LONGEST: Span = Span::from_millis(50);
    /// How many words wait at most.
    pub const MOST: usize = 65_536;

    /// A sorter in which so many words wait at most.
    pub fn of(most: usize) -> Self {
        Self {
            waiting: BinaryHeap::new(),
            words: Vec::new(),
            free: Vec::new(),
            now: None,
            seen: None,
            open: BTreeMap::new(),
            gone: None,
            put: 0,
            most: most.max(1),
            late: 0,
        }
    }

    /// Takes a word in.
    pub fn put(&mut self, witnessed: Witnessed) {
        let mut at = witnessed.at().or(self.now);
        let mut entered = None;
        match &witnessed {
            Witnessed::Entered(call) => _ = self.open.insert(call.id, call.entered),
            Witnessed::Returned { call, .. } | Witnessed::Lost { call, .. } => entered = self.open.remove(call),
            _ => {}
        }
        if let Witnessed::Sighting(_) = witnessed {
            let is_step_back = |seen: Timestamp, at: Timestamp| at < seen && seen.since(at) <= Self::LONGEST;
            if let (Some(seen), Some(now)) = (self.seen, at)
                && is_step_back(seen, now)
            {
                at = Some(seen);
            }
            self.seen = at;
        }
        let moment = match entered {
            Some(entered) => witnessed.moment_of_return(entered),
            None => witnessed.moment(at),
        };
        at = moment.at();
        if self.gone.is_some_and(|gone| moment < gone) {
            self.late += 1;
        }
        self.now = self.now.max(at);
        self.put += 1;
        let word = match self.free.pop() {
            Some(free) => {
                self.words[free as usize] = Some(witnessed);
                free
            }
            None => {
                self.words.push(Some(witnessed));
                self.words.len() as u32 - 1
            }
        };
        self.waiting.push(Reverse(Waiting { moment, at, put: self.put, word }));
    }

    /// Takes in that so much time has passed, though nobody may have spoken.
    pub fn pass(&mut self, now: Timestamp) {
        self.now = self.now.max(Some(now));
    }

    /// Takes in that a thread makes no more calls: those that have not returned will not.
    pub fn end_thread(&mut self, thread: ThreadId) {
        let ids = CallId { thread, n: 0 }..=CallId { thread, n: u64::MAX };
        let open: Vec<CallId> = self.open.range(ids).map(|(call, _)| *call).collect();
        open.iter().for_each(|call| _ = self.open.remove(call));
    }

    /// The next word that need not wait any longer.
    pub fn due(&mut self) -> Option<Witnessed> {
        let Reverse(next) = self.waiting.peek()?;
        let is_due = self.waiting.len() > self.most
            || next.at.zip(self.now).is_none_or(|(at, now)| at.after(Self::LONGEST) <= now);
        if is_due { self.next() } else { None }
    }

    /// How many words wait.
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many words came too late to be told in order.
    pub fn late(&self) -> u64 {
        self.late
    }
}

/// Lets go of every word, in order, however new it is.
impl Iterator for Sorter {
    type Item = Witnessed;

    fn next(&mut self) -> Option<Witnessed> {
        let Reverse(next) = self.waiting.pop()?;
        self.gone = self.gone.max(Some(next.moment));
        self.free.push(next.word);
        self.words[next.word as usize].take()
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.moment, self.put).cmp(&(other.moment, other.put))
    }
}
