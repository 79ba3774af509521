//! Entries of directories: a file's long name, in pieces before its short one.
//!
//! Only ASCII is written. What is read may be anything: a long name whose pieces do not fit the short one is not taken.

use crate::disk::field;
use crate::fault::Fault;

/// Bytes of an entry.
pub(super) const ENTRY: usize = 32;
/// First byte of an entry that was removed.
pub(super) const REMOVED: u8 = 0xe5;
const LONG: u8 = 0x0f;
const VOLUME: u8 = 0x08;
const DIRECTORY: u8 = 0x10;
/// Characters of a piece, and where they are in it.
const PIECE: usize = 13;
const PLACES: [usize; PIECE] = [1, 3, 5, 7, 9, 14, 16, 18, 20, 22, 24, 28, 30];
/// 2026-01-01: there is no clock here, and a date must be one.
const DATE: u16 = (46 << 9) | (1 << 5) | 1;

/// What an entry is.
pub(super) enum Kind {
    /// Here the directory ends.
    End,
    /// Nothing, or a label.
    Free,
    /// A piece of a long name.
    Piece(Piece),
    /// A file or directory.
    Short(Short),
}

/// A piece of a long name.
pub(super) struct Piece {
    /// Which, from 1 on; the last comes first and says so.
    number: u8,
    last: bool,
    sum: u8,
    units: [u16; PIECE],
}

/// A file's or directory's own entry.
pub(super) struct Short {
    pub(super) raw: [u8; 11],
    pub(super) directory: bool,
    pub(super) first: u32,
    pub(super) bytes: u32,
    lower: u8,
}

/// Reads an entry.
pub(super) fn read(entry: &[u8]) -> Kind {
    let byte = |at: usize| entry.get(at).copied().unwrap_or_default();
    match (byte(0), byte(11)) {
        (0, _) => Kind::End,
        (REMOVED, _) => Kind::Free,
        (number, LONG) => Kind::Piece(Piece {
            number: number & 0x3f,
            last: number & 0x40 != 0,
            sum: byte(13),
            units: PLACES.map(|at| field::u16(entry, at)),
        }),
        (_, flags) if flags & VOLUME != 0 => Kind::Free,
        (_, flags) => Kind::Short(Short {
            raw: entry.get(..11).and_then(|raw| raw.try_into().ok()).unwrap_or_default(),
            directory: flags & DIRECTORY != 0,
            first: u32::from(field::u16(entry, 20)) << 16 | u32::from(field::u16(entry, 26)),
            bytes: field::u32(entry, 28),
            lower: byte(12),
        }),
    }
}

/// Collects the pieces of a long name, in the order in which they come.
#[derive(Default)]
pub(super) struct Pieces {
    units: Vec<[u16; PIECE]>,
    next: u8,
    sum: u8,
}

impl Pieces {
    /// Takes the next; whether it goes on with what was there. If not, only it is there.
    pub(super) fn push(&mut self, piece: &Piece) -> bool {
        let goes_on = !piece.last && piece.number == self.next && piece.sum == self.sum && piece.number > 0;
        if !goes_on {
            self.units.clear();
        }
        if goes_on || piece.last {
            self.units.push(piece.units);
            (self.next, self.sum) = (piece.number.saturating_sub(1), piece.sum);
        }
        goes_on
    }

    /// The name of the file whose own entry comes now.
    pub(super) fn name(&mut self, short: &Short) -> String {
        let pieces = std::mem::take(self);
        if pieces.next == 0 && !pieces.units.is_empty() && pieces.sum == sum(&short.raw) {
            let units = pieces.units.iter().rev().flatten().copied().take_while(|unit| *unit != 0);
            return String::from_utf16_lossy(&units.collect::<Vec<_>>());
        }
        let part = |bytes: &[u8], lower: bool| {
            let text = String::from_utf8_lossy(bytes).trim_end().to_owned();
            if lower { text.to_lowercase() } else { text }
        };
        let (stem, suffix) = short.raw.split_at(8);
        let (stem, suffix) = (part(stem, short.lower & 8 != 0), part(suffix, short.lower & 16 != 0));
        if suffix.is_empty() { stem } else { format!("{stem}.{suffix}") }
    }
}

/// The entries of a file's name: its pieces, then its own. `raw` is its short name.
///
/// # Errors
/// A name that is empty, too long, or has other characters than letters, digits and `.+-_`.
pub(super) fn write(name: &str, raw: [u8; 11], first: u32, bytes: u32) -> Result<Vec<[u8; ENTRY]>, Fault> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b".+-_".contains(&byte);
    if name.is_empty() || name.len() > 64 || !name.bytes().all(plain) || name.starts_with('.') {
        return Err(Fault::Name(name.to_owned()));
    }
    let mut units: Vec<u16> = name.bytes().map(u16::from).collect();
    if !units.len().is_multiple_of(PIECE) {
        units.push(0);
    }
    let mut entries = Vec::new();
    for (index, piece) in units.chunks(PIECE).enumerate() {
        let mut entry = [0; ENTRY];
        let number = u8::try_from(index + 1).unwrap_or(u8::MAX);
        let last = if (index + 1) * PIECE >= units.len() { 0x40 } else { 0 };
        field::put(&mut entry, 0, &[number | last]);
        field::put(&mut entry, 11, &[LONG, 0, sum(&raw)]);
        for (at, place) in PLACES.into_iter().enumerate() {
            let unit = piece.get(at).copied().unwrap_or(u16::MAX);
            field::put(&mut entry, place, &unit.to_le_bytes());
        }
        entries.push(entry);
    }
    entries.reverse();
    let mut own = [0; ENTRY];
    field::put(&mut own, 0, &raw);
    for at in [16, 18, 24] {
        field::put(&mut own, at, &DATE.to_le_bytes());
    }
    let [a, b, c, d] = first.to_le_bytes();
    field::put(&mut own, 20, &[c, d]);
    field::put(&mut own, 26, &[a, b]);
    field::put(&mut own, 28, &bytes.to_le_bytes());
    entries.push(own);
    Ok(entries)
}

/// A short name that none of `taken` is: the same for the same long name, mostly.
pub(super) fn short(name: &str, taken: &[[u8; 11]]) -> [u8; 11] {
    let hash = |seed: u32| {
        name.bytes().fold(0x811c_9dc5 ^ seed, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
    };
    let suffix = name.rsplit_once('.').map_or("", |(_, suffix)| suffix).to_ascii_uppercase();
    let of = |seed: u32| {
        let mut raw = [b' '; 11];
        field::put(&mut raw, 0, format!("{:08X}", hash(seed)).as_bytes());
        field::put(&mut raw, 8, suffix.as_bytes().get(..suffix.len().min(3)).unwrap_or_default());
        raw
    };
    // There are fewer names in a directory than seeds.
    (0..).map(of).find(|raw| !taken.contains(raw)).unwrap_or_default()
}

fn sum(raw: &[u8; 11]) -> u8 {
    raw.iter().fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}
