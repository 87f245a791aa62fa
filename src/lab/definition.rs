//! A scenario as its file defines it: what it teaches, on which ground it is played, its script, and what is expected.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::Deserialize;
use toml::Spanned;

use super::LabError;
use super::flagged::{Flagged, Promised};
use super::named::{Unknown, actors_expected, actors_of};
use super::need::Need;
use super::scenario::least_mtu;
use crate::report::Expression;
use crate::script::{Actor, Expected, Request, Script, ScriptError, What, When};
use crate::time::Span;

/// A scenario, read and found sound.
#[derive(Debug)]
pub struct Definition {
    /// Its name, by which `tcpflow demo NAME` plays it.
    pub name: String,
    /// The group under which it is listed.
    pub group: String,
    /// What it shows, in a few words.
    pub title: Words,
    /// What it teaches.
    pub lesson: Words,
    /// Where it is played.
    pub setting: Setting,
    /// The rules of the link that hold from the beginning.
    pub faults: Vec<What>,
    /// What happens.
    pub script: Script,
    /// The number of each of the script's lines in the file, from 1.
    pub numbers: Vec<usize>,
    /// What is expected at the end, with the text of each.
    pub expected: Vec<Expected>,
    /// Conditions on the connection, in the Common Expression Language.
    pub asserted: Vec<String>,
    /// What tshark flags in the captures of both ends.
    pub flagged: Flagged,
    /// What the kernel must have for it.
    pub needs: Vec<Need>,
}

/// A text in two languages.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Words {
    /// In English.
    pub en: String,
    /// In Chinese.
    pub zh: String,
}

/// Where a scenario is played.
#[derive(Clone, PartialEq, Debug)]
pub struct Setting {
    /// Two hosts with a link between them; `None`: one loopback interface.
    pub link: Option<LinkSetting>,
    /// Whether IPv6 is used.
    pub ipv6: bool,
    /// The MTU of the interfaces.
    pub mtu: Option<u32>,
    /// Settings of the kernel below `net.ipv4`, at both ends.
    pub sysctl: BTreeMap<String, String>,
    /// The algorithm of congestion control between two hosts; `None`: what the kernel takes.
    pub congestion: Option<String>,
    /// The least retransmission timeout between two hosts; `None`: the kernel's.
    pub rto_min: Option<Span>,
    /// Whether the link makes up segments of hosts that do not exist.
    pub has_strangers: bool,
    /// The port of the first client.
    pub first_client: u16,
    /// For how long nothing may happen before the script counts as stuck.
    pub patience: Span,
}

impl Setting {
    /// What retransmission timers are never shorter than: as its route says, or else as the kernel's setting does; `None`: the kernel's own bound.
    pub fn least_rto(&self) -> Option<Span> {
        let micros = || self.sysctl.get("tcp_rto_min_us").and_then(|text| text.parse::<u32>().ok());
        self.rto_min.or_else(|| micros().map(|micros| Span::from_micros(micros.into())))
    }
}

/// The link between two hosts.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct LinkSetting {
    /// How long each frame takes.
    pub delay: Span,
    /// How many bits a second it carries; `None`: as many as come.
    pub rate: Option<u64>,
    /// How many frames wait for their turn where it has a rate.
    pub queue: usize,
    /// The largest IP packet that it carries; `None`: any.
    pub path_mtu: Option<u32>,
    /// Whether it tells who sent a larger one (ICMP).
    pub icmp: bool,
    /// What it lowers the MSS of SYNs to.
    pub clamp_mss: Option<u16>,
    /// Whether it takes the window scale option out of SYNs.
    pub strip_window_scale: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: Spanned<String>,
    group: Spanned<String>,
    title: Words,
    lesson: Words,
    #[serde(default)]
    ipv6: bool,
    mtu: Option<Spanned<u32>>,
    patience: Option<Spanned<String>>,
    #[serde(default)]
    needs: Vec<Spanned<String>>,
    congestion: Option<Spanned<String>>,
    rto_min: Option<Spanned<String>>,
    link: Option<Link>,
    #[serde(default)]
    sysctl: BTreeMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    values: BTreeMap<String, Spanned<toml::Value>>,
    #[serde(default)]
    faults: Vec<Spanned<String>>,
    #[serde(default)]
    expect: Vec<Spanned<String>>,
    #[serde(default)]
    assert: Vec<Spanned<String>>,
    tshark: Option<Spanned<Promised>>,
    script: Spanned<String>,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Link {
    delay: Option<Spanned<String>>,
    rate: Option<Spanned<String>>,
    queue: Option<usize>,
    path_mtu: Option<u32>,
    icmp: Option<bool>,
    clamp_mss: Option<u16>,
    #[serde(default)]
    strip_window_scale: bool,
}

