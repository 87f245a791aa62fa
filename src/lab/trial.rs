//! One run of a scenario: the ground is made, the actors perform, both ends are captured, and what all witnesses saw is put together.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::fcntl::OFlag;
use nix::sys::prctl;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{ForkResult, fork, pipe2};

use super::LabError;
use super::actor::{Part, act};
use super::addresses::{Addresses, End};
use super::definition::Definition;
use super::director::{Director, Told};
use super::host::{self, Ground, Turn};
use super::member::Member;
use super::merged::{Merged, merge};
use super::network::{Network, Tapped};
use super::relay::{Carried, Crossing, Relay};
use super::traced::{self, Tracing};
use super::watched::Watched;
use crate::calls::{Call, Threads};
use crate::capture::{CaptureStats, Frame, OwnedFrame, Replay, Successor, Tape, close_all_but};
use crate::kernel::{Answer, KernelEvent, Tracepoints, now};
use crate::script::{Actor, LinkAct};
use crate::story::{PointSighting, Sense};
use crate::time::{Span, Timestamp};
use crate::wire::Decoder;

/// What the witnesses saw of a run.
#[derive(Clone, Debug)]
pub struct Trial {
    /// The segments as they were sent, in order of time, numbered from 1; what nobody sent as it arrived.
    pub frames: Vec<OwnedFrame>,
    /// What is known of the passage of frames, by number, where it is not that they were sent and arrived.
    pub senses: HashMap<u64, Sense>,
    /// Where each of these frames was seen, by number, in order of time; empty on loopback.
    pub passages: HashMap<u64, Vec<PointSighting>>,
    /// What was captured at each host, the clients' first; one on loopback.
    pub captures: Vec<Vec<OwnedFrame>>,
    /// Of each of two hosts, by the numbers of the frames that were captured there, which of [`Self::frames`] they are.
    pub seen: Vec<HashMap<u64, u64>>,
    /// From when to when the captures ran.
    pub ran: [Timestamp; 2],
    /// What the kernel counted of the captures.
    pub counted: Vec<CaptureStats>,
    /// What became of each segment on the link.
    pub crossings: Vec<Crossing>,
    /// What the link did with frames besides carrying them, by their numbers in [`Self::frames`], in the order in which they came to it.
    pub links: Vec<(u64, LinkAct)>,
    /// The threads of all actors.
    pub threads: Threads,
    /// The calls of all actors, by time of entry.
    pub calls: Vec<Call>,
    /// What sock_diag said, by time.
    pub evidence: Vec<Answer>,
    /// What the kernel's trace said of the run's sockets, in order of time; `None` where it was not read.
    pub kernel: Option<Vec<KernelEvent>>,
    /// Both ends of each connection, the one that connected first, and the actor of each where it is known.
    pub ends: Vec<[(Option<Actor>, std::net::SocketAddr); 2]>,
    /// What the kernels of the hosts counted of TCP, the clients' first, by name.
    pub counters: Vec<BTreeMap<String, u64>>,
    /// What retransmission timers of both hosts are never shorter than; `None`: the kernel's own bound.
    pub rto_min: Option<Span>,
    /// What did not go as the script says, a line each.
    pub amiss: Vec<String>,
    /// Why it ended early, if it did.
    pub broken: Option<LabError>,
    /// Whether that was asked for before it had come to its end.
    pub interrupted: bool,
    /// Where it was played.
    pub ground: Ground,
    /// What the user should know: one line each.
    pub notices: Vec<String>,
}

impl Trial {
    /// The frames as a source.
    pub fn source(&self) -> Replay<'_> {
        Replay::of(&self.frames)
    }
}

