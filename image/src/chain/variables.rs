//! The variable store that a board starts its life with: our keys, Secure Boot on, two boot entries, no keyboard.
//!
//! The format is edk2's (`MdeModulePkg/Include/Guid/VariableFormat.h`): Debian's empty store, with variables written into
//! it. A real board's maker enrols the same lists through the firmware, once.
//!
//! Boot entries: the loader on our system partition, and behind it `again`. What the firmware finds by itself it adds
//! behind these, where it comes to only when neither starts. `ConIn` names a device that no board has: so none is a
//! keyboard, of the firmware or of what it starts (`firmware` sees to it that it stays so).

use super::esp::{AGAIN, LOADER};
use super::gpt::GRAIN;
use super::keys::{Keys, OWNER};
use super::pcr::Pcr;
use super::{field, guid, sha256, utf16};
use anyhow::{Context, Result, bail};
use std::path::Path;

/// Debian's empty store, of the package `ovmf`.
pub const EMPTY: &str = "/usr/share/OVMF/OVMF_VARS_4M.fd";

/// `gEfiGlobalVariableGuid`.
const GLOBAL: &str = "8be4df61-93ca-11d2-aa0d-00e098032b8c";
/// `gEfiImageSecurityDatabaseGuid`.
const DATABASE: &str = "d719b2cb-3d3a-4596-a3bc-dad00e67656f";
/// `gEfiSecureBootEnableDisableGuid`.
const ENABLE: &str = "f0a30bc7-af08-4556-99c4-001009c93a44";
/// `gEfiCustomModeEnableGuid`.
const CUSTOM: &str = "c076ec0c-7028-4399-a072-71ee5c448b9f";
/// `EFI_CERT_X509_GUID`.
const X509: &str = "a5c059a1-94e4-4aa7-87b5-ab155c2bf072";
/// A store whose variables may be signed (`gEfiAuthenticatedVariableGuid`).
const AUTHENTICATED: &str = "aaf32c78-947b-439a-a180-2e144ec37792";
/// The hardware that `ConIn` names, made up for it: nobody's.
const NOBODY: &str = "6f92c9a5-3d74-4c2e-9a43-67616269a002";
/// `DEVICE_PATH_MESSAGING_PC_ANSI`.
const TERMINAL: &str = "e0c14753-f9be-11d2-9a0c-0090273fc14d";

/// Kept; read before the system runs.
const BOOT: u32 = 1 | 2;
/// And while it runs.
const ALWAYS: u32 = BOOT | 4;
/// And changed by signed writes alone.
const SIGNED: u32 = ALWAYS | 0x20;

/// Where our system partition is.
#[derive(Clone, Copy, Debug)]
pub struct SystemPartition {
    /// Its own GUID.
    pub unique: [u8; 16],
    /// Its number in the table.
    pub number: u32,
    /// Its length in bytes; it begins at [`GRAIN`].
    pub bytes: u64,
}

/// A store with the keys and entries.
///
/// # Errors
/// The empty store is missing or none; the keys cannot be read.
pub fn store(keys: &Keys, system: SystemPartition) -> Result<Vec<u8>> {
    let empty = std::fs::read(Path::new(EMPTY))
        .with_context(|| format!("{EMPTY} is missing; `make packages` installs it"))?;
    with_variables(empty, &variables(keys, system)?)
}

struct Variable {
    name: &'static str,
    vendor: &'static str,
    attributes: u32,
    data: Vec<u8>,
}

fn variables(keys: &Keys, system: SystemPartition) -> Result<Vec<Variable>> {
    let of = |name, vendor, attributes, data| Variable { name, vendor, attributes, data };
    let entry = |description: &str, program: &str| load_option(description, system, program);
    let console = serial_console()?;
    Ok(vec![
        of("PK", GLOBAL, SIGNED, key_list(&keys.certificate("pk")?)?),
        of("KEK", GLOBAL, SIGNED, key_list(&keys.certificate("kek")?)?),
        of("db", DATABASE, SIGNED, key_list(&keys.certificate("db")?)?),
        of("SecureBootEnable", ENABLE, BOOT, vec![1]),
        of("CustomMode", CUSTOM, BOOT, vec![0]),
        of("Boot0000", GLOBAL, ALWAYS, entry("Gabion", LOADER)?),
        of("Boot0001", GLOBAL, ALWAYS, entry("Start again", AGAIN)?),
        of("BootOrder", GLOBAL, ALWAYS, vec![0, 0, 1, 0]),
        of("Timeout", GLOBAL, ALWAYS, vec![0, 0]),
        of("ConOut", GLOBAL, ALWAYS, console.clone()),
        of("ErrOut", GLOBAL, ALWAYS, console),
        of("ConIn", GLOBAL, ALWAYS, path(&[node(1, 4, &[&guid(NOBODY)?])?])),
    ])
}

