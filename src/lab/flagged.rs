//! What a scenario promises that tshark flags in what was captured.

use std::fmt;

use serde::Deserialize;

/// The flags of tshark's analysis that are promised, by the capture that has them.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Flagged {
    /// In what was captured at the clients' host, or on the loopback interface.
    pub client: Vec<Flag>,
    /// In what was captured at the servers' host; with a loopback interface the same.
    pub server: Vec<Flag>,
}

/// A flag of tshark's analysis, and how often it is there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Flag {
    /// Its field without `tcp.analysis.` before it; several where the moment decides which of them it is.
    pub names: Vec<&'static str>,
    /// On how many segments it stands.
    pub times: Times,
}

/// On how many segments a flag stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Times {
    /// On none or on some: it depends on the moment, or is not what the scenario shows.
    Any,
    /// On one at least.
    Some,
    /// On so many.
    Exactly(u32),
}

impl Flag {
    /// Whether so many are what is promised.
    pub fn holds(&self, count: u32) -> bool {
        match self.times {
            Times::Any => true,
            Times::Some => count > 0,
            Times::Exactly(times) => count == times,
        }
    }

    /// Reads `retransmission`, `2 retransmission`, `maybe retransmission` or `retransmission or out_of_order`.
    fn parse(text: &str) -> Result<Self, String> {
        let (times, names) = match text.split_once(' ') {
            Some(("maybe", names)) => (Times::Any, names),
            Some((number, names)) if number.parse::<u32>().is_ok() => {
                (Times::Exactly(number.parse().unwrap_or_default()), names)
            }
            _ => (Times::Some, text),
        };
        let known = |name: &str| {
            let unknown = || format!("tshark has no flag `{name:.40}`; there are {}", FLAGS.join(", "));
            FLAGS.iter().find(|known| **known == name).copied().ok_or_else(unknown)
        };
        Ok(Self { names: names.split(" or ").map(known).collect::<Result<_, _>>()?, times })
    }
}

impl fmt::Display for Flag {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.times {
            Times::Any => out.write_str("maybe ")?,
            Times::Some => {}
            Times::Exactly(times) => write!(out, "{times} ")?,
        }
        out.write_str(&self.names.join(" or "))
    }
}

/// What the file has.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub(super) struct Promised {
    client: Option<Vec<String>>,
    server: Option<Vec<String>>,
    loopback: Option<Vec<String>>,
}

impl Promised {
    /// What it says, for two hosts or one; why not, in one line.
    pub(super) fn read(&self, has_link: bool) -> Result<Flagged, String> {
        let flags = |texts: &Option<Vec<String>>| -> Result<Vec<Flag>, String> {
            texts.iter().flatten().map(|text| Flag::parse(text)).collect()
        };
        match (has_link, &self.loopback) {
            (true, None) => Ok(Flagged { client: flags(&self.client)?, server: flags(&self.server)? }),
            (true, Some(_)) => Err("two hosts have two captures: `client` and `server`".to_owned()),
            (false, _) if self.client.is_some() || self.server.is_some() => {
                Err("without a link there is one capture: `loopback`".to_owned())
            }
            (false, _) => {
                let both = flags(&self.loopback)?;
                Ok(Flagged { client: both.clone(), server: both })
            }
        }
    }
}

/// The flags of tshark 4, as its fields `tcp.analysis.…` name them.
pub const FLAGS: &[&str] = &[
    "retransmission",
    "fast_retransmission",
    "spurious_retransmission",
    "out_of_order",
    "lost_segment",
    "ack_lost_segment",
    "duplicate_ack",
    "keep_alive",
    "keep_alive_ack",
    "zero_window",
    "zero_window_probe",
    "zero_window_probe_ack",
    "window_full",
    "window_update",
    "reused_ports",
    "tfo_syn",
    "tfo_ack",
    "tfo_ignored",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flag_is_read_as_it_is_written() {
        for text in ["retransmission", "3 duplicate_ack", "maybe out_of_order", "2 keep_alive or window_full"] {
            assert_eq!(Flag::parse(text).unwrap().to_string(), text);
        }
        for (text, why) in
            [("retransmision", "there are retransmission"), ("some keep_alive", "`some keep_alive`"), ("", "``")]
        {
            assert!(Flag::parse(text).unwrap_err().contains(why), "{text}");
        }
        let two = Flag::parse("2 zero_window").unwrap();
        assert!(two.holds(2) && !two.holds(1) && !Flag::parse("zero_window").unwrap().holds(0));
    }

    #[test]
    fn each_capture_has_its_own() {
        let of = |text: &str, has_link| toml::from_str::<Promised>(text).unwrap().read(has_link);
        let both = of("client = ['retransmission']", true).unwrap();
        assert_eq!((both.client.len(), both.server.len()), (1, 0));
        let one = of("loopback = ['keep_alive']", false).unwrap();
        assert_eq!(one.client, one.server);
        assert!(of("loopback = []", true).is_err() && of("client = []", false).is_err());
    }
}
