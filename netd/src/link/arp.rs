//! ARP (RFC 826) as far as an address of our own needs it: asking whether somebody has it, saying that we do, and hearing
//! that somebody else does (RFC 5227).
//!
//! Anybody on the link may say that an address is theirs: with that they can keep us from having one, and nothing more.
//! Nothing here is ever taken as a neighbour's address; that is the kernel's own business.

use std::net::Ipv4Addr;

use sys::bpf::packet::Instruction;

/// Ethernet's type of ARP.
pub const ETHERTYPE: u16 = 0x0806;
/// A frame: Ethernet's header and ARP for IPv4 over Ethernet.
pub const FRAME: usize = 42;

const BROADCAST: [u8; 6] = [0xff; 6];
/// Kind of hardware (Ethernet), of protocol (IPv4), and the lengths of their addresses.
const KIND: [u8; 6] = [0, 1, 8, 0, 6, 4];

/// Does anybody have this address? (RFC 5227, 2.1.1.)
pub fn probe(mac: [u8; 6], address: Ipv4Addr) -> [u8; FRAME] {
    frame(mac, Ipv4Addr::UNSPECIFIED, address)
}

/// We have this address (RFC 5227, 2.3).
pub fn announcement(mac: [u8; 6], address: Ipv4Addr) -> [u8; FRAME] {
    frame(mac, address, address)
}

/// Whether the frame says that somebody else has `address` (RFC 5227, 2.4), or wants it, which counts as long as it is not
/// ours yet (2.1.1): afterwards the kernel answers whoever probes for it.
pub fn disputes(frame: &[u8], mac: [u8; 6], address: Ipv4Addr, ours: bool) -> bool {
    let is = |from: usize, bytes: &[u8]| frame.get(from..from + bytes.len()) == Some(bytes);
    let arp = is(12, &ETHERTYPE.to_be_bytes()) && is(14, &KIND) && (is(20, &[0, 1]) || is(20, &[0, 2]));
    let has = is(28, &address.octets());
    let wants = is(28, &[0; 4]) && is(38, &address.octets());
    frame.len() >= FRAME && arp && !is(22, &mac) && (has || wants && !ours)
}

/// What of a link's ARP wakes us: frames whose sender has `address` or probes for it. What hosts ask each other does not.
pub fn filter(address: Ipv4Addr) -> [Instruction; 7] {
    let address = u32::from(address);
    [
        // The sender's address: ours, or none.
        (LOAD_WORD, 0, 0, 28),
        (EQUAL, 3, 0, address),
        (EQUAL, 0, 3, 0),
        // The address that is asked for.
        (LOAD_WORD, 0, 0, 38),
        (EQUAL, 0, 1, address),
        (RETURN, 0, 0, u32::MAX),
        (RETURN, 0, 0, 0),
    ]
}

/// `BPF_LD | BPF_W | BPF_ABS`, `BPF_JMP | BPF_JEQ | BPF_K`, `BPF_RET | BPF_K`.
const LOAD_WORD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const RETURN: u16 = 0x06;

fn frame(mac: [u8; 6], sender: Ipv4Addr, target: Ipv4Addr) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    let mut put = |from: usize, bytes: &[u8]| {
        frame.iter_mut().skip(from).zip(bytes).for_each(|(to, byte)| *to = *byte);
    };
    put(0, &BROADCAST);
    put(6, &mac);
    put(12, &ETHERTYPE.to_be_bytes());
    put(14, &KIND);
    put(20, &[0, 1]);
    put(22, &mac);
    put(28, &sender.octets());
    put(38, &target.octets());
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
    const OTHER: [u8; 6] = [2, 0, 0, 0, 0, 2];
    const ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 7);

    #[test]
    fn probe_is_as_the_standard_has_it() {
        let frame = probe(MAC, ADDRESS);
        assert_eq!(frame[..6], [0xff; 6]);
        assert_eq!(frame[12..22], [8, 6, 0, 1, 8, 0, 6, 4, 0, 1]);
        assert_eq!(
            (&frame[22..28], &frame[28..32], &frame[38..]),
            (&MAC[..], &[0; 4][..], &[192, 0, 2, 7][..])
        );
    }

    #[test]
    fn frame_of_another_host_with_the_address_disputes_it() {
        let mut reply = announcement(OTHER, ADDRESS);
        assert!(disputes(&reply, MAC, ADDRESS, false), "announced");
        reply[21] = 2;
        assert!(disputes(&reply, MAC, ADDRESS, false), "answered");
        assert!(disputes(&reply, MAC, ADDRESS, true), "of an address in use");
        assert!(disputes(&probe(OTHER, ADDRESS), MAC, ADDRESS, false), "probed");
        assert!(!disputes(&probe(OTHER, ADDRESS), MAC, ADDRESS, true), "the kernel answers");
    }

    #[test]
    fn frame_of_anything_else_disputes_nothing() {
        let other = Ipv4Addr::new(192, 0, 2, 8);
        assert!(!disputes(&announcement(MAC, ADDRESS), MAC, ADDRESS, false), "ourselves");
        assert!(!disputes(&probe(MAC, ADDRESS), MAC, ADDRESS, false), "ourselves");
        assert!(!disputes(&announcement(OTHER, other), MAC, ADDRESS, false), "another address");
        assert!(!disputes(&probe(OTHER, other), MAC, ADDRESS, false), "another address");
        assert!(!disputes(&frame(OTHER, other, ADDRESS), MAC, ADDRESS, false), "asked by a neighbour");
        assert!(!disputes(&announcement(OTHER, ADDRESS)[..31], MAC, ADDRESS, false), "cut off");
        let mut odd = announcement(OTHER, ADDRESS);
        odd[19] = 16;
        assert!(!disputes(&odd, MAC, ADDRESS, false), "not of IPv4");
    }

    /// What the kernel would do with the program.
    fn passes(filter: &[Instruction], frame: &[u8]) -> bool {
        let (mut at, mut word) = (0, 0);
        loop {
            let (code, jt, jf, k) = filter[at];
            at += 1;
            match code {
                LOAD_WORD => {
                    let from = k as usize;
                    let Some(bytes) = frame.get(from..from + 4) else { return false };
                    word = u32::from_be_bytes(bytes.try_into().unwrap());
                }
                EQUAL => at += usize::from(if word == k { jt } else { jf }),
                _ => return k != 0,
            }
        }
    }

    proptest! {
        #[test]
        fn filter_lets_through_what_disputes(at in 12_usize..FRAME, value: u8, probed: bool) {
            let mut frame = if probed { probe(OTHER, ADDRESS) } else { announcement(OTHER, ADDRESS) };
            frame[at] = value;
            prop_assert!(passes(&filter(ADDRESS), &frame) || !disputes(&frame, MAC, ADDRESS, false));
        }

        #[test]
        fn frame_of_any_bytes_ends(frame in proptest::collection::vec(any::<u8>(), 0..64)) {
            disputes(&frame, MAC, ADDRESS, false);
        }
    }

    #[test]
    fn filter_keeps_what_neighbours_ask_each_other() {
        let other = Ipv4Addr::new(192, 0, 2, 8);
        assert!(!passes(&filter(ADDRESS), &frame(OTHER, other, ADDRESS)));
        assert!(!passes(&filter(ADDRESS), &probe(OTHER, other)));
        assert!(passes(&filter(ADDRESS), &probe(OTHER, ADDRESS)));
    }
}
