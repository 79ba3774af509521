//! The board's firmware: Debian's OVMF without what a person at its console, its ports or its network could use.
//!
//! OVMF is built for machines of every kind: it has a shell, a set-up menu, keyboards, a network to start from. A device
//! has no use for them, and each is a way around the device's own chain or into the firmware. Debian does not build one
//! without; so the files of those parts are turned into padding in the firmware's volume of drivers, whose compressed form
//! is put back in its place; and one name in the boot manager, by which it would hear what is typed on the serial console.
//! What is left is shorter, so it fits, and is decompressed and started sooner.
//!
//! What holds: no application is left in the volume (shell and set-up menu are the only ones), and everything that is
//! named here was there: a firmware that has changed is looked at again. The firmware is measured into PCR 0 as it is.
//!
//! Formats: UEFI Platform Initialization 1.7, volume 3.

use super::{field, guid, utf16};
use crate::command::{output, tool};
use anyhow::{Context, Result, bail, ensure};
use std::fs;
use std::ops::Range;
use std::path::Path;

/// Debian's build with Secure Boot and SMM, of the package `ovmf`.
pub const DEBIAN: &str = "/usr/share/OVMF/OVMF_CODE_4M.secboot.fd";

/// A section that is compressed by LZMA (`gLzmaCustomDecompressGuid`).
const LZMA: &str = "ee4e5898-3914-4259-9d6e-dc7bd79403cf";
/// Types of sections.
const GUIDED: u8 = 0x02;
const NAME: u8 = 0x15;
const VOLUME: u8 = 0x17;
/// Types of files.
const APPLICATION: u8 = 0x09;
const PADDING: u8 = 0xf0;
const FILE_HEADER: usize = 24;

/// What is taken out, by the names in the firmware.
const REMOVED: [(&str, &[&str]); 6] = [
    ("shell", &["Shell", "tftpDynamicCommand", "httpDynamicCommand", "LinuxInitrdDynamicShellCommand"]),
    (
        "set-up",
        &[
            "UiApp",
            "SetupBrowser",
            "DisplayEngine",
            "SecureBootConfigDxe",
            "Tcg2ConfigDxe",
            "TlsAuthConfigDxe",
            "VlanConfigDxe",
            "RamDiskDxe",
            "DriverHealthManagerDxe",
        ],
    ),
    (
        "keyboards and screens",
        &[
            "Ps2KeyboardDxe",
            "UsbKbDxe",
            "GraphicsConsoleDxe",
            "QemuVideoDxe",
            "QemuRamfbDxe",
            "VirtioGpuDxe",
            "LogoDxe",
            "BootGraphicsResourceTableDxe",
        ],
    ),
    (
        "starting from a network",
        &[
            "SnpDxe",
            "MnpDxe",
            "ArpDxe",
            "Dhcp4Dxe",
            "Ip4Dxe",
            "Udp4Dxe",
            "Mtftp4Dxe",
            "Dhcp6Dxe",
            "Ip6Dxe",
            "Udp6Dxe",
            "Mtftp6Dxe",
            "TcpDxe",
            "UefiPxeBcDxe",
            "TlsDxe",
            "DnsDxe",
            "HttpDxe",
            "HttpUtilitiesDxe",
            "HttpBootDxe",
            "IScsiDxe",
            "VirtioNetDxe",
            "DpcDxe",
        ],
    ),
    (
        "starting from what somebody plugs in",
        &[
            "UhciDxe",
            "EhciDxe",
            "XhciDxe",
            "UsbBusDxe",
            "UsbMassStorageDxe",
            "VirtioFsDxe",
            "UdfDxe",
            "AtaAtapiPassThruDxe",
            "AtaBusDxe",
            "SataController",
            "ScsiBus",
            "ScsiDisk",
            "VirtioScsiDxe",
            "NvmExpressDxe",
        ],
    ),
    // A kernel that QEMU hands over, and byte code of option ROMs.
    ("other programs", &["QemuKernelLoaderFsDxe", "EbcDxe"]),
];

/// The board's firmware.
///
/// # Errors
/// Debian's is missing or not as it was when this was written.
pub fn build() -> Result<Vec<u8>> {
    let debian = fs::read(Path::new(DEBIAN))
        .with_context(|| format!("{DEBIAN} is missing; `make packages` installs it"))?;
    stripped(debian)
}

/// What [`build`] depends on.
pub fn recipe() -> String {
    format!("{REMOVED:?}")
}

fn stripped(mut firmware: Vec<u8>) -> Result<Vec<u8>> {
    let place = compressed(&firmware)?;
    let packed = firmware.get(place.clone()).context("a section outside of the firmware")?;
    let mut drivers = lzma(packed, &["--decompress", "--single-stream"])?;
    remove(&mut drivers)?;
    disown_keyboards(&mut drivers)?;
    let mut packed = lzma(&drivers, &["--compress", "--lzma1=preset=9e,dict=16MiB"])?;
    // `xz` writes that it does not know the length; the firmware asks for it before it begins.
    field::put(&mut packed, 5, &(drivers.len() as u64).to_le_bytes()).context("no LZMA header")?;
    ensure!(packed.len() <= place.len(), "without its files the firmware is longer than with them");
    // What follows the end of the stream nobody reads.
    packed.resize(place.len(), 0);
    field::put(&mut firmware, place.start, &packed).context("a section outside of the firmware")?;
    Ok(firmware)
}

