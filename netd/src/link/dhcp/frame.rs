//! The frames that DHCP travels in while a link has no address: Ethernet, IPv4 and UDP, whole.
//!
//! Through a packet socket, so that a question has the source `0.0.0.0` and the link that it is meant for, and an answer is
//! heard before there is a route to hold its source against (`rp_filter`). Port 68 may be anybody's: it is not needed.
//!
//! Anybody on the link writes what is read here; what is inside is `wire`'s to check. UDP's checksum is not looked at: a
//! frame that never left this machine (a virtual link) does not have it filled in yet.

use std::net::Ipv4Addr;

use sys::bpf::packet::Instruction;

/// Ethernet's type of IPv4.
pub const ETHERTYPE: u16 = 0x0800;
/// Longest frame that is read: Ethernet's header and its largest packet.
pub const FRAME_MAX: usize = 14 + 1500;

const ETHERNET: usize = 14;
const IP: usize = 20;
const UDP: usize = 8;
const IPPROTO_UDP: u8 = 17;
/// UDP ports of the two sides.
pub const CLIENT: u16 = 68;
/// See [`CLIENT`].
pub const SERVER: u16 = 67;

/// A message as a frame to everybody, from `source`, which is `0.0.0.0` as long as there is no address.
pub fn broadcast(message: &[u8], mac: [u8; 6], source: Ipv4Addr) -> Vec<u8> {
    let udp_bytes = (UDP + message.len()) as u16;
    let target = Ipv4Addr::BROADCAST;
    let mut udp = Vec::with_capacity(usize::from(udp_bytes));
    for field in [CLIENT, SERVER, udp_bytes, 0] {
        udp.extend(field.to_be_bytes());
    }
    udp.extend(message);
    let mut summed = Vec::with_capacity(12 + udp.len());
    summed.extend(source.octets());
    summed.extend(target.octets());
    summed.extend([0, IPPROTO_UDP]);
    summed.extend(udp_bytes.to_be_bytes());
    summed.extend(&udp);
    // 0 says that there is none (RFC 768).
    let sum = Some(checksum(&summed)).filter(|sum| *sum != 0).unwrap_or(u16::MAX);
    put(&mut udp, 6, sum);
    let mut ip = vec![0x45, 0];
    ip.extend((IP as u16 + udp_bytes).to_be_bytes());
    // No identification, not to be fragmented, 64 hops.
    ip.extend([0, 0, 0x40, 0, 64, IPPROTO_UDP, 0, 0]);
    ip.extend(source.octets());
    ip.extend(target.octets());
    let sum = checksum(&ip);
    put(&mut ip, 10, sum);
    let mut frame = vec![0xff; 6];
    frame.extend(mac);
    frame.extend(ETHERTYPE.to_be_bytes());
    frame.extend(ip);
    frame.extend(udp);
    frame
}

/// The message in a frame to port 68; `None` for any other frame.
pub fn message(frame: &[u8]) -> Option<&[u8]> {
    let (ethernet, ip) = frame.split_at_checked(ETHERNET)?;
    let [version, _, total_high, total_low, _, _, fragment, offset, _, IPPROTO_UDP, ..] = ip else {
        return None;
    };
    let header = usize::from(version & 0xf) * 4;
    let total = usize::from(u16::from_be_bytes([*total_high, *total_low]));
    let whole = fragment & 0x3f == 0 && *offset == 0;
    if !ethernet.ends_with(&ETHERTYPE.to_be_bytes()) || version >> 4 != 4 || header < IP || !whole {
        return None;
    }
    // Ethernet pads short frames.
    let udp = ip.get(header..total)?;
    let [_, _, to_high, to_low, bytes_high, bytes_low, ..] = udp else { return None };
    let bytes = usize::from(u16::from_be_bytes([*bytes_high, *bytes_low]));
    if u16::from_be_bytes([*to_high, *to_low]) != CLIENT {
        return None;
    }
    udp.get(UDP..bytes)
}

