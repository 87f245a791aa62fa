//! Hash tables that are fast with small keys, as addresses and the numbers of sockets, threads and events are.

pub use foldhash::{HashMap, HashSet};
