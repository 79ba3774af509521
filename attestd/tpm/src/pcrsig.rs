//! Signed boot states as `systemd-measure sign` writes them and as they are in a kernel image's section `.pcrsig`: JSON with
//! a list for each PCR bank.
//!
//! Each entry is authenticated by its own signature, which the TPM checks, so whoever wrote the file can leave states out
//! and no more. It is bounded. Entries of other keys and banks are passed over, and fields that are not known.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::policy_key::PolicyKey;
use crate::seal::SignedPolicy;

/// The most states that one file has.
const MOST_STATES: usize = 64;

/// The longest file.
const MOST_BYTES: usize = 64 * 1024;

#[derive(Deserialize)]
struct File {
    sha256: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    pcrs: Vec<u8>,
    /// Of the key.
    #[serde(rename = "pkfp")]
    fingerprint: String,
    #[serde(rename = "pol")]
    policy: String,
    #[serde(rename = "sig")]
    signature: String,
}

/// The states that `key` has signed; what is behind the text are the zeros of a section.
#[must_use]
pub fn read(text: &[u8], key: &PolicyKey) -> Option<Vec<SignedPolicy>> {
    let end = text.iter().rposition(|byte| *byte != 0)? + 1;
    let text = text.get(..end).filter(|text| text.len() <= MOST_BYTES)?;
    let file: File = serde_json::from_slice(text).ok()?;
    if file.sha256.len() > MOST_STATES {
        return None;
    }
    let key = key.fingerprint();
    let ours = file.sha256.iter().filter(|entry| hex(&entry.fingerprint) == Some(key));
    ours.map(checked).collect()
}

fn checked(entry: &Entry) -> Option<SignedPolicy> {
    let is_known = (1..=24).contains(&entry.pcrs.len()) && entry.pcrs.iter().all(|pcr| *pcr < 24);
    let signature = STANDARD.decode(&entry.signature).ok().filter(|bytes| bytes.len() <= 512)?;
    is_known.then_some(SignedPolicy { pcrs: entry.pcrs.clone(), policy: hex(&entry.policy)?, signature })
}

/// 64 digits.
fn hex(text: &str) -> Option<[u8; 32]> {
    let mut bytes = [0; 32];
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> PolicyKey {
        let head = [0, 0x23, 0, 0x0b, 0, 6, 0, 0x40, 0, 0, 0, 0x10, 0, 0x10, 0, 3, 0, 0x10];
        let public = [&head[..], &[0, 32], &[7; 32], &[0, 32], &[8; 32]].concat();
        PolicyKey::from_public(&public).expect("a key")
    }

    fn entry(pcrs: &str, fingerprint: &str, policy: &str) -> String {
        format!(r#"{{"pcrs":[{pcrs}],"pkfp":"{fingerprint}","pol":"{policy}","sig":"AAAA"}}"#)
    }

    #[test]
    fn states_of_the_key_are_read_and_of_others_not() {
        let ours: String = key().fingerprint().iter().map(|byte| format!("{byte:02x}")).collect();
        let (other, policy) = ("00".repeat(32), "0A".repeat(32));
        let all = [entry("11", &other, &policy), entry("11,12", &ours, &policy)].join(",");
        let text = format!(r#"{{"sha1":[],"sha256":[{all}]}}"#);
        let state = SignedPolicy { pcrs: vec![11, 12], policy: [0x0a; 32], signature: vec![0; 3] };
        assert_eq!(read(text.as_bytes(), &key()), Some(vec![state.clone()]));
        assert_eq!(read(&[text.as_bytes(), &[0; 9]].concat(), &key()), Some(vec![state]));
        for bad in [entry("24", &ours, &policy), entry("", &ours, &policy), entry("11", &ours, "0a")] {
            assert_eq!(read(format!(r#"{{"sha256":[{bad}]}}"#).as_bytes(), &key()), None, "{bad}");
        }
        let many = vec![entry("11", &ours, &policy); MOST_STATES + 1].join(",");
        assert_eq!(read(format!(r#"{{"sha256":[{many}]}}"#).as_bytes(), &key()), None);
    }
}
