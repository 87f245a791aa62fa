//! Keys of TCP's own authentication as setsockopt takes them: MD5 (RFC 2385) and AO (RFC 5925).

use std::net::IpAddr;

/// `struct tcp_md5sig` (linux/tcp.h): the peer, the length of the key, and the key; `None` for one that is too long.
pub(super) fn md5(key: &str, peer: IpAddr) -> Option<Vec<u8>> {
    let mut octets = address(peer);
    octets.extend([0, 0]);
    octets.extend(u16::try_from(key.len()).ok()?.to_ne_bytes());
    octets.extend(0i32.to_ne_bytes());
    with_key(octets, key)
}

/// `struct tcp_ao_add` (linux/tcp.h): the peer, the algorithm, the numbers of the key in both directions, and the key.
pub(super) fn ao(key: &str, peer: IpAddr) -> Option<Vec<u8>> {
    let mut octets = address(peer);
    let mut algorithm = b"hmac(sha1)".to_vec();
    algorithm.resize(64, 0);
    octets.extend(algorithm);
    // No interface of its own, no flags, and what is reserved.
    octets.extend([0; 4 + 4 + 2]);
    let prefix = if peer.is_ipv4() { 32 } else { 128 };
    let (sent, received, whole_code, flags) = (100, 100, 0, 0);
    octets.extend([prefix, sent, received, whole_code, flags, u8::try_from(key.len()).ok()?]);
    with_key(octets, key)
}

/// `struct sockaddr_storage` with the address, and no port.
fn address(peer: IpAddr) -> Vec<u8> {
    let mut octets = Vec::with_capacity(STORAGE);
    match peer {
        IpAddr::V4(peer) => {
            octets.extend((libc::AF_INET as u16).to_ne_bytes());
            octets.extend([0; 2]);
            octets.extend(peer.octets());
        }
        IpAddr::V6(peer) => {
            octets.extend((libc::AF_INET6 as u16).to_ne_bytes());
            octets.extend([0; 2 + 4]);
            octets.extend(peer.octets());
        }
    }
    octets.resize(STORAGE, 0);
    octets
}

fn with_key(mut octets: Vec<u8>, key: &str) -> Option<Vec<u8>> {
    let end = octets.len() + ROOM;
    octets.extend(key.bytes());
    octets.resize(octets.len().max(end), 0);
    (octets.len() == end).then_some(octets)
}

/// The size of `struct sockaddr_storage`.
const STORAGE: usize = 128;
/// How long a key may be (TCP_MD5SIG_MAXKEYLEN, TCP_AO_MAXKEYLEN).
const ROOM: usize = 80;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_size_that_the_kernel_reads_and_longer_ones_are_none() {
        for peer in ["10.0.0.1", "fd00::1"] {
            let peer = peer.parse().unwrap();
            assert_eq!(md5("secret", peer).unwrap().len(), 216);
            assert_eq!(ao("secret", peer).unwrap().len(), 288);
            assert!(md5(&"x".repeat(81), peer).is_none() && ao(&"x".repeat(300), peer).is_none());
        }
        let octets = md5("secret", "10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(
            (&octets[4..8], &octets[130..132], &octets[136..142]),
            (&[10, 0, 0, 1][..], &6u16.to_ne_bytes()[..], &b"secret"[..])
        );
    }
}
