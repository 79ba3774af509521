//! Reads an event log: bounded, to its last byte, the SHA-256 bank of each event.

use super::event::{Event, kind};
use crate::bytes::{Reader, Short};
use crate::digest::{Digest, LENGTH};
use std::fmt;

/// Longest log that is read. One of OVMF with Secure Boot and systemd-boot takes 30 KiB.
pub const SIZE_MAX: usize = 256 * 1024;
/// Most events of a log. The same one has 40.
const EVENTS_MAX: usize = 1024;
/// Most algorithms that a log may have digests of.
const ALGORITHMS_MAX: u32 = 8;
const ALG_SHA256: u16 = 0x000b;
const SIGNATURE: &[u8; 16] = b"Spec ID Event03\0";
/// Bytes of the digest of the first event, which has the form of TPM 1.2.
const SHA1_LENGTH: usize = 20;
const PCRS: u32 = 24;

/// Why bytes are no event log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogError {
    /// More than [`SIZE_MAX`] bytes, or too many events.
    Size,
    /// It ends within an event; which one, counted from 0.
    Short(usize),
    /// It does not begin with the event that says that it is crypto-agile.
    NotAgile,
    /// It has no SHA-256 bank.
    Bank,
    /// An event's digests are not one of each algorithm that the beginning names.
    Digests(usize),
    /// An event extends a PCR that no TPM has.
    Pcr(usize),
}

impl fmt::Display for LogError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Size => write!(out, "the event log has more than {SIZE_MAX} bytes or {EVENTS_MAX} events"),
            Self::Short(event) => write!(out, "the event log ends within event {event}"),
            Self::NotAgile => {
                out.write_str("the event log does not begin with the event of a crypto-agile log")
            }
            Self::Bank => out.write_str("the event log has no SHA-256 digests"),
            Self::Digests(event) => {
                write!(out, "event {event} has other digests than the log's beginning says")
            }
            Self::Pcr(event) => write!(out, "event {event} names a PCR that no TPM has"),
        }
    }
}

impl std::error::Error for LogError {}

/// The algorithms of a log with the lengths of their digests.
struct Algorithms(Vec<(u16, u16)>);

pub(super) fn read(raw: &[u8]) -> Result<Vec<Event>, LogError> {
    if raw.len() > SIZE_MAX {
        return Err(LogError::Size);
    }
    let mut reader = Reader::new(raw);
    let algorithms = header(&mut reader)?;
    let mut events = Vec::new();
    while !reader.is_empty() {
        if events.len() >= EVENTS_MAX {
            return Err(LogError::Size);
        }
        events.push(event(&mut reader, &algorithms, events.len() + 1)?);
    }
    Ok(events)
}

/// `TCG_PCClientPCREvent` with a `TCG_EfiSpecIdEvent` in it.
fn header(reader: &mut Reader<'_>) -> Result<Algorithms, LogError> {
    let short = |_: Short| LogError::Short(0);
    let pcr = reader.u32_le().map_err(short)?;
    let kind = reader.u32_le().map_err(short)?;
    reader.take(SHA1_LENGTH).map_err(short)?;
    let length = reader.u32_le().map_err(short)?;
    let data = reader.take(usize::try_from(length).map_err(|_| LogError::Size)?).map_err(short)?;
    if pcr != 0 || kind != kind::NO_ACTION || !data.starts_with(SIGNATURE) {
        return Err(LogError::NotAgile);
    }
    algorithms(Reader::new(data)).map_err(short)?
}

fn algorithms(mut reader: Reader<'_>) -> Result<Result<Algorithms, LogError>, Short> {
    // Signature, platform class, version and errata, size of a machine word.
    reader.take(SIGNATURE.len() + 4 + 3 + 1)?;
    let count = reader.u32_le()?;
    if count > ALGORITHMS_MAX {
        return Ok(Err(LogError::NotAgile));
    }
    let mut all = Vec::new();
    for _ in 0..count {
        all.push((reader.u16_le()?, reader.u16_le()?));
    }
    let vendor = reader.u8()?;
    reader.take(vendor.into())?;
    let good = all.contains(&(ALG_SHA256, 32)) && reader.is_empty();
    Ok(if good { Ok(Algorithms(all)) } else { Err(LogError::Bank) })
}

/// `TCG_PCR_EVENT2`.
fn event(reader: &mut Reader<'_>, algorithms: &Algorithms, number: usize) -> Result<Event, LogError> {
    let short = |_: Short| LogError::Short(number);
    let pcr = reader.u32_le().map_err(short)?;
    let kind = reader.u32_le().map_err(short)?;
    let digest = digests(reader, algorithms).map_err(short)?.ok_or(LogError::Digests(number))?;
    let length = reader.u32_le().map_err(short)?;
    let data = reader.take(usize::try_from(length).map_err(|_| LogError::Size)?).map_err(short)?;
    if pcr >= PCRS && kind != kind::NO_ACTION {
        return Err(LogError::Pcr(number));
    }
    Ok(Event { number, pcr, kind, digest, data: data.to_vec() })
}

/// `TPML_DIGEST_VALUES`: one of each algorithm, in any order; the SHA-256 one.
fn digests(reader: &mut Reader<'_>, algorithms: &Algorithms) -> Result<Option<Digest>, Short> {
    let count = reader.u32_le()?;
    if usize::try_from(count).ok() != Some(algorithms.0.len()) {
        return Ok(None);
    }
    let mut seen = Vec::new();
    let mut digest = None;
    for _ in 0..count {
        let algorithm = reader.u16_le()?;
        let Some((_, length)) = algorithms.0.iter().find(|(known, _)| *known == algorithm) else {
            return Ok(None);
        };
        let bytes = reader.take(usize::from(*length))?;
        if seen.contains(&algorithm) {
            return Ok(None);
        }
        seen.push(algorithm);
        if algorithm == ALG_SHA256 && bytes.len() == LENGTH {
            digest = Digest::from_slice(bytes);
        }
    }
    Ok(digest)
}
