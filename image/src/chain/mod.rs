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
//! | [`esp`], [`disk`] | the system's disk; its partition table is `packing`'s |
//! | [`firmware`] | the board's firmware without what a person at its console could use |
//! | [`variables`] | the firmware's variable store: keys, boot order, no keyboard |
//! | [`reference`](mod@reference) | what a device that runs this release reports, for whoever checks its evidence |

pub mod again;
pub mod disk;
pub mod esp;
pub mod firmware;
pub mod keys;
pub mod pcr;
pub mod pe;
pub mod reference;
pub mod uki;
pub mod variables;

pub(crate) use packing::gpt::{self, guid};
pub(crate) use packing::sha256;

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

/// UTF-16 with its end, as the firmware writes names.
pub(crate) fn utf16(text: &str) -> Vec<u8> {
    text.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect()
}
