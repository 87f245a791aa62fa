//! The two ends of the link: raw sockets whose frames wait in memory that is shared with the kernel, so that none is lost in a burst.

use std::ffi::c_void;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::errno::Errno;
use nix::net::if_::if_nametoindex;
use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, send, socket};

use super::LabError;
use super::addresses::End;
use crate::time::Timestamp;

/// The sockets at the two ends of the link, opened while the process still may.
pub(super) struct Taps([Tap; 2]);

impl Taps {
    /// Opens a raw socket on each end of the link, for frames of up to so many octets behind their Ethernet header.
    pub(super) fn open(interfaces: [&str; 2], mtu: u32) -> Result<Self, LabError> {
        let failed =
            |errno: Errno| LabError::new(format!("the link between the hosts cannot be opened: {}", errno.desc()));
        let [client, server] = interfaces.map(|interface| Tap::open(interface, mtu));
        Ok(Self([client.map_err(failed)?, server.map_err(failed)?]))
    }

    /// Another descriptor of the socket at one end.
    pub(super) fn copy(&self, end: End) -> Result<OwnedFd, Errno> {
        let socket = &self.0[end as usize].socket;
        socket.try_clone().map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    }

    /// The socket at one end.
    pub(super) fn of(&mut self, end: End) -> &mut Tap {
        &mut self.0[end as usize]
    }

    /// What can be waited for: that a frame has come at either end.
    pub(super) fn descriptors(&self) -> [BorrowedFd<'_>; 2] {
        self.0.each_ref().map(|tap| tap.socket.as_fd())
    }

    /// The end at which the frame came in that came first of those not taken yet.
    pub(super) fn earliest(&self) -> Option<End> {
        let came = |end: End| self.0[end as usize].came();
        match (came(End::Client), came(End::Server)) {
            (Some(client), Some(server)) if server < client => Some(End::Server),
            (Some(_), _) => Some(End::Client),
            (None, Some(_)) => Some(End::Server),
            (None, None) => None,
        }
    }
}

/// The socket at one end of the link.
///
/// A socket's own buffer is bounded by net.core.rmem_max for an ordinary user, which a burst of less than two hundred segments fills. A
/// ring (packet(7), `PACKET_RX_RING`) is bounded by what is asked for, and keeps frames in the order in which they came.
pub(super) struct Tap {
    ring: Ring,
    socket: OwnedFd,
}

impl Tap {
    fn open(interface: &str, mtu: u32) -> Result<Self, Errno> {
        // Without a protocol it hears nothing before it is bound.
        let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
        set(&socket, libc::PACKET_IGNORE_OUTGOING, &1i32)?;
        let ring = Ring::of(&socket, mtu)?;
        // SAFETY: all octets zero is a valid sockaddr_ll.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as u16;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = if_nametoindex(interface)? as i32;
        let len = size_of::<libc::sockaddr_ll>() as u32;
        // SAFETY: the pointer is to a value that lives here, with its size.
        Errno::result(unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), len) })?;
        Ok(Self { ring, socket })
    }

    /// When the next frame came in; `None`: there is none.
    fn came(&self) -> Option<Timestamp> {
        self.ring.next().map(|header| {
            let nanos = i64::from(header.tp_sec) * 1_000_000_000 + i64::from(header.tp_nsec);
            Timestamp::from_nanos(nanos)
        })
    }

    /// Takes the next frame; `look` is shown when it came in, and its octets.
    pub(super) fn take<T>(&mut self, look: impl FnOnce(Timestamp, &[u8]) -> T) -> Option<T> {
        let at = self.came()?;
        self.ring.take(|octets| look(at, octets))
    }

    /// Hands a frame to the host; whether its queue took it, for which it is waited a little.
    pub(super) fn put(&self, frame: &[u8]) -> bool {
        is_taken(FULL, || self.offer(frame))
    }

    fn offer(&self, frame: &[u8]) -> Result<(), Errno> {
        send(self.socket.as_raw_fd(), frame, MsgFlags::empty()).map(drop)
    }

    /// How many frames found the ring full.
    pub(super) fn dropped(&self) -> u64 {
        let mut counted = libc::tpacket_stats { tp_packets: 0, tp_drops: 0 };
        let mut len = size_of::<libc::tpacket_stats>() as u32;
        // SAFETY: both pointers are to values that live here, and the length is the first one's.
        let told = unsafe {
            libc::getsockopt(
                self.socket.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                (&raw mut counted).cast(),
                &raw mut len,
            )
        };
        if told == 0 { u64::from(counted.tp_drops) } else { 0 }
    }
}