impl Definition {
    /// Reads the file `source`, called `file` in errors, with `changes` to what it says: pairs of a key and a value.
    ///
    /// # Errors
    /// The first thing that is wrong: file, line and column, the line with a caret under the place, and the way out.
    pub fn parse(file: &str, source: &str, changes: &[(String, String)]) -> Result<Self, LabError> {
        let placed = |error: ScriptError| LabError::new(format!("{file}: {error}"));
        let mut read: File = toml::from_str(source).map_err(|error| {
            let span = error.span().unwrap_or(0..0);
            placed(ScriptError::in_text(source, span, error.message().replace('\n', ", "), WAY_OUT.to_owned()))
        })?;
        for (key, value) in changes {
            change(&mut read, key, value)?;
        }
        let inside = |at: &Range<usize>, error: ScriptError| {
            let start = at.start + error.column;
            let (what, help) = (error.what().to_owned(), error.help().to_owned());
            placed(ScriptError::in_text(source, start..start + error.width(), what, help))
        };
        let span = |text: &Spanned<String>| {
            duration(text.get_ref()).ok_or_else(|| {
                let (what, help) = (
                    format!("`{:.40}` is no time", text.get_ref()),
                    "a time is a number and ns, us, ms or s, as in 30ms",
                );
                placed(ScriptError::in_text(source, text.span(), what, help.to_owned()))
            })
        };
        if !is_name(read.name.get_ref()) {
            let help = "a name is of small letters, digits and hyphens, as in fin-lost".to_owned();
            return Err(placed(ScriptError::in_text(source, read.name.span(), "this is no name".to_owned(), help)));
        }
        let link = match &read.link {
            None => None,
            Some(link) => {
                let rate = link.rate.as_ref().map(|text| {
                    rate(text.get_ref()).ok_or_else(|| {
                        let what = format!("`{:.40}` is no rate", text.get_ref());
                        let help = "a rate is a number and kbit, Mbit or Gbit, as in 10Mbit".to_owned();
                        placed(ScriptError::in_text(source, text.span(), what, help))
                    })
                });
                Some(LinkSetting {
                    delay: link.delay.as_ref().map_or(Ok(Span(0)), span)?,
                    rate: rate.transpose()?,
                    queue: link.queue.unwrap_or(100),
                    path_mtu: link.path_mtu,
                    icmp: link.icmp.unwrap_or(true),
                    clamp_mss: link.clamp_mss,
                    strip_window_scale: link.strip_window_scale,
                })
            }
        };
        let mut faults = Vec::new();
        for fault in &read.faults {
            faults.push(What::parse_link(fault.get_ref()).map_err(|error| inside(&fault.span(), error))?);
        }
        let mut expected = Vec::new();
        for text in &read.expect {
            let read = Expected::parse(text.get_ref()).map_err(|error| inside(&text.span(), error))?;
            if let Some(Unknown { what, help }) = Unknown::in_expected(&read) {
                return Err(placed(ScriptError::in_text(source, text.span(), what, help)));
            }
            expected.push(read);
        }
        for text in &read.assert {
            Expression::parse(text.get_ref()).map_err(|wrong| {
                placed(ScriptError::in_text(source, text.span(), wrong.to_string(), ASSERTION.to_owned()))
            })?;
        }
        let flagged = match &read.tshark {
            Some(promised) => promised.get_ref().read(link.is_some()).map_err(|what| {
                let help = "an entry is `retransmission`, `2 retransmission`, `maybe retransmission` or `retransmission or out_of_order`".to_owned();
                placed(ScriptError::in_text(source, promised.span(), what, help))
            })?,
            None => Flagged::default(),
        };
        let mut needs = Vec::new();
        for text in &read.needs {
            needs.push(Need::named(text.get_ref()).ok_or_else(|| {
                let what = format!("`{:.40}` is nothing that a kernel may lack", text.get_ref());
                placed(ScriptError::in_text(source, text.span(), what, Need::words()))
            })?);
        }
        if let Some(algorithm) = &read.congestion {
            let wrong = |what: &str, help: &str| {
                placed(ScriptError::in_text(source, algorithm.span(), what.to_owned(), help.to_owned()))
            };
            if !is_name(algorithm.get_ref()) || algorithm.get_ref().len() > 15 {
                return Err(wrong(
                    "this is no algorithm of congestion control",
                    "they are called reno, cubic, bbr and so on",
                ));
            }
            if read.link.is_none() {
                return Err(wrong("on loopback there is no congestion", "add `[link]`, which may be empty"));
            }
            needs.push(Need::Congestion(algorithm.get_ref().clone()));
        }
        let rto_min = read.rto_min.as_ref().map(span).transpose()?;
        if let (Some(text), None) = (&read.rto_min, &read.link) {
            let what = "on loopback there is no link between two hosts".to_owned();
            let help = "add `[link]`, which may be empty".to_owned();
            return Err(placed(ScriptError::in_text(source, text.span(), what, help)));
        }
        let (least, mtu) = (least_mtu(read.ipv6), read.mtu.as_ref());
        if let Some(mtu) = mtu.filter(|mtu| !(least..=LARGEST_MTU).contains(mtu.get_ref())) {
            let what = format!("an MTU of {} octets cannot be", mtu.get_ref());
            let help = format!("it is {least} to {LARGEST_MTU} octets");
            return Err(match mtu.span().is_empty() {
                true => LabError::new(format!("--set mtu={}: {what}: {help}", mtu.get_ref())),
                false => placed(ScriptError::in_text(source, mtu.span(), what, help)),
            });
        }
        if let (Some(fault), None) = (read.faults.first(), &read.link) {
            let what = "there is no link that could have faults".to_owned();
            return Err(placed(ScriptError::in_text(source, fault.span(), what, NEEDS_LINK.to_owned())));
        }
        let (script, numbers) = script(file, source, &read)?;
        let known = known_actors(&script);
        let texts = read.faults.iter().zip(faults.iter().map(|fault| actors_of(&When::Next, fault)));
        let texts = texts.chain(read.expect.iter().zip(expected.iter().map(actors_expected)));
        for (text, named) in texts {
            if let Some(Unknown { what, help }) = Unknown::among(&known, named) {
                return Err(placed(ScriptError::in_text(source, text.span(), what, help)));
            }
        }
        let has_strangers = script.lines.iter().any(|line| matches!(line.what, What::Flood { .. }));
        let patience = read.patience.as_ref().map_or(Ok(PATIENCE), span)?;
        let definition = Self {
            name: read.name.into_inner(),
            group: read.group.into_inner(),
            title: read.title,
            lesson: read.lesson,
            setting: Setting {
                link,
                ipv6: read.ipv6,
                mtu: read.mtu.map(Spanned::into_inner),
                sysctl: read.sysctl.into_iter().map(|(key, value)| (key, plain(value.get_ref()))).collect(),
                congestion: read.congestion.map(Spanned::into_inner),
                rto_min,
                has_strangers,
                first_client: FIRST_CLIENT,
                patience,
            },
            needs,
            faults,
            script,
            numbers,
            expected,
            asserted: read.assert.into_iter().map(Spanned::into_inner).collect(),
            flagged,
        };
        definition.check(source).map_err(placed)?;
        Ok(definition)
    }