/// Where the stream is that holds the drivers: the compressed section of the first volume.
fn compressed(firmware: &[u8]) -> Result<Range<usize>> {
    for file in files(firmware, 0..firmware.len())? {
        for section in sections(firmware, file.content.clone()) {
            if section.kind != GUIDED || field::bytes(firmware, section.content.start) != Some(guid(LZMA)?) {
                continue;
            }
            let offset =
                field::u16(firmware, section.content.start + 16).context("a section that ends early")?;
            // No sum over the content, which would have to be changed with it.
            let summed = firmware.get(file.at + 19).is_none_or(|attributes| attributes & 0x40 != 0);
            ensure!(!summed, "the firmware's file has a checksum of its content");
            return Ok(section.at + usize::from(offset)..section.content.end);
        }
    }
    bail!("the firmware has no compressed volume")
}

/// Turns the files that are not wanted into padding.
fn remove(drivers: &mut [u8]) -> Result<()> {
    let mut missing: Vec<&str> = REMOVED.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    for volume in volumes(drivers) {
        for file in files(drivers, volume)? {
            let name = name(drivers, &file);
            if let Some(at) = missing.iter().position(|wanted| Some(*wanted) == name.as_deref()) {
                missing.swap_remove(at);
                pad(drivers, &file)?;
            } else if file.kind == APPLICATION {
                bail!("the firmware has an application that nobody knew of: {}", name.unwrap_or_default());
            }
        }
    }
    ensure!(missing.is_empty(), "the firmware has no longer: {}", missing.join(", "));
    Ok(())
}

/// Makes the boot manager keep its list of keyboards under a name that nobody reads.
///
/// OVMF puts the serial console back into `ConIn` at each start, whatever the variable held: what is typed there opens the
/// boot loader's menu, in which a person turns its timeout off for good. The driver that decides which devices are
/// keyboards reads `ConIn` still, as it is in the board's variables (`variables`).
fn disown_keyboards(drivers: &mut [u8]) -> Result<()> {
    let (listed, unread) = (utf16("ConIn"), utf16("NoKey"));
    let mut places = Vec::new();
    for volume in volumes(drivers) {
        for file in files(drivers, volume)? {
            if name(drivers, &file).as_deref() == Some("BdsDxe") {
                let content = drivers.get(file.content.clone()).context("a file outside of its volume")?;
                let found = content.windows(listed.len()).enumerate().filter(|(_, window)| *window == listed);
                places.extend(found.map(|(at, _)| file.content.start + at));
            }
        }
    }
    match places[..] {
        [place] => field::put(drivers, place, &unread).context("a name outside of the volume"),
        _ => bail!("the boot manager names its keyboards {} times instead of once", places.len()),
    }
}

/// Where the volumes are in what was compressed.
fn volumes(drivers: &[u8]) -> Vec<Range<usize>> {
    let sections = sections(drivers, 0..drivers.len()).into_iter();
    sections.filter(|section| section.kind == VOLUME).map(|section| section.content).collect()
}

/// A padding file of the same length: free of content, with a sum over its header that makes it 0.
fn pad(drivers: &mut [u8], file: &Found) -> Result<()> {
    drivers.get_mut(file.content.clone()).context("a file outside of its volume")?.fill(0xff);
    let header = drivers.get_mut(file.at..file.at + FILE_HEADER).context("a file outside of its volume")?;
    field::put(header, 0, &[0xff; 16]).context("a header")?;
    field::put(header, 16, &[0, 0xaa, PADDING, 0]).context("a header")?;
    // By the specification the sum is taken with its second byte and the state as if they were 0.
    let sum = header.iter().enumerate().filter(|(at, _)| ![16, 17, 23].contains(at));
    let sum = sum.fold(0_u8, |sum, (_, byte)| sum.wrapping_add(*byte));
    field::put(header, 16, &[sum.wrapping_neg()]).context("a header")
}

/// A file of a volume, or a section of a file.
struct Found {
    at: usize,
    kind: u8,
    content: Range<usize>,
}