/// Offers something to a queue until that takes it, with pauses in which it may empty itself; whether it did at last.
fn is_taken(pause: Duration, mut offer: impl FnMut() -> Result<(), Errno>) -> bool {
    for _ in 0..ATTEMPTS {
        match offer() {
            // The queue of the processor that delivers it is full (net.core.netdev_max_backlog).
            Err(Errno::ENOBUFS | Errno::EAGAIN | Errno::EINTR) => std::thread::sleep(pause),
            offered => return offered.is_ok(),
        }
    }
    false
}

/// Frames that the kernel has put into memory of both (packet(7), packet_mmap.rst; `TPACKET_V2`).
struct Ring {
    memory: *mut c_void,
    len: usize,
    place: usize,
    places: usize,
    next: usize,
}

// SAFETY: the memory is the ring's own, and nothing in it depends on the thread.
unsafe impl Send for Ring {}

impl Ring {
    /// Has the socket put its frames into a ring.
    fn of(socket: &OwnedFd, mtu: u32) -> Result<Self, Errno> {
        let place = (mtu as usize + HEADROOM).next_power_of_two().max(LEAST_PLACE);
        let block = place.max(BLOCK);
        let len = MEMORY.max(place * LEAST_PLACES).next_multiple_of(block);
        set(socket, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V2 as i32))?;
        let asked = libc::tpacket_req {
            tp_block_size: block as u32,
            tp_block_nr: (len / block) as u32,
            tp_frame_size: place as u32,
            tp_frame_nr: (len / place) as u32,
        };
        set(socket, libc::PACKET_RX_RING, &asked)?;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: a new mapping, at whatever address, of what the socket offers.
        let memory = unsafe { libc::mmap(ptr::null_mut(), len, access, libc::MAP_SHARED, socket.as_raw_fd(), 0) };
        if memory == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        // The actors' processes have no part in it.
        // SAFETY: the range is the mapping that was just made.
        unsafe { libc::madvise(memory, len, libc::MADV_DONTFORK) };
        Ok(Self { memory, len, place, places: len / place, next: 0 })
    }

    fn status(&self) -> &AtomicU32 {
        // SAFETY: `next` is below `places`, so that the header lies in the mapping, page-aligned places being aligned for it; its first
        // field is changed by the kernel and here, by whoever owns the place at that time.
        unsafe { AtomicU32::from_ptr(self.memory.byte_add(self.next * self.place).cast()) }
    }

    /// The header of the next frame, if there is one.
    fn next(&self) -> Option<libc::tpacket2_hdr> {
        if self.status().load(Ordering::Acquire) & libc::TP_STATUS_USER == 0 {
            return None;
        }
        // SAFETY: the place is in the mapping, and the kernel leaves it alone until it is given back.
        Some(unsafe { self.memory.byte_add(self.next * self.place).cast::<libc::tpacket2_hdr>().read() })
    }

    fn take<T>(&mut self, look: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let header = self.next()?;
        let from = usize::from(header.tp_mac).min(self.place);
        let len = (header.tp_snaplen as usize).min(self.place - from);
        // SAFETY: the octets lie in the place, whatever the header says, and the kernel leaves it alone until it is given back.
        let octets = unsafe {
            std::slice::from_raw_parts(self.memory.byte_add(self.next * self.place + from).cast::<u8>(), len)
        };
        let seen = look(octets);
        self.status().store(libc::TP_STATUS_KERNEL, Ordering::Release);
        self.next = (self.next + 1) % self.places;
        Some(seen)
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: the mapping is the ring's own, and nobody has a reference into it any more.
        unsafe { libc::munmap(self.memory, self.len) };
    }
}

