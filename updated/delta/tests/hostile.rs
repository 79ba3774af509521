//! What somebody hostile may send as an index or a segment costs bounded memory and time, and makes nothing.

use delta::Index;

fn index(parts: &[&[u8]]) -> Vec<u8> {
    [&b"gabdelta\x01"[..]].iter().chain(parts).flat_map(|part| part.iter().copied()).collect()
}

const DIGEST: &[u8] = &[0; 32];

#[test]
fn image_of_one_plain_segment_is_read_and_every_contradiction_is_refused() {
    // 100 bytes; no old image, no tree; one segment, plain, 100 bytes of 100; no blocks.
    let good = |length: u8, kind: u8, stored: u8| {
        index(&[&[100], DIGEST, &[0, 0, 1, kind, length, stored], DIGEST, &[0]])
    };
    assert!(Index::read(&good(100, 0, 100)).is_ok());
    for (length, kind, stored) in
        [(99, 0, 99), (101, 0, 101), (100, 0, 99), (100, 1, 0), (100, 2, 50), (100, 3, 0)]
    {
        assert!(Index::read(&good(length, kind, stored)).is_err(), "{length} {kind} {stored}");
    }
}

#[test]
fn great_numbers_are_refused_before_anything_is_kept_for_them() {
    let huge: &[u8] = &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    let many: &[u8] = &[0xff, 0xff, 0x03];
    for bytes in [
        // A length, a count of segments, of clusters, and a cluster far behind the old image.
        index(&[huge, DIGEST, &[0, 0, 1, 0]]),
        index(&[&[100], DIGEST, &[0, 0], huge]),
        index(&[&[100], DIGEST, &[0, 0], many]),
        index(&[&[100], DIGEST, &[1, 100], DIGEST, many]),
        index(&[&[100], DIGEST, &[1, 100], DIGEST, &[1], many, &[1, 1, 0]]),
    ] {
        assert!(Index::read(&bytes).is_err());
    }
}

#[test]
fn segment_of_any_bytes_ends_with_what_was_asked_for_or_nothing() {
    // A patch of 1 MiB from an old image of 8192 zeros, in which no cluster is one.
    let length: &[u8] = &[0x80, 0x80, 0x40];
    let bytes = index(&[
        length,
        DIGEST,
        &[1, 0x80, 0x40],
        DIGEST,
        &[1, 1, 1, 36, 0, 1, 2],
        length,
        &[1],
        DIGEST,
        &[0],
    ]);
    let index = Index::read(&bytes).expect("an index that is written here");
    let old = vec![0; 8192];
    for byte in 0..=u8::MAX {
        for count in [0, 1, 7, 5000] {
            if let Some(made) = delta::segment(&index, &vec![byte; count], 1 << 20, &old) {
                assert_eq!(made.len(), 1 << 20);
            }
        }
    }
}
