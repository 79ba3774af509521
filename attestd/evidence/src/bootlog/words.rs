//! Words for people out of what a log says. Bounded and printable whatever is in there.

use super::event::kind;
use crate::bytes::{Reader, Short};

/// Longest name that is shown.
const LENGTH_MAX: usize = 80;
/// Longest text that is shown.
const TEXT_MAX: usize = 160;
/// Most nodes of a device path that are looked at.
const NODES_MAX: usize = 32;

/// UTF-16 text, with or without its final zero; none if it is no printable text.
pub(super) fn utf16(data: &[u8]) -> Option<String> {
    let units: Vec<u16> =
        data.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(u16::from_le_bytes).collect();
    let units = units.strip_suffix(&[0]).unwrap_or(&units);
    let text = String::from_utf16(units).ok()?;
    data.len().is_multiple_of(2).then(|| printable(&text))?
}

/// The beginning of UTF-16 text of any length, with what is not printable replaced.
pub(super) fn beginning(data: &[u8]) -> Option<String> {
    let units = data.chunks_exact(2).filter_map(|pair| pair.try_into().ok()).map(u16::from_le_bytes);
    let shown =
        |unit| char::from_u32(u32::from(unit)).filter(|c| c.is_ascii_graphic() || *c == ' ').unwrap_or('?');
    let text: String = units.take_while(|unit| *unit != 0).take(TEXT_MAX).map(shown).collect();
    (data.len().is_multiple_of(2) && !text.is_empty()).then_some(text)
}

/// ASCII text.
pub(super) fn ascii(data: &[u8]) -> Option<String> {
    let data = data.strip_suffix(&[0]).unwrap_or(data);
    printable(std::str::from_utf8(data).ok()?)
}

fn printable(text: &str) -> Option<String> {
    let fits = !text.is_empty()
        && text.len() <= LENGTH_MAX
        && text.chars().all(|c| c.is_ascii_graphic() || c == ' ');
    fits.then(|| text.to_owned())
}

/// The file that an `UEFI_IMAGE_LOAD_EVENT` names, or that it names none.
pub(super) fn image_path(data: &[u8]) -> String {
    path(data).ok().flatten().unwrap_or_else(|| "of no file".to_owned())
}

fn path(data: &[u8]) -> Result<Option<String>, Short> {
    let mut reader = Reader::new(data);
    // Where and how long it is in memory, its link-time address, and how long the device path is.
    reader.take(4 * 8)?;
    let mut file = None;
    for _ in 0..NODES_MAX {
        let (major, minor) = (reader.u8()?, reader.u8()?);
        let length = usize::from(reader.u16_le()?).checked_sub(4).ok_or(Short)?;
        let node = reader.take(length)?;
        match (major, minor) {
            // Media, file path.
            (4, 4) => file = utf16(node),
            // Media, file of a firmware volume: known by number alone.
            (4, 6) => file = Some("in the firmware".to_owned()),
            (0x7f, 0xff) => break,
            _ => {}
        }
    }
    Ok(file)
}

/// What an event of a type is, if nothing more is known of it.
pub(super) fn kind(kind: u32) -> &'static str {
    match kind {
        kind::NO_ACTION => "note of the firmware",
        kind::SEPARATOR => "separator that is none",
        kind::CRTM_VERSION => "version of the firmware",
        kind::IPL => "something that a boot loader measured",
        kind::EVENT_TAG => "something that the kernel's loader measured",
        kind::VARIABLE_BOOT | kind::VARIABLE_BOOT2 => "boot variable",
        kind::VARIABLE_CONFIG => "variable that is none",
        kind::PARTITIONS => "partition table",
        kind::ACTION => "step that is none",
        kind::FIRMWARE | kind::FIRMWARE2 => "firmware code",
        kind::TABLES => "tables of the firmware",
        kind::AUTHORITY => "authority that is none",
        _ => "event of an unknown type",
    }
}