fn set<T>(socket: &OwnedFd, option: i32, value: &T) -> Result<(), Errno> {
    let len = size_of::<T>() as u32;
    // SAFETY: the pointer is to a value that lives here, with its size.
    let done =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, option, ptr::from_ref(value).cast(), len) };
    Errno::result(done).map(drop)
}

/// What the kernel puts before a packet in its place, and the Ethernet header.
const HEADROOM: usize = 128;
const LEAST_PLACE: usize = 2048;
const LEAST_PLACES: usize = 256;
const BLOCK: usize = 64 << 10;
/// How large a ring is: 4096 frames of an ordinary size wait in it.
const MEMORY: usize = 8 << 20;
/// How often a frame is offered to a host whose queue is full.
const ATTEMPTS: u32 = 10_000;
/// How long a full queue is given to empty itself.
const FULL: Duration = Duration::from_micros(200);

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::super::host::in_own_network;
    use super::super::netlink::Netlink;
    use super::*;

    /// A frame of no protocol that anybody else has.
    const FRAME: [u8; 60] = {
        let mut frame = [0xff; 60];
        [frame[12], frame[13]] = [0x88, 0xb5];
        frame
    };

    /// Opens both of two devices that are connected.
    fn taps(netlink: &Netlink) -> [Tap; 2] {
        let both = ["near", "far"];
        netlink.pair_here(both);
        both.iter().for_each(|interface| netlink.up(interface).expect("it is there"));
        both.map(|interface| {
            netlink.await_sending(interface).expect("they are connected");
            Tap::open(interface, 1500).expect("a raw socket")
        })
    }

    #[test]
    fn of_frames_that_nobody_takes_as_many_wait_as_there_is_room_for_and_the_others_are_counted() {
        in_own_network(|| {
            let [mut near, far] = taps(&Netlink::open().expect("rtnetlink"));
            let room = MEMORY / LEAST_PLACE;
            let beyond = 3;
            assert!((0..room + beyond).all(|_| far.put(&FRAME)));
            // The kernel may deliver the last ones a moment later.
            let (mut dropped, begun) = (0, Instant::now());
            while dropped < beyond as u64 && begun.elapsed() < Duration::from_secs(10) {
                dropped += near.dropped();
                std::thread::yield_now();
            }
            let mut taken = 0;
            while near.take(|_, octets| assert_eq!(octets, FRAME)).is_some() {
                taken += 1;
            }
            assert_eq!((taken, dropped + near.dropped()), (room, beyond as u64));
            // What comes now has room again.
            assert!(far.put(&FRAME));
            let begun = Instant::now();
            while near.take(|_, _| ()).is_none() {
                assert!(begun.elapsed() < Duration::from_secs(10), "it never came");
            }
            assert_eq!(near.dropped(), 0);
        });
    }

    /// The queue of the device holds no frame at all, as if it were full for good.
    #[test]
    fn a_frame_is_offered_to_a_full_queue_so_often() {
        in_own_network(|| {
            let netlink = Netlink::open().expect("rtnetlink");
            let [_near, far] = taps(&netlink);
            netlink.queue("far", 0);
            let mut offers = 0;
            let taken = is_taken(Duration::ZERO, || {
                offers += 1;
                far.offer(&FRAME)
            });
            assert_eq!((taken, offers), (false, ATTEMPTS));
            // At the last offer there is room.
            let mut offers = 0;
            let taken = is_taken(Duration::ZERO, || {
                offers += 1;
                if offers == ATTEMPTS {
                    netlink.queue("far", 10);
                }
                far.offer(&FRAME)
            });
            assert_eq!((taken, offers), (true, ATTEMPTS));
        });
    }
}
