//! What a device downloads to renew itself.

use delta::{Apply, Found, Index, Step};

/// An index: what is read encodes to itself, and asks for nothing but what its body has, in order.
pub fn index(bytes: &[u8]) {
    let Ok(index) = Index::read(bytes) else { return };
    assert_eq!(index.write(), bytes);
    let length: u64 = index.segments().iter().map(|segment| u64::from(segment.length)).sum();
    assert_eq!(length, index.new_image().length);
    let body = index.body_length();
    let nothing: &[u8] = &[];
    if let Ok(mut apply) = Apply::new(index, Found::default(), 0) {
        if let Ok(Step::Fetch(range)) = apply.step(nothing, nothing) {
            assert!(range.start == 0 && !range.is_empty() && range.end <= body);
        }
        assert!(apply.give(&[0; 4096]) <= 4096);
    }
}

/// A segment of a patch, for an old image of one cluster and some bytes: what comes out has the length that was asked for.
pub fn segment(bytes: &[u8]) {
    const LENGTH: u32 = 40_960;
    let mut old: Vec<u8> = (0..4096_u16).map(|at| (at / 7) as u8).collect();
    // "abcd", four back for 30, "xy", at the end of its cluster.
    old.extend_from_slice(&[0; 4096 - 11]);
    old.extend_from_slice(&[0x4f, b'a', b'b', b'c', b'd', 4, 0, 11, 0x20, b'x', b'y']);
    let mut index = b"gabdelta\x01".to_vec();
    index.extend_from_slice(&[0x80, 0xc0, 2]);
    index.extend_from_slice(&[0; 32]);
    // 8192 bytes, one cluster: behind one block, of one block, of 36 bytes.
    index.extend_from_slice(&[1, 0x80, 0x40]);
    index.extend_from_slice(&[0; 32]);
    index.extend_from_slice(&[1, 1, 1, 36, 0, 1, 2, 0x80, 0xc0, 2, 1]);
    index.extend_from_slice(&[0; 32]);
    index.push(0);
    let Ok(index) = Index::read(&index) else { unreachable!("an index that is written above") };
    if let Some(made) = delta::segment(&index, bytes, LENGTH, old.as_slice()) {
        assert_eq!(made.len(), LENGTH as usize);
    }
}