/// Plays a scenario once.
///
/// It must be called once in the life of a process, before there is a second thread: the process moves into namespaces of its own,
/// and gives up root and capabilities for good as soon as nothing needs them any more. `tracepoints` are the kernel's trace, where it may
/// be read.
///
/// # Errors
/// When the ground cannot be made. What goes wrong later is in the result.
pub fn try_out(
    definition: &Definition,
    successor: &Successor,
    tracepoints: Option<Tracepoints>,
    interrupt: &Arc<AtomicBool>,
) -> Result<Trial, LabError> {
    let addresses = Addresses::of(definition);
    let Network { ground, hosts, captures, mut kernels, taps } = Network::of(&definition.setting)?;
    // Who is forked from an actor that has ended is ours.
    let _ = prctl::set_child_subreaper(true);
    let (life, alive) = pipe2(OFlag::O_CLOEXEC).map_err(|errno| LabError::new(format!("no pipe: {}", errno.desc())))?;
    host::take_turns(Turn::Ordinary);
    let processor = host::this_processor();
    let cast = cast(definition, &addresses, &hosts, processor, life, ground, successor)?;
    // What waits for the kernel's word, and hands over what was sent, comes before the work of others.
    host::take_turns(Turn::First);
    host::give_up_privilege(ground, 3000, successor)?;

    let watched = Arc::new(Watched::new(addresses.clone()));
    let mut ended = None;
    let mut tapes = Vec::new();
    for (Tapped { live, markers }, end) in captures.into_iter().zip([End::Client, End::Server]) {
        let (watched, mut decoder) = (Arc::clone(&watched), Decoder::new());
        let see = move |frame: &Frame<'_>| {
            let _ = decoder.decode(frame, |segment, _| watched.see(end, segment));
            true
        };
        tapes.push(Tape::start(live, markers, see).map_err(|error| LabError::new(error.message))?);
    }
    let began = now();
    let relay = match (taps, &definition.setting.link) {
        (Some(taps), Some(link)) => Some(Relay::start(taps, addresses.clone(), link.clone(), processor)?),
        _ => None,
    };
    host::take_turns(Turn::Ordinary);
    let tracing = tracepoints.map(Tracing::start).transpose()?;
    for fault in &definition.faults {
        if let (crate::script::What::Link(deed, which), Some(relay)) = (fault, &relay) {
            relay.rule(*deed, *which);
        }
    }
    let director =
        Director::new(definition, &addresses, cast, &watched, &mut kernels, relay.as_ref(), Arc::clone(interrupt));
    // The captures end before the actors do, whose sockets the kernel closes then: that is not part of it.
    let (mut kept, mut heard) = (Vec::new(), None);
    let (told, result) = director.direct(|| {
        ended = Some(now());
        kept.extend(tapes.into_iter().map(Tape::stop));
        heard = tracing.map(Tracing::stop);
    });
    let interrupted = interrupt.load(Ordering::Acquire);
    let mut carried = relay.map(Relay::stop).unwrap_or_default();
    let mut notices = Vec::new();
    let (mut frames, mut counted) = (Vec::new(), Vec::new());
    for kept in kept {
        let (kept, stats) = kept.map_err(|error| LabError::new(error.message))?;
        if !stats.drained {
            notices.push(format!("the end of the capture on {} was not seen: frames may be missing", stats.interface));
        }
        if stats.dropped > 0 {
            notices.push(format!("the kernel dropped {} packets of the capture on {}", stats.dropped, stats.interface));
        }
        frames.push(kept);
        counted.push(stats);
    }
    drop(alive);
    let Told { threads, mut calls, evidence, ends, counters, mut amiss } = told;
    calls.sort_by_key(|call| call.entered);
    let Merged { frames: merged, senses, passages, seen, links, numbers } = match &frames[..] {
        [one] => Merged { frames: one.clone(), ..Merged::default() },
        both => merge(definition, both, &carried, &mut amiss),
    };
    for (place, number) in numbers {
        carried.crossings[place].frame = Some(number);
    }
    let Carried { crossings, late, .. } = carried;
    if late > PUNCTUAL {
        notices.push(format!(
            "this machine was busy: the link handed a segment over {} ms late, which TCP may have taken for a loss",
            late.as_millis()
        ));
    }
    let kernel = heard.map(|(heard, lost)| {
        let traced = traced::of_run(heard, &frames, [End::Client, End::Server].map(|end| addresses.host(end)));
        notices.extend(traced.notice(lost));
        traced.events
    });
    Ok(Trial {
        frames: merged,
        senses,
        passages,
        captures: frames,
        seen,
        ran: [began, ended.unwrap_or_else(now)],
        counted,
        crossings,
        links,
        threads,
        calls,
        evidence,
        kernel,
        ends,
        counters,
        rto_min: definition.setting.least_rto(),
        amiss,
        broken: result.err(),
        interrupted,
        ground,
        notices,
    })
}

/// Makes a process for each actor but those that are forked from another one.
fn cast(
    definition: &Definition,
    addresses: &Addresses,
    hosts: &[File],
    processor: Option<usize>,
    life: OwnedFd,
    ground: Ground,
    successor: &Successor,
) -> Result<Vec<Member>, LabError> {
    let failed = |what: &str, errno: nix::errno::Errno| LabError::new(format!("{what}: {}", errno.desc()));
    let actors = definition.actors();
    let (mut cast, mut theirs) = (Vec::new(), Vec::new());
    for (actor, _) in &actors {
        let (ours, their) = socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)
            .map_err(|errno| failed("no socket to an actor", errno))?;
        cast.push(Member::new(*actor, ours));
        theirs.push((*actor, their));
    }
    for (actor, parent) in &actors {
        if parent.is_some() {
            continue;
        }
        // SAFETY: this process has one thread, so that the child has all that it had.
        let forked = unsafe { fork() }.map_err(|errno| failed("no process for an actor", errno))?;
        if let ForkResult::Parent { child } = forked {
            cast.iter_mut().filter(|member| member.actor == *actor).for_each(|member| member.made = Some(child));
        } else {
            // What belongs to the director stays with it: it would never see the others' end.
            cast.clear();
            let of_mine = |of: Actor| {
                let parent = actors.iter().find(|(known, _)| *known == of).and_then(|(_, parent)| *parent);
                of == *actor || parent == Some(*actor)
            };
            theirs.retain(|(of, _)| of_mine(*of));
            host::stay_on(processor);
            let host = &hosts[(End::of(*actor) as usize).min(hosts.len() - 1)];
            let kept = theirs.iter().map(|(_, control)| control.as_raw_fd());
            let mut kept: Vec<_> = kept.chain([0, 1, 2, host.as_raw_fd(), life.as_raw_fd()]).collect();
            // Where the kernel cannot, the ends of the director's sockets are closed by now, and the rest is when the actor ends.
            _ = close_all_but(&mut kept);
            let (script, life) = (&definition.script, life.into());
            let part = Part { actor: *actor, script, addresses, host, controls: theirs, life };
            act(part, || host::give_up_privilege(ground, 3000, successor));
        }
    }
    Ok(cast)
}

/// How late the link may be without a word: half of what TCP waits at least before it repeats.
const PUNCTUAL: Duration = Duration::from_millis(100);