    /// Sees that the script can be played: nothing in it belongs to captures that are written by hand, and the link is there.
    fn check(&self, source: &str) -> Result<(), ScriptError> {
        let at = |number: usize, what: &str, help: &str| {
            let start: usize = source.split_inclusive('\n').take(number - 1).map(str::len).sum();
            let line = source[start..].lines().next().unwrap_or_default();
            let indent = line.len() - line.trim_start().len();
            ScriptError::in_text(
                source,
                start + indent..start + line.trim_end().len(),
                what.to_owned(),
                help.to_owned(),
            )
        };
        let known = known_actors(&self.script);
        for (line, number) in self.script.lines.iter().zip(&self.numbers) {
            if matches!(line.when, When::At(_) | When::During(..)) {
                let help = "say what the line waits for: `after C waits in recv,`, `after 2nd data C>S,`; `after 200ms,` where time is the point";
                return Err(at(*number, "a time of the clock depends on the machine", help));
            }
            match &line.what {
                What::Segment(_) => {
                    let help =
                        "the kernel makes the segments: write calls, and expect segments as in `expect: 2 SYN C>S`";
                    return Err(at(*number, "no segments are written in a scenario", help));
                }
                What::Answer(..) => {
                    let help = "the kernel is asked: expect a state as in `expect: C TIME-WAIT`";
                    return Err(at(*number, "the kernel's answers are not written in a scenario", help));
                }
                What::Link(..) | What::Forge(_) | What::Repeat(_) | What::Flood { .. } | What::Cable(_)
                    if self.setting.link.is_none() =>
                {
                    return Err(at(*number, "there is no link", NEEDS_LINK));
                }
                _ => {}
            }
            let unknown = match &line.what {
                What::Expect(expected) => Unknown::in_expected(expected),
                _ => None,
            };
            let unknown = unknown.or_else(|| Unknown::among(&known, actors_of(&line.when, &line.what)));
            if let Some(Unknown { what, help }) = unknown {
                return Err(at(*number, &what, &help));
            }
        }
        Ok(())
    }

