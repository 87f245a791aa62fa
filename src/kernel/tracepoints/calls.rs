//! The tracepoints of system calls: those of `raw_syscalls` with a filter, where that is permitted, else one for each call.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::fs;
use std::io;
use std::sync::Arc;

use super::unnamed::Tried;
use super::{TRACEFS, Untraced, beside_the_mounts, refused, unnamed};
use crate::hash::HashMap;

/// A system call that is recorded.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Watched {
    /// Its number.
    pub nr: i64,
    /// Its name in tracefs.
    pub name: &'static str,
    /// How many octets of the stack are recorded when it is entered, for arguments that lie there.
    pub entry: u32,
    /// … and when it returns.
    pub back: u32,
    /// Whether the return wakes the reader at once.
    pub wakes: bool,
}

/// The events that are opened for each thread and processor.
#[derive(Clone, Debug, Default)]
pub(super) struct CallEvents {
    events: Vec<CallEvent>,
    /// Whether what a tracepoint records is a return.
    returns: HashMap<u64, bool>,
    takes_privilege: bool,
    /// Those that were tried to find these; they are to be there longer than the events.
    tried: Option<Arc<Tried>>,
}

/// One event.
#[derive(Clone, Debug)]
pub(super) struct CallEvent {
    pub(super) id: u64,
    pub(super) filter: Option<CString>,
    pub(super) stack: u32,
    pub(super) wakes: bool,
}

impl CallEvents {
    /// Finds the tracepoints of these calls; `stack` octets of the stack are recorded with the entry of each, if a call does not ask for more.
    ///
    /// With privilege there is one event for all calls of which the same is recorded.
    pub(super) fn find(calls: &'static [Watched], stack: u32, takes_privilege: bool) -> Result<Self, Untraced> {
        if takes_privilege {
            let raw = || Some([id_of("raw_syscalls/sys_enter")?, id_of("raw_syscalls/sys_exit")?]);
            let ids = match raw() {
                Some(ids) => ids,
                None => beside_the_mounts(raw)?.ok_or(Untraced::Absent)?,
            };
            return Ok(Self::raw(calls, stack, ids));
        }
        let mut found = Self::default();
        let ids = |call: &Watched| {
            let id = |which| id_of(&format!("syscalls/sys_{which}_{}", call.name));
            Some((call.nr, [id("enter")?, id("exit")?]))
        };
        let mut ids: HashMap<i64, [u64; 2]> = calls.iter().filter_map(ids).collect();
        if ids.is_empty() {
            let calls: Vec<_> = calls.iter().map(|call| call.nr).collect();
            let (numbers, tried) = unnamed::find(&calls).map_err(|error| refused(&error))?;
            (ids, found.tried) = (numbers, Some(Arc::new(tried)));
        }
        for call in calls {
            // Calls that this kernel does not have are never made.
            let Some([entry, back]) = ids.get(&call.nr).copied() else { continue };
            for (is_return, octets, id) in [(false, call.entry.max(stack), entry), (true, call.back, back)] {
                found.returns.insert(id, is_return);
                let wakes = is_return && call.wakes;
                found.events.push(CallEvent { id, filter: None, stack: octets, wakes });
            }
        }
        if found.events.is_empty() { Err(Untraced::Forbidden) } else { Ok(found) }
    }

    fn raw(calls: &[Watched], stack: u32, [entry, back]: [u64; 2]) -> Self {
        let mut groups: BTreeMap<(u64, u32), Vec<String>> = BTreeMap::new();
        for call in calls {
            groups.entry((entry, call.entry.max(stack))).or_default().push(format!("id == {}", call.nr));
            groups.entry((back, call.back)).or_default().push(format!("id == {}", call.nr));
        }
        let events = groups
            .into_iter()
            .map(|((id, stack), calls)| {
                let filter = CString::new(calls.join(" || ")).ok();
                CallEvent { id, filter, stack, wakes: false }
            })
            .collect();
        let returns = HashMap::from_iter([(entry, false), (back, true)]);
        Self { events, returns, takes_privilege: true, tried: None }
    }

    /// Those that are opened.
    pub(super) fn iter(&self) -> impl Iterator<Item = &CallEvent> {
        self.events.iter()
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.events.len()
    }

    /// Whether they record inside the kernel, which takes privilege.
    pub(super) fn takes_privilege(&self) -> bool {
        self.takes_privilege
    }

    /// Whether a tracepoint of this number records returns; `None` for another tracepoint.
    pub(super) fn is_return(&self, id: u64) -> Option<bool> {
        self.returns.get(&id).copied()
    }

    #[cfg(test)]
    pub(super) fn for_test(entry: u64, back: u64) -> Self {
        Self::raw(&[], 0, [entry, back])
    }
}

/// The number of a tracepoint; `None` where there is none of that name, or it may not be read.
fn id_of(path: &str) -> Option<u64> {
    let read = |tracefs: &&str| -> io::Result<String> { fs::read_to_string(format!("{tracefs}/events/{path}/id")) };
    TRACEFS.iter().find_map(|tracefs| read(tracefs).ok()?.trim().parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_event_is_for_all_calls_of_which_the_same_is_recorded() {
        const CALLS: &[Watched] = &[
            Watched { nr: 0, name: "read", entry: 0, back: 0, wakes: false },
            Watched { nr: 3, name: "close", entry: 0, back: 0, wakes: false },
            Watched { nr: 42, name: "connect", entry: 512, back: 0, wakes: true },
        ];
        let filters = |stack| {
            let events = CallEvents::raw(CALLS, stack, [10, 11]);
            let shown = |event: &CallEvent| {
                let filter = event.filter.as_ref().unwrap().to_str().unwrap().to_owned();
                (event.id, event.stack, filter)
            };
            events.iter().map(shown).collect::<Vec<_>>()
        };
        let all = "id == 0 || id == 3 || id == 42".to_owned();
        let some = "id == 0 || id == 3".to_owned();
        assert_eq!(filters(0), [(10, 0, some), (10, 512, "id == 42".to_owned()), (11, 0, all.clone())]);
        assert_eq!(filters(1024), [(10, 1024, all.clone()), (11, 0, all)]);
    }
}
