//! The boot chain: what the firmware starts, and why nothing else starts.
//!
//! Firmware (Secure Boot, keys of ours alone) → systemd-boot (signed; counts attempts) → a Unified Kernel Image (signed:
//! the kernel and its command line, which has the root's hash) → the root, verified block by block.
//!
//! | module | idea |
//! |---|---|
//! | [`keys`] | the keys of a device's maker, and signing with them |
//! | [`pe`] | EFI programs: sections added, and the hash that a signature and the firmware's measurement are over |
//! | [`pcr`] | what a PCR will hold, and the signed policy over it |
//! | [`uki`] | the Unified Kernel Image |
//! | [`again`] | what the firmware starts when nothing else does: it resets the board |
//! | [`esp`], [`gpt`], [`disk`] | the system's disk |
//! | [`firmware`] | the board's firmware without what a person at its console could use |
//! | [`variables`] | the firmware's variable store: keys, boot order, no keyboard |
//! | [`reference`](mod@reference) | what a device that runs this release reports, for whoever checks its evidence |

pub mod again;
pub mod disk;
pub mod esp;
pub mod firmware;
pub mod gpt;
pub mod keys;
pub mod pcr;
pub mod pe;
pub mod reference;
pub mod uki;
pub mod variables;

/// SHA-256, the only hash of the chain.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = ring::digest::Context::new(&ring::digest::SHA256);
    for part in parts {
        context.update(part);
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}

/// Lower-case hex.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Little-endian fields of a fixed place, for the formats of the firmware.
pub(crate) mod field {
    /// Bytes from `at` on.
    pub(crate) fn bytes<const N: usize>(data: &[u8], at: usize) -> Option<[u8; N]> {
        data.get(at..at.checked_add(N)?)?.try_into().ok()
    }

    /// 16 bits.
    pub(crate) fn u16(data: &[u8], at: usize) -> Option<u16> {
        bytes(data, at).map(u16::from_le_bytes)
    }

    /// 32 bits.
    pub(crate) fn u32(data: &[u8], at: usize) -> Option<u32> {
        bytes(data, at).map(u32::from_le_bytes)
    }

    /// 64 bits.
    pub(crate) fn u64(data: &[u8], at: usize) -> Option<u64> {
        bytes(data, at).map(u64::from_le_bytes)
    }

    /// 24 bits, as firmware volumes count.
    pub(crate) fn u24(data: &[u8], at: usize) -> Option<u32> {
        bytes(data, at).map(|[a, b, c]: [u8; 3]| u32::from_le_bytes([a, b, c, 0]))
    }

    /// Writes `value` at `at`; nothing when it does not fit.
    pub(crate) fn put(data: &mut [u8], at: usize, value: &[u8]) -> Option<()> {
        data.get_mut(at..at.checked_add(value.len())?)?.copy_from_slice(value);
        Some(())
    }
}

/// A GUID as it is written, `xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx`, to the mixed-endian bytes of UEFI and GPT.
///
/// # Errors
/// It is not written so.
pub(crate) fn guid(text: &str) -> anyhow::Result<[u8; 16]> {
    let digits: Vec<u8> = text
        .split('-')
        .collect::<String>()
        .as_bytes()
        .chunks(2)
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap_or_default(), 16))
        .collect::<Result<_, _>>()
        .map_err(|error| anyhow::anyhow!("{text} is no GUID: {error}"))?;
    let mut guid: [u8; 16] = digits.try_into().map_err(|_| anyhow::anyhow!("{text} is no GUID"))?;
    guid[0..4].reverse();
    guid[4..6].reverse();
    guid[6..8].reverse();
    Ok(guid)
}

/// UTF-16 with its end, as the firmware writes names.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guid_is_mixed_endian() {
        let esp = guid("c12a7328-f81f-11d2-ba4b-00a0c93ec93b").unwrap();
        assert_eq!(hex(&esp), "28732ac11ff8d211ba4b00a0c93ec93b");
        assert!(guid("c12a7328").is_err());
    }
}
