//! What anybody on the link says to the part that announces the device.

use netd::mdns::responder::MOST_BYTES;
use netd::mdns::{Identity, PORT, Responder, To};

/// Messages over time: for each a byte of time (5 ms) whose lowest bit says whether the sender knows multicast DNS, and two of
/// length. What it makes the device send is bounded in size and number, and is what others can read.
pub fn mdns(bytes: &[u8]) {
    let identity = Identity { id: "0011aabbccdd".into(), port: 7000 };
    let addresses = [[192, 0, 2, 1].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 1].into()];
    // So late that the random delay is over at once.
    let mut now_ms = 1000;
    let mut one = Responder::new(&identity, addresses, 0, 0);
    let (mut group, mut askers) = (0_u64, 0_u64);
    let mut rest = bytes;
    while let Some((header, after)) = rest.split_first_chunk::<3>() {
        let length = usize::from(u16::from_be_bytes([header[1], header[2]])).min(after.len());
        let (message, after) = after.split_at(length);
        rest = after;
        now_ms += u64::from(header[0]) * 5;
        let port = if header[0] % 2 == 0 { PORT } else { 40_000 };
        let from = ([192, 0, 2, 9], port).into();
        let mut sent = Vec::from_iter(one.handle(message, from, now_ms));
        while let Some(more) = one.poll(now_ms) {
            sent.push(more);
        }
        for sent in &sent {
            assert!(sent.bytes.len() <= MOST_BYTES && sent.bytes.len() < 2 * message.len() + 1500);
            assert!(simple_dns::Packet::parse(&sent.bytes).is_ok());
            match sent.to {
                To::Group => group += 1,
                To::One(to) => {
                    assert_eq!(to, from);
                    askers += 1;
                }
            }
        }
        assert!(one.label().len() < 40);
    }
    let seconds = now_ms / 1000 + 1;
    // Each of seven records once, four probes, an announcement that repeats none of them.
    assert!(group <= 12 * seconds, "{group} messages in {seconds} s");
    assert!(askers <= 10 * seconds, "{askers} messages in {seconds} s");
}
