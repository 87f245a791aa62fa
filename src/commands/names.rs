//! Names of addresses, as the system resolves them: asked for within limits, and never needed.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use crate::flow::Connection;

/// Resolves these addresses, each once, several at a time; those without a name and those not answered in time are left out.
pub(super) fn resolved(addresses: BTreeSet<IpAddr>) -> BTreeMap<IpAddr, String> {
    let asked = addresses.len().min(MOST);
    let queue = Arc::new(Mutex::new(addresses.into_iter().take(MOST)));
    let (answer, answers) = mpsc::channel();
    let until = Instant::now() + PATIENCE;
    let ask = move || {
        while Instant::now() < until {
            let Some(address) = queue.lock().ok().and_then(|mut queue| queue.next()) else { return };
            let name = dns_lookup::lookup_addr(&address).ok();
            if answer.send((address, name)).is_err() {
                return;
            }
        }
    };
    // A resolver can hang for longer than anybody waits: its thread is left behind then.
    let threads = (0..AT_ONCE.min(asked)).map_while(|_| thread::Builder::new().spawn(ask.clone()).ok()).count();
    // Where there can be no thread, the last question may take longer than it should.
    if threads == 0 {
        ask()
    } else {
        drop(ask)
    }
    let mut names = BTreeMap::new();
    while let Ok((address, name)) = answers.recv_timeout(until.saturating_duration_since(Instant::now())) {
        // Where there is no name the resolver gives the address back.
        names.extend(name.filter(|name| name.parse::<IpAddr>().is_err()).map(|name| (address, name)));
    }
    names
}

/// The addresses of both ends of connections.
pub(super) fn addresses<'a>(connections: impl IntoIterator<Item = &'a Connection>) -> BTreeSet<IpAddr> {
    connections.into_iter().flat_map(|connection| [connection.client.ip(), connection.server.ip()]).collect()
}

/// How many addresses are asked for; the others stay numbers.
const MOST: usize = 2000;
/// How many questions are open at once.
const AT_ONCE: usize = 16;
/// How long answers are waited for in all.
const PATIENCE: Duration = Duration::from_secs(10);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_address_is_asked_for_and_none_is_waited_for_without_end() {
        let loopback = IpAddr::from([127, 0, 0, 1]);
        let began = Instant::now();
        let names = resolved(BTreeSet::from([loopback]));
        assert!(began.elapsed() < PATIENCE + Duration::from_secs(5));
        let system = dns_lookup::lookup_addr(&loopback).ok().filter(|name| name.parse::<IpAddr>().is_err());
        assert_eq!(names.get(&loopback), system.as_ref());
        assert!(resolved(BTreeSet::new()).is_empty());
    }
}