/// The files of the firmware volume at `volume`.
fn files(data: &[u8], volume: Range<usize>) -> Result<Vec<Found>> {
    ensure!(field::bytes(data, volume.start + 40) == Some(*b"_FVH"), "no firmware volume");
    let read = || {
        let header = usize::from(field::u16(data, volume.start + 48)?);
        let extended = usize::from(field::u16(data, volume.start + 52)?);
        let first = match extended {
            0 => header,
            at => at + field::u32(data, volume.start + at + 16)? as usize,
        };
        // The extended header is the content of a padding file: both ways lead to the next file.
        let length = usize::try_from(field::u64(data, volume.start + 32)?).ok()?;
        Some((volume.start + first.next_multiple_of(8), (volume.start + length).min(volume.end)))
    };
    let (mut at, end) = read().context("a volume that ends early")?;
    let mut files = Vec::new();
    while let Some(header) = data.get(at..at + FILE_HEADER).filter(|_| at + FILE_HEADER <= end) {
        if header.iter().all(|byte| *byte == 0xff) {
            break;
        }
        let length = field::u24(data, at + 20).context("a file that ends early")? as usize;
        ensure!((FILE_HEADER..=end - at).contains(&length), "a file outside of its volume");
        let kind = data.get(at + 18).copied().unwrap_or(PADDING);
        files.push(Found { at, kind, content: at + FILE_HEADER..at + length });
        at = volume.start + (at + length - volume.start).next_multiple_of(8);
    }
    Ok(files)
}

/// The sections in `place`; none behind one that is not well-formed.
fn sections(data: &[u8], place: Range<usize>) -> Vec<Found> {
    const LONG: u32 = 0x00ff_ffff;
    let mut at = place.start;
    let mut found = Vec::new();
    let read = |at: usize| {
        let kind = *data.get(at + 3)?;
        Some(match field::u24(data, at)? {
            LONG => (kind, 8, field::u32(data, at + 4)? as usize),
            length => (kind, 4, length as usize),
        })
    };
    while let Some((kind, header, length)) = read(at).filter(|_| at < place.end) {
        if length < header || length > place.end - at {
            break;
        }
        found.push(Found { at, kind, content: at + header..at + length });
        at = place.start + (at + length - place.start).next_multiple_of(4);
    }
    found
}

/// What a file is called, by its section for that.
fn name(data: &[u8], file: &Found) -> Option<String> {
    let section = sections(data, file.content.clone()).into_iter().find(|section| section.kind == NAME)?;
    let units: Vec<u16> = data
        .get(section.content)?
        .chunks_exact(2)
        .filter_map(|pair| field::u16(pair, 0))
        .take_while(|unit| *unit != 0)
        .collect();
    String::from_utf16(&units).ok()
}

/// `xz` on a file: raw LZMA with its header of 13 bytes, as edk2 has it.
fn lzma(content: &[u8], arguments: &[&str]) -> Result<Vec<u8>> {
    let place = tempfile::tempdir()?;
    // It goes by the names of the files.
    let (plain, packed) = (place.path().join("volume"), place.path().join("volume.lzma"));
    let (from, to) = if arguments.contains(&"--decompress") { (&packed, &plain) } else { (&plain, &packed) };
    fs::write(from, content)?;
    output(tool("xz").args(["--format=lzma", "--quiet"]).args(arguments).arg(from))?;
    fs::read(to).context("reading what xz made")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drivers(firmware: &[u8]) -> Vec<u8> {
        lzma(&firmware[compressed(firmware).unwrap()], &["--decompress", "--single-stream"]).unwrap()
    }

    fn named(drivers: &[u8]) -> Vec<String> {
        let files = volumes(drivers).into_iter().flat_map(|volume| files(drivers, volume).unwrap());
        files.filter_map(|file| name(drivers, &file)).collect()
    }

    /// How often the file called `wanted` names the list of keyboards.
    fn lists(drivers: &[u8], wanted: &str) -> usize {
        let files = volumes(drivers).into_iter().flat_map(|volume| files(drivers, volume).unwrap());
        let mut wanted = files.filter(|file| name(drivers, file).as_deref() == Some(wanted));
        let content = wanted.next().unwrap().content;
        drivers[content].windows(12).filter(|window| *window == utf16("ConIn")).count()
    }

    #[test]
    fn firmware_has_no_shell_no_menu_and_the_rest_as_it_was() {
        let debian = fs::read(DEBIAN).unwrap();
        let ours = build().unwrap();
        assert_eq!(ours.len(), debian.len());
        let (before, after) = (named(&drivers(&debian)), named(&drivers(&ours)));
        let removed: Vec<&str> = REMOVED.iter().flat_map(|(_, names)| names.iter().copied()).collect();
        let left: Vec<&String> = before.iter().filter(|name| !removed.contains(&name.as_str())).collect();
        assert_eq!(after.iter().collect::<Vec<_>>(), left);
        assert!(after.iter().any(|name| name == "BdsDxe"));
        // The boot manager has lost it; the driver that decides who is a keyboard reads it still.
        assert_eq!((lists(&drivers(&debian), "BdsDxe"), lists(&drivers(&ours), "BdsDxe")), (1, 0));
        assert_eq!(lists(&drivers(&ours), "ConPlatformDxe"), 1);
    }

    #[test]
    fn firmware_that_lacks_what_should_be_taken_out_is_refused() {
        let error = stripped(build().unwrap()).unwrap_err().to_string();
        assert!(error.contains("UiApp"), "{error}");
        assert!(stripped(vec![0; 4096]).is_err());
    }
}
