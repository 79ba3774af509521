//! Whether a package was signed by one key: the partition for the signature of the Discoverable Partitions Specification.
//!
//! ```text
//! { "rootHash": HEX, "certificateFingerprint": HEX, "signature": BASE64 }      filled up with zeros
//! signature = PKCS#7 SignedData (RFC 5652, section 5.1) without certificates, content or signed attributes:
//!             ECDSA on P-256 with SHA-256 over the root hash as text
//! ```
//!
//! Read in the worker's box. Nothing in here is looked up by what it says of itself: the key is the one that is asked about, and the
//! root hash the one that the image is held to. Every byte is the package's author's.

use ring::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use serde::Deserialize;

/// A point of P-256: its two halves, one behind the other.
pub type Key = [u8; 64];
/// `id-signedData`, 1.2.840.113549.1.7.2.
const SIGNED_DATA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x07, 0x02];

const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const INTEGER: u8 = 0x02;
const OCTETS: u8 = 0x04;
const OID: u8 = 0x06;
const TAGGED: u8 = 0xa0;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Text<'a> {
    root_hash: &'a str,
    signature: &'a str,
}

/// Checks that the partition's `content` is a signature by `key` over `root_hash`.
///
/// # Errors
/// It is not, and why, for people.
pub fn check(content: &[u8], root_hash: &str, key: &Key) -> Result<(), String> {
    let text = content.split(|byte| *byte == 0).next().unwrap_or_default();
    let text: Text<'_> =
        serde_json::from_slice(text).map_err(|e| format!("its signature can not be read: {e}"))?;
    let message = base64(text.signature).ok_or("its signature is no base64")?;
    let signature =
        signature(&message).ok_or("its signature is no PKCS#7 as `gabion build --key` makes it")?;
    let point: Vec<u8> = [4].iter().chain(key).copied().collect();
    let verified =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, point).verify(root_hash.as_bytes(), signature);
    if text.root_hash != root_hash || verified.is_err() {
        return Err(
            "it is signed by another key than the one that this device's permit names, or for another image"
                .to_owned(),
        );
    }
    Ok(())
}

/// The one signature in a message.
fn signature(message: &[u8]) -> Option<&[u8]> {
    let (content, []) = take(SEQUENCE, message)? else { return None };
    let (kind, content) = take(OID, content)?;
    let (content, []) = take(TAGGED, content)? else { return None };
    let (data, []) = take(SEQUENCE, content)? else { return None };
    let (_version, data) = take(INTEGER, data)?;
    let (_digests, data) = take(SET, data)?;
    let (_content, data) = take(SEQUENCE, data)?;
    let (signers, []) = take(SET, data)? else { return None };
    let (signer, []) = take(SEQUENCE, signers)? else { return None };
    let (_version, signer) = take(INTEGER, signer)?;
    let (_issuer, signer) = take(SEQUENCE, signer)?;
    let (_digest, signer) = take(SEQUENCE, signer)?;
    // Signed attributes would come here: what is signed would be them.
    let (_algorithm, signer) = take(SEQUENCE, signer)?;
    let (signature, []) = take(OCTETS, signer)? else { return None };
    (kind == SIGNED_DATA).then_some(signature)
}

/// The content of the DER value with this tag that `bytes` begin with, and what follows it.
fn take(tag: u8, bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (found, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(*first), rest),
        0x81 => rest.split_first().map(|(length, rest)| (usize::from(*length), rest))?,
        0x82 => {
            rest.split_first_chunk().map(|(length, rest)| (usize::from(u16::from_be_bytes(*length)), rest))?
        }
        _ => return None,
    };
    (*found == tag).then(|| rest.split_at_checked(length)).flatten()
}

/// RFC 4648, section 4, with its padding.
fn base64(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let mut out = Vec::new();
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let mut bits = 0_u32;
        for byte in four {
            bits = bits << 6 | u32::from(digit(*byte)?);
        }
        let left = 4 - four.len();
        let bytes = (bits << (6 * left)).to_be_bytes();
        out.extend(bytes.get(1..4 - left)?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn base64_is_read_as_the_standard_has_it() {
        for (text, bytes) in [("", ""), ("Zg==", "f"), ("Zm8=", "fo"), ("Zm9v", "foo"), ("Zm9vYg==", "foob")]
        {
            assert_eq!(base64(text).unwrap(), bytes.as_bytes());
        }
        assert_eq!(base64("Zm9v\n"), None);
    }

    #[test]
    fn content_that_is_no_signature_is_refused_in_words() {
        let why = |text: &[u8]| check(text, &"ab".repeat(32), &[1; 64]).unwrap_err();
        assert!(why(b"").contains("can not be read"));
        assert!(why(b"{\"rootHash\":\"ab\",\"signature\":\"?\"}\0\0").contains("base64"));
        assert!(why(b"{\"rootHash\":\"ab\",\"signature\":\"MAA=\"}").contains("PKCS#7"));
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_apart_within_them(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = signature(&bytes);
            prop_assert!(check(&bytes, "ab", &[1; 64]).is_err());
        }
    }
}
