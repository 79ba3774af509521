//! What a PCR will hold, and the signed policy over it by which the data is opened.
//!
//! systemd-stub extends PCR 11 for each section of the kernel image that is there, in a fixed order: with the hash of its
//! name, then with the hash of its content. What follows on the device (nothing, with us) would be extended after that.

use super::keys::Keys;
use super::{hex, sha256, utf16};
use anyhow::Result;

/// The sections that the stub of systemd 252 measures, in its order (`src/fundamental/tpm-pcr.c`). Later ones measure
/// `.uname` and `.sbat` besides: a prediction that is not for the stub in use opens no data, and the tests notice.
pub const MEASURED: [&str; 7] = [".linux", ".osrel", ".cmdline", ".initrd", ".splash", ".dtb", ".pcrpkey"];
/// The PCR of the Secure Boot policy: keys, and which of them let the boot loader in (UAPI Group, Linux TPM PCR registry).
pub const SECURE_BOOT: u8 = 7;
/// The PCR of the kernel image.
pub const KERNEL_IMAGE: u8 = 11;

/// A PCR of the SHA-256 bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pcr(pub [u8; 32]);

impl Pcr {
    /// As it is at power-on (PCRs 0 to 15).
    pub const ZERO: Self = Self([0; 32]);

    /// After one more measurement.
    #[must_use]
    pub fn extended(self, digest: &[u8; 32]) -> Self {
        Self(sha256(&[&self.0, digest]))
    }

    /// PCR 11 once the kernel runs: each section with its content.
    pub fn of_kernel_image(sections: &[(&str, &[u8])]) -> Self {
        let find = |name: &&str| sections.iter().find(|(called, _)| called == name);
        MEASURED.iter().filter_map(find).fold(Self::ZERO, |pcr, (name, content)| {
            pcr.extended(&sha256(&[name.as_bytes(), &[0]])).extended(&sha256(&[content]))
        })
    }
    /// PCR 12 once the kernel runs: the stub measures the command line it hands over, in UTF-16 with its end, and would
    /// measure what it took besides the image (credentials, extensions).
    pub fn of_command_line(command_line: &str) -> Self {
        Self::ZERO.extended(&sha256(&[&utf16(command_line)]))
    }
}

/// The digest of a session's policy after `TPM2_PolicyPCR` with these PCRs, in the order of their numbers (TPM 2.0 part 3,
/// 23.7).
pub fn policy(state: &[(u8, Pcr)]) -> [u8; 32] {
    const POLICY_PCR: u32 = 0x017f;
    const SHA256: u16 = 0x000b;
    let mut selected = [0; 3];
    for (number, _) in state {
        if let Some(byte) = selected.get_mut(usize::from(number / 8)) {
            *byte |= 1 << (number % 8);
        }
    }
    let values: Vec<&[u8]> = state.iter().map(|(_, pcr)| &pcr.0[..]).collect();
    sha256(&[
        &[0; 32],
        &POLICY_PCR.to_be_bytes(),
        // One selection: the bank, three bytes of bits.
        &1_u32.to_be_bytes(),
        &SHA256.to_be_bytes(),
        &[3],
        &selected,
        &sha256(&values),
    ])
}

/// The content of `.pcrsig`, in systemd's format (`systemd-measure sign`): who trusts the key opens the data when the PCRs
/// have these values, and in no other state.
///
/// PCR 11 alone would not do: whoever gets a board to start a program of theirs, Secure Boot off, extends what the signed
/// image would have been. PCR 7 says who was in charge before.
///
/// # Errors
/// The keys do not sign.
pub fn signed_policy(keys: &Keys, state: &[(u8, Pcr)]) -> Result<String> {
    let policy = policy(state);
    let numbers: Vec<u8> = state.iter().map(|(number, _)| *number).collect();
    let signature = base64(&keys.sign_policy(&policy)?);
    let (key, policy) = (keys.policy_fingerprint()?, hex(&policy));
    let entry = serde_json::json!({ "pcrs": numbers, "pkfp": key, "pol": policy, "sig": signature });
    Ok(serde_json::json!({ "sha256": [entry] }).to_string())
}

/// The usual alphabet, filled up with `=`.
fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let value = bits >> (18 - 6 * digit) & 63;
            let letter = ALPHABET.get(value as usize).copied().map_or('=', char::from);
            text.push(if digit > chunk.len() { '=' } else { letter });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// By `systemd-measure calculate --bank=sha256 --linux=l --osrel=o --cmdline=c --pcrpkey=p`, the files holding "kernel",
    /// "ID=gabion\n", "quiet" and "key\n", without a phase.
    #[test]
    fn prediction_is_what_systemd_measure_says() {
        let sections: [(&str, &[u8]); 5] = [
            (".osrel", b"ID=gabion\n"),
            (".cmdline", b"quiet"),
            (".uname", b"6.12"),
            (".pcrpkey", b"key\n"),
            (".linux", b"kernel"),
        ];
        assert_eq!(
            hex(&Pcr::of_kernel_image(&sections).0),
            "fddef92a2a64f4ee7279730c7e96ef5e5347fc4b6ec4f028fbf9ae1dada61661"
        );
    }

    /// By `tpm2_createpolicy --policy-pcr -l sha256:11` with a file of 32 zero bytes.
    #[test]
    fn policy_is_what_tpm2_tools_say() {
        assert_eq!(
            hex(&policy(&[(11, Pcr::ZERO)])),
            "fd32fa22c52cfc8e1a0c29eb38519f87084cab0b04b0d8f020a4d38b2f4e223e"
        );
    }

    #[test]
    fn base64_gives_the_published_values() {
        let values = [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foob", "Zm9vYg==")];
        for (plain, coded) in values {
            assert_eq!(base64(plain.as_bytes()), coded);
        }
    }
}