/// Lets IPv4 through, UDP, not a later fragment, to port 68.
pub const FILTER: [Instruction; 11] = [
    (LOAD_HALF, 0, 0, 12),
    (EQUAL, 0, 8, ETHERTYPE as u32),
    (LOAD_BYTE, 0, 0, 23),
    (EQUAL, 0, 6, IPPROTO_UDP as u32),
    (LOAD_HALF, 0, 0, 20),
    (ANY_BIT, 4, 0, 0x1fff),
    (HEADER_LENGTH, 0, 0, ETHERNET as u32),
    (LOAD_HALF_BEYOND, 0, 0, ETHERNET as u32 + 2),
    (EQUAL, 0, 1, CLIENT as u32),
    (RETURN, 0, 0, u32::MAX),
    (RETURN, 0, 0, 0),
];

/// `BPF_LD` of a half word or a byte at a fixed place, and of a half word beyond the index register.
const LOAD_HALF: u16 = 0x28;
const LOAD_BYTE: u16 = 0x30;
const LOAD_HALF_BEYOND: u16 = 0x48;
/// `BPF_LDX | BPF_MSH`: four times the low half of a byte, into the index register.
const HEADER_LENGTH: u16 = 0xb1;
/// `BPF_JMP | BPF_JEQ`, `BPF_JMP | BPF_JSET`, `BPF_RET`.
const EQUAL: u16 = 0x15;
const ANY_BIT: u16 = 0x45;
const RETURN: u16 = 0x06;

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes.iter_mut().skip(at).zip(value.to_be_bytes()).for_each(|(to, byte)| *to = byte);
}

/// The internet checksum (RFC 1071).
fn checksum(bytes: &[u8]) -> u16 {
    let (pairs, rest) = bytes.as_chunks::<2>();
    let mut sum: u64 = pairs.iter().map(|pair| u64::from(u16::from_be_bytes(*pair))).sum();
    sum += rest.first().map_or(0, |last| u64::from(*last) << 8);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];

    /// The other side's answer: the same with the ports turned round.
    fn answer(message: &[u8]) -> Vec<u8> {
        let mut frame = broadcast(message, MAC, Ipv4Addr::new(192, 0, 2, 1));
        frame.swap(35, 37);
        frame
    }

    #[test]
    fn question_is_from_nobody_to_everybody_with_right_sums() {
        let frame = broadcast(b"abc", MAC, Ipv4Addr::UNSPECIFIED);
        assert_eq!(frame[..14], [255, 255, 255, 255, 255, 255, 2, 0, 0, 0, 0, 1, 8, 0]);
        assert_eq!((&frame[26..30], &frame[30..34]), (&[0; 4][..], &[255; 4][..]));
        assert_eq!(checksum(&frame[14..34]), 0);
        let pseudo = [&frame[26..34], &[0, 17, 0, 11], &frame[34..]].concat();
        assert_eq!(checksum(&pseudo), 0);
        assert_eq!(message(&frame), None, "to port 67");
    }

    #[test]
    fn answer_is_read_with_padding_and_options_and_not_as_a_fragment() {
        let mut padded = answer(b"abc");
        padded.resize(60, 0);
        assert_eq!(message(&padded), Some(&b"abc"[..]));
        let mut options = answer(b"abc");
        options[14] = 0x46;
        options[17] += 4;
        options.splice(34..34, [1; 4]);
        assert_eq!(message(&options), Some(&b"abc"[..]));
        for (at, value) in [(20, 0x20), (21, 1), (23, 6), (12, 0x86), (14, 0x44), (37, 69)] {
            let mut other = answer(b"abc");
            other[at] = value;
            assert_eq!(message(&other), None, "{at}");
        }
    }

    proptest! {
        #[test]
        fn frame_of_any_bytes_ends(
            head in proptest::collection::vec(any::<u8>(), 0..60),
            at in 0_usize..45,
            value: u8,
        ) {
            let _ = message(&head);
            let mut frame = answer(b"abc");
            if let Some(byte) = frame.get_mut(at) {
                *byte = value;
            }
            prop_assert!(message(&frame).is_none_or(|message| message.len() <= frame.len()));
        }
    }
}