/// What PCR 7 is on a board with such a store, once it has started a boot loader that the key in db signed: TCG PC Client
/// Platform Firmware Profile, 3.3.4.8, as edk2 does it.
///
/// # Errors
/// The keys cannot be read.
pub fn secure_boot_pcr(keys: &Keys) -> Result<Pcr> {
    let list = |name| key_list(&keys.certificate(name)?);
    let separator = sha256(&[&[0; 4]]);
    let events = [
        measured("SecureBoot", GLOBAL, &[1])?,
        measured("PK", GLOBAL, &list("pk")?)?,
        measured("KEK", GLOBAL, &list("kek")?)?,
        measured("db", DATABASE, &list("db")?)?,
        measured("dbx", DATABASE, &[])?,
        separator,
        // Who let it in; for the kernel image, which the same key signed, it is not said again.
        measured("db", DATABASE, &signature_data(&keys.certificate("db")?)?)?,
    ];
    Ok(events.iter().fold(Pcr::ZERO, |pcr, event| pcr.extended(event)))
}

/// SHA-256 of what is in each of the variables that PCR 7 is made of, by their names.
///
/// # Errors
/// The keys cannot be read.
pub fn key_hashes(keys: &Keys) -> Result<[(&'static str, [u8; 32]); 4]> {
    let hash = |name| anyhow::Ok(sha256(&[&key_list(&keys.certificate(name)?)?]));
    Ok([("PK", hash("pk")?), ("KEK", hash("kek")?), ("db", hash("db")?), ("dbx", sha256(&[]))])
}

/// The digest of an `EFI_VARIABLE` event: of a `UEFI_VARIABLE_DATA`.
fn measured(name: &str, vendor: &str, data: &[u8]) -> Result<[u8; 32]> {
    let name: Vec<u8> = name.encode_utf16().flat_map(u16::to_le_bytes).collect();
    let lengths = [(name.len() / 2) as u64, data.len() as u64].map(u64::to_le_bytes).concat();
    Ok(sha256(&[&guid(vendor)?, &lengths, &name, data]))
}

/// An `EFI_SIGNATURE_LIST` of one certificate: what PK, KEK and db hold, and what the firmware measures of them.
///
/// # Errors
/// A certificate too long to be one.
pub fn key_list(certificate: &[u8]) -> Result<Vec<u8>> {
    const HEADER: usize = 28;
    let entry = u32::try_from(16 + certificate.len())?;
    let mut list = guid(X509)?.to_vec();
    for value in [HEADER as u32 + entry, 0, entry] {
        list.extend_from_slice(&value.to_le_bytes());
    }
    list.extend_from_slice(&signature_data(certificate)?);
    Ok(list)
}

/// An `EFI_SIGNATURE_DATA`: whose it is, and the certificate.
///
/// # Errors
/// None, as long as the owner is a GUID.
pub fn signature_data(certificate: &[u8]) -> Result<Vec<u8>> {
    let mut data = guid(OWNER)?.to_vec();
    data.extend_from_slice(certificate);
    Ok(data)
}

/// An `EFI_LOAD_OPTION` for a program on our system partition, found by the partition's GUID on whatever disk it is.
fn load_option(description: &str, system: SystemPartition, program: &str) -> Result<Vec<u8>> {
    const SECTOR: u64 = 512;
    const ACTIVE: u32 = 1;
    let (first, sectors) = ((GRAIN / SECTOR).to_le_bytes(), (system.bytes / SECTOR).to_le_bytes());
    // A partition of a GPT, known by its GUID.
    let partition = node(4, 1, &[&system.number.to_le_bytes(), &first, &sectors, &system.unique, &[2, 2]])?;
    let file = node(4, 4, &[&utf16(&format!("\\{}", program.replace('/', "\\")))])?;
    let path = path(&[partition, file]);
    let mut option = ACTIVE.to_le_bytes().to_vec();
    option.extend_from_slice(&u16::try_from(path.len())?.to_le_bytes());
    option.extend_from_slice(&utf16(description));
    option.extend_from_slice(&path);
    Ok(option)
}

/// The first serial port of a q35, as OVMF names it: 115,200 baud, 8 bits, no parity, one stop bit.
fn serial_console() -> Result<Vec<u8>> {
    let acpi = |hid: u32| node(2, 1, &[&(hid << 16 | 0x41d0).to_le_bytes(), &0_u32.to_le_bytes()]);
    let uart = node(3, 14, &[&0_u32.to_le_bytes(), &115_200_u64.to_le_bytes(), &[8, 1, 1]])?;
    let terminal = node(3, 10, &[&guid(TERMINAL)?])?;
    // PNP0A03 is the PCI bus, function 0 of device 31 its bridge to old devices, PNP0501 a serial port.
    Ok(path(&[acpi(0x0a03)?, node(1, 1, &[&[0, 0x1f]])?, acpi(0x0501)?, uart, terminal]))
}

/// A node of a device path (UEFI 2.10, chapter 10).
fn node(kind: u8, subkind: u8, parts: &[&[u8]]) -> Result<Vec<u8>> {
    let body = parts.concat();
    let [low, high] = u16::try_from(body.len() + 4)?.to_le_bytes();
    let mut node = vec![kind, subkind, low, high];
    node.extend_from_slice(&body);
    Ok(node)
}

fn path(nodes: &[Vec<u8>]) -> Vec<u8> {
    let mut path = nodes.concat();
    path.extend_from_slice(&[0x7f, 0xff, 4, 0]);
    path
}

/// `empty` with the variables written as the firmware would.
fn with_variables(mut empty: Vec<u8>, variables: &[Variable]) -> Result<Vec<u8>> {
    const STORE_HEADER: usize = 28;
    let store = usize::from(field::u16(&empty, 48).context("no firmware volume")?);
    if field::bytes(&empty, store) != Some(guid(AUTHENTICATED)?) {
        bail!("the empty variable store is of another format");
    }
    let end = store + field::u32(&empty, store + 16).context("no variable store")? as usize;
    let mut at = store + STORE_HEADER;
    for variable in variables {
        let mut bytes = written(variable)?;
        // The next one begins at a multiple of four.
        bytes.resize(bytes.len().next_multiple_of(4), 0xff);
        let place = empty.get(at..at + bytes.len()).filter(|_| at + bytes.len() <= end);
        if place.is_none_or(|place| place.iter().any(|byte| *byte != 0xff)) {
            bail!("the variable store is not empty, or too small");
        }
        field::put(&mut empty, at, &bytes).context("the variable store is too small")?;
        at += bytes.len();
    }
    Ok(empty)
}

/// An `AUTHENTICATED_VARIABLE_HEADER` and what it is of.
fn written(variable: &Variable) -> Result<Vec<u8>> {
    /// In the store, valid.
    const ADDED: u8 = 0x3f;
    // When it was signed, which later signed writes must be after: 2026-01-01.
    let time = [0xea, 0x07, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let name = utf16(variable.name);
    let time = if variable.attributes == SIGNED { time } else { [0; 16] };
    Ok([
        &[0xaa, 0x55, ADDED, 0][..],
        &variable.attributes.to_le_bytes(),
        // A count and a key's index, both of a scheme that is no more.
        &[0; 8],
        &time,
        &[0; 4],
        &u32::try_from(name.len())?.to_le_bytes(),
        &u32::try_from(variable.data.len())?.to_le_bytes(),
        &guid(variable.vendor)?,
        &name,
        &variable.data,
    ]
    .concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a store of the format holds, by a reader of its own.
    fn names(store: &[u8]) -> Vec<String> {
        let mut at = usize::from(field::u16(store, 48).unwrap()) + 28;
        let mut names = Vec::new();
        while field::u16(store, at) == Some(0x55aa) {
            let length = |at| field::u32(store, at).unwrap() as usize;
            let (name, data) = (length(at + 36), length(at + 40));
            let text: Vec<u16> = store[at + 60..at + 60 + name - 2]
                .chunks(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect();
            names.push(String::from_utf16(&text).unwrap());
            at = (at + 60 + name + data).next_multiple_of(4);
        }
        names
    }

    #[test]
    fn store_has_keys_entries_and_no_keyboard() {
        let place = tempfile::tempdir().unwrap();
        let keys = Keys::development(&place.path().join("keys")).unwrap();
        let store = store(&keys, SystemPartition { unique: [7; 16], number: 1, bytes: GRAIN }).unwrap();
        let expected = [
            "PK",
            "KEK",
            "db",
            "SecureBootEnable",
            "CustomMode",
            "Boot0000",
            "Boot0001",
            "BootOrder",
            "Timeout",
            "ConOut",
            "ErrOut",
            "ConIn",
        ];
        assert_eq!(names(&store), expected);
        assert_eq!(store.len(), std::fs::read(EMPTY).unwrap().len());
    }

    #[test]
    fn store_that_is_full_or_none_is_refused() {
        let variable = || Variable { name: "x", vendor: GLOBAL, attributes: BOOT, data: vec![0; 1 << 20] };
        let empty = std::fs::read(EMPTY).unwrap();
        assert!(with_variables(empty, &[variable()]).is_err());
        assert!(with_variables(vec![0; 4096], &[]).is_err());
    }
}
