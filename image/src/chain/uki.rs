//! The Unified Kernel Image: Debian's systemd-stub with the kernel, its command line and what they are, signed as one.
//!
//! Who boots it boots this kernel with this command line: under Secure Boot the stub takes no other one. There is no
//! initrd: the root is found and verified by the words of the command line alone.

use super::keys::Keys;
use super::pcr::{self, KERNEL_IMAGE, Pcr, SECURE_BOOT};
use super::{pe, variables};
use anyhow::{Context, Result};
use std::path::Path;

/// Debian's stub, of the package `systemd-boot-efi`.
pub const STUB: &str = "/usr/lib/systemd/boot/efi/linuxx64.efi.stub";

/// What goes into one.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// `os-release` of the release.
    pub os_release: &'a str,
    /// The kernel's command line.
    pub command_line: &'a str,
    /// The kernel's version, for whoever lists the image; this stub does not measure it.
    pub kernel_version: &'a str,
    /// A bzImage with an EFI stub.
    pub kernel: &'a [u8],
}

/// A signed kernel image, and what is known of it before it runs.
#[derive(Clone, Debug)]
pub struct Uki {
    /// The file.
    pub file: Vec<u8>,
    /// What PCR 7 will be, on a board with these keys.
    pub pcr7: Pcr,
    /// What PCR 11 will be.
    pub pcr11: Pcr,
    /// What the firmware measures of it into PCR 4.
    pub authenticode: [u8; 32],
}

/// Puts one together and signs it.
///
/// # Errors
/// The stub is of another format; the keys do not sign.
pub fn build(stub: &[u8], parts: &Parts<'_>, keys: &Keys) -> Result<Uki> {
    let key = keys.policy_key()?;
    let sections: [(&str, &[u8]); 5] = [
        (".osrel", parts.os_release.as_bytes()),
        (".cmdline", parts.command_line.as_bytes()),
        (".uname", parts.kernel_version.as_bytes()),
        (".pcrpkey", &key),
        (".linux", parts.kernel),
    ];
    let pcr11 = Pcr::of_kernel_image(&sections);
    let pcr7 = variables::secure_boot_pcr(keys)?;
    let policy = pcr::signed_policy(keys, &[(SECURE_BOOT, pcr7), (KERNEL_IMAGE, pcr11)])?;
    // Not measured: it could not contain its own hash.
    let [osrel, cmdline, uname, key, linux] = sections;
    let all = [osrel, cmdline, uname, key, (".pcrsig", policy.as_bytes()), linux];
    let file = keys.sign(&pe::with_sections(stub, &all)?)?;
    Ok(Uki { pcr7, pcr11, authenticode: pe::authenticode(&file)?, file })
}

/// `os-release` of a release, as the Boot Loader Specification and systemd's updater sort by it.
pub fn os_release(release: &str) -> String {
    format!(
        "ID=gabion\nNAME=Gabion\nPRETTY_NAME=\"Gabion {release}\"\nVERSION_ID={release}\nIMAGE_ID=gabion\nIMAGE_VERSION={release}\n"
    )
}

/// The stub of this machine.
///
/// # Errors
/// It is not installed.
pub fn stub() -> Result<Vec<u8>> {
    let path = Path::new(STUB);
    std::fs::read(path).with_context(|| format!("{STUB} is missing; `make packages` installs it"))
}

/// What a kernel calls itself (`uname -r`), by its header (Documentation/arch/x86/boot.rst).
///
/// # Errors
/// It is no bzImage.
pub fn kernel_version(kernel: &[u8]) -> Result<String> {
    const POINTER: usize = 0x20e;
    let text = super::field::u16(kernel, POINTER)
        .and_then(|at| kernel.get(usize::from(at) + 0x200..))
        .and_then(|rest| rest.split(|byte| *byte == 0 || *byte == b' ').next())
        .context("no bzImage")?;
    Ok(std::str::from_utf8(text)?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::hex;

    #[test]
    fn image_has_its_parts_and_a_policy_for_what_it_measures() {
        let place = tempfile::tempdir().unwrap();
        let keys = Keys::development(&place.path().join("keys")).unwrap();
        let parts = Parts {
            os_release: &os_release("0.1.0"),
            command_line: "root=/dev/dm-0",
            kernel_version: "6.12",
            kernel: b"kernel",
        };
        let uki = build(&stub().unwrap(), &parts, &keys).unwrap();
        let part = |name: &str| pe::section(&uki.file, name).unwrap().unwrap();
        assert_eq!(part(".cmdline"), b"root=/dev/dm-0");
        assert_eq!(part(".linux"), b"kernel");
        let policy: serde_json::Value = serde_json::from_slice(part(".pcrsig")).unwrap();
        let entry = &policy["sha256"][0];
        assert_eq!(entry["pcrs"], serde_json::json!([7, 11]));
        assert_eq!(entry["pol"], hex(&pcr::policy(&[(7, uki.pcr7), (11, uki.pcr11)])));
        assert_eq!(entry["pkfp"], keys.policy_fingerprint().unwrap());
    }
}