    /// The actors of the script, in the order in which they appear, each with the one that it is forked from.
    pub fn actors(&self) -> Vec<(Actor, Option<Actor>)> {
        actors(&self.script)
    }
}

fn actors(script: &Script) -> Vec<(Actor, Option<Actor>)> {
    let mut actors: Vec<(Actor, Option<Actor>)> = Vec::new();
    for line in &script.lines {
        let What::Call(asked) = &line.what else { continue };
        if actors.iter().all(|(known, _)| *known != asked.actor) {
            actors.push((asked.actor, None));
        }
        if let Request::Fork(child) = asked.request
            && actors.iter().all(|(known, _)| *known != child)
        {
            actors.push((child, Some(asked.actor)));
        }
    }
    actors
}

/// Who may be named: who acts, who has an address, and the hosts that do not exist.
fn known_actors(script: &Script) -> Vec<Actor> {
    let others = script.lines.iter().filter_map(|line| match line.what {
        What::Address(actor, _) => Some(actor),
        What::Flood { from, .. } => Some(from),
        _ => None,
    });
    actors(script).into_iter().map(|(actor, _)| actor).chain(others).collect()
}

/// Reads the script, with the values put in, and the numbers of its lines in the file.
fn script(file: &str, source: &str, read: &File) -> Result<(Script, Vec<usize>), LabError> {
    let mut text = read.script.get_ref().clone();
    let mut values: Vec<_> = read.values.iter().collect();
    // The longest first: $size1 is not $size with a 1.
    values.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
    for (name, value) in values {
        text = text.replace(&format!("${name}"), &plain(value.get_ref()));
    }
    let at = read.script.span();
    if let Some((place, Unknown { what, help })) =
        Unknown::in_values(&source[at.clone()], read.values.keys().map(String::as_str))
    {
        let place = at.start + place.start..at.start + place.end;
        return Err(LabError::new(format!("{file}: {}", ScriptError::in_text(source, place, what, help))));
    }
    let opening = &source[at.start..];
    let is_block = opening.starts_with("'''") || opening.starts_with("\"\"\"");
    let begins_after = usize::from(is_block && opening[3..].trim_start_matches('\r').starts_with('\n'));
    let before = source[..at.start].matches('\n').count() + begins_after;
    let script =
        Script::parse(&text).map_err(|error| LabError::new(format!("{file}: {}", error.after_lines(before))))?;
    let says_something = |line: &str| !line.trim_start().is_empty() && !line.trim_start().starts_with('#');
    let numbers =
        (before + 1..).zip(text.lines()).filter(|(_, line)| says_something(line)).map(|(number, _)| number).collect();
    Ok((script, numbers))
}

/// Changes what the file says, as `--set KEY=VALUE` has it.
fn change(read: &mut File, key: &str, value: &str) -> Result<(), LabError> {
    let spanned = |text: &str| Spanned::new(0..0, text.to_owned());
    let wrong = |what: &str| LabError::new(format!("--set {key}={value}: {what}"));
    if let Some(known) = read.values.get_mut(key) {
        let number = value.parse().map(toml::Value::Integer);
        *known = Spanned::new(0..0, number.unwrap_or_else(|_| toml::Value::String(value.to_owned())));
        return Ok(());
    }
    if let Some(name) = key.strip_prefix("sysctl.") {
        read.sysctl.insert(name.to_owned(), Spanned::new(0..0, toml::Value::String(value.to_owned())));
        return Ok(());
    }
    if key == "congestion" {
        if read.link.is_none() {
            return Err(wrong("this scenario is played on the loopback interface, where there is no congestion"));
        }
        if !is_name(value) || value.len() > 15 {
            return Err(wrong("an algorithm of congestion control is expected, as in reno"));
        }
        read.congestion = Some(spanned(value));
        return Ok(());
    }
    if key == "rto_min" || key == "patience" {
        if duration(value).is_none() {
            return Err(wrong("a time is a number and ns, us, ms or s, as in 30ms"));
        }
        if key == "patience" {
            read.patience = Some(spanned(value));
        } else if read.link.is_some() {
            read.rto_min = Some(spanned(value));
        } else {
            return Err(wrong("this scenario is played on the loopback interface, which has no link"));
        }
        return Ok(());
    }
    if key == "ipv6" {
        read.ipv6 = truth(value).ok_or_else(|| wrong("true or false is expected"))?;
        return Ok(());
    }
    if key == "mtu" {
        let mtu = value.parse().map_err(|_| wrong("a number of octets is expected"))?;
        read.mtu = Some(Spanned::new(0..0, mtu));
        return Ok(());
    }
    let Some(name) = key.strip_prefix("link.") else {
        let values: Vec<_> = read.values.keys().map(String::as_str).collect();
        let own = if values.is_empty() { String::new() } else { format!("{}, ", values.join(", ")) };
        return Err(wrong(&format!(
            "there is no such key; there are {own}link.delay, link.rate, link.queue, link.path_mtu, link.icmp, link.clamp_mss, link.strip_window_scale, congestion, rto_min, ipv6, mtu, patience and sysctl.NAME"
        )));
    };
    let Some(link) = &mut read.link else {
        return Err(wrong("this scenario is played on the loopback interface, which has no link"));
    };
    match name {
        "delay" if duration(value).is_some() => link.delay = Some(spanned(value)),
        "delay" => return Err(wrong("a time is a number and ns, us, ms or s, as in 30ms")),
        "rate" if rate(value).is_some() => link.rate = Some(spanned(value)),
        "rate" => return Err(wrong("a rate is a number and kbit, Mbit or Gbit, as in 10Mbit")),
        "queue" => link.queue = Some(value.parse().map_err(|_| wrong("a number of frames is expected"))?),
        "path_mtu" => link.path_mtu = Some(value.parse().map_err(|_| wrong("a number of octets is expected"))?),
        "clamp_mss" => link.clamp_mss = Some(value.parse().map_err(|_| wrong("a number of octets is expected"))?),
        "icmp" => link.icmp = Some(truth(value).ok_or_else(|| wrong("true or false is expected"))?),
        "strip_window_scale" => {
            link.strip_window_scale = truth(value).ok_or_else(|| wrong("true or false is expected"))?;
        }
        _ => {
            return Err(wrong("the link has delay, rate, queue, path_mtu, icmp, clamp_mss and strip_window_scale"));
        }
    }
    Ok(())
}

fn plain(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => text.clone(),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(truth) => u8::from(*truth).to_string(),
        toml::Value::Float(number) => number.to_string(),
        toml::Value::Datetime(_) | toml::Value::Array(_) | toml::Value::Table(_) => String::new(),
    }
}

fn is_name(text: &str) -> bool {
    let is_part = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
    !text.is_empty() && text.len() <= 40 && text.bytes().all(is_part)
}

fn truth(text: &str) -> Option<bool> {
    text.parse().ok()
}

/// A time as scripts write it, up to an hour.
fn duration(text: &str) -> Option<Span> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: i64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "ns" => 1,
        "us" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit).filter(|nanos| *nanos <= 3_600_000_000_000).map(Span)
}

/// Bits a second.
fn rate(text: &str) -> Option<u64> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..digits].parse().ok()?;
    let unit = match &text[digits..] {
        "kbit" => 1_000,
        "Mbit" => 1_000_000,
        "Gbit" => 1_000_000_000,
        _ => return None,
    };
    number.checked_mul(unit).filter(|bits| *bits > 0)
}

const NEEDS_LINK: &str = "the link needs two hosts: add `[link]`, which may be empty, before the script";
/// No IP packet is larger.
const LARGEST_MTU: u32 = 65_535;
/// The port of the first client, where no other run is played meanwhile.
pub(super) const FIRST_CLIENT: u16 = 50_001;
const PATIENCE: Span = Span::from_millis(5_000);
const WAY_OUT: &str = "`tcpflow demo --new NAME` writes a file in which every key is explained";
const ASSERTION: &str = "an assertion is a condition on the connection's fields, as --where has it";
